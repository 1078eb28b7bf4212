// SPDX-License-Identifier: MPL-2.0
//! What several elements share and no pure room may know: property enums and
//! questions to the pipeline.

use crate::inference::Provider;
use gst::{glib, prelude::*};
use std::path::PathBuf;

/// Where a network runs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstMvpExecutionProvider")]
pub enum ExecutionProvider {
    #[default]
    #[enum_value(name = "TensorRT, else CUDA, else CPU, with a warning at each step down", nick = "auto")]
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
    #[enum_value(name = "As live where the inputs are live, else as wait", nick = "auto")]
    Auto,
    #[enum_value(name = "Never hold a frame; analysis runs beside the video", nick = "live")]
    Live,
    #[enum_value(name = "Hold frames until their analysis is done; reproducible", nick = "wait")]
    Wait,
}

/// Whether what feeds `pad` is a live source; `None` while nobody answers.
pub fn upstream_is_live(pad: &gst::Pad) -> Option<bool> {
    let mut query = gst::query::Latency::new();
    pad.peer_query(&mut query).then(|| query.result().0)
}

/// The directory of the models called `name` (`face`, `default`), where a property
/// does not name one: `$GSTMVP_MODELS`, `models` here, beside the plugin, in the build
/// tree or where the plugin was installed.
///
/// # Errors
/// Lists where it looked, and says how to name one.
pub fn find_model_dir(name: &str) -> Result<PathBuf, String> {
    let mut roots = Vec::new();
    if let Some(root) = std::env::var_os("GSTMVP_MODELS") {
        roots.push(PathBuf::from(root));
    }
    roots.push(PathBuf::from("models"));
    if let Some(own) = crate::inference::own_directory() {
        for relative in [
            "models",
            "../../models",
            "../../../models",
            "../../share/gst-plugin-mvp/models",
            "../../../share/gst-plugin-mvp/models",
        ] {
            roots.push(own.join(relative));
        }
    }
    let places: Vec<_> = roots.into_iter().map(|r| r.join(name)).collect();
    places.iter().find(|p| p.is_dir()).cloned().ok_or_else(|| {
        let tried: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
        format!(
            "no model directory '{name}' in {}; name it with the property model or set GSTMVP_MODELS",
            tried.join(", ")
        )
    })
}
