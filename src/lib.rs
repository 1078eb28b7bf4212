// SPDX-License-Identifier: MPL-2.0
//! The GStreamer plugin `mvp`: live emotion from face video and physiology.
//!
//! Applications use its elements through GStreamer, and read what they put on video buffers with
//! the types of [`meta`]:
//!
//! ```
//! use gstmvp::EmotionMeta;
//!
//! # gst::init().unwrap();
//! gstmvp::plugin_register_static().expect("registered");
//! assert!(gst::ElementFactory::find("mvpfusion").is_some());
//! // A buffer that has not come through `mvpfusion` has no result.
//! assert_eq!(EmotionMeta::from_buffer(&gst::Buffer::new()), None);
//! ```
#![allow(clippy::non_send_fields_in_send_ty, unused_doc_comments)]

/**
 * plugin-mvp:
 *
 * Live emotion from face video and physiology: Lab Streaming Layer input,
 * face units, the MVP network on ONNX Runtime, results as buffer metadata.
 *
 * Since: plugins-mvp-0.1.0
 */
use gst::glib;
use std::sync::LazyLock;

mod common;
mod declared;
mod emotionoverlay;
mod emotionserialize;
mod facetrack;
mod graph_watch;
pub mod meta;
mod mvpfusion;
mod physio;
mod physiofeatures;
mod sensing;

pub use meta::{EmotionMeta, FaceUnitsMeta, PhysioMeta, PhysioTraceMeta};

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    log_onnx_runtime();
    meta::register();
    #[cfg(feature = "doc")]
    common::document();
    gst_lsl::register(plugin)?;
    facetrack::register(plugin)?;
    mvpfusion::register(plugin)?;
    emotionoverlay::register(plugin)?;
    emotionserialize::register(plugin)?;
    physiofeatures::register(plugin)?;
    Ok(())
}

/// ONNX Runtime's own log goes to the debug category `onnxruntime`.
fn log_onnx_runtime() {
    static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
        gst::DebugCategory::new(
            "onnxruntime",
            gst::DebugColorFlags::empty(),
            Some("ONNX Runtime"),
        )
    });
    onnx::set_log(|level, line| {
        let level = match level {
            onnx::Level::Error => gst::DebugLevel::Error,
            onnx::Level::Warning => gst::DebugLevel::Warning,
            onnx::Level::Info => gst::DebugLevel::Info,
            onnx::Level::Verbose => gst::DebugLevel::Log,
        };
        gst::log_with_level!(CAT, level, "{line}");
    });
}

gst::plugin_define!(
    mvp,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL-2.0",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("BUILD_REL_DATE")
);
