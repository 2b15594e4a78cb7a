//! Stored codes as rows of numbers.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "`open` held shape and length of every part against the setting; rows out of range are the caller's error"
)]

use std::ops::Range;

use super::blocks::ROW_MULTIPLE;
use super::grid::Grid;
use super::scheme::{Granularity, Packing, Parts, Scheme};
use crate::codec::{Part, packed};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{InstructionSet, Work};
use crate::tensor::{Dtype, MappedRows, Precision, Rows};

/// A quantized table.
pub(super) struct Quantized<'p> {
    scheme: Scheme,
    rows: usize,
    columns: usize,
    codes: &'p [u8],
    row_bytes: usize,
    /// `[V, groups]`, or one for all.
    scales: MappedRows<'p>,
    zero_points: Option<Part<'p>>,
}

impl<'p> Quantized<'p> {
    /// Opens `parts`, which must be what `scheme` stores for a table of their size.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where one is missing, too many, or of another shape, dtype or length.
    pub(super) fn open(scheme: Scheme, parts: &[Part<'p>]) -> Result<Self> {
        let (rows, columns) = shape(&scheme, parts)?;
        // Names are whatever the caller stored the parts under.
        let wanted = scheme.parts("", (rows, columns)).unwrap_or_default();
        if parts.len() != wanted.len() {
            return Err(malformed("a fixed-point table has another number of parts")
                .expected(wanted.len().to_string())
                .found(parts.len().to_string()));
        }
        for (part, wanted) in parts.iter().zip(&wanted) {
            part.check(wanted.dtype, &wanted.shape)?;
        }
        let (scale_rows, groups) = match scheme.granularity {
            Granularity::Tensor => (1, 1),
            Granularity::Row | Granularity::Group(_) => (rows, scheme.groups(columns)),
        };
        let scales = MappedRows::new(parts[Parts::SCALES].bytes, scheme.scale_dtype, scale_rows, groups)?;
        Ok(Quantized {
            scheme,
            rows,
            columns,
            codes: parts[Parts::CODES].bytes,
            row_bytes: scheme.row_bytes(columns).unwrap_or_default(),
            scales,
            zero_points: scheme.is_affine().then(|| parts[Parts::ZERO_POINTS]),
        })
    }

    fn zero_point(&self, row: usize, group: usize, groups: usize) -> i32 {
        let Some(part) = &self.zero_points else { return 0 };
        if self.scheme.packs_zero_points(self.columns) {
            let at = 4 * (row / ROW_MULTIPLE * groups + group);
            let word = part.bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
            let nibble = word >> (4 * (row % ROW_MULTIPLE)) & 15;
            return nibble as i32 - 8;
        }
        let at = if self.scheme.granularity == Granularity::Tensor { 0 } else { row * groups + group };
        if part.meta.dtype == Dtype::I16 {
            part.bytes[2 * at..].first_chunk().map_or(0, |pair| i32::from(i16::from_le_bytes(*pair)))
        } else {
            i32::from(part.bytes[at] as i8)
        }
    }
}

/// The shape that the parts tell, without which the codes of a packed row cannot be counted. Codes of no rows would fit
/// any number of columns.
fn shape(scheme: &Scheme, parts: &[Part<'_>]) -> Result<(usize, usize)> {
    let codes = parts.first().ok_or_else(|| malformed("a fixed-point table has no parts"))?;
    if codes.meta.dtype == Dtype::I8 {
        let shape = codes.meta.matrix().filter(|&(_, columns)| scheme.packing(columns) == Packing::Bytes);
        return shape.ok_or_else(|| malformed("codes of a byte are not those of the setting").tensor(&codes.meta.name));
    }
    let last = parts.last().filter(|part| part.meta.dtype == Dtype::I64 && part.meta.shape == [2]);
    let extents = last.and_then(|part| {
        let (extents, rest) = part.bytes.as_chunks::<8>();
        let extent = |at: usize| usize::try_from(i64::from_le_bytes(*extents.get(at)?)).ok();
        rest.is_empty().then_some(())?;
        Some((extent(0)?, extent(1)?))
    });
    extents.filter(|&(rows, _)| rows > 0).ok_or_else(|| {
        malformed("the shape of a packed table is missing or has no rows")
            .expected("a last part I64 [2] of whole numbers, rows and columns, the first at least 1")
    })
}

fn malformed(summary: &str) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

impl Rows for Quantized<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn precision(&self) -> Precision {
        Precision::Single
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        assert_eq!(out.len(), rows.len() * self.columns, "output holds the rows asked for");
        let groups = self.scheme.groups(self.columns);
        let width = self.scheme.group_columns(self.columns);
        let tensor = self.scheme.granularity == Granularity::Tensor;
        // The stored byte is signed, the others count from the least code.
        let flip = if self.scheme.packing(self.columns) == Packing::Bytes { 0x80 } else { 0 };
        let set = InstructionSet::best();
        let mut codes = vec![0u16; self.columns];
        let mut scales = vec![0.0f32; if tensor { 1 } else { groups }];
        for (row, out) in rows.zip(out.chunks_exact_mut(self.columns.max(1))) {
            let bytes = &self.codes[row * self.row_bytes..(row + 1) * self.row_bytes];
            packed::unpack_row(bytes, self.scheme.bits, &mut codes);
            let at = if tensor { 0 } else { row };
            self.scales.read_f32(at..at + 1, &mut scales)?;
            for (group, (out, codes)) in out.chunks_mut(width).zip(codes.chunks(width)).enumerate() {
                let zero_point = self.zero_point(row, group, groups);
                let grid = Grid::stored(f64::from(scales[group]), zero_point, &self.scheme);
                set.run(Dequantize { grid, codes, flip, out });
            }
        }
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let mut single = vec![0.0f32; out.len()];
        self.read_f32(rows, &mut single)?;
        out.iter_mut().zip(single).for_each(|(out, value)| *out = f64::from(value));
        Ok(())
    }
}

/// See [`Grid::dequantize`].
pub(super) struct Dequantize<'a> {
    pub(super) grid: Grid,
    pub(super) codes: &'a [u16],
    pub(super) flip: u16,
    pub(super) out: &'a mut [f32],
}

impl Work for Dequantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.grid.dequantize(self.codes, self.flip, self.out);
    }
}

/// The bytes of `weight_shape`.
pub(super) fn store_shape(rows: usize, columns: usize) -> Vec<u8> {
    [rows as i64, columns as i64].into_iter().flat_map(i64::to_le_bytes).collect()
}
