// SPDX-License-Identifier: MPL-2.0
//! The element `facetrack`. The portrait is a part of scikit-image's public-domain
//! astronaut.png (NASA).

use face::BLENDSHAPES;
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};
use gstmvp::meta::{FACE_REGION, FaceUnitsMeta};
use onnx::Runtime;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/face");
const PORTRAIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/face_portrait.jpg");
const FORMATS: [VideoFormat; 9] = [
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::I420,
    VideoFormat::Nv12,
    VideoFormat::Gray8,
];

fn init() {
    static REGISTERED: std::sync::Once = std::sync::Once::new();
    REGISTERED.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin");
    });
}

/// Whether ONNX Runtime is there; says so where it is not.
fn ready(test: &str) -> bool {
    init();
    match Runtime::load(None) {
        Ok(_) => true,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

/// The portrait, 200x200 RGB.
fn portrait() -> &'static [u8] {
    static PIXELS: OnceLock<Vec<u8>> = OnceLock::new();
    PIXELS.get_or_init(|| {
        let line = format!(
            "filesrc location={PORTRAIT} ! jpegdec ! videoconvert ! video/x-raw,format=RGB \
             ! appsink name=sink sync=false"
        );
        let pipeline = gst::parse::launch(&line)
            .expect("line")
            .downcast::<gst::Pipeline>()
            .expect("pipeline");
        pipeline.set_state(gst::State::Playing).expect("playing");
        let sink = pipeline
            .by_name("sink")
            .and_downcast::<gst_app::AppSink>()
            .expect("sink");
        let sample = sink.pull_sample().expect("one picture");
        let map = sample
            .buffer()
            .expect("buffer")
            .map_readable()
            .expect("map");
        assert_eq!(map.len(), 200 * 200 * 3);
        let pixels = map.to_vec();
        drop(map);
        pipeline.set_state(gst::State::Null).expect("null");
        pixels
    })
}

/// A grey picture with the portrait at each of `faces`, at `time`.
fn picture(info: &VideoInfo, faces: &[(usize, usize)], time: gst::ClockTime) -> gst::Buffer {
    let (width, height) = (info.width(), info.height());
    let rgb = VideoInfo::builder(VideoFormat::Rgb, width, height)
        .fps(info.fps())
        .build()
        .expect("info");
    let stride = rgb.stride()[0] as usize;
    let mut pixels = vec![90; rgb.size()];
    for (x, y) in faces {
        for (row, line) in portrait().chunks_exact(600).enumerate() {
            pixels[(y + row) * stride + x * 3..][..600].copy_from_slice(line);
        }
    }
    let source =
        gst_video::VideoFrame::from_buffer_readable(gst::Buffer::from_mut_slice(pixels), &rgb)
            .expect("source");
    let target = gst::Buffer::with_size(info.size()).expect("memory");
    let mut target = gst_video::VideoFrame::from_buffer_writable(target, info).expect("target");
    let converter = gst_video::VideoConverter::new(&rgb, info, None).expect("converter");
    converter.frame(&source, &mut target);
    let mut buffer = target.into_buffer();
    let writable = buffer.get_mut().expect("own buffer");
    writable.set_pts(time);
    writable.set_duration(gst::ClockTime::from_nseconds(33_333_333));
    buffer
}

fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    VideoInfo::builder(format, width, height)
        .fps((30, 1))
        .build()
        .expect("info")
}

fn frame_time(frame: u64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(frame * 1_000_000_000 / 30)
}

struct Bench {
    harness: Harness,
    element: gst::Element,
    bus: gst::Bus,
    info: VideoInfo,
}

impl Bench {
    fn new(info: VideoInfo, properties: &[(&str, &str)]) -> Self {
        let element = gst::ElementFactory::make("facetrack")
            .build()
            .expect("facetrack");
        element.set_property("model", MODELS);
        for (name, value) in properties {
            element.set_property_from_str(name, value);
        }
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.play();
        harness.set_src_caps(info.to_caps().expect("caps"));
        Self {
            harness,
            element,
            bus,
            info,
        }
    }

