// SPDX-License-Identifier: MPL-2.0
//! Times of mvpfusion: what a frame waits for, and timestamps that are wrong.

mod fusion_support;

use fusion_support::*;
use gst::prelude::*;
use gstmvp::EmotionMeta;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[test]
fn physiology_that_ends_early_holds_nothing() {
    if !ready("physiology_that_ends_early_holds_nothing") {
        return;
    }
    let pipeline = launch(&WHOLE.replace("2400", "600"));
    let feeds = [
        feed(&pipeline, "ecg", 256, 3, heart),
        feed(&pipeline, "eda", 4, 30, skin),
    ];
    let seen = collect(&pipeline, "sink");
    assert_eq!(play(&pipeline).error, None);
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    assert_eq!(seen.lock().expect("list").len(), 600);
}

#[test]
fn a_pad_that_is_not_linked_holds_nothing() {
    if !ready("a_pad_that_is_not_linked_holds_nothing") {
        return;
    }
    let pipeline = launch(
        "videotestsrc num-buffers=90 ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink",
    );
    let f = pipeline.by_name("f").expect("f");
    let pad = f.request_pad_simple("ecg").expect("pad");
    assert_eq!(play(&pipeline).results.len(), 2);
    f.release_request_pad(&pad);
}

#[test]
fn live_video_does_not_wait_for_silent_physiology() {
    if !ready("live_video_does_not_wait_for_silent_physiology") {
        return;
    }
    // The appsrc is linked and says nothing at all.
    let pipeline = launch(
        "videotestsrc is-live=true num-buffers=90 ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu settle-time=100000000 \
         ! fakesink name=sink sync=false  appsrc name=eda is-live=true ! f.eda",
    );
    let seen = collect(&pipeline, "sink");
    let begun = Instant::now();
    let run = play(&pipeline);
    assert_eq!(run.error, None);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    let seen = seen.lock().expect("list");
    assert_eq!(seen.len(), 90);
    assert_eq!(run.results.len(), 2);
    let last = seen.last().cloned().flatten().expect("a result");
    assert_eq!(last.label, "unknown");
    assert!(last.age.nseconds() >= 100_000_000);
}

#[test]
fn latency_is_that_of_the_video_alone() {
    init();
    let line = |fusion: &str| {
        let pipeline = launch(&format!(
            "videotestsrc is-live=true ! video/x-raw,framerate=30/1 {fusion} ! fakesink name=sink"
        ));
        pipeline.set_state(gst::State::Playing).expect("playing");
        let (result, ..) = pipeline.state(gst::ClockTime::from_seconds(10));
        result.expect("playing");
        let mut query = gst::query::Latency::new();
        assert!(pipeline.by_name("sink").expect("sink").query(&mut query));
        pipeline.set_state(gst::State::Null).expect("null");
        query.result()
    };
    if ready("latency_is_that_of_the_video_alone") {
        let with = "! mvpfusion name=f model=MODEL execution-provider=cpu \
                    appsrc is-live=true min-latency=2000000000 ! f.eda f.";
        assert_eq!(line(""), line(with));
    }
}

