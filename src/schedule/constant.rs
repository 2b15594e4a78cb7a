//! One rate throughout.

use super::{Schedule, Settings};

/// `max_lr`.
pub(super) struct Constant;

impl Schedule for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn reference(&self) -> &'static str {
        "the plain optimizer"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &[]
    }

    fn rate(&self, settings: &Settings, _t: u64) -> f64 {
        settings.max_lr
    }
}
