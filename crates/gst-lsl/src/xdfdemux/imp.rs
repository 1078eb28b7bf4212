// SPDX-License-Identifier: MPL-2.0
/**
 * element-xdfdemux:
 *
 * Plays recordings of the Lab Streaming Layer (LSL) in the Extensible Data Format (XDF),
 * as LabRecorder writes them.
 *
 * Each stream of the recording comes on a pad of its own, `stream_0`, `stream_1`, ... in
 * the order of the file, with the caps, tags and the sticky event `lsl/stream-info` that
 * lslsrc would give it. The property channels keeps some channels of a stream, in an order,
 * and puts them on several pads if they stand in several entries; the pads of one stream follow
 * each other. Stamps are corrected to the recorder's clock. Time zero is the
 * earliest corrected stamp in the recording, so the streams stay aligned with each other;
 * with `film` it is the first frame of a film that was recorded beside: what was taken
 * before that is left out. Samples of a device that says how late it stamps
 * (`offset_mean`) are as much earlier, as with lslsrc.
 * Jitter is taken off the stamps of regular streams as lslsrc does it, see the property
 * dejitter; after a seek it is learned anew. Buffers are split
 * where a sample is more than 50 µs from where the nominal rate puts it, and have the
 * DISCONT flag where more than 1.5 sample periods lie between two samples.
 *
 * Where the recording can be read anywhere (`filesrc`) it is read twice before the first
 * buffer: then the correction of each clock is a robust line through all its offsets,
 * clocks that started anew are told apart, and the duration and seeking by time work.
 * The streams are then read side by side, whatever their order in the file. Timestamps are
 * examined before: single wrong ones are dropped, and those of another clock (in Unix time,
 * in milliseconds, after a step) are placed by where the clock offsets of the stream stand
 * in the file. A warning says so, once for each stream.
 *
 * Otherwise (push mode) each correction is made of the offsets so far; playing begins once
 * each stream has samples and a clock that is known, at the latest once 60 s or 64 MiB of
 * samples wait. What a stream that appears later has from before the earliest timestamp until
 * then is dropped, with a warning. Samples wait until those of the other streams have come, up
 * to the same bounds: a stream that stands further behind in the file is played late, with a
 * warning. Timestamps are examined as in a file, as far as they have been read. A file source
 * directly before xdfdemux needs none of this.
 *
 * GAP events say when a stream has nothing. Put a queue on each pad where the streams meet
 * again.
 *
 * A damaged recording is read on from the next boundary mark; what is lost is told by a
 * warning on the bus.
 *
 * Recordings that are compressed by gzip (`.xdfz`) are read in both modes, and all of the
 * above holds for them. They are never unpacked as a whole: in pull mode copies of the
 * unpacker's state are kept from along the way, and a seek goes on from the nearest one, so
 * that 16 MB of memory do for a recording of any length. Where the compressed data are
 * damaged or cut off, the recording ends, with a warning that says at which byte.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 -m filesrc location=session.xdf ! xdfdemux name=x x.stream_0 ! queue ! fakesink silent=false -v
 * ]| Prints the buffers of the first stream.
 * |[
 * gst-launch-1.0 filesrc location=film.mkv ! matroskademux ! jpegdec ! videoconvert ! facetrack ! fusion. \
 *   filesrc location=session.xdf ! xdfdemux name=x channels="BITalino:EDA;BITalino:PPG" \
 *   x.stream_0 ! queue ! fusion.eda   x.stream_1 ! queue ! fusion.ppg \
 *   mvpfusion name=fusion model=models/default sync=wait ! emotionserialize ! filesink location=again.jsonl
 * ]| Gives two channels of one stream to two pads. `channels=EDA` does for a recording in which
 * one stream has such a channel.
 * |[
 * gst-launch-1.0 filesrc location=film.mkv ! matroskademux ! jpegdec ! videoconvert ! facetrack ! fusion. \
 *   filesrc location=session.xdf ! xdfdemux name=x film=Camera \
 *   x. ! application/x-lsl,stream-type=EDA ! queue ! fusion.eda \
 *   x. ! application/x-lsl,stream-type=ECG ! queue ! fusion.ecg \
 *   mvpfusion name=fusion model=models/default sync=wait ! emotionserialize ! filesink location=again.jsonl
 * ]| Asks the network again about a film and a recording in which `emotionserialize
 * every=frame ! lslsink stream-name=Camera` said when each frame was taken.
 *
 * Since: plugins-mvp-0.1.0
 */
use super::{CAPS, choice::Choices, cursor::Cursor, order::Queue, stream::Stream};
use crate::stream::caps;
use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::UniqueFlowCombiner;
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};
use xdf::{Map, Parser, Unpacker, Unzipped};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "xdfdemux",
        gst::DebugColorFlags::empty(),
        Some("XDF demultiplexer"),
    )
});

