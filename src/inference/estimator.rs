// SPDX-License-Identifier: MPL-2.0
//! From timed input to a calibrated answer, without elements and without a clock.
//!
//! Streaming threads put what arrives into [`Inputs`], each track behind its own
//! short lock. One worker owns the [`Estimator`] and asks it for the window that ends
//! at a chunk boundary; tokens are made once per chunk and kept.

use super::bundle::nanoseconds;
use super::network::stream_rate;
use super::{Bundle, Error, Logits, Network, TokenWindow, UnitsGrid};
use crate::meta::ModalityState;
use crate::physio::{Conditioner, Counts, Grid, SignalSpec};
use crate::window::{GridRing, TokenRing};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Chunks that may arrive beyond the window before the oldest is overwritten.
const SLACK_CHUNKS: usize = 30;

/// An answer for one window. Times are nanoseconds of running time.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub window_start: u64,
    pub window_end: u64,
    /// Probability of the high class, 0–1.
    pub valence: f64,
    /// Probability of the high class, 0–1.
    pub arousal: f64,
    pub label: String,
    /// Twice the distance of the less certain probability from one half, times the
    /// mean of the video's coverage and the best physiological coverage.
    pub confidence: f64,
    pub classes: Vec<(String, f64)>,
    /// Before calibration; `None` where no modality can be used.
    pub logits: Option<Logits>,
    /// Video first, then the bundle's signals.
    pub modalities: Vec<ModalityState>,
    pub warming_up: bool,
    /// From the snapshot to the answer.
    pub took: Duration,
}

/// How many samples came and how many were bad, chunk by chunk.
#[derive(Debug, Default)]
struct Tally {
    chunk: u64,
    chunks: VecDeque<(u64, u64, u64)>,
    keep: usize,
}

impl Tally {
    fn new(chunk: u64, keep: usize) -> Self {
        Self {
            chunk,
            chunks: VecDeque::new(),
            keep,
        }
    }

    fn add(&mut self, time: u64, received: u64, bad: u64) {
        let at = time / self.chunk;
        match self.chunks.back_mut() {
            Some((c, r, b)) if *c >= at => {
                *r += received;
                *b += bad;
            }
            _ => self.chunks.push_back((at, received, bad)),
        }
        while self.chunks.len() > self.keep {
            self.chunks.pop_front();
        }
    }

    /// Share of good samples in chunks `from..to`; 0 where none came.
    fn quality(&self, from: u64, to: u64) -> f64 {
        let inside = self.chunks.iter().filter(|(c, ..)| (from..to).contains(c));
        let (received, bad) = inside.fold((0, 0), |(r, b), (_, cr, cb)| (r + cr, b + cb));
        if received == 0 {
            0.0
        } else {
            1.0 - bad as f64 / received as f64
        }
    }
}

/// One physiological signal: what came of it, conditioned.
#[derive(Debug)]
pub struct SignalTrack {
    spec: SignalSpec,
    conditioner: Option<Conditioner>,
    ring: GridRing,
    tally: Tally,
    first: Option<u64>,
}

impl SignalTrack {
    /// Says how the samples come; a change keeps the past.
    ///
    /// `rate` in Hz, 0 for an irregular stream; `full_scale`: the ends of an integer format.
    pub fn configure(&mut self, rate: f64, full_scale: Option<[f64; 2]>) {
        match &mut self.conditioner {
            Some(c) => c.reconfigure(rate, full_scale),
            None => self.conditioner = Some(Conditioner::new(self.spec.clone(), rate, full_scale)),
        }
    }

    /// A sample in the stream's unit, taken at running time `time` (ns). Before
    /// [`SignalTrack::configure`] it is ignored.
    pub fn push(&mut self, time: u64, value: f64) {
        let Some(conditioner) = &mut self.conditioner else {
            return;
        };
        let bad = conditioner.counts().bad();
        let (ring, first) = (&mut self.ring, &mut self.first);
        conditioner.push(time, value, |p| put(ring, first, time, p.k, p.value));
        self.tally.add(time, 1, conditioner.counts().bad() - bad);
    }

    /// No further sample before running time `time` (ns) will come.
    pub fn complete(&mut self, time: u64) {
        if let Some(c) = &mut self.conditioner {
            c.complete(time);
        }
    }

