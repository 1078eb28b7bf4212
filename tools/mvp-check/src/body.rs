// SPDX-License-Identifier: MPL-2.0
//! What a sensor tells of the body, and how good its signal is.

use crate::report::{Body, Fault, Verdict};
use crate::verdict::fault;
use conditioning::declared::{self, Declared};
use conditioning::features::{Physiology, USABLE};
use conditioning::quality::{Reason, SignalKind};
use conditioning::{Conversion, UnitSpec};
use stream_info::{Description, Format};

/// Below this a signal is of no use.
const USELESS: f64 = 0.2;
/// Signals that are known, as bundles call them.
const SIGNALS: [&str; 3] = ["ecg", "ppg", "eda"];

/// One channel of a stream, measured as `physiofeatures` does.
pub(crate) struct Sensor {
    /// Which channel.
    pub(crate) channel: usize,
    physiology: Physiology,
    conversion: Conversion,
    /// Why its values are not in a unit of the signal.
    unit: Option<String>,
}

impl Sensor {
    /// The sensor that type and labels of a stream name; `None`: none of those that are known.
    pub(crate) fn of(d: &Description) -> Option<Self> {
        let format = d.format.filter(|f| *f != Format::Text)?;
        let labelled = SIGNALS.iter().find_map(|signal| {
            let named = |label: &String| declared::says(label, signal);
            Some((*signal, d.labels.iter().position(named)?))
        });
        let typed = || {
            let named = |signal: &&&str| declared::says(&d.stream_type, signal);
            SIGNALS.iter().find(named).map(|signal| (*signal, 0))
        };
        let (signal, channel) = labelled.or_else(typed)?;
        let told = Declared {
            stream_type: &d.stream_type,
            label: d.labels.get(channel).map_or("", String::as_str),
            ..Declared::default()
        };
        if told.contradiction(signal).is_some() {
            return None;
        }
        let unit = d.units.get(channel).map_or("", String::as_str);
        let conversion = Conversion::new(signal, unit, &UnitSpec::default());
        let full_scale = match format {
            Format::I8 => Some([f64::from(i8::MIN), f64::from(i8::MAX)]),
            Format::I16 => Some([f64::from(i16::MIN), f64::from(i16::MAX)]),
            Format::I32 => Some([f64::from(i32::MIN), f64::from(i32::MAX)]),
            Format::I64 => Some([i64::MIN as f64, i64::MAX as f64]),
            _ => None,
        };
        let unit = conversion.as_ref().err().cloned();
        let rate = if d.rate.is_regular() {
            d.rate.hz()
        } else {
            0.0
        };
        let conversion = conversion.unwrap_or(Conversion::NONE);
        let scale = conversion.full_scale(full_scale);
        Some(Self {
            channel,
            physiology: Physiology::new(SignalKind::of(signal), rate, scale),
            conversion,
            unit,
        })
    }

    /// Samples are missing before the next.
    pub(crate) fn cut(&mut self) {
        self.physiology.cut();
    }

    /// Takes a sample; `time`: seconds.
    pub(crate) fn push(&mut self, time: f64, value: f64) {
        let value = self.conversion.apply(value);
        self.physiology.push((time * 1e9) as u64, value, |_| ());
    }

    /// What is known at `now`, seconds.
    pub(crate) fn body(&mut self, now: f64) -> Body {
        let features = self.physiology.features((now * 1e9) as u64);
        // A level in another unit than µS says nothing.
        let scl = features.scl.filter(|_| self.unit.is_none());
        Body {
            quality: features.quality,
            reason: features.reason,
            hr: features.hr,
            scl,
            unit: self.unit.clone(),
        }
    }
}

fn remedy(reason: Option<Reason>) -> &'static str {
    match reason {
        Some(Reason::Detached | Reason::NoSignal | Reason::Flat) => {
            "look at electrodes, cable and battery"
        }
        Some(Reason::Clipped | Reason::OutOfRange | Reason::NotFinite) => {
            "lower the amplifier's gain, or look at electrodes and unit"
        }
        Some(Reason::Hum) => "move mains cables away, press the electrodes on, use the battery",
        Some(Reason::Motion) => "let the arm rest; fasten the sensor",
        _ => "press the sensor on, or moisten the electrodes",
    }
}

/// What is wrong with the signal.
pub(crate) fn judge(body: &Body) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(why) = &body.unit {
        faults.push(fault(
            Verdict::Poor,
            "unit",
            why.clone(),
            "have the sender declare the unit that its values have",
        ));
    }
    if let Some(quality) = body.quality.filter(|q| *q < USABLE) {
        let verdict = match quality < USELESS {
            true => Verdict::Bad,
            false => Verdict::Poor,
        };
        let why = body.reason.map_or("bad", Reason::as_str);
        faults.push(fault(
            verdict,
            "quality",
            format!("the signal's quality is {quality:.2}: {why}"),
            remedy(body.reason),
        ));
    }
    faults
}
