// SPDX-License-Identifier: MPL-2.0
//! Physiological samples made ready for the network, causally: what comes out for
//! an instant depends on nothing after it but the one sample needed to interpolate.
//!
//! [`Conditioner`]: raw samples with their times → checks (finite, not saturated, not
//! flat) → filters at the sender's rate → pulse rate, where asked → resampling to a fixed grid by
//! time stamp → running normalisation → [`GridPoint`]s.

#![warn(
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    unreachable_pub
)]

mod checks;
mod conditioner;
mod filter;
mod normalise;
mod pulse;
mod resample;
mod ring;
mod tokens;
mod units;

pub use checks::{CheckSpec, Counts};
pub use conditioner::{Conditioner, GridPoint, SignalSpec};
pub use filter::{Cascade, FilterSpec};
pub use normalise::{NormalisationSpec, Normaliser};
pub use pulse::DeriveSpec;
pub use resample::{Grid, Resampler};
pub use ring::GridRing;
pub use tokens::TokenRing;
pub use units::{UnitsGrid, UnitsSpec, share};

/// Whole nanoseconds of a duration in seconds.
pub fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
