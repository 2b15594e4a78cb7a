//! Matrices of a model: singles, or codes of a product quantizer.
//!
//! Jegou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", 2011: a row is cut into pieces, and each
//! piece is the number of one of 256 centroids; fastText may store the norms of the rows apart, quantized likewise.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "rows, columns and pieces were held against the bytes by `read`, and a row is one of the matrix by contract"
)]

use std::ops::Range;

use super::super::table::malformed;
use super::cursor::Cursor;
use crate::error::Result;

/// Centroids of a piece.
const CENTROIDS: usize = 256;

pub(in super::super) struct Matrix {
    rows: usize,
    columns: usize,
    storage: Storage,
}

enum Storage {
    Dense(Range<usize>),
    Quantized { codes: Range<usize>, quantizer: Quantizer, norms: Option<Norms> },
}

struct Quantizer {
    pieces: usize,
    /// Numbers of a piece; the last may have fewer.
    width: usize,
    last_width: usize,
    centroids: Range<usize>,
}

struct Norms {
    codes: Range<usize>,
    centroids: Range<usize>,
}

impl Matrix {
    /// Finds the parts of the matrix that begins at `cursor`; `what` names it in errors.
    pub(super) fn read(cursor: &mut Cursor<'_>, quantized: bool, what: &str) -> Result<Self> {
        let what = format!("the {what} matrix");
        let with_norms = quantized && cursor.flag(&format!("whether {what} has norms"))?;
        let rows = cursor.long_count(&format!("the number of rows of {what}"))?;
        let columns = cursor.long_count(&format!("the number of columns of {what}"))?;
        let storage = if quantized {
            let stated = cursor.count(&format!("the number of codes of {what}"))?;
            let codes = cursor.take(stated, &what)?;
            let quantizer = Quantizer::read(cursor, columns, &what)?;
            if rows.checked_mul(quantizer.pieces) != Some(stated) {
                return Err(malformed(format!("the codes of {what} do not fit its rows"))
                    .expected(format!("{rows} rows of {} codes", quantizer.pieces))
                    .found(format!("{stated} codes")));
            }
            let norms = match with_norms {
                true => {
                    let codes = cursor.take(rows, &what)?;
                    Some(Norms { codes, centroids: Quantizer::read(cursor, 1, &what)?.centroids })
                }
                false => None,
            };
            Storage::Quantized { codes, quantizer, norms }
        } else {
            Storage::Dense(cursor.values(rows.checked_mul(columns), 4, &what)?)
        };
        Ok(Matrix { rows, columns, storage })
    }

    pub(in super::super) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    pub(super) fn is_quantized(&self) -> bool {
        matches!(self.storage, Storage::Quantized { .. })
    }

    /// The bytes of rows from `first` on, where they are stored as singles.
    pub(in super::super) fn dense(&self, first: usize) -> Option<Range<usize>> {
        match &self.storage {
            Storage::Dense(place) => Some(place.start + 4 * first.min(self.rows) * self.columns..place.end),
            Storage::Quantized { .. } => None,
        }
    }

    /// Adds row `row`, which must be one of the matrix, to `out`.
    pub(in super::super) fn add(&self, file: &[u8], row: usize, out: &mut [f32]) {
        match &self.storage {
            Storage::Dense(place) => {
                let bytes = &file[place.clone()][4 * row * self.columns..];
                for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out += f32::from_le_bytes(*value);
                }
            }
            Storage::Quantized { codes, quantizer, norms } => {
                let norm = norms.as_ref().map_or(1.0, |norms| {
                    let code = file[norms.codes.clone()][row];
                    single(&file[norms.centroids.clone()], usize::from(code))
                });
                let codes = &file[codes.clone()][row * quantizer.pieces..][..quantizer.pieces];
                let centroids = &file[quantizer.centroids.clone()];
                for (piece, (code, out)) in codes.iter().zip(out.chunks_mut(quantizer.width)).enumerate() {
                    let first = quantizer.first(piece, usize::from(*code));
                    for (position, out) in out.iter_mut().enumerate() {
                        *out += norm * single(centroids, first + position);
                    }
                }
            }
        }
    }
}

impl Quantizer {
    fn read(cursor: &mut Cursor<'_>, columns: usize, what: &str) -> Result<Self> {
        let stated = cursor.count(&format!("the width of the quantizer of {what}"))?;
        let pieces = cursor.count(&format!("the number of pieces of {what}"))?;
        let width = cursor.count(&format!("the width of the pieces of {what}"))?;
        let last_width = cursor.count(&format!("the width of the last piece of {what}"))?;
        let sum = pieces.checked_sub(1).and_then(|full| full.checked_mul(width)?.checked_add(last_width));
        let fits = (1..=width).contains(&last_width) && sum == Some(columns) && stated == columns;
        if !fits {
            return Err(malformed(format!("the quantizer of {what} does not fit its columns"))
                .expected(format!("pieces of {columns} numbers in all"))
                .found(format!("{pieces} pieces of {width}, the last of {last_width}, for {stated}")));
        }
        let centroids = cursor.values(columns.checked_mul(CENTROIDS), 4, &format!("the centroids of {what}"))?;
        Ok(Quantizer { pieces, width, last_width, centroids })
    }

    /// The place of the first number of a centroid, in numbers.
    fn first(&self, piece: usize, centroid: usize) -> usize {
        let width = if piece + 1 == self.pieces { self.last_width } else { self.width };
        piece * CENTROIDS * self.width + centroid * width
    }
}

/// The single at `position` of those in `bytes`.
fn single(bytes: &[u8], position: usize) -> f32 {
    bytes.as_chunks().0.get(position).map_or(0.0, |bytes| f32::from_le_bytes(*bytes))
}
