// SPDX-License-Identifier: MPL-2.0
//! Made hearts, of which every beat is known.

use super::*;
use std::f64::consts::PI;

/// Even numbers from −1 to 1, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }

    /// About normal, of variance 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() * 0.5
    }
}

/// One wave of a beat: height, seconds after the beat's mark, width of its rise and of its fall
/// in seconds.
type Bump = (f64, f64, [f64; 2]);

#[derive(Clone)]
struct Heart {
    signal: HeartSignal,
    bumps: Vec<Bump>,
    bpm: f64,
    /// Variation of the intervals, a share: by breathing, and by chance.
    varies: f64,
    chance: f64,
    rate: f64,
    seconds: f64,
    noise: f64,
}

impl Heart {
    /// An ECG with a T wave of height `t`, which comes later in a slow heart.
    fn ecg(bpm: f64, t: f64, rate: f64) -> Self {
        let stretch = (60.0 / bpm).sqrt();
        Self {
            signal: HeartSignal::Ecg,
            bumps: vec![
                (0.12, -0.16 * stretch, [0.022; 2]),
                (-0.12, -0.03, [0.01; 2]),
                (1.0, 0.0, [0.011; 2]),
                (-0.25, 0.032, [0.011; 2]),
                (t, 0.31 * stretch, [0.045 * stretch; 2]),
            ],
            bpm,
            varies: 0.05,
            chance: 0.01,
            rate,
            seconds: 60.0,
            noise: 0.01,
        }
    }

    /// A PPG with a dicrotic wave of height `d`. Its steepest point is the beat.
    fn ppg(bpm: f64, d: f64, rate: f64) -> Self {
        Self {
            signal: HeartSignal::Ppg,
            bumps: vec![(1.0, 0.07, [0.07, 0.12]), (d, 0.07 + 0.3, [0.09, 0.12])],
            noise: 0.005,
            ..Self::ecg(bpm, 0.0, rate)
        }
    }

    /// The value at `t` seconds, without noise.
    fn at(&self, beats: &[f64], t: f64) -> f64 {
        let near = beats.iter().filter(|b| (**b - t).abs() < 1.5);
        near.flat_map(|b| self.bumps.iter().map(move |bump| (b, bump)))
            .map(|(beat, (height, after, [rise, fall]))| {
                let from = t - beat - after;
                let width = if from < 0.0 { rise } else { fall };
                height * (-0.5 * (from / width).powi(2)).exp()
            })
            .sum()
    }

    /// Beats (seconds) and samples: (seconds, value).
    fn made(&self) -> (Vec<f64>, Vec<(f64, f64)>) {
        let mut noise = Noise(7);
        let count = (self.seconds * self.rate) as usize;
        let mut samples: Vec<_> = (0..count).map(|i| (i as f64 / self.rate, 0.0)).collect();
        let mut beats = Vec::new();
        let mut beat = 0.37;
        while beat < self.seconds + 1.0 {
            beats.push(beat);
            for (height, after, width) in &self.bumps {
                let top = beat + after;
                let place = |t: f64| ((t * self.rate).max(0.0) as usize).min(count);
                let [rise, fall] = *width;
                for (t, v) in &mut samples[place(top - 6.0 * rise)..place(top + 6.0 * fall)] {
                    let width = if *t < top { rise } else { fall };
                    *v += height * (-0.5 * ((*t - top) / width).powi(2)).exp();
                }
            }
            let breath = self.varies * (2.0 * PI * 0.25 * beat).sin();
            beat += 60.0 / self.bpm * (1.0 + breath + self.chance * noise.next());
        }
        for (_, v) in &mut samples {
            *v += self.noise * noise.normal();
        }
        if self.signal == HeartSignal::Ppg {
            // The steepest point is not quite the same when the beat before still falls.
            let steepest = |beat: &f64| {
                let near = (-60..=60).map(|i| beat + 0.001 * f64::from(i));
                let slope = |t: f64| self.at(&beats, t + 1e-4) - self.at(&beats, t - 1e-4);
                near.max_by(|a, b| slope(*a).total_cmp(&slope(*b)))
            };
            beats = beats.iter().filter_map(steepest).collect();
        }
        beats.retain(|b| *b < self.seconds);
        (beats, samples)
    }
}

/// A beat and when it was told, in seconds.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: f64,
    confidence: f64,
    when: f64,
}

