// SPDX-License-Identifier: MPL-2.0
//! The property `channels`: which channels of which recorded stream come on pads.

use crate::stream::caps::select;
use stream_info::{Description, Format};

/// Streams that are named in a message.
const NAMED: usize = 12;

/// Entries of the property, and whether a stream had them.
#[derive(Debug, Default)]
pub(super) struct Choices(Vec<(String, bool)>);

fn all(d: &Description) -> Vec<usize> {
    (0..d.channels).collect()
}

impl Choices {
    /// `STREAM:CHANNEL,CHANNEL;...`, where `STREAM:` may be left out.
    pub(super) fn new(property: Option<&str>) -> Self {
        let entries = property.unwrap_or_default().split(';').map(str::trim);
        let entries = entries.filter(|e| !e.is_empty());
        Self(entries.map(|e| (e.to_string(), false)).collect())
    }

    /// The channels on each pad of a stream, in order; one pad with all of them where
    /// nothing is chosen.
    ///
    /// # Errors
    /// An entry names the stream and a channel that it has not.
    pub(super) fn of(&mut self, d: &Description) -> Result<Vec<Vec<usize>>, String> {
        let mut pads = Vec::new();
        for (entry, used) in &mut self.0 {
            let keys = [&d.name, &d.stream_type, &d.source_id].into_iter();
            let mut keys = keys.filter(|k| !k.is_empty());
            let named = keys.find_map(|k| entry.strip_prefix(k.as_str())?.strip_prefix(':'));
            if let Some(channels) = named {
                pads.push(select(channels, d)?);
                *used = true;
            }
        }
        if pads.is_empty() && d.format != Some(Format::Text) {
            for (entry, used) in &mut self.0 {
                if let Ok(channels) = select(entry, d) {
                    pads.push(channels);
                    *used = true;
                }
            }
        }
        if pads.is_empty() {
            pads.push(all(d));
        }
        Ok(pads)
    }

    /// Once all `streams` are known.
    ///
    /// # Errors
    /// Names an entry that no stream has, and what the streams have.
    pub(super) fn check<'a>(
        &self,
        streams: impl Iterator<Item = &'a Description>,
    ) -> Result<(), String> {
        let Some((entry, _)) = self.0.iter().find(|(_, used)| !used) else {
            return Ok(());
        };
        let mut seen: Vec<String> = Vec::new();
        for d in streams {
            let labels = match d.labels.is_empty() {
                true => format!("no labels, indices 0 to {}", d.channels.saturating_sub(1)),
                false => d.labels.join(", "),
            };
            let text = format!("'{}' (type '{}'): {labels}", d.name, d.stream_type);
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        let more = match seen.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!("; and {n} more"),
        };
        seen.truncate(NAMED);
        Err(format!(
            "channels={entry}: no stream of the recording has these channels. Expected labels or \
             indices of one stream, after its name, type or source id where several have them \
             (channels=\"STREAM:LABEL,LABEL;STREAM:LABEL\"); the recording has {}{more}",
            seen.join("; ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream_info::describe;

    fn stream(name: &str, labels: &[&str], format: &str) -> Description {
        let channel = |l: &&str| format!("<channel><label>{l}</label></channel>");
        let channels: String = labels.iter().map(channel).collect();
        describe(&format!(
            "<info><name>{name}</name><type>T</type><source_id>id:{name}</source_id>\
             <channel_count>{}</channel_count><nominal_srate>8</nominal_srate>\
             <channel_format>{format}</channel_format><desc><channels>{channels}</channels></desc></info>",
            labels.len()
        ))
        .expect("a description")
    }

    /// The pads of two devices and of a stream of markers.
    fn pads(property: &str) -> Result<[Vec<Vec<usize>>; 3], String> {
        let streams = [
            stream("Dev:1", &["nSeq", "EDA", "PPG"], "float32"),
            stream("Polar", &["ECG"], "float32"),
            stream("Marks", &["text"], "string"),
        ];
        let mut choices = Choices::new(Some(property));
        let [a, b, c] = &streams;
        let found = [choices.of(a)?, choices.of(b)?, choices.of(c)?];
        choices.check(streams.iter())?;
        Ok(found)
    }

    #[test]
    fn entries_choose_channels_of_the_streams_that_have_them() {
        let rest = || vec![vec![0]];
        for (property, dev) in [
            ("", vec![vec![0, 1, 2]]),
            ("EDA", vec![vec![1]]),
            ("PPG,EDA", vec![vec![2, 1]]),
            ("Dev:1:EDA", vec![vec![1]]),
            (" Dev:1:EDA ; Dev:1:2,0 ", vec![vec![1], vec![2, 0]]),
            ("id:Dev:1:PPG;Polar:0", vec![vec![2]]),
            ("EDA;PPG", vec![vec![1], vec![2]]),
            ("EDA;Marks:text", vec![vec![1]]),
        ] {
            assert_eq!(pads(property), Ok([dev, rest(), rest()]), "{property}");
        }
    }

    #[test]
    fn what_no_stream_has_is_told_with_what_there_is() {
        for (property, wants) in [
            ("GSR", ["GSR", "nSeq, EDA, PPG", "'Polar'"]),
            ("Dev:1:GSR", ["'GSR'", "nSeq, EDA, PPG", "0 to 2"]),
            ("Nobody:EDA", ["Nobody:EDA", "'Dev:1'", "STREAM:LABEL"]),
            ("Dev:1:3", ["'3'", "nSeq, EDA, PPG", "0 to 2"]),
        ] {
            let why = pads(property).expect_err(property);
            assert!(wants.iter().all(|w| why.contains(w)), "{property}: {why}");
        }
    }
}
