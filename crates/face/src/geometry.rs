// SPDX-License-Identifier: MPL-2.0
//! Boxes and turned squares, in pixels of the frame; y points down.

use std::f32::consts::PI;

/// An upright box in pixels of the frame; may reach beyond it.
///
/// ```
/// let rect = face::Rect { x: -2.5, y: 10.2, width: 8.0, height: 4.0 };
/// assert_eq!(rect.pixels((640, 480)), Some((0, 10, 6, 5)));
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// To the right edge, not negative.
    pub width: f32,
    /// To the lower edge, not negative.
    pub height: f32,
}

impl Rect {
    /// The smallest box around `points`; `None` without points.
    pub(crate) fn around(points: impl IntoIterator<Item = (f32, f32)>) -> Option<Self> {
        let mut points = points.into_iter();
        let first = points.next()?;
        let (low, high) = points.fold((first, first), |(low, high), (x, y)| {
            ((low.0.min(x), low.1.min(y)), (high.0.max(x), high.1.max(y)))
        });
        Some(Self {
            x: low.0,
            y: low.1,
            width: high.0 - low.0,
            height: high.1 - low.1,
        })
    }

    pub(crate) fn center(&self) -> (f32, f32) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Intersection over union, 0–1.
    pub(crate) fn overlap(&self, other: &Self) -> f32 {
        let length = |a: f32, al: f32, b: f32, bl: f32| ((a + al).min(b + bl) - a.max(b)).max(0.0);
        let both = length(self.x, self.width, other.x, other.width)
            * length(self.y, self.height, other.y, other.height);
        let either = self.width * self.height + other.width * other.height - both;
        if either > 0.0 { both / either } else { 0.0 }
    }

    /// The whole pixels that the box touches in a frame of `size` (width, height):
    /// x, y, width, height. `None` if no part of it is in the frame.
    pub fn pixels(&self, size: (usize, usize)) -> Option<(u32, u32, u32, u32)> {
        let span = |start: f32, length: f32, limit: usize| {
            let end = (start + length).ceil().clamp(0.0, limit as f32) as u32;
            let start = start.floor().clamp(0.0, limit as f32) as u32;
            (end > start).then(|| (start, end - start))
        };
        let (x, width) = span(self.x, self.width, size.0)?;
        let (y, height) = span(self.y, self.height, size.1)?;
        Some((x, y, width, height))
    }
}

/// An affine map from a target pixel (column, row) to a position in the source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine {
    /// Position of the target pixel (0, 0).
    pub(crate) origin: (f32, f32),
    /// Step from one column to the next.
    pub(crate) dx: (f32, f32),
    /// Step from one row to the next.
    pub(crate) dy: (f32, f32),
}

impl Affine {
    #[inline(always)]
    pub(crate) fn apply(&self, i: f32, j: f32) -> (f32, f32) {
        (
            self.origin.0 + self.dx.0 * i + self.dy.0 * j,
            self.origin.1 + self.dx.1 * i + self.dy.1 * j,
        )
    }

    /// The map whose source coordinates are `(x + by) × times`.
    pub(crate) fn shifted(&self, by: f32, times: f32) -> Self {
        Self {
            origin: ((self.origin.0 + by) * times, (self.origin.1 + by) * times),
            dx: (self.dx.0 * times, self.dx.1 * times),
            dy: (self.dy.0 * times, self.dy.1 * times),
        }
    }
}

/// A square of the frame, turned clockwise by `angle` (radians).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Roi {
    pub(crate) center: (f32, f32),
    pub(crate) side: f32,
    pub(crate) angle: f32,
}

impl Roi {
    /// The smallest square around a whole frame of `size`, with the frame in its middle.
    pub(crate) fn letterbox(size: (usize, usize)) -> Self {
        let (width, height) = (size.0 as f32, size.1 as f32);
        Self {
            center: (width / 2.0, height / 2.0),
            side: width.max(height),
            angle: 0.0,
        }
    }

    /// A square around a face: `scale` times the longer side of `face`, turned so that the
    /// line from `eyes.0` (left in the frame) to `eyes.1` is level.
    pub(crate) fn around_face(face: &Rect, eyes: ((f32, f32), (f32, f32)), scale: f32) -> Self {
        let (left, right) = eyes;
        let angle = (right.1 - left.1).atan2(right.0 - left.0);
        Self {
            center: face.center(),
            side: face.width.max(face.height) * scale,
            angle: (angle + PI).rem_euclid(2.0 * PI) - PI,
        }
    }

