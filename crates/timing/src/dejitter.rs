// SPDX-License-Identifier: MPL-2.0
use std::collections::VecDeque;

/// Timestamps that are regular within this, seconds, are not changed.
const CLEAN_TOLERANCE: f64 = 1e-4;
/// A stream that ceased to be regular must be regular for this long, in seconds and in samples,
/// to count as regular again.
const CLEAN_AGAIN: f64 = 30.0;
const CLEAN_AGAIN_SAMPLES: u32 = 256;
/// Seconds in which the weight of a sample in the fit halves.
const HALF_LIFE: f64 = 90.0;
/// The prior of the fit: by what share a nominal rate is usually wrong, and the jitter that this
/// is weighed against, seconds.
const RATE_TOLERANCE: f64 = 0.02;
const TYPICAL_JITTER: f64 = 0.005;
/// Between timestamps further apart than this, seconds, samples were lost, whatever follows.
const CERTAIN_HOLE: f64 = 5.0;
/// Variance of the phase after samples were lost: the stream most likely continues at a multiple
/// of its interval, but a restarted device does not.
const PHASE_DOUBT: f64 = 0.05;

/// A timestamp after [`Dejitter`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothed {
    /// Seconds, on the clock of the timestamps that went in.
    pub stamp: f64,
    /// Seconds, as given to [`Dejitter::push`].
    pub arrival: f64,
    /// Samples are missing before this one, or the clock jumped.
    pub discont: bool,
}

/// A timestamp further from the line than this is not jitter: a multiple of the usual distance,
/// but not less than this many intervals and seconds.
const SCATTERS: f64 = 5.0;
const FAR: f64 = 0.6;
const LEAST_FAR: f64 = 0.005;
/// By what factor the estimate of the usual distance grows or shrinks with each jittered
/// timestamp: so it approaches the median (H. Robbins and S. Monro, 1951), and losses do not
/// move it.
const SCATTER_STEP: f64 = 1.05;
/// Intervals closer than this, seconds, are equal but for rounding.
const SAME_INTERVAL: f64 = 2e-6;

/// The largest distance that can be jitter, seconds.
fn widest(nominal: f64) -> f64 {
    (3.0 * nominal).max(0.1)
}

/// A line through the timestamps over the number of the sample: recursive least squares with
/// exponential forgetting (L. Ljung, *System Identification*, 2nd ed., 1999, chapter 11), in
/// coordinates that move with the newest sample, so that no large numbers are subtracted.
struct Fit {
    /// Estimated timestamp of the newest sample.
    now: f64,
    interval: f64,
    /// Covariance, in units of one sample's variance.
    p: [f64; 3],
    keep: f64,
}

impl Fit {
    fn new(stamp: f64, interval: f64) -> Self {
        let slope = RATE_TOLERANCE * interval / TYPICAL_JITTER;
        Self {
            now: stamp,
            interval,
            p: [1.0, 0.0, slope * slope],
            keep: 0.5f64.powf(interval / HALF_LIFE),
        }
    }

    /// One sample further, without having seen its timestamp.
    fn advance(&mut self) -> f64 {
        self.now += self.interval;
        let [a, b, c] = self.p;
        self.p = [a + 2.0 * b + c, b + c, c].map(|v| v / self.keep);
        self.now
    }

    /// One sample further, whose timestamp is `stamp`; returns the timestamp's estimate.
    fn step(&mut self, stamp: f64) -> f64 {
        self.advance();
        let [a, b, c] = self.p;
        let (k0, k1) = (a / (a + 1.0), b / (a + 1.0));
        let residual = stamp - self.now;
        self.now += k0 * residual;
        self.interval += k1 * residual;
        self.p = [a - k0 * a, b - k0 * b, c - k1 * b];
        self.now
    }
}

/// Removes the jitter of a regular stream, one sample after the other.
///
/// Late samples are put back on the line. Where samples were lost their number is counted on, so
/// that a gap keeps its length and the samples around it are not moved. Timestamps that are
/// regular already are not changed. To distinguish late from lost, samples that are off the line
/// are held: see [`Dejitter::hold`].
pub struct Dejitter {
    nominal: f64,
    fit: Option<Fit>,
    last_raw: f64,
    last_out: f64,
    /// Mean of the intervals without a gap, and how many made it.
    mean: f64,
    intervals: u32,
    clean: bool,
    clean_run: u32,
    /// Latest arrival, and the usual time between two: packets come together.
    last_arrival: f64,
    packet: f64,
    /// Usual distance of one packet's timestamps from the next one's raster.
    scatter: f64,
    /// The last few intervals between timestamps.
    intervals_before: [f64; 4],
    /// Off the line, oldest first: timestamp and arrival.
    pending: VecDeque<(f64, f64)>,
}

