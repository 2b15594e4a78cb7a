//! The triangle that the cyclical schedules share.

use super::Settings;

/// A place in the cycles of half-period `step_size`.
pub(super) struct Cycle {
    /// 1, 2, ...
    pub(super) number: f64,
    /// 0 at the ends of the cycle, 1 in its middle.
    pub(super) height: f64,
}

impl Cycle {
    /// Where update `t` is: `cycle = floor(1 + t / (2 step_size))`, `x = |t / step_size - 2 cycle + 1|`.
    pub(super) fn at(settings: &Settings, t: u64) -> Self {
        let (t, step_size) = (t as f64, settings.step_size as f64);
        let number = (1.0 + t / (2.0 * step_size)).floor();
        let x = (t / step_size - 2.0 * number + 1.0).abs();
        Cycle { number, height: (1.0 - x).max(0.0) }
    }
}
