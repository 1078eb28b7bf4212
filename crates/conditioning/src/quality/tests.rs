// SPDX-License-Identifier: MPL-2.0
//! The meter on made signals.

use super::*;
use std::f64::consts::PI;

/// Repeatable random numbers.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    /// From 0 to 1.
    fn even(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal, deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }
}

fn bump(t: f64, centre: f64, width: f64) -> f64 {
    (-0.5 * ((t - centre) / width).powi(2)).exp()
}

/// Times of beats: mean interval, and its share that it varies by.
fn beats(interval: f64, varies: f64, seconds: f64, seed: u64) -> Vec<f64> {
    let mut dice = Dice(seed);
    let (mut t, mut all) = (0.3, Vec::new());
    while t < seconds + 2.0 {
        all.push(t);
        t += interval * (1.0 + varies * (2.0 * dice.even() - 1.0));
    }
    all
}

/// An ECG in mV: P, Q, R, S and a T wave of the given height.
fn ecg(t: f64, beats: &[f64], tall: f64) -> f64 {
    let near = beats.iter().filter(|b| (t - **b).abs() < 0.7);
    near.map(|b| {
        let s = t - b;
        0.12 * bump(s, -0.17, 0.02) - 0.1 * bump(s, -0.025, 0.008) + bump(s, 0.0, 0.011)
            - 0.2 * bump(s, 0.028, 0.009)
            + tall * bump(s, 0.26, 0.04)
    })
    .sum::<f64>()
        + 0.05 * (2.0 * PI * 0.25 * t).sin()
}

/// A PPG: systolic and dicrotic wave.
fn ppg(t: f64, beats: &[f64]) -> f64 {
    let near = beats.iter().filter(|b| (t - **b).abs() < 1.5);
    near.map(|b| {
        let s = t - b;
        bump(s, 0.18, 0.07) + 0.45 * bump(s, 0.42, 0.11)
    })
    .sum::<f64>()
        + 0.1 * (2.0 * PI * 0.25 * t).sin()
}

/// Skin conductance, µS: a level and responses with a rise of about `rise` seconds.
fn eda(t: f64, level: f64, amplitude: f64, rise: f64) -> f64 {
    let response = |s: f64| {
        if s <= 0.0 {
            return 0.0;
        }
        (1.0 - (-3.0 * s / rise).exp()).powi(2) * (-s / 6.0).exp()
    };
    let all = (0..40).map(|i| response(t - 7.0 - 13.0 * f64::from(i)));
    level * (1.0 + 0.0003 * t) + amplitude * all.sum::<f64>()
}

/// The readings twice a second: time and reading.
fn readings(
    kind: SignalKind,
    rate: f64,
    seconds: f64,
    full_scale: Option<[f64; 2]>,
    mut f: impl FnMut(f64) -> f64,
) -> Vec<(f64, Reading)> {
    let mut meter = QualityMeter::new(kind, rate, full_scale);
    let mut next = 0.5;
    let mut all = Vec::new();
    for i in 0..(seconds * rate) as u64 {
        let t = i as f64 / rate;
        let time = crate::nanoseconds(t);
        meter.push(time, f(t));
        if t >= next {
            next += 0.5;
            all.push((t, meter.reading(time)));
        }
    }
    all
}

fn value(reading: Reading) -> f64 {
    reading.quality.unwrap_or(1.0)
}

/// Asserts that every reading from `from` to `to` seconds is good.
fn good(all: &[(f64, Reading)], from: f64, to: f64, what: &str) {
    let inside = all.iter().filter(|(t, _)| (from..to).contains(t));
    let mut n = 0;
    for (t, reading) in inside {
        n += 1;
        assert!(
            reading.quality.is_some_and(|q| q >= 0.8) && reading.reason.is_none(),
            "{what}: {reading:?} at {t} s"
        );
    }
    assert!(n > 0, "{what}: no reading");
}

