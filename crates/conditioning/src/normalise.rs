// SPDX-License-Identifier: MPL-2.0
//! Normalisation of grid values.

use serde::{Deserialize, Serialize};

/// How grid values are brought to the network's scale: the table `normalisation` of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NormalisationSpec {
    /// Values stay as they are.
    None,
    /// `(x − mean) / std`.
    Fixed {
        /// In the signal's unit.
        mean: f64,
        /// In the signal's unit, at least 1e-12.
        std: f64,
    },
    /// `(x − mean) / std` with the mean and the standard deviation of the values so far.
    ///
    /// All values have the same weight at first; later the weight of a value falls
    /// exponentially with its age. In mean and deviation a value that is more than
    /// twice `clip` deviations away counts as one that is so far away: outliers do not bend
    /// them.
    #[serde(rename_all = "kebab-case")]
    Running {
        /// Seconds after which the weight of a value has fallen to 1/e; 0: it stays.
        time_constant: f64,
        /// Seconds of values before the first result.
        warm_up: f64,
        /// Smallest divisor, in the signal's unit: a signal that hardly changes is not
        /// amplified to its noise.
        min_std: f64,
        /// Results are limited to ±`clip`.
        clip: f64,
    },
}

/// What a running normalisation has learned of a signal: save it after a rest, and give it to a
/// later session of the same person.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NormaliserState {
    /// Seconds of values that it was learned from.
    pub seconds: f64,
    /// Mean, in the unit of the filtered signal.
    pub mean: f64,
    /// Standard deviation, in the same unit.
    pub std: f64,
}

/// Seconds of values after which a running normalisation counts as settled.
const SETTLED: f64 = 120.0;

/// How many times `clip` a value may be away from the mean before it counts as less. Responses
/// of the skin reach the limit of the results itself: without this factor they would count as
/// outliers.
const LIMIT: f64 = 2.0;

/// Values before the deviation is known well enough to tell an outlier.
const FIRST: f64 = 8.0;

/// Smallest divisor that a manifest may give.
const SMALLEST: f64 = 1e-12;

impl NormalisationSpec {
    /// Checks the numbers of the table.
    ///
    /// # Errors
    /// A text that names the field, the expectation and what was found.
    pub fn check(&self) -> Result<(), String> {
        let want = |name: &str, value: f64, ok: bool, range: &str| {
            (value.is_finite() && ok)
                .then_some(())
                .ok_or_else(|| format!("{name} must be {range}, found {value:?}"))
        };
        match *self {
            Self::None => Ok(()),
            Self::Fixed { mean, std } => {
                want("mean", mean, true, "a number")?;
                want("std", std, std >= SMALLEST, "at least 1e-12")
            }
            Self::Running {
                time_constant,
                warm_up,
                min_std,
                clip,
            } => {
                want(
                    "time-constant",
                    time_constant,
                    (0.0..=1e6).contains(&time_constant),
                    "0 to 1000000 seconds",
                )?;
                want(
                    "warm-up",
                    warm_up,
                    (0.0..=3600.0).contains(&warm_up),
                    "0 to 3600 seconds",
                )?;
                want("min-std", min_std, min_std >= SMALLEST, "at least 1e-12")?;
                want(
                    "clip",
                    clip,
                    clip > 0.0 && clip <= 1e6,
                    "above 0 and at most 1000000",
                )
            }
        }
    }
}

impl NormalisationSpec {
    /// How far the normalisation has settled after `seconds` of values, 0 to 1. A running one
    /// has after two minutes, or after its time constant or warm-up if that is shorter or
    /// longer; the others always have.
    pub fn settled(&self, seconds: f64) -> f64 {
        match *self {
            Self::None | Self::Fixed { .. } => 1.0,
            Self::Running {
                time_constant,
                warm_up,
                ..
            } => {
                let memory = if time_constant > 0.0 {
                    time_constant
                } else {
                    SETTLED
                };
                (seconds / memory.min(SETTLED).max(warm_up).max(SMALLEST)).clamp(0.0, 1.0)
            }
        }
    }
}

