// SPDX-License-Identifier: MPL-2.0
//! Which frames are analysed: the first one of each period.

use gst::ClockTime;

/// Containers round times, to a millisecond at worst: a frame this little before its
/// period belongs to it.
const ROUNDING: ClockTime = ClockTime::from_mseconds(1);

/// The analysis period of a running time; at rate 0 every frame has one of its own.
pub(super) fn period(time: ClockTime, rate: gst::Fraction) -> u64 {
    let (numerator, denominator) = (rate.numer() as u128, rate.denom() as u128);
    let nanoseconds = u128::from(time.saturating_add(ROUNDING).nseconds());
    match numerator {
        0 => time.nseconds(),
        _ => (nanoseconds * numerator / (denominator * 1_000_000_000)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames, of `count` at 30 per second with times rounded to `unit`, that are analysed.
    fn analysed(count: u64, unit: u64, rate: (i32, i32)) -> Vec<u64> {
        let mut last = None;
        (0..count)
            .filter(|i| {
                let time = i * 1_000_000_000 / 30 / unit * unit;
                let now = period(
                    ClockTime::from_nseconds(time),
                    gst::Fraction::new(rate.0, rate.1),
                );
                last.replace(now) != Some(now)
            })
            .collect()
    }

    #[test]
    fn rounded_times_keep_the_rate() {
        gst::init().expect("gst");
        for unit in [1, 1_000_000] {
            assert_eq!(analysed(30, unit, (5, 1)), [0, 6, 12, 18, 24], "{unit}");
            assert_eq!(analysed(9, unit, (30, 1)).len(), 9, "{unit}");
            assert_eq!(analysed(9, unit, (0, 1)).len(), 9, "{unit}");
            assert_eq!(analysed(90, unit, (1, 2)), [0, 60], "{unit}");
            // More than there is.
            assert_eq!(analysed(9, unit, (100, 1)).len(), 9, "{unit}");
        }
    }
}
