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

/// Older versions work, but find streams slowly or not at all where multicast is blocked.
const RECOMMENDED_VERSION: i32 = 118;

/// liblsl, loaded once per process. It is never unloaded, since it has threads of its own.
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
    /// `bundled` the library that is linked in comes last.
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

    /// What to tell whoever asked for `path` where this process has loaded another liblsl: the
    /// first one stays. `None` where `path` is the one in use.
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

    /// The path or name by which the library was loaded.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// 100 × major + minor, as liblsl counts.
    pub fn version(&self) -> i32 {
        (self.table.library_version)()
    }

    /// Version and build of the library, as liblsl writes them.
    pub fn info(&self) -> String {
        // SAFETY: needs no argument; the string is a constant of the library, which stays
        // loaded.
        unsafe { text((self.table.library_info)()) }
    }

    /// What a library older than the recommended version lacks; `None` for others.
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
        (self.table.local_clock)()
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
        // SAFETY: the string is terminated by NUL and outlives the call, which copies it.
        unsafe { set(content.as_ptr()) };
        Ok(())
    }

    /// liblsl's text for the last error on this thread.
    pub(super) fn last_error(&self) -> String {
        self.table
            .last_error
            // SAFETY: needs no argument; the string belongs to the library and this thread, and
            // is copied before this thread calls the library again.
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
        // SAFETY: loading runs the library's initialisers, which those of liblsl allow on any
        // thread. The file is the one that the user named or the system's liblsl; that another
        // file has initialisers that do harm cannot be checked.
        let library = unsafe { libloading::Library::new(path) }
            .map_err(|e| format!("'{}': {}", path.display(), reason(&e)))?;
        // SAFETY: a library with all of liblsl's symbols is taken for a liblsl; it is never
        // unloaded, see `forget` below.
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
///
/// # Safety
/// `s` must be null, or point to a string that is terminated by NUL and that nothing changes
/// or frees during the call.
pub(super) unsafe fn text(s: *const c_char) -> String {
    if s.is_null() {
        return String::new();
    }
    // SAFETY: not null, and a string by this function's contract.
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
