//! Adam with weight decay apart from the gradient.

use super::{Optimizer, adam};

/// Weights decay by the learning rate times [`WEIGHT_DECAY`], then Adam's step.
pub(super) struct AdamW;

const WEIGHT_DECAY: f64 = 0.01;

impl Optimizer for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn reference(&self) -> &'static str {
        "Loshchilov, Hutter, Decoupled Weight Decay Regularization, ICLR 2019, arXiv 1711.05101"
    }

    fn usual_rate(&self) -> f64 {
        1e-3
    }

    fn memory(&self) -> usize {
        2
    }

    fn update(&self, rate: f64, t: u64, values: &mut [f32], gradient: &[f32], moments: &mut [f32]) {
        adam::update(rate, t, WEIGHT_DECAY, values, gradient, moments);
    }

    fn idle(&self, rates: &[f64], t: u64, values: &mut [f32], moments: &mut [f32]) {
        adam::idle(rates, t, WEIGHT_DECAY, values, moments);
    }
}
