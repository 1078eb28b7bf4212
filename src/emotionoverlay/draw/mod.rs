// SPDX-License-Identifier: MPL-2.0
//! Pictures of results, with cairo and pango. It knows of no pads and no buffers.
//!
//! Lengths are in em, the font size in pixels. It grows with the frame: [`Canvas::em`].

mod body;
mod corner;
mod panel;
mod pen;
mod place;
mod traces;

use cairo::{Context, Format, ImageSurface};
use pango::FontDescription;
use pen::Pen;

pub(super) use body::Body;
pub(super) use corner::{CORNERS, corner_arm, draw_corner};
pub(super) use panel::{Panel, Rows};
pub(super) use place::{Area, Corner, Place, Placer, Sizes};
pub(super) use traces::Traces;

/// Font size in pixels at 480 lines, where `font-desc` names none.
const BASE_PX: f64 = 15.0;
const BASE_LINES: f64 = 480.0;
/// Smaller text cannot be read. On small frames the pictures cover a larger share instead.
const MIN_PX: f64 = 10.5;
/// Width of the panel and the space around its content, in em.
const PANEL_WIDTH: f64 = 16.0;
const PAD: f64 = 0.75;
/// Between the pictures and the edge of the frame, in em.
pub(super) const MARGIN: f64 = 0.7;

type Rgb = (f64, f64, f64);
const INK: Rgb = (0.96, 0.97, 0.98);
const DIM: Rgb = (0.68, 0.71, 0.76);
const TRACK: Rgb = (0.27, 0.29, 0.33);
const WARN: Rgb = (1.0, 0.74, 0.29);
const INFO: Rgb = (0.51, 0.72, 0.98);
const GOOD: Rgb = (0.40, 0.84, 0.57);
const BAD: Rgb = (0.96, 0.48, 0.47);
const HIGH: Rgb = (1.0, 0.68, 0.38);
const LOW: Rgb = (0.47, 0.68, 0.98);
const BACK: Rgb = (0.055, 0.063, 0.08);
const BACK_ALPHA: f64 = 0.8;

/// One colour per modality, the same in the coverage and in the traces.
fn modality_colour(name: &str) -> Rgb {
    match name {
        "video" => (0.51, 0.72, 0.98),
        "eda" => (0.33, 0.83, 0.75),
        "ecg" => (0.96, 0.54, 0.51),
        "ppg" => (0.79, 0.57, 0.98),
        _ => (0.82, 0.85, 0.52),
    }
}

/// Premultiplied ARGB, native endian, rows without padding.
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) data: Vec<u8>,
}

/// The frame that is drawn on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Width of a pixel over its height.
    pub(super) par: f64,
    /// Pango font description; its size counts for a frame of 480 lines.
    pub(super) font: String,
    /// Share of the usual size of the text, 0–1.
    pub(super) size: f64,
}

impl Canvas {
    /// Width in square pixels.
    fn logical_width(&self) -> f64 {
        f64::from(self.width) * self.par
    }

    fn font(&self) -> FontDescription {
        FontDescription::from_string(&self.font)
    }

    /// Font size in square pixels. It grows with the frame, is not smaller than can be read, and
    /// not larger than lets the panel fit the width.
    pub(super) fn em(&self) -> f64 {
        let font = self.font();
        let base = match f64::from(font.size()) / f64::from(pango::SCALE) {
            0.0 => BASE_PX,
            px if font.is_size_absolute() => px,
            points => points * 96.0 / 72.0,
        };
        let (w, h) = (self.logical_width(), f64::from(self.height));
        let lines = h.min(w * 0.75);
        (base * lines / BASE_LINES * self.size)
            .max(MIN_PX)
            .min(w / (PANEL_WIDTH + 2.0 * MARGIN))
    }

    /// The same with text of `size` (0–1) of the usual size.
    pub(super) fn at_size(&self, size: f64) -> Self {
        Self {
            size,
            ..self.clone()
        }
    }

    /// Pixels of something `width` × `height` em, with `em` pixels to the em.
    fn pixels(&self, em: f64, width: f64, height: f64) -> (u32, u32) {
        let w = (width * em / self.par).ceil().max(1.0);
        (w as u32, (height * em).ceil().max(1.0) as u32)
    }

    /// What is to be placed on the frame.
    pub(super) fn sizes(&self, panel: Option<&Panel>, traces: Option<&Traces>) -> Sizes {
        let margin = (self.em() * MARGIN).round();
        Sizes {
            frame: (self.width, self.height),
            margin: ((margin / self.par).round() as u32, margin as u32),
            panel: panel.and_then(|p| p.pixels(self)).unwrap_or_default(),
            traces: traces.and_then(|t| t.pixels(self)).unwrap_or_default(),
            smallest: MIN_PX / self.em(),
        }
    }

    /// `width` and `height` in em, with `em` pixels to the em; `draw` works in em.
    fn picture(
        &self,
        em: f64,
        width: f64,
        height: f64,
        draw: impl FnOnce(&Pen) -> Result<(), cairo::Error>,
    ) -> Result<Picture, cairo::Error> {
        let (w, h) = self.pixels(em, width, height);
        let mut surface = ImageSurface::create(Format::ARgb32, w as i32, h as i32)?;
        {
            let cr = Context::new(&surface)?;
            // Before the scale: pango would take it into its fonts, which on large frames are
            // then larger than FreeType can draw.
            let layout = pangocairo::functions::create_layout(&cr);
            cr.scale(em / self.par, em);
            pangocairo::functions::context_set_resolution(&layout.context(), 96.0);
            // With letters at whole pixels the gaps in small text would be uneven.
            let mut options = cairo::FontOptions::new()?;
            options.set_antialias(cairo::Antialias::Gray);
            options.set_hint_style(cairo::HintStyle::Slight);
            options.set_hint_metrics(cairo::HintMetrics::Off);
            pangocairo::functions::context_set_font_options(&layout.context(), Some(&options));
            layout.context_changed();
            draw(&Pen {
                cr,
                layout,
                font: self.font(),
                em,
            })?;
        }
        surface.flush();
        let stride = surface.stride() as usize;
        let row = w as usize * 4;
        let pixels = surface
            .data()
            .map_err(|_| cairo::Error::SurfaceTypeMismatch)?;
        let data = pixels
            .chunks(stride)
            .flat_map(|line| line[..row].iter().copied())
            .collect();
        Ok(Picture {
            width: w,
            height: h,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_readable_and_fits() {
        let em = |width, height, font: &str| {
            Canvas {
                width,
                height,
                par: 1.0,
                font: font.into(),
                size: 1.0,
            }
            .em()
        };
        assert_eq!(em(640, 480, "Sans"), 15.0);
        assert_eq!(em(1280, 960, "Sans"), 30.0);
        assert_eq!(em(320, 240, "Sans"), MIN_PX);
        assert_eq!(em(640, 480, "Sans 18px"), 18.0);
        assert!((em(640, 480, "Sans 12") - 16.0).abs() < 1e-9);
        // The panel is never wider than the frame.
        for width in [1, 64, 100, 640] {
            let em = em(width, 480, "Sans 60");
            assert!(em * (PANEL_WIDTH + 2.0 * MARGIN) <= f64::from(width) + 1e-6);
        }
    }
}