/// The state of a normalisation at a fixed rate.
#[derive(Debug, Clone)]
pub(crate) struct Normaliser {
    spec: NormalisationSpec,
    /// Values per second.
    rate: f64,
    /// Values so far.
    seen: u64,
    mean: f64,
    variance: f64,
}

impl Normaliser {
    /// `rate`: values per second.
    pub(crate) fn new(spec: NormalisationSpec, rate: f64) -> Self {
        Self {
            spec,
            rate,
            seen: 0,
            mean: 0.0,
            variance: 0.0,
        }
    }

    /// How far the normalisation has settled, 0 to 1.
    pub(crate) fn settled(&self) -> f64 {
        self.spec.settled(self.seen as f64 / self.rate)
    }

    /// What has been learned; `None` if this normalisation learns nothing.
    pub(crate) fn state(&self) -> Option<NormaliserState> {
        matches!(self.spec, NormalisationSpec::Running { .. }).then(|| NormaliserState {
            seconds: self.seen as f64 / self.rate,
            mean: self.mean,
            std: self.variance.sqrt(),
        })
    }

    pub(crate) fn restore(&mut self, state: NormaliserState) -> Result<(), String> {
        if self.state().is_none() {
            return Err("expected a running normalisation; this one learns nothing".into());
        }
        let NormaliserState { seconds, mean, std } = state;
        for (name, value, ok) in [
            ("seconds", seconds, (0.0..=1e9).contains(&seconds)),
            ("mean", mean, mean.abs() <= 1e150),
            ("std", std, (0.0..=1e150).contains(&std)),
        ] {
            if !ok {
                let range = if name == "mean" {
                    "a number"
                } else {
                    "0 or more"
                };
                return Err(format!("{name} must be {range}, found {value:?}"));
            }
        }
        self.seen = (seconds * self.rate).round() as u64;
        self.mean = mean;
        self.variance = std * std;
        Ok(())
    }

