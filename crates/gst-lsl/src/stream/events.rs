// SPDX-License-Identifier: MPL-2.0
//! The description of a stream for the elements downstream.

use stream_info::Description;

/// Title, type, source id and host of a stream; empty ones are left out.
pub(crate) fn tags(d: &Description) -> gst::TagList {
    let mut tags = gst::TagList::new();
    {
        let tags = tags.make_mut();
        tags.set_scope(gst::TagScope::Stream);
        for (key, value) in [
            ("lsl-type", &d.stream_type),
            ("lsl-source-id", &d.source_id),
            ("lsl-hostname", &d.hostname),
        ] {
            if !value.is_empty() {
                tags.add::<gst::tags::ExtendedComment>(
                    &format!("{key}={value}").as_str(),
                    gst::TagMergeMode::Append,
                );
            }
        }
        if !d.name.is_empty() {
            tags.add::<gst::tags::Title>(&d.name.as_str(), gst::TagMergeMode::Append);
        }
    }
    tags
}

/// The sticky event `lsl/stream-info`. `channels`: those that are kept, in order; `xml`: the whole
/// description.
pub(crate) fn stream_info(d: &Description, channels: &[usize], xml: &str) -> gst::Event {
    let mut s = gst::Structure::builder("lsl/stream-info")
        .field("name", &d.name)
        .field("type", &d.stream_type)
        .field("source-id", &d.source_id)
        .field("hostname", &d.hostname)
        .field("uid", &d.uid)
        .field("session-id", &d.session_id)
        .field("channels", channels.len() as i32)
        .field("rate", gst::Fraction::new(d.rate.num, d.rate.den))
        .field("format", d.format.map_or(String::new(), |f| f.to_string()))
        .field("created-at", d.created_at)
        .field("xml", xml)
        .build();
    for (field, texts) in [("channel-labels", &d.labels), ("units", &d.units)] {
        if !texts.is_empty() {
            let list = channels
                .iter()
                .filter_map(|&c| texts.get(c).map(String::as_str));
            s.set(field, gst::Array::new(list));
        }
    }
    gst::event::CustomDownstreamSticky::builder(s).build()
}
