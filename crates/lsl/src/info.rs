// SPDX-License-Identifier: MPL-2.0
use super::{
    Error, Library, ffi,
    library::{c_string, text},
    limits::{self, Claim},
};
use std::ffi::CStr;
use stream_info::{Description, Format, Rate, shortened};

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
