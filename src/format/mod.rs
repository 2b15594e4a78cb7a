//! File formats: one folder each, one line in [`FORMATS`].
//!
//! A format opens a file by mapping it and reading its header; a tensor's bytes are touched only when asked for.

// What is read here comes from strangers. Tests may panic, which is how they fail.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod elements;
pub mod gguf;
pub mod limits;
mod map;
pub mod numpy;
pub mod onnx;
pub mod pytorch;
mod rewrite;
pub mod safetensors;
pub mod truncation;
pub mod word_vectors;
mod zip;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{MappedRows, Rows, TensorMeta};

pub use rewrite::{EncodedTable, Rewrite, Rewriter};

/// Every format that can be read.
pub const FORMATS: &[&dyn Format] = &[
    &safetensors::Safetensors,
    &gguf::Gguf,
    &pytorch::PyTorch,
    &numpy::Npz,
    &numpy::Npy,
    &onnx::Onnx,
    &word_vectors::WordVectors,
];

/// Every format that can be written.
pub const WRITERS: &[&dyn WriteFormat] = &[
    &safetensors::Safetensors,
    &numpy::Npz,
    &numpy::Npy,
    &word_vectors::Encoding::Word2vecText,
    &word_vectors::Encoding::Word2vecBinary,
    &word_vectors::Encoding::GloveText,
];

/// A file format for tensors.
pub trait Format: Sync {
    /// The name that `inspect`, manifests and docs use.
    fn name(&self) -> &'static str;

    /// One line for help texts and docs.
    fn summary(&self) -> &'static str;

    /// Endings of file names that suggest this format, without the dot.
    fn extensions(&self) -> &'static [&'static str];

    /// Names without extension that the weights of a model directory go by, the likeliest first.
    fn stems(&self) -> &'static [&'static str] {
        &["model"]
    }

    /// Whether a file holds one tensor only, so that all files of a directory are the checkpoint.
    fn holds_one_tensor(&self) -> bool {
        false
    }

    /// Whether a file that begins with `head` (at most [`limits::PROBE`] bytes) and is `size` bytes long is of
    /// this format. Decided by content, so that a wrong name is not believed.
    fn recognizes(&self, head: &[u8], size: u64) -> bool;

    /// Maps the file and reads its header.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the file cannot be mapped, [`ErrorKind::Malformed`] where the header lies.
    fn open(&self, path: &Path) -> Result<Box<dyn Reader>>;
}

/// One open file of tensors.
pub trait Reader: Send + Sync {
    /// The tensors, in the order of their data in the file.
    fn tensors(&self) -> &[TensorMeta];

    /// Free-form metadata of the file, such as `format: pt`.
    fn metadata(&self) -> &BTreeMap<String, String>;

    /// The elements of tensor `index` of [`Reader::tensors`]: packed, row-major, little-endian.
    ///
    /// # Errors
    /// Where the elements have to be decoded and cannot be.
    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>>;

    /// Whether [`Reader::bytes`] of tensor `index` are borrowed from the file. To be overridden with [`Reader::stream`].
    fn is_mapped(&self, _index: usize) -> bool {
        true
    }

    /// Gives `take` what [`Reader::bytes`] gives, in order, in one piece where it is mapped and in pieces of bounded
    /// size, each of whole elements, where it is decoded.
    ///
    /// # Errors
    /// Where the elements cannot be decoded; whatever `take` reports.
    fn stream(&self, index: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        take(&self.bytes(index)?)
    }

    /// Gives `take` the numbers that tensor `index` stands for: packed elements of the type that
    /// [`Dtype::decoded`](crate::tensor::Dtype::decoded) names, row-major, little-endian, in order, in pieces of bounded
    /// size where blocks are decoded. To be overridden by formats with block types; other types are their own numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the block type cannot be decoded; as [`Reader::stream`].
    fn stream_decoded(&self, index: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.stream(index, take)
    }

    /// The numbers of tensor `index`, a block of rows at a time: for tables that are decoded, too, in memory that
    /// does not grow with them. To be overridden by formats that do not store every table packed.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where it is no matrix of F64, F32, F16 or BF16.
    #[expect(clippy::indexing_slicing, reason = "the index is that of a tensor that this reader lists")]
    fn rows(&self, index: usize) -> Result<Box<dyn Rows + '_>> {
        let meta = &self.tensors()[index];
        let (rows, columns) = matrix(meta)?;
        match self.bytes(index)? {
            Cow::Borrowed(bytes) => Ok(Box::new(MappedRows::new(bytes, meta.dtype, rows, columns)?)),
            Cow::Owned(_) => Err(Error::new(ErrorKind::Unsupported, "the table is not stored row by row")),
        }
    }

    /// The first tensor that is the same stored elements as tensor `index`, where that is another: the file stores
    /// them once for both.
    fn stored_as(&self, _index: usize) -> Option<usize> {
        None
    }

    /// The words of the rows of the first tensor, where the file stores them.
    fn vocabulary(&self) -> Option<&dyn Vocabulary> {
        None
    }

    /// Plans outputs in the form of this file, where safetensors would lose what it holds beside its tensors.
    fn rewriter(&self) -> Option<&dyn Rewriter> {
        None
    }

    /// Other files that hold elements of the tensors: paths relative to the directory of this one, and lengths.
    fn data_files(&self) -> &[DataFile] {
        &[]
    }

    /// What the file itself says of how its matrices are used, where it does: a graph tells tables without names.
    fn uses(&self) -> &[TensorUse] {
        &[]
    }

    /// What the user should know of this file and what stops nothing, such as entries that are no tensors.
    fn warnings(&self) -> &[String] {
        &[]
    }

    /// The whole file, for digests and for copying.
    fn file_bytes(&self) -> &[u8];
}

