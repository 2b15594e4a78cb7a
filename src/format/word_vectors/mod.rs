//! Word vectors: a table with a word for each row, as GloVe, word2vec and fastText write it.
//!
//! Five encodings are told apart by content: text without a first line of V and d (GloVe), text with one (word2vec,
//! fastText's `.vec`), word2vec's binary form, and fastText models, dense and product-quantized. What each odd file
//! means is in `docs/formats.md`.

mod binary;
mod fasttext;
mod list;
mod number;
mod reader;
mod table;
mod text;
mod writer;

use std::path::Path;

use super::{Contents, Format, Reader, WriteFormat, WriteTensors};
use crate::error::Result;

pub use list::{WordList, escape};
pub use reader::TABLE;

/// Word vectors.
pub struct WordVectors;

impl Format for WordVectors {
    fn name(&self) -> &'static str {
        "word-vectors"
    }

    fn summary(&self) -> &'static str {
        "word vectors: GloVe text, word2vec text and binary, fastText .vec, .bin and .ftz"
    }

    fn extensions(&self) -> &'static [&'static str] {
        // Not `txt` and `bin`: in a directory those are vocabularies and the weights of other formats.
        &["vec", "ftz"]
    }

    fn recognizes(&self, head: &[u8], _size: u64) -> bool {
        head.starts_with(&fasttext::MAGIC) || text::header(head).is_some() || text::begins(head)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Reader>> {
        Ok(Box::new(reader::MappedFile::open(path)?))
    }
}

/// An encoding that word vectors are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A word and d decimal numbers on each line, behind a first line of V and d.
    Word2vecText,
    /// A first line of V and d, then each word, a blank, d little-endian singles and a newline.
    Word2vecBinary,
    /// A word and d decimal numbers on each line.
    GloveText,
}

impl WriteFormat for Encoding {
    fn name(&self) -> &'static str {
        match self {
            Encoding::Word2vecText => "word2vec-text",
            Encoding::Word2vecBinary => "word2vec-binary",
            Encoding::GloveText => "glove-text",
        }
    }

    fn summary(&self) -> &'static str {
        match self {
            Encoding::Word2vecText => "word2vec text: a line of V and d, then a word and its numbers a line",
            Encoding::Word2vecBinary => "word2vec binary: a line of V and d, then words and singles",
            Encoding::GloveText => "GloVe text: a word and its numbers a line",
        }
    }

    fn extension(&self) -> &'static str {
        match self {
            // In a directory `.txt` is a vocabulary.
            Encoding::Word2vecText | Encoding::GloveText => "vec",
            Encoding::Word2vecBinary => "bin",
        }
    }

    fn table_of_words(&self) -> Option<&'static str> {
        Some(TABLE)
    }

    fn create<'c>(&self, path: &Path, contents: &Contents<'c>) -> Result<Box<dyn WriteTensors + 'c>> {
        Ok(Box::new(writer::TableWriter::create(*self, path, contents)?))
    }
}
