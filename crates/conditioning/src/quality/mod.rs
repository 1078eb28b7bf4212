// SPDX-License-Identifier: MPL-2.0
//! How good a physiological signal is, 0 to 1, with the reason if it is not good.
//!
//! [`QualityMeter`] takes the raw samples of one signal. Twice a second it looks at the newest
//! four seconds, so that a sensor that comes off is known within five seconds, and one that is
//! back as well. What it measures is in `docs/quality.md`, with formula and source:
//!
//! - of every signal: missing and not finite samples, flat stretches, clipping;
//! - of an ECG or PPG: whether the beats look like each other, the shape of the distribution
//!   and of the spectrum, the share of mains hum;
//! - of EDA: whether it is in the range of skin, how fast it changes, and how rough it is.
//!
//! The reading of an ECG or PPG does not depend on gain, offset, polarity and sampling rate. EDA
//! is taken in µS.
//!
//! ```
//! use conditioning::quality::{QualityMeter, Reason, SignalKind};
//!
//! // An electrode that is off: 0 ± 3 nS at 8 Hz.
//! let mut meter = QualityMeter::new(SignalKind::Eda, 8.0, None);
//! for i in 0..40u64 {
//!     meter.push(i * 125_000_000, if i % 3 == 0 { 0.003 } else { -0.001 });
//! }
//! let reading = meter.reading(4_875_000_000);
//! assert_eq!((reading.quality, reading.reason), (Some(0.0), Some(Reason::Detached)));
//! ```

mod clip;
mod ecg;
mod eda;
mod ppg;
mod series;
#[cfg(test)]
mod tests;

use crate::contact::{Contact, ContactWatch};
use clip::Plateaus;
pub(crate) use eda::CONTACT;
use series::{Means, Recent, detrend, hum, longest_run, odd};

/// What a signal is a measure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalKind {
    /// Electrocardiogram, any unit.
    Ecg,
    /// Photoplethysmogram (blood volume pulse), any unit.
    Ppg,
    /// Skin conductance in µS.
    Eda,
    /// Anything else: only what holds for every signal is looked at.
    Other,
}

impl SignalKind {
    /// The kind of the modality `name` of a bundle: `ecg`, `ppg` or `eda`.
    pub fn of(name: &str) -> Self {
        match name {
            "ecg" => Self::Ecg,
            "ppg" => Self::Ppg,
            "eda" => Self::Eda,
            _ => Self::Other,
        }
    }

    /// Seconds of signal that one reading is about.
    fn span(self) -> f64 {
        4.0
    }

    /// Seconds of signal before the first reading.
    fn first(self) -> f64 {
        match self {
            Self::Ecg | Self::Ppg => 3.5,
            Self::Eda | Self::Other => 2.0,
        }
    }
}

/// Why a signal is not good. If there are several reasons, it is the one that takes most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No sample for two seconds.
    NoSignal,
    /// NaN or infinite samples.
    NotFinite,
    /// One value, again and again.
    Flat,
    /// Cut off at an upper or lower limit.
    Clipped,
    /// Values that the body does not give: negative conductance, or more than 100 µS.
    OutOfRange,
    /// EDA: next to no conductance, the electrodes are off the skin.
    Detached,
    /// What is there does not look like the signal.
    Noise,
    /// Mains hum.
    Hum,
    /// Steps or swings as when the sensor or the cable moves.
    Motion,
    /// The stream has no nominal rate, and heart signals need one.
    Irregular,
}

impl Reason {
    /// The reason as a word for messages: `no-signal`, `flat`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSignal => "no-signal",
            Self::NotFinite => "not-finite",
            Self::Flat => "flat",
            Self::Clipped => "clipped",
            Self::OutOfRange => "out-of-range",
            Self::Detached => "detached",
            Self::Noise => "noise",
            Self::Hum => "hum",
            Self::Motion => "motion",
            Self::Irregular => "irregular",
        }
    }
}

/// The state of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// 0 (nothing of use) to 1 (good); `None` until there is enough signal to say.
    pub quality: Option<f64>,
    /// The strongest reason against the signal, if the quality is below 0.8.
    pub reason: Option<Reason>,
}

