// SPDX-License-Identifier: MPL-2.0
//! The model bundle: a directory with `mvp.toml`, the ONNX files it names and a card.
//!
//! `docs/bundle.md` describes the format for people who make one.

use super::{Error, Known, Labels, texts};
use conditioning::{GridRing, SignalSpec, TokenRing, UnitsSpec, nanoseconds, share};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// Name of the manifest in a bundle's directory.
pub const MANIFEST: &str = "mvp.toml";
const FORMAT: u32 = 1;
/// Bytes.
const MAX_MANIFEST: u64 = 1 << 20;
/// Bytes.
const MAX_GRAPH: u64 = 2 << 30;
/// Longest window, seconds; those of the paper are 60 to 120 s.
const MAX_WINDOW: f64 = 600.0;
/// Shortest chunk, seconds.
const MIN_CHUNK: f64 = 0.01;
/// Chunks that input may be ahead of the end of a window before its oldest chunk is overwritten.
const SLACK_CHUNKS: usize = 30;
/// Most bytes that the buffers of a bundle take in all; models/default takes less than 1 MB.
const MAX_MEMORY: u64 = 256_000_000;
const MAX_UNITS: usize = 10_000;
const MAX_SIGNALS: usize = 64;
const MAX_STREAMS: usize = 64;
const MAX_CLASSES: usize = 1000;

/// Length and hop of the window, the table `[window]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WindowSpec {
    /// Seconds that one answer is about.
    pub duration: f64,
    /// Seconds from one answer to the next.
    pub hop: f64,
    /// Seconds that one call of an encoder covers; `duration` and `hop` are multiples of it.
    pub chunk: f64,
    /// A modality with a lower coverage of the window, 0–1, is masked.
    pub min_coverage: f64,
    /// A chunk with a lower coverage, 0–1, is not encoded.
    pub min_chunk_coverage: f64,
}

/// An ONNX file of the bundle.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GraphFile {
    /// Name in the bundle's directory, without a path.
    pub file: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
}

/// A graph that turns one chunk, and `context` seconds before it, into `tokens` tokens: the
/// table `encoder` of `[video]` and `[[stream]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EncoderSpec {
    /// See [`GraphFile::file`].
    pub file: String,
    /// See [`GraphFile::sha256`].
    pub sha256: String,
    /// Seconds before the chunk that the graph takes too, 0 to 60.
    pub context: f64,
    /// Tokens for each chunk, 1 to 1000.
    pub tokens: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Backbone {
    Units,
}

/// The video input of the network, the table `[video]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VideoSpec {
    backbone: Backbone,
    /// Grid rate in Hz.
    pub rate: f64,
    /// Longest time between two faces, seconds, across which is interpolated.
    pub max_gap: f64,
    /// Faces with a lower confidence, 0–1, do not count.
    pub min_confidence: f64,
    /// Names of the face units, in the order in which the network takes them.
    pub units: Vec<String>,
    /// The graph that makes tokens of them.
    pub encoder: EncoderSpec,
}

/// A stream of physiology tokens, a table `[[stream]]`: one encoder over one or more channels.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StreamSpec {
    /// Name of the fusion graph's input.
    pub name: String,
    /// For each channel of the encoder the signals that may fill it. A chunk is filled by the
    /// one of best quality among those with enough coverage; the one that filled the chunk before
    /// stays until another is clearly better.
    pub channels: Vec<Vec<String>>,
    /// The graph that makes tokens of the channels.
    pub encoder: EncoderSpec,
}

/// The graph that turns the tokens of a window into logits, the table `[fusion]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FusionSpec {
    /// See [`GraphFile::file`].
    pub file: String,
    /// See [`GraphFile::sha256`].
    pub sha256: String,
    /// Values of each token, 1 to 4096.
    pub width: usize,
}