impl Dejitter {
    /// `nominal`: the nominal rate, samples per second, above 0.
    pub fn new(nominal: f64) -> Self {
        Self {
            nominal: 1.0 / nominal,
            fit: None,
            last_raw: 0.0,
            last_out: 0.0,
            mean: 1.0 / nominal,
            intervals: 0,
            clean: true,
            clean_run: 0,
            last_arrival: f64::INFINITY,
            packet: 0.0,
            intervals_before: [f64::NAN; 4],
            scatter: widest(1.0 / nominal) / SCATTERS,
            pending: VecDeque::new(),
        }
    }

    /// Effective interval, seconds per sample.
    pub fn interval(&self) -> f64 {
        match &self.fit {
            Some(fit) if !self.clean => fit.interval,
            _ => self.mean,
        }
    }

    /// How long samples off the line are held, seconds of arrival, 0.25 to 1: until the next
    /// packet shows whether they were late.
    pub fn hold(&self) -> f64 {
        (8.0 * self.nominal).max(1.5 * self.packet).clamp(0.25, 1.0)
    }

    fn watch_packets(&mut self, arrival: f64) {
        let since = arrival - self.last_arrival;
        if since > 1e-3 && since < 2.0 {
            self.packet += (since - self.packet) / 16.0;
        }
        self.last_arrival = arrival;
    }

    fn watch_scatter(&mut self, since: f64) {
        // Inside a packet timestamps are computed from the rate: equal intervals say nothing
        // about jitter.
        let mut before = self.intervals_before.iter();
        let made = before.any(|i| (i - since).abs() < SAME_INTERVAL);
        self.intervals_before.rotate_right(1);
        self.intervals_before[0] = since;
        if !made {
            let off = (since - self.interval()).abs();
            self.scatter *= match off > self.scatter {
                true => SCATTER_STEP,
                false => 1.0 / SCATTER_STEP,
            };
            self.scatter = self.scatter.max(CLEAN_TOLERANCE);
        }
    }

    /// The number of samples that are held now.
    pub fn held(&self) -> usize {
        self.pending.len()
    }

    /// Samples further from the line than this are late, or others are missing.
    fn threshold(&self) -> f64 {
        let interval = self.fit.as_ref().map_or(self.nominal, |fit| fit.interval);
        (SCATTERS * self.scatter)
            .max(FAR * interval)
            .max(LEAST_FAR)
            .min(widest(self.nominal))
    }

    /// Takes the timestamp of a sample (seconds) and its arrival (seconds on the clock of
    /// [`Dejitter::poll`]). Samples that are ready are appended to `out`, in the order in which
    /// they were pushed.
    pub fn push(&mut self, stamp: f64, arrival: f64, out: &mut Vec<Smoothed>) {
        self.watch_packets(arrival);
        if self.fit.is_none() {
            self.fit = Some(Fit::new(stamp, self.nominal));
            self.last_raw = stamp;
            self.emit(stamp, arrival, false, out);
            return;
        }
        let since = stamp - self.last_raw;
        let hole = since > CERTAIN_HOLE.max(1.5 * self.mean);
        self.last_raw = stamp;
        self.watch_scatter(since);
        if self.clean {
            let raster = self.raster(since);
            let Some(fit) = &mut self.fit else { return };
            match raster {
                Raster::Kept => {
                    fit_clean(fit, stamp, self.mean, self.nominal);
                    return self.emit(stamp, arrival, false, out);
                }
                Raster::Gap => {
                    *fit = Fit {
                        now: stamp,
                        p: [1.0, 0.0, fit.p[2]],
                        ..Fit::new(stamp, self.mean)
                    };
                    return self.emit(stamp, arrival, true, out);
                }
                Raster::Left => {
                    self.clean = false;
                    self.clean_run = 0;
                }
            }
        } else {
            self.watch_raster(since);
        }
        self.lay(stamp, arrival, out);
        let due = |p: &(f64, f64)| hole || arrival - p.1 >= self.hold();
        if self.pending.front().is_some_and(due) {
            self.settle(out);
        }
    }

