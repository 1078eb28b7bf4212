// SPDX-License-Identifier: MPL-2.0
/**
 * element-lslsink:
 *
 * Sends a stream to the Lab Streaming Layer (LSL), where any LSL program on the network
 * finds it, reads it and records it.
 *
 * The timestamps of the samples are the times of the buffers: running time mapped to the LSL
 * clock, the inverse of what `lslsrc` does, not the time at which a buffer arrives here.
 * Therefore `sync` is off: samples are sent when they arrive. To send a file at its own pace,
 * rather than at once with timestamps in the future, switch `sync` on.
 *
 * The samples of one buffer are spread evenly over its duration, or by the rate of the
 * caps if it has none. A buffer without a time follows the one before it, the first one
 * ends now. Buffers with the GAP flag hold no samples and are left out.
 *
 * Text becomes a stream of strings, one sample per buffer; with several channel-labels
 * its lines are the channels. Name, type, labels and units come from the properties,
 * else type, labels and units from the caps, else the name is that of the element. New
 * caps end the stream and start another one with the same name and source id.
 *
 * Results come from emotionserialize: with `every=result` a stream of type `Emotion`,
 * with `every=frame` one of type `VideoFrames`, which ties a film to a recording.
 *
 * Needs liblsl at run time, see the property lsl-library. Starting a stream takes up to
 * some tens of milliseconds, ending it for new caps up to 100 ms; sending does not wait for
 * readers. Behind a `tee` use a `queue`, as before any sink.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! facetrack ! mvpfusion model=models/default ! \
 *   emotionserialize ! lslsink stream-name=Emotion
 * ]| Publishes valence, arousal, confidence and coverage of each result.
 *
 * Since: plugins-mvp-0.1.0
 */
use super::plan::{Plan, Wish, template};
use crate::clock::PipelineClock;
use gst::{ClockTime, glib, prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use gst_common::lock;
use lsl::{Error, Library, Number, Outlet, StreamInfo};
use std::{
    path::PathBuf,
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};
use stream_info::Format;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "lslsink",
        gst::DebugColorFlags::empty(),
        Some("Lab Streaming Layer sink"),
    )
});

/// Samples need this long to reach their inlets; where the outlet ends earlier they are lost.
const LINGER: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Default)]
struct Settings {
    wish: Wish,
    lsl_library: Option<String>,
}

struct Open {
    outlet: Outlet,
    plan: Plan,
    /// When samples were sent last.
    sent: Option<Instant>,
}

impl Open {
    fn close(self) {
        if let Some(sent) = self.sent
            && self.outlet.have_consumers()
        {
            std::thread::sleep(LINGER.saturating_sub(sent.elapsed()));
        }
    }
}

#[derive(Default)]
struct State {
    library: Option<&'static Library>,
    open: Option<Open>,
    clock: Option<PipelineClock>,
    /// LSL time of the next sample, by the last buffer.
    next: Option<f64>,
    samples: u64,
    buffers: u64,
    gaps: u64,
    outlets: u64,
}

// Locks are never nested.
#[derive(Default)]
pub struct LslSink {
    settings: Mutex<Settings>,
    state: Mutex<State>,
}

#[glib::object_subclass]
impl ObjectSubclass for LslSink {
    const NAME: &'static str = "GstLslSink";
    type Type = super::LslSink;
    type ParentType = gst_base::BaseSink;
}

