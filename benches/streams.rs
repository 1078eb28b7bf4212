// SPDX-License-Identifier: MPL-2.0
//! Sixteen LSL streams at once: what `lslsrc` costs beside inlets that are read by bare
//! calls of liblsl, in one run, and whether either loses a sample. See
//! `scripts/bench_streams.sh`.

use gst::prelude::*;
use lsl::{Library, NewStream, Outlet, StreamInfo};
use std::{
    ffi::{CString, c_char, c_int, c_ulong, c_void},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};
use stream_info::Format;

type Failure = Box<dyn std::error::Error>;

/// Name, samples per second, channels, samples per packet.
type Kind = (String, f64, usize, usize);

/// Eight amplifiers, and what else a laboratory has.
fn streams() -> Vec<Kind> {
    let amplifiers = (0..8).map(|i| (format!("amplifier-{i}"), 1000.0, 32, 20));
    let others = [
        ("ecg", 256.0, 1, 16),
        ("ppg", 64.0, 1, 4),
        ("eda", 4.0, 1, 1),
        ("temperature", 4.0, 1, 1),
        ("respiration", 25.0, 1, 5),
        ("gaze", 120.0, 3, 1),
        ("motion", 50.0, 9, 5),
        ("strap", 130.0, 1, 73),
    ];
    let others = others.map(|(n, rate, channels, packet)| (n.into(), rate, channels, packet));
    amplifiers.chain(others).collect()
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--send"] => send(),
        ["--bare"] => bare(),
        ["--lslsrc"] => lslsrc(),
        // `cargo bench` says that it does.
        ["--seconds", n] | ["--seconds", n, "--bench"] => coordinate(n.parse()?),
        [] | ["--bench"] => coordinate(600),
        other => Err(format!("{other:?}: expected --seconds N, or nothing for 600").into()),
    }
}

// --- The coordinator ----------------------------------------------------------------

struct Peer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    fn start(what: &str) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    fn hear(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        match line.trim() {
            "" => Err("a process of the bench ended before its time".into()),
            line => Ok(line.into()),
        }
    }

    fn say(&mut self, word: &str) -> Result<(), Failure> {
        writeln!(self.stdin, "{word}")?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn coordinate(seconds: u64) -> Result<(), Failure> {
    let id = std::process::id();
    let port = 27_000 + id % 300 * 10;
    let configuration = tempfile::NamedTempFile::new()?;
    std::fs::write(
        configuration.path(),
        format!(
            "[ports]\nMulticastPort = {port}\nBasePort = {}\nPortRange = 64\nAllowRandomPorts = 1\n\
             IPv6 = disable\n[multicast]\nResolveScope = machine\nMachineAddresses = {{127.0.0.1}}\n\
             Interfaces = {{127.0.0.1}}\nListenAddress = 127.0.0.1\n[lab]\nKnownPeers = {{127.0.0.1}}\n\
             SessionID = gstmvp-streams-{id}\n[log]\nlevel = -2\n",
            port + 1
        ),
    )?;
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("LSLAPICFG", configuration.path()) };

    let mut sender = Peer::start("--send")?;
    sender.hear()?;
    let mut readers = [Peer::start("--bare")?, Peer::start("--lslsrc")?];
    for reader in &mut readers {
        reader.hear()?;
    }
    // Connecting is not measured.
    std::thread::sleep(Duration::from_secs(3));
    for reader in &mut readers {
        reader.say("go")?;
    }
    std::thread::sleep(Duration::from_secs(seconds));
    for reader in &mut readers {
        reader.say("stop")?;
    }
    println!("| | CPU, s | of one core | samples | lost |");
    println!("|---|---|---|---|---|");
    let mut cpu = Vec::new();
    let mut lost = 0;
    for (name, reader) in ["liblsl, bare", "`lslsrc ! fakesink`"]
        .iter()
        .zip(&mut readers)
    {
        let line = reader.hear()?;
        let mut fields = line.split(' ');
        let mut next = || fields.next().ok_or("too few fields").map(String::from);
        let used: f64 = next()?.parse()?;
        let (samples, gone): (u64, u64) = (next()?.parse()?, next()?.parse()?);
        println!(
            "| {name} | {used:.2} | {:.1} % | {samples} | {gone} |",
            100.0 * used / seconds as f64
        );
        cpu.push(used);
        lost += gone;
    }
    let ratio = cpu[1] / cpu[0];
    println!("\n{seconds} s, ratio {ratio:.3} (goal ≤ 1.2), {lost} samples lost (goal 0)");
    if ratio > 1.2 || lost > 0 {
        return Err("a goal is missed".into());
    }
    Ok(())
}

// --- The sender ---------------------------------------------------------------------

