// SPDX-License-Identifier: MPL-2.0
//! The panel of a result: what it says, where its rows stand, and how they are drawn.

use super::pen::{Align, Pen};
use super::{
    BACK, BAD, Canvas, DIM, GOOD, HIGH, INFO, INK, LOW, MARGIN, PAD, PANEL_WIDTH, Picture, Rgb,
    TRACK, WARN, modality_colour,
};
use crate::meta::EmotionMeta;

/// Hundredths of `v`; `None` for what is not a number.
fn percent(v: f64) -> Option<u8> {
    v.is_finite()
        .then(|| (v.clamp(0.0, 1.0) * 100.0).round() as u8)
}

fn share(p: u8) -> f64 {
    f64::from(p) / 100.0
}

/// Rows that are asked for. The state of the result is shown in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Rows {
    pub(in super::super) label: bool,
    pub(in super::super) bars: bool,
    pub(in super::super) coverage: bool,
    pub(in super::super) model: bool,
}

/// What the panel says, rounded as it is drawn: equal content gives an equal picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Panel {
    /// No result yet.
    Waiting,
    Result(Vec<Row>),
}

/// One modality of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Coverage {
    name: String,
    coverage: u8,
    quality: u8,
}

/// A part of the panel, as wide as the panel.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// The model is not trained; its name.
    Untrained(String),
    Label {
        text: String,
        /// Whether the confidence is high enough for the label.
        sure: bool,
        confidence: Option<u8>,
    },
    Bar(Axis, Option<u8>),
    Line,
    Heading,
    Coverage(Vec<Coverage>),
    /// Filled share of the window while it is not full.
    WarmingUp(u8),
    /// Age in seconds when the result is too old.
    Stale(u64),
    Model(String),
    Space,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Valence,
    Arousal,
}

impl Axis {
    /// Name, colour below one half, colour above.
    fn look(self) -> (&'static str, Rgb, Rgb) {
        match self {
            Self::Valence => ("valence", BAD, GOOD),
            Self::Arousal => ("arousal", LOW, HIGH),
        }
    }
}

/// A part, and whether the result is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Row {
    part: Part,
    stale: bool,
}

/// Width and height, in em, of the note while there is no result.
const WAITING: (f64, f64) = (11.6, 1.7);
const BAND: f64 = 2.75;
const TOP: f64 = 0.6;
const BOTTOM: f64 = 0.45;
const LEFT: f64 = PAD;
const RIGHT: f64 = PANEL_WIDTH - PAD;
const INNER: f64 = RIGHT - LEFT;

impl Part {
    /// Height in em.
    fn height(&self) -> f64 {
        match self {
            Self::Untrained(_) => BAND,
            Self::Label { .. } => 2.25,
            Self::Bar(..) => 1.4,
            Self::Line => 0.5,
            Self::Heading | Self::Model(_) => 1.05,
            Self::Coverage(_) | Self::Stale(_) => 1.2,
            Self::WarmingUp(_) => 1.85,
            Self::Space => 0.1,
        }
    }
}

/// Where every row begins, and the height of the whole, in em.
fn layout(rows: &[Row]) -> (Vec<f64>, f64) {
    let mut y = 0.0;
    let mut within = false;
    let tops = rows.iter().map(|row| {
        // The band reaches to the edges; the other rows have a distance to them.
        if !matches!(row.part, Part::Untrained(_)) && !std::mem::replace(&mut within, true) {
            y += TOP;
        }
        let top = y;
        y += row.part.height();
        top
    });
    let tops = tops.collect();
    (tops, if within { y + BOTTOM } else { y })
}

