//! What the user asks of a table or of the whole output.

use std::fmt;
use std::str::FromStr;

use super::Size;
use crate::error::{Error, ErrorKind, Result};

/// The one thing that a compression has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// The fraction of each table's parameters (low rank) or bytes that goes, in (0, 1).
    Reduction(f64),
    /// The rank of each table, at least 1.
    Rank(usize),
    /// The width of codes.
    Bits(u32),
    /// The least retained energy of each table, in (0, 1].
    Energy(f64),
    /// The largest predicted relative Frobenius error of each table, in (0, 1).
    MaxError(f64),
    /// The most that all weights of the output take, headers included.
    Size(Size),
}

impl Target {
    /// The target named `key` (`reduction`, `rank`, `bits`, `energy`, `max-error`, `target-size`) with `value` as text.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where the key is unknown or the value is not in its range.
    pub fn parse(key: &str, value: &str) -> Result<Target> {
        let target = match key {
            "reduction" => Target::Reduction(number(key, value)?),
            "rank" => Target::Rank(number(key, value)?),
            "bits" => Target::Bits(number(key, value)?),
            "energy" => Target::Energy(number(key, value)?),
            "max-error" => Target::MaxError(number(key, value)?),
            "target-size" => Target::Size(value.parse()?),
            _ => {
                return Err(Error::new(ErrorKind::Request, "unknown target")
                    .expected("`reduction`, `rank`, `bits`, `energy`, `max-error` or `target-size`")
                    .found(format!("`{}`", key.escape_debug())));
            }
        };
        target.check()?;
        Ok(target)
    }

    /// Refuses a value that no table can meet.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the range expected.
    pub fn check(&self) -> Result<()> {
        let (fits, expected) = match *self {
            Target::Reduction(p) => (p > 0.0 && p < 1.0, "a fraction above 0 and below 1"),
            Target::Rank(rank) => (rank >= 1, "a whole number of at least 1"),
            Target::Bits(bits) => (bits >= 1, "a whole number of at least 1"),
            Target::Energy(energy) => (energy > 0.0 && energy <= 1.0, "a fraction above 0 and at most 1"),
            Target::MaxError(error) => (error > 0.0 && error < 1.0, "a relative error above 0 and below 1"),
            Target::Size(Size::Bytes(bytes)) => (bytes >= 1, "at least one byte"),
            Target::Size(Size::Fraction(share)) => (share > 0.0 && share <= 1.0, "above 0% and at most 100%"),
        };
        if fits { Ok(()) } else { Err(out_of_range(self.key(), expected, &self.value())) }
    }

    /// The word for it in flags, overrides and manifests.
    pub fn key(&self) -> &'static str {
        match self {
            Target::Reduction(_) => "reduction",
            Target::Rank(_) => "rank",
            Target::Bits(_) => "bits",
            Target::Energy(_) => "energy",
            Target::MaxError(_) => "max-error",
            Target::Size(_) => "target-size",
        }
    }

    fn value(&self) -> String {
        match self {
            Target::Reduction(value) | Target::Energy(value) | Target::MaxError(value) => value.to_string(),
            Target::Rank(rank) => rank.to_string(),
            Target::Bits(bits) => bits.to_string(),
            Target::Size(size) => size.to_string(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.key(), self.value())
    }
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T> {
    let expected = if matches!(key, "rank" | "bits") { "a whole number of at least 1" } else { "a number such as 0.9" };
    value.trim().parse().map_err(|_| out_of_range(key, expected, &format!("`{}`", value.escape_debug())))
}

fn out_of_range(key: &str, expected: &str, found: &str) -> Error {
    Error::new(ErrorKind::Request, format!("value of `{key}` is out of range")).expected(expected).found(found)
}
