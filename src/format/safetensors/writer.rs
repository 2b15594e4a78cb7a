//! Writes a file piece by piece, and digests it meanwhile.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places of what this program writes, in a layout that was checked"
)]

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Layout;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{WriteTensors, Written};
use crate::output::begin_flush;

/// Bytes that are written and digested at a time: they stay in the second-level cache in between.
const PIECE: usize = 1 << 18;

/// Bytes from which a second thread is worth waking.
const PARALLEL: usize = 4 * PIECE;

/// A file being written. Tensors come in any order, the pieces of each in theirs; several may be open at a time.
///
/// Two digests of every byte are needed, that of its tensor and that of the file; they cost more than the copy itself,
/// so that for long pieces one is taken on each of two threads, which also share the writing. Bytes that come before
/// their turn in the file are read back for the digest of the file once it gets there, so that nothing is kept in
/// memory.
///
/// Dropped before [`Writer::finish`], it leaves what was written so far; the directory is for the caller to remove.
pub struct Writer {
    path: PathBuf,
    file: File,
    layout: Layout,
    tensors: Vec<Progress>,
    whole: Whole,
}

/// How much of a tensor was written, and its digest so far.
struct Progress {
    written: u64,
    hasher: Sha256,
}

/// The digest of the whole file so far.
struct Whole {
    hasher: Sha256,
    /// Bytes from the start of the file that were digested.
    digested: u64,
    /// Position in [`Layout::order`] of the first tensor that was not complete when last looked at.
    next: usize,
}

impl Writer {
    /// Creates the file `path`, which must not exist, and writes the header of `layout`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the file cannot be created or written.
    pub fn create(path: &Path, layout: Layout) -> Result<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|error| Error::io("cannot create", path, error))?;
        let header = layout.header();
        file.write_all_at(header, 0).map_err(|error| Error::io("cannot write", path, error))?;
        let mut whole = Whole { hasher: Sha256::new(), digested: header.len() as u64, next: 0 };
        whole.hasher.update(header);
        let tensors = (0..layout.tensors()).map(|_| Progress { written: 0, hasher: Sha256::new() }).collect();
        Ok(Writer { path: path.to_owned(), file, layout, tensors, whole })
    }

    /// Appends `bytes` to tensor `index` of the slice that the layout was given.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where the tensor gets more bytes than its shape holds, [`ErrorKind::Io`] where they
    /// cannot be written.
    pub fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Range { start, end } = self.layout.range(index);
        let written = self.tensors[index].written;
        let length = bytes.len() as u64;
        if written.checked_add(length).is_none_or(|sum| sum > end - start) {
            return Err(Error::new(ErrorKind::Output, format!("tensor {index} of the file gets too many bytes"))
                .at(&self.path)
                .expected(format!("{}", end - start))
                .found(format!("{written} and {length} more")));
        }
        let position = start + written;
        self.catch_up()?;
        let in_turn = position == self.whole.digested;
        let file = &self.file;
        let own = &mut self.tensors[index].hasher;
        let result = if in_turn && bytes.len() >= PARALLEL {
            let whole = &mut self.whole.hasher;
            let (first, second) = rayon::join(
                || Lane::FIRST.store(file, bytes, position, own),
                || Lane::SECOND.store(file, bytes, position, whole),
            );
            first.and(second)
        } else {
            if in_turn {
                self.whole.hasher.update(bytes);
            }
            Lane::ONLY.store(file, bytes, position, own)
        };
        result.map_err(|error| Error::io("cannot write", &self.path, error))?;
        self.tensors[index].written += length;
        if in_turn {
            self.whole.digested += length;
        }
        Ok(())
    }

    /// Flushes the file to the disk and gives its digests.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where a tensor has fewer bytes than its shape holds or where the file has another
    /// length than predicted; [`ErrorKind::Io`] where it cannot be flushed or read back.
    pub fn finish(mut self) -> Result<Written> {
        for (index, progress) in self.tensors.iter().enumerate() {
            let range = self.layout.range(index);
            if progress.written != range.end - range.start {
                return Err(Error::new(ErrorKind::Output, format!("tensor {index} of the file is not complete"))
                    .at(&self.path)
                    .expected(format!("{} bytes", range.end - range.start))
                    .found(format!("{}", progress.written)));
            }
        }
        self.catch_up()?;
        self.file.sync_all().map_err(|error| Error::io("cannot flush", &self.path, error))?;
        let metadata = self.file.metadata().map_err(|error| Error::io("cannot look at", &self.path, error))?;
        if metadata.len() != self.layout.file_bytes() {
            return Err(Error::new(ErrorKind::Output, "file is of another length than predicted")
                .at(&self.path)
                .expected(format!("{} bytes", self.layout.file_bytes()))
                .found(format!("{}", metadata.len())));
        }
        let tensor_sha256 = self.tensors.into_iter().map(|progress| hex(progress.hasher)).collect();
        Ok(Written { bytes: metadata.len(), sha256: hex(self.whole.hasher), tensor_sha256, data_files: Vec::new() })
    }

    /// Reads back and digests what was written ahead of its turn and is in turn now.
    fn catch_up(&mut self) -> Result<()> {
        let mut complete = self.layout.file_bytes();
        while let Some(&index) = self.layout.order().get(self.whole.next) {
            let Range { start, end } = self.layout.range(index);
            let written = self.tensors[index].written;
            if written < end - start {
                complete = start + written;
                break;
            }
            self.whole.next += 1;
        }
        let mut piece = Vec::new();
        while self.whole.digested < complete {
            let wanted = (complete - self.whole.digested).min(PIECE as u64);
            piece.resize(wanted as usize, 0);
            self.file
                .read_exact_at(&mut piece, self.whole.digested)
                .map_err(|error| Error::io("cannot read back", &self.path, error))?;
            self.whole.hasher.update(&piece);
            self.whole.digested += wanted;
        }
        Ok(())
    }
}

impl WriteTensors for Writer {
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        Writer::write(self, index, bytes)
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        Writer::finish(*self)
    }
}

/// One of several threads that share the writing of the same bytes; each digests all of them for itself.
#[derive(Clone, Copy)]
struct Lane {
    number: usize,
    of: usize,
}

impl Lane {
    const ONLY: Lane = Lane { number: 0, of: 1 };
    const FIRST: Lane = Lane { number: 0, of: 2 };
    const SECOND: Lane = Lane { number: 1, of: 2 };

    /// Digests `bytes` and writes this lane's pieces of them to `file` from `position` on.
    fn store(self, file: &File, bytes: &[u8], position: u64, hasher: &mut Sha256) -> std::io::Result<()> {
        let mut offset = position;
        for (number, piece) in bytes.chunks(PIECE).enumerate() {
            if number % self.of == self.number {
                file.write_all_at(piece, offset)?;
            }
            hasher.update(piece);
            let end = offset + piece.len() as u64;
            if self.number == 0 {
                begin_flush(file, offset..end);
            }
            offset = end;
        }
        Ok(())
    }
}

/// The digest in lower-case hex.
fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
