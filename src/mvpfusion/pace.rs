// SPDX-License-Identifier: MPL-2.0
//! Whether the timestamp of a video frame continues those before it.

/// One frame may be this far (ns) before or after its neighbours, whatever their rate.
pub(super) const NEAR: u64 = 1_000_000_000;
/// A first frame up to this running time (ns) needs no second one to confirm it.
const START: u64 = 10_000_000_000;
/// So many frames in a row that agree with each other make a jump.
const AGREE: u32 = 3;
/// The usual distance of frames is the median of this many.
const GAPS: usize = 8;

/// What to do with a frame. Times are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It continues the frames before.
    On,
    /// Its timestamp is far from those of its neighbours so far.
    Stray,
    /// With the frames before it, it continues from `to`. The frames before those ended at
    /// `from`, where there were some.
    Jump { from: Option<u64>, to: u64 },
}

/// Frames away from the expected time that follow each other.
#[derive(Debug, Clone, Copy)]
struct Off {
    first: u64,
    newest: u64,
    count: u32,
}

/// Follows the times of frames.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    newest: Option<u64>,
    /// Of the newest frame.
    duration: u64,
    gaps: [u64; GAPS],
    seen: usize,
    off: Option<Off>,
}

impl Pace {
    /// Takes the running time of the next frame, and its duration where it has one.
    pub(super) fn judge(&mut self, time: u64, duration: Option<u64>) -> Verdict {
        let on = match self.newest {
            None => time <= START,
            Some(newest) => {
                time.saturating_add(NEAR) >= newest && time <= newest.saturating_add(self.reach())
            }
        };
        if on {
            self.off = None;
            if let Some(gap) = self.newest.and_then(|n| time.checked_sub(n)) {
                self.note(gap);
            }
            self.newest = self.newest.max(Some(time));
            self.duration = duration.unwrap_or(0);
            return Verdict::On;
        }
        let away = self.newest.map_or(0, |n| n.abs_diff(time));
        let reach = self.reach().max(away.min(START));
        let off = match self.off {
            Some(off) if time > off.newest && time - off.newest <= reach => Off {
                newest: time,
                count: off.count + 1,
                ..off
            },
            _ => Off {
                first: time,
                newest: time,
                count: 1,
            },
        };
        if off.count < AGREE {
            self.off = Some(off);
            return Verdict::Stray;
        }
        let from = self.newest;
        *self = Self {
            newest: Some(time),
            duration: duration.unwrap_or(0),
            ..Self::default()
        };
        self.note((time - off.first) / u64::from(AGREE - 1));
        Verdict::Jump {
            from,
            to: off.first,
        }
    }

    fn note(&mut self, gap: u64) {
        self.gaps[self.seen % GAPS] = gap;
        self.seen += 1;
    }

    /// How much later than the newest frame the next one may be.
    fn reach(&self) -> u64 {
        let mut gaps = self.gaps;
        let gaps = &mut gaps[..self.seen.min(GAPS)];
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
        NEAR.max(usual.max(self.duration).saturating_mul(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn judge(pace: &mut Pace, seconds: &[f64]) -> Vec<Verdict> {
        let times = seconds.iter().map(|s| (s * 1e9) as u64);
        times.map(|t| pace.judge(t, None)).collect()
    }

    /// Frame times at `rate` Hz in `from..to` seconds.
    fn frames(rate: f64, from: f64, to: f64) -> Vec<f64> {
        let n = ((to - from) * rate).round() as usize;
        (0..n).map(|i| from + i as f64 / rate).collect()
    }

    #[test]
    fn frames_in_order_are_believed_at_any_rate() {
        for rate in [120.0, 30.0, 5.0, 1.0] {
            let verdicts = judge(&mut Pace::default(), &frames(rate, 0.4, 60.0));
            assert!(verdicts.iter().all(|v| *v == Verdict::On), "{rate} Hz");
        }
        // Slower ones say how long they last.
        let mut pace = Pace::default();
        for i in 0..20 {
            assert_eq!(pace.judge(i * 7 * S, Some(7 * S)), Verdict::On);
        }
        // Or are believed once they are known.
        let mut pace = Pace::default();
        let verdicts = judge(&mut pace, &frames(0.2, 0.0, 100.0));
        assert!(verdicts[4..].iter().all(|v| *v == Verdict::On));
        assert!(matches!(verdicts[3], Verdict::Jump { .. }), "{verdicts:?}");
    }

    #[test]
    fn a_frame_may_be_dropped_or_a_little_late() {
        let times = [0.0, 0.1, 0.2, 1.1, 1.15, 1.1, 1.2, 0.9, 2.0];
        let verdicts = judge(&mut Pace::default(), &times);
        assert!(verdicts.iter().all(|v| *v == Verdict::On), "{verdicts:?}");
    }

    #[test]
    fn one_or_two_strays_change_nothing() {
        for strays in [
            vec![106.0],
            vec![1e9],
            vec![8.5],
            vec![0.0],
            vec![106.0, 106.1],
            vec![106.0, 0.0],
            vec![0.0, 106.0, 0.0, 106.0],
            // Not even for good: they do not follow each other.
            vec![106.0, 106.0, 106.0, 106.0, 106.0],
            vec![300.0, 200.0, 100.0, 90.0, 80.0],
        ] {
            let mut pace = Pace::default();
            judge(&mut pace, &frames(10.0, 0.0, 6.0));
            let off = judge(&mut pace, &strays);
            assert!(off.iter().all(|v| *v == Verdict::Stray), "{strays:?}");
            let after = judge(&mut pace, &frames(10.0, 6.2, 9.0));
            assert!(after.iter().all(|v| *v == Verdict::On), "{strays:?}");
        }
    }

    #[test]
    fn frames_that_agree_begin_a_new_time_line() {
        for to in [106.0, 2.0, 0.0, 1e9] {
            let mut pace = Pace::default();
            judge(&mut pace, &frames(10.0, 0.0, 6.0));
            let verdicts = judge(&mut pace, &frames(10.0, to, to + 2.0));
            assert_eq!(verdicts[..2], [Verdict::Stray, Verdict::Stray]);
            let Verdict::Jump { from, to: begun } = verdicts[2] else {
                panic!("{to}: {verdicts:?}");
            };
            assert_eq!((from, begun), (Some(5_900_000_000), (to * 1e9) as u64));
            assert!(verdicts[3..].iter().all(|v| *v == Verdict::On), "{to}");
        }
    }

    #[test]
    fn a_late_start_needs_frames_that_agree_and_a_stray_one_none() {
        let mut pace = Pace::default();
        let verdicts = judge(&mut pace, &frames(30.0, 500.0, 501.0));
        assert_eq!(
            verdicts[..3],
            [
                Verdict::Stray,
                Verdict::Stray,
                Verdict::Jump {
                    from: None,
                    to: 500 * S
                }
            ]
        );
        let verdicts = judge(&mut Pace::default(), &[500.0, 0.1, 0.2]);
        assert_eq!(verdicts, [Verdict::Stray, Verdict::On, Verdict::On]);
    }
}
