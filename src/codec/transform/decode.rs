//! From parts back to rows: read the codes, look the levels up, turn them back.

use std::ops::Range;

use half::f16;

use super::basis::{Grid, entry_bits, vector_bytes};
use super::bits::BitReader;
use super::codebook::level_count;
use super::gains::{GAIN_BITS, GAINS};
use super::layout::{Stored, check_finite};
use super::trellis::State;
use crate::codec::{Part, Setting};
use crate::error::Result;
use crate::linalg::Product;
use crate::tensor::{Dtype, MappedRows, Precision, Rows};

/// Gains that leave the products of singles far from their limits.
const SINGLE_GAINS: Range<f64> = 1e-25..1e25;

/// Opens the parts of a table as its rows.
pub(super) fn open<'p>(setting: &Setting, parts: &[Part<'p>]) -> Result<Box<dyn Rows + 'p>> {
    let stored = Stored::open(setting, parts)?;
    let (width, components) = (stored.width, stored.bits.len());
    let (level_scales, steps) = stored.scales.split_at(components);
    let mut levels = stored.levels.as_chunks().0.iter().map(|&level| f16::from_le_bytes(level).to_f32());
    if let Some(part) = parts.iter().find(|part| part.meta.dtype == Dtype::F16) {
        check_finite(part, levels.clone().map(f64::from))?;
    }
    let books = stored.bits.iter().zip(level_scales);
    let books = books.map(|(&bits, &scale)| Book {
        bits: u32::from(bits),
        levels: levels.by_ref().take(level_count(bits)).map(|level| level * scale).collect(),
    });
    let largest = stored.gains.iter().fold(0.0f64, |largest, gain| largest.max(gain.abs()));
    let single = largest == 0.0 || SINGLE_GAINS.contains(&largest);
    let coefficients = Coefficients {
        height: stored.height,
        row_bytes: stored.row_bytes,
        codes: stored.codes,
        books: books.collect(),
        gains: stored.gains,
        precision: if single { Precision::Single } else { Precision::Double },
    };
    let basis = transposed_basis(&stored, steps);
    let basis = MappedRows::new(&basis, Dtype::F32, width, components)?;
    Ok(Box::new(Product::new(coefficients, &basis)?))
}

/// The stored vectors as the columns of `[d, k]`, in singles.
fn transposed_basis(stored: &Stored<'_>, steps: &[f32]) -> Vec<u8> {
    let components = stored.bits.len();
    let mut bytes = vec![0; stored.width * components * size_of::<f32>()];
    let entries = bytes.as_chunks_mut().0;
    let mut rest = stored.basis;
    for (component, (&bits, &step)) in stored.bits.iter().zip(steps).enumerate() {
        let grid = Grid::new(bits, step);
        let (own, after) = rest.split_at(vector_bytes(bits, stored.width as u64) as usize);
        rest = after;
        let mut reader = BitReader::new(own);
        for entry in entries.iter_mut().skip(component).step_by(components) {
            *entry = (grid.value(reader.take(entry_bits(bits))) as f32).to_le_bytes();
        }
    }
    bytes
}

/// The levels of a component, at their scale.
struct Book {
    bits: u32,
    levels: Vec<f32>,
}

/// The rows in the basis: `[V, k]`.
struct Coefficients<'p> {
    height: usize,
    row_bytes: usize,
    codes: &'p [u8],
    books: Vec<Book>,
    gains: [f64; GAINS],
    precision: Precision,
}

impl Coefficients<'_> {
    /// Calls `put` with the gain and each level of the rows, in order.
    #[inline]
    fn read<T>(&self, rows: Range<usize>, out: &mut [T], value: impl Fn(f64, f32) -> T) {
        let codes = &self.codes[rows.start * self.row_bytes..rows.end * self.row_bytes];
        let rows = out.chunks_exact_mut(self.books.len().max(1));
        for (codes, row) in codes.chunks_exact(self.row_bytes).zip(rows) {
            let mut reader = BitReader::new(codes);
            let gain = self.gains[reader.take(GAIN_BITS as u32) as usize];
            let mut state = State::default();
            for (book, out) in self.books.iter().zip(row) {
                let (level, after) = state.step(reader.take(book.bits) as usize);
                state = after;
                *out = value(gain, book.levels[level]);
            }
        }
    }
}

impl Rows for Coefficients<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.height, self.books.len())
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.read(rows, out, |gain, level| gain as f32 * level);
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        self.read(rows, out, |gain, level| gain * f64::from(level));
        Ok(())
    }
}
