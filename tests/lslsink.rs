// SPDX-License-Identifier: MPL-2.0
//! `lslsink`: what goes in comes out of LSL with the same values and times.

mod lsl_support;

use gst::{ClockTime, prelude::*};
use lsl::Library;
use lsl_support::{Line, Seen, hermetic, numbers, outlet, stream};
use std::time::Duration;
use stream_info::Format;

/// A pipeline of an appsrc and a lslsink.
struct Push {
    pipeline: gst::Pipeline,
    src: gst_app::AppSrc,
    sink: gst::Element,
}

impl Push {
    fn new(caps: &str, properties: &str) -> Self {
        let description =
            format!("appsrc name=src format=time is-live=true ! lslsink name=sink {properties}");
        let pipeline = gst::parse::launch(&description)
            .unwrap_or_else(|e| panic!("{description}: {e}"))
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        let src = pipeline
            .by_name("src")
            .and_then(|e| e.downcast::<gst_app::AppSrc>().ok())
            .expect("src");
        src.set_caps(Some(&caps.parse::<gst::Caps>().expect("caps")));
        let sink = pipeline.by_name("sink").expect("sink");
        pipeline.set_state(gst::State::Playing).expect("playing");
        Self {
            pipeline,
            src,
            sink,
        }
    }

    fn push(&self, data: Vec<u8>, pts: Option<u64>, duration: Option<u64>) {
        let mut buffer = gst::Buffer::from_mut_slice(data);
        let b = buffer.get_mut().expect("own buffer");
        b.set_pts(pts.map(ClockTime::from_nseconds));
        b.set_duration(duration.map(ClockTime::from_nseconds));
        self.src.push_buffer(buffer).expect("push");
    }

    fn stat<T: for<'a> gst::glib::value::FromValue<'a>>(&self, field: &str) -> T {
        let stats: gst::Structure = self.sink.property("stats");
        stats.get(field).expect(field)
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = std::time::Instant::now() + Duration::from_secs(15);
        while !done(self) {
            assert!(std::time::Instant::now() < end, "no {what} in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn running(&self) -> u64 {
        self.sink
            .current_running_time()
            .expect("running")
            .nseconds()
    }

    /// LSL time (s) of a running time (ns): the default clock is LSL's.
    fn lsl(&self, running_time: u64) -> f64 {
        (self.sink.base_time().expect("base time").nseconds() + running_time) as f64 / 1e9
    }

    fn error(&self) -> String {
        let message = self
            .pipeline
            .bus()
            .expect("bus")
            .timed_pop_filtered(ClockTime::from_seconds(10), &[gst::MessageType::Error]);
        match message.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Error(e)) => e.error().to_string(),
            _ => panic!("no error in time"),
        }
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Sender's stamps (s) and bytes of each buffer that a lslsrc got.
fn received(line: &Line) -> Vec<(f64, u64, Vec<u8>)> {
    line.seen()
        .into_iter()
        .filter_map(|s| match s {
            Seen::Buffer { raw, pts, data, .. } => {
                Some((raw.expect("the sender's stamp") as f64 / 1e9, pts, data))
            }
            _ => None,
        })
        .collect()
}

/// lslsrc → lslsink → lslsrc of `rate`; samples are f32 numbers from 0.
fn round_trip(library: &'static Library, name: &str, rate: f64, chunk: u64, between: &str) {
    let first = outlet(library, &stream(name, rate, Format::F32));
    let again = format!("{name}-again");
    let through = Line::with(
        &format!("stream-name={name} chunk-duration={chunk}"),
        &format!("{between} lslsink name=sink stream-name={again}"),
    );
    through.play();
    first.wait();
    through.connected();
    let sink = through.pipeline.by_name("sink").expect("sink");
    let count = 300u64;
    let pace = if rate > 0.0 { rate } else { 150.0 };
    let last = Line::new(&format!("stream-name={again} dejitter=false"));
    let player = outlet_player(library, first, pace, count);
    last.play();
    // The second stream exists once the first one's caps are known.
    last.connected();
    player.start.send(()).expect("player");
    let t0 = player.thread.join().expect("player");
    last.until("all samples", |l| l.stat::<u64>("samples") == count);
    let values = numbers(&last.bytes(), f32::from_le_bytes);
    let sent: Vec<f32> = (0..count).map(|n| n as f32).collect();
    assert_eq!(values, sent, "{name}");
    let mut n = 0;
    let mut worst = 0f64;
    for (raw, pts, data) in received(&last) {
        let truth = t0 + n as f64 / pace;
        worst = worst.max((raw - truth).abs());
        let truth = last.running_time(truth);
        worst = worst.max((pts as i64 - truth).abs() as f64 / 1e9);
        n += data.len() / 4;
    }
    println!("{name}: worst stamp is off by {:.3} µs", worst * 1e6);
    assert!(worst < 50e-6, "{name}: {worst}");
    let stats: gst::Structure = sink.property("stats");
    assert_eq!(stats.get("samples"), Ok(count));
    assert_eq!(stats.get("have-consumers"), Ok(true));
}

struct Player {
    start: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<f64>,
}

fn outlet_player(
    library: &'static Library,
    outlet: lsl_support::TestOutlet,
    pace: f64,
    count: u64,
) -> Player {
    let (start, wait) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        wait.recv().expect("start");
        let t0 = library.local_clock() + 0.1;
        for n in 0..count {
            let stamp = t0 + n as f64 / pace;
            outlet.sleep_until(stamp);
            outlet.push(&[n as f32], &[stamp]);
        }
        // The stream must not end before its samples arrived.
        std::thread::sleep(Duration::from_millis(800));
        t0
    });
    Player { start, thread }
}

