// SPDX-License-Identifier: MPL-2.0
//! From the events of the parser to buffers on the pads, in both modes.

use super::imp::*;
use super::stream::{Placed, Ready, Stream};
use crate::stream::{caps, events};
use crate::writer::Out;
use gst::{prelude::*, subclass::prelude::*};
use std::collections::BTreeMap;
use xdf::{Event, Film, Header, Spoiled, Values, plausible};

impl XdfDemux {
    /// Takes bytes of the file, in push mode.
    pub(super) fn unpack(&self, session: &mut Session, bytes: &[u8]) -> Result<(), gst::FlowError> {
        let mut unpacker = std::mem::take(&mut session.unpacker);
        let mut spoiled = None;
        let sink = |zipped: bool, bytes: &[u8]| {
            session.zipped = zipped;
            session.parser.feed(bytes);
            self.process(session)
        };
        let result = unpacker.feed(bytes, sink, |s| spoiled = Some(s));
        session.unpacker = unpacker;
        if let Some(spoiled) = spoiled {
            self.spoiled(session, &spoiled);
        }
        result
    }

    /// Takes all that the parser has.
    pub(super) fn process(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        loop {
            let event = session.parser.next_event().map_err(|e| {
                gst::element_imp_error!(self, gst::StreamError::WrongType, ("{e}"));
                gst::FlowError::Error
            })?;
            match event {
                Some(event) => self.handle(session, event)?,
                None => return Ok(()),
            }
        }
    }

    /// Takes what is left at the end of the recording.
    pub(super) fn drain(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        let (rest, spoiled) = session.unpacker.finish();
        session.parser.feed(&rest);
        if let Some(spoiled) = spoiled {
            self.spoiled(session, &spoiled);
        }
        session.parser.finish();
        self.process(session)?;
        self.release(session)?;
        self.let_go(session)
    }

    pub(super) fn handle(&self, session: &mut Session, event: Event) -> Result<(), gst::FlowError> {
        match event {
            Event::Stream(id, header) if !session.by_id.contains_key(&id) => {
                self.add_stream(session, id, *header)?;
            }
            Event::Samples { id, stamps, values } => {
                let Some(&stream) = session.by_id.get(&id) else {
                    return Ok(());
                };
                if session.origin.is_some() {
                    return self.play(session, stream, stamps, values);
                }
                session.held_bytes += 8 * stamps.len()
                    + match &values {
                        Values::Numbers(n) => n.len(),
                        Values::Texts(t) => t.iter().map(|t| t.len() + 24).sum(),
                    };
                session.held.push(Held {
                    stream,
                    stamps,
                    values,
                });
                if session.held_bytes > MOST_HELD {
                    return self.release(session);
                }
            }
            // In pull mode all offsets are known, and the damages told.
            _ if session.pull => (),
            Event::Offset(id, offset) => {
                let Some(&stream) = session.by_id.get(&id) else {
                    return Ok(());
                };
                session.streams[stream].causal.measure(offset);
                let held = &session.held;
                let named = |h: &Held| {
                    let d = session.streams[h.stream].description();
                    Some(&d.name) == session.film.as_ref()
                };
                if !held.is_empty()
                    && (session.film.is_none() || held.iter().any(named))
                    && held
                        .iter()
                        .all(|h| session.streams[h.stream].causal.known())
                {
                    return self.release(session);
                }
            }
            Event::Boundary => {
                session.boundaries += 1;
                if session.boundaries >= MOST_BOUNDARIES && !session.held.is_empty() {
                    return self.release(session);
                }
            }
            Event::Damage { at, what } => self.damage(session, at, &what),
            _ => (),
        }
        Ok(())
    }

