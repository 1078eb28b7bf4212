// SPDX-License-Identifier: MPL-2.0
//! The face graphs of models/face against the originals that scripts/face_models.py made
//! them from: what is faster must still say the same.
//!
//! The originals' answers to some crops of real faces are stored in
//! tests/data/face_graphs.json (the command that made it is inside). Where the originals
//! themselves are there, in the directory that GSTMVP_FACE_ORIGINALS names or in
//! ../shared/models/face, both also analyse every frame of the clips.

use face::{
    Analyzer, Face, FaceModels, ImageView, MODEL_FILES, Networks as _, Options, PixelFormat, Plane,
    YuvToRgb,
};
use gst::prelude::*;
use onnx::{Error, Provider, Runtime, SessionOptions};
use std::path::{Path, PathBuf};

/// Side of a crop.
const SIDE: usize = 256;
/// Pixels of the crop.
const MAX_LANDMARK_DIFFERENCE: f64 = 1e-3;
const MIN_CORRELATION: f64 = 0.9999;
const MAX_BLENDSHAPE_DIFFERENCE: f64 = 1e-3;
const MAX_PRESENCE_DIFFERENCE: f64 = 1e-3;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const NO_ORIGINALS: &str = "GSTMVP_FACE_ORIGINALS names no directory of the original graphs";

fn originals() -> PathBuf {
    std::env::var_os("GSTMVP_FACE_ORIGINALS")
        .map(PathBuf::from)
        .unwrap_or_else(|| root().join("../shared/models/face"))
}

fn skip<T>(test: &str, why: &str) -> Option<T> {
    eprintln!("SKIPPED {test}: {why}");
    None
}

fn setup(test: &str, files: &[&str]) -> Option<(Runtime, PathBuf)> {
    gst::init().expect("gst");
    let runtime = match Runtime::load(None) {
        Ok(runtime) => runtime,
        Err(e @ Error::LibraryNotFound { .. }) => return skip(test, &e.to_string()),
        Err(e) => panic!("{e}"),
    };
    let Some(media) = std::env::var_os("GSTMVP_MEDIA").map(PathBuf::from) else {
        return skip(
            test,
            "GSTMVP_MEDIA names no directory with the test pictures",
        );
    };
    if let Some(missing) = files.iter().find(|f| !media.join(f).is_file()) {
        let missing = media.join(missing);
        return skip(test, &format!("{} is not there", missing.display()));
    }
    Some((runtime, media))
}

fn load(runtime: &Runtime, directory: &Path) -> FaceModels {
    let options = SessionOptions {
        provider: Provider::Cpu,
        ..Default::default()
    };
    FaceModels::load(runtime, directory, options).expect("face models")
}

/// The frames of a file, each without padding, in `format`, which is the file's own.
fn decode(path: &Path, format: &str) -> Vec<Vec<u8>> {
    let pipeline = gst::parse::launch(&format!(
        "filesrc name=src ! decodebin ! video/x-raw,format={format} ! appsink name=sink sync=false"
    ))
    .expect("line")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let by_name = |n| pipeline.by_name(n).expect("named element");
    by_name("src").set_property("location", path.to_str().expect("utf-8 path"));
    let sink = by_name("sink")
        .downcast::<gst_app::AppSink>()
        .expect("appsink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let mut frames = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().expect("buffer");
        frames.push(buffer.map_readable().expect("map").to_vec());
    }
    let error = pipeline
        .bus()
        .expect("bus")
        .pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
    pipeline.set_state(gst::State::Null).expect("null");
    frames
}

fn number(value: &serde_json::Value) -> usize {
    value.as_u64().expect("whole number") as usize
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    let values = value.as_array().expect("numbers").iter();
    values.map(|v| v.as_f64().expect("number")).collect()
}

