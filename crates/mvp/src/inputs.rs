// SPDX-License-Identifier: MPL-2.0
//! The input of the network: a track of conditioned samples for each modality, with a lock of
//! its own.

use super::Bundle;
use conditioning::quality::Reading;
use conditioning::{Conditioner, Counts, Grid, GridRing, NormaliserState, SignalSpec, UnitsGrid};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was received in one chunk.
#[derive(Debug, Clone, Copy)]
struct Part {
    chunk: u64,
    received: u64,
    /// Samples that are bad by themselves.
    bad: u64,
    /// Samples whose quality was known, and the sum of it.
    known: u64,
    quality: f64,
}

/// Numbers of received and of bad samples, and their quality, chunk by chunk.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Length of a chunk, ns.
    chunk: u64,
    parts: VecDeque<Part>,
    /// Chunks that are kept.
    keep: usize,
}

impl Tally {
    fn new(chunk: u64, keep: usize) -> Self {
        Self {
            chunk,
            parts: VecDeque::new(),
            keep,
        }
    }

    /// Adds a sample; `quality` of the signal, 0–1, if it is known.
    fn add(&mut self, time: u64, bad: bool, quality: Option<f64>) {
        let at = time / self.chunk;
        if self.parts.back().is_none_or(|p| p.chunk < at) {
            self.parts.push_back(Part {
                chunk: at,
                received: 0,
                bad: 0,
                known: 0,
                quality: 0.0,
            });
        }
        if let Some(part) = self.parts.back_mut() {
            part.received += 1;
            part.bad += u64::from(bad);
            part.known += u64::from(quality.is_some());
            part.quality += quality.unwrap_or(0.0);
        }
        while self.parts.len() > self.keep {
            self.parts.pop_front();
        }
    }

    /// Share of good samples in chunks `from..to`, times the mean of their quality where it is
    /// known; 0 without samples.
    pub(crate) fn quality(&self, from: u64, to: u64) -> f64 {
        let inside = self.parts.iter().filter(|p| (from..to).contains(&p.chunk));
        let (mut received, mut bad, mut known, mut sum) = (0, 0, 0, 0.0);
        for part in inside {
            received += part.received;
            bad += part.bad;
            known += part.known;
            sum += part.quality;
        }
        if received == 0 {
            return 0.0;
        }
        let share = 1.0 - bad as f64 / received as f64;
        if known == 0 {
            share
        } else {
            share * sum / known as f64
        }
    }
}

/// Which of several signals filled a channel of an encoder in a chunk.
#[derive(Debug, Clone, Copy)]
struct Choice {
    encoder: usize,
    channel: usize,
    chunk: u64,
    /// Index in the alternatives of the channel.
    taken: usize,
}

/// Chunks for which the progress of a normalisation is remembered: more than windows can be asked
/// for late.
const PROGRESS: usize = 4096;

/// One of the bundle's signals: the conditioned samples of a modality.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) spec: SignalSpec,
    conditioner: Option<Conditioner>,
    pub(crate) ring: GridRing,
    /// Time (ns) of the sample, or of the closing, that gave the first value.
    pub(crate) first: Option<u64>,
    /// How far the normalisation had settled after the points of a chunk; no more is added once
    /// it has.
    progress: VecDeque<(u64, f64)>,
}

