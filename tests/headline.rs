// SPDX-License-Identifier: MPL-2.0
//! What a newcomer types: real `gst-launch-1.0` and `gst-inspect-1.0` lines, with the
//! plugin as it is built, in processes of their own.

mod lsl_support;

use conditioning::NormalisationSpec;
use lsl::NewStream;
use mvp::Bundle;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use stream_info::Format;

/// The built plugin alone in a directory, and a registry of its own.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new(test: &str) -> Option<Self> {
        let own = std::env::current_exe().ok()?;
        let built = own.parent()?.join("libgstmvp.so");
        if !built.is_file() {
            eprintln!("SKIPPED {test}: {} is not built", built.display());
            return None;
        }
        let directory = tempfile::tempdir().expect("directory");
        std::fs::copy(built, directory.path().join("libgstmvp.so")).expect("copy");
        Some(Self { directory })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("GST_PLUGIN_PATH", self.directory.path())
            .env(
                "GSTMVP_MODELS",
                concat!(env!("CARGO_MANIFEST_DIR"), "/models"),
            )
            .env("GST_REGISTRY", self.directory.path().join("registry.bin"))
            .env("G_DEBUG", "fatal-criticals");
        command
    }

    fn launch(&self, line: &str) -> Output {
        // Split as a shell would: none of the lines here quotes anything.
        self.command("gst-launch-1.0")
            .args(line.split_whitespace())
            .output()
            .expect("gst-launch-1.0")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn has_runtime(test: &str) -> bool {
    match onnx::Runtime::load(None) {
        Ok(_) => true,
        Err(e) => {
            eprintln!("SKIPPED {test}: {e}");
            false
        }
    }
}

/// The bundle that the lines below use: trained, or the fixture in its place.
fn shipped() -> Bundle {
    Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default")).expect("shipped")
}

/// As GstStructure writes a string: whole if it is a plain word, else in quotes, with
/// all but letters, digits and a few signs escaped.
fn escaped(text: &str) -> String {
    gst::init().expect("gst");
    let structure = gst::Structure::builder("s").field("t", text).build();
    let written = structure.to_string();
    let value = written.split("t=(string)").nth(1).expect("the field");
    value.trim_end_matches(';').to_string()
}

/// EDA and ECG on the hermetic network until dropped.
struct Body {
    stop: std::sync::Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Body {
    fn new(library: &'static lsl::Library) -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let threads = [("EDA", 4.0, 1u64, "uS"), ("ECG", 256.0, 16, "mV")]
            .map(|(name, rate, packet, unit)| {
                let outlet = lsl_support::outlet(
                    library,
                    &NewStream {
                        name,
                        stream_type: name,
                        source_id: name,
                        channels: 1,
                        rate,
                        format: Format::F32,
                        labels: &[name],
                        units: &[unit],
                        offset_mean: None,
                        first_frame_time: None,
                    },
                );
                let stop = stop.clone();
                std::thread::spawn(move || {
                    let t0 = library.local_clock();
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        outlet.play(t0, sent, sent + packet, packet, |n, _| {
                            5.0 + (n as f32 * 0.3).sin()
                        });
                        sent += packet;
                    }
                })
            })
            .into();
        Self { stop, threads }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The line at the head of the README, with a test picture for the camera and the screen.
const HEADLINE: &str = "videotestsrc is-live=true num-buffers=180 ! video/x-raw,width=320,height=240,framerate=30/1 \
     ! videoconvert ! facetrack ! fusion. \
     lslsrc stream-type=EDA ! fusion.eda   lslsrc stream-type=ECG ! fusion.ecg \
     mvpfusion name=fusion model=models/default ! emotionoverlay ! videoconvert ! fakesink";

#[test]
fn the_headline_runs_and_leaks_nothing() {
    let test = "the_headline_runs_and_leaks_nothing";
    let Some(library) = lsl_support::hermetic() else {
        return;
    };
    let (Some(home), true) = (Home::new(test), has_runtime(test)) else {
        return;
    };
    let _body = Body::new(library);
    let mut command = home.command("gst-launch-1.0");
    command.args(["-m"]).args(HEADLINE.split_whitespace());
    command
        .env("GST_TRACERS", "leaks")
        .env("GST_DEBUG", "GST_TRACER:7");
    let output = command.output().expect("gst-launch-1.0");
    let said = said(&output);
    let tail = || said.lines().rev().take(25).collect::<Vec<_>>().join("\n");
    assert!(output.status.success(), "{}", tail());
    let results: Vec<_> = said
        .lines()
        .filter(|l| l.contains("mvp-emotion,"))
        .collect();
    assert!(
        (4..=6).contains(&results.len()),
        "{} results: {}",
        results.len(),
        tail()
    );
    let last = results.last().expect("results");
    let shipped = shipped();
    let title = format!("model=(string){}", escaped(&shipped.title()));
    assert!(
        last.contains(&title) && last.contains("provider=(string)cpu"),
        "{title}: {last}"
    );
    for spec in shipped
        .signals()
        .iter()
        .filter(|s| ["eda", "ecg"].contains(&s.name.as_str()))
    {
        let share = |kind: &str| -> f64 {
            let field = format!("{kind}-{}=(double)", spec.name);
            let value = last.split(&field).nth(1);
            let value = value.and_then(|v| v.split([',', ';']).next());
            value.and_then(|v| v.parse().ok()).expect("a share")
        };
        // The sender's ECG is a sine, and quality says so.
        assert!(
            share("quality") > 0.9 || spec.name == "ecg",
            "{}: {last}",
            spec.name
        );
        // Seconds of sixty, less the search for the stream and the warm-up.
        let warm_up = match spec.normalisation {
            NormalisationSpec::Running { warm_up, .. } => warm_up,
            _ => 0.0,
        };
        assert!(
            share("coverage") > 0.005 || warm_up > 4.0,
            "{}: {last}",
            spec.name
        );
    }
    assert_eq!(said.matches("lsl-connected").count(), 2, "{}", tail());
    assert!(
        said.contains("object-alive.class"),
        "the leaks tracer was not at work"
    );
    let leaks: Vec<_> = said
        .lines()
        .filter(|l| l.contains("object-alive, ") && !l.contains("new format string"))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[test]
fn two_runs_write_the_same_bytes() {
    let test = "two_runs_write_the_same_bytes";
    let (Some(home), true) = (Home::new(test), has_runtime(test)) else {
        return;
    };
    let body = home.directory.path().join("ecg.f32");
    let samples =
        (0..256 * 20).map(|i| ((i as f32) * 0.029).sin() + 0.3 * ((i as f32) * 0.4).cos());
    let bytes: Vec<u8> = samples.flat_map(f32::to_le_bytes).collect();
    std::fs::write(&body, bytes).expect("write");
    let clip = std::env::var("GSTMVP_MEDIA")
        .map(|m| Path::new(&m).join("single_face.mp4"))
        .ok()
        .filter(|p| p.is_file());
    let film = match clip {
        Some(clip) => format!(
            "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 max-threads=1 ! videoconvert",
            clip.display()
        ),
        None => {
            eprintln!("SKIPPED {test}: the face of it (no single_face.mp4 in GSTMVP_MEDIA)");
            "videotestsrc num-buffers=300 ! video/x-raw,width=320,height=240,framerate=30/1".into()
        }
    };
    let run = |name: &str| -> Vec<u8> {
        let file = home.directory.path().join(name);
        let line = format!(
            "{film} ! facetrack ! f. filesrc location={} \
             ! rawaudioparse format=pcm pcm-format=f32le sample-rate=256 num-channels=1 ! f.ecg \
             mvpfusion name=f model=models/default execution-provider=cpu \
             ! emotionserialize every=frame ! filesink location={}",
            body.display(),
            file.display()
        );
        let output = home.launch(&line);
        assert!(output.status.success(), "{}", said(&output));
        std::fs::read(file).expect("results")
    };
    let (one, two) = (run("one.jsonl"), run("two.jsonl"));
    let lines = one.iter().filter(|b| **b == b'\n').count();
    assert!(lines > 60, "{lines} lines");
    let text = String::from_utf8(one.clone()).expect("UTF-8");
    let model = format!("\"model\":\"{}\"", shipped().title());
    assert!(
        text.contains("\"valence\"") && text.contains(&model),
        "{model}: {text:.400}"
    );
    assert!(one == two, "the files differ");
}

#[test]
fn gst_inspect_tells_everything_without_the_libraries() {
    let test = "gst_inspect_tells_everything_without_the_libraries";
    let Some(home) = Home::new(test) else { return };
    let inspect = |what: &str| {
        let output = home
            .command("gst-inspect-1.0")
            .arg(what)
            .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
            .env("LSL_LIBRARY", "/nowhere/liblsl.so")
            .env("PYLSL_LIB", "/nowhere/liblsl.so")
            .output()
            .expect("gst-inspect-1.0");
        let said = said(&output);
        assert!(output.status.success(), "{what}: {said}");
        said
    };
    let plugin = inspect("mvp");
    for (element, wants) in [
        (
            "lslsrc",
            "stream-name stream-type source-id predicate channels resolve-timeout data-timeout on-lost \
             chunk-duration timestamp-source dejitter device-delay lsl-library stats \
             application/x-lsl audio/x-raw text/x-raw",
        ),
        (
            "facetrack",
            "model rate min-confidence max-faces execution-provider stats NV12 GRAY8",
        ),
        (
            "mvpfusion",
            "model execution-provider tensorrt cuda device-id engine-cache-dir ort-library hop sync \
             wait-for-model active-provider stats 'ecg' 'eda' 'ppg' 'physio_%s' video/x-raw(ANY)",
        ),
        (
            "emotionoverlay",
            "show position font-desc max-age min-confidence",
        ),
        (
            "lslsink",
            "stream-name stream-type source-id channel-labels units lsl-library stats \
             application/x-lsl audio/x-raw text/x-raw",
        ),
        (
            "emotionserialize",
            "every application/x-json application/x-lsl",
        ),
    ] {
        assert!(plugin.contains(element), "{plugin}");
        let page = inspect(element);
        for want in wants.split_whitespace() {
            assert!(page.contains(want), "{element}: '{want}' is not in: {page}");
        }
    }
}

/// The fixtures are what their generator makes.
#[test]
fn the_fixture_is_what_its_generator_makes() {
    let test = "the_fixture_is_what_its_generator_makes";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("GSTMVP_PYTHON")
        .map_or_else(|| root.join("target/venv/bin/python"), PathBuf::from);
    let works = |code: &str| {
        Command::new(&python)
            .args(["-c", code])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !works("import numpy, onnx") {
        eprintln!("SKIPPED {test}: {} has no numpy and onnx", python.display());
        return;
    }
    for (bundle, options) in [("fixture", &[][..]), ("fixture-lanes", &["--lanes"])] {
        let made = tempfile::tempdir().expect("directory");
        let status = Command::new(&python)
            .arg(root.join("training/fixture.py"))
            .arg(made.path())
            .args(options)
            .status()
            .expect("python");
        assert!(status.success());
        let names = |directory: &Path| -> BTreeSet<_> {
            let entries = std::fs::read_dir(directory).expect("a bundle");
            entries.map(|e| e.expect("entry").file_name()).collect()
        };
        let kept = root.join("models").join(bundle);
        assert_eq!(names(made.path()), names(&kept), "{bundle}");
        for name in names(made.path()) {
            let fresh = std::fs::read(made.path().join(&name)).expect("fresh");
            let kept = std::fs::read(kept.join(&name)).expect("kept");
            assert!(kept == fresh, "{bundle}: {} differs", name.display());
        }
    }
}
