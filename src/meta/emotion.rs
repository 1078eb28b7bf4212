// SPDX-License-Identifier: MPL-2.0
use gst::ClockTime;
use mvp::ModalityState;

/// Name of the custom meta that carries a result.
pub const EMOTION_META: &str = "GstEmotionMeta";
/// Name of the element message posted once per result, with the same fields.
pub const EMOTION_MESSAGE: &str = "mvp-emotion";

/// One answer of the network, as it rides on a video buffer.
///
/// All times are nanoseconds; `window_start` and `window_end` are running time.
#[derive(Debug, Clone, PartialEq)]
pub struct EmotionMeta {
    /// Probability of the high-valence class, 0–1.
    pub valence: f64,
    /// Probability of the high-arousal class, 0–1.
    pub arousal: f64,
    /// How much of what gives the valence was seen, 0–1.
    pub valence_known: f64,
    /// How much of what gives the arousal was seen, 0–1.
    pub arousal_known: f64,
    /// Valence of the newest seconds of the face, 0–1; none without a face in them, or where
    /// the bundle has no such output.
    pub valence_now: Option<f64>,
    /// How far the normalisation of the signals that were used has settled, 0–1.
    pub baseline_progress: f64,
    /// The bundle's label for this answer, which says nothing of an axis that is not known.
    pub label: String,
    /// The probability that the label is right, 0–1. It is 0 where the label is unknown, and
    /// only there.
    pub confidence: f64,
    /// `p-<class>`, where the bundle has classes.
    pub classes: Vec<(String, f64)>,
    /// Running time of the beginning of the window.
    pub window_start: ClockTime,
    /// Running time of its end.
    pub window_end: ClockTime,
    /// Running time of the buffer minus `window_end`; zero on the bus message.
    pub age: ClockTime,
    /// One entry per modality of the bundle, video first.
    pub modalities: Vec<ModalityState>,
    /// By modality: the time of its newest sample less that of the frame, ns; none before the
    /// first sample. Where frames wait, the newest sample of the answered hops.
    pub alignment: Vec<(String, i64)>,
    /// Counts results from 0, in order, without holes.
    pub sequence: u64,
    /// Name and version of the bundle.
    pub model: String,
    /// False where the network has random weights and its answers mean nothing.
    pub trained: bool,
    /// The execution provider that ran the network.
    pub provider: String,
    /// From the snapshot of the window to the finished answer. Zero where frames wait
    /// for their results: there every run gives the same to the bit.
    pub inference_time: ClockTime,
    /// The window is not yet full.
    pub warming_up: bool,
    /// The answer is older than it should be: inference or input stalled.
    pub stale: bool,
}

impl EmotionMeta {
    /// Whether the label names an emotion.
    pub fn is_known(&self) -> bool {
        self.confidence != 0.0
    }

    /// The fields as a structure named `name`, with the field names of the public surface.
    pub fn to_structure(&self, name: &str) -> gst::Structure {
        let mut s = gst::Structure::new_empty(name);
        self.fill(&mut s);
        s
    }

    fn fill(&self, s: &mut gst::StructureRef) {
        s.set("valence", self.valence);
        s.set("arousal", self.arousal);
        s.set("valence-known", self.valence_known);
        s.set("arousal-known", self.arousal_known);
        s.set("baseline-progress", self.baseline_progress);
        if let Some(now) = self.valence_now {
            s.set("valence-now", now);
        }
        s.set("label", self.label.as_str());
        s.set("confidence", self.confidence);
        s.set("window-start", self.window_start.nseconds());
        s.set("window-end", self.window_end.nseconds());
        s.set("age", self.age.nseconds());
        s.set("sequence", self.sequence);
        s.set("model", self.model.as_str());
        s.set("trained", self.trained);
        s.set("provider", self.provider.as_str());
        s.set("inference-time", self.inference_time.nseconds());
        s.set("warming-up", self.warming_up);
        s.set("stale", self.stale);
        for (class, p) in &self.classes {
            s.set(format!("p-{class}"), *p);
        }
        for m in &self.modalities {
            s.set(format!("coverage-{}", m.name), m.coverage);
            s.set(format!("quality-{}", m.name), m.quality);
        }
        for (name, by) in &self.alignment {
            s.set(format!("alignment-{name}"), *by);
        }
    }

