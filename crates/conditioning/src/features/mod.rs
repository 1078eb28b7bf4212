// SPDX-License-Identifier: MPL-2.0
//! What a physiological signal tells of the body: heart rate and its variability, respiration, the
//! level and the responses of skin conductance.
//!
//! [`Physiology`] takes the raw samples of one sensor, gives an [`Event`] for each beat and each
//! skin conductance response, and [`Features`] when asked. A feature is `None` until there is as
//! much signal as it needs, and while the signal is bad. [`FeatureLog`] keeps the features of the
//! last minutes, so that what belongs to an earlier moment can be had later.
//!
//! | feature | of | unit | window | from |
//! | --- | --- | --- | --- | --- |
//! | `hr` | ECG, PPG | beats per minute | 10 s | 3 intervals |
//! | `rmssd` | ECG, PPG | ms | 5 min | 30 s |
//! | `pnn50` | ECG, PPG | % | 5 min | 60 s |
//! | `lf-hf` | ECG, PPG | ratio | 5 min | 2 min |
//! | `sdnn` | ECG, PPG | ms | 5 min | 4 min |
//! | `respiration-rate` | ECG, PPG | breaths per minute | 60 s | 48 s |
//! | `scl` | EDA | µS | now | 5 s |
//! | `scr-rate` | EDA | responses per minute | 60 s | 54 s |
//!
//! `docs/features.md` has the definitions with their sources. All of it is causal and needs
//! bounded memory.
//!
//! ```
//! use conditioning::features::{Event, Physiology};
//! use conditioning::quality::SignalKind;
//!
//! // A minute of skin conductance at 8 Hz with a response of 0.5 µS every 10 s.
//! let mut eda = Physiology::new(SignalKind::Eda, 8.0, None);
//! let mut responses = 0;
//! for i in 0..480u64 {
//!     let since = (i % 80) as f64 / 8.0;
//!     let shape = 1.78 * ((-since / 4.0).exp() - (-since / 0.75).exp());
//!     eda.push(i * 125_000_000, 3.0 + 0.5 * shape, |event| {
//!         if let Event::Scr(response) = event {
//!             assert!((response.amplitude - 0.5).abs() < 0.15);
//!             responses += 1;
//!         }
//!     });
//! }
//! assert_eq!(responses, 6);
//! let features = eda.features(59_900_000_000);
//! assert!(features.scl.is_some_and(|level| (level - 3.0).abs() < 0.2));
//! assert_eq!(features.hr, None);
//! ```

mod intervals;
mod log;
mod physiology;
mod respiration;
mod skin;
mod spectrum;
mod variability;

pub use log::FeatureLog;
pub use physiology::Physiology;

use super::quality::Reason;

/// Signal of a lower quality than this gives no features.
pub const USABLE: f64 = 0.5;

/// What one sensor tells of the body at a time. What is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Features {
    /// The time, ns.
    pub time: u64,
    /// Heart rate, beats per minute.
    pub hr: Option<f64>,
    /// Root mean square of the differences between neighbouring normal intervals, ms.
    pub rmssd: Option<f64>,
    /// Standard deviation of the normal intervals, ms.
    pub sdnn: Option<f64>,
    /// Share of neighbouring normal intervals that differ by more than 50 ms, per cent.
    pub pnn50: Option<f64>,
    /// Power of the intervals at 0.04–0.15 Hz divided by that at 0.15–0.4 Hz.
    pub lf_hf: Option<f64>,
    /// Breaths per minute.
    pub respiration_rate: Option<f64>,
    /// Skin conductance level, µS.
    pub scl: Option<f64>,
    /// Skin conductance responses per minute.
    pub scr_rate: Option<f64>,
    /// Quality of the signal, 0 to 1.
    pub quality: Option<f64>,
    /// Why the quality is low.
    pub reason: Option<Reason>,
}

impl Features {
    /// Name and unit of each of [`Features::values`].
    pub const NAMES: [(&'static str, &'static str); 8] = [
        ("hr", "bpm"),
        ("rmssd", "ms"),
        ("sdnn", "ms"),
        ("pnn50", "percent"),
        ("lf-hf", "ratio"),
        ("respiration-rate", "breaths/min"),
        ("scl", "uS"),
        ("scr-rate", "1/min"),
    ];

    /// The features, without quality and time, in the order of [`Features::NAMES`].
    pub fn values(&self) -> [Option<f64>; 8] {
        [
            self.hr,
            self.rmssd,
            self.sdnn,
            self.pnn50,
            self.lf_hf,
            self.respiration_rate,
            self.scl,
            self.scr_rate,
        ]
    }

    /// Whether the quality is known and too low for features.
    pub fn is_bad(&self) -> bool {
        self.quality.is_some_and(|q| q < USABLE)
    }
}

/// Something that the body did at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A heartbeat.
    Beat(Heartbeat),
    /// A skin conductance response.
    Scr(Scr),
}

/// A heartbeat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heartbeat {
    /// R peak of an ECG, systolic upstroke of a PPG; ns.
    pub time: u64,
    /// How certain it is, 0 to 1.
    pub confidence: f64,
    /// Seconds since the beat before; `None` after a gap.
    pub interval: Option<f64>,
    /// Whether the interval is no artefact and no ectopic beat, as far as those before it tell.
    pub normal: bool,
}

/// A skin conductance response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scr {
    /// Where conductance begins to rise, ns.
    pub onset: u64,
    /// Where it is highest, ns.
    pub peak: u64,
    /// From the onset up to the peak, µS.
    pub amplitude: f64,
    /// Conductance at the onset, µS.
    pub level: f64,
}
