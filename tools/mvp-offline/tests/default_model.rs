// SPDX-License-Identifier: MPL-2.0
//! The bundle `models/default` is trained and small, and gives the answers of PyTorch on 100
//! windows of a real recording, which `training/reference.py` wrote (`tests/data/default`).

use mvp::Bundle;
use onnx::Runtime;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn model() -> PathBuf {
    root().join("models/default")
}

#[test]
fn it_is_trained_and_small() {
    let bundle = Bundle::open(&model()).expect("models/default");
    assert_eq!(bundle.title(), "mvp-default 2.0.0");
    let modalities: Vec<_> = bundle.modalities().collect();
    assert_eq!(modalities, ["video", "eda", "ppg", "ecg"]);
    let size: u64 = std::fs::read_dir(model())
        .expect("readable")
        .map(|f| f.expect("a file").metadata().expect("metadata").len())
        .sum();
    assert!(size <= 12_000_000, "{size} bytes");
    let card = std::fs::read_to_string(model().join("MODEL_CARD.md")).expect("a card");
    for word in ["Limits", "5(1)(f)", "Stress-Predict", "AUC"] {
        assert!(card.contains(word), "the card does not say '{word}'");
    }
}

/// Little-endian records of the files: (time, value) or (confidence, units) in f32.
fn floats(name: &str) -> Vec<u8> {
    std::fs::read(root().join("tests/data/default").join(name)).expect("tests/data/default")
}

fn f32_at(bytes: &[u8], at: usize) -> f64 {
    f64::from(f32::from_le_bytes(bytes[at..at + 4].try_into().expect("4")))
}

/// Records as mvp-offline reads them: u64 ns, then f64.
fn records(folder: &Path) {
    for name in ["eda", "ppg"] {
        let mut out = Vec::new();
        for row in floats(&format!("{name}.bin")).chunks_exact(12) {
            out.extend_from_slice(&row[..8]);
            out.extend_from_slice(&f32_at(row, 8).to_le_bytes());
        }
        std::fs::write(folder.join(name), out).expect("writable");
    }
    let mut out = Vec::new();
    for (i, row) in floats("units.bin").chunks_exact(52 * 4).enumerate() {
        out.extend_from_slice(&(i as u64 * 200_000_000).to_le_bytes());
        for k in 0..52 {
            out.extend_from_slice(&f32_at(row, 4 * k).to_le_bytes());
        }
    }
    std::fs::write(folder.join("units"), out).expect("writable");
}

fn answers(folder: &Path, more: &[&str]) -> Vec<Value> {
    let at = |name: &str| folder.join(name).display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_mvp-offline"))
        .arg("answer")
        .arg(model())
        .args(["--signal", &format!("eda=4:{}", at("eda"))])
        .args(["--signal", &format!("ppg=64:{}", at("ppg"))])
        .args(more)
        .output()
        .expect("mvp-offline");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect()
}

fn worst(found: &[Value], expected: &Value, fields: [&str; 2], ends: &[u64]) -> f64 {
    let mut worst = 0.0_f64;
    for (row, end) in expected.as_array().expect("rows").iter().zip(ends) {
        let answer = found
            .iter()
            .find(|a| a["window-end"].as_u64() == Some(end * 1_000_000_000))
            .unwrap_or_else(|| panic!("no answer at {end} s"));
        for (k, field) in fields.into_iter().enumerate() {
            let difference =
                answer[field].as_f64().expect("a number") - row[k].as_f64().expect("a number");
            worst = worst.max(difference.abs());
        }
    }
    worst
}

#[test]
fn it_answers_as_in_pytorch() {
    match Runtime::load(None) {
        Ok(_) => (),
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED it_answers_as_in_pytorch: {e}");
            return;
        }
        Err(e) => panic!("{e}"),
    }
    let folder = tempfile::tempdir().expect("a directory");
    records(folder.path());
    let expected: Value = serde_json::from_slice(&floats("expected.json")).expect("JSON");
    let ends: Vec<u64> = expected["ends"]
        .as_array()
        .expect("ends")
        .iter()
        .map(|e| e.as_u64().expect("whole seconds"))
        .collect();
    assert_eq!(ends.len(), 100);
    let units = folder.path().join("units").display().to_string();
    let logits = ["valence-logit", "arousal-logit"];
    let both = answers(folder.path(), &["--units", &units]);
    let body = answers(folder.path(), &[]);
    let anew = answers(folder.path(), &["--units", &units, "--recompute"]);
    for (what, found, wanted, fields) in [
        ("both", &both, "both", logits),
        ("physiology alone", &body, "physiology", logits),
        ("tokens made anew", &anew, "both", logits),
        (
            "probabilities",
            &both,
            "probability",
            ["valence", "arousal"],
        ),
    ] {
        let worst = worst(found, &expected[wanted], fields, &ends);
        println!("{what}: within {worst:.1e} of PyTorch");
        assert!(worst < 1e-4, "{what}: {worst}");
    }
    // The answers differ from window to window, so that agreement means something.
    let spread = |field: &str| {
        let said = both.iter().filter_map(|a| a[field].as_f64());
        let (low, high) = said.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        high - low
    };
    assert!(spread("valence-logit") > 0.1 && spread("arousal-logit") > 0.1);
}