/// Asserts that the signal is good, bad from 5 s after `from` to `to` seconds, and good again 5 s
/// later.
fn spoiled(all: &[(f64, Reading)], from: f64, to: f64, reasons: &[Reason], what: &str) {
    good(all, 5.0, from, what);
    for (t, reading) in all.iter().filter(|(t, _)| (from + 5.0..to).contains(t)) {
        assert!(
            reading.quality.is_some_and(|q| q <= 0.2)
                && reading.reason.is_some_and(|r| reasons.contains(&r)),
            "{what}: {reading:?} at {t} s"
        );
    }
    good(all, to + 5.0, f64::MAX, what);
}

const ECG_RATES: [f64; 7] = [64.0, 100.0, 128.0, 256.0, 500.0, 1000.0, 4000.0];
const PPG_RATES: [f64; 6] = [25.0, 50.0, 64.0, 100.0, 250.0, 1000.0];
const EDA_RATES: [f64; 6] = [2.0, 4.0, 8.0, 15.0, 32.0, 100.0];

#[test]
fn good_hearts_are_good_at_every_rate_polarity_and_gain() {
    let gains = [(1.0, 0.0), (-1.0, 0.0), (1e-6, 3.0), (32_000.0, -4e5)];
    let rhythms = [(0.9, 0.05), (0.4, 0.02), (1.45, 0.03), (0.75, 0.35)];
    for (i, (interval, varies)) in rhythms.into_iter().enumerate() {
        let beats = beats(interval, varies, 40.0, 7);
        for (j, rate) in ECG_RATES.into_iter().enumerate() {
            for (k, tall) in [0.25, 0.8, -0.3].into_iter().enumerate() {
                let (gain, offset) = gains[(i + j + k) % gains.len()];
                let all = readings(SignalKind::Ecg, rate, 16.0, None, |t| {
                    gain * ecg(t, &beats, tall) + offset
                });
                let what = format!("ECG at {rate} Hz × {gain}, {interval} ± {varies}, T {tall}");
                good(&all, 4.5, f64::MAX, &what);
            }
        }
        for rate in PPG_RATES {
            for (gain, offset) in gains {
                let all = readings(SignalKind::Ppg, rate, 16.0, None, |t| {
                    gain * ppg(t, &beats) + offset
                });
                let what = format!("PPG at {rate} Hz × {gain}, {interval} ± {varies}");
                good(&all, 4.5, f64::MAX, &what);
            }
        }
    }
}

/// Gain, offset and polarity change nothing but rounding.
#[test]
fn gain_offset_and_polarity_leave_the_reading() {
    let beats = beats(0.8, 0.1, 40.0, 9);
    for kind in [SignalKind::Ecg, SignalKind::Ppg] {
        let run = |gain: f64, offset: f64| {
            let mut dice = Dice(41);
            readings(kind, 128.0, 30.0, None, |t| {
                let clean = match kind {
                    SignalKind::Ecg => ecg(t, &beats, 0.3),
                    _ => ppg(t, &beats),
                };
                // More and more noise: readings of every size.
                gain * (clean + 0.015 * t * dice.normal()) + offset
            })
        };
        let plain = run(1.0, 0.0);
        assert!(plain.iter().any(|(_, r)| (0.2..0.8).contains(&value(*r))));
        for (gain, offset) in [(-1.0, 0.0), (1e-3, 0.5), (-5e4, 1e5)] {
            for (a, b) in plain.iter().zip(run(gain, offset)) {
                let (x, y) = (value(a.1), value(b.1));
                assert!((x - y).abs() < 1e-3, "{kind:?} × {gain}: {a:?} {b:?}");
            }
        }
    }
}

