// SPDX-License-Identifier: MPL-2.0
use face::BLENDSHAPES;
use gst::ClockTime;

/// Name of the custom meta that carries the face units of one analysis.
pub const FACE_UNITS_META: &str = "GstFaceUnitsMeta";
/// Region type of the `GstVideoRegionOfInterestMeta` around a face.
pub const FACE_REGION: &str = "face";

const TIME: &str = "time";
const CONFIDENCE: &str = "confidence";
const TRACK_ID: &str = "track-id";
/// All units once more, for readers at speed: a GstBuffer of little-endian f32 in the
/// order of [`BLENDSHAPES`]. Readers that do not know it lose nothing.
const PACKED: &str = "packed";
const OWN: [&str; 4] = [TIME, CONFIDENCE, TRACK_ID, PACKED];

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
    /// The fields as a structure, with the names of docs/reference.md.
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
            if !OWN.contains(&field.as_str()) {
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
    ///
    /// # Errors
    /// Where the metadata is not registered.
    pub fn attach(&self, buffer: &mut gst::BufferRef) -> Result<(), gst::glib::BoolError> {
        let mut meta = gst::meta::CustomMeta::add(buffer, FACE_UNITS_META)?;
        let structure = meta.mut_structure();
        for (field, value) in self.to_structure().iter() {
            structure.set_value(field, value.clone());
        }
        Ok(())
    }

    /// Adds a face's [`BLENDSHAPES`] to `buffer`, named and packed.
    ///
    /// # Errors
    /// Where the metadata is not registered.
    pub(crate) fn attach_blendshapes(
        buffer: &mut gst::BufferRef,
        time: ClockTime,
        confidence: f64,
        track_id: u64,
        values: &[f32; BLENDSHAPES.len()],
    ) -> Result<(), gst::glib::BoolError> {
        let mut meta = gst::meta::CustomMeta::add(buffer, FACE_UNITS_META)?;
        let s = meta.mut_structure();
        s.set(TIME, time.nseconds());
        s.set(CONFIDENCE, confidence);
        s.set(TRACK_ID, track_id);
        for (name, value) in BLENDSHAPES.iter().zip(values) {
            s.set(*name, f64::from(*value));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        s.set(PACKED, gst::Buffer::from_slice(bytes));
        Ok(())
    }

    /// All faces on `buffer`, in the order they were attached.
    pub fn all_from_buffer(buffer: &gst::BufferRef) -> Vec<Self> {
        structures(buffer, |s| Self::from_structure(s).ok())
    }
}

/// What `read` makes of every face on `buffer`, in the order they were attached.
fn structures<T>(
    buffer: &gst::BufferRef,
    read: impl Fn(&gst::StructureRef) -> Option<T>,
) -> Vec<T> {
    buffer
        .iter_meta::<gst::Meta>()
        .filter_map(|m| {
            let meta = m.try_as_custom_meta()?;
            meta.has_name(FACE_UNITS_META)
                .then(|| read(meta.structure()))
                .flatten()
        })
        .collect()
}

/// The units that somebody wants, in his order; made once, for reading every frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnitOrder {
    names: Vec<String>,
    /// Where they stand in [`BLENDSHAPES`], if all do.
    packed: Option<Vec<usize>>,
}

/// One face, read in a [`UnitOrder`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FaceUnits {
    pub(crate) time: ClockTime,
    pub(crate) confidence: f64,
    pub(crate) track_id: u64,
    /// In the order that was asked for; NaN where the face has no such unit.
    pub(crate) values: Vec<f64>,
}

impl UnitOrder {
    pub(crate) fn new(names: &[String]) -> Self {
        let place = |name: &String| BLENDSHAPES.iter().position(|b| b == name);
        Self {
            packed: names.iter().map(place).collect(),
            names: names.to_vec(),
        }
    }

    /// The faces on `buffer` that were seen up to `latest`.
    pub(crate) fn faces(
        &self,
        buffer: &gst::BufferRef,
        latest: Option<ClockTime>,
    ) -> Vec<FaceUnits> {
        let mut faces = structures(buffer, |s| self.read(s));
        faces.retain(|f| latest.is_none_or(|latest| f.time <= latest));
        faces
    }

    fn read(&self, s: &gst::StructureRef) -> Option<FaceUnits> {
        Some(FaceUnits {
            time: ClockTime::try_from(s.get::<u64>(TIME).ok()?).ok()?,
            confidence: s.get(CONFIDENCE).ok()?,
            track_id: s.get(TRACK_ID).ok()?,
            values: self.packed_values(s).unwrap_or_else(|| {
                let named = |n: &String| s.get::<f64>(n.as_str()).unwrap_or(f64::NAN);
                self.names.iter().map(named).collect()
            }),
        })
    }

