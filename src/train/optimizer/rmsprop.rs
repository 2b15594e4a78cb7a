//! RMSProp.

use super::Optimizer;

/// A step against the gradient over the root of the decaying mean of squared ones.
pub(super) struct RmsProp;

const ALPHA: f64 = 0.99;
const EPSILON: f32 = 1e-8;

impl Optimizer for RmsProp {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn reference(&self) -> &'static str {
        "Tieleman, Hinton, Lecture 6.5: Divide the Gradient by a Running Average of its Recent Magnitude, 2012"
    }

    fn usual_rate(&self) -> f64 {
        1e-3
    }

    fn memory(&self) -> usize {
        1
    }

    fn update(&self, rate: f64, _t: u64, values: &mut [f32], gradient: &[f32], squares: &mut [f32]) {
        let (rate, alpha) = (rate as f32, ALPHA as f32);
        for ((value, gradient), square) in values.iter_mut().zip(gradient).zip(squares) {
            *square = alpha * *square + (1.0 - alpha) * (gradient * gradient);
            *value -= rate * gradient / (square.sqrt() + EPSILON);
        }
    }

    fn idle(&self, rates: &[f64], _t: u64, _values: &mut [f32], squares: &mut [f32]) {
        let decay = ALPHA.powf(rates.len() as f64) as f32;
        squares.iter_mut().for_each(|square| *square *= decay);
    }
}
