// SPDX-License-Identifier: MPL-2.0
//! What travels on video buffers: [`EmotionMeta`], [`FaceUnitsMeta`], [`PhysioMeta`] and
//! [`PhysioTraceMeta`]. [`PhysioMeta`] also travels on buffers of sensors.
//!
//! All are `GstCustomMeta`: no header is needed to read them from C
//! (`gst_buffer_get_custom_meta`), Python (`buf.get_custom_meta`) or Rust. They
//! are registered without tags, so that converting, scaling or encoding elements
//! keep them: a result describes the person, not the pixels.

#![warn(missing_docs)]

#[cfg(feature = "v1_24")]
mod analytics;
mod emotion;
mod face_units;
mod physio;
mod physio_trace;

pub use emotion::{EMOTION_MESSAGE, EMOTION_META, EmotionMeta, EmotionStamp};
pub(crate) use face_units::UnitOrder;
pub use face_units::{FACE_REGION, FACE_UNITS_META, FaceUnitsMeta};
pub use physio::{PHYSIO_MESSAGE, PHYSIO_META, PhysioMeta};
pub use physio_trace::{PHYSIO_TRACE_META, PhysioTrace, PhysioTraceMeta};

/// Registers the metadata types; safe to call more than once and from any thread.
pub fn register() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // Another copy of this library in the process may have been first.
    ONCE.call_once(|| {
        for name in [
            EMOTION_META,
            FACE_UNITS_META,
            PHYSIO_META,
            PHYSIO_TRACE_META,
        ] {
            if !gst::meta::CustomMeta::is_registered(name) {
                gst::meta::CustomMeta::register(name, &[]);
            }
        }
    });
}

/// Puts a custom meta `name` with the fields that `fill` sets on `buffer`, in place of an earlier one.
fn replace_custom_meta(
    buffer: &mut gst::BufferRef,
    name: &str,
    fill: impl FnOnce(&mut gst::StructureRef),
) -> Result<(), gst::glib::BoolError> {
    remove_custom_meta(buffer, name)?;
    let mut meta = gst::meta::CustomMeta::add(buffer, name)?;
    fill(meta.mut_structure());
    Ok(())
}

fn remove_custom_meta(buffer: &mut gst::BufferRef, name: &str) -> Result<(), gst::glib::BoolError> {
    while let Ok(old) = gst::meta::CustomMeta::from_mut_buffer(buffer, name) {
        old.remove()
            .map_err(|_| gst::glib::bool_error!("the existing {} on the buffer is locked", name))?;
    }
    Ok(())
}
