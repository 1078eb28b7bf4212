// SPDX-License-Identifier: MPL-2.0
//! The last seconds of a signal as a person sees them: its waveform in its own unit, and what
//! happened in it.

use crate::{CheckSpec, Conditioner, FilterSpec, Grid, GridRing, NormalisationSpec, SignalSpec};
use std::collections::VecDeque;

/// Seconds that are kept before those that are asked for: samples may run ahead of the frames.
const SPARE: f64 = 30.0;
/// Events that are kept: more than fit into a minute.
const EVENTS: usize = 512;
/// Longest time without samples, seconds, that is drawn as a line.
const MAX_GAP: f64 = 0.5;

/// Keeps the waveform of one signal in the band that is drawn, apart from what a network gets.
///
/// ECG is drawn from 0.5 to 40 Hz, PPG from 0.5 to 8 Hz, EDA and others up to 2 Hz with their
/// level.
///
/// ```
/// use conditioning::Trace;
///
/// let mut trace = Trace::new("eda", 8.0, 10.0);
/// for i in 0..80u64 {
///     trace.push(i * 125_000_000, 4.0);
/// }
/// trace.mark(5_000_000_000);
/// let values = trace.recent(9_000_000_000);
/// assert_eq!(values.last(), Some(&Some(4.0)));
/// assert_eq!(trace.marks(9_000_000_000), [5_000_000_000]);
/// ```
#[derive(Debug, Clone)]
pub struct Trace {
    conditioner: Conditioner,
    ring: GridRing,
    rate: f64,
    seconds: f64,
    marks: VecDeque<u64>,
}

impl Trace {
    /// `source_rate`: the stream's nominal rate in Hz, 0 for an irregular one. `seconds`: how
    /// much is drawn.
    pub fn new(signal: &str, source_rate: f64, seconds: f64) -> Self {
        let highpass = FilterSpec::Highpass {
            order: 2,
            cutoff: 0.5,
        };
        let lowpass = |cutoff| FilterSpec::Lowpass { order: 2, cutoff };
        let (rate, filters) = match signal {
            "ecg" => (128.0, vec![highpass, lowpass(40.0)]),
            "ppg" => (64.0, vec![highpass, lowpass(8.0)]),
            _ => (16.0, vec![lowpass(2.0)]),
        };
        let spec = SignalSpec {
            name: signal.to_string(),
            input: None,
            rate,
            max_gap: MAX_GAP,
            // A flat line is drawn as one.
            checks: CheckSpec {
                flat: f64::MAX,
                range: None,
                min_quality: 0.0,
            },
            filters,
            derive: None,
            normalisation: NormalisationSpec::None,
        };
        let capacity = ((seconds + SPARE) * rate).ceil() as usize;
        Self {
            conditioner: Conditioner::new(spec, source_rate, None),
            ring: GridRing::new(1, capacity),
            rate,
            seconds,
            marks: VecDeque::new(),
        }
    }

    /// Values per second of [`Trace::recent`].
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes a sample at running time `time` (ns), in the unit that is drawn.
    pub fn push(&mut self, time: u64, value: f64) {
        let ring = &mut self.ring;
        self.conditioner.push(time, value, |point| {
            let value = point.value;
            ring.push(point.k, value.as_ref().map(std::slice::from_ref));
        });
    }

    /// Samples are missing before the next one.
    pub fn cut(&mut self) {
        self.conditioner.cut();
    }

    /// Something happened at running time `time` (ns): a heartbeat, a skin response.
    pub fn mark(&mut self, time: u64) {
        self.marks.push_back(time);
        if self.marks.len() > EVENTS {
            self.marks.pop_front();
        }
    }

    /// Drops everything, as after a seek.
    pub fn flush(&mut self) {
        self.conditioner = self.conditioner.restarted();
        self.ring.clear();
        self.marks.clear();
    }

    fn points(&self) -> usize {
        (self.seconds * self.rate) as usize
    }

    /// The values before running time `end` (ns), oldest first; `None` where there is none.
    pub fn recent(&self, end: u64) -> Vec<Option<f32>> {
        let n = self.points();
        let first = Grid::new(self.rate).ceil(end) as i64 - n as i64;
        let (mut values, mut valid) = (vec![0.0; n], vec![0.0; n]);
        self.ring.copy(first, &mut values, &mut valid);
        let of = |(v, ok): (f32, f32)| (ok > 0.0).then_some(v);
        values.into_iter().zip(valid).map(of).collect()
    }

    /// The times (ns) of what happened in the same seconds, oldest first.
    pub fn marks(&self, end: u64) -> Vec<u64> {
        let first = end.saturating_sub((self.seconds * 1e9) as u64);
        let within = self.marks.iter().copied();
        within.filter(|t| (first..end).contains(t)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(signal: &str, rate: f64, value: impl Fn(f64) -> f64) -> Trace {
        let mut trace = Trace::new(signal, rate, 5.0);
        for i in 0..(20.0 * rate) as u64 {
            let t = i as f64 / rate;
            trace.push((t * 1e9) as u64, value(t));
        }
        trace
    }

    fn range(trace: &Trace) -> (f32, f32) {
        let values = trace.recent(15_000_000_000);
        assert_eq!(values.len(), (5.0 * trace.rate()) as usize);
        values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| {
            let v = v.expect("no gap");
            (l.min(v), h.max(v))
        })
    }

    #[test]
    fn the_waveform_keeps_its_unit_and_loses_its_drift() {
        // R peaks of 1 mV on an electrode's offset of 30 mV that drifts.
        let heart = |t: f64| {
            let phase = (t * 1.2).fract() - 0.5;
            (-(phase / 0.012).powi(2)).exp() + 30.0 + 0.1 * t
        };
        for rate in [250.0, 1000.0] {
            let (low, high) = range(&filled("ecg", rate, heart));
            assert!((0.75..1.1).contains(&(high - low)), "{rate}: {low} {high}");
            assert!(low > -0.4, "{low}");
        }
        let (low, high) = range(&filled("eda", 4.0, |t| 5.0 + 0.2 * (t * 0.8).sin()));
        assert!((low - 4.8).abs() < 0.05 && (high - 5.2).abs() < 0.05);
        // Mains hum is not drawn.
        let hum = |t: f64| 5.0 + (t * 314.16).sin();
        let (low, high) = range(&filled("eda", 256.0, hum));
        assert!(high - low < 0.01, "{low} {high}");
        // A flat line is a line.
        assert_eq!(range(&filled("ppg", 64.0, |_| 3.0)), (0.0, 0.0));
    }

    #[test]
    fn gaps_are_gaps_and_marks_are_in_time() {
        let mut trace = filled("eda", 8.0, |t| {
            if (12.0..14.0).contains(&t) {
                f64::NAN
            } else {
                4.0
            }
        });
        let values = trace.recent(15_000_000_000);
        assert!(values[..30].iter().all(Option::is_some));
        assert!(values[36..60].iter().all(Option::is_none));
        for second in 0..20 {
            trace.mark(second * 1_000_000_000);
        }
        let marks = trace.marks(15_000_000_000);
        assert_eq!((marks.len(), marks[0]), (5, 10_000_000_000));
        trace.flush();
        assert!(trace.marks(15_000_000_000).is_empty());
        assert!(trace.recent(15_000_000_000).iter().all(Option::is_none));
    }
}
