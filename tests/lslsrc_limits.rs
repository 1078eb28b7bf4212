// SPDX-License-Identifier: MPL-2.0
//! What anybody on the network can say of a stream must not harm who looks for another one.

mod lsl_support;

use lsl::NewStream;
use lsl_support::{
    Line, TestOutlet,
    hand::{Hand, Says, fresh_uid},
    hermetic, outlet, stream,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use stream_info::Format;

/// The senders of these tests answer every search, those of other tests too.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn typed<'a>(name: &'a str, stream_type: &'a str) -> NewStream<'a> {
    NewStream {
        stream_type,
        ..stream(name, 100.0, Format::F32)
    }
}

/// Waits until a warning says all of `parts`; nothing else may have been said of them.
fn warned(line: &Line, parts: &[&str]) {
    let says = |w: &String| parts.iter().all(|p| w.contains(p));
    line.until(&format!("warning of {parts:?}"), |l| {
        l.warnings().iter().any(says)
    });
}

/// Samples of the good stream arrive.
fn receives(line: &Line, out: &TestOutlet) {
    out.wait();
    line.connected();
    let name: String = line.elements("lsl-connected")[0].get("name").expect("name");
    assert!(name.starts_with("good"), "{name}");
    out.play(out.now() + 0.05, 0, 20, 5, |n, _| n as f32);
    line.until("samples", |l| l.bytes().len() == 20 * 4);
}

/// What is wrong, and what the warning names.
fn spoilt(stream_type: &str) -> Vec<(Says, Vec<&'static str>)> {
    let label = "<desc><channels><channel><label>EDA</label></channel></channels></desc>";
    let sane = || Says::sane("spoilt", stream_type);
    vec![
        (
            Says {
                channels: "2147483647".into(),
                desc: label.into(),
                ..sane()
            },
            vec!["2147483647 channels", "1 to 4096"],
        ),
        (
            Says {
                channels: "100000000".into(),
                ..sane()
            },
            vec!["100000000 channels"],
        ),
        (
            Says {
                channels: "0".into(),
                ..sane()
            },
            vec!["no channels"],
        ),
        (
            Says {
                channels: "2.5".into(),
                ..sane()
            },
            vec!["2.5 channels"],
        ),
        (
            Says {
                rate: "1e300".into(),
                ..sane()
            },
            vec!["1e300 Hz", "200000"],
        ),
        (
            Says {
                rate: "-0.5".into(),
                ..sane()
            },
            vec!["-0.5 Hz"],
        ),
        (
            Says {
                rate: "1e-9".into(),
                ..sane()
            },
            vec!["1e-9 Hz"],
        ),
        (
            Says {
                channels: "4000".into(),
                rate: "90000".into(),
                ..sane()
            },
            vec!["bytes per second"],
        ),
        (
            Says {
                name: "long".repeat(10_000),
                ..sane()
            },
            vec!["name of 40000 bytes", "4096"],
        ),
        // These liblsl cannot read itself; it says why.
        (
            Says {
                channels: "many".into(),
                ..sane()
            },
            vec!["cannot be read"],
        ),
        (
            Says {
                channels: "-3".into(),
                ..sane()
            },
            vec!["cannot be read", "channel_count"],
        ),
        (
            Says {
                rate: "nan".into(),
                ..sane()
            },
            vec!["cannot be read"],
        ),
        (
            Says {
                format: "float128".into(),
                ..sane()
            },
            vec!["cannot be read", "float128"],
        ),
        (
            Says {
                uid: String::new(),
                ..sane()
            },
            vec!["cannot be read", "UID"],
        ),
    ]
}

#[test]
fn what_matches_and_cannot_be_is_left_out() {
    let _alone = alone();
    let Some(lsl) = hermetic() else { return };
    for (i, (says, parts)) in spoilt("Left out").into_iter().enumerate() {
        let _peer = Hand::saying(says);
        let line = Line::new("stream-type=\"Left out\"");
        line.play();
        warned(&line, &parts);
        // The search goes on, and finds what comes later.
        let out = outlet(lsl, &typed("good", "Left out"));
        receives(&line, &out);
        let told = line.warnings();
        assert_eq!(told.len(), 1, "{i}: {told:?}");
        assert!(told[0].contains("ignored"), "{told:?}");
    }
}

