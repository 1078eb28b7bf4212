// SPDX-License-Identifier: MPL-2.0
use crate::{Grid, Resampler, nanoseconds};
use std::collections::BTreeSet;

/// How the units of a face are put onto a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitsSpec {
    /// Grid rate in Hz.
    pub rate: f64,
    /// Seconds without an analysed face that may be bridged.
    pub max_gap: f64,
    /// Analyses with less face confidence do not count, 0–1.
    pub min_confidence: f64,
    /// Which units, in the order in which the network takes them.
    pub units: Vec<String>,
}

impl UnitsSpec {
    /// # Errors
    /// Names the field and what it must be.
    pub fn check(&self) -> Result<(), String> {
        if !(0.001..=240.0).contains(&self.rate) {
            return Err(format!(
                "rate must be 0.001 to 240 Hz, found {:?}",
                self.rate
            ));
        }
        if !(self.max_gap.is_finite() && self.max_gap > 0.0 && self.max_gap <= 60.0) {
            return Err(format!(
                "max-gap must be above 0 and at most 60 s, found {}",
                self.max_gap
            ));
        }
        share("min-confidence", self.min_confidence)?;
        let distinct: BTreeSet<_> = self.units.iter().collect();
        if self.units.is_empty() || distinct.len() != self.units.len() {
            return Err("units: expected at least one name, each once".into());
        }
        Ok(())
    }
}

/// Turns the units of one face after the other into rows on a grid.
#[derive(Debug, Clone)]
pub struct UnitsGrid {
    spec: UnitsSpec,
    resampler: Resampler,
}

impl UnitsGrid {
    pub fn new(spec: UnitsSpec) -> Self {
        let grid = Grid::new(spec.rate);
        Self {
            resampler: Resampler::new(grid, nanoseconds(spec.max_gap)),
            spec,
        }
    }

    /// The same units, with nothing seen yet.
    pub fn restarted(&self) -> Self {
        Self::new(self.spec.clone())
    }

    /// What comes next is of another face: no row is made of both.
    pub fn cut(&mut self) {
        self.resampler.cut();
    }

    pub fn spec(&self) -> &UnitsSpec {
        &self.spec
    }

    /// Takes the units of a face seen at running time `time` (ns) with `confidence` 0–1,
    /// and gives out the rows it settles, `None` where there is nothing. False if the
    /// face does not count.
    pub fn push(
        &mut self,
        time: u64,
        confidence: f64,
        values: &[f64],
        out: impl FnMut(u64, Option<&[f64]>),
    ) -> bool {
        let good = values.len() == self.spec.units.len()
            && confidence >= self.spec.min_confidence
            && values.iter().all(|v| v.is_finite());
        if good {
            self.resampler.push(time, values, out);
        }
        good
    }

    /// Gives out every row before `end` (ns): no later face can change them.
    pub fn close(&mut self, end: u64, out: impl FnMut(u64, Option<&[f64]>)) {
        self.resampler.close(end, out);
    }
}

/// # Errors
/// Names the field that is no share.
pub fn share(name: &str, value: f64) -> Result<(), String> {
    (0.0..=1.0)
        .contains(&value)
        .then_some(())
        .ok_or_else(|| format!("{name} must be 0 to 1, found {value}"))
}
