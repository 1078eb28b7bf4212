// SPDX-License-Identifier: MPL-2.0
//! Lab Streaming Layer: liblsl loaded at run time, behind safe types.
//!
//! [`Library::load`] finds liblsl. A [`Resolver`] searches for streams that fit a [`Query`], an
//! [`Inlet`] receives the samples of one, an [`Outlet`] sends samples. Timestamps are those of
//! the outlet, in seconds on the clock of its host; the crate `timing` maps them to this host.
//!
//! Any host on the network can answer a search, and liblsl allocates by what the answer says:
//! what declares more channels, a higher rate or longer texts than this crate allows is
//! [`Error::Refused`] before liblsl acts on it.
//!
//! ```no_run
//! // Needs liblsl, and a stream of type EDA on the network.
//! use lsl::{Chunk, Inlet, Library, Query, Resolver};
//! use std::time::Duration;
//!
//! let library = Library::load(None)?;
//! let query = Query { stream_type: Some("EDA".into()), ..Query::default() };
//! let resolver = Resolver::new(library, &query, Duration::from_secs(5))?;
//! std::thread::sleep(Duration::from_secs(1));
//! if let Some(found) = resolver.results().streams.first() {
//!     let mut inlet = Inlet::new(&found.info)?;
//!     inlet.open(Duration::from_secs(2))?;
//!     let mut chunk = Chunk::default();
//!     let samples = inlet.pull(Duration::from_millis(200), &mut chunk)?;
//!     println!("{samples} samples of {}", found.description);
//! }
//! # Ok::<(), lsl::Error>(())
//! ```
//!
//! A query is an XPath, as liblsl takes it:
//!
//! ```
//! let query = lsl::Query {
//!     stream_type: Some("ECG".into()),
//!     predicate: Some("starts-with(name,'Polar')".into()),
//!     ..Default::default()
//! };
//! assert_eq!(
//!     query.xpath().as_deref(),
//!     Some("type='ECG' and (starts-with(name,'Polar'))")
//! );
//! ```

#![warn(clippy::undocumented_unsafe_blocks, missing_docs)]

mod ffi;
mod info;
mod inlet;
mod library;
mod limits;
mod outlet;
mod resolve;

pub use info::{NewStream, StreamInfo};
pub use inlet::{Chunk, Correction, Inlet};
pub use library::{ENV_VARS, Library};
pub use outlet::{Number, Outlet};
pub use resolve::{Found, Match, Query, Resolver, xpath_literal};

/// What can go wrong with liblsl or with a stream.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable liblsl was found; the text names what was tried.
    #[error("{0}")]
    Load(String),
    /// The predicate, and liblsl's reason.
    #[error("liblsl refuses the predicate '{0}': {1}")]
    Predicate(String, String),
    /// What the text is, and the text.
    #[error("the {0} '{1}' holds a NUL character")]
    NulByte(&'static str, String),
    /// A stream declares what cannot be, or more than can be received.
    #[error("{0}")]
    Refused(String),
    /// What was waited for; it goes on.
    #[error("no answer in time: {0}")]
    Timeout(&'static str),
    /// The outlet is gone. A restarted one is another stream.
    #[error("the sender of the stream is gone")]
    Lost,
    /// The missing function, and the version of liblsl that has it.
    #[error("the loaded liblsl has no {0}; {1} or newer is needed")]
    Unsupported(&'static str, &'static str),
    /// What failed, and liblsl's reason.
    #[error("{0}: {1}")]
    Failed(&'static str, String),
}
