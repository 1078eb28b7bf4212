// SPDX-License-Identifier: MPL-2.0
//! Spoiled recordings, first through the parser and the look at timestamps, then through the
//! element. `scripts/hostile.sh` runs more of them.

mod hostile_support;
mod lsl_support;
#[path = "xdf_support/outcome.rs"]
mod outcome;
#[path = "xdf_support/player.rs"]
mod player;
#[path = "xdf_support/spoil.rs"]
mod spoil;
mod xdf_support;

use gst::prelude::*;
use hostile_support::memory::{most, process};
use hostile_support::{keeping, random, rounds};
use player::{PULL, PUSH, Player, SINK, session};
use spoil::{everything, seeds, spoil};
use std::time::{Duration, Instant};

/// For the parser: a few seconds.
const PARSED: usize = 20_000;
/// For the element: each time a pipeline is made and played.
const PLAYED: usize = 300;

fn files() -> Vec<Vec<u8>> {
    let mut files: Vec<_> = seeds().into_iter().map(|(_, data)| data).collect();
    files.extend([1, 4, 8].map(|width| everything(width).bytes));
    files
}

#[test]
fn random_damage_neither_panics_nor_depends_on_the_pieces() {
    let rounds = rounds("GSTMVP_HOSTILE_PARSED", PARSED);
    let files = files();
    let mut random = random();
    let (mut read, mut largest, mut longest) = (0, 0, Duration::ZERO);
    for round in 0..rounds {
        let mut bytes = files[round % files.len()].clone();
        spoil(&mut bytes, &mut random);
        let pieces = [1, 7, 40, 500, 4000][random(5)];
        let begun = Instant::now();
        let (items, held) = keeping("xdf-finding", round, &bytes, || {
            most(|| outcome::check(&bytes, || 1 + random(pieces)))
        });
        read += items;
        largest = largest.max(held);
        longest = longest.max(begun.elapsed());
        // Four readings are held and compared, with the timestamps of each.
        assert!(
            held < 2_000_000 + 200 * bytes.len() as u64,
            "round {round}: {held} bytes for a file of {}",
            bytes.len()
        );
    }
    println!("{rounds} recordings, {largest} bytes and {longest:?} at most");
    // Damage is not all that was read.
    assert!(read > 5 * rounds, "{read}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

/// Plays spoiled recordings; every third is paused first and sought in.
fn play_spoiled(between: &str, usual: usize) {
    let rounds = rounds("GSTMVP_HOSTILE_PLAYED", usual);
    let mut files = files();
    files.push(session(3).bytes);
    let mut random = random();
    let (mut ended, mut refused, mut longest) = (0, 0, Duration::ZERO);
    let mut before = (0, 0);
    let file = tempfile::Builder::new()
        .suffix(".xdf")
        .tempfile()
        .expect("file");
    for round in 0..rounds {
        // What is made once is there after some rounds.
        if round == rounds / 5 {
            before = process();
        }
        let mut bytes = files[round % files.len()].clone();
        spoil(&mut bytes, &mut random);
        std::fs::write(file.path(), &bytes).expect("write");
        let to = (round % 3 == 0).then(|| random(4_000_000_000) as u64);
        let begun = Instant::now();
        let told = keeping("xdfdemux-finding", round, &bytes, || {
            let player = Player::new(file.path(), between, SINK);
            if let Some(to) = to {
                let _ = player.pipeline.set_state(gst::State::Paused);
                let _ = player.pipeline.state(gst::ClockTime::from_mseconds(200));
                // Refused in push mode, and where there is nothing to play.
                let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
                let to = gst::ClockTime::from_nseconds(to);
                let _ = player.pipeline.seek_simple(flags, to);
            }
            player.play()
        });
        match told {
            Ok(_) => ended += 1,
            Err(e) => {
                assert!(!e.to_lowercase().contains("panic"), "round {round}: {e}");
                assert!(e.len() > 20, "round {round}: {e}");
                refused += 1;
            }
        }
        longest = longest.max(begun.elapsed());
    }
    let after = process();
    println!(
        "{rounds} recordings: {ended} played to the end, {refused} refused; {longest:?} at most; \
         RSS {} -> {} kB, threads {} -> {}",
        before.0, after.0, before.1, after.1
    );
    assert!(ended > rounds / 2, "{ended} of {rounds}");
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    assert!(
        after.0 - before.0 < 24_000,
        "RSS {} -> {} kB",
        before.0,
        after.0
    );
    // The other test of this file plays at the same time.
    assert!(
        after.1 - before.1 < 24,
        "threads {} -> {}",
        before.1,
        after.1
    );
}

#[test]
fn the_demuxer_ends_whatever_the_file() {
    play_spoiled(PULL, PLAYED);
}

#[test]
fn the_demuxer_ends_whatever_is_pushed() {
    play_spoiled(PUSH, PLAYED);
}
