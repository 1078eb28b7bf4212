// SPDX-License-Identifier: MPL-2.0
use conditioning::features::{Features, USABLE};
use gst::{ClockTime, glib};

/// Name of the custom meta that carries what the sensors tell of the body.
pub const PHYSIO_META: &str = "GstPhysioMeta";
/// Name of the element message that `physiofeatures` posts at an interval, with the same fields.
pub const PHYSIO_MESSAGE: &str = "mvp-physio";

const TIME: &str = "time";
const QUALITY: &str = "quality-";
const REASON: &str = "reason-";

/// What the sensors tell of the body, as it rides on a buffer.
///
/// In the buffer: `time` (uint64, ns) and a double for each of the others that is known. A field
/// is absent while its value is not known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhysioMeta {
    /// Running time that the values are of.
    pub time: ClockTime,
    /// `hr`: heart rate, beats per minute.
    pub hr: Option<f64>,
    /// `rmssd`, ms.
    pub rmssd: Option<f64>,
    /// `sdnn`, ms.
    pub sdnn: Option<f64>,
    /// `pnn50`, per cent.
    pub pnn50: Option<f64>,
    /// `lf-hf`, a ratio.
    pub lf_hf: Option<f64>,
    /// `respiration-rate`, breaths per minute.
    pub respiration_rate: Option<f64>,
    /// `scl`: skin conductance level, µS.
    pub scl: Option<f64>,
    /// `scr-rate`: skin conductance responses per minute.
    pub scr_rate: Option<f64>,
    /// `quality-<modality>`, 0–1, of each sensor of which it is known.
    pub quality: Vec<(String, f64)>,
    /// `reason-<modality>`: why the quality is low, of each sensor of which it is.
    pub reason: Vec<(String, String)>,
}

