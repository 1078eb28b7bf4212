// SPDX-License-Identifier: MPL-2.0
//! ONNX Runtime, the providers it may run on, and the model bundle.
//!
//! [`Runtime`] loads the library once per process, [`Session`] runs one graph on
//! the provider that was asked for (or says why not), [`Bundle`] reads and checks a
//! model directory, and [`Network`] is the bundle's graphs made ready to run.

mod error;
mod library;
mod runtime;
mod session;

pub use error::Error;
pub use library::own_directory;
pub use runtime::Runtime;
pub use session::{ModelSource, Session, SessionOptions, Tensor, TensorSpec, Terminator};

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
