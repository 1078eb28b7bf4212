// SPDX-License-Identifier: MPL-2.0
//! A first look at a whole recording: who is in it, how the clocks ran, where what is.

use crate::{
    ChunkStart, Corrector, Error, Event, Examined, Examiner, Film, Header, Offset, Parser, Placer,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The index is thinned out beyond this many chunks.
const CHUNKS: usize = 1 << 17;
/// Damage is told this often.
const TOLD: usize = 10;
/// No clock says more, seconds: about 126 years. What is beyond is damage.
const LATEST: f64 = 4e9;

/// The timestamp, seconds, if it can be a time.
pub fn plausible(stamp: f64) -> Option<f64> {
    (stamp.is_finite() && stamp.abs() < LATEST).then_some(stamp)
}

/// A chunk of samples.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// Where it begins.
    pub start: ChunkStart,
    /// Number and timestamp of its first sample.
    pub n: u64,
    stamp: f64,
    /// Time of its first sample and the latest before it, seconds on the recorder's clock.
    pub time: f64,
    newest: f64,
    /// Which clock segment it is in.
    pub segment: usize,
}

/// A stream of the recording.
pub struct Recorded {
    /// The number that the recording gives it.
    pub id: u32,
    /// Its header.
    pub header: Header,
    /// Of all its clock offsets.
    pub corrector: Corrector,
    /// What is known of its timestamps.
    pub examined: Arc<Examined>,
    /// In the order of the file.
    pub chunks: Vec<Chunk>,
    /// By how much the device stamps late, seconds.
    late: f64,
    /// Seconds per sample; 0 for events.
    interval: f64,
}

impl Recorded {
    /// The first and the last time, seconds on the recorder's clock.
    pub fn range(&self) -> Option<(f64, f64)> {
        let (from, to) = self.examined.range()?;
        let from = plausible(from - self.late)?;
        Some((from, plausible(to - self.late)? + self.interval))
    }

    /// Puts the chunks on the recorder's clock.
    fn place(&mut self) {
        let mut placer = Placer::new(self.examined.clone());
        let mut corrector = self.corrector.clone();
        let mut newest = f64::NEG_INFINITY;
        for chunk in &mut self.chunks {
            let mut time = |placer: &mut Placer, n, stamp| {
                placer.seek(n);
                let stamp = placer.take(stamp)?;
                let time = placer.time(stamp);
                plausible(time.unwrap_or_else(|| corrector.correct(stamp)) - self.late)
            };
            if let (Some(before), Some(last)) = (chunk.n.checked_sub(1), chunk.start.last)
                && let Some(last) = time(&mut placer, before, last)
            {
                newest = newest.max(last);
            }
            let first = time(&mut placer, chunk.n, chunk.stamp);
            chunk.time = first.unwrap_or(newest);
            chunk.newest = newest;
            chunk.segment = corrector.current();
        }
    }

    /// The last chunk before which everything has ended by `time`, seconds on the
    /// recorder's clock.
    pub fn chunk_at(&self, time: f64) -> usize {
        let time = time - self.interval;
        let after = self.chunks.partition_point(|c| c.newest < time);
        after.saturating_sub(1)
    }
}

/// Streams that are further, seconds, from all others have no time in common with them.
const APART: f64 = 60.0;

/// Of each of `ranges`, first and last time, how far after (before, if negative) the nearest
/// other it lies, seconds, where that is too far.
pub fn apart(ranges: &[Option<(f64, f64)>]) -> Vec<Option<f64>> {
    let from = |(from, to): (f64, f64), other: (f64, f64)| match () {
        () if from > other.1 => from - other.1,
        () if to < other.0 => to - other.0,
        () => 0.0,
    };
    let of = |i: usize| {
        let own = ranges[i]?;
        let others = ranges.iter().enumerate().filter(|(other, _)| *other != i);
        let far = others.filter_map(|(_, other)| Some(from(own, (*other)?)));
        far.min_by(|a, b| a.abs().total_cmp(&b.abs()))
            .filter(|far| far.abs() > APART)
    };
    (0..ranges.len()).map(of).collect()
}

/// What is known of a recording after the first look.
pub struct Map {
    /// In the order of the file.
    pub streams: Vec<Recorded>,
    /// The earliest and the latest time, seconds on the recorder's clock.
    pub origin: f64,
    /// The latest time.
    pub end: f64,
    /// The chunks of each stream are all there. Otherwise reading goes on from one to the
    /// next through the file.
    pub complete: bool,
    /// Offset in the file, bytes, and what is wrong there; the first few.
    pub damages: Vec<(u64, String)>,
    /// Where each stream of the film's frames says that the film begins, seconds on the
    /// recorder's clock, in the order of the file.
    pub films: Vec<(u32, f64)>,
    /// Has read every description.
    pub parser: Parser,
}

