// SPDX-License-Identifier: MPL-2.0
//! Recordings that are compressed by gzip (`.xdfz`), right ones, damaged ones and hostile ones.

#[path = "xdf_support/golden.rs"]
mod golden;
#[path = "xdf_support/gzip.rs"]
mod gzip;
mod lsl_support;
#[path = "xdf_support/player.rs"]
mod player;
mod xdf_support;

use golden::{compare, pyxdf};
use gst::prelude::*;
use gzip::gzip;
use lsl_support::{init, python};
use player::*;
use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

fn packed(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new()
        .suffix(".xdfz")
        .tempfile()
        .expect("file");
    file.write_all(bytes).expect("write");
    file
}

/// Without what depends on the name of the file.
fn named(mut tracks: BTreeMap<String, Track>) -> BTreeMap<String, Track> {
    tracks.values_mut().for_each(|t| t.stream_id.clear());
    tracks
}

fn played(bytes: &[u8], between: &str) -> (BTreeMap<String, Track>, Vec<String>) {
    let file = packed(bytes);
    let player = Player::new(file.path(), between, SINK);
    let warnings = player.play().expect("no error");
    (named(player.tracks.take()), warnings)
}

#[test]
fn a_packed_recording_is_played_as_the_plain_one() {
    let x = session(120);
    for between in [PULL, PUSH] {
        let plain = named(play(&x, between));
        let (tracks, warnings) = played(&gzip(&x.bytes), between);
        assert_eq!(warnings, [""; 0]);
        assert!(tracks == plain, "{between}");
        // In two parts, as `cat a.gz b.gz` makes it; pieces of one byte.
        let (a, b) = x.bytes.split_at(x.bytes.len() / 3);
        let parts = [gzip(a), gzip(b)].concat();
        assert!(played(&parts, between) == (plain, vec![]), "{between}");
    }
    if let Some(python) = python(&["pyxdf"]) {
        let file = packed(&gzip(&x.bytes));
        let (tracks, _) = played(&gzip(&x.bytes), PULL);
        let worst = compare(&tracks, &pyxdf(&python, file.path()));
        println!(
            "pyxdf reads the same .xdfz; times differ by {:.1} us at most",
            worst * 1e6
        );
        assert!(worst < 1e-4, "{worst}");
    }
}

#[test]
fn seeks_work_in_a_packed_recording() {
    let x = session(120);
    let (plain, packed) = (file(&x), packed(&gzip(&x.bytes)));
    let mut found = Vec::new();
    for path in [plain.path(), packed.path()] {
        let player = paused(path);
        let pipeline = &player.pipeline;
        let duration = pipeline.query_duration::<gst::ClockTime>();
        assert!(
            duration.is_some_and(|d| d.mseconds().abs_diff(120_000) < 2),
            "{duration:?}"
        );
        let mut parts = Vec::new();
        for second in [77, 3, 119, 40] {
            let to = gst::ClockTime::from_seconds(second);
            let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
            let until = gst::ClockTime::from_seconds(second + 2);
            pipeline
                .seek(
                    1.0,
                    flags,
                    gst::SeekType::Set,
                    to,
                    gst::SeekType::Set,
                    until,
                )
                .expect("a seek");
            assert_eq!(player.play(), Ok(vec![]));
            parts.push(player.tracks.0.lock().unwrap()["stream_0"].floats());
            assert!(parts.last().is_some_and(|p| p.len() > 90), "{second}");
            pipeline.set_state(gst::State::Paused).expect("paused");
        }
        found.push(parts);
    }
    assert!(found[0] == found[1]);
}

#[test]
fn a_packed_recording_is_recognised() {
    init();
    let x = session(2);
    let factory = gst::TypeFindFactory::factories()
        .into_iter()
        .find(|f| f.name() == "application/x-xdf")
        .expect("a type");
    let find = |bytes: &[u8]| {
        let mut find = Find(bytes.to_vec(), None);
        factory.call_function(&mut find);
        find.1
    };
    assert!(find(&x.bytes).is_some() && find(&gzip(&x.bytes)).is_some());
    assert!(find(&gzip(b"PK, something else that gzip has packed")).is_none());
    assert!(find(&[0x1f, 0x8b]).is_none());
    assert_eq!(factory.extensions(), ["xdf", "xdfz"]);
    // By GStreamer's own means, among all other types.
    let file = packed(&gzip(&x.bytes));
    let line = format!(
        "filesrc location={} ! typefind name=t ! fakesink",
        file.path().display()
    );
    let pipeline = gst::parse::launch(&line).expect("a pipeline");
    pipeline.set_state(gst::State::Paused).expect("paused");
    let _ = pipeline.state(gst::ClockTime::from_seconds(10));
    let t = pipeline
        .downcast_ref::<gst::Bin>()
        .and_then(|b| b.by_name("t"));
    let caps = t.expect("typefind").property::<Option<gst::Caps>>("caps");
    assert_eq!(
        caps.map(|c| c.to_string()).as_deref(),
        Some("application/x-xdf")
    );
    pipeline.set_state(gst::State::Null).expect("null");
}

struct Find(Vec<u8>, Option<gst::Caps>);

impl gst::TypeFindImpl for Find {
    fn peek(&mut self, offset: i64, size: u32) -> Option<&[u8]> {
        let from = usize::try_from(offset).ok()?;
        self.0.get(from..from + size as usize)
    }

