// SPDX-License-Identifier: MPL-2.0
//! The video: frames, their times, and the answers that they ask for.

use super::imp::{CAT, MvpFusion};
use super::pace::{self, Pace, Verdict};
use super::state::{AHEAD, State};
use super::worker::{Answered, Job};
use crate::common::Sync;
use crate::meta::{PhysioTrace, PhysioTraceMeta};
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst::{ClockTime, glib};
use gst_common::Phase;
use mvp::Inputs;
use std::sync::{Arc, MutexGuard};

/// Traces are cut anew this often; frames in between share them.
const TRACE_PERIOD: u64 = 100_000_000;
/// Answers given at one frame at the most, when waiting.
const MAX_CATCH_UP: u64 = 600;
/// A hole in the video that is longer (ns) is told.
const HOLE: u64 = 5_000_000_000;
/// Jumps of the video's time are told this often.
const JUMPS_TOLD: u32 = 10;

impl MvpFusion {
    pub(super) fn sink_chain(
        &self,
        mut buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::trace!(CAT, obj = self.sinkpad, "{buffer:?}");
        let (own, verdict, inputs, live) = {
            let mut state = self.state();
            if state.failed() {
                return Err(gst::FlowError::Error);
            }
            if state.video_void {
                drop(state);
                return self.srcpad.push(buffer);
            }
            let own = state
                .segment
                .as_ref()
                .and_then(|s| s.to_running_time(buffer.pts()))
                .map(ClockTime::nseconds);
            let duration = buffer.duration().map(ClockTime::nseconds);
            let verdict = own.map(|t| state.pace.judge(t, duration));
            (own, verdict, state.inputs.clone(), state.live)
        };
        // When it was taken, where that can be believed.
        let time = own.filter(|_| verdict != Some(Verdict::Stray));
        match verdict {
            Some(Verdict::Stray) => {
                gst::warning!(
                    CAT,
                    imp = self,
                    "the frame at {} has a time of its own; no answer is made for it",
                    own.map(ClockTime::from_nseconds).display()
                );
                self.state().stats.stray += 1;
            }
            Some(Verdict::Jump {
                from: Some(from),
                to,
            }) => self.jump(from, to),
            _ => {}
        }
        let live = match live {
            Some(live) => live,
            None => self.decide(),
        };
        if let Some(inputs) = &inputs
            && verdict != Some(Verdict::Stray)
        {
            self.take_units(inputs, &buffer, time);
        }
        if let Some(time) = time {
            if live {
                self.ask(time)?;
            } else {
                self.ask_and_wait(time)?;
            }
        }
        let traces = time.zip(inputs).and_then(|(t, i)| self.traces(t, &i));
        self.mark(buffer.make_mut(), own, live, traces)
            .map_err(|e| {
                gst::element_imp_error!(self, gst::StreamError::Failed, ("{e}"));
                gst::FlowError::Error
            })?;
        self.srcpad.push(buffer)
    }

    /// Puts the newest result and the traces on a frame whose timestamp says `own` (ns).
    fn mark(
        &self,
        buffer: &mut gst::BufferRef,
        own: Option<u64>,
        live: bool,
        traces: Option<Arc<PhysioTraceMeta>>,
    ) -> Result<(), glib::BoolError> {
        let (result, hop, settle, latency) = {
            let mut state = self.state();
            state.stats.frames += 1;
            // Those that a streaming thread waited for are taken already.
            let newest = state.worker.as_ref().and_then(|w| w.take_answers().pop());
            if newest.is_some() {
                state.result = newest;
            }
            (state.result.clone(), state.hop, state.settle, state.latency)
        };
        if let Some(traces) = traces {
            traces.attach(buffer)?;
        }
        let Some(Answered { meta, stamp, .. }) = result else {
            return Ok(());
        };
        let end = meta.window_end.nseconds();
        let mut age = own.unwrap_or(0).saturating_sub(end);
        // Frames whose times stand still or go astray do not make an answer fresh.
        if let Some(now) = live.then(|| self.running_time()).flatten() {
            age = age.max(now.saturating_sub(latency).saturating_sub(end));
        }
        let stale = live && age > settle + 3 * hop;
        stamp.attach(buffer, ClockTime::from_nseconds(age), stale)?;
        #[cfg(feature = "v1_24")]
        meta.attach_classification(buffer)?;
        Ok(())
    }

