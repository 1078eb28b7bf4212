// SPDX-License-Identifier: MPL-2.0
//! Caps of streams of physiology, and samples from the bytes of a buffer.

use conditioning::declared::{self, Declared};
use conditioning::{Conversion, Plausibility, UnitSpec};

/// What the user says of a sensor's stream.
#[derive(Debug, Default, Clone)]
pub(super) struct Wish {
    /// Label or index.
    pub(super) channel: Option<String>,
    pub(super) force: bool,
    /// What its values are.
    pub(super) values: UnitSpec,
}

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
    fn full_scale(self) -> Option<[f64; 2]> {
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

/// What a physiology pad accepts when it is linked by name: streams of any type.
pub(super) fn accepted_caps() -> gst::Caps {
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

/// Caps of the template of pad `name`: where a link names no pad, the type decides which
/// template is taken. A stream of no type fits all of them.
pub(super) fn template_caps(name: &str) -> gst::Caps {
    let mut caps = accepted_caps();
    if !name.contains('%') {
        for structure in caps.make_mut().iter_mut() {
            structure.set("stream-type", gst::List::new(declared::stream_types(name)));
        }
    }
    caps
}

/// Why caps cannot be read as a signal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Refusal {
    /// The samples cannot be read, or there is no channel as the user names it.
    Unreadable(String),
    /// There is no telling which channel it is.
    Channel(String),
    /// What the stream declares is another thing.
    Contradiction(String),
    /// It is in a unit that the signal cannot be measured in, or what the user says of the
    /// unit is contradictory.
    Unit(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unreadable(text)
        | Self::Channel(text)
        | Self::Contradiction(text)
        | Self::Unit(text)) = self;
        f.write_str(text)
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Unreadable(text)
    }
}

/// Why a channel is the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Only,
    Label,
    Unit,
    User,
}

/// How to read one signal from the buffers of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stream {
    format: Format,
    channels: usize,
    /// Which channel is the signal.
    channel: usize,
    chosen: Chosen,
    /// Nominal rate in Hz, 0 for an irregular stream.
    pub(super) rate: f64,
    /// The channel's unit, where the caps name one.
    pub(super) unit: Option<String>,
    /// From the stream's unit to that of the signal.
    conversion: Conversion,
    /// Fresh, for the samples of this stream; `None` where values are not judged.
    pub(super) check: Option<Plausibility>,
}

impl Stream {
    /// Reads caps for the signal `modality`, as the user wishes.
    ///
    /// # Errors
    /// A text for users: what was found, what was expected.
    pub(super) fn from_caps(
        caps: &gst::CapsRef,
        modality: &str,
        wish: &Wish,
    ) -> Result<Self, Refusal> {
        let s = caps
            .structure(0)
            .ok_or_else(|| "the caps are empty".to_string())?;
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
        let text = |field: &str| s.get::<&str>(field).unwrap_or_default();
        let list = |field: &str| -> Vec<&str> { text(field).split(',').map(str::trim).collect() };
        let (labels, units) = (list("channel-labels"), list("units"));
        let wanted = wish.channel.as_deref();
        let (channel, chosen) = choose_channel(channels, &labels, &units, modality, wanted)?;
        let of = |texts: &[&str]| texts.get(channel).copied().unwrap_or_default().to_string();
        let (label, unit) = (of(&labels), of(&units));
        let declared = Declared {
            stream_type: text("stream-type"),
            label: &label,
            picked: chosen == Chosen::User && channels > 1,
            audio: (s.name() == "audio/x-raw").then_some(rate),
        };
        if let Some(text) = declared.contradiction(modality).filter(|_| !wish.force) {
            return Err(Refusal::Contradiction(text));
        }
        let conversion = match Conversion::new(modality, &unit, &wish.values) {
            Ok(conversion) => conversion,
            Err(_) if wish.force => Conversion::NONE,
            Err(text) => return Err(Refusal::Unit(text)),
        };
        let check = match wish.force {
            true => None,
            false => Plausibility::new(modality, conversion.is_known()),
        };
        Ok(Self {
            format,
            channels,
            channel,
            chosen,
            rate: rate.max(0.0),
            unit: Some(unit).filter(|u| !u.is_empty()),
            conversion,
            check,
        })
    }