#[test]
fn round_trips_keep_stamps_and_values() {
    let Some(library) = hermetic() else { return };
    round_trip(library, "regular", 128.0, 20_000_000, "");
    round_trip(library, "fraction", 51.2, 100_000_000, "");
    round_trip(library, "irregular", 0.0, 20_000_000, "");
    round_trip(library, "audio", 100.0, 50_000_000, "audio/x-raw !");
}

#[test]
fn every_format_and_the_description() {
    if hermetic().is_none() {
        return;
    }
    for (format, name, bytes) in [
        (Format::F32, "F32LE", 1.5f32.to_le_bytes().to_vec()),
        (Format::F64, "F64LE", (-1e300f64).to_le_bytes().to_vec()),
        (Format::I8, "S8", vec![0x80]),
        (Format::I16, "S16LE", (-300i16).to_le_bytes().to_vec()),
        (Format::I32, "S32LE", 70_000i32.to_le_bytes().to_vec()),
        (Format::I64, "S64LE", i64::MIN.to_le_bytes().to_vec()),
    ] {
        let two = [bytes.clone(), bytes].concat();
        let stream = format!("format-{name}");
        let push = Push::new(
            &format!(
                "application/x-lsl,format={name},layout=interleaved,channels=2,rate=0/1,\
                 stream-type=EDA,channel-labels=(string)\"a,b\",units=(string)\"uS,mV\",\
                 first-frame-time=0.125"
            ),
            &format!("stream-name={stream}"),
        );
        let line = Line::new(&format!("stream-name={stream}"));
        line.play();
        push.push(two.clone(), Some(0), None);
        line.connected();
        let time = push.running();
        push.push(two.clone(), Some(time), None);
        line.until("the sample", |l| l.bytes() == two);
        let (raw, ..) = received(&line).remove(0);
        assert!((raw - push.lsl(time)).abs() < 1e-6, "{format}");
        let caps = line.caps();
        let s = caps.structure(0).expect("caps");
        assert_eq!(s.get("stream-type"), Ok("EDA"));
        assert_eq!(s.get("channel-labels"), Ok("a,b"));
        assert_eq!(s.get("units"), Ok("uS,mV"));
        assert_eq!(s.get("rate"), Ok(gst::Fraction::new(0, 1)));
        assert_eq!(s.get("first-frame-time"), Ok(0.125));
    }
}

