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
    /// Video first, then the physiological modalities in the bundle's order.
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

/// One of the bundle's signals: what came of a pad's samples, conditioned.
#[derive(Debug)]
struct Lane {
    spec: SignalSpec,
    conditioner: Option<Conditioner>,
    ring: GridRing,
    /// Time (ns) of the sample or the closing that gave the first value.
    first: Option<u64>,
}

impl Lane {
    fn push(&mut self, time: u64, value: f64) {
        let (ring, first) = (&mut self.ring, &mut self.first);
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.push(time, value, |p| put(ring, first, time, p.k, p.value));
        }
    }

    fn close(&mut self, end: u64) {
        let (ring, first) = (&mut self.ring, &mut self.first);
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.close(end, |p| put(ring, first, end, p.k, p.value));
        }
    }

    fn counts(&self) -> Counts {
        self.conditioner
            .as_ref()
            .map(Conditioner::counts)
            .unwrap_or_default()
    }
}

/// One physiological modality: its samples, and every signal that is made of them.
///
/// What is told of the modality is told of its primary signal, the one of its name.
#[derive(Debug)]
pub struct SignalTrack {
    primary: Lane,
    /// The other signals of the same samples.
    others: Vec<Lane>,
    tally: Tally,
    /// Every sample before this running time (ns) has come.
    reached: u64,
}

