//! What one pass over the rows of a table and of its decoded form tells.

use std::ops::Range;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Rows, read_as_stored};

/// Values of a block of rows.
const BLOCK_VALUES: usize = 1 << 17;
/// Blocks between two looks at the observer; their sums are added in order.
const BLOCKS_AT_ONCE: usize = 64;

/// Bins of a [`Quality::row_errors`] per factor of ten.
pub const BINS_PER_DECADE: usize = 20;
/// Factors of ten from the lower end of the histogram, 1e-6, to the upper, 10.
const DECADES: usize = 7;
/// The lower end, as an exponent of ten.
const LOWEST: i32 = -6;

/// A decoded table against its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// `||W - W~||_F / ||W||_F`; 0 where W is zeros.
    pub relative_frobenius: f64,
    /// The same with row i counted `weights[i]` times: `sqrt(sum r_i |w_i - w~_i|^2 / sum r_i |w_i|^2)`.
    pub weighted_relative_frobenius: Option<f64>,
    /// `max |W - W~|`.
    pub max_absolute: f64,
    /// Cosines of rows to their originals.
    pub cosine: Cosines,
    /// How many rows have a relative error `|w - w~| / |w|` in each of [`row_error_bins`].
    pub row_errors: Vec<u64>,
}

/// Cosines of decoded rows to their originals. A row of zeros that stays one counts as 1, one that does not as 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cosines {
    /// Their mean.
    pub mean: f64,
    /// The largest value that at most one row in a hundred is below: the cosine of rank `ceil(V / 100)` from below.
    pub first_percentile: f64,
    /// The smallest.
    pub least: f64,
}

/// The lower bounds of the bins of [`Quality::row_errors`]: the first is 0, the others are spaced evenly in the
/// logarithm. Each bin reaches to the next bound, the last to infinity.
pub fn row_error_bins() -> Vec<f64> {
    let bound = |bin: usize| 10f64.powf(f64::from(LOWEST) + bin as f64 / BINS_PER_DECADE as f64);
    std::iter::once(0.0).chain((0..=DECADES * BINS_PER_DECADE).map(bound)).collect()
}

/// Compares `decoded` with `source`; `weights` has one for each row. The result does not depend on the number of
/// threads.
///
/// # Errors
/// [`ErrorKind::Malformed`] where shapes differ; whatever reading the rows reports; [`ErrorKind::Interrupted`].
pub fn quality(
    source: &dyn Rows,
    decoded: &dyn Rows,
    weights: Option<&[f64]>,
    observer: &dyn Observer,
) -> Result<Quality> {
    let (rows, columns) = source.shape();
    if decoded.shape() != (rows, columns) || weights.is_some_and(|weights| weights.len() != rows) {
        let (found_rows, found_columns) = decoded.shape();
        return Err(Error::new(ErrorKind::Malformed, "the decoded table or the weights have another shape")
            .expected(format!("[{rows}, {columns}]"))
            .found(format!("[{found_rows}, {found_columns}]")));
    }
    let block = (BLOCK_VALUES / columns.max(1)).max(1);
    let blocks: Vec<_> = (0..rows).step_by(block).map(|start| start..rows.min(start + block)).collect();
    let bins = row_error_bins();
    let mut total = Sums { row_errors: vec![0; bins.len()], ..Sums::default() };
    let mut cosines = Vec::with_capacity(rows);
    for blocks in blocks.chunks(BLOCKS_AT_ONCE) {
        observer.check()?;
        let found: Vec<_> = blocks
            .par_iter()
            .map(|range| Sums::of(source, decoded, weights, range.clone(), &bins))
            .collect::<Result<_>>()?;
        for (sums, of_rows) in found {
            total.add(&sums);
            cosines.extend(of_rows);
        }
    }
    let relative = |error: f64, norm: f64| if norm == 0.0 { 0.0 } else { (error / norm).sqrt() };
    Ok(Quality {
        relative_frobenius: relative(total.error, total.norm),
        weighted_relative_frobenius: weights.map(|_| relative(total.weighted_error, total.weighted_norm)),
        max_absolute: total.max_absolute,
        cosine: Cosines::of(cosines),
        row_errors: total.row_errors,
    })
}

impl Cosines {
    fn of(mut cosines: Vec<f64>) -> Self {
        let count = cosines.len();
        if count == 0 {
            return Cosines { mean: 1.0, first_percentile: 1.0, least: 1.0 };
        }
        let mean = cosines.iter().sum::<f64>() / count as f64;
        let least = cosines.iter().copied().fold(f64::INFINITY, f64::min);
        let (_, &mut first_percentile, _) = cosines.select_nth_unstable_by(count.div_ceil(100) - 1, f64::total_cmp);
        Cosines { mean, first_percentile, least }
    }
}

#[derive(Debug, Clone, Default)]
struct Sums {
    norm: f64,
    error: f64,
    weighted_norm: f64,
    weighted_error: f64,
    max_absolute: f64,
    row_errors: Vec<u64>,
}

impl Sums {
    /// The sums over some rows, and their cosines.
    fn of(
        source: &dyn Rows,
        decoded: &dyn Rows,
        weights: Option<&[f64]>,
        range: Range<usize>,
        bins: &[f64],
    ) -> Result<(Sums, Vec<f64>)> {
        let columns = source.shape().1;
        let mut expected = vec![0.0f64; range.len() * columns];
        read_as_stored(source, range.clone(), &mut expected)?;
        let mut found = vec![0.0f64; expected.len()];
        read_as_stored(decoded, range.clone(), &mut found)?;
        let mut sums = Sums { row_errors: vec![0; bins.len()], ..Sums::default() };
        let mut cosines = Vec::with_capacity(range.len());
        let rows = expected.chunks_exact(columns.max(1)).zip(found.chunks_exact(columns.max(1)));
        for (row, (expected, found)) in range.zip(rows) {
            let (mut norm, mut other, mut dot, mut error) = (0.0, 0.0, 0.0, 0.0);
            for (&x, &y) in expected.iter().zip(found) {
                norm += x * x;
                other += y * y;
                dot += x * y;
                error += (x - y) * (x - y);
                sums.max_absolute = sums.max_absolute.max((x - y).abs());
            }
            let weight = weights.and_then(|weights| weights.get(row)).copied().unwrap_or(1.0);
            sums.norm += norm;
            sums.error += error;
            sums.weighted_norm += weight * norm;
            sums.weighted_error += weight * error;
            cosines.push(cosine(dot, norm, other));
            let relative = match (norm == 0.0, error == 0.0) {
                (_, true) => 0.0,
                (true, false) => f64::INFINITY,
                (false, false) => (error / norm).sqrt(),
            };
            let bin = bins.partition_point(|&bound| bound <= relative).saturating_sub(1);
            if let Some(count) = sums.row_errors.get_mut(bin) {
                *count += 1;
            }
        }
        Ok((sums, cosines))
    }

    fn add(&mut self, other: &Sums) {
        self.norm += other.norm;
        self.error += other.error;
        self.weighted_norm += other.weighted_norm;
        self.weighted_error += other.weighted_error;
        self.max_absolute = self.max_absolute.max(other.max_absolute);
        self.row_errors.iter_mut().zip(&other.row_errors).for_each(|(sum, count)| *sum += count);
    }
}

/// The cosine of two rows from their product and their squared norms.
fn cosine(dot: f64, norm: f64, other: f64) -> f64 {
    match (norm == 0.0, other == 0.0) {
        (true, true) => 1.0,
        (false, false) => (dot / (norm.sqrt() * other.sqrt())).clamp(-1.0, 1.0),
        _ => 0.0,
    }
}
