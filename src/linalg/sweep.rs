//! Passes over a table for methods that need more than its Gram matrix: `W M` a chunk of rows at a time, and the
//! moments `X^T X` and `X^T W` of what becomes of it.
//!
//! Products are of singles, sums over chunks are of doubles. Every sum has a fixed order: the result depends neither
//! on the number of threads nor on the instructions of the processor.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::cholesky::llt::solve::{solve_in_place, solve_in_place_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

use super::frame::check_finite;
use super::kernel::{Kernel, TILE_ROWS};
use super::panels::{Panels, padded};
use crate::error::Result;
use crate::observe::Observer;
use crate::tensor::{Precision, Rows};

/// Rows of a chunk.
const CHUNK: usize = 1024;

/// Rows that one task reads and multiplies.
const BLOCK: usize = 64;

/// Some rows of the table, and their products.
pub(crate) struct Chunk<'a> {
    /// Index of the first row.
    pub(crate) start: usize,
    /// The rows, scaled, without padding.
    pub(crate) table: &'a [f32],
    /// Their products with the map, without padding.
    pub(crate) left: &'a mut [f32],
}

/// `M`, `[d, k]`.
pub(crate) struct Map {
    panels: Panels<f32>,
    rank: usize,
}

impl Map {
    /// The matrix with the entries `value(row, column)`.
    pub(crate) fn new(width: usize, rank: usize, value: impl Fn(usize, usize) -> f64 + Sync) -> Self {
        let mut panels = Panels::zeros(width, rank);
        panels.fill_columns(|column, row| value(row, column) as f32);
        Map { panels, rank }
    }

    /// `rows * M` without padding; `rows` of width d.
    pub(crate) fn apply(&self, rows: &[f32], out: &mut [f32]) {
        let width = self.panels.depth();
        let count = rows.len() / width.max(1);
        let height = padded(count, TILE_ROWS);
        let mut source = vec![0.0; height * width];
        source[..rows.len()].copy_from_slice(rows);
        let stride = self.panels.padded_columns();
        let mut product = vec![0.0; height * stride];
        self.panels.multiply(Kernel::best(), height, &source, width, &mut product);
        let rank = self.rank.max(1);
        for (out, row) in out.chunks_exact_mut(rank).zip(product.chunks_exact(stride.max(1))) {
            out.copy_from_slice(&row[..rank]);
        }
    }
}

