// SPDX-License-Identifier: MPL-2.0
//! mvp-check on a real LSL network, on loopback and of this test alone.

#[path = "../../../tests/lsl_support/network.rs"]
mod network;

use lsl::{Library, NewStream, Outlet, StreamInfo};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stream_info::Format;

/// liblsl with a network of its own; `None` (and a SKIPPED line) where it is not there.
fn hermetic() -> Option<&'static Library> {
    static ONCE: Once = Once::new();
    ONCE.call_once(network::configure);
    match Library::load(None) {
        Ok(library) => Some(library),
        Err(e) => {
            println!(
                "SKIPPED {}: {e}",
                std::thread::current().name().unwrap_or("?")
            );
            None
        }
    }
}

fn outlet(library: &'static Library, name: &str, rate: f64, format: Format) -> Outlet {
    sensor(library, name, "Test", rate, format, &[])
}

fn sensor(
    library: &'static Library,
    name: &str,
    stream_type: &str,
    rate: f64,
    format: Format,
    units: &[&str],
) -> Outlet {
    let new = NewStream {
        name,
        stream_type,
        source_id: name,
        channels: 1,
        rate,
        format,
        labels: &[],
        units,
        offset_mean: None,
        first_frame_time: None,
    };
    let info = StreamInfo::new(library, &new).expect("stream info");
    Outlet::new(&info).expect("outlet")
}

fn mvp_check(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mvp-check"));
    command.arg("live").args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What is sent, in seconds since the beginning.
struct Sent<'a> {
    outlet: &'a Outlet,
    rate: f64,
    /// The timestamp of a sample; `None`: it is not sent.
    stamp: fn(f64) -> Option<f64>,
    value: fn(f64) -> f64,
}

fn wave(t: f64) -> f64 {
    (t * 7.0).sin()
}