    /// What [`Stream::from_caps`] chose and why, for the log.
    pub(super) fn describe(&self, caps: &gst::CapsRef, modality: &str) -> String {
        let s = caps.structure(0);
        let field = |name| s.and_then(|s| s.get::<&str>(name).ok()).unwrap_or("none");
        let labels = field("channel-labels");
        let why = match self.chosen {
            Chosen::Only => "the only one".to_string(),
            Chosen::User => "the pad's property channel says so".to_string(),
            Chosen::Unit => format!("the only one of {} in a unit of conductance", self.channels),
            Chosen::Label => format!(
                "the only one of {} whose label contains {}",
                self.channels,
                declared::names(modality)
                    .into_iter()
                    .take(4)
                    .collect::<Vec<_>>()
                    .join(" or ")
            ),
        };
        format!(
            "type {}, channel {} ({}), {why}; labels {labels}, unit {}{}, {} Hz, {:?}",
            field("stream-type"),
            self.channel,
            labels.split(',').nth(self.channel).unwrap_or("none").trim(),
            self.unit.as_deref().unwrap_or("none"),
            match self.conversion.is_none() {
                true => String::new(),
                false => format!(" ({})", self.conversion.describe()),
            },
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
        let nominal = count as f64 * 1e9 / self.rate;
        // The buffer's own duration is the clock where it says otherwise: audio caps of a
        // recorded stream hold a rounded rate.
        let other = duration.is_some_and(|d| (d as f64 - nominal).abs() > nominal * 1e-3);
        if self.rate > 0.0 && !other {
            (index as f64 * 1e9 / self.rate).round() as u64
        } else {
            duration.map_or(0, |d| d * index / count.max(1))
        }
    }

    /// The samples of the chosen channel, in the unit of the signal; a trailing part of a sample
    /// is left out.
    pub(super) fn samples<'a>(&self, bytes: &'a [u8]) -> impl ExactSizeIterator<Item = f64> + 'a {
        let (format, offset) = (self.format, self.channel * self.format.size());
        let conversion = self.conversion;
        bytes
            .chunks_exact(self.stride())
            .map(move |row| conversion.apply(format.read(&row[offset..])))
    }

    /// Lowest and highest value that the sender can give, in the unit of the signal.
    pub(super) fn full_scale(&self) -> Option<[f64; 2]> {
        self.conversion.full_scale(self.format.full_scale())
    }

    /// The unit of [`Stream::samples`] in its short form, where it is known.
    pub(super) fn unit_symbol(&self) -> Option<String> {
        self.conversion.unit()?.symbol()
    }

    /// Whether the unit is known, so that the values mean what they say.
    pub(super) fn has_known_unit(&self) -> bool {
        self.conversion.is_known()
    }
}

/// Where the samples of a buffer are in running time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    /// Samples before the segment, which are left out.
    pub(super) skipped: usize,
    count: u64,
    duration: Option<u64>,
    /// Running time of the first sample that is taken, and its time from the buffer's start, ns.
    pub(super) start: u64,
    offset: u64,
    /// Seconds of the film for each second of the timestamps (`common::at_rate_1`).
    applied: f64,
    /// Running time of the buffer's end, ns.
    pub(super) end: u64,
}

impl Placed {
    /// Running time (ns) of each sample that is taken.
    pub(super) fn times(self, stream: &Stream) -> impl Iterator<Item = u64> {
        (self.skipped as u64..self.count).map(move |i| {
            let time = stream.sample_time(i, self.count, self.duration);
            self.after(time)
        })
    }

    /// Running time (ns) of the last sample.
    pub(super) fn newest(&self, stream: &Stream) -> u64 {
        let last = self.count.saturating_sub(1);
        self.after(stream.sample_time(last, self.count, self.duration))
    }

    /// Running time of what is `time` (ns) after the beginning of the buffer.
    fn after(&self, time: u64) -> u64 {
        let passed = time.saturating_sub(self.offset);
        let passed = match self.applied {
            1.0 => passed,
            applied => (passed as f64 * applied).round() as u64,
        };
        self.start.saturating_add(passed)
    }
}

impl Stream {
    /// Places the samples of `buffer`; `None` where it has no running time.
    pub(super) fn place(
        &self,
        buffer: &gst::BufferRef,
        segment: &gst::FormattedSegment<gst::ClockTime>,
    ) -> Option<Placed> {
        let duration = buffer.duration().map(gst::ClockTime::nseconds);
        let count = (buffer.size() / self.stride()) as u64;
        let begin = buffer.pts()?;
        let after = |i| gst::ClockTime::from_nseconds(self.sample_time(i, count, duration));
        let (skipped, start) = (0..count).find_map(|i| {
            let time = begin.checked_add(after(i))?;
            Some((i, segment.to_running_time(time)?.nseconds()))
        })?;
        let offset = self.sample_time(skipped, count, duration);
        let length = duration.unwrap_or_else(|| self.sample_time(count, count, None));
        let mut placed = Placed {
            skipped: skipped as usize,
            count,
            duration,
            start,
            offset,
            applied: 1.0 / segment.rate().abs(),
            end: 0,
        };
        placed.end = placed.after(length);
        Some(placed)
    }
}

