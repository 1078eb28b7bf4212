// SPDX-License-Identifier: MPL-2.0
//! `libgstlsl.so`: the LSL elements alone, for those who want no emotion.

/**
 * plugin-lsl:
 *
 * Lab Streaming Layer streams in and out of GStreamer, and XDF recordings.
 *
 * Since: plugins-mvp-0.2.0
 */
use gst::{glib, prelude::*};

/// The plugin that has these elements too, and the file it is in.
const WHOLE: &str = "mvp";
const WHOLE_FILE: &str = "libgstmvp.so";

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    if gives_way() {
        gst::info!(
            gst::CAT_PLUGIN_LOADING,
            "{WHOLE_FILE} lies beside this file and has the LSL elements too: they are its own"
        );
        return Ok(());
    }
    gst_lsl::register(plugin)
}

/// An element belongs to one plugin. Where a registry is being made and the whole plugin
/// will be in it, the elements shall be listed there whichever file is scanned first.
fn gives_way() -> bool {
    let beside = host::own_directory().is_some_and(|d| d.join(WHOLE_FILE).is_file());
    let known = gst::Registry::get()
        .find_feature("lslsrc", gst::ElementFactory::static_type())
        .and_then(|f| f.plugin_name())
        .is_some_and(|name| name == WHOLE);
    beside && !known
}

gst::plugin_define!(
    lsl,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL-2.0",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("BUILD_REL_DATE")
);
