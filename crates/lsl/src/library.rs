// SPDX-License-Identifier: MPL-2.0
use super::{
    Error,
    ffi::{self, Table},
};
use std::{
    ffi::{CStr, CString, c_char},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Environment variables that may name liblsl, in the order they are tried.
pub const ENV_VARS: [&str; 2] = ["LSL_LIBRARY", "PYLSL_LIB"];

/// Older versions work, but miss fixes that matter in daily use.
const RECOMMENDED_VERSION: i32 = 118;

/// liblsl, loaded once per process and never unloaded: it has threads of its own.
pub struct Library {
    pub(super) table: Table,
    origin: String,
}

static LOADED: Mutex<Option<&'static Library>> = Mutex::new(None);

impl Library {
    /// Loads liblsl, or returns the one that was loaded before.
    ///
    /// Tried in this order: `path` and nothing else if given; `$LSL_LIBRARY`;
    /// `$PYLSL_LIB`; beside the plugin; the system's places. With the feature
    /// `lsl-bundled` the library linked in is the last resort.
    ///
    /// # Errors
    /// [`Error::Load`] with everything that was tried and the remedy.
    pub fn load(path: Option<&Path>) -> Result<&'static Library, Error> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = *loaded {
            return Ok(library);
        }
        let library = Box::leak(Box::new(Self::find(path)?));
        *loaded = Some(library);
        Ok(library)
    }

    /// Why `path` is not what is in use: the first library loaded wins for the process.
    pub fn conflict(&self, path: &Path) -> Option<String> {
        let same = |p: &Path| p.canonicalize().unwrap_or_else(|_| p.to_path_buf());
        (same(path) != same(Path::new(&self.origin))).then(|| {
            format!(
                "liblsl '{}' was asked for, but this process already uses '{}'; the first one \
                 loaded stays",
                path.display(),
                self.origin
            )
        })
    }

    /// Where the library came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// 100 × major + minor, as liblsl counts.
    pub fn version(&self) -> i32 {
        unsafe { (self.table.library_version)() }
    }

    /// Version and build of the library in its own words.
    pub fn info(&self) -> String {
        unsafe { text((self.table.library_info)()) }
    }

    /// What an old library lacks, if it is old.
    pub fn age_warning(&self) -> Option<String> {
        let v = self.version();
        (v < RECOMMENDED_VERSION).then(|| {
            format!(
                "liblsl {}.{} ('{}') works, but {}.{} or newer is recommended: older ones find \
                 streams slowly or not at all where multicast is blocked",
                v / 100,
                v % 100,
                self.origin,
                RECOMMENDED_VERSION / 100,
                RECOMMENDED_VERSION % 100
            )
        })
    }

    /// LSL's clock on this machine, seconds; the system's monotonic clock on Linux.
    pub fn local_clock(&self) -> f64 {
        unsafe { (self.table.local_clock)() }
    }

    /// Configures the library from the text of an `lsl_api.cfg` instead of a file.
    /// Only before any other use, and only from liblsl 1.17.6 on.
    ///
    /// # Errors
    /// The loaded library has no such function, or `content` holds a NUL.
    pub fn set_config_content(&self, content: &str) -> Result<(), Error> {
        let Some(set) = self.table.set_config_content else {
            return Err(Error::Unsupported("lsl_set_config_content", "1.17.6"));
        };
        let content = c_string("configuration", content)?;
        unsafe { set(content.as_ptr()) };
        Ok(())
    }

    /// What the library said last about an error on this thread.
    pub(super) fn last_error(&self) -> String {
        self.table
            .last_error
            .map(|f| unsafe { text(f()) })
            .filter(|s| !s.is_empty())
            .unwrap_or_else(|| "no reason given by liblsl".into())
    }

    fn find(path: Option<&Path>) -> Result<Self, Error> {
        let mut tried = Vec::new();
        if let Some(path) = path {
            return Self::open(path).map_err(|e| load_error(&[e]));
        }
        for var in ENV_VARS {
            if let Some(value) = std::env::var_os(var).filter(|v| !v.is_empty()) {
                match Self::open(Path::new(&value)) {
                    Ok(library) => return Ok(library),
                    Err(e) => tried.push(format!("${var}: {e}")),
                }
            }
        }
        let beside = host::own_directory()
            .into_iter()
            .flat_map(|dir| file_names().iter().map(move |name| dir.join(name)))
            .filter(|p| p.exists());
        let system = file_names().iter().map(PathBuf::from);
        for candidate in beside.chain(system) {
            match Self::open(&candidate) {
                Ok(library) => return Ok(library),
                Err(e) => tried.push(e),
            }
        }
        #[cfg(feature = "bundled")]
        return Ok(Self {
            table: Table::bundled(),
            origin: "bundled liblsl".into(),
        });
        #[cfg(not(feature = "bundled"))]
        Err(load_error(&tried))
    }

    fn open(path: &Path) -> Result<Self, String> {
        // Loading runs the library's initialisers; the user named it or the system has it.
        let library = unsafe { libloading::Library::new(path) }
            .map_err(|e| format!("'{}': {}", path.display(), reason(&e)))?;
        let table = unsafe { Table::from_library(&library) }.map_err(|symbol| {
            format!(
                "'{}': not a usable liblsl, function {symbol} is missing (1.13 or newer is needed)",
                path.display()
            )
        })?;
        std::mem::forget(library);
        Ok(Self {
            table,
            origin: path.to_string_lossy().into_owned(),
        })
    }
}

fn reason(e: &libloading::Error) -> String {
    use std::error::Error as _;
    e.source().map_or_else(|| e.to_string(), |s| s.to_string())
}

fn load_error(tried: &[String]) -> Error {
    Error::Load(format!(
        "liblsl could not be loaded. Tried: {}. Install liblsl (for example `pip install pylsl` \
         brings one along) and name it with the property lsl-library or $LSL_LIBRARY",
        tried.join("; ")
    ))
}

fn file_names() -> &'static [&'static str] {
    if cfg!(target_os = "macos") {
        &["liblsl.2.dylib", "liblsl.dylib", "lsl.framework/lsl"]
    } else if cfg!(windows) {
        &["lsl.dll", "liblsl.dll"]
    } else {
        &["liblsl.so.2", "liblsl.so"]
    }
}

/// Copies a C string; null reads as empty, bad UTF-8 is replaced.
pub(super) unsafe fn text(s: *const c_char) -> String {
    if s.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(s) }.to_string_lossy().into_owned()
}

pub(super) fn c_string(what: &'static str, s: &str) -> Result<CString, Error> {
    CString::new(s).map_err(|_| Error::NulByte(what, s.replace('\0', "\\0")))
}

pub(super) fn check(library: &Library, what: &'static str, code: i32) -> Result<(), Error> {
    match code {
        0 => Ok(()),
        ffi::ERROR_TIMEOUT => Err(Error::Timeout(what)),
        ffi::ERROR_LOST => Err(Error::Lost),
        code => Err(Error::Failed(
            what,
            format!("{} (code {code})", library.last_error()),
        )),
    }
}
