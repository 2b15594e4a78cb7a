//! Adaptive subgradients.

use super::Optimizer;

/// A step against the gradient over the root of the sum of all squared ones.
pub(super) struct AdaGrad;

const EPSILON: f32 = 1e-10;

impl Optimizer for AdaGrad {
    fn name(&self) -> &'static str {
        "adagrad"
    }

    fn reference(&self) -> &'static str {
        "Duchi, Hazan, Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, JMLR 2011"
    }

    fn usual_rate(&self) -> f64 {
        0.01
    }

    fn memory(&self) -> usize {
        1
    }

    fn update(&self, rate: f64, _t: u64, values: &mut [f32], gradient: &[f32], sums: &mut [f32]) {
        let rate = rate as f32;
        for ((value, gradient), sum) in values.iter_mut().zip(gradient).zip(sums) {
            *sum += gradient * gradient;
            *value -= rate * gradient / (sum.sqrt() + EPSILON);
        }
    }

    fn idle(&self, _rates: &[f64], _t: u64, _values: &mut [f32], _sums: &mut [f32]) {}
}
