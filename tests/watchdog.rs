// SPDX-License-Identifier: MPL-2.0
//! Graphs that load or run without end: a warning, frames without answers, and an end in time.
//! `tests/python/endless_graphs.py` makes them.

use gst::prelude::*;
use gstmvp::{EmotionMeta, FaceUnitsMeta};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

/// Set by `scripts/setup.sh`.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("GSTMVP_PYTHON")?);
    let onnx = Command::new(&python).args(["-c", "import onnx"]).output();
    onnx.is_ok_and(|o| o.status.success()).then_some(python)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of `model` in which `file` is a graph without end; `None` where it cannot be made or
/// run here, which is said.
fn endless(test: &str, kind: &str, model: &str, file: &str) -> Option<tempfile::TempDir> {
    // A few seconds of computing, so that the process does not go on for long after the test.
    sized(test, kind, model, file, 6000)
}

fn sized(test: &str, kind: &str, model: &str, file: &str, size: u32) -> Option<tempfile::TempDir> {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin");
    });
    let Some(python) = python() else {
        eprintln!("SKIPPED {test}: GSTMVP_PYTHON names no Python with the package onnx");
        return None;
    };
    match onnx::Runtime::load(None) {
        Ok(_) => {}
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            return None;
        }
        Err(e) => panic!("{e}"),
    }
    let target = tempfile::tempdir().expect("directory");
    let made = Command::new(python)
        .arg(root().join("tests/python/endless_graphs.py"))
        .arg(kind)
        .args([&root().join("models").join(model), Path::new(file)])
        .arg(target.path())
        .arg(size.to_string())
        .output()
        .expect("python");
    let text = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{text}");
    Some(target)
}

/// What a pipeline said until EOS or an error, and what its frames carried.
struct Run {
    warnings: Vec<String>,
    frames: Vec<Option<EmotionMeta>>,
    took: Duration,
    /// How long the change to NULL took.
    ended_in: Duration,
    stats: gst::Structure,
}

