// SPDX-License-Identifier: MPL-2.0
//! Whether the values of a signal can be in the unit that they are taken for.

use crate::{Quantity, Unit};

/// Seconds of samples that each reading judges: less than a normalisation needs to warm up.
const SPAN: u64 = 2_000_000_000;
/// Fewest samples of a reading, for slow senders.
const SAMPLES: u64 = 5;
/// Values that are kept of a reading; of a fast sender every second, fourth, … one.
const KEPT: usize = 256;

/// Medians that skin conductance can have, in µS. Dry skin on the wrist has 0.05 to 1, palms and
/// fingers 1 to 40; more is seen now and then (Boucsein, Electrodermal Activity, 2nd edition,
/// 2012). Where nothing says what the unit is, the rare ones are not believed.
const DECLARED: [f64; 2] = [0.002, 100.0];
const UNDECLARED: [f64; 2] = [0.02, 40.0];
/// Below this the same number can be the resistance of skin in MOhm.
const AMBIGUOUS: f64 = 1.0;

/// What the values of the last seconds say of their unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They can be what they are taken for.
    Plausible,
    /// They can be, and in another usual unit too; nothing says which.
    Ambiguous,
    /// They cannot be.
    Implausible,
}

/// A reading of a few seconds of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlausibleReading {
    /// What it says.
    pub verdict: Verdict,
    /// Median of the samples, in the unit that they are taken for.
    pub median: f64,
    /// All are whole numbers, as those of a converter are.
    pub whole: bool,
}

/// Judges the samples of skin conductance, 2 s at a time: nothing is converted, but values that
/// are in another unit, or raw counts, are found out. Causal and of bounded size.
///
/// ```
/// use conditioning::{Plausibility, Verdict};
///
/// let mut check = Plausibility::new("eda", false).expect("EDA has limits");
/// // kOhm, but nothing says so.
/// let readings: Vec<_> = (0..40u64)
///     .filter_map(|i| check.push(i * 250_000_000, 210.0))
///     .collect();
/// assert_eq!(readings[0].verdict, Verdict::Implausible);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Plausibility {
    limits: [f64; 2],
    ambiguous: f64,
    /// When the reading began.
    since: Option<u64>,
    seen: u64,
    /// Every so many samples one is kept.
    stride: u64,
    kept: Vec<f64>,
    whole: bool,
    last: Option<PlausibleReading>,
}

impl Plausibility {
    /// `declared`: the unit is known. `None` for signals that have no limits: heartbeats are
    /// found at any gain.
    pub fn new(signal: &str, declared: bool) -> Option<Self> {
        (signal == "eda").then_some(Self {
            limits: if declared { DECLARED } else { UNDECLARED },
            ambiguous: if declared { 0.0 } else { AMBIGUOUS },
            since: None,
            seen: 0,
            stride: 1,
            kept: Vec::new(),
            whole: true,
            last: None,
        })
    }

    /// Medians that are believed, in the signal's unit.
    pub fn limits(&self) -> [f64; 2] {
        self.limits
    }

    /// The last reading was implausible.
    pub fn is_implausible(&self) -> bool {
        self.last.is_some_and(|r| r.verdict == Verdict::Implausible)
    }

    /// Takes a sample at `time` (ns), in the unit that it is taken for. A reading where one is
    /// complete. Values that are not finite do not count.
    pub fn push(&mut self, time: u64, value: f64) -> Option<PlausibleReading> {
        if !value.is_finite() {
            return None;
        }
        let since = *self.since.get_or_insert(time);
        if self.seen.is_multiple_of(self.stride) {
            self.kept.push(value);
            if self.kept.len() >= KEPT {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
        }
        self.whole &= value.fract() == 0.0;
        self.seen += 1;
        if self.seen < SAMPLES || time.saturating_sub(since) < SPAN {
            return None;
        }
        let middle = self.kept.len() / 2;
        let (_, median, _) = self.kept.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        let [low, high] = self.limits;
        let reading = PlausibleReading {
            verdict: match median {
                m if !(low..=high).contains(&m) => Verdict::Implausible,
                m if m < self.ambiguous => Verdict::Ambiguous,
                _ => Verdict::Plausible,
            },
            median,
            whole: self.whole,
        };
        self.since = None;
        self.seen = 0;
        self.stride = 1;
        self.kept.clear();
        self.whole = true;
        self.last = Some(reading);
        Some(reading)
    }
}

/// The units, other than that of the signal, in which `median` would be skin conductance of a
/// usual size, likeliest first.
pub fn plausible_units(median: f64) -> Vec<&'static str> {
    let units = ["kOhm", "MOhm", "Ohm", "S", "mS", "nS"];
    let fits = |name: &&str| {
        let microsiemens = Unit::parse(name).map(|u| match u.quantity {
            Quantity::Resistance => 10f64.powi(6 - u.exponent) / median,
            _ => median * 10f64.powi(6 + u.exponent),
        });
        microsiemens.is_some_and(|v| (0.2..=UNDECLARED[1]).contains(&v))
    };
    units.into_iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EDA of about 5 µS.
    fn skin(t: f64) -> f64 {
        5.0 + 0.3 * (t * 0.4).sin() + 0.01 * (t * 7.0).cos()
    }

