// SPDX-License-Identifier: MPL-2.0
//! The properties of `facetrack` that are set.

use super::orientation::VideoOrientation;
use crate::common::{ExecutionProvider, Sync};
use crate::graph_watch::Timeouts;
use face::Options;
use gst::{ClockTime, glib, prelude::*};
use std::path::PathBuf;

const DEFAULT_RATE: (i32, i32) = (5, 1);
const DEFAULT_MIN_CONFIDENCE: f64 = 0.5;
const DEFAULT_MAX_FACES: u32 = 1;
const DEFAULT_DEVICE: i32 = 0;

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) model: Option<PathBuf>,
    pub(super) rate: gst::Fraction,
    min_confidence: f64,
    max_faces: u32,
    pub(super) orientation: VideoOrientation,
    pub(super) execution_provider: ExecutionProvider,
    pub(super) device_id: i32,
    pub(super) engine_cache: Option<PathBuf>,
    pub(super) ort_library: Option<PathBuf>,
    pub(super) sync: Sync,
    pub(super) timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            rate: gst::Fraction::new(DEFAULT_RATE.0, DEFAULT_RATE.1),
            min_confidence: DEFAULT_MIN_CONFIDENCE,
            max_faces: DEFAULT_MAX_FACES,
            orientation: VideoOrientation::default(),
            execution_provider: ExecutionProvider::default(),
            device_id: DEFAULT_DEVICE,
            engine_cache: None,
            ort_library: None,
            sync: Sync::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Settings {
    pub(super) fn options(&self) -> Options {
        Options {
            min_confidence: self.min_confidence as f32,
            max_faces: self.max_faces as usize,
        }
    }

    pub(super) fn set(&mut self, property: &str, value: &glib::Value) {
        let path = || {
            value
                .get::<Option<String>>()
                .expect("type checked upstream")
                .filter(|p| !p.is_empty())
                .map(PathBuf::from)
        };
        let time = || ClockTime::from_nseconds(value.get().expect("type checked upstream"));
        match property {
            "model" => self.model = path(),
            "rate" => self.rate = value.get().expect("type checked upstream"),
            "min-confidence" => self.min_confidence = value.get().expect("type checked upstream"),
            "max-faces" => self.max_faces = value.get().expect("type checked upstream"),
            "orientation" => self.orientation = value.get().expect("type checked upstream"),
            "execution-provider" => {
                self.execution_provider = value.get().expect("type checked upstream");
            }
            "device-id" => self.device_id = value.get().expect("type checked upstream"),
            "engine-cache-dir" => self.engine_cache = path(),
            "ort-library" => self.ort_library = path(),
            "sync" => self.sync = value.get().expect("type checked upstream"),
            "load-timeout" => self.timeouts.load = time(),
            "run-timeout" => self.timeouts.run = time(),
            _ => unimplemented!(),
        }
    }

    pub(super) fn get(&self, property: &str) -> glib::Value {
        let text = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string()).to_value();
        match property {
            "model" => text(&self.model),
            "rate" => self.rate.to_value(),
            "min-confidence" => self.min_confidence.to_value(),
            "max-faces" => self.max_faces.to_value(),
            "orientation" => self.orientation.to_value(),
            "execution-provider" => self.execution_provider.to_value(),
            "device-id" => self.device_id.to_value(),
            "engine-cache-dir" => text(&self.engine_cache),
            "ort-library" => text(&self.ort_library),
            "sync" => self.sync.to_value(),
            "load-timeout" => self.timeouts.load.nseconds().to_value(),
            "run-timeout" => self.timeouts.run.nseconds().to_value(),
            _ => unimplemented!(),
        }
    }
}

/// All properties of the element, those that are only read too.
pub(super) fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = analysis_properties();
    properties.extend(provider_properties());
    properties.extend(Timeouts::properties());
    properties.extend([
        glib::ParamSpecString::builder("active-provider")
            .nick("Active provider")
            .blurb("The provider that runs the face models, as ONNX Runtime reports it (unset = not loaded)")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("analyses, dropped (replaced before they were analysed), timeouts (loads and runs that took too long), faces (now), detector-runs, last-analysis-time, mean-analysis-time (ns), analysis-rate (per second), orientation, provider")
            .read_only()
            .build(),
    ]);
    properties
}

fn analysis_properties() -> Vec<glib::ParamSpec> {
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
        glib::ParamSpecEnum::builder_with_default("orientation", VideoOrientation::default())
            .nick("Orientation")
            .blurb("How the video has to be turned or mirrored to be upright; faces are looked for in the upright picture, and marked where they are in the frame")
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("sync", Sync::default())
            .nick("Sync")
            .blurb("Whether frames wait for their analysis")
            .mutable_ready()
            .build(),
    ]
}

fn provider_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecEnum::builder_with_default(
            "execution-provider",
            ExecutionProvider::default(),
        )
        .nick("Execution provider")
        .blurb("What runs the face models; a named provider that is not available is an error")
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
            .blurb("File or directory of libonnxruntime (unset = ORT_DYLIB_PATH, beside the plugin, the system)")
            .mutable_ready()
            .build(),
    ]
}
