// SPDX-License-Identifier: MPL-2.0
//! Seeks through mvpfusion: film and recording stay of one time.

mod fusion_support;
mod xdf_support;

use fusion_support::*;
use gst::prelude::*;
use gstmvp::EmotionMeta;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_flushing_seek_begins_anew() {
    if !ready("a_flushing_seek_begins_anew") {
        return;
    }
    let pipeline = launch(
        "videotestsrc num-buffers=-1 ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! mvpfusion name=f model=MODEL execution-provider=cpu ! fakesink name=sink sync=true",
    );
    let seen = collect(&pipeline, "sink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let bus = pipeline.bus().expect("bus");
    let second_result = || {
        let mut count = 0;
        while count < 2 {
            let message = bus
                .timed_pop_filtered(
                    gst::ClockTime::from_seconds(20),
                    &[gst::MessageType::Element, gst::MessageType::Error],
                )
                .expect("results");
            assert_ne!(message.type_(), gst::MessageType::Error, "{message:?}");
            count += u64::from(
                message
                    .structure()
                    .is_some_and(|s| s.name() == "mvp-emotion"),
            );
        }
    };
    second_result();
    let seek = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
    pipeline
        .seek_simple(seek, gst::ClockTime::from_seconds(30))
        .expect("seek");
    seen.lock().expect("list").clear();
    second_result();
    pipeline.set_state(gst::State::Null).expect("null");
    let seen = seen.lock().expect("list");
    let ends: Vec<u64> = seen
        .iter()
        .flatten()
        .map(|m| m.window_end.nseconds() / SECOND)
        .collect();
    assert!(
        ends.contains(&1),
        "running time begins at zero again: {ends:?}"
    );
    assert!(ends.is_sorted(), "{ends:?}");
}

/// A film and a recording of 60 s in a directory. Each sample of the body is the second in
/// which it was taken.
struct Session(tempfile::TempDir);

impl Session {
    fn record() -> Self {
        let session = Self(tempfile::tempdir().expect("dir"));
        let mut xdf = xdf_support::Xdf::new();
        xdf.stream(1, "EDA", 1, "float32", 8.0);
        xdf.stream(2, "ECG", 1, "float32", 128.0);
        for s in 0..60u32 {
            if s % 5 == 0 {
                xdf.offset(1, 1000.0 + f64::from(s), 0.0);
                xdf.offset(2, 1000.0 + f64::from(s), 0.0);
            }
            for (id, rate) in [(1, 8), (2, 128)] {
                let times = (0..rate).map(|i| f64::from(s) + f64::from(i) / f64::from(rate));
                let samples: Vec<_> = times.map(|t| (1000.0 + t, t as f32)).collect();
                xdf.floats(id, &samples);
            }
            if s % 10 == 9 {
                xdf.boundary();
            }
        }
        std::fs::write(session.path("body.xdf"), &xdf.bytes).expect("write");
        let run = play(&launch(&format!(
            "videotestsrc num-buffers=600 ! video/x-raw,width=64,height=48,framerate=10/1 \
             ! jpegenc ! matroskamux ! filesink location={}",
            session.path("film.mkv").display()
        )));
        assert_eq!(run.error, None);
        session
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `body`: how the streams come from `x.` to `f.`; `tail`: what is behind the fusion.
    fn replay(&self, body: &str, tail: &str) -> Replay {
        let pipeline = launch(&format!(
            "filesrc location={} ! matroskademux ! jpegdec ! videoconvert name=film ! f. \
             filesrc location={} ! xdfdemux name=x {body} \
             mvpfusion name=f eda::unit=uS model=MODEL execution-provider=cpu sync=wait {tail}",
            self.path("film.mkv").display(),
            self.path("body.xdf").display()
        ));
        // By the film's time: a seek may come anywhere.
        face_where(&pipeline, "film", |_, time| {
            (time / (SECOND / 10)).is_multiple_of(6)
        });
        let replay = Replay {
            film: Arc::default(),
            body: Arc::default(),
            flushes: Arc::default(),
            pipeline,
        };
        let times = |pad: &gst::Pad, time| {
            let segment = pad.sticky_event::<gst::event::Segment>(0).expect("segment");
            let segment = segment.segment().downcast_ref::<gst::ClockTime>();
            segment.expect("time").to_running_time(time)
        };
        let f = replay.pipeline.by_name("f").expect("f");
        let film = replay.film.clone();
        let pad = f.static_pad("src").expect("src");
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_FLUSH;
        pad.add_probe(kinds, move |pad, info| {
            if let Some(event) = info.event()
                && event.type_() == gst::EventType::FlushStop
            {
                film.lock().expect("list").clear();
            }
            if let Some(buffer) = info.buffer()
                && let Some(running) = times(pad, buffer.pts())
            {
                let meta = EmotionMeta::from_buffer(buffer);
                let at = buffer.pts().expect("stamped").nseconds();
                let entry = (running.nseconds(), at, meta);
                film.lock().expect("list").push(entry);
            }
            gst::PadProbeReturn::Ok
        });
        let (body, flushes) = (replay.body.clone(), replay.flushes.clone());
        let pad = f.static_pad("eda").expect("eda");
        pad.add_probe(kinds, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                let map = buffer.map_readable().expect("readable");
                let second = f32::from_le_bytes(map[..4].try_into().expect("a sample"));
                // One that lies across the segment's start says nothing here.
                if let Some(running) = times(pad, buffer.pts()) {
                    let entry = (running.nseconds(), f64::from(second));
                    body.lock().expect("list").push(entry);
                }
            } else if let Some(event) = info.event()
                && event.type_() == gst::EventType::FlushStop
            {
                flushes.fetch_add(1, Ordering::SeqCst);
                body.lock().expect("list").clear();
            }
            gst::PadProbeReturn::Ok
        });
        replay
    }
}

