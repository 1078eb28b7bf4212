// SPDX-License-Identifier: MPL-2.0
//! Inter-beat intervals: which of them are normal, and the newest five minutes of them.

use std::collections::VecDeque;

/// Seconds of which intervals are kept: the five minutes of a short-term recording (Task
/// Force 1996).
pub(crate) const WINDOW: f64 = 300.0;
/// Shortest and longest interval that a heart makes, seconds (200 and 30 beats per minute).
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.3..=2.0;
/// Most intervals that are kept: those of the window at the shortest interval.
const MOST: usize = (WINDOW / 0.3) as usize;
/// Intervals on each side that one is compared with.
const NEIGHBOURS: usize = 5;
/// An interval may differ by this share of the median of its neighbours (the 20 % of Malik
/// 1989), by more where they vary more, but never by [`MOST_TOLERANCE`].
const TOLERANCE: f64 = 0.2;
const MOST_TOLERANCE: f64 = 0.35;
/// How many quartile deviations of the neighbours an interval may differ.
const DEVIATIONS: f64 = 3.0;
/// Beats of less confidence begin and end no normal interval.
const CONFIDENT: f64 = 0.5;

/// From one beat to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    /// Time of the later beat, ns.
    pub(crate) end: u64,
    /// Length in seconds.
    pub(crate) length: f64,
    /// Both beats are certain.
    certain: bool,
    /// It is no artefact and no ectopic beat, as far as its neighbours tell.
    pub(crate) normal: bool,
    /// It begins where the one before it in the ring ends.
    pub(crate) follows: bool,
}

/// The intervals of the last five minutes.
///
/// An interval is normal if both its beats are certain, it is 0.3 to 2 s long and it differs
/// from the median of the five intervals before and the five after it by no more than 20 % of
/// the median, or three quartile deviations where these are more, and never by more than 35 %. An
/// interval is judged at once with what came before it, and again with each of the five that
/// follow. What is not normal is left out and not replaced by a made-up value.
#[derive(Debug, Clone)]
pub(crate) struct Intervals {
    ring: VecDeque<Interval>,
    last: Option<(u64, f64)>,
}

impl Intervals {
    pub(crate) fn new() -> Self {
        Self {
            ring: VecDeque::with_capacity(MOST + 1),
            last: None,
        }
    }

    /// Beats are missing before the next one: no interval leads there.
    pub(crate) fn cut(&mut self) {
        self.last = None;
    }

    /// Takes a beat at `time` (ns) and gives the interval that it ends, if there is one.
    pub(crate) fn beat(&mut self, time: u64, confidence: f64) -> Option<Interval> {
        let (before, sure) = self.last.replace((time, confidence))?;
        let length = time.checked_sub(before).filter(|l| *l > 0)? as f64 * 1e-9;
        let follows = self.ring.back().is_some_and(|i| i.end == before);
        self.ring.push_back(Interval {
            end: time,
            length,
            certain: confidence >= CONFIDENT && sure >= CONFIDENT,
            normal: false,
            follows,
        });
        while self.ring.len() > MOST
            || self
                .ring
                .front()
                .is_some_and(|i| seconds_since(i.end, time) > WINDOW)
        {
            self.ring.pop_front();
        }
        for index in self.ring.len().saturating_sub(NEIGHBOURS + 1)..self.ring.len() {
            self.ring[index].normal = self.is_normal(index);
        }
        self.ring.back().copied()
    }

    fn is_normal(&self, index: usize) -> bool {
        let interval = self.ring[index];
        if !interval.certain || !PLAUSIBLE.contains(&interval.length) {
            return false;
        }
        let mut near = [0.0; 2 * NEIGHBOURS + 1];
        let mut count = 0;
        let from = index.saturating_sub(NEIGHBOURS);
        for neighbour in self
            .ring
            .iter()
            .skip(from)
            .take(index - from + 1 + NEIGHBOURS)
        {
            if PLAUSIBLE.contains(&neighbour.length) {
                near[count] = neighbour.length;
                count += 1;
            }
        }
        let near = &mut near[..count];
        near.sort_by(f64::total_cmp);
        let at = |share: f64| near[((count - 1) as f64 * share).round() as usize];
        let (median, deviation) = (at(0.5), (at(0.75) - at(0.25)) / 2.0);
        let tolerance = (TOLERANCE * median).max(DEVIATIONS * deviation);
        (interval.length - median).abs() <= tolerance.min(MOST_TOLERANCE * median)
    }

