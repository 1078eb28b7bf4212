// SPDX-License-Identifier: MPL-2.0
//! The correction of timestamps from a sender's clock to the recorder's.

use std::collections::VecDeque;
use timing::robust::{Line, LineFit, Point, median};

/// A clock offset, as the recorder measured it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offset {
    /// When it was measured, seconds on the sender's clock.
    pub time: f64,
    /// Seconds to add to the sender's timestamps.
    pub value: f64,
}

/// The timestamp on the recorder's clock: `stamp` plus the offset that `line` has there.
fn corrected(line: &Line, stamp: f64) -> f64 {
    stamp + line.at(stamp)
}

/// Residuals above this, seconds, count linearly instead of by their square (Huber's loss).
const HUBER: f64 = 1e-4;

/// The line through `offsets` that minimises Huber's loss; `None` without offsets.
fn fit(offsets: &[Offset]) -> Option<Line> {
    let first = offsets.first()?.time;
    let mean = offsets.iter().map(|o| o.time - first).sum::<f64>() / offsets.len() as f64 + first;
    let fit = LineFit {
        usual_slope: f64::INFINITY,
        largest_slope: f64::INFINITY,
        rounds: 500,
        still: 1e-9,
    };
    let point = |o: &Offset| Point {
        time: o.time,
        value: o.value,
        sigma: HUBER,
    };
    fit.fit(mean, offsets.iter().map(point))
}

/// For each of `steps`, whether it differs from their median by more than `least` seconds and
/// by more than `times` the median of these differences.
fn glitches(steps: &[f64], least: f64, times: f64) -> Vec<bool> {
    let middle = median(&mut steps.to_vec()).unwrap_or(0.0);
    let mut off: Vec<f64> = steps.iter().map(|s| (s - middle).abs()).collect();
    let scatter = median(&mut off.clone()).unwrap_or(0.0) + f64::EPSILON;
    off.iter_mut()
        .map(|o| *o > least && *o / scatter > times)
        .collect()
}

/// A clock segment: the time between two resets of the sender's clock.
#[derive(Debug, Clone, PartialEq)]
struct Segment {
    /// Sender's time of the first and of the last offset.
    start: f64,
    end: f64,
    /// The offset over the sender's time.
    line: Line,
}

/// Corrects the timestamps of one stream when all its offsets are known.
///
/// The clock may have been reset in between. A clock segment ends where the time of measurement
/// steps back, or where the offset jumps by more than 1 s after more than 5 s without a
/// measurement. Each segment has a line of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Corrector {
    segments: Vec<Segment>,
    current: usize,
}

impl Corrector {
    /// `offsets` are all those of the stream, in the order of the file. Without any,
    /// timestamps stay as they are.
    pub fn new(offsets: &[Offset]) -> Self {
        let steps = |f: fn(&Offset) -> f64| -> Vec<f64> {
            offsets.windows(2).map(|w| f(&w[1]) - f(&w[0])).collect()
        };
        let times = steps(|o| o.time);
        let holes = glitches(&times, 5.0, 5.0);
        let jumps = glitches(&steps(|o| o.value), 1.0, 10.0);
        let mut segments = Vec::new();
        let mut from = 0;
        for i in 0..offsets.len() {
            let last = i + 1 == offsets.len();
            if last || times[i] < 0.0 || (holes[i] && jumps[i]) {
                let part = &offsets[from..=i];
                if let Some(line) = fit(part) {
                    segments.push(Segment {
                        start: part[0].time,
                        end: part[part.len() - 1].time,
                        line,
                    });
                }
                from = i + 1;
            }
        }
        Self {
            segments,
            current: 0,
        }
    }

    /// Whether there were offsets.
    pub fn known(&self) -> bool {
        !self.segments.is_empty()
    }

    /// How often the sender's clock was reset.
    pub fn resets(&self) -> usize {
        self.segments.len().saturating_sub(1)
    }

    /// By how many seconds the offset grows in a second, in the longest clock segment; `None`
    /// where all segments are shorter than `least` seconds.
    pub fn drift(&self, least: f64) -> Option<f64> {
        let length = |s: &&Segment| s.end - s.start;
        let longest = self.segments.iter().filter(|s| length(s) >= least);
        let longest = longest.max_by(|a, b| length(a).total_cmp(&length(b)));
        longest.map(|s| s.line.slope)
    }

    /// The time on the recorder's clock, seconds, of a timestamp of the sender's clock.
    ///
    /// Timestamps have to come in the order of the file: one that is nearer to the beginning of
    /// the next clock segment than to the end of this one ends the segment.
    pub fn correct(&mut self, stamp: f64) -> f64 {
        let (time, current) = self.look(stamp);
        self.current = current;
        time
    }

    /// What [`Corrector::correct`] would give, and the clock segment that it would go on
    /// with.
    pub fn look(&self, stamp: f64) -> (f64, usize) {
        let mut current = self.current;
        while let [segment, next, ..] = &self.segments[current.min(self.segments.len())..]
            && (stamp - segment.end).abs() >= (stamp - next.start).abs()
        {
            current += 1;
        }
        let time = match self.segments.get(current) {
            Some(segment) => corrected(&segment.line, stamp),
            None => stamp,
        };
        (time, current)
    }

