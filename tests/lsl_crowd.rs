// SPDX-License-Identifier: MPL-2.0
//! 300 streams at one time, and a sender that is stopped and goes on.

mod lsl_support;

use gst::prelude::*;
use lsl_support::{Line, Peer, Seen, hermetic, numbers, outlet, python, skip, stream};
use std::process::Command;
use std::time::{Duration, Instant};
use stream_info::Format;

const CROWD: usize = 300;
const RATE: f64 = 100.0;

/// As `hermetic`, with ports for all: on loopback a search asks each port.
fn roomy() -> Option<&'static lsl::Library> {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let pid = std::process::id();
        let base = 12_000 + pid % 10 * 420;
        let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = path.join(format!("lsl-crowd-{pid}.cfg"));
        let text = format!(
            "[ports]\nMulticastPort = {base}\nBasePort = {}\nPortRange = 400\n\
             AllowRandomPorts = 1\nIPv6 = disable\n\
             [multicast]\nResolveScope = machine\nMachineAddresses = {{127.0.0.1}}\n\
             Interfaces = {{127.0.0.1}}\nListenAddress = 127.0.0.1\n\
             [lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = crowd-{pid}\n\
             [tuning]\nMulticastMinRTT = 0.05\nMulticastMaxRTT = 0.1\nUnicastMinRTT = 0.05\n\
             UnicastMaxRTT = 0.2\nWatchdogTimeThreshold = 2\nWatchdogCheckInterval = 1\n\
             [log]\nlevel = -2\n",
            base + 1
        );
        std::fs::write(&path, text).expect("write the LSL configuration");
        // SAFETY: no other thread of this process reads the environment yet.
        unsafe {
            std::env::set_var("LSLAPICFG", &path);
            std::env::set_var("GSTMVP_TEST_LSL", "1");
        }
    });
    hermetic()
}

fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field));
    let number = line.and_then(|l| l.split_whitespace().next());
    number.map_or(0, |n| n.parse().expect("a number"))
}

/// The streams are of a process of their own: what is measured is the reader.
fn crowd(python: &std::path::Path) -> Peer {
    let script = format!(
        "import sys, pylsl, json\n\
         outlets = [pylsl.StreamOutlet(pylsl.StreamInfo(f'crowd-{{i}}', 'Crowd', 1, 10.0, \
         'float32', f'crowd-{{i}}')) for i in range({CROWD})]\n\
         print(json.dumps(dict(event='ready')), flush=True)\n\
         sys.stdin.read()\n"
    );
    let python = python.to_str().expect("UTF-8");
    let mut command = Command::new(python);
    command.args(["-c", &script]);
    let peer = Peer::spawn(command);
    peer.wait("ready");
    peer
}

#[test]
fn one_stream_among_300_is_found_and_all_are_listed() {
    let Some(library) = roomy() else { return };
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let wanted = outlet(library, &stream("wanted", RATE, Format::F32));
    let _crowd = crowd(&python);
    let before = status("VmRSS:");
    let line = Line::new("stream-name=wanted");
    let begun = Instant::now();
    line.play();
    wanted.wait();
    let found = begun.elapsed();
    let t0 = wanted.now();
    wanted.play(t0, 0, 200, 10, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() >= 150 * 4);
    let got = numbers(&line.bytes(), f32::from_le_bytes);
    assert!(got.windows(2).all(|w| w[1] == w[0] + 1.0), "{got:?}");

    // Every one is named among what there is.
    let begun = Instant::now();
    let monitor = gst::DeviceMonitor::new();
    monitor.add_filter(Some("Source/Physio"), None);
    monitor.start().expect("start");
    let mut listed = 0;
    while listed < CROWD && begun.elapsed() < Duration::from_secs(30) {
        listed = monitor
            .devices()
            .iter()
            .filter(|d| d.display_name().starts_with("crowd-"))
            .count();
        std::thread::sleep(Duration::from_millis(100));
    }
    let all = begun.elapsed();
    monitor.stop();
    let begun = Instant::now();
    drop(line);
    let ended = begun.elapsed();
    let grown = status("VmRSS:").saturating_sub(before);
    println!(
        "found in {found:?}, {listed} listed in {all:?}, NULL after {ended:?}, {grown} kB more"
    );
    assert!(listed >= CROWD, "{listed} of {CROWD}");
    assert!(found < Duration::from_secs(10), "{found:?}");
    assert!(ended < Duration::from_secs(2), "{ended:?}");
    assert!(grown < 60_000, "{grown} kB");
}

#[test]
fn too_many_that_match_are_told() {
    let Some(_) = roomy() else { return };
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let _crowd = crowd(&python);
    let line = Line::new("stream-type=Crowd resolve-timeout=3000000000");
    let begun = Instant::now();
    line.play();
    let text = line.error(Duration::from_secs(20));
    println!("told after {:?}", begun.elapsed());
    assert!(text.contains("Crowd"), "{text}");
    // 32 of them by name.
    assert!(text.contains("300 LSL streams match"), "{text}");
    assert!(text.len() < 32 * 300, "{} bytes: {text}", text.len());
}

#[test]
fn a_sender_that_is_stopped_and_goes_on() {
    let Some(_) = roomy() else { return };
    let Some(python) = python(&["pylsl"]) else {
        return;
    };
    let words = [
        "frozen",
        "--rate",
        "100",
        "--chunk",
        "5",
        "--source-id",
        "frozen",
    ];
    let peer = Peer::pylsl(&python, &[], &words);
    let line = Line::new("stream-name=frozen source-id=frozen data-timeout=2000000000");
    line.play();
    let t0 = peer.number("start", "t0");
    line.until("samples", |l| l.bytes().len() >= 100 * 4);
    // Shorter than data-timeout: late, and nothing is lost.
    if !peer.signal("-STOP") {
        return skip("kill -STOP does not work here");
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(peer.signal("-CONT"));
    line.until("samples", |l| l.bytes().len() >= 400 * 4);
    assert!(line.elements("lsl-lost").is_empty());
    let got = numbers(&line.bytes(), f32::from_le_bytes);
    assert!(got.windows(2).all(|w| w[1] == w[0] + 1.0), "{got:?}");

    // Longer: lost, and found again.
    assert!(peer.signal("-STOP"));
    line.until("the loss", |l| l.elements("lsl-lost").len() == 1);
    assert!(peer.signal("-CONT"));
    line.until("the return", |l| l.elements("lsl-recovered").len() == 1);
    line.forget();
    line.until("samples", |l| l.bytes().len() >= 200 * 4);
    // Each is where it belongs.
    let mut worst = 0;
    for seen in line.seen() {
        if let Seen::Buffer { pts, data, .. } = seen {
            let n = f64::from(numbers(&data, f32::from_le_bytes)[0]);
            let off = pts as i64 - line.running_time(t0 + n / RATE);
            worst = worst.max(off.abs());
        }
    }
    assert!(worst < 10_000_000, "{worst} ns off");
}
