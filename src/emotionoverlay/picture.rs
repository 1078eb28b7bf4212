// SPDX-License-Identifier: MPL-2.0
//! The picture of a frame: what it shows, and the parts that were drawn before.

use super::draw::{self, Area, Body, Canvas, Place, Placer};
use super::imp::Settings;
use super::{Position, Show};
use crate::meta::{EmotionMeta, FACE_REGION, PhysioMeta, PhysioTraceMeta};
use gst::glib;
use gst_video::{VideoOverlayComposition, VideoOverlayFormatFlags, VideoOverlayRectangle};

/// More faces than this in one frame are neither outlined nor kept free.
const MAX_FACES: usize = 16;
/// The traces are drawn again at most this often (ns), however often they change.
const TRACE_INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(66);

/// A drawn picture, ready to be placed on any number of frames.
struct Sprite {
    pixels: gst::Buffer,
    width: u32,
    height: u32,
}

impl Sprite {
    fn new(picture: draw::Picture) -> Result<Self, glib::BoolError> {
        let (width, height) = (picture.width, picture.height);
        let mut pixels = gst::Buffer::from_mut_slice(picture.data);
        // cairo draws native-endian ARGB words, which is what compositions take.
        let format = if cfg!(target_endian = "little") {
            gst_video::VideoFormat::Bgra
        } else {
            gst_video::VideoFormat::Argb
        };
        let buf = pixels
            .get_mut()
            .ok_or_else(|| glib::bool_error!("the new picture is shared"))?;
        gst_video::VideoMeta::add(
            buf,
            gst_video::VideoFrameFlags::empty(),
            format,
            width,
            height,
        )?;
        Ok(Self {
            pixels,
            width,
            height,
        })
    }

    fn at(&self, x: i32, y: i32) -> VideoOverlayRectangle {
        VideoOverlayRectangle::new_raw(
            &self.pixels,
            x,
            y,
            self.width,
            self.height,
            VideoOverlayFormatFlags::PREMULTIPLIED_ALPHA,
        )
    }
}

/// The pictures drawn last; each is drawn again only when its key changes.
#[derive(Default)]
pub(super) struct Cache {
    canvas: Option<Canvas>,
    position: Position,
    placer: Placer,
    place: Option<Place>,
    panel_key: Option<(draw::Panel, f64)>,
    panel: Option<Sprite>,
    traces_key: Option<draw::Traces>,
    /// Size of the text of the traces as drawn.
    traces_size: f64,
    traces_drawn: Option<gst::ClockTime>,
    traces: Option<Sprite>,
    corners: Option<(u32, [Sprite; draw::CORNERS])>,
    faces: Vec<Area>,
    composition: Option<VideoOverlayComposition>,
    /// How often a panel was drawn; for tests and the log.
    pub(super) panels_drawn: u64,
}

/// What one frame carries that can be drawn.
pub(super) struct FrameContent {
    panel: Option<draw::Panel>,
    traces: Option<draw::Traces>,
    faces: Vec<Area>,
    outlined: bool,
    pts: Option<gst::ClockTime>,
}

impl FrameContent {
    pub(super) fn read(buffer: &gst::BufferRef, settings: &Settings) -> Self {
        let show = settings.show;
        let rows = draw::Rows {
            label: show.contains(Show::LABEL),
            bars: show.contains(Show::BARS),
            coverage: show.contains(Show::COVERAGE),
            model: show.contains(Show::MODEL),
        };
        let panel = match EmotionMeta::from_buffer(buffer) {
            Some(meta) => Some(draw::Panel::result(
                &meta,
                rows,
                settings.min_confidence,
                settings.max_age.nseconds(),
            )),
            None => show.contains(Show::WAITING).then_some(draw::Panel::Waiting),
        };
        let outlined = show.contains(Show::FACE);
        let faces = match outlined || settings.position == Position::Auto {
            true => buffer
                .iter_meta::<gst_video::VideoRegionOfInterestMeta>()
                .filter(|r| r.roi_type() == FACE_REGION)
                .map(|r| r.rect())
                .take(MAX_FACES)
                .collect(),
            false => Vec::new(),
        };
        Self {
            panel,
            traces: show
                .contains(Show::TRACES)
                .then(|| PhysioTraceMeta::from_buffer(buffer))
                .flatten()
                .map(|meta| draw::Traces {
                    body: PhysioMeta::from_buffer(buffer)
                        .map(|meta| Body::of(&meta))
                        .unwrap_or_default(),
                    meta,
                }),
            faces,
            outlined,
            pts: buffer.pts(),
        }
    }
}

