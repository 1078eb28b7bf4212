// SPDX-License-Identifier: MPL-2.0
//! Recordings that are compressed by gzip (`.xdfz`).
//!
//! [`Gunzip`] unpacks what is fed to it, in order. [`Unzipped`] reads anywhere: it keeps copies
//! of the unpacker's state from along the way and goes on from the nearest. Nothing is unpacked
//! as a whole, neither into memory nor onto a disk, so a small file that unpacks to a very long
//! one costs time only.

use miniz_oxide::{
    DataFormat, MZError, MZFlush, MZStatus,
    inflate::stream::{InflateState, inflate},
};
use std::collections::VecDeque;

/// The first two bytes of what gzip packed.
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The only method of compression that gzip knows.
const DEFLATE: u8 = 8;
/// Most bytes of the header, which may hold a file name and a comment.
const LONGEST_HEADER: usize = 64 << 10;
/// Bytes after the compressed data: a checksum and the length.
const TRAILER: usize = 8;
/// Bytes that are unpacked at once.
const BLOCK: usize = 64 << 10;
/// Blocks that are kept, for streams that are read side by side.
const KEPT: usize = 64;
/// Places in the file at which unpacking can begin: blocks between two of them, and how many
/// are kept. Each takes about 45 kB.
const SPACING: u64 = 16;
const MOST_POINTS: usize = 256;
/// Places at which unpacking has just stopped.
const MOST_LIVE: usize = 16;

/// What is wrong with a compressed recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoiled {
    /// Offset in the compressed file, bytes.
    pub at: u64,
    /// What is wrong, as part of a sentence.
    pub what: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Header,
    Body,
    Trailer,
    /// Between two parts that were packed one after the other, or at the end.
    Between,
    /// Damage, or bytes that are not gzip's: nothing more is read.
    Ended,
}

/// Unpacks a recording in pieces of any size.
#[derive(Clone)]
pub struct Gunzip {
    inflate: Box<InflateState>,
    stage: Stage,
    /// What was read of a header or a trailer.
    part: Vec<u8>,
    checksum: crc32fast::Hasher,
    size: u32,
    spoiled: Option<Spoiled>,
    /// Bytes that were taken, and given.
    taken: u64,
    given: u64,
}

impl Default for Gunzip {
    fn default() -> Self {
        Self {
            inflate: InflateState::new_boxed(DataFormat::Raw),
            stage: Stage::Header,
            part: Vec::new(),
            checksum: crc32fast::Hasher::new(),
            size: 0,
            spoiled: None,
            taken: 0,
            given: 0,
        }
    }
}

/// Whether what begins with `bytes` is compressed by gzip; `None`: there are too few.
pub fn is_gzip(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [] => None,
        [first] if *first == MAGIC[0] => None,
        bytes => Some(bytes.starts_with(&MAGIC)),
    }
}

/// Whether what begins with `bytes` is a recording that is compressed by gzip, as far as these
/// bytes tell.
pub fn holds_xdf(bytes: &[u8]) -> bool {
    let mut first = [0; 4];
    let (mut gunzip, mut rest, mut n) = (Gunzip::default(), bytes, 0);
    while n < first.len() {
        match gunzip.unpack(rest, &mut first[n..]) {
            Ok((0, 0)) | Err(_) => break,
            Ok((taken, given)) => {
                rest = &rest[taken..];
                n += given;
            }
        }
    }
    first == *b"XDF:"
}

