// SPDX-License-Identifier: MPL-2.0
//! Faces in video frames: position, 478 landmarks and 52 face units (blendshapes).
//!
//! [`Analyzer`] takes frames of one video in order, as [`ImageView`]s, and gives the [`Face`]s in
//! them, each with an id that stays while it is followed. The steps:
//!
//! 1. BlazeFace on the frame, letterboxed to 128×128, only while a face is missing;
//! 2. Face Mesh V2 on a 256×256 crop for each face, turned so that the eyes are level. The crop
//!    comes from the detection, later from the last landmarks;
//! 3. Blendshape V2 on 146 of the landmarks.
//!
//! These are the networks of MediaPipe's Face Landmarker as ONNX files ([`MODEL_FILES`]);
//! [`FaceModels`] runs them on ONNX Runtime, anything else that implements [`Networks`] can take
//! its place. A picture that lies or is mirrored in memory is analysed as it is shown, see
//! [`ImageView::oriented`]. Only the pixels that the two crops need are read and converted. A caller that
//! cannot keep a frame's memory copies it into a [`Snapshot`].
//!
//! This crate does not recognise persons or emotions, does not smooth over time and knows no
//! timestamps.
//!
//! ```
//! use face::{Analyzer, ImageView, Mesh, Networks, Options, PixelFormat, Plane, YuvToRgb};
//!
//! /// Stands in for the model files: no anchor of the detector has a face.
//! struct NoFace;
//!
//! impl Networks for NoFace {
//!     fn detect(&mut self, image: &[f32]) -> Result<(Vec<f32>, Vec<f32>), onnx::Error> {
//!         assert_eq!(image.len(), 128 * 128 * 3);
//!         Ok((vec![0.0; 896 * 16], vec![-10.0; 896]))
//!     }
//!     fn mesh(&mut self, _crop: &[f32]) -> Result<Mesh, onnx::Error> {
//!         unreachable!("there is no face to crop")
//!     }
//!     fn blendshapes(&mut self, _points: &[f32]) -> Result<Vec<f32>, onnx::Error> {
//!         unreachable!("there are no landmarks")
//!     }
//! }
//!
//! let data = vec![128; 64 * 48];
//! let plane = Plane { data: &data, stride: 64 };
//! let frame = ImageView::new(PixelFormat::Gray8, 64, 48, &[plane], YuvToRgb::bt601())?;
//! let mut analyzer = Analyzer::new(NoFace, Options::default());
//! assert!(analyzer.analyze(&frame, &[])?.is_empty());
//! assert_eq!(analyzer.detector_runs(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the model files:
//!
//! ```no_run
//! // Needs ONNX Runtime and the files.
//! use face::{Analyzer, FaceModels, Options};
//!
//! let runtime = onnx::Runtime::load(None)?;
//! let directory = std::path::Path::new("models/face");
//! let models = FaceModels::load(&runtime, directory, onnx::SessionOptions::default())?;
//! let analyzer = Analyzer::new(models, Options { max_faces: 2, ..Options::default() });
//! println!("runs on {}", analyzer.networks().active_provider());
//! # Ok::<(), onnx::Error>(())
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub)]

mod analyzer;
mod detector;
mod format;
mod geometry;
mod image;
mod networks;
mod orientation;
mod sample;

pub use analyzer::{Analyzer, Face, Options};
pub use format::{ImageError, PixelFormat, Plane, YuvToRgb};
pub use geometry::Rect;
pub use image::{ImageView, Snapshot};
pub use networks::{FaceModels, MODEL_FILES, Mesh, Networks};
pub use orientation::Orientation;

/// Names of the face units, in the order of [`Face::blendshapes`]: those of MediaPipe, which are
/// ARKit's and `_neutral`.
pub const BLENDSHAPES: [&str; 52] = [
    "_neutral",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
];

/// Number of landmarks of a face.
pub const LANDMARKS: usize = 478;

/// Indices of the landmarks that the blendshape network takes, in its order.
pub(crate) const BLENDSHAPE_LANDMARKS: [usize; 146] = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283,
    284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
    473, 474, 475, 476, 477,
];
