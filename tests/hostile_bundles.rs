// SPDX-License-Identifier: MPL-2.0
//! Spoiled bundles through `mvpfusion`: manifests, graphs and what lies beside them.
//! `scripts/hostile.sh` runs more of them.

mod fusion_support;
mod hostile_support;
#[path = "xdf_support/spoil.rs"]
mod spoil;
mod xdf_support;

use fusion_support::{SECOND, face, feed, fixture, heart, ready, skin};
use gst::prelude::*;
use hostile_support::memory::process;
use hostile_support::{random, rounds};
use std::path::Path;
use std::time::{Duration, Instant};

/// Each is loaded and, if it loads, answers four times.
const BUNDLES: usize = 240;

const LINE: &str = "videotestsrc name=video num-buffers=50 \
     ! video/x-raw,width=64,height=48,framerate=10/1 \
     ! mvpfusion name=f execution-provider=cpu load-timeout=5000000000 run-timeout=2000000000 \
     ! fakesink name=sink  appsrc name=ecg ! f.ecg  appsrc name=eda ! f.eda";

fn line_of(text: &str, random: &mut impl FnMut(usize) -> usize) -> (usize, usize) {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .filter(|at| *at < text.len())
        .collect();
    let from = starts[random(starts.len())];
    let to = text[from..].find('\n').map_or(text.len(), |n| from + n + 1);
    (from, to)
}

/// Where the values of a manifest are: what stands between separators.
fn values(text: &str) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut from = None;
    for (at, c) in text.char_indices() {
        let of_value = !c.is_whitespace() && !"=,[]{}#".contains(c);
        match (from, of_value) {
            (None, true) => from = Some(at),
            (Some(start), false) => {
                all.push((start, at));
                from = None;
            }
            _ => {}
        }
    }
    all
}

fn spoil_manifest(text: &str, random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    const ODD: [&str; 24] = [
        "0",
        "-1",
        "1",
        "1e-10",
        "1e308",
        "-0.0",
        "nan",
        "inf",
        "-inf",
        "9223372036854775807",
        "99999999999999999999",
        "0.1",
        "3.3",
        "\"\"",
        "\"\\u0000\"",
        "\"a\\u0000b\"",
        "\"../x\"",
        "\"/dev/zero\"",
        "\"\\n\"",
        "\"\u{e4}\u{1f600}\"",
        "[]",
        "{}",
        "true",
        "1979-05-27T07:32:00Z",
    ];
    let mut text = text.to_string();
    for _ in 0..1 + random(2) {
        match random(5) {
            0 => {
                let (from, to) = line_of(&text, random);
                text.replace_range(from..to, "");
            }
            1 => {
                let (from, to) = line_of(&text, random);
                let line = text[from..to].to_string();
                text.insert_str(from, &line);
            }
            2 => {
                let all = values(&text);
                let (from, to) = all[random(all.len())];
                text.replace_range(from..to, &format!("\"{}\"", "long ".repeat(2000)));
            }
            _ => {
                let all = values(&text);
                let (from, to) = all[random(all.len())];
                text.replace_range(from..to, ODD[random(ODD.len())]);
            }
        }
    }
    let mut bytes = text.into_bytes();
    if random(4) == 0 {
        spoil::spoil(&mut bytes, random);
    }
    bytes
}

/// Puts another graph into the place of `file`, with its hash.
fn put_graph(bundle: &Path, file: &str, bytes: &[u8]) {
    let old = std::fs::read(bundle.join(file)).expect("a graph");
    std::fs::write(bundle.join(file), bytes).expect("write");
    let manifest = bundle.join("mvp.toml");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let text = text.replace(&onnx::sha256(&old), &onnx::sha256(bytes));
    std::fs::write(manifest, text).expect("write");
}

fn copy(to: &Path) {
    for entry in std::fs::read_dir(fixture()).expect("the fixture") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}

/// Makes a spoiled copy of the fixture; says what was done.
fn spoiled(bundle: &Path, random: &mut impl FnMut(usize) -> usize) -> String {
    const GRAPHS: [&str; 5] = [
        "ecg.onnx",
        "eda.onnx",
        "ppg.onnx",
        "video.onnx",
        "fusion.onnx",
    ];
    let graph = GRAPHS[random(GRAPHS.len())];
    let manifest = bundle.join("mvp.toml");
    match random(12) {
        0..5 => {
            let text = std::fs::read_to_string(&manifest).expect("the manifest");
            std::fs::write(&manifest, spoil_manifest(&text, random)).expect("write");
            "manifest".into()
        }
        5..9 => {
            let mut bytes = std::fs::read(bundle.join(graph)).expect("a graph");
            spoil::spoil(&mut bytes, random);
            put_graph(bundle, graph, &bytes);
            graph.into()
        }
        9 => {
            let other = GRAPHS[random(GRAPHS.len())];
            let bytes = std::fs::read(bundle.join(other)).expect("a graph");
            put_graph(bundle, graph, &bytes);
            format!("{other} as {graph}")
        }
        10 => {
            let names = ["mvp.toml", "MODEL_CARD.md", graph];
            let name = names[random(names.len())];
            let at = bundle.join(name);
            std::fs::remove_file(&at).expect("remove");
            #[cfg(unix)]
            match random(3) {
                0 => {}
                1 => std::os::unix::fs::symlink("/dev/zero", &at).expect("link"),
                _ => std::fs::create_dir(&at).expect("a directory"),
            }
            format!("{name} missing or no file")
        }
        _ => {
            // The names of a graph's inputs and outputs are in its bytes: exchange letters.
            let mut bytes = std::fs::read(bundle.join(graph)).expect("a graph");
            for _ in 0..1 + random(3) {
                let letters: Vec<usize> = (0..bytes.len())
                    .filter(|i| bytes[*i].is_ascii_alphabetic())
                    .collect();
                bytes[letters[random(letters.len())]] = b'a' + random(26) as u8;
            }
            put_graph(bundle, graph, &bytes);
            format!("letters of {graph}")
        }
    }
}

