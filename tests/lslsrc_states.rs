// SPDX-License-Identifier: MPL-2.0
//! `lslsrc` through state changes, losses, other clocks and odd stamps.

mod lsl_support;

use gst::prelude::*;
use lsl::NewStream;
use lsl_support::{Line, Seen, hermetic, numbers, outlet, stream};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use stream_info::Format;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// PTS of each buffer.
fn times(line: &Line) -> Vec<i64> {
    line.seen()
        .iter()
        .filter_map(|s| match s {
            Seen::Buffer { pts, .. } => Some(*pts as i64),
            _ => None,
        })
        .collect()
}

#[test]
fn fifty_starts_and_stops() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("cycles", 200.0, Format::F32));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                out.push(&[n as f32], &[out.now()]);
                n += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let line = Line::new("stream-name=cycles");
        let none = Line::new("stream-name=never-there");
        let mut slowest = Duration::ZERO;
        let mut change = |line: &Line, state| {
            let begin = Instant::now();
            line.pipeline.set_state(state).expect("state change");
            slowest = slowest.max(begin.elapsed());
        };
        for n in 0..50u64 {
            for line in [&line, &none] {
                change(line, gst::State::Playing);
            }
            // Before it is found, while it is opened, and in the middle of the data.
            std::thread::sleep(Duration::from_millis((n % 10) * 40));
            for line in [&line, &none] {
                change(line, gst::State::Null);
            }
        }
        // Nothing in a state change waits for the network or for liblsl's threads.
        assert!(slowest < Duration::from_millis(400), "{slowest:?}");
        line.forget();
        line.play();
        line.until("samples", |l| l.buffers() > 20);
        line.stop();
        drop((line, none));
        stop.store(true, Ordering::Relaxed);
    });
    drop(out);
    // What was left behind ends by itself; the library keeps a few threads of its own.
    let end = Instant::now() + Duration::from_secs(10);
    while threads() > 40 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(threads() <= 40, "{} threads", threads());
}

#[test]
fn an_element_that_goes_takes_its_thread_along() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("short-lived", 100.0, Format::F32));
    let line = Line::new("stream-name=short-lived");
    let weak = line.src.downgrade();
    line.play();
    out.wait();
    drop(line);
    // Its thread may be in the middle of a message.
    let end = Instant::now() + Duration::from_secs(5);
    while weak.upgrade().is_some() {
        assert!(Instant::now() < end, "nothing keeps the element");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pause_is_a_pause() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("pause", 100.0, Format::I32));
    let line = Line::new("stream-name=pause");
    line.play();
    out.wait();
    let t0 = out.now();
    let base = line.running_time(0.0);
    out.play(t0, 0, 100, 1, |n, _| n as i32);
    line.until("a second", |l| l.bytes().len() >= 396);
    line.pipeline.set_state(gst::State::Paused).expect("paused");
    out.play(t0, 100, 200, 1, |n, _| n as i32);
    line.pipeline
        .set_state(gst::State::Playing)
        .expect("playing");
    line.pipeline
        .state(gst::ClockTime::from_seconds(2))
        .0
        .expect("playing");
    out.play(t0, 200, 300, 1, |n, _| n as i32);
    line.until("the third second", |l| {
        numbers(&l.bytes(), i32::from_le_bytes).last() == Some(&299)
    });
    let moved = line.running_time(0.0) - base;
    assert!(
        moved < -900_000_000,
        "running time stood still for a second: {moved}"
    );
    let values = numbers(&line.bytes(), i32::from_le_bytes);
    let in_pause = values.iter().filter(|v| (105..195).contains(*v)).count();
    assert_eq!(in_pause, 0, "samples of the pause have no running time");
    assert!(values.iter().filter(|v| **v >= 200).count() >= 95);
    let times = times(&line);
    assert!(times.windows(2).all(|w| w[1] > w[0]), "{times:?}");
    // In place on both sides.
    let mut first = 0;
    for s in line.seen() {
        if let Seen::Buffer { pts, data, .. } = s {
            let n = values[first];
            let shift = if n < 150 { base } else { base + moved };
            let truth = ((t0 + f64::from(n) / 100.0) * 1e9) as i64 + shift;
            assert!((pts as i64 - truth).abs() < 10_000, "{n}");
            first += data.len() / 4;
        }
    }
    assert!(line.stat::<u64>("dropped") >= 90);
    let mut marked = Vec::new();
    let mut first = 0;
    for s in line.seen() {
        if let Seen::Buffer { flags, data, .. } = s {
            if flags.contains(gst::BufferFlags::DISCONT) {
                marked.push(values[first]);
            }
            first += data.len() / 4;
        }
    }
    // A sample that slipped through while the pause took hold may be marked as well.
    marked.retain(|n| !(95..105).contains(n));
    assert!(
        matches!(marked[..], [0, after] if (190..215).contains(&after)),
        "at the start and after the pause: {marked:?}"
    );
}

