// SPDX-License-Identifier: MPL-2.0
//! The XDF parser on recordings that are written here.

#[path = "xdf_support/outcome.rs"]
mod outcome;
#[path = "xdf_support/spoil.rs"]
mod spoil;
mod xdf_support;

use spoil::{corpus, everything, seeds};
use stream_info::Format;
use xdf::{Error, Event, Parser, Values};
use xdf_support::{BOUNDARY, Sample, Xdf};

/// All events, the recording fed in pieces of `piece` bytes.
fn events(bytes: &[u8], piece: usize) -> Result<Vec<Event>, Error> {
    let mut parser = Parser::default();
    let mut all = Vec::new();
    for part in bytes.chunks(piece) {
        parser.feed(part);
        while let Some(event) = parser.next_event()? {
            all.push(event);
        }
    }
    parser.finish();
    while let Some(event) = parser.next_event()? {
        all.push(event);
    }
    assert_eq!(parser.next_event()?, None);
    Ok(all)
}

/// Samples of one stream: stamps and values, however they were batched.
fn samples(events: &[Event], wanted: u32) -> (Vec<f64>, Vec<u8>, Vec<String>) {
    let (mut all, mut numbers, mut texts) = (vec![], vec![], vec![]);
    for event in events {
        if let Event::Samples { id, stamps, values } = event
            && *id == wanted
        {
            all.extend(stamps);
            match values {
                Values::Numbers(n) => numbers.extend(n),
                Values::Texts(t) => texts.extend(t.clone()),
            }
        }
    }
    (all, numbers, texts)
}

