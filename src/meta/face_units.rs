// SPDX-License-Identifier: MPL-2.0
use gst::ClockTime;

/// Name of the custom meta that carries the face units of one analysis.
pub const FACE_UNITS_META: &str = "GstFaceUnitsMeta";
/// Region type of the `GstVideoRegionOfInterestMeta` around a face.
pub const FACE_REGION: &str = "face";

const TIME: &str = "time";
const CONFIDENCE: &str = "confidence";
const TRACK_ID: &str = "track-id";

/// The units of one analysed face.
#[derive(Debug, Clone, PartialEq)]
pub struct FaceUnitsMeta {
    /// Running time of the frame that was analysed. In live mode the buffer that
    /// carries the units is a later one, since video never waits for the analysis.
    pub time: ClockTime,
    /// Presence of a face, 0–1.
    pub confidence: f64,
    /// Stays the same while the same face is followed.
    pub track_id: u64,
    /// Unit name (`mouthSmileLeft`, ...) and its value, 0–1.
    pub units: Vec<(String, f64)>,
}

impl FaceUnitsMeta {
    pub fn to_structure(&self) -> gst::Structure {
        let mut s = gst::Structure::builder(FACE_UNITS_META)
            .field(TIME, self.time.nseconds())
            .field(CONFIDENCE, self.confidence)
            .field(TRACK_ID, self.track_id)
            .build();
        for (name, value) in &self.units {
            s.set(name.as_str(), *value);
        }
        s
    }

    /// # Errors
    /// Names the first field that is missing or of another type.
    pub fn from_structure(s: &gst::StructureRef) -> Result<Self, gst::glib::BoolError> {
        let wrong = |field: &str, e: &dyn std::fmt::Display| {
            gst::glib::bool_error!("{} field '{}': {}", s.name(), field, e)
        };
        let mut units = Vec::with_capacity(s.len());
        for field in s.fields() {
            if ![TIME, CONFIDENCE, TRACK_ID].contains(&field.as_str()) {
                let value = s.get::<f64>(field).map_err(|e| wrong(field, &e))?;
                units.push((field.to_string(), value));
            }
        }
        Ok(Self {
            time: ClockTime::try_from(s.get::<u64>(TIME).map_err(|e| wrong(TIME, &e))?)
                .map_err(|_| wrong(TIME, &"expected a time, found none"))?,
            confidence: s
                .get::<f64>(CONFIDENCE)
                .map_err(|e| wrong(CONFIDENCE, &e))?,
            track_id: s.get::<u64>(TRACK_ID).map_err(|e| wrong(TRACK_ID, &e))?,
            units,
        })
    }

    /// Adds the units to `buffer`; several faces are several metas.
    pub fn attach(&self, buffer: &mut gst::BufferRef) -> Result<(), gst::glib::BoolError> {
        let mut meta = gst::meta::CustomMeta::add(buffer, FACE_UNITS_META)?;
        let structure = meta.mut_structure();
        for (field, value) in self.to_structure().iter() {
            structure.set_value(field, value.clone());
        }
        Ok(())
    }

    /// All faces on `buffer`, in the order they were attached.
    pub fn all_from_buffer(buffer: &gst::BufferRef) -> Vec<Self> {
        buffer
            .iter_meta::<gst::Meta>()
            .filter_map(|m| m.try_as_custom_meta().map(|m| m.structure().to_owned()))
            .filter(|s| s.name() == FACE_UNITS_META)
            .filter_map(|s| Self::from_structure(&s).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_faces_survive_a_buffer_beside_a_result() {
        gst::init().expect("gst");
        crate::meta::register();
        let face = |id| FaceUnitsMeta {
            time: ClockTime::from_mseconds(40),
            confidence: 0.9,
            track_id: id,
            units: vec![("jawOpen".into(), 0.25), ("mouthSmileLeft".into(), 0.5)],
        };
        let mut buffer = gst::Buffer::new();
        let buf = buffer.get_mut().expect("own buffer");
        face(1).attach(buf).expect("first");
        face(2).attach(buf).expect("second");
        assert_eq!(FaceUnitsMeta::all_from_buffer(buf), [face(1), face(2)]);
    }
}
