//! The elements of a tensor as a file stores them: in any order, in either byte order; gathered on reading.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a loop over every element: places follow from extents and strides that were checked against the bytes"
)]

use std::borrow::Cow;
use std::ops::Range;

use crate::error::Result;
use crate::tensor::{MappedRows, Precision, Rows, TensorMeta};

/// Bytes that are gathered at a time.
const PIECE: usize = 1 << 20;

/// How the elements of a tensor lie in the bytes that hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrangement {
    /// Bytes from one element to the next along each dimension; `None` where they are packed, row-major.
    strides: Option<Vec<usize>>,
    /// Whether they are big-endian.
    big_endian: bool,
}

/// A tensor of whole-byte elements and the bytes that hold it, the first element first. That every element lies
/// inside the bytes was checked when the header was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elements<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) meta: &'a TensorMeta,
    pub(crate) arrangement: &'a Arrangement,
}

impl Arrangement {
    /// Elements `strides` bytes apart.
    pub(crate) fn new(meta: &TensorMeta, strides: Vec<usize>, big_endian: bool) -> Self {
        let packed = is_packed(&meta.shape, &strides, meta.dtype.bytes());
        Arrangement { strides: (!packed).then_some(strides), big_endian: big_endian && meta.dtype.bytes() > 1 }
    }

    /// Whether the bytes are the packed, row-major, little-endian elements.
    pub(crate) fn is_plain(&self) -> bool {
        self.strides.is_none() && !self.big_endian
    }
}

/// Whether the elements follow each other in row-major order. The stride of a dimension of extent 1 says nothing.
fn is_packed(shape: &[usize], strides: &[usize], width: usize) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = Some(width);
    shape.iter().zip(strides).rev().filter(|&(&extent, _)| extent != 1).all(|(&extent, &stride)| {
        let fits = expected == Some(stride);
        expected = stride.checked_mul(extent);
        fits
    })
}

/// Strides in bytes of packed elements, the last dimension fastest.
pub(crate) fn row_major(shape: &[usize], width: usize) -> Vec<usize> {
    let mut strides = vec![width; shape.len()];
    for dimension in (1..shape.len()).rev() {
        strides[dimension - 1] = strides[dimension].saturating_mul(shape[dimension]);
    }
    strides
}

/// Strides in bytes of packed elements, the first dimension fastest.
pub(crate) fn column_major(shape: &[usize], width: usize) -> Vec<usize> {
    let mut strides = vec![width; shape.len()];
    for dimension in 1..shape.len() {
        strides[dimension] = strides[dimension - 1].saturating_mul(shape[dimension - 1]);
    }
    strides
}

impl<'a> Elements<'a> {
    /// All elements, packed, row-major, little-endian.
    pub(crate) fn packed(self) -> Cow<'a, [u8]> {
        if self.arrangement.is_plain() {
            return Cow::Borrowed(self.bytes);
        }
        let mut out = vec![0; self.count() * self.meta.dtype.bytes()];
        self.gather(0, &mut out);
        Cow::Owned(out)
    }

    /// All elements in order, in pieces.
    pub(crate) fn stream(self, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.arrangement.is_plain() {
            return take(self.bytes);
        }
        let width = self.meta.dtype.bytes();
        let count = self.count();
        let mut piece = vec![0; PIECE.min(count * width)];
        let step = PIECE / width;
        for start in (0..count).step_by(step) {
            let piece = &mut piece[..step.min(count - start) * width];
            self.gather(start, piece);
            take(piece)?;
        }
        Ok(())
    }

    /// The rows of a matrix.
    pub(crate) fn rows(self) -> Result<Box<dyn Rows + 'a>> {
        let (rows, columns) = super::matrix(self.meta)?;
        if self.arrangement.is_plain() {
            return Ok(Box::new(MappedRows::new(self.bytes, self.meta.dtype, rows, columns)?));
        }
        // Refuses a dtype that is no table's.
        MappedRows::new(&[], self.meta.dtype, 0, columns)?;
        Ok(Box::new(GatheredRows { elements: self, rows, columns }))
    }

    fn count(&self) -> usize {
        self.meta.shape.iter().product()
    }

    /// Fills `out` with the elements from number `start` on in row-major order, little-endian.
    fn gather(&self, start: usize, out: &mut [u8]) {
        match self.meta.dtype.bytes() {
            1 => self.gather_wide::<1>(start, out),
            2 => self.gather_wide::<2>(start, out),
            4 => self.gather_wide::<4>(start, out),
            _ => self.gather_wide::<8>(start, out),
        }
    }

    fn gather_wide<const WIDTH: usize>(&self, start: usize, out: &mut [u8]) {
        let (out, _) = out.as_chunks_mut::<WIDTH>();
        let shape = &self.meta.shape;
        let packed;
        let strides = match &self.arrangement.strides {
            Some(strides) => strides,
            None => {
                packed = row_major(shape, WIDTH);
                &packed
            }
        };
        let (&inner, outer) = shape.split_last().unwrap_or((&1, &[]));
        let inner_stride = strides.last().copied().unwrap_or(WIDTH);
        let mut position = start;
        let mut done = 0;
        while done < out.len() {
            let column = position % inner;
            let mut row = position / inner;
            let mut offset = column * inner_stride;
            for (&extent, &stride) in outer.iter().zip(strides).rev() {
                offset += row % extent * stride;
                row /= extent;
            }
            let run = (inner - column).min(out.len() - done);
            for (number, element) in out[done..done + run].iter_mut().enumerate() {
                let place = offset + number * inner_stride;
                element.copy_from_slice(&self.bytes[place..place + WIDTH]);
            }
            done += run;
            position += run;
        }
        if self.arrangement.big_endian {
            // A complex number is two singles, each in its own byte order.
            let part = if self.meta.dtype == crate::tensor::Dtype::C64 { WIDTH / 2 } else { WIDTH };
            out.as_flattened_mut().chunks_exact_mut(part.max(1)).for_each(<[u8]>::reverse);
        }
    }
}

/// A matrix whose rows are gathered when they are asked for.
struct GatheredRows<'a> {
    elements: Elements<'a>,
    rows: usize,
    columns: usize,
}

impl GatheredRows<'_> {
    fn with_rows<T>(
        &self,
        rows: &Range<usize>,
        read: impl FnOnce(&MappedRows<'_>, Range<usize>) -> Result<T>,
    ) -> Result<T> {
        let dtype = self.elements.meta.dtype;
        let mut bytes = vec![0; rows.len() * self.columns * dtype.bytes()];
        self.elements.gather(rows.start * self.columns, &mut bytes);
        read(&MappedRows::new(&bytes, dtype, rows.len(), self.columns)?, 0..rows.len())
    }
}

impl Rows for GatheredRows<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn precision(&self) -> Precision {
        if self.elements.meta.dtype == crate::tensor::Dtype::F64 { Precision::Double } else { Precision::Single }
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.with_rows(&rows, |mapped, all| mapped.read_f32(all, out))
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        self.with_rows(&rows, |mapped, all| mapped.read_f64(all, out))
    }
}
