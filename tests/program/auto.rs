//! `compress --method auto` takes the method with the least measured error, and says what lost.

use std::path::Path;

use crate::support::{assert_verifies, compress, fixture};
use rankfold::codec::CODECS;
use serde_json::Value;

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("rankfold.json")).unwrap()).unwrap()
}

fn weights(manifest: &Value) -> u64 {
    manifest["weights_bytes"]["after"].as_u64().unwrap()
}

fn error_of(record: &Value) -> f64 {
    record["errors"]["relative_frobenius"].as_f64().unwrap()
}

#[test]
fn the_best_of_all_methods_is_taken_and_the_others_are_recorded() {
    for (source, flags) in [
        ("bert-tied", ["--target-size", "80%"]),
        ("bert-untied", ["--reduction", "0.6"]),
        ("word-vectors/vectors.safetensors", ["--target-size", "40%"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("auto");
        compress(&fixture(source), &out, &[&flags[..], &["--method", "auto"]].concat()).assert().code(0);
        assert_verifies(&out);
        let auto = manifest(&out);
        assert_eq!(auto["request"]["method"], "auto");
        let table = &auto["tables"][0];
        let losers = table["runners_up"].as_array().cloned().unwrap_or_default();
        assert!(losers.iter().all(|loser| error_of(loser) >= error_of(table)), "{table}");
        assert!(losers.iter().all(|loser| loser["method"] != table["method"]));
        let mut tried = 1;
        for codec in CODECS.iter().filter(|codec| table["method"] != codec.name()) {
            let alone = directory.path().join(codec.name());
            let result = compress(&fixture(source), &alone, &[&flags[..], &["--method", codec.name()]].concat())
                .output()
                .unwrap();
            let loser = losers.iter().find(|loser| loser["method"] == codec.name());
            assert_eq!(result.status.success(), loser.is_some(), "{} on {source}", codec.name());
            if let Some(loser) = loser {
                let (alone, stated) = (error_of(&manifest(&alone)["tables"][0]), error_of(loser));
                assert!((alone - stated).abs() <= 1e-5 * alone + 1e-7, "{}: {alone} and {stated}", codec.name());
                tried += 1;
            }
        }
        assert_eq!(tried, losers.len() + 1);
    }
}

#[test]
fn several_tables_stay_within_one_size() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("auto");
    let flags = ["--method", "auto", "--target-size", "70%", "--include", "*embeddings.weight"];
    compress(&fixture("bert-untied"), &out, &flags).assert().code(0);
    assert_verifies(&out);
    let auto = manifest(&out);
    assert!(auto["tables"].as_array().unwrap().len() > 1);
    assert!(weights(&auto) as f64 <= 0.7 * auto["weights_bytes"]["before"].as_f64().unwrap());
}

#[test]
fn the_output_does_not_depend_on_the_number_of_threads() {
    let directory = tempfile::tempdir().unwrap();
    let outs = ["1", "3"].map(|threads| {
        let out = directory.path().join(threads);
        let flags = ["--method", "auto", "--target-size", "80%", "--threads", threads];
        compress(&fixture("bert-tied"), &out, &flags).assert().code(0);
        out
    });
    crate::support::tree::assert_same(&outs[0], &outs[1]);
}

#[test]
fn a_target_that_sets_no_size_is_refused() {
    for flags in [["--max-error", "0.1"], ["--energy", "0.9"]] {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("auto");
        let command =
            compress(&fixture("bert-tied"), &out, &[&flags[..], &["--method", "auto"]].concat()).output().unwrap();
        let message = String::from_utf8(command.stderr).unwrap();
        assert_eq!(command.status.code(), Some(1));
        assert!(message.contains("methods can only be compared at a size"), "{message}");
        assert!(!out.exists());
    }
}
