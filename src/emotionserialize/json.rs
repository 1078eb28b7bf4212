// SPDX-License-Identifier: MPL-2.0
//! One frame as one line of JSON.

use crate::meta::{EmotionMeta, FaceUnitsMeta, PhysioMeta};
use gst::ClockTime;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A line: the frame, its result, what the sensors tell, and its faces. Fields stand in a fixed order,
/// so equal input gives equal bytes. Numbers that JSON cannot hold are `null`.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    /// Frames that came before this one.
    pub frame: u64,
    pub pts: Option<ClockTime>,
    pub running_time: Option<ClockTime>,
    /// Without a result its fields are absent.
    pub result: Option<&'a EmotionMeta>,
    /// What is not known is absent.
    pub body: Option<&'a PhysioMeta>,
    /// Absent when `None`, a list otherwise.
    pub faces: Option<&'a [FaceUnitsMeta]>,
}

struct Face<'a>(&'a FaceUnitsMeta);
struct Units<'a>(&'a [(String, f64)]);

impl Serialize for Units<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Face<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("time", &self.0.time.nseconds())?;
        map.serialize_entry("confidence", &self.0.confidence)?;
        map.serialize_entry("track-id", &self.0.track_id)?;
        map.serialize_entry("units", &Units(&self.0.units))?;
        map.end()
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("frame", &self.frame)?;
        map.serialize_entry("pts", &self.pts.map(ClockTime::nseconds))?;
        map.serialize_entry("running-time", &self.running_time.map(ClockTime::nseconds))?;
        if let Some(r) = self.result {
            map.serialize_entry("sequence", &r.sequence)?;
            map.serialize_entry("label", &r.label)?;
            map.serialize_entry("valence", &r.valence)?;
            map.serialize_entry("arousal", &r.arousal)?;
            map.serialize_entry("valence-known", &r.valence_known)?;
            map.serialize_entry("arousal-known", &r.arousal_known)?;
            if let Some(now) = r.valence_now {
                map.serialize_entry("valence-now", &now)?;
            }
            map.serialize_entry("baseline-progress", &r.baseline_progress)?;
            map.serialize_entry("confidence", &r.confidence)?;
            for (class, p) in &r.classes {
                map.serialize_entry(&format!("p-{class}"), p)?;
            }
            map.serialize_entry("window-start", &r.window_start.nseconds())?;
            map.serialize_entry("window-end", &r.window_end.nseconds())?;
            map.serialize_entry("age", &r.age.nseconds())?;
            for m in &r.modalities {
                map.serialize_entry(&format!("coverage-{}", m.name), &m.coverage)?;
                map.serialize_entry(&format!("quality-{}", m.name), &m.quality)?;
            }
            for (name, by) in &r.alignment {
                map.serialize_entry(&format!("alignment-{name}"), by)?;
            }
            map.serialize_entry("warming-up", &r.warming_up)?;
            map.serialize_entry("stale", &r.stale)?;
            map.serialize_entry("model", &r.model)?;
            map.serialize_entry("trained", &r.trained)?;
            map.serialize_entry("provider", &r.provider)?;
            map.serialize_entry("inference-time", &r.inference_time.nseconds())?;
        }
        if let Some(body) = self.body {
            map.serialize_entry("time", &body.time.nseconds())?;
            for (name, value) in body.values() {
                if let Some(value) = value {
                    map.serialize_entry(name, &value)?;
                }
            }
            // Where there is a result, it is the quality of its window.
            let of_result = |name: &str| {
                let modalities = self.result.iter().flat_map(|r| &r.modalities);
                modalities.into_iter().any(|m| m.name == name)
            };
            for (name, quality) in body.quality.iter().filter(|(n, _)| !of_result(n)) {
                map.serialize_entry(&format!("quality-{name}"), quality)?;
            }
        }
        if let Some(faces) = self.faces {
            let faces: Vec<_> = faces.iter().map(Face).collect();
            map.serialize_entry("face-units", &faces)?;
        }
        map.end()
    }
}

