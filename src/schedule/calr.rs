//! The cyclically annealed learning rate.

use super::cycle::Cycle;
use super::{Schedule, Settings};

/// Triangular cycles whose upper bound decays by epoch, and starts again once it would reach the lower bound.
pub(super) struct Calr;

/// What rounding may add to `max_lr decay^j` before it no longer counts as having reached `base_lr`: a base given as
/// `1e-6` is three decays of 0.1 below `1e-3`, although the product in floating point lies a little above it.
const ROUNDING: f64 = 1e-9;

impl Schedule for Calr {
    fn name(&self) -> &'static str {
        "calr"
    }

    fn reference(&self) -> &'static str {
        "Acharya, Goel, Metallinou, Dhillon, AAAI 2019, arXiv 1811.00641"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["base-lr", "step-size", "steps-per-epoch", "decay", "decay-every"]
    }

    fn rate(&self, settings: &Settings, t: u64) -> f64 {
        let decays = settings.decays(t);
        let decays = match decays_to_restart(settings) {
            Some(restart) => decays % restart,
            None => decays,
        };
        let upper = settings.max_lr * settings.decay.powf(decays as f64);
        // Where the bound never starts again it may fall below the base; the cycle is flat then.
        let upper = upper.max(settings.base_lr);
        settings.base_lr + (upper - settings.base_lr) * Cycle::at(settings, t).height
    }
}

/// The smallest j >= 1 with `max_lr decay^j <= base_lr`, if there is one.
fn decays_to_restart(settings: &Settings) -> Option<u64> {
    if settings.decay >= 1.0 || settings.base_lr <= 0.0 {
        return None;
    }
    let reached = |j: f64| settings.max_lr * settings.decay.powf(j) <= settings.base_lr * (1.0 + ROUNDING);
    // The logarithm gives j to within rounding; the definition decides between its neighbours.
    let estimate = ((settings.base_lr / settings.max_lr).ln() / settings.decay.ln()).round();
    let mut j = (estimate - 1.0).max(1.0);
    while !reached(j) {
        j += 1.0;
    }
    Some(j as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_setting_anneals_thrice_and_starts_again() {
        let settings = Settings { base_lr: 1e-6, step_size: 500, steps_per_epoch: 1000, ..Settings::new(1e-3) };
        let peaks: Vec<f64> = (0..6).map(|epoch| Calr.rate(&settings, epoch * 1000 + 500)).collect();
        for (peak, expected) in peaks.iter().zip([1e-3, 1e-4, 1e-5, 1e-3, 1e-4, 1e-5]) {
            assert!((peak / expected - 1.0).abs() < 1e-12, "{peaks:?}");
        }
        assert_eq!(Calr.rate(&settings, 0), settings.base_lr);
    }

    #[test]
    fn a_base_of_nothing_never_starts_again() {
        let settings = Settings { base_lr: 0.0, step_size: 1, steps_per_epoch: 2, ..Settings::new(1.0) };
        let rate = Calr.rate(&settings, 2 * 20 + 1);
        assert!((rate / 1e-20 - 1.0).abs() < 1e-12, "{rate}");
    }

    #[test]
    fn without_decay_it_is_the_triangular_policy() {
        let settings = Settings { decay: 1.0, step_size: 7, steps_per_epoch: 3, ..Settings::new(1e-2) };
        for t in 0..100 {
            assert_eq!(Calr.rate(&settings, t), super::super::triangular::Triangular.rate(&settings, t));
        }
    }

    #[test]
    fn decays_are_counted_by_decay_every_epochs() {
        let base = Settings { step_size: 5, steps_per_epoch: 10, ..Settings::new(1e-3) };
        let settings = Settings { decay_every: 2, ..base };
        let peaks: Vec<f64> = (0..4).map(|epoch| Calr.rate(&settings, epoch * 10 + 5)).collect();
        assert_eq!(peaks[0], peaks[1]);
        assert!(peaks[2] < peaks[1]);
        assert_eq!(peaks[2], peaks[3]);
    }

    #[test]
    fn a_slow_decay_finds_its_restart_at_once() {
        let settings = Settings { decay: 1.0 - 1e-9, ..Settings::new(1e-3) };
        let restart = decays_to_restart(&settings).expect("it decays");
        let bound = |j: u64| settings.max_lr * settings.decay.powf(j as f64);
        assert!(bound(restart) <= settings.base_lr * (1.0 + ROUNDING));
        assert!(bound(restart - 2) > settings.base_lr);
    }
}
