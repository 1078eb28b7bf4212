// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

mod imp;
mod plan;

glib::wrapper! {
    pub struct LslSink(ObjectSubclass<imp::LslSink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "lslsink",
        gst::Rank::NONE,
        LslSink::static_type(),
    )
}
