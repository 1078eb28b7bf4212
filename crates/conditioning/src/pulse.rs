// SPDX-License-Identifier: MPL-2.0
//! The pulse rate of a filtered ECG or PPG.

use serde::Deserialize;
use std::collections::VecDeque;

/// What is computed from a signal after its filters: the table `derive` of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeriveSpec {
    /// Beats per minute: 60 divided by the median of the inter-beat intervals, in seconds, of
    /// the last `span` seconds. Nothing while there are fewer than three.
    ///
    /// The filters before it must leave one dominant peak per beat: a band of about 0.5–4 Hz
    /// of a PPG, of about 5–20 Hz of an ECG.
    #[serde(rename_all = "kebab-case")]
    PulseRate {
        /// Lowest rate, beats per minute: longer intervals do not count. At least 10.
        min: f64,
        /// Highest rate, beats per minute: shorter intervals do not count. At most 400.
        max: f64,
        /// Seconds, 2 to 120.
        span: f64,
    },
}

impl DeriveSpec {
    /// Checks the numbers of the table.
    ///
    /// # Errors
    /// A text that names the field, the expectation and what was found.
    pub fn check(&self) -> Result<(), String> {
        let Self::PulseRate { min, max, span } = *self;
        if !(min.is_finite() && max.is_finite() && min >= 10.0 && max <= 400.0 && min < max) {
            return Err(format!(
                "min and max must be 10 to 400 beats per minute and min below max, found {min} and {max}"
            ));
        }
        if !(span.is_finite() && (2.0..=120.0).contains(&span)) {
            return Err(format!("span must be 2 to 120 seconds, found {span}"));
        }
        Ok(())
    }
}

/// Intervals whose median a new one is compared with.
const REMEMBERED: usize = 9;
/// An interval may differ from that median by this share of it.
const TOLERANCE: f64 = 0.3;
/// Intervals within `span` that a rate needs.
const ENOUGH: usize = 3;
/// Share of the usual height that a peak must reach to be a beat.
const THRESHOLD: f64 = 0.4;
/// Half-life, in seconds, of the usual height while no beat is found. So beats are found again
/// when they have become smaller, as after a slip of the sensor or a spike at the start.
const HALVING: f64 = 1.5;
/// Seconds for which the height that was learned at the start stays without a beat.
const LEARNT: f64 = 5.0;
/// Seconds after a beat within which its T wave or dicrotic wave may come. Up to 120 beats per
/// minute the next beat comes later.
const ECHO: f64 = 0.5;
/// A peak within [`ECHO`] is a beat if its height and the steepness of its rise reach this
/// share of those of the beat before.
const OWN_BEAT: f64 = 0.82;
/// A peak within [`ECHO`] below this share of the steepness is never a beat. Between the two
/// shares it is none if such a wave has followed the beats before.
const SLOW: f64 = 0.5;
/// Such a wave is expected when this many more beats had one than had none. The count goes up
/// to twice this.
const FOLLOWED: u32 = 2;
/// Longest time, in seconds, that counts as the rise to a peak.
const RISE: f64 = 0.2;

