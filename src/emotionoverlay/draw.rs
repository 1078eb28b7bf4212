// SPDX-License-Identifier: MPL-2.0
//! Pictures of results: plain cairo and pango, no pads and no buffers.
//!
//! Everything is laid out in em, the font size in pixels, which follows the
//! frame: [`Canvas::em`].

use crate::meta::{EmotionMeta, PhysioTraceMeta};
use cairo::{Context, Format, ImageSurface};
use pango::{EllipsizeMode, FontDescription, Weight};
use std::f64::consts::{FRAC_PI_2, PI};

/// Font size in pixels at 480 lines, where `font-desc` names none.
const BASE_PX: f64 = 15.0;
const BASE_LINES: f64 = 480.0;
/// Below this nobody can read the text; small frames get a larger share covered instead.
const MIN_PX: f64 = 10.5;
/// Width of the panel and the space around its content, in em.
const PANEL_WIDTH: f64 = 16.0;
const PAD: f64 = 0.75;
/// From the edge of the frame, in em.
pub const MARGIN: f64 = 0.7;

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
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub data: Vec<u8>,
}

/// The frame that is drawn on.
#[derive(Debug, Clone, PartialEq)]
pub struct Canvas {
    pub width: u32,
    pub height: u32,
    /// Width of a pixel over its height.
    pub par: f64,
    /// Pango font description; its size counts for a frame of 480 lines.
    pub font: String,
}

impl Canvas {
    /// Width in square pixels.
    fn logical_width(&self) -> f64 {
        f64::from(self.width) * self.par
    }

    fn font(&self) -> FontDescription {
        FontDescription::from_string(&self.font)
    }

    /// Font size in (square) pixels: follows the frame, stays readable on small
    /// frames, and gives way where the panel would not fit the width.
    pub fn em(&self) -> f64 {
        let font = self.font();
        let base = match f64::from(font.size()) / f64::from(pango::SCALE) {
            0.0 => BASE_PX,
            px if font.is_size_absolute() => px,
            points => points * 96.0 / 72.0,
        };
        let (w, h) = (self.logical_width(), f64::from(self.height));
        let lines = h.min(w * 0.75);
        (base * lines / BASE_LINES)
            .max(MIN_PX)
            .min(w / (PANEL_WIDTH + 2.0 * MARGIN))
    }

    /// `width` and `height` in em, with `em` pixels to the em; `draw` works in em.
    fn picture(
        &self,
        em: f64,
        width: f64,
        height: f64,
        draw: impl FnOnce(&Pen) -> Result<(), cairo::Error>,
    ) -> Result<Picture, cairo::Error> {
        let w = (width * em / self.par).ceil().max(1.0) as i32;
        let h = (height * em).ceil().max(1.0) as i32;
        let mut surface = ImageSurface::create(Format::ARgb32, w, h)?;
        {
            let cr = Context::new(&surface)?;
            cr.scale(em / self.par, em);
            let layout = pangocairo::functions::create_layout(&cr);
            pangocairo::functions::context_set_resolution(&layout.context(), 96.0);
            // Whole-pixel advances would space small text unevenly.
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
            width: w as u32,
            height: h as u32,
            data,
        })
    }
}

/// Draws in em.
struct Pen {
    cr: Context,
    layout: pango::Layout,
    font: FontDescription,
    em: f64,
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
    Centre,
}

impl Pen {
    fn colour(&self, (r, g, b): Rgb, alpha: f64) {
        self.cr.set_source_rgba(r, g, b, alpha);
    }

    fn round_rect(&self, x: f64, y: f64, w: f64, h: f64, r: f64) {
        let r = r.min(w / 2.0).min(h / 2.0).max(0.0);
        self.cr.new_sub_path();
        self.cr.arc(x + w - r, y + r, r, -FRAC_PI_2, 0.0);
        self.cr.arc(x + w - r, y + h - r, r, 0.0, FRAC_PI_2);
        self.cr.arc(x + r, y + h - r, r, FRAC_PI_2, PI);
        self.cr.arc(x + r, y + r, r, PI, PI + FRAC_PI_2);
        self.cr.close_path();
    }

    fn fill_rect(&self, x: f64, y: f64, w: f64, h: f64, r: f64) -> Result<(), cairo::Error> {
        self.round_rect(x, y, w, h, r);
        self.cr.fill()
    }

