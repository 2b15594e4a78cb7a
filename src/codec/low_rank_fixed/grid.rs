//! Uniform grids: `offset + step * code`, one for each column of a factor or one for the whole of it.

#![expect(clippy::arithmetic_side_effects, reason = "bits are from 2 to 8")]

use crate::linalg::{InstructionSet, Work};

/// A grid of `2^bits` equidistant points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    /// The point of code 0.
    pub(super) offset: f32,
    /// Distance of neighbouring points; 0 for a grid of one point.
    pub(super) step: f32,
    /// The largest code.
    last: f32,
}

/// A value with the number of times that it counts.
pub(super) type Sample = (f32, f32);

/// Shares of the range that are tried: what lies outside is clipped, which pays where the range is wide for a few.
const SHARES: usize = 24;

impl Grid {
    /// The grid with a point on each end of a range.
    pub(super) fn over(low: f32, high: f32, bits: u32) -> Self {
        let last = ((1u32 << bits) - 1) as f32;
        let step = (high - low) / last;
        if step > 0.0 && step.is_finite() {
            Grid { offset: low, step, last }
        } else {
            // A range of one point, or one so narrow that it has no step.
            Grid { offset: if low.is_finite() { low } else { 0.0 }, step: 0.0, last }
        }
    }

    /// A grid as it was stored.
    pub(super) fn stored(offset: f32, step: f32) -> Self {
        Grid { offset, step, last: f32::from(u8::MAX) }
    }

    /// The grid over the range or a part around its middle with the least squared error on `samples`, and that error.
    pub(super) fn fit(samples: &[Sample], low: f32, high: f32, bits: u32) -> (Self, f64) {
        let (middle, half) = (low / 2.0 + high / 2.0, high / 2.0 - low / 2.0);
        let mut best = (Grid::over(low, high, bits), f64::INFINITY);
        for share in (1..=SHARES).rev() {
            let share = share as f32 / SHARES as f32;
            let grid = match share {
                1.0 => best.0,
                _ => Grid::over(middle - half * share, middle + half * share, bits),
            };
            let error = grid.squared_error(samples);
            if error < best.1 {
                best = (grid, error);
            } else if error > 2.0 * best.1 {
                // What is clipped only grows from here.
                break;
            }
        }
        best
    }

    fn squared_error(&self, samples: &[Sample]) -> f64 {
        InstructionSet::best().run(SquaredError { grid: self, samples })
    }

    /// Rounds rows in place, with a grid for each column or one for all.
    pub(super) fn round_rows(grids: &[Grid], rows: &mut [f32]) {
        InstructionSet::best().run(RoundRows { grids, rows });
    }

    /// The code of the nearest point, of two the one with the even code.
    #[inline(always)]
    pub(super) fn code(&self, value: f32) -> u8 {
        // At most 255.
        self.nearest(value) as u8
    }

    /// Likewise, as a float.
    #[inline(always)]
    fn nearest(&self, value: f32) -> f32 {
        // Without a step everything is code 0; what 0 / 0 gives is not looked at.
        let code = ((value - self.offset) / self.step).round_ties_even().clamp(0.0, self.last);
        if self.step == 0.0 { 0.0 } else { code }
    }

    /// The point of a code.
    #[inline]
    pub(super) fn value(&self, code: u8) -> f32 {
        self.step * f32::from(code) + self.offset
    }

    /// The nearest point.
    #[inline(always)]
    pub(super) fn round(&self, value: f32) -> f32 {
        self.step * self.nearest(value) + self.offset
    }
}

/// The loop of [`Grid::squared_error`].
struct SquaredError<'a> {
    grid: &'a Grid,
    samples: &'a [Sample],
}

impl Work for SquaredError<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        // Partial sums in a fixed order leave room for vector instructions.
        const LANES: usize = 8;
        let mut sums = [0.0f64; LANES];
        let (chunks, rest) = self.samples.as_chunks::<LANES>();
        for samples in chunks {
            for (sum, &sample) in sums.iter_mut().zip(samples) {
                *sum += self.error(sample);
            }
        }
        for (sum, &sample) in sums.iter_mut().zip(rest) {
            *sum += self.error(sample);
        }
        sums.iter().sum()
    }
}

impl SquaredError<'_> {
    #[inline(always)]
    fn error(&self, (value, times): Sample) -> f64 {
        let difference = self.grid.round(value) - value;
        f64::from(difference * difference * times)
    }
}

/// The loop of [`Grid::round_rows`].
struct RoundRows<'a> {
    grids: &'a [Grid],
    rows: &'a mut [f32],
}

impl Work for RoundRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        if let [grid] = self.grids {
            self.rows.iter_mut().for_each(|value| *value = grid.round(*value));
            return;
        }
        for row in self.rows.chunks_exact_mut(self.grids.len().max(1)) {
            row.iter_mut().zip(self.grids).for_each(|(value, grid)| *value = grid.round(*value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The nearest of all points, by looking at each.
    fn nearest(grid: &Grid, bits: u32, value: f32) -> f32 {
        let points = (0..1u16 << bits).map(|code| grid.value(code as u8));
        points.min_by(|a, b| (a - value).abs().total_cmp(&(b - value).abs())).unwrap()
    }

    proptest! {
        #[test]
        fn a_value_goes_to_its_nearest_point(
            bits in 2u32..=8, low in -5.0f32..5.0, width in 0.0f32..9.0, value in -9.0f32..9.0
        ) {
            let grid = Grid::over(low, low + width, bits);
            let (found, best) = (grid.round(value), nearest(&grid, bits, value));
            prop_assert!(((found - value).abs() - (best - value).abs()).abs() <= 1e-5, "{found} {best}");
        }

        #[test]
        fn a_fitted_grid_is_no_worse_than_that_of_the_range(
            bits in 2u32..=8, values in prop::collection::vec(-3.0f32..3.0, 1..60)
        ) {
            let samples: Vec<Sample> = values.iter().map(|&value| (value, 1.0)).collect();
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (grid, error) = Grid::fit(&samples, low, high, bits);
            prop_assert!(error <= Grid::over(low, high, bits).squared_error(&samples));
            prop_assert!((grid.squared_error(&samples) - error).abs() <= 1e-12);
        }
    }

    #[test]
    fn a_range_of_one_point_is_held_exactly() {
        let grid = Grid::over(0.7, 0.7, 3);
        assert_eq!((grid.step, grid.round(0.7), grid.code(9.0)), (0.0, 0.7, 0));
    }

    #[test]
    fn one_outlier_does_not_widen_the_grid_of_all_others() {
        let mut samples: Vec<Sample> = (0..4000).map(|i| ((i % 200) as f32 / 100.0 - 1.0, 1.0)).collect();
        samples.push((3.0, 1.0));
        let (grid, _) = Grid::fit(&samples, -1.0, 3.0, 2);
        assert!(grid.value(3) < 3.0, "{grid:?}");
    }
}
