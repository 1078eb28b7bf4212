// SPDX-License-Identifier: MPL-2.0
use gst::{ClockTime, prelude::*};
use gstmvp::EmotionMeta;
use gstmvp::meta::PhysioTrace;
use gstmvp::{PhysioMeta, PhysioTraceMeta};
use mvp::ModalityState;
use std::sync::Once;

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin mvp");
    });
}

fn result(sequence: u64) -> EmotionMeta {
    let modality = |name: &str, coverage, quality| ModalityState {
        name: name.to_string(),
        coverage,
        quality,
    };
    EmotionMeta {
        valence: 0.31,
        arousal: 0.78,
        valence_known: 0.75,
        arousal_known: 0.5,
        valence_now: Some(0.375),
        baseline_progress: 0.875,
        label: "tense".into(),
        confidence: 0.62,
        classes: vec![],
        window_start: ClockTime::ZERO,
        window_end: ClockTime::from_seconds(60),
        age: ClockTime::from_mseconds(400),
        modalities: vec![
            modality("video", 0.97, 1.0),
            modality("eda", 1.0, 0.8),
            modality("ecg", 0.66, 0.9),
            modality("ppg", 0.0, 0.0),
        ],
        alignment: Vec::new(),
        sequence,
        model: "mvp-default 0.1.0".into(),
        trained: true,
        provider: "cpu".into(),
        inference_time: ClockTime::from_mseconds(3),
        warming_up: false,
        stale: false,
    }
}

/// A heart at 72 beats per minute in mV, skin in µS with two responses, and a PPG that is off.
fn traces() -> PhysioTraceMeta {
    let end = ClockTime::from_seconds(60);
    let ecg = (0..1280).map(|i| {
        let phase = (i as f32 / 128.0 * 1.2).fract();
        let wave = |centre: f32, width: f32, height: f32| {
            height * (-((phase - centre) / width).powi(2)).exp()
        };
        wave(0.18, 0.03, 0.12)
            + wave(0.3, 0.012, 1.1)
            + wave(0.33, 0.01, -0.25)
            + wave(0.55, 0.05, 0.25)
    });
    let beats = (0..12).map(|i| ((50.0 + (f64::from(i) + 0.3) / 1.2) * 1e9) as u64);
    let eda = (0..160).map(|i| {
        let response = |t: f32| {
            let t = (i as f32 / 16.0 - t).max(0.0);
            (1.0 - (-t / 0.7).exp()) * (-t / 3.0).exp()
        };
        match i {
            100..110 => f32::NAN,
            i => 4.1 + 0.002 * i as f32 + 0.5 * response(2.0) + 0.3 * response(7.0),
        }
    });
    let ppg = (0..640).map(|_| f32::NAN);
    PhysioTraceMeta {
        traces: vec![
            PhysioTrace::new("ecg", 128.0, end, ecg)
                .with_unit("mV")
                .with_marks(beats.collect()),
            PhysioTrace::new("eda", 16.0, end, eda)
                .with_unit("µS")
                .with_marks(vec![52_000_000_000, 57_000_000_000]),
            PhysioTrace::new("ppg", 64.0, end, ppg),
        ],
    }
}

/// A heart of 72 beats per minute, skin, and a PPG that is off.
fn body(ecg: f64) -> PhysioMeta {
    PhysioMeta {
        hr: Some(71.6),
        scl: Some(4.312),
        scr_rate: Some(4.2),
        quality: vec![
            ("ecg".into(), ecg),
            ("eda".into(), 0.88),
            ("ppg".into(), 0.12),
        ],
        reason: vec![("ppg".into(), "motion".into())],
        ..PhysioMeta::default()
    }
}

/// What each test frame carries.
type Attach = dyn Fn(u64, &mut gst::BufferRef) + Send + Sync;

