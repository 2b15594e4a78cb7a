//! Quantized factor pairs: against a slow reference, at every degenerate shape, and on hostile parts.

use std::path::Path;

use crate::round_trip::round_trip;
use crate::support::encoded::{Dense, Encoded, noise, with_threads};
use crate::support::minilm;
use nalgebra::DMatrix;
use rankfold::codec::{Codec, Demand, DirectTarget, LowRankFixed, Options, Part, Setting, Variant};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, TensorMeta};
use rankfold::{ErrorKind, codec};
use serde_json::json;

fn encode(dense: &Dense, options: &Options, setting: &Setting) -> Encoded {
    Encoded::new(&LowRankFixed, dense, options, setting)
}

fn setting(rank: usize, left_bits: u32, right_bits: u32, variant: Variant) -> Setting {
    let setting = json!({
        "rank": rank, "left_bits": left_bits, "right_bits": right_bits, "variant": variant.name(), "seed": 7
    });
    setting.as_object().unwrap().clone()
}

/// Orthonormal columns from noise.
fn orthonormal(rows: usize, columns: usize, seed: usize) -> DMatrix<f64> {
    DMatrix::from_fn(rows, columns, |i, j| noise(i + seed, j) + noise(j + 31 * seed, i)).qr().q()
}

/// 4,000 x 300 with singular values 1, 1/2, 1/3, ...
fn harmonic() -> Dense {
    let (left, right) = (orthonormal(4000, 300, 1), orthonormal(300, 300, 2));
    let scaled = DMatrix::from_fn(4000, 300, |i, j| left[(i, j)] / (j + 1) as f64);
    let table = scaled * right;
    Dense::singles(4000, 300, |i, j| table[(i, j)])
}

#[test]
fn the_known_figures_are_reached_on_a_harmonic_spectrum() {
    let dense = harmonic();
    let error = |variant| {
        let encoded = encode(&dense, &Options::default(), &setting(139, 4, 4, variant));
        encoded.measured.relative_frobenius_error()
    };
    let ours = error(Variant::Ours);
    let papers = [Variant::Lplr, Variant::Svd, Variant::LplrSvd].map(error);
    // The best rank-139 pair has 0.048; one grid for a whole matrix 0.194, and 0.173 without
    // fitting L to the quantized R again.
    assert!(ours > 0.048 && ours <= 0.12, "ours {ours}");
    assert!(papers.iter().all(|&paper| paper > 1.5 * ours), "ours {ours}, the paper's {papers:?}");
    assert!((papers[2] - 0.194).abs() <= 0.005, "lplr-svd {}", papers[2]);
}

#[test]
fn what_is_stored_decodes_as_the_format_says() {
    let dense = Dense::singles(70, 23, |i, j| noise(i, j) + 0.4);
    for (variant, left, right) in [(Variant::Ours, 3, 5), (Variant::Lplr, 8, 2), (Variant::LplrSvd, 7, 6)] {
        let encoded = encode(&dense, &Options::default(), &setting(9, left, right, variant));
        let expected = encoded.factor(0, 1, 9, left as usize) * encoded.factor(2, 3, 9, right as usize).transpose();
        let found = encoded.decode(&LowRankFixed);
        let scale = expected.norm();
        assert!((expected - found).norm() <= 1e-5 * scale, "{variant:?}");
    }
}

#[test]
fn r_is_the_least_squares_answer_to_the_quantized_l() {
    // Eight bits for R: what it is rounded from shows.
    let dense = Dense::singles(300, 20, |i, j| noise(i, j) / (1 + j) as f64);
    let encoded = encode(&dense, &Options::default(), &setting(8, 2, 8, Variant::Lplr));
    let table = dense.matrix();
    let left = encoded.factor(0, 1, 8, 2);
    let right = encoded.factor(2, 3, 8, 8).transpose();
    let best = left.clone().svd(true, true).solve(&table, 1e-10).unwrap();
    let step = (best.max() - best.min()) / 255.0;
    assert!((right - best).abs().max() <= 0.51 * step);
}

