// SPDX-License-Identifier: MPL-2.0
//! Finding libonnxruntime.

use super::Error;
use host::own_directory;
use std::path::{Path, PathBuf};

/// Variable that names the library when the property does not.
const VARIABLE: &str = "ORT_DYLIB_PATH";

#[cfg(target_os = "windows")]
const NAME: &str = "onnxruntime.dll";
#[cfg(target_os = "macos")]
const NAME: &str = "libonnxruntime.dylib";
#[cfg(not(any(target_os = "windows", target_os = "macos")))]
const NAME: &str = "libonnxruntime.so";

/// The library to load: the property, else the variable, else beside the plugin,
/// else the loader's and the system's places.
///
/// The result is absolute: ONNX Runtime's binding resolves relative names against
/// the executable, which is never what a user of `gst-launch-1.0` means.
pub(crate) fn locate(explicit: Option<&Path>) -> Result<PathBuf, Error> {
    let named = explicit.map(Path::to_path_buf).or_else(|| {
        std::env::var_os(VARIABLE)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    });
    if let Some(path) = named {
        let unusable = |reason: String| Error::LibraryUnusable {
            path: path.clone(),
            reason,
        };
        let absolute = std::path::absolute(&path).map_err(|e| unusable(e.to_string()))?;
        if absolute.is_dir() {
            return newest_in(&absolute)
                .ok_or_else(|| unusable(format!("the directory holds no {NAME}")));
        }
        return match absolute.metadata() {
            Ok(_) => Ok(absolute),
            Err(e) => Err(unusable(e.to_string())),
        };
    }
    let places = places();
    places
        .iter()
        .find_map(|d| newest_in(d))
        .ok_or_else(|| Error::LibraryNotFound {
            tried: std::iter::once(format!("${VARIABLE} (not set)"))
                .chain(places.iter().map(|p| p.display().to_string()))
                .collect::<Vec<_>>()
                .join(", "),
        })
}

fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    places.extend(own_directory());
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        places.extend(std::env::split_paths(&path).filter(|p| p.is_absolute()));
    }
    if cfg!(unix) {
        let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        for p in [
            "/usr/local/lib",
            "/opt/onnxruntime/lib",
            "/usr/lib",
            "/usr/lib64",
            &multiarch,
        ] {
            places.push(p.into());
        }
    }
    places
}

/// The plain name, else the versioned file with the highest version.
fn newest_in(directory: &Path) -> Option<PathBuf> {
    let plain = directory.join(NAME);
    if plain.is_file() {
        return Some(plain);
    }
    let version = |p: &PathBuf| -> Vec<u32> {
        p.file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix(NAME))
            .map(|v| v.split('.').filter_map(|n| n.parse().ok()).collect())
            .unwrap_or_default()
    };
    std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| !version(p).is_empty() && p.is_file())
        .max_by_key(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_yields_its_newest_version() {
        let dir = tempfile::tempdir().expect("dir");
        for v in ["1.9.0", "1.31.1", "1.4.2"] {
            std::fs::write(dir.path().join(format!("{NAME}.{v}")), b"").expect("file");
        }
        let found = locate(Some(dir.path())).expect("found");
        assert!(found.to_string_lossy().ends_with("1.31.1"), "{found:?}");
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let text = locate(Some(Path::new("/nonexistent/libonnxruntime.so")))
            .expect_err("absent")
            .to_string();
        assert!(text.contains("/nonexistent/libonnxruntime.so"), "{text}");
        assert!(text.contains("ort-library"), "{text}");
    }
}
