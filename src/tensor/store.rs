//! Numbers to stored bytes: rounding to nearest even, little-endian.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places in a block that was cut to the length of the values"
)]

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Dtype;

/// A finite number became infinite in the dtype it is stored in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overflow {
    /// Position in the slice.
    pub index: usize,
    /// The number before rounding.
    pub value: f64,
}

/// Numbers that can be rounded to a [table float](Dtype::is_table_float) and stored.
pub trait Store: Copy {
    /// Rounds `values` in place to `dtype` and appends their bytes to `out`.
    ///
    /// # Errors
    /// [`Overflow`] where a finite value is out of the range of `dtype`; `out` is of no use then.
    fn store(values: &mut [Self], dtype: Dtype, out: &mut Vec<u8>) -> Result<(), Overflow>;

    /// Positive or negative infinity.
    fn infinity(negative: bool) -> Self;
}

/// Rounds through `$stored` and appends; `$half` and `$back` name the slice conversions of the half crate.
macro_rules! store_halves {
    ($values:expr, $out:expr, $half:ty, $half_to:ident, $back:ident) => {{
        const BLOCK: usize = 1024;
        let mut block = [<$half>::ZERO; BLOCK];
        for (start, chunk) in (0..).step_by(BLOCK).zip($values.chunks_mut(BLOCK)) {
            let block = &mut block[..chunk.len()];
            block.$half_to(chunk);
            if let Some(at) = block.iter().zip(chunk.iter()).position(|(b, v)| b.is_infinite() && v.is_finite()) {
                return Err(Overflow { index: start + at, value: chunk[at] as f64 });
            }
            block.$back(chunk);
            $out.extend(block.iter().flat_map(|half| half.to_le_bytes()));
        }
    }};
}

impl Store for f32 {
    fn store(values: &mut [f32], dtype: Dtype, out: &mut Vec<u8>) -> Result<(), Overflow> {
        match dtype {
            Dtype::F64 => out.extend(values.iter().flat_map(|&value| f64::from(value).to_le_bytes())),
            Dtype::F16 => store_halves!(values, out, f16, convert_from_f32_slice, convert_to_f32_slice),
            Dtype::BF16 => store_halves!(values, out, bf16, convert_from_f32_slice, convert_to_f32_slice),
            _ => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
        Ok(())
    }

    fn infinity(negative: bool) -> f32 {
        if negative { f32::NEG_INFINITY } else { f32::INFINITY }
    }
}

impl Store for f64 {
    fn store(values: &mut [f64], dtype: Dtype, out: &mut Vec<u8>) -> Result<(), Overflow> {
        match dtype {
            Dtype::F64 => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Dtype::F16 => store_halves!(values, out, f16, convert_from_f64_slice, convert_to_f64_slice),
            Dtype::BF16 => store_halves!(values, out, bf16, convert_from_f64_slice, convert_to_f64_slice),
            _ => {
                for (index, value) in values.iter_mut().enumerate() {
                    let rounded = *value as f32;
                    if rounded.is_infinite() && value.is_finite() {
                        return Err(Overflow { index, value: *value });
                    }
                    *value = f64::from(rounded);
                    out.extend_from_slice(&rounded.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    fn infinity(negative: bool) -> f64 {
        if negative { f64::NEG_INFINITY } else { f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_what_was_stored() {
        let mut values = [1.0 + 1.0 / 4096.0, -2.5, 0.0f32];
        let mut bytes = Vec::new();
        f32::store(&mut values, Dtype::F16, &mut bytes).expect("in range");
        assert_eq!(values, [1.0, -2.5, 0.0]);
        assert_eq!(bytes.len(), 6);
        assert_eq!(f16::from_le_bytes([bytes[2], bytes[3]]).to_f32(), -2.5);
    }

    #[test]
    fn a_finite_value_out_of_range_is_named() {
        let mut values = vec![0.0f32; 1500];
        values[1100] = 1e6;
        let overflow = f32::store(&mut values, Dtype::F16, &mut Vec::new()).expect_err("65504 is the limit");
        assert_eq!(overflow, Overflow { index: 1100, value: 1e6 });
        let mut wide = [1e300f64];
        assert!(f64::store(&mut wide, Dtype::F32, &mut Vec::new()).is_err());
    }

    #[test]
    fn ties_round_to_even() {
        // bf16 has 8 significant bits: 257 and 259 lie midway between neighbours.
        let mut values = [257.0f64, 259.0];
        f64::store(&mut values, Dtype::BF16, &mut Vec::new()).expect("in range");
        assert_eq!(values, [256.0, 260.0]);
    }
}
