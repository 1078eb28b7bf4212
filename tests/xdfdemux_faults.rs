// SPDX-License-Identifier: MPL-2.0
//! xdfdemux on recordings whose order or timestamps are wrong.

mod lsl_support;
#[path = "xdf_support/player.rs"]
mod player;
mod xdf_support;

use gst::prelude::*;
use player::{Player, file};
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
    stamp: &'a dyn Fn(u32, usize, f64) -> f64,
}

const STREAMS: [(u32, usize); 2] = [(1, 8), (2, 128)];

impl Recording<'_> {
    fn write(&self) -> Xdf {
        let mut xdf = Xdf::new();
        for (id, rate) in STREAMS {
            xdf.stream(id, &format!("S{id}"), 1, "float32", rate as f64);
        }
        for block in (0..SECONDS).step_by(self.block) {
            for (id, rate) in STREAMS {
                let end = SECONDS.min(block + self.block);
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
fn play(recording: Recording) -> ([Vec<(f64, f32)>; 2], Vec<String>) {
    let xdf = file(&recording.write());
    let player = Player::new(xdf.path(), "", "fakesink sync=false async=false");
    let told = player.play().expect("played to the end");
    let mut tracks = player.tracks.take();
    let pair = |id| {
        let track = tracks.remove(&format!("S{id}")).expect("the stream");
        track.times(4).into_iter().zip(track.floats()).collect()
    };
    ([1, 2].map(pair), told)
}

fn check(name: &str, recording: Recording, lost: usize, error: f64) -> Vec<String> {
    let (streams, told) = play(recording);
    for (samples, (id, rate)) in streams.iter().zip(STREAMS) {
        let missing = SECONDS * rate - samples.len();
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
            let told = check(&format!("{block} {chunk}"), recording, 0, 1e-6);
            assert_eq!(told, Vec::<String>::new(), "{block} {chunk} {offsets}");
        }
    }
}

/// The queues hold a second; one stream must not fill its queue before the other comes.
#[test]
fn no_stream_runs_ahead_of_the_other() {
    lsl_support::init();
    for (block, chunk) in [(SECONDS, 1), (SECONDS, SECONDS)] {
        let recording = Recording {
            block,
            chunk,
            ..LIVE
        };
        let xdf = file(&recording.write());
        let pipeline = gst::parse::launch(&format!(
            "filesrc location={} ! xdfdemux name=x  x.stream_0 ! queue name=a ! fakesink name=s \
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
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let pts = info.buffer().and_then(|b| b.pts()).expect("a time");
                let begun = std::time::Instant::now();
                loop {
                    let mut all = reached.lock().expect("times");
                    all[i] = all[i].max(pts.mseconds());
                    let other = all[1 - i];
                    drop(all);
                    if other + 1500 >= pts.mseconds()
                        || other + 1500 >= 1000 * SECONDS as u64
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
        assert!(ended, "{block} {chunk}: stood still");
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
                // Without its first sample a recording may begin later than the other.
                let told = check(&format!("{off} at {at}"), recording, 1, 1e-3);
                assert_eq!(told.len(), 1, "{off} at {at}: {told:?}");
                assert!(
                    told[0].contains(&format!("'S{id}'")) && told[0].contains("dropped"),
                    "{told:?}"
                );
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
            let told = check(name, recording, 0, 0.3);
            assert_eq!(told.len(), 1, "{name}: {told:?}");
            assert!(told[0].contains(word), "{name}: {told:?}");
        }
    }
}
