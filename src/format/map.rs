//! Files in memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use super::{limits, truncation};
use crate::error::{Error, Result};

/// A file as bytes: mapped, except that an empty file, which cannot be mapped, is no bytes.
pub(crate) struct MappedBytes(Option<Mapping>);

/// Fields are dropped in this order: the watch ends before the mapping does.
struct Mapping {
    _watch: truncation::Watched,
    bytes: Mmap,
}

impl MappedBytes {
    /// Maps `path`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] where it cannot be opened or mapped, [`crate::ErrorKind::Unsupported`] where it is
    /// no regular file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if limits::regular(path)?.len() == 0 {
            return Ok(MappedBytes(None));
        }
        let file = File::open(path).map_err(|error| Error::io("cannot open", path, error))?;
        // SAFETY: the mapping is private and read-only, and is only ever read as bytes, for which every value is
        // valid. What remains is another process that truncates or rewrites the file meanwhile: the first is made
        // survivable by `truncation`, and either is found by `Checkpoint::check_unchanged` before anything is
        // published.
        let bytes = unsafe { Mmap::map(&file) }.map_err(|error| Error::io("cannot map", path, error))?;
        Ok(MappedBytes(Some(Mapping { _watch: truncation::Watched::new(&bytes), bytes })))
    }
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |mapping| &mapping.bytes)
    }
}
