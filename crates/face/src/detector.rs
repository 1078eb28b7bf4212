// SPDX-License-Identifier: MPL-2.0
//! BlazeFace (short range): from its outputs to boxes.

use super::geometry::{Rect, Roi};

/// Side of the input, pixels.
pub(crate) const INPUT: usize = 128;
pub(crate) const ANCHORS: usize = 896;
/// Values per anchor: box centre and size, then 6 points.
pub(crate) const VALUES: usize = 16;
const POINTS: usize = 6;
/// Boxes whose intersection over union is above this are the same face.
const SAME: f32 = 0.3;
/// Logits are limited to ± this, so that `exp` does not overflow.
const LOGIT_LIMIT: f32 = 100.0;

/// A detected face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Detection {
    pub(crate) rect: Rect,
    /// Eyes (left in the frame first), nose, mouth, ears.
    pub(crate) points: [(f32, f32); POINTS],
    /// 0–1.
    pub(crate) score: f32,
}

/// Centres of the anchors, 0–1: a 16×16 grid with 2 each, then an 8×8 grid with 6.
pub(crate) fn anchors() -> Vec<(f32, f32)> {
    let mut anchors = Vec::with_capacity(ANCHORS);
    for (cells, each) in [(16, 2), (8, 6)] {
        for y in 0..cells {
            for x in 0..cells {
                let center = (
                    (x as f32 + 0.5) / cells as f32,
                    (y as f32 + 0.5) / cells as f32,
                );
                anchors.extend(std::iter::repeat_n(center, each));
            }
        }
    }
    anchors
}

/// The faces in an output of the network, highest score first, in pixels of the frame.
///
/// `regressors` is `[896, 16]`, `logits` `[896]`; `roi` is the square of the frame that was the
/// input.
pub(crate) fn decode(
    regressors: &[f32],
    logits: &[f32],
    anchors: &[(f32, f32)],
    min_score: f32,
    roi: &Roi,
) -> Vec<Detection> {
    let size = INPUT as f32;
    let mut found: Vec<Detection> = regressors
        .chunks_exact(VALUES)
        .zip(logits)
        .zip(anchors)
        .filter_map(|((values, logit), anchor)| {
            let score = sigmoid(logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT));
            if score.is_nan() || score < min_score {
                return None;
            }
            let at = |i: usize| (values[i] / size + anchor.0, values[i + 1] / size + anchor.1);
            let (cx, cy) = at(0);
            let (width, height) = (values[2] / size, values[3] / size);
            Some(Detection {
                rect: Rect {
                    x: cx - width / 2.0,
                    y: cy - height / 2.0,
                    width,
                    height,
                },
                points: std::array::from_fn(|k| at(4 + 2 * k)),
                score,
            })
        })
        .collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut merged = merge(found);
    for d in &mut merged {
        let (x, y) = roi.point(d.rect.x, d.rect.y);
        d.rect = Rect {
            x,
            y,
            width: d.rect.width * roi.side,
            height: d.rect.height * roi.side,
        };
        d.points = d.points.map(|(x, y)| roi.point(x, y));
    }
    merged
}

/// Weighted non-maximum suppression: overlapping boxes become one, their mean weighted by
/// score, with the highest score. `found` is sorted, highest score first.
fn merge(mut found: Vec<Detection>) -> Vec<Detection> {
    let mut merged = Vec::new();
    while let Some(best) = found.first().copied() {
        let (same, other): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|d| d.rect.overlap(&best.rect) > SAME);
        found = other;
        if same.is_empty() {
            // A box without area overlaps nothing, not even itself.
            found.remove(0);
            continue;
        }
        let total: f32 = same.iter().map(|d| d.score).sum();
        let mean = |value: &dyn Fn(&Detection) -> f32| {
            same.iter().map(|d| value(d) * d.score).sum::<f32>() / total
        };
        merged.push(Detection {
            rect: Rect {
                x: mean(&|d| d.rect.x),
                y: mean(&|d| d.rect.y),
                width: mean(&|d| d.rect.width),
                height: mean(&|d| d.rect.height),
            },
            points: std::array::from_fn(|k| (mean(&|d| d.points[k].0), mean(&|d| d.points[k].1))),
            score: best.score,
        });
    }
    merged
}

