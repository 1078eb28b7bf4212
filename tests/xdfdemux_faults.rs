// SPDX-License-Identifier: MPL-2.0
//! xdfdemux on recordings whose order or timestamps are wrong.

mod lsl_support;
#[path = "xdf_support/player.rs"]
mod player;
mod xdf_support;

use gst::prelude::*;
use player::{PULL, PUSH, Player, file};
use std::time::Duration;
use xdf_support::Xdf;

const SECONDS: usize = 50;

/// Stream 1: 8 Hz, stream 2: 128 Hz; the value of a sample is its second. `stamp(stream,
/// sample, second)` is its timestamp.
#[derive(Clone, Copy)]
struct Recording<'a> {
    /// Seconds that stand together in the file, and in a chunk.
    block: usize,
    chunk: usize,
    offsets: bool,
    seconds: usize,
    stamp: &'a dyn Fn(u32, usize, f64) -> f64,
}

const STREAMS: [(u32, usize); 2] = [(1, 8), (2, 128)];

impl Recording<'_> {
    fn write(&self) -> Xdf {
        let mut xdf = Xdf::new();
        for (id, rate) in STREAMS {
            xdf.stream(id, &format!("S{id}"), 1, "float32", rate as f64);
        }
        for block in (0..self.seconds).step_by(self.block) {
            for (id, rate) in STREAMS {
                let end = self.seconds.min(block + self.block);
                for from in (block..end).step_by(self.chunk) {
                    for second in (from..end.min(from + self.chunk)).filter(|s| s % 5 == 0) {
                        if self.offsets {
                            xdf.offset(id, 1000.0 + second as f64, 0.0);
                        }
                    }
                    let samples: Vec<_> = (from * rate..end.min(from + self.chunk) * rate)
                        .map(|n| {
                            let second = n as f64 / rate as f64;
                            ((self.stamp)(id, n, 1000.0 + second), second as f32)
                        })
                        .collect();
                    xdf.floats(id, &samples);
                }
            }
            xdf.boundary();
        }
        xdf
    }
}

/// Times and values of the streams, and what was told.
fn play(recording: Recording, between: &str) -> ([Vec<(f64, f32)>; 2], Vec<String>) {
    let xdf = file(&recording.write());
    let player = Player::new(xdf.path(), between, "fakesink sync=false async=false");
    let told = player.play().expect("played to the end");
    let mut tracks = player.tracks.take();
    let pair = |id| {
        let track = tracks.remove(&format!("S{id}")).expect("the stream");
        track.times(4).into_iter().zip(track.floats()).collect()
    };
    ([1, 2].map(pair), told)
}

fn check(name: &str, recording: Recording, between: &str, lost: usize, error: f64) -> Vec<String> {
    let (streams, told) = play(recording, between);
    for (samples, (id, rate)) in streams.iter().zip(STREAMS) {
        let missing = recording.seconds * rate - samples.len();
        assert!(
            missing <= lost,
            "{name}: stream {id} lacks {missing}: {told:?}"
        );
        for (time, second) in samples {
            let off = time - f64::from(*second);
            assert!(
                off.abs() <= error,
                "{name}: stream {id}, second {second}: {off}"
            );
        }
    }
    told
}

const LIVE: Recording = Recording {
    block: 1,
    chunk: 1,
    offsets: true,
    seconds: SECONDS,
    stamp: &|_, _, t| t,
};

#[test]
fn streams_play_side_by_side_whatever_their_order() {
    for (block, chunk) in [(1, 1), (20, 1), (SECONDS, 1), (SECONDS, SECONDS), (25, 25)] {
        for offsets in [true, false] {
            let recording = Recording {
                block,
                chunk,
                offsets,
                ..LIVE
            };
            for between in [PULL, PUSH] {
                let at = format!("{between} {block} {chunk} {offsets}");
                let told = check(&at, recording, between, 0, 1e-6);
                assert_eq!(told, Vec::<String>::new(), "{at}");
            }
        }
    }
}

