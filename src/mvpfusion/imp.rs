// SPDX-License-Identifier: MPL-2.0
/**
 * SECTION:element-mvpfusion
 *
 * Puts what the MVP network makes of the last minute of face and body on every video
 * buffer, as `GstEmotionMeta`.
 *
 * Video passes from `sink` to `src` untouched. Face units ride in on the frames
 * (`GstFaceUnitsMeta`, see `facetrack`), physiology comes in at the request pads
 * `ecg`, `eda`, `ppg` and `physio_%s`. Once per hop a worker thread answers for the
 * window that ended last. In live mode no frame ever waits for it; otherwise frames
 * wait for the physiology of their window, and results are the same on every run.
 *
 * A seek goes to every linked sink pad, so that face and body stay of one time. With
 * physiology linked it must flush, be by time and at rate 1; it is made accurate.
 *
 * ## Example
 * |[
 * gst-launch-1.0 -m v4l2src ! videoconvert ! facetrack ! fusion. \
 *   lslsrc stream-type=EDA ! fusion.eda   lslsrc stream-type=ECG ! fusion.ecg \
 *   mvpfusion name=fusion model=models/default ! emotionoverlay ! videoconvert ! autovideosink
 * ]|
 *
 * Since: plugins-mvp-0.1.0
 */
use super::physio;
use super::state::{Side, State};
use super::worker::{self, Plan, Worker};
use crate::common::{self, ExecutionProvider, Sync};
use crate::meta::UnitOrder;
use gst::ClockTime;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_common::lock;
use mvp::{Bundle, Inputs, MANIFEST};
use onnx::SessionOptions;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "mvpfusion",
        gst::DebugColorFlags::empty(),
        Some("MVP fusion"),
    )
});

const DEFAULT_HOP: ClockTime = ClockTime::ZERO;
const DEFAULT_SETTLE: ClockTime = ClockTime::from_mseconds(500);
const DEFAULT_TRACE: ClockTime = ClockTime::from_seconds(10);
const DEFAULT_DEVICE: i32 = 0;

#[derive(Debug, Clone)]
struct Settings {
    model: Option<PathBuf>,
    provider: ExecutionProvider,
    device_id: i32,
    engine_cache: Option<PathBuf>,
    library: Option<PathBuf>,
    hop: ClockTime,
    settle: ClockTime,
    trace: ClockTime,
    sync: Sync,
    wait_for_model: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            provider: ExecutionProvider::Auto,
            device_id: DEFAULT_DEVICE,
            engine_cache: None,
            library: None,
            hop: DEFAULT_HOP,
            settle: DEFAULT_SETTLE,
            trace: DEFAULT_TRACE,
            sync: Sync::Auto,
            wait_for_model: false,
        }
    }
}

/// Lock order: `settings`, then `state`, then what the worker locks; none is held while
/// pushing, posting or holding one of the [`Inputs`]' tracks.
pub struct MvpFusion {
    pub(super) sinkpad: gst::Pad,
    pub(super) srcpad: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// For streaming threads that wait for each other or for the model.
    pub(super) changed: Condvar,
}

