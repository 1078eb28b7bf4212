// SPDX-License-Identifier: MPL-2.0
//! Which axes of an answer are known, and the word for it.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Names of the answers, the table `labels` of a manifest.
///
/// A quadrant's name needs both axes. With the names for one axis (all five of them, or none),
/// an answer of which one axis is known has a name too, and valence has a middle.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Labels {
    /// `excited` in `models/default`.
    pub high_valence_high_arousal: String,
    /// `content` in `models/default`.
    pub high_valence_low_arousal: String,
    /// `distressed` in `models/default`.
    pub low_valence_high_arousal: String,
    /// `subdued` in `models/default`.
    pub low_valence_low_arousal: String,
    /// The label when neither axis is known.
    pub unknown: String,
    /// Valence in the middle, and arousal not high.
    #[serde(default)]
    pub neutral: Option<String>,
    /// High valence; arousal is not known.
    #[serde(default)]
    pub positive: Option<String>,
    /// Low valence; arousal is not known.
    #[serde(default)]
    pub negative: Option<String>,
    /// High arousal; valence is in the middle or not known.
    #[serde(default)]
    pub aroused: Option<String>,
    /// Low arousal; valence is not known.
    #[serde(default)]
    pub calm: Option<String>,
}

/// The names for one axis.
struct Single<'a> {
    neutral: &'a str,
    positive: &'a str,
    negative: &'a str,
    aroused: &'a str,
    calm: &'a str,
}

impl Labels {
    /// # Errors
    /// Some, and not all, of the names for one axis are there.
    pub(crate) fn check(&self) -> Result<(), String> {
        let names = [
            ("neutral", &self.neutral),
            ("positive", &self.positive),
            ("negative", &self.negative),
            ("aroused", &self.aroused),
            ("calm", &self.calm),
        ];
        let there = names.iter().filter(|(_, n)| n.is_some()).count();
        match names.iter().find(|(_, n)| n.is_none()) {
            Some((missing, _)) if there > 0 => Err(format!(
                "expected all of neutral, positive, negative, aroused and calm, or none; \
                 '{missing}' is missing"
            )),
            _ => Ok(()),
        }
    }

    fn single(&self) -> Option<Single<'_>> {
        Some(Single {
            neutral: self.neutral.as_deref()?,
            positive: self.positive.as_deref()?,
            negative: self.negative.as_deref()?,
            aroused: self.aroused.as_deref()?,
            calm: self.calm.as_deref()?,
        })
    }

    /// The name of the quadrant of two probabilities. High is at least 0.5.
    fn quadrant(&self, high_valence: bool, high_arousal: bool) -> &str {
        match (high_valence, high_arousal) {
            (true, true) => &self.high_valence_high_arousal,
            (true, false) => &self.high_valence_low_arousal,
            (false, true) => &self.low_valence_high_arousal,
            (false, false) => &self.low_valence_low_arousal,
        }
    }
}

/// For each axis the modalities that give it, the table `known` of a manifest: how much of the
/// network's skill on the axis is left with this modality alone, 0–1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// By the name of the modality: `video`, `eda`, ….
    pub valence: BTreeMap<String, f64>,
    /// Likewise.
    pub arousal: BTreeMap<String, f64>,
}

impl Known {
    /// # Errors
    /// A share is not 0 to 1, or an axis has no modality.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (axis, shares) in [("valence", &self.valence), ("arousal", &self.arousal)] {
            if let Some((name, share)) = shares.iter().find(|(_, s)| !(0.0..=1.0).contains(*s)) {
                return Err(format!("{axis}.{name} must be 0 to 1, found {share}"));
            }
        }
        Ok(())
    }

    /// The modalities that are named.
    pub(crate) fn modalities(&self) -> impl Iterator<Item = &String> {
        self.valence.keys().chain(self.arousal.keys())
    }
}

