//! The wire format of Protocol Buffers: fields and where they are, nothing copied.
//!
//! After <https://protobuf.dev/programming-guides/encoding>. A parsed message would lose fields that the parser does not
//! know and would hold every weight in memory; here a message is a range of the file, and what is not understood is
//! copied as it stands.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of the longest number: 64 bits, 7 in each byte.
const MAX_VARINT: usize = 10;

/// A field of a message.
#[derive(Debug, Clone)]
pub(super) struct Field {
    /// Its number in the message's definition.
    pub(super) number: u32,
    /// What it holds.
    pub(super) payload: Payload,
    /// Where it is in the file, its tag included.
    pub(super) whole: Range<usize>,
}

/// What a field holds, by its wire type.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64,
    /// Bytes, text, a message or packed numbers.
    Bytes(Range<usize>),
    /// Four bytes.
    Fixed32,
}

impl Field {
    /// Where its bytes are, where it holds bytes of some length.
    pub(super) fn bytes(&self) -> Option<Range<usize>> {
        match &self.payload {
            Payload::Bytes(range) => Some(range.clone()),
            _ => None,
        }
    }

    /// Its number, where it holds one of variable length.
    pub(super) fn varint(&self) -> Option<u64> {
        match self.payload {
            Payload::Varint(value) => Some(value),
            _ => None,
        }
    }
}

pub(super) fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

/// The fields of the message in `range` of `file`, one after the other.
pub(super) fn fields(file: &[u8], range: Range<usize>) -> Fields<'_> {
    Fields { file: file.get(..range.end).unwrap_or_default(), at: range.start }
}

/// What [`fields`] gives. After an error there is nothing more.
pub(super) struct Fields<'f> {
    /// Up to the end of the message.
    file: &'f [u8],
    at: usize,
}

impl Iterator for Fields<'_> {
    type Item = Result<Field>;

    fn next(&mut self) -> Option<Result<Field>> {
        if self.at >= self.file.len() {
            return None;
        }
        let field = self.field();
        match &field {
            Ok(field) => self.at = field.whole.end,
            Err(_) => self.at = self.file.len(),
        }
        Some(field)
    }
}

impl Fields<'_> {
    fn field(&self) -> Result<Field> {
        let start = self.at;
        let mut at = start;
        let tag = varint(self.file, &mut at)?;
        let number = u32::try_from(tag >> 3).ok().filter(|&number| number > 0);
        let number = number.ok_or_else(|| malformed("a field has no number").found(format!("tag {tag}")))?;
        let take = |at: &mut usize, length: u64| {
            let from = *at;
            let end = usize::try_from(length).ok().and_then(|length| from.checked_add(length));
            let end = end.filter(|&end| end <= self.file.len()).ok_or_else(|| {
                malformed(format!("field {number} ends beyond the message around it"))
                    .expected(format!("at most {} bytes", self.file.len().saturating_sub(from)))
                    .found(length.to_string())
            })?;
            *at = end;
            Ok(from..end)
        };
        let payload = match tag & 7 {
            0 => Payload::Varint(varint(self.file, &mut at)?),
            1 => take(&mut at, 8).map(|_| Payload::Fixed64)?,
            2 => {
                let length = varint(self.file, &mut at)?;
                Payload::Bytes(take(&mut at, length)?)
            }
            5 => take(&mut at, 4).map(|_| Payload::Fixed32)?,
            other => {
                return Err(malformed(format!("field {number} is of a wire type that ONNX has not"))
                    .expected("0, 1, 2 or 5")
                    .found(other.to_string()));
            }
        };
        Ok(Field { number, payload, whole: start..at })
    }
}

/// Reads a number of variable length at `at`, and moves `at` behind it.
pub(super) fn varint(file: &[u8], at: &mut usize) -> Result<u64> {
    let mut value = 0u64;
    for (shift, (place, &byte)) in
        (0..).step_by(7).zip((*at..).zip(file.get(*at..).unwrap_or_default())).take(MAX_VARINT)
    {
        // The tenth byte has one bit of 64 left.
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *at = place.saturating_add(1);
            return Ok(value);
        }
    }
    Err(malformed("a number has no end").expected("at most 10 bytes, the last below 128, within its message"))
}

/// Appends a number of variable length.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field that holds a number.
pub(super) fn put_number(field: u32, value: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(field) << 3, out);
    put_varint(value, out);
}

/// Appends the tag and the length of a field of `length` bytes, which are to follow.
pub(super) fn put_head(field: u32, length: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(field) << 3 | 2, out);
    put_varint(length, out);
}

/// Appends a field that holds bytes, text or a message.
pub(super) fn put_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_head(field, bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<Field>> {
        fields(bytes, 0..bytes.len()).collect()
    }

    proptest! {
        #[test]
        fn what_is_put_is_read_back(number in 1u32..1 << 29, value: u64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_number(number, value, &mut out);
            put_bytes(number, &bytes, &mut out);
            let read = all(&out).unwrap();
            prop_assert_eq!(read.len(), 2);
            prop_assert_eq!(read[0].varint(), Some(value));
            prop_assert_eq!(&out[read[1].bytes().unwrap()], &bytes[..]);
            prop_assert_eq!(read[1].whole.end, out.len());
        }

        #[test]
        fn fields_of_any_bytes_cover_them_or_are_refused(bytes: Vec<u8>) {
            if let Ok(read) = all(&bytes) {
                let mut at = 0;
                for field in read {
                    prop_assert_eq!(field.whole.start, at);
                    at = field.whole.end;
                }
                prop_assert_eq!(at, bytes.len());
            }
        }
    }

    #[test]
    fn lengths_and_numbers_that_lie_are_refused() {
        for bytes in [&[0x0a, 5, 1][..], &[0x08, 0x80], &[0x09, 1], &[0x0d], &[0x03], &[0x00, 1]] {
            assert!(all(bytes).is_err(), "{bytes:?}");
        }
        let long = [[0x08].as_slice(), &[0xff; 9], &[2]].concat();
        assert!(all(&long).is_err(), "65 bits");
        let longest = [[0x0a].as_slice(), &[0xff; 9], &[1]].concat();
        assert!(all(&longest).is_err(), "2^64 - 1 bytes");
    }
}
