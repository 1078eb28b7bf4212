// SPDX-License-Identifier: MPL-2.0
//! Which timestamps of a recorded stream can be right, and where the others belong.
//!
//! Whoever reads a recording knows what came after a timestamp, so nothing has to be
//! guessed from one sample:
//! - A timestamp far from those before it is a stray if the stream goes on where it was,
//!   and a step if it goes on from there.
//! - LabRecorder writes the clock offset of each stream every 5 s. An offset holds the
//!   recorder's time at which it was measured, so its place in the file says when the
//!   samples around it were written. Timestamps that lie elsewhere are of another clock.

use super::clock::{Corrector, Offset};
use std::sync::Arc;
use timing::robust::{Line, LineFit, Point, median};

/// A step of a regular stream up to this is jitter: seconds, and sample intervals.
const JITTER: f64 = 0.75;
const INTERVALS: f64 = 3.0;
/// The same of events: some are stamped when they began and sent later.
const EVENT_BEHIND: f64 = 10.0;
const EVENT_AHEAD: f64 = 600.0;
/// No event is of later than this many seconds after the last clock offset before it.
const EVENT_FUTURE: f64 = 15.0;
/// So many samples in a row show that a step lasts.
const LASTS: usize = 8;
const EVENTS_LAST: usize = 2;
/// Timestamps are of another clock when they are this far, seconds, ahead of the time at
/// which they were written, or behind it (what devices keep back is late, not wrong).
const AHEAD: f64 = 2.0;
const BEHIND: f64 = 60.0;
/// The same where only other streams have offsets.
const FAR: f64 = 600.0;
/// A new clock goes on one interval after the old one if the offsets say about the same,
/// seconds.
const ABOUT: f64 = 2.0;
/// Marks from which the rate of another clock is estimated: two minutes.
const DRIFT: usize = 24;
/// Samples that tell the unit of timestamps.
const UNIT: usize = 64;
/// No clock in seconds says more: about 3000 years. Milliseconds since 1970 do.
const SECONDS: f64 = 1e11;
/// Bounds of what is kept of one stream.
const MOST_RUNS: usize = 10_000;
const MOST_STRAYS: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Sample {
    n: u64,
    stamp: f64,
    time: f64,
}

/// When a sample was written.
#[derive(Debug, Clone, Copy)]
struct Mark {
    stamp: f64,
    time: f64,
    written: f64,
    /// The offset is one of the same stream.
    own: bool,
}

/// Samples without a step between them.
#[derive(Debug, Clone)]
struct Run {
    from: u64,
    first: Sample,
    last: Sample,
    /// Smallest and largest timestamp (in seconds) and time.
    stamps: (f64, f64),
    times: (f64, f64),
    marks: Vec<Mark>,
    marked: [Option<u64>; 2],
}

impl Run {
    fn new(s: Sample) -> Self {
        Self {
            from: s.n,
            first: s,
            last: s,
            stamps: (s.stamp, s.stamp),
            times: (s.time, s.time),
            marks: Vec::new(),
            marked: [None; 2],
        }
    }

    fn take(&mut self, s: Sample) {
        self.last = s;
        self.stamps = (self.stamps.0.min(s.stamp), self.stamps.1.max(s.stamp));
        self.times = (self.times.0.min(s.time), self.times.1.max(s.time));
    }

    /// The marks if they say when the samples were written: in a converted recording the
    /// place in the file says nothing, and time does not pass from mark to mark as it does
    /// from sample to sample.
    fn written(&self) -> Option<Vec<Mark>> {
        [true, false].into_iter().find_map(|own| {
            let marks: Vec<Mark> = (self.marks.iter().copied())
                .filter(|m| m.own || !own)
                .collect();
            let (a, b) = (marks.first()?, marks.last()?);
            let passed = (b.stamp - a.stamp) / (b.written - a.written);
            (0.5..2.0).contains(&passed).then_some(marks)
        })
    }
}

/// How a run of timestamps becomes times.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Map {
    /// By the clock offsets of the stream.
    Offsets,
    /// By what is subtracted.
    Other(Line),
}

#[derive(Debug, Clone, PartialEq)]
struct Piece {
    from: u64,
    map: Map,
}

/// By what the time of another clock was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The places of clock offsets among the samples: to about a second.
    Offsets,
    /// The stream goes on one interval after its last good sample.
    Continuity,
    /// The stream begins when the recording does.
    Start,
}

