// SPDX-License-Identifier: MPL-2.0
//! From received samples to buffers: one connection's data, in the streaming thread.

use super::receiver::{Connected, Reading};
use crate::stream::caps::lsl_stamp;
use lsl::Chunk;
use std::collections::VecDeque;
use stream_info::Format;
use timing::{Mode, SenderAge, Stamped, Timeline};

const SECOND: f64 = 1e9;
/// GAP events are at least this long, so that silence does not make traffic.
const GAP: f64 = SECOND;
/// Seconds from look to look while nothing comes.
const IDLE: f64 = 0.25;
/// Samples are left with liblsl at most this long, seconds, until they are read together.
const TOGETHER: f64 = 0.05;
/// For the usual time between two packets: what the last one weighs, and what is long.
const PACE_WEIGHT: f64 = 0.1;
const SLOW: f64 = 0.5;

/// Running time in nanoseconds of a time (seconds) on the LSL clock; negative before the
/// pipeline's start.
pub trait RunningTime {
    fn at(&self, local: f64) -> i64;
    /// Samples before this are of no use: the pipeline did not run yet.
    fn floor(&self) -> i64;
}

pub enum Out {
    Buffer(gst::Buffer),
    /// Nothing was taken between these two running times.
    Gap(u64, u64),
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    pub samples: u64,
    pub buffers: u64,
    pub dropped: u64,
    /// Of these, samples whose stamps cannot be right.
    pub strays: u64,
    pub gaps: u64,
    pub resets: u64,
}

/// A buffer in the making.
struct Open {
    bytes: Vec<u8>,
    samples: u64,
    first: i64,
    last: i64,
    raw: f64,
    /// LSL time at which it was begun.
    since: f64,
}

pub struct Stream {
    pub connected: Connected,
    pub timeline: Timeline,
    /// Bytes of a sample of numbers; text samples have their own lengths.
    stride: Option<usize>,
    /// Received; from `placed` on not yet placed in time.
    held: Vec<u8>,
    placed: usize,
    held_lengths: VecDeque<usize>,
    open: Option<Open>,
    chunk: f64,
    chunk_samples: u64,
    /// How long what is taken now may have lain unread, seconds.
    waited: f64,
    /// When something was taken last, and the usual time from one to the next.
    taken: Option<f64>,
    pace: f64,
    last: Option<i64>,
    /// Everything before this running time was sent or said to be empty.
    position: i64,
    discont: bool,
    last_age_arrival: f64,
    pub age: SenderAge,
    pub out: VecDeque<Out>,
    stamped: Vec<Stamped>,
    /// The name of the sender's own stamps.
    stamp: gst::Caps,
}

/// What carries over from one connection to the next.
#[derive(Default)]
pub struct Before {
    position: i64,
    discont: bool,
    age: SenderAge,
}

impl Stream {
    /// `chunk`: seconds that a buffer is filled at most.
    pub fn new(connected: Connected, timeline: Timeline, chunk: f64, before: Before) -> Self {
        let d = &connected.description;
        let stride = d
            .format
            .filter(|f| *f != Format::Text)
            .map(|f| f.size() * connected.channels.len());
        Self {
            stride,
            timeline,
            held: Vec::new(),
            placed: 0,
            held_lengths: VecDeque::new(),
            open: None,
            chunk,
            waited: 0.0,
            taken: None,
            pace: 0.0,
            chunk_samples: ((chunk * d.rate.hz() + 1e-6) as u64).max(1),
            last: None,
            position: before.position,
            discont: before.discont,
            last_age_arrival: f64::NEG_INFINITY,
            age: before.age,
            out: VecDeque::new(),
            stamped: Vec::new(),
            stamp: lsl_stamp(),
            connected,
        }
    }

    pub fn into_before(self) -> Before {
        Before {
            position: self.position,
            discont: true,
            age: self.age,
        }
    }

    fn regular(&self) -> bool {
        self.connected.description.rate.is_regular() && !self.timeline.is_irregular()
    }

    /// The next buffer starts after a loss.
    pub fn mark_lost(&mut self) {
        self.discont = true;
        self.last = None;
    }

    /// The pipeline plays again after a pause that began at running time `paused`; what was
    /// taken meanwhile is missing. Returns the end of what was sent, if the pause took hold
    /// only after that: running time goes on from there.
    pub fn resumed(&mut self, paused: i64, counters: &mut Counters) -> i64 {
        self.close(counters);
        self.mark_lost();
        let sent = self.position;
        if sent - paused < SECOND as i64 {
            sent
        } else {
            // Not a pause: somebody set running time back.
            self.position = 0;
            0
        }
    }

