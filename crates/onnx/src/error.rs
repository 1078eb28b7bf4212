// SPDX-License-Identifier: MPL-2.0
use std::path::PathBuf;

/// What can go wrong between a graph and its outputs. Every text names the
/// input, what was expected of it and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error(
        "ONNX Runtime was not found. Looked at: {tried}. Install it (for example the Python package onnxruntime, 1.24 or newer) and name the library file with the property ort-library or the variable ORT_DYLIB_PATH"
    )]
    LibraryNotFound { tried: String },
    #[error(
        "{path} cannot be used as ONNX Runtime: {reason}. Expected libonnxruntime 1.24 or newer; name another file with the property ort-library or the variable ORT_DYLIB_PATH"
    )]
    LibraryUnusable { path: PathBuf, reason: String },
    #[error("ONNX Runtime could not be set up: {0}")]
    Environment(String),
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error(
        "execution provider {provider} is not available: {reason}. Choose execution-provider=auto or cpu, or install what is missing"
    )]
    Provider {
        provider: &'static str,
        reason: String,
    },
    #[error("{model}: ONNX Runtime refuses the graph: {reason}")]
    Graph { model: String, reason: String },
    #[error("{model}: {role} {what}: expected {expected}, found {found}")]
    Contract {
        model: String,
        role: &'static str,
        what: String,
        expected: String,
        found: String,
    },
    #[error("{model}: run failed: {reason}")]
    Run { model: String, reason: String },
    #[error("{model}: run was cancelled")]
    Cancelled { model: String },
}