/// Runs `head ! identity ! emotionoverlay ! tail`, with `attach` called on each frame in between.
fn run(head: &str, overlay: &str, tail: &str, attach: Box<Attach>) -> Vec<gst::Sample> {
    let line =
        format!("{head} ! identity name=in ! emotionoverlay name=overlay {overlay} ! {tail}");
    let pipeline = gst::parse::launch(&line)
        .unwrap_or_else(|e| panic!("{line}: {e}"))
        .downcast::<gst::Pipeline>()
        .expect("pipeline");
    let pad = pipeline
        .by_name("in")
        .and_then(|e| e.static_pad("src"))
        .expect("src pad");
    let count = std::sync::atomic::AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            attach(n, buffer.make_mut());
        }
        gst::PadProbeReturn::Ok
    });
    let samples = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    if let Some(sink) = pipeline.by_name("out") {
        let sink = sink.downcast::<gst_app::AppSink>().expect("appsink");
        let samples = samples.clone();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    samples
                        .lock()
                        .unwrap()
                        .push(sink.pull_sample().map_err(|_| gst::FlowError::Eos)?);
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
    }
    pipeline.set_state(gst::State::Playing).expect("playing");
    let bus = pipeline.bus().expect("bus");
    let message = bus
        .timed_pop_filtered(
            ClockTime::from_seconds(30),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .expect("an end within 30 s");
    pipeline.set_state(gst::State::Null).expect("null");
    if let gst::MessageView::Error(e) = message.view() {
        panic!("{line}: {} ({:?})", e.error(), e.debug());
    }
    std::mem::take(&mut *samples.lock().unwrap())
}

/// `GSTMVP_PREVIEW_DIR=FOLDER cargo test --test emotionoverlay -- --ignored preview`
#[test]
#[ignore = "writes PNG files for a person to look at"]
fn preview() {
    init();
    let dir = std::env::var_os("GSTMVP_PREVIEW_DIR").expect("GSTMVP_PREVIEW_DIR is set");
    let dir = std::path::PathBuf::from(dir);
    type Change = fn(&mut EmotionMeta);
    let untrained: Change = |m| {
        m.model = "mvp-fixture 0.1.0".into();
        m.trained = false;
        m.warming_up = true;
        for m in &mut m.modalities {
            m.coverage *= 0.34;
        }
    };
    let cases: [(&str, &str, Option<Change>, bool); 6] = [
        ("default", "", Some(|_| ()), true),
        (
            "all",
            "show=label+bars+coverage+traces+model+face position=top-right",
            Some(|_| ()),
            true,
        ),
        (
            "untrained",
            "show=label+bars+coverage+model+face",
            Some(untrained),
            true,
        ),
        (
            "stale",
            "position=bottom-right",
            Some(|m| m.age = ClockTime::from_seconds(7)),
            true,
        ),
        (
            "uncertain",
            "position=bottom-left show=label+bars+coverage+traces+face",
            Some(|m| {
                m.confidence = 0.05;
                m.arousal = f64::NAN;
                m.label = "a much longer label than usual".into();
            }),
            true,
        ),
        ("waiting", "", None, false),
    ];
    for (w, h) in [(640, 480), (1280, 720), (320, 240), (480, 854)] {
        for (name, overlay, change, face) in &cases {
            let (change, face) = (*change, *face);
            snapshot(
                &dir.join(format!("{name}-{w}x{h}.png")),
                (w, h),
                overlay,
                Box::new(move |n, b| {
                    if let Some(change) = change {
                        let mut m = result(n);
                        change(&mut m);
                        m.attach(b).expect("attach");
                        traces().attach(b).expect("attach");
                        body(0.93).attach(b).expect("attach");
                    }
                    if face {
                        let area = (w * 5 / 12, h / 4, w / 4, h * 2 / 5);
                        gst_video::VideoRegionOfInterestMeta::add(b, "face", area);
                    }
                }),
            );
        }
    }
    // A face in each corner and in the middle, as a webcam sees it, and one close up.
    for (w, h) in [(640, 480), (1920, 1080), (3840, 2160)] {
        for (place, x, y, width, height) in [
            ("top-left", 0.04, 0.06, 0.2, 0.36),
            ("top-right", 0.76, 0.06, 0.2, 0.36),
            ("bottom-left", 0.04, 0.58, 0.2, 0.36),
            ("bottom-right", 0.76, 0.58, 0.2, 0.36),
            ("middle", 0.38, 0.2, 0.24, 0.42),
            ("close", 0.33, 0.1, 0.34, 0.6),
        ] {
            let of = |share: f64, whole: u32| (share * f64::from(whole)) as u32;
            let area = (of(x, w), of(y, h), of(width, w), of(height, h));
            snapshot(
                &dir.join(format!("face-{place}-{w}x{h}.png")),
                (w, h),
                "show=label+bars+coverage+traces+face",
                Box::new(move |n, b| {
                    result(n).attach(b).expect("attach");
                    traces().attach(b).expect("attach");
                    body(0.93).attach(b).expect("attach");
                    gst_video::VideoRegionOfInterestMeta::add(b, "face", area);
                }),
            );
        }
    }
}