#[test]
fn a_pair_with_grids_of_its_own_is_not_worse_than_one_that_is_only_rounded() {
    let dense = Dense::singles(500, 40, |i, j| noise(i, j) / (1.0 + j as f64) + 0.2);
    for bits in [2, 3, 4, 6, 8] {
        let error = |variant| {
            encode(&dense, &Options::default(), &setting(20, bits, bits, variant)).measured.relative_frobenius_error()
        };
        assert!(error(Variant::Ours) < error(Variant::Svd), "{bits} bits");
    }
}

#[test]
fn degenerate_tables_go_there_and_back() {
    let tables = [
        ("zeros", Dense::singles(40, 9, |_, _| 0.0), 1e-9),
        ("constant", Dense::singles(40, 9, |_, _| 0.37), 1e-6),
        ("rank 1", Dense::singles(60, 9, |i, j| (1.0 + i as f64) * (j as f64 - 3.0)), 0.01),
        ("fewer rows than columns", Dense::singles(5, 64, noise), 0.03),
        ("one column", Dense::singles(200, 1, noise), 0.01),
        ("one row", Dense::singles(1, 200, noise), 0.01),
        ("small doubles", Dense::doubles(80, 8, |i, j| 1e-30 * noise(i, j)), 0.02),
        ("doubles", Dense::doubles(80, 8, |i, j| 1e30 * noise(i, j)), 0.02),
        ("one huge row", Dense::singles(9000, 6, |i, j| noise(i, j) * if i == 4321 { 1e6 } else { 1.0 }), 0.02),
    ];
    for (name, dense, bound) in tables {
        for variant in Variant::ALL {
            let rank = dense.columns.min(dense.rows).min(6);
            let encoded = Encoded::try_new(&LowRankFixed, &dense, &Options::default(), &setting(rank, 8, 8, variant));
            let error = encoded.unwrap().measured.relative_frobenius_error();
            assert!(error.is_finite(), "{name} {variant:?}: {error}");
            let full =
                rank == dense.columns.min(dense.rows) || name == "rank 1" || name == "constant" || name == "zeros";
            if variant == Variant::Ours && full {
                assert!(error <= bound, "{name}: {error}");
            }
        }
    }
}

