//! The levels of each component, sorted, and the nearest of each fourth of them.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: components and levels are numbered by itself; measured"
)]

use super::LEVELS_PER_CODE;

/// Fourths that the trellis tells apart, by the index of a level modulo 4.
const SUBSETS: usize = 4;

/// The levels of all components of a point.
pub(super) struct Codebooks {
    books: Vec<Book>,
    /// Every book's levels, with infinite ones around them, so that a window of eight has two of each fourth.
    padded: Vec<f32>,
}

#[derive(Debug, Clone, Copy)]
struct Book {
    bits: u8,
    /// Of the padding before the first level.
    start: usize,
    count: usize,
}

impl Codebooks {
    /// From each component's bits and its `2^(bits + 1)` levels, ascending.
    pub(super) fn new(books: &[(u8, Vec<f32>)]) -> Self {
        let mut padded = Vec::new();
        let books = books
            .iter()
            .map(|(bits, levels)| {
                let start = padded.len();
                padded.extend([f32::NEG_INFINITY; SUBSETS]);
                padded.extend_from_slice(levels);
                padded.extend([f32::INFINITY; SUBSETS]);
                Book { bits: *bits, start, count: levels.len() }
            })
            .collect();
        Codebooks { books, padded }
    }

    /// Number of components.
    pub(super) fn len(&self) -> usize {
        self.books.len()
    }

    /// Bits of a component's codes.
    pub(super) fn bits(&self, component: usize) -> u8 {
        self.books[component].bits
    }

    /// For each fourth of a component's levels, the index of the nearest to `value` and its squared distance.
    #[inline]
    pub(super) fn nearest(&self, component: usize, value: f32) -> [(u16, f32); SUBSETS] {
        let Book { start, count, .. } = self.books[component];
        let below = self.padded[start + SUBSETS..start + SUBSETS + count].partition_point(|&level| level < value);
        let window = &self.padded[start + below..start + below + 2 * SUBSETS];
        let mut nearest = [(0, 0.0); SUBSETS];
        for at in 0..SUBSETS {
            let (low, high) = (value - window[at], window[at + SUBSETS] - value);
            let (place, distance) = if high < low { (below + at + SUBSETS, high) } else { (below + at, low) };
            // `place` counts from the padding, whose length is a multiple of the number of fourths.
            nearest[place % SUBSETS] = ((place - SUBSETS) as u16, distance * distance);
        }
        nearest
    }
}

/// Levels of a component of `bits` bits.
pub(super) const fn level_count(bits: u8) -> usize {
    LEVELS_PER_CODE << bits
}