/// Writes one frame of `size` with its overlay to `file`.
fn snapshot(file: &std::path::Path, (w, h): (u32, u32), overlay: &str, attach: Box<Attach>) {
    let head = format!(
        "videotestsrc num-buffers=1 pattern=smpte ! video/x-raw,format=I420,width={w},height={h},framerate=30/1"
    );
    let tail = format!(
        "videoconvert ! pngenc ! filesink location={}",
        file.display()
    );
    run(&head, overlay, &tail, attach);
}

/// Frames of the test source that `overlay` got, drawn on, as bytes.
fn blended(caps: &str, overlay: &str, attach: Box<Attach>) -> Vec<Vec<u8>> {
    let head = format!(
        "videotestsrc num-buffers=3 pattern=solid-color foreground-color=0xff808080 ! {caps}"
    );
    run(&head, overlay, "appsink name=out sync=false", attach)
        .iter()
        .map(|s| {
            let buffer = s.buffer().expect("buffer");
            buffer.map_readable().expect("readable").to_vec()
        })
        .collect()
}

const GRAY: &str = "video/x-raw,format=GRAY8,width=640,height=480,framerate=30/1";

/// Pixels of a 640x480 GRAY8 frame in the box that are not the test source's gray.
fn drawn(frame: &[u8], (x0, y0, x1, y1): (usize, usize, usize, usize)) -> usize {
    let gray = frame[640 * 240 + 320];
    (y0..y1)
        .flat_map(|y| &frame[640 * y + x0..640 * y + x1])
        .filter(|v| v.abs_diff(gray) > 3)
        .count()
}

fn with_result() -> Box<Attach> {
    Box::new(|n, b| result(n).attach(b).expect("attach"))
}

#[test]
fn the_panel_is_in_the_corner_that_was_asked_for() {
    init();
    let corners = [
        ("top-left", (0, 0, 320, 240)),
        ("top-right", (320, 0, 640, 240)),
        ("bottom-left", (0, 240, 320, 480)),
        ("bottom-right", (320, 240, 640, 480)),
    ];
    for (position, _) in corners {
        let frames = blended(GRAY, &format!("position={position}"), with_result());
        assert_eq!(frames.len(), 3);
        for (corner, area) in corners {
            let n = drawn(&frames[0], area);
            assert_eq!(
                n > 5000,
                position == corner,
                "{position}: {n} pixels in {corner}"
            );
        }
        assert_eq!(frames[0], frames[2], "equal results, equal pictures");
    }
}

#[test]
fn nothing_asked_nothing_drawn() {
    init();
    let all = (0, 0, 640, 480);
    // No result and no note asked for; a result of which nothing is asked for.
    let frames = blended(
        GRAY,
        "show=label+bars+coverage+traces+face",
        Box::new(|_, _| ()),
    );
    assert_eq!(drawn(&frames[0], all), 0);
    let frames = blended(GRAY, "show=face", with_result());
    assert_eq!(drawn(&frames[0], all), 0);
    // By default a small note says what is missing.
    let frames = blended(GRAY, "", Box::new(|_, _| ()));
    let note = drawn(&frames[0], all);
    assert!((1000..12_000).contains(&note), "{note}");
}

#[test]
fn the_face_is_outlined() {
    init();
    let frames = blended(
        GRAY,
        "show=face",
        Box::new(|_, b| {
            gst_video::VideoRegionOfInterestMeta::add(b, "face", (400, 250, 120, 150));
            gst_video::VideoRegionOfInterestMeta::add(b, "car", (20, 20, 200, 200));
            // Partly and wholly outside of the frame.
            gst_video::VideoRegionOfInterestMeta::add(b, "face", (600, 440, 500, 500));
            gst_video::VideoRegionOfInterestMeta::add(
                b,
                "face",
                (4_000_000_000, 10, 4_000_000_000, 9),
            );
        }),
    );
    let f = &frames[0];
    for (x, y) in [(400, 250), (500, 250), (400, 380), (500, 380)] {
        assert!(drawn(f, (x, y, x + 20, y + 20)) > 20, "corner at {x},{y}");
    }
    assert!(drawn(f, (620, 460, 640, 480)) > 20, "clipped to the frame");
    assert_eq!(
        drawn(f, (430, 280, 490, 370)),
        0,
        "the face itself is left alone"
    );
    assert_eq!(
        drawn(f, (0, 0, 300, 230)),
        0,
        "other regions are not outlined"
    );
}

