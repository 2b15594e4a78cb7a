//! The manifest: what was done to which bytes, so that anyone can check it later.

// What is read here comes from strangers. Tests may panic, which is how they fail.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod chain;
mod checks;
mod conversion;
mod oms;
mod schema;
mod source;
mod verify;

pub use chain::verify_chain;
pub use oms::statement;
pub use schema::{
    CarrierRecord, ConversionRecord, Errors, FileRecord, Generator, MANIFEST_NAME, Manifest, Operation, Origin,
    RunnerUp, SCHEMA_VERSION, SEAL, SUMS_NAME, Source, TableRecord, TensorRecord, WeightsBytes,
};
pub use source::{decode, verify_source};
pub(crate) use source::{same_elements, same_transposed};
pub(crate) use verify::sums_of;
pub use verify::{Change, Difference, Link, Subject, Verification, verify};

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, is_weights};
use crate::error::Result;

/// Whether the relative `path` is a record that this program writes about a directory, not a part of the checkpoint.
pub fn is_record(path: &Path) -> bool {
    path == Path::new(MANIFEST_NAME) || path == Path::new(SUMS_NAME)
}

/// Opens the checkpoint at `path`. Of an output in which a carrier put parts into folders of their own, which only its
/// manifest names, these weights too.
///
/// # Errors
/// Those of [`Checkpoint::open`].
pub fn open(path: &Path) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::open(path)?;
    if !checkpoint.is_directory() || !path.join(MANIFEST_NAME).is_file() {
        return Ok(checkpoint);
    }
    match Manifest::read(path) {
        Ok((manifest, _)) if manifest.carrier.is_some() => {
            let weights = manifest.files.iter().filter(|file| file.tensors.is_some());
            checkpoint.with_weights(weights.map(|file| file.path.as_str()))
        }
        // Whoever needs the manifest reads it, and says what is wrong with it.
        _ => Ok(checkpoint),
    }
}

/// Bytes of the weight files among `files`.
pub fn weights_of(files: &[FileRecord]) -> u64 {
    files.iter().filter(|file| is_weights(Path::new(&file.path))).map(|file| file.bytes).sum()
}

/// The SHA-256 of `bytes` as lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 15)).copied().map(char::from).unwrap_or_default();
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}