impl PhysioMeta {
    /// What several sensors tell together, each with its modality. What comes from the heart is
    /// of the ECG while that is usable, else of the PPG.
    pub fn of_sensors<'a>(sensors: impl IntoIterator<Item = (&'a str, Features)>) -> Self {
        let mut meta = Self::default();
        let mut heart: Option<Features> = None;
        for (modality, features) in sensors {
            let time = ClockTime::try_from(features.time).unwrap_or(ClockTime::ZERO);
            meta.time = meta.time.max(time);
            if let Some(quality) = features.quality {
                meta.quality.push((modality.to_string(), quality));
            }
            if let Some(reason) = features.reason.filter(|_| features.is_bad()) {
                let reason = reason.as_str().to_string();
                meta.reason.push((modality.to_string(), reason));
            }
            meta.scl = meta.scl.or(features.scl);
            meta.scr_rate = meta.scr_rate.or(features.scr_rate);
            // Modalities come in the order of their names: ecg before ppg.
            let usable = |f: &Features| f.hr.is_some() && f.quality.is_none_or(|q| q >= USABLE);
            if heart.is_none_or(|h| !usable(&h)) && usable(&features) {
                heart = Some(features);
            }
        }
        if let Some(heart) = heart {
            meta.hr = heart.hr;
            meta.rmssd = heart.rmssd;
            meta.sdnn = heart.sdnn;
            meta.pnn50 = heart.pnn50;
            meta.lf_hf = heart.lf_hf;
            meta.respiration_rate = heart.respiration_rate;
        }
        meta
    }

    /// Name and value of each feature, known or not; without time and quality.
    pub fn values(&self) -> [(&'static str, Option<f64>); 8] {
        let values = [
            self.hr,
            self.rmssd,
            self.sdnn,
            self.pnn50,
            self.lf_hf,
            self.respiration_rate,
            self.scl,
            self.scr_rate,
        ];
        std::array::from_fn(|i| (Features::NAMES[i].0, values[i]))
    }

    fn slot(&mut self, field: &str) -> Option<&mut Option<f64>> {
        Some(match field {
            "hr" => &mut self.hr,
            "rmssd" => &mut self.rmssd,
            "sdnn" => &mut self.sdnn,
            "pnn50" => &mut self.pnn50,
            "lf-hf" => &mut self.lf_hf,
            "respiration-rate" => &mut self.respiration_rate,
            "scl" => &mut self.scl,
            "scr-rate" => &mut self.scr_rate,
            _ => return None,
        })
    }

    /// The fields as a structure named `name`, with the names of docs/reference.md.
    pub fn to_structure(&self, name: &str) -> gst::Structure {
        let mut s = gst::Structure::new_empty(name);
        self.fill(&mut s);
        s
    }

    fn fill(&self, s: &mut gst::StructureRef) {
        s.set(TIME, self.time.nseconds());
        for (name, value) in self.values() {
            if let Some(value) = value {
                s.set(name, value);
            }
        }
        for (modality, quality) in &self.quality {
            s.set(format!("{QUALITY}{modality}"), *quality);
        }
        for (modality, reason) in &self.reason {
            s.set(format!("{REASON}{modality}"), reason);
        }
    }

    /// Reads a structure made by [`PhysioMeta::to_structure`]. Fields of other names are left
    /// out.
    ///
    /// # Errors
    /// Names the first field that is missing or of another type.
    pub fn from_structure(s: &gst::StructureRef) -> Result<Self, glib::BoolError> {
        let wrong = |field: &str, e: &dyn std::fmt::Display| {
            glib::bool_error!("{} field '{}': {}", s.name(), field, e)
        };
        let time = s.get::<u64>(TIME).map_err(|e| wrong(TIME, &e))?;
        let mut meta = Self {
            time: ClockTime::try_from(time)
                .map_err(|_| wrong(TIME, &"expected a running time, found none"))?,
            ..Self::default()
        };
        for field in s.fields() {
            let number = || s.get::<f64>(field).map_err(|e| wrong(field, &e));
            if let Some(modality) = field.strip_prefix(QUALITY) {
                meta.quality.push((modality.to_string(), number()?));
            } else if let Some(modality) = field.strip_prefix(REASON) {
                let reason = s.get(field).map_err(|e| wrong(field, &e))?;
                meta.reason.push((modality.to_string(), reason));
            } else if let Some(slot) = meta.slot(field) {
                *slot = Some(number()?);
            }
        }
        Ok(meta)
    }

    /// Adds what `other`, of another sensor, knows and this one does not.
    pub fn add(&mut self, other: &Self) {
        self.time = self.time.max(other.time);
        // The fields of a heart, and those of skin, are of one sensor each.
        let heart = self.hr.is_some() || self.rmssd.is_some() || self.sdnn.is_some();
        let skin = self.scl.is_some() || self.scr_rate.is_some();
        for (name, value) in other.values() {
            let taken = if name.starts_with("sc") { skin } else { heart };
            if let Some(slot) = self.slot(name).filter(|s| s.is_none() && !taken) {
                *slot = value;
            }
        }
        for (modality, quality) in &other.quality {
            if !self.quality.iter().any(|(m, _)| m == modality) {
                self.quality.push((modality.clone(), *quality));
            }
        }
        for (modality, reason) in &other.reason {
            if !self.reason.iter().any(|(m, _)| m == modality) {
                self.reason.push((modality.clone(), reason.clone()));
            }
        }
    }

    /// Puts the values on `buffer`, replacing earlier ones.
    pub fn attach(&self, buffer: &mut gst::BufferRef) -> Result<(), glib::BoolError> {
        super::replace_custom_meta(buffer, PHYSIO_META, |s| self.fill(s))
    }

    /// The values on `buffer`, if there are some that can be read.
    pub fn from_buffer(buffer: &gst::BufferRef) -> Option<Self> {
        let meta = gst::meta::CustomMeta::from_buffer(buffer, PHYSIO_META).ok()?;
        Self::from_structure(meta.structure()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> PhysioMeta {
        PhysioMeta {
            time: ClockTime::from_seconds(300),
            hr: Some(72.5),
            rmssd: Some(41.0),
            scl: Some(3.25),
            quality: vec![("ecg".into(), 0.9), ("eda".into(), 1.0)],
            ..PhysioMeta::default()
        }
    }

    #[test]
    fn survives_a_buffer_and_lacks_what_is_not_known() {
        gst::init().expect("gst");
        crate::meta::register();
        let mut buffer = gst::Buffer::new();
        let buf = buffer.get_mut().expect("own buffer");
        example().attach(buf).expect("attach");
        assert_eq!(PhysioMeta::from_buffer(buf), Some(example()));
        let s = example().to_structure(PHYSIO_META);
        let mut fields: Vec<_> = s.fields().map(|f| f.as_str()).collect();
        fields.sort_unstable();
        let known = ["hr", "quality-ecg", "quality-eda", "rmssd", "scl", "time"];
        assert_eq!(fields, known);
        let later = PhysioMeta {
            hr: None,
            ..example()
        };
        later.attach(buf).expect("attach again");
        assert_eq!(PhysioMeta::from_buffer(buf), Some(later));
    }

    #[test]
    fn bad_fields_are_named() {
        gst::init().expect("gst");
        for (field, value) in [("hr", "fast"), ("quality-eda", "good"), ("time", "now")] {
            let mut s = example().to_structure("x");
            s.set(field, value);
            let e = PhysioMeta::from_structure(&s).expect_err(field);
            assert!(e.to_string().contains(field), "{e}");
        }
        let mut s = example().to_structure("x");
        s.set("time", u64::MAX);
        let e = PhysioMeta::from_structure(&s).expect_err("no time");
        assert!(e.to_string().contains("time"), "{e}");
        // What a later version adds does no harm.
        let mut s = example().to_structure("x");
        s.set("dfa", 1.0);
        assert_eq!(PhysioMeta::from_structure(&s).ok(), Some(example()));
    }

    #[test]
    fn the_heart_is_the_ecg_while_it_is_usable() {
        let heart = |hr: Option<f64>, quality: f64| Features {
            time: 1,
            hr,
            rmssd: hr.map(|_| 30.0),
            quality: Some(quality),
            ..Features::default()
        };
        let skin = Features {
            time: 2,
            scl: Some(4.0),
            quality: Some(0.7),
            ..Features::default()
        };
        for (ecg, ppg, want) in [
            (heart(Some(70.0), 0.6), heart(Some(71.0), 1.0), Some(70.0)),
            (heart(None, 0.1), heart(Some(71.0), 0.8), Some(71.0)),
            (heart(None, 0.1), heart(None, 0.2), None),
        ] {
            let meta = PhysioMeta::of_sensors([("ecg", ecg), ("eda", skin), ("ppg", ppg)]);
            assert_eq!((meta.hr, meta.rmssd.is_some()), (want, want.is_some()));
            assert_eq!((meta.scl, meta.time.nseconds()), (Some(4.0), 2));
            assert_eq!(meta.quality.len(), 3);
        }
    }

    #[test]
    fn sensors_on_one_buffer_add_up() {
        let mut one = example();
        one.add(&PhysioMeta {
            time: ClockTime::from_seconds(301),
            hr: Some(1.0),
            scr_rate: Some(6.0),
            quality: vec![("eda".into(), 0.0), ("ppg".into(), 0.5)],
            ..PhysioMeta::default()
        });
        // Both hearts and both skins are known: what is told stays that of the first.
        assert_eq!((one.hr, one.scr_rate), (Some(72.5), None));
        assert_eq!(one.time, ClockTime::from_seconds(301));
        assert_eq!(one.quality.len(), 3);
        assert_eq!(one.quality[1], ("eda".into(), 1.0));
        let mut heart = PhysioMeta {
            hr: Some(60.0),
            ..PhysioMeta::default()
        };
        heart.add(&example());
        assert_eq!(
            (heart.hr, heart.sdnn, heart.scl),
            (Some(60.0), None, example().scl)
        );
    }
}
