// SPDX-License-Identifier: MPL-2.0

/// Seconds in which a distance shrinks to about a third.
const TIME_CONSTANT: f64 = 2.0;

/// The distance from the offset in use to its estimate. It shrinks at a bounded speed, so that a
/// new estimate makes no step.
#[derive(Debug, Default)]
pub(crate) struct Slew {
    distance: f64,
    last: Option<f64>,
}

impl Slew {
    /// The estimate has changed: `by(t)` is the old one minus the new one at time `t`.
    pub(crate) fn target_moved(&mut self, by: impl Fn(f64) -> f64) {
        if let Some(last) = self.last {
            self.distance += by(last);
        }
    }

    /// The distance left at `time`; speeds are in seconds per second. Times before the
    /// last one change nothing.
    pub(crate) fn at(&mut self, time: f64, slowest: f64, fastest: f64) -> f64 {
        let speed = (self.distance.abs() / TIME_CONSTANT).clamp(slowest, fastest);
        let step = speed * self.last.map_or(0.0, |last| (time - last).max(0.0));
        self.distance -= self.distance.clamp(-step, step);
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        self.distance
    }
}