    /// Counts samples whose timestamps are of no use, before the one with the timestamp `next`.
    /// Does nothing where `next` is not that many intervals further.
    pub fn skip(&mut self, samples: usize, next: f64) {
        let steps = samples as f64 + 1.0;
        let off = (next - self.last_raw) / self.interval() - steps;
        if off.abs() > 0.5 || !self.pending.is_empty() {
            return;
        }
        self.last_raw += samples as f64 * self.interval();
        if let Some(fit) = &mut self.fit {
            for _ in 0..samples {
                fit.advance();
            }
        }
    }

    /// Puts a sample on the line, or holds it.
    fn lay(&mut self, stamp: f64, arrival: f64, out: &mut Vec<Smoothed>) {
        let threshold = self.threshold();
        let Some(fit) = &mut self.fit else { return };
        let predicted = fit.now + fit.interval * (self.pending.len() + 1) as f64;
        if (stamp - predicted).abs() <= threshold {
            // Back on the line: what was held was late, not after a loss.
            let late: Vec<_> = self
                .pending
                .drain(..)
                .map(|p| (fit.advance(), p.1))
                .collect();
            let stamp = fit.step(stamp);
            for (stamp, arrival) in late {
                self.emit(stamp, arrival, false, out);
            }
            self.emit(stamp, arrival, false, out);
            return;
        }
        self.pending.push_back((stamp, arrival));
    }

    /// Decides about samples that were held long enough; `now` in seconds. Call it while no
    /// samples arrive.
    pub fn poll(&mut self, now: f64, out: &mut Vec<Smoothed>) {
        if let Some(&(_, arrival)) = self.pending.front()
            && now - arrival >= self.hold()
        {
            self.settle(out);
        }
    }

    /// Releases all samples, before the end or a new start.
    pub fn flush(&mut self, out: &mut Vec<Smoothed>) {
        while !self.pending.is_empty() {
            self.settle(out);
        }
    }

    /// The held samples did not come back to the line: samples before them were lost,
    /// or the outlet's clock or rate is another one now.
    fn settle(&mut self, out: &mut Vec<Smoothed>) {
        let Some(fit) = &mut self.fit else { return };
        let held: Vec<_> = self.pending.drain(..).collect();
        let (Some(first), Some(last)) = (held.first(), held.last()) else {
            return;
        };
        // Another rate shows in timestamps and arrivals alike; a burst comes all at once.
        let steps = (held.len() - 1).max(1) as f64;
        let own = (last.0 - first.0) / steps;
        let pace = (last.1 - first.1) / steps;
        let other_rate = held.len() >= 8
            && own > 0.0
            && (own / fit.interval - 1.0).abs() > 0.2
            && (pace / own - 1.0).abs() < 0.5;
        // The least delayed ones show how many samples are missing.
        let off: Vec<f64> = held
            .iter()
            .enumerate()
            .map(|(i, (stamp, _))| stamp - (fit.now + fit.interval * (i + 1) as f64))
            .collect();
        let least = off
            .iter()
            .copied()
            .min_by(|a, b| a.abs().total_cmp(&b.abs()));
        let least = least.unwrap_or(0.0);
        let reach = (4.0 * self.scatter).max(0.5 * fit.interval);
        let near = off.iter().filter(|o| (*o - least).abs() <= reach);
        let shift = near.clone().sum::<f64>() / near.count().max(1) as f64;
        let lost = (shift / fit.interval).round();
        if other_rate || lost < 0.0 {
            let interval = if other_rate { own } else { fit.interval };
            *fit = Fit::new(first.0 - interval, interval);
        } else {
            fit.now += lost * fit.interval;
            fit.p = [PHASE_DOUBT, 0.0, fit.p[2]];
        }
        let threshold = self.threshold();
        let Some(fit) = &mut self.fit else { return };
        let (stamp, arrival) = *first;
        let near = (stamp - fit.now - fit.interval).abs() <= threshold;
        let stamp = if near { fit.step(stamp) } else { fit.advance() };
        self.emit(stamp, arrival, true, out);
        // More may have been lost among them.
        for &(stamp, arrival) in &held[1..] {
            self.lay(stamp, arrival, out);
        }
    }

