// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

mod body;
mod branch_seek;
mod imp;
mod pace;
mod person;
mod physio_pad;
mod request;
mod request_pad;
mod seeking;
mod state;
mod values;
mod video;
mod worker;

glib::wrapper! {
    pub struct MvpFusion(ObjectSubclass<imp::MvpFusion>)
        @extends gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

glib::wrapper! {
    pub struct MvpFusionPad(ObjectSubclass<request_pad::RequestPad>)
        @extends gst::Pad, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    request_pad::Device::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "mvpfusion",
        gst::Rank::NONE,
        MvpFusion::static_type(),
    )
}
