//! Tridiagonalization in two stages: to a band, by products of matrices, and from the band to three diagonals
//! (Bischof, Lang, Sun, "A framework for symmetric band reduction", 2000).
//!
//! Nothing here reads the whole matrix for one vector. The price is a second set of reflections to undo.

use faer::prelude::*;
use faer::{Mat, MatMut, Par};

use super::chase::{self, Chased};
use super::{Rotation, Tridiagonal, band, reflections};

/// The reflections of the first stage lie below the band, those of the second above the main diagonal.
struct Staged {
    second: Chased,
    factors: Mat<f64>,
}

/// Reduces the matrix whose lower triangle is given, by way of a band of `width` diagonals below the main one; an even
/// number.
pub(super) fn reduce(mut matrix: Mat<f64>, width: usize, parallel: Par) -> (Tridiagonal, Box<dyn Rotation>) {
    let factors = band::reduce(matrix.as_mut(), width, parallel);
    let (tridiagonal, second) = chase::reduce(matrix, width);
    (tridiagonal, Box::new(Staged { second, factors }))
}

impl Rotation for Staged {
    fn apply(&self, mut vectors: MatMut<'_, f64>, parallel: Par) {
        self.second.apply(vectors.rb_mut(), parallel);
        let Chased { matrix, width } = &self.second;
        reflections::apply(matrix.as_ref(), self.factors.as_ref(), *width, vectors, parallel);
    }
}