    /// What the network gets of every instant before this one (ns) is as it will be,
    /// whatever comes.
    pub fn settled(&self) -> u64 {
        self.conditioner
            .as_ref()
            .map_or(u64::MAX, Conditioner::settled)
    }

    /// The sender has said that samples are missing here.
    pub fn cut(&mut self) {
        if let Some(c) = &mut self.conditioner {
            c.cut();
        }
    }

    /// Forgets everything, as after a seek.
    pub fn flush(&mut self) {
        self.conditioner = self.conditioner.as_ref().map(Conditioner::restarted);
        self.ring.clear();
        self.tally.chunks.clear();
        self.first = None;
    }

    pub fn counts(&self) -> Counts {
        self.conditioner
            .as_ref()
            .map(Conditioner::counts)
            .unwrap_or_default()
    }

    fn close(&mut self, end: u64) {
        if let Some(conditioner) = &mut self.conditioner {
            let (ring, first) = (&mut self.ring, &mut self.first);
            conditioner.close(end, |p| put(ring, first, end, p.k, p.value));
        }
    }

    /// The newest conditioned values, oldest first, `None` where there is nothing.
    pub fn recent(&self, seconds: f64, end: u64) -> Vec<Option<f32>> {
        let grid = Grid::new(self.spec.rate);
        let n = (seconds * self.spec.rate) as usize;
        let first = grid.ceil(end) as i64 - n as i64;
        let (mut values, mut valid) = (vec![0.0; n], vec![0.0; n]);
        self.ring.copy(first, &mut values, &mut valid);
        values
            .into_iter()
            .zip(valid)
            .map(|(v, ok)| (ok > 0.0).then_some(v))
            .collect()
    }

    pub fn spec(&self) -> &SignalSpec {
        &self.spec
    }
}

fn put(ring: &mut GridRing, first: &mut Option<u64>, time: u64, k: u64, value: Option<f32>) {
    if value.is_some() {
        first.get_or_insert(time);
    }
    ring.push(k, value.as_ref().map(std::slice::from_ref));
}

/// The face units that came.
#[derive(Debug)]
pub struct VideoTrack {
    grid: UnitsGrid,
    ring: GridRing,
    tally: Tally,
    first: Option<u64>,
    row: Vec<f32>,
}

impl VideoTrack {
    /// Unit names in the order of [`VideoTrack::push`].
    pub fn units(&self) -> &[String] {
        &self.grid.spec().units
    }

    /// The units of a face seen at running time `time` (ns); `confidence` 0–1.
    pub fn push(&mut self, time: u64, confidence: f64, values: &[f64]) {
        let Self {
            grid,
            ring,
            first,
            row,
            ..
        } = self;
        let good = grid.push(time, confidence, values, |k, v| {
            put_row(ring, first, row, time, k, v);
        });
        self.tally.add(time, 1, u64::from(!good));
    }

    /// Forgets everything, as after a seek.
    pub fn flush(&mut self) {
        self.grid = self.grid.restarted();
        self.ring.clear();
        self.tally.chunks.clear();
        self.first = None;
    }

    fn close(&mut self, end: u64) {
        let Self {
            grid,
            ring,
            first,
            row,
            ..
        } = self;
        grid.close(end, |k, v| put_row(ring, first, row, end, k, v));
    }
}

fn put_row(
    ring: &mut GridRing,
    first: &mut Option<u64>,
    row: &mut Vec<f32>,
    time: u64,
    k: u64,
    values: Option<&[f64]>,
) {
    match values {
        Some(values) => {
            first.get_or_insert(time);
            row.clear();
            row.extend(values.iter().map(|v| *v as f32));
            ring.push(k, Some(row));
        }
        None => ring.push(k, None),
    }
}

/// The grid values of one modality, as the network gets them.
#[derive(Debug, Clone, PartialEq)]
pub struct GridWindow {
    /// `video` or a signal.
    pub name: String,
    /// In Hz.
    pub rate: f64,
    /// Index on the grid of the first point; negative before time zero.
    pub first: i64,
    /// Points before the window, which only encoders look at.
    pub context: usize,
    /// Values per point.
    pub width: usize,
    /// `[n, width]`, 0 where there is nothing.
    pub values: Vec<f32>,
    /// `[n]`, 1 or 0.
    pub valid: Vec<f32>,
}

