// SPDX-License-Identifier: MPL-2.0
//! xdfdemux on recordings that are written here. Seeks are in `xdfdemux_seek.rs`, other
//! programs in `xdfdemux_peers.rs`.

mod lsl_support;
#[path = "xdf_support/player.rs"]
mod player;
mod xdf_support;

use gst::prelude::*;
use gstmvp::EmotionMeta;
use lsl_support::{init, skip};
use player::*;
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use xdf_support::{Sample, Xdf};

#[test]
fn streams_come_aligned_in_both_modes() {
    let x = session(60);
    for between in [PULL, PUSH] {
        let tracks = play(&x, between);
        assert_eq!(tracks.len(), 3, "{between}");
        let (ecg, count, words) = (&tracks["ecg"], &tracks["count"], &tracks["words"]);
        assert!(
            ecg.caps
                .starts_with("application/x-lsl, format=(string)F32LE"),
            "{}",
            ecg.caps
        );
        for part in [
            "channel-labels=(string)lead",
            "units=(string)mV",
            "stream-type=(string)Test",
        ] {
            assert!(ecg.caps.contains(part), "{}", ecg.caps);
        }
        assert!(
            count.caps.contains("rate=(fraction)256/5"),
            "{}",
            count.caps
        );
        assert!(words.caps.starts_with("text/x-raw"), "{}", words.caps);
        assert!(ecg.eos && count.eos && words.eos);
        assert!(ecg.stream_id.ends_with("00000001"), "{}", ecg.stream_id);

        assert_eq!(
            ecg.floats(),
            (0..6000).map(|n| n as f32).collect::<Vec<_>>()
        );
        // Time zero is the first sample of the recording. The causal correction of the
        // first seconds knows no drift.
        let allowed = if between == PULL { 3e-5 } else { 6e-4 };
        for (n, t) in ecg.times(4).into_iter().enumerate() {
            assert!((t - n as f64 / 100.0).abs() < allowed, "{between} {n}: {t}");
        }
        let times = count.times(4);
        assert_eq!(times.len(), 3072);
        for (n, t) in times.into_iter().enumerate() {
            assert!((t - n as f64 / 51.2).abs() < allowed, "{between} {n}: {t}");
        }
        assert_eq!(words.texts()[..2], ["w5\né", "w21\né"]);
        assert!((words.times(0)[0] - 2.6).abs() < allowed);
        assert!(words.buffers.iter().all(|b| b.1.is_none()));
        // Only the first buffers follow nothing.
        for track in [ecg, count] {
            assert!(track.buffers[0].2 && track.buffers[1..].iter().all(|b| !b.2));
            assert!(track.gaps.is_empty(), "{between} {:?}", track.gaps);
        }
        assert!(words.gaps.len() > 10, "silence is told");
        for (start, length) in &words.gaps {
            let inside =
                |b: &&(u64, Option<u64>, bool, Vec<u8>)| b.0 >= *start && b.0 < start + length;
            assert_eq!(words.buffers.iter().find(inside), None);
        }
    }
}

#[test]
fn gaps_split_buffers_and_are_told() {
    let mut x = Xdf::new();
    x.stream(1, "a", 1, "float32", 100.0);
    let samples: Vec<_> = (0..300)
        .filter(|n| !(100..200).contains(n))
        .map(|n| (50.0 + n as f64 / 100.0, n as f32))
        .collect();
    x.floats(1, &samples);
    for between in [PULL, PUSH] {
        let track = &play(&x, between)["a"];
        assert_eq!(track.floats().len(), 200);
        let discont: Vec<u64> = track.buffers.iter().filter(|b| b.2).map(|b| b.0).collect();
        assert_eq!(discont, [0, 2 * SECOND]);
        assert_eq!(track.gaps, [(SECOND, SECOND)]);
        assert_eq!(track.buffers[0].1, Some(SECOND / 2));
    }
}

#[test]
fn audio_is_given_to_who_wants_audio() {
    let mut x = Xdf::new();
    x.stream(1, "a", 1, "float32", 100.0);
    x.floats(1, &[(1.0, 1.0), (1.01, 2.0)]);
    let path = file(&x);
    let sink = "capsfilter caps=audio/x-raw,format=F32LE ! fakesink sync=false async=false";
    let player = Player::new(path.path(), PULL, sink);
    assert_eq!(player.play(), Ok(vec![]));
    let caps = &player.tracks.take()["a"].caps;
    assert!(
        caps.starts_with("audio/x-raw") && caps.contains("rate=(int)100"),
        "{caps}"
    );
}