impl Line<'_> {
    /// UTF-8, ended by a newline.
    ///
    /// # Errors
    /// serde_json's; none is known for these types.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mvp::ModalityState;

    fn meta() -> EmotionMeta {
        EmotionMeta {
            valence: 0.1,
            arousal: f64::NAN,
            valence_known: 0.75,
            arousal_known: 0.5,
            valence_now: Some(0.375),
            baseline_progress: 0.875,
            label: "quote \" newline \n é \u{2028}".into(),
            confidence: f64::INFINITY,
            classes: vec![("calm".into(), 0.25)],
            window_start: ClockTime::ZERO,
            window_end: ClockTime::from_nseconds(u64::MAX - 1),
            age: ClockTime::from_nseconds(1),
            modalities: vec![ModalityState {
                name: "eda".into(),
                coverage: 1.0,
                quality: f64::NEG_INFINITY,
            }],
            alignment: vec![("eda".into(), i64::MIN)],
            sequence: 3,
            model: "m".into(),
            trained: true,
            provider: "cpu".into(),
            inference_time: ClockTime::ZERO,
            warming_up: true,
            stale: false,
        }
    }

    #[test]
    fn a_line_is_valid_json_whatever_the_numbers() {
        let meta = meta();
        let faces = [FaceUnitsMeta {
            time: ClockTime::from_mseconds(1),
            confidence: 0.5,
            track_id: 2,
            units: vec![("jawOpen".into(), f64::NAN), ("browDown".into(), 0.5)],
        }];
        let line = Line {
            frame: 7,
            pts: Some(ClockTime::from_seconds(1)),
            running_time: None,
            result: Some(&meta),
            body: None,
            faces: Some(&faces),
        };
        let bytes = line.to_bytes().expect("bytes");
        let text = std::str::from_utf8(&bytes).expect("UTF-8");
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.ends_with("}\n"));
        let v: serde_json::Value = serde_json::from_str(text).expect("valid JSON");
        assert_eq!(v["frame"], 7);
        assert_eq!(v["pts"], 1_000_000_000u64);
        assert!(v["running-time"].is_null());
        assert_eq!(v["valence"], 0.1);
        assert!(v["arousal"].is_null() && v["confidence"].is_null() && v["quality-eda"].is_null());
        assert_eq!(v["label"], meta.label);
        assert_eq!(v["p-calm"], 0.25);
        assert_eq!(v["window-end"], u64::MAX - 1);
        assert_eq!(v["warming-up"], true);
        assert_eq!(v["face-units"][0]["units"]["browDown"], 0.5);
        assert_eq!(v["face-units"][0]["track-id"], 2);
        assert_eq!(line.to_bytes().expect("again"), bytes);
    }

    #[test]
    fn a_line_has_every_field_of_the_metadata() {
        gst::init().expect("gst");
        let meta = meta();
        let line = Line {
            frame: 0,
            pts: None,
            running_time: None,
            result: Some(&meta),
            body: None,
            faces: None,
        };
        let v: serde_json::Value =
            serde_json::from_slice(&line.to_bytes().expect("bytes")).expect("valid JSON");
        let object = v.as_object().expect("object");
        let mut expected: Vec<String> = meta
            .to_structure("x")
            .fields()
            .map(|f| f.to_string())
            .chain(["frame", "pts", "running-time"].map(String::from))
            .collect();
        expected.sort();
        let mut found: Vec<String> = object.keys().cloned().collect();
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_sensors_tell_is_in_the_line() {
        let body = PhysioMeta {
            time: ClockTime::from_seconds(2),
            hr: Some(71.5),
            scl: Some(f64::NAN),
            quality: vec![("ecg".into(), 0.9), ("eda".into(), 0.75)],
            ..PhysioMeta::default()
        };
        let mut line = Line {
            frame: 0,
            pts: None,
            running_time: None,
            result: None,
            body: Some(&body),
            faces: None,
        };
        let text = |line: &Line| String::from_utf8(line.to_bytes().expect("bytes")).expect("UTF-8");
        assert_eq!(
            text(&line),
            "{\"frame\":0,\"pts\":null,\"running-time\":null,\"time\":2000000000,\"hr\":71.5,\
             \"scl\":null,\"quality-ecg\":0.9,\"quality-eda\":0.75}\n"
        );
        // A name stands once: with a result it is the quality of the window.
        let meta = meta();
        line.result = Some(&meta);
        let text = text(&line);
        assert_eq!(text.matches("quality-eda").count(), 1);
        assert!(text.contains("\"quality-eda\":null") && text.contains("\"quality-ecg\":0.9"));
    }

    #[test]
    fn no_result_no_result_fields() {
        let line = Line {
            frame: 0,
            pts: Some(ClockTime::ZERO),
            running_time: Some(ClockTime::ZERO),
            result: None,
            body: None,
            faces: None,
        };
        assert_eq!(
            line.to_bytes().expect("bytes"),
            b"{\"frame\":0,\"pts\":0,\"running-time\":0}\n"
        );
    }
}
