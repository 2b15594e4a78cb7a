//! The numbers that schedules depend on.

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// What a schedule may depend on; each uses some of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Settings {
    /// The largest rate.
    pub max_lr: f64,
    /// The smallest rate.
    pub base_lr: f64,
    /// Half a cycle, in updates.
    pub step_size: u64,
    /// Updates in an epoch.
    pub steps_per_epoch: u64,
    /// What a decay multiplies by.
    pub decay: f64,
    /// Epochs from one decay to the next.
    pub decay_every: u64,
    /// What `exp_range` multiplies the height of its triangles by at each update.
    pub gamma: f64,
    /// All updates of the training, for schedules that end.
    pub updates: u64,
}

impl Settings {
    /// The setting of the paper for `max_lr`: decay 0.1 each epoch, base rate three decays below, step size 1000.
    pub fn new(max_lr: f64) -> Self {
        let decay: f64 = 0.1;
        Settings {
            max_lr,
            base_lr: max_lr * decay.powf(3.0),
            step_size: 1000,
            steps_per_epoch: 1000,
            decay,
            decay_every: 1,
            gamma: 0.99994,
            updates: 8000,
        }
    }

    /// Checks that the numbers make sense.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] that names the first one which does not.
    pub fn check(&self) -> Result<()> {
        let wrong = |name: &str, expected: &str, found: String| {
            Err(Error::new(ErrorKind::Request, format!("`{name}` is out of range")).expected(expected).found(found))
        };
        if !(self.max_lr.is_finite() && self.max_lr > 0.0) {
            return wrong("max-lr", "a positive number", self.max_lr.to_string());
        }
        if !(0.0 <= self.base_lr && self.base_lr < self.max_lr) {
            return wrong("base-lr", "at least 0 and less than the maximum", self.base_lr.to_string());
        }
        for (name, value) in [("decay", self.decay), ("gamma", self.gamma)] {
            if !(0.0 < value && value <= 1.0) {
                return wrong(name, "more than 0 and at most 1", value.to_string());
            }
        }
        let counts = [
            ("step-size", self.step_size),
            ("steps-per-epoch", self.steps_per_epoch),
            ("decay-every", self.decay_every),
            ("updates", self.updates),
        ];
        for (name, value) in counts {
            if value == 0 {
                return wrong(name, "at least 1", value.to_string());
            }
        }
        Ok(())
    }

    /// `epoch div decay_every`: how many decays lie before update `t`.
    pub(super) fn decays(&self, t: u64) -> u64 {
        t / self.steps_per_epoch / self.decay_every
    }

    /// The share of the whole training that is done at update `t`, at most 1.
    pub(super) fn progress(&self, t: u64) -> f64 {
        t.min(self.updates) as f64 / self.updates as f64
    }

    /// The rate at the height `share` (0 to 1) between the base and the maximum.
    pub(super) fn between(&self, share: f64) -> f64 {
        self.base_lr + (self.max_lr - self.base_lr) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        let good = Settings::new(1e-3);
        good.check().expect("the setting of the paper");
        let wrong = [
            ("max-lr", Settings { max_lr: f64::NAN, ..good }),
            ("max-lr", Settings { max_lr: 0.0, ..good }),
            ("base-lr", Settings { base_lr: 1e-3, ..good }),
            ("base-lr", Settings { base_lr: -1e-9, ..good }),
            ("decay", Settings { decay: 0.0, ..good }),
            ("decay", Settings { decay: 1.5, ..good }),
            ("gamma", Settings { gamma: f64::NAN, ..good }),
            ("step-size", Settings { step_size: 0, ..good }),
            ("steps-per-epoch", Settings { steps_per_epoch: 0, ..good }),
            ("decay-every", Settings { decay_every: 0, ..good }),
            ("updates", Settings { updates: 0, ..good }),
        ];
        for (name, settings) in wrong {
            let error = settings.check().expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