    /// Sets `text` and returns its width in em.
    fn set_text(&self, text: &str, size: f64, bold: bool) -> f64 {
        // Layout at device size: scaled glyphs would be positioned and hinted wrongly.
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
    fn text(
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
        // Centre on the capitals, not on the line box, so that rows look level.
        let baseline = f64::from(self.layout.baseline()) / f64::from(pango::SCALE) / self.em;
        self.cr.save()?;
        self.cr.move_to(x, y + 0.36 * size - baseline);
        self.cr.scale(1.0 / self.em, 1.0 / self.em);
        pangocairo::functions::show_layout(&self.cr, &self.layout);
        self.cr.restore()?;
        self.cr.new_path();
        Ok(())
    }

    fn back(&self, width: f64, height: f64) -> Result<(), cairo::Error> {
        self.colour(BACK, BACK_ALPHA);
        self.fill_rect(0.0, 0.0, width, height, 0.55)
    }
}

/// Hundredths of `v`; `None` for what is not a number.
fn percent(v: f64) -> Option<u8> {
    v.is_finite()
        .then(|| (v.clamp(0.0, 1.0) * 100.0).round() as u8)
}

fn share(p: u8) -> f64 {
    f64::from(p) / 100.0
}

/// Rows that are asked for; the state of the result is always told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    pub label: bool,
    pub bars: bool,
    pub coverage: bool,
    pub model: bool,
}

/// What the panel says, in the precision in which it is drawn: equal content,
/// equal picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Panel {
    /// No result yet.
    Waiting,
    Result(Box<ResultPanel>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultPanel {
    /// Text and whether the confidence suffices to assert it.
    label: Option<(String, bool)>,
    confidence: Option<u8>,
    /// Valence, arousal.
    bars: Option<[Option<u8>; 2]>,
    /// Name, coverage, quality.
    coverage: Vec<(String, u8, u8)>,
    /// Filled share of the window while it is not full.
    warming_up: Option<u8>,
    /// Age in seconds when the result is too old.
    stale: Option<u64>,
    /// What it is ("untrained fixture") and its name.
    untrained: Option<(String, String)>,
    model: Option<String>,
}

/// Splits `name 0.1 (untrained fixture)` into what is in brackets and the rest;
/// `None` for a model that is not called untrained.
fn untrained(model: &str) -> Option<(String, String)> {
    if !model.to_lowercase().contains("untrained") {
        return None;
    }
    let bracketed = model
        .split_once('(')
        .and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)))
        .filter(|(_, what)| what.to_lowercase().contains("untrained"));
    Some(match bracketed {
        Some((name, what)) => (what.to_uppercase(), name.trim().to_string()),
        None => ("UNTRAINED MODEL".to_string(), model.to_string()),
    })
}

impl Panel {
    /// `min_confidence`: below it the label is not asserted; one that is unknown is shown
    /// as the metadata has it, as not asserted. `max_age` in ns.
    pub fn result(meta: &EmotionMeta, rows: Rows, min_confidence: f64, max_age: u64) -> Self {
        let sure = meta.confidence >= min_confidence;
        let untrained = untrained(&meta.model);
        let age = meta.age.nseconds();
        // The fullest modality tells how far the window is: a gap in one is not warm-up.
        let fill = meta
            .modalities
            .iter()
            .filter_map(|m| percent(m.coverage))
            .max()
            .unwrap_or(0);
        Panel::Result(Box::new(ResultPanel {
            label: rows.label.then(|| {
                if sure || !meta.is_known() {
                    (meta.label.clone(), meta.is_known())
                } else {
                    ("uncertain".to_string(), false)
                }
            }),
            confidence: rows.label.then(|| percent(meta.confidence)).flatten(),
            bars: rows
                .bars
                .then(|| [percent(meta.valence), percent(meta.arousal)]),
            coverage: if rows.coverage {
                meta.modalities
                    .iter()
                    .map(|m| {
                        (
                            m.name.clone(),
                            percent(m.coverage).unwrap_or(0),
                            percent(m.quality).unwrap_or(0),
                        )
                    })
                    .collect()
            } else {
                Vec::new()
            },
            warming_up: meta.warming_up.then_some(fill),
            stale: (meta.stale || age > max_age).then(|| age / gst::ClockTime::SECOND.nseconds()),
            model: (rows.model && untrained.is_none()).then(|| meta.model.clone()),
            untrained,
        }))
    }

