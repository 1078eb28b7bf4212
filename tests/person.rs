// SPDX-License-Identifier: MPL-2.0
//! Several faces: whose units a window holds.

use gst::prelude::*;
use gstmvp::FaceUnitsMeta;
use mvp::{Bundle, Estimator, Inputs, Network};
use onnx::{Provider, Runtime, SessionOptions};
use std::path::Path;
use std::sync::Arc;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/fixture");

fn runtime(test: &str) -> Option<Runtime> {
    match Runtime::load(None) {
        Ok(runtime) => Some(runtime),
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

fn estimator(runtime: &Runtime) -> (Arc<Inputs>, Estimator) {
    let bundle = Arc::new(Bundle::open(Path::new(MODEL)).expect("fixture"));
    let options = SessionOptions {
        provider: Provider::Cpu,
        ..Default::default()
    };
    let network = Network::load(runtime, &bundle, &options, |_| {}).expect("network");
    let inputs = Arc::new(Inputs::new(&bundle));
    (inputs.clone(), Estimator::new(bundle, inputs, network))
}

/// The units of a `person` at `time` (ns).
fn units(person: u64, time: u64) -> impl Fn(usize) -> f64 {
    move |i| 0.5 + 0.5 * (time as f64 / 3e9 + i as f64 + person as f64).sin()
}

fn show(inputs: &Inputs, person: u64, from: u64, to: u64) {
    let mut video = inputs.video();
    let count = video.units().len();
    for time in (from..to).step_by(200_000_000) {
        let unit = units(person, time);
        let values: Vec<f64> = (0..count).map(unit).collect();
        video.push(time, 0.9, &values);
    }
}

const SECOND: u64 = 1_000_000_000;

/// After a change, everything is as if the first person had never been there; windows that
/// ended before it stay the first person's.
#[test]
fn a_window_holds_one_person() {
    let Some(runtime) = runtime("a_window_holds_one_person") else {
        return;
    };
    for (at, first_chunk) in [(20 * SECOND, 20), (20 * SECOND + 600_000_000, 21)] {
        for cached in [false, true] {
            let (inputs, mut both) = estimator(&runtime);
            let (alone, mut second) = estimator(&runtime);
            show(&inputs, 1, 0, at);
            let before = cached.then(|| both.answer(20).expect("answer"));
            inputs.video().change_face(at);
            show(&inputs, 2, at, 40 * SECOND);
            // The rest of the chunk in which the person changed is nobody's.
            show(&alone, 2, at, 40 * SECOND);
            let (mut a, mut b) = (
                both.answer(40).expect("answer"),
                second.answer(40).expect("b"),
            );
            (a.took, b.took) = Default::default();
            (a.warming_up, b.warming_up) = Default::default();
            let (_, tokens) = both.tokens().next().expect("video first");
            let valid = tokens.valid.iter().position(|v| *v == 1.0);
            // The window ends at chunk 40 and has 60.
            assert_eq!(valid, Some(20 + first_chunk), "{at}");
            let held = |e: &Estimator| {
                let (_, window) = e.tokens().next().expect("video first");
                (window.tokens.to_vec(), window.valid.to_vec())
            };
            if at % SECOND == 0 {
                assert_eq!(a, b);
                assert_eq!(held(&both), held(&second));
            }
            assert!((a.modalities[0].coverage - b.modalities[0].coverage).abs() < 1e-9);
            if let Some(before) = before {
                assert!(before.modalities[0].coverage > 0.3);
                let again = both.answer(20).expect("answer");
                assert_eq!(again.modalities[0].coverage, before.modalities[0].coverage);
            }
        }
    }
}

/// Runs 20 s at 5 frames a second; `people` tells who is in a frame.
fn run(people: fn(u64) -> Vec<u64>) -> (Vec<f64>, Vec<String>) {
    let line = format!(
        "videotestsrc name=video num-buffers=100 ! video/x-raw,width=32,height=32,framerate=5/1 \
         ! mvpfusion model={MODEL} execution-provider=cpu ! fakesink"
    );
    let pipeline = gst::parse::launch(&line).expect("line");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("pipeline");
    let video = pipeline.by_name("video").expect("video");
    let pad = video.static_pad("src").expect("src");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            let time = buffer.pts().expect("stamped");
            for track_id in people(time.nseconds() / SECOND) {
                let unit = units(track_id, time.nseconds());
                let named = face::BLENDSHAPES.iter().enumerate();
                let meta = FaceUnitsMeta {
                    time,
                    confidence: 0.9,
                    track_id,
                    units: named.map(|(i, n)| (n.to_string(), unit(i))).collect(),
                };
                meta.attach(buffer.make_mut()).expect("attach");
            }
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("playing");
    let bus = pipeline.bus().expect("bus");
    let (mut seconds, mut warnings) = (Vec::new(), Vec::new());
    loop {
        use gst::MessageView;
        let message = bus.timed_pop(gst::ClockTime::from_seconds(60));
        match message.expect("an end within a minute").view() {
            MessageView::Eos(_) => break,
            MessageView::Error(e) => panic!("{e}"),
            MessageView::Warning(w) => warnings.push(w.error().to_string()),
            MessageView::Element(e) => {
                if let Some(s) = e.structure().filter(|s| s.name() == "mvp-emotion") {
                    let coverage: f64 = s.get("coverage-video").expect("coverage");
                    seconds.push((coverage * 60.0 * 5.0).round() / 5.0);
                }
            }
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null).expect("null");
    (seconds, warnings)
}

#[test]
fn several_faces_are_told_once_and_never_mixed() {
    if runtime("several_faces_are_told_once_and_never_mixed").is_none() {
        return;
    }
    gst::init().expect("gst");
    gstmvp::plugin_register_static().expect("plugin");
    let all: Vec<f64> = (1..20).map(f64::from).collect();

    let (seconds, warnings) = run(|_| vec![7]);
    assert_eq!((seconds, warnings), (all.clone(), vec![]));

    let (seconds, warnings) = run(|_| vec![7, 3]);
    assert_eq!(seconds, all);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for want in [
        "2 faces",
        "7, 3",
        "of track 3",
        "Expected one face",
        "max-faces=1",
    ] {
        assert!(warnings[0].contains(want), "{warnings:?}");
    }

    // One leaves, and another takes the place: his window begins after the patience.
    let (seconds, warnings) = run(|s| if s < 10 { vec![3] } else { vec![7] });
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(seconds[..9], all[..9]);
    let last = seconds.last().expect("results");
    assert!((7.0..=9.0).contains(last), "{seconds:?}");

    // A neighbour who looks in for a second changes nothing but that second.
    let (seconds, _) = run(|s| if s == 10 { vec![7] } else { vec![3] });
    let last = seconds.last().expect("results");
    assert!((17.0..=19.0).contains(last), "{seconds:?}");
}
