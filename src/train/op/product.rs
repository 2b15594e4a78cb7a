//! Products of row-major matrices on the calling thread alone.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// A row-major matrix `[rows, columns]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: MatRef<'a, f32>,
}

impl<'a> Matrix<'a> {
    /// The first `rows * columns` of `values`.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Matrix { values: MatRef::from_row_major_slice(&values[..rows * columns], rows, columns) }
    }

    pub(super) fn transposed(self) -> Self {
        Matrix { values: self.values.transpose() }
    }
}

/// `out = left right`, or `out += left right` where `accumulate`; `out` is row-major.
pub(super) fn multiply(out: &mut [f32], left: Matrix<'_>, right: Matrix<'_>, accumulate: bool) {
    let (rows, columns) = (left.values.nrows(), right.values.ncols());
    let out = MatMut::from_row_major_slice_mut(&mut out[..rows * columns], rows, columns);
    let accumulate = if accumulate { Accum::Add } else { Accum::Replace };
    matmul(out, accumulate, left.values, right.values, 1.0, Par::Seq);
}
