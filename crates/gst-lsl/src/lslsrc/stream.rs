// SPDX-License-Identifier: MPL-2.0
//! From received samples to buffers: one connection's data, in the streaming thread.

use super::connection::Connected;
use super::shared::Reading;
use crate::writer::{LONGEST, Placed, SampleWriter, Written};
use lsl::Chunk;
use std::collections::VecDeque;
use stream_info::Format;
use timing::{Mode, SenderAge, Stamped, Timeline};

const SECOND: f64 = 1e9;
/// GAP events are at least this long, ns, so that they are rare.
const GAP: f64 = SECOND;
/// Seconds between two calls of [`Stream::tick`] while nothing arrives.
const IDLE: f64 = 0.25;
/// Samples are read together, after at most this many seconds.
const TOGETHER: f64 = 0.05;
/// Bytes that wait for their time at most: while the clock is not known, or while late samples
/// are told from lost ones.
const WAITING: usize = 64 << 20;
/// Bytes of a sample that waits, besides its values.
const SAMPLE: usize = 96;
/// For the usual time between two packets: what the last one weighs, and what is long.
const PACE_WEIGHT: f64 = 0.1;
const SLOW: f64 = 0.5;

/// Running time in nanoseconds of a time (seconds) on the LSL clock; negative before the
/// pipeline's start.
pub(super) trait RunningTime {
    fn at(&self, local: f64) -> i64;
    /// The running time, ns, at which the pipeline began to play: earlier samples are dropped.
    fn floor(&self) -> i64;
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    pub samples: u64,
    pub buffers: u64,
    pub dropped: u64,
    /// Of these, samples with timestamps that cannot be right.
    pub strays: u64,
    pub gaps: u64,
    pub resets: u64,
}

impl Counters {
    fn add(&mut self, written: Written) {
        self.samples += written.samples;
        self.buffers += written.buffers;
        self.gaps += written.gaps;
    }
}

pub(super) struct Stream {
    pub connected: Connected,
    pub timeline: Timeline,
    /// Bytes of a sample of numbers; text samples have their own lengths.
    stride: Option<usize>,
    /// Bytes of the text samples that are not yet placed in time.
    held_lengths: VecDeque<usize>,
    pub writer: SampleWriter,
    chunk: f64,
    chunk_samples: u64,
    /// How long the current samples may have been unread, seconds.
    waited: f64,
    /// The last arrival, and the usual time between two, seconds.
    taken: Option<f64>,
    pace: f64,
    last_age_arrival: f64,
    pub age: SenderAge,
    stamped: Vec<Stamped>,
    /// More came than could wait: to be told, and told.
    flooded: Option<bool>,
}

/// What a connection takes over from the one before.
#[derive(Default)]
pub(super) struct Before {
    position: i64,
    discont: bool,
    age: SenderAge,
}

impl Stream {
    /// `chunk`: seconds that a buffer is filled at most.
    pub(super) fn new(
        connected: Connected,
        timeline: Timeline,
        chunk: f64,
        before: Before,
    ) -> Self {
        let d = &connected.description;
        let stride = d
            .format
            .filter(|f| *f != Format::Text)
            .map(|f| f.size() * connected.channels.len());
        let chunk_samples = ((chunk * d.rate.hz() + 1e-6) as u64).max(1);
        let longest = LONGEST.max((chunk * SECOND) as i64);
        let mut writer = SampleWriter::new(longest, chunk_samples);
        writer.resume(before.position, before.discont);
        Self {
            stride,
            timeline,
            held_lengths: VecDeque::new(),
            writer,
            chunk,
            waited: 0.0,
            taken: None,
            pace: 0.0,
            chunk_samples,
            last_age_arrival: f64::NEG_INFINITY,
            age: before.age,
            stamped: Vec::new(),
            flooded: None,
            connected,
        }
    }

    pub(super) fn into_before(self) -> Before {
        Before {
            position: self.writer.position(),
            discont: true,
            age: self.age,
        }
    }

    /// True once, when samples were dropped because more came than could wait for their time.
    pub(super) fn take_flooded(&mut self) -> bool {
        let news = self.flooded == Some(false);
        self.flooded = self.flooded.map(|_| true);
        news
    }

    /// Bytes that wait for the times of their samples, about.
    fn waiting(&self) -> usize {
        self.writer.waiting() + self.timeline.waiting() * SAMPLE
    }

    fn regular(&self) -> bool {
        self.connected.description.rate.is_regular() && !self.timeline.is_irregular()
    }

    /// Samples are missing before the next buffer.
    pub(super) fn mark_lost(&mut self) {
        self.writer.mark_lost();
    }

    /// The pipeline plays again after a pause that began at running time `paused`; the samples of
    /// the pause are missing. Returns the end of what was sent if that is later: running time
    /// continues there.
    pub(super) fn resumed(&mut self, paused: i64, counters: &mut Counters) -> i64 {
        self.close(counters);
        self.mark_lost();
        let sent = self.writer.position();
        if sent - paused < SECOND as i64 {
            sent
        } else {
            // Not a pause: running time was set back.
            self.writer.resume(0, true);
            0
        }
    }

    /// How to read the stream: samples of one buffer are read together. Where the time of arrival
    /// matters, or packets are rare, each sample is read at once.
    pub(super) fn reading(&self) -> Reading {
        let stamped = matches!(self.timeline.mode(), Mode::SameHost | Mode::Remote);
        let period = self.chunk.min(TOGETHER);
        if stamped && self.chunk_samples > 1 && self.pace < 1.5 * period && self.regular() {
            Reading::Every(period)
        } else {
            Reading::AtOnce
        }
    }

