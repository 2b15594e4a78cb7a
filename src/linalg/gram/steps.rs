//! A chunk for the matrix unit: panels of 32 columns, each as the left and as the right operand of a product.

use std::ops::Range;

use super::{Packed, READ};
use crate::linalg::amx::{SIDE, Step, Tiles, Unit, split_columns};
use crate::linalg::element::Element;

/// Steps of the depth in a slab. What a product of two panels reads of one of them stays in the first level of the cache
/// while the other changes.
const STEPS: usize = 8;

/// Rows of a chunk.
const CHUNK: usize = 8 * STEPS * SIDE;

/// Panels on each side of a block: what is read of them stays in the second level of the cache.
const GROUP: usize = 6;

/// Steps slab after slab; in each slab first those of left operands, panel after panel, then those of right ones.
pub(super) struct PackedSteps {
    unit: Unit,
    data: Vec<Step>,
    panels: usize,
}

const _: () = assert!(READ == SIDE);

impl PackedSteps {
    /// Room for the first chunk of a table.
    pub(super) fn new(unit: Unit, (rows, columns): (usize, usize)) -> Self {
        let slabs = rows.min(CHUNK).div_ceil(STEPS * SIDE);
        let panels = columns.div_ceil(SIDE);
        PackedSteps { unit, data: vec![Step::ZERO; slabs * 2 * panels * STEPS], panels }
    }
}

impl<T: Element> Packed<T> for PackedSteps {
    type Unit = Step;
    type Aid = ();
    const WIDTH: usize = SIDE;
    const SLAB: usize = STEPS * SIDE;
    const AT_ONCE: usize = READ;
    const CHUNK: usize = CHUNK;
    const GROUP: usize = GROUP;
    const DIAGONAL: bool = true;

    fn slabs(&mut self) -> (&mut [Step], usize, &()) {
        (&mut self.data, 2 * self.panels * STEPS, &())
    }

    /// The halves of a number hold all of it but what singles would lose.
    fn put(rows: &[T], columns: usize, first: usize, (): &(), slab: &mut [Step]) -> f64 {
        let half = slab.len() / 2;
        let (left, right) = slab.split_at_mut(half);
        let steps = |operand| <[Step]>::iter_mut(operand).skip(first / SIDE % STEPS).step_by(STEPS);
        split_columns(T::singles(rows), columns, steps(left), steps(right));
        0.0
    }

    /// Sums of a chunk are one chain in the order of the rows.
    fn add_products(&self, depth: usize, left: Range<usize>, right: Range<usize>, squares: &mut [T]) {
        let tiles = Tiles::configure(self.unit);
        let squares = T::singles_mut(squares);
        for (index, slab) in self.data.chunks_exact(2 * self.panels * STEPS).enumerate() {
            let steps = STEPS.min(depth.saturating_sub(index * STEPS * SIDE).div_ceil(SIDE));
            let panel = |panel: usize| &slab[panel * STEPS..][..steps];
            for (left, squares) in left.clone().zip(squares.chunks_exact_mut(GROUP * SIDE * SIDE)) {
                for (right, square) in right.clone().zip(squares.chunks_exact_mut(SIDE * SIDE)) {
                    if right >= left {
                        tiles.multiply(panel(left), panel(self.panels + right), square, SIDE);
                    }
                }
            }
        }
    }
}