#[test]
fn eos_ends_it_at_any_time() {
    let Some(lsl) = hermetic() else { return };
    let line = Line::new("stream-name=nobody");
    line.play();
    assert!(line.src.send_event(gst::event::Eos::new()));
    line.eos();
    let out = outlet(lsl, &stream("eos", 100.0, Format::F32));
    let line = Line::new("stream-name=eos");
    line.play();
    out.wait();
    out.play(out.now(), 0, 100, 1, |n, _| n as f32);
    line.until("samples", |l| l.buffers() > 5);
    assert!(line.src.send_event(gst::event::Eos::new()));
    line.eos();
}

#[test]
fn a_stream_that_never_comes_does_not_keep_a_pipeline_from_playing() {
    // gst-launch-1.0 stays in PAUSED while there is progress.
    if hermetic().is_none() {
        return;
    }
    let line = Line::new("stream-name=never");
    let progress = |line: &Line| {
        line.messages()
            .iter()
            .filter(|m| m.type_() == gst::MessageType::Progress)
            .count()
    };
    line.pipeline.set_state(gst::State::Paused).expect("paused");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(progress(&line), 0);
    line.play();
    line.until("progress", |l| progress(l) == 1);
    let begin = Instant::now();
    line.stop();
    assert!(begin.elapsed() < Duration::from_millis(400));
}

#[test]
fn a_flush_loses_nothing_for_good() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("flush", 100.0, Format::I16));
    let line = Line::new("stream-name=flush");
    line.play();
    out.wait();
    let t0 = out.now();
    out.play(t0, 0, 100, 1, |n, _| n as i16);
    line.until("samples", |l| l.buffers() > 5);
    assert!(line.src.send_event(gst::event::FlushStart::new()));
    assert!(line.src.send_event(gst::event::FlushStop::new(false)));
    // Silence first, so that a gap event is what comes behind the flush.
    out.play(t0, 300, 400, 1, |n, _| n as i16);
    line.until("the rest", |l| {
        numbers(&l.bytes(), i16::from_le_bytes).last() == Some(&399)
    });
    let values = numbers(&line.bytes(), i16::from_le_bytes);
    assert_eq!(
        values[values.len() - 100..],
        (300..400).collect::<Vec<i16>>()
    );
    let last = *times(&line).last().expect("buffers");
    assert!((last - line.running_time(t0 + 3.99)).abs() < 30_000_000);
}

#[test]
fn a_silent_stream_is_lost_and_found() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("silent", 100.0, Format::I16));
    let line = Line::new("stream-name=silent data-timeout=600000000");
    line.play();
    out.wait();
    let t0 = out.now();
    out.play(t0, 0, 100, 2, |n, _| n as i16);
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
    assert!(!line.stat::<bool>("connected"));
    out.play(t0, 300, 400, 2, |n, _| n as i16);
    line.until("the return", |l| !l.elements("lsl-recovered").is_empty());
    line.until("all samples", |l| l.bytes().len() == 400);
    let values = numbers(&line.bytes(), i16::from_le_bytes);
    assert_eq!(values, (0..100).chain(300..400).collect::<Vec<i16>>());
    assert_eq!(line.elements("lsl-lost").len(), 1);
    assert_eq!(line.elements("lsl-connected").len(), 1);
    assert_eq!(line.stat::<u64>("losses"), 1);
    assert!(line.stat::<bool>("connected"));
}