#[test]
fn what_cannot_be_played_is_an_error_that_says_why() {
    for between in [PULL, PUSH] {
        for (bytes, word) in [
            (&b"RIFF and so on"[..], "no XDF"),
            (b"", ""),
            (b"XDF:", "no stream"),
            (&Xdf::new().bytes, "no stream"),
        ] {
            let x = Xdf {
                bytes: bytes.to_vec(),
                width: 1,
            };
            let path = file(&x);
            let player = Player::new(path.path(), between, SINK);
            let e = player.play().expect_err(word);
            assert!(e.contains(word), "{between} {word}: {e}");
        }
    }
}

#[test]
fn a_damaged_recording_is_played_as_far_as_it_can_be_read() {
    let mut x = session(60);
    let third = x.bytes.len() / 3;
    x.bytes[third..third + 300].fill(0xAA);
    x.bytes.truncate(x.bytes.len() - 500);
    for between in [PULL, PUSH] {
        let path = file(&x);
        let player = Player::new(path.path(), between, SINK);
        let warnings = player.play().expect("EOS");
        assert!(
            warnings.iter().any(|w| w.contains("damaged at byte")),
            "{warnings:?}"
        );
        let tracks = player.tracks.take();
        let ecg = &tracks["ecg"];
        let (values, times) = (ecg.floats(), ecg.times(4));
        assert!((3500..5990).contains(&values.len()), "{}", values.len());
        for (value, t) in values.iter().zip(times) {
            assert!((t - f64::from(*value) / 100.0).abs() < 6e-4, "{value}: {t}");
        }
        assert!(tracks.values().all(|t| t.eos));
    }
}

#[test]
fn a_recording_cut_anywhere_ends() {
    let x = session(2);
    for (n, cut) in (0..x.bytes.len()).step_by(211).enumerate() {
        let cut = Xdf {
            bytes: x.bytes[..cut].to_vec(),
            width: 1,
        };
        let path = file(&cut);
        let player = Player::new(path.path(), if n % 2 == 0 { PULL } else { PUSH }, SINK);
        match player.play() {
            Ok(mut warnings) => {
                // Before the first clock offset the streams are of clocks that are far apart.
                warnings.retain(|w| !w.contains("no clock offsets"));
                assert!(warnings.len() <= 1, "{warnings:?}");
            }
            Err(e) => assert!(cut.bytes.len() < 600, "{}: {e}", cut.bytes.len()),
        }
    }
}

