// SPDX-License-Identifier: MPL-2.0
//! The physiology pads: samples, gaps and what their caps say.

use super::imp::{CAT, MvpFusion};
use super::physio::{self, Stream};
use super::state::{Side, State};
use gst::ClockTime;
use gst::prelude::*;
use gst::subclass::prelude::*;
use std::sync::MutexGuard;

impl MvpFusion {
    pub(super) fn physio_chain(
        &self,
        name: &str,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::trace!(CAT, imp = self, "{name}: {buffer:?}");
        let duration = buffer.duration().map(ClockTime::nseconds);
        let (start, skipped, stream, inputs) = {
            let mut state = self.await_flush(name)?;
            let inputs = state.inputs.clone();
            let eos = state.video_eos;
            let side = state.sides.get_mut(name).ok_or(gst::FlowError::Flushing)?;
            if eos {
                return Ok(gst::FlowSuccess::Ok);
            }
            let stream = side.stream.clone().ok_or(gst::FlowError::NotNegotiated)?;
            let segment = side.segment.as_ref().ok_or(gst::FlowError::Error)?;
            let count = (buffer.size() / stream.stride()) as u64;
            side.samples += count;
            // Samples of before the segment are left out, those behind them in the same
            // buffer are not.
            let first = |begin: ClockTime| {
                let after = |i| ClockTime::from_nseconds(stream.sample_time(i, count, duration));
                let mut times = (0..count).map(|i| begin.checked_add(after(i))).enumerate();
                times.find_map(|(i, t)| Some((segment.to_running_time(t?)?, i)))
            };
            let (start, skipped) = buffer.pts().and_then(first).unzip();
            (start, skipped.unwrap_or(0), stream, inputs)
        };
        // Without a stamp, or from before the segment, a sample has no place in time.
        let (Some(start), Some(inputs)) = (start.map(ClockTime::nseconds), inputs) else {
            gst::debug!(
                CAT,
                imp = self,
                "{name}: buffer without running time is left out"
            );
            return Ok(gst::FlowSuccess::Ok);
        };
        // Held before it is read, or what follows a long gap would push the window out.
        self.advance(name, start)?;
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let samples = stream.samples(&map);
        let count = samples.len() as u64;
        // Of the first sample that is taken, behind the buffer's beginning.
        let offset = stream.sample_time(skipped as u64, count, duration);
        let length = duration.unwrap_or_else(|| stream.sample_time(count, count, None));
        let end = start + length.saturating_sub(offset);
        if let Some(mut track) = inputs.signal(name) {
            if buffer.flags().contains(gst::BufferFlags::DISCONT) {
                gst::debug!(
                    CAT,
                    imp = self,
                    "{name}: samples are missing before {}",
                    ClockTime::from_nseconds(start)
                );
                track.cut();
            }
            for (i, value) in samples.enumerate().skip(skipped) {
                let at = stream.sample_time(i as u64, count, duration) - offset;
                track.push(start + at, value);
            }
        }
        self.advance(name, end)
    }

