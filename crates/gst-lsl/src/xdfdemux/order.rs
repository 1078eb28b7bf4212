// SPDX-License-Identifier: MPL-2.0
//! Push mode: samples wait until those of the other streams have come.
//!
//! A stream that cannot be read anywhere is played as it comes. Recorders write their streams
//! side by side; converters and merged recordings have blocks of one stream after blocks of
//! another. What waits here is bounded in bytes and in seconds. Timestamps are examined as they
//! come, by the same rules as those of a file.

use super::cursor::split;
use std::collections::VecDeque;
use std::sync::Arc;
use stream_info::{Description, Format};
use xdf::{Causal, Corrector, Examined, Examiner, Finding, Offset, Placer, Values, plausible};

/// Samples wait at most so long, seconds of their stream.
pub(super) const MOST_SECONDS: f64 = 60.0;
/// A stream is at most this far, seconds, ahead of the one that is furthest behind.
const AHEAD: f64 = 0.25;
/// Samples that are further behind others, seconds, than this are late; events are sent late
/// by some devices.
const LATE: f64 = 2.0;
const EVENT_LATE: f64 = 15.0;
/// The newest sample is so far from the latest clock offset, seconds, where both are of one
/// clock and the file is in the order of time.
const NEAR: f64 = 60.0;

/// New clocks of a stream each of which is fitted at once.
const MOST_RESETS: usize = 100;

/// Samples as they were read.
struct Chunk {
    /// Number of the first sample.
    first: u64,
    stamps: Vec<f64>,
    values: Values,
}

/// What of one recorded stream waits.
pub(super) struct Queue {
    /// Seconds per sample; `None` for events.
    interval: Option<f64>,
    /// By how much the device stamps late, seconds.
    delay: f64,
    examiner: Examiner,
    /// Timestamps that are examined once their clock is known, or playing begins.
    unexamined: Vec<f64>,
    begun: bool,
    offsets: Vec<Offset>,
    /// How many of them the last fit took, and how many began a new clock.
    fitted: usize,
    resets: usize,
    causal: Causal,
    /// Offsets that were read after so many samples, and may be of another clock than those.
    due: VecDeque<(u64, Offset)>,
    placer: Placer,
    learned: Option<[usize; 4]>,
    examined: Arc<Examined>,
    chunks: VecDeque<Chunk>,
    /// Times of the next samples, seconds on the recorder's clock.
    times: VecDeque<f64>,
    samples: u64,
    waiting: usize,
    /// Nothing more decides on the samples that wait.
    forced: bool,
    /// Others do not wait for this one, until it comes again.
    pub(super) absent: bool,
    pub(super) late_told: bool,
    /// It is of another clock, and nothing tells of which: it is left out.
    refused: bool,
    /// What was told of its timestamps: kinds, and strays.
    told: (usize, u64),
}

/// Samples that are next.
pub(super) struct Piece {
    pub(super) stream: usize,
    pub(super) stamps: Vec<f64>,
    pub(super) values: Values,
    /// By how much it is behind what was played, seconds, if it is too late.
    pub(super) late: Option<f64>,
}

/// What samples take, bytes.
pub(super) fn size(stamps: &[f64], values: &Values) -> usize {
    8 * stamps.len()
        + match values {
            Values::Numbers(n) => n.len(),
            Values::Texts(t) => t.iter().map(|t| t.len() + 24).sum(),
        }
}

impl Queue {
    pub(super) fn new(d: &Description) -> Self {
        let regular = d.rate.is_regular() && d.format != Some(Format::Text);
        let interval = regular.then(|| 1.0 / d.rate.hz());
        let examined = Arc::new(Examined::unexamined());
        Self {
            interval,
            delay: d.offset_mean.unwrap_or(0.0),
            examiner: Examiner::new(interval, Corrector::default(), None),
            unexamined: Vec::new(),
            begun: false,
            offsets: Vec::new(),
            fitted: 0,
            resets: 0,
            causal: Causal::default(),
            due: VecDeque::new(),
            placer: Placer::new(examined.clone()),
            learned: None,
            examined,
            chunks: VecDeque::new(),
            times: VecDeque::new(),
            samples: 0,
            waiting: 0,
            forced: false,
            absent: false,
            late_told: false,
            refused: false,
            told: (0, 0),
        }
    }

    fn is_regular(&self) -> bool {
        self.interval.is_some() && !self.refused
    }

    /// Whether there were clock offsets of this stream.
    pub(super) fn has_offsets(&self) -> bool {
        !self.offsets.is_empty()
    }

