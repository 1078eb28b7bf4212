// SPDX-License-Identifier: MPL-2.0
//! Pull mode: a first look at the whole recording, and seeks.

use super::cursor::{self, Cursor};
use super::imp::*;
use gst::{prelude::*, subclass::prelude::*};
use stream_info::Description;
use xdf::{Failed, Finding, Map, Means, Placer, Unzipped, is_gzip};

/// A part of the recording.
enum Bytes {
    Pulled(gst::MappedBuffer<gst::buffer::Readable>),
    Unpacked(Vec<u8>),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Pulled(map) => map,
            Self::Unpacked(bytes) => bytes,
        }
    }
}

/// How long a seek waits for the pads.
const PADS: std::time::Duration = std::time::Duration::from_secs(1);

impl XdfDemux {
    /// One turn of the task.
    pub(super) fn turn(&self) {
        let flow = self.with_session(|session| {
            if session.map.is_none() {
                return self.begin(session);
            }
            self.tell_segment(session);
            let Some(map) = &session.map else {
                return Ok(());
            };
            let unzipped = &mut session.unzipped;
            let piece = cursor::next(&mut session.cursors, map, |at| self.read(unzipped, at))?;
            match piece {
                Some(piece) => {
                    self.play_recorded(session, piece.stream, piece.stamps, piece.values)?;
                    // Nothing before the end of the segment can come any more.
                    let times = session.cursors.iter().filter_map(Cursor::time);
                    let earliest = times.fold(f64::INFINITY, f64::min);
                    let earliest = session.nanos(earliest) - JITTER;
                    let stop = session.segment.stop().map(|s| s.nseconds() as i64);
                    match stop {
                        Some(stop) if earliest > stop => {
                            self.let_go(session)?;
                            Err(gst::FlowError::Eos)
                        }
                        _ => Ok(()),
                    }
                }
                None => {
                    self.let_go(session)?;
                    Err(gst::FlowError::Eos)
                }
            }
        });
        let Err(error) = flow else { return };
        let _ = self.sinkpad.pause_task();
        gst::debug!(CAT, imp = self, "pausing: {error}");
        match error {
            gst::FlowError::Flushing => (),
            gst::FlowError::Eos => {
                let _ = self.with_session(|session| {
                    self.end(session);
                    Ok(())
                });
            }
            error => {
                // What has an own message already posts no second one.
                if error != gst::FlowError::Error {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Failed,
                        ("Playing stopped: {}", reason(error))
                    );
                }
                for pad in self.obj().src_pads() {
                    pad.push_event(gst::event::Eos::new());
                }
                let _ = self.with_session(|session| {
                    (session.done, session.ended) = (true, true);
                    Ok(())
                });
            }
        }
    }

    /// Some bytes of the file from `at` on; `None` at the end.
    fn pull(&self, at: u64) -> Result<Option<Bytes>, gst::FlowError> {
        match self.sinkpad.pull_range(at, BLOCK) {
            Ok(buffer) if buffer.size() > 0 => {
                let map = buffer.into_mapped_buffer_readable();
                map.map(|m| Some(Bytes::Pulled(m))).map_err(|_| {
                    gst::element_imp_error!(
                        self,
                        gst::ResourceError::Read,
                        ("A part of the recording cannot be read from memory")
                    );
                    gst::FlowError::Error
                })
            }
            Ok(_) | Err(gst::FlowError::Eos) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Some bytes of the recording from `at` on; `None` at the end. `unzipped` unpacks it.
    fn read(
        &self,
        unzipped: &mut Option<Unzipped>,
        at: u64,
    ) -> Result<Option<Bytes>, gst::FlowError> {
        match unzipped {
            Some(unzipped) => {
                let bytes = unzipped.read(at, |at| self.pull(at))?;
                Ok(bytes.map(Bytes::Unpacked))
            }
            None => self.pull(at),
        }
    }

    /// Looks through the recording and makes the pads.
    pub(super) fn begin(&self, session: &mut Session) -> Result<(), gst::FlowError> {
        let zipped = self.pull(0)?.and_then(|b| is_gzip(b.as_ref())) == Some(true);
        session.zipped = zipped;
        let mut unzipped = zipped.then(Unzipped::default);
        let map = Map::make(session.film.as_deref(), |at| self.read(&mut unzipped, at));
        if let Some(spoiled) = unzipped.as_ref().and_then(Unzipped::spoiled) {
            self.spoiled(session, spoiled);
        }
        session.unzipped = unzipped;
        let mut map = match map {
            Ok(map) => map,
            Err(Failed::Read(e)) => return Err(e),
            Err(Failed::NoXdf(e)) => {
                gst::element_imp_error!(self, gst::StreamError::WrongType, ("{e}"));
                return Err(gst::FlowError::Error);
            }
        };
        for (at, what) in std::mem::take(&mut map.damages) {
            self.damage(session, at, &what);
        }
        if let Some(film) = &session.film {
            let names = map.streams.iter().map(|s| &*s.header.description.name);
            map.origin = self.begin_of_film(film, &map.films, names)?;
        }
        gst::info!(
            CAT,
            imp = self,
            "{} streams, {}; time zero is {:.6} s on the recorder's clock",
            map.streams.len(),
            gst::ClockTime::from_nseconds(map.duration()),
            map.origin
        );
        session.origin = Some(map.origin);
        lock(&self.info).duration = Some(map.duration());
        session
            .segment
            .set_duration(gst::ClockTime::from_nseconds(map.duration()));
        for stream in &map.streams {
            self.add_stream(session, stream.id, stream.header.clone())?;
        }
        self.check_choices(session)?;
        self.tell_findings(&map);
        session.map = Some(map);
        self.start_at(session, 0);
        if !session.streams.is_empty() {
            self.obj().no_more_pads();
        }
        lock(&self.info).begun = true;
        Ok(())
    }

    /// Tells of timestamps that are wrong, once for each stream.
    fn tell_findings(&self, map: &Map) {
        let lonely = map.lonely();
        let far: Vec<String> = (lonely.iter().take(TOLD as usize))
            .map(|(i, far)| {
                let d = &map.streams[*i].header.description;
                let side = if *far > 0.0 { "after" } else { "before" };
                format!("{d} lies {:.1} s {side} the nearest other", far.abs())
            })
            .collect();
        if !far.is_empty() {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                (
                    "Streams of the recording share no time with the others, and have no clock \
                     offsets that could tell another clock: {}. Expected streams that were \
                     recorded together. Their times are believed; have the sender stamp its \
                     samples with lsl_local_clock(), and record with LabRecorder, which measures \
                     clock offsets",
                    far.join("; ")
                )
            );
        }
        for stream in &map.streams {
            let findings = stream.examined.findings();
            if findings.is_empty() {
                continue;
            }
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                ("{}", told(&stream.header.description, findings))
            );
        }
    }

    /// Time zero, seconds on the recorder's clock, if the stream `film` says it.
    pub(super) fn begin_of_film<'a>(
        &self,
        film: &str,
        begins: &[(u32, f64)],
        streams: impl Iterator<Item = &'a str>,
    ) -> Result<f64, gst::FlowError> {
        if let [(id, begin), others @ ..] = begins
            && !others.is_empty()
        {
            let others: Vec<_> = others
                .iter()
                .map(|(id, other)| format!("stream {id} begins {:+.3} s from it", other - begin))
                .collect();
            gst::element_imp_warning!(
                self,
                gst::StreamError::Demux,
                (
                    "film={film}: {} recorded streams of this name have frames. The first in the \
                     file, stream {id}, says time zero; {}. Record each camera, and each start \
                     of one, under a name of its own",
                    begins.len(),
                    others.join(", ")
                )
            );
        }
        begins.first().map(|(_, begin)| *begin).ok_or_else(|| {
            let streams: Vec<_> = streams.collect();
            gst::element_imp_error!(
                self,
                gst::StreamError::Demux,
                (
                    "film={film}: expected a stream of this name with samples of the channel \
                     'frame-time' (emotionserialize every=frame ! lslsink stream-name={film}), \
                     found {}. Name the right one, or unset film: then time zero is the \
                     earliest stamp",
                    match streams.is_empty() {
                        true => "no stream".into(),
                        false => format!("the streams {}", streams.join(", ")),
                    }
                )
            );
            gst::FlowError::Error
        })
    }

    /// Sets the parser, the clocks and the streams to `time`, ns.
    pub(super) fn start_at(&self, session: &mut Session, time: u64) {
        let Some(map) = &session.map else { return };
        session.cursors.clear();
        for (i, (cursor, n)) in Cursor::all(map, time).into_iter().enumerate() {
            let recorded = &map.streams[i];
            for part in &session.parts[i] {
                let stream = &mut session.streams[*part];
                let mut corrector = recorded.corrector.clone();
                corrector.set_current(cursor.segment());
                stream.corrector = Some(corrector);
                stream.placer = Placer::new(recorded.examined.clone());
                stream.placer.seek(n);
                stream.restart(time as i64);
            }
            session.cursors.push(cursor);
        }
        session.from = time as i64;
        session.newest = 0;
        session.combiner.reset();
    }

    pub(super) fn seek(&self, seek: &gst::event::Seek) -> bool {
        gst::debug!(CAT, imp = self, "{seek:?}");
        let (rate, flags, start_type, start, stop_type, stop) = seek.get();
        let (Some(start), Some(stop)) = (time_of(start), time_of(stop)) else {
            gst::debug!(CAT, imp = self, "seeks work by time only");
            return false;
        };
        if rate <= 0.0 || lock(&self.info).duration.is_none() {
            gst::debug!(CAT, imp = self, "seeks need a file and a rate above 0");
            return false;
        }
        if flags.contains(gst::SeekFlags::INSTANT_RATE_CHANGE) {
            gst::debug!(CAT, imp = self, "the rate changes by an ordinary seek only");
            return false;
        }
        // Before the flush: one that cannot be followed leaves all as it was.
        if start_type == gst::SeekType::Set
            && stop_type == gst::SeekType::Set
            && stop.is_some_and(|stop| start.is_some_and(|start| start > stop))
        {
            gst::debug!(CAT, imp = self, "a seek to {start:?} that ends at {stop:?}");
            return false;
        }
        if !self.wait_for_pads() {
            gst::warning!(
                CAT,
                imp = self,
                "a seek is refused: the application is still linking the pads; seek after \
                 no-more-pads, or in PAUSED"
            );
            return false;
        }
        let flush = flags.contains(gst::SeekFlags::FLUSH);
        let seqnum = seek.seqnum();
        // A seek without a flush may wait for a sink at the stream lock, and it is a flush
        // that frees it.
        let _alone = flush.then(|| lock(&self.seeking));
        // A pipeline sends its seek once for each sink.
        let answered = || {
            let last = lock(&self.info).seek;
            last.filter(|(same, _)| *same == seqnum)
                .map(|(_, done)| done)
        };
        if let Some(done) = answered() {
            return done;
        }
        let send = |event: gst::Event| {
            for pad in self.obj().src_pads() {
                pad.push_event(event.clone());
            }
        };
        if flush {
            let event = gst::event::FlushStart::builder().seqnum(seqnum).build();
            self.sinkpad.push_event(event.clone());
            send(event);
        }
        let _ = self.sinkpad.pause_task();
        let _lock = self.sinkpad.stream_lock();
        // The same seek may have been ahead at the lock.
        if !flush && let Some(done) = answered() {
            if self.with_session(|session| Ok(!session.done)) == Ok(true) {
                let _ = self.start_task();
            }
            return done;
        }
        if flush {
            let event = gst::event::FlushStop::builder(true).seqnum(seqnum).build();
            self.sinkpad.push_event(event.clone());
            send(event);
        }
        let done = self.with_session(|session| {
            // Pads that had EOS take nothing until they are flushed.
            if session.ended && !flush {
                gst::debug!(CAT, imp = self, "after EOS only a seek that flushes works");
                return Ok(false);
            }
            self.note_position(session);
            let valid = session
                .segment
                .do_seek(rate, flags, start_type, start, stop_type, stop)
                .is_some();
            if valid {
                session.seqnum = seqnum;
                (session.done, session.ended) = (false, false);
                session.segment_seek = flags.contains(gst::SeekFlags::SEGMENT);
                let position = session.segment.position().unwrap_or_default();
                self.start_at(session, position.nseconds());
                // Told by the task: who waits in a sink must not keep the seeking thread.
                session.segment_due = true;
                if session.segment_seek {
                    let message = gst::message::SegmentStart::builder(position)
                        .src(&*self.obj())
                        .seqnum(seqnum)
                        .build();
                    let _ = self.obj().post_message(message);
                }
            }
            Ok(valid)
        });
        // What cannot be followed changes nothing, unless all was at its end.
        let goes_on = self.with_session(|session| Ok(!session.done)) == Ok(true);
        let started = goes_on && self.start_task().is_ok();
        let done = done == Ok(true) && started;
        lock(&self.info).seek = Some((seqnum, done));
        done
    }

    /// Whether all pads are there, or are within a second. A seek holds the state locks of the
    /// elements that it went through, and a handler of `pad-added` takes them: who waits for it
    /// with these locks held waits for ever.
    fn wait_for_pads(&self) -> bool {
        let begun = std::time::Instant::now();
        while !lock(&self.info).begun {
            if begun.elapsed() > PADS {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        true
    }

    /// How far the streams were sent, for the running time after a seek without flush.
    pub(super) fn note_position(&self, session: &mut Session) {
        let sent = session.streams.iter().map(|s| s.writer.position()).max();
        let mut position = gst::ClockTime::from_nseconds(sent.unwrap_or(0).max(0) as u64);
        if let Some(stop) = session.segment.stop() {
            position = position.min(stop);
        }
        session
            .segment
            .set_position(position.max(session.segment.position().unwrap_or_default()));
    }

    /// Tells the streams of the segment that a seek made.
    pub(super) fn tell_segment(&self, session: &mut Session) {
        if std::mem::take(&mut session.segment_due) {
            for stream in &session.streams {
                let event = gst::event::Segment::builder(&session.segment)
                    .seqnum(session.seqnum)
                    .build();
                stream.pad.push_event(event);
            }
        }
    }
}

/// A warning about the timestamps of a stream.
pub(super) fn told(d: &Description, findings: &[Finding]) -> String {
    let (mut all, mut clocks) = (Vec::new(), 0);
    for finding in findings {
        match finding {
            Finding::Unit(unit) => all.push(format!(
                "they count {unit} to the second, where LSL has seconds"
            )),
            Finding::OtherClock { from, ahead, means } => {
                clocks += 1;
                let since = match from {
                    0 => String::new(),
                    n => format!("from sample {n} on "),
                };
                let how = match means {
                    Means::Offsets => {
                        "placed by where the clock offsets stand among the samples, to about a \
                         second"
                    }
                    Means::Continuity => "placed right after the sample before",
                    Means::Start => "placed at the beginning of the recording, which may be wrong",
                };
                if clocks <= 3 {
                    all.push(format!(
                        "{since}they are of another clock, {ahead:+.3} s from the recorder's: {how}"
                    ));
                }
            }
            Finding::Strays { count, first } => all.push(match first.is_finite() {
                true => format!(
                    "{count} are far from their neighbours, the first by {first:+.3} s: these \
                     samples are dropped"
                ),
                false => format!("{count} are no number: these samples are dropped"),
            }),
        }
    }
    if clocks > 3 {
        all.push(format!("and so {} times more", clocks - 3));
    }
    format!(
        "The timestamps of {d} are not all right: {}. Have the sender stamp its samples with \
         lsl_local_clock(), or let liblsl do it",
        all.join("; ")
    )
}
