// SPDX-License-Identifier: MPL-2.0
//! The unit of a stream's values, and the exact way from there to the unit of a signal.

/// What a unit measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Siemens.
    Conductance,
    /// Ohm.
    Resistance,
    /// Volt.
    Voltage,
    /// Ampere.
    Current,
    /// Celsius and others.
    Temperature,
    /// Metres per second squared.
    Acceleration,
    /// Events in a time.
    Rate,
    /// Numbers of an analogue-to-digital converter, which have no unit.
    Counts,
}

impl Quantity {
    /// The name in texts for users.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conductance => "conductance",
            Self::Resistance => "resistance",
            Self::Voltage => "voltage",
            Self::Current => "current",
            Self::Temperature => "temperature",
            Self::Acceleration => "acceleration",
            Self::Rate => "rate",
            Self::Counts => "raw counts",
        }
    }

    /// Whether `signal` can be measured in it. Of signals that are not known, all can.
    fn suits(self, signal: &str) -> bool {
        match signal {
            "eda" => matches!(self, Self::Conductance | Self::Resistance),
            // Heartbeats are found at any gain.
            "ecg" => matches!(self, Self::Voltage | Self::Counts),
            "ppg" => matches!(self, Self::Voltage | Self::Current | Self::Counts),
            _ => true,
        }
    }
}

/// A unit: a quantity, and a power of ten of its unit in the SI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// What it measures.
    pub quantity: Quantity,
    /// -6 for µS, 3 for kOhm; 0 where the quantity is not converted.
    pub exponent: i32,
}

const MICROSIEMENS: Unit = Unit {
    quantity: Quantity::Conductance,
    exponent: -6,
};
const MILLIVOLT: Unit = Unit {
    quantity: Quantity::Voltage,
    exponent: -3,
};

impl Unit {
    /// Reads a unit as senders write it: `uS`, `µS`, `microsiemens`, `micro Siemens`, `kOhm`,
    /// `KΩ`, `mV`, `counts`. `None` for other texts, such as `a.u.` and `%`.
    ///
    /// Where upper and lower case make another unit, the case counts: `MOhm` is 10⁹ `mOhm`, and
    /// `s` is no unit of conductance.
    ///
    /// ```
    /// use conditioning::{Quantity, Unit};
    ///
    /// let unit = Unit::parse("kOhms").expect("a unit");
    /// assert_eq!((unit.quantity, unit.exponent), (Quantity::Resistance, 3));
    /// assert_eq!(Unit::parse("µS"), Unit::parse("Microsiemens"));
    /// assert_eq!(Unit::parse("a.u."), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        // The first is what UTF-8 looks like that was read as Latin-1.
        let text = text.replace("Âµ", "u").replace(['µ', 'μ'], "u");
        let text = text
            .trim()
            .trim_matches(['[', ']', '(', ')'])
            .replace(['Ω', 'Ω'], "ohm");
        let lower = text.to_lowercase();
        if let Some(quantity) = whole(&lower) {
            return Some(Self {
                quantity,
                exponent: 0,
            });
        }
        let text = text.replace([' ', '-', '_'], "");
        let lower = text.to_lowercase();
        for (word, quantity) in WORDS {
            // Lower case has other lengths than upper case only outside of ASCII.
            let prefix = lower.strip_suffix(word).and_then(|p| text.get(..p.len()));
            if let Some(exponent) = prefix.and_then(|p| power(p, *quantity)) {
                return Some(Self {
                    quantity: *quantity,
                    exponent,
                });
            }
        }
        let (prefix, quantity) = match text.char_indices().next_back()? {
            (at, 'S') => (&text[..at], Quantity::Conductance),
            (at, 'V' | 'v') => (&text[..at], Quantity::Voltage),
            (at, 'A') => (&text[..at], Quantity::Current),
            _ => return None,
        };
        // There is nothing on the body that is measured in thousands of these.
        let exponent = power(prefix, quantity).filter(|e| *e <= 0)?;
        Some(Self { quantity, exponent })
    }

    /// The unit that `signal` is conditioned in; `None` where any will do.
    pub fn of_signal(signal: &str) -> Option<Self> {
        match signal {
            "eda" => Some(MICROSIEMENS),
            "ecg" => Some(MILLIVOLT),
            _ => None,
        }
    }
}

