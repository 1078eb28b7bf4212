// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

mod imp;
mod outputs;

/// What the stream of a `physiofeatures` is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstPhysioFeaturesModality")]
pub enum Modality {
    #[default]
    #[enum_value(name = "What the stream's type or its labels say", nick = "auto")]
    Auto,
    #[enum_value(name = "Electrocardiogram", nick = "ecg")]
    Ecg,
    #[enum_value(name = "Photoplethysmogram, blood volume pulse", nick = "ppg")]
    Ppg,
    #[enum_value(name = "Electrodermal activity, skin conductance", nick = "eda")]
    Eda,
}

impl Modality {
    /// `None` for auto.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::Ecg => Some("ecg"),
            Self::Ppg => Some("ppg"),
            Self::Eda => Some("eda"),
        }
    }
}

glib::wrapper! {
    pub struct PhysioFeatures(ObjectSubclass<imp::PhysioFeatures>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    Modality::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "physiofeatures",
        gst::Rank::NONE,
        PhysioFeatures::static_type(),
    )
}
