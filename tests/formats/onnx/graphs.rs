//! Graphs of every kind, and a real model, through every method that a graph can carry.

use std::fs;

use super::*;

/// Compresses a fixture by every method; onnxruntime gives what the graph with decoded tables gives, and the way back
/// gives the graph of the original.
fn computes_the_same(name: &str, methods: &[&[&str]]) {
    let mut outputs = Outputs::new();
    for flags in methods {
        outputs.add(&model(name), flags);
    }
    outputs.check();
}

#[test]
fn a_head_by_transpose_is_multiplied_by_both_factors() {
    computes_the_same("transpose.onnx", METHODS);
}

#[test]
fn a_head_by_gemm_is_multiplied_by_both_factors() {
    computes_the_same("gemm.onnx", METHODS);
}

#[test]
fn a_folded_head_is_found_by_its_content_and_stored_once() {
    computes_the_same("folded.onnx", METHODS);
    let found = tables(&model("folded.onnx"));
    let taken = found.iter().find(|table| table["taken_by_default"] == true).unwrap();
    assert_eq!((&taken["name"], &taken["tied"][0]["name"]), (&"emb".into(), &"onnx::MatMul_7".into()));
    assert!(found.iter().all(|table| table["name"] != "onnx::MatMul_8"), "a layer of that shape is none: {found:?}");
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    compress(&model("folded.onnx"), &out, &["--reduction", "0.5"]).assert().code(0);
    let reader = rankfold::format::open(&out.join("folded.onnx")).unwrap();
    let names: Vec<_> = reader.tensors().iter().map(|meta| meta.name.as_str()).collect();
    assert_eq!(names, ["emb", "emb.proj.weight", "onnx::MatMul_8"]);
}

