// SPDX-License-Identifier: MPL-2.0
//! From the samples of one recorded stream to buffers.

use crate::stream::caps::lsl_stamp;
use std::collections::VecDeque;
use stream_info::{Description, Format};
use timing::{Dejitter, Smoothed};
use xdf::{Causal, Corrector, Header, Values};

/// Buffers are split where a sample is further, ns, from where the nominal rate puts it.
const TOLERANCE: f64 = 50_000.0;
/// Buffers hold at most this long, ns, and about this many bytes.
const LONGEST: i64 = 500_000_000;
const LARGEST: usize = 64 << 10;
/// GAP events are at least this long, ns, so that silence does not make traffic.
const GAP: i64 = 250_000_000;

pub enum Out {
    Buffer(gst::Buffer),
    /// Start and duration, ns, in which nothing was recorded.
    Gap(u64, u64),
}

/// A buffer in the making.
struct Open {
    bytes: Vec<u8>,
    samples: u64,
    first: i64,
    last: i64,
    raw: f64,
}

pub struct Stream {
    pub id: u32,
    pub header: Header,
    pub pad: gst::Pad,
    /// Without knowledge of what follows in the recording, for push mode.
    pub causal: Causal,
    /// With it, for pull mode.
    pub corrector: Option<Corrector>,
    /// Bytes of a sample of numbers.
    stride: Option<usize>,
    /// ns.
    interval: Option<f64>,
    smoother: Option<Smoother>,
    /// What the last stamp was corrected by, seconds.
    pub offset: f64,
    /// By how much the device stamps late, seconds.
    late: f64,
    last: Option<i64>,
    /// All before this time was sent or said to be empty.
    pub position: i64,
    pub discont: bool,
    /// Samples without a place: before the origin, or no time at all.
    pub misplaced: u64,
    /// The name of the sender's own stamps.
    stamp: gst::Caps,
}

/// Samples of one stream with their times since the origin, ns.
pub struct Placed<'a> {
    pub times: &'a [Option<i64>],
    pub stamps: &'a [f64],
    pub values: &'a Values,
}

/// Takes the jitter off the stamps, as lslsrc does, before they are corrected.
struct Smoother {
    rate: f64,
    dejitter: Dejitter,
    /// Stamps and bytes of the samples inside.
    stamps: VecDeque<f64>,
    bytes: VecDeque<u8>,
    ready: Vec<Smoothed>,
}

impl Smoother {
    fn new(rate: f64) -> Self {
        Self {
            rate,
            dejitter: Dejitter::new(rate),
            stamps: VecDeque::new(),
            bytes: VecDeque::new(),
            ready: Vec::new(),
        }
    }
}

/// Samples that may be placed: the stamps to place them by, and those that were recorded.
pub struct Ready {
    pub smoothed: Vec<f64>,
    pub stamps: Vec<f64>,
    pub values: Values,
}

impl Stream {
    /// `dejitter`: take the jitter off the stamps if the stream is a regular one.
    pub fn new(id: u32, header: Header, pad: gst::Pad, dejitter: bool) -> Self {
        let d = &header.description;
        let stride = d
            .format
            .filter(|f| *f != Format::Text)
            .map(|f| f.size() * d.channels);
        let interval = d.rate.is_regular().then(|| 1e9 / d.rate.hz());
        let smoother = (dejitter && interval.is_some() && stride.is_some() && !d.can_drop_samples)
            .then(|| Smoother::new(d.rate.hz()));
        Self {
            smoother,
            offset: 0.0,
            late: d.offset_mean.unwrap_or(0.0),
            id,
            header,
            pad,
            causal: Causal::default(),
            corrector: None,
            stride,
            interval,
            last: None,
            position: 0,
            discont: true,
            misplaced: 0,
            stamp: lsl_stamp(),
        }
    }

    pub fn description(&self) -> &Description {
        &self.header.description
    }

    /// When the sample was taken, seconds on the recorder's clock.
    pub fn correct(&mut self, stamp: f64) -> f64 {
        let time = match &mut self.corrector {
            Some(corrector) => corrector.correct(stamp),
            None => self.causal.correct(stamp),
        } - self.late;
        self.offset = time - stamp;
        time
    }

    /// Begins anew at `position`, ns.
    pub fn restart(&mut self, position: i64) {
        self.last = None;
        self.position = position;
        self.discont = true;
        if let Some(s) = &mut self.smoother {
            *s = Smoother::new(s.rate);
        }
    }

