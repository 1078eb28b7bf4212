// SPDX-License-Identifier: MPL-2.0
//! What physiofeatures puts on the buffers of a sensor, posts and sends.

use gst::{ClockTime, prelude::*};
use gst_check::Harness;
use gstmvp::PhysioMeta;
use serde_json::Value;
use std::sync::Once;

const MS: u64 = 1_000_000;

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin mvp");
    });
}

fn caps(stream_type: &str, rate: i32, more: &str) -> String {
    format!(
        "application/x-lsl,format=F32LE,layout=interleaved,channels=1,rate={rate}/1\
         ,stream-type={stream_type}{more}"
    )
}

/// A response of skin conductance that begins at 0, 1 µS high.
fn response(t: f64) -> f64 {
    match t > 0.0 {
        true => 1.7769 * ((-t / 4.0).exp() - (-t / 0.75).exp()),
        false => 0.0,
    }
}

/// Skin conductance with a response of 0.4 µS every 12 s, in µS.
fn skin(t: f64) -> f64 {
    3.0 + 0.4
        * (0..=9)
            .map(|k| response(t - 6.0 - 12.0 * f64::from(k)))
            .sum::<f64>()
        + 0.002 * (t * 91.0).sin()
}

/// An ECG of 75 beats per minute: P, QRS and T waves, mV.
fn ecg(t: f64) -> f64 {
    let phase = (t % 0.8) - 0.3;
    let wave = |at: f64, width: f64| (-((phase - at) / width).powi(2)).exp();
    0.12 * wave(-0.17, 0.03) - 0.12 * wave(-0.025, 0.01) + wave(0.0, 0.011)
        - 0.25 * wave(0.027, 0.011)
        + 0.3 * wave(0.25, 0.05)
        + 0.01 * (t * 377.0).sin()
}

/// Buffers of 100 ms, `from` to `to` in seconds.
fn buffers(
    rate: u64,
    (from, to): (u64, u64),
    value: impl Fn(f64) -> f64,
) -> impl Iterator<Item = gst::Buffer> {
    (from * 10..to * 10).map(move |n| {
        let samples = (n * rate).div_ceil(10)..((n + 1) * rate).div_ceil(10);
        let first = samples.start as f64 / rate as f64;
        let bytes: Vec<u8> = samples
            .clone()
            .flat_map(|i| (value(i as f64 / rate as f64) as f32).to_le_bytes())
            .collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let buf = buffer.get_mut().expect("own buffer");
        buf.set_pts(ClockTime::from_nseconds((first * 1e9) as u64));
        let length = (samples.end - samples.start) as f64 / rate as f64;
        buf.set_duration(ClockTime::from_nseconds((length * 1e9) as u64));
        buffer
    })
}

fn harness(properties: &str, caps: &str) -> (Harness, gst::Bus) {
    init();
    let mut h = Harness::new_parse(&format!("physiofeatures {properties}"));
    let bus = gst::Bus::new();
    h.element().expect("an element").set_bus(Some(&bus));
    h.set_src_caps_str(caps);
    (h, bus)
}

fn elements(bus: &gst::Bus, name: &str) -> Vec<gst::Structure> {
    let all = std::iter::from_fn(|| bus.pop());
    all.filter_map(|m| match m.view() {
        gst::MessageView::Element(e) => e.structure().map(ToOwned::to_owned),
        _ => None,
    })
    .filter(|s| s.name() == name)
    .collect()
}

#[test]
fn buffers_pass_untouched_with_what_is_known() {
    let (mut h, bus) = harness("", &caps("EDA", 20, ""));
    let mut newest = None;
    for buffer in buffers(20, (0, 90), skin) {
        let before = buffer.clone();
        h.push(buffer).expect("push");
        let after = h.pull().expect("a buffer");
        assert_eq!(
            (after.pts(), after.duration()),
            (before.pts(), before.duration())
        );
        let (a, b) = (after.map_readable(), before.map_readable());
        assert_eq!(
            a.expect("readable").as_slice(),
            b.expect("readable").as_slice()
        );
        newest = PhysioMeta::from_buffer(&after).or(newest);
    }
    let newest = newest.expect("metadata");
    assert!(newest.time > ClockTime::from_seconds(88), "{newest:?}");
    assert!(
        newest.scl.is_some_and(|l| (l - 3.1).abs() < 0.2),
        "{newest:?}"
    );
    // Five or six responses in the last minute.
    assert!(
        newest.scr_rate.is_some_and(|r| (4.0..7.0).contains(&r)),
        "{newest:?}"
    );
    assert_eq!((newest.hr, newest.rmssd), (None, None));
    assert!(
        matches!(&newest.quality[..], [(m, q)] if m == "eda" && *q > 0.8),
        "{newest:?}"
    );

    let posted = elements(&bus, "mvp-physio");
    let times: Vec<u64> = posted
        .iter()
        .map(|s| s.get("time").expect("time"))
        .collect();
    assert!(times.len() >= 85, "{times:?}");
    assert!(
        times.windows(2).all(|w| w[1] - w[0] == 1000 * MS),
        "{times:?}"
    );
    assert!(posted[80].get::<f64>("scl").is_ok() && !posted[80].has_field("hr"));
}

