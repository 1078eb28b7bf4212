// SPDX-License-Identifier: MPL-2.0
//! From a mapped video frame to the image that the face analysis takes.

use face::{ImageError, ImageView, Orientation, PixelFormat, Plane, YuvToRgb};
use gst_video::VideoFormat;
use gst_video::prelude::*;

/// The pixels of a mapped frame, to be shown in the way of `orientation`.
pub(super) fn view<'a>(
    frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>,
    orientation: Orientation,
) -> Result<ImageView<'a>, ImageError> {
    let format = match frame.format() {
        VideoFormat::Rgb => PixelFormat::Rgb,
        VideoFormat::Bgr => PixelFormat::Bgr,
        VideoFormat::Rgbx | VideoFormat::Rgba => PixelFormat::Rgbx,
        VideoFormat::Bgrx | VideoFormat::Bgra => PixelFormat::Bgrx,
        VideoFormat::I420 => PixelFormat::I420,
        VideoFormat::Nv12 => PixelFormat::Nv12,
        // The template lets nothing else through.
        _ => PixelFormat::Gray8,
    };
    let planes: Vec<Plane<'_>> = frame
        .plane_stride()
        .iter()
        .zip(frame.planes_data())
        .take(frame.n_planes() as usize)
        .map(|(stride, data)| Plane {
            data,
            // A negative stride is shorter than any row, hence refused.
            stride: usize::try_from(*stride).unwrap_or(0),
        })
        .collect();
    let colorimetry = frame.info().colorimetry();
    let (kr, kb) = match colorimetry.matrix() {
        gst_video::VideoColorMatrix::Bt709 => (0.2126, 0.0722),
        gst_video::VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
        gst_video::VideoColorMatrix::Smpte240m => (0.212, 0.087),
        gst_video::VideoColorMatrix::Fcc => (0.30, 0.11),
        _ => (0.299, 0.114),
    };
    let full = colorimetry.range() == gst_video::VideoColorRange::Range0_255;
    ImageView::new(
        format,
        frame.width() as usize,
        frame.height() as usize,
        &planes,
        YuvToRgb::new(kr, kb, full),
    )
    .map(|view| view.oriented(orientation))
}