impl ObjectImpl for LslSink {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let text = |name, nick, blurb| {
                glib::ParamSpecString::builder(name)
                    .nick(nick)
                    .blurb(blurb)
                    .mutable_ready()
                    .build()
            };
            vec![
                text(
                    "stream-name",
                    "Stream name",
                    "Name of the stream; if unset the name of the element",
                ),
                text(
                    "stream-type",
                    "Stream type",
                    "Type of the stream, such as EDA; if unset that of the caps",
                ),
                text(
                    "source-id",
                    "Source id",
                    "Unique id by which readers find the stream again; if unset host and name",
                ),
                text(
                    "channel-labels",
                    "Channel labels",
                    "Labels of the channels, comma-separated; if unset those of the caps",
                ),
                text(
                    "units",
                    "Units",
                    "Units of the channels, comma-separated; if unset those of the caps",
                ),
                text(
                    "lsl-library",
                    "LSL library",
                    "Path of liblsl; if unset $LSL_LIBRARY, $PYLSL_LIB, the plugin's own \
                     directory and the system's places are tried",
                ),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb(
                        "Counts of what was sent: samples, buffers, gaps (buffers without \
                         samples), outlets (streams started); have-consumers",
                    )
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let text = value
            .get::<Option<String>>()
            .ok()
            .flatten()
            .filter(|s| !s.trim().is_empty());
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "stream-name" => settings.wish.name = text,
            "stream-type" => settings.wish.stream_type = text,
            "source-id" => settings.wish.source_id = text,
            "channel-labels" => settings.wish.labels = text,
            "units" => settings.wish.units = text,
            "lsl-library" => settings.lsl_library = text,
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
        }
        let settings = lock(&self.settings);
        match pspec.name() {
            "stream-name" => settings.wish.name.to_value(),
            "stream-type" => settings.wish.stream_type.to_value(),
            "source-id" => settings.wish.source_id.to_value(),
            "channel-labels" => settings.wish.labels.to_value(),
            "units" => settings.wish.units.to_value(),
            "lsl-library" => settings.lsl_library.to_value(),
            _ => unimplemented!(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        obj.set_sync(false);
        // Markers and results are rare: the pipeline must not wait for the first one.
        obj.set_async(false);
    }
}

impl GstObjectImpl for LslSink {}

impl ElementImpl for LslSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "LSL sink",
                "Sink/Network",
                "Sends a stream to the Lab Streaming Layer (LSL)",
                "The gst-plugin-mvp authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            gst::PadTemplate::new(
                "sink",
                gst::PadDirection::Sink,
                gst::PadPresence::Always,
                &template(),
            )
            .into_iter()
            .collect()
        });
        &TEMPLATES
    }
}

impl BaseSinkImpl for LslSink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let path = lock(&self.settings).lsl_library.as_ref().map(PathBuf::from);
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
        *lock(&self.state) = State {
            library: Some(library),
            ..State::default()
        };
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        gst::debug!(CAT, imp = self, "stopping: {:?}", self.stats());
        let open = {
            let mut state = lock(&self.state);
            state.clock = None;
            state.open.take()
        };
        if let Some(open) = open {
            open.close();
        }
        Ok(())
    }

    fn event(&self, event: gst::Event) -> bool {
        gst::log!(CAT, imp = self, "handling event {event:?}");
        self.parent_event(event)
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        let answered = BaseSinkImplExt::parent_query(self, query);
        gst::log!(CAT, imp = self, "answered {answered}: {query:?}");
        answered
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        gst::debug!(CAT, imp = self, "caps {caps}");
        self.open(caps).map_err(|e| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{e}"));
            gst::loggable_error!(CAT, "{e}")
        })
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        match self.send(buffer) {
            Ok(()) => Ok(gst::FlowSuccess::Ok),
            Err(e) => {
                gst::element_imp_error!(self, gst::ResourceError::Write, ("{e}"));
                Err(gst::FlowError::Error)
            }
        }
    }
}

impl LslSink {
    /// Starts the stream that the caps describe, unless it is the one that runs.
    fn open(&self, caps: &gst::CapsRef) -> Result<(), String> {
        let wish = lock(&self.settings).wish.clone();
        let plan = Plan::new(caps, &wish, &self.obj().name(), &glib::host_name())?;
        let (library, old) = {
            let mut state = lock(&self.state);
            if state.open.as_ref().is_some_and(|o| o.plan == plan) {
                return Ok(());
            }
            (state.library, state.open.take())
        };
        let library = library.ok_or("the element was not started")?;
        if let Some(old) = old {
            old.close();
        }
        let outlet = plan
            .with(|new| StreamInfo::new(library, new))
            .and_then(|info| Outlet::new(&info))
            .map_err(|e| format!("the LSL stream '{}' cannot be started: {e}", plan.name))?;
        gst::info!(CAT, imp = self, "Started {plan:?}");
        let mut state = lock(&self.state);
        state.outlets += 1;
        state.next = None;
        state.open = Some(Open {
            outlet,
            plan,
            sent: None,
        });
        Ok(())
    }

