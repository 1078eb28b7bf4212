// SPDX-License-Identifier: MPL-2.0
//! Single samples of skin conductance that the skin did not give.

use crate::quality::{CONTACT, SignalKind};

/// Seconds in which the limits below hold; for samples further apart they grow with the time.
const STEP: f64 = 0.25;
/// Largest fall, of the value before: sweat is cleared slowly.
const FALL: f64 = 0.3;
/// Largest rise, of the value before, and in µS in addition.
const RISE: f64 = 0.6;
const RISE_MORE: f64 = 0.2;
/// Seconds for which a new level must hold before it is believed.
const CONFIRMED: f64 = 0.75;
/// Seconds after which nothing is known of the level any more.
const STALE: f64 = 3.0;

/// What a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    /// Skin conductance.
    Good,
    /// The first sample of a level that has been confirmed: what was before has nothing to do
    /// with it.
    Anew,
    /// The electrodes are off.
    Detached,
    /// Too far from its neighbours.
    Outlier,
}

/// Rejects samples without contact, and steps until they have proved to be a new level. Both are
/// known at once, seconds before the quality of the signal shows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContactWatch {
    /// Time (ns) and value of the last good sample.
    last: Option<(u64, f64)>,
    /// A level that is not believed yet: since when, its first value, its newest time and value.
    candidate: Option<(u64, f64, u64, f64)>,
}

impl ContactWatch {
    /// For signals of this kind; `None` where nothing is known of single samples.
    pub(crate) fn of(kind: SignalKind) -> Option<Self> {
        (kind == SignalKind::Eda).then(Self::default)
    }

    /// Takes a finite sample in µS.
    pub(crate) fn accept(&mut self, time: u64, value: f64) -> Contact {
        if value < CONTACT[0] {
            self.candidate = None;
            return Contact::Detached;
        }
        let known = self.last.filter(|(t, _)| seconds(*t, time) <= STALE);
        let Some((at, level)) = known else {
            self.candidate = None;
            self.last = Some((time, value));
            return Contact::Anew;
        };
        // A level does not come nearer while it waits to be believed.
        let apart = self.candidate.map_or(time, |(since, ..)| since);
        if follows(level, value, seconds(at, apart)) {
            self.candidate = None;
            self.last = Some((time, value));
            return Contact::Good;
        }
        let same = self
            .candidate
            .filter(|(_, _, t, v)| follows(*v, value, seconds(*t, time)));
        let (since, first) = same.map_or((time, value), |(since, first, ..)| (since, first));
        self.candidate = Some((since, first, time, value));
        if seconds(since, time) < CONFIRMED {
            return Contact::Outlier;
        }
        self.candidate = None;
        self.last = Some((time, value));
        // A steep response goes on rising; after a step the level stays.
        if (value - first).abs() < 0.2 * (first - level).abs() {
            Contact::Anew
        } else {
            Contact::Good
        }
    }
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 * 1e-9
}

/// Whether skin can get from one value to the other within the time.
fn follows(from: f64, to: f64, time: f64) -> bool {
    let steps = (time / STEP).max(1.0);
    to >= from * (1.0 - FALL).powf(steps) && to <= from + (RISE * from + RISE_MORE) * steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(rate: f64, values: impl IntoIterator<Item = f64>) -> Vec<Contact> {
        let mut watch = ContactWatch::default();
        let at = |i: usize| crate::nanoseconds(i as f64 / rate);
        let values = values.into_iter().enumerate();
        values.map(|(i, v)| watch.accept(at(i), v)).collect()
    }

    #[test]
    fn spikes_are_outliers_and_a_new_level_is_believed_later() {
        let mut values = vec![2.0; 20];
        values[8] = 7.0;
        values[12] = 0.4;
        values.extend([5.0; 12]);
        let got = watch(4.0, values);
        assert_eq!(got[0], Contact::Anew);
        for (i, contact) in got.iter().enumerate().skip(1) {
            let want = match i {
                8 | 12 | 20..=22 => Contact::Outlier,
                23 => Contact::Anew,
                _ => Contact::Good,
            };
            assert_eq!(*contact, want, "sample {i}");
        }
    }

    #[test]
    fn without_contact_nothing_is_believed() {
        let values = (0..40).map(|i| match i {
            10..=29 => 0.003 * f64::from(i % 3 - 1),
            _ => 1.5,
        });
        let got = watch(4.0, values);
        assert!(got[10..30].iter().all(|c| *c == Contact::Detached));
        assert_eq!(got[30], Contact::Anew);
        assert!(got[31..].iter().all(|c| *c == Contact::Good));
    }

    /// A response of 2 µS that rises within a second, at every rate.
    #[test]
    fn responses_are_good() {
        for rate in [2.0, 4.0, 8.0, 32.0, 100.0] {
            let values = (0..(20.0 * rate) as usize).map(|i| {
                let s = (i as f64 / rate - 5.0).max(0.0);
                1.0 + 2.0 * (1.0 - (-3.0 * s).exp()).powi(2) * (-s / 4.0).exp()
            });
            let got = watch(rate, values);
            assert!(got[1..].iter().all(|c| *c == Contact::Good), "{rate} Hz");
        }
    }
}
