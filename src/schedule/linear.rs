//! A straight line down.

use super::{Schedule, Settings};

/// From `max_lr` to `base_lr` at the last update, then flat.
pub(super) struct Linear;

impl Schedule for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn reference(&self) -> &'static str {
        "the usual practice for fine-tuning: Devlin et al., NAACL 2019"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["base-lr", "updates"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        settings.between(1.0 - settings.progress(t))
    }
}
