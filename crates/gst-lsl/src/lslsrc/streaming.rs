// SPDX-License-Identifier: MPL-2.0
//! The streaming thread: connections, samples, and the messages about them.

use super::imp::*;
use super::{
    OnLost, TimestampSource,
    connection::{Connected, Item},
    receiver,
    shared::{Next, Reading, Shared},
    stream::{Before, Counters, Stream},
};
use crate::clock::PipelineClock;
use crate::stream::{caps, events};
use crate::writer::Out;
use gst::{glib, prelude::*, subclass::prelude::*};
use gst_base::prelude::*;
use lsl::Library;
use std::{sync::atomic::Ordering, time::Duration};
use stream_info::{Description, Format};
use timing::{ClockMap, Measurement, Mode, Notice, Timeline};

impl LslSrc {
    pub(super) fn set_flushing(&self, flushing: bool) {
        if let Some(running) = &*lock(&self.running) {
            running.shared.set_flushing(flushing);
        }
    }

    pub(super) fn set_playing(&self, playing: bool) {
        if let Some(running) = &*lock(&self.running) {
            running.shared.set_playing(playing);
        }
    }

    pub(super) fn next_buffer(
        &self,
        session: &mut Session,
        library: &'static Library,
        settings: &Settings,
        shared: &Shared,
    ) -> Result<gst::Buffer, gst::FlowError> {
        loop {
            // A call that is in progress continues through a pause of the pipeline.
            if !shared.wait_playing() {
                return Err(gst::FlowError::Flushing);
            }
            // First what is ready.
            while let Some(out) = session.stream.as_mut().and_then(|s| s.writer.pop()) {
                match out {
                    Out::Buffer(buffer) => {
                        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
                            gst::debug!(CAT, imp = self, "discontinuity at {:?}", buffer.pts());
                        }
                        gst::log!(CAT, imp = self, "pushing {buffer:?}");
                        return Ok(buffer);
                    }
                    Out::Gap(start, duration) => {
                        gst::debug!(
                            CAT,
                            imp = self,
                            "no samples from {} for {}",
                            gst::ClockTime::from_nseconds(start),
                            gst::ClockTime::from_nseconds(duration)
                        );
                        self.ensure_segment();
                        let gap = gst::event::Gap::builder(gst::ClockTime::from_nseconds(start))
                            .duration(gst::ClockTime::from_nseconds(duration))
                            .build();
                        self.obj().src_pad().push_event(gap);
                    }
                }
            }
            if let Some(end) = session.end {
                return Err(self.end(end, settings, session));
            }
            if let Some(connected) = session.connected.take() {
                self.connect(session, *connected, settings)?;
            }

            let now = library.local_clock();
            // Reading the clock takes a lock that all elements share.
            if self.clock_changed.swap(false, Ordering::AcqRel)
                || session.clock.as_ref().is_none_or(PipelineClock::is_other)
            {
                let clock = lock(&self.clock).clone();
                if PipelineClock::follow(&mut session.clock, clock, || library.local_clock()) {
                    self.log_clock(session.clock.as_ref());
                }
            }
            let mut wait = 0.1;
            let mut reading = Reading::AtOnce;
            let mut latency_changed = false;
            if let Some((stream, time, counters)) = self.parts(session) {
                let latency = latency(settings, stream.age.value());
                latency_changed = stream.tick(now, latency, &time, counters);
                wait = stream.deadline(now);
                reading = stream.reading();
            }
            self.tell(session, settings, shared, latency_changed);
            if session
                .stream
                .as_ref()
                .is_some_and(|s| !s.writer.is_empty())
            {
                continue;
            }

            let item = match shared.next(Duration::from_secs_f64(wait), reading, || {
                library.local_clock()
            }) {
                Next::Flushing => return Err(gst::FlowError::Flushing),
                Next::Timeout => continue,
                Next::Item(item) => item,
            };
            let latency_changed = self.handle(session, item, settings);
            if session.stream.as_ref().is_none_or(|s| s.writer.is_empty()) {
                // Else it is published with the next buffer.
                self.publish(session, shared);
            }
            self.tell(session, settings, shared, latency_changed);
        }
    }

    fn log_clock(&self, clock: Option<&PipelineClock>) {
        let relation = match clock {
            None => "the pipeline has no clock",
            Some(clock) if clock.is_other() => {
                "not LSL's: running time is mapped by readings of both clocks"
            }
            Some(_) => "LSL's: running time is LSL time less base time",
        };
        let clock = clock.map(PipelineClock::clock);
        gst::debug!(CAT, imp = self, "pipeline clock {clock:?}: {relation}");
    }

    /// Takes one item of the receiver; true when the latency changed.
    pub(super) fn handle(&self, session: &mut Session, item: Item, settings: &Settings) -> bool {
        match item {
            Item::Failed => session.end = Some(End::Failed),
            Item::Connected(connected) => {
                if let Some((stream, time, counters)) = self.parts(session) {
                    stream.finish(&time, counters);
                    if let Some(c) = stream.timeline.correction() {
                        session.last_offset = Some(c.offset);
                    }
                }
                session.connected = Some(connected);
            }
            other => {
                let Some((stream, time, counters)) = self.parts(session) else {
                    return false;
                };
                match other {
                    Item::Chunk {
                        chunk,
                        arrival,
                        waited,
                    } => {
                        return stream.take(chunk, arrival, waited, &time, counters);
                    }
                    Item::Correction(c) => {
                        gst::log!(CAT, imp = self, "measured clock offset: {c:?}");
                        stream.timeline.measure(Measurement {
                            offset: c.offset,
                            uncertainty: c.uncertainty,
                            at: c.remote_time,
                        });
                    }
                    Item::ClockReset => {
                        gst::debug!(
                            CAT,
                            imp = self,
                            "liblsl says that the sender's clock was set"
                        );
                        stream.timeline.clock_reset();
                    }
                    _ => {
                        stream.finish(&time, counters);
                        stream.mark_lost();
                        if settings.on_lost != OnLost::Wait {
                            session.end = Some(End::Lost);
                        }
                    }
                }
            }
        }
        false
    }

    /// The stream, the running time and the counters, once there is a stream.
    pub(super) fn parts<'a>(
        &self,
        session: &'a mut Session,
    ) -> Option<(&'a mut Stream, Now<'a>, &'a mut Counters)> {
        let base_time = self.obj().base_time();
        let start_time = self.obj().start_time().unwrap_or(gst::ClockTime::ZERO);
        let start_time = start_time.nseconds() as i64;
        let stream = session.stream.as_mut()?;
        if session.base_time.is_some() && session.base_time != base_time {
            session.resumed = stream.resumed(start_time, &mut session.counters);
        }
        session.base_time = base_time;
        let clock = session
            .clock
            .as_ref()
            .map_or(&ClockMap::Same, PipelineClock::map);
        let now = Now {
            clock,
            base_time: base_time.unwrap_or(gst::ClockTime::ZERO).nseconds() as i64,
            floor: start_time.max(session.resumed),
        };
        Some((stream, now, &mut session.counters))
    }

    /// Begins a connection: caps, events, a new timeline.
    pub(super) fn connect(
        &self,
        session: &mut Session,
        connected: Connected,
        settings: &Settings,
    ) -> Result<(), gst::FlowError> {
        if let Err(e) = self.agree_on_caps(&connected) {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{e}"));
            return Err(gst::FlowError::NotNegotiated);
        }
        self.ensure_segment();
        let pad = self.obj().src_pad().clone();
        let d = &connected.description;
        pad.push_event(gst::event::Tag::new(events::tags(d)));
        pad.push_event(events::stream_info(d, &connected.channels, &connected.xml));

        let delay = match settings.device_delay {
            -1 => d.offset_mean.unwrap_or(0.0),
            ns => ns as f64 / 1e9,
        };
        gst::info!(
            CAT,
            imp = self,
            "{d}: channels {:?} are kept, labels {:?}, units {:?}, device delay {delay} s, {}",
            connected.channels,
            d.labels,
            d.units,
            if d.hostname == glib::host_name().as_str() {
                "on this host"
            } else {
                "on another host"
            }
        );
        let timeline = Timeline::new(timing::Config {
            source: match settings.timestamp_source {
                TimestampSource::Auto => timing::Source::Auto,
                TimestampSource::Lsl => timing::Source::Lsl,
                TimestampSource::Mapped => timing::Source::Mapped,
                TimestampSource::Arrival => timing::Source::Arrival,
            },
            // Text has events and no samples, whatever rate it declares.
            rate: (d.rate.is_regular() && d.format != Some(Format::Text)).then(|| d.rate.hz()),
            dejitter: settings.dejitter && !d.can_drop_samples,
            device_delay: delay,
            same_host: d.hostname == glib::host_name().as_str(),
        });
        let before = session
            .stream
            .take()
            .map_or_else(Before::default, Stream::into_before);
        session.pending_offset_check = session.last_offset.is_some();
        let chunk = settings.chunk_duration as f64 / 1e9;
        session.stream = Some(Stream::new(connected, timeline, chunk, before));
        Ok(())
    }

    /// Agrees with downstream on the caps of a stream.
    pub(super) fn agree_on_caps(&self, connected: &Connected) -> Result<(), String> {
        let d = &connected.description;
        let own = caps::of_stream(d, &connected.channels);
        lock(&self.status).caps = Some(own.clone());
        let pad = self.obj().src_pad().clone();
        let peer = pad.peer_query_caps(None);
        let mut common = own.intersect_with_mode(&peer, gst::CapsIntersectMode::First);
        if common.is_empty() {
            return Err(caps::mismatch(d, connected.channels.len(), &own, &peer));
        }
        common.fixate();
        gst::debug!(
            CAT,
            imp = self,
            "caps {common} of {own}; downstream takes {peer}"
        );
        self.obj()
            .set_caps(&common)
            .map_err(|_| format!("The next element refuses the caps {common}"))
    }

    /// Sends the segment before the base class does: tags and gaps must follow a segment.
    pub(super) fn ensure_segment(&self) {
        let obj = self.obj();
        let pad = obj.src_pad();
        if pad.sticky_event::<gst::event::Segment>(0).is_none() {
            pad.push_event(gst::event::Segment::new(&obj.segment()));
        }
    }

    pub(super) fn end(&self, end: End, settings: &Settings, session: &Session) -> gst::FlowError {
        if end == End::Failed {
            return gst::FlowError::Error;
        }
        if settings.on_lost == OnLost::Eos {
            return gst::FlowError::Eos;
        }
        let stream = session.stream.as_ref().map_or_else(
            || settings.query.to_string(),
            |s| s.connected.description.to_string(),
        );
        gst::element_imp_error!(
            self,
            gst::ResourceError::Read,
            ("The LSL stream {stream} is lost: its sender is gone or sent nothing for \
                 data-timeout. With on-lost=wait the element would wait for it to come back")
        );
        gst::FlowError::Error
    }

    /// Posts what happened. Nothing is locked here.
    pub(super) fn tell(
        &self,
        session: &mut Session,
        settings: &Settings,
        shared: &Shared,
        latency_changed: bool,
    ) {
        let Some(stream) = &mut session.stream else {
            return;
        };
        let mode = stream.timeline.mode();
        if session.mode.replace(mode) != Some(mode) {
            gst::info!(
                CAT,
                imp = self,
                "timestamp mode {mode:?} (timestamp-source={:?}), clock offset {:?} s, nominal rate {}",
                settings.timestamp_source,
                stream.timeline.correction().map(|m| m.offset),
                stream.connected.description.rate
            );
        }
        if latency_changed {
            let latency = latency(settings, stream.age.value());
            gst::debug!(
                CAT,
                imp = self,
                "latency {}: samples come {:.3} s after they were taken at the most",
                gst::ClockTime::from_nseconds(latency),
                stream.age.value()
            );
            lock(&self.status).latency = latency;
            let obj = self.obj();
            let _ = obj.post_message(gst::message::Latency::builder().src(&*obj).build());
        }
        if stream.take_flooded() {
            let d = &stream.connected.description;
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Read,
                ("More samples of {d} come than can be held until their time is known; the \
                     oldest are dropped (dropped in stats). Look at what its sender does")
            );
        }
        let mut reset = false;
        if session.pending_offset_check
            && let Some(c) = stream.timeline.correction()
            && stream.timeline.mode() != Mode::Waiting
        {
            session.pending_offset_check = false;
            reset = session
                .last_offset
                .is_some_and(|old| (old - c.offset).abs() > CLOCK_RESET);
        }
        let source = stream.timeline.mode();
        let notices = stream.timeline.take_notices();
        reset |= notices.iter().any(|n| matches!(n, Notice::ClockReset));
        session.counters.resets += u64::from(reset);
        if !reset && notices.is_empty() {
            return;
        }
        // Before the messages: who handles one finds it in the statistics.
        self.publish(session, shared);
        let Some(stream) = &session.stream else {
            return;
        };
        let d = &stream.connected.description;
        for text in notices.into_iter().filter_map(|n| warning(n, d, source)) {
            gst::element_imp_warning!(self, gst::CoreError::Clock, ("{text}"));
        }
        if reset {
            receiver::post(&self.obj(), "lsl-clock-reset", d);
        }
    }

    pub(super) fn publish(&self, session: &Session, shared: &Shared) {
        let dropped = shared.dropped();
        let mut status = lock(&self.status);
        status.queue_dropped = dropped;
        status.counters = session.counters;
        if let Some(stream) = &session.stream {
            status.mode = stream.timeline.mode();
            status.correction = stream.timeline.correction();
            status.drift = stream.timeline.drift();
            status.jitter = stream.timeline.jitter();
            status.irregular = stream.timeline.is_irregular();
            status.interval = stream.timeline.interval();
            status.age = stream.age.value();
        }
    }

    pub(super) fn stats(&self) -> gst::Structure {
        // A streaming thread that is held up does not publish.
        let link = lock(&self.running).as_ref().map(|r| {
            let shared = &r.shared;
            (shared.is_connected(), shared.losses(), shared.dropped())
        });
        let s = lock(&self.status);
        let (connected, losses, queue_dropped) = link.unwrap_or((false, s.losses, s.queue_dropped));
        let mut stats = gst::Structure::builder("lslsrc-stats")
            .field("samples", s.counters.samples)
            .field("buffers", s.counters.buffers)
            .field("dropped", s.counters.dropped + queue_dropped)
            .field("queue-dropped", queue_dropped)
            .field("stray-stamps", s.counters.strays)
            .field("gaps", s.counters.gaps)
            .field("losses", losses)
            .field("resets", s.counters.resets)
            .field("irregular", s.irregular)
            .field("connected", connected)
            .field("timestamp-mode", s.mode.name())
            .field("sender-age", (s.age * 1e9) as u64)
            .field("latency", s.latency)
            .build();
        if let Some(c) = s.correction {
            stats.set("correction", (c.offset * 1e9).round() as i64);
            if c.uncertainty.is_finite() {
                stats.set("uncertainty", (c.uncertainty.max(0.0) * 1e9) as u64);
            }
        }
        if let Some(drift) = s.drift {
            stats.set("drift", drift * 1e6);
        }
        if let Some(jitter) = s.jitter {
            stats.set("jitter", (jitter * 1e9) as u64);
        }
        if let Some(interval) = s.interval.filter(|i| *i > 0.0) {
            stats.set("effective-rate", 1.0 / interval);
        }
        stats
    }
}

