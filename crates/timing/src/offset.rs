// SPDX-License-Identifier: MPL-2.0
use super::robust::{Line, LineFit, Point};
use super::slew::Slew;
use std::collections::VecDeque;

/// A measurement of the clock offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// Seconds to add to the outlet's timestamps to get the time on the inlet's LSL clock.
    pub offset: f64,
    /// Bound of the error, seconds.
    pub uncertainty: f64,
    /// When it was measured, seconds on the outlet's clock.
    pub at: f64,
}

/// What a measurement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It changed the estimate, or was left out as an outlier.
    Taken,
    /// The outlet's clock is another one now; timestamps of before and after are not comparable.
    Reset,
}

/// The offset of a clock that answers measurements: a line through those of the last five
/// minutes.
///
/// Weighted least squares with the weight 1/uncertainty² and Huber's loss, by
/// [`LineFit`]. A prior of [`USUAL_DRIFT`] keeps the slope near 0 while few measurements are
/// there. The offset in use moves towards the line at a bounded speed and makes no step, except
/// after a clock reset.
#[derive(Debug, Default)]
pub(crate) struct ClockFit {
    window: VecDeque<Measurement>,
    line: Option<Line>,
    slew: Slew,
    suspects: Vec<Measurement>,
}

/// Seconds of measurements that the line is fitted to, and their largest number.
const WINDOW: f64 = 300.0;
const MOST: usize = 400;
/// The smallest uncertainty that is believed, seconds: interrupts and the reading of the clocks
/// add to any other.
const LEAST_UNCERTAINTY: f64 = 1e-5;
const ROUNDS: usize = 12;
/// The quartz clocks of two machines differ by some 10 ppm; more than 1000 ppm is no drift.
const USUAL_DRIFT: f64 = 100e-6;
const LARGEST_DRIFT: f64 = 1e-3;
/// Seconds of measurements from which a drift is reported.
const DRIFT_SPAN: f64 = 10.0;
/// A measurement further from the line than this, in seconds and in uncertainties, may be of
/// another clock.
const JUMP: f64 = 0.05;
const JUMP_UNCERTAINTIES: f64 = 10.0;
/// Two suspects in a row that agree with each other mean a clock reset, and so do this many that
/// do not.
const DISAGREEING_SUSPECTS: usize = 4;
/// Seconds per second that the offset in use moves towards the line.
const SLOWEST_SLEW: f64 = 2e-4;
const FASTEST_SLEW: f64 = 5e-3;

impl ClockFit {
    fn tolerance(m: &Measurement) -> f64 {
        JUMP.max(JUMP_UNCERTAINTIES * m.uncertainty)
    }

    fn take(&mut self, m: Measurement) {
        self.window.push_back(m);
        while self.window.len() > MOST || self.window.front().is_some_and(|f| m.at - f.at > WINDOW)
        {
            self.window.pop_front();
        }
        let before = self.line;
        self.line = fit(&self.window);
        if let (Some(before), Some(now)) = (before, self.line) {
            self.slew.target_moved(|t| before.at(t) - now.at(t));
        }
    }

    /// Takes a measurement. One that is off the line by more than [`JUMP`] is held until others
    /// agree with it.
    pub(crate) fn measure(&mut self, m: Measurement) -> Outcome {
        if !(m.offset.is_finite() && m.at.is_finite() && m.uncertainty.is_finite()) {
            return Outcome::Taken;
        }
        let expected = self.line.map(|line| line.at(m.at));
        if expected.is_none_or(|e| (m.offset - e).abs() <= Self::tolerance(&m)) {
            self.suspects.clear();
            self.take(m);
            return Outcome::Taken;
        }
        // A single one may be an outlier.
        let agreed = |s: &Measurement| (m.offset - s.offset).abs() <= Self::tolerance(&m);
        let proven = self.suspects.last().is_some_and(agreed)
            || self.suspects.len() + 1 >= DISAGREEING_SUSPECTS;
        self.suspects.push(m);
        if !proven {
            return Outcome::Taken;
        }
        let agreeing: Vec<_> = self.suspects.drain(..).rev().take_while(agreed).collect();
        *self = Self::default();
        for m in agreeing.into_iter().rev() {
            self.take(m);
        }
        Outcome::Reset
    }

    /// Seconds to add to a timestamp `at` (outlet's clock), `None` before the first
    /// measurement. Called with timestamps that grow.
    pub(crate) fn at(&mut self, at: f64) -> Option<f64> {
        let line = self.line?;
        Some(line.at(at) + self.slew.at(at, SLOWEST_SLEW, FASTEST_SLEW))
    }

    /// The line at the newest measurement, and the bound of its error.
    pub(crate) fn best(&self) -> Option<Measurement> {
        let newest = self.window.back()?;
        Some(Measurement {
            offset: self.line?.at(newest.at),
            // Averaging does not remove the error of a network that is slower in one direction.
            uncertainty: self
                .window
                .iter()
                .map(|m| m.uncertainty)
                .fold(f64::INFINITY, f64::min),
            at: newest.at,
        })
    }

    /// Seconds that the offset grows per second: by how much the outlet's clock is slower
    /// than ours. `None` while too little was seen.
    pub(crate) fn drift(&self) -> Option<f64> {
        let span = self.window.back()?.at - self.window.front()?.at;
        self.line
            .filter(|_| span >= DRIFT_SPAN)
            .map(|line| line.slope)
    }
}