/// Bytes read at once.
pub(super) const BLOCK: u32 = 64 << 10;
/// What waits in push mode: bytes of samples; boundary marks (one each 10 s) after which time
/// zero does not wait for clocks.
pub(super) const MOST_HELD: usize = 64 << 20;
pub(super) const MOST_BOUNDARIES: u32 = 2;
/// How far, ns, samples are expected behind later ones while nothing else is known.
pub(super) const LAG: i64 = 2_000_000_000;
/// By how much, ns, a sample may be earlier once jitter is taken off its timestamp.
pub(super) const JITTER: i64 = 250_000_000;
/// Damage is told this often.
pub(super) const TOLD: u32 = 10;

pub(super) struct Session {
    pub(super) parser: Parser,
    pub(super) streams: Vec<Stream>,
    /// Which of the `streams` have channels of a recorded stream, in the order of the file.
    pub(super) parts: Vec<Vec<usize>>,
    /// The recorded stream with this id.
    pub(super) by_id: HashMap<u32, usize>,
    pub(super) choices: Choices,
    pub(super) group: gst::GroupId,
    pub(super) segment: gst::FormattedSegment<gst::ClockTime>,
    pub(super) seqnum: gst::Seqnum,
    /// A segment seek: its end is told by a message, not by EOS.
    pub(super) segment_seek: bool,
    /// The segment is not told to the streams yet.
    pub(super) segment_due: bool,
    /// Where the last seek led, ns: nothing that ends before is sent.
    pub(super) from: i64,
    /// Nothing more is to be played until a seek; and EOS was sent.
    pub(super) done: bool,
    pub(super) ended: bool,
    pub(super) combiner: UniqueFlowCombiner,
    /// Seconds on the recorder's clock that are time zero.
    pub(super) origin: Option<f64>,
    /// The latest time that was read, ns, and how far behind it samples may come.
    pub(super) newest: i64,
    pub(super) lag: i64,
    /// What waits of each recorded stream in push mode, and how many bytes that are.
    pub(super) queues: Vec<Queue>,
    pub(super) held_bytes: usize,
    /// The latest time that was played in push mode, seconds on the recorder's clock, and
    /// between which times clock offsets were measured.
    pub(super) passed: f64,
    pub(super) span: Option<(f64, f64)>,
    pub(super) boundaries: u32,
    pub(super) damages: u32,
    pub(super) pull: bool,
    pub(super) map: Option<Map>,
    /// What unpacks a recording that is compressed: in pull mode, and in push mode.
    pub(super) unzipped: Option<Unzipped>,
    pub(super) zipped: bool,
    pub(super) unpacker: Unpacker,
    /// Where each stream is read, in pull mode.
    pub(super) cursors: Vec<Cursor>,
    pub(super) warned_misplaced: bool,
    /// The stream whose frames say where time zero is.
    pub(super) film: Option<String>,
}

impl Session {
    pub(super) fn new(pull: bool) -> Self {
        Self {
            parser: Parser::default(),
            streams: Vec::new(),
            parts: Vec::new(),
            by_id: HashMap::new(),
            choices: Choices::default(),
            group: gst::GroupId::next(),
            segment: gst::FormattedSegment::new(),
            seqnum: gst::Seqnum::next(),
            segment_seek: false,
            segment_due: false,
            from: 0,
            done: false,
            ended: false,
            combiner: UniqueFlowCombiner::new(),
            origin: None,
            newest: 0,
            lag: LAG,
            queues: Vec::new(),
            held_bytes: 0,
            passed: f64::NEG_INFINITY,
            span: None,
            boundaries: 0,
            damages: 0,
            pull,
            map: None,
            unzipped: None,
            zipped: false,
            unpacker: Unpacker::default(),
            cursors: Vec::new(),
            warned_misplaced: false,
            film: None,
        }
    }

    /// The streams of other recorded streams than that of `index`: other pads of the same one
    /// get the same samples right before or after.
    pub(super) fn others(&self, index: usize) -> Vec<usize> {
        let recorded = self.streams[index].recorded;
        let all = 0..self.streams.len();
        all.filter(|i| self.streams[*i].recorded != recorded)
            .collect()
    }

    /// Nothing of a stream that comes is earlier, ns since the origin.
    pub(super) fn reached(&self, stream: usize) -> i64 {
        let recorded = self.streams[stream].recorded;
        let waiting = self.queues.get(recorded).filter(|_| !self.pull);
        if let Some(queue) = waiting
            && queue.time().is_none()
        {
            return self.newest - if queue.absent { 0 } else { self.lag };
        }
        let time = match waiting {
            Some(queue) => queue.time(),
            None => self.cursors.get(recorded).and_then(Cursor::time),
        };
        let Some(time) = time else {
            return self.newest;
        };
        // Jitter that is taken off may make it earlier.
        let jitter = match self.streams[stream].description().rate.is_regular() {
            true => JITTER,
            false => 0,
        };
        self.newest.min(self.nanos(time) - jitter)
    }