/// Why a recording cannot be looked through.
#[derive(Debug)]
pub enum Failed<E> {
    /// It is none.
    NoXdf(Error),
    /// It cannot be read.
    Read(E),
}

/// Feeds `parser` with everything from the beginning and hands on its events.
fn each<B: AsRef<[u8]>, E>(
    parser: &mut Parser,
    read: &mut impl FnMut(u64) -> Result<Option<B>, E>,
    mut event: impl FnMut(&mut Parser, Event),
) -> Result<(), Failed<E>> {
    loop {
        while let Some(e) = parser.next_event().map_err(Failed::NoXdf)? {
            event(parser, e);
        }
        parser.jump();
        let at = parser.position() + parser.held() as u64;
        let Some(bytes) = read(at).map_err(Failed::Read)? else {
            parser.finish();
            while let Some(e) = parser.next_event().map_err(Failed::NoXdf)? {
                event(parser, e);
            }
            return Ok(());
        };
        parser.feed(bytes.as_ref());
    }
}

/// All clock offsets of a recording, by stream.
fn offsets<B: AsRef<[u8]>, E>(
    read: &mut impl FnMut(u64) -> Result<Option<B>, E>,
) -> Result<HashMap<u32, Vec<Offset>>, Failed<E>> {
    let mut offsets = HashMap::<u32, Vec<Offset>>::new();
    let mut damaged = false;
    each(&mut Parser::headers_only(), read, |_, event| match event {
        Event::Offset(id, offset) => offsets.entry(id).or_default().push(offset),
        Event::Damage { .. } => damaged = true,
        _ => (),
    })?;
    if damaged {
        // A wrong length may have led past something.
        offsets.clear();
        each(&mut Parser::default(), read, |_, event| {
            if let Event::Offset(id, offset) = event {
                offsets.entry(id).or_default().push(offset);
            }
        })?;
    }
    Ok(offsets)
}

/// When the first and the last offset was measured, on the recorder's clock. A few that
/// are damaged do not count.
fn span(offsets: &HashMap<u32, Vec<Offset>>) -> Option<(f64, f64)> {
    let all = offsets.values().flatten();
    let mut times: Vec<f64> = all.map(|o| o.time + o.value).collect();
    times.sort_by(f64::total_cmp);
    let few = times.len() / 50;
    Some((*times.get(few)?, *times.get(times.len() - 1 - few)?))
}

/// What is found out about a stream while its samples go by.
struct Look {
    header: Header,
    corrector: Corrector,
    examiner: Examiner,
    frames: Option<Film>,
    chunks: Vec<Chunk>,
    n: u64,
    late: f64,
    interval: f64,
}

impl Look {
    fn new(
        header: Header,
        corrector: Corrector,
        film: Option<&str>,
        span: Option<(f64, f64)>,
    ) -> Self {
        let d = &header.description;
        let interval = d.rate.is_regular().then(|| 1.0 / d.rate.hz());
        // Samples of text have no common interval, whatever rate they declare.
        let regular = interval.filter(|_| d.format != Some(stream_info::Format::Text));
        let frames = (film == Some(&d.name)).then(|| Film::of(d)).flatten();
        Self {
            examiner: Examiner::new(regular, corrector.clone(), span),
            frames,
            chunks: Vec::new(),
            n: 0,
            late: d.offset_mean.unwrap_or(0.0),
            interval: interval.unwrap_or(0.0),
            corrector,
            header,
        }
    }

    fn finish(mut self, id: u32) -> Recorded {
        self.corrector.set_current(0);
        let mut recorded = Recorded {
            id,
            header: self.header,
            corrector: self.corrector,
            examined: Arc::new(self.examiner.finish()),
            chunks: self.chunks,
            late: self.late,
            interval: self.interval,
        };
        recorded.place();
        recorded
    }
}

