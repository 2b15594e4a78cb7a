//! Products of singles as products of whole numbers: 13 bits in 16, multiplied and added in 32 without rounding.
//!
//! AVX2 multiplies twice as many numbers of 16 bits as singles at a time, and adds neighbouring products
//! (`vpmaddwd`). Each column of a slab of [`ROWS`] rows is scaled to whole numbers of its own; what is rounded off then is no
//! more correlated with the table than the [dither](round) that is added before. Sums of whole numbers are exact, so
//! that every processor gets the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
mod round;

#[cfg(target_arch = "x86_64")]
use super::kernel::{InstructionSet, Isa};
pub(super) use round::{Dither, round_columns};

/// Columns of a panel.
pub(super) const SIDE: usize = 48;

/// Rows of a slab, which are multiplied without a sum in singles between them.
pub(super) const ROWS: usize = 128;

/// Pairs of rows in a slab: a word holds the numbers of two, the first in its lower half.
pub(super) const PAIRS: usize = ROWS / 2;

/// The largest whole number before dither: one more is the largest after it, and 128 squares of that are below `2^31`.
const LARGEST: f32 = 4094.0;

const _: () = assert!(ROWS as u64 * (LARGEST as u64 + 1).pow(2) < 1 << 31);

/// Columns of a slab as whole numbers.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    /// `[PAIRS, SIDE]`.
    pub(super) words: &'a [u32],
    /// What the numbers of each column are multiples of; the bits of singles.
    pub(super) units: &'a [u32],
}

/// Adds the products of the columns of `left` with those of `right` over the first `pairs` pairs of rows to `square`, `[SIDE,
/// SIDE]`. Where the panels are the `same`, what is below the diagonal may be left out.
///
/// # Panics
/// Where a slice is shorter than it has to be.
pub(super) fn multiply(pairs: usize, left: Panel<'_>, right: Panel<'_>, same: bool, square: &mut [f32]) {
    assert!(pairs <= PAIRS && square.len() >= SIDE * SIDE);
    for panel in [left, right] {
        assert!(panel.words.len() >= pairs * SIDE && panel.units.len() >= SIDE);
    }
    #[cfg(target_arch = "x86_64")]
    if InstructionSet::best().includes(Isa::Avx2) {
        // SAFETY: the processor has AVX2, and the asserts above are the bounds that are required.
        return unsafe { avx2::multiply(pairs, left, right, same, square) };
    }
    portable::multiply(pairs, left, right, same, square);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Words and units of columns whose numbers are the largest that occur, or smaller.
    fn numbers(random: &mut Random, largest: bool) -> (Vec<u32>, Vec<u32>) {
        let bound = LARGEST as i32 + 1;
        let mut number = || match largest {
            true => bound,
            false => (random.bits() % (2 * bound as u64 + 1)) as i32 - bound,
        };
        let words = (0..PAIRS * SIDE).map(|_| (number() as u32 & 0xffff) | (number() as u32) << 16).collect();
        (words, (0..SIDE).map(|_| (random.uniform() as f32).to_bits()).collect())
    }

    fn half(word: u32, upper: bool) -> i64 {
        i64::from(if upper { (word >> 16) as u16 as i16 } else { word as u16 as i16 })
    }

    #[test]
    fn products_are_those_of_the_whole_numbers_in_plain_rust_and_as_is_fastest() {
        let mut random = Random::new(5);
        for (pairs, largest) in [(0, false), (1, false), (2, true), (7, false), (63, false), (64, false), (64, true)] {
            let (left, right) = (numbers(&mut random, largest), numbers(&mut random, largest));
            let [left, right] = [&left, &right].map(|(words, units)| Panel { words, units });
            let start: Vec<f32> = (0..SIDE * SIDE).map(|_| random.uniform() as f32).collect();
            let (mut fastest, mut plain) = (start.clone(), start.clone());
            multiply(pairs, left, right, false, &mut fastest);
            portable::multiply(pairs, left, right, false, &mut plain);
            for i in 0..SIDE {
                for j in 0..SIDE {
                    let product = |p: usize, upper| {
                        half(left.words[p * SIDE + i], upper) * half(right.words[p * SIDE + j], upper)
                    };
                    let sum: i64 = (0..pairs).map(|p| product(p, false) + product(p, true)).sum();
                    let units = f64::from(f32::from_bits(left.units[i])) * f64::from(f32::from_bits(right.units[j]));
                    let expected = f64::from(start[i * SIDE + j]) + sum as f64 * units;
                    let (found, plain) = (fastest[i * SIDE + j], plain[i * SIDE + j]);
                    assert_eq!(found.to_bits(), plain.to_bits(), "{pairs} pairs at {i}, {j}");
                    assert!(
                        (f64::from(found) - expected).abs() <= 1e-6 * (expected.abs() + 1.0),
                        "{pairs} pairs at {i}, {j}"
                    );
                }
            }
        }
    }

    #[test]
    fn of_a_panel_with_itself_the_upper_triangle_is_whole() {
        let (words, units) = numbers(&mut Random::new(6), false);
        let panel = Panel { words: &words, units: &units };
        let [mut whole, mut part, mut plain] = [(); 3].map(|()| vec![0.0; SIDE * SIDE]);
        multiply(PAIRS, panel, panel, false, &mut whole);
        multiply(PAIRS, panel, panel, true, &mut part);
        portable::multiply(PAIRS, panel, panel, true, &mut plain);
        for i in 0..SIDE {
            assert_eq!(part[i * SIDE + i..(i + 1) * SIDE], whole[i * SIDE + i..(i + 1) * SIDE]);
            assert_eq!(plain[i * SIDE + i..(i + 1) * SIDE], whole[i * SIDE + i..(i + 1) * SIDE]);
        }
    }
}
