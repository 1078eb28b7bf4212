// SPDX-License-Identifier: MPL-2.0
//! Where the plugin runs: locale, home, descriptors, a full disk, one processor, other versions.
//! `docs/security.md` has the table.

mod lsl_support;

use lsl_support::{Peer, hermetic, python};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn plugin(test: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let directory = own.parent()?.parent()?.to_path_buf();
    let there = directory.join("libgstmvp.so").exists();
    if !there {
        println!("SKIPPED {test}: no libgstmvp.so; run cargo build first");
    }
    there.then_some(directory)
}

/// Whether this command works here; says so if not.
fn can(test: &str, command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let works = output.is_ok_and(|o| o.status.success());
    if !works {
        println!("SKIPPED {test}: {} does not work here", command.join(" "));
    }
    works
}

/// What a run wrote, said, and how it ended.
struct Run {
    lines: String,
    told: String,
    code: Option<i32>,
    took: Duration,
}

/// `gst-launch-1.0` of `line`, started by `before`, with the environment changed by `change`.
/// SINK in `line` is a file.
fn launch(before: &[&str], line: &str, change: impl FnOnce(&mut Command)) -> Run {
    let here = tempfile::tempdir().expect("a directory");
    let sink = here.path().join("out.jsonl");
    let line = line.replace("SINK", sink.to_str().expect("UTF-8"));
    let mut words = before.to_vec();
    words.extend(["timeout", "60", "gst-launch-1.0"]);
    words.extend(line.split_whitespace());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(root());
    command.env(
        "GST_PLUGIN_PATH",
        plugin("launch").expect("looked for before"),
    );
    command.env("GST_REGISTRY", here.path().join("registry.bin"));
    command.env_remove("G_DEBUG");
    change(&mut command);
    let begun = Instant::now();
    let output = command.output().expect("gst-launch-1.0");
    let took = begun.elapsed();
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let lines = std::fs::read_to_string(&sink).unwrap_or_default();
    let code = output.status.code();
    Run {
        lines,
        told,
        code,
        took,
    }
}

/// Answers of the default bundle, without a face and reproducible.
const ANSWERS: &str = "videotestsrc num-buffers=40 ! video/x-raw,width=64,height=64,framerate=10/1 \
     ! facetrack execution-provider=cpu sync=wait \
     ! mvpfusion execution-provider=cpu sync=wait ! emotionserialize ! filesink location=SINK";

fn answers(before: &[&str], change: impl FnOnce(&mut Command)) -> String {
    let run = launch(before, ANSWERS, change);
    assert_eq!(run.code, Some(0), "{}", run.told);
    assert!(run.lines.lines().count() >= 3, "{}", run.told);
    run.lines
}

fn ready(test: &str) -> bool {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        println!("SKIPPED {test}: no ORT_DYLIB_PATH");
        return false;
    }
    plugin(test).is_some()
}

/// A directory with the locale, for LOCPATH.
fn locale(name: &str) -> Option<tempfile::TempDir> {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().join(format!("{name}.UTF-8"));
    let at = at.to_str().expect("UTF-8");
    // Warns, and still writes; what counts is that the files are there.
    let _ = Command::new("localedef")
        .args(["-c", "-i", name, "-f", "UTF-8", at])
        .output();
    let there = Path::new(at).join("LC_NUMERIC").exists();
    if !there {
        println!("SKIPPED locale {name}: localedef cannot make it");
    }
    there.then_some(directory)
}

#[test]
fn numbers_are_written_the_same_in_every_language() {
    if !ready("numbers_are_written_the_same_in_every_language") {
        return;
    }
    let plain = answers(&[], |_| {});
    assert!(plain.contains("\"valence\":0."), "{plain}");
    let stream = hermetic().zip(python(&["pylsl"])).map(|(_, python)| {
        let words = ["peer-words", "--type", "EDA", "--rate", "51.2", "--no-wait"];
        let peer = Peer::pylsl(&python, &[], &words);
        peer.wait("start");
        peer
    });
    let line = "-v lslsrc stream-name=peer-words num-buffers=5 ! fakesink";
    for name in ["de_DE", "tr_TR"] {
        let Some(directory) = locale(name) else {
            continue;
        };
        let set = |command: &mut Command| {
            command.env("LOCPATH", directory.path());
            command.env("LC_ALL", format!("{name}.UTF-8"));
        };
        assert_eq!(answers(&[], set), plain, "{name}");
        if stream.is_some() {
            let run = launch(&[], line, set);
            assert_eq!(run.code, Some(0), "{}", run.told);
            // 51.2 of the XML, as the fraction of the caps.
            assert!(run.told.contains("rate=(fraction)256/5"), "{}", run.told);
        }
    }
}

#[test]
fn neither_home_nor_a_cache_is_needed() {
    if !ready("neither_home_nor_a_cache_is_needed") {
        return;
    }
    let plain = answers(&[], |_| {});
    let without = answers(&[], |command| {
        command.env_remove("HOME");
        // Nobody, not even root, writes there.
        command.env("XDG_CACHE_HOME", "/proc/nowhere");
        command.env("GST_REGISTRY", "/proc/nowhere/registry.bin");
    });
    assert_eq!(without, plain);
}

#[test]
fn one_processor_gives_the_same_answers() {
    const TEST: &str = "one_processor_gives_the_same_answers";
    if !ready(TEST) || !can(TEST, &["taskset", "-c", "0", "true"]) {
        return;
    }
    let plain = answers(&[], |_| {});
    assert_eq!(answers(&["taskset", "-c", "0"], |_| {}), plain);
}

#[test]
fn a_full_disk_ends_the_pipeline_with_an_error() {
    const TEST: &str = "a_full_disk_ends_the_pipeline_with_an_error";
    if !ready(TEST) || !Path::new("/dev/full").exists() {
        return;
    }
    let run = launch(&[], &ANSWERS.replace("SINK", "/dev/full"), |_| {});
    assert_eq!(run.code, Some(1), "{}", run.told);
    assert!(run.told.contains("ERROR"), "{}", run.told);
    assert!(run.took < Duration::from_secs(40), "{:?}", run.took);
}

#[test]
fn few_file_descriptors_are_enough_or_told() {
    const TEST: &str = "few_file_descriptors_are_enough_or_told";
    if !ready(TEST) || !can(TEST, &["prlimit", "--nofile=64", "true"]) {
        return;
    }
    let plain = answers(&[], |_| {});
    assert_eq!(answers(&["prlimit", "--nofile=64"], |_| {}), plain);
    let (Some(_), Some(python)) = (hermetic(), python(&["pylsl"])) else {
        return;
    };
    let words = ["peer-fds", "--rate", "100", "--no-wait"];
    let peer = Peer::pylsl(&python, &[], &words);
    peer.wait("start");
    let line = "lslsrc stream-name=peer-fds num-buffers=5 ! fakesink";
    let run = launch(&["prlimit", "--nofile=64"], line, |_| {});
    assert_eq!(run.code, Some(0), "{}", run.told);
    // liblsl itself ends the process where it cannot open a socket.
    for limit in ["--nofile=12", "--nofile=16"] {
        let run = launch(&["prlimit", limit], line, |_| {});
        assert_eq!(run.code, Some(1), "{limit}: {}", run.told);
        assert!(run.told.contains("ulimit -n"), "{limit}: {}", run.told);
    }
}
