//! Blocks of reflections that are stored below the diagonal of a matrix.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj,
};
use faer::{Conj, MatMut, MatRef, Par};

/// `vectors = Q vectors`, where Q is the product of the reflections whose vectors begin, with an implied one, `below`
/// entries under the diagonal of `matrix`; `factors` are the triangular factors of their blocks.
pub(super) fn apply(
    matrix: MatRef<'_, f64>,
    factors: MatRef<'_, f64>,
    below: usize,
    vectors: MatMut<'_, f64>,
    parallel: Par,
) {
    let (count, block, rank) = (factors.ncols(), factors.nrows(), vectors.ncols());
    if count == 0 {
        return; // a matrix no larger than `below` has nothing under that diagonal, not even the corner of an empty part
    }
    let scratch = apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(count, block, rank);
    apply_block_householder_sequence_on_the_left_in_place_with_conj(
        matrix.submatrix(below, 0, count, count),
        factors,
        Conj::No,
        vectors.subrows_mut(below, count),
        parallel,
        MemStack::new(&mut MemBuffer::new(scratch)),
    );
}
