//! Codebooks, and the rotation that suits them, from a sample of rows.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "indices are bytes below the number of centroids, pieces those that `splits` makes; measured"
)]

use std::ops::Range;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, Par};
use rayon::prelude::*;

use super::Setup;
use super::kmeans::{Centroids, Points, improve, start};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{Map, Moments, read_scaled};
use crate::observe::Observer;
use crate::random::Random;
use crate::tensor::Rows;

/// The most rows that a sample has.
pub(super) const SAMPLE_ROWS: usize = 65_536;

/// The most numbers that a sample has.
const SAMPLE_VALUES: usize = 1 << 27;

/// Rows of the sample that the rotation is found on.
const ROTATION_ROWS: usize = 16_384;

/// Times that k-means moves the centroids.
pub(super) const ROUNDS: usize = 25;

/// Times that the rotation and the codebooks are fitted to each other.
const ALTERNATIONS: usize = 24;

/// Some rows of a table, as the sub-quantizers see them.
#[derive(Clone)]
pub(super) struct Sample {
    /// `[n, d]`.
    pub(super) values: Vec<f32>,
    pub(super) weights: Option<Vec<f32>>,
    pub(super) width: usize,
}

impl Sample {
    /// At most `limit` rows: one drawn from each of as many equal stretches of the table.
    pub(super) fn draw(
        rows: &dyn Rows,
        scale: f64,
        weights: Option<&[f64]>,
        limit: usize,
        seed: u64,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let (height, width) = rows.shape();
        let count = limit.min(SAMPLE_ROWS).min(SAMPLE_VALUES / width.max(1)).max(1).min(height);
        let mut random = Random::new(seed);
        let stretch = height as f64 / count as f64;
        let row = |index: usize, within: f64| match count == height {
            true => index,
            false => (((index as f64 + within) * stretch) as usize).min(height - 1),
        };
        let chosen: Vec<usize> = (0..count).map(|index| row(index, random.uniform())).collect();
        let mut values = vec![0.0; count * width];
        for (chosen, values) in chosen.chunks(4096).zip(values.chunks_mut(4096 * width)) {
            observer.check()?;
            let read = values.par_chunks_mut(width).zip(chosen);
            read.map(|(out, &row)| read_scaled(rows, row, scale, out))
                .collect::<Vec<_>>()
                .into_iter()
                .collect::<Result<()>>()?;
        }
        let weights = weights.map(|weights| chosen.iter().map(|&row| weights[row] as f32).collect());
        Ok(Sample { values, weights, width })
    }

    pub(super) fn rows(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// The first rows, `limit` of them; a sample is in no order but that of the table, so every `n`th is taken.
    fn thinned(&self, limit: usize) -> Sample {
        let step = self.rows().div_ceil(limit).max(1);
        let rows = self.values.chunks_exact(self.width).step_by(step);
        let weights = self.weights.as_ref().map(|weights| weights.iter().copied().step_by(step).collect());
        Sample { values: rows.flatten().copied().collect(), weights, width: self.width }
    }

    /// Entries `columns` of every row.
    fn columns(&self, columns: Range<usize>) -> Vec<f32> {
        self.values.chunks_exact(self.width).flat_map(|row| &row[columns.clone()]).copied().collect()
    }

    fn map(&mut self, map: &Map) {
        let width = self.width;
        self.values.par_chunks_mut(64 * width).for_each(|rows| {
            let source = rows.to_vec();
            map.apply(&source, rows);
        });
    }
}

/// The codebooks of all sub-quantizers.
pub(super) struct Codebooks {
    pub(super) splits: Vec<Range<usize>>,
    pub(super) centroids: Vec<Centroids>,
}

impl Codebooks {
    /// Codebooks for `sample`, and their squared error on it.
    pub(super) fn train(sample: &Sample, setup: &Setup, rounds: usize) -> (Self, f64) {
        let splits = setup.splits(sample.width);
        let trained: Vec<(Centroids, f64)> = splits
            .par_iter()
            .enumerate()
            .with_max_len(1)
            .map(|(index, columns)| {
                let values = sample.columns(columns.clone());
                let points = Points { values: &values, size: columns.len(), weights: sample.weights.as_deref() };
                let mut random = Random::new(setup.seed ^ (index as u64 + 1).rotate_left(32));
                let mut centroids = start(points, setup.count(), &mut random);
                let error = improve(&mut centroids, points, rounds);
                (centroids, error)
            })
            .collect();
        let error = trained.iter().map(|(_, error)| error).sum();
        (Codebooks { splits, centroids: trained.into_iter().map(|(centroids, _)| centroids).collect() }, error)
    }

