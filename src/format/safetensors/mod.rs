//! The safetensors format: 8 bytes of header length, a JSON header, the data.
//!
//! Both sides are written here rather than taken from the `safetensors` crate: its reader keeps the last of two
//! tensors of one name and names neither tensor nor numbers in its errors, its writer orders metadata at random
//! and takes whole tensors only. Tests hold both against that crate.

mod header;
mod layout;
mod reader;
mod writer;

use std::path::Path;

pub use super::Written;
use super::{Contents, Format, Reader, WriteFormat, WriteTensors, limits};
use crate::error::Result;

pub use layout::Layout;
pub use writer::Writer;

/// Bytes before the header: its length, little-endian.
const PREFIX: usize = 8;

/// The member of the header that is no tensor.
const METADATA: &str = "__metadata__";

/// The safetensors format.
pub struct Safetensors;

impl Format for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn summary(&self) -> &'static str {
        "safetensors: a JSON header and packed tensors, as Hugging Face models are stored"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["safetensors"]
    }

    fn recognizes(&self, head: &[u8], _size: u64) -> bool {
        // A header beyond the end of the file is recognized too: it is a truncated file, and opening it says so.
        head.split_first_chunk().is_some_and(|(length, rest)| {
            u64::from_le_bytes(*length) <= limits::MAX_HEADER && rest.first() == Some(&b'{')
        })
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Reader>> {
        Ok(Box::new(reader::MappedFile::open(path)?))
    }
}

impl WriteFormat for Safetensors {
    fn name(&self) -> &'static str {
        Format::name(self)
    }

    fn summary(&self) -> &'static str {
        Format::summary(self)
    }

    fn extension(&self) -> &'static str {
        "safetensors"
    }

    fn create<'c>(&self, path: &Path, contents: &Contents<'c>) -> Result<Box<dyn WriteTensors + 'c>> {
        let layout = Layout::new(contents.tensors, contents.metadata)?;
        Ok(Box::new(Writer::create(path, layout)?))
    }
}
