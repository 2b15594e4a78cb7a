//! Half waves down, one after the other.

use std::f64::consts::PI;

use super::{Schedule, Settings};

/// From `max_lr` towards `base_lr` along half a cosine, and again every `2 step_size` updates.
pub(super) struct CosineRestarts;

impl Schedule for CosineRestarts {
    fn name(&self) -> &'static str {
        "cosine-restarts"
    }

    fn reference(&self) -> &'static str {
        "Loshchilov, Hutter, ICLR 2017, arXiv 1608.03983 (T_0 = 2 step_size, T_mult = 1)"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["base-lr", "step-size"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        let period = settings.step_size.saturating_mul(2);
        settings.between((1.0 + (PI * ((t % period) as f64 / period as f64)).cos()) / 2.0)
    }
}
