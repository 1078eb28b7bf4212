// SPDX-License-Identifier: MPL-2.0
//! What devices and their programs really send, with outlets that do the same.

mod lsl_support;

use lsl::NewStream;
use lsl_support::{Line, Peer, Seen, hermetic, numbers, outlet, python, stream};
use std::time::Duration;
use stream_info::Format;

/// PTS (ns), duration and values of each buffer of one f32 channel.
fn buffers(line: &Line) -> Vec<(i64, Option<u64>, Vec<f32>)> {
    line.seen()
        .iter()
        .filter_map(|s| match s {
            Seen::Buffer {
                pts,
                duration,
                data,
                ..
            } => Some((*pts as i64, *duration, numbers(data, f32::from_le_bytes))),
            _ => None,
        })
        .collect()
}

fn field(line: &Line, name: &str) -> Option<String> {
    let caps = line.caps();
    let s = caps.structure(0).expect("caps");
    s.get::<String>(name).ok()
}

fn rate(line: &Line) -> gst::Fraction {
    line.caps()
        .structure(0)
        .expect("caps")
        .get("rate")
        .expect("a rate")
}

/// OpenSignals: the device's address where the type belongs, a sequence counter in
/// channel 0.
#[test]
fn an_address_as_type_and_a_counter_as_channel() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            stream_type: "00:07:80:4D:2E:76",
            channels: 3,
            labels: &["nSeq", "ECG0", "EDA1"],
            ..stream("OpenSignals", 100.0, Format::F32)
        },
    );
    let wanted = Line::new("stream-type=00:07:80:4D:2E:76 channels=EDA1,ECG0");
    let all = Line::new("stream-name=OpenSignals");
    wanted.play();
    all.play();
    out.wait();
    wanted.connected();
    all.connected();
    let t0 = out.now() + 0.05;
    // The counter wraps, as the device's does.
    let value = |n: u64, c: usize| match c {
        0 => (n % 16) as f32,
        c => n as f32 + c as f32 / 8.0,
    };
    out.play(t0, 0, 100, 5, value);
    wanted.until("samples", |l| l.bytes().len() == 100 * 8);
    all.until("samples", |l| l.bytes().len() == 100 * 12);
    let pairs: Vec<f32> = (0..100).flat_map(|n| [value(n, 2), value(n, 1)]).collect();
    assert_eq!(numbers(&wanted.bytes(), f32::from_le_bytes), pairs);
    assert_eq!(
        field(&wanted, "channel-labels").as_deref(),
        Some("EDA1,ECG0")
    );
    assert_eq!(
        field(&wanted, "stream-type").as_deref(),
        Some("00:07:80:4D:2E:76")
    );
    // Who keeps all gets the counter as it is.
    let whole = numbers(&all.bytes(), f32::from_le_bytes);
    assert!(
        whole
            .chunks(3)
            .enumerate()
            .all(|(n, v)| v[0] == (n % 16) as f32)
    );
    for line in [&wanted, &all] {
        assert!(line.warnings().is_empty(), "{:?}", line.warnings());
    }
}

/// Polar and others: the channel's label in `<name>`.
#[test]
fn labels_in_name() {
    if hermetic().is_none() {
        return;
    }
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let words =
        "named --rate 130 --channels 2 --label-tag name --labels ecg,rr --units microvolts,ms";
    let peer = Peer::pylsl(&python, &[], &words.split(' ').collect::<Vec<_>>());
    let line = Line::new("stream-name=named channels=rr");
    line.play();
    peer.wait("start");
    line.until("samples", |l| l.buffers() > 5);
    assert_eq!(field(&line, "channel-labels").as_deref(), Some("rr"));
    assert_eq!(field(&line, "units").as_deref(), Some("ms"));
    // Channel 1 of the peer is n + 1/8.
    let first = buffers(&line)[0].2[0];
    assert_eq!(first.fract(), 0.125);
}

