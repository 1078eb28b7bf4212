// SPDX-License-Identifier: MPL-2.0
//! A manifest is a file from somebody else: whatever its numbers are, it is refused or its
//! buffers stay within what docs/bundle.md says.

#[path = "hostile_support/memory.rs"]
mod memory;

use memory::most;
use mvp::{Bundle, Inputs};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::path::{Path, PathBuf};

const BUDGET: u64 = 256_000_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture")
}

fn manifest() -> String {
    std::fs::read_to_string(fixture().join("mvp.toml")).expect("the fixture")
}

/// Opens a bundle with this manifest and uses its inputs; the error, or "".
fn open(manifest: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("mvp.toml"), manifest).expect("writable");
    std::fs::write(dir.path().join("MODEL_CARD.md"), "card").expect("writable");
    let (bundle, used) = most(|| Bundle::open(dir.path()));
    assert!(used < BUDGET / 2, "{used} bytes to open it");
    let bundle = match bundle {
        Ok(bundle) => bundle,
        Err(e) => return e.to_string(),
    };
    assert!(bundle.memory() <= BUDGET, "{}", bundle.memory());
    let (inputs, used) = most(|| Inputs::new(&bundle));
    let names = bundle.video().units.len() as u64 * 100;
    assert!(
        used <= bundle.memory() + names + 100_000,
        "{used} bytes held, {} told",
        bundle.memory()
    );
    let ((), used) = most(|| {
        for name in inputs.names() {
            let mut track = inputs.signal(name).expect("a track");
            for rate in [0.0, 64.0] {
                track.configure(rate, None);
                // Beats, a gap, and what no filter can hold.
                for i in 1..200u64 {
                    let far = if i < 150 { 0 } else { 40_000_000_000 };
                    let value = if i == 100 { f64::MAX } else { (i % 50) as f64 };
                    track.push(i * 15_625_000 + far, value);
                }
                track.complete(60_000_000_000);
            }
        }
        let mut video = inputs.video();
        let row = vec![0.5; video.units().len()];
        video.push(1_000_000_000, 1.0, &row);
        video.push(30_000_000_000, 1.0, &row);
    });
    assert!(used < BUDGET, "{used} bytes in use");
    String::new()
}

#[test]
fn the_fixture_itself_is_accepted() {
    assert_eq!(open(&manifest()), "");
}

/// 17 kB that once asked for 35 GB.
#[test]
fn a_small_manifest_cannot_ask_for_all_memory() {
    let text = manifest();
    let (from, to) = (
        text.find("units = [").expect("units"),
        text.find("]\nencoder"),
    );
    let units: Vec<String> = (0..2000).map(|i| format!("\"u{i}\"")).collect();
    let text = format!(
        "{}units = [{}{}",
        &text[..from],
        units.join(","),
        &text[to.expect("]")..]
    );
    let text = text
        .replacen("rate = 5.0", "rate = 240.0", 1)
        .replacen("duration = 60.0", "duration = 600.0", 1)
        .replacen("hop = 1.0", "hop = 600.0", 1)
        .replacen("chunk = 1.0", "chunk = 600.0", 1);
    let error = open(&text);
    for want in [
        "mvp.toml",
        "[video]",
        "2000 values at 240 Hz",
        "at most 256 MB",
        "found ",
    ] {
        assert!(error.contains(want), "'{want}' is not in: {error}");
    }
}

#[test]
fn a_hostile_text_is_told_by_field() {
    let long = "a".repeat(2000);
    for (from, to, wants) in [
        (
            "unknown = \"",
            "unknown = \"\\u0000",
            &["outputs.labels.unknown", "\\u{0}"][..],
        ),
        (
            "name = \"eda\"",
            "name = \"e\\nda\"",
            &["signal[0].name", "\\u{a}"],
        ),
        (
            "version = \"",
            &format!("version = \"{long}"),
            &["version", "1000 bytes", "20"],
        ),
    ] {
        let text = manifest();
        assert!(text.contains(from), "{from}");
        let error = open(&text.replacen(from, to, 1));
        for want in wants.iter().chain(&["mvp.toml"]) {
            assert!(error.contains(want), "'{want}' is not in: {error}");
        }
    }
}

