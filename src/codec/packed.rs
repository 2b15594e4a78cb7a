//! Codes of b bits in bytes: little-endian, the first code in the lowest bits, every row from a fresh byte.
//!
//! No bit is wasted but those that fill up the last byte of a row; they are zero.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "bits are at most 8 where words of eight codes are cut; measured"
)]

/// The widest code that a byte holds.
pub const MAX_BITS: u32 = 8;

/// A number that codes are kept in.
pub trait Code: Copy {
    /// The code as a number of 16 bits.
    fn wide(self) -> u16;

    /// The code from its lowest bits.
    fn narrow(bits: u16) -> Self;
}

impl Code for u8 {
    #[inline(always)]
    fn wide(self) -> u16 {
        self.into()
    }

    #[inline(always)]
    fn narrow(bits: u16) -> Self {
        bits as u8
    }
}

impl Code for u16 {
    #[inline(always)]
    fn wide(self) -> u16 {
        self
    }

    #[inline(always)]
    fn narrow(bits: u16) -> Self {
        bits
    }
}

/// Bytes of a row of `count` codes of `bits` bits; `None` where there is no such number.
pub fn row_bytes(count: usize, bits: u32) -> Option<usize> {
    Some(count.checked_mul(bits as usize)?.div_ceil(8))
}

/// Appends the codes of one row, of at most 8 or of 16 `bits`. Bits of a code above those are dropped.
pub fn pack_row<C: Code>(codes: &[C], bits: u32, out: &mut Vec<u8>) {
    match bits {
        8 => out.extend(codes.iter().map(|code| code.wide() as u8)),
        16 => out.extend(codes.iter().flat_map(|code| code.wide().to_le_bytes())),
        _ => {
            let mask = (1u64 << bits) - 1;
            // Eight codes of b bits are b whole bytes.
            for codes in codes.chunks(8) {
                let word = codes.iter().rev().fold(0u64, |word, code| word << bits | (u64::from(code.wide()) & mask));
                let used = (codes.len() * bits as usize).div_ceil(8);
                out.extend_from_slice(&word.to_le_bytes()[..used]);
            }
        }
    }
}

/// Reads `out.len()` codes of at most 8 or of 16 `bits` from the bytes of one row. Codes whose bytes are not there are
/// zero.
pub fn unpack_row<C: Code>(bytes: &[u8], bits: u32, out: &mut [C]) {
    match bits {
        8 => fill(out, bytes.iter().map(|&byte| byte.into())),
        16 => fill(out, bytes.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair))),
        _ => {
            let mask = (1u64 << bits) - 1;
            let bytes = bytes.chunks(bits as usize).chain(std::iter::repeat(&[][..]));
            for (out, bytes) in out.chunks_mut(8).zip(bytes) {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                let mut word = u64::from_le_bytes(word);
                for code in out {
                    *code = C::narrow((word & mask) as u16);
                    word >>= bits;
                }
            }
        }
    }
}

fn fill<C: Code>(out: &mut [C], codes: impl Iterator<Item = u16>) {
    out.iter_mut().zip(codes.chain(std::iter::repeat(0))).for_each(|(out, code)| *out = C::narrow(code));
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
            (bits, codes) in prop_oneof![1u32..=8, Just(16)].prop_flat_map(|bits| {
                (Just(bits), prop::collection::vec(0u16..=((1u32 << bits) - 1) as u16, 0..70))
            })
        ) {
            let mut bytes = Vec::new();
            pack_row(&codes, bits, &mut bytes);
            prop_assert_eq!(Some(bytes.len()), row_bytes(codes.len(), bits));
            for (at, &code) in codes.iter().enumerate() {
                for j in 0..bits as usize {
                    prop_assert_eq!(u16::from(bit(&bytes, at * bits as usize + j)), code >> j & 1);
                }
            }
            for tail in codes.len() * bits as usize..bytes.len() * 8 {
                prop_assert_eq!(bit(&bytes, tail), 0);
            }
            let mut found = vec![255; codes.len()];
            unpack_row(&bytes, bits, &mut found);
            prop_assert_eq!(&found, &codes);
            if bits <= MAX_BITS {
                let narrow: Vec<u8> = codes.iter().map(|&code| code as u8).collect();
                let (mut same, mut found) = (Vec::new(), vec![255u8; codes.len()]);
                pack_row(&narrow, bits, &mut same);
                unpack_row(&bytes, bits, &mut found);
                prop_assert_eq!((same, found), (bytes, narrow));
            }
        }
    }

    #[test]
    fn a_row_that_is_cut_short_reads_as_zeros() {
        let mut codes = [9u8; 4];
        unpack_row(&[0b1110_0101], 4, &mut codes);
        assert_eq!(codes, [5, 14, 0, 0]);
        for bits in [2, 3, 8, 16] {
            let mut codes = [9u16; 20];
            unpack_row(&[], bits, &mut codes);
            assert_eq!(codes, [0; 20]);
        }
    }

    #[test]
    fn a_length_beyond_memory_has_no_bytes() {
        assert_eq!(row_bytes(usize::MAX, 2), None);
        assert_eq!(row_bytes(3, 3), Some(2));
    }
}