/// Plays `line`, whose element under test is called `f` and gets face units in every frame,
/// until EOS or for `limit`.
fn play(line: &str, model: &Path, limit: Duration) -> Run {
    let line = line.replace("MODEL", &model.display().to_string());
    let pipeline = gst::parse::launch(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let f = pipeline.by_name("f").expect("the element");
    let units = |pad: &gst::Pad, info: &mut gst::PadProbeInfo<'_>| {
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        if let (Some(buffer), Some(segment)) = (info.buffer_mut(), segment) {
            let segment = segment.segment().downcast_ref::<gst::ClockTime>();
            let time = segment.and_then(|s| s.to_running_time(buffer.pts()));
            let names = face::BLENDSHAPES.iter();
            let meta = FaceUnitsMeta {
                time: time.unwrap_or(gst::ClockTime::ZERO),
                confidence: 0.9,
                track_id: 1,
                units: names.map(|n| (n.to_string(), 0.5)).collect(),
            };
            meta.attach(buffer.make_mut()).expect("attach");
        }
        gst::PadProbeReturn::Ok
    };
    let sink = f.static_pad("sink").expect("pad");
    sink.add_probe(gst::PadProbeType::BUFFER, units);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = seen.clone();
    let src = f.static_pad("src").expect("pad");
    src.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let meta = info.buffer().and_then(|b| EmotionMeta::from_buffer(b));
        list.lock().expect("list").push(meta);
        gst::PadProbeReturn::Ok
    });
    let begun = Instant::now();
    pipeline.set_state(gst::State::Playing).expect("playing");
    let bus = pipeline.bus().expect("bus");
    let mut warnings = Vec::new();
    while let Some(rest) = limit.checked_sub(begun.elapsed()) {
        let Some(message) = bus.timed_pop(gst::ClockTime::try_from(rest).expect("short")) else {
            break;
        };
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Warning(w) => {
                warnings.push(w.error().to_string());
                // How fast the machine is decides when this comes; nothing follows it.
                if warnings.iter().any(|w| w.contains("answers in a row")) {
                    break;
                }
            }
            gst::MessageView::Error(e) => panic!("{e:?}"),
            _ => {}
        }
    }
    let took = begun.elapsed();
    let stats = f.property::<gst::Structure>("stats");
    let begun = Instant::now();
    pipeline.set_state(gst::State::Null).expect("null");
    let ended_in = begun.elapsed();
    println!("NULL took {ended_in:?}");
    let frames = seen.lock().expect("list").clone();
    Run {
        warnings,
        frames,
        took,
        ended_in,
        stats,
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HALF_A_SECOND: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

/// `live` is `true` or `false`.
fn fusion(live: bool, frames: u32, properties: &str) -> String {
    format!(
        "videotestsrc num-buffers={frames} is-live={live} ! \
         video/x-raw,framerate=10/1,width=64,height=48 ! \
         mvpfusion name=f model=MODEL execution-provider=cpu settle-time=100000000 {properties} ! \
         fakesink sync={live}"
    )
}

fn told(run: &Run, words: &[&str]) {
    let texts = &run.warnings;
    let told = |t: &String| words.iter().all(|w| t.contains(w));
    assert!(texts.iter().any(told), "{words:?}: {texts:?}");
}

#[test]
fn a_load_without_end_is_told_and_the_frames_pass() {
    const TEST: &str = "a_load_without_end_is_told_and_the_frames_pass";
    let Some(model) = endless(TEST, "load", "fixture", "fusion.onnx") else {
        return;
    };
    for (live, frames) in [(true, 30), (false, 100)] {
        let line = fusion(live, frames, "load-timeout=1000000000");
        let run = play(&line, model.path(), LONG);
        let words = [
            "loading fusion.onnx",
            "1.0 s (load-timeout)",
            "Remedy",
            "without results",
        ];
        told(&run, &words);
        assert_eq!(run.warnings.len(), 1, "{:?}", run.warnings);
        assert_eq!(run.frames.len(), frames as usize);
        assert!(run.frames.iter().all(Option::is_none));
        assert!(run.took < 20 * SECOND, "{:?}", run.took);
        assert!(run.ended_in < HALF_A_SECOND, "{:?}", run.ended_in);
        assert_eq!(run.stats.get::<u64>("timeouts"), Ok(1));
    }
}

#[test]
fn the_end_comes_within_half_a_second_of_a_load_without_end() {
    const TEST: &str = "the_end_comes_within_half_a_second_of_a_load_without_end";
    let Some(model) = endless(TEST, "load", "fixture", "fusion.onnx") else {
        return;
    };
    // Before any time-out, and while another element loads the same.
    let run = play(&fusion(true, 1000, ""), model.path(), SECOND);
    assert!(run.ended_in < HALF_A_SECOND, "{:?}", run.ended_in);
    // What goes on in the thread that was left keeps no other element from its model.
    let run = play(&fusion(false, 40, ""), &root().join("models/fixture"), LONG);
    assert!(run.warnings.is_empty(), "{:?}", run.warnings);
    assert!(run.frames.last().is_some_and(Option::is_some));
}

#[test]
fn two_elements_that_load_without_end_end_within_half_a_second_together() {
    const TEST: &str = "two_elements_that_load_without_end_end_within_half_a_second_together";
    let Some(faces) = endless(TEST, "load", "face", "face_detector.onnx") else {
        return;
    };
    let Some(model) = endless(TEST, "load", "fixture", "fusion.onnx") else {
        return;
    };
    let faces = format!(
        "facetrack execution-provider=cpu model={} ! mvpfusion",
        faces.path().display()
    );
    let line = fusion(true, 1000, "").replace("mvpfusion", &faces);
    let run = play(&line, model.path(), 2 * SECOND);
    assert!(run.frames.len() > 1, "the video waits");
    assert!(run.warnings.is_empty(), "{:?}", run.warnings);
    assert!(run.ended_in < HALF_A_SECOND, "{:?}", run.ended_in);
}

#[test]
fn a_run_without_end_is_called_off_and_told() {
    const TEST: &str = "a_run_without_end_is_called_off_and_told";
    let Some(model) = endless(TEST, "loop", "fixture", "fusion.onnx") else {
        return;
    };
    // Before the third second too little of the window is there, and no graph is run.
    for (live, frames) in [(true, 90), (false, 90)] {
        let line = fusion(live, frames, "run-timeout=500000000");
        let run = play(&line, model.path(), LONG);
        told(
            &run,
            &["running fusion.onnx", "0.5 s (run-timeout)", "called off"],
        );
        told(&run, &["no graph is run any more", "run-timeout", "Remedy"]);
        assert_eq!(run.warnings.len(), 3, "{:?}", run.warnings);
        assert_eq!(run.frames.len(), frames as usize);
        assert!(run.took < 20 * SECOND, "{:?}", run.took);
        assert!(run.ended_in < HALF_A_SECOND, "{:?}", run.ended_in);
        // The only answers there can be are those for which nothing was run.
        let answers = run.frames.iter().flatten();
        assert!(answers.clone().all(|m| m.label == "unknown"));
        assert!(answers.skip(1).last().is_none_or(|m| m.stale));
    }
}

#[test]
fn an_operator_that_nothing_interrupts_is_left_behind() {
    const TEST: &str = "an_operator_that_nothing_interrupts_is_left_behind";
    let Some(model) = endless(TEST, "matmul", "fixture", "fusion.onnx") else {
        return;
    };
    let line = fusion(true, 48, "run-timeout=300000000");
    let run = play(&line, model.path(), LONG);
    told(&run, &["running fusion.onnx", "0.3 s (run-timeout)"]);
    assert_eq!(run.frames.len(), 48);
    assert!(run.took < 10 * SECOND, "{:?}", run.took);
    assert!(run.ended_in < HALF_A_SECOND, "{:?}", run.ended_in);
}

#[test]
fn answers_that_come_too_slowly_are_told() {
    const TEST: &str = "answers_that_come_too_slowly_are_told";
    let Some(model) = sized(TEST, "matmul", "fixture", "fusion.onnx", 4500) else {
        return;
    };
    let line = fusion(true, 1000, "run-timeout=60000000000");
    let run = play(&line, model.path(), LONG);
    told(&run, &["3 answers in a row", "1.0 s (hop)", "Remedy"]);
    assert_eq!(run.warnings.len(), 1, "{:?}", run.warnings);
    assert!(run.ended_in < HALF_A_SECOND, "{:?}", run.ended_in);
}

#[test]
fn a_face_model_without_end_is_told_and_the_frames_pass() {
    const TEST: &str = "a_face_model_without_end_is_told_and_the_frames_pass";
    for (kind, sync, words) in [
        ("load", "wait", ["loading ", "load-timeout"]),
        ("loop", "wait", ["running ", "run-timeout"]),
        ("loop", "live", ["running ", "run-timeout"]),
    ] {
        let Some(model) = endless(TEST, kind, "face", "face_detector.onnx") else {
            return;
        };
        let line = format!(
            "videotestsrc num-buffers=60 is-live=true ! \
             video/x-raw,format=RGB,framerate=10/1,width=64,height=48 ! \
             facetrack name=f model=MODEL execution-provider=cpu sync={sync} \
             load-timeout=4000000000 run-timeout=300000000 ! fakesink sync=false"
        );
        let run = play(&line, model.path(), LONG);
        told(
            &run,
            &[words[0], "face_detector.onnx", words[1], "without faces"],
        );
        assert_eq!(run.frames.len(), 60);
        assert!(run.took < 20 * SECOND, "{:?}", run.took);
        assert!(run.ended_in < HALF_A_SECOND, "{:?}", run.ended_in);
    }
}

/// The plugin that `GST_PLUGIN_PATH` names, in programs of its own.
#[test]
fn a_process_that_left_a_thread_behind_ends_well() {
    const TEST: &str = "a_process_that_left_a_thread_behind_ends_well";
    if std::env::var_os("GST_PLUGIN_PATH").is_none() {
        eprintln!("SKIPPED {TEST}: GST_PLUGIN_PATH is not set");
        return;
    }
    let Some(model) = endless(TEST, "load", "fixture", "fusion.onnx") else {
        return;
    };
    for (frames, interrupt) in [("20", false), ("100000", true)] {
        let mut child = Command::new("gst-launch-1.0")
            .args(["-e", "videotestsrc", "is-live=true"])
            .arg(format!("num-buffers={frames}"))
            .args(["!", "video/x-raw,framerate=10/1,width=64,height=48", "!"])
            .args(["mvpfusion", "load-timeout=1000000000"])
            .arg(format!("model={}", model.path().display()))
            .args(["!", "fakesink", "sync=true"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("gst-launch-1.0");
        let begun = Instant::now();
        if interrupt {
            std::thread::sleep(3 * SECOND);
            // SAFETY: sends a signal to a child that has not been waited for.
            unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
        }
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if begun.elapsed() > LONG {
                child.kill().expect("a child");
                panic!("it goes on after a minute, interrupted: {interrupt}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(0), "interrupted: {interrupt}, {status}");
    }
}
