//! Stochastic gradient descent.

use super::Optimizer;

/// A step against the gradient.
pub(super) struct Sgd;

impl Optimizer for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn reference(&self) -> &'static str {
        "Robbins, Monro, A Stochastic Approximation Method, 1951"
    }

    fn usual_rate(&self) -> f64 {
        0.1
    }

    fn memory(&self) -> usize {
        0
    }

    fn update(&self, rate: f64, _t: u64, values: &mut [f32], gradient: &[f32], _memory: &mut [f32]) {
        let rate = rate as f32;
        values.iter_mut().zip(gradient).for_each(|(value, gradient)| *value -= rate * gradient);
    }

    fn idle(&self, _rates: &[f64], _t: u64, _values: &mut [f32], _memory: &mut [f32]) {}
}
