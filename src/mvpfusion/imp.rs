// SPDX-License-Identifier: MPL-2.0
/**
 * SECTION:element-mvpfusion
 *
 * Runs the MVP network on the last minute of face units and physiology, and puts the
 * result on every video buffer as `GstEmotionMeta`.
 *
 * Video passes from `sink` to `src` unchanged. Face units come as metadata of the frames
 * (`GstFaceUnitsMeta`, see `facetrack`), physiology comes to the request pads
 * `ecg`, `eda`, `ppg` and `physio_%s`. Once per hop a worker thread computes the result
 * of the window that ended last. In live mode frames never wait for it; otherwise frames
 * wait for the physiology of their window, and results are the same on every run.
 *
 * A seek is sent to every linked sink pad, so that video and physiology stay in sync.
 * With physiology linked it must flush, be in time format and at a rate above 0; it is made
 * accurate.
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
use super::request;
use super::state::State;
use super::worker::{self, Plan, Worker};
use crate::common::{self, ExecutionProvider, Sync};
use crate::graph_watch::{GraphWatch, Timeouts};
use crate::meta::UnitOrder;
use crate::physio;
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
    timeouts: Timeouts,
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
            timeouts: Timeouts::default(),
        }
    }
}

/// Locks as docs/architecture.md says: none is held while pushing, posting or holding one of the
/// [`Inputs`]' tracks.
pub struct MvpFusion {
    pub(super) sinkpad: gst::Pad,
    pub(super) srcpad: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// For streaming threads that wait for each other.
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
            "model {} of {}: window {} s, hop {} ns, physiology {}; provider asked for: {:?}, sync={:?}",
            bundle.title(),
            directory.display(),
            bundle.window().duration,
            hop_chunks * chunk,
            bundle.sensors().collect::<Vec<_>>().join(", "),
            settings.provider,
            settings.sync
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
            let mut physio_pads = std::mem::take(&mut state.physio_pads);
            for physio in physio_pads.values_mut() {
                physio.restart();
                physio.stream = None;
                physio.refused = false;
                physio.has_segment = false;
            }
            *state = State {
                running: true,
                inputs: Some(inputs),
                hop: hop_chunks * chunk,
                settle: settings.settle.nseconds(),
                trace: settings.trace,
                wait_for_model: settings.wait_for_model,
                sync: settings.sync,
                physio_pads,
                units: Some(Arc::new(UnitOrder::new(inputs_units.as_slice()))),
                ..Default::default()
            };
        }
        let shared = self.state().shared.clone();
        let (weak, told) = (self.obj().downgrade(), self.obj().downgrade());
        let changed = move || {
            if let Some(element) = told.upgrade() {
                // A thread that has checked the state and is about to wait holds the lock:
                // taken here, the notification cannot come before the wait.
                drop(element.imp().state());
                element.imp().changed.notify_all();
            }
        };
        let watch = Arc::new(GraphWatch {
            control: plan.options.control.clone(),
            timeouts: settings.timeouts,
            progress: worker::PROGRESS,
            lacking: "results",
        });
        let worker = Worker::spawn(&*self.obj(), "mvpfusion", watch, changed, move |worker| {
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

    /// Waits up to [`common::LOAD_PATIENCE`] for the network; false if loading has failed,
    /// which is posted by then.
    fn await_load(&self) -> bool {
        let worker = self.state().worker.clone();
        worker.is_none_or(|w| w.await_load(common::LOAD_PATIENCE))
    }

    /// Waits until the worker has read the inputs for the answer in hand. Otherwise it would
    /// close the grids of a flushed track up to the end of a window from before the flush.
    pub(super) fn wait_for_worker(&self) {
        let worker = self.state().worker.clone();
        if let Some(worker) = worker {
            worker.rest();
        }
    }

    /// Wakes every thread that waits in the element.
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
        gst::debug!(CAT, imp = self, "stopping: {}", self.stats());
        let worker = self.state().worker.take();
        let dropped = worker.as_ref().map_or(0, |w| w.dropped());
        if let Some(worker) = worker {
            worker.stop();
        }
        let mut state = self.state();
        // The count outlives the worker.
        state.stats.skipped += dropped;
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
        let timeouts = state.worker.as_ref().map_or(0, |w| w.timeouts());
        let mut stats = gst::Structure::builder("mvpfusion-stats")
            .field("frames", state.stats.frames)
            .field("stray-frames", state.stats.stray)
            .field("inferences", inferences)
            .field("dropped", state.stats.skipped + replaced)
            .field("timeouts", timeouts)
            .field("inference-time-mean", mean)
            .field("inference-time-p95", p95)
            .field("live", state.live.unwrap_or(false))
            .field("misaligned", state.alignment.told())
            .build();
        let physio_pads: Vec<(String, u64)> = state
            .physio_pads
            .iter()
            .map(|(n, s)| (n.clone(), s.samples))
            .collect();
        let (inputs, result) = (state.inputs.clone(), state.result.clone());
        let alignment = state.alignment.now();
        drop(state);
        for (modality, by) in alignment {
            stats.set(format!("alignment-{modality}"), by);
        }
        for (name, samples) in physio_pads {
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
                    .field("detached", counts.detached)
                    .field("outliers", counts.outliers)
                    .field("poor", counts.poor)
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
    type Interfaces = (gst::ChildProxy,);

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
            let [load_timeout, run_timeout] = Timeouts::properties();
            vec![
                glib::ParamSpecString::builder("model")
                    .nick("Model")
                    .blurb("Directory of the model bundle (mvp.toml and its files); unset: default in $GSTMVP_MODELS, models/default beside the plugin or where it was installed")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder::<ExecutionProvider>("execution-provider")
                    .nick("Execution provider")
                    .blurb("What runs the network; a named provider that is not available is an error")
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
                    .blurb("Directory for built TensorRT engines; unset: gst-plugin-mvp/engines in the user's cache directory")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("ort-library")
                    .nick("ONNX Runtime library")
                    .blurb("File or directory of libonnxruntime 1.24 or newer; unset: ORT_DYLIB_PATH, beside the plugin, the system's directories. A process uses the first one that was loaded")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("hop")
                    .nick("Hop")
                    .blurb("Time from one window's end to the next one's in nanoseconds, a multiple of the model's chunk (0: the model's)")
                    .maximum(600_000_000_000)
                    .default_value(DEFAULT_HOP.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("settle-time")
                    .nick("Settle time")
                    .blurb("Live: how long after the end of a window its samples may arrive, in nanoseconds. It delays results, not the video")
                    .maximum(60_000_000_000)
                    .default_value(DEFAULT_SETTLE.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("trace-duration")
                    .nick("Trace duration")
                    .blurb("Length of the waveforms that frames carry for emotionoverlay show=traces, in nanoseconds (0: none)")
                    .maximum(60_000_000_000)
                    .default_value(DEFAULT_TRACE.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder::<Sync>("sync")
                    .nick("Synchronisation")
                    .blurb("Whether frames wait for the physiology and the result of their window")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecBoolean::builder("wait-for-model")
                    .nick("Wait for the model")
                    .blurb("Live: hold the first frames until the model is loaded (without live inputs they always are)")
                    .mutable_ready()
                    .build(),
                load_timeout,
                run_timeout,
                glib::ParamSpecString::builder("active-provider")
                    .nick("Active provider")
                    .blurb("The provider that runs the network, as ONNX Runtime reports it: tensorrt, cuda or cpu; unset until it is loaded")
                    .read_only()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("frames, stray-frames (with a timestamp far from those of their neighbours), inferences, dropped hops, timeouts (loads and runs that took too long), inference-time-mean and -p95 (ns), misaligned (how often inputs did not lie at one time), coverage-<modality>, alignment-<modality> (newest sample less the newest frame, ns), and for each pad samples, not-finite (also those that cannot be in the signal's unit), flat, saturated, late, detached, outliers, poor")
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
            "load-timeout" => settings.timeouts.load = time(),
            "run-timeout" => settings.timeouts.run = time(),
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
            "load-timeout" => settings.timeouts.load.nseconds().to_value(),
            "run-timeout" => settings.timeouts.run.nseconds().to_value(),
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
                "Computes valence and arousal from face units and physiology, as metadata on every frame",
                "The gst-plugin-mvp authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            use gst::{PadDirection, PadPresence, PadTemplate};
            let video = gst::Caps::builder("video/x-raw").any_features().build();
            let new = |name: &str, direction, presence, caps: &gst::Caps| {
                PadTemplate::new(name, direction, presence, caps)
                    .expect("a fixed name and direction")
            };
            let mut templates = vec![
                new("sink", PadDirection::Sink, PadPresence::Always, &video),
                new("src", PadDirection::Src, PadPresence::Always, &video),
            ];
            for name in request::FIXED.into_iter().chain(["physio_%s"]) {
                let template = PadTemplate::with_gtype(
                    name,
                    PadDirection::Sink,
                    PadPresence::Request,
                    &physio::template_caps(name),
                    super::MvpFusionPad::static_type(),
                );
                templates.push(template.expect("a fixed name and direction"));
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
        self.new_physio_pad(template, name)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        self.release_physio_pad(pad);
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state: {transition:?}");
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