/// Gives the `n`-th frame that leaves `element` another time, where `change` (ns) says so.
fn restamp(
    pipeline: &gst::Pipeline,
    element: &str,
    change: impl Fn(u64, u64) -> u64 + Send + Sync + 'static,
) {
    let pad = pipeline
        .by_name(element)
        .and_then(|e| e.static_pad("src"))
        .expect("pad");
    let count = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        if let Some(buffer) = info.buffer_mut() {
            let time = buffer.pts().expect("stamped").nseconds();
            let time = gst::ClockTime::from_nseconds(change(n, time));
            buffer.make_mut().set_pts(time);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Frames 10 a second, the face on every sixth.
const TENTHS: &str = "videotestsrc name=video num-buffers=300 ! video/x-raw,width=64,height=48,framerate=10/1 \
     ! identity name=stamps ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink \
     appsrc name=ecg ! f.ecg  appsrc name=eda ! f.eda";

/// What a run with other times says, and the result on each frame.
fn restamped(
    change: impl Fn(u64, u64) -> u64 + Send + Sync + 'static,
) -> (Run, Vec<Option<EmotionMeta>>) {
    let pipeline = launch(TENTHS);
    let feeds = [
        feed(&pipeline, "ecg", 256, 40, heart),
        feed(&pipeline, "eda", 4, 40, skin),
    ];
    restamp(&pipeline, "stamps", change);
    face(&pipeline, "stamps");
    let seen = collect(&pipeline, "sink");
    let run = play(&pipeline);
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    assert_eq!(run.error, None);
    let seen = std::mem::take(&mut *seen.lock().expect("list"));
    (run, seen)
}

#[test]
fn one_stray_time_changes_its_own_frame_alone() {
    if !ready("one_stray_time_changes_its_own_frame_alone") {
        return;
    }
    let (plain, all) = restamped(|_, t| t);
    assert_eq!((all.len(), plain.results.len()), (300, 29));
    for (frame, by) in [
        (61, 100.0),
        (61, 3.0),
        (125, -8.0),
        (125, 1.0e9),
        (121, -12.1),
        // Those that carry the units of a face.
        (0, 50.0),
        (126, 60.0),
    ] {
        let (run, seen) = restamped(move |n, t| match n == frame {
            true => (t as f64 + by * 1e9).round() as u64,
            false => t,
        });
        let at = format!("frame {frame} by {by} s");
        assert_eq!(run.warnings, Vec::<String>::new(), "{at}");
        assert_eq!(seen.len(), 300, "{at}");
        for (i, (seen, want)) in seen.iter().zip(&all).enumerate() {
            if frame % 6 == 0 {
                // Its face is left out, and the numbers show it.
                let ends = |m: &Option<EmotionMeta>| m.as_ref().map(|m| (m.window_end, m.sequence));
                assert_eq!(ends(seen), ends(want), "{at}: frame {i}");
            } else if i as u64 != frame {
                assert_eq!(seen, want, "{at}: frame {i}");
            }
        }
        let ends = |run: &Run| {
            let ends = run.results.iter().map(|s| s.get::<u64>("window-end"));
            ends.collect::<Vec<_>>()
        };
        assert_eq!(ends(&run), ends(&plain), "{at}");
    }
}

#[test]
fn a_real_jump_of_the_video_is_told_and_the_answers_go_on() {
    if !ready("a_real_jump_of_the_video_is_told_and_the_answers_go_on") {
        return;
    }
    for by in [100i64, -8, 3, -20] {
        let (run, seen) = restamped(move |n, t| match n >= 215 {
            true => t.saturating_add_signed(by * SECOND as i64),
            false => t,
        });
        let told = run.warnings.join("\n");
        assert_eq!(run.warnings.len(), usize::from(by != 3), "{by}: {told}");
        assert!(
            by == 3 || told.contains("jumped from 0:00:21.4"),
            "{by}: {told}"
        );
        for (i, meta) in seen.iter().enumerate().skip(235) {
            let time = (i as u64 * SECOND / 10).saturating_add_signed(by * SECOND as i64);
            let meta = meta.as_ref().expect("a result");
            let end = meta.window_end.nseconds();
            assert_eq!(end, time / SECOND * SECOND, "{by}: frame {i}");
            assert_eq!(meta.age.nseconds(), time - end);
        }
        // Body and face of the new time: the face of 8 s, one analysis in 0.6 s.
        let last = seen.last().cloned().flatten().expect("a result");
        let coverage = |i: usize| last.modalities[i].coverage;
        assert!(coverage(0) > 0.03, "{by}: {last:?}");
        assert_eq!(coverage(1) > 0.05, by != 100, "{by}: {last:?}");
    }
}

/// Live: the pipeline's clock tells how old an answer is, whatever the frames say.
#[test]
fn a_live_answer_is_not_fresh_because_of_a_stray_time() {
    if !ready("a_live_answer_is_not_fresh_because_of_a_stray_time") {
        return;
    }
    type Change = fn(u64, u64) -> u64;
    // Whether answers go on, whether they are fresh at the end, and by how much the frames
    // are ahead of the clock then (s).
    let cases: [(&str, Change, bool, bool, i64); 6] = [
        ("none", |_, t| t, true, true, 0),
        (
            "one ahead",
            |n, t| t + if n == 40 { 100 * SECOND } else { 0 },
            true,
            true,
            0,
        ),
        (
            "one behind",
            |n, t| t - if n == 40 { 3 * SECOND } else { 0 },
            true,
            true,
            0,
        ),
        (
            "ahead for good",
            |n, t| t + if n >= 40 { 100 * SECOND } else { 0 },
            true,
            true,
            100,
        ),
        (
            "behind for good",
            |n, t| t - if n >= 60 { 5 * SECOND } else { 0 },
            true,
            false,
            -5,
        ),
        (
            "standing",
            |n, t| if n >= 40 { 4 * SECOND } else { t },
            false,
            false,
            0,
        ),
    ];
    let runs = cases.map(|(name, change, goes_on, fresh, by)| {
        std::thread::spawn(move || {
            let pipeline = launch(
                "videotestsrc name=video is-live=true num-buffers=100 \
                 ! video/x-raw,width=64,height=48,framerate=10/1 ! identity name=stamps \
                 ! mvpfusion model=MODEL execution-provider=cpu ! fakesink name=sink sync=false",
            );
            restamp(&pipeline, "stamps", change);
            face(&pipeline, "stamps");
            let seen = collect(&pipeline, "sink");
            let run = play(&pipeline);
            let seen = seen.lock().expect("list");
            let last = seen.last().cloned().flatten().expect("a result");
            let at = format!("{name}: {last:?}");
            assert_eq!(run.error, None, "{at}");
            assert_eq!(
                run.warnings.len(),
                usize::from(by != 0),
                "{at}: {:?}",
                run.warnings
            );
            assert_eq!(!last.stale, fresh, "{at}");
            let end = last.window_end.nseconds() as f64 / 1e9;
            let apart = 9.9 + by as f64 - end;
            assert_eq!(apart < 3.0, goes_on, "{at}: {apart} s");
            if !fresh {
                assert!(last.age > gst::ClockTime::from_seconds(4), "{at}");
            }
        })
    });
    for run in runs {
        run.join().expect("a run");
    }
}

/// Whether the next sample has come already is chance; no answer may depend on it.
#[test]
fn a_frame_waits_for_the_sample_that_settles_its_window() {
    if !ready("a_frame_waits_for_the_sample_that_settles_its_window") {
        return;
    }
    let pipeline = launch(
        "videotestsrc ! video/x-raw,width=64,height=48,framerate=10/1 \
         ! mvpfusion name=f sync=wait model=MODEL execution-provider=cpu ! fakesink name=sink \
         appsrc name=eda format=time ! f.eda",
    );
    let seen = collect(&pipeline, "sink");
    let src = pipeline.by_name("eda").and_downcast::<gst_app::AppSrc>();
    let src = src.expect("appsrc");
    src.set_caps(Some(
        &gst::Caps::builder("application/x-lsl")
            .field("format", "F32LE")
            .field("layout", "interleaved")
            .field("channels", 1)
            .field("rate", gst::Fraction::new(2, 1))
            .build(),
    ));
    let push = |ms: u64| {
        let mut buffer = gst::Buffer::from_mut_slice(skin(ms as f64 / 1e3).to_le_bytes());
        let b = buffer.get_mut().expect("own buffer");
        b.set_pts(gst::ClockTime::from_mseconds(ms));
        b.set_duration(gst::ClockTime::from_mseconds(500));
        src.push_buffer(buffer).expect("push");
    };
    let frames = |want: usize| {
        let deadline = Instant::now() + Duration::from_secs(20);
        let count = || seen.lock().expect("list").len();
        while count() < want && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(count(), want);
    };
    pipeline.set_state(gst::State::Playing).expect("playing");
    // Complete up to 1.1 s, but the grid point at 0.75 s lies between 0.6 and 1.1 s.
    push(100);
    push(600);
    frames(10);
    push(1100);
    frames(20);
    // A gap that is told settles the window as well, once it is too long to bridge.
    let gap = |ms: u64| {
        let start = gst::ClockTime::from_mseconds(1600);
        let end = gst::ClockTime::from_mseconds(ms);
        let gap = gst::event::Gap::builder(start)
            .duration(end - start)
            .build();
        src.static_pad("src").expect("pad").push_event(gap)
    };
    assert!(gap(2050));
    frames(20);
    assert!(gap(2150));
    frames(30);
    pipeline.set_state(gst::State::Null).expect("null");
}

/// A file may be read to its end before the first frame comes.
#[test]
fn physiology_does_not_run_away_from_the_video() {
    if !ready("physiology_does_not_run_away_from_the_video") {
        return;
    }
    let pipeline = launch(&WHOLE.replace("2400", "150").replace(
        "! mvpfusion",
        "! identity sleep-time=0 name=door ! mvpfusion",
    ));
    let door = pipeline.by_name("door").and_then(|d| d.static_pad("src"));
    // The first frame is late.
    let first = AtomicU64::new(0);
    door.expect("pad")
        .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if first.fetch_add(1, Ordering::Relaxed) == 0 {
                std::thread::sleep(Duration::from_millis(700));
            }
            gst::PadProbeReturn::Ok
        });
    let feeds = [
        feed(&pipeline, "ecg", 64, 300, heart),
        feed(&pipeline, "eda", 4, 300, skin),
    ];
    let run = play(&pipeline);
    feeds.into_iter().for_each(|f| f.join().expect("feeder"));
    assert_eq!((run.error, run.results.len()), (None, 4));
    for result in &run.results {
        for name in ["quality-ecg", "quality-eda"] {
            assert!(result.get::<f64>(name).expect(name) > 0.9, "{result}");
        }
    }
}

#[test]
fn video_that_is_not_in_time_is_told() {
    if !ready("video_that_is_not_in_time_is_told") {
        return;
    }
    let mut h = gst_check::Harness::with_padnames("mvpfusion", Some("sink"), Some("src"));
    h.set_src_caps_str("video/x-raw,format=RGB,width=8,height=8,framerate=30/1");
    let segment = gst::FormattedSegment::<gst::format::Bytes>::new();
    let bus = gst::Bus::new();
    h.element().expect("mvpfusion").set_bus(Some(&bus));
    h.push_event(gst::event::Segment::new(&segment));
    let message = bus
        .pop_filtered(&[gst::MessageType::Error])
        .expect("an error");
    let gst::MessageView::Error(told) = message.view() else {
        panic!("{message:?}")
    };
    assert!(
        told.error().to_string().contains("expected time"),
        "{told:?}"
    );
}
