// SPDX-License-Identifier: MPL-2.0
/**
 * SECTION:element-emotionoverlay
 * @title: emotionoverlay
 * @see_also: mvpfusion, emotionserialize
 *
 * Draws the result that `mvpfusion` put on each frame: the label with its
 * confidence, valence and arousal, how much of the window each modality covers,
 * the face, and physiology traces where `show` has them. A result that is too old is
 * grey and shows its age, a window that is not full is marked as warming up, below
 * `min-confidence` the label is `uncertain`, and an untrained model is named
 * whatever `show` says.
 *
 * Valence and arousal are probabilities of the high class, so their bars start
 * at the middle. A coverage bar is pale where samples were received and in full
 * colour for the share of them that passed the signal checks.
 *
 * Traces are the waveforms of the sensors with a bar of known height, a mark on
 * each heartbeat and at the onset of each skin conductance response. Beside them
 * stand heart rate, skin conductance level and the quality of the signal; a signal
 * that is poor is named instead of a number (`poor: noise`), and what is not known
 * is a dash.
 *
 * By default the panel is at the top left, or where neither it nor the traces cover
 * a face (GstVideoRegionOfInterestMeta of type `face`).
 *
 * The picture is attached as GstVideoOverlayCompositionMeta where downstream
 * takes that, in any memory; otherwise it is blended into frames in system memory.
 * It is drawn again only when its content changes.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 -m v4l2src ! videoconvert ! facetrack ! fusion. \
 *   lslsrc stream-type=EDA ! fusion.eda   lslsrc stream-type=ECG ! fusion.ecg \
 *   mvpfusion name=fusion model=models/default ! emotionoverlay ! videoconvert ! autovideosink
 * ]|
 *
 * Since: plugins-mvp-0.1.0
 */
use super::picture::{Cache, FrameContent};
use super::{Position, Show, draw};
use gst::{glib, prelude::*, subclass::prelude::*};
use gst_video::{VideoOverlayComposition, VideoOverlayCompositionMeta};
use std::sync::{LazyLock, Mutex, MutexGuard};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "emotionoverlay",
        gst::DebugColorFlags::empty(),
        Some("Drawing of emotion results"),
    )
});

const DEFAULT_POSITION: Position = Position::Auto;
const DEFAULT_FONT_DESC: &str = "Sans";
const DEFAULT_MAX_AGE: gst::ClockTime = gst::ClockTime::from_seconds(5);
const DEFAULT_MIN_CONFIDENCE: f64 = 0.1;
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) show: Show,
    pub(super) position: Position,
    pub(super) font_desc: String,
    pub(super) max_age: gst::ClockTime,
    pub(super) min_confidence: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            show: Show::default(),
            position: DEFAULT_POSITION,
            font_desc: DEFAULT_FONT_DESC.to_string(),
            max_age: DEFAULT_MAX_AGE,
            min_confidence: DEFAULT_MIN_CONFIDENCE,
        }
    }
}

/// How frames of the negotiated caps get their picture.
#[derive(Debug, Clone)]
enum Mode {
    Attach,
    Blend(gst_video::VideoInfo),
}

#[derive(Default)]
struct State {
    caps: Option<gst::Caps>,
    mode: Option<Mode>,
    /// Width, height and pixel aspect ratio of the frames.
    size: (u32, u32, f64),
    cache: Cache,
}

fn meta_feature() -> &'static str {
    gst_video::CAPS_FEATURE_META_GST_VIDEO_OVERLAY_COMPOSITION
}

/// `caps` with the composition feature added where it can be.
fn with_meta_feature(caps: &gst::CapsRef) -> gst::Caps {
    let mut out = gst::Caps::new_empty();
    {
        let out = out.make_mut();
        for (s, f) in caps.iter_with_features() {
            let mut f = f.to_owned();
            if !f.is_any() && !f.contains(meta_feature()) {
                f.add(meta_feature());
            }
            out.append_structure_full(s.to_owned(), Some(f));
        }
    }
    out
}

/// Whether frames of `caps` can be drawn into.
fn is_system_memory(caps: &gst::CapsRef) -> bool {
    caps.features(0).is_some_and(|f| {
        !f.is_any() && f.is_equal(gst::CAPS_FEATURES_MEMORY_SYSTEM_MEMORY.as_ref())
    })
}

