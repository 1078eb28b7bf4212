// SPDX-License-Identifier: MPL-2.0
//! The line of docs/reference.md as `gst-launch-1.0` runs it, between a sensor on LSL and a foreign
//! reader of the streams that it makes.

mod lsl_support;

use lsl_support::{Peer, hermetic, outlet, python, stream};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use stream_info::Format;

const RATE: f64 = 250.0;
const PERIOD: f64 = 0.8;
/// From the beginning of a period to its R peak, s.
const R: f64 = 0.3;

/// An ECG of 75 beats per minute, mV.
fn ecg(n: u64) -> f32 {
    let t = n as f64 / RATE;
    let phase = t % PERIOD - R;
    let wave = |at: f64, width: f64| (-((phase - at) / width).powi(2)).exp();
    let beat = 0.12 * wave(-0.17, 0.03) - 0.12 * wave(-0.025, 0.01) + wave(0.0, 0.011)
        - 0.25 * wave(0.027, 0.011)
        + 0.3 * wave(0.25, 0.05);
    (beat + 0.01 * (t * 377.0).sin()) as f32
}

/// Ends the line with the test.
struct Launched(Child);

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The line of the page, with names of its own.
fn launch(plugin: &Path, registry: &Path) -> Launched {
    let page = include_str!("../docs/reference.md");
    let section = page
        .split("## Streams of features and events")
        .nth(1)
        .expect("section");
    let line = section
        .split("```sh\n")
        .nth(1)
        .and_then(|s| s.split("```").next());
    let line = line.expect("a line").replace("\\\n", " ");
    let line = line
        .replace("stream-type=ECG", "stream-name=features-ecg")
        .replace("stream-name=HeartFeatures", "stream-name=features-out")
        .replace("stream-name=HeartEvents", "stream-name=events-out");
    let mut words = line.split_whitespace();
    let program = words.next().expect("a program");
    assert_eq!(program, "gst-launch-1.0");
    let child = Command::new(program)
        .arg("-q")
        .args(words)
        .env("GST_PLUGIN_PATH", plugin)
        .env("GST_REGISTRY", registry)
        .env("G_DEBUG", "fatal-criticals")
        .stdout(Stdio::null())
        .spawn();
    Launched(child.expect("gst-launch-1.0"))
}

fn said(peer: &Peer, event: &str) -> Value {
    serde_json::from_str(&peer.wait(&format!("\"event\": \"{event}\""))).expect("JSON")
}

fn reader(python: &Path, name: &str, count: &str) -> Peer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/pylsl_inlet.py");
    let mut command = Command::new(python);
    command.arg(script).args([name, count]);
    Peer::spawn(command)
}

#[test]
fn a_heart_on_lsl_gives_features_and_events_on_lsl() {
    let Some(library) = hermetic() else {
        return;
    };
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let own = std::env::current_exe().expect("own path");
    let built = own.with_file_name("libgstmvp.so");
    if !built.is_file() {
        println!("SKIPPED: {} is not built", built.display());
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    std::fs::copy(built, directory.path().join("libgstmvp.so")).expect("copy");

    let mut new = stream("features-ecg", RATE, Format::F32);
    new.stream_type = "ECG";
    let sensor = outlet(library, &new);
    let _line = launch(directory.path(), &directory.path().join("registry.bin"));
    sensor.wait();
    let t0 = sensor.now() + 0.1;
    std::thread::scope(|scope| {
        scope.spawn(|| sensor.play(t0, 0, 25 * RATE as u64, 5, |n, _| ecg(n)));
        let (features, events) = (
            reader(&python, "features-out", "8"),
            reader(&python, "events-out", "10"),
        );
        let open = said(&features, "open");
        assert_eq!(open["type"], "Features");
        assert_eq!(
            open["labels"],
            serde_json::json!([
                "hr",
                "rmssd",
                "sdnn",
                "pnn50",
                "lf-hf",
                "respiration-rate",
                "quality-ecg"
            ])
        );
        assert_eq!(open["units"][0], "bpm");
        let open = said(&events, "open");
        assert_eq!(open["type"], "Events");

        let found = said(&events, "samples");
        let stamps = found["stamps"].as_array().expect("stamps");
        for (stamp, sample) in stamps
            .iter()
            .zip(found["values"].as_array().expect("values"))
        {
            let stamp: f64 = stamp.as_str().expect("text").parse().expect("a number");
            let text = sample[0].as_str().expect("text");
            // Python's repr of a text.
            let line: Value = serde_json::from_str(text.trim_matches('\'')).expect("JSON");
            assert_eq!(line["event"], "beat");
            let phase = (stamp - t0).rem_euclid(PERIOD) - R;
            assert!(
                phase.abs() < 0.02,
                "a beat {phase} s from an R peak: {line}"
            );
        }
        let found = said(&features, "samples");
        let last = found["values"]
            .as_array()
            .and_then(|v| v.last())
            .expect("samples");
        let number = |i: usize| -> f64 { last[i].as_str().expect("text").parse().expect("number") };
        assert!((number(0) - 75.0).abs() < 1.0, "{last}");
        assert!(number(2).is_nan() && number(6) > 0.5, "{last}");
    });
}