#[test]
fn typefind_knows_the_recordings() {
    init();
    let path = file(&session(1));
    let line = format!(
        "filesrc location={} ! typefind name=t ! fakesink",
        path.path().display()
    );
    let pipeline = gst::parse::launch(&line).expect(&line);
    let t = pipeline
        .downcast_ref::<gst::Bin>()
        .and_then(|b| b.by_name("t"))
        .expect("typefind");
    pipeline.set_state(gst::State::Paused).expect("paused");
    let (state, ..) = pipeline.state(gst::ClockTime::from_seconds(20));
    state.expect("prerolled");
    let caps = t
        .static_pad("src")
        .and_then(|p| p.current_caps())
        .expect("caps");
    assert_eq!(caps.to_string(), "application/x-xdf");
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn ten_plays_and_stops_in_the_middle() {
    let path = file(&session(120));
    for n in 0..10 {
        let between = if n % 2 == 0 { PULL } else { PUSH };
        let player = Player::new(path.path(), between, "fakesink sync=true");
        let _ = player.pipeline.set_state(gst::State::Playing);
        std::thread::sleep(Duration::from_millis(20 * n));
        player.pipeline.set_state(gst::State::Null).expect("null");
        assert_eq!(player.pipeline.by_name("x").expect("x").num_src_pads(), 0);
    }
}

#[test]
fn jitter_is_taken_off_unless_told_otherwise() {
    let truth = |n: u64| 1000.0 + n as f64 / 100.0 + if n >= 3000 { 4.0 } else { 0.0 };
    let mut x = Xdf::new();
    x.stream(1, "jittered", 1, "float32", 100.0);
    x.stream(2, "clean", 1, "float32", 50.0);
    for second in 0..60u64 {
        if second % 5 == 1 {
            x.offset(1, truth(second * 100) - 500.0, 500.0);
            x.offset(2, truth(second * 100), 0.0);
        }
        let jittered: Vec<_> = (second * 100..second * 100 + 100)
            .map(|n| (truth(n) - 500.0 + 0.004 * noise(n), n as f32))
            .collect();
        x.floats(1, &jittered);
        let clean: Vec<_> = (second * 50..second * 50 + 50)
            .map(|n| (truth(n * 2), n as f32))
            .collect();
        x.floats(2, &clean);
    }
    let path = file(&x);
    for (between, options) in [(PULL, ""), (PUSH, ""), (PULL, "dejitter=false")] {
        let player = Player::with(path.path(), between, options, SINK);
        assert_eq!(player.play(), Ok(vec![]));
        let tracks = player.tracks.take();
        let track = &tracks["jittered"];
        assert_eq!(
            track.floats(),
            (0..6000).map(|n| n as f32).collect::<Vec<_>>()
        );
        let times = track.times(4);
        let origin = if tracks["clean"].times(4)[0] > 0.0 {
            1000.0 - tracks["clean"].times(4)[0]
        } else {
            1000.0
        };
        let worst = |from: usize, to: usize| {
            let off = (from..to).map(|n| (times[n] + origin - truth(n as u64)).abs());
            off.fold(0.0, f64::max)
        };
        println!(
            "{between} {options}: {:.3} {:.3} ms",
            1e3 * worst(200, 3000),
            1e3 * worst(3050, 6000)
        );
        if options.is_empty() {
            assert!(
                worst(200, 3000) < 1.5e-3 && worst(3050, 6000) < 1.5e-3,
                "{between}"
            );
            assert_eq!(track.buffers.iter().filter(|b| b.2).count(), 2, "{between}");
        } else {
            assert!(worst(200, 3000) > 2.5e-3, "as it was recorded");
        }
        // A clean stream is not touched, and the gap is told in both.
        let clean = tracks["clean"].times(4);
        let right = |(n, t): (usize, &f64)| (t + origin - truth(n as u64 * 2)).abs() < 1e-5;
        assert!(clean.iter().enumerate().all(right));
        for track in tracks.values() {
            let told: u64 = track.gaps.iter().map(|g| g.1).sum();
            assert!((3.9e9..4.1e9).contains(&(told as f64)), "{:?}", track.gaps);
        }
    }
}

#[test]
fn two_replays_into_the_network_give_the_same_results() {
    init();
    match onnx::Runtime::load(None) {
        Ok(_) => (),
        Err(e @ onnx::Error::LibraryNotFound { .. }) => return skip(&e.to_string()),
        Err(e) => panic!("{e}"),
    }
    let mut x = Xdf::new();
    x.stream(1, "ecg", 1, "float32", 256.0);
    x.stream(2, "eda", 1, "float32", 4.0);
    for second in 0..40u64 {
        let t = 1000.0 + second as f64;
        let wave = |rate: u64, f: fn(f64) -> f64| -> Vec<(f64, f32)> {
            (0..rate)
                .map(|i| t + i as f64 / rate as f64)
                .map(|t| (t, f(t) as f32))
                .collect()
        };
        x.floats(1, &wave(256, |t| (t * 7.4).sin() + 0.4 * (t * 23.0).sin()));
        x.floats(2, &wave(4, |t| 4.0 + (t * 0.9).sin()));
        if second % 5 == 1 {
            x.offset(1, t, 1e-5);
            x.offset(2, t, -1e-5);
        }
    }
    let recording = file(&x);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture");
    let once = || {
        let line = format!(
            "videotestsrc num-buffers=900 ! video/x-raw,width=64,height=48,framerate=30/1 \
             ! mvpfusion name=f model={} execution-provider=cpu sync=wait \
             ! fakesink name=sink sync=false \
             filesrc location={} ! xdfdemux name=x  x.stream_0 ! queue ! f.ecg \
             x.stream_1 ! queue ! f.eda",
            model.display(),
            recording.path().display()
        );
        let pipeline = gst::parse::launch(&line)
            .expect(&line)
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = seen.clone();
        let pad = pipeline.by_name("sink").and_then(|s| s.static_pad("sink"));
        pad.expect("pad")
            .add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(buffer) = info.buffer() {
                    list.lock().unwrap().push(EmotionMeta::from_buffer(buffer));
                }
                gst::PadProbeReturn::Ok
            });
        let player = Player {
            pipeline,
            tracks: Tracks::default(),
        };
        player.play().expect("EOS");
        std::mem::take(&mut *seen.lock().unwrap())
    };
    let first = once();
    assert_eq!(first.len(), 900);
    let last = first.last().cloned().flatten().expect("a result");
    assert_eq!(last.window_end.nseconds(), 29 * SECOND);
    let covered = last.modalities.iter().filter(|m| m.coverage > 0.4).count();
    assert_eq!(covered, 2, "{:?}", last.modalities);
    for (n, (a, b)) in once().iter().zip(&first).enumerate() {
        assert_eq!(a, b, "frame {n}");
    }
}