/// From a logit to a probability: `1 / (1 + exp(−(logit / temperature + bias)))`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Calibration {
    /// Divisor of the logit, above 0.
    pub temperature: f64,
    /// Added to the divided logit.
    pub bias: f64,
    /// The answer, 0–1, when no modality can be used: the share of the high class in training.
    pub prior: f64,
}

impl Calibration {
    /// The probability, 0–1.
    pub(crate) fn probability(&self, logit: f64) -> f64 {
        1.0 / (1.0 + (-(logit / self.temperature + self.bias)).exp())
    }
}

/// What is made of the fusion graph's outputs, the table `[outputs]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OutputSpec {
    /// For the output `valence`.
    pub valence: Calibration,
    /// For the output `arousal`.
    pub arousal: Calibration,
    /// Names of the answers.
    pub labels: Labels,
    /// Which modalities give which axis; `None`: both need the face and a physiological signal.
    #[serde(default)]
    pub known: Option<Known>,
    /// Half the width of the middle of valence, around 0.5, that is called neutral; only with
    /// labels for single axes.
    #[serde(default = "middle")]
    pub middle: f64,
    /// Seconds of the face for a valence of now; 0: there is none.
    #[serde(default)]
    pub now: f64,
    /// Names for the logits of the output `classes`; empty: the graph has none.
    #[serde(default)]
    pub classes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Manifest {
    format: u32,
    name: String,
    version: String,
    trained: bool,
    card: String,
    window: WindowSpec,
    video: VideoSpec,
    #[serde(rename = "signal")]
    signals: Vec<SignalSpec>,
    #[serde(rename = "stream")]
    streams: Vec<StreamSpec>,
    fusion: FusionSpec,
    outputs: OutputSpec,
}

/// The input that a manifest describes, read without the rest: before training there are no
/// graphs.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpecs {
    /// The table `[video]`, if it is there.
    pub video: Option<UnitsSpec>,
    /// The tables `[[signal]]`, in order.
    pub signals: Vec<SignalSpec>,
}

impl InputSpecs {
    /// Reads `[video]` and the `[[signal]]` tables of `path`: a bundle's directory, its
    /// `mvp.toml`, or a TOML file with only these tables.
    ///
    /// # Errors
    /// [`Error::Bundle`]: the file cannot be read, or a field does not fit.
    pub fn read(path: &Path) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        struct Video {
            #[serde(rename = "backbone")]
            _backbone: Option<Backbone>,
            rate: f64,
            max_gap: f64,
            min_confidence: f64,
            units: Vec<String>,
            #[serde(rename = "encoder")]
            _encoder: Option<serde::de::IgnoredAny>,
        }
        #[derive(Deserialize)]
        struct Part {
            video: Option<Video>,
            #[serde(rename = "signal", default)]
            signals: Vec<SignalSpec>,
        }
        let file = if path.is_dir() {
            path.join(MANIFEST)
        } else {
            path.to_path_buf()
        };
        let error = |reason: String| Error::Bundle {
            path: file.clone(),
            reason,
        };
        let expected = "expected a bundle's mvp.toml or a TOML file with [[signal]] tables";
        let mut text = String::new();
        std::fs::File::open(&file)
            .and_then(|f| f.take(MAX_MANIFEST).read_to_string(&mut text))
            .map_err(|e| error(format!("{e}; {expected}")))?;
        let part: Part = toml::from_str(&text).map_err(|e| error(e.to_string().trim().into()))?;
        let video = part.video.map(|v| UnitsSpec {
            rate: v.rate,
            max_gap: v.max_gap,
            min_confidence: v.min_confidence,
            units: v.units,
        });
        if let Some(video) = &video {
            video.check().map_err(|e| error(format!("[video] {e}")))?;
        }
        let mut names = BTreeSet::new();
        for signal in &part.signals {
            let at = |e: String| error(format!("[[signal]] '{}' {e}", signal.name));
            signal.check().map_err(at)?;
            if !names.insert(signal.name.as_str()) {
                return Err(at("is there twice".into()));
            }
        }
        Ok(Self {
            video,
            signals: part.signals,
        })
    }
}