/// Something wrong with the timestamps of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// Single timestamps far from their neighbours, or none that is a number; the first is
    /// off by so many seconds. Their samples are dropped.
    Strays {
        /// How many there are.
        count: u64,
        /// By how much the first is off, seconds; NaN where it is no number.
        first: f64,
    },
    /// From a sample on, timestamps are of another clock, which is so many seconds ahead.
    OtherClock {
        /// Number of the first such sample in the stream, from 0.
        from: u64,
        /// Seconds by which that clock is ahead of the recorder's.
        ahead: f64,
        /// How that was found.
        means: Means,
    },
    /// Timestamps count so many units in a second.
    Unit(f64),
}

/// Looks at the timestamps of one stream in the order of the file.
#[derive(Debug, Clone)]
pub struct Examiner {
    interval: Option<f64>,
    span: Option<(f64, f64)>,
    corrector: Corrector,
    /// Timestamps of the first samples, until their unit is known; then units in a second.
    first: Vec<f64>,
    unit: Option<f64>,
    n: u64,
    pending: Vec<Sample>,
    strays: Vec<u64>,
    stray_count: u64,
    stray_off: f64,
    runs: Vec<Run>,
    written: Option<f64>,
}

impl Examiner {
    /// `interval`: seconds per sample of a regular stream. `corrector`: of all offsets of
    /// the stream.
    ///
    /// `span`: first and last time on the recorder's clock at which any offset of the recording
    /// was measured.
    pub fn new(interval: Option<f64>, corrector: Corrector, span: Option<(f64, f64)>) -> Self {
        Self {
            interval,
            span,
            corrector,
            first: Vec::new(),
            unit: None,
            n: 0,
            pending: Vec::new(),
            strays: Vec::new(),
            stray_count: 0,
            stray_off: 0.0,
            runs: Vec::new(),
            written: None,
        }
    }

    /// The samples so far were written before `offset` was measured; `own`: it is one of
    /// this stream.
    pub fn mark(&mut self, offset: Offset, own: bool) {
        let written = offset.time + offset.value;
        self.written = Some(written);
        let Some(run) = self.runs.last_mut() else {
            return;
        };
        // One mark for what is new.
        if run.marked[usize::from(own)] != Some(run.last.n) {
            run.marked[usize::from(own)] = Some(run.last.n);
            run.marks.push(Mark {
                stamp: run.last.stamp,
                time: run.last.time,
                written,
                own,
            });
        }
    }

    /// Takes the timestamp of the next sample.
    pub fn push(&mut self, stamp: f64) {
        match self.unit {
            Some(unit) => self.take(stamp / unit),
            None => {
                self.first.push(stamp);
                let soon = self
                    .interval
                    .is_none_or(|i| self.first.len() as f64 * i > 4.0);
                if self.first.len() == UNIT || soon && self.first.len() > 4 {
                    self.find_unit();
                }
            }
        }
    }

    fn find_unit(&mut self) {
        let mut steps: Vec<f64> = self.first.windows(2).map(|w| w[1] - w[0]).collect();
        steps.retain(|s| s.is_finite());
        let mut size: Vec<f64> = self.first.iter().map(|s| s.abs()).collect();
        size.retain(|s| s.is_finite());
        let large = median(&mut size).is_some_and(|s| s > SECONDS);
        let mean = match (steps.len(), self.first.as_slice()) {
            // Packets share timestamps: the middle step may be 0.
            (1.., [a, .., b]) => (b - a) / (self.first.len() - 1) as f64,
            _ => f64::NAN,
        };
        let usual = median(&mut steps).filter(|s| *s > 0.0).unwrap_or(mean);
        let is = |unit: f64| match self.interval {
            Some(interval) => (0.8..1.25).contains(&(usual / interval / unit)),
            None => large && median(&mut size.clone()).is_some_and(|s| s / unit < SECONDS),
        };
        // A slow stream that declares a high rate has timestamps in seconds all the same: they
        // are of the time of the recording.
        let ends = [self.first.first(), self.first.last()]
            .into_iter()
            .flatten();
        let seconds = self.span.is_some_and(|(from, to)| {
            ends.map(|s| self.corrector.look(*s).0)
                .all(|t| t > from - FAR && t < to + FAR)
        });
        let unit = [1e3, 1e6, 1e9].into_iter().find(|unit| is(*unit));
        let unit = unit.filter(|_| !seconds).unwrap_or(1.0);
        self.unit = Some(unit);
        for stamp in std::mem::take(&mut self.first) {
            self.take(stamp / unit);
        }
    }

