//! The parts of a quantized factor pair: codes and grids to bytes, and back.

use std::ops::Range;

use super::grid::Grid;
use crate::codec::{Part, PartSink, packed};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Dtype, MappedRows, Precision, Rows};

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
        let malformed = |part: &Part<'_>, expected: String| {
            Error::new(ErrorKind::Malformed, "a part of a quantized factor has another dtype or shape")
                .tensor(&part.meta.name)
                .expected(expected)
                .found(format!("{} {:?} in {} bytes", part.meta.dtype, part.meta.shape, part.bytes.len()))
        };
        let stride = packed::row_bytes(rank, bits);
        let rows = codes.meta.matrix().filter(|&(rows, columns)| {
            codes.meta.dtype == Dtype::U8
                && Some(columns) == stride
                && rows.checked_mul(columns) == Some(codes.bytes.len())
        });
        let Some((rows, _)) = rows else {
            return Err(malformed(codes, format!("U8 [_, {}]", stride.unwrap_or(usize::MAX))));
        };
        let count = grids.meta.matrix().filter(|&(count, columns)| {
            grids.meta.dtype == Dtype::F32 && columns == 2 && (count == 1 || count == rank)
        });
        let Some((count, _)) = count else {
            return Err(malformed(grids, format!("F32 [1, 2] or F32 [{rank}, 2]")));
        };
        let mut values = vec![0.0f32; count * 2];
        MappedRows::new(grids.bytes, Dtype::F32, count, 2)
            .and_then(|grids| grids.read_f32(0..count, &mut values))
            .map_err(|error| error.tensor(&grids.meta.name))?;
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::new(ErrorKind::Malformed, "an offset or a step is not finite")
                .tensor(&grids.meta.name)
                .found(value.to_string()));
        }
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