pub struct EmotionOverlay {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    // Taken by the streaming thread alone; never together with `settings`.
    state: Mutex<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl EmotionOverlay {
    fn chain(
        &self,
        pad: &gst::Pad,
        mut buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = pad, "{buffer:?}");
        if self.srcpad.check_reconfigure() {
            let caps = lock(&self.state).caps.clone();
            if let Some(caps) = caps
                && let Err(e) = self.negotiate(caps)
            {
                self.srcpad.mark_reconfigure();
                return Err(
                    if self.srcpad.pad_flags().contains(gst::PadFlags::FLUSHING) {
                        gst::FlowError::Flushing
                    } else {
                        e
                    },
                );
            }
        }

        let settings = lock(&self.settings).clone();
        let content = FrameContent::read(&buffer, &settings);
        let (mode, picture) = {
            let mut state = lock(&self.state);
            let Some(mode) = state.mode.clone() else {
                drop(state);
                gst::element_imp_error!(
                    self,
                    gst::CoreError::Negotiation,
                    ("Frames before caps"),
                    [
                        "a video buffer arrived before its CAPS event; the element upstream has to send caps first"
                    ]
                );
                return Err(gst::FlowError::NotNegotiated);
            };
            let (width, height, par) = state.size;
            let canvas = draw::Canvas {
                width,
                height,
                par,
                font: settings.font_desc,
                size: 1.0,
            };
            let drawn = state.cache.panels_drawn;
            let picture = state.cache.update(&canvas, settings.position, content);
            if state.cache.panels_drawn != drawn {
                gst::log!(CAT, imp = self, "drew panel {}", state.cache.panels_drawn);
            }
            (mode, picture)
        };
        let picture = picture.map_err(|e| self.drawing_failed(&e))?;
        if let Some(picture) = picture {
            match mode {
                Mode::Attach => {
                    let buffer = buffer.make_mut();
                    attach(buffer, &picture).map_err(|e| self.drawing_failed(&e))?;
                }
                Mode::Blend(info) => {
                    blend(buffer.make_mut(), &info, &picture)
                        .map_err(|e| self.drawing_failed(&e))?;
                }
            }
        }
        self.srcpad.push(buffer)
    }