/// The length of the header that `bytes` begin with; `None`: not all of it is there.
fn header(bytes: &[u8]) -> Result<Option<usize>, String> {
    let known = bytes.len().min(3);
    let expected = [MAGIC[0], MAGIC[1], DEFLATE];
    if bytes[..known] != expected[..known] {
        return Err(format!(
            "expected the beginning of gzip's data ({expected:02x?}), found {:02x?}",
            &bytes[..known]
        ));
    }
    let Some(flags) = bytes.get(3) else {
        return Ok(None);
    };
    if flags & 0xe0 != 0 {
        return Err(format!(
            "gzip's flags are {flags:02x}, which have no meaning"
        ));
    }
    let mut end = 10;
    if flags & 4 != 0 {
        let Some([a, b]) = bytes.get(end..end + 2) else {
            return Ok(None);
        };
        end += 2 + usize::from(u16::from_le_bytes([*a, *b]));
    }
    // A file name and a comment, each up to a NUL.
    for text in [8, 16] {
        if flags & text != 0 {
            let rest = bytes.get(end..).unwrap_or_default();
            let Some(n) = rest.iter().position(|b| *b == 0) else {
                return Ok(None);
            };
            end += n + 1;
        }
    }
    end += if flags & 2 != 0 { 2 } else { 0 };
    Ok((bytes.len() >= end).then_some(end))
}

impl Gunzip {
    /// Offset in the compressed file, bytes, of the next byte that is wanted.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Nothing more is read; to be told when what was good is given.
    fn spoil(&mut self, what: impl Into<String>) {
        self.stage = Stage::Ended;
        self.spoiled = Some(Spoiled {
            at: self.taken,
            what: what.into(),
        });
    }

    /// Unpacks `input` into `out`: how many bytes were read and written. Nothing is read once
    /// `out` is full. `(0, 0)`: more input is needed.
    ///
    /// # Errors
    /// The compressed data are damaged, told once. What was written before is right as far as
    /// is known; nothing comes after it.
    pub fn unpack(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), Spoiled> {
        let (mut read, mut written) = (0, 0);
        while written < out.len() && self.spoiled.is_none() {
            let rest = &input[read..];
            let before = self.stage;
            let (r, w) = match before {
                Stage::Ended => (rest.len(), 0),
                Stage::Between => match rest {
                    [] => (0, 0),
                    // Padding of tapes.
                    [0, ..] => (1, 0),
                    _ => {
                        self.stage = Stage::Header;
                        (0, 0)
                    }
                },
                Stage::Header => (self.header(rest), 0),
                Stage::Trailer => (self.trailer(rest), 0),
                Stage::Body => self.body(rest, &mut out[written..]),
            };
            read += r;
            written += w;
            self.taken += r as u64;
            self.given += w as u64;
            if r == 0 && w == 0 && self.stage == before {
                break;
            }
        }
        match self.spoiled.take() {
            Some(spoiled) if (read, written) == (0, 0) => Err(spoiled),
            later => {
                self.spoiled = later;
                Ok((read, written))
            }
        }
    }

    fn header(&mut self, input: &[u8]) -> usize {
        let had = self.part.len();
        let most = input.len().min(LONGEST_HEADER);
        self.part.extend_from_slice(&input[..most]);
        let end = match header(&self.part) {
            Ok(Some(end)) => end,
            Ok(None) if self.part.len() <= LONGEST_HEADER => return most,
            Ok(None) => {
                self.spoil("gzip's header does not end");
                return most;
            }
            Err(what) => {
                self.spoil(what);
                return most;
            }
        };
        self.part.clear();
        self.inflate = InflateState::new_boxed(DataFormat::Raw);
        self.checksum = crc32fast::Hasher::new();
        self.size = 0;
        self.stage = Stage::Body;
        end - had
    }

    fn body(&mut self, input: &[u8], out: &mut [u8]) -> (usize, usize) {
        let result = inflate(&mut self.inflate, input, out, MZFlush::None);
        let (read, written) = (result.bytes_consumed, result.bytes_written);
        self.checksum.update(&out[..written]);
        self.size = self.size.wrapping_add(written as u32);
        match result.status {
            Ok(MZStatus::StreamEnd) => self.stage = Stage::Trailer,
            Ok(_) | Err(MZError::Buf) => (),
            Err(_) => self.spoil("the compressed data are damaged here or before"),
        }
        (read, written)
    }

    fn trailer(&mut self, input: &[u8]) -> usize {
        let n = input.len().min(TRAILER - self.part.len());
        self.part.extend_from_slice(&input[..n]);
        if let ([checksum, size], []) = self.part.as_chunks::<4>() {
            let right = u32::from_le_bytes(*checksum) == self.checksum.clone().finalize()
                && u32::from_le_bytes(*size) == self.size;
            self.part.clear();
            self.stage = Stage::Between;
            if !right {
                self.spoil(
                    "the checksum or the length at the end is not that of what was unpacked: \
                     some samples may be wrong",
                );
            }
        }
        n
    }

