//! Singles as sums of two bfloat16, laid out for the matrix unit.

use super::transpose::transposed;
use super::{SIDE, Step, TILE};
use crate::linalg::kernel::{InstructionSet, Work};

/// The nearest bfloat16, ties to even, in the upper half; zeros in the lower.
#[inline(always)]
fn nearest(bits: u32) -> u32 {
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000
}

/// Parts of two neighbours along the depth, as pairs: the high ones, and the low ones.
#[inline(always)]
fn pairs(first: f32, second: f32) -> (u32, u32) {
    let (first_high, second_high) = (nearest(first.to_bits()), nearest(second.to_bits()));
    let first_low = nearest((first - f32::from_bits(first_high)).to_bits());
    let second_low = nearest((second - f32::from_bits(second_high)).to_bits());
    (first_high >> 16 | second_high, first_low >> 16 | second_low)
}

/// Up to 32 rows of a left operand, `stride` apart, as steps along their `depth` numbers. What is missing of the rows or of
/// the last step becomes zero.
pub(super) fn split_rows(rows: &[f32], stride: usize, depth: usize, steps: &mut [Step]) {
    InstructionSet::best().run(SplitRows { rows, stride, depth, steps });
}

struct SplitRows<'a> {
    rows: &'a [f32],
    stride: usize,
    depth: usize,
    steps: &'a mut [Step],
}

impl Work for SplitRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (index, step) in self.steps.iter_mut().enumerate() {
            let start = index * SIDE;
            let present = SIDE.min(self.depth.saturating_sub(start));
            for row in 0..SIDE {
                let mut numbers = [0.0; SIDE];
                if let Some(values) = self.rows.get(row * self.stride + start..) {
                    let present = present.min(values.len());
                    numbers[..present].copy_from_slice(&values[..present]);
                }
                let (tile, row) = (row / TILE, row % TILE);
                let (high, low) = (&mut step.high[tile].0[row], &mut step.low[tile].0[row]);
                for p in 0..TILE {
                    (high[p], low[p]) = pairs(numbers[2 * p], numbers[2 * p + 1]);
                }
            }
        }
    }
}

/// Up to 32 rows of a matrix, without gaps, as one step of the depth of right operands, one for each 32 columns, and of
/// their transposes as left operands. What is missing becomes zero.
pub(in crate::linalg) fn split_columns<'a>(
    rows: &[f32],
    columns: usize,
    left: impl Iterator<Item = &'a mut Step>,
    right: impl Iterator<Item = &'a mut Step>,
) {
    InstructionSet::best().run(SplitColumns { rows, columns, left, right });
}

struct SplitColumns<'a, L, R> {
    rows: &'a [f32],
    columns: usize,
    left: L,
    right: R,
}

impl<'a, L: Iterator<Item = &'a mut Step>, R: Iterator<Item = &'a mut Step>> Work for SplitColumns<'_, L, R> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((panel, left), right) in self.left.enumerate().zip(self.right) {
            for tile in 0..2 {
                let start = panel * SIDE + tile * TILE;
                let present = TILE.min(self.columns.saturating_sub(start));
                let row = |index: usize| {
                    let mut numbers = [0.0; TILE];
                    if let Some(values) = self.rows.get(index * self.columns + start..) {
                        let present = present.min(values.len());
                        numbers[..present].copy_from_slice(&values[..present]);
                    }
                    numbers
                };
                let (high, low) = (&mut right.high[tile], &mut right.low[tile]);
                for p in 0..TILE {
                    let (first, second) = (row(2 * p), row(2 * p + 1));
                    for j in 0..TILE {
                        (high.0[p][j], low.0[p][j]) = pairs(first[j], second[j]);
                    }
                }
                left.high[tile] = transposed(high);
                left.low[tile] = transposed(low);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_is_the_sum_of_its_two_parts_but_for_its_last_bits() {
        let numbers =
            [0.0, 1.0, -1.5, 0.1, 3.241_592_7, -7.3e11, 1.0 + 1.0 / 256.0, 1.0 - 1.0 / 512.0, 2.3e-12, f32::MAX / 3.0];
        for first in numbers {
            for second in numbers {
                let (high, low) = pairs(first, second);
                for (number, shift) in [(first, 16), (second, 0)] {
                    let part = |pair: u32| f64::from(f32::from_bits(pair << shift & 0xffff_0000));
                    let lost = (part(high) + part(low) - f64::from(number)).abs();
                    assert!(lost <= f64::from(number).abs() / f64::from(1 << 17), "{number}: {lost:e}");
                }
            }
        }
    }
}