#[test]
fn a_heart_has_a_rate() {
    let (mut h, _bus) = harness("modality=ecg", &caps("Physio", 250, ""));
    let mut newest = None;
    for buffer in buffers(250, (0, 45), ecg) {
        h.push(buffer).expect("push");
        newest = PhysioMeta::from_buffer(&h.pull().expect("a buffer")).or(newest);
    }
    let newest = newest.expect("metadata");
    assert!(
        newest.hr.is_some_and(|r| (r - 75.0).abs() < 0.5),
        "{newest:?}"
    );
    assert!(newest.rmssd.is_some_and(|r| r < 5.0), "{newest:?}");
    // Not yet long enough.
    assert_eq!((newest.sdnn, newest.lf_hf, newest.scl), (None, None, None));
}

#[test]
fn it_is_said_when_the_sensor_becomes_good_and_bad() {
    let (mut h, bus) = harness("interval=0", &caps("EDA", 20, ""));
    let value = |t: f64| match (40.0..60.0).contains(&t) {
        // The electrode is off.
        true => 0.002 * (t * 31.0).sin(),
        false => skin(t),
    };
    for buffer in buffers(20, (0, 90), value) {
        h.push(buffer).expect("push");
        let _ = h.pull();
    }
    let said: Vec<_> = std::iter::from_fn(|| bus.pop())
        .filter_map(|m| m.structure().map(ToOwned::to_owned))
        .collect();
    assert!(said.iter().all(|s| s.name() == "mvp-signal"), "{said:?}");
    let states: Vec<String> = said
        .iter()
        .map(|s| s.get("state").expect("state"))
        .collect();
    let mut changes = states.clone();
    changes.dedup();
    assert_eq!(changes, ["good", "bad", "good"], "{said:?}");
    // The step down may be taken for motion at first.
    let bad = &said[said.len() - 2];
    assert_eq!(bad.get::<&str>("modality"), Ok("eda"));
    assert!(bad.get::<f64>("quality").is_ok_and(|q| q < 0.5), "{bad}");
    assert_eq!(bad.get::<&str>("reason"), Ok("detached"));
    assert!(
        bad.get::<&str>("remedy")
            .is_ok_and(|r| r.contains("electrodes")),
        "{bad}"
    );
    let time: u64 = said[1].get("time").expect("time");
    assert!((40_000 * MS..47_000 * MS).contains(&time), "{:?}", said[1]);
}

#[test]
fn a_gap_makes_the_sensor_bad() {
    let (mut h, bus) = harness("interval=0", &caps("EDA", 20, ""));
    for buffer in buffers(20, (0, 20), skin) {
        h.push(buffer).expect("push");
        let _ = h.pull();
    }
    for second in 20..30 {
        let gap = gst::event::Gap::builder(ClockTime::from_seconds(second));
        h.push_event(gap.duration(ClockTime::SECOND).build());
    }
    let said = elements(&bus, "mvp-signal");
    let last = said.last().expect("messages");
    assert_eq!(last.get::<&str>("state"), Ok("bad"));
    assert_eq!(last.get::<&str>("reason"), Ok("no-signal"));
}

/// The request pads' buffers and caps, from a line of its own.
fn branches(
    stream_caps: &str,
    buffers: impl Iterator<Item = gst::Buffer>,
) -> [Vec<gst::Sample>; 2] {
    init();
    let line = "appsrc name=src format=time ! physiofeatures name=f ! fakesink sync=false \
                f.features ! queue max-size-time=0 max-size-buffers=0 ! appsink name=features sync=false \
                f.events ! queue max-size-time=0 max-size-buffers=0 ! appsink name=events sync=false";
    let pipeline = gst::parse::launch(line).expect("a pipeline");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let src = pipeline
        .by_name("src")
        .and_downcast::<gst_app::AppSrc>()
        .expect("appsrc");
    src.set_caps(Some(&stream_caps.parse::<gst::Caps>().expect("caps")));
    src.set_max_bytes(0);
    pipeline.set_state(gst::State::Playing).expect("plays");
    for buffer in buffers {
        src.push_buffer(buffer).expect("push");
    }
    src.end_of_stream().expect("EOS");
    let samples = ["features", "events"].map(|name| {
        let sink = pipeline
            .by_name(name)
            .and_downcast::<gst_app::AppSink>()
            .expect("appsink");
        std::iter::from_fn(|| sink.pull_sample().ok()).collect()
    });
    let bus = pipeline.bus().expect("bus");
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus
        .timed_pop_filtered(ClockTime::from_seconds(60), &ends)
        .expect("an end");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    pipeline.set_state(gst::State::Null).expect("stops");
    samples
}

