// SPDX-License-Identifier: MPL-2.0
use crate::xml::Element;
use crate::{Format, Rate};
use std::fmt;

/// What an outlet declares about its stream.
///
/// `labels` and the fields below it are in the long description (`<desc>`). The answer to a
/// search does not contain it: only an inlet, the outlet itself and a recording have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// `<name>`; need not be unique.
    pub name: String,
    /// `<type>`, the kind of data: `EDA`, `ECG`, `Markers`.
    pub stream_type: String,
    /// Identifies the device across restarts. May be empty: then a restarted outlet cannot be
    /// told from another one.
    pub source_id: String,
    /// The host of the outlet.
    pub hostname: String,
    /// Identifies the outlet: new whenever it is created.
    pub uid: String,
    /// The LSL session (`[lab] SessionID` of its configuration).
    pub session_id: String,
    /// 1 to [`MAX_CHANNELS`].
    pub channels: usize,
    /// The nominal rate.
    pub rate: Rate,
    /// `None`: a format that this crate does not know. [`describe`] refuses these, liblsl may
    /// report one.
    pub format: Option<Format>,
    /// When the outlet was created, seconds on the LSL clock of its host.
    pub created_at: f64,
    /// One per channel (`<label>`, else `<name>`), or none at all.
    pub labels: Vec<String>,
    /// One per channel, or none at all.
    pub units: Vec<String>,
    /// `<synchronization><offset_mean>`: seconds by which timestamps are late (device delay).
    pub offset_mean: Option<f64>,
    /// `<first_frame_time>`: of a stream of video frames, `frame-time` of frame 0, seconds.
    pub first_frame_time: Option<f64>,
    /// `<synchronization><can_drop_samples>`: the device leaves out samples, so the number of
    /// samples does not give a time.
    pub can_drop_samples: bool,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' (type '{}', source id '{}', host '{}', {} channel(s), {}, {})",
            shortened(&self.name),
            shortened(&self.stream_type),
            shortened(&self.source_id),
            shortened(&self.hostname),
            self.channels,
            self.format
                .map_or_else(|| "unknown format".into(), |x| x.to_string()),
            self.rate
        )
    }
}

impl Description {
    /// What a sender that came back as `new` says otherwise than before, of what its samples
    /// are; for people.
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let list = |texts: &[String]| match texts {
            [] => "none".to_string(),
            _ => shortened(&texts.join(", ")),
        };
        let format = |f: Option<Format>| f.map_or_else(|| "unknown".into(), |f| f.to_string());
        [
            (
                "channels",
                self.channels.to_string(),
                new.channels.to_string(),
            ),
            ("format", format(self.format), format(new.format)),
            ("rate", self.rate.to_string(), new.rate.to_string()),
            ("labels", list(&self.labels), list(&new.labels)),
            ("units", list(&self.units), list(&new.units)),
        ]
        .into_iter()
        .filter(|(_, before, now)| before != now)
        .map(|(what, before, now)| format!("{what} {now} (before: {before})"))
        .collect()
    }
}

/// The first 60 characters of a text from the network, for a message; a longer one ends with
/// `…` and its size in bytes.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_string(),
    }
}

/// The most channels that [`describe`] accepts; a larger number is taken for damage.
pub const MAX_CHANNELS: usize = 1 << 20;