impl Lane {
    fn push(&mut self, time: u64, value: f64, chunk: u64) {
        let (ring, first) = (&mut self.ring, &mut self.first);
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.push(time, value, |p| put(ring, first, time, p.k, p.value));
        }
        self.note_progress(chunk);
    }

    fn close(&mut self, end: u64, chunk: u64) {
        let (ring, first) = (&mut self.ring, &mut self.first);
        if let Some(conditioner) = &mut self.conditioner {
            conditioner.close(end, |p| put(ring, first, end, p.k, p.value));
        }
        self.note_progress(chunk);
    }

    fn note_progress(&mut self, chunk: u64) {
        let Some(conditioner) = &self.conditioner else {
            return;
        };
        let Some(newest) = self.ring.end().checked_sub(1) else {
            return;
        };
        if self.progress.back().is_some_and(|(_, p)| *p >= 1.0) {
            return;
        }
        let at = Grid::new(self.spec.rate).time(newest) / chunk;
        let now = conditioner.baseline_progress();
        match self.progress.back_mut() {
            Some((c, p)) if *c >= at => *p = now,
            _ => self.progress.push_back((at, now)),
        }
        if self.progress.len() > PROGRESS {
            self.progress.pop_front();
        }
    }

    /// How far the normalisation had settled before chunk `end`, 0–1.
    pub(crate) fn progress(&self, end: u64) -> f64 {
        let mut past = self.progress.iter().rev();
        past.find(|(chunk, _)| *chunk < end)
            .map_or(0.0, |(_, p)| *p)
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
/// Coverage, quality and counts of the modality are those of its primary signal, which
/// has the same name.
#[derive(Debug)]
pub struct SignalTrack {
    pub(crate) primary: Lane,
    /// The other signals of the same samples.
    others: Vec<Lane>,
    pub(crate) tally: Tally,
    /// All samples before this running time (ns) have come.
    reached: u64,
    /// Which signals were chosen where this modality is the first that the bundle names.
    choices: VecDeque<Choice>,
}

impl SignalTrack {
    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.primary).chain(&self.others)
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.primary).chain(&mut self.others)
    }

    /// Signal `index` of the modality; 0 is the primary.
    pub(crate) fn lane(&self, index: usize) -> &Lane {
        match index {
            0 => &self.primary,
            i => &self.others[i - 1],
        }
    }

    /// Sets how samples come; needed before the first one. On a change the values so far stay.
    ///
    /// `rate`: nominal rate in Hz, 0 for an irregular stream. `full_scale`: lowest and highest
    /// value of an integer sample format, `None` for floating point.
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

    /// Takes a sample in the stream's unit at running time `time` (ns). Samples have to be in
    /// order: one that is not newer than the last is counted as bad. Before
    /// [`SignalTrack::configure`] it is ignored.
    pub fn push(&mut self, time: u64, value: f64) {
        if self.primary.conditioner.is_none() {
            return;
        }
        let bad = self.counts().unusable();
        let chunk = self.tally.chunk;
        for lane in self.lanes_mut() {
            lane.push(time, value, chunk);
        }
        self.reached = self.reached.max(time);
        let bad = self.counts().unusable() > bad;
        self.tally.add(time, bad, self.reading(time).quality);
    }

    /// The quality of the samples as they come, at running time `time` (ns).
    pub fn reading(&self, time: u64) -> Reading {
        let conditioner = self.primary.conditioner.as_ref();
        conditioner.map_or(
            Reading {
                quality: None,
                reason: None,
            },
            |c| c.reading(time),
        )
    }

    /// How far the normalisation of all signals of the modality had settled before chunk `end`.
    pub(crate) fn progress(&self, end: u64) -> f64 {
        self.lanes().map(|l| l.progress(end)).fold(1.0, f64::min)
    }

    /// What the normalisation of each signal of the modality has learned, by name.
    pub fn normalisation(&self) -> Vec<(&str, NormaliserState)> {
        let lanes = self.lanes().filter_map(|lane| {
            let state = lane.conditioner.as_ref()?.normalisation()?;
            Some((lane.spec.name.as_str(), state))
        });
        lanes.collect()
    }

    /// Gives the signal `name` of the modality what another session has learned. Needs
    /// [`SignalTrack::configure`] first.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn restore(&mut self, name: &str, state: NormaliserState) -> Result<(), String> {
        let lane = self.lanes_mut().find(|lane| lane.spec.name == name);
        let lane = lane.ok_or_else(|| format!("'{name}': the modality has no such signal"))?;
        match &mut lane.conditioner {
            Some(c) => c.restore(state).map_err(|e| format!("'{name}': {e}")),
            None => Err(format!("'{name}': the samples have no rate yet")),
        }
    }

    /// What was chosen for a channel of an encoder in `chunk`, and in the newest chunk before.
    pub(crate) fn chosen(
        &self,
        encoder: usize,
        channel: usize,
        chunk: u64,
    ) -> (Option<usize>, Option<usize>) {
        let own = |c: &&Choice| c.encoder == encoder && c.channel == channel;
        let all = || self.choices.iter().rev().filter(own);
        let now = all().find(|c| c.chunk == chunk).map(|c| c.taken);
        let before = all().find(|c| c.chunk < chunk).map(|c| c.taken);
        (now, before)
    }

    /// Remembers what was chosen for a channel of an encoder in `chunk`.
    pub(crate) fn choose(&mut self, encoder: usize, channel: usize, chunk: u64, taken: usize) {
        self.choices.push_back(Choice {
            encoder,
            channel,
            chunk,
            taken,
        });
        let keep = self.tally.keep as u64;
        self.choices.retain(|c| c.chunk + keep > chunk);
    }

    /// Says that no further sample before running time `time` (ns) will come.
    pub fn complete(&mut self, time: u64) {
        self.reached = self.reached.max(time);
        for lane in self.lanes_mut() {
            if let Some(c) = &mut lane.conditioner {
                c.complete(time);
            }
        }
    }

    /// The running time (ns) before which no later sample can change the input of the network,
    /// the coverage or the quality. [`u64::MAX`] before [`SignalTrack::configure`].
    pub fn settled(&self) -> u64 {
        let lanes = self.lanes().filter_map(|l| l.conditioner.as_ref());
        // The quality counts samples, which may be behind the points of a coarse grid.
        lanes
            .map(|c| c.settled().min(self.reached))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Says that samples are missing before the next one: nothing is interpolated across the
    /// gap, however short.
    pub fn cut(&mut self) {
        for lane in self.lanes_mut() {
            if let Some(c) = &mut lane.conditioner {
                c.cut();
            }
        }
    }

    /// Drops all samples, counts and times, as after a seek; [`SignalTrack::configure`] is kept.
    pub fn flush(&mut self) {
        for lane in self.lanes_mut() {
            lane.conditioner = lane.conditioner.as_ref().map(Conditioner::restarted);
            lane.ring.clear();
            lane.first = None;
            lane.progress.clear();
        }
        self.tally.parts.clear();
        self.choices.clear();
        self.reached = 0;
    }

    /// Received samples, and those that the primary signal's checks found bad.
    pub fn counts(&self) -> Counts {
        self.primary.counts()
    }

    pub(crate) fn close(&mut self, end: u64) {
        let chunk = self.tally.chunk;
        for lane in self.lanes_mut() {
            lane.close(end, chunk);
        }
    }

    /// The primary signal of the bundle.
    pub fn spec(&self) -> &SignalSpec {
        &self.primary.spec
    }
}

