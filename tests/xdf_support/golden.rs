// SPDX-License-Identifier: MPL-2.0
//! What pyxdf reads of a recording, and how it is compared.

use crate::player::Track;
use std::{collections::BTreeMap, path::Path, process::Command};

/// What pyxdf reads: by stream, stamps and values.
pub(crate) fn pyxdf(python: &Path, recording: &Path) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_xdf.py");
    let output = Command::new(python)
        .arg(script)
        .arg(recording)
        .output()
        .expect("python");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Compares all streams with pyxdf; gives the largest difference of stamps, seconds.
pub(crate) fn compare(tracks: &BTreeMap<String, Track>, golden: &serde_json::Value) -> f64 {
    let golden = golden.as_object().expect("streams");
    assert_eq!(
        tracks.keys().collect::<Vec<_>>(),
        golden.keys().collect::<Vec<_>>()
    );
    let mut worst = 0f64;
    for (name, theirs) in golden {
        let track = &tracks[name];
        let caps: gst::Caps = track.caps.parse().expect("caps");
        let s = caps.structure(0).expect("a structure");
        let channels = s.get::<i32>("channels").unwrap_or(1) as usize;
        let format = s.get::<&str>("format").expect("format");
        let values = theirs["values"].as_array().expect("values");
        let bytes = track.bytes();
        let size = match format {
            "utf8" => 0,
            "S8" => 1,
            "S16LE" => 2,
            "F32LE" | "S32LE" => 4,
            _ => 8,
        };
        if format == "utf8" {
            let texts: Vec<String> = values
                .iter()
                .map(|v| {
                    let v = v.as_array().expect("channels");
                    let v: Vec<_> = v.iter().map(|t| t.as_str().expect("text")).collect();
                    v.join("\n")
                })
                .collect();
            assert_eq!(track.texts(), texts, "{name}");
        } else {
            let ours: Vec<f64> = bytes
                .chunks_exact(size)
                .map(|b| match format {
                    "S8" => f64::from(b[0] as i8),
                    "S16LE" => f64::from(i16::from_le_bytes(b.try_into().unwrap())),
                    "S32LE" => f64::from(i32::from_le_bytes(b.try_into().unwrap())),
                    "S64LE" => i64::from_le_bytes(b.try_into().unwrap()) as f64,
                    "F32LE" => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
                    _ => f64::from_le_bytes(b.try_into().unwrap()),
                })
                .collect();
            let theirs: Vec<f64> = values
                .iter()
                .flat_map(|v| v.as_array().expect("channels"))
                .map(|v| v.as_f64().expect("a number"))
                .collect();
            assert_eq!(ours, theirs, "{name}");
        }
        let ours = track.times(size * channels);
        let stamps: Vec<f64> = theirs["stamps"]
            .as_array()
            .expect("stamps")
            .iter()
            .map(|v| v.as_f64().expect("a number"))
            .collect();
        assert_eq!(ours.len(), stamps.len(), "{name}");
        for (a, b) in ours.iter().zip(&stamps) {
            worst = worst.max((a - b).abs());
        }
    }
    worst
}
