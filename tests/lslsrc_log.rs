// SPDX-License-Identifier: MPL-2.0
//! What `GST_DEBUG=lslsrc:6` tells; alone in its process, because the log is.

mod lsl_support;

use lsl::NewStream;
use lsl_support::{Line, hermetic, outlet, stream};
use std::sync::{Arc, Mutex};
use stream_info::Format;

/// What lslsrc logs from now on: level and text.
fn logged() -> Arc<Mutex<Vec<(gst::DebugLevel, String)>>> {
    let lines = Arc::<Mutex<Vec<_>>>::default();
    let all = lines.clone();
    gst::log::remove_default_log_function();
    gst::log::set_threshold_for_name("lslsrc", gst::DebugLevel::Log);
    gst::log::add_log_function(move |category, level, _, _, _, _, message| {
        if category.name() == "lslsrc" {
            let text = message.get().map(|t| t.to_string()).unwrap_or_default();
            all.lock().unwrap().push((level, text));
        }
    });
    lines
}

#[test]
fn the_log_says_what_was_decided_and_why() {
    let Some(lsl) = hermetic() else { return };
    let new = NewStream {
        channels: 2,
        labels: &["skin", "hand"],
        ..stream("told", 100.0, Format::F32)
    };
    let out = outlet(lsl, &new);
    let line = Line::new("stream-name=told channels=hand");
    let lines = logged();
    line.play();
    out.wait();
    let t0 = out.now();
    out.play(t0, 0, 300, 1, |n, _| n as f32);
    out.play(t0, 450, 500, 1, |n, _| n as f32);
    line.until("all samples", |l| l.bytes().len() == 4 * 350);
    line.until("the new latency", |l| {
        l.stat::<u64>("latency") < 250_000_000
    });
    let lines = lines.lock().unwrap();
    for (level, parts) in [
        (
            gst::DebugLevel::Debug,
            &["1 candidate(s)", "name='told'"][..],
        ),
        (
            gst::DebugLevel::Debug,
            &["chose 'told'", "the only one that matches"],
        ),
        (gst::DebugLevel::Debug, &["channels [1] are kept"]),
        (gst::DebugLevel::Info, &["lsl-connected: 'told'"]),
        (
            gst::DebugLevel::Debug,
            &["pipeline clock Some", "LSL's: running"],
        ),
        (gst::DebugLevel::Debug, &["timestamp mode Waiting"]),
        (
            gst::DebugLevel::Debug,
            &["timestamp mode SameHost", "clock offset Some"],
        ),
        (gst::DebugLevel::Log, &["measured clock offset"]),
        (
            gst::DebugLevel::Debug,
            &["caps application/x-lsl", "downstream takes"],
        ),
        (
            gst::DebugLevel::Debug,
            &["latency 0:00:00.0", "samples come"],
        ),
        (gst::DebugLevel::Debug, &["no samples from 0:00:0"]),
        (gst::DebugLevel::Debug, &["discontinuity at"]),
        (gst::DebugLevel::Log, &["pushing Buffer"]),
    ] {
        let told = lines
            .iter()
            .any(|(l, text)| *l <= level && parts.iter().all(|p| text.contains(p)));
        assert!(told, "{level:?} {parts:?}: {lines:#?}");
    }
}
