// SPDX-License-Identifier: MPL-2.0
/**
 * SECTION:element-mvpfusion
 *
 * Puts what the MVP network makes of the last minute of face and body on every video
 * buffer, as `GstEmotionMeta`.
 *
 * Video passes from `sink` to `src` untouched. Face units ride in on the frames
 * (`GstFaceUnitsMeta`, see `facetrack`), physiology comes in at the request pads
 * `ecg`, `eda`, `ppg` and `physio_%s`. Once per hop a worker thread answers for the
 * window that ended last. In live mode no frame ever waits for it; otherwise frames
 * wait for the physiology of their window, and results are the same on every run.
 *
 * A seek goes to every linked sink pad, so that face and body stay of one time. With
 * physiology linked it must flush, be by time and at rate 1; it is made accurate.
 *
 * ## Example
 * |[
 * gst-launch-1.0 -m v4l2src ! videoconvert ! facetrack ! fusion. \
 *   lslsrc stream-type=EDA ! fusion.eda   lslsrc stream-type=ECG ! fusion.ecg \
 *   mvpfusion name=fusion model=models/default ! emotionoverlay ! videoconvert ! autovideosink
 * ]|
 *
 * Since: plugins-mvp-0.1.0
 */
use super::pace::{self, Pace, Verdict};
use super::physio::{self, Stream};
use super::seek;
use super::worker::{self, Loaded, Plan};
use crate::common::{self, ExecutionProvider, Sync};
use crate::meta::{EmotionMeta, EmotionStamp, FaceUnitsMeta, PhysioTrace, PhysioTraceMeta};
use gst::ClockTime;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use mvp::{Bundle, Inputs, MANIFEST};
use onnx::SessionOptions;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "mvpfusion",
        gst::DebugColorFlags::empty(),
        Some("MVP fusion"),
    )
});

const DEFAULT_HOP: ClockTime = ClockTime::ZERO;
const DEFAULT_SETTLE: ClockTime = ClockTime::from_mseconds(500);
const DEFAULT_TRACE: ClockTime = ClockTime::from_seconds(10);
const DEFAULT_DEVICE: i32 = 0;
/// Traces are cut anew this often; frames in between share them.
const TRACE_PERIOD: u64 = 100_000_000;
/// How far physiology may run ahead of video before its pad holds it back, when waiting.
const AHEAD: u64 = 10_000_000_000;
/// Answers given at one frame at the most, when waiting.
const MAX_CATCH_UP: u64 = 600;
/// A hole in the video that is longer (ns) is told.
const HOLE: u64 = 5_000_000_000;
/// Jumps of the video's time are told this often.
const JUMPS_TOLD: u32 = 10;
/// Answer times kept for the percentile in `stats`.
const TIMES: usize = 512;

#[derive(Debug, Clone)]
struct Settings {
    model: Option<PathBuf>,
    provider: ExecutionProvider,
    device_id: i32,
    engine_cache: Option<PathBuf>,
    library: Option<PathBuf>,
    hop: ClockTime,
    settle: ClockTime,
    trace: ClockTime,
    sync: Sync,
    wait_for_model: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            provider: ExecutionProvider::Auto,
            device_id: DEFAULT_DEVICE,
            engine_cache: None,
            library: None,
            hop: DEFAULT_HOP,
            settle: DEFAULT_SETTLE,
            trace: DEFAULT_TRACE,
            sync: Sync::Auto,
            wait_for_model: false,
        }
    }
}

/// One physiology pad, as the video side sees it.
#[derive(Debug, Default)]
struct Side {
    pad: Option<gst::Pad>,
    segment: Option<gst::FormattedSegment<ClockTime>>,
    stream: Option<Stream>,
    /// Running time (ns) up to which everything has come.
    progress: u64,
    /// Running time (ns) up to which nothing that comes changes what the network gets.
    settled: u64,
    eos: bool,
    flushing: bool,
    /// The seek or flush that the pad was flushed by last.
    flushed: Option<gst::Seqnum>,
    /// What comes is of before a seek, and left out until the pad is flushed.
    void: bool,
    /// A segment has come: what feeds the pad is there.
    met: bool,
    samples: u64,
}

