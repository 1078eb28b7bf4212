// SPDX-License-Identifier: MPL-2.0
//! What the elements cost, measured in real pipelines. `scripts/bench.sh` runs it and
//! prints its tables; `--seconds N` sets the length of each live row (20), `--models`
//! measures only what a hop of each model costs, `--face` only what a face costs.
//!
//! `GSTMVP_BENCH_MODEL` and `GSTMVP_BENCH_MODEL_120` name the bundles that are measured
//! against the goals for a hop: the shipped one (models/default), and one of a window of
//! 120 s (models/default-120, if it is there). `GSTMVP_BENCH_FACE` names other face models
//! to compare those in models/face with.

use face::{
    Analyzer, FaceModels, ImageView, Mesh, Networks, Options, PixelFormat, Plane, YuvToRgb,
};
use gst::prelude::*;
use lsl::{Library, NewStream, Outlet, StreamInfo};
use mvp::GraphFile;
use mvp::{Bundle, Estimator, Inputs, Network};
use onnx::{ModelSource, Provider, Runtime, Session, SessionOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stream_info::Format;

type Failure = Box<dyn std::error::Error>;

const EDA_RATE: f64 = 4.0;
const ECG_RATE: f64 = 256.0;
const ECG_CHUNK: usize = 16;
/// Pairs of runs that the frames per second are compared over.
const PAIRS: usize = 41;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(mode) = args
        .iter()
        .position(|a| a == "--outlets")
        .and_then(|i| args.get(i + 1))
    {
        return outlets(mode == "silent");
    }
    let seconds = match args.iter().position(|a| a == "--seconds") {
        None => 20,
        Some(i) => args
            .get(i + 1)
            .and_then(|n| n.parse().ok())
            .ok_or("--seconds wants a number")?,
    };
    let _config = hermetic_lsl()?;
    gst::init()?;
    gstmvp::plugin_register_static()?;

    if args.iter().any(|a| a == "--models") {
        return models();
    }
    if args.iter().any(|a| a == "--face") {
        return face();
    }
    throughput()?;
    hop()?;
    models()?;
    face()?;
    live(seconds)?;
    Ok(())
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default")
}

/// Its graphs are next to nothing, so that what is around them shows.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixture")
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    let index = (sorted.len() as f64 * p) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

// --- Frames per second, not live -------------------------------------------------

fn frames_per_second(element: &str) -> Result<f64, Failure> {
    const FRAMES: u32 = 1500;
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers={FRAMES} ! video/x-raw,format=I420,width=640,height=480,framerate=30/1 \
         ! {element} name=subject ! fakesink sync=false"
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "not a pipeline")?;
    // Loading the network is not what is measured.
    pipeline.set_state(gst::State::Paused)?;
    pipeline.state(gst::ClockTime::from_seconds(20)).0?;
    let subject = pipeline.by_name("subject").ok_or("no element")?;
    while subject.has_property("active-provider")
        && subject
            .property::<Option<String>>("active-provider")
            .is_none()
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    pipeline.set_state(gst::State::Playing)?;
    wait_for_end(&pipeline, 120)?;
    let took = begun.elapsed();
    pipeline.set_state(gst::State::Null)?;
    Ok(f64::from(FRAMES) / took.as_secs_f64())
}

fn throughput() -> Result<(), Failure> {
    let fusion = format!(
        "mvpfusion execution-provider=cpu model={}",
        fixture().display()
    );
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    frames_per_second("identity")?;
    for i in 0..PAIRS {
        // Which goes first alternates, so that a drifting machine favours neither.
        let (with, without) = if i % 2 == 0 {
            let with = frames_per_second(&fusion)?;
            (with, frames_per_second("identity")?)
        } else {
            let without = frames_per_second("identity")?;
            (frames_per_second(&fusion)?, without)
        };
        ratios.push(with / without);
        rates.push((with, without));
    }
    let ratios = sorted(ratios);
    println!("\n## Not live: 640×480 test source, frames per second\n");
    println!("| | median of {PAIRS} pairs | min | max | goal |");
    println!("|---|---|---|---|---|");
    println!(
        "| mvpfusion / identity | {:.3} | {:.3} | {:.3} | ≥ 0.97 |",
        percentile(&ratios, 0.5),
        ratios[0],
        ratios[ratios.len() - 1]
    );
    let fastest = |f: fn(&(f64, f64)) -> f64| rates.iter().map(f).fold(0.0, f64::max);
    println!(
        "\nFastest: {:.0} frames/s with mvpfusion, {:.0} with identity.",
        fastest(|r| r.0),
        fastest(|r| r.1)
    );
    Ok(())
}