    /// Fixes time zero and plays what waited for that.
    pub(super) fn release(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        if session.origin.is_some() {
            return Ok(());
        }
        let mut held = std::mem::take(&mut session.held);
        let film = session.film.clone();
        let mut origin = f64::INFINITY;
        let mut films = BTreeMap::<usize, Film>::new();
        for h in &mut held {
            let stream = &mut session.streams[h.stream];
            let d = stream.description();
            if film.as_ref() == Some(&d.name)
                && let Some(frames) = Film::of(d)
            {
                films.entry(h.stream).or_insert(frames);
            }
            let mut frames = films.get_mut(&h.stream);
            for (i, stamp) in h.stamps.iter().enumerate() {
                if let Some(time) = plausible(stream.correct(*stamp)) {
                    origin = origin.min(time);
                    if let Some(frames) = &mut frames {
                        frames.take(time, &h.values, i);
                    }
                }
            }
        }
        if let Some(film) = &film {
            let names = session.streams.iter().map(|s| &*s.description().name);
            let begin = |(i, film): (&usize, &Film)| Some((session.streams[*i].id, film.begin()?));
            let begins: Vec<_> = films.iter().filter_map(begin).collect();
            origin = self.begin_of_film(film, &begins, names)?;
        }
        if !origin.is_finite() {
            return Ok(());
        }
        gst::info!(
            CAT,
            imp = self,
            "time zero is {origin:.6} s on the recorder's clock"
        );
        session.origin = Some(origin);
        session.held_bytes = 0;
        self.obj().no_more_pads();
        for h in held {
            self.play(session, h.stream, h.stamps, h.values)?;
        }
        Ok(())
    }

    /// Takes samples, and sends what has a time.
    pub(super) fn play(
        &self,
        session: &mut Session,
        index: usize,
        stamps: Vec<f64>,
        values: Values,
    ) -> Result<(), gst::FlowError> {
        let (mut stamps, mut values) = (stamps, values);
        while !stamps.is_empty() {
            let part = session.streams[index].sift(&mut stamps, &mut values);
            if part.new_clock {
                session.streams[index].begin_clock();
            }
            let ready = session.streams[index].smooth(part);
            if !ready.stamps.is_empty() {
                self.send(session, index, &ready)?;
            }
            if session.streams[index].placer.until_new_clock() == 0 {
                // By the clock of before.
                let ready = session.streams[index].let_go(None);
                if !ready.stamps.is_empty() {
                    self.send(session, index, &ready)?;
                }
            }
        }
        // What waits in the others waits no longer than it would have, live.
        let origin = session.origin.unwrap_or(0.0);
        for other in (0..session.streams.len()).filter(|i| *i != index) {
            let now = origin + session.reached(other) as f64 / 1e9;
            let stream = &mut session.streams[other];
            if !stream.holds() {
                continue;
            }
            let ready = stream.let_go(Some(now - stream.offset));
            if !ready.stamps.is_empty() {
                self.send(session, other, &ready)?;
            }
        }
        Ok(())
    }

    /// Sends what waits in the streams, at an end.
    pub(super) fn let_go(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        for index in 0..session.streams.len() {
            let ready = session.streams[index].let_go(None);
            if !ready.stamps.is_empty() {
                self.send(session, index, &ready)?;
            }
        }
        Ok(())
    }

