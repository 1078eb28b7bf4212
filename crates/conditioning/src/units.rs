// SPDX-License-Identifier: MPL-2.0
//! Face units from analyses to grid points.

use crate::resample::Resampler;
use crate::{Grid, nanoseconds};
use std::collections::BTreeSet;

/// How face units are put onto a grid: the table `[video]` of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitsSpec {
    /// Grid rate in Hz.
    pub rate: f64,
    /// Longest time between two faces, seconds, across which is interpolated.
    pub max_gap: f64,
    /// Faces with a lower confidence, 0–1, do not count.
    pub min_confidence: f64,
    /// Names of the units, in the order in which the network takes them.
    pub units: Vec<String>,
}

impl UnitsSpec {
    /// Checks names and numbers.
    ///
    /// # Errors
    /// A text that names the field, the expectation and what was found.
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

/// Turns the units of a face, frame by frame, into rows of a grid, in order and each once.
///
/// ```
/// use conditioning::{UnitsGrid, UnitsSpec};
///
/// let mut grid = UnitsGrid::new(UnitsSpec {
///     rate: 10.0,
///     max_gap: 0.5,
///     min_confidence: 0.5,
///     units: vec!["jawOpen".into()],
/// });
/// let mut rows = Vec::new();
/// for (milliseconds, jaw_open) in [(0, 0.0), (200, 1.0)] {
///     let counts = grid.push(milliseconds * 1_000_000, 0.9, &[jaw_open], |k, values| {
///         rows.push((k, values.map(|v| v[0])));
///     });
///     assert!(counts);
/// }
/// assert_eq!(rows, [(0, Some(0.0)), (1, Some(0.5)), (2, Some(1.0))]);
/// ```
#[derive(Debug, Clone)]
pub struct UnitsGrid {
    spec: UnitsSpec,
    resampler: Resampler,
}

impl UnitsGrid {
    /// `spec` should have passed [`UnitsSpec::check`].
    pub fn new(spec: UnitsSpec) -> Self {
        let grid = Grid::new(spec.rate);
        Self {
            resampler: Resampler::new(grid, nanoseconds(spec.max_gap)),
            spec,
        }
    }

    /// A grid for the same units that has seen nothing yet, as after a seek.
    pub fn restarted(&self) -> Self {
        Self::new(self.spec.clone())
    }

    /// What comes next is of another face: no row is made of both.
    pub fn cut(&mut self) {
        self.resampler.cut();
    }

    /// What the grid was made for.
    pub fn spec(&self) -> &UnitsSpec {
        &self.spec
    }

    /// Takes the units of a face at running time `time` (ns), 0–1 in the order of
    /// [`UnitsSpec::units`], with the `confidence` of the face, 0–1. Calls `out` with index and
    /// values of each row up to it, `None` in a gap.
    ///
    /// False, and nothing changes, if the confidence is too low, a value is not finite, or the
    /// number of values is wrong.
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

    /// Calls `out` with each row before `end` (ns), so that a window can end there. Where the
    /// next face may still follow within [`UnitsSpec::max_gap`], the last one is held. The rows
    /// are not changed by what comes later.
    pub fn close(&mut self, end: u64, out: impl FnMut(u64, Option<&[f64]>)) {
        self.resampler.close(end, out);
    }
}

/// Checks that the field `name` of a manifest is a share, 0 to 1.
///
/// # Errors
/// A text that names the field, the expectation and what was found.
pub fn share(name: &str, value: f64) -> Result<(), String> {
    (0.0..=1.0)
        .contains(&value)
        .then_some(())
        .ok_or_else(|| format!("{name} must be 0 to 1, found {value}"))
}
