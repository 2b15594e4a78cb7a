//! A chunk as whole numbers: slabs of rows, each column of a slab in units of its own.

use std::ops::Range;

use super::Packed;
use crate::linalg::element::Element;
use crate::linalg::int16::{Dither, PAIRS, Panel, ROWS, SIDE, multiply, round_columns};

/// Rows of a chunk.
const CHUNK: usize = 8 * ROWS;

/// Words slab after slab, in each slab panel after panel, and after them the units of the slab's columns.
pub(super) struct PackedPairs {
    data: Vec<u32>,
    panels: usize,
    dither: Dither,
}

impl PackedPairs {
    /// Room for the first chunk of a table.
    pub(super) fn new((rows, columns): (usize, usize)) -> Self {
        let panels = columns.div_ceil(SIDE);
        let slabs = rows.min(CHUNK).div_ceil(ROWS);
        PackedPairs { data: vec![0; slabs * slab_len(panels)], panels, dither: Dither::new(columns) }
    }
}

/// Words and units of so many panels.
fn slab_len(panels: usize) -> usize {
    panels * (PAIRS + 1) * SIDE
}

impl<T: Element> Packed<T> for PackedPairs {
    type Unit = u32;
    type Aid = Dither;
    const WIDTH: usize = SIDE;
    const SLAB: usize = ROWS;
    const AT_ONCE: usize = ROWS;
    const CHUNK: usize = CHUNK;
    const GROUP: usize = 2;
    const DIAGONAL: bool = true;

    fn slabs(&mut self) -> (&mut [u32], usize, &Dither) {
        (&mut self.data, slab_len(self.panels), &self.dither)
    }

    fn put(rows: &[T], columns: usize, first: usize, dither: &Dither, slab: &mut [u32]) -> f64 {
        let (words, units) = slab.split_at_mut(slab.len() / (PAIRS + 1) * PAIRS);
        round_columns(T::singles(rows), columns, first, dither, words, units)
    }

    /// In each slab, an entry is exact before it is rounded to a single.
    fn add_products(&self, depth: usize, left: Range<usize>, right: Range<usize>, squares: &mut [T]) {
        let group = <Self as Packed<T>>::GROUP;
        let squares = T::singles_mut(squares);
        for (left, squares) in left.zip(squares.chunks_exact_mut(group * SIDE * SIDE)) {
            for (right, square) in right.clone().zip(squares.chunks_exact_mut(SIDE * SIDE)) {
                if right < left {
                    continue;
                }
                for (index, slab) in self.data.chunks_exact(slab_len(self.panels)).enumerate() {
                    let pairs = ROWS.min(depth.saturating_sub(index * ROWS)).div_ceil(2);
                    let (words, units) = slab.split_at(self.panels * PAIRS * SIDE);
                    let panel = |panel: usize| Panel {
                        words: &words[panel * PAIRS * SIDE..][..PAIRS * SIDE],
                        units: &units[panel * SIDE..][..SIDE],
                    };
                    multiply(pairs, panel(left), panel(right), left == right, square);
                }
            }
        }
    }
}
