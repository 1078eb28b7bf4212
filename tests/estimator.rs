// SPDX-License-Identifier: MPL-2.0
//! The bundle and the estimator against the untrained fixture and a real ONNX Runtime.

use mvp::{Bundle, Error, Estimator, Inputs, Network};
use onnx::{Provider, Runtime, SessionOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture")
}

/// Two of its signals are made of one sensor's samples, and one encoder takes the rate of
/// either heart sensor.
fn lanes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture-lanes")
}

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

fn network(runtime: &Runtime, bundle: &Bundle) -> Result<Network, Error> {
    let options = SessionOptions {
        provider: Provider::Cpu,
        ..Default::default()
    };
    Network::load(runtime, bundle, &options, |_| {})
}

fn estimator(runtime: &Runtime) -> (Arc<Inputs>, Estimator) {
    estimator_of(runtime, &fixture())
}

fn estimator_of(runtime: &Runtime, directory: &Path) -> (Arc<Inputs>, Estimator) {
    let bundle = Arc::new(Bundle::open(directory).expect("fixture"));
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
    faces(inputs, s);
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
        .map(|m| (m.name.as_str(), m.coverage))
        .collect();
    assert_eq!(
        coverage,
        [("video", 1.0), ("eda", 1.0), ("ecg", 1.0), ("ppg", 0.0)]
    );
    // Sines are no heart.
    assert!(last.modalities[2].quality < 0.2, "{:?}", last.modalities);
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

/// A quadrant is two axes: with the face or the whole body unseen there is none to name.
#[test]
fn half_a_person_has_no_label() {
    let Some(runtime) = runtime("half_a_person_has_no_label") else {
        return;
    };
    // Seconds of face and of body in the last 30; the bundle wants 5 % of 60 s, and the
    // ECG's filter has 2 s of warm-up.
    for (face, body, known) in [
        (30, 30, true),
        (4, 8, true),
        (0, 30, false),
        (2, 30, false),
        (30, 0, false),
        (30, 2, false),
        (0, 0, false),
    ] {
        let (inputs, mut estimator) = estimator(&runtime);
        inputs.signal("ecg").expect("ecg").configure(256.0, None);
        for s in 0..30u64 {
            if s + face >= 30 {
                faces(&inputs, s);
            }
            if s + body >= 30 {
                let mut track = inputs.signal("ecg").expect("ecg");
                for i in 0..256 {
                    let t = s * 1_000_000_000 + i * 1_000_000_000 / 256;
                    track.push(t, pulse(t as f64 / 1e9));
                }
            }
        }
        let answer = estimator.answer(30).expect("answer");
        let at = format!("{face} s of face, {body} s of body: {answer:?}");
        assert_eq!(answer.label != "unknown", known, "{at}");
        assert_eq!(answer.confidence > 0.0, known, "{at}");
        // The numbers stay, where the network has seen anything.
        assert_eq!(answer.logits.is_some(), face + body > 2, "{at}");
        assert!((0.0..=1.0).contains(&answer.valence), "{at}");
    }
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

type Samples = Vec<(u64, f64)>;

/// `f` at `rate` Hz for `seconds`, with a hole of three seconds and some bad samples.
fn samples(rate: u64, seconds: u64, f: fn(f64) -> f64) -> Samples {
    (0..seconds * rate)
        .map(|i| (i * 1_000_000_000 / rate + 17_000_000, i))
        .filter(|(t, _)| !(31_200_000_000..34_300_000_000).contains(t))
        .map(|(t, i)| match i % (11 * rate) {
            5 => (t, f64::NAN),
            _ => (t, f(t as f64 / 1e9)),
        })
        .collect()
}

fn skin(t: f64) -> f64 {
    4.0 + 0.02 * t + (t * 0.9).sin() + 0.2 * (t * 2.9).cos()
}

fn pulse(t: f64) -> f64 {
    (t * (7.0 + 0.01 * t)).sin() + 0.3 * (t * 23.0).sin()
}

/// Pushes the samples before `until` (ns), and says that there are no others.
fn push(inputs: &Inputs, name: &str, samples: &Samples, next: &mut usize, until: u64) {
    let mut track = inputs.signal(name).expect(name);
    while let Some((t, v)) = samples.get(*next).filter(|s| s.0 < until) {
        track.push(*t, *v);
        *next += 1;
    }
    track.complete(until);
}

fn faces(inputs: &Inputs, s: u64) {
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

/// The same samples once at one track with two signals, once at two tracks.
#[test]
fn two_signals_of_one_sensor_are_two_sensors_that_say_the_same() {
    let test = "two_signals_of_one_sensor_are_two_sensors_that_say_the_same";
    let Some(runtime) = runtime(test) else {
        return;
    };
    let (apart, error) = edited(&lanes(), "input = \"eda\"\n", "");
    assert_eq!(error, "");
    let (one, mut own) = estimator_of(&runtime, &lanes());
    let (two, mut other) = estimator_of(&runtime, apart.path());
    assert_eq!(one.names(), ["eda", "ppg", "ecg"]);
    assert_eq!(two.names(), ["eda", "eda_phasic", "ppg", "ecg"]);
    let all: Vec<_> = own.bundle().modalities().collect();
    assert_eq!(all, ["video", "eda", "ppg", "ecg"]);

    let (eda, ppg) = (samples(4, 80, skin), samples(64, 80, pulse));
    let feeds = [
        (&one, "eda", &eda),
        (&one, "ppg", &ppg),
        (&two, "eda", &eda),
        (&two, "eda_phasic", &eda),
        (&two, "ppg", &ppg),
    ];
    let mut next = [0; 5];
    for (inputs, name, samples) in &feeds {
        let rate = if samples.len() < 400 { 4.0 } else { 64.0 };
        let mut track = inputs.signal(name).expect(name);
        track.configure(rate, Some([-100.0, 100.0]));
    }
    let mut spoken = 0;
    for s in 0..78 {
        for ((inputs, name, samples), next) in feeds.iter().zip(&mut next) {
            push(inputs, name, samples, next, (s + 2) * 1_000_000_000);
            if s == 40 {
                inputs.signal(name).expect(name).cut();
            }
            if s == 50 {
                inputs.signal(name).expect(name).configure(0.0, None);
            }
        }
        faces(&one, s);
        faces(&two, s);
        let (a, b) = (own.answer(s + 1), other.answer(s + 1));
        let (a, b) = (a.expect("answer"), b.expect("answer"));
        assert_eq!(a.logits, b.logits, "at {s}");
        assert_eq!((a.valence, a.arousal), (b.valence, b.arousal), "at {s}");
        assert_eq!(a.warming_up, b.warming_up);
        // What is told of the sensor is told of the signal of its name.
        assert_eq!(a.modalities[..2], b.modalities[..2], "at {s}");
        assert_eq!(a.modalities[2..], b.modalities[3..], "at {s}");
        for (a, b) in own.tokens().zip(other.tokens()) {
            assert_eq!((a.0, a.1.valid), (b.0, b.1.valid), "at {s}");
            assert_eq!(a.1.tokens, b.1.tokens, "{} at {s}", a.0);
        }
        let end = (s + 1) * 1_000_000_000;
        assert_eq!(one.window(end, 60.0), two.window(end, 60.0), "at {s}");
        spoken += usize::from(a.logits.is_some());
    }
    assert!(spoken > 70, "{spoken}");
    let windows = one.window(78_000_000_000, 60.0);
    let names: Vec<_> = windows.iter().map(|w| w.name.as_str()).collect();
    assert_eq!(names, ["video", "eda", "eda_phasic", "ppg", "ecg"]);
    assert_ne!(windows[1].values, windows[2].values);
    for w in &windows[1..4] {
        let held = w.valid.iter().filter(|v| **v == 1.0).count();
        assert!(held > w.valid.len() / 3, "{}: {held}", w.name);
    }
    let counts = |inputs: &Inputs| inputs.signal("eda").expect("eda").counts();
    assert_eq!(counts(&one), counts(&two));
    // After a seek nothing of either signal is left.
    one.signal("eda").expect("eda").flush();
    let after = one.window(78_000_000_000, 60.0);
    for w in &after[1..3] {
        assert!(w.valid.iter().all(|v| *v == 0.0), "{}", w.name);
    }
    assert_eq!(after[3], windows[3]);
}

/// A window waits for the slower of a sensor's signals: what comes later changes nothing,
/// and neither does keeping tokens.
#[test]
fn answers_do_not_depend_on_how_far_a_sensor_has_come() {
    let Some(runtime) = runtime("answers_do_not_depend_on_how_far_a_sensor_has_come") else {
        return;
    };
    // The hole in the samples is bridged in one of the two signals.
    let table = "input = \"eda\"\nrate = 4.0\nmax-gap = ";
    let (dir, error) = edited(&lanes(), &format!("{table}1.0"), &format!("{table}5.0"));
    assert_eq!(error, "");
    let (eda, ppg) = (samples(4, 80, skin), samples(64, 80, pulse));
    let names = [("eda", 4.0, &eda), ("ppg", 64.0, &ppg)];
    // As late as may be, and a quarter of a minute ahead.
    let run = |ahead: u64, keep: bool| {
        let (inputs, mut estimator) = estimator_of(&runtime, dir.path());
        for (name, rate, _) in names {
            inputs.signal(name).expect(name).configure(rate, None);
        }
        let (mut next, mut answers) = ([0; 2], Vec::new());
        for s in 0..70 {
            let end = (s + 1) * 1_000_000_000;
            for ((name, _, samples), next) in names.iter().zip(&mut next) {
                if ahead > 0 {
                    push(&inputs, name, samples, next, end + ahead);
                    continue;
                }
                let mut track = inputs.signal(name).expect(name);
                while track.settled() < end {
                    let (t, v) = samples[*next];
                    track.complete(t);
                    if track.settled() < end {
                        track.push(t, v);
                        *next += 1;
                    }
                }
            }
            faces(&inputs, s);
            if !keep {
                estimator.flush();
            }
            let mut answer = estimator.answer(s + 1).expect("answer");
            answer.took = Default::default();
            answers.push((answer, inputs.window(end, 60.0)));
        }
        answers
    };
    let late = run(0, true);
    for ((a, x), (b, y)) in late.iter().zip(&run(15_000_000_000, true)) {
        assert_eq!(a, b, "ahead");
        assert!(x == y, "grids at {}", a.window_end);
    }
    let anew = run(0, false);
    for ((a, _), (b, _)) in late.iter().zip(&anew) {
        let apart = (a.valence - b.valence)
            .abs()
            .max((a.arousal - b.arousal).abs());
        assert!(apart < 1e-4, "{apart}: {a:?} {b:?}");
    }
    // The hole is there in one signal and not in the other.
    let (_, windows) = &late[40];
    let holes = |w: usize| {
        let w = &windows[w];
        let at = |t: f64| w.valid[(t * w.rate) as usize + w.valid.len() - (41.0 * w.rate) as usize];
        (at(30.0), at(33.0), at(36.0))
    };
    assert_eq!(holes(1), (1.0, 0.0, 1.0));
    assert_eq!(holes(2), (1.0, 1.0, 1.0));
}

/// The sensor that covers more of a chunk fills the channel, the first in case of a tie.
#[test]
fn either_heart_sensor_speaks_for_the_heart() {
    let Some(runtime) = runtime("either_heart_sensor_speaks_for_the_heart") else {
        return;
    };
    // Peaks as sharp as those of an ECG, at 70 and at 90 beats per minute.
    fn slow(t: f64) -> f64 {
        (t * std::f64::consts::PI * 70.0 / 60.0).sin().powi(20)
    }
    fn fast(t: f64) -> f64 {
        (t * std::f64::consts::PI * 90.0 / 60.0).sin().powi(20)
    }
    // The rate is known again some seconds after the hole.
    let (ppg, ecg) = (samples(128, 44, slow), samples(128, 44, fast));
    let tokens = |names: &[(&str, &Samples)]| {
        let (inputs, mut estimator) = estimator_of(&runtime, &lanes());
        for (name, samples) in names {
            inputs.signal(name).expect(name).configure(128.0, None);
            push(&inputs, name, samples, &mut 0, 44_000_000_000);
        }
        estimator.answer(42).expect("answer");
        let mut streams = estimator.tokens();
        let (_, window) = streams.find(|(n, _)| *n == "cardiac").expect("cardiac");
        (window.tokens.to_vec(), window.valid.to_vec())
    };
    let both = tokens(&[("ppg", &ppg), ("ecg", &ecg)]);
    let (one, other) = (tokens(&[("ppg", &ppg)]), tokens(&[("ecg", &ecg)]));
    for (_, valid) in [&one, &other] {
        assert!(valid.contains(&1.0));
    }
    assert_ne!(one.0, other.0);
    // Where both cover a chunk alike it is the PPG's.
    let width = both.0.len() / both.1.len();
    let last = |t: &(Vec<f32>, Vec<f32>)| t.0[t.0.len() - width..].to_vec();
    assert_eq!(last(&both), last(&one));
    assert_ne!(last(&both), last(&other));
}

fn copy_of(bundle: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("dir");
    for entry in std::fs::read_dir(bundle).expect("bundle") {
        let entry = entry.expect("entry");
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
    }
    dir
}

/// The bundle with a manifest changed in one place, and what is said of it.
fn edited(bundle: &Path, from: &str, to: &str) -> (tempfile::TempDir, String) {
    let dir = copy_of(bundle);
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
        let (_dir, error) = edited(&fixture(), from, to);
        assert!(error.starts_with("bundle "), "{to}: {error}");
        for want in wants {
            assert!(error.contains(want), "{to}: '{want}' is not in: {error}");
        }
    }
}

#[test]
fn a_signal_needs_the_one_that_its_sensor_is_named_after() {
    let phasic = "name = \"eda_phasic\"\ninput = \"eda\"";
    for (from, to, wants) in [
        (
            phasic,
            "name = \"eda_phasic\"\ninput = \"gsr\"",
            vec![
                "[[signal]] 'eda_phasic' input",
                "'gsr'",
                "found none",
                "add it",
            ],
        ),
        // One of that name that is made of something else does not count.
        (
            "name = \"eda\"\nrate",
            "name = \"eda\"\ninput = \"ecg\"\nrate",
            vec!["[[signal]] 'eda_phasic' input", "'eda'", "found none"],
        ),
        (
            "name = \"eda\"\nrate",
            "name = \"eda_tonic\"\ninput = \"eda\"\nrate",
            vec!["[[signal]] 'eda_tonic' input", "'eda'", "name this one"],
        ),
        (phasic, "name = \"eda\"", vec!["'eda' is there twice"]),
    ] {
        let (_dir, error) = edited(&lanes(), from, to);
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
    let dir = copy_of(&fixture());
    std::fs::remove_file(dir.path().join("MODEL_CARD.md")).expect("remove");
    std::os::unix::fs::symlink(outside.path(), dir.path().join("MODEL_CARD.md")).expect("link");
    let error = Bundle::open(dir.path()).expect_err("link").to_string();
    assert!(error.contains("outside"), "{error}");
}

#[test]
fn a_damaged_graph_is_told_by_hash() {
    let dir = copy_of(&fixture());
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
    let dir = copy_of(&fixture());
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
