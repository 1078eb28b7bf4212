// SPDX-License-Identifier: MPL-2.0
//! What is computed from raw samples: the rate of a heart.

use crate::beats::{BeatDetector, HeartRate, HeartSignal};
use serde::Deserialize;

/// What is computed from a signal's samples: the table `derive` of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeriveSpec {
    /// Beats per minute, from the beats of [`BeatDetector`] as [`HeartRate`] counts them.
    ///
    /// The detector has its own filters and is given the raw samples: those of the signal are
    /// not applied.
    #[serde(rename_all = "kebab-case")]
    PulseRate {
        /// Lowest rate, beats per minute: longer intervals do not count. At least 10.
        min: f64,
        /// Highest rate, beats per minute: shorter intervals do not count. At most 400.
        max: f64,
        /// Seconds, 2 to 120.
        span: f64,
        /// What the samples are, if the modality is neither `ecg` nor `ppg`.
        #[serde(default)]
        signal: Option<HeartSignal>,
    },
}

impl DeriveSpec {
    /// Checks the table of a signal of `modality`.
    ///
    /// # Errors
    /// A text that names the field, the expectation and what was found.
    pub fn check(&self, modality: &str) -> Result<(), String> {
        let Self::PulseRate { min, max, span, .. } = *self;
        if !(min.is_finite() && max.is_finite() && min >= 10.0 && max <= 400.0 && min < max) {
            return Err(format!(
                "min and max must be 10 to 400 beats per minute and min below max, found {min} and {max}"
            ));
        }
        if !(span.is_finite() && (2.0..=120.0).contains(&span)) {
            return Err(format!("span must be 2 to 120 seconds, found {span}"));
        }
        self.heart(modality).map(|_| ()).ok_or_else(|| {
            format!(
                "signal must be \"ecg\" or \"ppg\" where the modality is neither, found none for '{modality}'"
            )
        })
    }

    /// Which kind of heart signal the samples of `modality` are.
    fn heart(&self, modality: &str) -> Option<HeartSignal> {
        let Self::PulseRate { signal, .. } = *self;
        signal.or(match modality {
            "ecg" => Some(HeartSignal::Ecg),
            "ppg" => Some(HeartSignal::Ppg),
            _ => None,
        })
    }
}

/// The heart rate of one signal's raw samples.
#[derive(Debug, Clone)]
pub(crate) struct Derived {
    detector: BeatDetector,
    rate: HeartRate,
}

impl Derived {
    /// For samples at `source_rate` Hz. `spec` should have passed [`DeriveSpec::check`] for
    /// `modality`.
    pub(crate) fn new(spec: DeriveSpec, modality: &str, source_rate: f64) -> Self {
        let DeriveSpec::PulseRate { min, max, span, .. } = spec;
        let signal = spec.heart(modality).unwrap_or(HeartSignal::Ppg);
        Self {
            detector: BeatDetector::new(signal, source_rate),
            rate: HeartRate::new(min, max, span),
        }
    }

    /// Says that samples are missing before the next one.
    pub(crate) fn cut(&mut self) {
        self.detector.cut();
        self.rate.cut();
    }

    /// Takes a finite sample at `time` (ns) and gives the rate in beats per minute, if it is
    /// known.
    pub(crate) fn step(&mut self, time: u64, value: f64) -> Option<f64> {
        let Self { detector, rate } = self;
        // The first sample after a gap brings no beat.
        if detector.push(time, value, |beat| rate.beat(beat)) {
            rate.cut();
        }
        rate.rate(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<DeriveSpec, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    const LIMITS: &str = "type = \"pulse-rate\"\nmin = 40.0\nmax = 180.0\nspan = 10.0\n";

    #[test]
    fn the_signal_is_told_by_the_modality_or_by_its_own_field() {
        let plain = spec(LIMITS).expect("as bundles have it");
        assert_eq!(plain.heart("ecg"), Some(HeartSignal::Ecg));
        assert_eq!(plain.heart("ppg"), Some(HeartSignal::Ppg));
        let text = plain.check("bvp").expect_err("neither");
        assert!(text.contains("signal") && text.contains("bvp"), "{text}");
        let named = spec(&format!("{LIMITS}signal = \"ppg\"")).expect("named");
        assert_eq!(named.check("bvp"), Ok(()));
        assert_eq!(named.heart("bvp"), Some(HeartSignal::Ppg));
        assert!(spec(&format!("{LIMITS}signal = \"eda\"")).is_err());
    }

    #[test]
    fn wrong_limits_are_told() {
        for (wrong, name) in [
            ("min = 40.0", "min = 5.0"),
            ("max = 180.0", "max = 30.0"),
            ("span = 10.0", "span = 1.0"),
        ] {
            let text = LIMITS.replace(wrong, name);
            let error = spec(&text).expect("a table").check("ecg").expect_err(name);
            let field = name.split(' ').next().expect("a name");
            assert!(error.contains(field), "{error}");
        }
    }
}