/// As `crop` in scripts/face_models.py.
fn crop(frame: &[u8], place: &serde_json::Value) -> Vec<u8> {
    let (width, height) = (number(&place["width"]), number(&place["height"]));
    let side = number(&place["side"]);
    let mut out = Vec::with_capacity(SIDE * SIDE * 3);
    for j in 0..SIDE {
        let y = number(&place["top"]) + j * side / SIDE;
        for i in 0..SIDE {
            let x = number(&place["left"]) + i * side / SIDE;
            if place["format"] == "RGB" {
                out.extend_from_slice(&frame[(y * width + x) * 3..][..3]);
                continue;
            }
            let chroma = width * height + y / 2 * (width / 2) + x / 2;
            let luma = 298 * (i32::from(frame[y * width + x]) - 16);
            let u = i32::from(frame[chroma]) - 128;
            let v = i32::from(frame[chroma + width * height / 4]) - 128;
            out.extend(
                [409 * v, -100 * u - 208 * v, 516 * u]
                    .map(|c| ((luma + c + 128) >> 8).clamp(0, 255) as u8),
            );
        }
    }
    out
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| f(a - ma, b - mb)).sum()
    };
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // A NaN stays, and fails every comparison.
    differences.fold(0.0, |m, d| if m.is_nan() || d <= m { m } else { d })
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn assert_blendshapes(what: &str, found: &[f64], expected: &[f64]) -> f64 {
    let difference = largest_difference(found, expected);
    let r = correlation(found, expected);
    assert!(
        difference <= MAX_BLENDSHAPE_DIFFERENCE && r >= MIN_CORRELATION,
        "{what}: blendshapes differ by {difference}, r = {r}"
    );
    difference
}

