// SPDX-License-Identifier: MPL-2.0
//! mvp-check on recordings that are written here: good ones, and one for each kind of fault.

#[path = "../../../tests/xdf_support/gzip.rs"]
mod gzip;
#[path = "../../../tests/xdf_support/mod.rs"]
mod xdf_support;

use gzip::gzip;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use xdf_support::{Sample, Xdf};

const SECONDS: u64 = 120;

/// How a recording differs from a good one.
struct Kind {
    /// The timestamp of sample `n` of the ECG, taken at a time; `None`: it is lost.
    stamp: fn(u64, f64) -> Option<f64>,
    /// What the recorder adds to the ECG's timestamps at a time.
    offset: fn(f64) -> f64,
    /// Samples of the ECG in a second.
    rate: u64,
}

const GOOD: Kind = Kind {
    stamp: |_, t| Some(t),
    offset: |_| 0.0,
    rate: 128,
};

/// An EDA of 4 Hz without fault, an ECG that declares 128 Hz, and events. Both clocks are
/// the recorder's.
fn recording(kind: &Kind) -> Xdf {
    let mut x = Xdf::new();
    x.stream(1, "Band", 1, "float32", 4.0);
    x.stream(2, "Strap", 1, "float32", 128.0);
    x.stream(3, "Words", 1, "string", 0.0);
    let mut counts = [0; 3];
    for s in 0..SECONDS {
        let t = 1000.0 + s as f64;
        if s % 5 == 0 {
            // Measurements scatter by some microseconds.
            let noise = 2e-6 * (s as f64).sin();
            x.offset(1, t, noise);
            x.offset(2, t - (kind.offset)(t), (kind.offset)(t) + noise);
            x.offset(3, t, noise);
        }
        let eda: Vec<_> = (0..4).map(|i| (t + f64::from(i) / 4.0, 2.0)).collect();
        x.floats(1, &eda);
        let ecg: Vec<_> = (0..kind.rate)
            .map(|i| (s * kind.rate + i, t + i as f64 / kind.rate as f64))
            .filter_map(|(n, t)| Some(((kind.stamp)(n, t)? - (kind.offset)(t), n as f32)))
            .collect();
        if !ecg.is_empty() {
            x.floats(2, &ecg);
        }
        if s % 7 == 3 {
            x.samples(3, &[(Some(t + 0.5), Sample::Texts(&["word"]))]);
            counts[2] += 1;
        }
        if s % 10 == 9 {
            x.boundary();
        }
        counts[0] += eda.len();
        counts[1] += ecg.len();
    }
    for (id, count) in (1..).zip(counts) {
        x.footer(id, count);
    }
    x
}

struct Checked {
    code: Option<i32>,
    json: Value,
    text: String,
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvp-check"));
    command.args(arguments).output().expect("mvp-check")
}

fn check(bytes: &[u8]) -> Checked {
    let file = tempfile::Builder::new().suffix(".xdf").tempfile();
    let file = file.expect("file");
    std::fs::write(file.path(), bytes).expect("write");
    let path = file.path().to_str().expect("UTF-8");
    let text = run(&[path]);
    let json = run(&["--json", path]);
    assert_eq!(text.status.code(), json.status.code());
    Checked {
        code: json.status.code(),
        json: serde_json::from_slice(&json.stdout).unwrap_or(Value::Null),
        text: String::from_utf8(text.stdout).expect("UTF-8")
            + &String::from_utf8_lossy(&text.stderr),
    }
}

