//! The safetensors format: 8 bytes of header length, a JSON header, the data.

use std::path::Path;

use super::{Format, Reader};
use crate::error::Result;

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

    fn recognizes(&self, _head: &[u8], _size: u64) -> bool {
        false
    }

    fn open(&self, _path: &Path) -> Result<Box<dyn Reader>> {
        unimplemented!()
    }
}