pub(crate) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> (Vec<f32>, Vec<f32>) {
        (vec![0.0; ANCHORS * VALUES], vec![-200.0; ANCHORS])
    }

    const WHOLE: Roi = Roi {
        center: (64.0, 64.0),
        side: 128.0,
        angle: 0.0,
    };

    #[test]
    fn anchors_cover_two_grids() {
        let anchors = anchors();
        assert_eq!(anchors.len(), ANCHORS);
        assert_eq!(anchors[0], (0.03125, 0.03125));
        assert_eq!(anchors[1], anchors[0]);
        assert_eq!(anchors[2], (0.09375, 0.03125));
        assert_eq!(anchors[32], (0.03125, 0.09375));
        assert_eq!(anchors[512], (0.0625, 0.0625));
        assert_eq!(anchors[517], anchors[512]);
        assert_eq!(anchors[895], (0.9375, 0.9375));
    }

    #[test]
    fn a_box_is_placed_relative_to_its_anchor() {
        let (mut regressors, mut logits) = empty();
        // Anchor 518 is the second cell of the coarse grid: centre (24, 8) of 128.
        let values = &mut regressors[518 * VALUES..][..VALUES];
        values[..6].copy_from_slice(&[4.0, -2.0, 40.0, 20.0, -10.0, 1.0]);
        logits[518] = 0.0;
        let found = decode(&regressors, &logits, &anchors(), 0.5, &WHOLE);
        assert_eq!(found.len(), 1);
        let d = found[0];
        assert_eq!(d.score, 0.5);
        assert_eq!(d.rect.center(), (28.0, 6.0));
        assert_eq!((d.rect.width, d.rect.height), (40.0, 20.0));
        assert_eq!(d.points[0], (14.0, 9.0));
        assert_eq!(d.points[1], (24.0, 8.0));

        // The same answer, shown a 640x360 picture with bars above and below.
        let roi = Roi::letterbox((640, 360));
        let wide = decode(&regressors, &logits, &anchors(), 0.5, &roi)[0];
        assert_eq!(wide.rect.center(), (140.0, -110.0));
        assert_eq!(wide.rect.width, 200.0);
    }

    #[test]
    fn overlapping_boxes_become_their_weighted_mean() {
        let at = |x: f32, score: f32| Detection {
            rect: Rect {
                x,
                y: 0.0,
                width: 10.0,
                height: 10.0,
            },
            points: [(x, 1.0); POINTS],
            score,
        };
        let merged = merge(vec![at(0.0, 0.9), at(3.0, 0.6), at(30.0, 0.55)]);
        assert_eq!(merged.len(), 2);
        assert!((merged[0].rect.x - 1.2).abs() < 1e-5, "{:?}", merged[0]);
        assert!((merged[0].points[5].0 - 1.2).abs() < 1e-5);
        assert_eq!(merged[0].score, 0.9);
        assert_eq!(merged[1], at(30.0, 0.55));
    }

    #[test]
    fn extreme_outputs_give_no_invalid_boxes() {
        let (mut regressors, mut logits) = empty();
        assert!(decode(&regressors, &logits, &anchors(), 0.5, &WHOLE).is_empty());
        logits[0] = f32::NAN;
        logits[3] = 1e30;
        // A box without size.
        assert!(decode(&regressors, &logits, &anchors(), 0.5, &WHOLE).is_empty());
        regressors[3 * VALUES + 2] = f32::NAN;
        regressors[3 * VALUES + 3] = f32::INFINITY;
        assert!(decode(&regressors, &logits, &anchors(), 0.5, &WHOLE).is_empty());
    }
}