/// The queues hold a second; one stream must not fill its queue before the other comes.
#[test]
fn no_stream_runs_ahead_of_the_other() {
    lsl_support::init();
    let cases = [
        (SECONDS, 1, SECONDS, PULL),
        (SECONDS, SECONDS, SECONDS, PULL),
        (SECONDS, 1, SECONDS, PUSH),
        (SECONDS, SECONDS, SECONDS, PUSH),
        // More than waits: one stream is played late, and nothing stands still.
        (150, 1, 300, PUSH),
        (300, 10, 300, PUSH),
    ];
    for (block, chunk, seconds, between) in cases {
        let recording = Recording {
            block,
            chunk,
            seconds,
            ..LIVE
        };
        let xdf = file(&recording.write());
        let pipeline = gst::parse::launch(&format!(
            "filesrc location={} {between} ! xdfdemux name=x  x.stream_0 ! queue name=a ! fakesink name=s \
             x.stream_1 ! queue ! fakesink name=t",
            xdf.path().display()
        ))
        .expect("a pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
        // Each sink takes what the other has reached.
        let reached = std::sync::Arc::new(std::sync::Mutex::new([0u64; 2]));
        for (i, name) in ["s", "t"].into_iter().enumerate() {
            let (reached, sink) = (reached.clone(), pipeline.by_name(name).expect(name));
            let pad = sink.static_pad("sink").expect("sink");
            let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
            pad.add_probe(kinds, move |_, info| {
                // A gap is as good: nothing comes before its end.
                let pts = match &info.data {
                    Some(gst::PadProbeData::Buffer(b)) => b.pts(),
                    Some(gst::PadProbeData::Event(e)) => match e.view() {
                        gst::EventView::Gap(g) => g.get().1.map(|d| g.get().0 + d),
                        gst::EventView::Eos(_) => Some(gst::ClockTime::from_seconds(1_000_000)),
                        _ => None,
                    },
                    _ => None,
                };
                let Some(pts) = pts else {
                    return gst::PadProbeReturn::Ok;
                };
                let begun = std::time::Instant::now();
                loop {
                    let mut all = reached.lock().expect("times");
                    all[i] = all[i].max(pts.mseconds());
                    let other = all[1 - i];
                    drop(all);
                    if other + 1500 >= pts.mseconds()
                        || other + 1500 >= 1000 * seconds as u64
                        || begun.elapsed() > Duration::from_secs(10)
                    {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                gst::PadProbeReturn::Ok
            });
            sink.set_property("sync", false);
            sink.set_property("async", false);
        }
        pipeline.set_state(gst::State::Playing).expect("playing");
        let message = pipeline.bus().expect("bus").timed_pop_filtered(
            gst::ClockTime::from_seconds(20),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        );
        pipeline.set_state(gst::State::Null).expect("null");
        let ended = message.is_some_and(|m| m.type_() == gst::MessageType::Eos);
        assert!(ended, "{between} {block} {chunk}: stood still");
    }
}

#[test]
fn timestamps_that_are_wrong_are_told_and_nothing_else_is_lost() {
    for id in [1, 2] {
        for off in [60.0, -60.0, 2e5, -2e5, f64::NAN] {
            for at in [0usize, 161, 300] {
                let stamp = |stream: u32, n: usize, t: f64| match (stream, n) {
                    (s, n) if s == id && n == at => t + off,
                    _ => t,
                };
                let recording = Recording {
                    stamp: &stamp,
                    ..LIVE
                };
                for between in [PULL, PUSH] {
                    let at = format!("{between} {off} at {at}");
                    // Without its first sample a recording may begin later than the other.
                    let told = check(&at, recording, between, 1, 1e-3);
                    assert_eq!(told.len(), 1, "{at}: {told:?}");
                    assert!(
                        told[0].contains(&format!("'S{id}'")) && told[0].contains("dropped"),
                        "{told:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn another_clock_is_placed_and_told() {
    type Case<'a> = (&'a str, &'a dyn Fn(f64) -> f64, &'a str);
    let cases: [Case; 5] = [
        ("since 1970", &|t| t + 1.7e9, "another clock"),
        ("milliseconds", &|t| (t + 1.7e9) * 1e3, "1000 to the second"),
        ("of the device", &|t| t - 990.0, "another clock"),
        (
            "a step",
            &|t| if t < 1020.0 { t } else { t + 2e5 },
            "sample",
        ),
        (
            "a step back",
            &|t| if t < 1020.0 { t } else { t - 30.0 },
            "sample",
        ),
    ];
    for (name, clock, word) in cases {
        for id in [1, 2] {
            let stamp = |stream: u32, _: usize, t: f64| if stream == id { clock(t) } else { t };
            let recording = Recording {
                stamp: &stamp,
                ..LIVE
            };
            // Time zero is the earliest: where one stream is placed half a second early, the
            // other is half a second late.
            for between in [PULL, PUSH] {
                let at = format!("{between} {name}");
                let told = check(&at, recording, between, 0, 0.3);
                assert_eq!(told.len(), 1, "{at}: {told:?}");
                assert!(told[0].contains(word), "{at}: {told:?}");
            }
        }
    }
}

/// Push mode: what stands further behind than what waits is told, and nothing is lost.
#[test]
fn a_stream_that_stands_too_far_behind_is_played_late_and_told() {
    for (block, chunk) in [(150, 1), (300, 10), (100, 100)] {
        let recording = Recording {
            block,
            chunk,
            seconds: 300,
            ..LIVE
        };
        let at = format!("{block} {chunk}");
        let told = check(&at, recording, PUSH, 0, 1e-6);
        assert_eq!(told.len(), 1, "{at}: {told:?}");
        for want in ["'S2'", "behind", "expected at most 60 s", "filesrc"] {
            assert!(told[0].contains(want), "{want}: {told:?}");
        }
    }
}

/// Push mode: others do not wait for ever for a sensor that starts late, stops or pauses, and
/// nothing is told.
#[test]
fn a_silent_sensor_holds_nothing_up() {
    type There = fn(f64) -> bool;
    let cases: [(&str, There); 4] = [
        ("stops", |t| t < 1010.0),
        ("starts late", |t| t > 1150.0),
        ("pauses", |t| !(1020.0..1130.0).contains(&t)),
        ("sends nothing", |_| false),
    ];
    for (name, there) in cases {
        let mut xdf = Xdf::new();
        for (id, rate) in STREAMS {
            xdf.stream(id, &format!("S{id}"), 1, "float32", rate as f64);
        }
        for second in 0..200 {
            for (id, rate) in STREAMS {
                if second % 5 == 0 {
                    xdf.offset(id, 1000.0 + f64::from(second), 0.0);
                }
                let times = (0..rate).map(|n| 1000.0 + f64::from(second) + n as f64 / rate as f64);
                let samples: Vec<_> = times
                    .filter(|t| id == 1 || there(*t))
                    .map(|t| (t, (t - 1000.0) as f32))
                    .collect();
                if !samples.is_empty() {
                    xdf.floats(id, &samples);
                }
            }
        }
        let xdf = file(&xdf);
        let player = Player::new(xdf.path(), PUSH, "fakesink sync=false async=false");
        let told = player.play().expect("played");
        assert_eq!(told, Vec::<String>::new(), "{name}");
        let tracks = player.tracks.take();
        assert_eq!(tracks["S1"].floats().len(), 200 * 8, "{name}");
        for track in tracks.values() {
            for (t, v) in track.times(4).into_iter().zip(track.floats()) {
                assert!((t - f64::from(v)).abs() < 1e-4, "{name}: {t} {v}");
            }
        }
    }
}

/// Without clock offsets nothing tells another clock but that a stream lies alone.
#[test]
fn a_stream_that_shares_no_time_with_the_others_is_told() {
    for (off, word) in [(1.7e9, "after"), (-990.0, "before"), (0.0, "")] {
        let mut xdf = Xdf::new();
        for id in 1..=3 {
            xdf.stream(id, &format!("S{id}"), 1, "float32", 8.0);
            let of = if id == 2 { off } else { 0.0 };
            let samples: Vec<_> = (0..240)
                .map(|n| (1000.0 + of + f64::from(n) / 8.0, n as f32))
                .collect();
            xdf.floats(id, &samples);
        }
        let xdf = file(&xdf);
        let player = Player::new(xdf.path(), PUSH, "fakesink sync=false async=false");
        let told = player.play().expect("played");
        assert_eq!(told.len(), usize::from(off != 0.0), "{off}: {told:?}");
        assert!(
            told.iter()
                .all(|t| t.contains("'S2'") && t.contains("left out")),
            "{told:?}"
        );
        let tracks = player.tracks.take();
        assert_eq!(tracks["S3"].floats().len(), 240, "{off}");
        assert!(
            tracks["S1"]
                .gaps
                .iter()
                .all(|g| g.0 + g.1 < 100_000_000_000),
            "{off}"
        );

        let player = Player::new(xdf.path(), PULL, "fakesink sync=false async=false");
        let told = player.play().expect("played");
        assert_eq!(told.len(), usize::from(off != 0.0), "{off}: {told:?}");
        for told in told {
            for want in ["'S2'", word, "share no time", "expected", "LabRecorder"] {
                let told = told.replace("Expected", "expected");
                assert!(told.contains(want), "{want}: {told}");
            }
            assert!(!told.contains("'S1'"), "{told}");
        }
        let tracks = player.tracks.take();
        assert!(tracks.values().all(|t| t.floats().len() == 240), "{off}");
    }
}
