// SPDX-License-Identifier: MPL-2.0
//! Plays a recording through xdfdemux and keeps what comes of every stream.
#![allow(dead_code)]

use crate::lsl_support::init;
use crate::xdf_support::{Sample, Xdf};
use gst::prelude::*;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

pub(crate) const SECOND: u64 = 1_000_000_000;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Track {
    pub(crate) caps: String,
    /// Time (ns), duration, DISCONT, bytes.
    pub(crate) buffers: Vec<(u64, Option<u64>, bool, Vec<u8>)>,
    pub(crate) gaps: Vec<(u64, u64)>,
    pub(crate) segment: Option<(u64, u64)>,
    pub(crate) title: String,
    pub(crate) stream_id: String,
    pub(crate) eos: bool,
}

impl Track {
    pub(crate) fn interval(&self) -> f64 {
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
    pub(crate) fn times(&self, size: usize) -> Vec<f64> {
        let interval = self.interval();
        self.buffers
            .iter()
            .flat_map(|(pts, _, _, data)| {
                let n = data.len().checked_div(size).unwrap_or(1);
                (0..n).map(move |i| (*pts as f64 + i as f64 * interval) / 1e9)
            })
            .collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.buffers.iter().flat_map(|b| b.3.clone()).collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).expect("UTF-8");
        self.buffers.iter().map(|b| text(&b.3)).collect()
    }

    pub(crate) fn floats(&self) -> Vec<f32> {
        crate::lsl_support::numbers(&self.bytes(), f32::from_le_bytes)
    }
}

#[derive(Clone, Default)]
pub(crate) struct Tracks(pub(crate) Arc<Mutex<BTreeMap<String, Track>>>);

impl Tracks {
    pub(crate) fn watch(&self, pad: &gst::Pad, name: &str) {
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
    pub(crate) fn take(&self) -> BTreeMap<String, Track> {
        std::mem::take(&mut *self.0.lock().unwrap())
            .into_values()
            .map(|t| (t.title.clone(), t))
            .collect()
    }
}

pub(crate) struct Player {
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) tracks: Tracks,
}

impl Player {
    /// `between`: what stands between the file and the demuxer; a queue makes it push.
    pub(crate) fn new(path: &Path, between: &str, sink: &'static str) -> Self {
        Self::with(path, between, "", sink)
    }

    /// `options`: properties of the demuxer.
    pub(crate) fn with(path: &Path, between: &str, options: &str, sink: &'static str) -> Self {
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
    pub(crate) fn wait(&self) -> Result<Vec<String>, String> {
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

    pub(crate) fn play(&self) -> Result<Vec<String>, String> {
        let _ = self.pipeline.set_state(gst::State::Playing);
        self.wait()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A player that stands at the beginning of `path`.
pub(crate) fn paused(path: &Path) -> Player {
    let player = Player::new(path, PULL, "queue ! fakesink sync=false");
    player
        .pipeline
        .set_state(gst::State::Paused)
        .expect("paused");
    while player.tracks.0.lock().unwrap().len() < 3 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let (state, ..) = player.pipeline.state(gst::ClockTime::from_seconds(20));
    state.expect("prerolled");
    player
}

pub(crate) const SINK: &str = "fakesink sync=false async=false";

pub(crate) const PULL: &str = "";

pub(crate) const PUSH: &str = "! queue";

pub(crate) fn file(xdf: &Xdf) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new()
        .suffix(".xdf")
        .tempfile()
        .expect("file");
    std::fs::write(file.path(), &xdf.bytes).expect("write");
    file
}

/// Plays a recording to its end, without warnings.
pub(crate) fn play(xdf: &Xdf, between: &str) -> BTreeMap<String, Track> {
    let file = file(xdf);
    let player = Player::new(file.path(), between, SINK);
    assert_eq!(player.play(), Ok(vec![]));
    player.tracks.take()
}

/// Two minutes of a recording: 'ecg' 100 Hz float32 on a clock 5000 s behind that drifts
/// by 50 ppm, 'count' 51.2 Hz int16 of two channels on the recorder's own, 'words' now and
/// then.
pub(crate) fn session(seconds: u64) -> Xdf {
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

/// Gaussian enough, between -1 and 1.
pub(crate) fn noise(n: u64) -> f64 {
    let uniform = |k: u64| {
        let mut x = (n * 4 + k + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x >> 33) as f64 / (1u64 << 31) as f64
    };
    (0..4).map(uniform).sum::<f64>() / 2.0 - 1.0
}