#[test]
fn text_becomes_strings() {
    if hermetic().is_none() {
        return;
    }
    let push = Push::new("text/x-raw,format=utf8", "stream-name=words");
    let line = Line::new("stream-name=words");
    line.play();
    push.push(b"early".to_vec(), Some(0), None);
    line.connected();
    for (n, text) in ["stimulus é", "", "two\nlines"].iter().enumerate() {
        push.push(
            text.as_bytes().to_vec(),
            Some(push.running() + n as u64),
            None,
        );
    }
    line.until("all", |l| l.buffers() == 3);
    let texts: Vec<_> = received(&line).into_iter().map(|(.., d)| d).collect();
    assert_eq!(texts, ["stimulus é".as_bytes(), b"", b"two\nlines"]);
    assert_eq!(push.stat::<u64>("gaps"), 0);
    assert_eq!(
        line.caps().structure(0).expect("caps").get("stream-type"),
        Ok("Markers")
    );

    // With labels the lines are channels.
    let push = Push::new(
        "text/x-raw,format=utf8",
        "stream-name=pairs channel-labels=key,value",
    );
    let line = Line::new("stream-name=pairs channels=value");
    line.play();
    push.push(b"early".to_vec(), Some(0), None);
    line.connected();
    push.push(b"trial\n7".to_vec(), Some(push.running()), None);
    line.until("the value", |l| l.bytes() == b"7");
}

#[test]
fn times_of_samples_inside_and_between_buffers() {
    if hermetic().is_none() {
        return;
    }
    let push = Push::new(
        "application/x-lsl,format=S16LE,layout=interleaved,channels=1,rate=10/1",
        "stream-name=inside",
    );
    // One sample per buffer shows each stamp.
    let line = Line::new("stream-name=inside dejitter=false chunk-duration=0");
    line.play();
    let sample = |n: i16| n.to_le_bytes().to_vec();
    push.push(sample(-1), Some(0), None);
    line.connected();
    let t = push.running();
    // No sample is sent ahead of its time: lslsrc would doubt it.
    std::thread::sleep(Duration::from_secs(1));
    let three = || [sample(0), sample(1), sample(2)].concat();
    // A duration says more than the rate; without a time it goes on; a gap is nothing.
    push.push(three(), Some(t), Some(300_300_000));
    push.push(three(), None, None);
    let mut gap = gst::Buffer::from_mut_slice(three());
    let b = gap.get_mut().expect("own buffer");
    b.set_pts(ClockTime::from_nseconds(t + 600_300_000));
    b.set_flags(gst::BufferFlags::GAP);
    push.src.push_buffer(gap).expect("push");
    push.push(sample(3), Some(t + 1_000_000_000), None);
    line.until("seven", |l| l.stat::<u64>("samples") == 7);
    let mut stamps = Vec::new();
    for (raw, _, data) in received(&line) {
        assert_eq!(data.len() % 2, 0);
        // Samples that came together are 1/10 s apart at the least, so apart in buffers.
        stamps.push((raw, data.len() / 2));
    }
    let first: Vec<f64> = stamps.iter().map(|(raw, _)| raw - push.lsl(t)).collect();
    assert!(first[0].abs() < 1e-6, "{first:?}");
    assert!((first[first.len() - 1] - 1.0).abs() < 1e-6, "{first:?}");
    if stamps.iter().all(|(_, n)| *n == 1) {
        let want = [0.0, 0.1001, 0.2002, 0.3003, 0.4003, 0.5003, 1.0];
        for (got, want) in first.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{first:?}");
        }
    }
    assert_eq!(push.stat::<u64>("gaps"), 1);
    assert_eq!(push.stat::<u64>("samples"), 8);
}