#[test]
fn traces_are_drawn_opposite_to_the_panel() {
    init();
    let attach = || -> Box<Attach> {
        Box::new(|n, b| {
            result(n).attach(b).expect("attach");
            traces().attach(b).expect("attach");
        })
    };
    let without = blended(GRAY, "", attach());
    let frames = blended(GRAY, "show=label+bars+traces", attach());
    let bottom = (0, 300, 640, 480);
    assert_eq!(drawn(&without[0], bottom), 0);
    assert!(drawn(&frames[0], bottom) > 40_000);
}

/// The rectangles attached to each of `n` frames that go to a sink which takes compositions.
fn attached(
    overlay: &str,
    n: u64,
    caps: &str,
    attach: Box<Attach>,
) -> Vec<Vec<gst_video::VideoOverlayRectangle>> {
    let out = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let line = format!(
        "videotestsrc num-buffers={n} pattern=solid-color foreground-color=0xff808080 ! {caps} ! identity name=in ! emotionoverlay name=overlay {overlay} \
         ! fakevideosink sync=false"
    );
    let pipeline = gst::parse::launch(&line)
        .unwrap_or_else(|e| panic!("{line}: {e}"))
        .downcast::<gst::Pipeline>()
        .expect("pipeline");
    let pad = |element: &str| {
        pipeline
            .by_name(element)
            .and_then(|e| e.static_pad("src"))
            .expect("src pad")
    };
    let count = std::sync::atomic::AtomicU64::new(0);
    pad("in").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            attach(n, buffer.make_mut());
        }
        gst::PadProbeReturn::Ok
    });
    let seen = out.clone();
    pad("overlay").add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer() {
            let caps = pad.current_caps().expect("caps");
            assert!(
                caps.to_string().contains("meta:GstVideoOverlayComposition"),
                "{caps}"
            );
            let map = buffer.map_readable().expect("readable");
            assert!(
                map.iter().all(|v| *v == map[0]),
                "the pixels are left alone"
            );
            seen.lock().unwrap().push(
                buffer
                    .meta::<gst_video::VideoOverlayCompositionMeta>()
                    .map(|m| m.overlay().iter().collect())
                    .unwrap_or_default(),
            );
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("playing");
    let message = pipeline
        .bus()
        .expect("bus")
        .timed_pop_filtered(
            ClockTime::from_seconds(30),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .expect("an end within 30 s");
    pipeline.set_state(gst::State::Null).expect("null");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    std::mem::take(&mut *out.lock().unwrap())
}

#[test]
fn attached_where_downstream_takes_it_and_drawn_only_on_change() {
    init();
    let rects = attached(
        "",
        30,
        GRAY,
        Box::new(|n, b| {
            let mut m = result(n / 10);
            // Ten frames each: fresh, fresh with other numbers, too old by whole seconds.
            m.age = ClockTime::from_mseconds(100 * (n % 10));
            match n / 10 {
                1 => m.valence = 0.9,
                2 => m.age += ClockTime::from_mseconds(5500),
                _ => (),
            }
            m.attach(b).expect("attach");
        }),
    );
    assert_eq!(rects.len(), 30);
    let seqnums: Vec<_> = rects
        .iter()
        .map(|r| {
            assert_eq!(r.len(), 1, "the panel alone");
            r[0].seqnum()
        })
        .collect();
    let mut runs = seqnums.clone();
    runs.dedup();
    // Fresh, changed, 5 s old, 6 s old.
    assert_eq!(runs.len(), 4, "{seqnums:?}");
    assert!(seqnums[..10].iter().all(|s| *s == seqnums[0]));
    assert!(seqnums[20..25].iter().all(|s| *s == seqnums[20]));
    assert!(seqnums[25..].iter().all(|s| *s == seqnums[25]));
}

#[test]
fn two_overlays_keep_both_pictures() {
    init();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=1 ! {GRAY} ! emotionoverlay ! emotionoverlay name=second position=bottom-right \
         ! fakevideosink sync=false"
    ))
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let (sender, receiver) = std::sync::mpsc::channel();
    let pad = pipeline
        .by_name("second")
        .and_then(|e| e.static_pad("src"))
        .expect("pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let n = info
            .buffer()
            .and_then(|b| b.meta::<gst_video::VideoOverlayCompositionMeta>())
            .map(|m| m.overlay().n_rectangles());
        sender.send(n).expect("send");
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("playing");
    let n = receiver
        .recv_timeout(std::time::Duration::from_secs(20))
        .expect("a frame");
    pipeline.set_state(gst::State::Null).expect("null");
    assert_eq!(n, Some(2));
}

