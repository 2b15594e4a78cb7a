//! The right operand of a product, laid out for the instructions that compute it.

use super::amx::{self, SIDE, Step};
use super::element::Element;
use super::kernel::Kernel;
use super::panels::Panels;
use super::products::Products;
use crate::tensor::Precision;

/// A matrix `[depth, columns]`.
pub(super) enum Operand<T> {
    /// For the vector instructions.
    Panels(Panels<T>),
    /// For the matrix unit.
    Steps(amx::Right),
}

/// Rows that products are computed of are a multiple of this.
pub(super) const ROWS: usize = SIDE;

/// Room for what is computed of the left operand.
pub(super) type Scratch = Vec<Step>;

impl<T: Element> Operand<T> {
    /// The matrix in `panels`, for `products` where they are of singles.
    pub(super) fn new(panels: Panels<T>, products: Products) -> Self {
        match products.unit() {
            Some(unit) if T::PRECISION == Precision::Single => {
                let (depth, columns) = (panels.depth(), panels.columns());
                let value = |row, column| panels.get(row, column).double() as f32;
                Operand::Steps(amx::Right::new(unit, depth, columns, value))
            }
            _ => Operand::Panels(panels),
        }
    }

    /// Rows.
    pub(super) fn depth(&self) -> usize {
        match self {
            Operand::Panels(panels) => panels.depth(),
            Operand::Steps(right) => right.depth(),
        }
    }

    /// Distance of the rows that [`Operand::multiply`] writes; what is beyond the columns means nothing.
    pub(super) fn padded_columns(&self) -> usize {
        match self {
            Operand::Panels(panels) => panels.padded_columns(),
            Operand::Steps(right) => right.padded_columns(),
        }
    }

    /// `c += a * self`, with `a` of `[rows, depth]` row-major at distance `stride`, `c` of `[rows, padded_columns]`; `rows`
    /// is a multiple of [`ROWS`].
    pub(super) fn multiply(&self, rows: usize, a: &[T], stride: usize, c: &mut [T], scratch: &mut Scratch) {
        match self {
            Operand::Panels(panels) => panels.multiply(Kernel::best(), rows, a, stride, c),
            Operand::Steps(right) => right.multiply(rows, T::singles(a), stride, T::singles_mut(c), scratch),
        }
    }
}
