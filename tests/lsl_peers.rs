// SPDX-License-Identifier: MPL-2.0
//! Peers on the network that break the protocol in what they send: `lslsrc` meets them
//! without a panic, a hang or growth, and buffers never go back without DISCONT. Peers that
//! lie in what they declare are in lslsrc_limits.rs. docs/security.md names the count.

mod lsl_support;

use lsl_support::{
    Line, Seen,
    hand::{Feed, Hand, Says, Script, clock, fresh_uid, numbers_at, texts_at},
    hermetic, outlet, stream,
};
use std::{
    io::{Error, Write},
    sync::Arc,
    time::{Duration, Instant},
};
use stream_info::Format;

/// How long each peer is listened to.
const WHILE: Duration = Duration::from_millis(2500);
/// Bytes that the process may grow by because of one peer.
const GROWTH: usize = 500 << 20;

fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kb = line.and_then(|l| l.trim().split(' ').next()?.parse::<usize>().ok());
    kb.unwrap_or(0) << 10
}

fn feed(
    f: impl Fn(&mut lsl_support::hand::Wire) -> std::io::Result<()> + Send + Sync + 'static,
) -> Option<Feed> {
    Some(Arc::new(f))
}

fn closed() -> std::io::Result<()> {
    Err(Error::other("closed"))
}

/// A stream of this name, sane but for what the test changes.
fn says(name: &str) -> Says {
    Says::sane(name, "Hostile")
}

fn text(name: &str) -> Says {
    Says {
        format: "string".into(),
        rate: "0".into(),
        ..says(name)
    }
}

fn peer(says: Says, feed: Option<Feed>) -> Script {
    Script {
        short: vec![says],
        feed,
        ..Script::default()
    }
}

/// Streams whose timestamps are wrong.
fn stamps() -> Vec<(&'static str, Script)> {
    fn stamped(name: &'static str, f: fn(u32, f64) -> f64) -> (&'static str, Script) {
        let feed = feed(move |w| {
            w.header()?;
            w.play(f)
        });
        (name, peer(says(name), feed))
    }
    vec![
        stamped("nan", |_, _| f64::NAN),
        stamped("infinite", |_, _| f64::INFINITY),
        stamped("minus-infinite", |_, _| f64::NEG_INFINITY),
        stamped("huge", |_, _| 1e300),
        stamped("minus-huge", |_, _| -1e300),
        stamped("tiny", |_, _| f64::MIN_POSITIVE),
        stamped("zero", |_, _| 0.0),
        stamped("constant", |_, _| 1000.0),
        stamped("backwards", |n, t| t - 2.0 * f64::from(n) / 100.0),
        stamped("day-ahead", |n, t| {
            t + if n % 50 == 49 { 86_400.0 } else { 0.0 }
        }),
        stamped("to-and-fro", |n, t| {
            t + if n % 2 == 0 { 0.0 } else { -3600.0 }
        }),
        stamped("some-nan", |n, t| if n % 3 == 0 { f64::NAN } else { t }),
        stamped("negative", |n, _| -f64::from(n)),
        stamped("racing", |n, t| t + f64::from(n) * 10.0),
    ]
}

