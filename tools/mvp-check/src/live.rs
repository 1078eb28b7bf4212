// SPDX-License-Identifier: MPL-2.0
//! What there is to say of the streams on the LSL network now.

use crate::body::{self, Sensor};
use crate::report::{Clock, Report, Stream, Verdict};
use crate::trace::Trace;
use crate::verdict::{fault, judge};
use crate::{Failure, Options, terminal};
use lsl::{Chunk, Correction, Error, Inlet, Library, Match, Query, Resolver, StreamInfo};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use stream_info::{Description, Format};
use timing::{Config, Measurement, Mode, Notice, Source, Stamped, Timeline};

/// How often the picture is drawn, and the network looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// How long one call of liblsl may wait.
const WAIT: Duration = Duration::from_millis(100);
const OPEN: Duration = Duration::from_secs(1);
/// A stream of regular rate that sends nothing for so long, and for three of its periods, is
/// found without data, or silent.
const SILENCE: Duration = Duration::from_secs(5);
/// A stream that the network does not answer for any more is forgotten.
const FORGET: Duration = Duration::from_secs(5);
/// More are not opened: each takes threads and a connection.
const MOST_STREAMS: usize = 64;
/// So many sample intervals between two samples are a gap.
const GAP: f64 = 1.5;
/// Seconds of samples from which a rate is told.
const RATE_SPAN: f64 = 3.0;

/// A stream as it is now.
pub(crate) struct Watch {
    pub(crate) stream: Stream,
    pub(crate) trace: Trace,
    found: Instant,
    opened: Option<Instant>,
    data: Option<Instant>,
    /// Times at which the sender was lost.
    losses: u64,
    gone: bool,
    failed: Option<String>,
    strange: Option<f64>,
    irregular: bool,
}

impl Watch {
    fn new(description: Description) -> Self {
        let rate = description.rate;
        Self {
            trace: Trace::new(rate.is_regular().then(|| rate.hz())),
            stream: Stream::new(description, None),
            found: Instant::now(),
            opened: None,
            data: None,
            losses: 0,
            gone: false,
            failed: None,
            strange: None,
            irregular: false,
        }
    }

    /// How long a stream may send nothing; `None`: events come when they do.
    fn patience(&self) -> Option<Duration> {
        let hz = self.stream.declared().filter(|_| !self.irregular)?;
        Some(SILENCE.max(Duration::from_secs_f64(3.0 / hz)))
    }

