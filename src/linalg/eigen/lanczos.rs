//! A few leading eigenpairs without the others: block Lanczos with full reorthogonalization (Golub and Underwood, "The
//! block Lanczos method for computing eigenvalues", 1977; Golub and Van Loan, "Matrix Computations", 4th ed., 10.3.6).
//!
//! It yields eigenpairs, but not that they are the leading ones: of an eigenvalue with more vectors than a block is wide,
//! a Krylov space holds no more than the block had. So they are given back only once it is [shown](super::proof) that none
//! is missing.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::proof::none_above;
use super::{ALONE, Eigen, Reduction, decompose, reflections};
use crate::error::Result;
use crate::linalg::kernel::{Kernel, Lane, TILE_ROWS};
use crate::linalg::panels::{Panels, padded};
use crate::random::Random;

/// Vectors that are multiplied by the matrix at a time: half a tile, which AVX2 computes at full speed. Fewer vectors in all
/// are enough with narrow blocks.
const BLOCK: usize = 12;

/// Numbers between rows of what products write: that of one panel.
const STRIDE: usize = f64::TILE_COLUMNS;

/// Rows that a task multiplies.
const ROWS: usize = 8 * TILE_ROWS;

/// What the pairs may leave of the matrix beyond the optimum, as a part of that.
const TOLERANCE: f64 = 1e-6;

/// The basis may have one vector for so many of the order; with more, the whole decomposition is faster.
const PART: usize = 2;

/// The `rank` leading eigenpairs of the matrix, `[order, order]` in rows, symmetric, of a trace near one, which is
/// overwritten; `None` where they are not found with a small basis, or not shown to be all.
///
/// The eigenvalues add up to their largest sum but for 1e-6 of the rest of the trace.
pub(super) fn leading(matrix: &mut [f64], order: usize, trace: f64, rank: usize) -> Result<Option<Eigen>> {
    let most = order / PART;
    let mut space = Krylov::new(order, most);
    let mut next = (2 * rank).max(rank + 2 * BLOCK);
    let mut before: Option<(usize, f64)> = None;
    while space.len + BLOCK <= most && space.extend(matrix) {
        if space.len < next {
            continue;
        }
        let found = space.ritz(trace, rank)?;
        if found.missed <= TOLERANCE {
            let vectors = space.vectors(&found, rank);
            return Ok(found.bound(rank).and_then(|bound| {
                let values = &found.values[..rank];
                none_above(matrix, order, bound, values, &vectors).then(|| Eigen { values: values.to_vec(), vectors })
            }));
        }
        let mut step = space.len / 8;
        // The fall of the logarithm grows with the basis, to about three times what it was.
        if let Some((len, missed)) = before {
            let fall = (missed / found.missed).ln() / (space.len - len) as f64;
            let remaining = (found.missed / TOLERANCE).ln() / (3.0 * fall);
            if fall <= 0.0 || space.len as f64 + remaining > most as f64 {
                return Ok(None);
            }
            step = step.min(remaining as usize);
        }
        before = Some((space.len, found.missed));
        next = space.len + step;
    }
    Ok(None)
}

/// An orthonormal basis of `X, G X, G^2 X, ...` for some block X of vectors.
struct Krylov {
    order: usize,
    /// Vectors that were multiplied by the matrix. A block more is in the basis.
    len: usize,
    /// A vector a row, with room for whole tiles.
    basis: Vec<f64>,
    /// The matrix in this basis: its blocks on the diagonal.
    diagonal: Vec<Mat<f64>>,
    /// Its blocks below those; the last one is what the last image has of the block that is not multiplied yet.
    below: Vec<Mat<f64>>,
}

/// The leading eigenpairs of the matrix in the basis.
struct Ritz {
    /// All, descending.
    values: Vec<f64>,
    /// A row each, `[rank, len]`.
    vectors: Vec<f64>,
    /// An estimate of what the sum of the leading values is below the largest possible, as a part of `dropped`.
    missed: f64,
    /// The trace without the leading values.
    dropped: f64,
}