fn send() -> Result<(), Failure> {
    let library = Library::load(None)?;
    let mut all = Vec::new();
    for (name, rate, channels, packet) in streams() {
        let info = StreamInfo::new(
            library,
            &NewStream {
                name: &name,
                stream_type: "Bench",
                source_id: &name,
                channels,
                rate,
                format: Format::F32,
                labels: &[],
                units: &[],
                offset_mean: None,
                first_frame_time: None,
            },
        )?;
        all.push((Outlet::new(&info)?, rate, channels, packet, 0usize));
    }
    println!("ready");
    let start = library.local_clock();
    loop {
        std::thread::sleep(Duration::from_millis(2));
        let now = library.local_clock() - start;
        for (outlet, rate, channels, packet, sent) in &mut all {
            while ((*sent + *packet) as f64) <= now * *rate {
                // Channel 0 counts; 2^24 are enough for four hours at 1 kHz.
                let values: Vec<f32> = (*sent..*sent + *packet)
                    .flat_map(|n| (0..*channels).map(move |c| (n + c) as f32))
                    .collect();
                let stamps: Vec<f64> = (*sent..*sent + *packet)
                    .map(|n| start + n as f64 / *rate)
                    .collect();
                outlet.push(&values, &stamps)?;
                *sent += *packet;
            }
        }
    }
}

// --- What both readers do -----------------------------------------------------------

/// Follows the count in channel 0.
#[derive(Default)]
struct Count {
    next: Option<u64>,
    samples: u64,
    lost: u64,
}

impl Count {
    fn take(&mut self, first_channel: impl Iterator<Item = f32>) {
        for value in first_channel {
            let n = value as u64;
            // What comes twice is as wrong as what is missing.
            self.lost += n.abs_diff(self.next.unwrap_or(n));
            self.next = Some(n + 1);
            self.samples += 1;
        }
    }
}

/// Seconds of CPU that this process has used.
fn cpu() -> f64 {
    // SAFETY: a struct of integers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live struct of the type that the call fills.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Waits for a word on stdin; CPU and samples until then.
fn go(samples: impl Fn() -> Result<u64, Failure>) -> Result<(f64, u64), Failure> {
    static READY: Once = Once::new();
    READY.call_once(|| println!("ready"));
    std::io::stdin().read_line(&mut String::new())?;
    Ok((cpu(), samples()?))
}

/// Between "go" and "stop" on stdin; says CPU, samples and losses.
fn measure(counts: &[Arc<Mutex<Count>>]) -> Result<(), Failure> {
    let (before, from) = go(|| Ok(total(counts)?.0))?;
    let (after, until) = go(|| Ok(total(counts)?.0))?;
    println!("{} {} {}", after - before, until - from, total(counts)?.1);
    Ok(())
}

fn total(counts: &[Arc<Mutex<Count>>]) -> Result<(u64, u64), Failure> {
    let mut total = (0, 0);
    for count in counts {
        let count = count.lock().map_err(|_| "a reader panicked")?;
        total = (total.0 + count.samples, total.1 + count.lost);
    }
    Ok(total)
}

// --- lslsrc -------------------------------------------------------------------------

/// The count of the first sample in a buffer and of the one behind its last.
fn span(buffer: &gst::BufferRef, channels: usize) -> Option<(u64, u64)> {
    let map = buffer.map_readable().ok()?;
    let first = map.first_chunk::<4>().map(|b| f32::from_le_bytes(*b))? as u64;
    Some((first, first + (map.len() / (4 * channels)) as u64))
}

/// Waits for the next buffer at `pad`; a probe that stays would cost what is measured.
fn next_span(pad: &gst::Pad, channels: usize) -> Result<(u64, u64), Failure> {
    let (sender, receiver) = mpsc::channel();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let _ = sender.send(info.buffer().and_then(|b| span(b, channels)));
        gst::PadProbeReturn::Remove
    });
    let span = receiver.recv_timeout(Duration::from_secs(20))?;
    span.ok_or_else(|| "an empty buffer".into())
}

fn received(source: &gst::Element) -> Result<u64, Failure> {
    Ok(source.property::<gst::Structure>("stats").get("samples")?)
}

fn lslsrc() -> Result<(), Failure> {
    gst::init()?;
    gstmvp::plugin_register_static()?;
    let line: String = streams()
        .iter()
        .map(|(name, ..)| {
            format!(
                "lslsrc name={name} stream-name={name} \
                 ! fakesink sync=false enable-last-sample=false "
            )
        })
        .collect();
    let pipeline = gst::parse::launch(&line)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "no pipeline")?;
    let mut sources = Vec::new();
    for (name, _, channels, _) in streams() {
        let source = pipeline.by_name(&name).ok_or("no source")?;
        let pad = source.static_pad("src").ok_or("no pad")?;
        sources.push((name, source, pad, channels));
    }
    std::thread::scope(|scope| {
        let first: Vec<_> = sources
            .iter()
            .map(|(_, _, pad, channels)| {
                scope.spawn(|| next_span(pad, *channels).map_err(|e| e.to_string()))
            })
            .collect();
        pipeline.set_state(gst::State::Playing)?;
        let mut firsts = Vec::new();
        for first in first {
            firsts.push(first.join().map_err(|_| "a thread panicked")??.0);
        }
        let all = || -> Result<u64, Failure> {
            sources.iter().map(|(_, source, ..)| received(source)).sum()
        };
        let (before, from) = go(all)?;
        let (after, until) = go(all)?;
        let mut lost = 0;
        for ((name, source, pad, channels), first) in sources.iter().zip(firsts) {
            // The count may be a buffer ahead of what passes the pad.
            let mut off = u64::MAX;
            for _ in 0..20 {
                let sent = next_span(pad, *channels)?.1 - first;
                off = off.min(received(source)?.abs_diff(sent));
                if off == 0 {
                    break;
                }
            }
            if off > 0 {
                eprintln!("{name}: {off} samples");
            }
            lost += off;
        }
        println!("{} {} {lost}", after - before, until - from);
        Ok(())
    })
}