/// Who hears a message and asks `stats` is not told the old state, whatever the threads do.
#[test]
fn the_statistics_know_the_news_when_it_is_told() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("news", 100.0, Format::I16));
    // The streaming thread hangs behind: the news must not wait for it.
    let line = Line::with(
        "stream-name=news data-timeout=500000000",
        "identity sleep-time=300000 ! fakesink sync=false async=false",
    );
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (record, weak) = (told.clone(), line.src.downgrade());
    let bus = line.pipeline.bus().expect("bus");
    bus.set_sync_handler(move |_, message| {
        if let (Some(s), Some(src)) = (message.structure(), weak.upgrade())
            && s.name().starts_with("lsl-")
        {
            let stats: gst::Structure = src.property("stats");
            record.lock().expect("no panic").push((
                s.name().to_string(),
                stats.get::<bool>("connected").expect("connected"),
                stats.get::<u64>("losses").expect("losses"),
            ));
        }
        gst::BusSyncReply::Pass
    });
    line.play();
    out.wait();
    let t0 = out.now();
    out.play(t0, 0, 100, 2, |n, _| n as i16);
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
    out.play(t0, 300, 400, 2, |n, _| n as i16);
    line.until("the return", |l| !l.elements("lsl-recovered").is_empty());
    line.stop();
    let told = told.lock().expect("no panic");
    let wanted = [
        ("lsl-connected".to_string(), true, 0),
        ("lsl-lost".to_string(), false, 1),
        ("lsl-recovered".to_string(), true, 1),
    ];
    assert_eq!(told[..3], wanted);
    assert_eq!(line.stat::<u64>("losses"), told.last().expect("news").2);
}

#[test]
fn silence_of_an_irregular_stream_is_no_loss() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("quiet", 0.0, Format::Text));
    let line = Line::new("stream-name=quiet data-timeout=300000000 on-lost=error");
    line.play();
    out.wait();
    std::thread::sleep(Duration::from_millis(1200));
    out.outlet.push_text(&["x"], &[out.now()]).expect("push");
    line.until("the marker", |l| l.buffers() == 1);
    assert!(line.elements("lsl-lost").is_empty());
}

#[test]
fn the_end_of_a_sender_is_what_on_lost_says() {
    let Some(lsl) = hermetic() else { return };
    for on_lost in ["eos", "error", "wait"] {
        let name = format!("gone-{on_lost}");
        let new = stream(&name, 100.0, Format::F32);
        let out = outlet(lsl, &new);
        let line = Line::new(&format!("stream-name={name} on-lost={on_lost}"));
        line.play();
        out.wait();
        out.play(out.now(), 0, 100, 1, |n, _| n as f32);
        line.until("samples", |l| l.bytes().len() == 400);
        drop(out);
        line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
        match on_lost {
            "eos" => line.eos(),
            "error" => {
                let e = line.error(Duration::from_secs(10));
                assert!(e.contains("lost") && e.contains("'gone-error'"), "{e}");
            }
            _ => {
                // Back with other channels: the caps change, the samples go on.
                let out = outlet(lsl, &NewStream { channels: 2, ..new });
                line.forget();
                out.wait();
                out.play(out.now(), 0, 50, 1, |n, c| n as f32 + c as f32 / 2.0);
                line.until("samples", |l| l.bytes().len() == 400);
                assert_eq!(
                    line.caps().structure(0).expect("caps").get("channels"),
                    Ok(2)
                );
                assert!(line.seen().iter().any(|s| matches!(s, Seen::Caps(_))));
                assert_eq!(line.elements("lsl-recovered").len(), 1);
                assert_eq!(line.elements("lsl-lost").len(), 1);
                drop(out);
            }
        }
    }
}

