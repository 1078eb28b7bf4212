// SPDX-License-Identifier: MPL-2.0
use std::collections::VecDeque;

/// The age that is assumed until that of the outlet is known, seconds: most devices send packets
/// of up to 64 samples at 256 Hz.
pub const GUESS: f64 = 0.25;
/// Seconds of samples from which their own age is used.
const WATCH: f64 = 2.0;
/// Ages that are kept.
const MEMORY: usize = 128;
/// An age that this many of the recent samples reach is planned for.
const HABIT: usize = 3;
/// The value is a multiple of this, seconds.
const STEP: f64 = 0.01;

/// How old samples are when they arrive: what the packets of an outlet and its network add to the
/// latency. The value starts at [`GUESS`], is replaced by the measured age once, and only grows
/// from then on: every change means a new latency of the pipeline.
#[derive(Debug)]
pub struct SenderAge {
    recent: VecDeque<f64>,
    since: Option<f64>,
    watched: bool,
    value: f64,
}

impl Default for SenderAge {
    fn default() -> Self {
        Self {
            recent: VecDeque::new(),
            since: None,
            watched: false,
            value: GUESS,
        }
    }
}

impl SenderAge {
    /// The age to plan for, seconds.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Takes the age (seconds, may be negative) of the oldest sample that arrived at `arrival`
    /// (seconds); true when [`SenderAge::value`] has changed.
    pub fn push(&mut self, age: f64, arrival: f64) -> bool {
        if self.recent.len() == MEMORY {
            self.recent.pop_front();
        }
        self.recent.push_back(age.max(0.0));
        let since = *self.since.get_or_insert(arrival);
        if self.watched && age <= self.value {
            // No more is needed than before.
            return false;
        }
        let mut oldest = [0.0f64; HABIT];
        for &age in &self.recent {
            if age > oldest[0] {
                oldest[0] = age;
                oldest.sort_by(f64::total_cmp);
            }
        }
        let needed = (oldest[0] / STEP).ceil() * STEP;
        let old = self.value;
        if !self.watched && arrival - since >= WATCH && self.recent.len() >= HABIT {
            self.watched = true;
            self.value = needed;
        } else {
            self.value = self.value.max(needed);
        }
        (self.value - old).abs() > f64::EPSILON
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guess_gives_way_to_what_is_seen() {
        let mut age = SenderAge::default();
        assert_eq!(age.value(), GUESS);
        let mut changes = 0;
        for n in 0..1000 {
            changes += u32::from(age.push(0.0005, f64::from(n) * 0.01));
        }
        assert_eq!(changes, 1);
        assert!((age.value() - 0.01).abs() < 1e-9);
        // One accident changes nothing, a habit does, and it stays.
        assert!(!age.push(0.8, 10.0));
        assert!(!age.push(0.8, 10.1));
        assert!(age.push(0.8, 10.2));
        assert!((age.value() - 0.8).abs() < 0.011);
        for n in 0..1000 {
            assert!(!age.push(0.0, 11.0 + f64::from(n) * 0.01));
        }
    }

    #[test]
    fn large_packets_raise_it_at_once() {
        let mut age = SenderAge::default();
        for n in 0..3 {
            age.push(0.5, f64::from(n) * 0.5);
        }
        assert!((age.value() - 0.5).abs() < 0.011);
    }
}
