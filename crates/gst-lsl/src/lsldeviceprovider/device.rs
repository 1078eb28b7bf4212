// SPDX-License-Identifier: MPL-2.0
use super::imp::{CAT, CLASS};
use crate::stream::caps;
use gst::{glib, subclass::prelude::*};
use lsl::xpath_literal;
use std::sync::OnceLock;
use stream_info::Description;

/// One LSL stream.
#[derive(Default)]
pub struct LslDevice {
    stream: OnceLock<Description>,
}

#[glib::object_subclass]
impl ObjectSubclass for LslDevice {
    const NAME: &'static str = "GstLslDevice";
    type Type = super::LslDevice;
    type ParentType = gst::Device;
}

impl ObjectImpl for LslDevice {}
impl GstObjectImpl for LslDevice {}

impl DeviceImpl for LslDevice {
    /// A `lslsrc` for this stream; it follows restarts of the outlet.
    fn create_element(&self, name: Option<&str>) -> Result<gst::Element, gst::LoggableError> {
        let stream = self
            .stream
            .get()
            .ok_or_else(|| gst::loggable_error!(CAT, "The device is of no stream"))?;
        let text = |s: &String| (!s.is_empty()).then(|| s.clone());
        gst::ElementFactory::make("lslsrc")
            .name_if_some(name)
            .property("stream-name", text(&stream.name))
            .property("stream-type", text(&stream.stream_type))
            .property("source-id", text(&stream.source_id))
            .property(
                "predicate",
                format!("hostname={}", xpath_literal(&stream.hostname)),
            )
            .build()
            .map_err(|e| gst::loggable_error!(CAT, "{e}"))
    }
}

impl super::LslDevice {
    /// `None` for a stream that lslsrc cannot receive.
    pub fn new(stream: Description) -> Option<Self> {
        let all: Vec<usize> = (0..stream.channels).collect();
        let caps = caps::of_stream(&stream, &all);
        if caps.is_empty() {
            return None;
        }
        // The same names as on the bus and in the sticky event of lslsrc.
        let properties = gst::Structure::builder("lsl-properties")
            .field("name", &stream.name)
            .field("type", &stream.stream_type)
            .field("source-id", &stream.source_id)
            .field("hostname", &stream.hostname)
            .field("uid", &stream.uid)
            .field("session-id", &stream.session_id)
            .field("channels", stream.channels as i32)
            .field("rate", gst::Fraction::new(stream.rate.num, stream.rate.den))
            .field(
                "format",
                stream.format.map_or(String::new(), |f| f.to_string()),
            )
            .build();
        let device: Self = glib::Object::builder()
            .property("display-name", &stream.name)
            .property("device-class", CLASS)
            .property("caps", &caps)
            .property("properties", &properties)
            .build();
        let _ = device.imp().stream.set(stream);
        Some(device)
    }
}
