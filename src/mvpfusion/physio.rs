// SPDX-License-Identifier: MPL-2.0
//! Caps of the physiology pads, and samples from the bytes of a buffer.

/// The sample format of a physiology stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    F64,
    S8,
    S16,
    S32,
    S64,
}

impl Format {
    /// Caps strings of the formats that both kinds of caps know.
    const COMMON: [&'static str; 5] = ["F32LE", "F64LE", "S8", "S16LE", "S32LE"];

    fn from_caps(name: &str) -> Option<Self> {
        Some(match name {
            "F32LE" => Self::F32,
            "F64LE" => Self::F64,
            "S8" => Self::S8,
            "S16LE" => Self::S16,
            "S32LE" => Self::S32,
            "S64LE" => Self::S64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::S8 => 1,
            Self::S16 => 2,
            Self::F32 | Self::S32 => 4,
            Self::F64 | Self::S64 => 8,
        }
    }

    /// Least and largest value of an integer format; none for floats.
    pub(super) fn full_scale(self) -> Option<[f64; 2]> {
        match self {
            Self::F32 | Self::F64 => None,
            Self::S8 => Some([f64::from(i8::MIN), f64::from(i8::MAX)]),
            Self::S16 => Some([f64::from(i16::MIN), f64::from(i16::MAX)]),
            Self::S32 => Some([f64::from(i32::MIN), f64::from(i32::MAX)]),
            Self::S64 => Some([i64::MIN as f64, i64::MAX as f64]),
        }
    }

    /// `bytes` has at least [`Format::size`] bytes.
    fn read(self, bytes: &[u8]) -> f64 {
        fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
            let mut own = [0; N];
            own.copy_from_slice(&bytes[..N]);
            own
        }
        match self {
            Self::F32 => f64::from(f32::from_le_bytes(take(bytes))),
            Self::F64 => f64::from_le_bytes(take(bytes)),
            Self::S8 => f64::from(i8::from_le_bytes(take(bytes))),
            Self::S16 => f64::from(i16::from_le_bytes(take(bytes))),
            Self::S32 => f64::from(i32::from_le_bytes(take(bytes))),
            Self::S64 => i64::from_le_bytes(take(bytes)) as f64,
        }
    }
}

/// Caps of the pad templates.
pub(super) fn template_caps() -> gst::Caps {
    let formats =
        |extra: Option<&'static str>| gst::List::new(Format::COMMON.into_iter().chain(extra));
    gst::Caps::builder_full()
        .structure(
            gst::Structure::builder("application/x-lsl")
                .field("format", formats(Some("S64LE")))
                .field("layout", "interleaved")
                .field("channels", gst::IntRange::new(1, i32::MAX))
                .field(
                    "rate",
                    gst::FractionRange::new(
                        gst::Fraction::new(0, 1),
                        gst::Fraction::new(i32::MAX, 1),
                    ),
                )
                .build(),
        )
        .structure(
            gst::Structure::builder("audio/x-raw")
                .field("format", formats(None))
                .field("layout", "interleaved")
                .field("channels", gst::IntRange::new(1, i32::MAX))
                .field("rate", gst::IntRange::new(1, i32::MAX))
                .build(),
        )
        .build()
}

/// How to read one signal from the buffers of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stream {
    pub(super) format: Format,
    channels: usize,
    /// Which channel is the signal.
    channel: usize,
    /// Nominal rate in Hz, 0 for an irregular stream.
    pub(super) rate: f64,
    /// The channel's unit, where the caps name one.
    pub(super) unit: Option<String>,
}

impl Stream {
    /// Reads caps for the signal `modality`.
    ///
    /// # Errors
    /// A text for users: what was expected, what was found, what to do.
    pub(super) fn from_caps(caps: &gst::CapsRef, modality: &str) -> Result<Self, String> {
        let s = caps.structure(0).ok_or("the caps are empty")?;
        let format = s.get::<&str>("format").map_err(|e| e.to_string())?;
        let format = Format::from_caps(format)
            .ok_or_else(|| format!("sample format {format} is not one that can be read"))?;
        let channels = s.get::<i32>("channels").map_err(|e| e.to_string())?;
        let channels = usize::try_from(channels)
            .ok()
            .filter(|c| *c > 0)
            .ok_or_else(|| format!("expected at least one channel, found {channels}"))?;
        let rate = match s.get::<gst::Fraction>("rate") {
            Ok(rate) => f64::from(rate.numer()) / f64::from(rate.denom()),
            Err(_) => f64::from(s.get::<i32>("rate").map_err(|e| e.to_string())?),
        };
        let list = |field: &str| -> Vec<String> {
            let text = s.get::<&str>(field).unwrap_or_default();
            text.split(',').map(|l| l.trim().to_string()).collect()
        };
        let labels = list("channel-labels");
        let channel = choose_channel(channels, &labels, modality)?;
        let unit = list("units")
            .into_iter()
            .nth(channel)
            .filter(|u| !u.is_empty());
        Ok(Self {
            format,
            channels,
            channel,
            rate: rate.max(0.0),
            unit,
        })
    }

