//! Product quantization: against slow references, at every degenerate shape, and on hostile parts.

use std::path::Path;

use crate::round_trip::round_trip;
use crate::support::encoded::{Dense, Encoded, noise, with_threads};
use crate::support::minilm;
use nalgebra::DMatrix;
use rankfold::ErrorKind;
use rankfold::codec::{Codec, Demand, DirectTarget, Options, Part, ProductQuantization, Setting};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, TensorMeta};
use serde_json::json;

const CODEC: &ProductQuantization = &ProductQuantization;

fn setting(pieces: usize, bits: u32, rotation: bool, norms: bool) -> Setting {
    let setting = json!({ "subquantizers": pieces, "bits": bits, "rotation": rotation, "norms": norms, "seed": 5 });
    setting.as_object().unwrap().clone()
}

fn encode(dense: &Dense, setting: &Setting) -> Encoded {
    Encoded::new(CODEC, dense, &Options::default(), setting)
}

/// Rows whose columns depend on each other, the variances unequal.
fn correlated(rows: usize, columns: usize) -> Dense {
    let mix = DMatrix::from_fn(columns, columns, |i, j| noise(i + 900, j) / (1 + i) as f64);
    let table = DMatrix::from_fn(rows, columns, |i, j| noise(i, j) + noise(i + 7, j + 100)) * mix;
    Dense::singles(rows, columns, |i, j| table[(i, j)])
}

/// The columns of each piece: the longer ones first.
fn splits(width: usize, pieces: usize) -> Vec<std::ops::Range<usize>> {
    let longer = width % pieces;
    let start = |piece: usize| piece * (width / pieces) + piece.min(longer);
    (0..pieces).map(|piece| start(piece)..start(piece + 1)).collect()
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
}

#[test]
fn every_piece_of_every_row_has_the_nearest_centroid_and_decodes_to_it() {
    // 11 columns in 4 pieces: 3, 3, 3 and 2.
    let dense = correlated(700, 11);
    for bits in [4, 8] {
        let encoded = encode(&dense, &setting(4, bits, false, false));
        let (table, decoded) = (dense.matrix(), encoded.decode(CODEC));
        let books = floats(&encoded.parts[1].1);
        let books = DMatrix::from_row_slice(1 << bits, 11, &books);
        let stride = encoded.parts[0].0.shape[1];
        for i in 0..700 {
            for (piece, columns) in splits(11, 4).into_iter().enumerate() {
                let distance = |row: &DMatrix<f64>, at: usize| -> f64 {
                    columns.clone().map(|j| (row[(at, j)] - table[(i, j)]).powi(2)).sum()
                };
                let least = (0..1 << bits).map(|c| distance(&books, c)).fold(f64::INFINITY, f64::min);
                let byte = encoded.parts[0].1[i * stride + piece * bits as usize / 8];
                let code = if bits == 8 { byte } else { byte >> (piece % 2 * 4) & 15 };
                assert!(distance(&books, usize::from(code)) <= least * (1.0 + 1e-4) + 1e-12, "row {i} piece {piece}");
                assert!(columns.clone().all(|j| decoded[(i, j)] == books[(usize::from(code), j)]));
            }
        }
    }
}

#[test]
fn centroids_are_the_means_of_what_is_nearest_to_them() {
    let dense = correlated(600, 4);
    let encoded = encode(&dense, &setting(2, 4, false, false));
    let (table, decoded) = (dense.matrix(), encoded.decode(CODEC));
    let books = DMatrix::from_row_slice(16, 4, &floats(&encoded.parts[1].1));
    let spread = table.norm() / (600f64 * 4.0).sqrt();
    for columns in splits(4, 2) {
        for c in 0..16 {
            let own: Vec<usize> =
                (0..600).filter(|&i| columns.clone().all(|j| decoded[(i, j)] == books[(c, j)])).collect();
            assert!(!own.is_empty(), "centroid {c} serves nobody");
            for j in columns.clone() {
                let mean = own.iter().map(|&i| table[(i, j)]).sum::<f64>() / own.len() as f64;
                assert!((mean - books[(c, j)]).abs() <= 0.1 * spread, "centroid {c}");
            }
        }
    }
}

#[test]
fn a_piece_of_one_column_is_as_good_as_a_scalar_quantizer() {
    // 256 levels of uniform noise: a step of 2 / 256, and an error of its twelfth.
    let dense = Dense::singles(8000, 3, noise);
    let error = encode(&dense, &setting(3, 8, false, false)).measured.relative_frobenius_error();
    let uniform = (1.0f64 / 12.0).sqrt() * 2.0 / 256.0 / (1.0f64 / 3.0).sqrt();
    assert!(error <= 1.35 * uniform, "{error} against {uniform}");
}