    /// A time on the recorder's clock as ns since the origin.
    pub(super) fn nanos(&self, time: f64) -> i64 {
        ((time - self.origin.unwrap_or(0.0)) * 1e9) as i64
    }
}

/// What queries are answered with.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Info {
    /// ns; known in pull mode.
    pub(super) duration: Option<u64>,
    /// In pull mode: all pads are there.
    pub(super) begun: bool,
    /// The last seek, and whether it was followed.
    pub(super) seek: Option<(gst::Seqnum, bool)>,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) dejitter: bool,
    /// The stream of a film's frames.
    pub(super) film: Option<String>,
    /// The channels that come on pads.
    pub(super) channels: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dejitter: true,
            film: None,
            channels: None,
        }
    }
}

// Locks are never nested, but in `seeking`. The session is taken out of its mutex while in
// use, so that nothing is pushed or posted under another lock.
pub struct XdfDemux {
    pub(super) sinkpad: gst::Pad,
    pub(super) session: Mutex<Option<Box<Session>>>,
    pub(super) info: Mutex<Info>,
    /// One flushing seek after the other: the end of one flush would undo the beginning of
    /// the next. Flush events are pushed, and the stream lock is taken, under it.
    pub(super) seeking: Mutex<()>,
    pub(super) settings: Mutex<Settings>,
    /// The caps that each pad can have.
    pub(super) possible: Mutex<HashMap<String, gst::Caps>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for XdfDemux {
    const NAME: &'static str = "GstXdfDemux";
    type Type = super::XdfDemux;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let builder = match class.pad_template("sink") {
            Some(template) => gst::Pad::builder_from_template(&template),
            None => gst::Pad::builder(gst::PadDirection::Sink),
        };
        let sinkpad = builder
            .activate_function(|pad, _| Self::activate(pad))
            .activatemode_function(|pad, parent, mode, active| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::loggable_error!(CAT, "panic while activating")),
                    |this| this.activate_mode(pad, mode, active),
                )
            })
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.chain(&buffer),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_event(pad, event))
            })
            .build();
        Self {
            sinkpad,
            session: Mutex::default(),
            info: Mutex::default(),
            seeking: Mutex::default(),
            settings: Mutex::default(),
            possible: Mutex::default(),
        }
    }
}

impl ObjectImpl for XdfDemux {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("channels")
                    .nick("Channels")
                    .blurb(
                        "Channels to play, by labels or indices (from 0), each entry on a pad of \
                         its own: 'STREAM:CHANNEL,CHANNEL;STREAM:CHANNEL'. STREAM is a name, type \
                         or source id; without it the entry is for each stream that has the \
                         channels. Streams in no entry, and all if unset, are played whole",
                    )
                    .mutable_ready()
                    .build(),
                glib::ParamSpecBoolean::builder("dejitter")
                    .nick("Dejitter")
                    .blurb("Take the jitter off the stamps of streams of regular rate")
                    .default_value(Settings::default().dejitter)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("film")
                    .nick("Film")
                    .blurb(
                        "Name of the recorded stream of video frames (emotionserialize \
                         every=frame ! lslsink): time zero is that of the film's first frame; \
                         unset: the earliest stamp in the recording",
                    )
                    .mutable_ready()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        match pspec.name() {
            "dejitter" => {
                lock(&self.settings).dejitter = value.get().expect("type checked upstream");
            }
            "film" | "channels" => {
                let text: Option<String> = value.get().expect("type checked upstream");
                let text = text.filter(|t| !t.is_empty());
                let mut settings = lock(&self.settings);
                match pspec.name() {
                    "film" => settings.film = text,
                    _ => settings.channels = text,
                }
            }
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "dejitter" => lock(&self.settings).dejitter.to_value(),
            "film" => lock(&self.settings).film.to_value(),
            "channels" => lock(&self.settings).channels.to_value(),
            _ => unimplemented!(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        if let Err(e) = self.obj().add_pad(&self.sinkpad) {
            gst::error!(CAT, imp = self, "{e}");
        }
    }
}

impl GstObjectImpl for XdfDemux {}

impl ElementImpl for XdfDemux {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "XDF demultiplexer",
                "Codec/Demuxer",
                "Plays recordings of the Lab Streaming Layer (XDF)",
                "The gst-plugin-mvp authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            [
                gst::PadTemplate::new(
                    "sink",
                    gst::PadDirection::Sink,
                    gst::PadPresence::Always,
                    &gst::Caps::new_empty_simple(CAPS),
                ),
                gst::PadTemplate::new(
                    "stream_%u",
                    gst::PadDirection::Src,
                    gst::PadPresence::Sometimes,
                    &caps::template(),
                ),
            ]
            .into_iter()
            .flatten()
            .collect()
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state {transition:?}");
        let success = self.parent_change_state(transition)?;
        if transition == gst::StateChange::PausedToReady {
            *lock(&self.session) = None;
            *lock(&self.info) = Info::default();
            lock(&self.possible).clear();
            for pad in self.obj().src_pads() {
                let _ = self.obj().remove_pad(&pad);
            }
        }
        Ok(success)
    }
}