/// What streaming threads fill and the [`Estimator`] reads.
pub struct Inputs {
    video: Mutex<VideoTrack>,
    signals: Vec<Mutex<SignalTrack>>,
    names: Vec<String>,
    /// Seconds before a window that encoders look at, by track, video first.
    contexts: Vec<f64>,
}

impl Inputs {
    pub fn new(bundle: &Bundle) -> Self {
        let window = bundle.window();
        let chunks = bundle.window_chunks() + SLACK_CHUNKS;
        let capacity = |rate: f64, context: f64| {
            (chunks as f64 * window.chunk * rate + context * rate).ceil() as usize + 1
        };
        let spec = bundle.video();
        let video = VideoTrack {
            grid: UnitsGrid::new(spec.grid()),
            ring: GridRing::new(spec.units.len(), capacity(spec.rate, spec.encoder.context)),
            tally: Tally::new(bundle.chunk(), chunks),
            first: None,
            row: Vec::new(),
        };
        let context = |name: &String| {
            let feeds = |s: &&super::StreamSpec| s.channels.iter().flatten().any(|c| c == name);
            let all = bundle
                .streams()
                .iter()
                .filter(feeds)
                .map(|s| s.encoder.context);
            all.fold(0.0, f64::max)
        };
        let contexts = std::iter::once(spec.encoder.context)
            .chain(bundle.signals().iter().map(|s| context(&s.name)))
            .collect();
        let signals = bundle
            .signals()
            .iter()
            .map(|spec| {
                Mutex::new(SignalTrack {
                    ring: GridRing::new(1, capacity(spec.rate, context(&spec.name))),
                    spec: spec.clone(),
                    conditioner: None,
                    tally: Tally::new(bundle.chunk(), chunks),
                    first: None,
                })
            })
            .collect();
        Self {
            video: Mutex::new(video),
            signals,
            names: bundle.signals().iter().map(|s| s.name.clone()).collect(),
            contexts,
        }
    }

