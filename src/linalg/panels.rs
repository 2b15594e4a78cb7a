//! The right operand of a product, cut into panels as wide as a tile so that the kernel reads it straight through.

use rayon::prelude::*;

use super::buffer::Buffer;
use super::element::Element;
use super::kernel::{Extent, Kernel, Strides, TILE_ROWS};

/// Steps of the depth between two additions to C: what a tile reads of both operands stays in the first level of a cache
/// of 32 KiB, and no chain of singles grows longer.
pub(super) const SLAB: usize = 128;

/// Rows that are transposed at a time.
#[cfg(feature = "train")]
const STRIP: usize = 32;

/// A matrix `[depth, columns]`, panel by panel, padded with zero columns.
pub(crate) struct Panels<T> {
    data: Buffer<T>,
    depth: usize,
    columns: usize,
}

impl<T: Element> Panels<T> {
    /// All zero.
    pub(crate) fn zeros(depth: usize, columns: usize) -> Self {
        let data = Buffer::zeros(columns.div_ceil(T::TILE_COLUMNS) * T::TILE_COLUMNS * depth);
        Panels { data, depth, columns }
    }

    /// The transpose of `values`, `[columns, depth]` row-major.
    #[cfg(feature = "train")]
    pub(crate) fn transposed(values: &[T], columns: usize, depth: usize) -> Self {
        let mut panels = Panels::zeros(depth, columns);
        let width = T::TILE_COLUMNS;
        let blocks = values.chunks(width * depth.max(1));
        for (data, values) in panels.data.chunks_exact_mut(width * depth.max(1)).zip(blocks) {
            // A strip of all columns, which stays in the cache until each of them is in its place.
            for (strip, start) in data.chunks_mut(STRIP * width).zip((0..depth).step_by(STRIP)) {
                for (j, column) in values.chunks_exact(depth).enumerate() {
                    strip
                        .iter_mut()
                        .skip(j)
                        .step_by(width)
                        .zip(&column[start..])
                        .for_each(|(out, &value)| *out = value);
                }
            }
        }
        panels
    }

    /// `values`, `[depth, columns]` row-major.
    #[cfg(feature = "train")]
    pub(crate) fn copied(values: &[T], depth: usize, columns: usize) -> Self {
        let mut panels = Panels::zeros(depth, columns);
        let width = T::TILE_COLUMNS;
        for (row, values) in values.chunks_exact(columns.max(1)).take(depth).enumerate() {
            for (panel, values) in values.chunks(width).enumerate() {
                panels.data[(panel * depth + row) * width..][..values.len()].copy_from_slice(values);
            }
        }
        panels
    }

    /// One entry.
    pub(super) fn get(&self, row: usize, column: usize) -> T {
        let width = T::TILE_COLUMNS;
        self.data[(column / width * self.depth + row) * width + column % width]
    }

    /// Sets the entries of a column, from the first row on.
    pub(super) fn set_column(&mut self, column: usize, values: impl Iterator<Item = T>) {
        let width = T::TILE_COLUMNS;
        let first = column / width * width * self.depth + column % width;
        // A matrix without rows has no such place.
        let Some(entries) = self.data.get_mut(first..) else { return };
        entries.iter_mut().step_by(width).take(self.depth).zip(values).for_each(|(entry, value)| *entry = value);
    }

    /// Sets every entry to `value(column, row)`, on all cores.
    pub(super) fn fill_columns(&mut self, value: impl Fn(usize, usize) -> T + Sync) {
        let (width, columns) = (T::TILE_COLUMNS, self.columns);
        if self.depth == 0 {
            return;
        }
        self.data.par_chunks_exact_mut(self.depth * width).enumerate().for_each(|(panel, data)| {
            for j in 0..width.min(columns - panel * width) {
                for (row, out) in data.iter_mut().skip(j).step_by(width).enumerate() {
                    *out = value(panel * width + j, row);
                }
            }
        });
    }

    /// Replaces every entry.
    pub(super) fn map(&mut self, change: impl Fn(T) -> T) {
        self.data.iter_mut().for_each(|value| *value = change(*value));
    }

    /// The largest magnitude.
    pub(super) fn largest(&self) -> f64 {
        self.data.iter().fold(0.0f64, |largest, value| largest.max(value.double().abs()))
    }

    /// The largest norm of a column.
    pub(super) fn largest_column_norm(&self) -> f64 {
        let width = T::TILE_COLUMNS;
        let mut largest = 0.0f64;
        for panel in self.data.chunks_exact(width * self.depth.max(1)) {
            let mut squares = vec![0.0f64; width];
            for row in panel.chunks_exact(width) {
                squares.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.double() * value.double());
            }
            largest = squares.into_iter().fold(largest, f64::max);
        }
        largest.sqrt()
    }

    /// Rows.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Columns with the padding: the distance of rows that [`Panels::multiply`] writes, where what is beyond the columns
    /// means nothing.
    pub(crate) fn padded_columns(&self) -> usize {
        padded(self.columns, T::TILE_COLUMNS)
    }

    /// `c += a * self`, with `a` of `[rows, depth]` row-major at distance `stride`, `c` of
    /// `[rows, padded_columns]`; `rows` is a multiple of [`TILE_ROWS`].
    pub(super) fn multiply(&self, kernel: Kernel<T>, rows: usize, a: &[T], stride: usize, c: &mut [T]) {
        self.multiply_strided(kernel, rows, a, (stride, 1), c);
    }

    /// Likewise, with an `a` whose rows and columns are as far apart as `distances` say: `(1, stride)` where it is the
    /// transpose of a row-major matrix. `rows` is any number, but both slices have rows for whole tiles.
    pub(crate) fn multiply_strided(
        &self,
        kernel: Kernel<T>,
        rows: usize,
        a: &[T],
        distances: (usize, usize),
        c: &mut [T],
    ) {
        let width = T::TILE_COLUMNS;
        let out = self.padded_columns();
        let (row_distance, step) = distances;
        let strides = Strides { row: row_distance, step, out };
        for start in (0..self.depth).step_by(SLAB) {
            let depth = SLAB.min(self.depth - start);
            for (panel, data) in self.data.chunks_exact(self.depth * width).enumerate() {
                let slab = &data[start * width..(start + depth) * width];
                let to = width.min(self.columns - panel * width);
                for row in (0..rows).step_by(TILE_ROWS) {
                    let extent = Extent { rows: TILE_ROWS.min(rows - row), from: 0, to };
                    let (a, c) = (&a[row * row_distance + start * step..], &mut c[row * out + panel * width..]);
                    kernel.tile(depth, a, strides, slab, c, extent);
                }
            }
        }
    }
}

/// `count` rounded up to a multiple of `step`.
pub(super) fn padded(count: usize, step: usize) -> usize {
    count.div_ceil(step) * step
}
