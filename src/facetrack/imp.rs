// SPDX-License-Identifier: MPL-2.0
/**
 * element-facetrack:
 * @title: facetrack
 * @short_description: finds faces in video and adds their units as metadata
 *
 * Video passes through unchanged. Some frames, `rate` per second, are analysed: BlazeFace
 * finds a face, Face Mesh its 478 landmarks, and from these come 52 blendshape
 * coefficients (`mouthSmileLeft`, `browInnerUp`, ...), each 0–1.
 *
 * Every frame with a face carries a `GstVideoRegionOfInterestMeta` of type `face` with a
 * parameter structure `face` (`track-id`, `confidence`); its `id` is the track id too,
 * because GStreamer 1.22 drops the parameters where it converts video. Analysed frames also carry one
 * `GstFaceUnitsMeta` per face: `time` (running time of the frame that was analysed),
 * `confidence`, `track-id` and one double per coefficient.
 *
 * In a live pipeline frames never wait: a worker thread analyses a copy, and the next frame
 * carries the result. Of frames larger than 1920x1080 RGB the copy holds
 * only every n-th pixel. Otherwise a frame waits for its own analysis, and the results are
 * the same from run to run.
 *
 * Where frames already carry regions of type `face`, these are used instead of the
 * detector, and none are added.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! facetrack ! fakesink silent=false -v
 * ]|
 *
 * Since: plugins-mvp-0.1.0
 */
use super::frame::view;
use super::period::period;
use super::worker::{self, Common, Config, Job, Outcome, Pixels, Stats, Worker};
use crate::common::{self, ExecutionProvider, Sync};
use crate::graph_watch::{GraphWatch, Timeouts};
use crate::meta::{FACE_REGION, FaceUnitsMeta};
use face::{MODEL_FILES, Options, Rect};
use gst::{ClockTime, glib, prelude::*, subclass::prelude::*};
use gst_common::{Phase, lock};
use gst_video::VideoFormat;
use onnx::Control;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "facetrack",
        gst::DebugColorFlags::empty(),
        Some("Face tracking"),
    )
});

const FORMATS: [VideoFormat; 9] = [
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::I420,
    VideoFormat::Nv12,
    VideoFormat::Gray8,
];

const DEFAULT_RATE: (i32, i32) = (5, 1);
const DEFAULT_MIN_CONFIDENCE: f64 = 0.5;
const DEFAULT_MAX_FACES: u32 = 1;
/// Of larger frames (bytes) only every n-th pixel is copied in live mode: this many are
/// copied in well under a millisecond, and 1920x1080 RGB fits.
const MAX_COPY: usize = 6_300_000;
/// While the next analysis is late, frames keep the regions of the last one for so many
/// periods, but at least for [`MIN_HOLD`].
const HOLD_PERIODS: u64 = 3;
const MIN_HOLD: ClockTime = ClockTime::from_seconds(1);
/// Latency that `sync=wait` adds in a live pipeline.
const WAIT_LATENCY: ClockTime = ClockTime::from_mseconds(100);

#[derive(Debug, Clone)]
struct Settings {
    model: Option<PathBuf>,
    rate: gst::Fraction,
    min_confidence: f64,
    max_faces: u32,
    execution_provider: ExecutionProvider,
    ort_library: Option<PathBuf>,
    sync: Sync,
    timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            rate: gst::Fraction::new(DEFAULT_RATE.0, DEFAULT_RATE.1),
            min_confidence: DEFAULT_MIN_CONFIDENCE,
            max_faces: DEFAULT_MAX_FACES,
            execution_provider: ExecutionProvider::default(),
            ort_library: None,
            sync: Sync::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Settings {
    fn options(&self) -> Options {
        Options {
            min_confidence: self.min_confidence as f32,
            max_faces: self.max_faces as usize,
        }
    }
}

/// A face that frames are marked with until the next analysis.
#[derive(Debug, Clone)]
struct Held {
    track_id: u64,
    confidence: f64,
    rect: Rect,
}

/// State of the stream, used by the streaming thread and by changes of state.
#[derive(Default)]
struct State {
    info: Option<gst_video::VideoInfo>,
    segment: gst::FormattedSegment<ClockTime>,
    /// Whether frames wait; decided at the first frame.
    wait: Option<bool>,
    /// The last period of which a frame was analysed.
    period: Option<u64>,
    held: Vec<Held>,
    held_since: ClockTime,
    warned_memory: bool,
    warned_time: bool,
}

impl State {
    /// The next frame does not continue the last one: a flush, other caps.
    fn restart(&mut self) {
        self.period = None;
        self.held.clear();
    }
}

// Locks: never two at once.
pub struct FaceTrack {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    worker: Mutex<Option<Running>>,
}

/// From READY→PAUSED to PAUSED→READY.
#[derive(Clone)]
struct Running {
    worker: Arc<Worker>,
    common: Arc<Common>,
}

impl FaceTrack {
    fn running(&self) -> Option<Running> {
        lock(&self.worker).clone()
    }

