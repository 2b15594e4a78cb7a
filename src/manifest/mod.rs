//! The manifest: what was done to which bytes, so that anyone can check it later.

mod conversion;
mod schema;
mod source;
mod verify;

pub use schema::{
    ConversionRecord, Errors, FileRecord, Generator, MANIFEST_NAME, Manifest, Operation, Origin, RunnerUp,
    SCHEMA_VERSION, SEAL, SUMS_NAME, Source, TableRecord, TensorRecord, WeightsBytes,
};
pub(crate) use source::same_elements;
pub use source::{decode, verify_source};
pub(crate) use verify::sums_of;
pub use verify::{Change, Difference, Link, Subject, Verification, verify};

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::checkpoint::is_weights;

/// Whether the relative `path` is a record that this program writes about a directory, not a part of the checkpoint.
pub fn is_record(path: &Path) -> bool {
    path == Path::new(MANIFEST_NAME) || path == Path::new(SUMS_NAME)
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
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}
