// SPDX-License-Identifier: MPL-2.0
//! From the input of a window to a calibrated answer.
//!
//! Streaming threads fill [`Inputs`]. One worker owns the [`Estimator`] and asks it for the
//! window that ends at a chunk boundary. Each chunk is encoded once and its tokens are kept.

use super::inputs::{Inputs, Place};
use super::network::stream_rate;
use super::words::{Axis, Words};
use super::{Bundle, Error, Logits, Network, TokenWindow};
use conditioning::{Grid, GridRing, TokenRing, nanoseconds};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Coverage and quality of one modality in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct ModalityState {
    /// `video`, or the name of the physiology modality (`eda`, `ecg`, ...).
    pub name: String,
    /// Share of the window's grid points that have a value, 0–1.
    pub coverage: f64,
    /// Share of the received samples that are good by themselves (finite, not flat, not
    /// saturated), times the mean of the [quality](conditioning::quality) of the signal, 0–1;
    /// 0 without samples. Of the video, the share of faces that count.
    pub quality: f64,
}

/// An answer for one window. Times are nanoseconds of running time.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The window's start; never before 0.
    pub window_start: u64,
    /// The window's end.
    pub window_end: u64,
    /// Probability of high valence, 0–1. The bundle's prior if no modality can be used.
    pub valence: f64,
    /// Probability of high arousal, 0–1. The bundle's prior if no modality can be used.
    pub arousal: f64,
    /// How much of what gives the valence has been seen, 0–1
    /// ([`OutputSpec::known`](crate::OutputSpec::known)).
    pub valence_known: f64,
    /// Likewise of the arousal.
    pub arousal_known: f64,
    /// The valence of the newest seconds of the face
    /// ([`OutputSpec::now`](crate::OutputSpec::now)); `None`: the bundle has none, or there is no
    /// face in them.
    pub valence_now: Option<f64>,
    /// A name of [`Labels`](crate::Labels), which says nothing of an axis that is not known.
    pub label: String,
    /// The probability that the label is right, by the calibrated probabilities of the axes that
    /// it names (docs/bundle.md). It is 0 exactly if the label is unknown.
    pub confidence: f64,
    /// Name and probability of each class of the bundle; empty without logits.
    pub classes: Vec<(String, f64)>,
    /// The outputs before calibration; `None` if no modality can be used.
    pub logits: Option<Logits>,
    /// `video`, then the physiological modalities in the bundle's order.
    pub modalities: Vec<ModalityState>,
    /// Less than a window has passed since the first usable value of any modality.
    pub warming_up: bool,
    /// How far the normalisation of the signals that the network was given has settled, 0–1: the
    /// lowest of them. Early answers are relative to a short past. 0 without a signal.
    pub baseline_progress: f64,
    /// Computing time.
    pub took: Duration,
}

/// What a stream of tokens is made from.
enum Source {
    /// The face units.
    Face,
    /// Physiological signals.
    Body {
        /// Index in the bundle's streams.
        encoder: usize,
        /// The signals that may fill each channel.
        channels: Vec<Vec<Place>>,
    },
}

impl Source {
    fn is_face(&self) -> bool {
        matches!(self, Self::Face)
    }

    /// Whether every modality that can fill the stream is `masked`.
    fn is_masked(&self, masked: impl Fn(Modality) -> bool) -> bool {
        match self {
            Self::Face => masked(Modality::Face),
            Self::Body { channels, .. } => {
                let mut places = channels.iter().flatten();
                places.all(|place| masked(Modality::Body(place.track)))
            }
        }
    }
}

/// The face, or a physiological modality.
#[derive(Clone, Copy)]
enum Modality {
    Face,
    /// Index of its track in [`Inputs`].
    Body(usize),
}

/// The state of all modalities in a window.
struct Survey {
    face: ModalityState,
    /// The first chunk that holds nothing of a face before this one.
    face_begins: u64,
    /// In the order of the tracks in [`Inputs`].
    body: Vec<ModalityState>,
    /// How far the normalisation of each has settled, 0–1.
    progress: Vec<f64>,
    warming_up: bool,
}

