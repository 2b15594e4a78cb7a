//! Rows to indices.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: every size and place is that of a table in memory or of its own parts"
)]

use rayon::prelude::*;

use super::decoder::{Books, back};
use super::kmeans::{Centroids, Points, improve, start};
use super::training::{SAMPLE_ROWS, rotate};
use super::{Codebooks, NORM_LEVELS, Sample, Setup};
use crate::codec::{Measured, PartSink, packed};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{self, Map, Products, read_scaled};
use crate::observe::Observer;
use crate::random::Random;
use crate::tensor::{Dtype, Rows, Store};

/// Rows that one task encodes.
const BLOCK: usize = 64;

/// Rows between two looks at the observer.
const CHUNK: usize = 64 * BLOCK;

/// A trained quantizer, as it is stored.
pub(super) struct Trained<'a> {
    setup: &'a Setup,
    /// Of the scaled table.
    codebooks: Codebooks,
    rotation: Option<Map>,
    /// Of the scaled table.
    levels: Option<Centroids>,
    scale: f64,
    books: Books,
}

/// Turns rows into directions, in place, and gives their norms.
fn split_norms(rows: &mut [f32], width: usize) -> Vec<f32> {
    let norm = |row: &mut [f32]| {
        let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32;
        if norm > 0.0 {
            row.iter_mut().for_each(|x| *x /= norm);
        }
        norm
    };
    rows.chunks_exact_mut(width.max(1)).map(norm).collect()
}

/// Norms of the sample's rows; directions count by the squares of their norms from here on.
fn take_norms(sample: &mut Sample) -> Vec<f32> {
    let norms = split_norms(&mut sample.values, sample.width);
    let weight = |index: usize| sample.weights.as_ref().map_or(1.0, |weights| weights[index]);
    sample.weights = Some(norms.iter().enumerate().map(|(index, norm)| norm * norm * weight(index)).collect());
    norms
}

/// The share of the squared norm that `setup` is expected to lose on a table of `height` rows, where k-means moves the
/// centroids `rounds` times: that of the sample where it is the table; else trained on three quarters of the sample,
/// measured on those and on the rest, unless there is little.
///
/// Rows that centroids were fitted to lose about as much less than they would to the best centroids as other rows lose
/// more, and both in proportion to one over the number of rows fitted to. What lies in the middle is corrected for the
/// number of rows that the table will be fitted to, and for the share of them that others are not.
pub(super) fn predicted_share(whole: &Sample, setup: &Setup, height: usize, rounds: usize) -> f64 {
    let (rows, width) = (whole.rows(), whole.width);
    if rows == height || rows < 8 * setup.count() {
        let (_, error) = Codebooks::train(whole, setup, rounds);
        return error / energy(whole).max(f64::MIN_POSITIVE);
    }
    let part = |held_out: bool| {
        let chosen = move |index: &usize| index.is_multiple_of(4) == held_out;
        let indices: Vec<usize> = (0..rows).filter(chosen).collect();
        let values = indices.iter().flat_map(|&index| &whole.values[index * width..(index + 1) * width]);
        let weights = whole.weights.as_ref().map(|weights| indices.iter().map(|&index| weights[index]).collect());
        Sample { values: values.copied().collect(), weights, width }
    };
    let (known, held_out) = (part(false), part(true));
    let (codebooks, fitted) = Codebooks::train(&known, setup, rounds);
    let errors: Vec<f64> = held_out
        .values
        .par_chunks(BLOCK * width)
        .enumerate()
        .map(|(block, rows)| {
            let (_, distances) = codebooks.assign(rows, width);
            let weight = |row: usize| held_out.weights.as_ref().map_or(1.0, |w| f64::from(w[block * BLOCK + row]));
            distances.iter().enumerate().map(|(row, distance)| weight(row) * distance).sum()
        })
        .collect();
    let inside = fitted / energy(&known).max(f64::MIN_POSITIVE);
    let outside = errors.iter().sum::<f64>() / energy(&held_out).max(f64::MIN_POSITIVE);
    let fitted_rows = height.min(SAMPLE_ROWS) as f64;
    let others = 1.0 - 2.0 * fitted_rows / height as f64;
    let apart = (outside - inside).max(0.0) / 2.0 * known.rows() as f64 / fitted_rows;
    ((inside + outside) / 2.0 + apart * others).max(0.0)
}

fn energy(sample: &Sample) -> f64 {
    let weight = |row: usize| sample.weights.as_ref().map_or(1.0, |weights| f64::from(weights[row]));
    let square = |row: &[f32]| row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    sample.values.chunks_exact(sample.width.max(1)).enumerate().map(|(index, row)| weight(index) * square(row)).sum()
}

/// Writes numbers as part `part`, and leaves them as they were rounded.
fn write(values: &mut [f32], dtype: Dtype, part: usize, sink: &mut dyn PartSink) -> Result<()> {
    let mut bytes = Vec::new();
    f32::store(values, dtype, &mut bytes).map_err(|overflow| out_of_range(dtype, overflow.value))?;
    sink.write(part, &bytes)
}

fn out_of_range(dtype: Dtype, value: f64) -> Error {
    Error::new(ErrorKind::NonFinite, "a codebook leaves the range of its dtype")
        .expected(format!("a finite {dtype}"))
        .found(value.to_string())
        .hint("store the codebooks in a dtype of wider range with `--dtype bf16` or `--dtype f32`")
}

