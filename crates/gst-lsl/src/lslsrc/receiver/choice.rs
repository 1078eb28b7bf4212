// SPDX-License-Identifier: MPL-2.0
//! Which of several streams is received, and why.

use super::{FORGET, MOST_TOLD, Receiver};
use lsl::Match;
use std::time::Duration;
use stream_info::Description;

impl Receiver {
    /// Logs which streams match, when they have changed. `known`: their uids.
    pub(super) fn log_candidates(&self, found: &[Match], known: &mut Vec<String>) {
        let mut uids: Vec<_> = found.iter().map(|m| m.description.uid.clone()).collect();
        uids.sort();
        if uids == *known {
            return;
        }
        *known = uids;
        let query = &self.config.query;
        self.debug(&format!("{} candidate(s) for {query}", found.len()));
        for m in found.iter().take(MOST_TOLD) {
            let d = &m.description;
            self.debug(&format!("candidate: {d}, uid {}", d.uid));
        }
    }

    /// Logs which of `candidates` streams was chosen and why.
    pub(super) fn log_choice(
        &self,
        found: &Match,
        candidates: usize,
        previous: Option<&Description>,
    ) {
        let d = &found.description;
        let why = match (candidates, previous) {
            (0 | 1, _) => "the only one that matches".to_string(),
            (n, Some(_)) => format!(
                "of {n} that match the only one with the name and source id of the stream that \
                 was lost"
            ),
            (n, None) => format!("the only one left of {n}"),
        };
        let query = &self.config.query;
        self.debug(&format!("chose {d}, uid {}, for {query}: {why}", d.uid));
    }
}

/// The stream that takes the place of a silent one: its restart, or, where the silent outlet does
/// not answer searches either, the only other match.
pub(super) fn successor(
    found: Vec<Match>,
    watched: Duration,
    silent: &Description,
) -> Option<Match> {
    let (silent_ones, mut others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|m| m.description.uid == silent.uid);
    let restart = |m: &Match| {
        let d = &m.description;
        !d.source_id.is_empty() && d.source_id == silent.source_id && d.name == silent.name
    };
    if others.iter().filter(|m| restart(m)).count() == 1 {
        others.retain(restart);
    } else if !silent_ones.is_empty() || watched < FORGET {
        return None;
    }
    if others.len() == 1 {
        others.pop()
    } else {
        None
    }
}

/// Keeps of several matches the restart of `previous`: the one with its name and source id.
pub(super) fn prefer_same_source(found: &mut Vec<Match>, previous: &Description) {
    if found.len() < 2 || previous.source_id.is_empty() {
        return;
    }
    let same = |m: &Match| {
        let d = &m.description;
        d.source_id == previous.source_id && d.name == previous.name
    };
    if found.iter().filter(|m| same(m)).count() == 1 {
        found.retain(same);
    }
}
