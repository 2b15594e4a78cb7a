//! What is done to numbers one by one, beside the products.

use super::element::Element;
use super::kernel::{InstructionSet, Work};

/// Partial sums: enough to fill a register of doubles, in a fixed order whatever the instructions.
const LANES: usize = 8;

/// Columns that are summed up at a time.
const STRIP: usize = 2 * LANES;

/// Moves rows into a [frame](super::frame::Frame) in place and sums up their columns, and the squares of them where
/// there are sums for those; tells whether all are within the limit.
pub(super) struct Place<'a, T> {
    pub(super) rows: &'a mut [T],
    pub(super) shift: &'a [T],
    pub(super) scale: T,
    pub(super) sums: &'a mut [f64],
    /// As long as `sums`, or empty.
    pub(super) squares: &'a mut [f64],
}

impl<T: Element> Work for Place<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        if self.squares.is_empty() { self.strips::<false>() } else { self.strips::<true>() }
    }
}

impl<T: Element> Place<'_, T> {
    #[inline(always)]
    fn strips<const SQUARES: bool>(mut self) -> bool {
        let columns = self.shift.len();
        let whole = columns - columns % STRIP;
        let mut within = true;
        for first in (0..whole).step_by(STRIP) {
            within &= self.strip::<STRIP, SQUARES>(first);
        }
        for first in whole..columns {
            within &= self.strip::<1, SQUARES>(first);
        }
        within
    }

    /// `WIDTH` columns from `first` on, down all rows: sums in arrays of its own stay in registers.
    #[inline(always)]
    fn strip<const WIDTH: usize, const SQUARES: bool>(&mut self, first: usize) -> bool {
        let (strip, scale) = (first..first + WIDTH, self.scale);
        let (mut shift, mut largest) = ([T::ZERO; WIDTH], [T::ZERO; WIDTH]);
        let (mut sums, mut squares) = ([0.0; WIDTH], [0.0; WIDTH]);
        shift.copy_from_slice(&self.shift[strip.clone()]);
        sums.copy_from_slice(&self.sums[strip.clone()]);
        if SQUARES {
            squares.copy_from_slice(&self.squares[strip.clone()]);
        }
        for row in self.rows.chunks_exact_mut(self.shift.len()) {
            let Some(values) = row[first..].first_chunk_mut::<WIDTH>() else { continue };
            for (i, value) in values.iter_mut().enumerate() {
                *value = value.place(scale, shift[i]);
                sums[i] += value.double();
                if SQUARES {
                    squares[i] += value.double() * value.double();
                }
                largest[i] = largest[i].larger(*value);
            }
        }
        self.sums[strip.clone()].copy_from_slice(&sums);
        if SQUARES {
            self.squares[strip].copy_from_slice(&squares);
        }
        largest.iter().all(|largest| largest.double() <= T::LIMIT)
    }
}

/// Sums up columns, and finds the largest magnitude beside the one given.
pub(super) struct Survey<'a, T> {
    pub(super) rows: &'a [T],
    pub(super) sums: &'a mut [f64],
    pub(super) largest: T,
}

impl<T: Element> Work for Survey<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run(self) -> T {
        let mut largest = [self.largest; 2 * LANES];
        for row in self.rows.chunks_exact(self.sums.len()) {
            self.sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.double());
            for values in row.chunks(2 * LANES) {
                largest.iter_mut().zip(values).for_each(|(largest, &value)| *largest = largest.larger(value));
            }
        }
        largest.into_iter().fold(T::ZERO, T::larger)
    }
}

/// Adds sums of products to doubles.
pub(super) struct AddTo<'a, T> {
    pub(super) sums: &'a mut [f64],
    pub(super) terms: &'a [T],
}

impl<T: Element> Work for AddTo<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.sums.iter_mut().zip(self.terms).for_each(|(sum, term)| *sum += term.double());
    }
}

/// Copies rows, scaled, to where rows are further apart; what lies between becomes zero.
pub(super) struct Spread<'a, T> {
    pub(super) rows: &'a [T],
    pub(super) columns: usize,
    pub(super) scale: T,
    pub(super) out: &'a mut [T],
    pub(super) stride: usize,
}

impl<T: Element> Work for Spread<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let outs = self.out.chunks_exact_mut(self.stride);
        for (row, out) in self.rows.chunks_exact(self.columns).zip(outs) {
            let (out, padding) = out.split_at_mut(self.columns);
            out.iter_mut().zip(row).for_each(|(out, &value)| *out = value.place(self.scale, T::ZERO));
            padding.fill(T::ZERO);
        }
    }
}

/// Copies rows without what lies between them, each column times its factor.
pub(super) struct Gather<'a, T> {
    pub(super) rows: &'a [T],
    pub(super) stride: usize,
    pub(super) factors: &'a [f64],
    pub(super) out: &'a mut [T],
}

impl<T: Element> Work for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let outs = self.out.chunks_exact_mut(self.factors.len());
        for (row, out) in self.rows.chunks_exact(self.stride).zip(outs) {
            for ((out, value), factor) in out.iter_mut().zip(row).zip(self.factors) {
                *out = T::nearest(value.double() * factor);
            }
        }
    }
}

/// Multiplies by a power of two.
pub(super) struct Scale<'a, T> {
    pub(super) values: &'a mut [T],
    pub(super) scale: f64,
}

