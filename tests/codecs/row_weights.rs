//! Weights of rows: read strictly, minimized exactly, measured and recorded.

use std::path::Path;
use std::sync::Arc;

use crate::support::encoded::{Dense, Encoded, noise};
use crate::support::{assert_verifies, compress, fixture, minilm, rankfold};
use nalgebra::DMatrix;
use rankfold::ErrorKind;
use rankfold::codec::{
    CODECS, Cast, Codec, FixedPoint, Ggml, LowRank, LowRankFixed, Options, ProductQuantization, RowWeights, Setting,
    Transform,
};
use serde_json::{Value, json};

fn options(weights: RowWeights) -> Options {
    Options { row_weights: Some(Arc::new(weights)), ..Options::default() }
}

fn setting(value: Value) -> Setting {
    value.as_object().unwrap().clone()
}

/// Codecs that can give to one row what another does without, for a table of `columns`.
fn minimizing(columns: usize) -> [(&'static dyn Codec, Setting); 4] {
    let fixed = json!({ "rank": 5, "left_bits": 4, "right_bits": 4, "variant": "ours" });
    let product = json!({ "subquantizers": columns / 4, "bits": 4, "rotation": false, "norms": false, "seed": 0 });
    [
        (&LowRank, setting(json!({ "rank": 3 }))),
        (&LowRankFixed, setting(fixed)),
        (&Transform, setting(json!({ "bytes": 290 * columns, "columns": columns }))),
        (&ProductQuantization, setting(product)),
    ]
}

/// Every codec: those too that round each row, or each number, for itself.
fn settings(columns: usize) -> Vec<(&'static dyn Codec, Setting)> {
    let row = json!({ "bits": 4, "granularity": "row", "scheme": "symmetric", "scale_dtype": "F16" });
    let table = json!({ "bits": 3, "granularity": "tensor", "scheme": "affine", "scale_dtype": "F32" });
    let alone: [(&'static dyn Codec, Setting); 4] = [
        (&FixedPoint, setting(row)),
        (&FixedPoint, setting(table)),
        (&Cast, setting(json!({ "dtype": "BF16" }))),
        (&Ggml, setting(json!({ "type": "q4_0" }))),
    ];
    minimizing(columns).into_iter().chain(alone).collect()
}

/// The weighted relative error by definition.
fn weighted_error(table: &DMatrix<f64>, decoded: &DMatrix<f64>, weights: &[f64]) -> f64 {
    let square = |matrix: &DMatrix<f64>| -> f64 {
        matrix.row_iter().zip(weights).map(|(row, weight)| weight * row.norm_squared()).sum()
    };
    (square(&(table - decoded)) / square(table)).sqrt()
}

#[test]
fn the_weighted_error_of_a_factor_pair_is_the_best_there_is() {
    for (rows, columns) in [(300, 12), (9, 40)] {
        let dense = Dense::singles(rows, columns, |i, j| noise(i, j) + 0.3);
        let weights = RowWeights::Zipf.of_rows(rows).unwrap();
        let encoded = Encoded::new(&LowRank, &dense, &options(RowWeights::Zipf), &setting(json!({ "rank": 3 })));
        let table = dense.matrix();
        let scaled = DMatrix::from_fn(rows, columns, |i, j| weights[i].sqrt() * table[(i, j)]);
        let values = scaled.clone().singular_values();
        let mut squares: Vec<f64> = values.iter().map(|value| value * value).collect();
        squares.sort_by(|a, b| b.total_cmp(a));
        let best = (squares[3..].iter().sum::<f64>() / squares.iter().sum::<f64>()).sqrt();
        let found = weighted_error(&table, &encoded.decode(&LowRank), &weights);
        assert!((found - best).abs() <= 1e-6 * best, "{rows} x {columns}: {found}, {best} at best");
        let measured = encoded.measured.weighted.unwrap().relative_frobenius_error();
        assert!((measured - found).abs() <= 1e-6, "{measured} {found}");
        let plain = (&table - encoded.decode(&LowRank)).norm() / table.norm();
        assert!((encoded.measured.relative_frobenius_error() - plain).abs() <= 1e-6);
    }
}

#[test]
fn every_codec_measures_the_weighted_error_beside_the_plain_one() {
    let dense = Dense::singles(600, 32, |i, j| noise(i, j) * (1.0 + (i / 300 * j) as f64) / (1 + j) as f64);
    let weights = RowWeights::Zipf.of_rows(600).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for (codec, setting) in settings(32) {
        seen.insert(codec.name());
        let with = Encoded::new(codec, &dense, &options(RowWeights::Zipf), &setting);
        let decoded = with.decode(codec);
        let expected = weighted_error(&dense.matrix(), &decoded, &weights);
        let measured = with.measured.weighted.unwrap().relative_frobenius_error();
        assert!((measured - expected).abs() <= 1e-5 * expected, "{}: {measured} {expected}", codec.name());
        let plain = (&dense.matrix() - decoded).norm() / dense.matrix().norm();
        assert!((with.measured.relative_frobenius_error() - plain).abs() <= 1e-5 * plain, "{}", codec.name());
        let without = Encoded::new(codec, &dense, &Options::default(), &setting);
        assert!(without.measured.weighted.is_none());
    }
    assert_eq!(seen.len(), CODECS.len());
}

#[test]
fn codecs_that_can_choose_between_rows_lower_the_weighted_error() {
    let dense = Dense::singles(600, 12, |i, j| noise(i, j) * (1.0 + (i / 300 * j) as f64) / (1 + j) as f64);
    let weights = RowWeights::Zipf.of_rows(600).unwrap();
    for (codec, setting) in minimizing(12) {
        let error = |options: &Options| {
            let encoded = Encoded::new(codec, &dense, options, &setting);
            weighted_error(&dense.matrix(), &encoded.decode(codec), &weights)
        };
        let (with, without) = (error(&options(RowWeights::Zipf)), error(&Options::default()));
        assert!(with < without, "{}: {with} {without}", codec.name());
    }
}

#[test]
fn equal_weights_are_no_weights() {
    let dense = Dense::singles(200, 32, noise);
    for (codec, setting) in settings(32) {
        let equal = RowWeights::parse("7\n".repeat(200).as_bytes()).unwrap();
        let with = Encoded::new(codec, &dense, &options(equal), &setting);
        let without = Encoded::new(codec, &dense, &Options::default(), &setting);
        let weighted = with.measured.weighted.unwrap().relative_frobenius_error();
        assert!((weighted - without.measured.relative_frobenius_error()).abs() <= 1e-6, "{}", codec.name());
    }
}

#[test]
fn zipf_weighs_rows_by_their_place_with_a_mean_of_one() {
    let weights = RowWeights::Zipf.of_rows(1000).unwrap();
    assert!((weights.iter().sum::<f64>() - 1000.0).abs() <= 1e-9);
    assert!((weights[0] / weights[9] - 12.7 / 3.7).abs() <= 1e-12);
    assert_eq!(RowWeights::Zipf.to_string(), "zipf");
}

#[test]
fn weights_that_cannot_be_used_are_refused_with_their_line() {
    for (text, line) in [
        ("1\n0\n", 2),
        ("-3\n", 1),
        ("1\n2\nNaN\n", 3),
        ("inf\n", 1),
        ("1\n\n2\n", 2),
        ("word 5\n", 1),
        ("1e999\n", 1),
        ("\u{fffd}\n", 1),
    ] {
        let error = RowWeights::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{text:?}");
        assert!(error.to_string().contains(&format!("line {line} ")), "{error}");
    }
    let error = RowWeights::parse(b"1\n2\n3").unwrap().of_rows(4).unwrap_err();
    assert!(error.to_string().contains("expected 4 lines, one for each row, found 3 lines"), "{error}");
    let extreme = RowWeights::parse(b"1e308\n1e308\n1e-308").unwrap().of_rows(3).unwrap();
    assert!(extreme.iter().all(|weight| weight.is_finite() && *weight > 0.0));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let source = fixture("bert-encoder");
    let out = tempfile::tempdir().unwrap();
    let flags = ["--rank", "4", "--row-weights", "no-such-file"];
    let failed = compress(&source, &out.path().join("out"), &flags).assert().code(1);
    assert!(String::from_utf8_lossy(&failed.get_output().stderr).contains("`no-such-file`"));
}

#[test]
fn every_method_takes_weights_and_plans_by_the_weighted_error() {
    let directory = tempfile::tempdir().unwrap();
    for method in CODECS.iter().map(|codec| codec.name()).chain(["auto"]) {
        let out = directory.path().join(method);
        let flags = ["--method", method, "--target-size", "75%", "--row-weights", "zipf"];
        compress(&fixture("t5-shared"), &out, &flags).assert().code(0);
        let errors = manifest(&out)["tables"][0]["errors"].clone();
        assert!(errors["weighted_relative_frobenius"].is_f64(), "{method}: {errors}");
        assert_verifies(&out);
    }
}

fn manifest(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("rankfold.json")).unwrap()).unwrap()
}

