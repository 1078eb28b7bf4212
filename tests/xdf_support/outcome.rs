// SPDX-License-Identifier: MPL-2.0
//! What a recording reads as, in a form that does not depend on the pieces it was fed in.
//! The tests and the fuzz target share it.

use std::collections::HashMap;
use std::sync::Arc;
use xdf::{Causal, Corrector, Error, Event, Examiner, Offset, Parser, Placer, Values};

#[derive(Debug, PartialEq)]
pub(crate) enum Item {
    /// Samples of one stream with nothing in between; how they were batched is left out.
    Samples {
        id: u32,
        /// Bits of the stamps: a stamp that is no number is equal to itself.
        stamps: Vec<u64>,
        numbers: Vec<u8>,
        texts: Vec<String>,
    },
    Other(Event),
}

/// Reads `data` with `parser`, in pieces whose sizes `piece` says; asks the parser after
/// each piece what need not be fed.
///
/// # Panics
/// When the parser does, or gives samples without values.
pub(crate) fn outcome(
    mut parser: Parser,
    data: &[u8],
    mut piece: impl FnMut() -> usize,
) -> (Vec<Item>, Option<Error>) {
    let mut items: Vec<Item> = Vec::new();
    let mut rest = data;
    let mut finished = false;
    loop {
        match parser.next_event() {
            Err(e) => return (items, Some(e)),
            Ok(Some(Event::Samples { id, stamps, values })) => {
                let (numbers, texts) = match values {
                    Values::Numbers(n) => (n, vec![]),
                    Values::Texts(t) => (vec![], t),
                };
                let n = numbers.len() + texts.len();
                assert!(n >= stamps.len() && n % stamps.len() == 0);
                let stamps = stamps.into_iter().map(f64::to_bits);
                match items.last_mut() {
                    Some(Item::Samples {
                        id: same,
                        stamps: s,
                        numbers: n,
                        texts: t,
                    }) if *same == id => {
                        s.extend(stamps);
                        n.extend(numbers);
                        t.extend(texts);
                    }
                    _ => items.push(Item::Samples {
                        id,
                        stamps: stamps.collect(),
                        numbers,
                        texts,
                    }),
                }
            }
            Ok(Some(other)) => items.push(Item::Other(other)),
            Ok(None) if !rest.is_empty() => {
                let past = usize::try_from(parser.jump()).unwrap_or(usize::MAX);
                rest = rest.get(past..).unwrap_or_default();
                let (now, later) =
                    rest.split_at(piece().clamp(1, rest.len().max(1)).min(rest.len()));
                parser.feed(now);
                rest = later;
            }
            Ok(None) if finished => return (items, None),
            Ok(None) => {
                finished = true;
                parser.finish();
            }
        }
    }
}

/// Asserts that `data` reads the same whole and in pieces, and that descriptions alone are
/// the same whether samples are fed or jumped over; then corrects the stamps by the clock
/// offsets that were read, whatever they are. Gives how many things were read.
///
/// # Panics
/// When the parser or a correction does, or when two ways of reading differ.
pub(crate) fn check(data: &[u8], mut piece: impl FnMut() -> usize) -> usize {
    let whole = outcome(Parser::default(), data, || usize::MAX);
    assert_eq!(whole, outcome(Parser::default(), data, &mut piece));
    let headers = outcome(Parser::headers_only(), data, || usize::MAX);
    assert_eq!(headers, outcome(Parser::headers_only(), data, &mut piece));

    let mut causal = Causal::default();
    let mut offsets = Vec::new();
    for item in &whole.0 {
        if let Item::Other(Event::Offset(_, offset)) = item
            && offsets.len() < 100
        {
            causal.measure(*offset);
            offsets.push(*offset);
        }
    }
    let mut corrector = Corrector::new(&offsets);
    for item in &whole.0 {
        if let Item::Samples { stamps, .. } = item {
            for stamp in stamps.iter().take(1000) {
                corrector.correct(f64::from_bits(*stamp));
                causal.correct(f64::from_bits(*stamp));
            }
        }
    }
    examine(&whole.0);
    whole.0.len()
}

/// Looks through the timestamps of every stream, as the demuxer does, and places each.
///
/// # Panics
/// When the look does, or when a placed timestamp is no number.
fn examine(items: &[Item]) {
    let mut offsets = HashMap::<u32, Vec<Offset>>::new();
    for item in items {
        if let Item::Other(Event::Offset(id, offset)) = item {
            offsets.entry(*id).or_default().push(*offset);
        }
    }
    let times = || offsets.values().flatten().map(|o| o.time + o.value);
    let span = times().reduce(f64::min).zip(times().reduce(f64::max));
    let mut looks = HashMap::new();
    let mut stamps = HashMap::<u32, Vec<f64>>::new();
    for item in items {
        match item {
            Item::Other(Event::Stream(id, header)) => {
                let rate = header.description.rate;
                let interval = rate.is_regular().then(|| 1.0 / rate.hz());
                let corrector = offsets.get(id).map(|o| Corrector::new(o));
                let corrector = corrector.unwrap_or_default();
                looks.insert(*id, Examiner::new(interval, corrector, span));
                stamps.remove(id);
            }
            Item::Other(Event::Offset(id, offset)) => {
                for (other, look) in &mut looks {
                    look.mark(*offset, other == id);
                }
            }
            Item::Samples { id, stamps: s, .. } => {
                let Some(look) = looks.get_mut(id) else {
                    continue;
                };
                for stamp in s.iter().map(|s| f64::from_bits(*s)) {
                    look.push(stamp);
                    stamps.entry(*id).or_default().push(stamp);
                }
            }
            Item::Other(_) => {}
        }
    }
    for (id, look) in looks {
        let examined = Arc::new(look.finish());
        let mut placer = Placer::new(examined.clone());
        for stamp in stamps.remove(&id).unwrap_or_default() {
            if let Some(stamp) = placer.take(stamp) {
                assert!(stamp.is_finite(), "{examined:?}");
                let _ = placer.time(stamp);
            }
        }
    }
}
