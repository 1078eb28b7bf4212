// SPDX-License-Identifier: MPL-2.0
//! The physiology pads come and go; they are the children of the element (GstChildProxy).

use super::MvpFusionPad;
use super::imp::{CAT, MvpFusion};
use super::state::PhysioPad;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

/// Pads that are asked for by a fixed name.
pub(super) const FIXED: [&str; 3] = ["ecg", "eda", "ppg"];

impl ChildProxyImpl for MvpFusion {
    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        self.children().into_iter().nth(index as usize)
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        let pad = self.obj().static_pad(name)?;
        pad.is::<MvpFusionPad>().then(|| pad.upcast())
    }

    fn children_count(&self) -> u32 {
        self.children().len() as u32
    }
}

impl MvpFusion {
    fn children(&self) -> Vec<glib::Object> {
        let state = self.state();
        let pads = state.physio_pads.values().filter_map(|p| p.pad.clone());
        pads.map(Cast::upcast).collect()
    }

    pub(super) fn new_physio_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
    ) -> Option<gst::Pad> {
        let pad_name = match (template.name_template(), name) {
            ("physio_%s", Some(name)) if name.len() > "physio_".len() => name.to_string(),
            ("physio_%s", _) => {
                gst::element_imp_warning!(
                    self,
                    gst::CoreError::Pad,
                    (
                        "a link that names no pad comes from a stream whose type is of none of the \
                         pads {}. Name the pad: {}.eda, or {1}.physio_resp for another signal",
                        FIXED.join(", "),
                        self.obj().name()
                    )
                );
                return None;
            }
            (fixed, _) => fixed.to_string(),
        };
        let modality = pad_name
            .strip_prefix("physio_")
            .unwrap_or(&pad_name)
            .to_string();
        if modality == "video" {
            gst::element_imp_warning!(
                self,
                gst::CoreError::Pad,
                ("no pad {pad_name}: video is the film, which comes to the pad sink; expected the \
                  name of a physiological signal, such as physio_resp")
            );
            return None;
        }
        {
            let mut state = self.state();
            if state.physio_pads.contains_key(&modality) {
                drop(state);
                gst::element_imp_warning!(
                    self,
                    gst::CoreError::Pad,
                    ("the signal {modality} has a pad already; expected one stream for each signal")
                );
                return None;
            }
            state
                .physio_pads
                .insert(modality.clone(), PhysioPad::default());
            state.live = None;
        }
        let (m1, m2) = (modality.clone(), modality.clone());
        let pad = gst::PadBuilder::<MvpFusionPad>::from_template(template)
            .name(pad_name)
            .chain_function(move |pad, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.physio_chain(pad.upcast_ref(), &m1, buffer),
                )
            })
            .event_function(move |pad, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || false,
                    |imp| imp.physio_event(pad.upcast_ref(), &m2, &event),
                )
            })
            .query_function(Self::physio_query)
            // Physiology is not passed to the source pad.
            .iterate_internal_links_function(|_, _| gst::Iterator::from_vec(vec![]))
            .build()
            .upcast::<gst::Pad>();
        let weak = self.obj().downgrade();
        pad.connect_unlinked(move |_, _| {
            // A frame may be waiting for samples that do not come any more.
            if let Some(element) = weak.upgrade() {
                // Whoever looked before and is about to wait must not miss it.
                drop(element.imp().state());
                element.imp().changed.notify_all();
            }
        });
        self.with_physio_pad(&modality, |physio| physio.pad = Some(pad.clone()));
        // A pad that is added to a running element has to be activated here.
        if self.obj().current_state() > gst::State::Ready && pad.set_active(true).is_err() {
            gst::warning!(CAT, imp = self, "pad {modality} could not be activated");
        }
        match self.obj().add_pad(&pad) {
            Ok(()) => {
                gst::debug!(CAT, obj = pad, "added for the signal {modality}");
                self.obj().child_added(&pad, &pad.name());
                Some(pad)
            }
            Err(e) => {
                gst::error!(CAT, imp = self, "{e}");
                self.state().physio_pads.remove(&modality);
                None
            }
        }
    }

    pub(super) fn release_physio_pad(&self, pad: &gst::Pad) {
        let name = pad.name();
        let modality = name.strip_prefix("physio_").unwrap_or(&name);
        {
            let mut state = self.state();
            state.physio_pads.remove(modality);
            state.sensors.remove(modality);
            state.live = None;
        }
        self.changed.notify_all();
        gst::debug!(CAT, obj = pad, "released");
        self.obj().child_removed(pad, &name);
        let _ = pad.set_active(false);
        if let Err(e) = self.obj().remove_pad(pad) {
            gst::warning!(CAT, imp = self, "{e}");
        }
    }
}
