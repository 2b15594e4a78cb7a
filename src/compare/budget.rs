//! The sizes at which methods are compared.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Size, Target};

/// Bits per parameter at which methods are compared unless the user says otherwise.
pub const DEFAULT_BITS: [f64; 6] = [8.0, 4.0, 3.2, 2.0, 1.6, 1.0];

/// The most that an encoded table may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// The fraction of the table's bytes that goes, in (0, 1).
    Reduction(f64),
    /// A size, of which a fraction is one of the table's bytes.
    Size(Size),
    /// Bits for each of the `V d` numbers.
    BitsPerParameter(f64),
}

impl Budget {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] with the range expected.
    pub fn check(&self) -> Result<()> {
        match *self {
            Budget::Reduction(reduction) => Target::Reduction(reduction).check(),
            Budget::Size(size) => Target::Size(size).check(),
            Budget::BitsPerParameter(bits) if bits > 0.0 && bits <= 64.0 => Ok(()),
            Budget::BitsPerParameter(bits) => {
                Err(Error::new(ErrorKind::Request, "bits per parameter are out of range")
                    .expected("a number above 0 and at most 64")
                    .found(bits.to_string()))
            }
        }
    }

    /// Bytes, for a table of `parameters` numbers that takes `dense` bytes; rounded down.
    pub fn bytes(&self, parameters: u64, dense: u64) -> u64 {
        match *self {
            Budget::Reduction(reduction) => dense - Size::Fraction(reduction).bytes(dense).min(dense),
            Budget::Size(size) => size.bytes(dense),
            Budget::BitsPerParameter(bits) => (bits * parameters as f64 / 8.0).floor() as u64,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Budget::Reduction(reduction) => write!(out, "reduction {reduction}"),
            Budget::Size(size) => write!(out, "{size}"),
            Budget::BitsPerParameter(1.0) => out.write_str("1 bit per parameter"),
            Budget::BitsPerParameter(bits) => write!(out, "{bits} bits per parameter"),
        }
    }
}
