//! A chunk for the vector instructions: panels as wide as a tile of the kernel.

use std::ops::Range;

use super::{Packed, READ};
use crate::linalg::buffer::Buffer;
use crate::linalg::element::Element;
use crate::linalg::kernel::{Extent, Kernel, Strides, TILE_ROWS};
use crate::linalg::panels::{SLAB, padded};

/// Rows of a chunk.
const CHUNK: usize = 8 * SLAB;

/// Numbers slab after slab, in each slab panel after panel, in each panel row after row.
pub(super) struct PackedPanels<T> {
    data: Buffer<T>,
    columns: usize,
}

impl<T: Element> PackedPanels<T> {
    /// Room for the first chunk of a table.
    pub(super) fn new((rows, columns): (usize, usize)) -> Self {
        let rows = padded(rows.min(CHUNK), SLAB);
        PackedPanels { data: Buffer::zeros(rows * padded(columns, T::TILE_COLUMNS)), columns }
    }

    fn slab_len(&self) -> usize {
        padded(self.columns, T::TILE_COLUMNS) * SLAB
    }
}

impl<T: Element> Packed<T> for PackedPanels<T> {
    type Unit = T;
    type Aid = ();
    const WIDTH: usize = T::TILE_COLUMNS;
    const SLAB: usize = SLAB;
    const AT_ONCE: usize = READ;
    const CHUNK: usize = CHUNK;
    const GROUP: usize = 2;
    const DIAGONAL: bool = false;

    fn slabs(&mut self) -> (&mut [T], usize, &()) {
        let len = self.slab_len();
        (&mut self.data, len, &())
    }

    fn put(rows: &[T], columns: usize, first: usize, (): &(), slab: &mut [T]) -> f64 {
        let (width, first) = (T::TILE_COLUMNS, first % SLAB);
        for (panel, start) in slab.chunks_exact_mut(SLAB * width).zip((0..columns).step_by(width)) {
            let taken = start..columns.min(start + width);
            for (out, row) in panel[first * width..].chunks_exact_mut(width).zip(rows.chunks_exact(columns)) {
                out[..taken.len()].copy_from_slice(&row[taken.clone()]);
            }
        }
        0.0
    }

    /// In each slab, an entry is a chain of products in the order of the rows.
    fn add_products(&self, depth: usize, left: Range<usize>, right: Range<usize>, squares: &mut [T]) {
        let (width, kernel) = (T::TILE_COLUMNS, Kernel::best());
        let strides = Strides { row: 1, step: width, out: width };
        for (left, squares) in left.zip(squares.chunks_exact_mut(Self::GROUP * width * width)) {
            for (right, square) in right.clone().zip(squares.chunks_exact_mut(width * width)) {
                if right < left {
                    continue;
                }
                for (index, slab) in self.data.chunks_exact(self.slab_len()).enumerate() {
                    let depth = SLAB.min(depth.saturating_sub(index * SLAB));
                    let panel = |panel: usize| &slab[panel * width * SLAB..(panel + 1) * width * SLAB];
                    for i in (0..width).step_by(TILE_ROWS) {
                        // Of a panel with itself nothing is wanted left of the diagonal.
                        let from = if right == left { i } else { 0 };
                        let extent = Extent { rows: TILE_ROWS, from, to: width };
                        let square = &mut square[i * width..];
                        kernel.tile(depth, &panel(left)[i..], strides, panel(right), square, extent);
                    }
                }
            }
        }
    }
}
