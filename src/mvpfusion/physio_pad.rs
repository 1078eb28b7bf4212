// SPDX-License-Identifier: MPL-2.0
//! The physiology pads: buffers, gaps, caps and flushes.

use super::MvpFusionPad;
use super::imp::{CAT, MvpFusion};
use super::state::{PhysioPad, State, at_rate_1, place_of};
use super::values::{Judged, judged};
use crate::common;
use crate::physio::{self, Refusal, Stream};
use conditioning::features::Event;
use conditioning::{Beat, Trace};
use gst::ClockTime;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_common::lock;
use std::sync::{Arc, Mutex, MutexGuard};

/// Conductance, µS, that no skin has: the quality of the sensor says "out-of-range".
const OUT_OF_RANGE: f64 = 1e6;

/// The element and pad that `pad` is linked to.
fn peer_name(pad: &gst::Pad) -> String {
    let peer = pad.peer();
    match peer.as_ref().and_then(|p| p.parent()) {
        Some(parent) => format!("{}:{}", parent.name(), peer.map_or("".into(), |p| p.name())),
        None => "no element".into(),
    }
}

impl MvpFusion {
    pub(super) fn physio_chain(
        &self,
        pad: &gst::Pad,
        name: &str,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = pad, "{buffer:?}");
        let (placed, stream, inputs) = {
            let mut state = self.await_flush(name)?;
            let inputs = state.inputs.clone();
            let eos = state.video_eos;
            let physio = state
                .physio_pads
                .get_mut(name)
                .ok_or(gst::FlowError::Flushing)?;
            if eos {
                return Ok(gst::FlowSuccess::Ok);
            }
            if physio.refused {
                // Frames that wait must not wait for samples that are not read.
                let end = buffer
                    .pts()
                    .map(|t| t + buffer.duration().unwrap_or_default());
                let segment = physio.segment.as_ref().ok_or(gst::FlowError::Error)?;
                let end = segment.to_running_time(end).map(ClockTime::nseconds);
                drop(state);
                return match end {
                    Some(end) => self.advance(pad, name, end),
                    None => Ok(gst::FlowSuccess::Ok),
                };
            }
            let stream = physio.stream.clone().ok_or(gst::FlowError::NotNegotiated)?;
            let segment = physio.segment.as_ref().ok_or(gst::FlowError::Error)?;
            physio.samples += (buffer.size() / stream.stride()) as u64;
            (stream.place(&buffer, segment), stream, inputs)
        };
        // Samples without a timestamp and samples outside the segment have no running time.
        let (Some(placed), Some(inputs)) = (placed, inputs) else {
            gst::debug!(
                CAT,
                obj = pad,
                "a buffer without running time is left out: PTS {}",
                buffer.pts().display()
            );
            return Ok(gst::FlowSuccess::Ok);
        };
        // Hold back before the samples are read: after a long gap they would replace the
        // window that is still needed.
        self.advance(pad, name, placed.start)?;
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let timed = || {
            let values = stream.samples(&map).skip(placed.skipped);
            placed.times(&stream).zip(values)
        };
        let (mut check, trace) = self
            .with_physio_pad(name, |physio| (physio.check.take(), physio.trace.clone()))
            .unwrap_or_default();
        let cut = buffer.flags().contains(gst::BufferFlags::DISCONT);
        let mut said = Judged::default();
        let mut samples: Vec<(u64, f64)> = timed().collect();
        if let Some(mut track) = inputs.signal(name) {
            let mut waveform = trace.as_ref().map(|trace| lock(trace));
            if cut {
                gst::debug!(
                    CAT,
                    obj = pad,
                    "DISCONT: samples are missing before {}",
                    ClockTime::from_nseconds(placed.start)
                );
                track.cut();
                if let Some(waveform) = &mut waveform {
                    waveform.cut();
                }
            }
            let range = track.spec().checks.range;
            for (at, value) in &mut samples {
                let fits = judged(check.as_mut(), range, *at, *value, &mut said);
                track.push(*at, fits);
                if let Some(waveform) = &mut waveform {
                    waveform.push(*at, fits);
                }
                if value.is_finite() && !fits.is_finite() {
                    // What cannot be in the signal's unit tells nothing of the body.
                    *value = OUT_OF_RANGE;
                }
            }
        }
        self.push_body(name, cut, samples.into_iter(), trace.as_deref());
        if let Some(check) = check {
            let limits = check.limits();
            self.with_physio_pad(name, |physio| physio.check = Some(check));
            self.tell_judged(pad, name, &stream, limits, said);
        }
        self.align_samples(name, Some(placed.newest(&stream)));
        self.advance(pad, name, placed.end)
    }

    /// Gives timed samples to the room that tells of the body. Beats and skin responses are
    /// marked in the waveform.
    fn push_body(
        &self,
        name: &str,
        cut: bool,
        samples: impl Iterator<Item = (u64, f64)>,
        trace: Option<&Mutex<Trace>>,
    ) {
        let sensor = self.sensor(name);
        let Some(mut sensor) = sensor.as_deref().map(lock) else {
            return;
        };
        if cut {
            sensor.cut();
        }
        for (at, value) in samples {
            sensor.push(at, value, |event| {
                if let Some(trace) = trace {
                    match event {
                        Event::Beat(beat) if beat.confidence < Beat::SURE => {}
                        Event::Beat(beat) => lock(trace).mark(beat.time),
                        Event::Scr(response) => lock(trace).mark(response.onset),
                    }
                }
            });
        }
    }

    /// Samples that come during a seek are from before it. They are held until the seek's
    /// flush drops them; if the seek fails, they are used.
    fn await_flush(&self, name: &str) -> Result<MutexGuard<'_, State>, gst::FlowError> {
        let mut state = self.state();
        loop {
            let physio = state
                .physio_pads
                .get(name)
                .ok_or(gst::FlowError::Flushing)?;
            if !physio.awaits_flush || state.video_eos {
                return Ok(state);
            }
            if physio.flushing || !state.running {
                return Err(gst::FlowError::Flushing);
            }
            state = self.wait(state);
        }
    }

    /// Every sample of `name` up to `end` has come. Where frames wait, this holds the pad
    /// back while it is too far ahead of the video.
    fn advance(
        &self,
        pad: &gst::Pad,
        name: &str,
        end: u64,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let inputs = self.state().inputs.clone();
        let settled = match inputs.as_ref().and_then(|i| i.signal(name)) {
            Some(mut track) => {
                track.complete(end);
                track.settled()
            }
            None => end,
        };
        if let Some(sensor) = self.sensor(name) {
            lock(&sensor).complete(end);
        }
        let mut state = self.state();
        if let Some(physio) = state.physio_pads.get_mut(name) {
            physio.progress = physio.progress.max(end);
            physio.settled = physio.settled.max(settled);
        }
        self.changed.notify_all();
        let mut asked = false;
        let mut held = false;
        loop {
            let physio = state
                .physio_pads
                .get(name)
                .ok_or(gst::FlowError::Flushing)?;
            if physio.flushing || !state.running {
                return Err(gst::FlowError::Flushing);
            }
            if state.failed() {
                return Err(gst::FlowError::Error);
            }
            if !state.holds_back(physio.progress) || state.video_eos || state.live == Some(true) {
                return Ok(gst::FlowSuccess::Ok);
            }
            if state.live.is_none() && !asked {
                // A file may end before the first frame comes and decides this.
                drop(state);
                if self.is_live() {
                    return Ok(gst::FlowSuccess::Ok);
                }
                asked = true;
                state = self.state();
            } else {
                if !std::mem::replace(&mut held, true) {
                    gst::log!(
                        CAT,
                        obj = pad,
                        "held back at {}, the video is at {}",
                        ClockTime::from_nseconds(end),
                        ClockTime::from_nseconds(state.video_time)
                    );
                }
                state = self.wait(state);
                asked = false;
            }
        }
    }

    pub(super) fn physio_event(&self, pad: &gst::Pad, name: &str, event: &gst::Event) -> bool {
        use gst::EventView;
        gst::log!(CAT, obj = pad, "{event:?}");
        match event.view() {
            EventView::Caps(caps) => return self.physio_caps(pad, name, caps.caps()),
            EventView::Segment(e) => {
                let Some(segment) = e.segment().downcast_ref::<ClockTime>() else {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Format,
                        (
                            "pad {name}: samples come in {:?} segments; expected time",
                            e.segment().format()
                        )
                    );
                    return false;
                };
                common::log_segment(*CAT, pad, segment);
                let late_seek = {
                    let mut state = self.state();
                    let followed = state.followed_seek.clone();
                    let (base, offset) = place_of(segment);
                    state.alignment.segment(Some(name), base, offset);
                    let physio = state.physio_pads.get_mut(name);
                    physio.and_then(|physio| {
                        physio.segment = Some(at_rate_1(segment));
                        let late = !std::mem::replace(&mut physio.has_segment, true);
                        let seek =
                            followed.filter(|(seek, _)| late && physio.flushed != Some(*seek));
                        physio.awaits_flush |= seek.is_some();
                        seek
                    })
                };
                if let Some((seqnum, wanted)) = late_seek {
                    let name = name.to_string();
                    // On another thread: the element upstream is still pushing this event.
                    self.obj().call_async(move |element| match wanted {
                        Ok(wanted) => element.imp().seek_late_branch(&name, seqnum, &wanted),
                        Err(why) => {
                            element
                                .imp()
                                .with_physio_pad(&name, |physio| physio.awaits_flush = false);
                            element.imp().report_out_of_sync(&why);
                        }
                    });
                }
            }
            EventView::Gap(gap) => {
                // As samples: a gap that comes during a seek counts only if the seek fails.
                if self.await_flush(name).is_err() {
                    return true;
                }
                let (start, duration) = gap.get();
                let end = start + duration.unwrap_or(ClockTime::ZERO);
                let end = self
                    .with_physio_pad(name, |physio| physio.segment.as_ref()?.to_running_time(end));
                if let Some(end) = end.flatten() {
                    gst::debug!(CAT, obj = pad, "gap: no samples up to running time {end}");
                    return self.advance(pad, name, end.nseconds()).is_ok();
                }
                gst::debug!(CAT, obj = pad, "a gap outside the segment: {start}");
            }
            // The end of a segment seek counts as EOS until the next seek.
            EventView::Eos(_) | EventView::SegmentDone(_) => {
                self.with_physio_pad(name, |physio| physio.eos = true);
                self.changed.notify_all();
                self.align_samples(name, None);
            }
            EventView::StreamStart(_) => {
                self.with_physio_pad(name, |physio| physio.eos = false);
                self.state().live = None;
            }
            EventView::FlushStart(_) => {
                self.with_physio_pad(name, |physio| physio.flushing = true);
                self.changed.notify_all();
            }
            EventView::FlushStop(_) => {
                let seqnum = event.seqnum();
                self.with_physio_pad(name, |physio| {
                    physio.restart();
                    physio.flushed = Some(seqnum);
                });
                self.state().alignment.flush(Some(name));
                gst::debug!(
                    CAT,
                    obj = pad,
                    "flushed by {seqnum:?}: earlier samples are dropped"
                );
                let (inputs, worker, refused) = {
                    let state = self.state();
                    let refused = state.answered_seek == Some((seqnum, false));
                    (state.inputs.clone(), state.worker.clone(), refused)
                };
                if let Some(worker) = worker {
                    worker.restart();
                }
                // A job in hand would close the grids that are flushed next.
                self.wait_for_worker();
                if let Some(mut track) = inputs.as_ref().and_then(|i| i.signal(name)) {
                    track.flush();
                }
                self.flush_trace(name);
                if let Some(sensor) = self.sensor(name) {
                    lock(&sensor).flush();
                }
                self.changed.notify_all();
                if refused {
                    self.report_out_of_sync("it was refused");
                }
            }
            // Events of physiology are not passed to the video.
            _ => {}
        }
        true
    }

    /// Drops what is drawn of pad `name`, as after a seek.
    pub(super) fn flush_trace(&self, name: &str) {
        let trace = self.with_physio_pad(name, |physio| physio.trace.clone());
        if let Some(trace) = trace.flatten() {
            lock(&trace).flush();
        }
    }

    pub(super) fn with_physio_pad<T>(
        &self,
        name: &str,
        f: impl FnOnce(&mut PhysioPad) -> T,
    ) -> Option<T> {
        self.state().physio_pads.get_mut(name).map(f)
    }

    pub(super) fn physio_query(
        pad: &MvpFusionPad,
        parent: Option<&gst::Object>,
        query: &mut gst::QueryRef,
    ) -> bool {
        match query.view_mut() {
            // The template's types are for links that name no pad.
            gst::QueryViewMut::Caps(q) => {
                let caps = physio::accepted_caps();
                let caps = match q.filter() {
                    Some(filter) => {
                        filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First)
                    }
                    None => caps,
                };
                q.set_result(&caps);
                true
            }
            gst::QueryViewMut::AcceptCaps(q) => {
                let fits = q.caps().is_subset(&physio::accepted_caps());
                q.set_result(fits);
                true
            }
            _ => gst::Pad::query_default(pad, parent, query),
        }
    }

    fn physio_caps(&self, pad: &gst::Pad, name: &str, caps: &gst::CapsRef) -> bool {
        let wish = pad.downcast_ref::<MvpFusionPad>();
        let wish = wish.map(|p| p.imp().wish()).unwrap_or_default();
        let stream = match Stream::from_caps(caps, name, &wish) {
            Ok(stream) => stream,
            Err(refusal) => return self.refuse_caps(pad, name, &refusal),
        };
        let (inputs, again) = {
            let mut state = self.state();
            let mut again = false;
            let length = state.trace;
            if let Some(physio) = state.physio_pads.get_mut(name) {
                let same = physio.stream.as_ref() == Some(&stream);
                if !(same && physio.trace.is_some()) {
                    let seconds = length.nseconds() as f64 / 1e9;
                    let fresh = || Arc::new(Mutex::new(Trace::new(name, stream.rate, seconds)));
                    physio.trace = (!length.is_zero()).then(fresh);
                }
                physio.stream = Some(stream.clone());
                physio.check = stream.check.clone();
                again = std::mem::take(&mut physio.refused);
            }
            (state.inputs.clone(), again)
        };
        if again {
            gst::info!(CAT, obj = pad, "the stream fits again: {name} is read");
        }
        self.configure_sensor(name, stream.rate, stream.full_scale());
        if let Some(inputs) = inputs {
            match inputs.signal(name) {
                Some(mut track) => {
                    gst::info!(
                        CAT,
                        obj = pad,
                        "signal {name} comes from {}, stream {}: {}",
                        peer_name(pad),
                        pad.stream_id().as_deref().unwrap_or("without an id"),
                        stream.describe(caps, name)
                    );
                    track.configure(stream.rate, stream.full_scale());
                }
                None => gst::element_imp_warning!(
                    self,
                    gst::StreamError::NotImplemented,
                    (
                        "pad {name}: the model has no such signal, what comes is ignored; it has {}",
                        inputs.names().join(", ")
                    )
                ),
            }
        }
        true
    }

    /// Says why caps are not read. A stream that cannot be the signal at all is an error at
    /// first; later, and where its unit or its channels leave doubt, the signal is masked and
    /// the rest goes on.
    fn refuse_caps(&self, pad: &gst::Pad, name: &str, refusal: &Refusal) -> bool {
        let (element, pad_name) = (self.obj().name(), pad.name());
        let remedy = match refusal {
            Refusal::Unreadable(_) | Refusal::Channel(_) => format!(
                "Name the channel: {pad_name}::channel=LABEL-OR-INDEX at the element {element}, or the \
                 property channel of its pad {pad_name}"
            ),
            Refusal::Contradiction(_) => format!(
                "Link the right stream to {element}.{pad_name}, or this one to the pad of its signal; \
                 {pad_name}::force=true at the element takes it all the same"
            ),
            Refusal::Unit(_) => format!(
                "If the stream's own words are wrong, say what its values are at the element {element}: \
                 {pad_name}::unit, with {pad_name}::scale and {pad_name}::offset before it, or \
                 {pad_name}::device=bitalino, bitalino-revolution or biosignalsplux for raw counts, or \
                 {pad_name}::adc-bits for those of another device. {pad_name}::force=true takes the \
                 values as they are"
            ),
        };
        let inputs = {
            let mut state = self.state();
            let inputs = state.inputs.clone();
            let physio = state.physio_pads.get_mut(name);
            physio
                .filter(|p| {
                    let doubt = matches!(refusal, Refusal::Unit(_) | Refusal::Channel(_));
                    p.stream.is_some() || p.refused || doubt
                })
                .map(|physio| {
                    physio.refused = true;
                    inputs
                })
        };
        let Some(inputs) = inputs else {
            gst::element_imp_error!(
                self,
                gst::StreamError::Format,
                ("pad {pad_name}: {refusal}. {remedy}")
            );
            return false;
        };
        if let Some(mut track) = inputs.as_ref().and_then(|i| i.signal(name)) {
            track.cut();
        }
        gst::element_imp_warning!(
            self,
            gst::StreamError::Format,
            ("pad {pad_name}: {refusal}. Until a stream comes that fits, {name} is masked and the \
                 rest goes on. {remedy}")
        );
        true
    }
}
