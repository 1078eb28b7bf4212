// SPDX-License-Identifier: MPL-2.0
//! What both kinds of signal have in common before waves are looked for: missing samples, and a
//! working rate.

use super::HeartSignal;
use super::ecg::EcgFront;
use super::fir::History;
use super::ppg::PpgFront;

/// A place on a wave: its time in ns, and how far it stands out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark {
    pub(super) time: u64,
    pub(super) size: f64,
}

/// A wave that may be a beat.
#[derive(Debug, Clone)]
pub(super) struct Wave {
    /// Time (ns) of the middle of the wave.
    pub(super) at: u64,
    /// The mark of the beat for an upright signal and for an inverted one.
    pub(super) marks: [Mark; 2],
    /// Strength of the wave, in the signal's unit or a multiple of it.
    pub(super) height: f64,
    /// Strength of its steep parts, likewise.
    pub(super) steep: f64,
    /// `height` divided by what is usual between the waves.
    pub(super) contrast: f64,
    /// The filtered signal around `at`.
    pub(super) shape: Vec<f32>,
    /// Values of `shape` by which two shapes may be shifted when they are compared.
    pub(super) slack: usize,
}

/// The samples of the last 8 seconds or more at the working rate.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    pub(super) rate: f64,
    pub(super) times: History<u64>,
    pub(super) values: History<f64>,
}

impl Samples {
    fn new(rate: f64) -> Self {
        let size = (8.0 * rate) as usize;
        Self {
            rate,
            times: History::new(size),
            values: History::new(size),
        }
    }

    /// The time `shift` (−1 to 1) samples after number `i`.
    pub(super) fn time(&self, i: usize, shift: f64) -> u64 {
        let here = self.times.at(i);
        let step = if shift >= 0.0 && i + 1 < self.times.count() {
            self.times.at(i + 1).saturating_sub(here)
        } else if i > 0 {
            here.saturating_sub(self.times.at(i - 1))
        } else {
            0
        };
        let moved = here as i128 + (shift * step as f64) as i128;
        u64::try_from(moved).unwrap_or(0)
    }
}

/// The vertex of the parabola through three neighbouring values, of which the middle one is the
/// largest, in steps from the middle.
pub(super) fn vertex([a, b, c]: [f64; 3]) -> f64 {
    let bend = a - 2.0 * b + c;
    let shift = 0.5 * (a - c) / bend;
    if bend < 0.0 && shift.abs() <= 1.0 {
        shift
    } else {
        0.0
    }
}

#[derive(Debug, Clone)]
enum Kind {
    Ecg(Box<EcgFront>),
    Ppg(Box<PpgFront>),
    /// The rate is too low for the shape of a beat.
    TooSlow,
}

/// Lowest rate, Hz, at which beats are looked for.
const SLOWEST: f64 = 30.0;
/// Highest rate, Hz: more than any sensor has, and so few missing samples are bridged.
const FASTEST: f64 = 100_000.0;
/// Longest time without a sample, seconds, that is bridged by a straight line.
const BRIDGED: f64 = 0.15;
/// Larger values count as missing: their squares could not be summed.
const LARGEST: f64 = 1e100;

/// From raw samples to waves.
#[derive(Debug, Clone)]
pub(super) struct Front {
    kind: Kind,
    samples: Samples,
    /// Nominal period, ns.
    period: f64,
    /// Longest time without a sample, ns, that is bridged.
    bridged: f64,
    /// The last good sample.
    last: Option<(u64, f64)>,
    /// Raw samples of which one of the working rate is the mean.
    factor: usize,
    /// How many of them there are so far, and the sums of their values and of their times
    /// since the first.
    held: usize,
    sum: f64,
    first: u64,
    times: u64,
}

impl Front {
    pub(super) fn new(signal: HeartSignal, rate: f64) -> Self {
        let rate = if rate.is_nan() {
            0.0
        } else {
            rate.min(FASTEST)
        };
        let wanted = match signal {
            HeartSignal::Ecg => 250.0,
            HeartSignal::Ppg => 80.0,
        };
        let factor = (rate / wanted).round().max(1.0);
        let samples = Samples::new((rate / factor).max(1.0));
        let kind = match signal {
            _ if rate < SLOWEST => Kind::TooSlow,
            HeartSignal::Ecg => Kind::Ecg(Box::new(EcgFront::new(samples.rate))),
            HeartSignal::Ppg => Kind::Ppg(Box::new(PpgFront::new(samples.rate))),
        };
        let period = 1e9 / rate.max(1.0);
        Self {
            kind,
            samples,
            period,
            bridged: (BRIDGED * 1e9).max(3.5 * period),
            last: None,
            factor: factor as usize,
            held: 0,
            sum: 0.0,
            first: 0,
            times: 0,
        }
    }

    fn good(value: f64) -> bool {
        value.abs() < LARGEST
    }

    /// Whether the sample ends a gap, after which everything begins anew.
    pub(super) fn begins_anew(&mut self, time: u64, value: f64) -> bool {
        let gap = self
            .last
            .is_some_and(|(t, _)| time.saturating_sub(t) as f64 > self.bridged);
        if gap && Self::good(value) {
            self.cut();
        }
        gap && Self::good(value)
    }

    pub(super) fn cut(&mut self) {
        self.last = None;
        self.held = 0;
        self.samples.times.clear();
        self.samples.values.clear();
        match &mut self.kind {
            Kind::Ecg(front) => front.cut(),
            Kind::Ppg(front) => front.cut(),
            Kind::TooSlow => {}
        }
    }

    /// Takes a sample, and calls `out` with a wave, or with `None` when what was said of waves so
    /// far holds no longer.
    pub(super) fn push(&mut self, time: u64, value: f64, mut out: impl FnMut(Option<Wave>)) {
        if !Self::good(value) || self.last.is_some_and(|(t, _)| time <= t) {
            return;
        }
        if let Some((t, v)) = self.last {
            // Missing samples lie on a straight line, so that the filters keep their delay.
            let missing = ((time - t) as f64 / self.period).round() - 1.0;
            for i in 1..=missing.max(0.0) as u64 {
                let share = i as f64 / (missing + 1.0);
                let between = t + (share * (time - t) as f64) as u64;
                self.add(between, v + share * (value - v), &mut out);
            }
        }
        self.last = Some((time, value));
        self.add(time, value, &mut out);
    }

    fn add(&mut self, time: u64, value: f64, out: &mut impl FnMut(Option<Wave>)) {
        if self.held == 0 {
            (self.first, self.times, self.sum) = (time, 0, 0.0);
        }
        self.held += 1;
        self.sum += value;
        self.times += time - self.first;
        if self.held < self.factor {
            return;
        }
        let held = std::mem::take(&mut self.held);
        self.samples
            .times
            .push(self.first + self.times / held as u64);
        self.samples.values.push(self.sum / held as f64);
        match &mut self.kind {
            Kind::Ecg(front) => front.step(&self.samples, &mut |wave| out(Some(wave))),
            Kind::Ppg(front) => front.step(&self.samples, out),
            Kind::TooSlow => {}
        }
    }
}
