// SPDX-License-Identifier: MPL-2.0
//! A bundle that says which modality gives which axis: the label keeps to what was seen.

use mvp::{Answer, Bundle, Estimator, Inputs, Network};
use onnx::{Provider, Runtime, SessionOptions};
use std::path::Path;
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;

/// The untrained fixture with `outputs` in its table of that name, and names for single axes.
fn bundle(outputs: &str) -> (tempfile::TempDir, Result<Bundle, String>) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture");
    let dir = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(fixture).expect("the fixture") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
    }
    let file = dir.path().join("mvp.toml");
    let text = std::fs::read_to_string(&file).expect("the manifest");
    let text = text.replace("[outputs]\n", &format!("[outputs]\n{outputs}\n"))
        + "neutral = \"neutral\"\npositive = \"positive\"\nnegative = \"negative\"\n\
           aroused = \"aroused\"\ncalm = \"calm\"\n";
    std::fs::write(&file, text).expect("written");
    let bundle = Bundle::open(dir.path()).map_err(|e| e.to_string());
    (dir, bundle)
}

const OUTPUTS: &str = "now = 5.0\n\
     known = { valence = { video = 1.0 }, arousal = { eda = 0.8, ecg = 0.6, ppg = 0.6 } }";

fn answer(test: &str, face: bool, body: bool) -> Option<Answer> {
    let runtime = match Runtime::load(None) {
        Ok(runtime) => runtime,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            return None;
        }
        Err(e) => panic!("{e}"),
    };
    let options = SessionOptions {
        provider: Provider::Cpu,
        ..Default::default()
    };
    let (_dir, bundle) = bundle(OUTPUTS);
    let bundle = Arc::new(bundle.expect("a bundle"));
    let network = Network::load(&runtime, &bundle, &options, |_| {}).expect("network");
    let inputs = Arc::new(Inputs::new(&bundle));
    let mut estimator = Estimator::new(bundle, inputs.clone(), network);
    inputs.signal("eda").expect("eda").configure(4.0, None);
    for s in 0..60u64 {
        if face {
            let mut video = inputs.video();
            let units = vec![0.2; video.units().len()];
            for i in 0..5 {
                video.push(s * SECOND + i * SECOND / 5, 0.9, &units);
            }
        }
        if body {
            let mut track = inputs.signal("eda").expect("eda");
            for i in 0..4 {
                let t = s * SECOND + i * SECOND / 4;
                track.push(t, 5.0 + (t as f64 / 3e9).sin());
            }
        }
    }
    Some(estimator.answer(60).expect("an answer"))
}

#[test]
fn a_face_alone_gives_valence_and_no_word_for_arousal() {
    let Some(a) = answer("a_face_alone_gives_valence", true, false) else {
        return;
    };
    assert!(a.valence_known > 0.9 && a.arousal_known == 0.0, "{a:?}");
    assert!(
        ["neutral", "positive", "negative"].contains(&a.label.as_str()),
        "{a:?}"
    );
    assert!(a.confidence > 0.0 && a.valence_now.is_some(), "{a:?}");
}

#[test]
fn a_body_alone_gives_arousal_and_no_word_for_valence() {
    let Some(a) = answer("a_body_alone_gives_arousal", false, true) else {
        return;
    };
    // The share of the skill that EDA alone has.
    assert!((0.6..=0.8).contains(&a.arousal_known), "{a:?}");
    assert_eq!((a.valence_known, a.valence_now), (0.0, None), "{a:?}");
    assert!(["aroused", "calm"].contains(&a.label.as_str()), "{a:?}");
}

#[test]
fn both_together_may_have_any_word_but_unknown() {
    let Some(a) = answer("both_together", true, true) else {
        return;
    };
    assert!(a.valence_known > 0.9 && a.arousal_known > 0.6, "{a:?}");
    assert!(a.label != "unknown" && a.confidence > 0.0, "{a:?}");
}

#[test]
fn what_does_not_fit_is_named() {
    for (outputs, expected) in [
        (
            "known = { valence = { vido = 1.0 }, arousal = { eda = 0.8 } }",
            "'vido' is neither video nor a modality",
        ),
        (
            "known = { valence = { video = 1.5 }, arousal = { eda = 0.8 } }",
            "valence.video must be 0 to 1, found 1.5",
        ),
        ("middle = 0.6", "middle must be 0 to 0.4, found 0.6"),
        ("now = -1.0", "now must be 0 to 600 seconds, found -1"),
    ] {
        let (_dir, bundle) = bundle(outputs);
        let error = bundle.expect_err(outputs);
        assert!(error.contains(expected), "{outputs}: {error}");
    }
}