    fn packed_values(&self, s: &gst::StructureRef) -> Option<Vec<f64>> {
        let order = self.packed.as_ref()?;
        let buffer = s.get::<&gst::BufferRef>(PACKED).ok()?;
        let map = buffer.map_readable().ok()?;
        let (values, rest) = map.as_chunks::<4>();
        let whole = values.len() == BLENDSHAPES.len() && rest.is_empty();
        whole.then(|| {
            let value = |i: &usize| f64::from(f32::from_le_bytes(values[*i]));
            order.iter().map(value).collect()
        })
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

    fn blendshapes(at: u64) -> (ClockTime, [f32; BLENDSHAPES.len()]) {
        let values = std::array::from_fn(|i| (i as f32 + at as f32) / 100.0);
        (ClockTime::from_mseconds(at), values)
    }

    #[test]
    fn packed_and_named_units_say_the_same() {
        gst::init().expect("gst");
        crate::meta::register();
        let (time, values) = blendshapes(3);
        let mut buffer = gst::Buffer::new();
        let buf = buffer.get_mut().expect("own buffer");
        FaceUnitsMeta::attach_blendshapes(buf, time, 0.75, 9, &values).expect("registered");
        let named = FaceUnitsMeta::all_from_buffer(buf);
        let units = BLENDSHAPES.iter().zip(values);
        let expected: Vec<_> = units.map(|(n, v)| (n.to_string(), f64::from(v))).collect();
        assert_eq!(named[0].units, expected);
        // Another order, and fewer: by the packed values, and by name beside one that is
        // no blendshape.
        let want = |names: &[&str]| {
            let order = UnitOrder::new(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
            order.faces(buf, None).remove(0)
        };
        let face = want(&["mouthSmileRight", "jawOpen"]);
        assert_eq!((face.time, face.confidence, face.track_id), (time, 0.75, 9));
        let of =
            |name| f64::from(values[BLENDSHAPES.iter().position(|b| *b == name).expect("one")]);
        assert_eq!(face.values, [of("mouthSmileRight"), of("jawOpen")]);
        let face = want(&["AU12", "jawOpen"]);
        assert!(face.values[0].is_nan());
        assert_eq!(face.values[1], of("jawOpen"));
    }

    #[test]
    fn packed_units_of_another_length_do_not_count() {
        gst::init().expect("gst");
        crate::meta::register();
        let mut buffer = gst::Buffer::new();
        let buf = buffer.get_mut().expect("own buffer");
        let face = FaceUnitsMeta {
            time: ClockTime::ZERO,
            confidence: 1.0,
            track_id: 1,
            units: vec![("jawOpen".into(), 0.25)],
        };
        face.attach(buf).expect("registered");
        let mut meta = gst::meta::CustomMeta::from_mut_buffer(buf, FACE_UNITS_META).expect("one");
        let short = gst::Buffer::from_slice([0u8; 7]);
        meta.mut_structure().set(PACKED, short);
        let order = UnitOrder::new(&["jawOpen".to_string()]);
        assert_eq!(order.faces(buf, None).remove(0).values, [0.25]);
    }

    /// Prints what marking a frame and reading it costs, against writing and reading names.
    #[test]
    #[ignore = "a measurement: cargo test --release --lib cost_of_units -- --ignored --nocapture"]
    fn cost_of_units() {
        gst::init().expect("gst");
        crate::meta::register();
        let names: Vec<String> = BLENDSHAPES.iter().map(|n| n.to_string()).collect();
        let order = UnitOrder::new(&names);
        let mut took = [std::time::Duration::ZERO; 2];
        for round in 0..20_000u64 {
            let (time, values) = blendshapes(round % 50);
            for (way, took) in took.iter_mut().enumerate() {
                let mut buffer = gst::Buffer::new();
                let buf = buffer.get_mut().expect("own buffer");
                let start = std::time::Instant::now();
                if way == 0 {
                    let units = names.iter().zip(values);
                    let meta = FaceUnitsMeta {
                        time,
                        confidence: 1.0,
                        track_id: 1,
                        units: units.map(|(n, v)| (n.clone(), v.into())).collect(),
                    };
                    meta.attach(buf).expect("registered");
                    let faces = FaceUnitsMeta::all_from_buffer(buf);
                    let of = |name| faces[0].units.iter().find(|(n, _)| n == name);
                    let values: Vec<_> = names.iter().filter_map(of).map(|u| u.1).collect();
                    assert_eq!(values.len(), names.len());
                } else {
                    FaceUnitsMeta::attach_blendshapes(buf, time, 1.0, 1, &values).expect("known");
                    let face = order.faces(buf, None).remove(0);
                    assert_eq!(face.values.len(), names.len());
                }
                *took += start.elapsed();
            }
        }
        let [named, packed] = took.map(|t| t.as_secs_f64() / 20_000.0 * 1e6);
        println!(
            "named {named:.1} us, packed {packed:.1} us, ratio {:.2}",
            packed / named
        );
    }
}
