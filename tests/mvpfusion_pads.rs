// SPDX-License-Identifier: MPL-2.0
//! Which stream comes to which pad of mvpfusion, which channel of it is read, and what
//! happens where it does not fit.

use gst::prelude::*;
use std::sync::Once;

const SECOND: u64 = 1_000_000_000;

fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin");
    });
}

/// False where there is no ONNX Runtime; says so.
fn ready(test: &str) -> bool {
    init();
    match onnx::Runtime::load(None) {
        Ok(_) => true,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

fn launch(line: &str) -> gst::Pipeline {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/fixture");
    let pipeline = gst::parse::launch(&line.replace("MODEL", model));
    let pipeline = pipeline.unwrap_or_else(|e| panic!("{line}: {e}"));
    pipeline.downcast::<gst::Pipeline>().expect("a pipeline")
}

/// What a run said, until EOS or an error.
#[derive(Debug, Default)]
struct Run {
    results: Vec<gst::Structure>,
    warnings: Vec<String>,
    error: Option<String>,
    stats: Option<gst::Structure>,
}

impl Run {
    fn coverage(&self, signal: &str) -> f64 {
        let last = self.results.last().expect("results");
        last.get(format!("coverage-{signal}")).expect("coverage")
    }

    #[track_caller]
    fn fails_with(&self, wants: &[&str]) {
        let error = self.error.as_deref().expect("an error");
        for want in wants {
            assert!(error.contains(want), "'{want}' is not in: {error}");
        }
    }
}

fn play(pipeline: &gst::Pipeline) -> Run {
    let _ = pipeline.set_state(gst::State::Playing);
    let mut run = Run::default();
    let bus = pipeline.bus().expect("bus");
    loop {
        use gst::MessageView;
        let message = bus
            .timed_pop(gst::ClockTime::from_seconds(60))
            .expect("neither EOS nor an error within a minute");
        match message.view() {
            MessageView::Eos(_) => break,
            MessageView::Error(e) => {
                run.error = Some(e.error().to_string());
                break;
            }
            MessageView::Warning(w) => run.warnings.push(w.error().to_string()),
            MessageView::Element(e) => {
                if let Some(s) = e.structure().filter(|s| s.name() == "mvp-emotion") {
                    run.results.push(s.to_owned());
                }
            }
            _ => {}
        }
    }
    let fusion = pipeline.by_name("f").expect("mvpfusion");
    run.stats = Some(fusion.property("stats"));
    pipeline.set_state(gst::State::Null).expect("null");
    run
}

fn caps(text: &str) -> gst::Caps {
    text.parse().expect(text)
}

/// Caps of floats at `rate` Hz, with `more` fields.
fn lsl(channels: i32, rate: i32, more: &str) -> gst::Caps {
    let more = match more {
        "" => String::new(),
        more => format!(",{more}"),
    };
    caps(&format!(
        "application/x-lsl,format=F32LE,layout=interleaved,channels={channels},rate={rate}/1{more}"
    ))
}

/// Seconds `from..to` of a stream: `value(t, channel)`.
struct Part {
    caps: gst::Caps,
    seconds: std::ops::Range<u64>,
    value: fn(f64, usize) -> f32,
}

/// Feeds the parts to an appsrc, one buffer for each half second, then EOS.
fn feed(pipeline: &gst::Pipeline, name: &str, parts: Vec<Part>) {
    let src = pipeline.by_name(name).and_downcast::<gst_app::AppSrc>();
    let src = src.expect("appsrc");
    src.set_format(gst::Format::Time);
    src.set_max_bytes(0);
    for part in parts {
        let s = part.caps.structure(0).expect("one");
        let channels = s.get::<i32>("channels").expect("channels") as usize;
        let rate = match s.get::<gst::Fraction>("rate") {
            Ok(rate) => rate.numer() as u64,
            Err(_) => s.get::<i32>("rate").expect("rate") as u64,
        };
        for half in part.seconds.start * 2..part.seconds.end * 2 {
            let (first, after) = (half * rate / 2, (half + 1) * rate / 2);
            let time = |i: u64| i * SECOND / rate;
            let bytes: Vec<u8> = (first..after)
                .flat_map(|i| (0..channels).map(move |c| (i, c)))
                .flat_map(|(i, c)| (part.value)(time(i) as f64 / 1e9, c).to_le_bytes())
                .collect();
            let mut buffer = gst::Buffer::from_mut_slice(bytes);
            let b = buffer.get_mut().expect("own buffer");
            b.set_pts(gst::ClockTime::from_nseconds(time(first)));
            b.set_duration(gst::ClockTime::from_nseconds(time(after) - time(first)));
            let sample = gst::Sample::builder().caps(&part.caps).buffer(&buffer);
            src.push_sample(&sample.build()).expect("push");
        }
    }
    src.end_of_stream().expect("eos");
}

fn wave(t: f64, channel: usize) -> f32 {
    (5.0 + (t * (1.7 + channel as f64)).sin() + 0.3 * (t * 7.3).cos()) as f32
}

/// Channel 1 is a signal, the others are not a number.
fn second_alone(t: f64, channel: usize) -> f32 {
    match channel {
        1 => wave(t, 1),
        _ => f32::NAN,
    }
}

fn whole(caps: gst::Caps, value: fn(f64, usize) -> f32) -> Vec<Part> {
    let seconds = 0..20;
    vec![Part {
        caps,
        seconds,
        value,
    }]
}

/// Twenty seconds of video through `mvpfusion name=f PADS`.
fn video(properties: &str) -> String {
    format!(
        "videotestsrc num-buffers=100 ! video/x-raw,width=32,height=32,framerate=5/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu {properties} ! fakesink "
    )
}

/// The pad that a source is linked to where the line names none.
fn linked(source: &str) -> Result<String, String> {
    init();
    let line = format!("{source} name=s ! f.  mvpfusion name=f");
    let pipeline = gst::parse::launch_full(&line, None, gst::ParseFlags::FATAL_ERRORS);
    let pipeline = pipeline.map_err(|e| e.to_string())?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let pad = pipeline.by_name("s").and_then(|s| s.static_pad("src"));
    let peer = pad.and_then(|p| p.peer()).ok_or("not linked")?;
    Ok(peer.name().to_string())
}

#[test]
fn the_type_of_the_stream_finds_its_pad() {
    for (source, pad) in [
        ("lslsrc stream-type=EDA", "eda"),
        ("lslsrc stream-type=GSR", "eda"),
        ("lslsrc stream-type=ECG", "ecg"),
        ("lslsrc stream-type=ekg", "ecg"),
        ("lslsrc stream-type=PPG", "ppg"),
        ("lslsrc stream-type=BVP", "ppg"),
        ("capsfilter caps=application/x-lsl,stream-type=EDA", "eda"),
        ("capsfilter caps=audio/x-raw,stream-type=PPG", "ppg"),
    ] {
        assert_eq!(linked(source).as_deref(), Ok(pad), "{source}");
    }
    // There is no pad for it without a name.
    assert!(linked("lslsrc stream-type=EEG").is_err());
    // Each its own, whatever the order.
    init();
    let line = "lslsrc name=a stream-type=PPG ! f. lslsrc name=b stream-type=EDA ! queue ! f. \
                lslsrc stream-type=ECG ! f. mvpfusion name=f";
    let pipeline = launch(line);
    let f = pipeline.by_name("f").expect("f");
    for name in ["ecg", "eda", "ppg"] {
        let pad = f.static_pad(name).expect(name);
        let query = pad.peer().expect("linked").query_caps(None);
        let found = query
            .structure(0)
            .and_then(|s| s.get::<String>("stream-type").ok());
        assert_eq!(found.map(|t| t.to_lowercase()).as_deref(), Some(name));
    }
}

/// A pad that is named takes streams of any type that does not name another signal.
#[test]
fn a_named_pad_takes_a_device_with_a_type_of_its_own() {
    if !ready("a_named_pad_takes_a_device_with_a_type_of_its_own") {
        return;
    }
    for more in ["stream-type=BITalino", "stream-type=EDA,units=uS", ""] {
        let pipeline = launch(&(video("") + "appsrc name=s ! f.eda"));
        feed(&pipeline, "s", whole(lsl(1, 4, more), wave));
        let run = play(&pipeline);
        assert_eq!(run.error, None, "{more}");
        assert!(
            run.coverage("eda") > 0.2,
            "{more}: {:?}",
            run.results.last()
        );
    }
}

#[test]
fn a_stream_that_is_another_thing_is_refused() {
    if !ready("a_stream_that_is_another_thing_is_refused") {
        return;
    }
    let sound = "audio/x-raw,format=F32LE,layout=interleaved,channels=1,rate=8000";
    for (pad, caps, found) in [
        ("eda", lsl(1, 4, "stream-type=ECG"), "'ECG'"),
        ("ecg", lsl(1, 64, "stream-type=GSR"), "'GSR'"),
        ("ppg", lsl(1, 64, "channel-labels=acc_x"), "'acc_x'"),
        ("eda", caps(sound), "8000"),
    ] {
        let line = format!("appsrc name=s ! f.{pad}");
        let pipeline = launch(&(video("") + &line));
        feed(&pipeline, "s", whole(caps.clone(), wave));
        let expected = format!("expected type {}", pad.to_uppercase());
        let force = format!("{pad}::force=true");
        play(&pipeline).fails_with(&[&format!("pad {pad}"), found, &expected, &force]);
        // For those who know.
        let pipeline = launch(&(video(&force) + &line));
        feed(&pipeline, "s", whole(caps, wave));
        let run = play(&pipeline);
        assert_eq!(run.error, None);
        assert!(run.coverage(pad) > 0.2, "{:?}", run.results.last());
    }
    // Sound that a microphone gives.
    let line = video("") + "audiotestsrc num-buffers=100 ! audio/x-raw,rate=44100 ! f.eda";
    play(&launch(&line)).fails_with(&["pad eda", "44100", "is sound"]);
}

/// Audio is how lslsrc sends streams of a whole rate, and stock elements pass them on.
#[test]
fn audio_at_the_rate_of_a_sensor_is_taken() {
    if !ready("audio_at_the_rate_of_a_sensor_is_taken") {
        return;
    }
    let pipeline = launch(&(video("") + "appsrc name=s ! f.ecg"));
    let audio = "audio/x-raw,format=F32LE,layout=interleaved,channels=1,rate=256";
    feed(&pipeline, "s", whole(caps(audio), wave));
    let run = play(&pipeline);
    assert_eq!(run.error, None);
    assert!(run.coverage("ecg") > 0.2, "{:?}", run.results.last());
}

#[test]
fn a_unit_that_does_not_suit_masks_the_signal() {
    if !ready("a_unit_that_does_not_suit_masks_the_signal") {
        return;
    }
    for (pad, unit, fits) in [
        ("eda", "kOhm", true),
        ("eda", "mV", false),
        ("eda", "raw", false),
        ("eda", "microsiemens", true),
        ("ecg", "uS", false),
        ("ecg", "raw", true),
    ] {
        let pipeline = launch(&(video("") + &format!("appsrc name=s ! f.{pad}")));
        let value = match unit {
            "kOhm" => |t, c| 1000.0 / wave(t, c),
            _ => wave,
        };
        feed(
            &pipeline,
            "s",
            whole(lsl(1, 64, &format!("units={unit}")), value),
        );
        let run = play(&pipeline);
        assert_eq!(run.error, None);
        let told = run.warnings.join("\n");
        let about = [unit, "expected", "masked", "::unit", "::force=true"];
        assert_eq!(about.iter().all(|w| told.contains(w)), !fits, "{told}");
        assert_eq!(run.coverage(pad) > 0.2, fits, "{pad} in {unit}: {told}");
    }
}

/// One stream of several channels feeds several pads.
#[test]
fn each_pad_reads_its_own_channel_of_a_stream() {
    if !ready("each_pad_reads_its_own_channel_of_a_stream") {
        return;
    }
    let tee = "appsrc name=s ! tee name=t t. ! queue ! f.eda t. ! queue ! f.ppg t. ! queue ! f.ecg";
    for (properties, labels) in [
        ("", "channel-labels=\"nSeq,EDA,PPG,ECG\""),
        ("", "channel-labels=\"nSeq,GSR,BVP,EKG lead II\""),
        ("eda::channel=1 ppg::channel=2 ecg::channel=3", ""),
        (
            "eda::channel=b ppg::channel=C ecg::channel=3",
            "channel-labels=\"a,b,c,d\"",
        ),
        (
            "eda::channel=1 ppg::channel=\"EDA\\ 2\" eda::force=true ppg::force=true",
            "channel-labels=\"n,EDA 1,EDA 2,ECG\"",
        ),
    ] {
        let pipeline = launch(&(video(properties) + tee));
        feed(
            &pipeline,
            "s",
            whole(lsl(4, 64, labels), |t, c| match c {
                0 => f32::NAN,
                _ => wave(t, c),
            }),
        );
        let run = play(&pipeline);
        assert_eq!(run.error, None, "{properties} {labels}");
        for signal in ["eda", "ppg", "ecg"] {
            let coverage = run.coverage(signal);
            assert!(coverage > 0.2, "{properties} {labels}: {signal} {coverage}");
            let stats = run.stats.as_ref().expect("stats");
            let own: gst::Structure = stats.get(signal).expect(signal);
            assert_eq!(own.get::<u64>("not-finite"), Ok(0), "{signal}");
        }
    }
}

#[test]
fn a_channel_that_cannot_be_told_is_masked_with_a_remedy_that_exists() {
    if !ready("a_channel_that_cannot_be_told_is_masked_with_a_remedy_that_exists") {
        return;
    }
    for (properties, labels, found) in [
        ("", "", "no labels"),
        ("", "channel-labels=\"CH1,CH2,CH3\"", "CH1, CH2, CH3"),
        ("", "channel-labels=\"EDA l,EDA r,x\"", "more than one"),
        ("eda::channel=7", "", "'7'"),
        ("eda::channel=EDA", "channel-labels=\"EDA,EDA,x\"", "2 such"),
    ] {
        let run = |properties: &str| {
            let pipeline = launch(&(video(properties) + "appsrc name=s ! f.eda"));
            feed(&pipeline, "s", whole(lsl(3, 64, labels), second_alone));
            play(&pipeline)
        };
        let wants = ["pad eda", found, "xpected", "eda::channel=", "element f"];
        if properties.is_empty() {
            // The rest goes on.
            let run = run(properties);
            let told = run.warnings.join("\n");
            assert_eq!(run.error, None, "{labels}");
            assert!(wants.iter().all(|w| told.contains(w)), "{told}");
            assert_eq!(run.coverage("eda"), 0.0, "{labels}");
        } else {
            run(properties).fails_with(&wants);
        }
        // What it says to do does.
        let mended = run("eda::channel=1");
        assert_eq!(mended.error, None, "{labels}");
        assert!(mended.coverage("eda") > 0.2, "{:?}", mended.results.last());
    }
}

#[test]
fn pads_are_children_of_the_element() {
    init();
    let f = gst::ElementFactory::make("mvpfusion").build().expect("f");
    let proxy = f
        .dynamic_cast_ref::<gst::ChildProxy>()
        .expect("GstChildProxy");
    assert_eq!(proxy.children_count(), 0);
    let eda = f.request_pad_simple("eda").expect("eda");
    let resp = f.request_pad_simple("physio_resp").expect("resp");
    assert_eq!(proxy.children_count(), 2);
    proxy.set_child_property("physio_resp::channel", "breath");
    assert_eq!(resp.property::<String>("channel"), "breath");
    assert_eq!(eda.property::<Option<String>>("channel"), None);
    assert!(!eda.property::<bool>("force"));
    assert!(proxy.child_by_name("sink").is_none());
    f.release_request_pad(&eda);
    f.release_request_pad(&resp);
    assert_eq!(proxy.children_count(), 0);
}

/// A sensor that comes back as another: its signal is masked, the rest goes on, and if it
/// fits again it is read again.
#[test]
fn a_stream_that_changes_for_the_worse_is_masked_until_it_fits_again() {
    if !ready("a_stream_that_changes_for_the_worse_is_masked_until_it_fits_again") {
        return;
    }
    for (worse, channels) in [
        ("channel-labels=\"left,right\"", 2),
        ("", 3),
        ("stream-type=ECG", 1),
        ("units=mV", 1),
    ] {
        let mut held = Vec::new();
        for returns in [false, true] {
            let pipeline = launch(&(video("") + "appsrc name=s ! f.eda appsrc name=h ! f.ecg"));
            let good = || lsl(2, 64, "channel-labels=\"n,EDA\"");
            let part = |caps, seconds| Part {
                caps,
                seconds,
                value: |t, c| wave(t, c),
            };
            let mut parts = vec![part(good(), 0..5), part(lsl(channels, 64, worse), 5..15)];
            if returns {
                parts.push(part(good(), 15..20));
            }
            feed(&pipeline, "s", parts);
            feed(&pipeline, "h", whole(lsl(1, 64, ""), wave));
            let run = play(&pipeline);
            let what = format!("{worse}, returns {returns}: {:?}", run.warnings);
            assert_eq!(run.error, None, "{what}");
            let told = run.warnings.iter().filter(|w| w.contains("masked"));
            assert_eq!(told.count(), 1, "{what}");
            assert_eq!(run.results.len(), 19, "{what}");
            // Five seconds of sixty each time, less four of the first that the
            // normalisation takes to warm up.
            let expected = if returns { 1.0..=7.0 } else { 1.0..=1.5 };
            let seconds = 60.0 * run.coverage("eda");
            held.push(seconds);
            assert!(expected.contains(&seconds), "{seconds} s of EDA: {what}");
            assert!(run.coverage("ecg") > 0.25, "{what}");
        }
        assert!(held[1] > held[0] + 3.0, "{worse}: {held:?}");
    }
}