    fn push(&mut self, faces: &[(usize, usize)], frame: u64) -> gst::Buffer {
        let buffer = picture(&self.info, faces, frame_time(frame));
        self.harness
            .push_and_pull(buffer)
            .expect("the frame comes out")
    }

    fn stat(&self, name: &str) -> u64 {
        let stats = self.element.property::<gst::Structure>("stats");
        stats.get(name).expect("statistic")
    }

    fn wait_until_ready(&self) {
        let message = self.bus.timed_pop_filtered(
            gst::ClockTime::from_seconds(60),
            &[gst::MessageType::Progress, gst::MessageType::Error],
        );
        assert!(message.is_some(), "the load says nothing");
        let start = Instant::now();
        while self
            .element
            .property::<Option<String>>("active-provider")
            .is_none()
        {
            assert!(start.elapsed() < Duration::from_secs(60), "never ready");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn message(&self, kind: gst::MessageType) -> Option<gst::Message> {
        self.bus.pop_filtered(&[kind])
    }
}

/// What a warning or an error says.
fn text(message: &gst::Message) -> String {
    match message.view() {
        gst::MessageView::Error(e) => e.error().to_string(),
        gst::MessageView::Warning(w) => w.error().to_string(),
        _ => String::new(),
    }
}

/// Rectangle, track id and confidence of a face region.
type Region = ((u32, u32, u32, u32), u64, f64);

fn regions(buffer: &gst::BufferRef) -> Vec<Region> {
    buffer
        .iter_meta::<gst_video::VideoRegionOfInterestMeta>()
        .filter(|m| m.roi_type() == FACE_REGION)
        .map(|m| {
            let param = m.param(FACE_REGION).expect("parameters");
            let id = param.get::<u64>("track-id").expect("track-id");
            (
                m.rect(),
                id,
                param.get::<f64>("confidence").expect("confidence"),
            )
        })
        .collect()
}

fn unit(meta: &FaceUnitsMeta, name: &str) -> f64 {
    let found = meta.units.iter().find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn every_format_gives_the_same_face() {
    if !ready("every_format_gives_the_same_face") {
        return;
    }
    let mut reference: Option<FaceUnitsMeta> = None;
    for format in FORMATS {
        // An odd width: padded rows, and a last chroma sample of its own.
        let mut bench = Bench::new(info(format, 321, 241), &[("sync", "wait"), ("rate", "0/1")]);
        let sent = picture(&bench.info, &[(60, 20)], frame_time(0));
        let out = bench
            .harness
            .push_and_pull(sent.copy_deep().expect("copy"))
            .expect("out");
        assert_eq!(
            *out.map_readable().expect("map"),
            *sent.map_readable().expect("map"),
            "{format:?}: the picture was touched"
        );
        assert_eq!(out.pts(), sent.pts());
        let units = FaceUnitsMeta::all_from_buffer(&out);
        assert_eq!(units.len(), 1, "{format:?}");
        assert_eq!(units[0].time, gst::ClockTime::ZERO);
        assert!(units[0].confidence > 0.9);
        let names: Vec<&str> = units[0].units.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, BLENDSHAPES);
        assert!(unit(&units[0], "mouthSmileLeft") > 0.3, "{:?}", units[0]);

        let regions = regions(&out);
        assert_eq!(regions.len(), 1);
        let ((x, y, w, h), id, _) = regions[0];
        assert_eq!(id, units[0].track_id);
        // In the portrait the face spans about 50..150 across and 30..165 down.
        let inside = |v: u32, low: u32, high: u32| (low..high).contains(&v);
        assert!(
            inside(x, 95, 125) && inside(y, 45, 85) && inside(w, 60, 115) && inside(h, 80, 140),
            "{format:?}: {regions:?}"
        );

        // Colour is halved in 4:2:0 and absent in grey: near, not equal.
        let reference = reference.get_or_insert_with(|| units[0].clone());
        let far = if format == VideoFormat::Gray8 {
            0.25
        } else {
            0.1
        };
        for ((name, a), (_, b)) in units[0].units.iter().zip(&reference.units) {
            assert!((a - b).abs() < far, "{format:?} {name}: {a} against {b}");
        }
    }
}

#[test]
fn tiny_and_odd_frames_pass() {
    if !ready("tiny_and_odd_frames_pass") {
        return;
    }
    for sync in ["wait", "live"] {
        for format in FORMATS {
            for (width, height) in [(16, 16), (1, 1), (3, 200), (17, 1)] {
                let mut bench = Bench::new(
                    info(format, width, height),
                    &[("sync", sync), ("rate", "0/1")],
                );
                bench.wait_until_ready();
                for frame in 0..2 {
                    let out = bench.push(&[], frame);
                    assert!(regions(&out).is_empty(), "{format:?} {width}x{height}");
                }
                assert!(bench.message(gst::MessageType::Error).is_none());
            }
        }
    }
}

#[test]
fn analyses_keep_the_rate_and_regions_stay_between_them() {
    if !ready("analyses_keep_the_rate_and_regions_stay_between_them") {
        return;
    }
    let mut bench = Bench::new(
        info(VideoFormat::I420, 320, 240),
        &[("sync", "wait"), ("rate", "5/1")],
    );
    for frame in 0..30 {
        let out = bench.push(&[(60, 20)], frame);
        let units = FaceUnitsMeta::all_from_buffer(&out);
        assert_eq!(units.len(), usize::from(frame % 6 == 0), "frame {frame}");
        for units in &units {
            assert_eq!(units.time, frame_time(frame));
        }
        let regions = regions(&out);
        assert_eq!(regions.len(), 1, "frame {frame}");
        assert_eq!(regions[0].1, 1, "the id changes at frame {frame}");
    }
    assert_eq!(bench.stat("analyses"), 5);
    assert_eq!(bench.stat("detector-runs"), 1);
    assert_eq!(bench.stat("faces"), 1);
    assert!(bench.stat("last-analysis-time") > 0 && bench.stat("mean-analysis-time") > 0);
    assert!(
        bench
            .element
            .property::<Option<String>>("active-provider")
            .is_some()
    );

    // The face leaves: the next analysis drops its region, the same place brings it back.
    let gone: Vec<_> = (30..42)
        .map(|f| regions(&bench.push(&[], f)).len())
        .collect();
    assert_eq!(gone, [0; 12]);
    let back = regions(&bench.push(&[(62, 22)], 42));
    assert_eq!((back.len(), back[0].1), (1, 1));
    // Elsewhere it is another face.
    bench.push(&[], 48);
    let info = bench.info.clone();
    let elsewhere = picture(&info, &[(119, 39)], frame_time(54));
    let elsewhere = bench.harness.push_and_pull(elsewhere).expect("out");
    let found = regions(&elsewhere);
    assert_eq!(found.len(), 1);
    // The rate can change while playing.
    bench
        .element
        .set_property("rate", gst::Fraction::new(30, 1));
    for frame in 55..60 {
        let out = bench.push(&[(119, 39)], frame);
        assert_eq!(FaceUnitsMeta::all_from_buffer(&out).len(), 1);
    }
}

#[test]
fn several_faces_keep_their_ids() {
    if !ready("several_faces_keep_their_ids") {
        return;
    }
    let mut bench = Bench::new(
        info(VideoFormat::Rgb, 480, 240),
        &[("sync", "wait"), ("rate", "0/1"), ("max-faces", "3")],
    );
    let mut ids: Option<[u64; 2]> = None;
    for frame in 0..12u64 {
        // Both drift to the right.
        let shift = frame as usize * 3;
        let out = bench.push(&[(shift, 20), (240 + shift, 30)], frame);
        let mut found = regions(&out);
        found.sort_by_key(|r| r.0.0);
        assert_eq!(found.len(), 2, "frame {frame}");
        assert!(found[0].0.0 < 200 && found[1].0.0 > 240, "{found:?}");
        let now = [found[0].1, found[1].1];
        assert_eq!(*ids.get_or_insert(now), now, "frame {frame}");
        assert_ne!(now[0], now[1]);
        let mut units: Vec<u64> = FaceUnitsMeta::all_from_buffer(&out)
            .iter()
            .map(|u| u.track_id)
            .collect();
        units.sort();
        let mut now = now;
        now.sort();
        assert_eq!(units, now);
    }
    // One leaves, the other keeps its id; then only one is wanted.
    let ids = ids.expect("frames");
    let one = regions(&bench.push(&[(273, 30)], 12));
    assert_eq!((one.len(), one[0].1), (1, ids[1]));
    bench.element.set_property("max-faces", 1u32);
    assert_eq!(regions(&bench.push(&[(33, 20), (273, 30)], 13)).len(), 1);
}

#[test]
fn a_tilted_head_is_read_like_an_upright_one() {
    if !ready("a_tilted_head_is_read_like_an_upright_one") {
        return;
    }
    let mut smiles = Vec::new();
    let mut rects = Vec::new();
    for turn in ["identity", "90r"] {
        let line = format!(
            "filesrc location={PORTRAIT} ! jpegdec ! videoconvert ! video/x-raw,format=RGB \
             ! videoflip video-direction={turn} ! facetrack model={MODELS} sync=wait ! appsink name=sink"
        );
        let pipeline = gst::parse::launch(&line)
            .expect("line")
            .downcast::<gst::Pipeline>()
            .expect("pipeline");
        pipeline.set_state(gst::State::Playing).expect("playing");
        let sink = pipeline
            .by_name("sink")
            .and_downcast::<gst_app::AppSink>()
            .expect("sink");
        let sample = sink.pull_sample().expect("one picture");
        let buffer = sample.buffer().expect("buffer");
        let units = FaceUnitsMeta::all_from_buffer(buffer);
        assert_eq!(units.len(), 1, "{turn}");
        smiles.push(unit(&units[0], "mouthSmileLeft"));
        rects.push(regions(buffer)[0].0);
        pipeline.set_state(gst::State::Null).expect("null");
    }
    assert!((smiles[0] - smiles[1]).abs() < 0.15, "{smiles:?}");
    let (upright, lying) = (rects[0], rects[1]);
    assert!(upright.3 > upright.2 && lying.2 > lying.3, "{rects:?}");
}

#[test]
fn somebody_elses_region_stands_in_for_the_detector() {
    if !ready("somebody_elses_region_stands_in_for_the_detector") {
        return;
    }
    let mut bench = Bench::new(
        info(VideoFormat::Rgb, 320, 240),
        &[("sync", "wait"), ("rate", "0/1")],
    );
    for frame in 0..3 {
        let mut buffer = picture(&bench.info, &[(60, 20)], frame_time(frame));
        gst_video::VideoRegionOfInterestMeta::add(
            buffer.get_mut().expect("own buffer"),
            FACE_REGION,
            (110, 60, 90, 110),
        );
        let out = bench.harness.push_and_pull(buffer).expect("out");
        assert_eq!(FaceUnitsMeta::all_from_buffer(&out).len(), 1);
        let metas = out.iter_meta::<gst_video::VideoRegionOfInterestMeta>();
        assert_eq!(metas.count(), 1, "a second region was added");
    }
    assert_eq!(bench.stat("detector-runs"), 0);
}

#[test]
fn waiting_gives_the_same_twice() {
    if !ready("waiting_gives_the_same_twice") {
        return;
    }
    let run = || {
        let mut bench = Bench::new(info(VideoFormat::Nv12, 400, 240), &[("sync", "wait")]);
        let mut all = Vec::new();
        for frame in 0..40u64 {
            let faces = [(frame as usize * 4, 20)];
            let out = bench.push(if frame < 30 { &faces } else { &[] }, frame);
            all.push((regions(&out), FaceUnitsMeta::all_from_buffer(&out)));
        }
        all
    };
    let (first, second) = (run(), run());
    assert!(first.iter().filter(|(_, units)| !units.is_empty()).count() >= 5);
    assert_eq!(first, second);
}

#[test]
fn live_results_ride_on_later_frames() {
    if !ready("live_results_ride_on_later_frames") {
        return;
    }
    let mut bench = Bench::new(
        info(VideoFormat::I420, 640, 480),
        &[("sync", "live"), ("rate", "5/1")],
    );
    bench.wait_until_ready();
    let mut times = Vec::new();
    for frame in 0..60 {
        let out = bench.push(&[(200, 100)], frame);
        let units = FaceUnitsMeta::all_from_buffer(&out);
        for units in &units {
            assert!(units.time < frame_time(frame), "never on its own frame");
            times.push(units.time);
        }
        assert_eq!(
            regions(&out).len(),
            usize::from(!times.is_empty()),
            "frame {frame}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    // Frames come three times as fast as they say: an analysis may be left out.
    assert!(times.len() >= 5, "{times:?}");
    assert!(
        times.is_sorted_by(|a, b| a < b),
        "each analysis once: {times:?}"
    );
    let start = Instant::now();
    while bench.stat("analyses") + bench.stat("dropped") < 10 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "a due frame was neither analysed nor counted"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(bench.stat("analyses") + bench.stat("dropped"), 10);
}

#[test]
fn large_frames_are_followed_in_a_thinned_copy() {
    if !ready("large_frames_are_followed_in_a_thinned_copy") {
        return;
    }
    let mut bench = Bench::new(
        info(VideoFormat::Rgb, 1920, 1080),
        &[("sync", "live"), ("rate", "0/1")],
    );
    bench.wait_until_ready();
    // Large enough for the short-range detector: four portraits tall.
    let line = format!(
        "filesrc location={PORTRAIT} ! jpegdec ! videoconvert ! videoscale add-borders=true \
         ! video/x-raw,format=RGB,width=1920,height=1080,pixel-aspect-ratio=1/1 ! appsink name=sink"
    );
    let pipeline = gst::parse::launch(&line)
        .expect("line")
        .downcast::<gst::Pipeline>()
        .expect("pipeline");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let sink = pipeline
        .by_name("sink")
        .and_downcast::<gst_app::AppSink>()
        .expect("sink");
    let picture = sink.pull_sample().expect("one picture");
    pipeline.set_state(gst::State::Null).expect("null");
    let mut found = Vec::new();
    for frame in 0..100 {
        let mut buffer = picture.buffer_owned().expect("buffer");
        buffer.make_mut().set_pts(frame_time(frame));
        let out = bench.harness.push_and_pull(buffer).expect("out");
        found = regions(&out);
        if !found.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // The face of the portrait, 5.4 times as large, in the middle of the frame.
    let (x, y, w, h) = found.first().expect("a face").0;
    assert!(
        (650..780).contains(&x) && (130..420).contains(&y),
        "{found:?}"
    );
    assert!(
        (330..620).contains(&w) && (430..760).contains(&h),
        "{found:?}"
    );
}

#[test]
fn a_new_size_a_flush_and_the_end_are_survived() {
    if !ready("a_new_size_a_flush_and_the_end_are_survived") {
        return;
    }
    for sync in ["wait", "live"] {
        let mut bench = Bench::new(
            info(VideoFormat::I420, 320, 240),
            &[("sync", sync), ("rate", "0/1")],
        );
        bench.wait_until_ready();
        let settle = |bench: &mut Bench, from: u64| {
            for frame in from..from + 100 {
                let out = bench.push(&[(60, 20)], frame);
                if let [region] = regions(&out)[..] {
                    return region;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            panic!("no face ({sync})");
        };
        let (_, first, _) = settle(&mut bench, 0);

        bench.info = info(VideoFormat::Bgrx, 640, 360);
        bench
            .harness
            .set_src_caps(bench.info.to_caps().expect("caps"));
        if sync == "live" {
            let out = bench.push(&[(60, 20)], 200);
            assert!(regions(&out).is_empty(), "a region of the old size");
        }
        let ((x, _, _, _), second, _) = settle(&mut bench, 201);
        assert!((90..130).contains(&x), "{x}");
        assert_ne!(first, second, "another picture is another face");

        assert!(bench.harness.push_event(gst::event::FlushStart::new()));
        assert!(bench.harness.push_event(gst::event::FlushStop::new(true)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(bench.harness.push_event(gst::event::Segment::new(&segment)));
        let (_, third, _) = settle(&mut bench, 0);
        assert_ne!(second, third, "a jump in time is another face");

        assert!(bench.harness.push_event(gst::event::Eos::new()));
        assert!(bench.message(gst::MessageType::Error).is_none());
    }
}

#[test]
fn a_flush_releases_a_frame_that_waits() {
    if !ready("a_flush_releases_a_frame_that_waits") {
        return;
    }
    // The models are still loading when the first frame comes, so that it waits.
    for _ in 0..5 {
        let mut bench = Bench::new(info(VideoFormat::I420, 320, 240), &[("sync", "wait")]);
        let element = bench.element.clone();
        let buffer = picture(&bench.info, &[], frame_time(0));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                let sink = element.static_pad("sink").expect("sink");
                sink.send_event(gst::event::FlushStart::new());
            });
            let result = bench.harness.push(buffer);
            // Unless the machine was faster than the flush.
            assert!(
                matches!(result, Ok(_) | Err(gst::FlowError::Flushing)),
                "{result:?}"
            );
        });
    }
}

#[test]
fn states_go_up_and_down_fifty_times() {
    if !ready("states_go_up_and_down_fifty_times") {
        return;
    }
    for sync in ["live", "wait"] {
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc is-live={} ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 \
             ! facetrack model={MODELS} sync={sync} ! fakesink",
            sync == "live"
        ))
        .expect("line")
        .downcast::<gst::Pipeline>()
        .expect("pipeline");
        let bus = pipeline.bus().expect("bus");
        for round in 0..50u64 {
            pipeline.set_state(gst::State::Playing).expect("playing");
            // From at once to well into the stream.
            std::thread::sleep(Duration::from_millis(round % 5 * 20));
            pipeline.set_state(gst::State::Null).expect("null");
            let error = bus.pop_filtered(&[gst::MessageType::Error]);
            assert!(error.is_none(), "round {round}: {error:?}");
        }
    }
}

#[test]
fn frames_that_cannot_be_read_pass_with_one_warning() {
    if !ready("frames_that_cannot_be_read_pass_with_one_warning") {
        return;
    }
    for sync in ["wait", "live"] {
        let mut bench = Bench::new(
            info(VideoFormat::Rgb, 320, 240),
            &[
                ("sync", sync),
                ("rate", "0/1"),
                ("execution-provider", "cpu"),
            ],
        );
        bench.wait_until_ready();
        for frame in 0..3 {
            // Too little memory for the caps cannot be mapped as a frame.
            let mut buffer = gst::Buffer::with_size(10).expect("memory");
            buffer
                .get_mut()
                .expect("own buffer")
                .set_pts(frame_time(frame));
            bench.harness.push_and_pull(buffer).expect("passes");
        }
        let warning = bench.message(gst::MessageType::Warning).expect("a warning");
        assert!(text(&warning).contains("cannot be read"), "{warning:?}");
        assert!(bench.message(gst::MessageType::Warning).is_none());
        assert!(bench.message(gst::MessageType::Error).is_none());

        // So do frames without a time.
        let mut buffer = picture(&bench.info, &[(60, 20)], frame_time(0));
        buffer.get_mut().expect("own buffer").set_pts(None);
        bench.harness.push_and_pull(buffer).expect("passes");
        assert!(bench.message(gst::MessageType::Warning).is_some());
    }
}

#[test]
fn other_formats_are_refused_at_negotiation() {
    init();
    let element = gst::ElementFactory::make("facetrack")
        .build()
        .expect("facetrack");
    let sink = element.static_pad("sink").expect("sink");
    let caps = |format| info(format, 64, 64).to_caps().expect("caps");
    for format in FORMATS {
        assert!(sink.query_accept_caps(&caps(format)), "{format:?}");
    }
    assert!(!sink.query_accept_caps(&caps(VideoFormat::Ayuv)));
    // Memory of any kind is let through.
    let mut nv12 = caps(VideoFormat::Nv12);
    nv12.make_mut()
        .set_features(0, Some(gst::CapsFeatures::new(["memory:CUDAMemory"])));
    assert!(sink.query_accept_caps(&nv12));

    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=2 ! capsfilter caps=video/x-raw,format=AYUV ! facetrack model={MODELS} ! fakesink"
    ));
    assert!(
        pipeline.is_err() || {
            let pipeline = pipeline.expect("line");
            let _ = pipeline.set_state(gst::State::Playing);
            let bus = pipeline.bus().expect("bus");
            let error = bus
                .timed_pop_filtered(gst::ClockTime::from_seconds(10), &[gst::MessageType::Error]);
            pipeline.set_state(gst::State::Null).expect("null");
            error.is_some()
        }
    );
}

/// The text of the error that starting with `directory` as models gives.
fn start_error(directory: &std::path::Path) -> String {
    let element = gst::ElementFactory::make("facetrack")
        .build()
        .expect("facetrack");
    element.set_property("model", directory.to_str());
    error_of(&element)
}

/// The text of the error that starting `element` gives. A load that fails soon
/// fails the change of state, a slower one only the bus tells of.
fn error_of(element: &gst::Element) -> String {
    element.set_property_from_str("sync", "wait");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let _ = element.set_state(gst::State::Paused);
    let message = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Error])
        .expect("an error on the bus");
    element.set_state(gst::State::Null).expect("null");
    let gst::MessageView::Error(e) = message.view() else {
        unreachable!()
    };
    e.error().to_string()
}

