// SPDX-License-Identifier: MPL-2.0
//! Senders that are slow, silent, too fast or changed: what is said, and that the pipeline
//! goes on.

mod lsl_support;

use gst::prelude::*;
use lsl::NewStream;
use lsl_support::{
    Line, Seen,
    hand::{Hand, Says, Script, clock, numbers_at, texts_at},
    hermetic, outlet, stream,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use stream_info::Format;

fn disconts(line: &Line) -> usize {
    let marked = |s: &&Seen| match s {
        Seen::Buffer { flags, .. } => flags.contains(gst::BufferFlags::DISCONT),
        _ => false,
    };
    line.seen().iter().filter(marked).count()
}

/// Two periods are longer than `data-timeout`.
#[test]
fn a_slow_stream_that_is_on_time_is_not_lost() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("slow", 0.5, Format::F32));
    let line = Line::new("stream-name=slow data-timeout=1000000000");
    line.play();
    out.wait();
    line.connected();
    out.play(out.now(), 0, 5, 1, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 5 * 4);
    assert!(line.elements("lsl-lost").is_empty());
    assert_eq!(line.buffers(), 5);
    assert!(disconts(&line) <= 1, "{} of 5", disconts(&line));
    // Silent for more than three periods, it is lost.
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
}

/// Samples of a second in one packet, and `data-timeout` is shorter.
#[test]
fn a_stream_of_rare_packets_is_lost_until_they_are_known() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("packets", 100.0, Format::F32));
    let line = Line::new("stream-name=packets data-timeout=300000000");
    line.play();
    out.wait();
    line.connected();
    let t0 = out.now();
    out.play(t0, 0, 500, 100, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 500 * 4);
    let before = line.elements("lsl-lost").len();
    assert!((1..=5).contains(&before), "{before}");
    out.play(t0, 500, 900, 100, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 900 * 4);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(line.elements("lsl-lost").len(), before);
}

fn warnings_with(line: &Line, words: &[&str]) -> usize {
    let has = |w: &&String| words.iter().all(|word| w.contains(word));
    line.warnings().iter().filter(has).count()
}

#[test]
fn a_stream_that_is_found_and_sends_nothing_is_told_of() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("mute", 100.0, Format::F32));
    let line = Line::new("stream-name=mute data-timeout=600000000");
    line.play();
    line.until("the message", |l| {
        !l.elements("lsl-found-no-data").is_empty()
    });
    let message = line.elements("lsl-found-no-data").remove(0);
    assert_eq!(message.get("name"), Ok("mute"));
    assert_eq!(message.get("source-id"), Ok("mute"));
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(line.elements("lsl-found-no-data").len(), 1);
    assert_eq!(warnings_with(&line, &["'mute'", "no sample", "restart"]), 1);
    // It is taken once it sends, and its next silence is an ordinary loss.
    out.play(out.now(), 0, 50, 5, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 50 * 4);
    line.until("the return", |l| !l.elements("lsl-recovered").is_empty());
    line.until("the loss", |l| l.elements("lsl-lost").len() == 2);
    assert_eq!(line.elements("lsl-found-no-data").len(), 1);
}

#[test]
fn who_has_nothing_to_send_or_sends_is_not_told_of() {
    let Some(lsl) = hermetic() else { return };
    // Markers may never come.
    let _markers = outlet(lsl, &stream("no markers", 0.0, Format::Text));
    let eager = outlet(lsl, &stream("eager", 50.0, Format::F32));
    let lines = ["no markers", "eager"]
        .map(|name| Line::new(&format!("stream-name=\"{name}\" data-timeout=1500000000")));
    lines.iter().for_each(Line::play);
    lines.iter().for_each(Line::connected);
    eager.play(eager.now(), 0, 60, 1, |n, _| n as f32);
    lines[1].until("the loss", |l| !l.elements("lsl-lost").is_empty());
    for line in &lines {
        assert!(line.elements("lsl-found-no-data").is_empty());
        assert_eq!(warnings_with(line, &["no sample"]), 0);
    }
}

