// SPDX-License-Identifier: MPL-2.0
//! The heart rate of the last seconds.

use super::{Beat, median};
use std::collections::VecDeque;

/// Intervals within the span that a rate needs.
const ENOUGH: usize = 3;
/// Share of the span, or of the time since the start or the last gap, that the intervals must
/// cover.
const COVERED: f64 = 0.4;
/// Seconds that beats come late and that are not counted as uncovered.
const LATE: f64 = 1.5;

/// 60 divided by the median of the inter-beat intervals, in seconds, of the last seconds.
///
/// An interval counts if both its beats are sure ([`Beat::SURE`]) and it is within the limits.
/// There is a rate while at least three count and they cover 40 % of the time: the median of
/// what little a bad signal leaves says nothing about the heart. The limits alone say which interval is
/// plausible; how much one differs from the others does not, so an irregular
/// heart has a rate as well.
#[derive(Debug, Clone)]
pub struct HeartRate {
    /// Limits of an interval, seconds.
    shortest: f64,
    longest: f64,
    /// Nanoseconds.
    span: u64,
    /// Time of the last beat, and whether it was sure.
    last: Option<(u64, bool)>,
    /// Intervals that count: end (ns) and length (seconds), newest last.
    intervals: VecDeque<(u64, f64)>,
    /// Time (ns) of the first beat since the start or a gap.
    began: Option<u64>,
    /// The rate of `intervals`.
    known: Option<f64>,
}

impl HeartRate {
    /// `min`, `max`: the lowest and the highest rate, beats per minute; other intervals do not
    /// count. `span`: seconds of which the intervals count.
    pub fn new(min: f64, max: f64, span: f64) -> Self {
        Self {
            shortest: 60.0 / max,
            longest: 60.0 / min,
            span: crate::nanoseconds(span),
            last: None,
            intervals: VecDeque::new(),
            began: None,
            known: None,
        }
    }

    /// Takes the next beat.
    pub fn beat(&mut self, beat: Beat) {
        let sure = beat.confidence >= Beat::SURE;
        self.began.get_or_insert(beat.time);
        if let Some((before, was_sure)) = self.last
            && sure
            && was_sure
            && beat.time > before
        {
            let length = (beat.time - before) as f64 * 1e-9;
            if (self.shortest..=self.longest).contains(&length) {
                self.intervals.push_back((beat.time, length));
                self.tell();
            }
        }
        self.last = Some((beat.time, sure));
    }

    /// Says that samples are missing: no interval is measured across the gap, and those before
    /// it do not count any more.
    pub fn cut(&mut self) {
        self.last = None;
        self.began = None;
        self.intervals.clear();
        self.known = None;
    }

    /// Beats per minute at `now_ns`; `None` while it is not known.
    pub fn rate(&mut self, now_ns: u64) -> Option<f64> {
        let from = now_ns.saturating_sub(self.span);
        let before = self.intervals.len();
        while self.intervals.front().is_some_and(|(t, _)| *t < from) {
            self.intervals.pop_front();
        }
        if self.intervals.len() != before {
            self.tell();
        }
        let known = self.known?;
        let since = now_ns.saturating_sub(from.max(self.began?)) as f64 * 1e-9;
        let covered: f64 = self.intervals.iter().map(|(_, length)| length).sum();
        (covered >= COVERED * (since - LATE)).then_some(known)
    }

    fn tell(&mut self) {
        self.known = if self.intervals.len() < ENOUGH {
            None
        } else {
            median(self.intervals.iter().map(|(_, length)| *length)).map(|m| 60.0 / m)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(rate: &mut HeartRate, from: f64, interval: f64, count: u32, confidence: f64) -> f64 {
        for i in 0..count {
            let time = crate::nanoseconds(from + f64::from(i) * interval);
            rate.beat(Beat { time, confidence });
        }
        from + f64::from(count) * interval
    }

    fn at(rate: &mut HeartRate, seconds: f64) -> Option<f64> {
        rate.rate(crate::nanoseconds(seconds))
    }

    #[test]
    fn a_rate_needs_three_intervals_and_ends_after_the_last_beat() {
        let mut rate = HeartRate::new(40.0, 180.0, 10.0);
        beats(&mut rate, 1.0, 0.8, 3, 1.0);
        assert_eq!(at(&mut rate, 2.7), None);
        beats(&mut rate, 3.4, 0.8, 1, 1.0);
        assert!((at(&mut rate, 3.5).expect("a rate") - 75.0).abs() < 1e-6);
        assert_eq!(at(&mut rate, 30.0), None);
    }

    #[test]
    fn no_interval_spans_a_cut_or_an_unsure_beat() {
        let mut rate = HeartRate::new(20.0, 180.0, 10.0);
        beats(&mut rate, 0.0, 1.0, 5, 1.0);
        rate.cut();
        assert_eq!(at(&mut rate, 4.1), None);
        beats(&mut rate, 6.0, 0.5, 4, 1.0);
        assert!((at(&mut rate, 7.6).expect("a rate") - 120.0).abs() < 1e-6);
        let mut rate = HeartRate::new(20.0, 180.0, 10.0);
        for i in 0..20 {
            let confidence = if i % 2 == 0 { 1.0 } else { 0.4 };
            beats(&mut rate, f64::from(i), 1.0, 1, confidence);
        }
        assert_eq!(at(&mut rate, 20.0), None);
    }

    #[test]
    fn an_irregular_heart_has_a_rate() {
        let mut rate = HeartRate::new(40.0, 180.0, 10.0);
        let mut t = 0.0;
        for i in 0..30 {
            t = beats(&mut rate, t, [0.5, 1.1, 0.7, 0.9, 0.6][i % 5], 1, 1.0);
        }
        let told = at(&mut rate, t).expect("a rate");
        assert!((60.0..=120.0).contains(&told), "{told}");
    }

    #[test]
    fn few_sure_intervals_among_many_are_no_rate() {
        let mut rate = HeartRate::new(40.0, 180.0, 10.0);
        beats(&mut rate, 0.0, 0.8, 25, 0.2);
        let t = beats(&mut rate, 20.0, 0.5, 4, 1.0);
        assert_eq!(at(&mut rate, t), None);
        let mut rate = HeartRate::new(40.0, 180.0, 10.0);
        let t = beats(&mut rate, 0.0, 0.5, 4, 1.0);
        beats(&mut rate, t, 0.8, 9, 0.2);
        assert_eq!(at(&mut rate, t + 7.0), None);
    }
}