/// A use of a matrix in the graph of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorUse {
    /// Index into [`Reader::tensors`].
    pub tensor: usize,
    /// The node, as messages name it.
    pub node: String,
    /// What it does.
    pub kind: UseKind,
}

/// What a node does with a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UseKind {
    /// It gives the rows that an input of the whole graph names.
    LookedUp {
        /// That input.
        indices: String,
    },
    /// It multiplies by the transposed matrix, as an output head does.
    Multiplied {
        /// Whether the matrix is stored as `[d, V]`.
        is_transposed: bool,
    },
}

/// A file of nothing but elements, which another describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Relative to the directory of the file that describes it.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// The words of the rows of a table.
pub trait Vocabulary: Sync {
    /// How many words there are.
    fn count(&self) -> usize;

    /// Calls `take` with the word of each of `rows`, in order: bytes, usually of UTF-8.
    ///
    /// # Errors
    /// Where a word cannot be read; whatever `take` reports.
    fn words(&self, rows: Range<usize>, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// The same for all words.
    ///
    /// # Errors
    /// As [`Vocabulary::words`].
    fn for_each(&self, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.words(0..self.count(), take)
    }
}

/// `(V, d)` of a matrix.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where the tensor has another number of dimensions.
pub(crate) fn matrix(meta: &TensorMeta) -> Result<(usize, usize)> {
    meta.matrix().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "not a table").expected("2 dimensions").found(format!("{:?}", meta.shape))
    })
}

/// A format that tensors can be written in; one line in [`WRITERS`].
pub trait WriteFormat: Sync {
    /// The name that `convert --to` and manifests use.
    fn name(&self) -> &'static str;

    /// One line for help texts and docs.
    fn summary(&self) -> &'static str;

    /// Ending of the names of its files, without the dot.
    fn extension(&self) -> &'static str;

    /// Whether a file holds one tensor only, so that every tensor gets a file of its own name.
    fn holds_one_tensor(&self) -> bool {
        false
    }

    /// For a format that holds one table with a word for each row: the name of the table when it is read again.
    fn table_of_words(&self) -> Option<&'static str> {
        None
    }

    /// Creates the file `path`, which must not exist, for `contents`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the format has no place for them, [`ErrorKind::Io`] where the file cannot be
    /// created.
    fn create<'c>(&self, path: &Path, contents: &Contents<'c>) -> Result<Box<dyn WriteTensors + 'c>>;
}

/// What a file is to hold.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    /// The tensors.
    pub tensors: &'a [TensorMeta],
    /// Free-form metadata, which formats without a place for it leave out.
    pub metadata: &'a BTreeMap<String, String>,
    /// The words of the rows of the one table, for formats that hold them.
    pub words: Option<&'a dyn Vocabulary>,
}

/// A file being written. The pieces of each tensor come in order, and the tensors one after the other in the order of
/// [`Contents::tensors`].
///
/// Dropped before [`WriteTensors::finish`], it leaves what was written so far; the directory is for the caller to
/// remove.
pub trait WriteTensors {
    /// Appends `bytes` to tensor `index`: packed, row-major, little-endian, whole elements.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where the tensor gets more than its shape holds, [`ErrorKind::Io`] where the file cannot
    /// be written.
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()>;

    /// Completes the file, flushes it to the disk and gives its digests.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where a tensor is not complete, [`ErrorKind::Io`] where the file cannot be flushed.
    fn finish(self: Box<Self>) -> Result<Written>;
}

/// What a finished file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file in lower-case hex.
    pub sha256: String,
    /// SHA-256 of each tensor's bytes (packed, row-major, little-endian) in lower-case hex, in the order of
    /// [`Contents::tensors`].
    pub tensor_sha256: Vec<String>,
    /// The files of elements beside it, with their digests.
    pub data_files: Vec<(DataFile, String)>,
}

/// Opens `path` with the format that recognizes its content. Where none does, the format that the file's name suggests
/// is asked, since it can say what is wrong with the content.
///
/// # Errors
/// [`ErrorKind::Io`] where the file cannot be read, [`ErrorKind::Unsupported`] where no format recognizes it,
/// [`ErrorKind::Malformed`] where its header lies.
pub fn open(path: &Path) -> Result<Box<dyn Reader>> {
    let (head, size) = limits::probe(path)?;
    let by_content = FORMATS.iter().find(|format| format.recognizes(&head, size));
    match by_content.or_else(|| FORMATS.iter().find(|format| has_extension(path, format.extensions()))) {
        Some(format) => format.open(path),
        None => {
            let known: Vec<_> = FORMATS.iter().map(|format| format.name()).collect();
            Err(Error::new(ErrorKind::Unsupported, "not a tensor file of a known format")
                .at(path)
                .expected(known.join(" or ")))
        }
    }
}

/// The name of a file without its last extension: what formats that name no tensor call their one tensor.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether the name of `path` ends in a dot and one of `extensions`, in upper or lower case.
pub(crate) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|own| extensions.iter().any(|extension| own.eq_ignore_ascii_case(extension)))
}
