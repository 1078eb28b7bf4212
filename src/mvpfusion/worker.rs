// SPDX-License-Identifier: MPL-2.0
//! The worker thread of `mvpfusion`: it loads the network, runs it and drops it.

use super::imp::CAT;
use crate::common;
use crate::meta::{EMOTION_MESSAGE, EmotionMeta, EmotionStamp};
use gst::prelude::*;
use gst::{ClockTime, glib};
use gst_common::{Loading, Stop, Task, lock};
use mvp::{Answer, Bundle, Error, Estimator, Inputs, Network};
use onnx::{Runtime, SessionOptions};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answer times kept for the percentile in `stats`.
const TIMES: usize = 512;
/// So many slow live answers in a row get a warning.
const SLOW: u32 = 3;
/// The code of its progress messages.
pub(super) const PROGRESS: &str = "model";

pub(super) type Worker = gst_common::Worker<Job, Answered>;

/// What the worker needs to start.
pub(super) struct Plan {
    pub(super) bundle: Arc<Bundle>,
    pub(super) inputs: Arc<Inputs>,
    pub(super) library: Option<PathBuf>,
    pub(super) options: SessionOptions,
    /// Chunks per hop.
    pub(super) hop_chunks: u64,
}

/// A request for the answer of hop `h`, whose window ends at `h` × hop length.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) hop: u64,
    pub(super) live: bool,
    /// The newest sample of each modality less the time of the frame that asks, ns.
    pub(super) alignment: Vec<(String, i64)>,
}

/// A result, as metadata and as a prepared stamp for the frames.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) meta: Arc<EmotionMeta>,
    pub(super) stamp: EmotionStamp,
    took: Duration,
}

/// The last answer times.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) inferences: u64,
    last: Vec<Duration>,
}

impl Times {
    fn add(&mut self, time: Duration) {
        let at = self.inferences as usize % TIMES;
        self.inferences += 1;
        match self.last.get_mut(at) {
            Some(old) => *old = time,
            None => self.last.push(time),
        }
    }

    /// Mean and 95th percentile in nanoseconds.
    pub(super) fn mean_and_p95(&self) -> (u64, u64) {
        let mut sorted: Vec<u64> = self.last.iter().map(|t| t.as_nanos() as u64).collect();
        sorted.sort_unstable();
        let mean = sorted.iter().sum::<u64>() / (sorted.len() as u64).max(1);
        let p95 = sorted.get(sorted.len() * 95 / 100).copied().unwrap_or(0);
        (mean, p95)
    }
}

/// What the worker writes and the element reads.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The provider that runs the network, once it is loaded.
    pub(super) provider: Mutex<Option<&'static str>>,
    pub(super) times: Mutex<Times>,
}

/// The network, as the worker runs it.
pub(super) struct Fusion {
    element: glib::WeakRef<super::MvpFusion>,
    shared: Arc<Shared>,
    estimator: Estimator,
    title: String,
    hop_chunks: u64,
    /// Results that were handed out.
    sequence: u64,
    /// Live answers in a row that took longer than a hop.
    slow: u32,
}

impl Task for Fusion {
    type Job = Job;
    type Answer = Answered;

    fn restart(&mut self) {
        if let Some(element) = self.element.upgrade() {
            gst::debug!(
                CAT,
                obj = element,
                "the windows start again: tokens computed so far are dropped"
            );
        }
        self.estimator.flush();
    }

    fn run(&mut self, job: Job) -> Result<Option<Answered>, Stop> {
        match self.estimator.answer(job.hop * self.hop_chunks) {
            Ok(answer) => {
                if job.live {
                    self.mind_pace(answer.took);
                }
                self.result(&answer, job).map(Some)
            }
            Err(Error::Onnx(onnx::Error::Cancelled { .. })) => Ok(None),
            Err(e) => {
                if let Some(element) = self.element.upgrade() {
                    gst::element_error!(element, gst::LibraryError::Failed, ("{e}"));
                }
                Err(Stop)
            }
        }
    }

    fn deliver(&mut self, answered: &Answered) {
        self.sequence += 1;
        lock(&self.shared.times).add(answered.took);
        let Some(element) = self.element.upgrade() else {
            return;
        };
        let meta = &answered.meta;
        gst::debug!(
            CAT,
            obj = element,
            "result {}: window {} to {}{}: {} (valence {:.3}, arousal {:.3}, confidence {:.3}), coverage {}, took {:?} on {}",
            meta.sequence,
            meta.window_start,
            meta.window_end,
            if meta.warming_up { " (warming up)" } else { "" },
            meta.label,
            meta.valence,
            meta.arousal,
            meta.confidence,
            meta.modalities
                .iter()
                .map(|m| {
                    let (coverage, quality) = (m.coverage * 100.0, m.quality * 100.0);
                    format!("{} {coverage:.0} % (quality {quality:.0} %)", m.name)
                })
                .collect::<Vec<_>>()
                .join(", "),
            answered.took,
            meta.provider
        );
        let message = gst::message::Element::builder(meta.to_structure(EMOTION_MESSAGE))
            .src(&element)
            .build();
        // An element without a bus posts to nobody.
        let _ = element.post_message(message);
    }
}

