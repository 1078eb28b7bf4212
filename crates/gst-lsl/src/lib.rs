// SPDX-License-Identifier: MPL-2.0
//! The elements for Lab Streaming Layer streams and XDF recordings, as a library:
//! `libgstmvp.so` has them beside the emotion elements, `libgstlsl.so` alone.

mod clock;
mod lsldeviceprovider;
mod lslsink;
mod lslsrc;
pub mod stream;
mod writer;
mod xdfdemux;

use gst::glib;

/// Registers every element of this crate with `plugin`, unless another plugin of this
/// process has done so: libgstmvp.so and libgstlsl.so may be installed side by side.
///
/// # Errors
/// Where GStreamer refuses one.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    if glib::Type::from_name("GstLslSrc").is_some() {
        gst::info!(
            gst::CAT_PLUGIN_LOADING,
            "another plugin has brought the LSL elements; {} leaves them out",
            plugin.plugin_name()
        );
        return Ok(());
    }
    lslsrc::register(plugin)?;
    lslsink::register(plugin)?;
    lsldeviceprovider::register(plugin)?;
    xdfdemux::register(plugin)
}
