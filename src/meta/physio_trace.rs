// SPDX-License-Identifier: MPL-2.0
use gst::{ClockTime, glib};

/// Name of the custom meta that carries the latest physiology for drawing.
pub const PHYSIO_TRACE_META: &str = "GstPhysioTraceMeta";

const SAMPLES: &str = "samples-";
const RATE: &str = "rate-";
const END: &str = "end-";
const UNIT: &str = "unit-";
const MARKS: &str = "marks-";

/// The last seconds of one physiology modality.
#[derive(Debug, Clone, PartialEq)]
pub struct PhysioTrace {
    /// Modality as in the bundle (`eda`, `ecg`, ...).
    pub name: String,
    /// Samples per second of `samples`, above 0.
    pub rate: f64,
    /// Running time of the end of the last sample.
    pub end: ClockTime,
    /// The waveform in the band that is drawn, oldest first, little-endian 32-bit floats; NaN
    /// where nothing usable was received.
    pub samples: glib::Bytes,
    /// Unit of the samples, such as `µS` and `mV`; empty where it is not known.
    pub unit: String,
    /// Running times (ns) of heartbeats or of the onsets of skin conductance responses.
    pub marks: Vec<u64>,
}

impl PhysioTrace {
    /// `samples` oldest first, NaN for what is missing.
    pub fn new(
        name: &str,
        rate: f64,
        end: ClockTime,
        samples: impl IntoIterator<Item = f32>,
    ) -> Self {
        let bytes: Vec<u8> = samples.into_iter().flat_map(f32::to_le_bytes).collect();
        Self {
            name: name.to_string(),
            rate,
            end,
            samples: glib::Bytes::from_owned(bytes),
            unit: String::new(),
            marks: Vec::new(),
        }
    }

    /// With the unit of the samples.
    pub fn with_unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// With the running times (ns) of what happened, oldest first.
    pub fn with_marks(mut self, marks: Vec<u64>) -> Self {
        self.marks = marks;
        self
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len() / size_of::<f32>()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples as numbers.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.samples
            .chunks_exact(size_of::<f32>())
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
}

/// What the body sent lately, as it rides on a video buffer.
///
/// In the buffer: `samples-<modality>` (GBytes), `rate-<modality>` (double) and
/// `end-<modality>` (uint64, ns) for each modality; where they are known `unit-<modality>` (string)
/// and `marks-<modality>` (GBytes, 64-bit little-endian). Copying a buffer shares the samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhysioTraceMeta {
    /// One for each modality, in the order of the bundle.
    pub traces: Vec<PhysioTrace>,
}

impl PhysioTraceMeta {
    /// The fields as a structure, with the names of docs/reference.md.
    pub fn to_structure(&self) -> gst::Structure {
        let mut s = gst::Structure::new_empty(PHYSIO_TRACE_META);
        self.fill(&mut s);
        s
    }

    fn fill(&self, s: &mut gst::StructureRef) {
        for t in &self.traces {
            s.set(format!("{SAMPLES}{}", t.name), t.samples.clone());
            s.set(format!("{RATE}{}", t.name), t.rate);
            s.set(format!("{END}{}", t.name), t.end.nseconds());
            if !t.unit.is_empty() {
                s.set(format!("{UNIT}{}", t.name), &t.unit);
            }
            if !t.marks.is_empty() {
                let bytes: Vec<u8> = t.marks.iter().flat_map(|m| m.to_le_bytes()).collect();
                s.set(format!("{MARKS}{}", t.name), glib::Bytes::from_owned(bytes));
            }
        }
    }

