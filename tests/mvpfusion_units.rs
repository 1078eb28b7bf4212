// SPDX-License-Identifier: MPL-2.0
//! The unit of a stream's values: what is declared is converted exactly, what cannot be is
//! masked and said.

mod fusion_support;

use fusion_support::{Run, feed, follow, init, launch, ready};
use gst::prelude::*;
use gstmvp::PhysioTraceMeta;
use std::sync::{Arc, Mutex};

const SECONDS: u64 = 40;

/// EDA in µS: a level, and a response every 8 s.
fn skin(t: f64) -> f64 {
    let since = (t - 3.0).rem_euclid(8.0);
    let response = (1.0 - (-since / 0.7).exp()) * (-since / 3.0).exp();
    4.2 + 0.01 * t + 0.6 * response
}

/// Samples of one stream at 8 Hz, in `format` F64LE or S16LE, through `mvpfusion name=f
/// PROPERTIES`; what the bus said, and the stats.
fn body(
    model: &str,
    properties: &str,
    caps: &str,
    value: impl Fn(f64) -> f64,
) -> (Run, gst::Structure, Option<PhysioTraceMeta>) {
    init();
    let pipeline = launch(&format!(
        "videotestsrc num-buffers={} ! video/x-raw,width=32,height=32,framerate=5/1 \
         ! mvpfusion name=f model={model} execution-provider=cpu {properties} ! fakesink name=out \
         appsrc name=s ! f.eda",
        SECONDS * 5
    ));
    let traces = Arc::new(Mutex::new(None));
    let sink = pipeline.by_name("out").and_then(|s| s.static_pad("sink"));
    let seen = traces.clone();
    sink.expect("pad")
        .add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(buffer) = info.buffer() {
                *seen.lock().expect("lock") = PhysioTraceMeta::from_buffer(buffer);
            }
            gst::PadProbeReturn::Ok
        });
    let src = pipeline.by_name("s").and_downcast::<gst_app::AppSrc>();
    let src = src.expect("appsrc");
    let caps: gst::Caps =
        format!("application/x-lsl,layout=interleaved,channels=1,rate=8/1,{caps}")
            .parse()
            .expect(caps);
    let s16 = caps.structure(0).and_then(|s| s.get("format").ok()) == Some("S16LE");
    src.set_caps(Some(&caps));
    src.set_format(gst::Format::Time);
    src.set_max_bytes(0);
    for second in 0..SECONDS {
        let bytes: Vec<u8> = (0..8)
            .map(|i| value(second as f64 + f64::from(i) / 8.0))
            .flat_map(|v| match s16 {
                true => (v as i16).to_le_bytes().to_vec(),
                false => v.to_le_bytes().to_vec(),
            })
            .collect();
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let b = buffer.get_mut().expect("own buffer");
        b.set_pts(gst::ClockTime::from_seconds(second));
        b.set_duration(gst::ClockTime::SECOND);
        src.push_buffer(buffer).expect("push");
    }
    src.end_of_stream().expect("eos");
    let _ = pipeline.set_state(gst::State::Playing);
    let run = follow(&pipeline);
    let fusion = pipeline.by_name("f").expect("mvpfusion");
    let stats = fusion.property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null).expect("null");
    assert_eq!(run.error, None, "{properties} {caps}");
    let traces = traces.lock().expect("lock").take();
    (run, stats, traces)
}

fn shipped() -> String {
    format!("{}/models/default", env!("CARGO_MANIFEST_DIR"))
}

fn field(run: &Run, name: &str) -> Vec<f64> {
    let of = |s: &gst::Structure| s.get::<f64>(name).expect(name);
    run.results.iter().map(of).collect()
}

#[test]
fn the_same_skin_in_any_declared_unit_gives_the_same_answers() {
    if !ready("the_same_skin_in_any_declared_unit_gives_the_same_answers") {
        return;
    }
    type Sent = fn(f64) -> f64;
    let sent: [(&str, Sent); 9] = [
        ("uS", |v| v),
        ("microsiemens", |v| v),
        ("S", |v| v * 1e-6),
        ("mS", |v| v * 1e-3),
        ("nS", |v| v * 1e3),
        ("kOhm", |v| 1e3 / v),
        ("Ω", |v| 1e6 / v),
        ("MOhm", |v| 1.0 / v),
        ("kiloohms", |v| 1e3 / v),
    ];
    let mut first: Option<Vec<f64>> = None;
    for (unit, change) in sent {
        // As the stream declares it, and as the user does.
        for (properties, units) in [
            (String::new(), format!(",units=(string)\"{unit}\"")),
            (format!("eda::unit=\"{unit}\""), String::new()),
        ] {
            let caps = format!("format=F64LE{units}");
            let (run, ..) = body(&shipped(), &properties, &caps, |t| change(skin(t)));
            assert_eq!(run.warnings, [""; 0], "{unit} {properties}");
            let arousal = field(&run, "arousal");
            assert_eq!(arousal.len(), SECONDS as usize - 1, "{unit}");
            let first = first.get_or_insert_with(|| arousal.clone());
            let worst = first.iter().zip(&arousal).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f64::max);
            println!("{unit} {properties}: arousal differs by {worst:e} at most");
            assert!(worst <= 1e-4, "{unit} {properties}: {worst}");
            // Not a test of answers that are constant.
            let (low, high) = first
                .iter()
                .fold((1.0f64, 0.0f64), |(l, h), v| (l.min(*v), h.max(*v)));
            assert!(high - low > 0.01, "{low} to {high}");
            let coverage = field(&run, "coverage-eda");
            assert!(coverage.last().is_some_and(|c| *c > 0.5), "{coverage:?}");
        }
    }
}

