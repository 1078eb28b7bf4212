// SPDX-License-Identifier: MPL-2.0
//! From the events of the parser to buffers on the pads, in both modes.

use super::imp::*;
use super::{
    order::{self, Queue},
    pull,
    stream::{Placed, Ready, Stream},
};
use crate::stream::{caps, events};
use crate::writer::Out;
use gst::{prelude::*, subclass::prelude::*};
use std::collections::BTreeMap;
use xdf::{Event, Examined, Film, Header, Spoiled, Values, apart, plausible};

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
        self.pass_on(session, true)?;
        self.check_choices(session)?;
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
                session.held_bytes += session.queues[stream].push(stamps, values);
                self.pass_on(session, false)?;
            }
            // In pull mode all offsets are known, and the damages told.
            _ if session.pull => (),
            Event::Offset(id, offset) => {
                let Some(&stream) = session.by_id.get(&id) else {
                    return Ok(());
                };
                let written = offset.time + offset.value;
                let span = session.span.unwrap_or((written, written));
                session.span = Some((span.0.min(written), span.1.max(written)));
                for (i, queue) in session.queues.iter_mut().enumerate() {
                    match i == stream {
                        true => queue.offset(offset, session.span),
                        false => queue.mark(offset),
                    }
                }
                self.pass_on(session, false)?;
            }
            Event::Boundary => {
                session.boundaries += 1;
                self.pass_on(session, false)?;
            }
            Event::Damage { at, what } => self.damage(session, at, &what),
            _ => (),
        }
        Ok(())
    }

    /// Push mode: plays what does not have to wait for other streams.
    fn pass_on(&self, session: &mut Session, end: bool) -> Result<(), gst::FlowError> {
        if session.origin.is_none() {
            let film = |name: &String| {
                let mut all = session.parts.iter().zip(&session.queues);
                all.any(|(p, q)| *name == session.streams[p[0]].description().name && !q.is_empty())
            };
            let there = session.film.as_ref().is_none_or(film);
            let later = session.boundaries >= MOST_BOUNDARIES;
            self.learn(session, end);
            let bytes = session.held_bytes;
            if !end && !order::may_begin(&session.queues, bytes, MOST_HELD, later, there) {
                return Ok(());
            }
            session.queues.iter_mut().for_each(Queue::begin);
            self.learn(session, end);
            self.refuse_lonely(session);
            self.release(session)?;
            if session.origin.is_none() {
                return Ok(());
            }
        }
        loop {
            self.learn(session, end);
            let bytes = (session.held_bytes, MOST_HELD);
            let (queues, passed) = (&mut session.queues, &mut session.passed);
            let Some(piece) = order::next(queues, bytes, passed, end) else {
                return Ok(());
            };
            session.held_bytes -= order::size(&piece.stamps, &piece.values).min(bytes.0);
            if let Some(late) = piece.late {
                self.tell_late(session, piece.stream, late);
            }
            self.play_recorded(session, piece.stream, piece.stamps, piece.values)?;
        }
    }

    /// What was read of clocks and timestamps counts for the next samples.
    fn learn(&self, session: &mut Session, end: bool) {
        let mut told = Vec::new();
        for (queue, parts) in session.queues.iter_mut().zip(&session.parts) {
            let due = queue.offsets_due();
            let learned = queue.learn();
            for part in parts {
                let stream = &mut session.streams[*part];
                for offset in &due {
                    stream.causal.measure(*offset);
                }
                if let Some(examined) = &learned {
                    stream.placer.learn(Examined::clone(examined));
                }
            }
            // At first there may be too little to tell.
            let begun = end || session.origin.is_some();
            if let Some(findings) = begun.then(|| queue.news(end)).flatten() {
                let d = session.streams[parts[0]].description();
                told.push(pull::told(d, findings));
            }
        }
        for text in told {
            gst::element_imp_warning!(self, gst::StreamError::Demux, ("{text}"));
        }
    }

    /// Samples come after later ones of other streams were played.
    fn tell_late(&self, session: &mut Session, recorded: usize, late: f64) {
        if std::mem::replace(&mut session.queues[recorded].late_told, true) {
            return;
        }
        let parts = session.parts[recorded].clone();
        for part in &parts {
            session.streams[*part].writer.mark_lost();
        }
        gst::element_imp_warning!(
            self,
            gst::StreamError::Demux,
            (
                "Samples of {} stand {late:.1} s behind those of other streams in the file; \
                 expected at most {:.0} s or {} MiB, which is what waits where the file cannot be \
                 read anywhere. They are played late. Put a file source directly before xdfdemux \
                 (filesrc ! xdfdemux): then the order of the file does not matter",
                session.streams[parts[0]].description(),
                order::MOST_SECONDS,
                MOST_HELD >> 20
            )
        );
    }

    /// Leaves out streams without clock offsets that share no time with the others: played
    /// as they come, they would lie years away, and nothing waits so long.
    fn refuse_lonely(&self, session: &mut Session) {
        let ranges: Vec<_> = session.queues.iter_mut().map(Queue::range).collect();
        let found = apart(&ranges).into_iter().enumerate();
        let mut far: Vec<(usize, f64)> = found
            .filter_map(|(i, far)| Some((i, far?)))
            .filter(|(i, _)| !session.queues[*i].has_offsets())
            .collect();
        // Where none is with another the first counts.
        if far.len() == ranges.iter().flatten().count() && !far.is_empty() {
            far.remove(0);
        }
        for (i, far) in far {
            session.held_bytes -= session.queues[i].refuse().min(session.held_bytes);
            let side = if far > 0.0 { "after" } else { "before" };
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                (
                    "{} lies {:.1} s {side} all other streams, and has no clock offsets that could \
                     tell another clock. Expected streams that were recorded together. It is left \
                     out: put a file source directly before xdfdemux (filesrc ! xdfdemux) to play it \
                     as it is; have the sender stamp its samples with lsl_local_clock()",
                    session.streams[session.parts[i][0]].description(),
                    far.abs()
                )
            );
        }
    }

    /// Fixes time zero by what waits.
    fn release(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        let film = session.film.clone();
        let mut origin = f64::INFINITY;
        let mut films = BTreeMap::<usize, Film>::new();
        for (i, queue) in session.queues.iter_mut().enumerate() {
            let d = session.streams[session.parts[i][0]].description();
            let named = film.as_ref() == Some(&d.name) && !queue.is_empty();
            let mut frames = named.then(|| Film::of(d)).flatten();
            queue.all(|time, values, n| {
                origin = origin.min(time);
                if let Some(frames) = &mut frames {
                    frames.take(time, values, n);
                }
            });
            if let Some(frames) = frames {
                films.insert(i, frames);
            }
        }
        if let Some(film) = &film {
            let first = |parts: &Vec<usize>| &session.streams[parts[0]];
            let names = session.parts.iter().map(|p| &*first(p).description().name);
            let begin =
                |(i, film): (&usize, &Film)| Some((first(&session.parts[*i]).id, film.begin()?));
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
        if let Err(e) = self.chosen(session) {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                ("so far {e}. Streams may still come; at the end of the recording this is an error")
            );
        }
        session.origin = Some(origin);
        self.obj().no_more_pads();
        Ok(())
    }

    /// Takes samples of a recorded stream for each pad that has channels of it.
    pub(super) fn play_recorded(
        &self,
        session: &mut Session,
        recorded: usize,
        stamps: Vec<f64>,
        values: Values,
    ) -> Result<(), gst::FlowError> {
        let parts = session.parts[recorded].clone();
        if let Some((last, others)) = parts.split_last() {
            for part in others {
                self.play(session, *part, stamps.clone(), values.clone())?;
            }
            self.play(session, *last, stamps, values)?;
        }
        Ok(())
    }

    /// All streams are known: whether each has the channels that were chosen.
    fn chosen(&self, session: &Session) -> Result<(), String> {
        let streams = session.streams.iter().map(Stream::description);
        session.choices.check(streams)
    }

    /// Once all streams are known: whether each entry of `channels` has one.
    pub(super) fn check_choices(&self, session: &Session) -> Result<(), gst::FlowError> {
        self.chosen(session).map_err(|e| {
            gst::element_imp_error!(self, gst::LibraryError::Settings, ("{e}"));
            gst::FlowError::Error
        })
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
        for other in session.others(index) {
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
        for other in session.others(index) {
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
                let own = possible(stream);
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Format,
                    ("{}", caps::mismatch(d, stream.channels.len(), &own, &peer))
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
        let pads = session.choices.of(&header.description).map_err(|e| {
            gst::element_imp_error!(self, gst::LibraryError::Settings, ("{e}"));
            gst::FlowError::Error
        })?;
        session.by_id.insert(id, session.parts.len());
        session.parts.push(Vec::new());
        let mut queue = Queue::new(&header.description);
        if session.origin.is_some() {
            queue.begin();
        }
        session.queues.push(queue);
        for channels in pads {
            self.add_part(session, id, header.clone(), channels)?;
        }
        Ok(())
    }

    /// Adds a pad for channels of the stream that was added last.
    fn add_part(
        &self,
        session: &mut Session,
        id: u32,
        header: Header,
        channels: Vec<usize>,
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
        let caps = caps::of_recorded(&header.description, &channels);
        lock(&self.possible).insert(name, caps);
        let recorded = session.parts.len() - 1;
        let part = match session.parts[recorded].len() {
            0 => format!("{id:08x}"),
            n => format!("{id:08x}/{n}"),
        };
        pad.set_active(true).map_err(|_| gst::FlowError::Flushing)?;
        let obj = self.obj();
        let stream_id = pad.create_stream_id(&*obj, Some(&part));
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
        let stream = Stream::new((id, recorded), header, channels, pad, dejitter);
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
        let xml = &stream.header.xml;
        pad.push_event(events::stream_info(d, &stream.channels, xml));
        session.combiner.add_pad(pad);
        session.parts[recorded].push(session.streams.len());
        session.streams.push(stream);
        Ok(())
    }

    /// Chooses among the caps that a stream can have; false when none is wanted.
    pub(super) fn agree_on_caps(&self, stream: &Stream) -> bool {
        let peer = stream.pad.peer_query_caps(None);
        let own = possible(stream);
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
