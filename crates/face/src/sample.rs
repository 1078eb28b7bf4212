// SPDX-License-Identifier: MPL-2.0
//! Bilinear sampling of pixels in memory, the part of an analysis that is not in the networks.

use super::format::{PixelFormat, Plane, YuvToRgb};
use super::geometry::Affine;

/// The value of a sample outside of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Border {
    /// The nearest pixel.
    Replicate,
    Black,
}

/// Target pixels that are computed together: loops over this many values, each with one kind of
/// work, which the compiler turns into vector instructions.
pub(crate) const LANES: usize = 8;

type Lanes = [f32; LANES];

/// One picture to sample from, and what to make of it.
pub(crate) struct Warp<'a> {
    pub(crate) format: PixelFormat,
    pub(crate) planes: [Plane<'a>; 3],
    /// Width and height of what is in memory.
    pub(crate) held: (usize, usize),
    pub(crate) yuv: YuvToRgb,
    /// From target pixels to those in memory.
    pub(crate) map: Affine,
    pub(crate) size: usize,
    pub(crate) border: Border,
    /// Each component is `value × scale + offset`.
    pub(crate) scale: f32,
    pub(crate) offset: f32,
}

/// The two neighbours along one axis: the first one, which has a second one after it, and the
/// share of the second, 0–1.
struct Axis {
    cell: [i32; LANES],
    share: Lanes,
}

impl Axis {
    /// Of positions among `count` pixels, limited to these.
    #[inline(always)]
    fn new(values: &Lanes, count: usize) -> Self {
        let last = count as f32 - 1.0;
        let last_cell = last_cell(count);
        let (mut cell, mut share) = ([0; LANES], [0.0; LANES]);
        for k in 0..LANES {
            let value = values[k].max(0.0).min(last);
            // The last pixel is the second one of the last two.
            let first = floor(value).min(last_cell);
            cell[k] = first;
            share[k] = value - first as f32;
        }
        Self { cell, share }
    }

    /// The same positions among `count` samples of every second pixel: both neighbours are one
    /// sample, or two.
    #[inline(always)]
    fn halved(&self, count: usize) -> Self {
        let last_cell = last_cell(count);
        let (mut cell, mut share) = ([0; LANES], [0.0; LANES]);
        for k in 0..LANES {
            let first = self.cell[k] >> 1;
            cell[k] = first.min(last_cell);
            let odd = (self.cell[k] & 1) as f32;
            share[k] = (first - cell[k]) as f32 + odd * self.share[k];
        }
        Self { cell, share }
    }
}

/// The whole part of 0 ≤ `value` < 2²². `as` would do, but what it promises for other values costs
/// branches.
#[inline(always)]
fn floor(value: f32) -> i32 {
    // From here on a float holds whole numbers only, in its last bits.
    const WHOLE: f32 = 8_388_608.0;
    let rounded = value + WHOLE;
    let above = rounded - WHOLE > value;
    (rounded.to_bits() & 0x7f_ffff) as i32 - i32::from(above)
}

fn last_cell(count: usize) -> i32 {
    count.max(2) as i32 - 2
}

/// The four samples around each point: of the upper and of the lower row two samples, which lie
/// side by side in `PAIR` bytes. `first` and `last` are the first and the last four of these.
struct Corners<const PAIR: usize> {
    first: [[u32; LANES]; 2],
    last: [[u32; LANES]; 2],
}

impl<const PAIR: usize> Corners<PAIR> {
    /// Bytes of one sample.
    const BYTES: usize = PAIR / 2;

    #[inline(always)]
    fn read(plane: Plane<'_>, x: &Axis, y: &Axis) -> Self {
        let mut corners = Self {
            first: [[0; LANES]; 2],
            last: [[0; LANES]; 2],
        };
        let data = plane.data;
        // Never so: a plane holds two samples at least.
        let Some(limit) = data.len().checked_sub(PAIR) else {
            return corners;
        };
        for k in 0..LANES {
            let upper = y.cell[k] as usize * plane.stride + x.cell[k] as usize * Self::BYTES;
            for (row, at) in [upper, upper + plane.stride].into_iter().enumerate() {
                // Positions are inside; the limit tells it to the compiler, which then needs no
                // branch.
                let at = at.min(limit);
                let pair = &data[at..at + PAIR];
                let word = |from: usize| {
                    let mut bytes = [0; 4];
                    let count = PAIR.min(4);
                    bytes[..count].copy_from_slice(&pair[from..from + count]);
                    u32::from_le_bytes(bytes)
                };
                corners.first[row][k] = word(0);
                if PAIR > 4 {
                    corners.last[row][k] = word(PAIR - 4);
                }
            }
        }
        corners
    }

    /// The component in the byte `byte` of the samples, between them.
    #[inline(always)]
    fn mix(&self, byte: usize, x: &Axis, y: &Axis) -> Lanes {
        let mut mixed = [0.0; LANES];
        let value = |word: u32, byte: usize| ((word >> (8 * byte)) & 0xff) as i32 as f32;
        for (k, mixed) in mixed.iter_mut().enumerate() {
            let row = |row: usize| {
                let left = value(self.first[row][k], byte);
                let right = match PAIR {
                    ..=4 => value(self.first[row][k], byte + Self::BYTES),
                    _ => value(self.last[row][k], byte + 4 - Self::BYTES),
                };
                left + (right - left) * x.share[k]
            };
            let (top, bottom) = (row(0), row(1));
            *mixed = top + (bottom - top) * y.share[k];
        }
        mixed
    }
}