    fn readings(
        check: &mut Plausibility,
        rate: f64,
        seconds: std::ops::Range<u64>,
        value: impl Fn(f64) -> f64,
    ) -> Vec<PlausibleReading> {
        let (first, after) = (seconds.start as f64 * rate, seconds.end as f64 * rate);
        (first as u64..after as u64)
            .filter_map(|i| {
                let t = i as f64 / rate;
                check.push((t * 1e9) as u64, value(t))
            })
            .collect()
    }

    #[test]
    fn another_unit_is_found_out_within_seconds() {
        type Spoil = fn(f64) -> f64;
        let cases: [(&str, Spoil, Verdict); 8] = [
            ("uS", |v| v, Verdict::Plausible),
            ("S", |v| v * 1e-6, Verdict::Implausible),
            ("mS", |v| v * 1e-3, Verdict::Implausible),
            ("nS", |v| v * 1e3, Verdict::Implausible),
            ("kOhm", |v| 1e3 / v, Verdict::Implausible),
            ("Ohm", |v| 1e6 / v, Verdict::Implausible),
            ("MOhm", |v| 1.0 / v, Verdict::Ambiguous),
            ("counts", |v| (v * 40.96).round(), Verdict::Implausible),
        ];
        for rate in [1.0, 4.0, 64.0, 1000.0] {
            for (unit, spoil, want) in cases {
                let mut check = Plausibility::new("eda", false).expect("limits");
                let all = readings(&mut check, rate, 0..12, |t| spoil(skin(t)));
                assert!(all.len() >= 2, "{rate} Hz");
                for reading in all {
                    assert_eq!(reading.verdict, want, "{unit} at {rate} Hz: {reading:?}");
                    assert_eq!(reading.whole, unit == "counts");
                    let others = plausible_units(reading.median);
                    let named = unit == "uS" || unit == "counts" || others.contains(&unit);
                    assert!(named, "{unit}: {others:?}");
                }
                assert_eq!(check.is_implausible(), want == Verdict::Implausible);
            }
        }
    }

    #[test]
    fn a_declared_unit_is_believed_more() {
        for (value, declared, want) in [
            (60.0, false, Verdict::Implausible),
            (60.0, true, Verdict::Plausible),
            (0.2, false, Verdict::Ambiguous),
            (0.2, true, Verdict::Plausible),
            (500.0, true, Verdict::Implausible),
            (5e-6, true, Verdict::Implausible),
            (-1.0, true, Verdict::Implausible),
        ] {
            let mut check = Plausibility::new("eda", declared).expect("limits");
            let all = readings(&mut check, 4.0, 0..3, |_| value);
            assert_eq!(all[0].verdict, want, "{value}, declared {declared}");
        }
        assert!(Plausibility::new("ecg", false).is_none());
    }

    #[test]
    fn it_recovers_and_outliers_do_not_count() {
        let mut check = Plausibility::new("eda", false).expect("limits");
        readings(&mut check, 64.0, 0..10, |_| 1e-3);
        assert!(check.is_implausible());
        let spiky = |t: f64| match (t * 64.0) as u64 % 5 {
            0 => 1e9,
            1 => f64::NAN,
            _ => skin(t),
        };
        let all = readings(&mut check, 64.0, 10..20, spiky);
        assert!(!check.is_implausible());
        assert!(all[1..].iter().all(|r| r.verdict == Verdict::Plausible));
        assert!(check.kept.capacity() <= 2 * KEPT);
    }
}
