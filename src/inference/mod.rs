// SPDX-License-Identifier: MPL-2.0
//! ONNX Runtime, the providers it may run on, and the model bundle.
//!
//! [`Runtime`] loads the library once per process, [`Session`] runs one graph on
//! the provider that was asked for (or says why not), [`Bundle`] reads and checks a
//! model directory, [`Network`] is the bundle's graphs made ready to run, and
//! [`Estimator`] answers for a window of what its [`Inputs`] have been given.

mod bundle;
mod error;
mod estimator;
mod library;
mod network;
mod onnx_scan;
mod runtime;
mod session;
mod units;

pub use bundle::{
    Bundle, Calibration, EncoderSpec, FusionSpec, GraphFile, InputSpecs, Labels, MANIFEST,
    OutputSpec, StreamSpec, VideoSpec, WindowSpec,
};
pub use error::Error;
pub use estimator::{Answer, Estimator, GridWindow, Inputs, SignalTrack, VideoTrack};
pub use network::{Logits, Network, TokenWindow};
pub use runtime::Runtime;
pub use session::{ModelSource, Session, SessionOptions, Tensor, TensorSpec, Terminator};
pub use units::{UnitsGrid, UnitsSpec};

/// The execution provider that a session shall use.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// TensorRT, else CUDA, else CPU; every step down is told.
    #[default]
    Auto,
    TensorRt,
    Cuda,
    Cpu,
}