    /// Draws the panel; `None` where nothing is to be shown.
    ///
    /// # Errors
    /// cairo's, in practice only when memory runs out.
    pub fn draw(&self, canvas: &Canvas) -> Result<Option<Picture>, cairo::Error> {
        let mut em = canvas.em();
        match self {
            Panel::Waiting => {
                let text = "waiting for the model";
                let (w, h) = (11.6, 1.7);
                canvas
                    .picture(em, w, h, |pen| {
                        pen.colour(BACK, 0.68);
                        pen.fill_rect(0.0, 0.0, w, h, h / 2.0)?;
                        pen.colour(INK, 0.85);
                        pen.text(text, w / 2.0, h / 2.0, w - 1.0, 0.9, false, Align::Centre)
                    })
                    .map(Some)
            }
            Panel::Result(r) => {
                let height = r.layout(None)?;
                if height == 0.0 {
                    return Ok(None);
                }
                // A very flat frame: smaller text rather than rows outside the picture.
                em = em.min(f64::from(canvas.height) / (height + 2.0 * MARGIN));
                canvas
                    .picture(em, PANEL_WIDTH, height, |pen| r.layout(Some(pen)).map(drop))
                    .map(Some)
            }
        }
    }
}

impl ResultPanel {
    /// Walks the rows, draws them where there is a pen, and returns the height.
    fn layout(&self, pen: Option<&Pen>) -> Result<f64, cairo::Error> {
        if let Some(pen) = pen {
            let height = self.layout(None)?;
            pen.back(PANEL_WIDTH, height)?;
        }
        let stale = self.stale.is_some();
        let ink = if stale { DIM } else { INK };
        let (left, right) = (PAD, PANEL_WIDTH - PAD);
        let inner = right - left;
        let mut y = 0.0;

        if let Some((what, model)) = &self.untrained {
            const BAND: f64 = 2.75;
            if let Some(pen) = pen {
                pen.cr.save()?;
                pen.round_rect(0.0, 0.0, PANEL_WIDTH, BAND + 1.0, 0.55);
                pen.cr.clip();
                pen.colour(WARN, 0.95);
                pen.fill_rect(0.0, 0.0, PANEL_WIDTH, BAND, 0.0)?;
                pen.cr.restore()?;
                pen.colour(BACK, 1.0);
                let (title, name) = (BAND * 0.34, BAND * 0.74);
                pen.text(what, left, title, inner, 1.0, true, Align::Left)?;
                pen.text(model, left, name, inner, 0.8, false, Align::Left)?;
            }
            y += BAND;
        }
        let top = y;
        y += 0.6;

        if let Some((label, sure)) = &self.label {
            if let Some(pen) = pen {
                let mid = y + 0.95;
                let right_text = self.confidence.map(|c| format!("{c} %"));
                let mut room = inner;
                if let Some(text) = &right_text {
                    pen.colour(ink, 1.0);
                    pen.text(text, right, mid - 0.35, inner, 1.05, true, Align::Right)?;
                    pen.colour(DIM, 1.0);
                    pen.text(
                        "confidence",
                        right,
                        mid + 0.68,
                        inner,
                        0.8,
                        false,
                        Align::Right,
                    )?;
                    room = inner - 5.2;
                }
                pen.colour(if *sure { ink } else { DIM }, 1.0);
                // A long label shrinks before it loses its end.
                let full = pen.set_text(label, 1.0, true).max(0.1);
                let size = (room / full).clamp(1.0, 1.65);
                pen.text(label, left, mid, room, size, *sure, Align::Left)?;
            }
            y += 2.25;
        }

        if let Some([valence, arousal]) = self.bars {
            let rows = [
                ("valence", valence, BAD, GOOD),
                ("arousal", arousal, LOW, HIGH),
            ];
            for (name, value, low, high) in rows {
                if let Some(pen) = pen {
                    let mid = y + 0.7;
                    pen.colour(ink, 1.0);
                    pen.text(name, left, mid, 4.4, 0.95, false, Align::Left)?;
                    let (x, w, h) = (left + 4.5, inner - 4.5 - 3.0, 0.62);
                    pen.colour(TRACK, 1.0);
                    pen.fill_rect(x, mid - h / 2.0, w, h, 0.2)?;
                    if let Some(value) = value {
                        // From the middle: half is no evidence either way.
                        let v = share(value);
                        let colour = match (stale, v >= 0.5) {
                            (true, _) => DIM,
                            (false, true) => high,
                            (false, false) => low,
                        };
                        pen.cr.save()?;
                        pen.round_rect(x, mid - h / 2.0, w, h, 0.2);
                        pen.cr.clip();
                        pen.colour(colour, 1.0);
                        pen.fill_rect(
                            x + w * v.min(0.5),
                            mid - h / 2.0,
                            w * (v - 0.5).abs(),
                            h,
                            0.0,
                        )?;
                        pen.cr.restore()?;
                    }
                    pen.colour(INK, 0.9);
                    pen.fill_rect(x + w / 2.0 - 0.05, mid - h / 2.0 - 0.12, 0.1, h + 0.24, 0.0)?;
                    pen.colour(ink, 1.0);
                    let number = match value {
                        Some(value) => format!("{:.2}", share(value)),
                        None => "n/a".to_string(),
                    };
                    pen.text(&number, right, mid, 2.5, 0.95, true, Align::Right)?;
                }
                y += 1.4;
            }
            y += 0.1;
        }

        if !self.coverage.is_empty() {
            if y > top + 0.6 {
                if let Some(pen) = pen {
                    pen.colour(INK, 0.16);
                    pen.fill_rect(left, y + 0.22, inner, 0.07, 0.0)?;
                }
                y += 0.5;
            }
            if let Some(pen) = pen {
                pen.colour(DIM, 1.0);
                pen.text(
                    "window covered by",
                    left,
                    y + 0.45,
                    inner,
                    0.8,
                    false,
                    Align::Left,
                )?;
            }
            y += 1.05;
            let column = (inner - 0.9) / 2.0;
            for pair in self.coverage.chunks(2) {
                for (i, (name, coverage, quality)) in pair.iter().enumerate() {
                    let Some(pen) = pen else { continue };
                    let x = left + i as f64 * (column + 0.9);
                    let mid = y + 0.55;
                    pen.colour(if *coverage == 0 { DIM } else { ink }, 1.0);
                    pen.text(name, x, mid, 2.9, 0.9, false, Align::Left)?;
                    let (x, w, h) = (x + 3.0, column - 3.0, 0.5);
                    pen.colour(TRACK, 1.0);
                    pen.fill_rect(x, mid - h / 2.0, w, h, 0.2)?;
                    pen.cr.save()?;
                    pen.round_rect(x, mid - h / 2.0, w, h, 0.2);
                    pen.cr.clip();
                    // Pale: received; full colour: also of good quality.
                    let colour = if stale { DIM } else { modality_colour(name) };
                    pen.colour(colour, 0.4);
                    pen.fill_rect(x, mid - h / 2.0, w * share(*coverage), h, 0.0)?;
                    pen.colour(colour, 1.0);
                    let good = w * share(*coverage) * share(*quality);
                    pen.fill_rect(x, mid - h / 2.0, good, h, 0.0)?;
                    pen.cr.restore()?;
                }
                y += 1.2;
            }
            y += 0.1;
        }

        if let Some(fill) = self.warming_up {
            if let Some(pen) = pen {
                pen.colour(INFO, 1.0);
                let (mid, full) = (y + 0.55, format!("window {fill} % full"));
                pen.text("warming up", left, mid, inner, 0.9, true, Align::Left)?;
                pen.text(&full, right, mid, inner - 6.0, 0.85, false, Align::Right)?;
                let (mid, h) = (y + 1.4, 0.3);
                pen.colour(TRACK, 1.0);
                pen.fill_rect(left, mid - h / 2.0, inner, h, 0.15)?;
                pen.colour(INFO, 1.0);
                pen.fill_rect(left, mid - h / 2.0, inner * share(fill), h, 0.15)?;
            }
            y += 1.85;
        }

        if let Some(age) = self.stale {
            if let Some(pen) = pen {
                pen.colour(WARN, 1.0);
                pen.fill_rect(left, y + 0.2, 0.28, 0.7, 0.1)?;
                pen.text(
                    &format!("stale: {age} s old"),
                    left + 0.65,
                    y + 0.55,
                    inner - 0.65,
                    0.9,
                    true,
                    Align::Left,
                )?;
            }
            y += 1.2;
        }

        if let Some(model) = &self.model {
            if let Some(pen) = pen {
                pen.colour(DIM, 1.0);
                pen.text(model, left, y + 0.5, inner, 0.8, false, Align::Left)?;
            }
            y += 1.05;
        }

        let empty = y == top + 0.6;
        Ok(if empty { top } else { y + 0.45 })
    }
}

