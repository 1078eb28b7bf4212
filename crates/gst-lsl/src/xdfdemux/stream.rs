// SPDX-License-Identifier: MPL-2.0
//! From the samples of one recorded stream to buffers.

use crate::writer::{self, LONGEST, SampleWriter};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use stream_info::{Description, Format};
use timing::{Dejitter, Smoothed, Spacing};
use xdf::{Causal, Corrector, Examined, Header, Placer, Values};

/// GAP events are at least this long, ns, so that silence does not make traffic.
const GAP: i64 = 250_000_000;

pub(super) struct Stream {
    pub id: u32,
    /// Which stream of the recording it is; several pads may have channels of one.
    pub recorded: usize,
    /// The channels that come on the pad, in order.
    pub channels: Vec<usize>,
    pub header: Header,
    pub pad: gst::Pad,
    /// Without knowledge of what follows in the recording, for push mode.
    pub causal: Causal,
    /// With it, for pull mode.
    pub corrector: Option<Corrector>,
    /// Which timestamps are wrong.
    pub placer: Placer,
    /// Samples left out since the last that was right.
    strays: usize,
    /// Bytes of a sample of numbers.
    stride: Option<usize>,
    /// ns.
    interval: Option<f64>,
    smoother: Option<Smoother>,
    /// What the last stamp was corrected by, seconds.
    pub offset: f64,
    /// By how much the device stamps late, seconds.
    late: f64,
    /// Finds streams that declare a rate and send events.
    spacing: Option<Spacing>,
    pub writer: SampleWriter,
    /// Samples without a place: before the origin, or no time at all.
    pub misplaced: u64,
}

/// Samples of one stream with their times since the origin, ns.
pub(super) struct Placed<'a> {
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

/// Samples with right timestamps, in seconds.
pub(super) struct Sifted {
    /// They are of another clock than the samples before.
    pub new_clock: bool,
    /// Samples with wrong timestamps before them, which were left out.
    pub skipped: usize,
    pub stamps: Vec<f64>,
    pub values: Values,
}

/// Samples that may be placed: the stamps to place them by, and those that were recorded.
pub(super) struct Ready {
    pub smoothed: Vec<f64>,
    pub stamps: Vec<f64>,
    pub values: Values,
}

impl Stream {
    /// `recorded`: which stream of the recording it is. `channels`: those that come on `pad`.
    /// `dejitter`: take the jitter off the stamps if the stream is a regular one.
    pub(super) fn new(
        (id, recorded): (u32, usize),
        header: Header,
        channels: Vec<usize>,
        pad: gst::Pad,
        dejitter: bool,
    ) -> Self {
        let d = &header.description;
        let stride = d
            .format
            .filter(|f| *f != Format::Text)
            .map(|f| f.size() * d.channels);
        // Samples of text have no common interval, whatever rate they declare.
        let regular = d.rate.is_regular() && stride.is_some();
        let interval = regular.then(|| 1e9 / d.rate.hz());
        let spacing = regular.then(|| Spacing::new(d.rate.hz()));
        let mut writer = SampleWriter::new(LONGEST, u64::MAX);
        writer.resume(0, true);
        let smoother = (dejitter && interval.is_some() && stride.is_some() && !d.can_drop_samples)
            .then(|| Smoother::new(d.rate.hz()));
        Self {
            smoother,
            offset: 0.0,
            late: d.offset_mean.unwrap_or(0.0),
            id,
            recorded,
            channels,
            header,
            pad,
            causal: Causal::default(),
            corrector: None,
            placer: Placer::new(Arc::new(Examined::unexamined())),
            strays: 0,
            stride,
            interval,
            spacing,
            writer,
            misplaced: 0,
        }
    }

    pub(super) fn description(&self) -> &Description {
        &self.header.description
    }

    /// When the sample was taken, seconds on the recorder's clock.
    pub(super) fn correct(&mut self, stamp: f64) -> f64 {
        let time = match (self.placer.time(stamp), &mut self.corrector) {
            (Some(time), _) => time,
            (None, Some(corrector)) => corrector.correct(stamp),
            (None, None) => self.causal.correct(stamp),
        } - self.late;
        self.offset = time - stamp;
        time
    }

    /// Begins anew at `position`, ns.
    pub(super) fn restart(&mut self, position: i64) {
        self.strays = 0;
        self.writer.clear();
        self.writer.resume(position, true);
        if let Some(s) = &mut self.smoother {
            *s = Smoother::new(s.rate);
        }
    }

