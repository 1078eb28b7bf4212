// SPDX-License-Identifier: MPL-2.0
mod overlay_support;

use gst::{ClockTime, prelude::*};
use gstmvp::EmotionMeta;
use overlay_support::*;

/// `GSTMVP_PREVIEW_DIR=FOLDER cargo test --test emotionoverlay -- --ignored preview`
#[test]
#[ignore = "writes PNG files for a person to look at"]
fn preview() {
    init();
    let dir = std::env::var_os("GSTMVP_PREVIEW_DIR").expect("GSTMVP_PREVIEW_DIR is set");
    let dir = std::path::PathBuf::from(dir);
    type Change = fn(&mut EmotionMeta);
    let untrained: Change = |m| {
        m.model = "mvp-fixture 0.1.0".into();
        m.trained = false;
        m.warming_up = true;
        for m in &mut m.modalities {
            m.coverage *= 0.34;
        }
    };
    let cases: [(&str, &str, Option<Change>, bool); 6] = [
        ("default", "", Some(|_| ()), true),
        (
            "all",
            "show=label+bars+coverage+traces+model+face position=top-right",
            Some(|_| ()),
            true,
        ),
        (
            "untrained",
            "show=label+bars+coverage+model+face",
            Some(untrained),
            true,
        ),
        (
            "stale",
            "position=bottom-right",
            Some(|m| m.age = ClockTime::from_seconds(7)),
            true,
        ),
        (
            "uncertain",
            "position=bottom-left show=label+bars+coverage+traces+face",
            Some(|m| {
                m.confidence = 0.05;
                m.arousal = f64::NAN;
                m.label = "a much longer label than usual".into();
            }),
            true,
        ),
        ("waiting", "", None, false),
    ];
    for (w, h) in [(640, 480), (1280, 720), (320, 240), (480, 854)] {
        for (name, overlay, change, face) in &cases {
            let (change, face) = (*change, *face);
            snapshot(
                &dir.join(format!("{name}-{w}x{h}.png")),
                (w, h),
                overlay,
                Box::new(move |n, b| {
                    if let Some(change) = change {
                        let mut m = result(n);
                        change(&mut m);
                        m.attach(b).expect("attach");
                        traces().attach(b).expect("attach");
                        body(0.93).attach(b).expect("attach");
                    }
                    if face {
                        let area = (w * 5 / 12, h / 4, w / 4, h * 2 / 5);
                        gst_video::VideoRegionOfInterestMeta::add(b, "face", area);
                    }
                }),
            );
        }
    }
    // A face in each corner and in the middle, as a webcam sees it, and one close up.
    for (w, h) in [(640, 480), (1920, 1080), (3840, 2160)] {
        for (place, x, y, width, height) in [
            ("top-left", 0.04, 0.06, 0.2, 0.36),
            ("top-right", 0.76, 0.06, 0.2, 0.36),
            ("bottom-left", 0.04, 0.58, 0.2, 0.36),
            ("bottom-right", 0.76, 0.58, 0.2, 0.36),
            ("middle", 0.38, 0.2, 0.24, 0.42),
            ("close", 0.33, 0.1, 0.34, 0.6),
        ] {
            let of = |share: f64, whole: u32| (share * f64::from(whole)) as u32;
            let area = (of(x, w), of(y, h), of(width, w), of(height, h));
            snapshot(
                &dir.join(format!("face-{place}-{w}x{h}.png")),
                (w, h),
                "show=label+bars+coverage+traces+face",
                Box::new(move |n, b| {
                    result(n).attach(b).expect("attach");
                    traces().attach(b).expect("attach");
                    body(0.93).attach(b).expect("attach");
                    gst_video::VideoRegionOfInterestMeta::add(b, "face", area);
                }),
            );
        }
    }
}

fn with_result() -> Box<Attach> {
    Box::new(|n, b| result(n).attach(b).expect("attach"))
}

