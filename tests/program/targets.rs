//! What each target of `compress` promises, measured on what was written.

use std::path::Path;

use crate::support::{compress, fixture, rankfold};
use rankfold::codec::Products;
use serde_json::Value;

/// Both tables of the untied BERT: they share one budget.
const TWO_TABLES: [&str; 4] = ["--include", "*word_embeddings.weight", "--include", "cls.predictions.decoder.weight"];

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("rankfold.json")).unwrap()).unwrap()
}

fn run(source: &str, flags: &[&str]) -> Value {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    compress(&fixture(source), &out, flags).assert().code(0);
    let manifest = manifest(&out);
    rankfold([Path::new("verify"), &out, Path::new("--source"), &fixture(source)]).assert().code(0);
    manifest
}

fn error_of(table: &Value) -> f64 {
    table["errors"]["relative_frobenius"].as_f64().unwrap()
}

/// Bytes of the weight files when `tables` get these ranks.
fn bytes_at(source: &str, ranks: &[(String, u64)]) -> Option<u64> {
    let mut flags: Vec<String> = vec!["--rank".into(), "1".into(), "--dry-run".into(), "--json".into()];
    for (name, rank) in ranks {
        flags.extend(["--include".into(), name.clone(), "--override".into(), format!("{name}:rank={rank}")]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let output = compress(&fixture(source), Path::new("unused"), &flags).output().unwrap();
    let plan: Value = serde_json::from_slice(&output.stdout).ok()?;
    plan["weights_after"].as_u64()
}

#[test]
fn a_target_size_is_met_to_within_one_rank_of_every_table() {
    let cases: [(&str, &[&str]); 4] = [
        ("bert-encoder", &[]),
        ("bert-untied", &TWO_TABLES),
        ("llama-bf16-sharded", &[]),
        ("sentence-transformers", &[]),
    ];
    for (source, tables) in cases {
        for percent in [75, 80, 85, 90] {
            let size = format!("{percent}%");
            let manifest = run(source, &[tables, &["--target-size", size.as_str()]].concat());
            let (before, after) = (&manifest["weights_bytes"]["before"], &manifest["weights_bytes"]["after"]);
            let limit = before.as_u64().unwrap() * percent / 100;
            assert!(after.as_u64().unwrap() <= limit, "{source} at {size}: {after} of {limit} bytes");
            let ranks: Vec<(String, u64)> = (manifest["tables"].as_array().unwrap().iter())
                .map(|table| (table["name"].as_str().unwrap().to_owned(), table["setting"]["rank"].as_u64().unwrap()))
                .collect();
            assert_eq!(bytes_at(source, &ranks), after.as_u64(), "{source} at {size}: the plan is exact");
            for index in 0..ranks.len() {
                let mut more = ranks.clone();
                more[index].1 += 1;
                // A rank that would save nothing cannot be asked for.
                if let Some(bytes) = bytes_at(source, &more) {
                    assert!(bytes > limit, "{source} at {size}: one rank more of `{}` fits too", more[index].0);
                }
            }
        }
    }
}

#[test]
fn a_target_size_in_bytes_is_that_of_the_file() {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    compress(&fixture("word-vectors/vectors.safetensors"), &out, &["--target-size", "50kB"]).assert().code(0);
    let length = out.join("vectors.safetensors").metadata().unwrap().len();
    assert!((46_000..=50_000).contains(&length), "{length}");
}

#[test]
fn a_measured_error_is_at_most_the_one_asked_for_in_every_dtype() {
    for dtype in ["f64", "f32", "f16", "bf16"] {
        for bound in ["0.3", "0.2", "0.1"] {
            let manifest = run("bert-encoder", &["--max-error", bound, "--dtype", dtype]);
            let error = error_of(&manifest["tables"][0]);
            assert!(error <= bound.parse().unwrap(), "{dtype}: {error} of {bound}");
        }
    }
}

#[test]
fn the_rank_for_an_error_is_the_least() {
    let manifest = run("bert-encoder", &["--max-error", "0.1"]);
    let rank = manifest["tables"][0]["setting"]["rank"].as_u64().unwrap();
    let below = run("bert-encoder", &["--rank", &(rank - 1).to_string()]);
    assert!(error_of(&below["tables"][0]) > 0.1);
}

#[test]
fn an_energy_is_retained_by_the_least_rank() {
    let manifest = run("bert-encoder", &["--energy", "0.95"]);
    let rank = manifest["tables"][0]["setting"]["rank"].as_u64().unwrap();
    assert!(error_of(&manifest["tables"][0]).powi(2) <= 0.05 + 1e-6);
    let below = run("bert-encoder", &["--rank", &(rank - 1).to_string()]);
    assert!(error_of(&below["tables"][0]).powi(2) > 0.05);
}

#[test]
fn an_error_that_no_rank_reaches_is_a_gate_that_is_not_met() {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    let assert = compress(&fixture("bert-encoder"), &out, &["--max-error", "0.0000001"]).assert().code(4);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains("at best"), "{message}");
    assert!(!out.exists());
}

#[test]
fn every_split_gives_the_same_product() {
    let errors: Vec<f64> = ["balanced", "left", "right"]
        .iter()
        .map(|split| error_of(&run("bert-encoder", &["--rank", "12", "--split", split])["tables"][0]))
        .collect();
    for error in &errors {
        assert!((error / errors[0] - 1.0).abs() < 1e-6, "{errors:?}");
    }
}

#[test]
fn a_dry_run_needs_no_output_and_writes_nothing() {
    let sandbox = tempfile::tempdir().unwrap();
    let mut command = rankfold([Path::new("compress"), &fixture("bert-tied"), Path::new("--dry-run")]);
    command.args(["--reduction", "0.5"]).current_dir(sandbox.path()).assert().code(0);
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 0);
}

