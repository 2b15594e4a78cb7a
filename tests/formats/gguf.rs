//! GGUF: what a file says, how blocks decode, what `convert` makes of them, and that hostile files are refused.

use std::path::{Path, PathBuf};

use crate::support::files::message_of_file;
use crate::support::{assert_verifies, compress, rankfold, weights};
use half::{bf16, f16};
use rankfold::format::open;
use rankfold::tensor::Dtype;

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(name), kind.to_le_bytes().as_slice(), value].concat()
}

/// An entry of the list of tensors; `extents` innermost first.
fn tensor(name: &str, extents: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let extents: Vec<u8> =
        [(extents.len() as u32).to_le_bytes().to_vec(), extents.iter().flat_map(|e| e.to_le_bytes()).collect()]
            .concat();
    [string(name), extents, kind.to_le_bytes().to_vec(), offset.to_le_bytes().to_vec()].concat()
}

fn file(version: u32, counts: [u64; 2], keys: &[Vec<u8>], tensors: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let mut out =
        [b"GGUF".as_slice(), &version.to_le_bytes(), &counts[0].to_le_bytes(), &counts[1].to_le_bytes()].concat();
    out.extend(keys.concat());
    out.extend(tensors.concat());
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

/// Metadata of several types, a Q8_0 table of 4 x 32 and a vector of singles.
fn example(version: u32) -> Vec<u8> {
    let keys = [
        key("general.architecture", 8, &string("llama")),
        key("llama.context_length", 4, &2048u32.to_le_bytes()),
        key("tokens", 9, &[8u32.to_le_bytes().as_slice(), &2u64.to_le_bytes(), &string("a"), &string("bc")].concat()),
    ];
    let tensors = [tensor("token_embd.weight", &[32, 4], 8, 0), tensor("norm.weight", &[2], 0, 160)];
    let mut data = Vec::new();
    for row in 0..4u8 {
        data.extend(half::f16::from_f32(0.5).to_le_bytes());
        data.extend((0..32).map(|column| row.wrapping_mul(32).wrapping_add(column)));
    }
    data.resize(160, 0);
    data.extend([1.5f32, -2.0].iter().flat_map(|number| number.to_le_bytes()));
    file(version, [2, 3], &keys, &tensors, &data)
}

#[test]
fn metadata_and_tensors_of_both_versions_are_listed_and_rows_decoded() {
    for version in [2, 3] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, example(version)).unwrap();
        let reader = open(&path).unwrap();
        let metadata: Vec<_> = reader.metadata().iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(metadata, ["general.architecture=llama", "llama.context_length=2048", "tokens=2 x string"]);
        let listed: Vec<_> =
            reader.tensors().iter().map(|meta| (meta.dtype, meta.shape.clone(), meta.bytes())).collect();
        assert_eq!(listed, [(Dtype::Q8_0, vec![4, 32], Some(136)), (Dtype::F32, vec![2], Some(8))]);
        let mut row = [0.0f32; 32];
        reader.rows(0).unwrap().read_f32(3..4, &mut row).unwrap();
        let expected: Vec<f32> = (0..32).map(|column| 0.5 * f32::from((96u8 + column).cast_signed())).collect();
        assert_eq!(row, expected[..]);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = example(3);
    for length in 4..whole.len() {
        assert!(message_of_file("model.gguf", &whole[..length]).len() > 10, "{length} bytes");
    }
}

#[test]
fn counts_that_lie_are_refused_before_anything_is_allocated() {
    let message = |counts| message_of_file("model.gguf", &file(3, counts, &[], &[], &[]));
    assert!(message([1 << 60, 0]).starts_with("the number of tensors is more than the file has room for"));
    assert!(message([0, 1 << 60]).starts_with("the number of metadata keys is more than the file has room for"));
    let with_key = |key| message_of_file("model.gguf", &file(3, [0, 1], &[key], &[], &[]));
    let huge = (1u64 << 60).to_le_bytes();
    assert!(with_key(key("a", 8, &huge)).starts_with("the file ends within the value of `a`"));
    let strings = [8u32.to_le_bytes().as_slice(), &huge].concat();
    assert!(with_key(key("a", 9, &strings)).starts_with("the length of the value of `a` is more than the file has"));
    let mut name = huge.to_vec();
    name.extend([0; 64]);
    assert!(with_key(name).starts_with("a metadata key is too long"));
}