#[test]
fn a_hostile_number_is_told_by_field_with_expected_and_found() {
    for (from, to, wants) in [
        (
            "chunk = 1.0",
            "chunk = 1e-10",
            &["[window]", "chunk", "0.01 to 600", "1e-10"][..],
        ),
        (
            "chunk = 1.0",
            "chunk = 5e-324",
            &["chunk", "0.01 to 600", "5e-324"],
        ),
        (
            "chunk = 1.0",
            "chunk = nan",
            &["chunk", "0.01 to 600", "NaN"],
        ),
        (
            "chunk = 1.0",
            "chunk = -inf",
            &["chunk", "0.01 to 600", "-inf"],
        ),
        ("chunk = 1.0", "chunk = 60.0", &["hop / chunk", "1 or more"]),
        ("hop = 1.0", "hop = 1e-12", &["hop", "0.01 to 600", "1e-12"]),
        ("hop = 1.0", "hop = 1e300", &["hop", "0.01 to 600"]),
        (
            "duration = 60.0",
            "duration = 1e-300",
            &["duration", "0.01 to 600"],
        ),
        (
            "duration = 60.0",
            "duration = inf",
            &["duration", "0.01 to 600", "inf"],
        ),
        ("rate = 5.0", "rate = 1e-300", &["[video]", "rate", "240"]),
        (
            "rate = 5.0",
            "rate = 0.01",
            &["chunk × rate", "1 or more", "0.01"],
        ),
        ("rate = 4.0", "rate = 1e-300", &["'eda'", "rate", "10000"]),
        ("rate = 4.0", "rate = 1e300", &["'eda'", "rate", "10000"]),
        ("context = 1.0", "context = 1e300", &["context", "0 to 60"]),
        ("context = 1.0", "context = nan", &["context", "0 to 60"]),
        ("tokens = 1", "tokens = 1001", &["tokens", "1000", "1001"]),
        ("width = 32", "width = 4097", &["width", "4096", "4097"]),
        (
            "order = 2",
            "order = 9223372036854775807",
            &["order", "1 to 8"],
        ),
        (
            "cutoff = ",
            "cutoff = 1e-200 #",
            &["cutoff", "0.001 to 10000", "1e-200"],
        ),
        ("cutoff = ", "cutoff = nan #", &["cutoff", "0.001 to 10000"]),
        ("warm-up = ", "warm-up = 1e300 #", &["warm-up", "3600"]),
        ("min-std = ", "min-std = 1e-320 #", &["min-std", "1e-12"]),
    ] {
        let text = manifest();
        assert!(text.contains(from), "{from}");
        // The rest of an inline table goes where the number stood.
        let text = match to.strip_suffix(" #") {
            Some(to) => {
                let at = text.find(from).expect("there");
                let rest = &text[at + from.len()..];
                let end = rest.find([',', ' ', '}']).expect("a table");
                format!("{}{to}{}", &text[..at], &rest[end..])
            }
            None => text.replacen(from, to, 1),
        };
        let error = open(&text);
        assert!(error.contains("mvp.toml"), "{to}: {error}");
        for want in wants {
            assert!(error.contains(want), "{to}: '{want}' is not in: {error}");
        }
    }
}

#[test]
fn large_within_each_bound_is_refused_for_the_sum() {
    // 60 tokens of 4096 numbers in 600 chunks.
    let text = manifest()
        .replace("tokens = 1", "tokens = 60")
        .replacen("width = 32", "width = 4096", 1)
        .replacen("duration = 60.0", "duration = 600.0", 1);
    let error = open(&text);
    for want in ["tokens", "width 4096", "at most 256 MB", "found "] {
        assert!(error.contains(want), "'{want}' is not in: {error}");
    }
}

