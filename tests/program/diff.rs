//! `rankfold diff` from outside.

use std::path::{Path, PathBuf};

use crate::support::files::file_of;
use crate::support::{compress, fixture, rankfold};
use serde_json::Value;

fn diff(before: &Path, after: &Path, flags: &[&str]) -> (i32, String, String) {
    let output = rankfold([Path::new("diff"), before, after]).args(flags).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn document(before: &Path, after: &Path) -> Value {
    let (code, text, message) = diff(before, after, &["--json"]);
    assert_eq!(code, 0, "{message}");
    serde_json::from_str(&text).unwrap()
}

fn tensor<'d>(document: &'d Value, name: &str) -> &'d Value {
    let tensors = document["tensors"].as_array().unwrap();
    tensors.iter().find(|tensor| tensor["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {document}"))
}

/// A safetensors file with one tensor.
fn one_tensor(directory: &Path, file: &str, name: &str, dtype: &str, shape: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(file);
    let header = format!(r#"{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{}]}}}}"#, bytes.len());
    std::fs::write(&path, file_of(&header, bytes)).unwrap();
    path
}

fn singles(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_checkpoint_equals_itself() {
    for name in ["bert-tied", "llama-bf16-sharded", "dtypes/model.safetensors"] {
        let path = fixture(name);
        let (code, text, message) = diff(&path, &path, &["--max-error", "0"]);
        assert_eq!(code, 0, "{message}");
        assert!(!text.contains("different") && text.contains(" equal"), "{text}");
    }
}

#[test]
fn a_compressed_table_is_compared_in_its_decoded_form_under_its_dense_name() {
    let directory = tempfile::tempdir().unwrap();
    let (source, out) = (fixture("bert-tied"), directory.path().join("small"));
    compress(&source, &out, &["--reduction", "0.5"]).assert().code(0);
    let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("rankfold.json")).unwrap()).unwrap();
    let stated = manifest["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap();
    let found = document(&source, &out);
    // The decoder has the bytes of the table and is stored once with it.
    for name in ["bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"] {
        let table = tensor(&found, name);
        assert_eq!(table["result"], "different");
        assert_eq!(table["after"]["method"], "low-rank");
        assert_eq!(table["after"]["shape"], serde_json::json!([600, 48]));
        let error = table["errors"]["relative_frobenius"].as_f64().unwrap();
        assert!((error - stated).abs() < 1e-6 * stated, "{error}, {stated} stated");
    }
    let names: Vec<_> = found["tensors"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.iter().all(|name| !name.contains(".proj.")), "{names:?}");
    assert!(found["tensors"].as_array().unwrap().iter().all(|one| one["result"] != "only-after"));

    let bound = (1.01 * stated).to_string();
    assert_eq!(diff(&source, &out, &["--max-error", &bound]).0, 0);
    let (code, text, message) = diff(&source, &out, &["--max-error", "0.01"]);
    assert_eq!(code, 4);
    assert!(
        text.contains("word_embeddings") && message.contains("expected a relative Frobenius error of at most 0.01")
    );

    let restored = directory.path().join("dense");
    rankfold([Path::new("restore"), &out, Path::new("-o"), &restored]).assert().code(0);
    let between = document(&out, &restored);
    let error = &tensor(&between, "bert.embeddings.word_embeddings.weight");
    assert_eq!(error["result"], "equal", "restore writes what decoding gives");
}

#[test]
fn numbers_are_those_of_the_definitions() {
    let directory = tempfile::tempdir().unwrap();
    let one = one_tensor(directory.path(), "a.safetensors", "x", "F32", "[2,2]", &singles(&[3.0, 0.0, 0.0, 4.0]));
    let other = one_tensor(directory.path(), "b.safetensors", "x", "F32", "[2,2]", &singles(&[3.0, 0.0, 3.0, 0.0]));
    let found = document(&one, &other);
    let errors = &tensor(&found, "x")["errors"];
    let number = |key: &str| errors[key].as_f64().unwrap();
    assert_eq!(number("relative_frobenius"), 1.0);
    assert_eq!(number("rmse"), 2.5);
    assert_eq!(number("max_absolute"), 4.0);
    assert!((number("cosine") - 9.0 / (5.0 * 18f64.sqrt())).abs() < 1e-15);
    assert_eq!(number("not_finite"), 0.0);
}

#[test]
fn dtypes_are_compared_by_value() {
    let directory = tempfile::tempdir().unwrap();
    let one = one_tensor(directory.path(), "a.safetensors", "x", "F32", "[3]", &singles(&[1.0, -2.0, 1.001]));
    let bf16: Vec<u8> = [0x3f80u16, 0xc000, 0x3f80].iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let other = one_tensor(directory.path(), "b.safetensors", "x", "BF16", "[3]", &bf16);
    let found = document(&one, &other);
    assert_eq!(tensor(&found, "x")["result"], "different");
    let largest = tensor(&found, "x")["errors"]["max_absolute"].as_f64().unwrap();
    assert!((largest - 0.001).abs() < 1e-6, "{largest}");
    assert_eq!(diff(&one, &other, &["--max-error", "0.001"]).0, 0);
}

#[test]
fn what_cannot_be_subtracted_is_compared_by_its_bytes_and_within_no_bound() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, dtype: &str, shape: &str, bytes: &[u8]| {
        one_tensor(directory.path(), name, "x", dtype, shape, bytes)
    };
    let ints = file("ints.safetensors", "I32", "[1]", &[1, 0, 0, 0]);
    let cases = [
        (file("other.safetensors", "I32", "[1]", &[2, 0, 0, 0]), "different"),
        (file("shape.safetensors", "I32", "[1,1]", &[1, 0, 0, 0]), "reshaped"),
        (file("float.safetensors", "F32", "[1]", &[1, 0, 0, 0]), "different"),
    ];
    for (path, expected) in cases {
        let found = document(&ints, &path);
        assert_eq!(tensor(&found, "x")["result"], expected);
        assert!(tensor(&found, "x").get("errors").is_none());
        assert_eq!(diff(&ints, &path, &["--max-error", "1e9"]).0, 4);
    }
    let renamed = one_tensor(directory.path(), "renamed.safetensors", "y", "I32", "[1]", &[1, 0, 0, 0]);
    let found = document(&ints, &renamed);
    assert_eq!(tensor(&found, "x")["result"], "only-before");
    assert_eq!(tensor(&found, "y")["result"], "only-after");
    assert_eq!(diff(&ints, &renamed, &["--max-error", "1e9"]).0, 4);
    assert_eq!(diff(&ints, &renamed, &[]).0, 0);
}

