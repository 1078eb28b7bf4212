// SPDX-License-Identifier: MPL-2.0
//! The metadata on its way: through common elements, and into stock Python.

use gst::{ClockTime, prelude::*};
use gstmvp::EmotionMeta;
use gstmvp::FaceUnitsMeta;
use gstmvp::PhysioTraceMeta;
use gstmvp::meta::PhysioTrace;
use mvp::ModalityState;
use onnx::Runtime;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin mvp");
    });
}

fn result(sequence: u64) -> EmotionMeta {
    EmotionMeta {
        valence: 0.1 * sequence as f64,
        arousal: 1.0 / 3.0,
        valence_known: 0.75,
        arousal_known: 0.5,
        valence_now: Some(0.375),
        baseline_progress: 0.875,
        label: "gelöst".into(),
        confidence: 0.5,
        classes: vec![("calm".into(), 0.6), ("tense".into(), 0.4)],
        window_start: ClockTime::from_nseconds(1),
        window_end: ClockTime::from_seconds(60 + sequence),
        age: ClockTime::from_mseconds(40),
        modalities: ["video", "eda", "ecg"]
            .map(|name| ModalityState {
                name: name.into(),
                coverage: 0.5,
                quality: 0.75,
            })
            .to_vec(),
        alignment: vec![("eda".into(), -20_000_000)],
        sequence,
        model: "test 1".into(),
        trained: true,
        provider: "cpu".into(),
        inference_time: ClockTime::from_mseconds(2),
        warming_up: true,
        stale: false,
    }
}

fn faces(n: u64) -> FaceUnitsMeta {
    FaceUnitsMeta {
        time: ClockTime::from_mseconds(40 * n),
        confidence: 0.9,
        track_id: n,
        units: vec![("jawOpen".into(), 0.25), ("mouthSmileLeft".into(), 0.5)],
    }
}

fn traces() -> PhysioTraceMeta {
    PhysioTraceMeta {
        traces: vec![PhysioTrace::new(
            "eda",
            4.0,
            ClockTime::from_seconds(60),
            [0.5, -0.5],
        )],
    }
}

/// Sends five frames with all metadata through `middle` and checks what comes out at `out`.
fn survives(middle: &str) {
    init();
    let line = format!(
        "videotestsrc num-buffers=5 ! video/x-raw,format=I420,width=64,height=48,framerate=25/1 \
         ! identity name=in ! {middle} ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&line)
        .unwrap_or_else(|e| panic!("{line}: {e}"))
        .downcast::<gst::Pipeline>()
        .expect("pipeline");
    let pad = pipeline
        .by_name("in")
        .and_then(|e| e.static_pad("src"))
        .expect("pad");
    let count = std::sync::atomic::AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if let Some(buffer) = info.buffer_mut() {
            let buffer = buffer.make_mut();
            result(n).attach(buffer).expect("result");
            faces(n).attach(buffer).expect("face");
            faces(n + 100).attach(buffer).expect("second face");
            traces().attach(buffer).expect("traces");
        }
        gst::PadProbeReturn::Ok
    });
    let sink = pipeline
        .by_name("out")
        .and_then(|s| s.downcast::<gst_app::AppSink>().ok())
        .expect("appsink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    for n in 0..5 {
        let sample = sink
            .try_pull_sample(ClockTime::from_seconds(20))
            .unwrap_or_else(|| panic!("{middle}: frame {n} is missing"));
        let buffer = sample.buffer().expect("buffer");
        assert_eq!(
            EmotionMeta::from_buffer(buffer),
            Some(result(n)),
            "{middle}"
        );
        assert_eq!(
            FaceUnitsMeta::all_from_buffer(buffer),
            [faces(n), faces(n + 100)],
            "{middle}"
        );
        assert_eq!(
            PhysioTraceMeta::from_buffer(buffer),
            Some(traces()),
            "{middle}"
        );
    }
    assert!(sink.try_pull_sample(ClockTime::from_seconds(20)).is_none());
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn survives_identity() {
    survives("identity");
    // A copy of the frame instead of the frame.
    survives("identity drop-allocation=true ! videobalance brightness=0.1");
}

