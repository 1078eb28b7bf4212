// SPDX-License-Identifier: MPL-2.0
//! The face units against MediaPipe's own FaceLandmarker, on real pictures.
//!
//! The reference is tests/data/face_reference.json (the command that made it is inside),
//! or the file that GSTMVP_FACE_REFERENCE names. Two comparisons, like with like:
//! `image`, where both look at each frame by itself, and `track`, where both follow the
//! face from the first frame of the clip on (MediaPipe without its smoothing).

use face::{
    Analyzer, BLENDSHAPES, Face, FaceModels, ImageView, Options, PixelFormat, Plane, YuvToRgb,
};
use gst::prelude::*;
use gst_video::prelude::*;
use gstmvp::FaceUnitsMeta;
use onnx::{Provider, Runtime, SessionOptions};
use std::path::{Path, PathBuf};

/// Mean distance of a landmark, relative to that of the eyes.
const MAX_LANDMARK_ERROR: f64 = 0.01;
const MIN_CORRELATION: f64 = 0.98;

struct Setup {
    runtime: Runtime,
    media: PathBuf,
    reference: serde_json::Value,
}

fn setup(test: &str, files: &[&str]) -> Option<Setup> {
    gst::init().expect("gst");
    static REGISTERED: std::sync::Once = std::sync::Once::new();
    REGISTERED.call_once(|| gstmvp::plugin_register_static().expect("plugin"));
    let skip = |why: String| {
        eprintln!("SKIPPED {test}: {why}");
        None
    };
    let runtime = match Runtime::load(None) {
        Ok(runtime) => runtime,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => return skip(e.to_string()),
        Err(e) => panic!("{e}"),
    };
    let Some(media) = std::env::var_os("GSTMVP_MEDIA").map(PathBuf::from) else {
        return skip("GSTMVP_MEDIA names no directory with the test clips".into());
    };
    if let Some(missing) = files.iter().find(|f| !media.join(f).is_file()) {
        return skip(format!("{} is not there", media.join(missing).display()));
    }
    let path = std::env::var_os("GSTMVP_FACE_REFERENCE")
        .map(PathBuf::from)
        .unwrap_or_else(|| root().join("tests/data/face_reference.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(Setup {
        runtime,
        media,
        reference: serde_json::from_str(&text).expect("reference JSON"),
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Frame {
    width: usize,
    height: usize,
    stride: usize,
    data: Vec<u8>,
    units: Vec<FaceUnitsMeta>,
}

impl Frame {
    fn view(&self) -> ImageView<'_> {
        let plane = Plane {
            data: &self.data,
            stride: self.stride,
        };
        ImageView::new(
            PixelFormat::Rgb,
            self.width,
            self.height,
            &[plane],
            YuvToRgb::bt601(),
        )
        .expect("a whole frame")
    }
}

/// The frames of a file, decoded, with what `facetrack` found on them.
fn play(path: &Path) -> Vec<Frame> {
    let line = "filesrc name=src ! decodebin ! videoconvert ! video/x-raw,format=RGB \
                ! facetrack name=face sync=wait rate=0/1 ! appsink name=sink sync=false max-buffers=4";
    let pipeline = gst::parse::launch(line)
        .expect("line")
        .downcast::<gst::Pipeline>()
        .expect("pipeline");
    let by_name = |n| pipeline.by_name(n).expect("named element");
    by_name("src").set_property("location", path.to_str().expect("utf-8 path"));
    by_name("face").set_property("model", root().join("models/face").to_str());
    let sink = by_name("sink")
        .downcast::<gst_app::AppSink>()
        .expect("appsink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let mut frames = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().expect("buffer");
        let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("video");
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).expect("map");
        frames.push(Frame {
            width: info.width() as usize,
            height: info.height() as usize,
            stride: frame.plane_stride()[0] as usize,
            data: frame.plane_data(0).expect("plane").to_vec(),
            units: FaceUnitsMeta::all_from_buffer(buffer),
        });
    }
    let error = pipeline
        .bus()
        .expect("bus")
        .pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
    pipeline.set_state(gst::State::Null).expect("null");
    frames
}

struct Expected {
    index: usize,
    landmarks: Vec<[f64; 2]>,
    blendshapes: Vec<f64>,
}

/// The stored answers in `mode` for `file`; frames without a face are left out.
fn expected(reference: &serde_json::Value, file: &str, mode: &str) -> Vec<Expected> {
    let clips = reference["clips"].as_array().expect("clips");
    let clip = clips.iter().find(|c| c["file"] == file).expect("clip");
    let numbers = |v: &serde_json::Value| -> Vec<f64> {
        let values = v.as_array().expect("numbers").iter();
        values.map(|v| v.as_f64().expect("number")).collect()
    };
    let frames = clip["frames"].as_array().expect("frames").iter();
    frames
        .filter(|f| !f[mode].is_null())
        .map(|f| Expected {
            index: f["index"].as_u64().expect("index") as usize,
            landmarks: numbers(&f[mode]["landmarks"])
                .chunks_exact(2)
                .map(|p| [p[0] / 10.0, p[1] / 10.0])
                .collect(),
            blendshapes: numbers(&f[mode]["blendshapes"])
                .iter()
                .map(|v| v / 1000.0)
                .collect(),
        })
        .collect()
}

fn analyzer(setup: &Setup) -> Analyzer<FaceModels> {
    let models = FaceModels::load(
        &setup.runtime,
        &root().join("models/face"),
        SessionOptions {
            provider: Provider::Cpu,
            ..Default::default()
        },
    )
    .expect("shipped models");
    Analyzer::new(models, Options::default())
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| f(a - ma, b - mb)).sum()
    };
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

