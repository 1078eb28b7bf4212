// SPDX-License-Identifier: MPL-2.0
//! Seeks: video and physiology go to the same position together, or stay where they are.

use super::branch_seek::{self, BranchSeek};
use super::imp::{CAT, MvpFusion};
use super::state::{AHEAD, BeforeSeek, PhysioPad, State};
use gst::prelude::*;
use gst::subclass::prelude::*;

impl MvpFusion {
    /// Answers a seek event. It is sent to every linked sink pad, physiology first.
    pub(super) fn seek(&self, event: &gst::Event, seek: &gst::event::Seek) -> bool {
        {
            let mut state = self.state();
            while state.seek_in_progress && state.running {
                state = self.wait(state);
            }
            // The same event comes once for each sink.
            if let Some((same, done)) = state.answered_seek
                && same == event.seqnum()
            {
                gst::debug!(CAT, obj = self.srcpad, "seek {same:?} came before: {done}");
                return done;
            }
            state.seek_in_progress = true;
        }
        let done = self.seek_branches(event, seek);
        gst::debug!(
            CAT,
            obj = self.srcpad,
            "seek {:?}: {}",
            event.seqnum(),
            if done { "done" } else { "not followed" }
        );
        self.state().seek_in_progress = false;
        self.changed.notify_all();
        done
    }