#[test]
fn unix_stamps_are_mapped_with_a_warning() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("unix", 100.0, Format::F32));
    let line = Line::new("stream-name=unix");
    line.play();
    out.wait();
    let unix = 1_700_000_000.0;
    let t0 = out.now();
    for n in 0..200 {
        let t = f64::from(n) / 100.0;
        out.sleep_until(t0 + t);
        out.push(&[n as f32], &[unix + t]);
    }
    line.until("samples", |l| l.bytes().len() == 800);
    assert_eq!(line.stat::<String>("timestamp-mode"), "mapped");
    let warnings = line.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("'unix'") && warnings[0].contains("mapped"),
        "{warnings:?}"
    );
    let mut n = 0;
    for s in line.seen() {
        if let Seen::Buffer { pts, data, raw, .. } = s {
            let truth = line.running_time(t0 + f64::from(n) / 100.0);
            let error = pts as i64 - truth;
            assert!((-1_000_000..30_000_000).contains(&error), "{n}: {error}");
            let raw = raw.expect("the sender's stamp") as f64 / 1e9 - unix;
            assert!((raw - f64::from(n) / 100.0).abs() < 1e-5);
            n += data.len() as i32 / 4;
        }
    }

    // Whoever says `lsl` gets what the stamps say: nothing that this pipeline can play.
    let line = Line::new("stream-name=unix timestamp-source=lsl");
    line.play();
    line.connected();
    out.push(&[1.0f32; 10], &[out.now() - 1000.0; 10]);
    line.until("the drop", |l| l.stat::<u64>("dropped") == 10);
    assert!(line.warnings().is_empty());
}

#[test]
fn arrival_is_when_it_came() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("arrival", 50.0, Format::F32));
    let line = Line::new("stream-name=arrival timestamp-source=arrival");
    line.play();
    out.wait();
    let t0 = out.now();
    for n in 0..100 {
        let t = t0 + f64::from(n) / 50.0;
        out.sleep_until(t);
        out.push(&[n as f32], &[77.0]);
    }
    line.until("samples", |l| l.bytes().len() == 400);
    // On a busy machine some come together.
    let mut errors = Vec::new();
    let mut n = 0;
    for s in line.seen() {
        if let Seen::Buffer { pts, data, .. } = s {
            errors.push(pts as i64 - line.running_time(t0 + n as f64 / 50.0));
            n += data.len() / 4;
        }
    }
    assert!(errors.len() > 50, "{}", errors.len());
    errors.sort();
    assert!(
        // Half a sample: the line through the arrivals of two seconds knows no better there.
        (-10_000_000..20_000_000).contains(&errors[errors.len() / 2]),
        "{errors:?}"
    );
    assert_eq!(line.stat::<String>("timestamp-mode"), "arrival");
}

#[test]
fn jitter_is_taken_off_unless_told_otherwise() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("jitter", 100.0, Format::F32));
    let smooth = Line::new("stream-name=jitter chunk-duration=0");
    let raw = Line::new("stream-name=jitter chunk-duration=0 dejitter=false");
    for l in [&smooth, &raw] {
        l.play();
        l.connected();
    }
    let t0 = out.now();
    let jitter = |n: u64| ((n * 7919) % 101) as f64 * 4e-5;
    for n in 0..500 {
        let t = t0 + n as f64 / 100.0;
        out.sleep_until(t);
        out.push(&[n as f32], &[t + jitter(n)]);
    }
    for l in [&smooth, &raw] {
        l.until("samples", |l| l.bytes().len() == 2000);
    }
    let mean = 50.0 * 4e-5;
    // A buffer has a time for its first sample only; most have one.
    let error = |line: &Line, expected: &dyn Fn(u64) -> f64| {
        let mut n = 0;
        let mut worst = 0i64;
        for s in line.seen() {
            if let Seen::Buffer { pts, data, .. } = s {
                if n >= 200 {
                    let truth = line.running_time(t0 + n as f64 / 100.0 + expected(n));
                    worst = worst.max((pts as i64 - truth).abs());
                }
                n += data.len() as u64 / 4;
            }
        }
        worst
    };
    let (a, b) = (error(&smooth, &|_| mean), error(&raw, &jitter));
    assert!(a < 600_000, "smooth: {a} ns off the raster");
    assert!(b < 2_000, "raw: {b} ns off the sender's stamps");
}