/// E4 streaming server and Shimmer: one source id for everything, and again for the
/// stream that comes back.
#[test]
fn one_source_id_for_all() {
    let Some(lsl) = hermetic() else { return };
    let same = |name: &'static str, stream_type: &'static str, rate: f64| {
        outlet(
            lsl,
            &NewStream {
                stream_type,
                source_id: "test",
                ..stream(name, rate, Format::F32)
            },
        )
    };
    let eda = same("E4-EDA", "EDA", 4.0);
    let ppg = same("E4-PPG", "PPG", 64.0);
    let lines = [("EDA", &eda, 4.0), ("PPG", &ppg, 64.0)].map(|(kind, out, rate)| {
        let line = Line::new(&format!("stream-type={kind} source-id=test"));
        line.play();
        out.wait();
        line.connected();
        (kind, out, rate, line)
    });
    std::thread::scope(|scope| {
        for (kind, out, rate, line) in &lines {
            scope.spawn(move || {
                let begin = if *kind == "EDA" { 1000.0 } else { 5000.0 };
                let t0 = out.now() + 0.05;
                let count = (*rate * 2.0) as u64;
                out.play(t0, 0, count, 1, |n, _| begin + n as f32);
                line.until("samples", |l| l.bytes().len() as u64 == 4 * count);
                let values = numbers(&line.bytes(), f32::from_le_bytes);
                assert!(
                    values
                        .iter()
                        .enumerate()
                        .all(|(n, v)| *v == begin + n as f32)
                );
            });
        }
    });
    // Only one of the two goes and comes back; nothing else may take its place.
    let [_, (_, _, _, line)] = &lines;
    drop(ppg);
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
    line.forget();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(line.buffers(), 0, "the other stream is no successor");
    let again = same("E4-PPG", "PPG", 64.0);
    again.wait();
    again.play(again.now() + 0.05, 0, 64, 1, |n, _| n as f32);
    line.until("the return", |l| !l.elements("lsl-recovered").is_empty());
    line.until("samples", |l| l.buffers() > 5);
    assert!(buffers(line).iter().all(|b| b.2.iter().all(|v| *v < 64.0)));
}

/// Shimmer's Python server sends kOhm where conductance is wanted: passed as it is, with its unit,
/// from which `mvpfusion` converts it (tests/mvpfusion_units.rs).
#[test]
fn a_resistance_stays_one_in_lslsrc() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            stream_type: "EDA",
            labels: &["GSR"],
            units: &["kOhms"],
            ..stream("ShimmerData", 51.2, Format::F32)
        },
    );
    let line = Line::new("stream-name=ShimmerData");
    line.play();
    out.wait();
    line.connected();
    out.play(out.now() + 0.05, 0, 60, 1, |n, _| 200.0 + n as f32 / 7.0);
    line.until("samples", |l| l.bytes().len() == 60 * 4);
    assert_eq!(field(&line, "units").as_deref(), Some("kOhms"));
    let values = numbers(&line.bytes(), f32::from_le_bytes);
    let exact = values.iter().enumerate();
    assert!(exact.clone().all(|(n, v)| *v == 200.0 + n as f32 / 7.0));
}

/// Shimmer: 51.2 Hz is no whole number, and the last sample of a minute is where it
/// belongs.
#[test]
fn fifty_one_point_two() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("SendData", 51.2, Format::F32));
    let line = Line::new("stream-name=SendData");
    line.play();
    out.wait();
    line.connected();
    let t0 = out.now() + 0.05;
    out.play(t0, 0, 512, 8, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 512 * 4);
    assert_eq!(rate(&line), gst::Fraction::new(256, 5));
    for (pts, duration, values) in buffers(&line) {
        let truth = line.running_time(t0 + f64::from(values[0]) / 51.2);
        assert!(
            (pts - truth).abs() < 20_000,
            "{}: {}",
            values[0],
            pts - truth
        );
        let wanted = values.len() as f64 / 51.2 * 1e9;
        let duration = duration.expect("regular") as f64;
        assert!((duration - wanted).abs() < 20_000.0, "{duration} {wanted}");
    }
    assert_eq!(line.stat::<u64>("gaps"), 0);
    let measured = line.stat::<f64>("effective-rate");
    assert!((measured - 51.2).abs() < 0.01, "{measured}");
}