/// Units as written out; the longer words first.
const WORDS: &[(&str, Quantity)] = &[
    ("siemens", Quantity::Conductance),
    ("siemen", Quantity::Conductance),
    ("mhos", Quantity::Conductance),
    ("mho", Quantity::Conductance),
    ("ohms", Quantity::Resistance),
    ("ohm", Quantity::Resistance),
    ("volts", Quantity::Voltage),
    ("volt", Quantity::Voltage),
    ("amperes", Quantity::Current),
    ("ampere", Quantity::Current),
    ("amps", Quantity::Current),
    ("amp", Quantity::Current),
];

/// Units that have no prefix, in lower case.
fn whole(text: &str) -> Option<Quantity> {
    Some(match text {
        "°c" | "degc" | "°f" | "degf" | "celsius" | "fahrenheit" | "kelvin" | "deg c" => {
            Quantity::Temperature
        }
        "degrees celsius" | "degree celsius" => Quantity::Temperature,
        "m/s2" | "m/s^2" | "m/s²" | "m/s/s" => Quantity::Acceleration,
        "bpm" | "beats/min" | "1/min" | "hz" => Quantity::Rate,
        "raw" | "raw data" | "raw counts" | "count" | "counts" | "adc" | "adc counts"
        | "adc units" | "adc value" | "adu" | "lsb" | "digits" | "digital" | "ticks" => {
            Quantity::Counts
        }
        _ => return None,
    })
}

/// The power of ten that `prefix` stands for.
fn power(prefix: &str, quantity: Quantity) -> Option<i32> {
    let symbol = match prefix {
        "" => Some(0),
        "p" => Some(-12),
        "n" => Some(-9),
        "u" | "U" => Some(-6),
        "m" => Some(-3),
        "k" | "K" => Some(3),
        "M" => Some(6),
        "G" => Some(9),
        _ => None,
    };
    let word = || match prefix.to_lowercase().as_str() {
        "pico" => Some(-12),
        "nano" => Some(-9),
        "micro" => Some(-6),
        "milli" => Some(-3),
        "kilo" => Some(3),
        "meg" | "mega" => Some(6),
        "giga" => Some(9),
        _ => None,
    };
    let large = quantity == Quantity::Resistance;
    symbol.or_else(word).filter(|e| large || *e <= 0)
}

/// A device whose maker publishes how its raw counts become a unit.
///
/// Sources: PLUX, data sheets of the sensors EDA and ECG of BITalino, BITalino (r)evolution and
/// biosignalsplux, and the function `raw_to_phy` of PLUX's package `biosignalsnotebooks`, which
/// has the same formulas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// BITalino of 2013, whose EDA sensor measures resistance: R = 1 - ADC / 2ⁿ in MOhm.
    Bitalino,
    /// BITalino (r)evolution.
    BitalinoRevolution,
    /// biosignalsplux. ECG with the gain 1019 of its present sensor; older ones have 1000.
    Biosignalsplux,
}

