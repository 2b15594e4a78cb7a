//! Decimal fractions as the user wrote them: 0.9 is nine tenths, not the nearest double below it.

use crate::error::{Error, ErrorKind, Result};

/// Significant digits after the point up to which products with any `u64` fit `u128`.
const MAX_DIGITS: usize = 18;

/// `value` in [0, 1] as `(numerator, denominator)` of its shortest decimal form; `None` where that form is too long.
pub(super) fn decimal(value: f64) -> Option<(u128, u128)> {
    let text = value.to_string();
    let (whole, digits) = text.split_once('.').unwrap_or((&text, ""));
    if digits.len() > MAX_DIGITS {
        return None;
    }
    let denominator = 10u128.pow(digits.len() as u32);
    let fraction = if digits.is_empty() { 0 } else { digits.parse::<u128>().ok()? };
    let numerator = whole.parse::<u128>().ok()?.checked_mul(denominator)?.checked_add(fraction)?;
    (numerator <= denominator).then_some((numerator, denominator))
}

/// `floor(fraction * whole)` with `fraction` in [0, 1] read as a decimal.
pub(super) fn floor_of_fraction(fraction: f64, whole: u64) -> u64 {
    match decimal(fraction) {
        // At most 10^18 * 2^64 < 2^128, and the quotient is at most `whole`.
        Some((numerator, denominator)) => (numerator * u128::from(whole) / denominator) as u64,
        None => (fraction * whole as f64).floor() as u64,
    }
}

/// The most bytes that remain of `whole` where the fraction `reduction` of them goes.
///
/// # Errors
/// [`ErrorKind::Request`] unless `0 < reduction < 1`.
pub fn bytes_within_reduction(reduction: f64, whole: u64) -> Result<u64> {
    if !(reduction > 0.0 && reduction < 1.0) {
        return Err(Error::new(ErrorKind::Request, "reduction is out of range")
            .expected("a fraction above 0 and below 1")
            .found(reduction.to_string()));
    }
    Ok(match decimal(reduction) {
        // As in `floor_of_fraction`.
        Some((numerator, denominator)) => ((denominator - numerator) * u128::from(whole) / denominator) as u64,
        None => ((1.0 - reduction) * whole as f64).floor() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_read_as_the_decimal_that_was_written() {
        assert_eq!(decimal(0.9), Some((9, 10)));
        assert_eq!(decimal(1.0), Some((1, 1)));
        assert_eq!(decimal(0.123), Some((123, 1000)));
        assert_eq!(decimal(1e-30), None);
        assert_eq!(decimal(f64::NAN), None);
        assert_eq!(decimal(1.5), None);
        assert_eq!(decimal(-0.5), None);
    }

    #[test]
    fn a_share_of_a_whole_is_exact_where_doubles_are_not() {
        assert_eq!(floor_of_fraction(0.29, 100), 29, "0.29 * 100.0 is 28.999999999999996");
        assert_eq!(floor_of_fraction(1.0, u64::MAX), u64::MAX);
        assert_eq!(floor_of_fraction(0.000000000000000001, u64::MAX), 18);
    }
}
