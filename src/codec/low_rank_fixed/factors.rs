//! The quantized factors of a table, found in a few passes over its rows.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: every size and place is that of a table in memory"
)]

use faer::Mat;
use rayon::prelude::*;

use super::grid::{Grid, Sample};
use super::{Setup, Variant};
use crate::codec::Measured;
use crate::error::Result;
use crate::linalg::{Chunk, Factorization, Map, Moments, largest_row_norm, solve_positive, sweep};
use crate::observe::Observer;
use crate::random::Normal;
use crate::tensor::Rows;

/// Rows whose entries of L choose the grids; the ends of the range count beside them.
const SAMPLE: usize = 4096;

/// The most times that L is fitted to the quantized R and R to the quantized L again.
const ROUNDS: usize = 3;

/// A round has to lower the squared error by this share for another to follow.
const WORTHWHILE: f64 = 0.01;

/// A table to be factored.
pub(super) struct Source<'a> {
    pub(super) rows: &'a dyn Rows,
    /// What each row's squared error counts.
    pub(super) weights: Option<&'a [f64]>,
    /// A power of two that brings the numbers near one.
    pub(super) scale: f64,
    /// `||D^(1/2) W||_F^2`, of the table as it is.
    pub(super) squared_norm: f64,
    pub(super) observer: &'a dyn Observer,
}

impl Source<'_> {
    fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row])
    }

    fn width(&self) -> usize {
        self.rows.shape().1
    }
}

/// L as the rounded product of the table with a map, and R as codes.
pub(super) struct Factors {
    map: Map,
    /// Of the columns of L; one for all of them, or one each.
    pub(super) left: Vec<Grid>,
    /// Of the rows of R; one for all of them, or one each. Of the scaled table.
    pub(super) right: Vec<Grid>,
    /// `[k, d]`.
    pub(super) right_codes: Vec<u8>,
}

/// Finds the factors that `setup` asks for.
pub(super) fn fit(source: &Source<'_>, factorization: &Factorization, setup: &Setup) -> Result<Factors> {
    let mut map = first_map(source, factorization, setup);
    let mut best: Option<(f64, Factors)> = None;
    let rounds = if setup.variant == Variant::Ours { 1 + ROUNDS } else { 1 };
    for _ in 0..rounds {
        let left = left_grids(source, &map, setup)?;
        let moments = moments(source, &map, &left, setup.rank)?;
        let right = match setup.variant {
            Variant::Svd => scaled_right(source, factorization, setup.rank),
            _ => moments.solve(),
        };
        let (grids, codes) = quantize_right(&right, source.width(), setup);
        let rounded = rounded_right(&grids, &codes, source.width());
        let error = moments.squared_error(source.squared_norm * source.scale * source.scale, &rounded);
        let before = best.as_ref().map_or(f64::INFINITY, |(error, _)| *error);
        let next = follow(&rounded, source.width(), setup.rank);
        if error < before {
            best = Some((error, Factors { map, left, right: grids, right_codes: codes }));
        }
        if error < (1.0 - WORTHWHILE) * before {
            map = next;
        } else {
            break;
        }
    }
    match best {
        Some((_, factors)) => Ok(factors),
        None => Err(crate::Error::new(crate::ErrorKind::NonFinite, "the factors leave the range of a single")),
    }
}

/// The map whose product with the table is L before it is rounded for the first time.
fn first_map(source: &Source<'_>, factorization: &Factorization, setup: &Setup) -> Map {
    let (width, rank) = (source.width(), setup.rank);
    let vectors = factorization.right_singular_vectors();
    let mut normal = Normal::new(setup.seed);
    // Entries of variance 1 / k, as in the paper's code.
    let deviation = (rank as f64).sqrt().recip();
    let mut sketch = |rows: usize| (0..rows * rank).map(|_| normal.next() * deviation).collect::<Vec<f64>>();
    match setup.variant {
        // L = U: the columns have the same norm, and the singular values stay with R.
        Variant::Ours | Variant::Svd => {
            let inverses = inverses(source, factorization, rank);
            Map::new(width, rank, |row, column| vectors[column * width + row] * inverses[column])
        }
        Variant::Lplr => {
            let sketch = sketch(width);
            Map::new(width, rank, |row, column| sketch[row * rank + column])
        }
        // L = U S G for a sketch G.
        Variant::LplrSvd => {
            let sketch = sketch(rank);
            Map::new(width, rank, |row, column| {
                (0..rank).map(|j| vectors[j * width + row] * sketch[j * rank + column]).sum()
            })
        }
    }
}

