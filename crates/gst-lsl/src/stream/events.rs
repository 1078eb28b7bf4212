// SPDX-License-Identifier: MPL-2.0
//! What a stream says about itself, for those downstream.

use stream_info::Description;

pub fn tags(d: &Description) -> gst::TagList {
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

/// `channels`: those that are kept, in order.
pub fn stream_info(d: &Description, channels: &[usize], xml: &str) -> gst::Event {
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
