// SPDX-License-Identifier: MPL-2.0
//! The MVP network: its bundle, its input, and its answers for windows of time.
//!
//! [`Bundle`] reads and checks the directory of a model. [`Inputs`] takes samples of physiology
//! and face units from streaming threads, conditions them and keeps as much as a window needs.
//! [`Network`] is the bundle's graphs on ONNX Runtime. [`Estimator`] encodes the chunks of a
//! window into tokens, each once, fuses them, and gives an [`Answer`]: valence, arousal, a label
//! and a confidence.
//!
//! All times are nanoseconds of running time. A window ends at a chunk boundary; its end is given
//! as the index of the chunk that begins there.
//!
//! This crate has no threads and no clock and knows no pads or buffers: the element `mvpfusion`
//! decides when a window is complete, and `mvp-offline` does the same for recordings. The filters
//! are in the crate `conditioning`, face analysis is in `face`, and training in `training/`.
//! `docs/bundle.md` describes the format of a bundle.
//!
//! ```
//! use mvp::{Bundle, Inputs};
//!
//! // A bundle with random weights, for tests.
//! let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/fixture");
//! let bundle = Bundle::open(directory.as_ref())?;
//! assert_eq!(bundle.sensors().collect::<Vec<_>>(), ["eda", "ecg", "ppg"]);
//! assert!(!bundle.trained());
//!
//! // 90 s of EDA at 4 Hz.
//! let inputs = Inputs::new(&bundle);
//! let mut eda = inputs.signal("eda").expect("the bundle takes EDA");
//! eda.configure(4.0, None);
//! for i in 0..360u64 {
//!     eda.push(i * 250_000_000, 5.0 + (i as f64 / 40.0).sin());
//! }
//! assert_eq!(eda.counts().received, 360);
//! drop(eda);
//!
//! // What the network would be given of the 60 s that end at 80 s.
//! let window = inputs.window(80_000_000_000, bundle.window().duration);
//! let eda = window.iter().find(|grid| grid.name == "eda").expect("a signal of the bundle");
//! assert_eq!(eda.valid.len(), eda.context + (60.0 * eda.rate) as usize);
//! assert!(eda.valid.contains(&1.0));
//! # Ok::<(), mvp::Error>(())
//! ```
//!
//! With ONNX Runtime:
//!
//! ```no_run
//! use mvp::{Bundle, Estimator, Inputs, Network};
//! use std::sync::Arc;
//!
//! let bundle = Arc::new(Bundle::open("models/default".as_ref())?);
//! let inputs = Arc::new(Inputs::new(&bundle));
//! let runtime = onnx::Runtime::load(None)?;
//! let options = onnx::SessionOptions::default();
//! let network = Network::load(&runtime, &bundle, &options, |what| println!("{what}"))?;
//! let mut estimator = Estimator::new(bundle, inputs.clone(), network);
//! // Other threads push into `inputs`; the window that ends at 90 s, with chunks of 1 s:
//! let answer = estimator.answer(90)?;
//! println!("{} ({:.2})", answer.label, answer.confidence);
//! # Ok::<(), mvp::Error>(())
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub)]

mod bundle;
mod error;
mod estimator;
mod inputs;
mod network;
mod texts;
mod words;

pub use bundle::{
    Bundle, Calibration, EncoderSpec, FusionSpec, GraphFile, InputSpecs, MANIFEST, OutputSpec,
    StreamSpec, VideoSpec, WindowSpec,
};
pub use error::Error;
pub use estimator::{Answer, Estimator, ModalityState};
pub use inputs::{GridWindow, Inputs, SignalTrack, VideoTrack};
pub use network::{Logits, Network, TokenWindow};
pub use words::{Known, Labels};