    fn worker(&self) -> Option<Arc<Worker>> {
        self.running().map(|r| r.worker)
    }

    fn restart(&self) {
        lock(&self.state).restart();
        if let Some(worker) = self.worker() {
            worker.restart();
        }
    }

    fn sink_chain(
        &self,
        pad: &gst::Pad,
        mut buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = pad, "{buffer:?}");
        let Some(Running { worker, common }) = self.running() else {
            return Err(gst::FlowError::Flushing);
        };
        let (rate, sync, options) = {
            let settings = lock(&self.settings);
            (settings.rate, settings.sync, settings.options())
        };
        let known = lock(&self.state).wait;
        let wait = match (sync, known) {
            (Sync::Auto, Some(wait)) => wait,
            (Sync::Live, Some(false)) => false,
            (Sync::Wait, Some(true)) => true,
            _ => self.decide_wait(sync),
        };
        let (info, time, due) = {
            let state = lock(&self.state);
            let info = state.info.clone().ok_or(gst::FlowError::NotNegotiated)?;
            let time = buffer
                .pts()
                .and_then(|pts| state.segment.to_running_time(pts));
            let due = time.is_some_and(|t| state.period != Some(period(t, rate)));
            (info, time, due)
        };
        if time.is_none() {
            self.warn_once(
                |state| &mut state.warned_time,
                "Frames without a time are passed on without an analysis",
            );
        }

        let outcomes = match (wait, due.then_some(time).flatten()) {
            (true, Some(time)) => self.analyze_now(&worker, &buffer, &info, time, options)?,
            (true, None) => Vec::new(),
            (false, due) => {
                let phase = worker.phase();
                if phase == Phase::Failed {
                    return Err(gst::FlowError::Error);
                }
                let outcomes = worker.take_answers();
                if let (Some(time), Phase::Ready) = (due, phase)
                    && let Some(pixels) = self.copy(&common, &buffer, &info)
                {
                    gst::log!(CAT, obj = pad, "the frame of {time} is given to the worker");
                    worker.submit(Job {
                        time,
                        pixels,
                        regions: regions(&buffer),
                        options,
                    });
                }
                outcomes
            }
        };
        if let (Some(time), true) = (time, due && worker.phase() == Phase::Ready) {
            lock(&self.state).period = Some(period(time, rate));
        }

        for outcome in &outcomes {
            gst::log!(
                CAT,
                imp = self,
                "frame of {}: {} face(s) {:?}",
                outcome.time,
                outcome.faces.len(),
                outcome
                    .faces
                    .iter()
                    .map(|f| (f.track_id, f.confidence))
                    .collect::<Vec<_>>()
            );
        }
        let held = self.hold(&outcomes, time, rate);
        if !(held.is_empty() && outcomes.is_empty()) {
            self.mark(buffer.make_mut(), &info, &outcomes, &held);
        }
        self.srcpad.push(buffer)
    }

    /// Whether frames wait for their analysis: as `sync` says, or as the source is.
    fn decide_wait(&self, sync: Sync) -> bool {
        let (wait, why) = match sync {
            Sync::Live => (false, "the property says so"),
            Sync::Wait => (true, "the property says so"),
            Sync::Auto => match gst_common::upstream_is_live(&self.sinkpad) {
                Some(true) => (false, "the source is live"),
                Some(false) => (true, "the source is not live"),
                None => (true, "the source does not say whether it is live"),
            },
        };
        gst::info!(
            CAT,
            imp = self,
            "sync={sync:?}: frames {} for their analysis, because {why}",
            if wait { "wait" } else { "do not wait" }
        );
        lock(&self.state).wait = Some(wait);
        wait
    }

