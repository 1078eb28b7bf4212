// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

mod choice;
mod cursor;
mod film;
mod imp;
mod order;
mod playing;
mod pull;
mod scan;
mod stream;

const CAPS: &str = "application/x-xdf";

glib::wrapper! {
    pub struct XdfDemux(ObjectSubclass<imp::XdfDemux>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    let caps = gst::Caps::new_empty_simple(CAPS);
    let found = caps.clone();
    gst::TypeFind::register(
        Some(plugin),
        CAPS,
        gst::Rank::PRIMARY,
        Some("xdf"),
        Some(&caps),
        move |find| {
            if find.peek(0, 4) == Some(b"XDF:") {
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
