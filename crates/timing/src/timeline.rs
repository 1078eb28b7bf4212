// SPDX-License-Identifier: MPL-2.0
use super::{
    ClockFit, Dejitter, Envelope, Gate, Measurement, Outcome, dejitter::Smoothed, spacing::Spacing,
};
use std::collections::VecDeque;

/// From what the time of a sample is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// As `Lsl` where the timestamps are of the clock that liblsl measures, else as `Mapped`.
    #[default]
    Auto,
    /// The outlet's timestamps plus the measured clock offset.
    Lsl,
    /// The outlet's timestamps plus an offset that is estimated from the arrivals: for clocks
    /// that liblsl does not measure.
    Mapped,
    /// When the sample arrived.
    Arrival,
}

/// How timestamps are mapped now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Samples are held until the clock offset is known.
    Waiting,
    /// The outlet reads the same clock: nothing is added.
    SameHost,
    /// The measured clock offset is added.
    Remote,
    /// An offset that is estimated from the arrivals is added.
    Mapped,
    /// The time of arrival is used.
    Arrival,
}

impl Mode {
    /// The name in `stats` and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::SameHost => "same-host",
            Self::Remote => "remote",
            Self::Mapped => "mapped",
            Self::Arrival => "arrival",
        }
    }
}

/// What the user is to be told about the times of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Notice {
    /// The timestamps are not of the clock that is measured: they are mapped by arrival.
    StrangeStamps {
        /// The age of a sample on arrival by that clock, seconds.
        age: f64,
    },
    /// There is no measurement of the clock offset; samples are placed by this mode.
    NoCorrection(Mode),
    /// Same host name, but another clock.
    OtherClock {
        /// The measured clock offset, seconds.
        offset: f64,
    },
    /// A clock reset of the outlet's clock.
    ClockReset,
    /// The timestamps do not go on as time does; samples are placed when they arrive.
    NoClock,
    /// The stream declares a rate, but its samples are events.
    Irregular,
    /// Samples were dropped because their timestamps cannot be right.
    StrayStamps {
        /// Seconds by which the newest is ahead of the clock, or (negative) in the past.
        off: f64,
        /// Their number since the last notice.
        samples: u64,
    },
    /// The timestamps are not numbers; samples are placed when they arrive.
    NoNumbers,
    /// The effective rate is not the nominal rate.
    OtherRate {
        /// The nominal rate, samples per second.
        declared: f64,
        /// The effective rate, samples per second.
        measured: f64,
    },
}

/// The time of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamped {
    /// When it was taken, seconds on the inlet's LSL clock; `None`: the sample is to be dropped.
    pub local: Option<f64>,
    /// The outlet's timestamp, seconds on its clock.
    pub raw: f64,
    /// When it arrived, seconds on the inlet's LSL clock.
    pub arrival: f64,
    /// Samples are missing before this one, or the clock jumped.
    pub discont: bool,
    /// Dropped because the timestamp cannot be right.
    pub stray: bool,
}

/// What a [`Timeline`] is told of its stream.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// From what times are computed.
    pub source: Source,
    /// Nominal rate in samples per second of a regular stream.
    pub rate: Option<f64>,
    /// Remove the jitter of regular streams.
    pub dejitter: bool,
    /// Device delay, seconds: subtracted from every timestamp.
    pub device_delay: f64,
    /// The outlet declares the host name of this machine.
    pub same_host: bool,
}

