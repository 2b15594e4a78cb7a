//! The Gram matrix `W^T W`, accumulated over the rows of a table in one pass.
//!
//! With `C = W - 1 mu^T` and `s` the sum of C's rows, `W^T W = C^T C + s mu^T + mu s^T + m mu mu^T` for any `mu`.
//! Products of singles are summed in chains of [`SLAB`], chains within a chunk of rows, and chunks in doubles, always
//! in the order of the rows: the result does not depend on the number of threads.

use std::ops::Range;

use faer::{Mat, MatMut};
use rayon::prelude::*;

use super::buffer::Buffer;
use super::element::Element;
use super::frame::{Frame, power_of_two};
use super::kernel::{InstructionSet, Kernel, Strides, TILE_ROWS};
use super::loops::{AddTo, Place};
use super::panels::{SLAB, padded};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::Rows;

/// Rows that are packed at a time and whose products are summed before they are added to the doubles.
const CHUNK: usize = 8 * SLAB;

/// Panels on each side of the block of the matrix that one task computes.
const GROUP: usize = 2;

/// Rows that are read at a time while packing.
const READ: usize = 16;

/// The Gram matrix of a table times `2^exponent`.
pub(super) struct Gram {
    /// `[d, d]`; only the lower triangle has meaning.
    pub(super) matrix: Mat<f64>,
    /// Of the scaling.
    pub(super) exponent: i32,
    /// Trace of the matrix: the squared Frobenius norm of the scaled table.
    pub(super) trace: f64,
    /// Trace before the mean is added back: the size of what the products' rounding is relative to.
    pub(super) centered_trace: f64,
}

/// Computes the Gram matrix in the arithmetic `T`.
///
/// # Errors
/// [`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite) with the first row and column.
pub(super) fn gram<T: Element>(rows: &dyn Rows, observer: &dyn Observer) -> Result<Gram> {
    if let Some(gram) = accumulate(rows, &Frame::<T>::sample(rows)?, observer)? {
        return Ok(gram);
    }
    // A scan leaves no magnitude above two, so only a table that changes while it is read fails again.
    accumulate(rows, &Frame::<T>::scan(rows, observer)?, observer)?
        .ok_or_else(|| Error::new(ErrorKind::NonFinite, "the weights changed while they were read"))
}

/// Numbers of a chunk, slab after slab, in each slab panel after panel.
struct Packed<T> {
    data: Buffer<T>,
    columns: usize,
}

impl<T: Element> Packed<T> {
    fn slab_len(&self) -> usize {
        padded(self.columns, T::TILE_COLUMNS) * SLAB
    }
}

/// `None` where a number is not finite or far larger than the frame's sample was.
fn accumulate<T: Element>(rows: &dyn Rows, frame: &Frame<T>, observer: &dyn Observer) -> Result<Option<Gram>> {
    let (count, columns) = rows.shape();
    let kernel = Kernel::<T>::best();
    let mut matrix = Mat::<f64>::zeros(columns, columns);
    let mut sums = vec![0.0; columns];
    let slabs = count.min(CHUNK).div_ceil(SLAB);
    let mut packed = Packed { data: Buffer::<T>::zeros(slabs * SLAB * padded(columns, T::TILE_COLUMNS)), columns };
    for start in (0..count).step_by(CHUNK) {
        observer.check()?;
        let chunk = start..count.min(start + CHUNK);
        observer.advance((chunk.len() * columns) as u64);
        let slab_len = packed.slab_len();
        let slabs = packed
            .data
            .par_chunks_mut(slab_len)
            .take(chunk.len().div_ceil(SLAB))
            .enumerate()
            .map(|(index, slab)| {
                let first = chunk.start + index * SLAB;
                pack(rows, first..chunk.end.min(first + SLAB), frame, slab)
            })
            .collect::<Vec<_>>();
        for slab in slabs {
            match slab? {
                Some(partial) => sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += partial),
                None => return Ok(None),
            }
        }
        blocks(matrix.as_mut(), GROUP * T::TILE_COLUMNS)
            .into_par_iter()
            .for_each(|block| block.add_products(kernel, &packed, chunk.len()));
    }
    let centered_trace = trace(&matrix);
    restore_mean(&mut matrix, frame, &sums, count as f64);
    let trace = trace(&matrix);
    Ok(Some(Gram { matrix, exponent: frame.exponent, trace, centered_trace }))
}

