// SPDX-License-Identifier: MPL-2.0
//! One signal from samples to grid points.

use super::checks::Checker;
use super::contact::Contact;
use super::derive::Derived;
use super::filter::Cascade;
use super::normalise::{Normaliser, NormaliserState};
use super::quality::{QualityMeter, Reading, SignalKind};
use super::resample::Resampler;
use super::{CheckSpec, Counts, DeriveSpec, FilterSpec, Grid, NormalisationSpec};
use serde::Deserialize;

/// How one physiological signal is made ready for the network: a table `[[signal]]` of a
/// manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SignalSpec {
    /// The name that streams of tokens use. Without `input` it is also the modality, and so
    /// the name of the pad: `eda`, `ecg`, `ppg`.
    pub name: String,
    /// The modality whose samples the signal is made from, if that is not `name`: one sensor
    /// may give several signals, such as the level and the changes of EDA.
    #[serde(default)]
    pub input: Option<String>,
    /// Grid rate in Hz.
    pub rate: f64,
    /// Longest time between two samples, seconds, across which is interpolated. For a sender
    /// whose period is longer than two thirds of it, 1.5 periods.
    pub max_gap: f64,
    /// Which samples are bad.
    pub checks: CheckSpec,
    /// Filters in the order in which they are applied; at most 16.
    #[serde(default)]
    pub filters: Vec<FilterSpec>,
    /// What is computed from the raw samples, without `filters`; `None`: the filtered samples
    /// are used themselves.
    #[serde(default)]
    pub derive: Option<DeriveSpec>,
    /// How grid values are brought to the network's scale.
    pub normalisation: NormalisationSpec,
}

/// Most filters of a signal: each is computed for every sample.
const MAX_FILTERS: usize = 16;

impl SignalSpec {
    /// The modality whose samples the signal is made from.
    pub fn modality(&self) -> &str {
        self.input.as_deref().unwrap_or(&self.name)
    }

    /// Checks names and numbers, also those of the filters and the other tables inside.
    ///
    /// # Errors
    /// A text that names the field, the expectation and what was found.
    pub fn check(&self) -> Result<(), String> {
        for (field, name) in [("name", self.name.as_str()), ("input", self.modality())] {
            let mut letters = name.bytes();
            let well_named = letters.next().is_some_and(|b| b.is_ascii_lowercase())
                && letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !well_named || name == "video" {
                return Err(format!(
                    "{field} must be lower-case letters, digits and '_', and not 'video'; found '{name}'"
                ));
            }
        }
        if !(0.001..=10_000.0).contains(&self.rate) {
            return Err(format!(
                "rate must be 0.001 to 10000 Hz, found {:?}",
                self.rate
            ));
        }
        if !(self.max_gap.is_finite() && self.max_gap > 0.0 && self.max_gap <= 60.0) {
            return Err(format!(
                "max-gap must be above 0 and at most 60 seconds, found {}",
                self.max_gap
            ));
        }
        self.checks.check().map_err(|e| format!("checks: {e}"))?;
        if self.filters.len() > MAX_FILTERS {
            return Err(format!(
                "filters: expected at most {MAX_FILTERS}, found {}",
                self.filters.len()
            ));
        }
        for (i, filter) in self.filters.iter().enumerate() {
            filter.check().map_err(|e| format!("filters[{i}]: {e}"))?;
        }
        if let Some(derive) = &self.derive {
            derive
                .check(self.modality())
                .map_err(|e| format!("derive: {e}"))?;
        }
        self.normalisation
            .check()
            .map_err(|e| format!("normalisation: {e}"))
    }
}

/// A value on a signal's grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridPoint {
    /// Index on the grid: the point is at `k / rate` seconds.
    pub k: u64,
    /// The value on the network's scale; `None` in a gap, next to a saturated or flat sample,
    /// and during the warm-up of the pulse rate and of the normalisation.
    pub value: Option<f32>,
}

/// Turns the samples of one signal into [`GridPoint`]s, in order and each once.
///
/// The samples of an irregular stream (nominal rate 0) are resampled first and filtered on the
/// grid, since a filter needs equal steps; such a stream gives no pulse rate.
#[derive(Debug, Clone)]
pub struct Conditioner {
    spec: SignalSpec,
    source_rate: f64,
    full_scale: Option<[f64; 2]>,
    checker: Checker,
    /// Of the signal that has its modality's name, and of each that is masked by it.
    meter: Option<QualityMeter>,
    finish: Finish,
    derived: Option<Derived>,
    /// Time (ns) of the last sample that the filter has taken, if none are missing since.
    carried: Option<u64>,
    max_gap: u64,
    resampler: Resampler,
    counts: Counts,
    last_time: Option<u64>,
}

