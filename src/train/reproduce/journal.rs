//! What is done already: one JSON line a run, beside the report that is to be, so that a killed experiment goes on where
//! it was and ends at the same numbers.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::grid::Run;
use super::outcome::Outcome;
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

/// Bytes of the longest journal that is read.
const MAX_BYTES: u64 = 1 << 30;

/// One finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which one.
    pub run: Run,
    /// What it gave.
    pub outcome: Outcome,
}

impl Entry {
    /// Seconds that it took; none where the method has no such size.
    pub fn seconds(&self) -> f64 {
        match &self.outcome {
            Outcome::Measured(measured) => measured.seconds,
            Outcome::Absent(_) => 0.0,
        }
    }
}

/// A journal that is open for more.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    entries: Vec<Entry>,
}

impl Journal {
    /// Opens the journal at `path`, or begins one. `experiment` is what its runs depend on besides their names: data,
    /// vectors, epochs. What was written last and not wholly is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where another process has it open or it is of another experiment; [`ErrorKind::Malformed`]
    /// with the line that cannot be read; [`ErrorKind::Io`].
    pub(super) fn open(path: &Path, experiment: &str) -> Result<Self> {
        let refused = |error| Error::io("cannot open the journal", path, error);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(refused)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::new(ErrorKind::Output, "another process is at this experiment")
                .at(path)
                .hint("wait for it, or choose another output")
        })?;
        let bytes = limits::read(path, MAX_BYTES)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let mut lines = text.lines();
        let entries = match lines.next() {
            None => Vec::new(),
            Some(first) if first == experiment => parse(lines).map_err(|error| error.at(path))?,
            Some(_) => {
                return Err(Error::new(ErrorKind::Output, "the journal is of another experiment")
                    .at(path)
                    .expected("the same data, vectors, epochs and version")
                    .found("others")
                    .hint("remove it to begin anew, or choose another output"));
            }
        };
        // What a kill left of a line goes.
        file.set_len(whole as u64).map_err(refused)?;
        file.seek(SeekFrom::End(0)).map_err(refused)?;
        if whole == 0 {
            writeln!(file, "{experiment}").map_err(refused)?;
        }
        Ok(Journal { path: path.to_path_buf(), state: Mutex::new(State { file, entries }) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A lock is poisoned by a panic of another worker, which ends the experiment anyway.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether `run` is done.
    pub(super) fn has(&self, run: &Run) -> bool {
        self.state().entries.iter().any(|entry| entry.run == *run)
    }

    /// Adds a finished run, in one write.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where it cannot be written.
    pub(super) fn add(&self, entry: Entry) -> Result<()> {
        let refused = |error| Error::io("cannot write the journal", &self.path, error);
        let mut line = serde_json::to_string(&entry).map_err(|error| refused(error.into()))?;
        line.push('\n');
        let mut state = self.state();
        state.file.write_all(line.as_bytes()).map_err(refused)?;
        state.entries.push(entry);
        Ok(())
    }

    /// Every finished run.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.state().entries.clone()
    }
}

fn parse<'l>(lines: impl Iterator<Item = &'l str>) -> Result<Vec<Entry>> {
    let one = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("line {number} is no run")).found(error.to_string())
        })
    };
    (2..).zip(lines).map(one).collect()
}
