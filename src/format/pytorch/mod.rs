//! Checkpoints of PyTorch: a zip archive of a pickle and one entry a storage, or, before version 1.6, pickles with the
//! storages after them.
//!
//! Nothing of a pickle is run: `pickle` interprets the few opcodes that state dicts need and refuses every other, by
//! name. The crates that read pickles are made for data of any shape, and build trees whose depth and size the file
//! decides; here every object is counted, and none is nested.

mod pickle;
mod reader;
mod rebuild;
mod state;
mod storages;
mod value;

use std::path::Path;

use super::{Format, Reader, zip};
use crate::error::Result;

/// The formats of `torch.save`.
pub struct PyTorch;

impl Format for PyTorch {
    fn name(&self) -> &'static str {
        "pytorch"
    }

    fn summary(&self) -> &'static str {
        "PyTorch: what torch.save writes, as a zip archive or as legacy pickles; nothing in it is run"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["bin", "pt", "pth", "ckpt"]
    }

    fn stems(&self) -> &'static [&'static str] {
        &["pytorch_model", "model"]
    }

    fn recognizes(&self, head: &[u8], _size: u64) -> bool {
        let archive =
            head.starts_with(zip::MAGIC) && !zip::first_name(head).is_some_and(|name| name.ends_with(b".npy"));
        archive || storages::is_pickle(head) || storages::is_tar(head)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Reader>> {
        Ok(Box::new(reader::MappedCheckpoint::open(path)?))
    }
}
