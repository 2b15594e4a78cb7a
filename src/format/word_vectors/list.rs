//! Lists of words in files of their own: one a line.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places are those that `memchr` found in the same bytes, and the length of an escape that was matched"
)]

use std::ops::Range;
use std::path::Path;

use memchr::memchr;

use super::table::malformed;
use crate::error::Result;
use crate::format::Vocabulary;
use crate::format::limits::MAX_WORD;
use crate::format::map::MappedBytes;

/// Words of which the first one's place is remembered.
const BLOCK: usize = 64;

/// A mapped list of words.
pub struct WordList {
    map: MappedBytes,
    escaped: bool,
    count: usize,
    /// Where every [`BLOCK`]th word begins.
    starts: Vec<usize>,
}

impl WordList {
    /// Maps `path` and finds its lines, which may end in a carriage return; the last one need not end. Where the list
    /// is `escaped`, its words are as [`escape`] writes them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] where it cannot be read, [`crate::ErrorKind::Malformed`] where a line is too long.
    pub fn open(path: &Path, escaped: bool) -> Result<Self> {
        let map = MappedBytes::open(path)?;
        let (mut count, mut starts, mut at) = (0, Vec::new(), 0);
        while at < map.len() {
            if count % BLOCK == 0 {
                starts.push(at);
            }
            let rest = &map[at..];
            // An escaped byte takes four.
            let window = &rest[..rest.len().min(4 * MAX_WORD + 1)];
            let length = memchr(b'\n', window).unwrap_or(window.len());
            if length > 4 * MAX_WORD {
                let error = malformed(format!("line {} is too long for a word", count + 1));
                return Err(error.expected(format!("at most {} bytes", 4 * MAX_WORD)).at(path));
            }
            count += 1;
            at += length + 1;
        }
        Ok(WordList { map, escaped, count, starts })
    }
}

impl Vocabulary for WordList {
    fn count(&self) -> usize {
        self.count
    }

    fn words(&self, rows: Range<usize>, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Some(&(mut at)) = self.starts.get(rows.start / BLOCK) else { return Ok(()) };
        let mut word = Vec::new();
        for row in rows.start / BLOCK * BLOCK..rows.end.min(self.count) {
            let rest = self.map.get(at..).unwrap_or_default();
            let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
            at += line.len() + 1;
            if row < rows.start {
                continue;
            }
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.escaped {
                word.clear();
                unescape(line, &mut word);
                take(&word)?;
            } else {
                take(line)?;
            }
        }
        Ok(())
    }
}

/// Appends a word as one line of UTF-8: a backslash becomes `\\`, a line feed `\n`, a carriage return `\r`, and a byte
/// that is not UTF-8 `\xHH`. Blanks stay.
pub fn escape(word: &[u8], out: &mut Vec<u8>) {
    for chunk in word.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// Appends the word of a line that [`escape`] wrote. A backslash that begins nothing which that writes stands for
/// itself.
fn unescape(line: &[u8], out: &mut Vec<u8>) {
    let mut rest = line;
    while let Some((&byte, behind)) = rest.split_first() {
        let (value, length) = match (byte, behind) {
            (b'\\', [b'\\', ..]) => (b'\\', 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => (byte, 1),
            },
            _ => (byte, 1),
        };
        out.push(value);
        rest = &rest[length..];
    }
}

/// The value of a lower-case hexadecimal digit.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_escaped_where_a_line_cannot_hold_them() {
        let mut out = Vec::new();
        escape(b"a b\\n\r\n\xc3\xa4\xff.", &mut out);
        assert_eq!(out, b"a b\\\\n\\r\\n\xc3\xa4\\xff.");
    }

    proptest! {
        #[test]
        fn every_word_comes_back(word in prop::collection::vec(any::<u8>(), 0..40)) {
            let (mut line, mut back) = (Vec::new(), Vec::new());
            escape(&word, &mut line);
            prop_assert!(std::str::from_utf8(&line).is_ok_and(|line| !line.contains(['\n', '\r'])));
            unescape(&line, &mut back);
            prop_assert_eq!(back, word);
        }
    }
}
