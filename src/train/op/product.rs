//! Products of row-major matrices on the calling thread alone, with the kernels of [`crate::linalg`].
//!
//! Batches make many products with one right operand, one for each step of a recurrence: it is packed once. A general
//! routine packs in each call, and in products of some fifty rows that takes as long as the product.

use crate::linalg::{Kernel, Panels};

pub(super) use crate::linalg::TILE_ROWS;

/// A left operand in memory as it is.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    values: &'a [f32],
    /// Distances between neighbouring rows and columns.
    row: usize,
    step: usize,
}

impl<'a> Left<'a> {
    /// A row-major matrix `[_, columns]`.
    pub(super) fn new(values: &'a [f32], columns: usize) -> Self {
        Left { values, row: columns, step: 1 }
    }

    /// The transpose of a row-major matrix `[_, columns]`.
    pub(super) fn transposed(values: &'a [f32], columns: usize) -> Self {
        Left { values, row: 1, step: columns }
    }
}

/// A right operand, packed.
pub(super) struct Right {
    panels: Panels<f32>,
    columns: usize,
}

impl Right {
    /// A row-major matrix `[depth, columns]`.
    pub(super) fn new(values: &[f32], depth: usize, columns: usize) -> Self {
        Right { panels: Panels::copied(values, depth, columns), columns }
    }

    /// The transpose of a row-major matrix `[columns, depth]`.
    pub(super) fn transposed(values: &[f32], columns: usize, depth: usize) -> Self {
        Right { panels: Panels::transposed(values, columns, depth), columns }
    }

    /// Distance of the rows of a product.
    pub(super) fn stride(&self) -> usize {
        self.panels.padded_columns()
    }
}

/// Adds the first `rows` rows of `left` times `right` to `out`, whose rows are [`Right::stride`] apart. Both have rows for
/// whole tiles: those of `out` beyond the last may be added to, too.
pub(super) fn add(out: &mut [f32], left: Left<'_>, rows: usize, right: &Right) {
    right.panels.multiply_strided(Kernel::best(), rows, left.values, (left.row, left.step), out);
}

/// A product, in memory that serves again.
#[derive(Default)]
pub(super) struct Product {
    values: Vec<f32>,
    /// A tile of rows that the left operand lacks whole.
    tile: Vec<f32>,
    stride: usize,
    columns: usize,
    rows: usize,
}

impl Product {
    /// The first `rows` rows of `left` times `right`.
    pub(super) fn of(left: Left<'_>, rows: usize, right: &Right) -> Self {
        let mut product = Product::default();
        product.compute(None, left, rows, right);
        product
    }

    /// Likewise, plus `bias` on each row, in place of what was computed before.
    pub(super) fn compute(&mut self, bias: Option<&[f32]>, left: Left<'_>, rows: usize, right: &Right) {
        let (kernel, depth) = (Kernel::best(), right.panels.depth());
        (self.rows, self.columns, self.stride) = (rows, right.columns, right.panels.padded_columns());
        self.values.clear();
        self.values.resize(rows.next_multiple_of(TILE_ROWS) * self.stride, 0.0);
        if let Some(bias) = bias {
            let rows = self.values.chunks_exact_mut(self.stride.max(1));
            rows.for_each(|row| row[..bias.len()].copy_from_slice(bias));
        }
        let whole = rows - rows % TILE_ROWS;
        right.panels.multiply_strided(kernel, whole, left.values, (left.row, left.step), &mut self.values);
        if whole < rows {
            // The kernel reads whole tiles, and so beyond the operand's end.
            self.tile.clear();
            self.tile.resize(TILE_ROWS * depth, 0.0);
            for (row, out) in (whole..rows).zip(self.tile.chunks_exact_mut(depth.max(1))) {
                let values = left.values[row * left.row..].iter().step_by(left.step);
                out.iter_mut().zip(values).for_each(|(out, &value)| *out = value);
            }
            let out = &mut self.values[whole * self.stride..];
            right.panels.multiply_strided(kernel, rows - whole, &self.tile, (depth, 1), out);
        }
    }

    /// Its rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.stride.max(1)).take(self.rows).map(|row| &row[..self.columns])
    }

    /// One of its rows.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.columns]
    }

    /// Its numbers, row-major without gaps.
    pub(super) fn into_values(self) -> Vec<f32> {
        if self.stride == self.columns {
            let mut values = self.values;
            values.truncate(self.rows * self.columns);
            return values;
        }
        self.rows().flatten().copied().collect()
    }

    /// The numbers of its transpose, row-major.
    pub(super) fn transposed_values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.columns];
        for (i, row) in self.rows().enumerate() {
            values.iter_mut().skip(i).step_by(self.rows).zip(row).for_each(|(out, &value)| *out = value);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// A matrix, by row and column.
    type Entries<'a> = &'a dyn Fn(usize, usize) -> f32;

    /// Entry by entry, in doubles.
    fn reference(left: Entries<'_>, right: Entries<'_>, depth: usize) -> impl Fn(usize, usize) -> f64 {
        move |i, j| (0..depth).map(|p| f64::from(left(i, p)) * f64::from(right(p, j))).sum()
    }

    #[test]
    fn products_of_all_layouts_are_those_of_the_definition() {
        let mut random = Random::new(3);
        for (rows, depth, columns) in
            [(1, 1, 1), (7, 3, 5), (8, 150, 48), (50, 150, 600), (50, 600, 150), (13, 257, 49)]
        {
            let mut draw = |count: usize| (0..count).map(|_| random.uniform() as f32 - 0.5).collect::<Vec<_>>();
            let (a, b) = (draw(rows * depth), draw(depth * columns));
            let lefts: [(Left<'_>, Entries<'_>); 2] = [
                (Left::new(&a, depth), &|i, p| a[i * depth + p]),
                (Left::transposed(&a, rows), &|i, p| a[p * rows + i]),
            ];
            let rights: [(Right, Entries<'_>); 2] = [
                (Right::new(&b, depth, columns), &|p, j| b[p * columns + j]),
                (Right::transposed(&b, columns, depth), &|p, j| b[j * depth + p]),
            ];
            for (left, at_left) in lefts {
                for (right, at_right) in &rights {
                    let expected = reference(at_left, at_right, depth);
                    let product = Product::of(left, rows, right);
                    let transposed = product.transposed_values();
                    for (i, row) in product.rows().enumerate() {
                        for (j, &found) in row.iter().enumerate() {
                            let expected = expected(i, j);
                            assert!(
                                (f64::from(found) - expected).abs() < 1e-4,
                                "{rows} {depth} {columns}: {found} {expected}"
                            );
                            assert_eq!((product.row(i)[j], transposed[j * rows + i]), (found, found));
                        }
                    }
                    assert_eq!(product.rows().count(), rows);
                    assert_eq!(product.into_values().len(), rows * columns);
                }
            }
        }
    }
}