    /// Gives the frame itself to the worker and waits for the outcome.
    fn analyze_now(
        &self,
        worker: &Worker,
        buffer: &gst::Buffer,
        info: &gst_video::VideoInfo,
        time: ClockTime,
        options: Options,
    ) -> Result<Vec<Outcome>, gst::FlowError> {
        let regions = regions(buffer);
        match gst_video::VideoFrame::from_buffer_readable(buffer.clone(), info) {
            Ok(frame) => {
                let outcome = worker.run(Job {
                    time,
                    pixels: Pixels::Frame(Box::new(frame)),
                    regions,
                    options,
                })?;
                Ok(Vec::from_iter(outcome))
            }
            Err(_) => {
                self.warn_memory(buffer);
                Ok(Vec::new())
            }
        }
    }

    /// A copy of the pixels, for frames that do not wait.
    fn copy(
        &self,
        common: &Common,
        buffer: &gst::Buffer,
        info: &gst_video::VideoInfo,
    ) -> Option<Pixels> {
        let Ok(frame) = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info) else {
            self.warn_memory(buffer);
            return None;
        };
        let image = view(&frame)
            .inspect_err(|e| gst::warning!(CAT, imp = self, "{e}"))
            .ok()?;
        let copy = common.copy(|snapshot| snapshot.copy_from(&image, MAX_COPY));
        Some(Pixels::Copy(copy))
    }

    /// The faces that this frame is marked with.
    fn hold(
        &self,
        outcomes: &[Outcome],
        time: Option<ClockTime>,
        rate: gst::Fraction,
    ) -> Vec<Held> {
        let mut state = lock(&self.state);
        if let Some(last) = outcomes.last() {
            state.held_since = last.time;
            state.held = last
                .faces
                .iter()
                .map(|f| Held {
                    track_id: f.track_id,
                    confidence: f.confidence.into(),
                    rect: f.rect,
                })
                .collect();
        }
        let every = match rate.numer() {
            0 => 0,
            n => 1_000_000_000 * rate.denom() as u64 / n as u64,
        };
        let hold = MIN_HOLD.max(ClockTime::from_nseconds(every * HOLD_PERIODS));
        let until = state.held_since.saturating_add(hold);
        if let Some(t) = time.filter(|t| *t > until && !state.held.is_empty()) {
            gst::debug!(
                CAT,
                imp = self,
                "no analysis since {}: the frame of {t} is not marked",
                state.held_since
            );
            state.held.clear();
        }
        state.held.clone()
    }

    fn mark(
        &self,
        buffer: &mut gst::BufferRef,
        info: &gst_video::VideoInfo,
        outcomes: &[Outcome],
        held: &[Held],
    ) {
        for outcome in outcomes {
            for face in &outcome.faces {
                let marked = FaceUnitsMeta::attach_blendshapes(
                    buffer,
                    outcome.time,
                    face.confidence.into(),
                    face.track_id,
                    &face.blendshapes,
                );
                if let Err(e) = marked {
                    gst::error!(CAT, imp = self, "{e}");
                }
            }
        }
        if !regions(buffer).is_empty() {
            return;
        }
        for face in held {
            let size = (info.width() as usize, info.height() as usize);
            let Some(rect) = face.rect.pixels(size) else {
                continue;
            };
            let mut meta = gst_video::VideoRegionOfInterestMeta::add(buffer, FACE_REGION, rect);
            meta.set_id((face.track_id & 0x7fff_ffff) as i32);
            meta.add_param(
                gst::Structure::builder(FACE_REGION)
                    .field("track-id", face.track_id)
                    .field("confidence", face.confidence)
                    .build(),
            );
        }
    }

    fn warn_memory(&self, buffer: &gst::BufferRef) {
        let kind = (buffer.n_memory() > 0)
            .then(|| buffer.peek_memory(0).allocator())
            .flatten()
            .map_or_else(|| "its".to_string(), |a| a.memory_type().to_string());
        self.warn_once(
            |state| &mut state.warned_memory,
            &format!(
                "Frames in {kind} memory cannot be read and are passed on without an analysis; put a download element (videoconvert, gldownload, cudadownload) before facetrack"
            ),
        );
    }

    fn warn_once(&self, flag: impl FnOnce(&mut State) -> &mut bool, text: &str) {
        let first = !std::mem::replace(flag(&mut lock(&self.state)), true);
        if first {
            gst::element_imp_warning!(self, gst::StreamError::Failed, ("{}", text));
        }
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
        gst::log!(CAT, obj = pad, "{event:?}");
        match event.view() {
            EventView::StreamStart(_) => {
                self.restart();
                lock(&self.state).wait = None;
            }
            EventView::Caps(e) => match gst_video::VideoInfo::from_caps(e.caps()) {
                Ok(info) => {
                    let changed = {
                        let mut state = lock(&self.state);
                        let changed = state.info.as_ref().is_some_and(|old| *old != info);
                        gst::debug!(CAT, obj = pad, "caps {}, changed: {changed}", e.caps());
                        state.info = Some(info);
                        changed
                    };
                    if changed {
                        self.restart();
                    }
                }
                Err(e) => {
                    gst::error!(CAT, obj = pad, "these caps are not video: {e}");
                    return false;
                }
            },
            EventView::Segment(e) => {
                let mut state = lock(&self.state);
                // In another format frames have no running time.
                state.segment = e.segment().clone().downcast().unwrap_or_default();
                common::log_segment(*CAT, pad, &state.segment);
                if e.segment().format() != gst::Format::Time {
                    gst::warning!(CAT, obj = pad, "expected a segment in time: {e:?}");
                }
            }
            EventView::FlushStart(_) => {
                if let Some(worker) = self.worker() {
                    worker.set_flushing(true);
                }
            }
            EventView::FlushStop(_) => {
                {
                    let mut state = lock(&self.state);
                    state.restart();
                    state.segment = Default::default();
                }
                gst::debug!(
                    CAT,
                    obj = pad,
                    "flushed by {:?}: faces are searched again",
                    event.seqnum()
                );
                if let Some(worker) = self.worker() {
                    worker.set_flushing(false);
                }
            }
            _ => (),
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        let answered = gst::Pad::query_default(pad, Some(&*self.obj()), query);
        if let gst::QueryViewMut::Latency(q) = query.view_mut()
            && answered
            && lock(&self.settings).sync == Sync::Wait
        {
            let (live, min, max) = q.result();
            if live {
                gst::debug!(
                    CAT,
                    obj = pad,
                    "latency of upstream {min} to {}, {WAIT_LATENCY} added for sync=wait",
                    max.display()
                );
                q.set(
                    live,
                    min.saturating_add(WAIT_LATENCY),
                    max.map(|m| m.saturating_add(WAIT_LATENCY)),
                );
            }
        }
        answered
    }

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let directory = common::find_model_dir(settings.model.as_deref(), "face", MODEL_FILES[0])
            .map_err(|e| gst::error_msg!(gst::ResourceError::NotFound, ("{}", e)))?;
        if let Some(missing) = MODEL_FILES.iter().find(|f| !directory.join(f).is_file()) {
            return Err(gst::error_msg!(
                gst::ResourceError::NotFound,
                (
                    "{} is missing: expected {} in the directory that the property model names",
                    directory.join(missing).display(),
                    MODEL_FILES.join(", ")
                )
            ));
        }
        gst::debug!(
            CAT,
            imp = self,
            "starting with {settings:?}, models in {}",
            directory.display()
        );
        *lock(&self.state) = State::default();
        let config = Config {
            directory,
            library: settings.ort_library.clone(),
            provider: settings.execution_provider.into(),
            control: Control::default(),
        };
        let watch = GraphWatch {
            control: config.control.clone(),
            timeouts: settings.timeouts,
            progress: worker::PROGRESS,
            lacking: "faces",
        };
        let options = settings.options();
        let common = Arc::new(Common::default());
        let (weak, shared) = (self.obj().downgrade(), common.clone());
        let worker = Worker::spawn(
            &*self.obj(),
            "facetrack",
            Arc::new(watch),
            || (),
            move |worker| worker::load(worker, weak, shared, config, options),
        )
        .map_err(|e| {
            gst::error_msg!(
                gst::ResourceError::Failed,
                ("The analysis thread could not be started: {}", e)
            )
        })?;
        *lock(&self.worker) = Some(Running {
            worker: Arc::new(worker),
            common,
        });
        Ok(())
    }

    fn stop(&self) {
        let running = lock(&self.worker).take();
        if let Some(running) = running {
            running.worker.stop();
            gst::debug!(
                CAT,
                imp = self,
                "stopped: {:?}",
                *lock(&running.common.stats)
            );
        }
        *lock(&self.state) = State::default();
    }
}

