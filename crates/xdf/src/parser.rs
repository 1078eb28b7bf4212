// SPDX-License-Identifier: MPL-2.0
//! The incremental parser: bytes in, events out.

use super::clock::Offset;
use std::collections::HashMap;
use stream_info::{Description, Format};

const MAGIC: &[u8] = b"XDF:";
/// The content of every boundary chunk.
const BOUNDARY: [u8; 16] = [
    0x43, 0xA5, 0x46, 0xDC, 0xCB, 0xF5, 0x41, 0x0F, 0xB3, 0x0E, 0xD5, 0x46, 0x73, 0x83, 0xCB, 0xE4,
];
/// Most bytes of a single sample, and of a chunk that is kept whole (header, footer). What is
/// longer is damage. Sample chunks may have any length.
const MAX_WHOLE: u64 = 16 << 20;
/// Largest offset in a file: seek offsets are signed numbers of 64 bits.
const LONGEST: u64 = i64::MAX as u64;
/// Most samples in one event, and about the most bytes of them.
const BATCH: usize = 4096;
const BATCH_BYTES: usize = 256 << 10;
/// Sample chunks of up to this many bytes are checked as a whole before any of their samples is
/// given, because samples of a damaged chunk may be wrong.
const CHECKED: u64 = 1 << 20;

/// Why the input is no XDF recording at all. What is wrong inside of one is
/// [`Event::Damage`].
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The first four bytes, and a hint at what else it may be (may be empty).
    #[error("this is no XDF recording: it begins with {0:02x?}, expected the letters 'XDF:'{1}")]
    Magic(Vec<u8>, &'static str),
    /// There are fewer than four bytes.
    #[error("this is no XDF recording: it is empty or shorter than the letters 'XDF:'")]
    Empty,
}

/// The header of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// What the XML says: name, channels, rate, format, units.
    pub description: Description,
    /// The XML as it is in the file; bytes that are not UTF-8 are replaced.
    pub xml: String,
}

/// The values of several samples, sample after sample, the channels of each in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Little-endian numbers of the stream's format: `samples × channels × size` bytes.
    Numbers(Vec<u8>),
    /// Texts, `samples × channels` of them.
    Texts(Vec<String>),
}

/// What a recording holds, in the order of the file. An `id` is the number that the recording
/// gives to a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The file header, XML.
    File(String),
    /// The header of the stream with this id. Comes once for each id.
    Stream(u32, Box<Header>),
    /// Samples of a stream whose header came before. A long chunk gives several events.
    Samples {
        /// The stream.
        id: u32,
        /// One timestamp for each sample, seconds on the sender's clock. A sample without a
        /// timestamp in the file gets that of the one before plus one period.
        stamps: Vec<f64>,
        /// The values of as many samples.
        values: Values,
    },
    /// A measured clock offset of the stream with this id.
    Offset(u32, Offset),
    /// A boundary chunk, at which reading can go on after damage.
    Boundary,
    /// The footer of the stream with this id, XML.
    Footer(u32, String),
    /// Something that cannot be read; reading goes on after it.
    Damage {
        /// Offset in the file, bytes.
        at: u64,
        /// What is wrong, as part of a sentence.
        what: String,
    },
}

/// What is needed of a stream to read its samples.
#[derive(Clone)]
struct Known {
    channels: usize,
    format: Format,
    /// Seconds between two samples, 0 for an irregular stream.
    interval: f64,
    /// Timestamp of the last sample; unknown after damage.
    last: Option<f64>,
}

impl Known {
    /// Checks that `bytes` are exactly `count` samples.
    fn check(&self, bytes: &[u8], count: u64) -> Result<(), Stop> {
        let mut c = Cursor { bytes, at: 0 };
        for _ in 0..count {
            match c.array()? {
                [0] => (),
                [8] => drop(c.take(8)?),
                [n] => return Err(stamp_damage(n)),
            }
            if self.format == Format::Text {
                for _ in 0..self.channels {
                    let n = c.length()?;
                    c.take(usize::try_from(n).unwrap_or(usize::MAX))?;
                }
            } else {
                c.take(self.format.size() * self.channels)?;
            }
        }
        match c.at == bytes.len() {
            true => Ok(()),
            false => Err(Stop::Damage(TOO_LONG.into())),
        }
    }

