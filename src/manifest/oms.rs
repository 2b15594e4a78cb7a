//! The manifest as a statement that the tools of the OpenSSF Model Signing specification sign and verify.

use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{FileRecord, MANIFEST_NAME, Manifest, SUMS_NAME, digest, hex, sums_of};

/// Type of the statement: in-toto attestation framework, version 1.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// Type of its predicate: OpenSSF Model Signing, version 1.0.
const PREDICATE: &str = "https://model_signing/signature/v1.0";
/// What verifiers of the specification leave out wherever it is, so what a statement cannot vouch for. The manifest has
/// its digest, and the statement that of the manifest.
const IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// The in-toto statement about an output called `name`, whose manifest has the digest `manifest_sha256`: every file
/// with its SHA-256 (weight files with those of their tensors as annotations), and as the digest of the subject the
/// SHA-256 of all of these, in the order of the paths.
///
/// The output is not looked at: [`super::verify`] it before. A signature over the statement is made by what holds the
/// key.
pub fn statement(name: &str, manifest: &Manifest, manifest_sha256: &str) -> Value {
    let record = |path: &str, sha256: String| FileRecord { path: path.to_owned(), bytes: 0, sha256, tensors: None };
    let own = [
        record(MANIFEST_NAME, manifest_sha256.to_owned()),
        record(SUMS_NAME, digest(sums_of(manifest, manifest_sha256).as_bytes())),
    ];
    let ignored = |file: &&FileRecord| {
        let first = Path::new(&file.path).iter().next();
        IGNORED.iter().any(|name| first.is_some_and(|first| first == *name))
    };
    let mut files: Vec<&FileRecord> = manifest.files.iter().chain(&own).filter(|file| !ignored(file)).collect();
    files.sort_by_key(|file| Path::new(&file.path));
    let mut root = Sha256::new();
    for file in &files {
        root.update(bytes_of(&file.sha256));
    }
    let resources: Vec<_> = files.into_iter().map(resource).collect();
    json!({
        "_type": STATEMENT,
        "subject": [{ "name": name, "digest": { "sha256": hex(&root.finalize()) } }],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": false,
                "ignore_paths": IGNORED,
            },
            "resources": resources,
        },
    })
}

fn resource(file: &FileRecord) -> Value {
    let mut resource = json!({ "name": file.path, "algorithm": "sha256", "digest": file.sha256 });
    if let Some(tensors) = &file.tensors {
        let digests: Map<_, _> = tensors.iter().map(|one| (one.name.clone(), one.sha256.clone().into())).collect();
        if let Some(resource) = resource.as_object_mut() {
            resource.insert("annotations".into(), json!({ "tensors": digests }));
        }
    }
    resource
}

/// The bytes that lower-case hexadecimal stands for; a manifest that verifies has nothing else for a digest.
fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    hexadecimal.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}