fn failed(e: cairo::Error) -> glib::BoolError {
    glib::bool_error!("cairo cannot draw the overlay: {}", e)
}

impl Cache {
    /// The picture for one frame; `None` where nothing is drawn.
    pub(super) fn update(
        &mut self,
        canvas: &Canvas,
        position: Position,
        content: FrameContent,
    ) -> Result<Option<VideoOverlayComposition>, glib::BoolError> {
        if self.canvas.as_ref() != Some(canvas) || self.position != position {
            let panels_drawn = self.panels_drawn;
            *self = Self {
                canvas: Some(canvas.clone()),
                position,
                panels_drawn,
                ..Self::default()
            };
        }
        let sizes = canvas.sizes(content.panel.as_ref(), content.traces.as_ref());
        let place = match position.corner() {
            Some(corner) => Place { corner, size: 1.0 },
            None => {
                let time = content.pts.map(gst::ClockTime::nseconds);
                self.placer.place(&sizes, &content.faces, time)
            }
        };
        let mut changed = self.place.replace(place) != Some(place);

        let panel_key = content.panel.map(|panel| (panel, place.size));
        if self.panel_key != panel_key {
            changed = true;
            self.panel = match &panel_key {
                Some((panel, size)) => {
                    self.panels_drawn += 1;
                    let canvas = canvas.at_size(*size);
                    let picture = panel.draw(&canvas).map_err(failed)?;
                    picture.map(Sprite::new).transpose()?
                }
                None => None,
            };
            self.panel_key = panel_key;
        }

        if self.traces_key != content.traces || self.traces_size != place.size {
            let resized = self.traces_size != place.size;
            let due = match (content.traces.is_some(), self.traces_drawn, content.pts) {
                (true, Some(last), Some(now)) => now < last || now - last >= TRACE_INTERVAL,
                _ => true,
            };
            if due || resized {
                changed = true;
                self.traces_size = place.size;
                self.traces = match &content.traces {
                    Some(traces) => {
                        let canvas = canvas.at_size(place.size);
                        let picture = traces.draw(&canvas).map_err(failed)?;
                        picture.map(Sprite::new).transpose()?
                    }
                    None => None,
                };
                self.traces_drawn = content.pts;
                self.traces_key = content.traces;
            }
        }

        let outlined = match content.outlined {
            true => content.faces,
            false => Vec::new(),
        };
        if self.faces != outlined {
            changed = true;
            self.faces = outlined;
        }

        if changed {
            // Outlines first: the panel stays readable where they meet.
            let mut rectangles = Vec::with_capacity(2 + self.faces.len() * draw::CORNERS);
            for face in self.faces.clone() {
                if let Some(corners) = self.outline(canvas, face)? {
                    rectangles.extend(corners);
                }
            }
            let at = |sprite: &Sprite, corner| {
                let (x, y) = sizes.corner(corner, (sprite.width, sprite.height));
                sprite.at(x as i32, y as i32)
            };
            let traces = self.traces.as_ref();
            rectangles.extend(traces.map(|s| at(s, place.corner.across())));
            rectangles.extend(self.panel.as_ref().map(|s| at(s, place.corner)));
            self.composition = if rectangles.is_empty() {
                None
            } else {
                Some(VideoOverlayComposition::new(&rectangles)?)
            };
        }
        Ok(self.composition.clone())
    }

    /// Four corners around a face, within the frame.
    fn outline(
        &mut self,
        canvas: &Canvas,
        (x, y, w, h): Area,
    ) -> Result<Option<[VideoOverlayRectangle; draw::CORNERS]>, glib::BoolError> {
        let x1 = x.saturating_add(w).min(canvas.width);
        let y1 = y.saturating_add(h).min(canvas.height);
        if x1.saturating_sub(x) < 6 || y1.saturating_sub(y) < 6 {
            return Ok(None);
        }
        let arm = draw::corner_arm(canvas, x1 - x, y1 - y);
        if self.corners.as_ref().is_none_or(|(a, _)| *a != arm) {
            let corner = |i| {
                draw::draw_corner(canvas, i, arm)
                    .map_err(failed)
                    .and_then(Sprite::new)
            };
            self.corners = Some((arm, [corner(0)?, corner(1)?, corner(2)?, corner(3)?]));
        }
        Ok(self.corners.as_ref().map(|(_, [a, b, c, d])| {
            let (x, y) = (x as i32, y as i32);
            let (right, bottom) = ((x1 - arm) as i32, (y1 - arm) as i32);
            [
                a.at(x, y),
                b.at(right, y),
                c.at(right, bottom),
                d.at(x, bottom),
            ]
        }))
    }
}
