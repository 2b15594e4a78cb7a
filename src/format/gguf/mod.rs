//! The GGUF format, versions 2 and 3: typed metadata, a list of tensors, their data, aligned.
//!
//! After the specification in ggml's `docs/gguf.md`; the block layouts are those of `ggml-common.h`.

mod blocks;
mod cursor;
mod header;
mod reader;
mod rewriter;
mod types;
mod value;

use std::path::Path;

use super::{Format, Reader};
use crate::error::Result;

pub(crate) use blocks::decode;
pub(crate) use reader::BlockRows;
pub use value::Value;

/// What a file begins with.
const MAGIC: &[u8; 4] = b"GGUF";

/// The GGUF format.
pub struct Gguf;

impl Format for Gguf {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn summary(&self) -> &'static str {
        "GGUF: models of llama.cpp and other programs that use ggml"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["gguf"]
    }

    fn recognizes(&self, head: &[u8], _size: u64) -> bool {
        head.starts_with(MAGIC)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Reader>> {
        Ok(Box::new(reader::MappedFile::open(path)?))
    }
}