impl Conditioner {
    /// `source_rate`: the stream's nominal rate in Hz, 0 for an irregular one.
    /// `full_scale`: lowest and highest value of an integer sample format, which are
    /// saturated; `None` for floating point.
    ///
    /// `spec` should have passed [`SignalSpec::check`].
    pub fn new(spec: SignalSpec, source_rate: f64, full_scale: Option<[f64; 2]>) -> Self {
        let filter_on_grid = source_rate <= 0.0;
        let filter_rate = if filter_on_grid {
            spec.rate
        } else {
            source_rate
        };
        // The period of a slow sender is no gap.
        let period = if filter_on_grid {
            0.0
        } else {
            1.0 / source_rate
        };
        let max_gap = (spec.max_gap.max(1.5 * period) * 1e9) as u64;
        let derived = spec
            .derive
            .map(|derive| Derived::new(derive, spec.modality(), source_rate));
        let kind = SignalKind::of(spec.modality());
        let masks = spec.checks.min_quality > 0.0;
        let measured = masks || spec.name == spec.modality();
        Self {
            checker: Checker::new(spec.checks, full_scale),
            meter: measured.then(|| QualityMeter::new(kind, source_rate, full_scale)),
            finish: Finish {
                filter: Cascade::new(&spec.filters, filter_rate),
                settled: false,
                on_grid: filter_on_grid,
                normaliser: Normaliser::new(spec.normalisation, spec.rate),
            },
            derived,
            carried: None,
            max_gap,
            resampler: Resampler::new(Grid::new(spec.rate), max_gap),
            counts: Counts::default(),
            last_time: None,
            spec,
            source_rate,
            full_scale,
        }
    }

    /// A conditioner for the same signal and stream that has seen nothing yet, as after a
    /// seek.
    pub fn restarted(&self) -> Self {
        Self::new(self.spec.clone(), self.source_rate, self.full_scale)
    }

    /// What the conditioner was made for.
    pub fn spec(&self) -> &SignalSpec {
        &self.spec
    }

    /// The samples since the beginning, [`Conditioner::reconfigure`] included.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Goes on with a stream of another rate or format, as in [`Conditioner::new`]. The grid,
    /// the normalisation and the counts stay; the filters begin anew.
    pub fn reconfigure(&mut self, source_rate: f64, full_scale: Option<[f64; 2]>) {
        let fresh = Self::new(self.spec.clone(), source_rate, full_scale);
        let next = self.resampler.next();
        let old = std::mem::replace(self, fresh);
        self.finish.normaliser = old.finish.normaliser;
        self.counts = old.counts;
        self.last_time = old.last_time;
        self.resampler.skip_to(next);
    }

    /// Says that samples are missing before the next one: nothing is interpolated across the
    /// gap, however short, and the filters begin anew. The detector of beats goes on across a gap
    /// up to the longest that is interpolated: a sample or two are no beat, and it would need
    /// seconds to learn the beats anew.
    pub fn cut(&mut self) {
        if self.derived.is_none() {
            self.carried = None;
            if let Some(meter) = &mut self.meter {
                meter.cut();
            }
            self.restart_filter();
        }
        self.resampler.cut();
    }

    fn restart_filter(&mut self) {
        self.finish.settled = false;
        if let Some(derived) = &mut self.derived {
            derived.cut();
        }
    }

    /// Says that no further sample before `time` (ns) will come.
    pub fn complete(&mut self, time: u64) {
        self.resampler.complete(time);
    }

    /// The running time (ns) before which no later sample can change a point. Such points have
    /// been given out or are in a gap.
    pub fn settled(&self) -> u64 {
        self.resampler.settled()
    }

