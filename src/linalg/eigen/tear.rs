//! The leading eigenpairs of a symmetric tridiagonal matrix: divide and conquer (Cuppen 1981) with a last step that
//! computes only the vectors that are wanted.
//!
//! Torn in the middle, the matrix is two smaller ones, `T_1` and `T_2`, plus `rho z z^T` in the basis of their
//! eigenvectors. `faer` decomposes the two; what remains is diagonal plus rank one. Memory is that of half a matrix
//! for the vectors of the two and that of the result, where the last step for all vectors would need three matrices.

use std::cmp::Ordering;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd_scratch, tridiagonal_self_adjoint_evd};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::secular::{adjusted_weights, roots};
use crate::error::{Error, ErrorKind, Result};

/// Columns of the result that are multiplied at a time, beside which a copy of them is kept.
const COLUMNS: usize = 256;

/// Eigenvalues, ascending, and one vector a column, or none.
pub(super) type Pairs = (Vec<f64>, Mat<f64>);

/// Every eigenvalue, and the eigenvectors if they are wanted, by `faer`.
pub(super) fn whole(diagonal: &[f64], below: &[f64], vectors: bool, parallel: Par) -> Result<Pairs> {
    let order = diagonal.len();
    let diagonal = Mat::from_fn(order, 1, |i, _| diagonal[i]);
    let below = Mat::from_fn(order, 1, |i, _| below.get(i).copied().unwrap_or(0.0));
    let mut values = Mat::<f64>::zeros(order, 1);
    let mut basis = Mat::<f64>::zeros(order, if vectors { order } else { 0 });
    let wanted = if vectors { ComputeEigenvectors::Yes } else { ComputeEigenvectors::No };
    let scratch = match vectors {
        true => self_adjoint_evd_scratch::<f64>(order, wanted, parallel, Default::default()),
        // Two vectors and their alignment; what `faer` says includes the matrix before it was tridiagonal.
        false => faer::linalg::temp_mat_scratch::<f64>(order, 1).array(4),
    };
    tridiagonal_self_adjoint_evd::<f64>(
        diagonal.col(0).as_diagonal(),
        below.col(0).as_diagonal(),
        values.col_mut(0).as_diagonal_mut(),
        vectors.then_some(basis.as_mut()),
        parallel,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Error::new(ErrorKind::Unsupported, "the eigendecomposition did not converge"))?;
    Ok(((0..order).map(|i| values[(i, 0)]).collect(), basis))
}

/// Every eigenvalue, and the eigenvectors of the `rank` largest.
pub(super) fn leading(diagonal: &[f64], below: &[f64], rank: usize, parallel: Par) -> Result<Pairs> {
    let order = diagonal.len();
    let middle = order / 2;
    let coupling = below[middle - 1];
    let (mut upper, mut lower) = (diagonal[..middle].to_vec(), diagonal[middle..].to_vec());
    upper[middle - 1] -= coupling.abs();
    lower[0] -= coupling.abs();
    let (mut poles, upper) = whole(&upper, &below[..middle - 1], true, parallel)?;
    let (lower_values, lower) = whole(&lower, &below[middle..order - 1], true, parallel)?;
    poles.extend(lower_values);
    let sign = coupling.signum();
    let last = (0..middle).map(|j| upper[(middle - 1, j)]);
    let z: Vec<f64> = last.chain((0..order - middle).map(|j| sign * lower[(0, j)])).collect();

    let mut torn = Torn::new(poles, z, coupling.abs());
    let (values, mut vectors) = torn.decompose(rank);
    for start in (0..rank).step_by(COLUMNS) {
        let columns = vectors.as_mut().subcols_mut(start, COLUMNS.min(rank - start));
        let (top, bottom) = columns.split_at_row_mut(middle);
        multiply_in_place(upper.as_ref(), top, parallel);
        multiply_in_place(lower.as_ref(), bottom, parallel);
    }
    Ok((values, vectors))
}

/// `x = q x`.
fn multiply_in_place(q: MatRef<'_, f64>, mut x: MatMut<'_, f64>, parallel: Par) {
    let copy = x.to_owned();
    matmul(x.as_mut(), Accum::Replace, q, copy.as_ref(), 1.0, parallel);
}

