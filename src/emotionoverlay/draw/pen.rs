// SPDX-License-Identifier: MPL-2.0
use super::{BACK, BACK_ALPHA, Rgb};
use cairo::Context;
use pango::{EllipsizeMode, FontDescription, Weight};
use std::f64::consts::{FRAC_PI_2, PI};

/// Draws text and shapes; lengths are in em.
pub(super) struct Pen {
    pub(super) cr: Context,
    pub(super) layout: pango::Layout,
    pub(super) font: FontDescription,
    pub(super) em: f64,
}

#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Right,
    Centre,
}

impl Pen {
    pub(super) fn colour(&self, (r, g, b): Rgb, alpha: f64) {
        self.cr.set_source_rgba(r, g, b, alpha);
    }

    pub(super) fn round_rect(&self, x: f64, y: f64, w: f64, h: f64, r: f64) {
        let r = r.min(w / 2.0).min(h / 2.0).max(0.0);
        self.cr.new_sub_path();
        self.cr.arc(x + w - r, y + r, r, -FRAC_PI_2, 0.0);
        self.cr.arc(x + w - r, y + h - r, r, 0.0, FRAC_PI_2);
        self.cr.arc(x + r, y + h - r, r, FRAC_PI_2, PI);
        self.cr.arc(x + r, y + r, r, PI, PI + FRAC_PI_2);
        self.cr.close_path();
    }

    pub(super) fn fill_rect(
        &self,
        x: f64,
        y: f64,
        w: f64,
        h: f64,
        r: f64,
    ) -> Result<(), cairo::Error> {
        self.round_rect(x, y, w, h, r);
        self.cr.fill()
    }

    /// Sets `text` and returns its width in em.
    pub(super) fn set_text(&self, text: &str, size: f64, bold: bool) -> f64 {
        // The font has its size in pixels: glyphs of another size that are scaled would be
        // placed and hinted wrongly.
        let mut font = self.font.clone();
        font.set_absolute_size((size * self.em).max(1.0) * f64::from(pango::SCALE));
        if bold {
            font.set_weight(Weight::Bold);
        }
        self.layout.set_font_description(Some(&font));
        self.layout.set_single_paragraph_mode(true);
        self.layout.set_text(text);
        f64::from(self.layout.size().0) / f64::from(pango::SCALE) / self.em
    }

    /// `y` is the middle of the line, `room` the width that the text may take.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn text(
        &self,
        text: &str,
        x: f64,
        y: f64,
        room: f64,
        size: f64,
        bold: bool,
        align: Align,
    ) -> Result<(), cairo::Error> {
        self.layout.set_ellipsize(EllipsizeMode::None);
        self.layout.set_width(-1);
        let mut width = self.set_text(text, size, bold);
        if width > room {
            self.layout.set_ellipsize(EllipsizeMode::End);
            self.layout
                .set_width((room * self.em * f64::from(pango::SCALE)) as i32);
            width = room;
        }
        let x = match align {
            Align::Left => x,
            Align::Right => x - width,
            Align::Centre => x - width / 2.0,
        };
        // The middle of the capital letters is at `y`; that of the line box is lower.
        let baseline = f64::from(self.layout.baseline()) / f64::from(pango::SCALE) / self.em;
        self.cr.save()?;
        self.cr.move_to(x, y + 0.36 * size - baseline);
        self.cr.scale(1.0 / self.em, 1.0 / self.em);
        pangocairo::functions::show_layout(&self.cr, &self.layout);
        self.cr.restore()?;
        self.cr.new_path();
        Ok(())
    }

    pub(super) fn back(&self, width: f64, height: f64) -> Result<(), cairo::Error> {
        self.colour(BACK, BACK_ALPHA);
        self.fill_rect(0.0, 0.0, width, height, 0.55)
    }
}
