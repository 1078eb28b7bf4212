// SPDX-License-Identifier: MPL-2.0
use super::{
    Error, Library, ffi,
    library::{c_string, text},
    limits::{self, Claim},
};
use std::ffi::{CStr, c_char};
use stream_info::{Description, Format, Rate, shortened};

/// What a new stream declares, see [`StreamInfo::new`].
#[derive(Debug, Clone)]
pub struct NewStream<'a> {
    /// Name, for people.
    pub name: &'a str,
    /// Content type, such as `EDA`.
    pub stream_type: &'a str,
    /// Identifies the device or program over restarts; may be empty.
    pub source_id: &'a str,
    /// Values in a sample.
    pub channels: usize,
    /// Nominal rate in samples per second, 0 for irregular.
    pub rate: f64,
    /// What a value is.
    pub format: Format,
    /// One per channel, or none.
    pub labels: &'a [&'a str],
    /// One per channel, or none.
    pub units: &'a [&'a str],
    /// Seconds by which timestamps are late, written as `<synchronization><offset_mean>`.
    pub offset_mean: Option<f64>,
    /// `frame-time` of frame 0 of a stream of video frames, seconds, written as
    /// `<first_frame_time>`.
    pub first_frame_time: Option<f64>,
}

/// What a stream declares: liblsl's streaminfo, owned. It may be sent to another thread, not
/// shared between threads.
pub struct StreamInfo {
    library: &'static Library,
    /// Live until `drop`, which is the only place that destroys it.
    handle: ffi::Info,
}

// SAFETY: a streaminfo has no thread of its own and no state of a thread; whoever owns this
// value is the only one who uses the handle.
unsafe impl Send for StreamInfo {}

impl StreamInfo {
    /// Makes the information of a new stream of this process.
    ///
    /// # Errors
    /// [`Error::NulByte`] for a text with a NUL in it, [`Error::Failed`] where liblsl refuses.
    pub fn new(library: &'static Library, new: &NewStream) -> Result<Self, Error> {
        let name = c_string("stream name", new.name)?;
        let stream_type = c_string("stream type", new.stream_type)?;
        let source_id = c_string("source id", new.source_id)?;
        let channels = i32::try_from(new.channels)
            .map_err(|_| Error::Failed("stream creation", "too many channels".into()))?;
        // SAFETY: the three strings are terminated by NUL and outlive the call, which copies
        // them.
        let handle = unsafe {
            (library.table.create_streaminfo)(
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
        // SAFETY: liblsl has just made the handle, and nothing else holds it.
        let info = unsafe { Self::from_handle(library, handle) };
        let desc = info.desc();
        if !new.labels.is_empty() || !new.units.is_empty() {
            let channels = desc.append(c"channels");
            for i in 0..new.channels {
                let channel = channels.append(c"channel");
                for (key, values) in [(c"label", new.labels), (c"unit", new.units)] {
                    if let Some(value) = values.get(i) {
                        channel.append_value(key, &c_string("channel description", value)?);
                    }
                }
            }
        }
        if let Some(offset) = new.offset_mean {
            let sync = desc.append(c"synchronization");
            sync.append_value(c"offset_mean", &c_string("offset", &offset.to_string())?);
        }
        if let Some(time) = new.first_frame_time {
            let value = c_string("first frame's time", &time.to_string())?;
            desc.append_value(c"first_frame_time", &value);
        }
        Ok(info)
    }

    /// # Safety
    /// `handle` must be a live streaminfo of `library` that nothing else uses or destroys.
    pub(super) unsafe fn from_handle(library: &'static Library, handle: ffi::Info) -> Self {
        Self { library, handle }
    }

    pub(super) fn library(&self) -> &'static Library {
        self.library
    }

    /// The streaminfo for a call of liblsl; live as long as this value.
    pub(super) fn handle(&self) -> ffi::Info {
        self.handle
    }

    fn get<T>(&self, getter: ffi::Getter<T>) -> T {
        // SAFETY: the handle is live until `drop`, and this type is not shared between threads.
        unsafe { getter.call(self.handle) }
    }

    fn get_text(&self, getter: ffi::Getter<*const c_char>) -> String {
        // SAFETY: the getter returns a string of the streaminfo, which stays as it is while
        // `self` is borrowed.
        unsafe { text(self.get(getter)) }
    }

    /// The element `<desc>`.
    fn desc(&self) -> Node<'_> {
        Node {
            info: self,
            xml: self.get(self.library.table.get_desc),
        }
    }

