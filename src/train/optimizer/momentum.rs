//! Stochastic gradient descent with momentum.

use super::Optimizer;

/// The velocity is the sum of all gradients, each decayed by [`MOMENTUM`] a step; a step goes against it.
pub(super) struct Momentum;

const MOMENTUM: f64 = 0.9;

/// Below this share of the first step, steps of a velocity that only decays no longer count.
const NEGLIGIBLE: f64 = 1e-12;

impl Optimizer for Momentum {
    fn name(&self) -> &'static str {
        "momentum"
    }

    fn reference(&self) -> &'static str {
        "Polyak, Some Methods of Speeding up the Convergence of Iteration Methods, 1964; as in Sutskever and others, ICML \
         2013"
    }

    fn usual_rate(&self) -> f64 {
        0.01
    }

    fn memory(&self) -> usize {
        1
    }

    fn update(&self, rate: f64, _t: u64, values: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
        let rate = rate as f32;
        for ((value, gradient), velocity) in values.iter_mut().zip(gradient).zip(velocity) {
            *velocity = MOMENTUM as f32 * *velocity + gradient;
            *value -= rate * *velocity;
        }
    }

    fn idle(&self, rates: &[f64], _t: u64, values: &mut [f32], velocity: &mut [f32]) {
        let (mut decay, mut way) = (1.0, 0.0);
        for rate in rates {
            decay *= MOMENTUM;
            way += rate * decay;
            if decay < NEGLIGIBLE {
                decay = 0.0;
                break;
            }
        }
        for (value, velocity) in values.iter_mut().zip(velocity) {
            *value -= way as f32 * *velocity;
            *velocity *= decay as f32;
        }
    }
}
