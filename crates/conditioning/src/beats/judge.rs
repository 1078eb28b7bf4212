// SPDX-License-Identifier: MPL-2.0
//! Which waves are beats.
//!
//! After Pan and Tompkins (1985) and Hamilton (2002): a wave is a beat if it is higher than a
//! threshold between the usual height of a beat and that of a wave that is none, each the
//! median of the last ones; a smaller, less steep wave soon after a beat is its T wave or
//! dicrotic wave; when a beat is overdue, the highest wave since the last one is taken from
//! half of the threshold on, with those of its height.
//!
//! Heights are learned from the highest three waves of about one height: at the start, whenever
//! no beat was found for some seconds, and when such waves are much higher than what was
//! taken for beats. So neither a spike nor a step of the amplitude is remembered. The waves
//! since the last beat are then judged in their order.
//!
//! The rhythm says nothing about whether a wave is a beat: an irregular heart is a heart.

use super::front::Wave;
use super::{Beat, HeartSignal, median};
use std::collections::VecDeque;

/// Beats and other waves whose heights are remembered (Hamilton 2002).
const REMEMBERED: usize = 8;
/// The same of a PPG, whose height may halve within two beats when the vessels narrow.
const REMEMBERED_PPG: usize = 4;
/// Seconds for which waves are kept to learn from.
const KEPT: f64 = 5.0;
/// Most waves that are kept; they are at least 0.2 s apart.
const MOST: usize = 32;
/// Waves of one height that make a height known.
const ENOUGH: usize = 3;
/// Waves are of one height down to this share of the highest of them.
const ALIKE: f64 = 0.5;
/// Place of the threshold between the height of waves that are no beats and that of beats.
const THRESHOLD: f64 = 0.35;
/// A wave that is this many times as high as a beat is none, until there are three of them.
const TOO_HIGH: f64 = 4.0;
/// A beat is overdue after this many usual intervals (Pan and Tompkins 1985).
const OVERDUE: f64 = 1.66;
/// Waves of this share of the highest one are taken with it.
const MISSED: f64 = 0.7;
/// Seconds without a beat after which the height is learned anew.
const LOST: f64 = 2.5;
/// Seconds after a beat within which a wave of less than half its steepness belongs to it.
const ECHO: f64 = 0.36;
/// Seconds after a beat within which a smaller wave belongs to it, if the beats before had one
/// as well. Up to 120 beats per minute the next beat comes later.
const LATE_ECHO: f64 = 0.5;
/// When that wave is not smaller by more, it may be a beat.
const OWN_BEAT: f64 = 0.8;
/// How often more than not a beat must have had such a wave. Counted up to twice this.
const FOLLOWED: u32 = 2;
/// Shapes that a new one is compared with.
const SHAPES: usize = 6;

/// What is remembered of a beat.
#[derive(Debug, Clone, Copy)]
struct Known {
    at: u64,
    height: f64,
    steep: f64,
}

/// What is to be done with a wave.
enum Verdict {
    Beat,
    Echo,
    TooHigh,
    TooLow,
}

#[derive(Debug, Clone)]
pub(super) struct Judge {
    signal: HeartSignal,
    /// The last beats, newest last.
    beats: VecDeque<Known>,
    /// The height that was learned; the medians take over from it.
    learned: Option<f64>,
    /// Heights of the last waves that were none.
    others: VecDeque<f64>,
    /// Intervals between the last beats, seconds.
    intervals: VecDeque<f64>,
    /// Waves since the last beat that are none, not counting echoes.
    waiting: VecDeque<Wave>,
    /// The last waves that were too high for a beat.
    high: VecDeque<Wave>,
    /// The last wave that echoes may follow.
    own: Option<Known>,
    /// Whether an echo came after `own`.
    echoed: bool,
    /// How many beats had an echo, less those that had none.
    followed: u32,
    /// Times and shapes of the last beats.
    shapes: VecDeque<(u64, Vec<f32>)>,
    /// Which way the largest deflections of the last beats point: −1 to 1.
    side: f64,
    inverted: bool,
    /// Time of the newest beat that was given out.
    told: Option<u64>,
}

/// Seconds from `earlier` to `later`.
fn seconds(earlier: u64, later: u64) -> f64 {
    later.saturating_sub(earlier) as f64 * 1e-9
}

fn keep<T>(list: &mut VecDeque<T>, value: T, most: usize) {
    list.push_back(value);
    if list.len() > most {
        list.pop_front();
    }
}

impl Judge {
    pub(super) fn new(signal: HeartSignal) -> Self {
        Self {
            signal,
            beats: VecDeque::new(),
            learned: None,
            others: VecDeque::new(),
            intervals: VecDeque::new(),
            waiting: VecDeque::new(),
            high: VecDeque::new(),
            own: None,
            echoed: false,
            followed: 0,
            shapes: VecDeque::new(),
            side: 0.0,
            inverted: false,
            told: None,
        }
    }