    fn drawing_failed(&self, e: &glib::BoolError) -> gst::FlowError {
        gst::element_imp_error!(
            self,
            gst::LibraryError::Failed,
            ("The overlay cannot be drawn"),
            ["{}", e]
        );
        gst::FlowError::Error
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        gst::log!(CAT, obj = pad, "{event:?}");
        if let gst::EventView::Caps(c) = event.view() {
            let caps = c.caps_owned();
            self.srcpad.check_reconfigure();
            return match self.negotiate(caps) {
                Ok(()) => true,
                Err(_) => {
                    self.srcpad.mark_reconfigure();
                    false
                }
            };
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    /// Finds out how downstream takes the picture and sends the caps on.
    fn negotiate(&self, caps: gst::Caps) -> Result<(), gst::FlowError> {
        let size = frame_size(&caps).ok_or_else(|| {
            gst::element_imp_error!(
                self,
                gst::StreamError::Format,
                ("Cannot draw on {}", caps),
                ["the caps hold no width and height; expected video/x-raw with both"]
            );
            gst::FlowError::NotNegotiated
        })?;
        let system = is_system_memory(&caps);
        let info = system
            .then(|| gst_video::VideoInfo::from_caps(&caps).ok())
            .flatten();
        let upstream_attaches = caps
            .features(0)
            .is_some_and(|f| !f.is_any() && f.contains(meta_feature()));

        let meta_caps = with_meta_feature(&caps);
        let peer = self.srcpad.peer_query_caps(Some(&meta_caps));
        let mut mode = None;
        if upstream_attaches || peer.can_intersect(&meta_caps) {
            if !self.srcpad.push_event(gst::event::Caps::new(&meta_caps)) {
                if upstream_attaches {
                    return Err(gst::FlowError::NotNegotiated);
                }
            } else if upstream_attaches || self.downstream_takes_composition(&meta_caps) {
                mode = Some(Mode::Attach);
            }
        }
        let mode = match (mode, info) {
            (Some(mode), _) => mode,
            (None, Some(info)) => {
                if !self.srcpad.push_event(gst::event::Caps::new(&caps)) {
                    return Err(gst::FlowError::NotNegotiated);
                }
                Mode::Blend(info)
            }
            (None, None) => {
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Format,
                    ("Cannot draw on {}", caps),
                    [
                        "downstream does not take GstVideoOverlayCompositionMeta, and without it only raw frames \
                         in system memory can be drawn on; put the element that downloads such frames \
                         (for instance gldownload or cudadownload), or videoconvert, before emotionoverlay"
                    ]
                );
                return Err(gst::FlowError::NotNegotiated);
            }
        };
        gst::debug!(CAT, imp = self, "drawing by {mode:?} on {caps}");
        let mut state = lock(&self.state);
        state.size = size;
        state.mode = Some(mode);
        state.caps = Some(caps);
        Ok(())
    }

    fn downstream_takes_composition(&self, caps: &gst::Caps) -> bool {
        let mut query = gst::query::Allocation::new(Some(caps), false);
        self.srcpad.peer_query(&mut query)
            && query
                .find_allocation_meta::<VideoOverlayCompositionMeta>()
                .is_some()
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(q) => {
                let filter = q.filter_owned();
                let caps = self.sink_caps(filter.as_ref());
                gst::log!(CAT, obj = pad, "caps query {filter:?}: {caps}");
                q.set_result(&caps);
                true
            }
            // Accepts more than the caps query: frames that cannot be drawn on get an error
            // that says why.
            gst::QueryViewMut::AcceptCaps(q) => {
                let ok = q.caps_owned().can_intersect(&pad.pad_template_caps());
                gst::log!(CAT, obj = pad, "accept-caps query {:?}: {ok}", q.caps());
                q.set_result(ok);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(q) => {
                let filter = q.filter_owned();
                let upstream = self.sinkpad.peer_query_caps(None);
                let mut caps = gst::Caps::new_empty();
                if upstream.is_any() {
                    caps.merge(pad.pad_template_caps());
                } else {
                    caps.merge(with_meta_feature(&upstream));
                    caps.merge(upstream);
                }
                let caps = caps.intersect(&pad.pad_template_caps());
                let caps = match &filter {
                    Some(f) => f.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
                    None => caps,
                };
                gst::log!(CAT, obj = pad, "caps query {filter:?}: {caps}");
                q.set_result(&caps);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    /// What upstream may send, given what downstream takes.
    fn sink_caps(&self, filter: Option<&gst::Caps>) -> gst::Caps {
        let template = self.sinkpad.pad_template_caps();
        let peer_filter = filter.map(|f| {
            let mut both = with_meta_feature(f);
            both.merge(f.clone());
            both
        });
        let peer = self.srcpad.peer_query_caps(peer_filter.as_ref());
        let caps = if peer.is_any() {
            template.clone()
        } else {
            let mut caps = gst::Caps::new_empty();
            for (s, f) in peer.iter_with_features() {
                // A picture can be attached to the same frames without the feature.
                if !f.is_any() && f.contains(meta_feature()) {
                    let mut plain = f.to_owned();
                    plain.remove(meta_feature());
                    caps.merge_structure_full(s.to_owned(), Some(plain));
                }
                let attachable = f.is_any() || f.contains(meta_feature());
                if attachable || f.is_equal(gst::CAPS_FEATURES_MEMORY_SYSTEM_MEMORY.as_ref()) {
                    caps.merge_structure_full(s.to_owned(), Some(f.to_owned()));
                }
            }
            caps.intersect_with_mode(&template, gst::CapsIntersectMode::First)
        };
        let Some(filter) = filter else {
            return caps;
        };
        let result = filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First);
        let system = gst::CAPS_FEATURES_MEMORY_SYSTEM_MEMORY.as_ref();
        if result.is_empty()
            && filter
                .iter_with_features()
                .all(|(_, f)| !f.is_equal(system))
        {
            // Upstream has only memory that cannot be drawn on. It is accepted here, so that
            // `negotiate` can post an error that says why.
            filter.intersect_with_mode(&template, gst::CapsIntersectMode::First)
        } else {
            result
        }
    }
}

/// Width, height and pixel aspect ratio.
fn frame_size(caps: &gst::CapsRef) -> Option<(u32, u32, f64)> {
    let s = caps.structure(0)?;
    let width = u32::try_from(s.get::<i32>("width").ok()?).ok()?;
    let height = u32::try_from(s.get::<i32>("height").ok()?).ok()?;
    let par = s
        .get::<gst::Fraction>("pixel-aspect-ratio")
        .ok()
        .map(|p| f64::from(p.numer()) / f64::from(p.denom()))
        .filter(|p| p.is_finite() && *p > 0.0)
        .unwrap_or(1.0);
    (width > 0 && height > 0).then_some((width, height, par))
}

/// Attaches `picture`, above what an element upstream may have attached.
fn attach(
    buffer: &mut gst::BufferRef,
    picture: &VideoOverlayComposition,
) -> Result<(), glib::BoolError> {
    if let Some(mut meta) = buffer.meta_mut::<VideoOverlayCompositionMeta>() {
        let mut rectangles: Vec<_> = meta.overlay().iter().collect();
        rectangles.extend(picture.iter());
        meta.set_overlay(&VideoOverlayComposition::new(&rectangles)?);
    } else {
        VideoOverlayCompositionMeta::add(buffer, picture);
    }
    Ok(())
}

/// Draws `picture` into the pixels; mapping copies memory that is shared.
fn blend(
    buffer: &mut gst::BufferRef,
    info: &gst_video::VideoInfo,
    picture: &VideoOverlayComposition,
) -> Result<(), glib::BoolError> {
    let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, info)
        .map_err(|_| glib::bool_error!("the frame cannot be mapped for writing as {:?}", info))?;
    picture.blend(&mut frame)
}

#[glib::object_subclass]
impl ObjectSubclass for EmotionOverlay {
    const NAME: &'static str = "GstEmotionOverlay";
    type Type = super::EmotionOverlay;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| {
            klass
                .pad_template(name)
                .unwrap_or_else(|| unreachable!("the class has the template {name}"))
        };
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|pad, parent, buffer| {
                EmotionOverlay::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |overlay| overlay.chain(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                EmotionOverlay::catch_panic_pad_function(
                    parent,
                    || false,
                    |overlay| overlay.sink_event(pad, event),
                )
            })
            .query_function(|pad, parent, query| {
                EmotionOverlay::catch_panic_pad_function(
                    parent,
                    || false,
                    |overlay| overlay.sink_query(pad, query),
                )
            })
            .flags(gst::PadFlags::PROXY_ALLOCATION | gst::PadFlags::PROXY_SCHEDULING)
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .query_function(|pad, parent, query| {
                EmotionOverlay::catch_panic_pad_function(
                    parent,
                    || false,
                    |overlay| overlay.src_query(pad, query),
                )
            })
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
        }
    }
}

