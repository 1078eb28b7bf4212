// SPDX-License-Identifier: MPL-2.0
//! A sender that is killed over and over and comes back with another clock each time.

mod lsl_support;

use lsl_support::{Line, Peer, Seen, hermetic, numbers, python, skip};
use std::process::{Command, Stdio};

const RESTARTS: u32 = 20;
const RATE: f64 = 100.0;

/// What this process has: threads, and resident memory in kB.
fn resources() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).expect(name);
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse().expect("a number")
    };
    (field("Threads:"), field("VmRSS:"))
}

#[test]
fn twenty_restarts_with_twenty_clocks() {
    if hermetic().is_none() {
        return;
    }
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let monotonic = |offset: i64| -> Vec<String> {
        let words = ["unshare", "-T", "--monotonic"].map(String::from);
        let last = ["--fork", "--kill-child"].map(String::from);
        words
            .into_iter()
            .chain([offset.to_string()])
            .chain(last)
            .collect()
    };
    let possible = Command::new("unshare")
        .args(&monotonic(1)[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !possible {
        return skip("no time namespaces here (unshare -T)");
    }

    let line = Line::new("stream-name=lazarus source-id=lazarus");
    line.play();
    let mut before: Option<(usize, usize)> = None;
    let mut worst = 0f64;
    for n in 0..=RESTARTS {
        // Forwards and back, by seconds and by hours.
        let offset = i64::from(n % 2) * 40_000 + i64::from(n) * 7;
        let words = monotonic(offset);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut peer = Peer::pylsl(
            &python,
            &words,
            &[
                "lazarus",
                "--rate",
                "100",
                "--chunk",
                "2",
                "--source-id",
                "lazarus",
            ],
        );
        let t0 = peer.number("start", "t0") - offset as f64;
        // Not before: the last of the old sender's samples may come out after its loss.
        line.forget();
        line.until("samples", |l| l.bytes().len() >= 80 * 4);
        if n > 0 {
            line.until("the news of the clock", |l| {
                l.elements("lsl-clock-reset").len() == n as usize
            });
        }
        peer.kill();
        line.until("the loss", |l| l.elements("lsl-lost").len() as u32 > n);

        let mut samples = 0;
        for s in line.seen() {
            let Seen::Buffer { pts, data, .. } = s else {
                continue;
            };
            for (i, value) in numbers(&data, f32::from_le_bytes).into_iter().enumerate() {
                let truth = line.running_time(t0 + f64::from(value) / RATE);
                let time = pts as f64 + i as f64 * 1e9 / RATE;
                let error = (time - truth as f64).abs() / 1e6;
                assert!(error < 5.0, "restart {n}, sample {value}: {error} ms");
                worst = worst.max(error);
                samples += 1;
            }
        }
        assert!(samples >= 80, "restart {n}: {samples}");
        // Each event once, not a second time later.
        let count = |name: &str| line.elements(name).len() as u32;
        assert_eq!(count("lsl-connected"), 1);
        assert_eq!(count("lsl-lost"), n + 1);
        assert_eq!(count("lsl-recovered"), n);
        assert_eq!(count("lsl-clock-reset"), n);
        assert_eq!(line.stat::<u64>("resets"), u64::from(n));
        assert_eq!(line.stat::<u64>("losses"), u64::from(n + 1));
        // What is bought once was bought by then.
        if n == 5 {
            before = Some(resources());
        }
    }
    let (threads, memory) = before.expect("measured");
    let (threads_now, memory_now) = resources();
    println!(
        "{RESTARTS} restarts: worst error {worst:.3} ms; threads {threads} -> {threads_now}, \
         memory {memory} -> {memory_now} kB in the last 15"
    );
    assert!(threads_now <= threads + 1, "{threads} to {threads_now}");
    assert!(memory_now < memory + 8192, "{memory} to {memory_now} kB");
    assert!(line.warnings().is_empty(), "{:?}", line.warnings());
}
