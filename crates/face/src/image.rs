// SPDX-License-Identifier: MPL-2.0
//! Images in borrowed memory, and small copies of them.

use super::format::{ImageError, PixelFormat, Plane, YuvToRgb};
use super::geometry::Affine;
use super::orientation::Orientation;
use super::sample::{Border, Warp};

/// An image in borrowed memory, such as a mapped video frame.
///
/// The view of a [`Snapshot`] may have only every n-th pixel of the frame; sizes and coordinates
/// are always those of the whole frame.
#[derive(Debug, Clone, Copy)]
pub struct ImageView<'a> {
    format: PixelFormat,
    /// Width and height of the frame.
    size: (usize, usize),
    /// Width and height of what is in memory.
    held: (usize, usize),
    /// Every `step`-th pixel is in memory.
    step: usize,
    planes: [Plane<'a>; 3],
    yuv: YuvToRgb,
    orientation: Orientation,
}

impl<'a> ImageView<'a> {
    /// An image of `width`×`height` pixels. `planes` are in the format's order; a 4:2:0 chroma
    /// plane has half the width and height, rounded up. `yuv` is for 4:2:0 formats.
    ///
    /// # Errors
    /// A size of 0, a wrong number of planes, or a plane that is too short: every pixel can be
    /// read when this is [`Ok`].
    pub fn new(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: &[Plane<'a>],
        yuv: YuvToRgb,
    ) -> Result<Self, ImageError> {
        Self::stepped(format, (width, height), 1, planes, yuv)
    }

    fn stepped(
        format: PixelFormat,
        size: (usize, usize),
        step: usize,
        planes: &[Plane<'a>],
        yuv: YuvToRgb,
    ) -> Result<Self, ImageError> {
        let (width, height) = held_size(size, step);
        if width == 0 || height == 0 {
            return Err(ImageError::Empty {
                format,
                width,
                height,
            });
        }
        if planes.len() != format.planes() {
            return Err(ImageError::Planes {
                format,
                expected: format.planes(),
                found: planes.len(),
            });
        }
        let mut all = [planes[0]; 3];
        for (i, plane) in planes.iter().enumerate() {
            let (bytes, halved) = format.plane_layout(i);
            let row = width.div_ceil(halved) * bytes;
            let needed = plane.stride * (height.div_ceil(halved) - 1) + row;
            if plane.stride < row || plane.data.len() < needed {
                return Err(ImageError::Short {
                    format,
                    width,
                    height,
                    plane: i,
                    row,
                    needed,
                    stride: plane.stride,
                    found: plane.data.len(),
                });
            }
            all[i] = *plane;
        }
        Ok(Self {
            format,
            size,
            held: (width, height),
            step,
            planes: all,
            yuv,
            orientation: Orientation::Identity,
        })
    }

    /// The same image, to be shown in this way. What is looked for is looked for as it is shown;
    /// what is found is told in pixels of the frame in memory.
    ///
    /// ```
    /// use face::{ImageView, Orientation, PixelFormat, Plane, YuvToRgb};
    ///
    /// let plane = Plane { data: &[7; 12], stride: 4 };
    /// let lying = ImageView::new(PixelFormat::Gray8, 4, 3, &[plane], YuvToRgb::bt601())?;
    /// let upright = lying.oriented(Orientation::Right90);
    /// assert_eq!((upright.size(), upright.orientation()), ((4, 3), Orientation::Right90));
    /// # Ok::<(), face::ImageError>(())
    /// ```
    pub fn oriented(self, orientation: Orientation) -> Self {
        Self {
            orientation,
            ..self
        }
    }

    /// How it is to be shown.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Width and height of the frame in memory, pixels.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Samples `size`×`size` points bilinearly into `out` (`[size, size, 3]`, R, G, B); each
    /// component is `value / 255 × scale + offset`. `map` leads to the image as it is shown.
    pub(crate) fn warp(
        &self,
        map: &Affine,
        size: usize,
        border: Border,
        (scale, offset): (f32, f32),
        out: &mut Vec<f32>,
    ) {
        let map = self.orientation.map_in_memory(self.size, map);
        Warp {
            format: self.format,
            planes: self.planes,
            held: self.held,
            yuv: self.yuv,
            // From coordinates of the frame to those of the pixels in memory.
            map: map.shifted(-((self.step / 2) as f32), 1.0 / self.step as f32),
            size,
            border,
            scale: scale / 255.0,
            offset,
        }
        .run(out);
    }
}

/// Width and height of a copy of a frame of `size` with every `step`-th pixel.
fn held_size(size: (usize, usize), step: usize) -> (usize, usize) {
    let held = |n: usize| (n + step - 1 - step / 2) / step;
    (held(size.0), held(size.1))
}

/// A copy of an image that is cheap enough for a streaming thread: of large frames only every
/// n-th pixel of every n-th row is copied. Reuses its memory.
///
/// ```
/// use face::{ImageView, PixelFormat, Plane, Snapshot, YuvToRgb};
///
/// let data = vec![7; 640 * 480];
/// let plane = Plane { data: &data, stride: 640 };
/// let frame = ImageView::new(PixelFormat::Gray8, 640, 480, &[plane], YuvToRgb::bt601())?;
/// let mut snapshot = Snapshot::default();
/// snapshot.copy_from(&frame, 100_000);
/// // Coordinates stay those of the frame.
/// assert_eq!(snapshot.view().map(|copy| copy.size()), Some((640, 480)));
/// # Ok::<(), face::ImageError>(())
/// ```
#[derive(Debug, Default)]
pub struct Snapshot {
    data: Vec<u8>,
    layout: Option<Layout>,
}

#[derive(Debug, Clone, Copy)]
struct Layout {
    format: PixelFormat,
    size: (usize, usize),
    step: usize,
    /// Offset and stride.
    planes: [(usize, usize); 3],
    yuv: YuvToRgb,
    orientation: Orientation,
}

impl Snapshot {
    /// Copies `image` in place of what was copied before, with the smallest n for which at most
    /// `max_bytes` are read, or with one pixel. `image` must not be the view of a snapshot.
    pub fn copy_from(&mut self, image: &ImageView<'_>, max_bytes: usize) {
        // A copy of a copy would need the product of two steps.
        debug_assert_eq!(image.step, 1);
        let count = image.format.planes();
        let geometry = |step: usize| {
            let (width, height) = held_size(image.size, step);
            let mut planes = [(0, 0, 0); 3];
            for (i, plane) in planes.iter_mut().enumerate().take(count) {
                let (bytes, halved) = image.format.plane_layout(i);
                *plane = (
                    width.div_ceil(halved) * bytes,
                    height.div_ceil(halved),
                    bytes,
                );
            }
            planes
        };
        let bytes = |step| geometry(step).iter().map(|p| p.0 * p.1).sum::<usize>();
        let largest = image.size.0.min(image.size.1).max(1);
        let step = (1..largest)
            // A row is read whole, but not the rows between.
            .find(|step| bytes(*step) * step <= max_bytes)
            .unwrap_or(largest);

        let planes = geometry(step);
        let total = bytes(step);
        self.data.resize(total, 0);
        let mut layout = [(0, 0); 3];
        let mut rest = self.data.as_mut_slice();
        let mut offset = 0;
        for (i, (row, rows, bytes)) in planes.into_iter().enumerate().take(count) {
            let (target, tail) = rest.split_at_mut(row * rows);
            rest = tail;
            let source = image.planes[i];
            let source_rows = image.size.1.div_ceil(image.format.plane_layout(i).1);
            for (j, target) in target.chunks_exact_mut(row).enumerate() {
                let line = (j * step + step / 2).min(source_rows - 1);
                let line = &source.data[line * source.stride..];
                match (step, bytes) {
                    (1, _) => target.copy_from_slice(&line[..row]),
                    (_, 1) => thin::<1>(line, target, step),
                    (_, 2) => thin::<2>(line, target, step),
                    (_, 3) => thin::<3>(line, target, step),
                    _ => thin::<4>(line, target, step),
                }
            }
            layout[i] = (offset, row);
            offset += row * rows;
        }
        self.layout = Some(Layout {
            format: image.format,
            size: image.size,
            step,
            planes: layout,
            yuv: image.yuv,
            orientation: image.orientation,
        });
    }

    /// The last copy; `None` before the first one.
    pub fn view(&self) -> Option<ImageView<'_>> {
        let layout = self.layout?;
        let planes = layout.planes.map(|(offset, stride)| Plane {
            data: &self.data[offset..],
            stride,
        });
        ImageView::stepped(
            layout.format,
            layout.size,
            layout.step,
            &planes[..layout.format.planes()],
            layout.yuv,
        )
        .ok()
        .map(|view| view.oriented(layout.orientation))
    }
}

/// Copies every `step`-th pixel of `line`, beginning in the middle of the first `step` pixels.
fn thin<const BYTES: usize>(line: &[u8], target: &mut [u8], step: usize) {
    let (pixels, _) = line.as_chunks::<BYTES>();
    let (target, _) = target.as_chunks_mut::<BYTES>();
    // The compiler unrolls loops with a constant step.
    let done = match step {
        2 => thin_groups::<BYTES, 2>(pixels, target),
        3 => thin_groups::<BYTES, 3>(pixels, target),
        4 => thin_groups::<BYTES, 4>(pixels, target),
        5 => thin_groups::<BYTES, 5>(pixels, target),
        6 => thin_groups::<BYTES, 6>(pixels, target),
        _ => 0,
    };
    for (i, pixel) in target.iter_mut().enumerate().skip(done) {
        // The last chroma sample may lie beyond the end of the row.
        *pixel = pixels[(i * step + step / 2).min(pixels.len() - 1)];
    }
}

/// Copies one pixel of each whole group of `STEP`; returns their number.
fn thin_groups<const BYTES: usize, const STEP: usize>(
    pixels: &[[u8; BYTES]],
    target: &mut [[u8; BYTES]],
) -> usize {
    let (groups, _) = pixels.as_chunks::<STEP>();
    let count = groups.len().min(target.len());
    for (pixel, group) in target.iter_mut().zip(groups) {
        *pixel = group[STEP / 2];
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Roi;
    use crate::sample::LANES;

    const PLAIN: (f32, f32) = (255.0, 0.0);

    /// The same gradient picture in every format, rows padded by 5 bytes.
    fn picture(format: PixelFormat, width: usize, height: usize) -> Vec<(Vec<u8>, usize)> {
        let value = |x: usize, y: usize| (40 + x * 3 + y * 2) as u8;
        (0..format.planes())
            .map(|plane| {
                let (bytes, halved) = format.plane_layout(plane);
                let (w, h) = (width.div_ceil(halved), height.div_ceil(halved));
                let stride = w * bytes + 5;
                let mut data = vec![7; stride * h];
                for y in 0..h {
                    for x in 0..w {
                        for b in 0..bytes {
                            data[y * stride + x * bytes + b] = match plane {
                                0 => value(x, y),
                                _ => 128,
                            };
                        }
                    }
                }
                (data, stride)
            })
            .collect()
    }

    fn planes(data: &[(Vec<u8>, usize)]) -> Vec<Plane<'_>> {
        data.iter()
            .map(|(data, stride)| Plane {
                data,
                stride: *stride,
            })
            .collect()
    }

    const ALL: [PixelFormat; 7] = [
        PixelFormat::Rgb,
        PixelFormat::Bgr,
        PixelFormat::Rgbx,
        PixelFormat::Bgrx,
        PixelFormat::Gray8,
        PixelFormat::I420,
        PixelFormat::Nv12,
    ];

    #[test]
    fn every_format_shows_the_same_picture() {
        for format in ALL {
            // With an odd size the last chroma sample belongs to one pixel.
            let data = picture(format, 21, 13);
            let view = ImageView::new(
                format,
                21,
                13,
                &planes(&data),
                YuvToRgb::new(0.299, 0.114, true),
            )
            .expect("view");
            let mut out = Vec::new();
            let map = Affine {
                origin: (2.5, 3.0),
                dx: (2.0, 0.0),
                dy: (0.0, 1.0),
            };
            view.warp(&map, 4, Border::Replicate, PLAIN, &mut out);
            for j in 0..4 {
                for i in 0..4 {
                    let expected = 40.0 + (2.5 + 2.0 * i as f32) * 3.0 + (3.0 + j as f32) * 2.0;
                    for c in 0..3 {
                        let got = out[(j * 4 + i) * 3 + c];
                        assert!((got - expected).abs() < 1e-3, "{format:?} {got} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn channel_order_is_respected() {
        let sample = |format, pixel: &[u8]| {
            let plane = Plane {
                data: pixel,
                stride: pixel.len(),
            };
            let view =
                ImageView::new(format, 1, 1, &[plane], YuvToRgb::bt601()).expect("one pixel");
            let mut out = Vec::new();
            view.warp(
                &Affine {
                    origin: (0.0, 0.0),
                    dx: (1.0, 0.0),
                    dy: (0.0, 1.0),
                },
                1,
                Border::Black,
                PLAIN,
                &mut out,
            );
            out
        };
        assert_eq!(sample(PixelFormat::Rgb, &[1, 2, 3]), [1.0, 2.0, 3.0]);
        assert_eq!(sample(PixelFormat::Bgr, &[1, 2, 3]), [3.0, 2.0, 1.0]);
        assert_eq!(sample(PixelFormat::Rgbx, &[1, 2, 3, 9]), [1.0, 2.0, 3.0]);
        assert_eq!(sample(PixelFormat::Bgrx, &[1, 2, 3, 9]), [3.0, 2.0, 1.0]);
    }

    #[test]
    fn video_range_colours_come_out_right() {
        // Red in BT.601, video range, as colour-bar generators make it.
        let rgb = YuvToRgb::bt601().convert([81.0, 90.0, 240.0]);
        for (got, expected) in rgb.into_iter().zip([254.0, 0.0, 0.0]) {
            assert!((got - expected).abs() < 2.0, "{rgb:?}");
        }
        assert_eq!(
            YuvToRgb::bt601().convert([16.0, 128.0, 128.0]),
            [0.0, 0.0, 0.0]
        );
        let blue = YuvToRgb::new(0.2126, 0.0722, false).convert([32.0, 240.0, 118.0]);
        assert!(
            blue[0] < 2.0 && blue[1] < 2.0 && blue[2] > 252.0,
            "{blue:?}"
        );
    }

    #[test]
    fn outside_is_black_or_the_edge() {
        let data = vec![200; 16];
        let plane = Plane {
            data: &data,
            stride: 4,
        };
        let view =
            ImageView::new(PixelFormat::Gray8, 4, 4, &[plane], YuvToRgb::bt601()).expect("view");
        let far = Affine {
            origin: (-9.0, 1.0),
            dx: (1.0, 0.0),
            dy: (0.0, 1.0),
        };
        let mut out = Vec::new();
        view.warp(&far, 1, Border::Black, (2.0, -1.0), &mut out);
        assert_eq!(out, [-1.0; 3]);
        view.warp(&far, 1, Border::Replicate, PLAIN, &mut out);
        assert_eq!(out, [200.0; 3]);
    }

    /// Pixel by pixel, as written in a textbook.
    fn plain(
        format: PixelFormat,
        (width, height): (usize, usize),
        data: &[(Vec<u8>, usize)],
        at: (f32, f32),
    ) -> [f32; 3] {
        let value = |x: usize, y: usize| -> [f32; 3] {
            let byte = |plane: usize, x: usize, y: usize| {
                let (data, stride) = &data[plane];
                f32::from(data[y * stride + x])
            };
            match format {
                PixelFormat::Rgb => [0, 1, 2].map(|c| byte(0, x * 3 + c, y)),
                PixelFormat::I420 => [byte(0, x, y), byte(1, x / 2, y / 2), byte(2, x / 2, y / 2)],
                PixelFormat::Nv12 => [
                    byte(0, x, y),
                    byte(1, x / 2 * 2, y / 2),
                    byte(1, x / 2 * 2 + 1, y / 2),
                ],
                _ => unreachable!(),
            }
        };
        let x = at.0.clamp(0.0, (width - 1) as f32);
        let y = at.1.clamp(0.0, (height - 1) as f32);
        let mut sum = [0.0; 3];
        for (i, wx) in [(x.floor(), 1.0 - x.fract()), (x.ceil(), x.fract())] {
            for (j, wy) in [(y.floor(), 1.0 - y.fract()), (y.ceil(), y.fract())] {
                for (sum, v) in sum.iter_mut().zip(value(i as usize, j as usize)) {
                    *sum += v * wx * wy;
                }
            }
        }
        match format {
            PixelFormat::I420 | PixelFormat::Nv12 => YuvToRgb::bt601().convert(sum),
            _ => sum,
        }
    }

    #[test]
    fn groups_of_pixels_are_sampled_like_single_ones() {
        for format in [PixelFormat::Rgb, PixelFormat::I420, PixelFormat::Nv12] {
            let mut data = picture(format, 21, 13);
            // No two neighbours alike, in any component.
            for (plane, (bytes, _)) in data.iter_mut().enumerate() {
                for (i, byte) in bytes.iter_mut().enumerate() {
                    *byte = 60 + (i * (37 + plane * 10) % 130) as u8;
                }
            }
            let view =
                ImageView::new(format, 21, 13, &planes(&data), YuvToRgb::bt601()).expect("view");
            // Turned, and larger than the picture: all edges and corners are crossed.
            let roi = Roi {
                center: (10.0, 6.0),
                side: 33.0,
                angle: 0.4,
            };
            for border in [Border::Replicate, Border::Black] {
                // Less than a group, whole groups, whole groups and a rest.
                for size in [5, LANES, 2 * LANES, 2 * LANES + 7] {
                    // What an earlier, larger picture left must not show.
                    let mut out = vec![f32::NAN; 3 * (3 * LANES) * (3 * LANES)];
                    let map = roi.map(size);
                    view.warp(&map, size, border, (510.0, -1.0), &mut out);
                    assert_eq!(out.len(), size * size * 3);
                    let mut outside = 0;
                    for (n, got) in out.chunks_exact(3).enumerate() {
                        let at = map.apply((n % size) as f32, (n / size) as f32);
                        let inside = (0.0..=20.0).contains(&at.0) && (0.0..=12.0).contains(&at.1);
                        outside += usize::from(!inside);
                        let expected = match border == Border::Black && !inside {
                            true => [0.0; 3],
                            false => plain(format, (21, 13), &data, at),
                        };
                        for (got, expected) in got.iter().zip(expected) {
                            let expected = expected * 2.0 - 1.0;
                            assert!(
                                (got - expected).abs() < 1e-2,
                                "{format:?} {border:?} {size} {at:?}: {got} {expected}"
                            );
                        }
                    }
                    assert!(0 < outside && outside < size * size);
                }
            }
        }
    }

    #[test]
    fn pictures_of_a_few_pixels_are_sampled_too() {
        for format in [PixelFormat::Rgb, PixelFormat::I420, PixelFormat::Nv12] {
            for (width, height) in [(1, 1), (1, 5), (5, 1), (2, 2), (3, 3), (2, 7), (4, 4)] {
                let mut data = picture(format, width, height);
                for (plane, (bytes, _)) in data.iter_mut().enumerate() {
                    for (i, byte) in bytes.iter_mut().enumerate() {
                        *byte = 60 + (i * (37 + plane * 10) % 130) as u8;
                    }
                }
                let planes = planes(&data);
                let view = ImageView::new(format, width, height, &planes, YuvToRgb::bt601())
                    .expect("view");
                let map = Affine {
                    origin: (-1.0, -1.0),
                    dx: (0.7, 0.1),
                    dy: (-0.1, 0.7),
                };
                let mut out = Vec::new();
                view.warp(&map, 12, Border::Replicate, PLAIN, &mut out);
                for (n, got) in out.chunks_exact(3).enumerate() {
                    let at = map.apply((n % 12) as f32, (n / 12) as f32);
                    for (got, expected) in got.iter().zip(plain(format, (width, height), &data, at))
                    {
                        assert!(
                            (got - expected).abs() < 1e-2,
                            "{format:?} {width}x{height} {at:?}: {got} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_snapshot_samples_like_the_picture() {
        for format in ALL {
            for (width, height) in [(40, 30), (41, 33), (1, 1), (2, 3)] {
                let data = picture(format, width, height);
                let view = ImageView::new(format, width, height, &planes(&data), YuvToRgb::bt601())
                    .expect("view");
                let whole: usize = data.iter().map(|(d, _)| d.len()).sum();
                for (max, step) in [(whole, 1), (whole / 2, 2), (whole / 3, 3), (1, 30)] {
                    let mut snapshot = Snapshot::default();
                    assert!(snapshot.view().is_none());
                    snapshot.copy_from(&view, max);
                    let thinned = snapshot.view().expect("copied");
                    assert_eq!(thinned.size(), (width, height));
                    if (width, height) != (40, 30) || max == 1 {
                        continue;
                    }
                    assert_eq!(thinned.step, step);
                    let roi = Roi {
                        center: (20.0, 15.0),
                        side: 16.0,
                        angle: 0.3,
                    };
                    let (mut a, mut b) = (Vec::new(), Vec::new());
                    view.warp(&roi.map(8), 8, Border::Replicate, PLAIN, &mut a);
                    thinned.warp(&roi.map(8), 8, Border::Replicate, PLAIN, &mut b);
                    for (a, b) in a.iter().zip(&b) {
                        assert!((a - b).abs() < 1e-2, "{format:?} {max}: {a} {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_picture_is_sampled_as_it_is_shown() {
        const SIZE: (usize, usize) = (7, 5);
        // No two pixels alike.
        let data: Vec<u8> = (0..35).map(|i| i * 7).collect();
        let plane = Plane {
            data: &data,
            stride: SIZE.0,
        };
        let view = ImageView::new(
            PixelFormat::Gray8,
            SIZE.0,
            SIZE.1,
            &[plane],
            YuvToRgb::bt601(),
        )
        .expect("view");
        let map = Affine {
            origin: (0.0, 0.0),
            dx: (1.0, 0.0),
            dy: (0.0, 1.0),
        };
        for orientation in Orientation::ALL {
            let (width, height) = orientation.shown_size(SIZE);
            let mut snapshot = Snapshot::default();
            snapshot.copy_from(&view.oriented(orientation), data.len());
            let copy = snapshot.view().expect("copied");
            assert_eq!(copy.orientation(), orientation);
            for view in [view.oriented(orientation), copy] {
                let mut out = Vec::new();
                view.warp(&map, 7, Border::Black, PLAIN, &mut out);
                for (n, rgb) in out.chunks_exact(3).enumerate() {
                    let (x, y) = (n % 7, n / 7);
                    let (mx, my) = orientation.in_memory(SIZE, (x as f32, y as f32));
                    let expected = match x < width && y < height {
                        true => f32::from(data[my as usize * SIZE.0 + mx as usize]),
                        false => 0.0,
                    };
                    assert_eq!(rgb[0], expected, "{orientation:?} {x} {y}");
                }
            }
        }
    }

    #[test]
    fn short_memory_is_refused_by_name() {
        let plane = |data| Plane { data, stride: 4 };
        let make = |planes: &[Plane]| {
            ImageView::new(PixelFormat::I420, 4, 4, planes, YuvToRgb::bt601())
                .expect_err("must be refused")
                .to_string()
        };
        assert!(make(&[plane(&[0; 16])]).contains("expected 3 planes, found 1"));
        let text = make(&[plane(&[0; 16]), plane(&[0; 6]), plane(&[0; 5])]);
        assert!(
            text.contains("plane 2") && text.contains("6 bytes") && text.contains("5 bytes"),
            "{text}"
        );
        let empty = ImageView::new(
            PixelFormat::Gray8,
            0,
            4,
            &[plane(&[0; 16])],
            YuvToRgb::bt601(),
        );
        assert!(matches!(empty, Err(ImageError::Empty { .. })));
    }
}
