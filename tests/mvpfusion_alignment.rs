// SPDX-License-Identifier: MPL-2.0
//! mvpfusion tells of inputs that do not lie at one time, and of nothing else.

mod fusion_support;

use fusion_support::*;
use gst::prelude::*;
use gstmvp::EmotionMeta;
use std::time::{Duration, Instant};

const TOLD: &str = "mvp-misaligned";
const OVER: &str = "mvp-aligned";

/// Both branches can be sought; frames 10 a second.
const SOUGHT: &str = "videotestsrc name=video num-buffers=400 ! video/x-raw,width=32,height=32,framerate=10/1 \
     ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink sync=false \
     audiotestsrc name=eda samplesperbuffer=8 ! audio/x-raw,format=F32LE,channels=1,rate=64 ! f.eda";

/// The same, and a sensor that is fed.
const FED: &str = "videotestsrc name=video num-buffers=400 ! video/x-raw,width=32,height=32,framerate=10/1 \
     ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink sync=false \
     appsrc name=eda ! f.eda";

/// Whether there is a sample, by its second.
type There = fn(f64) -> bool;
/// How late a sample comes, by the second at which it does.
type Late = fn(f64) -> Option<f64>;

/// Pad, reason and offset in seconds of each message `name`.
fn found(run: &Run, name: &str) -> Vec<(String, String, f64)> {
    let of = run.messages.iter().filter(|m| m.name() == name);
    of.map(|m| {
        let text = |field| m.get::<String>(field).expect("a text");
        let offset = m.get::<i64>("offset").expect("an offset") as f64 / 1e9;
        (text("pad"), text("reason"), offset)
    })
    .collect()
}

#[track_caller]
fn tells(run: &Run, pad: &str, reason: &str, offset: f64, within: f64) {
    let told = found(run, TOLD);
    assert_eq!(told.len(), 1, "{told:?}, {:?}", run.warnings);
    assert_eq!((&*told[0].0, &*told[0].1), (pad, reason));
    assert!((told[0].2 - offset).abs() <= within, "{told:?}");
    let warnings = run.warnings.iter();
    let warnings: Vec<_> = warnings.filter(|w| w.contains("at one time")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let named = match pad {
        "sink" => "the frames".into(),
        pad => format!("pad {pad}"),
    };
    let by = match within < 1.0 {
        true => format!("{:.0}", offset.abs()),
        false => String::new(),
    };
    for want in [&named, &by, "expected", ". "] {
        assert!(warnings[0].contains(want), "{want}: {warnings:?}");
    }
    let stats = run.stats.as_ref().expect("stats");
    assert_eq!(stats.get::<u64>("misaligned"), Ok(1));
}

#[track_caller]
fn tells_nothing(run: &Run, at: &str) {
    assert_eq!(run.error, None, "{at}");
    assert_eq!(
        run.messages
            .iter()
            // How good a sensor is, is told by itself.
            .filter(|m| m.name() != "mvp-signal")
            .map(|m| m.to_string())
            .collect::<Vec<_>>(),
        Vec::<String>::new(),
        "{at}"
    );
    // Tones are no skin conductance, which is told by itself.
    let others = run.warnings.iter();
    let others: Vec<_> = others.filter(|w| !w.contains("skin conductance")).collect();
    assert_eq!(others, Vec::<&String>::new(), "{at}");
}

fn src(pipeline: &gst::Pipeline, element: &str) -> gst::Pad {
    let element = pipeline.by_name(element).expect(element);
    element.static_pad("src").expect("src")
}

/// Changes the segment events that leave an element.
fn change_segments(
    pad: &gst::Pad,
    change: impl Fn(&mut gst::FormattedSegment<gst::ClockTime>) + Send + Sync + 'static,
) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &mut info.data
            && let gst::EventView::Segment(s) = event.view()
            && let Some(segment) = s.segment().downcast_ref::<gst::ClockTime>()
        {
            let mut segment = segment.clone();
            change(&mut segment);
            *event = gst::event::Segment::builder(&segment)
                .seqnum(s.seqnum())
                .build();
        }
        gst::PadProbeReturn::Ok
    });
}

