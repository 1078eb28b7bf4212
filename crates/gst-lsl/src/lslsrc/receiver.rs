// SPDX-License-Identifier: MPL-2.0
//! The thread that finds the stream, opens it, watches it and finds it again. It holds a weak
//! reference to the element and hands everything over through [`Shared`].
//!
//! The streaming thread reads the samples of an open stream itself ([`Shared::next`]): passing
//! them through another thread would cost more than all that is done with them. While the
//! streaming thread is blocked downstream, the receiver reads in its place.

mod choice;

use super::connection::{Connected, Item};
use super::{OnLost, imp::CAT};
use crate::stream::caps;
use choice::{prefer_same_source, successor};
use gst::{glib, prelude::*};
use lsl::{Chunk, Error, Found, Inlet, Library, Match, Query, Resolver};
use std::{
    cell::RefCell,
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use stream_info::Description;

/// How often the receiver checks an open stream; news wake it earlier.
const TICK: Duration = Duration::from_secs(1);
/// A streaming thread that has not read for this long, seconds, is blocked downstream.
const HELD_UP: f64 = 1.0;
/// How long a read waits for a sample before it checks for a stop.
const READ: Duration = Duration::from_millis(100);
/// The length of one request to liblsl, which cannot be interrupted; then the receiver checks for a
/// stop.
const SLICE: Duration = Duration::from_millis(50);
const RESOLVE_POLL: Duration = Duration::from_millis(10);
/// A stream that has not answered for this long is gone.
const FORGET: Duration = Duration::from_secs(2);
/// How long other streams may take to answer after the first match.
const SETTLE: Duration = Duration::from_millis(200);
/// When nothing has matched for this long, all streams are searched, to tell the user which there
/// are.
const LOOK_AROUND: Duration = Duration::from_millis(500);
const SAY_AGAIN: Duration = Duration::from_secs(5);
/// A request for the description or the data that takes longer is given up, and the stream is
/// searched again.
const CONNECT: Duration = Duration::from_secs(5);
const FIRST_CORRECTION: Duration = Duration::from_millis(20);
const NEXT_CORRECTION: Duration = Duration::from_millis(500);
/// The most different reasons to ignore streams that are posted: the network decides how many
/// there are.
const MOST_TOLD: usize = 32;
const MOST_REFUSED: usize = 1024;
/// The most that waits for the streaming thread, seconds of samples.
pub(super) const QUEUE: f64 = 10.0;

pub(super) struct Config {
    pub query: Query,
    pub channels: String,
    /// `None`: for ever.
    pub resolve_timeout: Option<Duration>,
    /// `None`: never.
    pub data_timeout: Option<Duration>,
    pub on_lost: OnLost,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    flushing: bool,
    playing: bool,
    stop: bool,
    /// The receiver is to check the stream now.
    attention: bool,
    dropped: u64,
}

/// A stream that is open.
struct Source {
    inlet: Inlet,
    /// When it was last read (seconds, LSL clock), and when there were samples.
    asked: f64,
    data: Option<Instant>,
    /// The receiver waits for the next samples.
    awaited: bool,
    /// The time of the last clock measurement on the outlet's clock, and when it was asked for.
    measured: f64,
    measure: Option<Instant>,
    failed: Option<Error>,
}

/// How the streaming thread reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    /// Each sample as soon as it arrives.
    AtOnce,
    /// Together what arrived in this many seconds.
    Every(f64),
}

/// What the receiver's thread and the streaming thread share.
#[derive(Default)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Locked before `queue`: samples are read and queued under it, so that they stay in order
    /// whichever thread reads them.
    source: Mutex<Option<Source>>,
    /// Changes before `lsl-connected`, `lsl-recovered` and `lsl-lost` are posted: who handles the
    /// message finds it in the statistics.
    connected: AtomicBool,
    losses: AtomicU64,
}

/// Why [`Shared::next`] returned.
pub(super) enum Next {
    Item(Item),
    Timeout,
    Flushing,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_flushing(&self, flushing: bool) {
        self.lock().flushing = flushing;
        self.changed.notify_all();
    }

    pub(super) fn set_playing(&self, playing: bool) {
        self.lock().playing = playing;
        self.changed.notify_all();
    }

