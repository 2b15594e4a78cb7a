//! A mapped safetensors file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::header::Header;
use crate::error::Result;
use crate::format::Reader;
use crate::format::map::MappedBytes;
use crate::tensor::TensorMeta;

/// A safetensors file whose header has been checked; its data stay on disk until they are looked at.
pub(super) struct MappedFile {
    map: MappedBytes,
    header: Header,
}

impl MappedFile {
    /// Maps `path` and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let map = MappedBytes::open(path)?;
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

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is that of a tensor that this reader lists, the range was checked when it was opened"
    )]
    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(&self.map[self.header.ranges[index].clone()]))
    }

    fn file_bytes(&self) -> &[u8] {
        &self.map
    }
}
