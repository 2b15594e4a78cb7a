//! A mapped .npy file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::header::Header;
use crate::error::Result;
use crate::format::elements::Elements;
use crate::format::map::MappedBytes;
use crate::format::{Reader, stem};
use crate::tensor::{Rows, TensorMeta};

/// An array whose header was checked.
pub(super) struct MappedArray {
    map: MappedBytes,
    header: Header,
    metadata: BTreeMap<String, String>,
}

impl MappedArray {
    /// Maps `path` and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let map = MappedBytes::open(path)?;
        let header = Header::parse(&map, stem(path)).map_err(|error| error.at(path))?;
        Ok(MappedArray { map, header, metadata: BTreeMap::new() })
    }

    #[expect(clippy::indexing_slicing, reason = "the range was checked when the file was opened")]
    fn elements(&self) -> Elements<'_> {
        let Header { meta, arrangement, data } = &self.header;
        Elements { bytes: &self.map[data.clone()], meta, arrangement }
    }
}

impl Reader for MappedArray {
    fn tensors(&self) -> &[TensorMeta] {
        std::slice::from_ref(&self.header.meta)
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn bytes(&self, _index: usize) -> Result<Cow<'_, [u8]>> {
        Ok(self.elements().packed())
    }

    fn is_mapped(&self, _index: usize) -> bool {
        self.header.arrangement.is_plain()
    }

    fn stream(&self, _index: usize, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.elements().stream(take)
    }

    fn rows(&self, _index: usize) -> Result<Box<dyn Rows + '_>> {
        self.elements().rows()
    }

    fn file_bytes(&self) -> &[u8] {
        &self.map
    }
}
