// SPDX-License-Identifier: MPL-2.0
//! `lslsrc` against outlets of this process, over real LSL on loopback.

mod lsl_support;

use gst::prelude::*;
use lsl::NewStream;
use lsl_support::{Line, Seen, hermetic, numbers, outlet, stream};
use std::time::Duration;
use stream_info::Format;

const MS: u64 = 1_000_000;

/// First sample, PTS, and number of samples of each buffer of a stream of `stride` bytes.
fn buffers(line: &Line, stride: usize) -> Vec<(usize, u64, usize)> {
    let mut first = 0;
    let mut all = Vec::new();
    for s in line.seen() {
        if let Seen::Buffer { pts, data, .. } = s {
            assert_eq!(data.len() % stride, 0);
            let n = data.len() / stride;
            all.push((first, pts, n));
            first += n;
        }
    }
    all
}

fn gaps(line: &Line) -> Vec<(u64, u64)> {
    line.seen()
        .iter()
        .filter_map(|s| match s {
            Seen::Gap { start, duration } => Some((*start, start + duration)),
            _ => None,
        })
        .collect()
}

/// Number and flags of the buffers with DISCONT.
fn disconts(line: &Line) -> Vec<(usize, gst::BufferFlags)> {
    line.seen()
        .iter()
        .filter_map(|s| match s {
            Seen::Buffer { flags, .. } => Some(*flags),
            _ => None,
        })
        .enumerate()
        .filter(|(_, f)| f.contains(gst::BufferFlags::DISCONT))
        .collect()
}

fn latency(line: &Line) -> (bool, u64) {
    let mut q = gst::query::Latency::new();
    assert!(line.src.static_pad("src").expect("pad").query(&mut q));
    let (live, min, max) = q.result();
    assert!(max.is_none_or(|m| m > min));
    (live, min.nseconds())
}