#[test]
fn the_delay_of_the_device_is_subtracted() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            offset_mean: Some(0.0335),
            ..stream("delay", 100.0, Format::F32)
        },
    );
    let own = Line::new("stream-name=delay");
    let set = Line::new("stream-name=delay device-delay=100000000");
    let none = Line::new("stream-name=delay device-delay=0");
    for l in [&own, &set, &none] {
        l.play();
        l.connected();
    }
    let t0 = out.now() + 0.2;
    out.play(t0, 0, 20, 1, |n, _| n as f32);
    for (l, delay) in [(&own, 0.0335), (&set, 0.1), (&none, 0.0)] {
        l.until("samples", |l| l.bytes().len() == 80);
        let error = times(l)[0] - l.running_time(t0 - delay);
        assert!(error.abs() < 10_000, "{delay}: {error}");
    }
}

#[test]
fn another_pipeline_clock_is_followed() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("clock", 100.0, Format::F32));
    let line = Line::new("stream-name=clock");
    let clock: gst::Clock = gst::glib::Object::builder::<gst::SystemClock>()
        .property("clock-type", gst::ClockType::Realtime)
        .build()
        .upcast();
    line.pipeline.use_clock(Some(&clock));
    line.play();
    out.wait();
    // The distance of the two clocks, read close together.
    let (a, time, b) = (out.now(), clock.time(), out.now());
    let distance = time.nseconds() as i64 - ((a + b) / 2.0 * 1e9) as i64;
    let t0 = out.now();
    out.play(t0, 0, 400, 1, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 1600);
    let base = line.src.base_time().expect("base time").nseconds() as i64;
    let mut n = 0;
    for s in line.seen() {
        if let Seen::Buffer { pts, data, .. } = s {
            let truth = ((t0 + f64::from(n) / 100.0) * 1e9) as i64 + distance - base;
            assert!(
                (pts as i64 - truth).abs() < 1_000_000,
                "{n}: {}",
                pts as i64 - truth
            );
            n += data.len() as i32 / 4;
        }
    }
}

#[test]
fn what_nobody_takes_is_bounded() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("stuck", 100.0, Format::F32));
    // Downstream stands still: the source neither grows nor loses its way.
    let line = Line::with(
        "stream-name=stuck",
        "queue name=q max-size-buffers=1 max-size-time=0 max-size-bytes=0 ! \
         fakesink sync=false async=false",
    );
    line.play();
    out.wait();
    let t0 = out.now();
    out.play(t0, 0, 100, 1, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 400);
    let pad = line
        .pipeline
        .by_name("q")
        .and_then(|q| q.static_pad("src"))
        .expect("pad");
    let block = pad
        .add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
            gst::PadProbeReturn::Ok
        })
        .expect("probe");
    out.play(t0, 100, 250, 1, |n, _| n as f32);
    pad.remove_probe(block);
    line.until("the rest", |l| l.bytes().len() == 1000);
    let values = numbers(&line.bytes(), f32::from_le_bytes);
    assert!(values.iter().enumerate().all(|(i, v)| *v == i as f32));
    // And it can be stopped while it is blocked.
    pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
        gst::PadProbeReturn::Ok
    });
    out.play(t0, 250, 300, 1, |n, _| n as f32);
    let begin = Instant::now();
    line.stop();
    assert!(begin.elapsed() < Duration::from_secs(1));
}