#[test]
fn the_panel_is_in_the_corner_that_was_asked_for() {
    init();
    let corners = [
        ("top-left", (0, 0, 320, 240)),
        ("top-right", (320, 0, 640, 240)),
        ("bottom-left", (0, 240, 320, 480)),
        ("bottom-right", (320, 240, 640, 480)),
    ];
    for (position, _) in corners {
        let frames = blended(GRAY, &format!("position={position}"), with_result());
        assert_eq!(frames.len(), 3);
        for (corner, area) in corners {
            let n = drawn(&frames[0], area);
            assert_eq!(
                n > 5000,
                position == corner,
                "{position}: {n} pixels in {corner}"
            );
        }
        assert_eq!(frames[0], frames[2], "equal results, equal pictures");
    }
}

#[test]
fn nothing_asked_nothing_drawn() {
    init();
    let all = (0, 0, 640, 480);
    // No result and no note asked for; a result of which nothing is asked for.
    let frames = blended(
        GRAY,
        "show=label+bars+coverage+traces+face",
        Box::new(|_, _| ()),
    );
    assert_eq!(drawn(&frames[0], all), 0);
    let frames = blended(GRAY, "show=face", with_result());
    assert_eq!(drawn(&frames[0], all), 0);
    // By default a small note says what is missing.
    let frames = blended(GRAY, "", Box::new(|_, _| ()));
    let note = drawn(&frames[0], all);
    assert!((1000..12_000).contains(&note), "{note}");
}

#[test]
fn the_face_is_outlined() {
    init();
    let frames = blended(
        GRAY,
        "show=face",
        Box::new(|_, b| {
            gst_video::VideoRegionOfInterestMeta::add(b, "face", (400, 250, 120, 150));
            gst_video::VideoRegionOfInterestMeta::add(b, "car", (20, 20, 200, 200));
            // Partly and wholly outside of the frame.
            gst_video::VideoRegionOfInterestMeta::add(b, "face", (600, 440, 500, 500));
            gst_video::VideoRegionOfInterestMeta::add(
                b,
                "face",
                (4_000_000_000, 10, 4_000_000_000, 9),
            );
        }),
    );
    let f = &frames[0];
    for (x, y) in [(400, 250), (500, 250), (400, 380), (500, 380)] {
        assert!(drawn(f, (x, y, x + 20, y + 20)) > 20, "corner at {x},{y}");
    }
    assert!(drawn(f, (620, 460, 640, 480)) > 20, "clipped to the frame");
    assert_eq!(
        drawn(f, (430, 280, 490, 370)),
        0,
        "the face itself is left alone"
    );
    assert_eq!(
        drawn(f, (0, 0, 300, 230)),
        0,
        "other regions are not outlined"
    );
}

#[test]
fn traces_are_drawn_opposite_to_the_panel() {
    init();
    let attach = || -> Box<Attach> {
        Box::new(|n, b| {
            result(n).attach(b).expect("attach");
            traces().attach(b).expect("attach");
        })
    };
    let without = blended(GRAY, "", attach());
    let frames = blended(GRAY, "show=label+bars+traces", attach());
    let bottom = (0, 300, 640, 480);
    assert_eq!(drawn(&without[0], bottom), 0);
    assert!(drawn(&frames[0], bottom) > 40_000);
}

#[test]
fn attached_where_downstream_takes_it_and_drawn_only_on_change() {
    init();
    let rects = attached(
        "",
        30,
        GRAY,
        Box::new(|n, b| {
            let mut m = result(n / 10);
            // Ten frames each: fresh, fresh with other numbers, too old by whole seconds.
            m.age = ClockTime::from_mseconds(100 * (n % 10));
            match n / 10 {
                1 => m.valence = 0.9,
                2 => m.age += ClockTime::from_mseconds(5500),
                _ => (),
            }
            m.attach(b).expect("attach");
        }),
    );
    assert_eq!(rects.len(), 30);
    let seqnums: Vec<_> = rects
        .iter()
        .map(|r| {
            assert_eq!(r.len(), 1, "the panel alone");
            r[0].seqnum()
        })
        .collect();
    let mut runs = seqnums.clone();
    runs.dedup();
    // Fresh, changed, 5 s old, 6 s old.
    assert_eq!(runs.len(), 4, "{seqnums:?}");
    assert!(seqnums[..10].iter().all(|s| *s == seqnums[0]));
    assert!(seqnums[20..25].iter().all(|s| *s == seqnums[20]));
    assert!(seqnums[25..].iter().all(|s| *s == seqnums[25]));
}