/// Draws the traces as a strip of the width of the frame; `None` without traces.
///
/// # Errors
/// cairo's, in practice only when memory runs out.
pub fn draw_traces(
    canvas: &Canvas,
    meta: &PhysioTraceMeta,
) -> Result<Option<Picture>, cairo::Error> {
    const ROW: f64 = 2.7;
    const NAME: f64 = 3.1;
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
        for (i, trace) in meta.traces.iter().enumerate() {
            let colour = modality_colour(&trace.name);
            let mid = 0.3 + (i as f64 + 0.5) * ROW;
            pen.colour(colour, 1.0);
            pen.text(&trace.name, PAD, mid, NAME - 0.3, 0.95, true, Align::Left)?;
            pen.colour(INK, 0.14);
            pen.fill_rect(x0, mid - 0.03, x1 - x0, 0.06, 0.0)?;

            let finite = || trace.values().map(f64::from).filter(|v| v.is_finite());
            let (low, high) = finite().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
            if low > high {
                pen.colour(DIM, 1.0);
                pen.text(
                    "no signal",
                    (x0 + x1) / 2.0,
                    mid,
                    x1 - x0,
                    0.9,
                    false,
                    Align::Centre,
                )?;
                continue;
            }
            // Never magnify the noise of a flat signal: one normalised unit fills half the row.
            let (centre, half) = ((low + high) / 2.0, ((high - low) / 2.0).max(1.0));
            let ypos = |v: f64| mid - (v - centre) / half * (ROW * 0.42);
            let late = (latest - trace.end).nseconds() as f64 / 1e9;
            let xpos = |k: usize| {
                let before_end = late + (trace.len() - 1 - k) as f64 / trace.rate;
                x1 - (before_end / span).clamp(0.0, 1.0) * (x1 - x0)
            };
            pen.cr.set_line_width(0.13);
            pen.cr.set_line_join(cairo::LineJoin::Round);
            pen.colour(colour, 1.0);
            // No more than a few points per pixel column: fast streams cost no more than slow ones.
            let columns = ((x1 - x0) * em).max(1.0);
            let samples: Vec<f32> = trace.values().collect();
            let step = (samples.len() as f64 / columns / 2.0).ceil().max(1.0) as usize;
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
            pen.cr.stroke()?;
        }
        Ok(())
    })?;
    Ok(Some(picture))
}