impl Survey {
    fn coverage(&self, modality: Modality) -> f64 {
        match modality {
            Modality::Face => self.face.coverage,
            Modality::Body(track) => self.body[track].coverage,
        }
    }

    /// How much of an axis is known: of the modalities that give it (`shares`) the best, by its
    /// coverage, its quality and its share; one below `least` coverage is masked.
    fn known(&self, shares: &BTreeMap<String, f64>, least: f64) -> f64 {
        std::iter::once(&self.face)
            .chain(&self.body)
            .filter(|m| m.coverage >= least)
            .filter_map(|m| Some(shares.get(&m.name)? * m.coverage * m.quality))
            .fold(0.0, f64::max)
    }

    /// How far the normalisation of all modalities that are not masked has settled.
    fn progress(&self, min_coverage: f64) -> f64 {
        let covered = |m: &ModalityState| m.coverage > 0.0 && m.coverage >= min_coverage;
        let used = self.body.iter().zip(&self.progress);
        let used = used.filter(|(m, _)| covered(m)).map(|(_, p)| *p);
        let lowest = used.fold(f64::MAX, f64::min);
        if lowest > 1.0 { 0.0 } else { lowest }
    }

    /// The highest coverage of a physiological modality.
    fn best_body(&self) -> f64 {
        self.body.iter().map(|m| m.coverage).fold(0.0, f64::max)
    }
}

/// One stream of tokens, with the buffers of its encoder and of the fusion graph.
struct TokenStream {
    source: Source,
    /// Grid rate in Hz.
    rate: f64,
    /// Grid points before a chunk, and in it, that the encoder takes.
    context: usize,
    points: usize,
    ring: TokenRing,
    /// The window for the fusion graph, `[T, width]` and `[T]`.
    tokens: Vec<f32>,
    valid: Vec<f32>,
    /// The input of the encoder for one chunk.
    values: Vec<f32>,
    flags: Vec<f32>,
}

/// Owns the network and the tokens, and answers for one window at a time. Windows should be
/// asked for in order: chunks that are older than a window are no longer known.
pub struct Estimator {
    bundle: Arc<Bundle>,
    inputs: Arc<Inputs>,
    network: Network,
    /// Video first, then the bundle's streams.
    streams: Vec<TokenStream>,
    /// For each stream the fusion graph's inputs for tokens and flags.
    names: Vec<(String, String)>,
    words: Words,
}

impl Estimator {
    /// `inputs` and `network` must have been made for this `bundle`.
    pub fn new(bundle: Arc<Bundle>, inputs: Arc<Inputs>, network: Network) -> Self {
        let chunks = bundle.window_chunks();
        let width = bundle.fusion().width;
        let seconds = bundle.window().chunk;
        let stream = |source: Source, rate: f64, spec: &super::EncoderSpec| {
            let (context, points) = spec.points(rate, seconds);
            let n = context + points;
            // Face units have one flag for each point, signals one for each value.
            let (values, flags) = match &source {
                Source::Face => (bundle.video().units.len() * n, n),
                Source::Body { channels, .. } => (channels.len() * n, channels.len() * n),
            };
            TokenStream {
                source,
                rate,
                context,
                points,
                ring: TokenRing::new(chunks, spec.tokens, width),
                tokens: vec![0.0; chunks * spec.tokens * width],
                valid: vec![0.0; chunks * spec.tokens],
                values: vec![0.0; values],
                flags: vec![0.0; flags],
            }
        };
        let video = bundle.video();
        let mut streams = vec![stream(Source::Face, video.rate, &video.encoder)];
        for (encoder, spec) in bundle.streams().iter().enumerate() {
            let place = |name: &String| {
                let index = bundle.signals().iter().position(|s| s.name == *name)?;
                inputs.places.get(index).copied()
            };
            let channels = spec
                .channels
                .iter()
                .map(|alternatives| alternatives.iter().filter_map(place).collect())
                .collect();
            let source = Source::Body { encoder, channels };
            streams.push(stream(source, stream_rate(&bundle, spec), &spec.encoder));
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
            words: Words::default(),
        }
    }

