//! Runs a conversion: reader -> codec -> writer, into a directory that appears when it is complete.

mod assembly;
mod compress;
mod config;
mod restore;
mod source;
mod words;

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Generator, MANIFEST_NAME, Manifest, digest};

pub use compress::{Prepared, Request};
pub use restore::restore;

/// A conversion that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// What was done.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's text: the one digest that vouches for all others.
    pub manifest_sha256: String,
}

fn generator() -> Generator {
    Generator { name: "rankfold".into(), version: env!("CARGO_PKG_VERSION").into() }
}

/// Digest of the manifest of a checkpoint that this program made, if it did.
fn own_manifest(checkpoint: &Checkpoint) -> Result<Option<String>> {
    let path = checkpoint.root().join(MANIFEST_NAME);
    if !checkpoint.is_directory() || !path.exists() {
        return Ok(None);
    }
    let (_, bytes) = Manifest::read(checkpoint.root())?;
    Ok(Some(digest(&bytes)))
}

/// Refuses a destination that is the source, lies in it, or contains it: the output would become its own input, or
/// replace it.
fn refuse_overlap(source: &Checkpoint, destination: &Path) -> Result<()> {
    let Ok(root) = source.root().canonicalize() else { return Ok(()) };
    // The destination need not exist yet; what exists of the way to it decides.
    let parent = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let resolved = destination
        .canonicalize()
        .or_else(|_| parent.canonicalize().map(|parent| parent.join(destination.file_name().unwrap_or_default())));
    let Ok(resolved) = resolved else { return Ok(()) };
    let inside = source.is_directory() && resolved.starts_with(&root);
    if inside || root.starts_with(&resolved) {
        return Err(Error::new(ErrorKind::Output, "the output would lie in the source or replace it")
            .at(destination)
            .expected(format!("a place outside `{}`", root.display()))
            .hint("choose another directory"));
    }
    Ok(())
}
