// SPDX-License-Identifier: MPL-2.0
//! The thread that finds the stream, opens it, watches it and finds it again. It holds a weak
//! reference to the element and hands everything over through [`Shared`].
//!
//! The streaming thread reads the samples of an open stream itself ([`Shared::next`]): passing
//! them through another thread would cost more than all that is done with them. While the
//! streaming thread is blocked downstream, the receiver reads in its place.

mod choice;
mod patience;

use super::connection::{Connected, Item};
use super::shared::{QUEUE, QUEUE_BYTES, Shared, Source};
use super::{OnLost, imp::CAT};
use crate::stream::caps;
use choice::{prefer_same_source, successor};
use gst::{glib, prelude::*};
use lsl::{Error, Found, Inlet, Library, Match, Query, Resolver};
use patience::Patience;
use std::{
    cell::RefCell,
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use stream_info::{Description, Format};

/// How often the receiver checks an open stream; news wake it earlier.
const TICK: Duration = Duration::from_secs(1);
const TEXT_TICK: Duration = Duration::from_millis(50);
/// Texts that come faster than so many reads take are dropped where they are.
const MOST_TEXT_READS: usize = 2;
/// So often the receiver reads in one go, if there is more each time.
const MOST_READS: usize = 64;
/// A streaming thread that did not read for so long, seconds at most, is held up.
const HELD_UP: f64 = 1.0;
/// How often everything that cannot be interrupted looks whether it should stop.
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
/// So many different reasons to ignore streams are told; more are an attack.
const MOST_TOLD: usize = 32;
const MOST_REFUSED: usize = 1024;

pub(super) struct Config {
    pub query: Query,
    pub channels: String,
    /// `None`: for ever.
    pub resolve_timeout: Option<Duration>,
    /// `None`: never.
    pub data_timeout: Option<Duration>,
    pub on_lost: OnLost,
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
        let result = self.open(&found, previous);
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

    /// `previous`: what the stream said of itself before it was lost.
    fn open(
        &self,
        found: &Match,
        previous: Option<&Description>,
    ) -> Result<(Inlet, Description), End> {
        let short = &found.description;
        let inlet = Inlet::new(&found.info).map_err(|e| {
            self.fail(
                gst::ResourceError::OpenRead,
                &format!("The LSL stream {short} cannot be opened: {e}"),
            )
        })?;
        let full = self.repeat(short, |slice| inlet.full_info(slice))?;
        let description = full.describe().map_err(|e| self.refuse(short, &e))?;
        let channels = caps::select(&self.config.channels, &description);
        let channels = match (channels, previous) {
            (Ok(channels), None) => channels,
            (Ok(channels), Some(previous)) => {
                self.compare(previous, &description, &channels)?;
                channels
            }
            (Err(e), None) => {
                return Err(self.fail(gst::LibraryError::Settings, &format!("Wrong channels: {e}")));
            }
            (Err(e), Some(previous)) => {
                return Err(self.refuse_changed(previous, &description, &e));
            }
        };
        self.repeat(short, |slice| inlet.open(slice))?;
        self.shared.push(Item::Connected(Box::new(Connected {
            description: description.clone(),
            xml: full.xml(),
            channels,
        })));
        Ok((inlet, description))
    }

    /// Holds a stream that came back against what it was: a change is told, and one that the
    /// next element does not take is no stream for this pipeline.
    fn compare(
        &self,
        previous: &Description,
        d: &Description,
        channels: &[usize],
    ) -> Result<(), End> {
        let changes = previous.changes(d);
        let Some(element) = self.element.upgrade().filter(|_| !changes.is_empty()) else {
            return Ok(());
        };
        let own = caps::of_stream(d, channels);
        if let Some(pad) = element.static_pad("src") {
            let peer = pad.peer_query_caps(None);
            let mut common = own.intersect_with_mode(&peer, gst::CapsIntersectMode::First);
            let taken = !common.is_empty() && {
                common.fixate();
                pad.peer_query_accept_caps(&common)
            };
            if !taken {
                let why = caps::mismatch(d, channels.len(), &own, &peer);
                return Err(self.refuse_changed(previous, d, &why));
            }
        }
        gst::element_warning!(
            element,
            gst::StreamError::Format,
            (
                "The LSL stream {d} is not what it was before it was lost: {}. The pipeline goes on \
                 with it; if that is not wanted, correct its sender and restart it, or set the \
                 property channels to labels",
                changes.join("; ")
            )
        );
        Ok(())
    }

    /// A stream that came back changed cannot be used: it is as if it had not come back.
    fn refuse_changed(&self, previous: &Description, d: &Description, why: &str) -> End {
        let changes = previous.changes(d);
        let changes = match &changes[..] {
            [] => "nothing that it says".to_string(),
            _ => changes.join("; "),
        };
        let why = Error::Refused(format!(
            "The LSL stream {d} is not what it was before it was lost and is left out; changed: \
             {changes}. Reason: {why}. lslsrc waits for the stream as it was (on-lost=wait): \
             correct its sender and restart it, or restart the pipeline with other properties"
        ));
        self.refuse(d, &why)
    }

    /// Repeats a request to the sender in short slices, until it is answered.
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
                &match e {
                    lsl::Error::Predicate(..) => {
                        format!("No stream can be looked for: {e}. Check the property predicate")
                    }
                    e => format!("No stream can be looked for: {e}"),
                },
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
        let now = self.library.local_clock();
        *self.shared.source() = Some(Source::new(inlet, now, recovering));
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
        // Silence of an irregular stream says nothing.
        let timeout = self.config.data_timeout.filter(|_| regular);
        let mut patience = timeout.map(|t| Patience::new(t, description.rate.hz()));
        // How long texts are, liblsl does not ask: they are not left with it.
        let tick = match description.format {
            Some(Format::Text) => TEXT_TICK,
            _ => TICK,
        };
        let tick = timeout.map_or(tick, |t| tick.min(t / 5));
        // Silence is not to be taken for a loss only because nobody read.
        let held_up = HELD_UP.min(2.0 * tick.as_secs_f64());
        let mut lost = recovering && regular;
        let mut watcher: Option<(Resolver, Instant)> = None;
        let mut last_data = Instant::now();
        let opened = last_data;
        let mut received = false;
        // That it sends nothing.
        let mut told = false;
        loop {
            self.tell_progress();
            if self.shared.pause(tick) {
                return Err(End::Stop);
            }
            self.read_in_place(held_up, description.format == Some(Format::Text));
            let (data, failed) = {
                let mut source = self.shared.source();
                let Some(source) = source.as_mut() else {
                    return Err(End::Again);
                };
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
            let limit = patience.as_ref().map(Patience::limit);
            if let Some(limit) = limit.filter(|l| !told && data.is_none() && opened.elapsed() >= *l)
            {
                told = true;
                self.no_data(description, limit);
            }
            if let Some(data) = data.filter(|t| *t > last_data) {
                if let Some(patience) = patience.as_mut().filter(|_| received) {
                    patience.came(data - last_data);
                }
                received = true;
                last_data = data;
                if lost {
                    lost = false;
                    watcher = None;
                    self.connected("lsl-recovered", description);
                }
            } else if !lost && limit.is_some_and(|l| last_data.elapsed() >= l) {
                self.lost(description)?;
                lost = true;
            }
            if lost && last_data.elapsed() >= CONNECT.min(timeout.unwrap_or(CONNECT)) {
                // Silent: it may come back, or come back as another sender.
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

    /// Reads in place of a streaming thread that did not for `held_up` seconds.
    fn read_in_place(&self, held_up: f64, text: bool) {
        let clock = || self.library.local_clock();
        for n in 0..MOST_READS {
            let mut source = self.shared.source();
            let Some(source) = source.as_mut() else { break };
            if n == 0 && clock() - source.asked <= held_up {
                break;
            }
            let Some(item) = self.shared.read(source, Duration::ZERO, clock) else {
                break;
            };
            let full = matches!(&item, Item::Chunk { chunk, .. } if chunk.is_full());
            self.shared.push(item);
            if !full || self.shared.is_stopped() {
                break;
            }
            if text
                && n + 1 >= MOST_TEXT_READS
                && let Some(dropped) = source.inlet.flush()
            {
                self.shared.count_dropped(u64::from(dropped));
                break;
            }
        }
        if let Some((seconds, bytes)) = self.shared.take_overflow()
            && let Some(element) = self.element.upgrade()
        {
            gst::element_warning!(
                element,
                gst::CoreError::Pad,
                (
                    "The next element takes no samples: {seconds:.1} s ({:.1} MB) of them wait, at most \
                     {QUEUE} s and {} MB do, and the oldest are dropped (dropped and queue-dropped in \
                     stats). Put a queue with leaky=downstream behind lslsrc, make what follows \
                     faster, or choose fewer channels at the sender",
                    bytes as f64 / 1e6,
                    QUEUE_BYTES / 1_000_000
                )
            );
        }
    }

    fn connected(&self, message: &str, description: &Description) {
        self.shared.connected.store(true, Ordering::SeqCst);
        self.post(message, description);
    }

    /// The stream is open and has sent nothing for `limit`.
    fn no_data(&self, description: &Description, limit: Duration) {
        self.post("lsl-found-no-data", description);
        if let Some(element) = self.element.upgrade() {
            gst::element_warning!(
                element,
                gst::ResourceError::Read,
                (
                    "The LSL stream {description} was found and opened, and has sent no sample for \
                     {:.1} s. Look whether its device is on, connected and measuring, start the \
                     measurement in the sender's program, or restart the sender; a firewall may \
                     block TCP",
                    limit.as_secs_f64()
                )
            );
        }
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
        if messages.is_empty() || !self.shared.is_playing() {
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
        self.shared.is_stopped()
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
