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
