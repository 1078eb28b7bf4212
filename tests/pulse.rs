// SPDX-License-Identifier: MPL-2.0
//! The pulse rate as `models/default` asks for it, from made-up hearts whose rate is known: what a sensor does at its start, after a gap, and between beats must not lose the
//! heart or double it.

use conditioning::{Conditioner, NormalisationSpec, SignalSpec};
use mvp::InputSpecs;
use std::path::Path;

/// The signal of `models/default`, in beats per minute.
fn spec(name: &str) -> SignalSpec {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let specs = InputSpecs::read(&model).expect("models/default");
    let signal = specs.signals.into_iter().find(|s| s.name == name);
    SignalSpec {
        normalisation: NormalisationSpec::None,
        ..signal.expect("a signal of models/default")
    }
}

/// Even numbers around 0, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }
}

/// One wave of a beat: height, seconds after the beat, width in seconds.
type Wave = (f64, f64, f64);

/// An ECG with a T wave of height `t` after `after` seconds and `width` wide.
fn ecg(t: f64, after: f64, width: f64) -> Vec<Wave> {
    vec![
        (0.12, -0.16, 0.025),
        (-0.1, -0.035, 0.011),
        (1.0, 0.0, 0.011),
        (-0.22, 0.035, 0.011),
        (t, after, width),
    ]
}

/// An ordinary T wave at this rate: later and wider in a slow heart.
fn ordinary(bpm: f64, t: f64) -> Vec<Wave> {
    let stretch = (60.0 / bpm).sqrt();
    ecg(t, 0.31 * stretch, 0.045 * stretch)
}

/// A pulse wave with a dicrotic wave of height `d` after `after` seconds.
fn ppg(d: f64, after: f64) -> Vec<Wave> {
    vec![(1.0, 0.0, 0.08), (d, after, 0.09)]
}

/// Samples of a heart at `rate` Hz: `(seconds, value)`. Intervals vary by 2 %, and there is
/// noise of 1 % of the main wave.
fn heart(bpm: f64, waves: &[Wave], rate: f64, seconds: f64) -> Vec<(f64, f64)> {
    let mut noise = Noise(7);
    let count = (seconds * rate) as usize;
    let mut samples: Vec<_> = (0..count).map(|i| (i as f64 / rate, 0.0)).collect();
    let mut beat = 0.37;
    while beat < seconds + 1.0 {
        for (height, after, width) in waves {
            let top = beat + after;
            let from = (((top - 6.0 * width) * rate).max(0.0) as usize).min(count);
            let to = (((top + 6.0 * width) * rate).max(0.0) as usize).min(count);
            for (t, v) in &mut samples[from..to] {
                *v += height * (-0.5 * ((*t - top) / width).powi(2)).exp();
            }
        }
        beat += 60.0 / bpm * (1.0 + 0.02 * noise.next());
    }
    for (_, v) in &mut samples {
        *v += 0.01 * noise.next();
    }
    samples
}

/// The rate at each grid point, by second.
fn told(name: &str, rate: f64, samples: &[(f64, f64)]) -> Vec<(f64, Option<f64>)> {
    let mut spec = spec(name);
    // The detector alone: the quality of a made wave with a high second peak is low, and a
    // bundle masks it.
    spec.checks.min_quality = 0.0;
    let grid = spec.rate;
    let mut conditioner = Conditioner::new(spec, rate, None);
    let mut out = Vec::new();
    for (t, v) in samples {
        conditioner.push((t * 1e9).round() as u64, *v, |p| {
            out.push((p.k as f64 / grid, p.value.map(f64::from)));
        });
    }
    let end = samples.last().map_or(0.0, |(t, _)| *t);
    conditioner.close((end * 1e9) as u64, |p| {
        out.push((p.k as f64 / grid, p.value.map(f64::from)));
    });
    out
}

/// From `from` seconds on there is a rate at 95 of 100 points, and it is right at 95 of those.
fn expect(what: &str, told: &[(f64, Option<f64>)], from: f64, bpm: f64) {
    let late: Vec<_> = told.iter().filter(|(t, _)| *t >= from).collect();
    assert!(late.len() > 40, "{what}: {} points", late.len());
    let rates: Vec<f64> = late.iter().filter_map(|(_, r)| *r).collect();
    let covered = rates.len() as f64 / late.len() as f64;
    let right = rates.iter().filter(|r| (*r - bpm).abs() < 1.0 + 0.03 * bpm);
    let right = right.count() as f64 / rates.len().max(1) as f64;
    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    assert!(
        covered > 0.95 && right > 0.95,
        "{what}: coverage {covered:.3}, right {right:.3}, mean {mean:.1} for {bpm}"
    );
}

