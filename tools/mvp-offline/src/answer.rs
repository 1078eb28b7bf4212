// SPDX-License-Identifier: MPL-2.0
//! `answer` and `windows`: a recording through the network, as `mvpfusion` does it.

use crate::error::Failure;
use crate::options::{Format, Options};
use crate::records::Records;
use conditioning::Conversion;
use mvp::{Answer, Bundle, Estimator, Inputs, Network, SignalTrack};
use onnx::{Runtime, SessionOptions};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::sync::Arc;

/// The recording of a modality, and how much of it has been pushed.
struct Signal {
    name: String,
    records: Records,
    conversion: Conversion,
    next: usize,
    cuts: Vec<u64>,
    next_cut: usize,
}

impl Signal {
    /// Pushes the samples that the time before `end` (ns) depends on.
    fn play(&mut self, track: &mut SignalTrack, end: u64) {
        while track.settled() < end {
            let Some((time, value)) = self.records.get(self.next) else {
                return;
            };
            // Records are in order of time: none will come before this one.
            track.complete(time);
            if track.settled() >= end {
                return;
            }
            while self.cuts.get(self.next_cut).is_some_and(|c| *c <= time) {
                track.cut();
                self.next_cut += 1;
            }
            track.push(time, self.conversion.apply(value[0]));
            self.next += 1;
        }
    }
}

/// All recordings, and the bundle that they are for.
struct Recording {
    bundle: Arc<Bundle>,
    inputs: Arc<Inputs>,
    signals: Vec<Signal>,
    /// Face units, and the index of the next record.
    units: Option<(Records, usize)>,
}

impl Recording {
    fn open(options: &Options) -> Result<Self, Failure> {
        let bundle = Arc::new(Bundle::open(&options.model)?);
        let inputs = Arc::new(Inputs::new(&bundle));
        let mut signals = Vec::new();
        for ((name, rate), file) in options.signals.iter().zip(&options.files) {
            let format = options.formats.get(name).cloned().unwrap_or_default();
            let conversion = format.conversion(name)?;
            let Format {
                full_scale, cuts, ..
            } = format;
            let mut track = inputs.signal(name).ok_or_else(|| {
                let made = bundle.signals().iter().find(|s| s.name == *name);
                let of = made.map_or_else(String::new, |s| {
                    format!("; '{name}' is made of the samples of '{}'", s.modality())
                });
                Failure::Input(format!(
                    "--signal {name}: the model takes no such samples; expected one of {}{of}",
                    inputs.names().join(", ")
                ))
            })?;
            track.configure(rate.unwrap_or_default(), conversion.full_scale(full_scale));
            signals.push(Signal {
                name: name.clone(),
                records: Records::open(file, 1)?,
                conversion,
                next: 0,
                cuts,
                next_cut: 0,
            });
        }
        let columns = bundle.video().units.len() + 1;
        let units = match &options.units {
            Some(file) => Some((Records::open(file, columns)?, 0)),
            None => None,
        };
        Ok(Self {
            bundle,
            inputs,
            signals,
            units,
        })
    }

    /// Nanoseconds from zero to the last sample of any kind.
    fn length(&self) -> u64 {
        let all = self.signals.iter().filter_map(|s| s.records.last());
        let video = self.units.iter().filter_map(|(r, _)| r.last());
        all.chain(video).max().unwrap_or(0)
    }

    /// Pushes the samples and faces that the time before `end` (ns) depends on.
    fn play(&mut self, end: u64) {
        for signal in &mut self.signals {
            if let Some(mut track) = self.inputs.signal(&signal.name) {
                signal.play(&mut track, end);
            }
        }
        if let Some((records, next)) = &mut self.units {
            let mut video = self.inputs.video();
            // Up to those of the frame at `end`, at which `mvpfusion` answers.
            while let Some((time, record)) = records.get(*next).filter(|r| r.0 <= end) {
                video.push(time, record[0], &record[1..]);
                *next += 1;
            }
        }
    }

    fn estimator(&self, options: &Options) -> Result<Estimator, Failure> {
        let runtime = Runtime::load(options.library.as_deref())?;
        let session = SessionOptions {
            provider: options.provider,
            ..SessionOptions::default()
        };
        let network = Network::load(&runtime, &self.bundle, &session, |_| {})?;
        Ok(Estimator::new(
            self.bundle.clone(),
            self.inputs.clone(),
            network,
        ))
    }

    /// Chunks per hop.
    fn hop(&self) -> u64 {
        let window = self.bundle.window();
        (window.hop / window.chunk).round() as u64
    }
}