impl Side {
    /// Forgets what has come, not whose it is.
    fn restart(&mut self) {
        *self = Self {
            pad: self.pad.take(),
            stream: self.stream.take(),
            met: self.met,
            ..Self::default()
        };
    }

    fn is_linked(&self) -> bool {
        self.pad.as_ref().is_some_and(|p| p.is_linked())
    }

    /// Whether what comes next bears on the time before `end`. How much of it has come
    /// already is chance, and an answer must not depend on that.
    fn owes(&self, end: u64) -> bool {
        (self.void || (!self.eos && self.settled < end && self.progress < end + AHEAD))
            && self.is_linked()
    }
}

/// An answer that is asked for. Hop `h` ends at `h` × hop length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    pub(super) hop: u64,
    pub(super) generation: u64,
    /// Tokens of before a seek are to be dropped first.
    pub(super) forget: bool,
}

/// What a seek has to put back if it fails.
struct Before {
    /// Last hop, answered hop, and the video's time.
    hops: (u64, u64, u64),
    /// Another sink's branch was faster, and what it brought may be lost.
    spoilt: bool,
}

/// The newest result, and the same made ready for the frames.
#[derive(Debug, Clone)]
struct Answered {
    meta: Arc<EmotionMeta>,
    stamp: EmotionStamp,
}

#[derive(Debug, Default)]
struct Stats {
    frames: u64,
    stray: u64,
    jumps: u32,
    inferences: u64,
    dropped: u64,
    times: Vec<Duration>,
    next: usize,
}

impl Stats {
    fn took(&mut self, time: Duration) {
        self.inferences += 1;
        if self.times.len() < TIMES {
            self.times.push(time);
        } else {
            self.times[self.next % TIMES] = time;
            self.next += 1;
        }
    }
}

#[derive(Default)]
struct State {
    /// Between READY→PAUSED and PAUSED→READY.
    running: bool,
    inputs: Option<Arc<Inputs>>,
    /// Length of a hop in nanoseconds.
    hop: u64,
    settle: u64,
    trace: ClockTime,
    wait_for_model: bool,
    sync: Sync,
    loaded: Option<Loaded>,
    failed: bool,

    segment: Option<gst::FormattedSegment<ClockTime>>,
    video_flushing: bool,
    video_eos: bool,
    /// As in [`Side`].
    video_flushed: Option<gst::Seqnum>,
    video_void: bool,
    /// The last seek, and whether it was followed.
    seek: Option<(gst::Seqnum, bool)>,
    /// The last seek that was followed, for pads that come later, or why they cannot.
    led: Option<(gst::Seqnum, Result<seek::Wanted, String>)>,
    /// Pads are being sought: one after the other, as one demuxer may feed several.
    leading: bool,
    video_time: u64,
    pace: Pace,
    /// From capture to display, as the pipeline has told.
    latency: u64,
    /// Decided at the first frame, and again when pads come and go.
    live: Option<bool>,
    sides: BTreeMap<String, Side>,

    /// The mailbox: only the newest job is kept.
    job: Option<Job>,
    /// The worker reads the inputs.
    working: bool,
    last_hop: u64,
    answered_hop: u64,
    generation: u64,
    forget: bool,
    result: Option<Answered>,
    traces: Option<(u64, Arc<PhysioTraceMeta>)>,
    sequence: u64,
    stats: Stats,
}

impl State {
    /// Forgets the answers of another time line; the next is to be that of hop `last` + 1.
    fn begin_anew(&mut self, last: u64) {
        self.last_hop = last;
        self.answered_hop = last;
        self.job = None;
        self.result = None;
        self.traces = None;
        self.generation += 1;
        self.forget = true;
    }
}