    fn emit(&mut self, stamp: f64, arrival: f64, discont: bool, out: &mut Vec<Smoothed>) {
        // A correction of the line must not turn time back.
        let stamp = if discont || self.last_out == 0.0 {
            stamp
        } else {
            stamp.max(self.last_out)
        };
        self.last_out = stamp;
        out.push(Smoothed {
            stamp,
            arrival,
            discont,
        });
    }

    /// Where an interval stands on the raster of a clean stream.
    fn raster(&mut self, since: f64) -> Raster {
        if self.intervals == 0 && since > 0.3 * self.nominal && since < 3.0 * self.nominal {
            // The nominal rate may lie; a stream that does not is on its raster anyway.
            self.mean = since;
        }
        if (since - self.mean).abs() <= CLEAN_TOLERANCE {
            self.average(since);
            Raster::Kept
        } else if since >= 1.5 * self.mean || since <= -0.5 * self.mean {
            if self.proven() || since > CERTAIN_HOLE.max(8.0 * self.mean) {
                Raster::Gap
            } else {
                Raster::Left
            }
        } else {
            Raster::Left
        }
    }

    /// Packets have a clean raster inside: only what outlasts one is a clean stream.
    fn proven(&self) -> bool {
        self.intervals >= CLEAN_AGAIN_SAMPLES || f64::from(self.intervals) * self.mean > 2.0
    }

    fn watch_raster(&mut self, since: f64) {
        let gap = since >= 1.5 * self.mean;
        if (since - self.mean).abs() <= CLEAN_TOLERANCE {
            self.clean_run += 1;
            self.average(since);
            let long = f64::from(self.clean_run) * self.mean >= CLEAN_AGAIN;
            if long && self.clean_run >= CLEAN_AGAIN_SAMPLES && self.pending.is_empty() {
                self.clean = true;
            }
        } else if !gap {
            self.clean_run = 0;
            self.average(since);
        } else {
            self.clean_run = 0;
        }
    }

    fn average(&mut self, since: f64) {
        self.intervals = self.intervals.saturating_add(1);
        self.mean += (since - self.mean) / f64::from(self.intervals.min(1024));
    }
}

enum Raster {
    Kept,
    Gap,
    Left,
}