impl Warp<'_> {
    /// Fills `out` (`[size, size, 3]`).
    pub(crate) fn run(&self, out: &mut Vec<f32>) {
        // Below, every sample has one to the right and one under it.
        let mut planes = self.planes;
        let mut wide: [Vec<u8>; 3] = Default::default();
        for (i, (plane, wide)) in planes.iter_mut().zip(&mut wide).enumerate() {
            let (bytes, halved) = self.format.plane_layout(i);
            let (width, height) = (self.held.0.div_ceil(halved), self.held.1.div_ceil(halved));
            if i < self.format.planes() && (width < 2 || height < 2) {
                *plane = widened(*plane, width, height, bytes, wide);
            }
        }
        let [p0, p1, p2] = planes;
        let (chroma_width, chroma_height) = (self.held.0.div_ceil(2), self.held.1.div_ceil(2));
        let halves = |x: &Axis, y: &Axis| (x.halved(chroma_width), y.halved(chroma_height));
        match self.format {
            PixelFormat::Rgb => self.rows(out, |x, y| packed::<6>(p0, x, y, [0, 1, 2])),
            PixelFormat::Bgr => self.rows(out, |x, y| packed::<6>(p0, x, y, [2, 1, 0])),
            PixelFormat::Rgbx => self.rows(out, |x, y| packed::<8>(p0, x, y, [0, 1, 2])),
            PixelFormat::Bgrx => self.rows(out, |x, y| packed::<8>(p0, x, y, [2, 1, 0])),
            PixelFormat::Gray8 => self.rows(out, |x, y| {
                let gray = Corners::<2>::read(p0, x, y).mix(0, x, y);
                [gray; 3]
            }),
            PixelFormat::I420 => self.rows(out, |x, y| {
                let luma = Corners::<2>::read(p0, x, y).mix(0, x, y);
                let (x, y) = halves(x, y);
                let u = Corners::<2>::read(p1, &x, &y).mix(0, &x, &y);
                let v = Corners::<2>::read(p2, &x, &y).mix(0, &x, &y);
                rgb(&self.yuv, [luma, u, v])
            }),
            PixelFormat::Nv12 => self.rows(out, |x, y| {
                let luma = Corners::<2>::read(p0, x, y).mix(0, x, y);
                let (x, y) = halves(x, y);
                let chroma = Corners::<4>::read(p1, &x, &y);
                let (u, v) = (chroma.mix(0, &x, &y), chroma.mix(1, &x, &y));
                rgb(&self.yuv, [luma, u, v])
            }),
        }
    }

    /// `sample` gives R, G, B, 0–255, of a group of points.
    #[inline(always)]
    fn rows(&self, out: &mut Vec<f32>, sample: impl Fn(&Axis, &Axis) -> [Lanes; 3]) {
        out.resize(self.size * self.size * 3, 0.0);
        for (j, row) in out.chunks_exact_mut(self.size * 3).enumerate() {
            for (i, group) in row.chunks_mut(LANES * 3).enumerate() {
                self.group(&sample, i * LANES, j, group);
            }
        }
    }

    /// Computes the target pixels from column `i` of row `j` on, as many as fit into `out`.
    #[inline(always)]
    fn group(
        &self,
        sample: &impl Fn(&Axis, &Axis) -> [Lanes; 3],
        i: usize,
        j: usize,
        out: &mut [f32],
    ) {
        let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
        for k in 0..LANES {
            (x[k], y[k]) = self.map.apply((i + k) as f32, j as f32);
        }
        let mut rgb = sample(&Axis::new(&x, self.held.0), &Axis::new(&y, self.held.1));
        if self.border == Border::Black {
            let (last_x, last_y) = ((self.held.0 - 1) as f32, (self.held.1 - 1) as f32);
            for k in 0..LANES {
                let inside = (x[k] >= 0.0) & (y[k] >= 0.0) & (x[k] <= last_x) & (y[k] <= last_y);
                for component in &mut rgb {
                    component[k] = if inside { component[k] } else { 0.0 };
                }
            }
        }
        for component in &mut rgb {
            for value in component {
                *value = *value * self.scale + self.offset;
            }
        }
        for (k, pixel) in out.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[rgb[0][k], rgb[1][k], rgb[2][k]]);
        }
    }
}

/// Components that lie side by side, in the bytes of `order`.
#[inline(always)]
fn packed<const PAIR: usize>(
    plane: Plane<'_>,
    x: &Axis,
    y: &Axis,
    order: [usize; 3],
) -> [Lanes; 3] {
    let corners = Corners::<PAIR>::read(plane, x, y);
    order.map(|byte| corners.mix(byte, x, y))
}

#[inline(always)]
fn rgb(convert: &YuvToRgb, [luma, u, v]: [Lanes; 3]) -> [Lanes; 3] {
    let mut rgb = [[0.0; LANES]; 3];
    for k in 0..LANES {
        let value = convert.convert([luma[k], u[k], v[k]]);
        for (component, value) in rgb.iter_mut().zip(value) {
            component[k] = value;
        }
    }
    rgb
}

/// A plane of one column or row, with the last one twice.
fn widened<'a>(
    plane: Plane<'_>,
    width: usize,
    height: usize,
    bytes: usize,
    memory: &'a mut Vec<u8>,
) -> Plane<'a> {
    for y in 0..height.max(2) {
        let row = &plane.data[y.min(height - 1) * plane.stride..];
        for x in 0..width.max(2) {
            let at = x.min(width - 1) * bytes;
            memory.extend_from_slice(&row[at..at + bytes]);
        }
    }
    Plane {
        data: memory,
        stride: width.max(2) * bytes,
    }
}
