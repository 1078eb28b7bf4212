// SPDX-License-Identifier: MPL-2.0
use super::{
    ClockFit, Dejitter, Envelope, Measurement, OffsetModel, Outcome, dejitter::Smoothed,
    spacing::Spacing,
};
use std::collections::VecDeque;

/// Which time a sample gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// As `Lsl` where the stamps make sense, else as `Mapped`.
    #[default]
    Auto,
    /// The sender's stamps plus the measured clock offset.
    Lsl,
    /// The sender's stamps plus the smallest delay seen.
    Mapped,
    /// When the sample came.
    Arrival,
}

/// How stamps are mapped at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Samples are held until the clock offset is known.
    Waiting,
    /// The sender reads the same clock: nothing is added.
    SameHost,
    Remote,
    Mapped,
    Arrival,
}

impl Mode {
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

/// What the user should know about a stream's time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Notice {
    /// The stamps are off by `age` seconds; they are mapped by arrival instead.
    StrangeStamps { age: f64 },
    /// Nobody answered the clock measurement; what is assumed is in the mode.
    NoCorrection(Mode),
    /// Same host name, but another clock.
    OtherClock { offset: f64 },
    /// The sender's clock jumped.
    ClockReset,
    /// The stamps do not go on as time does; samples are placed when they arrive.
    NoClock,
    /// The stream declares a rate, but its samples are events.
    Irregular,
    /// Samples come at another rate than declared, per second.
    OtherRate { measured: f64 },
}

/// A sample's time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamped {
    /// When it was taken, seconds on our LSL clock; `None`: dropped, no way to know.
    pub local: Option<f64>,
    /// The sender's own stamp.
    pub raw: f64,
    pub arrival: f64,
    /// Samples are missing before this one, or the clock jumped.
    pub discont: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub source: Source,
    /// Nominal rate in samples per second of a regular stream.
    pub rate: Option<f64>,
    /// Take the jitter off regular streams.
    pub dejitter: bool,
    /// Seconds from the event to its stamp.
    pub device_delay: f64,
    /// The sender says that it runs on this machine.
    pub same_host: bool,
}

const SAME_CLOCK: f64 = 1e-3;
const SAME_CLOCK_DOUBT: f64 = 5e-3;
/// Stamps of one packet are not further apart, seconds.
const SAME_PACKET: f64 = 5.0;
const STRANGE_AGE: f64 = 10.0;
/// How long samples wait for the first clock measurement.
const PATIENCE: f64 = 3.0;
/// What is held at most, in seconds of arrival time.
const HOLD: f64 = 10.0;
/// A rate is told from another one after this long, seconds, and only if it is off by more.
const RATE_PATIENCE: f64 = 15.0;
const RATE_TOLERANCE: f64 = 0.05;
/// What stands for the jitter of the last few hundred samples, seconds at most each.
const JITTER_WEIGHT: f64 = 1.0 / 256.0;
const LARGEST_JITTER: f64 = 1.0;

/// From a sender's stamps to times on our LSL clock: offset, jitter and gaps of one
/// connection. Samples come out in the order they went in, each exactly once.
pub struct Timeline {
    config: Config,
    mode: Mode,
    offset: Box<dyn OffsetModel>,
    envelope: Envelope,
    dejitter: Option<Dejitter>,
    /// Before the mode is known: stamp, arrival, time of arrival of the single sample.
    held: VecDeque<(f64, f64, f64)>,
    first_arrival: Option<f64>,
    complained: bool,
    contradictions: u32,
    discont: bool,
    spacing: Option<Spacing>,
    rate_told: bool,
    /// Samples in `held` that the envelope has seen.
    measured: usize,
    /// The time of the last sample that left.
    last: Option<f64>,
    /// The offset of the last sample.
    used: f64,
    jitter: Option<f64>,
    /// Of the samples inside the dejitter: the sender's stamps, and what went in.
    raws: VecDeque<(f64, f64)>,
    smoothed: Vec<Smoothed>,
    ready: Vec<Stamped>,
    notices: Vec<Notice>,
    meter: Meter,
}

