// SPDX-License-Identifier: MPL-2.0
use std::collections::VecDeque;

/// One measurement of the distance between the sender's clock and ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// Seconds to add to the sender's stamps.
    pub offset: f64,
    /// Bound of the error, seconds.
    pub uncertainty: f64,
    /// When it was measured, on the sender's clock.
    pub at: f64,
}

/// What a measurement did to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    /// The sender's clock is another one now; stamps before and after do not meet.
    Reset,
}

/// Turns measurements into the offset at any time on the sender's clock. The place for
/// a better model than [`SlewedOffset`].
pub trait OffsetModel: Send {
    fn measure(&mut self, m: Measurement) -> Outcome;
    /// Seconds to add to a stamp `at` (sender's clock), `None` before the first
    /// measurement. Called with stamps that grow.
    fn at(&mut self, at: f64) -> Option<f64>;
    /// The measurement trusted most at the moment.
    fn best(&self) -> Option<Measurement>;
}

/// Follows the best of the last measurements at a bounded speed: two clocks drift by
/// some 10 ppm, so what moves faster is measurement noise.
#[derive(Debug, Default)]
pub struct SlewedOffset {
    recent: VecDeque<Measurement>,
    /// Offset in use, and the stamp it was last used at.
    applied: Option<(f64, Option<f64>)>,
    suspects: u32,
}

const RECENT: usize = 8;
/// Seconds per second.
const SLEW: f64 = 5e-4;
const JUMP: f64 = 0.05;

impl OffsetModel for SlewedOffset {
    fn measure(&mut self, m: Measurement) -> Outcome {
        if let Some((applied, _)) = self.applied
            && (m.offset - applied).abs() > JUMP.max(10.0 * m.uncertainty)
        {
            // One stray answer is no proof.
            self.suspects += 1;
            if self.suspects < 2 {
                return Outcome::Taken;
            }
            self.recent.clear();
            self.recent.push_back(m);
            self.applied = Some((m.offset, None));
            self.suspects = 0;
            return Outcome::Reset;
        }
        self.suspects = 0;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(m);
        if self.applied.is_none() {
            self.applied = Some((m.offset, None));
        }
        Outcome::Taken
    }

    fn at(&mut self, at: f64) -> Option<f64> {
        let target = self.best()?.offset;
        let (offset, last) = self.applied.as_mut()?;
        let step = last.map_or(0.0, |last| (at - last).max(0.0)) * SLEW;
        *offset += (target - *offset).clamp(-step, step);
        *last = Some(last.map_or(at, |last| last.max(at)));
        Some(*offset)
    }

    fn best(&self) -> Option<Measurement> {
        self.recent
            .iter()
            .min_by(|a, b| a.uncertainty.total_cmp(&b.uncertainty))
            .copied()
    }
}

/// The offset of a clock that nobody can ask: the smallest delay between stamp and
/// arrival over a minute. Stamps come out late by the fastest transmission.
#[derive(Debug, Default)]
pub struct Envelope {
    /// Start (arrival) and smallest difference of each slice of time.
    slices: VecDeque<(f64, f64)>,
    applied: Option<(f64, f64)>,
}

const SLICE: f64 = 5.0;
const SLICES: usize = 12;
/// Differences move faster than this only when the sender's clock jumped.
const ENVELOPE_JUMP: f64 = 10.0;
/// Seconds per second; slow enough that a slewed stamp still grows.
const ENVELOPE_SLEW: f64 = 5e-3;

impl Envelope {
    /// Takes a sample's stamp and arrival; says when the clock jumped.
    pub fn measure(&mut self, stamp: f64, arrival: f64) -> Outcome {
        let difference = arrival - stamp;
        let jumped = self
            .applied
            .is_some_and(|(offset, _)| (difference - offset).abs() > ENVELOPE_JUMP);
        if jumped {
            *self = Self::default();
        }
        match self.slices.back_mut() {
            Some((start, least)) if arrival - *start < SLICE => *least = least.min(difference),
            _ => {
                if self.slices.len() == SLICES {
                    self.slices.pop_front();
                }
                self.slices.push_back((arrival, difference));
            }
        }
        if jumped {
            Outcome::Reset
        } else {
            Outcome::Taken
        }
    }

    /// Seconds to add to a stamp that arrived at `arrival`.
    pub fn at(&mut self, arrival: f64) -> Option<f64> {
        let target = self.slices.iter().map(|s| s.1).min_by(f64::total_cmp)?;
        let (offset, last) = self.applied.get_or_insert((target, arrival));
        let step = (arrival - *last).max(0.0) * ENVELOPE_SLEW;
        *offset += (target - *offset).clamp(-step, step);
        *last = last.max(arrival);
        Some(*offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::dejitter::tests::Noise;

    fn m(offset: f64, uncertainty: f64, at: f64) -> Measurement {
        Measurement {
            offset,
            uncertainty,
            at,
        }
    }

    #[test]
    fn follows_drift_smoothly_and_ignores_noise() {
        let mut model = SlewedOffset::default();
        assert_eq!(model.at(0.0), None);
        let mut noise = Noise::new(9);
        let (mut t, mut last) = (0.0, None::<f64>);
        while t < 600.0 {
            // 30 ppm of drift; every answer is late by up to its own uncertainty.
            let truth = -5000.0 + 30e-6 * t;
            let late = noise.uniform() * 0.004;
            model.measure(m(truth + late * (noise.uniform() - 0.5), late, t));
            for i in 0..20 {
                let at = t + f64::from(i) * 0.1;
                let offset = model.at(at).expect("measured");
                assert!((offset - truth).abs() < 2.5e-3, "{at}: {}", offset - truth);
                if let Some(last) = last {
                    assert!((offset - last).abs() < 1e-4, "steps at {at}");
                }
                last = Some(offset);
            }
            t += 2.0;
        }
    }

    #[test]
    fn a_restarted_clock_is_a_reset_but_one_stray_answer_is_not() {
        let mut model = SlewedOffset::default();
        for i in 0..5 {
            assert_eq!(model.measure(m(10.0, 1e-5, f64::from(i))), Outcome::Taken);
        }
        assert_eq!(model.at(5.0), Some(10.0));
        assert_eq!(model.measure(m(10.2, 1e-5, 6.0)), Outcome::Taken);
        assert_eq!(model.measure(m(10.0, 1e-5, 7.0)), Outcome::Taken);
        assert_eq!(model.at(7.0), Some(10.0));
        assert_eq!(model.measure(m(710.0, 1e-5, 8.0)), Outcome::Taken);
        assert_eq!(model.measure(m(710.0, 1e-5, 9.0)), Outcome::Reset);
        assert_eq!(model.at(9.0), Some(710.0));
    }

    #[test]
    fn the_envelope_finds_the_fastest_sample() {
        let mut e = Envelope::default();
        let mut noise = Noise::new(1);
        // A Unix stamp on a machine that is up for an hour; delays of 2–40 ms.
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
        // The sender starts again with another clock.
        assert_eq!(e.measure(5.0, 3661.0), Outcome::Reset);
        assert_eq!(e.at(3661.0), Some(3656.0));
    }
}
