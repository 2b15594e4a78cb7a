//! The levels that a group of numbers is rounded to.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lanes of arrays of one length; codes and zero points have at most 17 bits in 32; measured"
)]

use half::f16;

use super::scheme::Scheme;
use crate::tensor::Dtype;

/// Partial sums, in a fixed order whatever the instructions.
const LANES: usize = 8;

/// Adding and subtracting this rounds a double below 2^51 in magnitude to the nearest whole number, ties to even.
const ROUNDER: f64 = (3u64 << 51) as f64;

/// Levels `(code - zero_point) * scale` with codes from `least` to `largest`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    /// A number of the dtype of scales, above zero.
    pub(super) scale: f64,
    pub(super) zero_point: i32,
    least: i32,
    largest: i32,
}

/// The scale, or a level, is beyond the range of its dtype.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OutOfRange {
    pub(super) value: f64,
    pub(super) dtype: Dtype,
}

/// Least and largest of some numbers and zero, and whether all are finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) least: f64,
    pub(super) largest: f64,
}

impl Extent {
    /// That of no number.
    pub(super) const ZERO: Extent = Extent { least: 0.0, largest: 0.0 };

    /// That of both.
    pub(super) fn with(self, other: Extent) -> Extent {
        Extent { least: self.least.min(other.least), largest: self.largest.max(other.largest) }
    }

    /// That of `values`, which are finite.
    #[inline(always)]
    pub(super) fn of(values: &[f64]) -> Extent {
        let (mut least, mut largest) = ([0.0f64; LANES], [0.0f64; LANES]);
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                least[lane] = if chunk[lane] < least[lane] { chunk[lane] } else { least[lane] };
                largest[lane] = if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
            }
        }
        let least = least.iter().chain(rest).fold(0.0, |a: f64, &b| a.min(b));
        let largest = largest.iter().chain(rest).fold(0.0, |a: f64, &b| a.max(b));
        Extent { least, largest }
    }
}

/// Sums over entries of a table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) squared_error: f64,
    /// Each row's squared error times its weight.
    pub(super) weighted_error: f64,
    pub(super) largest_error: f64,
}

impl Sums {
    /// Adds the numbers of a row of this weight.
    pub(super) fn add(&mut self, row: Sums, weight: f64) {
        self.merge(Sums { weighted_error: weight * row.squared_error, ..row });
    }

    /// Adds other rows.
    pub(super) fn merge(&mut self, other: Sums) {
        self.squared_error += other.squared_error;
        self.weighted_error += other.weighted_error;
        self.largest_error = self.largest_error.max(other.largest_error);
    }
}

impl Grid {
    /// The grid of a group: the least scale of its dtype that is not below the one that spreads the codes over
    /// `extent`, so that no number is further than one step from its level, and half a step where the grid is
    /// symmetric.
    ///
    /// # Errors
    /// [`OutOfRange`] where that scale, or a level, is not finite.
    pub(super) fn new(extent: Extent, scheme: &Scheme) -> Result<Grid, OutOfRange> {
        let (least, largest) = scheme.range();
        let steps = f64::from(largest) - f64::from(least);
        // Halved before they are added: the difference of two doubles may be beyond doubles.
        let exact = if scheme.is_affine() {
            (extent.largest / 2.0 - extent.least / 2.0) / (steps / 2.0)
        } else {
            extent.largest.max(-extent.least) / (steps / 2.0)
        };
        let zeros = extent == Extent::ZERO;
        let scale = if zeros { 1.0 } else { round_up(exact, scheme.scale_dtype) };
        if !scale.is_finite() {
            return Err(OutOfRange { value: exact, dtype: scheme.scale_dtype });
        }
        let zero_point = if scheme.is_affine() && !zeros {
            (f64::from(least) - extent.least / scale).round_ties_even().clamp(f64::from(least), f64::from(largest))
                as i32
        } else {
            0
        };
        let grid = Grid { scale, zero_point, least, largest };
        match [least, largest].map(|code| grid.level(code)).into_iter().find(|level| !level.is_finite()) {
            Some(_) => Err(OutOfRange { value: extent.largest.max(-extent.least), dtype: Dtype::F32 }),
            None => Ok(grid),
        }
    }

