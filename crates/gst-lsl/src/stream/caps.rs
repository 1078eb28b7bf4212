// SPDX-License-Identifier: MPL-2.0
//! The caps of a stream, and the choice of its channels.

use stream_info::{Description, Format};

/// The caps of numeric streams. Fields: `format`, `layout`, `channels`, `rate` (a fraction, 0/1 for
/// an irregular stream), and where they are known `stream-type`, `channel-labels`, `units`.
pub const LSL: &str = "application/x-lsl";
/// The caps of numeric streams for audio elements; only for whole rates.
pub(crate) const AUDIO: &str = "audio/x-raw";
/// The caps of text streams.
pub(crate) const TEXT: &str = "text/x-raw";

/// The caps of the `GstReferenceTimestampMeta` that holds the outlet's timestamp.
pub(crate) fn lsl_stamp() -> gst::Caps {
    gst::Caps::new_empty_simple("timestamp/x-lsl")
}

/// Caps field of a stream of video frames: the `frame-time` of frame 0, seconds, a double.
pub const FIRST_FRAME_TIME: &str = "first-frame-time";
/// The most channels that `audio/x-raw` has without positions.
const AUDIO_CHANNELS: usize = 64;

/// All caps that a stream may have.
pub(crate) fn template() -> gst::Caps {
    let rate = gst::FractionRange::new(gst::Fraction::new(0, 1), gst::Fraction::new(i32::MAX, 1));
    gst::Caps::builder_full()
        .structure(
            gst::Structure::builder(LSL)
                .field(
                    "format",
                    gst::List::new(["F32LE", "F64LE", "S8", "S16LE", "S32LE", "S64LE"]),
                )
                .field("layout", "interleaved")
                .field("channels", gst::IntRange::new(1, i32::MAX))
                .field("rate", rate)
                .build(),
        )
        .structure(
            gst::Structure::builder(AUDIO)
                .field(
                    "format",
                    gst::List::new(["F32LE", "F64LE", "S8", "S16LE", "S32LE"]),
                )
                .field("layout", "interleaved")
                .field("channels", gst::IntRange::new(1, AUDIO_CHANNELS as i32))
                .field("channel-mask", gst::Bitmask::new(0))
                .field("rate", gst::IntRange::new(1, i32::MAX))
                .build(),
        )
        .structure(
            gst::Structure::builder(TEXT)
                .field("format", "utf8")
                .build(),
        )
        .build()
}

/// The caps that `channels` of a stream can have, best first.
pub(crate) fn of_stream(d: &Description, channels: &[usize]) -> gst::Caps {
    caps_of(d, channels, false)
}

/// The same of a recorded stream. Who wants audio gets a rate that is no whole number
/// rounded: the times of the buffers stay right, and elements such as deinterleave go by
/// those.
pub(crate) fn of_recorded(d: &Description, channels: &[usize]) -> gst::Caps {
    caps_of(d, channels, true)
}

fn caps_of(d: &Description, channels: &[usize], rounded: bool) -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    let Some(format) = d.format else {
        return caps;
    };
    let common = |mut s: gst::Structure| {
        for (field, text) in [
            ("stream-type", &d.stream_type),
            ("stream-name", &d.name),
            ("source-id", &d.source_id),
            ("hostname", &d.hostname),
        ] {
            if !text.is_empty() {
                s.set(field, text.as_str());
            }
        }
        for (field, texts) in [("channel-labels", &d.labels), ("units", &d.units)] {
            if !texts.is_empty() {
                s.set(field, comma_list(texts, channels));
            }
        }
        if let Some(time) = d.first_frame_time {
            s.set(FIRST_FRAME_TIME, time);
        }
        s
    };
    let count = channels.len() as i32;
    {
        let caps = caps.make_mut();
        if format == Format::Text {
            caps.append_structure(common(
                gst::Structure::builder(TEXT)
                    .field("format", "utf8")
                    .build(),
            ));
            return caps.to_owned();
        }
        caps.append_structure(common(
            gst::Structure::builder(LSL)
                .field("format", format_name(format))
                .field("layout", "interleaved")
                .field("channels", count)
                .field("rate", gst::Fraction::new(d.rate.num, d.rate.den))
                .build(),
        ));
        let rate = d
            .rate
            .whole()
            .or(rounded.then_some(d.rate.hz().round() as i32));
        if let Some(rate) = rate.filter(|r| *r >= 1)
            && no_audio(d, channels.len())
                .is_none_or(|_| rounded && may_be_audio(d, channels.len()))
        {
            caps.append_structure(common(
                gst::Structure::builder(AUDIO)
                    .field("format", format_name(format))
                    .field("layout", "interleaved")
                    .field("channels", count)
                    .field("channel-mask", gst::Bitmask::new(0))
                    .field("rate", rate)
                    .build(),
            ));
        }
    }
    caps
}