/// Numbers of the scaled table as those of the table.
fn unscale(values: &mut [f32], scale: f64, dtype: Dtype) -> Result<()> {
    for value in values {
        let unscaled = (f64::from(*value) / scale) as f32;
        if !unscaled.is_finite() {
            return Err(out_of_range(dtype, f64::from(*value) / scale));
        }
        *value = unscaled;
    }
    Ok(())
}

impl<'a> Trained<'a> {
    /// Trains on `sample`, and writes everything but the indices.
    pub(super) fn new(
        rows: &dyn Rows,
        mut sample: Sample,
        setup: &'a Setup,
        scale: f64,
        dtype: Dtype,
        sink: &mut dyn PartSink,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let (height, width) = rows.shape();
        let mut part = 2;
        let weights = sample.weights.clone();
        let norms = setup.norms.then(|| take_norms(&mut sample));
        let mut rotation = None;
        let mut stored_rotation = None;
        if setup.rotation {
            let (basis, energies) = if height < width {
                (identity(width), Vec::new())
            } else {
                let factorization = linalg::factorize(rows, Some(width), Products::Single, observer)?;
                (factorization.right_singular_vectors(), factorization.spectrum().energies.clone())
            };
            let mut found = rotate(&mut sample, setup, &basis, &energies, observer)?;
            write(&mut found, dtype, part, sink)?;
            part += 1;
            rotation = Some(Map::new(width, width, |row, column| f64::from(found[row * width + column])));
            stored_rotation = Some(back(&found, width));
        }
        let mut codebooks = Codebooks::train_well(&sample, setup);
        // Directions are of one size whatever the table's.
        let book_scale = if setup.norms { 1.0 } else { scale };
        let mut table = codebooks.table(width, setup.count());
        unscale(&mut table, book_scale, dtype)?;
        write(&mut table, dtype, 1, sink)?;
        let scaled: Vec<f32> = table.iter().map(|&value| (f64::from(value) * book_scale) as f32).collect();
        codebooks.reset(&scaled, width);
        let mut levels = None;
        let mut stored_levels = None;
        if let Some(norms) = norms {
            let points = Points { values: &norms, size: 1, weights: weights.as_deref() };
            let mut found = start(points, NORM_LEVELS, &mut Random::new(setup.seed));
            improve(&mut found, points, 50);
            let mut stored = found.rows().to_vec();
            unscale(&mut stored, scale, dtype)?;
            write(&mut stored, dtype, part + 1, sink)?;
            let scaled = stored.iter().map(|&value| (f64::from(value) * scale) as f32).collect();
            levels = Some(Centroids::new(scaled, 1));
            stored_levels = Some(stored);
        }
        let splits = setup.splits(width);
        let books = Books { table, splits, width, back: stored_rotation, levels: stored_levels };
        Ok(Trained { setup, codebooks, rotation, levels, scale, books })
    }

    /// Writes the indices of all rows, and measures what they stand for.
    pub(super) fn encode(
        &self,
        rows: &dyn Rows,
        weights: Option<&[f64]>,
        sink: &mut dyn PartSink,
        observer: &dyn Observer,
    ) -> Result<Measured> {
        let height = rows.shape().0;
        let mut total = Measured::default();
        let norm_part = 2 + usize::from(self.setup.rotation);
        for chunk in (0..height).step_by(CHUNK) {
            observer.check()?;
            let starts: Vec<usize> = (chunk..height.min(chunk + CHUNK)).step_by(BLOCK).collect();
            let blocks: Vec<Result<Block>> = starts.par_iter().map(|&start| self.block(rows, weights, start)).collect();
            for block in blocks {
                let block = block?;
                sink.write(0, &block.indices)?;
                if self.levels.is_some() {
                    sink.write(norm_part, &block.norms)?;
                }
                total.add(&block.measured);
            }
            observer.advance((starts.len() * BLOCK * rows.shape().1) as u64);
        }
        Ok(total)
    }

    fn block(&self, rows: &dyn Rows, weights: Option<&[f64]>, start: usize) -> Result<Block> {
        let (height, width) = rows.shape();
        let range = start..height.min(start + BLOCK);
        let mut values = vec![0.0f32; range.len() * width];
        read_scaled(rows, start, self.scale, &mut values)?;
        let mut norms = Vec::new();
        if let Some(levels) = &self.levels {
            let exact = split_norms(&mut values, width);
            norms = vec![0; exact.len()];
            levels.assign(&exact, &mut norms, |_, _| {});
        }
        if let Some(rotation) = &self.rotation {
            let source = values.clone();
            rotation.apply(&source, &mut values);
        }
        let (codes, _) = self.codebooks.assign(&values, width);
        let mut indices = Vec::new();
        codes.chunks_exact(self.setup.pieces).for_each(|row| packed::pack_row(row, self.setup.bits, &mut indices));
        self.books.decode(&codes, &norms, &mut values);
        let decoded: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        let mut source = vec![0.0f64; decoded.len()];
        rows.read_f64(range, &mut source)?;
        let measured = Measured::of_rows(&source, &decoded, width, |row| weights.map(|weights| weights[start + row]));
        Ok(Block { indices, norms, measured })
    }
}

/// Some encoded rows.
struct Block {
    indices: Vec<u8>,
    norms: Vec<u8>,
    measured: Measured,
}

fn identity(width: usize) -> Vec<f64> {
    let mut identity = vec![0.0; width * width];
    identity.iter_mut().step_by(width + 1).for_each(|entry| *entry = 1.0);
    identity
}