/// Puts a grid point into `ring`; `time` (ns) becomes `first` with the first value.
fn put(ring: &mut GridRing, first: &mut Option<u64>, time: u64, k: u64, value: Option<f32>) {
    if value.is_some() {
        first.get_or_insert(time);
    }
    ring.push(k, value.as_ref().map(std::slice::from_ref));
}

/// Changes of the face that are remembered: more than windows can be asked for late.
const CHANGES: usize = 256;

/// The face units of the video.
#[derive(Debug)]
pub struct VideoTrack {
    grid: UnitsGrid,
    pub(crate) ring: GridRing,
    pub(crate) tally: Tally,
    pub(crate) first: Option<u64>,
    /// When other faces began (ns), oldest first.
    changes: VecDeque<u64>,
    /// Scratch memory.
    row: Vec<f32>,
}

impl VideoTrack {
    /// Names of the units, in the order of [`VideoTrack::push`].
    pub fn units(&self) -> &[String] {
        &self.grid.spec().units
    }

    /// Takes the units of a face at running time `time` (ns), 0–1 in the order of
    /// [`VideoTrack::units`]; `confidence` of the face is 0–1. A face that does not count is bad
    /// in the quality of `video`, see [`UnitsGrid::push`].
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
        self.tally.add(time, !good, None);
    }

    /// From running time `time` (ns) on the face is another one: no window that ends
    /// later holds anything from before.
    pub fn change_face(&mut self, time: u64) {
        self.grid.cut();
        self.changes.push_back(time);
        if self.changes.len() > CHANGES {
            self.changes.pop_front();
        }
    }

    /// When the face of a window that ends at `end` (ns) began; 0 for the first one.
    pub(crate) fn begins(&self, end: u64) -> u64 {
        let mut changes = self.changes.iter().rev();
        changes.find(|c| **c < end).copied().unwrap_or(0)
    }

    /// Drops all faces, as after a seek.
    pub fn flush(&mut self) {
        self.changes.clear();
        self.grid = self.grid.restarted();
        self.ring.clear();
        self.tally.parts.clear();
        self.first = None;
    }

    pub(crate) fn close(&mut self, end: u64) {
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

/// The grid values of the video or of one signal in a window, as the network gets them.
#[derive(Debug, Clone, PartialEq)]
pub struct GridWindow {
    /// `video` or one of the bundle's signals.
    pub name: String,
    /// Grid rate in Hz.
    pub rate: f64,
    /// Index on the grid of the first point; negative before time 0.
    pub first: i64,
    /// How many of the `n` points are before the window; encoders take them as context.
    pub context: usize,
    /// Values of each point.
    pub width: usize,
    /// `[n, width]`, 0 where there is no value.
    pub values: Vec<f32>,
    /// `[n]`, 1 or 0.
    pub valid: Vec<f32>,
}

/// Where a signal is: the track of its modality, and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) track: usize,
    pub(crate) lane: usize,
}