/// From how much of an axis on it has a word: a share of the window, of good quality, times
/// the share of the skill in [`Known`].
const ENOUGH: f64 = 0.25;
/// How far a value must go beyond a border for another word than before.
const HOLD: f64 = 0.03;

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Side {
    Low,
    #[default]
    Middle,
    High,
}

impl Side {
    /// The side of `value` with a middle of 0.5 ± `half`; `before` holds on within [`HOLD`].
    fn of(value: f64, half: f64, before: Option<Self>) -> Self {
        let beyond = |border: f64, held: bool| value >= border + if held { -HOLD } else { HOLD };
        // Without a word before, the borders are where they are.
        let Some(before) = before else {
            return match value {
                v if v >= 0.5 + half => Self::High,
                v if v >= 0.5 - half => Self::Middle,
                _ => Self::Low,
            };
        };
        if beyond(0.5 + half, before == Self::High) {
            Self::High
        } else if beyond(0.5 - half, before != Self::Low) {
            Self::Middle
        } else {
            Self::Low
        }
    }
}

/// One axis of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    /// Probability of the high class, 0–1.
    pub(crate) value: f64,
    /// 0–1: how much of what gives the axis has been seen.
    pub(crate) known: f64,
}

/// The word for an answer and its confidence. Words follow each other with hysteresis.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    valence: Option<Side>,
    arousal: Option<Side>,
}

