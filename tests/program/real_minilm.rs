//! The whole program on a real checkpoint: all-MiniLM-L6-v2. `tests/run` fetches it and sets `RANKFOLD_MINILM`.
//!
//! The expected errors are the best possible ones, computed apart from this project by a dense SVD in double precision.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{assert_verifies, compress, minilm, python, rankfold, weights};
use serde_json::Value;
use tempfile::TempDir;

const WORDS: &str = "embeddings.word_embeddings.weight";
const POSITIONS: &str = "embeddings.position_embeddings.weight";

/// A compressed copy of the model, and what the independent check says of it.
struct Compressed {
    directory: TempDir,
    report: Value,
}

impl Compressed {
    fn with(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        compress(&minilm(), &out, flags).assert().code(0);
        let report = oracle(&minilm(), &out);
        Compressed { directory, report }
    }

    fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// Fails unless `table` is the only factor pair, of this rank and this error to four decimals.
    fn assert_table(&self, table: &str, rank: u64, error: f64) {
        let tables = self.report["tables"].as_object().unwrap();
        assert_eq!(tables.keys().collect::<Vec<_>>(), [table]);
        assert_eq!(tables[table]["rank"], rank);
        let found = tables[table]["relative_frobenius_error"].as_f64().unwrap();
        assert!((found - error).abs() <= 5e-5, "expected {error}, found {found}");
    }
}

/// Runs `tests/python/oracle.py`, which fails where anything about the output is untrue.
fn oracle(source: &Path, out: &Path) -> Value {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/oracle.py");
    let output = Command::new(python()).arg("-B").arg(program).args([source, out]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the independent check found:\n{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn real_minilm_is_inspected_and_its_word_table_found() {
    let text = rankfold([Path::new("inspect"), &minilm()]).assert().code(0);
    let text = String::from_utf8_lossy(&text.get_output().stdout).into_owned();
    for expected in [WORDS, POSITIONS, "30522", "0.8276", "0.4605"] {
        assert!(text.contains(expected), "`{expected}` is missing from:\n{text}");
    }
    let json = rankfold([Path::new("inspect"), &minilm(), Path::new("--json")]).assert().code(0);
    let json: Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert!(json.to_string().contains(WORDS));
}

#[test]
fn real_minilm_loses_nine_tenths_of_its_word_table_at_rank_37() {
    Compressed::with(&["--reduction", "0.9"]).assert_table(WORDS, 37, 0.8276);
}

#[test]
fn real_minilm_loses_half_of_its_word_table_at_rank_189() {
    Compressed::with(&["--reduction", "0.5"]).assert_table(WORDS, 189, 0.4605);
}

#[test]
fn real_minilm_loses_as_much_with_the_instructions_of_every_processor() {
    let directory = tempfile::tempdir().unwrap();
    let run = |isa: &str, threads: &str| {
        let out = directory.path().join(format!("{isa}-{threads}"));
        let flags = ["--reduction", "0.9", "--threads", threads];
        compress(&minilm(), &out, &flags).env("RANKFOLD_MAX_CPU_ISA", isa).assert().code(0);
        assert_verifies(&out);
        std::fs::read(out.join("rankfold.json")).unwrap()
    };
    let error_of = |manifest: &[u8]| {
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        manifest["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap()
    };
    let newest = error_of(&run("", "2"));
    // Those that this processor lacks are the newest one again.
    for isa in ["portable", "avx", "avx2", "avx512", "amx"] {
        let (one, two) = (run(isa, "1"), run(isa, "2"));
        assert_eq!(one, two, "{isa}: the number of threads shows");
        assert!((error_of(&one) / newest - 1.0).abs() <= 1e-6, "{isa}: {} for {newest}", error_of(&one));
    }
}

#[test]
fn real_minilm_position_table_is_compressed_when_named() {
    let flags = |reduction| ["--include", "*position_embeddings.weight", "--reduction", reduction];
    Compressed::with(&flags("0.5")).assert_table(POSITIONS, 109, 0.0798);
    Compressed::with(&flags("0.9")).assert_table(POSITIONS, 21, 0.1294);
}

#[test]
fn real_minilm_output_verifies_alone_and_against_its_source() {
    let compressed = Compressed::with(&["--reduction", "0.9"]);
    assert_verifies(&compressed.out());
    rankfold([Path::new("verify"), &compressed.out(), Path::new("--source"), &minilm()]).assert().code(0);
}

#[test]
fn real_minilm_is_restored_to_its_names_shapes_and_dtypes() {
    let compressed = Compressed::with(&["--reduction", "0.9"]);
    let dense = compressed.directory.path().join("dense");
    rankfold([Path::new("restore"), &compressed.out(), Path::new("-o"), &dense]).assert().code(0);
    let (before, after) = (weights::read(&minilm()), weights::read(&dense));
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (name, tensor) in &before {
        assert_eq!((after[name].dtype, &after[name].shape), (tensor.dtype, &tensor.shape), "`{}`", name.1);
        assert_eq!(after[name] == *tensor, name.1 != WORDS, "`{}`", name.1);
    }
}

#[test]
fn real_minilm_word_table_has_the_errors_of_ggml_in_its_blocks() {
    for (block_type, expected) in [("q4_0", 0.0859), ("q8_0", 0.0054)] {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        compress(&minilm(), &out, &["--method", "ggml", "--type", block_type]).assert().code(0);
        let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("rankfold.json")).unwrap()).unwrap();
        let found = manifest["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap();
        assert!((found - expected).abs() <= 5e-5, "{block_type}: expected {expected}, found {found}");
    }
}
