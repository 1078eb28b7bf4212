// SPDX-License-Identifier: MPL-2.0
//! Ground truth by construction: pulses in an LSL stream and flashes in a film at the
//! same known times, compared where mvpfusion takes them in.

mod lsl_support;

use gst::prelude::*;
use lsl::NewStream;
use std::sync::{Arc, Mutex};
use stream_info::Format;

const ECG_RATE: u64 = 256;
const PACKET: u64 = 16;
const FRAME_RATE: u64 = 32;
/// Samples from pulse to pulse: 8 a second, so that every fourth frame flashes.
const PULSE: u64 = 32;
const SECONDS: u64 = 15;

type Times = Arc<Mutex<Vec<u64>>>;

/// Running times of what `find` sees in the buffers at a pad.
fn tap(
    pad: &gst::Pad,
    find: impl Fn(&[u8], &gst::CapsRef) -> Vec<u64> + Send + Sync + 'static,
) -> Times {
    let times = Times::default();
    let found = times.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let (Some(buffer), Some(caps)) = (info.buffer(), pad.current_caps()) else {
            return gst::PadProbeReturn::Ok;
        };
        let segment = pad.sticky_event::<gst::event::Segment>(0).expect("segment");
        let start = segment
            .segment()
            .downcast_ref::<gst::ClockTime>()
            .and_then(|s| s.to_running_time(buffer.pts()))
            .expect("a running time");
        let map = buffer.map_readable().expect("readable");
        let offsets = find(&map, &caps);
        let mut found = found.lock().expect("times");
        found.extend(offsets.into_iter().map(|o| start.nseconds() + o));
        gst::PadProbeReturn::Ok
    });
    times
}

#[test]
fn a_pulse_lands_on_its_flash() {
    let Some(library) = lsl_support::hermetic() else {
        return;
    };
    if let Err(e) = onnx::Runtime::load(None) {
        return lsl_support::skip(&e.to_string());
    }
    let outlet = lsl_support::outlet(
        library,
        &NewStream {
            name: "pulses",
            stream_type: "ECG",
            source_id: "pulses",
            channels: 1,
            rate: ECG_RATE as f64,
            format: Format::F32,
            labels: &["ECG"],
            units: &["mV"],
            offset_mean: None,
            first_frame_time: None,
        },
    );
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/fixture");
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=film is-live=true format=time caps=video/x-raw,format=GRAY8,width=16,height=16,framerate={FRAME_RATE}/1 \
         ! mvpfusion name=f model={model} execution-provider=cpu ! fakesink sync=false async=false \
         lslsrc stream-name=pulses ! f.ecg"
    ))
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let fusion = pipeline.by_name("f").expect("f");
    let film = pipeline
        .by_name("film")
        .and_downcast::<gst_app::AppSrc>()
        .expect("film");
    let pulses = tap(&fusion.static_pad("ecg").expect("ecg"), |bytes, caps| {
        let rate = caps.structure(0).expect("caps");
        let rate = rate.get::<gst::Fraction>("rate").map_or_else(
            |_| f64::from(rate.get::<i32>("rate").expect("a rate")),
            |r| f64::from(r.numer()) / f64::from(r.denom()),
        );
        let values = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let hits = values.enumerate().filter(|(_, v)| *v > 0.5);
        hits.map(|(i, _)| (i as f64 * 1e9 / rate).round() as u64)
            .collect()
    });
    let flashes = tap(&fusion.static_pad("sink").expect("sink"), |bytes, _| {
        if bytes[0] == 255 { vec![0] } else { vec![] }
    });

    pipeline.set_state(gst::State::Playing).expect("playing");
    outlet.wait();
    let t0 = library.local_clock() + 0.2;
    let body = std::thread::spawn(move || {
        outlet.play(t0, 0, SECONDS * ECG_RATE, PACKET, |n, _| {
            if n % PULSE == 0 { 1.0f32 } else { 0.0 }
        });
        // The last packet must get through before the stream goes.
        outlet.sleep_until(t0 + SECONDS as f64 + 0.5);
    });
    let clock = pipeline.clock().expect("clock");
    for frame in 0..SECONDS * FRAME_RATE {
        let time = t0 + frame as f64 / FRAME_RATE as f64;
        let wait = time - library.local_clock();
        if wait > 0.0 {
            std::thread::sleep(std::time::Duration::from_secs_f64(wait));
        }
        // As a camera stamps: the pipeline's clock, read now, less the age of the light.
        // The LSL clock serves to know that age, not to make the stamp.
        let (now, late) = (clock.time(), library.local_clock() - time);
        let base = pipeline.base_time().expect("base time");
        let pts = (now - base).nseconds() as i64 - (late * 1e9).round() as i64;
        let flash = (frame * ECG_RATE / FRAME_RATE).is_multiple_of(PULSE);
        let mut buffer = gst::Buffer::from_mut_slice(vec![if flash { 255u8 } else { 0 }; 256]);
        let pts = u64::try_from(pts).expect("after the start");
        buffer
            .get_mut()
            .expect("own")
            .set_pts(gst::ClockTime::from_nseconds(pts));
        film.push_buffer(buffer).expect("push");
    }
    body.join().expect("body");
    pipeline.set_state(gst::State::Null).expect("null");

    let (pulses, flashes) = (
        pulses.lock().expect("pulses"),
        flashes.lock().expect("flashes"),
    );
    let mut errors: Vec<f64> = flashes
        .iter()
        .filter_map(|f| {
            let nearest = pulses.iter().map(|p| (*p as i64 - *f as i64).abs()).min()?;
            // Half a pulse away is another pulse's.
            (nearest < 62_000_000).then_some(nearest as f64 / 1e6)
        })
        .collect();
    assert_eq!(flashes.len() as u64, SECONDS * ECG_RATE / PULSE);
    assert!(
        errors.len() * 100 >= flashes.len() * 95,
        "{} of {} flashes have a pulse ({} pulses came)",
        errors.len(),
        flashes.len(),
        pulses.len()
    );
    errors.sort_by(f64::total_cmp);
    let at = |p: f64| errors[((errors.len() - 1) as f64 * p).round() as usize];
    println!(
        "|pulse - flash| at mvpfusion, {} pairs: p50 {:.4} ms, p99 {:.4} ms, max {:.4} ms",
        errors.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(at(0.99) <= 2.0, "p99 is {} ms", at(0.99));
}
