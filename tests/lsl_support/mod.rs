// SPDX-License-Identifier: MPL-2.0
//! Real LSL for tests: everything on loopback, invisible to other processes.
#![allow(dead_code)]

pub(crate) mod hand;
mod network;

use gst::{glib, prelude::*};
use lsl::{Library, NewStream, Number, Outlet, StreamInfo};
use network::configure;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, Once, OnceLock},
    time::{Duration, Instant},
};

/// Prints why a test does not run; the test then returns.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    println!("SKIPPED {}: {reason}", thread.name().unwrap_or("?"));
}

/// GStreamer with this plugin, where every critical is the end.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        configure();
        gst::init().expect("gst");
        glib::log_set_always_fatal(glib::LogLevels::LEVEL_CRITICAL);
        gstmvp::plugin_register_static().expect("plugin");
    });
}

/// Prepares GStreamer and a hermetic LSL; `None` (and a SKIPPED line) without liblsl.
pub(crate) fn hermetic() -> Option<&'static Library> {
    init();
    match Library::load(None) {
        Ok(library) => Some(library),
        Err(e) => {
            skip(&e.to_string());
            None
        }
    }
}

/// What [`outlet`] offers when only a name matters.
pub(crate) fn stream<'a>(name: &'a str, rate: f64, format: stream_info::Format) -> NewStream<'a> {
    NewStream {
        name,
        stream_type: "Test",
        source_id: name,
        channels: 1,
        rate,
        format,
        labels: &[],
        units: &[],
        offset_mean: None,
        first_frame_time: None,
    }
}

/// A stream on the hermetic network, of this process.
pub(crate) struct TestOutlet {
    pub library: &'static Library,
    pub outlet: Outlet,
    channels: usize,
    rate: f64,
}

/// Offers a stream. Use names of your own: the tests of a binary share a network.
pub(crate) fn outlet(library: &'static Library, new: &NewStream) -> TestOutlet {
    let info = StreamInfo::new(library, new).expect("stream info");
    TestOutlet {
        library,
        outlet: Outlet::new(&info).expect("outlet"),
        channels: new.channels,
        rate: new.rate,
    }
}

impl TestOutlet {
    /// The LSL clock, seconds: on Linux the clock of GstSystemClock.
    pub(crate) fn now(&self) -> f64 {
        self.library.local_clock()
    }

    /// Waits for a reader; panics when none comes.
    pub(crate) fn wait(&self) {
        assert!(
            self.outlet.wait_for_consumers(Duration::from_secs(10)),
            "nobody reads the stream"
        );
    }

    pub(crate) fn push<T: Number>(&self, values: &[T], stamps: &[f64]) {
        self.outlet.push(values, stamps).expect("push");
    }

    /// Sends samples `from..to` of a regular stream that began at `t0` (LSL seconds), in
    /// packets of `packet`, each when its last sample is due. `value(n, channel)`.
    pub(crate) fn play<T: Number>(
        &self,
        t0: f64,
        from: u64,
        to: u64,
        packet: u64,
        value: impl Fn(u64, usize) -> T,
    ) {
        let mut n = from;
        while n < to {
            let end = (n + packet).min(to);
            let stamps: Vec<f64> = (n..end).map(|i| t0 + i as f64 / self.rate).collect();
            let values: Vec<T> = (n..end)
                .flat_map(|i| (0..self.channels).map(move |c| (i, c)))
                .map(|(i, c)| value(i, c))
                .collect();
            self.sleep_until(stamps[stamps.len() - 1]);
            self.push(&values, &stamps);
            n = end;
        }
    }

    pub(crate) fn sleep_until(&self, time: f64) {
        let wait = time - self.now();
        if wait > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(wait));
        }
    }
}

/// What came out of a pipeline.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Buffer {
        pts: u64,
        duration: Option<u64>,
        flags: gst::BufferFlags,
        data: Vec<u8>,
        /// The sender's stamp, ns.
        raw: Option<u64>,
        /// Running time at which it came out.
        at: u64,
    },
    Gap {
        start: u64,
        duration: u64,
    },
    Caps(gst::Caps),
    Other(gst::Event),
}

/// `lslsrc <properties> ! <rest>` with everything that leaves lslsrc written down.
pub(crate) struct Line {
    pub pipeline: gst::Pipeline,
    pub src: gst::Element,
    seen: Arc<Mutex<Vec<Seen>>>,
    messages: Mutex<Vec<gst::Message>>,
}