impl Device {
    /// The name in properties and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bitalino => "bitalino",
            Self::BitalinoRevolution => "bitalino-revolution",
            Self::Biosignalsplux => "biosignalsplux",
        }
    }

    /// The device of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Bitalino,
            Self::BitalinoRevolution,
            Self::Biosignalsplux,
        ];
        all.into_iter().find(|d| d.name() == name)
    }

    /// Bits of its converter, where the sender has no other setting.
    fn bits(self) -> u32 {
        match self {
            Self::Bitalino | Self::BitalinoRevolution => 10,
            Self::Biosignalsplux => 16,
        }
    }

    /// Scale and offset of ADC / 2ⁿ, and the unit that they give.
    fn transfer(self, signal: &str) -> Option<(f64, f64, Unit)> {
        let megohm = Unit {
            quantity: Quantity::Resistance,
            exponent: 6,
        };
        let microampere = Unit {
            quantity: Quantity::Current,
            exponent: -6,
        };
        Some(match (self, signal) {
            (Self::Bitalino, "eda") => (-1.0, 1.0, megohm),
            // 3.3 V / 0.132 V per µS.
            (Self::BitalinoRevolution, "eda") => (25.0, 0.0, MICROSIEMENS),
            // 3 V / 0.12 V per µS.
            (Self::Biosignalsplux, "eda") => (25.0, 0.0, MICROSIEMENS),
            // (ADC / 2ⁿ - 0.5) × 3.3 V / 1100.
            (Self::Bitalino | Self::BitalinoRevolution, "ecg") => (3.0, -1.5, MILLIVOLT),
            (Self::Biosignalsplux, "ecg") => (3.0 / 1.019, -1.5 / 1.019, MILLIVOLT),
            (Self::Biosignalsplux, "ppg") => (3.0 / 0.190060606, 0.0, microampere),
            _ => return None,
        })
    }
}

/// What a user says of a stream's values, where the stream says nothing or something wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UnitSpec {
    /// The unit, after `scale` and `offset`; `None`: the one that the stream declares.
    pub unit: Option<String>,
    /// Factor of the raw values.
    pub scale: Option<f64>,
    /// Added after `scale`.
    pub offset: Option<f64>,
    /// The values are counts from 0 to 2ⁿ - 1, which are divided by 2ⁿ before `scale`.
    pub adc_bits: Option<u32>,
    /// The values are raw counts of this device.
    pub device: Option<Device>,
}

impl UnitSpec {
    fn is_scaled(&self) -> bool {
        self.scale.is_some() || self.offset.is_some()
    }
}

/// The way from a stream's values to the unit of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conversion {
    /// 2ⁿ of raw counts.
    counts: Option<f64>,
    scale: f64,
    offset: f64,
    step: Step,
    known: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// Times a power of ten.
    Power(i32),
    /// A power of ten over the value: resistance to conductance.
    Reciprocal(i32),
}

impl Step {
    fn apply(self, value: f64) -> f64 {
        // Powers of ten up to 10²² are exact, so that the result is rounded once.
        let ten = |e: i32| 10f64.powi(e);
        match self {
            Self::Power(e) if e < 0 => value / ten(-e),
            Self::Power(e) => value * ten(e),
            Self::Reciprocal(e) if e < 0 => 1.0 / (value * ten(-e)),
            Self::Reciprocal(e) => ten(e) / value,
        }
    }
}

impl Conversion {
    /// Values are taken as they are, whatever they are.
    pub const NONE: Self = Self {
        counts: None,
        scale: 1.0,
        offset: 0.0,
        step: Step::Power(0),
        known: false,
    };