impl<T: Element> Work for Scale<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.values.iter_mut().for_each(|value| *value = T::nearest(value.double() * self.scale));
    }
}

/// The sum of squares, in doubles, and the largest magnitude.
pub(super) struct Norms<'a, T>(pub(super) &'a [T]);

impl<T: Element> Work for Norms<'_, T> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run(self) -> (f64, f64) {
        let mut sums = [0.0; LANES];
        let mut largest = [T::ZERO; LANES];
        // The rows' stride is a multiple of the lanes, so that nothing remains.
        for values in self.0.as_chunks::<LANES>().0 {
            for ((sum, largest), &value) in sums.iter_mut().zip(&mut largest).zip(values) {
                *sum += value.double() * value.double();
                *largest = largest.larger(value);
            }
        }
        let largest = largest.into_iter().fold(T::ZERO, T::larger);
        (sums.iter().sum(), largest.double())
    }
}

/// The largest norm of a row of `rows`, `[_, columns]`.
pub(crate) fn largest_row_norm<T: Element>(rows: &[T], columns: usize) -> f64 {
    InstructionSet::best().run(LargestSquare { rows, columns }).sqrt()
}

/// The loop of [`largest_row_norm`].
struct LargestSquare<'a, T> {
    rows: &'a [T],
    columns: usize,
}

impl<T: Element> Work for LargestSquare<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let mut largest = 0.0f64;
        for row in self.rows.chunks_exact(self.columns.max(1)) {
            let mut sums = [0.0f64; LANES];
            let (chunks, rest) = row.as_chunks::<LANES>();
            for values in chunks {
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value.double() * value.double());
            }
            sums.iter_mut().zip(rest).for_each(|(sum, value)| *sum += value.double() * value.double());
            largest = largest.max(sums.iter().sum());
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::kernel::InstructionSet;

    /// Runs every loop on odd lengths, and returns all bits that come of it.
    fn bits(set: InstructionSet) -> Vec<u64> {
        let numbers: Vec<f32> = (0..7 * 51).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
        let (mut rows, mut sums, mut squares) = (numbers.clone(), vec![0.0; 51], vec![0.0; 51]);
        let (shift, scale) = (&numbers[..51], 0.3);
        assert!(set.run(Place { rows: &mut rows, shift, scale, sums: &mut sums, squares: &mut squares }));
        let largest = set.run(Survey { rows: &rows, sums: &mut sums, largest: 0.1 });
        set.run(AddTo { sums: &mut sums, terms: &rows });
        let mut spread = vec![9.0; 7 * 56];
        set.run(Spread { rows: &rows, columns: 51, scale: 0.7, out: &mut spread, stride: 56 });
        let norms = set.run(Norms(&spread));
        let mut gathered = vec![0.0; 7 * 51];
        set.run(Gather { rows: &spread, stride: 56, factors: &sums, out: &mut gathered });
        set.run(Scale { values: &mut gathered, scale: 0.11 });
        let singles = rows.iter().chain(&spread).chain(&gathered).map(|x| u64::from(x.to_bits()));
        let doubles = sums.iter().chain(&squares).chain([&norms.0, &norms.1]).map(|x| x.to_bits());
        singles.chain(doubles).chain([u64::from(largest.to_bits())]).collect()
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let all: Vec<_> = InstructionSet::available().map(bits).collect();
        assert!(all.iter().all(|bits| *bits == all[0]));
    }

    #[test]
    fn a_number_that_is_none_or_too_large_is_noticed_wherever_it_stands() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e20] {
            for at in [0, 15, 16, 50, 51, 101] {
                let mut rows = vec![1.0; 102];
                rows[at] = bad;
                for set in InstructionSet::available() {
                    let (rows, sums, squares) = (&mut rows.clone(), &mut [0.0; 51], &mut []);
                    let place = Place { rows, shift: &[0.0; 51], scale: 1.0, sums, squares };
                    assert!(!set.run(place), "{bad} at {at}");
                }
            }
        }
    }

    #[test]
    fn sums_of_columns_and_of_their_squares_are_those_of_the_definition() {
        for columns in [1, 15, 16, 17, 51] {
            let mut rows: Vec<f32> = (0..5 * columns).map(|i| i as f32).collect();
            let (mut sums, mut squares) = (vec![1.0; columns], vec![2.0; columns]);
            let (shift, scale) = (&vec![3.0; columns][..], 2.0);
            let place = Place { rows: &mut rows, shift, scale, sums: &mut sums, squares: &mut squares };
            assert!(InstructionSet::best().run(place));
            for column in 0..columns {
                let placed = (0..5).map(|row| 2.0 * (row * columns + column) as f64 - 3.0);
                assert!(placed.clone().eq(rows.iter().skip(column).step_by(columns).map(|&value| f64::from(value))));
                assert_eq!(sums[column], 1.0 + placed.clone().sum::<f64>());
                assert_eq!(squares[column], 2.0 + placed.map(|value| value * value).sum::<f64>());
            }
        }
    }

    #[test]
    fn norms_are_those_of_the_definition() {
        let values: Vec<f64> = (0..64).map(|i| f64::from(i) - 40.0).collect();
        let expected: f64 = values.iter().map(|value| value * value).sum();
        assert_eq!(InstructionSet::best().run(Norms(&values)), (expected, 40.0));
    }
}
