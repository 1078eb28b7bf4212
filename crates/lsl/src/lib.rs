// SPDX-License-Identifier: MPL-2.0
//! Lab Streaming Layer: liblsl loaded at run time, and safe names for what it does.
//!
//! Stamps are always the sender's own, in seconds; see the crate `timing` for what
//! becomes of them.

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

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Load(String),
    #[error("liblsl refuses the predicate '{0}': {1}")]
    Predicate(String, String),
    #[error("the {0} '{1}' holds a NUL character")]
    NulByte(&'static str, String),
    /// What a stream says of itself cannot be true, or is too much to be read.
    #[error("{0}")]
    Refused(String),
    #[error("no answer in time: {0}")]
    Timeout(&'static str),
    #[error("the sender of the stream is gone")]
    Lost,
    #[error("the loaded liblsl has no {0}; {1} or newer is needed")]
    Unsupported(&'static str, &'static str),
    #[error("{0}: {1}")]
    Failed(&'static str, String),
}