#[test]
fn features_and_events_are_streams() {
    let [features, events] = branches(&caps("EDA", 20, ""), buffers(20, (0, 90), skin));
    let caps = features[0].caps().expect("caps");
    let s = caps.structure(0).expect("a structure");
    assert_eq!(s.get::<&str>("stream-type"), Ok("Features"));
    assert_eq!(
        s.get::<&str>("channel-labels"),
        Ok("scl,scr-rate,quality-eda")
    );
    assert_eq!(s.get::<&str>("units"), Ok("uS,1/min,ratio"));
    assert_eq!(s.get::<i32>("channels"), Ok(3));
    assert!(features.len() >= 85, "{}", features.len());
    let values = |sample: &gst::Sample| -> Vec<f64> {
        let map = sample
            .buffer()
            .expect("buffer")
            .map_readable()
            .expect("readable");
        let chunks = map.chunks_exact(8);
        chunks
            .map(|c| f64::from_le_bytes(c.try_into().expect("eight")))
            .collect()
    };
    // Nothing is known at first.
    assert!(values(&features[0])[1].is_nan());
    let last = values(features.last().expect("samples"));
    assert!(
        (last[0] - 3.1).abs() < 0.2 && (4.0..7.0).contains(&last[1]),
        "{last:?}"
    );

    assert_eq!(
        events[0].caps().map(|c| c.to_string()).as_deref(),
        Some("text/x-raw, format=(string)utf8, stream-type=(string)Events")
    );
    let lines: Vec<Value> = events
        .iter()
        .map(|sample| {
            let buffer = sample.buffer().expect("buffer");
            let map = buffer.map_readable().expect("readable");
            let line: Value = serde_json::from_slice(&map).expect("JSON");
            assert_eq!(line["time"].as_u64(), buffer.pts().map(ClockTime::nseconds));
            line
        })
        .collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    for (k, line) in lines.iter().enumerate() {
        assert_eq!(
            (&line["event"], &line["modality"]),
            (&"scr".into(), &"eda".into())
        );
        let onset = line["time"].as_u64().expect("time") as f64 * 1e-9;
        assert!((onset - 6.0 - 12.0 * k as f64).abs() < 0.6, "{line}");
        let amplitude = line["amplitude"].as_f64().expect("amplitude");
        assert!((amplitude - 0.4).abs() < 0.06, "{line}");
    }
}

/// A file may come as one buffer: more than the queues take while the sinks preroll.
#[test]
fn one_large_buffer_prerolls() {
    init();
    let line = "appsrc name=src format=time ! physiofeatures name=f ! fakesink \
                f.features ! queue ! fakesink  f.events ! queue ! fakesink";
    let pipeline = gst::parse::launch(line).expect("a pipeline");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let src = pipeline.by_name("src").and_downcast::<gst_app::AppSrc>();
    let src = src.expect("appsrc");
    src.set_caps(Some(
        &caps("ECG", 250, "").parse::<gst::Caps>().expect("caps"),
    ));
    let bytes: Vec<u8> = (0..30 * 250)
        .flat_map(|i| (ecg(f64::from(i) / 250.0) as f32).to_le_bytes())
        .collect();
    let mut buffer = gst::Buffer::from_slice(bytes);
    let buf = buffer.get_mut().expect("own buffer");
    buf.set_pts(ClockTime::ZERO);
    buf.set_duration(ClockTime::from_seconds(30));
    pipeline.set_state(gst::State::Paused).expect("starts");
    src.push_buffer(buffer).expect("push");
    src.end_of_stream().expect("EOS");
    let (prerolled, state, _) = pipeline.state(ClockTime::from_seconds(20));
    assert!(
        prerolled.is_ok() && state == gst::State::Paused,
        "{prerolled:?} {state:?}"
    );
    pipeline.set_state(gst::State::Null).expect("stops");
}

