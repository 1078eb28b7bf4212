// SPDX-License-Identifier: MPL-2.0
//! How the video has to be turned to be upright: by the property, or by the stream's tags.

use face::Orientation;
use gst::glib;
use gst_video::VideoOrientationMethod as Method;

/// The values of the property `orientation`, named like those of `GstVideoOrientationMethod`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstMvpVideoOrientation")]
pub enum VideoOrientation {
    #[default]
    #[enum_value(name = "As the tag image-orientation says", nick = "auto")]
    Auto,
    #[enum_value(name = "The video is upright", nick = "identity")]
    Identity,
    #[enum_value(name = "Turn by 90 degrees clockwise", nick = "90r")]
    Right90,
    #[enum_value(name = "Turn by 180 degrees", nick = "180")]
    Turn180,
    #[enum_value(name = "Turn by 90 degrees counter-clockwise", nick = "90l")]
    Left90,
    #[enum_value(name = "Swap left and right", nick = "horiz")]
    Horizontal,
    #[enum_value(name = "Swap top and bottom", nick = "vert")]
    Vertical,
    #[enum_value(name = "Mirror from upper left to lower right", nick = "ul-lr")]
    UpperLeftLowerRight,
    #[enum_value(name = "Mirror from upper right to lower left", nick = "ur-ll")]
    UpperRightLowerLeft,
}

impl VideoOrientation {
    /// What it means in a stream with these tags.
    pub(super) fn resolve(self, tagged: Tagged) -> Orientation {
        match self {
            Self::Auto => tagged.orientation(),
            Self::Identity => Orientation::Identity,
            Self::Right90 => Orientation::Right90,
            Self::Turn180 => Orientation::Turn180,
            Self::Left90 => Orientation::Left90,
            Self::Horizontal => Orientation::Horizontal,
            Self::Vertical => Orientation::Vertical,
            Self::UpperLeftLowerRight => Orientation::UpperLeftLowerRight,
            Self::UpperRightLowerLeft => Orientation::UpperRightLowerLeft,
        }
    }
}

/// The nick of the property's value that means `orientation`.
pub(super) fn nick(orientation: Orientation) -> &'static str {
    match orientation {
        Orientation::Identity => "identity",
        Orientation::Right90 => "90r",
        Orientation::Turn180 => "180",
        Orientation::Left90 => "90l",
        Orientation::Horizontal => "horiz",
        Orientation::Vertical => "vert",
        Orientation::UpperLeftLowerRight => "ul-lr",
        Orientation::UpperRightLowerLeft => "ur-ll",
    }
}

/// What tags say of the orientation. A tag of the stream counts before one of the container.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tagged {
    stream: Option<Orientation>,
    global: Option<Orientation>,
}

impl Tagged {
    /// Reads a list of tags; false where it says nothing of the orientation.
    pub(super) fn read(&mut self, tags: &gst::TagListRef) -> bool {
        let Some(orientation) = Method::from_tag(tags).and_then(known) else {
            return false;
        };
        match tags.scope() {
            gst::TagScope::Global => self.global = Some(orientation),
            _ => self.stream = Some(orientation),
        }
        true
    }

    fn orientation(self) -> Orientation {
        self.stream.or(self.global).unwrap_or_default()
    }
}

fn known(method: Method) -> Option<Orientation> {
    Some(match method {
        Method::Identity => Orientation::Identity,
        Method::_90r => Orientation::Right90,
        Method::_180 => Orientation::Turn180,
        Method::_90l => Orientation::Left90,
        Method::Horiz => Orientation::Horizontal,
        Method::Vert => Orientation::Vertical,
        Method::UlLr => Orientation::UpperLeftLowerRight,
        Method::UrLl => Orientation::UpperRightLowerLeft,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gst::glib::translate::IntoGlib;
    use gst::prelude::*;

    fn list(tag: &str, scope: gst::TagScope) -> gst::TagList {
        let mut tags = gst::TagList::new();
        let list = tags.make_mut();
        list.add::<gst::tags::ImageOrientation>(&tag, gst::TagMergeMode::Append);
        list.set_scope(scope);
        tags
    }

    #[test]
    fn the_values_are_those_of_gstreamer_and_every_tag_is_known() {
        gst::init().expect("gst");
        let own = glib::EnumClass::with_type(VideoOrientation::static_type()).expect("enum");
        let theirs = glib::EnumClass::with_type(Method::static_type()).expect("enum");
        for value in own.values() {
            assert!(theirs.value_by_nick(value.nick()).is_some(), "{value:?}");
        }
        for (tag, method) in [
            ("rotate-0", Method::Identity),
            ("rotate-90", Method::_90r),
            ("rotate-180", Method::_180),
            ("rotate-270", Method::_90l),
            ("flip-rotate-0", Method::Horiz),
            ("flip-rotate-90", Method::UrLl),
            ("flip-rotate-180", Method::Vert),
            ("flip-rotate-270", Method::UlLr),
        ] {
            let tags = list(tag, gst::TagScope::Stream);
            let mut tagged = Tagged::default();
            assert!(tagged.read(&tags), "{tag}");
            let resolved = VideoOrientation::Auto.resolve(tagged);
            let theirs = theirs.value(method.into_glib()).expect("value");
            assert_eq!(nick(resolved), theirs.nick(), "{tag}");
        }
    }

    #[test]
    fn a_stream_counts_before_its_container_and_a_property_before_both() {
        gst::init().expect("gst");
        let mut tagged = Tagged::default();
        assert!(!tagged.read(&gst::TagList::new()));
        assert_eq!(
            VideoOrientation::Auto.resolve(tagged),
            Orientation::Identity
        );
        let global = list("rotate-90", gst::TagScope::Global);
        assert!(tagged.read(&global));
        assert_eq!(VideoOrientation::Auto.resolve(tagged), Orientation::Right90);
        assert!(tagged.read(&list("rotate-180", gst::TagScope::Stream)));
        assert!(tagged.read(&global));
        assert_eq!(VideoOrientation::Auto.resolve(tagged), Orientation::Turn180);
        let fixed = VideoOrientation::Horizontal;
        assert_eq!(fixed.resolve(tagged), Orientation::Horizontal);
    }
}
