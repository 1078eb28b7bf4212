// SPDX-License-Identifier: MPL-2.0
//! Interpolation of timed samples onto a grid.

/// Instants at a fixed rate from running time 0: point `k` is at `k / rate` seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    rate: f64,
}

impl Grid {
    /// `rate` in Hz, positive and finite.
    pub fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// Running time of point `k` in nanoseconds, rounded.
    pub fn time(&self, k: u64) -> u64 {
        (k as f64 * 1e9 / self.rate).round() as u64
    }

    /// Index of the first point at or after running time `time` (ns).
    pub fn ceil(&self, time: u64) -> u64 {
        let mut k = (time as f64 * self.rate / 1e9).ceil() as u64;
        // Rounding may put the estimate one off either way.
        while k > 0 && self.time(k - 1) >= time {
            k -= 1;
        }
        while self.time(k) < time {
            k += 1;
        }
        k
    }
}

/// Points in a gap that are older than this (ns) are skipped and not given out, so that the
/// cost of a gap of hours is bounded.
const HORIZON: u64 = 600_000_000_000;

/// Interpolates timed vectors linearly onto a [`Grid`], between samples that are no further
/// apart than a limit.
#[derive(Debug, Clone)]
pub(crate) struct Resampler {
    grid: Grid,
    max_gap: u64,
    /// The next grid point to give out.
    next: u64,
    /// Time (ns) and values of the last sample.
    last: Option<(u64, Vec<f64>)>,
    /// No sample before this running time (ns) will come.
    complete: u64,
    scratch: Vec<f64>,
}

impl Resampler {
    /// `max_gap`: the limit in nanoseconds.
    pub(crate) fn new(grid: Grid, max_gap: u64) -> Self {
        Self {
            grid,
            max_gap,
            next: 0,
            last: None,
            complete: 0,
            scratch: Vec::new(),
        }
    }

    /// Index of the first point that has not been given out.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Goes on at point `next`, if that is later; the points before it are not given out.
    pub(crate) fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Whether a sample at `time` (ns) is near enough to the last one to interpolate.
    fn continues(&self, time: u64) -> bool {
        self.last
            .as_ref()
            .is_some_and(|(t, _)| time.saturating_sub(*t) <= self.max_gap)
    }

    /// Says that no further sample before `time` (ns) will come.
    pub(crate) fn complete(&mut self, time: u64) {
        self.complete = self.complete.max(time);
    }

    /// The time (ns) before which no later sample can change a point.
    pub(crate) fn settled(&self) -> u64 {
        let given = self.grid.time(self.next);
        if self.may_hold() {
            given
        } else {
            given.max(self.complete)
        }
    }

    /// Whether the next sample may still be near enough to the last one.
    fn may_hold(&self) -> bool {
        self.last.is_some() && self.continues(self.complete)
    }

    /// Drops the last sample, so that nothing is interpolated up to the next one.
    pub(crate) fn cut(&mut self) {
        self.last = None;
    }

    /// Takes a sample at `time` (ns) and gives out the grid points up to it: `(k, Some(values))`,
    /// or `(k, None)` in a gap. A sample that is not newer than the last is ignored.
    pub(crate) fn push(
        &mut self,
        time: u64,
        values: &[f64],
        mut out: impl FnMut(u64, Option<&[f64]>),
    ) {
        if self.last.as_ref().is_some_and(|(t, _)| time <= *t) {
            return;
        }
        let bridged = self.continues(time);
        self.skip_to(self.grid.ceil(time.saturating_sub(HORIZON)));
        while self.grid.time(self.next) <= time {
            let at = self.grid.time(self.next);
            match &self.last {
                Some((t0, v0)) if bridged && at >= *t0 => {
                    let share = (at - t0) as f64 / (time - t0) as f64;
                    self.scratch.clear();
                    self.scratch
                        .extend(v0.iter().zip(values).map(|(a, b)| a + (b - a) * share));
                    out(self.next, Some(&self.scratch));
                }
                _ if at == time => out(self.next, Some(values)),
                _ => out(self.next, None),
            }
            self.next += 1;
        }
        match &mut self.last {
            Some((t, v)) => {
                *t = time;
                v.clear();
                v.extend_from_slice(values);
            }
            None => self.last = Some((time, values.to_vec())),
        }
    }