#[test]
fn the_shipped_graphs_say_what_the_originals_said() {
    let path = root().join("tests/data/face_graphs.json");
    let text = std::fs::read_to_string(&path).expect("stored answers");
    let reference: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let crops = reference["crops"].as_array().expect("crops");
    let mut files: Vec<&str> = crops
        .iter()
        .map(|c| c["file"].as_str().expect("file"))
        .collect();
    files.dedup();
    let Some((runtime, media)) = setup("the_shipped_graphs_say_what_the_originals_said", &files)
    else {
        return;
    };
    let points: Vec<usize> = reference["points"]
        .as_array()
        .expect("points")
        .iter()
        .map(number)
        .collect();
    let mut models = load(&runtime, &root().join("models/face"));
    let mut compared = 0;
    for file in files {
        let places: Vec<_> = crops.iter().filter(|c| c["file"] == file).collect();
        let format = places[0]["format"].as_str().expect("format");
        let frames = decode(&media.join(file), format);
        for place in places {
            let what = format!("{file} frame {} side {}", place["frame"], place["side"]);
            let picture = crop(&frames[number(&place["frame"])], place);
            let digest = onnx::sha256(&picture);
            assert_eq!(
                place["sha256"],
                digest.as_str(),
                "{what} is decoded to another picture here; make the stored answers again: {}",
                reference["command"]
            );
            let input: Vec<f32> = picture.iter().map(|v| f32::from(*v) / 255.0).collect();
            let mesh = models.mesh(&input).expect("landmarks");
            let expected = numbers(&place["landmarks"]);
            let landmarks = largest_difference(&wide(&mesh.landmarks), &expected);
            assert!(
                landmarks <= MAX_LANDMARK_DIFFERENCE,
                "{what}: landmarks differ by {landmarks} pixels"
            );
            let presence =
                (f64::from(mesh.presence) - place["presence"].as_f64().expect("presence")).abs();
            assert!(
                presence <= MAX_PRESENCE_DIFFERENCE,
                "{what}: presence differs by {presence}"
            );

            let expected_shapes = numbers(&place["blendshapes"]);
            let mut shapes = |landmarks: &[f64]| {
                let points: Vec<f32> = points
                    .iter()
                    .flat_map(|i| [landmarks[i * 3] as f32, landmarks[i * 3 + 1] as f32])
                    .collect();
                wide(&models.blendshapes(&points).expect("blendshapes"))
            };
            let alone = assert_blendshapes(&what, &shapes(&expected), &expected_shapes);
            let chained = shapes(&wide(&mesh.landmarks));
            let chained = assert_blendshapes(&what, &chained, &expected_shapes);
            println!(
                "{what}: largest difference of landmarks {landmarks:.1e} pixels, of presence \
                 {presence:.1e}, of blendshapes {alone:.1e}, from own landmarks {chained:.1e}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
}

/// Each frame by itself.
fn analyze(analyzer: &mut Analyzer<FaceModels>, image: &ImageView<'_>) -> Vec<Face> {
    analyzer.reset();
    analyzer.analyze(image, &[]).expect("analysis")
}

#[test]
fn originals_and_shipped_graphs_agree_on_every_frame() {
    const TEST: &str = "originals_and_shipped_graphs_agree_on_every_frame";
    let originals = originals();
    if !originals.is_dir() {
        skip::<()>(TEST, NO_ORIGINALS);
        return;
    }
    let files = [
        ("astronaut.png", "RGB", PixelFormat::Rgb, (512, 512)),
        ("single_face.mp4", "I420", PixelFormat::I420, (640, 360)),
    ];
    let Some((runtime, media)) = setup(TEST, &files.map(|f| f.0)) else {
        return;
    };
    let analyzer = |directory: &Path| Analyzer::new(load(&runtime, directory), Options::default());
    let mut old = analyzer(&originals);
    let mut new = analyzer(&root().join("models/face"));
    for (file, name, format, (width, height)) in files {
        let (mut landmarks, mut shapes) = (0.0, 0.0f64);
        let frames = decode(&media.join(file), name);
        for (i, frame) in frames.iter().enumerate() {
            let plane = |offset: usize, stride| Plane {
                data: &frame[offset..],
                stride,
            };
            let planes = match format {
                PixelFormat::Rgb => vec![plane(0, width * 3)],
                _ => vec![
                    plane(0, width),
                    plane(width * height, width / 2),
                    plane(width * height * 5 / 4, width / 2),
                ],
            };
            let image = ImageView::new(format, width, height, &planes, YuvToRgb::bt601())
                .expect("a whole frame");
            let what = format!("{file} frame {i}");
            let (a, b) = (analyze(&mut old, &image), analyze(&mut new, &image));
            assert_eq!((a.len(), b.len()), (1, 1), "{what}");
            let flat = |f: &Face| -> Vec<f64> { wide(f.landmarks.as_flattened()) };
            // Pixels of the crop are about this wide in the picture.
            let scale = f64::from(a[0].rect.width.max(a[0].rect.height)) * 1.5 / SIDE as f64;
            let difference = largest_difference(&flat(&a[0]), &flat(&b[0])) / scale;
            assert!(
                difference <= MAX_LANDMARK_DIFFERENCE,
                "{what}: landmarks differ by {difference} pixels"
            );
            landmarks = difference.max(landmarks);
            let (a, b) = (wide(&a[0].blendshapes), wide(&b[0].blendshapes));
            shapes = shapes.max(assert_blendshapes(&what, &b, &a));
        }
        assert!(!frames.is_empty());
        println!(
            "{file}, {} frames: largest difference of landmarks {landmarks:.1e} pixels of the \
             crop, of blendshapes {shapes:.1e}",
            frames.len()
        );
    }
}

fn face_models(arguments: &[&Path]) -> Option<std::process::Output> {
    let python = std::env::var_os("GSTMVP_PYTHON")?;
    let onnx = std::process::Command::new(&python)
        .args(["-c", "import onnx"])
        .output()
        .ok()?;
    onnx.status.success().then(|| {
        std::process::Command::new(&python)
            .arg(root().join("scripts/face_models.py"))
            .arg("graphs")
            .args(arguments)
            .output()
            .expect("Python runs")
    })
}

#[test]
fn the_script_refuses_a_graph_that_it_does_not_know() {
    let made = tempfile::tempdir().expect("directory");
    let shipped = root().join("models/face");
    let Some(output) = face_models(&[&shipped, made.path()]) else {
        skip::<()>(
            "the_script_refuses_a_graph_that_it_does_not_know",
            "GSTMVP_PYTHON names no Python with the package onnx",
        );
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("face_landmarks_detector.onnx: sha256 expected"),
        "{text}"
    );
    let written = made.path().read_dir().expect("directory").count();
    assert_eq!(written, 0, "nothing is written before all is known");

    let missing = made.path().join("none");
    let output = face_models(&[&missing, made.path()]).expect("as before");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("models/face/README.md"),
        "{text}"
    );
}

#[test]
fn the_script_makes_the_shipped_graphs_again() {
    const TEST: &str = "the_script_makes_the_shipped_graphs_again";
    let originals = originals();
    if !originals.is_dir() {
        skip::<()>(TEST, NO_ORIGINALS);
        return;
    }
    let made = tempfile::tempdir().expect("directory");
    let Some(output) = face_models(&[&originals, made.path()]) else {
        skip::<()>(TEST, "GSTMVP_PYTHON names no Python with the package onnx");
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    for name in MODEL_FILES {
        let read = |directory: &Path| std::fs::read(directory.join(name)).expect(name);
        assert!(
            read(made.path()) == read(&root().join("models/face")),
            "{name} is not what scripts/face_models.py makes"
        );
    }
}