    /// How values of `signal` come from those of a stream that says it is in `declared`, which
    /// may be empty, with what the user says of it.
    ///
    /// ```
    /// use conditioning::{Conversion, UnitSpec};
    ///
    /// let conversion = Conversion::new("eda", "kOhm", &UnitSpec::default())?;
    /// assert_eq!(conversion.apply(200.0), 5.0);
    /// let wrong = Conversion::new("eda", "mV", &UnitSpec::default());
    /// assert!(wrong.expect_err("a voltage").contains("voltage"));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// What was found, and what is expected: the unit is none of the signal, or what the user
    /// says is contradictory.
    pub fn new(signal: &str, declared: &str, spec: &UnitSpec) -> Result<Self, String> {
        let of_stream = Unit::parse(declared);
        let target = Unit::of_signal(signal);
        let scale = finite("scale", spec.scale.unwrap_or(1.0))?;
        let offset = finite("offset", spec.offset.unwrap_or(0.0))?;
        if scale == 0.0 {
            return Err("scale is 0, which makes all values equal; expected another factor".into());
        }
        if spec.adc_bits.is_some_and(|n| !(1..=32).contains(&n)) {
            return Err(format!(
                "adc-bits is {}; expected 1 to 32",
                spec.adc_bits.unwrap_or_default()
            ));
        }
        let physical = of_stream.filter(|u| u.quantity != Quantity::Counts);
        if (spec.device.is_some() || spec.adc_bits.is_some())
            && spec.unit.is_none()
            && physical.is_some()
        {
            return Err(format!(
                "the stream says that it is in {declared} already; expected raw counts where device or \
                 adc-bits is set"
            ));
        }
        if let Some(device) = spec.device {
            return Self::of_device(device, signal, spec);
        }
        let unit = match &spec.unit {
            Some(text) => match Unit::parse(text) {
                None if target.is_some() => {
                    return Err(format!(
                        "unit is '{text}', which is not known; expected {}",
                        expected(signal)
                    ));
                }
                unit => unit,
            },
            // Without other words scale and offset give the unit of the signal.
            None if spec.is_scaled() => physical.or(target),
            None => of_stream,
        };
        let found = spec.unit.as_deref().unwrap_or(declared);
        if let Some(unit) = unit.filter(|u| !u.quantity.suits(signal)) {
            return Err(match unit.quantity {
                Quantity::Counts => format!(
                    "the stream is in {found}, raw counts of a converter; expected {}",
                    expected(signal)
                ),
                quantity => format!(
                    "the stream is in {found}, a unit of {}; expected {}",
                    quantity.name(),
                    expected(signal)
                ),
            });
        }
        if spec.adc_bits.is_some() && !spec.is_scaled() && target.is_some() {
            return Err(format!(
                "adc-bits alone does not say how counts become {}; expected scale and unit beside it, \
                 or device",
                expected(signal)
            ));
        }
        Ok(Self {
            counts: spec.adc_bits.map(|n| 2f64.powi(n as i32)),
            scale,
            offset,
            step: step(unit, target),
            known: unit.is_some(),
        })
    }

    fn of_device(device: Device, signal: &str, spec: &UnitSpec) -> Result<Self, String> {
        if spec.is_scaled() || spec.unit.is_some() {
            return Err(format!(
                "device={} holds its own scale, offset and unit; expected either it or those",
                device.name()
            ));
        }
        let (scale, offset, unit) = device.transfer(signal).ok_or_else(|| {
            let all = ["eda", "ecg", "ppg"];
            let has = all.into_iter().filter(|s| device.transfer(s).is_some());
            format!(
                "the maker of {} publishes no formula for {signal}; expected {}, or scale, offset, \
                 adc-bits and unit instead of device",
                device.name(),
                has.collect::<Vec<_>>().join(" or ")
            )
        })?;
        let bits = spec.adc_bits.unwrap_or_else(|| device.bits());
        Ok(Self {
            counts: Some(2f64.powi(bits as i32)),
            scale,
            offset,
            step: step(Some(unit), Unit::of_signal(signal)),
            known: true,
        })
    }

    /// Whether the unit is known, so that the values mean what they say.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Whether values come out as they went in.
    pub fn is_none(&self) -> bool {
        Self {
            known: false,
            ..*self
        } == Self::NONE
    }

    /// A value in the unit of the signal.
    pub fn apply(&self, value: f64) -> f64 {
        self.step.apply(self.scaled(value))
    }

    fn scaled(&self, value: f64) -> f64 {
        let value = match self.counts {
            Some(counts) => value / counts,
            None => value,
        };
        value * self.scale + self.offset
    }

    /// Lowest and highest value that the stream can have, in the unit of the signal. `format`:
    /// those of an integer sample format.
    pub fn full_scale(&self, format: Option<[f64; 2]>) -> Option<[f64; 2]> {
        let [a, b] = match self.counts {
            Some(counts) => [0.0, counts - 1.0],
            None => format?,
        };
        let (a, b) = (self.scaled(a), self.scaled(b));
        let (low, high) = (a.min(b), a.max(b));
        match self.step {
            Step::Power(_) => Some([self.step.apply(low), self.step.apply(high)]),
            // The largest resistance is the lowest conductance. There are none below 0.
            Step::Reciprocal(_) if high > 0.0 => Some([
                self.step.apply(high),
                if low > 0.0 {
                    self.step.apply(low)
                } else {
                    f64::INFINITY
                },
            ]),
            Step::Reciprocal(_) => None,
        }
    }

