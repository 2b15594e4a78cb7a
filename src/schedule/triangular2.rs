//! Triangles that halve.

use super::cycle::Cycle;
use super::{Schedule, Settings};

/// As `triangular`, each cycle half as high as the one before.
pub(super) struct Triangular2;

impl Schedule for Triangular2 {
    fn name(&self) -> &'static str {
        "triangular2"
    }

    fn reference(&self) -> &'static str {
        "Smith, WACV 2017, arXiv 1506.01186"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["base-lr", "step-size"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        let cycle = Cycle::at(settings, t);
        settings.between(cycle.height * 0.5_f64.powf(cycle.number - 1.0))
    }
}