impl Timeline {
    pub fn new(config: Config) -> Self {
        Self::with_model(config, Box::<ClockFit>::default())
    }

    pub fn with_model(config: Config, offset: Box<dyn OffsetModel>) -> Self {
        let dejitter = config.rate.filter(|_| config.dejitter).map(Dejitter::new);
        Self {
            mode: match config.source {
                Source::Auto | Source::Lsl => Mode::Waiting,
                Source::Mapped => Mode::Mapped,
                Source::Arrival => Mode::Arrival,
            },
            meter: Meter::new(config.rate),
            spacing: config.rate.map(Spacing::new),
            rate_told: false,
            measured: 0,
            last: None,
            used: 0.0,
            jitter: None,
            config,
            offset,
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

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The correction in use; of mapped stamps nobody knows the uncertainty (infinite).
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

    /// By how much the sender's clock is slower than ours, seconds per second.
    pub fn drift(&self) -> Option<f64> {
        match self.mode {
            Mode::Remote => self.offset.drift(),
            Mode::Mapped => self.envelope.drift(),
            _ => None,
        }
    }

    /// Seconds by which stamps were moved on the average of the last few hundred.
    pub fn jitter(&self) -> Option<f64> {
        self.jitter
    }

    /// Seconds per sample as measured, of a regular stream.
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

    /// Whether the stream has a rate by its own word, but sends events.
    pub fn is_irregular(&self) -> bool {
        self.spacing.as_ref().is_some_and(Spacing::is_irregular)
    }

    /// Whether samples wait inside, so that [`Timeline::poll`] must be called in time.
    pub fn holds(&self) -> bool {
        !self.held.is_empty() || !self.raws.is_empty()
    }

    /// Takes a measurement of the clock offset.
    pub fn measure(&mut self, m: Measurement) {
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
            _ => {}
        }
    }

    /// The sender's clock is known to have started anew.
    pub fn clock_reset(&mut self) {
        self.leave_line();
        self.notices.push(Notice::ClockReset);
    }

    /// Takes the stamps of samples that came together at `arrival`.
    pub fn push(&mut self, stamps: &[f64], arrival: f64) {
        self.first_arrival.get_or_insert(arrival);
        let interval = self.interval().unwrap_or(0.0);
        for (i, &stamp) in stamps.iter().enumerate() {
            self.meter.push(stamp);
            let own_arrival = arrival - (stamps.len() - 1 - i) as f64 * interval;
            self.held.push_back((stamp, arrival, own_arrival));
        }
        self.poll(arrival);
    }

    /// Lets time pass; `now` on our LSL clock.
    pub fn poll(&mut self, now: f64) {
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
                    });
                }
            }
            return;
        }
        while let Some((stamp, arrival, own_arrival)) = self.held.pop_front() {
            self.place(stamp, arrival, own_arrival);
        }
        if let Some(d) = &mut self.dejitter {
            d.poll(now, &mut self.smoothed);
        }
        self.finish();
        self.watch_rate(now);
    }

    /// Tells once of a rate that is not the declared one.
    fn watch_rate(&mut self, now: f64) {
        if self.rate_told || self.first_arrival.is_none_or(|t| now - t < RATE_PATIENCE) {
            return;
        }
        let (Some(rate), Some(interval)) = (self.config.rate, self.interval()) else {
            return;
        };
        let off = (interval * rate - 1.0).abs() > RATE_TOLERANCE;
        if off && self.meter.seen >= 32 {
            self.rate_told = true;
            let measured = 1.0 / interval;
            self.notices.push(Notice::OtherRate { measured });
        }
    }

    /// Lets go of what is inside, as at the end of a connection; what still has no mode
    /// is dropped.
    pub fn flush(&mut self) {
        if let Some(d) = &mut self.dejitter {
            d.flush(&mut self.smoothed);
        }
        self.finish();
        for (raw, arrival, _) in self.held.drain(..) {
            self.ready.push(Stamped {
                local: None,
                raw,
                arrival,
                discont: false,
            });
        }
    }

    /// Moves what is ready to `out`.
    pub fn drain(&mut self, out: &mut Vec<Stamped>) {
        out.append(&mut self.ready);
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn decide(&mut self, now: f64) {
        let Some(first) = self.first_arrival else {
            return;
        };
        let offset = match self.offset.best() {
            Some(m) if self.config.same_host && same_clock(m) => {
                self.mode = Mode::SameHost;
                0.0
            }
            Some(m) => {
                self.mode = Mode::Remote;
                m.offset
            }
            None if now - first < PATIENCE => return,
            None if self.config.same_host => {
                self.mode = Mode::SameHost;
                self.complain();
                0.0
            }
            None if self.config.source == Source::Auto => {
                self.mode = Mode::Mapped;
                return self.complain();
            }
            None => return self.complain(),
        };
        if self.config.source == Source::Auto {
            let age = self
                .held
                .iter()
                .map(|(stamp, arrival, _)| arrival - (stamp + offset - self.config.device_delay))
                .min_by(|a, b| a.abs().total_cmp(&b.abs()));
            if let Some(age) = age
                && age.abs() > STRANGE_AGE
            {
                self.mode = Mode::Mapped;
                self.notices.push(Notice::StrangeStamps { age });
            }
        }
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
        for &(other, at, _) in &self.held {
            if at != arrival || (other - stamp).abs() > SAME_PACKET {
                break;
            }
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
        self.raws.push_back((stamp, x));
        match &mut self.dejitter {
            Some(d) => d.push(x, arrival, &mut self.smoothed),
            None => self.smoothed.push(Smoothed {
                stamp: x,
                arrival,
                discont: false,
            }),
        }
        self.finish();
    }

    /// Ends the line of stamps; the next sample starts another.
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
            let offset = match self.mode {
                Mode::Remote => self.offset.at(s.stamp),
                Mode::Mapped => self.envelope.at(s.arrival),
                _ => Some(0.0),
            };
            self.used = offset.unwrap_or(self.used);
            let (raw, x) = self.raws.pop_front().unwrap_or((s.stamp, s.stamp));
            if self.dejitter.is_some() {
                let moved = (s.stamp - x).abs().min(LARGEST_JITTER);
                let jitter = self.jitter.get_or_insert(moved);
                *jitter += (moved - *jitter) * JITTER_WEIGHT;
            }
            let discont = s.discont | std::mem::take(&mut self.discont);
            let mut local = offset.map(|offset| s.stamp + offset - self.config.device_delay);
            if self.dejitter.is_some() && !discont {
                // Equal stamps under an offset that becomes smaller.
                local = local.map(|local| self.last.map_or(local, |last| local.max(last)));
            }
            self.last = local.or(self.last);
            self.ready.push(Stamped {
                local,
                raw,
                arrival: s.arrival,
                discont,
            });
        }
    }
}

