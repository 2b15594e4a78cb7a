//! Writes word vectors, a block of rows at a time.

#![expect(clippy::arithmetic_side_effects, reason = "places of what this program writes")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::Encoding;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Contents, Vocabulary, WriteTensors, Written, matrix};
use crate::manifest::hex;
use crate::output::begin_flush;
use crate::tensor::{Dtype, TensorMeta};

/// Bytes of singles that one thread encodes at a time, and pieces of that size in flight.
const PIECE: usize = 1 << 16;
const PIECES: usize = 32;

/// Magnitudes that are written without an exponent, as Python does.
const PLAIN: std::ops::Range<f32> = 1e-4..1e16;

/// A file of word vectors that rows are appended to.
pub(super) struct TableWriter<'c> {
    encoding: Encoding,
    path: PathBuf,
    file: File,
    meta: TensorMeta,
    words: &'c dyn Vocabulary,
    columns: usize,
    rows: usize,
    /// Rows written.
    row: usize,
    /// The beginning of the next one.
    begun: Vec<u8>,
    bytes: u64,
    digest: Sha256,
    own_digest: Sha256,
}

impl<'c> TableWriter<'c> {
    /// Creates `path` for the one table of `contents`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where there are several tensors or no words, or the table is no matrix of singles;
    /// [`ErrorKind::Malformed`] where there is another number of words than of rows.
    pub(super) fn create(encoding: Encoding, path: &Path, contents: &Contents<'c>) -> Result<Self> {
        let [meta] = contents.tensors else {
            return Err(Error::new(ErrorKind::Unsupported, "word vectors are one table")
                .at(path)
                .expected("1 tensor")
                .found(contents.tensors.len().to_string())
                .hint("choose the table with `--tensors`"));
        };
        let (rows, columns) = matrix(meta).map_err(|error| error.tensor(&meta.name))?;
        if meta.dtype != Dtype::F32 {
            return Err(Error::new(ErrorKind::Unsupported, "word vectors are singles")
                .tensor(&meta.name)
                .expected(Dtype::F32.name())
                .found(meta.dtype.name())
                .hint("cast it with `--dtype f32`"));
        }
        // With one number a line, a word of digits would make the first line a header.
        let least = if encoding == Encoding::GloveText { 2 } else { 1 };
        if rows == 0 || columns < least {
            return Err(Error::new(ErrorKind::Unsupported, "the table is too small for the format")
                .tensor(&meta.name)
                .expected(format!("at least 1 row of {least} numbers"))
                .found(format!("{:?}", meta.shape)));
        }
        let Some(words) = contents.words else {
            return Err(Error::new(ErrorKind::Unsupported, "there are no words for the rows of the table")
                .tensor(&meta.name)
                .expected("a checkpoint of word vectors, or `vocab.txt` beside the weights")
                .hint("pass a directory that has `vocab.txt` with one word a line, or convert to another format"));
        };
        if words.count() != rows {
            return Err(Error::new(ErrorKind::Malformed, "the words are not as many as the rows of the table")
                .tensor(&meta.name)
                .expected(format!("{rows} words"))
                .found(words.count().to_string()));
        }
        let file = File::create_new(path).map_err(|error| Error::io("cannot create", path, error))?;
        let mut writer = TableWriter {
            encoding,
            path: path.to_owned(),
            file,
            meta: meta.clone(),
            words,
            columns,
            rows,
            row: 0,
            begun: Vec::new(),
            bytes: 0,
            digest: Sha256::new(),
            own_digest: Sha256::new(),
        };
        if encoding != Encoding::GloveText {
            writer.append(format!("{rows} {columns}\n").as_bytes())?;
        }
        Ok(writer)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io("cannot write", &self.path, error))?;
        self.digest.update(bytes);
        let end = self.bytes + bytes.len() as u64;
        begin_flush(&self.file, self.bytes..end);
        self.bytes = end;
        Ok(())
    }

    /// Appends whole rows of singles.
    fn append_rows(&mut self, bytes: &[u8]) -> Result<()> {
        let width = 4 * self.columns;
        let height = (PIECE / width).max(1);
        for block in bytes.chunks(PIECES * height * width) {
            let words = self.words_of(block.len() / width)?;
            let (encoding, first) = (self.encoding, self.row);
            let pieces: Vec<Result<Vec<u8>>> = block
                .par_chunks(height * width)
                .zip(words.par_chunks(height))
                .enumerate()
                .map(|(piece, (bytes, words))| encode(encoding, first + piece * height, bytes, words))
                .collect();
            for piece in pieces {
                self.append(&piece.map_err(|error| error.tensor(&self.meta.name))?)?;
            }
            self.row += words.len();
        }
        Ok(())
    }

    /// The words of the next `count` rows, all of which the format has a place for.
    fn words_of(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut words = Vec::with_capacity(count);
        self.words.words(self.row..self.row + count, &mut |word| {
            // Some readers end a word at any of these, and none can tell an empty word from a blank too many.
            let fits = !word.is_empty() && !word.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b'\x0b');
            if !fits {
                return Err(Error::new(ErrorKind::Unsupported, "the format has no place for the word of a row")
                    .expected("a word without blanks and ends of lines")
                    .found(format!("`{}` in row {}", word.escape_ascii(), self.row + words.len()))
                    .hint("convert to another format, such as safetensors, which has `vocab.txt` beside it"));
            }
            words.push(word.to_vec());
            Ok(())
        })?;
        Ok(words)
    }
}