    /// Blocks while the pipeline does not play: what arrives then has no running time. False when
    /// flushing.
    pub(super) fn wait_playing(&self) -> bool {
        !self
            .changed
            .wait_while(self.lock(), |q| !q.flushing && !q.playing)
            .unwrap_or_else(PoisonError::into_inner)
            .flushing
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Sleeps, but not beyond a stop; true when it is time to stop.
    fn pause(&self, time: Duration) -> bool {
        let guard = self.lock();
        let (mut queue, _) = self
            .changed
            .wait_timeout_while(guard, time, |q| !q.stop && !q.attention)
            .unwrap_or_else(PoisonError::into_inner);
        queue.attention = false;
        queue.stop
    }

    fn attract(&self) {
        self.lock().attention = true;
        self.changed.notify_all();
    }

    fn source(&self) -> MutexGuard<'_, Option<Source>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    /// How often the stream was lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// The next item; blocks for it up to `timeout`. `now` reads the LSL clock, seconds.
    pub(super) fn next(&self, timeout: Duration, reading: Reading, now: impl Fn() -> f64) -> Next {
        let until = now() + timeout.as_secs_f64();
        loop {
            let open = |s: &Source| s.failed.is_none().then_some(s.asked);
            let asked = self.source().as_ref().and_then(open);
            let left = seconds(until - now());
            let Some(asked) = asked else {
                return self.queued(left);
            };
            let wait = match reading {
                Reading::AtOnce => Duration::ZERO,
                // All elements of the process read at the same moments, so that it wakes up once.
                Reading::Every(period) => {
                    seconds(((asked / period).floor() + 1.0) * period - now())
                }
            };
            match self.queued(wait.min(left)) {
                Next::Timeout if wait <= left => (),
                other => return other,
            }
            match self.ask(left, reading, &now) {
                Next::Timeout if now() < until => (),
                other => return other,
            }
        }
    }

    /// Reads the source once, unless the receiver has queued something meanwhile.
    fn ask(&self, left: Duration, reading: Reading, now: impl Fn() -> f64) -> Next {
        let mut source = self.source();
        match self.queued(Duration::ZERO) {
            Next::Timeout => (),
            other => return other,
        }
        let Some(source) = source.as_mut() else {
            return Next::Timeout;
        };
        let wait = match reading {
            Reading::AtOnce => left.min(READ),
            Reading::Every(_) => Duration::ZERO,
        };
        let mut item = self.read(source, wait, now);
        if let (Some(Item::Chunk { waited, .. }), Reading::Every(period)) = (&mut item, reading) {
            // A longer wait is a delay of this machine, not of the reading.
            *waited = waited.min(period);
        }
        item.map_or(Next::Timeout, Next::Item)
    }

    fn queued(&self, timeout: Duration) -> Next {
        let mut queue = self.lock();
        if !timeout.is_zero() {
            (queue, _) = self
                .changed
                .wait_timeout_while(queue, timeout, |q| !q.flushing && q.items.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
        }
        if queue.flushing {
            Next::Flushing
        } else {
            queue.items.pop_front().map_or(Next::Timeout, Next::Item)
        }
    }

    /// Reads an open stream; blocks for samples up to `wait`. Clock measurements go into the
    /// queue.
    fn read(&self, source: &mut Source, wait: Duration, now: impl Fn() -> f64) -> Option<Item> {
        if source.failed.is_some() {
            return None;
        }
        let every = if source.measured.is_nan() {
            FIRST_CORRECTION
        } else {
            NEXT_CORRECTION
        };
        if source.measure.is_none_or(|t| t.elapsed() >= every) {
            source.measure = Some(Instant::now());
            let mut news = false;
            if let Ok(c) = source.inlet.time_correction(Duration::ZERO)
                && c.remote_time != source.measured
            {
                source.measured = c.remote_time;
                self.lock().items.push_back(Item::Correction(c));
                news = true;
            }
            if source.inlet.was_clock_reset() {
                self.lock().items.push_back(Item::ClockReset);
                news = true;
            }
            if news {
                // They come before the samples that they apply to: the reader takes the queue next.
                return None;
            }
        }
        let mut chunk = Chunk::default();
        let pulled = source.inlet.pull(wait, &mut chunk);
        let arrival = now();
        let asked = std::mem::replace(&mut source.asked, arrival);
        match pulled {
            Ok(0) => None,
            Ok(_) => {
                source.data = Some(Instant::now());
                if std::mem::take(&mut source.awaited) {
                    self.attract();
                }
                Some(Item::Chunk {
                    chunk,
                    arrival,
                    waited: if wait.is_zero() { arrival - asked } else { 0.0 },
                })
            }
            Err(e) => {
                source.failed = Some(e);
                self.attract();
                None
            }
        }
    }

    /// The number of samples that were dropped since the last call, because the streaming thread
    /// did not read.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    fn push(&self, item: Item) {
        let mut queue = self.lock();
        if let Item::Chunk { arrival: now, .. } = item {
            // Only samples may be dropped.
            while let Some((i, n)) = queue.items.iter().enumerate().find_map(|(i, x)| match x {
                Item::Chunk { arrival, chunk, .. } => {
                    Some((i, (now - arrival > QUEUE).then_some(chunk.stamps.len())))
                }
                _ => None,
            }) {
                let Some(n) = n else { break };
                queue.items.remove(i);
                queue.dropped += n as u64;
            }
        }
        queue.items.push_back(item);
        self.changed.notify_all();
    }
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::ZERO)
}