#[test]
fn external_data_stay_external() {
    computes_the_same("external/model.onnx", METHODS);
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    compress(&model("external/model.onnx"), &out, &["--reduction", "0.5"]).assert().code(0);
    assert_eq!(tree::names(&out), ["SHA256SUMS", "model.onnx", "model.onnx_data", "rankfold.json"]);
    let manifest: Value = serde_json::from_slice(&fs::read(out.join("rankfold.json")).unwrap()).unwrap();
    let bytes = |name: &str| fs::metadata(out.join(name)).unwrap().len();
    assert_eq!(manifest["weights_bytes"]["after"], bytes("model.onnx") + bytes("model.onnx_data"));
    let sources: Vec<_> = manifest["source"]["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(sources, ["model.onnx", "model.onnx.data"]);
    // A byte of the data file counts as one of the model.
    let mut data = fs::read(out.join("model.onnx_data")).unwrap();
    *data.last_mut().unwrap() ^= 1;
    fs::write(out.join("model.onnx_data"), data).unwrap();
    rankfold([Path::new("verify"), &out]).assert().code(3);
}

#[test]
fn a_directory_with_a_model_keeps_its_other_files_and_gets_no_loader() {
    let sandbox = tempfile::tempdir().unwrap();
    let (source, out) = (sandbox.path().join("source"), sandbox.path().join("out"));
    tree::copy(&model("external"), &source);
    fs::write(source.join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    fs::write(source.join("vocab.txt"), "a\n").unwrap();
    compress(&source, &out, &["--reduction", "0.5"]).assert().code(0);
    let names = ["SHA256SUMS", "config.json", "model.onnx", "model.onnx_data", "rankfold.json", "vocab.txt"];
    assert_eq!(tree::names(&out), names);
    assert_eq!(fs::read(out.join("config.json")).unwrap(), b"{\"model_type\": \"bert\"}");
    rankfold([Path::new("verify"), &out, Path::new("--source"), &source]).assert().code(0);
    let dense = sandbox.path().join("dense");
    rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
    assert_eq!(fs::read(dense.join("config.json")).unwrap(), b"{\"model_type\": \"bert\"}");
}

#[test]
fn elements_in_typed_fields_are_read() {
    computes_the_same("float_data.onnx", METHODS);
    // A cast would not make halves narrower.
    let narrower: Vec<_> = METHODS.iter().copied().filter(|flags| !flags.contains(&"cast")).collect();
    computes_the_same("half.onnx", &narrower);
}

#[test]
fn a_real_model_computes_what_its_factors_multiplied_out_give() {
    let path = PathBuf::from(oracle(&["where"]).trim());
    let mut outputs = Outputs::new();
    outputs.add(&path, &["--reduction", "0.5"]);
    outputs.add(&path, &["--method", "fixed-point", "--bits", "8"]);
    outputs.check();
    let found = tables(&path);
    let taken: Vec<_> = found.iter().filter(|table| table["taken_by_default"] == true).collect();
    assert_eq!(taken.len(), 1);
    let evidence = taken[0]["evidence"].as_array().unwrap();
    let lookup = evidence.iter().find(|one| one["kind"] == "looked_up").unwrap();
    assert_eq!(lookup["indices"], "input_ids");
}

#[test]
fn tables_are_found_by_the_graph_without_names() {
    for (name, node, indices) in [
        ("transpose.onnx", "Gather `Gather_hidden`", "ids32"),
        ("gemm.onnx", "Gather `Gather_hidden`", "ids"),
        ("half.onnx", "Gather `Gather_half`", "ids"),
    ] {
        let found = tables(&model(name));
        let lookup = found[0]["evidence"].as_array().unwrap().iter().find(|one| one["kind"] == "looked_up").unwrap();
        assert_eq!((&lookup["node"], &lookup["indices"]), (&node.into(), &indices.into()), "{name}");
        assert_eq!(found[0]["role"], "token", "{name}");
    }
}

#[test]
fn what_nobody_knows_and_nobody_touches_stays_byte_for_byte() {
    let sandbox = tempfile::tempdir().unwrap();
    let (out, dense) = (sandbox.path().join("out"), sandbox.path().join("dense"));
    compress(&model("transpose.onnx"), &out, &["--reduction", "0.5"]).assert().code(0);
    rankfold([Path::new("restore"), &out, Path::new("-o"), &dense]).assert().code(0);
    let read = |folder: &Path| fs::read(folder.join("transpose.onnx")).unwrap();
    let (before, after) = (fs::read(model("transpose.onnx")).unwrap(), read(&out));
    let count = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).filter(|window| *window == text).count();
    for text in ["kept", "the table", "fixtures", "Squeeze_again", "author"] {
        assert_eq!(count(&before, text.as_bytes()), count(&after, text.as_bytes()), "{text}");
    }
    // What was said of the shapes of the table and of its transposed form was not true any more.
    assert_eq!(count(&after, b"state\x12"), count(&before, b"state\x12"));
    // The way back gives every byte but those of the table and of what was said of its shape.
    let back = read(&dense);
    let table = 120 * 16 * 4;
    let at = |bytes: &[u8]| bytes.windows(5).position(|window| window == b"\x42\x03emb").unwrap();
    let (from, to) = (at(&before), at(&back));
    assert_eq!(before[from..from + 8], back[to..to + 8]);
    let rest = |bytes: &[u8], at: usize| bytes[at + 8 + table..].to_vec();
    let (rest_before, rest_back) = (rest(&before, from), rest(&back, to));
    assert!(rest_before.len() > rest_back.len(), "two values were described");
    assert!(rest_before.ends_with(&rest_back[rest_back.len() - 40..]));
}

#[test]
fn the_threads_make_no_difference_and_neither_does_the_time() {
    let sandbox = tempfile::tempdir().unwrap();
    let out = |name: &str| sandbox.path().join(name);
    for name in ["1", "4"] {
        let flags = ["--reduction", "0.5", "--threads", name];
        compress(&model("folded.onnx"), &out(name), &flags).assert().code(0);
    }
    tree::assert_same(&out("1"), &out("4"));
}

#[test]
fn a_size_is_met_to_the_byte_that_was_planned() {
    let sandbox = tempfile::tempdir().unwrap();
    for (name, limit) in [("gemm.onnx", 5000), ("external/model.onnx", 6000)] {
        let out = sandbox.path().join(name.replace('/', "-"));
        let result = compress(&model(name), &out, &["--target-size", &limit.to_string(), "--json"]).assert().code(0);
        let plan: Value = serde_json::from_slice(&result.get_output().stdout).unwrap();
        let files = tree::read(&out);
        let is_weights = |path: &&PathBuf| path.extension().is_some_and(|own| own == "onnx" || own == "onnx_data");
        let bytes: usize = files.keys().filter(is_weights).map(|path| files[path].len()).sum();
        assert_eq!(plan["weights_bytes"]["after"], bytes, "{name}");
        assert!(bytes <= limit, "{name}: {bytes}");
    }
}

#[test]
fn a_ladder_stops_at_the_points_that_a_graph_can_carry() {
    // Codes of 5 bits would do, but no operator reads them.
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    compress(&model("gemm.onnx"), &out, &["--method", "fixed-point", "--max-error", "0.1"]).assert().code(0);
    let manifest: Value = serde_json::from_slice(&fs::read(out.join("rankfold.json")).unwrap()).unwrap();
    assert_eq!(manifest["tables"][0]["setting"]["bits"], 8);
    assert_verifies(&out);
}

#[test]
fn refusals_give_the_reason() {
    for (name, reason) in [
        ("other_use.onnx", "found input 0 of ReduceMean `ReduceMean_mean`"),
        ("if_capture.onnx", "used in the body of a node, which would have to be rewritten too: found If `If_hidden`"),
        (
            "loop_capture.onnx",
            "used in the body of a node, which would have to be rewritten too: found Loop `Loop_hidden`",
        ),
    ] {
        let message = refusal(&model(name), &["--reduction", "0.5"], 1);
        assert!(message.contains("tensor `emb`") && message.contains(reason), "{message}");
    }
    for (flags, reason) in [
        (&["--method", "product", "--reduction", "0.5", "--code-bits", "4"][..], "a graph cannot decode `product`"),
        (&["--method", "transform", "--reduction", "0.8"], "a graph cannot decode `transform`"),
        (&["--method", "fixed-point", "--bits", "5"], "hint: pass `--bits 8`"),
        (&["--method", "fixed-point", "--bits", "8", "--granularity", "group:5"], "that divides the columns"),
        (&["--method", "low-rank-fixed", "--rank", "8"], "hint: pass `--left-bits 8 --right-bits 8`"),
    ] {
        let message = refusal(&model("gemm.onnx"), flags, 1);
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn a_compressed_model_is_not_compressed_again() {
    let sandbox = tempfile::tempdir().unwrap();
    let out = sandbox.path().join("out");
    compress(&model("gemm.onnx"), &out, &["--reduction", "0.5"]).assert().code(0);
    let message = refusal(&out.join("gemm.onnx"), &["--reduction", "0.5"], 1);
    assert!(message.contains("the model is compressed already"), "{message}");
}

#[test]
fn a_model_that_carries_another_digest_is_found_out() {
    let sandbox = tempfile::tempdir().unwrap();
    let (one, other) = (sandbox.path().join("one"), sandbox.path().join("other"));
    compress(&model("gemm.onnx"), &one, &["--reduction", "0.5"]).assert().code(0);
    compress(&model("gemm.onnx"), &other, &["--rank", "5"]).assert().code(0);
    fs::copy(other.join("gemm.onnx"), one.join("gemm.onnx")).unwrap();
    let result = rankfold([Path::new("verify"), &one]).assert().code(3);
    let text = String::from_utf8_lossy(&result.get_output().stdout).into_owned();
    assert!(text.contains("carries `rankfold.manifest_core_sha256`"), "{text}");
}

#[test]
fn compare_reads_models_too() {
    let result = rankfold([Path::new("compare"), &model("gemm.onnx"), Path::new("--json")]).assert().code(0);
    let report: Value = serde_json::from_slice(&result.get_output().stdout).unwrap();
    assert!(report.to_string().contains("\"emb\""), "{report}");
}