#[test]
fn values_that_are_none_are_refused() {
    let message = |key| message_of_file("model.gguf", &file(3, [0, 1], &[key], &[], &[]));
    assert!(message(key("a", 13, &[0; 16])).starts_with("the value of `a` has an unknown type"));
    assert!(message(key("a", 7, &[2])).starts_with("the value of `a` is no truth value"));
    assert!(
        message(key("general.alignment", 4, &3u32.to_le_bytes())).starts_with("`general.alignment` is no alignment")
    );
    let nested = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat().repeat(8);
    assert!(message(key("a", 9, &nested)).starts_with("the value of `a` has too many levels"));
    let twice = [key("a", 7, &[1]), key("a", 7, &[1])];
    assert!(message_of_file("model.gguf", &file(3, [0, 2], &twice, &[], &[])).contains("occurs twice"));
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let message = |tensors: &[Vec<u8>], data: &[u8]| {
        message_of_file("model.gguf", &file(3, [tensors.len() as u64, 0], &[], tensors, data))
    };
    let refuse = |entry: Vec<u8>, text: &str| {
        let message = message(&[entry], &[0; 64]);
        assert!(message.starts_with(&format!("tensor `t`: {text}")), "{message}");
    };
    refuse(tensor("t", &[33], 8, 0), "shape overflows or its rows do not end on a block");
    refuse(tensor("t", &[1 << 62, 1 << 62], 0, 0), "shape overflows");
    refuse(tensor("t", &[4], 0, 8), "data are not aligned");
    refuse(tensor("t", &[17], 0, 0), "data end beyond the file");
    refuse(tensor("t", &[4], 0, u64::MAX - 31), "data end beyond the file");
    refuse(tensor("t", &[4], 4, 0), "unknown ggml type");
    refuse(tensor("t", &[1; 5], 0, 0), "too many dimensions");
    let twice = [tensor("t", &[4], 0, 0), tensor("t", &[4], 0, 32)];
    assert!(message(&twice, &[0; 64]).contains("name occurs twice"));
    let overlapping = [tensor("a", &[16], 0, 0), tensor("b", &[8], 0, 32)];
    assert!(message(&overlapping, &[0; 64]).contains("data overlap those of `a`"));
}

#[test]
fn other_versions_are_named() {
    let message = |version| message_of_file("model.gguf", &file(version, [0, 0], &[], &[], &[]));
    assert_eq!(message(1), "unknown version of GGUF: expected 2 or 3, found 1");
    assert_eq!(message(3u32.swap_bytes()), "unknown version of GGUF: expected 2 or 3, found a big-endian file");
}

#[test]
fn compressing_says_that_there_is_no_slot_for_a_factor_pair() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, example(3)).unwrap();
    let assert = compress(&path, &directory.path().join("out"), &["--rank", "1"]).assert().code(1);
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(text.contains("a GGUF file has no slot for the parts of a compressed table"), "{text}");
    assert!(text.contains("hint: ") && !directory.path().join("out").exists(), "{text}");
}

/// A model and the singles that the gguf package decodes it to.
fn oracle(which: &str) -> (tempfile::TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/ggml_oracle.py");
    let status =
        std::process::Command::new(crate::support::python()).arg(script).arg(which).arg(directory.path()).status();
    assert!(status.unwrap().success(), "the gguf package reads the model");
    let values = std::fs::read(directory.path().join("values")).unwrap();
    (directory, values)
}

