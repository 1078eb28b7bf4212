// SPDX-License-Identifier: MPL-2.0
//! One sensor of a line: its features, and whether its signal is good. `mvpfusion` has one for each
//! pad, `physiofeatures` has one.

use conditioning::features::{Event, FeatureLog, Features, Physiology};
use conditioning::quality::{Reason, SignalKind};

/// Name of the element message that says that a sensor has become good or bad.
pub(crate) const SIGNAL_MESSAGE: &str = "mvp-signal";
/// Quality below which a sensor is bad, and from which on it is good again.
const BAD: f64 = 0.5;
const GOOD: f64 = 0.6;
/// How long (ns) it must have been so.
const LASTING: u64 = 1_000_000_000;
/// The same of another reason for a sensor that is bad already.
const OTHER_REASON: u64 = 2_000_000_000;
/// A sample that is so much (ns) before the newest one begins a new time line.
const STEP_BACK: u64 = 1_000_000_000;
/// Features that are older than this (ns) are of a sensor that sends nothing.
const SILENT: u64 = 3_000_000_000;

/// What the message [`SIGNAL_MESSAGE`] says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Signal {
    modality: String,
    good: bool,
    quality: f64,
    reason: Option<Reason>,
    time: u64,
}

impl Signal {
    pub(crate) fn to_structure(&self) -> gst::Structure {
        let mut s = gst::Structure::builder(SIGNAL_MESSAGE)
            .field("modality", &self.modality)
            .field("state", if self.good { "good" } else { "bad" })
            .field("quality", self.quality)
            .field("time", self.time)
            .build();
        if let Some((reason, remedy)) = self.explanation() {
            s.set("reason", reason);
            s.set("remedy", remedy);
        }
        s
    }

    fn explanation(&self) -> Option<(&'static str, &'static str)> {
        let reason = self.reason?;
        Some((reason.as_str(), remedy(&self.modality, reason)))
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            modality, quality, ..
        } = self;
        match self.explanation() {
            Some((reason, remedy)) => write!(
                f,
                "the signal {modality} is bad: {reason}, quality {quality:.2}. {remedy}"
            ),
            None if self.good => write!(f, "the signal {modality} is good, quality {quality:.2}"),
            None => write!(f, "the signal {modality} is bad, quality {quality:.2}"),
        }
    }
}

/// What to do about it.
fn remedy(modality: &str, reason: Reason) -> &'static str {
    match (reason, modality) {
        (Reason::NoSignal, _) => {
            "Look whether the device is on, in range and connected to its program"
        }
        (Reason::NotFinite, _) => {
            "The device's program sends values that are no numbers: look at its settings and at the \
             connection to the device"
        }
        (Reason::Flat, _) => "Look whether the sensor's cable is plugged in and the channel is on",
        (Reason::Clipped, "ecg") => {
            "The signal reaches the limit of the device: lower its gain, and look at the electrodes"
        }
        (Reason::Clipped, "ppg") => {
            "The signal reaches the limit of the device: lower its gain or its light, and shield the \
             sensor from other light"
        }
        (Reason::Clipped, _) => "The signal reaches the limit of the device: choose a wider range",
        (Reason::OutOfRange, "eda") => {
            "Values are not those of skin in microsiemens: look at the unit that the device sends, and \
             at the electrodes"
        }
        (Reason::OutOfRange, _) => "Values are not those of the signal: look at unit and channel",
        (Reason::Detached, "eda") => {
            "The electrodes have no contact: fasten them, with fresh gel, on fingers or palm"
        }
        (Reason::Detached, _) => "The sensor has no contact: fasten it",
        (Reason::Noise, "ecg") => {
            "No heartbeat is seen: look at the electrodes' contact and places, and whether it is the \
             channel of the ECG"
        }
        (Reason::Noise, "ppg") => {
            "No pulse is seen: fasten the sensor, warm the hand, and look whether it is the channel of \
             the PPG"
        }
        (Reason::Noise, _) => "Look at the contact of the sensor and at its cable",
        (Reason::Hum, _) => {
            "Mains hum: look at the ground electrode, keep cables away from power supplies, or let the \
             device run on its battery"
        }
        (Reason::Motion, _) => "Ask the person to keep the sensor still, and fasten its cable",
        (Reason::Irregular, _) => {
            "A heartbeat needs samples at equal times: let the device's program declare its nominal rate"
        }
    }
}

/// Samples of a sensor become features, and their quality a verdict.
#[derive(Debug)]
pub(crate) struct Sensor {
    modality: String,
    rate: f64,
    full_scale: Option<[f64; 2]>,
    log: FeatureLog,
    /// Time (ns) of the newest sample.
    newest: u64,
    /// What was said last: whether it is good, and if not, why.
    said: Option<(bool, Option<Reason>)>,
    /// What is to be said if it lasts, and since when (ns).
    changing: Option<((bool, Option<Reason>), u64)>,
}

fn fresh_log(modality: &str, rate: f64, full_scale: Option<[f64; 2]>) -> FeatureLog {
    let kind = SignalKind::of(modality);
    FeatureLog::new(Physiology::new(kind, rate, full_scale))
}

impl Sensor {
    /// `rate`: nominal rate, Hz, 0 for an irregular stream. `full_scale`: lowest and highest
    /// value of an integer format.
    pub(crate) fn new(modality: &str, rate: f64, full_scale: Option<[f64; 2]>) -> Self {
        Self {
            modality: modality.to_string(),
            rate,
            full_scale,
            log: fresh_log(modality, rate, full_scale),
            newest: 0,
            said: None,
            changing: None,
        }
    }

