// SPDX-License-Identifier: MPL-2.0
use super::{Measurement, Outcome, slew::Slew};
use std::collections::VecDeque;

/// The offset of a clock that cannot be asked: a line under the differences of arrival and
/// timestamp.
///
/// A difference is the clock offset plus a delay that is never negative. So the offset is a line
/// under all differences, as in the estimation of clock skew from one-way delays: a linear
/// programme (S. B. Moon, P. Skelly and D. Towsley, "Estimation and removal of clock skew from
/// network delay measurements", IEEE INFOCOM 1999), whose solution is an edge of the lower convex
/// hull (L. Zhang, Z. Liu and C. H. Xia, "Clock synchronization algorithms for network
/// measurements", IEEE INFOCOM 2002). The shortest delay cannot be told from an offset:
/// timestamps come out late by it.
///
/// The offset in use moves towards the line at a bounded speed.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    /// The smallest difference of each slice of time, and its arrival; begin of the last.
    slices: VecDeque<(f64, f64)>,
    begin: f64,
    line: Option<Support>,
    slew: Slew,
    /// The first difference, then the offset last used: what jumps are seen against.
    used: Option<f64>,
    pace: Pace,
}

/// `level` at `origin`, growing by `slope` per second.
#[derive(Debug, Clone, Copy)]
struct Support {
    origin: f64,
    level: f64,
    slope: f64,
}

impl Support {
    fn at(&self, arrival: f64) -> f64 {
        self.level + self.slope * (arrival - self.origin)
    }
}

const SLICE: f64 = 5.0;
const SLICES: usize = 24;
/// A difference that changes by more than this, seconds, is a clock reset.
const JUMP: f64 = 10.0;
/// Seconds of samples from which a slope is estimated; before, it is 0.
const DRIFT_SPAN: f64 = 30.0;
const LARGEST_DRIFT: f64 = 300e-6;
/// Seconds per second; slow enough that a slewed timestamp still grows.
const SLOWEST_SLEW: f64 = 2e-4;
const FASTEST_SLEW: f64 = 5e-3;

impl Envelope {
    /// Takes a timestamp and its arrival; tells of a clock reset.
    pub(crate) fn measure(&mut self, stamp: f64, arrival: f64) -> Outcome {
        let difference = arrival - stamp;
        let used = *self.used.get_or_insert(difference);
        let jumped = (difference - used).abs() > JUMP;
        if jumped {
            self.restart(arrival);
            self.used = Some(difference);
        }
        self.pace.push(stamp, arrival);
        let fresh = match self.slices.back_mut() {
            Some((at, least)) if arrival - self.begin < SLICE => {
                let lower = difference < *least;
                if lower {
                    (*at, *least) = (arrival, difference);
                }
                lower
            }
            _ => {
                if self.slices.len() == SLICES {
                    self.slices.pop_front();
                }
                self.begin = arrival;
                self.slices.push_back((arrival, difference));
                true
            }
        };
        if fresh {
            let before = self.line;
            let now = support(self.slices.make_contiguous());
            if let Some(before) = before {
                self.slew.target_moved(|t| before.at(t) - now.at(t));
            }
            self.line = Some(now);
        }
        if jumped {
            Outcome::Reset
        } else {
            Outcome::Taken
        }
    }

    /// A clock reset before the next sample.
    pub(crate) fn restart(&mut self, arrival: f64) {
        self.pace.jump(arrival);
        *self = Self {
            pace: std::mem::take(&mut self.pace),
            ..Self::default()
        };
    }

    /// Seconds to add to a timestamp that arrived at `arrival`.
    pub(crate) fn at(&mut self, arrival: f64) -> Option<f64> {
        let line = self.line?;
        let offset = line.at(arrival) + self.slew.at(arrival, SLOWEST_SLEW, FASTEST_SLEW);
        self.used = Some(offset);
        Some(offset)
    }

    /// The offset at the newest sample, of unknown uncertainty.
    pub(crate) fn now(&self) -> Option<Measurement> {
        let &(arrival, _) = self.slices.back()?;
        let offset = self.line?.at(arrival);
        Some(Measurement {
            offset,
            uncertainty: f64::INFINITY,
            at: arrival - offset,
        })
    }

