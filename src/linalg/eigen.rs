//! The symmetric eigendecomposition, in doubles, for the leading eigenpairs.
//!
//! Householder tridiagonalization, divide and conquer on the tridiagonal matrix, and the reflections applied to the
//! leading vectors only (Golub and Van Loan, "Matrix Computations", 4th ed., 8.3 and 8.4).

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::tridiag::{tridiag_in_place, tridiag_in_place_scratch};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj,
};
use faer::linalg::qr::no_pivoting::factor::recommended_block_size;
use faer::{Conj, Mat, Par};

use super::frame::power_of_two;
use super::tear;
use crate::error::Result;

/// Eigenvalues, descending, and the eigenvectors of the largest.
pub(super) struct Eigen {
    /// All of them; never negative.
    pub(super) values: Vec<f64>,
    /// Row `i` is the eigenvector of `values[i]`; as many rows as were asked for.
    pub(super) vectors: Vec<f64>,
}

/// Degree of parallelism that `faer` is given. Its results depend on the degree, not on the threads there are, so the
/// degree follows from the order alone; below the bound, one thread is faster.
fn degree(order: usize) -> Par {
    if order < 1024 { Par::Seq } else { Par::rayon(4) }
}

/// Decomposes the matrix whose lower triangle is given and whose eigenvalues are not negative, but for rounding.
///
/// # Errors
/// Where an iteration does not converge, which is not known to happen for finite matrices.
pub(super) fn leading(mut matrix: Mat<f64>, trace: f64, rank: usize) -> Result<Eigen> {
    let order = matrix.nrows();
    if trace <= 0.0 || order == 1 {
        return Ok(diagonal(order, trace.max(0.0), rank));
    }
    // The steps below are not invariant under scaling: far from one they lose digits.
    let exponent = -(trace.log2().floor() as i32);
    let scale = power_of_two(exponent);
    matrix.col_iter_mut().for_each(|column| column.iter_mut().for_each(|entry| *entry *= scale));

    let parallel = degree(order);
    let block = recommended_block_size::<f64>(order, order);
    let mut reflectors = Mat::<f64>::zeros(block, order - 1);
    let scratch = tridiag_in_place_scratch::<f64>(order, parallel, Default::default());
    tridiag_in_place(
        matrix.as_mut(),
        reflectors.as_mut(),
        parallel,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    );
    let diagonal: Vec<f64> = (0..order).map(|i| kept(matrix[(i, i)])).collect();
    let below: Vec<f64> = (1..order).map(|i| kept(matrix[(i, i - 1)])).collect();
    let (values, mut vectors) = match rank {
        0 => tear::whole(&diagonal, &below, false, parallel)?,
        _ => tear::leading(&diagonal, &below, rank, parallel)?,
    };
    let values = values.iter().rev().map(|value| (value / scale).max(0.0)).collect();
    if rank == 0 {
        return Ok(Eigen { values, vectors: Vec::new() });
    }
    let scratch = apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(order - 1, block, rank);
    apply_block_householder_sequence_on_the_left_in_place_with_conj(
        matrix.submatrix(1, 0, order - 1, order - 1),
        reflectors.as_ref(),
        Conj::No,
        vectors.as_mut().subrows_mut(1, order - 1),
        parallel,
        MemStack::new(&mut MemBuffer::new(scratch)),
    );
    drop((matrix, reflectors));
    let rows = (0..rank).rev().flat_map(|j| vectors.col(j).iter().copied());
    Ok(Eigen { values, vectors: rows.collect() })
}

/// An entry of the tridiagonal matrix of a trace near one, or zero where it is less than the rounding that made it.
///
/// The reduction of a matrix of low rank leaves noise below its last reflection, and noise of that noise after it, down
/// to the smallest numbers there are; on such entries `faer` does not converge.
fn kept(entry: f64) -> f64 {
    if entry.abs() < 0.25 * f64::EPSILON { 0.0 } else { entry }
}

/// The decomposition of a matrix of order one or of zeros.
fn diagonal(order: usize, first: f64, rank: usize) -> Eigen {
    let mut values = vec![0.0; order];
    values[0] = first;
    let mut vectors = vec![0.0; rank * order];
    vectors.iter_mut().step_by(order + 1).for_each(|entry| *entry = 1.0);
    Eigen { values, vectors }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `X X^T` for X of `[order, rank]`, where only every `step`-th row of X is not zero.
    fn low_rank(order: usize, rank: usize, step: usize) -> Mat<f64> {
        let noise = |i: usize| (i as f64 * 12.9898 + 4.1414).sin() * 43_758.545_3 % 1.0;
        let x = Mat::from_fn(order, rank, |i, j| if i % step == 0 { noise(i * rank + j) } else { 0.0 });
        &x * x.transpose()
    }

    #[test]
    fn a_matrix_of_low_rank_has_its_few_eigenpairs_and_zeros() {
        for (order, rank, step) in
            [(40, 3, 1), (300, 8, 1), (300, 300, 20), (512, 600, 16), (700, 1, 1), (1100, 1000, 50)]
        {
            let matrix = low_rank(order, rank, step);
            let trace = (0..order).map(|i| matrix[(i, i)]).sum();
            let few = rank.min(order.div_ceil(step));
            for wanted in [1, few, order / 2] {
                let eigen = leading(matrix.clone(), trace, wanted).unwrap();
                let tail = eigen.values[few..].iter().fold(0.0, |largest: f64, &value| largest.max(value));
                assert!(tail <= 1e-13 * trace, "{order}, rank {few}: {tail:e} beside {trace}");
                for (j, vector) in eigen.vectors.chunks_exact(order).enumerate().take(few) {
                    for i in (0..order).step_by(7) {
                        let product: f64 = vector.iter().enumerate().map(|(k, entry)| matrix[(i, k)] * entry).sum();
                        let residual = product - eigen.values[j] * vector[i];
                        assert!(residual.abs() <= 1e-13 * trace, "{order}, rank {few}: {residual:e}");
                    }
                }
            }
        }
    }
}
