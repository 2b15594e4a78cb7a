//! Word vectors: a table with a word for each row, as GloVe, word2vec and fastText write it.
//!
//! Five encodings are told apart by content: text without a first line of V and d (GloVe), text with one (word2vec,
//! fastText's `.vec`), word2vec's binary form, and fastText models, dense and product-quantized. What each odd file
//! means is in `docs/formats.md`.

mod binary;
mod fasttext;
mod number;
mod reader;
mod table;
mod text;

use std::path::Path;

use super::{Format, Reader};
use crate::error::Result;

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
