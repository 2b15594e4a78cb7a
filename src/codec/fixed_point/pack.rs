//! Codes to bits: the first code in the lowest bits, none of them wasted but the tail of a row.

/// Appends `codes`, each below 2^`bits`, to `out`, and fills up to `bytes` with zeros.
pub(super) fn pack(codes: &[u16], bits: u32, bytes: usize, out: &mut Vec<u8>) {
    let end = out.len() + bytes;
    match bits {
        8 => out.extend(codes.iter().map(|&code| code as u8)),
        16 => out.extend(codes.iter().flat_map(|code| code.to_le_bytes())),
        _ => {
            // Eight codes of b bits are b whole bytes.
            for codes in codes.chunks(8) {
                let word = codes.iter().rev().fold(0u64, |word, &code| word << bits | u64::from(code));
                let used = (codes.len() * bits as usize).div_ceil(8);
                out.extend_from_slice(&word.to_le_bytes()[..used]);
            }
        }
    }
    out.resize(end, 0);
}

/// Reads as many codes as `codes` holds from `bytes`, as [`pack`] wrote them; what is missing is read as zero.
pub(super) fn unpack(bytes: &[u8], bits: u32, codes: &mut [u16]) {
    match bits {
        8 => codes.iter_mut().zip(bytes).for_each(|(code, &byte)| *code = u16::from(byte)),
        16 => codes.iter_mut().zip(bytes.as_chunks().0).for_each(|(code, pair)| *code = u16::from_le_bytes(*pair)),
        _ => {
            let mask = (1u64 << bits) - 1;
            for (codes, bytes) in codes.chunks_mut(8).zip(bytes.chunks(bits as usize)) {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                let word = u64::from_le_bytes(word);
                for (index, code) in codes.iter_mut().enumerate() {
                    *code = (word >> (index as u32 * bits) & mask) as u16;
                }
            }
        }
    }
}