/// The channel that the user names, else the only one that can be the signal.
fn choose_channel(
    channels: usize,
    labels: &[&str],
    units: &[&str],
    modality: &str,
    wanted: Option<&str>,
) -> Result<(usize, Chosen), Refusal> {
    let those = |texts: &[&str], fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..channels.min(texts.len()))
            .filter(|i| fits(texts[*i]))
            .collect()
    };
    let listed = match labels.iter().all(|l| l.is_empty()) {
        true => "no labels".into(),
        false => format!("labels {}", labels.join(", ")),
    };
    if let Some(wanted) = wanted.map(str::trim) {
        // As in lslsrc, a comma inside a label is a semicolon in caps.
        let label = wanted.replace(',', ";");
        let named = those(labels, &|l| l.eq_ignore_ascii_case(&label));
        return match (&named[..], wanted.parse().ok().filter(|i| *i < channels)) {
            ([one], _) => Ok((*one, Chosen::User)),
            ([], Some(index)) => Ok((index, Chosen::User)),
            (several, _) => Err(Refusal::Unreadable(format!(
                "the property channel names '{wanted}'; the stream has {} such channels ({listed}). \
                 Expected the label of one, or an index from 0 to {}",
                several.len(),
                channels - 1
            ))),
        };
    }
    if channels == 1 {
        return Ok((0, Chosen::Only));
    }
    let found = those(labels, &|l| declared::says(l, modality));
    match found[..] {
        [one] => return Ok((one, Chosen::Label)),
        [] if modality == "eda" => {
            if let [one] = those(units, &declared::is_conductance)[..] {
                return Ok((one, Chosen::Unit));
            }
        }
        _ => {}
    }
    Err(Refusal::Channel(format!(
        "the stream has {channels} channels ({listed}) and {} of them is called {modality}; \
         expected one channel",
        if found.is_empty() {
            "none"
        } else {
            "more than one"
        },
    )))
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
            .field("units", "a,b,uS")
            .build()
    }

    #[test]
    fn the_channel_with_the_name_is_taken() {
        let s = Stream::from_caps(&caps(3, "count,GSR,temp", "S16LE"), "eda", &Wish::default())
            .expect("caps");
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
        let s = Stream::from_caps(&caps, "eda", &Wish::default()).expect("caps");
        let text = s.describe(&caps, "eda");
        for part in ["channel 1 (GSR)", "of 3", "eda or gsr", "unit b", "51.2 Hz"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    fn chosen(labels: &str, modality: &str, channel: Option<&str>) -> Result<usize, String> {
        let wish = Wish {
            channel: channel.map(Into::into),
            ..Wish::default()
        };
        let stream = Stream::from_caps(&caps(3, labels, "F32LE"), modality, &wish);
        stream.map(|s| s.channel).map_err(|e| e.to_string())
    }

    #[test]
    fn a_channel_is_never_guessed() {
        for labels in ["", "a,b,c", "ppg left,ppg right,temp"] {
            let e = chosen(labels, "ppg", None).expect_err(labels);
            assert!(
                e.contains("3 channels") && e.contains("expected one"),
                "{e}"
            );
        }
        // Conductance is of the skin.
        assert_eq!(chosen("a,b,c", "eda", None), Ok(2));
        assert!(chosen("eda left,eda right,temp", "eda", None).is_err());
    }

    #[test]
    fn the_user_names_a_channel() {
        for (labels, wanted, found) in [
            ("a,b,c", "b", Some(1)),
            ("a,B,c", "b", Some(1)),
            ("", "1", Some(1)),
            ("1,0,x", "1", Some(0)),
            ("a,b,c", "3", None),
            ("a,b,c", "-1", None),
            ("a,b,c", "d", None),
            ("a,a,c", "a", None),
            ("x;y,b,c", "x,y", Some(0)),
        ] {
            let got = chosen(labels, "resp", Some(wanted));
            match found {
                Some(index) => assert_eq!(got, Ok(index), "{labels} {wanted}"),
                None => {
                    let e = got.expect_err(wanted);
                    assert!(e.contains("'") && e.contains("0 to 2"), "{e}");
                }
            }
        }
    }

    #[test]
    fn force_overrules_a_contradiction_and_nothing_else() {
        let force = Wish {
            force: true,
            ..Wish::default()
        };
        let mut caps = caps(1, "", "F32LE");
        caps.make_mut().set("stream-type", "ECG");
        let refused = Stream::from_caps(&caps, "eda", &Wish::default());
        assert!(
            matches!(refused, Err(Refusal::Contradiction(_))),
            "{refused:?}"
        );
        assert!(Stream::from_caps(&caps, "eda", &force).is_ok());
        caps.make_mut().set("channels", 3);
        let refused = Stream::from_caps(&caps, "ppg", &force);
        assert!(matches!(refused, Err(Refusal::Channel(_))), "{refused:?}");
    }

    #[test]
    fn every_format_of_the_template_is_read() {
        for name in Format::COMMON.into_iter().chain(["S64LE"]) {
            let s = Stream::from_caps(&caps(1, "", name), "ecg", &Wish::default()).expect(name);
            assert_eq!(s.samples(&[0; 8]).next(), Some(0.0), "{name}");
        }
    }
}