    /// Leaves the stream out; gives the bytes that waited.
    pub(super) fn refuse(&mut self) -> usize {
        self.refused = true;
        self.times.clear();
        self.waiting = 0;
        let dropped = self.chunks.drain(..).map(|c| size(&c.stamps, &c.values));
        dropped.sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Takes samples; gives how many bytes more wait.
    pub(super) fn push(&mut self, stamps: Vec<f64>, values: Values) -> usize {
        if self.refused {
            return 0;
        }
        (self.absent, self.forced) = (false, false);
        let size = size(&stamps, &values);
        self.unexamined.extend(&stamps);
        if self.begun {
            self.examine();
        }
        let first = self.samples;
        self.samples += stamps.len() as u64;
        self.waiting += stamps.len();
        if !stamps.is_empty() {
            self.chunks.push_back(Chunk {
                first,
                stamps,
                values,
            });
        }
        size
    }

    fn examine(&mut self) {
        for stamp in self.unexamined.drain(..) {
            self.examiner.push(stamp);
        }
    }

    /// Playing begins: no clock is waited for.
    pub(super) fn begin(&mut self) {
        self.begun = true;
        self.examine();
    }

    /// Takes a clock offset of this stream. `span`: the first and the last time at which any
    /// offset was measured.
    pub(super) fn offset(&mut self, offset: Offset, span: Option<(f64, f64)>) {
        let goes_on = self
            .offsets
            .last()
            .is_none_or(|last| offset.time >= last.time && (offset.value - last.value).abs() < 1.0);
        self.offsets.push(offset);
        self.resets += usize::from(!goes_on);
        // A fit looks at all offsets: the more there are, the fewer fits, or a file of offsets
        // alone would take for ever.
        let new = self.offsets.len() - self.fitted;
        if new * 20 >= self.fitted || !goes_on && self.resets <= MOST_RESETS {
            self.fitted = self.offsets.len();
            self.examiner.learn(Corrector::new(&self.offsets), span);
        }
        self.begun = true;
        self.examine();
        self.examiner.mark(offset, true);
        // One of a new clock counts for what comes after it.
        let after = if goes_on && self.due.is_empty() {
            0
        } else {
            self.samples
        };
        self.due.push_back((after, offset));
    }

    /// Takes a clock offset of another stream.
    pub(super) fn mark(&mut self, offset: Offset) {
        self.examiner.mark(offset, false);
    }

    /// The offsets that count for the next sample and were not given before.
    pub(super) fn offsets_due(&mut self) -> Vec<Offset> {
        let next = self.chunks.front().map_or(self.samples, |c| c.first);
        let mut due = Vec::new();
        while let Some((after, offset)) = self.due.front().copied()
            && after <= next
        {
            self.due.pop_front();
            self.causal.measure(offset);
            due.push(offset);
        }
        due
    }

    /// What is known of the timestamps, if that is more than before.
    pub(super) fn learn(&mut self) -> Option<Arc<Examined>> {
        let version = self.examiner.version();
        if self.learned == Some(version) {
            return None;
        }
        self.learned = Some(version);
        self.placer.learn(self.examiner.so_far());
        self.examined = self.placer.examined();
        Some(self.examined.clone())
    }

    /// What is wrong with the timestamps, if that was not told. At the `end` all strays count.
    pub(super) fn news(&mut self, end: bool) -> Option<&[Finding]> {
        let findings = self.examined.findings();
        let strays = findings.iter().map(|f| match f {
            Finding::Strays { count, .. } => *count,
            _ => 0,
        });
        let now = (findings.len(), strays.sum());
        let more = now.0 > self.told.0 || end && now.1 > self.told.1;
        if more {
            self.told = now;
        }
        more.then_some(findings)
    }

    /// How long the samples wait that wait longest, seconds of the stream.
    fn seconds(&self) -> f64 {
        self.interval.map_or(0.0, |i| i * self.waiting as f64)
    }

    /// The time of the next sample, once it is decided.
    fn front(&mut self) -> Option<f64> {
        if self.times.is_empty() {
            let chunk = self.chunks.front()?;
            let decided = match self.forced || !self.is_regular() {
                true => self.samples,
                false => self.examiner.settled(),
            };
            let decided = decided.saturating_sub(chunk.first);
            let decided = usize::try_from(decided).unwrap_or(usize::MAX);
            self.placer.seek(chunk.first);
            let mut time = f64::NAN;
            for stamp in chunk.stamps.iter().take(decided) {
                let right = self.placer.take(*stamp);
                let own = right.map(|s| {
                    let other = self.placer.time(s);
                    other.unwrap_or_else(|| self.causal.correct(s)) - self.delay
                });
                time = own.and_then(plausible).unwrap_or(time);
                self.times.push_back(time);
            }
            // Wrong ones at the beginning wait for nothing.
            for time in self.times.iter_mut().take_while(|t| t.is_nan()) {
                *time = f64::NEG_INFINITY;
            }
        }
        self.times.front().copied()
    }

    /// The times of all that waits and is right, with the samples' values.
    pub(super) fn all(&mut self, mut each: impl FnMut(f64, &Values, usize)) {
        for chunk in &self.chunks {
            self.placer.seek(chunk.first);
            for (i, stamp) in chunk.stamps.iter().enumerate() {
                let Some(right) = self.placer.take(*stamp) else {
                    continue;
                };
                let other = self.placer.time(right);
                let time = other.unwrap_or_else(|| self.causal.correct(right)) - self.delay;
                if let Some(time) = plausible(time) {
                    each(time, &chunk.values, i);
                }
            }
        }
    }

    /// The first and the last time of what waits.
    pub(super) fn range(&mut self) -> Option<(f64, f64)> {
        let mut range: Option<(f64, f64)> = None;
        self.all(|time, _, _| {
            let (from, to) = range.unwrap_or((time, time));
            range = Some((from.min(time), to.max(time)));
        });
        range
    }

    fn take(&mut self, limit: f64) -> Option<(Vec<f64>, Values)> {
        let chunk = self.chunks.front_mut()?;
        let count = chunk.stamps.len();
        let n = self.times.iter().take_while(|t| **t <= limit).count();
        let n = n.max(1).min(count);
        let values = split(&mut chunk.values, n, count);
        let rest = chunk.stamps.split_off(n);
        let stamps = std::mem::replace(&mut chunk.stamps, rest);
        chunk.first += n as u64;
        self.times.drain(..n.min(self.times.len()));
        self.waiting = self.waiting.saturating_sub(n);
        if self.chunks.front().is_some_and(|c| c.stamps.is_empty()) {
            self.chunks.pop_front();
        }
        Some((stamps, values))
    }

    /// Whether time zero can be told: the clock is known, and the samples are of it.
    fn is_clear(&self) -> bool {
        let newest = self.chunks.back().and_then(|c| c.stamps.last());
        match (newest, self.offsets.last()) {
            (Some(stamp), Some(offset)) => {
                let apart = self.causal.correct(*stamp) - (offset.time + offset.value);
                apart.abs() < NEAR && (!self.is_regular() || self.examiner.settled() > 0)
            }
            (None, _) => !self.is_regular(),
            (_, None) => false,
        }
    }
}

/// Whether playing can begin: every stream's first samples are there and of a clock that is
/// known. `later`: 20 s were read, after which the clock of a stream need not be known.
/// `film`: the frames that tell time zero are there.
pub(super) fn may_begin(
    queues: &[Queue],
    bytes: usize,
    most: usize,
    later: bool,
    film: bool,
) -> bool {
    let there = |q: &Queue| !q.is_regular() || !q.is_empty();
    let some = queues.iter().any(|q| !q.is_empty());
    let clear = queues.iter().all(Queue::is_clear);
    let full = bytes > most || queues.iter().any(|q| q.seconds() > MOST_SECONDS);
    some && (full || film && (clear || later && queues.iter().all(there)))
}

/// The samples that are next; `None`: more has to come before. `bytes` wait, and `most` may.
/// `passed`: the latest time that was played. At the `end` nothing more comes.
pub(super) fn next(
    queues: &mut [Queue],
    (bytes, most): (usize, usize),
    passed: &mut f64,
    end: bool,
) -> Option<Piece> {
    loop {
        let (mut fronts, mut missing) = (Vec::new(), Vec::new());
        for (i, queue) in queues.iter_mut().enumerate() {
            queue.forced |= end;
            match queue.front() {
                Some(time) => fronts.push((time, i)),
                None if queue.is_regular() && !queue.absent => missing.push(i),
                None => {}
            }
        }
        fronts.sort_by(|a, b| a.0.total_cmp(&b.0));
        if !missing.is_empty() && !end {
            let long = queues.iter().any(|q| q.seconds() > MOST_SECONDS);
            if bytes <= most && !long {
                return None;
            }
            for i in missing {
                let queue = &mut queues[i];
                (queue.absent, queue.forced) = (queue.is_empty(), true);
            }
            continue;
        }
        let (time, stream) = *fronts.first()?;
        let limit = fronts.get(1).map_or(f64::INFINITY, |f| f.0);
        let limit = (limit + AHEAD).min(time + 1.0);
        let queue = &mut queues[stream];
        let (stamps, values) = queue.take(limit)?;
        let most_late = if queue.is_regular() { LATE } else { EVENT_LATE };
        let late = Some(*passed - time).filter(|l| l.is_finite() && *l > most_late);
        *passed = passed.max(time);
        return Some(Piece {
            stream,
            stamps,
            values,
            late,
        });
    }
}

impl Queue {
    /// Nothing of the stream that comes is earlier, seconds on the recorder's clock; `None`
    /// where nothing waits.
    pub(super) fn time(&self) -> Option<f64> {
        self.times.front().copied().filter(|t| t.is_finite())
    }
}
