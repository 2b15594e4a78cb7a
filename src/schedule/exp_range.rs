//! Triangles under an exponential.

use super::cycle::Cycle;
use super::{Schedule, Settings};

/// As `triangular`, the height multiplied by `gamma^t`.
pub(super) struct ExpRange;

impl Schedule for ExpRange {
    fn name(&self) -> &'static str {
        "exp-range"
    }

    fn reference(&self) -> &'static str {
        "Smith, WACV 2017, arXiv 1506.01186 (exp_range)"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["base-lr", "step-size", "gamma"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        settings.between(Cycle::at(settings, t).height * settings.gamma.powf(t as f64))
    }
}