#[test]
fn samples_stamps_and_description() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            channels: 2,
            stream_type: "EDA",
            labels: &["eda", "temp, skin"],
            units: &["microsiemens", "celsius"],
            ..stream("plain", 256.0, Format::F32)
        },
    );
    let line = Line::new("stream-name=plain stream-type=EDA source-id=plain");
    let (live, min) = latency(&line);
    assert!(live && min == 270 * MS, "before it is known: {min}");
    line.play();
    assert!(latency(&line).0, "live while it looks for the stream");
    out.wait();
    // Right after connecting the offset is not yet measured: samples wait, none is lost.
    let t0 = out.now();
    out.play(t0, 0, 768, 4, |n, c| n as f32 + c as f32 * 0.5);
    line.until("all samples", |l| l.bytes().len() == 768 * 8);

    let values = numbers(&line.bytes(), f32::from_le_bytes);
    for (i, v) in values.iter().enumerate() {
        assert_eq!(*v, (i / 2) as f32 + (i % 2) as f32 * 0.5);
    }
    let mut next = None;
    for (first, pts, n) in buffers(&line, 8) {
        let truth = line.running_time(t0 + first as f64 / 256.0);
        assert!(
            (pts as i64 - truth).abs() < 10_000,
            "sample {first}: {pts} {truth}"
        );
        if let Some(next) = next {
            assert!(
                (pts as i64 - next as i64).abs() < 10_000,
                "no hole at {first}"
            );
        }
        next = Some(pts + n as u64 * 1_000_000_000 / 256);
    }
    for s in line.seen() {
        if let Seen::Buffer {
            pts,
            raw,
            duration,
            data,
            ..
        } = s
        {
            let raw = raw.expect("the sender's stamp");
            let truth = line.running_time(raw as f64 / 1e9);
            assert!((pts as i64 - truth).abs() < 10_000);
            let samples = data.len() as u64 / 8;
            let error = duration.expect("duration") as i64 - (samples * 3_906_250) as i64;
            assert!(error.abs() < 20_000, "{error}");
        }
    }
    assert_eq!(disconts(&line).len(), 1, "only the first buffer");

    let caps = line.caps();
    let s = caps.structure(0).expect("caps");
    assert_eq!(s.name(), "application/x-lsl");
    assert_eq!(s.get("format"), Ok("F32LE"));
    assert_eq!(s.get("layout"), Ok("interleaved"));
    assert_eq!(s.get("channels"), Ok(2));
    assert_eq!(s.get("rate"), Ok(gst::Fraction::new(256, 1)));
    assert_eq!(s.get("stream-type"), Ok("EDA"));
    assert_eq!(s.get("channel-labels"), Ok("eda,temp; skin"));
    assert_eq!(s.get("units"), Ok("microsiemens,celsius"));

    let events: Vec<gst::Event> = line
        .seen()
        .into_iter()
        .filter_map(|s| match s {
            Seen::Other(e) => Some(e),
            _ => None,
        })
        .collect();
    let info = events
        .iter()
        .find_map(|e| e.structure().filter(|s| s.name() == "lsl/stream-info"))
        .expect("stream info");
    assert_eq!(info.get("name"), Ok("plain"));
    assert_eq!(info.get("rate"), Ok(gst::Fraction::new(256, 1)));
    assert!(
        info.get::<String>("xml")
            .expect("xml")
            .contains("temp, skin")
    );
    let labels = info.get::<gst::Array>("channel-labels").expect("labels");
    assert_eq!(labels[1].get(), Ok("temp, skin"));
    let tags = events
        .iter()
        .find_map(|e| match e.view() {
            gst::EventView::Tag(t) => Some(t.tag_owned()),
            _ => None,
        })
        .expect("tags");
    let title = tags.get::<gst::tags::Title>().expect("title");
    assert_eq!(title.get(), "plain");

    let connected = &line.elements("lsl-connected")[0];
    assert_eq!(connected.get("name"), Ok("plain"));
    assert_eq!(connected.get("type"), Ok("EDA"));
    assert_eq!(connected.get("source-id"), Ok("plain"));
    let progress: Vec<_> = line
        .messages()
        .iter()
        .filter_map(|m| match m.view() {
            gst::MessageView::Progress(p) => {
                let (kind, code, _) = p.get();
                Some((kind, code.to_string()))
            }
            _ => None,
        })
        .collect();
    use gst::ProgressType::{Complete, Start};
    assert_eq!(
        progress,
        [
            (Start, "resolve".into()),
            (Complete, "resolve".into()),
            (Start, "open".into()),
            (Complete, "open".into())
        ]
    );

    assert_eq!(line.stat::<u64>("samples"), 768);
    assert_eq!(line.stat::<u64>("dropped"), 0);
    assert_eq!(line.stat::<u64>("gaps"), 0);
    assert_eq!(line.stat::<i64>("correction"), 0);
    assert!(line.stat::<u64>("uncertainty") < 50 * MS);
    assert_eq!(line.stat::<String>("timestamp-mode"), "same-host");
    assert!(line.stat::<bool>("connected"));
    let rate = line.stat::<f64>("effective-rate");
    assert!((rate - 256.0).abs() < 0.01, "{rate}");
    // 4 samples at 256 Hz are 12 ms old when they come; on a busy machine more.
    let (live, min) = latency(&line);
    assert!(live && (30 * MS..250 * MS).contains(&min), "{min}");
    assert!(
        line.messages()
            .iter()
            .any(|m| m.type_() == gst::MessageType::Latency)
    );
}