#[test]
fn what_is_no_heart_is_bad_within_five_seconds_and_forgotten_in_five() {
    let beats = beats(0.85, 0.05, 60.0, 3);
    for (kind, rates) in [
        (SignalKind::Ecg, &ECG_RATES[..]),
        (SignalKind::Ppg, &PPG_RATES[..]),
    ] {
        for rate in rates {
            let gain = if *rate as u64 % 3 == 1 { 1.0 } else { -0.001 };
            {
                let clean = |t: f64| match kind {
                    SignalKind::Ecg => ecg(t, &beats, 0.3),
                    _ => ppg(t, &beats),
                };
                let mut dice = Dice(11);
                let run = |what: &str, reasons: &[Reason], f: &mut dyn FnMut(f64) -> f64| {
                    let all = readings(kind, *rate, 40.0, None, |t| {
                        gain * if (15.0..27.0).contains(&t) {
                            f(t)
                        } else {
                            clean(t)
                        }
                    });
                    let what = format!("{what}, {kind:?} at {rate} Hz × {gain}");
                    spoiled(&all, 15.0, 27.0, reasons, &what);
                };
                use Reason::{Clipped, Flat, Hum, Motion, Noise, NotFinite};
                run("noise", &[Noise, Motion], &mut |_| 0.4 * dice.normal());
                run("faint noise", &[Noise, Motion], &mut |_| {
                    0.01 * dice.normal()
                });
                run("flat", &[Flat], &mut |_| 0.1);
                run("saturated", &[Flat], &mut |_| 3.3);
                run("not finite", &[NotFinite], &mut |_| f64::NAN);
                run("clipped", &[Clipped], &mut |t| match kind {
                    SignalKind::Ecg => clean(t).clamp(-0.05, 0.35),
                    _ => clean(t).clamp(0.25, 0.6),
                });
                // At 25 and 50 Hz there is no hum of 50 Hz to be seen.
                for mains in [50.0, 60.0] {
                    if series::alias(mains, *rate) > 2.5 {
                        run("hum", &[Hum, Noise, Motion, Clipped], &mut |t| {
                            0.8 * (2.0 * PI * mains * t + 0.4).sin()
                        });
                    }
                }
                if *rate > 130.0 {
                    run("much hum", &[Hum], &mut |t| {
                        clean(t) + 0.9 * (2.0 * PI * 50.0 * t).sin()
                    });
                }
            }
        }
    }
}

#[test]
fn one_odd_beat_and_one_spike_do_not_make_a_heart_bad() {
    let beats = beats(0.8, 0.05, 40.0, 5);
    for rate in [128.0, 500.0] {
        // A wide beat between two others, and a spike of five times the R wave.
        let all = readings(SignalKind::Ecg, rate, 30.0, None, |t| {
            ecg(t, &beats, 0.3) + 1.3 * bump(t, 15.05, 0.03)
        });
        for (t, reading) in &all {
            assert!(value(*reading) >= 0.5, "{reading:?} at {t} s, {rate} Hz");
        }
        let all = readings(SignalKind::Ecg, rate, 30.0, None, |t| {
            ecg(t, &beats, 0.3) + 5.0 * bump(t, 12.0, 0.004)
        });
        good(&all, 17.0, f64::MAX, "after a spike");
    }
}

#[test]
fn skin_is_good_at_every_rate_with_steep_responses_and_coarse_converters() {
    for rate in EDA_RATES {
        for (level, amplitude, rise) in [
            (0.15, 0.05, 1.5),
            (2.0, 0.8, 2.0),
            (8.0, 5.0, 1.0),
            (0.3, 1.5, 1.2),
            (25.0, 0.1, 3.0),
        ] {
            for step in [0.0, 0.001, 0.024] {
                if step > 0.005 * level {
                    continue;
                }
                // A converter must have made a step before it is known to be coarse.
                let from = if step > 0.0 { 20.0 } else { 3.0 };
                let mut dice = Dice(3);
                let all = readings(SignalKind::Eda, rate, 60.0, None, |t| {
                    let v = eda(t, level, amplitude, rise) * (1.0 + 0.001 * dice.normal());
                    if step > 0.0 {
                        (v / step).round() * step
                    } else {
                        v
                    }
                });
                let what = format!("EDA at {rate} Hz, {level} + {amplitude} µS, step {step}");
                good(&all, from, f64::MAX, &what);
            }
        }
    }
}