const SAME_CLOCK: f64 = 1e-3;
const SAME_CLOCK_DOUBT: f64 = 5e-3;
/// Timestamps of one packet are not further apart, seconds.
const SAME_PACKET: f64 = 5.0;
const STRANGE_AGE: f64 = 10.0;
/// How long samples wait for the first clock measurement.
const PATIENCE: f64 = 3.0;
/// The longest that samples are held, seconds of arrival.
const HOLD: f64 = 10.0;
/// Timestamps that do not fit for this long, in seconds of arrival and in samples, are a clock
/// reset. Fewer are a packet with a wrong timestamp.
const LASTING: f64 = 0.5;
const LASTING_SAMPLES: usize = 3;
const LASTING_EVENTS: usize = 2;
/// A doubted sample that no other follows is dropped after this, in seconds and in intervals.
const ALONE: f64 = 2.0;
const ALONE_INTERVALS: f64 = 4.0;
/// Seconds between two notices of stray timestamps.
const TELL_STRAYS: f64 = 60.0;
/// Seconds in which the offset of a clock that was set is measured again.
const REMEASURED: f64 = 15.0;
/// The effective rate is compared with the nominal one after this many seconds, and reported if
/// it differs by more than this share.
const RATE_PATIENCE: f64 = 15.0;
const RATE_TOLERANCE: f64 = 0.02;
/// It must have been off for this long at a stretch, seconds.
const RATE_HOLDS: f64 = 5.0;
/// A stream that sent nothing but timestamps that are not numbers for so long, seconds and
/// samples, has none.
const NO_NUMBERS: f64 = 2.0;
const NO_NUMBERS_SAMPLES: usize = 3;
/// Weight of one sample in the mean jitter, and the most that one contributes, seconds.
const JITTER_WEIGHT: f64 = 1.0 / 256.0;
const LARGEST_JITTER: f64 = 1.0;

/// Maps the timestamps of one connection to the inlet's LSL clock: clock offset, jitter, gaps.
///
/// [`push`](Self::push) takes timestamps, [`measure`](Self::measure) clock offsets, and
/// [`drain`](Self::drain) gives what is ready. Samples come out in the order in which they went
/// in, each exactly once. While [`holds`](Self::holds) is true, [`poll`](Self::poll) must be
/// called now and then.
pub struct Timeline {
    config: Config,
    mode: Mode,
    offset: ClockFit,
    envelope: Envelope,
    dejitter: Option<Dejitter>,
    gate: Gate,
    /// The timestamps are of the clock that is measured.
    anchored: bool,
    /// When they ceased to be, in the middle of the stream, and whether that was told.
    stepped: Option<(f64, bool)>,
    /// Stray samples that were not told of yet, and when some were.
    strays: u64,
    strays_told: Option<f64>,
    /// Strays since the last sample that was placed.
    skipped: usize,
    /// Not placed yet, because the mode is not known or the timestamp is doubted: timestamp,
    /// arrival, time of arrival of the single sample.
    held: VecDeque<(f64, f64, f64)>,
    first_arrival: Option<f64>,
    complained: bool,
    contradictions: u32,
    discont: bool,
    spacing: Option<Spacing>,
    rate_told: bool,
    rate_off: Option<f64>,
    /// Since when no timestamp was a number, and how many were not.
    numberless: Option<(f64, usize)>,
    /// Samples in `held` that the envelope has seen.
    measured: usize,
    /// The time of the last sample that left.
    last: Option<f64>,
    /// The offset of the last sample.
    used: f64,
    jitter: Option<f64>,
    /// Of the samples inside the dejitter and of strays between them.
    raws: VecDeque<Raw>,
    smoothed: Vec<Smoothed>,
    ready: Vec<Stamped>,
    notices: Vec<Notice>,
    meter: Meter,
}

/// A sample on its way through the dejitter, or past it.
struct Raw {
    /// The outlet's timestamp, and what went in.
    stamp: f64,
    x: f64,
    arrival: f64,
    stray: bool,
}

/// What becomes of the first sample that is held.
enum Verdict {
    Right,
    /// It and as many others.
    Stray(usize),
    /// From here on, timestamps are of another clock.
    Step,
    Unknown,
}

