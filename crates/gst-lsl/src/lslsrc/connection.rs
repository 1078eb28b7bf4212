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

/// What happened, in the order in which it is to be handled.
pub(super) enum Item {
    Connected(Box<Connected>),
    Chunk {
        chunk: Chunk,
        /// When it was read, seconds on the LSL clock of this host, and how long it may have
        /// been unread, seconds.
        arrival: f64,
        waited: f64,
    },
    Correction(Correction),
    ClockReset,
    Lost,
    /// An error that was posted before.
    Failed,
}
