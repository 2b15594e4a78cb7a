//! Caps on what a file may ask for before anything is allocated.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes of a file that are looked at to tell its format.
pub const PROBE: usize = 64;

/// Reads the first [`PROBE`] bytes (fewer of a shorter file) and the size of a file.
pub(crate) fn probe(path: &Path) -> Result<(Vec<u8>, u64)> {
    let file = File::open(path).map_err(|error| Error::io("cannot open", path, error))?;
    let size = file.metadata().map_err(|error| Error::io("cannot read", path, error))?.len();
    let mut head = Vec::with_capacity(PROBE);
    file.take(PROBE as u64).read_to_end(&mut head).map_err(|error| Error::io("cannot read", path, error))?;
    Ok((head, size))
}