/// A recording that began 3.5 s after a film whose frames are called 'Camera', and in
/// which 'eda' stamps 0.25 s late.
fn beside_a_film() -> Xdf {
    let mut x = Xdf::new();
    let labels = ["frame", "frame-time", "valence", "arousal", "confidence"];
    let channels: String = labels
        .iter()
        .map(|l| format!("<channel><label>{l}</label></channel>"))
        .collect();
    let desc = |rest: &str| format!("<channels>{channels}</channels>{rest}");
    let film = desc("<first_frame_time>0.125</first_frame_time>");
    let late = "<synchronization><offset_mean>0.25</offset_mean></synchronization>";
    x.stream_with(1, "eda", 1, "float32", 4.0, late);
    x.stream_with(2, "Camera", 5, "double64", 0.0, &film);
    for second in 0..20u64 {
        let t = 503.5 + second as f64;
        if second % 5 == 1 {
            x.offset(1, t, 0.0);
            x.offset(2, t, 0.0);
        }
        let eda: Vec<_> = (0..4)
            .map(|i| (t + f64::from(i) / 4.0, (second * 4) as f32 + i as f32))
            .collect();
        x.floats(1, &eda);
        let frames: Vec<_> = (0..10)
            .map(|i| {
                let n = 35 + second * 10 + i;
                let time = 0.125 + n as f64 / 10.0;
                let values = [n as f64, time, f64::NAN, f64::NAN, f64::NAN];
                let bytes = values.map(f64::to_le_bytes).concat();
                // The film's time began at 500 s.
                (Some(500.0 + time), Sample::Bytes(bytes))
            })
            .collect();
        x.samples(2, &frames);
    }
    x
}

#[test]
fn time_zero_is_the_first_frame_of_the_film() {
    let path = file(&beside_a_film());
    for between in [PULL, PUSH] {
        let player = Player::with(path.path(), between, "film=Camera", SINK);
        assert_eq!(player.play(), Ok(vec![]), "{between}");
        let tracks = player.tracks.take();
        // The first frame was at 500.125, the first sample of 'eda' at 503.5 - 0.25.
        let eda = tracks["eda"].times(4);
        assert_eq!(eda.len(), 80);
        assert!((eda[0] - 3.125).abs() < 1e-6, "{between}: {}", eda[0]);
        let frames = tracks["Camera"].times(40);
        assert!((frames[0] - 3.5).abs() < 1e-6, "{between}: {}", frames[0]);
        // Without it, what is earliest is at zero.
        let player = Player::new(path.path(), between, SINK);
        assert_eq!(player.play(), Ok(vec![]), "{between}");
        let tracks = player.tracks.take();
        assert!(tracks["eda"].times(4)[0].abs() < 1e-6, "{between}");
        let frames = tracks["Camera"].times(40)[0];
        assert!((frames - 0.375).abs() < 1e-6, "{between}: {frames}");
        for wrong in ["eda", "camera"] {
            let options = format!("film={wrong}");
            let player = Player::with(path.path(), between, &options, SINK);
            let e = player.play().expect_err(wrong);
            assert!(
                e.contains("'frame-time'") && e.contains("eda, Camera"),
                "{e}"
            );
        }
    }
}
