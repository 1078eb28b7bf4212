// SPDX-License-Identifier: MPL-2.0
//! Seeks of xdfdemux on recordings that are written here.

mod lsl_support;
#[path = "xdf_support/player.rs"]
mod player;
mod xdf_support;

use gst::prelude::*;
use player::*;
use std::time::Duration;

#[test]
fn seeks_find_the_sample() {
    let x = session(120);
    let whole = &play(&x, PULL)["ecg"];
    let path = file(&x);
    let player = paused(path.path());
    let duration = player.pipeline.query_duration::<gst::ClockTime>();
    let ns = duration.expect("a duration").nseconds() as i64;
    assert!((ns - 120 * SECOND as i64).abs() < 100_000, "{ns}");
    for (from, to) in [(100.0, 104.0), (3.5, 4.0), (0.0, 0.5), (47.123, 60.0)] {
        let time = |s: f64| gst::ClockTime::from_nseconds((s * 1e9) as u64);
        player
            .pipeline
            .seek(
                1.0,
                gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
                gst::SeekType::Set,
                time(from),
                gst::SeekType::Set,
                time(to),
            )
            .expect("seek");
        player
            .pipeline
            .set_state(gst::State::Playing)
            .expect("playing");
        assert_eq!(player.wait(), Ok(vec![]));
        let tracks = player.tracks.0.lock().unwrap().clone();
        let ecg = &tracks["stream_0"];
        assert_eq!(
            ecg.segment,
            Some((time(from).nseconds(), time(to).nseconds()))
        );
        let wanted: Vec<f32> = whole
            .floats()
            .into_iter()
            .zip(whole.times(4))
            .filter(|(_, t)| *t + 0.01 > from + 1e-9 && *t < to)
            .map(|(v, _)| v)
            .collect();
        assert_eq!(ecg.floats(), wanted, "{from} to {to}");
        assert!(ecg.buffers[0].2);
        let at = ecg.times(4)[0];
        assert!((at - f64::from(wanted[0]) / 100.0).abs() < 5e-5, "{at}");
        let count = &tracks["stream_1"];
        let n = ((to - from) * 51.2) as i64;
        assert!((count.times(4).len() as i64 - n).abs() <= 2);
        player
            .pipeline
            .set_state(gst::State::Paused)
            .expect("paused");
    }
}

fn seek(player: &Player, flags: gst::SeekFlags, from: u64, to: u64) -> bool {
    let time = gst::ClockTime::from_seconds;
    let (from, to) = (time(from), time(to));
    player
        .pipeline
        .seek(1.0, flags, gst::SeekType::Set, from, gst::SeekType::Set, to)
        .is_ok()
}

#[test]
fn segments_follow_each_other_without_a_flush() {
    let path = file(&session(120));
    let player = paused(path.path());
    let bus = player.pipeline.bus().expect("bus");
    let pad = player.pipeline.by_name("x").expect("x");
    let pad = pad.static_pad("stream_0").expect("stream_0");
    let segment = gst::SeekFlags::SEGMENT | gst::SeekFlags::ACCURATE;
    let mut before = 0;
    for (n, (from, to)) in [(10, 12), (100, 101), (3, 7), (112, 118)]
        .into_iter()
        .enumerate()
    {
        let flush = match n {
            0 => gst::SeekFlags::FLUSH,
            _ => gst::SeekFlags::empty(),
        };
        assert!(seek(&player, segment | flush, from, to), "{from} to {to}");
        let playing = player.pipeline.set_state(gst::State::Playing);
        playing.expect("playing");
        let done = [gst::MessageType::SegmentDone, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &done);
        match message.expect("the end of the segment").view() {
            gst::MessageView::SegmentDone(done) => {
                let at = gst::ClockTime::from_seconds(to);
                assert_eq!(done.get(), gst::GenericFormattedValue::Time(Some(at)));
            }
            other => panic!("{other:?}"),
        }
        let told = pad
            .sticky_event::<gst::event::Segment>(0)
            .expect("a segment");
        let told = told.segment().downcast_ref::<gst::ClockTime>();
        let told = told.expect("time").clone();
        let second = gst::ClockTime::from_seconds;
        assert_eq!(told.start(), Some(second(from)));
        // Running time goes on where the last segment ended.
        assert_eq!(told.to_running_time(second(from)), Some(second(before)));
        before += to - from;
        let tracks = player.tracks.0.lock().unwrap().clone();
        // A sample that reaches into the segment belongs to it.
        let n = 100 * (to - from);
        let samples = tracks["stream_0"].floats();
        assert!(
            (n..=n + 1).contains(&(samples.len() as u64)),
            "{from}: {}",
            samples.len()
        );
        assert!(
            (samples[0] as u64).abs_diff(100 * from) <= 1,
            "{from}: {}",
            samples[0]
        );
    }
}

