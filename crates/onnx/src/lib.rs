// SPDX-License-Identifier: MPL-2.0
//! ONNX Runtime, loaded at run time, and the providers it may run on.
//!
//! [`Runtime`] loads the library once per process, [`Session`] runs one graph on the
//! provider that was asked for, or says why not. [`self_contained`] looks through an ONNX
//! file for anything that would make ONNX Runtime open another one.

mod error;
mod library;
mod onnx_scan;
mod runtime;
mod session;

pub use error::Error;
pub use onnx_scan::self_contained;
pub use runtime::{Level, Runtime, set_log};
pub use session::{ModelSource, Session, SessionOptions, Tensor, TensorSpec, Terminator, sha256};

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
