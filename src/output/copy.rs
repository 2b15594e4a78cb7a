//! Digests of files, alone and while copying.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::flush::begin_flush;
use crate::error::{Error, Result};
use crate::manifest::hex;
use crate::observe::Observer;

/// Bytes that are read, digested and written at a time: they stay in the second-level cache in between.
const PIECE: usize = 1 << 18;

/// Length and SHA-256 of a file.
///
/// # Errors
/// [`crate::ErrorKind::Io`] where it cannot be read, [`crate::ErrorKind::Interrupted`].
pub fn digest_file(path: &Path, observer: &dyn Observer) -> Result<(u64, String)> {
    stream(path, observer, |_, _| Ok(()))
}

/// Copies `from` to the new file `to` (its parent directories are made), and gives length and SHA-256 of what was copied.
/// [`StagedDirectory::publish`](super::staged::StagedDirectory::publish) flushes it.
///
/// # Errors
/// [`crate::ErrorKind::Io`] where one cannot be read or the other not written, [`crate::ErrorKind::Interrupted`].
pub fn copy_with_digest(from: &Path, to: &Path, observer: &dyn Observer) -> Result<(u64, String)> {
    let mut file = create(to)?;
    stream(from, observer, |bytes, place| {
        file.write_all(bytes).map_err(|error| Error::io("cannot write", to, error))?;
        begin_flush(&file, place);
        Ok(())
    })
}

/// Writes the new file `path` (its parent directories are made) of the pieces that `each` gives to the function it gets, and
/// gives length and SHA-256. It is flushed as copies are.
///
/// # Errors
/// [`crate::ErrorKind::Io`] where it cannot be written; whatever `each` reports.
pub fn write_pieces(
    path: &Path,
    each: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<(u64, String)> {
    let mut file = create(path)?;
    let mut hasher = Sha256::new();
    let mut length = 0u64;
    let mut piece = Vec::with_capacity(PIECE);
    let mut write = |piece: &mut Vec<u8>| {
        hasher.update(&*piece);
        length += piece.len() as u64;
        let written = file.write_all(piece).map_err(|error| Error::io("cannot write", path, error));
        piece.clear();
        written
    };
    each(&mut |bytes| {
        piece.extend_from_slice(bytes);
        if piece.len() < PIECE { Ok(()) } else { write(&mut piece) }
    })?;
    write(&mut piece)?;
    Ok((length, hex(&hasher.finalize())))
}

/// Writes `bytes` to the new file `path` (its parent directories are made), which is flushed as copies are.
///
/// # Errors
/// [`crate::ErrorKind::Io`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path)?.write_all(bytes).map_err(|error| Error::io("cannot write", path, error))
}

fn create(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| Error::io("cannot create the directory", parent, error))?;
    }
    File::create_new(path).map_err(|error| Error::io("cannot create", path, error))
}

/// Gives all bytes of a file to `each`, with their places.
fn stream(
    path: &Path,
    observer: &dyn Observer,
    mut each: impl FnMut(&[u8], Range<u64>) -> Result<()>,
) -> Result<(u64, String)> {
    let mut file = File::open(path).map_err(|error| Error::io("cannot open", path, error))?;
    let mut piece = vec![0; PIECE];
    let mut hasher = Sha256::new();
    let mut length = 0u64;
    loop {
        observer.check()?;
        let read = file.read(&mut piece).map_err(|error| Error::io("cannot read", path, error))?;
        if read == 0 {
            return Ok((length, hex(&hasher.finalize())));
        }
        let bytes = &piece[..read];
        hasher.update(bytes);
        let end = length + read as u64;
        each(bytes, length..end)?;
        length = end;
        observer.advance(read as u64);
    }
}