    /// # Errors
    /// Names the first field that is missing, of another type or out of range.
    pub fn from_structure(s: &gst::StructureRef) -> Result<Self, glib::BoolError> {
        let wrong = |field: &str, e: &dyn std::fmt::Display| {
            glib::bool_error!("{} field '{}': {}", s.name(), field, e)
        };
        let mut traces = Vec::new();
        for field in s.fields() {
            let Some(name) = field.strip_prefix(SAMPLES) else {
                continue;
            };
            let samples = s.get::<glib::Bytes>(field).map_err(|e| wrong(field, &e))?;
            if samples.len() % size_of::<f32>() != 0 {
                return Err(wrong(
                    field,
                    &format!("{} bytes, expected a multiple of 4", samples.len()),
                ));
            }
            let rate_field = format!("{RATE}{name}");
            let rate = s
                .get::<f64>(&rate_field)
                .map_err(|e| wrong(&rate_field, &e))?;
            if !(rate.is_finite() && rate > 0.0) {
                return Err(wrong(
                    &rate_field,
                    &format!("{rate}, expected samples per second above 0"),
                ));
            }
            let end_field = format!("{END}{name}");
            let end = s
                .get::<u64>(&end_field)
                .map_err(|e| wrong(&end_field, &e))?;
            let end = ClockTime::try_from(end)
                .map_err(|_| wrong(&end_field, &"expected a running time, found none"))?;
            let optional = |prefix: &str| {
                let field = format!("{prefix}{name}");
                s.has_field(&field).then_some(field)
            };
            let unit = match optional(UNIT) {
                Some(f) => s.get::<String>(&f).map_err(|e| wrong(&f, &e))?,
                None => String::new(),
            };
            let marks = match optional(MARKS) {
                Some(f) => {
                    let bytes = s.get::<glib::Bytes>(&f).map_err(|e| wrong(&f, &e))?;
                    let (times, rest) = bytes.as_chunks();
                    if !rest.is_empty() {
                        let found = format!("{} bytes, expected a multiple of 8", bytes.len());
                        return Err(wrong(&f, &found));
                    }
                    times.iter().map(|b| u64::from_le_bytes(*b)).collect()
                }
                None => Vec::new(),
            };
            traces.push(PhysioTrace {
                name: name.to_string(),
                rate,
                end,
                samples,
                unit,
                marks,
            });
        }
        Ok(Self { traces })
    }

    /// Puts the traces on `buffer`, replacing earlier ones.
    pub fn attach(&self, buffer: &mut gst::BufferRef) -> Result<(), glib::BoolError> {
        super::replace_custom_meta(buffer, PHYSIO_TRACE_META, |s| self.fill(s))
    }

    /// The traces on `buffer`, if there are some that can be read.
    pub fn from_buffer(buffer: &gst::BufferRef) -> Option<Self> {
        let meta = gst::meta::CustomMeta::from_buffer(buffer, PHYSIO_TRACE_META).ok()?;
        Self::from_structure(meta.structure()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_buffer_and_is_replaced() {
        gst::init().expect("gst");
        crate::meta::register();
        let eda = PhysioTrace::new("eda", 4.0, ClockTime::from_seconds(9), [0.5, -1.25, 2.0]);
        let ecg = PhysioTrace::new("ecg", 256.0, ClockTime::from_seconds(9), [f32::NAN, 1.0])
            .with_unit("mV")
            .with_marks(vec![1, u64::MAX]);
        let both = PhysioTraceMeta {
            traces: vec![eda.clone(), ecg],
        };
        let mut buffer = gst::Buffer::new();
        let buf = buffer.get_mut().expect("own buffer");
        both.attach(buf).expect("attach");
        let read = PhysioTraceMeta::from_buffer(buf).expect("readable");
        assert_eq!(read, both);
        assert_eq!(
            read.traces[0].values().collect::<Vec<_>>(),
            [0.5, -1.25, 2.0]
        );
        assert!(read.traces[1].values().next().is_some_and(f32::is_nan));
        let one = PhysioTraceMeta { traces: vec![eda] };
        one.attach(buf).expect("attach again");
        assert_eq!(PhysioTraceMeta::from_buffer(buf), Some(one));
    }

    #[test]
    fn bad_fields_are_named() {
        gst::init().expect("gst");
        let good = || {
            PhysioTraceMeta {
                traces: vec![PhysioTrace::new("eda", 4.0, ClockTime::ZERO, [0.0])],
            }
            .to_structure()
        };
        let cases: [(&str, glib::SendValue); 6] = [
            ("unit-eda", 1.0f64.to_send_value()),
            (
                "marks-eda",
                glib::Bytes::from_static(b"abc").to_send_value(),
            ),
            (
                "samples-eda",
                glib::Bytes::from_static(b"abc").to_send_value(),
            ),
            ("samples-eda", 1.0f64.to_send_value()),
            ("rate-eda", 0.0f64.to_send_value()),
            ("end-eda", u64::MAX.to_send_value()),
        ];
        for (field, value) in cases {
            let mut s = good();
            s.set_value(field, value);
            let e = PhysioTraceMeta::from_structure(&s)
                .expect_err(field)
                .to_string();
            assert!(e.contains(field), "{e}");
        }
    }

    use glib::value::ToSendValue;
}
