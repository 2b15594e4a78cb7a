//! A symmetric band brought to three diagonals by reflections of few rows (Murata and Horikoshi 1975; Lang, "A parallel
//! algorithm for reducing symmetric banded matrices to tridiagonal form", 1993).
//!
//! Sweep `j` makes column `j` zero below its second entry. The reflection for that fills in a block below the band, of which
//! the next reflection, `width` rows down, makes only the first column zero, and so on to the end of the matrix. The rest of
//! the fill-in is left to the next sweep, whose reflections lie one row lower, so that it grows no further.
//!
//! A reflection is `I - v v^T` with `|v|^2 = 2`, or `v = 0`. Those of sweep `j` stand one after another, without gaps,
//! from the top of column `order - 1 - j` of a matrix on, whose upper triangle they fill.

use faer::prelude::*;
use faer::{Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::{Rotation, Tridiagonal};
use crate::linalg::kernel::{InstructionSet, Work};

/// Partial sums, in a fixed order whatever the instructions.
const LANES: usize = 8;

/// Vectors that reflections are applied to at once: two sums for each fill half of the registers of AVX2.
const VECTORS: usize = 16;

/// Squares below this, of a matrix of trace near one, are taken for zero.
const NOTHING: f64 = 1e-200;

/// Entries of the blocks that a thread treats at least, since a step for a block of 64 x 64 is over in microseconds.
const ENTRIES: usize = 4 * 64 * 64;

/// The reflections of all sweeps, above the main diagonal of a matrix.
pub(super) struct Chased {
    pub(super) matrix: Mat<f64>,
    pub(super) width: usize,
}

/// Reduces the matrix whose lower triangle is given, of which nothing is read but `width` diagonals below the main one; an
/// even number. What is below the main diagonal stays.
pub(super) fn reduce(mut matrix: Mat<f64>, width: usize) -> (Tridiagonal, Chased) {
    let mut band = Band::of(matrix.as_ref(), width);
    chase(&mut band, &mut matrix);
    (band.tridiagonal(), Chased { matrix, width })
}

impl Rotation for Chased {
    fn apply(&self, vectors: MatMut<'_, f64>, _: Par) {
        apply(&self.matrix, self.width, vectors);
    }
}

/// The lower triangle of a symmetric band matrix with room for the fill-in: column `j` holds the rows `j..j + 2 width`.
struct Band {
    entries: Vec<f64>,
    order: usize,
    width: usize,
}

impl Band {
    /// The band of a matrix whose lower triangle is given, with `width` diagonals below the main one.
    fn of(matrix: MatRef<'_, f64>, width: usize) -> Self {
        let order = matrix.nrows();
        let mut entries = vec![0.0; 2 * width * order];
        for (j, column) in entries.chunks_exact_mut(2 * width).enumerate() {
            column.iter_mut().zip(j..order.min(j + width + 1)).for_each(|(entry, i)| *entry = matrix[(i, j)]);
        }
        Band { entries, order, width }
    }

    /// The main diagonal and the one below it.
    fn tridiagonal(&self) -> Tridiagonal {
        let column = 2 * self.width;
        Tridiagonal {
            diagonal: self.entries.iter().step_by(column).copied().collect(),
            below: self.entries.iter().skip(1).step_by(column).take(self.order - 1).copied().collect(),
        }
    }
}

/// Sweeps for a matrix of that order; an even number, since [`apply`] takes two at a time. What may be added is a sweep of
/// one row, where there is nothing to reflect.
fn sweeps(order: usize) -> usize {
    order.saturating_sub(2).next_multiple_of(2)
}

/// Brings the band to three diagonals and leaves the reflections above the main diagonal of `reflections`.
fn chase(band: &mut Band, reflections: &mut Mat<f64>) {
    let set = InstructionSet::best();
    let columns = reflections.as_mut().col_iter_mut().filter_map(|column| column.try_as_col_major_mut());
    let mut columns: Vec<&mut [f64]> = columns.map(|column| column.as_slice_mut()).collect();
    let fewest = ENTRIES.div_ceil(band.width * band.width);
    for wave in 0..band.waves() {
        band.steps(wave, &mut columns).into_par_iter().with_min_len(fewest).for_each(|step| set.run(step));
    }
}

/// Step `s` of sweep `j` needs step `s + 1` of the sweep before to be done, so it is in wave `2 j + s`. The steps of a
/// wave share no column: they may run at the same time.
impl Band {
    fn waves(&self) -> usize {
        match sweeps(self.order) {
            0 => 0,
            sweeps => 2 * (sweeps - 1) + (self.order - 1).div_ceil(self.width),
        }
    }

    /// The steps of a wave, from left to right, that is from the last of its sweeps to the first; `stores` are the
    /// columns for reflections.
    fn steps<'a>(&'a mut self, wave: usize, stores: &'a mut [&mut [f64]]) -> Vec<Step<'a>> {
        let (order, width, sweeps) = (self.order, self.width, sweeps(self.order));
        // Earlier sweeps are through.
        let first = match (wave * width).checked_sub(order - 1) {
            Some(beyond) => beyond / (2 * width - 1) + 1,
            None => 0,
        };
        let last = sweeps.min(wave / 2 + 1);
        let mut rest = self.entries.as_mut_slice();
        let mut passed = 0;
        let stores = stores.iter_mut().skip(order - last).take(last.saturating_sub(first));
        let steps = (first..last).rev().zip(stores).map(|(sweep, store)| {
            let step = wave - 2 * sweep;
            let row = sweep + 1 + step * width;
            let rows = width.min(order - row);
            let from = if step == 0 { sweep } else { row };
            let (_, right) = std::mem::take(&mut rest).split_at_mut((from - passed) * 2 * width);
            let (columns, right) = right.split_at_mut((row + rows - from) * 2 * width);
            (rest, passed) = (right, row + rows);
            let reflections = &mut store[step * width..];
            Step { columns, reflections, width, rows, below: width.min(order - row - rows), begins: step == 0 }
        });
        steps.collect()
    }
}

/// What one reflection of a sweep does to the band, up to the next reflection.
struct Step<'a> {
    /// Columns of the band whose rows are reflected, and the one before where the sweep begins.
    columns: &'a mut [f64],
    /// The vector of this reflection, unless the sweep begins, and room for the next.
    reflections: &'a mut [f64],
    width: usize,
    /// Rows that are reflected.
    rows: usize,
    /// Rows of the block below them, which the next reflection reflects.
    below: usize,
    begins: bool,
}

