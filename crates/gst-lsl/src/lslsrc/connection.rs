// SPDX-License-Identifier: MPL-2.0
//! What the receiver hands to the streaming thread.

use lsl::{Chunk, Correction};
use stream_info::Description;

/// A stream that was found and opened.
pub(super) struct Connected {
    pub description: Description,
    pub xml: String,
    /// The channels to keep, in order.
    pub channels: Vec<usize>,
}

pub(super) enum Item {
    Connected(Box<Connected>),
    Chunk {
        chunk: Chunk,
        /// When it was read, seconds on our LSL clock, and how long it may have lain
        /// unread.
        arrival: f64,
        waited: f64,
    },
    Correction(Correction),
    ClockReset,
    Lost,
    /// The error was posted already.
    Failed,
}