/// Running time (ns), time in the film (ns) and result of each frame.
type Frames = Vec<(u64, u64, Option<EmotionMeta>)>;

struct Replay {
    pipeline: gst::Pipeline,
    film: Arc<Mutex<Frames>>,
    /// Running time (ns) and second of the first sample of each buffer.
    body: Arc<Mutex<Vec<(u64, f64)>>>,
    flushes: Arc<AtomicU64>,
}

impl Replay {
    /// Waits for the first sample on pad eda.
    fn await_body(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.body.lock().expect("list").is_empty() {
            assert!(Instant::now() < until, "no sample in 20 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn pause(&self) {
        let _ = self.pipeline.set_state(gst::State::Paused);
        let (result, ..) = self.pipeline.state(gst::ClockTime::from_seconds(20));
        result.expect("paused");
    }

    fn seek(&self, rate: f64, flags: gst::SeekFlags, to: gst::ClockTime) -> bool {
        let none = (gst::SeekType::None, gst::ClockTime::NONE);
        let set = gst::SeekType::Set;
        self.pipeline
            .seek(rate, flags, set, to, none.0, none.1)
            .is_ok()
    }

    /// The frames since the last flush; film and body are of one time. The numbers of the
    /// results are left out.
    fn ends(&self, at: &str) -> Frames {
        let film = std::mem::take(&mut *self.film.lock().expect("list"));
        let body = std::mem::take(&mut *self.body.lock().expect("list"));
        let film_begin: Vec<f64> = film
            .iter()
            .map(|(running, time, _)| (*time as f64 - *running as f64) / 1e9)
            .collect();
        let body_begin: Vec<f64> = body
            .iter()
            .map(|(running, second)| second - *running as f64 / 1e9)
            .collect();
        assert!(film.len() > 20 && body.len() > 20, "{at}");
        for begin in film_begin.iter().chain(&body_begin) {
            let apart = (begin - film_begin[0]).abs();
            assert!(apart < 0.01, "{at}: film and body are {apart} s apart");
        }
        let mut film = film;
        for (running, _, meta) in &mut film {
            if let Some(meta) = meta {
                // Nothing of before.
                assert!(meta.window_end.nseconds() <= *running, "{at}: {meta:?}");
                assert_eq!(meta.window_start.nseconds(), 0, "{at}: {meta:?}");
                meta.sequence = 0;
            } else {
                assert!(*running < SECOND, "{at}: no result at {running}");
            }
        }
        film
    }

    /// Waits for the film's end at the fusion; the bus may still have that of before.
    fn await_end(&self, at: &str) {
        let f = self.pipeline.by_name("f").expect("f");
        let src = f.static_pad("src").expect("src");
        let bus = self.pipeline.bus().expect("bus");
        let limit = Instant::now() + Duration::from_secs(30);
        while src.sticky_event::<gst::event::Eos>(0).is_none() {
            assert!(Instant::now() < limit, "{at}: no end");
            std::thread::sleep(Duration::from_millis(5));
        }
        while let Some(message) = bus.pop() {
            assert_ne!(
                message.type_(),
                gst::MessageType::Error,
                "{at}: {message:?}"
            );
            assert_ne!(
                message.type_(),
                gst::MessageType::Warning,
                "{at}: {message:?}"
            );
        }
    }

    fn stop(self) {
        // A seek may still be on its way back to PLAYING.
        let _ = self.pipeline.state(gst::ClockTime::from_seconds(10));
        self.pipeline.set_state(gst::State::Null).expect("null");
    }
}

const QUEUED: &str = "x.stream_0 ! queue ! f.eda  x.stream_1 ! queue ! f.ecg";

const FLUSH: gst::SeekFlags = gst::SeekFlags::FLUSH;

#[test]
fn a_seek_leads_film_and_body_to_the_same_moment() {
    if !ready("a_seek_leads_film_and_body_to_the_same_moment") {
        return;
    }
    let session = Session::record();
    let at = |ms| gst::ClockTime::from_mseconds(ms);
    let accurate = FLUSH | gst::SeekFlags::ACCURATE;
    let plain = "! fakesink sync=false";
    let own = "x.stream_0 ! tee name=b  b. ! queue ! f.eda  b. ! queue ! fakesink sync=false \
               async=false  x.stream_1 ! queue ! f.ecg";
    let cases = [
        ("queued", QUEUED, plain, accurate),
        // Blocked in the fusion's pad when the flush comes.
        ("alone", "x.stream_0 ! identity ! f.eda", plain, accurate),
        (
            "two sinks",
            QUEUED,
            "! tee name=t  t. ! queue ! fakesink  t. ! queue ! fakesink",
            accurate,
        ),
        ("body with a sink", own, plain, accurate),
        ("key unit", QUEUED, plain, FLUSH | gst::SeekFlags::KEY_UNIT),
    ];
    for (name, body, tail, flags) in cases {
        let replay = session.replay(body, tail);
        replay.pause();
        // A sink beside the fusion does not follow before its stream is there.
        let ready = || body != own || !replay.body.lock().expect("list").is_empty();
        let end = Instant::now() + Duration::from_secs(10);
        while !ready() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(replay.seek(1.0, flags, at(45_000)), "{name}");
        // Even if the body's pads are not there yet.
        let flushes = || replay.flushes.load(Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(10);
        while flushes() == 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The body's own sink may let it run too far before the fusion hears of the seek.
        let most = if name == "body with a sink" { 2 } else { 1 };
        assert!((1..=most).contains(&flushes()), "{name}: {}", flushes());
        // Again before anything has come of the first, and back.
        assert!(replay.seek(1.0, flags, at(30_030)), "{name}");
        replay.pause();
        replay
            .pipeline
            .set_state(gst::State::Playing)
            .expect("playing");
        let run = follow(&replay.pipeline);
        assert_eq!((run.error, run.warnings), (None, vec![]), "{name}");
        let want = replay.ends(name);
        assert!(want.len() > 290, "{name}: {}", want.len());
        // From the end, and out of the middle of playing.
        for wait in [0, 30, 150] {
            let at_this = format!("{name}, {wait} ms into another part");
            if wait > 0 {
                assert!(replay.seek(1.0, flags, at(10_000)), "{at_this}");
                std::thread::sleep(Duration::from_millis(wait));
            }
            assert!(replay.seek(1.0, flags, at(30_030)), "{at_this}");
            replay.await_end(&at_this);
            let ends = replay.ends(&at_this);
            assert_eq!(ends.len(), want.len(), "{at_this}");
            for (end, want) in ends.iter().zip(&want) {
                assert_eq!(end, want, "{at_this}");
            }
        }
        replay.stop();
    }
}

/// Windows hold seconds of the film and the body, whatever their number in a second of
/// playing.
#[test]
fn the_rate_of_playing_changes_no_answer() {
    if !ready("the_rate_of_playing_changes_no_answer") {
        return;
    }
    let session = Session::record();
    let to = gst::ClockTime::from_mseconds(20_030);
    let mut want: Option<Vec<(u64, EmotionMeta)>> = None;
    for rate in [1.0, 2.0, 0.5, 1.37] {
        let replay = session.replay(QUEUED, "! fakesink sync=false");
        replay.pause();
        let accurate = FLUSH | gst::SeekFlags::ACCURATE;
        assert!(replay.seek(rate, accurate, to), "{rate}");
        replay.pause();
        replay
            .pipeline
            .set_state(gst::State::Playing)
            .expect("playing");
        let run = follow(&replay.pipeline);
        assert_eq!((run.error, run.warnings), (None, vec![]), "{rate}");
        let film = replay.film.lock().expect("list").clone();
        let mut answers: Vec<(u64, EmotionMeta)> = film
            .into_iter()
            .filter_map(|(_, at, meta)| Some((at, meta?)))
            .collect();
        for (_, meta) in &mut answers {
            meta.sequence = 0;
            // Times of faces are running times, in whole ns at each rate.
            for (_, by) in &mut meta.alignment {
                *by = (*by + 500).div_euclid(1000);
            }
        }
        assert!(answers.len() > 350, "{rate}: {}", answers.len());
        let last = &answers.last().expect("answers").1;
        for (name, least) in [("video", 0.1), ("eda", 0.5), ("ecg", 0.5)] {
            let seen = last.modalities.iter().find(|m| m.name == name);
            assert!(seen.expect(name).coverage > least, "{rate}: {last:?}");
        }
        match &want {
            None => want = Some(answers),
            Some(want) => {
                assert_eq!(answers.len(), want.len(), "{rate}");
                for (a, b) in answers.iter().zip(want) {
                    assert_eq!(a, b, "{rate}");
                }
            }
        }
        replay.stop();
    }
}

#[test]
fn a_seek_that_would_part_film_and_body_is_refused() {
    if !ready("a_seek_that_would_part_film_and_body_is_refused") {
        return;
    }
    let session = Session::record();
    let to = gst::ClockTime::from_seconds(20);
    for (rate, flags, word) in [
        (2.0, FLUSH | gst::SeekFlags::TRICKMODE, "rate 2"),
        (1.0, gst::SeekFlags::ACCURATE, "FLUSH"),
    ] {
        let replay = session.replay(QUEUED, "! fakesink sync=false");
        replay.pause();
        assert!(!replay.seek(rate, flags, to), "{word}");
        replay
            .pipeline
            .set_state(gst::State::Playing)
            .expect("playing");
        let run = follow(&replay.pipeline);
        assert_eq!(run.error, None, "{word}");
        let told = run.warnings.join("\n");
        assert!(run.warnings.len() == 1 && told.contains(word), "{told}");
        // All goes on as it was.
        let film = replay.film.lock().expect("list").clone();
        assert_eq!(film.len(), 600, "{word}");
        assert!(
            film.iter().all(|(running, time, _)| running == time),
            "{word}"
        );
        replay.stop();
        // Another sink leads the body away: that is not silent.
        let own = "x.stream_0 ! tee name=b  b. ! queue ! f.eda  b. ! queue ! fakesink \
                   sync=false async=false";
        if flags.contains(FLUSH) {
            let replay = session.replay(own, "! fakesink sync=false");
            replay.pause();
            // The film may preroll before the recording has a pad to seek.
            replay.await_body();
            assert!(!replay.seek(rate, flags, to), "{word}");
            let error = follow(&replay.pipeline).error.expect("an error");
            assert!(error.contains("not of one time"), "{error}");
            replay.stop();
        }
    }
}

#[test]
fn a_branch_that_cannot_seek_is_named() {
    if !ready("a_branch_that_cannot_seek_is_named") {
        return;
    }
    let session = Session::record();
    // The body comes live; then from where nothing can be read again.
    for (source, sync, why) in [
        ("appsrc name=own is-live=true ! f.ecg", "live", "is live"),
        ("appsrc name=own ! f.ecg", "wait", "cannot seek by time"),
    ] {
        let pipeline = launch(&format!(
            "filesrc location={} ! matroskademux ! jpegdec ! videoconvert ! f. \
             filesrc location={} ! xdfdemux name=x  x.stream_0 ! queue ! f.eda  {source} \
             mvpfusion name=f eda::unit=uS model=MODEL execution-provider=cpu sync={sync} \
             ! fakesink name=sink sync=false",
            session.path("film.mkv").display(),
            session.path("body.xdf").display()
        ));
        let seen = collect(&pipeline, "sink");
        let own = feed(&pipeline, "own", 128, 60, heart);
        let _ = pipeline.set_state(gst::State::Paused);
        let _ = pipeline.state(gst::ClockTime::from_seconds(20));
        let seek = pipeline.seek_simple(
            FLUSH | gst::SeekFlags::ACCURATE,
            gst::ClockTime::from_seconds(20),
        );
        assert!(seek.is_err(), "{why}");
        pipeline.set_state(gst::State::Playing).expect("playing");
        let run = follow(&pipeline);
        pipeline.set_state(gst::State::Null).expect("null");
        own.join().expect("feeder");
        assert_eq!(run.error, None, "{why}");
        let told = run.warnings.join("\n");
        assert!(told.contains("pad ecg") && told.contains(why), "{told}");
        assert_eq!(seen.lock().expect("list").len(), 600, "{why}");
    }
}

#[test]
fn a_seek_may_interrupt_a_frame_that_waits() {
    if !ready("a_seek_may_interrupt_a_frame_that_waits") {
        return;
    }
    // EDA never comes: the frame at one second waits until the pipeline is stopped.
    let pipeline = launch(
        "videotestsrc ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! mvpfusion name=f sync=wait model=MODEL execution-provider=cpu ! fakesink name=sink \
         appsrc name=eda ! f.eda",
    );
    let seen = collect(&pipeline, "sink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen.lock().expect("list").len() < 30 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        seen.lock().expect("list").len(),
        30,
        "the 31st waits for EDA"
    );
    let begun = Instant::now();
    pipeline.set_state(gst::State::Null).expect("null");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}
