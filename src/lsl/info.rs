// SPDX-License-Identifier: MPL-2.0
use super::{
    Error, Library, ffi,
    library::{c_string, text},
    limits::{self, Claim, shortened},
};
use std::{ffi::CStr, fmt};

/// What one channel of one sample is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    F32,
    F64,
    Text,
    I32,
    I16,
    I8,
    I64,
}

impl Format {
    pub(super) fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::F32,
            2 => Self::F64,
            3 => Self::Text,
            4 => Self::I32,
            5 => Self::I16,
            6 => Self::I8,
            7 => Self::I64,
            _ => return None,
        })
    }

    fn code(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::F64 => 2,
            Self::Text => 3,
            Self::I32 => 4,
            Self::I16 => 5,
            Self::I8 => 6,
            Self::I64 => 7,
        }
    }

    /// Bytes of one value; 0 for text.
    pub fn size(self) -> usize {
        match self {
            Self::Text => 0,
            Self::I8 => 1,
            Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::F64 => "double64",
            Self::Text => "string",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::I64 => "int64",
        })
    }
}

/// A nominal rate as a fraction of samples per second; 0/1 is irregular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub num: i32,
    pub den: i32,
}

impl Rate {
    pub const IRREGULAR: Self = Self { num: 0, den: 1 };

    /// The simplest fraction that is `hz` but for rounding:
    /// 51.2 is 256/5. Zero, negative and non-finite rates are irregular.
    pub fn from_hz(hz: f64) -> Self {
        if !hz.is_finite() || hz <= 0.0 {
            return Self::IRREGULAR;
        }
        if hz >= f64::from(i32::MAX) {
            return Self {
                num: i32::MAX,
                den: 1,
            };
        }
        // Convergents of the continued fraction, until one is close enough.
        let (mut n0, mut d0, mut n1, mut d1) = (0i64, 1i64, 1i64, 0i64);
        let mut x = hz;
        for _ in 0..32 {
            let whole = x.floor();
            let (n2, d2) = (whole as i64 * n1 + n0, whole as i64 * d1 + d0);
            if n2 > i64::from(i32::MAX) || d2 > i64::from(i32::MAX) {
                break;
            }
            (n0, d0, n1, d1) = (n1, d1, n2, d2);
            // A short fraction may be as far off as single precision puts it.
            let error = (n1 as f64 / d1 as f64 - hz).abs();
            if error <= hz * 1e-12 || (d1 <= 1000 && error <= hz * 1e-7) || x == whole {
                break;
            }
            x = 1.0 / (x - whole);
        }
        if n1 == 0 {
            // Slower than one sample in 68 years.
            return Self::IRREGULAR;
        }
        Self {
            num: n1 as i32,
            den: d1 as i32,
        }
    }

    pub fn hz(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    pub fn is_regular(self) -> bool {
        self.num > 0
    }

    /// The rate if it is a whole number of samples per second, at least 1.
    pub fn whole(self) -> Option<i32> {
        (self.den == 1 && self.num >= 1).then_some(self.num)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_regular() {
            write!(f, "{} Hz", self.hz())
        } else {
            f.write_str("irregular rate")
        }
    }
}

/// Everything a stream says about itself, as plain data.
///
/// Labels, units and what follows them come from the long description, which only
/// [`super::Inlet::full_info`] and the sender itself have.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    pub name: String,
    pub stream_type: String,
    /// May be empty: then a restarted sender cannot be told from another one.
    pub source_id: String,
    pub hostname: String,
    /// New for every start of the sender.
    pub uid: String,
    pub session_id: String,
    pub channels: usize,
    pub rate: Rate,
    /// `None`: a format that this crate does not know.
    pub format: Option<Format>,
    /// Seconds on the sender's clock.
    pub created_at: f64,
    /// One per channel (`<label>`, else `<name>`), or none at all.
    pub labels: Vec<String>,
    /// One per channel, or none at all.
    pub units: Vec<String>,
    /// `<synchronization><offset_mean>`: seconds by which stamps are late.
    pub offset_mean: Option<f64>,
    /// `<first_frame_time>`: of a stream of video frames, `frame-time` of frame 0, seconds.
    pub first_frame_time: Option<f64>,
    /// `<synchronization><can_drop_samples>`: sample counts say nothing about time.
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

/// What a new stream is to be, see [`StreamInfo::new`].
#[derive(Debug, Clone)]
pub struct NewStream<'a> {
    pub name: &'a str,
    pub stream_type: &'a str,
    pub source_id: &'a str,
    pub channels: usize,
    /// 0 for irregular.
    pub rate: f64,
    pub format: Format,
    pub labels: &'a [&'a str],
    pub units: &'a [&'a str],
    /// Seconds, written as `<synchronization><offset_mean>`.
    pub offset_mean: Option<f64>,
    /// Seconds, written as `<first_frame_time>`.
    pub first_frame_time: Option<f64>,
}

/// An owned `lsl_streaminfo`.
pub struct StreamInfo {
    pub(super) library: &'static Library,
    pub(super) handle: ffi::Info,
}