    pub fn video(&self) -> MutexGuard<'_, VideoTrack> {
        self.video.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of the signals, in the bundle's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The track of the signal `name`, if the bundle has it.
    pub fn signal(&self, name: &str) -> Option<MutexGuard<'_, SignalTrack>> {
        self.names
            .iter()
            .position(|n| n == name)
            .map(|i| self.track(i))
    }

    /// What the network gets of the window that ends at `end` (ns) and is `duration`
    /// seconds long, video first, then the signals in the bundle's order.
    pub fn window(&self, end: u64, duration: f64) -> Vec<GridWindow> {
        let cut = |name: &str, rate: f64, context: f64, width: usize, ring: &GridRing| {
            let context = (context * rate).round() as usize;
            let n = context + (duration * rate).round() as usize;
            let first = Grid::new(rate).ceil(end) as i64 - n as i64;
            let (mut values, mut valid) = (vec![0.0; n * width], vec![0.0; n]);
            ring.copy(first, &mut values, &mut valid);
            GridWindow {
                name: name.into(),
                rate,
                first,
                context,
                width,
                values,
                valid,
            }
        };
        let video = self.video();
        let spec = video.grid.spec();
        let row = cut(
            "video",
            spec.rate,
            self.contexts[0],
            spec.units.len(),
            &video.ring,
        );
        let signals = self.names.iter().enumerate().map(|(i, name)| {
            let track = self.track(i);
            cut(name, track.spec.rate, self.contexts[i + 1], 1, &track.ring)
        });
        std::iter::once(row).chain(signals).collect()
    }

    fn track(&self, index: usize) -> MutexGuard<'_, SignalTrack> {
        self.signals[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream of tokens: where it comes from and what has been made of it.
struct TokenStream {
    /// Index of the signals that may fill each channel; empty for video.
    channels: Vec<Vec<usize>>,
    rate: f64,
    context: usize,
    points: usize,
    ring: TokenRing,
    tokens: Vec<f32>,
    valid: Vec<f32>,
    values: Vec<f32>,
    flags: Vec<f32>,
}

/// Owns the network and the tokens, and answers for one window at a time.
pub struct Estimator {
    bundle: Arc<Bundle>,
    inputs: Arc<Inputs>,
    network: Network,
    /// Video first, then the bundle's streams.
    streams: Vec<TokenStream>,
    names: Vec<(String, String)>,
}

impl Estimator {
    pub fn new(bundle: Arc<Bundle>, inputs: Arc<Inputs>, network: Network) -> Self {
        let chunks = bundle.window_chunks();
        let width = bundle.fusion().width;
        let seconds = bundle.window().chunk;
        let stream =
            |channels: Vec<Vec<usize>>, row: usize, rate: f64, spec: &super::EncoderSpec| {
                let (context, points) = spec.points(rate, seconds);
                let n = context + points;
                let flags = if channels.is_empty() { n } else { row * n };
                TokenStream {
                    channels,
                    rate,
                    context,
                    points,
                    ring: TokenRing::new(chunks, spec.tokens, width),
                    tokens: vec![0.0; chunks * spec.tokens * width],
                    valid: vec![0.0; chunks * spec.tokens],
                    values: vec![0.0; row * n],
                    flags: vec![0.0; flags],
                }
            };
        let video = bundle.video();
        let mut streams = vec![stream(
            Vec::new(),
            video.units.len(),
            video.rate,
            &video.encoder,
        )];
        for spec in bundle.streams() {
            let index = |name: &String| bundle.signals().iter().position(|s| s.name == *name);
            let channels: Vec<Vec<usize>> = spec
                .channels
                .iter()
                .map(|alternatives| alternatives.iter().filter_map(index).collect())
                .collect();
            let rate = stream_rate(&bundle, spec);
            streams.push(stream(channels, spec.channels.len(), rate, &spec.encoder));
        }
        let names = std::iter::once("video")
            .chain(bundle.streams().iter().map(|s| s.name.as_str()))
            .map(|n| (n.to_string(), format!("{n}_valid")))
            .collect();
        Self {
            bundle,
            inputs,
            network,
            streams,
            names,
        }
    }

    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What the fusion graph got for the last answer, by stream: name of the input,
    /// tokens `[T, width]` and flags `[T]`. Video first.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, TokenWindow<'_>)> {
        self.names.iter().zip(&self.streams).map(|((name, _), s)| {
            let window = TokenWindow {
                tokens: &s.tokens,
                valid: &s.valid,
            };
            (name.as_str(), window)
        })
    }

    /// Forgets all tokens, as after a seek.
    pub fn flush(&mut self) {
        for stream in &mut self.streams {
            stream.ring.clear();
        }
    }

    /// The answer for the window that ends where chunk `end` begins.
    ///
    /// # Errors
    /// [`Error::Run`] or [`Error::Cancelled`] from ONNX Runtime; the tokens made so
    /// far stay, and the next window can be asked for.
    pub fn answer(&mut self, end: u64) -> Result<Answer, Error> {
        let begun = Instant::now();
        let start = end.saturating_sub(self.bundle.window_chunks() as u64);
        let (modalities, warming_up) = self.survey(start, end);
        self.encode(start, end)?;

        let min_coverage = self.bundle.window().min_coverage;
        let masked = |i: usize| modalities[i].coverage < min_coverage;
        let mut anything = false;
        for stream in &mut self.streams {
            stream
                .ring
                .window(end, &mut stream.tokens, &mut stream.valid);
            let all_masked = if stream.channels.is_empty() {
                masked(0)
            } else {
                stream.channels.iter().flatten().all(|i| masked(i + 1))
            };
            if all_masked {
                stream.valid.fill(0.0);
            }
            anything |= stream.valid.contains(&1.0);
        }

        let outputs = self.bundle.outputs();
        let coverage = |i: usize| modalities[i].coverage;
        let body = (1..modalities.len()).map(coverage).fold(0.0, f64::max);
        let mut answer = Answer {
            window_start: start * self.bundle.chunk(),
            window_end: end * self.bundle.chunk(),
            valence: outputs.valence.prior,
            arousal: outputs.arousal.prior,
            label: outputs.labels.unknown.clone(),
            confidence: 0.0,
            classes: Vec::new(),
            logits: None,
            warming_up,
            took: Duration::ZERO,
            modalities: Vec::new(),
        };
        if anything {
            let parts: Vec<_> = self
                .streams
                .iter()
                .map(|s| TokenWindow {
                    tokens: &s.tokens,
                    valid: &s.valid,
                })
                .collect();
            let logits = self.network.fuse(&self.names, &parts)?;
            answer.valence = outputs.valence.probability(logits.valence);
            answer.arousal = outputs.arousal.probability(logits.arousal);
            answer.label = outputs
                .labels
                .quadrant(answer.valence, answer.arousal)
                .to_string();
            let certain = |p: f64| 2.0 * (p - 0.5).abs();
            answer.confidence =
                certain(answer.valence).min(certain(answer.arousal)) * 0.5 * (coverage(0) + body);
            answer.classes = outputs
                .classes
                .iter()
                .cloned()
                .zip(softmax(&logits.classes))
                .collect();
            answer.logits = Some(logits);
        }
        answer.modalities = modalities;
        answer.took = begun.elapsed();
        Ok(answer)
    }

    /// Closes the grids where chunk `end` begins, as an answer does, and answers nothing.
    pub fn close(&self, end: u64) {
        self.survey(end, end);
    }

    /// Closes the grids at the window's end and measures what the window holds.
    fn survey(&self, start: u64, end: u64) -> (Vec<ModalityState>, bool) {
        let chunk = self.bundle.chunk();
        let duration = self.bundle.window().duration;
        let share = |ring: &GridRing, rate: f64| {
            let points = (duration * rate).round() as usize;
            let first = Grid::new(rate).ceil(end * chunk) as i64 - points as i64;
            ring.count(first, points) as f64 / points.max(1) as f64
        };
        let mut states = Vec::with_capacity(1 + self.inputs.signals.len());
        let mut first = u64::MAX;
        {
            let mut video = self.inputs.video();
            video.close(end * chunk);
            first = first.min(video.first.unwrap_or(u64::MAX));
            states.push(ModalityState {
                name: "video".into(),
                coverage: share(&video.ring, self.bundle.video().rate),
                quality: video.tally.quality(start, end),
            });
        }
        for (i, name) in self.inputs.names.iter().enumerate() {
            let mut track = self.inputs.track(i);
            track.close(end * chunk);
            first = first.min(track.first.unwrap_or(u64::MAX));
            states.push(ModalityState {
                name: name.clone(),
                coverage: share(&track.ring, track.spec.rate),
                quality: track.tally.quality(start, end),
            });
        }
        let full = first.saturating_add(nanoseconds(duration));
        (states, end * chunk < full)
    }

    /// Encodes the chunks of the window that have not been.
    fn encode(&mut self, start: u64, end: u64) -> Result<(), Error> {
        let chunk_length = self.bundle.chunk();
        let min_share = self.bundle.window().min_chunk_coverage;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let n = stream.context + stream.points;
            let enough =
                |count: usize| count > 0 && count as f64 >= min_share * stream.points as f64;
            for chunk in start..end {
                if stream.ring.knows(chunk) {
                    continue;
                }
                let at = Grid::new(stream.rate).ceil(chunk * chunk_length) as i64;
                let first = at - stream.context as i64;
                let usable = if stream.channels.is_empty() {
                    let video = self.inputs.video();
                    video
                        .ring
                        .copy(first, &mut stream.values, &mut stream.flags);
                    enough(video.ring.count(at, stream.points))
                } else {
                    let mut usable = false;
                    for (row, alternatives) in stream.channels.iter().enumerate() {
                        let held = |i: &usize| self.inputs.track(*i).ring.count(at, stream.points);
                        let best = alternatives.iter().rev().max_by_key(|i| held(i));
                        let (values, flags) = (
                            &mut stream.values[row * n..][..n],
                            &mut stream.flags[row * n..][..n],
                        );
                        if let Some(best) = best {
                            let track = self.inputs.track(*best);
                            track.ring.copy(first, values, flags);
                            usable |= enough(track.ring.count(at, stream.points));
                        }
                    }
                    usable
                };
                if !usable {
                    stream.ring.store(chunk, None);
                    continue;
                }
                let tokens = if stream.channels.is_empty() {
                    self.network.encode_video(&stream.values, &stream.flags)?
                } else {
                    let channels = stream.channels.len();
                    self.network.encode_stream(
                        index - 1,
                        channels,
                        &stream.values,
                        &stream.flags,
                    )?
                };
                stream.ring.store(chunk, Some(&tokens));
            }
        }
        Ok(())
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raised: Vec<f64> = logits.iter().map(|l| (l - top).exp()).collect();
    let sum: f64 = raised.iter().sum();
    raised.into_iter().map(|r| r / sum).collect()
}
