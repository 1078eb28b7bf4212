// SPDX-License-Identifier: MPL-2.0
/**
 * element-xdfdemux:
 *
 * Plays recordings of the Lab Streaming Layer (LSL) in the Extensible Data Format (XDF),
 * as LabRecorder writes them.
 *
 * Each stream of the recording comes on a pad of its own, `stream_0`, `stream_1`, ... in
 * the order of the file, with the caps, tags and the sticky event `lsl/stream-info` that
 * lslsrc would give it. Stamps are corrected to the recorder's clock. Time zero is the
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
 * Otherwise each correction is made of the offsets so far; playing begins once each
 * stream has one, 20 s of recording at the latest. What a stream that appears later has
 * from before the earliest stamp until then is dropped, with a warning.
 *
 * GAP events say when a stream has nothing. Streams stand beside each other in a
 * recording as far as the recorder wrote them so (LabRecorder: up to a second): put a
 * queue on each pad where the streams meet again.
 *
 * A damaged recording is read on from the next boundary mark; what is lost is told by a
 * warning on the bus.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 -m filesrc location=session.xdf ! xdfdemux name=x x.stream_0 ! queue ! fakesink silent=false -v
 * ]| Prints the buffers of the first stream.
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
use super::{
    CAPS,
    film::Film,
    scan::{Failed, Map, plausible},
    stream::{Placed, Ready, Stream},
};
use crate::stream::{caps, events};
use crate::writer::Out;
use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::UniqueFlowCombiner;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};
use xdf::{Event, Header, Parser, Values};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "xdfdemux",
        gst::DebugColorFlags::empty(),
        Some("XDF demultiplexer"),
    )
});

/// Bytes read at once.
const BLOCK: u32 = 64 << 10;
/// Push mode waits for clock offsets at most this long: bytes of samples, boundary marks
/// (one each 10 s).
const MOST_HELD: usize = 64 << 20;
const MOST_BOUNDARIES: u32 = 2;
/// How far, ns, samples are expected behind later ones while nothing else is known.
const LAG: i64 = 2_000_000_000;
/// Damage is told this often.
const TOLD: u32 = 10;

/// Samples that have no time yet.
struct Held {
    stream: usize,
    stamps: Vec<f64>,
    values: Values,
}

struct Session {
    parser: Parser,
    streams: Vec<Stream>,
    by_id: HashMap<u32, usize>,
    group: gst::GroupId,
    segment: gst::FormattedSegment<gst::ClockTime>,
    seqnum: gst::Seqnum,
    /// A segment seek: its end is told by a message, not by EOS.
    segment_seek: bool,
    /// The segment is not told to the streams yet.
    segment_due: bool,
    /// Where the last seek led, ns: nothing that ends before is sent.
    from: i64,
    /// Nothing more is to be played until a seek; and EOS was sent.
    done: bool,
    ended: bool,
    combiner: UniqueFlowCombiner,
    /// Seconds on the recorder's clock that are time zero.
    origin: Option<f64>,
    /// The latest time that was read, ns, and how far behind it samples may come.
    newest: i64,
    lag: i64,
    held: Vec<Held>,
    held_bytes: usize,
    boundaries: u32,
    damages: u32,
    pull: bool,
    map: Option<Map>,
    warned_misplaced: bool,
    /// The stream whose frames say where time zero is.
    film: Option<String>,
}

impl Session {
    fn new(pull: bool) -> Self {
        Self {
            parser: Parser::default(),
            streams: Vec::new(),
            by_id: HashMap::new(),
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
            held: Vec::new(),
            held_bytes: 0,
            boundaries: 0,
            damages: 0,
            pull,
            map: None,
            warned_misplaced: false,
            film: None,
        }
    }

    fn parser(&mut self) -> &mut Parser {
        match &mut self.map {
            Some(map) => &mut map.parser,
            None => &mut self.parser,
        }
    }
}

/// What queries are answered with.
#[derive(Debug, Default, Clone, Copy)]
struct Info {
    /// ns; known in pull mode.
    duration: Option<u64>,
    /// The last seek, and whether it was followed.
    seek: Option<(gst::Seqnum, bool)>,
}

#[derive(Debug, Clone)]
struct Settings {
    dejitter: bool,
    /// The stream of a film's frames.
    film: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dejitter: true,
            film: None,
        }
    }
}

// Locks are never nested, but in `seeking`. The session is taken out of its mutex while in use, so that
// nothing is pushed or posted under another lock.
pub struct XdfDemux {
    sinkpad: gst::Pad,
    session: Mutex<Option<Box<Session>>>,
    info: Mutex<Info>,
    /// One seek after the other, as the stream lock has it with buffers: the end of one
    /// flush would undo the beginning of the next. Nothing else is done under it.
    seeking: Mutex<()>,
    settings: Mutex<Settings>,
    /// The caps that each pad can have.
    possible: Mutex<HashMap<String, gst::Caps>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
            "film" => {
                let film: Option<String> = value.get().expect("type checked upstream");
                lock(&self.settings).film = film.filter(|f| !f.is_empty());
            }
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "dejitter" => lock(&self.settings).dejitter.to_value(),
            "film" => lock(&self.settings).film.to_value(),
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
            session.film = lock(&self.settings).film.clone();
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

    fn start_task(&self) -> Result<(), gst::LoggableError> {
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
    fn with_session<T>(
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
        let map = buffer.map_readable().map_err(|_| {
            gst::element_imp_error!(
                self,
                gst::ResourceError::Read,
                ("A part of the recording cannot be read from memory")
            );
            gst::FlowError::Error
        })?;
        self.with_session(|session| {
            for block in map.chunks(BLOCK as usize) {
                session.parser.feed(block);
                self.process(session)?;
            }
            Ok(gst::FlowSuccess::Ok)
        })
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
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
                    Ok(())
                });
                gst::Pad::event_default(pad, Some(&*self.obj()), event)
            }
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    // Pull mode.

    /// One turn of the task.
    fn turn(&self) {
        let flow = self.with_session(|session| {
            if session.map.is_none() {
                return self.begin(session);
            }
            self.tell_segment(session);
            let parser = session.parser();
            let at = parser.position() + parser.held() as u64;
            match self.read(at)? {
                Some(buffer) => {
                    let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
                    session.parser().feed(&map);
                    self.process(session)?;
                    // Nothing before the end of the segment can come any more.
                    let stop = session.segment.stop().map(|s| s.nseconds() as i64);
                    match stop {
                        Some(stop) if session.newest - session.lag > stop => {
                            self.let_go(session)?;
                            Err(gst::FlowError::Eos)
                        }
                        _ => Ok(()),
                    }
                }
                None => {
                    self.drain(session)?;
                    Err(gst::FlowError::Eos)
                }
            }
        });
        let Err(error) = flow else { return };
        let _ = self.sinkpad.pause_task();
        gst::debug!(CAT, imp = self, "pausing: {error}");
        match error {
            gst::FlowError::Flushing => (),
            gst::FlowError::Eos => {
                let _ = self.with_session(|session| {
                    self.end(session);
                    Ok(())
                });
            }
            error => {
                // What has an own message already posts no second one.
                if error != gst::FlowError::Error {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Failed,
                        ("Playing stopped: {}", reason(error))
                    );
                }
                for pad in self.obj().src_pads() {
                    pad.push_event(gst::event::Eos::new());
                }
                let _ = self.with_session(|session| {
                    (session.done, session.ended) = (true, true);
                    Ok(())
                });
            }
        }
    }

    /// Some bytes from `at` on; `None` at the end.
    fn read(&self, at: u64) -> Result<Option<gst::Buffer>, gst::FlowError> {
        match self.sinkpad.pull_range(at, BLOCK) {
            Ok(buffer) if buffer.size() > 0 => Ok(Some(buffer)),
            Ok(_) | Err(gst::FlowError::Eos) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Looks through the recording and makes the pads.
    fn begin(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        let mut map = match Map::make(session.film.as_deref(), |at| self.read(at)) {
            Ok(map) => map,
            Err(Failed::Read(e)) => return Err(e),
            Err(Failed::NoXdf(e)) => {
                gst::element_imp_error!(self, gst::StreamError::WrongType, ("{e}"));
                return Err(gst::FlowError::Error);
            }
        };
        for (at, what) in std::mem::take(&mut map.damages) {
            self.damage(session, at, &what);
        }
        if let Some(film) = &session.film {
            let names = map.streams.iter().map(|(_, h)| &*h.description.name);
            map.origin = self.begin_of_film(film, &map.films, names)?;
        }
        session.origin = Some(map.origin);
        // A little more than measured: times are rounded.
        session.lag = (map.lag * 1e9).ceil().max(0.0) as i64 + 1000;
        lock(&self.info).duration = Some(map.duration());
        session
            .segment
            .set_duration(gst::ClockTime::from_nseconds(map.duration()));
        let streams = std::mem::take(&mut map.streams);
        for (id, header) in &streams {
            self.add_stream(session, *id, header.clone())?;
        }
        map.streams = streams;
        session.map = Some(map);
        self.start_at(session, 0);
        if !session.streams.is_empty() {
            self.obj().no_more_pads();
        }
        Ok(())
    }

    /// Time zero, seconds on the recorder's clock, if the stream `film` says it.
    fn begin_of_film<'a>(
        &self,
        film: &str,
        begins: &[(u32, f64)],
        streams: impl Iterator<Item = &'a str>,
    ) -> Result<f64, gst::FlowError> {
        if let [(id, begin), others @ ..] = begins
            && !others.is_empty()
        {
            let others: Vec<_> = others
                .iter()
                .map(|(id, other)| format!("stream {id} begins {:+.3} s from it", other - begin))
                .collect();
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                (
                    "film={film}: {} recorded streams of this name have frames. The first in the \
                     file, stream {id}, says time zero; {}. Record each camera, and each start \
                     of one, under a name of its own",
                    begins.len(),
                    others.join(", ")
                )
            );
        }
        begins.first().map(|(_, begin)| *begin).ok_or_else(|| {
            let streams: Vec<_> = streams.collect();
            gst::element_imp_error!(
                self,
                gst::StreamError::Demux,
                (
                    "film={film}: expected a stream of this name with samples of the channel \
                     'frame-time' (emotionserialize every=frame ! lslsink stream-name={film}), \
                     found {}. Name the right one, or unset film: then time zero is the \
                     earliest stamp",
                    match streams.is_empty() {
                        true => "no stream".into(),
                        false => format!("the streams {}", streams.join(", ")),
                    }
                )
            );
            gst::FlowError::Error
        })
    }

    /// Sets the parser, the clocks and the streams to `time`, ns.
    fn start_at(&self, session: &mut Session, time: u64) {
        let Some(map) = &mut session.map else { return };
        let lives = map.seek(time);
        for stream in &mut session.streams {
            stream.corrector = map.correctors.get(&stream.id).cloned();
            if let (Some(c), Some(life)) = (&mut stream.corrector, lives.get(&stream.id)) {
                c.set_current(*life);
            }
            stream.restart(time as i64);
        }
        session.from = time as i64;
        session.newest = 0;
        session.combiner.reset();
    }

    fn seek(&self, seek: &gst::event::Seek) -> bool {
        let (rate, flags, start_type, start, stop_type, stop) = seek.get();
        let (Some(start), Some(stop)) = (time_of(start), time_of(stop)) else {
            gst::debug!(CAT, imp = self, "seeks work by time only");
            return false;
        };
        if rate <= 0.0 || lock(&self.info).duration.is_none() {
            gst::debug!(CAT, imp = self, "seeks need a file and a rate above 0");
            return false;
        }
        if flags.contains(gst::SeekFlags::INSTANT_RATE_CHANGE) {
            gst::debug!(CAT, imp = self, "the rate changes by an ordinary seek only");
            return false;
        }
        // Before the flush: one that cannot be followed leaves all as it was.
        if start_type == gst::SeekType::Set
            && stop_type == gst::SeekType::Set
            && stop.is_some_and(|stop| start.is_some_and(|start| start > stop))
        {
            gst::debug!(CAT, imp = self, "a seek to {start:?} that ends at {stop:?}");
            return false;
        }
        let flush = flags.contains(gst::SeekFlags::FLUSH);
        let seqnum = seek.seqnum();
        let _alone = lock(&self.seeking);
        // A pipeline sends its seek once for each sink.
        if let Some((same, done)) = lock(&self.info).seek
            && same == seqnum
        {
            return done;
        }
        let send = |event: gst::Event| {
            for pad in self.obj().src_pads() {
                pad.push_event(event.clone());
            }
        };
        if flush {
            let event = gst::event::FlushStart::builder().seqnum(seqnum).build();
            self.sinkpad.push_event(event.clone());
            send(event);
        }
        let _ = self.sinkpad.pause_task();
        let _lock = self.sinkpad.stream_lock();
        if flush {
            let event = gst::event::FlushStop::builder(true).seqnum(seqnum).build();
            self.sinkpad.push_event(event.clone());
            send(event);
        }
        let done = self.with_session(|session| {
            // Pads that had EOS take nothing until they are flushed.
            if session.ended && !flush {
                gst::debug!(CAT, imp = self, "after EOS only a seek that flushes works");
                return Ok(false);
            }
            self.note_position(session);
            let valid = session
                .segment
                .do_seek(rate, flags, start_type, start, stop_type, stop)
                .is_some();
            if valid {
                session.seqnum = seqnum;
                (session.done, session.ended) = (false, false);
                session.segment_seek = flags.contains(gst::SeekFlags::SEGMENT);
                let position = session.segment.position().unwrap_or_default();
                self.start_at(session, position.nseconds());
                // Told by the task: who waits in a sink must not keep the seeking thread.
                session.segment_due = true;
                if session.segment_seek {
                    let message = gst::message::SegmentStart::builder(position)
                        .src(&*self.obj())
                        .seqnum(seqnum)
                        .build();
                    let _ = self.obj().post_message(message);
                }
            }
            Ok(valid)
        });
        // What cannot be followed changes nothing, unless all was at its end.
        let goes_on = self.with_session(|session| Ok(!session.done)) == Ok(true);
        let started = goes_on && self.start_task().is_ok();
        let done = done == Ok(true) && started;
        lock(&self.info).seek = Some((seqnum, done));
        done
    }

    /// How far the streams were sent, for the running time after a seek without flush.
    fn note_position(&self, session: &mut Session) {
        let sent = session.streams.iter().map(|s| s.writer.position()).max();
        let mut position = gst::ClockTime::from_nseconds(sent.unwrap_or(0).max(0) as u64);
        if let Some(stop) = session.segment.stop() {
            position = position.min(stop);
        }
        session
            .segment
            .set_position(position.max(session.segment.position().unwrap_or_default()));
    }

    /// Tells the streams of the segment that a seek made.
    fn tell_segment(&self, session: &mut Session) {
        if std::mem::take(&mut session.segment_due) {
            for stream in &session.streams {
                let event = gst::event::Segment::builder(&session.segment)
                    .seqnum(session.seqnum)
                    .build();
                stream.pad.push_event(event);
            }
        }
    }

    // Both.

    /// Takes all that the parser has.
    fn process(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        loop {
            let event = session.parser().next_event().map_err(|e| {
                gst::element_imp_error!(self, gst::StreamError::WrongType, ("{e}"));
                gst::FlowError::Error
            })?;
            match event {
                Some(event) => self.handle(session, event)?,
                None => return Ok(()),
            }
        }
    }

    /// Takes what is left at the end of the recording.
    fn drain(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        session.parser().finish();
        self.process(session)?;
        self.release(session)?;
        self.let_go(session)
    }

    fn handle(&self, session: &mut Session, event: Event) -> Result<(), gst::FlowError> {
        match event {
            Event::Stream(id, header) if !session.by_id.contains_key(&id) => {
                self.add_stream(session, id, *header)?;
            }
            Event::Samples { id, stamps, values } => {
                let Some(&stream) = session.by_id.get(&id) else {
                    return Ok(());
                };
                if session.origin.is_some() {
                    return self.play(session, stream, stamps, values);
                }
                session.held_bytes += 8 * stamps.len()
                    + match &values {
                        Values::Numbers(n) => n.len(),
                        Values::Texts(t) => t.iter().map(|t| t.len() + 24).sum(),
                    };
                session.held.push(Held {
                    stream,
                    stamps,
                    values,
                });
                if session.held_bytes > MOST_HELD {
                    return self.release(session);
                }
            }
            // In pull mode all offsets are known, and the damages told.
            _ if session.pull => (),
            Event::Offset(id, offset) => {
                let Some(&stream) = session.by_id.get(&id) else {
                    return Ok(());
                };
                session.streams[stream].causal.measure(offset);
                let held = &session.held;
                let named = |h: &Held| {
                    let d = session.streams[h.stream].description();
                    Some(&d.name) == session.film.as_ref()
                };
                if !held.is_empty()
                    && (session.film.is_none() || held.iter().any(named))
                    && held
                        .iter()
                        .all(|h| session.streams[h.stream].causal.known())
                {
                    return self.release(session);
                }
            }
            Event::Boundary => {
                session.boundaries += 1;
                if session.boundaries >= MOST_BOUNDARIES && !session.held.is_empty() {
                    return self.release(session);
                }
            }
            Event::Damage { at, what } => self.damage(session, at, &what),
            _ => (),
        }
        Ok(())
    }

    /// Fixes time zero and plays what waited for that.
    fn release(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        if session.origin.is_some() {
            return Ok(());
        }
        let mut held = std::mem::take(&mut session.held);
        let film = session.film.clone();
        let mut origin = f64::INFINITY;
        let mut films = BTreeMap::<usize, Film>::new();
        for h in &mut held {
            let stream = &mut session.streams[h.stream];
            let d = stream.description();
            if film.as_ref() == Some(&d.name)
                && let Some(frames) = Film::of(d)
            {
                films.entry(h.stream).or_insert(frames);
            }
            let mut frames = films.get_mut(&h.stream);
            for (i, stamp) in h.stamps.iter().enumerate() {
                if let Some(time) = plausible(stream.correct(*stamp)) {
                    origin = origin.min(time);
                    if let Some(frames) = &mut frames {
                        frames.take(time, &h.values, i);
                    }
                }
            }
        }
        if let Some(film) = &film {
            let names = session.streams.iter().map(|s| &*s.description().name);
            let begin = |(i, film): (&usize, &Film)| Some((session.streams[*i].id, film.begin()?));
            let begins: Vec<_> = films.iter().filter_map(begin).collect();
            origin = self.begin_of_film(film, &begins, names)?;
        }
        if !origin.is_finite() {
            return Ok(());
        }
        session.origin = Some(origin);
        session.held_bytes = 0;
        self.obj().no_more_pads();
        for h in held {
            self.play(session, h.stream, h.stamps, h.values)?;
        }
        Ok(())
    }

    /// Takes samples, and sends what has a time.
    fn play(
        &self,
        session: &mut Session,
        index: usize,
        stamps: Vec<f64>,
        values: Values,
    ) -> Result<(), gst::FlowError> {
        let ready = session.streams[index].smooth(stamps, values);
        if !ready.stamps.is_empty() {
            self.send(session, index, &ready)?;
        }
        // What waits in the others waits no longer than it would have, live.
        let origin = session.origin.unwrap_or(0.0);
        let now = origin + (session.newest - session.lag) as f64 / 1e9;
        for other in (0..session.streams.len()).filter(|i| *i != index) {
            let stream = &mut session.streams[other];
            if !stream.holds() {
                continue;
            }
            let ready = stream.let_go(Some(now - stream.offset));
            if !ready.stamps.is_empty() {
                self.send(session, other, &ready)?;
            }
        }
        Ok(())
    }

    /// Sends what waits in the streams, at an end.
    fn let_go(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        for index in 0..session.streams.len() {
            let ready = session.streams[index].let_go(None);
            if !ready.stamps.is_empty() {
                self.send(session, index, &ready)?;
            }
        }
        Ok(())
    }

    /// Sends samples that have a time.
    fn send(
        &self,
        session: &mut Session,
        index: usize,
        ready: &Ready,
    ) -> Result<(), gst::FlowError> {
        let origin = session.origin.unwrap_or(0.0);
        let nanos = |t: Option<gst::ClockTime>| t.map(|t| t.nseconds() as i64);
        let from = session.from;
        let until = nanos(session.segment.stop()).unwrap_or(i64::MAX);
        let stream = &mut session.streams[index];
        let times: Vec<Option<i64>> = ready
            .smoothed
            .iter()
            .map(|s| plausible(stream.correct(*s)))
            .map(|t| t.map(|t| ((t - origin) * 1e9).round() as i64))
            .collect();
        let (mut earliest, mut latest) = (i64::MAX, session.newest);
        for time in times.iter().flatten() {
            earliest = earliest.min(*time);
            latest = latest.max(*time);
        }
        if !session.pull && earliest < i64::MAX {
            // Twice what was seen: the next may be later still.
            session.lag = session.lag.max(2 * (session.newest - earliest));
        }
        session.newest = latest;
        let placed = Placed {
            times: &times,
            stamps: &ready.stamps,
            values: &ready.values,
        };
        stream.cut(&placed, from, until);
        // What came before the film is not missed.
        if stream.misplaced > 0 && session.film.is_none() && !session.warned_misplaced {
            session.warned_misplaced = true;
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                (
                    "Samples of {} have stamps from before time zero of the recording, or none \
                     that is a time; they are dropped. A recording that can be read anywhere \
                     (filesrc) has its true beginning as time zero",
                    stream.description()
                )
            );
        }
        self.push(session, index)?;
        // The others have nothing until shortly before now.
        let now = (session.newest - session.lag).min(until);
        for other in (0..session.streams.len()).filter(|i| *i != index) {
            session.streams[other].idle(now);
            self.push(session, other)?;
        }
        Ok(())
    }

    /// Sends what the stream has written.
    fn push(&self, session: &mut Session, index: usize) -> Result<(), gst::FlowError> {
        while let Some(out) = session.streams[index].writer.pop() {
            let stream = &session.streams[index];
            let flow = if stream.pad.check_reconfigure() && !self.agree_on_caps(stream) {
                Err(gst::FlowError::NotNegotiated)
            } else {
                match out {
                    Out::Buffer(buffer) => stream.pad.push(buffer),
                    Out::Gap(start, duration) => {
                        let gap = gst::event::Gap::builder(gst::ClockTime::from_nseconds(start))
                            .duration(gst::ClockTime::from_nseconds(duration))
                            .build();
                        // Whether anybody wants the stream is told by its buffers.
                        stream.pad.push_event(gap);
                        continue;
                    }
                }
            };
            if let Err(gst::FlowError::NotNegotiated) = flow
                && stream.pad.is_linked()
            {
                let peer = stream.pad.peer_query_caps(None);
                let d = stream.description();
                let own = possible(d);
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Format,
                    ("{}", caps::mismatch(d, d.channels, &own, &peer))
                );
                return Err(gst::FlowError::Error);
            }
            session.combiner.update_pad_flow(&stream.pad, flow)?;
        }
        Ok(())
    }

    fn add_stream(
        &self,
        session: &mut Session,
        id: u32,
        header: Header,
    ) -> Result<(), gst::FlowError> {
        let Some(template) = self.obj().pad_template("stream_%u") else {
            return Err(gst::FlowError::Error);
        };
        let name = format!("stream_{}", session.streams.len());
        let pad = gst::Pad::builder_from_template(&template)
            .name(name.as_str())
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(pad, query))
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || false,
                    |this| match event.view() {
                        gst::EventView::Seek(seek) => this.seek(seek),
                        _ => gst::Pad::event_default(pad, Some(&*this.obj()), event),
                    },
                )
            })
            .flags(gst::PadFlags::FIXED_CAPS)
            .build();
        lock(&self.possible).insert(name, possible(&header.description));
        pad.set_active(true).map_err(|_| gst::FlowError::Flushing)?;
        let obj = self.obj();
        let stream_id = pad.create_stream_id(&*obj, Some(&format!("{id:08x}")));
        let start = gst::event::StreamStart::builder(&stream_id)
            .group_id(session.group)
            .seqnum(session.seqnum)
            .flags(match header.description.rate.is_regular() {
                true => gst::StreamFlags::empty(),
                false => gst::StreamFlags::SPARSE,
            })
            .build();
        pad.push_event(start);
        if obj.add_pad(&pad).is_err() {
            return Err(gst::FlowError::Error);
        }
        let dejitter = lock(&self.settings).dejitter;
        let stream = Stream::new(id, header, pad, dejitter);
        // Who does not want it says so at the first buffer.
        self.agree_on_caps(&stream);
        let pad = &stream.pad;
        pad.push_event(
            gst::event::Segment::builder(&session.segment)
                .seqnum(session.seqnum)
                .build(),
        );
        let d = stream.description();
        pad.push_event(gst::event::Tag::new(events::tags(d)));
        let channels: Vec<usize> = (0..d.channels).collect();
        pad.push_event(events::stream_info(d, &channels, &stream.header.xml));
        session.combiner.add_pad(pad);
        session.by_id.insert(id, session.streams.len());
        session.streams.push(stream);
        Ok(())
    }

    /// Chooses among the caps that a stream can have; false when none is wanted.
    fn agree_on_caps(&self, stream: &Stream) -> bool {
        let peer = stream.pad.peer_query_caps(None);
        let own = possible(stream.description());
        let mut common = own.intersect_with_mode(&peer, gst::CapsIntersectMode::First);
        if common.is_empty() {
            gst::warning!(CAT, obj = stream.pad, "{own} is not in {peer}");
            return false;
        }
        common.fixate();
        if stream.pad.current_caps().as_ref() == Some(&common) {
            return true;
        }
        // While nobody is linked the caps are kept for later.
        stream.pad.push_event(gst::event::Caps::new(&common)) || !stream.pad.is_linked()
    }

    fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        use gst::QueryViewMut;
        let info = *lock(&self.info);
        match query.view_mut() {
            QueryViewMut::Duration(q) if q.format() == gst::Format::Time => match info.duration {
                Some(duration) => {
                    q.set(gst::ClockTime::from_nseconds(duration));
                    true
                }
                None => false,
            },
            QueryViewMut::Seeking(q) => {
                if q.format() == gst::Format::Time {
                    let end = info.duration.map(gst::ClockTime::from_nseconds);
                    q.set(info.duration.is_some(), gst::ClockTime::ZERO, end);
                } else {
                    let format = q.format();
                    q.set(
                        false,
                        gst::GenericFormattedValue::none_for_format(format),
                        gst::GenericFormattedValue::none_for_format(format),
                    );
                }
                true
            }
            QueryViewMut::Caps(q) => {
                let caps = lock(&self.possible).get(pad.name().as_str()).cloned();
                let caps = caps.unwrap_or_else(caps::template);
                let result = match q.filter() {
                    Some(filter) => {
                        filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First)
                    }
                    None => caps,
                };
                q.set_result(&result);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    fn damage(&self, session: &mut Session, at: u64, what: &str) {
        session.damages += 1;
        gst::warning!(CAT, imp = self, "damage at byte {at}: {what}");
        if session.damages <= TOLD {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                ("The recording is damaged at byte {at}: {what}. What can be read before and \
                     after is played")
            );
        }
    }

    /// The end of the recording or of the segment.
    fn end(&self, session: &mut Session) {
        if session.streams.is_empty() {
            gst::element_imp_error!(
                self,
                gst::StreamError::Demux,
                ("The recording has no stream that can be read: expected at least one stream \
                     header; was the recorder stopped before it found a stream?")
            );
            return;
        }
        let obj = self.obj();
        let stop = session.segment.stop().or(session.segment.duration());
        // All of the segment was played, also where nothing was recorded.
        session
            .segment
            .set_position(stop.max(session.segment.position()));
        (session.done, session.ended) = (true, !session.segment_seek);
        if session.segment_seek {
            let message = gst::message::SegmentDone::builder(stop)
                .src(&*obj)
                .seqnum(session.seqnum)
                .build();
            let _ = obj.post_message(message);
        }
        for stream in &session.streams {
            let event = match session.segment_seek {
                true => gst::event::SegmentDone::builder(stop)
                    .seqnum(session.seqnum)
                    .build(),
                false => gst::event::Eos::builder().seqnum(session.seqnum).build(),
            };
            stream.pad.push_event(event);
        }
    }
}

fn possible(d: &stream_info::Description) -> gst::Caps {
    caps::of_stream(d, &(0..d.channels).collect::<Vec<_>>())
}

/// The time of a seek, which may be none; `None` for other formats.
fn time_of(value: gst::GenericFormattedValue) -> Option<Option<gst::ClockTime>> {
    match value {
        gst::GenericFormattedValue::Time(time) => Some(time),
        _ => None,
    }
}

fn reason(error: gst::FlowError) -> &'static str {
    match error {
        gst::FlowError::NotLinked => {
            "no pad is linked; link one of the pads stream_0, stream_1, ... "
        }
        gst::FlowError::NotNegotiated => "the next element does not take the stream's format",
        _ => "the next element failed, or the file cannot be read",
    }
}