/// Inverse singular values of the scaled table, times the root of its rows so that the columns of L have entries near
/// one; zero for those that are rounding.
fn inverses(source: &Source<'_>, factorization: &Factorization, rank: usize) -> Vec<f64> {
    let energies = &factorization.spectrum().energies;
    let floor = energies.first().copied().unwrap_or(0.0) * 1e-12;
    let spread = (source.rows.shape().0 as f64).sqrt() / source.scale;
    let inverse = |energy: &f64| if *energy > floor { spread / energy.sqrt() } else { 0.0 };
    energies.iter().take(rank).map(inverse).collect()
}

/// `S V^T` to the map of [`inverses`].
fn scaled_right(source: &Source<'_>, factorization: &Factorization, rank: usize) -> Vec<f64> {
    let inverses = inverses(source, factorization, rank);
    let vectors = factorization.right_singular_vectors();
    let rows = vectors.chunks_exact(source.width()).zip(inverses);
    rows.flat_map(|(row, inverse)| {
        let factor = if inverse > 0.0 { inverse.recip() } else { 0.0 };
        row.iter().map(move |value| value * factor)
    })
    .collect()
}

/// The map that gives the best L for R: `W R^T (R R^T)^-1`.
fn follow(right: &[f64], width: usize, rank: usize) -> Map {
    let right = Mat::from_fn(rank, width, |i, j| right[i * width + j]);
    let mut gram = Mat::<f64>::zeros(rank, rank);
    faer::linalg::matmul::matmul(
        gram.as_mut(),
        faer::Accum::Replace,
        right.as_ref(),
        right.as_ref().transpose(),
        1.0,
        faer::Par::rayon(4),
    );
    let map = solve_positive(&gram, &right);
    Map::new(width, rank, |row, column| map[(column, row)])
}

/// What is known of a column of L: its range, and some of its entries.
struct Column {
    low: f32,
    high: f32,
    samples: Vec<Sample>,
}

fn left_grids(source: &Source<'_>, map: &Map, setup: &Setup) -> Result<Vec<Grid>> {
    let (height, rank) = (source.rows.shape().0, setup.rank);
    let stride = height.div_ceil(SAMPLE).max(1);
    let empty = || Column { low: f32::INFINITY, high: f32::NEG_INFINITY, samples: Vec::new() };
    let mut columns: Vec<Column> = (0..rank).map(|_| empty()).collect();
    let mut take = |chunk: Chunk<'_>| {
        columns.par_iter_mut().enumerate().for_each(|(j, column)| {
            for (row, &value) in (chunk.start..).zip(chunk.left.iter().skip(j).step_by(rank)) {
                column.low = column.low.min(value);
                column.high = column.high.max(value);
                if row % stride == 0 {
                    column.samples.push((value, source.weight(row) as f32 * stride as f32));
                }
            }
        });
        Ok(())
    };
    sweep(source.rows, source.scale, map, &mut take, source.observer)?;
    if setup.variant != Variant::Ours {
        let low = columns.iter().fold(f32::INFINITY, |low, column| low.min(column.low));
        let high = columns.iter().fold(f32::NEG_INFINITY, |high, column| high.max(column.high));
        return Ok(vec![Grid::over(low, high, setup.left_bits)]);
    }
    let fitted = columns.into_par_iter().map(|mut column| {
        if stride > 1 {
            // The ends may not be in the sample, and one row far off must not be forgotten.
            column.samples.extend([(column.low, 1.0), (column.high, 1.0)]);
        }
        Grid::fit(&column.samples, column.low, column.high, setup.left_bits).0
    });
    Ok(fitted.collect())
}