impl MvpFusion {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let not_found =
            |e: &dyn std::fmt::Display| gst::error_msg!(gst::ResourceError::NotFound, ("{e}"));
        let directory = common::find_model_dir(settings.model.as_deref(), "default", MANIFEST)
            .map_err(|e| not_found(&e))?;
        let bundle = Arc::new(Bundle::open(&directory).map_err(|e| not_found(&e))?);
        let chunk = bundle.chunk();
        let wanted = match settings.hop {
            ClockTime::ZERO => (bundle.window().hop * 1e9).round() as u64,
            hop => hop.nseconds(),
        };
        let hop_chunks = wanted.div_ceil(chunk).max(1);
        if hop_chunks * chunk != wanted {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                (
                    "hop={wanted}: the model answers at multiples of {chunk} ns, {} is used",
                    hop_chunks * chunk
                )
            );
        }
        gst::info!(
            CAT,
            imp = self,
            "{} of {}: windows of {} s, a hop of {} ns, physiology {}",
            bundle.title(),
            directory.display(),
            bundle.window().duration,
            hop_chunks * chunk,
            bundle.sensors().collect::<Vec<_>>().join(", ")
        );
        let inputs = Arc::new(Inputs::new(&bundle));
        let inputs_units = bundle.video().units.clone();
        let plan = Plan {
            options: SessionOptions {
                provider: settings.provider.into(),
                device_id: settings.device_id,
                engine_cache: settings.engine_cache.or_else(common::default_engine_cache),
                ..Default::default()
            },
            bundle,
            inputs: inputs.clone(),
            library: settings.library,
            hop_chunks,
        };
        {
            let mut state = self.state();
            let mut sides = std::mem::take(&mut state.sides);
            for side in sides.values_mut() {
                side.restart();
                side.stream = None;
                side.met = false;
            }
            *state = State {
                running: true,
                inputs: Some(inputs),
                hop: hop_chunks * chunk,
                settle: settings.settle.nseconds(),
                trace: settings.trace,
                wait_for_model: settings.wait_for_model,
                sync: settings.sync,
                sides,
                units: Some(Arc::new(UnitOrder::new(inputs_units.as_slice()))),
                ..Default::default()
            };
        }
        let shared = self.state().shared.clone();
        let (weak, told) = (self.obj().downgrade(), self.obj().downgrade());
        let changed = move || {
            if let Some(element) = told.upgrade() {
                // Whoever looked before and is about to wait must not miss it.
                drop(element.imp().state());
                element.imp().changed.notify_all();
            }
        };
        let worker = Worker::spawn(&*self.obj(), "mvpfusion", changed, move |worker| {
            worker::load(worker, weak, shared, plan)
        })
        .map_err(|e| {
            gst::error_msg!(
                gst::ResourceError::Failed,
                ("the worker cannot be started: {e}")
            )
        })?;
        self.state().worker = Some(Arc::new(worker));
        Ok(())
    }

    /// The worker between READY→PAUSED and PAUSED→READY.
    pub(super) fn worker(&self) -> Result<Arc<Worker>, gst::FlowError> {
        self.state().worker.clone().ok_or(gst::FlowError::Flushing)
    }

    /// Waits a little for the network; false if it is known to have failed, and said so.
    fn await_load(&self) -> bool {
        let worker = self.state().worker.clone();
        worker.is_none_or(|w| w.await_load(common::LOAD_PATIENCE))
    }

    /// Waits for the answer that is in the making: it would close the grids of a track
    /// that is flushed meanwhile, up to the end of a window of before.
    pub(super) fn rest(&self) {
        let worker = self.state().worker.clone();
        if let Some(worker) = worker {
            worker.rest();
        }
    }

    /// Lets go of every thread that waits in here.
    fn interrupt(&self) {
        let worker = {
            let mut state = self.state();
            state.running = false;
            state.worker.clone()
        };
        self.changed.notify_all();
        if let Some(worker) = worker {
            worker.interrupt();
        }
    }

    fn stop(&self) {
        self.interrupt();
        let worker = self.state().worker.take();
        if let Some(worker) = worker {
            worker.stop();
        }
        let mut state = self.state();
        state.inputs = None;
        state.result = None;
    }

    fn stats(&self) -> gst::Structure {
        let state = self.state();
        let (inferences, (mean, p95)) = {
            let times = lock(&state.shared.times);
            (times.inferences, times.mean_and_p95())
        };
        let replaced = state.worker.as_ref().map_or(0, |w| w.dropped());
        let mut stats = gst::Structure::builder("mvpfusion-stats")
            .field("frames", state.stats.frames)
            .field("stray-frames", state.stats.stray)
            .field("inferences", inferences)
            .field("dropped", state.stats.skipped + replaced)
            .field("inference-time-mean", mean)
            .field("inference-time-p95", p95)
            .field("live", state.live.unwrap_or(false))
            .build();
        let sides: Vec<(String, u64)> = state
            .sides
            .iter()
            .map(|(n, s)| (n.clone(), s.samples))
            .collect();
        let (inputs, result) = (state.inputs.clone(), state.result.clone());
        drop(state);
        for (name, samples) in sides {
            let counts = inputs
                .as_ref()
                .and_then(|i| i.signal(&name).map(|t| t.counts()))
                .unwrap_or_default();
            stats.set(
                name.as_str(),
                gst::Structure::builder(name.as_str())
                    .field("samples", samples)
                    .field("not-finite", counts.not_finite)
                    .field("flat", counts.flat)
                    .field("saturated", counts.saturated)
                    .field("late", counts.late)
                    .build(),
            );
        }
        for modality in result.iter().flat_map(|r| &r.meta.modalities) {
            stats.set(format!("coverage-{}", modality.name), modality.coverage);
        }
        stats
    }
}

