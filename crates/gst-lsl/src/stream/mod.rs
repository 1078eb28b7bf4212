// SPDX-License-Identifier: MPL-2.0
//! What an LSL stream is in GStreamer's terms, the same for every element that makes or
//! takes one.

pub mod caps;
pub mod events;