/// E4's BVP: declared as 64 Hz, really 32, stamped when it is sent.
#[test]
fn half_the_declared_rate() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("half", 64.0, Format::F32));
    let line = Line::new("stream-name=half");
    line.play();
    out.wait();
    line.connected();
    let t0 = out.now() + 0.05;
    let mut worst = 0f64;
    for n in 0..32u32 * 20 {
        let truth = t0 + f64::from(n) / 32.0;
        out.sleep_until(truth);
        // Up to 3 ms of jitter.
        let stamp = truth + f64::from(n * 7919 % 64) * 3e-3 / 64.0;
        out.push(&[n as f32], &[stamp]);
    }
    line.until("samples", |l| l.bytes().len() == 32 * 20 * 4);
    for (pts, _, values) in buffers(&line) {
        let n = f64::from(values[0]);
        // In the middle of the jitter, once the rate is learned.
        let truth = line.running_time(t0 + n / 32.0 + 1.5e-3);
        if n > 320.0 {
            worst = worst.max((pts - truth).abs() as f64 / 1e6);
        }
    }
    println!("64 Hz that are 32: worst error after 10 s {worst:.3} ms");
    assert!(worst < 3.0, "{worst} ms");
    let measured = line.stat::<f64>("effective-rate");
    assert!((measured - 32.0).abs() < 0.2, "{measured}");
    let told = line.warnings();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("32.") && told[0].contains("declares"),
        "{told:?}"
    );
    assert!(!line.stat::<bool>("irregular"));
    // Declared as it is; what it says of itself is not rewritten.
    assert_eq!(rate(&line), gst::Fraction::new(64, 1));
}

/// E4's beats: one a second by declaration, really whenever the heart beats.
#[test]
fn beats_declared_as_one_hertz() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("IBI", 1.0, Format::F32));
    let line = Line::new("stream-name=IBI");
    line.play();
    out.wait();
    line.connected();
    let mut stamps = Vec::new();
    let mut next = out.now() + 0.05;
    let mut random = 2_463_534_242u32;
    for n in 0..110u32 {
        out.sleep_until(next);
        out.push(&[n as f32], &[next]);
        stamps.push(next);
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        next += 0.06 + f64::from(random % 1000) * 0.2e-3;
    }
    line.until("samples", |l| l.bytes().len() == 110 * 4);
    assert!(line.stat::<bool>("irregular"));
    let told = line.warnings();
    // Of the rate it may have been told before that was clear.
    assert!(told.len() <= 2, "{told:?}");
    assert!(told.iter().any(|w| w.contains("irregular")), "{told:?}");
    let all = buffers(&line);
    let late: Vec<_> = all.iter().filter(|b| b.2[0] >= 80.0).collect();
    assert_eq!(late.len(), 30, "each on its own");
    for (pts, duration, values) in late {
        let truth = line.running_time(stamps[values[0] as usize]);
        assert!(
            (pts - truth).abs() < 1_000_000,
            "{}: {}",
            values[0],
            pts - truth
        );
        assert_eq!(*duration, None);
    }
}

/// mne-lsl's player: no type at all.
#[test]
fn an_empty_type() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            stream_type: "",
            units: &["0"],
            ..stream("typeless", 50.0, Format::F32)
        },
    );
    let line = Line::new("predicate=type=''");
    line.play();
    out.wait();
    line.connected();
    out.play(out.now() + 0.05, 0, 25, 5, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 25 * 4);
    assert_eq!(field(&line, "stream-type").unwrap_or_default(), "");
    assert_eq!(line.elements("lsl-connected")[0].get("type"), Ok(""));
}