#[test]
fn too_many_of_anything_is_told() {
    let text = manifest();
    let filters = format!(
        "filters = [{}",
        "{ type = \"log\", offset = 1.0 }, ".repeat(17)
    );
    let classes: Vec<String> = (0..1001).map(|i| format!("\"c{i}\"")).collect();
    let signal = text.find("[[signal]]").expect("signals");
    let more: String = (0..65)
        .map(|i| {
            format!(
                "[[signal]]\nname = \"s{i}\"\nrate = 4.0\nmax-gap = 1.0\nchecks = {{ flat = 1.0 }}\n\
                 normalisation = {{ type = \"none\" }}\n"
            )
        })
        .collect();
    for (text, wants) in [
        (
            text.replacen("filters = [", &filters, 1),
            ["filters", "at most 16"],
        ),
        (
            text.replacen(
                "[outputs]\n",
                &format!("[outputs]\nclasses = [{}]\n", classes.join(",")),
                1,
            ),
            ["classes", "at most 1000, found 1001"],
        ),
        (
            format!("{}{more}{}", &text[..signal], &text[signal..]),
            ["[[signal]]", "at most 64, found"],
        ),
        (
            format!("{}{}", "a = [".repeat(100_000), text),
            ["mvp.toml", ""],
        ),
    ] {
        let error = open(&text);
        for want in wants {
            assert!(error.contains(want), "'{want}' is not in: {error}");
        }
    }
}

/// The places of all numbers in the fixture's manifest.
fn numbers(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("= ") {
        let from = at + 2;
        let number = |c: char| c.is_ascii_digit() || ".-".contains(c);
        let length = text[from..].find(|c| !number(c)).unwrap_or(0);
        if length > 0 {
            found.push((from, from + length));
        }
    }
    found
}

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "8",
    "60",
    "64",
    "240",
    "600",
    "1000",
    "4096",
    "9223372036854775807",
    "-1",
    "0.0",
    "-0.0",
    "5e-324",
    "1e-310",
    "1e-10",
    "0.001",
    "0.01",
    "0.1",
    "0.25",
    "0.3333333333333333",
    "0.5",
    "1.0",
    "4.0",
    "30.0",
    "60.0",
    "240.0",
    "600.0",
    "10000.0",
    "1e9",
    "1e19",
    "1e300",
    "inf",
    "-inf",
    "nan",
];

#[test]
fn no_manifest_panics_or_takes_more_than_the_budget() {
    let index = any::<prop::sample::Index>;
    let window = (
        prop::sample::select(vec!["0.01", "0.1", "0.25", "1.0", "30.0", "60.0", "600.0"]),
        prop::sample::select(vec!["60.0", "600.0"]),
        1usize..3000,
        prop::sample::select(vec!["5.0", "100.0", "240.0"]),
        prop::sample::select(vec!["32", "4096"]),
    );
    let changes = prop::collection::vec((index(), index()), 0..4);
    let mut runner = TestRunner::new(Config {
        cases: 600,
        failure_persistence: None,
        ..Config::default()
    });
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let result = runner.run(&(prop::option::of(window), changes), |(window, changes)| {
        let mut text = manifest();
        if let Some((chunk, duration, units, rate, width)) = window {
            let more: String = (0..units).map(|i| format!("\"u{i}\", ")).collect();
            text = text
                .replacen("chunk = 1.0", &format!("chunk = {chunk}"), 1)
                .replacen("hop = 1.0", &format!("hop = {duration}"), 1)
                .replacen("duration = 60.0", &format!("duration = {duration}"), 1)
                .replacen("rate = 5.0", &format!("rate = {rate}"), 1)
                .replace("rate = 4.0", "rate = 100.0")
                .replace("width = 32", &format!("width = {width}"))
                .replacen("units = [", &format!("units = [{more}"), 1);
        }
        for (place, number) in changes {
            let places = numbers(&text);
            let (from, to) = places[place.index(places.len())];
            text.replace_range(from..to, NUMBERS[number.index(NUMBERS.len())]);
        }
        let count = if open(&text).is_empty() {
            &accepted
        } else {
            &refused
        };
        count.set(count.get() + 1);
        Ok(())
    });
    println!("{} accepted, {} refused", accepted.get(), refused.get());
    result.expect("no panic and within the budget");
    assert!(accepted.get() > 60 && refused.get() > 60);
}