    /// Sends samples that have a time.
    pub(super) fn send(
        &self,
        session: &mut Session,
        index: usize,
        ready: &Ready,
    ) -> Result<(), gst::FlowError> {
        let origin = session.origin.unwrap_or(0.0);
        let nanos = |t: Option<gst::ClockTime>| t.map(|t| t.nseconds() as i64);
        let from = session.from;
        let until = nanos(session.segment.stop()).unwrap_or(i64::MAX);
        let stream = &mut session.streams[index];
        let times: Vec<Option<i64>> = ready
            .smoothed
            .iter()
            .map(|s| plausible(stream.correct(*s)))
            .map(|t| t.map(|t| ((t - origin) * 1e9).round() as i64))
            .collect();
        let (mut earliest, mut latest) = (i64::MAX, session.newest);
        for time in times.iter().flatten() {
            earliest = earliest.min(*time);
            latest = latest.max(*time);
        }
        if !session.pull && earliest < i64::MAX {
            // Twice what was seen: the next may be later still.
            session.lag = session.lag.max(2 * (session.newest - earliest));
        }
        session.newest = latest;
        let placed = Placed {
            times: &times,
            stamps: &ready.stamps,
            values: &ready.values,
        };
        stream.cut(&placed, from, until);
        // What came before the film is not missed.
        if stream.misplaced > 0 && session.film.is_none() && !session.warned_misplaced {
            session.warned_misplaced = true;
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                (
                    "Samples of {} have stamps from before time zero of the recording, or none \
                     that is a time; they are dropped. A recording that can be read anywhere \
                     (filesrc) has its true beginning as time zero",
                    stream.description()
                )
            );
        }
        self.push(session, index)?;
        // The others have nothing until shortly before now.
        for other in (0..session.streams.len()).filter(|i| *i != index) {
            let now = session.reached(other).min(until);
            session.streams[other].idle(now);
            self.push(session, other)?;
        }
        Ok(())
    }

    /// Sends what the stream has written.
    pub(super) fn push(&self, session: &mut Session, index: usize) -> Result<(), gst::FlowError> {
        while let Some(out) = session.streams[index].writer.pop() {
            let stream = &session.streams[index];
            let flow = if stream.pad.check_reconfigure() && !self.agree_on_caps(stream) {
                Err(gst::FlowError::NotNegotiated)
            } else {
                match out {
                    Out::Buffer(buffer) => {
                        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
                            let pts = buffer.pts();
                            gst::debug!(CAT, obj = stream.pad, "discontinuity at {pts:?}");
                        }
                        gst::log!(CAT, obj = stream.pad, "pushing {buffer:?}");
                        stream.pad.push(buffer)
                    }
                    Out::Gap(start, duration) => {
                        gst::log!(
                            CAT,
                            obj = stream.pad,
                            "gap of {} from {}",
                            gst::ClockTime::from_nseconds(duration),
                            gst::ClockTime::from_nseconds(start)
                        );
                        let gap = gst::event::Gap::builder(gst::ClockTime::from_nseconds(start))
                            .duration(gst::ClockTime::from_nseconds(duration))
                            .build();
                        // Whether anybody wants the stream is told by its buffers.
                        stream.pad.push_event(gap);
                        continue;
                    }
                }
            };
            if let Err(gst::FlowError::NotNegotiated) = flow
                && stream.pad.is_linked()
            {
                let peer = stream.pad.peer_query_caps(None);
                let d = stream.description();
                let own = possible(d);
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Format,
                    ("{}", caps::mismatch(d, d.channels, &own, &peer))
                );
                return Err(gst::FlowError::Error);
            }
            session.combiner.update_pad_flow(&stream.pad, flow)?;
        }
        Ok(())
    }

    pub(super) fn add_stream(
        &self,
        session: &mut Session,
        id: u32,
        header: Header,
    ) -> Result<(), gst::FlowError> {
        let Some(template) = self.obj().pad_template("stream_%u") else {
            return Err(gst::FlowError::Error);
        };
        let name = format!("stream_{}", session.streams.len());
        let d = &header.description;
        gst::info!(CAT, imp = self, "{name}: recorded stream {id}, {d}");
        let pad = gst::Pad::builder_from_template(&template)
            .name(name.as_str())
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(pad, query))
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || false,
                    |this| match event.view() {
                        gst::EventView::Seek(seek) => this.seek(seek),
                        _ => gst::Pad::event_default(pad, Some(&*this.obj()), event),
                    },
                )
            })
            .flags(gst::PadFlags::FIXED_CAPS)
            .build();
        lock(&self.possible).insert(name, possible(&header.description));
        pad.set_active(true).map_err(|_| gst::FlowError::Flushing)?;
        let obj = self.obj();
        let stream_id = pad.create_stream_id(&*obj, Some(&format!("{id:08x}")));
        let start = gst::event::StreamStart::builder(&stream_id)
            .group_id(session.group)
            .seqnum(session.seqnum)
            .flags(match header.description.rate.is_regular() {
                true => gst::StreamFlags::empty(),
                false => gst::StreamFlags::SPARSE,
            })
            .build();
        pad.push_event(start);
        if obj.add_pad(&pad).is_err() {
            return Err(gst::FlowError::Error);
        }
        let dejitter = lock(&self.settings).dejitter;
        let stream = Stream::new(id, header, pad, dejitter);
        // Who does not want it says so at the first buffer.
        self.agree_on_caps(&stream);
        let pad = &stream.pad;
        pad.push_event(
            gst::event::Segment::builder(&session.segment)
                .seqnum(session.seqnum)
                .build(),
        );
        let d = stream.description();
        pad.push_event(gst::event::Tag::new(events::tags(d)));
        let channels: Vec<usize> = (0..d.channels).collect();
        pad.push_event(events::stream_info(d, &channels, &stream.header.xml));
        session.combiner.add_pad(pad);
        session.by_id.insert(id, session.streams.len());
        session.streams.push(stream);
        Ok(())
    }

    /// Chooses among the caps that a stream can have; false when none is wanted.
    pub(super) fn agree_on_caps(&self, stream: &Stream) -> bool {
        let peer = stream.pad.peer_query_caps(None);
        let own = possible(stream.description());
        let mut common = own.intersect_with_mode(&peer, gst::CapsIntersectMode::First);
        if common.is_empty() {
            gst::warning!(CAT, obj = stream.pad, "{own} is not in {peer}");
            return false;
        }
        common.fixate();
        gst::debug!(
            CAT,
            obj = stream.pad,
            "caps {common} of {own}; downstream takes {peer}"
        );
        if stream.pad.current_caps().as_ref() == Some(&common) {
            return true;
        }
        let rate = stream.description().rate;
        if common.structure(0).is_some_and(|s| s.name() == caps::AUDIO) && rate.whole().is_none() {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Format,
                (
                    "{} is played as audio of a rounded rate, as the next element takes \
                     audio/x-raw only: {common}. The times of the buffers are right; an element \
                     that counts samples drifts. Link what takes application/x-lsl where that \
                     matters",
                    stream.description()
                )
            );
        }
        // While nobody is linked the caps are kept for later.
        stream.pad.push_event(gst::event::Caps::new(&common)) || !stream.pad.is_linked()
    }

    pub(super) fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        use gst::QueryViewMut;
        gst::log!(CAT, obj = pad, "handling query {query:?}");
        let info = *lock(&self.info);
        match query.view_mut() {
            QueryViewMut::Duration(q) if q.format() == gst::Format::Time => match info.duration {
                Some(duration) => {
                    q.set(gst::ClockTime::from_nseconds(duration));
                    true
                }
                None => false,
            },
            QueryViewMut::Seeking(q) => {
                if q.format() == gst::Format::Time {
                    let end = info.duration.map(gst::ClockTime::from_nseconds);
                    q.set(info.duration.is_some(), gst::ClockTime::ZERO, end);
                } else {
                    let format = q.format();
                    q.set(
                        false,
                        gst::GenericFormattedValue::none_for_format(format),
                        gst::GenericFormattedValue::none_for_format(format),
                    );
                }
                true
            }
            QueryViewMut::Caps(q) => {
                let caps = lock(&self.possible).get(pad.name().as_str()).cloned();
                let caps = caps.unwrap_or_else(caps::template);
                let result = match q.filter() {
                    Some(filter) => {
                        filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First)
                    }
                    None => caps,
                };
                q.set_result(&result);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    pub(super) fn damage(&self, session: &mut Session, at: u64, what: &str) {
        session.damages += 1;
        gst::warning!(CAT, imp = self, "damage at byte {at}: {what}");
        if session.damages <= TOLD {
            let of = if session.zipped {
                " of what it unpacks to"
            } else {
                ""
            };
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                ("The recording is damaged at byte {at}{of}: {what}. What can be read before \
                     and after is played")
            );
        }
    }

    /// Tells that a compressed recording cannot be unpacked as a whole.
    pub(super) fn spoiled(&self, session: &mut Session, spoiled: &Spoiled) {
        session.damages += 1;
        gst::element_imp_warning!(
            self,
            gst::StreamError::Demux,
            (
                "The recording is compressed by gzip, and damaged at byte {} of the file: {}. What \
                 was unpacked before is played; get another copy of the file if there is one",
                spoiled.at,
                spoiled.what
            )
        );
    }

    /// The end of the recording or of the segment.
    pub(super) fn end(&self, session: &mut Session) {
        if session.streams.is_empty() {
            gst::element_imp_error!(
                self,
                gst::StreamError::Demux,
                ("The recording has no stream that can be read: expected at least one stream \
                     header; was the recorder stopped before it found a stream?")
            );
            return;
        }
        let obj = self.obj();
        let stop = session.segment.stop().or(session.segment.duration());
        // All of the segment was played, also where nothing was recorded.
        session
            .segment
            .set_position(stop.max(session.segment.position()));
        (session.done, session.ended) = (true, !session.segment_seek);
        if session.segment_seek {
            let message = gst::message::SegmentDone::builder(stop)
                .src(&*obj)
                .seqnum(session.seqnum)
                .build();
            let _ = obj.post_message(message);
        }
        for stream in &session.streams {
            let event = match session.segment_seek {
                true => gst::event::SegmentDone::builder(stop)
                    .seqnum(session.seqnum)
                    .build(),
                false => gst::event::Eos::builder().seqnum(session.seqnum).build(),
            };
            stream.pad.push_event(event);
        }
    }
}