fn wait_for_end(pipeline: &gst::Pipeline, seconds: u64) -> Result<(), Failure> {
    let bus = pipeline.bus().ok_or("no bus")?;
    let message = bus
        .timed_pop_filtered(
            gst::ClockTime::from_seconds(seconds),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .ok_or("the pipeline did not end in time")?;
    match message.view() {
        gst::MessageView::Error(e) => Err(format!("{} ({:?})", e.error(), e.debug()).into()),
        _ => Ok(()),
    }
}

// --- One hop against the bare graphs ---------------------------------------------

/// A graph with nothing around it.
struct Bare {
    file: String,
    session: Session,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Of each run, ms.
    times: Vec<f64>,
}

impl Bare {
    fn open(
        runtime: &Runtime,
        bundle: &Bundle,
        graph: &GraphFile,
        options: &SessionOptions,
    ) -> Result<Self, Failure> {
        let bytes = bundle.read_graph(graph)?;
        let source = ModelSource {
            name: &graph.file,
            bytes: &bytes,
        };
        let session = runtime.session(source, options)?;
        let tensors = session
            .inputs()
            .iter()
            .map(|i| {
                let shape: Vec<usize> = i.shape.iter().map(|d| d.unwrap_or(1)).collect();
                let data = vec![1.0; shape.iter().product()];
                (i.name.clone(), shape, data)
            })
            .collect();
        Ok(Self {
            file: graph.file.clone(),
            session,
            tensors,
            times: Vec::new(),
        })
    }

    fn run(&mut self) -> Result<(), Failure> {
        let inputs: Vec<_> = self
            .tensors
            .iter()
            .map(|(n, s, d)| (n.as_str(), s.as_slice(), d.as_slice()))
            .collect();
        let begun = Instant::now();
        self.session.run(&inputs)?;
        self.times.push(begun.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }
}

/// What one hop of a bundle costs, in ms: as the element has it done, and its graphs
/// alone, for each chunk of the hop each encoder once, then the fusion graph.
struct Hops {
    bundle: Arc<Bundle>,
    whole: Vec<f64>,
    bare: Vec<f64>,
    graphs: Vec<Bare>,
}

impl Hops {
    const COUNT: u64 = 400;

    fn measure(directory: &Path) -> Result<Self, Failure> {
        let runtime = Runtime::load(None)?;
        let bundle = Arc::new(Bundle::open(directory)?);
        let options = SessionOptions {
            provider: Provider::Cpu,
            ..Default::default()
        };
        let network = Network::load(&runtime, &bundle, &options, |_| {})?;
        let inputs = Arc::new(Inputs::new(&bundle));
        let mut estimator = Estimator::new(bundle.clone(), inputs.clone(), network);
        let files = std::iter::once(bundle.video().encoder.graph())
            .chain(bundle.streams().iter().map(|s| s.encoder.graph()))
            .chain(std::iter::once(bundle.fusion().graph()));
        let mut graphs = files
            .map(|file| Bare::open(&runtime, &bundle, &file, &options))
            .collect::<Result<Vec<_>, _>>()?;

        let (mut whole, mut bare) = (Vec::new(), Vec::new());
        let window = bundle.window();
        let chunks = (window.hop / window.chunk).round() as u64;
        // The window is filled first.
        let full = bundle.window_chunks() as u64 / chunks;
        for hop in 1..=full + Self::COUNT {
            let end = hop * chunks * bundle.chunk();
            feed(&inputs, &bundle, end - chunks * bundle.chunk(), end);
            let begun = Instant::now();
            estimator.answer(hop * chunks)?;
            let took = begun.elapsed();
            let begun = Instant::now();
            for _ in 1..chunks {
                let encoders = graphs.len() - 1;
                graphs[..encoders].iter_mut().try_for_each(Bare::run)?;
            }
            graphs.iter_mut().try_for_each(Bare::run)?;
            if hop > full {
                whole.push(took.as_secs_f64() * 1e3);
                bare.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(Self {
            bundle,
            whole,
            bare,
            graphs,
        })
    }

    fn about(&self) -> String {
        format!(
            "{}, window {} s, one CPU thread, {} hops",
            self.bundle.title(),
            self.bundle.window().duration,
            Self::COUNT
        )
    }
}

fn hop() -> Result<(), Failure> {
    let hops = Hops::measure(&fixture())?;
    let pairs = || hops.whole.iter().zip(&hops.bare);
    let ratio = sorted(pairs().map(|(h, r)| h / r).collect());
    let over = sorted(pairs().map(|(h, r)| h - r).collect());
    println!("\n## A hop (snapshot, encoders, fusion, result) against bare runs of its graphs\n");
    println!("Bundle {}.\n", hops.about());
    println!("| | p50 | p95 | goal |");
    println!("|---|---|---|---|");
    for (name, v, goal) in [
        ("hop, ms", &sorted(hops.whole.clone()), ""),
        ("bare runs, ms", &sorted(hops.bare.clone()), ""),
        ("ratio", &ratio, "≤ 1.05, or"),
        ("difference, ms", &over, "≤ 0.2"),
    ] {
        println!(
            "| {name} | {:.3} | {:.3} | {goal} |",
            percentile(v, 0.5),
            percentile(v, 0.95)
        );
    }
    Ok(())
}

/// Milliseconds that a hop may take, by the window's length.
fn goal(duration: f64) -> Option<&'static str> {
    match duration {
        d if d <= 60.0 => Some("≤ 10"),
        d if d <= 120.0 => Some("≤ 15"),
        _ => None,
    }
}

fn models() -> Result<(), Failure> {
    let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let longer = named("GSTMVP_BENCH_MODEL_120").or_else(|| {
        let beside = shipped().with_file_name("default-120");
        beside.is_dir().then_some(beside)
    });
    println!("\n## A hop of each model: encode one chunk per stream, fuse, answer\n");
    println!("| | p50, ms | p95, ms | goal (p50) |");
    println!("|---|---|---|---|");
    let first = named("GSTMVP_BENCH_MODEL").unwrap_or_else(shipped);
    for directory in std::iter::once(first).chain(longer) {
        let hops = Hops::measure(&directory)?;
        let row = |name: &str, times: &[f64], goal: &str| {
            let v = sorted(times.to_vec());
            println!(
                "| {name} | {:.3} | {:.3} | {goal} |",
                percentile(&v, 0.5),
                percentile(&v, 0.95)
            );
        };
        let goal = goal(hops.bundle.window().duration).unwrap_or("");
        row(&format!("**{}**", hops.about()), &hops.whole, goal);
        for graph in &hops.graphs {
            row(&graph.file, &graph.times, "");
        }
    }
    Ok(())
}

/// Everything that the bundle knows, from `begin` to `end` (ns).
fn feed(inputs: &Inputs, bundle: &Bundle, begin: u64, end: u64) {
    let times = |rate: f64| {
        let step = 1e9 / rate;
        let first = (begin as f64 / step).ceil() as u64;
        (first..)
            .map(move |i| (i as f64 * step).round() as u64)
            .take_while(move |t| *t < end)
    };
    for spec in bundle.signals() {
        let Some(mut track) = inputs.signal(&spec.name) else {
            continue;
        };
        // The few points of a grid would show no beats.
        let rate = match spec.derive {
            Some(_) => 64.0,
            None => spec.rate,
        };
        if begin == 0 {
            track.configure(rate, None);
        }
        for t in times(rate) {
            track.push(t, 5.0 + (t as f64 / 1e9 * 7.0).sin());
        }
    }
    let mut video = inputs.video();
    let n = video.units().len();
    for t in times(bundle.video().rate) {
        let row: Vec<f64> = (0..n)
            .map(|u| 0.5 + 0.5 * (t as f64 / 1e9 + u as f64).sin())
            .collect();
        video.push(t, 0.9, &row);
    }
}

// --- A face in every frame ---------------------------------------------------------

const WIDTH: usize = 640;
const HEIGHT: usize = 480;

/// CPU time of this thread, ms: what others do on the machine counts less than in wall time.
fn thread_ms() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime fills the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// The networks, with the CPU time of each, ms.
struct Timed {
    models: FaceModels,
    detector: f64,
    landmarks: f64,
    blendshapes: f64,
}

fn timed<T>(into: &mut f64, work: impl FnOnce() -> T) -> T {
    let begun = thread_ms();
    let result = work();
    *into += thread_ms() - begun;
    result
}

impl Networks for Timed {
    fn detect(&mut self, image: &[f32]) -> Result<(Vec<f32>, Vec<f32>), onnx::Error> {
        timed(&mut self.detector, || self.models.detect(image))
    }

    fn mesh(&mut self, crop: &[f32]) -> Result<Mesh, onnx::Error> {
        timed(&mut self.landmarks, || self.models.mesh(crop))
    }

    fn blendshapes(&mut self, points: &[f32]) -> Result<Vec<f32>, onnx::Error> {
        timed(&mut self.blendshapes, || self.models.blendshapes(points))
    }
}

/// Frames of a clip with a face, I420 without padding.
fn face_frames() -> Result<Option<Vec<gst::Buffer>>, Failure> {
    let clip =
        PathBuf::from(std::env::var_os("GSTMVP_MEDIA").unwrap_or_default()).join("single_face.mp4");
    if !clip.is_file() {
        println!("\nNo face figures: GSTMVP_MEDIA names no directory with single_face.mp4.");
        return Ok(None);
    }
    let pipeline = gst::parse::launch(&format!(
        "filesrc name=src ! decodebin ! videoconvert ! videoscale add-borders=true \
         ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},pixel-aspect-ratio=1/1 \
         ! appsink name=sink sync=false"
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "not a pipeline")?;
    let source = pipeline.by_name("src").ok_or("no source")?;
    source.set_property("location", clip.to_str().ok_or("a path that is not UTF-8")?);
    let sink = pipeline
        .by_name("sink")
        .and_then(|s| s.downcast::<gst_app::AppSink>().ok())
        .ok_or("no sink")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut frames = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        // A copy of its own, or the decoder would run out of buffers.
        frames.push(sample.buffer().ok_or("no buffer")?.copy_deep()?);
    }
    pipeline.set_state(gst::State::Null)?;
    Ok((!frames.is_empty()).then_some(frames))
}

fn analyze_all(
    analyzer: &mut Analyzer<Timed>,
    frames: &[gst::Buffer],
    times: &mut Vec<f64>,
) -> Result<(), Failure> {
    for frame in frames {
        let map = frame.map_readable()?;
        let plane = |offset: usize, stride| Plane {
            data: &map[offset..],
            stride,
        };
        let planes = [
            plane(0, WIDTH),
            plane(WIDTH * HEIGHT, WIDTH / 2),
            plane(WIDTH * HEIGHT * 5 / 4, WIDTH / 2),
        ];
        let image = ImageView::new(PixelFormat::I420, WIDTH, HEIGHT, &planes, YuvToRgb::bt601())?;
        let mut took = 0.0;
        let faces = timed(&mut took, || analyzer.analyze(&image, &[]))?;
        if faces.len() != 1 {
            return Err("a frame of single_face.mp4 without its face".into());
        }
        times.push(took);
    }
    Ok(())
}

/// CPU time of the process per frame that facetrack analyses, ms.
fn facetrack_ms(directory: &Path, frames: &[gst::Buffer]) -> Result<f64, Failure> {
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=src format=time max-bytes=0 caps=video/x-raw,format=I420,width={WIDTH},\
         height={HEIGHT},framerate=30/1 ! facetrack name=face sync=wait rate=0/1 \
         execution-provider=cpu ! fakesink sync=false"
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "not a pipeline")?;
    let face = pipeline.by_name("face").ok_or("no facetrack")?;
    face.set_property("model", directory.to_str());
    let source = pipeline
        .by_name("src")
        .and_then(|s| s.downcast::<gst_app::AppSrc>().ok())
        .ok_or("no source")?;
    pipeline.set_state(gst::State::Playing)?;
    let analyses = || -> Result<u64, Failure> {
        let stats = face.property::<gst::Structure>("stats");
        Ok(stats.get::<u64>("analyses")?)
    };
    let push = |index: usize, frame: &gst::Buffer| -> Result<(), Failure> {
        let mut frame = frame.copy();
        let buffer = frame.get_mut().ok_or("a shared buffer")?;
        buffer.set_pts(gst::ClockTime::from_mseconds(index as u64 * 33));
        source.push_buffer(frame)?;
        Ok(())
    };
    // The first frame waits for the models, and pays for the detector.
    push(0, frames.first().ok_or("no frames")?)?;
    while analyses()? == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let begun = cpu_seconds();
    for (i, frame) in frames.iter().cycle().take(FACE_FRAMES).enumerate() {
        push(i + 1, frame)?;
    }
    source.end_of_stream()?;
    wait_for_end(&pipeline, 120)?;
    let took = (cpu_seconds() - begun) * 1e3;
    let done = analyses()? - 1;
    pipeline.set_state(gst::State::Null)?;
    if done != FACE_FRAMES as u64 {
        return Err(format!("facetrack analysed {done} of {FACE_FRAMES} frames").into());
    }
    Ok(took / FACE_FRAMES as f64)
}

const FACE_FRAMES: usize = 144;
const FACE_ROUNDS: usize = 7;

/// What following one face costs, each model directory in turn.
fn face() -> Result<(), Failure> {
    struct Row {
        directory: PathBuf,
        analyzer: Analyzer<Timed>,
        analysis: Vec<f64>,
        element: Vec<f64>,
    }
    let Some(frames) = face_frames()? else {
        return Ok(());
    };
    let runtime = Runtime::load(None)?;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/face");
    let other = std::env::var_os("GSTMVP_BENCH_FACE").map(PathBuf::from);
    let mut rows = Vec::new();
    for directory in std::iter::once(shipped).chain(other) {
        let models = FaceModels::load(
            &runtime,
            &directory,
            SessionOptions {
                provider: Provider::Cpu,
                ..Default::default()
            },
        )?;
        let timed = Timed {
            models,
            detector: 0.0,
            landmarks: 0.0,
            blendshapes: 0.0,
        };
        let mut analyzer = Analyzer::new(timed, Options::default());
        // Finds the face, and warms up.
        analyze_all(&mut analyzer, &frames, &mut Vec::new())?;
        rows.push(Row {
            directory,
            analyzer,
            analysis: Vec::new(),
            element: Vec::new(),
        });
    }
    let parts = |row: &Row| {
        let networks = row.analyzer.networks();
        [networks.detector, networks.landmarks, networks.blendshapes]
    };
    let before: Vec<_> = rows.iter().map(parts).collect();
    for round in 0..FACE_ROUNDS {
        // Which goes first alternates.
        let mut order: Vec<&mut Row> = rows.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for row in order {
            analyze_all(&mut row.analyzer, &frames, &mut row.analysis)?;
            row.element.push(facetrack_ms(&row.directory, &frames)?);
        }
    }
    println!(
        "\n## A face in every frame: {WIDTH}×{HEIGHT} I420, one CPU thread, CPU time per frame, ms\n"
    );
    println!(
        "| models | analysis min | p50 | p95 | mean | landmarks | blendshapes | the rest | facetrack, every frame | frames/s | goal |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (row, before) in rows.iter().zip(before) {
        let count = row.analysis.len() as f64;
        let [detector, landmarks, blendshapes] =
            std::array::from_fn(|i| (parts(row)[i] - before[i]) / count);
        let mean = row.analysis.iter().sum::<f64>() / count;
        let analysis = sorted(row.analysis.clone());
        let element = percentile(&sorted(row.element.clone()), 0.5);
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {mean:.2} | {landmarks:.2} | {blendshapes:.2} | {:.2} | {element:.2} | {:.0} | ≥ 250 |",
            row.directory
                .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                .unwrap_or(&row.directory)
                .display(),
            percentile(&analysis, 0.0),
            percentile(&analysis, 0.5),
            percentile(&analysis, 0.95),
            mean - detector - landmarks - blendshapes,
            1e3 / element,
        );
    }
    if let [new, old] = rows.as_slice() {
        let ratios =
            |new: &[f64], old: &[f64]| sorted(old.iter().zip(new).map(|(o, n)| o / n).collect());
        println!(
            "\nThe other models cost {:.2} times as much per analysis, {:.2} times in facetrack (medians of pairs).",
            percentile(&ratios(&new.analysis, &old.analysis), 0.5),
            percentile(&ratios(&new.element, &old.element), 0.5)
        );
    }
    Ok(())
}

// --- Live -------------------------------------------------------------------------

/// Everything on loopback, under a session of its own.
fn hermetic_lsl() -> Result<tempfile::NamedTempFile, Failure> {
    let id = std::process::id();
    let port = 26_000 + id % 300 * 10;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(
        file.path(),
        format!(
            "[ports]\nMulticastPort = {port}\nBasePort = {}\nPortRange = 32\nAllowRandomPorts = 1\n\
             IPv6 = disable\n[multicast]\nResolveScope = machine\nMachineAddresses = {{127.0.0.1}}\n\
             Interfaces = {{127.0.0.1}}\nListenAddress = 127.0.0.1\n[lab]\nKnownPeers = {{127.0.0.1}}\n\
             SessionID = gstmvp-bench-{id}\n[log]\nlevel = -2\n",
            port + 1
        ),
    )?;
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("LSLAPICFG", file.path()) };
    Ok(file)
}

