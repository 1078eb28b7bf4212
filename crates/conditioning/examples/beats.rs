// SPDX-License-Identifier: MPL-2.0
//! The beats of a recording, for comparisons with other programs: `beats ecg|ppg RATE [FILE]`
//! reads one value a line and prints `beat SECONDS CONFIDENCE` for each beat and `rate SECONDS BPM`
//! (or `none`) once a second, as each was known at that time.

use conditioning::{BeatDetector, HeartRate, HeartSignal};
use std::io::{BufWriter, Read, Write};

fn main() -> Result<(), String> {
    let usage = "usage: beats ecg|ppg RATE [FILE]: one value a line, NaN for a missing one";
    let mut arguments = std::env::args().skip(1);
    let signal = match arguments.next().as_deref() {
        Some("ecg") => HeartSignal::Ecg,
        Some("ppg") => HeartSignal::Ppg,
        _ => return Err(usage.into()),
    };
    let rate = arguments.next().and_then(|r| r.parse::<f64>().ok());
    let rate = rate.filter(|r| *r > 0.0).ok_or(usage)?;
    let mut text = String::new();
    match arguments.next() {
        Some(file) => {
            text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
        }
        None => {
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|e| format!("standard input: {e}"))?;
        }
    }
    let mut values = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let value: f64 = line
            .trim()
            .parse()
            .map_err(|_| format!("line {}: expected a number, found '{}'", i + 1, line.trim()))?;
        values.push(value);
    }

    let began = std::time::Instant::now();
    let mut detector = BeatDetector::new(signal, rate);
    let mut heart = HeartRate::new(30.0, 240.0, 10.0);
    let mut told = Vec::new();
    let mut next = 1.0;
    for (i, value) in values.iter().enumerate() {
        let at = i as f64 / rate;
        detector.push(conditioning::nanoseconds(at), *value, |beat| {
            told.push(format!(
                "beat {:.6} {:.3} {at:.3}",
                beat.time as f64 * 1e-9,
                beat.confidence
            ));
            heart.beat(beat);
        });
        if at >= next {
            let bpm = heart.rate(conditioning::nanoseconds(at));
            let bpm = bpm.map_or_else(|| "none".to_string(), |r| format!("{r:.3}"));
            told.push(format!("rate {next:.0} {bpm}"));
            next += 1.0;
        }
    }
    let took = began.elapsed().as_secs_f64();
    eprintln!(
        "{} samples in {took:.3} s: {:.0} samples a second, {:.0} times as fast as they come",
        values.len(),
        values.len() as f64 / took,
        values.len() as f64 / rate / took
    );
    let mut out = BufWriter::new(std::io::stdout());
    told.iter()
        .try_for_each(|line| writeln!(out, "{line}"))
        .map_err(|e| format!("standard output: {e}"))
}
