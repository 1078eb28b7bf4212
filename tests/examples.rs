// SPDX-License-Identifier: MPL-2.0
//! The three example programs, built and run as their users would.

use onnx::Runtime;
use std::{
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether ONNX Runtime is here; says that the test is skipped where not.
fn has_runtime(test: &str) -> bool {
    match Runtime::load(None) {
        Ok(_) => true,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            println!("SKIPPED {test}: {e}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

fn python(test: &str) -> Option<PathBuf> {
    let given = std::env::var_os("GSTMVP_PYTHON").map(PathBuf::from);
    let candidates = given.into_iter().chain([
        root().join("target/venv/bin/python"),
        PathBuf::from("/usr/bin/python3"),
    ]);
    for python in candidates {
        let check = Command::new(&python)
            .args([
                "-c",
                "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst",
            ])
            .output();
        if check.is_ok_and(|o| o.status.success()) {
            return Some(python);
        }
    }
    println!(
        "SKIPPED {test}: no Python with GStreamer's bindings (python3-gi, gir1.2-gstreamer-1.0)"
    );
    None
}

/// A folder with the plugin of this build and a registry of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let exe = std::env::current_exe().expect("own path");
        let built = exe.with_file_name("libgstmvp.so");
        let dir = tempfile::tempdir().expect("folder");
        std::fs::copy(&built, dir.path().join("libgstmvp.so"))
            .unwrap_or_else(|e| panic!("{}: {e}", built.display()));
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(root())
            .env("GST_PLUGIN_PATH", self.path())
            .env("GSTMVP_MODELS", root().join("models"))
            .env("GST_REGISTRY", self.path().join("registry.bin"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The C example, built without any header of ours and without a warning.
    fn c(&self, test: &str) -> Option<Command> {
        let flags = Command::new("pkg-config")
            .args(["--cflags", "--libs", "gstreamer-1.0"])
            .output();
        let flags = match flags {
            Ok(o) if o.status.success() => String::from_utf8(o.stdout).expect("UTF-8"),
            _ => {
                println!(
                    "SKIPPED {test} (C): pkg-config does not know gstreamer-1.0 (libgstreamer1.0-dev)"
                );
                return None;
            }
        };
        let binary = self.path().join("emotion-c");
        let built = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&binary)
            .arg(root().join("examples/c/emotion.c"))
            .args(flags.split_whitespace())
            .output();
        match built {
            Ok(o) if o.status.success() => Some(self.command(binary)),
            Ok(o) => panic!("cc: {}", String::from_utf8_lossy(&o.stderr)),
            Err(e) => {
                println!("SKIPPED {test} (C): cc: {e}");
                None
            }
        }
    }

    /// The Rust example; `cargo test` has built it, a single test target has not.
    fn rust(&self) -> Command {
        let exe = std::env::current_exe().expect("own path");
        let profile = exe.ancestors().nth(2).expect("target folder");
        let example = profile.join("examples/emotion");
        let time = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
        if time(&example) < time(&exe.with_file_name("libgstmvp.so")) {
            let mut build = Command::new(env!("CARGO"));
            build
                .current_dir(root())
                .args(["build", "--example", "emotion"]);
            if profile.ends_with("release") {
                build.arg("--release");
            }
            assert!(
                build.status().expect("cargo").success(),
                "cargo build --example emotion"
            );
        }
        self.command(example)
    }

    fn python(&self, test: &str) -> Option<Command> {
        let mut command = self.command(python(test)?);
        command.arg(root().join("examples/python/emotion.py"));
        Some(command)
    }

    fn all(&self, test: &str) -> Vec<(&'static str, Command)> {
        let mut all = vec![("Rust", self.rust())];
        all.extend(self.c(test).map(|c| ("C", c)));
        all.extend(self.python(test).map(|c| ("Python", c)));
        all
    }
}

/// Ends `child` after a minute, so that a program that hangs is a failure and no more.
fn finish(mut child: Child) -> Output {
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("stdout")));
    let stderr = read(Box::new(child.stderr.take().expect("stderr")));
    let end = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Output {
        status,
        stdout: stdout.join().expect("stdout"),
        stderr: stderr.join().expect("stderr"),
    }
}

fn run(mut command: Command, arguments: &[&str]) -> (Output, String, String) {
    let output = finish(command.args(arguments).spawn().expect("start"));
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).expect("UTF-8");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn the_three_examples_print_the_same_results() {
    const NAME: &str = "the_three_examples_print_the_same_results";
    if !has_runtime(NAME) {
        return;
    }
    let place = Place::new();
    let line = "videotestsrc num-buffers=200 ! video/x-raw,width=64,height=48,framerate=25/1 ! fusion. \
        audiotestsrc samplesperbuffer=64 num-buffers=40 ! audio/x-raw,format=F32LE,rate=256,channels=1 ! fusion.ecg \
        mvpfusion name=fusion execution-provider=cpu model=models/fixture ! fakesink";
    let arguments: Vec<_> = line.split_whitespace().collect();
    let mut outputs = Vec::new();
    for (language, command) in place.all(NAME) {
        let (output, stdout, stderr) = run(command, &arguments);
        assert!(output.status.success(), "{language}: {stderr}");
        assert!(
            stderr.contains("mvp-fixture"),
            "{language}: progress in {stderr}"
        );
        outputs.push((language, stdout));
    }
    let (_, first) = &outputs[0];
    let lines: Vec<_> = first.lines().collect();
    assert!(lines.len() >= 6, "{first}");
    for (n, line) in lines.iter().enumerate() {
        assert!(
            line.starts_with(&format!("#{n} at {}.000 s: ", n + 1)),
            "{line}"
        );
        for field in [
            "valence 0.",
            "arousal 0.",
            "confidence 0.",
            " video 0.000",
            " ecg 0.",
        ] {
            assert!(line.contains(field), "{field} in {line}");
        }
    }
    let last = lines[lines.len() - 1];
    assert!(!last.contains(" ecg 0.000"), "the ECG counts: {last}");
    assert!(
        !last.contains("valence 0.500"),
        "the network answered: {last}"
    );
    for (language, stdout) in &outputs[1..] {
        assert_eq!(stdout, first, "{language} and {}", outputs[0].0);
    }
}

#[test]
fn errors_are_told_and_end_with_status_1() {
    const NAME: &str = "errors_are_told_and_end_with_status_1";
    let place = Place::new();
    let cases: [(&[&str], &str); 5] = [
        (&["videotestsrc", "!", "nosuchelement"], "nosuchelement"),
        (&["videotestsrc", "!", "fakesink"], "mvpfusion"),
        (&["fakesink"], "single element"),
        (
            &[
                "filesrc",
                "location=/no/such/file",
                "!",
                "decodebin",
                "!",
                "mvpfusion",
                "!",
                "fakesink",
            ],
            "/no/such/file",
        ),
        (
            &[
                "videotestsrc",
                "!",
                "mvpfusion",
                "model=/no/such/bundle",
                "!",
                "fakesink",
            ],
            "/no/such/bundle",
        ),
    ];
    for (arguments, word) in cases {
        for (language, command) in place.all(NAME) {
            let (output, stdout, stderr) = run(command, arguments);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{language} {arguments:?}: {stderr}"
            );
            assert!(
                stderr.contains("error") && stderr.contains(word),
                "{language} {arguments:?}: {stderr}"
            );
            assert_eq!(stdout, "", "{language}");
        }
    }
}

#[test]
fn ctrl_c_ends_the_stream_in_order() {
    const NAME: &str = "ctrl_c_ends_the_stream_in_order";
    if !has_runtime(NAME) {
        return;
    }
    let place = Place::new();
    let file = place.path().join("out.jsonl");
    let line = format!(
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=25/1 \
         ! mvpfusion execution-provider=cpu model=models/default ! emotionserialize every=frame \
         ! filesink buffer-mode=unbuffered location={}",
        file.display()
    );
    for (language, mut command) in place.all(NAME) {
        let _ = std::fs::remove_file(&file);
        let child = command
            .args(line.split_whitespace())
            .spawn()
            .expect("start");
        let pid = i32::try_from(child.id()).expect("pid");
        // Frames run when the file grows.
        let end = Instant::now() + Duration::from_secs(30);
        while std::fs::metadata(&file).map_or(0, |m| m.len()) == 0 {
            assert!(Instant::now() < end, "{language}: no frame for 30 s");
            std::thread::sleep(Duration::from_millis(20));
        }
        // SAFETY: a signal to a process that we started and have not yet waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
        let output = finish(child);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{language}: {stderr}");
        assert!(stderr.contains("ending"), "{language}: {stderr}");
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        assert!(text.ends_with("}\n"), "{language}: the last line is whole");
    }
}
