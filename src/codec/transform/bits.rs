//! Codes of any width packed without gaps, the lowest bit first.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "at most 32 bits are asked for while fewer than 8 wait, in a word of 64; measured"
)]

/// Appends codes to bytes; whatever follows the last code in its byte is zero.
pub(super) struct BitWriter<'a> {
    bytes: std::slice::IterMut<'a, u8>,
    pending: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    /// Writes to `bytes` from its begin.
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        BitWriter { bytes: bytes.iter_mut(), pending: 0, count: 0 }
    }

    /// Appends the lowest `bits` (at most 32) of `code`. What the bytes do not hold is dropped.
    #[inline]
    pub(super) fn put(&mut self, code: u32, bits: u32) {
        self.pending |= u64::from(code) << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.flush();
        }
    }

    /// Writes what is left of the last byte.
    pub(super) fn finish(mut self) {
        if self.count > 0 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(byte) = self.bytes.next() {
            *byte = self.pending as u8;
        }
        self.pending >>= 8;
        self.count = self.count.saturating_sub(8);
    }
}

/// Reads codes back.
pub(super) struct BitReader<'a> {
    bytes: std::slice::Iter<'a, u8>,
    pending: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    /// Reads from the begin of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes: bytes.iter(), pending: 0, count: 0 }
    }

    /// The next code of `bits` (at most 32); zeros after the last byte.
    #[inline]
    pub(super) fn take(&mut self, bits: u32) -> u32 {
        while self.count < bits {
            self.pending |= u64::from(self.bytes.next().copied().unwrap_or(0)) << self.count;
            self.count += 8;
        }
        let code = self.pending & ((1 << bits) - 1);
        self.pending >>= bits;
        self.count -= bits;
        code as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_mixed_widths_come_back() {
        let codes: Vec<(u32, u32)> = (0..200u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7, 1 + i % 12)).collect();
        let bits: u32 = codes.iter().map(|(_, bits)| bits).sum();
        let mut bytes = vec![0xff; bits.div_ceil(8) as usize];
        let mut writer = BitWriter::new(&mut bytes);
        codes.iter().for_each(|&(code, bits)| writer.put(code & ((1 << bits) - 1), bits));
        writer.finish();
        let mut reader = BitReader::new(&bytes);
        for (code, bits) in codes {
            assert_eq!(reader.take(bits), code & ((1 << bits) - 1));
        }
        assert_eq!(reader.take(32), 0, "padding and what follows are zero");
    }
}
