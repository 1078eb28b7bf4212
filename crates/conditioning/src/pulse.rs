// SPDX-License-Identifier: MPL-2.0
use serde::Deserialize;
use std::collections::VecDeque;

/// What a signal is turned into after its filters.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeriveSpec {
    /// Beats per minute: the median of the inter-beat intervals of the last `span` seconds.
    ///
    /// `min` and `max` in beats per minute bound what counts as a heart. The filters
    /// before it must leave one dominant peak per beat: a band around 0.5–4 Hz of a PPG,
    /// around 5–20 Hz of an ECG, so that one derivation serves both.
    #[serde(rename_all = "kebab-case")]
    PulseRate { min: f64, max: f64, span: f64 },
}

impl DeriveSpec {
    /// # Errors
    /// Says which number is out of its range.
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

/// Intervals that are compared with a new one.
const REMEMBERED: usize = 9;
/// A beat may come this share earlier or later than the last ones did.
const TOLERANCE: f64 = 0.3;
/// Intervals in `span` before a rate is told.
const ENOUGH: usize = 3;
/// Share of the usual peak that a peak must reach.
const THRESHOLD: f64 = 0.4;
/// Seconds without a beat after which the usual peak is halved: a heart that beats more
/// faintly, a sensor that slipped, or one that began with a spike, is found again.
const HALVING: f64 = 1.5;
/// Seconds for which the height that the first seconds taught holds without a beat. A spike
/// among them costs these and a few more.
const LEARNT: f64 = 5.0;
/// Seconds after a beat in which its own T wave or dicrotic wave may come. Up to 120 beats
/// per minute no beat comes so early.
const ECHO: f64 = 0.5;
/// A peak that comes so early is a beat of its own if it reaches this share of the last
/// one, in height and in the steepness of its rise.
const OWN_BEAT: f64 = 0.82;
/// One that rises with less than this share of the steepness is none, ever. In between it is
/// none where such a wave follows one beat after the other.
const SLOW: f64 = 0.5;
/// Beats with such a wave, less those without, from which on it is expected; twice as many
/// are remembered.
const FOLLOWED: u32 = 2;
/// Longest stretch, in seconds, that counts as the rise to a peak.
const RISE: f64 = 0.2;

/// Finds beats as they come and tells their rate.
///
/// A beat is a local maximum above an adaptive threshold, no nearer to the last one than
/// the fastest heart allows; of two that are too near the higher one counts. A lower or
/// slower wave soon after every beat is part of that beat. Its time is the top of the
/// parabola through three samples.
#[derive(Debug, Clone)]
pub(super) struct PulseRate {
    shortest: f64,
    longest: f64,
    span: f64,
    /// The last two samples: seconds, value.
    before: Option<(f64, f64)>,
    last: Option<(f64, f64)>,
    /// Steps from sample to sample of the last moments (seconds, step), only those that no
    /// later one exceeds: the first is the steepest.
    rises: VecDeque<(f64, f64)>,
    /// The usual height of a beat's peak, as known at `known`.
    height: f64,
    /// When a peak last told the height: that of the last beat, or of one to learn from.
    known: f64,
    /// The last beat: it may still be replaced by a higher one near it.
    beat: Option<Peak>,
    /// The last beat that is no smaller wave soon after another one.
    own: Option<Peak>,
    /// Whether a smaller wave came soon after it.
    echoed: bool,
    /// How many beats had one, less those that had none.
    followed: u32,
    /// The beat before.
    previous: Option<f64>,
    /// Intervals that a heart could make, newest last: the yardstick.
    plausible: VecDeque<f64>,
    /// Accepted intervals: when they ended, how long they were.
    accepted: VecDeque<(f64, f64)>,
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
    pub(super) fn new(spec: DeriveSpec) -> Self {
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

    /// Samples are missing here: no interval spans what comes next, and the peaks may
    /// have another height.
    pub(super) fn cut(&mut self) {
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

    /// Takes a filtered sample at `time` seconds; the rate in beats per minute, if there is one.
    pub(super) fn step(&mut self, time: f64, value: f64) -> Option<f64> {
        let began = *self.began.get_or_insert(time);
        if let (Some((t0, a)), Some((t1, b))) = (self.before, self.last)
            && b > a
            && b >= value
            && b > 0.0
        {
            // The parabola's top; the samples are as good as equally spaced.
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

    /// The filters took the samples as equally spaced, and so are the steps.
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

    fn peak(&mut self, peak: Peak, running: f64) {
        let Peak { at, height, .. } = peak;
        // The first seconds only teach how high peaks are.
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
                    // The same beat's true top: its interval is measured again.
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
        // A height that faded before there was a beat says little.
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

    /// Whether the peak belongs to the beat before it.
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

/// 0 for nothing.
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
    fn it_follows_a_change_and_forgets_what_stopped() {
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
    fn noise_is_no_heart_of_one_rate() {
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
    fn what_the_first_seconds_taught_fades_without_a_beat() {
        for spike in [3.0, 5.0, 100.0, 1e6] {
            let rate = with_echo(72.0, 0.0, 0.3, 0.02, spike);
            assert!(
                rate.is_some_and(|r| (r - 72.0).abs() < 1.0),
                "{spike}: {rate:?}"
            );
        }
    }
}