/// The manifest of a bundle that has passed every check that needs no ONNX Runtime. The graphs
/// are read later, by [`Bundle::read_graph`].
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    directory: PathBuf,
    manifest: Manifest,
    chunk: u64,
    window_chunks: usize,
}

impl Bundle {
    /// Reads and checks the manifest and the card in `directory`.
    ///
    /// # Errors
    /// [`Error::Bundle`]: a file is missing or leads out of the directory, a field does not fit,
    /// or the buffers would take more than 256 MB.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let error = |reason: String| Error::Bundle {
            path: directory.to_path_buf(),
            reason,
        };
        if !directory.is_dir() {
            return Err(error(format!(
                "no such directory; expected a model bundle, a directory with {MANIFEST}"
            )));
        }
        let text = read(directory, MANIFEST, MAX_MANIFEST)
            .map_err(error)
            .and_then(|b| {
                String::from_utf8(b).map_err(|_| error(format!("{MANIFEST} is not UTF-8 text")))
            })?;
        let unread = |e: toml::de::Error| error(format!("{MANIFEST}: {}", e.to_string().trim()));
        let manifest: Manifest = toml::from_str(&text).map_err(unread)?;
        let texts = toml::Value::Table(toml::from_str(&text).map_err(unread)?);
        texts::check("", &texts).map_err(|e| error(format!("{MANIFEST}: {e}")))?;
        let invalid = |reason: String| error(format!("{MANIFEST}: {reason}"));
        manifest.check().map_err(invalid)?;
        read(directory, &manifest.card, MAX_MANIFEST).map_err(error)?;
        Ok(Self {
            directory: directory.to_path_buf(),
            chunk: nanoseconds(manifest.window.chunk),
            window_chunks: manifest.window.chunks(),
            manifest,
        })
    }

    /// Reads a graph of the bundle and compares its hash.
    ///
    /// # Errors
    /// [`Error::Bundle`]: the file is missing or larger than 2 GiB, has another hash, or refers
    /// to other files.
    pub fn read_graph(&self, graph: &GraphFile) -> Result<Vec<u8>, Error> {
        let error = |reason: String| Error::Bundle {
            path: self.directory.clone(),
            reason,
        };
        let bytes = read(&self.directory, &graph.file, MAX_GRAPH).map_err(error)?;
        let found = onnx::sha256(&bytes);
        if found != graph.sha256 {
            return Err(error(format!(
                "{}: sha256 expected {} ({MANIFEST}), found {found}; the file was changed or damaged",
                graph.file, graph.sha256
            )));
        }
        onnx::self_contained(&bytes).map_err(|e| error(format!("{}: {e}", graph.file)))?;
        Ok(bytes)
    }

    /// Seconds before a chunk that encoders take of the signal `name`.
    pub(crate) fn context(&self, name: &str) -> f64 {
        self.manifest.context(name)
    }

    /// Bytes of the buffers for input and tokens that [`Inputs`](crate::Inputs) and
    /// [`Estimator`](crate::Estimator) allocate when they are made.
    pub fn memory(&self) -> u64 {
        let buffers = self.manifest.buffers();
        buffers.iter().fold(0, |sum, b| sum.saturating_add(b.bytes))
    }

    /// The directory that the bundle was read from.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Name and version, as results give them in `model`.
    pub fn title(&self) -> String {
        format!("{} {}", self.manifest.name, self.manifest.version)
    }

    /// False if the weights are random, as in the bundles for tests.
    pub fn trained(&self) -> bool {
        self.manifest.trained
    }

    /// Length, hop and chunk of the window, in seconds.
    pub fn window(&self) -> &WindowSpec {
        &self.manifest.window
    }

    /// Length of a chunk in nanoseconds.
    pub fn chunk(&self) -> u64 {
        self.chunk
    }

    /// Chunks in a window.
    pub fn window_chunks(&self) -> usize {
        self.window_chunks
    }

    /// The video input.
    pub fn video(&self) -> &VideoSpec {
        &self.manifest.video
    }

    /// The signals that are made of physiology, in the order of the manifest.
    pub fn signals(&self) -> &[SignalSpec] {
        &self.manifest.signals
    }

    /// The streams of physiology tokens, in the order of the manifest.
    pub fn streams(&self) -> &[StreamSpec] {
        &self.manifest.streams
    }

    /// The fusion graph.
    pub fn fusion(&self) -> &FusionSpec {
        &self.manifest.fusion
    }

    /// Calibration and names of the outputs.
    pub fn outputs(&self) -> &OutputSpec {
        &self.manifest.outputs
    }

    /// `video` and [`Bundle::sensors`], in the order in which results list them.
    pub fn modalities(&self) -> impl Iterator<Item = &str> {
        std::iter::once("video").chain(self.sensors())
    }

    /// The physiological modalities whose samples the bundle takes, each once, in the order of
    /// the signals. They are the names of `mvpfusion`'s pads.
    pub fn sensors(&self) -> impl Iterator<Item = &str> {
        let signals = &self.manifest.signals;
        signals.iter().enumerate().filter_map(|(i, s)| {
            let seen = signals[..i].iter().any(|e| e.modality() == s.modality());
            (!seen).then(|| s.modality())
        })
    }
}

