// SPDX-License-Identifier: MPL-2.0
//! The thread that owns the networks.
//!
//! All of ONNX Runtime happens here: the streaming thread only puts jobs down and picks
//! answers up. A GPU context belongs to the thread that made it, so waiting callers use
//! this thread too.

use super::imp::{CAT, view};
use crate::common;
use face::{Analyzer, Face, FaceModels, MODEL_FILES, Options, Rect, Snapshot};
use gst::{ClockTime, glib, prelude::*};
use onnx::{Error, Provider, Runtime, Terminator};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Answers nobody fetched; only a stream without frames lets them pile up.
const MAX_OUTCOMES: usize = 16;
const PROGRESS: &str = "face-models";

pub(super) struct Config {
    pub directory: PathBuf,
    pub library: Option<PathBuf>,
    pub provider: Provider,
    pub options: Options,
}

pub(super) enum Pixels {
    /// The streaming thread has moved on.
    Copy(Snapshot),
    /// The streaming thread waits, so its frame can be read in place.
    Frame(Box<gst_video::VideoFrame<gst_video::video_frame::Readable>>),
}

pub(super) struct Job {
    /// Running time of the frame.
    pub time: ClockTime,
    pub pixels: Pixels,
    /// Regions that another element found; stand in for the detector.
    pub regions: Vec<Rect>,
}