/// Why a step of the receiver ended before its time.
enum End {
    Stop,
    /// An error was posted.
    Failed,
    /// The outlet is gone or does not answer: search for it again.
    Again,
}

pub(super) struct Receiver {
    library: &'static Library,
    config: Config,
    shared: Arc<Shared>,
    element: glib::WeakRef<super::LslSrc>,
    /// Progress messages to be posted once the pipeline plays.
    progress: RefCell<Vec<gst::Message>>,
    /// The reasons to ignore streams that were posted.
    told: RefCell<HashSet<String>>,
    /// The uids of streams whose full description was refused.
    refused: RefCell<HashSet<String>>,
}

impl Receiver {
    pub(super) fn spawn(
        library: &'static Library,
        config: Config,
        shared: Arc<Shared>,
        element: &super::LslSrc,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let receiver = Self {
            library,
            config,
            shared,
            element: element.downgrade(),
            progress: RefCell::default(),
            told: RefCell::default(),
            refused: RefCell::default(),
        };
        std::thread::Builder::new()
            .name("lslsrc".into())
            .spawn(move || receiver.run())
    }

    fn run(&self) {
        let started = Instant::now();
        let mut previous: Option<Description> = None;
        let mut found = None;
        loop {
            let end = match self.connect(previous.as_ref(), started, found.take()) {
                Ok((inlet, description)) => {
                    let recovering = previous.is_some();
                    previous = Some(description.clone());
                    match self.receive(inlet, &description, recovering) {
                        Ok(other) => {
                            found = Some(other);
                            End::Again
                        }
                        Err(end) => end,
                    }
                }
                Err(end) => end,
            };
            match end {
                End::Again => (),
                End::Failed => return self.shared.push(Item::Failed),
                End::Stop => return,
            }
            if self.stopped() {
                return;
            }
        }
    }

    /// Finds the stream (or takes the one `found`) and opens it.
    fn connect(
        &self,
        previous: Option<&Description>,
        started: Instant,
        found: Option<Match>,
    ) -> Result<(Inlet, Description), End> {
        let found = match found {
            Some(found) => found,
            None => self.resolve(previous, started)?,
        };
        let short = &found.description;
        self.progress(
            gst::ProgressType::Start,
            "open",
            &format!("Opening {short}"),
        );
        let result = self.open(&found);
        match &result {
            Ok(_) => self.progress(
                gst::ProgressType::Complete,
                "open",
                &format!("Receiving {short}"),
            ),
            Err(End::Failed) => self.progress(gst::ProgressType::Error, "open", "Failed"),
            Err(_) => self.progress(gst::ProgressType::Canceled, "open", "Not opened"),
        }
        result
    }

    fn open(&self, found: &Match) -> Result<(Inlet, Description), End> {
        let short = &found.description;
        let inlet = Inlet::new(&found.info).map_err(|e| {
            self.fail(
                gst::ResourceError::OpenRead,
                &format!("The LSL stream {short} cannot be opened: {e}"),
            )
        })?;
        let full = self.repeat(short, |slice| inlet.full_info(slice))?;
        let description = full.describe().map_err(|e| self.refuse(short, &e))?;
        let channels = caps::select(&self.config.channels, &description)
            .map_err(|e| self.fail(gst::LibraryError::Settings, &format!("Wrong channels: {e}")))?;
        self.repeat(short, |slice| inlet.open(slice))?;
        self.shared.push(Item::Connected(Box::new(Connected {
            description: description.clone(),
            xml: full.xml(),
            channels,
        })));
        Ok((inlet, description))
    }

