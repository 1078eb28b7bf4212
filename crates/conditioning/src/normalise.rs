// SPDX-License-Identifier: MPL-2.0
//! Normalisation of grid values.

use serde::Deserialize;

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
    /// exponentially with its age.
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
                let off = x - self.mean;
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