impl EncoderSpec {
    /// The ONNX file.
    pub fn graph(&self) -> GraphFile {
        GraphFile {
            file: self.file.clone(),
            sha256: self.sha256.clone(),
        }
    }

    /// Grid points of one call at `rate` Hz: those of the context, and those of the chunk, which
    /// is `chunk` seconds long.
    pub(crate) fn points(&self, rate: f64, chunk: f64) -> (usize, usize) {
        (
            (self.context * rate).round() as usize,
            (chunk * rate).round() as usize,
        )
    }

    fn check(&self, rate: f64) -> Result<(), String> {
        if !(0.0..=60.0).contains(&self.context) {
            return Err(format!(
                "context must be 0 to 60 seconds, found {:?}",
                self.context
            ));
        }
        whole("context × rate", self.context * rate, 0.0)?;
        if !(1..=1000).contains(&self.tokens) {
            return Err(format!("tokens must be 1 to 1000, found {}", self.tokens));
        }
        Ok(())
    }
}

impl FusionSpec {
    /// The ONNX file.
    pub fn graph(&self) -> GraphFile {
        GraphFile {
            file: self.file.clone(),
            sha256: self.sha256.clone(),
        }
    }
}

impl Manifest {
    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format: expected {FORMAT}, found {}", self.format));
        }
        for (field, value) in [("name", &self.name), ("version", &self.version)] {
            if value.trim().is_empty() || value.len() > 100 || value.chars().any(char::is_control) {
                return Err(format!("{field}: expected 1 to 100 printable characters"));
            }
        }
        for (field, found, most) in [
            ("[video] units", self.video.units.len(), MAX_UNITS),
            ("[[signal]]", self.signals.len(), MAX_SIGNALS),
            ("[[stream]]", self.streams.len(), MAX_STREAMS),
            ("[outputs] classes", self.outputs.classes.len(), MAX_CLASSES),
        ] {
            if found > most {
                return Err(format!("{field}: expected at most {most}, found {found}"));
            }
        }
        self.window.check().map_err(|e| format!("[window] {e}"))?;
        self.video
            .check(&self.window)
            .map_err(|e| format!("[video] {e}"))?;
        let mut names = BTreeSet::new();
        for signal in &self.signals {
            let at = |e: String| format!("[[signal]] '{}' {e}", signal.name);
            signal.check().map_err(at)?;
            let modality = signal.modality();
            let primary = |s: &SignalSpec| s.name == modality && s.modality() == modality;
            if !self.signals.iter().any(primary) {
                return Err(at(format!(
                    "input: expected a [[signal]] '{modality}' without an input of its own, whose \
                     coverage and quality stand for the samples, found none; add it, or leave \
                     input out and name this one '{modality}'"
                )));
            }
            whole("chunk × rate", self.window.chunk * signal.rate, 1.0).map_err(at)?;
            if !names.insert(signal.name.as_str()) {
                return Err(at("is there twice".into()));
            }
        }
        if self.streams.is_empty() {
            return Err("[[stream]]: expected at least one".into());
        }
        let mut streams = BTreeSet::from(["video"]);
        for stream in &self.streams {
            let at = |e: String| format!("[[stream]] '{}' {e}", stream.name);
            if stream.name.is_empty() || !streams.insert(stream.name.as_str()) {
                return Err(at("needs a name of its own".into()));
            }
            self.check_stream(stream).map_err(at)?;
        }
        if let Some(unused) = names.iter().find(|n| {
            !self
                .streams
                .iter()
                .flat_map(|s| s.channels.iter().flatten())
                .any(|c| c == *n)
        }) {
            return Err(format!("[[signal]] '{unused}' feeds no [[stream]]"));
        }
        if !(1..=4096).contains(&self.fusion.width) {
            return Err(format!(
                "[fusion] width must be 1 to 4096, found {}",
                self.fusion.width
            ));
        }
        self.outputs.check().map_err(|e| format!("[outputs] {e}"))?;
        if let Some(known) = &self.outputs.known {
            let there = |name: &String| {
                name == "video" || self.signals.iter().any(|s| s.modality() == name)
            };
            if let Some(name) = known.modalities().find(|n| !there(n)) {
                return Err(format!(
                    "[outputs] known: '{name}' is neither video nor a modality of a [[signal]]"
                ));
            }
        }
        self.check_memory()
    }

    fn check_memory(&self) -> Result<(), String> {
        let buffers = self.buffers();
        let all = buffers.iter().fold(0u64, |s, b| s.saturating_add(b.bytes));
        let Some(largest) = buffers.iter().max_by_key(|b| b.bytes) else {
            return Ok(());
        };
        if all <= MAX_MEMORY {
            return Ok(());
        }
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        Err(format!(
            "{}: the buffers of the bundle, expected at most {} MB in all, found {} MB, of which \
             {} MB are {}",
            largest.field,
            mb(MAX_MEMORY),
            mb(all),
            mb(largest.bytes),
            largest.what
        ))
    }

    fn context(&self, name: &str) -> f64 {
        let feeds = |s: &&StreamSpec| s.channels.iter().flatten().any(|c| c == name);
        let all = self.streams.iter().filter(feeds);
        all.map(|s| s.encoder.context).fold(0.0, f64::max)
    }

    /// The buffers that are allocated when `Inputs` and `Estimator` are made.
    fn buffers(&self) -> Vec<Buffer> {
        let window = &self.window;
        let chunks = window.chunks();
        let floats = |counts: &[usize]| {
            let product = |n: u64, count: &usize| n.saturating_mul(*count as u64);
            counts.iter().fold(4, product)
        };
        let mut buffers = Vec::new();
        let mut put = |field: &str, what: String, bytes: u64| {
            let field = field.to_string();
            buffers.push(Buffer { field, what, bytes });
        };
        let mut encoder = |field: &str, spec: &EncoderSpec, rate: f64, row: usize| {
            let (context, points) = spec.points(rate, window.chunk);
            let (chunk, context_s, tokens) = (window.chunk, spec.context, spec.tokens);
            let n = context + points;
            // Values and flags, at most one flag for each value.
            put(
                field,
                format!(
                    "the input of its encoder ({row} values at {rate} Hz, chunk of {chunk} s, \
                     context of {context_s} s)"
                ),
                floats(&[2, row, n]),
            );
            let width = self.fusion.width;
            let copies = floats(&[chunks, tokens, width]).saturating_add(floats(&[chunks, tokens]));
            put(
                field,
                format!("its tokens ({chunks} chunks of {tokens} tokens, [fusion] width {width})"),
                TokenRing::bytes(chunks, tokens, width)
                    .saturating_add(copies)
                    .saturating_add(floats(&[tokens, width])),
            );
        };
        let video = &self.video;
        encoder("[video]", &video.encoder, video.rate, video.units.len());
        for stream in &self.streams {
            let field = format!("[[stream]] '{}'", stream.name);
            let first = stream.channels.iter().flatten().next();
            let signal = first.and_then(|name| self.signals.iter().find(|s| s.name == *name));
            let rate = signal.map_or(1.0, |s| s.rate);
            encoder(&field, &stream.encoder, rate, stream.channels.len());
        }
        let (duration, chunk) = (window.duration, window.chunk);
        let mut ring = |field: &str, width: usize, rate: f64, context: f64| {
            put(
                field,
                format!(
                    "its past ({width} values at {rate} Hz, window of {duration} s, chunk of \
                     {chunk} s)"
                ),
                GridRing::bytes(width, window.held_points(rate, context)),
            );
            // Five numbers for each chunk, and what was chosen; the capacity of a queue may be
            // twice its length.
            put(
                field,
                "the counts of its chunks".into(),
                floats(&[2, 18, window.held_chunks()]),
            );
        };
        ring(
            "[video]",
            video.units.len(),
            video.rate,
            video.encoder.context,
        );
        for signal in &self.signals {
            let field = format!("[[signal]] '{}'", signal.name);
            ring(&field, 1, signal.rate, self.context(&signal.name));
        }
        buffers
    }

    fn check_stream(&self, stream: &StreamSpec) -> Result<(), String> {
        if stream.channels.is_empty() || stream.channels.iter().any(Vec::is_empty) {
            return Err("channels: expected at least one signal for each channel".into());
        }
        let most = stream.channels.iter().map(Vec::len).max().unwrap_or(0);
        if stream.channels.len().max(most) > MAX_SIGNALS {
            return Err(format!(
                "channels: expected at most {MAX_SIGNALS} of at most {MAX_SIGNALS} signals, found \
                 {} of up to {most}",
                stream.channels.len()
            ));
        }
        let mut rate = None;
        for name in stream.channels.iter().flatten() {
            let signal = self
                .signals
                .iter()
                .find(|s| s.name == *name)
                .ok_or_else(|| {
                    let known: Vec<_> = self.signals.iter().map(|s| s.name.as_str()).collect();
                    format!(
                        "channels: expected one of {}, found '{name}'",
                        known.join(", ")
                    )
                })?;
            match rate {
                None => rate = Some(signal.rate),
                Some(r) if r != signal.rate => {
                    return Err(format!(
                        "channels: signals of one stream need one rate, found {r} and {} Hz",
                        signal.rate
                    ));
                }
                Some(_) => {}
            }
        }
        rate.map_or(Ok(()), |rate| stream.encoder.check(rate))
    }
}