    /// Codebooks for `sample` at full length.
    pub(super) fn train_well(sample: &Sample, setup: &Setup) -> Self {
        Codebooks::train(sample, setup, ROUNDS).0
    }

    fn improve(&mut self, sample: &Sample) {
        self.splits.par_iter().zip(&mut self.centroids).with_max_len(1).for_each(|(columns, centroids)| {
            let values = sample.columns(columns.clone());
            let points = Points { values: &values, size: columns.len(), weights: sample.weights.as_deref() };
            improve(centroids, points, 1);
        });
    }

    /// Codes of some rows, `[n, m]`, and the squared distance of each row to what they stand for.
    pub(super) fn assign(&self, rows: &[f32], width: usize) -> (Vec<u8>, Vec<f64>) {
        let count = rows.len() / width.max(1);
        let mut codes = vec![0u8; count * self.splits.len()];
        let mut distances = vec![0.0f64; count];
        let mut own = vec![0u8; count];
        for (index, (columns, centroids)) in self.splits.iter().zip(&self.centroids).enumerate() {
            let values: Vec<f32> = rows.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect();
            centroids.assign(&values, &mut own, |at, distance| distances[at] += f64::from(distance));
            let out = codes.iter_mut().skip(index).step_by(self.splits.len());
            out.zip(&own).for_each(|(out, &code)| *out = code);
        }
        (codes, distances)
    }

    /// `[count, d]`: row c has the c-th centroid of every sub-quantizer.
    pub(super) fn table(&self, width: usize, count: usize) -> Vec<f32> {
        let mut table = vec![0.0; count * width];
        for (columns, centroids) in self.splits.iter().zip(&self.centroids) {
            for (index, row) in table.chunks_exact_mut(width).enumerate() {
                row[columns.clone()].copy_from_slice(centroids.get(index));
            }
        }
        table
    }

