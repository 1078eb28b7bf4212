// SPDX-License-Identifier: MPL-2.0
use std::io;

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong: exit code 2, all others 1.
    #[error("{0}; see mvp-offline --help")]
    Usage(String),
    /// A file or standard input does not hold what was expected.
    #[error("{0}")]
    Input(String),
    #[error(transparent)]
    Model(#[from] mvp::Error),
    #[error(transparent)]
    Onnx(#[from] onnx::Error),
    /// Reading or writing `what` failed.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl Failure {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Whether the reader of the output has closed it, which is no error.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(e: lexopt::Error) -> Self {
        Self::Usage(e.to_string())
    }
}
