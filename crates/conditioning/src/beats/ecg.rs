// SPDX-License-Identifier: MPL-2.0
//! The waves of an ECG that may be QRS complexes.
//!
//! The envelope is the root of the mean square, over 0.1 s, of the band of 8–20 Hz, where a
//! QRS complex is strong and a T wave is weak (Elgendi 2013; Pan and Tompkins 1985 square a
//! derivative for the same end). Its highest points that are 0.2 s apart are the waves.

use super::fir::{History, Kernel};
use super::front::{Mark, Samples, Wave, vertex};

/// Seconds on either side within which a wave must be the highest: the refractory time.
const APART: f64 = 0.2;
/// Length of the window of the envelope, seconds.
const WINDOW: f64 = 0.1;
/// Seconds on either side of a wave's middle within which its peak is.
const REACH: f64 = 0.1;
/// Seconds before a wave whose envelope says what is usual.
const USUAL: f64 = 2.0;

#[derive(Debug, Clone)]
pub(super) struct EcgFront {
    /// The band of QRS complexes.
    band: Kernel,
    /// Its upper part, which a T wave does not reach.
    steep: Kernel,
    /// A wider band, which keeps the place of the R peak and the shape.
    wide: Kernel,
    banded: History<f64>,
    envelope: History<f64>,
    /// Lengths in samples.
    half_window: usize,
    apart: usize,
    reach: usize,
    usual: usize,
}

impl EcgFront {
    pub(super) fn new(rate: f64) -> Self {
        let length = |seconds: f64| (seconds * rate).round() as usize;
        let usual = length(USUAL);
        let apart = length(APART);
        Self {
            band: Kernel::band(rate, [8.0, 20.0], 0.3),
            steep: Kernel::band(rate, [16.0, 32.0], 0.2),
            wide: Kernel::band(rate, [4.0, 35.0], 0.25),
            banded: History::new(usual + 2 * apart),
            envelope: History::new(usual + 2 * apart),
            half_window: length(0.5 * WINDOW).max(1),
            apart,
            reach: length(REACH),
            usual,
        }
    }

    pub(super) fn cut(&mut self) {
        self.banded.clear();
        self.envelope.clear();
    }

    /// Takes the newest of `samples`.
    pub(super) fn step(&mut self, samples: &Samples, out: &mut impl FnMut(Wave)) {
        // Number `n` of `banded` belongs to number `n + half` of the samples, and so on.
        let half = self.band.half();
        if samples.values.count() < 2 * half + 1 {
            return;
        }
        let centre = samples.values.count() - 1 - half;
        self.banded.push(self.band.apply(&samples.values, centre));
        let window = 2 * self.half_window + 1;
        if self.banded.count() < window {
            return;
        }
        let first = self.banded.count() - window;
        let power: f64 = (first..first + window)
            .map(|i| self.banded.at(i).powi(2))
            .sum();
        self.envelope.push((power / window as f64).sqrt());
        if self.envelope.count() < 2 * self.apart + 1 {
            return;
        }
        let middle = self.envelope.count() - 1 - self.apart;
        let top = self.envelope.at(middle);
        let highest = top > 0.0
            && (middle - self.apart..middle).all(|i| self.envelope.at(i) < top)
            && (middle + 1..=middle + self.apart).all(|i| self.envelope.at(i) <= top);
        if highest {
            out(self.wave(samples, middle, half + self.half_window));
        }
    }

    /// The wave at number `middle` of the envelope, which is number `middle + delay` of the
    /// samples.
    fn wave(&self, samples: &Samples, middle: usize, delay: usize) -> Wave {
        let centre = middle + delay;
        let height = self.envelope.at(middle);
        let wide = |i: usize| self.wide.apply(&samples.values, i);
        let from = centre.saturating_sub(self.reach).max(self.wide.half());
        let shape: Vec<f64> = (from..=centre + self.reach).map(wide).collect();
        let mark = |sign: f64| {
            let inner = 1..shape.len() - 1;
            let best = inner.max_by(|a, b| (sign * shape[*a]).total_cmp(&(sign * shape[*b])));
            best.map_or_else(Mark::default, |i| {
                let near = [shape[i - 1], shape[i], shape[i + 1]].map(|v| sign * v);
                Mark {
                    time: samples.time(from + i, vertex(near)),
                    size: near[1].max(0.0),
                }
            })
        };
        let around = (self.half_window).min(centre - self.steep.half());
        let power: f64 = (centre - around..=centre + around)
            .map(|i| self.steep.apply(&samples.values, i).powi(2))
            .sum();
        let before = self.envelope.count().saturating_sub(self.usual);
        let mut usual: Vec<f64> = (before..self.envelope.count())
            .map(|i| self.envelope.at(i))
            .collect();
        let quarter = usual.len() / 4;
        let (_, usual, _) = usual.select_nth_unstable_by(quarter, f64::total_cmp);
        Wave {
            at: samples.times.at(centre),
            marks: [mark(1.0), mark(-1.0)],
            height,
            steep: (power / (2 * around + 1) as f64).sqrt(),
            contrast: height / usual.max(f64::MIN_POSITIVE),
            shape: shape.iter().map(|v| *v as f32).collect(),
            slack: (0.012 * samples.rate).ceil() as usize,
        }
    }
}