/// Memory that a manifest asks for.
struct Buffer {
    /// The table of the manifest that gives its size.
    field: String,
    /// What it is for, with the numbers that make its size.
    what: String,
    bytes: u64,
}

impl WindowSpec {
    /// Chunks in a window.
    fn chunks(&self) -> usize {
        (self.duration / self.chunk).round() as usize
    }

    /// Chunks whose input is kept.
    pub(crate) fn held_chunks(&self) -> usize {
        self.chunks() + SLACK_CHUNKS
    }

    /// Grid points at `rate` Hz that are kept, with `context` seconds before them.
    pub(crate) fn held_points(&self, rate: f64, context: f64) -> usize {
        let chunks = self.held_chunks() as f64;
        (chunks * self.chunk * rate + context * rate).ceil() as usize + 1
    }

    fn check(&self) -> Result<(), String> {
        for (name, v) in [
            ("duration", self.duration),
            ("hop", self.hop),
            ("chunk", self.chunk),
        ] {
            if !(MIN_CHUNK..=MAX_WINDOW).contains(&v) {
                return Err(format!(
                    "{name} must be {MIN_CHUNK} to {MAX_WINDOW} seconds, found {v:?}"
                ));
            }
        }
        whole("duration / chunk", self.duration / self.chunk, 1.0)?;
        whole("hop / chunk", self.hop / self.chunk, 1.0)?;
        share("min-coverage", self.min_coverage)?;
        share("min-chunk-coverage", self.min_chunk_coverage)
    }
}