fn same_clock(m: Measurement) -> bool {
    m.offset.abs() < SAME_CLOCK + m.uncertainty.clamp(0.0, SAME_CLOCK_DOUBT)
}

/// Mean interval of a stream whose stamps are used as they are.
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
mod tests {
    use super::*;

    fn config(source: Source, same_host: bool) -> Config {
        Config {
            source,
            rate: Some(100.0),
            dejitter: true,
            device_delay: 0.0,
            same_host,
        }
    }

    fn m(offset: f64) -> Measurement {
        Measurement {
            offset,
            uncertainty: 2e-5,
            at: 0.0,
        }
    }

    fn out(t: &mut Timeline) -> Vec<Stamped> {
        let mut v = Vec::new();
        t.drain(&mut v);
        v
    }

    /// One second of samples at 100 Hz from `start`, `late` by so much on our clock.
    fn feed(t: &mut Timeline, start: f64, clock: f64, late: f64) {
        for n in 0..100 {
            let stamp = start + f64::from(n) / 100.0;
            t.push(&[stamp], stamp + clock + late);
        }
    }

    #[test]
    fn same_host_is_exact_once_verified() {
        let mut t = Timeline::new(config(Source::Auto, true));
        feed(&mut t, 50.0, 0.0, 0.0005);
        assert!(out(&mut t).is_empty(), "held until verified");
        assert_eq!(t.mode(), Mode::Waiting);
        t.measure(m(-2.6e-5));
        t.poll(51.0);
        assert_eq!(t.mode(), Mode::SameHost);
        let v = out(&mut t);
        assert_eq!(v.len(), 100);
        for (n, s) in v.iter().enumerate() {
            assert_eq!(s.local, Some(50.0 + n as f64 / 100.0));
            assert_eq!(s.raw, 50.0 + n as f64 / 100.0);
        }
        assert_eq!(t.correction().map(|c| c.offset), Some(0.0));
        assert_eq!(t.take_notices(), []);
    }

