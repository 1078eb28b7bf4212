// SPDX-License-Identifier: MPL-2.0
//! ONNX Runtime, loaded at run time, and the providers it may run on.
//!
//! [`Runtime`] loads the library once per process, [`Session`] runs one graph on the
//! provider that was asked for, or says why not. [`Control`] shows another thread what a
//! session does, and ends it. [`self_contained`] looks through an ONNX file for anything that
//! would make ONNX Runtime open another one.
//!
//! ```
//! use onnx::{ModelSource, Provider, Runtime, SessionOptions};
//!
//! let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/face/face_blendshapes.onnx");
//! let bytes = std::fs::read(path).expect("comes with the source");
//! onnx::self_contained(&bytes).expect("names no other file");
//!
//! // Needs ONNX Runtime 1.24 or newer.
//! let runtime = match Runtime::load(None) {
//!     Ok(runtime) => runtime,
//!     Err(e) => {
//!         println!("{e}");
//!         return Ok(());
//!     }
//! };
//! let source = ModelSource { name: "face_blendshapes.onnx", bytes: &bytes };
//! let options = SessionOptions { provider: Provider::Cpu, ..Default::default() };
//! let mut session = runtime.session(source, &options)?;
//! assert_eq!(session.active_provider(), "cpu");
//!
//! let input = session.inputs()[0].clone();
//! assert_eq!(input.shape_text(), "[1,146,2]");
//! let outputs = session.run(&[(&input.name, &[1, 146, 2], &[0.5; 292])])?;
//! assert_eq!(outputs[0].data.len(), 52);
//! # Ok::<(), onnx::Error>(())
//! ```

#![warn(unreachable_pub, missing_docs, clippy::undocumented_unsafe_blocks)]

mod control;
mod error;
mod gate;
mod library;
mod onnx_scan;
mod runtime;
mod session;

pub use control::{Control, Doing, Step};
pub use error::{Error, brief};
pub use onnx_scan::self_contained;
pub use runtime::{Level, Runtime, set_log};
pub use session::{ModelSource, Session, SessionOptions, Tensor, TensorSpec, sha256};

/// The execution provider that a session shall use.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// TensorRT, else CUDA, else CPU; every step down is told.
    #[default]
    Auto,
    /// TensorRT, and CUDA for what TensorRT does not take.
    TensorRt,
    /// CUDA.
    Cuda,
    /// The CPU.
    Cpu,
}