/// The face regions that are on a frame.
fn regions(buffer: &gst::BufferRef) -> Vec<Rect> {
    buffer
        .iter_meta::<gst_video::VideoRegionOfInterestMeta>()
        .filter(|m| m.roi_type() == FACE_REGION)
        .map(|m| {
            let (x, y, width, height) = m.rect();
            Rect {
                x: x as f32,
                y: y as f32,
                width: width as f32,
                height: height as f32,
            }
        })
        .collect()
}

#[glib::object_subclass]
impl ObjectSubclass for FaceTrack {
    const NAME: &'static str = "GstFaceTrack";
    type Type = super::FaceTrack;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let pad = |name: &str| klass.pad_template(name).expect("own template");
        let flags = gst::PadFlags::PROXY_CAPS
            | gst::PadFlags::PROXY_ALLOCATION
            | gst::PadFlags::PROXY_SCHEDULING;
        let sinkpad = gst::Pad::builder_from_template(&pad("sink"))
            .chain_function(|pad, parent, buffer| {
                FaceTrack::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.sink_chain(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                FaceTrack::catch_panic_pad_function(
                    parent,
                    || false,
                    |imp| imp.sink_event(pad, event),
                )
            })
            .flags(flags)
            .build();
        let srcpad = gst::Pad::builder_from_template(&pad("src"))
            .query_function(|pad, parent, query| {
                FaceTrack::catch_panic_pad_function(
                    parent,
                    || false,
                    |imp| imp.src_query(pad, query),
                )
            })
            .flags(flags)
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
            worker: Mutex::default(),
        }
    }
}

