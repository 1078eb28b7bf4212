// SPDX-License-Identifier: MPL-2.0
//! A first look at a whole recording: who is in it, how the clocks ran, where what is.

use super::film::Film;
use std::collections::{BTreeMap, HashMap};
use xdf::{Corrector, Error, Event, Header, Offset, Parser, Resume};

/// The index is thinned out beyond this many points.
const POINTS: usize = 2048;
/// Bytes from one point to the next, at first.
const SPACING: u64 = 128 << 10;
/// Damage is told this often.
const TOLD: usize = 10;
/// No clock says more, seconds: about 126 years. What is beyond is damage.
const LATEST: f64 = 4e9;

/// The stamp, if it can be a time.
pub(super) fn plausible(stamp: f64) -> Option<f64> {
    (stamp.is_finite() && stamp.abs() < LATEST).then_some(stamp)
}

/// Where reading may begin.
struct Point {
    resume: Resume,
    /// The latest time before it, seconds on the recorder's clock.
    newest: f64,
    /// Which life of its clock each stream is in.
    lives: Vec<(u32, usize)>,
}

/// What is known of a recording after the first look.
pub(super) struct Map {
    pub streams: Vec<(u32, Header)>,
    pub correctors: HashMap<u32, Corrector>,
    /// The earliest and the latest time, seconds on the recorder's clock.
    pub origin: f64,
    pub end: f64,
    /// By how many seconds a sample may stand behind later ones in the file.
    pub lag: f64,
    points: Vec<Point>,
    pub damages: Vec<(u64, String)>,
    /// Where each stream of the film's frames says that the film begins, seconds on the
    /// recorder's clock, in the order of the file.
    pub films: Vec<(u32, f64)>,
    /// Has read every description.
    pub parser: Parser,
}

pub(super) enum Failed<E> {
    NoXdf(Error),
    Read(E),
}

/// Feeds `parser` with everything from the beginning and hands on its events.
fn each<E>(
    parser: &mut Parser,
    read: &mut impl FnMut(u64) -> Result<Option<gst::Buffer>, E>,
    mut event: impl FnMut(&Parser, Event),
) -> Result<(), Failed<E>> {
    loop {
        while let Some(e) = parser.next_event().map_err(Failed::NoXdf)? {
            event(parser, e);
        }
        parser.jump();
        let at = parser.position() + parser.held() as u64;
        let Some(buffer) = read(at).map_err(Failed::Read)? else {
            parser.finish();
            while let Some(e) = parser.next_event().map_err(Failed::NoXdf)? {
                event(parser, e);
            }
            return Ok(());
        };
        if let Ok(map) = buffer.map_readable() {
            parser.feed(&map);
        }
    }
}