    /// Whether it was made for this stream.
    pub(crate) fn is_of(&self, rate: f64, full_scale: Option<[f64; 2]>) -> bool {
        self.rate == rate && self.full_scale == full_scale
    }

    /// Forgets all samples, as after a seek; what was said of the signal still holds.
    pub(crate) fn flush(&mut self) {
        self.log = fresh_log(&self.modality, self.rate, self.full_scale);
        self.newest = 0;
        self.changing = None;
    }

    /// Whether samples at `time` come after the timestamps have gone back: by one that was ahead,
    /// or with a new time line. Then [`Sensor::push`] begins anew.
    pub(crate) fn steps_back(&self, time: u64) -> bool {
        time.saturating_add(STEP_BACK) < self.newest
    }

    /// Samples are missing before the next one.
    pub(crate) fn cut(&mut self) {
        self.log.cut();
    }

    pub(crate) fn push(&mut self, time: u64, value: f64, out: impl FnMut(Event)) {
        if self.steps_back(time) {
            self.flush();
        }
        self.newest = self.newest.max(time);
        self.log.push(time, value, out);
    }

    /// Every sample before `time` has come.
    pub(crate) fn complete(&mut self, time: u64) {
        self.log.complete(time);
    }

    /// What is known of the time before `time`; nothing before the first sample.
    pub(crate) fn features(&self, time: u64) -> Option<Features> {
        let known = *self.log.before(time)?;
        Some(match time - known.time > SILENT {
            false => known,
            true => Features {
                time,
                quality: Some(0.0),
                reason: Some(Reason::NoSignal),
                ..Features::default()
            },
        })
    }

    /// What is to be said of the signal, where that has changed. Ask in the order of time.
    pub(crate) fn verdict(&mut self, features: &Features) -> Option<Signal> {
        let quality = features.quality?;
        let good = match self.said {
            Some((false, _)) => quality >= GOOD,
            _ => quality >= BAD,
        };
        let reason = features.reason.filter(|_| !good);
        let lasting = match self.said {
            // On the way to good it has no reason any more.
            Some(said) if said == (good, reason) || (said.0, reason) == (good, None) => {
                self.changing = None;
                return None;
            }
            Some((false, _)) if !good => OTHER_REASON,
            _ => LASTING,
        };
        let time = features.time;
        let same = |to: (bool, Option<Reason>)| match lasting {
            OTHER_REASON => to == (good, reason),
            _ => to.0 == good,
        };
        match self.changing {
            Some((to, since)) if same(to) && since <= time => {
                if time - since < lasting {
                    return None;
                }
            }
            _ => {
                self.changing = Some(((good, reason), time));
                return None;
            }
        }
        self.said = Some((good, reason));
        self.changing = None;
        Some(Signal {
            modality: self.modality.clone(),
            good,
            quality,
            reason,
            time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: u64, quality: f64, reason: Option<Reason>) -> Features {
        Features {
            time: time * 250_000_000,
            quality: Some(quality),
            reason,
            ..Features::default()
        }
    }

    #[test]
    fn a_change_is_said_once_when_it_has_lasted() {
        gst::init().expect("gst");
        let mut sensor = Sensor::new("eda", 4.0, None);
        let mut said = Vec::new();
        for i in 0..100 {
            let features = match i {
                // A moment is no change.
                30..=31 => at(i, 0.0, Some(Reason::Motion)),
                // The step on the way down is motion, and motion is not the reason for long.
                50..=56 => at(i, 0.0, Some(Reason::Motion)),
                57..=69 => at(i, 0.0, Some(Reason::Detached)),
                70..=79 => at(i, 0.55, None),
                _ => at(i, 0.9, None),
            };
            said.extend(sensor.verdict(&features));
        }
        let times: Vec<_> = said
            .iter()
            .map(|s| (s.good, s.time / 250_000_000))
            .collect();
        assert_eq!(times, [(true, 4), (false, 54), (false, 65), (true, 84)]);
        let s = said[2].to_structure();
        assert_eq!(s.get::<&str>("state"), Ok("bad"));
        assert_eq!(s.get::<&str>("reason"), Ok("detached"));
        assert!(
            s.get::<&str>("remedy")
                .is_ok_and(|r| r.contains("electrodes"))
        );
        assert!(!said[0].to_structure().has_field("reason"));
    }

    #[test]
    fn a_sensor_that_sends_nothing_is_bad() {
        let mut sensor = Sensor::new("eda", 4.0, None);
        assert_eq!(sensor.features(1_000_000_000), None);
        for i in 0..80u64 {
            let value = 3.0 + 0.02 * (i as f64 * 0.7).sin() + 0.001 * i as f64;
            sensor.push(i * 250_000_000, value, |_| {});
        }
        let now = 20_000_000_000;
        let known = sensor.features(now).expect("known");
        assert!(
            known.scl.is_some() && known.quality > Some(0.6),
            "{known:?}"
        );
        let later = sensor.features(now + 4_000_000_000).expect("known");
        assert_eq!((later.scl, later.reason), (None, Some(Reason::NoSignal)));
        // What belongs to an earlier frame is still known.
        let earlier = sensor.features(10_000_000_000).expect("known");
        assert!(earlier.time < 10_000_000_000 && earlier.scl.is_some());
    }
}
