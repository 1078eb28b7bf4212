// SPDX-License-Identifier: MPL-2.0
//! Respiration rate from what breathing does to the heartbeat.

use super::intervals::{Intervals, seconds_since};
use super::spectrum::{self, Point, Turns};
use std::collections::VecDeque;

/// Seconds of which the rate is.
pub(crate) const WINDOW: f64 = 60.0;
/// Share of them that normal intervals must fill.
const FILLED: f64 = 0.8;
/// The rate is computed anew this often, seconds.
const PERIOD: f64 = 2.0;
/// Slowest and fastest breathing, Hz (6 and 30 per minute).
const SLOWEST: f64 = 0.1;
const FASTEST: f64 = 0.5;
const STEP: f64 = 0.005;
/// Frequencies around the peak that are the peak, Hz: what the window's length blurs.
const PEAK: f64 = 0.035;
/// Share of the band's power that must be in the peak.
const CLEAR: f64 = 0.5;
/// The two estimates may differ by this much, breaths per minute (Karlen 2013).
const AGREEMENT: f64 = 4.0;
/// Most beats that are kept: those of the window at 200 per minute.
const MOST: usize = 200;
/// Length of a bucket of extremes, ns, and how many are kept.
const BUCKET: u64 = 40_000_000;
const BUCKETS: usize = 128;
/// Time around a beat within which its height is, ns.
const BEFORE: u64 = 200_000_000;
const AFTER: u64 = 360_000_000;

/// Two modulations of the heartbeat by breathing: of the intervals (respiratory sinus
/// arrhythmia) and of the height of the beats in the signal. The rate is the mean of both where
/// each has one clear peak between 6 and 30 per minute, and they agree within 4 per minute, as in
/// the fusion of Karlen 2013; otherwise it is not known.
#[derive(Debug, Clone)]
pub(crate) struct Respiration {
    /// Least and largest value, by bucket of time.
    extremes: VecDeque<(u64, f64, f64)>,
    /// Beats whose height is not known yet, and heights: time, height.
    waiting: VecDeque<u64>,
    heights: VecDeque<(u64, f64)>,
    points: Vec<Point>,
    tapered: Vec<Point>,
    turns: Turns,
    known: Option<(u64, Option<f64>)>,
}

impl Respiration {
    pub(crate) fn new() -> Self {
        Self {
            extremes: VecDeque::with_capacity(BUCKETS + 1),
            waiting: VecDeque::with_capacity(16),
            heights: VecDeque::with_capacity(MOST + 1),
            points: Vec::with_capacity(MOST + 1),
            tapered: Vec::with_capacity(MOST + 1),
            turns: Turns::with_capacity(MOST + 1),
            known: None,
        }
    }

    pub(crate) fn cut(&mut self) {
        self.extremes.clear();
        self.waiting.clear();
    }

    /// Takes a sample of the signal.
    pub(crate) fn push(&mut self, time: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let bucket = time / BUCKET;
        match self.extremes.back_mut() {
            Some((b, least, most)) if *b >= bucket => {
                *least = least.min(value);
                *most = most.max(value);
            }
            _ => {
                if self.extremes.len() == BUCKETS {
                    self.extremes.pop_front();
                }
                self.extremes.push_back((bucket, value, value));
            }
        }
        while self.waiting.front().is_some_and(|beat| beat + AFTER < time) {
            if let Some(beat) = self.waiting.pop_front() {
                self.measure(beat);
            }
        }
    }

