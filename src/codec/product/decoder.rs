//! Indices back to rows.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "`open` held shape and length of every part against the setting; a norm code is a byte of 256 levels; rows out of range are the caller's error"
)]

use std::ops::Range;

use super::training::look_up;
use super::{NORM_LEVELS, Setup};
use crate::codec::{Part, packed};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::Map;
use crate::tensor::{Dtype, Precision, Rows};

/// What indices stand for, as it is stored.
pub(super) struct Books {
    /// `[16 or 256, d]`.
    pub(super) table: Vec<f32>,
    pub(super) splits: Vec<Range<usize>>,
    pub(super) width: usize,
    /// From rotated rows to rows: the transpose of the rotation.
    pub(super) back: Option<Map>,
    /// What norm codes stand for.
    pub(super) levels: Option<Vec<f32>>,
}

impl Books {
    /// Writes the rows of some indices, `[n, m]`, and norm codes.
    pub(super) fn decode(&self, codes: &[u8], norms: &[u8], out: &mut [f32]) {
        match &self.back {
            None => look_up(&self.table, &self.splits, codes, out, self.width),
            Some(back) => {
                let mut rotated = vec![0.0; out.len()];
                look_up(&self.table, &self.splits, codes, &mut rotated, self.width);
                back.apply(&rotated, out);
            }
        }
        if let Some(levels) = &self.levels {
            for (row, &code) in out.chunks_exact_mut(self.width.max(1)).zip(norms) {
                let norm = levels[usize::from(code)];
                row.iter_mut().for_each(|value| *value *= norm);
            }
        }
    }
}

/// The map that undoes a rotation, `[d, d]` row-major.
pub(super) fn back(rotation: &[f32], width: usize) -> Map {
    Map::new(width, width, |row, column| f64::from(rotation[column * width + row]))
}

/// An encoded table.
pub(super) struct Decoder<'p> {
    indices: &'p [u8],
    norms: &'p [u8],
    rows: usize,
    stride: usize,
    bits: u32,
    books: Books,
}

impl<'p> Decoder<'p> {
    /// Opens the parts of a table.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where they do not fit each other or the setting, or a number is not finite.
    pub(super) fn open(setup: &Setup, parts: &[Part<'p>]) -> Result<Self> {
        let expected = 2 + usize::from(setup.rotation) + 2 * usize::from(setup.norms);
        if parts.len() != expected {
            return Err(Error::new(ErrorKind::Malformed, "a product quantization has another number of parts")
                .expected(format!("{expected} parts"))
                .found(parts.len().to_string()));
        }
        let mut parts = parts.iter();
        let mut next = || parts.next().ok_or_else(|| Error::new(ErrorKind::Malformed, "a part is missing"));
        let indices = next()?;
        let stride = packed::row_bytes(setup.pieces, setup.bits);
        let stride = stride.ok_or_else(|| indices.misshapen("indices within memory"))?;
        let rows = indices.rows_of(Dtype::U8, stride)?;
        let codebooks = next()?;
        let width = match codebooks.meta.matrix() {
            Some((count, width)) if count == setup.count() && width >= setup.pieces => width,
            _ => return Err(codebooks.misshapen(format!("[{}, at least {}]", setup.count(), setup.pieces))),
        };
        let table = codebooks.numbers([setup.count(), width])?;
        let rotation = if setup.rotation { Some(next()?.numbers([width, width])?) } else { None };
        let (norms, levels): (&[u8], _) = if setup.norms {
            let codes = next()?;
            codes.check(Dtype::U8, &[rows, 1])?;
            (codes.bytes, Some(next()?.numbers([NORM_LEVELS, 1])?))
        } else {
            (&[], None)
        };
        let back = rotation.map(|rotation| back(&rotation, width));
        Ok(Decoder {
            indices: indices.bytes,
            norms,
            rows,
            stride,
            bits: setup.bits,
            books: Books { table, splits: setup.splits(width), width, back, levels },
        })
    }
}

impl Rows for Decoder<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.books.width)
    }

    fn precision(&self) -> Precision {
        Precision::Single
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let pieces = self.books.splits.len();
        let mut codes = vec![0; rows.len() * pieces];
        let bytes = self.indices[rows.start * self.stride..rows.end * self.stride].chunks_exact(self.stride);
        codes.chunks_exact_mut(pieces).zip(bytes).for_each(|(codes, row)| packed::unpack_row(row, self.bits, codes));
        let norms = self.norms.get(rows).unwrap_or_default();
        self.books.decode(&codes, norms, out);
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let mut single = vec![0.0; out.len()];
        self.read_f32(rows, &mut single)?;
        out.iter_mut().zip(single).for_each(|(out, value)| *out = f64::from(value));
        Ok(())
    }
}