    /// The bundle that it was made for.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The network that it runs.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The input of the fusion graph for the last answer: for each stream its name and its
    /// tokens, video first.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, TokenWindow<'_>)> {
        self.names
            .iter()
            .zip(&self.streams)
            .map(|((name, _), s)| (name.as_str(), s.part()))
    }

    /// Drops all tokens, as after a seek.
    pub fn flush(&mut self) {
        for stream in &mut self.streams {
            stream.ring.clear();
        }
        self.words = Words::default();
    }

    /// The answer for the window that ends where chunk `end` begins. Closes the grids there, as
    /// [`Estimator::close`] does, encodes the chunks of the window that are new, and runs the
    /// fusion graph.
    ///
    /// # Errors
    /// [`onnx::Error::Run`] or [`onnx::Error::Cancelled`] from ONNX Runtime. The tokens made so
    /// far stay, and the next window can be asked for.
    pub fn answer(&mut self, end: u64) -> Result<Answer, Error> {
        let begun = Instant::now();
        let start = end.saturating_sub(self.bundle.window_chunks() as u64);
        let survey = self.survey(start, end);
        self.encode(start, end)?;

        let min_coverage = self.bundle.window().min_coverage;
        let masked = |m: Modality| survey.coverage(m) < min_coverage;
        let (mut face, mut body) = (false, false);
        for stream in &mut self.streams {
            stream
                .ring
                .window(end, &mut stream.tokens, &mut stream.valid);
            if stream.source.is_face() {
                stream.mask_before(
                    survey.face_begins.saturating_sub(start) as usize,
                    end - start,
                );
            }
            if stream.source.is_masked(masked) {
                stream.valid.fill(0.0);
            }
            let seen = stream.valid.contains(&1.0);
            match stream.source.is_face() {
                true => face |= seen,
                false => body |= seen,
            }
        }

        let outputs = self.bundle.outputs();
        let mut answer = Answer {
            window_start: start * self.bundle.chunk(),
            window_end: end * self.bundle.chunk(),
            valence: outputs.valence.prior,
            arousal: outputs.arousal.prior,
            valence_known: 0.0,
            arousal_known: 0.0,
            valence_now: None,
            label: outputs.labels.unknown.clone(),
            confidence: 0.0,
            classes: Vec::new(),
            logits: None,
            warming_up: survey.warming_up,
            baseline_progress: survey.progress(min_coverage),
            took: Duration::ZERO,
            modalities: Vec::new(),
        };
        if face || body {
            let parts: Vec<_> = self.streams.iter().map(TokenStream::part).collect();
            let logits = self.network.fuse(&self.names, &parts)?;
            answer.valence = outputs.valence.probability(logits.valence);
            answer.arousal = outputs.arousal.probability(logits.arousal);
            answer.classes = outputs
                .classes
                .iter()
                .cloned()
                .zip(softmax(&logits.classes))
                .collect();
            answer.logits = Some(logits);
            (answer.valence_known, answer.arousal_known) = match &outputs.known {
                Some(known) => (
                    survey.known(&known.valence, min_coverage),
                    survey.known(&known.arousal, min_coverage),
                ),
                // The bundle does not say which stream gives which axis: without face or
                // without body one of them is only its prior.
                None if face && body => {
                    let seen = 0.5 * (survey.coverage(Modality::Face) + survey.best_body());
                    (seen, seen)
                }
                None => (0.0, 0.0),
            };
            let axis = |value, known| Axis { value, known };
            let (label, confidence) = self.words.name(
                &outputs.labels,
                outputs.middle,
                axis(answer.valence, answer.valence_known),
                axis(answer.arousal, answer.arousal_known),
                evidence(&answer.classes),
            );
            (answer.label, answer.confidence) = (label.to_string(), confidence);
            answer.valence_now = self.now()?;
        } else {
            // The next word does not hold on to one of before.
            self.words = Words::default();
        }
        answer.modalities = std::iter::once(survey.face).chain(survey.body).collect();
        answer.took = begun.elapsed();
        Ok(answer)
    }

    /// The valence of the face in the newest seconds, if the bundle has one and there is a face.
    fn now(&mut self) -> Result<Option<f64>, Error> {
        let outputs = self.bundle.outputs();
        let chunks = (outputs.now / self.bundle.window().chunk).round() as usize;
        if chunks == 0 {
            return Ok(None);
        }
        let whole: Vec<_> = self.streams.iter().map(|s| s.valid.clone()).collect();
        let mut seen = false;
        for stream in &mut self.streams {
            if !stream.source.is_face() {
                stream.valid.fill(0.0);
                continue;
            }
            let flags = stream.valid.len() / stream.ring.chunks();
            let before = stream.ring.chunks().saturating_sub(chunks);
            stream.valid[..before * flags].fill(0.0);
            seen |= stream.valid.contains(&1.0);
        }
        let parts: Vec<_> = self.streams.iter().map(TokenStream::part).collect();
        let logits = seen.then(|| self.network.fuse(&self.names, &parts));
        for (stream, valid) in self.streams.iter_mut().zip(whole) {
            stream.valid = valid;
        }
        Ok(match logits.transpose()? {
            Some(logits) => Some(outputs.valence.probability(logits.valence)),
            None => None,
        })
    }

    /// Closes the grids where chunk `end` begins without computing an answer, so that later
    /// windows are those of a run that did answer here.
    pub fn close(&self, end: u64) {
        self.survey(end, end);
    }

    /// Closes the grids at the window's end and measures coverage and quality.
    fn survey(&self, start: u64, end: u64) -> Survey {
        let chunk = self.bundle.chunk();
        let duration = self.bundle.window().duration;
        let share = |ring: &GridRing, rate: f64, begins: u64| {
            let points = (duration * rate).round() as usize;
            let grid = Grid::new(rate);
            let after = grid.ceil(end * chunk) as i64;
            let first = after - points as i64;
            let first = match begins {
                0 => first,
                begins => first.max(grid.ceil(begins) as i64),
            };
            let held = ring.count(first, (after - first).max(0) as usize);
            held as f64 / points.max(1) as f64
        };
        let mut first = u64::MAX;
        let (face, face_begins) = {
            let mut video = self.inputs.video();
            video.close(end * chunk);
            first = first.min(video.first.unwrap_or(u64::MAX));
            let begins = video.begins(end * chunk);
            let face = ModalityState {
                name: "video".into(),
                coverage: share(&video.ring, self.bundle.video().rate, begins),
                quality: video.tally.quality(start.max(begins / chunk), end),
            };
            (face, begins.div_ceil(chunk))
        };
        let mut progress = Vec::new();
        let body = self.inputs.names().iter().enumerate().map(|(i, name)| {
            let mut track = self.inputs.track(i);
            track.close(end * chunk);
            progress.push(track.progress(end));
            let lane = &track.primary;
            first = first.min(lane.first.unwrap_or(u64::MAX));
            ModalityState {
                name: name.clone(),
                coverage: share(&lane.ring, lane.spec.rate, 0),
                quality: track.tally.quality(start, end),
            }
        });
        let body = body.collect();
        Survey {
            face,
            face_begins,
            body,
            progress,
            warming_up: end * chunk < first.saturating_add(nanoseconds(duration)),
        }
    }

    /// Encodes the chunks of the window that have not been encoded.
    fn encode(&mut self, start: u64, end: u64) -> Result<(), Error> {
        let chunk_length = self.bundle.chunk();
        let min_share = self.bundle.window().min_chunk_coverage;
        for stream in &mut self.streams {
            for chunk in start..end {
                if stream.ring.knows(chunk) {
                    continue;
                }
                let at = Grid::new(stream.rate).ceil(chunk * chunk_length) as i64;
                if !stream.gather(
                    &self.inputs,
                    at,
                    chunk * chunk_length,
                    chunk_length,
                    min_share,
                ) {
                    stream.ring.store(chunk, None);
                    continue;
                }
                let (values, flags) = (&stream.values, &stream.flags);
                let tokens = match &stream.source {
                    Source::Face => self.network.encode_video(values, flags)?,
                    Source::Body { encoder, channels } => {
                        let channels = channels.len();
                        self.network
                            .encode_stream(*encoder, channels, values, flags)?
                    }
                };
                stream.ring.store(chunk, Some(&tokens));
            }
        }
        Ok(())
    }
}