    pub(crate) fn beat(&mut self, time: u64) {
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.pop_front();
        }
        self.waiting.push_back(time);
    }

    fn measure(&mut self, beat: u64) {
        let (from, to) = (
            beat.saturating_sub(BEFORE) / BUCKET,
            (beat + AFTER) / BUCKET,
        );
        let near = self
            .extremes
            .iter()
            .filter(|(b, ..)| (from..=to).contains(b));
        let (least, most) = near.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), (_, a, b)| {
            (l.min(*a), m.max(*b))
        });
        if most > least {
            if self.heights.len() == MOST {
                self.heights.pop_front();
            }
            self.heights.push_back((beat, most - least));
        }
    }

    /// Breaths per minute.
    pub(crate) fn rate(&mut self, intervals: &Intervals, now: u64) -> Option<f64> {
        if let Some((at, rate)) = self.known
            && at <= now
            && seconds_since(at, now) < PERIOD
        {
            return rate;
        }
        let rate = self.compute(intervals, now);
        self.known = Some((now, rate));
        rate
    }

    fn compute(&mut self, intervals: &Intervals, now: u64) -> Option<f64> {
        let normal = intervals.within(now, WINDOW).filter(|i| i.normal);
        let begin = now.saturating_sub((WINDOW * 1e9) as u64);
        self.points.clear();
        self.points.extend(
            normal
                .clone()
                .take(MOST)
                .map(|i| (seconds_since(begin, i.end), i.length)),
        );
        let length: f64 = self.points.iter().map(|p| p.1).sum();
        if length < FILLED * WINDOW {
            return None;
        }
        // One value a beat shows no more than half the pulse rate.
        let fastest = FASTEST.min(0.5 * self.points.len() as f64 / length);
        let by_interval = self.clear_peak(fastest)?;
        self.points.clear();
        // Heights of beats that end a normal interval: an artefact has another height.
        let mut normal = normal.peekable();
        for (beat, height) in &self.heights {
            while normal.next_if(|i| i.end < *beat).is_some() {}
            if normal.peek().is_some_and(|i| i.end == *beat) {
                self.points.push((seconds_since(begin, *beat), *height));
            }
        }
        let by_height = self.clear_peak(fastest)?;
        let difference = (by_interval - by_height).abs() * 60.0;
        (difference <= AGREEMENT).then_some(30.0 * (by_interval + by_height))
    }

    /// The frequency (Hz) of the one clear peak in `points`.
    fn clear_peak(&mut self, fastest: f64) -> Option<f64> {
        let Self {
            points,
            tapered,
            turns,
            ..
        } = self;
        spectrum::straighten(points);
        spectrum::taper(points, 1, tapered);
        let steps = ((fastest - SLOWEST) / STEP).floor();
        if steps < 1.0 {
            return None;
        }
        let (mut total, mut best, mut highest) = (0.0, 0.0, 0.0);
        let mut powers = [(0.0, 0.0); ((FASTEST - SLOWEST) / STEP) as usize + 2];
        let powers = &mut powers[..=steps as usize];
        let mut slots = powers.iter_mut();
        spectrum::scan(
            tapered,
            turns,
            (SLOWEST, STEP, steps as usize + 1),
            |frequency, power| {
                if let Some(slot) = slots.next() {
                    *slot = (frequency, power);
                }
                total += power;
                if power > highest {
                    (best, highest) = (frequency, power);
                }
            },
        );
        let inside = powers.iter().filter(|(f, _)| (f - best).abs() <= PEAK);
        let (mut weight, mut mean) = (0.0, 0.0);
        for (frequency, power) in inside {
            weight += power;
            mean += power * frequency;
        }
        // A peak at the edge may be the foot of one outside.
        let at_edge = best <= SLOWEST || best >= powers[powers.len() - 1].0;
        (weight > CLEAR * total && !at_edge).then(|| mean / weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beats and a signal whose interval and height follow `arrhythmia` and `height` (Hz).
    fn breathe(arrhythmia: f64, height: f64, strength: f64) -> Option<f64> {
        let (mut respiration, mut intervals) = (Respiration::new(), Intervals::new());
        let wave = |f: f64, t: f64| strength * (std::f64::consts::TAU * f * t).sin();
        let mut next = 0.0;
        let mut now = 0;
        for i in 0..70 * 250u64 {
            let t = i as f64 / 250.0;
            now = (t * 1e9) as u64;
            if t >= next {
                intervals.beat(now, 1.0);
                respiration.beat(now);
                next += 0.8 * (1.0 + wave(arrhythmia, t));
            }
            let phase = (next - t).min(0.8);
            let beat = (-(phase - 0.7) * (phase - 0.7) / 0.002).exp() * (1.0 + wave(height, t));
            respiration.push(now, beat + 0.002 * (t * 311.0).sin());
        }
        respiration.rate(&intervals, now)
    }

    #[test]
    fn breathing_is_read_from_intervals_and_heights() {
        for per_minute in [9.0, 12.0, 15.0, 18.0, 24.0] {
            let f = per_minute / 60.0;
            let rate = breathe(f, f, 0.06).expect("clear breathing");
            assert!(
                (rate - per_minute).abs() < 1.0,
                "{rate}, expected {per_minute}"
            );
        }
    }

    #[test]
    fn without_agreement_it_is_not_known() {
        assert_eq!(breathe(0.2, 0.35, 0.06), None);
        assert_eq!(breathe(0.2, 0.2, 0.0), None);
    }
}