    /// Seconds that the offset grows per second; `None` while the slope is 0.
    pub(crate) fn drift(&self) -> Option<f64> {
        self.line.filter(|line| line.slope != 0.0).map(|l| l.slope)
    }

    /// Whether the timestamps grow as fast as time. Those of a counter of samples or of
    /// milliseconds do not.
    pub(crate) fn is_a_clock(&self) -> bool {
        self.pace.wrong < PACE_WRONG && self.pace.quick_jumps < QUICK_JUMPS
    }
}

/// The line under all points with the least sum of distances to them: the edge of their lower
/// convex hull at the mean time of the points. The hull is built from left to right (A. M. Andrew,
/// 1979).
fn support(points: &[(f64, f64)]) -> Support {
    let (Some(&(first, _)), Some(&(last, _))) = (points.first(), points.last()) else {
        return Support {
            origin: 0.0,
            level: 0.0,
            slope: 0.0,
        };
    };
    let mut slope = 0.0;
    if last - first >= DRIFT_SPAN {
        let mut hull: Vec<(f64, f64)> = Vec::with_capacity(points.len());
        for &p in points {
            while let [.., a, b] = hull[..]
                && (b.1 - a.1) * (p.0 - a.0) >= (p.1 - a.1) * (b.0 - a.0)
            {
                hull.pop();
            }
            hull.push(p);
        }
        let middle = points.iter().map(|p| p.0 - first).sum::<f64>() / points.len() as f64 + first;
        let edge = hull.windows(2).find(|e| e[1].0 >= middle);
        if let Some([a, b]) = edge {
            slope = (b.1 - a.1) / (b.0 - a.0);
        }
        slope = slope.clamp(-LARGEST_DRIFT, LARGEST_DRIFT);
    }
    let level = points
        .iter()
        .map(|p| p.1 - slope * (p.0 - last))
        .fold(f64::INFINITY, f64::min);
    Support {
        origin: last,
        level,
        slope,
    }
}

/// Compares the growth of timestamps with that of arrivals, span by span.
#[derive(Debug, Default)]
struct Pace {
    /// Timestamp and arrival at the begin of the span.
    begin: Option<(f64, f64)>,
    /// Spans in a row that were wrong.
    wrong: u32,
    last_jump: Option<f64>,
    quick_jumps: u32,
}

/// Shortest span, seconds: longer than a packet.
const PACE_SPAN: f64 = 1.5;
/// Wrong spans in a row that mean a counter: one may be a burst of old samples.
const PACE_WRONG: u32 = 2;
const PACE_RANGE: std::ops::Range<f64> = 0.5..2.0;
/// Resets in a row, at most this many seconds apart, that mean a counter.
const QUICK_JUMPS: u32 = 2;
const QUICK: f64 = 5.0;

impl Pace {
    fn jump(&mut self, arrival: f64) {
        let quick = self.last_jump.is_some_and(|last| arrival - last < QUICK);
        self.quick_jumps = if quick { self.quick_jumps + 1 } else { 0 };
        self.last_jump = Some(arrival);
    }