    /// Takes samples that were read at `arrival` (seconds, LSL clock) and may have been unread for
    /// `waited` seconds; true when the latency has changed.
    pub(super) fn take(
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
                self.writer.feed(chunk.bytes);
            }
            Some(_) => {
                let size = d.format.map_or(1, Format::size);
                for sample in chunk.bytes.chunks_exact(size * all) {
                    for &c in wanted {
                        self.writer.feed_slice(&sample[c * size..(c + 1) * size]);
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
                    self.writer.feed_slice(text.as_bytes());
                    self.held_lengths.push_back(text.len());
                }
            }
        }
        self.waited = waited;
        let since = arrival - self.taken.replace(arrival).unwrap_or(arrival);
        // The silence of a loss is limited.
        self.pace += (since.min(SLOW) - self.pace) * PACE_WEIGHT;
        self.timeline.push(&chunk.stamps, arrival);
        let mut changed = self.place(time, counters);
        while self.waiting() > WAITING {
            let before = self.waiting();
            self.timeline.shed();
            changed |= self.place(time, counters);
            self.flooded.get_or_insert(false);
            if self.waiting() == before {
                break;
            }
        }
        let since = self.writer.open_since();
        if since.is_some_and(|since| arrival - since >= self.chunk) {
            self.close(counters);
        }
        changed
    }

    /// Does what is due at `now` (seconds, LSL clock); `latency` in nanoseconds. True when the
    /// latency has changed.
    pub(super) fn tick(
        &mut self,
        now: f64,
        latency: u64,
        time: &impl RunningTime,
        counters: &mut Counters,
    ) -> bool {
        self.timeline.poll(now);
        let changed = self.place(time, counters);
        if let Some(since) = self.writer.open_since() {
            if now - since >= self.chunk {
                self.close(counters);
            }
        } else if !self.timeline.holds() {
            let interval = self.timeline.interval().unwrap_or(0.0) * SECOND;
            let until = time.at(now) - latency as i64;
            self.writer.pass(time.floor());
            if (until - self.writer.position()) as f64 >= GAP.max(1.5 * interval) {
                self.writer.gap(until);
            }
        }
        changed
    }

    /// Seconds until [`Stream::tick`] must be called even if nothing arrives.
    pub(super) fn deadline(&self, now: f64) -> f64 {
        if let Some(since) = self.writer.open_since() {
            (since + self.chunk - now).max(0.0)
        } else if self.timeline.holds() {
            0.02
        } else {
            IDLE
        }
    }

    /// Writes all samples that are held, at the end of a connection.
    pub(super) fn finish(&mut self, time: &impl RunningTime, counters: &mut Counters) {
        self.timeline.flush();
        self.place(time, counters);
        self.close(counters);
    }

    /// Moves the samples that have a time now into buffers.
    fn place(&mut self, time: &impl RunningTime, counters: &mut Counters) -> bool {
        let mut stamped = std::mem::take(&mut self.stamped);
        self.timeline.drain(&mut stamped);
        // Samples of text, and of a stream that sends events, have no common interval.
        let interval = self.timeline.interval().map(|i| i * SECOND);
        let interval = interval.filter(|_| self.stride.is_some() && self.regular());
        let mut latency_changed = false;
        for s in stamped.drain(..) {
            let size = match self.stride {
                Some(stride) => stride,
                None => self.held_lengths.pop_front().unwrap_or(0),
            };
            let pts = s.local.map(|local| time.at(local));
            let Some(pts) = pts.filter(|pts| *pts >= time.floor()) else {
                self.writer.skip(size);
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
            let sample = Placed {
                time: pts,
                raw: s.raw,
                discont: s.discont,
                since: s.arrival - self.waited,
            };
            self.writer.place(size, sample, interval);
        }
        self.stamped = stamped;
        self.writer.settle();
        counters.add(self.writer.take_written());
        latency_changed
    }

    /// Ends the open buffer.
    fn close(&mut self, counters: &mut Counters) {
        self.writer.close();
        counters.add(self.writer.take_written());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream_info::describe;

    struct Still;

    impl RunningTime for Still {
        fn at(&self, local: f64) -> i64 {
            (local * SECOND) as i64
        }

        fn floor(&self) -> i64 {
            0
        }
    }

    #[test]
    fn what_waits_for_its_time_is_bounded() {
        gst::init().expect("gst");
        let xml = "<info><channel_count>256</channel_count><nominal_srate>100</nominal_srate>\
                   <channel_format>float32</channel_format></info>";
        let connected = Connected {
            description: describe(xml).expect("valid"),
            xml: xml.into(),
            channels: (0..256).collect(),
        };
        // Nobody answers the measurement of the clock.
        let timeline = Timeline::new(timing::Config {
            source: timing::Source::Lsl,
            rate: Some(100.0),
            dejitter: true,
            device_delay: 0.0,
            same_host: false,
        });
        let mut stream = Stream::new(connected, timeline, 0.02, Before::default());
        let mut counters = Counters::default();
        let samples = 4096;
        let mut told = 0;
        for n in 0..100 {
            let arrival = 10.0 + f64::from(n) / 100.0;
            let chunk = Chunk {
                bytes: vec![0; samples * 1024],
                lengths: Vec::new(),
                stamps: vec![arrival; samples],
            };
            stream.take(chunk, arrival, 0.0, &Still, &mut counters);
            assert!(stream.waiting() <= WAITING, "{}", stream.waiting());
            told += usize::from(stream.take_flooded());
        }
        assert_eq!(told, 1);
        let kept = stream.waiting() / (1024 + SAMPLE);
        assert_eq!(counters.dropped as usize + kept, 100 * samples);
        assert_eq!(counters.samples, 0);
    }
}
