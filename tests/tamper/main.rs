//! Whatever is changed of an output, `verify` finds it and says what.

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod files;
mod forms;
mod manifest;

use std::path::{Path, PathBuf};

use rankfold::manifest::{Change, Difference, Verification, verify};
use rankfold::observe::Silent;
use tempfile::TempDir;

use support::{compress, fixture, tree};

/// An output of `compress` with two companions of one size, in memory where there is such a place.
struct Output {
    directory: TempDir,
}

/// Where files are in memory, if there is such a place.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

impl Output {
    fn new() -> Self {
        let output = Output { directory: tempfile::tempdir_in(memory()).unwrap() };
        tree::copy(&fixture("pytorch"), &output.source());
        std::fs::create_dir(output.source().join("folder")).unwrap();
        std::fs::write(output.source().join("merges.txt"), "a b").unwrap();
        std::fs::write(output.source().join("folder/merges.txt"), "a c").unwrap();
        compress(&output.source(), &output.path(), &["--reduction", "0.5", "--no-stub"]).assert().code(0);
        assert_eq!(output.differences(), []);
        output
    }

    /// What `make` makes of the source `name` with `content`, which it is given beside the path of the output.
    fn of(name: &str, content: &[u8], make: impl Fn(&Path, &Path)) -> Self {
        let output = Output { directory: tempfile::tempdir_in(memory()).unwrap() };
        let source = output.source().join(name);
        std::fs::create_dir(output.source()).unwrap();
        std::fs::write(&source, content).unwrap();
        make(&source, &output.path());
        assert_eq!(output.differences(), []);
        output
    }

    fn source(&self) -> PathBuf {
        self.directory.path().join("source")
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Every file, relative to the output.
    fn files(&self) -> Vec<String> {
        tree::read(&self.path()).into_keys().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    fn verification(&self) -> Verification {
        verify(&self.path(), &Silent).unwrap().1
    }

    fn differences(&self) -> Vec<Difference> {
        self.verification().differences
    }

    /// Whether it is found out that `file` was changed: by a difference that names it, or by an error that does.
    fn is_found(&self, file: &str) -> bool {
        match verify(&self.path(), &Silent) {
            Ok((_, verification)) => verification.differences.iter().any(|difference| difference.name == file),
            Err(error) => error.to_string().contains(file),
        }
    }

    /// Fails unless exactly these files differ, as is said.
    fn assert_files(&self, expected: &[(&str, Change)]) {
        let differences = self.differences();
        let files = differences.iter().filter(|one| one.subject == rankfold::manifest::Subject::File);
        let found: Vec<_> = files.map(|difference| (difference.name.as_str(), difference.change)).collect();
        assert_eq!(found, expected);
    }
}