impl Line {
    pub(crate) fn new(properties: &str) -> Self {
        Self::with(properties, "fakesink sync=false async=false")
    }

    pub(crate) fn with(properties: &str, rest: &str) -> Self {
        let description = format!("lslsrc name=src {properties} ! {rest}");
        let pipeline = gst::parse::launch(&description)
            .unwrap_or_else(|e| panic!("{description}: {e}"))
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        let src = pipeline.by_name("src").expect("src");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let weak = src.downgrade();
        let record = seen.clone();
        src.static_pad("src").expect("pad").add_probe(
            gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM,
            move |_, info| {
                let what = match &info.data {
                    Some(gst::PadProbeData::Buffer(b)) => {
                        let at = weak.upgrade().and_then(|s| s.current_running_time());
                        Seen::Buffer {
                            pts: b.pts().expect("every buffer has a time").nseconds(),
                            duration: b.duration().map(|d| d.nseconds()),
                            flags: b.flags(),
                            data: b.map_readable().expect("readable").to_vec(),
                            raw: b
                                .meta::<gst::ReferenceTimestampMeta>()
                                .filter(|m| {
                                    let caps = gst::Caps::new_empty_simple("timestamp/x-lsl");
                                    m.reference() == &*caps
                                })
                                .map(|m| m.timestamp().nseconds()),
                            at: at.map_or(0, |t| t.nseconds()),
                        }
                    }
                    Some(gst::PadProbeData::Event(e)) => match e.view() {
                        gst::EventView::Gap(g) => {
                            let (start, duration) = g.get();
                            Seen::Gap {
                                start: start.nseconds(),
                                duration: duration.expect("a gap has an end").nseconds(),
                            }
                        }
                        gst::EventView::Caps(c) => Seen::Caps(c.caps_owned()),
                        _ => Seen::Other(e.clone()),
                    },
                    _ => return gst::PadProbeReturn::Ok,
                };
                record.lock().unwrap().push(what);
                gst::PadProbeReturn::Ok
            },
        );
        Self {
            pipeline,
            src,
            seen,
            messages: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn play(&self) {
        self.pipeline
            .set_state(gst::State::Playing)
            .expect("playing");
    }

    pub(crate) fn stop(&self) {
        self.pipeline.set_state(gst::State::Null).expect("null");
    }

    /// Running time of an LSL time of this host, ns.
    pub(crate) fn running_time(&self, lsl: f64) -> i64 {
        let base = self.src.base_time().expect("base time").nseconds() as i64;
        (lsl * 1e9).round() as i64 - base
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// All bytes of all buffers so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for s in self.seen.lock().unwrap().iter() {
            if let Seen::Buffer { data, .. } = s {
                all.extend_from_slice(data);
            }
        }
        all
    }

    pub(crate) fn buffers(&self) -> usize {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|s| matches!(s, Seen::Buffer { .. }))
            .count()
    }

    pub(crate) fn caps(&self) -> gst::Caps {
        self.src
            .static_pad("src")
            .and_then(|p| p.current_caps())
            .expect("caps")
    }

    pub(crate) fn stat<T: for<'a> glib::value::FromValue<'a>>(&self, field: &str) -> T {
        let stats: gst::Structure = self.src.property("stats");
        stats
            .get(field)
            .unwrap_or_else(|e| panic!("{field} of {stats}: {e}"))
    }

    /// Waits until the stream is open. Where an outlet has several readers, its
    /// `wait_for_consumers` tells of the first only, and old liblsls answer an open
    /// before they send.
    pub(crate) fn connected(&self) {
        self.until("connection", |l| !l.elements("lsl-connected").is_empty());
        std::thread::sleep(Duration::from_millis(300));
    }