#[test]
fn numbers_that_no_single_can_scale_are_refused() {
    for size in [1e-100, 1e100] {
        let dense = Dense::doubles(80, 8, |i, j| size * noise(i, j));
        let encoded = Encoded::try_new(&LowRankFixed, &dense, &Options::default(), &setting(4, 8, 8, Variant::Ours));
        assert_eq!(encoded.err().unwrap().kind(), ErrorKind::NonFinite);
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let dense = Dense::singles(2500, 33, |i, j| noise(i, j) / (1.0 + j as f64).sqrt());
    for variant in Variant::ALL {
        let run = || encode(&dense, &Options::default(), &setting(20, 3, 4, variant));
        let (one, three) = (with_threads(1, run), with_threads(3, run));
        assert!(one.parts == three.parts && one.measured == three.measured, "{variant:?}");
    }
}

#[test]
fn a_seed_decides_the_sketch() {
    let dense = Dense::singles(200, 20, noise);
    let with = |seed: u64| {
        let mut setting = setting(8, 4, 4, Variant::Lplr);
        setting.insert("seed".into(), seed.into());
        encode(&dense, &Options::default(), &setting).parts
    };
    assert!(with(1) == with(1));
    assert!(with(1) != with(2));
}

#[test]
fn the_ladder_trades_ranks_for_bits_and_predicts_what_is_measured() {
    let dense = Dense::singles(3000, 40, |i, j| noise(i, j) / (1.0 + j as f64).sqrt());
    let table = dense.table();
    let options = Options::default();
    let analysis = LowRankFixed.analyze(&table, &options, Demand::Ladder, &Silent).unwrap();
    let points = analysis.points();
    assert!(points.len() > 50);
    let dense_bytes = 3000 * 40 * 4;
    for pair in points.windows(2) {
        assert!(pair[0].bytes() <= pair[1].bytes() && pair[0].squared_error > pair[1].squared_error);
    }
    assert!(points.iter().all(|point| point.bytes() < dense_bytes));
    let bits: std::collections::BTreeSet<_> =
        points.iter().map(|point| point.setting["left_bits"].to_string()).collect();
    assert!(bits.len() >= 3, "{bits:?}");
    for point in points.iter().step_by(points.len() / 8) {
        let found = encode(&dense, &options, &point.setting).measured.squared_error;
        assert!(
            found <= 1.1 * point.squared_error && found >= 0.5 * point.squared_error,
            "{:?}: {} predicted, {found} measured",
            point.setting,
            point.squared_error
        );
    }
}

#[test]
fn a_reduction_is_met_in_bytes_and_is_near_the_best_of_all_ranks_and_bits() {
    let dense = Dense::singles(1500, 24, |i, j| noise(i, j) / (1.0 + j as f64).sqrt());
    let options = Options::default();
    let chosen = LowRankFixed.resolve(&dense.table(), &options, DirectTarget::Reduction(0.9)).unwrap();
    let chosen = encode(&dense, &options, &chosen);
    let budget = 1500 * 24 * 4 / 10;
    assert!(chosen.bytes() <= budget);
    let mut best = f64::INFINITY;
    for rank in 4..=24usize {
        for left in 2..=8usize {
            for right in [2usize, 3, 4, 5, 6, 8] {
                let bytes = 1500 * (rank * left).div_ceil(8) + 24 * (rank * right).div_ceil(8) + 16 * rank;
                // Points far below the budget cannot be the best.
                if bytes > budget || bytes * 5 < budget * 4 {
                    continue;
                }
                let setting = setting(rank, left as u32, right as u32, Variant::Ours);
                best = best.min(encode(&dense, &options, &setting).measured.squared_error);
            }
        }
    }
    assert!(chosen.measured.squared_error <= 1.1 * best, "{} chosen, {best} best", chosen.measured.squared_error);
}

#[test]
fn requests_that_cannot_be_met_name_what_can() {
    let dense = Dense::singles(50, 8, noise);
    let resolve = |target| LowRankFixed.resolve(&dense.table(), &Options::default(), target).unwrap_err().to_string();
    assert!(resolve(DirectTarget::Rank(0)).contains("1 to 8"));
    assert!(resolve(DirectTarget::Rank(9)).contains("found 9"));
    assert!(resolve(DirectTarget::Reduction(0.999)).contains("rank 1"));
    let options = Options { left_bits: Some(9), ..Options::default() };
    let error = LowRankFixed.resolve(&dense.table(), &options, DirectTarget::Rank(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
}

/// What is done to good parts.
type Change<'a> = &'a dyn Fn(&mut Vec<(TensorMeta, Vec<u8>)>, &mut Setting);

#[test]
fn hostile_parts_are_refused() {
    let good = encode(&Dense::singles(30, 10, noise), &Options::default(), &setting(4, 3, 5, Variant::Ours));
    let refused = |change: Change<'_>| {
        let (mut parts, mut setting) = (good.parts.clone(), good.setting.clone());
        change(&mut parts, &mut setting);
        let parts: Vec<_> = parts.iter().map(|(meta, bytes)| Part { meta, bytes }).collect();
        let error = LowRankFixed.decode(&setting, &parts).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    };
    refused(&|parts, _| drop(parts.pop()));
    refused(&|parts, _| parts[0].0.dtype = Dtype::I8);
    refused(&|parts, _| parts[0].0.shape = vec![60]);
    refused(&|parts, _| parts[0].0.shape[0] = usize::MAX);
    refused(&|parts, _| parts[0].1.truncate(9));
    refused(&|parts, _| parts[1].1.truncate(9));
    refused(&|parts, _| parts[1].0.shape = vec![3, 2]);
    refused(&|parts, _| parts[3].1[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    refused(&|parts, _| parts.swap(0, 2));
    refused(&|_, setting| drop(setting.insert("rank".into(), json!(0))));
    refused(&|_, setting| drop(setting.insert("rank".into(), json!(u64::MAX))));
    refused(&|_, setting| drop(setting.insert("rank".into(), json!(5))));
    // Factors without rows, whose codes therefore fit any rank.
    refused(&|parts, setting| {
        let rank = 1usize << 50;
        setting.insert("rank".into(), json!(rank));
        for (factor, bits) in [(0, "left_bits"), (2, "right_bits")] {
            let bits = setting[bits].as_u64().expect("a width") as usize;
            parts[factor].0.shape = vec![0, rank / 8 * bits];
            parts[factor].1.clear();
            parts[factor + 1].0.shape = vec![1, 2];
            parts[factor + 1].1.truncate(8);
        }
    });
    refused(&|_, setting| drop(setting.insert("left_bits".into(), json!(1))));
    refused(&|_, setting| drop(setting.insert("right_bits".into(), json!(9))));
    refused(&|_, setting| drop(setting.insert("variant".into(), json!("best"))));
    refused(&|_, setting| setting.clear());
}

#[test]
fn a_table_with_a_number_that_is_not_finite_is_refused() {
    let dense = Dense::singles(30, 4, |i, j| if (i, j) == (17, 2) { f64::NAN } else { noise(i, j) });
    let demand = setting(2, 4, 4, Variant::Ours);
    let error =
        LowRankFixed.analyze(&dense.table(), &Options::default(), Demand::Only(&demand), &Silent).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert!(error.to_string().contains("row 17, column 2"), "{error}");
}

#[test]
fn rows_decode_alone_as_they_do_together() {
    let dense = Dense::singles(100, 19, noise);
    let encoded = encode(&dense, &Options::default(), &setting(7, 5, 3, Variant::Ours));
    encoded.assert_rows_decode_alone(&LowRankFixed);
    let whole = encoded.decode(&LowRankFixed);
    let found = (dense.matrix() - whole).norm() / dense.matrix().norm();
    assert!((found - encoded.measured.relative_frobenius_error()).abs() <= 1e-6);
}

#[test]
fn the_codec_is_found_by_name() {
    assert_eq!(codec::find("low-rank-fixed").unwrap().name(), "low-rank-fixed");
}

/// The relative error that the manifest has of a checkpoint's first table, once the checkpoint went there and back.
fn there_and_back(source: &Path, flags: &[&str]) -> f64 {
    let manifest = round_trip(source, &[&["--method", "low-rank-fixed"], flags].concat());
    assert_eq!(manifest["tables"][0]["method"], "low-rank-fixed");
    manifest["tables"][0]["errors"]["relative_frobenius"].as_f64().unwrap()
}

#[test]
fn checkpoints_are_compressed_verified_and_restored() {
    for name in ["bert-encoder", "gpt2-f16", "llama-bf16-sharded"] {
        let source = crate::support::fixture(name);
        there_and_back(&source, &["--reduction", "0.8"]);
        there_and_back(&source, &["--rank", "4", "--variant", "lplr", "--seed", "3"]);
    }
    let source = crate::support::fixture("bert-encoder");
    there_and_back(&source, &["--max-error", "0.5"]);
    there_and_back(&source, &["--target-size", "60%"]);
}

#[test]
fn real_minilm_nine_tenths_go_at_less_error_than_plain_low_rank() {
    let error = there_and_back(&minilm(), &["--reduction", "0.9"]);
    // Plain low rank has 0.8276 at this reduction; the best 4-bit pair of an earlier trial 0.288.
    assert!(error <= 0.288, "{error}");
}