    fn behind(&self) -> f64 {
        let regular = self.interval.map(|i| JITTER.max(INTERVALS * i));
        regular.unwrap_or(EVENT_BEHIND)
    }

    /// Whether `time` can follow on the last good sample, with `between` others between.
    fn fits(&self, time: f64, between: usize) -> bool {
        let Some(last) = self.runs.last().map(|r| r.last.time) else {
            return false;
        };
        let ahead = match self.interval {
            Some(interval) => self.behind() + interval * between as f64,
            None => EVENT_AHEAD,
        };
        let step = time - last;
        step >= -self.behind() && step <= ahead && !self.of_the_future(time)
    }

    fn of_the_future(&self, time: f64) -> bool {
        self.interval.is_none() && self.written.is_some_and(|w| time > w + EVENT_FUTURE)
    }

    fn take(&mut self, stamp: f64) {
        let n = self.n;
        self.n += 1;
        if !stamp.is_finite() {
            return self.stray(n, f64::NAN);
        }
        let time = match self.unit {
            Some(1.0) => self.corrector.look(stamp).0,
            _ => stamp,
        };
        let sample = Sample { n, stamp, time };
        if self.pending.is_empty() && self.fits(time, 0) {
            return self.accept(sample, false);
        }
        self.pending.push(sample);
        self.settle(false);
    }

    /// Decides on samples that do not fit, as far as those after them tell.
    fn settle(&mut self, end: bool) {
        // The stream goes on where it was: what is between was stray.
        while let Some(k) = (0..self.pending.len()).find(|k| self.fits(self.pending[*k].time, *k)) {
            for s in self.pending.drain(..=k).collect::<Vec<_>>() {
                if self.fits(s.time, k) {
                    self.accept(s, false);
                } else {
                    self.stray_sample(s);
                }
            }
        }
        let behind = self.behind();
        let times: Vec<f64> = self.pending.iter().map(|s| s.time).collect();
        // At the beginning nothing else says which of two parts is right.
        let beginning = self.runs.is_empty() && self.interval.is_some();
        let apart = beginning && !end && self.pending.len() < UNIT;
        let ahead = behind + self.interval.unwrap_or(0.0);
        let back = |w: &[f64]| w[1] < w[0] - behind || apart && w[1] > w[0] + ahead;
        let lasting = times.windows(2).rev().take_while(|w| !back(w)).count() + 1;
        let enough = match self.interval {
            Some(_) => LASTS,
            None => EVENTS_LAST,
        };
        if self.pending.is_empty() || lasting < enough && !end {
            return;
        }
        let rest = self.pending.split_off(self.pending.len() - lasting);
        let strays = std::mem::replace(&mut self.pending, rest);
        let begin = self.pending[0];
        let last = self.runs.last().map(|r| r.last.time);
        // At the end there may be too few to tell.
        let doubtful = lasting < enough
            && match (last, self.written) {
                (None, _) => false,
                (Some(last), _) if begin.time < last - behind => true,
                (_, Some(w)) => !(w - BEHIND..=w + EVENT_FUTURE).contains(&begin.time),
                (Some(last), None) => !(last..last + EVENT_AHEAD).contains(&begin.time),
            };
        for s in strays {
            // The first ones, before anything was known to be good.
            let step = begin.time - s.time;
            let near = step > -behind
                && step < behind + self.interval.unwrap_or(EVENT_AHEAD) * (begin.n - s.n) as f64;
            if near && last.is_none_or(|last| s.time >= last - behind) {
                self.accept(s, false);
            } else {
                self.stray_sample(s);
            }
        }
        let backward = last.is_some_and(|last| begin.time < last - behind);
        for (i, s) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            match doubtful {
                true => self.stray_sample(s),
                false => self.accept(s, i == 0 && backward),
            }
        }
    }

    fn accept(&mut self, mut s: Sample, backward: bool) {
        if self.unit == Some(1.0) {
            s.time = self.corrector.correct(s.stamp);
        }
        let pause = match self.interval {
            Some(_) => self.behind(),
            None => EVENT_AHEAD,
        };
        let new = backward
            || self
                .runs
                .last()
                .is_none_or(|r| s.time - r.last.time > pause);
        let full = self.runs.len() == MOST_RUNS;
        match self.runs.last_mut() {
            Some(run) if !new || full => run.take(s),
            _ => self.runs.push(Run::new(s)),
        }
    }

    fn stray_sample(&mut self, s: Sample) {
        let last = self.runs.last().map_or(s.time, |r| r.last.time);
        self.stray(s.n, s.time - last);
    }

    fn stray(&mut self, n: u64, off: f64) {
        if self.stray_count == 0 {
            self.stray_off = off;
        }
        self.stray_count += 1;
        if self.strays.len() < MOST_STRAYS {
            self.strays.push(n);
        }
    }

    /// More clock offsets are known, as in [`Examiner::new`]: for a recording that cannot be
    /// read twice.
    pub fn learn(&mut self, mut corrector: Corrector, span: Option<(f64, f64)>) {
        corrector.set_current(self.corrector.current());
        (self.corrector, self.span) = (corrector, span);
    }

    /// So many samples are decided on: what comes after them changes nothing.
    pub fn settled(&self) -> u64 {
        match self.unit {
            Some(_) => self.n - self.pending.len() as u64,
            None => 0,
        }
    }

    /// Another value where [`Examiner::so_far`] may say more than before.
    pub fn version(&self) -> [usize; 4] {
        let marks = self.runs.last().map_or(0, |r| r.marks.len());
        let open = self.pending.len() + self.first.len();
        [self.runs.len(), self.stray_count as usize, marks, open]
    }

    /// What the samples so far show.
    pub fn so_far(&self) -> Examined {
        self.clone().finish()
    }

    /// What the whole stream shows.
    pub fn finish(mut self) -> Examined {
        if self.unit.is_none() {
            self.find_unit();
        }
        self.settle(true);
        self.strays.sort_unstable();
        let unit = self.unit.unwrap_or(1.0);
        let mut e = Examined {
            unit,
            pieces: Vec::new(),
            strays: std::mem::take(&mut self.strays),
            findings: Vec::new(),
            range: None,
        };
        if unit != 1.0 {
            e.findings.push(Finding::Unit(unit));
        }
        let mut end: Option<f64> = None;
        for run in &self.runs {
            let next = end.map(|end| end + self.interval.unwrap_or(0.0));
            let overlap = end.is_some_and(|end| run.times.0 < end - self.behind());
            let other = other_clock(run, unit, self.span, next, overlap);
            let (map, times) = match other {
                None => (Map::Offsets, run.times),
                Some((line, means)) => {
                    e.findings.push(Finding::OtherClock {
                        from: run.from,
                        ahead: line.at(run.first.stamp),
                        means,
                    });
                    let time = |stamp: f64| stamp - line.at(stamp);
                    (Map::Other(line), (time(run.stamps.0), time(run.stamps.1)))
                }
            };
            if e.pieces.last().is_none_or(|p| p.map != map) {
                let from = run.from;
                e.pieces.push(Piece { from, map });
            }
            end = Some(times.1);
            e.range = Some(match e.range {
                None => times,
                Some((a, b)) => (a.min(times.0), b.max(times.1)),
            });
        }
        if self.stray_count > 0 {
            e.findings.push(Finding::Strays {
                count: self.stray_count,
                first: self.stray_off,
            });
        }
        e
    }
}