    /// Gives out every point before `end` (ns), so that a window can end before the next sample
    /// has come. If that sample, at `end` or later, can be within the limit of the last one, the
    /// last one is held; otherwise the points are in a gap.
    pub(crate) fn close(&mut self, end: u64, mut out: impl FnMut(u64, Option<&[f64]>)) {
        self.complete(end);
        self.skip_to(self.grid.ceil(end.saturating_sub(HORIZON)));
        let hold = self.may_hold();
        while self.grid.time(self.next) < end {
            let at = self.grid.time(self.next);
            let held = self
                .last
                .as_ref()
                .filter(|(t, _)| hold && at >= *t && at - t <= self.max_gap)
                .map(|(_, v)| v.as_slice());
            out(self.next, held);
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn collect(f: impl FnOnce(&mut dyn FnMut(u64, Option<&[f64]>))) -> Vec<(u64, Option<f64>)> {
        let mut got = Vec::new();
        f(&mut |k, v| got.push((k, v.map(|v| v[0]))));
        got
    }

    #[test]
    fn grid_and_time_are_inverse() {
        for rate in [1.0, 4.0, 5.0, 51.2, 128.0, 1000.0 / 3.0] {
            let grid = Grid::new(rate);
            for k in [0, 1, 7, 1000, 3_600_000] {
                assert_eq!(grid.ceil(grid.time(k)), k, "{rate} {k}");
                assert_eq!(grid.ceil(grid.time(k) + 1), k + 1, "{rate} {k}");
            }
        }
    }

    #[test]
    fn a_line_stays_a_line_at_any_timestamps() {
        let mut r = Resampler::new(Grid::new(10.0), 400 * MS);
        for t in [30, 171, 333, 480, 481, 700] {
            let points = collect(|out| r.push(t * MS, &[t as f64], out));
            for (k, v) in points {
                match v {
                    Some(v) => assert!((v - k as f64 * 100.0).abs() < 1e-9, "{k} {v}"),
                    None => assert_eq!(k, 0, "before the first sample there is nothing"),
                }
            }
        }
        assert_eq!(r.next(), 8);
    }

    #[test]
    fn nothing_is_interpolated_across_a_gap() {
        let mut r = Resampler::new(Grid::new(10.0), 250 * MS);
        r.push(0, &[1.0], |_, _| {});
        let points = collect(|out| r.push(500 * MS, &[1.0], out));
        assert_eq!(
            points,
            [(1, None), (2, None), (3, None), (4, None), (5, Some(1.0))]
        );
    }

    #[test]
    fn a_gap_of_hours_is_skipped() {
        let mut r = Resampler::new(Grid::new(1000.0), 250 * MS);
        let mut points = 0;
        r.push(100_000 * 3600 * 1000 * MS, &[1.0], |_, _| points += 1);
        assert!(points <= 600_001, "{points}");
    }

    #[test]
    fn closing_holds_a_fresh_sample_and_no_other() {
        let mut r = Resampler::new(Grid::new(10.0), 250 * MS);
        r.push(100 * MS, &[3.0], |_, _| {});
        let points = collect(|out| r.close(310 * MS, out));
        assert_eq!(points, [(2, Some(3.0)), (3, Some(3.0))]);
        // What comes now is too late to follow it.
        let points = collect(|out| r.close(600 * MS, out));
        assert_eq!(points, [(4, None), (5, None)]);
        // The closed points are not given out again.
        let points = collect(|out| r.push(650 * MS, &[4.0], out));
        assert_eq!(points, [(6, None)]);
    }

    /// A gap that is known gives the same points whether the grid is closed before or after
    /// the next sample.
    #[test]
    fn no_value_is_held_in_a_known_gap() {
        let fresh = || {
            let mut r = Resampler::new(Grid::new(10.0), 250 * MS);
            r.push(130 * MS, &[3.0], |_, _| {});
            assert_eq!(r.settled(), 200 * MS);
            r
        };
        let mut early = fresh();
        early.complete(300 * MS);
        assert_eq!(early.settled(), 200 * MS, "a sample at 300 ms would bridge");
        early.complete(500 * MS);
        assert_eq!(early.settled(), 500 * MS);
        let closed = collect(|out| early.close(400 * MS, out));
        let mut late = fresh();
        let pushed = collect(|out| late.push(500 * MS, &[4.0], out));
        assert_eq!(closed, [(2, None), (3, None)]);
        assert_eq!(closed[..], pushed[..2]);
    }
}
