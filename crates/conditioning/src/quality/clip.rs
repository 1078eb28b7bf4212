// SPDX-License-Identifier: MPL-2.0
//! Clipping: a signal that runs into its own highest or lowest value and stays there.

use super::series::range;
use super::{SignalKind, ramp};

/// A smallest step of less than this share of the range is that of a fine converter.
const FINE: f64 = 1e-3;

/// The smallest difference between neighbours that are not equal.
fn smallest_step(x: &[f64]) -> f64 {
    let steps = x.windows(2).map(|w| (w[1] - w[0]).abs());
    steps.filter(|s| *s > 0.0).fold(f64::MAX, f64::min)
}

/// Finds stretches of one value at the highest or lowest value of a window. A rounded top of a
/// coarse converter may have such a stretch too, but the signal comes to it slowly; one that is
/// cut off arrives at full speed.
#[derive(Debug, Clone)]
pub(super) struct Plateaus {
    /// Seconds before a stretch in which the signal must have come a long way.
    approach: f64,
    /// Share of the window's range that is a long way.
    way: f64,
    /// Share of the time in such stretches that is bad.
    bad: f64,
}

impl Plateaus {
    pub(super) fn new(kind: SignalKind) -> Self {
        match kind {
            SignalKind::Ecg => Self {
                approach: 0.01,
                way: 0.08,
                bad: 0.015,
            },
            SignalKind::Ppg => Self {
                approach: 0.04,
                way: 0.06,
                bad: 0.05,
            },
            _ => Self {
                approach: 0.5,
                way: 0.04,
                bad: 0.3,
            },
        }
    }

    /// 1 without clipping, 0 with much of it. `x`: a window at `rate` Hz.
    pub(super) fn part(&self, x: &[f64], rate: f64) -> f64 {
        let span = range(x);
        if span <= 0.0 {
            return 1.0;
        }
        let low = x.iter().copied().fold(f64::MAX, f64::min);
        let ends = [low, low + span];
        let near = 1e-6 * span;
        let back = (self.approach * rate).round().max(1.0) as usize;
        // A fine converter hardly ever gives the same highest value twice.
        let fine = smallest_step(x) < FINE * span;
        let shortest = if fine { 1 } else { 2 };
        let mut held = 0usize;
        for end in ends {
            let at_end = |v: f64| (v - end).abs() <= near;
            let (mut i, mut there) = (0, 0);
            while i < x.len() {
                if !at_end(x[i]) {
                    i += 1;
                    continue;
                }
                let begin = i;
                while i < x.len() && at_end(x[i]) {
                    i += 1;
                }
                if i - begin < shortest {
                    continue;
                }
                let before = begin.checked_sub(back).map(|b| (x[b] - end).abs());
                let after = x.get(i + back - 1).map(|v| (v - end).abs());
                let way = before.unwrap_or(0.0).max(after.unwrap_or(0.0));
                if way >= self.way * span {
                    there += i - begin;
                }
            }
            // One sample at the end of the range is its highest or lowest one.
            if there > 1 {
                held += there;
            }
        }
        ramp(held as f64 / x.len() as f64, self.bad, 0.3 * self.bad)
    }
}
