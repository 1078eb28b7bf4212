// SPDX-License-Identifier: MPL-2.0
//! From an outlet's timestamps to pipeline time.
//!
//! [`Timeline`] maps the timestamps of one connection to the LSL clock of the inlet's host:
//! clock offset, jitter, gaps, timestamps that cannot be right. [`ClockMap`] maps that clock to
//! the clock of the pipeline. [`Dejitter`] and [`Spacing`] are steps of it that the reader of
//! recordings uses alone, [`SenderAge`] is what an outlet adds to the latency, and [`robust`]
//! has the line and the median that resist outliers.
//!
//! All of it is arithmetic: nothing does I/O or blocks, and the caller reads the clocks. Times are
//! in seconds, except on the pipeline's clock, which has nanoseconds.
//!
//! # Theory
//!
//! | step | method | literature |
//! | --- | --- | --- |
//! | offset of a clock that answers | a line by weighted least squares with Huber's loss, minimised by iteratively reweighted least squares ([`robust::LineFit`]) | Cristian 1989; Huber 1964; Holland and Welsch 1977 |
//! | offset of a clock that cannot be asked | a line under the one-way delays: an edge of their lower convex hull | Moon, Skelly and Towsley 1999; Zhang, Liu and Xia 2002 |
//! | jitter | recursive least squares with exponential forgetting ([`Dejitter`]) | Ljung 1999, chapter 11 |
//! | two clocks of one machine | the median of the slopes of all pairs of readings ([`ClockPairs`]) | Sen 1968 |
//!
//! docs/timing.md explains each step and has the full references.
//!
//! # Example
//!
//! A device on another clock sends 100 samples per second; its timestamps are 5000 s behind.
//!
//! ```
//! use timing::{Config, Measurement, Mode, Source, Timeline};
//!
//! let mut timeline = Timeline::new(Config {
//!     source: Source::Auto,
//!     rate: Some(100.0),
//!     dejitter: true,
//!     device_delay: 0.0,
//!     same_host: false,
//! });
//! timeline.measure(Measurement { offset: 5000.0, uncertainty: 1e-4, at: 1000.0 });
//! for n in 0..10 {
//!     let taken = 1000.0 + f64::from(n) / 100.0;
//!     timeline.push(&[taken], taken + 5000.002);
//! }
//! let mut samples = Vec::new();
//! timeline.drain(&mut samples);
//! assert_eq!(timeline.mode(), Mode::Remote);
//! assert_eq!(samples.len(), 10);
//! let local = samples[9].local.expect("the offset is known");
//! assert!((local - 6000.09).abs() < 1e-6);
//! ```

#![warn(clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub)]

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
use envelope::Envelope;
use gate::Gate;
pub use latency::{GUESS, SenderAge};
pub use offset::Measurement;
use offset::{ClockFit, Outcome};
pub use spacing::Spacing;
pub use timeline::{Config, Mode, Notice, Source, Stamped, Timeline};