fn damages(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .filter_map(|e| match e {
            Event::Damage { what, .. } => Some(what.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn every_chunk_and_format_is_read_in_pieces_of_any_size() {
    for width in [1, 4, 8] {
        let x = everything(width);
        let whole = events(&x.bytes, usize::MAX).expect("XDF");
        assert_eq!(damages(&whole), [""; 0]);
        let expected = [
            Format::I8,
            Format::I16,
            Format::I32,
            Format::I64,
            Format::F32,
            Format::F64,
        ];
        for (i, format) in expected.into_iter().enumerate() {
            let header = whole.iter().find_map(|e| match e {
                Event::Stream(id, h) if *id == i as u32 => Some(h),
                _ => None,
            });
            let d = &header.expect("a header").description;
            assert_eq!((d.format, d.channels), (Some(format), 2));
            let (stamps, numbers, _) = samples(&whole, i as u32);
            assert_eq!(stamps[..3], [100.0, 100.0 + 1.0 / 10.0, 100.5]);
            let bytes: Vec<u8> = [0, 50, 100]
                .iter()
                .flat_map(|k| (0..2 * format.size()).map(move |b| b as u8 * 3 + k))
                .collect();
            assert_eq!(numbers[..bytes.len()], bytes);
        }
        // The period goes on from the last stamp of the chunk before.
        assert_eq!(samples(&whole, 0).0[3], 100.5 + 1.0 / 10.0);
        let (stamps, _, texts) = samples(&whole, 9);
        assert_eq!(stamps, [1.0, 2.5]);
        assert_eq!(texts, ["a", "Ünï", "", &"long ".repeat(100)]);
        let offsets = whole
            .iter()
            .filter(|e| matches!(e, Event::Offset(3, o) if o.time == 100.0 && o.value == 3.25));
        assert_eq!(offsets.count(), 1);
        assert!(whole.contains(&Event::Boundary));
        assert!(
            matches!(whole.last(), Some(Event::Footer(9, xml)) if xml.contains("sample_count"))
        );
        for piece in [1, 3, 64] {
            let again = events(&x.bytes, piece).expect("XDF");
            for id in [0, 1, 2, 3, 4, 5, 9] {
                assert_eq!(samples(&again, id), samples(&whole, id), "{piece}");
            }
            assert_eq!(damages(&again), [""; 0]);
        }
    }
}

#[test]
fn a_recording_cut_anywhere_gives_what_came_before_the_cut() {
    let mut x = everything(1);
    while x.bytes.len() < 5000 {
        x.floats(4, &[]);
        x.samples(
            9,
            &[(Some(x.bytes.len() as f64), Sample::Texts(&["x", "y"]))],
        );
        x.boundary();
    }
    let whole = events(&x.bytes, usize::MAX).expect("XDF");
    let counts = |all: &[Event]| [0, 1, 2, 3, 4, 5, 9].map(|id| samples(all, id).0.len());
    let mut before = [0; 7];
    for cut in 0..=x.bytes.len().min(4200) {
        let some = match events(&x.bytes[..cut], 97) {
            Ok(some) => some,
            Err(e) => {
                assert!(cut < 4 && e == Error::Empty, "{cut}: {e}");
                continue;
            }
        };
        assert!(damages(&some).len() <= 1, "{cut}");
        let now = counts(&some);
        assert!(
            now.iter().zip(before).all(|(n, b)| *n >= b),
            "{cut}: {now:?} {before:?}"
        );
        before = now;
        for id in [0, 1, 2, 3, 4, 5, 9] {
            let (part, all) = (samples(&some, id), samples(&whole, id));
            assert!(
                all.0.starts_with(&part.0) && all.1.starts_with(&part.1),
                "{cut}"
            );
            assert!(all.2.starts_with(&part.2), "{cut}");
        }
    }
    assert!(before[6] > 10, "{before:?}");
}

#[test]
fn reading_goes_on_at_the_next_boundary() {
    let mut x = Xdf::new();
    x.stream(1, "a", 1, "float32", 10.0);
    x.floats(1, &[(1.0, 1.0)]);
    let hurt = x.bytes.len();
    x.floats(1, &[(2.0, 2.0)]);
    x.boundary();
    // Without a stamp of its own nobody knows when it was.
    x.samples(1, &[(None, Sample::Bytes(9f32.to_le_bytes().to_vec()))]);
    x.floats(1, &[(3.0, 3.0), (3.1, 4.0)]);
    for (at, value) in [
        (hurt, 7),
        (hurt, 200),
        (hurt + 1, 3),
        (hurt + 1, 250),
        (hurt + 9, 5),
    ] {
        let mut bytes = x.bytes.clone();
        bytes[at] = value;
        let all = events(&bytes, 11).expect("XDF");
        assert_eq!(damages(&all).len(), 1, "{all:?}");
        let mut stamps = samples(&all, 1).0;
        // A wrong length comes to light behind the sample.
        stamps.retain(|s| *s != 2.0);
        assert_eq!(stamps, [1.0, 3.0, 3.1], "{at} {value}: {all:?}");
    }
    let mut x = Xdf::new();
    x.bytes.extend([9, 9, 9]);
    x.bytes.extend(&BOUNDARY[..9]);
    x.boundary();
    x.stream(1, "a", 1, "float32", 10.0);
    x.floats(1, &[(1.0, 1.0)]);
    assert_eq!(samples(&events(&x.bytes, 1).expect("XDF"), 1).0, [1.0]);
}

#[test]
fn what_is_wrong_is_told() {
    assert_eq!(events(b"", 1), Err(Error::Empty));
    let gzip = events(&[0x1f, 0x8b, 8, 0, 0], 9).expect_err("no XDF");
    assert!(gzip.to_string().contains("gzip"), "{gzip}");
    let riff = events(b"RIFF----WAVE", 2).expect_err("no XDF");
    assert!(riff.to_string().contains("'XDF:'"), "{riff}");
    let mut x = Xdf::new();
    x.floats(7, &[(1.0, 1.0)]);
    x.floats(7, &[(2.0, 1.0)]);
    let all = events(&x.bytes, 9).expect("XDF");
    let told = damages(&all);
    assert!(told.len() == 1 && told[0].contains("stream 7"), "{told:?}");
    let mut x = Xdf::new();
    x.stream(3, "odd", 1, "float16", 10.0);
    x.floats(3, &[(1.0, 1.0)]);
    let told = damages(&events(&x.bytes, 9).expect("XDF"));
    assert!(told.len() == 1 && told[0].contains("'float16'"), "{told:?}");
}

#[test]
fn memory_does_not_grow_with_the_recording() {
    // One sample chunk of 1 GiB, of which 256 MiB are read, and a skipped one.
    let mut x = Xdf::new();
    x.stream(1, "a", 32, "float32", 1000.0);
    let sample = [&[0u8][..], &[1; 128]].concat();
    let count = (1u64 << 30) / sample.len() as u64;
    let content = count * sample.len() as u64 + 9 + 4 + 2;
    x.bytes.push(8);
    x.bytes.extend(content.to_le_bytes());
    x.bytes.extend(3u16.to_le_bytes());
    x.bytes.extend(1u32.to_le_bytes());
    x.bytes.push(8);
    x.bytes.extend(count.to_le_bytes());
    let mut parser = Parser::default();
    parser.feed(&x.bytes);
    let block = sample.repeat(500);
    let (mut seen, mut fed, mut held) = (0, 0, 0);
    while fed < 256 << 20 {
        while let Some(event) = parser.next_event().expect("XDF") {
            if let Event::Samples { stamps, .. } = event {
                seen += stamps.len();
            }
        }
        held = held.max(parser.held());
        parser.feed(&block);
        fed += block.len();
    }
    assert!(seen >= (fed / sample.len()) - 1000, "{seen}");
    assert!(held < 2 * block.len(), "{held} bytes held");

    let mut parser = Parser::headers_only();
    parser.feed(&x.bytes);
    while parser.next_event().expect("XDF").is_some() {}
    // But for the last byte, which shows whether the recording reaches so far.
    assert_eq!(parser.jump(), content - 2 - 4 - 9 - 1);
    parser.feed(&[0]);
    let mut rest = Xdf {
        width: 1,
        bytes: vec![],
    };
    rest.offset(1, 1.0, 2.0);
    parser.feed(&rest.bytes);
    assert!(matches!(parser.next_event(), Ok(Some(Event::Offset(1, _)))));
}

#[test]
fn reading_begins_again_at_a_mark() {
    let mut x = Xdf::new();
    x.stream(1, "a", 1, "float32", 10.0);
    let mut marks = Vec::new();
    for n in 0..20 {
        let first = (n == 0).then_some(5.0);
        x.samples(
            1,
            &[(first, Sample::Bytes((n as f32).to_le_bytes().to_vec()))],
        );
        marks.push(x.bytes.len() as u64);
    }
    let mut parser = Parser::default();
    parser.feed(&x.bytes);
    let mut found = Vec::new();
    let mut all = Vec::new();
    while let Some(event) = parser.next_event().expect("XDF") {
        if let Event::Samples { stamps, .. } = event {
            all.extend(stamps);
            found.extend(parser.mark());
        }
    }
    assert_eq!(found.iter().map(|m| m.at).collect::<Vec<_>>(), marks);
    parser.resume(&found[11]);
    parser.feed(&x.bytes[found[11].at as usize..]);
    let mut again = Vec::new();
    while let Some(Event::Samples { stamps, .. }) = parser.next_event().expect("XDF") {
        again.extend(stamps);
    }
    assert_eq!(again, all[12..]);
}

#[test]
#[ignore = "writes files into the source tree"]
fn write_the_seeds_of_the_corpus() {
    // The first byte is the size of the pieces, less one.
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(corpus().join(name), [&[16], bytes].concat()).expect("write");
    };
    for width in [1, 4, 8] {
        write(&format!("everything-{width}"), &everything(width).bytes);
    }
    let mut x = Xdf::new();
    x.stream(1, "a", 1, "float32", 10.0);
    x.floats(1, &[(1.0, 1.0)]);
    let hurt = x.bytes.len();
    x.floats(1, &[(2.0, 2.0)]);
    x.boundary();
    x.floats(1, &[(3.0, 3.0), (3.1, 4.0)]);
    x.bytes[hurt + 1] = 250;
    write("boundary", &x.bytes);
    write("empty", &Xdf::new().bytes);
}

#[test]
fn the_corpus_is_read() {
    let seeds = seeds();
    assert!(seeds.len() > 5 || !corpus().exists(), "{}", seeds.len());
    for (piece, data) in &seeds {
        outcome::check(data, || *piece);
    }
    println!("{} files", seeds.len());
}
