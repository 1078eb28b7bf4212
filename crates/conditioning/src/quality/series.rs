// SPDX-License-Identifier: MPL-2.0
//! Recent samples, and the arithmetic on them.

use std::collections::VecDeque;
use std::f64::consts::PI;

/// The newest values at a fixed rate.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    rate: f64,
    keep: usize,
    values: VecDeque<f64>,
}

impl Recent {
    pub(super) fn new(rate: f64, keep: usize) -> Self {
        Self {
            rate,
            keep,
            values: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, value: f64) {
        if self.values.len() == self.keep {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn seconds(&self) -> f64 {
        self.values.len() as f64 / self.rate
    }

    pub(super) fn values(&self) -> Vec<f64> {
        self.values.iter().copied().collect()
    }

    pub(super) fn mean(&self) -> f64 {
        mean(self.values.iter().copied())
    }
}

/// The newest means of so many samples each: a lower rate without much aliasing.
#[derive(Debug, Clone)]
pub(super) struct Means {
    together: usize,
    sum: f64,
    taken: usize,
    recent: Recent,
}

impl Means {
    /// `rate`: of the samples. `seconds` of means are kept.
    pub(super) fn new(rate: f64, together: usize, seconds: f64) -> Self {
        let own = rate / together as f64;
        Self {
            together,
            sum: 0.0,
            taken: 0,
            recent: Recent::new(own, (seconds * own).round().max(4.0) as usize),
        }
    }

    pub(super) fn push(&mut self, value: f64) {
        self.sum += value;
        self.taken += 1;
        if self.taken == self.together {
            self.recent.push(self.sum / self.together as f64);
            self.sum = 0.0;
            self.taken = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        self.sum = 0.0;
        self.taken = 0;
        self.recent.clear();
    }

    pub(super) fn rate(&self) -> f64 {
        self.recent.rate()
    }

    pub(super) fn values(&self) -> Vec<f64> {
        self.recent.values()
    }
}

/// Seconds of the longest stretch of one value.
pub(super) fn longest_run(x: &[f64], rate: f64) -> f64 {
    let (mut longest, mut run) = (0usize, 0usize);
    for pair in x.windows(2) {
        run = if pair[0] == pair[1] { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest as f64 / rate
}

/// The mean; 0 without values.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

/// The value below which the share `at` of the values is; 0 without values.
pub(super) fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n => {
            let place = at * (n - 1) as f64;
            let low = place.floor() as usize;
            let high = (low + 1).min(n - 1);
            sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
        }
    }
}

/// Highest less lowest value.
pub(super) fn range(x: &[f64]) -> f64 {
    let (low, high) = x
        .iter()
        .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    (high - low).max(0.0)
}

/// Number of samples of `seconds`, odd, at least 1.
pub(super) fn odd(seconds: f64, rate: f64) -> usize {
    2 * ((0.5 * seconds * rate).round() as usize) + 1
}

/// The centred moving mean of `n` samples (odd); of fewer at the ends.
pub(super) fn smooth(x: &[f64], n: usize) -> Vec<f64> {
    let mut sums = Vec::with_capacity(x.len() + 1);
    sums.push(0.0);
    let mut sum = 0.0;
    for v in x {
        sum += v;
        sums.push(sum);
    }
    let half = n / 2;
    (0..x.len())
        .map(|i| {
            let reach = half.min(i).min(x.len() - 1 - i);
            (sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1) as f64
        })
        .collect()
}

/// `x` less the moving mean of `n` samples.
pub(super) fn detrend(x: &[f64], n: usize) -> Vec<f64> {
    let centre = mean(x.iter().copied());
    // Large offsets would cost digits in the sums.
    let x: Vec<f64> = x.iter().map(|v| v - centre).collect();
    let slow = smooth(&x, n);
    x.iter().zip(slow).map(|(v, s)| v - s).collect()
}

/// The standardised central moment of the given order: 3 skewness, 4 kurtosis. 0 if the values
/// are all the same.
pub(super) fn moment(x: &[f64], order: i32) -> f64 {
    let m = mean(x.iter().copied());
    let variance = mean(x.iter().map(|v| (v - m).powi(2)));
    if variance <= 0.0 {
        return 0.0;
    }
    mean(x.iter().map(|v| (v - m).powi(order))) / variance.powf(f64::from(order) / 2.0)
}

/// Pearson's correlation; 0 if one of the two is constant.
pub(super) fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let (ma, mb) = (mean(a.iter().copied()), mean(b.iter().copied()));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma).powi(2);
        bb += (y - mb).powi(2);
    }
    if aa <= 0.0 || bb <= 0.0 {
        0.0
    } else {
        ab / (aa * bb).sqrt()
    }
}

/// A power spectrum with a Hann window, in steps of 1 / length.
#[derive(Debug)]
pub(super) struct Spectrum {
    /// Hz from one value to the next.
    step: f64,
    powers: Vec<f64>,
}

impl Spectrum {
    /// Of `x` at `rate` Hz, up to `top` Hz or half the rate.
    pub(super) fn new(x: &[f64], rate: f64, top: f64) -> Self {
        let n = x.len().max(1);
        let windowed = hann(x);
        let step = rate / n as f64;
        let last = ((top.min(0.5 * rate) / step) as usize).min(n / 2);
        let powers = (0..=last).map(|k| line(&windowed, k as f64 / n as f64));
        Self {
            step,
            powers: powers.collect(),
        }
    }