/// Sends until `stop`.
fn send(library: &Library, streams: &[Sent], stop: &AtomicBool) {
    let begin = library.local_clock();
    let mut counts = vec![0u64; streams.len()];
    while !stop.load(Ordering::SeqCst) {
        let since = library.local_clock() - begin;
        for (sent, n) in streams.iter().zip(&mut counts) {
            while *n as f64 / sent.rate <= since {
                let t = *n as f64 / sent.rate;
                if let Some(stamp) = (sent.stamp)(t) {
                    let value = (sent.value)(t) as f32;
                    sent.outlet.push(&[value], &[begin + stamp]).expect("push");
                }
                *n += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stream<'a>(json: &'a Value, name: &str) -> &'a Value {
    let streams = json["streams"].as_array().expect("streams");
    let found = streams.iter().find(|s| s["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {json:#}"))
}

fn kinds(stream: &Value) -> Vec<&str> {
    let faults = stream["faults"].as_array().expect("faults").iter();
    faults
        .map(|f| f["kind"].as_str().expect("a kind"))
        .collect()
}

#[test]
fn each_stream_of_the_network_is_judged() {
    let Some(library) = hermetic() else { return };
    let none = mvp_check(&["--seconds", "1", "--predicate", "name='nobody'"]);
    let none = { none }.output().expect("mvp-check");
    assert_eq!(none.status.code(), Some(2), "{}", said(&none));
    assert!(
        said(&none).contains("no LSL stream was found"),
        "{}",
        said(&none)
    );

    let outlets = ["Fine", "Holes", "Slow", "Unix", "Dead"];
    let [fine, holes, slow, unix, _dead] =
        outlets.map(|name| outlet(library, name, 100.0, Format::F32));
    let _marks = outlet(library, "Marks", 0.0, Format::Text);
    let streams = [
        Sent {
            outlet: &fine,
            rate: 100.0,
            stamp: Some,
            value: wave,
        },
        // A second of every six is lost.
        Sent {
            outlet: &holes,
            rate: 100.0,
            stamp: |t| (t % 6.0 < 5.0).then_some(t),
            value: wave,
        },
        Sent {
            outlet: &slow,
            rate: 80.0,
            stamp: Some,
            value: wave,
        },
        Sent {
            outlet: &unix,
            rate: 100.0,
            stamp: |t| Some(t + 1.7e9),
            value: wave,
        },
    ];
    let stop = AtomicBool::new(false);
    let output = std::thread::scope(|s| {
        let sender = s.spawn(|| send(library, &streams, &stop));
        let json = mvp_check(&["--seconds", "14", "--json"])
            .spawn()
            .expect("mvp-check");
        let text = mvp_check(&["--seconds", "14"]).output().expect("mvp-check");
        let json = json.wait_with_output().expect("mvp-check");
        stop.store(true, Ordering::SeqCst);
        sender.join().expect("a sender");
        (json, text)
    });
    let text = said(&output.1);
    assert_eq!(
        (output.0.status.code(), output.1.status.code()),
        (Some(1), Some(1)),
        "{text}"
    );
    let json: Value = serde_json::from_slice(&output.0.stdout).expect("JSON");
    let of = |name| stream(&json, name);
    assert_eq!(kinds(of("Fine")), [""; 0], "{json:#}");
    let rate = of("Fine")["effective-rate"].as_f64().expect("a rate");
    assert!((rate / 100.0 - 1.0).abs() < 0.01, "{rate}");
    let clock = &of("Fine")["clock"];
    assert!(
        clock["uncertainty"].as_f64().is_some_and(|u| u < 5e-3),
        "{clock}"
    );
    assert!(kinds(of("Holes")).contains(&"gap"), "{json:#}");
    let gaps = of("Holes")["gaps"].as_u64().expect("gaps");
    let lost = of("Holes")["lost-samples"].as_u64().expect("lost");
    assert!(
        (1..=3).contains(&gaps) && lost.abs_diff(100 * gaps) <= gaps,
        "{gaps} {lost}"
    );
    assert!(kinds(of("Slow")).contains(&"rate"), "{json:#}");
    assert!(kinds(of("Unix")).contains(&"foreign-clock"), "{json:#}");
    assert_eq!(kinds(of("Dead")), ["found-no-data"], "{json:#}");
    // Events come when they do.
    assert_eq!(of("Marks")["verdict"], "good");
    let line = |name: &str| {
        let mut lines = text.lines();
        lines
            .find(|l| l.contains(&format!("| {name} |")))
            .expect("a line")
            .to_string()
    };
    assert!(line("Fine").starts_with("found |") && line("Fine").ends_with("| good"));
    assert!(line("Dead").starts_with("found-no-data |") && line("Dead").contains("| bad: "));
}

#[test]
fn a_sender_that_goes_and_comes_back_is_told() {
    let Some(library) = hermetic() else { return };
    let stop = AtomicBool::new(false);
    let first = outlet(library, "Restarted", 100.0, Format::F32);
    let arguments = [
        "--seconds",
        "9",
        "--json",
        "--predicate",
        "name='Restarted'",
    ];
    let child = mvp_check(&arguments).spawn().expect("mvp-check");
    std::thread::scope(|s| {
        let run = |outlet: Outlet, time: u64, stop: &AtomicBool| {
            let until = Instant::now() + Duration::from_secs(time);
            let sent = [Sent {
                outlet: &outlet,
                rate: 100.0,
                stamp: Some,
                value: wave,
            }];
            std::thread::scope(|s| {
                s.spawn(|| send(library, &sent, stop));
                while Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(20));
                }
                stop.store(true, Ordering::SeqCst);
            });
        };
        s.spawn(move || {
            run(first, 3, &AtomicBool::new(false));
            std::thread::sleep(Duration::from_secs(1));
            let second = outlet(library, "Restarted", 100.0, Format::F32);
            run(second, 7, &AtomicBool::new(false));
        });
    });
    stop.store(true, Ordering::SeqCst);
    let output = child.wait_with_output().expect("mvp-check");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let streams = json["streams"].as_array().expect("streams");
    assert_eq!(streams.len(), 1, "{json:#}");
    assert!(kinds(&streams[0]).contains(&"lost"), "{json:#}");
    assert!(
        streams[0]["samples"].as_u64().is_some_and(|n| n > 400),
        "{json:#}"
    );
}