impl ObjectImpl for FaceTrack {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let [load_timeout, run_timeout] = Timeouts::properties();
            vec![
                glib::ParamSpecString::builder("model")
                    .nick("Model directory")
                    .blurb("Directory of the face models (unset = look for models/face in $GSTMVP_MODELS, beside the plugin and where it was installed)")
                    .mutable_ready()
                    .build(),
                gst::ParamSpecFraction::builder("rate")
                    .nick("Rate")
                    .blurb("Analyses per second of video (0/1 = every frame)")
                    .minimum(gst::Fraction::new(0, 1))
                    .maximum(gst::Fraction::new(i32::MAX, 1))
                    .default_value(gst::Fraction::new(DEFAULT_RATE.0, DEFAULT_RATE.1))
                    .mutable_playing()
                    .build(),
                glib::ParamSpecDouble::builder("min-confidence")
                    .nick("Minimum confidence")
                    .blurb("Least score of a detection and least presence of a face")
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(DEFAULT_MIN_CONFIDENCE)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("max-faces")
                    .nick("Maximum faces")
                    .blurb("How many faces are followed at once")
                    .minimum(1)
                    .maximum(32)
                    .default_value(DEFAULT_MAX_FACES)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecEnum::builder_with_default(
                    "execution-provider",
                    ExecutionProvider::default(),
                )
                .nick("Execution provider")
                .blurb("What runs the face models; a named provider that is not available is an error")
                .mutable_ready()
                .build(),
                glib::ParamSpecString::builder("ort-library")
                    .nick("ONNX Runtime library")
                    .blurb("File or directory of libonnxruntime (unset = ORT_DYLIB_PATH, beside the plugin, the system)")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder_with_default("sync", Sync::default())
                    .nick("Sync")
                    .blurb("Whether frames wait for their analysis")
                    .mutable_ready()
                    .build(),
                load_timeout,
                run_timeout,
                glib::ParamSpecString::builder("active-provider")
                    .nick("Active provider")
                    .blurb("The provider that runs the face models, as ONNX Runtime reports it (unset = not loaded)")
                    .read_only()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("analyses, dropped (replaced before they were analysed), timeouts (loads and runs that took too long), faces (now), detector-runs, last-analysis-time, mean-analysis-time (ns), provider")
                    .read_only()
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let path = || {
            value
                .get::<Option<String>>()
                .expect("type checked upstream")
                .filter(|p| !p.is_empty())
                .map(PathBuf::from)
        };
        let time = || ClockTime::from_nseconds(value.get().expect("type checked upstream"));
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "model" => settings.model = path(),
            "rate" => settings.rate = value.get().expect("type checked upstream"),
            "min-confidence" => {
                settings.min_confidence = value.get().expect("type checked upstream");
            }
            "max-faces" => settings.max_faces = value.get().expect("type checked upstream"),
            "execution-provider" => {
                settings.execution_provider = value.get().expect("type checked upstream");
            }
            "ort-library" => settings.ort_library = path(),
            "sync" => settings.sync = value.get().expect("type checked upstream"),
            "load-timeout" => settings.timeouts.load = time(),
            "run-timeout" => settings.timeouts.run = time(),
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = || lock(&self.settings);
        let running = self.running();
        let stats = || -> Stats {
            running
                .as_ref()
                .map_or_else(Stats::default, |r| *lock(&r.common.stats))
        };
        let text = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string()).to_value();
        match pspec.name() {
            "model" => text(&settings().model),
            "rate" => settings().rate.to_value(),
            "min-confidence" => settings().min_confidence.to_value(),
            "max-faces" => settings().max_faces.to_value(),
            "execution-provider" => settings().execution_provider.to_value(),
            "ort-library" => text(&settings().ort_library),
            "sync" => settings().sync.to_value(),
            "load-timeout" => settings().timeouts.load.nseconds().to_value(),
            "run-timeout" => settings().timeouts.run.nseconds().to_value(),
            "active-provider" => stats().provider.to_value(),
            "stats" => {
                let stats = stats();
                let mean = stats
                    .total
                    .nseconds()
                    .checked_div(stats.analyses)
                    .unwrap_or(0);
                gst::Structure::builder("facetrack-stats")
                    .field("analyses", stats.analyses)
                    .field(
                        "dropped",
                        running.as_ref().map_or(0, |r| r.worker.dropped()),
                    )
                    .field(
                        "timeouts",
                        running.as_ref().map_or(0, |r| r.worker.timeouts()),
                    )
                    .field("faces", stats.faces)
                    .field("detector-runs", stats.detector_runs)
                    .field("last-analysis-time", stats.last.nseconds())
                    .field("mean-analysis-time", mean)
                    .field("provider", stats.provider.unwrap_or(""))
                    .build()
                    .to_value()
            }
            _ => unimplemented!(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            obj.add_pad(pad).expect("a fresh element has no pads");
        }
    }
}

