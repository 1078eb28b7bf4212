// SPDX-License-Identifier: MPL-2.0
use std::path::PathBuf;

/// What can go wrong between a graph and its outputs. Every text names the
/// input, what was expected of it and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No place holds ONNX Runtime.
    #[error(
        "ONNX Runtime was not found. Looked at: {tried}. Install it (for example the Python package onnxruntime, 1.24 or newer) and name the library file with the property ort-library or the variable ORT_DYLIB_PATH"
    )]
    LibraryNotFound {
        /// The places that were looked at.
        tried: String,
    },
    /// The file is no ONNX Runtime, or too old.
    #[error(
        "{path} cannot be used as ONNX Runtime: {reason}. Expected libonnxruntime 1.24 or newer; name another file with the property ort-library or the variable ORT_DYLIB_PATH"
    )]
    LibraryUnusable {
        /// The file or directory.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// ONNX Runtime's environment cannot be made.
    #[error("ONNX Runtime could not be set up: {0}")]
    Environment(String),
    /// A model file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
    /// The provider is missing, does not load, has no device or takes no node of the graph.
    #[error(
        "execution provider {provider} is not available: {reason}. Choose execution-provider=auto or cpu, or install what is missing"
    )]
    Provider {
        /// `tensorrt`, `cuda` or `cpu`.
        provider: &'static str,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// ONNX Runtime refuses the graph.
    #[error("{model}: ONNX Runtime refuses the graph: {reason}")]
    Graph {
        /// The name of the graph's source.
        model: String,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// An input or output is not what the plugin needs.
    #[error("{model}: {role} {what}: expected {expected}, found {found}")]
    Contract {
        /// The name of the graph's source.
        model: String,
        /// `input` or `output`.
        role: &'static str,
        /// Which one, and what of it.
        what: String,
        /// What the plugin needs.
        expected: String,
        /// What the graph has.
        found: String,
    },
    /// The graph failed while it ran.
    #[error("{model}: run failed: {reason}")]
    Run {
        /// The name of the graph's source.
        model: String,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// A load or run was ended by its [`Control`](crate::Control).
    #[error("{model}: cancelled")]
    Cancelled {
        /// The name of the graph's source.
        model: String,
    },
}