impl Reading {
    pub(crate) const UNKNOWN: Self = Self {
        quality: None,
        reason: None,
    };

    fn bad(reason: Reason) -> Self {
        Self {
            quality: Some(0.0),
            reason: Some(reason),
        }
    }
}

/// A quality of at least this is good, and needs no reason.
const GOOD: f64 = 0.8;
/// Seconds from one evaluation to the next.
const HOP: f64 = 0.5;
/// Nanoseconds without a sample after which there is no signal.
const SILENT: u64 = 2_000_000_000;
/// Longest time without samples, ns, that leaves the samples before it in use. Two periods of a
/// slow sender do so too.
const GAP: f64 = 0.1e9;
/// Seconds of not finite samples after which those before them are of no use.
const LOST: f64 = 0.5;
/// Most samples per second that the search for clipping looks at.
const PICKED: f64 = 500.0;

/// Parts of a verdict: each is 0 to 1, with the reason if it is low. The quality is their
/// product, so that several weak reasons add up.
#[derive(Debug, Default)]
struct Verdict {
    parts: Vec<(f64, Reason)>,
}

impl Verdict {
    fn put(&mut self, part: f64, reason: Reason) {
        // Values near the largest number overflow: they are no signal.
        let part = if part.is_nan() { 0.0 } else { part };
        self.parts.push((part.clamp(0.0, 1.0), reason));
    }

    fn reading(&self) -> Reading {
        let quality: f64 = self.parts.iter().map(|p| p.0).product();
        let worst = self.parts.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        Reading {
            quality: Some(quality),
            reason: worst.map(|p| p.1).filter(|_| quality < GOOD),
        }
    }
}

/// 0 at `bad`, 1 at `good`, a line between; `bad` may be above `good`.
fn ramp(value: f64, bad: f64, good: f64) -> f64 {
    ((value - bad) / (good - bad)).clamp(0.0, 1.0)
}

/// Measures the quality of one signal, causally and in bounded memory.
#[derive(Debug, Clone)]
pub struct QualityMeter {
    kind: SignalKind,
    /// Hz, 0 for an irregular stream.
    rate: f64,
    full_scale: Option<[f64; 2]>,
    /// The newest samples as they came, thinned out to at most [`PICKED`] per second.
    picked: Recent,
    /// Every how many samples one is picked, and how many are to be left out before the next.
    stride: usize,
    skip: usize,
    /// The newest samples at the rate of the analysis.
    means: Means,
    /// For each of the newest picked samples whether it was not finite or at full scale.
    broken: Recent,
    railed: Recent,
    plateaus: Plateaus,
    flat: FlatWatch,
    /// For EDA: which samples the skin did not give.
    watch: Option<ContactWatch>,
    contact: Contact,
    /// For each of the newest picked samples whether it was too far from its neighbours.
    outliers: Recent,
    /// Time (ns) of the newest sample.
    last: Option<u64>,
    /// Time (ns) since which samples are not finite.
    lost_since: Option<u64>,
    /// The last finite value: it stands for one that is not.
    held: f64,
    /// Time (ns) of the next evaluation.
    due: u64,
    latest: Reading,
}

