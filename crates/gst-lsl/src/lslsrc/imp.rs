// SPDX-License-Identifier: MPL-2.0
/**
 * element-lslsrc:
 *
 * Receives one stream of the Lab Streaming Layer (LSL): physiology, motion, markers.
 *
 * The stream is looked for on the network by name, type, source id or an XPath
 * predicate; the element waits for it without holding anything up. Buffers carry the
 * time at which their first sample was *taken*, in running time, even when the device
 * sends it later in a packet. A gap stays a gap: GAP events while nothing comes, and a
 * buffer with the DISCONT flag after it.
 *
 * String streams come as `text/x-raw`, one buffer per sample; several channels are
 * joined by line breaks. Numeric streams come as `application/x-lsl`, or as
 * `audio/x-raw` when the next element wants that and the rate is a whole number. Streams
 * of irregular rate come with one sample per buffer and no duration. Each buffer has the
 * sender's own stamp of its first sample as `GstReferenceTimestampMeta` with the caps
 * `timestamp/x-lsl`. What the stream says about itself comes as the sticky event
 * `lsl/stream-info`, with the stream's whole XML.
 *
 * Latency: chunk-duration plus the age that the sender's samples have when they arrive.
 * Until a sender was watched for two seconds 250 ms are assumed for the latter. After a
 * loss in a jittery stream, samples are held for up to 1 s until it is clear whether they
 * are late or others are missing.
 *
 * Messages on the bus: Progress (`resolve`, `open`; only while playing), and the element messages
 * `lsl-connected`, `lsl-lost`, `lsl-recovered`, `lsl-clock-reset` with the fields `name`,
 * `type`, `source-id`, `hostname`, `uid`.
 *
 * Needs liblsl at run time, see the property lsl-library.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 -m lslsrc stream-type=ECG ! fakesink silent=false -v
 * ]| Prints the buffers of the only ECG stream on the network.
 *
 * Since: plugins-mvp-0.1.0
 */
use super::{
    OnLost, TimestampSource,
    receiver::{self, Connected, Item, Next, Reading, Receiver, Shared},
    stream::{Before, Counters, RunningTime, Stream},
};
use crate::clock::PipelineClock;
use crate::stream::{caps, events};
use crate::writer::Out;
use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::{
    prelude::*,
    subclass::{base_src::CreateSuccess, prelude::*},
};
use lsl::{Library, Query};
use std::{
    path::PathBuf,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use stream_info::Format;
use timing::{ClockMap, Measurement, Mode, Notice, Timeline};

pub static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "lslsrc",
        gst::DebugColorFlags::empty(),
        Some("Lab Streaming Layer source"),
    )
});

const DEFAULT_RESOLVE_TIMEOUT: u64 = 0;
const DEFAULT_DATA_TIMEOUT: u64 = 5_000_000_000;
const DEFAULT_CHUNK_DURATION: u64 = 20_000_000;
const DEFAULT_DEJITTER: bool = true;
const DEFAULT_DEVICE_DELAY: i64 = -1;
/// Offsets of one sender before and after a restart that differ by more, seconds, mean
/// that its clock started anew.
const CLOCK_RESET: f64 = 0.05;

#[derive(Debug, Clone)]
struct Settings {
    query: Query,
    channels: Option<String>,
    resolve_timeout: u64,
    data_timeout: u64,
    on_lost: OnLost,
    chunk_duration: u64,
    timestamp_source: TimestampSource,
    dejitter: bool,
    device_delay: i64,
    lsl_library: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            query: Query::default(),
            channels: None,
            resolve_timeout: DEFAULT_RESOLVE_TIMEOUT,
            data_timeout: DEFAULT_DATA_TIMEOUT,
            on_lost: OnLost::default(),
            chunk_duration: DEFAULT_CHUNK_DURATION,
            timestamp_source: TimestampSource::default(),
            dejitter: DEFAULT_DEJITTER,
            device_delay: DEFAULT_DEVICE_DELAY,
            lsl_library: None,
        }
    }
}

