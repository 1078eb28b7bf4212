// SPDX-License-Identifier: MPL-2.0
/**
 * SECTION:element-emotionserialize
 * @title: emotionserialize
 * @see_also: mvpfusion, emotionoverlay
 *
 * Turns video frames with results into lines of JSON: one object per line, UTF-8,
 * with the fields of GstEmotionMeta and GstPhysioMeta under the same names, and `frame`,
 * `pts` and `running-time` of the frame. The video is not read and not passed on: use a `tee`
 * to keep it.
 *
 * `every=result` writes a line for each new result, `every=frame` one for each
 * frame; frames without a result then have no result fields. With `face-units`
 * a line has the list `face-units`: with `every=frame` the faces analysed on that
 * very frame, with `every=result` the last faces analysed since the line before.
 *
 * Frames without a line are GAP events downstream, so that a live pipeline
 * prerolls and ends in order even if no result ever comes.
 *
 * An element that takes `application/x-lsl`, such as lslsink, gets numbers instead, one
 * sample of 64-bit floats per buffer. With `every=result` the stream is of type `Emotion`
 * with the channels `valence`, `arousal`, `confidence` and one `coverage-<modality>` per
 * modality; its times are the ends of the windows. With `every=frame` it is of type
 * `VideoFrames` with the channels `frame` (from 0), `frame-time` (seconds from the start
 * of the film), `valence`, `arousal` and `confidence` (NaN while there is no result); its
 * times are those of the frames, which ties a film to a recording; `first-frame-time` in
 * the caps is the `frame-time` of frame 0. These streams are in
 * running time: their segment starts at 0 and stays. The caps of `Emotion` come with the
 * first result. `face-units` is for lines only.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=face.webm ! decodebin ! videoconvert ! facetrack ! \
 *   mvpfusion model=models/default ! emotionserialize ! filesink location=emotion.jsonl
 * ]|
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! facetrack ! mvpfusion model=models/default ! \
 *   emotionserialize every=frame ! lslsink stream-name=Camera
 * ]| A stream for LabRecorder that says when each frame was taken.
 *
 * Since: plugins-mvp-0.1.0
 */
use super::writer::{Frame, Lines, Samples, Writer};
use super::{Every, JSON, stream};
use crate::meta::{EMOTION_META, EmotionMeta, FaceUnitsMeta, PhysioMeta};
use gst::{ClockTime, glib, prelude::*, subclass::prelude::*};
use gst_common::lock;
use gst_lsl::caps::LSL;
use std::sync::{LazyLock, Mutex};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "emotionserialize",
        gst::DebugColorFlags::empty(),
        Some("Emotion results as data"),
    )
});

const DEFAULT_EVERY: Every = Every::Result;
const DEFAULT_FACE_UNITS: bool = false;

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
    writer: Option<&'static dyn Writer>,
    /// The caps that were sent last.
    caps: Option<gst::Caps>,
    /// A segment is to be sent after the next caps.
    segment_due: bool,
    /// Frames since the start of the stream; a seek does not reset it.
    frames: u64,
    /// Stream time of frame 0.
    first: Option<ClockTime>,
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

impl EmotionSerialize {
    fn chain(
        &self,
        pad: &gst::Pad,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = pad, "{buffer:?}");
        let writer = self.writer();
        if let Some(caps) = writer.fixed_caps() {
            self.send_caps(caps)?;
        }
        let settings = *lock(&self.settings);
        let result = EmotionMeta::from_buffer(&buffer);
        let body = PhysioMeta::from_buffer(&buffer);
        let has_meta =
            result.is_some() || gst::meta::CustomMeta::from_buffer(&buffer, EMOTION_META).is_ok();

