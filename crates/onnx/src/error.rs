// SPDX-License-Identifier: MPL-2.0
use std::path::PathBuf;

/// A text that quotes a file of somebody else, for a message: without NUL, which no string of C
/// holds, and of a text of more than 700 characters the beginning and the end.
pub fn brief(text: &str) -> String {
    const MOST: usize = 700;
    const END: usize = 250;
    let text = text.replace('\0', "\u{FFFD}");
    let all = text.chars().count();
    if all <= MOST {
        return text;
    }
    let begin: String = text.chars().take(MOST - END - 50).collect();
    let end: String = text.chars().skip(all - END).collect();
    format!("{begin} … ({} bytes) … {end}", text.len())
}

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
    #[error("{model}: ONNX Runtime refuses the graph: {}", brief(reason))]
    Graph {
        /// The name of the graph's source.
        model: String,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// An input or output is not what the plugin needs.
    #[error(
        "{model}: {role} {}: expected {expected}, found {}",
        brief(what),
        brief(found)
    )]
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
    #[error("{model}: run failed: {}", brief(reason))]
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

#[cfg(test)]
mod tests {
    use super::brief;

    #[test]
    fn a_message_is_short_and_holds_no_nul() {
        assert_eq!(brief("a\0b"), "a\u{FFFD}b");
        for length in [0, 1, 399, 400, 650, 700] {
            let text = "ä".repeat(length);
            assert_eq!(brief(&text), text, "{length}");
        }
        let text = format!("begin {} end", "ä\0".repeat(20_000));
        let told = brief(&text);
        assert!(
            told.starts_with("begin ä") && told.ends_with(" end"),
            "{told}"
        );
        assert!(
            told.len() < 3000 && told.contains("bytes"),
            "{}",
            told.len()
        );
    }
}
