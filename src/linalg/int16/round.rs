//! Singles to whole numbers, column by column.

use super::{LARGEST, PAIRS, ROWS, SIDE};
use crate::linalg::element::Element;
use crate::linalg::kernel::{InstructionSet, Work};
use crate::random::Random;

/// Rows that have dither of their own; later ones have that of an earlier one.
const PERIOD: usize = 4096;

/// Distance between the dither of neighbouring rows, odd so that none of a period is met twice.
const STRIDE: usize = 1051;

/// In singles of this size, whole numbers are neighbours, and the lower half of the bits is the whole number's.
const WHOLE: f32 = 12_582_912.0;

/// Numbers between -1/2 and 1/2 that are added before rounding: what is rounded off has then no part that follows from the
/// table, not even where a column has few values (Roberts, "Picture coding using pseudo-random noise", 1962).
pub(in crate::linalg) struct Dither(Vec<f32>);

impl Dither {
    /// For rows of so many columns; always the same.
    pub(in crate::linalg) fn new(columns: usize) -> Self {
        let mut random = Random::new(1);
        Dither((0..PERIOD + columns).map(|_| random.uniform() as f32 - 0.5).collect())
    }

    fn of_row(&self, row: usize) -> &[f32] {
        &self.0[row % PERIOD * STRIDE % PERIOD..]
    }
}

/// Writes up to [`ROWS`] rows, of which `first` is the index in the table of the first, as words, panel after panel, and the
/// unit of each column. Returns the energy of what is rounded off, as expected.
pub(in crate::linalg) fn round_columns(
    rows: &[f32],
    columns: usize,
    first: usize,
    dither: &Dither,
    words: &mut [u32],
    units: &mut [u32],
) -> f64 {
    debug_assert!(rows.len() <= ROWS * columns);
    let set = InstructionSet::best();
    let mut largest = vec![0.0; columns];
    set.run(Largest { rows, largest: &mut largest });
    let mut squares = 0.0;
    for (unit, largest) in units.iter_mut().zip(&largest) {
        let step = largest / LARGEST;
        *unit = step.to_bits();
        squares += f64::from(step) * f64::from(step);
    }
    // Of a column of zeros, or of numbers too small for an inverse, nothing is left.
    largest
        .iter_mut()
        .for_each(|value| *value = if *value > f32::MIN_POSITIVE * LARGEST { LARGEST / *value } else { 0.0 });
    let nothing = vec![0.0; columns];
    for (pair, two) in rows.chunks(2 * columns).enumerate() {
        let (upper, lower) = two.split_at(columns);
        let lower = if lower.is_empty() { &nothing } else { lower };
        let row = first + 2 * pair;
        for (panel, start) in words.chunks_exact_mut(PAIRS * SIDE).zip((0..columns).step_by(SIDE)) {
            let taken = start..columns.min(start + SIDE);
            set.run(Round {
                rows: [&upper[taken.clone()], &lower[taken.clone()]],
                inverses: &largest[taken.clone()],
                dither: [&dither.of_row(row)[taken.clone()], &dither.of_row(row + 1)[taken.clone()]],
                words: &mut panel[pair * SIDE..][..taken.len()],
            });
        }
    }
    // A twelfth of a square for rounding, and one for the dither.
    squares * (rows.len() / columns.max(1)) as f64 / 6.0
}

/// The largest magnitude of each column.
struct Largest<'a> {
    rows: &'a [f32],
    largest: &'a mut [f32],
}

impl Work for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for row in self.rows.chunks_exact(self.largest.len().max(1)) {
            self.largest.iter_mut().zip(row).for_each(|(largest, &value)| *largest = largest.larger(value));
        }
    }
}

/// Rounds parts of two rows to whole numbers.
struct Round<'a> {
    rows: [&'a [f32]; 2],
    inverses: &'a [f32],
    dither: [&'a [f32]; 2],
    words: &'a mut [u32],
}

impl Work for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Round { rows: [upper, lower], inverses, dither: [first, second], words } = self;
        let round = |value: f32, inverse: f32, dither: f32| (value * inverse + dither + WHOLE).to_bits();
        let numbers = upper.iter().zip(lower).zip(inverses).zip(first.iter().zip(second));
        for (word, (((&upper, &lower), &inverse), (&first, &second))) in words.iter_mut().zip(numbers) {
            *word = round(upper, inverse, first) & 0xffff | round(lower, inverse, second) << 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_times_units_are_the_numbers_but_for_a_unit() {
        for (height, columns) in [(1usize, 1usize), (2, 47), (7, 48), (127, 50), (128, 100)] {
            let mut random = Random::new(3);
            let rows: Vec<f32> = (0..height * columns)
                .map(|i| {
                    (random.uniform() as f32 - 0.5)
                        * 10f32.powi((i % columns) as i32 % 9 - 4)
                        * (i % columns % 5) as f32
                })
                .collect();
            let panels = columns.div_ceil(SIDE);
            let (mut words, mut units) = (vec![0; panels * PAIRS * SIDE], vec![0; panels * SIDE]);
            let noise = round_columns(&rows, columns, 5, &Dither::new(columns), &mut words, &mut units);
            let mut found = 0.0;
            for (i, &value) in rows.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let word = words[(column / SIDE * PAIRS + row / 2) * SIDE + column % SIDE];
                let whole = if row % 2 == 0 { word as u16 as i16 } else { (word >> 16) as u16 as i16 };
                let unit = f32::from_bits(units[column]);
                let rest = f32::from(whole) * unit - value;
                assert!(f32::from(whole).abs() <= LARGEST + 1.0 && rest.abs() <= unit, "{value} is {whole} of {unit}");
                found += f64::from(rest) * f64::from(rest);
            }
            // Columns of larger numbers have most of it, a few hundred samples.
            assert!(height * columns < 1000 || (found / noise - 1.0).abs() < 0.3, "{found:e} for {noise:e}");
        }
    }

    #[test]
    fn rows_of_a_period_have_dither_of_their_own() {
        let dither = Dither::new(3);
        let mut starts: Vec<[u32; 3]> =
            (0..PERIOD).map(|row| [0, 1, 2].map(|i| dither.of_row(row)[i].to_bits())).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), PERIOD);
    }
}