impl Words {
    /// The label, and the probability that it is right: that of the side of each axis that the
    /// word names, multiplied. (`unknown`, 0) where no axis is known.
    ///
    /// `evidence`: probabilities of negative, neutral and positive, where the bundle has them.
    pub(crate) fn name<'a>(
        &mut self,
        labels: &'a Labels,
        middle: f64,
        valence: Axis,
        arousal: Axis,
        evidence: Option<[f64; 3]>,
    ) -> (&'a str, f64) {
        let Some(single) = labels.single() else {
            return self.quadrant(labels, valence, arousal);
        };
        self.valence =
            (valence.known >= ENOUGH).then(|| Side::of(valence.value, middle, self.valence));
        self.arousal =
            (arousal.known >= ENOUGH).then(|| Side::of(arousal.value, 0.0, self.arousal));
        let p = |side: Side| match (evidence, side) {
            (Some([low, ..]), Side::Low) => low,
            (Some([_, mid, _]), Side::Middle) => mid,
            (Some([.., high]), Side::High) => high,
            (None, Side::Low) => 1.0 - valence.value,
            (None, Side::Middle) => 1.0 - (2.0 * valence.value - 1.0).abs(),
            (None, Side::High) => valence.value,
        };
        let q = |side: Side| match side {
            Side::High => arousal.value,
            Side::Low | Side::Middle => 1.0 - arousal.value,
        };
        let high = |side: Side| side == Side::High;
        let (name, sure) = match (self.valence, self.arousal) {
            (None, None) => return (&labels.unknown, 0.0),
            (None, Some(a)) if high(a) => (single.aroused, q(a)),
            (None, Some(a)) => (single.calm, q(a)),
            (Some(v @ Side::Middle), Some(a)) if high(a) => (single.aroused, p(v) * q(a)),
            (Some(v @ Side::Middle), Some(a)) => (single.neutral, p(v) * q(a)),
            (Some(v @ Side::Middle), None) => (single.neutral, p(v)),
            (Some(v), Some(a)) => (labels.quadrant(high(v), high(a)), p(v) * q(a)),
            (Some(v @ Side::High), None) => (single.positive, p(v)),
            (Some(v @ Side::Low), None) => (single.negative, p(v)),
        };
        (name, sure.max(f64::MIN_POSITIVE))
    }

    /// For bundles that name quadrants only: both axes are needed, and the confidence is twice
    /// the distance of the less certain one from one half, times how much has been seen.
    fn quadrant<'a>(&mut self, labels: &'a Labels, valence: Axis, arousal: Axis) -> (&'a str, f64) {
        let certain = |axis: Axis| 2.0 * (axis.value - 0.5).abs() * axis.known;
        let confidence = certain(valence).min(certain(arousal));
        match confidence > 0.0 {
            true => (
                labels.quadrant(valence.value >= 0.5, arousal.value >= 0.5),
                confidence,
            ),
            false => (&labels.unknown, 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        let one = |s: &str| Some(s.to_string());
        Labels {
            high_valence_high_arousal: "excited".into(),
            high_valence_low_arousal: "content".into(),
            low_valence_high_arousal: "distressed".into(),
            low_valence_low_arousal: "subdued".into(),
            unknown: "unknown".into(),
            neutral: one("neutral"),
            positive: one("positive"),
            negative: one("negative"),
            aroused: one("aroused"),
            calm: one("calm"),
        }
    }

    fn axis(value: f64, known: f64) -> Axis {
        Axis { value, known }
    }

    fn word(v: (f64, f64), a: (f64, f64)) -> (String, f64) {
        let (labels, mut words) = (labels(), Words::default());
        let (name, sure) = words.name(&labels, 0.1, axis(v.0, v.1), axis(a.0, a.1), None);
        (name.to_string(), sure)
    }

    #[test]
    fn a_word_says_nothing_of_an_axis_that_is_not_known() {
        for (v, a, expected) in [
            ((0.9, 1.0), (0.9, 1.0), "excited"),
            ((0.9, 1.0), (0.1, 1.0), "content"),
            ((0.1, 1.0), (0.9, 1.0), "distressed"),
            ((0.1, 1.0), (0.1, 1.0), "subdued"),
            ((0.5, 1.0), (0.9, 1.0), "aroused"),
            ((0.5, 1.0), (0.1, 1.0), "neutral"),
            ((0.9, 1.0), (0.9, 0.0), "positive"),
            ((0.1, 1.0), (0.9, 0.2), "negative"),
            ((0.5, 1.0), (0.9, 0.0), "neutral"),
            ((0.9, 0.0), (0.9, 1.0), "aroused"),
            ((0.9, 0.2), (0.1, 1.0), "calm"),
            ((0.9, 0.2), (0.1, 0.2), "unknown"),
        ] {
            let (name, sure) = word(v, a);
            assert_eq!(name, expected, "{v:?} {a:?}");
            assert_eq!(sure > 0.0, expected != "unknown", "{v:?} {a:?}: {sure}");
        }
    }

    #[test]
    fn the_confidence_is_the_probability_of_what_the_word_names() {
        assert_eq!(word((0.9, 1.0), (0.8, 0.0)), ("positive".into(), 0.9));
        let (_, sure) = word((0.9, 1.0), (0.8, 1.0));
        assert!((sure - 0.72).abs() < 1e-12, "{sure}");
        let (labels, mut words) = (labels(), Words::default());
        let evidence = Some([0.2, 0.7, 0.1]);
        let said = words.name(&labels, 0.1, axis(0.45, 1.0), axis(0.5, 0.0), evidence);
        assert_eq!(said, ("neutral", 0.7));
    }

    #[test]
    fn a_value_at_a_border_does_not_flicker() {
        let (labels, mut words) = (labels(), Words::default());
        let mut say = |v: f64| {
            let (name, _) = words.name(&labels, 0.1, axis(v, 1.0), axis(0.5, 0.0), None);
            name.to_string()
        };
        let said: Vec<String> = [0.5, 0.61, 0.59, 0.62, 0.64, 0.61, 0.58, 0.56, 0.61, 0.1]
            .map(&mut say)
            .into();
        let expected = [
            "neutral", "neutral", "neutral", "neutral", "positive", "positive", "positive",
            "neutral", "neutral", "negative",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn names_for_one_axis_come_together() {
        assert_eq!(labels().check(), Ok(()));
        let mut some = labels();
        some.calm = None;
        let error = some.check().expect_err("one is missing");
        assert!(error.contains("'calm' is missing"), "{error}");
    }
}
