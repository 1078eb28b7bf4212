// SPDX-License-Identifier: MPL-2.0
//! What the elements of both plugins share: [`Worker`], a thread that runs jobs for an element;
//! [`lock`]; [`upstream_is_live`].
//!
//! ```
//! use gst_common::{Loading, Stop, Task, Unwatched, Worker};
//! use std::sync::Arc;
//!
//! struct Length;
//!
//! impl Task for Length {
//!     type Job = String;
//!     type Answer = usize;
//!
//!     fn restart(&mut self) {}
//!
//!     fn run(&mut self, text: String) -> Result<Option<usize>, Stop> {
//!         Ok(Some(text.len()))
//!     }
//! }
//!
//! # gst::init()?;
//! // The element gets an error message if the thread panics.
//! let element = gst::Bin::new();
//! let load = |_: &Loading<String, usize>| Ok(Length);
//! let worker = Worker::spawn(&element, "length", Arc::new(Unwatched), || {}, load)?;
//! assert_eq!(worker.run("four".into()), Ok(Some(4)));
//! worker.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub)]

mod watch;
mod worker;

pub use watch::{Step, Then, Unwatched, Watched};
pub use worker::{Loading, Phase, Stop, Task, Ticket, Worker};

use gst::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`; blocks while another thread has it. A mutex that a thread held while it
/// panicked is locked all the same: the elements keep what they lock consistent after every
/// statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what feeds `pad` is a live source, by a latency query upstream; `None` where the
/// query is not answered, as while nothing is linked. Call it without a lock.
pub fn upstream_is_live(pad: &gst::Pad) -> Option<bool> {
    let mut query = gst::query::Latency::new();
    pad.peer_query(&mut query).then(|| query.result().0)
}
