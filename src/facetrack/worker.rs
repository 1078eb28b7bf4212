// SPDX-License-Identifier: MPL-2.0
//! The worker thread of `facetrack`. All calls of ONNX Runtime are made on it: a GPU context
//! belongs to the thread that made it, so frames that wait are analysed there too.

use super::frame::view;
use super::imp::CAT;
use crate::common;
use face::{Analyzer, Face, FaceModels, MODEL_FILES, Options, Orientation, Rect, Snapshot};
use gst::{ClockTime, glib, prelude::*};
use gst_common::{Loading, Stop, Task, lock};
use onnx::{Error, Runtime, SessionOptions};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The code of its progress messages.
pub(super) const PROGRESS: &str = "face-models";

pub(super) type Worker = gst_common::Worker<Job, Outcome>;

pub(super) struct Config {
    pub(super) directory: PathBuf,
    pub(super) library: Option<PathBuf>,
    pub(super) options: SessionOptions,
}

/// A copy of a frame; its memory goes back to the pool when it is dropped.
pub(super) struct Copy {
    snapshot: Snapshot,
    pool: Arc<Mutex<Vec<Snapshot>>>,
}

impl Drop for Copy {
    fn drop(&mut self) {
        lock(&self.pool).push(std::mem::take(&mut self.snapshot));
    }
}

pub(super) enum Pixels {
    /// The streaming thread does not wait.
    Copy(Copy),
    /// The streaming thread waits, so its frame can be read in place.
    Frame(
        Box<gst_video::VideoFrame<gst_video::video_frame::Readable>>,
        Orientation,
    ),
}

pub(super) struct Job {
    /// Running time of the frame.
    pub(super) time: ClockTime,
    pub(super) pixels: Pixels,
    /// Regions that another element found; they are used instead of the detector.
    pub(super) regions: Vec<Rect>,
    pub(super) options: Options,
}

/// The answer to one job.
pub(super) struct Outcome {
    pub(super) time: ClockTime,
    pub(super) faces: Vec<Face>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Stats {
    pub(super) analyses: u64,
    /// In the last analysis.
    pub(super) faces: u64,
    pub(super) detector_runs: u64,
    pub(super) last: ClockTime,
    total: ClockTime,
    /// When the last analyses ended, oldest first.
    ends: VecDeque<Instant>,
    pub(super) provider: Option<&'static str>,
}

/// The rate of analyses is that of so many at most, in so long a time.
const RATE_ENDS: usize = 64;
const RATE_SPAN: Duration = Duration::from_secs(10);

impl Stats {
    fn count(&mut self, took: ClockTime, now: Instant) {
        self.analyses += 1;
        self.last = took;
        self.total += took;
        if self.ends.len() == RATE_ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
    }

    /// How long an analysis takes.
    pub(super) fn mean(&self) -> ClockTime {
        let mean = self.total.nseconds().checked_div(self.analyses);
        ClockTime::from_nseconds(mean.unwrap_or(0))
    }

    /// Analyses per second of late; 0 where there were not two.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let recent = |end: &&Instant| now.saturating_duration_since(**end) <= RATE_SPAN;
        let mut ends = self.ends.iter().filter(recent);
        let Some(first) = ends.next() else { return 0.0 };
        let (count, last) = ends.fold((0, first), |(count, _), end| (count + 1, end));
        match last.duration_since(*first).as_secs_f64() {
            span if span > 0.0 => f64::from(count) / span,
            _ => 0.0,
        }
    }
}

/// What the element and its worker share.
#[derive(Default)]
pub(super) struct Common {
    pub(super) stats: Mutex<Stats>,
    pool: Arc<Mutex<Vec<Snapshot>>>,
}

impl Common {
    /// A copy that `fill` writes, in the memory of an earlier one where there is some.
    pub(super) fn copy(&self, fill: impl FnOnce(&mut Snapshot)) -> Copy {
        let mut snapshot = lock(&self.pool).pop().unwrap_or_default();
        fill(&mut snapshot);
        Copy {
            snapshot,
            pool: self.pool.clone(),
        }
    }
}

/// The analysis of faces, as the worker runs it.
pub(super) struct Analysis {
    analyzer: Analyzer<FaceModels>,
    common: Arc<Common>,
    element: glib::WeakRef<super::FaceTrack>,
}

impl Task for Analysis {
    type Job = Job;
    type Answer = Outcome;

    fn restart(&mut self) {
        if let Some(element) = self.element.upgrade() {
            gst::debug!(
                CAT,
                obj = element,
                "the video does not continue: faces are searched again"
            );
        }
        self.analyzer.reset();
    }