#[test]
fn beats_are_events() {
    let [features, events] = branches(&caps("ECG", 250, ""), buffers(250, (0, 40), ecg));
    let caps = features[0]
        .caps()
        .expect("caps")
        .structure(0)
        .expect("one")
        .to_owned();
    assert_eq!(
        caps.get::<&str>("channel-labels"),
        Ok("hr,rmssd,sdnn,pnn50,lf-hf,respiration-rate,quality-ecg")
    );
    assert!((44..=50).contains(&events.len()), "{}", events.len());
    for sample in &events[5..] {
        let map = sample
            .buffer()
            .expect("buffer")
            .map_readable()
            .expect("readable");
        let line: Value = serde_json::from_slice(&map).expect("JSON");
        assert_eq!(line["event"], "beat");
        let time = line["time"].as_u64().expect("time") as f64 * 1e-9;
        let from_peak = (time + 0.4) % 0.8 - 0.4 - 0.3;
        assert!(from_peak.abs() < 0.01, "{line}");
        assert!(
            line["interval"]
                .as_f64()
                .is_some_and(|i| (i - 0.8).abs() < 0.01),
            "{line}"
        );
        assert_eq!(line["normal"], true);
    }
}

#[test]
fn two_sensors_of_one_stream_add_up() {
    init();
    let mut h = Harness::new_parse(
        "physiofeatures modality=eda channel=0 ! physiofeatures modality=ecg channel=1",
    );
    h.set_src_caps_str(
        "application/x-lsl,format=F32LE,layout=interleaved,channels=2,rate=250/1,stream-type=Device",
    );
    let mut newest = None;
    for (a, b) in buffers(250, (0, 30), skin).zip(buffers(250, (0, 30), ecg)) {
        let (one, two) = (a.map_readable().expect("a"), b.map_readable().expect("b"));
        let rows = one.chunks_exact(4).zip(two.chunks_exact(4));
        let bytes: Vec<u8> = rows.flat_map(|(x, y)| [x, y].concat()).collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let buf = buffer.get_mut().expect("own buffer");
        buf.set_pts(a.pts());
        buf.set_duration(a.duration());
        h.push(buffer).expect("push");
        newest = PhysioMeta::from_buffer(&h.pull().expect("a buffer")).or(newest);
    }
    let newest = newest.expect("metadata");
    assert!(newest.scl.is_some() && newest.hr.is_some(), "{newest:?}");
    assert_eq!(newest.quality.len(), 2);
}

#[test]
fn conductance_is_told_in_microsiemens_whatever_its_unit() {
    for (properties, more, value) in [
        ("", ",units=kOhm", (|t| 1000.0 / skin(t)) as fn(f64) -> f64),
        ("unit=nS", "", |t| 1000.0 * skin(t)),
    ] {
        let (mut h, _bus) = harness(properties, &caps("EDA", 20, more));
        let mut newest = None;
        for buffer in buffers(20, (0, 30), value) {
            h.push(buffer).expect("push");
            newest = PhysioMeta::from_buffer(&h.pull().expect("a buffer")).or(newest);
        }
        let newest = newest.expect("metadata");
        assert!(
            newest.scl.is_some_and(|l| (l - 3.1).abs() < 0.2),
            "{more}: {newest:?}"
        );
    }
}

#[test]
fn what_is_no_sensor_is_refused_with_the_remedy() {
    init();
    for (properties, stream, wants) in [
        ("", caps("Gaze", 60, ""), ["Gaze", "modality="]),
        ("modality=eda", caps("ECG", 60, ""), ["EDA", "Link"]),
        ("", caps("EDA", 60, ",units=mV"), ["mV", "unit="]),
        (
            "modality=ecg channel=7",
            caps("ECG", 60, ""),
            ["'7'", "channel="],
        ),
    ] {
        let (mut h, bus) = harness(properties, &stream);
        let _ = h.push(gst::Buffer::with_size(4).expect("buffer"));
        let error = std::iter::from_fn(|| bus.pop()).find_map(|m| match m.view() {
            gst::MessageView::Error(e) => Some(e.error().to_string()),
            _ => None,
        });
        let error = error.unwrap_or_else(|| panic!("{stream}: no error"));
        for want in wants {
            assert!(error.contains(want), "'{want}' is not in: {error}");
        }
    }
}

