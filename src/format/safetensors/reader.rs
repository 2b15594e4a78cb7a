//! A mapped safetensors file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use super::PREFIX;
use super::header::Header;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Reader, limits};
use crate::tensor::TensorMeta;

/// A safetensors file whose header has been checked; its data stay on disk until they are looked at.
pub(super) struct MappedFile {
    map: Mmap,
    header: Header,
}

impl MappedFile {
    /// Maps `path` and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let size = limits::regular(path)?.len();
        if size < PREFIX as u64 {
            // Before mapping, since an empty file cannot be mapped.
            return Err(Error::new(ErrorKind::Malformed, "file is too short for a header")
                .at(path)
                .expected(format!("at least {PREFIX} bytes"))
                .found(format!("{size} bytes")));
        }
        let file = File::open(path).map_err(|error| Error::io("cannot open", path, error))?;
        // SAFETY: the mapping is private and read-only, and is only ever read as bytes, for which every value is
        // valid. What remains is another process that truncates or rewrites the file meanwhile; as with every
        // program that maps its input, the caller must not do that.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io("cannot map", path, error))?;
        let header = Header::parse(&map).map_err(|error| error.at(path))?;
        Ok(MappedFile { map, header })
    }
}

impl Reader for MappedFile {
    fn tensors(&self) -> &[TensorMeta] {
        &self.header.tensors
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(&self.map[self.header.ranges[index].clone()]))
    }

    fn file_bytes(&self) -> &[u8] {
        &self.map
    }
}
