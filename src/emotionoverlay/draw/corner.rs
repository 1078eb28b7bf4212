// SPDX-License-Identifier: MPL-2.0
use super::{Canvas, INK, Picture};
use std::f64::consts::FRAC_PI_2;

/// The corners of a face outline, clockwise from the top left.
pub(in super::super) const CORNERS: usize = 4;

/// Length of a corner's arms in pixels for a face of `width` × `height` pixels.
pub(in super::super) fn corner_arm(canvas: &Canvas, width: u32, height: u32) -> u32 {
    let arm = (canvas.em() * 1.5).round() as u32;
    arm.min(width / 3).min(height / 3).max(2)
}

/// Draws one corner of a face outline, `arm` × `arm` pixels.
///
/// # Errors
/// cairo's, in practice only when memory runs out.
pub(in super::super) fn draw_corner(
    canvas: &Canvas,
    corner: usize,
    arm: u32,
) -> Result<Picture, cairo::Error> {
    let size = f64::from(arm);
    // The box of the face is in pixels, so the arms are too, whatever the pixels' aspect ratio.
    let square = Canvas {
        par: 1.0,
        ..canvas.clone()
    };
    square.picture(1.0, size, size, |pen| {
        let cr = &pen.cr;
        cr.translate(size / 2.0, size / 2.0);
        cr.rotate(corner as f64 * FRAC_PI_2);
        cr.translate(-size / 2.0, -size / 2.0);
        let line = (canvas.em() * 0.16).max(1.5);
        let inset = line * 0.5 + 1.0;
        cr.set_line_cap(cairo::LineCap::Round);
        cr.set_line_join(cairo::LineJoin::Round);
        for (extra, colour, alpha) in [(1.6, (0.0, 0.0, 0.0), 0.45), (0.0, INK, 0.95)] {
            cr.move_to(inset, size - inset);
            cr.line_to(inset, inset);
            cr.line_to(size - inset, inset);
            cr.set_line_width(line + extra);
            pen.colour(colour, alpha);
            cr.stroke()?;
        }
        Ok(())
    })
}
