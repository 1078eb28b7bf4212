// SPDX-License-Identifier: MPL-2.0
//! Butterworth filters, notches and the logarithm, as cascades of second-order sections.

use serde::Deserialize;
use std::f64::consts::PI;

/// One causal filter of a signal, designed for the sender's rate: an entry of `filters` in a
/// manifest.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FilterSpec {
    /// Butterworth low-pass. Left out where `cutoff` is at or above half the rate.
    Lowpass {
        /// 1 to 8.
        order: usize,
        /// −3 dB corner in Hz.
        cutoff: f64,
    },
    /// Butterworth high-pass. A corner above 0.49 times the rate is put there.
    Highpass {
        /// 1 to 8.
        order: usize,
        /// −3 dB corner in Hz.
        cutoff: f64,
    },
    /// Notch of second order. Left out where `frequency` is at or above half the rate.
    Notch {
        /// Centre in Hz.
        frequency: f64,
        /// `frequency` divided by the −3 dB width, 0.1 to 1000.
        q: f64,
    },
    /// `ln(max(x, 0) + offset)`: a change by a given share has the same size at every level,
    /// which suits skin conductance.
    Log {
        /// Summand in the signal's unit, above 0.
        offset: f64,
    },
}

impl FilterSpec {
    /// Checks the numbers of the filter.
    ///
    /// # Errors
    /// A text that names the field, the expectation and what was found.
    pub fn check(&self) -> Result<(), String> {
        // Outside of these ranges rounding spoils the coefficients.
        let within = |name: &str, value: f64, [low, high]: [f64; 2]| {
            (low..=high)
                .contains(&value)
                .then_some(())
                .ok_or_else(|| format!("{name} must be {low} to {high}, found {value:?}"))
        };
        let hertz = [0.001, 10_000.0];
        match *self {
            Self::Lowpass { order, cutoff } | Self::Highpass { order, cutoff } => {
                if !(1..=8).contains(&order) {
                    return Err(format!("order must be 1 to 8, found {order}"));
                }
                within("cutoff", cutoff, hertz)
            }
            Self::Notch { frequency, q } => {
                within("frequency", frequency, hertz)?;
                within("q", q, [0.1, 1000.0])
            }
            Self::Log { offset } => within("offset", offset, [1e-9, 1e9]),
        }
    }
}

/// A second-order section in transposed direct form II.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Section {
    /// Numerator.
    b: [f64; 3],
    /// Denominator a1 and a2; a0 = 1.
    a: [f64; 2],
    /// State.
    z: [f64; 2],
}

impl Section {
    fn new(b: [f64; 3], a0: f64, a: [f64; 2]) -> Self {
        Self {
            b: b.map(|c| c / a0),
            a: a.map(|c| c / a0),
            z: [0.0; 2],
        }
    }

    fn step(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.z[0];
        self.z[0] = self.b[1] * x - self.a[0] * y + self.z[1];
        self.z[1] = self.b[2] * x - self.a[1] * y;
        y
    }

    /// Sets the state that an endless constant input `x` leaves; returns the output for it.
    fn settle(&mut self, x: f64) -> f64 {
        let gain = self.b.iter().sum::<f64>() / (1.0 + self.a.iter().sum::<f64>());
        let y = gain * x;
        self.z[1] = self.b[2] * x - self.a[1] * y;
        self.z[0] = self.b[1] * x - self.a[0] * y + self.z[1];
        y
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Linear(Section),
    Log { offset: f64 },
}

impl Stage {
    fn step(&mut self, x: f64) -> f64 {
        match self {
            Self::Linear(section) => section.step(x),
            Self::Log { offset } => (x.max(0.0) + *offset).ln(),
        }
    }

    fn settle(&mut self, x: f64) -> f64 {
        match self {
            Self::Linear(section) => section.settle(x),
            log => log.step(x),
        }
    }
}

/// A chain of filters with its state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cascade {
    stages: Vec<Stage>,
}

impl Cascade {
    /// Designs `specs` for `rate` Hz by the bilinear transform with prewarped corners.
    ///
    /// A low-pass or notch at or above half the rate has nothing to remove and is left out, so
    /// that one bundle serves senders of many rates.
    pub(crate) fn new(specs: &[FilterSpec], rate: f64) -> Self {
        let mut stages = Vec::new();
        for spec in specs {
            let mut sections = Vec::new();
            match *spec {
                FilterSpec::Lowpass { cutoff, .. } if cutoff >= 0.5 * rate => {}
                FilterSpec::Notch { frequency, .. } if frequency >= 0.5 * rate => {}
                FilterSpec::Lowpass { order, cutoff } => {
                    butterworth(&mut sections, order, cutoff, rate, false);
                }
                // At half the rate the design is not defined; nearly nothing passes there.
                FilterSpec::Highpass { order, cutoff } => {
                    butterworth(&mut sections, order, cutoff.min(0.49 * rate), rate, true);
                }
                FilterSpec::Notch { frequency, q } => {
                    let w = 2.0 * PI * frequency / rate;
                    let alpha = w.sin() / (2.0 * q);
                    let c = -2.0 * w.cos();
                    sections.push(Section::new([1.0, c, 1.0], 1.0 + alpha, [c, 1.0 - alpha]));
                }
                FilterSpec::Log { offset } => stages.push(Stage::Log { offset }),
            }
            stages.extend(sections.into_iter().map(Stage::Linear));
        }
        Self { stages }
    }

