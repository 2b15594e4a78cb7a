//! A symmetric matrix brought to a band by blocks of reflections, each applied from both sides by products of matrices.

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::prelude::*;
use faer::{Accum, Mat, MatMut, MatRef, Par};

use super::reflections;

/// Columns of the matrix that products treat at once. The square on the diagonal of such columns is kept whole, so that
/// they are rectangles; what products waste on it is `COLUMNS / order` of their work.
const COLUMNS: usize = 256;

/// Brings the matrix, whose lower triangle is given, to `width` diagonals below the main one, and leaves the vectors of
/// the reflections below those, each with an implied one. Returns the triangular factors of their blocks, `[width,
/// order - width]`.
///
/// What is above the main diagonal is lost.
pub(super) fn reduce(mut matrix: MatMut<'_, f64>, width: usize, parallel: Par) -> Mat<f64> {
    let order = matrix.nrows();
    fill_squares(matrix.rb_mut());
    let mut factors = Mat::<f64>::zeros(width, order.saturating_sub(width));
    for start in (0..order.saturating_sub(width)).step_by(width) {
        let first = start + width;
        let rows = order - first;
        let count = width.min(rows);
        let (v, factor) = decompose(matrix.rb_mut().submatrix_mut(first, start, rows, width), count);
        factors.as_mut().submatrix_mut(0, start, count, count).copy_from(&factor);
        let rest = matrix.rb_mut().submatrix_mut(first, first, rows, rows);
        let cuts = cuts(first, order);
        rotate_both_sides(rest, &v, &factor, &cuts, parallel);
    }
    factors
}

/// Copies the lower triangle of every square on the diagonal to its upper one.
fn fill_squares(mut matrix: MatMut<'_, f64>) {
    let order = matrix.nrows();
    for start in (0..order).step_by(COLUMNS) {
        for j in start..order.min(start + COLUMNS) {
            for i in start..j {
                matrix[(i, j)] = matrix[(j, i)];
            }
        }
    }
}

/// QR in place. Returns the vectors V of the `count` reflections, `[rows, count]`, and the triangular factor T in
/// `Q = I - V T^-1 V^T`.
fn decompose(mut panel: MatMut<'_, f64>, count: usize) -> (Mat<f64>, Mat<f64>) {
    let rows = panel.nrows();
    let factor = reflections::factor(panel.rb_mut(), count);
    let vectors = Mat::from_fn(rows, count, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Less => 0.0,
        std::cmp::Ordering::Equal => 1.0,
        std::cmp::Ordering::Greater => panel[(i, j)],
    });
    (vectors, factor)
}

/// Where the columns from `first` on are cut, counted from there.
fn cuts(first: usize, order: usize) -> Vec<usize> {
    let whole = (first.next_multiple_of(COLUMNS)..order).step_by(COLUMNS).filter(|&cut| cut > first);
    std::iter::once(first).chain(whole).chain([order]).map(|cut| cut - first).collect()
}

/// `A = Q^T A Q` for `Q = I - V T^-1 V^T`: `A - V W^T - W V^T`, with `X = A V T^-1` and `W = X - V (T^-T V^T X) / 2`
/// (LAPACK working note 2, Dongarra, Hammarling, Sorensen 1987, for blocks).
fn rotate_both_sides(mut a: MatMut<'_, f64>, v: &Mat<f64>, factor: &Mat<f64>, cuts: &[usize], parallel: Par) {
    let (rows, count) = (v.nrows(), v.ncols());
    let mut y = v.clone();
    solve_lower_triangular_in_place(factor.transpose(), y.as_mut().transpose_mut(), Par::Seq);
    let mut w = Mat::<f64>::zeros(rows, count);
    multiply_symmetric(w.as_mut(), a.rb(), y.as_ref(), cuts, parallel);
    let mut overlap = Mat::<f64>::zeros(count, count);
    matmul(overlap.as_mut(), Accum::Replace, v.transpose(), w.as_ref(), 1.0, parallel);
    solve_lower_triangular_in_place(factor.transpose(), overlap.as_mut(), Par::Seq);
    matmul(w.as_mut(), Accum::Add, v.as_ref(), overlap.as_ref(), -0.5, parallel);

    let beside = |left: &Mat<f64>, right: &Mat<f64>| {
        Mat::from_fn(rows, 2 * count, |i, j| if j < count { left[(i, j)] } else { right[(i, j - count)] })
    };
    let (left, right) = (beside(v, &w), beside(&w, v));
    for cut in cuts.windows(2) {
        let (start, columns) = (cut[0], cut[1] - cut[0]);
        matmul(
            a.rb_mut().submatrix_mut(start, start, rows - start, columns),
            Accum::Add,
            left.as_ref().subrows(start, rows - start),
            right.as_ref().subrows(start, columns).transpose(),
            -1.0,
            parallel,
        );
    }
}

/// `x += a y`, where the squares on the diagonal and what is below them are given of `a`.
fn multiply_symmetric(mut x: MatMut<'_, f64>, a: MatRef<'_, f64>, y: MatRef<'_, f64>, cuts: &[usize], parallel: Par) {
    let rows = a.nrows();
    for cut in cuts.windows(2) {
        let (start, end) = (cut[0], cut[1]);
        let columns = a.submatrix(start, start, rows - start, end - start);
        let (top, below) = (x.rb_mut().subrows_mut(start, rows - start), columns.subrows(end - start, rows - end));
        matmul(top, Accum::Add, columns, y.subrows(start, end - start), 1.0, parallel);
        let beside = x.rb_mut().subrows_mut(start, end - start);
        matmul(beside, Accum::Add, below.transpose(), y.subrows(end, rows - end), 1.0, parallel);
    }
}
