// SPDX-License-Identifier: MPL-2.0
//! What the streaming threads of the element share.

use super::pace::Pace;
use super::physio::Stream;
use super::seek;
use super::worker::{Answered, Shared, Worker};
use crate::common::Sync;
use crate::meta::{PhysioTraceMeta, UnitOrder};
use gst::ClockTime;
use gst::prelude::*;
use gst_common::Phase;
use mvp::Inputs;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far physiology may run ahead of video before its pad holds it back, when waiting.
pub(super) const AHEAD: u64 = 10_000_000_000;
/// The same while no pad misses anything for the next answer: one demuxer may feed several
/// pads, and has to get past the samples of one to those of another.
const NEAR_AHEAD: u64 = 2_000_000_000;

/// One physiology pad, as the video side sees it.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) pad: Option<gst::Pad>,
    pub(super) segment: Option<gst::FormattedSegment<ClockTime>>,
    pub(super) stream: Option<Stream>,
    /// Running time (ns) up to which everything has come.
    pub(super) progress: u64,
    /// Running time (ns) up to which nothing that comes changes what the network gets.
    pub(super) settled: u64,
    pub(super) eos: bool,
    pub(super) flushing: bool,
    /// The seek or flush that the pad was flushed by last.
    pub(super) flushed: Option<gst::Seqnum>,
    /// What comes is of before a seek, and left out until the pad is flushed.
    pub(super) void: bool,
    /// A segment has come: what feeds the pad is there.
    pub(super) met: bool,
    pub(super) samples: u64,
}

impl Side {
    /// Forgets what has come, not whose it is.
    pub(super) fn restart(&mut self) {
        *self = Self {
            pad: self.pad.take(),
            stream: self.stream.take(),
            met: self.met,
            ..Self::default()
        };
    }

    pub(super) fn is_linked(&self) -> bool {
        self.pad.as_ref().is_some_and(|p| p.is_linked())
    }

    /// Whether what comes next bears on the time before `end`. How much of it has come
    /// already is chance, and an answer must not depend on that.
    pub(super) fn owes(&self, end: u64) -> bool {
        (self.void || (!self.eos && self.settled < end && self.progress < end + AHEAD))
            && self.is_linked()
    }
}

/// What a seek has to put back if it fails.
pub(super) struct Before {
    /// Last hop and the video's time.
    pub(super) hops: (u64, u64),
    /// Another sink's branch was faster, and what it brought may be lost.
    pub(super) spoilt: bool,
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) frames: u64,
    pub(super) stray: u64,
    pub(super) jumps: u32,
    /// Hops that nobody was asked for, because frames were late or far apart.
    pub(super) skipped: u64,
}

#[derive(Default)]
pub(super) struct State {
    /// Between READY→PAUSED and PAUSED→READY.
    pub(super) running: bool,
    pub(super) inputs: Option<Arc<Inputs>>,
    /// The face units that the network takes.
    pub(super) units: Option<Arc<UnitOrder>>,
    /// Length of a hop in nanoseconds.
    pub(super) hop: u64,
    pub(super) settle: u64,
    pub(super) trace: ClockTime,
    pub(super) wait_for_model: bool,
    pub(super) sync: Sync,
    pub(super) worker: Option<Arc<Worker>>,
    /// What the worker tells.
    pub(super) shared: Arc<Shared>,

    pub(super) segment: Option<gst::FormattedSegment<ClockTime>>,
    pub(super) video_flushing: bool,
    pub(super) video_eos: bool,
    /// As in [`Side`].
    pub(super) video_flushed: Option<gst::Seqnum>,
    pub(super) video_void: bool,
    /// The last seek, and whether it was followed.
    pub(super) seek: Option<(gst::Seqnum, bool)>,
    /// The last seek that was followed, for pads that come later, or why they cannot.
    pub(super) led: Option<(gst::Seqnum, Result<seek::Wanted, String>)>,
    /// Pads are being sought: one after the other, as one demuxer may feed several.
    pub(super) leading: bool,
    pub(super) video_time: u64,
    pub(super) pace: Pace,
    /// From capture to display, as the pipeline has told.
    pub(super) latency: u64,
    /// Decided at the first frame, and again when pads come and go.
    pub(super) live: Option<bool>,
    pub(super) sides: BTreeMap<String, Side>,

    /// The hop that was asked for last.
    pub(super) last_hop: u64,
    /// Grows with every new time line.
    pub(super) generation: u64,
    pub(super) result: Option<Answered>,
    pub(super) traces: Option<(u64, Arc<PhysioTraceMeta>)>,
    pub(super) stats: Stats,
}

impl State {
    /// Whether a pad that has come to `progress` is held back, when waiting.
    pub(super) fn holds_back(&self, progress: u64) -> bool {
        let now = self.video_time + self.hop;
        let next = (self.last_hop + 1) * self.hop;
        progress > now + AHEAD
            || (progress > now + NEAR_AHEAD && !self.sides.values().any(|s| s.owes(next)))
    }

    /// The worker has failed, and said why.
    pub(super) fn failed(&self) -> bool {
        let worker = self.worker.as_ref();
        worker.is_some_and(|w| w.phase() == Phase::Failed)
    }

    /// Forgets the answers of another time line; the next is to be that of hop `last` + 1.
    pub(super) fn begin_anew(&mut self, last: u64) {
        self.last_hop = last;
        self.result = None;
        self.traces = None;
        self.generation += 1;
        if let Some(worker) = &self.worker {
            worker.restart();
        }
    }
}
