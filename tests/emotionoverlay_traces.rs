// SPDX-License-Identifier: MPL-2.0
//! The traces of emotionoverlay, and where it stands beside faces.

mod overlay_support;

use overlay_support::*;

/// Panel and traces leave the face alone, wherever it is and however many lines the frame has.
#[test]
fn no_face_is_covered() {
    init();
    for (w, h) in [(640, 480), (1280, 720), (3840, 2160)] {
        for (x, y, height) in [
            (0.03, 0.04, 0.36),
            (0.74, 0.04, 0.36),
            (0.03, 0.6, 0.36),
            (0.74, 0.6, 0.36),
            (0.38, 0.16, 0.42),
            (0.36, 0.06, 0.58),
        ] {
            let of = |share: f64, whole: u32| (share * f64::from(whole)) as u32;
            let size = of(height, h);
            let face = (of(x, w), of(y, h), size * 4 / 5, size);
            let caps = format!("video/x-raw,format=GRAY8,width={w},height={h},framerate=30/1");
            let rects = attached(
                "show=label+bars+coverage+traces",
                1,
                &caps,
                Box::new(move |n, b| {
                    result(n).attach(b).expect("attach");
                    traces().attach(b).expect("attach");
                    gst_video::VideoRegionOfInterestMeta::add(b, "face", face);
                }),
            );
            let found = boxes(&rects[0]);
            assert_eq!(found.len(), 2, "the traces and the panel");
            for area in found {
                assert!(!meets(area, face), "{w}x{h}: {area:?} covers {face:?}");
                let (right, bottom) = (area.0 as u32 + area.2, area.1 as u32 + area.3);
                assert!(right <= w && bottom <= h, "{area:?} in {w}x{h}");
            }
        }
    }
}

/// A face that comes and goes does not make the panel jump, and a corner that was asked for is
/// kept.
#[test]
fn the_panel_moves_seldom_and_only_by_itself() {
    init();
    let places = |overlay: &str, frames: u64, face: fn(u64) -> (u32, u32, u32, u32)| {
        let rects = attached(
            overlay,
            frames,
            GRAY,
            Box::new(move |n, b| {
                result(0).attach(b).expect("attach");
                gst_video::VideoRegionOfInterestMeta::add(b, "face", face(n));
            }),
        );
        let mut places: Vec<_> = rects.iter().map(|r| boxes(r)[0]).collect();
        places.dedup();
        places
    };
    let trembling = |n: u64| match n % 2 {
        0 => (30, 30, 150, 180),
        _ => (430, 30, 150, 180),
    };
    let show = "show=label+bars";
    assert_eq!(places(show, 90, trembling).len(), 1);
    // It stays at the right for half a second, then at the left: one move.
    let moving = |n: u64| match n {
        ..15 => (430, 30, 150, 180),
        _ => (30, 30, 150, 180),
    };
    let found = places(show, 90, moving);
    assert_eq!(found.len(), 2, "{found:?}");
    let fixed = places("show=label+bars position=top-left", 90, moving);
    assert_eq!(fixed.len(), 1);
    assert!(fixed[0].0 < 20 && fixed[0].1 < 20, "{fixed:?}");
}

/// A heart beside its trace: the rate where it is known, a warning in its place where the signal
/// is poor.
#[test]
fn a_poor_sensor_is_named_instead_of_a_number() {
    init();
    let strip = |ecg: Option<f64>| {
        let rects = attached(
            "show=traces",
            1,
            GRAY,
            Box::new(move |_, b| {
                let mut all = traces();
                all.traces.truncate(1);
                all.attach(b).expect("attach");
                if let Some(ecg) = ecg {
                    body(ecg).attach(b).expect("attach");
                }
            }),
        );
        assert_eq!(rects[0].len(), 1, "the traces alone");
        colours(&rects[0][0])
    };
    let (_, none, _) = strip(None);
    assert_eq!(none, 0);
    let (good, amber, _) = strip(Some(0.95));
    assert_eq!(amber, 0);
    let (poor, amber, _) = strip(Some(0.3));
    assert!(amber > 30, "{amber}");
    // The waveform is paler, and its beats have no marks.
    assert!(poor < good, "{poor} {good}");
}

/// What is drawn of an ECG is a heart: as many marks and peaks as it has beats.
#[test]
fn every_beat_is_seen() {
    init();
    let strip = |marks: bool| {
        let frames = blended(
            GRAY,
            "show=traces",
            Box::new(move |_, b| {
                let mut all = traces();
                all.traces.truncate(1);
                if !marks {
                    all.traces[0].marks.clear();
                }
                all.attach(b).expect("attach");
            }),
        );
        frames[0].clone()
    };
    let (with, without) = (strip(true), strip(false));
    // Columns in which the two differ, above the foot of the strip: one run for each mark.
    let differs = |x: usize| (400..450).any(|y| with[640 * y + x] != without[640 * y + x]);
    let columns: Vec<bool> = (0..640).map(differs).collect();
    let runs = columns.windows(2).filter(|w| !w[0] && w[1]).count();
    assert_eq!(runs, 12);
}