impl SignalTrack {
    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.primary).chain(&self.others)
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.primary).chain(&mut self.others)
    }

    /// Signal `index` of the modality; 0 is the primary.
    fn lane(&self, index: usize) -> &Lane {
        match index {
            0 => &self.primary,
            i => &self.others[i - 1],
        }
    }

    /// Says how the samples come; a change keeps the past.
    ///
    /// `rate` in Hz, 0 for an irregular stream; `full_scale`: the ends of an integer format.
    pub fn configure(&mut self, rate: f64, full_scale: Option<[f64; 2]>) {
        for lane in self.lanes_mut() {
            match &mut lane.conditioner {
                Some(c) => c.reconfigure(rate, full_scale),
                None => {
                    let fresh = Conditioner::new(lane.spec.clone(), rate, full_scale);
                    lane.conditioner = Some(fresh);
                }
            }
        }
    }

    /// A sample in the stream's unit, taken at running time `time` (ns). Before
    /// [`SignalTrack::configure`] it is ignored.
    pub fn push(&mut self, time: u64, value: f64) {
        if self.primary.conditioner.is_none() {
            return;
        }
        let bad = self.counts().bad();
        for lane in self.lanes_mut() {
            lane.push(time, value);
        }
        self.reached = self.reached.max(time);
        self.tally.add(time, 1, self.counts().bad() - bad);
    }

    /// No further sample before running time `time` (ns) will come.
    pub fn complete(&mut self, time: u64) {
        self.reached = self.reached.max(time);
        for lane in self.lanes_mut() {
            if let Some(c) = &mut lane.conditioner {
                c.complete(time);
            }
        }
    }

    /// What the network gets of every instant before this one (ns), and what is told of
    /// it, is as it will be, whatever comes.
    pub fn settled(&self) -> u64 {
        let lanes = self.lanes().filter_map(|l| l.conditioner.as_ref());
        // A coarse grid may be done long before the samples are that the quality counts.
        lanes
            .map(|c| c.settled().min(self.reached))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The sender has said that samples are missing here.
    pub fn cut(&mut self) {
        for lane in self.lanes_mut() {
            if let Some(c) = &mut lane.conditioner {
                c.cut();
            }
        }
    }

    /// Forgets everything, as after a seek.
    pub fn flush(&mut self) {
        for lane in self.lanes_mut() {
            lane.conditioner = lane.conditioner.as_ref().map(Conditioner::restarted);
            lane.ring.clear();
            lane.first = None;
        }
        self.tally.chunks.clear();
        self.reached = 0;
    }

    /// What came, and what the primary signal's checks found bad.
    pub fn counts(&self) -> Counts {
        self.primary.counts()
    }

    fn close(&mut self, end: u64) {
        for lane in self.lanes_mut() {
            lane.close(end);
        }
    }

    /// The newest values of the primary signal, oldest first, `None` where there is nothing.
    pub fn recent(&self, seconds: f64, end: u64) -> Vec<Option<f32>> {
        let Lane { spec, ring, .. } = &self.primary;
        let grid = Grid::new(spec.rate);
        let n = (seconds * spec.rate) as usize;
        let first = grid.ceil(end) as i64 - n as i64;
        let (mut values, mut valid) = (vec![0.0; n], vec![0.0; n]);
        ring.copy(first, &mut values, &mut valid);
        values
            .into_iter()
            .zip(valid)
            .map(|(v, ok)| (ok > 0.0).then_some(v))
            .collect()
    }

    /// The primary signal's.
    pub fn spec(&self) -> &SignalSpec {
        &self.primary.spec
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
    /// `video` or one of the bundle's signals.
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

/// Where a signal is: its modality's track, and which of the signals there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    track: usize,
    lane: usize,
}

/// What streaming threads fill and the [`Estimator`] reads.
pub struct Inputs {
    video: Mutex<VideoTrack>,
    /// One for each physiological modality.
    tracks: Vec<Mutex<SignalTrack>>,
    /// Names of the modalities, as `tracks`.
    names: Vec<String>,
    /// Where the bundle's signals are, in its order.
    places: Vec<Place>,
    /// Seconds before a window that encoders look at: of video, then of the signals.
    contexts: Vec<f64>,
}

impl Inputs {
    pub fn new(bundle: &Bundle) -> Self {
        let window = bundle.window();
        let chunks = window.held_chunks();
        let spec = bundle.video();
        let video = VideoTrack {
            grid: UnitsGrid::new(spec.grid()),
            ring: GridRing::new(
                spec.units.len(),
                window.held_points(spec.rate, spec.encoder.context),
            ),
            tally: Tally::new(bundle.chunk(), chunks),
            first: None,
            row: Vec::new(),
        };
        let context = |name: &String| bundle.context(name);
        let contexts = std::iter::once(spec.encoder.context)
            .chain(bundle.signals().iter().map(|s| context(&s.name)))
            .collect();
        let lane = |spec: &SignalSpec| Lane {
            ring: GridRing::new(1, window.held_points(spec.rate, context(&spec.name))),
            spec: spec.clone(),
            conditioner: None,
            first: None,
        };
        let mut places = vec![Place { track: 0, lane: 0 }; bundle.signals().len()];
        let (mut names, mut tracks) = (Vec::new(), Vec::new());
        for name in bundle.sensors() {
            let signals = bundle.signals().iter().enumerate();
            let (own, others): (Vec<_>, Vec<_>) = signals
                .filter(|(_, s)| s.modality() == name)
                .partition(|(_, s)| s.name == name);
            // The bundle has been checked for it.
            let Some((first, primary)) = own.first() else {
                continue;
            };
            let track = tracks.len();
            places[*first] = Place { track, lane: 0 };
            for (i, (at, _)) in others.iter().enumerate() {
                places[*at] = Place { track, lane: i + 1 };
            }
            names.push(name.to_string());
            tracks.push(Mutex::new(SignalTrack {
                primary: lane(primary),
                others: others.iter().map(|(_, s)| lane(s)).collect(),
                tally: Tally::new(bundle.chunk(), chunks),
                reached: 0,
            }));
        }
        Self {
            video: Mutex::new(video),
            tracks,
            names,
            places,
            contexts,
        }
    }

    pub fn video(&self) -> MutexGuard<'_, VideoTrack> {
        self.video.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of the physiological modalities, in the bundle's order: those of
    /// mvpfusion's pads.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The track of the modality `name`, if the bundle has it.
    pub fn signal(&self, name: &str) -> Option<MutexGuard<'_, SignalTrack>> {
        self.names
            .iter()
            .position(|n| n == name)
            .map(|i| self.track(i))
    }

    /// What the network gets of the window that ends at `end` (ns) and is `duration`
    /// seconds long, video first, then the bundle's signals in its order.
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
        let contexts = &self.contexts[1..];
        let signals = self.places.iter().zip(contexts).map(|(place, context)| {
            let track = self.track(place.track);
            let Lane { spec, ring, .. } = track.lane(place.lane);
            cut(&spec.name, spec.rate, *context, 1, ring)
        });
        std::iter::once(row).chain(signals).collect()
    }

    fn track(&self, index: usize) -> MutexGuard<'_, SignalTrack> {
        self.tracks[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream of tokens: where it comes from and what has been made of it.
struct TokenStream {
    /// The signals that may fill each channel; empty for video.
    channels: Vec<Vec<Place>>,
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
            |channels: Vec<Vec<Place>>, row: usize, rate: f64, spec: &super::EncoderSpec| {
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
            let place = |name: &String| {
                let index = bundle.signals().iter().position(|s| s.name == *name)?;
                inputs.places.get(index).copied()
            };
            let channels: Vec<Vec<Place>> = spec
                .channels
                .iter()
                .map(|alternatives| alternatives.iter().filter_map(place).collect())
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
                let mut places = stream.channels.iter().flatten();
                places.all(|p| masked(p.track + 1))
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
        let mut states = Vec::with_capacity(1 + self.inputs.tracks.len());
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
            let Lane {
                spec,
                ring,
                first: begun,
                ..
            } = &track.primary;
            first = first.min(begun.unwrap_or(u64::MAX));
            states.push(ModalityState {
                name: name.clone(),
                coverage: share(ring, spec.rate),
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
                        let held = |p: &Place| {
                            let track = self.inputs.track(p.track);
                            track.lane(p.lane).ring.count(at, stream.points)
                        };
                        let best = alternatives.iter().rev().max_by_key(|p| held(p));
                        let (values, flags) = (
                            &mut stream.values[row * n..][..n],
                            &mut stream.flags[row * n..][..n],
                        );
                        if let Some(best) = best {
                            let track = self.inputs.track(best.track);
                            let ring = &track.lane(best.lane).ring;
                            ring.copy(first, values, flags);
                            usable |= enough(ring.count(at, stream.points));
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