/// (pixels with a strong colour, amber ones among them, opaque ones)
fn colours(rect: &gst_video::VideoOverlayRectangle) -> (usize, usize, usize) {
    let pixels = rect.pixels_unscaled_argb(gst_video::VideoOverlayFormatFlags::empty());
    let map = pixels.map_readable().expect("readable");
    let (mut strong, mut amber, mut opaque) = (0, 0, 0);
    for p in map.chunks_exact(4) {
        let (b, g, r, a) = if cfg!(target_endian = "little") {
            (p[0], p[1], p[2], p[3])
        } else {
            (p[3], p[2], p[1], p[0])
        };
        if a > 150 {
            opaque += 1;
        }
        if a > 230 && r.max(g).max(b) - r.min(g).min(b) > 70 {
            strong += 1;
            if r > 200 && (140..220).contains(&g) && b < 140 {
                amber += 1;
            }
        }
    }
    (strong, amber, opaque)
}

#[test]
fn stale_is_grey_with_a_warning() {
    init();
    let look = |overlay: &str, change: fn(&mut EmotionMeta)| {
        let rects = attached(
            overlay,
            1,
            GRAY,
            Box::new(move |n, b| {
                let mut m = result(n);
                m.arousal = 0.2;
                change(&mut m);
                m.attach(b).expect("attach");
            }),
        );
        colours(&rects[0][0])
    };
    let (strong, amber, opaque) = look("", |_| ());
    assert!(strong > 500 && amber == 0, "{strong} {amber}");
    type Change = fn(&mut EmotionMeta);
    let stale: [(&str, Change); 3] = [
        ("", |m| m.stale = true),
        ("", |m| m.age = ClockTime::from_mseconds(5001)),
        ("max-age=100000000", |_| ()),
    ];
    for (overlay, change) in stale {
        let (strong, amber, taller) = look(overlay, change);
        assert!(
            amber > 100 && strong - amber < 150,
            "{overlay}: {strong} {amber}"
        );
        assert!(taller > opaque, "{overlay}: a line says so");
    }
    let (_, amber, _) = look("max-age=18446744073709551615", |m| {
        m.age = ClockTime::from_seconds(100_000);
    });
    assert_eq!(amber, 0, "no limit");
}

#[test]
fn an_untrained_model_is_named_whatever_is_shown() {
    init();
    let rects = attached(
        "show=0",
        1,
        GRAY,
        Box::new(|n, b| {
            let mut m = result(n);
            m.model = "mvp-fixture 0.1.0".into();
            m.trained = false;
            m.attach(b).expect("attach");
        }),
    );
    let (_, amber, _) = colours(&rects[0][0]);
    assert!(amber > 2000, "{amber}");
}

#[test]
fn warming_up_and_low_confidence_change_the_panel() {
    init();
    let opaque = |change: fn(&mut EmotionMeta)| {
        let rects = attached(
            "min-confidence=0.5",
            1,
            GRAY,
            Box::new(move |n, b| {
                let mut m = result(n);
                change(&mut m);
                m.attach(b).expect("attach");
            }),
        );
        let pixels = rects[0][0].pixels_unscaled_argb(gst_video::VideoOverlayFormatFlags::empty());
        let map = pixels.map_readable().expect("readable");
        (map.len(), map.to_vec())
    };
    let (plain, sure) = opaque(|_| ());
    let (warming, _) = opaque(|m| m.warming_up = true);
    assert!(warming > plain, "a row for warming up");
    // Two labels that are not asserted look the same; asserted they do not.
    let (_, unsure_a) = opaque(|m| m.confidence = 0.2);
    let (_, unsure_b) = opaque(|m| {
        m.confidence = 0.2;
        m.label = "calm".into();
    });
    let (_, other) = opaque(|m| m.label = "calm".into());
    assert!(unsure_a == unsure_b && sure != other && sure != unsure_a);
    // What the metadata calls unknown is called so here: never by another word, and not
    // with the weight of a label.
    let (_, unknown) = opaque(|m| (m.confidence, m.label) = (0.0, "unknown".into()));
    let (_, word) = opaque(|m| (m.confidence, m.label) = (0.0, "uncertain".into()));
    let (_, asserted) = opaque(|m| m.label = "unknown".into());
    assert!(unknown != word && unknown != asserted && unknown != unsure_a);
}