    /// What is wrong if no more input comes.
    pub fn finish(&mut self) -> Option<Spoiled> {
        if !matches!(self.stage, Stage::Between | Stage::Ended) {
            self.spoil("the compressed data end before they are complete: the file was cut off");
        }
        self.spoiled.take()
    }
}

/// What comes in order, compressed or not.
#[derive(Default)]
pub struct Unpacker {
    first: Vec<u8>,
    /// `None`: not known yet. `Some(None)`: it is not compressed.
    gunzip: Option<Option<Gunzip>>,
}

impl Unpacker {
    /// Takes the next bytes of the file and gives those of the recording to `sink`, up to
    /// 64 KiB at a time, with whether they were compressed.
    ///
    /// # Errors
    /// What `sink` says. The compressed data are damaged: `spoiled` is called, and the rest is
    /// passed over.
    pub fn feed<E>(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(bool, &[u8]) -> Result<(), E>,
        mut spoiled: impl FnMut(Spoiled),
    ) -> Result<(), E> {
        let joined;
        let mut rest = bytes;
        if self.gunzip.is_none() {
            self.first.extend_from_slice(bytes);
            let Some(zipped) = is_gzip(&self.first) else {
                return Ok(());
            };
            joined = std::mem::take(&mut self.first);
            rest = &joined;
            self.gunzip = Some(zipped.then(Gunzip::default));
        }
        let Some(Some(gunzip)) = &mut self.gunzip else {
            return rest.chunks(BLOCK).try_for_each(|b| sink(false, b));
        };
        let mut block = vec![0; BLOCK];
        loop {
            match gunzip.unpack(rest, &mut block) {
                Ok((0, 0)) => return Ok(()),
                Ok((read, written)) => {
                    rest = &rest[read..];
                    if written > 0 {
                        sink(true, &block[..written])?;
                    }
                }
                Err(e) => {
                    spoiled(e);
                    return Ok(());
                }
            }
        }
    }

    /// No more bytes come: those that wait, and what is wrong at the end.
    pub fn finish(&mut self) -> (Vec<u8>, Option<Spoiled>) {
        let first = std::mem::take(&mut self.first);
        let spoiled = match &mut self.gunzip {
            Some(Some(gunzip)) => gunzip.finish(),
            _ => None,
        };
        (first, spoiled)
    }
}

/// Reads a compressed file as if it were not, anywhere.
///
/// Memory is bounded by about 16 MB whatever the file unpacks to.
#[derive(Default)]
pub struct Unzipped {
    /// Blocks by their number; what was used last is at the end.
    blocks: VecDeque<(u64, Vec<u8>)>,
    /// Unpackers at the beginning of a block: from along the way, in order, and the last used.
    points: Vec<Gunzip>,
    live: VecDeque<Gunzip>,
    spacing: u64,
    /// The number of bytes, once it is known.
    end: Option<u64>,
    spoiled: Option<Spoiled>,
}

impl Unzipped {
    /// What is wrong with the compressed data, as far as they were read. The recording ends
    /// there.
    pub fn spoiled(&self) -> Option<&Spoiled> {
        self.spoiled.as_ref()
    }

    /// Bytes of the unpacked recording from `at` on; `None` at its end. `read(offset)` gives
    /// some bytes of the compressed file from there, `None` at its end.
    ///
    /// # Errors
    /// What `read` says.
    pub fn read<B: AsRef<[u8]>, E>(
        &mut self,
        at: u64,
        mut read: impl FnMut(u64) -> Result<Option<B>, E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let number = at / BLOCK as u64;
        let within = (at % BLOCK as u64) as usize;
        if self.end.is_some_and(|end| at >= end) {
            return Ok(None);
        }
        if let Some(i) = self.blocks.iter().position(|(n, _)| *n == number) {
            if let Some(found) = self.blocks.remove(i) {
                self.blocks.push_back(found);
            }
        } else {
            self.unpack_to(number, &mut read)?;
        }
        let found = self.blocks.back().filter(|(n, _)| *n == number);
        let bytes = found.and_then(|(_, block)| block.get(within..));
        Ok(bytes.filter(|b| !b.is_empty()).map(<[u8]>::to_vec))
    }

