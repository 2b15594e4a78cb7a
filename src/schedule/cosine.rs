//! Half a wave down.

use std::f64::consts::PI;

use super::{Schedule, Settings};

/// From `max_lr` to `base_lr` at the last update along half a cosine, then flat.
pub(super) struct Cosine;

impl Schedule for Cosine {
    fn name(&self) -> &'static str {
        "cosine"
    }

    fn reference(&self) -> &'static str {
        "Loshchilov, Hutter, ICLR 2017, arXiv 1608.03983"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["base-lr", "updates"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        settings.between((1.0 + (PI * settings.progress(t)).cos()) / 2.0)
    }
}
