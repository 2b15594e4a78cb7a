//! The eigenvalues of a diagonal matrix plus one of rank one: the roots of the secular equation
//! `1 + sum of w_i / (d_i - x) = 0` with `w_i > 0` and `d` ascending.
//!
//! Each root lies between two poles and is kept as its distance from the nearer one, so that its distance from every
//! pole has full relative accuracy (Bunch, Nielsen, Sorensen 1978; Li, LAPACK working note 89). The weights for
//! which the roots are exact are then found again, which makes the eigenvectors orthogonal whatever the rounding
//! (Gu and Eisenstat 1994).

use rayon::prelude::*;

use crate::linalg::kernel::{InstructionSet, Work};

/// Partial sums, in a fixed order whatever the instructions.
const LANES: usize = 8;

/// Bound on the steps to one root; a few suffice, and halving the bracket takes no more than this.
const STEPS: usize = 200;

/// A root, as `poles[origin] + offset`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root {
    origin: usize,
    offset: f64,
}

impl Root {
    pub(super) fn value(self, poles: &[f64]) -> f64 {
        poles[self.origin] + self.offset
    }

    /// `poles[i] - root`.
    pub(super) fn below_pole(self, poles: &[f64], i: usize) -> f64 {
        (poles[i] - poles[self.origin]) - self.offset
    }
}

/// All roots, ascending.
pub(super) fn roots(poles: &[f64], weights: &[f64]) -> Vec<Root> {
    (0..poles.len()).into_par_iter().with_min_len(8).map(|j| root(poles, weights, j)).collect()
}

/// Weights for which the roots are exact, up to a common factor, as square roots.
pub(super) fn adjusted_weights(poles: &[f64], roots: &[Root]) -> Vec<f64> {
    (0..poles.len())
        .into_par_iter()
        .with_min_len(8)
        .map(|i| {
            // Poles and roots alternate, so that every factor is positive and the product neither over- nor underflows.
            let product = roots.iter().enumerate().fold(1.0, |product, (k, root)| {
                let distance = root.below_pole(poles, i);
                product * if k == i { -distance } else { distance / (poles[i] - poles[k]) }
            });
            product.abs().sqrt()
        })
        .collect()
}

/// The sums of `w / (d - x)` and of `w / (d - x)^2`.
struct Terms<'a> {
    poles: &'a [f64],
    weights: &'a [f64],
    origin: f64,
    offset: f64,
}

impl Work for Terms<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run(self) -> (f64, f64) {
        let (mut sums, mut slopes) = ([0.0; LANES], [0.0; LANES]);
        let (poles, poles_rest) = self.poles.as_chunks::<LANES>();
        let (weights, weights_rest) = self.weights.as_chunks::<LANES>();
        for (poles, weights) in poles.iter().zip(weights) {
            for lane in 0..LANES {
                let inverse = 1.0 / ((poles[lane] - self.origin) - self.offset);
                sums[lane] += weights[lane] * inverse;
                slopes[lane] += weights[lane] * inverse * inverse;
            }
        }
        for (lane, (pole, weight)) in poles_rest.iter().zip(weights_rest).enumerate() {
            let inverse = 1.0 / ((pole - self.origin) - self.offset);
            sums[lane] += weight * inverse;
            slopes[lane] += weight * inverse * inverse;
        }
        (sums.iter().sum(), slopes.iter().sum())
    }
}

/// The root above pole `j`.
fn root(poles: &[f64], weights: &[f64], j: usize) -> Root {
    let set = InstructionSet::best();
    let split = j + 1;
    let evaluate = |origin: usize, offset: f64| {
        let origin = poles[origin];
        let below = set.run(Terms { poles: &poles[..split], weights: &weights[..split], origin, offset });
        let above = set.run(Terms { poles: &poles[split..], weights: &weights[split..], origin, offset });
        (below, above)
    };
    let last = split == poles.len();
    let gap = if last { weights.iter().sum() } else { poles[split] - poles[j] };
    let ((below, _), (above, _)) = evaluate(j, 0.5 * gap);
    // The function rises from one pole to the next.
    let left = 1.0 + below + above >= 0.0;
    let origin = if left || last { j } else { split };
    let (mut low, mut high) = match (left, last) {
        (true, _) => (0.0, 0.5 * gap),
        (false, true) => (0.5 * gap, gap),
        (false, false) => (-0.5 * gap, 0.0),
    };
    let mut offset = 0.5 * (low + high);
    for _ in 0..STEPS {
        let ((below, below_slope), (above, above_slope)) = evaluate(origin, offset);
        let value = 1.0 + below + above;
        if value.abs() <= 8.0 * f64::EPSILON * (1.0 + above - below) {
            break;
        }
        if value < 0.0 {
            low = offset;
        } else {
            high = offset;
        }
        // Both halves of the sum as a constant and one pole each, with the right value and slope; for the last root
        // there is no pole above.
        let to_left = (poles[j] - poles[origin]) - offset;
        let step = if last {
            let constant = value - to_left * below_slope;
            to_left + to_left * to_left * below_slope / constant
        } else {
            let to_right = (poles[split] - poles[origin]) - offset;
            let constant = value - to_left * below_slope - to_right * above_slope;
            let linear = (to_left + to_right) * value - to_left * to_right * (below_slope + above_slope);
            let product = to_left * to_right * value;
            let discriminant = (linear * linear - 4.0 * constant * product).max(0.0).sqrt();
            if linear <= 0.0 {
                (linear - discriminant) / (2.0 * constant)
            } else {
                2.0 * product / (linear + discriminant)
            }
        };
        let next = offset + step;
        let next = if next > low && next < high { next } else { 0.5 * (low + high) };
        if next == offset || next <= low || next >= high {
            break;
        }
        offset = next;
    }
    Root { origin, offset }
}
