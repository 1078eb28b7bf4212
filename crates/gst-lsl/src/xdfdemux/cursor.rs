// SPDX-License-Identifier: MPL-2.0
//! Reads the streams of a recording side by side, each from its own place in the file.
//!
//! Converters and merged recordings have one stream after the other. Whoever plays them in
//! the order of the file fills the queues of the first before the second comes.

use std::collections::VecDeque;
use xdf::{Corrector, Event, Map, Parser, Placer, Values, plausible};

/// A stream is at most this far, seconds, ahead of the one that is furthest behind.
const AHEAD: f64 = 0.25;

/// The place at which a stream is read.
pub(super) struct Cursor {
    parser: Parser,
    /// The chunk that is read next, and whether to go there first.
    next: usize,
    jump: bool,
    /// Of the last event: timestamps with their times, and values.
    stamps: VecDeque<(f64, f64)>,
    values: Values,
    placer: Placer,
    corrector: Corrector,
    /// Nothing of the stream that comes is earlier; seconds on the recorder's clock.
    time: f64,
    ended: bool,
}

/// Samples that are next.
pub(super) struct Piece {
    pub stream: usize,
    pub stamps: Vec<f64>,
    pub values: Values,
}

fn empty(values: &Values) -> Values {
    match values {
        Values::Numbers(_) => Values::Numbers(Vec::new()),
        Values::Texts(_) => Values::Texts(Vec::new()),
    }
}

/// Splits off the first `n` of `count` samples.
pub(super) fn split(values: &mut Values, n: usize, count: usize) -> Values {
    fn first<T>(all: &mut Vec<T>, n: usize, count: usize) -> Vec<T> {
        let rest = all.split_off(all.len() / count.max(1) * n);
        std::mem::replace(all, rest)
    }
    if n == count {
        let empty = empty(values);
        return std::mem::replace(values, empty);
    }
    match values {
        Values::Numbers(bytes) => Values::Numbers(first(bytes, n, count)),
        Values::Texts(texts) => Values::Texts(first(texts, n, count)),
    }
}

impl Cursor {
    /// A cursor for each stream of `map`, at `time` (ns since the origin), with the number
    /// of the sample that it gives first.
    pub(super) fn all(map: &Map, time: u64) -> Vec<(Self, u64)> {
        let time = map.origin + time as f64 / 1e9;
        let cursor = |i: usize| {
            let stream = &map.streams[i];
            let next = stream.chunk_at(time);
            let first = stream.chunks.get(next);
            let mut corrector = stream.corrector.clone();
            let mut placer = Placer::new(stream.examined.clone());
            if let Some(chunk) = first {
                corrector.set_current(chunk.segment);
                placer.seek(chunk.n);
            }
            let cursor = Self {
                parser: map.parser.of_stream(stream.id),
                next,
                jump: true,
                stamps: VecDeque::new(),
                values: Values::Numbers(Vec::new()),
                placer,
                corrector,
                time: first.map_or(f64::INFINITY, |c| c.time),
                ended: first.is_none(),
            };
            (cursor, first.map_or(0, |c| c.n))
        };
        (0..map.streams.len()).map(cursor).collect()
    }

    /// Nothing that comes is earlier, seconds on the recorder's clock; `None` at the end
    /// of the stream.
    pub(super) fn time(&self) -> Option<f64> {
        (!self.ended).then_some(self.time)
    }

    /// Which clock segment the next sample is in.
    pub(super) fn segment(&self) -> usize {
        self.corrector.current()
    }

    /// Reads the samples that come next.
    fn fill<B: AsRef<[u8]>, E>(
        &mut self,
        map: &Map,
        stream: usize,
        read: &mut impl FnMut(u64) -> Result<Option<B>, E>,
    ) -> Result<(), E> {
        let chunks = &map.streams[stream].chunks;
        let mut finished = false;
        while self.stamps.is_empty() && !self.ended {
            if self.jump {
                let Some(chunk) = chunks.get(self.next) else {
                    self.ended = true;
                    break;
                };
                self.parser.go_to(chunk.start);
                self.placer.seek(chunk.n);
                self.next += 1;
                self.jump = false;
                finished = false;
            }
            match self.parser.next_event() {
                Ok(Some(Event::Samples { stamps, values, .. })) => {
                    for stamp in stamps {
                        let right = self.placer.take(stamp);
                        let time = right.map(|s| {
                            let other = self.placer.time(s);
                            other.unwrap_or_else(|| self.corrector.correct(s))
                        });
                        let time = time.and_then(plausible).unwrap_or(self.time);
                        self.stamps.push_back((stamp, time));
                    }
                    self.values = values;
                    self.jump = map.complete && self.parser.between_chunks();
                }
                // Damage: as the first look left it.
                Ok(Some(_)) => self.jump = map.complete,
                Err(_) => self.ended = true,
                Ok(None) => {
                    self.parser.jump();
                    let at = self.parser.position() + self.parser.held() as u64;
                    match read(at)? {
                        Some(bytes) => self.parser.feed(bytes.as_ref()),
                        // What is left of a recording that was cut off.
                        None if !finished => {
                            self.parser.finish();
                            finished = true;
                        }
                        None => {
                            self.ended = !map.complete;
                            self.jump = true;
                        }
                    }
                }
            }
        }
        if let Some((_, time)) = self.stamps.front() {
            self.time = *time;
        }
        Ok(())
    }

    /// Gives the samples up to `limit`, one at least.
    fn take(&mut self, map: &Map, stream: usize, limit: f64) -> Piece {
        let count = self.stamps.len();
        let n = self.stamps.iter().take_while(|(_, t)| *t <= limit).count();
        let n = n.max(1).min(count);
        let stamps = self.stamps.drain(..n).map(|(stamp, _)| stamp).collect();
        let values = split(&mut self.values, n, count);
        if let Some((_, time)) = self.stamps.front() {
            self.time = *time;
        } else if self.jump {
            match map.streams[stream].chunks.get(self.next) {
                Some(chunk) => self.time = chunk.time,
                None => self.ended = true,
            }
        }
        Piece {
            stream,
            stamps,
            values,
        }
    }
}

/// The earliest samples of all streams; `None` at the end of the recording.
///
/// # Errors
/// What `read` says.
pub(super) fn next<B: AsRef<[u8]>, E>(
    cursors: &mut [Cursor],
    map: &Map,
    mut read: impl FnMut(u64) -> Result<Option<B>, E>,
) -> Result<Option<Piece>, E> {
    loop {
        let earliest = |cursors: &[Cursor], other: Option<usize>| {
            let times = cursors.iter().enumerate();
            times
                .filter(|(i, c)| Some(*i) != other && !c.ended)
                .map(|(i, c)| (i, c.time))
                .min_by(|a, b| a.1.total_cmp(&b.1))
        };
        let Some((stream, _)) = earliest(cursors, None) else {
            return Ok(None);
        };
        let limit = earliest(cursors, Some(stream)).map_or(f64::INFINITY, |(_, t)| t);
        let cursor = &mut cursors[stream];
        if cursor.stamps.is_empty() {
            // What is read may be later than it was thought.
            cursor.fill(map, stream, &mut read)?;
            continue;
        }
        // A second at once, where nothing else comes.
        let limit = (limit + AHEAD).min(cursor.time + 1.0);
        return Ok(Some(cursor.take(map, stream, limit)));
    }
}
