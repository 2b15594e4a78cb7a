//! The table that training starts from: word vectors of a file, or random numbers.

use std::collections::HashMap;
use std::path::Path;

use super::{PADDING, Vocabulary};
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::random::Normal;
use crate::tensor::Rows;

/// Standard deviation of a table that starts at random: about that of trained word vectors of some hundred columns.
pub const RANDOM_DEVIATION: f64 = 0.1;

/// Rows of the file that are read at a time.
const BLOCK: usize = 1024;

/// The first row that is a word's, after padding's.
const WORDS: usize = PADDING as usize + 1;

/// Numbers of a vector: what a table of all words fits the memory with.
const MAX_COLUMNS: usize = 1 << 16;

/// A table `[V, d]` with a row for each word of a vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct InitialTable {
    /// The numbers, row-major; the row of the padding is zeros.
    pub values: Vec<f32>,
    /// d.
    pub columns: usize,
    /// Words of the vocabulary that the file has a vector for.
    pub found: usize,
}

/// The vectors of `path`, a file of any format that stores words beside its table (GloVe and word2vec text among
/// them), for the words of `vocabulary`.
///
/// A word takes the vector of the same bytes, else that of its lower-case form, or where the vocabulary is in lower case
/// that of a word which differs in case alone; of two vectors of one word the first.
/// A word without either gets numbers of a normal distribution drawn by `seed`, of the standard deviation of all
/// numbers that were found.
///
/// # Errors
/// Those of the file; [`ErrorKind::Unsupported`] where it has no words; [`ErrorKind::NonFinite`] where a vector that
/// is taken is not finite; [`ErrorKind::Request`] where no word has a vector.
pub fn initial_table(path: &Path, vocabulary: &Vocabulary, seed: u64) -> Result<InitialTable> {
    let reader = format::open(path)?;
    let read = || {
        let Some(words) = reader.vocabulary() else {
            return Err(Error::new(ErrorKind::Unsupported, "the file has no words beside its vectors")
                .hint("word vectors are GloVe or word2vec text"));
        };
        let mut wanted = Wanted::new(vocabulary);
        let mut row = 0usize;
        words.for_each(&mut |word| {
            wanted.offer(word, row);
            row = row.saturating_add(1);
            Ok(())
        })?;
        fill(reader.rows(0)?.as_ref(), &wanted.rows(), vocabulary, seed)
    };
    read().map_err(|error| error.at(path))
}

/// A table that starts at random: a normal distribution of [`RANDOM_DEVIATION`], drawn by `seed`.
#[expect(clippy::arithmetic_side_effects, reason = "the width is one that the command asks for")]
pub fn random_table(vocabulary: &Vocabulary, columns: usize, seed: u64) -> InitialTable {
    let mut values = vec![0.0; vocabulary.len() * columns];
    let mut normal = Normal::new(seed);
    values.iter_mut().skip(WORDS * columns).for_each(|value| *value = (normal.next() * RANDOM_DEVIATION) as f32);
    InitialTable { values, columns, found: 0 }
}

/// Which words are looked for and the first rows that have them.
struct Wanted<'v> {
    vocabulary: &'v Vocabulary,
    /// Numbers of the words with this lower-case form.
    folded: HashMap<String, Vec<usize>>,
    exact: Vec<Option<usize>>,
    other: Vec<Option<usize>>,
}

impl<'v> Wanted<'v> {
    fn new(vocabulary: &'v Vocabulary) -> Self {
        let mut folded: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, word) in vocabulary.words().iter().enumerate() {
            folded.entry(word.to_lowercase()).or_default().push(number);
        }
        let none = || vec![None; vocabulary.len()];
        Wanted { vocabulary, folded, exact: none(), other: none() }
    }

    #[expect(clippy::indexing_slicing, reason = "both lists have an entry for each word of the vocabulary")]
    fn offer(&mut self, word: &[u8], row: usize) {
        let Ok(word) = std::str::from_utf8(word) else { return };
        // Special words that a file names too, such as `<unk>`, are words like others.
        if let Some(number) = self.vocabulary.row(word) {
            self.exact[number].get_or_insert(row);
        }
        for &number in self.folded.get(word).into_iter().flatten() {
            self.other[number].get_or_insert(row);
        }
        // A vocabulary in lower case takes what the file has capitals for.
        if let Some(number) = self.vocabulary.row(&self.vocabulary.casing().apply(word)) {
            self.other[number].get_or_insert(row);
        }
    }

    /// `(row of the file, number of the word)` by rows.
    fn rows(&self) -> Vec<(usize, usize)> {
        let pairs = self.exact.iter().zip(&self.other).enumerate().skip(WORDS);
        let mut rows: Vec<_> =
            pairs.filter_map(|(number, (exact, other))| exact.or(*other).map(|row| (row, number))).collect();
        rows.sort_unstable();
        rows
    }
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "rows taken are below the count, words are those of the vocabulary, and a row has at most `MAX_COLUMNS` numbers"
)]
fn fill(rows: &dyn Rows, taken: &[(usize, usize)], vocabulary: &Vocabulary, seed: u64) -> Result<InitialTable> {
    let (count, columns) = rows.shape();
    if taken.is_empty() {
        return Err(Error::new(ErrorKind::Request, "no word of the training data has a vector"));
    }
    if !(1..=MAX_COLUMNS).contains(&columns) || taken.iter().any(|&(row, _)| row >= count) {
        return Err(Error::new(ErrorKind::Malformed, "vectors that no table can start from")
            .expected(format!("a vector of 1 to {MAX_COLUMNS} numbers for each word"))
            .found(format!("{count} of {columns}")));
    }
    let mut values = vec![0.0f32; vocabulary.len() * columns];
    let mut has_vector = vec![false; vocabulary.len()];
    let mut block = vec![0.0f32; BLOCK.min(count) * columns];
    let (mut sum, mut squares) = (0.0f64, 0.0f64);
    for group in taken.chunk_by(|(one, _), (other, _)| one / BLOCK == other / BLOCK) {
        let start = group[0].0 / BLOCK * BLOCK;
        let end = (start + BLOCK).min(count);
        let block = &mut block[..(end - start) * columns];
        rows.read_f32(start..end, block)?;
        for &(row, number) in group {
            let vector = &block[(row - start) * columns..][..columns];
            if vector.iter().any(|value| !value.is_finite()) {
                let word = vocabulary.words()[number].escape_debug();
                return Err(Error::new(ErrorKind::NonFinite, format!("the vector of `{word}` is not finite")));
            }
            for &value in vector {
                sum += f64::from(value);
                squares += f64::from(value).powi(2);
            }
            values[number * columns..][..columns].copy_from_slice(vector);
            has_vector[number] = true;
        }
    }
    let numbers = (taken.len() * columns) as f64;
    let deviation = (squares / numbers - (sum / numbers).powi(2)).max(0.0).sqrt();
    let mut normal = Normal::new(seed);
    let words = values.chunks_exact_mut(columns).zip(has_vector).skip(WORDS);
    for (row, _) in words.filter(|(_, has_vector)| !has_vector) {
        row.iter_mut().for_each(|value| *value = (normal.next() * deviation) as f32);
    }
    Ok(InitialTable { values, columns, found: taken.len() })
}