#[test]
fn survives_queue() {
    survives("queue");
}

#[test]
fn survives_tee() {
    survives("tee name=t t. ! queue ! fakesink sync=false t. ! queue");
}

#[test]
fn survives_videoconvert() {
    survives("videoconvert ! video/x-raw,format=RGB");
}

#[test]
fn survives_videoscale() {
    survives("videoscale ! video/x-raw,width=32,height=30");
}

#[test]
fn survives_the_overlay() {
    survives("emotionoverlay");
}

#[test]
fn survives_videorate_and_flip() {
    survives("videorate ! videoflip method=clockwise");
}

/// The Python that tests use, if it has GStreamer's bindings.
fn python(test: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates = std::env::var_os("GSTMVP_PYTHON").map(PathBuf::from);
    let candidates = candidates.into_iter().chain([
        root.join("target/venv/bin/python"),
        PathBuf::from("/usr/bin/python3"),
    ]);
    for python in candidates {
        let check = Command::new(&python)
            .args([
                "-c",
                "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst",
            ])
            .output();
        if check.is_ok_and(|o| o.status.success()) {
            return Some(python);
        }
    }
    println!(
        "SKIPPED {test}: no Python with GStreamer's bindings (python3-gi, gir1.2-gstreamer-1.0)"
    );
    None
}

/// A folder with nothing but the plugin of this build, for GST_PLUGIN_PATH.
fn plugin_folder() -> tempfile::TempDir {
    let exe = std::env::current_exe().expect("own path");
    let built = exe.with_file_name("libgstmvp.so");
    let dir = tempfile::tempdir().expect("folder");
    std::fs::copy(&built, dir.path().join("libgstmvp.so"))
        .unwrap_or_else(|e| panic!("{}: {e}", built.display()));
    dir
}

#[test]
fn stock_python_reads_the_results() {
    init();
    const NAME: &str = "stock_python_reads_the_results";
    match Runtime::load(None) {
        Ok(_) => (),
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            println!("SKIPPED {NAME}: {e}");
            return;
        }
        Err(e) => panic!("{e}"),
    }
    let Some(python) = python(NAME) else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let line = format!(
        "videotestsrc num-buffers=100 ! video/x-raw,width=64,height=48,framerate=25/1 ! fusion. \
         audiotestsrc samplesperbuffer=64 num-buffers=40 \
         ! audio/x-raw,format=F32LE,rate=256,channels=1 ! fusion.ecg \
         mvpfusion name=fusion execution-provider=cpu model={} \
         ! tee name=t t. ! queue ! emotionserialize every=frame ! filesink location={{json}} \
         t. ! queue max-size-buffers=0 max-size-time=0 ! appsink name=out sync=false",
        root.join("models/fixture").display()
    );
    let plugin = plugin_folder();
    let json = plugin.path().join("results.jsonl");
    let output = Command::new(python)
        .arg(root.join("tests/python/read_results.py"))
        .arg(line.replace("{json}", &json.display().to_string()))
        .env("GST_PLUGIN_PATH", plugin.path())
        .env("GST_REGISTRY", plugin.path().join("registry.bin"))
        .output()
        .expect("python");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let parse = |text: &str| -> Vec<serde_json::Map<String, serde_json::Value>> {
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}")))
            .collect()
    };
    let python = parse(&String::from_utf8(output.stdout).expect("UTF-8"));
    let ours = parse(&std::fs::read_to_string(json).expect("emotionserialize wrote"));
    assert_eq!((python.len(), ours.len()), (100, 100), "{stderr}");
    let mut results = 0;
    for (mut ours, python) in ours.into_iter().zip(python) {
        // What belongs to the frame, not to the result.
        ours.remove("frame");
        ours.remove("running-time");
        results += u64::from(ours.contains_key("sequence"));
        assert_eq!(ours, python);
    }
    assert!(results >= 50, "{results} frames with a result");
}
