//! Tridiagonalization of a matrix that is a band already.

use faer::{Mat, MatMut, Par};

use super::chase::{self, Band};
use super::{Rotation, Tridiagonal};

/// The reflections, above the main diagonal of a matrix.
pub(super) struct Banded {
    pub(super) matrix: Mat<f64>,
    pub(super) width: usize,
}

/// Reduces the matrix whose lower triangle is given, of which nothing is read but `width` diagonals below the main one; an
/// even number. What is below the diagonal stays.
pub(super) fn reduce(mut matrix: Mat<f64>, width: usize) -> (Tridiagonal, Banded) {
    let mut band = Band::of(matrix.as_ref(), width);
    chase::reduce(&mut band, &mut matrix);
    (band.tridiagonal(), Banded { matrix, width })
}

impl Rotation for Banded {
    fn apply(&self, vectors: MatMut<'_, f64>, _: Par) {
        chase::apply(&self.matrix, self.width, vectors);
    }
}