    /// The sum of the lines from `low` to `high` Hz.
    pub(super) fn band(&self, low: f64, high: f64) -> f64 {
        let first = (low / self.step).ceil().max(0.0) as usize;
        let end = ((high / self.step).floor() as usize + 1).min(self.powers.len());
        self.powers.get(first..end).map_or(0.0, |p| p.iter().sum())
    }

    /// The frequency from `low` to `high` Hz with the most power.
    pub(super) fn top(&self, low: f64, high: f64) -> f64 {
        let inside = |k: usize| (low..=high).contains(&(k as f64 * self.step));
        let all = self.powers.iter().enumerate().filter(|(k, _)| inside(*k));
        all.max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0.0, |(k, _)| k as f64 * self.step)
    }
}

/// Power of `x` at `share` of the rate (Goertzel).
fn line(x: &[f64], share: f64) -> f64 {
    let c = 2.0 * (2.0 * PI * share).cos();
    let (mut a, mut b) = (0.0, 0.0);
    for v in x {
        (a, b) = (v + c * a - b, a);
    }
    (a * a + b * b - c * a * b).max(0.0)
}

/// Where `frequency` appears when it is sampled at `rate` Hz.
pub(super) fn alias(frequency: f64, rate: f64) -> f64 {
    let folded = frequency.rem_euclid(rate);
    folded.min(rate - folded)
}

/// Share of the power of `x` (without its mean) that is mains hum: within 0.8 Hz of where 50 or
/// 60 Hz appear at `rate` Hz, if that is above `least` Hz.
pub(super) fn hum(x: &[f64], rate: f64, least: f64) -> f64 {
    let n = x.len().max(1) as f64;
    let windowed = hann(x);
    let all = 0.5 * n * windowed.iter().map(|v| v * v).sum::<f64>();
    if all <= 0.0 {
        return 0.0;
    }
    let share = |mains: f64| {
        let seen = alias(mains, rate);
        if seen <= least {
            return 0.0;
        }
        let first = ((seen - 0.8).max(0.0) * n / rate).ceil() as usize;
        let last = ((seen + 0.8).min(0.5 * rate) * n / rate).floor() as usize;
        let power: f64 = (first..=last).map(|k| line(&windowed, k as f64 / n)).sum();
        power / all
    };
    share(50.0).max(share(60.0)).min(1.0)
}

/// `x` without its mean, faded in and out.
fn hann(x: &[f64]) -> Vec<f64> {
    let centre = mean(x.iter().copied());
    let n = x.len().max(1) as f64;
    let faded = x.iter().enumerate().map(|(i, v)| {
        let weight = 0.5 - 0.5 * (2.0 * PI * (i as f64 + 0.5) / n).cos();
        (v - centre) * weight
    });
    faded.collect()
}

/// The largest values of `x` that are at least `apart` samples from each other, as indices in
/// order of size. At most `most`.
pub(super) fn peaks(x: &[f64], apart: usize, most: usize) -> Vec<usize> {
    let local = (1..x.len().saturating_sub(1)).filter(|i| x[*i] >= x[i - 1] && x[*i] > x[i + 1]);
    let mut order: Vec<usize> = local.collect();
    order.sort_by(|a, b| x[*b].total_cmp(&x[*a]));
    let mut taken: Vec<usize> = Vec::new();
    for i in order {
        if taken.iter().all(|t| t.abs_diff(i) >= apart) {
            taken.push(i);
            if taken.len() == most {
                break;
            }
        }
    }
    taken
}

/// How much pieces of `x` around `centres` look like each other: for each piece the median of its
/// correlations with the others, sorted. A piece may be moved by up to `slack` samples. Pieces
/// that are not wholly inside count where at least three quarters of them are.
pub(super) fn likeness(
    x: &[f64],
    centres: &[usize],
    [before, after]: [usize; 2],
    slack: usize,
) -> Vec<f64> {
    let length = before + after + 1;
    let inside: Vec<usize> = centres
        .iter()
        .copied()
        .filter(|c| *c >= before && c + after < x.len())
        .collect();
    let mut all = vec![Vec::new(); inside.len()];
    for i in 0..inside.len() {
        for j in 0..i {
            let a = &x[inside[i] - before..][..length];
            let mut best = -1.0f64;
            for shift in -(slack as isize)..=slack as isize {
                let from = inside[j] as isize - before as isize + shift;
                if from < 0 || from as usize + length > x.len() {
                    continue;
                }
                best = best.max(correlation(a, &x[from as usize..][..length]));
            }
            all[i].push(best);
            all[j].push(best);
        }
    }
    let mut medians: Vec<f64> = all
        .iter()
        .filter(|c| !c.is_empty())
        .map(|c| quantile(c, 0.5))
        .collect();
    medians.sort_by(f64::total_cmp);
    medians
}