    /// Filters the next value.
    pub(crate) fn step(&mut self, x: f64) -> f64 {
        self.stages.iter_mut().fold(x, |x, s| s.step(x))
    }

    /// Filters `x` as if the input had always been `x`: the start of a stream and the end of a
    /// gap then give no step response.
    pub(crate) fn settle(&mut self, x: f64) -> f64 {
        self.stages.iter_mut().fold(x, |x, s| s.settle(x))
    }
}

/// Appends the sections of a Butterworth filter: a pair of poles each, and the single pole of
/// an odd order.
fn butterworth(out: &mut Vec<Section>, order: usize, cutoff: f64, rate: f64, high: bool) {
    let k = (PI * cutoff / rate).tan();
    for i in 0..order / 2 {
        // The angle of the conjugate pair of poles gives the damping.
        let theta = PI * (2 * i + 1) as f64 / (2 * order) as f64;
        let damping = 2.0 * theta.sin();
        let a0 = 1.0 + damping * k + k * k;
        let a = [2.0 * (k * k - 1.0), 1.0 - damping * k + k * k];
        let b = if high {
            [1.0, -2.0, 1.0]
        } else {
            [k * k, 2.0 * k * k, k * k]
        };
        out.push(Section::new(b, a0, a));
    }
    if order % 2 == 1 {
        let b = if high { [1.0, -1.0, 0.0] } else { [k, k, 0.0] };
        out.push(Section::new(b, 1.0 + k, [k - 1.0, 0.0]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gain at `f`, measured with a long sine.
    fn gain(specs: &[FilterSpec], rate: f64, f: f64) -> f64 {
        let mut cascade = Cascade::new(specs, rate);
        let n = (20.0 * rate / f.min(1.0)) as usize;
        let mut peak: f64 = 0.0;
        for i in 0..n {
            let y = cascade.step((2.0 * PI * f * i as f64 / rate).sin());
            if i > n / 2 {
                peak = peak.max(y.abs());
            }
        }
        peak
    }

    #[test]
    fn butterworth_corners_are_at_minus_3_db() {
        for order in 1..=8 {
            for spec in [
                FilterSpec::Lowpass { order, cutoff: 5.0 },
                FilterSpec::Highpass { order, cutoff: 5.0 },
            ] {
                let g = gain(&[spec], 256.0, 5.0);
                assert!((g - 0.5f64.sqrt()).abs() < 0.01, "{spec:?} {g}");
            }
        }
        let low = [FilterSpec::Lowpass {
            order: 4,
            cutoff: 5.0,
        }];
        assert!(gain(&low, 256.0, 1.0) > 0.99);
        assert!(gain(&low, 256.0, 50.0) < 2e-4);
    }

    /// The reference figures come from
    /// `scipy.signal.sosfilt(scipy.signal.butter(N, W, kind, output='sos'), [1, 0, 0, 0, 0])`
    /// with N, W, kind = 3, 0.2, 'low' and 4, 0.3, 'high'.
    #[test]
    fn impulse_responses_are_scipys() {
        let cases = [
            (
                FilterSpec::Lowpass {
                    order: 3,
                    cutoff: 0.2,
                },
                [
                    0.018098933007514428,
                    0.08615167910529403,
                    0.18451825640508338,
                    0.2459831390628053,
                    0.23863055318036902,
                ],
            ),
            (
                FilterSpec::Highpass {
                    order: 4,
                    cutoff: 0.3,
                },
                [
                    0.2754132880723043,
                    -0.6691444410874969,
                    0.2503352067018135,
                    0.27845365855344356,
                    0.04824416293236539,
                ],
            ),
        ];
        for (spec, reference) in cases {
            let mut c = Cascade::new(&[spec], 2.0);
            for (i, want) in reference.into_iter().enumerate() {
                let got = c.step(if i == 0 { 1.0 } else { 0.0 });
                assert!((got - want).abs() < 1e-12, "{spec:?} {i}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_notch_removes_its_frequency_and_little_else() {
        let notch = [FilterSpec::Notch {
            frequency: 50.0,
            q: 10.0,
        }];
        assert!(gain(&notch, 256.0, 50.0) < 0.01);
        assert!(gain(&notch, 256.0, 30.0) > 0.95);
    }

    #[test]
    fn settling_leaves_no_transient() {
        let specs = [
            FilterSpec::Highpass {
                order: 2,
                cutoff: 0.5,
            },
            FilterSpec::Lowpass {
                order: 3,
                cutoff: 20.0,
            },
        ];
        let mut c = Cascade::new(&specs, 128.0);
        let first = c.settle(7.5);
        assert!(first.abs() < 1e-9);
        for _ in 0..100 {
            assert!(c.step(7.5).abs() < 1e-9);
        }
    }

    #[test]
    fn corners_beyond_a_slow_sender_are_left_out_or_held() {
        let mut c = Cascade::new(
            &[FilterSpec::Lowpass {
                order: 2,
                cutoff: 40.0,
            }],
            4.0,
        );
        assert_eq!(c.step(3.25), 3.25);
        let mut c = Cascade::new(
            &[FilterSpec::Highpass {
                order: 2,
                cutoff: 40.0,
            }],
            4.0,
        );
        assert!((0..1000).all(|i| c.step((i % 7) as f64).is_finite()));
    }
}
