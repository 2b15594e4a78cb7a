//! Products of singles by the matrix unit of some x86-64 processors (AMX: Intel, "64 and IA-32 Architectures Software
//! Developer's Manual", volume 1, "Programming with Intel Advanced Matrix Extensions").
//!
//! The unit multiplies bfloat16, of 8 bits, and sums up in singles. A single is taken for the sum of two such numbers,
//! `x = high + low`, which hold it but for `2^-17 |x|`; of a product, `low low` is left out, which is no more than
//! `2^-16` of it. This makes three products of one, on a unit that does sixteen in the time of one by vector instructions.
//!
//! Sums have a fixed order, but bits are others than those of the [kernels](super::kernel).

mod right;
mod split;
mod tiles;
mod transpose;

pub(super) use right::Right;
pub(super) use split::split_columns;
pub(super) use tiles::{Tiles, Unit};

/// Rows and columns of the part of C that is computed at a time, and depth of a [`Step`].
pub(super) const SIDE: usize = 32;

/// Rows of a tile, and its pairs of bfloat16 across.
const TILE: usize = 16;

/// A tile of an operand: of the left one, 16 rows, each of 32 numbers along the depth; of the right one, 16 pairs of
/// numbers along the depth, each for 16 columns. The lower half of a pair is the first of the depth.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tile([[u32; TILE]; TILE]);

/// An operand's numbers for 32 rows (or columns) of C and a depth of 32, in the order in which [`Tiles::multiply`] reads
/// them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Step {
    high: [Tile; 2],
    low: [Tile; 2],
}

impl Step {
    pub(super) const ZERO: Step = {
        let zero = Tile([[0; TILE]; TILE]);
        Step { high: [zero; 2], low: [zero; 2] }
    };
}