#[test]
fn a_sample_leaves_at_once() {
    let Some(lsl) = hermetic() else { return };
    for (name, rate, limit) in [("quick1", 4.0, 5), ("quick2", 250.0, 25)] {
        let out = outlet(lsl, &stream(name, rate, Format::F32));
        let line = Line::new(&format!("stream-name={name}"));
        line.play();
        out.wait();
        let t0 = out.now();
        let n = (rate * 2.0) as u64;
        out.play(t0, 0, n, 1, |n, _| n as f32);
        line.until("offset", |l| {
            l.stat::<String>("timestamp-mode") == "same-host"
        });
        line.until("all samples", |l| l.bytes().len() == n as usize * 4);
        line.forget();
        out.play(t0, n, n * 3, 1, |n, _| n as f32);
        line.until("all samples", |l| l.bytes().len() == n as usize * 8);
        let mut ages: Vec<u64> = line
            .seen()
            .iter()
            .filter_map(|s| match s {
                Seen::Buffer { pts, at, .. } => Some(at.saturating_sub(*pts) / MS),
                _ => None,
            })
            .collect();
        ages.sort();
        let median = ages[ages.len() / 2];
        assert!(median <= limit, "{rate} Hz: {ages:?} ms");
    }
}

#[test]
fn a_gap_is_a_gap() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("gap", 100.0, Format::I16));
    let line = Line::new("stream-name=gap");
    line.play();
    out.wait();
    let t0 = out.now();
    out.play(t0, 0, 100, 1, |n, _| n as i16);
    // Three seconds without data; the device's clock goes on.
    out.play(t0, 400, 500, 1, |n, _| n as i16);
    line.until("all samples", |l| l.bytes().len() == 400);

    let values = numbers(&line.bytes(), i16::from_le_bytes);
    let sent: Vec<i16> = (0..100).chain(400..500).collect();
    assert_eq!(values, sent, "nothing invented, nothing lost");
    for (first, pts, n) in buffers(&line, 2) {
        assert_eq!(
            values[first + n - 1] - values[first],
            n as i16 - 1,
            "no buffer spans the gap"
        );
        let truth = line.running_time(t0 + f64::from(values[first]) / 100.0);
        assert!((pts as i64 - truth).abs() < 10_000);
    }
    let disconts = disconts(&line);
    assert_eq!(disconts.len(), 2, "{disconts:?}");
    assert!(disconts[1].1.contains(gst::BufferFlags::RESYNC));
    let (from, to) = (line.running_time(t0 + 1.0), line.running_time(t0 + 4.0));
    let inside: Vec<_> = gaps(&line)
        .into_iter()
        .filter(|(start, _)| *start as i64 >= from - 10_000)
        .collect();
    assert!(inside.len() >= 2, "events while nothing comes: {inside:?}");
    assert!(
        (inside[0].0 as i64 - from).abs() < 10_000,
        "{inside:?} {from}"
    );
    assert!(
        (inside[inside.len() - 1].1 as i64 - to).abs() < 10_000,
        "{inside:?} {to}"
    );
    for pair in inside.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "without a hole");
    }
    for (start, end) in &inside[..inside.len() - 1] {
        assert!(end - start >= 1000 * MS, "not more than one a second");
    }
    assert_eq!(line.stat::<u64>("gaps"), 1);
}

#[test]
fn large_packets_keep_their_time_and_raise_the_latency() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("packets", 128.0, Format::F64));
    let line = Line::new("stream-name=packets");
    line.play();
    out.wait();
    let t0 = out.now();
    out.play(t0, 0, 64 * 8, 64, |n, _| n as f64);
    line.until("all samples", |l| l.bytes().len() == 64 * 8 * 8);
    for (first, pts, _) in buffers(&line, 8) {
        let truth = line.running_time(t0 + first as f64 / 128.0);
        assert!((pts as i64 - truth).abs() < 10_000);
    }
    let (_, min) = latency(&line);
    assert!((500 * MS..900 * MS).contains(&min), "{min}");
    assert!(line.stat::<u64>("sender-age") >= 480 * MS);
    assert!(
        line.messages()
            .iter()
            .any(|m| m.type_() == gst::MessageType::Latency)
    );
}

