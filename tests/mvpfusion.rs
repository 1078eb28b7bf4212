// SPDX-License-Identifier: MPL-2.0
//! mvpfusion in real pipelines, with the untrained fixture and a real ONNX Runtime.

mod xdf_support;

use gst::prelude::*;
use gstmvp::{EmotionMeta, FaceUnitsMeta};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin");
    });
}

/// False where there is no ONNX Runtime; says so.
fn ready(test: &str) -> bool {
    init();
    match onnx::Runtime::load(None) {
        Ok(_) => true,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture")
}

/// Two of its signals are made of one sensor's samples.
fn lanes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture-lanes")
}

fn launch(line: &str) -> gst::Pipeline {
    let line = line.replace("MODEL", &fixture().display().to_string());
    let pipeline = gst::parse::launch(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
    pipeline.downcast::<gst::Pipeline>().expect("a pipeline")
}

/// Everything that a run said, until EOS or an error.
#[derive(Debug, Default)]
struct Run {
    results: Vec<gst::Structure>,
    warnings: Vec<String>,
    error: Option<String>,
}

fn follow(pipeline: &gst::Pipeline) -> Run {
    let mut run = Run::default();
    let bus = pipeline.bus().expect("bus");
    loop {
        use gst::MessageView;
        let message = bus
            .timed_pop(gst::ClockTime::from_seconds(60))
            .expect("neither EOS nor an error within a minute");
        match message.view() {
            MessageView::Eos(_) => break,
            MessageView::Error(e) => {
                run.error = Some(e.error().to_string());
                break;
            }
            MessageView::Warning(w) => run.warnings.push(w.error().to_string()),
            MessageView::Element(e) => {
                if let Some(s) = e.structure().filter(|s| s.name() == "mvp-emotion") {
                    run.results.push(s.to_owned());
                }
            }
            _ => {}
        }
    }
    run
}

fn play(pipeline: &gst::Pipeline) -> Run {
    // A refused state change posts its reason; that is what `follow` reports.
    let _ = pipeline.set_state(gst::State::Playing);
    let run = follow(pipeline);
    pipeline.set_state(gst::State::Null).expect("null");
    run
}

/// A physiology source: `value(t)` at `rate` Hz for `seconds`, then EOS.
fn feed(
    pipeline: &gst::Pipeline,
    name: &str,
    rate: i32,
    seconds: u64,
    value: impl Fn(f64) -> f32 + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let src = pipeline
        .by_name(name)
        .and_downcast::<gst_app::AppSrc>()
        .expect("appsrc");
    src.set_caps(Some(
        &gst::Caps::builder("application/x-lsl")
            .field("format", "F32LE")
            .field("layout", "interleaved")
            .field("channels", 1)
            .field("rate", gst::Fraction::new(rate, 1))
            .build(),
    ));
    src.set_format(gst::Format::Time);
    src.set_max_bytes(1 << 16);
    src.set_block(true);
    std::thread::spawn(move || {
        let chunk = (rate as u64 / 8).max(1);
        for first in (0..rate as u64 * seconds).step_by(chunk as usize) {
            let time = |i: u64| i * SECOND / rate as u64;
            let bytes: Vec<u8> = (first..first + chunk)
                .flat_map(|i| value(time(i) as f64 / 1e9).to_le_bytes())
                .collect();
            let mut buffer = gst::Buffer::from_mut_slice(bytes);
            {
                let b = buffer.get_mut().expect("own buffer");
                b.set_pts(gst::ClockTime::from_nseconds(time(first)));
                b.set_duration(gst::ClockTime::from_nseconds(
                    time(first + chunk) - time(first),
                ));
            }
            if src.push_buffer(buffer).is_err() {
                return;
            }
        }
        let _ = src.end_of_stream();
    })
}

fn heart(t: f64) -> f32 {
    ((t * 7.4).sin() + 0.4 * (t * 23.0).sin()) as f32
}

fn skin(t: f64) -> f32 {
    (4.0 + (t * 0.9).sin() + 0.2 * (t * 2.9).cos()) as f32
}

/// Attaches units to every sixth frame, as facetrack does at 5 Hz.
fn face(pipeline: &gst::Pipeline, element: &str) {
    face_where(pipeline, element, |n, _| n.is_multiple_of(6));
}

/// Attaches units to the frames that `wanted` names by their number and their time (ns).
fn face_where(
    pipeline: &gst::Pipeline,
    element: &str,
    wanted: impl Fn(u64, u64) -> bool + Send + Sync + 'static,
) {
    let pad = pipeline
        .by_name(element)
        .and_then(|e| e.static_pad("src"))
        .expect("pad");
    let count = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        if let Some(buffer) = info.buffer_mut()
            && wanted(n, buffer.pts().expect("stamped").nseconds())
        {
            let segment = pad.sticky_event::<gst::event::Segment>(0).expect("segment");
            let segment = segment.segment().downcast_ref::<gst::ClockTime>();
            let time = segment.expect("time").to_running_time(buffer.pts());
            let time = time.unwrap_or(gst::ClockTime::ZERO);
            let t = time.nseconds() as f64 / 1e9;
            FaceUnitsMeta {
                time,
                confidence: 0.9,
                track_id: 1,
                units: face::BLENDSHAPES
                    .iter()
                    .enumerate()
                    .map(|(i, n)| (n.to_string(), 0.5 + 0.5 * (t * 0.3 + i as f64).sin()))
                    .collect(),
            }
            .attach(buffer.make_mut())
            .expect("attach");
        }
        gst::PadProbeReturn::Ok
    });
}

/// Collects the results on the buffers that reach `element`.
fn collect(pipeline: &gst::Pipeline, element: &str) -> Arc<Mutex<Vec<Option<EmotionMeta>>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let pad = pipeline
        .by_name(element)
        .and_then(|e| e.static_pad("sink"))
        .expect("pad");
    let sink = seen.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            sink.lock()
                .expect("list")
                .push(EmotionMeta::from_buffer(buffer));
        }
        gst::PadProbeReturn::Ok
    });
    seen
}

const WHOLE: &str = "videotestsrc name=video num-buffers=2400 ! video/x-raw,width=64,height=48,framerate=30/1 \
     ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink \
     appsrc name=ecg ! f.ecg  appsrc name=eda ! f.eda";

#[test]
fn two_runs_give_the_same_results_and_every_frame_has_one() {
    if !ready("two_runs_give_the_same_results_and_every_frame_has_one") {
        return;
    }
    let once = || {
        let pipeline = launch(WHOLE);
        let feeds = [
            feed(&pipeline, "ecg", 256, 85, heart),
            feed(&pipeline, "eda", 4, 85, skin),
        ];
        face(&pipeline, "video");
        let seen = collect(&pipeline, "sink");
        let run = play(&pipeline);
        feeds.into_iter().for_each(|f| f.join().expect("feeder"));
        assert_eq!(run.error, None);
        let metas = std::mem::take(&mut *seen.lock().expect("list"));
        (run.results, metas)
    };
    let (messages, metas) = once();
    assert_eq!(metas.len(), 2400);
    assert_eq!(
        messages.len(),
        79,
        "one for each whole second but the last frame's"
    );
    for (i, meta) in metas.iter().enumerate() {
        // Frame 30 n is at n seconds; its result is that of the window that ends there.
        let second = i as u64 / 30;
        let Some(meta) = meta else {
            assert_eq!(second, 0, "frame {i} has no result");
            continue;
        };
        assert_eq!(meta.sequence, second - 1);
        assert_eq!(meta.window_end.nseconds(), second * SECOND);
        assert_eq!(
            meta.window_start.nseconds(),
            second.saturating_sub(60) * SECOND
        );
        assert!(meta.age.nseconds() < SECOND && !meta.stale);
        assert_eq!(meta.warming_up, second < 60, "at {second} s");
    }
    let last = metas.last().cloned().flatten().expect("a result");
    assert!(
        last.modalities
            .iter()
            .take(3)
            .all(|m| m.coverage > 0.99 && m.quality == 1.0)
    );
    assert_eq!(last.modalities[3].coverage, 0.0, "no PPG was linked");
    assert!(!last.trained && last.provider == "cpu");
    assert!((0.0..=1.0).contains(&last.valence) && last.label != "unknown");

    let (again, same) = once();
    assert_eq!(metas, same);
    let text = |m: &[gst::Structure]| m.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    assert_eq!(text(&messages), text(&again));
}