impl QualityMeter {
    /// `rate_hz`: the stream's nominal rate, 0 for an irregular one. `full_scale`: lowest and
    /// highest value of an integer sample format, `None` for floating point.
    pub fn new(kind: SignalKind, rate_hz: f64, full_scale: Option<[f64; 2]>) -> Self {
        let rate = if rate_hz.is_finite() && rate_hz > 0.0 {
            rate_hz.min(1e6)
        } else {
            0.0
        };
        // An irregular stream is taken sample by sample, as if it came at 8 Hz.
        let effective = if rate > 0.0 { rate } else { 8.0 };
        let stride = (effective / PICKED).ceil().max(1.0) as usize;
        let picked_rate = effective / stride as f64;
        let keep = |rate: f64| (kind.span() * rate).round().max(4.0) as usize;
        let analysis = match kind {
            SignalKind::Ecg => 125.0,
            SignalKind::Ppg => 50.0,
            SignalKind::Eda => 4.0,
            SignalKind::Other => 50.0,
        };
        let together = (effective / analysis).floor().max(1.0) as usize;
        Self {
            kind,
            rate,
            full_scale,
            picked: Recent::new(picked_rate, keep(picked_rate)),
            stride,
            skip: 0,
            means: Means::new(effective, together, kind.span()),
            broken: Recent::new(picked_rate, keep(picked_rate)),
            railed: Recent::new(picked_rate, keep(picked_rate)),
            watch: ContactWatch::of(kind),
            contact: Contact::Good,
            outliers: Recent::new(picked_rate, keep(picked_rate)),
            plateaus: Plateaus::new(kind),
            flat: FlatWatch::default(),
            last: None,
            lost_since: None,
            held: 0.0,
            due: 0,
            latest: Reading::UNKNOWN,
        }
    }

    /// What is measured.
    pub fn kind(&self) -> SignalKind {
        self.kind
    }

    /// Forgets all samples, as after a gap or a seek.
    pub fn cut(&mut self) {
        self.clear();
        self.last = None;
        self.lost_since = None;
        self.watch = ContactWatch::of(self.kind);
        self.contact = Contact::Good;
        self.due = 0;
        self.latest = Reading::UNKNOWN;
    }

    fn clear(&mut self) {
        self.picked.clear();
        self.means.clear();
        self.broken.clear();
        self.railed.clear();
        self.outliers.clear();
        self.flat = FlatWatch::default();
        self.skip = 0;
    }

    /// Takes the raw sample at `time_ns`. One that is not newer than the one before changes
    /// nothing.
    pub fn push(&mut self, time_ns: u64, value: f64) {
        if self.last.is_some_and(|t| time_ns <= t) {
            return;
        }
        let period = if self.rate > 0.0 {
            1e9 / self.rate
        } else {
            1e9
        };
        if let Some(last) = self.last
            && (time_ns - last) as f64 > GAP.max(2.5 * period)
        {
            self.clear();
            self.lost_since = None;
            self.latest = Reading::UNKNOWN;
            self.due = time_ns + crate::nanoseconds(HOP);
        }
        self.last = Some(time_ns);
        let finite = value.is_finite();
        self.contact = match &mut self.watch {
            Some(watch) if finite => watch.accept(time_ns, value),
            _ => Contact::Good,
        };
        // A single outlier is left out of what is measured.
        let outlier = self.contact == Contact::Outlier;
        if finite {
            if !outlier {
                self.held = value;
            }
            if self.lost_since.take().is_some_and(|s| is_lost(s, time_ns)) {
                // The samples before are too old to be looked at together with these.
                self.clear();
                self.latest = Reading::UNKNOWN;
            }
        } else {
            let since = *self.lost_since.get_or_insert(time_ns);
            if is_lost(since, time_ns) {
                self.latest = Reading::bad(Reason::NotFinite);
                return;
            }
        }
        self.flat
            .push(time_ns, if finite { value } else { self.held });
        self.means.push(self.held);
        let railed = self
            .full_scale
            .is_some_and(|[low, high]| finite && (value <= low || value >= high));
        if self.skip == 0 {
            self.skip = self.stride;
            self.picked.push(self.held);
            self.broken.push(f64::from(u8::from(!finite)));
            self.railed.push(f64::from(u8::from(railed)));
            self.outliers.push(f64::from(u8::from(outlier)));
        }
        self.skip -= 1;
        if time_ns >= self.due {
            self.due = time_ns + crate::nanoseconds(HOP);
            self.latest = self.evaluate(time_ns);
        }
    }

    /// What the newest sample is by itself.
    pub(crate) fn contact(&self) -> Contact {
        self.contact
    }

    /// The state of the signal at `now_ns`.
    pub fn reading(&self, now_ns: u64) -> Reading {
        match self.last {
            Some(last) if now_ns.saturating_sub(last) <= SILENT => self.latest,
            _ => Reading::bad(Reason::NoSignal),
        }
    }

