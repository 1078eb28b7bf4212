// SPDX-License-Identifier: MPL-2.0
//! One sensor: from raw samples to features.

use super::intervals::Intervals;
use super::respiration::Respiration;
use super::skin::Skin;
use super::variability::{SILENT, Variability};
use super::{Event, Features, Heartbeat, USABLE};
use crate::quality::{QualityMeter, SignalKind};
use crate::{Beat, BeatDetector, HeartRate, HeartSignal};

/// Slowest and fastest heart, beats per minute.
const SLOWEST: f64 = 30.0;
const FASTEST: f64 = 200.0;
/// Seconds of which the heart rate is.
const RATE_SPAN: f64 = 10.0;
/// The quality is looked at this often, ns.
const LOOK: u64 = 100_000_000;

#[derive(Debug, Clone)]
struct Heart {
    detector: BeatDetector,
    rate: HeartRate,
    intervals: Intervals,
    variability: Variability,
    respiration: Respiration,
    /// Time (ns) of the newest beat.
    newest: Option<u64>,
}

impl Heart {
    fn new(signal: HeartSignal, rate: f64) -> Self {
        Self {
            detector: BeatDetector::new(signal, rate),
            rate: HeartRate::new(SLOWEST, FASTEST, RATE_SPAN),
            intervals: Intervals::new(),
            variability: Variability::new(),
            respiration: Respiration::new(),
            newest: None,
        }
    }

    fn cut(&mut self) {
        self.detector.cut();
        self.rate.cut();
        self.intervals.cut();
        self.respiration.cut();
    }

    fn push(&mut self, time: u64, value: f64, bad: bool, out: &mut impl FnMut(Event)) {
        let Self {
            detector,
            rate,
            intervals,
            respiration,
            newest,
            ..
        } = self;
        let anew = detector.push(time, value, |beat: Beat| {
            *newest = Some(beat.time);
            let confidence = if bad { 0.0 } else { beat.confidence };
            rate.beat(Beat { confidence, ..beat });
            respiration.beat(beat.time);
            let interval = intervals.beat(beat.time, confidence);
            out(Event::Beat(Heartbeat {
                time: beat.time,
                confidence,
                interval: interval.map(|i| i.length),
                normal: interval.is_some_and(|i| i.normal),
            }));
        });
        if anew {
            rate.cut();
            intervals.cut();
            respiration.cut();
        }
        respiration.push(time, value);
    }

    fn fill(&mut self, now: u64, features: &mut Features) {
        let values = self.variability.values(&self.intervals, now);
        features.rmssd = values.rmssd;
        features.sdnn = values.sdnn;
        features.pnn50 = values.pnn50;
        features.lf_hf = values.lf_hf;
        let beats = self
            .newest
            .is_some_and(|t| now.saturating_sub(t) as f64 <= SILENT * 1e9);
        if beats {
            features.hr = self.rate.rate(now);
            features.respiration_rate = self.respiration.rate(&self.intervals, now);
        }
    }
}

#[derive(Debug, Clone)]
enum Organ {
    Heart(Box<Heart>),
    Skin(Box<Skin>),
    /// Its features are not known; its quality is.
    Other,
}

/// The features of one sensor, from its raw samples: ECG and PPG in any unit, EDA in µS.
#[derive(Debug, Clone)]
pub struct Physiology {
    meter: QualityMeter,
    organ: Organ,
    /// Whether the quality was too low when it was last looked at, and when that was.
    bad: bool,
    looked: u64,
    last: Option<u64>,
}

impl Physiology {
    /// `rate_hz`: the stream's nominal rate, 0 for an irregular one, which gives no beats.
    /// `full_scale`: lowest and highest value of an integer sample format, `None` for floating
    /// point.
    pub fn new(kind: SignalKind, rate_hz: f64, full_scale: Option<[f64; 2]>) -> Self {
        let heart = |signal| match rate_hz > 0.0 {
            true => Organ::Heart(Box::new(Heart::new(signal, rate_hz))),
            false => Organ::Other,
        };
        Self {
            meter: QualityMeter::new(kind, rate_hz, full_scale),
            organ: match kind {
                SignalKind::Ecg => heart(HeartSignal::Ecg),
                SignalKind::Ppg => heart(HeartSignal::Ppg),
                SignalKind::Eda => Organ::Skin(Box::new(Skin::new(rate_hz))),
                SignalKind::Other => Organ::Other,
            },
            bad: false,
            looked: 0,
            last: None,
        }
    }

    /// What is measured.
    pub fn kind(&self) -> SignalKind {
        self.meter.kind()
    }

    /// Samples are missing before the next one: no interval and no response is across the gap.
    pub fn cut(&mut self) {
        self.meter.cut();
        match &mut self.organ {
            Organ::Heart(heart) => heart.cut(),
            Organ::Skin(skin) => skin.cut(),
            Organ::Other => {}
        }
    }

