// SPDX-License-Identifier: MPL-2.0
//! The same samples, once through `lslsrc` and once from a recording through `xdfdemux`,
//! come out as the same samples at the same times, with the same gaps and discontinuities.

mod lsl_support;
mod xdf_support;

use gst::prelude::*;
use lsl_support::{Line, Seen, hermetic, outlet, stream};
use std::sync::{Arc, Mutex};
use stream_info::Format;
use xdf_support::{Sample, Xdf};

/// What came out of a pad, in a form that does not depend on where buffers are cut.
#[derive(Debug, Default, Clone, PartialEq)]
struct Stream {
    /// Microseconds since the first sample, and bytes.
    samples: Vec<(i64, Vec<u8>)>,
    /// Samples that come with DISCONT, but for the first.
    disconts: Vec<usize>,
    /// Microseconds since the first sample in which there are no samples.
    gaps: Vec<(i64, i64)>,
    /// Samples of the fullest buffer.
    most: usize,
}

/// `size`: bytes of a sample; 0 where each buffer is a sample.
fn stream_of(seen: &[Seen], size: usize) -> Stream {
    let mut all = Stream::default();
    let mut begin = None;
    for s in seen {
        match s {
            Seen::Buffer {
                pts,
                duration,
                flags,
                data,
                ..
            } => {
                let n = data.len().checked_div(size).unwrap_or(1);
                all.most = all.most.max(n);
                if flags.contains(gst::BufferFlags::DISCONT) && !all.samples.is_empty() {
                    all.disconts.push(all.samples.len());
                }
                let begin = *begin.get_or_insert(*pts as i64);
                for i in 0..n {
                    let after = duration.unwrap_or(0) as i64 * i as i64 / n as i64;
                    let bytes = match size {
                        0 => data.clone(),
                        size => data[i * size..(i + 1) * size].to_vec(),
                    };
                    let time = (*pts as i64 + after - begin) / 1000;
                    all.samples.push((time, bytes));
                }
            }
            Seen::Gap { start, duration } => {
                if let Some(begin) = begin {
                    let from = (*start as i64 - begin) / 1000;
                    let to = from + *duration as i64 / 1000;
                    match all.gaps.last_mut() {
                        Some(last) if (from - last.1).abs() <= 2 => last.1 = to,
                        _ => all.gaps.push((from, to)),
                    }
                }
            }
            _ => {}
        }
    }
    // Before the first sample and behind the last one nothing is compared.
    let end = all.samples.last().map_or(0, |s| s.0);
    all.gaps.retain(|g| g.1 <= end);
    all
}

/// Everything that `xdfdemux` gives of the only stream of `xdf`.
fn recorded(xdf: &Xdf) -> Vec<Seen> {
    let file = tempfile::Builder::new().suffix(".xdf").tempfile();
    let file = file.expect("file");
    std::fs::write(file.path(), &xdf.bytes).expect("write");
    let line = "filesrc name=src ! xdfdemux name=x x. ! fakesink name=k sync=false async=false";
    let pipeline = gst::parse::launch(line).expect(line);
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let path = file.path().to_str().expect("UTF-8");
    let src = pipeline.by_name("src").expect("src");
    src.set_property("location", path);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    let sink = pipeline.by_name("k").expect("k");
    let pad = sink.static_pad("sink").expect("sink");
    pad.add_probe(kinds, move |_, info| {
        let what = match &info.data {
            Some(gst::PadProbeData::Buffer(b)) => Seen::Buffer {
                pts: b.pts().expect("a time").nseconds(),
                duration: b.duration().map(|d| d.nseconds()),
                flags: b.flags(),
                data: b.map_readable().expect("readable").to_vec(),
                raw: None,
                at: 0,
            },
            Some(gst::PadProbeData::Event(e)) => match e.view() {
                gst::EventView::Gap(g) => Seen::Gap {
                    start: g.get().0.nseconds(),
                    duration: g.get().1.expect("an end").nseconds(),
                },
                _ => return gst::PadProbeReturn::Ok,
            },
            _ => return gst::PadProbeReturn::Ok,
        };
        record.lock().expect("lock").push(what);
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("playing");
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline
        .bus()
        .expect("bus")
        .timed_pop_filtered(gst::ClockTime::from_seconds(20), &ends)
        .expect("an end");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline.set_state(gst::State::Null).expect("null");
    let seen = seen.lock().expect("lock");
    seen.clone()
}

fn compare(name: &str, live: &Stream, again: &Stream, tolerance: i64) {
    assert_eq!(live.samples.len(), again.samples.len(), "{name}");
    for (i, (a, b)) in live.samples.iter().zip(&again.samples).enumerate() {
        assert_eq!(a.1, b.1, "{name}: sample {i}");
        assert!(
            (a.0 - b.0).abs() <= tolerance,
            "{name}: sample {i}: {a:?} {b:?}"
        );
    }
    assert_eq!(live.disconts, again.disconts, "{name}");
    assert_eq!(
        live.gaps.len(),
        again.gaps.len(),
        "{name}: {live:?} {again:?}"
    );
    for (a, b) in live.gaps.iter().zip(&again.gaps) {
        // A gap begins an interval after the last sample: measured live, nominal in a file.
        let near = (a.0 - b.0).abs() <= 5 * tolerance && (a.1 - b.1).abs() <= tolerance;
        assert!(near, "{name}: {a:?} {b:?}");
    }
}

#[test]
fn a_regular_stream_with_losses() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("twice-regular", 100.0, Format::F32));
    let line = Line::new("stream-name=twice-regular");
    line.play();
    out.wait();
    line.connected();
    let t0 = out.now() + 0.1;
    // One sample is lost, then three quarters of a second, then more than a second.
    let missing = |n: u64| n == 120 || (200..275).contains(&n) || (350..480).contains(&n);
    let mut xdf = Xdf::new();
    xdf.stream(1, "twice-regular", 1, "float32", 100.0);
    xdf.offset(1, t0, 0.0);
    for n in (0..600u64).filter(|n| !missing(*n)) {
        let stamp = t0 + n as f64 / 100.0;
        out.sleep_until(stamp);
        out.push(&[n as f32], &[stamp]);
        xdf.floats(1, &[(stamp, n as f32)]);
    }
    line.until("samples", |l| l.bytes().ends_with(&599f32.to_le_bytes()));
    let live = stream_of(&line.seen(), 4);
    line.stop();
    let again = stream_of(&recorded(&xdf), 4);
    assert!(live.disconts.len() >= 2, "{:?}", live.disconts);
    assert!(live.gaps.len() >= 2, "{:?}", live.gaps);
    assert!(live.most > 1 && again.most > 1);
    compare("regular", &live, &again, 60);
}