    /// Takes the first samples up to a wrong timestamp or to those of another clock.
    pub(super) fn sift(&mut self, stamps: &mut Vec<f64>, values: &mut Values) -> Sifted {
        fn take<T>(all: &mut Vec<T>, skip: usize, end: usize) -> Vec<T> {
            let rest = all.split_off(end);
            let mut first = std::mem::replace(all, rest);
            first.drain(..skip);
            first
        }
        let count = stamps.len();
        let until = self.placer.until_new_clock();
        // The first sample of another clock is taken alone, which makes it the current one.
        let limit = match until {
            0 => 1,
            until => usize::try_from(until).map_or(count, |n| n.min(count)),
        };
        let (mut right, mut lead, mut end) = (Vec::with_capacity(limit), 0, 0);
        let mut skipped = std::mem::take(&mut self.strays);
        while end < limit {
            let stamp = self.placer.take(stamps[end]);
            end += 1;
            match stamp {
                Some(stamp) => right.push(stamp),
                None if right.is_empty() => {
                    lead += 1;
                    skipped += 1;
                }
                None => {
                    self.strays = 1;
                    break;
                }
            }
        }
        if right.is_empty() {
            self.strays = std::mem::take(&mut skipped);
        }
        stamps.drain(..end);
        let last = lead + right.len();
        let cut = |size: usize| (size * lead, size * last, size * (end - last));
        let values = match values {
            Values::Numbers(bytes) => {
                let (skip, until, after) = cut(bytes.len() / count.max(1));
                let taken = take(bytes, skip, until);
                bytes.drain(..after);
                Values::Numbers(taken)
            }
            Values::Texts(texts) => {
                let (skip, until, after) = cut(texts.len() / count.max(1));
                let taken = take(texts, skip, until);
                texts.drain(..after);
                Values::Texts(taken)
            }
        };
        Sifted {
            new_clock: until == 0,
            skipped,
            stamps: right,
            values,
        }
    }

    /// From here on timestamps are of another clock: what was learned of jitter does not
    /// hold, and whether samples are missing is not known.
    pub(super) fn begin_clock(&mut self) {
        if let Some(s) = &mut self.smoother {
            *s = Smoother::new(s.rate);
        }
        self.writer.mark_lost();
    }

    /// Takes samples as they were recorded; gives those that are ready, in the same order.
    pub(super) fn smooth(&mut self, sifted: Sifted) -> Ready {
        let Sifted {
            skipped,
            stamps,
            values,
            ..
        } = sifted;
        if let (Some(s), Some(next)) = (&mut self.smoother, stamps.first())
            && skipped > 0
        {
            s.dejitter.skip(skipped, *next);
        }
        // Not `any`: every timestamp is to be seen.
        let events = self
            .spacing
            .as_mut()
            .is_some_and(|spacing| stamps.iter().filter(|s| spacing.push(**s)).count() > 0);
        if events {
            self.interval = None;
        }
        match (&mut self.smoother, values) {
            (Some(s), Values::Numbers(bytes)) => {
                s.bytes.extend(bytes);
                for stamp in stamps {
                    s.stamps.push_back(stamp);
                    // When it came is not in the recording; most stamps say it.
                    s.dejitter.push(stamp, stamp, &mut s.ready);
                }
                if !events {
                    return self.take_ready();
                }
                let ready = self.let_go(None);
                self.smoother = None;
                ready
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
    pub(super) fn let_go(&mut self, stamp: Option<f64>) -> Ready {
        if let Some(s) = &mut self.smoother {
            match stamp {
                Some(stamp) => s.dejitter.poll(stamp, &mut s.ready),
                None => s.dejitter.flush(&mut s.ready),
            }
        }
        self.take_ready()
    }

    /// Whether samples wait inside.
    pub(super) fn holds(&self) -> bool {
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
    pub(super) fn cut(&mut self, placed: &Placed, from: i64, until: i64) {
        let channels = self.description().channels;
        let wanted = (self.channels.len() != channels
            || self.channels.iter().enumerate().any(|(i, c)| i != *c))
        .then(|| self.channels.clone());
        for (i, time) in placed.times.iter().enumerate() {
            let sample = match (placed.values, self.stride) {
                (Values::Numbers(n), Some(stride)) => {
                    let all = n.get(i * stride..(i + 1) * stride);
                    all.map(|all| match &wanted {
                        None => Cow::Borrowed(all),
                        Some(wanted) => {
                            let size = stride / channels.max(1);
                            let of = wanted
                                .iter()
                                .filter_map(|c| all.get(c * size..(c + 1) * size));
                            Cow::Owned(of.collect::<Vec<_>>().concat())
                        }
                    })
                }
                (Values::Texts(texts), _) => {
                    let all = texts.get(i * channels..(i + 1) * channels);
                    all.map(|all| {
                        let of = self.channels.iter().filter_map(|c| all.get(*c));
                        let of: Vec<&str> = of.map(String::as_str).collect();
                        Cow::Owned(of.join("\n").into_bytes())
                    })
                }
                _ => None,
            };
            let Some(time) = time.filter(|t| *t >= 0) else {
                self.misplaced += 1;
                continue;
            };
            let end = time + self.interval.map_or(1, |i| i as i64);
            let Some(bytes) = sample.filter(|_| end > from && time < until) else {
                continue;
            };
            self.writer.feed_slice(&bytes);
            let sample = writer::Placed {
                time,
                raw: placed.stamps[i],
                discont: false,
                since: 0.0,
            };
            self.writer.place(bytes.len(), sample, self.interval);
        }
        self.writer.settle();
        self.writer.close();
    }

    /// Says that nothing was recorded until `time`, if that is worth an event.
    pub(super) fn idle(&mut self, time: i64) {
        if self.holds() {
            return;
        }
        let least = self.interval.map_or(GAP, |i| GAP.max((1.5 * i) as i64));
        if time - self.writer.position() >= least {
            self.writer.gap(time);
        }
    }
}
