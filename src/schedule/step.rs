//! A drop every few epochs.

use super::{Schedule, Settings};

/// `max_lr decay^(epoch div decay_every)`.
pub(super) struct Step;

impl Schedule for Step {
    fn name(&self) -> &'static str {
        "step"
    }

    fn reference(&self) -> &'static str {
        "the usual practice; StepLR of PyTorch"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["steps-per-epoch", "decay", "decay-every"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        settings.max_lr * settings.decay.powf(settings.decays(t) as f64)
    }
}
