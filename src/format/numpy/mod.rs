//! Arrays of NumPy: `.npy`, one array after a header, and `.npz`, a zip archive of them. Written after NumPy's
//! `numpy/lib/format.py`, which describes versions 1 to 3.
//!
//! A .npy file does not name its array: the tensor is called what the file is called, without the extension.

mod header;
mod npy;
mod npz;
mod writer;

use std::path::Path;

use super::{Contents, Format, Reader, WriteFormat, WriteTensors, zip};
use crate::error::Result;

/// What every .npy file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";

/// One array.
pub struct Npy;

/// A zip archive of arrays.
pub struct Npz;

impl Format for Npy {
    fn name(&self) -> &'static str {
        "npy"
    }

    fn summary(&self) -> &'static str {
        "NumPy .npy: one array, in C or Fortran order"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["npy"]
    }

    fn holds_one_tensor(&self) -> bool {
        true
    }

    fn recognizes(&self, head: &[u8], _size: u64) -> bool {
        head.starts_with(MAGIC)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Reader>> {
        Ok(Box::new(npy::MappedArray::open(path)?))
    }
}

impl Format for Npz {
    fn name(&self) -> &'static str {
        "npz"
    }

    fn summary(&self) -> &'static str {
        "NumPy .npz: arrays by name in a zip archive that is not compressed"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["npz"]
    }

    fn recognizes(&self, head: &[u8], _size: u64) -> bool {
        zip::first_name(head).is_some_and(|name| name.ends_with(npz::ENDING.as_bytes()))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Reader>> {
        Ok(Box::new(npz::MappedArchive::open(path)?))
    }
}

impl WriteFormat for Npy {
    fn name(&self) -> &'static str {
        Format::name(self)
    }

    fn summary(&self) -> &'static str {
        Format::summary(self)
    }

    fn extension(&self) -> &'static str {
        "npy"
    }

    fn holds_one_tensor(&self) -> bool {
        true
    }

    fn create<'c>(&self, path: &Path, contents: &Contents<'c>) -> Result<Box<dyn WriteTensors + 'c>> {
        Ok(Box::new(writer::ArrayWriter::create(path, contents)?))
    }
}

impl WriteFormat for Npz {
    fn name(&self) -> &'static str {
        Format::name(self)
    }

    fn summary(&self) -> &'static str {
        Format::summary(self)
    }

    fn extension(&self) -> &'static str {
        "npz"
    }

    fn create<'c>(&self, path: &Path, contents: &Contents<'c>) -> Result<Box<dyn WriteTensors + 'c>> {
        Ok(Box::new(writer::ArchiveWriter::create(path, contents)?))
    }
}