impl TokenStream {
    /// The window for the fusion graph.
    fn part(&self) -> TokenWindow<'_> {
        TokenWindow {
            tokens: &self.tokens,
            valid: &self.valid,
        }
    }

    /// Empties the first `before` of the window's `chunks` chunks.
    fn mask_before(&mut self, before: usize, chunks: u64) {
        let held = self.ring.chunks();
        // A window that begins before time zero has fewer chunks than the ring.
        let lead = held.saturating_sub(chunks as usize);
        let before = match before {
            0 => return,
            before => (lead + before).min(held),
        };
        let (flags, numbers) = (self.valid.len() / held, self.tokens.len() / held);
        self.valid[..before * flags].fill(0.0);
        self.tokens[..before * numbers].fill(0.0);
    }

    /// Copies the chunk that begins at `start` (ns), whose first grid point is `at`, with its
    /// context, into the encoder's input. Whether its coverage is at least `min_share`.
    fn gather(
        &mut self,
        inputs: &Inputs,
        at: i64,
        start: u64,
        length: u64,
        min_share: f64,
    ) -> bool {
        let first = at - self.context as i64;
        let points = self.points;
        let enough = |count: usize| count > 0 && count as f64 >= min_share * points as f64;
        match &self.source {
            Source::Face => {
                let video = inputs.video();
                video.ring.copy(first, &mut self.values, &mut self.flags);
                let begins = video.begins(start + length);
                if begins > start {
                    return false;
                }
                // What an earlier face did is no context of this one.
                if begins > 0 {
                    let others = Grid::new(self.rate).ceil(begins) as i64 - first;
                    let others = (others.max(0) as usize).min(self.flags.len());
                    let width = self.values.len() / self.flags.len().max(1);
                    self.flags[..others].fill(0.0);
                    self.values[..others * width].fill(0.0);
                }
                enough(video.ring.count(at, points))
            }
            Source::Body { encoder, channels } => {
                let n = self.context + points;
                let rows = self
                    .values
                    .chunks_exact_mut(n)
                    .zip(self.flags.chunks_exact_mut(n));
                let mut usable = false;
                for (i, (alternatives, (values, flags))) in channels.iter().zip(rows).enumerate() {
                    let channel = (*encoder, i);
                    let wanted = (min_share * points as f64).max(1.0);
                    let held = |p: &Place| {
                        let track = inputs.track(p.track);
                        track.lane(p.lane).ring.count(at, points)
                    };
                    let fits = |p: &Place| held(p) as f64 >= wanted;
                    if let Some(best) = choose(inputs, alternatives, channel, start, length, fits) {
                        let track = inputs.track(best.track);
                        let ring = &track.lane(best.lane).ring;
                        ring.copy(first, values, flags);
                        usable |= enough(ring.count(at, points));
                    }
                }
                usable
            }
        }
    }
}

