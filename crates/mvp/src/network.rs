// SPDX-License-Identifier: MPL-2.0
use super::{Bundle, Error, GraphFile};
use onnx::{ModelSource, Runtime, Session, SessionOptions, TensorSpec};

/// The graphs of a bundle, ready to run and checked against what the bundle promises.
pub struct Network {
    video: Session,
    streams: Vec<Session>,
    fusion: Session,
    warnings: Vec<String>,
}

/// What the fusion graph said, before calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    pub valence: f64,
    pub arousal: f64,
    pub classes: Vec<f64>,
}

/// A window of tokens: `[1, T, width]` and `[1, T]` (1 valid, 0 not).
pub struct TokenWindow<'a> {
    pub tokens: &'a [f32],
    pub valid: &'a [f32],
}

impl Network {
    /// Loads every graph of `bundle`. `told` hears what takes long.
    ///
    /// # Errors
    /// Those of [`Bundle::read_graph`] and [`Runtime::session`], and
    /// [`Error::Contract`] where a graph's inputs or outputs are not the bundle's.
    pub fn load(
        runtime: &Runtime,
        bundle: &Bundle,
        options: &SessionOptions,
        mut told: impl FnMut(&str),
    ) -> Result<Self, Error> {
        let mut warnings: Vec<String> = Vec::new();
        let mut open = |graph: &GraphFile| -> Result<Session, Error> {
            told(&format!("loading {}", graph.file));
            let bytes = bundle.read_graph(graph)?;
            let source = ModelSource {
                name: &graph.file,
                bytes: &bytes,
            };
            if runtime.will_build_engine(source, options) {
                told(&format!(
                    "building the TensorRT engine of {}, minutes",
                    graph.file
                ));
            }
            let session = runtime.session(source, options)?;
            for warning in session.warnings() {
                if !warnings.contains(warning) {
                    warnings.push(warning.clone());
                }
            }
            Ok(session)
        };

        let width = bundle.fusion().width;
        let chunk = bundle.window().chunk;
        let video_spec = bundle.video();
        let (context, points) = video_spec.encoder.points(video_spec.rate, chunk);
        let n = context + points;
        let video = open(&video_spec.encoder.graph())?;
        contract(
            &video,
            &[
                ("units", &[1, n, video_spec.units.len()]),
                ("valid", &[1, n]),
            ],
            &[("tokens", &[1, video_spec.encoder.tokens, width])],
        )?;

        let mut streams = Vec::new();
        for spec in bundle.streams() {
            let (context, points) = spec.encoder.points(stream_rate(bundle, spec), chunk);
            let shape = [1, spec.channels.len(), context + points];
            let session = open(&spec.encoder.graph())?;
            contract(
                &session,
                &[("signal", &shape), ("valid", &shape)],
                &[("tokens", &[1, spec.encoder.tokens, width])],
            )?;
            streams.push(session);
        }

        let fusion = open(&bundle.fusion().graph())?;
        let window = |tokens: usize| bundle.window_chunks() * tokens;
        let mut inputs: Vec<(String, Vec<usize>)> = Vec::new();
        let parts = std::iter::once(("video", video_spec.encoder.tokens)).chain(
            bundle
                .streams()
                .iter()
                .map(|s| (s.name.as_str(), s.encoder.tokens)),
        );
        for (name, tokens) in parts {
            inputs.push((name.to_string(), vec![1, window(tokens), width]));
            inputs.push((format!("{name}_valid"), vec![1, window(tokens)]));
        }
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(n, s)| (n.as_str(), s.as_slice()))
            .collect();
        let classes = bundle.outputs().classes.len();
        let class_shape = [1, classes];
        let mut outputs: Vec<(&str, &[usize])> = vec![("valence", &[1, 1]), ("arousal", &[1, 1])];
        if classes > 0 {
            outputs.push(("classes", &class_shape));
        }
        contract(&fusion, &inputs, &outputs)?;
        Ok(Self {
            video,
            streams,
            fusion,
            warnings,
        })
    }

    /// The provider that runs the fusion graph, as ONNX Runtime reports it.
    pub fn active_provider(&self) -> &'static str {
        self.fusion.active_provider()
    }

    /// Why higher rungs of the provider ladder were left; empty without a step down.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Tokens of a video chunk: `units` `[n, U]`, `valid` `[n]` → `[tokens × width]`.
    pub fn encode_video(&mut self, units: &[f32], valid: &[f32]) -> Result<Vec<f32>, Error> {
        let n = valid.len();
        let width = units.len() / n.max(1);
        let out = self
            .video
            .run(&[("units", &[1, n, width], units), ("valid", &[1, n], valid)])?;
        Ok(only(out, "tokens", &self.video)?)
    }

    /// Tokens of a chunk of stream `index`: `signal` and `valid` `[channels, n]`.
    pub fn encode_stream(
        &mut self,
        index: usize,
        channels: usize,
        signal: &[f32],
        valid: &[f32],
    ) -> Result<Vec<f32>, Error> {
        let shape = [1, channels, signal.len() / channels.max(1)];
        let session = &mut self.streams[index];
        let out = session.run(&[("signal", &shape, signal), ("valid", &shape, valid)])?;
        Ok(only(out, "tokens", session)?)
    }

    /// The answer to a window; `names[i]` is the fusion input that `parts[i]` fills.
    pub fn fuse(
        &mut self,
        names: &[(String, String)],
        parts: &[TokenWindow<'_>],
    ) -> Result<Logits, Error> {
        let shapes: Vec<[usize; 3]> = parts
            .iter()
            .map(|p| [1, p.valid.len(), p.tokens.len() / p.valid.len().max(1)])
            .collect();
        let mut inputs: Vec<(&str, &[usize], &[f32])> = Vec::with_capacity(2 * parts.len());
        for ((part, shape), (name, valid_name)) in parts.iter().zip(&shapes).zip(names) {
            inputs.push((name, shape, part.tokens));
            inputs.push((valid_name, &shape[..2], part.valid));
        }
        let outputs = self.fusion.run(&inputs)?;
        let output = |name: &str| {
            outputs
                .iter()
                .find(|t| t.name == name)
                .map(|t| t.data.iter().map(|v| f64::from(*v)).collect::<Vec<_>>())
        };
        let failed = |reason: String| onnx::Error::Run {
            model: self.fusion.name().to_string(),
            reason,
        };
        let one = |name: &str| {
            let values = output(name).unwrap_or_default();
            match values[..] {
                [value] if value.is_finite() => Ok(value),
                _ => Err(failed(format!(
                    "the output '{name}' is {values:?}, expected one finite number"
                ))),
            }
        };
        let logits = Logits {
            valence: one("valence")?,
            arousal: one("arousal")?,
            classes: output("classes").unwrap_or_default(),
        };
        if !logits.classes.iter().all(|v| v.is_finite()) {
            return Err(failed("the output 'classes' is not made of finite numbers".into()).into());
        }
        Ok(logits)
    }
}