/// Detects beats, causally, and computes their rate.
///
/// A beat is a local maximum above an adaptive threshold. Two beats are at least the shortest
/// interval apart; of two peaks that are nearer the higher one counts. A lower or slower wave
/// soon after each beat (T wave, dicrotic wave) is part of that beat. The time of a beat is
/// the vertex of the parabola through the samples around the maximum.
#[derive(Debug, Clone)]
pub(crate) struct PulseRate {
    /// Intervals between beats, seconds.
    shortest: f64,
    longest: f64,
    /// Seconds of which the intervals count.
    span: f64,
    /// The last two samples: seconds, value.
    before: Option<(f64, f64)>,
    last: Option<(f64, f64)>,
    /// Recent differences between neighbouring samples (seconds, difference), without those
    /// that a later one exceeds: the first is the largest.
    rises: VecDeque<(f64, f64)>,
    /// The usual height of a beat's peak at the time `known`.
    height: f64,
    /// Time of the peak that last changed `height`, seconds.
    known: f64,
    /// The last beat: a higher peak soon after may replace it.
    beat: Option<Peak>,
    /// The last beat, without small waves that were taken for one.
    own: Option<Peak>,
    /// Whether a smaller wave came soon after `own`.
    echoed: bool,
    /// How many beats had such a wave, less those that had none.
    followed: u32,
    /// Time of the beat before `beat`, seconds.
    previous: Option<f64>,
    /// Intervals within the limits, newest last. New ones are compared with their median.
    plausible: VecDeque<f64>,
    /// Accepted intervals: end and length, seconds.
    accepted: VecDeque<(f64, f64)>,
    /// Time of the first sample, seconds.
    began: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Peak {
    /// Seconds.
    at: f64,
    height: f64,
    /// The largest step from sample to sample on the way up.
    rise: f64,
}

impl PulseRate {
    pub(crate) fn new(spec: DeriveSpec) -> Self {
        let DeriveSpec::PulseRate { min, max, span } = spec;
        Self {
            shortest: 60.0 / max,
            longest: 60.0 / min,
            span,
            before: None,
            last: None,
            rises: VecDeque::new(),
            height: 0.0,
            known: 0.0,
            beat: None,
            own: None,
            echoed: false,
            followed: 0,
            previous: None,
            plausible: VecDeque::new(),
            accepted: VecDeque::new(),
            began: None,
        }
    }

    /// Says that samples are missing before the next one: no interval is measured across the
    /// gap, and the height of the peaks is learned anew.
    pub(crate) fn cut(&mut self) {
        self.before = None;
        self.last = None;
        self.rises.clear();
        self.height = 0.0;
        self.beat = None;
        self.own = None;
        self.echoed = false;
        self.previous = None;
        self.began = None;
    }

    /// Takes a filtered sample at `time` seconds and gives the rate in beats per minute, if
    /// there are enough beats.
    pub(crate) fn step(&mut self, time: f64, value: f64) -> Option<f64> {
        let began = *self.began.get_or_insert(time);
        if let (Some((t0, a)), Some((t1, b))) = (self.before, self.last)
            && b > a
            && b >= value
            && b > 0.0
        {
            // Vertex of the parabola, with the samples taken as equally spaced.
            let bend = a - 2.0 * b + value;
            let shift = if bend < 0.0 {
                0.5 * (a - value) / bend
            } else {
                0.0
            };
            let peak = Peak {
                at: t1 + shift * (t1 - t0),
                height: b,
                rise: self.rises.front().map_or(0.0, |(_, step)| *step),
            };
            self.peak(peak, time - began);
        }
        if let Some((_, last)) = self.last {
            self.climb(time, value - last);
        }
        self.before = self.last;
        self.last = Some((time, value));
        while self
            .accepted
            .front()
            .is_some_and(|(t, _)| time - t > self.span)
        {
            self.accepted.pop_front();
        }
        (self.accepted.len() >= ENOUGH)
            .then(|| 60.0 / median(self.accepted.iter().map(|(_, length)| *length)))
    }

    /// Notes a difference between neighbouring samples, which are taken as equally spaced.
    fn climb(&mut self, time: f64, step: f64) {
        let reach = RISE.min(0.5 * self.shortest);
        while self.rises.front().is_some_and(|(t, _)| time - t > reach) {
            self.rises.pop_front();
        }
        while self.rises.back().is_some_and(|(_, s)| *s <= step) {
            self.rises.pop_back();
        }
        self.rises.push_back((time, step));
    }

