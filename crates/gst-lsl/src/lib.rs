// SPDX-License-Identifier: MPL-2.0
//! The elements for Lab Streaming Layer streams and XDF recordings: `lslsrc`, `lslsink`,
//! `lsldeviceprovider`, `xdfdemux`. This crate is a library; `libgstmvp.so` has its elements beside
//! the emotion elements, `libgstlsl.so` has them alone.
//!
//! The elements are thin. [timing](../timing/index.html) computes the times of samples,
//! [lsl](../lsl/index.html) loads liblsl, [xdf](../xdf/index.html) reads recordings. Here are what
//! they share as GStreamer elements: the caps of a stream ([`caps`]), the cutting of samples into
//! buffers and gaps, and the relation of the pipeline's clock to the LSL clock.
//!
//! A plugin of your own can have the elements too:
//!
//! ```
//! mod plugin {
//!     gst::plugin_define!(
//!         example,
//!         "The LSL elements and others",
//!         init,
//!         "0.1.0",
//!         "MPL-2.0",
//!         "example",
//!         "example",
//!         "https://example.org"
//!     );
//!
//!     fn init(plugin: &gst::Plugin) -> Result<(), gst::glib::BoolError> {
//!         gst_lsl::register(plugin)
//!     }
//! }
//!
//! gst::init()?;
//! plugin::plugin_register_static()?;
//! let source = gst::ElementFactory::make("lslsrc")
//!     .property("stream-type", "ECG")
//!     .build()?;
//! # drop(source);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub)]

mod clock;
mod lsldeviceprovider;
mod lslsink;
mod lslsrc;
mod stream;
mod writer;
mod xdfdemux;

use gst::glib;

/// What the caps of a stream are called, for elements that make or take them.
pub mod caps {
    pub use crate::stream::caps::{FIRST_FRAME_TIME, LSL};
}

/// Registers every element of this crate with `plugin`. Does nothing where another plugin of this
/// process has registered them: libgstmvp.so and libgstlsl.so may be installed side by side.
///
/// # Errors
/// Where GStreamer refuses to register one.
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
