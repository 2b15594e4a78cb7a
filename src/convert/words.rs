//! What an output of word vectors has besides its table: the words, and a class that reads both.

use std::path::Path;

use super::assembly::write_small;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::manifest::FileRecord;
use crate::stub::CODECS;

/// One word a line, escaped.
const VOCABULARY: &str = "vocab.txt";

/// The class.
const PROGRAM: (&str, &str) = ("word_vectors.py", include_str!("../stub/word_vectors.py"));

/// Writes vocabulary and class, where `checkpoint` is one of word vectors.
pub(super) fn write(checkpoint: &Checkpoint, directory: &Path) -> Result<Vec<FileRecord>> {
    let Some(vocabulary) = checkpoint.shards().first().and_then(|shard| shard.reader().vocabulary()) else {
        return Ok(Vec::new());
    };
    let mut text = Vec::new();
    vocabulary.for_each(&mut |word| {
        escape(word, &mut text);
        text.push(b'\n');
        Ok(())
    })?;
    Ok(vec![
        write_small(directory, Path::new(VOCABULARY), &text)?,
        write_small(directory, Path::new(PROGRAM.0), PROGRAM.1.as_bytes())?,
        write_small(directory, Path::new(CODECS.name), CODECS.text.as_bytes())?,
    ])
}

/// Appends a word as one line of UTF-8: a backslash becomes `\\`, a line feed `\n`, a carriage return `\r`, and a byte
/// that is not UTF-8 `\xHH`. Blanks stay.
fn escape(word: &[u8], out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn words_are_escaped_where_a_line_cannot_hold_them() {
        let mut out = Vec::new();
        escape(b"a b\\n\r\n\xc3\xa4\xff.", &mut out);
        assert_eq!(out, b"a b\\\\n\\r\\n\xc3\xa4\\xff.");
    }
}