    /// What [`Stream::from_caps`] chose and why, for the log.
    pub(super) fn describe(&self, caps: &gst::CapsRef, modality: &str) -> String {
        let s = caps.structure(0);
        let field = |name| s.and_then(|s| s.get::<&str>(name).ok()).unwrap_or("none");
        let labels = field("channel-labels");
        let why = match self.channels {
            1 => "the only one".to_string(),
            n => format!(
                "the only one of {n} whose label contains {}",
                words(modality).collect::<Vec<_>>().join(" or ")
            ),
        };
        format!(
            "type {}, channel {} ({}), {why}; labels {labels}, unit {}, {} Hz, {:?}",
            field("stream-type"),
            self.channel,
            labels.split(',').nth(self.channel).unwrap_or("none").trim(),
            self.unit.as_deref().unwrap_or("none"),
            self.rate,
            self.format,
        )
    }

    /// Bytes of one sample of all channels.
    pub(super) fn stride(&self) -> usize {
        self.channels * self.format.size()
    }

    /// Nanoseconds from the buffer's start to sample `index` of `count`; in an irregular
    /// stream the samples are spread evenly over the buffer's duration.
    pub(super) fn sample_time(&self, index: u64, count: u64, duration: Option<u64>) -> u64 {
        if self.rate > 0.0 {
            (index as f64 * 1e9 / self.rate).round() as u64
        } else {
            duration.map_or(0, |d| d * index / count.max(1))
        }
    }

    /// The samples of the chosen channel; a trailing part of a sample is left out.
    pub(super) fn samples<'a>(&self, bytes: &'a [u8]) -> impl ExactSizeIterator<Item = f64> + 'a {
        let (format, offset) = (self.format, self.channel * self.format.size());
        bytes
            .chunks_exact(self.stride())
            .map(move |row| format.read(&row[offset..]))
    }
}

/// What the label of a signal's channel may contain: its name, and names in common use.
fn words(modality: &str) -> impl Iterator<Item = &str> {
    let others: &[&str] = match modality {
        "eda" => &["gsr", "scr", "scl"],
        "ecg" => &["ekg"],
        "ppg" => &["bvp", "pleth"],
        _ => &[],
    };
    std::iter::once(modality).chain(others.iter().copied())
}

fn choose_channel(channels: usize, labels: &[String], modality: &str) -> Result<usize, String> {
    if channels == 1 {
        return Ok(0);
    }
    let fits = |label: &String| {
        let label = label.to_lowercase();
        words(modality).any(|w| label.contains(w))
    };
    let found: Vec<usize> = (0..channels.min(labels.len()))
        .filter(|i| fits(&labels[*i]))
        .collect();
    match found[..] {
        [one] => Ok(one),
        _ => Err(format!(
            "the stream has {channels} channels ({}) and {} of them is called {modality}; \
             expected one channel. Choose it with lslsrc channels=LABEL-OR-INDEX",
            if labels.iter().all(String::is_empty) {
                "no labels".into()
            } else {
                labels.join(", ")
            },
            if found.is_empty() {
                "none"
            } else {
                "more than one"
            },
        )),
    }
}

/// A warning where the unit is not one that the network takes.
pub(super) fn unit_warning(modality: &str, unit: &str) -> Option<String> {
    let resistance = unit.to_lowercase().contains("ohm") || unit.contains('Ω');
    (modality == "eda" && resistance).then(|| {
        format!(
            "the stream is in {unit}, a resistance; the network expects conductance in microsiemens \
             (1000 / kOhm). Nothing is converted"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(channels: i32, labels: &str, format: &str) -> gst::Caps {
        gst::init().expect("gst");
        gst::Caps::builder("application/x-lsl")
            .field("format", format)
            .field("layout", "interleaved")
            .field("channels", channels)
            .field("rate", gst::Fraction::new(256, 5))
            .field("channel-labels", labels)
            .field("units", "a,b,c")
            .build()
    }

    #[test]
    fn the_channel_with_the_name_is_taken() {
        let s = Stream::from_caps(&caps(3, "count,GSR,temp", "S16LE"), "eda").expect("caps");
        assert_eq!((s.rate, s.unit.as_deref()), (51.2, Some("b")));
        let bytes: Vec<u8> = [1i16, -2, 3, 4, 500, 6]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(s.samples(&bytes).collect::<Vec<_>>(), [-2.0, 500.0]);
        assert_eq!(s.samples(&bytes[..11]).len(), 1);
        assert_eq!(s.sample_time(512, 600, None), 10_000_000_000);
    }

    #[test]
    fn the_choice_is_explained() {
        let caps = caps(3, "count,GSR,temp", "S16LE");
        let s = Stream::from_caps(&caps, "eda").expect("caps");
        let text = s.describe(&caps, "eda");
        for part in ["channel 1 (GSR)", "of 3", "eda or gsr", "unit b", "51.2 Hz"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_channel_is_never_guessed() {
        for labels in ["", "a,b,c", "eda left,eda right,temp"] {
            let e = Stream::from_caps(&caps(3, labels, "F32LE"), "eda").expect_err(labels);
            assert!(
                e.contains("3 channels") && e.contains("lslsrc channels"),
                "{e}"
            );
        }
    }

    #[test]
    fn every_format_of_the_template_is_read() {
        for name in Format::COMMON.into_iter().chain(["S64LE"]) {
            let s = Stream::from_caps(&caps(1, "", name), "ecg").expect(name);
            assert_eq!(s.samples(&[0; 8]).next(), Some(0.0), "{name}");
        }
    }

    #[test]
    fn resistance_is_warned_of() {
        assert!(unit_warning("eda", "kOhms").is_some());
        assert!(unit_warning("eda", "uS").is_none());
    }
}
