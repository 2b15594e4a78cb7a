//! Words and their numbers.

#![expect(clippy::arithmetic_side_effects, reason = "counts of words and lines of a text that stands in memory")]

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use super::{Casing, Example, words};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

/// The number of what fills short sentences up.
pub const PADDING: u32 = 0;

/// The number of words that are in no training example.
pub const UNKNOWN: u32 = 1;

/// What `vocab.txt` calls the two.
const SPECIAL: [&str; 2] = ["<pad>", "<unk>"];

/// Bytes of the longest `vocab.txt` that is read.
const MAX_BYTES: u64 = 1 << 30;

/// The words that a table has rows for. A word's number is its row: [`PADDING`] and [`UNKNOWN`] first, then words by
/// falling frequency, those of one frequency by their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    casing: Casing,
    words: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Vocabulary {
    /// The words of `examples`. A row of a word that no training example has stays as it starts: of use where it starts
    /// from a vector, of none where it starts at random.
    pub fn of<'e>(examples: impl IntoIterator<Item = &'e Example>, casing: Casing) -> Self {
        let mut counts: HashMap<Cow<'_, str>, u64> = HashMap::new();
        for word in examples.into_iter().flat_map(|example| words(&example.text)) {
            *counts.entry(casing.apply(word)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().filter(|(word, _)| !SPECIAL.contains(&word.as_ref())).collect();
        counts.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        let special = SPECIAL.into_iter().map(str::to_owned);
        let words = special.chain(counts.into_iter().map(|(word, _)| word.into_owned()));
        Vocabulary::with_words(words.collect(), casing)
    }

    fn with_words(words: Vec<String>, casing: Casing) -> Self {
        let numbers = (0..).zip(&words).map(|(number, word)| (word.clone(), number)).collect();
        Vocabulary { casing, words, numbers }
    }

    /// Reads a `vocab.txt`: the word of row n is on line n + 1. Words of sentences are looked up in `casing`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where it cannot be read; [`ErrorKind::Malformed`], with the line, where it does not begin
    /// with `<pad>` and `<unk>`, where a line is no word, and where a word is there twice.
    pub fn read(path: &Path, casing: Casing) -> Result<Self> {
        let bytes = limits::read(path, MAX_BYTES)?;
        Vocabulary::parse(&String::from_utf8_lossy(&bytes), casing).map_err(|error| error.at(path))
    }

    fn parse(text: &str, casing: Casing) -> Result<Self> {
        let fault = |line: usize, summary: &str, found: &str| {
            Error::new(ErrorKind::Malformed, format!("line {line} {summary}"))
                .found(format!("`{}`", found.chars().take(60).collect::<String>().escape_debug()))
        };
        let words: Vec<String> = text.lines().map(str::to_owned).collect();
        for (index, special) in SPECIAL.into_iter().enumerate() {
            let own = words.get(index).map_or("", String::as_str);
            if own != special {
                return Err(fault(index + 1, "is not what a vocabulary begins with", own)
                    .expected(format!("`{special}`"))
                    .hint("a vocabulary is that of a checkpoint that `rankfold train` made"));
            }
        }
        let mut seen = HashMap::with_capacity(words.len());
        for (index, word) in words.iter().enumerate() {
            if super::words(word).next() != Some(word) {
                return Err(fault(index + 1, "is not one word", word));
            }
            if let Some(first) = seen.insert(word, index) {
                return Err(fault(index + 1, &format!("repeats the word of line {}", first + 1), word));
            }
        }
        if u32::try_from(words.len()).is_err() {
            return Err(Error::new(ErrorKind::Unsupported, "more words than are counted"));
        }
        Ok(Vocabulary::with_words(words, casing))
    }

    /// What `vocab.txt` holds: one word a line, in the order of rows.
    pub fn text(&self) -> String {
        self.words.iter().flat_map(|word| [word, "\n"]).collect()
    }

    /// Rows of the table, the two special ones included.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Never: there are the two special rows.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// How words are spelled before they are looked up.
    pub fn casing(&self) -> Casing {
        self.casing
    }

    /// The number of `word`; [`UNKNOWN`] where it has none. A text cannot name the padding.
    pub fn id(&self, word: &str) -> u32 {
        match self.numbers.get(self.casing.apply(word).as_ref()) {
            None | Some(&PADDING) => UNKNOWN,
            Some(&number) => number,
        }
    }

    /// The row of `word`, where it has one of its own.
    pub(super) fn row(&self, word: &str) -> Option<usize> {
        self.numbers.get(word).map(|&number| number as usize)
    }

    /// Words in the order of their rows.
    pub fn words(&self) -> &[String] {
        &self.words
    }
}