    fn run(&mut self, job: Job) -> Result<Option<Outcome>, Stop> {
        let Job {
            time,
            pixels,
            regions,
            options,
        } = job;
        self.analyzer.set_options(options);
        let start = Instant::now();
        let answer = match &pixels {
            Pixels::Copy(copy) => copy
                .snapshot
                .view()
                .map_or(Ok(Vec::new()), |v| self.analyzer.analyze(&v, &regions)),
            Pixels::Frame(frame, orientation) => {
                match view(&frame.as_video_frame_ref(), *orientation) {
                    Ok(v) => self.analyzer.analyze(&v, &regions),
                    Err(e) => {
                        // The memory does not fit the caps; the frame passes without an analysis.
                        gst::warning!(CAT, "{e}");
                        Ok(Vec::new())
                    }
                }
            }
        };
        // The streaming thread that waits writes to the frame, and must own it alone.
        drop(pixels);
        match answer {
            Ok(faces) => {
                let took = ClockTime::from_nseconds(start.elapsed().as_nanos() as u64);
                if let Some(element) = self.element.upgrade() {
                    gst::debug!(
                        CAT,
                        obj = element,
                        "analysis of the frame of {time}: {} face(s), {} detector runs so far, took {took}",
                        faces.len(),
                        self.analyzer.detector_runs()
                    );
                }
                let mut stats = lock(&self.common.stats);
                stats.count(took, Instant::now());
                stats.faces = faces.len() as u64;
                stats.detector_runs = self.analyzer.detector_runs();
                drop(stats);
                Ok(Some(Outcome { time, faces }))
            }
            Err(Error::Cancelled { .. }) => Ok(None),
            Err(e) => {
                let text = "The face analysis failed";
                fail(&self.element, gst::StreamError::Failed, text, &e);
                Err(Stop)
            }
        }
    }
}

/// Loads the networks and posts progress, or what is wrong, on the bus.
pub(super) fn load(
    worker: &Loading<Job, Outcome>,
    element: glib::WeakRef<super::FaceTrack>,
    shared: Arc<Common>,
    config: Config,
    options: Options,
) -> Result<Analysis, Stop> {
    host::work_beside_video();
    progress(
        &element,
        gst::ProgressType::Start,
        &format!("Loading the face models of {}", config.directory.display()),
    );
    let loaded = Runtime::load(config.library.as_deref()).and_then(|runtime| {
        let models = FaceModels::load(&runtime, &config.directory, config.options.clone())?;
        Ok((runtime, models))
    });
    let (runtime, models) = loaded.map_err(|e| {
        if !worker.is_over() {
            progress(&element, gst::ProgressType::Error, &e.to_string());
            let text = "The face models could not be loaded";
            fail(&element, gst::LibraryError::Init, text, &e);
        }
        Stop
    })?;
    if worker.is_over() {
        return Err(Stop);
    }
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
    if let Some(element) = element.upgrade() {
        common::tell_fallback(
            &element,
            *CAT,
            "the face analysis",
            models.active_provider(),
            &models.warnings(),
        );
    }
    lock(&shared.stats).provider = Some(models.active_provider());
    if let Some(element) = element.upgrade() {
        element.notify("active-provider");
        gst::info!(
            CAT,
            obj = element,
            "face models of {} run on {}, ONNX Runtime is {}",
            config.directory.display(),
            models.active_provider(),
            runtime.library().display()
        );
    }
    let text = format!(
        "{} face models ready on {}",
        MODEL_FILES.len(),
        models.active_provider()
    );
    progress(&element, gst::ProgressType::Complete, &text);
    Ok(Analysis {
        analyzer: Analyzer::new(models, options),
        common: shared,
        element,
    })
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
        // An element without a bus posts to nobody.
        let _ = element.post_message(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_analyses() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut stats = Stats::default();
        assert_eq!(stats.rate(start), 0.0);
        for i in 0..100 {
            stats.count(ClockTime::from_mseconds(3), at(i * 20));
        }
        assert_eq!(stats.mean(), ClockTime::from_mseconds(3));
        assert!((stats.rate(at(1_980)) - 50.0).abs() < 1e-9);
        // Slower from now on; what was long ago does not count.
        for i in 0..6 {
            stats.count(ClockTime::from_mseconds(9), at(20_000 + i * 500));
        }
        assert!((stats.rate(at(22_600)) - 2.0).abs() < 1e-9);
        assert_eq!(stats.rate(at(60_000)), 0.0);
    }
}
