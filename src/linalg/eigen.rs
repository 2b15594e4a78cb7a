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
    let diagonal: Vec<f64> = (0..order).map(|i| matrix[(i, i)]).collect();
    let below = couplings((1..order).map(|i| matrix[(i, i - 1)]), &diagonal);
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

/// The entries beside the diagonal, those that are within the rounding of the tridiagonalization made zero. A matrix of
/// low rank leaves a long tail of nothing else, down to denormal numbers, on which the iterations of `faer`, which
/// compare neighbours with each other and not with the whole, do not converge.
fn couplings(below: impl Iterator<Item = f64>, diagonal: &[f64]) -> Vec<f64> {
    let mut below: Vec<f64> = below.collect();
    let largest = diagonal.iter().chain(&below).fold(0.0f64, |largest, entry| largest.max(entry.abs()));
    for entry in below.iter_mut().filter(|entry| entry.abs() <= f64::EPSILON * largest) {
        *entry = 0.0;
    }
    below
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

    /// `sum of x x^T` over a few vectors that are zero but at every `step`th entry, as rows that are mostly zero give.
    fn of_low_rank(order: usize, step: usize) -> Mat<f64> {
        let places: Vec<usize> = (0..order).step_by(step).collect();
        let mut state = 7u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let factor = Mat::<f64>::from_fn(places.len(), 4 * places.len(), |_, _| noise());
        let product = &factor * factor.transpose();
        let mut matrix = Mat::zeros(order, order);
        for (row, &i) in places.iter().enumerate() {
            places.iter().enumerate().for_each(|(column, &j)| matrix[(i, j)] = product[(row, column)]);
        }
        matrix
    }

    #[test]
    fn matrices_of_low_rank_and_large_order_are_decomposed() {
        for (order, step) in [(300, 10), (1200, 37), (1200, 150)] {
            let matrix = of_low_rank(order, step);
            let trace: f64 = (0..order).map(|i| matrix[(i, i)]).sum();
            for rank in [0, 8] {
                let found = leading(matrix.clone(), trace, rank).unwrap();
                let sum: f64 = found.values.iter().sum();
                assert!((sum - trace).abs() <= 1e-13 * trace, "order {order}, rank {rank}");
                let kept = order.div_ceil(step);
                assert!(found.values[kept..].iter().all(|value| *value <= 1e-13 * trace), "order {order}");
                for (vector, value) in found.vectors.chunks(order).zip(&found.values) {
                    let product = |i: usize| (0..order).map(|j| matrix[(i, j)] * vector[j]).sum::<f64>();
                    assert!((0..order).all(|i| (product(i) - value * vector[i]).abs() <= 1e-13 * trace));
                }
            }
        }
    }
}
