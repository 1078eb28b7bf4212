// SPDX-License-Identifier: MPL-2.0
//! Recordings in the Extensible Data Format (XDF), as LabRecorder writes them.
//!
//! [`Parser`] is incremental: it is fed bytes in pieces of any size and gives [`Event`]s, the
//! headers, samples, clock offsets and footers of the recording's streams. Damage is an event
//! too, and reading goes on at the next boundary chunk. The timestamps in the file are those of
//! the senders' clocks. [`Corrector`] maps them to the recorder's clock when all offsets of a
//! stream are known, [`Causal`] while the offsets are still coming. The rules for clock resets
//! are those of pyxdf; the line through the offsets minimises Huber's loss (`timing::robust`).
//!
//! [`Map`] is what is known of a whole recording: its streams, the corrections of their clocks,
//! which timestamps are wrong, where its samples stand. [`Unzipped`] and [`Unpacker`] read
//! recordings that are compressed by gzip (`.xdfz`).
//!
//! This crate does no I/O, writes no files and does not dejitter: the crate `timing` does that.
//! Stream headers are read by the crate `stream-info`.
//!
//! ```
//! use xdf::{Event, Parser, Values};
//!
//! // A chunk is its length (here in 4 bytes, which a first byte says), a tag and its content.
//! fn chunk(tag: u16, content: &[&[u8]]) -> Vec<u8> {
//!     let content = content.concat();
//!     let length = content.len() as u32 + 2;
//!     [&[4], &length.to_le_bytes()[..], &tag.to_le_bytes(), &content].concat()
//! }
//! let id = 7u32.to_le_bytes();
//! let header = b"<info><name>E4</name><type>EDA</type><channel_count>1</channel_count>\
//!     <nominal_srate>4</nominal_srate><channel_format>float32</channel_format></info>";
//! let mut recording = b"XDF:".to_vec();
//! recording.extend(chunk(2, &[&id, header]));
//! // One sample: a timestamp of 8 bytes, and a value.
//! let (time, value) = (12.5f64.to_le_bytes(), 0.8f32.to_le_bytes());
//! recording.extend(chunk(3, &[&id, &[1, 1], &[8], &time, &value]));
//!
//! let mut parser = Parser::default();
//! let mut events = Vec::new();
//! for piece in recording.chunks(10) {
//!     parser.feed(piece);
//!     while let Some(event) = parser.next_event()? {
//!         events.push(event);
//!     }
//! }
//! parser.finish();
//! assert_eq!(parser.next_event()?, None);
//!
//! let [Event::Stream(7, header), samples] = &events[..] else {
//!     panic!("{events:?}");
//! };
//! assert_eq!((header.description.name.as_str(), header.description.channels), ("E4", 1));
//! let values = Values::Numbers(value.to_vec());
//! assert_eq!(*samples, Event::Samples { id: 7, stamps: vec![12.5], values });
//! # Ok::<(), xdf::Error>(())
//! ```
//!
//! Offsets correct timestamps:
//!
//! ```
//! use xdf::{Corrector, Offset};
//!
//! // The recorder's clock is 100 s ahead of the sender's.
//! let measured = [0.0, 5.0, 10.0].map(|time| Offset { time, value: 100.0 });
//! let mut corrector = Corrector::new(&measured);
//! assert_eq!(corrector.resets(), 0);
//! assert!((corrector.correct(7.0) - 107.0).abs() < 1e-9);
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub)]

mod clock;
mod film;
mod gzip;
mod parser;
mod scan;
mod stamps;

pub use clock::{Causal, Corrector, Offset};
pub use film::Film;
pub use gzip::{Gunzip, Spoiled, Unpacker, Unzipped, holds_xdf, is_gzip};
pub use parser::{ChunkStart, Error, Event, Header, Parser, Resume, Values};
pub use scan::{Chunk, Failed, Map, Recorded, apart, plausible};
pub use stamps::{Examined, Examiner, Finding, Means, Placer};