    /// Takes samples as they were recorded; gives those that are ready, in the same order.
    pub fn smooth(&mut self, stamps: Vec<f64>, values: Values) -> Ready {
        match (&mut self.smoother, values) {
            (Some(s), Values::Numbers(bytes)) => {
                s.bytes.extend(bytes);
                for stamp in stamps {
                    s.stamps.push_back(stamp);
                    // When it came is not in the recording; most stamps say it.
                    s.dejitter.push(stamp, stamp, &mut s.ready);
                }
                self.take_ready()
            }
            (_, values) => Ready {
                smoothed: stamps.clone(),
                stamps,
                values,
            },
        }
    }

    /// Lets go of what waits inside; as if `stamp` (sender's clock) were now, or at the
    /// end.
    pub fn let_go(&mut self, stamp: Option<f64>) -> Ready {
        if let Some(s) = &mut self.smoother {
            match stamp {
                Some(stamp) => s.dejitter.poll(stamp, &mut s.ready),
                None => s.dejitter.flush(&mut s.ready),
            }
        }
        self.take_ready()
    }

    /// Whether samples wait inside.
    pub fn holds(&self) -> bool {
        self.smoother.as_ref().is_some_and(|s| !s.stamps.is_empty())
    }

    fn take_ready(&mut self) -> Ready {
        let (mut smoothed, mut stamps, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        if let (Some(s), Some(stride)) = (&mut self.smoother, self.stride) {
            smoothed.extend(s.ready.drain(..).map(|r| r.stamp));
            let n = smoothed.len().min(s.stamps.len());
            stamps.extend(s.stamps.drain(..n));
            bytes.extend(s.bytes.drain(..(n * stride).min(s.bytes.len())));
        }
        Ready {
            smoothed,
            stamps,
            values: Values::Numbers(bytes),
        }
    }

    /// Makes buffers of the samples that end after `from` and begin before `until`, ns.
    pub fn cut(&mut self, placed: &Placed, from: i64, until: i64, out: &mut Vec<Out>) {
        let channels = self.description().channels;
        let mut open: Option<Open> = None;
        for (i, time) in placed.times.iter().enumerate() {
            let Some(time) = time.filter(|t| *t >= 0) else {
                self.misplaced += 1;
                continue;
            };
            let end = time + self.interval.map_or(1, |i| i as i64);
            if end <= from || time >= until {
                continue;
            }
            let jump = match (self.last, self.interval) {
                (Some(last), Some(interval)) => {
                    let step = (time - last) as f64;
                    step > 1.5 * interval || step < -0.5 * interval
                }
                _ => false,
            };
            self.last = Some(time);
            let goes_on = open.as_ref().is_some_and(|o| {
                self.interval.is_some_and(|interval| {
                    let expected = o.first as f64 + o.samples as f64 * interval;
                    !jump
                        && (time as f64 - expected).abs() <= TOLERANCE
                        && time - o.first < LONGEST
                        && o.bytes.len() < LARGEST
                })
            });
            if !goes_on {
                self.close(open.take(), out);
                if jump {
                    self.discont = true;
                    self.gap(time, out);
                }
            }
            let sample = open.get_or_insert_with(|| Open {
                bytes: Vec::new(),
                samples: 0,
                first: time,
                last: time,
                raw: placed.stamps[i],
            });
            sample.samples += 1;
            sample.last = time;
            match (placed.values, self.stride) {
                (Values::Numbers(n), Some(stride)) => {
                    if let Some(bytes) = n.get(i * stride..(i + 1) * stride) {
                        sample.bytes.extend_from_slice(bytes);
                    }
                }
                (Values::Texts(texts), _) => {
                    if let Some(texts) = texts.get(i * channels..(i + 1) * channels) {
                        sample.bytes.extend(texts.join("\n").into_bytes());
                    }
                }
                _ => (),
            }
        }
        self.close(open, out);
    }

    fn close(&mut self, open: Option<Open>, out: &mut Vec<Out>) {
        let Some(open) = open else { return };
        let duration = self
            .interval
            .map(|interval| open.last - open.first + interval.round() as i64);
        let mut buffer = gst::Buffer::from_mut_slice(open.bytes);
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(gst::ClockTime::from_nseconds(open.first as u64));
            buffer.set_duration(duration.map(|d| gst::ClockTime::from_nseconds(d as u64)));
            if std::mem::take(&mut self.discont) {
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
        out.push(Out::Buffer(buffer));
    }

    /// Says that nothing was recorded until `time`, if that is worth an event.
    pub fn idle(&mut self, time: i64, out: &mut Vec<Out>) {
        if self.holds() {
            return;
        }
        let least = self.interval.map_or(GAP, |i| GAP.max((1.5 * i) as i64));
        if time - self.position >= least {
            self.gap(time, out);
        }
    }

    fn gap(&mut self, until: i64, out: &mut Vec<Out>) {
        let from = self.position.max(0);
        if until > from {
            out.push(Out::Gap(from as u64, (until - from) as u64));
            self.position = until;
        }
    }
}
