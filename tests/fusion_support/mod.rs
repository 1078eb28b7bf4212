// SPDX-License-Identifier: MPL-2.0
//! mvpfusion in real pipelines: sources of physiology and of faces, and what a run gives.
#![allow(dead_code)]

use gst::prelude::*;
use gstmvp::{EmotionMeta, FaceUnitsMeta};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin");
    });
}

/// False where there is no ONNX Runtime; says so.
pub(crate) fn ready(test: &str) -> bool {
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

pub(crate) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture")
}

pub(crate) fn launch(line: &str) -> gst::Pipeline {
    let line = line.replace("MODEL", &fixture().display().to_string());
    let pipeline = gst::parse::launch(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
    pipeline.downcast::<gst::Pipeline>().expect("a pipeline")
}

/// Everything that a run said, until EOS or an error.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) results: Vec<gst::Structure>,
    /// Other element messages.
    pub(crate) messages: Vec<gst::Structure>,
    pub(crate) warnings: Vec<String>,
    pub(crate) error: Option<String>,
    /// Of the element `f`, at the end of [`play`].
    pub(crate) stats: Option<gst::Structure>,
}

impl Run {
    /// Of the last result.
    pub(crate) fn coverage(&self, signal: &str) -> f64 {
        let last = self.results.last().expect("results");
        last.get(format!("coverage-{signal}")).expect("coverage")
    }

    #[track_caller]
    pub(crate) fn fails_with(&self, wants: &[&str]) {
        let error = self.error.as_deref().expect("an error");
        for want in wants {
            assert!(error.contains(want), "'{want}' is not in: {error}");
        }
    }
}

pub(crate) fn follow(pipeline: &gst::Pipeline) -> Run {
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
            MessageView::Element(e) => match e.structure() {
                Some(s) if s.name() == "mvp-emotion" => run.results.push(s.to_owned()),
                Some(s) => run.messages.push(s.to_owned()),
                None => {}
            },
            _ => {}
        }
    }
    run
}

pub(crate) fn play(pipeline: &gst::Pipeline) -> Run {
    // A refused state change posts its reason; that is what `follow` reports.
    let _ = pipeline.set_state(gst::State::Playing);
    let mut run = follow(pipeline);
    run.stats = pipeline.by_name("f").map(|f| f.property("stats"));
    pipeline.set_state(gst::State::Null).expect("null");
    run
}

/// A physiology source: `value(t)` at `rate` Hz for `seconds`, then EOS.
pub(crate) fn feed(
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

/// Heartbeats that are good as an ECG and, being wide enough, as a PPG.
pub(crate) fn heart(t: f64) -> f32 {
    let bump = |at: f64, width: f64| {
        let off = ((t / 0.85).fract() - at) * 0.85;
        (-0.5 * (off / width).powi(2)).exp()
    };
    (bump(0.4, 0.012) - 0.2 * bump(0.44, 0.012) + 0.25 * bump(0.7, 0.05) + 0.02 * (t * 1.7).sin())
        as f32
}

pub(crate) fn skin(t: f64) -> f32 {
    (4.0 + (t * 0.9).sin() + 0.2 * (t * 2.9).cos()) as f32
}

/// Attaches units to every sixth frame, as facetrack does at 5 Hz.
pub(crate) fn face(pipeline: &gst::Pipeline, element: &str) {
    face_where(pipeline, element, |n, _| n.is_multiple_of(6));
}

/// Attaches units to the frames that `wanted` names by their number and their time (ns).
pub(crate) fn face_where(
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
            let segment = segment.expect("time");
            let time = segment.to_running_time(buffer.pts());
            let time = time.unwrap_or(gst::ClockTime::ZERO);
            let t = time.nseconds() as f64 / 1e9 * segment.rate();
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
pub(crate) fn collect(
    pipeline: &gst::Pipeline,
    element: &str,
) -> Arc<Mutex<Vec<Option<EmotionMeta>>>> {
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

pub(crate) const WHOLE: &str = "videotestsrc name=video num-buffers=2400 ! video/x-raw,width=64,height=48,framerate=30/1 \
     ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink \
     appsrc name=ecg ! f.ecg  appsrc name=eda ! f.eda";