    /// Takes a local maximum; `running` are the seconds since the first sample.
    fn peak(&mut self, peak: Peak, running: f64) {
        let Peak { at, height, .. } = peak;
        // In the first seconds only the height of the peaks is learned.
        if running < 2.0 * self.longest.min(1.0) {
            self.height = self.height.max(height);
            self.known = at;
            return;
        }
        let holds = match self.beat {
            Some(_) => self.longest,
            None => LEARNT,
        };
        let faded = 0.5f64.powf((at - self.known - holds).max(0.0) / HALVING);
        let usual = self.height * faded;
        if height < THRESHOLD * usual {
            return;
        }
        match self.beat {
            Some(beat) if at - beat.at < self.shortest => {
                if height > beat.height {
                    // The true peak of the same beat: its interval is measured again.
                    self.take_back(beat.at);
                    if self.own.is_some_and(|own| own.at == beat.at) {
                        self.own = Some(peak);
                    }
                    self.beat = Some(peak);
                    self.known = at;
                    self.measure(at);
                    self.height += 0.125 * (height - beat.height);
                }
                return;
            }
            _ => {}
        }
        if self.is_echo(peak) {
            return;
        }
        // Before the first beat the new height gets more weight the more the old one faded.
        let weight = match self.beat {
            Some(_) => 0.125,
            None => 1.0 - 0.875 * faded,
        };
        self.height = usual + weight * (height.min(4.0 * usual) - usual);
        self.previous = self.beat.map(|b| b.at);
        self.beat = Some(peak);
        self.known = at;
        self.measure(at);
    }

    /// Whether the peak is a smaller wave that belongs to the beat before it.
    fn is_echo(&mut self, peak: Peak) -> bool {
        if let Some(own) = self.own {
            let smaller = peak.height < OWN_BEAT * own.height || peak.rise < OWN_BEAT * own.rise;
            if peak.at - own.at < ECHO && smaller {
                self.echoed = true;
                return peak.rise < SLOW * own.rise || self.followed >= FOLLOWED;
            }
            self.followed = if self.echoed {
                (self.followed + 1).min(2 * FOLLOWED)
            } else {
                self.followed.saturating_sub(1)
            };
        }
        self.own = Some(peak);
        self.echoed = false;
        false
    }

    /// Removes the interval that ended at `ended`.
    fn take_back(&mut self, ended: f64) {
        if self.accepted.back().is_some_and(|(t, _)| *t == ended) {
            self.accepted.pop_back();
        }
        if self.previous.is_some_and(|p| {
            let length = ended - p;
            self.plausible.back().is_some_and(|l| *l == length)
        }) {
            self.plausible.pop_back();
        }
    }