    /// Waits until `done`; panics with `what` after 15 s. An error on the bus ends it.
    pub(crate) fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(15);
        while !done(self) {
            self.collect();
            for m in self.messages.lock().unwrap().iter() {
                if what != "the loss"
                    && let gst::MessageView::Error(e) = m.view()
                {
                    panic!("while waiting for {what}: {} ({:?})", e.error(), e.debug());
                }
            }
            assert!(Instant::now() < end, "no {what} in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn collect(&self) {
        let bus = self.pipeline.bus().expect("bus");
        let mut messages = self.messages.lock().unwrap();
        while let Some(m) = bus.pop() {
            messages.push(m);
        }
    }

    /// Every message so far.
    pub(crate) fn messages(&self) -> Vec<gst::Message> {
        self.collect();
        self.messages.lock().unwrap().clone()
    }

    /// The element messages of this name so far.
    pub(crate) fn elements(&self, name: &str) -> Vec<gst::Structure> {
        self.messages()
            .iter()
            .filter_map(|m| match m.view() {
                gst::MessageView::Element(e) => e.structure().map(|s| s.to_owned()),
                _ => None,
            })
            .filter(|s| s.name() == name)
            .collect()
    }

    /// The warnings so far, but for the one about an old liblsl.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.messages()
            .iter()
            .filter_map(|m| match m.view() {
                gst::MessageView::Warning(w) => Some(w.error().to_string()),
                _ => None,
            })
            .filter(|w| !w.contains("is recommended"))
            .collect()
    }

    /// The text of the first error, waited for up to `limit`.
    pub(crate) fn error(&self, limit: Duration) -> String {
        let end = Instant::now() + limit;
        loop {
            for m in self.messages() {
                if let gst::MessageView::Error(e) = m.view() {
                    return format!("{} ({:?})", e.error(), e.debug());
                }
            }
            assert!(Instant::now() < end, "no error in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for EOS at the sink; panics when it does not come or an error does.
    pub(crate) fn eos(&self) {
        self.until("EOS", |l| {
            l.messages()
                .iter()
                .any(|m| m.type_() == gst::MessageType::Eos)
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Reads little-endian numbers.
pub(crate) fn numbers<T, const N: usize>(bytes: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    assert_eq!(bytes.len() % N, 0, "whole values");
    bytes
        .chunks_exact(N)
        .map(|c| from(c.try_into().expect("N bytes")))
        .collect()
}

/// A Python with the named modules, for foreign peers; `None` (and a SKIPPED line)
/// where there is none.
pub(crate) fn python(modules: &[&str]) -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let venv = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
        std::env::var_os("GSTMVP_PYTHON")
            .map(PathBuf::from)
            .or_else(|| venv.exists().then_some(venv))
    });
    let Some(python) = python else {
        skip("no Python for peers (GSTMVP_PYTHON or target/venv)");
        return None;
    };
    let have = std::process::Command::new(python)
        .args(["-c", &format!("import {}", modules.join(","))])
        .env_remove("LSL_LIBRARY")
        .stderr(std::process::Stdio::null())
        .status();
    if have.is_ok_and(|s| s.success()) {
        Some(python.clone())
    } else {
        skip(&format!("Python has no {}", modules.join(", ")));
        None
    }
}

/// A process that speaks JSON lines (or words) on stdout and ends with its stdin.
pub(crate) struct Peer {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Peer {
    pub(crate) fn spawn(mut command: std::process::Command) -> Self {
        use std::io::BufRead;
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let out = std::io::BufReader::new(child.stdout.take().expect("stdout"));
        let (tx, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// `tests/peers/pylsl_outlet.py`, optionally in front of it a command to run it with.
    pub(crate) fn pylsl(python: &std::path::Path, before: &[&str], arguments: &[&str]) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/pylsl_outlet.py");
        let mut words: Vec<std::ffi::OsString> = before.iter().map(Into::into).collect();
        words.push(python.into());
        words.push(script.into());
        words.extend(arguments.iter().map(Into::into));
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]);
        Self::spawn(command)
    }

    /// The next line with `word` in it.
    pub(crate) fn wait(&self, word: &str) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let line = self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
                .unwrap_or_else(|e| panic!("the peer never said {word}: {e}"));
            if line.contains(word) {
                return line;
            }
        }
    }

    /// A number of the next line with `event` in it.
    pub(crate) fn number(&self, event: &str, field: &str) -> f64 {
        let line = self.wait(event);
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        json[field]
            .as_f64()
            .unwrap_or_else(|| panic!("{field} in {line}"))
    }

    /// A line on the peer's stdin.
    pub(crate) fn say(&mut self, line: &str) {
        use std::io::Write;
        let stdin = self.child.stdin.as_mut().expect("stdin");
        writeln!(stdin, "{line}").expect("the peer listens");
    }

    /// Sends the process a signal, such as `-STOP`; false where that cannot be done.
    pub(crate) fn signal(&self, name: &str) -> bool {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([name, &pid])
            .status();
        sent.is_ok_and(|s| s.success())
    }

    /// As a crash or a pulled plug of the sender's machine does it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }
}
