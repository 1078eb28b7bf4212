// SPDX-License-Identifier: MPL-2.0
//! The XML of stream headers, as far as it is needed: elements and text.

use crate::lsl::{Description, Format, Rate};

/// Headers are written by programs and are flat; deeper ones are damage.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Default)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Attributes, comments and processing instructions are passed over.
    ///
    /// # Errors
    /// What is wrong, for text that is no XML document of one root.
    pub fn parse(xml: &str) -> Result<Self, String> {
        let mut open: Vec<Element> = vec![Element::default()];
        let mut rest = xml;
        while let Some(start) = rest.find('<') {
            append(&mut open, &unescape(&rest[..start]));
            rest = &rest[start..];
            if let Some(cdata) = rest.strip_prefix("<![CDATA[") {
                let end = cdata.find("]]>").ok_or("an open CDATA section")?;
                append(&mut open, &cdata[..end]);
                rest = &cdata[end + 3..];
                continue;
            }
            let (from, until) = if rest.starts_with("<!--") {
                (4, "-->")
            } else if rest.starts_with("<?") {
                (2, "?>")
            } else {
                (1, ">")
            };
            let end = rest[from..].find(until).ok_or("an open tag")? + from;
            let tag = &rest[from..end];
            rest = &rest[end + until.len()..];
            if from != 1 || tag.starts_with('!') {
                continue;
            }
            if let Some(name) = tag.strip_prefix('/') {
                let done = open.pop().ok_or("an unopened tag is closed")?;
                let parent = open.last_mut().ok_or("an unopened tag is closed")?;
                if done.name != name.trim() {
                    return Err(format!("<{}> is closed by </{}>", done.name, name.trim()));
                }
                parent.children.push(done);
                continue;
            }
            let (tag, empty) = match tag.strip_suffix('/') {
                Some(tag) => (tag, true),
                None => (tag, false),
            };
            let element = Element {
                name: tag.split_whitespace().next().unwrap_or("").to_string(),
                ..Self::default()
            };
            if element.name.is_empty() {
                return Err("a tag without a name".into());
            }
            if empty {
                if let Some(parent) = open.last_mut() {
                    parent.children.push(element);
                }
            } else if open.len() > MAX_DEPTH {
                return Err(format!("more than {MAX_DEPTH} levels"));
            } else {
                open.push(element);
            }
        }
        match (
            open.len(),
            open.pop().and_then(|mut top| top.children.pop()),
        ) {
            (1, Some(root)) => Ok(root),
            _ => Err("the document does not end".into()),
        }
    }

    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.name == name)
    }

    /// Trimmed text of the first child of this name, else empty.
    pub fn value(&self, name: &str) -> &str {
        self.child(name).map_or("", |c| c.text.trim())
    }
}

fn append(open: &mut [Element], text: &str) {
    if let Some(last) = open.last_mut() {
        last.text.push_str(text);
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest.find(';').filter(|end| *end <= 10).and_then(|end| {
            let name = &rest[1..end];
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16),
                        None => number.parse(),
                    };
                    char::from_u32(code.ok()?)?
                }
            };
            Some((c, end + 1))
        });
        match entity {
            Some((c, length)) => {
                out.push(c);
                rest = &rest[length..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Reads what a stream says about itself.
///
/// # Errors
/// Names the field that is wrong, what it holds and what was expected.
pub fn describe(xml: &str) -> Result<Description, String> {
    let info = Element::parse(xml)?;
    let channels = info.value("channel_count");
    let count = channels
        .parse::<usize>()
        .ok()
        .filter(|n| (1..=super::parser::MAX_CHANNELS).contains(n))
        .ok_or_else(|| {
            format!(
                "channel_count is '{channels}', expected 1 to {}",
                super::parser::MAX_CHANNELS
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
        for channel in list
            .children
            .iter()
            .filter(|c| c.name == "channel")
            .take(count)
        {
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
    fn what_is_wrong_is_named() {
        for (xml, word) in [
            ("", "does not end"),
            ("<info>", "does not end"),
            ("<info></inf>", "closed by"),
            ("</a></b></c>", "closed"),
            ("<info", "open tag"),
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