/// The corners of a face outline, clockwise from the top left.
pub const CORNERS: usize = 4;

/// Length of a corner's arms in pixels for a face of `width` × `height` pixels.
pub fn corner_arm(canvas: &Canvas, width: u32, height: u32) -> u32 {
    let arm = (canvas.em() * 1.5).round() as u32;
    arm.min(width / 3).min(height / 3).max(2)
}

/// Draws one corner of a face outline, `arm` × `arm` pixels.
///
/// # Errors
/// cairo's, in practice only when memory runs out.
pub fn draw_corner(canvas: &Canvas, corner: usize, arm: u32) -> Result<Picture, cairo::Error> {
    let size = f64::from(arm);
    // Square in pixels, whatever their aspect ratio: arms must meet the box.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrained_models_are_told_apart() {
        let split = |m| untrained(m).map(|(a, b)| format!("{a}|{b}"));
        assert_eq!(split("mvp-default 1.0"), None);
        assert_eq!(
            split("mvp-fixture 0.1.0 (untrained fixture)").as_deref(),
            Some("UNTRAINED FIXTURE|mvp-fixture 0.1.0")
        );
        assert_eq!(
            split("Untrained thing").as_deref(),
            Some("UNTRAINED MODEL|Untrained thing")
        );
        assert_eq!(
            split("untrained (small)").as_deref(),
            Some("UNTRAINED MODEL|untrained (small)")
        );
    }

    #[test]
    fn text_stays_readable_and_fits() {
        let em = |width, height, font: &str| {
            Canvas {
                width,
                height,
                par: 1.0,
                font: font.into(),
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
