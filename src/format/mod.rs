//! File formats: one folder each, one line in [`FORMATS`].
//!
//! A format opens a file by mapping it and reading its header; a tensor's bytes are touched only when asked for.

pub mod limits;
pub mod safetensors;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::TensorMeta;

/// Every format that can be read.
pub const FORMATS: &[&dyn Format] = &[&safetensors::Safetensors];

/// A file format for tensors.
pub trait Format: Sync {
    /// The name that `inspect`, manifests and docs use.
    fn name(&self) -> &'static str;

    /// One line for help texts and docs.
    fn summary(&self) -> &'static str;

    /// Endings of file names that suggest this format, without the dot.
    fn extensions(&self) -> &'static [&'static str];

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

    /// The whole file, for digests and for copying.
    fn file_bytes(&self) -> &[u8];
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

/// Whether the name of `path` ends in a dot and one of `extensions`, in upper or lower case.
pub(crate) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|own| extensions.iter().any(|extension| own.eq_ignore_ascii_case(extension)))
}