    /// The unpacker that is nearest before block `number`.
    fn nearest(&mut self, number: u64) -> Gunzip {
        let goal = number * BLOCK as u64;
        let after = self.points.partition_point(|p| p.given <= goal);
        let point = after.checked_sub(1).map(|i| &self.points[i]);
        let live = self.live.iter().enumerate();
        let live = live
            .filter(|(_, l)| l.given <= goal && point.is_none_or(|p| l.given >= p.given))
            .max_by_key(|(_, l)| l.given)
            .map(|(i, _)| i);
        match live.and_then(|i| self.live.remove(i)) {
            Some(live) => live,
            None => point.cloned().unwrap_or_default(),
        }
    }

    /// Unpacks up to block `number`, which is then the last of `blocks` unless the recording
    /// ends before.
    fn unpack_to<B: AsRef<[u8]>, E>(
        &mut self,
        number: u64,
        read: &mut impl FnMut(u64) -> Result<Option<B>, E>,
    ) -> Result<(), E> {
        let mut gunzip = self.nearest(number);
        let full = loop {
            let at = gunzip.given / BLOCK as u64;
            self.remember(&gunzip, at);
            let block = self.block(&mut gunzip, read)?;
            let full = block.len() == BLOCK;
            if !full {
                self.end = Some(gunzip.given);
            }
            if self.blocks.len() == KEPT {
                self.blocks.pop_front();
            }
            self.blocks.retain(|(n, _)| *n != at);
            self.blocks.push_back((at, block));
            if at == number || !full {
                break full;
            }
        };
        if full {
            if self.live.len() == MOST_LIVE {
                self.live.pop_front();
            }
            self.live.push_back(gunzip);
        }
        Ok(())
    }

    /// Keeps a copy of `gunzip`, which is at block `at`, now and then.
    fn remember(&mut self, gunzip: &Gunzip, at: u64) {
        self.spacing = self.spacing.max(SPACING);
        let due = self.points.last().is_none_or(|p| p.given < gunzip.given);
        if !due || at == 0 || !at.is_multiple_of(self.spacing) {
            return;
        }
        if self.points.len() == MOST_POINTS {
            self.spacing *= 2;
            let spacing = self.spacing * BLOCK as u64;
            self.points.retain(|p| p.given.is_multiple_of(spacing));
            if !at.is_multiple_of(self.spacing) {
                return;
            }
        }
        self.points.push(gunzip.clone());
    }

    /// The next block; shorter at the end.
    fn block<B: AsRef<[u8]>, E>(
        &mut self,
        gunzip: &mut Gunzip,
        read: &mut impl FnMut(u64) -> Result<Option<B>, E>,
    ) -> Result<Vec<u8>, E> {
        let mut block = vec![0; BLOCK];
        let mut n = 0;
        while n < BLOCK {
            let Some(input) = read(gunzip.taken)? else {
                let spoiled = gunzip.finish();
                self.spoiled = self.spoiled.take().or(spoiled);
                break;
            };
            match gunzip.unpack(input.as_ref(), &mut block[n..]) {
                Ok((_, given)) => n += given,
                Err(spoiled) => {
                    self.spoiled = self.spoiled.take().or(Some(spoiled));
                    break;
                }
            }
        }
        block.truncate(n);
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec;
    use proptest::prelude::*;

    fn gzip(bytes: &[u8], level: u8, flags: u8) -> Vec<u8> {
        let mut out = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        if flags & 4 != 0 {
            out.extend([3, 0, 7, 7, 7]);
        }
        for text in [8, 16] {
            if flags & text != 0 {
                out.extend(b"session.xdf\0");
            }
        }
        if flags & 2 != 0 {
            out.extend([1, 2]);
        }
        out.extend(compress_to_vec(bytes, level));
        out.extend(crc32fast::hash(bytes).to_le_bytes());
        out.extend((bytes.len() as u32).to_le_bytes());
        out
    }

    /// Something that neither compresses to nothing nor stays as it is.
    fn text(n: usize) -> Vec<u8> {
        let mut state = 7u32;
        let mut byte = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..n).map(|_| byte()).collect()
    }

