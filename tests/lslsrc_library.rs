// SPDX-License-Identifier: MPL-2.0
//! Which liblsl is used, and what is said when there is none. Each case needs a process
//! of its own, since the first library loaded stays: the tests start this binary again.

mod lsl_support;

use gst::prelude::*;
use lsl_support::{init, skip};
use std::{path::PathBuf, process::Command};

const CASE: &str = "GSTMVP_TEST_CASE";

/// Runs the ignored test `case` in a process without any word about liblsl.
fn again(case: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command
        .args(["--ignored", "--exact", case, "--nocapture"])
        .env(CASE, "1")
        .env_remove("LSL_LIBRARY")
        .env_remove("PYLSL_LIB")
        .env_remove("LD_LIBRARY_PATH");
    for (key, value) in environment {
        command.env(key, value);
    }
    let out = command.output().expect("own binary");
    let text =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{case}: {text}");
    text
}

/// The liblsl that other tests use.
fn known() -> Option<String> {
    let path = lsl::ENV_VARS
        .iter()
        .find_map(|v| std::env::var(v).ok())
        .filter(|p| PathBuf::from(p).exists());
    if path.is_none() {
        skip("no liblsl named in $LSL_LIBRARY or $PYLSL_LIB");
    }
    path
}

fn system_has_one() -> bool {
    if cfg!(feature = "lsl-bundled") {
        skip("liblsl is linked in");
        return true;
    }
    // SAFETY: liblsl's initialisers have no preconditions.
    let loads = |name| unsafe { libloading::Library::new(name) }.is_ok();
    let found = loads("liblsl.so.2") || loads("liblsl.so");
    if found {
        skip("the system has a liblsl");
    }
    found
}

/// Starts a lslsrc and returns its error.
fn start(properties: &str) -> Result<gst::Element, String> {
    start_element(&format!("lslsrc {properties}"))
}

fn start_element(description: &str) -> Result<gst::Element, String> {
    init();
    let src = gst::parse::launch(description).expect("element");
    let bus = gst::Bus::new();
    src.set_bus(Some(&bus));
    let result = src.set_state(gst::State::Paused);
    let mut error = None;
    for m in bus.iter() {
        match m.view() {
            // The base class adds one of its own behind ours.
            gst::MessageView::Error(e) => {
                error.get_or_insert_with(|| e.error().to_string());
            }
            gst::MessageView::Warning(w) => println!("WARNING {}", w.error()),
            _ => (),
        }
    }
    match (result, error) {
        (Ok(_), None) => Ok(src),
        (Err(_), Some(error)) => {
            src.set_state(gst::State::Null).expect("null");
            Err(error)
        }
        other => panic!("state change and message disagree: {other:?}"),
    }
}

#[test]
fn without_a_library_the_error_helps() {
    if system_has_one() {
        return;
    }
    let text = again(
        "case_none",
        &[
            ("LSL_LIBRARY", "/nowhere/liblsl.so"),
            ("PYLSL_LIB", "/etc/hostname"),
        ],
    );
    let line = text
        .lines()
        .find(|l| l.starts_with("ERROR "))
        .unwrap_or_else(|| panic!("{text}"));
    for part in [
        "$LSL_LIBRARY: '/nowhere/liblsl.so': ",
        "$PYLSL_LIB: '/etc/hostname': ",
        "'liblsl.so.2': ",
        "'liblsl.so': ",
        "No such file",
        "lsl-library",
        "pip install pylsl",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
#[ignore = "run by without_a_library_the_error_helps"]
fn case_none() {
    println!("ERROR {}", start("").expect_err("no library"));
    let e = start_element("lslsink").expect_err("no library");
    assert!(
        e.contains("lsl-library") && e.contains("pip install pylsl"),
        "{e}"
    );
    // No devices then, and no harm.
    let provider = gst::DeviceProviderFactory::by_name("lsldeviceprovider").expect("registered");
    assert_eq!(provider.devices().len(), 0);
    provider.start().expect("start");
    assert_eq!(provider.devices().len(), 0);
    provider.stop();
}

#[test]
fn a_property_that_is_wrong_is_not_papered_over() {
    let Some(known) = known() else { return };
    let text = again("case_wrong_property", &[("LSL_LIBRARY", &known)]);
    assert!(text.contains("ERROR "), "{text}");
}

#[test]
#[ignore = "run by a_property_that_is_wrong_is_not_papered_over"]
fn case_wrong_property() {
    let e = start("lsl-library=/nowhere/lsl.so").expect_err("no such library");
    assert!(
        e.contains("'/nowhere/lsl.so'") && !e.contains("liblsl.so.2"),
        "{e}"
    );
    // A library, but another one.
    let other = std::fs::read_to_string("/proc/self/maps")
        .expect("maps")
        .lines()
        .filter_map(|l| l.split_whitespace().last())
        .find(|p| p.contains("libgobject-2.0"))
        .expect("gobject")
        .to_string();
    let e = start(&format!("lsl-library={other}")).expect_err("not a liblsl");
    assert!(e.contains("lsl_library_version is missing"), "{e}");
    println!("ERROR {e}");
}

#[test]
fn the_first_library_stays() {
    let Some(known) = known() else { return };
    let text = again("case_conflict", &[("KNOWN", &known)]);
    assert!(
        text.contains("WARNING ") && text.contains("/nowhere/other.so") && text.contains(&known),
        "{text}"
    );
}

#[test]
#[ignore = "run by the_first_library_stays"]
fn case_conflict() {
    let known = std::env::var("KNOWN").expect("path");
    let first = start(&format!("lsl-library={known}")).expect("loads");
    let second = start("lsl-library=/nowhere/other.so").expect("uses the first");
    for src in [first, second] {
        src.set_state(gst::State::Null).expect("null");
    }
}

#[test]
fn inspect_needs_no_library() {
    let Some(plugin) = std::env::current_exe().ok().and_then(|exe| {
        let deps = exe.parent()?;
        [
            deps.join("libgstmvp.so"),
            deps.parent()?.join("libgstmvp.so"),
        ]
        .into_iter()
        .find(|p| p.exists())
    }) else {
        return skip("the plugin was not built as a shared object");
    };
    let dir = tempfile::tempdir().expect("directory");
    let out = Command::new("gst-inspect-1.0")
        .arg(&plugin)
        .env_remove("LSL_LIBRARY")
        .env_remove("PYLSL_LIB")
        .env_remove("ORT_DYLIB_PATH")
        .env("GST_REGISTRY", dir.path().join("registry"))
        .output();
    let Ok(out) = out else {
        return skip("no gst-inspect-1.0");
    };
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
    for feature in ["lslsrc", "lslsink", "lsldeviceprovider"] {
        assert!(text.contains(feature), "{feature} in {text}");
    }
    let out = Command::new("gst-inspect-1.0")
        .arg("lslsrc")
        .env_remove("LSL_LIBRARY")
        .env_remove("PYLSL_LIB")
        .env("GST_PLUGIN_PATH", plugin.parent().expect("directory"))
        .env("GST_REGISTRY", dir.path().join("registry2"))
        .output()
        .expect("gst-inspect");
    let text = String::from_utf8_lossy(&out.stdout);
    for word in [
        "stream-name",
        "stream-type",
        "source-id",
        "predicate",
        "channels",
        "resolve-timeout",
        "data-timeout",
        "on-lost",
        "chunk-duration",
        "timestamp-source",
        "dejitter",
        "device-delay",
        "lsl-library",
        "stats",
        "application/x-lsl",
        "audio/x-raw",
        "text/x-raw",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}
