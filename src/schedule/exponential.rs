//! A drop at every update.

use super::{Schedule, Settings};

/// `max_lr decay^(t / (steps_per_epoch decay_every))`.
pub(super) struct Exponential;

impl Schedule for Exponential {
    fn name(&self) -> &'static str {
        "exponential"
    }

    fn reference(&self) -> &'static str {
        "the usual practice; ExponentialLR of PyTorch, by update"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["steps-per-epoch", "decay", "decay-every"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        let period = settings.steps_per_epoch as f64 * settings.decay_every as f64;
        settings.max_lr * settings.decay.powf(t as f64 / period)
    }
}