/// Rows as they stand in the file; `first` is the number of the first.
fn encode(encoding: Encoding, first: usize, bytes: &[u8], words: &[Vec<u8>]) -> Result<Vec<u8>> {
    let width = bytes.len() / words.len().max(1);
    let mut out = Vec::with_capacity(3 * bytes.len());
    let mut decimals = String::new();
    for (row, (bytes, word)) in bytes.chunks_exact(width).zip(words).enumerate() {
        out.extend_from_slice(word);
        if encoding == Encoding::Word2vecBinary {
            out.push(b' ');
            out.extend_from_slice(bytes);
        } else {
            decimals.clear();
            for single in bytes.as_chunks().0 {
                let value = f32::from_le_bytes(*single);
                if value.is_nan() {
                    // Which of the many it is would not come back.
                    return Err(Error::new(ErrorKind::NonFinite, "a weight is not a number")
                        .expected("numbers, which decimals can stand for")
                        .found(format!("NaN in row {}", first + row)));
                }
                push_decimal(value, &mut decimals);
            }
            out.extend_from_slice(decimals.as_bytes());
        }
        out.push(b'\n');
    }
    Ok(out)
}

/// Appends a blank and the shortest decimal whose nearest single is `value`.
fn push_decimal(value: f32, out: &mut String) {
    let written = if value == 0.0 || value.is_infinite() || PLAIN.contains(&value.abs()) {
        write!(out, " {value}")
    } else {
        write!(out, " {value:e}")
    };
    // Writing to a string cannot fail.
    debug_assert!(written.is_ok());
}

impl WriteTensors for TableWriter<'_> {
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let width = 4 * self.columns;
        let room = (self.rows - self.row) * width - self.begun.len();
        if index != 0 || bytes.len() > room {
            return Err(Error::new(ErrorKind::Output, "table gets bytes that are not its own")
                .at(&self.path)
                .tensor(&self.meta.name)
                .expected(format!("at most {room}"))
                .found(bytes.len().to_string()));
        }
        self.own_digest.update(bytes);
        let mut rest = bytes;
        if !self.begun.is_empty() {
            let (more, behind) = rest.split_at(rest.len().min(width - self.begun.len()));
            self.begun.extend_from_slice(more);
            rest = behind;
            if self.begun.len() < width {
                return Ok(());
            }
            let row = std::mem::take(&mut self.begun);
            self.append_rows(&row)?;
        }
        let (whole, begun) = rest.split_at(rest.len() / width * width);
        self.append_rows(whole)?;
        self.begun.extend_from_slice(begun);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        if self.row < self.rows {
            return Err(Error::new(ErrorKind::Output, "table is not complete").at(&self.path).tensor(&self.meta.name));
        }
        self.file.sync_all().map_err(|error| Error::io("cannot flush", &self.path, error))?;
        Ok(Written {
            bytes: self.bytes,
            sha256: hex(&self.digest.finalize()),
            tensor_sha256: vec![hex(&self.own_digest.finalize())],
            data_files: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decimals_give_back_every_single(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(!value.is_nan());
            let mut text = String::new();
            push_decimal(value, &mut text);
            let (found, length) = super::super::number::number(&text.as_bytes()[1..]).unwrap();
            prop_assert_eq!((found.to_bits(), length), (bits, text.len() - 1));
        }
    }

    #[test]
    fn decimals_are_short() {
        let text = |value: f32| {
            let mut text = String::new();
            push_decimal(value, &mut text);
            text
        };
        assert_eq!(
            [0.1, -0.0, 1e-4, 9.5e-5, 3e38, f32::INFINITY].map(text),
            [" 0.1", " -0", " 0.0001", " 9.5e-5", " 3e38", " inf"]
        );
    }
}
