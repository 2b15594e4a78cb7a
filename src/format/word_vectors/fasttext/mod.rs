//! fastText models (`.bin`, and `.ftz` with product-quantized matrices), after facebookresearch/fastText 0.9.2.
//!
//! A model stores no word vectors: the vector of a word is the mean of the input matrix's rows for the word and for
//! its character n-grams, which are found by hashing. [`Model`] computes them as `fasttext print-word-vectors` does.

mod cursor;
mod dictionary;
mod matrix;

use std::ops::Range;

use super::table::{Table, malformed};
use crate::error::{Error, ErrorKind, Result};
use cursor::Cursor;
use dictionary::Dictionary;
pub(super) use matrix::Matrix;

/// What a model begins with.
pub(super) const MAGIC: [u8; 4] = 793_712_314_i32.to_le_bytes();

/// The versions there are: 0.1.0 wrote 11, later ones 12.
const VERSIONS: std::ops::RangeInclusive<i32> = 11..=12;

/// The value of `model` that means classification.
const SUPERVISED: i32 = 3;

/// Characters of an n-gram: ten times what anyone uses, so that hashing takes no more than a file's bytes are worth.
const LONGEST: i32 = 64;

/// The dictionary and the matrices of a model.
pub(super) struct Model {
    dictionary: Dictionary,
    input: Matrix,
    output: Matrix,
}

impl Model {
    /// Reads everything of `file` but the numbers.
    pub(super) fn index(file: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(file);
        cursor.take(MAGIC.len(), "the magic number")?;
        let version = cursor.i32("the version")?;
        if !VERSIONS.contains(&version) {
            return Err(Error::new(ErrorKind::Unsupported, "unknown version of the fastText format")
                .expected("11 or 12")
                .found(version.to_string()));
        }
        let columns = cursor.count("the dimension")?;
        // Window, epochs, least count, negatives, word n-grams, loss: of training only.
        cursor.take(6 * 4, "the arguments")?;
        let model = cursor.i32("the model")?;
        let buckets = cursor.count("the number of buckets")?;
        let shortest = cursor.i32("the shortest n-gram")?;
        let longest = cursor.i32("the longest n-gram")?;
        cursor.take(4 + 8, "the arguments")?;
        // Classifiers of the old version had no n-grams of characters, whatever they say.
        let longest = if version == 11 && model == SUPERVISED { 0 } else { longest };
        if longest > LONGEST {
            return Err(malformed("the n-grams are too long")
                .expected(format!("at most {LONGEST} characters"))
                .found(longest.to_string()));
        }
        let dictionary = Dictionary::read(&mut cursor, buckets, shortest..=longest)?;
        let quantized = cursor.flag("whether the input is quantized")?;
        let input = Matrix::read(&mut cursor, quantized, "input")?;
        let output_quantized = cursor.flag("whether the output is quantized")?;
        let output = Matrix::read(&mut cursor, quantized && output_quantized, "output")?;
        if cursor.left() > 0 {
            return Err(malformed("there are bytes after the output matrix").found(format!("{} bytes", cursor.left())));
        }
        let (rows, found) = input.shape();
        if columns == 0 || found != columns || rows < dictionary.words() || dictionary.words() == 0 {
            return Err(malformed("the input matrix does not fit the dictionary")
                .expected(format!("a row of {columns} numbers for each of {} words", dictionary.words()))
                .found(format!("{rows} rows of {found}")));
        }
        Ok(Model { dictionary, input, output })
    }

    /// Whether its input matrix is product-quantized.
    pub(super) fn is_quantized(&self) -> bool {
        self.input.is_quantized()
    }

    /// The rows of the input matrix, those of words first.
    pub(super) fn input(&self) -> &Matrix {
        &self.input
    }

    /// The rows of the output matrix: of words, of labels, or of inner nodes of the tree of labels.
    pub(super) fn output(&self) -> &Matrix {
        &self.output
    }
}

impl Table for Model {
    fn shape(&self) -> (usize, usize) {
        (self.dictionary.words(), self.input.shape().1)
    }

    fn read(&self, file: &[u8], rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let available = self.input.shape().0;
        let mut subwords = Vec::new();
        let mut vectors = out.chunks_exact_mut(self.shape().1);
        self.dictionary.each(file, rows, |number, word| {
            let Some(vector) = vectors.next() else { return Ok(()) };
            subwords.clear();
            subwords.push(number);
            self.dictionary.subwords(word, &mut subwords);
            vector.fill(0.0);
            for &row in &subwords {
                if row >= available {
                    return Err(malformed(format!(
                        "word {} has an n-gram beyond the input matrix",
                        number.saturating_add(1)
                    ))
                    .expected(format!("a row below {available}"))
                    .found(row.to_string()));
                }
                self.input.add(file, row, vector);
            }
            let scale = (1.0 / subwords.len() as f64) as f32;
            vector.iter_mut().for_each(|value| *value *= scale);
            Ok(())
        })
    }

    fn words(&self, file: &[u8], rows: Range<usize>, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.dictionary.each(file, rows, |_, word| take(word))
    }
}
