//! From parts back to rows: read the codes, look the levels up, turn them back.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "`Stored::open` held every part against the others: a code of b bits names one of 2^(b+1) levels; rows out of range are the caller's error; measured"
)]

use std::ops::Range;
use std::sync::Arc;

use super::bits::BitReader;
use super::codebook::level_count;
use super::gains::{GAIN_BITS, GAINS};
use super::layout::Stored;
use super::point::columns;
use super::reflectors;
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
    Ok(Box::new(Decoder::rows(&Arc::new(Decoder::new(&stored)), stored.codes, stored.height)?))
}

/// What codes stand for.
pub(super) struct Decoder {
    width: usize,
    row_bytes: usize,
    books: Vec<Book>,
    gains: [f64; GAINS],
    precision: Precision,
    /// The vectors as the columns of `[d, k]`, in singles.
    basis: Vec<u8>,
}

impl Decoder {
    /// From the parts beside the codes.
    pub(super) fn new(stored: &Stored<'_>) -> Decoder {
        let (level_scales, steps) = stored.scales.split_at(stored.bits.len());
        let mut levels = stored.levels.iter();
        let books = stored.bits.iter().zip(level_scales).map(|(&bits, &scale)| Book {
            bits: u32::from(bits),
            levels: levels.by_ref().take(level_count(bits)).map(|level| level * scale).collect(),
        });
        let largest = stored.gains.iter().fold(0.0f64, |largest, gain| largest.max(gain.abs()));
        let single = largest == 0.0 || SINGLE_GAINS.contains(&largest);
        let vectors = reflectors::load(stored.bits, steps, stored.basis, stored.width);
        Decoder {
            width: stored.width,
            row_bytes: stored.row_bytes,
            books: books.collect(),
            gains: stored.gains,
            precision: if single { Precision::Single } else { Precision::Double },
            basis: columns(&vectors, stored.width),
        }
    }

    /// The rows of some codes.
    pub(super) fn rows<'p>(
        decoder: &Arc<Decoder>,
        codes: &'p [u8],
        height: usize,
    ) -> Result<Product<Coefficients<'p>>> {
        let basis = MappedRows::new(&decoder.basis, Dtype::F32, decoder.width, decoder.books.len())?;
        Product::new(Coefficients { decoder: Arc::clone(decoder), codes, height }, &basis)
    }
}

/// The levels of a component, at their scale.
struct Book {
    bits: u32,
    levels: Vec<f32>,
}

/// The rows in the basis: `[V, k]`.
pub(super) struct Coefficients<'p> {
    decoder: Arc<Decoder>,
    codes: &'p [u8],
    height: usize,
}

impl Coefficients<'_> {
    /// Calls `put` with the gain and each level of the rows, in order.
    #[inline]
    fn read<T>(&self, rows: Range<usize>, out: &mut [T], value: impl Fn(f64, f32) -> T) {
        let Decoder { row_bytes, books, gains, .. } = self.decoder.as_ref();
        let codes = &self.codes[rows.start * row_bytes..rows.end * row_bytes];
        let rows = out.chunks_exact_mut(books.len().max(1));
        for (codes, row) in codes.chunks_exact(*row_bytes).zip(rows) {
            let mut reader = BitReader::new(codes);
            let gain = gains[reader.take(GAIN_BITS as u32) as usize];
            let mut state = State::default();
            for (book, out) in books.iter().zip(row) {
                let (level, after) = state.step(reader.take(book.bits) as usize);
                state = after;
                *out = value(gain, book.levels[level]);
            }
        }
    }
}

impl Rows for Coefficients<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.height, self.decoder.books.len())
    }

    fn precision(&self) -> Precision {
        self.decoder.precision
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
