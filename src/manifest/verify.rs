//! Checks an output against its manifest, and against the source it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::chain::largest;
use super::{FileRecord, MANIFEST_NAME, Manifest, Operation, SEAL, SUMS_NAME, digest, hex, weights_of};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{self, Reader, limits};
use crate::observe::Observer;
use crate::output::sha256sums;

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A file of the output.
    File,
    /// A tensor in a weight file of the output.
    Tensor,
    /// A table's record in the manifest.
    Table,
    /// A file of the source.
    SourceFile,
    /// A checkpoint on the way from the original.
    Step,
}

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is there with another content.
    Changed,
    /// The manifest has it, the directory has not.
    Missing,
    /// The directory has it, the manifest has not.
    Extra,
}

/// One difference between what a manifest says and what is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// What kind of thing.
    pub subject: Subject,
    /// Which one: a relative path or a tensor's name.
    pub name: String,
    /// How.
    pub change: Change,
    /// The two sides, in words; empty where `change` says it all.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match self.subject {
            Subject::File => "file",
            Subject::Tensor => "tensor",
            Subject::Table => "table",
            Subject::SourceFile => "source file",
            Subject::Step => "step",
        };
        let change = match self.change {
            Change::Changed => "changed",
            Change::Missing => "missing",
            Change::Extra => "extra",
        };
        write!(out, "{change}: {subject} `{}`", self.name.escape_debug())?;
        if self.detail.is_empty() { Ok(()) } else { write!(out, ": {}", self.detail) }
    }
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// SHA-256 of the manifest as it stands in the directory, if it is there.
    pub manifest_sha256: Option<String>,
    /// Number of files whose digests were compared.
    pub files: usize,
    /// Number of tensors whose digests were compared.
    pub tensors: usize,
    /// The way from the original checkpoint, oldest first: what was done and the digest of the manifest that says so;
    /// the first has the digest of the original's largest weight file.
    pub chain: Vec<Link>,
    /// Every difference, sorted.
    pub differences: Vec<Difference>,
}

/// A step of the way from the original checkpoint to an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `source`, or the name of an [`Operation`].
    pub step: &'static str,
    /// Digest that identifies its result.
    pub sha256: Option<String>,
    /// Where it was checked, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// The way that `manifest`, whose own bytes have the digest `sha256`, tells of.
fn chain_of(manifest: &Manifest, sha256: &str) -> Vec<Link> {
    let link = |step, sha256| Link { step, sha256, path: None };
    let mut chain = vec![link(manifest.operation.name(), Some(sha256.to_owned()))];
    let mut source = &manifest.source;
    while let Some(origin) = &source.origin {
        chain.push(link(origin.operation.name(), source.manifest_sha256.clone()));
        source = &origin.source;
    }
    chain.push(link("source", largest(source).map(|file| file.sha256.clone())));
    chain.reverse();
    chain
}

impl Verification {
    pub(super) fn note(&mut self, subject: Subject, name: &str, change: Change, detail: impl Into<String>) {
        self.differences.push(Difference { subject, name: name.to_owned(), change, detail: detail.into() });
    }
}

/// Re-hashes every file and every tensor of the output `directory` and lists every difference from its manifest.
///
/// The manifest is given too, unless it is itself missing or unreadable, which is then the one difference: nothing
/// else says what should be there.
///
/// # Errors
/// Where nothing in the directory says that it is an output of this program, or the operating system refuses;
/// differences are no errors.
pub fn verify(directory: &Path, observer: &dyn Observer) -> Result<(Option<Manifest>, Verification)> {
    let mut result =
        Verification { manifest_sha256: None, files: 0, tensors: 0, chain: Vec::new(), differences: Vec::new() };
    let (manifest, bytes) = match Manifest::read(directory) {
        Ok(read) => read,
        Err(error) => {
            let path = directory.join(MANIFEST_NAME);
            let missing = matches!(path.try_exists(), Ok(false));
            let unreadable = error.kind() == ErrorKind::Malformed;
            if !(missing && directory.join(SUMS_NAME).is_file() || unreadable) {
                return Err(error);
            }
            let (change, detail) =
                if missing { (Change::Missing, String::new()) } else { (Change::Changed, error.to_string()) };
            result.note(Subject::File, MANIFEST_NAME, change, detail);
            return Ok((None, result));
        }
    };
    let manifest_sha256 = digest(&bytes);
    if manifest.to_text()?.as_bytes() != bytes {
        result.note(Subject::File, MANIFEST_NAME, Change::Changed, "not in canonical form");
    }
    check_sums(directory, &manifest, &manifest_sha256, &mut result)?;
    result.chain = chain_of(&manifest, &manifest_sha256);
    result.manifest_sha256 = Some(manifest_sha256);
    observer.stage("verify", "output", manifest.files.iter().map(|file| file.bytes).sum());
    for record in &manifest.files {
        check_file(directory, record, &manifest, &mut result, observer)?;
    }
    check_extra(directory, &manifest, &mut result)?;
    check_tables(&manifest, &mut result);
    let weights = weights_of(&manifest.files);
    if weights != manifest.weights_bytes.after {
        let detail = format!("weights_bytes.after: expected {weights}, found {}", manifest.weights_bytes.after);
        result.note(Subject::File, MANIFEST_NAME, Change::Changed, detail);
    }
    result.differences.sort();
    Ok((Some(manifest), result))
}

