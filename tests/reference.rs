// SPDX-License-Identifier: MPL-2.0
//! docs/reference.md against the plugin: what running elements post, attach and count is in
//! the page, and nothing is in the page that the code does not have.

mod lsl_support;

use gst::prelude::*;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};
use stream_info::Format;

const PAGE: &str = include_str!("../docs/reference.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines under `heading`, without those of its subheadings.
fn section(heading: &str) -> Vec<&'static str> {
    let lines = PAGE
        .lines()
        .skip_while(|l| !(l.starts_with('#') && l.trim_start_matches('#').trim() == heading));
    let lines: Vec<_> = lines.skip(1).take_while(|l| !l.starts_with('#')).collect();
    assert!(
        !lines.is_empty(),
        "docs/reference.md has no section {heading}"
    );
    lines
}

/// The fields in the first column of the table under `heading`, such as `coverage-<modality>`.
fn fields(heading: &str) -> Vec<&'static str> {
    let cell = |l: &&'static str| l.strip_prefix("| `")?.split('`').next();
    let found: Vec<_> = section(heading).iter().filter_map(cell).collect();
    assert!(!found.is_empty(), "{heading} has no table of fields");
    found
}

fn is_described(field: &str, described: &[&str]) -> bool {
    described.iter().any(|d| match d.split_once('<') {
        // `<unit>` alone stands for any name and is compared by who reads the section.
        Some((prefix, _)) => !prefix.is_empty() && field.starts_with(prefix),
        None => *d == field,
    })
}

#[track_caller]
fn all_described<'a>(found: impl IntoIterator<Item = &'a str>, heading: &str) {
    let described = fields(heading);
    let missing: Vec<_> = found
        .into_iter()
        .filter(|f| !is_described(f, &described))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/reference.md, section {heading}, does not describe {missing:?}"
    );
}

fn names(structure: &gst::StructureRef) -> Vec<&str> {
    structure.fields().map(|f| f.as_str()).collect()
}

fn stats(element: &gst::Element) -> gst::Structure {
    element.property("stats")
}

/// What is compiled into the plugin's elements, without their tests.
fn sources() -> String {
    fn gather(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                gather(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                *into += text.split("#[cfg(test)]\nmod tests").next().expect("one");
            }
        }
    }
    let mut all = String::new();
    for folder in ["src", "crates/gst-lsl/src", "crates/gst-common/src"] {
        gather(&root().join(folder), &mut all);
    }
    all
}

#[test]
fn elements_pads_and_properties_are_current() {
    let test = "elements_pads_and_properties_are_current";
    let given = std::env::var_os("GSTMVP_PYTHON").map(PathBuf::from);
    let candidates = given.into_iter().chain([
        root().join("target/venv/bin/python"),
        PathBuf::from("/usr/bin/python3"),
    ]);
    let bindings = "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst";
    let python = candidates.into_iter().find(|python| {
        let run = Command::new(python).args(["-c", bindings]).output();
        run.is_ok_and(|o| o.status.success())
    });
    let Some(python) = python else {
        println!(
            "SKIPPED {test}: no Python with GStreamer's bindings (python3-gi, gir1.2-gstreamer-1.0)"
        );
        return;
    };
    let exe = std::env::current_exe().expect("own path");
    let out = Command::new(python)
        .arg(root().join("scripts/reference.py"))
        .arg("--plugin")
        .arg(exe.with_file_name("libgstmvp.so"))
        .arg("--check")
        .output()
        .expect("Python runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Each element with `stats` has a section, and each field at rest is in it.
#[test]
fn statistics_at_rest_are_described() {
    lsl_support::init();
    for (element, least) in [
        ("lslsrc", 8),
        ("lslsink", 4),
        ("facetrack", 5),
        ("mvpfusion", 5),
    ] {
        let made = gst::ElementFactory::make(element).build().expect(element);
        let stats = stats(&made);
        assert!(stats.n_fields() >= least, "{stats}");
        all_described(names(&stats), &format!("`stats` of `{element}`"));
    }
    // An element that gets statistics gets a section.
    let registry = gst::Registry::get();
    for feature in registry.features_by_plugin("mvp") {
        let name = feature.name();
        let element = gst::ElementFactory::make(&name).build();
        if element.is_ok_and(|e| e.has_property("stats")) {
            section(&format!("`stats` of `{name}`"));
        }
    }
}

/// Nothing is promised that the code has not.
#[test]
fn what_is_described_is_in_the_code() {
    let code = sources();
    let mut missing = Vec::new();
    for heading in [
        "`stats` of `lslsrc`",
        "`stats` of `lslsink`",
        "`stats` of `facetrack`",
        "`stats` of `mvpfusion`",
        "The structure of a pad in `stats` of `mvpfusion`",
        "`lsl-connected`, `lsl-found-no-data`, `lsl-lost`, `lsl-recovered`, `lsl-clock-reset`",
        "`GstEmotionMeta`",
        "`GstFaceUnitsMeta`",
        "`GstPhysioMeta`",
        "`GstPhysioTraceMeta`",
        "`mvp-signal`",
        "Streams of features and events",
        "JSON lines",
    ] {
        for field in fields(heading) {
            // In the code the part that varies follows a literal or a placeholder.
            let literal = match field.split_once('<') {
                Some(("", _)) => continue,
                Some((prefix, _)) => code.contains(&format!("\"{prefix}")),
                None => code.contains(&format!("\"{field}\"")),
            };
            if !literal {
                missing.push(format!("{heading}: {field}"));
            }
        }
    }
    let messages = PAGE.split("\n## Bus messages").nth(1).expect("messages");
    let messages = messages.split("\n## ").next().expect("section");
    for heading in messages.lines().filter(|l| l.starts_with("### ")) {
        for name in heading.split('`').skip(1).step_by(2) {
            if !code.contains(&format!("\"{name}\"")) {
                missing.push(format!("message {name}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "docs/reference.md describes what is not there: {missing:#?}"
    );
}

/// Names with our prefixes in the code, such as those of messages, are in the page.
#[test]
fn names_in_the_code_are_described() {
    // Names of threads and the like, which no program sees.
    let internal = ["lsl-devices"];
    let code = sources();
    let mut missing = BTreeSet::new();
    for literal in code.split('"').skip(1) {
        let ours = ["lsl-", "mvp-", "xdf-", "lsl/"]
            .iter()
            .any(|p| literal.starts_with(p));
        let name = literal
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'/');
        if ours && name && !internal.contains(&literal) && !PAGE.contains(&format!("`{literal}")) {
            // The code between two literals is found too; it never looks like a name.
            missing.insert(literal);
        }
    }
    assert!(
        missing.is_empty(),
        "docs/reference.md does not have {missing:?}"
    );
}

/// A face and a signal, from files, through every element of the emotion plugin.
#[test]
fn what_a_run_posts_and_attaches_is_described() {
    let test = "what_a_run_posts_and_attaches_is_described";
    lsl_support::init();
    match onnx::Runtime::load(None) {
        Ok(_) => {}
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            println!("SKIPPED {test}: {e}");
            return;
        }
        Err(e) => panic!("{e}"),
    }
    let line = format!(
        "filesrc location={0}/tests/data/face_portrait.jpg ! jpegdec ! videoconvert \
         ! imagefreeze num-buffers=4 ! video/x-raw,framerate=1/2 \
         ! facetrack name=track model={0}/models/face rate=0/1 sync=wait execution-provider=cpu ! fusion. \
         audiotestsrc num-buffers=80 samplesperbuffer=4 ! audio/x-raw,format=F32LE,rate=32,channels=1 ! fusion.eda \
         mvpfusion name=fusion model={0}/models/fixture sync=wait execution-provider=cpu ! tee name=t \
         t. ! queue ! appsink name=frames sync=false wait-on-eos=false \
         t. ! queue ! emotionserialize every=frame face-units=true ! appsink name=lines sync=false wait-on-eos=false",
        root().display()
    );
    let pipeline = gst::parse::launch(&line).expect("a pipeline");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    pipeline.set_state(gst::State::Playing).expect("plays");
    let bus = pipeline.bus().expect("bus");
    let mut messages = Vec::new();
    loop {
        use gst::MessageView;
        let message = bus
            .timed_pop(gst::ClockTime::from_seconds(120))
            .expect("neither EOS nor an error");
        match message.view() {
            MessageView::Eos(_) => break,
            MessageView::Error(e) => panic!("{e:?}"),
            MessageView::Element(e) => messages.extend(e.structure().map(ToOwned::to_owned)),
            _ => {}
        }
    }
    assert!(!messages.is_empty());
    for message in &messages {
        let section = match message.name().as_str() {
            "mvp-emotion" => "`GstEmotionMeta`",
            "mvp-signal" => "`mvp-signal`",
            _ => panic!("in no section: {message}"),
        };
        all_described(names(message), section);
    }

    let element = |name: &str| pipeline.by_name(name).expect("element");
    let mut kinds = BTreeSet::new();
    for buffer in samples(&element("frames")) {
        for meta in buffer.iter_meta::<gst::Meta>() {
            let Some(custom) = meta.try_as_custom_meta() else {
                continue;
            };
            let structure = custom.structure();
            let name = structure.name().to_string();
            let heading = format!("`{name}`");
            let found = names(structure).into_iter();
            if name == "GstFaceUnitsMeta" {
                // The units are doubles of any name but those of the table.
                let others =
                    found.filter(|f| structure.get::<f64>(*f).is_err() || *f == "confidence");
                all_described(others, &heading);
                let units = structure
                    .fields()
                    .filter(|f| structure.get::<f64>(f.as_str()).is_ok());
                assert_eq!(
                    units.count(),
                    53,
                    "52 units and the confidence: {structure}"
                );
            } else {
                all_described(found, &heading);
            }
            kinds.insert(name);
        }
    }
    assert_eq!(kinds.len(), 4, "{kinds:?}");

    let lines = samples(&element("lines"));
    assert!(!lines.is_empty());
    for line in lines {
        let map = line.map_readable().expect("readable");
        let line: serde_json::Value = serde_json::from_slice(&map).expect("JSON");
        let of_result = fields("`GstEmotionMeta`");
        let of_body = fields("`GstPhysioMeta`");
        let own = line.as_object().expect("object").keys();
        let own = own
            .map(String::as_str)
            .filter(|k| !is_described(k, &of_result) && !is_described(k, &of_body));
        all_described(own, "JSON lines");
    }

    all_described(names(&stats(&element("track"))), "`stats` of `facetrack`");
    let of_fusion = stats(&element("fusion"));
    let (pads, others): (Vec<_>, Vec<_>) = names(&of_fusion)
        .into_iter()
        .partition(|f| of_fusion.get::<gst::Structure>(*f).is_ok());
    all_described(others, "`stats` of `mvpfusion`");
    assert_eq!(pads, ["eda"]);
    let pad = of_fusion.get::<gst::Structure>("eda").expect("a pad");
    all_described(
        names(&pad),
        "The structure of a pad in `stats` of `mvpfusion`",
    );
    pipeline.set_state(gst::State::Null).expect("stops");
}

