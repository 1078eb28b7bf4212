// SPDX-License-Identifier: MPL-2.0
//! From a frame to a line of JSON or a sample of numbers.

use super::Every;
use super::json::Line;
use super::stream::{self, Layout};
use crate::meta::{EmotionMeta, FaceUnitsMeta, PhysioMeta};
use gst::ClockTime;

/// A frame that is to be written.
pub(super) struct Frame<'a> {
    /// Frames that came before this one.
    pub(super) number: u64,
    pub(super) pts: Option<ClockTime>,
    pub(super) duration: Option<ClockTime>,
    pub(super) running_time: Option<ClockTime>,
    pub(super) stream_time: Option<ClockTime>,
    /// Stream time of frame 0.
    pub(super) first: Option<ClockTime>,
    pub(super) result: Option<&'a EmotionMeta>,
    /// What the sensors tell of the body.
    pub(super) body: Option<&'a PhysioMeta>,
    /// `None` where they were not requested.
    pub(super) faces: Option<&'a [FaceUnitsMeta]>,
    pub(super) every: Every,
}

/// A buffer's content.
pub(super) struct Written {
    pub(super) caps: gst::Caps,
    pub(super) bytes: Vec<u8>,
    pub(super) pts: Option<ClockTime>,
    pub(super) duration: Option<ClockTime>,
}

/// One form in which frames and results leave the element.
pub(super) trait Writer: Send + Sync {
    /// The caps, where they do not depend on what is written.
    fn fixed_caps(&self) -> Option<gst::Caps>;

    /// Whether buffers have the video's own times; otherwise they have running times.
    fn has_video_time(&self) -> bool;

    /// `None` where the frame has nothing that can be written.
    ///
    /// # Errors
    /// What could not be encoded.
    fn write(&self, frame: &Frame) -> Result<Option<Written>, String>;
}

/// One JSON object per line.
pub(super) struct Lines;

impl Writer for Lines {
    fn fixed_caps(&self) -> Option<gst::Caps> {
        Some(gst::Caps::new_empty_simple(super::JSON))
    }

    fn has_video_time(&self) -> bool {
        true
    }

    fn write(&self, frame: &Frame) -> Result<Option<Written>, String> {
        let line = Line {
            frame: frame.number,
            pts: frame.pts,
            running_time: frame.running_time,
            result: frame.result,
            body: frame.body,
            faces: frame.faces,
        };
        let bytes = line
            .to_bytes()
            .map_err(|e| format!("a result cannot be written as JSON: {e}"))?;
        Ok(Some(Written {
            caps: gst::Caps::new_empty_simple(super::JSON),
            bytes,
            pts: frame.pts,
            duration: frame.duration,
        }))
    }
}

/// Samples of doubles for `lslsink`, at the end of their window or of their frame.
pub(super) struct Samples;

impl Writer for Samples {
    fn fixed_caps(&self) -> Option<gst::Caps> {
        None
    }

    fn has_video_time(&self) -> bool {
        false
    }

    fn write(&self, frame: &Frame) -> Result<Option<Written>, String> {
        let (layout, bytes, pts) = match (frame.every, frame.result, frame.running_time) {
            (Every::Result, Some(r), _) => {
                (Layout::of_result(r), stream::result_sample(r), r.window_end)
            }
            (Every::Frame, r, Some(time)) => (
                Layout::Frames(frame.first),
                stream::frame_sample(frame.number, frame.stream_time, r),
                time,
            ),
            // A frame without a running time has no PTS to give to the sample.
            _ => return Ok(None),
        };
        Ok(Some(Written {
            caps: layout.caps(),
            bytes,
            pts: Some(pts),
            duration: None,
        }))
    }
}