#[test]
fn another_clock_is_taken_back_to_lsl() {
    if hermetic().is_none() {
        return;
    }
    let push = Push::new(
        "application/x-lsl,format=F64LE,layout=interleaved,channels=1,rate=0/1",
        "stream-name=other-clock",
    );
    push.pipeline.set_state(gst::State::Ready).expect("ready");
    let clock: gst::Clock = gst::glib::Object::builder::<gst::SystemClock>()
        .property("clock-type", gst::ClockType::Realtime)
        .build()
        .upcast();
    push.pipeline.use_clock(Some(&clock));
    push.pipeline
        .set_state(gst::State::Playing)
        .expect("playing");
    let line = Line::new("stream-name=other-clock");
    line.play();
    push.push(0f64.to_le_bytes().to_vec(), Some(0), None);
    line.connected();
    let library = Library::load(None).expect("loaded");
    let mut errors = Vec::new();
    for n in 0..20 {
        let before = library.local_clock();
        let time = push.running();
        let after = library.local_clock();
        push.push(1f64.to_le_bytes().to_vec(), Some(time), None);
        line.until("the sample", |l| l.buffers() == n + 1);
        let (raw, ..) = received(&line)[n].clone();
        errors.push(((raw - (before + after) / 2.0).abs(), after - before));
    }
    errors.sort_by(|a, b| a.1.total_cmp(&b.1));
    // The tightest reading is the best witness.
    assert!(errors[0].0 < 50e-6, "{errors:?}");
}

#[test]
fn new_caps_are_a_new_stream() {
    if hermetic().is_none() {
        return;
    }
    let caps = |channels| {
        format!("application/x-lsl,format=F32LE,layout=interleaved,channels={channels},rate=0/1")
    };
    let push = Push::new(&caps(1), "stream-name=changing");
    push.push(vec![0; 4], Some(0), None);
    push.until("the first", |p| p.stat::<u64>("samples") == 1);
    push.src
        .set_caps(Some(&caps(3).parse::<gst::Caps>().expect("caps")));
    push.push(vec![0; 12], Some(0), None);
    push.until("the second", |p| p.stat::<u64>("samples") == 2);
    assert_eq!(push.stat::<u64>("outlets"), 2);
    let line = Line::new("stream-name=changing");
    line.play();
    line.connected();
    push.push(vec![7; 12], Some(push.running()), None);
    line.until("three channels", |l| l.bytes() == [7; 12]);
}

#[test]
fn the_stream_ends_with_the_element() {
    if hermetic().is_none() {
        return;
    }
    let push = Push::new("text/x-raw,format=utf8", "stream-name=ending");
    let line = Line::new("stream-name=ending on-lost=eos");
    line.play();
    push.push(b"a".to_vec(), Some(0), None);
    line.connected();
    // The last words still arrive.
    push.push(b"end".to_vec(), Some(push.running()), None);
    push.until("the last", |p| p.stat::<u64>("samples") == 2);
    push.pipeline.set_state(gst::State::Null).expect("null");
    assert!(!push.stat::<bool>("have-consumers"));
    line.eos();
    assert_eq!(line.bytes(), b"end");
}

#[test]
fn wrong_input_is_explained() {
    if hermetic().is_none() {
        return;
    }
    let caps = "application/x-lsl,format=F32LE,layout=interleaved,channels=2,rate=4/1";
    let push = Push::new(caps, "stream-name=wrong channel-labels=a,b,c");
    push.push(vec![0; 8], Some(0), None);
    let e = push.error();
    assert!(
        e.contains("channel-labels has 3") && e.contains("2 channel"),
        "{e}"
    );
    drop(push);
    let push = Push::new(caps, "stream-name=wrong");
    push.push(vec![0; 12], Some(0), None);
    let e = push.error();
    assert!(e.contains("12 bytes") && e.contains("8 bytes each"), "{e}");
}

#[test]
fn no_one_waits_for_the_first_result() {
    if hermetic().is_none() {
        return;
    }
    let push = Push::new("text/x-raw,format=utf8", "stream-name=sparse");
    let (result, state, _) = push.pipeline.state(ClockTime::from_seconds(5));
    assert!(result.is_ok());
    assert_eq!(state, gst::State::Playing);
}