    fn suggest(&mut self, _: gst::TypeFindProbability, caps: &gst::Caps) {
        self.1 = Some(caps.clone());
    }
}

#[test]
fn the_line_of_the_documentation_runs() {
    init();
    let file = packed(&gzip(&session(10).bytes));
    let line = format!(
        "-m filesrc location={} ! xdfdemux name=x x.stream_0 ! queue ! fakesink silent=false -v",
        file.path().display()
    );
    let output = Command::new("gst-launch-1.0")
        .args(line.split(' '))
        .output()
        .expect("gst-launch-1.0");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("stream-name=(string)ecg") || text.contains("stream-type=(string)Test"));
    assert!(!text.contains("WARNING"), "{text}");
}

#[test]
fn what_is_damaged_is_told_and_the_rest_is_played() {
    let x = session(60);
    let whole = gzip(&x.bytes);
    let all: Vec<f32> = (0..6000).map(|n| n as f32).collect();
    for between in [PULL, PUSH] {
        // Cut off in the middle.
        let (tracks, warnings) = played(&whole[..whole.len() / 2], between);
        let ecg = tracks["ecg"].floats();
        assert!(all.starts_with(&ecg) && ecg.len() > 2000, "{}", ecg.len());
        let at = format!("byte {} of the file", whole.len() / 2);
        let told = |w: &String| w.contains("gzip") && w.contains(&at) && w.contains("cut off");
        assert!(warnings.iter().any(told), "{warnings:?}");
        // Garbage in the middle.
        let mut spoilt = whole.clone();
        spoilt[whole.len() / 2..][..100].fill(0xff);
        let (tracks, warnings) = played(&spoilt, between);
        assert!(tracks["ecg"].floats().len() > 1500);
        let told = |w: &String| w.contains("gzip") && w.contains("damaged");
        assert!(warnings.iter().any(told), "{warnings:?}");
        // The checksum is wrong: all is played.
        let mut other = whole.clone();
        let n = other.len();
        other[n - 5] ^= 1;
        let (tracks, warnings) = played(&other, between);
        assert_eq!(tracks["ecg"].floats(), all);
        assert!(
            warnings.iter().any(|w| w.contains("checksum")),
            "{warnings:?}"
        );
        // Damage inside of a good packing is told by its place in what was packed.
        let mut inside = x.bytes.clone();
        let middle = inside.len() / 2;
        inside[middle..][..40].fill(0xee);
        let (_, warnings) = played(&gzip(&inside), between);
        let told = |w: &String| w.contains("of what it unpacks to");
        assert!(warnings.iter().any(told), "{warnings:?}");
        // Nothing of a recording.
        let file = packed(&gzip(b"something else altogether"));
        let error = Player::new(file.path(), between, SINK).play();
        assert!(
            error.as_ref().is_err_and(|e| e.contains("XDF")),
            "{error:?}"
        );
        let file = packed(&[0x1f, 0x8b, 8, 0, 0]);
        let error = Player::new(file.path(), between, SINK).play();
        assert!(
            error.as_ref().is_err_and(|e| e.contains("XDF")),
            "{error:?}"
        );
    }
}

/// Runs a pipeline; its peak memory in bytes, and what it said.
fn peak(line: &str) -> (u64, String) {
    let mut child = Command::new("gst-launch-1.0")
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gst-launch-1.0");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().expect("a child").is_none() {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        most = most.max(kilobytes.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("a child");
    (most, String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A bomb: a small file that unpacks to a long one, zeros without end or samples.
#[test]
fn what_unpacks_to_very_much_does_not_take_memory() {
    init();
    let mut zeros = session(2).bytes;
    zeros.resize(256 << 20, 0);
    // A stream of 4000 channels whose samples are all 0, in a file of 192 MB.
    let mut x = xdf_support::Xdf::new();
    x.stream(9, "wide", 4000, "float32", 100.0);
    for n in 0..12_000 {
        let bytes = xdf_support::Sample::Bytes(vec![0; 16_000]);
        x.samples(9, &[(Some(9000.0 + n as f64 / 100.0), bytes)]);
    }
    let line = |file: &tempfile::NamedTempFile, between: &str| {
        format!(
            "filesrc location={} {between} ! xdfdemux name=x x.stream_0 ! fakesink sync=false",
            file.path().display()
        )
    };
    let (usual, _) = peak(&line(&packed(&gzip(&session(60).bytes)), PULL));
    for (name, bytes) in [("zeros", &zeros), ("samples", &x.bytes)] {
        let bomb = packed(&gzip(bytes));
        let size = bomb.path().metadata().expect("a file").len();
        assert!(size < 2 << 20, "{name}: {size}");
        for between in [PULL, PUSH] {
            let (most, said) = peak(&line(&bomb, between));
            println!(
                "{name}{between}: {size} bytes unpack to {} MB; peak {} MB, usually {} MB",
                bytes.len() >> 20,
                most >> 20,
                usual >> 20
            );
            // Without a clock offset, 64 MB of samples wait in push mode.
            assert!(
                most > 0 && most < usual + (96 << 20),
                "{name}{between}: {most} {said}"
            );
            assert_eq!(said.contains("damaged"), name == "zeros", "{said}");
        }
    }
}