/// The input of the network: filled by streaming threads, read by the
/// [`Estimator`](crate::Estimator).
///
/// Each modality has a lock of its own. Take one guard at a time and drop it soon: the
/// estimator takes all of them, one after another.
pub struct Inputs {
    video: Mutex<VideoTrack>,
    /// One for each physiological modality.
    tracks: Vec<Mutex<SignalTrack>>,
    /// Names of the modalities, in the order of `tracks`.
    names: Vec<String>,
    /// For each of the bundle's signals.
    pub(crate) places: Vec<Place>,
    /// Seconds before a chunk that encoders take: of video, then of the signals.
    contexts: Vec<f64>,
}

impl Inputs {
    /// Allocates the rings for one window of `bundle`, see [`Bundle::memory`].
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
            changes: VecDeque::new(),
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
            progress: VecDeque::new(),
        };
        let mut places = vec![Place { track: 0, lane: 0 }; bundle.signals().len()];
        let (mut names, mut tracks) = (Vec::new(), Vec::new());
        for name in bundle.sensors() {
            let signals = bundle.signals().iter().enumerate();
            let (own, others): (Vec<_>, Vec<_>) = signals
                .filter(|(_, s)| s.modality() == name)
                .partition(|(_, s)| s.name == name);
            // `Bundle::open` has checked that there is one.
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
                choices: VecDeque::new(),
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

    /// Locks the track of the face units.
    pub fn video(&self) -> MutexGuard<'_, VideoTrack> {
        self.video.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of the physiological modalities, in the order of [`Bundle::sensors`].
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Locks the track of the physiological modality `name`; `None` if the bundle has none.
    pub fn signal(&self, name: &str) -> Option<MutexGuard<'_, SignalTrack>> {
        self.names
            .iter()
            .position(|n| n == name)
            .map(|i| self.track(i))
    }

    /// The grid values of the window that ends at running time `end` (ns) and is `duration`
    /// seconds long: video first, then the bundle's signals in its order. Points that are not
    /// final, or no longer kept, are missing.
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

    pub(crate) fn track(&self, index: usize) -> MutexGuard<'_, SignalTrack> {
        self.tracks[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