#[test]
fn two_overlays_keep_both_pictures() {
    init();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=1 ! {GRAY} ! emotionoverlay ! emotionoverlay name=second position=bottom-right \
         ! fakevideosink sync=false"
    ))
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let (sender, receiver) = std::sync::mpsc::channel();
    let pad = pipeline
        .by_name("second")
        .and_then(|e| e.static_pad("src"))
        .expect("pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let n = info
            .buffer()
            .and_then(|b| b.meta::<gst_video::VideoOverlayCompositionMeta>())
            .map(|m| m.overlay().n_rectangles());
        sender.send(n).expect("send");
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("playing");
    let n = receiver
        .recv_timeout(std::time::Duration::from_secs(20))
        .expect("a frame");
    pipeline.set_state(gst::State::Null).expect("null");
    assert_eq!(n, Some(2));
}

#[test]
fn stale_is_grey_with_a_warning() {
    init();
    let look = |overlay: &str, change: fn(&mut EmotionMeta)| {
        let rects = attached(
            overlay,
            1,
            GRAY,
            Box::new(move |n, b| {
                let mut m = result(n);
                m.arousal = 0.2;
                change(&mut m);
                m.attach(b).expect("attach");
            }),
        );
        colours(&rects[0][0])
    };
    let (strong, amber, opaque) = look("", |_| ());
    assert!(strong > 500 && amber == 0, "{strong} {amber}");
    type Change = fn(&mut EmotionMeta);
    let stale: [(&str, Change); 3] = [
        ("", |m| m.stale = true),
        ("", |m| m.age = ClockTime::from_mseconds(5001)),
        ("max-age=100000000", |_| ()),
    ];
    for (overlay, change) in stale {
        let (strong, amber, taller) = look(overlay, change);
        assert!(
            amber > 100 && strong - amber < 150,
            "{overlay}: {strong} {amber}"
        );
        assert!(taller > opaque, "{overlay}: a line says so");
    }
    let (_, amber, _) = look("max-age=18446744073709551615", |m| {
        m.age = ClockTime::from_seconds(100_000);
    });
    assert_eq!(amber, 0, "no limit");
}

#[test]
fn an_untrained_model_is_named_whatever_is_shown() {
    init();
    let rects = attached(
        "show=0",
        1,
        GRAY,
        Box::new(|n, b| {
            let mut m = result(n);
            m.model = "mvp-fixture 0.1.0".into();
            m.trained = false;
            m.attach(b).expect("attach");
        }),
    );
    let (_, amber, _) = colours(&rects[0][0]);
    assert!(amber > 2000, "{amber}");
}

#[test]
fn warming_up_and_low_confidence_change_the_panel() {
    init();
    let opaque = |change: fn(&mut EmotionMeta)| {
        let rects = attached(
            "min-confidence=0.5",
            1,
            GRAY,
            Box::new(move |n, b| {
                let mut m = result(n);
                change(&mut m);
                m.attach(b).expect("attach");
            }),
        );
        let pixels = rects[0][0].pixels_unscaled_argb(gst_video::VideoOverlayFormatFlags::empty());
        let map = pixels.map_readable().expect("readable");
        (map.len(), map.to_vec())
    };
    let (plain, sure) = opaque(|_| ());
    let (warming, _) = opaque(|m| m.warming_up = true);
    assert!(warming > plain, "a row for warming up");
    // Two labels that are not asserted look the same; asserted they do not.
    let (_, unsure_a) = opaque(|m| m.confidence = 0.2);
    let (_, unsure_b) = opaque(|m| {
        m.confidence = 0.2;
        m.label = "calm".into();
    });
    let (_, other) = opaque(|m| m.label = "calm".into());
    assert!(unsure_a == unsure_b && sure != other && sure != unsure_a);
    // What the metadata calls unknown is called so here: never by another word, and not
    // with the weight of a label.
    let (_, unknown) = opaque(|m| (m.confidence, m.label) = (0.0, "unknown".into()));
    let (_, word) = opaque(|m| (m.confidence, m.label) = (0.0, "uncertain".into()));
    let (_, asserted) = opaque(|m| m.label = "unknown".into());
    assert!(unknown != word && unknown != asserted && unknown != unsure_a);
}