/// The receiver of one run from start to stop.
struct Running {
    library: &'static Library,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    thread: std::thread::JoinHandle<()>,
}

/// What the streaming thread tells the others.
struct Status {
    caps: Option<gst::Caps>,
    latency: u64,
    counters: Counters,
    /// Samples that nobody took in time; also in the counters.
    queue_dropped: u64,
    /// Of the run that ended; one that goes on is asked itself.
    losses: u64,
    mode: Mode,
    correction: Option<Measurement>,
    drift: Option<f64>,
    jitter: Option<f64>,
    irregular: bool,
    interval: Option<f64>,
    age: f64,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            caps: None,
            latency: 0,
            counters: Counters::default(),
            queue_dropped: 0,
            losses: 0,
            mode: Mode::Waiting,
            correction: None,
            drift: None,
            jitter: None,
            irregular: false,
            interval: None,
            age: timing::GUESS,
        }
    }
}

/// State of the streaming thread. It is taken out of its mutex while in use, so that
/// nothing is pushed or posted under a lock.
#[derive(Default)]
struct Session {
    stream: Option<Stream>,
    connected: Option<Box<Connected>>,
    clock: Option<PipelineClock>,
    counters: Counters,
    base_time: Option<gst::ClockTime>,
    /// Running time up to which everything was sent before a pause.
    resumed: i64,
    end: Option<End>,
    /// Clock offset of the sender before it was lost.
    last_offset: Option<f64>,
    pending_offset_check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Lost,
    Failed,
}

/// Running time at this moment of the pipeline.
struct Now<'a> {
    clock: &'a ClockMap,
    base_time: i64,
    floor: i64,
}

impl RunningTime for Now<'_> {
    fn at(&self, local: f64) -> i64 {
        self.clock.clock(local).saturating_sub(self.base_time)
    }

    fn floor(&self) -> i64 {
        self.floor
    }
}

