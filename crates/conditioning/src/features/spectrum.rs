// SPDX-License-Identifier: MPL-2.0
//! Power of values at unequal times.

/// A value at a time in seconds.
pub(crate) type Point = (f64, f64);

/// Takes the straight line that fits best out of `points`, and brings them to nothing at both
/// ends (Hann), so that slow changes do not leak into the bands.
pub(crate) fn taper(points: &mut [Point]) {
    let n = points.len() as f64;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return;
    };
    let (begin, length) = (first.0, last.0 - first.0);
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
        let hann = match length > 0.0 {
            true => (std::f64::consts::PI * (*t - begin) / length).sin().powi(2),
            false => 0.0,
        };
        *x = (*x - mean_x - slope * (*t - mean_t)) * hann;
    }
}

/// The normalised periodogram of Lomb (1976) and Scargle (1982) at `frequency` (Hz), without the
/// division by the variance.
pub(crate) fn power(points: &[Point], frequency: f64) -> f64 {
    let omega = std::f64::consts::TAU * frequency;
    let origin = points.first().map_or(0.0, |p| p.0);
    let (mut c, mut s, mut cc, mut ss, mut cs) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (t, x) in points {
        let (sin, cos) = (omega * (t - origin)).sin_cos();
        c += x * cos;
        s += x * sin;
        cc += cos * cos;
        ss += sin * sin;
        cs += cos * sin;
    }
    // The shift in time that makes sine and cosine orthogonal, applied to the sums.
    let (sin, cos) = (0.5 * (2.0 * cs).atan2(cc - ss)).sin_cos();
    let shifted_c = c * cos + s * sin;
    let shifted_s = s * cos - c * sin;
    let norm_c = cc * cos * cos + 2.0 * cs * cos * sin + ss * sin * sin;
    let norm_s = ss * cos * cos - 2.0 * cs * cos * sin + cc * sin * sin;
    let part = |sum: f64, norm: f64| if norm > 1e-9 { sum * sum / norm } else { 0.0 };
    0.5 * (part(shifted_c, norm_c) + part(shifted_s, norm_s))
}

/// Sum of the power from `low` up to `high` (Hz), in steps of `step`.
pub(crate) fn band(points: &[Point], low: f64, high: f64, step: f64) -> f64 {
    let steps = ((high - low) / step).round() as usize;
    let at = |i: usize| low + (i as f64 + 0.5) * step;
    (0..steps).map(|i| power(points, at(i))).sum()
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
        taper(&mut points);
        let best = (20..200)
            .map(|k| f64::from(k) * 0.002)
            .max_by(|a, b| power(&points, *a).total_cmp(&power(&points, *b)));
        assert!(best.is_some_and(|b| (b - 0.23).abs() < 0.003), "{best:?}");
        let (low, high) = (
            band(&points, 0.04, 0.15, 0.002),
            band(&points, 0.15, 0.4, 0.002),
        );
        assert!(low < 0.01 * high, "{low} of {high}");
    }

    #[test]
    fn few_points_give_no_nonsense() {
        for n in 0..4 {
            let mut points: Vec<Point> = (0..n).map(|_| (3.0, 1.0)).collect();
            taper(&mut points);
            assert!(band(&points, 0.04, 0.4, 0.01).is_finite());
        }
    }
}
