// SPDX-License-Identifier: MPL-2.0
//! `facetrack` without ONNX Runtime. A process of its own: once loaded, the library stays.

use gst::prelude::*;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/face");

#[test]
fn without_onnx_runtime_the_pipeline_ends_with_an_error() {
    gst::init().expect("gst");
    gstmvp::plugin_register_static().expect("plugin");
    let directory = tempfile::tempdir().expect("directory");
    let no_library = directory.path().join("libonnxruntime.so");
    std::fs::write(&no_library, b"no library").expect("write");
    let missing = directory.path().join("nowhere.so");

    for (library, name) in [(&no_library, "libonnxruntime.so"), (&missing, "nowhere.so")] {
        for sync in ["wait", "live"] {
            let line = format!(
                "videotestsrc is-live={} ! video/x-raw,format=I420,width=64,height=64 \
                 ! facetrack model={MODELS} sync={sync} ort-library={} ! fakesink",
                sync == "live",
                library.display()
            );
            let pipeline = gst::parse::launch(&line).expect("line");
            // A load that fails at once fails the change of state as well.
            let _ = pipeline.set_state(gst::State::Playing);
            let message = pipeline
                .bus()
                .expect("bus")
                .timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Error])
                .expect("an error, not a hang");
            pipeline.set_state(gst::State::Null).expect("null");
            let gst::MessageView::Error(e) = message.view() else {
                unreachable!()
            };
            let text = e.error().to_string();
            assert!(
                text.contains(name) && text.contains("ort-library"),
                "{text}"
            );
        }
    }
    // The element itself can be looked at.
    let element = gst::ElementFactory::make("facetrack")
        .build()
        .expect("facetrack");
    assert_eq!(element.property::<Option<String>>("active-provider"), None);
    let stats = element.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("analyses"), Ok(0));
}
