// SPDX-License-Identifier: MPL-2.0
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

// Pure rooms: no elements, no pads. Imports run downwards in this order.
pub mod face;
mod host;
pub mod inference;
pub mod lsl;
pub mod meta;
pub mod physio;
mod stream;
pub mod timing;
pub mod window;
pub mod xdf;

// Thin elements over the rooms.
mod common;
mod emotionoverlay;
mod emotionserialize;
mod facetrack;
mod lsldeviceprovider;
mod lslsink;
mod lslsrc;
mod mvpfusion;
mod xdfdemux;

pub use meta::{EmotionMeta, FaceUnitsMeta, PhysioTraceMeta};

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    meta::register();
    #[cfg(feature = "doc")]
    common::document();
    lslsrc::register(plugin)?;
    lslsink::register(plugin)?;
    lsldeviceprovider::register(plugin)?;
    facetrack::register(plugin)?;
    mvpfusion::register(plugin)?;
    emotionoverlay::register(plugin)?;
    emotionserialize::register(plugin)?;
    xdfdemux::register(plugin)?;
    Ok(())
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