/// Drawn twice a second in a terminal; `script` gives one.
#[test]
fn a_terminal_is_drawn_in() {
    let Some(library) = hermetic() else { return };
    let test = "a_terminal_is_drawn_in";
    let outlet = outlet(library, "Drawn", 100.0, Format::F32);
    let stop = AtomicBool::new(false);
    let streams = [Sent {
        outlet: &outlet,
        rate: 100.0,
        stamp: Some,
        value: wave,
    }];
    let program = env!("CARGO_BIN_EXE_mvp-check");
    let line = format!("{program} live --seconds 6 --predicate \"name='Drawn'\"");
    let output = std::thread::scope(|s| {
        s.spawn(|| send(library, &streams, &stop));
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .output();
        stop.store(true, Ordering::SeqCst);
        output
    });
    let Ok(output) = output else {
        println!("SKIPPED {test}: `script` of util-linux is not there");
        return;
    };
    let text = said(&output);
    let drawn = text.matches("\x1b[H").count();
    assert!((8..=13).contains(&drawn), "{drawn} pictures in 6 s");
    assert!(
        text.contains("Drawn") && text.contains("of 100 Hz") && text.contains('▄'),
        "{text}"
    );
    // The terminal is as it was, and has the report.
    let end = text.rfind("\x1b[?1049l").expect("the end of the picture");
    assert!(
        text[end..].contains("| Drawn |") && text[end..].contains("1 good"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(0));
}

/// A beat of an ECG: P, QRS and T, in mV; `t`: seconds since it began.
fn beat(t: f64) -> f64 {
    let bump =
        |at: f64, width: f64, height: f64| height * (-((t - at) / width).powi(2) / 2.0).exp();
    bump(0.18, 0.025, 0.12)
        + bump(0.32, 0.01, -0.12)
        + bump(0.35, 0.011, 1.1)
        + bump(0.38, 0.01, -0.2)
        + bump(0.58, 0.05, 0.25)
}

#[test]
fn sensors_of_the_body_are_measured() {
    let Some(library) = hermetic() else { return };
    let ecg = sensor(library, "Heart", "ECG", 250.0, Format::F32, &["mV"]);
    let eda = sensor(library, "Skin", "EDA", 8.0, Format::F32, &["kOhm"]);
    let flat = sensor(library, "Flat", "PPG", 64.0, Format::F32, &[]);
    let wrong = sensor(library, "Volt", "EDA", 8.0, Format::F32, &["mV"]);
    let streams = [
        // 75 beats a minute, with a little noise.
        Sent {
            outlet: &ecg,
            rate: 250.0,
            stamp: Some,
            value: |t| beat(t % 0.8) + 0.01 * (t * 977.0).sin(),
        },
        Sent {
            outlet: &eda,
            rate: 8.0,
            stamp: Some,
            value: |t| 200.0 + (t / 3.0).sin(),
        },
        Sent {
            outlet: &flat,
            rate: 64.0,
            stamp: Some,
            value: |_| 512.0,
        },
        Sent {
            outlet: &wrong,
            rate: 8.0,
            stamp: Some,
            value: |t| 200.0 + (t / 3.0).sin(),
        },
    ];
    let stop = AtomicBool::new(false);
    let (json, text) = std::thread::scope(|s| {
        s.spawn(|| send(library, &streams, &stop));
        let of = "type='ECG' or type='EDA' or type='PPG'";
        let arguments = ["--seconds", "16", "--json", "--predicate", of];
        let json = mvp_check(&arguments).spawn().expect("mvp-check");
        let arguments = ["--seconds", "16", "--predicate", of];
        let text = mvp_check(&arguments).output().expect("mvp-check");
        let json = json.wait_with_output().expect("mvp-check");
        stop.store(true, Ordering::SeqCst);
        (json, said(&text))
    });
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let number = |name, field: &str| stream(&json, name)[field].as_f64();
    assert_eq!(kinds(stream(&json, "Heart")), [""; 0], "{json:#}");
    assert!(
        number("Heart", "hr").is_some_and(|hr| (hr - 75.0).abs() < 1.0),
        "{json:#}"
    );
    assert!(
        number("Heart", "quality").is_some_and(|q| q > 0.8),
        "{json:#}"
    );
    // 200 kOhm are 5 uS.
    assert!(
        number("Skin", "scl").is_some_and(|scl| (scl - 5.0).abs() < 0.05),
        "{json:#}"
    );
    assert_eq!(kinds(stream(&json, "Flat")), ["quality"], "{json:#}");
    assert_eq!(stream(&json, "Flat")["verdict"], "bad");
    assert_eq!(stream(&json, "Flat")["quality-reason"], "flat");
    assert!(kinds(stream(&json, "Volt")).contains(&"unit"), "{json:#}");
    assert_eq!(number("Volt", "scl"), None);
    assert!(
        text.contains("HR 75 bpm, quality") && text.contains("SCL 5.0"),
        "{text}"
    );
}

/// Ctrl-C ends it with the report.
#[test]
fn an_interrupt_prints_the_report() {
    let Some(library) = hermetic() else { return };
    let outlet = outlet(library, "Stopped", 100.0, Format::F32);
    let stop = AtomicBool::new(false);
    let streams = [Sent {
        outlet: &outlet,
        rate: 100.0,
        stamp: Some,
        value: wave,
    }];
    let arguments = ["--seconds", "300", "--predicate", "name='Stopped'"];
    let (output, took) = std::thread::scope(|s| {
        s.spawn(|| send(library, &streams, &stop));
        let child = mvp_check(&arguments).spawn().expect("mvp-check");
        std::thread::sleep(Duration::from_secs(5));
        let begin = Instant::now();
        let id = child.id().to_string();
        let killed = Command::new("kill").args(["-INT", &id]).status();
        assert!(killed.is_ok_and(|s| s.success()));
        let output = child.wait_with_output().expect("mvp-check");
        stop.store(true, Ordering::SeqCst);
        (output, begin.elapsed())
    });
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("| Stopped |") && text.contains("1 good"),
        "{text}"
    );
    assert!(took < Duration::from_secs(10), "{took:?}");
}
