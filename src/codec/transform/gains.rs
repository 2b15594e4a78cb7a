//! The norm of each row, apart from its direction: sixteen gains, of which a row names one.
//!
//! Rows of a word table differ in norm, in one measured by a factor of seven. Dividing it out leaves components that
//! are nearer to normal, which is what a quantizer of few bits is good at. The gain only picks the scale
//! of the row's levels, so a coarse one costs next to nothing: the levels are fitted to what it leaves.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: a gain for each row that stands in memory"
)]

use std::ops::Range;

use rayon::prelude::*;

use crate::error::Result;
use crate::observe::Observer;
use crate::tensor::{Precision, Rows};

/// Bits of a row that name its gain.
pub(super) const GAIN_BITS: usize = 4;
/// Gains that a row can have.
pub(super) const GAINS: usize = 1 << GAIN_BITS;

/// Rows of smaller norm than this share of the largest get the smallest gain; they add nothing to the error.
const SMALLEST: f64 = 1e-4;

/// Values of a block of rows.
const BLOCK_VALUES: usize = 1 << 16;

/// The gains of a table, and which one each row has.
pub(super) struct Gains {
    /// Spaced evenly in the logarithm; the first is 0 where a row is zero.
    pub(super) values: [f64; GAINS],
    /// One for each row.
    pub(super) codes: Vec<u8>,
}

impl Gains {
    /// Reads the norms of `rows`.
    pub(super) fn read(rows: &dyn Rows, observer: &dyn Observer) -> Result<Gains> {
        let (height, width) = rows.shape();
        let block = (BLOCK_VALUES / width.max(1)).max(1);
        let mut norms = vec![0.0f64; height];
        observer.check()?;
        norms.par_chunks_mut(block).enumerate().try_for_each(|(index, norms)| {
            let start = index * block;
            let mut values = vec![0.0; norms.len() * width];
            rows.read_f64(start..start + norms.len(), &mut values)?;
            for (norm, row) in norms.iter_mut().zip(values.chunks_exact(width.max(1))) {
                let largest = row.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
                if largest > 0.0 {
                    // Divided first, since the square of a small number may be zero.
                    *norm = largest * row.iter().map(|value| (value / largest).powi(2)).sum::<f64>().sqrt();
                }
            }
            Ok::<(), crate::Error>(())
        })?;
        Ok(Gains::of(&norms))
    }

    fn of(norms: &[f64]) -> Gains {
        let largest = norms.iter().copied().fold(0.0, f64::max);
        let least = norms.iter().copied().filter(|&norm| norm > 0.0).fold(largest, f64::min).max(SMALLEST * largest);
        let zero = usize::from(norms.contains(&0.0));
        let steps = GAINS - 1 - zero;
        let ratio = if least > 0.0 { (largest / least).ln() / steps as f64 } else { 0.0 };
        let mut values = [0.0; GAINS];
        for (step, value) in values.iter_mut().skip(zero).enumerate() {
            *value = least * (ratio * step as f64).exp();
        }
        let code = |norm: f64| match (norm == 0.0, ratio > 0.0) {
            (true, _) => 0,
            (_, false) => zero as u8,
            _ => ((norm / least).ln() / ratio).round().clamp(0.0, steps as f64) as u8 + zero as u8,
        };
        Gains { values, codes: norms.iter().map(|&norm| code(norm)).collect() }
    }

    /// What an error in the direction of each row counts: the square of its gain, times its weight.
    pub(super) fn masses(&self, weights: Option<&[f64]>) -> Vec<f64> {
        let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
        (0..self.codes.len()).map(|row| self.of_row(row).powi(2) * weight(row)).collect()
    }

    /// The gain of a row.
    #[inline]
    pub(super) fn of_row(&self, row: usize) -> f64 {
        self.values[usize::from(self.codes[row])]
    }
}

/// A table with every row divided by its gain; rows of gain zero are zero.
pub(super) struct Directions<'a> {
    /// The table.
    pub(super) rows: &'a dyn Rows,
    /// Its gains.
    pub(super) gains: &'a Gains,
}

impl Rows for Directions<'_> {
    fn shape(&self) -> (usize, usize) {
        self.rows.shape()
    }

    /// Singles are enough for numbers around one that will be rounded to some hundreds of levels.
    fn precision(&self) -> Precision {
        Precision::Single
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let mut wide = vec![0.0; out.len()];
        self.read_f64(rows, &mut wide)?;
        out.iter_mut().zip(wide).for_each(|(out, value)| *out = value as f32);
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let width = self.rows.shape().1.max(1);
        self.rows.read_f64(rows.clone(), out)?;
        for (row, values) in rows.zip(out.chunks_exact_mut(width)) {
            match self.gains.of_row(row) {
                0.0 => values.fill(0.0),
                gain => values.iter_mut().for_each(|value| *value /= gain),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_is_within_a_step_of_the_norm() {
        let norms: Vec<f64> = (0..500).map(|i| 0.2 * 1.005f64.powi(i)).collect();
        let gains = Gains::of(&norms);
        let step = gains.values[1] / gains.values[0];
        for (row, norm) in norms.iter().enumerate() {
            let ratio = norm / gains.of_row(row);
            assert!(ratio <= step.sqrt() * (1.0 + 1e-9) && ratio >= 1.0 / step.sqrt() / (1.0 + 1e-9), "{ratio}");
        }
    }

    #[test]
    fn zero_rows_have_gain_zero_and_equal_rows_their_norm() {
        let gains = Gains::of(&[0.0, 2.0, 2.0, 0.0]);
        assert_eq!([0, 1, 2, 3].map(|row| gains.of_row(row)), [0.0, 2.0, 2.0, 0.0]);
        assert!(Gains::of(&[0.0; 3]).values.iter().all(|&gain| gain == 0.0));
    }

    #[test]
    fn an_outlier_keeps_its_norm() {
        let gains = Gains::of(&[1.0, 1e30, 1e-30]);
        assert!((gains.of_row(1) / 1e30 - 1.0).abs() < 1e-9);
        assert!(gains.values.iter().all(|gain| gain.is_finite()));
    }
}