/// A frame that two branches share must look drawn on in one of them only.
#[test]
fn a_shared_frame_is_copied_before_drawing() {
    init();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=5 pattern=solid-color foreground-color=0xff808080 ! {GRAY} ! tee name=t \
         t. ! queue ! emotionoverlay ! appsink name=drawn sync=false \
         t. ! queue ! appsink name=plain sync=false"
    ))
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let sink = |name: &str| {
        pipeline
            .by_name(name)
            .and_then(|s| s.downcast::<gst_app::AppSink>().ok())
            .expect("appsink")
    };
    let (drawn_on, plain) = (sink("drawn"), sink("plain"));
    pipeline.set_state(gst::State::Playing).expect("playing");
    for _ in 0..5 {
        let bytes = |sink: &gst_app::AppSink| {
            let sample = sink
                .try_pull_sample(ClockTime::from_seconds(20))
                .expect("a frame");
            sample
                .buffer()
                .expect("buffer")
                .map_readable()
                .expect("readable")
                .to_vec()
        };
        let all = (0, 0, 640, 480);
        assert!(drawn(&bytes(&drawn_on), all) > 500);
        assert_eq!(drawn(&bytes(&plain), all), 0);
    }
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn every_raw_format_can_be_drawn_on() {
    init();
    for format in gst_video::VideoFormat::iter_raw() {
        let mut h = gst_check::Harness::new("emotionoverlay");
        let info = gst_video::VideoInfo::builder(format, 320, 240)
            .fps((30, 1))
            .build()
            .expect("info");
        h.set_caps(info.to_caps().expect("caps"), info.to_caps().expect("caps"));
        let mut buffer = gst::Buffer::with_size(info.size()).expect("buffer");
        {
            let b = buffer.get_mut().expect("own buffer");
            b.map_writable().expect("writable").fill(0x55);
            b.set_pts(ClockTime::ZERO);
            result(0).attach(b).expect("attach");
        }
        let before = buffer.map_readable().expect("readable").to_vec();
        h.push(buffer).unwrap_or_else(|e| panic!("{format:?}: {e}"));
        let out = h.pull().expect("frame");
        let after = out.map_readable().expect("readable").to_vec();
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!(changed > 1000, "{format:?}: {changed} bytes differ");
    }
}

#[test]
fn odd_sizes_and_fonts() {
    init();
    for (w, h) in [
        (1, 1),
        (2, 2),
        (16, 16),
        (16, 1000),
        (2000, 16),
        (321, 241),
        (3840, 32),
    ] {
        for font in ["Sans", "Sans 40", "No Such Font Bold 3px", "", "\\n,,,"] {
            let caps = format!(
                "video/x-raw,format=I420,width={w},height={h},framerate=30/1,pixel-aspect-ratio=16/15"
            );
            let frames = run(
                &format!("videotestsrc num-buffers=2 ! {caps}"),
                &format!("show=label+bars+coverage+traces+model+face+waiting font-desc=\"{font}\""),
                "appsink name=out sync=false",
                Box::new(move |n, b| {
                    if n == 1 {
                        result(n).attach(b).expect("attach");
                        traces().attach(b).expect("attach");
                        gst_video::VideoRegionOfInterestMeta::add(b, "face", (0, 0, w, h));
                    }
                }),
            );
            assert_eq!(frames.len(), 2, "{w}x{h} {font}");
        }
    }
}

