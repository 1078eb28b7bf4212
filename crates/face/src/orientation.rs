// SPDX-License-Identifier: MPL-2.0
//! Pictures that lie or are mirrored in memory, and how they are shown.

use super::geometry::{Affine, Rect};

/// What has to be done to a picture, as it is in memory, before it is shown. The names are those
/// of GStreamer's `GstVideoOrientationMethod`.
///
/// Positions are those of pixels: the last one of a row of `width` is at `width − 1`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// Nothing.
    #[default]
    Identity,
    /// A quarter turn clockwise.
    Right90,
    /// Half a turn.
    Turn180,
    /// A quarter turn counter-clockwise.
    Left90,
    /// Left and right are swapped.
    Horizontal,
    /// Top and bottom are swapped.
    Vertical,
    /// Rows and columns are swapped: a mirror from the upper left to the lower right.
    UpperLeftLowerRight,
    /// A mirror from the upper right to the lower left.
    UpperRightLowerLeft,
}

impl Orientation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Right90,
        Self::Turn180,
        Self::Left90,
        Self::Horizontal,
        Self::Vertical,
        Self::UpperLeftLowerRight,
        Self::UpperRightLowerLeft,
    ];

    /// What undoes it.
    pub(crate) fn inverse(self) -> Self {
        match self {
            Self::Right90 => Self::Left90,
            Self::Left90 => Self::Right90,
            other => other,
        }
    }

    /// Width and height of a picture of `size` as it is shown.
    ///
    /// ```
    /// assert_eq!(face::Orientation::Left90.shown_size((640, 480)), (480, 640));
    /// ```
    pub fn shown_size(self, size: (usize, usize)) -> (usize, usize) {
        match self {
            Self::Identity | Self::Turn180 | Self::Horizontal | Self::Vertical => size,
            _ => (size.1, size.0),
        }
    }

    /// Where in a picture of `size` in memory the point `at` of the shown picture is.
    pub(crate) fn in_memory(self, size: (usize, usize), at: (f32, f32)) -> (f32, f32) {
        let (x, y) = at;
        let (right, bottom) = (size.0 as f32 - 1.0, size.1 as f32 - 1.0);
        match self {
            Self::Identity => (x, y),
            Self::Right90 => (y, bottom - x),
            Self::Turn180 => (right - x, bottom - y),
            Self::Left90 => (right - y, x),
            Self::Horizontal => (right - x, y),
            Self::Vertical => (x, bottom - y),
            Self::UpperLeftLowerRight => (y, x),
            Self::UpperRightLowerLeft => (right - y, bottom - x),
        }
    }

    /// The box in a picture of `size` in memory that shows as `rect`.
    pub(crate) fn rect_in_memory(self, size: (usize, usize), rect: &Rect) -> Rect {
        let ends = [
            (rect.x, rect.y),
            (rect.x + rect.width, rect.y + rect.height),
        ];
        // Two points are never none.
        Rect::around(ends.map(|at| self.in_memory(size, at))).unwrap_or(*rect)
    }

    /// As `rect` of a picture of `size` in memory shows.
    pub(crate) fn rect_shown(self, size: (usize, usize), rect: &Rect) -> Rect {
        self.inverse().rect_in_memory(self.shown_size(size), rect)
    }

    /// The map to a picture of `size` in memory, of one to the shown picture.
    pub(crate) fn map_in_memory(self, size: (usize, usize), map: &Affine) -> Affine {
        let turn = |at| self.in_memory(size, at);
        let nought = turn((0.0, 0.0));
        let step = |by| {
            let (x, y) = turn(by);
            (x - nought.0, y - nought.1)
        };
        Affine {
            origin: turn(map.origin),
            dx: step(map.dx),
            dy: step(map.dy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the words of [`Orientation`] say, on the corners of a picture of 5×3 pixels: where
    /// the upper left one and the one beside it are shown.
    #[test]
    fn corners_are_shown_where_the_words_say() {
        let size = (5, 3);
        for (orientation, first, second) in [
            (Orientation::Identity, (0.0, 0.0), (1.0, 0.0)),
            (Orientation::Right90, (2.0, 0.0), (2.0, 1.0)),
            (Orientation::Turn180, (4.0, 2.0), (3.0, 2.0)),
            (Orientation::Left90, (0.0, 4.0), (0.0, 3.0)),
            (Orientation::Horizontal, (4.0, 0.0), (3.0, 0.0)),
            (Orientation::Vertical, (0.0, 2.0), (1.0, 2.0)),
            (Orientation::UpperLeftLowerRight, (0.0, 0.0), (0.0, 1.0)),
            (Orientation::UpperRightLowerLeft, (2.0, 4.0), (2.0, 3.0)),
        ] {
            let shown = |at| {
                let shown = orientation.shown_size(size);
                orientation.inverse().in_memory(shown, at)
            };
            assert_eq!(shown((0.0, 0.0)), first, "{orientation:?}");
            assert_eq!(shown((1.0, 0.0)), second, "{orientation:?}");
        }
    }

    #[test]
    fn there_and_back_is_the_same_place() {
        let size = (5, 3);
        let rect = Rect {
            x: 0.5,
            y: 1.0,
            width: 2.0,
            height: 0.25,
        };
        for orientation in Orientation::ALL {
            let shown = orientation.rect_shown(size, &rect);
            assert_eq!(
                orientation.rect_in_memory(size, &shown),
                rect,
                "{orientation:?}"
            );
            let map = Affine {
                origin: (1.0, 2.0),
                dx: (0.5, 0.25),
                dy: (-0.25, 0.5),
            };
            let turned = orientation.map_in_memory(size, &map);
            for (i, j) in [(0.0, 0.0), (3.0, 0.0), (0.0, 2.0), (2.0, 5.0)] {
                let expected = orientation.in_memory(size, map.apply(i, j));
                assert_eq!(turned.apply(i, j), expected, "{orientation:?}");
            }
        }
    }
}
