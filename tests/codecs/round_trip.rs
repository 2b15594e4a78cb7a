//! A checkpoint through the whole program and back.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{assert_verifies, compress, rankfold, tree, weights};

/// A file of JSON.
pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Compresses `source`, verifies the output against it, restores it, and verifies that; gives the manifest.
pub(crate) fn round_trip(source: &Path, flags: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let [out, dense] = ["out", "dense"].map(|name| directory.path().join(name));
    compress(source, &out, flags).assert().code(0);
    assert_verifies(&out);
    rankfold([Path::new("verify"), &out, Path::new("--source"), source]).assert().code(0);
    rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
    assert_verifies(&dense);
    rankfold([Path::new("verify"), &dense, Path::new("--source"), &out]).assert().code(0);
    let shapes = |path: &Path| {
        let tensors = weights::read(path).into_iter();
        tensors.map(|(name, tensor)| (name, tensor.dtype, tensor.shape)).collect::<Vec<_>>()
    };
    assert_eq!(shapes(&dense), shapes(source));
    for (name, content) in tree::read(&dense) {
        if name.ends_with("config.json") {
            assert_eq!(content, fs::read(source.join(&name)).unwrap(), "{}", name.display());
        }
    }
    read_json(&out.join("rankfold.json"))
}
