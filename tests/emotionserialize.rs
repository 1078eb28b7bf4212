// SPDX-License-Identifier: MPL-2.0
use gst::{ClockTime, prelude::*};
use gst_check::Harness;
use gstmvp::EmotionMeta;
use gstmvp::FaceUnitsMeta;
use gstmvp::meta::EMOTION_META;
use mvp::ModalityState;
use serde_json::Value;
use std::sync::{
    Once,
    atomic::{AtomicU64, Ordering},
};

const CAPS: &str = "video/x-raw,format=I420,width=64,height=48,framerate=25/1";

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin mvp");
    });
}

fn result(sequence: u64) -> EmotionMeta {
    EmotionMeta {
        valence: 1.0 / 3.0,
        arousal: 0.75,
        valence_known: 0.75,
        arousal_known: 0.5,
        valence_now: Some(0.375),
        baseline_progress: 0.875,
        label: "calm".into(),
        confidence: 0.5,
        classes: vec![("calm".into(), 0.6), ("tense".into(), 0.4)],
        window_start: ClockTime::ZERO,
        window_end: ClockTime::from_seconds(sequence),
        age: ClockTime::from_mseconds(40),
        modalities: ["video", "eda"]
            .map(|name| ModalityState {
                name: name.into(),
                coverage: 0.5,
                quality: 1.0,
            })
            .to_vec(),
        alignment: vec![("eda".into(), -20_000_000)],
        sequence,
        model: "test 1".into(),
        trained: true,
        provider: "cpu".into(),
        inference_time: ClockTime::from_mseconds(2),
        warming_up: false,
        stale: false,
    }
}

fn faces(n: u64) -> FaceUnitsMeta {
    FaceUnitsMeta {
        time: ClockTime::from_mseconds(40 * n),
        confidence: 0.9,
        track_id: 1,
        units: vec![("jawOpen".into(), 0.25)],
    }
}

/// Frame `n` of a video at 25 frames/s.
fn frame(n: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::with_size(64 * 48 * 3 / 2).expect("buffer");
    let buf = buffer.get_mut().expect("own buffer");
    buf.set_pts(ClockTime::from_mseconds(40 * n));
    buf.set_duration(ClockTime::from_mseconds(40));
    buffer
}

fn with(mut buffer: gst::Buffer, meta: &EmotionMeta) -> gst::Buffer {
    meta.attach(buffer.get_mut().expect("own buffer"))
        .expect("attach");
    buffer
}

fn harness(properties: &str) -> Harness {
    init();
    let mut h = Harness::new_parse(&format!("emotionserialize {properties}"));
    h.set_src_caps_str(CAPS);
    h
}

/// The lines that wait at the harness' sink pad.
fn lines(h: &mut Harness) -> Vec<Value> {
    let mut lines = Vec::new();
    while let Some(buffer) = h.try_pull() {
        let map = buffer.map_readable().expect("readable");
        let text = std::str::from_utf8(&map).expect("UTF-8");
        assert!(
            text.ends_with('\n') && text.matches('\n').count() == 1,
            "{text:?}"
        );
        let line: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(line["pts"].as_u64(), buffer.pts().map(ClockTime::nseconds));
        lines.push(line);
    }
    lines
}

fn events(h: &mut Harness) -> Vec<gst::Event> {
    std::iter::from_fn(|| h.try_pull_event()).collect()
}

#[test]
fn one_line_per_result() {
    let mut h = harness("");
    for n in 0..10 {
        let frame = frame(n);
        let frame = match n {
            0 | 1 => frame,
            2..=4 => with(frame, &result(0)),
            5..=7 => with(frame, &result(1)),
            // The fusion was restarted.
            _ => with(frame, &result(0)),
        };
        h.push(frame).expect("push");
    }
    let lines = lines(&mut h);
    let seen: Vec<_> = lines
        .iter()
        .map(|l| (l["frame"].as_u64(), l["sequence"].as_u64()))
        .collect();
    assert_eq!(
        seen,
        [(Some(2), Some(0)), (Some(5), Some(1)), (Some(8), Some(0))]
    );
    assert_eq!(lines[0]["running-time"], 80_000_000);
    assert_eq!(lines[0]["valence"], 1.0 / 3.0);
    assert_eq!(lines[0]["p-tense"], 0.4);
    assert_eq!(lines[1]["window-end"], 1_000_000_000);
    assert!(lines[0].get("face-units").is_none());
}