#[test]
fn a_seek_that_cannot_be_followed_changes_nothing() {
    let path = file(&session(60));
    let whole = &play(&session(60), PULL)["ecg"];
    let player = paused(path.path());
    let flush = gst::SeekFlags::FLUSH;
    assert!(!seek(&player, flush, 20, 10), "ends before it begins");
    let instant = player.pipeline.seek(
        2.0,
        gst::SeekFlags::INSTANT_RATE_CHANGE,
        gst::SeekType::None,
        gst::ClockTime::NONE,
        gst::SeekType::None,
        gst::ClockTime::NONE,
    );
    assert!(instant.is_err(), "a rate without a segment");
    let backwards = player.pipeline.seek(
        -1.0,
        flush,
        gst::SeekType::Set,
        gst::ClockTime::ZERO,
        gst::SeekType::Set,
        gst::ClockTime::from_seconds(10),
    );
    assert!(backwards.is_err(), "backwards");
    assert_eq!(player.play(), Ok(vec![]));
    assert_eq!(
        player.tracks.0.lock().unwrap()["stream_0"].floats(),
        whole.floats()
    );
    // All is over: what follows must flush.
    assert!(!seek(&player, gst::SeekFlags::empty(), 0, 10));
    assert!(seek(&player, flush, 50, 60));
    assert_eq!(player.wait(), Ok(vec![]));
    let again = player.tracks.0.lock().unwrap()["stream_0"].floats();
    assert_eq!(
        again[again.len() - 900..],
        whole.floats()[whole.floats().len() - 900..]
    );
}

/// A seek holds the state lock of the sink that it goes through; the handler wants it.
#[test]
fn a_seek_while_pads_are_linked_ends() {
    lsl_support::init();
    let path = file(&session(3));
    let line = format!(
        "filesrc location={} ! xdfdemux name=x",
        path.path().display()
    );
    let pipeline = gst::parse::launch(&line)
        .expect("a pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
    let (done, sought) = std::sync::mpsc::channel();
    let (weak, seeks) = (pipeline.downgrade(), std::sync::Mutex::new(Some(done)));
    pipeline
        .by_name("x")
        .expect("x")
        .connect_pad_added(move |_, pad| {
            let Some(pipeline) = weak.upgrade() else {
                return;
            };
            let bin = gst::parse::bin_from_description(SINK, true).expect("a sink");
            pipeline.add(&bin).expect("add");
            pad.link(&bin.static_pad("sink").expect("sink"))
                .expect("link");
            bin.set_state(gst::State::Paused).expect("paused");
            if let Some(done) = seeks.lock().expect("once").take() {
                let pipeline = pipeline.clone();
                std::thread::spawn(move || {
                    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
                    let told = pipeline.seek_simple(flags, gst::ClockTime::SECOND);
                    let _ = done.send(told.is_ok());
                });
                std::thread::sleep(Duration::from_millis(300));
            }
            bin.sync_state_with_parent().expect("state");
        });
    pipeline
        .set_state(gst::State::Playing)
        .expect("playing begins");
    let told = sought.recv_timeout(Duration::from_secs(10));
    assert!(told.is_ok(), "the seek and the handler wait for each other");
    let bus = pipeline.bus().expect("bus");
    let message = bus.timed_pop_filtered(
        gst::ClockTime::from_seconds(10),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert!(message.is_some_and(|m| m.type_() == gst::MessageType::Eos));
    pipeline.set_state(gst::State::Null).expect("null");
}
