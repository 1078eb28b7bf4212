// SPDX-License-Identifier: MPL-2.0
//! Libraries and models come from an explicit path, the environment, beside the plugin or the
//! system; never from the current directory, where a stranger's files may lie.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of the built plugin.
fn built() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let directory = own.parent()?.parent()?.to_path_buf();
    if directory.join("libgstmvp.so").exists() {
        return Some(directory);
    }
    println!("SKIPPED lookup: no libgstmvp.so; run cargo build first");
    None
}

/// Runs `gst-launch-1.0` in `here`, with an environment that names no library and no model.
fn launch(here: &Path, plugin: &Path, line: &str, with: &[(&str, &str)]) -> Option<Output> {
    let mut command = Command::new("timeout");
    command
        .args(["60", "gst-launch-1.0", "--no-fault"])
        .args(line.split_whitespace())
        .current_dir(here)
        .env("GST_PLUGIN_PATH", plugin)
        .env("GST_REGISTRY", here.join("registry.bin"));
    for name in [
        "ORT_DYLIB_PATH",
        "LSL_LIBRARY",
        "PYLSL_LIB",
        "LD_LIBRARY_PATH",
        "GSTMVP_MODELS",
        "G_DEBUG",
    ] {
        command.env_remove(name);
    }
    command.envs(with.iter().copied());
    match command.output() {
        Ok(output) => Some(output),
        Err(e) => {
            println!("SKIPPED lookup: timeout gst-launch-1.0: {e}");
            None
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Libraries of the names that are looked for, which leave a mark where they are loaded.
fn canaries(here: &Path) -> bool {
    let source = here.join("canary.c");
    let code = "#include <stdio.h>\n__attribute__((constructor)) static void sing(void) {\n\
                FILE *f = fopen(\"loaded\", \"a\"); if (f) fclose(f); }\n";
    std::fs::write(&source, code).expect("write");
    let library = here.join("liblsl.so");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    if !made.is_ok_and(|s| s.success()) {
        println!("SKIPPED lookup: no C compiler");
        return false;
    }
    for name in [
        "liblsl.so.2",
        "libonnxruntime.so",
        "libonnxruntime.so.1.31.1",
        "libonnxruntime.so.1",
    ] {
        std::fs::copy(&library, here.join(name)).expect("copy");
    }
    true
}

const FUSION: &str = "videotestsrc num-buffers=3 ! video/x-raw,width=64,height=64 \
                      ! facetrack execution-provider=cpu ! mvpfusion execution-provider=cpu \
                      ! fakesink";

#[test]
fn no_library_is_taken_from_the_current_directory() {
    let Some(plugin) = built() else { return };
    let here = tempfile::tempdir().expect("a directory");
    if !canaries(here.path()) {
        return;
    }
    let mark = here.path().join("loaded");
    for line in [
        FUSION,
        "lslsrc stream-name=nobody resolve-timeout=200000000 ! fakesink",
        "videotestsrc num-buffers=1 ! emotionserialize ! lslsink stream-name=nobody",
    ] {
        let Some(output) = launch(here.path(), &plugin, line, &[]) else {
            return;
        };
        let told = text(&output);
        assert!(!mark.exists(), "{line} loaded a library from here: {told}");
        assert_ne!(output.status.code(), Some(124), "{line} hangs: {told}");
    }
    // The mark is made where one is loaded: by its path.
    let named = here.path().join("liblsl.so");
    let line = "lslsrc stream-name=nobody resolve-timeout=200000000 ! fakesink";
    let named = [("LSL_LIBRARY", named.to_str().expect("UTF-8"))];
    let _ = launch(here.path(), &plugin, line, &named);
    assert!(mark.exists(), "the canary does not sing");
}

#[test]
fn no_model_is_taken_from_the_current_directory() {
    let Some(plugin) = built() else { return };
    let Some(library) = std::env::var_os("ORT_DYLIB_PATH") else {
        println!("SKIPPED no_model_is_taken_from_the_current_directory: no ORT_DYLIB_PATH");
        return;
    };
    let library = library.to_str().expect("UTF-8");
    let here = tempfile::tempdir().expect("a directory");
    for (directory, file) in [
        ("models/default", "mvp.toml"),
        ("models/face", "face_detector.onnx"),
        ("default", "mvp.toml"),
        ("face", "face_detector.onnx"),
    ] {
        let directory = here.path().join(directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join(file), "a stranger's").expect("write");
    }
    let with = [("ORT_DYLIB_PATH", library)];
    let Some(output) = launch(here.path(), &plugin, FUSION, &with) else {
        return;
    };
    // Those of the source tree are found from where the plugin lies.
    assert!(root().join("models/default/mvp.toml").is_file());
    assert!(output.status.success(), "{}", text(&output));
    // They are used where they are named.
    for (element, property) in [
        ("facetrack", "models/face"),
        ("mvpfusion", "models/default"),
    ] {
        let line = FUSION.replace(element, &format!("{element} model={property}"));
        let output = launch(here.path(), &plugin, &line, &with).expect("ran before");
        let told = text(&output);
        assert!(
            !output.status.success() && told.contains(property),
            "{told}"
        );
    }
}
