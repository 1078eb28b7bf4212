// SPDX-License-Identifier: MPL-2.0
//! The waves of a PPG that may be systolic upstrokes.
//!
//! The strength of a wave is the sum of the rising slopes within 0.2 s (the slope sum function
//! of Zong et al. 2003), which is the height of the upstroke without the baseline under it.
//! Its highest points that are 0.25 s apart are the waves. A wave is marked at its steepest
//! point, which moves less with the shape of the pulse than foot and peak do.
//!
//! The upstroke is steeper than any fall of the signal. Some sensors give the light that
//! comes back, which falls at each beat: where the steepest slopes are falling ones for
//! seconds, the signal is taken with the other sign.

use super::fir::{History, Kernel};
use super::front::{Mark, Samples, Wave, vertex};
use super::median;
use std::collections::VecDeque;

/// Smoothing before the slope: standard deviation in seconds.
const SMOOTH: f64 = 0.03;
/// Length of the window of the sum, seconds.
const WINDOW: f64 = 0.2;
/// Seconds on either side within which a wave must be the highest.
const APART: f64 = 0.25;
/// Seconds of the shape on either side of the middle.
const REACH: f64 = 0.3;
/// Seconds whose slopes are looked at for the sign.
const LOOK: f64 = 1.5;
/// Looks of which the median counts, and how many there must be.
const LOOKS: usize = 9;
const FIRST_LOOKS: usize = 3;
/// Logarithm of how much steeper the falls must be than the rises for the signal to be taken
/// for an inverted one, and below which it is taken for an upright one again. Most sensors give
/// upright pulses, and in weak ones the two hardly differ.
const STEEPER: f64 = 0.3;
const LESS_STEEP: f64 = 0.1;
/// Seconds of which the mean of the sums says what is usual.
const USUAL: f64 = 2.0;

#[derive(Debug, Clone)]
pub(super) struct PpgFront {
    slope: Kernel,
    slopes: History<f64>,
    /// Slopes before that of the first sum.
    before: usize,
    sums: History<f64>,
    /// Whether the sign was told. Until then there are no waves.
    told: bool,
    /// 1, or −1 where the signal falls at each beat.
    sign: f64,
    /// Slopes since the sign was looked at, and what was seen.
    since: usize,
    looks: VecDeque<f64>,
    half_window: usize,
    apart: usize,
    reach: usize,
    look: usize,
    usual: usize,
}

impl PpgFront {
    pub(super) fn new(rate: f64) -> Self {
        let length = |seconds: f64| (seconds * rate).round() as usize;
        let usual = length(USUAL);
        let kept = usual.max(length(FIRST_LOOKS as f64 * LOOK)) + 2 * length(APART + REACH);
        Self {
            slope: Kernel::slope(rate, SMOOTH),
            slopes: History::new(kept),
            before: 0,
            told: false,
            sums: History::new(kept),
            sign: 1.0,
            since: 0,
            looks: VecDeque::new(),
            half_window: length(0.5 * WINDOW).max(1),
            apart: length(APART),
            reach: length(REACH),
            look: length(LOOK).max(1),
            usual,
        }
    }

    pub(super) fn cut(&mut self) {
        self.slopes.clear();
        self.sums.clear();
        self.before = 0;
        self.since = 0;
        self.looks.clear();
    }

    /// Takes the newest of `samples`, and calls `out` with a wave, or with `None` when what was said
    /// of waves so far holds no longer.
    pub(super) fn step(&mut self, samples: &Samples, out: &mut impl FnMut(Option<Wave>)) {
        let half = self.slope.half();
        if samples.values.count() < 2 * half + 1 {
            return;
        }
        let centre = samples.values.count() - 1 - half;
        self.slopes.push(self.slope.apply(&samples.values, centre));
        self.since += 1;
        if self.since >= self.look {
            self.since = 0;
            let changes = self.sign_changes();
            let first = self.looks.len() >= FIRST_LOOKS && !self.told;
            self.told |= first;
            if changes && !first {
                out(None);
            }
            if changes || first {
                // The slopes of the other side are other waves.
                self.sums.clear();
                self.before = self.slopes.first();
                for end in self.before + 2 * self.half_window..self.slopes.count() - 1 {
                    self.sum(samples, end, out);
                }
            }
        }
        if self.told && self.slopes.count() > self.before + 2 * self.half_window {
            self.sum(samples, self.slopes.count() - 1, out);
        }
    }