/// Probabilities of negative, neutral and positive, if these are the bundle's classes.
fn evidence(classes: &[(String, f64)]) -> Option<[f64; 3]> {
    let p = |name: &str| Some(classes.iter().find(|(n, _)| n == name)?.1);
    Some([p("negative")?, p("neutral")?, p("positive")?])
}

/// Seconds of which the quality is compared.
const COMPARED: u64 = 10_000_000_000;
/// A signal gives way to another whose quality is better by more than this.
const BETTER: f64 = 0.15;

/// The signal that fills a channel (encoder, index) in the chunk that begins at `start` (ns) and
/// is `length` long; `fits`: whether it has enough coverage there.
///
/// Of two views of one heart the better one is taken. Quality goes up and down a little, so that
/// the one that was taken before stays until another is clearly better or its coverage does not
/// suffice. What was chosen for a chunk is remembered: a window that is asked for again is the
/// same.
fn choose<'a>(
    inputs: &Inputs,
    alternatives: &'a [Place],
    (encoder, channel): (usize, usize),
    start: u64,
    length: u64,
    fits: impl Fn(&Place) -> bool,
) -> Option<&'a Place> {
    let owner = alternatives.first()?;
    if alternatives.len() == 1 {
        return Some(owner);
    }
    let chunk = start / length;
    let (now, before) = inputs.track(owner.track).chosen(encoder, channel, chunk);
    if let Some(taken) = now.and_then(|i| alternatives.get(i)) {
        return Some(taken);
    }
    let from = (chunk + 1).saturating_sub(COMPARED.div_ceil(length));
    let quality = |p: &Place| inputs.track(p.track).tally.quality(from, chunk + 1);
    let candidates: Vec<(usize, f64)> = alternatives
        .iter()
        .enumerate()
        .filter(|(_, p)| fits(p))
        .map(|(i, p)| (i, quality(p)))
        .collect();
    // `max_by` takes the last of equal ones; reversed, it is the first that the bundle names.
    let best = candidates.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
    // Without enough of any nothing is encoded, and nothing needs to be remembered.
    let Some((best, top)) = best.copied() else {
        return Some(owner);
    };
    let stays = candidates
        .iter()
        .find(|(i, q)| Some(*i) == before && top <= q + BETTER);
    let taken = stays.map_or(best, |(i, _)| *i);
    inputs
        .track(owner.track)
        .choose(encoder, channel, chunk, taken);
    alternatives.get(taken)
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raised: Vec<f64> = logits.iter().map(|l| (l - top).exp()).collect();
    let sum: f64 = raised.iter().sum();
    raised.into_iter().map(|r| r / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const SECOND: u64 = 1_000_000_000;

    /// The default bundle, whose heart channel takes PPG or ECG, in this order.
    fn inputs() -> (Inputs, Vec<Place>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default");
        let bundle = Bundle::open(&path).expect("the default bundle");
        let inputs = Inputs::new(&bundle);
        inputs.signal("ppg").expect("ppg").configure(64.0, None);
        inputs.signal("ecg").expect("ecg").configure(256.0, None);
        let place = |name: &str| {
            let at = bundle.signals().iter().position(|s| s.name == name);
            inputs.places[at.expect(name)]
        };
        let places = vec![place("ppg"), place("ecg")];
        (inputs, places)
    }

    /// A wave at each beat, `width` seconds wide, and a smaller and wider one after it.
    fn beat(t: f64, width: f64) -> f64 {
        let bump = |at: f64, width: f64| {
            let off = ((t / 0.8).fract() - at) * 0.8;
            (-0.5 * (off / width).powi(2)).exp()
        };
        bump(0.3, width) + 0.4 * bump(0.6, width + 0.04)
    }

    fn noise(t: f64) -> f64 {
        ((t * 12_345.678).sin() * 43_758.547).fract()
    }

    /// Plays a second of both, bad where asked.
    fn play(inputs: &Inputs, second: u64, ppg_bad: bool, ecg_bad: bool) {
        for (name, rate, width, bad) in [("ppg", 64, 0.07, ppg_bad), ("ecg", 256, 0.011, ecg_bad)] {
            let mut track = inputs.signal(name).expect(name);
            for i in 0..rate {
                let time = second * SECOND + i * SECOND / rate;
                let t = time as f64 * 1e-9;
                track.push(time, if bad { noise(t) } else { beat(t, width) });
            }
            track.close((second + 1) * SECOND);
        }
    }

    /// Which signal fills the channel in each second.
    fn chosen(bad: impl Fn(u64) -> (bool, bool), seconds: u64) -> Vec<usize> {
        let (inputs, places) = inputs();
        let pick = |second: u64| {
            let best = choose(&inputs, &places, (1, 0), second * SECOND, SECOND, |p| {
                let track = inputs.track(p.track);
                track.lane(p.lane).ring.count(4 * second as i64, 4) >= 2
            });
            best.map_or(9, |b| usize::from(*b == places[1]))
        };
        let all: Vec<usize> = (0..seconds)
            .map(|second| {
                let (ppg_bad, ecg_bad) = bad(second);
                play(&inputs, second, ppg_bad, ecg_bad);
                pick(second)
            })
            .collect();
        // Asked again, as for a window whose tokens are gone, it is the same.
        let kept = seconds.saturating_sub(40);
        let again: Vec<usize> = (kept..seconds).map(pick).collect();
        assert_eq!(again, all[kept as usize..]);
        all
    }

    #[test]
    fn the_better_view_of_the_heart_is_taken_and_kept() {
        let both_good = chosen(|_| (false, false), 40);
        assert!(both_good[12..].iter().all(|c| *c == 0), "{both_good:?}");
        let ppg_bad = chosen(|s| ((30..50).contains(&s), false), 80);
        assert!(ppg_bad[15..30].iter().all(|c| *c == 0), "{ppg_bad:?}");
        assert!(ppg_bad[36..].iter().all(|c| *c == 1), "{ppg_bad:?}");
        let ecg_bad = chosen(|s| ((40..60).contains(&s), s >= 65), 90);
        assert!(ecg_bad[46..65].iter().all(|c| *c == 1), "{ecg_bad:?}");
        assert!(ecg_bad[72..].iter().all(|c| *c == 0), "{ecg_bad:?}");
        // It changes no more often than needed.
        let changes = ecg_bad[15..].windows(2).filter(|w| w[0] != w[1]).count();
        assert_eq!(changes, 2, "{ecg_bad:?}");
    }

    #[test]
    fn noise_has_no_quality_and_a_heart_has() {
        let (inputs, _) = inputs();
        for second in 0..30 {
            play(&inputs, second, false, true);
        }
        let quality = |name: &str| {
            let track = inputs.signal(name).expect(name);
            let reading = track.reading(30 * SECOND);
            (track.tally.quality(10, 30), reading.reason)
        };
        let (ppg, none) = quality("ppg");
        assert!(ppg > 0.8 && none.is_none(), "{ppg} {none:?}");
        let (ecg, reason) = quality("ecg");
        assert!(ecg < 0.2 && reason.is_some(), "{ecg} {reason:?}");
    }

    #[test]
    fn what_the_normalisation_learned_can_be_given_to_other_inputs() {
        let (first, _) = inputs();
        for second in 0..60 {
            play(&first, second, false, false);
        }
        let learned: Vec<(String, conditioning::NormaliserState)> = {
            let track = first.signal("ppg").expect("ppg");
            let all = track.normalisation().into_iter();
            all.map(|(name, state)| (name.to_string(), state)).collect()
        };
        assert_eq!(learned[0].0, "ppg");
        assert!((learned[0].1.mean - 75.0).abs() < 2.0, "{learned:?}");
        let (second, _) = inputs();
        let mut track = second.signal("ppg").expect("ppg");
        assert_eq!(track.progress(1), 0.0);
        track.restore("ppg", learned[0].1).expect("restored");
        assert_eq!(track.normalisation()[0].1, learned[0].1);
        assert!(track.restore("ecg", learned[0].1).is_err());
    }
}