fn models_copy(change: impl Fn(&std::path::Path)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("directory");
    for file in std::fs::read_dir(MODELS).expect("models").flatten() {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("copy");
    }
    change(copy.path());
    copy
}

#[test]
fn missing_models_are_named() {
    init();
    let text = start_error(std::path::Path::new("/no/such/models"));
    assert!(
        text.contains("/no/such/models") && text.contains("model"),
        "{text}"
    );
    let copy = models_copy(|d| {
        std::fs::remove_file(d.join("face_blendshapes.onnx")).expect("remove");
    });
    let text = start_error(copy.path());
    assert!(text.contains("face_blendshapes.onnx is missing"), "{text}");
}

#[test]
fn wrong_models_are_named() {
    if !ready("wrong_models_are_named") {
        return;
    }
    let garbage = models_copy(|d| {
        std::fs::write(d.join("face_detector.onnx"), b"this is no graph").expect("write");
    });
    let text = start_error(garbage.path());
    assert!(text.contains("face_detector.onnx"), "{text}");
    let swapped = models_copy(|d| {
        std::fs::copy(
            d.join("face_detector.onnx"),
            d.join("face_blendshapes.onnx"),
        )
        .expect("copy");
    });
    let text = start_error(swapped.path());
    assert!(
        text.contains("face_blendshapes.onnx")
            && text.contains("146")
            && text.contains("[1,128,128,3]"),
        "{text}"
    );
}