#[test]
fn what_is_no_skin_is_bad_within_five_seconds_and_forgotten_in_five() {
    use Reason::{Detached, Flat, Hum, Motion, Noise, NotFinite, OutOfRange};
    for rate in EDA_RATES {
        for level in [0.4, 3.0, 15.0] {
            let clean = |t: f64| eda(t, level, 0.2 * level, 1.5);
            let mut dice = Dice(17);
            let run = |what: &str, reasons: &[Reason], f: &mut dyn FnMut(f64) -> f64| {
                let all = readings(SignalKind::Eda, rate, 50.0, None, |t| {
                    let noise = 0.0005 * (t * 911.0).sin();
                    let v = if (20.0..34.0).contains(&t) {
                        f(t)
                    } else {
                        clean(t)
                    };
                    v + noise * v.abs().min(1.0)
                });
                let what = format!("{what}, EDA of {level} µS at {rate} Hz");
                spoiled(&all, 20.0, 34.0, reasons, &what);
            };
            run("detached", &[Detached], &mut |_| {
                0.003 * (2.0 * dice.even() - 1.0)
            });
            run("detached, unsigned", &[Detached], &mut |_| {
                0.003 * dice.even()
            });
            run("noise", &[Noise, Motion], &mut |_| {
                level * (1.0 + 0.3 * dice.normal())
            });
            run("not finite", &[NotFinite], &mut |_| f64::INFINITY);
            run("kilo-ohms", &[OutOfRange], &mut |t| {
                1000.0 / clean(t) + 150.0
            });
            run("negative", &[OutOfRange], &mut |t| -clean(t));
            run("swings", &[Motion, Noise, Detached], &mut |t| {
                level * (1.0 + 0.9 * (2.0 * PI * 0.7 * t).sin())
            });
            if series::alias(50.0, rate) > 1.0 {
                run("hum", &[Hum, Noise, Motion], &mut |t| {
                    level * (1.0 + 0.5 * (2.0 * PI * 50.0 * t + 0.6).sin())
                });
            }
            let mut held = readings(SignalKind::Eda, rate, 50.0, None, |t| {
                if (20.0..34.0).contains(&t) {
                    2.0 * level
                } else {
                    clean(t)
                }
            });
            held.retain(|(t, _)| *t > 5.0);
            spoiled(&held, 20.0, 34.0, &[Flat], &format!("flat, {rate} Hz"));
        }
    }
}

#[test]
fn contact_that_comes_and_goes_is_motion() {
    let all = readings(SignalKind::Eda, 4.0, 60.0, None, |t| {
        let contact = if (t * 0.6).fract() < 0.5 && t > 20.0 {
            0.3
        } else {
            1.0
        };
        eda(t, 4.0, 0.5, 1.5) * contact
    });
    good(&all, 3.0, 20.0, "before");
    for (t, reading) in all.iter().filter(|(t, _)| *t > 25.0) {
        assert!(value(*reading) <= 0.2, "{reading:?} at {t} s");
        assert_eq!(reading.reason, Some(Reason::Motion), "at {t} s");
    }
}

#[test]
fn an_integer_format_is_clipped_at_its_ends() {
    let beats = beats(0.8, 0.05, 40.0, 5);
    let full = Some([-32_768.0, 32_767.0]);
    let all = readings(SignalKind::Ppg, 64.0, 20.0, full, |t| {
        (ppg(t, &beats) * 60_000.0 - 20_000.0)
            .clamp(-32_768.0, 32_767.0)
            .round()
    });
    let (_, last) = all[all.len() - 1];
    assert!(value(last) <= 0.2, "{last:?}");
    assert_eq!(last.reason, Some(Reason::Clipped));
    let all = readings(SignalKind::Ppg, 64.0, 20.0, full, |t| {
        (ppg(t, &beats) * 6000.0 - 3000.0).round()
    });
    good(&all, 5.0, f64::MAX, "within the format");
}