#[test]
fn the_manifest_names_the_weights_and_verify_measures_with_them_again() {
    let source = fixture("bert-encoder");
    let directory = tempfile::tempdir().unwrap();
    let (out, counts) = (directory.path().join("out"), directory.path().join("counts.txt"));
    let rows = {
        compress(&source, &out, &["--rank", "4", "--row-weights", "zipf"]).assert().code(0);
        manifest(&out)["tables"][0]["shape"][0].as_u64().unwrap() as usize
    };
    assert_eq!(manifest(&out)["request"]["row_weights"], "zipf");
    assert_verifies(&out);
    let verify = |flags: &[&str]| {
        let mut command = rankfold([Path::new("verify"), &out, Path::new("--source"), &source]);
        command.args(flags);
        command
    };
    verify(&[]).assert().code(0);
    let text: String = (0..rows).map(|i| format!("{}\n", 1 + i % 17)).collect();
    std::fs::write(&counts, &text).unwrap();
    let counts = counts.to_str().unwrap();
    verify(&["--row-weights", counts]).assert().code(1);
    compress(&source, &out, &["--rank", "4", "--row-weights", counts, "--force"]).assert().code(0);
    let recorded = manifest(&out)["request"]["row_weights"].as_str().unwrap().to_owned();
    assert!(recorded.starts_with("sha256:") && recorded.len() == 71, "{recorded}");
    assert!(manifest(&out)["tables"][0]["errors"]["weighted_relative_frobenius"].as_f64().unwrap() > 0.0);
    verify(&["--row-weights", counts]).assert().code(0);
    std::fs::write(counts, format!("{text}1\n")).unwrap();
    let failed = compress(&source, &out, &["--rank", "4", "--row-weights", counts, "--force"]).assert().code(1);
    assert!(String::from_utf8_lossy(&failed.get_output().stderr).contains("one for each row"));
}

#[test]
fn real_minilm_weights_move_the_error_to_rare_words() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    compress(&minilm(), &out, &["--reduction", "0.9", "--row-weights", "zipf"]).assert().code(0);
    let errors = manifest(&out)["tables"][0]["errors"].clone();
    let (plain, weighted) = (&errors["relative_frobenius"], &errors["weighted_relative_frobenius"]);
    // The best pair without weights has a plain error of 0.8276.
    assert!(plain.as_f64().unwrap() > 0.8276 && weighted.as_f64().unwrap() < plain.as_f64().unwrap(), "{errors}");
    rankfold([Path::new("verify"), &out, Path::new("--source"), &minilm()]).assert().code(0);
}
