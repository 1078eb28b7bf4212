// SPDX-License-Identifier: MPL-2.0
//! The rules by which a stream is good, poor or bad.

use crate::report::{Fault, Stream, Verdict};

/// Shares by which the effective rate differs from the declared one.
const RATE_POOR: f64 = 0.02;
const RATE_BAD: f64 = 0.1;
/// Shares of the samples that are lost.
const LOST_POOR: f64 = 1e-3;
const LOST_BAD: f64 = 0.05;
/// Seconds of the longest gap.
const GAP_POOR: f64 = 0.5;
/// Mean jitter, seconds and sample intervals, both.
const JITTER_POOR: f64 = 0.02;
const JITTER_INTERVALS: f64 = 2.0;
/// Uncertainty of the clock, seconds.
const CLOCK_POOR: f64 = 5e-3;
const CLOCK_BAD: f64 = 0.1;

/// A fault of `stream`, with what helps.
pub(crate) fn fault(
    verdict: Verdict,
    kind: &'static str,
    what: String,
    remedy: &'static str,
) -> Fault {
    Fault {
        verdict,
        kind,
        what,
        remedy,
    }
}

/// Adds the faults that the figures of `stream` show.
pub(crate) fn judge(stream: &mut Stream) {
    let mut faults = Vec::new();
    rate(stream, &mut faults);
    gaps(stream, &mut faults);
    if stream.resets > 0 {
        faults.push(fault(
            Verdict::Poor,
            "reset",
            format!("the sender's clock was reset {} time(s)", stream.resets),
            "find out whether the sender or its computer was restarted; look at the times around it",
        ));
    }
    if stream.strays > 0 {
        faults.push(fault(
            Verdict::Poor,
            "stray",
            format!(
                "{} timestamp(s) lie far from their neighbours, or are no number: no other stream \
                 shares them",
                stream.strays
            ),
            "these samples are dropped on replay; let liblsl stamp the samples",
        ));
    }
    if let (Some(jitter), Some(hz)) = (stream.jitter, stream.declared())
        && jitter > JITTER_POOR.max(JITTER_INTERVALS / hz)
    {
        faults.push(fault(
            Verdict::Poor,
            "jitter",
            format!("timestamps jitter by {:.1} ms on the average", jitter * 1e3),
            "have the sender stamp samples by the device's own count, or use a cable",
        ));
    }
    if let Some(clock) = &stream.clock
        && clock.uncertainty > CLOCK_POOR
    {
        let verdict = match clock.uncertainty > CLOCK_BAD {
            true => Verdict::Bad,
            false => Verdict::Poor,
        };
        faults.push(fault(
            verdict,
            "clock",
            format!(
                "the clock offset is known to {:.1} ms only",
                clock.uncertainty * 1e3
            ),
            "use a cable instead of Wi-Fi, or a less busy network",
        ));
    }
    stream.faults.extend(faults);
}

fn rate(stream: &Stream, faults: &mut Vec<Fault>) {
    let (Some(declared), Some(effective)) = (stream.declared(), stream.effective) else {
        return;
    };
    let off = effective / declared - 1.0;
    if off.abs() <= RATE_POOR {
        return;
    }
    let verdict = match off.abs() > RATE_BAD {
        true => Verdict::Bad,
        false => Verdict::Poor,
    };
    faults.push(fault(
        verdict,
        "rate",
        format!(
            "{effective:.3} samples come a second, {:+.1} % from the declared {declared} Hz",
            off * 100.0
        ),
        "correct the rate in the sender's settings, or the device's",
    ));
}

fn gaps(stream: &Stream, faults: &mut Vec<Fault>) {
    let all = stream.samples.saturating_add(stream.lost);
    let share = stream.lost as f64 / all.max(1) as f64;
    if stream.gaps == 0 || share < LOST_POOR && stream.longest_gap < GAP_POOR {
        return;
    }
    let verdict = match share > LOST_BAD {
        true => Verdict::Bad,
        false => Verdict::Poor,
    };
    faults.push(fault(
        verdict,
        "gap",
        format!(
            "{} gap(s): {} samples ({:.2} %) are lost, {:.3} s in the longest",
            stream.gaps,
            stream.lost,
            share * 100.0,
            stream.longest_gap
        ),
        "bring the device nearer, charge its battery, close other programs on the sender's computer",
    ));
}
