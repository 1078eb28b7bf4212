// SPDX-License-Identifier: MPL-2.0
//! Heartbeats of an ECG or a PPG, causally and in bounded memory.
//!
//! [`BeatDetector`] takes raw samples and gives [`Beat`]s; [`HeartRate`] makes a rate of them.
//! There is one front for each kind of signal, which turns samples into waves that may be
//! beats (`ecg`, `ppg`), and one judge of those waves for both (`judge`).
//!
//! No filter has an infinite response, and every level is a median of what the last seconds
//! brought. A sample, however wrong, is therefore forgotten within seconds.
//!
//! The literature:
//! - J. Pan, W. J. Tompkins, "A real-time QRS detection algorithm", IEEE Trans. Biomed. Eng.
//!   32(3), 1985: signal and noise peaks, search-back, T waves by their slope;
//! - P. S. Hamilton, "Open source ECG analysis", Computers in Cardiology 29, 2002: medians of
//!   the last eight peaks;
//! - M. Elgendi, "Fast QRS detection with an optimized knowledge-based method", PLoS ONE 8(9),
//!   2013: the band of 8–20 Hz and a window of about 100 ms;
//! - W. Zong, T. Heldt, G. B. Moody, R. G. Mark, "An open-source algorithm to detect onset of
//!   arterial blood pressure pulses", Computers in Cardiology 30, 2003: the sum of rising slopes;
//! - M. Elgendi, I. Norton, M. Brearley, D. Abbott, D. Schuurmans, "Systolic peak detection in
//!   acceleration photoplethysmograms", PLoS ONE 8(10), 2013;
//! - P. H. Charlton et al., "Detecting beats in the photoplethysmogram: benchmarking
//!   open-source algorithms", Physiol. Meas. 43, 2022: the steepest point of the upstroke as
//!   the mark of a pulse.

mod ecg;
mod fir;
mod front;
mod judge;
mod ppg;
mod rate;

pub use rate::HeartRate;

use front::Front;
use judge::Judge;
use serde::Deserialize;

/// The kind of a heart signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeartSignal {
    /// Electrocardiogram, any lead and either polarity.
    Ecg,
    /// Photoplethysmogram (blood volume pulse) of finger, ear or wrist, either polarity.
    Ppg,
}

/// A heartbeat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beat {
    /// Nanoseconds on the time axis of the samples. ECG: the peak of the R wave, the largest
    /// deflection of the QRS complex on the side on which most of the last beats have theirs.
    /// PPG: the steepest point of the systolic upstroke, some 0.1 s before the systolic peak.
    pub time: u64,
    /// 0–1: how far the wave stands out of what is around it and is like the beats before.
    /// From [`Beat::SURE`] on the time can be relied on.
    pub confidence: f64,
}

impl Beat {
    /// The confidence from which on a beat counts for [`HeartRate`].
    pub const SURE: f64 = 0.5;
}

/// Detects the beats of one heart signal.
///
/// Beats come in order. An ordinary beat comes about 0.4 s after its time (PPG 0.6 s); one
/// that search-back finds, and the first ones after the start, a gap or a change of the
/// amplitude, come up to 5 s after their time.
///
/// ```
/// use conditioning::{BeatDetector, HeartRate, HeartSignal};
///
/// // 20 s of narrow waves, 75 in a minute, at 250 Hz.
/// let mut detector = BeatDetector::new(HeartSignal::Ecg, 250.0);
/// let mut rate = HeartRate::new(40.0, 180.0, 10.0);
/// for i in 0..5000u64 {
///     let phase = (i as f64 / 250.0).rem_euclid(0.8) - 0.4;
///     let value = (-0.5 * (phase / 0.012).powi(2)).exp();
///     detector.push(i * 4_000_000, value, |beat| rate.beat(beat));
/// }
/// let bpm = rate.rate(20_000_000_000).expect("a rate");
/// assert!((bpm - 75.0).abs() < 0.1);
/// ```
#[derive(Debug, Clone)]
pub struct BeatDetector {
    front: Front,
    judge: Judge,
}

impl BeatDetector {
    /// `rate_hz`: the nominal rate of the samples, from about 50 Hz up. A signal of a lower
    /// rate, or of none, gives no beats.
    pub fn new(signal: HeartSignal, rate_hz: f64) -> Self {
        Self {
            front: Front::new(signal, rate_hz),
            judge: Judge::new(signal),
        }
    }

    /// Takes the next raw sample, taken at `time_ns`, and calls `out` with the beats that are
    /// known through it. A sample that is not finite counts as missing, and one that is not
    /// newer than the one before is left out. After 0.15 s (or three periods) without a sample the
    /// detector begins anew, and gives true: no interval leads across such a gap.
    pub fn push(&mut self, time_ns: u64, value: f64, mut out: impl FnMut(Beat)) -> bool {
        let Self { front, judge } = self;
        let anew = front.begins_anew(time_ns, value);
        if anew {
            judge.cut();
        }
        front.push(time_ns, value, |wave| match wave {
            Some(wave) => judge.take(wave, &mut out),
            None => judge.cut(),
        });
        anew
    }

    /// Says that samples are missing before the next one: what was learned of the heights is
    /// forgotten, since the sensor may have been moved. The polarity of a PPG is kept.
    pub fn cut(&mut self) {
        self.front.cut();
        self.judge.cut();
    }
}

/// The median, `None` without values.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[n / 2]),
        n => Some(0.5 * (sorted[n / 2 - 1] + sorted[n / 2])),
    }
}

#[cfg(test)]
mod tests;