/// Compares one frame and prints the figures.
fn compare(what: &str, face: &Face, expected: &Expected) {
    let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let eyes = distance(expected.landmarks[33], expected.landmarks[263]);
    let errors: Vec<f64> = face
        .landmarks
        .iter()
        .zip(&expected.landmarks)
        .map(|(a, b)| distance([a[0].into(), a[1].into()], *b) / eyes)
        .collect();
    assert_eq!(errors.len(), 478);
    let error = errors.iter().sum::<f64>() / errors.len() as f64;
    let ours: Vec<f64> = face.blendshapes.iter().map(|v| f64::from(*v)).collect();
    let r = correlation(&ours, &expected.blendshapes);
    let (worst, name) = ours
        .iter()
        .zip(&expected.blendshapes)
        .zip(BLENDSHAPES)
        .map(|((a, b), name)| ((a - b).abs(), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("blendshapes");
    println!(
        "{what} frame {:2}: landmarks {:.3} % of the eye distance (largest {:.3} %), \
         blendshapes r {r:.4}, largest difference {worst:.3} ({name})",
        expected.index,
        error * 100.0,
        errors.iter().fold(0.0, |a: f64, b| a.max(*b)) * 100.0,
    );
    assert!(
        error <= MAX_LANDMARK_ERROR,
        "{what}: landmarks off by {error}"
    );
    assert!(r >= MIN_CORRELATION, "{what}: r = {r}");
}

#[test]
fn faces_agree_with_mediapipe() {
    let files = ["astronaut.png", "single_face.mp4"];
    let Some(setup) = setup("faces_agree_with_mediapipe", &files) else {
        return;
    };
    let names = setup.reference["names"].as_array().expect("names");
    assert!(names.iter().zip(BLENDSHAPES).all(|(a, b)| a == b));
    for file in files {
        let frames = play(&setup.media.join(file));
        let mut analyzer = analyzer(&setup);

        let image = expected(&setup.reference, file, "image");
        assert!(!image.is_empty());
        for expected in &image {
            analyzer.reset();
            let faces = analyzer
                .analyze(&frames[expected.index].view(), &[])
                .expect("analysis");
            assert_eq!(faces.len(), 1, "{file} frame {}", expected.index);
            compare(&format!("{file} image"), &faces[0], expected);
        }

        analyzer.reset();
        let runs = analyzer.detector_runs();
        let tracked: Vec<Vec<Face>> = frames
            .iter()
            .map(|f| analyzer.analyze(&f.view(), &[]).expect("analysis"))
            .collect();
        assert_eq!(analyzer.detector_runs() - runs, 1, "one face, never lost");
        for expected in &expected(&setup.reference, file, "track") {
            let faces = &tracked[expected.index];
            assert_eq!(faces.len(), 1, "{file} frame {}", expected.index);
            compare(&format!("{file} track"), &faces[0], expected);
        }

        // The element says exactly what the room says.
        for (i, (frame, faces)) in frames.iter().zip(&tracked).enumerate() {
            assert_eq!(frame.units.len(), faces.len(), "{file} frame {i}");
            for (units, face) in frame.units.iter().zip(faces) {
                let values: Vec<f64> = units.units.iter().map(|(_, v)| *v).collect();
                let same: Vec<f64> = face.blendshapes.iter().map(|v| f64::from(*v)).collect();
                assert_eq!(values, same, "{file} frame {i}");
            }
        }
    }
}

#[test]
fn a_smile_is_seen() {
    let Some(setup) = setup("a_smile_is_seen", &["single_face.mp4"]) else {
        return;
    };
    let frames = play(&setup.media.join("single_face.mp4"));
    let smile: Vec<f64> = frames
        .iter()
        .filter_map(|f| f.units.first())
        .flat_map(|u| u.units.iter().filter(|(n, _)| n == "mouthSmileLeft"))
        .map(|(_, v)| *v)
        .collect();
    assert_eq!(smile.len(), frames.len());
    let (low, high) = smile
        .iter()
        .fold((1.0, 0.0), |(l, h): (f64, f64), v| (l.min(*v), h.max(*v)));
    let mean = smile.iter().sum::<f64>() / smile.len() as f64;
    println!("mouthSmileLeft: {low:.3} to {high:.3}, mean {mean:.3}");
    assert!(low < 0.1 && high > 0.8, "{low} {high}");
}

#[test]
fn no_face_is_reported_where_there_is_none() {
    let Some(setup) = setup("no_face_is_reported_where_there_is_none", &["no_face.mp4"]) else {
        return;
    };
    let frames = play(&setup.media.join("no_face.mp4"));
    assert!(frames.len() > 90, "{}", frames.len());
    let (mut row, mut longest, mut reported) = (0, 0, 0);
    for frame in &frames {
        row = if frame.units.is_empty() { 0 } else { row + 1 };
        reported += frame.units.len();
        longest = longest.max(row);
    }
    println!(
        "no_face.mp4: {} analyses, {reported} faces, at most {longest} in a row",
        frames.len()
    );
    assert!(longest <= 2);
}
