// SPDX-License-Identifier: MPL-2.0
//! Senders that are slow, silent, too fast or changed: what is said, and that the pipeline
//! goes on.

mod lsl_support;

use lsl_support::{Line, Seen, hermetic, outlet, stream};
use std::time::Duration;
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