// Locks are never nested.
#[derive(Default)]
pub struct LslSrc {
    settings: Mutex<Settings>,
    running: Mutex<Option<Running>>,
    session: Mutex<Option<Session>>,
    status: Mutex<Status>,
    /// The clock that was set last, and whether the streaming thread has yet to follow it.
    clock: Mutex<Option<gst::Clock>>,
    clock_changed: AtomicBool,
    /// Threads told to stop, which may take liblsl some time.
    retired: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for LslSrc {
    const NAME: &'static str = "GstLslSrc";
    type Type = super::LslSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for LslSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let text = |name, nick, blurb| {
                glib::ParamSpecString::builder(name)
                    .nick(nick)
                    .blurb(blurb)
                    .mutable_ready()
                    .build()
            };
            let time = |name, nick, blurb, default| {
                glib::ParamSpecUInt64::builder(name)
                    .nick(nick)
                    .blurb(blurb)
                    .default_value(default)
                    .mutable_ready()
                    .build()
            };
            vec![
                text(
                    "stream-name",
                    "Stream name",
                    "Name that the stream must have",
                ),
                text(
                    "stream-type",
                    "Stream type",
                    "Type that the stream must have, such as ECG or EDA",
                ),
                text(
                    "source-id",
                    "Source id",
                    "Source id that the stream must have",
                ),
                text(
                    "predicate",
                    "Predicate",
                    "LSL XPath that the stream must match, such as starts-with(name,'Polar')",
                ),
                text(
                    "channels",
                    "Channels",
                    "Labels or indices (from 0) of the channels to keep, comma-separated, in \
                     order; all if unset",
                ),
                time(
                    "resolve-timeout",
                    "Resolve timeout",
                    "Time in ns after which a stream that was never found is an error \
                     (0 = wait for ever)",
                    DEFAULT_RESOLVE_TIMEOUT,
                ),
                time(
                    "data-timeout",
                    "Data timeout",
                    "Silence in ns after which a stream of regular rate is lost (0 = never)",
                    DEFAULT_DATA_TIMEOUT,
                ),
                glib::ParamSpecEnum::builder_with_default("on-lost", OnLost::default())
                    .nick("On lost")
                    .blurb("What to do when the stream is lost")
                    .mutable_ready()
                    .build(),
                time(
                    "chunk-duration",
                    "Chunk duration",
                    "Time in ns for which samples are collected in a buffer; 0 sends each as it \
                     comes",
                    DEFAULT_CHUNK_DURATION,
                ),
                glib::ParamSpecEnum::builder_with_default(
                    "timestamp-source",
                    TimestampSource::default(),
                )
                .nick("Timestamp source")
                .blurb("Which time the samples get")
                .mutable_ready()
                .build(),
                glib::ParamSpecBoolean::builder("dejitter")
                    .nick("Dejitter")
                    .blurb("Take the jitter off the stamps of streams of regular rate")
                    .default_value(DEFAULT_DEJITTER)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecInt64::builder("device-delay")
                    .nick("Device delay")
                    .blurb(
                        "Time in ns from the event to the sender's stamp, subtracted (-1 = the \
                         stream's own offset_mean, else 0)",
                    )
                    .minimum(-1)
                    .default_value(DEFAULT_DEVICE_DELAY)
                    .mutable_ready()
                    .build(),
                text(
                    "lsl-library",
                    "LSL library",
                    "Path of liblsl; if unset $LSL_LIBRARY, $PYLSL_LIB, the plugin's own \
                     directory and the system's places are tried",
                ),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb(
                        "Counts and measurements: samples, buffers, dropped, stray-stamps (of these, \
                         with stamps that cannot be right), gaps, losses, resets, connected, irregular, timestamp-mode, correction and \
                         uncertainty (ns), drift (ppm by which the sender's clock is slow), \
                         jitter (ns), effective-rate (Hz), sender-age and latency (ns)",
                    )
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
            value.get().expect("type checked upstream")
        }
        let text = || get::<Option<String>>(value).filter(|s| !s.trim().is_empty());
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "stream-name" => settings.query.name = text(),
            "stream-type" => settings.query.stream_type = text(),
            "source-id" => settings.query.source_id = text(),
            "predicate" => settings.query.predicate = text(),
            "channels" => settings.channels = text(),
            "resolve-timeout" => settings.resolve_timeout = get(value),
            "data-timeout" => settings.data_timeout = get(value),
            "on-lost" => settings.on_lost = get(value),
            "chunk-duration" => settings.chunk_duration = get(value),
            "timestamp-source" => settings.timestamp_source = get(value),
            "dejitter" => settings.dejitter = get(value),
            "device-delay" => settings.device_delay = get(value),
            "lsl-library" => settings.lsl_library = text(),
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
        }
        let settings = lock(&self.settings);
        match pspec.name() {
            "stream-name" => settings.query.name.to_value(),
            "stream-type" => settings.query.stream_type.to_value(),
            "source-id" => settings.query.source_id.to_value(),
            "predicate" => settings.query.predicate.to_value(),
            "channels" => settings.channels.to_value(),
            "resolve-timeout" => settings.resolve_timeout.to_value(),
            "data-timeout" => settings.data_timeout.to_value(),
            "on-lost" => settings.on_lost.to_value(),
            "chunk-duration" => settings.chunk_duration.to_value(),
            "timestamp-source" => settings.timestamp_source.to_value(),
            "dejitter" => settings.dejitter.to_value(),
            "device-delay" => settings.device_delay.to_value(),
            "lsl-library" => settings.lsl_library.to_value(),
            _ => unimplemented!(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        obj.set_live(true);
        obj.set_format(gst::Format::Time);
        obj.set_do_timestamp(false);
    }

    fn dispose(&self) {
        // The receiver itself may hold the last reference for a moment.
        let this = std::thread::current().id();
        for thread in lock(&self.retired).drain(..) {
            if thread.thread().id() != this {
                let _ = thread.join();
            }
        }
    }
}

impl GstObjectImpl for LslSrc {}

impl ElementImpl for LslSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "LSL source",
                "Source/Network",
                "Receives a stream of the Lab Streaming Layer (LSL)",
                "The gst-plugin-mvp authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            gst::PadTemplate::new(
                "src",
                gst::PadDirection::Src,
                gst::PadPresence::Always,
                &caps::template(),
            )
            .into_iter()
            .collect()
        });
        &TEMPLATES
    }

    fn set_clock(&self, clock: Option<&gst::Clock>) -> bool {
        *lock(&self.clock) = clock.cloned();
        self.clock_changed.store(true, Ordering::Release);
        self.parent_set_clock(clock)
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PlayingToPaused {
            self.set_playing(false);
        }
        let success = self.parent_change_state(transition)?;
        if transition == gst::StateChange::PausedToPlaying {
            self.set_playing(true);
        }
        Ok(success)
    }
}

