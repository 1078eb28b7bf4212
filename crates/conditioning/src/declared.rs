// SPDX-License-Identifier: MPL-2.0
//! What a stream declares of itself, in words, against what a signal of the body is expected to be.

use crate::{Quantity, Unit};

/// Kinds of streams: how they are called, in lower case. The first name is that of the
/// signal, and of its pad where it has one.
const KINDS: &[&[&str]] = &[
    &[
        "eda",
        "gsr",
        "scl",
        "scr",
        "skin conductance",
        "skinconductance",
        "electrodermal",
        "electrodermal activity",
    ],
    &["ecg", "ekg", "electrocardiogram"],
    &[
        "ppg",
        "bvp",
        "pleth",
        "photoplethysmogram",
        "photoplethysmography",
    ],
    &["eeg", "electroencephalogram"],
    &["emg", "electromyogram"],
    &["eog", "electrooculogram"],
    &["meg"],
    &["nirs", "fnirs"],
    &["resp", "respiration", "breath", "breathing"],
    &["temp", "temperature", "skin temperature", "skintemp"],
    &["acc", "accel", "accelerometer", "acceleration"],
    &["gyro", "gyroscope"],
    &["mag", "magnetometer"],
    &["hr", "heart rate", "heartrate"],
    &["ibi", "rri", "rr interval"],
    &["spo2"],
    &["gaze", "eyetracking", "eye tracking", "pupil"],
    &["mocap"],
    &["audio", "sound", "microphone", "mic"],
    &["video", "videoraw", "videocompressed"],
    &["markers", "marker", "events", "event"],
    &["mouse", "mouseposition", "mousebuttons"],
    &["keyboard"],
    &["emotion"],
];

/// From this rate (Hz) on, audio/x-raw that names no sensor is taken for sound.
const SOUND: f64 = 8000.0;

fn kind(name: &str) -> Option<&'static [&'static str]> {
    KINDS.iter().copied().find(|kind| kind.contains(&name))
}

/// The names of a signal: its own, and those in common use.
pub fn names(signal: &str) -> Vec<&str> {
    let others = kind(signal).unwrap_or_default().iter().copied();
    let mut all = vec![signal];
    all.extend(others.filter(|n| *n != signal));
    all
}

/// Types of streams that belong to the pad of `signal` when none is named, as they are
/// written.
pub fn stream_types(signal: &str) -> Vec<String> {
    let mut types = Vec::new();
    for name in names(signal) {
        let mut title = name.to_string();
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        for spelling in [name.to_uppercase(), name.to_string(), title] {
            if !types.contains(&spelling) {
                types.push(spelling);
            }
        }
    }
    types
}

/// Whether `text`, the type of a stream or a channel's label, names `signal`.
pub fn says(text: &str, signal: &str) -> bool {
    let text = text.to_lowercase();
    names(signal).iter().any(|name| text.contains(name))
}

/// The signal, another than `signal`, that `text` names: as a whole, or by one of its words.
fn says_other(text: &str, signal: &str) -> Option<&'static str> {
    if says(text, signal) {
        return None;
    }
    let text = text.trim().to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric());
    // `EDA0` is the first of several; `spo2` is a name.
    let bare = |word: &str| kind(word.trim_end_matches(|c: char| c.is_ascii_digit()));
    let found = kind(&text).or_else(|| words.clone().find_map(kind));
    found.or_else(|| words.clone().find_map(bare)).map(|k| k[0])
}

/// Whether `unit` is one of conductance, which only skin conductance is measured in.
pub fn is_conductance(unit: &str) -> bool {
    Unit::parse(unit).is_some_and(|u| u.quantity == Quantity::Conductance)
}

/// What caps say of the channel that is to be a signal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared<'a> {
    /// The type of the stream.
    pub stream_type: &'a str,
    /// The label of the channel.
    pub label: &'a str,
    /// The user has picked the channel out of several: the type is that of the stream as a
    /// whole.
    pub picked: bool,
    /// Rate of audio/x-raw.
    pub audio: Option<f64>,
}

