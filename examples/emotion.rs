// SPDX-License-Identifier: MPL-2.0
//! Runs a pipeline with `mvpfusion` in it and prints a line for each new result,
//! read from the metadata of the video buffers.
//!
//!     cargo run --example emotion -- videotestsrc ! mvpfusion model=models/default ! fakesink
//!
//! Without arguments: camera, EDA and ECG from the network, a window.

use gst::{glib, prelude::*};
use gstmvp::EmotionMeta;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

const DEFAULT_PIPELINE: &str = "v4l2src ! videoconvert ! facetrack ! fusion. \
    lslsrc stream-type=EDA ! fusion.eda   lslsrc stream-type=ECG ! fusion.ecg \
    mvpfusion name=fusion model=models/default ! emotionoverlay ! videoconvert ! autovideosink";

fn print_result(result: &EmotionMeta) {
    let coverage: String = result
        .modalities
        .iter()
        .map(|m| format!(" {} {:.3}", m.name, m.coverage))
        .collect();
    println!(
        "#{} at {:.3} s: {}, valence {:.3}, arousal {:.3}, confidence {:.3}, coverage{}{}{}",
        result.sequence,
        result.window_end.nseconds() as f64 / 1e9,
        result.label,
        result.valence,
        result.arousal,
        result.confidence,
        coverage,
        if result.warming_up {
            ", warming up"
        } else {
            ""
        },
        if result.stale { ", stale" } else { "" },
    );
}

/// The fusion's video output: every frame there carries the newest result.
fn find_video_pad(pipeline: &gst::Pipeline) -> Option<gst::Pad> {
    pipeline
        .iterate_recurse()
        .into_iter()
        .filter_map(Result::ok)
        .find(|e| e.factory().is_some_and(|f| f.name() == "mvpfusion"))?
        .static_pad("src")
}

fn print_error(e: &gst::message::Error) {
    eprintln!(
        "error from {}: {}\n  {}",
        e.src().map_or("?".into(), |s| s.path_string()),
        e.error(),
        e.debug().as_deref().unwrap_or("no details")
    );
}

fn run(description: &str) -> Result<(), String> {
    gst::init().map_err(|e| e.to_string())?;
    // The plugin is linked in; an application can as well find it by GST_PLUGIN_PATH.
    gstmvp::plugin_register_static().map_err(|e| e.to_string())?;

    let pipeline = gst::parse::launch(description)
        .map_err(|e| format!("cannot build the pipeline: {e}"))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| {
            "the description is a single element; expected a pipeline with mvpfusion".to_string()
        })?;
    let pad = find_video_pad(&pipeline).ok_or("the pipeline has no mvpfusion element")?;

    let last = Mutex::new(None);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(result) = info.buffer().and_then(|b| EmotionMeta::from_buffer(b))
            && let Ok(mut last) = last.lock()
            && last.replace(result.sequence) != Some(result.sequence)
        {
            print_result(&result);
        }
        gst::PadProbeReturn::Ok
    });

    let main_loop = glib::MainLoop::new(None, false);
    let failed = Arc::new(AtomicBool::new(false));
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    let _watch = bus
        .add_watch({
            let (main_loop, failed) = (main_loop.clone(), failed.clone());
            move |_, message| {
                match message.view() {
                    gst::MessageView::Error(e) => {
                        print_error(e);
                        failed.store(true, Ordering::SeqCst);
                        main_loop.quit();
                    }
                    gst::MessageView::Warning(w) => eprintln!(
                        "warning from {}: {}\n  {}",
                        w.src().map_or("?".into(), |s| s.path_string()),
                        w.error(),
                        w.debug().as_deref().unwrap_or("no details")
                    ),
                    gst::MessageView::Progress(p) => {
                        let (_, code, text) = p.get();
                        eprintln!("{code}: {text}");
                    }
                    gst::MessageView::Eos(_) => main_loop.quit(),
                    _ => (),
                }
                glib::ControlFlow::Continue
            }
        })
        .map_err(|e| e.to_string())?;

    // Ctrl-C ends the stream in order, a second one at once.
    let asked = AtomicBool::new(false);
    glib_unix::unix_signal_add(libc::SIGINT, {
        let (pipeline, main_loop) = (pipeline.clone(), main_loop.clone());
        move || {
            if asked.swap(true, Ordering::SeqCst) {
                main_loop.quit();
            } else {
                eprintln!("ending; press Ctrl-C again to stop at once");
                pipeline.send_event(gst::event::Eos::new());
            }
            glib::ControlFlow::Continue
        }
    });

    if pipeline.set_state(gst::State::Playing).is_err() {
        failed.store(true, Ordering::SeqCst);
        match bus.pop_filtered(&[gst::MessageType::Error]) {
            Some(message) => {
                if let gst::MessageView::Error(e) = message.view() {
                    print_error(e);
                }
            }
            None => eprintln!("error: the pipeline cannot start"),
        }
    } else {
        main_loop.run();
    }
    pipeline
        .set_state(gst::State::Null)
        .map_err(|e| e.to_string())?;
    if failed.load(Ordering::SeqCst) {
        Err(String::new())
    } else {
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let description = if arguments.is_empty() {
        DEFAULT_PIPELINE.to_string()
    } else {
        arguments.join(" ")
    };
    match run(&description) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            if !message.is_empty() {
                eprintln!("error: {message}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}