impl Map {
    /// `read(offset)` gives some bytes from there, `None` at the end. The recording is
    /// read once without its samples and once with them; memory does not grow with it.
    /// `film`: the stream that says when the frames of a film were taken.
    ///
    /// # Errors
    /// No XDF, or what `read` says.
    pub(super) fn make<E>(
        film: Option<&str>,
        mut read: impl FnMut(u64) -> Result<Option<gst::Buffer>, E>,
    ) -> Result<Self, Failed<E>> {
        let mut offsets = HashMap::<u32, Vec<Offset>>::new();
        let mut damaged = false;
        let mut collect = |_: &Parser, event: Event| match event {
            Event::Offset(id, offset) => offsets.entry(id).or_default().push(offset),
            Event::Damage { .. } => damaged = true,
            _ => (),
        };
        each(&mut Parser::headers_only(), &mut read, &mut collect)?;
        if damaged {
            // A wrong length may have led past something.
            offsets.clear();
            let mut collect = |_: &Parser, event: Event| {
                if let Event::Offset(id, offset) = event {
                    offsets.entry(id).or_default().push(offset);
                }
            };
            each(&mut Parser::default(), &mut read, &mut collect)?;
        }
        let fresh: HashMap<u32, Corrector> = offsets
            .iter()
            .map(|(id, offsets)| (*id, Corrector::new(offsets)))
            .collect();
        drop(offsets);

        let mut correctors = fresh.clone();
        let mut map = Self {
            streams: Vec::new(),
            correctors: fresh,
            origin: f64::INFINITY,
            end: f64::NEG_INFINITY,
            lag: 0.0,
            points: Vec::new(),
            damages: Vec::new(),
            films: Vec::new(),
            parser: Parser::default(),
        };
        let mut intervals = HashMap::new();
        let mut frames = HashMap::<u32, Film>::new();
        let mut late = HashMap::new();
        let mut newest = f64::NEG_INFINITY;
        let mut spacing = SPACING;
        let mut parser = Parser::default();
        each(&mut parser, &mut read, |parser, event| match event {
            Event::Stream(id, header) => {
                let rate = header.description.rate;
                intervals.insert(
                    id,
                    if rate.is_regular() {
                        1.0 / rate.hz()
                    } else {
                        0.0
                    },
                );
                if film == Some(&header.description.name)
                    && let Some(film) = Film::of(&header.description)
                {
                    frames.insert(id, film);
                }
                late.insert(id, header.description.offset_mean.unwrap_or(0.0));
                map.streams.push((id, *header));
            }
            Event::Samples { id, stamps, values } => {
                let interval = intervals.get(&id).copied().unwrap_or(0.0);
                let late = late.get(&id).copied().unwrap_or(0.0);
                let mut frames = frames.get_mut(&id);
                for (i, stamp) in stamps.into_iter().enumerate() {
                    let time = match correctors.get_mut(&id) {
                        Some(corrector) => corrector.correct(stamp),
                        None => stamp,
                    };
                    let Some(time) = plausible(time - late) else {
                        continue;
                    };
                    if let Some(frames) = &mut frames {
                        frames.take(time, &values, i);
                    }
                    map.origin = map.origin.min(time);
                    map.end = map.end.max(time + interval);
                    map.lag = map.lag.max(newest - time);
                    newest = newest.max(time);
                }
                let before = map.points.last().map_or(0, |p| p.resume.at);
                if parser.position() - before >= spacing
                    && let Some(resume) = parser.mark()
                {
                    map.points.push(Point {
                        resume,
                        newest,
                        lives: correctors
                            .iter()
                            .map(|(id, c)| (*id, c.current()))
                            .collect(),
                    });
                    if map.points.len() == POINTS {
                        let mut n = 0;
                        map.points.retain(|_| {
                            n += 1;
                            n % 2 == 0
                        });
                        spacing *= 2;
                    }
                }
            }
            Event::Damage { at, what } if map.damages.len() < TOLD => map.damages.push((at, what)),
            _ => (),
        })?;
        map.parser = parser;
        let begin = |(id, _): &(u32, Header)| Some((*id, frames.get(id)?.begin()?));
        map.films = map.streams.iter().filter_map(begin).collect();
        if !map.origin.is_finite() {
            (map.origin, map.end) = (0.0, 0.0);
        }
        Ok(map)
    }

    /// Length of the recording, ns.
    pub(super) fn duration(&self) -> u64 {
        ((self.end - self.origin) * 1e9).round().max(0.0) as u64
    }

    /// Sets the parser to the last place from which nothing is missing that is at `time`
    /// (ns since the origin) or later. Gives the life that each stream's clock is in.
    pub(super) fn seek(&mut self, time: u64) -> BTreeMap<u32, usize> {
        let time = self.origin + time as f64 / 1e9;
        // A sample of low rate reaches beyond its stamp.
        let slowest = self
            .streams
            .iter()
            .map(|(_, h)| h.description.rate)
            .filter(|r| r.is_regular())
            .map(|r| 1.0 / r.hz())
            .fold(0.0, f64::max);
        let n = self.points.partition_point(|p| p.newest < time - slowest);
        match n.checked_sub(1).and_then(|n| self.points.get(n)) {
            Some(point) => {
                self.parser.resume(&point.resume);
                point.lives.iter().copied().collect()
            }
            None => {
                self.parser.rewind();
                BTreeMap::new()
            }
        }
    }
}
