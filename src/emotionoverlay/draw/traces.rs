// SPDX-License-Identifier: MPL-2.0
use super::pen::{Align, Pen};
use super::{Canvas, DIM, INK, MARGIN, PAD, Picture, modality_colour};
use crate::meta::{PhysioTrace, PhysioTraceMeta};

const ROW: f64 = 2.7;
/// Room for the name of a trace.
const NAME: f64 = 3.1;

/// Draws the traces as a strip of the width of the frame; `None` without traces.
///
/// # Errors
/// cairo's, in practice only when memory runs out.
pub(in super::super) fn draw_traces(
    canvas: &Canvas,
    meta: &PhysioTraceMeta,
) -> Result<Option<Picture>, cairo::Error> {
    if meta.traces.is_empty() {
        return Ok(None);
    }
    let rows = meta.traces.len() as f64;
    let height = rows * ROW + 1.1;
    // At most 45 % of the height, so that the panel and a face still fit.
    let em = canvas.em().min(f64::from(canvas.height) * 0.45 / height);
    let width = canvas.logical_width() / em - 2.0 * MARGIN;
    if width <= NAME + 2.0 * PAD + 1.0 {
        return Ok(None);
    }
    let picture = canvas.picture(em, width, height, |pen| {
        pen.back(width, height)?;
        let (x0, x1) = (PAD + NAME, width - PAD);
        // All rows share one time axis, the longest trace and the latest end.
        let latest = meta.traces.iter().map(|t| t.end).max().unwrap_or_default();
        let span = meta
            .traces
            .iter()
            .map(|t| t.len() as f64 / t.rate)
            .fold(0.0, f64::max);
        pen.colour(DIM, 1.0);
        let seconds = format!("last {} s", (span * 10.0).round() / 10.0);
        pen.text(
            &seconds,
            x1,
            height - 0.65,
            x1 - x0,
            0.75,
            false,
            Align::Right,
        )?;
        let axis = Axis {
            left: x0,
            right: x1,
            span,
            latest,
            columns: ((x1 - x0) * em).max(1.0),
        };
        for (i, trace) in meta.traces.iter().enumerate() {
            draw_trace(pen, &axis, 0.3 + (i as f64 + 0.5) * ROW, trace)?;
        }
        Ok(())
    })?;
    Ok(Some(picture))
}

/// The time axis that all rows share.
struct Axis {
    left: f64,
    right: f64,
    /// Seconds from left to right.
    span: f64,
    latest: gst::ClockTime,
    /// Pixel columns.
    columns: f64,
}

/// Draws one row, whose middle is at `mid`.
fn draw_trace(pen: &Pen, axis: &Axis, mid: f64, trace: &PhysioTrace) -> Result<(), cairo::Error> {
    let (x0, x1) = (axis.left, axis.right);
    let colour = modality_colour(&trace.name);
    pen.colour(colour, 1.0);
    pen.text(&trace.name, PAD, mid, NAME - 0.3, 0.95, true, Align::Left)?;
    pen.colour(INK, 0.14);
    pen.fill_rect(x0, mid - 0.03, x1 - x0, 0.06, 0.0)?;

    let finite = trace.values().map(f64::from).filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        pen.colour(DIM, 1.0);
        let (text, x) = ("no signal", (x0 + x1) / 2.0);
        return pen.text(text, x, mid, x1 - x0, 0.9, false, Align::Centre);
    }
    // Never magnify the noise of a flat signal: one normalised unit fills half the row.
    let (centre, half) = ((low + high) / 2.0, ((high - low) / 2.0).max(1.0));
    let ypos = |v: f64| mid - (v - centre) / half * (ROW * 0.42);
    let late = (axis.latest - trace.end).nseconds() as f64 / 1e9;
    let xpos = |k: usize| {
        let before_end = late + (trace.len() - 1 - k) as f64 / trace.rate;
        x1 - (before_end / axis.span).clamp(0.0, 1.0) * (x1 - x0)
    };
    pen.cr.set_line_width(0.13);
    pen.cr.set_line_join(cairo::LineJoin::Round);
    pen.colour(colour, 1.0);
    // No more than a few points per pixel column: fast streams cost no more than slow ones.
    let samples: Vec<f32> = trace.values().collect();
    let step = (samples.len() as f64 / axis.columns / 2.0).ceil().max(1.0) as usize;
    let mut drawing = false;
    for (block, values) in samples.chunks(step).enumerate() {
        let finite = values.iter().enumerate().filter(|(_, v)| v.is_finite());
        let low = finite.clone().min_by(|a, b| a.1.total_cmp(b.1));
        let high = finite.max_by(|a, b| a.1.total_cmp(b.1));
        let (Some(low), Some(high)) = (low, high) else {
            drawing = false;
            continue;
        };
        let (first, second) = if low.0 <= high.0 {
            (low, high)
        } else {
            (high, low)
        };
        for (k, v) in [first, second] {
            let (x, y) = (xpos(block * step + k), ypos(f64::from(*v)));
            if drawing {
                pen.cr.line_to(x, y);
            } else {
                pen.cr.move_to(x, y);
                drawing = true;
            }
        }
    }
    pen.cr.stroke()
}