    /// All that comes when `packed` is fed in pieces.
    fn fed(packed: &[u8], piece: usize) -> (Vec<u8>, Option<Spoiled>) {
        let (mut unpacker, mut out, mut wrong) = (Unpacker::default(), Vec::new(), None);
        for piece in packed.chunks(piece) {
            let sink = |_, bytes: &[u8]| {
                out.extend_from_slice(bytes);
                Ok::<(), ()>(())
            };
            let result = unpacker.feed(piece, sink, |s| wrong = Some(s));
            assert_eq!(result, Ok(()));
        }
        let (rest, spoiled) = unpacker.finish();
        out.extend(rest);
        (out, wrong.or(spoiled))
    }

    /// All that is read from `unzipped` in steps, from `at` on.
    fn read(unzipped: &mut Unzipped, packed: &[u8], mut at: u64, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < most {
            let input = |at: u64| {
                let rest = packed.get(at as usize..).filter(|r| !r.is_empty());
                Ok::<_, ()>(rest.map(|r| &r[..r.len().min(50_000)]))
            };
            let Some(bytes) = unzipped.read(at, input).expect("no error") else {
                break;
            };
            at += bytes.len() as u64;
            out.extend(bytes);
        }
        out.truncate(most);
        out
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let bytes = text(300_000);
        for flags in [0, 2, 4, 8, 16, 31] {
            for piece in [1, 7, 70_000] {
                let packed = gzip(&bytes, 6, flags);
                assert!(packed.len() < bytes.len());
                assert!(
                    fed(&packed, piece) == (bytes.clone(), None),
                    "{flags} {piece}"
                );
            }
        }
        // Parts one after the other, and padding.
        let (a, b) = bytes.split_at(70_001);
        let packed = [gzip(a, 1, 0), gzip(b, 9, 8), gzip(b"", 6, 0), vec![0; 512]].concat();
        assert!(fed(&packed, 999) == (bytes.clone(), None));
        // What is not compressed is given as it is.
        for plain in [&b"XDF:"[..], b"X", b"\x1f", b"", b"\x1fX"] {
            assert_eq!(fed(plain, 1), (plain.to_vec(), None));
        }
        assert!(holds_xdf(&gzip(b"XDF:\x01\x02", 6, 8)));
        assert!(holds_xdf(
            &gzip(&[b"XDF:".to_vec(), bytes].concat(), 6, 0)[..200]
        ));
        assert!(!holds_xdf(&gzip(b"PK", 6, 0)) && !holds_xdf(b"XDF:") && !holds_xdf(b""));
    }

    #[test]
    fn any_place_can_be_read() {
        let bytes = text(9 << 20);
        let packed = gzip(&bytes, 6, 0);
        let mut unzipped = Unzipped::default();
        let mut at = 1u64;
        for _ in 0..40 {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let from = (at >> 33) % bytes.len() as u64;
            let found = read(&mut unzipped, &packed, from, 100_000);
            let wanted = &bytes[from as usize..bytes.len().min(from as usize + 100_000)];
            assert!(found == wanted, "{from}");
        }
        assert!(read(&mut unzipped, &packed, 0, usize::MAX) == bytes);
        let end = bytes.len() as u64;
        assert!(read(&mut unzipped, &packed, end, 1).is_empty());
        assert!(read(&mut unzipped, &packed, u64::MAX, 1).is_empty());
        assert_eq!(unzipped.spoiled(), None);
    }

