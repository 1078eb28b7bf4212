// SPDX-License-Identifier: MPL-2.0
//! What `facetrack` and `mvpfusion` share: property enums, where models are found, logging.

use gst::glib;
use gst::prelude::*;
use host::own_directory;
use onnx::Provider;
use std::path::{Path, PathBuf};

/// Where a network runs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstMvpExecutionProvider")]
pub enum ExecutionProvider {
    #[default]
    #[enum_value(
        name = "TensorRT, else CUDA, else CPU, with a warning at each step down",
        nick = "auto"
    )]
    Auto,
    #[enum_value(name = "NVIDIA TensorRT, or an error", nick = "tensorrt")]
    TensorRt,
    #[enum_value(name = "NVIDIA CUDA, or an error", nick = "cuda")]
    Cuda,
    #[enum_value(name = "CPU", nick = "cpu")]
    Cpu,
}

impl From<ExecutionProvider> for Provider {
    fn from(p: ExecutionProvider) -> Self {
        match p {
            ExecutionProvider::Auto => Provider::Auto,
            ExecutionProvider::TensorRt => Provider::TensorRt,
            ExecutionProvider::Cuda => Provider::Cuda,
            ExecutionProvider::Cpu => Provider::Cpu,
        }
    }
}

/// Whether video waits for the analysis.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstMvpSync")]
pub enum Sync {
    #[default]
    #[enum_value(
        name = "As live where the inputs are live, else as wait",
        nick = "auto"
    )]
    Auto,
    #[enum_value(
        name = "Never hold a frame; analysis runs beside the video",
        nick = "live"
    )]
    Live,
    #[enum_value(
        name = "Hold frames until their analysis is done; reproducible",
        nick = "wait"
    )]
    Wait,
}

/// The segment with its rate taken out: running time counts seconds of the film and the
/// body, however fast they play.
pub(crate) fn at_rate_1(
    segment: &gst::FormattedSegment<gst::ClockTime>,
) -> gst::FormattedSegment<gst::ClockTime> {
    let mut segment = segment.clone();
    if segment.rate() > 0.0 {
        segment.set_rate(1.0);
    }
    segment
}

/// Writes what a segment maps to the log; the event itself shows an address only.
pub(crate) fn log_segment(
    category: gst::DebugCategory,
    pad: &gst::Pad,
    segment: &gst::FormattedSegment<gst::ClockTime>,
) {
    gst::debug!(
        category,
        obj = pad,
        "segment: {} to {}, stream time from {}, running time from {}, rate {}",
        segment.start().display(),
        segment.stop().display(),
        segment.time().display(),
        segment.base().display(),
        segment.rate()
    );
}

/// Marks these types as part of the plugin's documentation.
#[cfg(feature = "doc")]
pub(crate) fn document() {
    for enumeration in [ExecutionProvider::static_type(), Sync::static_type()] {
        enumeration.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
}

/// How long a change of state waits for a model. Most load within this time, and an error
/// then fails the change of state: an application that is still starting the pipeline may
/// miss an error from another thread (`gst-launch-1.0` 1.22 hangs on one). What takes longer,
/// such as building an engine, continues while the pipeline runs.
pub(crate) const LOAD_PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// Directory for built TensorRT engines, where the property does not name one.
pub(crate) fn default_engine_cache() -> Option<PathBuf> {
    Some(glib::user_cache_dir().join("gst-plugin-mvp/engines"))
}

/// Variable that names the directory of all models.
const MODELS_VARIABLE: &str = "GSTMVP_MODELS";

/// The directory of a kind of models (`subdir`: `face`, `default`, ...).
///
/// `explicit`, the element's property, is taken as it is. Otherwise the first of these
/// that holds the file `marker`: `$GSTMVP_MODELS/subdir`, `models/subdir` here, beside
/// the plugin, in the source tree that the plugin was built in, in the share directory of
/// the prefix that it was installed to.
///
/// # Errors
/// A text that names the directories that were searched, and what to do.
pub(crate) fn find_model_dir(
    explicit: Option<&Path>,
    subdir: &str,
    marker: &str,
) -> Result<PathBuf, String> {
    if let Some(path) = explicit {
        return match path.is_dir() {
            true => Ok(path.to_path_buf()),
            false => Err(format!(
                "the property model names {}, which is no directory; expected one that holds {marker}",
                path.display()
            )),
        };
    }
    let models = Path::new("models").join(subdir);
    let mut places = Vec::new();
    if let Some(root) = std::env::var_os(MODELS_VARIABLE).filter(|v| !v.is_empty()) {
        places.push(Path::new(&root).join(subdir));
    }
    places.push(models.clone());
    if let Some(own) = own_directory() {
        places.push(own.join(&models));
        places.push(own.join("../..").join(&models));
        // gstreamer-1.0 may lie in lib or in lib/<architecture>.
        for up in ["..", "../..", "../../.."] {
            places.push(own.join(up).join("share/gst-plugin-mvp").join(&models));
        }
    }
    match places.iter().find(|p| p.join(marker).is_file()) {
        Some(found) => Ok(found.clone()),
        None => Err(format!(
            "no {subdir} models were found: none of {} holds {marker}; set the property model or the variable {MODELS_VARIABLE}",
            places
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_model_directory_must_exist() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(find_model_dir(Some(here), "x", "y"), Ok(here.into()));
        let missing = here.join("no/such/place");
        let e = find_model_dir(Some(&missing), "x", "y.toml").expect_err("missing");
        assert!(e.contains("no/such/place") && e.contains("y.toml"), "{e}");
    }

    #[test]
    fn models_are_found_by_their_marker() {
        let found = find_model_dir(None, "face", "face_detector.onnx").expect("shipped");
        assert!(found.ends_with("models/face"), "{}", found.display());
        let e = find_model_dir(None, "face", "no-such-file").expect_err("no marker");
        assert!(
            e.contains("models/face") && e.contains(MODELS_VARIABLE),
            "{e}"
        );
    }
}
