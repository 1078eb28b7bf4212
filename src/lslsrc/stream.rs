// SPDX-License-Identifier: MPL-2.0
//! From received samples to buffers: one connection's data, in the streaming thread.

use super::receiver::Connected;
use crate::{
    lsl::{Chunk, Format},
    timing::{SenderAge, Stamped, Timeline},
};
use std::collections::VecDeque;

const SECOND: f64 = 1e9;
/// GAP events are at least this long, so that silence does not make traffic.
const GAP: f64 = SECOND;

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
    /// Received, but not yet placed in time.
    held: VecDeque<u8>,
    held_lengths: VecDeque<usize>,
    open: Option<Open>,
    chunk: f64,
    chunk_samples: u64,
    last: Option<i64>,
    /// Everything before this running time was sent or said to be empty.
    position: i64,
    discont: bool,
    last_age_arrival: f64,
    pub age: SenderAge,
    pub out: VecDeque<Out>,
    stamped: Vec<Stamped>,
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
            held: VecDeque::new(),
            held_lengths: VecDeque::new(),
            open: None,
            chunk,
            chunk_samples: ((chunk * d.rate.hz() + 1e-6) as u64).max(1),
            last: None,
            position: before.position,
            discont: before.discont,
            last_age_arrival: f64::NEG_INFINITY,
            age: before.age,
            out: VecDeque::new(),
            stamped: Vec::new(),
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

    /// Takes what was received; true when the latency changed.
    pub fn take(
        &mut self,
        chunk: &Chunk,
        arrival: f64,
        time: &impl RunningTime,
        counters: &mut Counters,
    ) -> bool {
        let d = &self.connected.description;
        let (all, wanted) = (d.channels, &self.connected.channels);
        match self.stride {
            Some(_) if wanted.len() == all && wanted.iter().enumerate().all(|(i, c)| i == *c) => {
                self.held.extend(&chunk.bytes);
            }
            Some(_) => {
                let size = d.format.map_or(1, Format::size);
                for sample in chunk.bytes.chunks_exact(size * all) {
                    for &c in wanted {
                        self.held.extend(&sample[c * size..(c + 1) * size]);
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
                    self.held.extend(text.as_bytes());
                    self.held_lengths.push_back(text.len());
                }
            }
        }
        self.timeline.push(&chunk.stamps, arrival);
        self.place(time, counters)
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
            0.1
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
        for s in stamped.drain(..) {
            let size = match self.stride {
                Some(stride) => stride,
                None => self.held_lengths.pop_front().unwrap_or(0),
            };
            let bytes = self.held.drain(..size.min(self.held.len()));
            let pts = s.local.map(|local| time.at(local));
            let Some(pts) = pts.filter(|pts| *pts >= time.floor()) else {
                drop(bytes);
                counters.dropped += 1;
                continue;
            };
            if let Some(local) = s.local
                && s.arrival > self.last_age_arrival
            {
                self.last_age_arrival = s.arrival;
                latency_changed |= self.age.push(s.arrival - local, s.arrival);
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
                open.bytes.extend(bytes);
                open.samples += 1;
                open.last = pts;
            } else {
                let bytes: Vec<u8> = bytes.collect();
                self.close(counters);
                if split || self.discont {
                    self.discont = true;
                    counters.gaps += u64::from(split);
                    if interval.is_some_and(|i| (pts - self.position) as f64 > 1.5 * i) {
                        self.gap(pts);
                    }
                }
                self.open = Some(Open {
                    bytes,
                    samples: 1,
                    first: pts,
                    last: pts,
                    raw: s.raw,
                    since: s.arrival,
                });
            }
            self.last = Some(pts);
            if !self.regular() {
                self.close(counters);
            }
        }
        self.stamped = stamped;
        if self
            .open
            .as_ref()
            .is_some_and(|o| o.samples >= self.chunk_samples)
        {
            self.close(counters);
        }
        latency_changed
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
                    &gst::Caps::new_empty_simple("timestamp/x-lsl"),
                    gst::ClockTime::from_nseconds(raw.round() as u64),
                    gst::ClockTime::NONE,
                );
            }
        }
        self.position = self.position.max(open.first + duration.unwrap_or(0));
        counters.samples += open.samples;
        counters.buffers += 1;
        self.out.push_back(Out::Buffer(buffer));
    }
}