#[test]
fn values_that_cannot_be_microsiemens_are_masked_and_said() {
    if !ready("values_that_cannot_be_microsiemens_are_masked_and_said") {
        return;
    }
    type Sent = fn(f64) -> f64;
    let cases: [(&str, &str, Sent, &[&str]); 6] = [
        ("", "", |v| 1e3 / v, &["eda::unit=kOhm", "no unit"]),
        ("", "", |v| v * 1e-6, &["eda::unit=S", "electrodes"]),
        ("", "", |v| v * 1e-3, &["eda::unit=mS"]),
        ("", "", |v| 1e6 / v, &["eda::unit=Ohm"]),
        (
            "",
            "",
            |v| (v * 40.96).round(),
            &["eda::device=bitalino", "eda::adc-bits"],
        ),
        // The stream says uS, but that cannot be.
        (
            "units=uS",
            "",
            |v| v * 1e-6,
            &["eda::unit", "declared", "electrodes"],
        ),
    ];
    for (caps, properties, change, wants) in cases {
        let more = match caps {
            "" => String::new(),
            caps => format!(",{caps}"),
        };
        let (run, stats, _) = body("MODEL", properties, &format!("format=F64LE{more}"), |t| {
            change(skin(t))
        });
        let what = format!("{:?}", run.warnings);
        assert_eq!(run.warnings.len(), 1, "{what}");
        for want in wants.iter().chain(&["pad eda", "expected", "masked"]) {
            assert!(run.warnings[0].contains(want), "{want}: {what}");
        }
        let last = |name: &str| *field(&run, name).last().expect("results");
        assert!(last("coverage-eda") < 0.05, "{what}");
        assert!(last("quality-eda") < 0.1, "{what}");
        let own: gst::Structure = stats.get("eda").expect("eda");
        assert_eq!(own.get::<u64>("samples"), Ok(SECONDS * 8));
    }
}

#[test]
fn a_unit_that_cannot_be_told_is_said_and_taken() {
    if !ready("a_unit_that_cannot_be_told_is_said_and_taken") {
        return;
    }
    // 5 µS in MOhm, or the dry skin of a wrist.
    let (run, ..) = body("MODEL", "", "format=F64LE", |t| 1.0 / skin(t));
    let what = format!("{:?}", run.warnings);
    assert_eq!(run.warnings.len(), 1, "{what}");
    for want in ["eda::unit=uS", "eda::unit=MOhm"] {
        assert!(run.warnings[0].contains(want), "{want}: {what}");
    }
    assert!(field(&run, "coverage-eda").last().is_some_and(|c| *c > 0.5));
}

#[test]
fn raw_counts_are_converted_by_the_formula_of_the_device() {
    if !ready("raw_counts_are_converted_by_the_formula_of_the_device") {
        return;
    }
    let (plain, ..) = body(&shipped(), "", "format=F64LE,units=uS", |t| {
        (skin(t) / 25.0 * 65536.0).round() * 25.0 / 65536.0
    });
    for (properties, format) in [
        ("eda::device=biosignalsplux", "F64LE"),
        ("eda::adc-bits=16 eda::scale=25 eda::unit=uS", "F64LE"),
        ("eda::scale=3.814697265625e-4", "S16LE,units=raw"),
    ] {
        let caps = format!("format={format}");
        let (run, ..) = body(&shipped(), properties, &caps, |t| {
            (skin(t) / 25.0 * 65536.0).round()
        });
        assert_eq!(run.warnings, [""; 0], "{properties}");
        let (a, b) = (field(&plain, "arousal"), field(&run, "arousal"));
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= 1e-6, "{properties}: {worst}");
    }
    // Both ends of the converter are saturated.
    let (run, stats, _) = body(
        "MODEL",
        "eda::device=bitalino-revolution",
        "format=S16LE",
        |t| {
            if t < 20.0 { 200.0 } else { 1023.0 }
        },
    );
    assert_eq!(run.error, None);
    let own: gst::Structure = stats.get("eda").expect("eda");
    let saturated = own.get::<u64>("saturated").expect("saturated");
    assert_eq!(saturated, (SECONDS - 20) * 8);
}

