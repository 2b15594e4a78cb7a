//! The two arithmetics: singles, and doubles where singles would lose digits.

use std::ops::Range;

use super::encode::Values;
use super::kernel::Lane;
use crate::error::Result;
use crate::tensor::{Precision, Rows};

/// A number that tables are read in and products are computed in.
pub(crate) trait Element: Lane {
    /// Zero.
    const ZERO: Self;

    /// Largest magnitude whose square, summed over a chunk, is far from overflow; also far above the magnitudes
    /// that a table has after scaling, so that reaching it means that the scale was wrong.
    const LIMIT: f64;

    /// Bound on the exponent of a power of two that is to be a normal number.
    const EXPONENT: i32;

    /// Which arithmetic this is.
    const PRECISION: Precision;

    /// Reads rows of a table.
    fn read(rows: &dyn Rows, range: Range<usize>, out: &mut [Self]) -> Result<()>;

    /// Rows of a table where they stand as such numbers.
    fn stored(rows: &dyn Rows, range: Range<usize>) -> Option<&[Self]>;

    /// The number as a double, exactly.
    fn double(self) -> f64;

    /// The nearest number to a double.
    fn nearest(value: f64) -> Self;

    /// `(self * scale) - shift`.
    fn place(self, scale: Self, shift: Self) -> Self;

    /// The numbers where they are singles; none where they are not.
    fn singles(values: &[Self]) -> &[f32];

    /// Likewise.
    fn singles_mut(values: &mut [Self]) -> &mut [f32];

    /// The numbers as what a caller rounds them in.
    fn values(values: &mut [Self]) -> Values<'_>;

    /// The larger of this number, which is a magnitude, and the magnitude of `value`; NaN is above all.
    fn larger(self, value: Self) -> Self;
}

/// Rows of a table where they stand, or read into `room`.
///
/// # Errors
/// Where they cannot be read.
pub(super) fn stored_or_read<'a, T: Element>(
    rows: &'a dyn Rows,
    range: Range<usize>,
    room: &'a mut Vec<T>,
) -> Result<&'a [T]> {
    if let Some(stored) = T::stored(rows, range.clone()) {
        return Ok(stored);
    }
    room.resize(range.len() * rows.shape().1, T::ZERO);
    T::read(rows, range, room)?;
    Ok(room)
}

macro_rules! element {
    ($lane:ty, $precision:ident, $values:ident => $singles:expr, $limit:literal, $exponent:literal, $read:ident,
     $rows:ident, $range:ident => $stored:expr) => {
        impl Element for $lane {
            const ZERO: Self = 0.0;
            const LIMIT: f64 = $limit;
            const EXPONENT: i32 = $exponent;
            const PRECISION: Precision = Precision::$precision;

            fn read(rows: &dyn Rows, range: Range<usize>, out: &mut [Self]) -> Result<()> {
                rows.$read(range, out)
            }

            fn stored($rows: &dyn Rows, $range: Range<usize>) -> Option<&[Self]> {
                $stored
            }

            #[inline(always)]
            fn double(self) -> f64 {
                self.into()
            }

            #[inline(always)]
            fn nearest(value: f64) -> Self {
                value as $lane
            }

            #[inline(always)]
            fn place(self, scale: Self, shift: Self) -> Self {
                self * scale - shift
            }

            fn singles($values: &[Self]) -> &[f32] {
                $singles
            }

            fn singles_mut($values: &mut [Self]) -> &mut [f32] {
                $singles
            }

            fn values(values: &mut [Self]) -> Values<'_> {
                Values::$precision(values)
            }

            #[inline(always)]
            fn larger(self, value: Self) -> Self {
                // Magnitudes are ordered as their bits are, and NaN lies above all of them.
                <$lane>::from_bits(self.to_bits().max(value.abs().to_bits()))
            }
        }
    };
}

element!(f32, Single, values => values, 1e12, 126, read_f32, rows, range => rows.singles(range));
element!(f64, Double, _values => Default::default(), 1e100, 1000, read_f64, _rows, _range => None);