/// Keeps the fit up to date while the stream is regular: it is needed when that ends.
fn fit_clean(fit: &mut Fit, stamp: f64, mean: f64, nominal: f64) {
    if (stamp - fit.step(stamp)).abs() > (3.0 * nominal).max(0.1) {
        *fit = Fit::new(stamp, mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    struct Sample {
        truth: f64,
        stamp: f64,
        arrival: f64,
    }

    fn run(nominal: f64, samples: &[Sample]) -> Vec<(f64, Smoothed)> {
        let mut d = Dejitter::new(nominal);
        let mut out = Vec::new();
        let mut before = f64::NEG_INFINITY;
        for s in samples {
            // Between arrivals the caller polls, as an element does.
            let mut t = before.max(s.arrival - 5.0);
            while t < s.arrival {
                d.poll(t, &mut out);
                t += 0.05;
            }
            d.push(s.stamp, s.arrival, &mut out);
            before = s.arrival;
        }
        d.flush(&mut out);
        assert_eq!(out.len(), samples.len(), "every sample comes out");
        for (s, o) in samples.iter().zip(&out) {
            assert_eq!(s.arrival, o.arrival, "in order");
        }
        samples.iter().map(|s| s.truth).zip(out).collect()
    }

    fn worst(out: &[(f64, Smoothed)], from: f64, to: f64) -> f64 {
        let errors: Vec<f64> = out
            .iter()
            .filter(|(t, _)| (from..to).contains(t))
            .map(|(t, o)| (o.stamp - t).abs())
            .collect();
        assert!(!errors.is_empty(), "no samples in {from}..{to}");
        errors.into_iter().fold(0.0, f64::max)
    }

    fn disconts(out: &[(f64, Smoothed)]) -> Vec<f64> {
        out.iter()
            .filter(|(_, o)| o.discont)
            .map(|(t, _)| *t)
            .collect()
    }

    /// Packets of `size` samples stamped on arrival, with gaussian delay, the inner timestamps
    /// deduced from the nominal rate; `lost` is a range of time in which nothing is sent.
    fn packets(
        rate: f64,
        nominal: f64,
        size: usize,
        jitter: f64,
        seconds: f64,
        lost: std::ops::Range<f64>,
    ) -> Vec<Sample> {
        let mut noise = Noise::new(size as u64 + 7);
        let mut out = Vec::new();
        let mut n = 0;
        while n as f64 / rate < seconds {
            let last = 1000.0 + (n + size - 1) as f64 / rate;
            let stamp = last + (noise.normal() * jitter).abs();
            if !lost.contains(&(last - 1000.0)) {
                for i in 0..size {
                    out.push(Sample {
                        truth: (n + i) as f64 / rate,
                        stamp: stamp - (size - 1 - i) as f64 / nominal,
                        arrival: stamp,
                    });
                }
            }
            n += size;
        }
        out
    }

    /// The timestamps are late by the mean delay, which no receiver can know.
    fn centred(mut out: Vec<(f64, Smoothed)>) -> Vec<(f64, Smoothed)> {
        let delays: Vec<f64> = out.iter().map(|(t, o)| o.stamp - t - 1000.0).collect();
        let mut sorted = delays.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        for (_, o) in &mut out {
            o.stamp -= 1000.0 + median;
        }
        out
    }

    #[test]
    fn regular_stamps_pass_unchanged() {
        for (rate, nominal) in [
            (256.0, 256.0),
            (51.2, 51.2),
            (4.0, 4.0),
            (256.013, 256.0),
            (31.9, 64.0),
            (1000.0, 1000.0),
        ] {
            for origin in [0.0, 50_000.0, 1.7e9] {
                let samples: Vec<_> = (0..(rate * 30.0) as u32)
                    .map(|n| {
                        let t = origin + f64::from(n) / rate;
                        Sample {
                            truth: t,
                            stamp: t,
                            arrival: t + 0.001,
                        }
                    })
                    .collect();
                let out = run(nominal, &samples);
                assert!(
                    worst(&out, f64::MIN, f64::MAX) < 1e-6,
                    "{rate} from {origin}"
                );
                assert_eq!(disconts(&out), [0.0; 0], "{rate} from {origin}");
            }
        }
    }

    #[test]
    fn small_disorder_is_not_made_worse() {
        let mut noise = Noise::new(3);
        let samples: Vec<_> = (0..5000)
            .map(|n| {
                let t = 10.0 + f64::from(n) / 128.0;
                Sample {
                    truth: t,
                    stamp: t + (noise.uniform() - 0.5) * 0.9e-4,
                    arrival: t,
                }
            })
            .collect();
        let out = run(128.0, &samples);
        assert!(worst(&out, 0.0, f64::MAX) < 0.5e-4);
    }

    #[test]
    fn a_gap_in_a_regular_stream_stays_where_it_was() {
        for gap in [0.1, 0.5, 4.0, 60.0] {
            let samples: Vec<_> = (0..256 * 20)
                .map(|n| {
                    let t = f64::from(n) / 256.0 + if n >= 2560 { gap } else { 0.0 };
                    Sample {
                        truth: t,
                        stamp: t,
                        arrival: t,
                    }
                })
                .collect();
            let out = run(256.0, &samples);
            assert!(worst(&out, 0.0, f64::MAX) < 1e-5, "gap of {gap}");
            assert_eq!(disconts(&out), [10.0 + gap], "gap of {gap}");
        }
    }

    #[test]
    fn jitter_goes() {
        // 5 ms of jitter on single samples at 128 Hz: better than the raw timestamps at once,
        // below a millisecond after seconds.
        let mut noise = Noise::new(11);
        let samples: Vec<_> = (0..128 * 60)
            .map(|n| {
                let t = f64::from(n) / 128.0;
                let stamp = t + noise.normal() * 0.005;
                Sample {
                    truth: t,
                    stamp,
                    arrival: stamp,
                }
            })
            .collect();
        let out = run(128.0, &samples);
        assert!(worst(&out, 1.0, 5.0) < 2e-3, "{}", worst(&out, 1.0, 5.0));
        assert!(worst(&out, 5.0, 60.0) < 1e-3, "{}", worst(&out, 5.0, 60.0));
        assert_eq!(disconts(&out), [0.0; 0]);
    }

    #[test]
    fn a_wrong_nominal_rate_is_learned() {
        for nominal in [50.0, 98.0, 102.0, 200.0] {
            let mut noise = Noise::new(5);
            let samples: Vec<_> = (0..100 * 60)
                .map(|n| {
                    let t = f64::from(n) / 100.0;
                    let stamp = t + (noise.normal() * 0.001).abs();
                    Sample {
                        truth: t,
                        stamp,
                        arrival: stamp,
                    }
                })
                .collect();
            let out = run(nominal, &samples);
            assert!(
                worst(&out, 10.0, 60.0) < 4e-3,
                "{nominal}: {}",
                worst(&out, 10.0, 60.0)
            );
        }
    }

    #[test]
    fn losses_are_not_smeared() {
        // The cases and limits of the project's own study, with room for the noise.
        let d = centred(run(
            128.0,
            &packets(128.0, 128.0, 16, 0.005, 60.0, 20.0..24.0),
        ));
        assert!(worst(&d, 24.5, 30.0) < 0.010, "{}", worst(&d, 24.5, 30.0));
        assert!(worst(&d, 34.0, 60.0) < 0.008, "{}", worst(&d, 34.0, 60.0));
        assert_eq!(disconts(&d).len(), 1);

        let d = centred(run(
            128.0,
            &packets(128.0, 128.0, 1, 0.002, 60.0, 20.0..20.5),
        ));
        assert!(worst(&d, 20.5, 60.0) < 0.003, "{}", worst(&d, 20.5, 60.0));
        assert_eq!(disconts(&d).len(), 1);

        let d = centred(run(4.0, &packets(4.0, 4.0, 1, 0.005, 180.0, 60.0..120.0)));
        assert!(
            worst(&d, 120.0, 180.0) < 0.012,
            "{}",
            worst(&d, 120.0, 180.0)
        );
        assert_eq!(disconts(&d).len(), 1);
    }

    #[test]
    fn a_late_burst_is_put_back() {
        // Packets of 73 at 130 Hz; everything between 20 and 22 s comes at once.
        let mut samples = packets(130.0, 130.0, 73, 0.003, 60.0, 0.0..0.0);
        for s in &mut samples {
            if (1020.0..1022.0).contains(&s.arrival) {
                s.stamp += 1022.0 - s.arrival;
                s.arrival = 1022.0;
            }
        }
        let d = centred(run(130.0, &samples));
        assert!(worst(&d, 15.0, 60.0) < 0.010, "{}", worst(&d, 15.0, 60.0));
        assert_eq!(disconts(&d), [0.0; 0]);
    }

    #[test]
    fn held_samples_come_out_when_the_stream_stops() {
        let mut d = Dejitter::new(100.0);
        let mut out = Vec::new();
        let mut noise = Noise::new(2);
        for n in 0..500 {
            let t = f64::from(n) / 100.0 + noise.uniform() * 0.004;
            d.push(t, t, &mut out);
        }
        out.clear();
        d.push(6.0, 6.0, &mut out);
        assert!(
            out.is_empty() && d.held() == 1,
            "is it late or after a loss?"
        );
        d.poll(6.1, &mut out);
        assert!(out.is_empty());
        d.poll(6.3, &mut out);
        assert_eq!(out.len(), 1);
        assert!(
            out[0].discont && (out[0].stamp - 6.0).abs() < 0.01,
            "{out:?}"
        );
    }

    #[test]
    fn a_clock_that_jumps_back_starts_anew() {
        let mut noise = Noise::new(4);
        let samples: Vec<_> = (0..3000)
            .map(|n| {
                let t = f64::from(n) / 100.0;
                let base = if n < 1500 { 500.0 } else { -400.0 };
                let jitter = noise.uniform() * 0.004;
                Sample {
                    truth: t + base,
                    stamp: t + base + jitter,
                    arrival: t,
                }
            })
            .collect();
        let out = run(100.0, &samples);
        assert!(out.iter().all(|(t, o)| (o.stamp - t).abs() < 0.008));
        assert_eq!(disconts(&out).len(), 1);
    }
}