impl Timeline {
    /// A timeline without samples and measurements.
    pub fn new(config: Config) -> Self {
        let dejitter = config.rate.filter(|_| config.dejitter).map(Dejitter::new);
        Self {
            mode: match config.source {
                Source::Auto | Source::Lsl => Mode::Waiting,
                Source::Mapped => Mode::Mapped,
                Source::Arrival => Mode::Arrival,
            },
            meter: Meter::new(config.rate),
            spacing: config.rate.map(Spacing::new),
            gate: Gate::new(config.rate.map(|r| 1.0 / r)),
            anchored: false,
            stepped: None,
            strays: 0,
            strays_told: None,
            skipped: 0,
            rate_told: false,
            rate_off: None,
            numberless: None,
            measured: 0,
            last: None,
            used: 0.0,
            jitter: None,
            config,
            offset: ClockFit::default(),
            envelope: Envelope::default(),
            dejitter,
            held: VecDeque::new(),
            first_arrival: None,
            complained: false,
            contradictions: 0,
            discont: false,
            raws: VecDeque::new(),
            smoothed: Vec::new(),
            ready: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// How timestamps are mapped now.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The clock offset in use. The uncertainty of mapped timestamps is not known: it is infinite.
    pub fn correction(&self) -> Option<Measurement> {
        if self.mode == Mode::Mapped {
            return self.envelope.now();
        }
        let mut best = self.offset.best()?;
        if self.mode == Mode::SameHost {
            best.offset = 0.0;
        }
        Some(best)
    }

    /// By how much the outlet's clock is slower than the inlet's, seconds per second; `None`
    /// where it is not known.
    pub fn drift(&self) -> Option<f64> {
        match self.mode {
            Mode::Remote => self.offset.drift(),
            Mode::Mapped => self.envelope.drift(),
            _ => None,
        }
    }

    /// Mean distance by which the last few hundred timestamps were moved, seconds; `None` where
    /// jitter is not removed.
    pub fn jitter(&self) -> Option<f64> {
        self.jitter
    }

    /// Effective interval of a regular stream, seconds per sample.
    pub fn interval(&self) -> Option<f64> {
        self.config.rate?;
        if self.is_irregular() {
            return None;
        }
        Some(match &self.dejitter {
            Some(d) => d.interval(),
            None => self.meter.interval,
        })
    }

    /// Whether the stream declares a rate and sends events.
    pub fn is_irregular(&self) -> bool {
        self.spacing.as_ref().is_some_and(Spacing::is_irregular)
    }

    /// Whether samples wait inside, so that [`Timeline::poll`] must be called in time. A
    /// doubted event does not count: it waits for the next one, whenever that comes.
    pub fn holds(&self) -> bool {
        let event = self.mode != Mode::Waiting && self.config.rate.is_none();
        !self.raws.is_empty() || !self.held.is_empty() && !event
    }

    /// Samples that wait inside.
    pub fn waiting(&self) -> usize {
        self.raws.len() + self.held.len()
    }

    /// Takes a measurement of the clock offset; one that is not finite is left out.
    pub fn measure(&mut self, m: Measurement) {
        if !m.offset.is_finite() || !m.at.is_finite() || m.uncertainty.is_nan() {
            return;
        }
        let outcome = self.offset.measure(m);
        match self.mode {
            Mode::SameHost if !same_clock(m) => {
                self.contradictions += 1;
                if self.contradictions >= 2 {
                    self.leave_line();
                    self.mode = Mode::Remote;
                    self.notices.push(Notice::OtherClock { offset: m.offset });
                }
            }
            Mode::SameHost => self.contradictions = 0,
            Mode::Remote if outcome == Outcome::Reset => self.clock_reset(),
            // The first answer came late, on a busy machine, and looked like another clock.
            Mode::Remote if self.config.same_host && self.offset.best().is_some_and(same_clock) => {
                let used = self.used;
                self.mode = Mode::SameHost;
                self.discont |= used.abs() > SAME_CLOCK;
            }
            // The measurement follows a clock that was set.
            Mode::Mapped if outcome == Outcome::Reset && self.stepped.is_some() => {
                let age = |m: Measurement| Some(self.gate.range()?.0 - m.offset);
                if let Some(m) = self.offset.best()
                    && age(m).is_some_and(|age| self.plausible(age))
                {
                    self.leave_line();
                    self.follow(m);
                }
            }
            _ => {}
        }
        self.anchor();
    }

    /// Whether a sample of this age can be of the clock that is measured.
    fn plausible(&self, age: f64) -> bool {
        (-self.gate.ahead()..=STRANGE_AGE).contains(&age)
    }

    /// Timestamps are of the measured clock from here on.
    fn follow(&mut self, m: Measurement) {
        self.mode = match self.config.same_host && same_clock(m) {
            true => Mode::SameHost,
            false => Mode::Remote,
        };
        self.anchored = true;
        self.stepped = None;
    }

    fn anchor(&mut self) {
        self.gate.anchor(match self.mode {
            Mode::SameHost if self.anchored => Some(0.0),
            Mode::Remote if self.anchored => self.offset.best().map(|m| m.offset),
            _ => None,
        });
    }

    /// The outlet's clock is known to have started anew.
    pub fn clock_reset(&mut self) {
        self.leave_line();
        self.gate.restart();
        self.notices.push(Notice::ClockReset);
    }

    /// Takes the timestamps (seconds, outlet's clock) of samples that arrived together at
    /// `arrival` (seconds, inlet's LSL clock).
    pub fn push(&mut self, stamps: &[f64], arrival: f64) {
        self.first_arrival.get_or_insert(arrival);
        let interval = self.interval().unwrap_or(0.0);
        for (i, &stamp) in stamps.iter().enumerate() {
            self.meter.push(stamp);
            self.numberless = match self.numberless {
                _ if stamp.is_finite() => None,
                None => Some((arrival, 1)),
                Some((since, n)) => Some((since, n + 1)),
            };
            let own_arrival = arrival - (stamps.len() - 1 - i) as f64 * interval;
            self.held.push_back((stamp, arrival, own_arrival));
        }
        self.poll(arrival);
    }

    /// Decides about held samples; `now` in seconds on the inlet's LSL clock.
    pub fn poll(&mut self, now: f64) {
        self.watch_numbers(now);
        if self.mode == Mode::Waiting {
            self.decide(now);
        }
        if self.mode == Mode::Waiting {
            while self.held.front().is_some_and(|h| now - h.1 > HOLD) {
                if let Some((raw, arrival, _)) = self.held.pop_front() {
                    self.ready.push(Stamped {
                        local: None,
                        raw,
                        arrival,
                        discont: false,
                        stray: false,
                    });
                }
            }
            return;
        }
        while let Some(&(stamp, arrival, own_arrival)) = self.held.front() {
            match self.judge(now) {
                Verdict::Right => {
                    self.held.pop_front();
                    self.gate.take(stamp, arrival);
                    self.place(stamp, arrival, own_arrival);
                }
                Verdict::Stray(samples) => self.drop_strays(samples),
                Verdict::Step => self.step(arrival),
                Verdict::Unknown => break,
            }
        }
        if let Some(d) = &mut self.dejitter {
            d.poll(now, &mut self.smoothed);
        }
        self.finish();
        self.watch_rate(now);
        self.watch_step(now);
    }

    /// Decides about the first sample that is held, by those behind it.
    fn judge(&self, now: f64) -> Verdict {
        let (Some(&(stamp, arrival, _)), Some(&(_, latest, _))) =
            (self.held.front(), self.held.back())
        else {
            return Verdict::Unknown;
        };
        if self.mode == Mode::Arrival || self.gate.fits(stamp, arrival) {
            return Verdict::Right;
        }
        if !stamp.is_finite() {
            return Verdict::Stray(1);
        }
        // A later sample that fits shows that those before it were wrong.
        let back = |&(stamp, arrival, _): &(f64, f64, f64)| self.gate.fits(stamp, arrival);
        if let Some(strays) = self.held.iter().position(back) {
            return Verdict::Stray(strays);
        }
        let least = match self.config.rate {
            Some(_) => LASTING_SAMPLES,
            None => LASTING_EVENTS,
        };
        let finite = self.held.iter().filter(|h| h.0.is_finite()).count();
        if latest - arrival >= LASTING && finite >= least {
            return Verdict::Step;
        }
        let alone = self.config.rate.map(|r| ALONE.max(ALONE_INTERVALS / r));
        if alone.is_some_and(|alone| now - latest >= alone) {
            return Verdict::Stray(self.held.len());
        }
        Verdict::Unknown
    }

    fn drop_strays(&mut self, samples: usize) {
        for (stamp, arrival, _) in self.held.drain(..samples.min(self.held.len())) {
            self.strays += 1;
            self.skipped += 1;
            if self.strays_told.is_none_or(|t| arrival - t >= TELL_STRAYS) {
                self.strays_told = Some(arrival);
                self.notices.push(Notice::StrayStamps {
                    off: self.gate.off(stamp, arrival),
                    samples: std::mem::take(&mut self.strays),
                });
            }
            self.raws.push_back(Raw {
                stamp,
                x: stamp,
                arrival,
                stray: true,
            });
        }
        self.finish();
    }

    /// The timestamps are of another clock from the first sample that is held on.
    fn step(&mut self, arrival: f64) {
        let measured = self
            .offset
            .best()
            .filter(|_| self.config.source == Source::Auto);
        let known = measured.filter(|m| {
            self.youngest(m.offset)
                .is_some_and(|age| self.plausible(age))
        });
        self.clock_reset();
        if let Some(m) = known {
            self.follow(m);
        } else if self.mode == Mode::Mapped {
            self.envelope.restart(arrival);
        } else {
            self.anchored = false;
            if self.config.source == Source::Auto {
                self.mode = Mode::Mapped;
                self.envelope = Envelope::default();
                self.stepped = Some((arrival, false));
            }
        }
        self.measured = 0;
        self.anchor();
    }

    /// The age nearest to 0 of the samples that are held.
    fn youngest(&self, offset: f64) -> Option<f64> {
        self.held
            .iter()
            .map(|(stamp, arrival, _)| arrival - (stamp + offset))
            .filter(|age| age.is_finite())
            .min_by(|a, b| a.abs().total_cmp(&b.abs()))
    }

    /// Tells of timestamps that are of another clock since it was set, if the measurement did
    /// not follow.
    fn watch_step(&mut self, now: f64) {
        if let Some((since, false)) = self.stepped
            && now - since >= REMEASURED
        {
            self.stepped = Some((since, true));
            if let (Some(m), Some((least, _))) = (self.offset.best(), self.gate.range()) {
                let age = least - m.offset;
                self.notices.push(Notice::StrangeStamps { age });
            }
        }
    }

    /// Gives up on timestamps that are not numbers. With `Source::Lsl` their samples are dropped.
    fn watch_numbers(&mut self, now: f64) {
        let none = self
            .numberless
            .is_some_and(|(since, n)| now - since >= NO_NUMBERS && n >= NO_NUMBERS_SAMPLES);
        if none && self.mode != Mode::Arrival && self.config.source != Source::Lsl {
            self.leave_line();
            self.mode = Mode::Arrival;
            self.notices.push(Notice::NoNumbers);
        }
    }

    /// Tells once of a rate that is not the declared one.
    fn watch_rate(&mut self, now: f64) {
        if self.rate_told {
            return;
        }
        let (Some(rate), Some(interval)) = (self.config.rate, self.interval()) else {
            return;
        };
        let off = (interval * rate - 1.0).abs() > RATE_TOLERANCE;
        if !off || self.meter.seen < 32 {
            self.rate_off = None;
            return;
        }
        let off_for = now - *self.rate_off.get_or_insert(now);
        let watched = self.first_arrival.map_or(0.0, |t| now - t);
        if off_for >= RATE_HOLDS && watched >= RATE_PATIENCE {
            self.rate_told = true;
            self.notices.push(Notice::OtherRate {
                declared: rate,
                measured: 1.0 / interval,
            });
        }
    }

    /// Releases all samples, at the end of a connection. Those that still wait for the first
    /// clock offset get no time.
    pub fn flush(&mut self) {
        if let Some(d) = &mut self.dejitter {
            d.flush(&mut self.smoothed);
        }
        self.finish();
        let stray = self.mode != Mode::Waiting;
        for (raw, arrival, _) in self.held.drain(..) {
            self.ready.push(Stamped {
                local: None,
                raw,
                arrival,
                discont: false,
                stray,
            });
        }
    }

    /// Frees memory: what the dejitter holds leaves as it is, and the older half of what has no
    /// time yet is dropped.
    pub fn shed(&mut self) {
        if let Some(d) = &mut self.dejitter {
            d.flush(&mut self.smoothed);
        }
        self.finish();
        let half = self.held.len().div_ceil(2);
        self.measured = self.measured.saturating_sub(half);
        for (raw, arrival, _) in self.held.drain(..half) {
            self.discont = true;
            self.ready.push(Stamped {
                local: None,
                raw,
                arrival,
                discont: false,
                stray: false,
            });
        }
    }

    /// Appends the samples that are ready to `out`.
    pub fn drain(&mut self, out: &mut Vec<Stamped>) {
        out.append(&mut self.ready);
    }

    /// The notices since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn decide(&mut self, now: f64) {
        let Some(first) = self.first_arrival else {
            return;
        };
        let (mode, offset) = match self.offset.best() {
            Some(m) if self.config.same_host && same_clock(m) => (Mode::SameHost, 0.0),
            Some(m) => (Mode::Remote, m.offset),
            None if now - first < PATIENCE => return,
            None if self.config.same_host => (Mode::SameHost, 0.0),
            None if self.config.source == Source::Auto => {
                self.mode = Mode::Mapped;
                return self.complain();
            }
            None => return self.complain(),
        };
        let strange = self
            .youngest(offset - self.config.device_delay)
            .filter(|age| *age > STRANGE_AGE || *age < -self.gate.ahead());
        let one_packet = self.held.back().is_some_and(|h| h.1 <= first);
        if strange.is_some() && one_packet && now - first < PATIENCE {
            // Only this one may be wrong.
            return;
        }
        self.mode = mode;
        if self.offset.best().is_none() {
            self.complain();
        }
        self.anchored = strange.is_none();
        if let Some(age) = strange
            && self.config.source == Source::Auto
        {
            self.mode = Mode::Mapped;
            self.notices.push(Notice::StrangeStamps { age });
        }
        self.anchor();
    }

    fn complain(&mut self) {
        if !self.complained {
            self.complained = true;
            self.notices.push(Notice::NoCorrection(self.mode));
        }
    }

    /// Shows the envelope all samples of a packet, beginning with this one, before the
    /// first is placed: the last of them was on its way the shortest time.
    fn measure_packet(&mut self, stamp: f64, arrival: f64) {
        if self.mode != Mode::Mapped {
            return;
        }
        if self.measured > 0 {
            self.measured -= 1;
            return;
        }
        if self.envelope.measure(stamp, arrival) == Outcome::Reset {
            self.leave_line();
            self.notices.push(Notice::ClockReset);
        }
        let mut gate = self.gate;
        for &(other, at, _) in &self.held {
            let same = at == arrival && (other - stamp).abs() <= SAME_PACKET;
            if !same || !gate.fits(other, at) {
                break;
            }
            gate.take(other, at);
            self.envelope.measure(other, arrival);
            self.measured += 1;
        }
    }

    fn place(&mut self, stamp: f64, arrival: f64, own_arrival: f64) {
        self.measure_packet(stamp, arrival);
        if self.mode == Mode::Mapped && !self.envelope.is_a_clock() {
            self.leave_line();
            self.mode = Mode::Arrival;
            self.notices.push(Notice::NoClock);
        }
        let x = if self.mode == Mode::Arrival {
            own_arrival
        } else {
            stamp
        };
        if self.spacing.as_mut().is_some_and(|s| s.push(x)) {
            self.leave_line();
            self.dejitter = None;
            self.notices.push(Notice::Irregular);
        }
        self.raws.push_back(Raw {
            stamp,
            x,
            arrival,
            stray: false,
        });
        let skipped = std::mem::take(&mut self.skipped);
        match &mut self.dejitter {
            Some(d) => {
                if skipped > 0 {
                    d.skip(skipped, x);
                }
                d.push(x, arrival, &mut self.smoothed);
            }
            None => self.smoothed.push(Smoothed {
                stamp: x,
                arrival,
                discont: false,
            }),
        }
        self.finish();
    }

    /// Ends the line of timestamps; the next sample starts another.
    fn leave_line(&mut self) {
        if let Some(d) = &mut self.dejitter {
            d.flush(&mut self.smoothed);
        }
        self.finish();
        if self.dejitter.is_some() {
            self.dejitter = self.config.rate.map(Dejitter::new);
        }
        self.discont = true;
    }

    fn finish(&mut self) {
        for s in self.smoothed.drain(..) {
            pass_strays(&mut self.raws, &mut self.ready);
            let offset = match self.mode {
                Mode::Remote => self.offset.at(s.stamp),
                Mode::Mapped => self.envelope.at(s.arrival),
                _ => Some(0.0),
            };
            self.used = offset.unwrap_or(self.used);
            let (raw, x) = self
                .raws
                .pop_front()
                .map_or((s.stamp, s.stamp), |r| (r.stamp, r.x));
            if self.dejitter.is_some() {
                let moved = (s.stamp - x).abs().min(LARGEST_JITTER);
                let jitter = self.jitter.get_or_insert(moved);
                *jitter += (moved - *jitter) * JITTER_WEIGHT;
            }
            let discont = s.discont | std::mem::take(&mut self.discont);
            let mut local = offset.map(|offset| s.stamp + offset - self.config.device_delay);
            if self.dejitter.is_some() && !discont {
                // Equal timestamps under an offset that becomes smaller.
                local = local.map(|local| self.last.map_or(local, |last| local.max(last)));
            }
            self.last = local.or(self.last);
            self.ready.push(Stamped {
                local,
                raw,
                arrival: s.arrival,
                discont,
                stray: false,
            });
        }
        pass_strays(&mut self.raws, &mut self.ready);
    }
}

/// Strays leave in their turn, without a time.
fn pass_strays(raws: &mut VecDeque<Raw>, ready: &mut Vec<Stamped>) {
    while raws.front().is_some_and(|r| r.stray)
        && let Some(raw) = raws.pop_front()
    {
        ready.push(Stamped {
            local: None,
            raw: raw.stamp,
            arrival: raw.arrival,
            discont: false,
            stray: true,
        });
    }
}

fn same_clock(m: Measurement) -> bool {
    m.offset.abs() < SAME_CLOCK + m.uncertainty.clamp(0.0, SAME_CLOCK_DOUBT)
}

/// Mean interval of a stream whose timestamps are used as they are.
struct Meter {
    last: Option<f64>,
    interval: f64,
    longest: f64,
    seen: u32,
}

impl Meter {
    fn new(rate: Option<f64>) -> Self {
        let interval = rate.map_or(0.0, |r| 1.0 / r);
        Self {
            last: None,
            interval,
            longest: (3.0 * interval).max(0.25),
            seen: 0,
        }
    }

    fn push(&mut self, stamp: f64) {
        if let Some(last) = self.last
            && (0.0..self.longest).contains(&(stamp - last))
        {
            self.seen = (self.seen + 1).min(1024);
            // The nominal rate counts as some samples, so that the first few do not err.
            self.interval += (stamp - last - self.interval) / f64::from(self.seen + 16);
        }
        self.last = Some(stamp);
    }
}

#[cfg(test)]
mod tests;
