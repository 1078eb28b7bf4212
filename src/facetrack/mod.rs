// SPDX-License-Identifier: MPL-2.0
use gst::glib;
use gst::prelude::*;

mod frame;
mod imp;
mod orientation;
mod period;
mod settings;
mod worker;

glib::wrapper! {
    pub struct FaceTrack(ObjectSubclass<imp::FaceTrack>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "facetrack",
        gst::Rank::NONE,
        FaceTrack::static_type(),
    )
}
