//! The symmetric eigendecomposition, in doubles, for the leading eigenpairs.
//!
//! Householder tridiagonalization, divide and conquer on the tridiagonal matrix, and the reflections applied to the
//! leading vectors only (Golub and Van Loan, "Matrix Computations", 4th ed., 8.3 and 8.4); where few pairs are wanted,
//! block Lanczos, which finds them alone.

mod band;
mod chase;
mod direct;
mod lanczos;
mod proof;
mod reflections;
mod secular;
mod staged;
mod tear;

use faer::{Mat, MatMut, Par};
use rayon::prelude::*;

use super::frame::power_of_two;
use super::kernel::TILE_ROWS;
use super::panels::padded;
use crate::error::Result;

/// Eigenvalues, descending, and the eigenvectors of the largest.
pub(super) struct Eigen {
    /// All of them, or those of the vectors alone; never negative.
    pub(super) values: Vec<f64>,
    /// Row `i` is the eigenvector of `values[i]`; as many rows as were asked for.
    pub(super) vectors: Vec<f64>,
}

/// A symmetric tridiagonal matrix.
struct Tridiagonal {
    diagonal: Vec<f64>,
    below: Vec<f64>,
}

/// The orthogonal matrix Q of a reduction of a matrix to `Q T Q^T` with a tridiagonal T.
trait Rotation {
    /// `vectors = Q vectors`.
    fn apply(&self, vectors: MatMut<'_, f64>, parallel: Par);
}

/// How a matrix is brought to three diagonals.
#[derive(Debug, Clone, Copy)]
enum Reduction {
    /// In one stage.
    Direct,
    /// By way of so many diagonals below the main one, an even number.
    Staged(usize),
    /// There are no more than so many diagonals below the main one, an even number.
    Banded(usize),
}

impl Reduction {
    /// Reduces the matrix whose lower triangle is given.
    fn reduce(self, matrix: Mat<f64>, parallel: Par) -> (Tridiagonal, Box<dyn Rotation>) {
        match self {
            Reduction::Direct => direct::reduce(matrix, parallel),
            Reduction::Staged(width) => staged::reduce(matrix, width, parallel),
            Reduction::Banded(width) => {
                let (tridiagonal, rotation) = chase::reduce(matrix, width);
                (tridiagonal, Box::new(rotation))
            }
        }
    }
}

/// The order from which on few pairs are looked for alone, and the part of it that counts as few: as measured, that takes a
/// quarter of the time of the whole to all of it; where it is given up, 0.15 to 0.5 are lost.
const FEW_FROM: usize = 512;
const FEW_PART: usize = 10;

/// The order from which on two stages are faster than one for a part of the vectors, as measured with one and with two
/// threads.
const STAGED: usize = 2048;

/// The vectors for which they are, as a part of the order: undoing a second set of reflections takes time for each.
const PART: usize = 4;

/// Diagonals below the main one between the two stages. With fewer, the first stage multiplies by narrower matrices;
/// with more, the second has more to do.
const BAND: usize = 64;

/// The order below which one thread is faster than several, which would wait for each other: the more so where something
/// else runs beside.
const ALONE: usize = 1024;

/// Degree of parallelism that `faer` is given. Its results depend on the degree, not on the threads there are, so the
/// degree follows from the order alone.
fn degree(order: usize) -> Par {
    if order < ALONE { Par::Seq } else { Par::rayon(4) }
}

/// Decomposes the matrix whose lower triangle is given and whose eigenvalues are not negative, but for rounding. Few
/// eigenvectors come with no other eigenvalues than their own; none come with all of them.
///
/// # Errors
/// Where an iteration does not converge, which is not known to happen for finite matrices.
pub(super) fn leading(matrix: Mat<f64>, trace: f64, rank: usize) -> Result<Eigen> {
    let order = matrix.nrows();
    // On a thread of the pool, which then need not be handed every small task.
    rayon::scope(|_| {
        if order >= FEW_FROM
            && (1..=order / FEW_PART).contains(&rank)
            && let Some(few) = few(&matrix, trace, rank)?
        {
            return Ok(few);
        }
        let staged = order >= STAGED && rank <= order / PART;
        decompose(matrix, trace, rank, if staged { Reduction::Staged(BAND) } else { Reduction::Direct })
    })
}

/// The leading pairs alone, unless there are too many vectors to tell them from.
fn few(matrix: &Mat<f64>, trace: f64, rank: usize) -> Result<Option<Eigen>> {
    if trace <= 0.0 {
        return Ok(None);
    }
    let (order, scale) = (matrix.nrows(), to_one(trace));
    let mut whole = vec![0.0; padded(order, TILE_ROWS) * order];
    whole.par_chunks_mut(TILE_ROWS * order).enumerate().for_each(|(block, rows)| {
        let first = block * TILE_ROWS;
        for j in 0..order {
            for i in first..order.min(first + TILE_ROWS) {
                rows[(i - first) * order + j] = scale * matrix[(i.max(j), i.min(j))];
            }
        }
    });
    let found = lanczos::leading(&mut whole, order, trace * scale, rank)?;
    Ok(found.map(|Eigen { values, vectors }| Eigen {
        values: values.into_iter().map(|value| (value / scale).max(0.0)).collect(),
        vectors,
    }))
}

/// The power of two that brings a trace near one. What is done to matrices here is not invariant under scaling: far from one
/// it loses digits.
fn to_one(trace: f64) -> f64 {
    power_of_two(-(trace.log2().floor() as i32))
}

/// The eigenvalues, and `rank` eigenvectors.
fn decompose(mut matrix: Mat<f64>, trace: f64, rank: usize, reduction: Reduction) -> Result<Eigen> {
    let order = matrix.nrows();
    if trace <= 0.0 || order == 1 {
        return Ok(diagonal(order, trace.max(0.0), rank));
    }
    let scale = to_one(trace);
    matrix.col_iter_mut().for_each(|column| column.iter_mut().for_each(|entry| *entry *= scale));

    let parallel = degree(order);
    let (tridiagonal, rotation) = reduction.reduce(matrix, parallel);
    let [diagonal, below] =
        [tridiagonal.diagonal, tridiagonal.below].map(|entries| entries.into_iter().map(kept).collect::<Vec<_>>());
    let (values, mut vectors) = match rank {
        0 => tear::whole(&diagonal, &below, false, parallel)?,
        _ => tear::leading(&diagonal, &below, rank, parallel)?,
    };
    let values = values.iter().rev().map(|value| (value / scale).max(0.0)).collect();
    if rank == 0 {
        return Ok(Eigen { values, vectors: Vec::new() });
    }
    rotation.apply(vectors.as_mut(), parallel);
    drop(rotation);
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
    use faer::MatRef;

    use super::Reduction::{Banded, Direct, Staged};
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
            let half = order / 2;
            let cases = [(1, Direct), (few, Direct), (half, Direct), (few, Staged(4)), (half, Staged(16))];
            for (wanted, reduction) in cases {
                let eigen = decompose(matrix.clone(), trace, wanted, reduction).unwrap();
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

    /// `Q diag(values) Q^T` for an orthogonal Q of three reflections.
    fn with_eigenvalues(values: &[f64]) -> Mat<f64> {
        let order = values.len();
        let mut matrix = Mat::from_fn(order, order, |i, j| if i == j { values[i] } else { 0.0 });
        for seed in 0..3 {
            let v = Mat::from_fn(order, 1, |i, _| {
                ((i + seed * order) as f64 * 12.9898 + 4.1414).sin() * 43_758.545_3 % 1.0
            });
            let norm = v.norm_l2();
            let v = v * faer::Scale(std::f64::consts::SQRT_2 / norm);
            let image = &matrix * &v;
            let inner = (v.transpose() * &image)[(0, 0)];
            let half = &image - &v * faer::Scale(0.5 * inner);
            matrix = matrix - &v * half.transpose() - &half * v.transpose();
        }
        matrix
    }

    /// Eigenvalues, descending, by name.
    fn spectra(order: usize) -> [(&'static str, Vec<f64>); 8] {
        let of = |value: &dyn Fn(usize) -> f64| (0..order).map(value).collect::<Vec<_>>();
        [
            ("falling", of(&|i| (i as f64 + 1.0).powf(-0.7))),
            ("falling, and a mean", of(&|i| if i == 0 { 500.0 } else { (i as f64).powf(-0.7) })),
            ("tiny", of(&|i| 1e-200 * (i as f64 + 1.0).powf(-0.7))),
            ("nearly flat", of(&|i| 2.0 - i as f64 / order as f64)),
            ("of one", vec![1.0; order]),
            ("of three, each with many vectors", of(&|i| [3.0, 2.0, 1.0][(i / 28).min(2)])),
            ("of one with many vectors, and others", of(&|i| if i < 30 { 5.0 } else { (i as f64 - 28.0).powf(-0.7) })),
            ("of low rank", of(&|i| if i < 20 { 21.0 - i as f64 } else { 0.0 })),
        ]
    }

    #[test]
    fn leading_pairs_are_the_largest_there_are() {
        for order in [FEW_FROM, FEW_FROM + 5] {
            for (name, expected) in spectra(order) {
                let matrix = with_eigenvalues(&expected);
                let trace: f64 = (0..order).map(|i| matrix[(i, i)]).sum();
                for rank in [1, 3, 20, order / FEW_PART] {
                    let eigen = leading(matrix.clone(), trace, rank).unwrap();
                    let vectors = MatRef::from_row_major_slice(&eigen.vectors, rank, order);
                    let overlap = vectors * vectors.transpose() - Mat::<f64>::identity(rank, rank);
                    assert!(overlap.norm_max() <= 1e-12, "{name}, rank {rank}: {:e}", overlap.norm_max());
                    let images = vectors * &matrix;
                    let held: f64 = (0..rank).map(|i| images.row(i) * vectors.row(i).transpose()).sum();
                    let values: f64 = eigen.values[..rank].iter().sum();
                    let dropped: f64 = expected[rank..].iter().sum();
                    let tolerance = 2e-6 * dropped + 1e-12 * trace;
                    assert!((held - values).abs() <= 1e-12 * trace, "{name}, rank {rank}: {held:e} beside {values:e}");
                    let missed = trace - dropped - held;
                    assert!(missed <= tolerance, "{name}, rank {rank}: {missed:e} missed, {dropped:e} dropped");
                }
            }
        }
    }

    #[test]
    fn few_pairs_of_a_falling_spectrum_are_found_alone() {
        for (name, expected) in spectra(FEW_FROM).into_iter().take(3) {
            let matrix = with_eigenvalues(&expected);
            let trace = (0..FEW_FROM).map(|i| matrix[(i, i)]).sum();
            for rank in [1, 8, FEW_FROM / FEW_PART] {
                assert_eq!(leading(matrix.clone(), trace, rank).unwrap().values.len(), rank, "{name}");
            }
            assert_eq!(leading(matrix, trace, FEW_FROM / FEW_PART + 1).unwrap().values.len(), FEW_FROM, "{name}");
        }
    }

    #[test]
    fn a_pair_that_is_missing_is_noticed() {
        let values = [3.0, 2.0, 2.0, 1.0, 0.5];
        let matrix = with_eigenvalues(&values);
        let whole: Vec<f64> = matrix.col_iter().flat_map(|column| column.iter().copied().collect::<Vec<_>>()).collect();
        let eigen = decompose(matrix, 8.5, 5, Direct).unwrap();
        let shown = |bound: f64, pairs: &[usize]| {
            let vectors: Vec<f64> = pairs.iter().flat_map(|&pair| eigen.vectors[pair * 5..][..5].to_vec()).collect();
            let values: Vec<f64> = pairs.iter().map(|&pair| eigen.values[pair]).collect();
            proof::none_above(&mut whole.clone(), 5, bound, &values, &vectors)
        };
        assert!(shown(2.0 + 1e-9, &[0]) && shown(1.0 + 1e-9, &[0, 1, 2]) && shown(3.0 + 1e-9, &[]));
        assert!(!shown(2.0 - 1e-9, &[0]) && !shown(1.5, &[0, 1]) && !shown(2.5, &[1, 2]) && !shown(2.9, &[]));
    }

    /// The order, and what is reduced.
    fn reductions() -> impl Iterator<Item = (String, Mat<f64>, Reduction)> {
        let noise = |i: usize| (i as f64 * 12.9898 + 4.1414).sin() * 43_758.545_3 % 1.0;
        let orders = [2, 3, 4, 5, 16, 17, 64, 65, 130, 257, 600];
        orders.into_iter().flat_map(move |order| {
            let dense = Mat::from_fn(order, order, |i, j| noise(i.max(j) * order + i.min(j)));
            let cases = [
                ("dense", dense.clone()),
                ("zero", Mat::zeros(order, order)),
                ("identity", Mat::identity(order, order)),
                ("graded", Mat::from_fn(order, order, |i, j| dense[(i, j)] * 10.0_f64.powf(-0.25 * (i + j) as f64))),
                (
                    "nearly the identity",
                    Mat::from_fn(order, order, |i, j| dense[(i, j)] * 1e-150 + if i == j { 1.0 } else { 0.0 }),
                ),
                ("sparse", Mat::from_fn(order, order, |i, j| if (i + j) % 5 == 0 { dense[(i, j)] } else { 0.0 })),
            ];
            cases.into_iter().flat_map(move |(name, matrix)| {
                let reductions = [Direct, Staged(2), Staged(8), Staged(64), Banded(2), Banded(12)];
                reductions.map(|reduction| {
                    let matrix = match reduction {
                        Banded(width) => banded(&matrix, width),
                        _ => matrix.clone(),
                    };
                    (format!("{name}, order {order}, {reduction:?}"), matrix, reduction)
                })
            })
        })
    }

    /// Without what is further from the main diagonal.
    fn banded(matrix: &Mat<f64>, width: usize) -> Mat<f64> {
        Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, j| if i.abs_diff(j) <= width { matrix[(i, j)] } else { 0.0 })
    }

    fn reduce(matrix: &Mat<f64>, reduction: Reduction) -> (Tridiagonal, Mat<f64>) {
        let order = matrix.nrows();
        let lower = Mat::from_fn(order, order, |i, j| if i < j { f64::NAN } else { matrix[(i, j)] });
        let (tridiagonal, rotation) = reduction.reduce(lower, Par::rayon(4));
        let mut q = Mat::<f64>::identity(order, order);
        rotation.apply(q.as_mut(), Par::rayon(4));
        (tridiagonal, q)
    }

    #[test]
    fn reductions_are_orthogonal_and_undone_give_the_matrix_of_which_they_read_the_lower_triangle() {
        for (name, matrix, reduction) in reductions() {
            let order = matrix.nrows();
            let (tridiagonal, q) = reduce(&matrix, reduction);
            let overlap = q.transpose() * &q;
            let tolerance = 1e-15 * (order + 10) as f64;
            assert!((overlap - Mat::<f64>::identity(order, order)).norm_max() <= tolerance, "{name}");
            let product = &matrix * &q;
            let expected = Mat::from_fn(order, order, |i, j| {
                let before = if j > 0 { q[(i, j - 1)] * tridiagonal.below[j - 1] } else { 0.0 };
                let after = if j + 1 < order { q[(i, j + 1)] * tridiagonal.below[j] } else { 0.0 };
                before + q[(i, j)] * tridiagonal.diagonal[j] + after
            });
            assert!((product - expected).norm_max() <= tolerance * matrix.norm_max(), "{name}");
        }
    }

    #[test]
    fn few_pairs_have_the_same_bits_with_any_number_of_threads() {
        let matrix = with_eigenvalues(&spectra(1030)[1].1);
        let trace = (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum();
        let bits = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let eigen = pool.install(|| few(&matrix, trace, 40)).unwrap().unwrap();
            eigen.values.into_iter().chain(eigen.vectors).map(f64::to_bits).collect::<Vec<_>>()
        };
        let one = bits(1);
        assert!(one == bits(2) && one == bits(5));
    }

    #[test]
    fn two_stages_give_the_same_bits_with_any_number_of_threads() {
        let matrix = low_rank(600, 700, 1);
        let bits = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (tridiagonal, q) = pool.install(|| reduce(&matrix, Staged(16)));
            let entries = tridiagonal.diagonal.into_iter().chain(tridiagonal.below);
            entries.chain(q.col_iter().flat_map(|column| column.iter().copied())).map(f64::to_bits).collect::<Vec<_>>()
        };
        let one = bits(1);
        assert!(one == bits(2) && one == bits(5));
    }
}