/// The answer to one job.
pub(super) struct Outcome {
    pub time: ClockTime,
    pub faces: Vec<Face>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Loading,
    Ready,
    Failed,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stats {
    pub analyses: u64,
    pub dropped: u64,
    /// In the last analysis.
    pub faces: u64,
    pub detector_runs: u64,
    pub last: ClockTime,
    pub total: ClockTime,
    pub provider: Option<&'static str>,
}

struct Mailbox {
    phase: Phase,
    stop: bool,
    flushing: bool,
    /// Grows whenever what follows is no continuation of what came before.
    generation: u64,
    options: Options,
    job: Option<(u64, Job)>,
    outcomes: Vec<Outcome>,
    spare: Vec<Snapshot>,
    terminators: Vec<Terminator>,
    stats: Stats,
}

struct Shared {
    mailbox: Mutex<Mailbox>,
    /// There is a job, or the end.
    work: Condvar,
    /// The phase changed, a job is done, or nobody shall wait any longer.
    done: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Worker {
    pub fn spawn(element: &super::FaceTrack, config: Config) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            mailbox: Mutex::new(Mailbox {
                phase: Phase::Loading,
                stop: false,
                flushing: false,
                generation: 0,
                options: config.options,
                job: None,
                outcomes: Vec::new(),
                spare: Vec::new(),
                terminators: Vec::new(),
                stats: Stats::default(),
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let thread = std::thread::Builder::new()
            .name("facetrack".into())
            .spawn({
                let shared = shared.clone();
                let element = element.downgrade();
                move || run(&shared, &element, config)
            })?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Waits a little for the models; false if they are known to have failed, and said so.
    pub fn await_load(&self) -> bool {
        let (mailbox, _) = self
            .shared
            .done
            .wait_timeout_while(self.shared.lock(), common::LOAD_PATIENCE, |m| {
                m.phase == Phase::Loading
            })
            .unwrap_or_else(PoisonError::into_inner);
        mailbox.phase != Phase::Failed
    }

    pub fn phase(&self) -> Phase {
        self.shared.lock().phase
    }

    pub fn stats(&self) -> Stats {
        self.shared.lock().stats
    }

    pub fn set_options(&self, options: Options) {
        self.shared.lock().options = options;
    }

    /// What was answered since the last call, oldest first.
    pub fn take_outcomes(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.shared.lock().outcomes)
    }

    /// A snapshot to fill, with memory of an earlier one where there is some.
    pub fn spare(&self) -> Snapshot {
        self.shared.lock().spare.pop().unwrap_or_default()
    }

    /// Leaves a job; one that still lies there is thrown away.
    pub fn submit(&self, job: Job) {
        let mut mailbox = self.shared.lock();
        if mailbox.flushing {
            return;
        }
        let generation = mailbox.generation;
        if let Some((_, old)) = mailbox.job.replace((generation, job)) {
            mailbox.stats.dropped += 1;
            mailbox.recycle(old.pixels);
        }
        self.shared.work.notify_one();
    }

    /// Waits until the networks are there; then leaves a job and waits for its answer.
    ///
    /// # Errors
    /// `Flushing` when the wait was called off, `Error` after a failure, which is on the bus.
    pub fn analyze(&self, job: Job) -> Result<Outcome, gst::FlowError> {
        let mut job = Some(job);
        let mut mailbox = self.shared.lock();
        loop {
            if mailbox.flushing || mailbox.stop {
                return Err(gst::FlowError::Flushing);
            }
            match mailbox.phase {
                Phase::Failed => return Err(gst::FlowError::Error),
                Phase::Loading => {}
                Phase::Ready => {
                    if let Some(job) = job.take() {
                        mailbox.outcomes.clear();
                        mailbox.job = Some((mailbox.generation, job));
                        self.shared.work.notify_one();
                    } else if let Some(outcome) = mailbox.outcomes.pop() {
                        return Ok(outcome);
                    }
                }
            }
            mailbox = self
                .shared
                .done
                .wait(mailbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What comes next is another picture: answers to earlier jobs are void.
    pub fn restart(&self) {
        self.shared.lock().restart();
    }

    /// While flushing nobody waits and nothing is accepted.
    pub fn set_flushing(&self, flushing: bool) {
        let mut mailbox = self.shared.lock();
        mailbox.flushing = flushing;
        mailbox.restart();
        self.shared.done.notify_all();
    }

    /// Ends the thread. A model that is being loaded is loaded to its end.
    pub fn stop(&self) {
        {
            let mut mailbox = self.shared.lock();
            mailbox.stop = true;
            for terminator in &mailbox.terminators {
                terminator.terminate();
            }
            self.shared.work.notify_all();
            self.shared.done.notify_all();
        }
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A bus handler may change the state from the worker's own thread.
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            gst::error!(CAT, "the analysis thread panicked");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Mailbox {
    fn restart(&mut self) {
        self.generation += 1;
        self.outcomes.clear();
        if let Some((_, job)) = self.job.take() {
            self.recycle(job.pixels);
        }
    }

    fn recycle(&mut self, pixels: Pixels) {
        if let Pixels::Copy(snapshot) = pixels {
            self.spare.push(snapshot);
        }
    }
}

/// Whatever ends the thread, nobody may wait for it any longer.
struct Ending<'a> {
    shared: &'a Shared,
    element: &'a glib::WeakRef<super::FaceTrack>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(element) = self.element.upgrade() {
                gst::element_error!(
                    element,
                    gst::CoreError::Failed,
                    ("The analysis thread panicked; this is a bug in the plugin")
                );
            }
            self.shared.lock().phase = Phase::Failed;
        }
        self.shared.done.notify_all();
    }
}

fn run(shared: &Shared, element: &glib::WeakRef<super::FaceTrack>, config: Config) {
    host::work_beside_video();
    let _ending = Ending { shared, element };
    let options = config.options;
    let Some(models) = load(shared, element, config) else {
        return;
    };
    let mut analyzer = Analyzer::new(models, options);
    let mut known = 0;
    loop {
        let (generation, job, options) = {
            let mut mailbox = shared.lock();
            let (generation, job) = loop {
                if mailbox.stop {
                    return;
                }
                if let Some(job) = mailbox.job.take() {
                    break job;
                }
                mailbox = shared
                    .work
                    .wait(mailbox)
                    .unwrap_or_else(PoisonError::into_inner);
            };
            (generation, job, mailbox.options)
        };
        if generation != known {
            analyzer.reset();
            known = generation;
        }
        analyzer.set_options(options);

        let start = Instant::now();
        let answer = match &job.pixels {
            Pixels::Copy(snapshot) => snapshot
                .view()
                .map_or(Ok(Vec::new()), |v| analyzer.analyze(&v, &job.regions)),
            Pixels::Frame(frame) => match view(&frame.as_video_frame_ref()) {
                Ok(v) => analyzer.analyze(&v, &job.regions),
                Err(e) => {
                    // Caps and memory disagree; the frame passes without an analysis.
                    gst::warning!(CAT, "{e}");
                    Ok(Vec::new())
                }
            },
        };
        let took = ClockTime::from_nseconds(start.elapsed().as_nanos() as u64);

        let Job { time, pixels, .. } = job;
        // The streaming thread that waits expects to be the frame's only owner again.
        let snapshot = match pixels {
            Pixels::Copy(snapshot) => Some(snapshot),
            Pixels::Frame(frame) => {
                drop(frame);
                None
            }
        };
        let mut mailbox = shared.lock();
        mailbox.spare.extend(snapshot);
        match answer {
            Ok(faces) => {
                let stats = &mut mailbox.stats;
                stats.analyses += 1;
                stats.faces = faces.len() as u64;
                stats.detector_runs = analyzer.detector_runs();
                stats.last = took;
                stats.total += took;
                if generation == mailbox.generation {
                    if mailbox.outcomes.len() == MAX_OUTCOMES {
                        mailbox.outcomes.remove(0);
                    }
                    mailbox.outcomes.push(Outcome { time, faces });
                }
                shared.done.notify_all();
            }
            Err(Error::Cancelled { .. }) if mailbox.stop => return,
            Err(e) => {
                drop(mailbox);
                fail(
                    element,
                    gst::StreamError::Failed,
                    "The face analysis failed",
                    &e,
                );
                shared.lock().phase = Phase::Failed;
                return;
            }
        }
    }
}

/// Loads the networks and tells the bus how it went.
fn load(
    shared: &Shared,
    element: &glib::WeakRef<super::FaceTrack>,
    config: Config,
) -> Option<FaceModels> {
    progress(
        element,
        gst::ProgressType::Start,
        &format!("Loading the face models of {}", config.directory.display()),
    );
    let loaded = Runtime::load(config.library.as_deref()).and_then(|runtime| {
        let models = FaceModels::load(
            &runtime,
            &config.directory,
            config.provider,
            common::default_engine_cache(),
        )?;
        Ok((runtime, models))
    });
    match loaded {
        Ok((runtime, models)) => {
            if let (Some(element), Some(ignored)) = (element.upgrade(), runtime.ignored_library()) {
                gst::element_warning!(
                    element,
                    gst::LibraryError::Settings,
                    (
                        "{} is not used: this process has already loaded {}",
                        ignored.display(),
                        runtime.library().display()
                    )
                );
            }
            let warnings = models.warnings();
            if let (Some(element), false) = (element.upgrade(), warnings.is_empty()) {
                gst::element_warning!(
                    element,
                    gst::LibraryError::Init,
                    (
                        "The face models run on {}: {}",
                        models.active_provider(),
                        warnings.join("; ")
                    )
                );
            }
            let text = format!(
                "{} face models ready on {}",
                MODEL_FILES.len(),
                models.active_provider()
            );
            progress(element, gst::ProgressType::Complete, &text);
            let mut mailbox = shared.lock();
            mailbox.phase = Phase::Ready;
            mailbox.stats.provider = Some(models.active_provider());
            mailbox.terminators = models.terminators();
            shared.done.notify_all();
            Some(models)
        }
        Err(e) => {
            let stopped = shared.lock().stop;
            if !stopped {
                progress(element, gst::ProgressType::Error, &e.to_string());
                let text = "The face models could not be loaded";
                fail(element, gst::LibraryError::Init, text, &e);
            }
            // Only now: who waited gives up with an error that is already on the bus.
            shared.lock().phase = Phase::Failed;
            None
        }
    }
}

fn fail(
    element: &glib::WeakRef<super::FaceTrack>,
    domain: impl gst::MessageErrorDomain,
    text: &str,
    error: &Error,
) {
    if let Some(element) = element.upgrade() {
        gst::element_error!(element, domain, ("{}: {}", text, error));
    }
}

fn progress(element: &glib::WeakRef<super::FaceTrack>, kind: gst::ProgressType, text: &str) {
    if let Some(element) = element.upgrade() {
        let message = gst::message::Progress::builder(kind, PROGRESS, text)
            .src(&element)
            .build();
        // Without a bus there is nobody to tell.
        let _ = element.post_message(message);
    }
}
