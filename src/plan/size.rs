//! Sizes as a user writes them: `12MB`, `12MiB`, `1.5GB`, `90%`, `12345`.

use std::fmt;
use std::str::FromStr;

use super::number::floor_of_fraction;
use crate::error::{Error, ErrorKind, Result};

/// A size in bytes, or as a fraction of what the source's weights take.
///
/// Text form: a decimal number, then nothing or `B` (bytes), `kB`, `MB`, `GB`, `TB` (powers of 1000), `KiB`, `MiB`,
/// `GiB`, `TiB` (powers of 1024), or `%`. The unit is read without regard to case, since a file has no size in bits;
/// blanks between number and unit are allowed; a fraction of a byte is dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// Bytes, at least 1.
    Bytes(u64),
    /// Fraction of the source's bytes, above 0 and at most 1.
    Fraction(f64),
}

/// Units with their bytes, in lower case.
const UNITS: &[(&str, u128)] = &[
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1000 * 1000),
    ("gb", 1000 * 1000 * 1000),
    ("tb", 1000 * 1000 * 1000 * 1000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Digits of the number, before and after the point, that are read.
const MAX_DIGITS: usize = 20;

impl Size {
    /// Bytes of this size where the source's weights take `source` bytes; rounded down.
    pub fn bytes(self, source: u64) -> u64 {
        match self {
            Size::Bytes(bytes) => bytes,
            Size::Fraction(fraction) => floor_of_fraction(fraction, source),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Bytes(bytes) => write!(out, "{bytes} bytes"),
            Size::Fraction(fraction) => write!(out, "{}% of the source", round_percent(*fraction)),
        }
    }
}

/// 0.29 * 100 without the digits that only binary fractions have.
fn round_percent(fraction: f64) -> f64 {
    (fraction * 1e14).round() / 1e12
}

fn malformed(text: &str) -> Error {
    Error::new(ErrorKind::Request, "not a size")
        .expected(
            "a number with `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB` or `%`, such as `12MB` or `90%`",
        )
        .found(format!("`{}`", text.escape_debug()))
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim_start().to_ascii_lowercase();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = whole.len() + fraction.len();
        if digits == 0 || digits > MAX_DIGITS || fraction.contains('.') {
            return Err(malformed(text));
        }
        if unit == "%" {
            return percent(number, text);
        }
        let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let error = malformed(text);
            return Err(match unit.trim_end_matches('i') {
                letter @ ("k" | "m" | "g" | "t") => {
                    let letter = letter.to_uppercase();
                    error.hint(format!("write `{number}{letter}B` (powers of 1000) or `{number}{letter}iB` (of 1024)"))
                }
                _ => error,
            });
        };
        // At most 20 digits and 2^40: below 2^107.
        let mantissa: u128 = format!("{whole}{fraction}").parse().map_err(|_| malformed(text))?;
        let bytes = mantissa * scale / 10u128.pow(fraction.len() as u32);
        match u64::try_from(bytes) {
            Ok(0) => Err(malformed(text).hint("the size must be at least one byte")),
            Ok(bytes) => Ok(Size::Bytes(bytes)),
            Err(_) => Err(malformed(text).hint("the size is beyond what a file can have")),
        }
    }
}

fn percent(number: &str, text: &str) -> Result<Size> {
    // Parsing `<number>e-2` rounds once; dividing by 100 would round twice.
    let fraction: f64 = format!("{number}e-2").parse().map_err(|_| malformed(text))?;
    if fraction > 0.0 && fraction <= 1.0 {
        Ok(Size::Fraction(fraction))
    } else {
        Err(Error::new(ErrorKind::Request, "share of the source is out of range")
            .expected("above 0% and at most 100%")
            .found(format!("`{}`", text.escape_debug())))
    }
}
