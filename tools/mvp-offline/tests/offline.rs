// SPDX-License-Identifier: MPL-2.0
//! mvp-offline gives what the crates give that it uses, and what the element mvpfusion computes
//! from the same recording, to the bit.

use conditioning::{Conditioner, SignalSpec};
use gst::prelude::*;
use gstmvp::{EmotionMeta, FaceUnitsMeta};
use mvp::InputSpecs;
use mvp::{Bundle, Estimator, Inputs, Network};
use onnx::{Provider, Runtime, SessionOptions};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

const SECOND: u64 = 1_000_000_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join("models/fixture")
}

/// A bundle with two signals of one sensor, and with one encoder for the pulse rate of either
/// ECG or PPG.
fn lanes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join("models/fixture-lanes")
}

fn has_runtime(test: &str) -> bool {
    match Runtime::load(None) {
        Ok(_) => true,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

// --- The program ------------------------------------------------------------------

fn offline(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mvp-offline"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mvp-offline");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It may end with an error before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("output");
    writer.join().expect("writer");
    output
}

fn fine(arguments: &[&str], input: &[u8]) -> Output {
    let output = offline(arguments, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    output
}

fn told(arguments: &[&str], input: &[u8], code: i32, wants: &[&str]) {
    let output = offline(arguments, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert!(said.starts_with("mvp-offline: "), "{said}");
    for want in wants {
        assert!(
            said.contains(want),
            "{arguments:?}: '{want}' not in: {said}"
        );
    }
}

type Samples = Vec<(u64, f64)>;

fn records(samples: &[(u64, f64)]) -> Vec<u8> {
    let bytes = |(t, v): &(u64, f64)| [t.to_le_bytes(), v.to_le_bytes()].concat();
    samples.iter().flat_map(bytes).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

/// The bits of each value; `None` for NaN, so that all NaN are equal.
fn bits(values: &[f32]) -> Vec<Option<u32>> {
    let one = |v: &f32| (!v.is_nan()).then(|| v.to_bits());
    values.iter().map(one).collect()
}

/// Equal within the last digit, in which serde_json may read another one than was written.
fn same(json: &Value, value: f64) -> bool {
    json.as_f64().is_some_and(|v| (v - value).abs() < 1e-14)
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    text.lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect()
}

// --- A recording with gaps and bad samples ----------------------------------------

/// Running time (ns) of the first samples, which is no grid point.
const BEGIN: u64 = 2_317_000_000;
const LENGTH: u64 = 90;

struct Recording {
    eda: Samples,
    ppg: Samples,
    units: Vec<(u64, f64, Vec<f64>)>,
    /// Time of the first PPG sample after a gap.
    back: u64,
}

fn recording() -> Recording {
    let wave = |rate: f64, f: fn(f64) -> f64| -> Samples {
        (0..(LENGTH as f64 * rate) as u64)
            .map(|i| (i as f64 * 1e9 / rate).round() as u64)
            // Rounded as in a stream of float32.
            .map(|t| (BEGIN + t, f64::from(f(t as f64 / 1e9) as f32)))
            .collect()
    };
    let mut eda = wave(4.0, |t| 4.0 + (t * 0.9).sin() + 0.2 * (t * 2.9).cos());
    let mut ppg = wave(64.0, |t| (t * 7.4).sin() + 0.4 * (t * 23.0).sin());
    // Some samples are NaN, also just before a window's end.
    for i in [37, 101, 102, 215] {
        eda[i].1 = f64::NAN;
    }
    for i in (700..5000).step_by(577) {
        ppg[i].1 = f64::NAN;
    }
    let (gap, back) = (BEGIN + 41_700_000_000, BEGIN + 44_900_000_000);
    ppg.retain(|(t, _)| !(gap..back).contains(t));
    let back = ppg.iter().map(|s| s.0).find(|t| *t >= back).expect("more");
    let names = face::BLENDSHAPES.len() as u64;
    // 5 Hz, each a little before the frame that carries it, with one gap.
    let units = (1..LENGTH * 5)
        .filter(|i| !(150..163).contains(i))
        .map(|i| {
            let time = i * 200_000_000 - 13_000_000;
            let row = (0..names).map(|u| 0.5 + 0.5 * (i as f64 * 0.06 + u as f64).sin());
            (time, if i % 50 == 7 { 0.1 } else { 0.9 }, row.collect())
        })
        .collect();
    Recording {
        eda,
        ppg,
        units,
        back,
    }
}

impl Recording {
    /// Indices in [`face::BLENDSHAPES`] of the units that the bundle takes, in its order.
    fn columns(bundle: &Bundle) -> Vec<usize> {
        let all = face::BLENDSHAPES;
        let find = |n: &String| all.iter().position(|b| b == n).expect("a blendshape");
        bundle.video().units.iter().map(find).collect()
    }

    fn unit_records(&self, bundle: &Bundle) -> Vec<u8> {
        let columns = Self::columns(bundle);
        let mut bytes = Vec::new();
        for (time, confidence, row) in &self.units {
            bytes.extend(time.to_le_bytes());
            bytes.extend(confidence.to_le_bytes());
            bytes.extend(columns.iter().flat_map(|c| row[*c].to_le_bytes()));
        }
        bytes
    }

    /// Files for `answer` and `windows`, and the arguments that name them.
    fn save(&self, directory: &Path, bundle: &Bundle) -> Vec<String> {
        let file = |name: &str, bytes: Vec<u8>| {
            let path = directory.join(name);
            std::fs::write(&path, bytes).expect("write");
            path.display().to_string()
        };
        vec![
            "--signal".into(),
            format!("eda=4:{}", file("eda", records(&self.eda))),
            "--signal".into(),
            format!("ppg=64:{}", file("ppg", records(&self.ppg))),
            "--cut-at".into(),
            format!("ppg={}", self.back),
            "--units".into(),
            file("units", self.unit_records(bundle)),
        ]
    }
}

fn with<'a>(command: &[&'a str], files: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let files = files.iter().map(String::as_str);
    command
        .iter()
        .copied()
        .chain(files)
        .chain(more.iter().copied())
        .collect()
}

// --- Compared with the crates -----------------------------------------------------

#[test]
fn a_conditioned_recording_is_what_the_conditioner_gives() {
    let manifest = fixture();
    let specs = InputSpecs::read(&manifest).expect("manifest");
    let r = recording();
    for (name, rate, samples, scale) in [
        ("eda", 4.0, &r.eda, None),
        ("ppg", 64.0, &r.ppg, Some([-1.3, 1.3])),
        ("ppg", 0.0, &r.ppg, None),
    ] {
        let spec = specs.signals.iter().find(|s| s.name == name).expect(name);
        let mut conditioner = Conditioner::new(spec.clone(), rate, scale);
        let mut want = Vec::new();
        for (time, value) in samples {
            if name == "ppg" && *time == r.back {
                conditioner.cut();
            }
            conditioner.push(*time, *value, |p| want.push((p.k, p.value)));
        }
        let end = samples.last().expect("samples").0 + 1;
        conditioner.close(end, |p| want.push((p.k, p.value)));
        assert!(want.iter().enumerate().all(|(i, (k, _))| i as u64 == *k));
        let want: Vec<f32> = want.iter().map(|(_, v)| v.unwrap_or(f32::NAN)).collect();

        let (manifest, rate) = (manifest.display().to_string(), rate.to_string());
        let mut arguments = vec!["condition", &manifest, "--signal", name, "--rate", &rate];
        let back = r.back.to_string();
        if name == "ppg" {
            arguments.extend(["--cut-at", &back]);
        }
        if scale.is_some() {
            arguments.extend(["--full-scale", "-1.3,1.3"]);
        }
        let output = fine(&arguments, &records(samples));
        assert_eq!(bits(&floats(&output.stdout)), bits(&want), "{name} {rate}");
        assert!(want.iter().filter(|v| v.is_finite()).count() > want.len() / 2);
        let counts: Value = serde_json::from_slice(&output.stderr).expect("counts");
        let own = conditioner.counts();
        for (field, value) in [
            ("received", own.received),
            ("not-finite", own.not_finite),
            ("saturated", own.saturated),
            ("flat", own.flat),
            ("late", own.late),
            ("points", want.len() as u64),
        ] {
            assert_eq!(counts[field], value, "{name}: {field}");
        }
        assert!(own.not_finite > 0 && (scale.is_none() || own.saturated > 0));
    }
}

/// Training begins without graphs, so the rest of a manifest is not there yet.
#[test]
fn a_manifest_with_signals_alone_is_enough() {
    let text = std::fs::read_to_string(fixture().join("mvp.toml")).expect("manifest");
    let from = text.find("[[signal]]").expect("signals");
    let to = text.find("[[stream]]").expect("streams");
    let video =
        "[video]\nrate = 5.0\nmax-gap = 0.5\nmin-confidence = 0.5\nunits = [\"a\", \"b\"]\n";
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("signals.toml");
    std::fs::write(&path, format!("{video}{}", &text[from..to])).expect("write");
    let part = path.display().to_string();
    let whole = fixture().display().to_string();
    let input = records(&recording().eda);
    let grid = |manifest: &str| {
        let arguments = ["condition", manifest, "--signal", "eda", "--rate", "4"];
        fine(&arguments, &input).stdout
    };
    assert_eq!(grid(&part), grid(&whole));

    // Two units, at 0, 0.2 (confidence too low) and 0.4 s: interpolated across the second.
    let counts = directory.path().join("counts.json").display().to_string();
    let rows = [
        (0u64, 0.9f64, 0.0f64, 1.0f64),
        (200_000_000, 0.2, 7.0, 7.0),
        (400_000_000, 0.9, 1.0, 0.0),
    ];
    let bytes: Vec<u8> = rows
        .iter()
        .flat_map(|(t, c, a, b)| {
            let numbers = [c, a, b].into_iter().flat_map(|v| v.to_le_bytes());
            t.to_le_bytes()
                .into_iter()
                .chain(numbers)
                .collect::<Vec<u8>>()
        })
        .collect();
    let output = fine(&["units", &part, "--counts", &counts], &bytes);
    assert_eq!(floats(&output.stdout), [0.0, 1.0, 0.5, 0.5, 1.0, 0.0]);
    assert!(output.stderr.is_empty());
    let counts: Value =
        serde_json::from_slice(&std::fs::read(counts).expect("counts")).expect("JSON");
    assert_eq!(
        (&counts["received"], &counts["bad"]),
        (&3.into(), &1.into())
    );
}

#[test]
fn answers_are_the_estimators_with_tokens_kept_or_not() {
    if !has_runtime("answers_are_the_estimators_with_tokens_kept_or_not") {
        return;
    }
    for directory in [fixture(), lanes()] {
        answers_are_the_estimators(&directory);
    }
}

fn answers_are_the_estimators(bundle: &Path) {
    let model = bundle.display().to_string();
    let bundle = Arc::new(Bundle::open(bundle).expect("fixture"));
    let r = recording();
    let directory = tempfile::tempdir().expect("directory");
    let files = r.save(directory.path(), &bundle);
    let kept = lines(&fine(&with(&["answer", &model], &files, &[]), &[]).stdout);
    let anew = lines(&fine(&with(&["answer", &model], &files, &["--recompute"]), &[]).stdout);

    // By hand: everything up to a second after the window's end, then the answer.
    let inputs = Arc::new(Inputs::new(&bundle));
    let options = SessionOptions {
        provider: Provider::Cpu,
        ..Default::default()
    };
    let runtime = Runtime::load(None).expect("runtime");
    let network = Network::load(&runtime, &bundle, &options, |_| {}).expect("network");
    let mut estimator = Estimator::new(bundle.clone(), inputs.clone(), network);
    for (name, rate) in [("eda", 4.0), ("ppg", 64.0)] {
        inputs.signal(name).expect(name).configure(rate, None);
    }
    let columns = Recording::columns(&bundle);
    let (mut at, mut last) = ([0; 3], Vec::new());
    for hop in 1..=(BEGIN / SECOND + LENGTH) {
        let until = (hop + 1) * SECOND;
        for (i, (name, samples)) in [("eda", &r.eda), ("ppg", &r.ppg)].iter().enumerate() {
            let mut track = inputs.signal(name).expect("there");
            while let Some((t, v)) = samples.get(at[i]).filter(|s| s.0 < until) {
                if *name == "ppg" && *t == r.back {
                    track.cut();
                }
                track.push(*t, *v);
                at[i] += 1;
            }
            if let Some((t, _)) = samples.get(at[i]) {
                track.complete(*t);
            }
        }
        let mut video = inputs.video();
        while let Some((t, c, row)) = r.units.get(at[2]).filter(|u| u.0 <= hop * SECOND) {
            let row: Vec<f64> = columns.iter().map(|c| row[*c]).collect();
            video.push(*t, *c, &row);
            at[2] += 1;
        }
        drop(video);
        last.push(estimator.answer(hop).expect("answer"));
    }

    assert!(kept.len() >= 90, "{} answers", kept.len());
    assert_eq!(kept.len(), anew.len());
    let (mut spoken, mut widest) = (0, 0f64);
    for ((kept, anew), own) in kept.iter().zip(&anew).zip(&last) {
        assert_eq!(kept["window-end"], own.window_end);
        assert_eq!(kept["window-start"], own.window_start);
        assert_eq!(kept["warming-up"], own.warming_up);
        assert_eq!(kept["label"], own.label.as_str());
        let logits = own.logits.as_ref();
        let modality = |name: &str| {
            let found = own.modalities.iter().find(|m| m.name == name);
            found.expect(name)
        };
        for (field, value) in [
            ("valence", Some(own.valence)),
            ("arousal", Some(own.arousal)),
            ("confidence", Some(own.confidence)),
            ("coverage-ppg", Some(modality("ppg").coverage)),
            ("quality-eda", Some(modality("eda").quality)),
            ("valence-logit", logits.map(|l| l.valence)),
            ("arousal-logit", logits.map(|l| l.arousal)),
        ] {
            let close = value.map_or(kept[field].is_null(), |v| same(&kept[field], v));
            assert!(close, "{field} at {}: {kept} {value:?}", own.window_end);
            let (kept, anew) = (kept[field].as_f64(), anew[field].as_f64());
            if let (Some(kept), Some(anew)) = (kept, anew) {
                widest = widest.max((kept - anew).abs());
            }
            assert_eq!(kept.is_some(), anew.is_some());
        }
        spoken += usize::from(logits.is_some());
    }
    assert!(widest < 1e-4, "{widest}");
    assert!(spoken > 80, "{spoken}");
}

// --- Compared with the element ----------------------------------------------------

/// What mvpfusion answered for a recording at whole seconds.
struct Served {
    results: Vec<EmotionMeta>,
}

/// Pushes `samples` in buffers of `size`, with the time of the first sample as PTS. The buffer
/// that begins at `back` has DISCONT.
fn source(
    pipeline: &gst::Pipeline,
    name: &str,
    rate: i32,
    size: usize,
    samples: &Samples,
    back: u64,
) -> std::thread::JoinHandle<()> {
    let src = pipeline.by_name(name).and_downcast::<gst_app::AppSrc>();
    let src = src.expect("appsrc");
    src.set_caps(Some(
        &gst::Caps::builder("application/x-lsl")
            .field("format", "F32LE")
            .field("layout", "interleaved")
            .field("channels", 1)
            .field("rate", gst::Fraction::new(rate, 1))
            .build(),
    ));
    src.set_format(gst::Format::Time);
    src.set_max_bytes(1 << 14);
    src.set_block(true);
    let samples = samples.clone();
    std::thread::spawn(move || {
        let period = SECOND / rate as u64;
        let mut rest = &samples[..];
        while let Some((start, _)) = rest.first() {
            let follow = |w: &[(u64, f64)]| w[1].0 - w[0].0 < 2 * period;
            let whole = 1 + rest.windows(2).take_while(|w| follow(w)).count();
            let (now, later) = rest.split_at(whole.min(size));
            let bytes: Vec<u8> = now
                .iter()
                .flat_map(|(_, v)| (*v as f32).to_le_bytes())
                .collect();
            let mut buffer = gst::Buffer::from_mut_slice(bytes);
            let b = buffer.get_mut().expect("own buffer");
            b.set_pts(gst::ClockTime::from_nseconds(*start));
            b.set_duration(gst::ClockTime::from_nseconds(now.len() as u64 * period));
            if *start == back {
                b.set_flags(gst::BufferFlags::DISCONT);
            }
            if src.push_buffer(buffer).is_err() {
                return;
            }
            rest = later;
        }
        let _ = src.end_of_stream();
    })
}

fn serve(r: &Recording, bundle: &Bundle, sizes: [usize; 2]) -> Served {
    gst::init().expect("gst");
    gstmvp::plugin_register_static().expect("plugin");
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc name=video num-buffers={} ! video/x-raw,width=32,height=32,framerate=5/1 \
         ! mvpfusion name=f sync=wait trace-duration=60000000000 model={} execution-provider=cpu \
         ! fakesink name=sink  appsrc name=eda ! f.eda  appsrc name=ppg ! f.ppg",
        LENGTH * 5,
        bundle.directory().display()
    ))
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let feeds = [
        source(&pipeline, "eda", 4, sizes[0], &r.eda, r.back),
        source(&pipeline, "ppg", 64, sizes[1], &r.ppg, r.back),
    ];
    let units = r.units.clone();
    let pad = |element: &str, pad: &str| {
        let element = pipeline.by_name(element).expect("element");
        element.static_pad(pad).expect("pad")
    };
    pad("video", "src").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            let at = buffer.pts().expect("stamped").nseconds();
            let inside = |t: u64| t <= at && t + 200_000_000 > at;
            for (time, confidence, row) in units.iter().filter(|u| inside(u.0)) {
                let names = face::BLENDSHAPES.iter();
                FaceUnitsMeta {
                    time: gst::ClockTime::from_nseconds(*time),
                    confidence: *confidence,
                    track_id: 1,
                    units: names.zip(row).map(|(n, v)| (n.to_string(), *v)).collect(),
                }
                .attach(buffer.make_mut())
                .expect("attach");
            }
        }
        gst::PadProbeReturn::Ok
    });
    let served = Arc::new(Mutex::new(Served {
        results: Vec::new(),
    }));
    let seen = served.clone();
    pad("sink", "sink").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().expect("a buffer");
        let time = buffer.pts().expect("stamped").nseconds();
        if time % SECOND == 0 && time > 0 {
            let mut seen = seen.lock().expect("served");
            seen.results
                .push(EmotionMeta::from_buffer(buffer).expect("a result"));
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("playing");
    let message = pipeline.bus().expect("bus").timed_pop_filtered(
        gst::ClockTime::from_seconds(60),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    let message = message.expect("an end within a minute");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline.set_state(gst::State::Null).expect("null");
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    let mut served = served.lock().expect("served");
    Served {
        results: std::mem::take(&mut served.results),
    }
}

/// Training uses `condition`; its windows have to be those that mvpfusion gives the network.
#[test]
fn a_training_window_is_the_window_that_is_served() {
    if !has_runtime("a_training_window_is_the_window_that_is_served") {
        return;
    }
    windows_are_those_served(&fixture(), &["eda", "ppg"]);
    windows_are_those_served(&lanes(), &["eda", "eda_phasic", "ppg"]);
}

/// `names`: the signals that are made of what a [`Recording`] has.
fn windows_are_those_served(bundle: &Path, names: &[&str]) {
    let model = bundle.display().to_string();
    let bundle = Bundle::open(bundle).expect("fixture");
    let r = recording();
    let back = r.back.to_string();
    let condition = |name: &str, rate: &str, samples: &Samples, more: &[&str]| {
        let arguments = ["condition", &model, "--signal", name, "--rate", rate];
        floats(&fine(&[&arguments[..], more].concat(), &records(samples)).stdout)
    };
    let signals = bundle.signals().iter();
    let grids: Vec<(&SignalSpec, Vec<f32>)> = signals
        .filter(|s| names.contains(&s.name.as_str()))
        .map(|s| {
            let grid = match s.modality() {
                "eda" => condition(&s.name, "4", &r.eda, &[]),
                _ => condition(&s.name, "64", &r.ppg, &["--cut-at", &back]),
            };
            (s, grid)
        })
        .collect();
    assert_eq!(grids.len(), names.len());
    let directory = tempfile::tempdir().expect("directory");
    let files = r.save(directory.path(), &bundle);
    let answers = lines(&fine(&with(&["answer", &model], &files, &[]), &[]).stdout);

    // The size of the buffers must not matter.
    for sizes in [[1, 8], [4, 64], [9, 200]] {
        let served = serve(&r, &bundle, sizes);
        assert_eq!(served.results.len() as u64, LENGTH - 1);
        for (own, offline) in served.results.iter().zip(&answers) {
            assert_eq!(offline["window-end"], own.window_end.nseconds());
            for (field, value) in [
                ("valence", own.valence),
                ("arousal", own.arousal),
                ("confidence", own.confidence),
            ] {
                assert!(same(&offline[field], value), "{field}: {offline} {own:?}");
            }
            for m in &own.modalities {
                let coverage = &offline[format!("coverage-{}", m.name)];
                let quality = &offline[format!("quality-{}", m.name)];
                assert!(
                    same(coverage, m.coverage) && same(quality, m.quality),
                    "{sizes:?} {m:?}: {offline} {own:?}"
                );
            }
        }
    }

    // `windows` writes parts of the same grids, with the encoders' context.
    let units = floats(&fine(&["units", &model], &r.unit_records(&bundle)).stdout);
    for end in [12u64, 71, 86] {
        let end_text = end.to_string();
        let arguments = with(
            &["windows", &model],
            &files,
            &["--end", &end_text, "--tokens"],
        );
        let output = fine(&arguments, &[]).stdout;
        let cut = output.iter().position(|b| *b == b'\n').expect("a header");
        let header: Value = serde_json::from_slice(&output[..cut]).expect("JSON");
        assert_eq!(header["answer"], answers[end as usize - 1]);
        let array = |name: &str| -> (Value, Vec<f32>) {
            let all = header["arrays"].as_array().expect("arrays");
            let about = all.iter().find(|a| a["name"] == name).expect(name);
            let shape = about["shape"].as_array().expect("shape").iter();
            let n: u64 = shape.map(|d| d.as_u64().expect("a size")).product();
            let offset = cut + 1 + about["offset"].as_u64().expect("offset") as usize;
            (about.clone(), floats(&output[offset..][..4 * n as usize]))
        };
        let width = bundle.video().units.len();
        let body = grids.iter().map(|(s, grid)| (&s.name[..], 1, s.rate, grid));
        for (name, width, rate, grid) in body.chain([("video", width, 5.0, &units)]) {
            let rate = rate as u64;
            let (about, values) = array(name);
            let (_, valid) = array(&format!("{name}-valid"));
            let first = about["first"].as_i64().expect("first");
            assert_eq!(first + valid.len() as i64, (end * rate) as i64, "{name}");
            let (mut held, mut over) = (0, 0);
            for (i, row) in values.chunks_exact(width).enumerate() {
                let k = usize::try_from(first + i as i64).ok();
                let row_of_grid = k.and_then(|k| grid.get(k * width..(k + 1) * width));
                match row_of_grid.filter(|g| !g[0].is_nan()) {
                    Some(g) => {
                        assert_eq!((bits(row), valid[i]), (bits(g), 1.0), "{name} {k:?}");
                        held += 1;
                    }
                    // If the face goes just as a window ends, its units are held up to the end.
                    None if name == "video" && valid[i] == 1.0 => over += 1,
                    None => {
                        assert!(valid[i] == 0.0 && row.iter().all(|v| *v == 0.0));
                    }
                }
            }
            assert!(over <= 1, "{name}: {over}");
            // The pulse rate and its normalisation have a warm-up.
            assert!(end < 20 || held > 5 * rate, "{name}: {held}");
        }
        let (about, tokens) = array("tokens-eda");
        assert_eq!(about["shape"], serde_json::json!([60, 32]));
        assert!(tokens.iter().any(|v| *v != 0.0));
        // A stream has tokens if one of its signals has values.
        for stream in bundle.streams() {
            let (_, valid) = array(&format!("tokens-{}-valid", stream.name));
            let mut signals = stream.channels.iter().flatten();
            let heard = signals.any(|s| names.contains(&s.as_str()));
            let some = valid.contains(&1.0);
            assert!(some == heard || end < 20, "{} before {end}", stream.name);
        }
    }
}

// --- Error texts ------------------------------------------------------------------

#[test]
fn wrong_input_is_told_by_name_with_what_was_expected() {
    let model = fixture().display().to_string();
    let manifest = fixture().join("mvp.toml").display().to_string();
    let one = records(&[(0, 1.0)]);
    let condition = ["condition", &model, "--signal", "eda", "--rate", "4"];
    told(&[], &[], 2, &["expected a command", "--help"]);
    told(&["train"], &[], 2, &["'train'", "condition"]);
    told(&["condition"], &[], 2, &["expected a manifest"]);
    told(&["condition", &model], &one, 2, &["--signal NAME"]);
    told(&condition[..4], &one, 2, &["--rate HZ"]);
    told(
        &[&condition[..5], &["fast"]].concat(),
        &one,
        2,
        &["rate in Hz", "'fast'"],
    );
    told(
        &[&condition[..], &["--colour"]].concat(),
        &one,
        2,
        &["--colour"],
    );
    told(
        &[&condition[..], &["--full-scale", "5"]].concat(),
        &one,
        2,
        &["LOW,HIGH", "'5'"],
    );
    told(
        &[&condition[..], &["--cut-at", "soon"]].concat(),
        &one,
        2,
        &["nanoseconds", "soon"],
    );
    told(
        &condition,
        &one[..9],
        1,
        &["standard input", "16 bytes", "9 bytes"],
    );
    let far = records(&[(1_700_000_000 * SECOND, 1.0)]);
    told(&condition, &far, 1, &["record 0", "recording's start"]);
    let other = ["condition", &manifest, "--signal", "gsr", "--rate", "4"];
    told(&other, &one, 1, &["'gsr'", "eda, ecg, ppg", "mvp.toml"]);
    let nowhere = [
        "condition",
        "/no/such.toml",
        "--signal",
        "eda",
        "--rate",
        "4",
    ];
    told(&nowhere, &one, 1, &["/no/such.toml", "[[signal]]"]);
    told(&["units", &model], &one, 1, &["52 × f64", "16 bytes"]);

    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("wrong.toml");
    let wrong = path.display().to_string();
    for (text, wants) in [
        ("[[signal]]\nname = \"eda\"\n", vec!["rate"]),
        ("signal = 3\n", vec!["signal"]),
        (
            "[video]\nrate = 0.0\nmax-gap = 1.0\nmin-confidence = 0.5\nunits = [\"a\"]\n",
            vec!["[video]", "rate"],
        ),
        ("", vec!["'eda'", "found none"]),
    ] {
        std::fs::write(&path, text).expect("write");
        let arguments = ["condition", &wrong, "--signal", "eda", "--rate", "4"];
        told(&arguments, &one, 1, &[&wants[..], &["wrong.toml"]].concat());
    }
    told(&["units", &wrong], &[], 1, &["[video]", "found none"]);

    let answer = ["answer", model.as_str(), "--signal"];
    let file = directory.path().join("eda").display().to_string();
    std::fs::write(&file, &one).expect("write");
    for (value, code, wants) in [
        ("eda".to_string(), 2, vec!["NAME=RATE:FILE", "'eda'"]),
        (format!("eda=x:{file}"), 2, vec!["rate in Hz", "'x'"]),
        (format!("gsr=4:{file}"), 1, vec!["gsr", "eda, ecg, ppg"]),
        ("eda=4:/no/such.bin".into(), 1, vec!["/no/such.bin"]),
    ] {
        told(&[&answer[..], &[&value]].concat(), &[], code, &wants);
    }
    let one = format!("eda=4:{file}");
    let fine = [&answer[..], &[&one]].concat();
    told(
        &[&fine[..], &["--signal", &one]].concat(),
        &[],
        2,
        &["eda", "twice"],
    );
    told(
        &[&fine[..], &["--provider", "tpu"]].concat(),
        &[],
        2,
        &["tpu", "cpu"],
    );
    told(
        &[&fine[..], &["--cut-at", "7"]].concat(),
        &[],
        2,
        &["NAME=VALUE", "'7'"],
    );
    // A signal with an `input` has no samples of its own.
    let lanes = lanes().display().to_string();
    let value = format!("eda_phasic=4:{file}");
    told(
        &["answer", &lanes, "--signal", &value],
        &[],
        1,
        &["eda_phasic", "eda, ppg, ecg", "samples of 'eda'"],
    );
    let windows = ["windows", model.as_str(), "--signal", &one];
    told(&windows, &[], 2, &["--end CHUNK"]);
    told(
        &[&windows[..], &["--end", "5"]].concat(),
        &[],
        1,
        &["--end 5", "0.000 s long"],
    );
}

#[test]
fn help_is_there_and_a_reader_may_leave() {
    for arguments in [&["--help"][..], &["condition", "-h"]] {
        let text = String::from_utf8(fine(arguments, &[]).stdout).expect("UTF-8");
        assert!(text.lines().all(|l| l.len() <= 100), "{text}");
        for want in ["condition", "units", "answer", "windows", "--recompute"] {
            assert!(text.contains(want), "{want}");
        }
    }
    let model = fixture().display().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mvp-offline"))
        .args(["condition", &model, "--signal", "eda", "--rate", "4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mvp-offline");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&records(&recording().eda)).expect("write");
    drop(stdin);
    assert!(child.wait().expect("status").success());
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut said)
        .expect("text");
    assert!(!said.contains("mvp-offline"), "{said}");
}