#[test]
fn frames_without_a_line_are_gaps() {
    let mut h = harness("");
    for n in 0..3 {
        h.push(frame(n)).expect("push");
    }
    let gaps: Vec<_> = events(&mut h)
        .iter()
        .filter_map(|e| match e.view() {
            gst::EventView::Gap(g) => Some(g.get()),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = (0..3)
        .map(|n| {
            (
                ClockTime::from_mseconds(40 * n),
                Some(ClockTime::from_mseconds(40)),
            )
        })
        .collect();
    assert_eq!(gaps, expected);
    assert!(h.try_pull().is_none());
}

#[test]
fn every_frame_has_a_line() {
    let mut h = harness("every=frame");
    h.push(frame(0)).expect("push");
    h.push(with(frame(1), &result(4))).expect("push");
    h.push(with(frame(2), &result(4))).expect("push");
    let lines = lines(&mut h);
    assert_eq!(lines.len(), 3);
    let first = lines[0].as_object().expect("object");
    assert_eq!(
        first.keys().collect::<Vec<_>>(),
        ["frame", "pts", "running-time"]
    );
    assert_eq!(
        (&lines[1]["frame"], &lines[1]["sequence"]),
        (&1.into(), &4.into())
    );
    assert_eq!(
        (&lines[2]["frame"], &lines[2]["sequence"]),
        (&2.into(), &4.into())
    );
    assert!(
        !events(&mut h)
            .iter()
            .any(|e| e.type_() == gst::EventType::Gap)
    );
}

#[test]
fn face_units_when_asked() {
    let analysed = |n| {
        let mut f = frame(n);
        faces(n)
            .attach(f.get_mut().expect("own buffer"))
            .expect("attach");
        f
    };
    // Per frame: those of the frame. Per result: the last ones since the line before.
    let mut h = harness("every=frame face-units=true");
    h.push(analysed(0)).expect("push");
    h.push(frame(1)).expect("push");
    let per_frame = lines(&mut h);
    assert_eq!(per_frame[0]["face-units"][0]["units"]["jawOpen"], 0.25);
    assert_eq!(per_frame[1]["face-units"], Value::Array(vec![]));

    let mut h = harness("face-units=true");
    h.push(analysed(0)).expect("push");
    h.push(analysed(1)).expect("push");
    h.push(with(frame(2), &result(0))).expect("push");
    h.push(with(frame(3), &result(1))).expect("push");
    let per_result = lines(&mut h);
    assert_eq!(per_result[0]["face-units"][0]["time"], 40_000_000);
    assert_eq!(per_result[1]["face-units"], Value::Array(vec![]));
}

#[test]
fn numbers_that_json_cannot_hold_are_null() {
    let mut h = harness("");
    let mut meta = result(0);
    meta.valence = f64::NAN;
    meta.modalities[0].coverage = f64::INFINITY;
    h.push(with(frame(0), &meta)).expect("push");
    let line = lines(&mut h).remove(0);
    assert!(line["valence"].is_null() && line["coverage-video"].is_null());
    assert_eq!(line["coverage-eda"], 0.5);
}

#[test]
fn a_foreign_meta_that_lacks_fields_is_no_result() {
    let mut h = harness("every=frame");
    let mut f = frame(0);
    let mut meta =
        gst::meta::CustomMeta::add(f.get_mut().expect("own buffer"), EMOTION_META).expect("meta");
    meta.mut_structure().set("valence", "high");
    h.push(f).expect("push");
    assert!(lines(&mut h)[0].get("valence").is_none());
}

#[test]
fn segment_flush_and_eos() {
    init();
    let mut h = Harness::new("emotionserialize");
    h.set_src_caps_str(CAPS);
    // The harness has sent a segment from 0; running time starts at the second one here.
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    segment.set_start(ClockTime::from_seconds(10));
    segment.set_time(ClockTime::from_seconds(10));
    assert!(h.push_event(gst::event::Segment::new(&segment)));
    let mut f = with(frame(0), &result(0));
    f.get_mut()
        .expect("own buffer")
        .set_pts(ClockTime::from_seconds(11));
    h.push(f).expect("push");
    assert_eq!(lines(&mut h)[0]["running-time"], 1_000_000_000);

    let order: Vec<_> = events(&mut h).iter().map(|e| e.type_()).collect();
    let at = |t| {
        order
            .iter()
            .position(|o| *o == t)
            .unwrap_or_else(|| panic!("{t:?} in {order:?}"))
    };
    assert!(at(gst::EventType::StreamStart) < at(gst::EventType::Caps));
    assert!(at(gst::EventType::Caps) < at(gst::EventType::Segment));

    assert!(h.push_event(gst::event::FlushStart::new()));
    assert!(h.push(frame(1)).is_err());
    assert!(h.push_event(gst::event::FlushStop::new(true)));
    assert!(h.push_event(gst::event::Segment::new(
        &gst::FormattedSegment::<ClockTime>::new()
    )));
    // The same result again is new to who reads after the flush.
    h.push(with(frame(2), &result(0)))
        .expect("push after flush");
    let line = lines(&mut h).remove(0);
    assert_eq!(
        (&line["sequence"], &line["running-time"]),
        (&0.into(), &80_000_000.into())
    );

    assert!(h.push_event(gst::event::Eos::new()));
    assert!(
        events(&mut h)
            .iter()
            .any(|e| e.type_() == gst::EventType::Eos)
    );
}

#[test]
fn sparse_stream_with_its_own_caps() {
    let mut h = harness("");
    h.push(frame(0)).expect("push");
    let events = events(&mut h);
    let start = events
        .iter()
        .find_map(|e| match e.view() {
            gst::EventView::StreamStart(s) => Some(s.stream_flags()),
            _ => None,
        })
        .expect("stream start");
    assert!(start.contains(gst::StreamFlags::SPARSE));
    let caps = h
        .sinkpad()
        .and_then(|p| p.current_caps())
        .expect("caps downstream");
    assert_eq!(caps.to_string(), "application/x-json");
}

/// Runs `line`; buffers that leave the element `in` carry result `n / 10` from frame 10 on.
fn run(line: &str, results: bool) -> Result<(), String> {
    init();
    let pipeline = gst::parse::launch(line)
        .map_err(|e| e.to_string())?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline".to_string())?;
    let pad = pipeline
        .by_name("in")
        .and_then(|e| e.static_pad("src"))
        .ok_or("no element in")?;
    let count = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        if let Some(buffer) = info.buffer_mut()
            && results
            && n >= 10
        {
            result(n / 10).attach(buffer.make_mut()).expect("attach");
        }
        gst::PadProbeReturn::Ok
    });
    let bus = pipeline.bus().ok_or("no bus")?;
    // Preroll is where a branch without data would hang.
    pipeline
        .set_state(gst::State::Paused)
        .map_err(|e| e.to_string())?;
    let (prerolled, ..) = pipeline.state(ClockTime::from_seconds(10));
    pipeline
        .set_state(gst::State::Playing)
        .map_err(|e| e.to_string())?;
    let message = bus.timed_pop_filtered(
        ClockTime::from_seconds(20),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    pipeline
        .set_state(gst::State::Null)
        .map_err(|e| e.to_string())?;
    prerolled.map_err(|e| format!("preroll: {e}"))?;
    match message.as_ref().map(|m| m.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(e)) => Err(format!("{} ({:?})", e.error(), e.debug())),
        _ => Err("no end within 20 s".to_string()),
    }
}

