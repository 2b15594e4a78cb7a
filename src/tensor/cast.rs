//! Elements from one table float to another, with what that costs.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "counts of elements that stand in memory; no table float has zero bytes"
)]

use super::{Dtype, MappedRows, Rows, Store};
use crate::error::{Error, ErrorKind, Result};

/// Elements that are cast at a time: they stay in the second-level cache.
const BLOCK: usize = 1 << 14;

/// A cast of a tensor that comes in pieces.
#[derive(Debug)]
pub struct Cast {
    from: Dtype,
    to: Dtype,
    allow_overflow: bool,
    elements: u64,
    /// Sum of the squares of the finite elements.
    pub squared_norm: f64,
    /// Sum of the squared differences of those that stay finite.
    pub squared_error: f64,
    /// The largest of those differences.
    pub max_absolute_error: f64,
    /// Finite elements that became infinite.
    pub overflowed: u64,
}

impl Cast {
    /// Bytes that a caller should give at a time, so that what comes out stays small.
    pub const PIECE: usize = 1 << 20;

    /// A cast between two [table floats](Dtype::is_table_float). Finite elements beyond the range of `to` become
    /// infinite where `allow_overflow` says so, and are errors elsewhere.
    pub fn new(from: Dtype, to: Dtype, allow_overflow: bool) -> Self {
        Cast {
            from,
            to,
            allow_overflow,
            elements: 0,
            squared_norm: 0.0,
            squared_error: 0.0,
            max_absolute_error: 0.0,
            overflowed: 0,
        }
    }

    /// `||W - cast||_F / ||W||_F` over the elements that stayed finite.
    pub fn relative_frobenius_error(&self) -> f64 {
        if self.squared_norm == 0.0 { 0.0 } else { (self.squared_error / self.squared_norm).sqrt() }
    }

    /// Casts the next elements and appends them to `out`.
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`] where a finite element overflows and may not; [`ErrorKind::Unsupported`] where a dtype
    /// is no table float.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        for block in bytes.chunks(BLOCK * self.from.bytes()) {
            let count = block.len() / self.from.bytes();
            let rows = MappedRows::new(block, self.from, 1, count)?;
            if self.from == Dtype::F64 {
                let mut values = vec![0f64; count];
                rows.read_f64(0..1, &mut values)?;
                self.store(values, out)?;
            } else {
                let mut values = vec![0f32; count];
                rows.read_f32(0..1, &mut values)?;
                self.store(values, out)?;
            }
            self.elements += count as u64;
        }
        Ok(())
    }

    fn store<T: Store + Into<f64>>(&mut self, mut values: Vec<T>, out: &mut Vec<u8>) -> Result<()> {
        let exact = values.clone();
        if self.allow_overflow {
            let limit = first_infinite(self.to);
            for value in &mut values {
                let wide: f64 = (*value).into();
                if wide.abs() >= limit && wide.is_finite() {
                    *value = T::infinity(wide.is_sign_negative());
                    self.overflowed += 1;
                }
            }
        }
        T::store(&mut values, self.to, out).map_err(|overflow| {
            Error::new(ErrorKind::NonFinite, "an element leaves the range of the dtype it is cast to")
                .expected(format!("a finite {}", self.to))
                .found(format!("{:e} as element {}", overflow.value, self.elements + overflow.index as u64))
                .hint("cast to bf16 or f32, or let such elements become infinite with `--allow-overflow`")
        })?;
        for (&exact, &stored) in exact.iter().zip(&values) {
            let (exact, stored): (f64, f64) = (exact.into(), stored.into());
            if exact.is_finite() && stored.is_finite() {
                let difference = exact - stored;
                self.squared_norm += exact * exact;
                self.squared_error += difference * difference;
                self.max_absolute_error = self.max_absolute_error.max(difference.abs());
            }
        }
        Ok(())
    }
}

/// The least number that rounds to infinity: half a unit in the last place above the largest that is finite.
fn first_infinite(dtype: Dtype) -> f64 {
    let scale = 2f64.powi(127);
    match dtype {
        Dtype::F16 => 65520.0,
        Dtype::BF16 => (2.0 - 2f64.powi(-8)) * scale,
        Dtype::F32 => (2.0 - 2f64.powi(-24)) * scale,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(values: &[f32], to: Dtype, allow_overflow: bool) -> Result<(Cast, Vec<u8>)> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut cast = Cast::new(Dtype::F32, to, allow_overflow);
        let mut out = Vec::new();
        cast.push(&bytes, &mut out)?;
        Ok((cast, out))
    }

    #[test]
    fn the_error_is_that_of_rounding() {
        let (cast, out) = cast(&[3.0, 4.0 + 1.0 / 256.0], Dtype::BF16, false).expect("in range");
        assert_eq!(out, [0x40, 0x40, 0x80, 0x40]);
        assert_eq!(cast.max_absolute_error, 1.0 / 256.0);
        assert!((cast.relative_frobenius_error() - 1.0 / 256.0 / 5.0).abs() < 1e-5);
    }

    #[test]
    fn overflow_is_an_error_unless_it_is_allowed() {
        let values = [65519.0, -65520.0, f32::INFINITY];
        let error = cast(&values, Dtype::F16, false).expect_err("beyond the range");
        assert!(error.to_string().contains("-6.552e4 as element 1"), "{error}");
        let (cast, out) = cast(&values, Dtype::F16, true).expect("allowed");
        assert_eq!(cast.overflowed, 1);
        assert_eq!(out, [0xff, 0x7b, 0x00, 0xfc, 0x00, 0x7c]);
    }
}