/// What to subtract from the timestamps (in seconds) of a run of another clock. `next`:
/// when the stream goes on if nothing is missing between. `overlap`: it begins before that.
fn other_clock(
    run: &Run,
    unit: f64,
    span: Option<(f64, f64)>,
    next: Option<f64>,
    overlap: bool,
) -> Option<(Line, Means)> {
    let by = |value: f64| Line {
        origin: run.first.stamp,
        value,
        slope: 0.0,
    };
    let continuity = next.map(|next| run.first.stamp - next);
    let written = run.written();
    let wrong = match (&written, span) {
        (Some(marks), _) => {
            let off = marks.iter().map(|m| m.time - m.written);
            let (least, most) = off.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), off| {
                (a.min(off), b.max(off))
            });
            // The offsets of other streams may stand anywhere in a converted recording.
            let own = marks.iter().all(|m| m.own);
            let (ahead, behind) = if own { (AHEAD, BEHIND) } else { (FAR, FAR) };
            overlap || least > ahead || most < -behind
        }
        (None, Some((from, to))) => {
            overlap || run.times.1 < from - BEHIND || run.times.0 > to + BEHIND
        }
        (None, None) => overlap,
    };
    if !wrong && unit == 1.0 {
        return None;
    }
    if let Some(marks) = written {
        let line = latest(&marks);
        // Nothing is missing between, as far as the offsets can tell.
        let near = continuity.filter(|c| (c - line.at(run.first.stamp)).abs() < ABOUT);
        return Some(match near {
            Some(value) => (by(value), Means::Continuity),
            None => (line, Means::Offsets),
        });
    }
    match (continuity, span) {
        (Some(value), _) => Some((by(value), Means::Continuity)),
        (None, Some((from, _))) => Some((by(run.first.stamp - from), Means::Start)),
        // Nothing says where it belongs; a unit is known all the same.
        (None, None) => Some((by(0.0), Means::Start)).filter(|_| unit != 1.0),
    }
}

