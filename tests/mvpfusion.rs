// SPDX-License-Identifier: MPL-2.0
//! mvpfusion in real pipelines, with the untrained fixture and a real ONNX Runtime.
//! Seeks are in `mvpfusion_seek.rs`, times in `mvpfusion_timing.rs`.

mod fusion_support;

use fusion_support::*;
use gst::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Two of its signals are made of one sensor's samples.
fn lanes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture-lanes")
}

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
            .all(|m| m.coverage > 0.99 && m.quality > 0.9)
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
            get("coverage-ecg") > 0.6 && get("quality-ecg") > 0.9,
            "{last}"
        );
        assert!(get("valence").is_finite() && get("arousal").is_finite());
        pipeline.set_state(gst::State::Null).expect("null");
        feeds.into_iter().for_each(|f| f.join().expect("feeder"));
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
        assert_eq!(run.error, None);
        let told = run.warnings.join("\n");
        let doubt = told.contains("70 channels") && told.contains("pad eda");
        assert_eq!(doubt, !fine, "{told}");
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
    }
    let quality = last.get::<f64>("quality-eda").expect("eda");
    assert!(quality > 0.8, "{last}");
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
    let found = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
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
