//! Adaptive moment estimation.

use super::Optimizer;
use crate::linalg::{InstructionSet, Work};

/// A step against the mean gradient over the root of the mean squared one, both decaying and corrected for their start
/// at zero.
pub(super) struct Adam;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Below this share the first moment no longer counts.
const NEGLIGIBLE: f64 = 1e-9;

impl Optimizer for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn reference(&self) -> &'static str {
        "Kingma, Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, arXiv 1412.6980"
    }

    fn usual_rate(&self) -> f64 {
        1e-3
    }

    fn memory(&self) -> usize {
        2
    }

    fn update(&self, rate: f64, t: u64, values: &mut [f32], gradient: &[f32], moments: &mut [f32]) {
        update(rate, t, 0.0, values, gradient, moments);
    }

    fn idle(&self, rates: &[f64], t: u64, values: &mut [f32], moments: &mut [f32]) {
        idle(rates, t, 0.0, values, moments);
    }
}

/// An update after `values` have decayed by `rate * weight_decay`.
pub(super) fn update(rate: f64, t: u64, weight_decay: f64, values: &mut [f32], gradient: &[f32], moments: &mut [f32]) {
    let keep = (1.0 - rate * weight_decay) as f32;
    let step = (rate / correction(BETA1, t)) as f32;
    let root = (1.0 / correction(BETA2, t).sqrt()) as f32;
    let (first, second) = moments.split_at_mut(values.len());
    InstructionSet::best().run(Step { keep, step, root, values, gradient, first, second });
}

/// The loop of [`update`].
struct Step<'a> {
    keep: f32,
    step: f32,
    root: f32,
    values: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Work for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Step { keep, step, root, values, gradient, first, second } = self;
        for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
            *first = BETA1 as f32 * *first + (1.0 - BETA1) as f32 * gradient;
            *second = BETA2 as f32 * *second + (1.0 - BETA2) as f32 * (gradient * gradient);
            *value = keep * *value - step * *first / (second.sqrt() * root + EPSILON as f32);
        }
    }
}

/// Updates without a gradient. Each step goes in the direction of the first moment over the root of the second, and both
/// only decay, so that all steps together are one in that direction, by the sum of what each would go. Epsilon is taken
/// as if it decayed with the root: where it counts, the way is wrong by less than a hundredth but for the first updates.
pub(super) fn idle(rates: &[f64], t: u64, weight_decay: f64, values: &mut [f32], moments: &mut [f32]) {
    let before = t.saturating_sub(1);
    let reference = if before == 0 { 1.0 } else { correction(BETA2, before).sqrt() };
    let (mut keep, mut way) = (1.0, 0.0);
    let (mut first, mut root) = (1.0, 1.0);
    let root_decay = BETA2.sqrt();
    // Powers are multiplied up: this runs for each row and each update that it missed.
    let (mut first_power, mut second_power) = (BETA1.powf(before as f64), BETA2.powf(before as f64));
    for rate in rates {
        let kept = 1.0 - rate * weight_decay;
        keep *= kept;
        way *= kept;
        if first > NEGLIGIBLE {
            first *= BETA1;
            root *= root_decay;
            first_power *= BETA1;
            second_power *= BETA2;
            // The root of the corrected second moment is `root * reference / sqrt(1 - second_power)` times what it was.
            way += rate * first * (1.0 - second_power).sqrt() / ((1.0 - first_power) * root * reference);
        } else if weight_decay == 0.0 {
            break;
        }
    }
    let power = |base: f64| base.powf(rates.len() as f64) as f32;
    let (first_decay, second_decay) = (power(BETA1), power(BETA2));
    let (keep, way, root) = (keep as f32, way as f32, (1.0 / reference) as f32);
    let (first, second) = moments.split_at_mut(values.len());
    InstructionSet::best().run(Idle { keep, way, root, first_decay, second_decay, values, first, second });
}

/// The loop of [`idle`].
struct Idle<'a> {
    keep: f32,
    way: f32,
    root: f32,
    first_decay: f32,
    second_decay: f32,
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Work for Idle<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Idle { keep, way, root, first_decay, second_decay, values, first, second } = self;
        for (value, (first, second)) in values.iter_mut().zip(first.iter_mut().zip(second)) {
            *value = keep * *value - way * *first / (second.sqrt() * root + EPSILON as f32);
            *first *= first_decay;
            *second *= second_decay;
        }
    }
}

/// `1 - beta^t`: what a mean that began at zero lacks.
fn correction(beta: f64, t: u64) -> f64 {
    1.0 - beta.powf(t as f64)
}