impl Panel {
    /// `min_confidence`: below it `uncertain` stands in place of the label. A label that means
    /// "unknown" is shown, in grey. `max_age` in ns.
    pub(in super::super) fn result(
        meta: &EmotionMeta,
        rows: Rows,
        min_confidence: f64,
        max_age: u64,
    ) -> Self {
        let mut parts = Vec::new();
        if !meta.trained {
            parts.push(Part::Untrained(meta.model.clone()));
        }
        if rows.label {
            let known = meta.is_known();
            let doubted = known && meta.confidence < min_confidence;
            parts.push(Part::Label {
                text: match doubted {
                    true => "uncertain".to_string(),
                    false => meta.label.clone(),
                },
                sure: known && !doubted,
                confidence: percent(meta.confidence),
            });
        }
        if rows.bars {
            // Of an axis that was not seen the network gives what is usual, which is no answer.
            let seen = |value: f64, known: f64| percent(value).filter(|_| known > 0.0);
            let valence = seen(meta.valence, meta.valence_known);
            let arousal = seen(meta.arousal, meta.arousal_known);
            parts.push(Part::Bar(Axis::Valence, valence));
            parts.push(Part::Bar(Axis::Arousal, arousal));
            parts.push(Part::Space);
        }
        if rows.coverage && !meta.modalities.is_empty() {
            if rows.label || rows.bars {
                parts.push(Part::Line);
            }
            parts.push(Part::Heading);
            let modality = |m: &mvp::ModalityState| Coverage {
                name: m.name.clone(),
                coverage: percent(m.coverage).unwrap_or(0),
                quality: percent(m.quality).unwrap_or(0),
            };
            let pairs = meta.modalities.chunks(2);
            parts.extend(pairs.map(|pair| Part::Coverage(pair.iter().map(modality).collect())));
            parts.push(Part::Space);
        }
        if meta.warming_up {
            // The highest coverage says how full the window is: the others may have gaps.
            let fill = meta.modalities.iter().filter_map(|m| percent(m.coverage));
            parts.push(Part::WarmingUp(fill.max().unwrap_or(0)));
        }
        let age = meta.age.nseconds();
        let stale = meta.stale || age > max_age;
        if stale {
            parts.push(Part::Stale(age / gst::ClockTime::SECOND.nseconds()));
        }
        if rows.model && meta.trained {
            parts.push(Part::Model(meta.model.clone()));
        }
        let rows = parts.into_iter().map(|part| Row { part, stale });
        Self::Result(rows.collect())
    }

    /// Height in em, 0 where nothing is to be shown; and pixels to the em.
    fn layout(rows: &[Row], canvas: &Canvas) -> (Vec<f64>, f64, f64) {
        let (tops, height) = layout(rows);
        // In a very low frame the text is smaller, so that all rows are in the picture.
        let em = canvas
            .em()
            .min(f64::from(canvas.height) / (height + 2.0 * MARGIN));
        (tops, height, em)
    }

    /// Width and height of the picture; `None` where nothing is to be shown.
    pub(super) fn pixels(&self, canvas: &Canvas) -> Option<(u32, u32)> {
        match self {
            Panel::Waiting => Some(canvas.pixels(canvas.em(), WAITING.0, WAITING.1)),
            Panel::Result(rows) => {
                let (_, height, em) = Self::layout(rows, canvas);
                (height > 0.0).then(|| canvas.pixels(em, PANEL_WIDTH, height))
            }
        }
    }

    /// Draws the panel; `None` where nothing is to be shown.
    ///
    /// # Errors
    /// cairo's, in practice only when memory runs out.
    pub(in super::super) fn draw(&self, canvas: &Canvas) -> Result<Option<Picture>, cairo::Error> {
        match self {
            Panel::Waiting => {
                let em = canvas.em();
                let text = "waiting for the model";
                let (w, h) = WAITING;
                canvas
                    .picture(em, w, h, |pen| {
                        pen.colour(BACK, 0.68);
                        pen.fill_rect(0.0, 0.0, w, h, h / 2.0)?;
                        pen.colour(INK, 0.85);
                        pen.text(text, w / 2.0, h / 2.0, w - 1.0, 0.9, false, Align::Centre)
                    })
                    .map(Some)
            }
            Panel::Result(rows) => {
                let (tops, height, em) = Self::layout(rows, canvas);
                if height == 0.0 {
                    return Ok(None);
                }
                canvas
                    .picture(em, PANEL_WIDTH, height, |pen| {
                        pen.back(PANEL_WIDTH, height)?;
                        rows.iter()
                            .zip(tops)
                            .try_for_each(|(row, top)| row.paint(pen, top))
                    })
                    .map(Some)
            }
        }
    }
}

