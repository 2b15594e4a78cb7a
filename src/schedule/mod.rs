//! Learning rates by update: CALR and its rivals, each one closed form in a file of its own.
//!
//! An update t = 0, 1, 2, ... is one step of the optimizer; `epoch = t div steps_per_epoch`. The fine-tuning program
//! of an output has the same formulas (`src/stub/rankfold_schedule.py`), and a test holds the two equal.

mod calr;
mod constant;
mod cosine;
mod cosine_restarts;
mod cycle;
mod exp_range;
mod exponential;
mod linear;
mod one_cycle;
mod settings;
mod step;
mod triangular;
mod triangular2;

pub use settings::Settings;

use crate::error::{Error, ErrorKind, Result};

/// A learning rate as a function of the number of updates done.
pub trait Schedule: Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// Where it comes from.
    fn reference(&self) -> &'static str;

    /// The settings that it depends on, besides the maximum.
    fn parameters(&self) -> &'static [&'static str];

    /// The learning rate of update `t`; `settings` have passed [`Settings::check`].
    fn rate(&self, settings: &Settings, t: u64) -> f64;
}

/// Every schedule, CALR first.
pub const SCHEDULES: &[&dyn Schedule] = &[
    &calr::Calr,
    &constant::Constant,
    &step::Step,
    &exponential::Exponential,
    &linear::Linear,
    &cosine::Cosine,
    &cosine_restarts::CosineRestarts,
    &triangular::Triangular,
    &triangular2::Triangular2,
    &exp_range::ExpRange,
    &one_cycle::OneCycle,
];

/// The schedule called `name`.
///
/// # Errors
/// [`ErrorKind::Request`] where there is none.
pub fn find(name: &str) -> Result<&'static dyn Schedule> {
    SCHEDULES.iter().copied().find(|schedule| schedule.name() == name).ok_or_else(|| {
        let names: Vec<_> = SCHEDULES.iter().map(|schedule| schedule.name()).collect();
        Error::new(ErrorKind::Request, "no such schedule").expected(names.join(", ")).found(format!("`{name}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { steps_per_epoch: 333, step_size: 250, updates: 4000, ..Settings::new(1e-3) }
    }

    #[test]
    fn every_rate_lies_between_nothing_and_the_maximum() {
        let settings = settings();
        for schedule in SCHEDULES {
            for t in 0..settings.updates + 100 {
                let rate = schedule.rate(&settings, t);
                assert!((0.0..=settings.max_lr * (1.0 + 1e-12)).contains(&rate), "{} at {t}: {rate}", schedule.name());
            }
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        for schedule in SCHEDULES {
            assert_eq!(find(schedule.name()).expect("it is there").reference(), schedule.reference());
        }
        assert_eq!(find("sawtooth").err().map(|error| error.kind()), Some(ErrorKind::Request));
    }
}
