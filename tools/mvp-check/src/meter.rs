// SPDX-License-Identifier: MPL-2.0
//! Rate, gaps and jitter of a stream, from its timestamps.

use std::collections::VecDeque;
use timing::robust::median;
use timing::{Dejitter, Smoothed, Spacing};
use xdf::plausible;

/// Samples from which the usual interval is estimated, and the distance of those compared:
/// packets share timestamps.
const FIRST: usize = 512;
const TOGETHER: usize = 16;
/// A rate that is so far from the declared one takes its place.
const OTHER: f64 = 1.3;
/// So many sample intervals between two samples are a gap.
const GAP: f64 = 1.5;
/// No stream of LSL is faster, seconds per sample.
const SHORTEST: f64 = 1e-6;
/// The most that one timestamp adds to the jitter, seconds.
const LARGEST_JITTER: f64 = 1.0;

/// Watches the timestamps of one stream.
pub(crate) struct Meter {
    /// Samples per second of a stream that declares them.
    rate: Option<f64>,
    smooth: bool,
    /// Until the usual interval is known.
    first: Vec<(f64, u32)>,
    dejitter: Option<Dejitter>,
    spacing: Option<Spacing>,
    /// Strays since the last timestamp that was taken.
    strays: u32,
    /// Timestamps inside the dejitter with the strays before them, and those that left it.
    raws: VecDeque<(f64, u32)>,
    ready: Vec<Smoothed>,
    last: Option<f64>,
    steps: u64,
    seconds: f64,
    jitters: u64,
    moved: f64,
    pub(crate) gaps: u64,
    pub(crate) lost: u64,
    pub(crate) longest: f64,
}

impl Meter {
    /// `rate`: declared samples per second of a regular stream. `smooth`: take jitter off.
    pub(crate) fn new(rate: Option<f64>, smooth: bool) -> Self {
        Self {
            rate,
            smooth,
            first: Vec::new(),
            dejitter: None,
            spacing: rate.map(Spacing::new),
            strays: 0,
            raws: VecDeque::new(),
            ready: Vec::new(),
            last: None,
            steps: 0,
            seconds: 0.0,
            jitters: 0,
            moved: 0.0,
            gaps: 0,
            lost: 0,
            longest: 0.0,
        }
    }

    /// Whether a rate is declared and events are sent.
    pub(crate) fn is_irregular(&self) -> bool {
        self.spacing.as_ref().is_some_and(Spacing::is_irregular)
    }

    /// The next sample is there, and its timestamp is wrong.
    pub(crate) fn stray(&mut self) {
        self.strays += 1;
    }

    /// Takes the next timestamp, seconds on the sender's clock.
    pub(crate) fn push(&mut self, stamp: f64) {
        if let Some(spacing) = &mut self.spacing {
            spacing.push(stamp);
        }
        if self.rate.is_none() {
            return;
        }
        let strays = std::mem::take(&mut self.strays);
        if self.dejitter.is_some() || !self.smooth {
            return self.smooth(stamp, strays);
        }
        self.first.push((stamp, strays));
        if self.first.len() == FIRST {
            self.begin();
        }
    }

    /// The usual interval is known as well as it will be.
    fn begin(&mut self) {
        let Some(declared) = self.rate else { return };
        let apart = TOGETHER.min(self.first.len().saturating_sub(1)).max(1);
        let pairs = self.first.iter().zip(self.first.iter().skip(apart));
        let mut intervals: Vec<f64> = pairs.map(|(a, b)| (b.0 - a.0) / apart as f64).collect();
        let usual = median(&mut intervals).filter(|i| *i > 0.0 && i.is_finite());
        let rate = match usual {
            Some(i) if !(1.0 / OTHER..OTHER).contains(&(i * declared)) => 1.0 / i,
            _ => declared,
        };
        self.dejitter = Some(Dejitter::new(rate));
        for (stamp, strays) in std::mem::take(&mut self.first) {
            self.smooth(stamp, strays);
        }
    }

    fn smooth(&mut self, stamp: f64, strays: u32) {
        self.raws.push_back((stamp, strays));
        if let Some(dejitter) = &mut self.dejitter
            && strays > 0
        {
            dejitter.skip(strays as usize, stamp);
        }
        match &mut self.dejitter {
            // When it came is not in the recording; most timestamps say it.
            Some(dejitter) => dejitter.push(stamp, stamp, &mut self.ready),
            None => self.ready.push(Smoothed {
                stamp,
                arrival: stamp,
                discont: false,
            }),
        }
    }

    fn interval(&self) -> Option<f64> {
        match &self.dejitter {
            Some(dejitter) => Some(dejitter.interval()),
            None => self.rate.map(|r| 1.0 / r),
        }
    }

    /// Counts what is ready; `time` puts it on the recorder's clock.
    pub(crate) fn place(&mut self, mut time: impl FnMut(f64) -> f64) {
        let Some(interval) = self.interval() else {
            return;
        };
        let interval = interval.max(SHORTEST);
        for smoothed in std::mem::take(&mut self.ready) {
            let (raw, strays) = self.raws.pop_front().unwrap_or((smoothed.stamp, 0));
            if self.dejitter.is_some() {
                self.jitters += 1;
                self.moved += (raw - smoothed.stamp).abs().min(LARGEST_JITTER);
            }
            // What no clock says is no gap.
            let Some(time) = plausible(time(smoothed.stamp)) else {
                continue;
            };
            if let Some(last) = self.last.replace(time) {
                self.step(time - last - f64::from(strays) * interval, interval);
            }
        }
    }

    fn step(&mut self, step: f64, interval: f64) {
        if step > GAP * interval {
            self.gaps += 1;
            let lost = ((step / interval).round() as u64).saturating_sub(1);
            self.lost = self.lost.saturating_add(lost);
            self.longest = self.longest.max(step - interval);
        } else if step > -interval {
            self.steps += 1;
            self.seconds += step;
        }
    }

    /// The end, or samples of another clock follow: how long was nothing is not known then.
    pub(crate) fn finish(&mut self, time: impl FnMut(f64) -> f64) {
        if !self.first.is_empty() {
            self.begin();
        }
        if let Some(dejitter) = &mut self.dejitter {
            dejitter.flush(&mut self.ready);
        }
        self.place(time);
        self.dejitter = None;
        self.last = None;
    }

    /// Samples per second between gaps.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.rate?;
        (self.steps > 0 && self.seconds > 0.0).then(|| self.steps as f64 / self.seconds)
    }

    /// Seconds by which timestamps were moved, on the average.
    pub(crate) fn jitter(&self) -> Option<f64> {
        (self.jitters > 0).then(|| self.moved / self.jitters as f64)
    }
}
