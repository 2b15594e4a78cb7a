//! Elements that are stored as numbers of variable length: halves and small integers of models written by hand.

use std::ops::Range;

use super::initializer::STRIDE;
use super::wire::varint;
use crate::error::Result;
use crate::tensor::{MappedRows, Precision, Rows, TensorMeta};

/// Elements in pieces of a file.
pub(super) struct Varints<'f> {
    pub(super) file: &'f [u8],
    pub(super) meta: &'f TensorMeta,
    pub(super) pieces: &'f [Range<usize>],
    /// Piece and place of every [`STRIDE`]th element.
    pub(super) places: &'f [(usize, usize)],
}

impl Varints<'_> {
    /// Appends the elements of `range`, packed, to `out`.
    ///
    /// # Errors
    /// Where the file has changed since it was opened.
    pub(super) fn decode(&self, range: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        let width = self.meta.dtype.bytes();
        let Some(&(mut piece, mut at)) = self.places.get(range.start / STRIDE) else { return Ok(()) };
        let mut skip = range.start % STRIDE;
        let mut left = range.len();
        while left > 0 {
            let Some(end) = self.pieces.get(piece).map(|piece| piece.end) else { break };
            if at >= end {
                piece = piece.saturating_add(1);
                at = self.pieces.get(piece).map_or(0, |next| next.start);
                continue;
            }
            let value = varint(self.file.get(..end).unwrap_or_default(), &mut at)?;
            if let Some(fewer) = skip.checked_sub(1) {
                skip = fewer;
                continue;
            }
            // Negative numbers are ten bytes long; the low ones are theirs in two's complement.
            out.extend(value.to_le_bytes().into_iter().take(width));
            left = left.saturating_sub(1);
        }
        Ok(())
    }

    #[expect(clippy::arithmetic_side_effects, reason = "rows are those of a matrix whose bytes were counted")]
    fn packed_rows(&self, rows: &Range<usize>) -> Result<Vec<u8>> {
        let columns = self.shape().1;
        let mut bytes = Vec::with_capacity(rows.len() * columns * self.meta.dtype.bytes());
        self.decode(rows.start * columns..rows.end * columns, &mut bytes)?;
        Ok(bytes)
    }
}

impl Rows for Varints<'_> {
    fn shape(&self) -> (usize, usize) {
        self.meta.matrix().unwrap_or_default()
    }

    fn precision(&self) -> Precision {
        Precision::Single
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let bytes = self.packed_rows(&rows)?;
        MappedRows::new(&bytes, self.meta.dtype, rows.len(), self.shape().1)?.read_f32(0..rows.len(), out)
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let bytes = self.packed_rows(&rows)?;
        MappedRows::new(&bytes, self.meta.dtype, rows.len(), self.shape().1)?.read_f64(0..rows.len(), out)
    }
}