/// `diag(poles) + rho z z^T`, with entries in the order of the two halves.
struct Torn {
    poles: Vec<f64>,
    z: Vec<f64>,
    rho: f64,
    /// Rotations of pairs of entries that made one entry of `z` zero, in the order in which they were made.
    rotations: Vec<Rotation>,
}

/// Entries `(first, second)` of a vector become `(c first - s second, s first + c second)`.
struct Rotation {
    first: usize,
    second: usize,
    cosine: f64,
    sine: f64,
}

/// An eigenvalue and where its vector comes from.
#[derive(Clone, Copy)]
enum Source {
    /// A unit vector: the rank-one part does not touch this entry.
    Entry(usize),
    /// A root of the secular equation.
    Root(usize),
}

impl Torn {
    fn new(poles: Vec<f64>, z: Vec<f64>, rho: f64) -> Self {
        Torn { poles, z, rho, rotations: Vec::new() }
    }

    /// Every eigenvalue, ascending, and the eigenvectors of the `rank` largest, the largest last.
    fn decompose(&mut self, rank: usize) -> Pairs {
        let (active, deflated) = self.deflate();
        let poles: Vec<f64> = active.iter().map(|&i| self.poles[i]).collect();
        let weights: Vec<f64> = active.iter().map(|&i| self.rho * self.z[i] * self.z[i]).collect();
        let roots = roots(&poles, &weights);
        let adjusted: Vec<f64> = adjusted_weights(&poles, &roots);
        let signed: Vec<f64> = adjusted.iter().zip(&active).map(|(w, &i)| w.copysign(self.z[i])).collect();

        let mut sources: Vec<(f64, Source)> = deflated.iter().map(|&i| (self.poles[i], Source::Entry(i))).collect();
        sources.extend(roots.iter().enumerate().map(|(j, root)| (root.value(&poles), Source::Root(j))));
        sources.sort_by(|x, y| x.0.total_cmp(&y.0));
        let order = sources.len();
        let mut vectors = Mat::<f64>::zeros(order, rank);
        let columns: Vec<_> = vectors.col_iter_mut().zip(&sources[order - rank..]).collect();
        columns.into_par_iter().with_min_len(8).for_each(|(mut column, (_, source))| {
            match *source {
                Source::Entry(i) => column[i] = 1.0,
                Source::Root(j) => {
                    let entry = |i| signed[i] / roots[j].below_pole(&poles, i);
                    let norm = (0..active.len()).map(|i| entry(i) * entry(i)).sum::<f64>().sqrt();
                    active.iter().enumerate().for_each(|(i, &at)| column[at] = entry(i) / norm);
                }
            }
            for rotation in self.rotations.iter().rev() {
                let (first, second) = (column[rotation.first], column[rotation.second]);
                column[rotation.first] = rotation.cosine * first - rotation.sine * second;
                column[rotation.second] = rotation.sine * first + rotation.cosine * second;
            }
        });
        (sources.into_iter().map(|(value, _)| value).collect(), vectors)
    }

