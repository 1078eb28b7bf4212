// SPDX-License-Identifier: MPL-2.0
use std::fmt;

/// A nominal rate in samples per second, as a fraction: GStreamer writes rates so. 0/1 is an
/// irregular stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Numerator, at least 0.
    pub num: i32,
    /// Denominator, at least 1.
    pub den: i32,
}

impl Rate {
    /// The rate of a stream without a rate.
    pub const IRREGULAR: Self = Self { num: 0, den: 1 };

    /// The simplest fraction that equals `hz` up to rounding: 51.2 is 256/5. Zero, negative and
    /// non-finite rates are irregular; rates above [`i32::MAX`] become that.
    pub fn from_hz(hz: f64) -> Self {
        if !hz.is_finite() || hz <= 0.0 {
            return Self::IRREGULAR;
        }
        if hz >= f64::from(i32::MAX) {
            return Self {
                num: i32::MAX,
                den: 1,
            };
        }
        // Convergents of the continued fraction, until one is close enough.
        let (mut n0, mut d0, mut n1, mut d1) = (0i64, 1i64, 1i64, 0i64);
        let mut x = hz;
        for _ in 0..32 {
            let whole = x.floor();
            let (n2, d2) = (whole as i64 * n1 + n0, whole as i64 * d1 + d0);
            if n2 > i64::from(i32::MAX) || d2 > i64::from(i32::MAX) {
                break;
            }
            (n0, d0, n1, d1) = (n1, d1, n2, d2);
            // A short fraction may be as far off as single precision puts it.
            let error = (n1 as f64 / d1 as f64 - hz).abs();
            if error <= hz * 1e-12 || (d1 <= 1000 && error <= hz * 1e-7) || x == whole {
                break;
            }
            x = 1.0 / (x - whole);
        }
        if n1 == 0 {
            // Slower than one sample in 68 years.
            return Self::IRREGULAR;
        }
        Self {
            num: n1 as i32,
            den: d1 as i32,
        }
    }

    /// Samples per second.
    pub fn hz(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Whether the stream has a rate.
    pub fn is_regular(self) -> bool {
        self.num > 0
    }

    /// The rate if it is a whole number of samples per second, at least 1. Caps of audio hold no
    /// other.
    pub fn whole(self) -> Option<i32> {
        (self.den == 1 && self.num >= 1).then_some(self.num)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_regular() {
            write!(f, "{} Hz", self.hz())
        } else {
            f.write_str("irregular rate")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_the_fractions_people_mean() {
        for (hz, num, den) in [
            (0.0, 0, 1),
            (-1.0, 0, 1),
            (f64::NAN, 0, 1),
            (4.0, 4, 1),
            (51.2, 256, 5),
            (51.2 * (1.0 + 1e-15), 256, 5),
            (0.5, 1, 2),
            (1.0 / 3.0, 1, 3),
            (29.97, 2997, 100),
            (f64::from(51.2f32), 256, 5),
            (48_000.0, 48_000, 1),
            (1e12, i32::MAX, 1),
        ] {
            assert_eq!(Rate::from_hz(hz), Rate { num, den }, "{hz}");
        }
        // Not a short decimal: close enough for any sensor, and never 0/x or overflow.
        let odd = Rate::from_hz(std::f64::consts::PI * 100.0);
        assert!((odd.hz() / (std::f64::consts::PI * 100.0) - 1.0).abs() < 2e-7);
        assert_eq!(Rate::from_hz(51.2).whole(), None);
        assert_eq!(Rate::from_hz(128.0).whole(), Some(128));
    }
}