impl BaseSrcImpl for LslSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let path = settings.lsl_library.as_ref().map(PathBuf::from);
        let library = Library::load(path.as_deref())
            .map_err(|e| gst::error_msg!(gst::LibraryError::Init, ("{e}")))?;
        for warning in path
            .and_then(|p| library.conflict(&p))
            .into_iter()
            .chain(library.age_warning())
        {
            gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{warning}"));
        }
        gst::info!(
            CAT,
            imp = self,
            "liblsl from {}: {}",
            library.origin(),
            library.info()
        );

        *lock(&self.session) = Some(Session::default());
        *lock(&self.status) = Status {
            latency: latency(&settings, timing::GUESS),
            ..Status::default()
        };
        let timeout = |ns| (ns > 0).then(|| Duration::from_nanos(ns));
        let shared = Arc::<Shared>::default();
        let thread = Receiver::spawn(
            library,
            receiver::Config {
                query: settings.query.clone(),
                channels: settings.channels.clone().unwrap_or_default(),
                resolve_timeout: timeout(settings.resolve_timeout),
                data_timeout: timeout(settings.data_timeout),
                on_lost: settings.on_lost,
            },
            shared.clone(),
            &self.obj(),
        )
        .map_err(|e| gst::error_msg!(gst::ResourceError::Failed, ("No thread to receive: {e}")))?;
        *lock(&self.running) = Some(Running {
            library,
            settings: Arc::new(settings),
            shared,
            thread,
        });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let running = lock(&self.running).take();
        let losses = running.as_ref().map(|r| r.shared.losses());
        if let Some(running) = running {
            running.shared.stop();
            // Not joined here: liblsl may take most of a second.
            let mut retired = lock(&self.retired);
            retired.retain(|t| !t.is_finished());
            retired.push(running.thread);
        }
        *lock(&self.session) = None;
        let mut status = lock(&self.status);
        status.caps = None;
        if let Some(losses) = losses {
            status.losses = losses;
        }
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(true);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(false);
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let caps = lock(&self.status)
            .caps
            .clone()
            .unwrap_or_else(|| self.obj().src_pad().pad_template_caps());
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    /// The stream's caps are known only once it is found, in `create()`; later calls are
    /// for a downstream that changed.
    fn negotiate(&self) -> Result<(), gst::LoggableError> {
        let session = lock(&self.session).take();
        let result = match session.as_ref().and_then(|s| s.stream.as_ref()) {
            Some(stream) => self.agree_on_caps(&stream.connected),
            None => Ok(()),
        };
        *lock(&self.session) = session;
        result.map_err(|e| gst::loggable_error!(CAT, "{e}"))
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Latency(q) = query.view_mut() {
            let running = lock(&self.running).is_some();
            let min = if running {
                lock(&self.status).latency
            } else {
                latency(&lock(&self.settings), timing::GUESS)
            };
            let min = gst::ClockTime::from_nseconds(min);
            let queue = gst::ClockTime::from_seconds_f64(receiver::QUEUE);
            q.set(true, min, min + queue);
            return true;
        }
        BaseSrcImplExt::parent_query(self, query)
    }
}

