// SPDX-License-Identifier: MPL-2.0
//! Whether a timestamp can be right.

/// Distinguishes timestamps that jitter, packets, bursts and losses explain from wrong ones: those
/// ahead of what the stream's timestamps reach, and those in the past although newer ones came
/// before.
///
/// It looks at the difference of arrival and timestamp, which is the age on arrival plus the clock
/// offset. No sample arrives before it was taken, so the smallest difference hardly changes. A
/// late sample may have any larger one, as long as the timestamps grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    /// Seconds ahead and behind that jitter and rounding explain.
    ahead: f64,
    behind: f64,
    /// The clock offset where it is known: the difference of a sample without delay.
    anchor: Option<f64>,
    newest: f64,
    /// Begin, smallest and largest difference of the current slice of time, and the
    /// differences of the one before.
    slice: Option<(f64, f64, f64)>,
    before: Option<(f64, f64)>,
}

/// The most that jitter explains, in seconds and in intervals. Outlets that send ahead of time
/// reach it.
const JITTER: f64 = 0.75;
const INTERVALS: f64 = 3.0;
/// The same for events, seconds. Some outlets give them a timestamp in the near future, some that
/// of their beginning.
const EVENT_AHEAD: f64 = 2.0;
const EVENT_BEHIND: f64 = 10.0;
const SLICE: f64 = 10.0;

impl Gate {
    /// `interval`: seconds per sample of a regular stream.
    pub(crate) fn new(interval: Option<f64>) -> Self {
        let regular = interval.map(|i| JITTER.max(INTERVALS * i));
        Self {
            ahead: regular.unwrap_or(EVENT_AHEAD),
            behind: regular.unwrap_or(EVENT_BEHIND),
            anchor: None,
            newest: f64::NEG_INFINITY,
            slice: None,
            before: None,
        }
    }

    /// Seconds by which a timestamp may be ahead.
    pub(crate) fn ahead(&self) -> f64 {
        self.ahead
    }

    /// The offset of the outlet's clock, if its timestamps are of that clock.
    pub(crate) fn anchor(&mut self, offset: Option<f64>) {
        self.anchor = offset;
    }

    /// A clock reset: what was seen before does not count.
    pub(crate) fn restart(&mut self) {
        self.newest = f64::NEG_INFINITY;
        self.slice = None;
        self.before = None;
    }

    /// Smallest and largest difference of the last 10 to 20 s.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let slice = self.slice.map(|(_, least, most)| (least, most));
        [slice, self.before, self.anchor.map(|a| (a, a))]
            .into_iter()
            .flatten()
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Whether a timestamp can be right.
    pub(crate) fn fits(&self, stamp: f64, arrival: f64) -> bool {
        let difference = arrival - stamp;
        let Some((least, most)) = self.range() else {
            return stamp.is_finite();
        };
        stamp.is_finite()
            && difference >= least - self.ahead
            && (stamp >= self.newest - self.behind || difference <= most + self.behind)
    }

    /// Takes a timestamp that is right.
    pub(crate) fn take(&mut self, stamp: f64, arrival: f64) {
        let difference = arrival - stamp;
        self.newest = self.newest.max(stamp);
        match &mut self.slice {
            Some((begin, least, most)) if arrival - *begin < SLICE => {
                *least = least.min(difference);
                *most = most.max(difference);
            }
            slice => {
                self.before = slice.map(|(_, least, most)| (least, most));
                *slice = Some((arrival, difference, difference));
            }
        }
    }