    #[test]
    fn device_delay_is_subtracted() {
        let mut t = Timeline::new(Config {
            device_delay: 0.0335,
            ..config(Source::Lsl, true)
        });
        t.measure(m(0.0));
        t.push(&[10.0], 10.1);
        assert!((out(&mut t)[0].local.unwrap() - 9.9665).abs() < 1e-9);
    }

    #[test]
    fn another_clock_behind_the_same_host_name() {
        let mut t = Timeline::new(config(Source::Auto, true));
        t.measure(m(-5000.0));
        feed(&mut t, 5050.0, -5000.0, 0.001);
        assert_eq!(t.mode(), Mode::Remote);
        let v = out(&mut t);
        assert_eq!(v.len(), 100);
        for (n, s) in v.iter().enumerate() {
            assert!((s.local.unwrap() - (50.0 + n as f64 / 100.0)).abs() < 1e-6);
        }
        assert_eq!(t.take_notices(), []);
    }

    #[test]
    fn a_bad_first_answer_of_the_same_host_is_forgotten() {
        let mut t = Timeline::new(config(Source::Lsl, true));
        t.measure(Measurement {
            uncertainty: 0.02,
            ..m(0.009)
        });
        t.push(&[50.0], 50.0);
        assert_eq!(t.mode(), Mode::Remote);
        t.measure(m(2e-5));
        assert_eq!(t.mode(), Mode::SameHost);
        t.push(&[50.01], 50.01);
        let v = out(&mut t);
        assert_eq!(v[1].local, Some(50.01));
        assert!(v[1].discont, "9 ms are a step");
        // A clock that is really another one is never close to 0.
        let mut t = Timeline::new(config(Source::Lsl, true));
        for _ in 0..10 {
            t.measure(m(0.009));
            t.poll(50.0);
        }
        t.push(&[50.0], 50.0);
        assert_eq!(t.mode(), Mode::Remote);
    }

    #[test]
    fn a_same_host_that_turns_out_otherwise_is_left_with_a_discont() {
        let mut t = Timeline::new(config(Source::Lsl, true));
        t.measure(m(0.0));
        feed(&mut t, 50.0, 0.0, 0.0);
        out(&mut t);
        t.measure(m(-0.3));
        assert_eq!(t.mode(), Mode::SameHost, "one answer is no proof");
        t.measure(m(-0.3));
        assert_eq!(t.mode(), Mode::Remote);
        assert!(matches!(t.take_notices()[..], [Notice::OtherClock { .. }]));
        feed(&mut t, 51.0, -0.3, 0.0);
        let v = out(&mut t);
        assert!(v[0].discont && !v[1].discont);
        assert!((v[0].local.unwrap() - 50.7).abs() < 1e-6, "{:?}", v[0]);
    }

    #[test]
    fn unix_stamps_are_mapped_under_auto_and_kept_under_lsl() {
        let unix = 1.7e9;
        let mut t = Timeline::new(config(Source::Auto, true));
        t.measure(m(0.0));
        feed(&mut t, unix, 50.0 - unix, 0.004);
        assert_eq!(t.mode(), Mode::Mapped);
        match t.take_notices()[..] {
            [Notice::StrangeStamps { age }] => assert!((age + unix - 50.0).abs() < 1.0),
            ref other => panic!("{other:?}"),
        }
        let v = out(&mut t);
        assert_eq!(v.len(), 100);
        for (n, s) in v.iter().enumerate() {
            let truth = 50.0 + n as f64 / 100.0;
            assert!((s.local.unwrap() - truth - 0.004).abs() < 1e-3, "{n}");
        }

        let mut t = Timeline::new(config(Source::Lsl, true));
        t.measure(m(0.0));
        feed(&mut t, unix, 50.0 - unix, 0.004);
        assert_eq!(t.mode(), Mode::SameHost);
        assert_eq!(out(&mut t)[0].local, Some(unix));
    }