/// See [`ClockFit`]; `None` without measurements.
fn fit(window: &VecDeque<Measurement>) -> Option<Line> {
    let fit = LineFit {
        usual_slope: USUAL_DRIFT,
        largest_slope: LARGEST_DRIFT,
        rounds: ROUNDS,
        still: 0.0,
    };
    let point = |m: &Measurement| Point {
        time: m.at,
        value: m.offset,
        sigma: m.uncertainty.max(LEAST_UNCERTAINTY),
    };
    // At the newest, where the line is asked next.
    fit.fit(window.back()?.at, window.iter().map(point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use proptest::prelude::*;

    fn m(offset: f64, uncertainty: f64, at: f64) -> Measurement {
        Measurement {
            offset,
            uncertainty,
            at,
        }
    }

    #[test]
    fn follows_drift_smoothly_and_ignores_noise() {
        let mut model = ClockFit::default();
        assert_eq!(model.at(0.0), None);
        let mut noise = Noise::new(9);
        let (mut t, mut last) = (0.0, None::<f64>);
        while t < 600.0 {
            // 30 ppm of drift; every answer is off by up to its own uncertainty.
            let truth = |at: f64| -5000.0 + 30e-6 * at;
            let late = noise.uniform() * 0.004;
            model.measure(m(truth(t) + late * 2.0 * (noise.uniform() - 0.5), late, t));
            for i in 0..20 {
                let at = t + f64::from(i) * 0.1;
                let offset = model.at(at).expect("measured");
                let limit = if t > 60.0 { 2e-4 } else { 4e-3 };
                assert!(
                    (offset - truth(at)).abs() < limit,
                    "{at}: {}",
                    offset - truth(at)
                );
                if let Some(last) = last {
                    assert!((offset - last).abs() < 6e-4, "steps at {at}");
                }
                last = Some(offset);
            }
            t += 2.0;
        }
        let drift = model.drift().expect("known by now");
        assert!((drift - 30e-6).abs() < 1e-6, "{drift}");
        assert!(model.best().expect("measured").uncertainty < 2e-4);
    }

    #[test]
    fn answers_that_lie_about_their_error_hardly_count() {
        let mut model = ClockFit::default();
        for i in 0..100 {
            // Every fifth is 20 ms late by a way that is slow in one direction only.
            let wrong = if i % 5 == 2 { 0.02 } else { 0.0 };
            model.measure(m(7.0 + wrong, 1e-4, f64::from(i) * 2.0));
        }
        let offset = model.at(200.0).expect("measured");
        assert!((offset - 7.0).abs() < 1e-4, "{}", offset - 7.0);
    }

    #[test]
    fn a_restarted_clock_is_a_reset_but_one_stray_answer_is_not() {
        let mut model = ClockFit::default();
        for i in 0..5 {
            assert_eq!(model.measure(m(10.0, 1e-5, f64::from(i))), Outcome::Taken);
        }
        let near = |offset: Option<f64>, truth: f64| {
            assert!(
                offset.is_some_and(|o| (o - truth).abs() < 1e-6),
                "{offset:?}"
            );
        };
        near(model.at(5.0), 10.0);
        assert_eq!(model.measure(m(10.2, 1e-5, 6.0)), Outcome::Taken);
        assert_eq!(model.measure(m(10.0, 1e-5, 7.0)), Outcome::Taken);
        near(model.at(7.0), 10.0);
        assert_eq!(model.measure(m(710.0, 1e-5, 8.0)), Outcome::Taken);
        assert_eq!(model.measure(m(710.0, 1e-5, 9.0)), Outcome::Reset);
        near(model.at(9.0), 710.0);
        // A clock that started anew counts from somewhere else, too.
        assert_eq!(model.measure(m(9000.0, 1e-5, 0.5)), Outcome::Taken);
        assert_eq!(model.measure(m(9000.0, 1e-5, 1.0)), Outcome::Reset);
        near(model.at(1.5), 9000.0);
        // Strays that agree on nothing do not hold the old line for ever.
        for (i, wrong) in [1.0, -3.0, 8.0].into_iter().enumerate() {
            let outcome = model.measure(m(9000.0 + wrong, 1e-5, 3.0 + i as f64));
            assert_eq!(outcome, Outcome::Taken);
        }
        assert_eq!(model.measure(m(9500.0, 1e-5, 7.0)), Outcome::Reset);
        near(model.at(7.0), 9500.0);
    }

    proptest! {
        /// Whatever is measured: the offset in use moves slowly, so timestamps keep their
        /// order; and it is soon as good as the measurements.
        #[test]
        fn never_steps_and_gets_there(
            offset in -2e9..2e9f64,
            drift in -200e-6..200e-6f64,
            start in 0.0..1e6f64,
            answers in prop::collection::vec((0.3..8.0f64, 1e-5..4e-3f64, -1.0..1.0f64), 20..80),
        ) {
            let mut model = ClockFit::default();
            let truth = |at: f64| offset + drift * (at - start);
            let (mut at, mut last) = (start, None::<(f64, f64)>);
            for (pause, uncertainty, share) in answers {
                let outcome = model.measure(m(truth(at) + uncertainty * share, uncertainty, at));
                prop_assert_eq!(outcome, Outcome::Taken);
                for i in 0..10 {
                    let t = at + pause * f64::from(i) / 10.0;
                    let o = model.at(t).expect("measured");
                    if let Some((t0, o0)) = last {
                        // The largest slew, the largest drift, and rounding.
                        let most = (t - t0) * (FASTEST_SLEW + LARGEST_DRIFT) + 2e-6;
                        prop_assert!((o - o0).abs() <= most, "{} in {} s", o - o0, t - t0);
                    }
                    last = Some((t, o));
                    if t - start > 60.0 {
                        prop_assert!((o - truth(t)).abs() < 4e-3, "{}", o - truth(t));
                    }
                }
                at += pause;
            }
        }
    }
}