/// Both sensors, with the rate that each is sampled at.
fn sensors(bpm: f64) -> [(&'static str, f64, Vec<Wave>); 2] {
    [
        ("ecg", 256.0, ordinary(bpm, 0.25)),
        ("ppg", 64.0, ppg(0.25, 0.33)),
    ]
}

#[test]
fn a_spike_at_the_start_does_not_lose_the_heart() {
    for (name, rate, waves) in sensors(72.0) {
        let clean = heart(72.0, &waves, rate, 60.0);
        for size in [-20.0, 3.0, 5.0, 20.0, 200.0] {
            for starts in [
                &[0.0][..],
                &[0.4],
                &[0.9],
                &[1.3],
                &[1.9],
                &[0.2, 0.7, 1.1, 1.9],
            ] {
                for width in [0.01, 0.1, 1.0] {
                    let mut samples = clean.clone();
                    for (t, v) in &mut samples {
                        if starts.iter().any(|s| (*s..*s + width).contains(t)) {
                            *v += size;
                        }
                    }
                    let what = format!("{name}, {size} × for {width} s at {starts:?}");
                    expect(&what, &told(name, rate, &samples), 32.0, 72.0);
                }
            }
        }
    }
}

#[test]
fn a_value_that_no_filter_can_hold_does_not_lose_the_heart() {
    for (name, rate, waves) in sensors(72.0) {
        let mut samples = heart(72.0, &waves, rate, 60.0);
        let at = (15.0 * rate) as usize;
        samples[at].1 = f64::MAX;
        samples[at + 1].1 = -f64::MAX;
        expect(name, &told(name, rate, &samples), 32.0, 72.0);
    }
}

#[test]
fn after_a_gap_the_heart_may_be_fainter_or_stronger() {
    for (name, rate, waves) in sensors(72.0) {
        for gap in [0.5, 1.0, 4.0] {
            for factor in [0.001, 0.1, 0.3, 3.0, 100.0] {
                let mut samples = heart(72.0, &waves, rate, 70.0);
                samples.retain(|(t, _)| !(30.0..30.0 + gap).contains(t));
                for (_, v) in samples.iter_mut().filter(|(t, _)| *t > 30.0) {
                    *v *= factor;
                }
                let what = format!("{name}, {factor} × after {gap} s");
                expect(&what, &told(name, rate, &samples), 45.0, 72.0);
            }
        }
    }
}

#[test]
fn a_step_of_the_amplitude_is_followed() {
    for (name, rate, waves) in sensors(72.0) {
        for factor in [0.1, 0.3, 3.0, 10.0] {
            let mut samples = heart(72.0, &waves, rate, 80.0);
            for (_, v) in samples.iter_mut().filter(|(t, _)| *t > 30.0) {
                *v *= factor;
            }
            let what = format!("{name}, {factor} × at once");
            expect(&what, &told(name, rate, &samples), 50.0, 72.0);
        }
    }
}

#[test]
fn a_t_wave_is_no_beat() {
    for bpm in [50.0, 60.0, 75.0, 87.0, 100.0, 120.0, 150.0] {
        for t in [0.2, 0.4, 0.6, 0.8] {
            let stretch = (60.0f64 / bpm).sqrt();
            let shapes = [
                ordinary(bpm, t),
                // Narrow ones, of which the filter leaves much.
                ecg(t, 0.31 * stretch, 0.025),
                ecg(t, (0.36f64).min(0.6 * 60.0 / bpm), 0.02),
                // Up to higher than R before the filter.
                ordinary(bpm, 1.6 * t),
            ];
            for (i, waves) in shapes.into_iter().enumerate() {
                for sign in [1.0, -1.0] {
                    for rate in [128.0, 256.0] {
                        let mut samples = heart(bpm, &waves, rate, 40.0);
                        samples.iter_mut().for_each(|(_, v)| *v *= sign);
                        let what = format!("{bpm}, T {t}, shape {i}, sign {sign}, {rate} Hz");
                        expect(&what, &told("ecg", rate, &samples), 20.0, bpm);
                    }
                }
            }
        }
    }
}

#[test]
fn a_dicrotic_wave_is_no_beat() {
    for bpm in [45.0, 60.0, 75.0, 100.0, 120.0, 150.0] {
        for d in [0.0, 0.2, 0.4, 0.6] {
            for after in [0.25, 0.3, 0.36, 0.42] {
                if after > 45.0 / bpm {
                    continue;
                }
                for rate in [64.0, 128.0] {
                    let samples = heart(bpm, &ppg(d, after), rate, 40.0);
                    let what = format!("{bpm}, dicrotic {d} after {after} s, {rate} Hz");
                    expect(&what, &told("ppg", rate, &samples), 20.0, bpm);
                }
            }
        }
    }
}

#[test]
fn no_true_rate_is_halved() {
    for bpm in [45.0, 60.0, 90.0, 115.0, 125.0, 140.0, 155.0, 170.0] {
        for (name, rate, waves) in sensors(bpm) {
            let waves: Vec<_> = waves.into_iter().filter(|w| w.1 < 30.0 / bpm).collect();
            let mut noise = Noise(3);
            // Breathing changes the height, and so does chance.
            let mut samples = heart(bpm, &waves, rate, 60.0);
            for second in samples.chunks_mut((60.0 / bpm * rate) as usize) {
                let chance = 1.0 + 0.1 * noise.next();
                for (t, v) in second {
                    *v *= chance * (1.0 + 0.2 * (t.rem_euclid(4.0) - 2.0).abs() - 0.2);
                }
            }
            expect(
                &format!("{name} at {bpm}"),
                &told(name, rate, &samples),
                20.0,
                bpm,
            );
        }
    }
}