/// Writes the framed numbers of some rows to one slab; returns the sums of its columns, or `None` where a number is
/// out of bounds.
fn pack<T: Element>(
    rows: &dyn Rows,
    range: Range<usize>,
    frame: &Frame<T>,
    slab: &mut [T],
) -> Result<Option<Vec<f64>>> {
    let width = T::TILE_COLUMNS;
    let columns = frame.shift.len();
    let scale = T::nearest(power_of_two(frame.exponent));
    let set = InstructionSet::best();
    let mut sums = vec![0.0; columns];
    let mut scratch = vec![T::ZERO; READ.min(range.len()) * columns];
    for start in range.clone().step_by(READ) {
        let end = range.end.min(start + READ);
        let scratch = &mut scratch[..(end - start) * columns];
        T::read(rows, start..end, scratch)?;
        if !set.run(Place { rows: scratch, shift: &frame.shift, scale, sums: &mut sums }) {
            return Ok(None);
        }
        for (panel, first) in slab.chunks_exact_mut(SLAB * width).zip((0..columns).step_by(width)) {
            let taken = first..columns.min(first + width);
            let panel = panel[(start - range.start) * width..].chunks_exact_mut(width);
            for (out, row) in panel.zip(scratch.chunks_exact(columns)) {
                out[..taken.len()].copy_from_slice(&row[taken.clone()]);
            }
        }
    }
    Ok(Some(sums))
}

/// A block of the lower triangle: its place, and its entries.
struct Block<'a> {
    first_row: usize,
    first_column: usize,
    entries: MatMut<'a, f64>,
}

/// Cuts the lower triangle into blocks of `size`, the longest columns first.
fn blocks(matrix: MatMut<'_, f64>, size: usize) -> Vec<Block<'_>> {
    let order = matrix.nrows();
    let mut blocks = Vec::new();
    let mut right = matrix;
    for first_column in (0..order).step_by(size) {
        let (stripe, rest) = right.split_at_col_mut(size.min(order - first_column));
        right = rest;
        let mut below = stripe.split_at_row_mut(first_column).1;
        for first_row in (first_column..order).step_by(size) {
            let (entries, rest) = below.split_at_row_mut(size.min(order - first_row));
            below = rest;
            blocks.push(Block { first_row, first_column, entries });
        }
    }
    blocks
}

impl Block<'_> {
    /// Adds the products of the packed columns of this block over `depth` rows.
    fn add_products<T: Element>(mut self, kernel: Kernel<T>, packed: &Packed<T>, depth: usize) {
        let width = T::TILE_COLUMNS;
        let set = InstructionSet::best();
        let mut tile = Buffer::<T>::zeros(width * width);
        let strides = Strides { row: 1, step: width, out: width };
        for column in (0..self.entries.ncols()).step_by(width) {
            for row in (0..self.entries.nrows()).step_by(width) {
                let (left, right) = (self.first_column + column, self.first_row + row);
                if right < left {
                    continue;
                }
                tile.fill(T::ZERO);
                for (index, slab) in packed.data.chunks_exact(packed.slab_len()).enumerate() {
                    let depth = SLAB.min(depth.saturating_sub(index * SLAB));
                    let left = &slab[left * SLAB..(left + width) * SLAB];
                    let right = &slab[right * SLAB..(right + width) * SLAB];
                    for i in (0..width).step_by(TILE_ROWS) {
                        kernel.tile(depth, &left[i..], strides, right, &mut tile[i * width..]);
                    }
                }
                let entries = self.entries.as_mut().split_at_mut(row, column).3;
                let entries = entries.col_iter_mut().filter_map(|column| column.try_as_col_major_mut());
                for (sums, terms) in entries.zip(tile.chunks_exact(width)) {
                    set.run(AddTo { sums: sums.as_slice_mut(), terms });
                }
            }
        }
    }
}

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum()
}

/// Adds `s mu^T + mu s^T + m mu mu^T` to the lower triangle.
fn restore_mean<T: Element>(matrix: &mut Mat<f64>, frame: &Frame<T>, sums: &[f64], count: f64) {
    let shift: Vec<f64> = frame.shift.iter().map(|shift| shift.double()).collect();
    for (j, column) in matrix.col_iter_mut().enumerate() {
        let (sum, mean) = (sums[j], shift[j]);
        for ((entry, s), mu) in column.iter_mut().zip(sums).zip(&shift).skip(j) {
            *entry += s * mean + mu * sum + count * mu * mean;
        }
    }
}
