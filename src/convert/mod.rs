//! Runs a conversion: reader -> codec -> writer, into a directory that appears when it is complete.

mod assembly;
mod auto;
mod carrier;
mod compress;
mod config;
mod conversion;
mod division;
mod layout;
mod names;
mod records;
mod restore;
mod source;
mod tokenizer;
mod words;

use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, Shard};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Generator, MANIFEST_NAME, Manifest, digest};

#[cfg(feature = "train")]
pub(crate) use assembly::{copy_companions, path_text, write_manifest, write_small};
pub use auto::AUTO;
pub use carrier::{CARRIERS, Carrier, Encoded, LOADER, Placed, Slot, choices as carrier_choices};
pub use compress::{Prepared, Request, compress};
pub use conversion::{ConversionRequest, convert};
pub use division::Rename;
pub use restore::restore;

/// A conversion that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// What was done.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's text: the one digest that vouches for all others.
    pub manifest_sha256: String,
}

pub(crate) fn generator() -> Generator {
    Generator { name: "rankfold".into(), version: env!("CARGO_PKG_VERSION").into() }
}

/// Where the tensors of a weight file of the source go: to safetensors of the same name, unless
/// the output keeps the file's own form. Files that hold one tensor
/// each go together, since only an index could tell that they are one checkpoint.
fn output_path(checkpoint: &Checkpoint, shard: &Shard) -> PathBuf {
    if shard.reader().rewriter().is_some() {
        return shard.path().to_owned();
    }
    let together = checkpoint.shards().len() > 1 && checkpoint.index().is_none();
    // The class that an output of word vectors gets has to know the name.
    output_path_of(shard.path(), together || shard.reader().vocabulary().is_some())
}

fn output_path_of(path: &Path, together: bool) -> PathBuf {
    if together { path.with_file_name("model.safetensors") } else { names::weights(path, "safetensors") }
}

/// Whether outputs of the checkpoint are files of its own form. They need no loader and nothing in a configuration:
/// what runs the original runs them.
fn keeps_form(checkpoint: &Checkpoint) -> bool {
    checkpoint.shards().iter().any(|shard| shard.reader().rewriter().is_some())
}

/// Bytes of all weight files of a checkpoint.
fn weights_before(checkpoint: &Checkpoint) -> Result<u64> {
    Ok(checkpoint.shards().iter().map(Shard::bytes).sum::<u64>() + assembly::companion_weights(checkpoint)?)
}

/// An output of `compress` has factor pairs already; encoding one of their factors again is nobody's wish.
fn refuse_encoded(checkpoint: &Checkpoint) -> Result<()> {
    if !checkpoint.is_directory() || !checkpoint.root().join(MANIFEST_NAME).exists() {
        return Ok(());
    }
    let (manifest, _) = Manifest::read(checkpoint.root())?;
    if !manifest.operation.encodes() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "the checkpoint is compressed already")
        .at(checkpoint.root())
        .hint("start from the original, or `rankfold restore` this one first"))
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
pub(crate) fn refuse_overlap(source: &Checkpoint, destination: &Path) -> Result<()> {
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
