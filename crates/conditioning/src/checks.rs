// SPDX-License-Identifier: MPL-2.0
use serde::Deserialize;

/// What a sample must be to count.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CheckSpec {
    /// Seconds of one and the same value after which a signal is flat (electrode off).
    pub flat: f64,
    /// Values at or beyond either end are saturated, in the stream's own unit.
    #[serde(default)]
    pub range: Option<[f64; 2]>,
}

impl CheckSpec {
    /// # Errors
    /// Says which number is out of its range.
    pub fn check(&self) -> Result<(), String> {
        if !(self.flat.is_finite() && self.flat > 0.0) {
            return Err(format!(
                "flat must be a positive number of seconds, found {}",
                self.flat
            ));
        }
        match self.range {
            Some([low, high]) if !(low.is_finite() && high.is_finite() && low < high) => {
                Err(format!("range must be [low, high], found [{low}, {high}]"))
            }
            _ => Ok(()),
        }
    }
}

/// How many samples came, and how many were of no use and why.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub received: u64,
    /// NaN or infinite.
    pub not_finite: u64,
    pub flat: u64,
    pub saturated: u64,
    /// Older than a sample that had come before.
    pub late: u64,
}

impl Counts {
    /// Samples that failed a check.
    pub fn bad(&self) -> u64 {
        self.not_finite + self.flat + self.saturated + self.late
    }
}

/// Watches one signal. A flat stretch is known as flat only once it has lasted.
#[derive(Debug, Clone)]
pub(super) struct Checker {
    spec: CheckSpec,
    full_scale: Option<[f64; 2]>,
    last: Option<f64>,
    same_since: u64,
}

impl Checker {
    /// `full_scale`: the ends of an integer sample format.
    pub(super) fn new(spec: CheckSpec, full_scale: Option<[f64; 2]>) -> Self {
        Self {
            spec,
            full_scale,
            last: None,
            same_since: 0,
        }
    }

    /// Whether the sample can be used; counts it either way.
    pub(super) fn accept(&mut self, time: u64, value: f64, counts: &mut Counts) -> bool {
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
