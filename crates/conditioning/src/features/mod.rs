// SPDX-License-Identifier: MPL-2.0
//! What a physiological signal tells of the body: the variability of the heart rate, respiration,
//! the level and the responses of skin conductance.

mod intervals;
mod respiration;
mod skin;
mod spectrum;
mod variability;

/// A skin conductance response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scr {
    /// Where conductance begins to rise, ns.
    pub(crate) onset: u64,
    /// Where it is highest, ns.
    pub(crate) peak: u64,
    /// From the onset up to the peak, µS.
    pub(crate) amplitude: f64,
    /// Conductance at the onset, µS.
    pub(crate) level: f64,
}
