// SPDX-License-Identifier: MPL-2.0
//! From samples with running times to buffers and gaps, the same for live and recorded
//! streams.

use crate::stream::caps::lsl_stamp;
use std::collections::VecDeque;

/// The samples of a buffer are equally spaced: one further from its place than this, ns, begins a
/// new buffer.
const TOLERANCE: f64 = 50_000.0;
/// Buffers hold at most about this many bytes.
const LARGEST: usize = 64 << 10;
/// The most that a buffer holds, ns, unless longer ones are asked for.
pub(crate) const LONGEST: i64 = 500_000_000;

/// What goes downstream.
pub(crate) enum Out {
    Buffer(gst::Buffer),
    /// No samples: start (running time) and duration, ns.
    Gap(u64, u64),
}

/// When a sample was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    /// Running time, ns.
    pub(crate) time: i64,
    /// The outlet's own timestamp, seconds.
    pub(crate) raw: f64,
    /// Samples are missing before it.
    pub(crate) discont: bool,
    /// When it arrived, seconds on a clock of the caller.
    pub(crate) since: f64,
}

/// The buffer that is being filled.
struct Open {
    bytes: Vec<u8>,
    samples: u64,
    first: i64,
    last: i64,
    raw: f64,
    since: f64,
}

/// What was written since the last [`SampleWriter::take_written`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) samples: u64,
    pub(crate) buffers: u64,
    pub(crate) gaps: u64,
}

/// Cuts a stream of samples into buffers.
///
/// Bytes are fed as they arrive, and may wait for the times of their samples. Each sample of an
/// irregular stream and of text has a buffer of its own. Missing samples become a gap and a buffer
/// with DISCONT.
pub(crate) struct SampleWriter {
    /// ns that a buffer holds at most.
    longest: i64,
    /// Samples from which a buffer is complete once all that came together is in it.
    enough: u64,
    /// Bytes that were fed. Those from `placed` on are not in a buffer yet; the first `ours` of
    /// them belong to the open one.
    held: Vec<u8>,
    placed: usize,
    ours: usize,
    open: Option<Open>,
    last: Option<i64>,
    /// The interval that was given last, ns.
    interval: Option<f64>,
    /// Running time, ns, up to which samples or gaps were sent.
    position: i64,
    discont: bool,
    /// Where the last buffer began, ns.
    begun: i64,
    out: VecDeque<Out>,
    written: Written,
    stamp: gst::Caps,
}

impl SampleWriter {
    /// `longest`: ns that a buffer holds at most. `enough`: samples from which it is
    /// complete.
    pub(crate) fn new(longest: i64, enough: u64) -> Self {
        Self {
            longest,
            enough,
            held: Vec::new(),
            placed: 0,
            ours: 0,
            open: None,
            last: None,
            interval: None,
            position: 0,
            discont: false,
            begun: i64::MIN,
            out: VecDeque::new(),
            written: Written::default(),
            stamp: lsl_stamp(),
        }
    }

    /// Continues at `position`, running time in ns, after another connection or a seek.
    pub(crate) fn resume(&mut self, position: i64, discont: bool) {
        self.last = None;
        self.position = position;
        self.discont = discont;
    }

