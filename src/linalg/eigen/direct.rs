//! Tridiagonalization in one stage, by `faer` (Golub and Van Loan, "Matrix Computations", 4th ed., 8.3.1).
//!
//! Half of its work is products of the matrix with one vector, which read the whole matrix each.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::tridiag::{tridiag_in_place, tridiag_in_place_scratch};
use faer::linalg::qr::no_pivoting::factor::recommended_block_size;
use faer::{Mat, MatMut, Par};

use super::reflections;
use super::{Rotation, Tridiagonal};

/// The reflections, below the main diagonal of the matrix, and the triangular factors of their blocks.
struct Direct {
    matrix: Mat<f64>,
    factors: Mat<f64>,
}

/// Reduces the matrix whose lower triangle is given.
pub(super) fn reduce(mut matrix: Mat<f64>, parallel: Par) -> (Tridiagonal, Box<dyn Rotation>) {
    let order = matrix.nrows();
    let mut factors = Mat::<f64>::zeros(recommended_block_size::<f64>(order, order), order - 1);
    let scratch = tridiag_in_place_scratch::<f64>(order, parallel, Default::default());
    tridiag_in_place(
        matrix.as_mut(),
        factors.as_mut(),
        parallel,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    );
    let tridiagonal = Tridiagonal {
        diagonal: (0..order).map(|i| matrix[(i, i)]).collect(),
        below: (1..order).map(|i| matrix[(i, i - 1)]).collect(),
    };
    (tridiagonal, Box::new(Direct { matrix, factors }))
}

impl Rotation for Direct {
    fn apply(&self, vectors: MatMut<'_, f64>, parallel: Par) {
        reflections::apply(self.matrix.as_ref(), self.factors.as_ref(), 1, vectors, parallel);
    }
}
