// SPDX-License-Identifier: MPL-2.0
use std::io;

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}; see mvp-offline --help")]
    Usage(String),
    /// What came in is not what was expected.
    #[error("{0}")]
    Input(String),
    #[error(transparent)]
    Model(#[from] mvp::Error),
    #[error(transparent)]
    Onnx(#[from] onnx::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl Failure {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Whoever read the output has seen enough: no reason to complain.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(e: lexopt::Error) -> Self {
        Self::Usage(e.to_string())
    }
}
