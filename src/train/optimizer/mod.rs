//! Optimizers: from a gradient to a change; one file each, one line in [`OPTIMIZERS`].
//!
//! Rows of an embedding table that no sentence of a batch has get no gradient, but most optimizers with a memory change
//! them all the same: momentum goes on, moments decay. Touching the whole table at each step would cost more than the
//! step itself, so that is put off until the row is looked at again, and then done at once in closed form
//! ([`Optimizer::idle`]). What comes out is what updates of the whole table would have given, to rounding; it is not
//! the "lazy" or "sparse" variant of an optimizer, which forgets those changes and trains rare words more slowly.

mod adadelta;
mod adagrad;
mod adam;
mod adamw;
mod momentum;
mod rmsprop;
mod sgd;
mod state;

pub(super) use state::State;

use crate::error::{Error, ErrorKind, Result};

/// A rule by which numbers follow their gradient.
pub trait Optimizer: Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// Where it comes from.
    fn reference(&self) -> &'static str;

    /// The learning rate that is usual for it.
    fn usual_rate(&self) -> f64;

    /// How many numbers it remembers for each one that it trains.
    fn memory(&self) -> usize;

    /// Update number `t`, from 1, at learning rate `rate`. `memory` has [`Optimizer::memory`] numbers for each value,
    /// at first zeros, all of one kind before all of the next.
    fn update(&self, rate: f64, t: u64, values: &mut [f32], gradient: &[f32], memory: &mut [f32]);

    /// What updates number `t`, `t + 1`, ... at learning rates `rates` do to values whose gradient is zero in each.
    fn idle(&self, rates: &[f64], t: u64, values: &mut [f32], memory: &mut [f32]);
}

/// Every optimizer.
pub const OPTIMIZERS: &[&dyn Optimizer] = &[
    &adam::Adam,
    &adamw::AdamW,
    &sgd::Sgd,
    &momentum::Momentum,
    &adagrad::AdaGrad,
    &adadelta::AdaDelta,
    &rmsprop::RmsProp,
];

/// The optimizer called `name`.
///
/// # Errors
/// [`ErrorKind::Request`] where there is none.
pub fn find(name: &str) -> Result<&'static dyn Optimizer> {
    OPTIMIZERS.iter().copied().find(|optimizer| optimizer.name() == name).ok_or_else(|| {
        let names: Vec<_> = OPTIMIZERS.iter().map(|optimizer| optimizer.name()).collect();
        Error::new(ErrorKind::Request, "no such optimizer").expected(names.join(", ")).found(format!("`{name}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Every update of every number, with zeros where there is no gradient.
    fn dense(optimizer: &dyn Optimizer, rates: &[f64], gradients: &[Option<Vec<f32>>], start: &[f32]) -> Vec<f32> {
        let mut values = start.to_vec();
        let mut memory = vec![0.0; optimizer.memory() * values.len()];
        let zeros = vec![0.0; values.len()];
        for (t, (&rate, gradient)) in (1..).zip(rates.iter().zip(gradients)) {
            optimizer.update(rate, t, &mut values, gradient.as_ref().unwrap_or(&zeros), &mut memory);
        }
        values
    }

    #[test]
    fn updates_put_off_give_what_updates_at_once_give() {
        let mut random = Random::new(7);
        let start: Vec<f32> = (0..8).map(|_| random.uniform() as f32 - 0.5).collect();
        for optimizer in OPTIMIZERS {
            for share in [0.02, 0.2, 0.9] {
                let rates: Vec<f64> = (0..600).map(|_| optimizer.usual_rate() * random.uniform()).collect();
                let gradients: Vec<Option<Vec<f32>>> = (0..rates.len())
                    .map(|_| {
                        let there = random.uniform() < share;
                        there.then(|| start.iter().map(|_| (random.uniform() as f32 - 0.5) * 1e-2).collect())
                    })
                    .collect();
                let expected = dense(*optimizer, &rates, &gradients, &start);
                let mut values = start.clone();
                let mut state = State::new(*optimizer, 1, values.len());
                for (t, gradient) in gradients.iter().enumerate() {
                    if let Some(gradient) = gradient {
                        state.catch_up(0, &rates[..t], &mut values);
                        state.update(0, &rates[..=t], &mut values, gradient);
                    }
                }
                state.catch_up(0, &rates, &mut values);
                for ((found, expected), start) in values.iter().zip(&expected).zip(&start) {
                    let moved = (expected - start).abs().max(1e-3);
                    let name = optimizer.name();
                    assert!(
                        (found - expected).abs() <= 2e-3 * moved,
                        "{name} {share}: {found} {expected} from {start}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_optimizer_goes_down_a_bowl() {
        for optimizer in OPTIMIZERS {
            let scales = [1.0f32, 0.1, 3.0];
            let mut values = vec![1.0f32, -2.0, 0.5];
            let mut memory = vec![0.0; optimizer.memory() * values.len()];
            let height = |values: &[f32]| values.iter().zip(scales).map(|(x, s)| x * x * s).sum::<f32>();
            let before = height(&values);
            for t in 1..=2000 {
                let gradient: Vec<f32> = values.iter().zip(scales).map(|(x, s)| 2.0 * x * s).collect();
                optimizer.update(optimizer.usual_rate(), t, &mut values, &gradient, &mut memory);
            }
            assert!(height(&values) < 0.5 * before, "{}: {values:?}", optimizer.name());
        }
    }

    #[test]
    fn names_are_found() {
        for optimizer in OPTIMIZERS {
            assert_eq!(find(optimizer.name()).expect("it is there").reference(), optimizer.reference());
        }
        assert_eq!(find("newton").err().map(|error| error.kind()), Some(ErrorKind::Request));
    }
}
