// SPDX-License-Identifier: MPL-2.0
//! What the sensors tell of the body, as text: heart rate, skin conductance, quality.

use super::{BAD, DIM, GOOD, INK, Rgb, WARN};
use crate::meta::PhysioMeta;

/// Below this no number is drawn; from the other on the signal is good.
const POOR: f64 = 0.5;
const FINE: f64 = 0.8;

/// What is drawn of a [`PhysioMeta`]. What is not known is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct Body {
    /// Beats per minute.
    heart_rate: Option<f64>,
    /// Skin conductance level, µS.
    level: Option<f64>,
    /// Skin conductance responses per minute.
    responses: Option<f64>,
    sensors: Vec<Sensor>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Sensor {
    name: String,
    quality: Option<f64>,
    reason: Option<String>,
}

/// What stands beside a trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Numbers {
    /// The number, and its unit.
    pub(super) value: (String, &'static str),
    pub(super) second: Option<String>,
    pub(super) quality: Option<(String, Rgb)>,
    /// The signal is too poor for a number.
    pub(super) poor: bool,
}

impl Body {
    pub(in super::super) fn of(meta: &PhysioMeta) -> Self {
        let finite = |v: Option<f64>| v.filter(|v| v.is_finite());
        let sensors = meta.quality.iter().map(|(name, quality)| Sensor {
            name: name.clone(),
            quality: finite(Some(*quality)),
            reason: meta
                .reason
                .iter()
                .find(|(of, _)| of == name)
                .map(|(_, reason)| reason.clone()),
        });
        Self {
            heart_rate: finite(meta.hr),
            level: finite(meta.scl),
            responses: finite(meta.scr_rate),
            sensors: sensors.collect(),
        }
    }

    fn quality(&self, name: &str) -> Option<f64> {
        self.sensors.iter().find(|s| s.name == name)?.quality
    }

    /// Which of the modalities `names` the heart rate stands beside: that which it is of
    /// (`PhysioMeta::of_sensors`), the ECG while it is usable.
    fn heart<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        let usable = |name: &str| self.quality(name).unwrap_or(POOR) >= POOR;
        if let Some(ecg) = names.iter().find(|n| **n == "ecg" && usable(n)) {
            return Some(ecg);
        }
        let mut best: Option<(&str, f64)> = None;
        for name in names.iter().filter(|n| ["ecg", "ppg"].contains(n)) {
            let quality = self.quality(name).unwrap_or(POOR);
            if best.is_none_or(|(_, q)| quality > q) {
                best = Some((name, quality));
            }
        }
        best.map(|(name, _)| name)
    }

    /// What stands beside the trace of `name`, one of `names`.
    pub(super) fn numbers(&self, name: &str, names: &[&str]) -> Option<Numbers> {
        let quality = self.quality(name);
        let poor = quality.is_some_and(|q| q < POOR);
        let reason = self.sensors.iter().find(|s| s.name == name);
        let reason = reason.and_then(|s| s.reason.as_deref());
        let quality = quality.map(|q| match (q, reason) {
            (q, Some(reason)) if q < POOR => (format!("poor: {reason}"), WARN),
            (q, None) if q < POOR => ("poor".to_string(), WARN),
            (q, _) if q < FINE => ("fair".to_string(), DIM),
            _ => ("good".to_string(), GOOD),
        });
        let known = |value: Option<f64>, digits: usize| match value.filter(|_| !poor) {
            Some(v) => format!("{v:.digits$}"),
            None => "–".to_string(),
        };
        let (value, second) = match name {
            "eda" => {
                let digits = if self.level.is_some_and(|l| l < 10.0) {
                    2
                } else {
                    1
                };
                let second = format!("{} SCR/min", known(self.responses, 1));
                ((known(self.level, digits), "µS"), Some(second))
            }
            "ecg" | "ppg" if self.heart(names) == Some(name) => {
                ((known(self.heart_rate, 0), "bpm"), None)
            }
            _ => {
                quality.as_ref()?;
                ((String::new(), ""), None)
            }
        };
        Some(Numbers {
            value,
            second: second.filter(|_| !poor),
            quality,
            poor,
        })
    }
}

impl Numbers {
    pub(super) fn ink(&self) -> Rgb {
        if self.poor { BAD } else { INK }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(hr: f64, quality: &[(&str, f64)]) -> Body {
        Body::of(&PhysioMeta {
            hr: Some(hr),
            scl: Some(4.312),
            scr_rate: Some(f64::NAN),
            quality: quality.iter().map(|(n, q)| (n.to_string(), *q)).collect(),
            reason: vec![("ppg".into(), "motion".into())],
            ..PhysioMeta::default()
        })
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let empty = Body::default();
        let numbers = empty.numbers("ecg", &["eda", "ecg"]).expect("a dash");
        assert_eq!(numbers.value, ("–".to_string(), "bpm"));
        assert_eq!(numbers.quality, None);
        let numbers = empty.numbers("eda", &["eda"]).expect("a dash");
        assert_eq!(numbers.value.0, "–");
        assert_eq!(numbers.second.as_deref(), Some("– SCR/min"));
        assert_eq!(empty.numbers("resp", &["resp"]), None);
    }

    #[test]
    fn a_poor_signal_has_no_number() {
        let names = ["eda", "ecg", "ppg"];
        let all = body(71.6, &[("ecg", 0.9), ("ppg", 0.2), ("eda", 0.6)]);
        let ecg = all.numbers("ecg", &names).expect("ecg");
        assert_eq!(ecg.value, ("72".to_string(), "bpm"));
        assert_eq!(ecg.quality.map(|q| q.0).as_deref(), Some("good"));
        let ppg = all.numbers("ppg", &names).expect("ppg");
        assert_eq!(ppg.value.0, "", "the heart rate stands once");
        assert_eq!(ppg.quality.map(|q| q.0).as_deref(), Some("poor: motion"));
        let eda = all.numbers("eda", &names).expect("eda");
        assert_eq!(eda.value.0, "4.31");
        assert_eq!(eda.second.as_deref(), Some("– SCR/min"));
        assert_eq!(eda.quality.map(|q| q.0).as_deref(), Some("fair"));
        // The better of the two has the heart rate; where both are poor there is none.
        let other = body(80.0, &[("ecg", 0.1), ("ppg", 0.7)]);
        assert_eq!(other.numbers("ppg", &names).expect("ppg").value.0, "80");
        let none = body(80.0, &[("ecg", 0.1), ("ppg", 0.0)]);
        let ecg = none.numbers("ecg", &names).expect("ecg");
        assert_eq!((ecg.value.0.as_str(), ecg.poor), ("–", true));
    }
}