/// New caps in the middle of the stream: the picture follows the new size.
#[test]
fn caps_change() {
    init();
    let mut h = gst_check::Harness::new("emotionoverlay");
    for (w, height) in [(640usize, 480usize), (320, 240), (640, 480)] {
        h.set_src_caps_str(&format!(
            "video/x-raw,format=GRAY8,width={w},height={height},framerate=30/1"
        ));
        let mut buffer = gst::Buffer::with_size(w * height).expect("buffer");
        {
            let b = buffer.get_mut().expect("own buffer");
            b.map_writable().expect("writable").fill(0x80);
            result(0).attach(b).expect("attach");
        }
        h.push(buffer).expect("push");
        let out = h.pull().expect("frame");
        assert_eq!(out.size(), w * height);
        let map = out.map_readable().expect("readable");
        assert!(map.iter().filter(|v| **v != 0x80).count() > 5000);
        let caps = h.sinkpad().and_then(|p| p.current_caps()).expect("caps");
        assert_eq!(
            caps.structure(0).and_then(|s| s.get::<i32>("width").ok()),
            Some(w as i32)
        );
    }
}

/// Frames in memory that cannot be drawn on, to a sink that takes no compositions.
#[test]
fn memory_that_cannot_be_drawn_on_is_a_clear_error() {
    init();
    let pipeline = gst::parse::launch(
        "appsrc name=src format=time caps=video/x-raw(memory:GLMemory),format=RGBA,width=64,height=48,framerate=30/1 \
         ! emotionoverlay ! appsink sync=false",
    )
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let src = pipeline
        .by_name("src")
        .and_then(|s| s.downcast::<gst_app::AppSrc>().ok())
        .expect("appsrc");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let _ = src.push_buffer(gst::Buffer::with_size(64 * 48 * 4).expect("buffer"));
    let message = pipeline
        .bus()
        .expect("bus")
        .timed_pop_filtered(ClockTime::from_seconds(20), &[gst::MessageType::Error])
        .expect("an error within 20 s");
    pipeline.set_state(gst::State::Null).expect("null");
    let gst::MessageView::Error(e) = message.view() else {
        unreachable!("only errors were asked for")
    };
    let text = format!("{} {:?}", e.error(), e.debug());
    for word in [
        "memory:GLMemory",
        "GstVideoOverlayCompositionMeta",
        "gldownload",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

/// Any memory passes where the picture can be attached.
#[test]
fn any_memory_passes_with_the_picture_attached() {
    init();
    let mut h = gst_check::Harness::new("emotionoverlay");
    h.add_propose_allocation_meta(gst_video::VideoOverlayCompositionMeta::meta_api(), None);
    h.set_sink_caps_str("video/x-raw(memory:GLMemory,meta:GstVideoOverlayComposition)");
    h.set_src_caps_str(
        "video/x-raw(memory:GLMemory),format=RGBA,width=64,height=48,framerate=30/1",
    );
    let buffer = gst::Buffer::with_size(16).expect("buffer");
    h.push(buffer).expect("push");
    let out = h.pull().expect("frame");
    assert!(
        out.meta::<gst_video::VideoOverlayCompositionMeta>()
            .is_some()
    );
    assert_eq!(out.size(), 16);
}

#[test]
fn a_converter_upstream_finds_a_format() {
    init();
    // Downstream limits the format; upstream converts to it through the overlay.
    let frames = run(
        "videotestsrc num-buffers=2 ! video/x-raw,format=RGB,width=320,height=240,framerate=30/1 ! videoconvert",
        "",
        "video/x-raw,format=NV12 ! appsink name=out sync=false",
        with_result(),
    );
    assert_eq!(frames.len(), 2);
    let caps = frames[0].caps().expect("caps").to_string();
    assert!(caps.contains("NV12") && !caps.contains("meta:"), "{caps}");
}
