//! Fixed-point codes and casts through the whole program.

use std::fs;

use crate::round_trip::{read_json, round_trip};
use crate::support::{compress, fixture, minilm, tree, weights};
use serde_json::json;

const WORDS: &str = "embeddings.word_embeddings.weight";

#[test]
fn every_width_survives_verification_and_restoration() {
    for bits in ["2", "3", "4", "5", "6", "7", "8", "16"] {
        for flags in [&["--symmetric"][..], &["--affine", "--granularity", "group:5"], &["--granularity", "tensor"]] {
            let flags = [&["--method", "fixed-point", "--bits", bits], flags].concat();
            let manifest = round_trip(&fixture("bert-tied"), &flags);
            assert_eq!(manifest["tables"][0]["setting"]["bits"].to_string(), bits);
        }
    }
}

#[test]
fn every_target_picks_a_width() {
    let width = |flags: &[&str]| {
        let flags = [&["--method", "fixed-point"], flags].concat();
        round_trip(&fixture("bert-encoder"), &flags)["tables"][0]["setting"]["bits"].as_u64().unwrap()
    };
    assert_eq!(width(&["--reduction", "0.7"]), 8);
    assert_eq!(width(&["--max-error", "0.5"]), 3);
    assert_eq!(width(&["--energy", "0.99"]), 5);
    let least = width(&["--target-size", "64%"]);
    assert!((2..16).contains(&least), "{least}");
    assert_eq!(width(&["--target-size", "99%"]), 16);
}

#[test]
fn a_cast_is_a_plain_tensor_and_its_configuration_dispatches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    compress(&fixture("bert-encoder"), &out, &["--method", "cast", "--bits", "16"]).assert().code(0);
    let config = read_json(&out.join("config.json"));
    assert_eq!(config.get("quantization_config"), None);
    assert_eq!(config["rankfold"]["tables"][WORDS]["setting"], json!({ "dtype": "F16" }));
    for dtype in ["f16", "bf16"] {
        round_trip(&fixture("bert-encoder"), &["--method", "cast", "--dtype", dtype, "--max-error", "0.1"]);
    }
}

#[test]
fn eight_and_four_bits_carry_the_block_of_compressed_tensors() {
    let directory = tempfile::tempdir().unwrap();
    for (bits, format) in [("8", "int-quantized"), ("4", "pack-quantized")] {
        let out = directory.path().join(bits);
        compress(&fixture("bert-encoder"), &out, &["--method", "fixed-point", "--bits", bits]).assert().code(0);
        let block = &read_json(&out.join("config.json"))["quantization_config"];
        assert_eq!(block["quant_method"], "compressed-tensors");
        assert_eq!(block["format"], format);
        assert_eq!(block["dequantize"], true);
        let group = &block["config_groups"]["group_0"];
        assert_eq!(group["weights"]["strategy"], "channel");
        assert_eq!(group["weights"]["num_bits"].to_string(), bits);
        assert_eq!(group["targets"], json!(["re:(.*\\.)?(embeddings\\.)?word_embeddings$"]));
    }
}

#[test]
fn other_widths_carry_our_own_method_and_a_shape_that_loaders_fail_on() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    compress(&fixture("bert-encoder"), &out, &["--method", "fixed-point", "--bits", "3"]).assert().code(0);
    let config = read_json(&out.join("config.json"));
    assert_eq!(config["quantization_config"]["quant_method"], "rankfold");
    let stored = weights::read(&out).into_iter().find(|((_, name), _)| name == WORDS);
    assert_eq!(stored.unwrap().1.shape.len(), 1);
}

#[test]
fn a_model_that_is_quantized_already_is_not_given_codes_that_nobody_reads() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    for (name, content) in tree::read(&fixture("bert-encoder")) {
        fs::write(source.join(name), content).unwrap();
    }
    fs::write(source.join("config.json"), "{\"quantization_config\": {\"quant_method\": \"gptq\"}}").unwrap();
    let out = directory.path().join("out");
    compress(&source, &out, &["--method", "fixed-point", "--bits", "8"]).assert().code(1);
    assert!(!out.exists());
    compress(&source, &out, &["--method", "fixed-point", "--bits", "3"]).assert().code(0);
}

#[test]
fn a_method_refuses_targets_that_it_does_not_have() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let refused = [
        ["--method", "fixed-point", "--rank", "4"],
        ["--method", "low-rank", "--bits", "4"],
        ["--method", "cast", "--bits", "4"],
        ["--method", "fixed-point", "--bits", "9"],
    ];
    for flags in refused {
        compress(&fixture("bert-encoder"), &out, &flags).assert().code(1);
        assert!(!out.exists(), "{flags:?}");
    }
    let two = ["--method", "fixed-point", "--bits", "4", "--reduction", "0.5"];
    compress(&fixture("bert-encoder"), &out, &two).assert().code(2);
}

#[test]
fn the_output_does_not_depend_on_threads() {
    let directory = tempfile::tempdir().unwrap();
    let outs = ["1", "3"].map(|threads| {
        let out = directory.path().join(threads);
        let flags = ["--method", "fixed-point", "--bits", "5", "--affine", "--threads", threads];
        compress(&fixture("bert-encoder"), &out, &flags).assert().code(0);
        tree::read(&out)
    });
    assert!(outs[0] == outs[1]);
}

#[test]
fn real_minilm_has_the_errors_of_an_independent_computation() {
    // numpy 2, float32: absmax * 2 / (2^b - 1) a row, rounded up to float16.
    for (bits, error) in [("8", 0.00728), ("4", 0.12374), ("3", 0.26484), ("2", 0.60877)] {
        let manifest = round_trip(&minilm(), &["--method", "fixed-point", "--bits", bits]);
        let found = manifest["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap();
        assert!((found - error).abs() <= 1e-5, "{bits} bits: expected {error}, found {found}");
    }
}
