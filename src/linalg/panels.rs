//! The right operand of a product, cut into panels as wide as a tile so that the kernel reads it straight through.

use rayon::prelude::*;

use super::buffer::Buffer;
use super::element::Element;
use super::kernel::{Kernel, Strides, TILE_ROWS};

/// Steps of the depth between two additions to C: what a tile reads of both operands stays in the first level of a cache
/// of 32 KiB, and no chain of singles grows longer.
pub(super) const SLAB: usize = 128;

/// A matrix `[depth, columns]`, panel by panel, padded with zero columns.
pub(super) struct Panels<T> {
    data: Buffer<T>,
    depth: usize,
    columns: usize,
}

impl<T: Element> Panels<T> {
    /// All zero.
    pub(super) fn zeros(depth: usize, columns: usize) -> Self {
        let data = Buffer::zeros(columns.div_ceil(T::TILE_COLUMNS) * T::TILE_COLUMNS * depth);
        Panels { data, depth, columns }
    }

    /// Sets one entry.
    pub(super) fn set(&mut self, row: usize, column: usize, value: T) {
        let width = T::TILE_COLUMNS;
        self.data[(column / width * self.depth + row) * width + column % width] = value;
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

    /// Rows.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns with the padding, which is what [`Panels::multiply`] writes.
    pub(super) fn padded_columns(&self) -> usize {
        padded(self.columns, T::TILE_COLUMNS)
    }

    /// `c += a * self`, with `a` of `[rows, depth]` row-major at distance `stride`, `c` of
    /// `[rows, padded_columns]`; `rows` is a multiple of [`TILE_ROWS`].
    pub(super) fn multiply(&self, kernel: Kernel<T>, rows: usize, a: &[T], stride: usize, c: &mut [T]) {
        let width = T::TILE_COLUMNS;
        let out = self.padded_columns();
        let strides = Strides { row: stride, step: 1, out };
        for start in (0..self.depth).step_by(SLAB) {
            let depth = SLAB.min(self.depth - start);
            for (panel, data) in self.data.chunks_exact(self.depth * width).enumerate() {
                let slab = &data[start * width..(start + depth) * width];
                for row in (0..rows).step_by(TILE_ROWS) {
                    kernel.tile(depth, &a[row * stride + start..], strides, slab, &mut c[row * out + panel * width..]);
                }
            }
        }
    }
}

/// `count` rounded up to a multiple of `step`.
pub(super) fn padded(count: usize, step: usize) -> usize {
    count.div_ceil(step) * step
}
