//! Which ranks and bits are worth having: a prediction of the error from the spectrum and a sample of rows.
//!
//! What is dropped is known; what rounding adds to a rank is its energy times the share of its column's (or row's)
//! energy that the grid loses, measured on the sample for every number of bits.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: every size and place is that of a table in memory or of its own ladder"
)]

use rayon::prelude::*;

use super::factors::{Factors, Source, fit};
use super::grid::{Grid, Sample};
use super::{BITS, Setup, Variant};
use crate::codec::calibrate::calibrated;
use crate::error::Result;
use crate::linalg::{Factorization, Map, read_scaled};

/// Rows of the sample.
const SAMPLE: usize = 1024;

/// Predicted squared errors.
pub(super) struct Prediction {
    /// By rank, from 0.
    dropped: Vec<f64>,
    /// By bits from 2, then by rank from 0: what rounding L adds.
    left: Vec<Vec<f64>>,
    /// The same for R.
    right: Vec<Vec<f64>>,
}

impl Prediction {
    pub(super) fn new(
        source: &Source<'_>,
        factorization: &Factorization,
        variant: Variant,
        rank: usize,
    ) -> Result<Self> {
        let (height, width) = source.rows.shape();
        let spectrum = factorization.spectrum();
        let energies: Vec<f64> = spectrum.energies.iter().copied().take(rank).collect();
        let vectors = factorization.right_singular_vectors();
        let map = Map::new(width, rank, |row, column| vectors[column * width + row]);
        let sampled = height.min(SAMPLE);
        let mut table = vec![0.0f32; sampled * width];
        let mut weights = vec![1.0f32; sampled];
        for (i, (row, weight)) in table.chunks_exact_mut(width.max(1)).zip(&mut weights).enumerate() {
            // The product cannot overflow: `sampled` is small and rows take at least a byte.
            let at = (i as u128 * height as u128 / sampled as u128) as usize;
            read_scaled(source.rows, at, source.scale, row)?;
            *weight = source.weights.map_or(1.0, |weights| weights[at] as f32);
        }
        let mut left = vec![0.0f32; sampled * rank];
        map.apply(&table, &mut left);
        let column = |j: usize| -> Vec<Sample> {
            left.iter().skip(j).step_by(rank.max(1)).copied().zip(weights.iter().copied()).collect()
        };
        let row = |j: usize| -> Vec<Sample> {
            vectors[j * width..(j + 1) * width].iter().map(|&value| (value as f32, 1.0)).collect()
        };
        let by_bits = |samples: &(dyn Fn(usize) -> Vec<Sample> + Sync)| -> Vec<Vec<f64>> {
            let losses: Vec<Vec<f64>> = (0..rank)
                .into_par_iter()
                .map(|j| BITS.map(|bits| loss(&samples(j), bits, variant)).collect())
                .collect();
            let sums = (0..BITS.count()).map(|bits| {
                let mut sums = vec![0.0];
                for (losses, energy) in losses.iter().zip(&energies) {
                    sums.push(sums.last().copied().unwrap_or(0.0) + energy * losses[bits]);
                }
                sums
            });
            sums.collect()
        };
        let mut dropped = spectrum.squared_errors();
        dropped.truncate(rank + 1);
        Ok(Prediction { dropped, left: by_bits(&column), right: by_bits(&row) })
    }

    /// What `setup` is expected to lose.
    pub(super) fn squared_error(&self, setup: &Setup) -> f64 {
        let at = |sums: &[Vec<f64>], bits: u32| {
            let sums = sums.get((bits - BITS.start()) as usize);
            sums.and_then(|sums| sums.get(setup.rank)).copied().unwrap_or(0.0)
        };
        let dropped = self.dropped.get(setup.rank).copied().unwrap_or(0.0);
        // A sketch of as many columns as are kept misses about as much again as the best basis does.
        let dropped = if setup.variant == Variant::Lplr { 2.0 * dropped } else { dropped };
        dropped + at(&self.left, setup.left_bits) + at(&self.right, setup.right_bits)
    }
}

