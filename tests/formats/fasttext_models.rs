//! fastText models made by the fasttext package, dense and product-quantized, against what it and gensim read of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::{assert_verifies, python, rankfold};
use rankfold::format::{Reader, open};

fn singles(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn table(reader: &dyn Reader, name: &str) -> Vec<f32> {
    let index = reader.tensors().iter().position(|meta| meta.name == name).unwrap();
    singles(&reader.bytes(index).unwrap())
}

/// Fails unless `found` are `expected` but for the rounding of sums in another order.
fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let differs = found.iter().zip(expected).position(|(found, expected)| (found - expected).abs() > 1e-6 * scale);
    assert_eq!(differs, None, "{what}");
}

#[test]
fn real_models_of_every_kind_are_read_as_the_fasttext_package_reads_them() {
    let sandbox = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/fasttext_oracle.py");
    let output = Command::new(python()).arg("-B").arg(script).arg(sandbox.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut encodings: BTreeMap<String, usize> = BTreeMap::new();
    for name in ["alone.bin", "cbow.bin", "skipgram.bin", "classifier.bin"].into_iter().chain([
        "norms.ftz",
        "uneven.ftz",
        "pruned.ftz",
        "labels.ftz",
        "lid.ftz",
    ]) {
        let path = sandbox.path().join(name);
        let said = |kind: &str| std::fs::read(path.with_extension(kind));
        let reader = open(&path).unwrap();
        *encodings.entry(reader.metadata()["encoding"].clone()).or_default() += 1;
        let mut words = Vec::new();
        let mut take = |word: &[u8]| {
            words.extend([word, b"\n"].concat());
            Ok(())
        };
        reader.vocabulary().unwrap().for_each(&mut take).unwrap();
        assert!(words == said("words").unwrap(), "words of {name}");
        assert_close(&table(reader.as_ref(), "embedding.weight"), &singles(&said("vectors").unwrap()), name);
        if let (Ok(input), Ok(rows)) = (said("input"), said("output")) {
            let dimension = reader.tensors()[0].shape[1];
            let own = reader.tensors()[0].shape[0] * dimension;
            assert_eq!(table(reader.as_ref(), "output.weight"), singles(&rows), "output matrix of {name}");
            if input.len() > 4 * own {
                assert_eq!(table(reader.as_ref(), "subwords.weight"), singles(&input)[own..], "n-grams of {name}");
            }
        }
        let out = sandbox.path().join(format!("{name}-out"));
        rankfold([Path::new("convert"), &path, &out]).assert().code(0);
        assert_verifies(&out);
        rankfold([Path::new("verify"), &out, Path::new("--source"), &path]).assert().code(0);
    }
    let expected = [("fasttext".to_owned(), 4), ("fasttext-quantized".to_owned(), 5)];
    assert_eq!(encodings, BTreeMap::from(expected));
}
