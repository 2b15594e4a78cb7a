//! A wide table seen from its other side.

use std::ops::Range;

use super::element::Element;
use super::frame::check_finite;
use crate::error::Result;
use crate::tensor::{Precision, Rows};

/// Rows of the table underneath that are read at a time.
const BLOCK: usize = 16;

/// The transpose of a table with fewer rows than columns, so that the Gram matrix is the smaller one. It is a copy:
/// a wide table is no larger than a square of its columns, and columns cannot be read one by one.
pub(super) struct Transposed<T> {
    values: Vec<T>,
    shape: (usize, usize),
}

impl<T: Element> Transposed<T> {
    /// Reads the whole table.
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite) with the first row and column.
    pub(super) fn read(table: &dyn Rows) -> Result<Self> {
        let (rows, columns) = table.shape();
        let mut values = vec![T::ZERO; rows * columns];
        let mut block = vec![T::ZERO; BLOCK.min(rows) * columns];
        for start in (0..rows).step_by(BLOCK) {
            let end = rows.min(start + BLOCK);
            let block = &mut block[..(end - start) * columns];
            T::read(table, start..end, block)?;
            check_finite(start, columns, block)?;
            for (row, source) in block.chunks_exact(columns).enumerate() {
                for (out, &value) in values.chunks_exact_mut(rows).zip(source) {
                    out[start + row] = value;
                }
            }
        }
        Ok(Transposed { values, shape: (columns, rows) })
    }

    fn slice(&self, rows: Range<usize>) -> &[T] {
        &self.values[rows.start * self.shape.1..rows.end * self.shape.1]
    }
}

impl<T: Element> Rows for Transposed<T> {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn precision(&self) -> Precision {
        T::PRECISION
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        out.iter_mut().zip(self.slice(rows)).for_each(|(out, value)| *out = value.double() as f32);
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        out.iter_mut().zip(self.slice(rows)).for_each(|(out, value)| *out = value.double());
        Ok(())
    }
}