#[test]
fn contradictory_properties_are_said() {
    if !ready("contradictory_properties_are_said") {
        return;
    }
    for (properties, caps, wants) in [
        ("eda::unit=furlong", "", &["furlong", "kOhm"][..]),
        ("eda::device=bitalino eda::scale=2", "", &["either"]),
        ("eda::device=bitalino", ",units=uS", &["already", "uS"]),
        ("eda::adc-bits=10", "", &["adc-bits alone", "scale"]),
        ("eda::scale=2", ",units=mV", &["voltage"]),
    ] {
        let (run, ..) = body("MODEL", properties, &format!("format=F64LE{caps}"), skin);
        let what = format!("{properties}: {:?}", run.warnings);
        assert_eq!(run.warnings.len(), 1, "{what}");
        for want in wants.iter().chain(&["expected", "masked"]) {
            assert!(run.warnings[0].contains(want), "{want}: {what}");
        }
        assert_eq!(field(&run, "coverage-eda").last(), Some(&0.0), "{what}");
    }
}

/// What is drawn is the signal in its unit, not what the network gets.
#[test]
fn frames_carry_the_waveform_in_its_unit() {
    if !ready("frames_carry_the_waveform_in_its_unit") {
        return;
    }
    for (caps, unit, factor) in [
        ("format=F64LE,units=kOhm", "µS", 1.0),
        ("format=F64LE", "", 1.0),
    ] {
        let (_, _, traces) = body("MODEL", "", caps, |t| match unit {
            "" => factor * skin(t),
            _ => 1e3 / skin(t),
        });
        let traces = traces.expect("the last frame has traces").traces;
        assert_eq!(traces.len(), 1);
        let eda = &traces[0];
        assert_eq!((eda.name.as_str(), eda.unit.as_str()), ("eda", unit));
        let end = eda.end.nseconds() as f64 / 1e9;
        let first = end - eda.len() as f64 / eda.rate;
        let worst = eda.values().enumerate().map(|(i, v)| {
            let t = first + i as f64 / eda.rate;
            // The filter delays by about a tenth of a second.
            (f64::from(v) - skin(t - 0.1)).abs()
        });
        let worst = worst.fold(0.0, f64::max);
        assert!(worst < 0.15, "{worst}");
        assert!(eda.len() >= 100, "{}", eda.len());
    }
}

/// A heart at 75 beats per minute is drawn as a heart, with a mark on each beat.
#[test]
fn every_heartbeat_has_a_mark() {
    if !ready("every_heartbeat_has_a_mark") {
        return;
    }
    init();
    let pipeline = launch(
        "videotestsrc num-buffers=150 ! video/x-raw,width=32,height=32,framerate=5/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=out \
         appsrc name=s ! f.ecg",
    );
    let traces = Arc::new(Mutex::new(None));
    let sink = pipeline.by_name("out").and_then(|s| s.static_pad("sink"));
    let seen = traces.clone();
    sink.expect("pad")
        .add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(buffer) = info.buffer() {
                *seen.lock().expect("lock") = PhysioTraceMeta::from_buffer(buffer);
            }
            gst::PadProbeReturn::Ok
        });
    // R peaks at 0.4 s, 1.2 s, 2.0 s, …
    let heart = |t: f64| {
        let phase = t.rem_euclid(0.8);
        let wave =
            |at: f64, width: f64, height: f64| height * (-((phase - at) / width).powi(2)).exp();
        (wave(0.24, 0.03, 0.12) + wave(0.4, 0.012, 1.0) + wave(0.62, 0.06, 0.25)) as f32
    };
    let feeder = feed(&pipeline, "s", 256, 31, heart);
    let _ = pipeline.set_state(gst::State::Playing);
    let run = follow(&pipeline);
    pipeline.set_state(gst::State::Null).expect("null");
    feeder.join().expect("feeder");
    assert_eq!(run.error, None);
    let traces = traces.lock().expect("lock").take().expect("traces").traces;
    let ecg = &traces[0];
    assert_eq!(ecg.unit, "", "nothing declares it");
    let (low, high) = ecg
        .values()
        .fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
    assert!(high - low > 0.7, "{low} to {high}");
    // A causal detector needs a moment after the last beat.
    assert!((11..=13).contains(&ecg.marks.len()), "{:?}", ecg.marks);
    for mark in &ecg.marks {
        let seconds = *mark as f64 / 1e9;
        let beat = (seconds - 0.4) / 0.8;
        assert!((beat - beat.round()).abs() * 0.8 < 0.02, "{seconds} s");
    }
}
