//! A proof that a matrix has no large eigenvalues but those that are known.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::prelude::*;
use faer::{Accum, Mat, MatMut, MatRef};

use super::degree;

/// Whether `G - V^T diag(values) V` has no eigenvalue above `bound`, which is so where `bound I` minus it has a Cholesky
/// decomposition. G is `matrix`, `[order, order]`, symmetric, which is overwritten; V is `vectors`, `[rank, order]`.
///
/// Rounding can make the answer no where it is yes but for the last digits.
pub(super) fn none_above(matrix: &mut [f64], order: usize, bound: f64, values: &[f64], vectors: &[f64]) -> bool {
    let mut rest = MatMut::from_column_major_slice_mut(&mut matrix[..order * order], order, order);
    for (j, mut column) in rest.rb_mut().col_iter_mut().enumerate() {
        column.rb_mut().iter_mut().for_each(|entry| *entry = -*entry);
        column[j] += bound;
    }
    let vectors = MatRef::from_row_major_slice(vectors, values.len(), order);
    let scaled = Mat::from_fn(values.len(), order, |i, j| values[i] * vectors[(i, j)]);
    triangular::matmul(
        rest.rb_mut(),
        BlockStructure::TriangularLower,
        Accum::Add,
        scaled.transpose(),
        BlockStructure::Rectangular,
        vectors,
        BlockStructure::Rectangular,
        1.0,
        degree(order),
    );
    let scratch = cholesky_in_place_scratch::<f64>(order, degree(order), Default::default());
    let mut memory = MemBuffer::new(scratch);
    cholesky_in_place(rest, Default::default(), degree(order), MemStack::new(&mut memory), Default::default()).is_ok()
}