/// The beats that were told, and the rate at each sample.
fn heard(heart: &Heart, samples: &[(f64, f64)]) -> (Vec<Told>, Vec<(f64, Option<f64>)>) {
    let mut detector = BeatDetector::new(heart.signal, heart.rate);
    let mut rate = HeartRate::new(30.0, 240.0, 10.0);
    let mut told = Vec::new();
    let mut rates = Vec::new();
    for (when, value) in samples {
        let time = crate::nanoseconds(*when);
        detector.push(time, *value, |beat| {
            rate.beat(beat);
            told.push(Told {
                at: beat.time as f64 * 1e-9,
                confidence: beat.confidence,
                when: *when,
            });
        });
        rates.push((*when, rate.rate(time)));
    }
    (told, rates)
}

/// How well beats were found from `from` to `to` seconds: sensitivity, precision, and the median
/// error of their times in seconds.
fn score(beats: &[f64], told: &[Told], [from, to]: [f64; 2]) -> (f64, f64, f64) {
    let near = |t: f64, at: f64| (t - at).abs() < 0.075;
    let inside = |t: f64| (from..to).contains(&t);
    let wanted: Vec<f64> = beats.iter().copied().filter(|b| inside(*b)).collect();
    let found: Vec<f64> = told.iter().map(|b| b.at).filter(|t| inside(*t)).collect();
    let mut errors: Vec<f64> = wanted
        .iter()
        .filter_map(|b| {
            let errors = told.iter().map(|t| (t.at - b).abs());
            errors.min_by(f64::total_cmp).filter(|e| *e < 0.075)
        })
        .collect();
    let right = found.iter().filter(|t| beats.iter().any(|b| near(**t, *b)));
    let right = right.count() as f64 / found.len().max(1) as f64;
    let sensitivity = errors.len() as f64 / wanted.len().max(1) as f64;
    errors.sort_by(f64::total_cmp);
    let middle = errors.get(errors.len() / 2).copied().unwrap_or(1.0);
    (sensitivity, right, middle)
}

/// All beats are found between the two times and no others, within 10 ms in the middle.
fn expect_all(what: &str, beats: &[f64], told: &[Told], span: [f64; 2]) {
    let (sensitivity, precision, error) = score(beats, told, span);
    let missing = beats.iter().filter(|b| {
        let near = |t: &Told| (t.at - **b).abs() < 0.075;
        (span[0]..span[1]).contains(*b) && !told.iter().any(near)
    });
    assert!(
        sensitivity >= 0.995 && precision >= 0.995 && error < 0.01,
        "{what}: sensitivity {sensitivity:.3}, precision {precision:.3}, {:.1} ms, missing {:?}",
        1e3 * error,
        missing.collect::<Vec<_>>()
    );
}

fn hearts() -> [Heart; 3] {
    [
        Heart::ecg(72.0, 0.3, 256.0),
        Heart::ecg(72.0, 0.3, 1000.0),
        Heart::ppg(72.0, 0.3, 64.0),
    ]
}

#[test]
fn every_beat_at_any_rate_and_either_polarity() {
    for rate in [
        50.0, 64.0, 100.0, 128.0, 256.0, 360.0, 500.0, 1000.0, 2048.0, 4000.0,
    ] {
        for bpm in [45.0, 72.0, 100.0, 150.0] {
            for signal in [Heart::ecg(bpm, 0.3, rate), Heart::ppg(bpm, 0.3, rate)] {
                let heart = Heart {
                    seconds: 30.0,
                    ..signal
                };
                let (beats, samples) = heart.made();
                for sign in [1.0, -1.0] {
                    let turned: Vec<_> = samples.iter().map(|(t, v)| (*t, sign * v)).collect();
                    let (told, _) = heard(&heart, &turned);
                    let what = format!("{:?}, {rate} Hz, {bpm}, sign {sign}", heart.signal);
                    expect_all(&what, &beats, &told, [7.5, 28.0]);
                    let sure = told.iter().filter(|b| b.at > 7.5 && b.confidence < 0.8);
                    assert!(sure.count() <= told.len() / 50, "{what}: {told:?}");
                    let late = told.iter().filter(|b| b.at > 9.0 && b.when - b.at > 0.8);
                    assert_eq!(late.count(), 0, "{what}");
                }
            }
        }
    }
}

#[test]
fn the_first_beats_are_told_as_well() {
    for heart in hearts() {
        let (beats, samples) = heart.made();
        let (told, rates) = heard(&heart, &samples);
        expect_all("start", &beats, &told, [1.0, 58.0]);
        let first = rates.iter().find(|(_, r)| r.is_some());
        assert!(first.is_some_and(|(t, _)| *t < 5.0), "{first:?}");
    }
}

