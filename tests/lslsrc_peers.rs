// SPDX-License-Identifier: MPL-2.0
//! `lslsrc` against senders that are not ours, in processes of their own.

mod lsl_support;

use lsl_support::{Line, Peer, Seen, hermetic, numbers, python, skip};
use std::{
    process::{Command, Stdio},
    time::Duration,
};

const UNSHARE: [&str; 6] = [
    "unshare",
    "-T",
    "--monotonic",
    "5000",
    "--fork",
    "--kill-child",
];

/// PTS (ns) and the first sample's number of each buffer.
fn buffers(line: &Line, stride: usize) -> Vec<(usize, i64)> {
    let mut n = 0;
    line.seen()
        .iter()
        .filter_map(|s| match s {
            Seen::Buffer { pts, data, .. } => {
                let first = n;
                n += data.len() / stride;
                Some((first, *pts as i64))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn pylsl_sample_for_sample() {
    if hermetic().is_none() {
        return;
    }
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let peer = Peer::pylsl(
        &python,
        &[],
        &[
            "peer ECG",
            "--type",
            "ECG",
            "--source-id",
            "p1",
            "--rate",
            "256",
            "--channels",
            "3",
            "--chunk",
            "16",
            "--labels",
            "I,II,V1",
            "--units",
            "mV,mV,mV",
            "--count",
            "1024",
        ],
    );
    let line = Line::new("stream-type=ECG");
    line.play();
    let t0 = peer.number("start", "t0");
    line.until("all samples", |l| l.bytes().len() >= 1024 * 12);
    peer.wait("done");
    std::thread::sleep(Duration::from_millis(100));
    let values = numbers(&line.bytes(), f32::from_le_bytes);
    let sent: Vec<f32> = (0..1024 * 3)
        .map(|i| (i / 3) as f32 + (i % 3) as f32 / 8.0)
        .collect();
    assert_eq!(values, sent);
    for (first, pts) in buffers(&line, 12) {
        let truth = line.running_time(t0 + first as f64 / 256.0);
        assert!((pts - truth).abs() < 10_000, "{first}: {}", pts - truth);
    }
    let caps = line.caps();
    let s = caps.structure(0).expect("caps");
    assert_eq!(s.get("channel-labels"), Ok("I,II,V1"));
    assert_eq!(s.get("units"), Ok("mV,mV,mV"));
    assert_eq!(line.stat::<u64>("gaps"), 0);
}

#[test]
fn pylsl_every_kind() {
    if hermetic().is_none() {
        return;
    }
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    for (format, rate) in [
        ("double64", "51.2"),
        ("int32", "64"),
        ("int16", "130"),
        ("int8", "100"),
        ("float32", "0"),
        ("string", "0"),
    ] {
        let name = format!("kind-{format}-{rate}");
        let peer = Peer::pylsl(
            &python,
            &[],
            &[
                &name,
                "--format",
                format,
                "--rate",
                rate,
                "--channels",
                "2",
                "--count",
                "40",
            ],
        );
        let line = Line::new(&format!("stream-name={name}"));
        line.play();
        let t0 = peer.number("start", "t0");
        peer.wait("done");
        // The count runs ahead of the pad: the last buffer may still be on its way.
        let size = match format {
            "double64" => 8,
            "int32" | "float32" => 4,
            "int16" => 2,
            _ => 1,
        };
        let done = |samples: usize| {
            line.until("all samples", |l| {
                let out = match format {
                    "string" => l.buffers(),
                    _ => l.bytes().len() / (2 * size),
                };
                l.stat::<u64>("samples") == samples as u64 && out == samples
            })
        };
        done(40);
        let bytes = line.bytes();
        let whole = |i: usize, modulus: usize| (i % modulus) as i64;
        match format {
            "double64" => {
                let v = numbers(&bytes, f64::from_le_bytes);
                assert!(
                    v.iter()
                        .enumerate()
                        .all(|(i, v)| *v == (i / 2) as f64 + (i % 2) as f64 / 8.0)
                );
            }
            "float32" => {
                let v = numbers(&bytes, f32::from_le_bytes);
                assert!(
                    v.iter()
                        .enumerate()
                        .all(|(i, v)| *v == (i / 2) as f32 + (i % 2) as f32 / 8.0)
                );
            }
            "int32" => {
                let v = numbers(&bytes, i32::from_le_bytes);
                assert!(
                    v.iter()
                        .enumerate()
                        .all(|(i, v)| i64::from(*v) == whole(i, 30_000))
                );
            }
            "int16" => {
                let v = numbers(&bytes, i16::from_le_bytes);
                assert!(
                    v.iter()
                        .enumerate()
                        .all(|(i, v)| i64::from(*v) == whole(i, 30_000))
                );
            }
            "int8" => {
                let v = numbers(&bytes, i8::from_le_bytes);
                assert!(
                    v.iter()
                        .enumerate()
                        .all(|(i, v)| i64::from(*v) == whole(i, 120))
                );
            }
            _ => {
                let texts: Vec<String> = (0..40).map(|n| format!("m{n}.0\nm{n}.1")).collect();
                assert_eq!(bytes, texts.concat().as_bytes());
            }
        }
        let pace = match rate.parse::<f64>().expect("rate") {
            0.0 => 20.0,
            rate => rate,
        };
        let mut n = 0;
        for s in line.seen() {
            if let Seen::Buffer { pts, data, .. } = s {
                let truth = line.running_time(t0 + n as f64 / pace);
                assert!((pts as i64 - truth).abs() < 10_000, "{name} {n}");
                n += match format {
                    "double64" => data.len() / 16,
                    "float32" | "int32" => data.len() / 8,
                    "int16" => data.len() / 4,
                    "int8" => data.len() / 2,
                    _ => 1,
                };
            }
        }
        assert_eq!(n, 40);
    }
}

#[test]
fn mne_lsl_player_sample_for_sample() {
    if hermetic().is_none() {
        return;
    }
    let Some(python) = python(&["mne", "mne_lsl"]) else {
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/mne_player.py");
    let line = Line::new("stream-name=player source-id=mne");
    line.play();
    let mut command = Command::new(python);
    // It brings a liblsl of its own, of another version.
    command
        .args([script, "player", "mne"])
        .env_remove("LSL_LIBRARY")
        .env_remove("PYLSL_LIB");
    let peer = Peer::spawn(command);
    peer.wait("ready");
    line.until("five seconds", |l| l.stat::<u64>("samples") >= 1000);
    line.stop();
    let stride = 2 * 8;
    let values = numbers(&line.bytes(), f64::from_le_bytes);
    let start = values[0];
    for (i, v) in values.iter().enumerate() {
        let n = start + (i / 2) as f64;
        assert_eq!(
            *v,
            n + (i % 2) as f64 * 20_000.0,
            "sample {i} after {start}"
        );
    }
    let all = buffers(&line, stride);
    let (first, zero) = all[0];
    assert_eq!(first, 0);
    for (n, pts) in all {
        let error = pts - zero - (n as f64 / 200.0 * 1e9) as i64;
        assert!(error.abs() < 10_000_000, "sample {n} is {error} ns off");
    }
}

#[test]
fn a_sender_is_killed_and_comes_back() {
    if hermetic().is_none() {
        return;
    }
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let arguments = [
        "phoenix",
        "--type",
        "EDA",
        "--source-id",
        "ash",
        "--rate",
        "128",
        "--chunk",
        "4",
    ];
    let mut peer = Peer::pylsl(&python, &[], &arguments);
    let line = Line::new("stream-name=phoenix data-timeout=1500000000");
    line.play();
    peer.wait("start");
    line.until("samples", |l| l.stat::<u64>("samples") > 128);
    peer.kill();
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
    assert!(!line.stat::<bool>("connected"));
    std::thread::sleep(Duration::from_millis(1500));
    let before = line.buffers();

    let peer = Peer::pylsl(&python, &[], &arguments);
    let t0 = peer.number("start", "t0");
    line.until("the return", |l| !l.elements("lsl-recovered").is_empty());
    line.until("samples again", |l| l.buffers() > before + 20);
    line.stop();
    for name in ["lsl-connected", "lsl-lost", "lsl-recovered"] {
        let messages = line.elements(name);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(messages[0].get("name"), Ok("phoenix"));
        assert_eq!(messages[0].get("type"), Ok("EDA"));
        assert_eq!(messages[0].get("source-id"), Ok("ash"));
    }
    assert!(line.elements("lsl-clock-reset").is_empty());

    // After the loss: gap events, then DISCONT, then the new sender's samples in place.
    let seen = line.seen();
    let mut buffers = 0;
    let mut after = 0;
    let mut gap_events = 0;
    for s in &seen {
        match s {
            Seen::Buffer {
                pts, data, flags, ..
            } => {
                if buffers >= before {
                    if after == 0 {
                        assert!(flags.contains(gst::BufferFlags::DISCONT), "{flags:?}");
                        assert!(flags.contains(gst::BufferFlags::RESYNC), "{flags:?}");
                    }
                    let n = numbers(data, f32::from_le_bytes)[0];
                    let truth = line.running_time(t0 + f64::from(n) / 128.0);
                    assert!((*pts as i64 - truth).abs() < 10_000, "{n}");
                    after += 1;
                }
                buffers += 1;
            }
            Seen::Gap { .. } if buffers == before => gap_events += 1,
            _ => (),
        }
    }
    assert!(gap_events >= 1 && after > 20, "{gap_events} {after}");
}

fn can_unshare() -> bool {
    let ok = Command::new(UNSHARE[0])
        .args(&UNSHARE[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !ok {
        skip("no time namespaces here (unshare -T)");
    }
    ok
}

#[test]
fn a_remote_clock_is_corrected() {
    if hermetic().is_none() {
        return;
    }
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    if !can_unshare() {
        return;
    }
    let peer = Peer::pylsl(
        &python,
        &UNSHARE,
        &[
            "far",
            "--rate",
            "100",
            "--count",
            "400",
            "--source-id",
            "far",
        ],
    );
    let line = Line::new("stream-name=far");
    line.play();
    let t0 = peer.number("start", "t0");
    line.until("all samples", |l| l.bytes().len() == 1600);
    assert_eq!(line.stat::<String>("timestamp-mode"), "remote");
    let offset = line.stat::<i64>("correction");
    assert!((offset + 5_000_000_000_000).abs() < 1_000_000, "{offset}");
    let values = numbers(&line.bytes(), f32::from_le_bytes);
    assert!(values.iter().enumerate().all(|(i, v)| *v == i as f32));
    let worst = buffers(&line, 4)
        .into_iter()
        .map(|(n, pts)| (pts - line.running_time(t0 - 5000.0 + n as f64 / 100.0)).abs())
        .max()
        .expect("buffers");
    println!("remote clock: worst error {worst} ns");
    assert!(worst < 2_000_000, "{worst}");
    assert!(line.warnings().is_empty(), "{:?}", line.warnings());
}

#[test]
fn a_sender_that_restarts_with_another_clock_says_so() {
    if hermetic().is_none() {
        return;
    }
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    if !can_unshare() {
        return;
    }
    let arguments = ["reboot", "--rate", "100", "--source-id", "reboot"];
    let mut peer = Peer::pylsl(&python, &UNSHARE, &arguments);
    let line = Line::new("stream-name=reboot data-timeout=1500000000");
    line.play();
    peer.wait("start");
    line.until("samples", |l| l.stat::<u64>("samples") > 50);
    peer.kill();
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
    let before = line.buffers();
    let peer = Peer::pylsl(&python, &[], &arguments);
    let t0 = peer.number("start", "t0");
    line.until("the news", |l| !l.elements("lsl-clock-reset").is_empty());
    line.until("samples", |l| l.buffers() > before + 20);
    line.stop();
    assert_eq!(
        line.elements("lsl-clock-reset")[0].get("name"),
        Ok("reboot")
    );
    assert_eq!(line.elements("lsl-clock-reset").len(), 1);
    let mut buffers = 0;
    for s in line.seen() {
        if let Seen::Buffer { pts, data, .. } = s {
            buffers += 1;
            if buffers > before {
                let n = numbers(&data, f32::from_le_bytes)[0];
                let truth = line.running_time(t0 + f64::from(n) / 100.0);
                assert!((pts as i64 - truth).abs() < 1_000_000, "{n}");
            }
        }
    }
}