    /// Sends the samples of a buffer with their times.
    fn send(&self, buffer: &gst::BufferRef) -> Result<(), String> {
        let obj = self.obj();
        let clock = obj.clock();
        let base_time = obj.base_time().map_or(0, ClockTime::nseconds) as i64;
        let segment = obj.segment();
        let running_time = buffer
            .pts()
            .zip(segment.downcast_ref::<ClockTime>())
            .and_then(|(pts, segment)| segment.to_running_time_full(pts))
            .map(signed_nseconds);

        let mut state = lock(&self.state);
        let state = &mut *state;
        gst::log!(
            CAT,
            imp = self,
            "handling {buffer:?}, running time {running_time:?}"
        );
        let (Some(library), Some(open)) = (state.library, &mut state.open) else {
            return Err("samples came before their caps".into());
        };
        // An empty text is a sample.
        let empty = buffer.size() == 0 && open.plan.format != Format::Text;
        if buffer.flags().contains(gst::BufferFlags::GAP) || empty {
            gst::debug!(CAT, imp = self, "no samples in {buffer:?}");
            state.gaps += 1;
            state.next = None;
            return Ok(());
        }
        let map = buffer
            .map_readable()
            .map_err(|_| "the memory of a buffer cannot be read")?;
        let plan = &open.plan;
        let stride = plan.format.size() * plan.channels;
        let samples = if plan.format == Format::Text {
            1
        } else if map.len() % stride != 0 {
            return Err(format!(
                "a buffer of {} bytes does not hold whole samples of {} channel(s) of {}, {stride} \
                 bytes each",
                map.len(),
                plan.channels,
                plan.format
            ));
        } else {
            map.len() / stride
        };

        let interval = match buffer.duration() {
            Some(d) if samples > 1 => d.nseconds() as f64 / 1e9 / samples as f64,
            _ if plan.rate > 0.0 => 1.0 / plan.rate,
            _ => 0.0,
        };
        if PipelineClock::follow(&mut state.clock, clock, || library.local_clock()) {
            let other = state.clock.as_ref().map(PipelineClock::is_other);
            gst::debug!(
                CAT,
                imp = self,
                "the pipeline's clock is {}",
                match other {
                    Some(true) =>
                        "another one than LSL's: timestamps are mapped by readings of both",
                    Some(false) => "LSL's: timestamps are base time plus running time",
                    None => "not there: timestamps follow each other",
                }
            );
        }
        let first = match (running_time, &state.clock) {
            (Some(time), Some(clock)) => clock.map().local(base_time + time),
            _ => state
                .next
                .unwrap_or_else(|| library.local_clock() - (samples - 1) as f64 * interval),
        };
        let stamps: Vec<f64> = (0..samples).map(|i| first + i as f64 * interval).collect();
        state.next = Some(first + samples as f64 * interval);

        gst::trace!(
            CAT,
            imp = self,
            "sending {samples} samples from {first:.6} s, {interval} s apart"
        );
        push(&open.outlet, plan, &map, &stamps).map_err(|e| e.to_string())?;
        open.sent = Some(Instant::now());
        state.samples += samples as u64;
        state.buffers += 1;
        Ok(())
    }

    fn stats(&self) -> gst::Structure {
        let state = lock(&self.state);
        let consumers = state
            .open
            .as_ref()
            .is_some_and(|o| o.outlet.have_consumers());
        gst::Structure::builder("lslsink-stats")
            .field("samples", state.samples)
            .field("buffers", state.buffers)
            .field("gaps", state.gaps)
            .field("outlets", state.outlets)
            .field("have-consumers", consumers)
            .build()
    }
}

fn signed_nseconds(time: gst::Signed<ClockTime>) -> i64 {
    match time {
        gst::Signed::Positive(t) => t.nseconds() as i64,
        gst::Signed::Negative(t) => -(t.nseconds() as i64),
    }
}

fn push(outlet: &Outlet, plan: &Plan, bytes: &[u8], stamps: &[f64]) -> Result<(), Error> {
    fn numbers<T: Number, const N: usize>(
        outlet: &Outlet,
        bytes: &[u8],
        stamps: &[f64],
        from: fn([u8; N]) -> T,
    ) -> Result<(), Error> {
        let (values, _) = bytes.as_chunks::<N>();
        let values: Vec<T> = values.iter().map(|b| from(*b)).collect();
        outlet.push(&values, stamps)
    }
    match plan.format {
        Format::F32 => numbers(outlet, bytes, stamps, f32::from_le_bytes),
        Format::F64 => numbers(outlet, bytes, stamps, f64::from_le_bytes),
        Format::I8 => numbers(outlet, bytes, stamps, i8::from_le_bytes),
        Format::I16 => numbers(outlet, bytes, stamps, i16::from_le_bytes),
        Format::I32 => numbers(outlet, bytes, stamps, i32::from_le_bytes),
        Format::I64 => numbers(outlet, bytes, stamps, i64::from_le_bytes),
        Format::Text => {
            let mut lines: Vec<&[u8]> = bytes.splitn(plan.channels, |b| *b == b'\n').collect();
            lines.resize(plan.channels, b"");
            outlet.push_text(&lines, stamps)
        }
    }
}