/// Bytes of memory of this process.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kb = line.and_then(|l| l.trim().split(' ').next()?.parse::<usize>().ok());
    kb.unwrap_or(0) << 10
}

/// A flood of samples, made once, from a sender by hand to a pipeline whose sink takes
/// nothing for 5 s: how much this process grew, and the line.
fn flood(says: Says, sample: Vec<u8>, script: Script) -> (usize, Line) {
    let name = says.name.clone();
    // The data is counted once, in who receives it: packets are written from one place.
    let per_packet = (1usize << 20).div_ceil(sample.len());
    let length = sample.len();
    let packet = sample.repeat(per_packet);
    let _hand = Hand::playing(Script {
        short: vec![says],
        feed: Some(Arc::new(move |wire| {
            wire.header()?;
            let mut packet = packet.clone();
            while wire.goes_on() {
                let now = clock().to_le_bytes();
                for sample in packet.chunks_exact_mut(length) {
                    sample[1..9].copy_from_slice(&now);
                }
                wire.write(&packet)?;
            }
            Ok(())
        })),
        ..script
    });
    let line = Line::with(
        &format!("stream-name={name}"),
        "queue name=q max-size-buffers=1 max-size-time=0 max-size-bytes=0 ! \
         fakesink sync=false async=false",
    );
    let pad = line.pipeline.by_name("q").and_then(|q| q.static_pad("src"));
    let pad = pad.expect("pad");
    let block = pad.add_probe(
        gst::PadProbeType::BLOCK_DOWNSTREAM | gst::PadProbeType::BUFFER,
        |_, _| gst::PadProbeReturn::Ok,
    );
    let before = memory();
    let mut most = before;
    line.play();
    line.connected();
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        most = most.max(memory());
        std::thread::sleep(Duration::from_millis(10));
    }
    pad.remove_probe(block.expect("probe"));
    (most - before, line)
}

/// One at a time: the memory is that of the whole process.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_flood_of_long_texts_is_bounded_and_told() {
    let _alone = alone();
    if hermetic().is_none() {
        return;
    }
    let says = Says {
        format: "string".into(),
        rate: "0".into(),
        ..Says::sane("long-texts", "Flood")
    };
    let sample = texts_at(clock(), &[vec![b'x'; 1 << 20]]);
    let (grown, line) = flood(says, sample, Script::default());
    println!("1 MB texts: {} MB more", grown >> 20);
    assert!(grown < 800 << 20, "{} MB", grown >> 20);
    line.until("the warning", |l| {
        warnings_with(l, &["oldest are dropped"]) == 1
    });
    // Once it is taken again, the newest come.
    line.until("texts", |l| l.buffers() > 20);
    assert!(line.stat::<u64>("queue-dropped") > 0);
    assert!(line.stat::<u64>("dropped") >= line.stat::<u64>("queue-dropped"));
}

#[test]
fn a_flood_of_many_channels_is_bounded() {
    let _alone = alone();
    if hermetic().is_none() {
        return;
    }
    let says = Says {
        channels: "1024".into(),
        rate: "100".into(),
        ..Says::sane("wide", "Flood")
    };
    let sample = numbers_at(clock(), &[1.5; 1024]);
    let (grown, _line) = flood(says, sample, Script::default());
    println!("1024 channels: {} MB more", grown >> 20);
    assert!(grown < 300 << 20, "{} MB", grown >> 20);
}

/// A stream of one channel that played a second and is gone.
fn gone(name: &str, properties: &str, rest: &str) -> Option<Line> {
    let lsl = hermetic()?;
    let out = outlet(
        lsl,
        &NewStream {
            labels: &["EDA"],
            ..stream(name, 50.0, Format::F32)
        },
    );
    let line = Line::with(&format!("stream-name={name} {properties}"), rest);
    line.play();
    out.wait();
    line.connected();
    out.play(out.now(), 0, 25, 5, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 25 * 4);
    drop(out);
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
    line.forget();
    Some(line)
}