#[test]
fn samples_from_before_the_start_are_dropped_and_counted() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("early", 100.0, Format::I32));
    let line = Line::new("stream-name=early");
    line.play();
    out.wait();
    let base = line.src.base_time().expect("base time").nseconds() as f64 / 1e9;
    let t0 = base - 0.5;
    out.play(t0, 0, 300, 10, |n, _| n as i32);
    line.until("the rest", |l| l.bytes().len() == 250 * 4);
    let values = numbers(&line.bytes(), i32::from_le_bytes);
    assert_eq!(values[0], 50, "the first one taken while the pipeline ran");
    assert_eq!(line.stat::<u64>("dropped"), 50);
    assert_eq!(line.stat::<u64>("samples"), 250);
}

#[test]
fn every_number_format_and_rate() {
    let Some(lsl) = hermetic() else { return };
    fn run<T, const N: usize>(
        lsl: &'static lsl::Library,
        name: &str,
        rate: f64,
        caps: &str,
        value: fn(u64, usize) -> T,
        from: fn([u8; N]) -> T,
    ) where
        T: lsl::Number + PartialEq + std::fmt::Debug,
    {
        let out = outlet(
            lsl,
            &NewStream {
                channels: 3,
                ..stream(name, rate, T::FORMAT)
            },
        );
        let line = Line::new(&format!("stream-name={name}"));
        line.play();
        out.wait();
        let t0 = out.now();
        out.play(t0, 0, 40, 2, value);
        line.until("all samples", |l| l.bytes().len() == 40 * 3 * N);
        let values = numbers(&line.bytes(), from);
        let sent: Vec<T> = (0..40)
            .flat_map(|n| (0..3).map(move |c| (n, c)))
            .map(|(n, c)| value(n, c))
            .collect();
        assert_eq!(values, sent, "{name}");
        let wanted: gst::Caps = caps.parse().expect("caps");
        assert!(line.caps().is_subset(&wanted), "{} {wanted}", line.caps());
        for (first, pts, _) in buffers(&line, 3 * N) {
            let truth = line.running_time(t0 + first as f64 / rate);
            assert!((pts as i64 - truth).abs() < 10_000, "{name}");
        }
    }
    let caps = |format: &str, rate: &str| {
        format!("application/x-lsl,format={format},channels=3,rate=(fraction){rate}")
    };
    run(
        lsl,
        "f51.2",
        51.2,
        &caps("F32LE", "256/5"),
        |n, c| (n as f32).sin() + c as f32,
        f32::from_le_bytes,
    );
    run(
        lsl,
        "d1000",
        1000.0,
        &caps("F64LE", "1000/1"),
        |n, c| 1e-300 * n as f64 - c as f64,
        f64::from_le_bytes,
    );
    run(
        lsl,
        "i8",
        64.0,
        &caps("S8", "64/1"),
        |n, c| n as i8 - 100 + c as i8,
        i8::from_le_bytes,
    );
    run(
        lsl,
        "i16",
        130.0,
        &caps("S16LE", "130/1"),
        |n, c| -300 * n as i16 + c as i16,
        i16::from_le_bytes,
    );
    run(
        lsl,
        "i32",
        200.0,
        &caps("S32LE", "200/1"),
        |n, c| i32::MIN + n as i32 * 3 + c as i32,
        i32::from_le_bytes,
    );
    run(
        lsl,
        "i64",
        32.0,
        &caps("S64LE", "32/1"),
        |n, c| i64::MAX - n as i64 * 3 - c as i64,
        i64::from_le_bytes,
    );
}

#[test]
fn not_a_number_passes_bit_by_bit() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("nan", 10.0, Format::F32));
    let line = Line::new("stream-name=nan");
    line.play();
    out.wait();
    let odd = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        f32::MIN_POSITIVE,
    ];
    let now = out.now();
    let stamps: Vec<f64> = (0..5).map(|n| now + f64::from(n) / 10.0).collect();
    out.push(&odd, &stamps);
    line.until("all", |l| l.bytes().len() == 20);
    let got: Vec<u32> = numbers(&line.bytes(), u32::from_le_bytes);
    assert_eq!(got, odd.map(f32::to_bits));
}

