// SPDX-License-Identifier: MPL-2.0
/**
 * SECTION:element-emotionserialize
 * @title: emotionserialize
 * @see_also: mvpfusion, emotionoverlay
 *
 * Turns video frames with results into lines of JSON: one object per line, UTF-8,
 * with the fields of GstEmotionMeta under the same names, and `frame`, `pts` and
 * `running-time` of the frame. The video itself ends here, in any memory and
 * without being read; use a `tee` to go on with it.
 *
 * `every=result` writes a line for each new result, `every=frame` one for each
 * frame; frames without a result then have no result fields. With `face-units`
 * a line has the list `face-units`: with `every=frame` the faces analysed on that
 * very frame, with `every=result` the last faces analysed since the line before.
 *
 * Frames without a line are GAP events downstream, so that a live pipeline
 * prerolls and ends in order even if no result ever comes.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=face.webm ! decodebin ! videoconvert ! facetrack ! \
 *   mvpfusion model=models/default ! emotionserialize ! filesink location=emotion.jsonl
 * ]|
 *
 * Since: plugins-mvp-0.1.0
 */
use super::{Every, json::Line};
use crate::meta::{EMOTION_META, EmotionMeta, FaceUnitsMeta};
use gst::{ClockTime, glib, prelude::*, subclass::prelude::*};
use std::sync::{LazyLock, Mutex, MutexGuard};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "emotionserialize",
        gst::DebugColorFlags::empty(),
        Some("Emotion results as JSON lines"),
    )
});

const DEFAULT_EVERY: Every = Every::Result;
const DEFAULT_FACE_UNITS: bool = false;
const MEDIA_TYPE: &str = "application/x-json";

#[derive(Debug, Clone, Copy)]
struct Settings {
    every: Every,
    face_units: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every: DEFAULT_EVERY,
            face_units: DEFAULT_FACE_UNITS,
        }
    }
}

#[derive(Default)]
struct State {
    segment: Option<gst::FormattedSegment<ClockTime>>,
    caps_sent: bool,
    /// Frames since the start of the stream; a seek does not turn it back.
    frames: u64,
    /// Result that was written last.
    sequence: Option<u64>,
    /// Faces seen since the last line.
    faces: Vec<FaceUnitsMeta>,
    unreadable: bool,
    /// The next buffer follows a gap in the video.
    discont: bool,
}

pub struct EmotionSerialize {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    // Never held while pushing, and never together with `settings`.
    state: Mutex<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl EmotionSerialize {
    fn chain(
        &self,
        _pad: &gst::Pad,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.send_caps()?;
        let settings = *lock(&self.settings);
        let result = EmotionMeta::from_buffer(&buffer);
        let has_meta =
            result.is_some() || gst::meta::CustomMeta::from_buffer(&buffer, EMOTION_META).is_ok();

        let (line, discont) = {
            let mut state = lock(&self.state);
            if has_meta && result.is_none() && !state.unreadable {
                state.unreadable = true;
                gst::warning!(
                    CAT,
                    imp = self,
                    "A {EMOTION_META} lacks fields or has them in other types; taken as no result"
                );
            }
            if buffer.flags().contains(gst::BufferFlags::DISCONT) {
                state.discont = true;
            }
            let frame = state.frames;
            state.frames += 1;
            if settings.face_units {
                let faces = FaceUnitsMeta::all_from_buffer(&buffer);
                if !faces.is_empty() || settings.every == Every::Frame {
                    state.faces = faces;
                }
            }
            let new = result
                .as_ref()
                .is_some_and(|r| state.sequence != Some(r.sequence));
            if new || settings.every == Every::Frame {
                if let Some(r) = &result {
                    state.sequence = Some(r.sequence);
                }
                let faces = std::mem::take(&mut state.faces);
                let line = Line {
                    frame,
                    pts: buffer.pts(),
                    running_time: buffer
                        .pts()
                        .and_then(|pts| state.segment.as_ref()?.to_running_time(pts)),
                    result: result.as_ref(),
                    faces: settings.face_units.then_some(&faces),
                };
                (Some(line.to_bytes()), std::mem::take(&mut state.discont))
            } else {
                (None, false)
            }
        };

        match line {
            Some(Ok(bytes)) => {
                let mut out = gst::Buffer::from_mut_slice(bytes);
                if let Some(out) = out.get_mut() {
                    out.set_pts(buffer.pts());
                    out.set_duration(buffer.duration());
                    if discont {
                        out.set_flags(gst::BufferFlags::DISCONT);
                    }
                }
                self.srcpad.push(out)
            }
            Some(Err(e)) => {
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Encode,
                    ("A result cannot be written as JSON"),
                    ["{}", e]
                );
                Err(gst::FlowError::Error)
            }
            None => {
                if let Some(pts) = buffer.pts() {
                    let gap = gst::event::Gap::builder(pts)
                        .duration(buffer.duration())
                        .build();
                    self.srcpad.push_event(gap);
                }
                // An event has no flow return: ask, so that upstream learns of EOS and errors.
                self.srcpad.last_flow_result()
            }
        }
    }