/// A frame that two branches share must look drawn on in one of them only.
#[test]
fn a_shared_frame_is_copied_before_drawing() {
    init();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=5 pattern=solid-color foreground-color=0xff808080 ! {GRAY} ! tee name=t \
         t. ! queue ! emotionoverlay ! appsink name=drawn sync=false \
         t. ! queue ! appsink name=plain sync=false"
    ))
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let sink = |name: &str| {
        pipeline
            .by_name(name)
            .and_then(|s| s.downcast::<gst_app::AppSink>().ok())
            .expect("appsink")
    };
    let (drawn_on, plain) = (sink("drawn"), sink("plain"));
    pipeline.set_state(gst::State::Playing).expect("playing");
    for _ in 0..5 {
        let bytes = |sink: &gst_app::AppSink| {
            let sample = sink
                .try_pull_sample(ClockTime::from_seconds(20))
                .expect("a frame");
            sample
                .buffer()
                .expect("buffer")
                .map_readable()
                .expect("readable")
                .to_vec()
        };
        let all = (0, 0, 640, 480);
        assert!(drawn(&bytes(&drawn_on), all) > 500);
        assert_eq!(drawn(&bytes(&plain), all), 0);
    }
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn every_raw_format_can_be_drawn_on() {
    init();
    for format in gst_video::VideoFormat::iter_raw() {
        let mut h = gst_check::Harness::new("emotionoverlay");
        let info = gst_video::VideoInfo::builder(format, 320, 240)
            .fps((30, 1))
            .build()
            .expect("info");
        h.set_caps(info.to_caps().expect("caps"), info.to_caps().expect("caps"));
        let mut buffer = gst::Buffer::with_size(info.size()).expect("buffer");
        {
            let b = buffer.get_mut().expect("own buffer");
            b.map_writable().expect("writable").fill(0x55);
            b.set_pts(ClockTime::ZERO);
            result(0).attach(b).expect("attach");
        }
        let before = buffer.map_readable().expect("readable").to_vec();
        h.push(buffer).unwrap_or_else(|e| panic!("{format:?}: {e}"));
        let out = h.pull().expect("frame");
        let after = out.map_readable().expect("readable").to_vec();
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!(changed > 1000, "{format:?}: {changed} bytes differ");
    }
}

#[test]
fn odd_sizes_and_fonts() {
    init();
    for (w, h) in [
        (1, 1),
        (2, 2),
        (16, 16),
        (16, 1000),
        (2000, 16),
        (321, 241),
        (3840, 32),
    ] {
        for font in ["Sans", "Sans 40", "No Such Font Bold 3px", "", "\\n,,,"] {
            let caps = format!(
                "video/x-raw,format=I420,width={w},height={h},framerate=30/1,pixel-aspect-ratio=16/15"
            );
            let frames = run(
                &format!("videotestsrc num-buffers=2 ! {caps}"),
                &format!("show=label+bars+coverage+traces+model+face+waiting font-desc=\"{font}\""),
                "appsink name=out sync=false",
                Box::new(move |n, b| {
                    if n == 1 {
                        result(n).attach(b).expect("attach");
                        traces().attach(b).expect("attach");
                        gst_video::VideoRegionOfInterestMeta::add(b, "face", (0, 0, w, h));
                    }
                }),
            );
            assert_eq!(frames.len(), 2, "{w}x{h} {font}");
        }
    }
}

/// New caps in the middle of the stream: the picture follows the new size.
#[test]
fn caps_change() {
    init();
    let mut h = gst_check::Harness::new("emotionoverlay");
    for (w, height) in [(640usize, 480usize), (320, 240), (640, 480)] {
        h.set_src_caps_str(&format!(
            "video/x-raw,format=GRAY8,width={w},height={height},framerate=30/1"
        ));
        let mut buffer = gst::Buffer::with_size(w * height).expect("buffer");
        {
            let b = buffer.get_mut().expect("own buffer");
            b.map_writable().expect("writable").fill(0x80);
            result(0).attach(b).expect("attach");
        }
        h.push(buffer).expect("push");
        let out = h.pull().expect("frame");
        assert_eq!(out.size(), w * height);
        let map = out.map_readable().expect("readable");
        assert!(map.iter().filter(|v| **v != 0x80).count() > 5000);
        let caps = h.sinkpad().and_then(|p| p.current_caps()).expect("caps");
        assert_eq!(
            caps.structure(0).and_then(|s| s.get::<i32>("width").ok()),
            Some(w as i32)
        );
    }
}