    /// Reads a sample and gives its timestamp; `last` is that of the one before. A sample
    /// whose timestamp is unknown is read, and its numbers are not kept.
    fn read(
        &self,
        c: &mut Cursor,
        last: Option<f64>,
        numbers: &mut Vec<u8>,
        texts: &mut Vec<String>,
    ) -> Result<Option<f64>, Stop> {
        let stamp = match c.array::<1>()? {
            [0] => last.map(|l| l + self.interval),
            [8] => Some(f64::from_le_bytes(c.array()?)),
            [n] => return Err(stamp_damage(n)),
        };
        if self.format == Format::Text {
            for _ in 0..self.channels {
                let n = c.length()?;
                if n > MAX_WHOLE {
                    return Err(Stop::Damage(format!("a text of {n} bytes")));
                }
                let text = c.take(n as usize)?;
                texts.push(String::from_utf8_lossy(text).into_owned());
            }
        } else {
            let values = c.take(self.format.size() * self.channels)?;
            if stamp.is_some() {
                numbers.extend_from_slice(values);
            }
        }
        Ok(stamp)
    }
}

const TOO_LONG: &str = "it holds more bytes than its samples need";

fn stamp_damage(n: u8) -> Stop {
    Stop::Damage(format!("a stamp of {n} bytes, expected 0 or 8"))
}

#[derive(Debug, Clone, Copy)]
enum State {
    Magic,
    Chunk,
    Samples {
        id: u32,
        bytes: u64,
        count: Option<u64>,
    },
    /// The next `left` bytes are passed over. The first that was passed over is at `from`.
    Skip {
        from: u64,
        left: u64,
    },
    Resync,
}

/// A place between two chunks at which reading can go on, from [`Parser::mark`].
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// Offset in the file, bytes, of the next byte to feed.
    pub at: u64,
    /// Id and last timestamp of each stream.
    last: Vec<(u32, Option<f64>)>,
}

/// Reads a recording in pieces of any size.
///
/// [`Parser::feed`] some bytes, take events with [`Parser::next_event`] until there are none,
/// and repeat; after the last piece call [`Parser::finish`] and take events once more. The
/// pieces do not change the samples. Memory is bounded by what was fed plus one header or
/// sample (16 MiB).
///
/// After damage, which is an event, reading goes on at the next boundary chunk.
pub struct Parser {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been read.
    read: usize,
    /// Offset in the file of `buffer[read]`.
    position: u64,
    state: State,
    streams: HashMap<u32, Option<Known>>,
    /// Sample chunks are passed over; or those of all streams but this one.
    headers_only: bool,
    only: Option<u32>,
    /// The sample chunk that began last, see [`Parser::take_chunk`].
    begun: Option<ChunkStart>,
    ending: bool,
}

/// Where a sample chunk begins, so that reading can begin there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChunkStart {
    /// Offset in the file, bytes.
    pub at: u64,
    /// Timestamp of the sample before it in the same stream, seconds; `None`: not known.
    pub last: Option<f64>,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            read: 0,
            position: 0,
            state: State::Magic,
            streams: HashMap::new(),
            headers_only: false,
            only: None,
            begun: None,
            ending: false,
        }
    }
}

/// The bytes so far are not enough.
struct More;

/// Why reading stopped: not enough bytes, or damage with its description.
enum Stop {
    More,
    Damage(String),
}

impl From<More> for Stop {
    fn from(_: More) -> Self {
        Stop::More
    }
}

