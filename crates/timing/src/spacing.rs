// SPDX-License-Identifier: MPL-2.0
use crate::robust::median;
use std::collections::VecDeque;

/// Finds streams that declare a rate and send events: heartbeats, answers, markers.
///
/// Jitter and lost samples do not look like events. Where samples are regular and jittered, the
/// time that eight of them take varies as much as the time that one takes. Where intervals are
/// independent of each other, it varies more the more samples are counted.
#[derive(Debug)]
pub struct Spacing {
    /// Declared seconds per sample.
    nominal: f64,
    last: Option<f64>,
    recent: VecDeque<f64>,
    irregular: bool,
}

/// Streams with shorter intervals, seconds, are taken for regular: they come from a sampling
/// clock.
const SLOW: f64 = 0.1;
/// Intervals that are looked at.
const WINDOW: usize = 64;
/// This many are enough if the effective rate is not the nominal one either.
const FEW: usize = 16;
/// Intervals whose sum is looked at.
const TOGETHER: usize = 8;
/// Least mean deviation of the intervals, as a share of their median and in seconds.
const SPREAD: f64 = 0.05;
const LEAST_SPREAD: f64 = 0.02;
const WRONG_RATE: f64 = 0.1;
/// Variance of the sums, as a share of that of independent intervals; a regular stream has 1/8.
const WANDERING: f64 = 0.8;
/// An interval this near to a multiple of the median, in medians, is one with lost samples.
const NEAR: f64 = 0.35;
/// An interval of this many medians is a loss, not a sample.
const LOSS: f64 = 5.0;

impl Spacing {
    /// `rate`: the nominal rate, samples per second, above 0.
    pub fn new(rate: f64) -> Self {
        Self {
            nominal: 1.0 / rate,
            last: None,
            recent: VecDeque::new(),
            irregular: false,
        }
    }

    /// Whether the stream was found to be irregular. That does not change any more.
    pub fn is_irregular(&self) -> bool {
        self.irregular
    }

    /// Takes a timestamp, seconds; true when it shows that the stream is irregular.
    pub fn push(&mut self, stamp: f64) -> bool {
        if self.irregular || self.nominal < SLOW {
            return false;
        }
        let Some(last) = self.last.replace(stamp) else {
            return false;
        };
        let interval = stamp - last;
        let middle = self.median();
        if interval < 0.0 || middle.is_some_and(|m| interval > LOSS * m.max(self.nominal)) {
            self.recent.clear();
            return false;
        }
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(interval);
        self.irregular = self.judge();
        self.irregular
    }

    fn median(&self) -> Option<f64> {
        median(&mut self.recent.iter().copied().collect::<Vec<_>>())
    }

    fn judge(&self) -> bool {
        let Some(middle) = self.median().filter(|_| self.recent.len() >= FEW) else {
            return false;
        };
        // After lost samples a regular stream continues at a multiple of its interval.
        let folded: Vec<f64> = self
            .recent
            .iter()
            .map(|&interval| {
                let lost = (interval / middle).round();
                if lost >= 2.0 && (interval - lost * middle).abs() < NEAR * middle {
                    interval - (lost - 1.0) * middle
                } else {
                    interval
                }
            })
            .collect();
        let n = folded.len() as f64;
        let spread = folded.iter().map(|i| (i - middle).abs()).sum::<f64>() / n;
        if spread < (SPREAD * middle).max(LEAST_SPREAD) {
            return false;
        }
        let together: Vec<f64> = folded.windows(TOGETHER).map(|w| w.iter().sum()).collect();
        let wandering = variance(&together) / (TOGETHER as f64 * variance(&folded));
        // Packets come together: the median says nothing of their rate.
        let mean = folded.iter().sum::<f64>() / n;
        let wrong_rate = (mean / self.nominal - 1.0).abs() > WRONG_RATE;
        match folded.len() {
            WINDOW => wandering > WANDERING || wrong_rate && wandering > WANDERING / 1.5,
            _ => wrong_rate && wandering > WANDERING / 2.0,
        }
    }
}

fn variance(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    /// The sample at which a stream is called irregular.
    fn found(rate: f64, stamps: impl Iterator<Item = f64>) -> Option<usize> {
        let mut spacing = Spacing::new(rate);
        stamps.into_iter().position(|stamp| spacing.push(stamp))
    }

    #[test]
    fn events_are_found() {
        for seed in 0..20 {
            // Beats at 75 a minute that breathe, declared as 1 Hz.
            let mut noise = Noise::new(seed);
            let mut t = 100.0;
            let beats = (0..300).map(|n| {
                t += 0.8 + 0.05 * (f64::from(n) / 4.7 * 6.3).sin() + noise.normal() * 0.04;
                t
            });
            let at = found(1.0, beats);
            assert!(at.is_some_and(|at| at < 150), "beats {seed}: {at:?}");
            // Answers, one a second on the average.
            let mut noise = Noise::new(seed + 50);
            let mut t = 0.0;
            let answers = (0..300).map(|_| {
                t -= noise.uniform().max(1e-9).ln();
                t
            });
            let at = found(1.0, answers);
            assert!(at.is_some_and(|at| at < 200), "answers {seed}: {at:?}");
            // Three times as fast as declared, between 0.1 and 0.6 s.
            let mut noise = Noise::new(seed + 99);
            let mut t = 0.0;
            let fast = (0..60).map(|_| {
                t += 0.1 + 0.5 * noise.uniform();
                t
            });
            let at = found(1.0, fast);
            assert!(at.is_some_and(|at| at < 55), "fast {seed}: {at:?}");
        }
    }

    #[test]
    fn jitter_losses_packets_and_wrong_rates_are_not_events() {
        let mut wrong = Vec::new();
        for seed in 0..8 {
            for (declared, real) in [(1.0, 1.0), (4.0, 4.0), (4.0, 3.8), (1.0, 1.3), (10.0, 5.0)] {
                for jitter in [0.0, 0.005, 0.04, 0.1] {
                    let mut noise = Noise::new(seed);
                    let jittered = (0..3600)
                        .filter(|n| (n * 2_654_435_761u64) % 97 > 5)
                        .map(|n| n as f64 / real + noise.normal().abs() * jitter / real);
                    if let Some(at) = found(declared, jittered) {
                        wrong.push(format!("{declared} as {real}, {jitter}, {seed}: {at}"));
                    }
                }
            }
            // Four at a time, all with the timestamp of their arrival.
            let mut noise = Noise::new(seed);
            let mut stamp = 0.0;
            let packets = (0..3600).map(|n: u32| {
                if n.is_multiple_of(4) {
                    stamp = f64::from(n / 4) + noise.normal().abs() * 0.03;
                }
                stamp
            });
            if let Some(at) = found(4.0, packets) {
                wrong.push(format!("packets, {seed}: {at}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