    /// Drops what was fed and written and not taken, for a flush.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
        self.placed = 0;
        self.ours = 0;
        self.open = None;
        self.out.clear();
    }

    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// Samples are missing before the next buffer.
    pub(crate) fn mark_lost(&mut self) {
        self.discont = true;
        self.last = None;
    }

    /// No sample before `position` will be placed.
    pub(crate) fn pass(&mut self, position: i64) {
        self.position = self.position.max(position);
    }

    pub(crate) fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    pub(crate) fn pop(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Bytes of samples that are placed or skipped later, in order.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        if self.held.is_empty() {
            self.held = bytes;
        } else {
            self.held.extend_from_slice(&bytes);
        }
    }

    pub(crate) fn feed_slice(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Bytes that wait for the times of their samples.
    pub(crate) fn waiting(&self) -> usize {
        self.held.len() - self.placed - self.ours
    }

    fn rest(&self, size: usize) -> usize {
        size.min(self.held.len() - self.placed - self.ours)
    }

    /// Leaves out the next sample, which has `size` bytes.
    pub(crate) fn skip(&mut self, size: usize) {
        let size = self.rest(size);
        self.fill();
        self.placed += size;
    }

    /// Puts the next sample, which has `size` bytes, into a buffer. `interval`: ns from
    /// sample to sample, `None` where each is to have a buffer of its own.
    pub(crate) fn place(&mut self, size: usize, sample: Placed, interval: Option<f64>) {
        let size = self.rest(size);
        let time = sample.time;
        let jump = match (self.last, interval) {
            (Some(last), Some(interval)) => {
                let step = (time - last) as f64;
                step > 1.5 * interval || step < -0.5 * interval
            }
            _ => false,
        };
        let split = jump || sample.discont;
        let goes_on = !split
            && self.open.as_ref().is_some_and(|open| {
                interval.is_some_and(|interval| {
                    let expected = open.first as f64 + open.samples as f64 * interval;
                    (time as f64 - expected).abs() <= TOLERANCE
                        && time - open.first < self.longest
                        && open.bytes.len() + self.ours < LARGEST
                })
            });
        if let Some(open) = self.open.as_mut().filter(|_| goes_on) {
            open.samples += 1;
            open.last = time;
            self.ours += size;
        } else {
            self.close();
            self.interval = interval;
            if split || self.discont {
                self.discont = true;
                self.written.gaps += u64::from(split);
                if interval.is_some_and(|i| (time - self.position) as f64 > 0.5 * i) {
                    self.gap(time);
                }
            }
            self.ours = size;
            self.open = Some(Open {
                bytes: Vec::new(),
                samples: 1,
                first: time,
                last: time,
                raw: sample.raw,
                since: sample.since,
            });
        }
        self.interval = interval;
        self.last = Some(time);
        if interval.is_none() {
            self.close();
        }
    }

    /// To be called when all samples that arrived together are placed.
    pub(crate) fn settle(&mut self) {
        self.fill();
        if self.placed > self.held.len() / 2 {
            self.held.drain(..self.placed);
            self.placed = 0;
        }
        if self.open.as_ref().is_some_and(|o| o.samples >= self.enough) {
            self.close();
        }
    }

    /// When the first sample of the open buffer arrived.
    pub(crate) fn open_since(&self) -> Option<f64> {
        self.open.as_ref().map(|o| o.since)
    }

    /// Ends the open buffer.
    pub(crate) fn close(&mut self) {
        self.fill();
        let Some(open) = self.open.take() else { return };
        let duration = self
            .interval
            .map(|i| (open.last - open.first).max(0) + i.round() as i64);
        let mut buffer = gst::Buffer::from_mut_slice(open.bytes);
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(gst::ClockTime::from_nseconds(open.first.max(0) as u64));
            buffer.set_duration(duration.map(|d| gst::ClockTime::from_nseconds(d as u64)));
            // Timestamps of events may be out of order: no buffer goes back without a word.
            let back = open.first < std::mem::replace(&mut self.begun, open.first);
            if std::mem::take(&mut self.discont) || back {
                buffer.set_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC);
            }
            let raw = open.raw * 1e9;
            if raw >= 0.0 && raw < u64::MAX as f64 {
                gst::ReferenceTimestampMeta::add(
                    buffer,
                    &self.stamp,
                    gst::ClockTime::from_nseconds(raw.round() as u64),
                    gst::ClockTime::NONE,
                );
            }
        }
        self.position = self.position.max(open.first + duration.unwrap_or(1));
        self.written.samples += open.samples;
        self.written.buffers += 1;
        self.out.push_back(Out::Buffer(buffer));
    }

    /// There are no samples before `until`.
    pub(crate) fn gap(&mut self, until: i64) {
        let from = self.position.max(0);
        if until > from {
            self.out
                .push_back(Out::Gap(from as u64, (until - from) as u64));
            self.position = until;
        }
    }

    /// Moves the bytes that belong to the open buffer into it.
    fn fill(&mut self) {
        let ours = std::mem::take(&mut self.ours);
        let Some(open) = self.open.as_mut().filter(|_| ours > 0) else {
            return;
        };
        if open.bytes.is_empty() && self.placed == 0 && ours == self.held.len() {
            // In most cases: what was read together is one buffer, and is not copied.
            open.bytes = std::mem::take(&mut self.held);
        } else {
            let until = self.placed + ours;
            open.bytes.extend_from_slice(&self.held[self.placed..until]);
            self.placed = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn at(time: i64) -> Placed {
        Placed {
            time,
            raw: time as f64 / 1e9,
            discont: false,
            since: 0.0,
        }
    }

    /// PTS, duration in ms, bytes, DISCONT of buffers; start and duration of gaps.
    fn written(w: &mut SampleWriter) -> Vec<String> {
        w.settle();
        w.close();
        let mut all = Vec::new();
        while let Some(out) = w.pop() {
            all.push(match out {
                Out::Gap(from, length) => {
                    format!("gap {} {}", from as i64 / MS, length as i64 / MS)
                }
                Out::Buffer(b) => format!(
                    "{} {} {:?}{}",
                    b.pts().expect("time").mseconds(),
                    b.duration()
                        .map_or("-".into(), |d| d.mseconds().to_string()),
                    b.map_readable().expect("bytes").as_slice(),
                    match b.flags().contains(gst::BufferFlags::DISCONT) {
                        true => " discont",
                        false => "",
                    }
                ),
            });
        }
        all
    }

    #[test]
    fn samples_that_follow_each_other_are_one_buffer() {
        gst::init().expect("gst");
        let mut w = SampleWriter::new(LONGEST, u64::MAX);
        w.feed(vec![1, 2, 3, 4]);
        for i in 0..4 {
            w.place(1, at(i * 10 * MS), Some(10e6));
        }
        assert_eq!(written(&mut w), ["0 40 [1, 2, 3, 4]"]);
        // Without the skipped one there is a gap in time and none in the bytes.
        w.feed(vec![5, 6, 7]);
        w.place(1, at(40 * MS), Some(10e6));
        w.skip(1);
        w.place(1, at(60 * MS), Some(10e6));
        let expected = ["40 10 [5]", "gap 50 10", "60 10 [7] discont"];
        assert_eq!(written(&mut w), expected);
    }

    #[test]
    fn a_sample_off_the_raster_begins_a_buffer() {
        gst::init().expect("gst");
        let mut w = SampleWriter::new(LONGEST, u64::MAX);
        w.feed(vec![1, 2, 3]);
        w.place(1, at(0), Some(10e6));
        w.place(1, at(12 * MS), Some(10e6));
        w.place(1, at(22 * MS), Some(10e6));
        assert_eq!(written(&mut w), ["0 10 [1]", "12 20 [2, 3]"]);
    }

    #[test]
    fn without_an_interval_each_sample_is_a_buffer() {
        gst::init().expect("gst");
        let mut w = SampleWriter::new(LONGEST, u64::MAX);
        w.feed(b"oneone".to_vec());
        w.place(3, at(0), None);
        w.place(0, at(0), None);
        w.place(3, at(5 * MS), None);
        let one = "[111, 110, 101]";
        let expected = [format!("0 - {one}"), "0 - []".into(), format!("5 - {one}")];
        assert_eq!(written(&mut w), expected);
    }

    #[test]
    fn no_buffer_goes_back_without_discont() {
        gst::init().expect("gst");
        let mut w = SampleWriter::new(LONGEST, u64::MAX);
        w.feed(vec![1, 2, 3, 4]);
        for time in [5, 9, 7, 8] {
            w.place(1, at(time * MS), None);
        }
        assert_eq!(
            written(&mut w),
            ["5 - [1]", "9 - [2]", "7 - [3] discont", "8 - [4]"]
        );
    }

    #[test]
    fn nothing_of_before_a_flush_is_left() {
        gst::init().expect("gst");
        let mut w = SampleWriter::new(LONGEST, u64::MAX);
        w.feed(vec![1, 2, 3]);
        w.place(1, at(0), Some(10e6));
        w.place(1, at(50 * MS), Some(10e6));
        w.clear();
        w.resume(90 * MS, true);
        w.feed(vec![4]);
        w.place(1, at(90 * MS), Some(10e6));
        assert_eq!(written(&mut w), ["90 10 [4] discont"]);
    }

    #[test]
    fn a_loss_is_told_by_a_gap_and_discont() {
        gst::init().expect("gst");
        let mut w = SampleWriter::new(LONGEST, u64::MAX);
        w.feed(vec![1, 2]);
        w.place(1, at(0), Some(10e6));
        w.settle();
        w.close();
        w.mark_lost();
        w.place(1, at(90 * MS), Some(10e6));
        assert_eq!(
            written(&mut w),
            ["0 10 [1]", "gap 10 80", "90 10 [2] discont"]
        );
        assert_eq!(w.take_written().samples, 2);
    }
}