    #[test]
    fn nobody_answers_the_clock_measurement() {
        // Same host: its clock is ours by all we know.
        let mut t = Timeline::new(config(Source::Lsl, true));
        t.push(&[50.0], 50.0);
        t.poll(50.0 + PATIENCE - 0.1);
        assert_eq!(t.mode(), Mode::Waiting);
        t.poll(50.0 + PATIENCE + 0.1);
        assert_eq!(out(&mut t)[0].local, Some(50.0));
        assert_eq!(t.take_notices(), [Notice::NoCorrection(Mode::SameHost)]);

        // Another host: mapped under auto.
        let mut t = Timeline::new(config(Source::Auto, false));
        t.push(&[950.0], 50.0);
        t.poll(54.0);
        assert_eq!(out(&mut t)[0].local, Some(50.0));
        assert_eq!(t.take_notices(), [Notice::NoCorrection(Mode::Mapped)]);

        // Under lsl nothing is made up: old samples are dropped, and said once.
        let mut t = Timeline::new(config(Source::Lsl, false));
        feed(&mut t, 950.0, -900.0, 0.0);
        t.poll(54.0);
        assert!(out(&mut t).is_empty());
        t.poll(50.5 + HOLD);
        let v = out(&mut t);
        assert!(!v.is_empty() && v.iter().all(|s| s.local.is_none()));
        assert_eq!(t.take_notices(), [Notice::NoCorrection(Mode::Waiting)]);
        // The answer comes after all.
        t.measure(m(-900.0));
        t.poll(61.0);
        let rest = out(&mut t);
        assert_eq!(v.len() + rest.len(), 100);
        assert!(rest.iter().all(|s| s.local.is_some()));
    }

    #[test]
    fn arrival_spreads_a_packet_over_its_time() {
        let mut t = Timeline::new(Config {
            dejitter: false,
            ..config(Source::Arrival, false)
        });
        t.push(&[1.0, 1.0, 1.0], 50.0);
        let v: Vec<f64> = out(&mut t).iter().map(|s| s.local.unwrap()).collect();
        for (a, b) in v.iter().zip([49.98, 49.99, 50.0]) {
            assert!((a - b).abs() < 2e-3, "{v:?}");
        }
    }

    #[test]
    fn a_remote_clock_that_restarts_makes_a_new_line() {
        let mut t = Timeline::new(config(Source::Lsl, false));
        t.measure(m(-700.0));
        feed(&mut t, 750.0, -700.0, 0.0);
        out(&mut t);
        t.measure(m(40.0));
        t.measure(m(40.0));
        assert_eq!(t.take_notices(), [Notice::ClockReset]);
        feed(&mut t, 12.0, 40.0, 0.0);
        let v = out(&mut t);
        assert_eq!(v.len(), 100);
        assert!(v[0].discont);
        assert!((v[99].local.unwrap() - 52.99).abs() < 1e-5);
    }

    #[test]
    fn without_dejitter_stamps_are_left_alone_and_the_rate_is_measured() {
        let mut t = Timeline::new(Config {
            dejitter: false,
            ..config(Source::Lsl, true)
        });
        t.measure(m(0.0));
        for n in 0..2000 {
            let stamp = f64::from(n) / 97.0 + f64::from(n % 3) * 0.002;
            t.push(&[stamp], stamp);
            assert_eq!(out(&mut t)[0].local, Some(stamp));
        }
        let rate = 1.0 / t.interval().unwrap();
        assert!((rate - 97.0).abs() < 0.5, "{rate}");
    }
}