/// The other process: EDA at 4 Hz one by one, ECG at 256 Hz in chunks of 16.
fn outlets(silent: bool) -> Result<(), Failure> {
    let library = Library::load(None)?;
    let outlet = |name: &'static str, rate: f64| -> Result<Outlet, Failure> {
        let info = StreamInfo::new(
            library,
            &NewStream {
                name,
                stream_type: name,
                source_id: name,
                channels: 1,
                rate,
                format: Format::F32,
                labels: &[name],
                units: &[],
                offset_mean: None,
                first_frame_time: None,
            },
        )?;
        Ok(Outlet::new(&info)?)
    };
    let (eda, ecg) = (outlet("EDA", EDA_RATE)?, outlet("ECG", ECG_RATE)?);
    let start = library.local_clock();
    let (mut eda_sent, mut ecg_sent) = (0usize, 0usize);
    loop {
        std::thread::sleep(Duration::from_millis(5));
        if silent {
            continue;
        }
        let now = library.local_clock() - start;
        while (eda_sent as f64) < now * EDA_RATE {
            let t = eda_sent as f64 / EDA_RATE;
            eda.push(&[(5.0 + t.sin()) as f32], &[start + t])?;
            eda_sent += 1;
        }
        while ((ecg_sent + ECG_CHUNK) as f64) < now * ECG_RATE {
            let times: Vec<f64> = (0..ECG_CHUNK)
                .map(|i| (ecg_sent + i) as f64 / ECG_RATE)
                .collect();
            let values: Vec<f32> = times.iter().map(|t| (t * 7.4).sin() as f32).collect();
            let stamps: Vec<f64> = times.iter().map(|t| start + t).collect();
            ecg.push(&values, &stamps)?;
            ecg_sent += ECG_CHUNK;
        }
    }
}

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_outlets(mode: &str) -> Result<Peer, Failure> {
    Ok(Peer(
        Command::new(std::env::current_exe()?)
            .args(["--outlets", mode])
            .spawn()?,
    ))
}

