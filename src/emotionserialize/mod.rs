// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

mod imp;
mod json;
mod stream;
mod writer;

/// Media type of JSON lines: one object per line.
const JSON: &str = "application/x-json";

/// When `emotionserialize` writes a line or sends a sample.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstEmotionSerializeEvery")]
pub enum Every {
    #[default]
    #[enum_value(name = "One line for each new result", nick = "result")]
    Result,
    #[enum_value(
        name = "One line for each frame, with its result if it has one",
        nick = "frame"
    )]
    Frame,
}

glib::wrapper! {
    pub struct EmotionSerialize(ObjectSubclass<imp::EmotionSerialize>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    Every::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "emotionserialize",
        gst::Rank::NONE,
        EmotionSerialize::static_type(),
    )
}