#[test]
fn numbers_that_are_not_finite_are_counted_and_within_no_bound() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, values: &[f32]| one_tensor(directory.path(), name, "x", "F32", "[4]", &singles(values));
    let one = file("a.safetensors", &[f32::NAN, f32::INFINITY, 1.0, 2.0]);
    let same = file("b.safetensors", &[f32::NAN, f32::INFINITY, 1.0, 2.5]);
    let other = file("c.safetensors", &[0.0, f32::NEG_INFINITY, 1.0, 2.0]);
    let found = document(&one, &same);
    assert_eq!(tensor(&found, "x")["errors"]["not_finite"], 0);
    assert_eq!(tensor(&found, "x")["errors"]["max_absolute"], 0.5);
    assert_eq!(diff(&one, &same, &["--max-error", "0.3"]).0, 0);
    let found = document(&one, &other);
    assert_eq!(tensor(&found, "x")["errors"]["not_finite"], 2);
    assert_eq!(diff(&one, &other, &["--max-error", "1e9"]).0, 4);
    assert!(diff(&one, &other, &[]).1.contains("2 differences are not finite"));
}

#[test]
fn tensors_of_zeros_empty_tensors_and_scalars_have_no_division_by_zero() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, shape: &str, values: &[f32]| {
        one_tensor(directory.path(), name, "x", "F32", shape, &singles(values))
    };
    let zeros = file("zeros.safetensors", "[2]", &[0.0, 0.0]);
    let ones = file("ones.safetensors", "[2]", &[1.0, 1.0]);
    let minus = file("minus.safetensors", "[2]", &[-0.0, 0.0]);
    let errors = |after: &Path| tensor(&document(&zeros, after), "x")["errors"].clone();
    assert!(errors(&ones).get("relative_frobenius").is_none());
    assert_eq!(diff(&zeros, &ones, &["--max-error", "1e9"]).0, 4);
    assert_eq!(errors(&minus)["relative_frobenius"], 0.0, "another sign of zero is another byte, not another number");
    let (empty, scalar) = (file("empty.safetensors", "[0,3]", &[]), file("scalar.safetensors", "[]", &[1.0]));
    assert_eq!(tensor(&document(&empty, &empty), "x")["result"], "equal");
    let half = file("half.safetensors", "[]", &[0.5]);
    assert_eq!(tensor(&document(&scalar, &half), "x")["errors"]["relative_frobenius"], 0.5);
}