/// A line of `answer`. The names are those of the lines of `emotionserialize`.
fn line(answer: &Answer) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.into(), value);
    put("window-start", answer.window_start.into());
    put("window-end", answer.window_end.into());
    put("label", answer.label.as_str().into());
    put("valence", answer.valence.into());
    put("arousal", answer.arousal.into());
    put("valence-known", answer.valence_known.into());
    put("arousal-known", answer.arousal_known.into());
    put("valence-now", answer.valence_now.into());
    let logits = answer.logits.as_ref();
    put("valence-logit", logits.map(|l| l.valence).into());
    put("arousal-logit", logits.map(|l| l.arousal).into());
    put("confidence", answer.confidence.into());
    for (class, p) in &answer.classes {
        put(&format!("p-{class}"), (*p).into());
    }
    for m in &answer.modalities {
        put(&format!("coverage-{}", m.name), m.coverage.into());
        put(&format!("quality-{}", m.name), m.quality.into());
    }
    put("warming-up", answer.warming_up.into());
    put("baseline-progress", answer.baseline_progress.into());
    Value::Object(map)
}

/// Writes a line for each hop of the recording.
pub(crate) fn answer(options: &Options) -> Result<(), Failure> {
    let mut recording = Recording::open(options)?;
    let mut estimator = recording.estimator(options)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (hop, chunk) = (recording.hop(), recording.bundle.chunk());
    let last = recording.length() / (hop * chunk);
    for end in (1..=last).map(|h| h * hop) {
        recording.play(end * chunk);
        if options.recompute {
            estimator.flush();
        }
        let answer = estimator.answer(end)?;
        writeln!(out, "{}", line(&answer)).map_err(Failure::io("standard output"))?;
    }
    out.flush().map_err(Failure::io("standard output"))
}

/// Writes a line of JSON and the arrays of one window.
pub(crate) fn windows(options: &Options) -> Result<(), Failure> {
    let end = options
        .end
        .ok_or_else(|| Failure::Usage("expected --end CHUNK".into()))?;
    let mut recording = Recording::open(options)?;
    let (hop, chunk) = (recording.hop(), recording.bundle.chunk());
    if end == 0
        || end
            .checked_mul(chunk)
            .is_none_or(|e| e > recording.length())
    {
        return Err(Failure::Input(format!(
            "--end {end}: expected 1 to {}, the recording is {:.3} s long and a chunk {:.3} s",
            recording.length() / chunk,
            recording.length() as f64 / 1e9,
            chunk as f64 / 1e9,
        )));
    }
    let mut estimator = recording.estimator(options)?;
    // Hop by hop, as `mvpfusion` does: points that were closed at an earlier hop do not change.
    for end in (hop..end).step_by(hop as usize) {
        recording.play(end * chunk);
        estimator.close(end);
    }
    recording.play(end * chunk);
    let answer = estimator.answer(end)?;

    let mut arrays: Vec<Value> = Vec::new();
    let mut data: Vec<f32> = Vec::new();
    let mut put = |mut about: Map<String, Value>, shape: &[usize], values: &[f32]| {
        about.insert("shape".into(), shape.into());
        about.insert("offset".into(), (4 * data.len()).into());
        arrays.push(Value::Object(about));
        data.extend_from_slice(values);
    };
    let named = |name: String| Map::from_iter([("name".to_string(), Value::from(name))]);
    for grid in recording
        .inputs
        .window(end * chunk, recording.bundle.window().duration)
    {
        let n = grid.valid.len();
        let mut about = named(grid.name.clone());
        about.insert("rate".into(), grid.rate.into());
        about.insert("first".into(), grid.first.into());
        about.insert("context".into(), grid.context.into());
        let shape = [n, grid.width];
        let shape = if grid.name == "video" {
            &shape[..]
        } else {
            &shape[..1]
        };
        put(about.clone(), shape, &grid.values);
        about.insert("name".into(), format!("{}-valid", grid.name).into());
        put(about, &[n], &grid.valid);
    }
    if options.tokens {
        let width = recording.bundle.fusion().width;
        for (name, window) in estimator.tokens() {
            let n = window.valid.len();
            put(named(format!("tokens-{name}")), &[n, width], window.tokens);
            put(named(format!("tokens-{name}-valid")), &[n], window.valid);
        }
    }
    let header = json!({ "arrays": arrays, "dtype": "<f4", "answer": line(&answer) });
    let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{header}")
        .and_then(|()| out.write_all(&bytes))
        .and_then(|()| out.flush())
        .map_err(Failure::io("standard output"))
}