#[test]
fn irregular_streams_come_sample_by_sample() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("ibi", 0.0, Format::F32));
    let line = Line::new("stream-name=ibi");
    line.play();
    out.wait();
    let t0 = out.now();
    let times = [0.0, 0.01, 0.011, 0.5, 2.1];
    out.push(
        &[0.0f32, 1.0, 2.0],
        &times[..3].iter().map(|t| t0 + t).collect::<Vec<_>>(),
    );
    for (n, t) in times.iter().enumerate().skip(3) {
        out.sleep_until(t0 + t);
        out.push(&[n as f32], &[t0 + t]);
    }
    line.until("all", |l| l.buffers() == 5);
    assert_eq!(
        numbers(&line.bytes(), f32::from_le_bytes),
        [0.0, 1.0, 2.0, 3.0, 4.0]
    );
    for ((_, pts, n), t) in buffers(&line, 4).iter().zip(times) {
        assert_eq!(*n, 1);
        assert!((*pts as i64 - line.running_time(t0 + t)).abs() < 2_000);
    }
    let caps = line.caps();
    let s = caps.structure(0).expect("caps");
    assert_eq!(s.get("rate"), Ok(gst::Fraction::new(0, 1)));
    assert!(line.seen().iter().all(|s| !matches!(
        s,
        Seen::Buffer {
            duration: Some(_),
            ..
        }
    )));
    assert_eq!(disconts(&line).len(), 1);
}

#[test]
fn markers_become_text() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(lsl, &stream("markers", 0.0, Format::Text));
    let line = Line::new("stream-name=markers");
    line.play();
    out.wait();
    // Hours may pass before the first marker; those after us must know that.
    line.until("a gap before any marker", |l| !gaps(l).is_empty());
    let t0 = out.now();
    let texts = ["start", "", "größer", "a\0b", "two\nlines"];
    for (n, text) in texts.iter().enumerate() {
        out.outlet
            .push_text(&[text], &[t0 + n as f64 * 1e-3])
            .expect("push");
    }
    line.until("all", |l| l.buffers() == texts.len());
    let got: Vec<(u64, String)> = line
        .seen()
        .into_iter()
        .filter_map(|s| match s {
            Seen::Buffer { pts, data, .. } => Some((pts, String::from_utf8(data).expect("UTF-8"))),
            _ => None,
        })
        .collect();
    for (n, (pts, text)) in got.iter().enumerate() {
        assert_eq!(text, texts[n]);
        assert!((*pts as i64 - line.running_time(t0 + n as f64 * 1e-3)).abs() < 2_000);
    }
    assert!(
        line.caps()
            .can_intersect(&"text/x-raw,format=utf8".parse::<gst::Caps>().expect("caps"))
    );

    // Several channels, one selected, bytes that are not UTF-8.
    let out = outlet(
        lsl,
        &NewStream {
            channels: 2,
            labels: &["what", "who"],
            ..stream("markers2", 0.0, Format::Text)
        },
    );
    let both = Line::new("stream-name=markers2");
    let one = Line::new("stream-name=markers2 channels=who");
    both.play();
    one.play();
    both.connected();
    one.connected();
    out.outlet
        .push_text(&[&b"press"[..], &b"A\xff"[..]], &[out.now()])
        .expect("push");
    both.until("marker", |l| l.buffers() == 1);
    one.until("marker", |l| l.buffers() == 1);
    assert_eq!(both.bytes(), "press\nA\u{fffd}".as_bytes());
    assert_eq!(one.bytes(), "A\u{fffd}".as_bytes());
}

