// SPDX-License-Identifier: MPL-2.0
//! The pipeline's clock and its relation to the LSL clock.

use gst::prelude::*;
use timing::{ClockMap, ClockPairs};

/// Two clocks whose readings differ by less, seconds, are the same clock.
const SAME_CLOCK: f64 = 1e-3;

/// The pipeline's clock and its relation to the LSL clock.
pub(crate) struct PipelineClock {
    clock: gst::Clock,
    map: ClockMap,
}

impl PipelineClock {
    /// Keeps `this` up to date with the element's `clock`; `local` reads the LSL clock, seconds.
    /// Reads both clocks at most once a second. True when the clock was replaced.
    pub(crate) fn follow(
        this: &mut Option<Self>,
        clock: Option<gst::Clock>,
        local: impl Fn() -> f64,
    ) -> bool {
        let Some(clock) = clock else {
            return this.take().is_some();
        };
        let read = || ClockPairs::read(&local, || clock.time().nseconds());
        match this {
            Some(known) if known.clock == clock => {
                if let ClockMap::Other(pairs) = &mut known.map
                    && pairs.wants_pair(local())
                {
                    let (local, time) = read();
                    pairs.push(local, time);
                }
                false
            }
            _ => {
                let (local, time) = read();
                let same = is_monotonic_system_clock(&clock)
                    && (local - time as f64 / 1e9).abs() < SAME_CLOCK;
                let map = if same {
                    ClockMap::Same
                } else {
                    let mut pairs = ClockPairs::default();
                    pairs.push(local, time);
                    ClockMap::Other(pairs)
                };
                *this = Some(Self { clock, map });
                true
            }
        }
    }

    pub(crate) fn clock(&self) -> &gst::Clock {
        &self.clock
    }

    /// Whether the clock is not the LSL clock, so that both must be read from time to time.
    pub(crate) fn is_other(&self) -> bool {
        matches!(self.map, ClockMap::Other(_))
    }

    pub(crate) fn map(&self) -> &ClockMap {
        &self.map
    }
}

fn is_monotonic_system_clock(clock: &gst::Clock) -> bool {
    let Some(system) = clock.downcast_ref::<gst::SystemClock>() else {
        return false;
    };
    let (internal, external, num, den) = clock.calibration();
    system.property::<gst::ClockType>("clock-type") == gst::ClockType::Monotonic
        && internal == external
        && num == den
}
