// SPDX-License-Identifier: MPL-2.0
//! The bundle and the estimator against the untrained fixture and a real ONNX Runtime.

use gstmvp::inference::{
    Bundle, Error, Estimator, Inputs, Network, Provider, Runtime, SessionOptions,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture")
}

fn runtime(test: &str) -> Option<Runtime> {
    match Runtime::load(None) {
        Ok(runtime) => Some(runtime),
        Err(e @ Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

fn network(runtime: &Runtime, bundle: &Bundle) -> Result<Network, Error> {
    let options = SessionOptions {
        provider: Provider::Cpu,
        ..Default::default()
    };
    Network::load(runtime, bundle, &options, |_| {})
}

fn estimator(runtime: &Runtime) -> (Arc<Inputs>, Estimator) {
    let bundle = Arc::new(Bundle::open(&fixture()).expect("fixture"));
    let network = network(runtime, &bundle).expect("network");
    let inputs = Arc::new(Inputs::new(&bundle));
    (inputs.clone(), Estimator::new(bundle, inputs, network))
}

/// Feeds everything that happens in second `s`.
fn feed(inputs: &Inputs, s: u64, eda: bool) {
    for (name, rate, on) in [("eda", 4u64, eda), ("ecg", 256, true)] {
        let mut track = inputs.signal(name).expect("in the bundle");
        if s == 0 {
            track.configure(rate as f64, None);
        }
        for i in (0..rate).filter(|_| on) {
            let t = s * 1_000_000_000 + i * 1_000_000_000 / rate;
            let x = t as f64 / 1e9;
            track.push(t, 5.0 + (x * 1.7).sin() + 0.3 * (x * 7.3).cos());
        }
    }
    let mut video = inputs.video();
    let n = video.units().len();
    for i in 0..5 {
        let t = s * 1_000_000_000 + i * 200_000_000;
        let units: Vec<f64> = (0..n)
            .map(|u| (t as f64 / 3e9 + u as f64).sin() * 0.5 + 0.5)
            .collect();
        video.push(t, 0.9, &units);
    }
}

#[test]
fn cached_tokens_answer_as_a_fresh_start_does() {
    let Some(runtime) = runtime("cached_tokens_answer_as_a_fresh_start_does") else {
        return;
    };
    let (inputs, mut streaming) = estimator(&runtime);
    let (same, mut fresh) = estimator(&runtime);
    let mut last = None;
    for s in 0..70 {
        feed(&inputs, s, true);
        feed(&same, s, true);
        last = Some(streaming.answer(s + 1).expect("answer"));
    }
    let mut at_once = fresh.answer(70).expect("answer");
    let mut last = last.expect("70 answers");
    (last.took, at_once.took) = Default::default();
    assert_eq!(last, at_once);
    assert!(!last.warming_up);
    assert_eq!(
        (last.window_start, last.window_end),
        (10_000_000_000, 70_000_000_000)
    );
    let coverage: Vec<_> = last
        .modalities
        .iter()
        .map(|m| (m.name.as_str(), m.coverage, m.quality))
        .collect();
    assert_eq!(
        coverage,
        [
            ("video", 1.0, 1.0),
            ("eda", 1.0, 1.0),
            ("ecg", 1.0, 1.0),
            ("ppg", 0.0, 0.0)
        ]
    );
}

#[test]
fn what_is_missing_is_masked_and_changes_the_answer() {
    let Some(runtime) = runtime("what_is_missing_is_masked_and_changes_the_answer") else {
        return;
    };
    let (with, mut a) = estimator(&runtime);
    let (without, mut b) = estimator(&runtime);
    for s in 0..30 {
        feed(&with, s, true);
        feed(&without, s, false);
    }
    let (a, b) = (a.answer(30).expect("answer"), b.answer(30).expect("answer"));
    assert_eq!(b.modalities[1].coverage, 0.0);
    assert!(
        (0.4..0.5).contains(&a.modalities[1].coverage),
        "{:?}",
        a.modalities[1]
    );
    assert!((a.valence - b.valence).abs() > 1e-6);
    assert!(a.warming_up && b.warming_up);
}

#[test]
fn nothing_at_all_is_unknown_and_not_an_error() {
    let Some(runtime) = runtime("nothing_at_all_is_unknown_and_not_an_error") else {
        return;
    };
    let (_, mut estimator) = estimator(&runtime);
    let answer = estimator.answer(5).expect("answer");
    assert_eq!((answer.label.as_str(), answer.confidence), ("unknown", 0.0));
    assert!(answer.warming_up);
}

#[test]
fn the_estimator_may_start_late_and_jump() {
    let Some(runtime) = runtime("the_estimator_may_start_late_and_jump") else {
        return;
    };
    let (inputs, mut estimator) = estimator(&runtime);
    for s in 0..200 {
        feed(&inputs, s, true);
    }
    let late = estimator.answer(200).expect("answer");
    assert!(late.modalities[1].coverage > 0.99);
    assert!(estimator.answer(100_000).expect("far ahead").confidence == 0.0);
}

fn copy_of_fixture() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("dir");
    for entry in std::fs::read_dir(fixture()).expect("bundle") {
        let entry = entry.expect("entry");
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
    }
    dir
}

fn edited(from: &str, to: &str) -> (tempfile::TempDir, String) {
    let dir = copy_of_fixture();
    let path = dir.path().join("mvp.toml");
    let text = std::fs::read_to_string(&path).expect("manifest");
    assert!(text.contains(from), "{from}");
    std::fs::write(&path, text.replacen(from, to, 1)).expect("write");
    let error = Bundle::open(dir.path())
        .map(|_| String::new())
        .map_err(|e| e.to_string());
    (dir, error.unwrap_or_else(|e| e))
}

#[test]
fn a_wrong_manifest_is_told_by_field_with_expected_and_found() {
    for (from, to, wants) in [
        (
            "format = 1",
            "format = 7",
            vec!["format", "expected 1", "found 7"],
        ),
        (
            "trained = false",
            "trained = false\ncolour = 3",
            vec!["colour"],
        ),
        (
            "duration = 60.0",
            "duration = 60.5",
            vec!["duration", "60.5"],
        ),
        ("duration = 60.0", "duration = nan", vec!["duration"]),
        ("hop = 1.0", "hop = 0.0", vec!["hop"]),
        (
            "min-coverage = 0.05",
            "min-coverage = 5.0",
            vec!["min-coverage", "5"],
        ),
        ("rate = 4.0", "rate = 0.0", vec!["eda", "rate"]),
        ("[[\"eda\"]]", "[[\"gsr\"]]", vec!["gsr", "eda, ecg, ppg"]),
        ("\"MODEL_CARD.md\"", "\"CARD.md\"", vec!["CARD.md"]),
        (
            "\"MODEL_CARD.md\"",
            "\"../MODEL_CARD.md\"",
            vec!["plain name"],
        ),
        ("\"MODEL_CARD.md\"", "\"/etc/hostname\"", vec!["plain name"]),
        ("\"units\"", "\"clip\"", vec!["clip", "units"]),
        ("width = 32", "width = 0", vec!["width"]),
        ("name = \"ecg\"", "name = \"video\"", vec!["video"]),
        ("order = 2", "order = 99", vec!["order", "99"]),
        (
            "name = \"eda\"\nrate",
            "name = \"eda\"\ninput = \"gsr\"\nrate",
            vec!["eda", "input", "gsr"],
        ),
    ] {
        let (_dir, error) = edited(from, to);
        assert!(error.starts_with("bundle "), "{to}: {error}");
        for want in wants {
            assert!(error.contains(want), "{to}: '{want}' is not in: {error}");
        }
    }
}

#[test]
fn no_bundle_is_told() {
    let error = Bundle::open(Path::new("/no/such/bundle"))
        .expect_err("absent")
        .to_string();
    assert!(
        error.contains("/no/such/bundle") && error.contains("mvp.toml"),
        "{error}"
    );
    let empty = tempfile::tempdir().expect("dir");
    assert!(
        Bundle::open(empty.path())
            .expect_err("empty")
            .to_string()
            .contains("mvp.toml")
    );
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_bundle_is_refused() {
    let outside = tempfile::NamedTempFile::new().expect("file");
    let dir = copy_of_fixture();
    std::fs::remove_file(dir.path().join("MODEL_CARD.md")).expect("remove");
    std::os::unix::fs::symlink(outside.path(), dir.path().join("MODEL_CARD.md")).expect("link");
    let error = Bundle::open(dir.path()).expect_err("link").to_string();
    assert!(error.contains("outside"), "{error}");
}

#[test]
fn a_damaged_graph_is_told_by_hash() {
    let dir = copy_of_fixture();
    let path = dir.path().join("fusion.onnx");
    let mut bytes = std::fs::read(&path).expect("graph");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("write");
    let bundle = Bundle::open(dir.path()).expect("manifest is right");
    let error = bundle
        .read_graph(&bundle.fusion().graph())
        .expect_err("damaged")
        .to_string();
    for want in ["fusion.onnx", "sha256", "expected", "found"] {
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_graph_of_another_shape_or_name_is_told() {
    let Some(runtime) = runtime("a_graph_of_another_shape_or_name_is_told") else {
        return;
    };
    // The graphs of two streams, exchanged: right names, wrong shapes.
    let dir = copy_of_fixture();
    let path = dir.path().join("mvp.toml");
    let text = std::fs::read_to_string(&path).expect("manifest");
    let line = |name: &str| {
        let start = text.find(&format!("file = \"{name}.onnx\"")).expect("line");
        let stop = start + text[start..].find(", context").expect("context");
        text[start..stop].to_string()
    };
    for (from, to, wants) in [
        (
            "eda",
            "ecg",
            ["ecg.onnx", "signal", "[1, 1, 20]", "[1,1,256]"],
        ),
        (
            "eda",
            "video",
            ["video.onnx", "signal", "to be there", "units"],
        ),
    ] {
        std::fs::write(&path, text.replacen(&line(from), &line(to), 1)).expect("write");
        let bundle = Bundle::open(dir.path()).expect("manifest is right");
        let Err(error) = network(&runtime, &bundle) else {
            panic!("{to} passed as {from}")
        };
        for want in wants {
            assert!(error.to_string().contains(want), "{error}");
        }
    }
}