#[test]
fn a_branch_at_another_stream_time_is_told() {
    if !ready("a_branch_at_another_stream_time_is_told") {
        return;
    }
    let seconds = |s: i64| s * SECOND as i64;
    // An offset in running time: the moment of the recording comes so much later.
    let offset = |branch: &'static str, by: i64| {
        let pipeline = launch(SOUGHT);
        src(&pipeline, branch).set_offset(seconds(by));
        play(&pipeline)
    };
    tells(&offset("eda", 20), "eda", "stream-time", -20.0, 0.01);
    tells(&offset("video", 5), "eda", "stream-time", 5.0, 0.01);
    // Running times match, and the stream times do not.
    let pipeline = launch(SOUGHT);
    change_segments(&src(&pipeline, "eda"), |s| {
        s.set_time(gst::ClockTime::from_seconds(7))
    });
    tells(&play(&pipeline), "eda", "stream-time", 7.0, 0.01);
    let pipeline = launch(SOUGHT);
    tells_nothing(&play(&pipeline), "nothing changed");
}

/// A seek that reaches one branch alone, then one of the whole pipeline.
#[test]
fn a_seek_of_one_branch_is_told_and_so_is_its_end() {
    if !ready("a_seek_of_one_branch_is_told_and_so_is_its_end") {
        return;
    }
    for (branch, flush, offset) in [
        ("eda", true, 15.0),
        ("eda", false, 15.0),
        ("video", true, -15.0),
    ] {
        let at = format!("{branch}, flush {flush}");
        let pipeline = launch(&SOUGHT.replace("num-buffers=400", ""));
        pipeline.set_state(gst::State::Paused).expect("paused");
        let (result, ..) = pipeline.state(gst::ClockTime::from_seconds(20));
        result.expect("paused");
        let accurate = gst::SeekFlags::ACCURATE;
        let flags = match flush {
            true => gst::SeekFlags::FLUSH | accurate,
            false => accurate,
        };
        let to = gst::ClockTime::from_seconds(15);
        let none = (gst::SeekType::None, gst::ClockTime::NONE);
        let seek = gst::event::Seek::new(1.0, flags, gst::SeekType::Set, to, none.0, none.1);
        // Without a flush it waits until the branch goes on.
        if !flush {
            pipeline.set_state(gst::State::Playing).expect("playing");
        }
        assert!(src(&pipeline, branch).send_event(seek), "{at}");
        pipeline.set_state(gst::State::Playing).expect("playing");
        let mut run = until(&pipeline, TOLD);
        run.stats = pipeline.by_name("f").map(|f| f.property("stats"));
        let within = match flush {
            true => 0.01,
            // From where the branch was.
            false => 600.0,
        };
        tells(&run, "eda", "stream-time", offset, within);
        // All together.
        let flags = gst::SeekFlags::FLUSH | accurate;
        let to = gst::ClockTime::from_seconds(5);
        pipeline.seek_simple(flags, to).expect("a seek");
        let run = until(&pipeline, OVER);
        pipeline.set_state(gst::State::Null).expect("null");
        let over = found(&run, OVER);
        assert_eq!(over.len(), 1, "{at}: {over:?}");
        assert_eq!(found(&run, TOLD), [], "{at}");
    }
}

/// What is said until the message `name`.
fn until(pipeline: &gst::Pipeline, name: &str) -> Run {
    let mut run = Run::default();
    let bus = pipeline.bus().expect("bus");
    while run.messages.iter().all(|m| m.name() != name) {
        let message = bus.timed_pop(gst::ClockTime::from_seconds(30));
        match message.expect(name).view() {
            gst::MessageView::Error(e) => panic!("{e:?}"),
            gst::MessageView::Warning(w) => run.warnings.push(w.error().to_string()),
            gst::MessageView::Element(e) => {
                run.messages.extend(e.structure().map(|s| s.to_owned()))
            }
            _ => {}
        }
    }
    run
}

fn play_on(pipeline: &gst::Pipeline) -> Run {
    pipeline.set_state(gst::State::Playing).expect("playing");
    follow(pipeline)
}

#[test]
fn rates_and_loops_are_no_matter() {
    if !ready("rates_and_loops_are_no_matter") {
        return;
    }
    for rate in [0.5, 2.0] {
        let pipeline = launch(SOUGHT);
        pipeline.set_state(gst::State::Paused).expect("paused");
        let _ = pipeline.state(gst::ClockTime::from_seconds(20));
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        let (set, none) = (gst::SeekType::Set, gst::SeekType::None);
        let to = gst::ClockTime::from_seconds(12);
        pipeline
            .seek(rate, flags, set, to, none, gst::ClockTime::NONE)
            .expect("a seek");
        let run = play_on(&pipeline);
        pipeline.set_state(gst::State::Null).expect("null");
        tells_nothing(&run, &format!("rate {rate}"));
    }
}