    /// The stream with its faults, as of now; `end`: nothing more is waited for.
    pub(crate) fn judged(&self, end: bool) -> Stream {
        let mut stream = self.stream.clone();
        let faults = &mut stream.faults;
        if let Some(why) = &self.failed {
            faults.push(fault(Verdict::Bad, "not-open", why.clone(), ""));
        }
        if self.gone {
            faults.push(fault(
                Verdict::Bad,
                "lost",
                "the sender is gone".into(),
                "restart the sender; look at its battery and its network",
            ));
        } else if self.losses > 0 {
            faults.push(fault(
                Verdict::Poor,
                "lost",
                format!("the sender was lost {} time(s)", self.losses),
                "look at the sender's battery and its network",
            ));
        }
        let since = self.data.or(self.opened).unwrap_or(self.found);
        let quiet = since.elapsed();
        let end = end && self.data.is_none();
        if let (Some(patience), false) = (self.patience(), self.gone || self.failed.is_some())
            && (quiet > patience || end)
        {
            let seconds = quiet.as_secs_f64();
            let (kind, what) = match (self.opened, self.data) {
                (None, _) => (
                    "not-open",
                    format!("found, and not opened in {seconds:.1} s"),
                ),
                (_, None) => (
                    "found-no-data",
                    format!("found and opened, and no sample came in {seconds:.1} s"),
                ),
                _ => ("silent", format!("no sample for {seconds:.1} s")),
            };
            faults.push(fault(
                Verdict::Bad,
                kind,
                what,
                "look whether the device is on and measuring; start the measurement in the \
                 sender's program; a firewall may block TCP",
            ));
        }
        if let Some(age) = self.strange {
            faults.push(fault(
                Verdict::Poor,
                "foreign-clock",
                format!(
                    "timestamps are of a clock that no other stream shares: {age:+.3} s old when \
                     they arrive"
                ),
                "have the sender stamp its samples with lsl_local_clock()",
            ));
        }
        if self.irregular {
            faults.push(fault(
                Verdict::Poor,
                "irregular",
                "a rate is declared, and samples come like events".into(),
                "have the sender declare the rate 0 (irregular)",
            ));
        }
        if let Some(body) = &stream.body {
            stream.faults.extend(body::judge(body));
        }
        judge(&mut stream);
        stream
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one connection until it is lost or `stop` is set.
struct Reader {
    library: &'static Library,
    watch: Arc<Mutex<Watch>>,
    stop: Arc<AtomicBool>,
    timeline: Timeline,
    stamped: Vec<Stamped>,
    sensor: Option<Sensor>,
    /// Values of the sensor that have no time yet.
    values: VecDeque<f64>,
    /// The last time, seconds on this machine's LSL clock.
    last: Option<f64>,
    begun: Option<f64>,
    measured: f64,
    looked: Option<Instant>,
}

impl Reader {
    fn new(
        library: &'static Library,
        d: &Description,
        watch: Arc<Mutex<Watch>>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let rate = d.rate.is_regular() && d.format != Some(Format::Text);
        Self {
            library,
            watch,
            stop,
            timeline: Timeline::new(Config {
                source: Source::Auto,
                rate: rate.then(|| d.rate.hz()),
                dejitter: !d.can_drop_samples,
                device_delay: d.offset_mean.unwrap_or(0.0),
                same_host: host::name().is_some_and(|name| name == d.hostname),
            }),
            stamped: Vec::new(),
            sensor: None,
            values: VecDeque::new(),
            last: None,
            begun: None,
            measured: f64::NAN,
            looked: None,
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn run(mut self, info: &StreamInfo) {
        match self.read(info) {
            Ok(()) => (),
            Err(Error::Lost) => {
                let mut watch = lock(&self.watch);
                watch.gone = true;
                watch.losses += 1;
            }
            Err(e) => lock(&self.watch).failed = Some(e.to_string()),
        }
    }

    fn read(&mut self, info: &StreamInfo) -> Result<(), Error> {
        let mut inlet = Inlet::new(info)?;
        while !self.stopped() {
            match inlet.open(OPEN) {
                Err(Error::Timeout(_)) => continue,
                opened => opened?,
            }
            // The long description has the labels.
            if let Ok(full) = inlet.full_info(OPEN)
                && let Ok(d) = full.describe()
            {
                self.sensor = Sensor::of(&d);
                lock(&self.watch).stream.description = d;
            }
            break;
        }
        lock(&self.watch).opened = Some(Instant::now());
        let mut chunk = Chunk::default();
        while !self.stopped() {
            self.measure(&inlet);
            chunk.clear();
            if inlet.pull(WAIT, &mut chunk)? > 0 {
                self.take(&chunk);
            }
            self.timeline.poll(self.library.local_clock());
            self.place();
        }
        Ok(())
    }

    /// Looks for a new measurement of the clock.
    fn measure(&mut self, inlet: &Inlet) {
        if self.looked.is_some_and(|t| t.elapsed() < PERIOD) {
            return;
        }
        self.looked = Some(Instant::now());
        let Ok(c) = inlet.time_correction(Duration::ZERO) else {
            return;
        };
        let Correction {
            offset,
            uncertainty,
            remote_time: at,
        } = c;
        if at == self.measured {
            return;
        }
        self.measured = at;
        self.timeline.measure(Measurement {
            offset,
            uncertainty,
            at,
        });
        let mut watch = lock(&self.watch);
        let before = watch.stream.clock;
        watch.stream.clock = Some(Clock {
            measurements: before.map_or(0, |b| b.measurements) + 1,
            lowest: before.map_or(offset, |b| b.lowest.min(offset)),
            highest: before.map_or(offset, |b| b.highest.max(offset)),
            drift: self.timeline.drift(),
            uncertainty: self
                .timeline
                .correction()
                .map_or(uncertainty, |c| c.uncertainty),
        });
    }

    fn take(&mut self, chunk: &Chunk) {
        self.timeline
            .push(&chunk.stamps, self.library.local_clock());
        let mut watch = lock(&self.watch);
        watch.data = Some(Instant::now());
        watch.stream.samples += chunk.stamps.len() as u64;
        let d = &watch.stream.description;
        if let Some(format) = d.format.filter(|f| *f != Format::Text) {
            let size = format.size().max(1);
            let first = self.sensor.as_ref().map_or(0, |s| s.channel) * size;
            for sample in chunk.bytes.chunks_exact(size * d.channels.max(1)) {
                let value = sample.get(first..).unwrap_or_default();
                let value = crate::trace::number(format, value);
                watch.trace.push(value);
                if self.sensor.is_some() {
                    self.values.push_back(value);
                }
            }
        }
    }

    /// Takes the times that are ready.
    fn place(&mut self) {
        self.timeline.drain(&mut self.stamped);
        let mut watch = lock(&self.watch);
        let interval = self.timeline.interval();
        for s in self.stamped.drain(..) {
            let value = self.values.pop_front();
            let Some(time) = s.local else {
                watch.stream.strays += u64::from(s.stray);
                continue;
            };
            if let (Some(sensor), Some(value)) = (&mut self.sensor, value) {
                if s.discont {
                    sensor.cut();
                }
                sensor.push(time, value);
            }
            let begun = *self.begun.get_or_insert(time);
            let range = watch.stream.range.get_or_insert((time, time));
            range.1 = range.1.max(time);
            let step = self.last.replace(time).map(|last| time - last);
            if let (Some(step), Some(interval)) = (step, interval) {
                if step > GAP * interval && s.discont {
                    let lost = ((step / interval).round() as u64).saturating_sub(1);
                    watch.stream.gaps += 1;
                    watch.stream.lost = watch.stream.lost.saturating_add(lost);
                    watch.stream.longest_gap = watch.stream.longest_gap.max(step - interval);
                }
                if time - begun > RATE_SPAN {
                    watch.stream.effective = Some(1.0 / interval);
                }
            }
        }
        if let Some(sensor) = &mut self.sensor {
            watch.stream.body = Some(sensor.body(self.library.local_clock()));
        }
        watch.stream.jitter = self.timeline.jitter();
        watch.irregular = self.timeline.is_irregular();
        if self.timeline.mode() != Mode::Mapped {
            watch.strange = None;
        }
        for notice in self.timeline.take_notices() {
            match notice {
                Notice::ClockReset => watch.stream.resets += 1,
                Notice::StrangeStamps { age } => watch.strange = Some(age),
                _ => (),
            }
        }
    }
}

/// The streams that were seen, in the order in which they were found.
struct Session {
    library: &'static Library,
    stop: Arc<AtomicBool>,
    resolver: Resolver,
    known: HashSet<String>,
    watches: Vec<Arc<Mutex<Watch>>>,
    threads: Vec<JoinHandle<()>>,
    refused: Vec<String>,
}

impl Session {
    /// Opens what is new on the network.
    fn look(&mut self) -> Result<(), Failure> {
        let found = self.resolver.results();
        self.refused = found.refused;
        for Match { info, description } in found.streams {
            if self.known.contains(&description.uid) {
                continue;
            }
            if self.known.len() >= MOST_STREAMS {
                self.refused.push(format!(
                    "{MOST_STREAMS} streams are read, not {description}: choose with --predicate"
                ));
                continue;
            }
            self.known.insert(description.uid.clone());
            let watch = self.watch(&description);
            let reader = Reader::new(self.library, &description, watch, self.stop.clone());
            let thread = std::thread::Builder::new().name("reader".into());
            let thread = thread.spawn(move || reader.run(&info));
            self.threads.push(thread.map_err(Failure::Thread)?);
        }
        Ok(())
    }

    /// The entry of a stream that came back, or a new one.
    fn watch(&mut self, d: &Description) -> Arc<Mutex<Watch>> {
        let same = |w: &&Arc<Mutex<Watch>>| {
            let w = lock(w);
            let before = &w.stream.description;
            w.gone
                && (
                    &before.name,
                    &before.stream_type,
                    &before.source_id,
                    &before.hostname,
                ) == (&d.name, &d.stream_type, &d.source_id, &d.hostname)
        };
        if let Some(back) = self.watches.iter().find(same) {
            lock(back).gone = false;
            return back.clone();
        }
        let watch = Arc::new(Mutex::new(Watch::new(d.clone())));
        self.watches.push(watch.clone());
        watch
    }

    fn report(&self) -> Report {
        Report {
            of: "live".into(),
            streams: self.watches.iter().map(|w| lock(w).judged(true)).collect(),
            notes: self.refused.clone(),
            ..Report::default()
        }
    }
}

/// Watches the network for as long as the options say, or until Ctrl-C.
///
/// # Errors
/// No liblsl, a predicate that cannot be read, or no stream at all.
pub(crate) fn check(options: &Options) -> Result<Report, Failure> {
    let library = Library::load(None).map_err(Failure::Lsl)?;
    let query = Query {
        predicate: options.predicate.clone(),
        ..Query::default()
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in signal_hook::consts::TERM_SIGNALS {
        signal_hook::flag::register(*signal, stop.clone()).map_err(Failure::Thread)?;
    }
    let mut session = Session {
        library,
        resolver: Resolver::new(library, &query, FORGET).map_err(Failure::Lsl)?,
        stop: stop.clone(),
        known: HashSet::new(),
        watches: Vec::new(),
        threads: Vec::new(),
        refused: Vec::new(),
    };
    let mut screen = (options.terminal && !options.json).then(terminal::Screen::open);
    let begin = Instant::now();
    let mut drawn = Instant::now();
    let mut failure = None;
    while !stop.load(Ordering::SeqCst) && options.seconds.is_none_or(|s| begin.elapsed() < s) {
        std::thread::sleep(WAIT.min(PERIOD));
        if let Err(e) = session.look() {
            failure = Some(e);
            break;
        }
        if let Some(screen) = &mut screen
            && drawn.elapsed() >= PERIOD
        {
            drawn = Instant::now();
            screen.draw(
                &session
                    .watches
                    .iter()
                    .map(|w| {
                        let w = lock(w);
                        (w.judged(false), w.trace.line())
                    })
                    .collect::<Vec<_>>(),
                begin.elapsed(),
            );
        }
    }
    drop(screen);
    let report = session.report();
    stop.store(true, Ordering::SeqCst);
    for thread in session.threads.drain(..) {
        // A panic there was told on standard error.
        let _ = thread.join();
    }
    match failure {
        Some(e) => Err(e),
        None if report.streams.is_empty() => Err(Failure::NoLive {
            seconds: begin.elapsed().as_secs_f64(),
            refused: report.notes.join("; "),
        }),
        None => Ok(report),
    }
}