    fn evaluate(&mut self, now: u64) -> Reading {
        let heart = matches!(self.kind, SignalKind::Ecg | SignalKind::Ppg);
        if heart && self.rate <= 0.0 {
            return Reading::bad(Reason::Irregular);
        }
        if self.picked.seconds() < self.kind.first() {
            return Reading::UNKNOWN;
        }
        let mut verdict = Verdict::default();
        verdict.put(ramp(self.broken.mean(), 0.3, 0.02), Reason::NotFinite);
        verdict.put(ramp(self.railed.mean(), 0.03, 0.0), Reason::Clipped);
        let raw = self.picked.values();
        let flat = self
            .flat
            .part(self.kind, now, longest_run(&raw, self.picked.rate()));
        verdict.put(flat, Reason::Flat);
        if flat <= 0.0 {
            return verdict.reading();
        }
        match self.kind {
            SignalKind::Ecg => {
                verdict.put(
                    self.plateaus.part(&raw, self.picked.rate()),
                    Reason::Clipped,
                );
                let hum = hum(
                    &detrend(&raw, odd(1.0, self.picked.rate())),
                    self.picked.rate(),
                    2.5,
                );
                ecg::judge(&self.means.values(), self.means.rate(), hum, &mut verdict);
            }
            SignalKind::Ppg => {
                verdict.put(
                    self.plateaus.part(&raw, self.picked.rate()),
                    Reason::Clipped,
                );
                let hum = hum(
                    &detrend(&raw, odd(1.6, self.picked.rate())),
                    self.picked.rate(),
                    3.5,
                );
                ppg::judge(&self.means.values(), self.means.rate(), hum, &mut verdict);
            }
            SignalKind::Eda => {
                eda::judge(&raw, self.picked.rate(), &self.means, &mut verdict);
            }
            SignalKind::Other => {}
        }
        verdict.put(ramp(self.outliers.mean(), 0.28, 0.1), Reason::Motion);
        verdict.reading()
    }
}

fn is_lost(since: u64, now: u64) -> bool {
    now.saturating_sub(since) >= crate::nanoseconds(LOST)
}

/// How long a signal has had one value.
#[derive(Debug, Clone, Default)]
struct FlatWatch {
    value: Option<f64>,
    since: u64,
    /// The smallest difference between neighbouring samples that are not equal: the resolution
    /// of the converter, or more.
    quantum: Option<f64>,
    /// How long the signal rested on one value lately before it went on by a small step, in
    /// seconds: long for a coarse converter.
    rest: f64,
}

/// The remembered rest halves in this many seconds.
const FORGOTTEN: f64 = 60.0;
/// Longest rest of skin conductance on one value, seconds.
const LONGEST_REST: f64 = 30.0;

impl FlatWatch {
    fn push(&mut self, time: u64, value: f64) {
        let Some(before) = self.value.filter(|v| *v != value) else {
            if self.value.is_none() {
                self.value = Some(value);
                self.since = time;
            }
            return;
        };
        let step = (value - before).abs();
        let quantum = self.quantum.map_or(step, |q| q.min(step));
        self.quantum = Some(quantum);
        let rested = seconds(self.since, time);
        self.rest *= 0.5f64.powf(rested / FORGOTTEN);
        // After a loss of contact the signal comes back with a large step.
        if step <= 2.5 * quantum {
            self.rest = self.rest.max(rested.min(LONGEST_REST));
        }
        self.value = Some(value);
        self.since = time;
    }

    /// 0 if the value has been the same for too long, now or within the window, where the longest
    /// stretch is `run` seconds. Skin conductance may rest on one value of a coarse converter; a
    /// heart may not.
    fn part(&self, kind: SignalKind, now: u64, run: f64) -> f64 {
        let same = seconds(self.since, now).max(run);
        let longest = match kind {
            SignalKind::Ecg | SignalKind::Ppg => 1.5,
            SignalKind::Eda => (3.0 * self.rest).clamp(3.9, LONGEST_REST),
            SignalKind::Other => 10.0,
        };
        ramp(same, longest, 0.8 * longest)
    }
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 * 1e-9
}
