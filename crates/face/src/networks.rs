// SPDX-License-Identifier: MPL-2.0
//! The three networks, and the shapes of their tensors.

use super::{BLENDSHAPE_LANDMARKS, BLENDSHAPES, LANDMARKS, detector};
use onnx::{Error, ModelSource, Runtime, Session, SessionOptions, Tensor, TensorSpec};
use std::path::Path;

/// Side of the crop that Face Mesh takes.
pub(crate) const CROP: usize = 256;

/// The files in a directory of face models: BlazeFace, Face Mesh V2, Blendshape V2.
pub const MODEL_FILES: [&str; 3] = [
    "face_detector.onnx",
    "face_landmarks_detector.onnx",
    "face_blendshapes.onnx",
];

/// Name of the batch dimension, which the graph of Face Mesh leaves open.
const MESH_BATCH: &str = "unk__2002";

/// The output of Face Mesh for one crop.
#[derive(Debug, Clone, PartialEq)]
pub struct Mesh {
    /// `[478 × 3]`: x, y, z of each landmark in pixels of the 256×256 crop.
    pub landmarks: Vec<f32>,
    /// Logit of the probability that there is a face in the crop.
    pub presence: f32,
}

/// The networks that an [`Analyzer`](crate::Analyzer) runs. Images are rows of R, G, B.
pub trait Networks {
    /// The face detector. `image`: `[128, 128, 3]`, −1 to 1. Returns regressors `[896, 16]`
    /// (for each anchor, in pixels of `image`: x, y of the box's centre, its width and height,
    /// x, y of 6 points; positions are relative to the anchor) and logits `[896]`.
    ///
    /// # Errors
    /// The network could not be run, or was cancelled.
    fn detect(&mut self, image: &[f32]) -> Result<(Vec<f32>, Vec<f32>), Error>;
    /// The landmarks. `crop`: `[256, 256, 3]`, 0 to 1.
    ///
    /// # Errors
    /// The network could not be run, or was cancelled.
    fn mesh(&mut self, crop: &[f32]) -> Result<Mesh, Error>;
    /// The face units. `points`: `[146, 2]`, x and y of landmarks in pixels of the frame.
    /// Returns 52 values, 0 to 1, in the order of [`BLENDSHAPES`].
    ///
    /// # Errors
    /// The network could not be run, or was cancelled.
    fn blendshapes(&mut self, points: &[f32]) -> Result<Vec<f32>, Error>;
}

/// The networks on ONNX Runtime, one session each.
pub struct FaceModels {
    detector: Session,
    mesh: Session,
    blendshapes: Session,
}

impl FaceModels {
    /// Reads the [`MODEL_FILES`] in `directory` and makes a session of each, as `options` say;
    /// the dimensions that the graphs leave open are set here.
    ///
    /// # Errors
    /// [`Error::File`]: a file cannot be read. [`Error::Graph`]: ONNX Runtime refuses it.
    /// [`Error::Contract`]: its inputs or outputs have other shapes. [`Error::Provider`]: the
    /// execution provider that was asked for is not available.
    pub fn load(
        runtime: &Runtime,
        directory: &Path,
        options: SessionOptions,
    ) -> Result<Self, Error> {
        let options = SessionOptions {
            fixed_dims: vec![(MESH_BATCH.into(), 1)],
            ..options
        };
        let open = |file: &str, input: &[usize], outputs: &[&[usize]]| {
            let path = directory.join(file);
            let bytes = std::fs::read(&path).map_err(|e| Error::File {
                path: path.clone(),
                reason: format!(
                    "{e}; expected the face models {}; set the property model to the directory that holds them",
                    MODEL_FILES.join(", ")
                ),
            })?;
            let name = path.display().to_string();
            let source = ModelSource {
                name: &name,
                bytes: &bytes,
            };
            let session = runtime.session(source, &options)?;
            check(&name, "input", session.inputs(), &[input])?;
            check(&name, "output", session.outputs(), outputs)?;
            Ok(session)
        };
        let (n, side) = (detector::ANCHORS, detector::INPUT);
        Ok(Self {
            detector: open(
                MODEL_FILES[0],
                &[1, side, side, 3],
                &[&[1, n, detector::VALUES], &[1, n, 1]],
            )?,
            mesh: open(
                MODEL_FILES[1],
                &[1, CROP, CROP, 3],
                &[&[1, 1, 1, LANDMARKS * 3], &[1, 1, 1, 1]],
            )?,
            blendshapes: open(
                MODEL_FILES[2],
                &[1, BLENDSHAPE_LANDMARKS.len(), 2],
                &[&[BLENDSHAPES.len()]],
            )?,
        })
    }

    fn sessions(&self) -> [&Session; 3] {
        [&self.detector, &self.mesh, &self.blendshapes]
    }

    /// The execution provider that runs Face Mesh, which is nearly all of the work.
    pub fn active_provider(&self) -> &'static str {
        self.mesh.active_provider()
    }

    /// Why providers that were tried first are not used, each reason once.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = Vec::new();
        for warning in self.sessions().into_iter().flat_map(|s| s.warnings()) {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        warnings
    }
}

/// Checks that the first tensors of a graph have the shapes `expected`.
fn check(
    model: &str,
    role: &'static str,
    found: &[TensorSpec],
    expected: &[&[usize]],
) -> Result<(), Error> {
    let fits =
        found.len() >= expected.len() && found.iter().zip(expected).all(|(f, e)| f.accepts(e));
    if fits {
        return Ok(());
    }
    Err(Error::Contract {
        model: model.to_string(),
        role,
        what: "shapes".into(),
        expected: format!("{expected:?}; use the face models that come with the plugin"),
        found: found
            .iter()
            .map(|f| format!("{} {}", f.name, f.shape_text()))
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// Runs a network with one input.
fn run(session: &mut Session, shape: &[usize], data: &[f32]) -> Result<Vec<Tensor>, Error> {
    let name = session
        .inputs()
        .first()
        .map(|i| i.name.clone())
        .unwrap_or_default();
    session.run(&[(&name, shape, data)])
}

impl Networks for FaceModels {
    fn detect(&mut self, image: &[f32]) -> Result<(Vec<f32>, Vec<f32>), Error> {
        let side = detector::INPUT;
        let mut out = run(&mut self.detector, &[1, side, side, 3], image)?.into_iter();
        let mut next = || out.next().map(|t| t.data).unwrap_or_default();
        Ok((next(), next()))
    }

    fn mesh(&mut self, crop: &[f32]) -> Result<Mesh, Error> {
        let mut out = run(&mut self.mesh, &[1, CROP, CROP, 3], crop)?.into_iter();
        let mut next = || out.next().map(|t| t.data).unwrap_or_default();
        Ok(Mesh {
            landmarks: next(),
            presence: next().first().copied().unwrap_or(f32::NEG_INFINITY),
        })
    }

    fn blendshapes(&mut self, points: &[f32]) -> Result<Vec<f32>, Error> {
        let shape = [1, BLENDSHAPE_LANDMARKS.len(), 2];
        let mut out = run(&mut self.blendshapes, &shape, points)?.into_iter();
        Ok(out.next().map(|t| t.data).unwrap_or_default())
    }
}
