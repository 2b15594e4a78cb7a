//! AdaDelta.

use super::Optimizer;

/// A step against the gradient times the ratio of the root mean squares of past steps and of gradients.
pub(super) struct AdaDelta;

const RHO: f64 = 0.9;
const EPSILON: f32 = 1e-6;

impl Optimizer for AdaDelta {
    fn name(&self) -> &'static str {
        "adadelta"
    }

    fn reference(&self) -> &'static str {
        "Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, arXiv 1212.5701"
    }

    fn usual_rate(&self) -> f64 {
        1.0
    }

    fn memory(&self) -> usize {
        2
    }

    fn update(&self, rate: f64, _t: u64, values: &mut [f32], gradient: &[f32], squares: &mut [f32]) {
        let (rate, rho) = (rate as f32, RHO as f32);
        let (gradients, steps) = squares.split_at_mut(values.len());
        for ((value, gradient), (square, step)) in values.iter_mut().zip(gradient).zip(gradients.iter_mut().zip(steps))
        {
            *square = rho * *square + (1.0 - rho) * (gradient * gradient);
            let change = ((*step + EPSILON) / (*square + EPSILON)).sqrt() * gradient;
            *step = rho * *step + (1.0 - rho) * (change * change);
            *value -= rate * change;
        }
    }

    fn idle(&self, rates: &[f64], _t: u64, _values: &mut [f32], squares: &mut [f32]) {
        let decay = RHO.powf(rates.len() as f64) as f32;
        squares.iter_mut().for_each(|square| *square *= decay);
    }
}