#[test]
fn text_and_events_whatever_rate_they_declare() {
    let Some(lsl) = hermetic() else { return };
    for (name, rate) in [
        ("twice-text", 20.0),
        ("twice-fast", 500.0),
        ("twice-free", 0.0),
    ] {
        let out = outlet(lsl, &stream(name, rate, Format::Text));
        let line = Line::new(&format!("stream-name={name}"));
        line.play();
        out.wait();
        line.connected();
        let t0 = out.now() + 0.1;
        let mut xdf = Xdf::new();
        xdf.stream(1, name, 1, "string", rate);
        xdf.offset(1, t0, 0.0);
        for n in 0..12u32 {
            let stamp = t0 + f64::from(n) * 0.05 + f64::from(n % 3) * 0.013;
            let text = format!("word {n}");
            out.sleep_until(stamp);
            out.outlet
                .push_text(&[text.as_bytes()], &[stamp])
                .expect("push");
            xdf.samples(1, &[(Some(stamp), Sample::Texts(&[&text]))]);
        }
        line.until("samples", |l| l.bytes().ends_with(b"word 11"));
        let live = stream_of(&line.seen(), 0);
        line.stop();
        let again = stream_of(&recorded(&xdf), 0);
        assert_eq!(live.samples.len(), 12, "{name}");
        assert_eq!(live.samples[3].1, b"word 3", "{name}");
        compare(name, &live, &again, 60);
    }
}

#[test]
fn a_stream_that_declares_a_rate_and_sends_events() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("twice-events", 5.0, Format::F32));
    let line = Line::new("stream-name=twice-events");
    line.play();
    out.wait();
    line.connected();
    let t0 = out.now() + 0.1;
    let mut xdf = Xdf::new();
    xdf.stream(1, "twice-events", 1, "float32", 5.0);
    xdf.offset(1, t0, 0.0);
    // Between 20 and 140 ms apart, by a linear congruential generator.
    let (mut stamp, mut chance) = (t0, 1u32);
    for n in 0..80u32 {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        stamp += 0.02 + f64::from(chance >> 22) / 1024.0 * 0.12;
        out.sleep_until(stamp);
        out.push(&[n as f32], &[stamp]);
        xdf.floats(1, &[(stamp, n as f32)]);
    }
    line.until("samples", |l| l.bytes().ends_with(&79f32.to_le_bytes()));
    let live = line.seen();
    line.stop();
    // Once found out, each is a buffer without a duration at its own time.
    let events = |seen: &[Seen]| -> Vec<(Option<u64>, Vec<u8>)> {
        seen.iter()
            .filter_map(|s| match s {
                Seen::Buffer { duration, data, .. } => Some((*duration, data.clone())),
                _ => None,
            })
            .collect()
    };
    let (live, again) = (events(&live), events(&recorded(&xdf)));
    for (name, buffers) in [("live", &live), ("recorded", &again)] {
        let free = buffers.iter().filter(|b| b.0.is_none()).count();
        assert!(free >= 16, "{name}: {free} of {}", buffers.len());
        assert!(buffers.last().is_some_and(|b| b.0.is_none()), "{name}");
    }
}
