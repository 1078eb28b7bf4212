// SPDX-License-Identifier: MPL-2.0
use gst::{ClockTime, prelude::*};
use gst_video::prelude::*;
use gstmvp::{
    EmotionMeta, PhysioTraceMeta,
    meta::{ModalityState, PhysioTrace},
};
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
        sequence,
        model: "mvp-default 0.1.0".into(),
        provider: "cpu".into(),
        inference_time: ClockTime::from_mseconds(3),
        warming_up: false,
        stale: false,
    }
}

fn traces() -> PhysioTraceMeta {
    let end = ClockTime::from_seconds(60);
    let ecg = (0..2560).map(|i| {
        let phase = (i as f32 / 256.0 * 1.2).fract();
        let wave = |centre: f32, width: f32, height: f32| {
            height * (-((phase - centre) / width).powi(2)).exp()
        };
        wave(0.18, 0.03, 0.3)
            + wave(0.3, 0.012, 3.0)
            + wave(0.33, 0.01, -0.6)
            + wave(0.55, 0.05, 0.6)
    });
    let eda = (0..40).map(|i| {
        let t = i as f32 / 4.0;
        if (18..22).contains(&i) {
            f32::NAN
        } else {
            (t * 0.7).sin() * 0.8 + 0.1 * t
        }
    });
    let ppg = (0..640).map(|_| f32::NAN);
    PhysioTraceMeta {
        traces: vec![
            PhysioTrace::new("eda", 4.0, end, eda),
            PhysioTrace::new("ecg", 256.0, end, ecg),
            PhysioTrace::new("ppg", 64.0, end, ppg),
        ],
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

/// Frames as PNG files for a person to look at, where GSTMVP_PREVIEW_DIR names a folder.
#[test]
fn preview() {
    init();
    let Some(dir) = std::env::var_os("GSTMVP_PREVIEW_DIR") else {
        println!("SKIPPED preview: GSTMVP_PREVIEW_DIR is not set");
        return;
    };
    let dir = std::path::PathBuf::from(dir);
    type Change = fn(&mut EmotionMeta);
    let untrained: Change = |m| {
        m.model = "untrained fixture 0.1".into();
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
            let head = format!(
                "videotestsrc num-buffers=1 pattern=smpte ! video/x-raw,format=I420,width={w},height={h},framerate=30/1"
            );
            let file = dir.join(format!("{name}-{w}x{h}.png"));
            let tail = format!(
                "videoconvert ! pngenc ! filesink location={}",
                file.display()
            );
            let (change, face) = (*change, *face);
            run(
                &head,
                overlay,
                &tail,
                Box::new(move |n, b| {
                    if let Some(change) = change {
                        let mut m = result(n);
                        change(&mut m);
                        m.attach(b).expect("attach");
                        traces().attach(b).expect("attach");
                    }
                    if face {
                        gst_video::VideoRegionOfInterestMeta::add(
                            b,
                            "face",
                            (w * 5 / 12, h / 4, w / 4, h * 2 / 5),
                        );
                    }
                }),
            );
        }
    }
}