#[glib::object_subclass]
impl ObjectSubclass for MvpFusion {
    const NAME: &'static str = "GstMvpFusion";
    type Type = super::MvpFusion;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| {
            klass
                .pad_template(name)
                .expect("registered in pad_templates")
        };
        let flags = gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION;
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.sink_chain(buffer),
                )
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.sink_event(event))
            })
            .iterate_internal_links_function(|_, parent| {
                Self::catch_panic_pad_function(
                    parent,
                    || gst::Iterator::from_vec(vec![]),
                    |imp| gst::Iterator::from_vec(vec![imp.srcpad.clone()]),
                )
            })
            .flags(flags)
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.src_event(event))
            })
            .iterate_internal_links_function(|_, parent| {
                Self::catch_panic_pad_function(
                    parent,
                    || gst::Iterator::from_vec(vec![]),
                    |imp| gst::Iterator::from_vec(vec![imp.sinkpad.clone()]),
                )
            })
            .flags(flags)
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl ObjectImpl for MvpFusion {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("model")
                    .nick("Model")
                    .blurb("Directory of the model bundle (mvp.toml and its files); unset: models/default here, beside the plugin or where it was installed")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder::<ExecutionProvider>("execution-provider")
                    .nick("Execution provider")
                    .blurb("Where the network runs; an explicit one that is not there is an error")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecInt::builder("device-id")
                    .nick("Device")
                    .blurb("Index of the GPU")
                    .minimum(0)
                    .default_value(DEFAULT_DEVICE)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("engine-cache-dir")
                    .nick("Engine cache directory")
                    .blurb("Where built TensorRT engines are kept; unset: gst-plugin-mvp/engines in the user's cache directory")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("ort-library")
                    .nick("ONNX Runtime library")
                    .blurb("File or directory of libonnxruntime 1.24 or newer; unset: ORT_DYLIB_PATH, beside the plugin, the system's places. The first in a process stays")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("hop")
                    .nick("Hop")
                    .blurb("Time from answer to answer in nanoseconds, a multiple of the model's chunk (0: the model's)")
                    .maximum(600_000_000_000)
                    .default_value(DEFAULT_HOP.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("settle-time")
                    .nick("Settle time")
                    .blurb("Live: how long after a window's end its last samples may still arrive, in nanoseconds. Delays the answer, never the video")
                    .maximum(60_000_000_000)
                    .default_value(DEFAULT_SETTLE.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("trace-duration")
                    .nick("Trace duration")
                    .blurb("How much conditioned physiology rides on the frames for emotionoverlay show=traces, in nanoseconds (0: none)")
                    .maximum(60_000_000_000)
                    .default_value(DEFAULT_TRACE.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder::<Sync>("sync")
                    .nick("Synchronisation")
                    .blurb("Whether frames wait for the physiology and the answer of their window")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecBoolean::builder("wait-for-model")
                    .nick("Wait for the model")
                    .blurb("Live: hold the first frames until the model is loaded (without live inputs they always are)")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("active-provider")
                    .nick("Active provider")
                    .blurb("What ONNX Runtime reports to run the network: tensorrt, cuda or cpu; unset until it is loaded")
                    .read_only()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("frames, stray-frames (with a time that their neighbours do not share), inferences, dropped hops, inference-time-mean and -p95 (ns), coverage-<modality>, and for each pad samples, not-finite, flat, saturated, late")
                    .read_only()
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let path = || {
            let text = value
                .get::<Option<String>>()
                .expect("type checked upstream");
            text.filter(|t| !t.is_empty()).map(PathBuf::from)
        };
        let time = || ClockTime::from_nseconds(value.get().expect("type checked upstream"));
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "model" => settings.model = path(),
            "execution-provider" => settings.provider = value.get().expect("type checked upstream"),
            "device-id" => settings.device_id = value.get().expect("type checked upstream"),
            "engine-cache-dir" => settings.engine_cache = path(),
            "ort-library" => settings.library = path(),
            "hop" => settings.hop = time(),
            "settle-time" => settings.settle = time(),
            "trace-duration" => settings.trace = time(),
            "sync" => settings.sync = value.get().expect("type checked upstream"),
            "wait-for-model" => {
                settings.wait_for_model = value.get().expect("type checked upstream")
            }
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "active-provider" => {
                let provider = *lock(&self.state().shared.provider);
                return provider.to_value();
            }
            "stats" => return self.stats().to_value(),
            _ => {}
        }
        let settings = lock(&self.settings);
        let path = |p: &Option<PathBuf>| {
            p.as_ref()
                .map(|p| p.to_string_lossy().into_owned())
                .to_value()
        };
        match pspec.name() {
            "model" => path(&settings.model),
            "execution-provider" => settings.provider.to_value(),
            "device-id" => settings.device_id.to_value(),
            "engine-cache-dir" => path(&settings.engine_cache),
            "ort-library" => path(&settings.library),
            "hop" => settings.hop.nseconds().to_value(),
            "settle-time" => settings.settle.nseconds().to_value(),
            "trace-duration" => settings.trace.nseconds().to_value(),
            "sync" => settings.sync.to_value(),
            "wait-for-model" => settings.wait_for_model.to_value(),
            _ => unimplemented!(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            if let Err(e) = obj.add_pad(pad) {
                gst::error!(CAT, imp = self, "{e}");
            }
        }
    }
}

impl GstObjectImpl for MvpFusion {}

impl ElementImpl for MvpFusion {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MVP emotion network",
                "Filter/Analyzer/Video",
                "Fuses face units and physiology into valence and arousal, as metadata on every frame",
                "The gst-plugin-mvp authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            use gst::{PadDirection, PadPresence, PadTemplate};
            let video = gst::Caps::builder("video/x-raw").any_features().build();
            let physio = physio::template_caps();
            let new = |name: &str, direction, presence, caps: &gst::Caps| {
                PadTemplate::new(name, direction, presence, caps)
                    .expect("a fixed name and direction")
            };
            let mut templates = vec![
                new("sink", PadDirection::Sink, PadPresence::Always, &video),
                new("src", PadDirection::Src, PadPresence::Always, &video),
            ];
            for name in ["ecg", "eda", "ppg", "physio_%s"] {
                templates.push(new(name, PadDirection::Sink, PadPresence::Request, &physio));
            }
            templates
        });
        TEMPLATES.as_ref()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let pad_name = match (template.name_template(), name) {
            ("physio_%s", Some(name)) if name.len() > "physio_".len() => name.to_string(),
            ("physio_%s", _) => {
                gst::error!(
                    CAT,
                    imp = self,
                    "physio_%s needs the name of a signal: physio_resp"
                );
                return None;
            }
            (fixed, _) => fixed.to_string(),
        };
        let modality = pad_name
            .strip_prefix("physio_")
            .unwrap_or(&pad_name)
            .to_string();
        {
            let mut state = self.state();
            if state.sides.contains_key(&modality) {
                drop(state);
                gst::element_imp_warning!(
                    self,
                    gst::CoreError::Pad,
                    ("the signal {modality} has a pad already; expected one stream for each signal")
                );
                return None;
            }
            state.sides.insert(modality.clone(), Side::default());
            state.live = None;
        }
        let (m1, m2) = (modality.clone(), modality.clone());
        let pad = gst::Pad::builder_from_template(template)
            .name(pad_name)
            .chain_function(move |_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.physio_chain(&m1, buffer),
                )
            })
            .event_function(move |pad, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || false,
                    |imp| imp.physio_event(pad, &m2, &event),
                )
            })
            // Nothing of physiology goes on to the video's source pad.
            .iterate_internal_links_function(|_, _| gst::Iterator::from_vec(vec![]))
            .build();
        let weak = self.obj().downgrade();
        pad.connect_unlinked(move |_, _| {
            // A frame may be waiting for what will now not come.
            if let Some(element) = weak.upgrade() {
                element.imp().changed.notify_all();
            }
        });
        self.with_side(&modality, |side| side.pad = Some(pad.clone()));
        // A pad that joins a running element must be ready for data at once.
        if self.obj().current_state() > gst::State::Ready && pad.set_active(true).is_err() {
            gst::warning!(CAT, imp = self, "pad {modality} could not be activated");
        }
        match self.obj().add_pad(&pad) {
            Ok(()) => Some(pad),
            Err(e) => {
                gst::error!(CAT, imp = self, "{e}");
                self.state().sides.remove(&modality);
                None
            }
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        let name = pad.name();
        let modality = name.strip_prefix("physio_").unwrap_or(&name);
        {
            let mut state = self.state();
            state.sides.remove(modality);
            state.live = None;
        }
        self.changed.notify_all();
        let _ = pad.set_active(false);
        if let Err(e) = self.obj().remove_pad(pad) {
            gst::warning!(CAT, imp = self, "{e}");
        }
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => {
                self.start().map_err(|message| {
                    self.post_error_message(message);
                    gst::StateChangeError
                })?;
                if !self.await_load() {
                    self.stop();
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::PausedToReady => self.interrupt(),
            _ => {}
        }
        let result = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady
            || (transition == gst::StateChange::ReadyToPaused && result.is_err())
        {
            self.stop();
        }
        result
    }
}
