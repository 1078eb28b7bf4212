// SPDX-License-Identifier: MPL-2.0
use std::path::PathBuf;

/// What can go wrong between a bundle on disk and an answer. Every text names the
/// input, what was expected of it and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("bundle {path}: {reason}")]
    Bundle { path: PathBuf, reason: String },
    #[error(transparent)]
    Onnx(#[from] onnx::Error),
}