/// Where a boundary chunk's content stands.
fn boundary(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        // Bytes that cannot begin it are passed over by one comparison each.
        from += bytes.get(from..)?.iter().position(|b| *b == BOUNDARY[0])?;
        if bytes[from..].starts_with(&BOUNDARY) {
            return Some(from);
        }
        from += 1;
    }
}

/// Reads from a slice without consuming it.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], More> {
        let end = self.at.checked_add(n).ok_or(More)?;
        let taken = self.bytes.get(self.at..end).ok_or(More)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], More> {
        self.take(N)?.try_into().map_err(|_| More)
    }

    /// A number that follows a byte with its own length.
    fn length(&mut self) -> Result<u64, Stop> {
        match self.array::<1>()? {
            [1] => Ok(u64::from(self.array::<1>()?[0])),
            [4] => Ok(u64::from(u32::from_le_bytes(self.array()?))),
            [8] => Ok(u64::from_le_bytes(self.array()?)),
            [n] => Err(Stop::Damage(format!(
                "a length of {n} bytes, expected 1, 4 or 8"
            ))),
        }
    }
}

impl Parser {
    /// A parser that passes over samples: it gives all other events.
    pub fn headers_only() -> Self {
        Self {
            headers_only: true,
            ..Self::default()
        }
    }

    /// A parser of the same file that gives the samples of one stream only, whose header
    /// was read. Set its place by [`Parser::go_to`] first.
    #[must_use]
    pub fn of_stream(&self, id: u32) -> Self {
        let known = self.streams.get(&id).cloned().flatten();
        Self {
            streams: HashMap::from([(id, known)]),
            only: Some(id),
            state: State::Chunk,
            ..Self::default()
        }
    }

    /// Goes on with the chunk at `start`, which [`Parser::take_chunk`] told. What was fed
    /// from there on stays; the next byte to feed is at [`Parser::position`] plus
    /// [`Parser::held`].
    pub fn go_to(&mut self, start: ChunkStart) {
        match start.at.checked_sub(self.position) {
            Some(n) if n <= self.held() as u64 => self.consume(n as usize),
            _ => {
                self.buffer.clear();
                self.read = 0;
                self.position = start.at;
            }
        }
        self.state = State::Chunk;
        self.ending = false;
        for stream in self.streams.values_mut().flatten() {
            stream.last = start.last;
        }
    }

    /// Where the sample chunk began that the last samples are of, if they are its first.
    pub fn take_chunk(&mut self) -> Option<ChunkStart> {
        self.begun.take()
    }

    /// Whether the last event was the last of its chunk.
    pub fn between_chunks(&self) -> bool {
        matches!(self.state, State::Chunk)
    }

