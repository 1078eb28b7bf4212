// SPDX-License-Identifier: MPL-2.0
//! The result in GStreamer's own terms, for elements that know nothing of this plugin.

use super::EmotionMeta;
use gst::glib::{self, Quark};
use gst_analytics::{AnalyticsRelationMeta, prelude::*};

impl EmotionMeta {
    /// Adds a classification to the buffer's `GstAnalyticsRelationMeta` (made where there
    /// is none): the bundle's classes with their probabilities, or else, and where the
    /// label is unknown, the label with the result's confidence.
    ///
    /// # Errors
    /// When the relation metadata is full.
    pub fn attach_classification(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<(), glib::BoolError> {
        let (levels, classes): (Vec<f32>, Vec<Quark>) =
            if self.classes.is_empty() || !self.is_known() {
                (
                    vec![self.confidence as f32],
                    vec![Quark::from_str(&self.label)],
                )
            } else {
                let classes = self.classes.iter();
                classes
                    .map(|(name, p)| (*p as f32, Quark::from_str(name)))
                    .unzip()
            };
        let mut relations = if buffer.meta::<AnalyticsRelationMeta>().is_some() {
            buffer
                .meta_mut::<AnalyticsRelationMeta>()
                .ok_or_else(|| glib::bool_error!("the relation metadata is locked"))?
        } else {
            AnalyticsRelationMeta::add(buffer)
        };
        relations.add_cls_mtd(&levels, &classes)?;
        Ok(())
    }
}