    /// Gives the units of the longest-followed face to the video track, on a frame of
    /// running time `time`.
    fn take_units(&self, inputs: &Inputs, buffer: &gst::BufferRef, time: Option<u64>) {
        let order = self.state().units.clone();
        // They may be those of an earlier frame, and that one may have been a stray.
        let latest = time.map(|t| ClockTime::from_nseconds(t.saturating_add(pace::NEAR)));
        if let Some(face) = order.and_then(|o| o.first_face(buffer, latest)) {
            let mut video = inputs.video();
            video.push(face.time.nseconds(), face.confidence, &face.values);
        }
    }

    /// The pipeline's running time while it plays, ns.
    fn running_time(&self) -> Option<u64> {
        let obj = self.obj();
        // A pause stops it, and the element is not told.
        (obj.current_state() == gst::State::Playing)
            .then(|| obj.current_running_time())
            .flatten()
            .map(ClockTime::nseconds)
    }

    /// The video goes on at `to` instead of `from`, and not for one frame.
    fn jump(&self, from: u64, to: u64) {
        let back = to < from;
        let (tell, inputs, overtaken) = {
            let mut state = self.state();
            let mut overtaken = Vec::new();
            if back {
                // What was closed for windows that have not come yet takes no samples.
                let closed = state.last_hop * state.hop;
                let sides = state.sides.iter();
                let behind = sides.filter(|(_, s)| s.progress.saturating_add(AHEAD) < closed);
                overtaken = behind.map(|(name, _)| name.clone()).collect();
                let last = to / state.hop.max(1);
                state.begin_anew(last);
                state.video_time = to;
            }
            state.stats.jumps += u32::from(back || to - from > HOLE);
            let tell = (back || to - from > HOLE) && state.stats.jumps <= JUMPS_TOLD;
            (tell, state.inputs.clone().filter(|_| back), overtaken)
        };
        if let Some(inputs) = inputs {
            self.rest();
            inputs.video().flush();
            for mut track in overtaken.iter().filter_map(|name| inputs.signal(name)) {
                track.flush();
            }
        }
        if tell {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                (
                    "the timestamps of the video jumped from {} to {} and go on from there: the \
                     windows {}. Expected running time without jumps; look at what stamps the \
                     video before mvpfusion",
                    ClockTime::from_nseconds(from),
                    ClockTime::from_nseconds(to),
                    match back {
                        true => "begin anew",
                        false => "go on at the new time, with what they hold of it",
                    }
                )
            );
        }
    }

    /// The last seconds of every linked signal, for drawing.
    fn traces(&self, time: u64, inputs: &Inputs) -> Option<Arc<PhysioTraceMeta>> {
        let (names, length) = {
            let state = self.state();
            if let Some((at, traces)) = &state.traces
                && (*at..*at + TRACE_PERIOD).contains(&time)
            {
                return Some(traces.clone());
            }
            if state.trace.is_zero() || state.sides.is_empty() {
                return None;
            }
            (state.sides.keys().cloned().collect::<Vec<_>>(), state.trace)
        };
        let traces = names.iter().filter_map(|name| {
            let track = inputs.signal(name)?;
            let seconds = length.nseconds() as f64 / 1e9;
            let recent = track.recent(seconds, time).into_iter();
            Some(PhysioTrace::new(
                name,
                track.spec().rate,
                ClockTime::from_nseconds(time),
                recent.map(|v| v.unwrap_or(f32::NAN)),
            ))
        });
        let traces = Arc::new(PhysioTraceMeta {
            traces: traces.collect(),
        });
        self.state().traces = Some((time, traces.clone()));
        Some(traces)
    }

    /// Whether to run live: as told, or as the inputs are.
    pub(super) fn is_live(&self) -> bool {
        let sync = self.state().sync;
        match sync {
            Sync::Live => true,
            Sync::Wait => false,
            Sync::Auto => self
                .obj()
                .sink_pads()
                .iter()
                .any(|p| gst_common::upstream_is_live(p) == Some(true)),
        }
    }

    fn decide(&self) -> bool {
        let live = self.is_live();
        let mut state = self.state();
        state.live = Some(live);
        gst::info!(
            CAT,
            imp = self,
            "sync={:?}: {}",
            state.sync,
            if live { "live" } else { "wait" }
        );
        drop(state);
        self.changed.notify_all();
        live
    }

    /// Live: leaves the newest due hop in the mailbox, and goes on.
    fn ask(&self, time: u64) -> Result<(), gst::FlowError> {
        let worker = self.worker()?;
        if self.state().wait_for_model {
            worker.await_ready()?;
        }
        let mut state = self.state();
        state.video_time = time;
        let hop = time.saturating_sub(state.settle) / state.hop.max(1);
        if hop > state.last_hop {
            // Before the first answer there was nothing to skip.
            if state.last_hop > 0 {
                state.stats.skipped += hop - state.last_hop - 1;
            }
            state.last_hop = hop;
            drop(state);
            gst::log!(CAT, imp = self, "hop {hop} is asked for");
            worker.submit(Job { hop, live: true });
        }
        Ok(())
    }

    /// Not live: answers every hop up to this frame, each with all its physiology.
    fn ask_and_wait(&self, time: u64) -> Result<(), gst::FlowError> {
        let worker = self.worker()?;
        let mut state = self.state();
        state.video_time = state.video_time.max(time);
        if !state.sides.is_empty() {
            self.changed.notify_all();
        }
        let due = time / state.hop.max(1);
        let generation = state.generation;
        // After a long hole in the video only the last windows are still of interest.
        state.last_hop = state.last_hop.max(due.saturating_sub(MAX_CATCH_UP));
        while state.last_hop < due {
            let hop = state.last_hop + 1;
            let end = hop * state.hop;
            if worker.phase() == Phase::Loading {
                drop(state);
                worker.await_ready()?;
                state = self.state();
            }
            while state.sides.values().any(|s| s.owes(end)) {
                state = self.wait_while_running(state)?;
                // A seek has made the frame one of before.
                if state.generation != generation {
                    return Ok(());
                }
            }
            drop(state);
            gst::log!(CAT, imp = self, "hop {hop} is asked for");
            let answer = worker.run(Job { hop, live: false });
            state = self.state();
            if state.generation != generation {
                return Ok(());
            }
            match answer {
                Ok(answer) => {
                    state.last_hop = hop;
                    state.result = Some(answer);
                    // A pad may be held back because nothing was missing until now.
                    self.changed.notify_all();
                }
                // A pad was flushed, which made the answer void: it is asked for again.
                Err(gst::FlowError::Flushing) if state.running && !state.video_flushing => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn wait_while_running<'a>(
        &self,
        state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, gst::FlowError> {
        let state = self.wait(state);
        if state.failed() {
            Err(gst::FlowError::Error)
        } else if !state.running || state.video_flushing {
            Err(gst::FlowError::Flushing)
        } else {
            Ok(state)
        }
    }

    pub(super) fn sink_event(&self, event: gst::Event) -> bool {
        use gst::EventView;
        gst::log!(CAT, obj = self.sinkpad, "{event:?}");
        match event.view() {
            EventView::Segment(segment) => match segment.segment().downcast_ref::<ClockTime>() {
                Some(segment) => self.state().segment = Some(segment.clone()),
                None => {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Format,
                        (
                            "video comes in {:?} segments; expected time. Put a parser or decoder before it",
                            segment.segment().format()
                        )
                    );
                    return false;
                }
            },
            EventView::FlushStart(_) => {
                let worker = {
                    let mut state = self.state();
                    state.video_flushing = true;
                    state.worker.clone()
                };
                if let Some(worker) = worker {
                    worker.set_flushing(true);
                }
                self.changed.notify_all();
            }
            EventView::FlushStop(_) => self.flush_video(event.seqnum()),
            EventView::Eos(_) => {
                let mut state = self.state();
                // That of before a seek ends nothing.
                state.video_eos = !state.video_void;
                drop(state);
                self.changed.notify_all();
            }
            EventView::StreamStart(_) => {
                let mut state = self.state();
                state.video_eos = false;
                state.live = None;
            }
            _ => {}
        }
        gst::Pad::event_default(&self.sinkpad, Some(&*self.obj()), event)
    }

    pub(super) fn src_event(&self, event: gst::Event) -> bool {
        gst::log!(CAT, obj = self.srcpad, "{event:?}");
        match event.view() {
            gst::EventView::Seek(seek) => return self.seek(&event, seek),
            gst::EventView::Latency(latency) => {
                gst::debug!(
                    CAT,
                    obj = self.srcpad,
                    "the pipeline's latency is {}",
                    latency.latency()
                );
                self.state().latency = latency.latency().nseconds();
            }
            _ => {}
        }
        gst::Pad::event_default(&self.srcpad, Some(&*self.obj()), event)
    }

    fn flush_video(&self, seqnum: gst::Seqnum) {
        let (inputs, worker) = {
            let mut state = self.state();
            state.video_flushed = Some(seqnum);
            state.video_void = false;
            state.video_flushing = false;
            state.video_eos = false;
            state.segment = None;
            state.video_time = 0;
            state.pace = Pace::default();
            state.begin_anew(0);
            (state.inputs.clone(), state.worker.clone())
        };
        if let Some(worker) = worker {
            worker.set_flushing(false);
        }
        if let Some(inputs) = inputs {
            self.rest();
            inputs.video().flush();
        }
    }
}