impl Work for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let column = 2 * self.width;
        let (v, next) = self.reflections.split_at_mut(self.rows);
        let mut columns = self.columns;
        if self.begins {
            let (eliminated, rest) = columns.split_at_mut(column);
            eliminate(&mut eliminated[1..=self.rows], v);
            columns = rest;
        }
        let mut sums = vec![0.0; self.width];
        reflect_square(columns, column, v, &mut sums[..self.rows]);
        if self.below == 0 {
            return;
        }
        // The block below begins one entry higher in each column.
        let rows = self.rows;
        let sums = &mut sums[..self.below];
        sums.fill(0.0);
        for (q, entries) in columns.chunks_exact(column).enumerate() {
            add_scaled(sums, v[q], &entries[rows - q..][..self.below]);
        }
        for (q, entries) in columns.chunks_exact_mut(column).enumerate() {
            add_scaled(&mut entries[rows - q..][..self.below], -v[q], sums);
        }
        let next = &mut next[..self.below];
        for (q, entries) in columns.chunks_exact_mut(column).enumerate() {
            let entries = &mut entries[rows - q..][..self.below];
            if q == 0 {
                eliminate(entries, next);
            } else {
                let scale = -dot(next, entries);
                add_scaled(entries, scale, next);
            }
        }
    }
}

/// `A = H A H` for the reflection H of `v`, where the lower triangle of A is given column by column: `A - v w^T - w v^T`
/// with `p = A v` and `w = p - v (v^T p) / 2`.
#[inline(always)]
fn reflect_square(columns: &mut [f64], column: usize, v: &[f64], w: &mut [f64]) {
    for (q, entries) in columns.chunks_exact(column).enumerate() {
        let entries = &entries[..v.len() - q];
        w[q] += entries[0] * v[q] + dot(&entries[1..], &v[q + 1..]);
        add_scaled(&mut w[q + 1..], v[q], &entries[1..]);
    }
    let half = 0.5 * dot(v, w);
    add_scaled(w, -half, v);
    for (q, entries) in columns.chunks_exact_mut(column).enumerate() {
        for ((entry, v_i), w_i) in entries.iter_mut().zip(&v[q..]).zip(&w[q..]) {
            *entry -= v_i * w[q] + w_i * v[q];
        }
    }
}