/// How far the timestamps are ahead of the recorder's clock at most: a sample is written
/// after it was taken.
fn latest(marks: &[Mark]) -> Line {
    let origin = marks[0].stamp;
    let point = |m: &Mark| Point {
        time: m.stamp,
        value: m.stamp - m.written,
        sigma: 0.25,
    };
    let fit = LineFit {
        usual_slope: f64::INFINITY,
        largest_slope: 1e-3,
        rounds: 100,
        still: 1e-6,
    };
    let drift = (marks.len() >= DRIFT)
        .then(|| fit.fit(origin, marks.iter().map(point)))
        .flatten();
    let mut line = drift.unwrap_or(Line {
        origin,
        value: origin - marks[0].written,
        slope: 0.0,
    });
    let above = marks.iter().map(|m| m.stamp - m.written - line.at(m.stamp));
    line.value += above.fold(f64::NEG_INFINITY, f64::max);
    line
}

/// What is known of the timestamps of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    unit: f64,
    pieces: Vec<Piece>,
    /// Samples of which the timestamps are wrong, in order.
    strays: Vec<u64>,
    findings: Vec<Finding>,
    range: Option<(f64, f64)>,
}

impl Examined {
    /// Everything is taken as it is: nothing was looked at.
    pub fn unexamined() -> Self {
        Self {
            unit: 1.0,
            pieces: Vec::new(),
            strays: Vec::new(),
            findings: Vec::new(),
            range: None,
        }
    }

    /// What is wrong, in the order of the file; strays last.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The first and the last time, seconds on the recorder's clock; `None` without
    /// samples.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }
}

/// Tells of each sample of one stream, in order, whether its timestamp is right.
#[derive(Debug, Clone)]
pub struct Placer {
    examined: Arc<Examined>,
    n: u64,
    piece: usize,
    stray: usize,
}

impl Placer {
    /// Begins with the first sample of the stream.
    pub fn new(examined: Arc<Examined>) -> Self {
        Self {
            examined,
            n: 0,
            piece: 0,
            stray: 0,
        }
    }

    /// The next sample is the `n`th.
    pub fn seek(&mut self, n: u64) {
        let e = &self.examined;
        self.n = n;
        self.piece = e.pieces.partition_point(|p| p.from <= n).saturating_sub(1);
        self.stray = e.strays.partition_point(|s| *s < n);
    }

    /// More is known than before. Clocks by which a time was told stay as they are: times do
    /// not jump because a clock is known better.
    pub fn learn(&mut self, mut examined: Examined) {
        let told = self.examined.pieces.iter().filter(|p| p.from < self.n);
        for old in told {
            if let Some(piece) = examined.pieces.iter_mut().find(|p| p.from == old.from) {
                piece.map = old.map;
            }
        }
        self.examined = Arc::new(examined);
        self.seek(self.n);
    }

    /// What is known.
    pub fn examined(&self) -> Arc<Examined> {
        self.examined.clone()
    }

    /// How many samples there are until timestamps of another clock begin.
    pub fn until_new_clock(&self) -> u64 {
        let next = self.examined.pieces.get(self.piece + 1);
        next.map_or(u64::MAX, |p| p.from.saturating_sub(self.n))
    }

    /// Takes the next sample: its timestamp in seconds, or `None` if it is wrong.
    pub fn take(&mut self, stamp: f64) -> Option<f64> {
        let n = self.n;
        self.n += 1;
        let e = &self.examined;
        if e.strays.get(self.stray) == Some(&n) {
            self.stray += 1;
            return None;
        }
        while e.pieces.get(self.piece + 1).is_some_and(|p| p.from <= n) {
            self.piece += 1;
        }
        stamp.is_finite().then_some(stamp / e.unit)
    }

    /// The time of a timestamp near the last that was taken, seconds on the recorder's
    /// clock; `None` where the clock offsets of the stream tell it.
    pub fn time(&self, stamp: f64) -> Option<f64> {
        match self.examined.pieces.get(self.piece).map(|p| p.map) {
            Some(Map::Other(line)) => Some(stamp - line.at(stamp)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