    fn push(&mut self, stamp: f64, arrival: f64) {
        let (stamp0, arrival0) = *self.begin.get_or_insert((stamp, arrival));
        let span = arrival - arrival0;
        if span < PACE_SPAN {
            return;
        }
        self.begin = Some((stamp, arrival));
        if PACE_RANGE.contains(&((stamp - stamp0) / span)) {
            self.wrong = 0;
        } else {
            self.wrong += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use proptest::prelude::*;

    #[test]
    fn finds_the_fastest_sample() {
        let mut e = Envelope::default();
        let mut noise = Noise::new(1);
        // A Unix timestamp on a machine that is up for an hour; delays of 2–40 ms.
        let truth = 3600.0 - 1.7e9;
        let mut last = 0.0;
        for n in 0..6000 {
            let t = 3600.0 + f64::from(n) * 0.01;
            let arrival = t + 0.002 + noise.uniform().powi(2) * 0.038;
            e.measure(t - truth, arrival);
            let mapped = t - truth + e.at(arrival).expect("measured");
            assert!(mapped > last, "time never goes back");
            last = mapped;
            if n > 1000 {
                assert!((mapped - t - 0.002).abs() < 1e-3, "{}", mapped - t);
            }
        }
        // The outlet starts again with another clock.
        assert_eq!(e.measure(5.0, 3661.0), Outcome::Reset);
        assert_eq!(e.at(3661.0), Some(3656.0));
    }

    #[test]
    fn follows_a_drift() {
        for ppm in [-100.0, 0.0, 100.0] {
            let mut e = Envelope::default();
            let mut noise = Noise::new(3);
            let mut worst = 0f64;
            for n in 0..360_000 {
                let t = 500.0 + f64::from(n) * 0.01;
                let stamp = 1.7e9 + (t - 500.0) * (1.0 + ppm * 1e-6);
                let arrival = t + 0.002 + noise.uniform().powi(2) * 0.038;
                e.measure(stamp, arrival);
                let error = stamp + e.at(arrival).expect("measured") - t - 0.002;
                if t > 620.0 {
                    worst = worst.max(error.abs());
                }
            }
            assert!(worst < 1.5e-3, "{ppm} ppm: {worst}");
            let drift = e.drift().unwrap_or(0.0) * 1e6;
            assert!((drift + ppm).abs() < 20.0, "{ppm} ppm: {drift}");
        }
    }

    #[test]
    fn a_late_burst_shifts_nothing() {
        let mut e = Envelope::default();
        for n in 0..6000 {
            let t = f64::from(n) * 0.01;
            // Between 30 and 34 s nothing comes, then all at once.
            let arrival = if (30.0..34.0).contains(&t) { 34.0 } else { t } + 0.003;
            e.measure(t + 77.0, arrival);
            let mapped = t + 77.0 + e.at(arrival).expect("measured");
            assert!((mapped - t - 0.003).abs() < 1e-6, "{t}: {mapped}");
        }
        assert!(e.is_a_clock());
    }

    #[test]
    fn counters_are_told_from_clocks() {
        for (unit, clock) in [(1.0, true), (128.0, false), (1000.0, false), (0.0, false)] {
            let mut e = Envelope::default();
            let mut until = None;
            for n in 0..640 {
                let t = f64::from(n) / 128.0;
                e.measure(t * unit, 50.0 + t);
                e.at(50.0 + t);
                until = until.or((!e.is_a_clock()).then_some(t));
            }
            assert_eq!(until.is_none(), clock, "{unit} a second");
            if unit > 1.0 {
                assert!(until.is_some_and(|t| t < 0.5), "{unit} a second: {until:?}");
            }
        }
        // A backlog at the begin is no reason to doubt a clock.
        let mut e = Envelope::default();
        for n in 0..5000 {
            let t = f64::from(n) / 100.0;
            e.measure(t, t.max(20.0));
            assert!(e.is_a_clock());
        }
    }

    proptest! {
        #[test]
        fn stays_under_the_arrivals_and_never_steps(
            epoch in -1e9..2e9f64,
            delays in prop::collection::vec((0.001..0.5f64, 0.0..0.08f64), 100..600),
        ) {
            let mut e = Envelope::default();
            let (mut t, mut last) = (1000.0, None::<(f64, f64)>);
            for (pause, delay) in delays {
                t += pause;
                let arrival = last.map_or(t + delay, |(a, _): (f64, f64)| (t + delay).max(a));
                prop_assert_eq!(e.measure(t + epoch, arrival), Outcome::Taken);
                let offset = e.at(arrival).expect("measured");
                prop_assert!(offset + epoch <= 0.081, "later than the slowest");
                if let Some((a0, o0)) = last {
                    let most = (arrival - a0) * (FASTEST_SLEW + LARGEST_DRIFT) + 2e-6;
                    prop_assert!((offset - o0).abs() <= most, "{} in {} s", offset - o0, arrival - a0);
                }
                last = Some((arrival, offset));
            }
        }
    }
}
