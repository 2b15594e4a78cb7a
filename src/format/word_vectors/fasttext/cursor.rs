//! Little-endian values one after the other, none taken from beyond the end.

use std::ops::Range;

use super::super::table::malformed;
use crate::error::Result;

/// A place in a file.
pub(super) struct Cursor<'f> {
    file: &'f [u8],
    at: usize,
}

impl<'f> Cursor<'f> {
    pub(super) fn new(file: &'f [u8]) -> Self {
        Cursor { file, at: 0 }
    }

    /// Where it is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes left.
    pub(super) fn left(&self) -> usize {
        self.file.len().saturating_sub(self.at)
    }

    /// The bytes left.
    pub(super) fn rest(&self) -> &'f [u8] {
        self.file.get(self.at..).unwrap_or_default()
    }

    /// The place of the next `length` bytes, which hold `what`.
    pub(super) fn take(&mut self, length: usize, what: &str) -> Result<Range<usize>> {
        if length > self.left() {
            return Err(malformed(format!("the file ends within {what}"))
                .expected(format!("{length} bytes"))
                .found(format!("{} bytes", self.left())));
        }
        let start = self.at;
        self.at = start.saturating_add(length);
        Ok(start..self.at)
    }

    /// The place of `count` values of `width` bytes.
    pub(super) fn values(&mut self, count: Option<usize>, width: usize, what: &str) -> Result<Range<usize>> {
        match count.and_then(|count| count.checked_mul(width)) {
            Some(length) => self.take(length, what),
            None => Err(malformed(format!("the size of {what} overflows"))),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let rest = self.rest();
        self.take(N, what)?;
        // What was taken is there.
        Ok(rest.first_chunk().copied().unwrap_or([0; N]))
    }

    pub(super) fn i32(&mut self, what: &str) -> Result<i32> {
        self.array(what).map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self, what: &str) -> Result<i64> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// A number of 32 bits that is not negative.
    pub(super) fn count(&mut self, what: &str) -> Result<usize> {
        let value = self.i32(what)?;
        usize::try_from(value).map_err(|_| negative(what, value.into()))
    }

    /// A number of 64 bits that is not negative.
    pub(super) fn long_count(&mut self, what: &str) -> Result<usize> {
        let value = self.i64(what)?;
        usize::try_from(value).map_err(|_| negative(what, value))
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, what: &str) -> Result<bool> {
        match self.array::<1>(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(malformed(format!("{what} is no answer")).expected("0 or 1").found(other.to_string())),
        }
    }
}

fn negative(what: &str, value: i64) -> crate::Error {
    malformed(format!("{what} is negative")).expected("a number from 0").found(value.to_string())
}