    /// Repeats a request to the outlet in short slices, until it is answered.
    fn repeat<T>(
        &self,
        stream: &Description,
        ask: impl Fn(Duration) -> Result<T, Error>,
    ) -> Result<T, End> {
        let started = Instant::now();
        loop {
            if self.stopped() {
                return Err(End::Stop);
            }
            match ask(SLICE) {
                Ok(answer) => return Ok(answer),
                Err(Error::Timeout(_)) if started.elapsed() < CONNECT => (),
                Err(Error::Lost) => {
                    // Where the port is closed liblsl answers at once: do not search in a loop.
                    return Err(if self.pause(SLICE) {
                        End::Stop
                    } else {
                        End::Again
                    });
                }
                Err(e @ Error::Refused(_)) => return Err(self.refuse(stream, &e)),
                Err(e) => {
                    self.debug(&format!("{stream} does not answer: {e}"));
                    return Err(End::Again);
                }
            }
        }
    }

    /// Ignores a stream from here on and searches for others.
    fn refuse(&self, stream: &Description, why: &Error) -> End {
        let mut refused = self.refused.borrow_mut();
        if refused.len() >= MOST_REFUSED {
            refused.clear();
        }
        refused.insert(stream.uid.clone());
        self.tell_refused(&why.to_string());
        End::Again
    }

    fn tell_refused(&self, why: &str) {
        let mut told = self.told.borrow_mut();
        if told.len() >= MOST_TOLD || !told.insert(why.to_string()) {
            return;
        }
        if let Some(element) = self.element.upgrade() {
            gst::element_warning!(element, gst::ResourceError::Read, ("{why}"));
            if told.len() == MOST_TOLD {
                gst::element_warning!(
                    element,
                    gst::ResourceError::Read,
                    ("{MOST_TOLD} different LSL streams or answers were ignored; no more are listed")
                );
            }
        }
    }

    /// The streams of a search that can be received; for others the reason is posted once.
    fn results(&self, resolver: &Resolver) -> Vec<Match> {
        let Found { streams, refused } = resolver.results();
        for why in refused {
            self.tell_refused(&why);
        }
        let left_out = self.refused.borrow();
        streams
            .into_iter()
            .filter(|m| !left_out.contains(&m.description.uid))
            .collect()
    }

    fn resolver(&self) -> Result<Resolver, End> {
        Resolver::new(self.library, &self.config.query, FORGET).map_err(|e| {
            self.fail(
                gst::LibraryError::Settings,
                &format!("No stream can be looked for: {e}. Check the property predicate"),
            )
        })
    }

    fn resolve(&self, previous: Option<&Description>, started: Instant) -> Result<Match, End> {
        let query = &self.config.query;
        let text = format!("Looking for {query}");
        self.progress(gst::ProgressType::Start, "resolve", &text);
        let result = self.resolve_quietly(previous, started);
        match &result {
            Ok(found) => self.progress(
                gst::ProgressType::Complete,
                "resolve",
                &format!("Found {}", found.description),
            ),
            Err(End::Failed) => self.progress(gst::ProgressType::Error, "resolve", &text),
            Err(_) => self.progress(gst::ProgressType::Canceled, "resolve", &text),
        }
        result
    }