#[test]
fn a_heart_without_a_rate_is_irregular_and_skin_is_not() {
    let mut heart = QualityMeter::new(SignalKind::Ecg, 0.0, None);
    let mut skin = QualityMeter::new(SignalKind::Eda, 0.0, None);
    let beats = beats(0.8, 0.05, 40.0, 5);
    for i in 0..200u64 {
        let time = i * 130_000_000 + (i % 7) * 9_000_000;
        let t = time as f64 * 1e-9;
        heart.push(time, ecg(t, &beats, 0.3));
        skin.push(time, eda(t, 2.0, 0.3, 1.5));
    }
    let now = 199 * 130_000_000;
    assert_eq!(heart.reading(now), Reading::bad(Reason::Irregular));
    assert!(value(skin.reading(now)) >= 0.8, "{:?}", skin.reading(now));
}

#[test]
fn silence_is_no_signal_and_a_gap_is_not_looked_across() {
    let beats = beats(0.8, 0.05, 40.0, 5);
    let mut meter = QualityMeter::new(SignalKind::Ecg, 128.0, None);
    assert_eq!(meter.reading(0), Reading::bad(Reason::NoSignal));
    let push = |meter: &mut QualityMeter, from: u64, to: u64| {
        for i in from * 128..to * 128 {
            let t = i as f64 / 128.0;
            meter.push(crate::nanoseconds(t), ecg(t, &beats, 0.3));
        }
    };
    push(&mut meter, 0, 2);
    assert_eq!(meter.reading(2_000_000_000), Reading::UNKNOWN);
    push(&mut meter, 2, 10);
    assert!(value(meter.reading(10_000_000_000)) >= 0.8);
    assert_eq!(
        meter.reading(13_000_000_000),
        Reading::bad(Reason::NoSignal)
    );
    push(&mut meter, 15, 17);
    assert_eq!(meter.reading(17_000_000_000), Reading::UNKNOWN);
    push(&mut meter, 17, 20);
    assert!(value(meter.reading(20_000_000_000)) >= 0.8);
    // A late sample changes nothing.
    let before = meter.reading(20_000_000_000);
    meter.push(3, f64::NAN);
    assert_eq!(meter.reading(20_000_000_000), before);
}

#[test]
fn memory_is_bounded() {
    for (kind, rate) in [
        (SignalKind::Ecg, 4000.0),
        (SignalKind::Ppg, 1e9),
        (SignalKind::Eda, 0.01),
        (SignalKind::Other, f64::NAN),
    ] {
        let mut meter = QualityMeter::new(kind, rate, None);
        let period = (1e9 / meter.rate.max(1.0)) as u64 + 1;
        for i in 0..50_000u64 {
            meter.push(i * period, (i as f64 * 0.37).sin());
        }
        assert!(meter.picked.values().len() <= 2000 + 1);
        assert!(meter.means.values().len() <= 1001);
    }
}

#[test]
fn values_of_any_size_give_a_number() {
    let odd = [f64::MAX, -f64::MAX, 1e300, f64::MIN_POSITIVE, 0.0, f64::NAN];
    for kind in [
        SignalKind::Ecg,
        SignalKind::Ppg,
        SignalKind::Eda,
        SignalKind::Other,
    ] {
        let mut dice = Dice(23);
        let all = readings(kind, 64.0, 30.0, None, |_| {
            odd[(dice.even() * odd.len() as f64) as usize]
        });
        for (t, reading) in all {
            let q = value(reading);
            assert!((0.0..=1.0).contains(&q), "{kind:?}: {reading:?} at {t} s");
        }
    }
}
