// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

mod choice;
mod cursor;
mod imp;
mod order;
mod playing;
mod pull;
mod stream;

const CAPS: &str = "application/x-xdf";

glib::wrapper! {
    pub struct XdfDemux(ObjectSubclass<imp::XdfDemux>) @extends gst::Element, gst::Object;
}

/// Whether a recording that gzip packed begins. What gzip packed otherwise is not ours.
fn begins_zipped(find: &mut gst::TypeFind) -> bool {
    // A short file does not have as many bytes as a header with a long name may need.
    find.peek(0, 2)
        .is_some_and(|b| xdf::is_gzip(b) == Some(true))
        && [4096, 512, 64, 24]
            .into_iter()
            .find_map(|n| find.peek(0, n).map(xdf::holds_xdf))
            .unwrap_or(false)
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    let caps = gst::Caps::new_empty_simple(CAPS);
    let found = caps.clone();
    gst::TypeFind::register(
        Some(plugin),
        CAPS,
        gst::Rank::PRIMARY,
        Some("xdf,xdfz"),
        Some(&caps),
        move |find| {
            let plain = find.peek(0, 4) == Some(b"XDF:");
            if plain || begins_zipped(find) {
                find.suggest(gst::TypeFindProbability::Maximum, &found);
            }
        },
    )?;
    gst::Element::register(
        Some(plugin),
        "xdfdemux",
        gst::Rank::NONE,
        XdfDemux::static_type(),
    )
}
