// SPDX-License-Identifier: MPL-2.0
//! After how much silence a stream is lost.

use std::{collections::VecDeque, time::Duration};

/// A stream is not lost before so many of its periods have passed.
const PERIODS: u32 = 3;
/// The observed period is the median of this many at most, and at least.
const MOST: usize = 7;
const LEAST: usize = 3;

/// How long a stream of regular rate may be silent: `data-timeout`, but not less than
/// three periods. The period is the longer of the one that the stream declares and the one
/// in which its packets were seen to come.
#[derive(Debug)]
pub(super) struct Patience {
    timeout: Duration,
    /// By the stream's own word.
    nominal: Duration,
    recent: VecDeque<Duration>,
}

impl Patience {
    /// `rate`: samples per second, above 0.
    pub(super) fn new(timeout: Duration, rate: f64) -> Self {
        Self {
            timeout,
            nominal: Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX),
            recent: VecDeque::new(),
        }
    }

    /// Samples came this long after those before them.
    pub(super) fn came(&mut self, after: Duration) {
        if self.recent.len() == MOST {
            self.recent.pop_front();
        }
        self.recent.push_back(after);
    }

    fn observed(&self) -> Duration {
        if self.recent.len() < LEAST {
            return Duration::ZERO;
        }
        let mut sorted: Vec<_> = self.recent.iter().copied().collect();
        sorted.sort();
        // One long silence is a loss, not the period.
        sorted[(sorted.len() - 1) / 2]
    }

    pub(super) fn limit(&self) -> Duration {
        let period = self.nominal.max(self.observed());
        self.timeout.max(period.saturating_mul(PERIODS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_periods_are_the_least() {
        let limit = |timeout: f64, rate| {
            let timeout = Duration::from_secs_f64(timeout);
            Patience::new(timeout, rate).limit().as_secs_f64()
        };
        assert_eq!(limit(5.0, 4.0), 5.0);
        assert_eq!(limit(0.1, 100.0), 0.1);
        assert!((limit(5.0, 1.0 / 6.0) - 18.0).abs() < 1e-6);
        assert!((limit(5.0, 0.1) - 30.0).abs() < 1e-6);
        // One sample a day.
        assert!(limit(5.0, 1e-5) > 2e5);
    }

    #[test]
    fn packets_that_are_seen_count_as_well() {
        let mut p = Patience::new(SECOND, 100.0);
        p.came(4 * SECOND);
        p.came(4 * SECOND);
        assert_eq!(p.limit(), SECOND, "too few to say");
        p.came(4 * SECOND);
        assert_eq!(p.limit(), 12 * SECOND);
        // A loss among them changes nothing; another period does in time.
        p.came(600 * SECOND);
        assert_eq!(p.limit(), 12 * SECOND);
        for _ in 0..MOST {
            p.came(SECOND / 10);
        }
        assert_eq!(p.limit(), SECOND);
    }
}