/// The label on the frames, on the bus and in the JSON.
#[test]
fn without_a_face_or_a_body_every_output_says_unknown() {
    if !ready("without_a_face_or_a_body_every_output_says_unknown") {
        return;
    }
    for (with_face, with_body, known) in [
        (true, true, true),
        (false, true, false),
        (true, false, false),
    ] {
        let dir = tempfile::tempdir().expect("dir");
        let lines = dir.path().join("lines.jsonl");
        let tail = format!(
            "! tee name=t t. ! queue ! emotionserialize ! filesink location={} \
             t. ! queue ! fakesink name=sink \
             appsrc name=ecg",
            lines.display()
        );
        let head = WHOLE.split("! fakesink").next().expect("a head");
        let pipeline = launch(&format!("{} {tail} ! f.ecg", head.replace("2400", "300")));
        let feeder = feed(&pipeline, "ecg", 256, if with_body { 12 } else { 0 }, heart);
        if with_face {
            face(&pipeline, "video");
        }
        let seen = collect(&pipeline, "sink");
        let run = play(&pipeline);
        feeder.join().expect("feeder");
        assert_eq!(run.error, None);
        let last = seen.lock().expect("list").last().cloned().flatten();
        let last = last.expect("a result");
        let at = format!("face {with_face}, body {with_body}: {last:?}");
        assert_eq!(last.label != "unknown", known, "{at}");
        assert_eq!(last.confidence > 0.0, known, "{at}");
        assert_eq!(last.is_known(), known, "{at}");
        let message = run.results.last().expect("messages");
        assert_eq!(message.get::<&str>("label"), Ok(last.label.as_str()));
        let text = std::fs::read_to_string(&lines).expect("lines");
        let line: serde_json::Value =
            serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert_eq!(line["label"], last.label.as_str());
        assert_eq!(line["confidence"], last.confidence);
        // The numbers are the network's all the same.
        assert_eq!(line["valence"], last.valence);
        assert!(last.valence != 0.5 && last.arousal != 0.5, "{at}");
    }
}

#[test]
fn bad_signals_are_masked_and_counted() {
    if !ready("bad_signals_are_masked_and_counted") {
        return;
    }
    type Signal = fn(f64) -> f32;
    let cases: [(&str, Signal); 4] = [
        ("not-finite", |t| if t < 5.0 { skin(t) } else { f32::NAN }),
        (
            "not-finite",
            |t| if t < 5.0 { skin(t) } else { f32::INFINITY },
        ),
        ("flat", |t| if t < 5.0 { skin(t) } else { 3.0 }),
        (
            "saturated",
            |t| if t < 5.0 { skin(t) } else { 150.0 + skin(t) },
        ),
    ];
    for (reason, value) in cases {
        let pipeline = launch(&WHOLE.replace("2400", "1200"));
        let feeds = [
            feed(&pipeline, "ecg", 256, 45, heart),
            feed(&pipeline, "eda", 4, 45, value),
        ];
        // The counts are gone once the pipeline is: read them at the end of the stream.
        let _ = pipeline.set_state(gst::State::Playing);
        let run = follow(&pipeline);
        assert_eq!(run.error, None);
        let stats = pipeline
            .by_name("f")
            .expect("f")
            .property::<gst::Structure>("stats");
        let eda = stats.get::<gst::Structure>("eda").expect("eda");
        assert!(
            eda.get::<u64>(reason).expect(reason) > 80,
            "{reason}: {eda}"
        );
        let last = run.results.last().expect("results");
        let get = |field: &str| last.get::<f64>(field).expect(field);
        assert!(get("coverage-eda") < 0.3, "{reason}: {last}");
        assert!(get("quality-eda") < 0.5, "{reason}: {last}");
        assert!(
            get("coverage-ecg") > 0.6 && get("quality-ecg") == 1.0,
            "{last}"
        );
        assert!(get("valence").is_finite() && get("arousal").is_finite());
        pipeline.set_state(gst::State::Null).expect("null");
        feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    }
}

#[test]
fn physiology_that_ends_early_holds_nothing() {
    if !ready("physiology_that_ends_early_holds_nothing") {
        return;
    }
    let pipeline = launch(&WHOLE.replace("2400", "600"));
    let feeds = [
        feed(&pipeline, "ecg", 256, 3, heart),
        feed(&pipeline, "eda", 4, 30, skin),
    ];
    let seen = collect(&pipeline, "sink");
    assert_eq!(play(&pipeline).error, None);
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    assert_eq!(seen.lock().expect("list").len(), 600);
}

#[test]
fn a_pad_that_is_not_linked_holds_nothing() {
    if !ready("a_pad_that_is_not_linked_holds_nothing") {
        return;
    }
    let pipeline = launch(
        "videotestsrc num-buffers=90 ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink",
    );
    let f = pipeline.by_name("f").expect("f");
    let pad = f.request_pad_simple("ecg").expect("pad");
    assert_eq!(play(&pipeline).results.len(), 2);
    f.release_request_pad(&pad);
}

#[test]
fn live_video_does_not_wait_for_silent_physiology() {
    if !ready("live_video_does_not_wait_for_silent_physiology") {
        return;
    }
    // The appsrc is linked and says nothing at all.
    let pipeline = launch(
        "videotestsrc is-live=true num-buffers=90 ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu settle-time=100000000 \
         ! fakesink name=sink sync=false  appsrc name=eda is-live=true ! f.eda",
    );
    let seen = collect(&pipeline, "sink");
    let begun = Instant::now();
    let run = play(&pipeline);
    assert_eq!(run.error, None);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    let seen = seen.lock().expect("list");
    assert_eq!(seen.len(), 90);
    assert_eq!(run.results.len(), 2);
    let last = seen.last().cloned().flatten().expect("a result");
    assert_eq!(last.label, "unknown");
    assert!(last.age.nseconds() >= 100_000_000);
}

#[test]
fn latency_is_that_of_the_video_alone() {
    init();
    let line = |fusion: &str| {
        let pipeline = launch(&format!(
            "videotestsrc is-live=true ! video/x-raw,framerate=30/1 {fusion} ! fakesink name=sink"
        ));
        pipeline.set_state(gst::State::Playing).expect("playing");
        let (result, ..) = pipeline.state(gst::ClockTime::from_seconds(10));
        result.expect("playing");
        let mut query = gst::query::Latency::new();
        assert!(pipeline.by_name("sink").expect("sink").query(&mut query));
        pipeline.set_state(gst::State::Null).expect("null");
        query.result()
    };
    if ready("latency_is_that_of_the_video_alone") {
        let with = "! mvpfusion name=f model=MODEL execution-provider=cpu \
                    appsrc is-live=true min-latency=2000000000 ! f.eda f.";
        assert_eq!(line(""), line(with));
    }
}

