// SPDX-License-Identifier: MPL-2.0
use super::{Error, library};
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How much a line of ONNX Runtime's own log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as expected.
    Warning,
    /// What is done.
    Info,
    /// Every detail.
    Verbose,
}

type Log = dyn Fn(Level, &str) + Send + Sync;

static LOG: OnceLock<Box<Log>> = OnceLock::new();

/// Where ONNX Runtime's log goes; the first call of a process decides. Without it the log
/// is dropped: what fails is an [`Error`] all the same.
pub fn set_log(log: impl Fn(Level, &str) + Send + Sync + 'static) {
    let _ = LOG.set(Box::new(log));
}

/// ONNX Runtime allows one environment per process and must never be unloaded, so
/// the first library that loads stays until the process ends.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// The process-wide ONNX Runtime.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) environment: Environment,
    library: PathBuf,
    ignored: Option<PathBuf>,
}

impl Runtime {
    /// Loads ONNX Runtime, or returns the one that is loaded.
    ///
    /// `library` is a file or a directory that holds one; `None` looks at
    /// `ORT_DYLIB_PATH`, beside the plugin and in the system's places.
    ///
    /// # Errors
    /// [`Error::LibraryNotFound`], [`Error::LibraryUnusable`] (not a library, no ONNX
    /// Runtime, older than 1.24) or [`Error::Environment`]; another call may succeed.
    pub fn load(library: Option<&Path>) -> Result<Self, Error> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = loaded.as_ref() {
            let mut runtime = runtime.clone();
            runtime.ignored = library
                .and_then(|l| library::locate(Some(l)).ok())
                .filter(|l| same_file(l) != same_file(&runtime.library));
            return Ok(runtime);
        }
        let path = library::locate(library)?;
        let builder = ort::init_from(&path).map_err(|e| Error::LibraryUnusable {
            path: path.clone(),
            reason: match &e {
                ort::LoadDynamicError::Dlopen { error, .. } => with_sources(error),
                e => e.to_string(),
            },
        })?;
        let environment = builder
            .with_name("gstmvp")
            .with_telemetry(false)
            .with_logger(Arc::new(log))
            .build()
            .map_err(|e| Error::Environment(e.to_string()))?;
        // The default is VERBOSE, thousands of lines per session.
        environment.set_log_level(LogLevel::Warning);
        let runtime = Self {
            environment,
            library: path,
            ignored: None,
        };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The file that was loaded.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// The file that this call asked for, where an earlier one had loaded another.
    pub fn ignored_library(&self) -> Option<&Path> {
        self.ignored.as_deref()
    }
}

fn same_file(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The loader's own words are in the sources, not in the top message.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text = format!("{text}: {e}");
        source = e.source();
    }
    text
}

fn log(level: LogLevel, category: &str, id: &str, location: &str, message: &str) {
    let Some(log) = LOG.get() else { return };
    let level = match level {
        LogLevel::Fatal | LogLevel::Error => Level::Error,
        LogLevel::Warning => Level::Warning,
        LogLevel::Info => Level::Info,
        LogLevel::Verbose => Level::Verbose,
    };
    log(level, &format!("{category} {id} {location}: {message}"));
}