impl Ritz {
    /// A bound such that the leading values of the matrix, if they are all below it but for those found, add up to a sum
    /// within the tolerance.
    fn bound(&self, rank: usize) -> Option<f64> {
        let (allowed, smallest) = (TOLERANCE * self.dropped, self.values[rank - 1]);
        // Each value below the bound could be replaced by one at it.
        let near = self.values[..rank].iter().filter(|&&value| value < smallest + allowed).count();
        (near > 0).then(|| smallest + allowed / near as f64)
    }
}

impl Krylov {
    /// The space of a block that looks random, with room for `most` vectors.
    fn new(order: usize, most: usize) -> Self {
        let mut basis = vec![0.0; padded(most + BLOCK, TILE_ROWS) * order];
        let mut random = Random::new(1);
        let first = &mut basis[..BLOCK * order];
        first.iter_mut().for_each(|entry| *entry = random.uniform() - 0.5);
        orthonormalize(first, order);
        Krylov { order, len: 0, basis, diagonal: Vec::new(), below: Vec::new() }
    }

    /// Multiplies the last block by the matrix, and makes what is new in the image the next block; `false` where nothing is.
    fn extend(&mut self, matrix: &[f64]) -> bool {
        let order = self.order;
        let mut image = zeros(order);
        multiply(matrix, (order, 1), order, &columns(order, &self.last_block()), &mut image);
        self.len += BLOCK;
        // But for rounding, the image has no part in other blocks.
        let near = self.len.saturating_sub(2 * BLOCK);
        let shares = self.remove(&mut image, near);
        let first = self.len - BLOCK;
        let own = |i: usize, j: usize| shares[(first - near + i) * STRIDE + j];
        self.diagonal.push(Mat::from_fn(BLOCK, BLOCK, |i, j| 0.5 * (own(i, j) + own(j, i))));
        let large = self.put(&image);
        // What rounding left of the basis weighs more in what is short; a second time is enough (Parlett, "The Symmetric
        // Eigenvalue Problem", 6.9).
        let mut image = self.last_block();
        self.remove(&mut image, 0);
        let small = self.put(&image);
        self.below.push(&small * &large);
        (0..BLOCK).all(|i| small[(i, i)].abs() > 0.5)
    }

    /// The block that was not multiplied yet, as an image.
    fn last_block(&self) -> Vec<f64> {
        let mut image = zeros(self.order);
        let block = &self.basis[self.len * self.order..][..BLOCK * self.order];
        for (column, vector) in block.chunks_exact(self.order).enumerate() {
            image[column..].iter_mut().step_by(STRIDE).zip(vector).for_each(|(out, &entry)| *out = entry);
        }
        image
    }

    /// Takes from each column of `image` its part in the vectors of the basis from `first` on; returns the products with
    /// them, `[len - first, STRIDE]`.
    fn remove(&self, image: &mut [f64], first: usize) -> Vec<f64> {
        let (order, count) = (self.order, self.len - first);
        let basis = &self.basis[first * order..];
        let mut shares = zeros(count);
        multiply(basis, (order, 1), count, &columns(order, image), &mut shares);
        let taken: Vec<f64> = shares.iter().map(|share| -share).collect();
        multiply(basis, (1, order), order, &columns(count, &taken), image);
        shares
    }

    /// Makes the columns of `image` orthonormal, and these the next block of the basis. Returns the triangle that makes the
    /// image of it.
    fn put(&mut self, image: &[f64]) -> Mat<f64> {
        let block = &mut self.basis[self.len * self.order..][..BLOCK * self.order];
        for (column, vector) in block.chunks_exact_mut(self.order).enumerate() {
            vector.iter_mut().zip(image[column..].iter().step_by(STRIDE)).for_each(|(out, &entry)| *out = entry);
        }
        orthonormalize(block, self.order)
    }

