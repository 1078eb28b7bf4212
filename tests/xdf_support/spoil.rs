// SPDX-License-Identifier: MPL-2.0
//! Recordings to spoil, and how they are spoiled.
#![allow(dead_code)]

use crate::xdf_support::{Sample, Xdf};

/// What the fuzz target starts from, and what it found: `cargo test --test xdf -- --ignored`
/// writes the seeds.
pub(crate) fn corpus() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/xdf")
}

/// Every kind of chunk and format, lengths of `width` bytes.
pub(crate) fn everything(width: u8) -> Xdf {
    let mut x = Xdf::new();
    x.width = width;
    let formats = ["int8", "int16", "int32", "int64", "float32", "double64"];
    for (i, format) in formats.iter().enumerate() {
        x.stream(i as u32, format, 2, format, 10.0);
    }
    x.stream(9, "words", 2, "string", 0.0);
    for (i, size) in [1, 2, 4, 8, 4, 8].into_iter().enumerate() {
        let value = |k: u8| Sample::Bytes((0..2 * size).map(|b| b as u8 * 3 + k).collect());
        x.samples(
            i as u32,
            &[
                (Some(100.0), value(0)),
                (None, value(50)),
                (Some(100.5), value(100)),
            ],
        );
        x.offset(i as u32, 100.0, 0.25 + i as f64);
    }
    x.samples(
        9,
        &[
            (Some(1.0), Sample::Texts(&["a", "Ünï"])),
            (Some(2.5), Sample::Texts(&["", &"long ".repeat(100)])),
        ],
    );
    x.boundary();
    x.chunk(77, b"of a later version");
    x.samples(0, &[(None, Sample::Bytes(vec![1, 2]))]);
    x.footer(9, 2);
    x
}

/// The seeds and findings of the fuzz target: the size of the pieces, and the bytes.
pub(crate) fn seeds() -> Vec<(usize, Vec<u8>)> {
    // Without the fuzz directory (a published crate) there is nothing to read.
    let mut paths: Vec<_> = std::fs::read_dir(corpus())
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let bytes = std::fs::read(path).expect("readable");
            let (&piece, data) = bytes.split_first()?;
            Some((usize::from(piece) + 1, data.to_vec()))
        })
        .collect()
}

/// Spoils a recording in some places: overwrites, inserts, cuts out, repeats, cuts off.
pub(crate) fn spoil(bytes: &mut Vec<u8>, random: &mut impl FnMut(usize) -> usize) {
    // Values that lengths and counts go wrong with.
    const ODD: [u8; 8] = [0, 1, 2, 4, 8, 127, 128, 255];
    const NUMBERS: [f64; 8] = [
        f64::NAN,
        f64::INFINITY,
        -1e308,
        5e-324,
        0.0,
        -1.0,
        1e9,
        4e12,
    ];
    for _ in 0..1 + random(5) {
        let at = random(bytes.len() + 1);
        let end = (at + 1 + random(40)).min(bytes.len());
        match random(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random(8),
            1 if at < bytes.len() => bytes[at] = ODD[random(ODD.len())],
            2 => drop(bytes.splice(at..at, (at..end).map(|_| random(256) as u8))),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            5 => bytes[at..end].fill(ODD[random(ODD.len())]),
            // As a timestamp or a value.
            7 if bytes.len() - at >= 8 => {
                let number = NUMBERS[random(NUMBERS.len())].to_le_bytes();
                bytes[at..at + 8].copy_from_slice(&number);
            }
            // Seldom: little is left to read.
            6 if random(4) == 0 => bytes.truncate(at),
            _ => (),
        }
    }
}
