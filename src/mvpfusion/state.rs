// SPDX-License-Identifier: MPL-2.0
//! The state that the streaming threads of `mvpfusion` share.

use super::body::SharedSensor;
use super::branch_seek::BranchSeek;
use super::pace::Pace;
use super::person::Person;

use super::worker::{Answered, Shared, Worker};
use crate::common::Sync;
pub(super) use crate::common::at_rate_1;
use crate::meta::{PhysioTraceMeta, UnitOrder};
use crate::physio::Stream;
use conditioning::{Plausibility, Trace};
use gst::ClockTime;
use gst::prelude::*;
use gst_common::Phase;
use mvp::Inputs;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};

/// How far physiology may run ahead of video before its pad holds it back, when waiting.
pub(super) const AHEAD: u64 = 10_000_000_000;
/// The same while every pad has what the next answer needs. It is not 0: one demuxer may
/// feed several pads, and has to get past the samples of one to those of another.
const NEAR_AHEAD: u64 = 2_000_000_000;

/// One physiology pad, as the video's streaming thread needs it.
#[derive(Debug, Default)]
pub(super) struct PhysioPad {
    pub(super) pad: Option<gst::Pad>,
    pub(super) segment: Option<gst::FormattedSegment<ClockTime>>,
    pub(super) stream: Option<Stream>,
    /// The caps that came last do not fit: what comes is not read.
    pub(super) refused: bool,
    /// Running time (ns) up to which every sample has come.
    pub(super) progress: u64,
    /// Running time (ns) up to which no later sample changes a grid value.
    pub(super) settled: u64,
    pub(super) eos: bool,
    pub(super) flushing: bool,
    /// Sequence number of the last flush.
    pub(super) flushed: Option<gst::Seqnum>,
    /// A seek is on its way: the samples that come are from before it, until the pad is
    /// flushed.
    pub(super) awaits_flush: bool,
    /// A segment has come, so there is an element upstream that can be sought.
    pub(super) has_segment: bool,
    pub(super) samples: u64,
    /// Judges whether the samples can be in the signal's unit.
    pub(super) check: Option<Plausibility>,
    pub(super) told: Told,
    /// What is drawn of it; locked by itself.
    pub(super) trace: Option<Arc<Mutex<Trace>>>,
}

/// What has been said on the bus of a pad's values.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Told {
    /// Running time (ns) of the last warning that they cannot be in the signal's unit.
    pub(super) implausible: Option<u64>,
    /// That the unit cannot be told from them.
    pub(super) ambiguous: bool,
}

impl PhysioPad {
    /// Back to the state before the first sample; the pad and its caps are kept.
    pub(super) fn restart(&mut self) {
        *self = Self {
            pad: self.pad.take(),
            check: self.stream.as_ref().and_then(|s| s.check.clone()),
            told: Told {
                implausible: None,
                ..self.told
            },
            stream: self.stream.take(),
            trace: self.trace.take(),
            refused: self.refused,
            has_segment: self.has_segment,
            ..Self::default()
        };
    }

    pub(super) fn is_linked(&self) -> bool {
        self.pad.as_ref().is_some_and(|p| p.is_linked())
    }

    /// Whether samples that are still to come may change the grid before `end`. An answer
    /// waits for them: without that it would depend on which thread was faster.
    pub(super) fn is_incomplete_before(&self, end: u64) -> bool {
        (self.awaits_flush || (!self.eos && self.settled < end && self.progress < end + AHEAD))
            && self.is_linked()
    }
}

/// What a seek puts back if no branch follows it.
pub(super) struct BeforeSeek {
    /// Last hop and the video's time.
    pub(super) hops: (u64, u64),
    /// The same seek has reached a branch through another sink, and samples of its new
    /// position were dropped: the element has to seek once more.
    pub(super) data_lost: bool,
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) frames: u64,
    pub(super) stray: u64,
    pub(super) jumps: u32,
    /// Hops that were never requested, because frames were late or far apart.
    pub(super) skipped: u64,
}