impl PushSrcImpl for LslSrc {
    fn create(
        &self,
        _buffer: Option<&mut gst::BufferRef>,
    ) -> Result<CreateSuccess, gst::FlowError> {
        let (library, settings, shared) = match &*lock(&self.running) {
            Some(r) => (r.library, r.settings.clone(), r.shared.clone()),
            None => return Err(gst::FlowError::Flushing),
        };
        let mut session = lock(&self.session).take().unwrap_or_default();
        let result = self.next_buffer(&mut session, library, &settings, &shared);
        self.publish(&session, &shared);
        *lock(&self.session) = Some(session);
        result.map(CreateSuccess::NewBuffer)
    }
}

fn latency(settings: &Settings, age: f64) -> u64 {
    settings
        .chunk_duration
        .saturating_add((age.max(0.0) * 1e9) as u64)
}

impl LslSrc {
    fn set_flushing(&self, flushing: bool) {
        if let Some(running) = &*lock(&self.running) {
            running.shared.set_flushing(flushing);
        }
    }

    fn set_playing(&self, playing: bool) {
        if let Some(running) = &*lock(&self.running) {
            running.shared.set_playing(playing);
        }
    }

    fn next_buffer(
        &self,
        session: &mut Session,
        library: &'static Library,
        settings: &Settings,
        shared: &Shared,
    ) -> Result<gst::Buffer, gst::FlowError> {
        loop {
            // The base class lets a call that is under way go on through a pause.
            if !shared.wait_playing() {
                return Err(gst::FlowError::Flushing);
            }
            // First what is ready, in order.
            while let Some(out) = session.stream.as_mut().and_then(|s| s.writer.pop()) {
                match out {
                    Out::Buffer(buffer) => return Ok(buffer),
                    Out::Gap(start, duration) => {
                        self.ensure_segment();
                        let gap = gst::event::Gap::builder(gst::ClockTime::from_nseconds(start))
                            .duration(gst::ClockTime::from_nseconds(duration))
                            .build();
                        self.obj().src_pad().push_event(gap);
                    }
                }
            }
            if let Some(end) = session.end {
                return Err(self.end(end, settings, session));
            }
            if let Some(connected) = session.connected.take() {
                self.connect(session, *connected, settings)?;
            }

            let now = library.local_clock();
            // Asking for the clock is not free: all elements share it.
            if self.clock_changed.swap(false, Ordering::AcqRel)
                || session.clock.as_ref().is_none_or(PipelineClock::is_other)
            {
                let clock = lock(&self.clock).clone();
                PipelineClock::follow(&mut session.clock, clock, || library.local_clock());
            }
            let mut wait = 0.1;
            let mut reading = Reading::AtOnce;
            let mut latency_changed = false;
            if let Some((stream, time, counters)) = self.parts(session) {
                let latency = latency(settings, stream.age.value());
                latency_changed = stream.tick(now, latency, &time, counters);
                wait = stream.deadline(now);
                reading = stream.reading();
            }
            self.tell(session, settings, shared, latency_changed);
            if session
                .stream
                .as_ref()
                .is_some_and(|s| !s.writer.is_empty())
            {
                continue;
            }

            let item = match shared.next(Duration::from_secs_f64(wait), reading, || {
                library.local_clock()
            }) {
                Next::Flushing => return Err(gst::FlowError::Flushing),
                Next::Timeout => continue,
                Next::Item(item) => item,
            };
            let latency_changed = self.handle(session, item, settings);
            if session.stream.as_ref().is_none_or(|s| s.writer.is_empty()) {
                // Else at the buffer that leaves next.
                self.publish(session, shared);
            }
            self.tell(session, settings, shared, latency_changed);
        }
    }

