// SPDX-License-Identifier: MPL-2.0
//! What mvpfusion tells of the body on its frames, in lines of JSON and in messages.

mod fusion_support;

use fusion_support::{face, feed, launch, ready};
use gst::prelude::*;
use gstmvp::PhysioMeta;
use serde_json::Value;

const LINE: &str = "videotestsrc name=video num-buffers=2700 pattern=black \
     ! video/x-raw,width=64,height=48,framerate=30/1 \
     ! mvpfusion name=f model=MODEL execution-provider=cpu sync=wait \
     ! emotionserialize every=frame ! appsink name=lines sync=false max-buffers=0 \
     appsrc name=ecg ! f.ecg  appsrc name=eda ! f.eda";

/// An ECG of 75 beats per minute, mV.
fn ecg(t: f64) -> f32 {
    let phase = (t % 0.8) - 0.3;
    let wave = |at: f64, width: f64| (-((phase - at) / width).powi(2)).exp();
    let beat = 0.12 * wave(-0.17, 0.03) - 0.12 * wave(-0.025, 0.01) + wave(0.0, 0.011)
        - 0.25 * wave(0.027, 0.011)
        + 0.3 * wave(0.25, 0.05);
    (beat + 0.01 * (t * 377.0).sin()) as f32
}

/// Skin conductance in µS; off the skin from 50 to 65 s.
fn skin(t: f64) -> f32 {
    match (50.0..65.0).contains(&t) {
        true => (0.002 * (t * 31.0).sin()) as f32,
        false => (4.0 + 0.002 * (t * 91.0).sin() + 0.1 * (t * 0.2).sin()) as f32,
    }
}

struct Run {
    lines: Vec<Value>,
    signals: Vec<gst::Structure>,
}

fn run() -> Run {
    let pipeline = launch(LINE);
    face(&pipeline, "video");
    let threads = [
        feed(&pipeline, "ecg", 250, 95, ecg),
        feed(&pipeline, "eda", 16, 95, skin),
    ];
    pipeline.set_state(gst::State::Playing).expect("plays");
    let sink = pipeline.by_name("lines").and_downcast::<gst_app::AppSink>();
    let sink = sink.expect("appsink");
    let mut lines = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let map = sample
            .buffer()
            .expect("buffer")
            .map_readable()
            .expect("readable");
        lines.push(serde_json::from_slice(&map).expect("JSON"));
    }
    let bus = pipeline.bus().expect("bus");
    let mut signals = Vec::new();
    while let Some(message) = bus.pop() {
        match message.view() {
            gst::MessageView::Error(e) => panic!("{e:?}"),
            gst::MessageView::Element(e) => signals.extend(
                e.structure()
                    .filter(|s| s.name() == "mvp-signal")
                    .map(ToOwned::to_owned),
            ),
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null).expect("stops");
    for thread in threads {
        thread.join().expect("the feeder ends");
    }
    Run { lines, signals }
}

#[test]
fn frames_tell_of_the_body_and_every_run_tells_the_same() {
    if !ready("frames_tell_of_the_body_and_every_run_tells_the_same") {
        return;
    }
    let Run { lines, signals } = run();
    assert_eq!(lines.len(), 2700);
    let at = |second: usize| &lines[second * 30 + 15];
    // Not of the future: what is told is of the frame's time or before.
    for line in &lines {
        if let Some(time) = line["time"].as_u64() {
            assert!(Some(time) <= line["running-time"].as_u64(), "{line}");
        }
    }
    let number = |second: usize, name: &str| at(second)[name].as_f64();
    assert!(
        number(40, "hr").is_some_and(|r| (r - 75.0).abs() < 0.5),
        "{}",
        at(40)
    );
    assert!(
        number(40, "scl").is_some_and(|l| (l - 4.0).abs() < 0.3),
        "{}",
        at(40)
    );
    assert!(number(45, "rmssd").is_some_and(|r| r < 5.0), "{}", at(45));
    assert!(at(45).get("sdnn").is_none(), "too early: {}", at(45));
    // Off the skin: what is not known is not there.
    assert!(at(60).get("scl").is_none(), "{}", at(60));
    assert!(number(60, "hr").is_some());
    assert!(
        number(88, "scl").is_some_and(|l| (l - 4.0).abs() < 0.3),
        "{}",
        at(88)
    );

    let said: Vec<(String, String)> = signals
        .iter()
        .map(|s| {
            (
                s.get("modality").expect("modality"),
                s.get("state").expect("state"),
            )
        })
        .collect();
    let of = |modality: &str| -> Vec<&str> {
        let own = said.iter().filter(|(m, _)| m == modality);
        let mut states: Vec<_> = own.map(|(_, state)| state.as_str()).collect();
        states.dedup();
        states
    };
    assert_eq!(of("ecg"), ["good"], "{signals:?}");
    assert_eq!(of("eda"), ["good", "bad", "good"], "{signals:?}");
    let bad = signals
        .iter()
        .find(|s| s.get::<&str>("state") == Ok("bad"))
        .expect("bad");
    assert!(
        bad.get::<&str>("reason").is_ok() && bad.get::<&str>("remedy").is_ok(),
        "{bad}"
    );

    let again = run();
    for (one, two) in lines.iter().zip(&again.lines) {
        assert_eq!(one, two);
    }
    assert_eq!(signals, again.signals);
}

#[test]
fn the_metadata_is_read_by_its_names() {
    fusion_support::init();
    let mut buffer = gst::Buffer::new();
    let meta = PhysioMeta {
        hr: Some(70.0),
        ..PhysioMeta::default()
    };
    meta.attach(buffer.get_mut().expect("own buffer"))
        .expect("attach");
    let custom = gst::meta::CustomMeta::from_buffer(&buffer, "GstPhysioMeta").expect("registered");
    assert_eq!(custom.structure().get::<f64>("hr"), Ok(70.0));
    assert!(!custom.structure().has_field("scl"));
}
