//! Whether files are still what they were when they were opened.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::format::truncation;

/// What a file system says of a file that changes when its content does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    /// Of the inode: nobody can set it back.
    changed: (i64, i64),
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        State {
            place: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Files as they were before they were read.
#[derive(Debug, Default)]
pub(super) struct Snapshot(Vec<(PathBuf, State)>);

impl Snapshot {
    /// Notes the state of a file. To be called before anything of it is read.
    pub(super) fn note(&mut self, path: PathBuf) -> Result<()> {
        let metadata = fs::metadata(&path).map_err(|error| Error::io("cannot open", &path, error))?;
        self.0.push((path, State::of(&metadata)));
        Ok(())
    }

    /// Fails if a file has been written to, replaced or removed since.
    pub(super) fn check(&self) -> Result<()> {
        for (path, before) in &self.0 {
            let now = fs::metadata(path).map_err(|error| Error::io("cannot look at", path, error))?;
            if State::of(&now) != *before {
                let found = format!("{} bytes before and {} now", before.bytes, now.len());
                return Err(Error::new(ErrorKind::Io, "the file changed while it was read")
                    .at(path)
                    .expected("one that nothing writes to")
                    .found(found)
                    .hint("run again when it is complete"));
            }
        }
        truncation::check()
    }
}