fn samples(sink: &gst::Element) -> Vec<gst::Buffer> {
    let pull = || {
        let timeout = gst::ClockTime::from_mseconds(100);
        sink.emit_by_name::<Option<gst::Sample>>("try-pull-sample", &[&timeout])
    };
    std::iter::from_fn(pull)
        .filter_map(|s| s.buffer_owned())
        .collect()
}

/// A real stream that comes and goes.
#[test]
fn what_lslsrc_posts_and_counts_is_described() {
    let Some(library) = lsl_support::hermetic() else {
        return;
    };
    let new = lsl_support::stream("reference", 100.0, Format::F32);
    let line = lsl_support::Line::new("stream-name=reference data-timeout=1000000000");
    line.play();
    let outlet = lsl_support::outlet(library, &new);
    outlet.wait();
    let start = outlet.now();
    outlet.play(start, 0, 300, 4, |n, _| n as f32);
    let counted = stats(&line.src);
    assert!(counted.n_fields() > 11, "{counted}");
    all_described(names(&counted), "`stats` of `lslsrc`");
    drop(outlet);
    line.until("the loss", |l| !l.elements("lsl-lost").is_empty());
    let heading =
        "`lsl-connected`, `lsl-found-no-data`, `lsl-lost`, `lsl-recovered`, `lsl-clock-reset`";
    let mut seen = 0;
    for message in line.messages() {
        if let gst::MessageView::Element(e) = message.view()
            && let Some(structure) = e.structure()
        {
            let name = structure.name().to_string();
            assert!(
                heading.contains(&format!("`{name}`")),
                "in no section: {structure}"
            );
            all_described(names(structure), heading);
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen} messages");
    line.stop();
}