/// A stream of `rate` Hz whose samples exist where `there` (seconds) says so, in buffers of
/// one sample, then EOS.
fn sensor(pipeline: &gst::Pipeline, rate: u64, seconds: u64, there: There) {
    let src = pipeline.by_name("eda").and_downcast::<gst_app::AppSrc>();
    let src = src.expect("appsrc");
    src.set_format(gst::Format::Time);
    src.set_max_bytes(0);
    let caps = format!(
        "application/x-lsl,format=F32LE,layout=interleaved,channels=1,rate={}",
        if rate > 1 {
            format!("{rate}/1")
        } else {
            "0/1".into()
        }
    );
    src.set_caps(Some(&caps.parse().expect("caps")));
    for i in 0..rate * seconds {
        let t = i as f64 / rate as f64;
        if there(t) {
            let mut buffer = gst::Buffer::from_mut_slice(skin(t).to_le_bytes());
            let b = buffer.get_mut().expect("own buffer");
            b.set_pts(gst::ClockTime::from_nseconds(i * SECOND / rate));
            b.set_duration(gst::ClockTime::from_nseconds(SECOND / rate));
            src.push_buffer(buffer).expect("push");
        }
    }
    src.end_of_stream().expect("eos");
}

#[test]
fn what_is_usual_in_a_recording_is_not_told() {
    if !ready("what_is_usual_in_a_recording_is_not_told") {
        return;
    }
    let cases: [(&str, u64, u64, There); 6] = [
        ("late start", 8, 60, |t| t > 20.0),
        ("lost", 8, 60, |t| t < 15.0),
        ("gap", 8, 60, |t| !(10.0..25.0).contains(&t)),
        ("sparse", 1, 60, |t| t % 13.0 == 0.0),
        ("longer than the film", 8, 90, |_| true),
        ("shorter", 8, 20, |_| true),
    ];
    for (name, rate, seconds, there) in cases {
        let pipeline = launch(FED);
        sensor(&pipeline, rate, seconds, there);
        let run = play(&pipeline);
        tells_nothing(&run, name);
        assert_eq!(run.results.len(), 39, "{name}");
    }
}

/// Timestamps that an element before has made to count fewer seconds, or more.
#[test]
fn the_applied_rate_counts() {
    if !ready("the_applied_rate_counts") {
        return;
    }
    let run = |branches: &[&str], applied: f64| {
        let pipeline = launch(FED);
        sensor(&pipeline, 8, 60, |_| true);
        for branch in branches {
            let pad = src(&pipeline, branch);
            change_segments(&pad, move |s| s.set_applied_rate(applied));
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let buffer = info.buffer_mut().expect("a buffer").make_mut();
                let less = |t: gst::ClockTime| {
                    gst::ClockTime::from_nseconds((t.nseconds() as f64 / applied) as u64)
                };
                buffer.set_pts(buffer.pts().map(less));
                buffer.set_duration(buffer.duration().map(less));
                gst::PadProbeReturn::Ok
            });
        }
        let run = play(&pipeline);
        tells_nothing(&run, &format!("{branches:?} at {applied}"));
        let of = run.results.iter().map(|r| {
            let number = |field: &str| r.get::<f64>(field).expect("a number");
            let end: u64 = r.get("window-end").expect("an end");
            (end, number("coverage-eda"), number("arousal"))
        });
        of.collect::<Vec<_>>()
    };
    let want = run(&[], 1.0);
    assert_eq!(want.len(), 39);
    assert!(want.last().expect("results").1 > 0.4, "{want:?}");
    for branches in [&["video"][..], &["eda"], &["video", "eda"]] {
        for applied in [2.0, 0.5] {
            assert_eq!(run(branches, applied), want, "{branches:?} at {applied}");
        }
    }
}

/// Live: what a sensor sends, each 100 ms or where `late` (by the clock, s) says so.
fn live(late: Late) -> (Run, Vec<Option<EmotionMeta>>) {
    live_with("", late)
}

