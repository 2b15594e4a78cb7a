//! Codes of b bits in bytes: little-endian, the first code in the lowest bits, every row from a fresh byte.
//!
//! No bit is wasted but those that fill up the last byte of a row; they are zero.

/// The widest code.
pub const MAX_BITS: u32 = 8;

/// Bytes of a row of `count` codes of `bits` bits; `None` where there is no such number.
pub fn row_bytes(count: usize, bits: u32) -> Option<usize> {
    Some(count.checked_mul(bits as usize)?.div_ceil(8))
}

/// Appends the codes of one row. Bits of a code above the lowest `bits` are dropped.
pub fn pack_row(codes: &[u8], bits: u32, out: &mut Vec<u8>) {
    if bits == MAX_BITS {
        out.extend_from_slice(codes);
        return;
    }
    let mask = (1u32 << bits) - 1;
    let (mut pending, mut held) = (0u32, 0);
    for &code in codes {
        pending |= (u32::from(code) & mask) << held;
        held += bits;
        if held >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        out.push(pending as u8);
    }
}

/// Reads `out.len()` codes from the bytes of one row. Codes whose bytes are not there are zero.
pub fn unpack_row(bytes: &[u8], bits: u32, out: &mut [u8]) {
    if bits == MAX_BITS {
        out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = byte);
        return;
    }
    let mask = (1u32 << bits) - 1;
    let mut bytes = bytes.iter();
    let (mut pending, mut held) = (0u32, 0);
    for out in out {
        if held < bits {
            pending |= u32::from(bytes.next().copied().unwrap_or(0)) << held;
            held += 8;
        }
        *out = (pending & mask) as u8;
        pending >>= bits;
        held -= bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit `i` of a row, counted from the lowest of the first byte.
    fn bit(bytes: &[u8], i: usize) -> u8 {
        bytes[i / 8] >> (i % 8) & 1
    }

    proptest! {
        #[test]
        fn every_bit_of_every_code_is_where_the_format_says(
            (bits, codes) in (1u32..=8).prop_flat_map(|bits| {
                (Just(bits), prop::collection::vec(0u8..=((1u16 << bits) - 1) as u8, 0..70))
            })
        ) {
            let mut bytes = Vec::new();
            pack_row(&codes, bits, &mut bytes);
            prop_assert_eq!(Some(bytes.len()), row_bytes(codes.len(), bits));
            for (at, &code) in codes.iter().enumerate() {
                for j in 0..bits as usize {
                    prop_assert_eq!(bit(&bytes, at * bits as usize + j), code >> j & 1);
                }
            }
            for tail in codes.len() * bits as usize..bytes.len() * 8 {
                prop_assert_eq!(bit(&bytes, tail), 0);
            }
            let mut found = vec![255; codes.len()];
            unpack_row(&bytes, bits, &mut found);
            prop_assert_eq!(found, codes);
        }
    }

    #[test]
    fn a_row_that_is_cut_short_reads_as_zeros() {
        let mut codes = [9; 4];
        unpack_row(&[0b1110_0101], 4, &mut codes);
        assert_eq!(codes, [5, 14, 0, 0]);
    }

    #[test]
    fn a_length_beyond_memory_has_no_bytes() {
        assert_eq!(row_bytes(usize::MAX, 2), None);
        assert_eq!(row_bytes(3, 3), Some(2));
    }
}
