//! Records of what was read.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::assembly;
use super::own_manifest;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::manifest::{FileRecord, Source, TensorRecord};
use crate::observe::Observer;
use crate::output::digest_file;

/// Runs `work` while shards, index and configuration of `checkpoint` are digested on another thread, and gives their
/// records with what `work` gave.
///
/// The digests begin with the first stretch of `work` that leaves cores idle, as it tells its observer, or when it says
/// [`Beside::begin`]: earlier they would only take from passes that use all cores.
///
/// # Errors
/// Those of `work`, or where a file of the source cannot be read or changed meanwhile.
pub(super) fn digested<T>(
    checkpoint: &Checkpoint,
    observer: &dyn Observer,
    work: impl FnOnce(&Beside<'_>) -> Result<T>,
) -> Result<(Vec<FileRecord>, T)> {
    let failed = AtomicBool::new(false);
    let (own, done) = std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let quiet = Quiet { observer, failed: &failed };
        let own = scope.spawn(move || match receiver.recv() {
            Ok(()) => own_files(checkpoint, &quiet),
            // The work failed before.
            Err(_) => Err(Error::interrupted()),
        });
        let beside = Beside { observer, begin: Mutex::new(Some(sender)) };
        let done = work(&beside);
        failed.store(done.is_err(), Ordering::Relaxed);
        if done.is_ok() {
            beside.begin();
        }
        drop(beside);
        // A panic there would be one here too.
        let own = own.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (own, done)
    });
    let (done, own) = (done?, own?);
    // What was digested there is what was read here only if nothing wrote to it meanwhile.
    checkpoint.check_unchanged()?;
    Ok((own, done))
}

/// The record of the source, from those of its [own files](digested) and those of the `output`.
///
/// Companions were copied, so their records are those of the copies, but for the few that are not
/// `is_copied` or that an output goes without.
///
/// # Errors
/// Where a companion cannot be read.
pub(super) fn record(
    checkpoint: &Checkpoint,
    own: Vec<FileRecord>,
    output: &[FileRecord],
    is_copied: &dyn Fn(&Path) -> bool,
    observer: &dyn Observer,
) -> Result<Source> {
    let mut files = own;
    for path in assembly::companions(checkpoint) {
        let name = assembly::path_text(path)?;
        let copy = output.iter().find(|file| file.path == name && is_copied(path));
        files.push(match copy {
            Some(copy) => copy.clone(),
            None => {
                let (bytes, sha256) = digest_file(&checkpoint.root().join(path), observer)?;
                FileRecord { path: name, bytes, sha256, tensors: None }
            }
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Source { manifest_sha256: own_manifest(checkpoint)?, files, origin: None })
}

/// The observer of work beside which the source is digested.
pub(super) struct Beside<'a> {
    observer: &'a dyn Observer,
    /// Until the digests have begun.
    begin: Mutex<Option<Sender<()>>>,
}

impl Beside<'_> {
    /// Lets the digests begin, if they have not.
    pub(super) fn begin(&self) {
        if let Some(sender) = self.begin.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Who does not listen has failed, and says so itself.
            let _ = sender.send(());
        }
    }
}

impl Observer for Beside<'_> {
    fn stage(&self, verb: &str, subject: &str, total: u64) {
        self.observer.stage(verb, subject, total);
    }

    fn advance(&self, units: u64) {
        self.observer.advance(units);
    }

    fn warn(&self, message: &str) {
        self.observer.warn(message);
    }

    fn leaves_cores_idle(&self) {
        self.observer.leaves_cores_idle();
        self.begin();
    }

    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }
}

/// Learns of a stop, and leaves progress to the thread that works.
struct Quiet<'a> {
    observer: &'a dyn Observer,
    failed: &'a AtomicBool,
}

impl Observer for Quiet<'_> {
    fn is_cancelled(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.observer.is_cancelled()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::observe::Silent;

    fn source() -> Checkpoint {
        Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bert-tied")).unwrap()
    }

    /// The ways in which work lets the digests begin.
    const WAYS: [fn(&Beside<'_>); 3] = [|_| (), |beside| beside.begin(), |beside| beside.leaves_cores_idle()];

    #[test]
    fn own_files_are_digested_whenever_that_began() {
        let checkpoint = source();
        for way in WAYS {
            let (own, done) = digested(&checkpoint, &Silent, |beside| {
                way(beside);
                way(beside);
                Ok(7)
            })
            .unwrap();
            assert_eq!(done, 7);
            assert!(own.iter().any(|file| file.tensors.is_some()) && own.iter().any(|file| file.path == "config.json"));
            for file in own {
                let found = digest_file(&checkpoint.root().join(&file.path), &Silent).unwrap();
                assert_eq!((file.bytes, file.sha256), found, "{}", file.path);
            }
        }
    }

    #[test]
    fn what_is_told_of_work_that_fails_is_its_own_error() {
        for way in WAYS {
            let failed = digested(&source(), &Silent, |beside| {
                way(beside);
                Err::<(), _>(Error::new(ErrorKind::Request, "no such thing"))
            });
            let error = failed.expect_err("the work failed");
            assert_eq!((error.kind(), error.to_string().contains("no such thing")), (ErrorKind::Request, true));
        }
    }

    #[test]
    fn a_panic_of_the_work_is_not_waited_for() {
        let checkpoint = source();
        let panics = || drop(digested(&checkpoint, &Silent, |_| -> Result<()> { panic!("on purpose") }));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    }
}
