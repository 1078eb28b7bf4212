// SPDX-License-Identifier: MPL-2.0
//! The quality of a PPG.

use super::series::{Spectrum, detrend, likeness, moment, odd, peaks, quantile, smooth};
use super::{Reason, Verdict, ramp};

/// What is measured of four seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measures {
    /// How much the pulses look like each other, −1 to 1.
    pub(super) likeness: f64,
    /// Skewness of the slope: a pulse rises faster than it falls. Without its sign, which is
    /// the polarity.
    pub(super) skewness: f64,
    /// Power at the pulse rate and its next two multiples of that at 0.6–12 Hz.
    pub(super) concentration: f64,
    /// Power above 6 Hz of that above 0.6 Hz.
    pub(super) fast: f64,
    /// Mains hum of all power.
    pub(super) hum: f64,
    /// Pulses found.
    pub(super) beats: usize,
}

/// `x`: the window at `rate` Hz; `hum`: its share at the rate of the sender.
pub(super) fn measure(x: &[f64], rate: f64, hum: f64) -> Measures {
    let flat = detrend(x, odd(1.6, rate));
    let spectrum = Spectrum::new(&flat, rate, 0.5 * rate);
    let all = spectrum.band(0.6, 0.5 * rate).max(f64::MIN_POSITIVE);
    let wide = spectrum.band(0.6, 12.0).max(f64::MIN_POSITIVE);
    let pulse = spectrum.top(0.6, 3.7);
    let mut lines = 0.0;
    for k in 1..=3 {
        let at = f64::from(k) * pulse;
        let reach = (0.5 * pulse - 0.01).min(0.45);
        lines += spectrum.band(at - reach, at + reach);
    }
    let soft = smooth(&smooth(&flat, odd(0.06, rate)), odd(0.06, rate));
    let step = ((0.03 * rate).round() as usize).max(1);
    let slope: Vec<f64> = (0..soft.len())
        .map(|i| {
            let (a, b) = (i.saturating_sub(step), (i + step).min(soft.len() - 1));
            soft[b] - soft[a]
        })
        .collect();
    let skewness = moment(&slope, 3);
    let up = if skewness < 0.0 { -1.0 } else { 1.0 };
    let rises: Vec<f64> = slope.iter().map(|s| (up * s).max(0.0).powi(2)).collect();
    let rises = smooth(&rises, odd(0.12, rate));
    let found = peaks(&rises, (0.27 * rate) as usize, 16);
    let height = found.get(1).map_or(0.0, |i| rises[*i]);
    let mut beats: Vec<usize> = Vec::new();
    for i in found {
        // In order of height: a lower rise soon after a higher one is the dicrotic wave.
        let echo = beats.iter().any(|b| {
            i > *b && ((i - b) as f64) < 0.5 * rate && rises[i] < 0.4 * rises[*b].min(height)
        });
        if rises[i] >= 0.12 * height && !echo {
            beats.push(i);
        }
    }
    beats.sort_unstable();
    let reach = |s: f64| (s * rate).round() as usize;
    let alike = likeness(&soft, &beats, [reach(0.22), reach(0.38)], reach(0.05));
    Measures {
        likeness: quantile(&alike, 0.5),
        skewness: skewness.abs(),
        concentration: lines / wide,
        fast: spectrum.band(6.0, 0.5 * rate) / all,
        hum,
        beats: beats.len(),
    }
}

pub(super) fn judge(x: &[f64], rate: f64, hum: f64, verdict: &mut Verdict) {
    let m = measure(x, rate, hum);
    verdict.put(ramp(m.hum, 0.6, 0.3), Reason::Hum);
    verdict.put(ramp(m.fast, 0.85, 0.5), Reason::Noise);
    // Calibrated on recordings of wrist and finger, see docs/quality.md.
    let score = 0.4 * ramp(m.likeness, 0.5, 0.88)
        + 0.25 * ramp(m.concentration, 0.45, 0.75)
        + 0.15 * ramp(m.skewness, 0.1, 0.45)
        + 0.2 * ramp(m.fast, 0.15, 0.03);
    let beats = if m.beats < 2 { 0.0 } else { 1.0 };
    let part = beats * ramp(score, 0.55, 0.88);
    // Movement swings as slowly as a pulse; noise is faster.
    let reason = if m.fast > 0.2 {
        Reason::Noise
    } else {
        Reason::Motion
    };
    verdict.put(part, reason);
}