/// How long a live element keeps a frame. Run it alone, in a release build:
/// `cargo test --release --test facetrack -- --ignored --nocapture dwell`.
#[test]
#[ignore = "a measurement"]
fn dwell() {
    assert!(ready("dwell"));
    for (format, width, height) in [
        (VideoFormat::I420, 640, 480),
        (VideoFormat::Rgb, 640, 480),
        (VideoFormat::Bgrx, 1280, 720),
        (VideoFormat::I420, 1920, 1080),
        (VideoFormat::Rgb, 1920, 1080),
        (VideoFormat::Bgrx, 3840, 2160),
    ] {
        let mut bench = Bench::new(info(format, width, height), &[("sync", "live")]);
        bench.wait_until_ready();
        // A few buffers in turn, as a source's pool has them.
        let pool: Vec<_> = (0..4)
            .map(|_| picture(&bench.info, &[(200, 100)], frame_time(0)))
            .collect();
        let mut nanoseconds = Vec::new();
        let start = Instant::now();
        for frame in 0..300 {
            let mut buffer = pool[frame as usize % pool.len()].clone();
            buffer.make_mut().set_pts(frame_time(frame));
            let due = Duration::from(frame_time(frame));
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let before = Instant::now();
            bench.harness.push(buffer).expect("out");
            nanoseconds.push(before.elapsed().as_nanos() as u64);
            bench.harness.pull().expect("out");
        }
        nanoseconds.sort();
        let at = |q: f64| nanoseconds[(nanoseconds.len() as f64 * q) as usize] as f64 / 1e6;
        println!(
            "{format:?} {width}x{height}: dwell p50 {:.3} p90 {:.3} p99 {:.3} max {:.3} ms; {} analyses, mean {:.1} ms",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.9999),
            bench.stat("analyses"),
            bench.stat("mean-analysis-time") as f64 / 1e6
        );
    }
}