#[test]
fn two_runs_into_a_file_are_byte_identical() {
    let dir = tempfile::tempdir().expect("folder");
    let outputs: Vec<_> = ["a", "b"]
        .map(|name| {
            let file = dir.path().join(name);
            run(
                &format!(
                    "videotestsrc num-buffers=100 ! {CAPS} ! identity name=in ! queue ! emotionserialize every=frame \
                     ! filesink location={}",
                    file.display()
                ),
                true,
            )
            .expect("run");
            std::fs::read(file).expect("output")
        })
        .to_vec();
    assert_eq!(outputs[0].iter().filter(|b| **b == b'\n').count(), 100);
    assert!(outputs[0] == outputs[1], "the runs differ");
}

#[test]
fn no_result_ever_and_still_an_end() {
    // Beside another sink, both must preroll; live and not.
    for (live, sink) in [
        ("false", "filesink location=/dev/null"),
        ("true", "filesink location=/dev/null"),
        ("true", "fdsink fd=1"),
        ("true", "fakesink sync=true"),
    ] {
        run(
            &format!(
                "videotestsrc num-buffers=15 is-live={live} ! {CAPS} ! identity name=in ! tee name=t \
                 t. ! queue ! fakesink sync=true   t. ! queue ! emotionserialize ! {sink}"
            ),
            false,
        )
        .unwrap_or_else(|e| panic!("live={live} {sink}: {e}"));
    }
}

