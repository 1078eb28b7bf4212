// SPDX-License-Identifier: MPL-2.0
use crate::robust::median;
use std::collections::VecDeque;

/// Seconds of pairs that the line is fitted to.
const WINDOW: f64 = 30.0;
/// Seconds between two pairs.
const SPACING: f64 = 1.0;
/// Clocks of one machine run at the same speed within this.
const SPEED_TOLERANCE: f64 = 0.01;
/// Span of pairs, seconds, from which the measured speed is used; before, it is 1.
const SPEED_SPAN: f64 = 3.0;
/// Two readings further from the line than this, seconds: the clock was set.
const STEP: f64 = 0.05;

/// Maps seconds on the LSL clock of this host to nanoseconds on the pipeline's clock, where these
/// are two clocks.
///
/// It takes pairs of readings that were made together, one a second, and puts a line through those
/// of the last 30 s. The speed is the median of the slopes between all pairs (P. K. Sen, 1968), so
/// that a reading that was interrupted does not move it. After the pipeline's clock was set the
/// line is fitted anew.
#[derive(Debug, Default)]
pub struct ClockPairs {
    pairs: VecDeque<(f64, f64)>,
    /// Anchor (local s, clock ns) and ns per second.
    line: Option<(f64, f64, f64)>,
    off: u32,
}

impl ClockPairs {
    /// Reads both clocks together: seconds of `local` and nanoseconds of `clock`. Of five
    /// readings of `clock` between two of `local` it takes the one with the shortest time between.
    pub fn read(local: impl Fn() -> f64, clock: impl Fn() -> u64) -> (f64, u64) {
        let mut best = (f64::INFINITY, 0.0, 0);
        for _ in 0..5 {
            let before = local();
            let time = clock();
            let after = local();
            if after - before < best.0 {
                best = (after - before, (before + after) / 2.0, time);
            }
        }
        (best.1, best.2)
    }

    /// Whether a second has passed since the last pair.
    pub fn wants_pair(&self, local: f64) -> bool {
        self.pairs
            .back()
            .is_none_or(|(last, _)| local - last >= SPACING)
    }

    /// Takes a pair of readings: local seconds, pipeline clock nanoseconds.
    pub fn push(&mut self, local: f64, clock: u64) {
        let clock = clock as f64;
        if let Some((l0, c0, speed)) = self.line
            && (c0 + (local - l0) * speed - clock).abs() > STEP * 1e9
        {
            self.off += 1;
            if self.off < 2 {
                return;
            }
            self.pairs.clear();
        }
        self.off = 0;
        self.pairs.push_back((local, clock));
        while self
            .pairs
            .front()
            .is_some_and(|(first, _)| local - first > WINDOW)
        {
            self.pairs.pop_front();
        }
        self.fit();
    }

    fn fit(&mut self) {
        let (Some(first), Some(&(l0, _))) = (self.pairs.front(), self.pairs.back()) else {
            return;
        };
        let mut speed = 1e9;
        if l0 - first.0 >= SPEED_SPAN {
            let mut slopes = Vec::new();
            for (i, a) in self.pairs.iter().enumerate() {
                for b in self.pairs.iter().skip(i + 1) {
                    slopes.push((b.1 - a.1) / (b.0 - a.0));
                }
            }
            speed = median(&mut slopes)
                .filter(|measured| (measured / 1e9 - 1.0).abs() <= SPEED_TOLERANCE)
                .unwrap_or(speed);
        }
        let mut anchors: Vec<f64> = self
            .pairs
            .iter()
            .map(|(l, c)| c + (l0 - l) * speed)
            .collect();
        self.line = median(&mut anchors).map(|anchor| (l0, anchor, speed));
    }

    /// Nanoseconds on the pipeline's clock at `local` seconds; `None` before any pair.
    pub fn map(&self, local: f64) -> Option<i64> {
        let (l0, c0, speed) = self.line?;
        Some((c0 + (local - l0) * speed).round() as i64)
    }