impl Map {
    /// `read(offset)` gives some bytes from there, `None` at the end. The recording is
    /// read once without its samples and once with them; but for its clock offsets, what is
    /// kept of it is bounded. `film`: the stream that says when the frames of a film were
    /// taken.
    ///
    /// # Errors
    /// No XDF, or what `read` says.
    pub fn make<B: AsRef<[u8]>, E>(
        film: Option<&str>,
        mut read: impl FnMut(u64) -> Result<Option<B>, E>,
    ) -> Result<Self, Failed<E>> {
        let offsets = offsets(&mut read)?;
        let span = span(&offsets);
        let mut looks = Vec::<(u32, Look)>::new();
        let mut by_id = HashMap::<u32, usize>::new();
        let mut damages = Vec::new();
        let mut complete = true;
        let (mut count, mut every) = (0usize, 1u64);
        let mut begun = 0u64;
        let mut parser = Parser::default();
        each(&mut parser, &mut read, |parser, event| match event {
            Event::Stream(id, header) => {
                let corrector = offsets.get(&id).map(|o| Corrector::new(o));
                by_id.insert(id, looks.len());
                let look = Look::new(*header, corrector.unwrap_or_default(), film, span);
                looks.push((id, look));
            }
            Event::Samples { id, stamps, values } => {
                let Some((_, look)) = by_id.get(&id).and_then(|i| looks.get_mut(*i)) else {
                    return;
                };
                if let Some(start) = parser.take_chunk() {
                    begun += 1;
                    if look.chunks.is_empty() || begun.is_multiple_of(every) {
                        count += 1;
                        look.chunks.push(Chunk {
                            start,
                            n: look.n,
                            stamp: stamps.first().copied().unwrap_or(f64::NAN),
                            time: 0.0,
                            newest: 0.0,
                            segment: 0,
                        });
                    }
                }
                look.n += stamps.len() as u64;
                for (i, stamp) in stamps.into_iter().enumerate() {
                    look.examiner.push(stamp);
                    if let Some(frames) = &mut look.frames {
                        let time = look.corrector.correct(stamp) - look.late;
                        frames.take(time, &values, i);
                    }
                }
                if count > CHUNKS {
                    complete = false;
                    every *= 2;
                    count = 0;
                    for (_, look) in &mut looks {
                        let mut i = 0usize;
                        look.chunks.retain(|_| {
                            i += 1;
                            !i.is_multiple_of(2)
                        });
                        count += look.chunks.len();
                    }
                }
            }
            Event::Offset(id, offset) => {
                for (other, look) in &mut looks {
                    look.examiner.mark(offset, *other == id);
                }
            }
            Event::Damage { at, what } if damages.len() < TOLD => damages.push((at, what)),
            _ => (),
        })?;
        let begin = |(id, look): &(u32, Look)| Some((*id, look.frames.as_ref()?.begin()?));
        let films = looks.iter().filter_map(begin).collect();
        let streams: Vec<Recorded> = looks
            .into_iter()
            .map(|(id, look)| look.finish(id))
            .collect();
        let ranges = streams.iter().filter_map(Recorded::range);
        let range = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (origin, end) = range.unwrap_or((0.0, 0.0));
        Ok(Self {
            streams,
            origin,
            end,
            complete,
            damages,
            films,
            parser,
        })
    }

    /// Streams without clock offsets that share no time with the others: which, and how far
    /// after the nearest other (before, if negative) they lie, seconds.
    pub fn lonely(&self) -> Vec<(usize, f64)> {
        let ranges: Vec<_> = self.streams.iter().map(Recorded::range).collect();
        let found = apart(&ranges).into_iter().enumerate();
        found
            .filter_map(|(i, far)| Some((i, far?)))
            .filter(|(i, _)| !self.streams[*i].corrector.known())
            .collect()
    }

    /// Length of the recording, ns.
    pub fn duration(&self) -> u64 {
        ((self.end - self.origin) * 1e9).round().max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_share_no_time_are_found() {
        let (a, b) = (Some((1000.0, 1060.0)), Some((1010.0, 1011.0)));
        for (ranges, wants) in [
            (vec![a, b, None], vec![None, None, None]),
            (vec![a], vec![None]),
            // One after the other, and one of another clock.
            (vec![a, Some((1100.0, 1200.0))], vec![None, None]),
            (
                vec![a, Some((1.7e9, 1.7e9)), b],
                vec![None, Some(1.7e9 - 1060.0), None],
            ),
            (
                vec![a, Some((5.0, 65.0)), b],
                vec![None, Some(-935.0), None],
            ),
            (
                vec![b, Some((2000.0, 2001.0))],
                vec![Some(-989.0), Some(989.0)],
            ),
        ] {
            assert_eq!(apart(&ranges), wants, "{ranges:?}");
        }
    }
}
