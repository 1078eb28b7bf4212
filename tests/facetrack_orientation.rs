// SPDX-License-Identifier: MPL-2.0
//! `facetrack` on video that lies or is mirrored: the units are those of the upright face, the
//! region is where the face is in the frame as it passes. The portrait is a part of
//! scikit-image's public-domain astronaut.png (NASA).

use gst::prelude::*;
use gstmvp::FaceUnitsMeta;
use gstmvp::meta::FACE_REGION;
use std::path::PathBuf;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/face");
const PORTRAIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/face_portrait.jpg");

/// The tag, what makes a picture upright that has it, what made it so, by the names of
/// `videoflip`.
const ORIENTATIONS: [(&str, &str, &str); 8] = [
    ("rotate-0", "identity", "identity"),
    ("rotate-90", "90r", "90l"),
    ("rotate-180", "180", "180"),
    ("rotate-270", "90l", "90r"),
    ("flip-rotate-0", "horiz", "horiz"),
    ("flip-rotate-90", "ur-ll", "ur-ll"),
    ("flip-rotate-180", "vert", "vert"),
    ("flip-rotate-270", "ul-lr", "ul-lr"),
];

/// Of a unit, 0–1. The pixels are the same; what differs is the rounding of where they are.
const TOLERANCE: f64 = 2e-3;
/// Of the edges of a region.
const PIXELS: i64 = 2;