    /// Sends the seek to each branch. Only the thread that set `seek_in_progress` is here.
    fn seek_branches(&self, event: &gst::Event, seek: &gst::event::Seek) -> bool {
        gst::info!(CAT, obj = self.srcpad, "seek {:?} {seek:?}", event.seqnum());
        let seqnum = event.seqnum();
        let branches: Vec<(String, gst::Pad)> = {
            let state = self.state();
            let physio_pads = state.physio_pads.iter().filter(|(_, s)| s.is_linked());
            let pads = physio_pads.filter_map(|(name, s)| Some((name.clone(), s.pad.clone()?)));
            pads.chain([("video".into(), self.sinkpad.clone())])
                .collect()
        };
        let wanted = branch_seek::branch_seek(seek);
        // Only the video is linked: it may follow any seek.
        if branches.len() == 1 {
            let done = self.sinkpad.push_event(event.clone());
            if done {
                self.state().followed_seek = Some((seqnum, wanted));
            }
            return done;
        }
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(why) => return self.refuse(seqnum, &why),
        };
        if let Some(why) = branches
            .iter()
            .find_map(|(name, pad)| why_not_seekable(name, pad))
        {
            return self.refuse(seqnum, &why);
        }
        let before = self.begin_seek(seqnum);
        let own = if before.data_lost {
            gst::Seqnum::next()
        } else {
            seqnum
        };
        let event = wanted.event(own);
        let followed_before = self.state().followed_seek.replace((own, Ok(wanted)));
        let mut failed = None;
        let mut moved = before.data_lost;
        for (name, pad) in &branches {
            let done = pad.push_event(event.clone());
            gst::debug!(
                CAT,
                obj = pad,
                "seek {own:?} to the {name} branch: {}",
                if done { "taken" } else { "not taken" }
            );
            // No stream has come to the pad yet: it is sought when one comes.
            if !done && self.lacks_segment(name) {
                continue;
            }
            if !done || self.awaits_flush(name) {
                failed = Some(match done {
                    false => format!("the branch of pad {name} did not follow the seek"),
                    true => format!("the branch of pad {name} took the seek and did not flush"),
                });
                break;
            }
            moved = true;
        }
        let Some(why) = failed else {
            self.state().answered_seek = Some((seqnum, true));
            return true;
        };
        self.undo_seek(before);
        self.state().followed_seek = followed_before;
        if !moved {
            return self.refuse(seqnum, &why);
        }
        self.state().answered_seek = Some((seqnum, false));
        gst::element_imp_error!(
            self,
            gst::CoreError::Seek,
            ("{why}, and others did: body and face are not of one time any more")
        );
        false
    }

    /// Drops the answers so far. Samples that come now are from before the seek, until
    /// their pad is flushed.
    fn begin_seek(&self, seqnum: gst::Seqnum) -> BeforeSeek {
        let mut state = self.state();
        let already = |s: &PhysioPad| s.flushed == Some(seqnum);
        let before = BeforeSeek {
            hops: (state.last_hop, state.video_time),
            // The same seek came to these branches through another sink first. What they
            // sent since then may have been dropped.
            data_lost: state.video_eos && state.physio_pads.values().any(already)
                || state
                    .physio_pads
                    .values()
                    .any(|s| already(s) && s.progress > state.hop + AHEAD),
        };
        state.restart_windows(0);
        state.video_time = 0;
        state.video_eos = false;
        state.video_awaits_flush = before.data_lost || state.video_flushed != Some(seqnum);
        for physio in state.physio_pads.values_mut() {
            physio.awaits_flush =
                physio.is_linked() && (before.data_lost || physio.flushed != Some(seqnum));
        }
        drop(state);
        self.changed.notify_all();
        before
    }

    /// Restores the state from before a seek that no branch has followed.
    fn undo_seek(&self, before: BeforeSeek) {
        let mut state = self.state();
        if state.video_awaits_flush {
            (state.last_hop, state.video_time) = before.hops;
            state.video_eos = self.sinkpad.pad_flags().contains(gst::PadFlags::EOS);
        }
        state.video_awaits_flush = false;
        for physio in state.physio_pads.values_mut() {
            physio.awaits_flush = false;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Seeks a branch that was linked after a seek to the position of the others.
    pub(super) fn seek_late_branch(&self, name: &str, seqnum: gst::Seqnum, wanted: &BranchSeek) {
        let pad = {
            let mut state = self.state();
            while state.seek_in_progress && state.running {
                state = self.wait(state);
            }
            // A newer seek may have come, and a demuxer that feeds two pads is sought
            // once only.
            let newest = state
                .followed_seek
                .as_ref()
                .is_some_and(|(seek, _)| *seek == seqnum);
            let physio = state
                .physio_pads
                .get(name)
                .filter(|s| s.awaits_flush && newest);
            let Some(pad) = physio.and_then(|s| s.pad.clone()) else {
                return;
            };
            state.seek_in_progress = true;
            pad
        };
        gst::debug!(CAT, obj = pad, "sought to the others' position: {wanted:?}");
        let why = why_not_seekable(name, &pad).or_else(|| {
            while !pad.push_event(wanted.event(seqnum)) {
                // A pad that is being flushed takes no events: try again after the flush.
                let mut state = self.state();
                let flushing = |s: &State| s.physio_pads.get(name).is_some_and(|s| s.flushing);
                if !flushing(&state) {
                    break;
                }
                while flushing(&state) && state.running {
                    state = self.wait(state);
                }
            }
            self.awaits_flush(name)
                .then(|| format!("the branch of pad {name} did not follow it"))
        });
        {
            let mut state = self.state();
            state.seek_in_progress = false;
            if let Some(physio) = state.physio_pads.get_mut(name) {
                physio.awaits_flush = false;
            }
        }
        self.changed.notify_all();
        // A live source cannot be sought; its samples are in the pipeline's time.
        let live = gst_common::upstream_is_live(&pad) == Some(true);
        if let Some(why) = why.filter(|_| !live && self.state().running) {
            self.report_out_of_sync(&why);
        }
    }

    fn lacks_segment(&self, name: &str) -> bool {
        self.with_physio_pad(name, |physio| !physio.has_segment)
            .unwrap_or(false)
    }

    fn awaits_flush(&self, name: &str) -> bool {
        let state = self.state();
        match state.physio_pads.get(name) {
            Some(physio) => physio.awaits_flush,
            None => name == "video" && state.video_awaits_flush,
        }
    }

    /// Posts why a seek is not followed; returns false.
    fn refuse(&self, seqnum: gst::Seqnum, why: &str) -> bool {
        gst::warning!(CAT, obj = self.srcpad, "seek {seqnum:?} is refused: {why}");
        let out_of_sync = {
            let mut state = self.state();
            state.answered_seek = Some((seqnum, false));
            let mut physio_pads = state.physio_pads.values();
            physio_pads.any(|s| s.flushed == Some(seqnum)) || state.video_flushed == Some(seqnum)
        };
        if out_of_sync {
            self.report_out_of_sync(why);
        } else {
            gst::element_imp_warning!(self, gst::CoreError::Seek, ("no seek: {why}"));
        }
        false
    }

    pub(super) fn report_out_of_sync(&self, why: &str) {
        gst::element_imp_error!(
            self,
            gst::CoreError::Seek,
            ("no seek: {why}. A part of the pipeline has followed it through another sink: body \
                 and face are not of one time any more")
        );
    }
}

/// Why what feeds `pad` cannot be sought, if it says so.
fn why_not_seekable(name: &str, pad: &gst::Pad) -> Option<String> {
    let mut query = gst::query::Seeking::new(gst::Format::Time);
    if !pad.peer_query(&mut query) || query.result().0 {
        return None;
    }
    let why = match gst_common::upstream_is_live(pad) {
        Some(true) => "what feeds it is live",
        _ => {
            "what feeds it says that it cannot seek by time; put a file source (filesrc) and a \
             demuxer there"
        }
    };
    Some(format!("the branch of pad {name} cannot seek: {why}"))
}
