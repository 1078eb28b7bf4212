// SPDX-License-Identifier: MPL-2.0
//! The quality of an ECG.

use super::series::{Spectrum, detrend, likeness, moment, odd, peaks, quantile, smooth};
use super::{Reason, Verdict, ramp};

/// What is measured of four seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measures {
    /// How much the beats look like each other, −1 to 1.
    pub(super) likeness: f64,
    /// Kurtosis of the slope.
    pub(super) kurtosis: f64,
    /// Power at 5–15 Hz of that at 5–40 Hz.
    pub(super) spectral: f64,
    /// Mains hum of all power.
    pub(super) hum: f64,
    /// Power below 1 Hz of that up to 40 Hz.
    pub(super) baseline: f64,
    /// Beats found.
    pub(super) beats: usize,
}

/// `x`: the window at `rate` Hz; `hum`: its share at the rate of the sender.
pub(super) fn measure(x: &[f64], rate: f64, hum: f64) -> Measures {
    let spectrum = Spectrum::new(x, rate, 0.5 * rate);
    let wide = spectrum.band(5.0, 40.0).max(f64::MIN_POSITIVE);
    let flat = detrend(x, odd(0.6, rate));
    let soft = smooth(&flat, odd(0.012, rate));
    let step = ((0.008 * rate).round() as usize).max(1);
    let slope: Vec<f64> = (0..soft.len())
        .map(|i| {
            let (a, b) = (i.saturating_sub(step), (i + step).min(soft.len() - 1));
            soft[b] - soft[a]
        })
        .collect();
    let energy: Vec<f64> = slope.iter().map(|s| s * s).collect();
    let energy = smooth(&energy, odd(0.08, rate));
    let beats = beats(&energy, rate);
    let reach = |s: f64| (s * rate).round() as usize;
    let shape = smooth(&flat, odd(0.02, rate));
    let alike = likeness(&shape, &beats, [reach(0.12), reach(0.26)], reach(0.025));
    Measures {
        likeness: quantile(&alike, 0.6),
        kurtosis: moment(&slope, 4),
        spectral: spectrum.band(5.0, 15.0) / wide,
        hum,
        baseline: spectrum.band(0.0, 1.0) / spectrum.band(0.0, 40.0).max(f64::MIN_POSITIVE),
        beats: beats.len(),
    }
}

/// Where the energy of the slope has its peaks. The second highest peak sets the height, so that
/// one spike does not hide the beats.
fn beats(energy: &[f64], rate: f64) -> Vec<usize> {
    let found = peaks(energy, (0.27 * rate) as usize, 16);
    let height = found.get(1).map_or(0.0, |i| energy[*i]);
    let mut beats: Vec<usize> = Vec::new();
    // In order of height: a lower peak soon after a higher one is its T wave.
    for i in found {
        let echo = beats.iter().any(|b| {
            i > *b && ((i - b) as f64) < 0.42 * rate && energy[i] < 0.35 * energy[*b].min(height)
        });
        if energy[i] >= 0.15 * height && !echo {
            beats.push(i);
        }
    }
    beats.sort_unstable();
    beats
}

pub(super) fn judge(x: &[f64], rate: f64, hum: f64, verdict: &mut Verdict) {
    let m = measure(x, rate, hum);
    verdict.put(ramp(m.hum, 0.75, 0.4), Reason::Hum);
    verdict.put(ramp(m.baseline, 0.999, 0.99), Reason::Motion);
    let shape = ramp(m.likeness, 0.35, 0.8);
    let peaked = ramp(m.kurtosis, 3.5, 6.0);
    let spectral = ramp(m.spectral, 0.3, 0.5);
    let beats = if m.beats < 2 { 0.0 } else { 1.0 };
    verdict.put(
        beats * ramp((shape + peaked + spectral) / 3.0, 0.45, 0.75),
        Reason::Noise,
    );
}
