// SPDX-License-Identifier: MPL-2.0
//! Skin conductance: its level, and its responses.

use super::Scr;
use super::intervals::seconds_since;
use std::collections::VecDeque;

/// Samples are averaged over this time, seconds.
const BIN: f64 = 0.1;
/// Half the width of the triangular window of the smoothing, seconds (Kim 2004).
const HALF_WIDTH: f64 = 0.5;
/// Slowest stream in which the shape of a response can be seen, Hz.
const SLOWEST: f64 = 3.5;
/// Slope from which on conductance is rising, µS/s: the smallest response within its longest
/// rise.
const RISING: f64 = SMALLEST / LONGEST_RISE;
/// Smallest amplitude of a response, µS (Boucsein 2012).
pub(crate) const SMALLEST: f64 = 0.05;
/// Longest time from onset to peak, seconds (Boucsein 2012: 1 to 3, up to 5 for the largest).
const LONGEST_RISE: f64 = 5.0;
/// A rise of which one bin makes more than this share is a step, as of a moved electrode.
const STEP: f64 = 0.7;
/// The peak is certain when conductance has not risen above it for this time, seconds.
const CERTAIN: f64 = 0.5;
/// The level does not follow a response for longer than this after its peak, seconds.
const HELD: f64 = 20.0;
/// Time constant of the level, seconds.
const FOLLOW: f64 = 10.0;
/// Signal that the level needs, seconds.
const LEVEL_FROM: f64 = 5.0;
/// Seconds of which responses are counted, and of which how many must have signal.
pub(crate) const RATE_WINDOW: u64 = 60;
const RATE_FROM: f64 = 54.0;
/// Longest time between two samples of one piece, seconds.
const LONGEST_GAP: f64 = 1.0;

#[derive(Debug, Clone, Copy, PartialEq)]
struct At {
    /// ns.
    time: u64,
    /// µS.
    value: f64,
}

