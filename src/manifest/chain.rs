//! Walks from an output back to the original checkpoint, from digest to digest.

use std::path::{Path, PathBuf};

use super::verify::{Link, file_change};
use super::{Change, FileRecord, MANIFEST_NAME, Manifest, Operation, Source, Subject, Verification, digest, verify};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;

/// A checkpoint that may be a step of the way.
struct Step {
    path: PathBuf,
    /// Digest of its manifest, where it is an output.
    sha256: Option<String>,
}

/// Adds to `result`, which is about `output` and its `manifest`, every difference on the way back to the original: each
/// of `ancestors`, in any order, is a checkpoint that some manifest on the way names by digest as its source, has the
/// files that are named there, and verifies itself. The chain of `result` becomes the way that was found.
///
/// # Errors
/// Where a checkpoint cannot be read.
pub fn verify_chain(
    manifest: &Manifest,
    output: &Path,
    ancestors: &[PathBuf],
    result: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    let mut steps = ancestors.iter().map(|path| step(path)).collect::<Result<Vec<_>>>()?;
    let link = |step, sha256, path: &Path| Link { step, sha256, path: Some(path.to_owned()) };
    let mut chain = vec![link(manifest.operation.name(), result.manifest_sha256.clone(), output)];
    let mut child = manifest.clone();
    // What was trained from sentences has no checkpoint before it.
    while child.operation != Operation::Train {
        let source = &child.source;
        let Some(found) = find(source, &steps, observer)? else {
            let expected = match (&source.manifest_sha256, largest(source)) {
                (Some(sha256), _) => format!("no manifest of sha256 {sha256} among the checkpoints given"),
                (None, Some(file)) => {
                    format!("no `{}` of sha256 {} among the checkpoints given", file.path, file.sha256)
                }
                (None, None) => "the manifest names no weights".to_owned(),
            };
            result.note(Subject::Step, "source", Change::Missing, expected);
            break;
        };
        let step = steps.remove(found);
        let Some(sha256) = step.sha256 else {
            check_original(source, &step.path, result, observer)?;
            chain.push(link("source", largest(source).map(|file| file.sha256.clone()), &step.path));
            break;
        };
        let (parent, verification) = verify(&step.path, observer)?;
        for mut difference in verification.differences {
            difference.name = below(&step.path, &difference.name);
            result.differences.push(difference);
        }
        result.files = result.files.saturating_add(verification.files);
        result.tensors = result.tensors.saturating_add(verification.tensors);
        // A manifest that cannot be read is a difference already.
        let Some(parent) = parent else { break };
        check_parent(source, &parent, &step.path, result);
        chain.push(link(parent.operation.name(), Some(sha256), &step.path));
        child = parent;
    }
    for step in steps {
        result.note(Subject::Step, &step.path.to_string_lossy(), Change::Extra, "nothing was made from it on the way");
    }
    chain.reverse();
    result.chain = chain;
    result.differences.sort();
    Ok(())
}

fn step(path: &Path) -> Result<Step> {
    path.metadata().map_err(|error| Error::io("cannot open", path, error))?;
    let sha256 = match Manifest::read(path) {
        Ok((_, bytes)) => Some(digest(&bytes)),
        Err(error) if error.kind() == ErrorKind::Io && !path.join(MANIFEST_NAME).exists() => None,
        Err(error) => return Err(error),
    };
    Ok(Step { path: path.to_owned(), sha256 })
}

/// The step that `source` names. Of checkpoints that are no outputs, the only one, or the one with the largest file.
fn find(source: &Source, steps: &[Step], observer: &dyn Observer) -> Result<Option<usize>> {
    if let Some(sha256) = &source.manifest_sha256 {
        return Ok(steps.iter().position(|step| step.sha256.as_ref() == Some(sha256)));
    }
    let mut plain = steps.iter().enumerate().filter(|(_, step)| step.sha256.is_none());
    if let (Some((only, _)), None) = (plain.next(), plain.next()) {
        return Ok(Some(only));
    }
    let Some(file) = largest(source) else { return Ok(None) };
    for (at, step) in steps.iter().enumerate().filter(|(_, step)| step.sha256.is_none()) {
        if file_change(&root(&step.path).join(&file.path), file, observer)?.is_none() {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The weight file that stands for a source that is no output.
pub(super) fn largest(source: &Source) -> Option<&FileRecord> {
    source.files.iter().filter(|file| file.tensors.is_some()).max_by_key(|file| file.bytes)
}

/// What the paths of a checkpoint are relative to.
fn root(path: &Path) -> &Path {
    if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) }
}

fn below(path: &Path, name: &str) -> String {
    path.join(name).to_string_lossy().into_owned()
}

fn check_original(source: &Source, path: &Path, result: &mut Verification, observer: &dyn Observer) -> Result<()> {
    observer.stage("verify", "source", source.files.iter().map(|file| file.bytes).sum());
    for record in &source.files {
        let file = root(path).join(&record.path);
        if let Some((change, detail)) = file_change(&file, record, observer)? {
            result.note(Subject::SourceFile, &file.to_string_lossy(), change, detail);
        }
        result.files = result.files.saturating_add(1);
    }
    Ok(())
}

/// The parent was verified, so its manifest says what its files are.
fn check_parent(source: &Source, parent: &Manifest, path: &Path, result: &mut Verification) {
    for record in &source.files {
        let name = below(path, &record.path);
        match parent.files.iter().find(|file| file.path == record.path) {
            Some(file) if file.sha256 == record.sha256 => {}
            Some(file) => {
                let detail = format!("expected sha256 {}, found {}", record.sha256, file.sha256);
                result.note(Subject::SourceFile, &name, Change::Changed, detail);
            }
            None => result.note(Subject::SourceFile, &name, Change::Missing, ""),
        }
    }
    if let Some(origin) = &source.origin
        && (origin.operation != parent.operation || origin.source != parent.source)
    {
        let detail = "what its output tells of its origin is not what its own manifest tells";
        result.note(Subject::Step, &path.to_string_lossy(), Change::Changed, detail);
    }
}
