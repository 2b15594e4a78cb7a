//! The files below a directory.

use std::fs::{self, FileType, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

/// Every file below `root`, relative to it, sorted.
///
/// Symbolic links to files are followed, wherever they lead: a Hugging Face cache is made of them. Those to
/// directories are followed inside `root` only, so that a checkpoint cannot draw in the rest of the disk.
///
/// # Errors
/// [`ErrorKind::Io`] where a directory cannot be listed or a link leads nowhere; [`ErrorKind::Unsupported`] for
/// pipes, sockets and devices, links that leave `root` or make a loop, and more files or levels than
/// [`limits::MAX_FILES`] and [`limits::MAX_DEPTH`].
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let real_root = fs::canonicalize(root).map_err(|error| Error::io("cannot open", root, error))?;
    let metadata = fs::metadata(root).map_err(|error| Error::io("cannot open", root, error))?;
    let mut walk = Walk { root, real_root, entries: 0, ancestors: vec![identity(&metadata)], files: Vec::new() };
    walk.directory(Path::new(""))?;
    walk.files.sort();
    Ok(walk.files)
}

/// What tells a directory from every other, whatever path leads to it.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

struct Walk<'a> {
    root: &'a Path,
    real_root: PathBuf,
    entries: usize,
    /// The directories that lead to the present one, itself included.
    ancestors: Vec<(u64, u64)>,
    files: Vec<PathBuf>,
}

impl Walk<'_> {
    /// Adds the files below `folder`, which is relative to the root.
    fn directory(&mut self, folder: &Path) -> Result<()> {
        let full = self.root.join(folder);
        let list = fs::read_dir(&full).map_err(|error| Error::io("cannot list", &full, error))?;
        for entry in list {
            let entry = entry.map_err(|error| Error::io("cannot list", &full, error))?;
            self.entries = self.entries.saturating_add(1);
            if self.entries > limits::MAX_FILES {
                return Err(Error::new(ErrorKind::Unsupported, "too many files below the directory")
                    .at(self.root)
                    .expected(format!("at most {}", limits::MAX_FILES)));
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| Error::io("cannot look at", &path, error))?;
            let metadata = fs::metadata(&path).map_err(|error| {
                Error::io(if kind.is_symlink() { "cannot follow the link" } else { "cannot look at" }, &path, error)
            })?;
            let relative = folder.join(entry.file_name());
            if metadata.is_file() {
                self.files.push(relative);
            } else if metadata.is_dir() {
                if kind.is_symlink() {
                    self.check_link(&path)?;
                }
                self.descend(&relative, &path, &metadata)?;
            } else {
                return Err(Error::new(ErrorKind::Unsupported, "cannot be part of a checkpoint")
                    .at(&path)
                    .expected("a file or a directory")
                    .found(name_of(metadata.file_type())));
            }
        }
        Ok(())
    }

    fn descend(&mut self, relative: &Path, path: &Path, metadata: &Metadata) -> Result<()> {
        let identity = identity(metadata);
        if self.ancestors.contains(&identity) {
            return Err(Error::new(ErrorKind::Unsupported, "symbolic link makes a loop").at(path));
        }
        if self.ancestors.len() > limits::MAX_DEPTH {
            return Err(Error::new(ErrorKind::Unsupported, "too many levels of directories")
                .at(path)
                .expected(format!("at most {}", limits::MAX_DEPTH)));
        }
        self.ancestors.push(identity);
        self.directory(relative)?;
        self.ancestors.pop();
        Ok(())
    }

    fn check_link(&self, path: &Path) -> Result<()> {
        let real = fs::canonicalize(path).map_err(|error| Error::io("cannot follow the link", path, error))?;
        if real.starts_with(&self.real_root) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, "symbolic link to a directory outside the checkpoint")
            .at(path)
            .hint("put a copy of the directory in its place"))
    }
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