// A streaminfo is a plain object with no thread of its own.
unsafe impl Send for StreamInfo {}

impl StreamInfo {
    /// # Errors
    /// A text with a NUL in it, or whatever liblsl refuses.
    pub fn new(library: &'static Library, new: &NewStream) -> Result<Self, Error> {
        let name = c_string("stream name", new.name)?;
        let stream_type = c_string("stream type", new.stream_type)?;
        let source_id = c_string("source id", new.source_id)?;
        let channels = i32::try_from(new.channels)
            .map_err(|_| Error::Failed("stream creation", "too many channels".into()))?;
        let t = &library.table;
        let handle = unsafe {
            (t.create_streaminfo)(
                name.as_ptr(),
                stream_type.as_ptr(),
                channels,
                new.rate,
                new.format.code(),
                source_id.as_ptr(),
            )
        };
        if handle.is_null() {
            return Err(Error::Failed("stream creation", library.last_error()));
        }
        let info = Self { library, handle };
        unsafe {
            let desc = (t.get_desc)(handle);
            if !new.labels.is_empty() || !new.units.is_empty() {
                let channels = (t.xml_append_child)(desc, c"channels".as_ptr());
                for i in 0..new.channels {
                    let channel = (t.xml_append_child)(channels, c"channel".as_ptr());
                    for (key, values) in [(c"label", new.labels), (c"unit", new.units)] {
                        if let Some(value) = values.get(i) {
                            let value = c_string("channel description", value)?;
                            (t.xml_append_child_value)(channel, key.as_ptr(), value.as_ptr());
                        }
                    }
                }
            }
            if let Some(offset) = new.offset_mean {
                let sync = (t.xml_append_child)(desc, c"synchronization".as_ptr());
                let value = c_string("offset", &offset.to_string())?;
                (t.xml_append_child_value)(sync, c"offset_mean".as_ptr(), value.as_ptr());
            }
            if let Some(time) = new.first_frame_time {
                let value = c_string("first frame's time", &time.to_string())?;
                (t.xml_append_child_value)(desc, c"first_frame_time".as_ptr(), value.as_ptr());
            }
        }
        Ok(info)
    }

    /// Whether the info matches an XPath, by liblsl; `None` where it has no such function.
    pub(super) fn matches(&self, xpath: &CStr) -> Option<bool> {
        let matches = self.library.table.matches_query?;
        Some(unsafe { matches(self.handle, xpath.as_ptr()) } != 0)
    }

    /// The stream's own XML, with whatever long description this info has.
    pub fn xml(&self) -> String {
        let t = &self.library.table;
        unsafe {
            let raw = (t.get_xml)(self.handle);
            let xml = text(raw);
            if !raw.is_null() {
                (t.destroy_string)(raw);
            }
            xml
        }
    }

    /// Whether the stream can be received, by what this info says.
    ///
    /// # Errors
    /// [`Error::Refused`] with what was found, the limit and the remedy.
    pub fn check(&self) -> Result<(), Error> {
        let t = &self.library.table;
        let h = self.handle;
        let texts = unsafe {
            [
                ("name", (t.get_name)(h)),
                ("type", (t.get_type)(h)),
                ("source id", (t.get_source_id)(h)),
                ("host name", (t.get_hostname)(h)),
                ("uid", (t.get_uid)(h)),
                ("session id", (t.get_session_id)(h)),
            ]
        }
        .map(|(what, value)| (what, unsafe { text(value) }));
        let [
            (_, name),
            (_, stream_type),
            (_, source_id),
            (_, host),
            (_, uid),
            _,
        ] = &texts;
        if uid.is_empty() {
            // So liblsl keeps an answer that it could not read; the name says why.
            return Err(Error::Refused(format!(
                "An answer on the LSL network cannot be read and is ignored: {}. Its sender does \
                 not follow LSL's protocol: correct it or take it off the network",
                shortened(name)
            )));
        }
        let refused = |why: String| {
            Error::Refused(format!(
                "The LSL stream '{}' (type '{}', source id '{}', host '{}') {why}. It is ignored; \
                 correct its sender or take it off the network",
                shortened(name),
                shortened(stream_type),
                shortened(source_id),
                shortened(host)
            ))
        };
        for (what, value) in &texts {
            if value.len() > limits::MAX_TEXT {
                return Err(refused(format!(
                    "has a {what} of {} bytes; at most {} can be received",
                    value.len(),
                    limits::MAX_TEXT
                )));
            }
        }
        let (channels_text, rate_text) =
            unsafe { (self.field(c"channel_count"), self.field(c"nominal_srate")) };
        limits::check(&Claim {
            channels: unsafe { (t.get_channel_count)(h) },
            channels_text: &channels_text,
            rate: unsafe { (t.get_nominal_srate)(h) },
            rate_text: &rate_text,
            format: self.format(),
        })
        .map(|_| ())
        .map_err(&refused)?;
        let offset = self.number(c"offset_mean");
        if offset.is_some_and(|o| o.abs() > limits::MAX_OFFSET) {
            return Err(refused(format!(
                "has stamps that are late by {} s by its own word (offset_mean); at most {} s can \
                 be received",
                offset.unwrap_or_default(),
                limits::MAX_OFFSET
            )));
        }
        Ok(())
    }

