// SPDX-License-Identifier: MPL-2.0
//! Heart rate variability of the last five minutes.

use super::intervals::{Intervals, WINDOW, seconds_since};
use super::spectrum::{self, Point, Turns};

/// Seconds of normal intervals that a value needs. RMSSD, pNN50 and SDNN: shortest length that
/// agrees with five minutes (Baek 2015; Shaffer and Ginsberg 2017). LF/HF: the two minutes
/// that the low band needs (Task Force 1996).
pub(crate) const RMSSD_FROM: f64 = 30.0;
pub(crate) const PNN50_FROM: f64 = 60.0;
pub(crate) const LF_HF_FROM: f64 = 120.0;
pub(crate) const SDNN_FROM: f64 = 240.0;
/// Share of the time from the first interval to now that normal intervals must fill.
const FILLED: f64 = 0.8;
/// Longest time since the last beat, seconds.
pub(crate) const SILENT: f64 = 5.0;
/// The spectrum is computed anew this often, seconds.
const SPECTRUM_PERIOD: f64 = 5.0;
/// The bands, Hz, and the step in them.
const LOW: (f64, f64) = (0.04, 0.15);
const HIGH: (f64, f64) = (0.15, 0.4);
const STEP: f64 = 0.002;
/// Sine tapers whose spectra are added.
const TAPERS: usize = 4;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Values {
    /// Milliseconds.
    pub(crate) rmssd: Option<f64>,
    /// Milliseconds.
    pub(crate) sdnn: Option<f64>,
    /// Per cent.
    pub(crate) pnn50: Option<f64>,
    /// A ratio.
    pub(crate) lf_hf: Option<f64>,
}

/// Keeps what is expensive between two questions.
#[derive(Debug, Clone)]
pub(crate) struct Variability {
    points: Vec<Point>,
    tapered: Vec<Point>,
    turns: Turns,
    /// When the ratio was computed (ns), and the ratio.
    lf_hf: Option<(u64, Option<f64>)>,
}

impl Variability {
    pub(crate) fn new() -> Self {
        Self {
            points: Vec::with_capacity((WINDOW / 0.3) as usize + 1),
            tapered: Vec::with_capacity((WINDOW / 0.3) as usize + 1),
            turns: Turns::with_capacity((WINDOW / 0.3) as usize + 1),
            lf_hf: None,
        }
    }

    pub(crate) fn values(&mut self, intervals: &Intervals, now: u64) -> Values {
        let recent = intervals
            .last_beat()
            .is_some_and(|beat| seconds_since(beat, now) <= SILENT);
        if !recent {
            self.lf_hf = None;
            return Values::default();
        }
        let all = intervals.within(now, WINDOW);
        let normal = all.clone().filter(|i| i.normal);
        let (mut count, mut length) = (0.0, 0.0);
        let mut begin = None;
        for i in normal.clone() {
            begin.get_or_insert(seconds_since(i.end, now) + i.length);
            count += 1.0;
            length += i.length;
        }
        let Some(span) = begin.filter(|span| length >= FILLED * span) else {
            self.lf_hf = None;
            return Values::default();
        };
        let mean = length / count;
        let variance = normal
            .clone()
            .map(|i| (i.length - mean).powi(2))
            .sum::<f64>()
            / (count - 1.0);
        // Differences between neighbours that are both normal.
        let (mut pairs, mut squares, mut large) = (0.0, 0.0, 0.0);
        let mut before: Option<f64> = None;
        for i in all {
            if i.normal {
                if let Some(before) = before.filter(|_| i.follows) {
                    let difference = i.length - before;
                    pairs += 1.0;
                    squares += difference * difference;
                    large += f64::from(u8::from(difference.abs() > 0.05));
                }
                before = Some(i.length);
            } else {
                before = None;
            }
        }
        let valid = |from: f64, value: f64| (length >= from && pairs > 0.0).then_some(value);
        Values {
            rmssd: valid(RMSSD_FROM, 1e3 * (squares / pairs).sqrt()),
            pnn50: valid(PNN50_FROM, 100.0 * large / pairs),
            sdnn: valid(SDNN_FROM, 1e3 * variance.sqrt()),
            lf_hf: (length >= LF_HF_FROM)
                .then(|| self.ratio(intervals, now, span))
                .flatten(),
        }
    }