#[test]
fn chosen_channels_in_the_order_asked_for() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            channels: 4,
            labels: &["a", "b", "c", "d"],
            units: &["V", "uS", "", "mV"],
            ..stream("choose", 100.0, Format::I16)
        },
    );
    let line = Line::new("stream-name=choose channels=\"d, 0\"");
    line.play();
    out.wait();
    out.play(out.now(), 0, 10, 5, |n, c| (n * 10) as i16 + c as i16);
    line.until("all", |l| l.bytes().len() == 40);
    let wanted: Vec<i16> = (0..10).flat_map(|n| [n * 10 + 3, n * 10]).collect();
    assert_eq!(numbers(&line.bytes(), i16::from_le_bytes), wanted);
    let caps = line.caps();
    let s = caps.structure(0).expect("caps");
    assert_eq!(s.get("channels"), Ok(2));
    assert_eq!(s.get("channel-labels"), Ok("d,a"));
    assert_eq!(s.get("units"), Ok("mV,V"));

    let line = Line::new("stream-name=choose channels=a,ecg");
    line.play();
    let e = line.error(Duration::from_secs(10));
    assert!(e.contains("'ecg'") && e.contains("a, b, c, d"), "{e}");
}

#[test]
fn as_audio_when_wanted() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            channels: 3,
            ..stream("audio", 1000.0, Format::F32)
        },
    );
    let line = Line::with(
        "stream-name=audio",
        "audioconvert ! audio/x-raw,format=S16LE ! fakesink sync=false async=false",
    );
    line.play();
    out.wait();
    out.play(out.now(), 0, 1000, 20, |n, _| (n % 2) as f32 - 0.5);
    line.until("all", |l| l.bytes().len() == 12_000);
    let caps = line.caps();
    let s = caps.structure(0).expect("caps");
    assert_eq!(s.name(), "audio/x-raw");
    assert_eq!(s.get("rate"), Ok(1000));
    assert_eq!(s.get("channels"), Ok(3));
    assert_eq!(s.get("channel-mask"), Ok(gst::Bitmask::new(0)));
}

#[test]
fn seventy_channels() {
    let Some(lsl) = hermetic() else { return };
    let out = outlet(
        lsl,
        &NewStream {
            channels: 70,
            ..stream("wide", 50.0, Format::F32)
        },
    );
    let line = Line::new("stream-name=wide");
    let audio = Line::with(
        "stream-name=wide",
        "audio/x-raw ! fakesink sync=false async=false",
    );
    let some = Line::with(
        "stream-name=wide channels=69,0",
        "audio/x-raw ! fakesink sync=false async=false",
    );
    for l in [&line, &audio, &some] {
        l.play();
    }
    let e = audio.error(Duration::from_secs(10));
    assert!(
        e.contains("at most 64") && e.contains("70") && e.contains("'wide'"),
        "{e}"
    );
    for l in [&line, &some] {
        l.connected();
    }
    out.play(out.now(), 0, 50, 1, |n, c| (n * 100) as f32 + c as f32);
    line.until("all", |l| l.bytes().len() == 50 * 70 * 4);
    some.until("all", |l| l.bytes().len() == 50 * 2 * 4);
    let values = numbers(&line.bytes(), f32::from_le_bytes);
    assert!(
        values
            .iter()
            .enumerate()
            .all(|(i, v)| *v == ((i / 70) * 100 + i % 70) as f32)
    );
    let values = numbers(&some.bytes(), f32::from_le_bytes);
    assert_eq!(values[2..4], [169.0, 100.0]);
}

#[test]
fn what_cannot_be_audio_says_why() {
    let Some(lsl) = hermetic() else { return };
    let _a = outlet(lsl, &stream("odd-rate", 51.2, Format::F32));
    let _b = outlet(lsl, &stream("odd-text", 0.0, Format::Text));
    for (name, why) in [
        ("odd-rate", "whole number"),
        ("odd-text", "text/x-raw only"),
    ] {
        let line = Line::with(
            &format!("stream-name={name}"),
            "audio/x-raw ! fakesink async=false",
        );
        line.play();
        let e = line.error(Duration::from_secs(10));
        assert!(e.contains(why) && e.contains(name), "{e}");
    }
}

