// SPDX-License-Identifier: MPL-2.0
//! The video pads: frames, their timestamps, and the answers that they request.

use super::imp::{CAT, MvpFusion};
use super::pace::{self, Pace, Verdict};
use super::state::{AHEAD, State, at_rate_1, place_of};
use super::worker::{Answered, Job};
use crate::common::{self, Sync};
use crate::meta::{PhysioTrace, PhysioTraceMeta};
use crate::physio::Stream;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst::{ClockTime, glib};
use gst_common::{Phase, lock};
use mvp::Inputs;
use std::sync::{Arc, MutexGuard};

/// Traces are cut anew this often; frames in between share them.
const TRACE_PERIOD: u64 = 100_000_000;
/// Answers given at one frame at the most, when waiting.
const MAX_CATCH_UP: u64 = 600;
/// A gap in the video that is longer (ns) gets a warning.
const HOLE: u64 = 5_000_000_000;
/// No more warnings about jumps of the video's timestamps than this.
const JUMPS_TOLD: u32 = 10;

impl MvpFusion {
    pub(super) fn sink_chain(
        &self,
        mut buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = self.sinkpad, "{buffer:?}");
        let (own, verdict, inputs, live) = {
            let mut state = self.state();
            if state.failed() {
                return Err(gst::FlowError::Error);
            }
            if state.video_awaits_flush {
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
        // Its running time, where its neighbours agree with it.
        let time = own.filter(|_| verdict != Some(Verdict::Stray));
        match verdict {
            Some(Verdict::Stray) => {
                gst::warning!(
                    CAT,
                    imp = self,
                    "the timestamp of the frame at {} is far from its neighbours'; it passes, and no answer is requested for it",
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
            None => self.decide_live(),
        };
        if let Some(time) = time {
            self.align_frame(time);
        }
        if let Some(inputs) = &inputs
            && verdict != Some(Verdict::Stray)
        {
            self.take_units(inputs, &buffer, time);
        }
        if let Some(time) = time {
            if live {
                self.request(time)?;
            } else {
                self.request_and_wait(time)?;
            }
        }
        let traces = time
            .filter(|_| inputs.is_some())
            .and_then(|t| self.traces(t));
        let body = time.map_or(Ok(()), |t| self.mark_body(buffer.make_mut(), t, live));
        body.and_then(|()| self.mark(buffer.make_mut(), own, live, traces))
            .map_err(|e| {
                gst::element_imp_error!(self, gst::StreamError::Failed, ("{e}"));
                gst::FlowError::Error
            })?;
        self.srcpad.push(buffer)
    }

    /// Puts the newest result and the traces on a frame of running time `own` (ns).
    fn mark(
        &self,
        buffer: &mut gst::BufferRef,
        own: Option<u64>,
        live: bool,
        traces: Option<Arc<PhysioTraceMeta>>,
    ) -> Result<(), glib::BoolError> {
        let (result, hop, settle, latency, late, rate, base, alignment) = {
            let mut state = self.state();
            state.stats.frames += 1;
            // Answers that a streaming thread waited for are in `result` already.
            let newest = state.worker.as_ref().and_then(|w| w.take_answers().pop());
            if newest.is_some() {
                state.result = newest;
            }
            let late = state.worker.as_ref().is_some_and(|w| w.is_late());
            let alignment = match (&state.result, own) {
                (Some(_), Some(own)) => state.alignment_of(own, live),
                _ => Vec::new(),
            };
            (
                state.result.clone(),
                state.hop,
                state.settle,
                state.latency,
                late,
                state.rate(),
                state.base(),
                alignment,
            )
        };
        if let Some(traces) = traces {
            traces.attach(buffer)?;
        }
        let Some(Answered { meta, stamp, .. }) = result else {
            return Ok(());
        };
        let end = meta.window_end.nseconds();
        let mut age = own.unwrap_or(0).saturating_sub(end);
        // The clock counts too: timestamps that stand still must not make an answer look new.
        if let Some(now) = live.then(|| self.running_time()).flatten() {
            // A file that is played as live may have been sought to another rate.
            let now =
                base + (now.saturating_sub(latency).saturating_sub(base) as f64 * rate) as u64;
            age = age.max(now.saturating_sub(end));
        }
        let stale = late || (live && age > settle + 3 * hop);
        stamp.attach(buffer, ClockTime::from_nseconds(age), stale, &alignment)?;
        #[cfg(feature = "v1_24")]
        meta.attach_classification(buffer)?;
        Ok(())
    }

    /// Gives the units of the face that is followed to the video track. `time` is the
    /// frame's running time.
    fn take_units(&self, inputs: &Inputs, buffer: &gst::BufferRef, time: Option<u64>) {
        let (order, rate, base) = {
            let state = self.state();
            (state.units.clone(), state.rate(), state.base())
        };
        // The rate counts from the segment's base on.
        let scaled = |t: u64, by: f64| match t.checked_sub(base) {
            Some(since) if by != 1.0 => base + (since as f64 * by).round() as u64,
            _ => t,
        };
        // The units may be of an earlier frame, whose timestamp may have been a wrong one.
        let latest = time.map(|t| scaled(t.saturating_add(pace::NEAR), 1.0 / rate));
        let latest = latest.map(ClockTime::from_nseconds);
        let mut faces = order.map(|o| o.faces(buffer, latest)).unwrap_or_default();
        if faces.is_empty() {
            return;
        }
        for face in &mut faces {
            face.time = ClockTime::from_nseconds(scaled(face.time.nseconds(), rate));
        }
        let ids: Vec<_> = faces
            .iter()
            .map(|f| (f.track_id, f.time.nseconds()))
            .collect();
        let several = ids.iter().any(|f| f.0 != ids[0].0);
        let (choice, tell) = {
            let mut state = self.state();
            let choice = state.person.choose(&ids);
            let tell = several && !std::mem::replace(&mut state.faces_told, several);
            (choice, tell)
        };
        if let Some(choice) = choice {
            let face = &faces[choice.index];
            self.state().alignment.face(face.time.nseconds());
            let mut video = inputs.video();
            if choice.changed {
                video.change_face(face.time.nseconds());
            }
            video.push(face.time.nseconds(), face.confidence, &face.values);
            drop(video);
            if choice.changed {
                gst::info!(
                    CAT,
                    imp = self,
                    "track {} takes the place of the face before: its window begins at {}",
                    face.track_id,
                    face.time
                );
            }
        }
        if tell {
            let tracks: Vec<_> = ids.iter().map(|f| f.0.to_string()).collect();
            let taken = choice.map_or("none of them".into(), |c| {
                format!("track {}", faces[c.index].track_id)
            });
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                (
                    "there are {} faces in the picture, tracks {}: the answers are of {taken}, the one \
                     that was followed first, until it has gone for 2 s. Expected one face: keep \
                     others out of the picture, or set max-faces=1 at facetrack",
                    faces.len(),
                    tracks.join(", ")
                )
            );
        }
    }

    /// The pipeline's running time while it plays, ns.
    pub(super) fn running_time(&self) -> Option<u64> {
        let obj = self.obj();
        // In PAUSED the clock goes on and running time does not.
        (obj.current_state() == gst::State::Playing)
            .then(|| obj.current_running_time())
            .flatten()
            .map(ClockTime::nseconds)
    }

    /// The timestamps of the video have jumped from `from` to `to`, for several frames.
    fn jump(&self, from: u64, to: u64) {
        let back = to < from;
        let (tell, inputs, overtaken) = {
            let mut state = self.state();
            let mut overtaken = Vec::new();
            if back {
                // Grids that are closed up to here take no samples of the new windows.
                let closed = state.last_hop * state.hop;
                let physio_pads = state.physio_pads.iter();
                let behind = physio_pads.filter(|(_, s)| s.progress.saturating_add(AHEAD) < closed);
                overtaken = behind.map(|(name, _)| name.clone()).collect();
                let last = to / state.hop.max(1);
                state.restart_windows(last);
                state.video_time = to;
                state.alignment.frames_go_back();
            }
            state.stats.jumps += u32::from(back || to - from > HOLE);
            let tell = (back || to - from > HOLE) && state.stats.jumps <= JUMPS_TOLD;
            (tell, state.inputs.clone().filter(|_| back), overtaken)
        };
        if let Some(inputs) = inputs {
            self.wait_for_worker();
            inputs.video().flush();
            for mut track in overtaken.iter().filter_map(|name| inputs.signal(name)) {
                track.flush();
            }
            for name in &overtaken {
                self.flush_trace(name);
            }
            for sensor in overtaken.iter().filter_map(|name| self.sensor(name)) {
                lock(&sensor).flush();
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

    /// The last seconds of every linked signal, to be drawn.
    fn traces(&self, time: u64) -> Option<Arc<PhysioTraceMeta>> {
        let kept: Vec<_> = {
            let state = self.state();
            if let Some((at, traces)) = &state.traces
                && (*at..*at + TRACE_PERIOD).contains(&time)
            {
                return Some(traces.clone());
            }
            let pads = state.physio_pads.iter().filter_map(|(name, physio)| {
                let unit = physio.stream.as_ref().and_then(Stream::unit_symbol);
                Some((name.clone(), physio.trace.clone()?, unit))
            });
            pads.collect()
        };
        if kept.is_empty() {
            return None;
        }
        let traces = kept.iter().map(|(name, trace, unit)| {
            let trace = lock(trace);
            let recent = trace.recent(time).into_iter();
            let values = recent.map(|v| v.unwrap_or(f32::NAN));
            PhysioTrace::new(name, trace.rate(), ClockTime::from_nseconds(time), values)
                .with_unit(unit.clone().unwrap_or_default())
                .with_marks(trace.marks(time))
        });
        let traces = Arc::new(PhysioTraceMeta {
            traces: traces.collect(),
        });
        self.state().traces = Some((time, traces.clone()));
        Some(traces)
    }

    /// Whether to run live: as `sync` says, or live where an input is.
    pub(super) fn is_live(&self) -> bool {
        let sync = self.state().sync;
        match sync {
            Sync::Live => true,
            Sync::Wait => false,
            Sync::Auto => self.live_pad().is_some(),
        }
    }

    /// A sink pad with a live source upstream.
    fn live_pad(&self) -> Option<gst::Pad> {
        let mut pads = self.obj().sink_pads().into_iter();
        pads.find(|p| gst_common::upstream_is_live(p) == Some(true))
    }

    fn decide_live(&self) -> bool {
        self.look_upstream();
        let sync = self.state().sync;
        let (live, why) = match sync {
            Sync::Live => (true, "the property says so".to_string()),
            Sync::Wait => (false, "the property says so".to_string()),
            Sync::Auto => match self.live_pad() {
                Some(pad) => (true, format!("the source of pad {} is live", pad.name())),
                None => (false, "no pad has a live source".to_string()),
            },
        };
        gst::info!(
            CAT,
            imp = self,
            "sync={sync:?}: {}, because {why}",
            match live {
                true => "live, frames do not wait for results",
                false => "frames wait for results",
            }
        );
        self.state().live = Some(live);
        self.changed.notify_all();
        live
    }

    /// Live: requests the newest hop that is due, without waiting.
    fn request(&self, time: u64) -> Result<(), gst::FlowError> {
        let worker = self.worker()?;
        if self.state().wait_for_model {
            // Where the worker has given up, the frame passes all the same.
            worker.await_ready()?;
        }
        let mut state = self.state();
        // A seek came meanwhile: the frame is from before it.
        if state.video_awaits_flush {
            return Ok(());
        }
        state.video_time = time;
        let hop = time.saturating_sub(state.settle) / state.hop.max(1);
        if hop > state.last_hop {
            // Before the first answer no hop is skipped.
            let skipped = match state.last_hop {
                0 => 0,
                last => hop - last - 1,
            };
            state.stats.skipped += skipped;
            state.last_hop = hop;
            let alignment = state.alignment_of(time, true);
            worker.submit(Job {
                hop,
                live: true,
                alignment,
            });
            drop(state);
            if skipped > 0 {
                gst::debug!(
                    CAT,
                    imp = self,
                    "{skipped} hops before hop {hop} are skipped: the frames were late or far apart"
                );
            }
            self.log_request(hop, time);
        }
        Ok(())
    }

    /// Not live: waits for the answer of every hop up to this frame, each with all its
    /// physiology.
    fn request_and_wait(&self, time: u64) -> Result<(), gst::FlowError> {
        let worker = self.worker()?;
        let mut state = self.state();
        if state.video_awaits_flush {
            return Ok(());
        }
        state.video_time = state.video_time.max(time);
        if !state.physio_pads.is_empty() {
            self.changed.notify_all();
        }
        let due = time / state.hop.max(1);
        let generation = state.generation;
        // After a long gap in the video only the last hops are computed.
        state.last_hop = state.last_hop.max(due.saturating_sub(MAX_CATCH_UP));
        while state.last_hop < due {
            let hop = state.last_hop + 1;
            let end = hop * state.hop;
            if worker.phase() == Phase::Loading {
                drop(state);
                worker.await_ready()?;
                state = self.state();
                if state.generation != generation {
                    return Ok(());
                }
            }
            if worker.is_late() {
                state.pass_without(due, &self.changed);
                return Ok(());
            }
            self.log_wait(&state, hop, time);
            while state
                .physio_pads
                .values()
                .any(|s| s.is_incomplete_before(end))
            {
                state = self.wait_while_running(state)?;
                // A seek came meanwhile: the frame is from before it.
                if state.generation != generation {
                    return Ok(());
                }
            }
            self.log_request(hop, time);
            // Under the lock: after a seek the job would be one of the new time line, and
            // close the grids before their samples come.
            state.alignment_hop = hop;
            let alignment = state.alignment_of(end, false);
            let ticket = worker.begin(Job {
                hop,
                live: false,
                alignment,
            });
            drop(state);
            let answer = worker.answer(ticket);
            state = self.state();
            if state.generation != generation {
                return Ok(());
            }
            match answer {
                Ok(None) => {
                    state.pass_without(due, &self.changed);
                    return Ok(());
                }
                Ok(Some(answer)) => {
                    state.last_hop = hop;
                    state.result = Some(answer);
                    // A pad that was held back may go on: the next hop needs more samples.
                    self.changed.notify_all();
                }
                // A pad was flushed, which cancelled the answer: it is requested again.
                Err(gst::FlowError::Flushing) if state.running && !state.video_flushing => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn log_request(&self, hop: u64, time: u64) {
        gst::log!(
            CAT,
            imp = self,
            "hop {hop} is requested by the frame at {}",
            ClockTime::from_nseconds(time)
        );
    }

    fn log_wait(&self, state: &State, hop: u64, time: u64) {
        let end = hop * state.hop;
        let pads = state.physio_pads.iter();
        let missing = pads.filter(|(_, p)| p.is_incomplete_before(end));
        let missing: Vec<&str> = missing.map(|(name, _)| name.as_str()).collect();
        if !missing.is_empty() {
            gst::log!(
                CAT,
                imp = self,
                "the frame at {} waits for samples of hop {hop}: {}",
                ClockTime::from_nseconds(time),
                missing.join(", ")
            );
        }
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
                Some(segment) => {
                    common::log_segment(*CAT, &self.sinkpad, segment);
                    let mut state = self.state();
                    state.segment = Some(at_rate_1(segment));
                    state.rate = segment.rate() * segment.applied_rate();
                    let (base, offset) = place_of(segment);
                    state.alignment.segment(None, base, offset);
                    // A loop goes on after the end of its last round.
                    state.video_eos = false;
                }
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
            // The end of a segment seek counts as EOS until the next segment.
            EventView::Eos(_) | EventView::SegmentDone(_) => {
                let mut state = self.state();
                // An EOS from before a seek does not count.
                state.video_eos = !state.video_awaits_flush;
                drop(state);
                self.changed.notify_all();
                self.align_end();
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
                let new = latency.latency();
                let old = std::mem::replace(&mut self.state().latency, new.nseconds());
                let level = match old == new.nseconds() {
                    true => gst::DebugLevel::Debug,
                    false => gst::DebugLevel::Info,
                };
                gst::log_with_level!(
                    CAT,
                    level,
                    obj = self.srcpad,
                    "latency of the pipeline: {new}, was {}",
                    ClockTime::from_nseconds(old)
                );
            }
            _ => {}
        }
        gst::Pad::event_default(&self.srcpad, Some(&*self.obj()), event)
    }

    fn flush_video(&self, seqnum: gst::Seqnum) {
        let (inputs, worker) = {
            let mut state = self.state();
            state.video_flushed = Some(seqnum);
            state.video_awaits_flush = false;
            state.video_flushing = false;
            state.video_eos = false;
            state.segment = None;
            state.video_time = 0;
            state.pace = Pace::default();
            state.alignment.flush(None);
            state.restart_windows(0);
            (state.inputs.clone(), state.worker.clone())
        };
        gst::debug!(
            CAT,
            obj = self.sinkpad,
            "flushed by {seqnum:?}: the windows start again at 0"
        );
        if let Some(worker) = worker {
            worker.set_flushing(false);
        }
        if let Some(inputs) = inputs {
            self.wait_for_worker();
            inputs.video().flush();
        }
    }
}