/// All signals of a stream share a rate; the bundle has been checked for it.
pub(super) fn stream_rate(bundle: &Bundle, stream: &super::StreamSpec) -> f64 {
    stream
        .channels
        .iter()
        .flatten()
        .find_map(|name| bundle.signals().iter().find(|s| s.name == *name))
        .map_or(1.0, |s| s.rate)
}

fn only(out: Vec<onnx::Tensor>, name: &str, session: &Session) -> Result<Vec<f32>, onnx::Error> {
    let found = out.into_iter().find(|t| t.name == name).map(|t| t.data);
    found
        .filter(|d| d.iter().all(|v| v.is_finite()))
        .ok_or_else(|| onnx::Error::Run {
            model: session.name().to_string(),
            reason: format!("'{name}' is not made of finite numbers"),
        })
}

/// Compares a graph's inputs (exactly these) and outputs (at least these).
fn contract(
    session: &Session,
    inputs: &[(&str, &[usize])],
    outputs: &[(&str, &[usize])],
) -> Result<(), onnx::Error> {
    let error = |role, what: String, expected: String, found: String| onnx::Error::Contract {
        model: session.name().to_string(),
        role,
        what,
        expected,
        found,
    };
    let names = |specs: &[TensorSpec]| {
        specs
            .iter()
            .map(|s| s.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (role, wanted, found) in [
        ("input", inputs, session.inputs()),
        ("output", outputs, session.outputs()),
    ] {
        for (name, shape) in wanted {
            let spec = found.iter().find(|s| s.name == *name).ok_or_else(|| {
                error(
                    role,
                    format!("'{name}'"),
                    "to be there".into(),
                    format!("only {}", names(found)),
                )
            })?;
            if !spec.accepts(shape) {
                return Err(error(
                    role,
                    format!("'{name}' shape"),
                    format!("{shape:?}"),
                    spec.shape_text(),
                ));
            }
        }
        let extra = found
            .iter()
            .find(|s| !wanted.iter().any(|(n, _)| *n == s.name));
        if let (Some(extra), "input") = (extra, role) {
            let wanted: Vec<_> = wanted.iter().map(|(n, _)| *n).collect();
            return Err(error(
                role,
                "names".into(),
                wanted.join(", "),
                format!("also '{}'", extra.name),
            ));
        }
    }
    Ok(())
}