    fn resolve_quietly(
        &self,
        previous: Option<&Description>,
        started: Instant,
    ) -> Result<Match, End> {
        let query = &self.config.query;
        let begin = Instant::now();
        let mut resolver = self.resolver()?;
        let mut everything: Option<Resolver> = None;
        let mut said = begin;
        let mut matched: Option<Instant> = None;
        let mut doubted = false;
        let mut known = Vec::new();
        loop {
            let mut found = self.results(&resolver);
            self.log_candidates(&found, &mut known);
            if let Some(previous) = previous {
                prefer_same_source(&mut found, previous);
            }
            if found.is_empty() {
                matched = None;
            } else if matched.get_or_insert_with(Instant::now).elapsed() >= SETTLE {
                if found.len() == 1 {
                    let found = found.pop().ok_or(End::Again)?;
                    self.log_choice(&found, known.len(), previous);
                    return Ok(found);
                }
                if doubted {
                    return Err(self.ambiguous(&found));
                }
                // One of them may have ended just now: search again.
                doubted = true;
                matched = None;
                resolver = self.resolver()?;
            }
            if previous.is_none()
                && matched.is_none()
                && let Some(limit) = self.config.resolve_timeout
                && started.elapsed() >= limit
            {
                return Err(self.fail(
                    gst::ResourceError::NotFound,
                    &format!(
                        "Found no {} within {:.1} s. Streams seen: {}. Start the sender, correct the \
                         stream's properties, or raise resolve-timeout (0 waits for ever)",
                        query.to_string().trim_start_matches("an "),
                        limit.as_secs_f64(),
                        self.seen(everything.as_ref())
                    ),
                ));
            }
            let look_around = self
                .config
                .resolve_timeout
                .map_or(LOOK_AROUND, |limit| LOOK_AROUND.min(limit / 4));
            if everything.is_none() && begin.elapsed() >= look_around {
                everything = Resolver::new(self.library, &Query::default(), FORGET).ok();
            }
            if said.elapsed() >= SAY_AGAIN {
                said = Instant::now();
                self.progress(
                    gst::ProgressType::Continue,
                    "resolve",
                    &format!(
                        "Still looking for {query}; streams seen: {}",
                        self.seen(everything.as_ref())
                    ),
                );
            }
            if self.pause(RESOLVE_POLL) {
                return Err(End::Stop);
            }
        }
    }

    /// The streams on the network, for a message.
    fn seen(&self, everything: Option<&Resolver>) -> String {
        let mut seen: Vec<_> = everything
            .map_or_else(Vec::new, |e| self.results(e))
            .iter()
            .map(|m| m.description.to_string())
            .collect();
        if seen.is_empty() {
            seen.push("none".into());
        } else if seen.len() > MOST_TOLD {
            let more = seen.len() - MOST_TOLD;
            seen.truncate(MOST_TOLD);
            seen.push(format!("{more} more"));
        }
        let mut ignored: Vec<_> = self.told.borrow().iter().cloned().collect();
        ignored.sort();
        if !ignored.is_empty() {
            seen.push(format!("ignored: {}", ignored.join(" ")));
        }
        seen.join("; ")
    }

    fn ambiguous(&self, found: &[Match]) -> End {
        let names: Vec<_> = found
            .iter()
            .take(MOST_TOLD)
            .map(|m| format!("{} with uid {}", m.description, m.description.uid))
            .collect();
        self.fail(
            gst::ResourceError::Settings,
            &format!(
                "{} LSL streams match{}: {}. Narrow it down with stream-name, stream-type, \
                 source-id or predicate",
                found.len(),
                self.config
                    .query
                    .xpath()
                    .map_or_else(String::new, |xpath| format!(" {xpath}")),
                names.join(" and ")
            ),
        )
    }

    /// Reads the stream until it ends. `Ok`: another outlet took its place.
    fn receive(
        &self,
        inlet: Inlet,
        description: &Description,
        recovering: bool,
    ) -> Result<Match, End> {
        *self.shared.source() = Some(Source {
            inlet,
            asked: self.library.local_clock(),
            data: None,
            awaited: recovering,
            measured: f64::NAN,
            measure: None,
            failed: None,
        });
        let end = self.watch(description, recovering);
        // Dropped on this thread and without a lock: joining the threads of liblsl takes time.
        let source = self.shared.source().take();
        drop(source);
        end
    }

