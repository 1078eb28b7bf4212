// SPDX-License-Identifier: MPL-2.0
//! From a sender's stamps to pipeline time: pure arithmetic, no clocks, no I/O.
//!
//! [`Timeline`] takes the raw stamps of one connection to our LSL clock (offset, jitter,
//! gaps); [`ClockPairs`] takes these to a pipeline clock that is not the same clock.
//! The model of a remote clock stands behind [`OffsetModel`].

mod clock;
mod dejitter;
mod envelope;
mod gate;
mod latency;
#[cfg(test)]
mod noise;
mod offset;
pub mod robust;
#[cfg(test)]
mod simulation;
mod slew;
mod spacing;
mod timeline;

pub use clock::{ClockMap, ClockPairs};
pub use dejitter::{Dejitter, Smoothed};
pub use envelope::Envelope;
pub use gate::Gate;
pub use latency::{GUESS, SenderAge};
pub use offset::{ClockFit, Measurement, OffsetModel, Outcome};
pub use spacing::Spacing;
pub use timeline::{Config, Mode, Notice, Source, Stamped, Timeline};