impl Fusion {
    /// Warns once for each row of answers that come too slowly for the hop.
    fn mind_pace(&mut self, took: Duration) {
        let hop = Duration::from_nanos(self.hop_chunks * self.estimator.bundle().chunk());
        self.slow = if took > hop { self.slow + 1 } else { 0 };
        if let (SLOW, Some(element)) = (self.slow, self.element.upgrade()) {
            gst::element_warning!(
                element,
                gst::LibraryError::Failed,
                (
                    "{SLOW} answers in a row took longer than a hop, the last one {:.1} s; expected \
                     less than {:.1} s (hop). Some hops have no result. Remedy: raise hop, or use a \
                     smaller model or a faster execution-provider",
                    took.as_secs_f64(),
                    hop.as_secs_f64()
                )
            );
        }
    }

    fn result(&self, answer: &Answer, job: Job) -> Result<Answered, Stop> {
        let meta = EmotionMeta {
            valence: answer.valence,
            arousal: answer.arousal,
            valence_known: answer.valence_known,
            arousal_known: answer.arousal_known,
            valence_now: answer.valence_now,
            baseline_progress: answer.baseline_progress,
            label: answer.label.clone(),
            confidence: answer.confidence,
            classes: answer.classes.clone(),
            window_start: ClockTime::from_nseconds(answer.window_start),
            window_end: ClockTime::from_nseconds(answer.window_end),
            age: ClockTime::ZERO,
            modalities: answer.modalities.clone(),
            alignment: job.alignment,
            sequence: self.sequence,
            model: self.title.clone(),
            trained: self.estimator.bundle().trained(),
            provider: self.estimator.network().active_provider().to_string(),
            // With a measured time two runs over the same data would differ.
            inference_time: match job.live {
                true => ClockTime::from_nseconds(answer.took.as_nanos() as u64),
                false => ClockTime::ZERO,
            },
            warming_up: answer.warming_up,
            stale: false,
        };
        let stamp = EmotionStamp::new(&meta).map_err(|e| {
            if let Some(element) = self.element.upgrade() {
                gst::element_error!(element, gst::CoreError::Failed, ("{e}"));
            }
            Stop
        })?;
        Ok(Answered {
            meta: Arc::new(meta),
            stamp,
            took: answer.took,
        })
    }
}

/// Loads the network and posts its progress, or what is wrong, on the bus.
pub(super) fn load(
    worker: &Loading<Job, Answered>,
    element: glib::WeakRef<super::MvpFusion>,
    shared: Arc<Shared>,
    plan: Plan,
) -> Result<Fusion, Stop> {
    host::work_beside_video();
    let network = load_network(worker, &element, &plan).map_err(|e| {
        if !worker.is_over() {
            progress(&element, gst::ProgressType::Error, &e.to_string());
            let code = match e {
                Error::Bundle { .. }
                | Error::Onnx(onnx::Error::Contract { .. } | onnx::Error::Graph { .. }) => {
                    gst::ResourceError::Read
                }
                _ => gst::ResourceError::NotFound,
            };
            if let Some(element) = element.upgrade() {
                gst::element_error!(element, code, ("{e}"));
            }
        }
        Stop
    })?;
    if worker.is_over() {
        return Err(Stop);
    }
    let title = plan.bundle.title();
    let provider = network.active_provider();
    *lock(&shared.provider) = Some(provider);
    if let Some(element) = element.upgrade() {
        element.notify("active-provider");
    }
    progress(
        &element,
        gst::ProgressType::Complete,
        &format!("{title} runs on {provider}"),
    );
    Ok(Fusion {
        element,
        shared,
        estimator: Estimator::new(plan.bundle, plan.inputs, network),
        title,
        hop_chunks: plan.hop_chunks,
        sequence: 0,
        slow: 0,
    })
}

fn load_network(
    worker: &Loading<Job, Answered>,
    element: &glib::WeakRef<super::MvpFusion>,
    plan: &Plan,
) -> Result<Network, Error> {
    let title = plan.bundle.title();
    progress(
        element,
        gst::ProgressType::Start,
        &format!("loading {title}"),
    );
    let runtime = Runtime::load(plan.library.as_deref())?;
    if let (Some(element), Some(ignored)) = (element.upgrade(), runtime.ignored_library()) {
        gst::element_warning!(
            element,
            gst::LibraryError::Settings,
            (
                "ONNX Runtime is loaded once per process: {} is in use, {} is not",
                runtime.library().display(),
                ignored.display()
            )
        );
    }
    let network = Network::load(&runtime, &plan.bundle, &plan.options, |text| {
        if !worker.is_over() {
            progress(element, gst::ProgressType::Continue, text);
        }
    })?;
    let provider = network.active_provider();
    if let (Some(element), false) = (element.upgrade(), worker.is_over()) {
        gst::info!(
            CAT,
            obj = element,
            "{title} runs on {provider}, ONNX Runtime is {}",
            runtime.library().display()
        );
        common::tell_fallback(&element, *CAT, &title, provider, network.warnings());
    }
    Ok(network)
}

fn progress(element: &glib::WeakRef<super::MvpFusion>, kind: gst::ProgressType, text: &str) {
    if let Some(element) = element.upgrade() {
        let message = gst::message::Progress::builder(kind, PROGRESS, text)
            .src(&element)
            .build();
        // An element without a bus posts to nobody.
        let _ = element.post_message(message);
    }
}
