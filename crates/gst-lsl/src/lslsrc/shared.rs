// SPDX-License-Identifier: MPL-2.0
//! What the receiver's thread and the streaming thread share: the open stream, and a queue
//! of news and of samples that were read in the streaming thread's place.

use super::connection::Item;
use lsl::{Chunk, Error, Inlet};
use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long reading waits for a sample before it looks whether it should stop.
const READ: Duration = Duration::from_millis(100);
const FIRST_CORRECTION: Duration = Duration::from_millis(20);
const NEXT_CORRECTION: Duration = Duration::from_millis(500);
/// What waits for the streaming thread at most, seconds and bytes. The oldest goes first.
pub(super) const QUEUE: f64 = 10.0;
pub(super) const QUEUE_BYTES: usize = 64 << 20;

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    flushing: bool,
    playing: bool,
    stop: bool,
    /// Something happened that the receiver should see to.
    attention: bool,
    /// Memory of the samples in it.
    bytes: usize,
    dropped: u64,
    overflow: Overflow,
}

/// Samples are being dropped: from the first one until the streaming thread has caught up.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Overflow {
    #[default]
    None,
    /// Seconds and bytes that were in the queue.
    News(f64, usize),
    Told,
}

impl Queue {
    /// Drops the oldest samples until `size` bytes that came at `now` have room.
    fn make_room(&mut self, now: f64, size: usize) {
        let mut oldest = now;
        let before = (self.bytes + size, self.dropped);
        // Only samples may be dropped; the rest is news.
        let mut i = 0;
        while let Some(item) = self.items.get(i) {
            let Item::Chunk { arrival, chunk, .. } = item else {
                i += 1;
                continue;
            };
            oldest = oldest.min(*arrival);
            if now - arrival <= QUEUE && self.bytes + size <= QUEUE_BYTES {
                break;
            }
            self.bytes = self.bytes.saturating_sub(chunk.size());
            self.dropped += chunk.stamps.len() as u64;
            self.items.remove(i);
        }
        if self.dropped > before.1 || size > QUEUE_BYTES {
            self.overflows(now - oldest, before.0);
        }
    }

    fn overflows(&mut self, seconds: f64, bytes: usize) {
        // While the pipeline is paused that is as it must be.
        if self.playing && self.overflow == Overflow::None {
            self.overflow = Overflow::News(seconds, bytes);
        }
    }
}

/// A stream that is open.
pub(super) struct Source {
    pub(super) inlet: Inlet,
    /// When it was last asked for samples (LSL clock), and when it had some.
    pub(super) asked: f64,
    pub(super) data: Option<Instant>,
    /// The receiver waits for the next samples.
    pub(super) awaited: bool,
    /// The last clock measurement's time on the sender's clock, and when it was looked for.
    measured: f64,
    measure: Option<Instant>,
    pub(super) failed: Option<Error>,
}

impl Source {
    /// `now`: LSL clock. `awaited`: the receiver is called when there are samples.
    pub(super) fn new(inlet: Inlet, now: f64, awaited: bool) -> Self {
        Self {
            inlet,
            asked: now,
            data: None,
            awaited,
            measured: f64::NAN,
            measure: None,
            failed: None,
        }
    }
}

/// How the streaming thread reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    /// Each sample as soon as it is there.
    AtOnce,
    /// What came in so many seconds, together.
    Every(f64),
}

/// What the receiver's thread and the streaming thread share.
#[derive(Default)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Locked before `queue`: what is read under it is queued under it, so that samples
    /// stay in order whoever reads them.
    source: Mutex<Option<Source>>,
    /// True before the bus says `lsl-connected` or `lsl-recovered`, false before it says
    /// `lsl-lost`: who hears the message finds it in the statistics.
    pub(super) connected: AtomicBool,
    pub(super) losses: AtomicU64,
}

/// Why [`Shared::next`] came back.
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

    /// Waits while the pipeline does not play: what comes then has no running time. False
    /// when flushing.
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

    pub(super) fn is_playing(&self) -> bool {
        self.lock().playing
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stop
    }

    /// Sleeps, but not beyond a stop; true when it is time to stop.
    pub(super) fn pause(&self, time: Duration) -> bool {
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

    pub(super) fn source(&self) -> MutexGuard<'_, Option<Source>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    /// How often the stream was lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// The next item, waiting for it up to `timeout`. `now` tells the LSL time.
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
                // All elements at the same moments: one interruption of the machine for all.
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

    /// Reads the source once, unless the receiver was faster.
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
            // What came later than that is this machine's delay.
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
            let item = queue.items.pop_front();
            if let Some(Item::Chunk { chunk, .. }) = &item {
                queue.bytes = queue.bytes.saturating_sub(chunk.size());
                if queue.bytes == 0 {
                    queue.overflow = Overflow::None;
                }
            }
            item.map_or(Next::Timeout, Next::Item)
        }
    }

    /// Asks an open stream for what it has, waiting for it up to `wait`. News of the clock
    /// goes into the queue.
    pub(super) fn read(
        &self,
        source: &mut Source,
        wait: Duration,
        now: impl Fn() -> f64,
    ) -> Option<Item> {
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
                // Before the samples that it is about; whoever reads looks there next.
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

    /// Samples dropped because nobody took them in time.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Seconds and bytes that were in the queue when it overflowed, once for each time that
    /// the streaming thread falls behind.
    pub(super) fn take_overflow(&self) -> Option<(f64, usize)> {
        let mut queue = self.lock();
        match queue.overflow {
            Overflow::News(seconds, bytes) => {
                queue.overflow = Overflow::Told;
                Some((seconds, bytes))
            }
            _ => None,
        }
    }

    /// Samples were dropped before they could get into the queue.
    pub(super) fn count_dropped(&self, samples: u64) {
        let mut queue = self.lock();
        queue.dropped += samples;
        let bytes = queue.bytes;
        queue.overflows(0.0, bytes);
    }

    pub(super) fn push(&self, item: Item) {
        let mut queue = self.lock();
        if let Item::Chunk { arrival, chunk, .. } = &item {
            queue.make_room(*arrival, chunk.size());
            if chunk.size() > QUEUE_BYTES {
                queue.dropped += chunk.stamps.len() as u64;
                return;
            }
            queue.bytes += chunk.size();
        }
        queue.items.push_back(item);
        self.changed.notify_all();
    }
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests;
