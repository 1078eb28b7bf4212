// SPDX-License-Identifier: MPL-2.0
//! The MVP network: [`Bundle`] reads and checks a model directory, [`Network`] is its
//! graphs made ready to run, and [`Estimator`] answers for a window of what its
//! [`Inputs`] have been given.

#![warn(
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    unreachable_pub
)]

mod bundle;
mod error;
mod estimator;
mod inputs;
mod network;

pub use bundle::{
    Bundle, Calibration, EncoderSpec, FusionSpec, GraphFile, InputSpecs, Labels, MANIFEST,
    OutputSpec, StreamSpec, VideoSpec, WindowSpec,
};
pub use error::Error;
pub use estimator::{Answer, Estimator, ModalityState};
pub use inputs::{GridWindow, Inputs, SignalTrack, VideoTrack};
pub use network::{Logits, Network, TokenWindow};