    /// Time of the last beat, ns.
    pub(crate) fn last_beat(&self) -> Option<u64> {
        self.ring.back().map(|i| i.end)
    }

    /// The intervals that end within `span` seconds before `now`, oldest first.
    pub(crate) fn within(&self, now: u64, span: f64) -> impl Iterator<Item = &Interval> + Clone {
        self.ring
            .iter()
            .filter(move |i| i.end <= now && seconds_since(i.end, now) + i.length <= span)
    }
}

pub(crate) fn seconds_since(then: u64, now: u64) -> f64 {
    now.saturating_sub(then) as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(intervals: &mut Intervals, time: &mut u64, lengths: &[f64]) {
        for length in lengths {
            *time += (length * 1e9) as u64;
            intervals.beat(*time, 1.0);
        }
    }

    fn normal(intervals: &Intervals) -> Vec<bool> {
        intervals.ring.iter().map(|i| i.normal).collect()
    }

    #[test]
    fn missed_extra_and_ectopic_beats_are_left_out() {
        let (mut intervals, mut time) = (Intervals::new(), 0);
        intervals.beat(0, 1.0);
        // The very first is a missed beat: the later ones show it.
        let lengths = [
            1.6, 0.8, 0.82, 0.79, 0.8, 0.83, 0.5, 1.1, 0.8, 0.78, 0.4, 0.4, 0.81, 1.6, 0.8, 0.8,
        ];
        push(&mut intervals, &mut time, &lengths);
        let want: Vec<bool> = lengths.iter().map(|l| (0.7..0.9).contains(l)).collect();
        assert_eq!(normal(&intervals), want);
    }

    #[test]
    fn breathing_and_a_change_of_rate_are_not_artefacts() {
        let (mut intervals, mut time) = (Intervals::new(), 0);
        intervals.beat(0, 1.0);
        // A strong respiratory arrhythmia: 60 beats per minute, 25 % up and down.
        let breathing: Vec<f64> = (0..40)
            .map(|i| 1.0 + 0.25 * (i as f64 * 1.4).sin())
            .collect();
        push(&mut intervals, &mut time, &breathing);
        // From 60 to 100 beats per minute within 20 beats.
        let faster: Vec<f64> = (0..20).map(|i| 1.0 - 0.02 * i as f64).collect();
        push(&mut intervals, &mut time, &faster);
        let left_out = normal(&intervals).iter().filter(|n| !**n).count();
        assert!(left_out <= 1, "{left_out} of 60 are left out");
    }

    #[test]
    fn doubt_and_gaps_make_no_normal_interval() {
        let mut intervals = Intervals::new();
        for (i, confidence) in [1.0, 1.0, 0.2, 1.0, 1.0].into_iter().enumerate() {
            intervals.beat(i as u64 * 800_000_000, confidence);
        }
        assert_eq!(normal(&intervals), [true, false, false, true]);
        intervals.cut();
        assert_eq!(intervals.beat(5_000_000_000, 1.0), None);
        let next = intervals.beat(5_800_000_000, 1.0).expect("an interval");
        assert!(next.normal && !next.follows);
    }

    #[test]
    fn no_more_than_five_minutes_are_kept() {
        let mut intervals = Intervals::new();
        let capacity = intervals.ring.capacity();
        for i in 0..20_000u64 {
            intervals.beat(i * 300_000_000, 1.0);
            // Times that go back, and a burst of beats, do no harm.
            if i % 1000 == 999 {
                for k in 0..2000 {
                    intervals.beat(i * 300_000_000 + k, 1.0);
                }
            }
        }
        assert!(intervals.ring.len() <= MOST);
        assert_eq!(intervals.ring.capacity(), capacity);
    }
}
