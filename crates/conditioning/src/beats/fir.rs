// SPDX-License-Identifier: MPL-2.0
//! Filters of finite response, symmetric, so that their delay is known and the same at every
//! frequency, and the memory of a signal that they work on.

use std::f64::consts::PI;

/// The newest values of a signal, by their number since the beginning.
#[derive(Debug, Clone)]
pub(super) struct History<T> {
    values: Vec<T>,
    /// Number of values that were pushed.
    count: usize,
}

impl<T: Copy + Default> History<T> {
    /// Keeps at least `size` values.
    pub(super) fn new(size: usize) -> Self {
        Self {
            values: vec![T::default(); size.max(1).next_power_of_two()],
            count: 0,
        }
    }

    pub(super) fn push(&mut self, value: T) {
        let at = self.count & (self.values.len() - 1);
        self.values[at] = value;
        self.count += 1;
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The number of the oldest value that is kept.
    pub(super) fn first(&self) -> usize {
        self.count.saturating_sub(self.values.len())
    }

    /// The value of number `i`, which must be one of those that are kept.
    pub(super) fn at(&self, i: usize) -> T {
        debug_assert!(i < self.count && self.count - i <= self.values.len());
        self.values[i & (self.values.len() - 1)]
    }
}

/// A kernel of odd length, centred.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    taps: Vec<f64>,
}

impl Kernel {
    /// A band-pass from `low` to `high` Hz that is `length` seconds long: the windowed sinc
    /// (Hamming), with no gain at all for a constant or for a line.
    pub(super) fn band(rate: f64, [low, high]: [f64; 2], length: f64) -> Self {
        let half = (0.5 * length * rate).round().max(1.0) as usize;
        let high = high.min(0.45 * rate);
        let sinc = |f: f64, k: f64| {
            if k == 0.0 {
                2.0 * f / rate
            } else {
                (2.0 * PI * f / rate * k).sin() / (PI * k)
            }
        };
        let window = |k: f64| 0.54 + 0.46 * (PI * k / (half + 1) as f64).cos();
        let places = (0..=2 * half).map(|i| i as f64 - half as f64);
        let mut taps: Vec<f64> = places
            .clone()
            .map(|k| (sinc(high, k) - sinc(low, k)) * window(k))
            .collect();
        let shift = taps.iter().sum::<f64>() / places.clone().map(window).sum::<f64>();
        for (tap, k) in taps.iter_mut().zip(places) {
            *tap -= shift * window(k);
        }
        Self { taps }
    }

    /// The slope, per second, of the signal smoothed by a Gaussian of `sigma` seconds.
    pub(super) fn slope(rate: f64, sigma: f64) -> Self {
        let half = (3.0 * sigma * rate).round().max(1.0) as usize;
        let places = (0..=2 * half).map(|i| i as f64 - half as f64);
        let mut taps: Vec<f64> = places
            .clone()
            .map(|k| k * (-0.5 * (k / (sigma * rate)).powi(2)).exp())
            .collect();
        // A line of slope 1 per second rises by 1 / rate from value to value.
        let gain: f64 = taps.iter().zip(places).map(|(tap, k)| tap * k / rate).sum();
        taps.iter_mut().for_each(|tap| *tap /= gain);
        Self { taps }
    }

    /// Values on either side of the centre.
    pub(super) fn half(&self) -> usize {
        self.taps.len() / 2
    }

    /// The filtered value at number `centre` of `signal`.
    pub(super) fn apply(&self, signal: &History<f64>, centre: usize) -> f64 {
        let first = centre - self.half();
        let mut sum = 0.0;
        for (k, tap) in self.taps.iter().enumerate() {
            sum += tap * signal.at(first + k);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain(kernel: &Kernel, rate: f64, f: f64) -> f64 {
        let mut signal = History::new(kernel.taps.len());
        let mut peak: f64 = 0.0;
        for i in 0..(4.0 * rate) as usize {
            signal.push((2.0 * PI * f * i as f64 / rate).sin());
            if i >= kernel.taps.len() {
                peak = peak.max(kernel.apply(&signal, i - kernel.half()).abs());
            }
        }
        peak
    }

    #[test]
    fn a_band_keeps_the_middle_and_stops_lines_and_hum() {
        for rate in [50.0, 64.0, 128.0, 250.0, 360.0] {
            let band = Kernel::band(rate, [8.0, 20.0], 0.3);
            assert!((0.8..1.2).contains(&gain(&band, rate, 14.0)), "{rate}");
            assert!(gain(&band, rate, 1.0) < 0.1, "{rate}");
            if rate > 120.0 {
                assert!(gain(&band, rate, 50.0) < 0.02, "{rate}");
            }
            let mut line = History::new(1024);
            (0..1000).for_each(|i| line.push(1e6 + 3.0 * f64::from(i)));
            assert!(band.apply(&line, 500).abs() < 1e-6, "{rate}");
        }
    }

    #[test]
    fn a_slope_is_per_second() {
        for rate in [64.0, 100.0] {
            let mut line = History::new(1024);
            (0..1000).for_each(|i| line.push(5.0 - 3.0 * f64::from(i) / rate));
            let slope = Kernel::slope(rate, 0.04).apply(&line, 500);
            assert!((slope + 3.0).abs() < 1e-9, "{slope}");
        }
    }
}
