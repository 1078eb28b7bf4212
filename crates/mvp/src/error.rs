// SPDX-License-Identifier: MPL-2.0
use std::path::PathBuf;

/// What can go wrong between a bundle's directory and an answer. Each text names the input,
/// the expectation, what was found, and a remedy where there is one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A bundle or manifest cannot be read, or does not fit the format.
    #[error("bundle {path}: {}", onnx::brief(reason))]
    Bundle {
        /// The bundle's directory, or the manifest.
        path: PathBuf,
        /// File, field, what was expected and what was found.
        reason: String,
    },
    /// ONNX Runtime could not be loaded, refuses a graph, or failed to run one; or a graph's
    /// inputs or outputs are not those of the bundle.
    #[error(transparent)]
    Onnx(#[from] onnx::Error),
}