#[test]
fn a_rotation_pays_where_columns_depend_on_each_other_and_is_a_rotation() {
    let dense = correlated(2000, 16);
    let error = |rotation| encode(&dense, &setting(4, 4, rotation, false)).measured.relative_frobenius_error();
    assert!(error(true) < 0.9 * error(false), "{} against {}", error(true), error(false));
    let encoded = encode(&dense, &setting(4, 4, true, false));
    let rotation = DMatrix::from_row_slice(16, 16, &floats(&encoded.parts[2].1));
    assert!((rotation.transpose() * &rotation - DMatrix::identity(16, 16)).abs().max() <= 1e-5);
}

#[test]
fn norms_apart_pay_where_norms_differ_much() {
    let size = |i: usize| 10f64.powf(2.0 * noise(i, 77));
    let dense = Dense::singles(4000, 8, |i, j| size(i) * noise(i, j));
    let cosine = |norms| {
        let decoded = encode(&dense, &setting(2, 4, false, norms)).decode(CODEC);
        let table = dense.matrix();
        let cosines = (0..4000)
            .map(|i| table.row(i).dot(&decoded.row(i)) / (table.row(i).norm() * decoded.row(i).norm().max(1e-30)));
        cosines.sum::<f64>() / 4000.0
    };
    assert!(cosine(true) > cosine(false), "{} against {}", cosine(true), cosine(false));
}

#[test]
fn degenerate_tables_go_there_and_back() {
    let tables = [
        ("zeros", Dense::singles(40, 9, |_, _| 0.0), 0.0),
        ("constant", Dense::singles(400, 9, |_, _| 0.37), 1e-3),
        ("rank 1", Dense::singles(60, 9, |i, j| (1.0 + i as f64) * (j as f64 - 3.0)), 1e-2),
        ("fewer rows than columns", Dense::singles(5, 64, noise), 1e-2),
        ("fewer rows than centroids", Dense::singles(100, 6, noise), 1e-2),
        ("one column", Dense::singles(2000, 1, noise), 0.02),
        ("one row", Dense::singles(1, 200, noise), 1e-2),
        ("small doubles", Dense::doubles(80, 8, |i, j| 1e-30 * noise(i, j)), 1e-2),
        ("large doubles", Dense::doubles(80, 8, |i, j| 1e30 * noise(i, j)), 1e-2),
    ];
    for (name, dense, bound) in tables {
        for (rotation, norms) in [(false, false), (true, false), (false, true), (true, true)] {
            let encoded = encode(&dense, &setting(dense.columns.min(3), 8, rotation, norms));
            let error = encoded.measured.relative_frobenius_error();
            assert!(error <= bound, "{name} rotation {rotation} norms {norms}: {error}");
            encoded.assert_rows_decode_alone(CODEC);
            let found = (dense.matrix() - encoded.decode(CODEC)).norm();
            let stated = encoded.measured.squared_error.sqrt();
            assert!((found - stated).abs() <= 1e-6 * dense.matrix().norm(), "{name}: {found} {stated}");
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let dense = correlated(3000, 20);
    let run = || encode(&dense, &setting(7, 4, true, true));
    let (one, three) = (with_threads(1, run), with_threads(3, run));
    assert!(one.parts == three.parts && one.measured == three.measured);
}

#[test]
fn a_seed_decides_where_k_means_begins() {
    let dense = correlated(500, 6);
    let with = |seed: u64| {
        let mut setting = setting(2, 4, false, false);
        setting.insert("seed".into(), seed.into());
        encode(&dense, &setting).parts
    };
    assert!(with(1) == with(1));
    assert!(with(1) != with(2));
}

#[test]
fn the_ladder_rises_in_bytes_and_predicts_what_is_measured() {
    let dense = correlated(20_000, 24);
    let analysis = CODEC.analyze(&dense.table(), &Options::default(), Demand::Ladder, &Silent).unwrap();
    let points = analysis.points();
    assert!(points.len() >= 6);
    for pair in points.windows(2) {
        assert!(pair[0].bytes() < pair[1].bytes() && pair[0].squared_error >= pair[1].squared_error);
    }
    for point in points.iter().step_by(3) {
        let found = encode(&dense, &point.setting).measured.squared_error;
        let share = found / point.squared_error;
        assert!((0.4..=1.1).contains(&share), "{:?}: {share}", point.setting);
    }
}

#[test]
fn a_reduction_is_met_in_bytes_by_the_most_pieces_that_fit() {
    let dense = correlated(5000, 20);
    let options = Options { dtype: Some(Dtype::F16), ..Options::default() };
    let setting = CODEC.resolve(&dense.table(), &options, DirectTarget::Reduction(0.8)).unwrap();
    let encoded = Encoded::new(CODEC, &dense, &options, &setting);
    let budget = 5000 * 20 * 4 / 5;
    assert!(encoded.bytes() <= budget && encoded.bytes() + 5000 > budget, "{}", encoded.bytes());
    let refused = |options: &Options, target| CODEC.resolve(&dense.table(), options, target).unwrap_err();
    assert_eq!(refused(&options, DirectTarget::Rank(3)).kind(), ErrorKind::Request);
    assert!(refused(&options, DirectTarget::Reduction(0.99)).to_string().contains("at least"));
    let options = Options { code_bits: Some(5), ..Options::default() };
    assert!(refused(&options, DirectTarget::Reduction(0.5)).to_string().contains("4 or 8"));
}

#[test]
fn more_pieces_than_columns_are_refused() {
    let dense = correlated(50, 4);
    let setting = setting(5, 4, false, false);
    let error = CODEC.analyze(&dense.table(), &Options::default(), Demand::Only(&setting), &Silent).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert!(error.to_string().contains("at most 4"), "{error}");
}

#[test]
fn a_table_with_a_number_that_is_not_finite_is_refused() {
    let dense = Dense::singles(30, 4, |i, j| if (i, j) == (17, 2) { f64::INFINITY } else { noise(i, j) });
    let setting = setting(2, 4, false, false);
    let error = CODEC.analyze(&dense.table(), &Options::default(), Demand::Only(&setting), &Silent).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert!(error.to_string().contains("row 17, column 2"), "{error}");
}

/// What is done to good parts.
type Change<'a> = &'a dyn Fn(&mut Vec<(TensorMeta, Vec<u8>)>, &mut Setting);

#[test]
fn hostile_parts_are_refused() {
    let good = encode(&correlated(30, 10), &setting(3, 4, true, true));
    let refused = |change: Change<'_>| {
        let (mut parts, mut setting) = (good.parts.clone(), good.setting.clone());
        change(&mut parts, &mut setting);
        let parts: Vec<_> = parts.iter().map(|(meta, bytes)| Part { meta, bytes }).collect();
        let error = CODEC.decode(&setting, &parts).err().expect("refused");
        assert!(matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Unsupported), "{error}");
    };
    refused(&|parts, _| drop(parts.pop()));
    refused(&|parts, _| parts[0].0.dtype = Dtype::I8);
    refused(&|parts, _| parts[0].0.shape = vec![60]);
    refused(&|parts, _| parts[0].0.shape[0] = usize::MAX);
    refused(&|parts, _| parts[0].1.truncate(7));
    refused(&|parts, _| parts[1].0.shape = vec![16, 2]);
    refused(&|parts, _| parts[1].0.shape = vec![16, usize::MAX]);
    refused(&|parts, _| parts[1].0.dtype = Dtype::I32);
    refused(&|parts, _| parts[1].1[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()));
    refused(&|parts, _| parts[2].0.shape = vec![10, 9]);
    refused(&|parts, _| parts[3].0.shape = vec![29, 1]);
    refused(&|parts, _| parts[4].0.shape = vec![255, 1]);
    refused(&|parts, _| parts.swap(0, 1));
    refused(&|_, setting| drop(setting.insert("subquantizers".into(), json!(0))));
    refused(&|_, setting| drop(setting.insert("subquantizers".into(), json!(u64::MAX))));
    refused(&|_, setting| drop(setting.insert("subquantizers".into(), json!(5))));
    refused(&|_, setting| drop(setting.insert("bits".into(), json!(8))));
    refused(&|_, setting| drop(setting.insert("bits".into(), json!(3))));
    refused(&|_, setting| drop(setting.insert("norms".into(), json!(false))));
    refused(&|_, setting| drop(setting.insert("rotation".into(), json!("yes"))));
    refused(&|_, setting| setting.clear());
}