#[test]
fn a_write_error_ends_the_stream() {
    let e = run(
        &format!(
            "videotestsrc ! {CAPS} ! identity name=in ! emotionserialize ! filesink buffer-mode=unbuffered \
             location=/dev/full"
        ),
        true,
    )
    .expect_err("a full disk");
    assert!(
        e.contains("space") || e.contains("write") || e.contains("Write"),
        "{e}"
    );
}

const LSL: &str = "application/x-lsl";

/// As [`harness`], before an element that takes samples only.
fn sample_harness(properties: &str) -> Harness {
    init();
    let mut h = Harness::new_parse(&format!("emotionserialize {properties}"));
    h.set_sink_caps_str(LSL);
    h.set_src_caps_str(CAPS);
    h
}

/// Running time and values of the samples that wait at the harness' sink pad.
fn samples(h: &mut Harness) -> Vec<(u64, Vec<f64>)> {
    std::iter::from_fn(|| h.try_pull())
        .map(|buffer| {
            let map = buffer.map_readable().expect("readable");
            let (values, rest) = map.as_chunks::<8>();
            assert!(rest.is_empty());
            let values = values.iter().map(|b| f64::from_le_bytes(*b)).collect();
            (buffer.pts().expect("a time").nseconds(), values)
        })
        .collect()
}

fn sticky_caps(h: &Harness) -> gst::Caps {
    h.sinkpad()
        .and_then(|p| p.current_caps())
        .expect("caps downstream")
}