impl At {
    fn seconds_to(self, later: Self) -> f64 {
        seconds_since(self.time, later.time)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Course {
    /// No response.
    Level,
    Rising {
        onset: At,
        top: At,
    },
    /// From the peak until half of the rise is lost again.
    Falling {
        onset: At,
        top: At,
    },
}

/// Divides skin conductance into its level and its responses, sample by sample.
///
/// Conductance is averaged over 0.1 s and smoothed with a triangular window of 1 s (Kim 2004); the
/// delay of half a second is taken out of all times. A response begins (onset) where the
/// smoothed conductance begins to rise by 0.01 µS/s or more, and has its peak where it rises no
/// more; its amplitude is the difference of the two (Boucsein 2012). It counts if the amplitude
/// is at least 0.05 µS, the rise takes no more than 5 s and is no step.
///
/// The level (tonic) follows the smoothed conductance with a time constant of 10 s, stays where
/// it is from the onset of a response until half of its amplitude is lost again, for 20 s at
/// most, and is never above the conductance.
#[derive(Debug, Clone)]
pub(crate) struct Skin {
    longest_gap: f64,
    half_width: f64,
    sees_responses: bool,
    /// Samples of the bin that is not full: first time, number, sums of times since it and of
    /// values.
    bin: Option<(u64, f64, f64, f64)>,
    /// Averages within the window of the smoothing.
    averages: VecDeque<At>,
    smooth: Option<At>,
    /// Since when there has been signal without a gap, ns.
    since: Option<u64>,
    last: Option<u64>,
    course: Course,
    /// Largest difference between two averages since the onset.
    step: f64,
    level: f64,
    /// Peaks of the last minute, ns.
    peaks: VecDeque<u64>,
    /// For each second, by number: share of it that had signal.
    seconds: [(u64, f64); RATE_WINDOW as usize + 1],
}

impl Skin {
    pub(crate) fn new(rate: f64) -> Self {
        let period = if rate > 0.0 { 1.0 / rate } else { 0.0 };
        Self {
            longest_gap: LONGEST_GAP.max(2.5 * period),
            half_width: HALF_WIDTH.max(1.01 * period),
            sees_responses: rate <= 0.0 || rate >= SLOWEST,
            bin: None,
            averages: VecDeque::with_capacity(64),
            smooth: None,
            since: None,
            last: None,
            course: Course::Level,
            step: 0.0,
            level: 0.0,
            peaks: VecDeque::with_capacity(256),
            seconds: [(u64::MAX, 0.0); RATE_WINDOW as usize + 1],
        }
    }

    /// Samples are missing before the next one.
    pub(crate) fn cut(&mut self) {
        self.bin = None;
        self.averages.clear();
        self.smooth = None;
        self.since = None;
        self.last = None;
        self.course = Course::Level;
    }

    /// Takes a conductance in µS at `time` (ns).
    pub(crate) fn push(&mut self, time: u64, value: f64, mut out: impl FnMut(Scr)) {
        if !value.is_finite() {
            return;
        }
        if let Some(last) = self.last {
            let gap = seconds_since(last, time);
            if time <= last {
                return;
            } else if gap > self.longest_gap {
                self.cut();
            } else {
                let second = time / 1_000_000_000;
                let slot = &mut self.seconds[(second % (RATE_WINDOW + 1)) as usize];
                if slot.0 != second {
                    *slot = (second, 0.0);
                }
                slot.1 += gap;
            }
        }
        self.last = Some(time);
        self.since.get_or_insert(time);
        if let Some((begin, n, times, values)) = self.bin
            && seconds_since(begin, time) >= BIN * 0.999
        {
            self.bin = None;
            self.average(
                At {
                    time: begin + (times / n) as u64,
                    value: values / n,
                },
                &mut out,
            );
        }
        let (begin, n, times, values) = self.bin.get_or_insert((time, 0.0, 0.0, 0.0));
        *n += 1.0;
        *times += (time - *begin) as f64;
        *values += value;
    }

    fn average(&mut self, new: At, out: &mut impl FnMut(Scr)) {
        if let Some(last) = self.averages.back() {
            self.step = self.step.max((new.value - last.value).abs());
        }
        let width = 2.0 * self.half_width;
        while self.averages.len() == self.averages.capacity()
            || self
                .averages
                .front()
                .is_some_and(|a| a.seconds_to(new) >= width)
        {
            self.averages.pop_front();
        }
        self.averages.push_back(new);
        let origin = self.averages[0].time;
        let centre = seconds_since(origin, new.time) - self.half_width;
        let (mut weights, mut times, mut values) = (0.0, 0.0, 0.0);
        for a in &self.averages {
            let t = seconds_since(origin, a.time);
            let weight = (1.0 - (t - centre).abs() / self.half_width).max(0.0);
            weights += weight;
            times += weight * t;
            values += weight * a.value;
        }
        // At the beginning there is nothing on the far side of the centre.
        if centre < 0.0 || weights <= 0.0 {
            return;
        }
        let smooth = At {
            time: origin + (times / weights * 1e9) as u64,
            value: values / weights,
        };
        match self.smooth {
            None => {
                self.smooth = Some(smooth);
                self.level = smooth.value;
            }
            Some(before) if smooth.time > before.time => {
                self.smooth = Some(smooth);
                self.follow(before, smooth, out);
            }
            Some(_) => {}
        }
    }

    fn follow(&mut self, before: At, now: At, out: &mut impl FnMut(Scr)) {
        let passed = before.seconds_to(now);
        let rising = (now.value - before.value) / passed >= RISING;
        self.course = match self.course {
            Course::Rising { onset, top } if now.value > top.value && rising => {
                Course::Rising { onset, top: now }
            }
            Course::Rising { onset, top } if top.seconds_to(now) < CERTAIN => {
                // A slope below that of a rise ends it, though conductance may still creep up.
                Course::Rising { onset, top }
            }
            Course::Rising { onset, top } => self.end_of_rise(onset, top, out),
            _ if rising => {
                // The averages are half a second ahead of what is smooth.
                let pairs = self.averages.iter().zip(self.averages.iter().skip(1));
                let steps = pairs.map(|(a, b)| (b.value - a.value).abs());
                self.step = steps.fold(0.0, f64::max);
                Course::Rising {
                    onset: before,
                    top: now,
                }
            }
            Course::Falling { onset, top } => {
                let half = (top.value + onset.value) / 2.0;
                match now.value <= half || top.seconds_to(now) > HELD {
                    true => Course::Level,
                    false => Course::Falling { onset, top },
                }
            }
            Course::Level => Course::Level,
        };
        // A rise that is too long for a response is one of the level.
        let drifts = match self.course {
            Course::Level => true,
            Course::Rising { onset, .. } => onset.seconds_to(now) > LONGEST_RISE,
            Course::Falling { .. } => false,
        };
        if drifts {
            self.level += (now.value - self.level) * (1.0 - (-passed / FOLLOW).exp());
        }
        self.level = self.level.min(now.value);
    }

    fn end_of_rise(&mut self, onset: At, top: At, out: &mut impl FnMut(Scr)) -> Course {
        let amplitude = top.value - onset.value;
        let rise = onset.seconds_to(top);
        let is_step = self.step > STEP * amplitude;
        if amplitude < SMALLEST || rise > LONGEST_RISE || is_step || !self.sees_responses {
            return Course::Level;
        }
        if self.peaks.len() == self.peaks.capacity() {
            self.peaks.pop_front();
        }
        self.peaks.push_back(top.time);
        out(Scr {
            onset: onset.time,
            peak: top.time,
            amplitude,
            level: onset.value,
        });
        Course::Falling { onset, top }
    }

    /// The level in µS, while there is signal.
    pub(crate) fn level(&self, now: u64) -> Option<f64> {
        let (since, last) = (self.since?, self.last?);
        let fresh = seconds_since(last, now) <= self.longest_gap.max(2.0);
        (fresh && seconds_since(since, last) >= LEVEL_FROM && self.smooth.is_some())
            .then_some(self.level)
    }

    /// Responses per minute within the last minute.
    pub(crate) fn rate(&self, now: u64) -> Option<f64> {
        let second = now / 1_000_000_000;
        let covered: f64 = self
            .seconds
            .iter()
            .filter(|(s, _)| *s <= second && *s + RATE_WINDOW > second)
            .map(|(_, share)| share.min(1.0))
            .sum();
        if covered < RATE_FROM || !self.sees_responses {
            return None;
        }
        let within =
            |peak: &&u64| **peak <= now && seconds_since(**peak, now) <= RATE_WINDOW as f64;
        let count = self.peaks.iter().filter(within).count();
        Some(count as f64 * 60.0 / covered.min(RATE_WINDOW as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response of 1 µS at its peak: bi-exponential, as in the models of Lim 1997.
    fn shape(t: f64) -> f64 {
        if t <= 0.0 {
            return 0.0;
        }
        let at = |t: f64| (-t / 4.0).exp() - (-t / 0.75).exp();
        let peak = (4.0f64 / 0.75).ln() * 4.0 * 0.75 / (4.0 - 0.75);
        at(t) / at(peak)
    }

    /// Time of the peak of [`shape`].
    fn rise() -> f64 {
        (4.0f64 / 0.75).ln() * 4.0 * 0.75 / (4.0 - 0.75)
    }

    struct Run {
        skin: Skin,
        found: Vec<Scr>,
        end: u64,
    }

    fn run(rate: f64, seconds: f64, value: impl Fn(f64) -> f64) -> Run {
        let mut skin = Skin::new(rate);
        let mut found = Vec::new();
        let n = (seconds * rate) as u64;
        let time = |i: u64| (i as f64 * 1e9 / rate) as u64;
        for i in 0..n {
            skin.push(time(i), value(i as f64 / rate), |scr| found.push(scr));
        }
        Run {
            skin,
            found,
            end: time(n),
        }
    }

    #[test]
    fn onset_peak_and_amplitude_are_those_of_the_response_at_any_rate() {
        let events = [(20.0, 0.3), (45.0, 0.08), (70.0, 1.2)];
        for rate in [4.0, 8.0, 32.0, 100.0, 1000.0] {
            let noise = |t: f64| 0.002 * (t * 977.0).sin();
            let run = run(rate, 100.0, |t| {
                4.0 + 0.002 * t
                    + noise(t)
                    + events.iter().map(|(at, a)| a * shape(t - at)).sum::<f64>()
            });
            assert_eq!(run.found.len(), events.len(), "{rate} Hz: {:?}", run.found);
            for (scr, (at, amplitude)) in run.found.iter().zip(events) {
                let (onset, peak) = (scr.onset as f64 * 1e-9, scr.peak as f64 * 1e-9);
                assert!(
                    (onset - at).abs() < 0.6,
                    "{rate} Hz: onset {onset}, expected {at}"
                );
                assert!((peak - at - rise()).abs() < 0.6, "{rate} Hz: peak {peak}");
                assert!(
                    (scr.amplitude / amplitude - 1.0).abs() < 0.15,
                    "{rate} Hz: {}, expected {amplitude}",
                    scr.amplitude
                );
            }
            let level = run.skin.level(run.end).expect("known");
            assert!((level - 4.2).abs() < 0.1, "{rate} Hz: {level}");
        }
    }

    #[test]
    fn drift_steps_and_small_waves_are_no_responses() {
        let drift = run(8.0, 120.0, |t| 2.0 + 0.008 * t);
        assert_eq!(drift.found, []);
        assert_eq!(drift.skin.rate(drift.end), Some(0.0));
        let step = run(8.0, 60.0, |t| if t < 30.0 { 2.0 } else { 3.5 });
        assert_eq!(step.found, []);
        let small = run(8.0, 60.0, |t| 2.0 + 0.04 * shape(t - 20.0));
        assert_eq!(small.found, []);
        let electrode = run(8.0, 60.0, |t| 2.0 + (0.3 * t).min(9.0));
        assert_eq!(
            electrode.found,
            [],
            "half a minute is no rise of a response"
        );
    }

    #[test]
    fn responses_that_ride_on_others_are_counted() {
        let run = run(16.0, 120.0, |t| {
            3.0 + (0..20)
                .map(|k| 0.3 * shape(t - 15.0 - 4.0 * f64::from(k)))
                .sum::<f64>()
        });
        assert_eq!(run.found.len(), 20, "{:?}", run.found);
    }

    #[test]
    fn the_rate_is_per_minute_and_needs_a_minute() {
        let value = |t: f64| {
            3.0 + (0..100)
                .map(|k| 0.3 * shape(t - 10.0 * f64::from(k)))
                .sum::<f64>()
        };
        assert_eq!(run(8.0, 50.0, value).skin.rate(50_000_000_000), None);
        let run = run(8.0, 200.0, value);
        let rate = run.skin.rate(run.end).expect("a minute");
        assert!((rate - 6.0).abs() <= 1.0, "{rate}");
        assert_eq!(run.skin.rate(run.end + 20_000_000_000), None);
        assert_eq!(run.skin.level(run.end + 20_000_000_000), None);
    }

    #[test]
    fn a_gap_makes_no_response_of_two_levels() {
        let mut skin = Skin::new(8.0);
        let mut found = 0;
        for i in 0..800u64 {
            let (time, value) = match i < 400 {
                true => (i * 125_000_000, 2.0),
                false => (i * 125_000_000 + 5_000_000_000, 2.4),
            };
            skin.push(time, value, |_| found += 1);
        }
        assert_eq!(found, 0);
        assert!(
            skin.level(105_000_000_000)
                .is_some_and(|l| (l - 2.4).abs() < 0.01)
        );
    }

    #[test]
    fn a_slow_stream_has_a_level_and_no_responses() {
        let run = run(1.0, 120.0, |t| 3.0 + 0.5 * shape(t - 20.0));
        assert_eq!(run.found, []);
        assert!(
            run.skin
                .level(run.end)
                .is_some_and(|l| (l - 3.0).abs() < 0.05)
        );
        assert_eq!(run.skin.rate(run.end), None);
    }
}