/// Reflects `x` to a multiple of its first entry, and sets `v` to the vector of the reflection.
#[inline(always)]
fn eliminate(x: &mut [f64], v: &mut [f64]) {
    let (&mut first, rest) = match x.split_first_mut() {
        Some(parts) => parts,
        None => return,
    };
    let tail = dot(rest, rest);
    v.fill(0.0);
    if tail < NOTHING {
        rest.fill(0.0);
        return;
    }
    let norm = (first * first + tail).sqrt();
    let scale = 1.0 / (norm * (norm + first.abs())).sqrt();
    v[0] = (first + norm.copysign(first)) * scale;
    v[1..].iter_mut().zip(&*rest).for_each(|(v, entry)| *v = entry * scale);
    rest.fill(0.0);
    x[0] = -norm.copysign(first);
}

#[inline(always)]
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    let (y_chunks, y_rest) = y.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

/// `y += scale x`.
#[inline(always)]
fn add_scaled(y: &mut [f64], scale: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x);
}

/// `vectors = Q vectors`, where Q is the product of the reflections that [`chase`] left for a band of `width`, an even
/// number.
fn apply(reflections: &Mat<f64>, width: usize, mut vectors: MatMut<'_, f64>) {
    let set = InstructionSet::best();
    vectors.rb_mut().par_col_chunks_mut(VECTORS).for_each(|vectors| {
        let mut rows = vec![[0.0; VECTORS]; vectors.nrows()];
        for (j, column) in vectors.rb().col_iter().enumerate() {
            rows.iter_mut().zip(column.iter()).for_each(|(row, &entry)| row[j] = entry);
        }
        set.run(Apply { reflections, width, rows: &mut rows });
        for (j, column) in vectors.col_iter_mut().enumerate() {
            column.iter_mut().zip(&rows).for_each(|(entry, row)| *entry = row[j]);
        }
    });
}

/// Applies the reflections to rows of some vectors.
///
/// Within a group of sweeps, those that lie in the same block of rows come one after another, so that the rows stay
/// in the cache. This is an order that the reflections allow: those that share rows keep theirs.
struct Apply<'a> {
    reflections: &'a Mat<f64>,
    width: usize,
    rows: &'a mut [[f64; VECTORS]],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (order, width) = (self.rows.len(), self.width);
        let mut end = sweeps(order);
        while end > 0 {
            let start = end.saturating_sub(width);
            for offset in (0..order - start - 1).step_by(width) {
                for sweep in (start..end).step_by(2).rev() {
                    let row = sweep + 1 + offset;
                    if row < order {
                        let rows = &mut self.rows[row..order.min(row + width + 1)];
                        let reflection = |sweep: usize| {
                            let length = width.min(order.saturating_sub(sweep + 1 + offset));
                            &self.reflections.col_as_slice(order - 1 - sweep)[offset..][..length]
                        };
                        apply_two(rows, reflection(sweep), reflection(sweep + 1));
                    }
                }
            }
            end = start;
        }
    }
}

/// Applies the reflection of `lower`, from the second row on, and then that of `upper`, from the first row on.
///
/// Both at once: a row is read for two products, and what the first reflection does to the product with `upper` follows
/// from the product of the two vectors.
#[inline(always)]
fn apply_two(rows: &mut [[f64; VECTORS]], upper: &[f64], lower: &[f64]) {
    let Some((head, common)) = rows.split_first_mut() else { return };
    let Some((&first, upper)) = upper.split_first() else { return };
    let (mut of_upper, mut of_lower) = ([0.0; VECTORS], [0.0; VECTORS]);
    let (lower, last) = lower.split_at(upper.len());
    let (common, tail) = common.split_at_mut(upper.len());
    let mut overlap = 0.0;
    for ((row, u), l) in common.iter().zip(upper).zip(lower) {
        for lane in 0..VECTORS {
            of_upper[lane] += u * row[lane];
            of_lower[lane] += l * row[lane];
        }
        overlap += u * l;
    }
    for (row, l) in tail.iter().zip(last) {
        for lane in 0..VECTORS {
            of_lower[lane] += l * row[lane];
        }
    }
    for lane in 0..VECTORS {
        of_upper[lane] += first * head[lane] - overlap * of_lower[lane];
        head[lane] -= first * of_upper[lane];
    }
    for ((row, u), l) in common.iter_mut().zip(upper).zip(lower) {
        for lane in 0..VECTORS {
            row[lane] -= u * of_upper[lane] + l * of_lower[lane];
        }
    }
    for (row, l) in tail.iter_mut().zip(last) {
        for lane in 0..VECTORS {
            row[lane] -= l * of_lower[lane];
        }
    }
}