// --- liblsl alone -------------------------------------------------------------------

type PullChunk = unsafe extern "C" fn(
    *mut c_void,
    *mut f32,
    *mut f64,
    c_ulong,
    c_ulong,
    f64,
    *mut i32,
) -> c_ulong;

/// As a careful program reads: a thread for each inlet, each sample taken as soon as it is
/// there with all that wait behind it, and the clock's offset measured.
fn bare() -> Result<(), Failure> {
    let path = std::env::var("LSL_LIBRARY").map_err(|_| "LSL_LIBRARY names no liblsl")?;
    // SAFETY: liblsl's interface in C, as its header declares it.
    let library: &'static libloading::Library =
        Box::leak(Box::new(unsafe { libloading::Library::new(path)? }));
    let running = Arc::new(AtomicBool::new(true));
    let mut counts = Vec::new();
    let mut threads = Vec::new();
    for (name, _, channels, _) in streams() {
        let count = Arc::new(Mutex::new(Count::default()));
        counts.push(count.clone());
        let running = running.clone();
        threads.push(std::thread::spawn(move || {
            if let Err(e) = read(library, &name, channels, &count, &running) {
                eprintln!("{name}: {e}");
                std::process::exit(1);
            }
        }));
    }
    while counts
        .iter()
        .any(|c| c.lock().is_ok_and(|c| c.samples == 0))
    {
        std::thread::sleep(Duration::from_millis(50));
    }
    measure(&counts)?;
    running.store(false, Ordering::SeqCst);
    for thread in threads {
        thread.join().map_err(|_| "a reader panicked")?;
    }
    Ok(())
}

fn read(
    library: &libloading::Library,
    name: &str,
    channels: usize,
    count: &Mutex<Count>,
    running: &AtomicBool,
) -> Result<(), Failure> {
    const ROUND: usize = 512;
    let (property, value) = (CString::new("name")?, CString::new(name)?);
    // SAFETY: as in liblsl's header; buffers are as long as the calls are told.
    unsafe {
        let resolve: libloading::Symbol<
            unsafe extern "C" fn(
                *mut *mut c_void,
                u32,
                *const c_char,
                *const c_char,
                c_int,
                f64,
            ) -> c_int,
        > = library.get(b"lsl_resolve_byprop")?;
        let create: libloading::Symbol<
            unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int) -> *mut c_void,
        > = library.get(b"lsl_create_inlet")?;
        let destroy: libloading::Symbol<unsafe extern "C" fn(*mut c_void)> =
            library.get(b"lsl_destroy_inlet")?;
        let correction: libloading::Symbol<
            unsafe extern "C" fn(*mut c_void, f64, *mut i32) -> f64,
        > = library.get(b"lsl_time_correction")?;
        let pull: libloading::Symbol<PullChunk> = library.get(b"lsl_pull_chunk_f")?;
        let mut info = std::ptr::null_mut();
        if resolve(&mut info, 1, property.as_ptr(), value.as_ptr(), 1, 20.0) != 1 {
            return Err("no such stream".into());
        }
        let inlet = create(info, 360, 0, 1);
        let mut code = 0;
        correction(inlet, 10.0, &mut code);
        let mut values = vec![0f32; ROUND * channels];
        let mut stamps = vec![0f64; ROUND];
        while running.load(Ordering::Relaxed) {
            let mut wait = 0.2;
            let mut most = 1;
            loop {
                let n = pull(
                    inlet,
                    values.as_mut_ptr(),
                    stamps.as_mut_ptr(),
                    (most * channels) as c_ulong,
                    most as c_ulong,
                    wait,
                    &mut code,
                ) as usize
                    / channels;
                let samples = values[..n * channels].chunks_exact(channels);
                if let Ok(mut count) = count.lock() {
                    count.take(samples.map(|s| s[0]));
                }
                if n < most {
                    break;
                }
                (wait, most) = (0.0, ROUND);
            }
        }
        destroy(inlet);
    }
    Ok(())
}
