// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

mod connection;
mod imp;
mod receiver;
mod shared;
mod stream;
mod streaming;

/// What `lslsrc` does when the stream is lost.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstLslSrcOnLost")]
pub enum OnLost {
    #[default]
    #[enum_value(name = "Wait for the stream to come back", nick = "wait")]
    Wait,
    #[enum_value(name = "End the stream", nick = "eos")]
    Eos,
    #[enum_value(name = "Post an error", nick = "error")]
    Error,
}

/// From what the time of a sample is computed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstLslSrcTimestampSource")]
pub enum TimestampSource {
    #[default]
    #[enum_value(
        name = "As lsl where the timestamps are of the clock that is measured, else as mapped",
        nick = "auto"
    )]
    Auto,
    #[enum_value(
        name = "The outlet's timestamps and the measured clock offset",
        nick = "lsl"
    )]
    Lsl,
    #[enum_value(
        name = "The outlet's timestamps, placed by the fastest arrival",
        nick = "mapped"
    )]
    Mapped,
    #[enum_value(name = "When the sample arrived", nick = "arrival")]
    Arrival,
}

glib::wrapper! {
    pub struct LslSrc(ObjectSubclass<imp::LslSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    {
        OnLost::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
        TimestampSource::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(
        Some(plugin),
        "lslsrc",
        gst::Rank::NONE,
        LslSrc::static_type(),
    )
}