#[test]
fn no_channels_no_stream() {
    let Some(lsl) = hermetic() else { return };
    let empty = NewStream {
        channels: 0,
        ..stream("empty", 10.0, Format::F32)
    };
    let Ok(info) = lsl::StreamInfo::new(lsl, &empty) else {
        return lsl_support::skip("this liblsl makes no stream without channels");
    };
    let Ok(_outlet) = lsl::Outlet::new(&info) else {
        return lsl_support::skip("this liblsl makes no outlet without channels");
    };
    // It is named and ignored; the search goes on, here until its time is over.
    let line = Line::new("stream-name=empty resolve-timeout=1000000000");
    line.play();
    let e = line.error(Duration::from_secs(10));
    assert!(e.contains("no channels") && e.contains("'empty'"), "{e}");
    assert_eq!(line.warnings().len(), 1, "{:?}", line.warnings());
}

#[test]
fn a_stream_that_is_not_there_lists_those_that_are() {
    let Some(lsl) = hermetic() else { return };
    let _other = outlet(lsl, &stream("present", 10.0, Format::F32));
    let line = Line::new("stream-name=absent stream-type=ECG resolve-timeout=1000000000");
    line.play();
    let e = line.error(Duration::from_secs(5));
    assert!(e.contains("name='absent' and type='ECG'"), "{e}");
    assert!(e.contains("'present' (type 'Test'"), "{e}");
    assert!(e.contains("resolve-timeout"), "{e}");
    line.stop();
}

#[test]
fn a_predicate_that_cannot_be_read_is_named() {
    let Some(lsl) = hermetic() else { return };
    if lsl.version() < 116 {
        return lsl_support::skip("this liblsl does not check predicates");
    }
    let line = Line::new("predicate=\"name=='x'[\"");
    line.play();
    let e = line.error(Duration::from_secs(5));
    assert!(e.contains("name=='x'[") && e.contains("predicate"), "{e}");
}

#[test]
fn two_that_match_are_both_named() {
    let Some(lsl) = hermetic() else { return };
    let new = |id: &'static str| NewStream {
        stream_type: "Twin",
        source_id: id,
        ..stream("twin", 100.0, Format::F32)
    };
    let a = outlet(lsl, &new("left"));
    let _b = outlet(lsl, &new("right"));
    let line = Line::new("stream-type=Twin");
    line.play();
    let e = line.error(Duration::from_secs(10));
    assert!(e.contains("2 LSL streams match type='Twin'"), "{e}");
    assert!(e.contains("'left'") && e.contains("'right'"), "{e}");
    line.stop();
    // Narrowed down it is clear; by predicate too.
    for narrow in [
        "source-id=left",
        "predicate=\"starts-with(source_id,'le')\"",
    ] {
        let line = Line::new(&format!("stream-type=Twin {narrow}"));
        line.play();
        line.connected();
        assert_eq!(
            line.elements("lsl-connected")[0].get("source-id"),
            Ok("left")
        );
    }
    drop(a);
}

#[test]
fn a_stream_may_start_late_and_the_rest_plays_on() {
    let Some(lsl) = hermetic() else { return };
    let line = Line::with(
        "stream-name=late",
        "fakesink sync=false async=false videotestsrc is-live=true num-buffers=30 ! fakesink",
    );
    line.play();
    assert!(latency(&line).0);
    std::thread::sleep(Duration::from_millis(800));
    let out = outlet(lsl, &stream("late", 50.0, Format::F32));
    out.wait();
    out.play(out.now(), 0, 20, 1, |n, _| n as f32);
    line.until("all", |l| l.bytes().len() == 80);
    assert_eq!(line.pipeline.current_state(), gst::State::Playing);
}
