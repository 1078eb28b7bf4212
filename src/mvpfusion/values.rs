// SPDX-License-Identifier: MPL-2.0
//! Samples of a pad that cannot be in the unit of its signal: they are masked, and the bus says
//! so, with the property that says what they are.

use super::imp::{CAT, MvpFusion};
use crate::physio::Stream;
use conditioning::{Plausibility, PlausibleReading, Verdict, plausible_units};
use gst::prelude::*;
use gst::subclass::prelude::*;

/// Nanoseconds for which a warning is not repeated: a loose electrode may come and go.
const QUIET: u64 = 60_000_000_000;

/// What the samples of one buffer said of their unit.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Running time (ns) and reading that made the samples implausible.
    implausible: Option<(u64, PlausibleReading)>,
    ambiguous: Option<PlausibleReading>,
    plausible_again: bool,
}

/// The value of a sample at running time `time` (ns), NaN while the samples are implausible. One
/// that `range`, that of the signal's checks, takes for saturated stays: it is counted as that.
pub(super) fn judged(
    check: Option<&mut Plausibility>,
    range: Option<[f64; 2]>,
    time: u64,
    value: f64,
    judged: &mut Judged,
) -> f64 {
    let Some(check) = check else {
        return value;
    };
    let before = check.is_implausible();
    if let Some(reading) = check.push(time, value) {
        match reading.verdict {
            Verdict::Implausible if !before => judged.implausible = Some((time, reading)),
            Verdict::Ambiguous => judged.ambiguous = Some(reading),
            _ => {}
        }
        judged.plausible_again |= before && reading.verdict != Verdict::Implausible;
    }
    let saturated = range.is_some_and(|[low, high]| value <= low || value >= high);
    match check.is_implausible() && !saturated {
        true => f64::NAN,
        false => value,
    }
}

impl MvpFusion {
    /// Says what the samples of a buffer said of their unit, unless it was said before.
    pub(super) fn tell_judged(
        &self,
        pad: &gst::Pad,
        name: &str,
        stream: &Stream,
        limits: [f64; 2],
        judged: Judged,
    ) {
        if judged.plausible_again {
            gst::info!(CAT, obj = pad, "the values of {name} fit its unit again");
        }
        let (mut implausible, mut ambiguous) = (judged.implausible, judged.ambiguous);
        self.with_physio_pad(name, |physio| {
            let told = &mut physio.told;
            implausible = implausible.filter(|(time, _)| {
                told.implausible
                    .is_none_or(|last| time.saturating_sub(last) >= QUIET)
            });
            if let Some((time, _)) = implausible {
                told.implausible = Some(time);
            }
            ambiguous = ambiguous.filter(|_| !std::mem::replace(&mut told.ambiguous, true));
        });
        let element = self.obj().name();
        let pad_name = pad.name();
        if let Some((_, reading)) = implausible {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Format,
                (
                    "pad {pad_name}: {} Until the values fit, {name} is masked and the rest goes on. \
                     Nothing is converted on a guess. {}",
                    found(stream, limits, &reading),
                    remedy(&pad_name, &element, stream, &reading)
                )
            );
        }
        if let Some(reading) = ambiguous {
            let other = plausible_units(reading.median);
            gst::element_imp_warning!(
                self,
                gst::StreamError::Format,
                (
                    "pad {pad_name}: the stream declares no unit that is known, and the median of \
                     its values is {:.3}; that is little for skin conductance in uS, and can be {}. It is \
                     taken as uS. Say which it is: {pad_name}::unit=uS or {pad_name}::unit={} at the \
                     element {element}",
                    reading.median,
                    other.join(" or "),
                    other.first().unwrap_or(&"MOhm")
                )
            );
        }
    }
}

/// What was found and what is expected.
fn found(stream: &Stream, [low, high]: [f64; 2], reading: &PlausibleReading) -> String {
    let median = reading.median;
    let median = match median.abs() {
        m if m == 0.0 || (0.001..100_000.0).contains(&m) => format!("{median:.3}"),
        _ => format!("{median:e}"),
    };
    let unit = match (stream.has_known_unit(), &stream.unit) {
        (true, _) => " uS, as the stream or the pad's properties declare them".to_string(),
        (false, Some(unit)) => format!(", in the stream's unit '{unit}', which is not known"),
        (false, None) => ", and the stream declares no unit".to_string(),
    };
    format!(
        "the values cannot be skin conductance in uS: their median over 2 s is {median}{unit}; \
         expected {low} to {high} uS."
    )
}

/// The properties that say what the values are.
fn remedy(pad: &str, element: &str, stream: &Stream, reading: &PlausibleReading) -> String {
    let mut ways = Vec::new();
    if reading.median < 1.0 {
        ways.push("see that the electrodes are on the skin".to_string());
    }
    let known = stream.has_known_unit();
    let units = plausible_units(reading.median);
    // With a unit that is declared, and so converted, the median is not the stream's number.
    if let Some(first) = units.first().filter(|_| !known) {
        let others = match units[1..].join(" or ") {
            others if others.is_empty() => String::new(),
            others => format!(" (or {others})"),
        };
        ways.push(format!(
            "if they are in {first}, set {pad}::unit={first}{others}"
        ));
    }
    if reading.whole || known {
        ways.push(format!(
            "if they are raw counts, set {pad}::device=bitalino, bitalino-revolution or \
             biosignalsplux, or {pad}::adc-bits, {pad}::scale, {pad}::offset and {pad}::unit"
        ));
    }
    if known {
        ways.push(format!("if the declared unit is wrong, set {pad}::unit"));
    } else if reading.median > 1.0 {
        ways.push(format!(
            "if they are in uS all the same, set {pad}::unit=uS"
        ));
    }
    let text = ways.join("; ");
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!(
        "{}{} (properties of the pad, as set at the element {element})",
        first.unwrap_or_default(),
        letters.as_str()
    )
}