#[test]
fn wrong_usage_and_broken_outputs_are_refused() {
    let source = fixture("bert-tied");
    assert_eq!(diff(&source, &source, &["--max-error", "-1"]).0, 2);
    assert_eq!(diff(&source, &source, &["--max-error", "NaN"]).0, 2);
    assert_eq!(diff(&source, Path::new("no-such-file"), &[]).0, 1);
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("small");
    compress(&source, &out, &["--rank", "4"]).assert().code(0);
    let path = out.join("rankfold.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    for (from, to) in
        [("\"rank\": 4", "\"rank\": 5"), ("\"method\": \"low-rank\"", "\"method\": \"other\""), ("600", "601")]
    {
        std::fs::write(&path, manifest.replace(from, to)).unwrap();
        let (code, _, message) = diff(&source, &out, &["--max-error", "10"]);
        assert!(code == 1 || code == 4, "{from} -> {to}: {code} {message}");
        assert!(message.starts_with("error: "), "{message}");
    }
}

#[test]
fn tables_stored_by_the_conventions_of_compressed_tensors_are_decoded_without_a_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let (source, name) = (fixture("bert-encoder"), "embeddings.word_embeddings.weight");
    for (bits, more) in
        [("8", &["--affine"][..]), ("4", &["--granularity", "group:16"]), ("8", &["--granularity", "tensor"])]
    {
        let out = directory.path().join(format!("{bits}{}", more.last().unwrap()).replace(':', "-"));
        compress(&source, &out, &[&["--method", "fixed-point", "--bits", bits], more].concat()).assert().code(0);
        let own = document(&source, &out);
        for ours in ["rankfold.json", "SHA256SUMS"] {
            std::fs::remove_file(out.join(ours)).unwrap();
        }
        let found = document(&source, &out);
        assert_eq!(tensor(&found, name)["errors"], tensor(&own, name)["errors"]);
        assert_eq!(tensor(&found, name)["after"]["method"], "fixed-point");
        let names: Vec<&str> = found["tensors"].as_array().unwrap().iter().filter_map(|t| t["name"].as_str()).collect();
        assert!(!names.iter().any(|name| name.contains("weight_")), "parts are not listed: {names:?}");
        // A configuration that tells another width leaves codes that are compared as what they are stored as.
        let config = out.join("config.json");
        let text = std::fs::read_to_string(&config).unwrap();
        let width = format!("\"num_bits\":{bits}");
        assert!(text.replace(": ", ":").contains(&width), "{text}");
        std::fs::write(&config, text.replace(": ", ":").replace(&width, "\"num_bits\":3")).unwrap();
        let raw = document(&source, &out);
        assert!(
            raw["tensors"].as_array().unwrap().iter().any(|t| t["name"].as_str().unwrap().contains("weight_scale"))
        );
    }
}