        let (written, running_time, discont) = {
            let mut state = lock(&self.state);
            if has_meta && result.is_none() && !state.unreadable {
                state.unreadable = true;
                gst::warning!(
                    CAT,
                    obj = pad,
                    "A {EMOTION_META} lacks fields or has them in other types; taken as no result"
                );
            }
            if buffer.flags().contains(gst::BufferFlags::DISCONT) {
                state.discont = true;
            }
            let segment = state.segment.as_ref();
            let running_time = buffer.pts().and_then(|p| segment?.to_running_time(p));
            let stream_time = buffer.pts().and_then(|p| segment?.to_stream_time(p));
            let number = state.frames;
            state.frames += 1;
            if number == 0 {
                state.first = stream_time;
            }
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
                let written = writer.write(&Frame {
                    number,
                    pts: buffer.pts(),
                    duration: buffer.duration(),
                    running_time,
                    stream_time,
                    first: state.first,
                    result: result.as_ref(),
                    body: body.as_ref(),
                    faces: settings.face_units.then_some(&faces),
                    every: settings.every,
                });
                (written, running_time, std::mem::take(&mut state.discont))
            } else {
                (Ok(None), running_time, false)
            }
        };

        let written = written.map_err(|e| {
            gst::element_imp_error!(self, gst::StreamError::Encode, ("{e}"));
            gst::FlowError::Error
        })?;
        if let Some(written) = written {
            self.send_caps(written.caps)?;
            let mut out = gst::Buffer::from_mut_slice(written.bytes);
            {
                let out = out.make_mut();
                out.set_pts(written.pts);
                out.set_duration(written.duration);
                if discont {
                    out.set_flags(gst::BufferFlags::DISCONT);
                }
            }
            gst::log!(CAT, obj = self.srcpad, "{out:?}");
            return self.srcpad.push(out);
        }
        let time = match writer.has_video_time() {
            true => buffer.pts(),
            false => running_time,
        };
        if let Some(time) = time
            && self.may_send_gaps()
        {
            let gap = gst::event::Gap::builder(time)
                .duration(buffer.duration())
                .build();
            self.srcpad.push_event(gap);
        }
        // An event has no flow return: the last one tells upstream of EOS and errors.
        self.srcpad.last_flow_result()
    }

    /// JSON lines, unless downstream takes samples only; decided once per stream.
    fn writer(&self) -> &'static dyn Writer {
        if let Some(writer) = lock(&self.state).writer {
            return writer;
        }
        let ours = self.srcpad.pad_template_caps();
        let common = self.srcpad.peer_query_caps(Some(&ours));
        let writer: &'static dyn Writer = match common.structure(0).is_some_and(|s| s.name() == LSL)
        {
            true => &Samples,
            false => &Lines,
        };
        gst::debug!(
            CAT,
            imp = self,
            "downstream takes {common}: {}",
            if writer.has_video_time() {
                "lines"
            } else {
                "samples"
            }
        );
        *lock(&self.state).writer.get_or_insert(writer)
    }

    /// A GAP may follow a segment only, and a segment caps only.
    fn may_send_gaps(&self) -> bool {
        let state = lock(&self.state);
        state.caps.is_some() && !state.segment_due
    }

    /// Sends the caps when they changed, and then a segment that is still to be sent.
    fn send_caps(&self, caps: gst::Caps) -> Result<(), gst::FlowError> {
        if lock(&self.state).caps.as_ref() != Some(&caps) {
            gst::debug!(CAT, obj = self.srcpad, "{caps}");
            if !self.srcpad.push_event(gst::event::Caps::new(&caps)) {
                return Err(
                    match self.srcpad.pad_flags().contains(gst::PadFlags::FLUSHING) {
                        true => gst::FlowError::Flushing,
                        false => gst::FlowError::NotNegotiated,
                    },
                );
            }
            lock(&self.state).caps = Some(caps);
        }
        if std::mem::take(&mut lock(&self.state).segment_due) {
            let segment = gst::FormattedSegment::<ClockTime>::new();
            self.srcpad.push_event(gst::event::Segment::new(&segment));
        }
        Ok(())
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        gst::log!(CAT, obj = pad, "{event:?}");
        match event.view() {
            gst::EventView::StreamStart(e) => {
                *lock(&self.state) = State::default();
                // The output is a stream of its own, and a sparse one.
                let id = self.srcpad.create_stream_id(&*self.obj(), Some("emotion"));
                let mut builder = gst::event::StreamStart::builder(&id)
                    .flags(e.stream_flags() | gst::StreamFlags::SPARSE)
                    .seqnum(event.seqnum());
                if let Some(group) = e.group_id() {
                    builder = builder.group_id(group);
                }
                return self.srcpad.push_event(builder.build());
            }
            // The element's own caps are sent instead.
            gst::EventView::Caps(_) => {
                let caps = self.writer().fixed_caps();
                return caps.is_none_or(|caps| self.send_caps(caps).is_ok());
            }
            gst::EventView::Segment(e) => {
                let writer = self.writer();
                let caps = {
                    let mut state = lock(&self.state);
                    state.segment = e.segment().downcast_ref::<ClockTime>().cloned();
                    state.segment_due = !writer.has_video_time();
                    writer.fixed_caps().or_else(|| state.caps.clone())
                };
                // Without fixed caps they are known at the first sample. A failure is returned
                // when the next line or sample is pushed.
                if let Some(caps) = caps {
                    let _ = self.send_caps(caps);
                }
                if !writer.has_video_time() {
                    return true;
                }
            }
            // A gap of the video is in the video's time. Each frame without a sample gives a
            // gap in running time.
            gst::EventView::Gap(_) if !self.writer().has_video_time() => return true,
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
            // The pixels are never read: any strides and padding will do.
            q.add_allocation_meta::<gst_video::VideoMeta>(None);
            gst::log!(CAT, obj = pad, "allocation query: any strides and padding");
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
                    .blurb("What gets a line or a sample: each new result or each frame")
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
                "Turns the emotion results that video frames carry into lines of JSON or LSL samples",
                "gst-plugin-mvp developers",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let any = gst::Caps::builder("video/x-raw").any_features().build();
            let mut data = gst::Caps::new_empty_simple(JSON);
            data.merge(stream::template());
            [
                ("sink", gst::PadDirection::Sink, any),
                ("src", gst::PadDirection::Src, data),
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
        gst::debug!(CAT, imp = self, "changing state: {transition:?}");
        let result = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady {
            *lock(&self.state) = State::default();
        }
        result
    }
}
