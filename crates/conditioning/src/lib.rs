// SPDX-License-Identifier: MPL-2.0
//! Physiological samples and face units, made ready for a network.
//!
//! [`Conditioner`] takes the timed samples of one signal and gives [`GridPoint`]s: values at a
//! fixed rate, on the network's scale, or nothing where there was nothing usable. The steps:
//!
//! 1. checks: finite, not saturated, not flat, good enough ([`CheckSpec`]);
//! 2. filters at the sender's rate ([`FilterSpec`]);
//! 3. where asked, instead of the filters, the rate of a heart ([`DeriveSpec`]), from the beats
//!    that [`BeatDetector`] finds in the raw samples;
//! 4. linear interpolation onto a [`Grid`], across gaps up to a limit;
//! 5. normalisation with the values so far ([`NormalisationSpec`]).
//!
//! [`Conversion`] brings samples to the unit that a signal is conditioned in, before all of this,
//! and [`Plausibility`] finds samples that are in another one.
//!
//! [`UnitsGrid`] does step 4 for face units. [`GridRing`] and [`TokenRing`] keep the newest grid
//! points and the newest tokens of an encoder.
//!
//! [`quality`] says how good the samples are, 0 to 1, and why.
//!
//! All of it is causal: a point depends on no sample later than the first one at or after it, which
//! the interpolation needs. Training and the live elements use this code, so that a network is
//! given what it has learned from.
//!
//! This crate has no clock, no threads and no I/O, and does not know what a signal means to a
//! network: the crate `mvp` puts the parts together as a bundle says. Times are nanoseconds
//! from the beginning of the grid, in elements running time.
//!
//! ```
//! use conditioning::{CheckSpec, Conditioner, FilterSpec, NormalisationSpec, SignalSpec};
//!
//! let spec = SignalSpec {
//!     name: "eda".into(),
//!     input: None,
//!     rate: 4.0,
//!     max_gap: 2.0,
//!     checks: CheckSpec { flat: 60.0, range: Some([0.0, 100.0]), min_quality: 0.0 },
//!     filters: vec![FilterSpec::Lowpass { order: 2, cutoff: 1.0 }],
//!     derive: None,
//!     normalisation: NormalisationSpec::Fixed { mean: 5.0, std: 2.0 },
//! };
//! spec.check()?;
//!
//! // 10 s of 7 µS at 8 Hz, with one sample outside of the range.
//! let mut conditioner = Conditioner::new(spec, 8.0, None);
//! let mut points = Vec::new();
//! for i in 0..80u64 {
//!     let value = if i == 40 { 120.0 } else { 7.0 };
//!     conditioner.push(i * 125_000_000, value, |point| points.push(point));
//! }
//!
//! assert_eq!((points[1].k, points[1].value), (1, Some(1.0)));
//! // Nothing is interpolated to or from the saturated sample.
//! assert_eq!((points[20].k, points[20].value), (20, None));
//! assert_eq!(conditioner.counts().saturated, 1);
//! # Ok::<(), String>(())
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub)]

mod beats;
mod checks;
mod conditioner;
mod contact;
pub mod declared;
mod derive;
pub mod features;
mod filter;
mod normalise;
mod plausible;
pub mod quality;
mod resample;
mod ring;
mod tokens;
mod trace;
mod unit;
mod units;

pub use beats::{Beat, BeatDetector, HeartRate, HeartSignal};
pub use checks::{CheckSpec, Counts};
pub use conditioner::{Conditioner, GridPoint, SignalSpec};
pub use derive::DeriveSpec;
pub use filter::FilterSpec;
pub use normalise::{NormalisationSpec, NormaliserState};
pub use plausible::{Plausibility, PlausibleReading, Verdict, plausible_units};
pub use resample::Grid;
pub use ring::GridRing;
pub use tokens::TokenRing;
pub use trace::Trace;
pub use unit::{Conversion, Device, Quantity, Unit, UnitSpec};
pub use units::{UnitsGrid, UnitsSpec, share};

/// A duration in seconds as whole nanoseconds, rounded.
///
/// ```
/// assert_eq!(conditioning::nanoseconds(0.25), 250_000_000);
/// ```
pub fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