    /// The value on the network's scale; `None` during the warm-up.
    pub(crate) fn step(&mut self, x: f64) -> Option<f64> {
        match self.spec {
            NormalisationSpec::None => Some(x),
            NormalisationSpec::Fixed { mean, std } => Some((x - mean) / std),
            NormalisationSpec::Running {
                time_constant,
                warm_up,
                min_std,
                clip,
            } => {
                self.seen += 1;
                let fading = if time_constant > 0.0 {
                    1.0 - (-1.0 / (time_constant * self.rate)).exp()
                } else {
                    0.0
                };
                let weight = fading.max(1.0 / self.seen as f64);
                let reach = LIMIT * clip * self.variance.sqrt().max(min_std);
                let off = x - self.mean;
                // Of the first values there is no deviation yet.
                let known = self.seen as f64 > (warm_up * self.rate).max(FIRST);
                let off = if known { off.clamp(-reach, reach) } else { off };
                self.mean += weight * off;
                self.variance = (1.0 - weight) * (self.variance + weight * off * off);
                let warm = self.seen as f64 >= warm_up * self.rate;
                warm.then(|| {
                    ((x - self.mean) / self.variance.sqrt().max(min_std)).clamp(-clip, clip)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: NormalisationSpec = NormalisationSpec::Running {
        time_constant: 1200.0,
        warm_up: 4.0,
        min_std: 0.02,
        clip: 6.0,
    };

    /// The values of a wave that stays within a few deviations.
    fn wave(i: u32) -> f64 {
        let t = f64::from(i);
        2.0 + 0.3 * (t * 0.07).sin() + 0.1 * (t * 0.31).sin()
    }

    #[test]
    fn outliers_do_not_bend_it() {
        let run = |outlier: f64| {
            let mut n = Normaliser::new(RUNNING, 4.0);
            for i in 0..4800 {
                let out = i > 1000 && i % 480 < 4;
                n.step(if out { outlier } else { wave(i) });
            }
            n.state().expect("a running one")
        };
        let clean = run(2.0);
        for outlier in [-3.0, 50.0, 1e9, -1e9] {
            let bent = run(outlier);
            let (off, wider) = (
                (bent.mean - clean.mean).abs() / clean.std,
                bent.std / clean.std,
            );
            assert!(off < 0.1 && wider < 1.8, "{outlier}: {bent:?}, {clean:?}");
        }
    }

    #[test]
    fn values_within_the_limit_are_as_ever() {
        let mut n = Normaliser::new(RUNNING, 4.0);
        let (mut mean, mut variance) = (0.0, 0.0f64);
        for i in 0..6000u32 {
            let x = wave(i);
            let weight = (1.0 - (-1.0f64 / 4800.0).exp()).max(1.0 / f64::from(i + 1));
            let off = x - mean;
            mean += weight * off;
            variance = (1.0 - weight) * (variance + weight * off * off);
            if let Some(got) = n.step(x) {
                let want = ((x - mean) / variance.sqrt().max(0.02)).clamp(-6.0, 6.0);
                assert!((got - want).abs() < 1e-9, "{i}: {got} {want}");
            }
        }
    }

    #[test]
    fn what_was_learned_can_be_given_to_another() {
        let mut first = Normaliser::new(RUNNING, 4.0);
        for i in 0..2000 {
            first.step(wave(i));
        }
        let state = first.state().expect("a running one");
        let text = toml::to_string(&state).expect("plain numbers");
        let read: NormaliserState = toml::from_str(&text).expect("as written");
        let mut second = Normaliser::new(RUNNING, 4.0);
        assert_eq!(second.settled(), 0.0);
        second.restore(read).expect("good numbers");
        assert_eq!(second.settled(), 1.0);
        for i in 2000..2200 {
            let (a, b) = (first.step(wave(i)), second.step(wave(i)));
            let (a, b) = (a.expect("warm"), b.expect("warm from the start"));
            assert!((a - b).abs() < 1e-9, "{i}: {a} {b}");
        }
        for (field, state) in [
            (
                "seconds",
                NormaliserState {
                    seconds: f64::NAN,
                    ..state
                },
            ),
            (
                "mean",
                NormaliserState {
                    mean: f64::INFINITY,
                    ..state
                },
            ),
            ("std", NormaliserState { std: -1.0, ..state }),
        ] {
            let text = second.restore(state).expect_err(field);
            assert!(text.starts_with(field), "{text}");
        }
        let mut fixed = Normaliser::new(NormalisationSpec::None, 4.0);
        assert!(fixed.restore(state).is_err() && fixed.state().is_none());
    }

    #[test]
    fn it_says_how_far_it_has_settled() {
        let mut n = Normaliser::new(RUNNING, 4.0);
        for i in 0..240 {
            n.step(wave(i));
        }
        assert_eq!(n.settled(), 0.5);
        assert_eq!(Normaliser::new(NormalisationSpec::None, 4.0).settled(), 1.0);
    }

    #[test]
    fn without_fading_it_is_the_mean_and_deviation_so_far() {
        let spec = NormalisationSpec::Running {
            time_constant: 0.0,
            warm_up: 0.5,
            min_std: 1e-9,
            clip: 100.0,
        };
        let mut n = Normaliser::new(spec, 10.0);
        let values: Vec<f64> = (0..200).map(|i| ((i * 37) % 101) as f64).collect();
        for (i, x) in values.iter().enumerate() {
            let got = n.step(*x);
            let so_far = &values[..=i];
            let mean = so_far.iter().sum::<f64>() / so_far.len() as f64;
            let var = so_far.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / so_far.len() as f64;
            if i < 4 {
                assert_eq!(got, None);
            } else {
                let want = (x - mean) / var.sqrt();
                assert!((got.expect("warm") - want).abs() < 1e-9, "{i}");
            }
        }
    }

    #[test]
    fn with_fading_it_follows_a_shift() {
        let spec = NormalisationSpec::Running {
            time_constant: 5.0,
            warm_up: 0.0,
            min_std: 0.1,
            clip: 3.0,
        };
        let mut n = Normaliser::new(spec, 10.0);
        for i in 0..1000 {
            n.step((i % 2) as f64);
        }
        assert_eq!(n.step(1000.0), Some(3.0), "clipped");
        let mut last = 0.0;
        for i in 0..2000 {
            last = n.step(500.0 + (i % 2) as f64).unwrap_or(f64::NAN);
        }
        assert!(last.abs() < 1.5, "{last}");
    }
}
