// SPDX-License-Identifier: MPL-2.0
//! Where a film begins, by the stream that says when its frames were taken.

use crate::Values;
use stream_info::{Description, Format};

/// So many frames are enough to be sure.
const FRAMES: usize = 1001;

/// What `emotionserialize every=frame` wrote, as far as it was recorded.
pub struct Film {
    channels: usize,
    /// Which channel is the time in the film.
    channel: usize,
    /// The time in the film of its first frame, seconds.
    first: f64,
    /// When the film's first frame was taken, as each frame says.
    begins: Vec<f64>,
}

impl Film {
    /// `None` for a stream of another kind.
    pub fn of(d: &Description) -> Option<Self> {
        (d.format == Some(Format::F64)).then_some(())?;
        Some(Self {
            channels: d.channels,
            channel: d.labels.iter().position(|l| l == "frame-time")?,
            first: d.first_frame_time.unwrap_or(0.0),
            begins: Vec::new(),
        })
    }

    /// Takes frame `i` of `values`, taken at `time` (seconds on the recorder's clock).
    pub fn take(&mut self, time: f64, values: &Values, i: usize) {
        let Values::Numbers(bytes) = values else {
            return;
        };
        let at = 8 * (i * self.channels + self.channel);
        let Some(value) = bytes.get(at..at + 8).and_then(|b| b.try_into().ok()) else {
            return;
        };
        let begin = time - (f64::from_le_bytes(value) - self.first);
        if begin.is_finite() && self.begins.len() < FRAMES {
            self.begins.push(begin);
        }
    }

    /// When the first frame was taken, seconds on the recorder's clock: what most frames
    /// say.
    pub fn begin(&self) -> Option<f64> {
        let mut begins = self.begins.clone();
        begins.sort_by(f64::total_cmp);
        begins.get(begins.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream_info::describe;

    fn film(labels: &str, desc: &str) -> Option<Film> {
        let channel = |l: &str| format!("<channel><label>{l}</label></channel>");
        let channels: String = labels.split(',').map(channel).collect();
        let d = describe(&format!(
            "<info><channel_count>2</channel_count><channel_format>double64</channel_format>\
             <desc><channels>{channels}</channels>{desc}</desc></info>"
        ));
        Film::of(&d.expect("a description"))
    }

    #[test]
    fn the_beginning_is_what_most_frames_say() {
        let mut film = film(
            "frame,frame-time",
            "<first_frame_time>0.5</first_frame_time>",
        );
        let film = film.as_mut().expect("a film");
        assert_eq!(film.begin(), None);
        for n in 7..30 {
            let time = 0.5 + f64::from(n) / 10.0;
            // The film was turned back once, and a frame has no time.
            let told = match n {
                8 => f64::NAN,
                9 => 0.0,
                _ => time,
            };
            let values = [f64::from(n), told].map(f64::to_le_bytes).concat();
            film.take(1000.0 + time, &Values::Numbers(values), 0);
        }
        assert!((film.begin().expect("frames") - 1000.5).abs() < 1e-9);
        // Less than a sample.
        film.take(0.0, &Values::Numbers(vec![0; 9]), 0);
        assert_eq!(film.begins.len(), 22);
    }

    #[test]
    fn other_streams_are_no_films() {
        assert!(film("valence,arousal", "").is_none());
    }
}
