//! What the encodings of word vectors have in common: a table over the bytes of a file, and the words of its rows.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Precision, Rows};

/// A table of singles whose place in a file is known.
pub(super) trait Table: Send + Sync {
    /// `(V, d)`.
    fn shape(&self) -> (usize, usize);

    /// Decodes rows `rows` of `file` to `out`, row-major.
    fn read(&self, file: &[u8], rows: Range<usize>, out: &mut [f32]) -> Result<()>;

    /// Calls `take` with the word of each of `rows`, in order.
    fn words(&self, file: &[u8], rows: Range<usize>, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// A table with the file that it is in.
pub(super) struct TableRows<'a> {
    pub(super) table: Box<dyn Table + 'a>,
    pub(super) file: &'a [u8],
}

impl Rows for TableRows<'_> {
    fn shape(&self) -> (usize, usize) {
        self.table.shape()
    }

    fn precision(&self) -> Precision {
        Precision::Single
    }

    #[expect(clippy::arithmetic_side_effects, reason = "the product is the length of a slice that the caller made")]
    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        assert_eq!(out.len(), rows.len() * self.shape().1, "output holds the rows asked for");
        self.table.read(self.file, rows, out)
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let mut singles = vec![0.0f32; out.len()];
        self.read_f32(rows, &mut singles)?;
        for (out, single) in out.iter_mut().zip(singles) {
            *out = f64::from(single);
        }
        Ok(())
    }
}

pub(super) fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}
