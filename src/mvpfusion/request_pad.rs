// SPDX-License-Identifier: MPL-2.0
//! The type of the physiology pads: what a user may say of what comes to one.

use crate::physio::Wish;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_common::lock;
use std::sync::{LazyLock, Mutex};

#[derive(Default)]
pub struct RequestPad {
    wish: Mutex<Wish>,
}

impl RequestPad {
    pub(super) fn wish(&self) -> Wish {
        lock(&self.wish).clone()
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RequestPad {
    const NAME: &'static str = "GstMvpFusionPad";
    type Type = super::MvpFusionPad;
    type ParentType = gst::Pad;
}

impl ObjectImpl for RequestPad {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("channel")
                    .nick("Channel")
                    .blurb("Label or index (from 0) of the channel that is the signal, in a stream of several; unset: the only channel whose label names the signal. Counts from the next caps on")
                    .build(),
                glib::ParamSpecBoolean::builder("force")
                    .nick("Force")
                    .blurb("Take the stream as the signal even if its type, its label or its unit is that of another, or it is sound. Counts from the next caps on")
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut wish = lock(&self.wish);
        match pspec.name() {
            "channel" => {
                let text: Option<String> = value.get().expect("type checked upstream");
                wish.channel = text.filter(|t| !t.trim().is_empty());
            }
            "force" => wish.force = value.get().expect("type checked upstream"),
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let wish = lock(&self.wish);
        match pspec.name() {
            "channel" => wish.channel.to_value(),
            "force" => wish.force.to_value(),
            _ => unimplemented!(),
        }
    }
}

impl GstObjectImpl for RequestPad {}

impl PadImpl for RequestPad {}