    /// Watches the open stream until it ends.
    fn watch(&self, description: &Description, recovering: bool) -> Result<Match, End> {
        let regular = description.rate.is_regular();
        if !recovering {
            self.connected("lsl-connected", description);
        } else if !regular {
            self.connected("lsl-recovered", description);
        }
        // An irregular stream may be silent.
        let patience = self.config.data_timeout.filter(|_| regular);
        let tick = patience.map_or(TICK, |p| TICK.min(p / 5));
        // A stream that is not read looks silent: read it in time.
        let held_up = HELD_UP.min(2.0 * tick.as_secs_f64());
        let mut lost = recovering && regular;
        let mut watcher: Option<(Resolver, Instant)> = None;
        let mut last_data = Instant::now();
        loop {
            self.tell_progress();
            if self.shared.pause(tick) {
                return Err(End::Stop);
            }
            let (data, failed) = {
                let mut source = self.shared.source();
                let Some(source) = source.as_mut() else {
                    return Err(End::Again);
                };
                let clock = || self.library.local_clock();
                if clock() - source.asked > held_up
                    && let Some(item) = self.shared.read(source, Duration::ZERO, clock)
                {
                    self.shared.push(item);
                }
                source.awaited = lost && source.data.is_none_or(|t| t <= last_data);
                (source.data, source.failed.take())
            };
            if let Some(e) = failed {
                self.debug(&format!("{description}: {e}"));
                if !lost {
                    self.lost(description)?;
                }
                return if self.pause(RESOLVE_POLL) {
                    Err(End::Stop)
                } else {
                    Err(End::Again)
                };
            }
            if let Some(data) = data.filter(|t| *t > last_data) {
                last_data = data;
                if lost {
                    lost = false;
                    watcher = None;
                    self.connected("lsl-recovered", description);
                }
            } else if !lost && patience.is_some_and(|p| last_data.elapsed() >= p) {
                self.lost(description)?;
                lost = true;
            }
            if lost && last_data.elapsed() >= CONNECT.min(patience.unwrap_or(CONNECT)) {
                // The stream may come back, or a restarted outlet may take its place.
                if watcher.is_none() {
                    watcher = Some((self.resolver()?, Instant::now()));
                }
                if let Some((watcher, since)) = &watcher
                    && let found = self.results(watcher)
                    && let Some(other) = successor(found, since.elapsed(), description)
                {
                    return Ok(other);
                }
            }
        }
    }

    fn connected(&self, message: &str, description: &Description) {
        self.shared.connected.store(true, Ordering::SeqCst);
        self.post(message, description);
    }

    fn lost(&self, description: &Description) -> Result<(), End> {
        self.shared.connected.store(false, Ordering::SeqCst);
        self.shared.losses.fetch_add(1, Ordering::SeqCst);
        self.post("lsl-lost", description);
        self.shared.push(Item::Lost);
        // `eos` and `error` are done by the streaming thread, after the samples.
        match self.config.on_lost {
            OnLost::Wait => Ok(()),
            OnLost::Eos | OnLost::Error => Err(End::Stop),
        }
    }

    fn post(&self, message: &str, d: &Description) {
        if let Some(element) = self.element.upgrade() {
            post(&element, message, d);
        }
    }

    fn progress(&self, kind: gst::ProgressType, code: &str, text: &str) {
        if let Some(element) = self.element.upgrade() {
            gst::info!(CAT, obj = element, "{text}");
            let message = gst::message::Progress::builder(kind, code, text)
                .src(&element)
                .build();
            self.progress.borrow_mut().push(message);
        }
        self.tell_progress();
    }

    /// gst-launch-1.0 does not start a pipeline before progress that was posted earlier ends, and a
    /// stream may never appear. So progress is posted while playing.
    fn tell_progress(&self) {
        let mut messages = self.progress.borrow_mut();
        if messages.is_empty() || !self.shared.lock().playing {
            return;
        }
        if let Some(element) = self.element.upgrade() {
            for message in messages.drain(..) {
                let _ = element.post_message(message);
            }
        }
    }

    fn stopped(&self) -> bool {
        self.tell_progress();
        self.shared.lock().stop
    }

    /// Sleeps; true when it is time to stop.
    fn pause(&self, time: Duration) -> bool {
        self.tell_progress();
        self.shared.pause(time)
    }

    fn debug(&self, text: &str) {
        if let Some(element) = self.element.upgrade() {
            gst::debug!(CAT, obj = element, "{text}");
        }
    }

    fn fail<E: gst::MessageErrorDomain>(&self, domain: E, text: &str) -> End {
        if let Some(element) = self.element.upgrade() {
            gst::element_error!(element, domain, ("{text}"));
        }
        End::Failed
    }
}

/// Posts an element message about a stream.
pub(super) fn post(element: &super::LslSrc, message: &str, d: &Description) {
    gst::info!(CAT, obj = element, "{message}: {d}");
    let structure = gst::Structure::builder(message)
        .field("name", &d.name)
        .field("type", &d.stream_type)
        .field("source-id", &d.source_id)
        .field("hostname", &d.hostname)
        .field("uid", &d.uid)
        .build();
    let message = gst::message::Element::builder(structure)
        .src(element)
        .build();
    let _ = element.post_message(message);
}

#[cfg(test)]
mod tests;