    /// Forgets everything but the time up to which beats were given out.
    pub(super) fn cut(&mut self) {
        let told = self.told;
        *self = Self::new(self.signal);
        self.told = told;
    }

    /// Takes the next wave and calls `out` with the beats that are known through it.
    pub(super) fn take(&mut self, wave: Wave, out: &mut impl FnMut(Beat)) {
        let now = wave.at;
        if let Some(level) = self.level() {
            self.judge(wave, level, self.threshold(level), out);
        } else {
            keep(&mut self.waiting, wave, MOST);
        }
        self.search_back(now, out);
        self.high.retain(|w| seconds(w.at, now) <= KEPT);
        if self.high.len() >= ENOUGH {
            let high = std::mem::take(&mut self.high);
            if group(&high, 0.0).is_some() {
                self.waiting = high;
                self.learn(now, out);
                return;
            }
            self.high = high;
        }
        let lost = self.beats.back().is_none_or(|b| seconds(b.at, now) > LOST);
        if lost {
            self.learn(now, out);
        }
    }

    /// The usual height of a beat.
    fn level(&self) -> Option<f64> {
        let learned = self.learned?;
        let guess = std::iter::repeat_n(learned, ENOUGH.saturating_sub(self.beats.len()));
        median(self.beats.iter().map(|b| b.height).chain(guess))
    }

    fn threshold(&self, level: f64) -> f64 {
        let other = median(self.others.iter().copied()).unwrap_or(0.0);
        let other = other.min(0.6 * level);
        other + THRESHOLD * (level - other)
    }

    fn remembered(&self) -> usize {
        match self.signal {
            HeartSignal::Ecg => REMEMBERED,
            HeartSignal::Ppg => REMEMBERED_PPG,
        }
    }

    fn judge(&mut self, wave: Wave, level: f64, threshold: f64, out: &mut impl FnMut(Beat)) {
        match self.verdict(&wave, level, threshold) {
            Verdict::Beat => self.accept(wave, level, out),
            Verdict::Echo => self.echoed = true,
            Verdict::TooHigh => {
                // Its echo is no beat either.
                self.own = Some(Known {
                    at: wave.at,
                    height: wave.height,
                    steep: wave.steep,
                });
                keep(&mut self.high, wave.clone(), MOST);
                keep(&mut self.waiting, wave, MOST);
            }
            Verdict::TooLow => keep(&mut self.waiting, wave, MOST),
        }
    }

    fn verdict(&self, wave: &Wave, level: f64, threshold: f64) -> Verdict {
        if wave.height > TOO_HIGH * level {
            return Verdict::TooHigh;
        }
        if let Some(own) = self.own {
            let after = seconds(own.at, wave.at);
            let height = wave.height / own.height;
            let steep = wave.steep / own.steep;
            let known = self.followed >= FOLLOWED;
            if after < ECHO && steep < 0.5
                || after < LATE_ECHO && known && steep < OWN_BEAT && height < OWN_BEAT
            {
                return Verdict::Echo;
            }
        }
        if wave.height < threshold {
            Verdict::TooLow
        } else {
            Verdict::Beat
        }
    }

    fn accept(&mut self, wave: Wave, level: f64, out: &mut impl FnMut(Beat)) {
        let known = Known {
            at: wave.at,
            height: wave.height,
            steep: wave.steep,
        };
        if self.own.is_some() {
            self.followed = if self.echoed {
                (self.followed + 1).min(2 * FOLLOWED)
            } else {
                self.followed.saturating_sub(1)
            };
        }
        self.echoed = false;
        self.own = Some(known);
        if let Some(last) = self.beats.back() {
            let interval = seconds(last.at, wave.at);
            let most = self.remembered();
            keep(&mut self.intervals, interval, most);
        }
        let most = self.remembered();
        keep(&mut self.beats, known, most);
        for other in self.waiting.drain(..) {
            if other.height <= TOO_HIGH * level {
                keep(&mut self.others, other.height, most);
            }
        }
        let confidence = self.confidence(&wave, level);
        self.turn(&wave);
        let time = wave.marks[usize::from(self.inverted)].time;
        keep(&mut self.shapes, (wave.at, wave.shape), SHAPES);
        if self.told.is_none_or(|t| time > t) {
            self.told = Some(time);
            out(Beat { time, confidence });
        }
    }

    /// Finds out to which side the main deflections point.
    fn turn(&mut self, wave: &Wave) {
        let [up, down] = wave.marks.map(|m| m.size);
        if up + down > 0.0 {
            self.side += 0.125 * ((up - down) / (up + down) - self.side);
        }
        if self.side.abs() > 0.02 {
            self.inverted = self.side < 0.0;
        }
    }