#[test]
fn results_are_samples_at_the_end_of_their_window() {
    let mut h = sample_harness("");
    // Running time starts at 10 s of this film; the samples know nothing of that.
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    segment.set_start(ClockTime::from_seconds(10));
    assert!(h.push_event(gst::event::Segment::new(&segment)));
    let at = |n: u64| {
        let mut f = frame(n);
        f.get_mut()
            .expect("own buffer")
            .set_pts(ClockTime::from_seconds(10) + ClockTime::from_mseconds(40 * n));
        f
    };
    h.push(at(0)).expect("push");
    for (n, sequence) in [(60, 1), (61, 1), (90, 2)] {
        h.push(with(at(n), &result(sequence))).expect("push");
    }
    assert_eq!(
        samples(&mut h),
        [1, 2].map(|s| (s * 1_000_000_000, vec![1.0 / 3.0, 0.75, 0.5, 0.5, 0.5]))
    );
    let caps = sticky_caps(&h);
    let s = caps.structure(0).expect("caps");
    assert_eq!(s.name(), LSL);
    assert_eq!(s.get("stream-type"), Ok("Emotion"));
    assert_eq!(
        s.get("channel-labels"),
        Ok("valence,arousal,confidence,coverage-video,coverage-eda")
    );
    assert_eq!(
        s.get("units"),
        Ok("probability,probability,ratio,ratio,ratio")
    );
    assert_eq!((s.get("channels"), s.get("format")), (Ok(5), Ok("F64LE")));
    assert_eq!(s.get("rate"), Ok(gst::Fraction::new(0, 1)));

    // Nothing before the caps; the segment is of running time; frames between are gaps.
    let seen = events(&mut h);
    let order: Vec<_> = seen.iter().map(|e| e.type_()).collect();
    let position = |t| order.iter().position(|o| *o == t).expect("sent");
    assert!(position(gst::EventType::StreamStart) < position(gst::EventType::Caps));
    assert!(position(gst::EventType::Caps) < position(gst::EventType::Segment));
    assert!(position(gst::EventType::Segment) < position(gst::EventType::Gap));
    let segments: Vec<_> = seen
        .iter()
        .filter_map(|e| match e.view() {
            gst::EventView::Segment(s) => Some(s.segment().start().value()),
            _ => None,
        })
        .collect();
    assert_eq!(segments, [0]);
    let gaps: Vec<_> = seen
        .iter()
        .filter_map(|e| match e.view() {
            gst::EventView::Gap(g) => Some(g.get().0.mseconds()),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [61 * 40]);

    // A model with other modalities is another stream.
    let mut other = result(3);
    other.modalities.pop();
    h.push(with(at(100), &other)).expect("push");
    assert_eq!(samples(&mut h)[0].1.len(), 4);
    let caps = sticky_caps(&h);
    assert_eq!(caps.structure(0).expect("caps").get("channels"), Ok(4));
}

#[test]
fn frames_are_samples_with_their_number_and_time() {
    let mut h = sample_harness("every=frame");
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    segment.set_start(ClockTime::from_mseconds(40));
    segment.set_time(ClockTime::from_seconds(5));
    assert!(h.push_event(gst::event::Segment::new(&segment)));
    h.push(frame(1)).expect("push");
    h.push(with(frame(2), &result(7))).expect("push");
    let seen = samples(&mut h);
    assert_eq!((seen[0].0, seen[1].0), (0, 40_000_000));
    assert_eq!(seen[0].1[..2], [0.0, 5.0]);
    assert!(seen[0].1[2..].iter().all(|v| v.is_nan()));
    assert_eq!(seen[1].1, [1.0, 5.04, 1.0 / 3.0, 0.75, 0.5]);
    let caps = sticky_caps(&h);
    let s = caps.structure(0).expect("caps");
    assert_eq!(s.get("stream-type"), Ok("VideoFrames"));
    assert_eq!(s.get("first-frame-time"), Ok(5.0));
    assert_eq!(
        s.get("channel-labels"),
        Ok("frame,frame-time,valence,arousal,confidence")
    );
    assert_eq!(s.get("units").map(|u: &str| u.split(',').count()), Ok(5));

    // A flush wants the segment again.
    assert!(h.push_event(gst::event::FlushStart::new()));
    assert!(h.push_event(gst::event::FlushStop::new(true)));
    events(&mut h);
    assert!(h.push_event(gst::event::Segment::new(
        &gst::FormattedSegment::<ClockTime>::new()
    )));
    h.push(frame(3)).expect("push after flush");
    assert_eq!(samples(&mut h)[0].0, 120_000_000);
    assert!(
        events(&mut h)
            .iter()
            .any(|e| e.type_() == gst::EventType::Segment)
    );
}

#[test]
fn no_result_ever_and_still_an_end_for_samples() {
    for live in ["false", "true"] {
        run(
            &format!(
                "videotestsrc num-buffers=15 is-live={live} ! {CAPS} ! identity name=in ! tee name=t \
                 t. ! queue ! fakesink sync=true   t. ! queue ! emotionserialize \
                 ! {LSL} ! fakesink async=false"
            ),
            false,
        )
        .unwrap_or_else(|e| panic!("live={live}: {e}"));
    }
}
