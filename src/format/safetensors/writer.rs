//! Writes a file piece by piece, and digests it meanwhile.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::Layout;
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are written and digested at a time: they stay in the second-level cache in between.
const PIECE: usize = 1 << 18;

/// Bytes by which the file has to grow before the digest of the whole is told.
const NOTICE: u64 = 1 << 20;

/// Notices that may be waiting. It bounds how far the digest of the whole lags behind, so that what it reads is
/// still cached.
const WAITING: usize = 16;

/// A file being written. Tensors come in any order, the pieces of each in theirs; several may be open at a time.
///
/// The digest of each tensor is taken on the thread that writes. That of the whole file is taken on another, which
/// follows the part of the file that is complete from the start and reads it back: pieces need not be kept until
/// their turn comes, and what is digested is what the file holds.
///
/// Dropped before [`Writer::finish`], it leaves what was written so far; the directory is for the caller to remove.
pub struct Writer {
    path: PathBuf,
    file: Arc<File>,
    layout: Layout,
    tensors: Vec<Progress>,
    /// Position in [`Layout::order`] of the first tensor that is not complete.
    next: usize,
    /// Bytes from the start of the file that the digest of the whole was told to be complete.
    told: u64,
    follower: Follower,
}

/// How much of a tensor was written, and its digest so far.
struct Progress {
    written: u64,
    hasher: Sha256,
}

/// What a finished file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file in lower-case hex.
    pub sha256: String,
    /// SHA-256 of each tensor's bytes in lower-case hex, in the order in which the layout was given the tensors.
    pub tensor_sha256: Vec<String>,
}

impl Writer {
    /// Creates the file `path`, which must not exist, and writes the header of `layout`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the file cannot be created or written.
    pub fn create(path: &Path, layout: Layout) -> Result<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(path);
        let file = Arc::new(file.map_err(|error| Error::io("cannot create", path, error))?);
        file.write_all_at(layout.header(), 0).map_err(|error| Error::io("cannot write", path, error))?;
        let follower = Follower::start(Arc::clone(&file)).map_err(|error| Error::io("cannot digest", path, error))?;
        let tensors = (0..layout.tensors()).map(|_| Progress { written: 0, hasher: Sha256::new() }).collect();
        Ok(Writer { path: path.to_owned(), file, layout, tensors, next: 0, told: 0, follower })
    }

    /// Appends `bytes` to tensor `index` of the slice that the layout was given.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where the tensor gets more bytes than its shape holds, [`ErrorKind::Io`] where they
    /// cannot be written.
    pub fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Range { start, end } = self.layout.range(index);
        let length = end - start;
        let fits = |written: u64| written.checked_add(bytes.len() as u64).is_some_and(|sum| sum <= length);
        if !fits(self.tensors[index].written) {
            return Err(Error::new(ErrorKind::Output, format!("tensor {index} of the file gets too many bytes"))
                .at(&self.path)
                .expected(format!("{length}"))
                .found(format!("{} and {} more", self.tensors[index].written, bytes.len())));
        }
        for piece in bytes.chunks(PIECE) {
            let progress = &mut self.tensors[index];
            self.file
                .write_all_at(piece, start + progress.written)
                .map_err(|error| Error::io("cannot write", &self.path, error))?;
            progress.hasher.update(piece);
            progress.written += piece.len() as u64;
            self.follow(NOTICE);
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
        self.follow(0);
        // The disk works while the rest is being digested.
        let flushed = self.file.sync_all();
        let digest = self.follower.finish().map_err(|error| Error::io("cannot read back", &self.path, error))?;
        flushed.map_err(|error| Error::io("cannot flush", &self.path, error))?;
        let metadata = self.file.metadata().map_err(|error| Error::io("cannot look at", &self.path, error))?;
        if metadata.len() != self.layout.file_bytes() {
            return Err(Error::new(ErrorKind::Output, "file is of another length than predicted")
                .at(&self.path)
                .expected(format!("{} bytes", self.layout.file_bytes()))
                .found(format!("{}", metadata.len())));
        }
        let tensor_sha256 = self.tensors.into_iter().map(|progress| hex(progress.hasher)).collect();
        Ok(Written { bytes: metadata.len(), sha256: hex(digest), tensor_sha256 })
    }

    /// Tells the digest of the whole how far the file is complete, if that is at least `notice` bytes further.
    fn follow(&mut self, notice: u64) {
        let mut complete = self.layout.file_bytes();
        while let Some(&index) = self.layout.order().get(self.next) {
            let Range { start, end } = self.layout.range(index);
            let written = self.tensors[index].written;
            if written < end - start {
                complete = start + written;
                break;
            }
            self.next += 1;
        }
        if complete - self.told >= notice {
            self.told = complete;
            self.follower.complete_to(complete);
        }
    }
}

/// The thread that digests the whole file.
struct Follower {
    notices: SyncSender<u64>,
    thread: JoinHandle<std::io::Result<Sha256>>,
}

impl Follower {
    fn start(file: Arc<File>) -> std::io::Result<Self> {
        let (notices, receiver) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("digest".into()).spawn(move || digest(&file, &receiver))?;
        Ok(Follower { notices, thread })
    }

    /// Lets the digest go on to byte `end`; waits where it lags far behind.
    fn complete_to(&self, end: u64) {
        // A thread that has ended has an error to give, which `finish` reports.
        let _ = self.notices.send(end);
    }

    fn finish(self) -> std::io::Result<Sha256> {
        drop(self.notices);
        self.thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the digesting thread panicked")))
    }
}

/// Digests `file` from its start as far as each notice says, until there are no more.
fn digest(file: &File, notices: &Receiver<u64>) -> std::io::Result<Sha256> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut position = 0;
    for end in notices {
        while position < end {
            let wanted = (end - position).min(PIECE as u64) as usize;
            file.read_exact_at(&mut piece[..wanted], position)?;
            hasher.update(&piece[..wanted]);
            position += wanted as u64;
        }
    }
    Ok(hasher)
}

/// The digest in lower-case hex.
fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
