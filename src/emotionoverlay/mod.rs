// SPDX-License-Identifier: MPL-2.0
use gst::{glib, prelude::*};

pub(crate) mod draw;
mod imp;
mod picture;

/// What `emotionoverlay` draws.
#[glib::flags(name = "GstEmotionOverlayShow")]
pub enum Show {
    #[flags_value(name = "Label and confidence", nick = "label")]
    LABEL = 1 << 0,
    #[flags_value(name = "Valence and arousal as bars", nick = "bars")]
    BARS = 1 << 1,
    #[flags_value(
        name = "How much of the window each modality covers",
        nick = "coverage"
    )]
    COVERAGE = 1 << 2,
    #[flags_value(name = "Physiology traces (GstPhysioTraceMeta)", nick = "traces")]
    TRACES = 1 << 3,
    #[flags_value(
        name = "Name of the model; an untrained one is always named",
        nick = "model"
    )]
    MODEL = 1 << 4,
    #[flags_value(name = "Outline of the face", nick = "face")]
    FACE = 1 << 5,
    #[flags_value(name = "A note while there is no result yet", nick = "waiting")]
    WAITING = 1 << 6,
}

impl Default for Show {
    fn default() -> Self {
        Show::LABEL | Show::BARS | Show::COVERAGE | Show::FACE | Show::WAITING
    }
}

/// Corner of the frame for the result.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstEmotionOverlayPosition")]
pub enum Position {
    #[enum_value(name = "Top left", nick = "top-left")]
    TopLeft,
    #[enum_value(name = "Top right", nick = "top-right")]
    TopRight,
    #[enum_value(name = "Bottom left", nick = "bottom-left")]
    BottomLeft,
    #[enum_value(name = "Bottom right", nick = "bottom-right")]
    BottomRight,
    #[default]
    #[enum_value(name = "Top left, or where no face is covered", nick = "auto")]
    Auto,
}

impl Position {
    /// The corner; `None` where it depends on the faces.
    fn corner(self) -> Option<draw::Corner> {
        Some(match self {
            Self::TopLeft => draw::Corner::TopLeft,
            Self::TopRight => draw::Corner::TopRight,
            Self::BottomLeft => draw::Corner::BottomLeft,
            Self::BottomRight => draw::Corner::BottomRight,
            Self::Auto => return None,
        })
    }
}

glib::wrapper! {
    pub struct EmotionOverlay(ObjectSubclass<imp::EmotionOverlay>) @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    {
        Show::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
        Position::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(
        Some(plugin),
        "emotionoverlay",
        gst::Rank::NONE,
        EmotionOverlay::static_type(),
    )
}
