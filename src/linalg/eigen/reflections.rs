//! Blocks of reflections that are stored below the diagonal of a matrix.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj,
};
use faer::linalg::qr::no_pivoting::factor::{qr_in_place, qr_in_place_scratch};
use faer::{Conj, Mat, MatMut, MatRef, Par};

/// QR in place, on one thread, for a panel too narrow for more: the triangle R, and below it the vectors of the reflections, each
/// with an implied one. Returns the triangular factor T of `Q = I - V T^-1 V^T`, as one block of `count` reflections.
pub(super) fn factor(panel: MatMut<'_, f64>, count: usize) -> Mat<f64> {
    let mut factor = Mat::<f64>::zeros(count, count);
    let scratch = qr_in_place_scratch::<f64>(panel.nrows(), panel.ncols(), count, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    qr_in_place(panel, factor.as_mut(), Par::Seq, MemStack::new(&mut memory), Default::default());
    factor
}

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
    let rows = matrix.nrows().saturating_sub(below);
    if count == 0 {
        return; // a matrix no larger than `below` has nothing under that diagonal, not even the corner of an empty part
    }
    let scratch = apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(rows, block, rank);
    apply_block_householder_sequence_on_the_left_in_place_with_conj(
        matrix.submatrix(below, 0, rows, count),
        factors,
        Conj::No,
        vectors.subrows_mut(below, rows),
        parallel,
        MemStack::new(&mut MemBuffer::new(scratch)),
    );
}