impl Checked {
    fn stream(&self, name: &str) -> &Value {
        let streams = self.json["streams"].as_array().expect("streams");
        let found = streams.iter().find(|s| s["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    /// The kinds of fault of a stream.
    fn faults(&self, name: &str) -> Vec<&str> {
        let faults = self.stream(name)["faults"].as_array().expect("faults");
        let kind = |f: &'_ Value| f["kind"].as_str().expect("a kind").to_string();
        let kinds: Vec<String> = faults.iter().map(kind).collect();
        assert!(faults.iter().all(|f| f["what"] != ""), "{faults:?}");
        kinds.into_iter().map(|k| &*k.leak()).collect()
    }

    fn line(&self, name: &str) -> &str {
        let mut lines = self.text.lines();
        lines
            .find(|l| l.contains(&format!("| {name} |")))
            .expect("a line")
    }
}

#[test]
fn a_good_recording_is_good() {
    let x = recording(&GOOD);
    for bytes in [x.bytes.clone(), gzip(&x.bytes)] {
        let checked = check(&bytes);
        assert_eq!(checked.code, Some(0), "{}", checked.text);
        for (name, samples, rate) in [("Band", 480, 4.0), ("Strap", 15_360, 128.0)] {
            let s = checked.stream(name);
            assert_eq!(checked.faults(name), [""; 0]);
            assert_eq!((&s["samples"], &s["gaps"]), (&samples.into(), &0.into()));
            assert_eq!(s["footer-samples"], samples);
            assert_eq!(s["declared-rate"], rate);
            let effective = s["effective-rate"].as_f64().expect("a rate");
            assert!((effective / rate - 1.0).abs() < 1e-6, "{effective}");
            assert!(s["jitter"].as_f64().is_some_and(|j| j < 1e-6));
            assert!(s["clock"]["uncertainty"].as_f64().is_some_and(|u| u < 1e-5));
            assert!(
                s["clock"]["drift-ppm"]
                    .as_f64()
                    .is_some_and(|d| d.abs() < 1.0)
            );
        }
        let line = checked.line("Strap");
        for part in [
            "found |",
            "| Test |",
            "host h",
            "128 Hz declared",
            "15360 samples",
        ] {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.ends_with("| good"), "{line}");
        assert!(checked.line("Words").contains("rate irregular"));
        assert_eq!(checked.json["damages"], Value::Array(vec![]));
        assert_eq!(checked.json["notes"], Value::Array(vec![]));
    }
}

#[test]
fn each_fault_is_named() {
    type Stamp = fn(u64, f64) -> Option<f64>;
    let lost: Stamp = |n, t| (!(2560..2816).contains(&n)).then_some(t);
    let one: Stamp = |n, t| Some(if n == 5000 { t + 90.0 } else { t });
    let none: Stamp = |n, t| Some(if n == 5000 { f64::NAN } else { t });
    let unix: Stamp = |_, t| Some(t + 1.7e9);
    let milliseconds: Stamp = |_, t| Some((t + 1.7e9) * 1e3);
    let step: Stamp = |n, t| Some(if n > 7000 { t + 2e5 } else { t });
    let jitter: Stamp = |n, t| Some(t + 0.09 * ((n * n) as f64).sin().abs());
    let empty: Stamp = |_, _| None;
    for (name, stamp, kinds, code, word) in [
        (
            "a gap",
            lost,
            &["gap"][..],
            "poor",
            "256 samples lost, longest 2.000 s",
        ),
        ("a stray", one, &["stray"], "poor", "stray timestamps 1"),
        ("no number", none, &["stray"], "poor", "stray timestamps 1"),
        ("Unix time", unix, &["foreign-clock"], "poor", "+1699999999"),
        (
            "milliseconds",
            milliseconds,
            &["unit", "foreign-clock"],
            "poor",
            "1000 to the second",
        ),
        (
            "a step",
            step,
            &["foreign-clock", "reset"],
            "poor",
            "resets 1",
        ),
        ("jitter", jitter, &["jitter"], "poor", "timestamps jitter"),
        (
            "no data",
            empty,
            &["found-no-data"],
            "bad",
            "not one sample",
        ),
    ] {
        let checked = check(&recording(&Kind { stamp, ..GOOD }).bytes);
        assert_eq!(checked.faults("Strap"), kinds, "{name}: {}", checked.text);
        assert_eq!(checked.stream("Strap")["verdict"], code, "{name}");
        assert_eq!(checked.code, Some(1), "{name}");
        let line = checked.line("Strap");
        assert!(
            line.contains(word) && line.contains(&format!("| {code}: ")),
            "{name}: {line}"
        );
        assert_eq!(
            line.starts_with("found-no-data |"),
            name == "no data",
            "{line}"
        );
        // What helps.
        assert!(line.ends_with(')'), "{line}");
        assert_eq!(checked.faults("Band"), [""; 0], "{name}");
    }
}

#[test]
fn a_rate_that_is_not_the_declared_one_is_named() {
    for (rate, kinds, verdict) in [
        (127, &[][..], "good"),
        (120, &["rate"], "poor"),
        (256, &["rate"], "bad"),
        (16, &["rate"], "bad"),
    ] {
        let checked = check(&recording(&Kind { rate, ..GOOD }).bytes);
        assert_eq!(checked.faults("Strap"), kinds, "{rate}: {}", checked.text);
        let stream = checked.stream("Strap");
        assert_eq!(stream["verdict"], verdict, "{rate}");
        let effective = stream["effective-rate"].as_f64().expect("a rate");
        assert!(
            (effective / rate as f64 - 1.0).abs() < 1e-3,
            "{rate}: {effective}"
        );
        assert_eq!(
            (&stream["gaps"], &stream["strays"]),
            (&0.into(), &Value::Null)
        );
    }
}

#[test]
fn clocks_are_told() {
    // 5000 s behind, 50 ppm slow.
    let drift = Kind {
        offset: |t| 5000.0 + 5e-5 * (t - 1000.0),
        ..GOOD
    };
    let checked = check(&recording(&drift).bytes);
    assert_eq!(checked.code, Some(0), "{}", checked.text);
    let clock = &checked.stream("Strap")["clock"];
    let value = |name: &str| clock[name].as_f64().expect("a number");
    assert!((value("drift-ppm") - 50.0).abs() < 0.5, "{clock}");
    assert!((value("lowest") - 5000.0).abs() < 1e-4, "{clock}");
    assert!((value("highest") - 5_000.005_75).abs() < 1e-4, "{clock}");
    // The sender was started anew after 60 s.
    let reset = Kind {
        offset: |t| if t < 1060.0 { 900.0 } else { 1060.0 },
        ..GOOD
    };
    let checked = check(&recording(&reset).bytes);
    assert_eq!(checked.faults("Strap"), ["reset"], "{}", checked.text);
    assert_eq!(checked.stream("Strap")["resets"], 1);
    // Measurements that say little.
    let unsure = Kind {
        offset: |t| 0.03 * (t * 7.7).sin(),
        stamp: |_, t| Some(t + 0.03 * (t * 7.7).sin()),
        ..GOOD
    };
    let checked = check(&recording(&unsure).bytes);
    assert_eq!(checked.faults("Strap"), ["clock"], "{}", checked.text);
    // None at all, and another clock: nothing says when it was.
    let mut x = Xdf::new();
    x.stream(1, "Band", 1, "float32", 4.0);
    x.stream(2, "Strap", 1, "float32", 4.0);
    for s in 0..60 {
        let t = f64::from(s);
        if s % 5 == 0 {
            x.offset(1, 1000.0 + t, 0.0);
        }
        let at = |t0: f64| {
            (0..4)
                .map(|i| (t0 + f64::from(i) / 4.0, 1.0))
                .collect::<Vec<_>>()
        };
        x.floats(1, &at(1000.0 + t));
        x.floats(2, &at(1000.0 + t));
    }
    let checked = check(&x.bytes);
    assert_eq!(checked.faults("Strap"), ["no-clock"], "{}", checked.text);
    let mut apart = Xdf::new();
    for (id, t0) in [(1, 1000.0), (2, 9000.0)] {
        apart.stream(id, &format!("s{id}"), 1, "float32", 4.0);
        let at = |n: i32| (t0 + f64::from(n) / 4.0, 1.0);
        apart.floats(id, &(0..200).map(at).collect::<Vec<_>>());
    }
    let checked = check(&apart.bytes);
    assert!(checked.faults("s1").contains(&"alone"), "{}", checked.text);
}

#[test]
fn damage_is_told_with_its_place() {
    let x = recording(&GOOD);
    // Cut off in the middle of a chunk.
    let cut = x.bytes.len() * 2 / 3;
    let checked = check(&x.bytes[..cut]);
    assert_eq!(checked.code, Some(1), "{}", checked.text);
    let damages = checked.json["damages"].as_array().expect("damages");
    let [damage] = &damages[..] else {
        panic!("{damages:?}");
    };
    let at = damage["at"].as_u64().expect("a place") as usize;
    assert!(at <= cut && at + 2000 > cut, "{at} of {cut}");
    assert!(
        checked.text.contains(&format!("damaged at byte {at}: ")),
        "{}",
        checked.text
    );
    assert!(
        checked
            .text
            .contains("no footer of 'Band', 'Strap', 'Words'")
    );
    let samples = checked.stream("Strap")["samples"]
        .as_u64()
        .expect("samples");
    assert!((9_000..11_000).contains(&samples), "{samples}");
    // Garbage in the middle: what is lost is a gap, and reading goes on.
    let mut garbage = x.bytes.clone();
    let middle = garbage.len() / 2;
    garbage[middle..][..300].fill(0xee);
    let checked = check(&garbage);
    let damage = &checked.json["damages"][0];
    let at = damage["at"].as_u64().expect("a place") as usize;
    assert!(at <= middle && at + 3000 > middle, "{at} of {middle}");
    assert!(
        damage["what"]
            .as_str()
            .is_some_and(|w| w.contains("from byte")),
        "{damage}"
    );
    assert!(checked.faults("Strap").contains(&"gap"));
    assert!(checked.faults("Strap").contains(&"count"));
    assert_eq!(checked.code, Some(1));
    // Without footers: worth a note, but nothing is lost.
    let footers = recording(&GOOD).bytes;
    let from = footers
        .windows(14)
        .position(|w| w == b"<sample_count>")
        .expect("a footer");
    let checked = check(&footers[..from - 19]);
    let notes = checked.json["notes"].as_array().expect("notes");
    assert!(notes.len() == 1, "{}", checked.text);
    // Compressed, and cut off there.
    let packed = gzip(&x.bytes);
    let checked = check(&packed[..packed.len() / 2]);
    let told = format!("damaged at byte {}: gzip", packed.len() / 2);
    assert!(checked.text.contains(&told), "{}", checked.text);
    assert!(checked.stream("Strap")["samples"].as_u64() > Some(5000));
    assert_eq!(checked.code, Some(1));
}

/// Recordings of a stranger: never a panic, and always an exit code that means something.
#[test]
fn hostile_recordings_are_judged_too() {
    type Stamp = fn(u64, f64) -> Option<f64>;
    let all: [Stamp; 5] = [
        |_, _| Some(1e300),
        |n, t| Some(t + n as f64 * 1e300),
        |n, t| Some(if n % 2 == 0 { -1e300 } else { t }),
        |n, t| Some(t * (1.0 + n as f64 * 1e15)),
        |_, _| Some(f64::NAN),
    ];
    for (i, stamp) in all.into_iter().enumerate() {
        let checked = check(&recording(&Kind { stamp, ..GOOD }).bytes);
        assert_eq!(checked.code, Some(1), "{i}: {}", checked.text);
        assert_ne!(checked.faults("Strap"), [""; 0], "{i}: {}", checked.text);
    }
    let whole = recording(&GOOD).bytes;
    let sources = [whole[..40_000].to_vec(), gzip(&whole[..40_000])];
    let mut state = 1u64;
    let mut random = |most: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % most
    };
    for i in 0..300 {
        let mut bytes = sources[i % 2].clone();
        for _ in 0..[1, 3, 20][random(3)] {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        if random(3) == 0 {
            bytes.truncate(random(40_000));
        }
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), &bytes).expect("write");
        let output = run(&["--json", file.path().to_str().expect("UTF-8")]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0..=2)), "{i}: {text}");
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    for (bytes, word) in [
        (&b"hello, world"[..], "expected the letters 'XDF:'"),
        (b"", "empty"),
        (b"XDF:", "no stream"),
        (&[0x1f, 0x8b, 8, 0], "XDF"),
    ] {
        let checked = check(bytes);
        assert_eq!(checked.code, Some(2), "{}", checked.text);
        assert!(checked.text.contains(word), "{}", checked.text);
    }
    for (arguments, word) in [
        (&["/nowhere/at/all.xdf"][..], "cannot be read"),
        (&[], "expected a recording"),
        (&["live", "--seconds", "soon"], "found 'soon'"),
        (&["a.xdf", "--seconds", "3"], "for 'live'"),
        (&["--what"], "--what"),
    ] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(word), "{text}");
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("mvp-check live"));
}

