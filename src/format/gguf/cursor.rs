//! Little-endian values one after the other, none taken from beyond the end.

use crate::error::{Error, ErrorKind, Result};

/// Bytes of a name; ggml takes 64.
const MAX_NAME: u64 = 1 << 16;

/// A place in a file.
pub(super) struct Cursor<'f> {
    file: &'f [u8],
    at: usize,
}

pub(super) fn malformed(summary: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, summary)
}

impl<'f> Cursor<'f> {
    pub(super) fn new(file: &'f [u8]) -> Self {
        Cursor { file, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.file.len().saturating_sub(self.at)
    }

    /// The next `length` bytes, which hold `what`.
    pub(super) fn take(&mut self, length: u64, what: &str) -> Result<&'f [u8]> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.file.get(self.at..end)).ok_or_else(|| {
            malformed(format!("the file ends within {what}"))
                .expected(format!("{length} bytes"))
                .found(format!("{} bytes", self.left()))
        })?;
        self.at = self.at.saturating_add(taken.len());
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        // What was taken is as long as was asked for.
        Ok(self.take(N as u64, what)?.first_chunk().copied().unwrap_or([0; N]))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of things of at least `least` bytes each, of which no more are claimed than the file has room for.
    pub(super) fn count(&mut self, least: u64, what: &str) -> Result<u64> {
        let count = self.u64(what)?;
        let room = (self.left() as u64).checked_div(least).unwrap_or(u64::MAX);
        if count > room {
            return Err(malformed(format!("{what} is more than the file has room for"))
                .expected(format!("at most {room}"))
                .found(count.to_string()));
        }
        Ok(count)
    }

    /// A string: its length and its bytes.
    pub(super) fn string(&mut self, what: &str) -> Result<&'f [u8]> {
        let length = self.u64(what)?;
        self.take(length, what)
    }

    /// A string of UTF-8 that is short.
    pub(super) fn name(&mut self, what: &str) -> Result<String> {
        let length = self.u64(what)?;
        if length > MAX_NAME {
            return Err(malformed(format!("{what} is too long"))
                .expected(format!("at most {MAX_NAME} bytes"))
                .found(length.to_string()));
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| malformed(format!("{what} is not UTF-8")).caused_by(error))
    }
}