const SINK: &str = "fakesink sync=false async=false";

/// It is back as it was, and goes on.
fn comes_back(line: &Line, name: &str) {
    let Some(lsl) = hermetic() else { return };
    let again = outlet(
        lsl,
        &NewStream {
            labels: &["EDA"],
            ..stream(name, 50.0, Format::F32)
        },
    );
    again.wait();
    again.play(again.now() + 0.3, 0, 25, 5, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 25 * 4);
    assert_eq!(line.elements("lsl-recovered").len(), 1);
}

#[test]
fn a_sensor_that_comes_back_with_other_labels_is_told_of() {
    let Some(line) = gone("relabelled", "channels=0", SINK) else {
        return;
    };
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            labels: &["GSR", "PPG"],
            channels: 2,
            ..stream("relabelled", 50.0, Format::F32)
        },
    );
    out.wait();
    out.play(out.now() + 0.3, 0, 25, 5, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 25 * 4);
    let words = ["channels 2 (before: 1)", "labels GSR, PPG (before: EDA)"];
    assert_eq!(warnings_with(&line, &words), 1, "{:?}", line.warnings());
    let caps = line.caps();
    let labels = caps.structure(0).map(|s| s.get("channel-labels"));
    assert_eq!(labels, Some(Ok("GSR")));
}

#[test]
fn a_sensor_that_comes_back_without_the_channel_is_waited_for() {
    let Some(line) = gone("stripped", "channels=EDA", SINK) else {
        return;
    };
    let Some(lsl) = hermetic() else { return };
    let changed = outlet(
        lsl,
        &NewStream {
            labels: &["GSR"],
            ..stream("stripped", 50.0, Format::F32)
        },
    );
    line.until("the warning", |l| {
        warnings_with(l, &["labels GSR (before: EDA)", "no channel 'EDA'"]) == 1
    });
    assert!(line.elements("lsl-recovered").is_empty());
    drop(changed);
    comes_back(&line, "stripped");
}

#[test]
fn a_sensor_that_downstream_does_not_take_is_waited_for() {
    let rest = format!("application/x-lsl,channels=1 ! {SINK}");
    let Some(line) = gone("widened", "", &rest) else {
        return;
    };
    let Some(lsl) = hermetic() else { return };
    let changed = outlet(
        lsl,
        &NewStream {
            channels: 3,
            ..stream("widened", 50.0, Format::F32)
        },
    );
    line.until("the warning", |l| {
        warnings_with(l, &["channels 3 (before: 1)", "next element takes"]) == 1
    });
    drop(changed);
    comes_back(&line, "widened");
}

/// The next element takes any number of channels by its caps, and not these.
#[test]
fn a_sensor_whose_caps_are_not_accepted_is_waited_for() {
    let Some(line) = gone("refused", "", &format!("tee ! {SINK}")) else {
        return;
    };
    let Some(lsl) = hermetic() else { return };
    let sink = line.src.static_pad("src").and_then(|p| p.peer());
    // SAFETY: nothing comes while the sender is gone.
    unsafe {
        sink.expect("linked")
            .set_query_function(|pad, parent, query| {
                if let gst::QueryViewMut::AcceptCaps(q) = query.view_mut()
                    && q.caps().structure(0).and_then(|s| s.get("channels").ok()) != Some(1)
                {
                    q.set_result(false);
                    return true;
                }
                gst::Pad::query_default(pad, parent, query)
            });
    }
    let changed = outlet(
        lsl,
        &NewStream {
            channels: 2,
            ..stream("refused", 50.0, Format::F32)
        },
    );
    line.until("the warning", |l| {
        warnings_with(l, &["is left out", "channels 2 (before: 1)"]) == 1
    });
    assert_eq!(line.bytes().len(), 0);
    drop(changed);
    comes_back(&line, "refused");
}