/// Lock order: `settings`, then `state`; neither is held while pushing, posting or
/// holding one of the [`Inputs`]' tracks.
pub struct MvpFusion {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// For streaming threads that wait for each other or for an answer.
    changed: Condvar,
    /// For the worker alone: what goes on between pads must not wake it.
    work: Condvar,
    worker: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MvpFusion {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    // The worker's side.

    /// The next job, or `None` at the end.
    pub(super) fn next_job(&self) -> Option<Job> {
        let mut state = self.state();
        state.working = false;
        self.changed.notify_all();
        loop {
            if !state.running {
                return None;
            }
            if let Some(mut job) = state.job.take() {
                state.working = true;
                job.forget = std::mem::take(&mut state.forget);
                return Some(job);
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn loaded(&self, loaded: Loaded) {
        self.state().loaded = Some(loaded);
        self.changed.notify_all();
    }

    pub(super) fn failed(&self) {
        let mut state = self.state();
        state.failed = true;
        state.working = false;
        drop(state);
        self.changed.notify_all();
    }

    /// Takes an answer; `None` when a seek has made it void.
    pub(super) fn answered(
        &self,
        generation: u64,
        took: Duration,
        meta: impl FnOnce(u64) -> EmotionMeta,
    ) -> Option<Arc<EmotionMeta>> {
        let mut state = self.state();
        state.working = false;
        self.changed.notify_all();
        if state.generation != generation {
            return None;
        }
        let mut meta = meta(state.sequence);
        if state.live != Some(true) {
            // A measured time would make two runs over the same data differ.
            meta.inference_time = ClockTime::ZERO;
        }
        let meta = Arc::new(meta);
        let stamp = EmotionStamp::new(&meta)
            .inspect_err(|e| gst::error!(CAT, imp = self, "{e}"))
            .ok()?;
        state.sequence += 1;
        state.stats.took(took);
        state.result = Some(Answered {
            meta: meta.clone(),
            stamp,
        });
        Some(meta)
    }

    /// The answer to `hop` is out, message and all: a frame that waits for it may go.
    pub(super) fn delivered(&self, hop: u64, generation: u64) {
        let mut state = self.state();
        if state.generation == generation {
            state.answered_hop = hop;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for the answer that is in the making: it would close the grids of a track
    /// that is flushed meanwhile, up to the end of a window of before.
    fn rest(&self) {
        let mut state = self.state();
        while state.working && state.running {
            state = self.wait(state);
        }
    }

    // Video.

    fn sink_chain(&self, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (own, verdict, inputs, live) = {
            let mut state = self.state();
            if state.failed {
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
            take_units(inputs, &buffer, time);
        }
        if let Some(time) = time {
            if live {
                self.ask(time)?;
            } else {
                self.ask_and_wait(time)?;
            }
        }
        let mut state = self.state();
        state.stats.frames += 1;
        let result = state.result.clone();
        let (hop, settle, latency) = (state.hop, state.settle, state.latency);
        drop(state);
        let failed = |e: glib::BoolError| {
            gst::element_imp_error!(self, gst::StreamError::Failed, ("{e}"));
            gst::FlowError::Error
        };
        if let Some(traces) = time.zip(inputs).and_then(|(t, i)| self.traces(t, &i)) {
            traces.attach(buffer.make_mut()).map_err(failed)?;
        }
        if let Some(Answered { meta, stamp }) = result {
            let end = meta.window_end.nseconds();
            let mut age = own.unwrap_or(0).saturating_sub(end);
            // Frames whose times stand still or go astray do not make an answer fresh.
            if let Some(now) = live.then(|| self.running_time()).flatten() {
                age = age.max(now.saturating_sub(latency).saturating_sub(end));
            }
            let stale = live && age > settle + 3 * hop;
            let age = ClockTime::from_nseconds(age);
            stamp
                .attach(buffer.make_mut(), age, stale)
                .map_err(failed)?;
            #[cfg(feature = "v1_24")]
            meta.attach_classification(buffer.make_mut())
                .map_err(failed)?;
        }
        self.srcpad.push(buffer)
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
    fn is_live(&self) -> bool {
        let sync = self.state().sync;
        match sync {
            Sync::Live => true,
            Sync::Wait => false,
            Sync::Auto => self
                .obj()
                .sink_pads()
                .iter()
                .any(|p| gst_gst_common::upstream_is_live(p) == Some(true)),
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
        let mut state = self.state();
        while state.wait_for_model && state.loaded.is_none() {
            state = self.wait_while_running(state)?;
        }
        state.video_time = time;
        let hop = time.saturating_sub(state.settle) / state.hop.max(1);
        if hop > state.last_hop {
            let skipped = hop - state.last_hop - 1 + u64::from(state.job.is_some());
            // Before the first answer there was nothing to skip.
            if state.last_hop > 0 {
                state.stats.dropped += skipped;
            }
            self.post_job(&mut state, hop);
        }
        Ok(())
    }

    /// Not live: answers every hop up to this frame, each with all its physiology.
    fn ask_and_wait(&self, time: u64) -> Result<(), gst::FlowError> {
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
            while state.loaded.is_none() || state.sides.values().any(|s| s.owes(end)) {
                state = self.wait_while_running(state)?;
                // A seek has made the frame one of before.
                if state.generation != generation {
                    return Ok(());
                }
            }
            self.post_job(&mut state, hop);
            while state.answered_hop < hop {
                state = self.wait_while_running(state)?;
                if state.generation != generation {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn post_job(&self, state: &mut State, hop: u64) {
        state.last_hop = hop;
        state.job = Some(Job {
            hop,
            generation: state.generation,
            forget: false,
        });
        self.work.notify_one();
    }

    fn wait_while_running<'a>(
        &self,
        state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, gst::FlowError> {
        let state = self.wait(state);
        if state.failed {
            Err(gst::FlowError::Error)
        } else if !state.running || state.video_flushing {
            Err(gst::FlowError::Flushing)
        } else {
            Ok(state)
        }
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        use gst::EventView;
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
                self.state().video_flushing = true;
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

    fn src_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Seek(seek) => return self.seek(&event, seek),
            gst::EventView::Latency(latency) => {
                self.state().latency = latency.latency().nseconds();
            }
            _ => {}
        }
        gst::Pad::event_default(&self.srcpad, Some(&*self.obj()), event)
    }

    // Seeking.

    /// Sends a seek to every linked sink pad, physiology first: film and body go to the
    /// same moment, or stay where they are.
    fn seek(&self, event: &gst::Event, seek: &gst::event::Seek) -> bool {
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
            hops: (state.last_hop, state.answered_hop, state.video_time),
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
            (state.last_hop, state.answered_hop, state.video_time) = before.hops;
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
    fn lead(&self, name: &str, seqnum: gst::Seqnum, wanted: &seek::Wanted) {
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

    fn tell_parted(&self, why: &str) {
        gst::element_imp_error!(
            self,
            gst::CoreError::Seek,
            ("no seek: {why}. A part of the pipeline has followed it through another sink: body \
                 and face are not of one time any more")
        );
    }

    fn flush_video(&self, seqnum: gst::Seqnum) {
        let inputs = {
            let mut state = self.state();
            state.video_flushed = Some(seqnum);
            state.video_void = false;
            state.video_flushing = false;
            state.video_eos = false;
            state.segment = None;
            state.video_time = 0;
            state.pace = Pace::default();
            state.begin_anew(0);
            state.inputs.clone()
        };
        if let Some(inputs) = inputs {
            self.rest();
            inputs.video().flush();
        }
    }

    // Physiology.

    fn physio_chain(
        &self,
        name: &str,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let duration = buffer.duration().map(ClockTime::nseconds);
        let (start, skipped, stream, inputs) = {
            let mut state = self.state();
            let inputs = state.inputs.clone();
            let eos = state.video_eos;
            let side = state.sides.get_mut(name).ok_or(gst::FlowError::Flushing)?;
            if eos || side.void {
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
                track.cut();
            }
            for (i, value) in samples.enumerate().skip(skipped) {
                let at = stream.sample_time(i as u64, count, duration) - offset;
                track.push(start + at, value);
            }
        }
        self.advance(name, end)
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
            if state.failed {
                return Err(gst::FlowError::Error);
            }
            let ahead = side.progress > state.video_time + state.hop + AHEAD;
            if !ahead || state.video_eos || state.live == Some(true) {
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

    fn physio_event(&self, pad: &gst::Pad, name: &str, event: &gst::Event) -> bool {
        use gst::EventView;
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
                let (inputs, refused) = {
                    let mut state = self.state();
                    state.forget = true;
                    (state.inputs.clone(), state.seek == Some((seqnum, false)))
                };
                if let Some(mut track) = inputs.as_ref().and_then(|i| i.signal(name)) {
                    track.flush();
                }
                self.changed.notify_all();
                if refused {
                    self.tell_parted("it was refused");
                }
            }
            _ => gst::log!(CAT, obj = pad, "{event:?} ends here"),
        }
        true
    }

    fn with_side<T>(&self, name: &str, f: impl FnOnce(&mut Side) -> T) -> Option<T> {
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
                Some(mut track) => track.configure(stream.rate, stream.format.full_scale()),
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

    // Start and stop.

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let not_found =
            |e: &dyn std::fmt::Display| gst::error_msg!(gst::ResourceError::NotFound, ("{e}"));
        let directory = common::find_model_dir(settings.model.as_deref(), "default", MANIFEST)
            .map_err(|e| not_found(&e))?;
        let bundle = Arc::new(Bundle::open(&directory).map_err(|e| not_found(&e))?);
        let chunk = bundle.chunk();
        let wanted = match settings.hop {
            ClockTime::ZERO => (bundle.window().hop * 1e9).round() as u64,
            hop => hop.nseconds(),
        };
        let hop_chunks = wanted.div_ceil(chunk).max(1);
        if hop_chunks * chunk != wanted {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                (
                    "hop={wanted}: the model answers at multiples of {chunk} ns, {} is used",
                    hop_chunks * chunk
                )
            );
        }
        let inputs = Arc::new(Inputs::new(&bundle));
        let plan = Plan {
            options: SessionOptions {
                provider: settings.provider.into(),
                device_id: settings.device_id,
                engine_cache: settings.engine_cache.or_else(common::default_engine_cache),
                ..Default::default()
            },
            bundle,
            inputs: inputs.clone(),
            library: settings.library,
            hop_chunks,
        };
        {
            let mut state = self.state();
            let mut sides = std::mem::take(&mut state.sides);
            for side in sides.values_mut() {
                side.restart();
                side.stream = None;
                side.met = false;
            }
            *state = State {
                running: true,
                inputs: Some(inputs),
                hop: hop_chunks * chunk,
                settle: settings.settle.nseconds(),
                trace: settings.trace,
                wait_for_model: settings.wait_for_model,
                sync: settings.sync,
                sides,
                ..Default::default()
            };
        }
        let element = self.obj().clone();
        let worker = std::thread::Builder::new()
            .name("mvpfusion".into())
            .spawn(move || worker::run(&element, plan))
            .map_err(|e| {
                gst::error_msg!(
                    gst::ResourceError::Failed,
                    ("the worker cannot be started: {e}")
                )
            })?;
        *lock(&self.worker) = Some(worker);
        Ok(())
    }

    /// Waits a little for the network; false if it is known to have failed, and said so.
    fn await_load(&self) -> bool {
        let pending = |state: &mut State| state.loaded.is_none() && !state.failed;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), common::LOAD_PATIENCE, pending)
            .unwrap_or_else(PoisonError::into_inner);
        !state.failed
    }

    /// Lets go of every thread that waits in here.
    fn interrupt(&self) {
        let mut state = self.state();
        state.running = false;
        for terminator in state.loaded.iter().flat_map(|l| &l.terminators) {
            terminator.terminate();
        }
        drop(state);
        self.changed.notify_all();
        self.work.notify_one();
    }

    fn stop(&self) {
        self.interrupt();
        let worker = lock(&self.worker).take();
        if worker.is_some_and(|w| w.join().is_err()) {
            gst::error!(CAT, imp = self, "the worker panicked");
        }
        let mut state = self.state();
        state.loaded = None;
        state.inputs = None;
        state.result = None;
        state.job = None;
    }

    fn stats(&self) -> gst::Structure {
        let state = self.state();
        let times = &state.stats.times;
        let mut sorted: Vec<u64> = times.iter().map(|t| t.as_nanos() as u64).collect();
        sorted.sort_unstable();
        let mean = sorted.iter().sum::<u64>() / (sorted.len() as u64).max(1);
        let p95 = sorted.get(sorted.len() * 95 / 100).copied().unwrap_or(0);
        let mut stats = gst::Structure::builder("mvpfusion-stats")
            .field("frames", state.stats.frames)
            .field("stray-frames", state.stats.stray)
            .field("inferences", state.stats.inferences)
            .field("dropped", state.stats.dropped)
            .field("inference-time-mean", mean)
            .field("inference-time-p95", p95)
            .field("live", state.live.unwrap_or(false))
            .build();
        let sides: Vec<(String, u64)> = state
            .sides
            .iter()
            .map(|(n, s)| (n.clone(), s.samples))
            .collect();
        let (inputs, result) = (state.inputs.clone(), state.result.clone());
        drop(state);
        for (name, samples) in sides {
            let counts = inputs
                .as_ref()
                .and_then(|i| i.signal(&name).map(|t| t.counts()))
                .unwrap_or_default();
            stats.set(
                name.as_str(),
                gst::Structure::builder(name.as_str())
                    .field("samples", samples)
                    .field("not-finite", counts.not_finite)
                    .field("flat", counts.flat)
                    .field("saturated", counts.saturated)
                    .field("late", counts.late)
                    .build(),
            );
        }
        for modality in result.iter().flat_map(|r| &r.meta.modalities) {
            stats.set(format!("coverage-{}", modality.name), modality.coverage);
        }
        stats
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

/// Gives the units of the longest-followed face to the video track, on a frame of running
/// time `time`.
fn take_units(inputs: &Inputs, buffer: &gst::BufferRef, time: Option<u64>) {
    let faces = FaceUnitsMeta::all_from_buffer(buffer);
    // They may be those of an earlier frame, and that one may have been a stray.
    let latest = time.map_or(u64::MAX, |t| t.saturating_add(pace::NEAR));
    let believed = faces.iter().filter(|f| f.time.nseconds() <= latest);
    let Some(face) = believed.min_by_key(|f| f.track_id) else {
        return;
    };
    let mut video = inputs.video();
    let values: Vec<f64> = video
        .units()
        .iter()
        .map(|name| {
            face.units
                .iter()
                .find(|(n, _)| n == name)
                .map_or(f64::NAN, |(_, v)| *v)
        })
        .collect();
    video.push(face.time.nseconds(), face.confidence, &values);
}

#[glib::object_subclass]
impl ObjectSubclass for MvpFusion {
    const NAME: &'static str = "GstMvpFusion";
    type Type = super::MvpFusion;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| {
            klass
                .pad_template(name)
                .expect("registered in pad_templates")
        };
        let flags = gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION;
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.sink_chain(buffer),
                )
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.sink_event(event))
            })
            .iterate_internal_links_function(|_, parent| {
                Self::catch_panic_pad_function(
                    parent,
                    || gst::Iterator::from_vec(vec![]),
                    |imp| gst::Iterator::from_vec(vec![imp.srcpad.clone()]),
                )
            })
            .flags(flags)
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.src_event(event))
            })
            .iterate_internal_links_function(|_, parent| {
                Self::catch_panic_pad_function(
                    parent,
                    || gst::Iterator::from_vec(vec![]),
                    |imp| gst::Iterator::from_vec(vec![imp.sinkpad.clone()]),
                )
            })
            .flags(flags)
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            work: Condvar::new(),
            worker: Mutex::default(),
        }
    }
}

impl ObjectImpl for MvpFusion {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("model")
                    .nick("Model")
                    .blurb("Directory of the model bundle (mvp.toml and its files); unset: models/default here, beside the plugin or where it was installed")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder::<ExecutionProvider>("execution-provider")
                    .nick("Execution provider")
                    .blurb("Where the network runs; an explicit one that is not there is an error")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecInt::builder("device-id")
                    .nick("Device")
                    .blurb("Index of the GPU")
                    .minimum(0)
                    .default_value(DEFAULT_DEVICE)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("engine-cache-dir")
                    .nick("Engine cache directory")
                    .blurb("Where built TensorRT engines are kept; unset: gst-plugin-mvp/engines in the user's cache directory")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("ort-library")
                    .nick("ONNX Runtime library")
                    .blurb("File or directory of libonnxruntime 1.24 or newer; unset: ORT_DYLIB_PATH, beside the plugin, the system's places. The first in a process stays")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("hop")
                    .nick("Hop")
                    .blurb("Time from answer to answer in nanoseconds, a multiple of the model's chunk (0: the model's)")
                    .maximum(600_000_000_000)
                    .default_value(DEFAULT_HOP.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("settle-time")
                    .nick("Settle time")
                    .blurb("Live: how long after a window's end its last samples may still arrive, in nanoseconds. Delays the answer, never the video")
                    .maximum(60_000_000_000)
                    .default_value(DEFAULT_SETTLE.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("trace-duration")
                    .nick("Trace duration")
                    .blurb("How much conditioned physiology rides on the frames for emotionoverlay show=traces, in nanoseconds (0: none)")
                    .maximum(60_000_000_000)
                    .default_value(DEFAULT_TRACE.nseconds())
                    .mutable_ready()
                    .build(),
                glib::ParamSpecEnum::builder::<Sync>("sync")
                    .nick("Synchronisation")
                    .blurb("Whether frames wait for the physiology and the answer of their window")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecBoolean::builder("wait-for-model")
                    .nick("Wait for the model")
                    .blurb("Live: hold the first frames until the model is loaded (without live inputs they always are)")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("active-provider")
                    .nick("Active provider")
                    .blurb("What ONNX Runtime reports to run the network: tensorrt, cuda or cpu; unset until it is loaded")
                    .read_only()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("frames, stray-frames (with a time that their neighbours do not share), inferences, dropped hops, inference-time-mean and -p95 (ns), coverage-<modality>, and for each pad samples, not-finite, flat, saturated, late")
                    .read_only()
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let path = || {
            let text = value
                .get::<Option<String>>()
                .expect("type checked upstream");
            text.filter(|t| !t.is_empty()).map(PathBuf::from)
        };
        let time = || ClockTime::from_nseconds(value.get().expect("type checked upstream"));
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "model" => settings.model = path(),
            "execution-provider" => settings.provider = value.get().expect("type checked upstream"),
            "device-id" => settings.device_id = value.get().expect("type checked upstream"),
            "engine-cache-dir" => settings.engine_cache = path(),
            "ort-library" => settings.library = path(),
            "hop" => settings.hop = time(),
            "settle-time" => settings.settle = time(),
            "trace-duration" => settings.trace = time(),
            "sync" => settings.sync = value.get().expect("type checked upstream"),
            "wait-for-model" => {
                settings.wait_for_model = value.get().expect("type checked upstream")
            }
            _ => unimplemented!(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "active-provider" => {
                return self.state().loaded.as_ref().map(|l| l.provider).to_value();
            }
            "stats" => return self.stats().to_value(),
            _ => {}
        }
        let settings = lock(&self.settings);
        let path = |p: &Option<PathBuf>| {
            p.as_ref()
                .map(|p| p.to_string_lossy().into_owned())
                .to_value()
        };
        match pspec.name() {
            "model" => path(&settings.model),
            "execution-provider" => settings.provider.to_value(),
            "device-id" => settings.device_id.to_value(),
            "engine-cache-dir" => path(&settings.engine_cache),
            "ort-library" => path(&settings.library),
            "hop" => settings.hop.nseconds().to_value(),
            "settle-time" => settings.settle.nseconds().to_value(),
            "trace-duration" => settings.trace.nseconds().to_value(),
            "sync" => settings.sync.to_value(),
            "wait-for-model" => settings.wait_for_model.to_value(),
            _ => unimplemented!(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            if let Err(e) = obj.add_pad(pad) {
                gst::error!(CAT, imp = self, "{e}");
            }
        }
    }
}

impl GstObjectImpl for MvpFusion {}

impl ElementImpl for MvpFusion {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MVP emotion network",
                "Filter/Analyzer/Video",
                "Fuses face units and physiology into valence and arousal, as metadata on every frame",
                "The gst-plugin-mvp authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            use gst::{PadDirection, PadPresence, PadTemplate};
            let video = gst::Caps::builder("video/x-raw").any_features().build();
            let physio = physio::template_caps();
            let new = |name: &str, direction, presence, caps: &gst::Caps| {
                PadTemplate::new(name, direction, presence, caps)
                    .expect("a fixed name and direction")
            };
            let mut templates = vec![
                new("sink", PadDirection::Sink, PadPresence::Always, &video),
                new("src", PadDirection::Src, PadPresence::Always, &video),
            ];
            for name in ["ecg", "eda", "ppg", "physio_%s"] {
                templates.push(new(name, PadDirection::Sink, PadPresence::Request, &physio));
            }
            templates
        });
        TEMPLATES.as_ref()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let pad_name = match (template.name_template(), name) {
            ("physio_%s", Some(name)) if name.len() > "physio_".len() => name.to_string(),
            ("physio_%s", _) => {
                gst::error!(
                    CAT,
                    imp = self,
                    "physio_%s needs the name of a signal: physio_resp"
                );
                return None;
            }
            (fixed, _) => fixed.to_string(),
        };
        let modality = pad_name
            .strip_prefix("physio_")
            .unwrap_or(&pad_name)
            .to_string();
        {
            let mut state = self.state();
            if state.sides.contains_key(&modality) {
                drop(state);
                gst::element_imp_warning!(
                    self,
                    gst::CoreError::Pad,
                    ("the signal {modality} has a pad already; expected one stream for each signal")
                );
                return None;
            }
            state.sides.insert(modality.clone(), Side::default());
            state.live = None;
        }
        let (m1, m2) = (modality.clone(), modality.clone());
        let pad = gst::Pad::builder_from_template(template)
            .name(pad_name)
            .chain_function(move |_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.physio_chain(&m1, buffer),
                )
            })
            .event_function(move |pad, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || false,
                    |imp| imp.physio_event(pad, &m2, &event),
                )
            })
            // Nothing of physiology goes on to the video's source pad.
            .iterate_internal_links_function(|_, _| gst::Iterator::from_vec(vec![]))
            .build();
        let weak = self.obj().downgrade();
        pad.connect_unlinked(move |_, _| {
            // A frame may be waiting for what will now not come.
            if let Some(element) = weak.upgrade() {
                element.imp().changed.notify_all();
            }
        });
        self.with_side(&modality, |side| side.pad = Some(pad.clone()));
        // A pad that joins a running element must be ready for data at once.
        if self.obj().current_state() > gst::State::Ready && pad.set_active(true).is_err() {
            gst::warning!(CAT, imp = self, "pad {modality} could not be activated");
        }
        match self.obj().add_pad(&pad) {
            Ok(()) => Some(pad),
            Err(e) => {
                gst::error!(CAT, imp = self, "{e}");
                self.state().sides.remove(&modality);
                None
            }
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        let name = pad.name();
        let modality = name.strip_prefix("physio_").unwrap_or(&name);
        {
            let mut state = self.state();
            state.sides.remove(modality);
            state.live = None;
        }
        self.changed.notify_all();
        let _ = pad.set_active(false);
        if let Err(e) = self.obj().remove_pad(pad) {
            gst::warning!(CAT, imp = self, "{e}");
        }
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => {
                self.start().map_err(|message| {
                    self.post_error_message(message);
                    gst::StateChangeError
                })?;
                if !self.await_load() {
                    self.stop();
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::PausedToReady => self.interrupt(),
            _ => {}
        }
        let result = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady
            || (transition == gst::StateChange::ReadyToPaused && result.is_err())
        {
            self.stop();
        }
        result
    }
}