/// Whether nothing but the rate keeps the stream from being audio.
fn may_be_audio(d: &Description, channels: usize) -> bool {
    channels <= AUDIO_CHANNELS && d.format != Some(Format::I64) && d.rate.is_regular()
}

/// Why the stream cannot be audio, if it cannot.
fn no_audio(d: &Description, channels: usize) -> Option<String> {
    if d.rate.whole().is_none() {
        return Some(format!(
            "audio/x-raw needs a whole number of samples per second, the stream has {}",
            d.rate
        ));
    }
    if channels > AUDIO_CHANNELS {
        return Some(format!(
            "audio/x-raw holds at most {AUDIO_CHANNELS} channels, the stream has {channels}; keep \
             fewer with the property channels"
        ));
    }
    (d.format == Some(Format::I64)).then(|| "audio/x-raw has no 64-bit integers".into())
}

/// The error text where `stream`, the caps of a stream, and `peer`, those of the next element, have
/// nothing in common.
pub(crate) fn mismatch(
    d: &Description,
    channels: usize,
    stream: &gst::Caps,
    peer: &gst::Caps,
) -> String {
    let wants_audio = peer.iter().any(|s| s.name() == AUDIO);
    let why = if d.format == Some(Format::Text) {
        Some("a stream of strings is text/x-raw only".into())
    } else if wants_audio {
        no_audio(d, channels)
    } else {
        None
    };
    format!(
        "the stream {d} cannot be what the next element takes{}. The stream can be {stream}; the \
         next element takes {peer}",
        why.map_or_else(String::new, |why| format!(": {why}"))
    )
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::F32 => "F32LE",
        Format::F64 => "F64LE",
        Format::I8 => "S8",
        Format::I16 => "S16LE",
        Format::I32 => "S32LE",
        Format::I64 => "S64LE",
        Format::Text => "utf8",
    }
}

/// The format with this name in caps.
pub(crate) fn format_of_name(name: &str) -> Option<Format> {
    use Format::*;
    [F32, F64, I8, I16, I32, I64, Text]
        .into_iter()
        .find(|f| format_name(*f) == name)
}

/// What caps of [`template`] declare of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StreamCaps {
    /// The name of the caps: [`LSL`], [`AUDIO`] or [`TEXT`].
    pub name: &'static str,
    /// The format of one value.
    pub format: Format,
    /// Of text: as many as there are labels, else one.
    pub channels: usize,
    /// Nominal rate, samples per second; 0 for irregular.
    pub rate: f64,
    /// Empty where the caps have none.
    pub stream_type: String,
    /// One for each channel, or none.
    pub labels: Vec<String>,
    /// One for each channel, or none; empty where a channel has no unit.
    pub units: Vec<String>,
    /// See [`FIRST_FRAME_TIME`].
    pub first_frame_time: Option<f64>,
}

impl StreamCaps {
    /// Reads fixed caps. Lists may have any length: a property may replace them.
    ///
    /// # Errors
    /// Says what in the caps is missing or wrong.
    pub(crate) fn read(caps: &gst::CapsRef) -> Result<Self, String> {
        let bad = |what: &str| format!("the caps {caps} {what}");
        let s = caps.structure(0).ok_or_else(|| bad("are empty"))?;
        let format = s
            .get::<&str>("format")
            .ok()
            .and_then(format_of_name)
            .ok_or_else(|| bad("have no format that a LSL stream can carry"))?;
        let text = |field| s.get::<&str>(field).unwrap_or_default();
        let labels = split_list(text("channel-labels"));
        let channels = || {
            let channels = s.get::<i32>("channels").ok();
            channels
                .and_then(|c| usize::try_from(c).ok())
                .filter(|c| *c > 0)
                .ok_or_else(|| bad("have no channels"))
        };
        let no_rate = |_| bad("have no rate");
        let (name, channels, rate) = match s.name().as_str() {
            LSL => {
                let rate = s.get::<gst::Fraction>("rate").map_err(no_rate)?;
                let rate = f64::from(rate.numer()) / f64::from(rate.denom());
                (LSL, channels()?, rate.max(0.0))
            }
            AUDIO => {
                let rate: i32 = s.get("rate").map_err(no_rate)?;
                (AUDIO, channels()?, f64::from(rate))
            }
            // The lines of a text are its channels; their number is that of the labels.
            TEXT => (TEXT, labels.len().max(1), 0.0),
            _ => return Err(bad("are nothing that a LSL stream can carry")),
        };
        Ok(Self {
            name,
            format,
            channels,
            rate,
            stream_type: text("stream-type").into(),
            labels,
            units: split_list(text("units")),
            first_frame_time: s.get(FIRST_FRAME_TIME).ok(),
        })
    }
}