    /// The position in the frame of a point of the square; `u` to the right and `v` down, 0–1.
    pub(crate) fn point(&self, u: f32, v: f32) -> (f32, f32) {
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = ((u - 0.5) * self.side, (v - 0.5) * self.side);
        (
            self.center.0 + u * cos - v * sin,
            self.center.1 + u * sin + v * cos,
        )
    }

    /// The map from a target of `size`×`size` pixels to the frame.
    ///
    /// Pixel i is at i/size of the side, not in the middle of its share, because the networks
    /// were trained on such crops.
    pub(crate) fn map(&self, size: usize) -> Affine {
        let (sin, cos) = self.angle.sin_cos();
        let step = self.side / size as f32;
        Affine {
            origin: self.point(0.0, 0.0),
            dx: (step * cos, step * sin),
            dy: (-step * sin, step * cos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: (f32, f32), b: (f32, f32)) -> bool {
        (a.0 - b.0).abs() < 1e-3 && (a.1 - b.1).abs() < 1e-3
    }

    #[test]
    fn a_tilted_face_is_levelled() {
        let face = Rect {
            x: 80.0,
            y: 60.0,
            width: 40.0,
            height: 30.0,
        };
        // The right eye is lower: the head leans by 45 degrees.
        let roi = Roi::around_face(&face, ((90.0, 65.0), (110.0, 85.0)), 1.5);
        assert_eq!(roi.center, (100.0, 75.0));
        assert_eq!(roi.side, 60.0);
        assert!((roi.angle - PI / 4.0).abs() < 1e-6);
        // In the crop the eyes are on one row.
        let row = |p: (f32, f32)| {
            let (sin, cos) = roi.angle.sin_cos();
            -(p.0 - 100.0) * sin + (p.1 - 75.0) * cos
        };
        assert!((row((90.0, 65.0)) - row((110.0, 85.0))).abs() < 1e-4);
        // The map and the points agree.
        let map = roi.map(256);
        assert!(near(map.apply(0.0, 0.0), roi.point(0.0, 0.0)));
        assert!(near(map.apply(128.0, 128.0), roi.center));
        assert!(near(map.apply(256.0, 64.0), roi.point(1.0, 0.25)));
    }

    #[test]
    fn letterbox_pads_the_shorter_side() {
        let map = Roi::letterbox((640, 360)).map(128);
        assert!(near(map.apply(0.0, 28.0), (0.0, 0.0)));
        assert!(near(map.apply(64.0, 64.0), (320.0, 180.0)));
        assert!(near(map.apply(0.0, 0.0), (0.0, -140.0)));
    }

    #[test]
    fn overlap_is_intersection_over_union() {
        let a = Rect {
            x: 0.0,
            y: 0.0,
            width: 2.0,
            height: 2.0,
        };
        let moved = |x: f32| Rect { x, ..a };
        assert_eq!(a.overlap(&a), 1.0);
        assert!((a.overlap(&moved(1.0)) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.overlap(&moved(2.0)), 0.0);
        assert_eq!(Rect::default().overlap(&Rect::default()), 0.0);
    }

    #[test]
    fn pixels_stay_inside_the_picture() {
        let rect = |x, y, width, height| Rect {
            x,
            y,
            width,
            height,
        };
        let size = (100, 50);
        assert_eq!(
            rect(-5.5, 10.2, 20.0, 5.0).pixels(size),
            Some((0, 10, 15, 6))
        );
        assert_eq!(
            rect(90.0, 40.0, 90.0, 90.0).pixels(size),
            Some((90, 40, 10, 10))
        );
        assert_eq!(rect(200.0, 0.0, 10.0, 10.0).pixels(size), None);
        assert_eq!(rect(f32::NAN, 0.0, 10.0, 10.0).pixels(size), None);
    }

    #[test]
    fn around_takes_every_point() {
        let points = [(3.0, 4.0), (1.0, 9.0), (2.0, 5.0)];
        let rect = Rect::around(points).expect("points");
        assert_eq!(
            (rect.x, rect.y, rect.width, rect.height),
            (1.0, 4.0, 2.0, 5.0)
        );
        assert!(Rect::around([]).is_none());
    }
}
