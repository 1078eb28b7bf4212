// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

mod device;
mod imp;

glib::wrapper! {
    pub struct LslDeviceProvider(ObjectSubclass<imp::LslDeviceProvider>)
        @extends gst::DeviceProvider, gst::Object;
}

glib::wrapper! {
    pub struct LslDevice(ObjectSubclass<device::LslDevice>)
        @extends gst::Device, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    // Monitors leave out providers of rank NONE. Only a monitor for Source/Physio, or for all
    // classes, starts this one.
    gst::DeviceProvider::register(
        Some(plugin),
        "lsldeviceprovider",
        gst::Rank::PRIMARY,
        LslDeviceProvider::static_type(),
    )
}