#[derive(Default)]
pub(super) struct State {
    /// Between READY→PAUSED and PAUSED→READY.
    pub(super) running: bool,
    pub(super) inputs: Option<Arc<Inputs>>,
    /// The face units that the network takes.
    pub(super) units: Option<Arc<UnitOrder>>,
    pub(super) person: Person,
    /// It has been said that there are several faces.
    pub(super) faces_told: bool,
    /// Length of a hop in nanoseconds.
    pub(super) hop: u64,
    pub(super) settle: u64,
    pub(super) trace: ClockTime,
    pub(super) wait_for_model: bool,
    pub(super) sync: Sync,
    pub(super) worker: Option<Arc<Worker>>,
    /// Written by the worker.
    pub(super) shared: Arc<Shared>,

    pub(super) segment: Option<gst::FormattedSegment<ClockTime>>,
    /// The rate at which the video plays; 0 before its first segment.
    pub(super) rate: f64,
    pub(super) video_flushing: bool,
    pub(super) video_eos: bool,
    /// As in [`PhysioPad`].
    pub(super) video_flushed: Option<gst::Seqnum>,
    pub(super) video_awaits_flush: bool,
    /// The last seek event, and what it was answered. The event comes once for each sink.
    pub(super) answered_seek: Option<(gst::Seqnum, bool)>,
    /// The last seek that the branches followed, for branches that are linked later; an
    /// error where they cannot follow it.
    pub(super) followed_seek: Option<(gst::Seqnum, Result<BranchSeek, String>)>,
    /// A thread is sending a seek upstream. Pads are sought one after the other, because
    /// one demuxer may feed several.
    pub(super) seek_in_progress: bool,
    pub(super) video_time: u64,
    pub(super) pace: Pace,
    /// The pipeline's latency (ns), from the LATENCY event.
    pub(super) latency: u64,
    /// Decided at the first frame, and again when pads come and go.
    pub(super) live: Option<bool>,
    pub(super) physio_pads: BTreeMap<String, PhysioPad>,

    /// One for each physiology pad that has had caps.
    pub(super) sensors: BTreeMap<String, SharedSensor>,

    /// The hop that was requested last.
    pub(super) last_hop: u64,
    /// Grows whenever the windows start again: a flush, a jump of the timestamps.
    pub(super) generation: u64,
    pub(super) result: Option<Answered>,
    pub(super) traces: Option<(u64, Arc<PhysioTraceMeta>)>,
    pub(super) stats: Stats,
}

impl State {
    /// How many seconds of the film pass in a second of running time.
    pub(super) fn rate(&self) -> f64 {
        if self.rate > 0.0 { self.rate } else { 1.0 }
    }

    /// Running time (ns) at which the video's segment begins.
    pub(super) fn base(&self) -> u64 {
        let base = self.segment.as_ref().and_then(|s| s.base());
        base.map_or(0, ClockTime::nseconds)
    }

    /// Whether a pad that has come to `progress` is held back, when waiting.
    pub(super) fn holds_back(&self, progress: u64) -> bool {
        let now = self.video_time + self.hop;
        let next = (self.last_hop + 1) * self.hop;
        progress > now + AHEAD
            || (progress > now + NEAR_AHEAD
                && !self
                    .physio_pads
                    .values()
                    .any(|s| s.is_incomplete_before(next)))
    }

    /// The worker has failed and has posted why.
    pub(super) fn failed(&self) -> bool {
        let worker = self.worker.as_ref();
        worker.is_some_and(|w| w.phase() == Phase::Failed)
    }

    /// The hops up to `due` get no answer; a pad that was held back until then may go on.
    pub(super) fn pass_without(&mut self, due: u64, changed: &Condvar) {
        self.stats.skipped += due - self.last_hop.min(due);
        self.last_hop = self.last_hop.max(due);
        changed.notify_all();
    }

    /// Drops the answers so far; the next one is for hop `last` + 1.
    pub(super) fn restart_windows(&mut self, last: u64) {
        self.last_hop = last;
        self.result = None;
        self.traces = None;
        self.person = Person::default();
        self.generation += 1;
        if let Some(worker) = &self.worker {
            worker.restart();
        }
    }
}