    fn ratio(&mut self, intervals: &Intervals, now: u64, span: f64) -> Option<f64> {
        if let Some((at, ratio)) = self.lf_hf
            && seconds_since(at, now) < SPECTRUM_PERIOD
            && at <= now
        {
            return ratio;
        }
        self.points.clear();
        let begin = now.saturating_sub((span * 1e9) as u64);
        let normal = intervals.within(now, WINDOW).filter(|i| i.normal);
        self.points.extend(
            normal
                .take(self.points.capacity())
                .map(|i| (seconds_since(begin, i.end), i.length)),
        );
        let Self {
            points,
            tapered,
            turns,
            ..
        } = self;
        spectrum::straighten(points);
        let (mut low, mut high) = (0.0, 0.0);
        for order in 1..=TAPERS {
            spectrum::taper(points, order, tapered);
            low += spectrum::band(tapered, turns, LOW.0, LOW.1, STEP);
            high += spectrum::band(tapered, turns, HIGH.0, HIGH.1, STEP);
        }
        let ratio = Some(low / high).filter(|r| r.is_finite());
        self.lf_hf = Some((now, ratio));
        ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beats whose intervals vary with `low` and `high` (seconds) at 0.1 and 0.25 Hz.
    fn beats(seconds: f64, low: f64, high: f64) -> (Intervals, u64, Vec<f64>) {
        let mut intervals = Intervals::new();
        let (mut t, mut lengths) = (0.0, Vec::new());
        intervals.beat(0, 1.0);
        while t < seconds {
            let phase = |f: f64| (std::f64::consts::TAU * f * t).sin();
            let length = 0.8 + low * phase(0.1) + high * phase(0.25);
            t += length;
            lengths.push(length);
            intervals.beat((t * 1e9) as u64, 1.0);
        }
        (intervals, (t * 1e9) as u64, lengths)
    }

    #[test]
    fn the_definitions_are_those_of_the_task_force() {
        let (intervals, now, lengths) = beats(290.0, 0.03, 0.05);
        let values = Variability::new().values(&intervals, now);
        let n = lengths.len() as f64;
        let mean = lengths.iter().sum::<f64>() / n;
        let sdnn = (lengths.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let steps: Vec<f64> = lengths.windows(2).map(|w| w[1] - w[0]).collect();
        let rmssd = (steps.iter().map(|d| d * d).sum::<f64>() / steps.len() as f64).sqrt();
        let large = steps.iter().filter(|d| d.abs() > 0.05).count() as f64;
        let near =
            |found: Option<f64>, want: f64| found.is_some_and(|f| (f - want).abs() < 0.01 * want);
        assert!(near(values.sdnn, 1e3 * sdnn), "{values:?} {sdnn}");
        assert!(near(values.rmssd, 1e3 * rmssd), "{values:?} {rmssd}");
        assert!(
            near(values.pnn50, 100.0 * large / steps.len() as f64),
            "{values:?}"
        );
    }

    #[test]
    fn low_against_high_is_the_ratio_of_the_powers() {
        for (low, high) in [(0.04, 0.04), (0.04, 0.02), (0.015, 0.03)] {
            let (intervals, now, _) = beats(290.0, low, high);
            let found = Variability::new()
                .values(&intervals, now)
                .lf_hf
                .expect("five minutes");
            let want = (low / high) * (low / high);
            assert!(
                (found / want - 1.0).abs() < 0.15,
                "{found}, expected {want}"
            );
        }
    }

    #[test]
    fn each_value_comes_when_its_window_is_long_enough_and_goes_with_the_beats() {
        let mut came = [None; 4];
        let mut variability = Variability::new();
        let mut intervals = Intervals::new();
        intervals.beat(0, 1.0);
        for i in 1..400u64 {
            let time = i * 800_000_000 + (i % 3) * 10_000_000;
            intervals.beat(time, 1.0);
            let v = variability.values(&intervals, time);
            for (came, value) in came.iter_mut().zip([v.rmssd, v.pnn50, v.lf_hf, v.sdnn]) {
                if came.is_none() && value.is_some() {
                    *came = Some(time as f64 * 1e-9);
                }
            }
        }
        for (came, from) in came
            .into_iter()
            .zip([RMSSD_FROM, PNN50_FROM, LF_HF_FROM, SDNN_FROM])
        {
            let came = came.expect("comes");
            assert!(
                (from..from + 2.0).contains(&came),
                "{came}, expected {from}"
            );
        }
        let end = 400 * 800_000_000;
        assert!(variability.values(&intervals, end).sdnn.is_some());
        let later = variability.values(&intervals, end + 6_000_000_000);
        assert_eq!(later, Values::default());
    }

    #[test]
    fn too_many_artefacts_give_no_value() {
        let mut intervals = Intervals::new();
        let mut time = 0;
        for i in 0..400u64 {
            time += if i % 4 == 3 {
                1_600_000_000
            } else {
                800_000_000
            };
            intervals.beat(time, 1.0);
        }
        assert_eq!(
            Variability::new().values(&intervals, time),
            Values::default()
        );
    }
}