    /// Takes a sample at running time `time` (ns), in the stream's unit, and calls `out` with
    /// each point up to it. A sample that is not newer than the one before is counted as late
    /// and changes nothing.
    pub fn push(&mut self, time: u64, value: f64, mut out: impl FnMut(GridPoint)) {
        if self.last_time.is_some_and(|t| time <= t) {
            self.counts.received += 1;
            self.counts.late += 1;
            return;
        }
        self.last_time = Some(time);
        if let Some(meter) = &mut self.meter {
            meter.push(time, value);
        }
        let sample = self.check(time, value);
        match sample {
            Sample::Good => {}
            Sample::Anew => self.carried = None,
            Sample::Missing => return,
            // The detector of beats tells the heart from noise by itself. It would need seconds
            // to learn the beats anew.
            Sample::Poor if self.derived.is_some() => {}
            // Nothing is interpolated to or from it, and it stays out of the filter.
            Sample::Bad | Sample::Poor => {
                self.resampler.cut();
                return;
            }
        }
        let last = self.carried.replace(time);
        if last.is_none_or(|t| time - t > self.max_gap) {
            self.restart_filter();
        }
        let value = match &mut self.derived {
            // A grid is too coarse for the shape of a heartbeat.
            Some(_) if self.finish.on_grid => None,
            Some(derived) => derived.step(time, value),
            None if self.finish.on_grid => Some(value),
            None => {
                let filtered = self.finish.filtered(value);
                if !filtered.is_finite() {
                    // The value was so large that the sums overflowed; the filter's state
                    // would stay infinite.
                    self.restart_filter();
                }
                Some(filtered).filter(|v| v.is_finite())
            }
        };
        let Some(value) = value.filter(|_| !matches!(sample, Sample::Poor)) else {
            self.resampler.cut();
            return;
        };
        let Self {
            resampler, finish, ..
        } = self;
        resampler.push(time, &[value], |k, v| {
            out(finish.point(k, v.map(|v| v[0])));
        });
    }

    /// Looks at a sample, and counts it.
    fn check(&mut self, time: u64, value: f64) -> Sample {
        if !self.checker.accept(time, value, &mut self.counts) {
            return if value.is_finite() {
                Sample::Bad
            } else {
                Sample::Missing
            };
        }
        let masks = self.spec.checks.min_quality > 0.0;
        let meter = self.meter.as_ref().filter(|_| masks);
        let contact = meter.map_or(Contact::Good, QualityMeter::contact);
        let sample = match contact {
            Contact::Detached => {
                self.counts.detached += 1;
                return Sample::Bad;
            }
            Contact::Outlier => {
                self.counts.outliers += 1;
                return Sample::Missing;
            }
            Contact::Anew => Sample::Anew,
            Contact::Good => Sample::Good,
        };
        let quality = self.reading(time).quality;
        if quality.is_some_and(|q| q < self.spec.checks.min_quality) {
            self.counts.poor += 1;
            return Sample::Poor;
        }
        sample
    }

    /// The quality of the samples as they come, at `time` (ns).
    pub fn reading(&self, time: u64) -> Reading {
        match &self.meter {
            Some(meter) => meter.reading(time),
            None => Reading::UNKNOWN,
        }
    }

    /// What the normalisation has learned, to be given to another conditioner of the same signal
    /// with [`Conditioner::restore`]; `None` if it learns nothing.
    pub fn normalisation(&self) -> Option<NormaliserState> {
        self.finish.normaliser.state()
    }

    /// Goes on with the normalisation of another conditioner of the same signal, such as of a
    /// rest before.
    ///
    /// # Errors
    /// A text that says which number is wrong, or that the normalisation learns nothing.
    pub fn restore(&mut self, state: NormaliserState) -> Result<(), String> {
        self.finish.normaliser.restore(state)
    }

    /// How far the normalisation has settled, 0 to 1: see [`NormalisationSpec::settled`].
    pub fn baseline_progress(&self) -> f64 {
        self.finish.normaliser.settled()
    }

    /// Calls `out` with each point before `end` (ns), so that a window can end there. Where the
    /// next sample may still follow closely, the last value is held up to `end`; the points are
    /// not changed by what comes later.
    pub fn close(&mut self, end: u64, mut out: impl FnMut(GridPoint)) {
        let Self {
            resampler, finish, ..
        } = self;
        resampler.close(end, |k, v| out(finish.point(k, v.map(|v| v[0]))));
    }
}

/// What is made of a sample.
enum Sample {
    Good,
    /// Good, and the first of a new level: the filters begin anew.
    Anew,
    /// No point is made of it.
    Bad,
    /// The same, because of the quality of the signal.
    Poor,
    /// As if it had not come: points are interpolated across it.
    Missing,
}

/// The filters, before or after the grid, and the normalisation.
#[derive(Debug, Clone)]
struct Finish {
    filter: Cascade,
    /// Whether `filter` has the state of the value just before.
    settled: bool,
    /// Whether the filters are applied to grid values.
    on_grid: bool,
    normaliser: Normaliser,
}