    /// The conversion in words, for the log.
    pub fn describe(&self) -> String {
        let mut text = match self.counts {
            Some(counts) => format!("counts / {counts}"),
            None => "values".into(),
        };
        if (self.scale, self.offset) != (1.0, 0.0) {
            text = format!("{text} × {} + {}", self.scale, self.offset);
        }
        match self.step {
            Step::Power(0) => text,
            Step::Power(e) => format!("{text}, × 10^{e}"),
            Step::Reciprocal(e) => format!("{text}, then 10^{e} over them"),
        }
    }
}

fn finite(name: &str, value: f64) -> Result<f64, String> {
    value
        .is_finite()
        .then_some(value)
        .ok_or_else(|| format!("{name} is {value}; expected a finite number"))
}

fn step(from: Option<Unit>, to: Option<Unit>) -> Step {
    match (from, to) {
        (Some(from), Some(to)) if from.quantity == to.quantity => {
            Step::Power(from.exponent - to.exponent)
        }
        (Some(from), Some(to))
            if (from.quantity, to.quantity) == (Quantity::Resistance, Quantity::Conductance) =>
        {
            Step::Reciprocal(-from.exponent - to.exponent)
        }
        _ => Step::Power(0),
    }
}

/// The units of `signal`, in words.
fn expected(signal: &str) -> &'static str {
    match signal {
        "eda" => "conductance (S, mS, uS, nS) or resistance (Ohm, kOhm, MOhm)",
        "ecg" => "a voltage (V, mV, uV)",
        _ => "a voltage, a current or no unit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Option<(Quantity, i32)> {
        Unit::parse(text).map(|u| (u.quantity, u.exponent))
    }

    #[test]
    fn usual_spellings_are_read() {
        use Quantity::*;
        for (exponent, quantity_, texts) in [
            (
                -6,
                Conductance,
                &[
                    "uS",
                    "µS",
                    "μS",
                    "ÂµS",
                    "US",
                    "microsiemens",
                    "MicroSiemens",
                    "micro-Siemens",
                    "micro siemens",
                    "µSiemens",
                    "umho",
                    "µmhos",
                    "[uS]",
                    " uS ",
                    "microS",
                ][..],
            ),
            (0, Conductance, &["S", "Siemens", "mho"]),
            (-3, Conductance, &["mS", "millisiemens", "mSiemens"]),
            (-9, Conductance, &["nS", "nanosiemens"]),
            (0, Resistance, &["Ohm", "ohms", "Ω", "Ω"]),
            (
                3,
                Resistance,
                &["kOhm", "kohms", "KOHM", "kΩ", "KΩ", "kilo ohm", "kiloOhms"],
            ),
            (6, Resistance, &["MOhm", "MΩ", "megaohm", "Mohms", "MegOhm"]),
            (-3, Resistance, &["mOhm", "milliohm"]),
            (
                -3,
                Voltage,
                &["mV", "mv", "millivolts", "milliVolt", "mVolts"],
            ),
            (-6, Voltage, &["uV", "µV", "UV", "uv", "microvolts"]),
            (0, Voltage, &["V", "v", "volts"]),
            (-9, Voltage, &["nV"]),
            (-6, Current, &["uA", "µA", "microamperes"]),
            (0, Counts, &["raw", "RAW", "counts", "ADC", "adc units"]),
            (0, Temperature, &["°C", "celsius", "degC"]),
            (0, Rate, &["bpm", "Hz"]),
        ] {
            for text in texts {
                assert_eq!(quantity(text), Some((quantity_, exponent)), "'{text}'");
            }
        }
    }

    #[test]
    fn other_texts_are_no_units() {
        for text in [
            "", " ", "s", "ms", "us", "a.u.", "%", "MV", "kS", "kV", "uS/cm", "Sv", "none", "µ",
            "n/a", "EDA", "data", "Ωm", "ÄS",
        ] {
            assert_eq!(quantity(text), None, "'{text}'");
        }
    }

    fn of(signal: &str, declared: &str) -> Conversion {
        let conversion = Conversion::new(signal, declared, &UnitSpec::default());
        conversion.unwrap_or_else(|e| panic!("{signal} in {declared}: {e}"))
    }

    #[test]
    fn the_same_conductance_in_any_unit() {
        for microsiemens in [0.05, 1.0, 5.123, 40.0] {
            for (unit, value) in [
                ("S", microsiemens / 1e6),
                ("mS", microsiemens / 1e3),
                ("uS", microsiemens),
                ("nS", microsiemens * 1e3),
                ("Ohm", 1e6 / microsiemens),
                ("kOhm", 1e3 / microsiemens),
                ("MOhm", 1.0 / microsiemens),
            ] {
                let got = of("eda", unit).apply(value);
                let error = (got / microsiemens - 1.0).abs();
                assert!(error < 4e-16, "{value} {unit}: {got} for {microsiemens}");
                assert!(of("eda", unit).is_known());
            }
        }
        for (unit, value) in [("V", 1.5e-3), ("mV", 1.5), ("uV", 1500.0), ("nV", 1.5e6)] {
            assert_eq!(of("ecg", unit).apply(value), 1.5, "{unit}");
        }
        assert!(of("eda", "uS").is_none());
    }

    #[test]
    fn what_has_no_known_unit_is_not_touched() {
        for (signal, declared) in [
            ("eda", ""),
            ("eda", "a.u."),
            ("ecg", ""),
            ("ppg", "counts"),
            ("ppg", "mV"),
            ("resp", "kOhm"),
        ] {
            let conversion = of(signal, declared);
            assert_eq!(conversion.apply(123.25), 123.25, "{signal} in {declared}");
            assert!(conversion.is_none());
        }
        assert!(!of("eda", "").is_known() && !of("eda", "a.u.").is_known());
    }

    #[test]
    fn dimensions_are_checked() {
        for (signal, declared, word) in [
            ("eda", "mV", "voltage"),
            ("eda", "raw", "raw counts"),
            ("eda", "celsius", "temperature"),
            ("ecg", "uS", "conductance"),
            ("ecg", "kOhm", "resistance"),
            ("ppg", "uS", "conductance"),
        ] {
            let e = Conversion::new(signal, declared, &UnitSpec::default()).expect_err(declared);
            for want in [declared, word, "expected"] {
                assert!(e.contains(want), "{want}: {e}");
            }
        }
    }

    fn spec(unit: &str, scale: f64, offset: f64) -> UnitSpec {
        UnitSpec {
            unit: Some(unit.to_string()).filter(|u| !u.is_empty()),
            scale: Some(scale).filter(|s| *s != 1.0),
            offset: Some(offset).filter(|o| *o != 0.0),
            ..UnitSpec::default()
        }
    }

    #[test]
    fn the_user_overrules_the_stream() {
        let apply = |declared: &str, spec: &UnitSpec, x: f64| {
            Conversion::new("eda", declared, spec).map(|c| c.apply(x))
        };
        assert_eq!(apply("", &spec("kOhm", 1.0, 0.0), 200.0), Ok(5.0));
        assert_eq!(apply("mV", &spec("nS", 1.0, 0.0), 2500.0), Ok(2.5));
        // 0.5 V is 0 and 1 V is 10 µS.
        assert_eq!(apply("V", &spec("uS", 20.0, -10.0), 0.75), Ok(5.0));
        assert_eq!(apply("raw", &spec("", 0.01, 0.0), 300.0), Ok(3.0));
        // A calibration within the stream's unit.
        assert_eq!(apply("nS", &spec("", 2.0, 0.0), 1000.0), Ok(2.0));
        let mut adc = spec("uS", 25.0, 0.0);
        adc.adc_bits = Some(12);
        assert_eq!(apply("", &adc, 2048.0), Ok(12.5));
        for (declared, spec, want) in [
            ("mV", spec("", 2.0, 0.0), "voltage"),
            ("", spec("furlong", 1.0, 0.0), "furlong"),
            ("", spec("", 0.0, 0.0), "scale"),
            ("", spec("", f64::NAN, 0.0), "scale"),
            ("", spec("", 1.0, f64::INFINITY), "offset"),
            (
                "",
                UnitSpec {
                    adc_bits: Some(10),
                    ..UnitSpec::default()
                },
                "adc-bits alone",
            ),
            (
                "",
                UnitSpec {
                    adc_bits: Some(40),
                    ..UnitSpec::default()
                },
                "1 to 32",
            ),
            (
                "",
                UnitSpec {
                    device: Some(Device::Bitalino),
                    scale: Some(2.0),
                    ..UnitSpec::default()
                },
                "either",
            ),
            (
                "uS",
                UnitSpec {
                    device: Some(Device::Bitalino),
                    ..UnitSpec::default()
                },
                "already",
            ),
        ] {
            let e = apply(declared, &spec, 1.0).expect_err(want);
            assert!(
                e.contains(want) && e.contains("expected") || want == "scale",
                "{e}"
            );
        }
    }

    #[test]
    fn counts_become_what_the_data_sheets_say() {
        let of = |device, signal: &str, bits: Option<u32>| {
            let spec = UnitSpec {
                device: Some(device),
                adc_bits: bits,
                ..UnitSpec::default()
            };
            Conversion::new(signal, "raw", &spec)
        };
        let near = |c: Result<Conversion, String>, counts: f64, want: f64| {
            let got = c.expect("published").apply(counts);
            assert!(
                (got - want).abs() < 1e-9 * want.abs().max(1.0),
                "{got} {want}"
            );
        };
        // Ranges of the data sheets: 0 to 25 µS, 1 MOhm at 0, -1.5 to 1.5 mV.
        near(of(Device::BitalinoRevolution, "eda", None), 0.0, 0.0);
        near(of(Device::BitalinoRevolution, "eda", None), 512.0, 12.5);
        near(of(Device::BitalinoRevolution, "eda", Some(6)), 32.0, 12.5);
        near(of(Device::Bitalino, "eda", None), 0.0, 1.0);
        near(of(Device::Bitalino, "eda", None), 768.0, 4.0);
        near(of(Device::Biosignalsplux, "eda", None), 32768.0, 12.5);
        near(of(Device::Biosignalsplux, "eda", Some(12)), 1024.0, 6.25);
        for device in [Device::Bitalino, Device::BitalinoRevolution] {
            near(of(device, "ecg", None), 0.0, -1.5);
            near(of(device, "ecg", None), 512.0, 0.0);
            let e = of(device, "ppg", None).expect_err("unpublished");
            assert!(e.contains("eda or ecg"), "{e}");
        }
        near(
            of(Device::Biosignalsplux, "ecg", None),
            65536.0,
            1.5 / 1.019,
        );
        near(
            of(Device::Biosignalsplux, "ppg", None),
            65536.0,
            3.0 / 0.190060606,
        );
        for device in [
            Device::Bitalino,
            Device::BitalinoRevolution,
            Device::Biosignalsplux,
        ] {
            assert_eq!(Device::from_name(device.name()), Some(device));
        }
    }

    #[test]
    fn ends_of_the_converter_are_saturated() {
        let int16 = Some([-32768.0, 32767.0]);
        assert_eq!(of("eda", "uS").full_scale(None), None);
        assert_eq!(of("eda", "uS").full_scale(int16), int16);
        assert_eq!(of("ecg", "uV").full_scale(int16), Some([-32.768, 32.767]));
        // The largest resistance is the lowest conductance.
        let [low, high] = of("eda", "kOhm").full_scale(int16).expect("an end");
        assert_eq!((low, high), (1e3 / 32767.0, f64::INFINITY));
        let device = |device| {
            let spec = UnitSpec {
                device: Some(device),
                ..UnitSpec::default()
            };
            Conversion::new("eda", "", &spec).expect("published")
        };
        let [low, high] = device(Device::Bitalino).full_scale(int16).expect("ends");
        assert_eq!((low, high), (1.0, 1024.0));
        let [low, high] = device(Device::BitalinoRevolution)
            .full_scale(None)
            .expect("ends");
        assert_eq!((low, high), (0.0, 25.0 * 1023.0 / 1024.0));
    }
}
