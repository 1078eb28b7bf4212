// SPDX-License-Identifier: MPL-2.0
//! The XDF parser on anything: fed whole and in pieces it must not panic, and what it
//! reads must not depend on the pieces. The first byte chooses the size of the pieces.
//!
//!     RUSTC_BOOTSTRAP=1 cargo fuzz run xdf -- -max_total_time=60
#![no_main]

use gstmvp::xdf::{Causal, Corrector, Event, Parser, Values};
use libfuzzer_sys::fuzz_target;

#[derive(Default, PartialEq, Debug)]
struct Read {
    failed: bool,
    samples: usize,
    bytes: usize,
    headers: usize,
}

fn read(mut parser: Parser, data: &[u8], piece: usize) -> Read {
    let mut read = Read::default();
    let mut offsets = Vec::new();
    let mut causal = Causal::default();
    let mut stamps_seen = Vec::new();
    let mut parts = data.chunks(piece);
    let mut finished = false;
    loop {
        match parser.next_event() {
            Err(_) => {
                read.failed = true;
                return read;
            }
            Ok(Some(Event::Samples { stamps, values, .. })) => {
                let n = match &values {
                    Values::Numbers(n) => n.len(),
                    Values::Texts(t) => t.len(),
                };
                assert!(n >= stamps.len() && n % stamps.len() == 0);
                read.samples += stamps.len();
                read.bytes += n;
                stamps_seen.extend(stamps);
            }
            Ok(Some(Event::Offset(_, offset))) => {
                causal.measure(offset);
                if offsets.len() < 100 {
                    offsets.push(offset);
                }
            }
            Ok(Some(Event::Stream(..))) => read.headers += 1,
            Ok(Some(_)) => (),
            Ok(None) => match parts.next() {
                Some(part) => parser.feed(part),
                None if finished => break,
                None => {
                    finished = true;
                    parser.finish();
                }
            },
        }
    }
    let mut corrector = Corrector::new(&offsets);
    for stamp in stamps_seen.into_iter().take(1000) {
        corrector.correct(stamp);
        causal.correct(stamp);
    }
    read
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, data)) = data.split_first() else {
        return;
    };
    let whole = read(Parser::default(), data, data.len().max(1));
    let pieces = read(Parser::default(), data, usize::from(piece) + 1);
    assert_eq!(whole, pieces);
    read(Parser::headers_only(), data, usize::from(piece) + 1);
});