/// muse-lsl stamps in Unix time, others count milliseconds or samples.
#[test]
fn stamps_of_other_clocks_and_of_none() {
    let Some(lsl) = hermetic() else { return };
    // Seconds to add, and stamp units per second.
    let unix = 1.7e9;
    for (name, epoch, unit, mode) in [
        ("unix", unix, 1.0, "mapped"),
        ("boot", -1e5, 1.0, "mapped"),
        ("milliseconds", 0.0, 1000.0, "arrival"),
        ("counter", 0.0, 100.0, "arrival"),
    ] {
        let out = outlet(lsl, &stream(name, 100.0, Format::F32));
        let line = Line::new(&format!("stream-name={name}"));
        line.play();
        out.wait();
        line.connected();
        let t0 = out.now() + 0.05;
        for n in 0..600u32 {
            let truth = t0 + f64::from(n) / 100.0;
            out.sleep_until(truth);
            let stamp = match mode {
                "mapped" => truth + epoch,
                _ => 1.0 + f64::from(n) / 100.0 * unit,
            };
            out.push(&[n as f32], &[stamp]);
        }
        // Until a counter is known for one, its samples may land before the start.
        line.until("samples", |l| l.bytes().ends_with(&599f32.to_le_bytes()));
        assert!(line.bytes().len() >= 550 * 4, "{name}");
        assert_eq!(line.stat::<String>("timestamp-mode"), mode, "{name}");
        let mut errors: Vec<f64> = buffers(&line)
            .iter()
            .filter(|b| b.2[0] >= 300.0)
            .map(|(pts, _, v)| {
                let truth = line.running_time(t0 + f64::from(v[0]) / 100.0);
                (pts - truth).abs() as f64 / 1e6
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        let p90 = errors[errors.len() * 9 / 10];
        println!(
            "{name}: p90 {p90:.3} ms, worst {:.3} ms",
            errors[errors.len() - 1]
        );
        // By the fastest way, plus what this machine takes to wake up.
        assert!(p90 < 10.0, "{name}: {p90} ms");
        assert!(errors[errors.len() - 1] < 50.0, "{name}");
        assert!(!line.warnings().is_empty(), "{name}");
        line.stop();
    }
}

/// A fault in a sender: a few stamps are far off, and then all of them are.
#[test]
fn stray_stamps_and_a_clock_that_is_set() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("stray", 100.0, Format::F32));
    let line = Line::new("stream-name=stray");
    line.play();
    out.wait();
    line.connected();
    let t0 = out.now() + 0.05;
    let strays = [
        (100, 60.0),
        (150, -60.0),
        (200, f64::INFINITY),
        (201, f64::NAN),
        (250, 2e5),
    ];
    let step = 300;
    for n in 0..600u32 {
        let truth = t0 + f64::from(n) / 100.0;
        out.sleep_until(truth);
        let off = strays.iter().find(|s| s.0 == n).map_or(0.0, |s| s.1);
        out.push(
            &[n as f32],
            &[truth + off + if n >= step { 90_000.0 } else { 0.0 }],
        );
    }
    line.until("samples", |l| l.bytes().ends_with(&599f32.to_le_bytes()));
    // Nothing else is lost.
    let wanted: Vec<f32> = (0..600)
        .filter(|n| strays.iter().all(|s| s.0 != *n))
        .map(|n| n as f32)
        .collect();
    assert_eq!(numbers(&line.bytes(), f32::from_le_bytes), wanted);
    for (pts, _, values) in buffers(&line) {
        let truth = line.running_time(t0 + f64::from(values[0]) / 100.0);
        let limit = if values[0] < step as f32 {
            1_000_000
        } else {
            50_000_000
        };
        assert!(
            (pts - truth).abs() < limit,
            "{}: {}",
            values[0],
            pts - truth
        );
    }
    let marked = line.seen().iter().any(|s| match s {
        Seen::Buffer { data, flags, .. } => {
            data.starts_with(&(step as f32).to_le_bytes())
                && flags.contains(gst::BufferFlags::DISCONT)
        }
        _ => false,
    });
    assert!(marked, "a discontinuity where the clock was set");
    assert_eq!(line.elements("lsl-clock-reset").len(), 1);
    assert_eq!(line.stat::<u64>("stray-stamps"), strays.len() as u64);
    assert_eq!(line.stat::<u64>("dropped"), strays.len() as u64);
    assert_eq!(line.stat::<u64>("resets"), 1);
    let told = line.warnings();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("60.0 s ahead") && told[0].contains("'stray'"),
        "{told:?}"
    );
}