    /// Whether the info matches an XPath, by liblsl; `None` where it has no such function.
    pub(super) fn matches(&self, xpath: &CStr) -> Option<bool> {
        let matches = self.library.table.matches_query?;
        // SAFETY: the handle is live until `drop`; the string outlives the call.
        Some(unsafe { matches(self.handle, xpath.as_ptr()) } != 0)
    }

    /// The stream's own XML, with whatever long description this info has.
    pub fn xml(&self) -> String {
        let raw = self.get(self.library.table.get_xml);
        // SAFETY: null, or a string that liblsl made for this call.
        let xml = unsafe { text(raw) };
        if !raw.is_null() {
            // SAFETY: the string is the caller's to destroy, once; it has been copied.
            unsafe { (self.library.table.destroy_string)(raw) };
        }
        xml
    }

    /// Whether the stream can be received, by what this info says.
    ///
    /// # Errors
    /// [`Error::Refused`] with what was found, the limit and the remedy.
    pub fn check(&self) -> Result<(), Error> {
        let t = &self.library.table;
        let texts = [
            ("name", t.get_name),
            ("type", t.get_type),
            ("source id", t.get_source_id),
            ("host name", t.get_hostname),
            ("uid", t.get_uid),
            ("session id", t.get_session_id),
        ]
        .map(|(what, getter)| (what, self.get_text(getter)));
        let [
            (_, name),
            (_, stream_type),
            (_, source_id),
            (_, host),
            (_, uid),
            _,
        ] = &texts;
        if uid.is_empty() {
            // liblsl gives an answer that it could not read as an info without a uid; the name
            // says why.
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
        let info = self.desc().parent();
        let (channels_text, rate_text) =
            (info.value(c"channel_count"), info.value(c"nominal_srate"));
        limits::check(&Claim {
            channels: self.get(t.get_channel_count),
            channels_text: &channels_text,
            rate: self.get(t.get_nominal_srate),
            rate_text: &rate_text,
            format: self.format(),
        })
        .map(|_| ())
        .map_err(&refused)?;
        let offset = self.number(c"offset_mean");
        if offset.is_some_and(|o| o.abs() > limits::MAX_OFFSET) {
            return Err(refused(format!(
                "declares timestamps that are late by {} s (offset_mean); at most {} s can be \
                 received",
                offset.unwrap_or_default(),
                limits::MAX_OFFSET
            )));
        }
        Ok(())
    }

    /// Everything that this info says, as plain data.
    ///
    /// # Errors
    /// As [`StreamInfo::check`]: there is no description of a stream that cannot be received.
    pub fn describe(&self) -> Result<Description, Error> {
        self.check()?;
        let t = &self.library.table;
        let channels = self.channels();
        let (labels, units) = self.channel_texts(channels);
        let can_drop = self
            .desc()
            .child(c"synchronization")
            .value(c"can_drop_samples");
        Ok(Description {
            name: self.get_text(t.get_name),
            stream_type: self.get_text(t.get_type),
            source_id: self.get_text(t.get_source_id),
            hostname: self.get_text(t.get_hostname),
            uid: self.get_text(t.get_uid),
            session_id: self.get_text(t.get_session_id),
            channels,
            rate: Rate::from_hz(self.get(t.get_nominal_srate)),
            format: self.format(),
            created_at: self.get(t.get_created_at),
            labels,
            units,
            offset_mean: self.number(c"offset_mean"),
            first_frame_time: self.number(c"first_frame_time"),
            can_drop_samples: can_drop.eq_ignore_ascii_case("true"),
        })
    }

    pub(super) fn format(&self) -> Option<Format> {
        Format::from_code(self.get(self.library.table.get_channel_format))
    }

    /// The declared number of channels, unchecked; 0 for a negative one.
    pub(super) fn channels(&self) -> usize {
        usize::try_from(self.get(self.library.table.get_channel_count)).unwrap_or(0)
    }

    /// A number of the long description, if it is there.
    fn number(&self, key: &CStr) -> Option<f64> {
        let desc = self.desc();
        let of = if key == c"offset_mean" {
            desc.child(c"synchronization")
        } else {
            desc
        };
        of.value(key).parse().ok().filter(|v: &f64| v.is_finite())
    }

    /// Labels and units of the `<channels>` description, all channels or none.
    fn channel_texts(&self, count: usize) -> (Vec<String>, Vec<String>) {
        let (mut labels, mut units) = (Vec::new(), Vec::new());
        let mut channel = self.desc().child(c"channels").child(c"channel");
        while !channel.is_empty() && labels.len() < count {
            let label = channel.value(c"label");
            labels.push(if label.is_empty() {
                channel.value(c"name")
            } else {
                label
            });
            units.push(channel.value(c"unit"));
            channel = channel.next(c"channel");
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
        // SAFETY: the handle is live until `drop`; the copy is a streaminfo of its own, which
        // only the new value holds.
        unsafe {
            let handle = (self.library.table.copy_streaminfo)(self.handle);
            Self::from_handle(self.library, handle)
        }
    }
}

impl Drop for StreamInfo {
    fn drop(&mut self) {
        // SAFETY: the handle is live and this value's own; nothing can use it afterwards.
        unsafe { (self.library.table.destroy_streaminfo)(self.handle) }
    }
}

/// An element of a streaminfo's XML, or the empty element where there is none. This crate
/// only adds elements: one that was reached stays valid as long as the streaminfo.
#[derive(Clone, Copy)]
struct Node<'a> {
    info: &'a StreamInfo,
    xml: ffi::Xml,
}

impl Node<'_> {
    fn table(&self) -> &ffi::Table {
        &self.info.library.table
    }

