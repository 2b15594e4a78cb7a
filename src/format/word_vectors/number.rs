//! Decimal numbers in bytes, to the nearest single.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places are counts of digits in the same bytes"
)]

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Digits of which every number fits 64 bits.
const DIGITS: usize = 19;

/// The largest whole number up to which a double holds every one.
const EXACT: u64 = 1 << 53;

/// What separates fields.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The number at the start of `bytes` and its length; it ends at a blank or at the end. `None` where it is no number
/// that [`f32::from_str`](std::str::FromStr) reads.
///
/// Numbers of few digits without an exponent, which are nearly all, are one division of doubles: mantissa and power
/// are exact, so the double is the nearest to the decimal, and rounding it again to single is the nearest single unless
/// the double lies midway between two of them. The rest is left to the standard library.
pub(super) fn number(bytes: &[u8]) -> Option<(f32, usize)> {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let mut mantissa = 0;
    let whole = digits(bytes.get(sign..)?, &mut mantissa);
    let mut end = sign + whole;
    let mut decimals = 0;
    if bytes.get(end) == Some(&b'.') {
        decimals = digits(&bytes[end + 1..], &mut mantissa);
        end += 1 + decimals;
    }
    let count = whole + decimals;
    let ends = bytes.get(end).is_none_or(|&byte| is_blank(byte));
    if ends && (1..=DIGITS).contains(&count) && mantissa <= EXACT {
        let single = POWERS.get(decimals).and_then(|power| to_single(mantissa as f64 / power));
        if let Some(value) = single {
            return Some((if sign == 1 { -value } else { value }, end));
        }
    }
    let end = bytes.iter().position(|&byte| is_blank(byte)).unwrap_or(bytes.len());
    let value = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some((value, end))
}

/// Appends the digits at the start of `bytes` to `mantissa`, which is of no use after too many; gives how many.
fn digits(bytes: &[u8], mantissa: &mut u64) -> usize {
    let mut count = 0;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    count
}

/// The nearest single, where rounding twice cannot have gone wrong.
fn to_single(value: f64) -> Option<f32> {
    /// Bits of a double's fraction that a single has not.
    const LOST: u64 = (1 << 29) - 1;
    let single = value as f32;
    let midway = value.to_bits() & LOST == 1 << 28;
    (value == 0.0 || (single.is_normal() && !midway)).then_some(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..200_000 {
            let decimals = next(12) as usize;
            let text = format!("{}{}.{:0decimals$}", ["", "-"][next(2) as usize], next(1000), next(1 << 31));
            let expected: f32 = text.parse().unwrap();
            assert_eq!(number(text.as_bytes()), Some((expected, text.len())), "{text}");
        }
        for text in ["16777217", "0.1", "-.5", "5.", "1e-7", "-0", "1e-40", "3.5E+10", "nan", "-inf", "1e999"] {
            let expected: f32 = text.parse().unwrap();
            let (value, length) = number(text.as_bytes()).unwrap();
            assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(), "{text}");
            assert_eq!(length, text.len());
        }
    }

    #[test]
    fn decimals_midway_between_two_singles_round_as_written() {
        // 1 + 2^-24 is midway; a digit far behind decides.
        for text in ["1.000000059604644775390625", "1.00000005960464477539062", "1.0000000596046447754"] {
            assert_eq!(number(text.as_bytes()).map(|(value, _)| value), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn a_number_ends_at_a_blank_and_nowhere_else() {
        assert_eq!(number(b"1.5 2"), Some((1.5, 3)));
        assert_eq!(number(b"1.5\t"), Some((1.5, 3)));
        for text in ["", " ", "-", ".", "word", "1.5x", "1,5", "1..5", "--1", "0x10", "\u{ff}"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }
}