impl XdfDemux {
    fn activate(pad: &gst::Pad) -> Result<(), gst::LoggableError> {
        let mut query = gst::query::Scheduling::new();
        let pull = pad.peer_query(&mut query)
            && query
                .has_scheduling_mode_with_flags(gst::PadMode::Pull, gst::SchedulingFlags::SEEKABLE);
        let mode = if pull {
            gst::PadMode::Pull
        } else {
            gst::PadMode::Push
        };
        gst::debug!(CAT, obj = pad, "activating in {mode:?} mode");
        pad.activate_mode(mode, true)
            .map_err(|_| gst::loggable_error!(CAT, "cannot be activated in {mode:?} mode"))
    }

    fn activate_mode(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
    ) -> Result<(), gst::LoggableError> {
        if active {
            let pull = mode == gst::PadMode::Pull;
            let mut session = Session::new(pull);
            let settings = lock(&self.settings).clone();
            session.choices = Choices::new(settings.channels.as_deref());
            session.film = settings.film;
            *lock(&self.session) = Some(Box::new(session));
            if pull {
                return self.start_task();
            }
        } else if mode == gst::PadMode::Pull {
            pad.stop_task()
                .map_err(|_| gst::loggable_error!(CAT, "the task cannot be stopped"))?;
        }
        Ok(())
    }

    pub(super) fn start_task(&self) -> Result<(), gst::LoggableError> {
        let weak = self.obj().downgrade();
        self.sinkpad
            .start_task(move || {
                if let Some(element) = weak.upgrade() {
                    element.imp().turn();
                }
            })
            .map_err(|_| gst::loggable_error!(CAT, "the task cannot be started"))
    }

    /// Lends the session to `work`; errors while somebody else has it or there is none.
    pub(super) fn with_session<T>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, gst::FlowError>,
    ) -> Result<T, gst::FlowError> {
        let mut session = lock(&self.session).take().ok_or(gst::FlowError::Flushing)?;
        let result = work(&mut session);
        *lock(&self.session) = Some(session);
        result
    }

    // Push mode.

    fn chain(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = self.sinkpad, "handling {buffer:?}");
        let map = buffer.map_readable().map_err(|_| {
            gst::element_imp_error!(
                self,
                gst::ResourceError::Read,
                ("A part of the recording cannot be read from memory")
            );
            gst::FlowError::Error
        })?;
        self.with_session(|session| {
            self.unpack(session, &map)?;
            Ok(gst::FlowSuccess::Ok)
        })
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
        gst::log!(CAT, obj = pad, "handling event {event:?}");
        match event.view() {
            // The streams have segments, caps and starts of their own.
            EventView::Segment(_) | EventView::Caps(_) | EventView::StreamStart(_) => true,
            EventView::Eos(_) => {
                let _ = self.with_session(|session| {
                    let flow = self.drain(session);
                    if flow != Err(gst::FlowError::Error) {
                        self.end(session);
                    }
                    flow
                });
                true
            }
            EventView::FlushStop(_) => {
                let _ = self.with_session(|session| {
                    session.combiner.reset();
                    for stream in &mut session.streams {
                        stream.writer.clear();
                        stream.writer.mark_lost();
                    }
                    Ok(())
                });
                gst::Pad::event_default(pad, Some(&*self.obj()), event)
            }
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }
}

pub(super) fn possible(stream: &Stream) -> gst::Caps {
    caps::of_recorded(stream.description(), &stream.channels)
}

/// The time of a seek, which may be none; `None` for other formats.
pub(super) fn time_of(value: gst::GenericFormattedValue) -> Option<Option<gst::ClockTime>> {
    match value {
        gst::GenericFormattedValue::Time(time) => Some(time),
        _ => None,
    }
}

pub(super) fn reason(error: gst::FlowError) -> &'static str {
    match error {
        gst::FlowError::NotLinked => {
            "no pad is linked; link one of the pads stream_0, stream_1, ... "
        }
        gst::FlowError::NotNegotiated => "the next element does not take the stream's format",
        _ => "the next element failed, or the file cannot be read",
    }
}