    /// The inverse of [`ClockPairs::map`].
    pub fn unmap(&self, clock: i64) -> Option<f64> {
        let (l0, c0, speed) = self.line?;
        Some(l0 + (clock as f64 - c0) / speed)
    }
}

/// Between the LSL clock (seconds) and the pipeline's clock (nanoseconds).
#[derive(Debug)]
pub enum ClockMap {
    /// Both are the monotonic clock.
    Same,
    /// Two clocks, mapped by readings of both.
    Other(ClockPairs),
}

impl ClockMap {
    /// Pipeline clock, nanoseconds, at `local` seconds on the LSL clock.
    pub fn clock(&self, local: f64) -> i64 {
        let same = || (local * 1e9).round() as i64;
        match self {
            Self::Same => same(),
            Self::Other(pairs) => pairs.map(local).unwrap_or_else(same),
        }
    }

    /// LSL clock, seconds, at `clock` nanoseconds on the pipeline's.
    pub fn local(&self, clock: i64) -> f64 {
        let same = || clock as f64 / 1e9;
        match self {
            Self::Same => same(),
            Self::Other(pairs) => pairs.unmap(clock).unwrap_or_else(same),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    #[test]
    fn follows_another_clock() {
        // A sound card: 80 ppm fast, another epoch; some readings are interrupted.
        let clock = |t: f64| ((t - 90.0) * (1.0 + 80e-6) * 1e9) as u64;
        let mut pairs = ClockPairs::default();
        assert_eq!(pairs.map(100.0), None);
        let mut noise = Noise::new(8);
        for n in 0..300 {
            let t = 100.0 + f64::from(n);
            assert!(pairs.wants_pair(t));
            let late = if n % 7 == 3 {
                2e6
            } else {
                noise.uniform() * 2e3
            };
            pairs.push(t, clock(t) + late as u64);
            assert!(!pairs.wants_pair(t + 0.5));
            let error = pairs.map(t + 0.3).expect("fitted") - clock(t + 0.3) as i64;
            if n > 5 {
                assert!(error.abs() < 20_000, "{n}: {error} ns");
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_starts_anew_after_two_readings() {
        let mut pairs = ClockPairs::default();
        for n in 0..20 {
            pairs.push(f64::from(n), 5_000_000_000 + n as u64 * 1_000_000_000);
        }
        for n in 20..22 {
            pairs.push(f64::from(n), 905_000_000_000 + n as u64 * 1_000_000_000);
        }
        assert_eq!(pairs.map(22.0), Some(927_000_000_000));
    }

    #[test]
    fn there_and_back() {
        let mut pairs = ClockPairs::default();
        for n in 0..60 {
            let t = 3e5 + f64::from(n);
            pairs.push(t, (7e12 + f64::from(n) * 1e9 * (1.0 - 50e-6)) as u64);
        }
        for map in [ClockMap::Same, ClockMap::Other(pairs)] {
            for n in 0..1000 {
                let local = 3e5 + 58.0 + f64::from(n) * 0.001234567;
                let clock = map.clock(local);
                assert!((map.local(clock) - local).abs() < 2e-9, "{map:?} {local}");
                assert!((map.clock(map.local(clock)) - clock).abs() <= 1);
            }
        }
    }

    #[test]
    fn the_tightest_bracket_wins() {
        use std::cell::Cell;
        let step = Cell::new(0usize);
        let spans = [5e-3, 1e-3, 1e-6, 2e-3, 3e-3];
        let local = || {
            let i = step.get();
            step.set(i + 1);
            (i / 2) as f64 + if i % 2 == 1 { spans[i / 2] } else { 0.0 }
        };
        let (l, c) = ClockPairs::read(local, || step.get() as u64);
        assert_eq!(c, 5);
        assert!((l - 2.0).abs() < 1e-5);
    }
}