    #[test]
    fn memory_is_bounded_whatever_comes_out() {
        let zeros = vec![0; 200 << 20];
        let packed = gzip(&zeros, 6, 0);
        assert!(packed.len() < 300_000, "{}", packed.len());
        let mut unzipped = Unzipped::default();
        let input = |at: u64| {
            let rest = packed.get(at as usize..).filter(|r| !r.is_empty());
            Ok::<_, ()>(rest.map(|r| &r[..r.len().min(BLOCK)]))
        };
        let mut at = 0;
        while let Some(bytes) = unzipped.read(at, input).expect("no error") {
            assert!(bytes.len() <= BLOCK && bytes.iter().all(|b| *b == 0));
            at += bytes.len() as u64;
            assert!(unzipped.blocks.len() <= KEPT && unzipped.live.len() <= MOST_LIVE);
            assert!(unzipped.points.len() <= MOST_POINTS);
        }
        assert_eq!(at, zeros.len() as u64);
        // What is kept of a longer one is thinned out.
        let mut many = Unzipped::default();
        for at in 1..2000 {
            let gunzip = Gunzip {
                given: at * SPACING * BLOCK as u64,
                ..Gunzip::default()
            };
            many.remember(&gunzip, at * SPACING);
        }
        let last = many.points.last().map(|p| p.given / BLOCK as u64);
        assert!(last.is_some_and(|l| l > 1900 * SPACING), "{last:?}");
        assert!(many.points.len() > MOST_POINTS / 3);
        assert!(many.points.len() <= MOST_POINTS);
    }

    #[test]
    fn damage_is_told_and_what_was_before_is_given() {
        let bytes = text(400_000);
        let packed = gzip(&bytes, 6, 8);
        // Cut off.
        for cut in [3, 15, 1000, packed.len() / 2, packed.len() - 3] {
            let (out, wrong) = fed(&packed[..cut], 4096);
            let wrong = wrong.expect("told");
            assert!(wrong.what.contains("cut off"), "{wrong:?}");
            assert_eq!(wrong.at, cut as u64);
            assert!(bytes.starts_with(&out));
            assert!(out.len() + 200_000 > bytes.len() * cut / packed.len());
            let mut unzipped = Unzipped::default();
            assert!(read(&mut unzipped, &packed[..cut], 0, usize::MAX) == out);
            assert_eq!(unzipped.spoiled(), Some(&wrong));
        }
        // Garbage in the middle.
        let mut spoilt = packed.clone();
        spoilt[packed.len() / 2..][..64].fill(0xff);
        let (out, wrong) = fed(&spoilt, 4096);
        assert!(wrong.is_some_and(|w| w.at > packed.len() as u64 / 3));
        assert!(out.len() > bytes.len() / 3 && bytes.starts_with(&out[..bytes.len() / 3]));
        // Another checksum; something after the end.
        let mut other = packed.clone();
        let n = other.len();
        other[n - 6] ^= 1;
        let (out, wrong) = fed(&other, 1 << 20);
        assert!(out == bytes);
        assert!(wrong.is_some_and(|w| w.what.contains("checksum")));
        let (out, wrong) = fed(&[&packed[..], b"PK"].concat(), 1 << 20);
        assert!(out == bytes);
        assert!(wrong.is_some_and(|w| w.what.contains("beginning")));
        // A header without an end.
        let mut endless = vec![0x1f, 0x8b, 8, 8];
        endless.resize(1 << 20, b'x');
        let (out, wrong) = fed(&endless, 4096);
        assert!(out.is_empty());
        assert!(wrong.is_some_and(|w| w.what.contains("does not end")));
    }

    proptest! {
        #[test]
        fn nothing_hangs_or_panics(
            at in prop::collection::vec((0..3000usize, any::<u8>()), 0..6),
            cut in 0..3000usize,
            piece in 1..400usize,
        ) {
            let mut packed = gzip(&text(5000), 6, 12);
            for (at, byte) in at {
                let n = packed.len();
                packed[at % n] = byte;
            }
            packed.truncate(cut);
            let (out, _) = fed(&packed, piece);
            if is_gzip(&packed) == Some(true) {
                let mut unzipped = Unzipped::default();
                prop_assert_eq!(read(&mut unzipped, &packed, 0, usize::MAX), out);
            }
        }
    }
}
