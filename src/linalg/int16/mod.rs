//! Products of singles as products of whole numbers: 13 bits in 16, multiplied and added in 32 without rounding.
//!
//! AVX2 multiplies twice as many numbers of 16 bits as singles at a time, and adds neighbouring products (`vpmaddwd`); with
//! VNNI the same instruction adds them to a sum. Each column of a slab of [`ROWS`] rows is scaled to whole numbers of its own; what is rounded off then is no
//! more correlated with the table than the [dither](round) that is added before. Sums of whole numbers are exact, so
//! that every processor gets the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
mod round;
#[cfg(target_arch = "x86_64")]
mod vnni;

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
    let function = available().next().unwrap_or(portable::multiply);
    // SAFETY: the asserts above are the bounds that the functions require, and there is none that the processor was not asked
    // for.
    unsafe { function(pairs, left, right, same, square) }
}

/// What [`multiply`] may be computed by.
type Function = unsafe fn(usize, Panel<'_>, Panel<'_>, bool, &mut [f32]);

/// Those that this processor can run, fastest first.
fn available() -> impl Iterator<Item = Function> {
    #[cfg(target_arch = "x86_64")]
    let functions = {
        let set = InstructionSet::best();
        let (avx2, avx512) = (set.includes(Isa::Avx2), set.includes(Isa::Avx512));
        [
            (avx512 && std::arch::is_x86_feature_detected!("avx512vnni")).then_some(vnni::avx512 as Function),
            (avx2 && std::arch::is_x86_feature_detected!("avxvnni")).then_some(vnni::avx as Function),
            avx2.then_some(avx2::multiply as Function),
            Some(portable::multiply as Function),
        ]
    };
    #[cfg(not(target_arch = "x86_64"))]
    let functions = [Some(portable::multiply as Function)];
    functions.into_iter().flatten()
}

/// Adds sums of products, in the units of their columns, to the square from row `row` and column `column` on. A part of every
/// function, compiled for its instructions.
#[inline(always)]
fn add_in_units<const COLUMNS: usize>(
    sums: &[[i32; COLUMNS]],
    left: Panel<'_>,
    row: usize,
    right: Panel<'_>,
    column: usize,
    square: &mut [f32],
) {
    let others = &right.units[column..][..COLUMNS];
    let rows = square[row * SIDE..].chunks_exact_mut(SIDE);
    for ((sums, &unit), out) in sums.iter().zip(&left.units[row..]).zip(rows) {
        for ((out, &sum), &other) in out[column..].iter_mut().zip(sums).zip(others) {
            *out += sum as f32 * f32::from_bits(unit) * f32::from_bits(other);
        }
    }
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
    fn products_are_those_of_the_whole_numbers_whatever_the_instructions() {
        let mut random = Random::new(5);
        for (pairs, largest) in [(0, false), (1, false), (2, true), (7, false), (63, false), (64, false), (64, true)] {
            let (left, right) = (numbers(&mut random, largest), numbers(&mut random, largest));
            let [left, right] = [&left, &right].map(|(words, units)| Panel { words, units });
            let start: Vec<f32> = (0..SIDE * SIDE).map(|_| random.uniform() as f32).collect();
            let of_each: Vec<_> = available()
                .map(|function| {
                    let mut square = start.clone();
                    // SAFETY: slices are as long as `multiply` asserts.
                    unsafe { function(pairs, left, right, false, &mut square) };
                    square
                })
                .collect();
            for i in 0..SIDE {
                for j in 0..SIDE {
                    let product = |p: usize, upper| {
                        half(left.words[p * SIDE + i], upper) * half(right.words[p * SIDE + j], upper)
                    };
                    let sum: i64 = (0..pairs).map(|p| product(p, false) + product(p, true)).sum();
                    let units = f64::from(f32::from_bits(left.units[i])) * f64::from(f32::from_bits(right.units[j]));
                    let expected = f64::from(start[i * SIDE + j]) + sum as f64 * units;
                    let found = of_each[0][i * SIDE + j];
                    assert!(
                        (f64::from(found) - expected).abs() <= 1e-6 * (expected.abs() + 1.0),
                        "{pairs} pairs at {i}, {j}"
                    );
                    for (way, square) in of_each.iter().enumerate() {
                        let other = square[i * SIDE + j];
                        assert_eq!(found.to_bits(), other.to_bits(), "way {way}: {pairs} pairs at {i}, {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn of_a_panel_with_itself_the_upper_triangle_is_whole() {
        let (words, units) = numbers(&mut Random::new(6), false);
        let panel = Panel { words: &words, units: &units };
        let mut whole = vec![0.0; SIDE * SIDE];
        multiply(PAIRS, panel, panel, false, &mut whole);
        for function in available() {
            let mut part = vec![0.0; SIDE * SIDE];
            // SAFETY: slices are as long as `multiply` asserts.
            unsafe { function(PAIRS, panel, panel, true, &mut part) };
            for i in 0..SIDE {
                assert_eq!(part[i * SIDE + i..(i + 1) * SIDE], whole[i * SIDE + i..(i + 1) * SIDE]);
            }
        }
    }
}