impl GstObjectImpl for FaceTrack {}

impl ElementImpl for FaceTrack {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face tracker",
                "Filter/Analyzer/Video",
                "Finds faces in video and adds their units (blendshapes) as metadata",
                "gst-plugin-mvp contributors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let mut caps = gst_video::VideoCapsBuilder::new()
                .format_list(FORMATS)
                .build();
            caps.make_mut().append(
                gst_video::VideoCapsBuilder::new()
                    .any_features()
                    .format_list(FORMATS)
                    .build(),
            );
            let template = |name, direction| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                    .expect("valid template")
            };
            vec![
                template("sink", gst::PadDirection::Sink),
                template("src", gst::PadDirection::Src),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state: {transition:?}");
        match transition {
            gst::StateChange::ReadyToPaused => {
                if let Err(e) = self.start() {
                    self.post_error_message(e);
                    return Err(gst::StateChangeError);
                }
                if self
                    .worker()
                    .is_some_and(|w| !w.await_load(common::LOAD_PATIENCE))
                {
                    self.stop();
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::PausedToReady => {
                // Wakes a frame that waits, so that the pads can be stopped.
                if let Some(worker) = self.worker() {
                    worker.set_flushing(true);
                }
            }
            _ => (),
        }
        let result = self.parent_change_state(transition);
        let starting_failed = transition == gst::StateChange::ReadyToPaused && result.is_err();
        if transition == gst::StateChange::PausedToReady || starting_failed {
            self.stop();
        }
        result
    }
}