/// The rows of a tensor as bytes of singles.
fn decoded(path: &Path, name: &str) -> Vec<u8> {
    let reader = open(path).unwrap();
    let index = reader.tensors().iter().position(|meta| meta.name == name).unwrap();
    let rows = reader.rows(index).unwrap();
    let (count, columns) = rows.shape();
    let mut values = vec![0.0f32; count * columns];
    rows.read_f32(0..count, &mut values).unwrap();
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn real_blocks_of_every_type_decode_to_the_bits_of_the_gguf_package() {
    let (directory, values) = oracle("blocks");
    let path = directory.path().join("model.gguf");
    let names: Vec<String> = open(&path).unwrap().tensors().iter().map(|meta| meta.name.clone()).collect();
    assert_eq!(names.len(), 10);
    for (name, expected) in names.iter().zip(values.chunks(4 * 4 * 512)) {
        let found = decoded(&path, name);
        let differs = found.chunks(4).zip(expected.chunks(4)).position(|(found, expected)| found != expected);
        assert_eq!(differs, None, "`{name}`");
    }
}

#[test]
fn real_smollm_token_table_decodes_to_the_bits_of_the_gguf_package() {
    let (directory, values) = oracle("smollm");
    assert!(decoded(&directory.path().join("model.gguf"), "token_embd.weight") == values, "values differ");
}

/// `rankfold convert SOURCE OUT FLAGS`, which must end with `code`; gives standard error.
fn convert(source: &Path, out: &Path, flags: &[&str], code: i32) -> String {
    let mut command = rankfold([Path::new("convert"), source, out]);
    let assert = command.args(flags).assert().code(code);
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn real_blocks_of_every_type_become_the_floats_that_the_gguf_package_decodes() {
    let (sandbox, values) = oracle("blocks");
    let model = sandbox.path().join("model.gguf");
    let values: Vec<f32> = values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    type Rounding = fn(f32) -> Vec<u8>;
    let rounded: [(&str, Rounding); 4] = [
        ("f64", |value| f64::from(value).to_le_bytes().to_vec()),
        ("f32", |value| value.to_le_bytes().to_vec()),
        ("f16", |value| f16::from_f32(value).to_le_bytes().to_vec()),
        ("bf16", |value| bf16::from_f32(value).to_le_bytes().to_vec()),
    ];
    let listed = open(&model).unwrap();
    for (dtype, bytes_of) in rounded {
        let out = sandbox.path().join(dtype);
        convert(&model, &out, &["--dtype", dtype, "--allow-overflow"], 0);
        let tensors = weights::read(&out);
        assert_eq!(tensors.len(), 10);
        for (meta, values) in listed.tensors().iter().zip(values.chunks(4 * 512)) {
            let expected: Vec<u8> = values.iter().flat_map(|&value| bytes_of(value)).collect();
            let tensor = &tensors[&(PathBuf::new(), meta.name.clone())];
            assert_eq!(tensor.shape, [4, 512]);
            assert!(tensor.bytes == expected, "`{}` as {dtype}", meta.name);
        }
        assert_verifies(&out);
        rankfold([Path::new("verify"), &out, Path::new("--source"), &model]).assert().code(0);
        let manifest = std::fs::read_to_string(out.join("rankfold.json")).unwrap();
        assert!(manifest.contains(r#""dtype_before": "Q4_K""#), "{manifest}");
    }
    let [npz, alone] = ["npz", "alone"].map(|name| sandbox.path().join(name));
    convert(&model, &npz, &["--to", "npz", "--dtype", "f32"], 0);
    convert(&model, &alone, &["--to", "npz", "--dtype", "f32", "--threads", "1"], 0);
    crate::support::tree::assert_same(&npz, &alone);
}

#[test]
fn blocks_are_refused_where_no_dtype_is_given_and_where_they_cannot_be_decoded() {
    let sandbox = tempfile::tempdir().unwrap();
    let [path, out] = ["model.gguf", "out"].map(|name| sandbox.path().join(name));
    std::fs::write(&path, example(3)).unwrap();
    let message = convert(&path, &out, &[], 1);
    assert!(message.contains("tensor `token_embd.weight`: the tensor is stored in blocks"), "{message}");
    assert!(message.contains("expected floats, found Q8_0") && message.contains("`--dtype f32`"), "{message}");
    // What is stored as floats needs none.
    convert(&path, &out, &["--tensors", "norm.weight"], 0);
    std::fs::remove_dir_all(&out).unwrap();
    std::fs::write(&path, file(3, [1, 0], &[], &[tensor("grid", &[256], 16, 0)], &[0; 66])).unwrap();
    for flags in [&[][..], &["--dtype", "f32"]] {
        let message = convert(&path, &out, flags, 1);
        assert!(message.contains("found IQ2_XXS") && message.contains("cannot be decoded"), "{message}");
    }
    assert!(!out.exists());
}

#[test]
fn every_type_of_ggml_is_listed_and_those_with_an_exact_reference_are_decoded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    // Numbers of types that were removed from the format, or never were in it, are refused.
    let numbers = (0..=3).chain(6..=30).chain([34, 35, 39, 40, 41]);
    let mut decoded = Vec::new();
    for number in numbers {
        let entry = tensor("t", &[256], number, 0);
        std::fs::write(&path, file(3, [1, 0], &[], &[entry], &[0; 8 * 256])).unwrap();
        let reader = open(&path).unwrap_or_else(|error| panic!("{number}: {error}"));
        let dtype = reader.tensors()[0].dtype;
        let mut elements = 0;
        let mut take = |bytes: &[u8]| {
            elements += bytes.len() / dtype.decoded().unwrap_or(dtype).bytes();
            Ok(())
        };
        let outcome = reader.stream_decoded(0, &mut take);
        assert_eq!(outcome.is_ok(), dtype.block() == 1 || dtype.is_readable(), "{dtype}");
        if outcome.is_ok() {
            assert_eq!(elements, 256, "{dtype}");
            decoded.push(dtype.name());
        }
    }
    assert_eq!(
        decoded.join(" "),
        "F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K I8 I16 I32 I64 F64 BF16"
    );
    for number in [4, 5, 31, 36, 60] {
        let content = file(3, [1, 0], &[], &[tensor("t", &[256], number, 0)], &[0; 2048]);
        assert!(message_of_file("model.gguf", &content).contains("unknown ggml type"), "{number}");
    }
}