fn ready(test: &str) -> bool {
    static REGISTERED: std::sync::Once = std::sync::Once::new();
    REGISTERED.call_once(|| {
        gst::init().expect("gst");
        gstmvp::plugin_register_static().expect("plugin");
    });
    match onnx::Runtime::load(None) {
        Ok(_) => true,
        Err(e @ onnx::Error::LibraryNotFound { .. }) => {
            eprintln!("SKIPPED {test}: {e}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

#[derive(Debug, Clone)]
struct Seen {
    units: Vec<(String, f64)>,
    track: u64,
    /// x, y, width, height.
    region: (i64, i64, i64, i64),
    size: (i64, i64),
}

impl Seen {
    fn unit(&self, name: &str) -> f64 {
        let found = self.units.iter().find(|u| u.0 == name);
        found.unwrap_or_else(|| panic!("no {name}")).1
    }

    fn difference(&self, other: &Self) -> f64 {
        assert_eq!(self.units.len(), other.units.len());
        let pairs = self.units.iter().zip(&other.units);
        pairs.map(|(a, b)| (a.1 - b.1).abs()).fold(0.0, f64::max)
    }
}

/// Runs a line that ends in `facetrack name=face` and the rest, for every frame.
fn play(line: &str, sync: &str) -> (Vec<Option<Seen>>, String) {
    let pipeline = gst::parse::launch(&format!(
        "{line} ! facetrack name=face rate=0/1 sync={sync} model={MODELS} \
         ! appsink name=sink sync=false"
    ))
    .expect("line")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>();
    let sink = sink.expect("sink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let mut seen = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("video");
        let buffer = sample.buffer().expect("buffer");
        let units = FaceUnitsMeta::all_from_buffer(buffer);
        let region = buffer
            .iter_meta::<gst_video::VideoRegionOfInterestMeta>()
            .find(|m| m.roi_type() == FACE_REGION)
            .map(|m| m.rect());
        let size = (i64::from(info.width()), i64::from(info.height()));
        seen.push(region.zip(units.into_iter().next()).map(|(r, units)| Seen {
            units: units.units,
            track: units.track_id,
            region: (r.0.into(), r.1.into(), r.2.into(), r.3.into()),
            size,
        }));
    }
    let bus = pipeline.bus().expect("bus");
    let error = bus.pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
    let face = pipeline.by_name("face").expect("face");
    let stats = face.property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null).expect("null");
    (seen, stats.get("orientation").expect("orientation"))
}

/// The portrait in an upright picture of 320x240, not in its middle, turned by `made`.
fn portrait(format: &str, made: &str, frames: u32) -> String {
    format!(
        "filesrc location={PORTRAIT} ! jpegdec ! imagefreeze num-buffers={frames} \
         ! videobox left=-90 right=-30 top=-10 bottom=-30 \
         ! videoconvert ! video/x-raw,format={format} ! videoflip video-direction={made}"
    )
}

fn inject(tag: &str) -> String {
    format!("taginject tags=\"image-orientation={tag}\"")
}

/// Where a box of the upright picture is in one that `upright` makes upright.
fn place(upright: &str, of: &Seen) -> (i64, i64, i64, i64) {
    let ((x, y, w, h), (width, height)) = (of.region, of.size);
    match upright {
        "identity" => (x, y, w, h),
        // A point (x, y) of the upright picture was at (y, width − x) before the turn.
        "90r" => (y, width - x - w, h, w),
        "180" => (width - x - w, height - y - h, w, h),
        "90l" => (height - y - h, x, h, w),
        "horiz" => (width - x - w, y, w, h),
        "vert" => (x, height - y - h, w, h),
        "ul-lr" => (y, x, h, w),
        "ur-ll" => (height - y - h, width - x - w, h, w),
        _ => unreachable!(),
    }
}

#[track_caller]
fn near(found: (i64, i64, i64, i64), expected: (i64, i64, i64, i64), what: &str) {
    let [a, b] = [found, expected].map(|r| [r.0, r.1, r.0 + r.2, r.1 + r.3]);
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).max();
    assert!(off <= Some(PIXELS), "{what}: {found:?}, {expected:?}");
}

#[test]
fn units_are_those_of_the_upright_face_by_tag_and_by_property() {
    if !ready("units_are_those_of_the_upright_face_by_tag_and_by_property") {
        return;
    }
    for format in ["RGB", "I420"] {
        let (upright, named) = play(&portrait(format, "identity", 1), "wait");
        assert_eq!(named, "identity");
        let upright = upright[0].clone().expect("the upright face");
        // The portrait is not symmetrical, so that a swap of the sides would show.
        let sides = upright.unit("eyeLookOutLeft") - upright.unit("eyeLookOutRight");
        assert!(sides.abs() > 10.0 * TOLERANCE, "{sides}");
        for (tag, makes_upright, made) in ORIENTATIONS {
            let picture = portrait(format, made, 1);
            let tagged = play(&format!("{picture} ! {}", inject(tag)), "wait");
            // The property counts, whatever the tag says.
            let wrong = inject("rotate-0");
            let line = format!("{picture} ! {wrong}");
            let set = {
                let line = format!("{line} ! identity");
                play_with(&line, makes_upright)
            };
            for ((frames, named), how) in [(tagged, "tag"), (set, "property")] {
                let what = format!("{format} {tag} by {how}");
                assert_eq!(named, makes_upright, "{what}");
                let seen = frames[0]
                    .clone()
                    .unwrap_or_else(|| panic!("{what}: no face"));
                let off = seen.difference(&upright);
                println!("{what}: units differ by at most {off:.1e}");
                assert!(off < TOLERANCE, "{what}: {off}");
                near(seen.region, place(makes_upright, &upright), &what);
            }
        }
    }
}

/// As [`play`], with the property.
fn play_with(line: &str, orientation: &str) -> (Vec<Option<Seen>>, String) {
    // Properties of an element on a line may follow one another.
    play(line, &format!("wait orientation={orientation}"))
}

#[test]
fn a_tag_in_the_middle_of_the_stream_counts_from_the_next_frame_on() {
    if !ready("a_tag_in_the_middle_of_the_stream_counts_from_the_next_frame_on") {
        return;
    }
    let (upright, _) = play(&portrait("RGB", "identity", 1), "wait");
    let upright = upright[0].clone().expect("the upright face");
    for sync in ["wait", "live"] {
        let element = gst::ElementFactory::make("facetrack")
            .property("model", MODELS)
            .property("rate", gst::Fraction::new(0, 1))
            .property_from_str("sync", sync)
            .build()
            .expect("facetrack");
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        harness.play();
        let loaded = || {
            element
                .property::<Option<String>>("active-provider")
                .is_some()
        };
        let begun = std::time::Instant::now();
        while !loaded() {
            assert!(begun.elapsed().as_secs() < 60, "never ready");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, 320, 240)
            .fps((30, 1))
            .build()
            .expect("info");
        harness.set_src_caps(info.to_caps().expect("caps"));
        let mut frame = 0;
        for (tag, made) in [(None, "identity"), (Some("rotate-180"), "180")] {
            if let Some(tag) = tag {
                let mut tags = gst::TagList::new();
                let list = tags.make_mut();
                list.add::<gst::tags::ImageOrientation>(&tag, gst::TagMergeMode::Append);
                assert!(harness.push_event(gst::event::Tag::new(tags)));
                // Other tags say nothing of it.
                let mut tags = gst::TagList::new();
                let list = tags.make_mut();
                list.add::<gst::tags::Title>(&"film", gst::TagMergeMode::Append);
                assert!(harness.push_event(gst::event::Tag::new(tags)));
            }
            let pixels = pixels(made);
            let begun = std::time::Instant::now();
            let seen = loop {
                assert!(begun.elapsed().as_secs() < 60, "{sync} {tag:?}: no face");
                let mut buffer = gst::Buffer::from_slice(pixels.clone());
                let writable = buffer.get_mut().expect("own");
                writable.set_pts(gst::ClockTime::from_mseconds(frame * 33));
                frame += 1;
                let out = harness.push_and_pull(buffer).expect("out");
                let units = FaceUnitsMeta::all_from_buffer(&out);
                let region = out
                    .iter_meta::<gst_video::VideoRegionOfInterestMeta>()
                    .find(|m| m.roi_type() == FACE_REGION)
                    .map(|m| m.rect());
                if let (Some(units), Some(r)) = (units.into_iter().next(), region) {
                    break Seen {
                        units: units.units,
                        track: units.track_id,
                        region: (r.0.into(), r.1.into(), r.2.into(), r.3.into()),
                        size: (320, 240),
                    };
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            };
            let off = seen.difference(&upright);
            assert!(off < TOLERANCE, "{sync} {tag:?}: {off}");
            near(seen.region, place(made, &upright), sync);
        }
        // A new stream is upright until a tag says otherwise.
        let stats = || {
            let stats = element.property::<gst::Structure>("stats");
            stats.get::<String>("orientation").expect("orientation")
        };
        assert_eq!(stats(), "180");
        assert!(harness.push_event(gst::event::StreamStart::new("another")));
        harness.set_src_caps(info.to_caps().expect("caps"));
        assert!(
            harness.push_event(gst::event::Segment::new(&gst::FormattedSegment::<
                gst::ClockTime,
            >::new()))
        );
        let mut buffer = gst::Buffer::from_slice(pixels("identity"));
        buffer.get_mut().expect("own").set_pts(gst::ClockTime::ZERO);
        harness.push_and_pull(buffer).expect("out");
        assert_eq!(stats(), "identity");
    }
}

/// The pixels of [`portrait`], RGB.
fn pixels(made: &str) -> Vec<u8> {
    let pipeline = gst::parse::launch(&format!(
        "{} ! appsink name=sink sync=false",
        portrait("RGB", made, 1)
    ))
    .expect("line")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>();
    pipeline.set_state(gst::State::Playing).expect("playing");
    let sample = sink.expect("sink").pull_sample().expect("one picture");
    let map = sample.buffer().expect("buffer").map_readable();
    let pixels = map.expect("map").to_vec();
    pipeline.set_state(gst::State::Null).expect("null");
    pixels
}

#[test]
fn a_real_clip_has_the_units_of_the_upright_clip_in_every_frame() {
    let test = "a_real_clip_has_the_units_of_the_upright_clip_in_every_frame";
    if !ready(test) {
        return;
    }
    let media = std::env::var_os("GSTMVP_MEDIA").map(PathBuf::from);
    let Some(clip) = media
        .map(|m| m.join("single_face.mp4"))
        .filter(|c| c.is_file())
    else {
        eprintln!("SKIPPED {test}: GSTMVP_MEDIA names no directory with single_face.mp4");
        return;
    };
    let line = |made: &str| {
        format!(
            "filesrc location={} ! decodebin ! videoconvert ! video/x-raw,format=RGB \
             ! videoflip video-direction={made}",
            clip.display()
        )
    };
    let (upright, _) = play(&line("identity"), "wait");
    assert!(upright.len() > 60 && upright.iter().all(Option::is_some));
    for (tag, makes_upright, made) in &ORIENTATIONS[1..] {
        let (seen, _) = play(&format!("{} ! {}", line(made), inject(tag)), "wait");
        assert_eq!(seen.len(), upright.len(), "{tag}");
        let mut worst = 0.0_f64;
        for (i, (seen, upright)) in seen.iter().zip(&upright).enumerate() {
            let (Some(seen), Some(upright)) = (seen, upright) else {
                panic!("{tag}: no face in frame {i}");
            };
            assert_eq!(seen.track, upright.track, "{tag} {i}");
            worst = worst.max(seen.difference(upright));
            let what = format!("{tag} frame {i}");
            near(seen.region, place(makes_upright, upright), &what);
        }
        println!(
            "{tag}: in {} frames units differ by at most {worst:.1e}",
            seen.len()
        );
        assert!(worst < 5.0 * TOLERANCE, "{tag}: {worst}");
    }
}
