//! Records of what was read.

use std::path::Path;

use super::assembly;
use super::own_manifest;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::manifest::{FileRecord, Source, TensorRecord};
use crate::observe::Observer;
use crate::output::digest_file;

/// Runs `write` while shards, index and configuration of `checkpoint` are digested on another thread, and gives the
/// record of the source with what `write` gave: the records of the files of the output.
///
/// Companions were copied, so their records are those of the copies.
///
/// # Errors
/// Those of `write`, or where a file of the source cannot be read.
pub(super) fn recorded<T>(
    checkpoint: &Checkpoint,
    observer: &dyn Observer,
    write: impl FnOnce() -> Result<(Vec<FileRecord>, T)>,
) -> Result<(Source, Vec<FileRecord>, T)> {
    let (own, written) = std::thread::scope(|scope| {
        let own = scope.spawn(|| own_files(checkpoint, &Quiet(observer)));
        let written = write();
        // A panic there would be one here too.
        let own = own.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (own, written)
    });
    let (output, rest) = written?;
    let mut files = own?;
    for path in assembly::companions(checkpoint) {
        let path = assembly::path_text(path)?;
        files.extend(output.iter().find(|file| file.path == path).cloned());
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((Source { manifest_sha256: own_manifest(checkpoint)?, files, origin: None }, output, rest))
}

/// Learns of a stop, and leaves progress to the thread that writes.
struct Quiet<'a>(&'a dyn Observer);

impl Observer for Quiet<'_> {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

fn own_files(checkpoint: &Checkpoint, observer: &dyn Observer) -> Result<Vec<FileRecord>> {
    let root = checkpoint.root();
    let record = |path: &Path, tensors: Option<Vec<TensorRecord>>| {
        let (bytes, sha256) = digest_file(&root.join(path), observer)?;
        Ok(FileRecord { path: assembly::path_text(path)?, bytes, sha256, tensors })
    };
    let mut files = Vec::new();
    for shard in checkpoint.shards() {
        let tensors = shard.reader().tensors().iter().map(|meta| TensorRecord {
            name: meta.name.clone(),
            dtype: meta.dtype,
            shape: meta.shape.clone(),
            sha256: None,
        });
        files.push(record(shard.path(), Some(tensors.collect()))?);
        for path in shard.data_files() {
            files.push(record(path, None)?);
        }
    }
    let rest = [checkpoint.config().map(|file| file.path()), checkpoint.index().map(|file| file.path())];
    for path in rest.into_iter().flatten() {
        files.push(record(path, None)?);
    }
    Ok(files)
}
