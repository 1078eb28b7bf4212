// SPDX-License-Identifier: MPL-2.0
/**
 * element-lslsrc:
 *
 * Receives one stream of the Lab Streaming Layer (LSL): physiology, motion, markers.
 *
 * The stream is looked for on the network by name, type, source id or an XPath
 * predicate; the element waits for it without blocking the pipeline. The PTS of a buffer is the
 * running time at which its first sample was *taken*, even when the device sends it later
 * in a packet. Where samples are missing there are GAP events, and the buffer after them has
 * the DISCONT flag.
 *
 * String streams come as `text/x-raw`, one buffer per sample; several channels are
 * joined by line breaks. Numeric streams come as `application/x-lsl`, or as
 * `audio/x-raw` when the next element wants that and the rate is a whole number. Streams
 * of irregular rate come with one sample per buffer and no duration. Each buffer has the
 * outlet's own timestamp of its first sample as `GstReferenceTimestampMeta` with the caps
 * `timestamp/x-lsl`. The description of the stream is sent as the sticky event
 * `lsl/stream-info`, with the stream's whole XML.
 *
 * While the next element takes nothing, the last 10 s of samples, but at most 64 MiB, wait;
 * older ones are dropped and counted, and a warning says so once each time.
 *
 * Latency: chunk-duration plus the age that the sender's samples have when they arrive.
 * Until a sender was watched for two seconds 250 ms are assumed for the latter. After a
 * loss in a jittery stream, samples are held for up to 1 s until it is clear whether they
 * are late or others are missing.
 *
 * Messages on the bus: Progress (`resolve`, `open`; only while playing), and the element messages
 * `lsl-connected`, `lsl-found-no-data` (open, and nothing came for data-timeout), `lsl-lost`,
 * `lsl-recovered`, `lsl-clock-reset` with the fields `name`, `type`, `source-id`, `hostname`,
 * `uid`.
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
    connection::Connected,
    receiver::{self, Receiver},
    shared::{self, Shared},
    stream::{Counters, RunningTime, Stream},
};
use crate::clock::PipelineClock;
use crate::stream::caps;
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
use timing::{ClockMap, Measurement, Mode};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "lslsrc",
        gst::DebugColorFlags::empty(),
        Some("Lab Streaming Layer source"),
    )
});

pub(super) const DEFAULT_RESOLVE_TIMEOUT: u64 = 0;
pub(super) const DEFAULT_DATA_TIMEOUT: u64 = 5_000_000_000;
pub(super) const DEFAULT_CHUNK_DURATION: u64 = 20_000_000;
pub(super) const DEFAULT_DEJITTER: bool = true;
pub(super) const DEFAULT_DEVICE_DELAY: i64 = -1;
/// Clock offsets of one outlet before and after a restart that differ by more, seconds, are a
/// clock reset.
pub(super) const CLOCK_RESET: f64 = 0.05;

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) query: Query,
    pub(super) channels: Option<String>,
    pub(super) resolve_timeout: u64,
    pub(super) data_timeout: u64,
    pub(super) on_lost: OnLost,
    pub(super) chunk_duration: u64,
    pub(super) timestamp_source: TimestampSource,
    pub(super) dejitter: bool,
    pub(super) device_delay: i64,
    pub(super) lsl_library: Option<String>,
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
pub(super) struct Running {
    pub(super) library: &'static Library,
    pub(super) settings: Arc<Settings>,
    pub(super) shared: Arc<Shared>,
    pub(super) thread: std::thread::JoinHandle<()>,
}

/// What the streaming thread publishes for properties and queries.
pub(super) struct Status {
    pub(super) caps: Option<gst::Caps>,
    pub(super) latency: u64,
    pub(super) counters: Counters,
    /// Samples that nobody took in time, not in the counters; and how often the stream was
    /// lost. Of the run that ended; one that goes on is asked itself.
    pub(super) queue_dropped: u64,
    pub(super) losses: u64,
    pub(super) mode: Mode,
    pub(super) correction: Option<Measurement>,
    pub(super) drift: Option<f64>,
    pub(super) jitter: Option<f64>,
    pub(super) irregular: bool,
    pub(super) interval: Option<f64>,
    pub(super) age: f64,
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
pub(super) struct Session {
    pub(super) stream: Option<Stream>,
    pub(super) connected: Option<Box<Connected>>,
    pub(super) clock: Option<PipelineClock>,
    pub(super) counters: Counters,
    pub(super) base_time: Option<gst::ClockTime>,
    /// Running time up to which everything was sent before a pause.
    pub(super) resumed: i64,
    pub(super) end: Option<End>,
    /// Clock offset of the outlet before it was lost.
    pub(super) last_offset: Option<f64>,
    pub(super) pending_offset_check: bool,
    /// How timestamps were mapped when it was logged last.
    pub(super) mode: Option<Mode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Lost,
    Failed,
}

/// Running time at this moment of the pipeline.
pub(super) struct Now<'a> {
    pub(super) clock: &'a ClockMap,
    pub(super) base_time: i64,
    pub(super) floor: i64,
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
    pub(super) settings: Mutex<Settings>,
    pub(super) running: Mutex<Option<Running>>,
    pub(super) session: Mutex<Option<Session>>,
    pub(super) status: Mutex<Status>,
    /// The pipeline's clock, and whether the streaming thread does not know it yet.
    pub(super) clock: Mutex<Option<gst::Clock>>,
    pub(super) clock_changed: AtomicBool,
    /// Threads that were told to stop; liblsl may take most of a second.
    pub(super) retired: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
                    "Silence in ns after which a stream of regular rate is lost, but not before three \
                     of its periods have passed (0 = never)",
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
                .blurb("From what the time of a sample is computed")
                .mutable_ready()
                .build(),
                glib::ParamSpecBoolean::builder("dejitter")
                    .nick("Dejitter")
                    .blurb("Remove the jitter from the timestamps of streams with a nominal rate")
                    .default_value(DEFAULT_DEJITTER)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecInt64::builder("device-delay")
                    .nick("Device delay")
                    .blurb(
                        "Time in ns from the event to the outlet's timestamp, subtracted (-1 = the \
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
                        "Counts and measurements: samples, buffers, dropped, queue-dropped (of these, \
                         not taken by the next element in time), stray-stamps (of these, \
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
        // The receiver holds a reference for moments and may drop the last one.
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
        gst::debug!(CAT, imp = self, "clock {clock:?}");
        *lock(&self.clock) = clock.cloned();
        self.clock_changed.store(true, Ordering::Release);
        self.parent_set_clock(clock)
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state {transition:?}");
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

        gst::debug!(CAT, imp = self, "starting with {settings:?}");

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
        let counted = running
            .as_ref()
            .map(|r| (r.shared.losses(), r.shared.dropped()));
        if let Some(running) = running {
            running.shared.stop();
            // Not joined here: see `retired`.
            let mut retired = lock(&self.retired);
            retired.retain(|t| !t.is_finished());
            retired.push(running.thread);
        }
        *lock(&self.session) = None;
        let mut status = lock(&self.status);
        status.caps = None;
        if let Some(counted) = counted {
            (status.losses, status.queue_dropped) = counted;
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

    fn event(&self, event: &gst::Event) -> bool {
        gst::log!(CAT, imp = self, "handling event {event:?}");
        self.parent_event(event)
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let known = lock(&self.status).caps.clone();
        let caps = known.unwrap_or_else(|| {
            let mut caps = self.obj().src_pad().pad_template_caps();
            // Whoever links a stream that is not found yet can see what it will be.
            if let Some(stream_type) = lock(&self.settings).query.stream_type.clone() {
                for structure in caps.make_mut().iter_mut() {
                    structure.set("stream-type", &stream_type);
                }
            }
            caps
        });
        let caps = match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        };
        gst::log!(CAT, imp = self, "caps {caps} for filter {filter:?}");
        Some(caps)
    }

    /// The caps of the stream are known once it is found, in `create()`; later calls come when
    /// downstream has changed.
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
            let queue = gst::ClockTime::from_seconds_f64(shared::QUEUE);
            gst::debug!(CAT, imp = self, "latency: live, {min} to {}", min + queue);
            q.set(true, min, min + queue);
            return true;
        }
        let answered = BaseSrcImplExt::parent_query(self, query);
        gst::log!(CAT, imp = self, "answered {answered}: {query:?}");
        answered
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

pub(super) fn latency(settings: &Settings, age: f64) -> u64 {
    settings
        .chunk_duration
        .saturating_add((age.max(0.0) * 1e9) as u64)
}