#[test]
fn what_is_only_seen_is_left_out() {
    let _alone = alone();
    if hermetic().is_none() {
        return;
    }
    for (says, parts) in spoilt("Seen") {
        let _peer = Hand::saying(says);
        let line = Line::new("stream-type=Absent resolve-timeout=1500000000");
        line.play();
        let e = line.error(Duration::from_secs(10));
        assert!(parts.iter().all(|p| e.contains(p)), "{parts:?} in {e}");
        assert!(e.len() < 2000, "{} bytes", e.len());
        // It does not match, and says so twice: once for this search, once for all.
        let told = line.warnings();
        assert!(!told.is_empty() && told.len() <= 2, "{told:?}");
    }
}

#[test]
fn the_full_description_must_agree() {
    let _alone = alone();
    let Some(lsl) = hermetic() else { return };
    let says = |uid: &str| Says {
        uid: uid.into(),
        ..Says::sane("two faces", "Faces")
    };
    let uid = fresh_uid();
    let late = "<desc><synchronization><offset_mean>1e300</offset_mean></synchronization></desc>";
    for (full, parts) in [
        (
            Says {
                channels: "0".into(),
                ..says(&uid)
            },
            vec!["no channels"],
        ),
        (
            Says {
                channels: "100000000".into(),
                ..says(&uid)
            },
            vec!["100000000 channels"],
        ),
        (
            Says {
                channels: "2".into(),
                ..says(&uid)
            },
            vec!["channel count 1", "channel count 2"],
        ),
        (
            Says {
                format: "int16".into(),
                ..says(&uid)
            },
            vec!["format float32", "format int16"],
        ),
        (
            Says {
                rate: "50".into(),
                ..says(&uid)
            },
            vec!["rate 100", "rate 50"],
        ),
        (
            Says {
                rate: "1e12".into(),
                ..says(&uid)
            },
            vec!["1e12 Hz"],
        ),
        (says("another"), vec!["uid another"]),
        (
            Says {
                desc: format!("<desc><x>{}</x></desc>", "x".repeat(5 << 20)),
                ..says(&uid)
            },
            vec!["description of 5", "4194304"],
        ),
        (
            Says {
                desc: late.into(),
                ..says(&uid)
            },
            vec!["offset_mean", "3600"],
        ),
    ] {
        let _peer = Hand::new(vec![says(&uid)], full);
        let line = Line::new("stream-type=Faces");
        line.play();
        warned(&line, &parts);
        assert!(line.elements("lsl-connected").is_empty());
        let out = outlet(lsl, &typed("good", "Faces"));
        receives(&line, &out);
        assert_eq!(line.warnings().len(), 1, "{:?}", line.warnings());
    }
}

#[test]
fn an_answer_that_does_not_match_is_left_out() {
    let _alone = alone();
    let Some(lsl) = hermetic() else { return };
    let mut wrong = vec![
        (Says::sane("not it", "EDA"), "stream-type=Heart"),
        (
            Says::sane("not it", "Heart"),
            "stream-type=Heart stream-name=good",
        ),
        (
            Says::sane("not it", "Heart"),
            "stream-type=Heart source-id=good",
        ),
    ];
    // Whoever has no such function cannot hold an answer against a predicate.
    if lsl.version() >= 116 {
        wrong.push((
            Says::sane("not it", "Heart"),
            "predicate=starts-with(name,'good')",
        ));
    }
    for (says, properties) in wrong {
        let _peer = Hand::saying(says);
        let line = Line::new(properties);
        line.play();
        warned(&line, &["'not it'", "does not match"]);
        assert!(line.elements("lsl-connected").is_empty());
        let out = outlet(lsl, &typed("good", "Heart"));
        receives(&line, &out);
        assert_eq!(line.warnings().len(), 1, "{:?}", line.warnings());
    }
}

#[test]
fn many_answers_hide_nothing() {
    let _alone = alone();
    let Some(lsl) = hermetic() else { return };
    let crowd = |n| (0..n).map(|_| Says::sane("crowd", "Crowd")).collect();
    let _peer = Hand::new(crowd(500), Says::sane("crowd", "Crowd"));
    let out = outlet(lsl, &typed("good", "Needle"));
    let line = Line::new("stream-type=Needle");
    line.play();
    receives(&line, &out);
    // All of them are the same offence.
    assert!(line.warnings().len() <= 1, "{:?}", line.warnings());
}