impl VideoSpec {
    /// How face units are put onto the grid.
    pub(crate) fn grid(&self) -> UnitsSpec {
        UnitsSpec {
            rate: self.rate,
            max_gap: self.max_gap,
            min_confidence: self.min_confidence,
            units: self.units.clone(),
        }
    }

    fn check(&self, window: &WindowSpec) -> Result<(), String> {
        self.grid().check()?;
        whole("chunk × rate", window.chunk * self.rate, 1.0)?;
        self.encoder.check(self.rate)
    }
}

fn middle() -> f64 {
    0.1
}

impl OutputSpec {
    fn check(&self) -> Result<(), String> {
        if let Some(known) = &self.known {
            known.check().map_err(|e| format!("known: {e}"))?;
        }
        if !(0.0..=0.4).contains(&self.middle) {
            return Err(format!("middle must be 0 to 0.4, found {}", self.middle));
        }
        if !(0.0..=600.0).contains(&self.now) {
            return Err(format!("now must be 0 to 600 seconds, found {}", self.now));
        }
        self.labels.check().map_err(|e| format!("labels: {e}"))?;
        for (name, c) in [("valence", self.valence), ("arousal", self.arousal)] {
            if !(c.temperature.is_finite() && c.temperature > 0.0 && c.bias.is_finite()) {
                return Err(format!(
                    "{name}: temperature must be above 0 and bias a number, found {} and {}",
                    c.temperature, c.bias
                ));
            }
            share("prior", c.prior).map_err(|e| format!("{name}: {e}"))?;
        }
        let distinct: BTreeSet<_> = self.classes.iter().collect();
        let plain = |c: &String| {
            !c.is_empty()
                && c.chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        if distinct.len() != self.classes.len() || !self.classes.iter().all(plain) {
            return Err(
                "classes: expected names of letters, digits, '-' and '_', each once".into(),
            );
        }
        Ok(())
    }
}

/// Checks that `value` is a whole number of at least `least`.
fn whole(name: &str, value: f64, least: f64) -> Result<(), String> {
    ((value - value.round()).abs() < 1e-9 && (least..1e9).contains(&value.round()))
        .then_some(())
        .ok_or_else(|| format!("{name} must be a whole number, {least} or more, found {value:?}"))
}

/// Reads a file of at most `limit` bytes in `directory`. `name` may have no path, and the file
/// may not be a link that leads out of the directory.
fn read(directory: &Path, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let mut parts = Path::new(name).components();
    if !matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    ) {
        return Err(format!(
            "'{name}': expected the plain name of a file inside the bundle"
        ));
    }
    let path = directory.join(name);
    let outside = || format!("{name}: leads outside the bundle");
    let real = path.canonicalize().map_err(|e| format!("{name}: {e}"))?;
    let home = directory
        .canonicalize()
        .map_err(|e| format!("{name}: {e}"))?;
    if real.parent() != Some(home.as_path()) {
        return Err(outside());
    }
    let size = real.metadata().map_err(|e| format!("{name}: {e}"))?;
    if !size.is_file() {
        return Err(format!("{name}: expected a regular file"));
    }
    if size.len() > limit {
        return Err(format!(
            "{name}: {} bytes, expected at most {limit}",
            size.len()
        ));
    }
    std::fs::read(&real).map_err(|e| format!("{name}: {e}"))
}
