// SPDX-License-Identifier: MPL-2.0
//! From pixels to face units.
//!
//! One [`Analyzer`] call takes an [`ImageView`] and answers with [`Face`]s: where,
//! how sure, 478 landmarks and 52 blendshape coefficients. The steps:
//!
//! 1. BlazeFace on the frame, letterboxed to 128×128 (only while a face is missing);
//! 2. Face Mesh V2 on a 256×256 crop per face, turned so that the eyes are level;
//!    the crop comes from the detection, later from the last landmarks;
//! 3. Blendshape V2 on 146 of the landmarks.
//!
//! Only the pixels that the two crops touch are read and converted. A caller that
//! must let go of a frame at once keeps a [`Snapshot`].

#![warn(
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    unreachable_pub
)]

mod analyzer;
mod detector;
mod geometry;
mod image;
mod networks;

pub use analyzer::{Analyzer, Face, Options};
pub use geometry::Rect;
pub use image::{ImageError, ImageView, PixelFormat, Plane, Snapshot, YuvToRgb};
pub use networks::{FaceModels, MODEL_FILES, Mesh, Networks};

/// The coefficients, in the order of the network's output.
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

/// Landmarks of one face.
pub const LANDMARKS: usize = 478;

/// The landmarks that the blendshape network takes, in its order.
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