/// Hands `take` the chunks of `rows * scale` and their products with `map`, in the order of the rows.
///
/// # Errors
/// [`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite) with the first row and column; what `take` reports;
/// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) where the observer says so.
pub(crate) fn sweep(
    rows: &dyn Rows,
    scale: f64,
    map: &Map,
    take: &mut dyn FnMut(Chunk<'_>) -> Result<()>,
    observer: &dyn Observer,
) -> Result<()> {
    let (count, width) = rows.shape();
    let (rank, chunk) = (map.rank, CHUNK.min(count));
    let mut table = vec![0.0f32; chunk * width];
    let mut left = vec![0.0f32; chunk * rank];
    for start in (0..count).step_by(CHUNK) {
        observer.check()?;
        let present = chunk.min(count - start);
        let table = &mut table[..present * width];
        let left = &mut left[..present * rank];
        let blocks = table.par_chunks_mut(BLOCK * width).zip(left.par_chunks_mut(BLOCK * rank)).enumerate();
        let outcomes: Vec<Result<()>> = blocks
            .map(|(index, (table, left))| {
                let first = start + index * BLOCK;
                read_scaled(rows, first, scale, table)?;
                map.apply(table, left);
                Ok(())
            })
            .collect();
        outcomes.into_iter().collect::<Result<()>>()?;
        take(Chunk { start, table, left })?;
    }
    Ok(())
}

/// Reads rows from row `start` on as singles, times `scale`.
pub(crate) fn read_scaled(rows: &dyn Rows, start: usize, scale: f64, out: &mut [f32]) -> Result<()> {
    let width = rows.shape().1.max(1);
    let range = start..start + out.len() / width;
    if rows.precision() == Precision::Single && scale == 1.0 {
        rows.read_f32(range, out)?;
        return check_finite(start, width, out);
    }
    let mut exact = vec![0.0f64; out.len()];
    rows.read_f64(range, &mut exact)?;
    check_finite(start, width, &exact)?;
    out.iter_mut().zip(&exact).for_each(|(out, value)| *out = (value * scale) as f32);
    Ok(())
}

/// `X^T D X` and `X^T D W` over all rows, where D holds the weights of the rows.
pub(crate) struct Moments {
    /// `[k, k + d]`: `X^T D X`, then `X^T D W`.
    pub(crate) sums: Mat<f64>,
    rank: usize,
    width: usize,
}

impl Moments {
    /// Of nothing.
    pub(crate) fn new(rank: usize, width: usize) -> Self {
        Moments { sums: Mat::zeros(rank, rank + width), rank, width }
    }

    /// Adds some rows of X, `[n, k]`, and of W, `[n, d]`; `weight(i)` is that of row `i` of the slices.
    pub(crate) fn add(&mut self, left: &[f32], table: &[f32], weight: impl Fn(usize) -> f64 + Sync) {
        let (rank, width) = (self.rank, self.width);
        let count = left.len() / rank.max(1);
        let mut right = Panels::<f32>::zeros(count, rank + width);
        right.fill_columns(
            |column, row| {
                if column < rank { left[row * rank + column] } else { table[row * width + column - rank] }
            },
        );
        let stride = right.padded_columns();
        let weights: Vec<f32> = (0..count).map(|row| weight(row) as f32).collect();
        let rows: Vec<usize> = (0..rank).step_by(TILE_ROWS).collect();
        let partial: Vec<Vec<f32>> = rows
            .par_iter()
            .map(|&first| {
                let present = TILE_ROWS.min(rank - first);
                let mut transposed = vec![0.0f32; TILE_ROWS * count];
                for (j, out) in transposed.chunks_exact_mut(count.max(1)).take(present).enumerate() {
                    let column = left.iter().skip(first + j).step_by(rank);
                    out.iter_mut().zip(column).zip(&weights).for_each(|((out, x), weight)| *out = x * weight);
                }
                let mut product = vec![0.0f32; TILE_ROWS * stride];
                right.multiply(Kernel::best(), TILE_ROWS, &transposed, count, &mut product);
                product
            })
            .collect();
        for (first, product) in rows.into_iter().zip(partial) {
            for (j, row) in product.chunks_exact(stride.max(1)).take(TILE_ROWS.min(rank - first)).enumerate() {
                for (column, &value) in row[..rank + width].iter().enumerate() {
                    self.sums[(first + j, column)] += f64::from(value);
                }
            }
        }
    }

    /// `||W - X B||^2` for B `[k, d]`, row-major, where `squared_norm` is that of W, with the weights of the rows.
    pub(crate) fn squared_error(&self, squared_norm: f64, right: &[f64]) -> f64 {
        let right = MatRef::from_row_major_slice(right, self.rank, self.width);
        let mut product = Mat::<f64>::zeros(self.rank, self.width);
        let gram = self.sums.as_ref().subcols(0, self.rank);
        matmul(product.as_mut(), Accum::Replace, gram, right, 1.0, Par::rayon(4));
        let mut error = squared_norm;
        for j in 0..self.width {
            for i in 0..self.rank {
                error += right[(i, j)] * (product[(i, j)] - 2.0 * self.sums[(i, self.rank + j)]);
            }
        }
        error.max(0.0)
    }

    /// `X^T D W`, `[k, d]`.
    pub(crate) fn cross(&self) -> Mat<f64> {
        self.sums.subcols(self.rank, self.width).to_owned()
    }

    /// The least-squares solution B `[k, d]`, row-major, of `X B ~ W`.
    pub(crate) fn solve(&self) -> Vec<f64> {
        let gram = Mat::from_fn(self.rank, self.rank, |i, j| self.sums[(i, j)]);
        let right = Mat::from_fn(self.rank, self.width, |i, j| self.sums[(i, self.rank + j)]);
        let solution = solve_positive(&gram, &right);
        (0..self.rank).flat_map(|i| (0..self.width).map(move |j| (i, j))).map(|(i, j)| solution[(i, j)]).collect()
    }
}

/// Added to the diagonal of the scaled matrix, so that directions of which nothing is known get nothing.
const RIDGE: f64 = 1e-7;

/// The solution X of `gram X = right` for a symmetric matrix without negative eigenvalues; where it is singular, a
/// solution that is close to the one of least norm.
///
/// Rows and columns are scaled to a diagonal of ones first, which is close to the best diagonal scaling (van der
/// Sluis, "Condition numbers and equilibration of matrices", 1969).
pub(crate) fn solve_positive(gram: &Mat<f64>, right: &Mat<f64>) -> Mat<f64> {
    // The result depends on the degree of parallelism, so it is fixed.
    let parallel = Par::rayon(4);
    let order = gram.nrows();
    let scale = |i: usize| if gram[(i, i)] > 0.0 { gram[(i, i)].sqrt().recip() } else { 0.0 };
    let scales: Vec<f64> = (0..order).map(scale).collect();
    let mut ridge = RIDGE;
    // Rounding can make an eigenvalue negative; a larger ridge lifts it.
    while ridge <= 1.0 {
        let mut factor = Mat::from_fn(order, order, |i, j| {
            let entry = scales[i] * gram[(i, j)] * scales[j];
            if i == j { 1.0 + ridge } else { entry }
        });
        let scratch = cholesky_in_place_scratch::<f64>(order, parallel, Default::default());
        let stack = &mut MemBuffer::new(scratch);
        let stack = MemStack::new(stack);
        if cholesky_in_place(factor.as_mut(), Default::default(), parallel, stack, Default::default()).is_ok() {
            let mut solution = Mat::from_fn(order, right.ncols(), |i, j| scales[i] * right[(i, j)]);
            let scratch = solve_in_place_scratch::<f64>(order, right.ncols(), parallel);
            let stack = &mut MemBuffer::new(scratch);
            solve_in_place(factor.as_ref(), solution.as_mut(), parallel, MemStack::new(stack));
            return Mat::from_fn(order, right.ncols(), |i, j| scales[i] * solution[(i, j)]);
        }
        ridge *= 10.0;
    }
    Mat::zeros(order, right.ncols())
}