#[test]
fn a_tall_t_wave_is_no_beat() {
    for bpm in [50.0, 60.0, 87.0, 100.0, 120.0, 150.0] {
        for rate in [64.0, 128.0, 250.0, 1000.0] {
            for (t, width) in [(0.5, 1.0), (1.0, 1.0), (1.3, 1.0), (0.5, 0.6), (0.8, 0.6)] {
                let mut heart = Heart::ecg(bpm, t, rate);
                heart.bumps[4].2 = heart.bumps[4].2.map(|w| w * width);
                heart.seconds = 40.0;
                let (beats, samples) = heart.made();
                for sign in [1.0, -1.0] {
                    let turned: Vec<_> = samples.iter().map(|(t, v)| (*t, sign * v)).collect();
                    let (told, _) = heard(&heart, &turned);
                    let what = format!("{bpm}, T {t} × {width}, {rate} Hz, sign {sign}");
                    expect_all(&what, &beats, &told, [5.0, 38.0]);
                }
            }
        }
    }
}

#[test]
fn a_dicrotic_wave_is_no_beat() {
    for bpm in [45.0, 60.0, 75.0, 100.0, 120.0] {
        for d in [0.0, 0.2, 0.4, 0.6] {
            for after in [0.25, 0.3, 0.36] {
                // It would begin the next pulse.
                if after > 40.0 / bpm {
                    continue;
                }
                let mut heart = Heart::ppg(bpm, d, 64.0);
                heart.bumps[1].1 = 0.07 + after;
                let (beats, samples) = heart.made();
                let (told, _) = heard(&heart, &samples);
                let what = format!("{bpm}, dicrotic {d} after {after} s");
                expect_all(&what, &beats, &told, [5.0, 58.0]);
            }
        }
    }
}

/// From 5 s after a disturbance that ends at `end` on, every beat is found again, and the rate
/// is right whenever there is one.
fn expect_back(what: &str, heart: &Heart, samples: &[(f64, f64)], end: f64) {
    let (beats, _) = heart.made();
    let (told, rates) = heard(heart, samples);
    expect_all(what, &beats, &told, [end + 5.0, heart.seconds - 2.0]);
    let early = told.iter().filter(|b| b.when >= end && b.when < end + 5.0);
    let (_, right, _) = score(
        &beats,
        &early.copied().collect::<Vec<_>>(),
        [end, end + 5.0],
    );
    assert!(right > 0.6, "{what}: {right}");
    let known = rates.iter().find(|(t, r)| *t > end && r.is_some());
    assert!(
        known.is_some_and(|(t, _)| *t < end + 6.5),
        "{what}: {known:?}"
    );
    for (t, rate) in rates.iter().filter(|(t, _)| *t > end + 5.0) {
        let wrong = rate.is_some_and(|r| (r - heart.bpm).abs() > 5.0);
        assert!(!wrong, "{what}: {rate:?} at {t}");
    }
    let late = rates.iter().filter(|(t, _)| *t > end + 12.0);
    assert!(late.clone().all(|(_, r)| r.is_some()), "{what}");
}

#[test]
fn a_spike_of_any_size_is_forgotten() {
    for heart in hearts() {
        let (_, clean) = heart.made();
        for size in [3.0, 5.0, -20.0, 200.0, 1e6, 1e30, f64::MAX] {
            for starts in [
                &[0.1][..],
                &[1.9],
                &[0.2, 0.7, 1.1, 1.9],
                &[30.0],
                &[30.0, 31.0],
            ] {
                for width in [0.002f64, 0.1, 1.0] {
                    let mut samples = clean.clone();
                    for (t, v) in &mut samples {
                        if starts
                            .iter()
                            .any(|s| (*s..*s + width.max(1.0 / heart.rate)).contains(t))
                        {
                            *v += size;
                        }
                    }
                    let end = starts[starts.len() - 1] + width;
                    let what = format!("{:?}, {size} × for {width} s at {starts:?}", heart.signal);
                    expect_back(&what, &heart, &samples, end);
                }
            }
        }
    }
}

