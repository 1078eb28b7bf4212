// SPDX-License-Identifier: MPL-2.0
//! What a stream says about itself: [`Description`], its [`Format`] and [`Rate`], and the
//! XML in which LSL and XDF write it.
//!
//! ```
//! let d = stream_info::describe(
//!     "<info><name>Band</name><type>EDA</type><channel_count>1</channel_count>\
//!      <channel_format>float32</channel_format><nominal_srate>51.2</nominal_srate></info>",
//! )?;
//! assert_eq!(d.rate, stream_info::Rate { num: 256, den: 5 });
//! # Ok::<(), String>(())
//! ```

mod description;
mod format;
mod rate;
mod xml;

pub use description::{Description, MAX_CHANNELS, describe, shortened};
pub use format::Format;
pub use rate::Rate;
