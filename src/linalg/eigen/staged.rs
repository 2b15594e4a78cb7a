//! Tridiagonalization in two stages: to a band, by products of matrices, and from the band to three diagonals
//! (Bischof, Lang, Sun, "A framework for symmetric band reduction", 2000).
//!
//! Nothing here reads the whole matrix for one vector. The price is a second set of reflections to undo.

use faer::prelude::*;
use faer::{Mat, MatMut, Par};

use super::band;
use super::chase::{self, Band};
use super::reflections;
use super::{Rotation, Tridiagonal};

/// The reflections of the first stage lie below the band, those of the second above the main diagonal.
struct Staged {
    matrix: Mat<f64>,
    factors: Mat<f64>,
    width: usize,
}

/// Reduces the matrix whose lower triangle is given, by way of a band of `width` diagonals below the main one; an even
/// number.
pub(super) fn reduce(mut matrix: Mat<f64>, width: usize, parallel: Par) -> (Tridiagonal, Box<dyn Rotation>) {
    let factors = band::reduce(matrix.as_mut(), width, parallel);
    let mut banded = Band::of(matrix.as_ref(), width);
    chase::reduce(&mut banded, &mut matrix);
    (banded.tridiagonal(), Box::new(Staged { matrix, factors, width }))
}

impl Rotation for Staged {
    fn apply(&self, mut vectors: MatMut<'_, f64>, parallel: Par) {
        chase::apply(&self.matrix, self.width, vectors.rb_mut());
        reflections::apply(self.matrix.as_ref(), self.factors.as_ref(), self.width, vectors, parallel);
    }
}