    /// Reads a structure made by [`EmotionMeta::to_structure`].
    ///
    /// # Errors
    /// Names the first field that is missing or of another type.
    pub fn from_structure(s: &gst::StructureRef) -> Result<Self, gst::glib::BoolError> {
        fn get<'a, T: gst::glib::value::FromValue<'a>>(
            s: &'a gst::StructureRef,
            field: &str,
        ) -> Result<T, gst::glib::BoolError> {
            s.get::<T>(field)
                .map_err(|e| gst::glib::bool_error!("{} field '{}': {}", s.name(), field, e))
        }
        let mut classes = Vec::new();
        let mut modalities = Vec::new();
        let mut alignment = Vec::new();
        for field in s.fields() {
            if let Some(class) = field.strip_prefix("p-") {
                classes.push((class.to_string(), get(s, field)?));
            } else if let Some(name) = field.strip_prefix("coverage-") {
                modalities.push(ModalityState {
                    name: name.to_string(),
                    coverage: get(s, field)?,
                    quality: get(s, &format!("quality-{name}"))?,
                });
            } else if let Some(name) = field.strip_prefix("alignment-") {
                alignment.push((name.to_string(), get(s, field)?));
            }
        }
        let time = |field: &str| {
            ClockTime::try_from(get::<u64>(s, field)?).map_err(|_| {
                gst::glib::bool_error!(
                    "{} field '{}': expected a time, found none",
                    s.name(),
                    field
                )
            })
        };
        Ok(Self {
            valence: get(s, "valence")?,
            arousal: get(s, "arousal")?,
            // Results of earlier versions lack these.
            valence_known: s
                .get_optional("valence-known")
                .ok()
                .flatten()
                .unwrap_or(0.0),
            arousal_known: s
                .get_optional("arousal-known")
                .ok()
                .flatten()
                .unwrap_or(0.0),
            baseline_progress: s
                .get_optional("baseline-progress")
                .ok()
                .flatten()
                .unwrap_or(0.0),
            valence_now: s.get_optional("valence-now").ok().flatten(),
            label: get(s, "label")?,
            confidence: get(s, "confidence")?,
            classes,
            window_start: time("window-start")?,
            window_end: time("window-end")?,
            age: time("age")?,
            modalities,
            alignment,
            sequence: get(s, "sequence")?,
            model: get(s, "model")?,
            // Results of version 0.1.0 have no such field.
            trained: s.get_optional("trained").ok().flatten().unwrap_or(true),
            provider: get(s, "provider")?,
            inference_time: time("inference-time")?,
            warming_up: get(s, "warming-up")?,
            stale: get(s, "stale")?,
        })
    }

    /// Puts the result on `buffer`, replacing an earlier one.
    pub fn attach(&self, buffer: &mut gst::BufferRef) -> Result<(), gst::glib::BoolError> {
        super::replace_custom_meta(buffer, EMOTION_META, |s| self.fill(s))
    }

    /// The result on `buffer`, if there is one that can be read.
    pub fn from_buffer(buffer: &gst::BufferRef) -> Option<Self> {
        let meta = gst::meta::CustomMeta::from_buffer(buffer, EMOTION_META).ok()?;
        Self::from_structure(meta.structure()).ok()
    }
}

/// A result made ready for many buffers: copying its metadata from one buffer to the
/// next is several times cheaper than building it field by field on each.
#[derive(Debug, Clone)]
pub struct EmotionStamp {
    template: gst::Buffer,
}

impl EmotionStamp {
    /// # Errors
    /// Where the metadata cannot be put on a buffer.
    pub fn new(meta: &EmotionMeta) -> Result<Self, gst::glib::BoolError> {
        let mut template = gst::Buffer::new();
        meta.attach(template.make_mut())?;
        Ok(Self { template })
    }