    /// Takes the next bytes of the recording. Take all events before the next call: bytes that
    /// have not been read are kept.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Offset in the file, bytes, of the next byte to read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that were fed and not yet read.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.read
    }

    /// The present place, for [`Parser::resume`]; `None` inside of a chunk.
    pub fn mark(&self) -> Option<Resume> {
        matches!(self.state, State::Chunk).then(|| Resume {
            at: self.position,
            last: self
                .streams
                .iter()
                .filter_map(|(id, s)| Some((*id, s.as_ref()?.last)))
                .collect(),
        })
    }

    /// Goes on at a mark that this parser, or another one of the same file, made. The next
    /// byte to feed is that at `mark.at`. The headers that this parser has read stay known.
    pub fn resume(&mut self, mark: &Resume) {
        self.buffer.clear();
        self.read = 0;
        self.position = mark.at;
        self.state = State::Chunk;
        self.ending = false;
        for (id, last) in &mark.last {
            if let Some(Some(stream)) = self.streams.get_mut(id) {
                stream.last = *last;
            }
        }
    }

    /// Goes back to the beginning and keeps the headers. The next byte to feed is the fifth.
    pub fn rewind(&mut self) {
        let last = self.streams.keys().map(|id| (*id, Some(0.0))).collect();
        self.resume(&Resume {
            at: MAGIC.len() as u64,
            last,
        });
    }

    /// Passes over bytes that need not be fed, and gives their number: a caller that can seek
    /// goes on feeding that much further. 0 if there are none, or if bytes are still held.
    ///
    /// The last byte of a chunk is never passed over: a recording that was cut off would not be
    /// noticed.
    pub fn jump(&mut self) -> u64 {
        match self.state {
            State::Skip { from, left } if self.held() == 0 && left > 1 => {
                self.position = self.position.saturating_add(left - 1);
                self.state = State::Skip { from, left: 1 };
                left - 1
            }
            _ => 0,
        }
    }

    fn consume(&mut self, n: usize) {
        self.read += n;
        self.position += n as u64;
    }

    /// The next event in the bytes so far. `None`: feed more, or after [`Parser::finish`] the
    /// end.
    ///
    /// # Errors
    /// The input is no XDF recording: it does not begin with `XDF:`, or is shorter than that.
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let at = self.position;
            let step = match self.state {
                State::Magic => {
                    let bytes = &self.buffer[self.read..];
                    if bytes.len() < MAGIC.len() {
                        return self.end();
                    }
                    if !bytes.starts_with(MAGIC) {
                        let hint = if bytes.starts_with(&[0x1f, 0x8b]) {
                            "; it is compressed by gzip: unpack it before"
                        } else {
                            ""
                        };
                        return Err(Error::Magic(bytes[..MAGIC.len()].to_vec(), hint));
                    }
                    self.consume(MAGIC.len());
                    self.state = State::Chunk;
                    continue;
                }
                State::Chunk => self.chunk(),
                State::Samples { id, bytes, count } => self.samples(id, bytes, count),
                State::Skip { from, left } => {
                    let n = left.min(self.held() as u64);
                    self.consume(n as usize);
                    self.state = if n == left {
                        State::Chunk
                    } else {
                        State::Skip {
                            from,
                            left: left - n,
                        }
                    };
                    match n == left {
                        true => continue,
                        false => return self.end(),
                    }
                }
                State::Resync => {
                    if self.resync() {
                        return Ok(Some(Event::Boundary));
                    }
                    return self.end();
                }
            };
            match step {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => continue,
                Err(Stop::More) => return self.end(),
                Err(Stop::Damage(what)) => {
                    self.state = State::Resync;
                    for stream in self.streams.values_mut().flatten() {
                        stream.last = None;
                    }
                    return Ok(Some(Event::Damage { at, what }));
                }
            }
        }
    }

    /// Says that no more bytes will come. [`Parser::next_event`] then gives what is left, and
    /// damage if the recording was cut off.
    pub fn finish(&mut self) {
        self.ending = true;
    }

    /// The event for when all bytes are read: damage if something is missing at the end.
    fn end(&mut self) -> Result<Option<Event>, Error> {
        let what = match self.state {
            _ if !self.ending => return Ok(None),
            State::Magic => return Err(Error::Empty),
            State::Chunk if self.held() == 0 => return Ok(None),
            State::Resync => "no boundary chunk follows the damage",
            _ => "the recording ends inside of a chunk",
        };
        let at = match self.state {
            // After a jump `position` may be beyond the end of the file.
            State::Skip { from, .. } => from,
            _ => self.position,
        };
        self.consume(self.held());
        self.state = State::Chunk;
        Ok(Some(Event::Damage {
            at,
            what: what.into(),
        }))
    }

    /// Reads up to the end of the next boundary chunk's content, and keeps what may be the
    /// beginning of one.
    fn resync(&mut self) -> bool {
        let bytes = &self.buffer[self.read..];
        match boundary(bytes) {
            Some(n) => {
                self.consume(n + BOUNDARY.len());
                self.state = State::Chunk;
                true
            }
            None => {
                let n = bytes.len().saturating_sub(BOUNDARY.len() - 1);
                self.consume(n);
                false
            }
        }
    }

    fn chunk(&mut self) -> Result<Option<Event>, Stop> {
        let mut c = Cursor {
            bytes: &self.buffer[self.read..],
            at: 0,
        };
        if c.bytes.is_empty() {
            return Err(Stop::More);
        }
        let length = c.length()?;
        let tag = u16::from_le_bytes(c.array()?);
        let Some(left) = length.checked_sub(2) else {
            return Err(Stop::Damage(format!("a chunk of {length} bytes")));
        };
        // No file is that long.
        if length > LONGEST.saturating_sub(self.position) {
            return Err(Stop::Damage(format!("a chunk of {length} bytes")));
        }
        if tag == 3 {
            if left < 4 {
                return Err(Stop::Damage("a sample chunk without a stream id".into()));
            }
            let id = u32::from_le_bytes(c.array()?);
            let head = c.at;
            return self.begin_samples(id, head, left);
        }
        if left > MAX_WHOLE {
            return Err(Stop::Damage(format!(
                "a chunk with tag {tag} of {length} bytes"
            )));
        }
        if !(1..=6).contains(&tag) {
            let head = c.at;
            self.consume(head);
            self.state = State::Skip {
                from: self.position,
                left,
            };
            return Ok(None);
        }
        let content = c.take(left as usize)?;
        let text = stream_info::readable;
        let id = content
            .first_chunk::<4>()
            .map(|b| u32::from_le_bytes(*b))
            .ok_or_else(|| Stop::Damage(format!("a chunk with tag {tag} of {length} bytes")));
        let rest = content.get(4..).unwrap_or_default();
        let end = c.at;
        let event = match tag {
            1 => Some(Event::File(text(content))),
            2 => {
                let (id, xml) = (id?, text(rest));
                match stream_info::describe(&xml) {
                    // A repeated header is ignored.
                    _ if matches!(self.streams.get(&id), Some(Some(_))) => None,
                    Ok(description) => {
                        let interval = match description.rate.is_regular() {
                            true => 1.0 / description.rate.hz(),
                            false => 0.0,
                        };
                        let known = description.format.map(|format| Known {
                            channels: description.channels,
                            format,
                            interval,
                            last: Some(0.0),
                        });
                        self.streams.insert(id, known);
                        Some(Event::Stream(id, Box::new(Header { description, xml })))
                    }
                    Err(e) => {
                        self.streams.insert(id, None);
                        Some(Event::Damage {
                            at: self.position,
                            what: format!("the header of the stream {id}: {e}"),
                        })
                    }
                }
            }
            4 => {
                let (id, numbers) = (id?, rest.as_chunks::<8>());
                let ([time, value], []) = numbers else {
                    return Err(Stop::Damage(format!("a clock offset of {length} bytes")));
                };
                let (time, value) = (f64::from_le_bytes(*time), f64::from_le_bytes(*value));
                (time.is_finite() && value.is_finite())
                    .then_some(Event::Offset(id, Offset { time, value }))
            }
            5 if content == BOUNDARY => Some(Event::Boundary),
            5 => return Err(Stop::Damage("a boundary chunk with another mark".into())),
            _ => Some(Event::Footer(id?, text(rest))),
        };
        self.consume(end);
        Ok(event)
    }

    /// Begins a chunk of samples, of which `left` bytes follow its tag. `head`: bytes up to
    /// the samples.
    fn begin_samples(&mut self, id: u32, head: usize, left: u64) -> Result<Option<Event>, Stop> {
        self.consume(head);
        let bytes = left - 4;
        if self.only.is_some_and(|only| only != id) {
            self.state = State::Skip {
                from: self.position,
                left: bytes,
            };
            return Ok(None);
        }
        let known = self.streams.get(&id);
        self.state = match known {
            Some(Some(known)) if !self.headers_only => {
                self.begun = Some(ChunkStart {
                    at: self.position - head as u64,
                    last: known.last,
                });
                State::Samples {
                    id,
                    bytes,
                    count: None,
                }
            }
            _ => State::Skip {
                from: self.position,
                left: bytes,
            },
        };
        if known.is_none() {
            // So that it is reported once.
            self.streams.insert(id, None);
            return Ok(Some(Event::Damage {
                at: self.position - head as u64,
                what: format!("samples of the stream {id}, which has no header"),
            }));
        }
        Ok(None)
    }

    /// Reads the whole samples of the chunk that are in the buffer, up to one event's worth.
    fn samples(&mut self, id: u32, bytes: u64, count: Option<u64>) -> Result<Option<Event>, Stop> {
        let buffer = &self.buffer[self.read..];
        // The bytes of this chunk only.
        let mine = &buffer[..buffer
            .len()
            .min(usize::try_from(bytes).unwrap_or(usize::MAX))];
        let whole = mine.len() as u64 == bytes;
        let mut c = Cursor { bytes: mine, at: 0 };
        let damage =
            |what: &str| Stop::Damage(format!("a sample chunk of the stream {id}: {what}"));
        // If the chunk is complete, bytes that are missing in it will not come.
        let missing = |stop: Stop| match stop {
            Stop::More if whole => damage("it holds fewer bytes than its samples need"),
            other => other,
        };
        let Some(left) = count else {
            if bytes <= CHECKED && !whole && !self.ending {
                return Err(Stop::More);
            }
            let n = c.length().map_err(missing)?;
            if let Some(Some(stream)) = self.streams.get(&id)
                && bytes <= CHECKED
                && whole
            {
                stream.check(&mine[c.at..], n).map_err(|what| match what {
                    Stop::Damage(what) => damage(&what),
                    more => missing(more),
                })?;
            }
            let used = c.at;
            self.consume(used);
            self.state = State::Samples {
                id,
                bytes: bytes - used as u64,
                count: Some(n),
            };
            return Ok(None);
        };
        if left == 0 {
            if bytes > 0 {
                return Err(damage(TOO_LONG));
            }
            self.state = State::Chunk;
            return Ok(None);
        }
        let Some(Some(stream)) = self.streams.get_mut(&id) else {
            return Err(damage("it has no header"));
        };
        let size = stream.format.size() * stream.channels;
        if size as u64 > MAX_WHOLE {
            return Err(damage("its samples are too long"));
        }
        let mut stamps = Vec::new();
        let mut numbers = Vec::new();
        let mut texts = Vec::new();
        let mut done = 0u64;
        let mut stop = None;
        let mut last = stream.last;
        while done < left && stamps.len() < BATCH && c.at < BATCH_BYTES {
            let before = c.at;
            let kept = texts.len();
            let sample = stream.read(&mut c, last, &mut numbers, &mut texts);
            let sample = sample.map_err(|e| match e {
                Stop::Damage(what) => damage(&what),
                more => more,
            });
            match sample {
                Ok(stamp) => {
                    last = stamp.filter(|s| s.is_finite()).or(last);
                    match stamp {
                        Some(stamp) => stamps.push(stamp),
                        // Without a timestamp after damage: it is not known how many
                        // samples were lost, so the period does not help.
                        None => texts.truncate(kept),
                    }
                    done += 1;
                }
                Err(e) => {
                    c.at = before;
                    texts.truncate(kept);
                    stop = Some(missing(e));
                    break;
                }
            }
        }
        if done == 0 {
            if c.bytes.len() as u64 > MAX_WHOLE {
                return Err(damage("a sample is too long"));
            }
            return Err(stop.unwrap_or(Stop::More));
        }
        stream.last = last;
        let text = stream.format == Format::Text;
        let used = c.at;
        self.consume(used);
        self.state = State::Samples {
            id,
            bytes: bytes - used as u64,
            count: Some(left - done),
        };
        if stamps.is_empty() {
            return Ok(None);
        }
        let values = match text {
            true => Values::Texts(texts),
            false => Values::Numbers(numbers),
        };
        // So that `mark` works right after the last sample of a chunk.
        if left == done && bytes == used as u64 {
            self.state = State::Chunk;
        }
        Ok(Some(Event::Samples { id, stamps, values }))
    }
}
