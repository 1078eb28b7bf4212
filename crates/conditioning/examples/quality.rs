// SPDX-License-Identifier: MPL-2.0
//! Reads a recording from standard input and writes its quality twice a second.
//!
//! `quality KIND RATE`: `ecg`, `ppg` or `eda`; Hz. The input is one little-endian double for each
//! sample. A line of the output: seconds, quality or `-`, reason or `-`.

use conditioning::quality::{QualityMeter, SignalKind};
use std::io::{Read as _, Write as _};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, rate] = &arguments[..] else {
        return Err("expected: quality KIND RATE".into());
    };
    let rate: f64 = rate.parse()?;
    let mut meter = QualityMeter::new(SignalKind::of(kind), rate, None);
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut next = 0.5;
    for (i, value) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let seconds = i as f64 / rate;
        let time = conditioning::nanoseconds(seconds);
        meter.push(time, f64::from_le_bytes(*value));
        if seconds >= next {
            next += 0.5;
            let reading = meter.reading(time);
            let quality = reading.quality.map_or("-".into(), |q| format!("{q:.4}"));
            let reason = reading.reason.map_or("-", |r| r.as_str());
            writeln!(out, "{seconds:.3} {quality} {reason}")?;
        }
    }
    Ok(())
}