    fn with(self, xml: ffi::Xml) -> Self {
        Self { xml, ..self }
    }

    fn parent(self) -> Self {
        // SAFETY: the element is one of a live streaminfo, or empty, which liblsl allows.
        self.with(unsafe { (self.table().xml_parent)(self.xml) })
    }

    fn child(self, name: &CStr) -> Self {
        // SAFETY: as in `parent`; the string outlives the call.
        self.with(unsafe { (self.table().xml_child)(self.xml, name.as_ptr()) })
    }

    /// The next sibling called `name`.
    fn next(self, name: &CStr) -> Self {
        // SAFETY: as in `parent`; the string outlives the call.
        self.with(unsafe { (self.table().xml_next_sibling)(self.xml, name.as_ptr()) })
    }

    fn is_empty(self) -> bool {
        // SAFETY: as in `parent`.
        unsafe { (self.table().xml_empty)(self.xml) != 0 }
    }

    /// Trimmed text of the first child called `name`, else empty.
    fn value(self, name: &CStr) -> String {
        // SAFETY: as in `parent`; the string that comes back belongs to the streaminfo and is
        // copied before anything can change it.
        let value = unsafe { text((self.table().xml_child_value)(self.xml, name.as_ptr())) };
        value.trim().to_string()
    }

    /// Adds a child called `name` and returns it.
    fn append(self, name: &CStr) -> Self {
        // SAFETY: as in `parent`; the name is copied. No other thread can use the streaminfo.
        self.with(unsafe { (self.table().xml_append_child)(self.xml, name.as_ptr()) })
    }

    /// Adds a child called `name` with the text `value`.
    fn append_value(self, name: &CStr, value: &CStr) {
        // SAFETY: as in `append`; both strings are copied.
        unsafe {
            (self.table().xml_append_child_value)(self.xml, name.as_ptr(), value.as_ptr());
        }
    }
}