impl ObjectImpl for EmotionOverlay {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecFlags::builder::<Show>("show")
                    .nick("Show")
                    .blurb("What is drawn; an untrained model, a stale result and warming up are shown in any case")
                    .default_value(Show::default())
                    .mutable_playing()
                    .build(),
                glib::ParamSpecEnum::builder_with_default::<Position>("position", DEFAULT_POSITION)
                    .nick("Position")
                    .blurb("Corner of the frame for the result; traces are drawn at the opposite edge. auto: top left, or where neither covers a face; it moves only if a face is covered for 0.7 s, and gets smaller where there is no room")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecString::builder("font-desc")
                    .nick("Font description")
                    .blurb("Pango font description; its size, if any, is for a frame of 480 lines")
                    .default_value(Some(DEFAULT_FONT_DESC))
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt64::builder("max-age")
                    .nick("Maximum age")
                    .blurb("Results older than this are drawn as stale (ns)")
                    .default_value(DEFAULT_MAX_AGE.nseconds())
                    .mutable_playing()
                    .build(),
                glib::ParamSpecDouble::builder("min-confidence")
                    .nick("Minimum confidence")
                    .blurb("Below this confidence 'uncertain' is drawn instead of the label")
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(DEFAULT_MIN_CONFIDENCE)
                    .mutable_playing()
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        // The types are those of the parameter specifications.
        match pspec.name() {
            "show" => settings.show = value.get().unwrap_or_default(),
            "position" => settings.position = value.get().unwrap_or(DEFAULT_POSITION),
            "font-desc" => {
                settings.font_desc = value
                    .get::<Option<String>>()
                    .ok()
                    .flatten()
                    .unwrap_or_else(|| DEFAULT_FONT_DESC.to_string());
            }
            "max-age" => {
                // No limit is the largest time there is.
                settings.max_age = value.get::<u64>().map_or(DEFAULT_MAX_AGE, |v| {
                    gst::ClockTime::from_nseconds(v.min(u64::MAX - 1))
                });
            }
            "min-confidence" => {
                settings.min_confidence = value.get().unwrap_or(DEFAULT_MIN_CONFIDENCE)
            }
            name => unimplemented!("property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "show" => settings.show.to_value(),
            "position" => settings.position.to_value(),
            "font-desc" => settings.font_desc.to_value(),
            "max-age" => settings.max_age.nseconds().to_value(),
            "min-confidence" => settings.min_confidence.to_value(),
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

impl GstObjectImpl for EmotionOverlay {}

impl ElementImpl for EmotionOverlay {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Emotion overlay",
                "Filter/Editor/Video",
                "Draws the emotion result that each frame carries",
                "gst-plugin-mvp developers",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let mut caps = gst_video::VideoCapsBuilder::new().build();
            caps.merge(gst_video::VideoCapsBuilder::new().any_features().build());
            [
                ("sink", gst::PadDirection::Sink),
                ("src", gst::PadDirection::Src),
            ]
            .into_iter()
            .filter_map(|(name, direction)| {
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