/// The text that `SHA256SUMS` must have for `manifest`, whose own bytes have the digest `manifest_sha256`.
pub(crate) fn sums_of(manifest: &Manifest, manifest_sha256: &str) -> String {
    let files = manifest.files.iter().map(|file| (file.path.as_str(), file.sha256.as_str()));
    sha256sums(files.chain([(MANIFEST_NAME, manifest_sha256)]))
}

fn check_sums(directory: &Path, manifest: &Manifest, manifest_sha256: &str, result: &mut Verification) -> Result<()> {
    let expected = sums_of(manifest, manifest_sha256);
    let path = directory.join(SUMS_NAME);
    match limits::read(&path, limits::MAX_JSON) {
        Ok(found) if found == expected.as_bytes() => {}
        Ok(found) => {
            let found = String::from_utf8_lossy(&found);
            check_manifest_line(&found, manifest_sha256, result);
            let expected: BTreeSet<&str> = expected.lines().collect();
            let found: BTreeSet<&str> = found.lines().collect();
            for line in expected.symmetric_difference(&found) {
                let side = if expected.contains(line) { "lacks" } else { "has" };
                result.note(Subject::File, SUMS_NAME, Change::Changed, format!("{side} the line `{line}`"));
            }
            if expected == found {
                result.note(Subject::File, SUMS_NAME, Change::Changed, "lines in another order or repeated");
            }
        }
        Err(_) if matches!(path.try_exists(), Ok(false)) => {
            result.note(Subject::File, SUMS_NAME, Change::Missing, "");
        }
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            result.note(Subject::File, SUMS_NAME, Change::Changed, error.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Notes that the manifest is not the one that the list of digests has, where it has one: which of the two was changed
/// only who knows the digest can say.
fn check_manifest_line(sums: &str, manifest_sha256: &str, result: &mut Verification) {
    let listed = sums.lines().find_map(|line| line.strip_suffix(MANIFEST_NAME)?.strip_suffix("  "));
    if let Some(listed) = listed.filter(|listed| *listed != manifest_sha256) {
        let detail = format!("{SUMS_NAME} has sha256 {}, found {manifest_sha256}", listed.escape_debug());
        result.note(Subject::File, MANIFEST_NAME, Change::Changed, detail);
    }
}

fn check_file(
    directory: &Path,
    record: &FileRecord,
    manifest: &Manifest,
    result: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    let path = directory.join(&record.path);
    let change = file_change(&path, record, observer)?;
    result.files = result.files.saturating_add(1);
    if let Some((change, detail)) = &change {
        result.note(Subject::File, &record.path, *change, detail);
    }
    let Some(expected) = &record.tensors else { return Ok(()) };
    if matches!(change, Some((Change::Missing, _))) {
        for tensor in expected {
            result.note(Subject::Tensor, &tensor.name, Change::Missing, "");
        }
        return Ok(());
    }
    let reader = match format::open(&path) {
        Ok(reader) => reader,
        // A header that a changed file no longer has is a difference; in a file with the right digest it is not.
        Err(error) if change.is_some() && error.kind() != ErrorKind::Io => {
            result.note(Subject::File, &record.path, Change::Changed, format!("cannot be read: {error}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if let Some(carried) = reader.metadata().get(SEAL) {
        let expected = manifest.core_sha256()?;
        if *carried != expected {
            let detail = format!("carries `{SEAL}` {}, the manifest's is {expected}", carried.escape_debug());
            result.note(Subject::File, &record.path, Change::Changed, detail);
        }
    }
    let found: BTreeMap<&str, usize> =
        reader.tensors().iter().enumerate().map(|(index, meta)| (meta.name.as_str(), index)).collect();
    for tensor in expected {
        observer.check()?;
        let Some((index, meta)) = found.get(tensor.name.as_str()).and_then(|&at| Some((at, reader.tensors().get(at)?)))
        else {
            result.note(Subject::Tensor, &tensor.name, Change::Missing, "");
            continue;
        };
        result.tensors = result.tensors.saturating_add(1);
        if *meta != tensor.meta() {
            let detail = format!("expected {} {:?}, found {} {:?}", tensor.dtype, tensor.shape, meta.dtype, meta.shape);
            result.note(Subject::Tensor, &tensor.name, Change::Changed, detail);
        } else if let Some(expected) = &tensor.sha256 {
            let detail = match digest_tensor(reader.as_ref(), index, observer) {
                Ok(found) if found == *expected => continue,
                Ok(found) => format!("expected sha256 {expected}, found {found}"),
                Err(error) if change.is_some() && error.kind() != ErrorKind::Interrupted => error.to_string(),
                Err(error) => return Err(error),
            };
            result.note(Subject::Tensor, &tensor.name, Change::Changed, detail);
        } else {
            result.note(Subject::Tensor, &tensor.name, Change::Changed, "the manifest has no digest of it");
        }
    }
    let expected: BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
    for name in found.keys().filter(|name| !expected.contains(*name)) {
        result.note(Subject::Tensor, name, Change::Extra, "");
    }
    Ok(())
}

/// SHA-256 of a tensor's elements, in memory that does not grow with it.
fn digest_tensor(reader: &dyn Reader, index: usize, observer: &dyn Observer) -> Result<String> {
    let mut hasher = Sha256::new();
    reader.stream(index, &mut |bytes| {
        hasher.update(bytes);
        observer.check()
    })?;
    Ok(hex(&hasher.finalize()))
}

/// How the file differs from its record, if it does.
pub(super) fn file_change(
    path: &Path,
    record: &FileRecord,
    observer: &dyn Observer,
) -> Result<Option<(Change, String)>> {
    // A folder on the way that is a file now is as good as none.
    let gone = [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory];
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        // A pipe would be waited for.
        Ok(_) => return Ok(Some((Change::Changed, "expected a file, found something else".into()))),
        Err(error) if gone.contains(&error.kind()) => return Ok(Some((Change::Missing, String::new()))),
        Err(error) => return Err(Error::io("cannot look at", path, error)),
    }
    let (bytes, sha256) = crate::output::digest_file(path, observer)?;
    if bytes != record.bytes {
        return Ok(Some((Change::Changed, format!("expected {} bytes, found {bytes}", record.bytes))));
    }
    if sha256 != record.sha256 {
        return Ok(Some((Change::Changed, format!("expected sha256 {}, found {sha256}", record.sha256))));
    }
    Ok(None)
}

fn check_extra(directory: &Path, manifest: &Manifest, result: &mut Verification) -> Result<()> {
    // As paths: two names that are not UTF-8 may look the same as text.
    let known: BTreeSet<&Path> =
        manifest.files.iter().map(|file| file.path.as_str()).chain([MANIFEST_NAME, SUMS_NAME]).map(Path::new).collect();
    for path in crate::checkpoint::files_below(directory)? {
        if !known.contains(path.as_path()) {
            result.note(Subject::File, &path.to_string_lossy(), Change::Extra, "");
        }
    }
    Ok(())
}

/// The records of the tables must fit the tensors that are listed.
fn check_tables(manifest: &Manifest, result: &mut Verification) {
    let stored: BTreeMap<&str, _> = manifest
        .files
        .iter()
        .flat_map(|file| file.tensors.iter().flatten())
        .map(|tensor| (tensor.name.as_str(), tensor.meta()))
        .collect();
    for table in &manifest.tables {
        let mut bytes = 0u64;
        let tensors: &[String] = match manifest.operation {
            Operation::Compress | Operation::Convert | Operation::Retrain | Operation::Train => &table.parts,
            Operation::Restore => std::slice::from_ref(&table.name),
        };
        for part in tensors {
            match stored.get(part.as_str()) {
                Some(meta) => bytes = bytes.saturating_add(meta.bytes().unwrap_or(u64::MAX)),
                None => result.note(Subject::Table, &table.name, Change::Changed, format!("no tensor `{part}`")),
            }
        }
        if bytes != table.bytes_after {
            let detail = format!("bytes_after: expected {bytes}, found {}", table.bytes_after);
            result.note(Subject::Table, &table.name, Change::Changed, detail);
        }
    }
}