/// Plays a few seconds; answers, warnings, and the error if there was one.
fn play(bundle: &Path) -> (usize, Vec<String>, Option<String>) {
    let pipeline = gst::parse::launch(LINE)
        .expect("a pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
    let f = pipeline.by_name("f").expect("f");
    f.set_property("model", bundle.to_str().expect("UTF-8"));
    face(&pipeline, "video");
    let threads = [
        feed(&pipeline, "ecg", 64, 5, heart),
        feed(&pipeline, "eda", 4, 5, skin),
    ];
    let _ = pipeline.set_state(gst::State::Playing);
    let bus = pipeline.bus().expect("bus");
    let (mut answers, mut warnings, mut error) = (0, Vec::new(), None);
    loop {
        let message = bus
            .timed_pop(gst::ClockTime::from_seconds(60))
            .expect("neither EOS nor an error within a minute");
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(e) => {
                error = Some(e.error().to_string());
                break;
            }
            gst::MessageView::Warning(w) => warnings.push(w.error().to_string()),
            gst::MessageView::Element(e) => {
                answers += usize::from(e.structure().is_some_and(|s| s.name() == "mvp-emotion"));
            }
            _ => {}
        }
    }
    let begun = Instant::now();
    pipeline.set_state(gst::State::Null).expect("null");
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    for thread in threads {
        thread.join().expect("the feed");
    }
    (answers, warnings, error)
}

#[test]
fn a_spoiled_bundle_is_refused_clearly_or_works() {
    if !ready("a_spoiled_bundle_is_refused_clearly_or_works") {
        return;
    }
    assert_eq!(SECOND, 1_000_000_000);
    let rounds = rounds("GSTMVP_HOSTILE_BUNDLES", BUNDLES);
    let mut random = random();
    let (mut worked, mut refused, mut longest) = (0, 0, Duration::ZERO);
    let mut before = (0, 0);
    for round in 0..rounds {
        if round == rounds / 5 {
            before = process();
        }
        let dir = tempfile::tempdir().expect("a directory");
        copy(dir.path());
        let what = spoiled(dir.path(), &mut random);
        if std::env::var_os("GSTMVP_HOSTILE_TELL").is_some() {
            eprintln!("round {round}: {what} in {}", dir.path().display());
        }
        let begun = Instant::now();
        let told = std::panic::catch_unwind(|| play(dir.path()));
        let (answers, warnings, error) = told.unwrap_or_else(|panic| {
            eprintln!(
                "round {round}: {what}; the bundle is {}",
                dir.keep().display()
            );
            std::panic::resume_unwind(panic);
        });
        longest = longest.max(begun.elapsed());
        for text in warnings.iter().chain(&error) {
            assert!(
                !text.to_lowercase().contains("panic"),
                "round {round}, {what}: {text}"
            );
            assert!(
                text.len() < 4000,
                "round {round}, {what}: {} bytes",
                text.len()
            );
        }
        match error {
            Some(e) => {
                // It names the file, and says more than that something failed.
                assert!(
                    e.contains(".toml")
                        || e.contains(".onnx")
                        || e.contains(".md")
                        || e.contains("bundle"),
                    "round {round}, {what}: {e}"
                );
                refused += 1;
            }
            None => {
                assert!(
                    answers > 0 || !warnings.is_empty(),
                    "round {round}, {what}: no answer, and no word"
                );
                worked += 1;
            }
        }
    }
    let after = process();
    println!(
        "{rounds} bundles: {refused} refused, {worked} worked; {longest:?} at most; \
         RSS {} -> {} kB, threads {} -> {}",
        before.0, after.0, before.1, after.1
    );
    assert!(
        refused > rounds / 3 && worked > rounds / 20,
        "{refused} and {worked}"
    );
    assert!(
        after.0 - before.0 < 60_000,
        "RSS {} -> {} kB",
        before.0,
        after.0
    );
    assert!(
        after.1 - before.1 < 4,
        "threads {} -> {}",
        before.1,
        after.1
    );
}
