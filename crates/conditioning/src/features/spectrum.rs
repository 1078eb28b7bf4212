// SPDX-License-Identifier: MPL-2.0
//! Power of values at unequal times.

/// A value at a time in seconds.
pub(crate) type Point = (f64, f64);

/// Takes the straight line that fits best out of `points`.
pub(crate) fn straighten(points: &mut [Point]) {
    let n = points.len() as f64;
    let mean_t = points.iter().map(|p| p.0).sum::<f64>() / n;
    let mean_x = points.iter().map(|p| p.1).sum::<f64>() / n;
    let spread: f64 = points.iter().map(|p| (p.0 - mean_t).powi(2)).sum();
    let slope = match spread > 0.0 {
        true => {
            points
                .iter()
                .map(|p| (p.0 - mean_t) * (p.1 - mean_x))
                .sum::<f64>()
                / spread
        }
        false => 0.0,
    };
    for (t, x) in points {
        *x -= mean_x + slope * (*t - mean_t);
    }
}

/// Brings `points` to nothing at both ends, so that slow changes do not leak into the bands: sine
/// taper number `order`, from 1 on, of Riedel and Sidorenko (1995). One alone gives little weight
/// to a part of the points; where power is compared, the spectra of several are added.
pub(crate) fn taper(points: &[Point], order: usize, into: &mut Vec<Point>) {
    into.clear();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return;
    };
    let scale = order as f64 * std::f64::consts::PI / (last.0 - first.0).max(1e-9);
    let tapered = |(t, x): &Point| (*t, x * (scale * (t - first.0)).sin());
    into.extend(points.iter().map(tapered));
}

/// For each point: cosine and sine at the frequency in hand, and of the turn from one frequency
/// to the next.
pub(crate) type Turns = Vec<[f64; 4]>;

/// The normalised periodogram of Lomb (1976) and Scargle (1982), without the division by the
/// variance, at `count` frequencies from `from` on in steps of `step` (Hz). `turns` is working
/// memory. Calls `out` with each frequency and its power.
pub(crate) fn scan(
    points: &[Point],
    turns: &mut Turns,
    (from, step, count): (f64, f64, usize),
    mut out: impl FnMut(f64, f64),
) {
    let origin = points.first().map_or(0.0, |p| p.0);
    turns.clear();
    turns.extend(points.iter().map(|(t, _)| {
        let angle = |f: f64| (std::f64::consts::TAU * f * (t - origin)).sin_cos();
        let ((sin, cos), (turn_sin, turn_cos)) = (angle(from), angle(step));
        [cos, sin, turn_cos, turn_sin]
    }));
    for k in 0..count {
        let (mut c, mut s, mut cc, mut ss, mut cs) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for ((_, x), turn) in points.iter().zip(turns.iter_mut()) {
            let [cos, sin, turn_cos, turn_sin] = *turn;
            c += x * cos;
            s += x * sin;
            cc += cos * cos;
            ss += sin * sin;
            cs += cos * sin;
            turn[0] = cos * turn_cos - sin * turn_sin;
            turn[1] = sin * turn_cos + cos * turn_sin;
        }
        // The shift in time that makes sine and cosine orthogonal, applied to the sums.
        let (sin, cos) = (0.5 * (2.0 * cs).atan2(cc - ss)).sin_cos();
        let shifted_c = c * cos + s * sin;
        let shifted_s = s * cos - c * sin;
        let norm_c = cc * cos * cos + 2.0 * cs * cos * sin + ss * sin * sin;
        let norm_s = ss * cos * cos - 2.0 * cs * cos * sin + cc * sin * sin;
        let part = |sum: f64, norm: f64| if norm > 1e-9 { sum * sum / norm } else { 0.0 };
        let power = 0.5 * (part(shifted_c, norm_c) + part(shifted_s, norm_s));
        out(from + k as f64 * step, power);
    }
}

/// Sum of the power from `low` up to `high` (Hz), in steps of `step`.
pub(crate) fn band(points: &[Point], turns: &mut Turns, low: f64, high: f64, step: f64) -> f64 {
    let steps = ((high - low) / step).round() as usize;
    let mut sum = 0.0;
    scan(
        points,
        turns,
        (low + 0.5 * step, step, steps),
        |_, power| sum += power,
    );
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_at_unequal_times_is_where_it_is() {
        let mut points: Vec<Point> = (0..200)
            .map(|i| {
                let t = i as f64 * 0.8 + 0.2 * (i as f64 * 2.3).sin();
                (
                    1e5 + t,
                    0.9 + 0.001 * t + 0.05 * (std::f64::consts::TAU * 0.23 * t).cos(),
                )
            })
            .collect();
        straighten(&mut points);
        let mut tapered = Vec::new();
        taper(&points, 1, &mut tapered);
        let points = tapered;
        let mut turns = Turns::new();
        let (mut best, mut highest) = (0.0, 0.0);
        scan(
            &points,
            &mut turns,
            (0.04, 0.002, 180),
            |frequency, power| {
                if power > highest {
                    (best, highest) = (frequency, power);
                }
            },
        );
        assert!((best - 0.23f64).abs() < 0.003, "{best}");
        let (low, high) = (
            band(&points, &mut turns, 0.04, 0.15, 0.002),
            band(&points, &mut turns, 0.15, 0.4, 0.002),
        );
        assert!(low < 0.01 * high, "{low} of {high}");
    }

    #[test]
    fn few_points_give_no_nonsense() {
        for n in 0..4 {
            let mut points: Vec<Point> = (0..n).map(|_| (3.0, 1.0)).collect();
            straighten(&mut points);
            let mut tapered = Vec::new();
            taper(&points, 2, &mut tapered);
            assert_eq!(tapered.len(), points.len());
            let points = tapered;
            assert!(band(&points, &mut Turns::new(), 0.04, 0.4, 0.01).is_finite());
        }
    }
}