impl Row {
    fn ink(&self) -> Rgb {
        if self.stale { DIM } else { INK }
    }

    /// Draws the row whose upper edge is at `y`.
    fn paint(&self, pen: &Pen, y: f64) -> Result<(), cairo::Error> {
        match &self.part {
            Part::Untrained(model) => paint_band(pen, model),
            Part::Label {
                text,
                sure,
                confidence,
            } => self.paint_label(pen, y, text, *sure, *confidence),
            Part::Bar(axis, value) => self.paint_bar(pen, y, *axis, *value),
            Part::Line => {
                pen.colour(INK, 0.16);
                pen.fill_rect(LEFT, y + 0.22, INNER, 0.07, 0.0)
            }
            Part::Heading => {
                pen.colour(DIM, 1.0);
                let (text, mid) = ("window covered by", y + 0.45);
                pen.text(text, LEFT, mid, INNER, 0.8, false, Align::Left)
            }
            Part::Coverage(pair) => {
                let column = (INNER - 0.9) / 2.0;
                pair.iter().enumerate().try_for_each(|(i, modality)| {
                    let x = LEFT + i as f64 * (column + 0.9);
                    self.paint_coverage(pen, x, y + 0.55, column, modality)
                })
            }
            Part::WarmingUp(fill) => paint_warming_up(pen, y, *fill),
            Part::Stale(age) => {
                pen.colour(WARN, 1.0);
                pen.fill_rect(LEFT, y + 0.2, 0.28, 0.7, 0.1)?;
                let (text, x) = (format!("stale: {age} s old"), LEFT + 0.65);
                pen.text(&text, x, y + 0.55, INNER - 0.65, 0.9, true, Align::Left)
            }
            Part::Model(model) => {
                pen.colour(DIM, 1.0);
                pen.text(model, LEFT, y + 0.5, INNER, 0.8, false, Align::Left)
            }
            Part::Space => Ok(()),
        }
    }

    fn paint_label(
        &self,
        pen: &Pen,
        y: f64,
        label: &str,
        sure: bool,
        confidence: Option<u8>,
    ) -> Result<(), cairo::Error> {
        let mid = y + 0.95;
        let mut room = INNER;
        if let Some(confidence) = confidence {
            let text = format!("{confidence} %");
            pen.colour(self.ink(), 1.0);
            pen.text(&text, RIGHT, mid - 0.35, INNER, 1.05, true, Align::Right)?;
            pen.colour(DIM, 1.0);
            let (text, below) = ("confidence", mid + 0.68);
            pen.text(text, RIGHT, below, INNER, 0.8, false, Align::Right)?;
            room = INNER - 5.2;
        }
        pen.colour(if sure { self.ink() } else { DIM }, 1.0);
        // A long label is drawn smaller; only where that is not enough it is cut.
        let full = pen.set_text(label, 1.0, true).max(0.1);
        let size = (room / full).clamp(0.75, 1.65);
        pen.text(label, LEFT, mid, room, size, sure, Align::Left)
    }

    fn paint_bar(
        &self,
        pen: &Pen,
        y: f64,
        axis: Axis,
        value: Option<u8>,
    ) -> Result<(), cairo::Error> {
        let (name, low, high) = axis.look();
        let mid = y + 0.7;
        pen.colour(self.ink(), 1.0);
        pen.text(name, LEFT, mid, 4.4, 0.95, false, Align::Left)?;
        let (x, w, h) = (LEFT + 4.5, INNER - 4.5 - 3.0, 0.62);
        let top = mid - h / 2.0;
        pen.colour(TRACK, 1.0);
        pen.fill_rect(x, top, w, h, 0.2)?;
        if let Some(value) = value {
            // From the middle, since 0.5 says neither high nor low.
            let v = share(value);
            let colour = match (self.stale, v >= 0.5) {
                (true, _) => DIM,
                (false, true) => high,
                (false, false) => low,
            };
            pen.cr.save()?;
            pen.round_rect(x, top, w, h, 0.2);
            pen.cr.clip();
            pen.colour(colour, 1.0);
            pen.fill_rect(x + w * v.min(0.5), top, w * (v - 0.5).abs(), h, 0.0)?;
            pen.cr.restore()?;
        }
        pen.colour(INK, 0.9);
        pen.fill_rect(x + w / 2.0 - 0.05, top - 0.12, 0.1, h + 0.24, 0.0)?;
        pen.colour(self.ink(), 1.0);
        let number = match value {
            Some(value) => format!("{:.2}", share(value)),
            None => "n/a".to_string(),
        };
        pen.text(&number, RIGHT, mid, 2.5, 0.95, true, Align::Right)
    }