#[test]
fn errors_of_the_bundle_reach_the_bus() {
    if !ready("errors_of_the_bundle_reach_the_bus") {
        return;
    }
    let broken = |edit: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("dir");
        for entry in std::fs::read_dir(fixture()).expect("bundle") {
            let entry = entry.expect("entry");
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
        }
        edit(dir.path());
        let line = format!(
            "videotestsrc num-buffers=60 ! mvpfusion model={} ! fakesink",
            dir.path().display()
        );
        play(&launch(&line)).error.expect("an error")
    };
    let manifest = |from: &'static str, to: &'static str| {
        move |dir: &Path| {
            let path = dir.join("mvp.toml");
            let text = std::fs::read_to_string(&path).expect("manifest");
            assert!(text.contains(from));
            std::fs::write(&path, text.replacen(from, to, 1)).expect("write");
        }
    };
    let rehash = |dir: &Path, file: &str, bytes: &[u8]| {
        let old = onnx::sha256(&std::fs::read(dir.join(file)).expect("graph"));
        std::fs::write(dir.join(file), bytes).expect("write");
        let text = std::fs::read_to_string(dir.join("mvp.toml")).expect("manifest");
        std::fs::write(
            dir.join("mvp.toml"),
            text.replace(&old, &onnx::sha256(bytes)),
        )
        .expect("write");
    };
    type Edit = Box<dyn Fn(&Path)>;
    let cases: Vec<(Edit, Vec<&str>)> = vec![
        (
            Box::new(|d: &Path| std::fs::remove_file(d.join("mvp.toml")).expect("rm")),
            vec!["mvp.toml"],
        ),
        (
            Box::new(manifest("format = 1", "format = 1\nmood = 3")),
            vec!["mood"],
        ),
        (
            Box::new(|d: &Path| std::fs::write(d.join("eda.onnx"), b"x").expect("write")),
            vec!["eda.onnx", "sha256", "expected", "found"],
        ),
        (
            Box::new(move |d: &Path| rehash(d, "eda.onnx", b"no protocol buffer at all")),
            vec!["eda.onnx", "not an ONNX file"],
        ),
        (
            // Well-framed, and yet no model: ONNX Runtime has the word.
            Box::new(move |d: &Path| rehash(d, "eda.onnx", &[0x0a, 0x01, 0x41])),
            vec!["eda.onnx", "refuses"],
        ),
        (
            Box::new(move |d: &Path| {
                let other = std::fs::read(d.join("ecg.onnx")).expect("graph");
                rehash(d, "eda.onnx", &other);
            }),
            vec!["eda.onnx", "signal", "[1, 1, 20]", "[1,1,256]"],
        ),
        (
            Box::new(move |d: &Path| {
                let other = std::fs::read(d.join("video.onnx")).expect("graph");
                rehash(d, "eda.onnx", &other);
            }),
            vec!["eda.onnx", "'signal'", "units"],
        ),
    ];
    for (edit, wants) in cases {
        let error = broken(&*edit);
        for want in wants {
            assert!(error.contains(want), "'{want}' is not in: {error}");
        }
    }
    let line = "videotestsrc num-buffers=60 ! mvpfusion model=/no/such/bundle ! fakesink";
    let error = play(&launch(line)).error.expect("an error");
    assert!(error.contains("/no/such/bundle"), "{error}");
}

#[test]
fn providers_are_what_was_asked_for_or_told() {
    if !ready("providers_are_what_was_asked_for_or_told") {
        return;
    }
    let line = |provider: &str| {
        format!(
            "videotestsrc num-buffers=60 ! mvpfusion name=f model=MODEL execution-provider={provider} ! fakesink"
        )
    };
    let pipeline = launch(&line("auto"));
    let _ = pipeline.set_state(gst::State::Playing);
    let run = follow(&pipeline);
    let active = pipeline
        .by_name("f")
        .expect("f")
        .property::<Option<String>>("active-provider");
    pipeline.set_state(gst::State::Null).expect("null");
    assert_eq!(run.error, None);
    let active = active.expect("loaded");
    if active == "cpu" {
        let told = run.warnings.join("\n");
        for want in ["running on cpu", "tensorrt", "cuda"] {
            assert!(told.contains(want), "'{want}' is not in: {told}");
        }
        for provider in ["cuda", "tensorrt"] {
            let error = play(&launch(&line(provider))).error.expect("an error");
            assert!(
                error.contains(provider) && error.contains("execution-provider"),
                "{error}"
            );
        }
    } else {
        eprintln!("SKIPPED providers_are_what_was_asked_for_or_told: {active} is there");
    }
    let run = play(&launch(&line("cpu")));
    assert!(run.warnings.is_empty() && run.error.is_none(), "{run:?}");
}

#[test]
fn a_signal_has_one_pad() {
    init();
    let f = gst::ElementFactory::make("mvpfusion")
        .build()
        .expect("mvpfusion");
    let bus = gst::Bus::new();
    f.set_bus(Some(&bus));
    let eda = f.request_pad_simple("eda").expect("first");
    assert!(f.request_pad_simple("physio_eda").is_none());
    let told = bus
        .pop_filtered(&[gst::MessageType::Warning])
        .expect("a warning");
    let gst::MessageView::Warning(told) = told.view() else {
        panic!("{told:?}")
    };
    let told = told.error().to_string();
    assert!(told.contains("eda has a pad already"), "{told}");
    assert!(f.request_pad_simple("physio_video").is_none());
    let resp = f.request_pad_simple("physio_resp").expect("another signal");
    f.release_request_pad(&eda);
    let again = f.request_pad_simple("eda").expect("free again");
    f.release_request_pad(&again);
    f.release_request_pad(&resp);
    // A line that links EDA twice does not come to be.
    let line =
        "audiotestsrc ! f.eda audiotestsrc ! f.eda videotestsrc ! mvpfusion name=f ! fakesink";
    assert!(gst::parse::launch_full(line, None, gst::ParseFlags::FATAL_ERRORS).is_err());
}