/// Milliseconds from a buffer's arrival at an element's sink pad to its departure.
fn dwell(element: &gst::Element) -> Result<Arc<Mutex<Vec<f64>>>, Failure> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let origin = Instant::now();
    let arrived = Arc::new(AtomicU64::new(0));
    let arrival = arrived.clone();
    element.static_pad("sink").ok_or("no sink pad")?.add_probe(
        gst::PadProbeType::BUFFER,
        move |_, _| {
            arrival.store(origin.elapsed().as_nanos() as u64, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        },
    );
    let kept = times.clone();
    element.static_pad("src").ok_or("no source pad")?.add_probe(
        gst::PadProbeType::BUFFER,
        move |_, _| {
            let now = origin.elapsed().as_nanos() as u64;
            if let Ok(mut kept) = kept.lock() {
                kept.push((now - arrived.load(Ordering::Relaxed)) as f64 / 1e6);
            }
            gst::PadProbeReturn::Ok
        },
    );
    Ok(times)
}

fn count(pad: Option<gst::Pad>) -> Result<Arc<AtomicU64>, Failure> {
    let frames = Arc::new(AtomicU64::new(0));
    let counter = frames.clone();
    pad.ok_or("no pad")?
        .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    Ok(frames)
}

fn cpu_seconds() -> f64 {
    // SAFETY: getrusage fills the structure it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn peak_memory_mb() -> f64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| {
            let line = s.lines().find(|l| l.starts_with("VmHWM"))?.to_string();
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        })
        .map_or(f64::NAN, |kb| kb / 1024.0)
}

