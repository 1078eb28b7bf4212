// SPDX-License-Identifier: MPL-2.0
//! The recent past, ready to be asked for: rings of grid values and of tokens.
//!
//! Time is cut into chunks of equal length from running time zero. A [`GridRing`]
//! holds conditioned values and copies out a chunk with its left context; a
//! [`TokenRing`] holds what an encoder made of each chunk, so that a window is
//! assembled by copying and nothing is encoded twice.

mod ring;
mod tokens;

pub use ring::GridRing;
pub use tokens::TokenRing;