impl Finish {
    fn filtered(&mut self, x: f64) -> f64 {
        if std::mem::replace(&mut self.settled, true) {
            self.filter.step(x)
        } else {
            self.filter.settle(x)
        }
    }

    fn point(&mut self, k: u64, value: Option<f64>) -> GridPoint {
        let value = match value {
            Some(v) if self.on_grid => Some(self.filtered(v)),
            None if self.on_grid => {
                self.settled = false;
                None
            }
            v => v,
        };
        let value = value
            .filter(|v| v.is_finite())
            .and_then(|v| self.normaliser.step(v))
            .map(|v| v as f32)
            .filter(|v| v.is_finite());
        GridPoint { k, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> SignalSpec {
        SignalSpec {
            name: "ecg".into(),
            input: None,
            derive: None,
            rate: 64.0,
            max_gap: 0.25,
            checks: CheckSpec {
                flat: 0.5,
                range: Some([-5.0, 5.0]),
                min_quality: 0.0,
            },
            filters: vec![FilterSpec::Lowpass {
                order: 2,
                cutoff: 20.0,
            }],
            normalisation: NormalisationSpec::None,
        }
    }

    fn ns(seconds: f64) -> u64 {
        (seconds * 1e9).round() as u64
    }

    fn wave(t: f64) -> f64 {
        (2.0 * std::f64::consts::PI * 1.3 * t).sin()
    }

    fn feed(
        c: &mut Conditioner,
        times: impl Iterator<Item = f64>,
        f: impl Fn(f64) -> f64,
    ) -> Vec<GridPoint> {
        let mut out = Vec::new();
        for t in times {
            c.push(ns(t), f(t), |p| out.push(p));
        }
        out
    }

    #[test]
    fn senders_of_any_rate_give_the_same_wave() {
        // The bilinear transform and the interpolation differ a little from rate to rate.
        for (rate, tolerance) in [(128.0, 0.02), (256.0, 0.02), (51.2, 0.06), (1000.0, 0.02)] {
            let mut c = Conditioner::new(spec(), rate, None);
            let n = (4.0 * rate) as usize;
            let out = feed(&mut c, (0..n).map(|i| 0.003 + i as f64 / rate), wave);
            for p in out.iter().filter(|p| p.k > 64) {
                // The filter delays by about 11 ms at this corner.
                let want = wave(p.k as f64 / 64.0 - 0.0113);
                let got = f64::from(p.value.expect("no gap"));
                assert!(
                    (got - want).abs() < tolerance,
                    "{rate} Hz, point {}: {got} {want}",
                    p.k
                );
            }
        }
    }

    #[test]
    fn an_irregular_sender_is_filtered_on_the_grid() {
        let mut c = Conditioner::new(spec(), 0.0, None);
        let times = (0..800).map(|i| i as f64 * 0.005 + 0.002 * f64::from(i % 3));
        let out = feed(&mut c, times, wave);
        let worst = out
            .iter()
            .filter(|p| p.k > 64)
            .map(|p| (f64::from(p.value.expect("no gap")) - wave(p.k as f64 / 64.0 - 0.0113)).abs())
            .fold(0.0, f64::max);
        assert!(worst < 0.05, "{worst}");
    }

    #[test]
    fn a_dropped_sample_does_not_stop_the_pulse() {
        let rate = 250.0;
        let heart = |t: f64| (-((t.rem_euclid(0.8) - 0.4) / 0.012).powi(2)).exp();
        let derive = toml::from_str(
            "type = \"pulse-rate\"\nmin = 40.0\nmax = 180.0\nspan = 10.0\nsignal = \"ecg\"",
        );
        let spec = SignalSpec {
            filters: Vec::new(),
            rate: 4.0,
            derive: Some(derive.expect("a table")),
            checks: CheckSpec {
                flat: 1.0,
                range: None,
                min_quality: 0.0,
            },
            ..spec()
        };
        let mut c = Conditioner::new(spec, rate, None);
        let times = |from: f64, to: f64| {
            ((from * rate) as usize..(to * rate) as usize).map(move |i| i as f64 / rate)
        };
        feed(&mut c, times(0.0, 20.0), heart);
        c.cut();
        let after = feed(&mut c, times(20.0, 22.0).skip(1), heart);
        let known = after.iter().filter(|p| p.value.is_some()).count();
        assert!(known >= 7, "{known} of {}", after.len());
        // Seconds that are missing are another matter: no rate is known across them.
        c.cut();
        let after = feed(&mut c, times(30.0, 31.0), heart);
        assert!(after.iter().all(|p| p.value.is_none()), "{after:?}");
    }

    #[test]
    fn later_samples_change_no_earlier_point() {
        let run = |n: usize| {
            let mut c = Conditioner::new(spec(), 256.0, None);
            feed(&mut c, (0..n).map(|i| i as f64 / 256.0), wave)
        };
        let (short, long) = (run(500), run(900));
        assert_eq!(short[..], long[..short.len()]);
    }

    #[test]
    fn nan_flat_and_saturated_are_masked_and_counted() {
        let mut c = Conditioner::new(spec(), 128.0, None);
        let bad = |t: f64| match t {
            t if (1.0..1.5).contains(&t) => f64::NAN,
            t if (2.0..2.5).contains(&t) => 9.0 + t,
            t if (3.0..4.5).contains(&t) => 0.25,
            t if (5.0..5.5).contains(&t) => f64::INFINITY,
            t => wave(t),
        };
        let out = feed(&mut c, (0..128 * 7).map(|i| i as f64 / 128.0), bad);
        let masked = |from: f64, to: f64| {
            out.iter()
                .filter(|p| (from..to).contains(&(p.k as f64 / 64.0)))
                .all(|p| p.value.is_none())
        };
        let clear = |from: f64, to: f64| {
            out.iter()
                .filter(|p| (from..to).contains(&(p.k as f64 / 64.0)))
                .all(|p| p.value.is_some_and(f32::is_finite))
        };
        assert!(
            masked(1.01, 1.49) && masked(2.01, 2.49) && masked(3.55, 4.45) && masked(5.01, 5.49)
        );
        assert!(clear(0.0, 0.98) && clear(1.52, 1.98) && clear(2.52, 3.5) && clear(4.55, 4.95));
        let counts = c.counts();
        assert_eq!(
            (counts.not_finite, counts.saturated),
            (128, 64),
            "{counts:?}"
        );
        assert_eq!(counts.flat, 128, "{counts:?}");
        assert_eq!(counts.received, 128 * 7);
    }

    /// Skin conductance as the default bundle takes it.
    fn skin_spec(min_quality: f64) -> SignalSpec {
        SignalSpec {
            name: "eda".into(),
            rate: 4.0,
            max_gap: 1.0,
            checks: CheckSpec {
                flat: 10.0,
                range: Some([0.0, 100.0]),
                min_quality,
            },
            filters: vec![
                FilterSpec::Lowpass {
                    order: 2,
                    cutoff: 1.0,
                },
                FilterSpec::Log { offset: 0.05 },
            ],
            normalisation: NormalisationSpec::Running {
                time_constant: 1200.0,
                warm_up: 4.0,
                min_std: 0.02,
                clip: 6.0,
            },
            ..spec()
        }
    }

    fn skin(t: f64) -> f64 {
        let phase = (t / 17.0).fract() * 17.0;
        let response = (1.0 - (-2.0 * phase).exp()).powi(2) * (-phase / 5.0).exp();
        3.0 + 0.001 * t + 0.4 * (t * 0.02).sin() + 0.6 * response
    }

    #[test]
    fn lost_contact_and_spikes_leave_skin_as_it_is() {
        let times = || (0..4 * 900).map(|i| f64::from(i) / 4.0);
        let mut plain = Conditioner::new(skin_spec(0.25), 4.0, None);
        let clean = feed(&mut plain, times(), skin);
        assert!(clean.iter().skip(20).all(|p| p.value.is_some()));
        let lost = |t: f64| t > 60.0 && (t / 120.0).fract() < 5.0 / 120.0;
        let noise = |t: f64| 0.003 * (t * 977.0).sin();
        let spike = |t: f64| t > 60.0 && (t / 20.0).fract() < 0.01;
        type Skin<'a> = &'a dyn Fn(f64) -> f64;
        let cases: [(&str, Skin, f64); 4] = [
            ("lost", &|t| if lost(t) { noise(t) } else { skin(t) }, 0.91),
            (
                "lost, NaN",
                &|t| if lost(t) { f64::NAN } else { skin(t) },
                0.95,
            ),
            (
                "spikes",
                &|t| if spike(t) { 5.0 * skin(t) } else { skin(t) },
                0.99,
            ),
            (
                "drops",
                &|t| if spike(t) { 0.2 * skin(t) } else { skin(t) },
                0.99,
            ),
        ];
        for (what, signal, share) in cases {
            let mut c = Conditioner::new(skin_spec(0.25), 4.0, None);
            let got = feed(&mut c, times(), signal);
            let both = clean.iter().zip(&got);
            let both: Vec<_> = both
                .filter_map(|(a, b)| Some((a.value?, b.value?)))
                .collect();
            let held = both.len() as f64 / clean.len() as f64;
            assert!(held > share, "{what}: {held} of the points");
            let worst = both.iter().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 0.35, "{what}: {worst}");
            let mean = both.iter().map(|(a, b)| (a - b).abs()).sum::<f32>() / both.len() as f32;
            assert!(mean < 0.05, "{what}: {mean}");
        }
        // Without the key every sample that the checks let through is taken.
        let mut c = Conditioner::new(skin_spec(0.0), 4.0, None);
        feed(&mut c, times(), |t| {
            if lost(t) { noise(t).abs() } else { skin(t) }
        });
        let Counts {
            detached,
            outliers,
            poor,
            ..
        } = c.counts();
        assert_eq!((detached, outliers, poor), (0, 0, 0));
    }

    #[test]
    fn what_is_no_heart_is_masked_and_an_irregular_one_is_bad() {
        let spec = |min_quality| SignalSpec {
            checks: CheckSpec {
                flat: 1.0,
                range: None,
                min_quality,
            },
            ..spec()
        };
        let heart = |t: f64| (-0.5 * (((t / 0.8).fract() - 0.5) * 0.8 / 0.012).powi(2)).exp();
        let noise = |t: f64| ((t * 12_345.678).sin() * 43_758.547).fract();
        for (min_quality, masked) in [(0.25, true), (0.0, false)] {
            let mut c = Conditioner::new(spec(min_quality), 250.0, None);
            let out = feed(&mut c, (0..250 * 40).map(|i| f64::from(i) / 250.0), |t| {
                if (15.0..30.0).contains(&t) {
                    noise(t)
                } else {
                    heart(t)
                }
            });
            let held = |from: f64, to: f64| {
                let at = |p: &&GridPoint| (from..to).contains(&(p.k as f64 / 64.0));
                out.iter().filter(at).filter(|p| p.value.is_some()).count() as f64
                    / (64.0 * (to - from))
            };
            assert!(held(0.5, 15.0) > 0.99 && held(35.0, 39.5) > 0.99);
            assert_eq!(held(20.0, 30.0) < 0.01, masked, "{}", held(20.0, 30.0));
            assert_eq!(c.counts().poor > 0, masked);
        }
        let mut c = Conditioner::new(spec(0.0), 0.0, None);
        feed(&mut c, (0..2000).map(|i| f64::from(i) * 0.004), heart);
        let reading = c.reading(ns(7.99));
        assert_eq!(reading.quality, Some(0.0), "{reading:?}");
    }

    #[test]
    fn integer_full_scale_is_saturation() {
        let mut c = Conditioner::new(
            SignalSpec {
                checks: CheckSpec {
                    flat: 10.0,
                    range: None,
                    min_quality: 0.0,
                },
                ..spec()
            },
            128.0,
            Some([-32768.0, 32767.0]),
        );
        c.push(0, 32767.0, |_| {});
        c.push(8_000_000, -32768.0, |_| {});
        c.push(16_000_000, 100.0, |_| {});
        assert_eq!(c.counts().saturated, 2);
    }

    #[test]
    fn late_samples_are_counted_and_change_nothing() {
        let mut c = Conditioner::new(spec(), 128.0, None);
        c.push(ns(1.0), 0.5, |_| {});
        let mut out = Vec::new();
        c.push(ns(0.5), 4.0, |p| out.push(p));
        assert!(out.is_empty());
        assert_eq!(c.counts().late, 1);
    }

    #[test]
    fn specs_say_what_is_wrong() {
        let text = SignalSpec {
            rate: -4.0,
            ..spec()
        }
        .check()
        .expect_err("rate");
        assert!(text.contains("rate") && text.contains("-4"), "{text}");
        let text = SignalSpec {
            name: "Video".into(),
            ..spec()
        }
        .check()
        .expect_err("name");
        assert!(text.contains("Video"), "{text}");
    }
}
