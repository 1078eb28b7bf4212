// SPDX-License-Identifier: MPL-2.0
//! Frames with results, traces and faces through emotionoverlay, and what it draws on them.
#![allow(dead_code)]

use gst::{ClockTime, prelude::*};
use gstmvp::meta::PhysioTrace;
use gstmvp::{EmotionMeta, PhysioMeta, PhysioTraceMeta};
use mvp::ModalityState;
use std::sync::Once;

/// What each test frame carries.
pub(crate) type Attach = dyn Fn(u64, &mut gst::BufferRef) + Send + Sync;

pub(crate) const GRAY: &str = "video/x-raw,format=GRAY8,width=640,height=480,framerate=30/1";

pub(crate) fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin mvp");
    });
}

pub(crate) fn result(sequence: u64) -> EmotionMeta {
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
pub(crate) fn traces() -> PhysioTraceMeta {
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
pub(crate) fn body(ecg: f64) -> PhysioMeta {
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

/// Runs `head ! identity ! emotionoverlay ! tail`, with `attach` called on each frame in between.
pub(crate) fn run(head: &str, overlay: &str, tail: &str, attach: Box<Attach>) -> Vec<gst::Sample> {
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

/// Writes one frame of `size` with its overlay to `file`.
pub(crate) fn snapshot(
    file: &std::path::Path,
    (w, h): (u32, u32),
    overlay: &str,
    attach: Box<Attach>,
) {
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
pub(crate) fn blended(caps: &str, overlay: &str, attach: Box<Attach>) -> Vec<Vec<u8>> {
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

/// Pixels of a 640x480 GRAY8 frame in the box that are not the test source's gray.
pub(crate) fn drawn(frame: &[u8], (x0, y0, x1, y1): (usize, usize, usize, usize)) -> usize {
    let gray = frame[640 * 240 + 320];
    (y0..y1)
        .flat_map(|y| &frame[640 * y + x0..640 * y + x1])
        .filter(|v| v.abs_diff(gray) > 3)
        .count()
}

/// The rectangles attached to each of `n` frames that go to a sink which takes compositions.
pub(crate) fn attached(
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

/// (pixels with a strong colour, amber ones among them, opaque ones)
pub(crate) fn colours(rect: &gst_video::VideoOverlayRectangle) -> (usize, usize, usize) {
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

/// Boxes of what was attached: x, y, width, height.
pub(crate) fn boxes(rects: &[gst_video::VideoOverlayRectangle]) -> Vec<(i32, i32, u32, u32)> {
    rects.iter().map(|r| r.render_rectangle()).collect()
}

pub(crate) fn meets(a: (i32, i32, u32, u32), b: (u32, u32, u32, u32)) -> bool {
    let (ax, ay) = (i64::from(a.0), i64::from(a.1));
    let (bx, by) = (i64::from(b.0), i64::from(b.1));
    ax < bx + i64::from(b.2)
        && bx < ax + i64::from(a.2)
        && ay < by + i64::from(b.3)
        && by < ay + i64::from(a.3)
}