    /// Sends our caps once, before the segment.
    fn send_caps(&self) -> Result<(), gst::FlowError> {
        if std::mem::replace(&mut lock(&self.state).caps_sent, true) {
            return Ok(());
        }
        let caps = gst::Caps::new_empty_simple(MEDIA_TYPE);
        if self.srcpad.push_event(gst::event::Caps::new(&caps)) {
            Ok(())
        } else {
            lock(&self.state).caps_sent = false;
            Err(
                if self.srcpad.pad_flags().contains(gst::PadFlags::FLUSHING) {
                    gst::FlowError::Flushing
                } else {
                    gst::FlowError::NotNegotiated
                },
            )
        }
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::StreamStart(e) => {
                *lock(&self.state) = State::default();
                // Another stream than the video that it is made from, and a sparse one.
                let id = self.srcpad.create_stream_id(&*self.obj(), Some("emotion"));
                let mut builder = gst::event::StreamStart::builder(&id)
                    .flags(e.stream_flags() | gst::StreamFlags::SPARSE)
                    .seqnum(event.seqnum());
                if let Some(group) = e.group_id() {
                    builder = builder.group_id(group);
                }
                return self.srcpad.push_event(builder.build());
            }
            // Ours go out instead.
            gst::EventView::Caps(_) => return self.send_caps().is_ok(),
            gst::EventView::Segment(e) => {
                // A failure shows when the first line is pushed.
                let _ = self.send_caps();
                lock(&self.state).segment = e.segment().downcast_ref::<ClockTime>().cloned();
            }
            gst::EventView::FlushStop(_) => {
                let mut state = lock(&self.state);
                state.segment = None;
                state.sequence = None;
                state.faces.clear();
                state.discont = true;
            }
            _ => (),
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Allocation(q) = query.view_mut() {
            // The pixels are never read: padding and strides need no copy for our sake.
            q.add_allocation_meta::<gst_video::VideoMeta>(None);
            return true;
        }
        gst::Pad::query_default(pad, Some(&*self.obj()), query)
    }
}

#[glib::object_subclass]
impl ObjectSubclass for EmotionSerialize {
    const NAME: &'static str = "GstEmotionSerialize";
    type Type = super::EmotionSerialize;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| {
            klass
                .pad_template(name)
                .unwrap_or_else(|| unreachable!("the class has the template {name}"))
        };
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|pad, parent, buffer| {
                EmotionSerialize::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.chain(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                EmotionSerialize::catch_panic_pad_function(
                    parent,
                    || false,
                    |this| this.sink_event(pad, event),
                )
            })
            .query_function(|pad, parent, query| {
                EmotionSerialize::catch_panic_pad_function(
                    parent,
                    || false,
                    |this| this.sink_query(pad, query),
                )
            })
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .flags(gst::PadFlags::FIXED_CAPS)
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
        }
    }
}

impl ObjectImpl for EmotionSerialize {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecEnum::builder_with_default::<Every>("every", DEFAULT_EVERY)
                    .nick("Every")
                    .blurb("What gets a line: each new result or each frame")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("face-units")
                    .nick("Face units")
                    .blurb("Also write the face units that frames carry (GstFaceUnitsMeta)")
                    .default_value(DEFAULT_FACE_UNITS)
                    .mutable_playing()
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "every" => settings.every = value.get().unwrap_or(DEFAULT_EVERY),
            "face-units" => settings.face_units = value.get().unwrap_or(DEFAULT_FACE_UNITS),
            name => unimplemented!("property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "every" => settings.every.to_value(),
            "face-units" => settings.face_units.to_value(),
            name => unimplemented!("property {name}"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            if let Err(e) = obj.add_pad(pad) {
                gst::error!(CAT, imp = self, "Cannot add pad {}: {e}", pad.name());
            }
        }
    }
}

impl GstObjectImpl for EmotionSerialize {}

impl ElementImpl for EmotionSerialize {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Emotion serializer",
                "Codec/Encoder/Metadata",
                "Writes the emotion results that video frames carry as lines of JSON",
                "gst-plugin-mvp developers",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let any = gst::Caps::builder("video/x-raw").any_features().build();
            let json = gst::Caps::new_empty_simple(MEDIA_TYPE);
            [
                ("sink", gst::PadDirection::Sink, any),
                ("src", gst::PadDirection::Src, json),
            ]
            .into_iter()
            .filter_map(|(name, direction, caps)| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
            })
            .collect()
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let result = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady {
            *lock(&self.state) = State::default();
        }
        result
    }
}
