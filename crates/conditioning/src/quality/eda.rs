// SPDX-License-Identifier: MPL-2.0
//! The quality of skin conductance, in µS.

use super::series::{Means, detrend, hum, odd, quantile, range};
use super::{Reason, Verdict, ramp};

/// Below the first of these the electrodes are off the skin, above the second they are on it, µS.
pub(crate) const CONTACT: [f64; 2] = [0.012, 0.03];
/// Highest conductance of skin, µS, and how far below 0 noise may take it.
const HIGHEST: f64 = 100.0;
const LOWEST: f64 = -0.02;
/// Level, µS, below which shares of the level are taken of this instead.
const LEAST: f64 = 0.1;

/// What is measured of four seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measures {
    /// Median of the absolute values, µS.
    pub(super) level: f64,
    /// Share of samples that skin cannot give.
    pub(super) outside: f64,
    /// Typical size of movements up and down from sample to sample, of the level: at the sender's
    /// rate, and at about 4 Hz.
    pub(super) rough: f64,
    pub(super) slowly_rough: f64,
    /// Mains hum of all faster power at the sender's rate.
    pub(super) hum: f64,
    /// The largest fall within half a second, of the level before it.
    pub(super) fall: f64,
    /// The largest rise within a quarter of a second (or a period): of the whole range, of the
    /// level, and in µS per second.
    pub(super) jump: f64,
    pub(super) jump_size: f64,
    pub(super) slope: f64,
    /// The way that the values go up and down, of their range; and that range, of the level.
    pub(super) way: f64,
    pub(super) range: f64,
}

/// Typical size of the smaller of two neighbouring differences of opposite sign: 0 for whatever
/// only rises or falls for most of the time, about a third of the deviation of white noise. One
/// movement among many samples does not count.
fn zigzag(x: &[f64]) -> f64 {
    let turns = x.windows(3).map(|w| {
        let (a, b) = (w[1] - w[0], w[2] - w[1]);
        if a * b < 0.0 {
            a.abs().min(b.abs())
        } else {
            0.0
        }
    });
    let turns: Vec<f64> = turns.collect();
    // The mean of the middle half.
    let low = quantile(&turns, 0.5);
    0.5 * (low + quantile(&turns, 0.65))
}

/// `raw`: the window at `rate` Hz; `slow`: the same at about 4 Hz.
pub(super) fn measure(raw: &[f64], rate: f64, slow: &[f64], slow_rate: f64) -> Measures {
    let absolute: Vec<f64> = raw.iter().map(|v| v.abs()).collect();
    let level = quantile(&absolute, 0.5);
    let floor = level.max(LEAST);
    let outside = raw
        .iter()
        .filter(|v| !(LOWEST..=HIGHEST).contains(*v))
        .count();
    let back = ((0.5 * slow_rate).round() as usize).max(1);
    // What is before and after a rise tells a response from a step.
    let aside = (0.75 * slow_rate).ceil() as usize;
    let judged = aside..slow.len().saturating_sub(aside);
    let (mut fall, mut jump) = (0.0f64, 0.0f64);
    for i in 1..slow.len() {
        let before = slow[i.saturating_sub(back)..i]
            .iter()
            .copied()
            .fold(f64::MIN, f64::max);
        fall = fall.max((before - slow[i]) / before.max(LEAST));
        if judged.contains(&i) {
            jump = jump.max(slow[i] - slow[i - 1]);
        }
    }
    let span = range(slow);
    let way: f64 = slow.windows(2).map(|w| (w[1] - w[0]).abs()).sum();
    Measures {
        level,
        outside: outside as f64 / raw.len().max(1) as f64,
        rough: zigzag(raw) / floor,
        slowly_rough: zigzag(slow) / floor,
        hum: hum(&detrend(raw, odd(1.0, rate)), rate, 1.0),
        fall,
        jump: if span > 0.0 { jump / span } else { 0.0 },
        jump_size: jump / floor,
        slope: jump * slow_rate,
        way: if span > 0.0 { way / span } else { 0.0 },
        range: span / floor,
    }
}

pub(super) fn judge(raw: &[f64], rate: f64, means: &Means, verdict: &mut Verdict) {
    let m = measure(raw, rate, &means.values(), means.rate());
    verdict.put(ramp(m.level, CONTACT[0], CONTACT[1]), Reason::Detached);
    verdict.put(ramp(m.outside, 0.2, 0.02), Reason::OutOfRange);
    let rough = ramp(m.rough, 0.025, 0.01).min(ramp(m.slowly_rough, 0.011, 0.006));
    // At a lower rate the line is no narrower than noise.
    let hum = m.hum > 0.6 && rate > 10.0;
    verdict.put(rough, if hum { Reason::Hum } else { Reason::Noise });
    // Sweat is cleared slowly; only a lost contact falls at once.
    verdict.put(ramp(m.fall, 0.4, 0.2), Reason::Motion);
    verdict.put(ramp(m.slope, 20.0, 10.0), Reason::Motion);
    // A response takes a second to rise. A step is a rise that is there all at once.
    let step = ramp(m.jump, 0.75, 0.95) * ramp(m.jump_size, 0.15, 0.4);
    verdict.put(1.0 - step, Reason::Motion);
    let swings = ramp(m.way, 2.5, 4.5) * ramp(m.range, 0.1, 0.3);
    verdict.put(1.0 - swings, Reason::Motion);
}
