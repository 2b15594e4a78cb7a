//! The rows that levels are fitted on and that errors are predicted from.

#![expect(clippy::arithmetic_side_effects, reason = "an encoder: rows are drawn below their number")]

use rayon::prelude::*;

use super::gains::{Directions, Gains};
use crate::codec::{Measured, measure_weighted};
use crate::error::Result;
use crate::linalg::Product;
use crate::observe::Silent;
use crate::tensor::{Dtype, MappedRows, Rows};

/// Draws of a sample.
const DRAWS: usize = 4096;

/// Directions of some rows.
///
/// Rows are drawn in proportion to what their errors count (systematic sampling with unequal probabilities: Madow, "On
/// the theory of systematic sampling, II", Annals of Mathematical Statistics 20, 1949), so that each draw counts the
/// same; where rows of no weight were drawn as often as others, a few would decide all.
pub(super) struct Sample {
    /// Singles, `[n, d]`.
    bytes: Vec<u8>,
    /// What each counts.
    masses: Vec<f64>,
    width: usize,
}

impl Sample {
    /// All rows of a small table; of a larger one those on which the summed `masses` pass a multiple of an even part.
    pub(super) fn draw(rows: &dyn Rows, gains: &Gains, masses: &[f64]) -> Result<Sample> {
        let (height, width) = rows.shape();
        let chosen: Vec<(usize, f64)> =
            if height <= DRAWS { masses.iter().copied().enumerate().collect() } else { systematic(masses) };
        let directions = Directions { rows, gains };
        let read: Vec<Vec<u8>> = chosen
            .par_iter()
            .map(|&(row, _)| {
                let mut values = vec![0.0f32; width];
                directions.read_f32(row..row + 1, &mut values)?;
                Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
            })
            .collect::<Result<_>>()?;
        Ok(Sample { bytes: read.concat(), masses: chosen.iter().map(|&(_, mass)| mass).collect(), width })
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.masses.len()
    }

    /// What each row counts.
    pub(super) fn masses(&self) -> &[f64] {
        &self.masses
    }

    fn rows(&self) -> Result<MappedRows<'_>> {
        MappedRows::new(&self.bytes, Dtype::F32, self.len(), self.width)
    }

    /// The components along `vectors`, `[k, d]`: `[n, k]`.
    pub(super) fn project(&self, vectors: &[f64]) -> Result<Vec<f32>> {
        let components = vectors.len() / self.width.max(1);
        let bytes: Vec<u8> = vectors.iter().flat_map(|&entry| (entry as f32).to_le_bytes()).collect();
        let product = Product::new(self.rows()?, &MappedRows::new(&bytes, Dtype::F32, components, self.width)?)?;
        let mut values = vec![0.0; self.len() * components];
        const BLOCK: usize = 64;
        values.par_chunks_mut((BLOCK * components).max(1)).enumerate().try_for_each(|(block, values)| {
            let start = block * BLOCK;
            product.read_f32(start..start + values.len() / components.max(1), values)
        })?;
        Ok(values)
    }

    /// The share of the sample's energy that is lost where its components become `values`, `[n, k]`, along the columns
    /// of `basis`, singles `[d, k]`.
    pub(super) fn lost(&self, values: &[f32], basis: &[u8]) -> Result<f64> {
        let components = basis.len() / size_of::<f32>() / self.width.max(1);
        let left: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let left = MappedRows::new(&left, Dtype::F32, self.len(), components)?;
        let decoded = Product::new(left, &MappedRows::new(basis, Dtype::F32, self.width, components)?)?;
        let Measured { weighted, .. } = measure_weighted(&self.rows()?, &decoded, Some(&self.masses), &Silent)?;
        Ok(weighted.map_or(0.0, |sums| sums.relative_frobenius_error().powi(2)))
    }
}

/// Which rows are drawn, with what each counts: an even part of the sum of all for each time it is drawn.
fn systematic(masses: &[f64]) -> Vec<(usize, f64)> {
    let part = masses.iter().sum::<f64>() / DRAWS as f64;
    let mut chosen = Vec::with_capacity(DRAWS);
    let (mut sum, mut drawn) = (0.0, 0);
    for (row, mass) in masses.iter().enumerate() {
        sum += mass;
        let mut times = 0;
        while drawn < DRAWS && (drawn as f64 + 0.5) * part < sum {
            drawn += 1;
            times += 1;
        }
        if times > 0 {
            chosen.push((row, f64::from(times) * part));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_drawn_as_often_as_they_count() {
        let masses: Vec<f64> = (0..50_000).map(|row| if row == 7 { 1e4 } else { 1.0 }).collect();
        let chosen = systematic(&masses);
        let total: f64 = chosen.iter().map(|(_, mass)| mass).sum();
        assert!((total / 6e4 - 1.0).abs() < 1e-2, "{total}");
        let heavy = chosen.iter().find(|(row, _)| *row == 7).unwrap();
        assert!((heavy.1 / 1e4 - 1.0).abs() < 1e-2, "{heavy:?}");
        assert!(systematic(&[0.0; 5000]).is_empty());
    }
}