    /// What the space knows of the leading pairs of a matrix of this trace.
    fn ritz(&self, trace: f64, rank: usize) -> Result<Ritz> {
        let len = self.len;
        let mut projected = Mat::<f64>::zeros(len, len);
        for (first, block) in (0..len).step_by(BLOCK).zip(&self.diagonal) {
            projected.submatrix_mut(first, first, BLOCK, BLOCK).copy_from(block);
        }
        for (first, block) in (0..len - BLOCK).step_by(BLOCK).zip(&self.below) {
            projected.submatrix_mut(first + BLOCK, first, BLOCK, BLOCK).copy_from(block);
        }
        let own_trace = (0..len).map(|i| projected[(i, i)]).sum();
        let coupling = &self.below[len / BLOCK - 1];
        let Eigen { values, vectors } = decompose(projected, own_trace, rank, Reduction::Banded(BLOCK))?;
        let dropped = (trace - values[..rank].iter().sum::<f64>()).max(0.0);
        let missed: f64 = (vectors.chunks_exact(len).zip(&values))
            .map(|(vector, value)| {
                let last = &vector[len - BLOCK..];
                let residual = (0..BLOCK).map(|i| (0..BLOCK).map(|j| coupling[(i, j)] * last[j]).sum::<f64>().powi(2));
                let squared: f64 = residual.sum();
                // A bound without and with the distance to values that are not wanted (Parlett, 11.7; Kato, Temple).
                squared.sqrt().min(squared / (value - values[rank]))
            })
            .sum();
        Ok(Ritz { values, vectors, missed: if missed == 0.0 { 0.0 } else { missed / dropped }, dropped })
    }

    /// The vectors of `found`, `[rank, order]`.
    fn vectors(&self, found: &Ritz, rank: usize) -> Vec<f64> {
        let (order, len) = (self.order, self.len);
        let mut vectors = vec![0.0; rank * order];
        matmul(
            MatMut::from_row_major_slice_mut(&mut vectors, rank, order),
            Accum::Replace,
            MatRef::from_row_major_slice(&found.vectors, rank, len),
            MatRef::from_row_major_slice(&self.basis[..len * order], len, order),
            1.0,
            super::degree(order),
        );
        vectors
    }
}

/// Room for an image of some rows.
fn zeros(rows: usize) -> Vec<f64> {
    vec![0.0; padded(rows, TILE_ROWS) * STRIDE]
}

/// The columns of an image of so many rows, as the right operand of a product.
fn columns(rows: usize, image: &[f64]) -> Panels<f64> {
    let mut panels = Panels::zeros(rows, BLOCK);
    panels.fill_columns(|column, row| image[row * STRIDE + column]);
    panels
}

/// `out += left right` for `rows` rows of a `left` whose rows and columns are as far apart as `distances` say.
fn multiply(left: &[f64], distances: (usize, usize), rows: usize, right: &Panels<f64>, out: &mut [f64]) {
    let task = if rows.max(right.depth()) < ALONE { padded(rows, TILE_ROWS) } else { ROWS };
    out.par_chunks_mut(task * STRIDE).zip((0..rows).into_par_iter().step_by(task)).for_each(|(out, first)| {
        right.multiply_strided(Kernel::best(), task.min(rows - first), &left[first * distances.0..], distances, out);
    });
}

/// Makes the vectors of `block`, `[BLOCK, order]`, orthonormal. Returns the triangle R, `[BLOCK, BLOCK]`, such that they
/// were `R^T` times what they are.
fn orthonormalize(block: &mut [f64], order: usize) -> Mat<f64> {
    let mut block = MatMut::from_column_major_slice_mut(block, order, BLOCK);
    let mut panel = block.to_owned();
    let factor = reflections::factor(panel.as_mut(), BLOCK);
    let triangle = Mat::from_fn(BLOCK, BLOCK, |i, j| if i <= j { panel[(i, j)] } else { 0.0 });
    block.copy_from(Mat::<f64>::identity(order, BLOCK));
    reflections::apply(panel.as_ref(), factor.as_ref(), 0, block, Par::Seq);
    triangle
}
