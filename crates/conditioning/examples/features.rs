// SPDX-License-Identifier: MPL-2.0
//! The features of a recording, or what they cost.
//!
//!     features ecg|ppg|eda RATE < VALUES      a value per line; EDA in µS
//!     features bench                          ECG at 1 kHz, PPG at 100 Hz and EDA at 32 Hz
//!
//! Prints a line for each beat and each skin conductance response, and the features every 5 s:
//! `beat TIME INTERVAL NORMAL`, `scr ONSET PEAK AMPLITUDE`, `features TIME QUALITY` and the
//! values in the order of `Features::NAMES`; times in seconds, `nan` for what is not known.

use conditioning::features::{Event, FeatureLog, Features, Physiology};
use conditioning::quality::SignalKind;
use std::io::{BufRead, Write};

fn seconds(ns: u64) -> f64 {
    ns as f64 * 1e-9
}

fn recording(kind: &str, rate: f64) -> std::io::Result<()> {
    let mut body = Physiology::new(SignalKind::of(kind), rate, None);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let every = (rate * 5.0).round() as u64;
    for (i, line) in std::io::stdin().lock().lines().enumerate() {
        let value: f64 = line?.trim().parse().unwrap_or(f64::NAN);
        let time = (i as f64 * 1e9 / rate).round() as u64;
        let mut result = Ok(());
        body.push(time, value, |event| {
            result = match event {
                Event::Beat(b) => writeln!(
                    out,
                    "beat {:.4} {:.4} {}",
                    seconds(b.time),
                    b.interval.unwrap_or(f64::NAN),
                    u8::from(b.normal)
                ),
                Event::Scr(s) => writeln!(
                    out,
                    "scr {:.3} {:.3} {:.4}",
                    seconds(s.onset),
                    seconds(s.peak),
                    s.amplitude
                ),
            };
        });
        result?;
        if (i as u64 + 1).is_multiple_of(every) {
            let features = body.features(time);
            write!(out, "features {:.3}", seconds(time))?;
            for value in [features.quality].into_iter().chain(features.values()) {
                write!(out, " {:.5}", value.unwrap_or(f64::NAN))?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// A heartbeat, mV, `t` seconds after the last.
fn beat(t: f64) -> f64 {
    let wave = |at: f64, width: f64| (-((t - at) / width).powi(2)).exp();
    0.1 * wave(0.1, 0.03) + wave(0.25, 0.012) - 0.2 * wave(0.28, 0.012) + 0.3 * wave(0.5, 0.05)
}

/// Computes ten minutes of all three sensors and says what share of a core that is.
fn bench() {
    let minutes = 10.0;
    let mut whole = 0.0;
    for (kind, rate) in [("ecg", 1000.0), ("ppg", 100.0), ("eda", 32.0)] {
        let mut log = FeatureLog::new(Physiology::new(SignalKind::of(kind), rate, None));
        let count = (minutes * 60.0 * rate) as usize;
        let values: Vec<f64> = (0..count)
            .map(|i| {
                let t = i as f64 / rate;
                let phase = (t + 0.03 * (t * 1.6).sin()) % 0.85;
                let noise = 0.01 * (t * 1234.5).sin();
                match kind {
                    "ecg" => beat(phase) + noise,
                    "ppg" => (-((phase - 0.2) / 0.1).powi(2)).exp() + 0.1 * noise,
                    _ => 4.0 + 0.3 * (-((t % 12.0 - 4.0) / 1.5).powi(2)).exp() + 0.1 * noise,
                }
            })
            .collect();
        let begin = std::time::Instant::now();
        let (mut events, mut last) = (0u32, Features::default());
        for (i, value) in values.iter().enumerate() {
            log.push((i as f64 * 1e9 / rate) as u64, *value, |_| events += 1);
            last = log.before(u64::MAX).copied().unwrap_or(last);
        }
        let share = begin.elapsed().as_secs_f64() / (minutes * 60.0);
        whole += share;
        println!(
            "{kind} {rate} Hz: {:.4} % of a core, {events} events, {last:?}",
            share * 100.0
        );
    }
    println!(
        "all: {:.4} % of a core, {:.0} times real time",
        whole * 100.0,
        1.0 / whole
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["bench"] => {
            bench();
            Ok(())
        }
        [kind @ ("ecg" | "ppg" | "eda"), rate] => match rate.parse() {
            Ok(rate) if rate > 0.0 => recording(kind, rate),
            _ => Err(std::io::Error::other(format!(
                "no rate: {rate}; expected Hz"
            ))),
        },
        _ => Err(std::io::Error::other(
            "usage: features ecg|ppg|eda RATE < VALUES, or features bench",
        )),
    };
    if let Err(e) = result {
        eprintln!("error: {e}");
        std::process::exit(1);
    }
}
