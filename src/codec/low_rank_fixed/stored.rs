//! The parts of a quantized factor pair: codes and grids to bytes, and back.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "`open` held shape and length of every part against the rank; rows out of range are the caller's error"
)]

use std::ops::Range;

use super::grid::Grid;
use crate::codec::{Part, PartSink, packed};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Dtype, Precision, Rows};

/// Writes offset and step of every grid, times `scale`, as singles.
pub(super) fn write_grids(grids: &[Grid], scale: f64, part: usize, sink: &mut dyn PartSink) -> Result<()> {
    let mut bytes = Vec::with_capacity(grids.len() * 8);
    for value in grids.iter().flat_map(|grid| [grid.offset, grid.step]) {
        let stored = (f64::from(value) * scale) as f32;
        // A number that has lost digits below the normal ones would decode to something else than was measured.
        if !stored.is_finite() || (value != 0.0 && stored.abs() < f32::MIN_POSITIVE) {
            return Err(Error::new(ErrorKind::NonFinite, "a scale leaves the range of its dtype")
                .expected("a normal F32")
                .found((f64::from(value) * scale).to_string()));
        }
        bytes.extend_from_slice(&stored.to_le_bytes());
    }
    sink.write(part, &bytes)
}

/// Writes the codes of R, `[k, d]`, transposed.
pub(super) fn write_right(codes: &[u8], rank: usize, bits: u32, sink: &mut dyn PartSink) -> Result<()> {
    let width = codes.len() / rank.max(1);
    let mut bytes = Vec::new();
    let mut row = vec![0; rank];
    for column in 0..width {
        row.iter_mut().zip(codes.iter().skip(column).step_by(width)).for_each(|(out, &code)| *out = code);
        packed::pack_row(&row, bits, &mut bytes);
    }
    sink.write(2, &bytes)
}

/// A factor `[n, k]` as rows of numbers.
pub(super) struct PackedFactor<'p> {
    bytes: &'p [u8],
    rows: usize,
    rank: usize,
    bits: u32,
    /// Of every column.
    grids: Vec<Grid>,
}

impl<'p> PackedFactor<'p> {
    /// Opens a factor of rank `rank`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where the parts do not fit the rank and the bits, or a grid is not finite.
    pub(super) fn open(codes: &Part<'p>, grids: &Part<'p>, rank: usize, bits: u32) -> Result<Self> {
        let stride = packed::row_bytes(rank, bits).ok_or_else(|| codes.misshapen("codes within memory"))?;
        let rows = codes.rows_of(Dtype::U8, stride)?;
        if rows == 0 {
            // Nothing would bound the rank, which one grid stands for as often as it says.
            return Err(codes.misshapen("at least one row"));
        }
        let count = grids.rows_of(Dtype::F32, 2)?;
        if count != 1 && count != rank {
            return Err(grids.misshapen(format!("F32 [1, 2] or F32 [{rank}, 2]")));
        }
        let values = grids.numbers([count, 2])?;
        let stored = values.as_chunks().0.iter().map(|&[offset, step]| Grid::stored(offset, step));
        let grids = stored.cycle().take(rank).collect();
        Ok(PackedFactor { bytes: codes.bytes, rows, rank, bits, grids })
    }
}

impl Rows for PackedFactor<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.rank)
    }

    fn precision(&self) -> Precision {
        Precision::Single
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let stride = self.bytes.len() / self.rows.max(1);
        let mut codes = vec![0; self.rank];
        let bytes = self.bytes[rows.start * stride..rows.end * stride].chunks_exact(stride.max(1));
        for (out, bytes) in out.chunks_exact_mut(self.rank).zip(bytes) {
            packed::unpack_row(bytes, self.bits, &mut codes);
            for ((out, &code), grid) in out.iter_mut().zip(&codes).zip(&self.grids) {
                *out = grid.value(code);
            }
        }
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let mut single = vec![0.0; out.len()];
        self.read_f32(rows, &mut single)?;
        out.iter_mut().zip(single).for_each(|(out, value)| *out = f64::from(value));
        Ok(())
    }
}
