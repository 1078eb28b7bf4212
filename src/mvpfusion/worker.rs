// SPDX-License-Identifier: MPL-2.0
//! The one thread that loads the network, runs it and drops it.

use super::imp::{CAT, Job};
use crate::meta::{EMOTION_MESSAGE, EmotionMeta};
use gst::ClockTime;
use gst::prelude::*;
use gst::subclass::prelude::*;
use mvp::{Answer, Bundle, Error, Estimator, Inputs, Network};
use onnx::{Provider, Runtime, SessionOptions, Terminator};
use std::path::PathBuf;
use std::sync::Arc;

/// What the worker needs to know to begin.
pub(super) struct Plan {
    pub(super) bundle: Arc<Bundle>,
    pub(super) inputs: Arc<Inputs>,
    pub(super) library: Option<PathBuf>,
    pub(super) options: SessionOptions,
    /// Chunks per hop.
    pub(super) hop_chunks: u64,
}

/// What the element needs of a loaded network.
pub(super) struct Loaded {
    pub(super) provider: &'static str,
    pub(super) terminators: Vec<Terminator>,
}

pub(super) fn run(element: &super::MvpFusion, plan: Plan) {
    host::work_beside_video();
    let imp = element.imp();
    let mut estimator = match load(element, &plan) {
        Ok(estimator) => estimator,
        Err(e) => {
            progress(element, gst::ProgressType::Error, &e.to_string());
            let code = match e {
                Error::Bundle { .. }
                | Error::Onnx(onnx::Error::Contract { .. } | onnx::Error::Graph { .. }) => {
                    gst::ResourceError::Read
                }
                _ => gst::ResourceError::NotFound,
            };
            gst::element_error!(element, code, ("{e}"));
            // Only now: what stops for it posts an error of its own.
            imp.failed();
            return;
        }
    };
    let title = plan.bundle.title();
    while let Some(job) = imp.next_job() {
        let Job {
            hop,
            generation,
            forget,
        } = job;
        if forget {
            estimator.flush();
        }
        match estimator.answer(hop * plan.hop_chunks) {
            Ok(answer) => {
                let provider = estimator.network().active_provider();
                let trained = plan.bundle.trained();
                let meta = |sequence| EmotionMeta {
                    trained,
                    ..result(&answer, &title, provider, sequence)
                };
                if let Some(meta) = imp.answered(generation, answer.took, meta) {
                    gst::log!(CAT, obj = element, "{meta:?}");
                    let structure = meta.to_structure(EMOTION_MESSAGE);
                    let message = gst::message::Element::builder(structure)
                        .src(element)
                        .build();
                    let _ = element.post_message(message);
                    imp.delivered(hop, generation);
                }
            }
            Err(Error::Onnx(onnx::Error::Cancelled { .. })) => {
                gst::debug!(CAT, obj = element, "run was cancelled")
            }
            Err(e) => {
                gst::element_error!(element, gst::LibraryError::Failed, ("{e}"));
                imp.failed();
                return;
            }
        }
    }
}

fn load(element: &super::MvpFusion, plan: &Plan) -> Result<Estimator, Error> {
    let title = plan.bundle.title();
    progress(
        element,
        gst::ProgressType::Start,
        &format!("loading {title}"),
    );
    let runtime = Runtime::load(plan.library.as_deref())?;
    if let Some(ignored) = runtime.ignored_library() {
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
        progress(element, gst::ProgressType::Continue, text);
    })?;
    let provider = network.active_provider();
    if plan.options.provider == Provider::Auto && !network.warnings().is_empty() {
        gst::element_warning!(
            element,
            gst::LibraryError::Settings,
            (
                "execution-provider=auto: running on {provider}; {}",
                network.warnings().join("; ")
            )
        );
    }
    element.imp().loaded(Loaded {
        provider,
        terminators: network.terminators(),
    });
    element.notify("active-provider");
    progress(
        element,
        gst::ProgressType::Complete,
        &format!("{title} runs on {provider}"),
    );
    Ok(Estimator::new(
        plan.bundle.clone(),
        plan.inputs.clone(),
        network,
    ))
}

fn progress(element: &super::MvpFusion, kind: gst::ProgressType, text: &str) {
    let message = gst::message::Progress::builder(kind, "model", text)
        .src(element)
        .build();
    let _ = element.post_message(message);
}

fn result(answer: &Answer, title: &str, provider: &str, sequence: u64) -> EmotionMeta {
    EmotionMeta {
        valence: answer.valence,
        arousal: answer.arousal,
        label: answer.label.clone(),
        confidence: answer.confidence,
        classes: answer.classes.clone(),
        window_start: ClockTime::from_nseconds(answer.window_start),
        window_end: ClockTime::from_nseconds(answer.window_end),
        age: ClockTime::ZERO,
        modalities: answer.modalities.clone(),
        sequence,
        model: title.to_string(),
        trained: true,
        provider: provider.to_string(),
        inference_time: ClockTime::from_nseconds(answer.took.as_nanos() as u64),
        warming_up: answer.warming_up,
        stale: false,
    }
}