    /// `x` is the left edge, `mid` the middle of the line.
    fn paint_coverage(
        &self,
        pen: &Pen,
        x: f64,
        mid: f64,
        width: f64,
        modality: &Coverage,
    ) -> Result<(), cairo::Error> {
        let name = &modality.name;
        let ink = if modality.coverage == 0 {
            DIM
        } else {
            self.ink()
        };
        pen.colour(ink, 1.0);
        pen.text(name, x, mid, 2.9, 0.9, false, Align::Left)?;
        let (x, w, h) = (x + 3.0, width - 3.0, 0.5);
        let top = mid - h / 2.0;
        pen.colour(TRACK, 1.0);
        pen.fill_rect(x, top, w, h, 0.2)?;
        pen.cr.save()?;
        pen.round_rect(x, top, w, h, 0.2);
        pen.cr.clip();
        // Pale: samples were received. Full colour: they are of good quality too.
        let colour = if self.stale {
            DIM
        } else {
            modality_colour(name)
        };
        let received = w * share(modality.coverage);
        pen.colour(colour, 0.4);
        pen.fill_rect(x, top, received, h, 0.0)?;
        pen.colour(colour, 1.0);
        pen.fill_rect(x, top, received * share(modality.quality), h, 0.0)?;
        pen.cr.restore()
    }
}

fn paint_band(pen: &Pen, model: &str) -> Result<(), cairo::Error> {
    pen.cr.save()?;
    pen.round_rect(0.0, 0.0, PANEL_WIDTH, BAND + 1.0, 0.55);
    pen.cr.clip();
    pen.colour(WARN, 0.95);
    pen.fill_rect(0.0, 0.0, PANEL_WIDTH, BAND, 0.0)?;
    pen.cr.restore()?;
    pen.colour(BACK, 1.0);
    let (title, name) = (BAND * 0.34, BAND * 0.74);
    pen.text(
        "UNTRAINED MODEL",
        LEFT,
        title,
        INNER,
        1.0,
        true,
        Align::Left,
    )?;
    pen.text(model, LEFT, name, INNER, 0.8, false, Align::Left)
}

fn paint_warming_up(pen: &Pen, y: f64, fill: u8) -> Result<(), cairo::Error> {
    pen.colour(INFO, 1.0);
    let (mid, full) = (y + 0.55, format!("window {fill} % full"));
    pen.text("warming up", LEFT, mid, INNER, 0.9, true, Align::Left)?;
    pen.text(&full, RIGHT, mid, INNER - 6.0, 0.85, false, Align::Right)?;
    let (mid, h) = (y + 1.4, 0.3);
    pen.colour(TRACK, 1.0);
    pen.fill_rect(LEFT, mid - h / 2.0, INNER, h, 0.15)?;
    pen.colour(INFO, 1.0);
    pen.fill_rect(LEFT, mid - h / 2.0, INNER * share(fill), h, 0.15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(parts: Vec<Part>) -> Vec<Row> {
        let row = |part| Row { part, stale: false };
        parts.into_iter().map(row).collect()
    }

    #[test]
    fn rows_follow_each_other() {
        assert_eq!(layout(&[]), (vec![], 0.0));
        // The band can be all there is.
        let band = || Part::Untrained("m".into());
        assert_eq!(layout(&rows(vec![band()])), (vec![0.0], BAND));
        let (tops, height) = layout(&rows(vec![band(), Part::Heading, Part::Stale(3)]));
        assert_eq!(tops, [0.0, BAND + TOP, BAND + TOP + 1.05]);
        assert_eq!(height, BAND + TOP + 1.05 + 1.2 + BOTTOM);
    }
}
