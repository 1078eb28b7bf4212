// SPDX-License-Identifier: MPL-2.0
//! The graphs of a bundle on ONNX Runtime.

use super::{Bundle, Error, GraphFile};
use onnx::{ModelSource, Runtime, Session, SessionOptions, TensorSpec};

/// The graphs of a bundle, one session each, whose inputs and outputs fit the manifest.
pub struct Network {
    video: Session,
    streams: Vec<Session>,
    fusion: Session,
    warnings: Vec<String>,
    /// What the bundle says of the graphs' outputs.
    shapes: Shapes,
}

/// Shapes of the outputs. A graph that leaves a size open shows only in a run what it is.
struct Shapes {
    video: [usize; 3],
    streams: Vec<[usize; 3]>,
    classes: usize,
}

/// The outputs of the fusion graph, before calibration. All are finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// Logit of high valence.
    pub valence: f64,
    /// Logit of high arousal.
    pub arousal: f64,
    /// Logits of the bundle's classes, in its order.
    pub classes: Vec<f64>,
}

/// The tokens of one stream in a window; `T` is chunks × tokens of each chunk.
pub struct TokenWindow<'a> {
    /// `[T, width]`, 0 where there is no token.
    pub tokens: &'a [f32],
    /// `[T]`, 1 where there is a token that is not masked, else 0.
    pub valid: &'a [f32],
}

impl Network {
    /// Loads every graph of `bundle`. `told` is called with a text before each step that may
    /// take long; building an engine of TensorRT takes minutes.
    ///
    /// # Errors
    /// Those of [`Bundle::read_graph`] and [`Runtime::session`], and [`onnx::Error::Contract`] if
    /// a graph's inputs or outputs are not those of the manifest.
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
        let mut shapes = Shapes {
            video: [1, video_spec.encoder.tokens, width],
            streams: Vec::new(),
            classes: bundle.outputs().classes.len(),
        };
        contract(
            &video,
            &[
                ("units", &[1, n, video_spec.units.len()]),
                ("valid", &[1, n]),
            ],
            &[("tokens", &shapes.video)],
        )?;

        let mut streams = Vec::new();
        for spec in bundle.streams() {
            let (context, points) = spec.encoder.points(stream_rate(bundle, spec), chunk);
            let shape = [1, spec.channels.len(), context + points];
            let session = open(&spec.encoder.graph())?;
            let tokens = [1, spec.encoder.tokens, width];
            contract(
                &session,
                &[("signal", &shape), ("valid", &shape)],
                &[("tokens", &tokens)],
            )?;
            streams.push(session);
            shapes.streams.push(tokens);
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
        let class_shape = [1, shapes.classes];
        let mut outputs: Vec<(&str, &[usize])> = vec![("valence", &[1, 1]), ("arousal", &[1, 1])];
        if shapes.classes > 0 {
            outputs.push(("classes", &class_shape));
        }
        contract(&fusion, &inputs, &outputs)?;
        Ok(Self {
            video,
            streams,
            fusion,
            warnings,
            shapes,
        })
    }

    /// The execution provider that runs the fusion graph, as ONNX Runtime reports it.
    pub fn active_provider(&self) -> &'static str {
        self.fusion.active_provider()
    }

    /// Why providers that were tried first are not used, each reason once.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Tokens `[tokens, width]` of a video chunk: `units` `[n, units]`, `valid` `[n]`.
    pub(crate) fn encode_video(&mut self, units: &[f32], valid: &[f32]) -> Result<Vec<f32>, Error> {
        let n = valid.len();
        let width = units.len() / n.max(1);
        let out = self
            .video
            .run(&[("units", &[1, n, width], units), ("valid", &[1, n], valid)])?;
        Ok(take(out, "tokens", &self.shapes.video, &self.video)?)
    }

    /// Tokens `[tokens, width]` of a chunk of stream `index`: `signal` and `valid`
    /// `[channels, n]`.
    pub(crate) fn encode_stream(
        &mut self,
        index: usize,
        channels: usize,
        signal: &[f32],
        valid: &[f32],
    ) -> Result<Vec<f32>, Error> {
        let shape = [1, channels, signal.len() / channels.max(1)];
        let session = &mut self.streams[index];
        let out = session.run(&[("signal", &shape, signal), ("valid", &shape, valid)])?;
        Ok(take(out, "tokens", &self.shapes.streams[index], session)?)
    }

    /// The logits of a window; `names[i]` are the inputs for the tokens and flags of `parts[i]`.
    pub(crate) fn fuse(
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
        let mut outputs = self.fusion.run(&inputs)?;
        let mut output = |name: &str, shape: &[usize]| {
            let at = outputs.iter().position(|t| t.name == name);
            let found = at.map(|at| outputs.swap_remove(at));
            let values = take(found, name, shape, &self.fusion)?;
            Ok::<Vec<f64>, onnx::Error>(values.into_iter().map(f64::from).collect())
        };
        Ok(Logits {
            valence: output("valence", &[1, 1])?[0],
            arousal: output("arousal", &[1, 1])?[0],
            classes: match self.shapes.classes {
                0 => Vec::new(),
                classes => output("classes", &[1, classes])?,
            },
        })
    }
}

/// Grid rate in Hz of a stream's signals. [`Bundle::open`] has checked that they have one rate.
pub(crate) fn stream_rate(bundle: &Bundle, stream: &super::StreamSpec) -> f64 {
    stream
        .channels
        .iter()
        .flatten()
        .find_map(|name| bundle.signals().iter().find(|s| s.name == *name))
        .map_or(1.0, |s| s.rate)
}

/// The numbers of the output `name`: as many as the bundle says, all of them finite.
fn take(
    outputs: impl IntoIterator<Item = onnx::Tensor>,
    name: &str,
    shape: &[usize],
    session: &Session,
) -> Result<Vec<f32>, onnx::Error> {
    let wrong = |what: &str, expected: String, found: String| onnx::Error::Contract {
        model: session.name().to_string(),
        role: "output",
        what: format!("'{name}'{what}"),
        expected,
        found,
    };
    let mut outputs = outputs.into_iter();
    let tensor = outputs
        .find(|t| t.name == name)
        .ok_or_else(|| wrong("", "to be there".into(), "none".into()))?;
    if tensor.shape != shape || tensor.data.len() != shape.iter().product() {
        return Err(wrong(
            " shape of a run",
            format!("{shape:?} by the manifest"),
            format!("{:?}", tensor.shape),
        ));
    }
    match tensor.data.iter().find(|v| !v.is_finite()) {
        None => Ok(tensor.data),
        Some(value) => Err(wrong(" values", "finite numbers".into(), value.to_string())),
    }
}

/// Checks that a graph has exactly these inputs, and at least these outputs.
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