/// The face clip as single frames, where scripts/demo.sh has unpacked it.
fn video_source() -> (String, &'static str) {
    let media = std::env::var("GSTMVP_MEDIA").unwrap_or_default();
    let frames = Path::new(&media).join("face");
    if !media.is_empty() && frames.join("00000.jpg").is_file() {
        let line = format!(
            "multifilesrc location={}/%05d.jpg loop=true caps=image/jpeg,framerate=30/1 \
             ! jpegdec ! identity sync=true",
            frames.display()
        );
        return (
            line,
            "the face clip of the demonstration, 640×480 at 30 frames/s",
        );
    }
    let line = "videotestsrc is-live=true ! video/x-raw,width=640,height=480,framerate=30/1";
    (
        line.into(),
        "a test picture without a face, 640×480 at 30 frames/s (run scripts/demo.sh once for the face clip)",
    )
}

fn live(seconds: u64) -> Result<(), Failure> {
    let (source, what) = video_source();
    println!("\n## Live: {what}, EDA 4 Hz, ECG 256 Hz, one answer per second, {seconds} s each\n");
    println!(
        "| outlets | frames in | out | answers | facetrack p50 / p99 / max, ms | mvpfusion p50 / p99 / max, ms | CPU s per s |"
    );
    println!("|---|---|---|---|---|---|---|");
    for case in ["sending", "silent", "killed half-way", "never started"] {
        let peer = match case {
            "never started" => None,
            "silent" => Some(start_outlets("silent")?),
            _ => Some(start_outlets("sending")?),
        };
        let pipeline = gst::parse::launch(&format!(
            "{source} ! videoconvert ! facetrack name=face ! f. \
             lslsrc stream-type=EDA resolve-timeout=0 ! f.eda \
             lslsrc stream-type=ECG resolve-timeout=0 ! f.ecg \
             mvpfusion name=f execution-provider=cpu model={} ! fakesink name=sink sync=true",
            shipped().display()
        ))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
        let element = |name: &str| pipeline.by_name(name).ok_or("no such element");
        let (face, fusion, sink) = (element("face")?, element("f")?, element("sink")?);
        let (in_face, in_fusion) = (dwell(&face)?, dwell(&fusion)?);
        let frames_in = count(face.static_pad("sink"))?;
        let frames_out = count(sink.static_pad("sink"))?;
        pipeline.set_state(gst::State::Playing)?;
        std::thread::sleep(Duration::from_secs(3));
        let (cpu, begun) = (cpu_seconds(), Instant::now());
        std::thread::sleep(Duration::from_secs(seconds) / 2);
        let peer = if case == "killed half-way" {
            drop(peer);
            None
        } else {
            peer
        };
        std::thread::sleep(Duration::from_secs(seconds) / 2);
        let cpu = (cpu_seconds() - cpu) / begun.elapsed().as_secs_f64();
        // Counted at the end of the stream, when no frame is on its way.
        pipeline.send_event(gst::event::Eos::new());
        wait_for_end(&pipeline, 30)?;
        let answers = fusion
            .property::<gst::Structure>("stats")
            .get::<u64>("inferences")?;
        pipeline.set_state(gst::State::Null)?;
        drop(peer);
        let row = |times: &Arc<Mutex<Vec<f64>>>| {
            let v = sorted(times.lock().map(|t| t.clone()).unwrap_or_default());
            format!(
                "{:.3} / {:.3} / {:.3}",
                percentile(&v, 0.5),
                percentile(&v, 0.99),
                percentile(&v, 1.0)
            )
        };
        println!(
            "| {case} | {} | {} | {answers} | {} | {} | {cpu:.2} |",
            frames_in.load(Ordering::Relaxed),
            frames_out.load(Ordering::Relaxed),
            row(&in_face),
            row(&in_fusion)
        );
    }
    println!(
        "\nGoals: frames out = frames in; p99 ≤ 1 ms in each element, whatever the outlets do."
    );
    println!("Peak memory of this process: {:.0} MB.", peak_memory_mb());
    Ok(())
}