    /// Puts the result on `buffer` with an `age`, staleness and alignment of its own,
    /// replacing an earlier one.
    pub fn attach(
        &self,
        buffer: &mut gst::BufferRef,
        age: ClockTime,
        stale: bool,
        alignment: &[(String, i64)],
    ) -> Result<(), gst::glib::BoolError> {
        super::remove_custom_meta(buffer, EMOTION_META)?;
        self.template
            .copy_into(buffer, gst::BufferCopyFlags::META, ..)?;
        let mut meta = gst::meta::CustomMeta::from_mut_buffer(buffer, EMOTION_META)?;
        let fields = meta.mut_structure();
        fields.set("age", age.nseconds());
        fields.set("stale", stale);
        let names = fields.fields().map(|f| f.to_string());
        let old: Vec<_> = names.filter(|f| f.starts_with("alignment-")).collect();
        fields.remove_fields(old.iter().map(String::as_str));
        for (name, by) in alignment {
            fields.set(format!("alignment-{name}"), *by);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> EmotionMeta {
        EmotionMeta {
            valence: 0.25,
            arousal: 0.75,
            valence_known: 0.75,
            arousal_known: 0.5,
            valence_now: Some(0.125),
            baseline_progress: 0.875,
            label: "tense".into(),
            confidence: 0.5,
            classes: vec![("tense".into(), 0.6), ("calm".into(), 0.4)],
            window_start: ClockTime::ZERO,
            window_end: ClockTime::from_seconds(60),
            age: ClockTime::from_mseconds(33),
            modalities: vec![
                ModalityState {
                    name: "video".into(),
                    coverage: 0.9,
                    quality: 1.0,
                },
                ModalityState {
                    name: "eda".into(),
                    coverage: 0.8,
                    quality: 0.7,
                },
            ],
            alignment: vec![("eda".into(), -40_000_000)],
            sequence: 7,
            model: "m 1".into(),
            trained: false,
            provider: "cpu".into(),
            inference_time: ClockTime::from_mseconds(2),
            warming_up: false,
            stale: true,
        }
    }

    #[test]
    fn survives_a_buffer() {
        gst::init().expect("gst");
        crate::meta::register();
        let mut meta = example();
        let mut buffer = gst::Buffer::new();
        let buf = buffer.get_mut().expect("own buffer");
        meta.attach(buf).expect("attach");
        assert_eq!(EmotionMeta::from_buffer(buf), Some(meta.clone()));
        // A second attach replaces: fields of the first must not linger.
        meta.classes.clear();
        meta.sequence = 8;
        meta.attach(buf).expect("attach again");
        assert_eq!(EmotionMeta::from_buffer(buf), Some(meta));
        assert_eq!(buf.iter_meta::<gst::Meta>().count(), 1);
    }

    #[test]
    fn a_stamp_is_the_result_with_its_own_age() {
        gst::init().expect("gst");
        crate::meta::register();
        let meta = EmotionMeta {
            age: ClockTime::ZERO,
            stale: false,
            ..example()
        };
        let stamp = EmotionStamp::new(&meta).expect("stamp");
        let mut buffer = gst::Buffer::with_size(8).expect("buffer");
        let buf = buffer.get_mut().expect("own buffer");
        for age in [ClockTime::from_mseconds(5), ClockTime::from_seconds(9)] {
            let alignment = vec![("eda".into(), age.nseconds() as i64)];
            stamp.attach(buf, age, true, &alignment).expect("attach");
            let want = EmotionMeta {
                age,
                alignment,
                stale: true,
                ..meta.clone()
            };
            assert_eq!(EmotionMeta::from_buffer(buf), Some(want));
            assert_eq!(buf.iter_meta::<gst::Meta>().count(), 1);
        }
        assert_eq!(buf.size(), 8);
    }

    #[test]
    fn a_missing_field_is_named() {
        gst::init().expect("gst");
        let s = gst::Structure::builder(EMOTION_META)
            .field("valence", 0.1)
            .build();
        let e = EmotionMeta::from_structure(&s).expect_err("incomplete");
        assert!(e.to_string().contains("arousal"), "{e}");
    }

    #[test]
    fn a_time_that_is_none_is_an_error() {
        gst::init().expect("gst");
        let s = gst::Structure::builder(EMOTION_META)
            .field("valence", 0.1)
            .field("arousal", 0.1)
            .field("label", "x")
            .field("confidence", 0.1)
            .field("window-start", u64::MAX)
            .build();
        let e = EmotionMeta::from_structure(&s).expect_err("no time");
        assert!(e.to_string().contains("window-start"), "{e}");
    }
}