    /// Adds the sum of which the slope of number `end` is the last, and looks for a wave.
    fn sum(&mut self, samples: &Samples, end: usize, out: &mut impl FnMut(Option<Wave>)) {
        let rise: f64 = (end - 2 * self.half_window..=end)
            .map(|i| (self.sign * self.slopes.at(i)).max(0.0))
            .sum();
        self.sums.push(rise / samples.rate);
        // The shape needs more slopes after the middle than the neighbourhood does.
        let ahead = self.apart.max(self.reach);
        if self.sums.count() < self.apart + ahead + 1 {
            return;
        }
        let middle = self.sums.count() - 1 - ahead;
        let top = self.sums.at(middle);
        let highest = top > 0.0
            && (middle - self.apart..middle).all(|i| self.sums.at(i) < top)
            && (middle + 1..=middle + self.apart).all(|i| self.sums.at(i) <= top);
        if highest {
            out(Some(self.wave(samples, middle)));
        }
    }

    /// Compares the steepest rises of the last seconds with the steepest falls, and says whether
    /// the sign changes.
    fn sign_changes(&mut self) -> bool {
        let from = self.slopes.count().saturating_sub(self.look);
        let mut slopes: Vec<f64> = (from..self.slopes.count())
            .map(|i| self.slopes.at(i))
            .collect();
        let twentieth = slopes.len() / 20;
        let end = slopes.len() - 1 - twentieth;
        let (_, fall, _) = slopes.select_nth_unstable_by(twentieth, f64::total_cmp);
        let fall = -*fall;
        let (_, rise, _) = slopes.select_nth_unstable_by(end, f64::total_cmp);
        let rise = *rise;
        // A signal that does not move tells nothing, and is no heart either.
        let seen = (fall / rise).ln();
        self.looks
            .push_back(if seen.is_finite() { seen } else { 0.0 });
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        let steeper = median(self.looks.iter().copied()).unwrap_or(0.0);
        let turned = if self.sign > 0.0 {
            steeper > STEEPER
        } else {
            steeper < LESS_STEEP
        };
        let changes = turned && self.looks.len() >= FIRST_LOOKS;
        if changes {
            self.sign = -self.sign;
        }
        changes
    }

    /// The wave at number `middle` of the sums.
    fn wave(&self, samples: &Samples, middle: usize) -> Wave {
        let height = self.sums.at(middle);
        let centre = middle + self.before + self.half_window;
        let slope = |i: usize| self.sign * self.slopes.at(i);
        let last = self.slopes.count() - 1;
        let inner = centre - self.half_window..=centre + self.half_window;
        let steepest = inner
            .max_by(|a, b| slope(*a).total_cmp(&slope(*b)))
            .unwrap_or(centre);
        let shift = if steepest > 0 && steepest < last {
            vertex([slope(steepest - 1), slope(steepest), slope(steepest + 1)])
        } else {
            0.0
        };
        let mark = Mark {
            time: samples.time(steepest + self.slope.half(), shift),
            size: slope(steepest),
        };
        let from = steepest.saturating_sub(self.reach).max(self.slopes.first());
        let to = (steepest + self.reach).min(last);
        let before = self.sums.count().saturating_sub(self.usual);
        let mean = (before..self.sums.count())
            .map(|i| self.sums.at(i))
            .sum::<f64>()
            / (self.sums.count() - before) as f64;
        Wave {
            at: mark.time,
            marks: [mark, Mark::default()],
            height,
            steep: slope(steepest),
            contrast: height / mean.max(f64::MIN_POSITIVE),
            shape: (from..=to).map(|i| slope(i) as f32).collect(),
            slack: (0.02 * samples.rate).ceil() as usize,
        }
    }
}