    /// Takes the raw sample at `time` (ns) and calls `out` with what it shows to have happened. A
    /// sample that is not newer than the one before changes nothing.
    pub fn push(&mut self, time: u64, value: f64, mut out: impl FnMut(Event)) {
        if self.last.is_some_and(|last| time <= last) {
            return;
        }
        self.last = Some(time);
        self.meter.push(time, value);
        if time.saturating_sub(self.looked) >= LOOK {
            self.looked = time;
            let reading = self.meter.reading(time);
            self.bad = reading.quality.is_some_and(|q| q < USABLE);
            if let (true, Organ::Skin(skin)) = (self.bad, &mut self.organ) {
                skin.cut();
            }
        }
        match &mut self.organ {
            Organ::Heart(heart) => heart.push(time, value, self.bad, &mut out),
            Organ::Skin(skin) if !self.bad => skin.push(time, value, |scr| out(Event::Scr(scr))),
            Organ::Skin(_) | Organ::Other => {}
        }
    }

    /// The features at `now` (ns), from the samples so far. Ask in the order of time.
    pub fn features(&mut self, now: u64) -> Features {
        let reading = self.meter.reading(now);
        let mut features = Features {
            time: now,
            quality: reading.quality,
            reason: reading.reason,
            ..Features::default()
        };
        if features.is_bad() {
            return features;
        }
        match &mut self.organ {
            Organ::Heart(heart) => heart.fill(now, &mut features),
            Organ::Skin(skin) => {
                features.scl = skin.level(now);
                features.scr_rate = skin.rate(now);
            }
            Organ::Other => {}
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// Breaths and slow waves in the intervals of a heart, in the signal that `beat` draws.
    fn run(
        kind: SignalKind,
        rate: f64,
        seconds: f64,
        beat: impl Fn(f64) -> f64,
    ) -> (Physiology, Vec<Heartbeat>, Vec<f64>) {
        let mut body = Physiology::new(kind, rate, None);
        let (mut found, mut beats) = (Vec::new(), vec![0.0]);
        let interval = |t: f64| 0.85 + 0.03 * (TAU * 0.1 * t).sin() + 0.04 * (TAU * 0.25 * t).sin();
        let breath = |t: f64| 1.0 + 0.08 * (TAU * 0.25 * t).sin();
        for i in 0..(seconds * rate) as u64 {
            let t = i as f64 / rate;
            let mut last = beats[beats.len() - 1];
            if t >= last + interval(last) {
                last += interval(last);
                beats.push(last);
            }
            let value = breath(t) * beat(t - last) + 0.004 * (t * 1234.5).sin();
            body.push((t * 1e9) as u64, value, |event| match event {
                Event::Beat(b) => found.push(b),
                Event::Scr(_) => {}
            });
        }
        (body, found, beats)
    }

    fn ecg(t: f64) -> f64 {
        let wave = |at: f64, width: f64| (-((t - at) / width).powi(2)).exp();
        0.1 * wave(0.1, 0.03) - 0.1 * wave(0.225, 0.01) + wave(0.25, 0.012)
            - 0.2 * wave(0.28, 0.012)
            + 0.25 * wave(0.5, 0.05)
    }

    fn ppg(t: f64) -> f64 {
        let wave = |at: f64, width: f64| (-((t - at) / width).powi(2)).exp();
        wave(0.25, 0.1) + 0.35 * wave(0.5, 0.13)
    }

    #[test]
    fn a_heart_from_raw_samples_to_features() {
        for (kind, rate, beat) in [
            (SignalKind::Ecg, 250.0, ecg as fn(f64) -> f64),
            (SignalKind::Ecg, 1000.0, ecg),
            (SignalKind::Ppg, 64.0, ppg),
        ] {
            let seconds = 310.0;
            let (mut body, found, beats) = run(kind, rate, seconds, beat);
            let missing = beats.len().abs_diff(found.len());
            assert!(missing <= 6, "{kind:?}: {} of {}", found.len(), beats.len());
            let f = body.features((seconds * 1e9) as u64);
            let lengths: Vec<f64> = beats.windows(2).map(|w| w[1] - w[0]).collect();
            let n = lengths.len() as f64;
            let mean = lengths.iter().sum::<f64>() / n;
            let sdnn = 1e3 * (lengths.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n).sqrt();
            let steps = lengths.windows(2).map(|w| (w[1] - w[0]).powi(2));
            let rmssd = 1e3 * (steps.sum::<f64>() / (n - 1.0)).sqrt();
            let near = |found: Option<f64>, want: f64, by: f64| {
                assert!(
                    found.is_some_and(|f| (f - want).abs() <= by),
                    "{kind:?} {rate} Hz: {found:?}, expected {want} within {by}: {f:?}"
                );
            };
            near(f.hr, 60.0 / mean, 3.0);
            near(f.sdnn, sdnn, 0.05 * sdnn);
            near(f.rmssd, rmssd, 0.08 * rmssd);
            near(f.lf_hf, 9.0 / 16.0, 0.15);
            near(f.respiration_rate, 15.0, 1.0);
            assert!(f.quality > Some(0.6), "{f:?}");
            assert_eq!((f.scl, f.scr_rate), (None, None));
        }
    }

    #[test]
    fn no_interval_leads_across_a_jump_of_the_timestamps() {
        let mut heart = Physiology::new(SignalKind::Ecg, 250.0, None);
        let mut beats: Vec<Heartbeat> = Vec::new();
        for i in 0..250 * 40u64 {
            let t = i as f64 / 250.0;
            // Nothing says that samples are missing.
            let time = i * 4_000_000 + if i < 250 * 20 { 0 } else { 200_000_000_000_000 };
            heart.push(time, ecg(t % 0.8), |event| {
                if let Event::Beat(beat) = event {
                    beats.push(beat);
                }
            });
        }
        let longest = beats.iter().filter_map(|b| b.interval).fold(0.0, f64::max);
        assert!(beats.len() > 30 && longest < 1.5, "{longest}");
    }

    #[test]
    fn the_level_follows_a_long_rise() {
        let mut skin = Physiology::new(SignalKind::Eda, 8.0, None);
        for i in 0..8 * 240u64 {
            let t = i as f64 / 8.0;
            skin.push(i * 125_000_000, 2.0 + 0.02 * t, |_| ());
        }
        let level = skin.features(240_000_000_000).scl.expect("a level");
        assert!((6.3..=6.8).contains(&level), "{level}");
    }

    #[test]
    fn noise_and_irregular_streams_have_no_features() {
        let mut state = 1u64;
        let mut noise = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f64 / f64::from(1u32 << 31) - 0.5
        };
        for (kind, rate) in [
            (SignalKind::Ecg, 250.0),
            (SignalKind::Ppg, 64.0),
            (SignalKind::Ecg, 0.0),
        ] {
            let mut body = Physiology::new(kind, rate, None);
            let step = if rate > 0.0 { 1e9 / rate } else { 4e6 };
            let mut time = 0;
            for i in 0..(120.0 * 1e9 / step) as u64 {
                time = (i as f64 * step) as u64;
                body.push(time, noise(), |_| {});
            }
            let f = body.features(time);
            assert!(
                f.quality.is_none_or(|q| q < USABLE),
                "{kind:?} {rate}: {f:?}"
            );
            assert_eq!(f.values(), [None; 8], "{kind:?} {rate}");
        }
    }

    #[test]
    fn bad_conductance_is_no_level_and_no_response() {
        let mut body = Physiology::new(SignalKind::Eda, 32.0, None);
        let mut found = Vec::new();
        let mut off = None;
        for i in 0..120 * 32u64 {
            let t = i as f64 / 32.0;
            let value = match (50.0..70.0).contains(&t) {
                true => 0.002 * (t * 17.0).sin(),
                false => 5.0 + 0.003 * (t * 17.0).sin() + 0.004 * t,
            };
            body.push((t * 1e9) as u64, value, |e| found.push(e));
            if t == 60.0 {
                off = Some(body.features((t * 1e9) as u64));
            }
        }
        let off = off.expect("asked");
        assert_eq!((off.scl, off.scr_rate), (None, None), "{off:?}");
        assert_eq!(found, []);
        let back = body.features(119_900_000_000);
        assert!(back.scl.is_some_and(|l| (l - 5.4).abs() < 0.2), "{back:?}");
    }

    #[test]
    fn the_log_does_not_know_the_future() {
        use crate::features::FeatureLog;
        let value = |t: f64| 3.0 + 0.3 * (t * 0.8).sin() + 0.001 * (t * 17.0).sin();
        let fresh = || FeatureLog::new(Physiology::new(SignalKind::Eda, 16.0, None));
        let (mut whole, mut part) = (fresh(), fresh());
        for i in 0..200 * 16u64 {
            let (time, t) = (i * 62_500_000, i as f64 / 16.0);
            whole.push(time, value(t), |_| {});
            if t < 100.0 {
                part.push(time, value(t), |_| {});
            }
        }
        part.complete(100_000_000_000);
        let early = whole.before(100_000_000_000).copied();
        assert_eq!(early, part.before(100_000_000_000).copied());
        assert!(early.is_some_and(|f| f.scl.is_some() && f.time == 99_750_000_000));
        // An hour without samples costs nothing, and what was is forgotten.
        whole.complete(4_000_000_000_000);
        let late = whole.before(4_000_000_000_000).copied().expect("known");
        assert_eq!((late.scl, late.quality), (None, Some(0.0)));
        assert_eq!(whole.before(100_000_000_000), None);
    }
}
