// SPDX-License-Identifier: MPL-2.0
//! The strip with the waveforms of the sensors, their marks and their numbers.

use super::body::{Body, Numbers};
use super::pen::{Align, Pen};
use super::{Canvas, DIM, INK, MARGIN, PAD, Picture, modality_colour};
use crate::meta::{PhysioTrace, PhysioTraceMeta};

/// Height of a row and of the line below the rows, in em.
const ROW: f64 = 3.3;
const FOOT: f64 = 1.1;
/// Room for the name of a trace, and for its numbers.
const NAME: f64 = 3.7;
const NUMBERS: f64 = 6.6;
/// Share of a row, above and below its middle, that a waveform fills.
const SWING: f64 = 0.37;
/// Highest share of the frame that the strip takes, so that the panel and a face still fit.
const SHARE: f64 = 0.45;

/// The waveforms of a frame, and what the sensors tell.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Traces {
    pub(in super::super) meta: PhysioTraceMeta,
    pub(in super::super) body: Body,
}

impl Traces {
    /// Width and height in em, and pixels to the em; `None` without traces, or without room.
    fn layout(&self, canvas: &Canvas) -> Option<(f64, f64, f64)> {
        if self.meta.traces.is_empty() {
            return None;
        }
        let height = self.meta.traces.len() as f64 * ROW + FOOT;
        let share = f64::from(canvas.height) * SHARE * canvas.size;
        let em = canvas.em().min(share / height);
        let width = canvas.logical_width() / em - 2.0 * MARGIN;
        (width > NAME + NUMBERS + 2.0 * PAD + 1.0).then_some((width, height, em))
    }

    /// Width and height of the picture.
    pub(super) fn pixels(&self, canvas: &Canvas) -> Option<(u32, u32)> {
        let (width, height, em) = self.layout(canvas)?;
        Some(canvas.pixels(em, width, height))
    }

