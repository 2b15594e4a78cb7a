//! What is fuzzed: one entry of [`TARGETS`] for each reader, for a whole compression and for the decoders.
//!
//! A target turns any bytes into an input that gets past what mutations alone would not (a length prefix, a zip
//! archive), runs it, and panics where a promise is broken: what opens is converted and verifies, or is refused with
//! an error. The ordinary tests and the coverage-guided program run the same entries.

mod checkpoint;
mod codecs;
mod onnx;
#[path = "../../support/protobuf.rs"]
mod protobuf;
mod readers;
mod records;

use std::fs;
use std::path::{Path, PathBuf};

/// Something to be fuzzed.
pub(crate) struct Target {
    /// Name on command lines and of its folder of crashers.
    pub(crate) name: &'static str,
    /// Inputs to start from.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Runs one input; panics where a promise is broken.
    pub(crate) run: fn(&Scratch, &[u8]),
}

/// Everything that is fuzzed.
pub(crate) const TARGETS: &[Target] = &[
    readers::SAFETENSORS,
    readers::PICKLE,
    readers::PYTORCH,
    readers::ZIP,
    readers::NPY,
    readers::WORD_VECTORS,
    readers::GGUF,
    onnx::ONNX,
    records::INDEX,
    records::CONFIG,
    records::MANIFEST,
    checkpoint::COMPRESS,
    codecs::DECODE,
];

/// A directory for the files of one input, in memory where the system has such a place.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new one.
    pub(crate) fn new() -> Self {
        let shared_memory = Path::new("/dev/shm");
        let place = if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() };
        Scratch(tempfile::Builder::new().prefix("rankfold-fuzz").tempdir_in(place).expect("a directory can be made"))
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
        fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Removes everything.
    pub(crate) fn clear(&self) {
        for entry in fs::read_dir(self.0.path()).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("it can be removed");
        }
    }
}

/// Runs one input of `target` in an empty `scratch`.
pub(crate) fn run(target: &Target, scratch: &Scratch, input: &[u8]) {
    scratch.clear();
    (target.run)(scratch, input);
}

/// Content of a file below `fixtures/`.
fn fixture(name: &str) -> Vec<u8> {
    // The package of the coverage-guided program lies below the one that has the fixtures.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("fixtures"));
    let fixtures = above.find(|folder| folder.is_dir()).expect("there are fixtures");
    fs::read(fixtures.join(name)).expect("the fixture is there")
}
