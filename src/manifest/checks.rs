//! What a manifest may not ask for, whoever wrote it: `restore` writes what it lists.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::{FileRecord, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::format::limits;

impl Manifest {
    /// Refuses what no manifest may hold; one that is written passes as one that is read does.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where a path leads out of its directory or a tensor is a part of two tables,
    /// [`ErrorKind::Unsupported`] where a tensor of the output stands for more than [`limits::MAX_TIED`] of the source.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_paths()?;
        self.check_parts()?;
        self.check_copies()
    }

    /// Refuses paths that lead out of the directory that they are relative to: some are read, and `restore` writes to
    /// some.
    fn check_paths(&self) -> Result<()> {
        let mut files: Vec<&FileRecord> = self.files.iter().collect();
        let mut source = Some(&self.source);
        while let Some(present) = source {
            files.extend(&present.files);
            source = present.origin.as_ref().map(|origin| &origin.source);
        }
        let leaves = |file: &&&FileRecord| {
            let plain = Path::new(&file.path).components().all(|part| matches!(part, Component::Normal(_)));
            file.path.is_empty() || !plain
        };
        match files.iter().find(leaves) {
            None => Ok(()),
            Some(file) => Err(Error::new(ErrorKind::Malformed, "a path of the manifest leaves the directory")
                .expected("a plain relative path")
                .found(format!("`{}`", file.path.escape_debug()))),
        }
    }

    /// Refuses tables that share a part: each would be decoded from it anew.
    fn check_parts(&self) -> Result<()> {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for table in &self.tables {
            for part in &table.parts {
                if let Some(owner) = owners.insert(part, &table.name) {
                    return Err(Error::new(ErrorKind::Malformed, "a part belongs to two tables of the manifest")
                        .tensor(part)
                        .expected(format!("a part of `{owner}` alone"))
                        .found(format!("one of `{}` too", table.name)));
                }
            }
        }
        Ok(())
    }

    /// Refuses a table or tensor of the output that stands for too many tensors of the source, where all of them would
    /// be written again.
    fn check_copies(&self) -> Result<()> {
        if !self.operation.encodes() {
            return Ok(());
        }
        let mut stored: BTreeMap<&str, &str> =
            self.stored_once.iter().map(|(name, stored)| (name.as_str(), stored.as_str())).collect();
        for table in &self.tables {
            stored.extend(table.tied.iter().chain([&table.name]).map(|name| (name.as_str(), table.name.as_str())));
        }
        let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
        for tensor in self.source.files.iter().filter_map(|file| file.tensors.as_deref()).flatten() {
            let name = stored.get(tensor.name.as_str()).copied().unwrap_or(&tensor.name);
            let count = copies.entry(name).or_default();
            *count = count.saturating_add(1);
        }
        match copies.iter().find(|(_, count)| **count > limits::MAX_TIED) {
            None => Ok(()),
            Some((name, count)) => Err(Error::new(ErrorKind::Unsupported, "too many tensors are stored as one")
                .tensor(*name)
                .expected(format!("at most {}", limits::MAX_TIED))
                .found(count.to_string())),
        }
    }
}