    /// Seconds by which a timestamp is ahead of what it could be, or (negative) behind.
    pub(crate) fn off(&self, stamp: f64, arrival: f64) -> f64 {
        let difference = arrival - stamp;
        match self.range() {
            Some((least, most)) if difference > least => most.min(difference) - difference,
            Some((least, _)) => least - difference,
            None => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use proptest::prelude::*;

    /// Shows the gate timestamps that all are right; panics at the first that it doubts.
    fn passes(gate: &mut Gate, samples: impl IntoIterator<Item = (f64, f64)>) {
        for (stamp, arrival) in samples {
            assert!(gate.fits(stamp, arrival), "{stamp} at {arrival}: {gate:?}");
            gate.take(stamp, arrival);
        }
    }

    fn regular(rate: f64) -> Gate {
        Gate::new(Some(1.0 / rate))
    }

    #[test]
    fn what_senders_do_is_right() {
        for anchor in [None, Some(0.0)] {
            let new = |rate| {
                let mut gate = regular(rate);
                gate.anchor(anchor);
                gate
            };
            // A player that timestamps the rest of its chunk in the future, by 62 ms or 1 s.
            for chunk in [16, 256] {
                let player = (0..5000).map(|n| {
                    let arrival = f64::from(n / chunk * chunk) / 256.0 + 100.0;
                    (f64::from(n) / 256.0 + 100.0, arrival)
                });
                passes(&mut new(256.0), player);
            }
            // Packets of 73, 0.56 s long.
            let packets = (0..5000).map(|n| {
                let arrival = f64::from(n / 73 * 73 + 72) / 130.0 + 100.0;
                (f64::from(n) / 130.0 + 100.0, arrival)
            });
            passes(&mut new(130.0), packets);
            // 30 s come late and at once, with their own timestamps or with new ones.
            let late = (0..6000).map(|n| {
                let t = f64::from(n) / 50.0 + 100.0;
                (
                    t,
                    if (130.0..160.0).contains(&t) {
                        160.0
                    } else {
                        t
                    },
                )
            });
            passes(&mut new(50.0), late.clone());
            passes(&mut new(50.0), late.map(|(_, arrival)| (arrival, arrival)));
            // An hour of drift by 100 ppm, with a clock that nobody corrects.
            if anchor.is_none() {
                let drift = (0..14_400).map(|n| {
                    let t = f64::from(n) / 4.0;
                    (t * 1.0001, t + 5.0)
                });
                passes(&mut new(4.0), drift);
            }
            // A backlog at the begin, and a loss of 60 s.
            let backlog = (0..3000).map(|n| {
                let t = f64::from(n) / 100.0;
                (t, t.max(20.0))
            });
            passes(&mut new(100.0), backlog);
            let loss = (0..500).map(|n| {
                let t = f64::from(n) / 4.0 + if n < 250 { 0.0 } else { 60.0 };
                (t, t + 0.01)
            });
            passes(&mut new(4.0), loss);
        }
    }

    #[test]
    fn a_stamp_of_this_moment_may_come_after_any_delay() {
        // Only a known clock can tell a loss behind a delay from a step.
        let mut gate = regular(100.0);
        gate.anchor(Some(0.0));
        passes(
            &mut gate,
            (0..500).map(|n| (f64::from(n) / 100.0, f64::from(n) / 100.0 + 3.0)),
        );
        assert!(gate.fits(8.2, 8.2));
        assert!(gate.fits(8.9, 8.2));
        assert!(!gate.fits(9.0, 8.2));
    }

    #[test]
    fn events_may_be_early_and_late() {
        let mut gate = Gate::new(None);
        gate.anchor(Some(0.0));
        passes(&mut gate, [(100.0, 100.0), (161.5, 160.0), (155.0, 161.0)]);
        assert!(!gate.fits(230.0, 170.0));
        assert!(!gate.fits(100.0, 170.0));
    }

    proptest! {
        /// A timestamp off by more than jitter is seen, whatever the stream and the fault.
        #[test]
        fn a_fault_is_seen(
            rate in 1.0..2000.0f64,
            epoch in -1e9..2e9f64,
            jitter in 0.0..0.05f64,
            packet in 1usize..40,
            anchored: bool,
            off in 0.0..1.0f64,
            future: bool,
        ) {
            let mut gate = regular(rate);
            gate.anchor(anchored.then_some(-epoch));
            let mut noise = Noise::new(packet as u64);
            let mut last = (0.0, 0.0);
            for n in 0..400 {
                let end = (n / packet * packet + packet - 1) as f64 / rate;
                let stamp = n as f64 / rate + epoch + (noise.uniform() - 0.5) * jitter;
                last = (stamp, end + jitter);
                prop_assert!(gate.fits(last.0, last.1));
                gate.take(last.0, last.1);
            }
            // From just above what jitter explains to years.
            let length = packet as f64 / rate;
            let off = (gate.ahead() + length + 2.0 * jitter) * 10f64.powf(off * 9.0) + 1e-3;
            let stamp = last.0 + if future { off } else { -off };
            prop_assert!(!gate.fits(stamp, last.1 + 1.0 / rate), "{} {}", off, length);
            for stamp in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                prop_assert!(!gate.fits(stamp, last.1));
            }
        }
    }
}