    /// How to read the stream: what is put into one buffer anyway is read together. Where
    /// the time of arrival counts, or packets are rare, each sample is read at once.
    pub fn reading(&self) -> Reading {
        let stamped = matches!(self.timeline.mode(), Mode::SameHost | Mode::Remote);
        let period = self.chunk.min(TOGETHER);
        if stamped && self.chunk_samples > 1 && self.pace < 1.5 * period && self.regular() {
            Reading::Every(period)
        } else {
            Reading::AtOnce
        }
    }

    /// Takes what was received at `arrival` (LSL clock) and may have lain unread for
    /// `waited` seconds; true when the latency changed.
    pub fn take(
        &mut self,
        chunk: Chunk,
        arrival: f64,
        waited: f64,
        time: &impl RunningTime,
        counters: &mut Counters,
    ) -> bool {
        let d = &self.connected.description;
        let (all, wanted) = (d.channels, &self.connected.channels);
        match self.stride {
            Some(_) if wanted.len() == all && wanted.iter().enumerate().all(|(i, c)| i == *c) => {
                if self.held.is_empty() {
                    self.held = chunk.bytes;
                } else {
                    self.held.extend_from_slice(&chunk.bytes);
                }
            }
            Some(_) => {
                let size = d.format.map_or(1, Format::size);
                for sample in chunk.bytes.chunks_exact(size * all) {
                    for &c in wanted {
                        self.held
                            .extend_from_slice(&sample[c * size..(c + 1) * size]);
                    }
                }
            }
            None => {
                let mut rest = &chunk.bytes[..];
                let mut texts = Vec::with_capacity(chunk.lengths.len());
                for &length in &chunk.lengths {
                    let (text, tail) = rest.split_at(length.min(rest.len()));
                    texts.push(text);
                    rest = tail;
                }
                for sample in texts.chunks_exact(all) {
                    let text = wanted
                        .iter()
                        .map(|&c| String::from_utf8_lossy(sample[c]))
                        .collect::<Vec<_>>()
                        .join("\n");
                    self.held.extend_from_slice(text.as_bytes());
                    self.held_lengths.push_back(text.len());
                }
            }
        }
        self.waited = waited;
        let since = arrival - self.taken.replace(arrival).unwrap_or(arrival);
        // Not the silence of a loss.
        self.pace += (since.min(SLOW) - self.pace) * PACE_WEIGHT;
        self.timeline.push(&chunk.stamps, arrival);
        let changed = self.place(time, counters);
        if self
            .open
            .as_ref()
            .is_some_and(|o| arrival - o.since >= self.chunk)
        {
            self.close(counters);
        }
        changed
    }

    /// Lets time pass: `now` on the LSL clock, `latency` in nanoseconds. True when the
    /// latency changed.
    pub fn tick(
        &mut self,
        now: f64,
        latency: u64,
        time: &impl RunningTime,
        counters: &mut Counters,
    ) -> bool {
        self.timeline.poll(now);
        let changed = self.place(time, counters);
        if let Some(open) = &self.open {
            if now - open.since >= self.chunk {
                self.close(counters);
            }
        } else if !self.timeline.holds() {
            let interval = self.timeline.interval().unwrap_or(0.0) * SECOND;
            let until = time.at(now) - latency as i64;
            self.position = self.position.max(time.floor());
            if (until - self.position) as f64 >= GAP.max(1.5 * interval) {
                self.gap(until);
            }
        }
        changed
    }

    /// Seconds until [`Stream::tick`] must be called even if nothing arrives.
    pub fn deadline(&self, now: f64) -> f64 {
        if let Some(open) = &self.open {
            (open.since + self.chunk - now).max(0.0)
        } else if self.timeline.holds() {
            0.02
        } else {
            IDLE
        }
    }

    /// Lets go of everything inside, at the end of a connection.
    pub fn finish(&mut self, time: &impl RunningTime, counters: &mut Counters) {
        self.timeline.flush();
        self.place(time, counters);
        self.close(counters);
    }

    fn gap(&mut self, until: i64) {
        let from = self.position.max(0);
        if until > from {
            self.out
                .push_back(Out::Gap(from as u64, (until - from) as u64));
            self.position = until;
        }
    }

