//! A right operand, and its product with rows.

use rayon::prelude::*;

use super::split::{split_columns, split_rows};
use super::{SIDE, Step, Tiles, Unit};

/// Steps of the depth between two additions to C. What they take of the right operand stays in the first level of the cache
/// while rows change.
const SLAB: usize = 8;

/// A matrix `[depth, columns]`: steps along the depth, for 32 columns after 32 columns.
pub(in crate::linalg) struct Right {
    unit: Unit,
    steps: Vec<Step>,
    depth: usize,
    columns: usize,
}

impl Right {
    /// From `value(row, column)`.
    pub(in crate::linalg) fn new(
        unit: Unit,
        depth: usize,
        columns: usize,
        value: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let count = depth.div_ceil(SIDE);
        let mut steps = vec![Step::ZERO; count * columns.div_ceil(SIDE)];
        steps.par_chunks_mut(count.max(1)).enumerate().for_each(|(panel, steps)| {
            let first = panel * SIDE;
            let width = SIDE.min(columns - first);
            for (index, step) in steps.iter_mut().enumerate() {
                let rows = index * SIDE..depth.min((index + 1) * SIDE);
                let columns = first..first + width;
                let numbers: Vec<f32> = rows
                    .flat_map(|row| columns.clone().map(move |column| (row, column)))
                    .map(|(i, j)| value(i, j))
                    .collect();
                let mut left = Step::ZERO;
                split_columns(&numbers, width, std::iter::once(&mut left), std::iter::once(step));
            }
        });
        Right { unit, steps, depth, columns }
    }

    /// Rows.
    pub(in crate::linalg) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns with the padding.
    pub(in crate::linalg) fn padded_columns(&self) -> usize {
        self.columns.next_multiple_of(SIDE)
    }

    /// `c += a * self`, with `a` of `[rows, depth]` row-major at distance `stride`, `c` of `[rows, padded_columns]`; `rows` is
    /// a multiple of 32. `left` is room for `a` as an operand.
    ///
    /// An entry is a chain of products in the order of the depth, whatever the rows.
    pub(in crate::linalg) fn multiply(
        &self,
        rows: usize,
        a: &[f32],
        stride: usize,
        c: &mut [f32],
        left: &mut Vec<Step>,
    ) {
        let tiles = Tiles::configure(self.unit);
        let (steps, out) = (self.depth.div_ceil(SIDE), self.padded_columns());
        if steps == 0 {
            return;
        }
        left.resize(rows / SIDE * steps, Step::ZERO);
        for (index, left) in left.chunks_exact_mut(steps).enumerate() {
            split_rows(&a[index * SIDE * stride..], stride, self.depth, left);
        }
        for (panel, right) in self.steps.chunks_exact(steps).enumerate() {
            for start in (0..steps).step_by(SLAB) {
                let slab = start..steps.min(start + SLAB);
                for (index, left) in left.chunks_exact(steps).enumerate() {
                    let c = &mut c[index * SIDE * out + panel * SIDE..];
                    tiles.multiply(&left[slab.clone()], &right[slab.clone()], c, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: usize) -> f32 {
        ((i as f64 * 12.9898 + 4.1414).sin() * 43_758.545_3 % 1.0) as f32
    }

    #[test]
    fn products_of_any_shape_are_those_of_doubles_but_for_the_bits_that_bfloat16_drops() {
        let Some(unit) = Unit::find() else { return };
        let depths = [1, 2, 31, 32, 33, 255, 257, 600];
        for (rows, depth, columns) in
            depths.into_iter().flat_map(|depth| [(32, depth, 1), (64, depth, 33), (96, depth, 64)])
        {
            let stride = depth + 5;
            let a: Vec<f32> = (0..rows * stride).map(noise).collect();
            let b = |i: usize, j: usize| noise(7 * i + 1001 * j);
            let right = Right::new(unit, depth, columns, b);
            let out = right.padded_columns();
            let mut c = vec![0.5; rows * out];
            right.multiply(rows, &a, stride, &mut c, &mut Vec::new());
            for i in 0..rows {
                for j in 0..columns {
                    let terms = (0..depth).map(|p| f64::from(a[i * stride + p]) * f64::from(b(p, j)));
                    let (sum, size) = terms.fold((0.5, 0.5), |(sum, size), term| (sum + term, size + term.abs()));
                    let error = (f64::from(c[i * out + j]) - sum).abs();
                    assert!(error <= 3e-5 * size, "{rows} x {depth} x {columns} at {i}, {j}: {error:e} of {size:e}");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_rows_are_multiplied_with_it() {
        let Some(unit) = Unit::find() else { return };
        let (depth, columns) = (300, 40);
        let a: Vec<f32> = (0..96 * depth).map(noise).collect();
        let right = Right::new(unit, depth, columns, |i, j| noise(3 * i + 17 * j));
        let product = |rows: usize, a: &[f32]| {
            let mut c = vec![0.0; rows * right.padded_columns()];
            right.multiply(rows, a, depth, &mut c, &mut vec![Step::ZERO; 3]);
            c.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let (together, alone) = (product(96, &a), product(32, &a[32 * depth..]));
        assert_eq!(together[32 * right.padded_columns()..][..alone.len()], alone);
    }
}
