//! The parts of an encoded table, checked as they are read.

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Dtype, MappedRows, Rows, TensorMeta};

/// A stored part of an encoded table.
#[derive(Debug, Clone, Copy)]
pub struct Part<'p> {
    /// Name, dtype, shape.
    pub meta: &'p TensorMeta,
    /// The elements: packed, row-major, little-endian.
    pub bytes: &'p [u8],
}

impl<'p> Part<'p> {
    /// What a part says that should have been `expected`.
    pub(super) fn misshapen(&self, expected: impl ToString) -> Error {
        Error::new(ErrorKind::Malformed, "a part of an encoded table has another dtype, shape or length")
            .tensor(&self.meta.name)
            .expected(expected.to_string())
            .found(format!("{} {:?} in {} bytes", self.meta.dtype, self.meta.shape, self.bytes.len()))
    }

    /// Refuses a part that is not of this dtype and shape, or has another number of bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`].
    pub(super) fn check(&self, dtype: Dtype, shape: &[usize]) -> Result<()> {
        let wanted = TensorMeta { name: String::new(), dtype, shape: shape.to_vec() };
        let same = (self.meta.dtype, self.meta.shape.as_slice()) == (dtype, shape);
        if same && wanted.bytes() == Some(self.bytes.len() as u64) {
            return Ok(());
        }
        Err(self.misshapen(format!("{dtype} {shape:?}")))
    }

    /// The number of rows of a part `[_, columns]` of this dtype.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where it is another, or has another number of bytes.
    pub(super) fn rows_of(&self, dtype: Dtype, columns: usize) -> Result<usize> {
        match self.meta.matrix() {
            Some((rows, found)) if found == columns => self.check(dtype, &[rows, columns]).map(|()| rows),
            _ => Err(self.misshapen(format!("{dtype} [_, {columns}]"))),
        }
    }

    /// The rows of a part `[_, columns]` of floats.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where it is another, or has another number of bytes.
    pub(super) fn floats(&self, columns: usize) -> Result<MappedRows<'p>> {
        let shape = self.meta.matrix().filter(|&(_, found)| found == columns);
        let (rows, columns) = shape.ok_or_else(|| self.misshapen(format!("[_, {columns}]")))?;
        MappedRows::new(self.bytes, self.meta.dtype, rows, columns).map_err(|error| error.tensor(&self.meta.name))
    }

    /// The numbers of a part of floats of this shape.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where it is another, has another number of bytes, or a number that is not finite.
    #[expect(clippy::arithmetic_side_effects, reason = "`floats` held the product against the bytes")]
    pub(super) fn numbers(&self, shape: [usize; 2]) -> Result<Vec<f32>> {
        let [rows, columns] = shape;
        if self.meta.shape != shape {
            return Err(self.misshapen(format!("{shape:?}")));
        }
        // Which also tells that as many numbers are there.
        let mapped = self.floats(columns)?;
        let mut values = vec![0.0; rows * columns];
        mapped.read_f32(0..rows, &mut values)?;
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(values),
            Some(value) => Err(Error::new(ErrorKind::Malformed, "a part has a number that is not finite")
                .tensor(&self.meta.name)
                .expected("finite numbers")
                .found(value.to_string())),
        }
    }
}