/// Rounds rows of L in place.
fn round_left(left: &mut [f32], grids: &[Grid], rank: usize) {
    left.par_chunks_mut(64 * rank.max(1)).for_each(|rows| Grid::round_rows(grids, rows));
}

fn moments(source: &Source<'_>, map: &Map, left: &[Grid], rank: usize) -> Result<Moments> {
    let mut moments = Moments::new(rank, source.width());
    let mut take = |chunk: Chunk<'_>| {
        round_left(chunk.left, left, rank);
        moments.add(chunk.left, chunk.table, |row| source.weight(chunk.start + row));
        Ok(())
    };
    sweep(source.rows, source.scale, map, &mut take, source.observer)?;
    Ok(moments)
}

/// Grids and codes of R, `[k, d]`.
fn quantize_right(right: &[f64], width: usize, setup: &Setup) -> (Vec<Grid>, Vec<u8>) {
    let right: Vec<f32> = right.iter().map(|&value| value as f32).collect();
    let range = |values: &[f32]| {
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
    };
    let grids: Vec<Grid> = if setup.variant == Variant::Ours {
        let rows = right.par_chunks_exact(width);
        rows.map(|row| {
            let (low, high) = range(row);
            let samples: Vec<Sample> = row.iter().map(|&value| (value, 1.0)).collect();
            Grid::fit(&samples, low, high, setup.right_bits).0
        })
        .collect()
    } else {
        let (low, high) = range(&right);
        vec![Grid::over(low, high, setup.right_bits)]
    };
    let rows = right.chunks_exact(width).zip(grids.iter().cycle());
    let codes = rows.flat_map(|(row, grid)| row.iter().map(|&value| grid.code(value))).collect();
    (grids, codes)
}

fn rounded_right(grids: &[Grid], codes: &[u8], width: usize) -> Vec<f64> {
    let rows = codes.chunks_exact(width).zip(grids.iter().cycle());
    rows.flat_map(|(row, grid)| row.iter().map(|&code| f64::from(grid.value(code)))).collect()
}

impl Factors {
    /// Hands the codes of L to `sink`, some rows at a time, and measures `W - L R`.
    pub(super) fn encode(
        &self,
        source: &Source<'_>,
        rank: usize,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Measured> {
        let width = source.width();
        let right = rounded_right(&self.right, &self.right_codes, width);
        let back = Map::new(rank, width, |row, column| right[row * width + column]);
        let square = |column: usize| right.iter().skip(column).step_by(width).map(|value| value * value).sum::<f64>();
        let largest_column = (0..width).map(square).fold(0.0, f64::max).sqrt();
        let mut total = Measured::default();
        let mut codes = Vec::new();
        let mut take = |chunk: Chunk<'_>| {
            codes.clear();
            for row in chunk.left.chunks_exact(rank) {
                codes.extend(row.iter().zip(self.left.iter().cycle()).map(|(&value, grid)| grid.code(value)));
            }
            round_left(chunk.left, &self.left, rank);
            let rows = chunk.table.par_chunks(64 * width).zip(chunk.left.par_chunks(64 * rank)).enumerate();
            let sums: Vec<Measured> = rows
                .map(|(block, (table, left))| {
                    let mut decoded = vec![0.0; table.len()];
                    back.apply(left, &mut decoded);
                    let first = chunk.start + 64 * block;
                    Measured::of_rows(table, &decoded, width, |row| source.weights.map(|w| w[first + row]))
                })
                .collect();
            sums.iter().for_each(|sum| total.add(sum));
            // No sum on the way to an entry is above the product of the norms (Cauchy, Schwarz).
            total.decoded_bound = total.decoded_bound.max(largest_row_norm(chunk.left, rank) * largest_column);
            source.observer.advance(chunk.table.len() as u64);
            sink(&codes)
        };
        sweep(source.rows, source.scale, &self.map, &mut take, source.observer)?;
        Ok(total.scaled(source.scale.recip()))
    }
}
