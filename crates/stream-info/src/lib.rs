// SPDX-License-Identifier: MPL-2.0
//! The description of a stream: what its outlet declares, as plain data.
//!
//! LSL sends a description as XML, XDF stores the same XML as the header of a stream.
//! [`describe`] reads either into a [`Description`] with its [`Format`] and nominal [`Rate`].
//! The text comes from the network or from a file: it is checked, and an error names the
//! field, its value and what was expected. Nothing here blocks.
//!
//! ```
//! let d = stream_info::describe(
//!     "<info><name>Band</name><type>EDA</type><channel_count>1</channel_count>\
//!      <channel_format>float32</channel_format><nominal_srate>51.2</nominal_srate></info>",
//! )?;
//! assert_eq!(d.rate, stream_info::Rate { num: 256, den: 5 });
//! assert_eq!(d.format.map(stream_info::Format::size), Some(4));
//! assert!(d.labels.is_empty(), "the outlet declares none");
//!
//! let error = stream_info::describe("<info><channel_count>0</channel_count></info>");
//! assert!(error.is_err_and(|e| e.contains("channel_count is '0'")));
//! # Ok::<(), String>(())
//! ```

#![warn(clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub)]

mod description;
mod format;
mod rate;
mod xml;

pub use description::{Description, MAX_CHANNELS, describe, shortened};
pub use format::Format;
pub use rate::Rate;
pub use xml::readable;
