// SPDX-License-Identifier: MPL-2.0
//! What several elements share and no pure room may know: property enums and
//! questions to the pipeline.

use crate::inference::Provider;
use gst::{glib, prelude::*};

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

/// Whether what feeds `pad` is a live source; `None` while nobody answers.
pub fn upstream_is_live(pad: &gst::Pad) -> Option<bool> {
    let mut query = gst::query::Latency::new();
    pad.peer_query(&mut query).then(|| query.result().0)
}
