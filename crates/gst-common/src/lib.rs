// SPDX-License-Identifier: MPL-2.0
//! What elements of both plugins share.

mod watch;
mod worker;

pub use watch::{Step, Then, Unwatched, Watched};
pub use worker::{Loading, Phase, Stop, Task, Ticket, Worker};

use gst::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guard of `mutex`, also where a thread panicked with it: what the elements lock is
/// whole after every statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what feeds `pad` is a live source; `None` while nobody answers.
pub fn upstream_is_live(pad: &gst::Pad) -> Option<bool> {
    let mut query = gst::query::Latency::new();
    pad.peer_query(&mut query).then(|| query.result().0)
}