#[test]
fn a_compressed_checkpoint_is_not_compressed_again() {
    let sandbox = tempfile::tempdir().unwrap();
    let (out, again) = (sandbox.path().join("out"), sandbox.path().join("again"));
    compress(&fixture("bert-tied"), &out, &["--reduction", "0.5"]).assert().code(0);
    let assert = compress(&out, &again, &["--reduction", "0.5"]).assert().code(1);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains("compressed already"), "{message}");
    assert!(!again.exists());
}

#[test]
fn a_restored_checkpoint_can_be_compressed_and_names_its_origin() {
    let sandbox = tempfile::tempdir().unwrap();
    let path = |name: &str| sandbox.path().join(name);
    compress(&fixture("bert-tied"), &path("small"), &["--reduction", "0.5"]).assert().code(0);
    rankfold([Path::new("restore"), &path("small"), Path::new("-o"), &path("dense")]).assert().code(0);
    rankfold([Path::new("verify"), &path("dense"), Path::new("--source"), &path("small")]).assert().code(0);
    compress(&path("dense"), &path("smaller"), &["--reduction", "0.8"]).assert().code(0);
    assert!(manifest(&path("smaller"))["source"]["manifest_sha256"].is_string());
}

#[test]
fn a_manifest_that_is_broken_or_gone_is_a_difference() {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    compress(&fixture("bert-tied"), &out, &["--reduction", "0.5"]).assert().code(0);
    let path = out.join("rankfold.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for broken in [&text[..text.len() / 2], "", "[]", "{}", &text.replace("low-rank", "low-tank")] {
        std::fs::write(&path, broken).unwrap();
        rankfold([Path::new("verify"), &out]).assert().code(3);
    }
    std::fs::remove_file(&path).unwrap();
    let assert = rankfold([Path::new("verify"), &out]).assert().code(3);
    let message = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(message.contains("missing: file `rankfold.json`"), "{message}");
    // What never was an output is no difference but a mistake.
    rankfold([Path::new("verify"), &fixture("bert-tied")]).assert().code(1);
}

#[test]
fn the_manifest_names_products_whose_bytes_not_every_processor_gives() {
    let sandbox = tempfile::tempdir().unwrap();
    let made = |name: &str, flags: &[&str]| {
        let out = sandbox.path().join(name);
        compress(&crate::support::minilm(), &out, &[&["--reduction", "0.9"], flags].concat()).assert().code(0);
        rankfold([Path::new("verify"), &out, Path::new("--source"), &crate::support::minilm()]).assert().code(0);
        manifest(&out)["tables"][0].clone()
    };
    let (default, single) = (made("default", &[]), made("single", &["--products", "single"]));
    assert_eq!(single["products"], Value::Null);
    match Products::default() {
        Products::Single => assert_eq!(default, single),
        other => assert_eq!(default["products"], other.name()),
    }
    assert!((error_of(&default) / error_of(&single) - 1.0).abs() <= 1e-6);
}
