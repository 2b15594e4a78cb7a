//! One triangle and a tail.

use super::{Schedule, Settings};

/// The share of the training that the rate climbs.
const RISE: f64 = 0.45;

/// Up from `base_lr` to `max_lr` and down again in nine tenths of the training, then down to a hundredth of `base_lr`.
pub(super) struct OneCycle;

impl Schedule for OneCycle {
    fn name(&self) -> &'static str {
        "one-cycle"
    }

    fn reference(&self) -> &'static str {
        "Smith, Topin, 2018, arXiv 1708.07120"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["base-lr", "updates"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        let progress = settings.progress(t);
        if progress <= RISE {
            settings.between(progress / RISE)
        } else if progress <= 2.0 * RISE {
            settings.between((2.0 * RISE - progress) / RISE)
        } else {
            let tail = (progress - 2.0 * RISE) / (1.0 - 2.0 * RISE);
            settings.base_lr * (1.0 - 0.99 * tail)
        }
    }
}
