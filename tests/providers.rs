// SPDX-License-Identifier: MPL-2.0
//! On which execution provider the elements run, and what they say about it. A process of its
//! own: what is told once is told to the first test that listens.

use gst::prelude::*;
use std::time::Duration;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn ready(test: &str) -> bool {
    static REGISTERED: std::sync::Once = std::sync::Once::new();
    REGISTERED.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin");
    });
    match onnx::Runtime::load(None) {
        Ok(_) => true,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

fn pipeline(provider: &str) -> gst::Pipeline {
    let face =
        format!("facetrack sync=wait execution-provider={provider} model={ROOT}/models/face");
    let fusion = format!("mvpfusion execution-provider={provider} model={ROOT}/models/fixture");
    gst::parse::launch(&format!(
        "videotestsrc num-buffers=60 ! video/x-raw,format=RGB,width=64,height=64,framerate=30/1 \
         ! {face} name=a ! {face} name=b ! {fusion} name=c ! {fusion} name=d ! fakesink"
    ))
    .expect("line")
    .downcast()
    .expect("pipeline")
}

/// Plays to the end; the warnings and the errors, and what each element says that runs it.
fn play(pipeline: &gst::Pipeline) -> (Vec<String>, Vec<String>, Vec<Option<String>>) {
    let _ = pipeline.set_state(gst::State::Playing);
    let bus = pipeline.bus().expect("bus");
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    loop {
        let patience = gst::ClockTime::try_from(Duration::from_secs(60)).expect("time");
        let message = bus.timed_pop(patience).expect("the pipeline stands still");
        match message.view() {
            gst::MessageView::Warning(w) => warnings.push(w.error().to_string()),
            gst::MessageView::Error(e) => {
                errors.push(e.error().to_string());
                break;
            }
            gst::MessageView::Eos(_) => break,
            _ => {}
        }
    }
    let active = ["a", "b", "c", "d"].map(|name| {
        let element = pipeline.by_name(name).expect("named");
        element.property::<Option<String>>("active-provider")
    });
    pipeline.set_state(gst::State::Null).expect("null");
    (warnings, errors, active.to_vec())
}

#[test]
fn why_a_better_provider_is_left_is_told_once_in_a_process() {
    let test = "why_a_better_provider_is_left_is_told_once_in_a_process";
    if !ready(test) {
        return;
    }
    // The second pipeline with `auto` has nothing new to say.
    for (provider, expected) in [("cpu", 0), ("auto", 1), ("auto", 0)] {
        let (warnings, errors, active) = play(&pipeline(provider));
        assert!(errors.is_empty(), "{errors:?}");
        if active.iter().any(|a| a.as_deref() != Some("cpu")) {
            eprintln!("SKIPPED {test}: {active:?} are there");
            return;
        }
        let told = |word: &str| warnings.iter().filter(|w| w.contains(word)).count();
        for word in ["tensorrt: ", "cuda: "] {
            assert_eq!(told(word), expected, "{provider}, {word}: {warnings:?}");
        }
        for word in ["execution-provider=auto", "runs on cpu", "active-provider"] {
            assert!(
                expected == 0 || told(word) > 0,
                "no '{word}' in {warnings:?}"
            );
        }
    }
}

#[test]
fn a_provider_that_was_named_and_is_absent_is_an_error_each_time() {
    let test = "a_provider_that_was_named_and_is_absent_is_an_error_each_time";
    if !ready(test) {
        return;
    }
    for provider in ["cuda", "tensorrt", "cuda"] {
        let (_, errors, active) = play(&pipeline(provider));
        if active.iter().any(|a| a.as_deref() == Some(provider)) {
            eprintln!("SKIPPED {test}: {provider} is there");
            return;
        }
        let error = errors.join("\n");
        assert!(
            error.contains(provider) && error.contains("execution-provider"),
            "{error}"
        );
    }
}

#[test]
fn both_elements_have_the_same_provider_properties() {
    if !ready("both_elements_have_the_same_provider_properties") {
        return;
    }
    let properties = |factory: &str| {
        let element = gst::ElementFactory::make(factory).build().expect("element");
        [
            "execution-provider",
            "device-id",
            "engine-cache-dir",
            "ort-library",
            "active-provider",
        ]
        .map(|name| {
            let found = element.find_property(name);
            let spec = found.unwrap_or_else(|| panic!("{factory} has no {name}"));
            let default = format!("{:?}", spec.default_value());
            (name, spec.value_type(), spec.flags(), default)
        })
    };
    assert_eq!(properties("facetrack"), properties("mvpfusion"));
    let face = gst::ElementFactory::make("facetrack")
        .build()
        .expect("face");
    face.set_property("device-id", 3);
    face.set_property("engine-cache-dir", "engines");
    assert_eq!(face.property::<i32>("device-id"), 3);
    let cache = face.property::<Option<String>>("engine-cache-dir");
    assert_eq!(cache.as_deref(), Some("engines"));
}