    /// # Errors
    /// As [`StreamInfo::check`]: there is no description of a stream that cannot be received.
    pub fn describe(&self) -> Result<Description, Error> {
        self.check()?;
        let t = &self.library.table;
        let h = self.handle;
        unsafe {
            let channels = self.channels();
            let (labels, units) = self.channel_texts(channels);
            let desc = (t.get_desc)(h);
            let sync = (t.xml_child)(desc, c"synchronization".as_ptr());
            let can_drop = self.child_value(sync, c"can_drop_samples");
            Ok(Description {
                name: text((t.get_name)(h)),
                stream_type: text((t.get_type)(h)),
                source_id: text((t.get_source_id)(h)),
                hostname: text((t.get_hostname)(h)),
                uid: text((t.get_uid)(h)),
                session_id: text((t.get_session_id)(h)),
                channels,
                rate: Rate::from_hz((t.get_nominal_srate)(h)),
                format: self.format(),
                created_at: (t.get_created_at)(h),
                labels,
                units,
                offset_mean: self.number(c"offset_mean"),
                first_frame_time: self.number(c"first_frame_time"),
                can_drop_samples: can_drop.eq_ignore_ascii_case("true"),
            })
        }
    }

    pub(super) fn format(&self) -> Option<Format> {
        Format::from_code(unsafe { (self.library.table.get_channel_format)(self.handle) })
    }

    /// As the info says, whatever that is.
    pub(super) fn channels(&self) -> usize {
        usize::try_from(unsafe { (self.library.table.get_channel_count)(self.handle) }).unwrap_or(0)
    }

    /// A field of the info as it was written.
    unsafe fn field(&self, key: &CStr) -> String {
        let t = &self.library.table;
        unsafe { self.child_value((t.xml_parent)((t.get_desc)(self.handle)), key) }
    }

    unsafe fn child_value(&self, of: ffi::Xml, key: &CStr) -> String {
        unsafe { text((self.library.table.xml_child_value)(of, key.as_ptr())) }
            .trim()
            .to_string()
    }

    /// A number of the long description, if it is there.
    fn number(&self, key: &CStr) -> Option<f64> {
        let t = &self.library.table;
        let value = unsafe {
            let desc = (t.get_desc)(self.handle);
            let sync = (t.xml_child)(desc, c"synchronization".as_ptr());
            let of = if key == c"offset_mean" { sync } else { desc };
            self.child_value(of, key)
        };
        value.parse().ok().filter(|v: &f64| v.is_finite())
    }

    /// Labels and units of the `<channels>` description, all channels or none.
    fn channel_texts(&self, count: usize) -> (Vec<String>, Vec<String>) {
        let t = &self.library.table;
        let (mut labels, mut units) = (Vec::new(), Vec::new());
        unsafe {
            let channels = (t.xml_child)((t.get_desc)(self.handle), c"channels".as_ptr());
            let mut channel = (t.xml_child)(channels, c"channel".as_ptr());
            while (t.xml_empty)(channel) == 0 && labels.len() < count {
                let value = |key: &CStr| self.child_value(channel, key);
                let label = value(c"label");
                labels.push(if label.is_empty() {
                    value(c"name")
                } else {
                    label
                });
                units.push(value(c"unit"));
                channel = (t.xml_next_sibling)(channel, c"channel".as_ptr());
            }
        }
        for texts in [&mut labels, &mut units] {
            if texts.iter().all(String::is_empty) {
                texts.clear();
            } else {
                texts.resize(count, String::new());
            }
        }
        (labels, units)
    }
}

impl Clone for StreamInfo {
    fn clone(&self) -> Self {
        Self {
            library: self.library,
            handle: unsafe { (self.library.table.copy_streaminfo)(self.handle) },
        }
    }
}

impl Drop for StreamInfo {
    fn drop(&mut self) {
        unsafe { (self.library.table.destroy_streaminfo)(self.handle) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_the_fractions_people_mean() {
        for (hz, num, den) in [
            (0.0, 0, 1),
            (-1.0, 0, 1),
            (f64::NAN, 0, 1),
            (4.0, 4, 1),
            (51.2, 256, 5),
            (51.2 * (1.0 + 1e-15), 256, 5),
            (0.5, 1, 2),
            (1.0 / 3.0, 1, 3),
            (29.97, 2997, 100),
            (f64::from(51.2f32), 256, 5),
            (48_000.0, 48_000, 1),
            (1e12, i32::MAX, 1),
        ] {
            assert_eq!(Rate::from_hz(hz), Rate { num, den }, "{hz}");
        }
        // Not a short decimal: close enough for any sensor, and never 0/x or overflow.
        let odd = Rate::from_hz(std::f64::consts::PI * 100.0);
        assert!((odd.hz() / (std::f64::consts::PI * 100.0) - 1.0).abs() < 2e-7);
        assert_eq!(Rate::from_hz(51.2).whole(), None);
        assert_eq!(Rate::from_hz(128.0).whole(), Some(128));
    }
}
