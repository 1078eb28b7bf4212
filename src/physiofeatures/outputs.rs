// SPDX-License-Identifier: MPL-2.0
//! What the pads `features` and `events` give.

use crate::meta::PhysioMeta;
use conditioning::features::{Event, Features};
use gst::ClockTime;
use gst_lsl::caps::LSL;
use serde_json::json;

/// Names of the request pads.
pub(super) const FEATURES: &str = "features";
pub(super) const EVENTS: &str = "events";

pub(super) fn template(name: &str) -> gst::Caps {
    match name {
        FEATURES => gst::Caps::builder(LSL)
            .field("format", "F64LE")
            .field("layout", "interleaved")
            .field("channels", gst::IntRange::new(1, i32::MAX))
            .field("rate", gst::Fraction::new(0, 1))
            .build(),
        _ => gst::Caps::builder("text/x-raw")
            .field("format", "utf8")
            .build(),
    }
}

/// The features that a sensor can give, as positions in [`Features::NAMES`].
fn positions(modality: &str) -> std::ops::Range<usize> {
    match modality {
        "eda" => 6..8,
        _ => 0..6,
    }
}

pub(super) fn caps(name: &str, modality: &str) -> gst::Caps {
    if name == EVENTS {
        return gst::Caps::builder("text/x-raw")
            .field("format", "utf8")
            .field("stream-type", "Events")
            .build();
    }
    let own = &Features::NAMES[positions(modality)];
    let quality = format!("quality-{modality}");
    let labels = own.iter().map(|n| n.0).chain([quality.as_str()]);
    let units = own.iter().map(|n| n.1).chain(["ratio"]);
    gst::Caps::builder(LSL)
        .field("format", "F64LE")
        .field("layout", "interleaved")
        .field("channels", own.len() as i32 + 1)
        .field("rate", gst::Fraction::new(0, 1))
        .field("stream-type", "Features")
        .field("channel-labels", labels.collect::<Vec<_>>().join(","))
        .field("units", units.collect::<Vec<_>>().join(","))
        .build()
}

/// A sample of the stream `Features`; NaN for what is not known.
pub(super) fn sample(modality: &str, meta: &PhysioMeta) -> gst::Buffer {
    let quality = meta.quality.iter().find(|(m, _)| m == modality);
    let values = &meta.values()[positions(modality)];
    let bytes: Vec<u8> = values
        .iter()
        .map(|(_, value)| *value)
        .chain([quality.map(|q| q.1)])
        .flat_map(|v| v.unwrap_or(f64::NAN).to_le_bytes())
        .collect();
    buffer(bytes, meta.time.nseconds())
}

/// A line of the stream `Events`: an object of JSON.
pub(super) fn line(modality: &str, event: &Event) -> gst::Buffer {
    let (time, text) = match event {
        Event::Beat(beat) => (
            beat.time,
            json!({
                "event": "beat",
                "modality": modality,
                "time": beat.time,
                "confidence": beat.confidence,
                "interval": beat.interval,
                "normal": beat.normal,
            }),
        ),
        Event::Scr(scr) => (
            scr.onset,
            json!({
                "event": "scr",
                "modality": modality,
                "time": scr.onset,
                "peak": scr.peak,
                "amplitude": scr.amplitude,
                "level": scr.level,
            }),
        ),
    };
    buffer(text.to_string().into_bytes(), time)
}

fn buffer(bytes: Vec<u8>, time: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    buffer.make_mut().set_pts(ClockTime::from_nseconds(time));
    buffer
}
