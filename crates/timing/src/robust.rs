// SPDX-License-Identifier: MPL-2.0
//! Estimates that resist outliers: a median, and a line with Huber's loss.
//!
//! The square of a residual gives an outlier a weight without bound. Huber's loss is the square
//! up to the expected error of a point and linear above it (P. J. Huber, "Robust estimation of a
//! location parameter", *Annals of Mathematical Statistics* 35, 1964). It is minimised by
//! iteratively reweighted least squares: solve, give each point the weight
//! `min(1, sigma / residual)`, solve again (P. W. Holland and R. E. Welsch, "Robust regression
//! using iteratively reweighted least-squares", *Communications in Statistics* A6, 1977).
//!
//! ```
//! use timing::robust::{LineFit, Point};
//!
//! let fit = LineFit { usual_slope: 1e-3, largest_slope: 1.0, rounds: 50, still: 1e-12 };
//! // One of twenty values is wrong by 5.
//! let points = (0..20).map(|n| Point {
//!     time: f64::from(n),
//!     value: if n == 7 { 5.0 } else { 0.0 },
//!     sigma: 1e-3,
//! });
//! let line = fit.fit(10.0, points).expect("there are points");
//! assert!(line.at(10.0).abs() < 1e-3);
//! ```

/// The median; of an even number of values the mean of the two in the middle. `None` without
/// values. Sorts `values`.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values {
        [] => None,
        v if v.len() % 2 == 1 => Some(v[middle]),
        v => Some((v[middle - 1] + v[middle]) / 2.0),
    }
}

/// `value` at `origin`, growing by `slope` per unit of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// A time.
    pub origin: f64,
    /// The value at that time.
    pub value: f64,
    /// Growth of the value per unit of time.
    pub slope: f64,
}

impl Line {
    /// The value at `time`.
    pub fn at(&self, time: f64) -> f64 {
        self.value + self.slope * (time - self.origin)
    }
}

/// A measurement for [`LineFit::fit`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When it was measured, in any unit.
    pub time: f64,
    /// What was measured, in any unit.
    pub value: f64,
    /// The expected error, in the unit of `value`, above 0. A point further from the line counts
    /// linearly.
    pub sigma: f64,
}

/// How a line is fitted.
#[derive(Debug, Clone, Copy)]
pub struct LineFit {
    /// The standard deviation of slopes, as far as it is known before any measurement: a normal
    /// prior around 0. Infinite: nothing is known.
    pub usual_slope: f64,
    /// A larger slope, of either sign, is limited to this.
    pub largest_slope: f64,
    /// The largest number of rounds.
    pub rounds: usize,
    /// The fit ends when a round moves the line by less than this, in the unit of the values.
    pub still: f64,
}

impl LineFit {
    /// The line through `points`; `None` without points. Its origin is `origin`, which should lie
    /// among them: times are taken relative to it and values to the first one, so that the
    /// digits of large numbers are not lost.
    pub fn fit(&self, origin: f64, points: impl Iterator<Item = Point> + Clone) -> Option<Line> {
        let zero = points.clone().next()?.value;
        let mut line = Line {
            origin,
            value: 0.0,
            slope: 0.0,
        };
        let prior = 1.0 / (self.usual_slope * self.usual_slope);
        for round in 0..self.rounds {
            let (mut w, mut wt, mut wv, mut wtt, mut wtv) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for p in points.clone() {
                let (t, v) = (p.time - origin, p.value - zero);
                let off = (v - line.value - line.slope * t).abs() / p.sigma;
                let huber = if round == 0 { 1.0 } else { 1.0 / off.max(1.0) };
                let weight = huber / (p.sigma * p.sigma);
                w += weight;
                wt += weight * t;
                wv += weight * v;
                wtt += weight * t * t;
                wtv += weight * t * v;
            }
            let (mt, mv) = (wt / w, wv / w);
            let spread = (wtt - w * mt * mt).max(0.0);
            // All at one time, and nothing known before: a level line.
            let slope = match spread + prior > w * 1e-9 {
                true => (wtv - w * mt * mv) / (spread + prior),
                false => 0.0,
            };
            let slope = slope.clamp(-self.largest_slope, self.largest_slope);
            let value = mv - slope * mt;
            let moved =
                (value - line.value).abs() + (slope - line.slope).abs() * (spread / w).sqrt();
            (line.value, line.slope) = (value, slope);
            if round > 0 && moved < self.still {
                break;
            }
        }
        line.value += zero;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn a_line_is_not_bent_by_outliers() {
        let fit = LineFit {
            usual_slope: f64::INFINITY,
            largest_slope: f64::INFINITY,
            rounds: 500,
            still: 1e-12,
        };
        let point = |i: u32| {
            let time = 1e6 + f64::from(i);
            Point {
                time,
                value: 7.0 + 1e-4 * (time - 1e6) + if i % 10 == 3 { 5.0 } else { 0.0 },
                sigma: 1e-4,
            }
        };
        let line = fit.fit(1e6 + 50.0, (0..100).map(point)).expect("points");
        assert!((line.slope - 1e-4).abs() < 1e-6, "{line:?}");
        assert!((line.at(1e6) - 7.0).abs() < 1e-4, "{line:?}");
        let level = fit
            .fit(1e6, std::iter::repeat_n(point(0), 3))
            .expect("points");
        assert_eq!((level.value, level.slope), (7.0, 0.0));
        assert_eq!(fit.fit(0.0, std::iter::empty()), None);
    }
}
