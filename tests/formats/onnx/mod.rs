//! ONNX models: what is found in a graph, what an output of it computes, and what is refused.

mod graphs;
mod hostile;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{assert_verifies, compress, fixture, python, rankfold, tree};
use serde_json::Value;
use tempfile::TempDir;

/// The flags of every method that a graph can carry.
const METHODS: &[&[&str]] = &[
    &["--reduction", "0.5"],
    &["--reduction", "0.5", "--dtype", "f16"],
    &["--method", "low-rank-fixed", "--rank", "8", "--left-bits", "8", "--right-bits", "8"],
    &["--method", "fixed-point", "--bits", "8"],
    &["--method", "fixed-point", "--bits", "8", "--affine", "--scale-dtype", "f32"],
    &["--method", "fixed-point", "--bits", "8", "--granularity", "tensor"],
    &["--method", "fixed-point", "--bits", "8", "--granularity", "group:4"],
    &["--method", "fixed-point", "--bits", "8", "--affine", "--granularity", "group:8", "--scale-dtype", "f32"],
    &["--method", "cast", "--reduction", "0.4"],
];

/// Runs `tests/python/onnx_models.py`, and gives what it prints.
fn oracle<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/onnx_models.py");
    let out = Command::new(python()).arg("-B").arg(script).args(arguments).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn model(name: &str) -> PathBuf {
    fixture("onnx").join(name)
}

/// What `inspect --json` says of the tables of a model.
fn tables(path: &Path) -> Vec<Value> {
    let out = rankfold([Path::new("inspect"), path, Path::new("--json")]).assert().code(0).get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&out).unwrap();
    report["tables"].as_array().unwrap().clone()
}

/// What `compress` says on standard error when it refuses with exit code `code`; nothing is left behind.
fn refusal(path: &Path, flags: &[&str], code: i32) -> String {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    let result = compress(path, &out, flags).assert().code(code);
    assert_eq!(tree::names(sandbox.path()), [] as [&str; 0], "nothing is left");
    String::from_utf8(result.get_output().stderr.clone()).unwrap()
}

/// Outputs of one model by several methods, restored too; each was verified with and without its source.
struct Outputs {
    folder: TempDir,
    /// Originals with their outputs, and with their restored outputs.
    checked: Vec<PathBuf>,
    restored: Vec<PathBuf>,
}

impl Outputs {
    fn new() -> Self {
        Outputs { folder: tempfile::tempdir().unwrap(), checked: Vec::new(), restored: Vec::new() }
    }

    fn add(&mut self, original: &Path, flags: &[&str]) {
        let out = self.folder.path().join(self.checked.len().to_string());
        let dense = out.with_extension("restored");
        compress(original, &out, flags).assert().code(0);
        assert_verifies(&out);
        let with_source = |out: &Path, source: &Path| {
            rankfold([Path::new("verify"), out, Path::new("--source"), source]).assert().code(0);
        };
        with_source(&out, original);
        rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
        assert_verifies(&dense);
        with_source(&dense, &out);
        self.checked.extend([original.to_owned(), out]);
        self.restored.extend([original.to_owned(), dense]);
    }

    fn check(&self) {
        for (command, paths) in [("check", &self.checked), ("restored", &self.restored)] {
            let arguments: Vec<_> =
                std::iter::once(Path::new(command)).chain(paths.iter().map(PathBuf::as_path)).collect();
            oracle(&arguments);
        }
    }
}
