// SPDX-License-Identifier: MPL-2.0
//! The last seconds of a signal as a line of text.

use std::collections::VecDeque;
use stream_info::Format;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns, and the seconds that each shows of a fast stream.
const WIDTH: usize = 40;
const COLUMN: f64 = 0.08;

/// The first channel of the last seconds.
pub(crate) struct Trace {
    /// Samples in a column.
    each: usize,
    columns: VecDeque<f64>,
    /// Sum, number, and the extreme values of the column that is filled now.
    open: (f64, usize, f64, f64),
}

impl Trace {
    pub(crate) fn new(rate: Option<f64>) -> Self {
        Self {
            each: rate.map_or(1, |hz| ((hz * COLUMN).round() as usize).max(1)),
            columns: VecDeque::new(),
            open: (0.0, 0, f64::INFINITY, f64::NEG_INFINITY),
        }
    }

    pub(crate) fn push(&mut self, value: f64) {
        let (sum, n, least, most) = self.open;
        self.open = (sum + value, n + 1, least.min(value), most.max(value));
        if n + 1 < self.each {
            return;
        }
        let (sum, n, least, most) = self.open;
        self.open = Self::new(None).open;
        if self.columns.len() == WIDTH {
            self.columns.pop_front();
        }
        // What is furthest from the rest: a heartbeat is shorter than a column.
        let usual = self.columns.iter().sum::<f64>() / self.columns.len().max(1) as f64;
        let extreme = match most - usual > usual - least {
            true => most,
            false => least,
        };
        let value = if self.columns.is_empty() {
            sum / n as f64
        } else {
            extreme
        };
        self.columns.push_back(value);
    }

    /// A bar for each column, from the least to the largest value.
    pub(crate) fn line(&self) -> String {
        let finite = || self.columns.iter().copied().filter(|v| v.is_finite());
        let least = finite().fold(f64::INFINITY, f64::min);
        let most = finite().fold(f64::NEG_INFINITY, f64::max);
        let bar = |v: &f64| match v.is_finite() {
            true if most > least => {
                let share = (v - least) / (most - least);
                BARS[((share * 8.0) as usize).min(7)]
            }
            true => BARS[0],
            false => '?',
        };
        self.columns.iter().map(bar).collect()
    }
}

/// The first channel of a sample in the machine's byte order.
pub(crate) fn number(format: Format, sample: &[u8]) -> f64 {
    fn first<const N: usize>(sample: &[u8]) -> Option<[u8; N]> {
        sample.first_chunk::<N>().copied()
    }
    let value = match format {
        Format::F32 => first(sample).map(|b| f64::from(f32::from_ne_bytes(b))),
        Format::F64 => first(sample).map(f64::from_ne_bytes),
        Format::I8 => first(sample).map(|b| f64::from(i8::from_ne_bytes(b))),
        Format::I16 => first(sample).map(|b| f64::from(i16::from_ne_bytes(b))),
        Format::I32 => first(sample).map(|b| f64::from(i32::from_ne_bytes(b))),
        Format::I64 => first(sample).map(|b| i64::from_ne_bytes(b) as f64),
        Format::Text => None,
    };
    value.unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_line_of_bars() {
        let mut trace = Trace::new(Some(25.0));
        assert_eq!(trace.line(), "");
        for n in 0..200 {
            // A beat of one sample in every ten, of two samples a column.
            trace.push(if n % 20 == 7 { 1.0 } else { 0.0 });
        }
        let line: Vec<char> = trace.line().chars().collect();
        assert_eq!(line.len(), WIDTH);
        assert_eq!(line.iter().filter(|c| **c == '█').count(), 4);
        assert_eq!(line.iter().filter(|c| **c == '▁').count(), 36);
        trace.push(f64::NAN);
        trace.push(f64::NAN);
        assert!(trace.line().ends_with(['?', '▁']), "{}", trace.line());
        assert_eq!(number(Format::I16, &[0xff, 0xff, 7]), -1.0);
        assert_eq!(number(Format::F32, &1.5f32.to_ne_bytes()), 1.5);
        assert!(number(Format::F64, &[1]).is_nan());
    }
}