/// Reads the XML of a stream, as LSL sends it and XDF stores it.
///
/// A missing or unreadable `nominal_srate` gives an irregular stream, other missing fields are
/// empty. Missing labels and units of some channels are filled up with empty texts.
///
/// # Errors
/// Where the text is no XML document, or `channel_count` or `channel_format` is not usable:
/// names the field, its value and what was expected.
pub fn describe(xml: &str) -> Result<Description, String> {
    let info = Element::parse(xml)?;
    let channels = info.value("channel_count");
    let count = channels
        .parse::<usize>()
        .ok()
        .filter(|n| (1..=MAX_CHANNELS).contains(n))
        .ok_or_else(|| {
            format!(
                "channel_count is '{channels}', expected 1 to {}",
                MAX_CHANNELS
            )
        })?;
    let format = match info.value("channel_format") {
        "float32" => Format::F32,
        "double64" => Format::F64,
        "string" => Format::Text,
        "int8" => Format::I8,
        "int16" => Format::I16,
        "int32" => Format::I32,
        "int64" => Format::I64,
        other => {
            return Err(format!(
                "channel_format is '{other}', expected float32, double64, string or int8 to int64"
            ));
        }
    };
    let empty = Element::default();
    let desc = info.child("desc").unwrap_or(&empty);
    let (mut labels, mut units) = (Vec::new(), Vec::new());
    if let Some(list) = desc.child("channels") {
        for channel in list.children("channel").take(count) {
            let label = match channel.value("label") {
                "" => channel.value("name"),
                label => label,
            };
            labels.push(label.to_string());
            units.push(channel.value("unit").to_string());
        }
    }
    for texts in [&mut labels, &mut units] {
        if texts.iter().all(String::is_empty) {
            texts.clear();
        } else {
            texts.resize(count, String::new());
        }
    }
    let sync = desc.child("synchronization").unwrap_or(&empty);
    let text = |name| info.value(name).to_string();
    let number = |of: &Element, name| of.value(name).parse().ok().filter(|v: &f64| v.is_finite());
    Ok(Description {
        name: text("name"),
        stream_type: text("type"),
        source_id: text("source_id"),
        hostname: text("hostname"),
        uid: text("uid"),
        session_id: text("session_id"),
        channels: count,
        rate: Rate::from_hz(info.value("nominal_srate").parse().unwrap_or(0.0)),
        format: Some(format),
        created_at: info.value("created_at").parse().unwrap_or(0.0),
        labels,
        units,
        offset_mean: number(sync, "offset_mean"),
        first_frame_time: number(desc, "first_frame_time"),
        can_drop_samples: sync.value("can_drop_samples").eq_ignore_ascii_case("true"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read() {
        let d = describe(
            "<?xml version=\"1.0\"?>\n<info>\n<name>A &amp; &#66;</name><type>EEG</type>\
             <channel_count>3</channel_count><channel_format>int16</channel_format>\
             <nominal_srate>51.2</nominal_srate><source_id/><!-- <type>x</type> -->\
             <desc><channels><channel a=\"1\"><label>x</label><unit>uS</unit></channel>\
             <channel><name>y</name></channel></channels>\
             <synchronization><offset_mean>0.25</offset_mean></synchronization>\
             <first_frame_time>0.125</first_frame_time></desc></info>",
        )
        .expect("valid");
        assert_eq!((d.name.as_str(), d.stream_type.as_str()), ("A & B", "EEG"));
        assert_eq!((d.channels, d.format), (3, Some(Format::I16)));
        assert_eq!(d.rate, Rate { num: 256, den: 5 });
        assert_eq!(d.labels, ["x", "y", ""]);
        assert_eq!(d.units, ["uS", "", ""]);
        assert_eq!(
            (d.offset_mean, d.first_frame_time),
            (Some(0.25), Some(0.125))
        );
    }

    #[test]
    fn what_changed_is_named() {
        let xml = |channels: usize, rate: &str, label: &str| {
            describe(&format!(
                "<info><channel_count>{channels}</channel_count><nominal_srate>{rate}\
                 </nominal_srate><channel_format>float32</channel_format><uid>{rate}</uid><desc>\
                 <channels><channel><label>{label}</label></channel></channels></desc></info>"
            ))
            .expect("valid")
        };
        let before = xml(1, "4", "EDA");
        assert!(before.changes(&before).is_empty());
        let now = before.changes(&xml(1, "4", "GSR"));
        assert_eq!(now, ["labels GSR (before: EDA)"]);
        let now = before.changes(&xml(2, "8", "EDA"));
        assert_eq!(now.len(), 3, "{now:?}");
        assert_eq!(now[0], "channels 2 (before: 1)");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (xml, word) in [
            ("", "does not end"),
            ("<info>", "does not end"),
            ("<info></inf>", "expected `</info>`"),
            ("</a></b></c>", "does not match"),
            ("<info", "tag"),
            ("<info/>", "channel_count is ''"),
            ("<i><channel_count>0</channel_count></i>", "'0'"),
            (
                "<i><channel_count>1</channel_count><channel_format>f</channel_format></i>",
                "'f'",
            ),
            (&"<a>".repeat(100), "levels"),
        ] {
            let e = describe(xml).expect_err(xml);
            assert!(e.contains(word), "{xml}: {e}");
        }
    }
}