#[test]
fn a_stream_of_many_channels_is_not_guessed_at() {
    if !ready("a_stream_of_many_channels_is_not_guessed_at") {
        return;
    }
    for (channels, labels, fine) in [(70, "", false), (2, "count,EDA", true)] {
        let pipeline = launch(
            &WHOLE
                .replace("2400", "60")
                .replace("appsrc name=ecg ! f.ecg", ""),
        );
        let src = pipeline
            .by_name("eda")
            .and_downcast::<gst_app::AppSrc>()
            .expect("appsrc");
        src.set_format(gst::Format::Time);
        src.set_caps(Some(
            &gst::Caps::builder("application/x-lsl")
                .field("format", "S16LE")
                .field("layout", "interleaved")
                .field("channels", channels)
                .field("rate", gst::Fraction::new(4, 1))
                .field("channel-labels", labels)
                .build(),
        ));
        let mut buffer = gst::Buffer::with_size(channels as usize * 2 * 4).expect("buffer");
        buffer.get_mut().expect("own").set_pts(gst::ClockTime::ZERO);
        src.push_buffer(buffer).expect("push");
        src.end_of_stream().expect("eos");
        let run = play(&pipeline);
        match fine {
            true => assert_eq!(run.error, None),
            false => {
                let error = run.error.expect("an error");
                assert!(
                    error.contains("70 channels") && error.contains("eda"),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn a_signal_that_the_model_does_not_know_is_told() {
    if !ready("a_signal_that_the_model_does_not_know_is_told") {
        return;
    }
    let pipeline = launch(
        &WHOLE
            .replace("2400", "60")
            .replace("f.ecg", "f.physio_breath"),
    );
    let feeds = [
        feed(&pipeline, "ecg", 64, 4, heart),
        feed(&pipeline, "eda", 4, 4, skin),
    ];
    let run = play(&pipeline);
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    let told = run.warnings.join("\n");
    assert!(
        told.contains("breath") && told.contains("eda, ecg, ppg"),
        "{told}"
    );
}

/// One sensor gives two signals: there is one pad for it, and one entry in what is told.
#[test]
fn two_signals_of_one_sensor_have_one_pad() {
    if !ready("two_signals_of_one_sensor_have_one_pad") {
        return;
    }
    let line = WHOLE
        .replace("2400", "900")
        .replace("MODEL", &lanes().display().to_string())
        .replace("=ecg ! f.ecg", "=ppg ! f.ppg");
    let line = format!("{line} appsrc name=own ! f.physio_eda_phasic");
    let pipeline = launch(&line);
    let feeds = [
        feed(&pipeline, "ppg", 64, 32, heart),
        feed(&pipeline, "eda", 4, 32, skin),
        feed(&pipeline, "own", 4, 32, skin),
    ];
    face(&pipeline, "video");
    let _ = pipeline.set_state(gst::State::Playing);
    let run = follow(&pipeline);
    let f = pipeline.by_name("f").expect("f");
    let stats = f.property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null).expect("null");
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    assert_eq!(run.error, None);
    let told = run.warnings.join("\n");
    assert!(
        told.contains("pad eda_phasic") && told.ends_with("it has eda, ppg, ecg"),
        "{told}"
    );
    let last = run.results.last().expect("results");
    let shares: Vec<&str> = last
        .fields()
        .map(|f| f.as_str())
        .filter(|f| f.starts_with("coverage-"))
        .collect();
    let wants = ["video", "eda", "ppg", "ecg"].map(|m| format!("coverage-{m}"));
    assert_eq!(shares, wants);
    for (name, least) in [("eda", 0.3), ("ppg", 0.1)] {
        let coverage = last.get::<f64>(format!("coverage-{name}")).expect(name);
        assert!(coverage > least, "{name}: {last}");
        assert_eq!(last.get::<f64>(format!("quality-{name}")), Ok(1.0));
    }
    // Once, though two signals are made of them.
    let eda = stats.get::<gst::Structure>("eda").expect("eda");
    assert_eq!(eda.get::<u64>("flat"), Ok(0), "{eda}");
    assert!((116..=128).contains(&eda.get::<u64>("samples").expect("samples")));
}

#[test]
fn video_caps_may_change_in_the_middle() {
    if !ready("video_caps_may_change_in_the_middle") {
        return;
    }
    let pipeline = launch(
        "videotestsrc num-buffers=120 ! video/x-raw,framerate=30/1 ! videoscale \
         ! capsfilter name=size caps=video/x-raw,width=64,height=48 \
         ! mvpfusion model=MODEL execution-provider=cpu ! fakesink name=sink",
    );
    let seen = collect(&pipeline, "sink");
    let size = pipeline.by_name("size").expect("size");
    let count = AtomicU64::new(0);
    let filter = size.clone();
    size.static_pad("sink")
        .expect("pad")
        .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if count.fetch_add(1, Ordering::Relaxed) == 60 {
                let caps = gst::Caps::builder("video/x-raw")
                    .field("width", 320)
                    .field("height", 240);
                filter.set_property("caps", caps.build());
            }
            gst::PadProbeReturn::Ok
        });
    let run = play(&pipeline);
    assert_eq!((run.error, run.results.len()), (None, 3));
    assert_eq!(seen.lock().expect("list").len(), 120);
}

#[test]
fn a_flushing_seek_begins_anew() {
    if !ready("a_flushing_seek_begins_anew") {
        return;
    }
    let pipeline = launch(
        "videotestsrc num-buffers=-1 ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink sync=true",
    );
    let seen = collect(&pipeline, "sink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let bus = pipeline.bus().expect("bus");
    let second_result = || {
        let mut count = 0;
        while count < 2 {
            let message = bus
                .timed_pop_filtered(
                    gst::ClockTime::from_seconds(20),
                    &[gst::MessageType::Element, gst::MessageType::Error],
                )
                .expect("results");
            assert_ne!(message.type_(), gst::MessageType::Error, "{message:?}");
            count += u64::from(
                message
                    .structure()
                    .is_some_and(|s| s.name() == "mvp-emotion"),
            );
        }
    };
    second_result();
    let seek = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
    pipeline
        .seek_simple(seek, gst::ClockTime::from_seconds(30))
        .expect("seek");
    seen.lock().expect("list").clear();
    second_result();
    pipeline.set_state(gst::State::Null).expect("null");
    let seen = seen.lock().expect("list");
    let ends: Vec<u64> = seen
        .iter()
        .flatten()
        .map(|m| m.window_end.nseconds() / SECOND)
        .collect();
    assert!(
        ends.contains(&1),
        "running time begins at zero again: {ends:?}"
    );
    assert!(ends.is_sorted(), "{ends:?}");
}

/// Gives the `n`-th frame that leaves `element` another time, where `change` (ns) says so.
fn restamp(
    pipeline: &gst::Pipeline,
    element: &str,
    change: impl Fn(u64, u64) -> u64 + Send + Sync + 'static,
) {
    let pad = pipeline
        .by_name(element)
        .and_then(|e| e.static_pad("src"))
        .expect("pad");
    let count = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        if let Some(buffer) = info.buffer_mut() {
            let time = buffer.pts().expect("stamped").nseconds();
            let time = gst::ClockTime::from_nseconds(change(n, time));
            buffer.make_mut().set_pts(time);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Frames 10 a second, the face on every sixth.
const TENTHS: &str = "videotestsrc name=video num-buffers=300 ! video/x-raw,width=64,height=48,framerate=10/1 \
     ! identity name=stamps ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink \
     appsrc name=ecg ! f.ecg  appsrc name=eda ! f.eda";

/// What a run with other times says, and the result on each frame.
fn restamped(
    change: impl Fn(u64, u64) -> u64 + Send + Sync + 'static,
) -> (Run, Vec<Option<EmotionMeta>>) {
    let pipeline = launch(TENTHS);
    let feeds = [
        feed(&pipeline, "ecg", 256, 40, heart),
        feed(&pipeline, "eda", 4, 40, skin),
    ];
    restamp(&pipeline, "stamps", change);
    face(&pipeline, "stamps");
    let seen = collect(&pipeline, "sink");
    let run = play(&pipeline);
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    assert_eq!(run.error, None);
    let seen = std::mem::take(&mut *seen.lock().expect("list"));
    (run, seen)
}

#[test]
fn one_stray_time_changes_its_own_frame_alone() {
    if !ready("one_stray_time_changes_its_own_frame_alone") {
        return;
    }
    let (plain, all) = restamped(|_, t| t);
    assert_eq!((all.len(), plain.results.len()), (300, 29));
    for (frame, by) in [
        (61, 100.0),
        (61, 3.0),
        (125, -8.0),
        (125, 1.0e9),
        (121, -12.1),
        // Those that carry the units of a face.
        (0, 50.0),
        (126, 60.0),
    ] {
        let (run, seen) = restamped(move |n, t| match n == frame {
            true => (t as f64 + by * 1e9).round() as u64,
            false => t,
        });
        let at = format!("frame {frame} by {by} s");
        assert_eq!(run.warnings, Vec::<String>::new(), "{at}");
        assert_eq!(seen.len(), 300, "{at}");
        for (i, (seen, want)) in seen.iter().zip(&all).enumerate() {
            if frame % 6 == 0 {
                // Its face is left out, and the numbers show it.
                let ends = |m: &Option<EmotionMeta>| m.as_ref().map(|m| (m.window_end, m.sequence));
                assert_eq!(ends(seen), ends(want), "{at}: frame {i}");
            } else if i as u64 != frame {
                assert_eq!(seen, want, "{at}: frame {i}");
            }
        }
        let ends = |run: &Run| {
            let ends = run.results.iter().map(|s| s.get::<u64>("window-end"));
            ends.collect::<Vec<_>>()
        };
        assert_eq!(ends(&run), ends(&plain), "{at}");
    }
}

#[test]
fn a_real_jump_of_the_video_is_told_and_the_answers_go_on() {
    if !ready("a_real_jump_of_the_video_is_told_and_the_answers_go_on") {
        return;
    }
    for by in [100i64, -8, 3, -20] {
        let (run, seen) = restamped(move |n, t| match n >= 215 {
            true => t.saturating_add_signed(by * SECOND as i64),
            false => t,
        });
        let told = run.warnings.join("\n");
        assert_eq!(run.warnings.len(), usize::from(by != 3), "{by}: {told}");
        assert!(
            by == 3 || told.contains("jumped from 0:00:21.4"),
            "{by}: {told}"
        );
        for (i, meta) in seen.iter().enumerate().skip(235) {
            let time = (i as u64 * SECOND / 10).saturating_add_signed(by * SECOND as i64);
            let meta = meta.as_ref().expect("a result");
            let end = meta.window_end.nseconds();
            assert_eq!(end, time / SECOND * SECOND, "{by}: frame {i}");
            assert_eq!(meta.age.nseconds(), time - end);
        }
        // Body and face of the new time: the face of 8 s, one analysis in 0.6 s.
        let last = seen.last().cloned().flatten().expect("a result");
        let coverage = |i: usize| last.modalities[i].coverage;
        assert!(coverage(0) > 0.03, "{by}: {last:?}");
        assert_eq!(coverage(1) > 0.05, by != 100, "{by}: {last:?}");
    }
}

/// Live: the pipeline's clock tells how old an answer is, whatever the frames say.
#[test]
fn a_live_answer_is_not_fresh_because_of_a_stray_time() {
    if !ready("a_live_answer_is_not_fresh_because_of_a_stray_time") {
        return;
    }
    type Change = fn(u64, u64) -> u64;
    // Whether answers go on, whether they are fresh at the end, and by how much the frames
    // are ahead of the clock then (s).
    let cases: [(&str, Change, bool, bool, i64); 6] = [
        ("none", |_, t| t, true, true, 0),
        (
            "one ahead",
            |n, t| t + if n == 40 { 100 * SECOND } else { 0 },
            true,
            true,
            0,
        ),
        (
            "one behind",
            |n, t| t - if n == 40 { 3 * SECOND } else { 0 },
            true,
            true,
            0,
        ),
        (
            "ahead for good",
            |n, t| t + if n >= 40 { 100 * SECOND } else { 0 },
            true,
            true,
            100,
        ),
        (
            "behind for good",
            |n, t| t - if n >= 60 { 5 * SECOND } else { 0 },
            true,
            false,
            -5,
        ),
        (
            "standing",
            |n, t| if n >= 40 { 4 * SECOND } else { t },
            false,
            false,
            0,
        ),
    ];
    let runs = cases.map(|(name, change, goes_on, fresh, by)| {
        std::thread::spawn(move || {
            let pipeline = launch(
                "videotestsrc name=video is-live=true num-buffers=100 \
                 ! video/x-raw,width=64,height=48,framerate=10/1 ! identity name=stamps \
                 ! mvpfusion model=MODEL execution-provider=cpu ! fakesink name=sink sync=false",
            );
            restamp(&pipeline, "stamps", change);
            face(&pipeline, "stamps");
            let seen = collect(&pipeline, "sink");
            let run = play(&pipeline);
            let seen = seen.lock().expect("list");
            let last = seen.last().cloned().flatten().expect("a result");
            let at = format!("{name}: {last:?}");
            assert_eq!(run.error, None, "{at}");
            assert_eq!(
                run.warnings.len(),
                usize::from(by != 0),
                "{at}: {:?}",
                run.warnings
            );
            assert_eq!(!last.stale, fresh, "{at}");
            let end = last.window_end.nseconds() as f64 / 1e9;
            let apart = 9.9 + by as f64 - end;
            assert_eq!(apart < 3.0, goes_on, "{at}: {apart} s");
            if !fresh {
                assert!(last.age > gst::ClockTime::from_seconds(4), "{at}");
            }
        })
    });
    for run in runs {
        run.join().expect("a run");
    }
}

/// A film and a recording of 60 s in a directory. Each sample of the body is the second in
/// which it was taken.
struct Session(tempfile::TempDir);

impl Session {
    fn record() -> Self {
        let session = Self(tempfile::tempdir().expect("dir"));
        let mut xdf = xdf_support::Xdf::new();
        xdf.stream(1, "EDA", 1, "float32", 8.0);
        xdf.stream(2, "ECG", 1, "float32", 128.0);
        for s in 0..60u32 {
            if s % 5 == 0 {
                xdf.offset(1, 1000.0 + f64::from(s), 0.0);
                xdf.offset(2, 1000.0 + f64::from(s), 0.0);
            }
            for (id, rate) in [(1, 8), (2, 128)] {
                let times = (0..rate).map(|i| f64::from(s) + f64::from(i) / f64::from(rate));
                let samples: Vec<_> = times.map(|t| (1000.0 + t, t as f32)).collect();
                xdf.floats(id, &samples);
            }
            if s % 10 == 9 {
                xdf.boundary();
            }
        }
        std::fs::write(session.path("body.xdf"), &xdf.bytes).expect("write");
        let run = play(&launch(&format!(
            "videotestsrc num-buffers=600 ! video/x-raw,width=64,height=48,framerate=10/1 \
             ! jpegenc ! matroskamux ! filesink location={}",
            session.path("film.mkv").display()
        )));
        assert_eq!(run.error, None);
        session
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `body`: how the streams come from `x.` to `f.`; `tail`: what is behind the fusion.
    fn replay(&self, body: &str, tail: &str) -> Replay {
        let pipeline = launch(&format!(
            "filesrc location={} ! matroskademux ! jpegdec ! videoconvert name=film ! f. \
             filesrc location={} ! xdfdemux name=x {body} \
             mvpfusion name=f model=MODEL execution-provider=cpu sync=wait {tail}",
            self.path("film.mkv").display(),
            self.path("body.xdf").display()
        ));
        // By the film's time: a seek may come anywhere.
        face_where(&pipeline, "film", |_, time| {
            (time / (SECOND / 10)).is_multiple_of(6)
        });
        let replay = Replay {
            film: Arc::default(),
            body: Arc::default(),
            flushes: Arc::default(),
            pipeline,
        };
        let times = |pad: &gst::Pad, time| {
            let segment = pad.sticky_event::<gst::event::Segment>(0).expect("segment");
            let segment = segment.segment().downcast_ref::<gst::ClockTime>();
            segment.expect("time").to_running_time(time)
        };
        let f = replay.pipeline.by_name("f").expect("f");
        let film = replay.film.clone();
        let pad = f.static_pad("src").expect("src");
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_FLUSH;
        pad.add_probe(kinds, move |pad, info| {
            if let Some(event) = info.event()
                && event.type_() == gst::EventType::FlushStop
            {
                film.lock().expect("list").clear();
            }
            if let Some(buffer) = info.buffer()
                && let Some(running) = times(pad, buffer.pts())
            {
                let meta = EmotionMeta::from_buffer(buffer);
                let at = buffer.pts().expect("stamped").nseconds();
                let entry = (running.nseconds(), at, meta);
                film.lock().expect("list").push(entry);
            }
            gst::PadProbeReturn::Ok
        });
        let (body, flushes) = (replay.body.clone(), replay.flushes.clone());
        let pad = f.static_pad("eda").expect("eda");
        pad.add_probe(kinds, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                let map = buffer.map_readable().expect("readable");
                let second = f32::from_le_bytes(map[..4].try_into().expect("a sample"));
                // One that lies across the segment's start says nothing here.
                if let Some(running) = times(pad, buffer.pts()) {
                    let entry = (running.nseconds(), f64::from(second));
                    body.lock().expect("list").push(entry);
                }
            } else if let Some(event) = info.event()
                && event.type_() == gst::EventType::FlushStop
            {
                flushes.fetch_add(1, Ordering::SeqCst);
                body.lock().expect("list").clear();
            }
            gst::PadProbeReturn::Ok
        });
        replay
    }
}

/// Running time (ns), time in the film (ns) and result of each frame.
type Frames = Vec<(u64, u64, Option<EmotionMeta>)>;

struct Replay {
    pipeline: gst::Pipeline,
    film: Arc<Mutex<Frames>>,
    /// Running time (ns) and second of the first sample of each buffer.
    body: Arc<Mutex<Vec<(u64, f64)>>>,
    flushes: Arc<AtomicU64>,
}

impl Replay {
    /// Waits for the first sample on pad eda.
    fn await_body(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.body.lock().expect("list").is_empty() {
            assert!(Instant::now() < until, "no sample in 20 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn pause(&self) {
        let _ = self.pipeline.set_state(gst::State::Paused);
        let (result, ..) = self.pipeline.state(gst::ClockTime::from_seconds(20));
        result.expect("paused");
    }

    fn seek(&self, rate: f64, flags: gst::SeekFlags, to: gst::ClockTime) -> bool {
        let none = (gst::SeekType::None, gst::ClockTime::NONE);
        let set = gst::SeekType::Set;
        self.pipeline
            .seek(rate, flags, set, to, none.0, none.1)
            .is_ok()
    }

    /// The frames since the last flush; film and body are of one time. The numbers of the
    /// results are left out.
    fn ends(&self, at: &str) -> Frames {
        let film = std::mem::take(&mut *self.film.lock().expect("list"));
        let body = std::mem::take(&mut *self.body.lock().expect("list"));
        let film_begin: Vec<f64> = film
            .iter()
            .map(|(running, time, _)| (*time as f64 - *running as f64) / 1e9)
            .collect();
        let body_begin: Vec<f64> = body
            .iter()
            .map(|(running, second)| second - *running as f64 / 1e9)
            .collect();
        assert!(film.len() > 20 && body.len() > 20, "{at}");
        for begin in film_begin.iter().chain(&body_begin) {
            let apart = (begin - film_begin[0]).abs();
            assert!(apart < 0.01, "{at}: film and body are {apart} s apart");
        }
        let mut film = film;
        for (running, _, meta) in &mut film {
            if let Some(meta) = meta {
                // Nothing of before.
                assert!(meta.window_end.nseconds() <= *running, "{at}: {meta:?}");
                assert_eq!(meta.window_start.nseconds(), 0, "{at}: {meta:?}");
                meta.sequence = 0;
            } else {
                assert!(*running < SECOND, "{at}: no result at {running}");
            }
        }
        film
    }

    /// Waits for the film's end at the fusion; the bus may still have that of before.
    fn await_end(&self, at: &str) {
        let f = self.pipeline.by_name("f").expect("f");
        let src = f.static_pad("src").expect("src");
        let bus = self.pipeline.bus().expect("bus");
        let limit = Instant::now() + Duration::from_secs(30);
        while src.sticky_event::<gst::event::Eos>(0).is_none() {
            assert!(Instant::now() < limit, "{at}: no end");
            std::thread::sleep(Duration::from_millis(5));
        }
        while let Some(message) = bus.pop() {
            assert_ne!(
                message.type_(),
                gst::MessageType::Error,
                "{at}: {message:?}"
            );
            assert_ne!(
                message.type_(),
                gst::MessageType::Warning,
                "{at}: {message:?}"
            );
        }
    }

    fn stop(self) {
        // A seek may still be on its way back to PLAYING.
        let _ = self.pipeline.state(gst::ClockTime::from_seconds(10));
        self.pipeline.set_state(gst::State::Null).expect("null");
    }
}

const QUEUED: &str = "x.stream_0 ! queue ! f.eda  x.stream_1 ! queue ! f.ecg";
const FLUSH: gst::SeekFlags = gst::SeekFlags::FLUSH;

#[test]
fn a_seek_leads_film_and_body_to_the_same_moment() {
    if !ready("a_seek_leads_film_and_body_to_the_same_moment") {
        return;
    }
    let session = Session::record();
    let at = |ms| gst::ClockTime::from_mseconds(ms);
    let accurate = FLUSH | gst::SeekFlags::ACCURATE;
    let plain = "! fakesink sync=false";
    let own = "x.stream_0 ! tee name=b  b. ! queue ! f.eda  b. ! queue ! fakesink sync=false \
               async=false  x.stream_1 ! queue ! f.ecg";
    let cases = [
        ("queued", QUEUED, plain, accurate),
        // Blocked in the fusion's pad when the flush comes.
        ("alone", "x.stream_0 ! identity ! f.eda", plain, accurate),
        (
            "two sinks",
            QUEUED,
            "! tee name=t  t. ! queue ! fakesink  t. ! queue ! fakesink",
            accurate,
        ),
        ("body with a sink", own, plain, accurate),
        ("key unit", QUEUED, plain, FLUSH | gst::SeekFlags::KEY_UNIT),
    ];
    for (name, body, tail, flags) in cases {
        let replay = session.replay(body, tail);
        replay.pause();
        // A sink beside the fusion does not follow before its stream is there.
        let ready = || body != own || !replay.body.lock().expect("list").is_empty();
        let end = Instant::now() + Duration::from_secs(10);
        while !ready() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(replay.seek(1.0, flags, at(45_000)), "{name}");
        // Even if the body's pads are not there yet.
        let flushes = || replay.flushes.load(Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(10);
        while flushes() == 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The body's own sink may let it run too far before the fusion hears of the seek.
        let most = if name == "body with a sink" { 2 } else { 1 };
        assert!((1..=most).contains(&flushes()), "{name}: {}", flushes());
        // Again before anything has come of the first, and back.
        assert!(replay.seek(1.0, flags, at(30_030)), "{name}");
        replay.pause();
        replay
            .pipeline
            .set_state(gst::State::Playing)
            .expect("playing");
        let run = follow(&replay.pipeline);
        assert_eq!((run.error, run.warnings), (None, vec![]), "{name}");
        let want = replay.ends(name);
        assert!(want.len() > 290, "{name}: {}", want.len());
        // From the end, and out of the middle of playing.
        for wait in [0, 30, 150] {
            let at_this = format!("{name}, {wait} ms into another part");
            if wait > 0 {
                assert!(replay.seek(1.0, flags, at(10_000)), "{at_this}");
                std::thread::sleep(Duration::from_millis(wait));
            }
            assert!(replay.seek(1.0, flags, at(30_030)), "{at_this}");
            replay.await_end(&at_this);
            let ends = replay.ends(&at_this);
            assert_eq!(ends.len(), want.len(), "{at_this}");
            for (end, want) in ends.iter().zip(&want) {
                assert_eq!(end, want, "{at_this}");
            }
        }
        replay.stop();
    }
}

#[test]
fn a_seek_that_would_part_film_and_body_is_refused() {
    if !ready("a_seek_that_would_part_film_and_body_is_refused") {
        return;
    }
    let session = Session::record();
    let to = gst::ClockTime::from_seconds(20);
    for (rate, flags, word) in [
        (2.0, FLUSH | gst::SeekFlags::ACCURATE, "rate 2"),
        (1.0, gst::SeekFlags::ACCURATE, "FLUSH"),
    ] {
        let replay = session.replay(QUEUED, "! fakesink sync=false");
        replay.pause();
        assert!(!replay.seek(rate, flags, to), "{word}");
        replay
            .pipeline
            .set_state(gst::State::Playing)
            .expect("playing");
        let run = follow(&replay.pipeline);
        assert_eq!(run.error, None, "{word}");
        let told = run.warnings.join("\n");
        assert!(run.warnings.len() == 1 && told.contains(word), "{told}");
        // All goes on as it was.
        let film = replay.film.lock().expect("list").clone();
        assert_eq!(film.len(), 600, "{word}");
        assert!(
            film.iter().all(|(running, time, _)| running == time),
            "{word}"
        );
        replay.stop();
        // Another sink leads the body away: that is not silent.
        let own = "x.stream_0 ! tee name=b  b. ! queue ! f.eda  b. ! queue ! fakesink \
                   sync=false async=false";
        if flags.contains(FLUSH) {
            let replay = session.replay(own, "! fakesink sync=false");
            replay.pause();
            // The film may preroll before the recording has a pad to seek.
            replay.await_body();
            assert!(!replay.seek(rate, flags, to), "{word}");
            let error = follow(&replay.pipeline).error.expect("an error");
            assert!(error.contains("not of one time"), "{error}");
            replay.stop();
        }
    }
}

#[test]
fn a_branch_that_cannot_seek_is_named() {
    if !ready("a_branch_that_cannot_seek_is_named") {
        return;
    }
    let session = Session::record();
    // The body comes live; then from where nothing can be read again.
    for (source, sync, why) in [
        ("appsrc name=own is-live=true ! f.ecg", "live", "is live"),
        ("appsrc name=own ! f.ecg", "wait", "cannot seek by time"),
    ] {
        let pipeline = launch(&format!(
            "filesrc location={} ! matroskademux ! jpegdec ! videoconvert ! f. \
             filesrc location={} ! xdfdemux name=x  x.stream_0 ! queue ! f.eda  {source} \
             mvpfusion name=f model=MODEL execution-provider=cpu sync={sync} \
             ! fakesink name=sink sync=false",
            session.path("film.mkv").display(),
            session.path("body.xdf").display()
        ));
        let seen = collect(&pipeline, "sink");
        let own = feed(&pipeline, "own", 128, 60, heart);
        let _ = pipeline.set_state(gst::State::Paused);
        let _ = pipeline.state(gst::ClockTime::from_seconds(20));
        let seek = pipeline.seek_simple(
            FLUSH | gst::SeekFlags::ACCURATE,
            gst::ClockTime::from_seconds(20),
        );
        assert!(seek.is_err(), "{why}");
        pipeline.set_state(gst::State::Playing).expect("playing");
        let run = follow(&pipeline);
        pipeline.set_state(gst::State::Null).expect("null");
        own.join().expect("feeder");
        assert_eq!(run.error, None, "{why}");
        let told = run.warnings.join("\n");
        assert!(told.contains("pad ecg") && told.contains(why), "{told}");
        assert_eq!(seen.lock().expect("list").len(), 600, "{why}");
    }
}

#[test]
fn fifty_starts_and_stops() {
    if !ready("fifty_starts_and_stops") {
        return;
    }
    let pipeline = launch(
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=60/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink \
         audiotestsrc is-live=true samplesperbuffer=16 ! audio/x-raw,format=F32LE,rate=256,channels=1 ! f.ecg",
    );
    for i in 0..50 {
        pipeline.set_state(gst::State::Playing).expect("playing");
        if i % 5 == 0 {
            // Some stops come while the model loads, some long after.
            std::thread::sleep(Duration::from_millis(120));
        }
        pipeline.set_state(gst::State::Null).expect("null");
    }
    let bus = pipeline.bus().expect("bus");
    let error = bus.pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn pads_come_and_go_while_it_plays() {
    if !ready("pads_come_and_go_while_it_plays") {
        return;
    }
    let pipeline = launch(
        "videotestsrc is-live=true num-buffers=150 ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink sync=false",
    );
    let f = pipeline.by_name("f").expect("f");
    pipeline.set_state(gst::State::Playing).expect("playing");
    for _ in 0..4 {
        let src = gst::parse::bin_from_description(
            "audiotestsrc is-live=true samplesperbuffer=16 ! capsfilter caps=audio/x-raw,format=F32LE,rate=256,channels=1",
            true,
        )
        .expect("source");
        pipeline.add(&src).expect("add");
        let pad = f.request_pad_simple("ecg").expect("pad");
        src.static_pad("src")
            .expect("src")
            .link(&pad)
            .expect("link");
        src.sync_state_with_parent().expect("state");
        std::thread::sleep(Duration::from_millis(600));
        // Released with data still on the way.
        f.release_request_pad(&pad);
        src.set_state(gst::State::Null).expect("null");
        pipeline.remove(&src).expect("remove");
    }
    let run = follow(&pipeline);
    pipeline.set_state(gst::State::Null).expect("null");
    assert_eq!(run.error, None);
}

#[test]
fn a_seek_may_interrupt_a_frame_that_waits() {
    if !ready("a_seek_may_interrupt_a_frame_that_waits") {
        return;
    }
    // EDA never comes: the frame at one second waits until the pipeline is stopped.
    let pipeline = launch(
        "videotestsrc ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! mvpfusion name=f sync=wait model=MODEL execution-provider=cpu ! fakesink name=sink \
         appsrc name=eda ! f.eda",
    );
    let seen = collect(&pipeline, "sink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen.lock().expect("list").len() < 30 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        seen.lock().expect("list").len(),
        30,
        "the 31st waits for EDA"
    );
    let begun = Instant::now();
    pipeline.set_state(gst::State::Null).expect("null");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

/// Whether the next sample has come already is chance; no answer may depend on it.
#[test]
fn a_frame_waits_for_the_sample_that_settles_its_window() {
    if !ready("a_frame_waits_for_the_sample_that_settles_its_window") {
        return;
    }
    let pipeline = launch(
        "videotestsrc ! video/x-raw,width=64,height=48,framerate=10/1 \
         ! mvpfusion name=f sync=wait model=MODEL execution-provider=cpu ! fakesink name=sink \
         appsrc name=eda format=time ! f.eda",
    );
    let seen = collect(&pipeline, "sink");
    let src = pipeline.by_name("eda").and_downcast::<gst_app::AppSrc>();
    let src = src.expect("appsrc");
    src.set_caps(Some(
        &gst::Caps::builder("application/x-lsl")
            .field("format", "F32LE")
            .field("layout", "interleaved")
            .field("channels", 1)
            .field("rate", gst::Fraction::new(2, 1))
            .build(),
    ));
    let push = |ms: u64| {
        let mut buffer = gst::Buffer::from_mut_slice(skin(ms as f64 / 1e3).to_le_bytes());
        let b = buffer.get_mut().expect("own buffer");
        b.set_pts(gst::ClockTime::from_mseconds(ms));
        b.set_duration(gst::ClockTime::from_mseconds(500));
        src.push_buffer(buffer).expect("push");
    };
    let frames = |want: usize| {
        let deadline = Instant::now() + Duration::from_secs(20);
        let count = || seen.lock().expect("list").len();
        while count() < want && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(count(), want);
    };
    pipeline.set_state(gst::State::Playing).expect("playing");
    // Complete up to 1.1 s, but the grid point at 0.75 s lies between 0.6 and 1.1 s.
    push(100);
    push(600);
    frames(10);
    push(1100);
    frames(20);
    // A gap that is told settles the window as well, once it is too long to bridge.
    let gap = |ms: u64| {
        let start = gst::ClockTime::from_mseconds(1600);
        let end = gst::ClockTime::from_mseconds(ms);
        let gap = gst::event::Gap::builder(start)
            .duration(end - start)
            .build();
        src.static_pad("src").expect("pad").push_event(gap)
    };
    assert!(gap(2050));
    frames(20);
    assert!(gap(2150));
    frames(30);
    pipeline.set_state(gst::State::Null).expect("null");
}

/// A file may be read to its end before the first frame comes.
#[test]
fn physiology_does_not_run_away_from_the_video() {
    if !ready("physiology_does_not_run_away_from_the_video") {
        return;
    }
    let pipeline = launch(&WHOLE.replace("2400", "150").replace(
        "! mvpfusion",
        "! identity sleep-time=0 name=door ! mvpfusion",
    ));
    let door = pipeline.by_name("door").and_then(|d| d.static_pad("src"));
    // The first frame is late.
    let first = AtomicU64::new(0);
    door.expect("pad")
        .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if first.fetch_add(1, Ordering::Relaxed) == 0 {
                std::thread::sleep(Duration::from_millis(700));
            }
            gst::PadProbeReturn::Ok
        });
    let feeds = [
        feed(&pipeline, "ecg", 64, 300, heart),
        feed(&pipeline, "eda", 4, 300, skin),
    ];
    let run = play(&pipeline);
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    assert_eq!((run.error, run.results.len()), (None, 4));
    for result in &run.results {
        for name in ["quality-ecg", "quality-eda"] {
            assert_eq!(result.get::<f64>(name), Ok(1.0), "{result}");
        }
    }
}

#[test]
fn video_that_is_not_in_time_is_told() {
    if !ready("video_that_is_not_in_time_is_told") {
        return;
    }
    let mut h = gst_check::Harness::with_padnames("mvpfusion", Some("sink"), Some("src"));
    h.set_src_caps_str("video/x-raw,format=RGB,width=8,height=8,framerate=30/1");
    let segment = gst::FormattedSegment::<gst::format::Bytes>::new();
    let bus = gst::Bus::new();
    h.element().expect("mvpfusion").set_bus(Some(&bus));
    h.push_event(gst::event::Segment::new(&segment));
    let message = bus
        .pop_filtered(&[gst::MessageType::Error])
        .expect("an error");
    let gst::MessageView::Error(told) = message.view() else {
        panic!("{message:?}")
    };
    assert!(
        told.error().to_string().contains("expected time"),
        "{told:?}"
    );
}

/// The library can be loaded once per process, so each of these has its own.
#[test]
fn a_missing_or_wrong_onnx_runtime_is_told() {
    init();
    let Some(plugin) = plugin_directory() else {
        eprintln!(
            "SKIPPED a_missing_or_wrong_onnx_runtime_is_told: libgstmvp.so is not built, run cargo build"
        );
        return;
    };
    let dir = tempfile::tempdir().expect("dir");
    let text = dir.path().join("libonnxruntime.so");
    std::fs::write(&text, "a text").expect("write");
    let mut cases = vec![
        (
            "/no/such/libonnxruntime.so".into(),
            vec!["/no/such/libonnxruntime.so"],
        ),
        (
            text.display().to_string(),
            vec!["libonnxruntime.so", "file too short"],
        ),
        (
            dir.path().join("empty").display().to_string(),
            vec!["empty", "No such file"],
        ),
    ];
    let build = |name: &str, source: &str| -> Option<String> {
        let (c, so) = (dir.path().join(format!("{name}.c")), dir.path().join(name));
        std::fs::write(&c, source).ok()?;
        let mut cc = std::process::Command::new("cc");
        let done = cc
            .args(["-shared", "-fPIC", "-o"])
            .arg(&so)
            .arg(&c)
            .status()
            .ok()?;
        done.success().then(|| so.display().to_string())
    };
    let old = "const char *v(void) { return \"1.20.1\"; } \
               struct { void *api; const char *(*version)(void); } base = { 0, v }; \
               void *OrtGetApiBase(void) { return &base; }";
    match (build("old.so", old), build("other.so", "int something;")) {
        (Some(old), Some(other)) => {
            cases.push((old, vec!["1.20.1", "1.24"]));
            cases.push((other, vec!["OrtGetApiBase"]));
        }
        _ => eprintln!(
            "SKIPPED a_missing_or_wrong_onnx_runtime_is_told: no C compiler for two cases"
        ),
    }
    for (library, wants) in cases {
        let output = std::process::Command::new("gst-launch-1.0")
            .args(["videotestsrc", "num-buffers=60", "!", "mvpfusion"])
            .arg(format!("model={}", fixture().display()))
            .args(["!", "fakesink"])
            .env("GST_PLUGIN_PATH", &plugin)
            .env("GST_REGISTRY", dir.path().join("registry.bin"))
            .env("ORT_DYLIB_PATH", &library)
            .output()
            .expect("gst-launch-1.0");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{library}: {said}");
        for want in wants.into_iter().chain(["ERROR", "ort-library"]) {
            assert!(said.contains(want), "{library}: '{want}' is not in: {said}");
        }
    }
}

/// Where the built plugin lies, beside the test binary's folder.
fn plugin_directory() -> Option<PathBuf> {
    let directory = std::env::current_exe()
        .ok()?
        .parent()?
        .parent()?
        .to_path_buf();
    directory
        .join("libgstmvp.so")
        .is_file()
        .then_some(directory)
}

#[cfg(feature = "v1_24")]
#[test]
fn results_are_classifications_as_well() {
    use gst_analytics::prelude::*;
    if !ready("results_are_classifications_as_well") {
        return;
    }
    let pipeline = launch(
        "videotestsrc num-buffers=90 ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! mvpfusion model=MODEL execution-provider=cpu ! fakesink name=sink",
    );
    let found = Arc::new(Mutex::new(Vec::new()));
    let list = found.clone();
    let pad = pipeline.by_name("sink").and_then(|e| e.static_pad("sink"));
    pad.expect("pad")
        .add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(buffer) = info.buffer()
                && let Some(relations) = buffer.meta::<gst_analytics::AnalyticsRelationMeta>()
            {
                for class in relations.iter::<gst_analytics::AnalyticsClassificationMtd>() {
                    let entry = (class.quark(0).as_str().to_string(), class.level(0));
                    list.lock().expect("list").push(entry);
                }
            }
            gst::PadProbeReturn::Ok
        });
    assert_eq!(play(&pipeline).error, None);
    let found = found.lock().expect("list");
    assert_eq!(found.len(), 60, "one on each frame with a result");
    assert!(
        found
            .iter()
            .all(|(label, level)| label == "unknown" && *level == 0.0)
    );
}