    /// Index of the clock segment that is being read, for [`Corrector::set_current`].
    pub fn current(&self) -> usize {
        self.current
    }

    /// Goes to the clock segment `current`: when reading goes on at another place of the file,
    /// set what [`Corrector::current`] gave there.
    pub fn set_current(&mut self, current: usize) {
        self.current = current;
    }
}

/// Corrects the timestamps of one stream by the offsets before them in the file, for a
/// recording that cannot be read twice.
#[derive(Debug, Clone, Default)]
pub struct Causal {
    recent: VecDeque<Offset>,
    line: Option<Line>,
}

/// Offsets that the line goes through: two minutes, as LabRecorder measures every 5 s.
const RECENT: usize = 24;
/// With fewer offsets the slope is 0.
const ENOUGH: usize = 4;
/// An offset further than this, seconds, from the line means that the clock was reset.
const RESET: f64 = 1.0;

impl Causal {
    /// Takes a measurement; true if it shows that the sender's clock was reset: its time steps
    /// back, or its value is more than 1 s off. The earlier measurements are then dropped.
    pub fn measure(&mut self, offset: Offset) -> bool {
        let reset = self
            .recent
            .back()
            .is_some_and(|last| offset.time < last.time)
            || self.line.is_some_and(|line| {
                let expected = line.at(offset.time);
                (offset.value - expected).abs() > RESET
            });
        if reset {
            self.recent.clear();
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(offset);
        let recent = self.recent.make_contiguous();
        self.line = fit(recent);
        if recent.len() < ENOUGH
            && let Some(line) = &mut self.line
        {
            line.slope = 0.0;
        }
        reset
    }

    /// Whether there has been a measurement.
    pub fn known(&self) -> bool {
        self.line.is_some()
    }

    /// The time on the recorder's clock, seconds; `stamp` itself before the first measurement.
    pub fn correct(&self, stamp: f64) -> f64 {
        self.line.map_or(stamp, |line| corrected(&line, stamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(from: usize, to: usize, value: impl Fn(f64) -> f64) -> Vec<Offset> {
        (from..to)
            .map(|i| i as f64 * 5.0)
            .map(|time| Offset {
                time,
                value: value(time),
            })
            .collect()
    }

    #[test]
    fn drift_is_followed_and_outliers_are_not() {
        let mut all = offsets(200_000, 200_100, |t| -1000.0 + 1e-4 * (t - 1e6));
        all[7].value += 0.4;
        all[60].value -= 3.0;
        let line = fit(&all).expect("a line");
        for t in [1e6, 1e6 + 250.0, 1e6 + 500.0] {
            let right = t - 1000.0 + 1e-4 * (t - 1e6);
            assert!((corrected(&line, t) - right).abs() < 2e-5, "{t}");
        }
        assert_eq!(fit(&[]), None);
        let one = fit(&all[..1]).expect("a point");
        assert_eq!(corrected(&one, 1e6), 1e6 - 1000.0);
    }

    #[test]
    fn a_clock_reset_is_known_by_the_timestamps() {
        let mut all = offsets(100, 120, |_| 10.0);
        all.extend(offsets(1, 20, |_| 700.0));
        let mut c = Corrector::new(&all);
        assert_eq!(c.resets(), 1);
        assert_eq!(c.correct(590.0), 600.0);
        assert_eq!(c.correct(6.0), 706.0);
        assert_eq!(c.correct(95.0), 795.0);
        // Forwards: a hole and a jump.
        let mut all = offsets(0, 20, |_| 10.0);
        all.extend(offsets(100, 120, |_| -300.0));
        let mut c = Corrector::new(&all);
        assert_eq!(c.resets(), 1);
        assert_eq!(c.correct(95.0), 105.0);
        assert_eq!(c.correct(500.0), 200.0);
        // A hole alone is no reset.
        let mut all = offsets(0, 20, |_| 10.0);
        all.extend(offsets(100, 120, |_| 10.01));
        assert_eq!(Corrector::new(&all).resets(), 0);
        let drifting = offsets(0, 20, |t| 3.0 + 5e-5 * t);
        let drift = Corrector::new(&drifting).drift(10.0).expect("long enough");
        assert!((drift - 5e-5).abs() < 1e-9, "{drift}");
        assert_eq!(Corrector::new(&drifting[..2]).drift(10.0), None);
        assert_eq!(Corrector::new(&[]).correct(3.0), 3.0);
    }

    #[test]
    fn the_causal_correction_uses_earlier_offsets_only() {
        let mut c = Causal::default();
        assert!(!c.known());
        assert_eq!(c.correct(1.0), 1.0);
        for o in offsets(0, 20, |t| 5000.0 + 1e-4 * t) {
            assert!(!c.measure(o));
        }
        assert!((c.correct(97.0) - (5097.0 + 97e-4)).abs() < 1e-6);
        assert!(c.measure(Offset {
            time: 1.0,
            value: 6000.0
        }));
        assert_eq!(c.correct(2.0), 6002.0);
    }
}