    /// Replaces the centroids by what became of [`Codebooks::table`].
    pub(super) fn reset(&mut self, table: &[f32], width: usize) {
        for (columns, centroids) in self.splits.iter().zip(&mut self.centroids) {
            let rows = table.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied();
            *centroids = Centroids::new(rows.collect(), columns.len());
        }
    }
}

/// The rotation `[d, d]`, row-major, such that rows times it are quantized well, and `sample` times it.
///
/// Ge, He, Ke, Sun, "Optimized Product Quantization for Approximate Nearest Neighbor Search", CVPR 2013: begun with
/// `basis`, principal directions dealt out so that sub-quantizers get equal products of variances (their parametric
/// solution), then codebooks and rotation in turn, each the best for the other (their non-parametric solution).
pub(super) fn rotate(
    sample: &mut Sample,
    setup: &Setup,
    basis: &[f64],
    energies: &[f64],
    observer: &dyn Observer,
) -> Result<Vec<f32>> {
    let width = sample.width;
    let order = deal(energies, &setup.splits(width));
    let mut rotation = Mat::from_fn(width, width, |row, column| basis[order[column] * width + row]);
    let small = sample.thinned(ROTATION_ROWS);
    let mut books: Option<Codebooks> = None;
    for _ in 0..ALTERNATIONS {
        observer.check()?;
        let mut rotated = Sample { values: small.values.clone(), weights: small.weights.clone(), width };
        rotated.map(&Map::new(width, width, |row, column| rotation[(row, column)]));
        let books = match &mut books {
            Some(books) => books,
            None => books.insert(Codebooks::train(&rotated, setup, 4).0),
        };
        books.improve(&rotated);
        let table = books.table(width, setup.count());
        rotated.values.par_chunks_mut(64 * width).for_each(|rows| {
            let (codes, _) = books.assign(rows, width);
            look_up(&table, &books.splits, &codes, rows, width);
        });
        let mut moments = Moments::new(width, width);
        let weight = |row: usize| small.weights.as_ref().map_or(1.0, |weights| f64::from(weights[row]));
        for (start, (source, target)) in
            (0..).step_by(1024).zip(small.values.chunks(1024 * width).zip(rotated.values.chunks(1024 * width)))
        {
            moments.add(source, target, |row| weight(start + row));
        }
        rotation = nearest_rotation(&moments.cross())?;
    }
    let rotation: Vec<f32> = (0..width * width).map(|at| rotation[(at / width, at % width)] as f32).collect();
    sample.map(&Map::new(width, width, |row, column| f64::from(rotation[row * width + column])));
    Ok(rotation)
}

/// Writes what codes stand for.
pub(super) fn look_up(table: &[f32], splits: &[Range<usize>], codes: &[u8], out: &mut [f32], width: usize) {
    for (out, codes) in out.chunks_exact_mut(width.max(1)).zip(codes.chunks_exact(splits.len().max(1))) {
        for (columns, &code) in splits.iter().zip(codes) {
            let row = &table[usize::from(code) * width..][..width];
            out[columns.clone()].copy_from_slice(&row[columns.clone()]);
        }
    }
}

/// Which principal direction goes to which column: the largest left goes to the sub-quantizer with the smallest product
/// of variances that has room.
fn deal(energies: &[f64], splits: &[Range<usize>]) -> Vec<usize> {
    let width = splits.last().map_or(0, |columns| columns.end);
    let mut products = vec![0.0f64; splits.len()];
    let mut taken = vec![0usize; splits.len()];
    let mut order = vec![0; width];
    for direction in 0..width {
        let room = (0..splits.len()).filter(|&index| taken[index] < splits[index].len());
        // Entries left to fill count as variances of one at the scale of the largest.
        let Some(index) = room.min_by(|&a, &b| products[a].total_cmp(&products[b]).then(a.cmp(&b))) else { break };
        order[splits[index].start + taken[index]] = direction;
        taken[index] += 1;
        let largest = energies.first().copied().unwrap_or(1.0).max(f64::MIN_POSITIVE);
        let share = energies.get(direction).copied().unwrap_or(0.0) / largest;
        // The largest variances are dealt first, one to each, so that logarithms have to be made positive.
        products[index] += (share.max(1e-12)).ln() + 30.0;
    }
    order
}

/// The orthogonal matrix R with the least `||X R - Y||`, from `X^T Y` (Schoenemann, "A generalized solution of the
/// orthogonal Procrustes problem", 1966).
fn nearest_rotation(cross: &Mat<f64>) -> Result<Mat<f64>> {
    let order = cross.nrows();
    // The result depends on the degree of parallelism, so it is fixed.
    let parallel = Par::rayon(4);
    let (mut left, mut right) = (Mat::<f64>::zeros(order, order), Mat::<f64>::zeros(order, order));
    let mut values = Mat::<f64>::zeros(order, 1);
    let full = ComputeSvdVectors::Full;
    let scratch = svd_scratch::<f64>(order, order, full, full, parallel, Default::default());
    svd(
        cross.as_ref(),
        values.col_mut(0).as_diagonal_mut(),
        Some(left.as_mut()),
        Some(right.as_mut()),
        parallel,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Error::new(ErrorKind::Unsupported, "the singular value decomposition did not converge"))?;
    let mut rotation = Mat::<f64>::zeros(order, order);
    faer::linalg::matmul::matmul(
        rotation.as_mut(),
        faer::Accum::Replace,
        left.as_ref(),
        right.as_ref().transpose(),
        1.0,
        parallel,
    );
    Ok(rotation)
}
