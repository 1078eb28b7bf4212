// SPDX-License-Identifier: MPL-2.0
//! The picture in a terminal, drawn anew twice a second.

use crate::report::{Body, Stream, Verdict};
use std::io::Write;
use std::time::Duration;
use stream_info::shortened;

/// The other screen of the terminal, without a cursor; long lines are cut at its edge.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const CLOSE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal while it is ours.
pub(crate) struct Screen;

impl Screen {
    pub(crate) fn open() -> Self {
        put(OPEN);
        Self
    }

    /// Draws the streams, each with the line of its signal.
    pub(crate) fn draw(&mut self, streams: &[(Stream, String)], since: Duration) {
        put(&picture(streams, since));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        put(CLOSE);
    }
}

fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    // Who looks at a terminal that is gone?
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "\x1b[32m",
        Verdict::Poor => "\x1b[33m",
        Verdict::Bad => "\x1b[31m",
    }
}

/// `text` in `width` columns.
fn cell(text: &str, width: usize) -> String {
    let text = text.replace(char::is_control, " ");
    let n = text.chars().count();
    match n > width {
        true => text
            .chars()
            .take(width.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => text + &" ".repeat(width - n),
    }
}

fn rate(stream: &Stream) -> String {
    match (stream.declared(), stream.effective) {
        (Some(hz), Some(effective)) => format!("{effective:.2} of {hz} Hz"),
        (Some(hz), None) => format!("? of {hz} Hz"),
        (None, _) => format!("{} events", stream.samples),
    }
}

fn picture(streams: &[(Stream, String)], since: Duration) -> String {
    let mut text = format!(
        "\x1b[Hmvp-check live, {:.0} s; Ctrl-C ends it and prints the report\x1b[K\r\n\x1b[K\r\n",
        since.as_secs_f64()
    );
    text += &format!(
        "\x1b[1m{} {} {} {} {} {} {} signal\x1b[0m\x1b[K\r\n",
        cell("", 5),
        cell("stream", 18),
        cell("type", 8),
        cell("rate", 18),
        cell("lost", 8),
        cell("clock", 11),
        cell("body", 27),
    );
    for (stream, trace) in streams {
        let d = &stream.description;
        let verdict = stream.verdict();
        let clock = stream
            .clock
            .map_or("?".into(), |c| match c.uncertainty.is_finite() {
                true => format!("±{:.3} ms", c.uncertainty * 1e3),
                false => "by arrival".into(),
            });
        let body = stream.body.as_ref().map_or(String::new(), Body::text);
        text += &format!(
            "{}{}\x1b[0m {} {} {} {} {} {} {trace}\x1b[K\r\n",
            colour(verdict),
            cell(verdict.as_str(), 5),
            cell(&d.name, 18),
            cell(&d.stream_type, 8),
            cell(&rate(stream), 18),
            cell(&stream.lost.to_string(), 8),
            cell(&clock, 11),
            cell(&body, 27),
        );
        for fault in &stream.faults {
            for part in [fault.what.as_str(), fault.remedy] {
                if !part.is_empty() {
                    text += &format!("      {}\x1b[K\r\n", part.replace(char::is_control, " "));
                }
            }
        }
    }
    if streams.is_empty() {
        text += &format!("{}\x1b[K\r\n", shortened("No LSL stream answers yet."));
    }
    text + "\x1b[J"
}
