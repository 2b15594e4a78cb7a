//! Mapped bytes as rows of numbers.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "rows and columns were held against the bytes by `new`; rows out of range are the caller's error"
)]

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Dtype;
use crate::error::{Error, ErrorKind, Result};

/// The arithmetic that holds every value of a table exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Every value is a single.
    Single,
    /// Values need a double.
    Double,
}

/// A table `[V, d]` that is read a block of rows at a time: a mapped tensor, or the decoded form of an encoded one.
pub trait Rows: Sync {
    /// `(V, d)`: number of rows and of columns.
    fn shape(&self) -> (usize, usize);

    /// What the values need to be held exactly.
    fn precision(&self) -> Precision;

    /// Writes rows `rows` to `out`, row-major, `rows.len() * d` values, rounded to single where they are double.
    ///
    /// # Errors
    /// Where the rows cannot be read or decoded.
    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()>;

    /// Writes rows `rows` to `out`, row-major, `rows.len() * d` values, exactly.
    ///
    /// # Errors
    /// Where the rows cannot be read or decoded.
    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()>;

    /// Rows `rows` where they stand, row-major, if they stand in memory as singles.
    fn singles(&self, _rows: Range<usize>) -> Option<&[f32]> {
        None
    }
}

/// Writes rows `range` of `rows` to `out` as their readers get them: singles widened, unless the table needs doubles.
/// A decoded table may be computed with more digits than that when it is read as doubles.
///
/// # Errors
/// Where the rows cannot be read or decoded.
pub fn read_as_stored(rows: &dyn Rows, range: Range<usize>, out: &mut [f64]) -> Result<()> {
    if rows.precision() == Precision::Double {
        return rows.read_f64(range, out);
    }
    let mut single = vec![0.0f32; out.len()];
    rows.read_f32(range, &mut single)?;
    out.iter_mut().zip(single).for_each(|(out, value)| *out = f64::from(value));
    Ok(())
}

/// Row-major little-endian numbers in memory, at any alignment.
#[derive(Debug, Clone, Copy)]
pub struct MappedRows<'a> {
    bytes: &'a [u8],
    dtype: Dtype,
    rows: usize,
    columns: usize,
}

impl<'a> MappedRows<'a> {
    /// A table of `rows` x `columns` numbers of `dtype` in `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] unless `dtype` is a [table float](Dtype::is_table_float);
    /// [`ErrorKind::Malformed`] where the number of bytes does not fit the shape.
    pub fn new(bytes: &'a [u8], dtype: Dtype, rows: usize, columns: usize) -> Result<Self> {
        if !dtype.is_table_float() {
            return Err(Error::new(ErrorKind::Unsupported, "dtype cannot be factorized")
                .expected("F64, F32, F16 or BF16")
                .found(dtype.name()));
        }
        let expected = rows.checked_mul(columns).and_then(|n| n.checked_mul(dtype.bytes()));
        if expected != Some(bytes.len()) {
            return Err(Error::new(ErrorKind::Malformed, "length does not fit the shape")
                .expected(format!("{rows} x {columns} x {} bytes", dtype.bytes()))
                .found(format!("{} bytes", bytes.len())));
        }
        Ok(MappedRows { bytes, dtype, rows, columns })
    }

    fn slice(&self, rows: &Range<usize>) -> &'a [u8] {
        let stride = self.columns * self.dtype.bytes();
        &self.bytes[rows.start * stride..rows.end * stride]
    }
}

/// Number of halves that are converted at a time: small enough to stay in the first-level cache.
const HALVES: usize = 1024;

/// Converts little-endian 16-bit floats through `$convert` block by block, since the bytes may not be aligned.
macro_rules! read_halves {
    ($bytes:expr, $out:expr, $half:ty, $convert:ident) => {{
        let mut block = [<$half>::ZERO; HALVES];
        for (bytes, out) in $bytes.chunks(2 * HALVES).zip($out.chunks_mut(HALVES)) {
            let block = &mut block[..out.len()];
            for (half, pair) in block.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *half = <$half>::from_le_bytes(*pair);
            }
            block.$convert(out);
        }
    }};
}

impl Rows for MappedRows<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn singles(&self, rows: Range<usize>) -> Option<&[f32]> {
        let stored = self.dtype == Dtype::F32 && cfg!(target_endian = "little");
        stored.then(|| bytemuck::try_cast_slice(self.slice(&rows)).ok()).flatten()
    }

    fn precision(&self) -> Precision {
        if self.dtype == Dtype::F64 { Precision::Double } else { Precision::Single }
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let bytes = self.slice(&rows);
        assert_eq!(out.len(), rows.len() * self.columns, "output holds the rows asked for");
        match self.dtype {
            Dtype::F64 => {
                for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f64::from_le_bytes(*value) as f32;
                }
            }
            Dtype::F16 => read_halves!(bytes, out, f16, convert_to_f32_slice),
            Dtype::BF16 => {
                for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = bf16::from_le_bytes(*value).to_f32();
                }
            }
            _ => {
                for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f32::from_le_bytes(*value);
                }
            }
        }
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let bytes = self.slice(&rows);
        assert_eq!(out.len(), rows.len() * self.columns, "output holds the rows asked for");
        match self.dtype {
            Dtype::F64 => {
                for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f64::from_le_bytes(*value);
                }
            }
            Dtype::F16 => read_halves!(bytes, out, f16, convert_to_f64_slice),
            Dtype::BF16 => {
                for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = bf16::from_le_bytes(*value).to_f64();
                }
            }
            _ => {
                for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f64::from(f32::from_le_bytes(*value));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_aligned_singles_stand_in_memory_and_they_are_what_is_read() {
        let words: Vec<f32> = (0u8..13).map(|i| f32::from(i) - 0.5).collect();
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        let cases = [(0, Dtype::F32), (1, Dtype::F32), (2, Dtype::F32), (4, Dtype::F32)];
        for (offset, dtype) in cases.into_iter().chain([Dtype::F16, Dtype::BF16, Dtype::F64].map(|dtype| (0, dtype))) {
            let rows = MappedRows::new(&bytes[offset..][..2 * 3 * dtype.bytes()], dtype, 2, 3).unwrap();
            let stored = rows.singles(1..2);
            let expected = dtype == Dtype::F32 && offset % 4 == 0 && cfg!(target_endian = "little");
            assert_eq!(stored.is_some(), expected, "{dtype:?} at {offset}");
            let mut read = [0.0; 3];
            rows.read_f32(1..2, &mut read).unwrap();
            assert!(stored.is_none_or(|stored| stored == read), "{dtype:?} at {offset}");
        }
    }
}