    /// Takes the highest wave since the last beat as one when a beat is overdue, and those that are of
    /// about its height: more than one may have been missed.
    fn search_back(&mut self, now: u64, out: &mut impl FnMut(Beat)) {
        let (Some(level), Some(last)) = (self.level(), self.beats.back()) else {
            return;
        };
        let Some(usual) = median(self.intervals.iter().copied()) else {
            return;
        };
        if seconds(last.at, now) < OVERDUE * usual {
            return;
        }
        let heights = self.waiting.iter().map(|w| w.height);
        let best = heights.filter(|h| *h <= TOO_HIGH * level);
        let best = best.max_by(f64::total_cmp).unwrap_or(0.0);
        let half = 0.5 * self.threshold(level);
        if best < half {
            return;
        }
        for wave in std::mem::take(&mut self.waiting) {
            self.judge(wave, level, half.max(MISSED * best), out);
        }
    }

    /// Learns the height of a beat from the waves since the last one, and judges these.
    fn learn(&mut self, now: u64, out: &mut impl FnMut(Beat)) {
        self.waiting.retain(|w| seconds(w.at, now) <= KEPT);
        // Waves of little contrast may be all there is, but a clearer one may still come.
        let clear = match self.signal {
            HeartSignal::Ecg => 3.0,
            HeartSignal::Ppg => 1.4,
        };
        let since = self.waiting.front().map_or(0.0, |w| seconds(w.at, now));
        let unclear = if since > KEPT - 1.0 { 0.0 } else { clear };
        let top = group(&self.waiting, clear).or_else(|| group(&self.waiting, unclear));
        let Some(top) = top else {
            return;
        };
        let alike = |w: &&Wave| w.height <= top && w.height >= ALIKE * top;
        let level = median(self.waiting.iter().filter(alike).map(|w| w.height));
        let shapes: Vec<_> = self
            .waiting
            .iter()
            .filter(alike)
            .map(|w| (w.at, w.shape.clone()))
            .collect();
        let deflection = median(self.waiting.iter().filter(alike).map(|w| {
            let [up, down] = w.marks.map(|m| m.size);
            (up - down) / (up + down).max(f64::MIN_POSITIVE)
        }));
        let waiting = std::mem::take(&mut self.waiting);
        self.cut();
        self.learned = level;
        self.side = deflection.unwrap_or(0.0);
        self.inverted = self.side < 0.0;
        for shape in shapes {
            keep(&mut self.shapes, shape, SHAPES);
        }
        for wave in waiting {
            if let Some(level) = self.level() {
                self.judge(wave, level, self.threshold(level), out);
            }
        }
    }

    /// From how far the wave stands out, how much smaller the waves between the beats are, and
    /// how much it is like the beats before.
    fn confidence(&self, wave: &Wave, level: f64) -> f64 {
        let ramp = |x: f64, [none, full]: [f64; 2]| ((x - none) / (full - none)).clamp(0.0, 1.0);
        let mut alike: Vec<f64> = self
            .shapes
            .iter()
            .filter(|(at, _)| *at != wave.at)
            .filter_map(|(_, shape)| likeness(shape, &wave.shape, wave.slack))
            .collect();
        alike.sort_by(|a, b| b.total_cmp(a));
        let alike = match alike[..] {
            [] => 0.0,
            [one] => one,
            [first, second, ..] => 0.5 * (first + second),
        };
        let other = median(self.others.iter().copied()).unwrap_or(0.0) / level;
        let (contrast, shape) = match self.signal {
            HeartSignal::Ecg => ([2.0, 4.0], [0.6, 0.9]),
            HeartSignal::Ppg => ([1.2, 1.8], [0.6, 0.9]),
        };
        ramp(wave.contrast, contrast)
            .min(ramp(alike, shape))
            .min(1.0 - ramp(other, [0.3, 0.7]))
            .min(ramp(wave.height / level, [0.1, 0.4]))
    }
}

/// The height of the highest of the highest three waves that are of about one height, among
/// those of at least this contrast.
fn group(waves: &VecDeque<Wave>, contrast: f64) -> Option<f64> {
    let clear = waves.iter().filter(|w| w.contrast >= contrast);
    let mut heights: Vec<f64> = clear.map(|w| w.height).collect();
    heights.sort_by(|a, b| b.total_cmp(a));
    let mut threes = heights.windows(ENOUGH);
    let found = threes.find(|w| w[ENOUGH - 1] >= ALIKE * w[0]);
    found.map(|w| w[0])
}

/// The correlation of two shapes, the largest of the shifts by up to `slack`; `None` if they
/// are not of one length.
fn likeness(a: &[f32], b: &[f32], slack: usize) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 * slack + 3 {
        return None;
    }
    let inner = &b[slack..b.len() - slack];
    let shifts = a.windows(inner.len()).map(|a| correlation(a, inner));
    shifts.max_by(f64::total_cmp)
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let n = a.len() as f64;
    let mean = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x) - ma, f64::from(*y) - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    let size = (aa * bb).sqrt();
    if size > 0.0 { ab / size } else { 0.0 }
}
