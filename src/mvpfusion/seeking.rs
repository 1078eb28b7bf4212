// SPDX-License-Identifier: MPL-2.0
//! Seeks: film and body go to the same moment together, or not at all.

use super::imp::{CAT, MvpFusion};
use super::seek;
use super::state::{AHEAD, Before, Side, State};
use gst::prelude::*;
use gst::subclass::prelude::*;

impl MvpFusion {
    /// Sends a seek to every linked sink pad, physiology first: film and body go to the
    /// same moment, or stay where they are.
    pub(super) fn seek(&self, event: &gst::Event, seek: &gst::event::Seek) -> bool {
        {
            let mut state = self.state();
            while state.leading && state.running {
                state = self.wait(state);
            }
            // It comes once for each sink.
            if let Some((same, done)) = state.seek
                && same == event.seqnum()
            {
                return done;
            }
            state.leading = true;
        }
        let done = self.seek_alone(event, seek);
        self.state().leading = false;
        self.changed.notify_all();
        done
    }

    /// No other seek is on its way through the element.
    fn seek_alone(&self, event: &gst::Event, seek: &gst::event::Seek) -> bool {
        gst::info!(CAT, imp = self, "seek {:?} {seek:?}", event.seqnum());
        let seqnum = event.seqnum();
        let branches: Vec<(String, gst::Pad)> = {
            let state = self.state();
            let sides = state.sides.iter().filter(|(_, s)| s.is_linked());
            let pads = sides.filter_map(|(name, s)| Some((name.clone(), s.pad.clone()?)));
            pads.chain([("video".into(), self.sinkpad.clone())])
                .collect()
        };
        let wanted = seek::wanted(seek);
        // Without a body there is nothing yet that the film could part from.
        if branches.len() == 1 {
            let done = self.sinkpad.push_event(event.clone());
            if done {
                self.state().led = Some((seqnum, wanted));
            }
            return done;
        }
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(why) => return self.refuse(seqnum, &why),
        };
        if let Some(why) = branches.iter().find_map(|(name, pad)| cannot(name, pad)) {
            return self.refuse(seqnum, &why);
        }
        let before = self.part(seqnum);
        let own = if before.spoilt {
            gst::Seqnum::next()
        } else {
            seqnum
        };
        let event = wanted.event(own);
        let led = self.state().led.replace((own, Ok(wanted)));
        let mut failed = None;
        let mut moved = before.spoilt;
        for (name, pad) in &branches {
            let done = pad.push_event(event.clone());
            // What feeds it is not there yet: it is led when it comes.
            if !done && self.is_unmet(name) {
                continue;
            }
            if !done || self.is_void(name) {
                failed = Some(match done {
                    false => format!("the branch of pad {name} did not follow the seek"),
                    true => format!("the branch of pad {name} took the seek and did not flush"),
                });
                break;
            }
            moved = true;
        }
        let Some(why) = failed else {
            self.state().seek = Some((seqnum, true));
            return true;
        };
        self.join(before);
        self.state().led = led;
        if !moved {
            return self.refuse(seqnum, &why);
        }
        self.state().seek = Some((seqnum, false));
        gst::element_imp_error!(
            self,
            gst::CoreError::Seek,
            ("{why}, and others did: body and face are not of one time any more")
        );
        false
    }

    /// Begins a seek: of what comes now, nothing counts until its pad is flushed.
    fn part(&self, seqnum: gst::Seqnum) -> Before {
        let mut state = self.state();
        let here = |s: &Side| s.flushed == Some(seqnum);
        let before = Before {
            hops: (state.last_hop, state.video_time),
            // What another sink's branch has set off already may be lost by now.
            spoilt: state.video_eos && state.sides.values().any(here)
                || state
                    .sides
                    .values()
                    .any(|s| here(s) && s.progress > state.hop + AHEAD),
        };
        state.begin_anew(0);
        state.video_time = 0;
        state.video_eos = false;
        state.video_void = before.spoilt || state.video_flushed != Some(seqnum);
        for side in state.sides.values_mut() {
            side.void = side.is_linked() && (before.spoilt || side.flushed != Some(seqnum));
        }
        drop(state);
        self.changed.notify_all();
        before
    }

    /// After a seek that nobody has followed: all goes on as it was.
    fn join(&self, before: Before) {
        let mut state = self.state();
        if state.video_void {
            (state.last_hop, state.video_time) = before.hops;
            state.video_eos = self.sinkpad.pad_flags().contains(gst::PadFlags::EOS);
        }
        state.video_void = false;
        for side in state.sides.values_mut() {
            side.void = false;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Leads a branch that came after a seek to where the others are.
    pub(super) fn lead(&self, name: &str, seqnum: gst::Seqnum, wanted: &seek::Wanted) {
        let pad = {
            let mut state = self.state();
            while state.leading && state.running {
                state = self.wait(state);
            }
            // Another seek may have come, and the pad before may have set off this one's
            // stream as well.
            let newest = state.led.as_ref().is_some_and(|(seek, _)| *seek == seqnum);
            let side = state.sides.get(name).filter(|s| s.void && newest);
            let Some(pad) = side.and_then(|s| s.pad.clone()) else {
                return;
            };
            state.leading = true;
            pad
        };
        let why = cannot(name, &pad).or_else(|| {
            while !pad.push_event(wanted.event(seqnum)) {
                // Another flush is on its way through the branch, and swallows events.
                let mut state = self.state();
                let flushing = |s: &State| s.sides.get(name).is_some_and(|s| s.flushing);
                if !flushing(&state) {
                    break;
                }
                while flushing(&state) && state.running {
                    state = self.wait(state);
                }
            }
            self.is_void(name)
                .then(|| format!("the branch of pad {name} did not follow it"))
        });
        {
            let mut state = self.state();
            state.leading = false;
            if let Some(side) = state.sides.get_mut(name) {
                side.void = false;
            }
        }
        self.changed.notify_all();
        // What is live has the pipeline's time and no other.
        let live = gst_common::upstream_is_live(&pad) == Some(true);
        if let Some(why) = why.filter(|_| !live && self.state().running) {
            self.tell_parted(&why);
        }
    }

    fn is_unmet(&self, name: &str) -> bool {
        self.with_side(name, |side| !side.met).unwrap_or(false)
    }

    fn is_void(&self, name: &str) -> bool {
        let state = self.state();
        match state.sides.get(name) {
            Some(side) => side.void,
            None => name == "video" && state.video_void,
        }
    }

    /// Says why a seek is not followed; false.
    fn refuse(&self, seqnum: gst::Seqnum, why: &str) -> bool {
        let parted = {
            let mut state = self.state();
            state.seek = Some((seqnum, false));
            let mut sides = state.sides.values();
            sides.any(|s| s.flushed == Some(seqnum)) || state.video_flushed == Some(seqnum)
        };
        if parted {
            self.tell_parted(why);
        } else {
            gst::element_imp_warning!(self, gst::CoreError::Seek, ("no seek: {why}"));
        }
        false
    }

    pub(super) fn tell_parted(&self, why: &str) {
        gst::element_imp_error!(
            self,
            gst::CoreError::Seek,
            ("no seek: {why}. A part of the pipeline has followed it through another sink: body \
                 and face are not of one time any more")
        );
    }
}

/// Why what feeds `pad` cannot be sought, if it says so.
fn cannot(name: &str, pad: &gst::Pad) -> Option<String> {
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
