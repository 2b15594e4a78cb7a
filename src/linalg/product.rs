//! The product of a stored factor pair, row by row.

use std::ops::Range;

use super::element::Element;
use super::kernel::{Kernel, TILE_ROWS};
use super::panels::{Panels, padded};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Precision, Rows};

/// Rows of B transposed that are read at a time.
const RIGHT_ROWS: usize = 64;

/// `A B`, from A `[V, k]` and B transposed `[d, k]`, computed where rows are read: as singles in singles, as a loader
/// of the pair does, and as doubles in doubles.
///
/// A row has the same bits whichever rows are read with it.
pub struct Product<L> {
    left: L,
    precision: Precision,
    single: Panels<f32>,
    double: Panels<f64>,
    columns: usize,
}

impl<L: Rows> Product<L> {
    /// The product of `left`, A `[V, k]`, and `right`, B transposed `[d, k]`. B is held in memory, A is not.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where the ranks differ; what reading `right` reports.
    pub fn new(left: L, right: &dyn Rows) -> Result<Self> {
        let ((_, rank), (columns, found)) = (left.shape(), right.shape());
        if rank != found {
            return Err(Error::new(ErrorKind::Malformed, "the factors are not of one rank")
                .expected(format!("[_, {rank}]"))
                .found(format!("[_, {found}]")));
        }
        let single = left.precision() == Precision::Single && right.precision() == Precision::Single;
        let precision = if single { Precision::Single } else { Precision::Double };
        Ok(Product { left, precision, single: panels(right)?, double: panels(right)?, columns })
    }

    fn multiply<T: Element>(&self, panels: &Panels<T>, rows: Range<usize>, put: impl FnMut(&[T])) -> Result<()> {
        let rank = self.left.shape().1;
        let count = rows.len();
        let height = padded(count, TILE_ROWS);
        let mut left = vec![T::ZERO; height * rank];
        T::read(&self.left, rows, &mut left[..count * rank])?;
        let width = panels.padded_columns();
        let mut product = vec![T::ZERO; height * width];
        panels.multiply(Kernel::best(), height, &left, rank, &mut product);
        product.chunks_exact(width.max(1)).take(count).map(|row| &row[..self.columns]).for_each(put);
        Ok(())
    }
}

/// B from its transposed form `[d, k]`.
pub(super) fn panels<T: Element>(right: &dyn Rows) -> Result<Panels<T>> {
    let (columns, rank) = right.shape();
    let mut panels = Panels::zeros(rank, columns);
    let mut block = vec![T::ZERO; RIGHT_ROWS.min(columns) * rank];
    for start in (0..columns).step_by(RIGHT_ROWS) {
        let end = columns.min(start + RIGHT_ROWS);
        let block = &mut block[..(end - start) * rank];
        T::read(right, start..end, block)?;
        for (column, row) in block.chunks_exact(rank.max(1)).enumerate() {
            panels.set_column(start + column, row.iter().copied());
        }
    }
    Ok(panels)
}

impl<L: Rows> Rows for Product<L> {
    fn shape(&self) -> (usize, usize) {
        (self.left.shape().0, self.columns)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let mut out = out.chunks_exact_mut(self.columns.max(1));
        match self.precision {
            Precision::Single => self.multiply(&self.single, rows, |row| {
                out.next().into_iter().for_each(|out| out.copy_from_slice(row));
            }),
            Precision::Double => self.multiply(&self.double, rows, |row| {
                out.next().into_iter().flatten().zip(row).for_each(|(out, &value)| *out = value as f32);
            }),
        }
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let mut out = out.chunks_exact_mut(self.columns.max(1));
        self.multiply(&self.double, rows, |row| out.next().into_iter().for_each(|out| out.copy_from_slice(row)))
    }
}