    /// Takes one item of the receiver; true when the latency changed.
    fn handle(&self, session: &mut Session, item: Item, settings: &Settings) -> bool {
        match item {
            Item::Failed => session.end = Some(End::Failed),
            Item::Connected(connected) => {
                if let Some((stream, time, counters)) = self.parts(session) {
                    stream.finish(&time, counters);
                    if let Some(c) = stream.timeline.correction() {
                        session.last_offset = Some(c.offset);
                    }
                }
                session.connected = Some(connected);
            }
            other => {
                let Some((stream, time, counters)) = self.parts(session) else {
                    return false;
                };
                match other {
                    Item::Chunk {
                        chunk,
                        arrival,
                        waited,
                    } => {
                        return stream.take(chunk, arrival, waited, &time, counters);
                    }
                    Item::Correction(c) => stream.timeline.measure(Measurement {
                        offset: c.offset,
                        uncertainty: c.uncertainty,
                        at: c.remote_time,
                    }),
                    Item::ClockReset => stream.timeline.clock_reset(),
                    _ => {
                        stream.finish(&time, counters);
                        stream.mark_lost();
                        if settings.on_lost != OnLost::Wait {
                            session.end = Some(End::Lost);
                        }
                    }
                }
            }
        }
        false
    }

    /// The stream, the running time and the counters, once there is a stream.
    fn parts<'a>(
        &self,
        session: &'a mut Session,
    ) -> Option<(&'a mut Stream, Now<'a>, &'a mut Counters)> {
        let base_time = self.obj().base_time();
        let start_time = self.obj().start_time().unwrap_or(gst::ClockTime::ZERO);
        let start_time = start_time.nseconds() as i64;
        let stream = session.stream.as_mut()?;
        if session.base_time.is_some() && session.base_time != base_time {
            session.resumed = stream.resumed(start_time, &mut session.counters);
        }
        session.base_time = base_time;
        let clock = session
            .clock
            .as_ref()
            .map_or(&ClockMap::Same, PipelineClock::map);
        let now = Now {
            clock,
            base_time: base_time.unwrap_or(gst::ClockTime::ZERO).nseconds() as i64,
            floor: start_time.max(session.resumed),
        };
        Some((stream, now, &mut session.counters))
    }

    /// Starts on a stream that was found: caps, events, a new line of time.
    fn connect(
        &self,
        session: &mut Session,
        connected: Connected,
        settings: &Settings,
    ) -> Result<(), gst::FlowError> {
        if let Err(e) = self.agree_on_caps(&connected) {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{e}"));
            return Err(gst::FlowError::NotNegotiated);
        }
        self.ensure_segment();
        let pad = self.obj().src_pad().clone();
        let d = &connected.description;
        pad.push_event(gst::event::Tag::new(events::tags(d)));
        pad.push_event(events::stream_info(d, &connected.channels, &connected.xml));

        let delay = match settings.device_delay {
            -1 => d.offset_mean.unwrap_or(0.0),
            ns => ns as f64 / 1e9,
        };
        let timeline = Timeline::new(timing::Config {
            source: match settings.timestamp_source {
                TimestampSource::Auto => timing::Source::Auto,
                TimestampSource::Lsl => timing::Source::Lsl,
                TimestampSource::Mapped => timing::Source::Mapped,
                TimestampSource::Arrival => timing::Source::Arrival,
            },
            // Text has events and no samples, whatever rate it declares.
            rate: (d.rate.is_regular() && d.format != Some(Format::Text)).then(|| d.rate.hz()),
            dejitter: settings.dejitter && !d.can_drop_samples,
            device_delay: delay,
            same_host: d.hostname == glib::host_name().as_str(),
        });
        let before = session
            .stream
            .take()
            .map_or_else(Before::default, Stream::into_before);
        session.pending_offset_check = session.last_offset.is_some();
        let chunk = settings.chunk_duration as f64 / 1e9;
        session.stream = Some(Stream::new(connected, timeline, chunk, before));
        Ok(())
    }

    /// Agrees with downstream on the caps of a stream.
    fn agree_on_caps(&self, connected: &Connected) -> Result<(), String> {
        let d = &connected.description;
        let own = caps::of_stream(d, &connected.channels);
        lock(&self.status).caps = Some(own.clone());
        let pad = self.obj().src_pad().clone();
        let peer = pad.peer_query_caps(None);
        let mut common = own.intersect_with_mode(&peer, gst::CapsIntersectMode::First);
        if common.is_empty() {
            return Err(caps::mismatch(d, connected.channels.len(), &own, &peer));
        }
        common.fixate();
        self.obj()
            .set_caps(&common)
            .map_err(|_| format!("The next element refuses the caps {common}"))
    }

    /// Events that belong behind a segment come before the base class sends its own.
    fn ensure_segment(&self) {
        let obj = self.obj();
        let pad = obj.src_pad();
        if pad.sticky_event::<gst::event::Segment>(0).is_none() {
            pad.push_event(gst::event::Segment::new(&obj.segment()));
        }
    }

    fn end(&self, end: End, settings: &Settings, session: &Session) -> gst::FlowError {
        if end == End::Failed {
            return gst::FlowError::Error;
        }
        if settings.on_lost == OnLost::Eos {
            return gst::FlowError::Eos;
        }
        let stream = session.stream.as_ref().map_or_else(
            || settings.query.to_string(),
            |s| s.connected.description.to_string(),
        );
        gst::element_imp_error!(
            self,
            gst::ResourceError::Read,
            ("The LSL stream {stream} is lost: its sender is gone or sent nothing for \
                 data-timeout. With on-lost=wait the element would wait for it to come back")
        );
        gst::FlowError::Error
    }

    /// Says on the bus what happened; nothing is locked here.
    fn tell(
        &self,
        session: &mut Session,
        settings: &Settings,
        shared: &Shared,
        latency_changed: bool,
    ) {
        let Some(stream) = &mut session.stream else {
            return;
        };
        if latency_changed {
            lock(&self.status).latency = latency(settings, stream.age.value());
            let obj = self.obj();
            let _ = obj.post_message(gst::message::Latency::builder().src(&*obj).build());
        }
        let mut reset = false;
        if session.pending_offset_check
            && let Some(c) = stream.timeline.correction()
            && stream.timeline.mode() != Mode::Waiting
        {
            session.pending_offset_check = false;
            reset = session
                .last_offset
                .is_some_and(|old| (old - c.offset).abs() > CLOCK_RESET);
        }
        let source = stream.timeline.mode();
        let notices = stream.timeline.take_notices();
        reset |= notices.iter().any(|n| matches!(n, Notice::ClockReset));
        session.counters.resets += u64::from(reset);
        if !reset && notices.is_empty() {
            return;
        }
        // Who hears the news finds it in the statistics.
        self.publish(session, shared);
        let Some(stream) = &session.stream else {
            return;
        };
        let d = &stream.connected.description;
        let warn = |text: String| {
            gst::element_imp_warning!(self, gst::CoreError::Clock, ("{text}"));
        };
        for notice in notices {
            match notice {
                Notice::ClockReset => (),
                Notice::StrangeStamps { age } => warn(format!(
                    "The stamps of {d} are {age:.1} s old on the LSL clock, so they are of another \
                     clock; they are placed by arrival (timestamp-source=mapped) instead"
                )),
                Notice::NoCorrection(Mode::SameHost) => warn(format!(
                    "The clock offset of {d} could not be measured; it is on this host, so 0 is \
                     assumed. A firewall may block UDP"
                )),
                Notice::NoCorrection(Mode::Waiting) => warn(format!(
                    "The clock offset of {d} cannot be measured, and timestamp-source=lsl needs it; \
                     samples are dropped until it is. A firewall may block UDP; \
                     timestamp-source=mapped does without"
                )),
                Notice::NoCorrection(_) => warn(format!(
                    "The clock offset of {d} could not be measured; stamps are placed by arrival \
                     (timestamp-source=mapped) instead. A firewall may block UDP"
                )),
                Notice::OtherClock { offset } => warn(format!(
                    "{d} has this host's name, but its clock is off by {offset:.6} s; the offset is \
                     applied from here on ({})",
                    source.name()
                )),
                Notice::NoClock => warn(format!(
                    "The stamps of {d} do not go on as time does, like a counter; its samples are \
                     placed when they arrive (timestamp-source=arrival)"
                )),
                Notice::StrayStamps { off, samples } => warn(format!(
                    "{samples} stamp(s) of {d} cannot be right, the newest is {}; such samples are \
                     dropped (stray-stamps in stats) and told of once a minute. Look at the \
                     sender's clock and at how it stamps",
                    match off {
                        off if off >= 0.0 => format!("{off:.1} s ahead of the clock"),
                        off if off < 0.0 => format!("{:.1} s behind the one before", -off),
                        _ => "not a number".into(),
                    }
                )),
                Notice::Irregular => warn(format!(
                    "{d} declares a rate, but its samples come irregularly, like events; each is \
                     sent on its own, with its own time. The sender should declare rate 0"
                )),
                Notice::OtherRate { measured } => warn(format!(
                    "{d} sends {measured:.3} samples per second, not the rate that it declares; \
                     the time and duration of each buffer are right, the rate in the caps is the \
                     declared one"
                )),
            }
        }
        if reset {
            receiver::post(&self.obj(), "lsl-clock-reset", d);
        }
    }

    fn publish(&self, session: &Session, shared: &Shared) {
        let dropped = shared.take_dropped();
        let mut status = lock(&self.status);
        status.queue_dropped += dropped;
        status.counters = session.counters;
        status.counters.dropped += status.queue_dropped;
        if let Some(stream) = &session.stream {
            status.mode = stream.timeline.mode();
            status.correction = stream.timeline.correction();
            status.drift = stream.timeline.drift();
            status.jitter = stream.timeline.jitter();
            status.irregular = stream.timeline.is_irregular();
            status.interval = stream.timeline.interval();
            status.age = stream.age.value();
        }
    }

    fn stats(&self) -> gst::Structure {
        let link = lock(&self.running)
            .as_ref()
            .map(|r| (r.shared.is_connected(), r.shared.losses()));
        let s = lock(&self.status);
        let (connected, losses) = link.unwrap_or((false, s.losses));
        let mut stats = gst::Structure::builder("lslsrc-stats")
            .field("samples", s.counters.samples)
            .field("buffers", s.counters.buffers)
            .field("dropped", s.counters.dropped)
            .field("stray-stamps", s.counters.strays)
            .field("gaps", s.counters.gaps)
            .field("losses", losses)
            .field("resets", s.counters.resets)
            .field("irregular", s.irregular)
            .field("connected", connected)
            .field("timestamp-mode", s.mode.name())
            .field("sender-age", (s.age * 1e9) as u64)
            .field("latency", s.latency)
            .build();
        if let Some(c) = s.correction {
            stats.set("correction", (c.offset * 1e9).round() as i64);
            if c.uncertainty.is_finite() {
                stats.set("uncertainty", (c.uncertainty.max(0.0) * 1e9) as u64);
            }
        }
        if let Some(drift) = s.drift {
            stats.set("drift", drift * 1e6);
        }
        if let Some(jitter) = s.jitter {
            stats.set("jitter", (jitter * 1e9) as u64);
        }
        if let Some(interval) = s.interval.filter(|i| *i > 0.0) {
            stats.set("effective-rate", 1.0 / interval);
        }
        stats
    }
}
