// SPDX-License-Identifier: MPL-2.0
//! The stream that caps and properties describe.

use crate::stream::caps::{
    AUDIO, StreamCaps, TEXT, one_per_channel, split_list, template as source_template,
};
use lsl::NewStream;
use stream_info::Format;

/// The properties; what is unset is taken from the caps.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub name: Option<String>,
    pub stream_type: Option<String>,
    pub source_id: Option<String>,
    pub labels: Option<String>,
    pub units: Option<String>,
}

/// The stream to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub name: String,
    pub stream_type: String,
    pub source_id: String,
    pub channels: usize,
    /// Samples per second, 0 for irregular.
    pub rate: f64,
    pub format: Format,
    /// One per channel, or none.
    labels: Vec<String>,
    units: Vec<String>,
    first_frame_time: Option<f64>,
}

/// The caps of `lslsrc`; audio with any channel positions.
pub(super) fn template() -> gst::Caps {
    let mut caps = source_template();
    for s in caps.make_mut().iter_mut() {
        if s.name() == AUDIO {
            s.remove_field("channel-mask");
        }
    }
    caps
}

impl Plan {
    /// `own_name`: the stream's name unless the user gave one; `host`: makes the source
    /// id unique among machines unless the user gave one.
    ///
    /// # Errors
    /// Says what in the caps or the properties does not fit, and what was expected.
    pub(super) fn new(
        caps: &gst::CapsRef,
        wish: &Wish,
        own_name: &str,
        host: &str,
    ) -> Result<Self, String> {
        let caps = StreamCaps::read(caps)?;
        let labels = list(wish.labels.as_deref(), caps.labels);
        let units = list(wish.units.as_deref(), caps.units);
        let channels = match caps.name {
            TEXT => labels.1.len().max(1),
            _ => caps.channels,
        };
        for ((from, texts), what) in [(&labels, "channel-labels"), (&units, "units")] {
            one_per_channel(from, what, texts, channels)?;
        }
        let usual_type = match caps.name {
            AUDIO => "Audio",
            TEXT => "Markers",
            _ => "",
        };
        let from_caps = Some(caps.stream_type).filter(|t| !t.is_empty());
        let name = wish.name.clone().unwrap_or_else(|| own_name.to_string());
        Ok(Self {
            stream_type: wish
                .stream_type
                .clone()
                .or(from_caps)
                .unwrap_or_else(|| usual_type.into()),
            source_id: wish
                .source_id
                .clone()
                .unwrap_or_else(|| format!("{host}:{name}")),
            name,
            channels,
            rate: caps.rate,
            format: caps.format,
            labels: labels.1,
            units: units.1,
            first_frame_time: caps.first_frame_time,
        })
    }

    /// Calls `make` with the plan as [`NewStream`], which borrows from it.
    pub(super) fn with<T>(&self, make: impl FnOnce(&NewStream) -> T) -> T {
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        let units: Vec<&str> = self.units.iter().map(String::as_str).collect();
        make(&NewStream {
            name: &self.name,
            stream_type: &self.stream_type,
            source_id: &self.source_id,
            channels: self.channels,
            rate: self.rate,
            format: self.format,
            labels: &labels,
            units: &units,
            offset_mean: None,
            first_frame_time: self.first_frame_time,
        })
    }
}

/// The list of the property if it is set, else that of the caps, and where it is from.
fn list(property: Option<&str>, caps: Vec<String>) -> (&'static str, Vec<String>) {
    match property {
        Some(text) => ("property", split_list(text)),
        None => ("caps field", caps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn plan(caps: &str, wish: &Wish) -> Result<Plan, String> {
        gst::init().expect("gst");
        let caps = gst::Caps::from_str(caps).expect("caps");
        assert!(caps.is_subset(&template()), "{caps}");
        Plan::new(&caps, wish, "lslsink0", "host")
    }

    const EDA: &str = "application/x-lsl,format=F32LE,layout=interleaved,channels=2,\
        rate=256/5,stream-type=EDA,channel-labels=(string)\"a,b\",units=(string)\"uS,\"";

    #[test]
    fn caps_describe_the_stream() {
        let p = plan(EDA, &Wish::default()).expect("plan");
        assert_eq!((p.channels, p.rate, p.format), (2, 51.2, Format::F32));
        assert_eq!((&*p.name, &*p.stream_type), ("lslsink0", "EDA"));
        assert_eq!(p.source_id, "host:lslsink0");
        assert_eq!(
            (p.labels, p.units),
            (vec!["a".into(), "b".into()], vec!["uS".into(), "".into()])
        );
        let p = plan(
            "audio/x-raw,format=S16LE,layout=interleaved,channels=1,rate=100",
            &Wish::default(),
        )
        .expect("plan");
        assert_eq!((p.rate, p.format), (100.0, Format::I16));
        assert_eq!((&*p.stream_type, p.labels.len()), ("Audio", 0));
        let p = plan("text/x-raw,format=utf8", &Wish::default()).expect("plan");
        assert_eq!((p.channels, p.rate, p.format), (1, 0.0, Format::Text));
        assert_eq!(p.stream_type, "Markers");
    }

    #[test]
    fn properties_override_the_caps() {
        let wish = Wish {
            name: Some("n".into()),
            stream_type: Some("t".into()),
            source_id: Some("i".into()),
            labels: Some("x, y".into()),
            units: Some("mV,mV".into()),
        };
        let p = plan(EDA, &wish).expect("plan");
        assert_eq!((&*p.name, &*p.stream_type, &*p.source_id), ("n", "t", "i"));
        assert_eq!((&*p.labels[1], &*p.units[1]), ("y", "mV"));
        p.with(|new| assert_eq!((new.labels, new.channels), (&["x", "y"][..], 2)));
    }

    #[test]
    fn lists_that_do_not_fit_are_named() {
        let wish = Wish {
            labels: Some("x,y,z".into()),
            ..Wish::default()
        };
        let e = plan(EDA, &wish).expect_err("three for two");
        assert!(
            e.contains("property channel-labels has 3") && e.contains("2 channel"),
            "{e}"
        );
        let caps = EDA.replace("\"uS,\"", "\"uS\"");
        let e = plan(&caps, &Wish::default()).expect_err("one for two");
        assert!(e.contains("caps field units has 1"), "{e}");
        let wish = Wish {
            labels: Some("x,y,z".into()),
            ..Wish::default()
        };
        let p = plan("text/x-raw,format=utf8", &wish).expect("lines are channels");
        assert_eq!(p.channels, 3);
    }
}