impl Declared<'_> {
    /// Why the stream is another thing than `signal`: what was found, and what is expected.
    pub fn contradiction(&self, signal: &str) -> Option<String> {
        let expected = || {
            let names = names(signal).into_iter().take(4).map(str::to_uppercase);
            format!("expected type {}", names.collect::<Vec<_>>().join(" or "))
        };
        let named = says(self.label, signal) || self.picked;
        if let Some(other) = says_other(self.label, signal) {
            return Some(format!(
                "the channel is called '{}', which is {other}; {}",
                self.label,
                expected()
            ));
        }
        if let Some(other) = says_other(self.stream_type, signal)
            && !named
        {
            return Some(format!(
                "the stream is of type '{}', which is {other}; {}",
                self.stream_type,
                expected()
            ));
        }
        let rate = self.audio.filter(|rate| *rate >= SOUND)?;
        let declared = says(self.stream_type, signal) || says(self.label, signal);
        (!declared).then(|| {
            format!(
                "audio/x-raw of {rate} samples per second that names no sensor is sound; {}",
                expected()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stream_type: &'static str, label: &'static str) -> Declared<'static> {
        Declared {
            stream_type,
            label,
            ..Declared::default()
        }
    }

    #[test]
    fn what_a_stream_says_of_itself_decides() {
        for (declared, signal, fits) in [
            (of("EDA", ""), "eda", true),
            (of("GSR", ""), "eda", true),
            (of("ECG", ""), "eda", false),
            (of("EDA", ""), "ecg", false),
            (of("BVP", ""), "ppg", true),
            (of("eeg", ""), "ecg", false),
            (of("HR", ""), "ecg", false),
            // Devices with several sensors have a type of their own.
            (of("BITalino", "CH2"), "eda", true),
            (of("", ""), "ecg", true),
            // The channel says more than the stream.
            (of("EEG", "ECG1"), "ecg", true),
            (of("Physio", "ECG1"), "eda", false),
            (of("Physio", "acc_x"), "ppg", false),
            (of("00:07:80:4C", "EDA0"), "eda", true),
            (of("Respiration", ""), "resp", true),
            (of("EMG", ""), "resp", false),
            // A signal of which nothing is known takes what has no name of another.
            (of("Glove", ""), "grip", true),
        ] {
            let told = declared.contradiction(signal);
            assert_eq!(told.is_none(), fits, "{declared:?} as {signal}: {told:?}");
            assert!(told.is_none_or(|t| t.contains("expected")));
        }
    }

    #[test]
    fn a_picked_channel_may_be_of_a_stream_of_another_type() {
        let mut declared = of("EEG", "CH33");
        assert!(declared.contradiction("ecg").is_some());
        declared.picked = true;
        assert_eq!(declared.contradiction("ecg"), None);
        declared.label = "EDA";
        assert!(declared.contradiction("ecg").is_some());
    }

    #[test]
    fn sound_is_no_sensor() {
        for (rate, stream_type, label, fits) in [
            (44_100.0, "", "", false),
            (8000.0, "", "", false),
            (256.0, "", "", true),
            (10_000.0, "EDA", "", true),
            (10_000.0, "", "GSR", true),
        ] {
            let mut declared = of(stream_type, label);
            declared.audio = Some(rate);
            assert_eq!(declared.contradiction("eda").is_none(), fits, "{rate}");
        }
    }

    #[test]
    fn common_spellings_find_their_pad() {
        let types = stream_types("eda");
        for wanted in ["EDA", "eda", "Gsr", "GSR"] {
            assert!(types.iter().any(|t| t == wanted), "{types:?}");
        }
        // No type belongs to two pads.
        let others = [stream_types("ecg"), stream_types("ppg")].concat();
        assert!(types.iter().all(|t| !others.contains(t)));
    }
}
