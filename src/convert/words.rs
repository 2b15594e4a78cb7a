//! The words of a table: where they are found, and what an output that is no word vectors has for them.

use std::path::Path;

use super::assembly::{self, OutputShard, write_small};
use super::carrier::word_vectors::STATIC;
use super::tokenizer;
use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Vocabulary;
use crate::format::word_vectors::{TABLE, WordList, escape};
use crate::manifest::FileRecord;
use crate::output::write_pieces;
use crate::stub::CODECS;

/// One word a line: escaped where the class stands beside it.
const VOCABULARY: &str = "vocab.txt";

/// The class that reads the table and the words.
const PROGRAM: (&str, &str) = ("word_vectors.py", include_str!("../stub/word_vectors.py"));

/// The words of the rows of a table.
pub(super) enum Words<'c> {
    /// The file of the table has them.
    Own(&'c dyn Vocabulary),
    /// A list beside it has.
    Beside(WordList),
}

impl<'c> Words<'c> {
    /// The words of table `id`: those of its file, or of `vocab.txt` beside it.
    pub(super) fn of(checkpoint: &'c Checkpoint, id: TensorId) -> Result<Option<Self>> {
        let shard = &checkpoint.shards()[id.shard];
        if let Some(own) = shard.reader().vocabulary().filter(|_| id.index == 0) {
            return Ok(Some(Words::Own(own)));
        }
        let list = shard.path().with_file_name(VOCABULARY);
        if !is_companion(checkpoint, &list) {
            return Ok(None);
        }
        let escaped = is_companion(checkpoint, &list.with_file_name(PROGRAM.0));
        let list = WordList::open(&checkpoint.root().join(&list), escaped);
        list.map(|list| Some(Words::Beside(list)))
    }

    pub(super) fn vocabulary(&self) -> &dyn Vocabulary {
        match self {
            Words::Own(own) => *own,
            Words::Beside(list) => list,
        }
    }
}

fn is_companion(checkpoint: &Checkpoint, path: &Path) -> bool {
    assembly::companions(checkpoint).any(|companion| companion == path)
}

/// Whether a companion belongs to an output with the class, which word vectors have no use for: they have the words.
pub(super) fn belongs_to_class(checkpoint: &Checkpoint, path: &Path) -> bool {
    let name = |name: &str| path.file_name().is_some_and(|own| own == name);
    [PROGRAM.0, CODECS.name, VOCABULARY].into_iter().any(name)
        && is_companion(checkpoint, &path.with_file_name(PROGRAM.0))
}

/// The vocabulary of a checkpoint of word vectors.
pub(super) fn own(checkpoint: &Checkpoint) -> Option<&dyn Vocabulary> {
    checkpoint.shards().first().and_then(|shard| shard.reader().vocabulary())
}

/// Writes the tokenizer for which the words are tokens, where `checkpoint` is one of word vectors.
pub(super) fn write_tokenizer(checkpoint: &Checkpoint, directory: &Path) -> Result<Option<FileRecord>> {
    let Some(vocabulary) = own(checkpoint) else { return Ok(None) };
    let text = tokenizer::of(vocabulary)?;
    write_small(directory, &Path::new(STATIC).join("tokenizer.json"), text.as_bytes()).map(Some)
}

/// Whether the class finds its table among the weight files of an output.
pub(super) fn class_reads(shards: &[OutputShard<'_>]) -> bool {
    let file = shards.iter().find(|shard| shard.path == Path::new("model.safetensors"));
    file.is_some_and(|shard| shard.tensors.iter().any(|(meta, _)| meta.name == TABLE))
}

/// Writes the vocabulary and, `with_class`, the class that reads it, where `checkpoint` is one of word vectors.
pub(super) fn write(checkpoint: &Checkpoint, directory: &Path, with_class: bool) -> Result<Vec<FileRecord>> {
    let Some(vocabulary) = own(checkpoint) else { return Ok(Vec::new()) };
    for name in [VOCABULARY, PROGRAM.0, CODECS.name] {
        if is_companion(checkpoint, Path::new(name)) {
            return Err(Error::new(ErrorKind::Output, "two files of the output would have one name")
                .at(checkpoint.root().join(name))
                .hint("pass the file of word vectors alone, or move the other file away"));
        }
    }
    let mut line = Vec::new();
    let (bytes, sha256) = write_pieces(&directory.join(VOCABULARY), |write| {
        vocabulary.for_each(&mut |word| {
            line.clear();
            escape(word, &mut line);
            line.push(b'\n');
            write(&line)
        })
    })?;
    let vocabulary = FileRecord { path: VOCABULARY.to_owned(), bytes, sha256, tensors: None };
    let class = [(PROGRAM.0, PROGRAM.1.as_bytes()), (CODECS.name, CODECS.text.as_bytes())];
    let class = class.into_iter().filter(|_| with_class);
    let class = class.map(|(name, content)| write_small(directory, Path::new(name), content));
    std::iter::once(Ok(vocabulary)).chain(class).collect()
}