    /// What comes during a seek is of before: it is held until the seek's flush takes it
    /// away, or the seek has failed and it counts.
    fn await_flush(&self, name: &str) -> Result<MutexGuard<'_, State>, gst::FlowError> {
        let mut state = self.state();
        loop {
            let side = state.sides.get(name).ok_or(gst::FlowError::Flushing)?;
            if !side.void || state.video_eos {
                return Ok(state);
            }
            if side.flushing || !state.running {
                return Err(gst::FlowError::Flushing);
            }
            state = self.wait(state);
        }
    }

    /// Physiology of `name` is complete up to `end`; when waiting, holds it there.
    fn advance(&self, name: &str, end: u64) -> Result<gst::FlowSuccess, gst::FlowError> {
        let inputs = self.state().inputs.clone();
        let settled = match inputs.as_ref().and_then(|i| i.signal(name)) {
            Some(mut track) => {
                track.complete(end);
                track.settled()
            }
            None => end,
        };
        let mut state = self.state();
        if let Some(side) = state.sides.get_mut(name) {
            side.progress = side.progress.max(end);
            side.settled = side.settled.max(settled);
        }
        self.changed.notify_all();
        let mut asked = false;
        loop {
            let side = state.sides.get(name).ok_or(gst::FlowError::Flushing)?;
            if side.flushing || !state.running {
                return Err(gst::FlowError::Flushing);
            }
            if state.failed() {
                return Err(gst::FlowError::Error);
            }
            if !state.holds_back(side.progress) || state.video_eos || state.live == Some(true) {
                return Ok(gst::FlowSuccess::Ok);
            }
            if state.live.is_none() && !asked {
                // A file can be through before the first frame comes.
                drop(state);
                if self.is_live() {
                    return Ok(gst::FlowSuccess::Ok);
                }
                asked = true;
                state = self.state();
            } else {
                state = self.wait(state);
                asked = false;
            }
        }
    }

    pub(super) fn physio_event(&self, pad: &gst::Pad, name: &str, event: &gst::Event) -> bool {
        use gst::EventView;
        gst::log!(CAT, obj = pad, "{event:?}");
        match event.view() {
            EventView::Caps(caps) => return self.physio_caps(name, caps.caps()),
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
                let lead = {
                    let mut state = self.state();
                    let led = state.led.clone();
                    let side = state.sides.get_mut(name);
                    side.and_then(|side| {
                        side.segment = Some(segment.clone());
                        let late = !std::mem::replace(&mut side.met, true);
                        let led = led.filter(|(seek, _)| late && side.flushed != Some(*seek));
                        side.void |= led.is_some();
                        led
                    })
                };
                if let Some((seqnum, wanted)) = lead {
                    let name = name.to_string();
                    // Not here: what feeds the pad is in the middle of this event.
                    self.obj().call_async(move |element| match wanted {
                        Ok(wanted) => element.imp().lead(&name, seqnum, &wanted),
                        Err(why) => {
                            element.imp().with_side(&name, |side| side.void = false);
                            element.imp().tell_parted(&why);
                        }
                    });
                }
            }
            EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                let end = start + duration.unwrap_or(ClockTime::ZERO);
                let end = self.with_side(name, |side| {
                    let segment = side.segment.as_ref().filter(|_| !side.void)?;
                    segment.to_running_time(end)
                });
                if let Some(end) = end.flatten() {
                    gst::debug!(CAT, obj = pad, "no samples from {start} to {end}");
                    return self.advance(name, end.nseconds()).is_ok();
                }
            }
            // The end of a segment seek is an end as well, until the next.
            EventView::Eos(_) | EventView::SegmentDone(_) => {
                self.with_side(name, |side| side.eos = true);
                self.changed.notify_all();
            }
            EventView::StreamStart(_) => {
                self.with_side(name, |side| side.eos = false);
                self.state().live = None;
            }
            EventView::FlushStart(_) => {
                self.with_side(name, |side| side.flushing = true);
                self.changed.notify_all();
            }
            EventView::FlushStop(_) => {
                let seqnum = event.seqnum();
                self.rest();
                self.with_side(name, |side| {
                    side.restart();
                    side.flushed = Some(seqnum);
                });
                let (inputs, worker, refused) = {
                    let state = self.state();
                    let refused = state.seek == Some((seqnum, false));
                    (state.inputs.clone(), state.worker.clone(), refused)
                };
                if let Some(worker) = worker {
                    worker.restart();
                }
                if let Some(mut track) = inputs.as_ref().and_then(|i| i.signal(name)) {
                    track.flush();
                }
                self.changed.notify_all();
                if refused {
                    self.tell_parted("it was refused");
                }
            }
            // Nothing of physiology goes on to the video.
            _ => {}
        }
        true
    }

    pub(super) fn with_side<T>(&self, name: &str, f: impl FnOnce(&mut Side) -> T) -> Option<T> {
        self.state().sides.get_mut(name).map(f)
    }

    fn physio_caps(&self, name: &str, caps: &gst::CapsRef) -> bool {
        let stream = match Stream::from_caps(caps, name) {
            Ok(stream) => stream,
            Err(reason) => {
                gst::element_imp_error!(self, gst::StreamError::Format, ("pad {name}: {reason}"));
                return false;
            }
        };
        let warning = stream
            .unit
            .as_deref()
            .and_then(|unit| physio::unit_warning(name, unit));
        if let Some(warning) = warning {
            gst::element_imp_warning!(self, gst::StreamError::Format, ("pad {name}: {warning}"));
        }
        let inputs = {
            let mut state = self.state();
            if let Some(side) = state.sides.get_mut(name) {
                side.stream = Some(stream.clone());
            }
            state.inputs.clone()
        };
        if let Some(inputs) = inputs {
            match inputs.signal(name) {
                Some(mut track) => {
                    gst::info!(CAT, imp = self, "pad {name} is fed by {stream:?}");
                    track.configure(stream.rate, stream.format.full_scale());
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
}