    /// The grid that was stored.
    pub(super) fn stored(scale: f64, zero_point: i32, scheme: &Scheme) -> Grid {
        let (least, largest) = scheme.range();
        Grid { scale, zero_point, least, largest }
    }

    /// What `code` stands for. The product is exact in doubles, so it is rounded once.
    #[inline(always)]
    pub(super) fn level(&self, code: i32) -> f32 {
        (f64::from(code - self.zero_point) * self.scale) as f32
    }

    /// What codes counted from the least one stand for, each with the bits of `flip` changed first.
    #[inline(always)]
    pub(super) fn dequantize(&self, codes: &[u16], flip: u16, out: &mut [f32]) {
        // Multiples of the scale are whole numbers below 2^24, so that singles round once too.
        let (offset, scale) = (self.least - self.zero_point, self.scale as f32);
        for (out, &code) in out.iter_mut().zip(codes) {
            // Neither is beyond 17 bits; a check for overflow would keep the loop from becoming one of vectors.
            *out = i32::from(code ^ flip).wrapping_add(offset) as f32 * scale;
        }
    }

    /// Rounds `values` to the nearest level, ties to the even multiple of the scale; codes go to `codes`, counted from
    /// the least one.
    #[inline(always)]
    pub(super) fn quantize(&self, values: &[f64], codes: &mut [u16]) -> Sums {
        let (scale, zero) = (self.scale, f64::from(self.zero_point));
        // In multiples of the scale.
        let (low, high) = (f64::from(self.least) - zero, f64::from(self.largest) - zero);
        let round = |value: f64| {
            let multiple = (value / scale + ROUNDER) - ROUNDER;
            let multiple = if multiple < low { low } else { multiple };
            let multiple = if multiple > high { high } else { multiple };
            // A whole number from 0 to 65535 by the clamp: the last bits of the sum, which vectors have instructions for.
            let code = (multiple - low + ROUNDER).to_bits() as u16;
            (code, (value - f64::from((multiple * scale) as f32)).abs())
        };
        let mut squares = [0.0f64; LANES];
        let mut largest = [0.0f64; LANES];
        let mut count = |lane: usize, error: f64| {
            squares[lane] += error * error;
            largest[lane] = if error > largest[lane] { error } else { largest[lane] };
        };
        let ((values, last_values), (codes, last_codes)) =
            (values.as_chunks::<LANES>(), codes.as_chunks_mut::<LANES>());
        // Whole chunks apart from the rest: of lanes whose number is not known the compiler makes one after another.
        for (values, codes) in values.iter().zip(codes) {
            for lane in 0..LANES {
                let (code, error) = round(values[lane]);
                codes[lane] = code;
                count(lane, error);
            }
        }
        for (lane, (&value, out)) in last_values.iter().zip(last_codes).enumerate() {
            let (code, error) = round(value);
            *out = code;
            count(lane, error);
        }
        let largest_error = largest.iter().fold(0.0, |a: f64, &b| a.max(b));
        Sums { squared_error: squares.iter().sum(), weighted_error: 0.0, largest_error }
    }
}

/// The least number of `dtype`, F16 or F32, that is not below `value`, which is not negative; infinite where there is
/// none.
fn round_up(value: f64, dtype: Dtype) -> f64 {
    if dtype == Dtype::F32 {
        let nearest = value as f32;
        return f64::from(if f64::from(nearest) < value { nearest.next_up() } else { nearest });
    }
    // Magnitudes of halves are ordered as their bits are. The conversion may round twice, so it is only a start.
    let mut bits = f16::from_f64(value).to_bits();
    let number = |bits: u16| f16::from_bits(bits).to_f64();
    while bits > 0 && number(bits - 1) >= value {
        bits -= 1;
    }
    while number(bits) < value {
        bits += 1;
    }
    number(bits)
}