/// A Python that has pyxdf.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("GSTMVP_PYTHON")?);
    let found = Command::new(&python).args(["-c", "import pyxdf"]).output();
    found.is_ok_and(|o| o.status.success()).then_some(python)
}

#[test]
fn counts_and_rates_are_those_of_pyxdf() {
    let Some(python) = python() else {
        println!("SKIPPED counts_and_rates_are_those_of_pyxdf: no pyxdf ($GSTMVP_PYTHON)");
        return;
    };
    let script = "import sys, json, pyxdf\n\
        s, _ = pyxdf.load_xdf(sys.argv[1])\n\
        print(json.dumps({x['info']['name'][0]: [len(x['time_stamps']), \
        x['info']['effective_srate']] for x in s}))";
    for (name, kind) in [
        ("good", GOOD),
        ("120 Hz", Kind { rate: 120, ..GOOD }),
        (
            "drift",
            Kind {
                offset: |t| 5000.0 + 5e-5 * (t - 1000.0),
                ..GOOD
            },
        ),
    ] {
        let bytes = recording(&kind).bytes;
        for (suffix, bytes) in [(".xdf", bytes.clone()), (".xdfz", gzip(&bytes))] {
            let file = tempfile::Builder::new()
                .suffix(suffix)
                .tempfile()
                .expect("file");
            std::fs::write(file.path(), &bytes).expect("write");
            let path: &Path = file.path();
            let out = Command::new(&python)
                .args(["-c", script])
                .arg(path)
                .output()
                .expect("python");
            let theirs: Value = serde_json::from_slice(&out.stdout)
                .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
            let checked = check(&bytes);
            for stream in ["Band", "Strap"] {
                let ours = checked.stream(stream);
                assert_eq!(ours["samples"], theirs[stream][0], "{name}: {stream}");
                let rate = ours["effective-rate"].as_f64().expect("a rate");
                let wanted = theirs[stream][1].as_f64().expect("a rate");
                println!("{name}{suffix} {stream}: {rate} Hz, pyxdf {wanted} Hz");
                assert!(
                    (rate / wanted - 1.0).abs() < 1e-5,
                    "{name} {stream}: {rate} {wanted}"
                );
            }
        }
    }
}
