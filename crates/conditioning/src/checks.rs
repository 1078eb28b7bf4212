// SPDX-License-Identifier: MPL-2.0
//! The checks of a signal's samples.

use crate::share;
use serde::Deserialize;

/// The checks that a sample has to pass, the table `checks` of a manifest. NaN and infinite
/// samples never pass and count as missing ones.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CheckSpec {
    /// Seconds of one value after which a signal is flat, as when an electrode is off.
    pub flat: f64,
    /// Lowest and highest value, in the stream's unit. A value at or beyond either is
    /// saturated. `None`: any value passes.
    #[serde(default)]
    pub range: Option<[f64; 2]>,
    /// Samples are bad while the [quality](crate::quality) of the signal is below this, 0 to 1;
    /// so are single samples of skin conductance without contact, and outliers. 0, as where the
    /// manifest does not say: the quality is told and masks nothing.
    #[serde(default)]
    pub min_quality: f64,
}

impl CheckSpec {
    /// Checks the numbers of the table.
    ///
    /// # Errors
    /// A text that names the field, the expectation and what was found.
    pub fn check(&self) -> Result<(), String> {
        if !(self.flat.is_finite() && self.flat > 0.0) {
            return Err(format!(
                "flat must be a positive number of seconds, found {}",
                self.flat
            ));
        }
        share("min-quality", self.min_quality)?;
        match self.range {
            Some([low, high]) if !(low.is_finite() && high.is_finite() && low < high) => {
                Err(format!("range must be [low, high], found [{low}, {high}]"))
            }
            _ => Ok(()),
        }
    }
}

/// Numbers of samples of a signal: received, and bad by reason. A bad sample is counted for
/// one reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// All samples, good or bad.
    pub received: u64,
    /// NaN or infinite.
    pub not_finite: u64,
    /// In a stretch of one value, after [`CheckSpec::flat`] seconds of it.
    pub flat: u64,
    /// At or beyond [`CheckSpec::range`] or the ends of the sample format.
    pub saturated: u64,
    /// Not newer than a sample before it.
    pub late: u64,
    /// Skin conductance without contact; only with [`CheckSpec::min_quality`].
    pub detached: u64,
    /// Too far from the samples around it; only with [`CheckSpec::min_quality`].
    pub outliers: u64,
    /// None of these, while the quality was below [`CheckSpec::min_quality`].
    pub poor: u64,
}

impl Counts {
    /// Samples that are bad for any reason.
    pub fn bad(&self) -> u64 {
        self.unusable() + self.poor
    }

    /// Samples that are bad by themselves, whatever the quality of the signal.
    pub fn unusable(&self) -> u64 {
        self.not_finite + self.flat + self.saturated + self.late + self.detached + self.outliers
    }
}

/// The checks of one signal. The first [`CheckSpec::flat`] seconds of a flat stretch pass,
/// since only then it is known to be one.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    spec: CheckSpec,
    full_scale: Option<[f64; 2]>,
    last: Option<f64>,
    /// Time (ns) since which `last` has not changed.
    same_since: u64,
}

impl Checker {
    /// `full_scale`: lowest and highest value of an integer sample format.
    pub(crate) fn new(spec: CheckSpec, full_scale: Option<[f64; 2]>) -> Self {
        Self {
            spec,
            full_scale,
            last: None,
            same_since: 0,
        }
    }

    /// Whether the sample at `time` (ns) passes. Adds it to `counts` either way.
    pub(crate) fn accept(&mut self, time: u64, value: f64, counts: &mut Counts) -> bool {
        counts.received += 1;
        if !value.is_finite() {
            counts.not_finite += 1;
            return false;
        }
        if self.last != Some(value) {
            self.last = Some(value);
            self.same_since = time;
        }
        let beyond =
            |r: Option<[f64; 2]>| r.is_some_and(|[low, high]| value <= low || value >= high);
        if beyond(self.spec.range) || beyond(self.full_scale) {
            counts.saturated += 1;
            return false;
        }
        if time.saturating_sub(self.same_since) as f64 >= self.spec.flat * 1e9 {
            counts.flat += 1;
            return false;
        }
        true
    }
}