/// The relative error that the manifest has of a checkpoint's first table, once the checkpoint went there and back.
fn there_and_back(source: &Path, flags: &[&str]) -> f64 {
    let manifest = round_trip(source, &[&["--method", "product"], flags].concat());
    assert_eq!(manifest["tables"][0]["method"], "product");
    manifest["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap()
}

#[test]
fn checkpoints_are_compressed_verified_and_restored() {
    for name in ["bert-encoder", "gpt2-f16", "llama-bf16-sharded"] {
        let source = crate::support::fixture(name);
        there_and_back(&source, &["--reduction", "0.5", "--code-bits", "4"]);
        there_and_back(&source, &["--reduction", "0.3", "--code-bits", "4", "--rotation", "--norms", "--seed", "9"]);
    }
    let source = crate::support::fixture("bert-encoder");
    there_and_back(&source, &["--max-error", "0.6", "--code-bits", "4"]);
    there_and_back(&source, &["--target-size", "80%", "--code-bits", "4"]);
}

#[test]
fn real_minilm_192_pieces_are_as_good_as_those_of_the_known_implementation() {
    // faiss has 0.0961 with 192 pieces of 8 bits and codebooks of singles.
    let error = there_and_back(&minilm(), &["--max-error", "0.5", "--subquantizers", "192"]);
    assert!(error <= 0.0975, "{error}");
}