/// The entries of a comma list; none for an empty text.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|t| t.trim().to_string()).collect()
}

/// Checks that a list is empty or has an entry for each channel.
pub(crate) fn one_per_channel(
    from: &str,
    field: &str,
    texts: &[String],
    channels: usize,
) -> Result<(), String> {
    if texts.is_empty() || texts.len() == channels {
        return Ok(());
    }
    Err(format!(
        "the {from} {field} has {} entries ('{}'), the stream has {channels} channel(s); give one \
         entry per channel, separated by commas",
        texts.len(),
        texts.join(",")
    ))
}

/// A comma inside a text becomes a semicolon: it would make one entry two.
fn comma_list(texts: &[String], channels: &[usize]) -> String {
    channels
        .iter()
        .map(|&c| texts.get(c).map_or(String::new(), |t| t.replace(',', ";")))
        .collect::<Vec<_>>()
        .join(",")
}

/// Reads the property `channels`: labels or indices from 0, comma-separated, in the
/// order wanted. A label that looks like a number wins over the index.
///
/// # Errors
/// Names the entry that the stream does not have, and lists its labels and indices.
pub(crate) fn select(spec: &str, d: &Description) -> Result<Vec<usize>, String> {
    let entries: Vec<&str> = spec
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty())
        .collect();
    if entries.is_empty() {
        return Ok((0..d.channels).collect());
    }
    entries
        .into_iter()
        .map(|entry| {
            let label = |l: &String| l.replace(',', ";") == entry;
            d.labels
                .iter()
                .position(label)
                .or_else(|| entry.parse().ok().filter(|&i: &usize| i < d.channels))
                .ok_or_else(|| {
                    let labels = if d.labels.is_empty() {
                        "none".to_string()
                    } else {
                        d.labels.join(", ")
                    };
                    format!(
                        "the stream {d} has no channel '{entry}' (property channels): its labels \
                         are {labels}, its indices 0 to {}",
                        d.channels - 1
                    )
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream_info::Rate;

    fn stream(channels: usize, hz: f64, format: Format) -> Description {
        Description {
            name: "n".into(),
            stream_type: "EEG".into(),
            source_id: "s".into(),
            hostname: "h".into(),
            uid: "u".into(),
            session_id: "x".into(),
            channels,
            rate: Rate::from_hz(hz),
            format: Some(format),
            created_at: 0.0,
            labels: vec![],
            units: vec![],
            offset_mean: None,
            first_frame_time: None,
            can_drop_samples: false,
        }
    }

    fn all(d: &Description) -> Vec<usize> {
        (0..d.channels).collect()
    }

    #[test]
    fn every_stream_gets_the_caps_it_can_have() {
        gst::init().expect("gst");
        for (d, names) in [
            (stream(2, 256.0, Format::F32), &[LSL, AUDIO][..]),
            (stream(64, 256.0, Format::I16), &[LSL, AUDIO]),
            (stream(65, 256.0, Format::F32), &[LSL]),
            (stream(2, 51.2, Format::F32), &[LSL]),
            (stream(2, 0.0, Format::F64), &[LSL]),
            (stream(2, 100.0, Format::I64), &[LSL]),
            (stream(1, 0.0, Format::Text), &[TEXT]),
        ] {
            let caps = of_stream(&d, &all(&d));
            assert!(caps.is_fixed() || caps.size() > 1);
            assert!(caps.is_subset(&template()), "{caps}");
            let got: Vec<_> = caps.iter().map(|s| s.name().to_string()).collect();
            assert_eq!(got, names, "{d}");
        }
        let d = stream(3, 51.2, Format::F32);
        let caps = of_stream(&d, &all(&d));
        let s = caps.structure(0).expect("one");
        assert_eq!(s.get("rate"), Ok(gst::Fraction::new(256, 5)));
        assert_eq!(s.get("stream-type"), Ok("EEG"));
        assert!(!s.has_field("channel-labels"));
    }

    #[test]
    fn labels_and_units_follow_the_selection() {
        gst::init().expect("gst");
        let mut d = stream(3, 10.0, Format::F32);
        d.labels = vec!["a".into(), "1".into(), "c,d".into()];
        d.units = vec!["uS".into(), String::new(), "mV".into()];
        let s = |spec| select(spec, &d);
        assert_eq!(s(""), Ok(vec![0, 1, 2]));
        assert_eq!(s(" c;d , 0"), Ok(vec![2, 0]));
        assert_eq!(s("1"), Ok(vec![1]));
        assert_eq!(s("2,2"), Ok(vec![2, 2]));
        for bad in ["b", "3", "-1", "a,b"] {
            let e = s(bad).expect_err(bad);
            assert!(e.contains("a, 1, c,d") && e.contains("0 to 2"), "{e}");
        }
        let caps = of_stream(&d, &[2, 0]);
        let s = caps.structure(0).expect("one");
        assert_eq!(s.get("channel-labels"), Ok("c;d,a"));
        assert_eq!(s.get("units"), Ok("mV,uS"));
        assert_eq!(s.get("channels"), Ok(2));
    }

    #[test]
    fn caps_are_read_as_they_were_written() {
        gst::init().expect("gst");
        for format in [
            Format::F32,
            Format::F64,
            Format::I8,
            Format::I16,
            Format::I32,
        ] {
            for hz in [0.0, 51.2, 256.0] {
                let mut d = stream(2, hz, format);
                d.labels = vec!["a".into(), "b,c".into()];
                d.units = vec![String::new(), "mV".into()];
                d.first_frame_time = Some(0.5);
                for s in of_stream(&d, &[1, 0]).iter() {
                    let caps: gst::Caps = std::iter::once(s.to_owned()).collect();
                    let read = StreamCaps::read(&caps).expect("caps");
                    assert_eq!(read.name, s.name().as_str());
                    assert_eq!((read.format, read.channels), (format, 2));
                    assert!((read.rate - hz).abs() < 1e-9);
                    assert_eq!(read.stream_type, "EEG");
                    assert_eq!(read.labels, ["b;c", "a"]);
                    assert_eq!(read.units, ["mV", ""]);
                    assert_eq!(read.first_frame_time, Some(0.5));
                }
            }
        }
        let d = stream(1, 0.0, Format::Text);
        let read = StreamCaps::read(&of_stream(&d, &[0])).expect("caps");
        assert_eq!((read.name, read.channels), (TEXT, 1));
        for (caps, word) in [
            ("audio/x-raw,format=U8,channels=1,rate=8000", "format"),
            ("audio/x-raw,format=S8,channels=1", "no rate"),
            ("application/x-lsl,format=F32LE,rate=0/1", "no channels"),
            ("video/x-raw,format=F32LE", "are nothing that"),
        ] {
            let caps: gst::Caps = caps.parse().expect("caps");
            let e = StreamCaps::read(&caps).expect_err(word);
            assert!(e.contains(word), "{e}");
        }
    }

    #[test]
    fn the_mismatch_is_explained() {
        gst::init().expect("gst");
        let d = stream(70, 256.0, Format::F32);
        let caps = of_stream(&d, &all(&d));
        let peer = gst::Caps::builder(AUDIO).build();
        let e = mismatch(&d, 70, &caps, &peer);
        assert!(e.contains("at most 64") && e.contains("'n'"), "{e}");
        let d = stream(1, 51.2, Format::F32);
        let e = mismatch(&d, 1, &of_stream(&d, &[0]), &peer);
        assert!(e.contains("whole number"), "{e}");
        let d = stream(1, 0.0, Format::Text);
        let e = mismatch(&d, 1, &of_stream(&d, &[0]), &peer);
        assert!(e.contains("text/x-raw only"), "{e}");
    }
}
