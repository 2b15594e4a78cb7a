//! Triangles of one height.

use super::cycle::Cycle;
use super::{Schedule, Settings};

/// Between `base_lr` and `max_lr` with half-period `step_size`.
pub(super) struct Triangular;

impl Schedule for Triangular {
    fn name(&self) -> &'static str {
        "triangular"
    }

    fn reference(&self) -> &'static str {
        "Smith, WACV 2017, arXiv 1506.01186"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["base-lr", "step-size"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        settings.between(Cycle::at(settings, t).height)
    }
}
