// SPDX-License-Identifier: MPL-2.0
//! Results and frames as samples of numbers, for `lslsink`.

use crate::meta::EmotionMeta;
use gst_lsl::caps::{FIRST_FRAME_TIME, LSL};

/// What the samples of a stream are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// valence, arousal, confidence, and the coverage of these modalities.
    Results(Vec<String>),
    /// frame, frame-time, valence, arousal, confidence; frame-time of the first frame.
    Frames(Option<gst::ClockTime>),
}

pub(super) fn template() -> gst::Caps {
    gst::Caps::builder(LSL)
        .field("format", "F64LE")
        .field("layout", "interleaved")
        .field("channels", gst::IntRange::new(1, i32::MAX))
        .field("rate", gst::Fraction::new(0, 1))
        .build()
}

impl Layout {
    pub(super) fn of_result(result: &EmotionMeta) -> Self {
        Self::Results(result.modalities.iter().map(|m| m.name.clone()).collect())
    }

    /// Label and unit of each channel.
    fn channels(&self) -> Vec<(String, &'static str)> {
        let answer = [
            ("valence", "probability"),
            ("arousal", "probability"),
            ("confidence", "ratio"),
        ]
        .map(|(label, unit)| (label.to_string(), unit));
        match self {
            Self::Results(modalities) => answer
                .into_iter()
                .chain(
                    modalities
                        .iter()
                        // A comma would make one label two.
                        .map(|m| (format!("coverage-{}", m.replace(',', ";")), "ratio")),
                )
                .collect(),
            Self::Frames(_) => [("frame".into(), "count"), ("frame-time".into(), "seconds")]
                .into_iter()
                .chain(answer)
                .collect(),
        }
    }

    pub(super) fn caps(&self) -> gst::Caps {
        let channels = self.channels();
        let (labels, units): (Vec<_>, Vec<_>) =
            channels.iter().map(|(l, u)| (l.as_str(), *u)).unzip();
        let first = match self {
            Self::Frames(Some(time)) => Some(time.nseconds() as f64 / 1e9),
            _ => None,
        };
        gst::Caps::builder(LSL)
            .field("format", "F64LE")
            .field("layout", "interleaved")
            .field("channels", channels.len() as i32)
            .field("rate", gst::Fraction::new(0, 1))
            .field(
                "stream-type",
                match self {
                    Self::Results(_) => "Emotion",
                    Self::Frames(_) => "VideoFrames",
                },
            )
            .field("channel-labels", labels.join(","))
            .field("units", units.join(","))
            .field_if_some(FIRST_FRAME_TIME, first)
            .build()
    }
}

/// One sample of [`Layout::Results`].
pub(super) fn result_sample(r: &EmotionMeta) -> Vec<u8> {
    bytes(
        [r.valence, r.arousal, r.confidence]
            .into_iter()
            .chain(r.modalities.iter().map(|m| m.coverage)),
    )
}

/// One sample of [`Layout::Frames`]; NaN for what is not known.
pub(super) fn frame_sample(
    frame: u64,
    time: Option<gst::ClockTime>,
    result: Option<&EmotionMeta>,
) -> Vec<u8> {
    let time = time.map_or(f64::NAN, |t| t.nseconds() as f64 / 1e9);
    let answer = result.map_or([f64::NAN; 3], |r| [r.valence, r.arousal, r.confidence]);
    bytes([frame as f64, time].into_iter().chain(answer))
}

fn bytes(values: impl Iterator<Item = f64>) -> Vec<u8> {
    values.flat_map(f64::to_le_bytes).collect()
}
