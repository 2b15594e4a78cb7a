//! A directory that is written beside its final name and appears there at once.
//!
//! While it is written it is called `.NAME.rankfold-PID`, and its writer holds an advisory lock on it. A writer
//! that was killed leaves the directory but not the lock, so the next run at the same destination can tell an
//! abandoned directory from one in use, and removes it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// What to do with a directory that has the final name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Refuse to start.
    Never,
    /// Exchange it for the new one once that is complete, if it is empty or an output of this program: a directory
    /// of anything else is never removed.
    OurOwn,
}

/// Longest part of the final name that goes into the temporary one: names are limited to 255 bytes.
const NAME_PART: usize = 200;
/// Files that are flushed at the same time: they wait for the disk, not for a core.
const FLUSHES: usize = 8;
const MARK: &str = ".rankfold-";
/// What is added to the name of a replaced output where the file system cannot exchange two.
const ASIDE: &str = "-old";
/// How often a directory is made again that another run at the same destination took for abandoned, which can happen
/// between its making and its locking.
const ATTEMPTS: usize = 100;
/// The file by which an output of this program is known.
const MANIFEST: &str = "rankfold.json";

/// A directory under construction. Dropped without [`StagedDirectory::publish`], it is removed.
#[derive(Debug)]
pub struct StagedDirectory {
    destination: PathBuf,
    staging: PathBuf,
    /// Held open for its lock.
    _lock: File,
    replace: Replace,
    published: bool,
}

impl StagedDirectory {
    /// Starts a directory that is to become `destination`, whose parent must exist.
    ///
    /// Directories that killed runs left beside `destination` are removed.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where `destination` exists and may not be replaced, or has no name;
    /// [`ErrorKind::Io`] where the directory cannot be made.
    pub fn create(destination: &Path, replace: Replace) -> Result<Self> {
        let (parent, name) = split(destination)?;
        check_destination(destination, replace)?;
        remove_abandoned(&parent, &name)?;
        let staging = parent.join(staging_name(&name, std::process::id()));
        for _ in 0..ATTEMPTS {
            fs::create_dir(&staging).map_err(|error| {
                let error = Error::io("cannot create the directory for the output", &staging, error);
                if parent.is_dir() { error } else { error.hint(format!("create `{}` first", parent.display())) }
            })?;
            if let Some(lock) = lock(&staging)? {
                let destination = destination.to_path_buf();
                return Ok(StagedDirectory { destination, staging, _lock: lock, replace, published: false });
            }
        }
        Err(Error::new(ErrorKind::Output, "other runs at the same output keep removing its directory").at(&staging))
    }

    /// Where to write: the directory under its temporary name.
    pub fn path(&self) -> &Path {
        &self.staging
    }

    /// Gives the directory its final name, atomically, once everything in it is on the disk.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where the final name was taken in the meantime; [`ErrorKind::Io`] where the file
    /// system refuses. The destination is as it was before then.
    pub fn publish(mut self) -> Result<()> {
        sync_tree(&self.staging)?;
        check_destination(&self.destination, self.replace)?;
        let renamed = match self.rename(RenameFlags::NOREPLACE) {
            Err(Errno::EXIST | Errno::NOTEMPTY) if self.replace == Replace::OurOwn => {
                self.rename(RenameFlags::EXCHANGE).map(|()| true)
            }
            other => other.map(|()| false),
        };
        let exchanged = renamed.map_err(|error| match error {
            Errno::EXIST | Errno::NOTEMPTY => exists(&self.destination),
            error => Error::io("cannot move the finished output here", &self.destination, error.into()),
        })?;
        self.published = true;
        if let Ok((parent, _)) = split(&self.destination) {
            sync_directory(&parent)?;
        }
        if exchanged {
            // The staging name now holds what was there before.
            remove(&self.staging)
                .map_err(|error| Error::io("cannot remove the replaced output", &self.staging, error))?;
        }
        Ok(())
    }

    fn rename(&self, flags: RenameFlags) -> Result<(), Errno> {
        let here = rustix::fs::CWD;
        match renameat_with(here, &self.staging, here, &self.destination, flags) {
            // File systems without these flags: a plain rename replaces nothing but an empty directory, and two
            // renames are the nearest to an exchange.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if flags == RenameFlags::NOREPLACE => {
                rustix::fs::rename(&self.staging, &self.destination)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let mut aside = self.staging.clone().into_os_string();
                aside.push(ASIDE);
                rustix::fs::rename(&self.destination, &*aside)?;
                rustix::fs::rename(&self.staging, &self.destination)?;
                rustix::fs::rename(&*aside, &self.staging)
            }
            other => other,
        }
    }
}

impl Drop for StagedDirectory {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done in a destructor; the next run removes what this leaves.
            let _ = fs::remove_dir_all(&self.staging);
        }
    }
}