/// What the bus is told of a stream's time; `mode`: before the notice.
fn warning(notice: Notice, d: &Description, mode: Mode) -> Option<String> {
    Some(match notice {
        Notice::ClockReset => return None,
        Notice::StrangeStamps { age } => format!(
            "The stamps of {d} are {age:.1} s old on the LSL clock, so they are of another \
                     clock; they are placed by arrival (timestamp-source=mapped) instead"
        ),
        Notice::NoCorrection(Mode::SameHost) => format!(
            "The clock offset of {d} could not be measured; it is on this host, so 0 is \
                     assumed. A firewall may block UDP"
        ),
        Notice::NoCorrection(Mode::Waiting) => format!(
            "The clock offset of {d} cannot be measured, and timestamp-source=lsl needs it; \
                     samples are dropped until it is. A firewall may block UDP; \
                     timestamp-source=mapped does without"
        ),
        Notice::NoCorrection(_) => format!(
            "The clock offset of {d} could not be measured; stamps are placed by arrival \
                     (timestamp-source=mapped) instead. A firewall may block UDP"
        ),
        Notice::OtherClock { offset } => format!(
            "{d} has this host's name, but its clock is off by {offset:.6} s; the offset is \
                     applied from here on ({})",
            mode.name()
        ),
        Notice::NoClock => format!(
            "The stamps of {d} do not go on as time does, like a counter; its samples are \
                     placed when they arrive (timestamp-source=arrival)"
        ),
        Notice::StrayStamps { off, samples } => format!(
            "{samples} stamp(s) of {d} cannot be right, the newest is {}; such samples are \
                     dropped (stray-stamps in stats) and told of once a minute. Look at the \
                     sender's clock and at how it stamps",
            match off {
                off if off >= 0.0 => format!("{off:.1} s ahead of the clock"),
                off if off < 0.0 => format!("{:.1} s behind the one before", -off),
                _ => "not a number".into(),
            }
        ),
        Notice::Irregular => format!(
            "{d} declares a rate, but its samples come irregularly, like events; each is \
                     sent on its own, with its own time. The sender should declare rate 0"
        ),
        Notice::NoNumbers => format!(
            "The timestamps of {d} are not numbers (NaN or infinite): from here on its \
                     samples are placed when they arrive, as with timestamp-source=arrival; those \
                     before were dropped (stray-stamps in stats). Correct how its sender stamps"
        ),
        Notice::OtherRate { declared, measured } => format!(
            "{d} declares {declared} Hz and sends {measured:.3} samples per second, {:.1} % \
                     {}; the time and duration of each buffer are right, the rate in the caps is \
                     the declared one. Correct the rate that the sender declares, or what makes it \
                     lose samples, such as a weak radio link (effective-rate in stats)",
            (measured / declared - 1.0).abs() * 100.0,
            if measured > declared { "more" } else { "less" }
        ),
    })
}