#[test]
fn a_flush_begins_anew() {
    let (mut h, _bus) = harness("", &caps("EDA", 20, ""));
    for buffer in buffers(20, (0, 70), skin) {
        h.push(buffer).expect("push");
        let _ = h.pull();
    }
    h.push_event(gst::event::FlushStart::new());
    h.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<ClockTime>::new();
    h.push_event(gst::event::Segment::new(&segment));
    let mut newest = None;
    for buffer in buffers(20, (0, 20), skin) {
        h.push(buffer).expect("push");
        newest = PhysioMeta::from_buffer(&h.pull().expect("a buffer")).or(newest);
    }
    let newest = newest.expect("metadata");
    assert!(newest.time < ClockTime::from_seconds(20));
    assert!(
        newest.scl.is_some() && newest.scr_rate.is_none(),
        "{newest:?}"
    );
}

/// One buffer an hour ahead, then on as before: the sensor is not silent for an hour.
#[test]
fn a_stray_buffer_costs_seconds_and_is_told() {
    let (mut h, bus) = harness("", &caps("EDA", 20, ""));
    for (n, mut buffer) in buffers(20, (0, 30), skin).enumerate() {
        if n == 100 {
            let buf = buffer.get_mut().expect("own buffer");
            let pts = buf.pts().expect("a time");
            buf.set_pts(pts + ClockTime::from_seconds(3600));
        }
        h.push(buffer).expect("taken");
    }
    let warnings: Vec<_> = std::iter::from_fn(|| bus.pop())
        .filter_map(|m| match m.view() {
            gst::MessageView::Warning(w) => Some(w.error().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("went back by 360"), "{warnings:?}");
    let mut newest = None;
    while let Some(buffer) = h.try_pull() {
        newest = Some(buffer);
    }
    let meta = PhysioMeta::from_buffer(&newest.expect("buffers")).expect("metadata");
    assert!(meta.time > ClockTime::from_seconds(28), "{meta:?}");
    assert!(
        meta.scl.is_some_and(|l| (2.5..4.0).contains(&l)),
        "{meta:?}"
    );
}

/// ECG first, then EDA: the channels of `features` change with it.
#[test]
fn another_sensor_on_the_line_gives_other_channels() {
    init();
    let pipeline = gst::parse::launch(
        "appsrc name=in format=time ! physiofeatures name=p ! fakesink sync=false async=false \
         p.features ! queue ! appsink name=out sync=false async=false",
    )
    .expect("a pipeline");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let source = pipeline.by_name("in").expect("in");
    let source = source.downcast::<gst_app::AppSrc>().expect("appsrc");
    pipeline.set_state(gst::State::Playing).expect("plays");
    for (kind, rate, from) in [("ECG", 128, 0), ("EDA", 8, 5)] {
        let caps: gst::Caps = caps(kind, rate, "").parse().expect("caps");
        source.set_caps(Some(&caps));
        let wave = if kind == "ECG" { ecg } else { skin };
        for buffer in buffers(rate as u64, (from, from + 5), wave) {
            source.push_buffer(buffer).expect("taken");
        }
    }
    source.end_of_stream().expect("ends");
    let sink = pipeline.by_name("out").expect("out");
    let sink = sink.downcast::<gst_app::AppSink>().expect("appsink");
    let mut sizes = Vec::new();
    while let Some(sample) = sink.try_pull_sample(ClockTime::from_seconds(10)) {
        let caps = sample.caps().expect("caps");
        let channels = caps
            .structure(0)
            .and_then(|s| s.get::<i32>("channels").ok());
        let size = sample.buffer().expect("a buffer").size();
        assert_eq!(size, 8 * channels.expect("channels") as usize, "{caps}");
        sizes.push(size);
    }
    pipeline.set_state(gst::State::Null).expect("null");
    sizes.dedup();
    assert_eq!(sizes.len(), 2, "{sizes:?}");
}

#[test]
fn a_jump_of_the_timestamps_is_one_step_and_not_a_flood() {
    for properties in ["", "interval=1"] {
        let (mut h, bus) = harness(properties, &caps("EDA", 8, ""));
        for buffer in buffers(8, (0, 10), skin) {
            h.push(buffer).expect("taken");
        }
        let before = elements(&bus, "mvp-physio").len();
        // A sender's clock that goes a hundred years ahead.
        let far = ClockTime::from_seconds(3_153_600_000);
        for mut buffer in buffers(8, (10, 11), skin) {
            let buf = buffer.get_mut().expect("own buffer");
            let pts = buf.pts().expect("a time");
            buf.set_pts(pts.checked_add(far));
            h.push(buffer).expect("taken");
        }
        let after = elements(&bus, "mvp-physio").len();
        assert!(before >= 2, "{properties}: {before}");
        assert!((1..=1100).contains(&after), "{properties}: {after}");
    }
}