/// Parent directory and final name of a destination.
fn split(destination: &Path) -> Result<(PathBuf, OsString)> {
    let name = destination.file_name().ok_or_else(|| {
        Error::new(ErrorKind::Output, "the output needs a name of its own")
            .at(destination)
            .hint("give a directory that does not exist yet")
    })?;
    let parent = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Ok((parent, name.to_os_string()))
}

/// Whether a directory called `destination` could be made or replaced.
///
/// # Errors
/// [`ErrorKind::Output`] where it exists and may not be replaced.
pub fn check_destination(destination: &Path, replace: Replace) -> Result<()> {
    match fs::symlink_metadata(destination) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("cannot look at the output", destination, error)),
        Ok(_) if replace == Replace::Never => Err(exists(destination)),
        Ok(metadata) if metadata.is_dir() => {
            let ours = destination.join(MANIFEST).is_file();
            let empty = fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_none());
            if ours || empty { Ok(()) } else { Err(not_ours(destination)) }
        }
        Ok(_) => Err(not_ours(destination)),
    }
}

fn exists(destination: &Path) -> Error {
    Error::new(ErrorKind::Output, "the output exists already")
        .at(destination)
        .hint("choose another name, or add `--force` to replace it once the new one is complete")
}

fn not_ours(destination: &Path) -> Error {
    Error::new(ErrorKind::Output, "`--force` replaces only what this program made")
        .at(destination)
        .expected(format!("an empty directory or one with `{MANIFEST}`"))
        .found("something else")
        .hint("remove it yourself, or choose another name")
}

/// What every staging name for `name` begins with.
fn staging_prefix(name: &OsStr) -> Vec<u8> {
    let bytes = name.as_bytes();
    [b".", &bytes[..bytes.len().min(NAME_PART)], MARK.as_bytes()].concat()
}

fn staging_name(name: &OsStr, process: u32) -> OsString {
    let mut bytes = staging_prefix(name);
    bytes.extend_from_slice(process.to_string().as_bytes());
    OsString::from_vec(bytes)
}

/// Whether a name is one that [`staging_name`] gives, or such a one set aside.
fn is_staging_name(name: &OsStr, prefix: &[u8]) -> bool {
    let Some(rest) = name.as_bytes().strip_prefix(prefix) else { return false };
    let process = rest.strip_suffix(ASIDE.as_bytes()).unwrap_or(rest);
    !process.is_empty() && process.iter().all(u8::is_ascii_digit)
}

fn remove_abandoned(parent: &Path, name: &OsStr) -> Result<()> {
    let prefix = staging_prefix(name);
    // A parent that cannot be listed is reported when the directory is made in it.
    let Ok(entries) = fs::read_dir(parent) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory || !is_staging_name(&entry.file_name(), &prefix) {
            continue;
        }
        let Ok(directory) = File::open(&path) else { continue };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&path).map_err(|error| Error::io("cannot remove what an interrupted run left", &path, error))?;
        }
    }
    Ok(())
}

/// Removes a directory, which another run may be doing too.
fn remove(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Locks a directory that was just made. `None` where another run came first, which took it for abandoned: it is gone
/// then, or will be.
fn lock(staging: &Path) -> Result<Option<File>> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let failed = |error| Error::io("cannot lock", staging, error);
    let lock = match File::open(staging) {
        Ok(lock) => lock,
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            // Once it can be locked, the other run is done with it.
            flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        }
        other => other.map_err(|error| failed(error.into()))?,
    }
    // What is locked must still be what has the name.
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let locked = lock.metadata().map(identity).map_err(failed)?;
    match fs::symlink_metadata(staging).map(identity) {
        Ok(named) if named == locked => Ok(Some(lock)),
        Ok(_) => Ok(None),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Flushes a tree: its files, then its directories from the innermost on.
fn sync_tree(directory: &Path) -> Result<()> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    list(directory, &mut files, &mut directories)?;
    // One after the other, each small file waits for a commit of the journal of its own; together they share one.
    let groups = files.chunks(files.len().div_ceil(FLUSHES).max(1));
    std::thread::scope(|scope| {
        let flush = |files: &'_ [PathBuf]| files.iter().try_for_each(|file| sync_file(file));
        let running: Vec<_> = groups.map(|files| scope.spawn(move || flush(files))).collect();
        // A panic there would be one here too.
        let done = running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        done.collect::<Result<()>>()
    })?;
    directories.iter().try_for_each(|directory| sync_directory(directory))
}

/// The files below a directory, and the directories, each behind those in it.
fn list(directory: &Path, files: &mut Vec<PathBuf>, directories: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error| Error::io("cannot list", directory, error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            list(&entry.path(), files, directories)?;
        } else {
            files.push(entry.path());
        }
    }
    directories.push(directory.to_owned());
    Ok(())
}

fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| Error::io("cannot flush", path, error))
}

fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::io("cannot flush the directory", directory, error))
}