    /// Moves the samples that have a time now into buffers.
    fn place(&mut self, time: &impl RunningTime, counters: &mut Counters) -> bool {
        let mut stamped = std::mem::take(&mut self.stamped);
        self.timeline.drain(&mut stamped);
        let interval = self.timeline.interval().map(|i| i * SECOND);
        let mut latency_changed = false;
        // Bytes behind `placed` that belong to the open buffer.
        let mut ours = 0;
        for s in stamped.drain(..) {
            let size = match self.stride {
                Some(stride) => stride,
                None => self.held_lengths.pop_front().unwrap_or(0),
            };
            let size = size.min(self.held.len() - self.placed - ours);
            let pts = s.local.map(|local| time.at(local));
            let Some(pts) = pts.filter(|pts| *pts >= time.floor()) else {
                self.fill(&mut ours);
                self.placed += size;
                counters.dropped += 1;
                counters.strays += u64::from(s.stray);
                continue;
            };
            if let Some(local) = s.local
                && s.arrival > self.last_age_arrival
            {
                self.last_age_arrival = s.arrival;
                let age = s.arrival - self.waited - local;
                latency_changed |= self.age.push(age, s.arrival);
            }
            let jump = match (self.last, interval) {
                (Some(last), Some(interval)) => {
                    let step = (pts - last) as f64;
                    step > 1.5 * interval || step < -0.5 * interval
                }
                _ => false,
            };
            let split = jump || s.discont;
            if !split && let Some(open) = &mut self.open {
                ours += size;
                open.samples += 1;
                open.last = pts;
            } else {
                self.fill(&mut ours);
                self.close(counters);
                if split || self.discont {
                    self.discont = true;
                    counters.gaps += u64::from(split);
                    if interval.is_some_and(|i| (pts - self.position) as f64 > 1.5 * i) {
                        self.gap(pts);
                    }
                }
                ours = size;
                self.open = Some(Open {
                    bytes: Vec::new(),
                    samples: 1,
                    first: pts,
                    last: pts,
                    raw: s.raw,
                    since: s.arrival - self.waited,
                });
            }
            self.last = Some(pts);
            if !self.regular() {
                self.fill(&mut ours);
                self.close(counters);
            }
        }
        self.stamped = stamped;
        self.fill(&mut ours);
        if self.placed > self.held.len() / 2 {
            self.held.drain(..self.placed);
            self.placed = 0;
        }
        if self
            .open
            .as_ref()
            .is_some_and(|o| o.samples >= self.chunk_samples)
        {
            self.close(counters);
        }
        latency_changed
    }

    /// Moves the next `ours` bytes into the open buffer.
    fn fill(&mut self, ours: &mut usize) {
        let Some(open) = &mut self.open else { return };
        if open.bytes.is_empty() && self.placed == 0 && *ours == self.held.len() {
            // The rule: what was read together is one buffer.
            open.bytes = std::mem::take(&mut self.held);
        } else {
            let until = self.placed + *ours;
            open.bytes.extend_from_slice(&self.held[self.placed..until]);
            self.placed = until;
        }
        *ours = 0;
    }

    /// Finishes the buffer in the making.
    fn close(&mut self, counters: &mut Counters) {
        let Some(open) = self.open.take() else { return };
        let duration = self
            .timeline
            .interval()
            .map(|i| (open.last - open.first).max(0) + (i * SECOND) as i64);
        let mut buffer = gst::Buffer::from_mut_slice(open.bytes);
        {
            let buffer = buffer.make_mut();
            let pts = gst::ClockTime::from_nseconds(open.first.max(0) as u64);
            buffer.set_pts(pts);
            buffer.set_duration(duration.map(|d| gst::ClockTime::from_nseconds(d as u64)));
            if std::mem::take(&mut self.discont) {
                buffer.set_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC);
            }
            let raw = open.raw * SECOND;
            if raw >= 0.0 && raw < u64::MAX as f64 {
                gst::ReferenceTimestampMeta::add(
                    buffer,
                    &self.stamp,
                    gst::ClockTime::from_nseconds(raw.round() as u64),
                    gst::ClockTime::NONE,
                );
            }
        }
        self.position = self
            .position
            .max(open.first.saturating_add(duration.unwrap_or(0)));
        counters.samples += open.samples;
        counters.buffers += 1;
        self.out.push_back(Out::Buffer(buffer));
    }
}
