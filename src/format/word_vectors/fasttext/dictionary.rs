//! The words of a model, and the rows of their character n-grams.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places are those that `memchr` found in the same bytes; the number of buckets is looked at before it divides"
)]

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use memchr::memchr;

use super::super::table::malformed;
use super::cursor::Cursor;
use crate::error::Result;
use crate::format::limits::MAX_WORD;

/// The word that stands for the end of a line; it has no n-grams.
const END_OF_LINE: &[u8] = b"</s>";

/// Words of which the first one's place is remembered.
const BLOCK: usize = 64;

/// Bytes behind the zero that ends a word: its count and whether it is a label.
const BEHIND: usize = 9;

pub(super) struct Dictionary {
    words: usize,
    buckets: usize,
    lengths: RangeInclusive<usize>,
    /// Where every [`BLOCK`]th word begins.
    starts: Vec<usize>,
    /// The row behind the words of each bucket that was kept, where not all were.
    kept: Option<HashMap<i32, i32>>,
}

impl Dictionary {
    /// Reads the entries, words before labels.
    pub(super) fn read(cursor: &mut Cursor<'_>, buckets: usize, lengths: RangeInclusive<i32>) -> Result<Self> {
        let entries = cursor.count("the number of entries")?;
        let words = cursor.count("the number of words")?;
        let labels = cursor.count("the number of labels")?;
        cursor.take(8, "the number of tokens")?;
        let kept = cursor.i64("the number of n-grams kept")?;
        if words.checked_add(labels) != Some(entries) || entries > cursor.left() / (1 + BEHIND) {
            return Err(malformed("the dictionary lies about its size")
                .expected(format!("{words} words and {labels} labels in {} bytes", cursor.left()))
                .found(format!("{entries} entries")));
        }
        let mut starts = Vec::new();
        for entry in 0..entries {
            if entry % BLOCK == 0 && entry < words {
                starts.push(cursor.at());
            }
            let rest = cursor.rest();
            let Some(length) = memchr(0, &rest[..rest.len().min(MAX_WORD + 1)]) else {
                return Err(malformed(format!("entry {} of the dictionary has no end", entry + 1))
                    .expected(format!("a zero within {MAX_WORD} bytes")));
            };
            let place = cursor.take(length + 1 + BEHIND, "the dictionary")?;
            let kind = rest.get(place.len() - 1).copied();
            if kind != Some(u8::from(entry >= words)) {
                return Err(malformed(format!("entry {} of the dictionary is of the wrong kind", entry + 1))
                    .expected("words before labels")
                    .found(format!("{kind:?}")));
            }
        }
        let kept = match usize::try_from(kept) {
            Ok(count) if count <= cursor.left() / 8 => {
                let mut map = HashMap::with_capacity(count);
                for _ in 0..count {
                    map.insert(cursor.i32("the n-grams kept")?, cursor.i32("the n-grams kept")?);
                }
                Some(map)
            }
            Ok(count) => {
                return Err(malformed("the file ends within the n-grams kept")
                    .expected(format!("{count} of 8 bytes"))
                    .found(format!("{} bytes", cursor.left())));
            }
            // Negative: all were.
            Err(_) => None,
        };
        // Bounded by the longest word, whatever the file says.
        let bound = |length: i32| usize::try_from(length).unwrap_or(0).min(MAX_WORD);
        let lengths = bound(*lengths.start())..=bound(*lengths.end());
        Ok(Dictionary { words, buckets, lengths, starts, kept })
    }

    /// The number of words.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// Calls `take` with the number of each of `words` and the word.
    pub(super) fn each(
        &self,
        file: &[u8],
        words: Range<usize>,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let Some(&(mut at)) = self.starts.get(words.start / BLOCK) else { return Ok(()) };
        for number in words.start / BLOCK * BLOCK..words.end {
            let rest = file.get(at..).unwrap_or_default();
            let word = &rest[..memchr(0, rest).unwrap_or(rest.len())];
            if number >= words.start {
                take(number, word)?;
            }
            at += word.len() + 1 + BEHIND;
        }
        Ok(())
    }

    /// Appends the rows of the n-grams of `word`, in the order in which fastText adds them.
    pub(super) fn subwords(&self, word: &[u8], rows: &mut Vec<usize>) {
        if self.buckets == 0 || *self.lengths.end() == 0 || word == END_OF_LINE {
            return;
        }
        let marked = [b"<", word, b">"].concat();
        let continues = |at: usize| marked.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        for start in (0..marked.len()).filter(|&start| !continues(start)) {
            let mut hash = Hash::new();
            let mut end = start;
            for length in 1..=*self.lengths.end() {
                if end == marked.len() {
                    break;
                }
                hash.add(marked[end]);
                end += 1;
                while continues(end) {
                    hash.add(marked[end]);
                    end += 1;
                }
                let is_mark = length == 1 && (start == 0 || end == marked.len());
                if length >= *self.lengths.start() && !is_mark {
                    rows.extend(self.row(hash));
                }
            }
        }
    }

    fn row(&self, hash: Hash) -> Option<usize> {
        let bucket = hash.0 as usize % self.buckets;
        let Some(kept) = &self.kept else { return Some(self.words + bucket) };
        let row = kept.get(&i32::try_from(bucket).ok()?)?;
        // What is negative lies beyond every matrix, which whoever reads the row finds.
        Some(self.words.saturating_add(usize::try_from(*row).unwrap_or(usize::MAX)))
    }
}

/// FNV-1a of 32 bits over signed bytes, as fastText has it.
#[derive(Clone, Copy)]
struct Hash(u32);

impl Hash {
    fn new() -> Self {
        Hash(2_166_136_261)
    }

    fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ byte.cast_signed() as u32).wrapping_mul(16_777_619);
    }
}