/// Frames in memory that cannot be drawn on, to a sink that takes no compositions.
#[test]
fn memory_that_cannot_be_drawn_on_is_a_clear_error() {
    init();
    let pipeline = gst::parse::launch(
        "appsrc name=src format=time caps=video/x-raw(memory:GLMemory),format=RGBA,width=64,height=48,framerate=30/1 \
         ! emotionoverlay ! appsink sync=false",
    )
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let src = pipeline
        .by_name("src")
        .and_then(|s| s.downcast::<gst_app::AppSrc>().ok())
        .expect("appsrc");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let _ = src.push_buffer(gst::Buffer::with_size(64 * 48 * 4).expect("buffer"));
    let message = pipeline
        .bus()
        .expect("bus")
        .timed_pop_filtered(ClockTime::from_seconds(20), &[gst::MessageType::Error])
        .expect("an error within 20 s");
    pipeline.set_state(gst::State::Null).expect("null");
    let gst::MessageView::Error(e) = message.view() else {
        unreachable!("only errors were asked for")
    };
    let text = format!("{} {:?}", e.error(), e.debug());
    for word in [
        "memory:GLMemory",
        "GstVideoOverlayCompositionMeta",
        "gldownload",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

/// Any memory passes where the picture can be attached.
#[test]
fn any_memory_passes_with_the_picture_attached() {
    init();
    let mut h = gst_check::Harness::new("emotionoverlay");
    h.add_propose_allocation_meta(gst_video::VideoOverlayCompositionMeta::meta_api(), None);
    h.set_sink_caps_str("video/x-raw(memory:GLMemory,meta:GstVideoOverlayComposition)");
    h.set_src_caps_str(
        "video/x-raw(memory:GLMemory),format=RGBA,width=64,height=48,framerate=30/1",
    );
    let buffer = gst::Buffer::with_size(16).expect("buffer");
    h.push(buffer).expect("push");
    let out = h.pull().expect("frame");
    assert!(
        out.meta::<gst_video::VideoOverlayCompositionMeta>()
            .is_some()
    );
    assert_eq!(out.size(), 16);
}

#[test]
fn a_converter_upstream_finds_a_format() {
    init();
    // Downstream limits the format; upstream converts to it through the overlay.
    let frames = run(
        "videotestsrc num-buffers=2 ! video/x-raw,format=RGB,width=320,height=240,framerate=30/1 ! videoconvert",
        "",
        "video/x-raw,format=NV12 ! appsink name=out sync=false",
        with_result(),
    );
    assert_eq!(frames.len(), 2);
    let caps = frames[0].caps().expect("caps").to_string();
    assert!(caps.contains("NV12") && !caps.contains("meta:"), "{caps}");
}

/// Boxes of what was attached: x, y, width, height.
fn boxes(rects: &[gst_video::VideoOverlayRectangle]) -> Vec<(i32, i32, u32, u32)> {
    rects.iter().map(|r| r.render_rectangle()).collect()
}

fn meets(a: (i32, i32, u32, u32), b: (u32, u32, u32, u32)) -> bool {
    let (ax, ay) = (i64::from(a.0), i64::from(a.1));
    let (bx, by) = (i64::from(b.0), i64::from(b.1));
    ax < bx + i64::from(b.2)
        && bx < ax + i64::from(a.2)
        && ay < by + i64::from(b.3)
        && by < ay + i64::from(a.3)
}

/// Panel and traces leave the face alone, wherever it is and however many lines the frame has.
#[test]
fn no_face_is_covered() {
    init();
    for (w, h) in [(640, 480), (1280, 720), (3840, 2160)] {
        for (x, y, height) in [
            (0.03, 0.04, 0.36),
            (0.74, 0.04, 0.36),
            (0.03, 0.6, 0.36),
            (0.74, 0.6, 0.36),
            (0.38, 0.16, 0.42),
            (0.36, 0.06, 0.58),
        ] {
            let of = |share: f64, whole: u32| (share * f64::from(whole)) as u32;
            let size = of(height, h);
            let face = (of(x, w), of(y, h), size * 4 / 5, size);
            let caps = format!("video/x-raw,format=GRAY8,width={w},height={h},framerate=30/1");
            let rects = attached(
                "show=label+bars+coverage+traces",
                1,
                &caps,
                Box::new(move |n, b| {
                    result(n).attach(b).expect("attach");
                    traces().attach(b).expect("attach");
                    gst_video::VideoRegionOfInterestMeta::add(b, "face", face);
                }),
            );
            let found = boxes(&rects[0]);
            assert_eq!(found.len(), 2, "the traces and the panel");
            for area in found {
                assert!(!meets(area, face), "{w}x{h}: {area:?} covers {face:?}");
                let (right, bottom) = (area.0 as u32 + area.2, area.1 as u32 + area.3);
                assert!(right <= w && bottom <= h, "{area:?} in {w}x{h}");
            }
        }
    }
}

/// A face that comes and goes does not make the panel jump, and a corner that was asked for is
/// kept.
#[test]
fn the_panel_moves_seldom_and_only_by_itself() {
    init();
    let places = |overlay: &str, frames: u64, face: fn(u64) -> (u32, u32, u32, u32)| {
        let rects = attached(
            overlay,
            frames,
            GRAY,
            Box::new(move |n, b| {
                result(0).attach(b).expect("attach");
                gst_video::VideoRegionOfInterestMeta::add(b, "face", face(n));
            }),
        );
        let mut places: Vec<_> = rects.iter().map(|r| boxes(r)[0]).collect();
        places.dedup();
        places
    };
    let trembling = |n: u64| match n % 2 {
        0 => (30, 30, 150, 180),
        _ => (430, 30, 150, 180),
    };
    let show = "show=label+bars";
    assert_eq!(places(show, 90, trembling).len(), 1);
    // It stays at the right for half a second, then at the left: one move.
    let moving = |n: u64| match n {
        ..15 => (430, 30, 150, 180),
        _ => (30, 30, 150, 180),
    };
    let found = places(show, 90, moving);
    assert_eq!(found.len(), 2, "{found:?}");
    let fixed = places("show=label+bars position=top-left", 90, moving);
    assert_eq!(fixed.len(), 1);
    assert!(fixed[0].0 < 20 && fixed[0].1 < 20, "{fixed:?}");
}

/// A heart beside its trace: the rate where it is known, a warning in its place where the signal
/// is poor.
#[test]
fn a_poor_sensor_is_named_instead_of_a_number() {
    init();
    let strip = |ecg: Option<f64>| {
        let rects = attached(
            "show=traces",
            1,
            GRAY,
            Box::new(move |_, b| {
                let mut all = traces();
                all.traces.truncate(1);
                all.attach(b).expect("attach");
                if let Some(ecg) = ecg {
                    body(ecg).attach(b).expect("attach");
                }
            }),
        );
        assert_eq!(rects[0].len(), 1, "the traces alone");
        colours(&rects[0][0])
    };
    let (_, none, _) = strip(None);
    assert_eq!(none, 0);
    let (good, amber, _) = strip(Some(0.95));
    assert_eq!(amber, 0);
    let (poor, amber, _) = strip(Some(0.3));
    assert!(amber > 30, "{amber}");
    // The waveform is paler, and its beats have no marks.
    assert!(poor < good, "{poor} {good}");
}

/// What is drawn of an ECG is a heart: as many marks and peaks as it has beats.
#[test]
fn every_beat_is_seen() {
    init();
    let strip = |marks: bool| {
        let frames = blended(
            GRAY,
            "show=traces",
            Box::new(move |_, b| {
                let mut all = traces();
                all.traces.truncate(1);
                if !marks {
                    all.traces[0].marks.clear();
                }
                all.attach(b).expect("attach");
            }),
        );
        frames[0].clone()
    };
    let (with, without) = (strip(true), strip(false));
    // Columns in which the two differ, above the foot of the strip: one run for each mark.
    let differs = |x: usize| (400..450).any(|y| with[640 * y + x] != without[640 * y + x]);
    let columns: Vec<bool> = (0..640).map(differs).collect();
    let runs = columns.windows(2).filter(|w| !w[0] && w[1]).count();
    assert_eq!(runs, 12);
}