    /// Measures the interval that ends at `at`, and keeps it if it is plausible.
    fn measure(&mut self, at: f64) {
        let Some(length) = self.previous.map(|p| at - p) else {
            return;
        };
        if !(self.shortest..=self.longest).contains(&length) {
            return;
        }
        let known = self.plausible.len() >= 3;
        let usual = median(self.plausible.iter().copied());
        self.plausible.push_back(length);
        if self.plausible.len() > REMEMBERED {
            self.plausible.pop_front();
        }
        if !known || (length - usual).abs() <= TOLERANCE * usual {
            self.accepted.push_back((at, length));
        }
    }
}

/// The median, 0 without values.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: DeriveSpec = DeriveSpec::PulseRate {
        min: 40.0,
        max: 180.0,
        span: 10.0,
    };

    /// A train of bumps `width` seconds wide at `beats`, sampled at `rate`.
    fn rates(beats: &[f64], width: f64, rate: f64, seconds: f64, noise: f64) -> Vec<Option<f64>> {
        let mut p = PulseRate::new(SPEC);
        let mut seed = 1u64;
        (0..(seconds * rate) as usize)
            .map(|i| {
                let t = i as f64 / rate;
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let n = (seed >> 33) as f64 / f64::from(1u32 << 31) - 0.5;
                let near = |b: &f64| (-((t - b) / width).powi(2)).exp();
                p.step(t, beats.iter().map(near).sum::<f64>() - 0.2 + noise * n)
            })
            .collect()
    }

    #[test]
    fn a_wave_of_either_shape_and_any_rate_gives_its_own_rate() {
        for bpm in [48.0, 60.0, 75.5, 110.0, 165.0] {
            let beats: Vec<f64> = (0..200).map(|i| 0.3 + f64::from(i) * 60.0 / bpm).collect();
            for (width, rate) in [(0.12, 64.0), (0.02, 128.0), (0.02, 250.0), (0.1, 51.2)] {
                let all = rates(&beats, width, rate, 40.0, 0.02);
                let told: Vec<f64> = all[(15.0 * rate) as usize..]
                    .iter()
                    .flatten()
                    .copied()
                    .collect();
                assert!(
                    told.len() as f64 > 24.0 * rate,
                    "{bpm} {width} {rate}: {}",
                    told.len()
                );
                for r in told {
                    assert!((r - bpm).abs() < 1.0, "{bpm} {width} {rate}: {r}");
                }
            }
        }
    }

    #[test]
    fn it_follows_a_change_and_ends_after_the_last_beat() {
        let mut beats: Vec<f64> = (0..40).map(|i| f64::from(i) * 0.9).collect();
        let from = beats[beats.len() - 1];
        beats.extend((1..60).map(|i| from + f64::from(i) * 0.6));
        let all = rates(&beats, 0.1, 64.0, 100.0, 0.0);
        let at = |t: f64| all[(t * 64.0) as usize];
        assert!(
            (at(30.0).expect("a rate") - 66.7).abs() < 1.0,
            "{:?}",
            at(30.0)
        );
        assert!(
            (at(62.0).expect("a rate") - 100.0).abs() < 1.0,
            "{:?}",
            at(62.0)
        );
        assert_eq!(at(95.0), None, "ten seconds after the last beat");
    }

    #[test]
    fn noise_and_silence_give_no_steady_rate() {
        let all = rates(&[], 0.1, 64.0, 60.0, 1.0);
        let told = all.iter().flatten().count() as f64 / all.len() as f64;
        let mut p = PulseRate::new(SPEC);
        assert!(
            (0..6400).all(|i| p.step(f64::from(i) / 64.0, 0.0).is_none()),
            "silence"
        );
        assert!(told < 1.0, "{told}");
    }

    #[test]
    fn no_interval_spans_a_cut() {
        let mut p = PulseRate::new(SPEC);
        let mut step = |t: f64| p.step(t, (t * 2.0 * std::f64::consts::PI).sin());
        for i in 0..1280 {
            step(f64::from(i) / 64.0);
        }
        p.cut();
        let mut rate = None;
        for i in 0..640 {
            rate = p.step(
                20.5 + f64::from(i) / 64.0,
                (f64::from(i) / 32.0 * std::f64::consts::PI).sin(),
            );
        }
        assert!((rate.expect("a rate") - 60.0).abs() < 1.0, "{rate:?}");
    }

    /// Rate at the end of `seconds`, of bumps at `bpm` with a second one of `height` after each.
    fn with_echo(bpm: f64, height: f64, after: f64, width: f64, spike: f64) -> Option<f64> {
        let mut p = PulseRate::new(SPEC);
        let mut rate = None;
        for i in 0..128 * 40 {
            let t = f64::from(i) / 128.0;
            let phase = t.rem_euclid(60.0 / bpm);
            let bump = |at: f64, width: f64| (-((phase - at) / width).powi(2)).exp();
            let value = bump(0.1, 0.02) + height * bump(0.1 + after, width) - 0.1;
            rate = p.step(t, if i == 100 { spike } else { value });
        }
        rate
    }

    #[test]
    fn a_smaller_wave_after_each_beat_is_part_of_it() {
        for bpm in [50.0, 60.0, 87.0, 100.0, 120.0, 150.0] {
            for height in [0.2, 0.4, 0.5, 0.6, 0.7, 0.8] {
                for after in [0.2, 0.3, 0.35, 0.4, 0.45] {
                    for width in [0.02, 0.03, 0.06] {
                        if after + 0.1 + 2.0 * width > 60.0 / bpm {
                            continue;
                        }
                        let rate = with_echo(bpm, height, after, width, 0.0);
                        assert!(
                            rate.is_some_and(|r| (r - bpm).abs() < 1.5),
                            "{bpm}, {height} after {after}, {width} wide: {rate:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_height_of_a_spike_at_the_start_fades_without_a_beat() {
        for spike in [3.0, 5.0, 100.0, 1e6] {
            let rate = with_echo(72.0, 0.0, 0.3, 0.02, spike);
            assert!(
                rate.is_some_and(|r| (r - 72.0).abs() < 1.0),
                "{spike}: {rate:?}"
            );
        }
    }
}