fn live_with(fusion: &str, late: Late) -> (Run, Vec<Option<EmotionMeta>>) {
    let pipeline = launch(&format!(
        "videotestsrc name=video is-live=true num-buffers=120 ! video/x-raw,width=32,height=32,framerate=10/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu {fusion} ! fakesink name=sink \
         appsrc name=eda is-live=true format=time ! f.eda"
    ));
    let seen = collect(&pipeline, "sink");
    let src = pipeline.by_name("eda").and_downcast::<gst_app::AppSrc>();
    let src = src.expect("appsrc");
    let caps = "application/x-lsl,format=F32LE,layout=interleaved,channels=1,rate=10/1";
    src.set_caps(Some(&caps.parse().expect("caps")));
    let feeder = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(12);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
            let Some(now) = src.current_running_time() else {
                continue;
            };
            let t = now.nseconds() as f64 / 1e9;
            if let Some(late) = late(t).filter(|l| *l < t) {
                let mut buffer = gst::Buffer::from_mut_slice(skin(t).to_le_bytes());
                let pts = gst::ClockTime::from_nseconds(((t - late) * 1e9) as u64);
                let b = buffer.get_mut().expect("own buffer");
                b.set_pts(pts);
                b.set_duration(gst::ClockTime::from_mseconds(100));
                if src.push_buffer(buffer).is_err() {
                    return;
                }
            }
        }
        let _ = src.end_of_stream();
    });
    let run = play(&pipeline);
    feeder.join().expect("feeder");
    let seen = std::mem::take(&mut *seen.lock().expect("list"));
    (run, seen)
}

fn alignment(meta: &EmotionMeta, modality: &str) -> Option<f64> {
    let mut of = meta.alignment.iter();
    let by = of.find(|(name, _)| name == modality)?.1;
    Some(by as f64 / 1e9)
}

#[test]
fn a_sensor_off_the_clock_is_told() {
    if !ready("a_sensor_off_the_clock_is_told") {
        return;
    }
    let cases: [(Late, &str, f64); 4] = [
        (|_| Some(-20.0), "ahead", 20.0),
        (|_| Some(-3.0), "ahead", 3.0),
        (|t| Some(if t > 3.0 { 3.0 } else { 0.0 }), "behind", -3.0),
        // And it comes back.
        (|t| Some(if t < 6.0 { -5.0 } else { 0.0 }), "ahead", 5.0),
    ];
    let runs = cases.map(|(late, reason, offset)| {
        std::thread::spawn(move || {
            let (run, seen) = live(late);
            tells(&run, "eda", reason, offset, 0.5);
            let back = late(9.0) == Some(0.0);
            assert_eq!(found(&run, OVER).len(), usize::from(back), "{offset}");
            let last = seen.last().cloned().flatten().expect("a result");
            let by = alignment(&last, "eda").expect("alignment");
            let want = if back { 0.0 } else { offset };
            // The newest sample stays the newest.
            assert!(back || (by - want).abs() < 0.6, "{by} for {want}");
            let stats = run.stats.expect("stats");
            let by = stats.get::<i64>("alignment-eda").expect("alignment");
            assert!(back || (by as f64 / 1e9 - want).abs() < 0.6, "{by}");
        })
    });
    runs.into_iter().for_each(|r| r.join().expect("a run"));
}

#[test]
fn what_is_usual_live_is_not_told() {
    if !ready("what_is_usual_live_is_not_told") {
        return;
    }
    let cases: [(&str, Late); 6] = [
        ("well", |_| Some(0.0)),
        ("late start", |t| (t > 7.0).then_some(0.0)),
        ("lost", |t| (t < 3.0).then_some(0.0)),
        ("gap", |t| (!(3.0..7.0).contains(&t)).then_some(0.0)),
        ("sparse", |t| (t % 3.0 < 0.1).then_some(0.0)),
        ("one stray", |t| {
            Some(if (5.0..5.1).contains(&t) { -60.0 } else { 0.1 })
        }),
    ];
    let runs = cases.map(|(name, late)| {
        std::thread::spawn(move || {
            let (run, seen) = live(late);
            tells_nothing(&run, name);
            if name == "well" {
                let metas = seen.iter().flatten();
                let by = metas.map(|m| alignment(m, "eda").expect("alignment"));
                let far = by.filter(|by| by.abs() > 0.5).count();
                assert!(far < 10, "{far} frames of {}", seen.len());
            }
        })
    });
    runs.into_iter().for_each(|r| r.join().expect("a run"));
}

/// A sensor that is late by more than `settle-time`: the remedy that the warning names helps.
#[test]
fn the_settle_time_that_is_named_suffices() {
    if !ready("the_settle_time_that_is_named_suffices") {
        return;
    }
    let late: Late = |_| Some(1.7);
    let (run, _) = live(late);
    tells(&run, "eda", "behind", -1.7, 0.4);
    let told = run.warnings.join("\n");
    let named = told.split("settle-time=").nth(1).expect("a value");
    let named = named.split(' ').next().expect("a value");
    let (run, _) = live_with(&format!("settle-time={named}"), late);
    tells_nothing(&run, named);
}
