//! Caps on what a file may ask for before anything is allocated or opened.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Bytes of a file that are looked at to tell its format.
pub const PROBE: usize = 1024;

/// Bytes of a line of word vectors: a word and a million numbers.
pub const MAX_LINE: usize = 16 << 20;

/// Bytes of a word in a binary file of word vectors.
pub const MAX_WORD: usize = 1 << 16;

/// Bytes of a safetensors header, the cap of that format's reference implementation.
pub const MAX_HEADER: u64 = 100_000_000;

/// Dimensions of a tensor. PyTorch stops at 64, NumPy at 64, and every value is held.
pub const MAX_DIMENSIONS: usize = 64;

/// Bytes of `config.json`, of `modules.json` and of an index.
pub const MAX_JSON: u64 = 64 << 20;

/// Files that one index may name. Each is a mapping, of which a process gets 65,530 by default on Linux.
pub const MAX_SHARDS: usize = 10_000;

/// Entries of a zip archive.
pub const MAX_ENTRIES: u64 = 1_000_000;

/// Bytes of a pickle without the storages after it; that of a checkpoint takes about 200 bytes a tensor.
pub const MAX_PICKLE: usize = 64 << 20;

/// Objects that a pickle may make, and entries of its memo.
pub const MAX_OBJECTS: usize = 4_000_000;

/// Bytes of an integer in a pickle. The longest that a checkpoint has is its magic number, of 10.
pub const MAX_INTEGER: usize = 16;

/// Levels of containers around a tensor in a pickle.
pub const MAX_NESTING: usize = 32;

/// Bytes of the header of a .npy file. NumPy itself stops at 10,000 unless told otherwise.
pub const MAX_NPY_HEADER: usize = 1 << 20;

/// Names under which one stored tensor or table may stand in the original. Each is a copy to be written when that is
/// restored, and a manifest of 64 MiB has room for hundreds of thousands; checkpoints tie two to five, or a layer to
/// every depth.
pub const MAX_TIED: usize = 256;

/// Files below the directory of a checkpoint.
pub const MAX_FILES: usize = 100_000;

/// Levels of folders below the directory of a checkpoint.
pub const MAX_DEPTH: usize = 32;

/// `text` as a path that stays inside the directory it is relative to; `None` where it is empty or absolute, has a
/// `.` or `..`, or cannot name a file.
pub(crate) fn plain(text: &str) -> Option<PathBuf> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    let path = Path::new(text);
    let is_inside = path.components().all(|component| matches!(component, Component::Normal(_)));
    (is_inside && text.split('/').all(is_plain) && !text.contains('\0')).then(|| path.to_owned())
}

/// Metadata of a regular file, symbolic links followed. Anything else is refused, since opening a pipe would wait
/// for its writer for ever.
pub(crate) fn regular(path: &Path) -> Result<Metadata> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("cannot open", path, error))?;
    if metadata.is_file() {
        return Ok(metadata);
    }
    Err(Error::new(ErrorKind::Unsupported, "not a regular file").at(path))
}

/// Reads the first [`PROBE`] bytes (fewer of a shorter file) and the size of a file.
pub(crate) fn probe(path: &Path) -> Result<(Vec<u8>, u64)> {
    let size = regular(path)?.len();
    let file = File::open(path).map_err(|error| Error::io("cannot open", path, error))?;
    let mut head = Vec::with_capacity(PROBE);
    file.take(PROBE as u64).read_to_end(&mut head).map_err(|error| Error::io("cannot read", path, error))?;
    Ok((head, size))
}

/// Reads a file of at most `cap` bytes.
pub(crate) fn read(path: &Path, cap: u64) -> Result<Vec<u8>> {
    regular(path)?;
    let file = File::open(path).map_err(|error| Error::io("cannot open", path, error))?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long, also one that grows while it is read.
    file.take(cap.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| Error::io("cannot read", path, error))?;
    if bytes.len() as u64 > cap {
        return Err(Error::new(ErrorKind::Unsupported, "file is too long")
            .at(path)
            .expected(format!("at most {cap} bytes"))
            .found("more"));
    }
    Ok(bytes)
}
