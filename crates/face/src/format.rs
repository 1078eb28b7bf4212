// SPDX-License-Identifier: MPL-2.0
//! What the bytes of an image mean: pixel formats, planes, colour conversion.

/// The order of the bytes of an image, 8 bits for each component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three bytes, red first.
    Rgb,
    /// Three bytes, blue first.
    Bgr,
    /// Four bytes, red first; the fourth is not read.
    Rgbx,
    /// Four bytes, blue first; the fourth is not read.
    Bgrx,
    /// One byte.
    Gray8,
    /// 4:2:0 in three planes: Y', Cb, Cr.
    I420,
    /// 4:2:0 in two planes: Y', then Cb and Cr in turn.
    Nv12,
}

impl PixelFormat {
    /// Number of planes.
    pub(crate) fn planes(self) -> usize {
        match self {
            Self::I420 => 3,
            Self::Nv12 => 2,
            _ => 1,
        }
    }

    /// Bytes of one pixel of `plane`, and the number by which its width and height are divided.
    pub(crate) fn plane_layout(self, plane: usize) -> (usize, usize) {
        match (self, plane) {
            (Self::Rgb | Self::Bgr, _) => (3, 1),
            (Self::Rgbx | Self::Bgrx, _) => (4, 1),
            (Self::Gray8, _) | (Self::I420 | Self::Nv12, 0) => (1, 1),
            (Self::I420, _) => (1, 2),
            (Self::Nv12, _) => (2, 2),
        }
    }
}

/// The conversion of 8-bit Y'CbCr to R'G'B', for [`PixelFormat::I420`] and
/// [`PixelFormat::Nv12`]. Other formats ignore it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct YuvToRgb {
    y_offset: f32,
    y: f32,
    r_v: f32,
    g_u: f32,
    g_v: f32,
    b_u: f32,
}

impl YuvToRgb {
    /// `kr` and `kb` are the luma weights of red and blue; with `full_range` Y' is 0–255, else
    /// 16–235.
    ///
    /// ```
    /// let bt709 = face::YuvToRgb::new(0.2126, 0.0722, false);
    /// assert_ne!(bt709, face::YuvToRgb::bt601());
    /// ```
    pub fn new(kr: f64, kb: f64, full_range: bool) -> Self {
        let (y, c) = if full_range {
            (1.0, 1.0)
        } else {
            (255.0 / 219.0, 255.0 / 224.0)
        };
        let kg = 1.0 - kr - kb;
        Self {
            y_offset: if full_range { 0.0 } else { 16.0 },
            y: y as f32,
            r_v: (2.0 * (1.0 - kr) * c) as f32,
            g_u: (-2.0 * (1.0 - kb) * kb / kg * c) as f32,
            g_v: (-2.0 * (1.0 - kr) * kr / kg * c) as f32,
            b_u: (2.0 * (1.0 - kb) * c) as f32,
        }
    }

    /// ITU-R BT.601, 16–235: standard-definition video.
    pub fn bt601() -> Self {
        Self::new(0.299, 0.114, false)
    }

    /// R, G, B of Y', Cb, Cr, all 0–255.
    #[inline]
    pub(crate) fn convert(&self, [y, u, v]: [f32; 3]) -> [f32; 3] {
        let y = (y - self.y_offset) * self.y;
        let (u, v) = (u - 128.0, v - 128.0);
        [
            y + self.r_v * v,
            y + self.g_u * u + self.g_v * v,
            y + self.b_u * u,
        ]
        .map(|c| c.clamp(0.0, 255.0))
    }
}

/// One plane of an image.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// Rows of pixels, from the first byte of the first row on.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// Why the memory of an image does not fit its format and size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The number of planes is not that of the format.
    #[error("{format:?} image: expected {expected} planes, found {found}")]
    Planes {
        /// The format of the image.
        format: PixelFormat,
        /// Planes that the format has.
        expected: usize,
        /// Planes that were given.
        found: usize,
    },
    /// Width or height is 0.
    #[error("{format:?} image: width and height must be at least 1, found {width}x{height}")]
    Empty {
        /// The format of the image.
        format: PixelFormat,
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
    },
    /// The rows of a plane overlap, or its memory ends before the last row.
    #[error(
        "{format:?} image {width}x{height}, plane {plane}: expected rows of at least {row} bytes and {needed} bytes in all, found stride {stride} and {found} bytes"
    )]
    Short {
        /// The format of the image.
        format: PixelFormat,
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
        /// Index of the plane.
        plane: usize,
        /// Bytes of a row.
        row: usize,
        /// Bytes from the beginning of the first row to the end of the last one.
        needed: usize,
        /// Bytes from one row to the next, as given.
        stride: usize,
        /// Bytes that were given.
        found: usize,
    },
}
