//! What the test programs share: the binary, fixtures, directories as values, weights as values.
#![allow(dead_code, reason = "each test program includes this module and uses a part of it")]

pub(crate) mod encoded;
pub(crate) mod files;
pub(crate) mod gguf;
pub(crate) mod pickles;
pub(crate) mod protobuf;
pub(crate) mod tree;
pub(crate) mod weights;

use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// The binary under test.
pub(crate) const RANKFOLD: &str = env!("CARGO_BIN_EXE_rankfold");

/// A path below `fixtures/`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The all-MiniLM-L6-v2 checkpoint, which is fetched and not part of the repository.
pub(crate) fn minilm() -> PathBuf {
    required_variable("RANKFOLD_MINILM")
}

/// The Python interpreter that has numpy and safetensors.
pub(crate) fn python() -> PathBuf {
    required_variable("RANKFOLD_PYTHON")
}

fn required_variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => value.into(),
        None => panic!("{name} is not set; tests/run fetches what it stands for and sets it"),
    }
}

/// The binary with `arguments`, without colour.
pub(crate) fn rankfold<I, S>(arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new(RANKFOLD);
    command.args(arguments).env("NO_COLOR", "1");
    command
}

/// `rankfold compress SOURCE -o OUT FLAGS`.
pub(crate) fn compress(source: &Path, out: &Path, flags: &[&str]) -> Command {
    let mut command = rankfold([Path::new("compress"), source, Path::new("-o"), out]);
    command.args(flags);
    command
}

/// Fails unless `rankfold verify OUT` finds nothing.
pub(crate) fn assert_verifies(out: &Path) {
    rankfold([Path::new("verify"), out]).assert().code(0);
}
