// SPDX-License-Identifier: MPL-2.0
//! The features of the last minutes.

use super::{Event, Features, Physiology};
use std::collections::VecDeque;

/// Times from one entry to the next, ns.
const PERIOD: u64 = 250_000_000;
/// Entries that are kept: four minutes.
const KEPT: usize = 960;

/// A [`Physiology`] and its features at every quarter of a second of the last four minutes.
///
/// The entry of a time depends on the samples up to that time only, however many more have come
/// meanwhile: a film that is behind the body gets what belongs to its frames.
#[derive(Debug, Clone)]
pub struct FeatureLog {
    physiology: Physiology,
    /// The next entry, as a multiple of the period.
    next: Option<u64>,
    entries: VecDeque<Features>,
}

impl FeatureLog {
    /// An empty log.
    pub fn new(physiology: Physiology) -> Self {
        Self {
            physiology,
            next: None,
            entries: VecDeque::with_capacity(KEPT),
        }
    }

    /// Takes a sample, as [`Physiology::push`].
    pub fn push(&mut self, time: u64, value: f64, out: impl FnMut(Event)) {
        self.complete(time);
        self.physiology.push(time, value, out);
    }

    /// Says that no further sample before `time` (ns) will come.
    pub fn complete(&mut self, time: u64) {
        let end = time.div_ceil(PERIOD);
        let mut next = self.next.unwrap_or(end);
        // After a long gap only what is kept is computed.
        next = next.max(end.saturating_sub(KEPT as u64));
        while next < end {
            if self.entries.len() == KEPT {
                self.entries.pop_front();
            }
            self.entries
                .push_back(self.physiology.features(next * PERIOD));
            next += 1;
        }
        self.next = Some(next);
    }

    /// Samples are missing before the next one.
    pub fn cut(&mut self) {
        self.physiology.cut();
    }

    /// The newest entry of a time before `time` (ns).
    pub fn before(&self, time: u64) -> Option<&Features> {
        let newer = self.entries.iter().rev();
        newer.into_iter().find(|f| f.time < time)
    }
}