/// Connections that end early or hold something else than samples.
fn wires() -> Vec<(&'static str, Script)> {
    let mut all: Vec<(&'static str, Script)> = Vec::new();
    let mut add = |name: &'static str, f: Option<Feed>| all.push((name, peer(says(name), f)));
    add("closes-at-once", None);
    add(
        "closes-in-lines",
        feed(|w| w.write(b"LSL/110 200 OK\r\nUID:")),
    );
    add(
        "closes-in-pattern",
        feed(|w| {
            w.lines("x")?;
            w.write(&[2, 0, 0])
        }),
    );
    add(
        "closes-in-sample",
        feed(|w| {
            w.header()?;
            w.write(&numbers_at(clock(), &[1.0])[..9])
        }),
    );
    add(
        "closes-after-some",
        feed(|w| {
            w.header()?;
            for n in 0..10 {
                w.write(&numbers_at(clock() + f64::from(n) / 100.0, &[1.0]))?;
            }
            closed()
        }),
    );
    add(
        "says-404",
        feed(|w| w.write(b"LSL/110 404 Not found\r\n\r\n")),
    );
    add(
        "says-version-9999",
        feed(|w| w.write(b"LSL/9999 200 OK\r\n\r\n")),
    );
    add(
        "garbage",
        feed(|w| {
            w.write(
                &(0..200_000u32)
                    .map(|n| ((n * 7919) >> 3) as u8)
                    .collect::<Vec<_>>(),
            )
        }),
    );
    add(
        "garbage-after-header",
        feed(|w| {
            w.header()?;
            w.write(
                &(0..200_000u32)
                    .map(|n| ((n * 7919) >> 3) as u8)
                    .collect::<Vec<_>>(),
            )
        }),
    );
    add(
        "other-uid",
        feed(|w| {
            w.lines(&fresh_uid())?;
            w.play(|_, t| t)
        }),
    );
    add(
        "silent",
        feed(|w| {
            while w.goes_on() {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }),
    );
    add(
        "endless-lines",
        feed(|w| {
            let end = Instant::now() + WHILE;
            while w.goes_on() && Instant::now() < end {
                w.write(b"X-Line: and another one\r\n")?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        }),
    );
    add(
        "flood",
        feed(|w| {
            w.header()?;
            let mut packet = numbers_at(0.0, &[1.0]).repeat(1000);
            while w.goes_on() {
                let now = clock().to_le_bytes();
                packet
                    .chunks_exact_mut(13)
                    .for_each(|s| s[1..9].copy_from_slice(&now));
                w.write(&packet)?;
            }
            Ok(())
        }),
    );
    all
}

/// What is no number, and what is no answer.
fn others() -> Vec<(&'static str, Script)> {
    let garbled = |name, time: &str| {
        let play = feed(|w| {
            w.header()?;
            w.play(|_, t| t)
        });
        let script = Script {
            time: Some(time.into()),
            ..peer(says(name), play)
        };
        (name, script)
    };
    let nested = format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000));
    let utf8 = |name, bytes: &'static [u8]| {
        let play = feed(move |w| {
            w.header()?;
            while w.goes_on() {
                w.write(&texts_at(clock(), &[bytes.to_vec()]))?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        });
        (name, peer(text(name), play))
    };
    let described = |name, describe: Feed| {
        let script = Script {
            describe: Some(describe),
            ..peer(says(name), None)
        };
        (name, script)
    };
    let answering = |name, bytes: &[u8]| {
        let script = Script {
            answer: Some(bytes.to_vec()),
            ..Script::default()
        };
        (name, script)
    };
    vec![
        garbled("time-nan", "nan nan"),
        garbled("time-infinite", "inf -inf"),
        garbled("time-huge", "1e300 1e300"),
        garbled("time-text", "now and then"),
        utf8("no-utf8", &[0xff, 0xfe, 0xc0, 0x80]),
        utf8("nul", b"a\0b\0"),
        (
            "nested",
            peer(
                Says {
                    desc: format!("<desc>{nested}</desc>"),
                    ..says("nested")
                },
                None,
            ),
        ),
        described("no-description", Arc::new(|_| Ok(()))),
        described("no-xml", Arc::new(|w| w.write(b"this is no XML"))),
        described(
            "half-a-description",
            Arc::new(|w| w.write(b"<?xml version=\"1.0\"?><info><name>half")),
        ),
        described(
            "slow-description",
            Arc::new(|w| {
                while w.goes_on() {
                    w.stream.write_all(b"<")?;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            }),
        ),
        answering("empty-answer", b""),
        answering("binary-answer", &[0, 159, 146, 150, 255, 13, 10, 0]),
        answering("cut-answer", b"<?xml version=\"1.0\"?><info><name>cut-an"),
        (
            "other-session",
            Script {
                session: Some("somebody else's".into()),
                ..peer(says("other-session"), feed(|w| w.play(|_, t| t)))
            },
        ),
    ]
}

/// Buffers that begin before the one before them, without DISCONT.
fn backwards(line: &Line) -> usize {
    let mut last = 0;
    let goes_back = |s: &&Seen| match s {
        Seen::Buffer { pts, flags, .. } => {
            let before = std::mem::replace(&mut last, *pts);
            *pts < before && !flags.contains(gst::BufferFlags::DISCONT)
        }
        _ => false,
    };
    line.seen().iter().filter(goes_back).count()
}

/// Listens to each peer, and beside them to a good stream that must not suffer.
fn meet(peers: Vec<(&'static str, Script)>, good: &str) {
    let Some(lsl) = hermetic() else { return };
    for (name, script) in peers {
        let before = memory();
        let out = outlet(lsl, &stream(good, 100.0, Format::F32));
        let fine = Line::new(&format!("stream-name={good}"));
        fine.play();
        out.wait();
        fine.connected();
        let hand = Hand::playing(script);
        let line = Line::new(&format!("stream-name={name} data-timeout=1000000000"));
        line.play();
        let mut most = before;
        let end = Instant::now() + WHILE;
        let t0 = out.now();
        let mut n = 0;
        while Instant::now() < end {
            out.play(t0, n, n + 10, 5, |n, _| n as f32);
            n += 10;
            most = most.max(memory());
        }
        let grown = most.saturating_sub(before);
        println!(
            "{name}: {} buffers, {} MB more, connected {}",
            line.buffers(),
            grown >> 20,
            !line.elements("lsl-connected").is_empty()
        );
        assert!(grown < GROWTH, "{name}: {} MB", grown >> 20);
        assert_eq!(backwards(&line), 0, "{name}");
        let errors = |l: &Line| {
            let is = |m: &&gst::Message| m.type_() == gst::MessageType::Error;
            l.messages().iter().filter(is).count()
        };
        assert_eq!(errors(&line), 0, "{name}: {:?}", line.messages());
        if name == "other-session" {
            assert!(line.elements("lsl-connected").is_empty(), "{name}");
        }
        fine.until("the good samples", |l| l.bytes().len() as u64 == n * 4);
        let begin = Instant::now();
        line.stop();
        assert!(begin.elapsed() < Duration::from_secs(1), "{name}");
        drop(hand);
    }
}

#[test]
fn peers_with_wrong_timestamps() {
    meet(stamps(), "good-stamps");
}

#[test]
fn peers_with_broken_connections() {
    meet(wires(), "good-wires");
}

#[test]
fn peers_that_say_what_is_no_answer() {
    meet(others(), "good-others");
}