/// Multiplications up to which every setup is tried out.
const TRIED_OUT: f64 = 1e11;

/// Setups that are tried out where all would take too long.
const ANCHORS: usize = 5;

/// A setup and its predicted squared error.
type Rung = (Setup, f64);

/// The setups with their errors: tried out where the table is small or the setup is the only one, else predicted, times
/// what trying out some of them shows the prediction to be off by. Those that are no better than a smaller one fall out.
/// The factors of an only setup are given too.
pub(super) fn measure(
    source: &Source<'_>,
    factorization: &Factorization,
    setups: Vec<Setup>,
    prediction: &Prediction,
) -> Result<(Vec<Rung>, Option<Factors>)> {
    let try_out = |setup: &Setup| -> Result<(f64, Factors)> {
        let factors = fit(source, factorization, setup)?;
        let measured = factors.encode(source, setup.rank, &mut |_| Ok(()))?;
        Ok((measured.objective(), factors))
    };
    if let [setup] = setups[..] {
        let (error, factors) = try_out(&setup)?;
        return Ok((vec![(setup, error)], Some(factors)));
    }
    let (height, width) = source.rows.shape();
    // A round is four products of the size of the table times the rank, and there are at most four rounds.
    let work: f64 = setups.iter().map(|setup| 16.0 * height as f64 * width as f64 * setup.rank as f64).sum();
    let tries = if work <= TRIED_OUT { setups.len() } else { ANCHORS };
    let predictions: Vec<f64> = setups.iter().map(|setup| prediction.squared_error(setup)).collect();
    let errors = calibrated(&predictions, tries, |at| Ok(try_out(&setups[at])?.0))?;
    let mut measured: Vec<Rung> = setups.into_iter().zip(errors).collect();
    let mut least = f64::INFINITY;
    measured.retain(|&(_, error)| {
        let better = error < least;
        least = least.min(error);
        better
    });
    Ok((measured, None))
}

/// The share of the energy of some entries that rounding them to `bits` bits loses; less than 1.
fn loss(samples: &[Sample], bits: u32, variant: Variant) -> f64 {
    let energy: f64 = samples.iter().map(|&(value, times)| f64::from(value * value * times)).sum();
    if energy == 0.0 {
        return 0.0;
    }
    let range = samples
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &(value, _)| (low.min(value), high.max(value)));
    let (_, error) = Grid::fit(samples, range.0, range.1, bits);
    // One range for a whole matrix is about twice as wide as that of a column without what is clipped.
    let error = if variant == Variant::Ours { error } else { 4.0 * error };
    // Fitting the other factor to what was rounded wins a part back: e / (1 + e) of a direction's energy stays lost.
    let share = error / energy;
    share / (1.0 + share)
}

/// The setups of `base`'s variant up to its rank, by increasing bytes, that each lower the predicted error, and take
/// fewer bytes than `dense`.
pub(super) fn envelope(
    base: &Setup,
    shape: (usize, usize),
    (left, right): (Option<u32>, Option<u32>),
    dense: u64,
    prediction: &Prediction,
) -> Vec<Setup> {
    let among = |asked: Option<u32>| BITS.filter(move |&bits| asked.is_none_or(|asked| asked == bits));
    let mut setups: Vec<(u64, f64, Setup)> = (1..=base.rank)
        .flat_map(|rank| among(left).map(move |left_bits| (rank, left_bits)))
        .flat_map(|(rank, left_bits)| {
            among(right).map(move |right_bits| Setup { rank, left_bits, right_bits, ..*base })
        })
        .filter_map(|setup| {
            let bytes = setup.bytes(shape).filter(|&bytes| bytes < dense)?;
            Some((bytes, prediction.squared_error(&setup), setup))
        })
        .collect();
    setups.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut least = f64::INFINITY;
    setups.retain(|&(_, error, _)| {
        let better = error < least;
        least = least.min(error);
        better
    });
    setups.into_iter().map(|(_, _, setup)| setup).collect()
}