    /// Draws the traces as a strip of the width of the frame; `None` without traces.
    ///
    /// # Errors
    /// cairo's, in practice only when memory runs out.
    pub(in super::super) fn draw(&self, canvas: &Canvas) -> Result<Option<Picture>, cairo::Error> {
        let Some((width, height, em)) = self.layout(canvas) else {
            return Ok(None);
        };
        let traces = &self.meta.traces;
        let names: Vec<&str> = traces.iter().map(|t| t.name.as_str()).collect();
        let picture = canvas.picture(em, width, height, |pen| {
            pen.back(width, height)?;
            let (left, right) = (PAD + NAME, width - PAD - NUMBERS);
            // All rows share one time axis, the longest trace and the latest end.
            let spans = traces.iter().map(|t| t.len() as f64 / t.rate);
            let axis = Axis {
                left,
                right,
                span: spans.fold(0.0, f64::max),
                latest: traces.iter().map(|t| t.end).max().unwrap_or_default(),
                columns: ((right - left) * em).max(1.0),
            };
            for (i, trace) in traces.iter().enumerate() {
                let mid = 0.3 + (i as f64 + 0.5) * ROW;
                let numbers = self.body.numbers(&trace.name, &names);
                let poor = numbers.as_ref().is_some_and(|n| n.poor);
                draw_trace(pen, &axis, mid, trace, poor)?;
                if let Some(numbers) = numbers {
                    draw_numbers(pen, right + 0.6, width - PAD, mid, &numbers)?;
                }
            }
            draw_foot(pen, &axis, height - 0.65, traces)
        })?;
        Ok(Some(picture))
    }
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

impl Axis {
    /// Where a time, seconds before the latest end, is.
    fn x(&self, before_end: f64) -> f64 {
        let share = (before_end / self.span.max(1e-9)).clamp(0.0, 1.0);
        self.right - share * (self.right - self.left)
    }
}

fn draw_foot(pen: &Pen, axis: &Axis, mid: f64, traces: &[PhysioTrace]) -> Result<(), cairo::Error> {
    pen.colour(DIM, 1.0);
    let seconds = format!("last {} s", (axis.span * 10.0).round() / 10.0);
    let room = axis.right - axis.left;
    pen.text(&seconds, axis.right, mid, room, 0.75, false, Align::Right)?;
    let marked = |names: &[&str]| {
        let of = |t: &&PhysioTrace| names.contains(&t.name.as_str());
        traces.iter().filter(of).any(|t| !t.marks.is_empty())
    };
    let legend = match (marked(&["ecg", "ppg"]), marked(&["eda"])) {
        (true, true) => "heartbeat, skin response",
        (true, false) => "heartbeat",
        (false, true) => "skin response",
        (false, false) => return Ok(()),
    };
    mark(pen, axis.left + 0.3, mid - 0.25)?;
    pen.colour(DIM, 1.0);
    let (x, room) = (axis.left + 0.75, room - 6.0);
    pen.text(legend, x, mid, room, 0.75, false, Align::Left)
}

/// A triangle whose tip is below `y`.
fn mark(pen: &Pen, x: f64, y: f64) -> Result<(), cairo::Error> {
    pen.colour(INK, 0.95);
    pen.cr.move_to(x - 0.26, y);
    pen.cr.line_to(x + 0.26, y);
    pen.cr.line_to(x, y + 0.4);
    pen.cr.close_path();
    pen.cr.fill()
}

/// The numbers of a row, from `x` to `right`.
fn draw_numbers(
    pen: &Pen,
    x: f64,
    right: f64,
    mid: f64,
    numbers: &Numbers,
) -> Result<(), cairo::Error> {
    let room = right - x;
    let (value, unit) = &numbers.value;
    let (top, size) = match numbers.second {
        Some(_) => (mid - 0.95, 1.15),
        None => (mid - 0.5, 1.5),
    };
    if !value.is_empty() {
        pen.colour(numbers.ink(), 1.0);
        let width = pen.set_text(value, size, true);
        pen.text(value, x, top, room, size, true, Align::Left)?;
        pen.colour(DIM, 1.0);
        let after = x + width + 0.35;
        let below = top + (size - 0.8) * 0.36;
        pen.text(unit, after, below, right - after, 0.8, false, Align::Left)?;
    }
    if let Some(second) = &numbers.second {
        pen.colour(DIM, 1.0);
        pen.text(second, x, mid + 0.05, room, 0.75, false, Align::Left)?;
    }
    if let Some((quality, ink)) = &numbers.quality {
        pen.colour(*ink, 1.0);
        let y = if value.is_empty() { mid } else { mid + 0.9 };
        pen.text(quality, x, y, room, 0.8, numbers.poor, Align::Left)?;
    }
    Ok(())
}

/// What is drawn of the values: middle and half height. One spike does not flatten the rest.
fn range(trace: &PhysioTrace) -> Option<(f64, f64)> {
    let finite = trace.values().filter(|v| v.is_finite());
    let mut sorted: Vec<f32> = finite.collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |share: f64| f64::from(sorted[((sorted.len() - 1) as f64 * share) as usize]);
    let (low, high) = (at(0.01), at(0.99));
    let beyond = high - low;
    let (low, high) = (at(0.0).max(low - beyond), at(1.0).min(high + beyond));
    // The noise of a flat signal is not magnified, where the unit tells what noise is.
    let least = match (trace.name.as_str(), trace.unit.as_str()) {
        ("eda", _) => 0.1,
        ("ecg", "mV") => 0.2,
        _ => 0.0,
    };
    let half = ((high - low) / 2.0).max(least);
    Some(((low + high) / 2.0, if half > 0.0 { half } else { 1.0 }))
}

/// The largest 1, 2 or 5 times a power of ten up to `limit`.
fn round_down(limit: f64) -> f64 {
    let power = 10f64.powf(limit.log10().floor());
    let steps = [5.0, 2.0, 1.0];
    let step = steps.into_iter().find(|s| s * power <= limit * 1.0001);
    step.unwrap_or(1.0) * power
}

/// Draws one row, whose middle is at `mid`.
fn draw_trace(
    pen: &Pen,
    axis: &Axis,
    mid: f64,
    trace: &PhysioTrace,
    poor: bool,
) -> Result<(), cairo::Error> {
    let (x0, x1) = (axis.left, axis.right);
    let colour = modality_colour(&trace.name);
    pen.colour(colour, 1.0);
    let name = trace.name.to_uppercase();
    pen.text(&name, PAD, mid - 0.5, NAME - 0.5, 0.95, true, Align::Left)?;

    let Some((centre, half)) = range(trace) else {
        pen.colour(DIM, 1.0);
        let (text, x) = ("no signal", (x0 + x1) / 2.0);
        return pen.text(text, x, mid, x1 - x0, 0.9, false, Align::Centre);
    };
    let swing = ROW * SWING;
    let middle = mid + 0.12;
    let y = |v: f64| middle - ((v - centre) / half).clamp(-1.1, 1.1) * swing;

    // A bar of a round height says how large the waveform is.
    let unit = match (trace.unit.as_str(), trace.name.as_str()) {
        ("", "eda") => "µS?",
        (unit, _) => unit,
    };
    pen.colour(DIM, 1.0);
    if unit.is_empty() {
        let text = "no unit";
        pen.text(text, PAD, mid + 0.55, NAME - 0.5, 0.7, false, Align::Left)?;
    } else {
        let bar = round_down(half * 1.4);
        let height = bar / half * swing;
        let text = format!("{bar} {unit}");
        pen.text(&text, PAD, mid + 0.55, NAME - 0.7, 0.7, false, Align::Left)?;
        let (x, top) = (x0 - 0.45, middle - height / 2.0);
        pen.fill_rect(x, top, 0.1, height, 0.0)?;
        for end in [top, top + height - 0.1] {
            pen.fill_rect(x - 0.12, end, 0.34, 0.1, 0.0)?;
        }
    }

    let late = (axis.latest - trace.end).nseconds() as f64 / 1e9;
    let x = |k: usize| axis.x(late + (trace.len() - 1 - k) as f64 / trace.rate);
    pen.cr.set_line_width(0.13);
    pen.cr.set_line_join(cairo::LineJoin::Round);
    pen.colour(colour, if poor { 0.55 } else { 1.0 });
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
            let (x, y) = (x(block * step + k), y(f64::from(*v)));
            if drawing {
                pen.cr.line_to(x, y);
            } else {
                pen.cr.move_to(x, y);
                drawing = true;
            }
        }
    }
    pen.cr.stroke()?;

    // A poor signal has no beats that are worth a mark.
    let marks = trace.marks.iter().filter(|_| !poor);
    for time in marks {
        let before = axis.latest.nseconds().saturating_sub(*time) as f64 / 1e9;
        if before <= axis.span && *time <= axis.latest.nseconds() {
            mark(pen, axis.x(before), mid - ROW * 0.47)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_round_heights() {
        for (limit, want) in [
            (1.0, 1.0),
            (0.99, 0.5),
            (0.3, 0.2),
            (73.0, 50.0),
            (0.05, 0.05),
        ] {
            assert!((round_down(limit) - want).abs() < 1e-9, "{limit}");
        }
    }

    #[test]
    fn a_spike_does_not_flatten_the_waveform() {
        let trace = |spike: f32| {
            let wave = (0..1280).map(|i| match i {
                640 => spike,
                i => (i as f32 * 0.05).sin(),
            });
            let trace = PhysioTrace::new("ecg", 128.0, gst::ClockTime::ZERO, wave);
            range(&trace.with_unit("mV")).expect("values").1
        };
        assert!(trace(0.0) > 0.9 && trace(1000.0) < 2.1, "{}", trace(1000.0));
    }

    #[test]
    fn noise_is_not_magnified_where_the_unit_tells() {
        let of = |name: &str, unit: &str, size: f32| {
            let wave = (0..100).map(|i| size * (i % 2) as f32);
            let trace = PhysioTrace::new(name, 16.0, gst::ClockTime::ZERO, wave);
            range(&trace.with_unit(unit)).expect("values").1
        };
        assert_eq!(of("eda", "µS", 0.001), 0.1);
        assert_eq!(of("ecg", "mV", 0.01), 0.2);
        assert!(of("ppg", "", 0.01) < 0.01);
        assert_eq!(of("ppg", "", 0.0), 1.0);
    }
}