#[test]
fn after_a_gap_or_lost_contact_the_amplitude_may_be_another() {
    for heart in hearts() {
        let (_, clean) = heart.made();
        for gap in [0.3, 1.0, 4.0] {
            for factor in [0.001, 0.1, 0.3, 1.0, 3.0, 10.0, 1000.0] {
                for (how, left) in [("gap", None), ("NaN", Some(f64::NAN)), ("off", Some(9.0))] {
                    let mut samples = clean.clone();
                    let lost = |t: f64| (30.0..30.0 + gap).contains(&t);
                    for (t, v) in samples.iter_mut().filter(|(t, _)| *t >= 30.0) {
                        *v = left.filter(|_| lost(*t)).unwrap_or(*v * factor);
                    }
                    if left.is_none() {
                        samples.retain(|(t, _)| !lost(*t));
                    }
                    let what = format!("{:?}, {how} of {gap} s, × {factor}", heart.signal);
                    expect_back(&what, &heart, &samples, 30.0 + gap);
                }
            }
        }
    }
}

#[test]
fn a_step_of_the_amplitude_is_followed() {
    for heart in hearts() {
        for factor in [0.1, 0.3, 3.0, 10.0] {
            let (_, mut samples) = heart.made();
            for (_, v) in samples.iter_mut().filter(|(t, _)| *t > 30.0) {
                *v *= factor;
            }
            let what = format!("{:?}, × {factor} at once", heart.signal);
            expect_back(&what, &heart, &samples, 30.0);
        }
    }
}

#[test]
fn single_missing_samples_change_nothing() {
    for heart in hearts() {
        let (beats, mut samples) = heart.made();
        let mut noise = Noise(5);
        for (_, v) in &mut samples {
            if noise.next() > 0.9 {
                *v = f64::NAN;
            }
        }
        let (told, _) = heard(&heart, &samples);
        let (sensitivity, precision, error) = score(&beats, &told, [5.0, 58.0]);
        assert!(
            sensitivity >= 0.98 && precision >= 0.98 && error < 0.01,
            "{:?}: {sensitivity} {precision} {error}",
            heart.signal
        );
    }
}

#[test]
fn an_irregular_heart_keeps_its_beats() {
    for heart in hearts() {
        let heart = Heart {
            chance: 0.35,
            ..heart
        };
        let (beats, samples) = heart.made();
        let (told, rates) = heard(&heart, &samples);
        let (sensitivity, precision, _) = score(&beats, &told, [5.0, 58.0]);
        assert!(
            sensitivity > 0.97 && precision > 0.97,
            "{:?}: {sensitivity} {precision}",
            heart.signal
        );
        let sure = told.iter().filter(|b| b.confidence >= Beat::SURE).count();
        assert!(sure * 10 >= told.len() * 9, "{sure} of {}", told.len());
        assert!(rates.iter().skip(rates.len() / 3).all(|(_, r)| r.is_some()));
    }
}

#[test]
fn noise_hum_and_silence_are_no_heart() {
    for rate in [64.0, 128.0, 250.0, 1000.0] {
        for signal in [HeartSignal::Ecg, HeartSignal::Ppg] {
            let heart = Heart {
                signal,
                seconds: 120.0,
                ..Heart::ecg(72.0, 0.3, rate)
            };
            type Wave<'a> = Box<dyn FnMut(f64) -> f64 + 'a>;
            let mut noise = Noise(3);
            let waves: [(&str, Wave<'_>); 4] = [
                ("noise", Box::new(|_| noise.normal())),
                ("hum of 50 Hz", Box::new(|t| (2.0 * PI * 50.0 * t).sin())),
                ("silence", Box::new(|_| 0.0)),
                ("one value", Box::new(|_| 1e6)),
            ];
            for (what, mut wave) in waves {
                // A hum above half the rate is sampled as something else.
                if what.starts_with("hum") && rate < 120.0 {
                    continue;
                }
                let count = (heart.seconds * rate) as usize;
                let samples: Vec<_> = (0..count)
                    .map(|i| i as f64 / rate)
                    .map(|t| (t, wave(t)))
                    .collect();
                let (told, rates) = heard(&heart, &samples);
                let known = rates.iter().filter(|(_, r)| r.is_some()).count();
                assert!(
                    known * 50 <= rates.len(),
                    "{signal:?}, {what}, {rate} Hz: a rate for {known} of {}, {} beats",
                    rates.len(),
                    told.len()
                );
            }
        }
    }
}

#[test]
fn a_rate_too_low_for_a_heartbeat_gives_none() {
    for rate in [0.0, 4.0, f64::NAN] {
        let mut detector = BeatDetector::new(HeartSignal::Ecg, rate);
        for i in 0..1000u64 {
            detector.push(i * 250_000_000, (i % 4) as f64, |_| panic!("a beat"));
        }
    }
}