    /// Separates the entries that rank one does not touch, but for rounding, from those that it does, by increasing
    /// poles; rotates where two poles are so close that one entry of `z` can be made zero.
    fn deflate(&mut self) -> (Vec<usize>, Vec<usize>) {
        let mut by_pole: Vec<usize> = (0..self.poles.len()).collect();
        by_pole.sort_by(|&i, &j| self.poles[i].total_cmp(&self.poles[j]).then(Ordering::Equal));
        let largest = self.poles.iter().fold(self.rho, |largest, pole| largest.max(pole.abs()));
        let tolerance = 8.0 * f64::EPSILON * largest;
        let (mut active, mut deflated): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for next in by_pole {
            if self.rho * self.z[next].abs() <= tolerance {
                deflated.push(next);
                continue;
            }
            if let Some(&previous) = active.last() {
                let norm = self.z[previous].hypot(self.z[next]);
                let (cosine, sine) = (self.z[next] / norm, -self.z[previous] / norm);
                let gap = self.poles[next] - self.poles[previous];
                if (gap * cosine * sine).abs() <= tolerance {
                    self.z[next] = norm;
                    self.z[previous] = 0.0;
                    let (low, high) = (self.poles[previous], self.poles[next]);
                    self.poles[previous] = low * cosine * cosine + high * sine * sine;
                    self.poles[next] = low * sine * sine + high * cosine * cosine;
                    self.rotations.push(Rotation { first: previous, second: next, cosine, sine });
                    active.pop();
                    deflated.push(previous);
                }
            }
            active.push(next);
        }
        (active, deflated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tridiagonal matrix times a matrix.
    fn apply(diagonal: &[f64], below: &[f64], x: &Mat<f64>) -> Mat<f64> {
        let order = diagonal.len();
        Mat::from_fn(order, x.ncols(), |i, j| {
            let above = if i > 0 { below[i - 1] * x[(i - 1, j)] } else { 0.0 };
            let beneath = if i + 1 < order { below[i] * x[(i + 1, j)] } else { 0.0 };
            above + diagonal[i] * x[(i, j)] + beneath
        })
    }

    /// Pseudorandom in (-1, 1).
    fn noise(i: usize) -> f64 {
        (i as f64 * 12.9898 + 4.1414).sin() * 43_758.545_3 % 1.0
    }

    fn cases() -> Vec<(&'static str, Vec<f64>, Vec<f64>)> {
        let orders = [2, 3, 5, 31, 64, 257, 400];
        orders
            .into_iter()
            .flat_map(|n| {
                let ramp = |step: f64| (0..n).map(|i| (-(i as f64) * step).exp()).collect::<Vec<_>>();
                [
                    ("noise", (0..n).map(noise).collect(), (1..n).map(|i| noise(i + n)).collect()),
                    ("laplacian", vec![2.0; n], vec![-1.0; n - 1]),
                    ("identity", vec![1.0; n], vec![0.0; n - 1]),
                    ("zero", vec![0.0; n], vec![0.0; n - 1]),
                    ("decay", ramp(0.2), ramp(0.2)[1..].to_vec()),
                    ("weak coupling", (0..n).map(|i| 1.0 + 1e-13 * noise(i)).collect(), vec![1e-12; n - 1]),
                    ("wilkinson", (0..n).map(|i| (i as f64 - (n / 2) as f64).abs()).collect(), vec![1.0; n - 1]),
                    ("one spike", (0..n).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect(), vec![1e-9; n - 1]),
                ]
            })
            .collect()
    }

    #[test]
    fn vectors_are_orthonormal_and_have_small_residuals() {
        for (name, diagonal, below) in cases() {
            let order = diagonal.len();
            let norm = diagonal.iter().chain(&below).fold(0.0f64, |norm, x| norm.max(x.abs()));
            let tolerance = 2e-15 * order as f64;
            for rank in [1, order / 2, order] {
                let (values, vectors) = leading(&diagonal, &below, rank, Par::Seq).unwrap();
                assert!(values.is_sorted(), "{name} {order}");
                let product = apply(&diagonal, &below, &vectors);
                let overlap = vectors.transpose() * &vectors;
                for j in 0..rank {
                    for i in 0..order {
                        let residual = product[(i, j)] - values[order - rank + j] * vectors[(i, j)];
                        assert!(residual.abs() <= tolerance * norm, "{name} {order}, rank {rank}: {residual:e}");
                    }
                    for i in 0..rank {
                        let expected = f64::from(i == j);
                        let error = (overlap[(i, j)] - expected).abs();
                        assert!(error <= tolerance, "{name} {order}, rank {rank}: {error:e} at {i}, {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn eigenvalues_agree_with_those_computed_without_vectors() {
        for (name, diagonal, below) in cases() {
            let norm = diagonal.iter().chain(&below).fold(0.0f64, |norm, x| norm.max(x.abs()));
            let (values, _) = leading(&diagonal, &below, 1, Par::Seq).unwrap();
            let (expected, _) = whole(&diagonal, &below, false, Par::Seq).unwrap();
            for (found, expected) in values.iter().zip(&expected) {
                let bound = 2e-15 * diagonal.len() as f64 * norm;
                assert!((found - expected).abs() <= bound, "{name} {}: {found} for {expected}", diagonal.len());
            }
        }
    }
}
