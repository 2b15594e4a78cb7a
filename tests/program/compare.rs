//! The measures of a comparison against slow references, and the command from outside.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::support::{fixture, minilm, rankfold};
use nalgebra::DMatrix;
use rankfold::Result;
use rankfold::checkpoint::Checkpoint;
use rankfold::codec::{self, CODECS, Demand, Options, RowWeights, Table};
use rankfold::compare::{Budget, Encoded, Request, compare_table, quality, row_error_bins};
use rankfold::linalg::{self, Spectrum};
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, Precision, Rows};
use serde_json::Value;

/// A table in memory.
struct Dense {
    values: Vec<f64>,
    columns: usize,
    precision: Precision,
}

impl Dense {
    fn new(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        let values = (0..rows * columns).map(|at| value(at / columns, at % columns)).collect();
        Dense { values, columns, precision: Precision::Double }
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    fn matrix(&self) -> DMatrix<f64> {
        DMatrix::from_row_slice(self.values.len() / self.columns, self.columns, &self.values)
    }

    /// As singles.
    fn rounded(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value = f64::from(*value as f32));
        self.precision = Precision::Single;
        self
    }
}

impl Rows for Dense {
    fn shape(&self) -> (usize, usize) {
        (self.values.len() / self.columns, self.columns)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let values = &self.values[rows.start * self.columns..rows.end * self.columns];
        out.iter_mut().zip(values).for_each(|(out, value)| *out = *value as f32);
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        out.copy_from_slice(&self.values[rows.start * self.columns..rows.end * self.columns]);
        Ok(())
    }
}

/// A number in (-1, 1) that looks random and depends on nothing but its place.
fn noise(row: usize, column: usize, seed: u64) -> f64 {
    let mut state = (row as u64) << 32 | column as u64;
    for round in 0..3 {
        state = (state ^ seed.wrapping_add(round)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 29;
    }
    (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn random(rows: usize, columns: usize, seed: u64) -> Dense {
    Dense::new(rows, columns, |i, j| noise(i, j, seed) / (1.0 + j as f64))
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(x, y)| x * y).sum()
}

fn cosine(one: &[f64], other: &[f64]) -> f64 {
    let norms = (dot(one, one) * dot(other, other)).sqrt();
    if norms == 0.0 { 0.0 } else { dot(one, other) / norms }
}

#[test]
fn nearest_neighbours_are_those_of_sorting_all_cosines() {
    for (rows, columns) in [(1, 3), (7, 5), (40, 1), (3000, 13)] {
        // Rows of zeros among them.
        let table = Dense::new(rows, columns, |i, j| if i % 50 == 49 { 0.0 } else { noise(i, j, 5) });
        let queries: Vec<usize> = (0..rows).step_by(rows.div_ceil(20)).chain([rows - 1]).collect();
        let found = linalg::nearest(&table, &queries, 10, &Silent).unwrap();
        for (query, found) in queries.iter().zip(found) {
            let mut others: Vec<(f64, usize)> = (0..rows)
                .filter(|row| row != query)
                .map(|row| (cosine(table.row(*query), table.row(row)), row))
                .collect();
            others.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            assert_eq!(found.len(), others.len().min(10), "{rows} x {columns}");
            // Cosines that singles cannot tell apart may change places.
            for (found, expected) in found.iter().zip(&others) {
                let cosine = cosine(table.row(*query), table.row(*found));
                assert!((cosine - expected.0).abs() < 1e-6, "{rows} x {columns}, query {query}");
            }
        }
    }
}

#[test]
fn of_equal_neighbours_the_first_rows_are_taken() {
    let table = Dense::new(5000, 4, |i, j| if i == 2500 { [1.0, 0.0, 0.0, 0.0][j] } else { [2.0, 1.0, 0.0, 0.0][j] });
    let found = linalg::nearest(&table, &[2500, 3], 5, &Silent).unwrap();
    assert_eq!(found, [vec![0, 1, 2, 3, 4], vec![0, 1, 2, 4, 5]]);
}

/// The definition, with the singular vectors themselves.
fn overlap_of(one: &DMatrix<f64>, other: &DMatrix<f64>) -> f64 {
    let left = |matrix: &DMatrix<f64>| {
        let svd = matrix.clone().svd(true, false);
        let rank = svd.singular_values.iter().filter(|value| **value > 1e-9 * svd.singular_values.max()).count();
        svd.u.unwrap().columns(0, rank).into_owned()
    };
    let (one, other) = (left(one), left(other));
    (one.transpose() * &other).norm_squared() / one.ncols().max(other.ncols()) as f64
}

#[test]
fn eigenspace_overlap_is_that_of_the_singular_vectors() {
    for (rows, columns) in [(60, 7), (200, 30), (9, 20)] {
        let one = random(rows, columns, 1);
        let others = [
            random(rows, columns, 1),
            random(rows, columns, 2),
            Dense::new(rows, columns, |i, j| noise(i, j, 1) / (1.0 + j as f64) + 0.05 * noise(i, j, 3)),
            // Half of the rank, and half of the columns.
            Dense::new(rows, columns, |i, j| noise(i, j / 2, 1)),
            random(rows, columns.div_ceil(2), 1),
        ];
        for other in others {
            let expected = overlap_of(&one.matrix(), &other.matrix());
            let found = linalg::eigenspace_overlap(&one, &other, &Silent).unwrap();
            assert!((found - expected).abs() < 1e-8, "{rows} x {columns}: {found} instead of {expected}");
        }
    }
}

#[test]
fn a_table_overlaps_with_itself_wholly_whatever_its_rank() {
    for table in [random(50, 8, 1), Dense::new(50, 8, |i, j| noise(i, j % 3, 1)), Dense::new(50, 8, |_, _| 0.0)] {
        let score = linalg::eigenspace_overlap(&table, &table, &Silent).unwrap();
        assert!((score - 1.0).abs() < 1e-12, "{score}");
    }
    let zeros = Dense::new(50, 8, |_, _| 0.0);
    assert_eq!(linalg::eigenspace_overlap(&random(50, 8, 1), &zeros, &Silent).unwrap(), 0.0);
}

#[test]
fn rounding_to_singles_adds_no_rank_to_the_overlap() {
    let (full, factor, weights) = (random(400, 24, 1).rounded(), random(400, 6, 2), random(6, 24, 3));
    let product = factor.matrix() * weights.matrix();
    let low = Dense::new(400, 24, |i, j| product[(i, j)]).rounded();
    let expected = overlap_of(&full.matrix(), &product);
    let found = linalg::eigenspace_overlap(&full, &low, &Silent).unwrap();
    assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
}

#[test]
fn tables_of_other_shapes_are_refused() {
    let error = linalg::eigenspace_overlap(&random(5, 3, 1), &random(6, 3, 1), &Silent).unwrap_err();
    assert!(error.to_string().contains("expected 5 rows, found 6"), "{error}");
    assert!(quality(&random(5, 3, 1), &random(5, 4, 1), None, &Silent).is_err());
    assert!(quality(&random(5, 3, 1), &random(5, 3, 1), Some(&[1.0; 4]), &Silent).is_err());
}

/// Bisection on the water level.
fn bound_of(energies: &[f64], columns: usize, bits: f64) -> f64 {
    let rate = |level: f64| energies.iter().map(|&energy| (energy / level).log2().max(0.0) / 2.0).sum::<f64>();
    let (mut low, mut high) = (1e-300, energies.iter().copied().fold(0.0, f64::max));
    for _ in 0..4000 {
        let middle = (low * high).sqrt();
        if rate(middle) > bits * columns as f64 { low = middle } else { high = middle }
    }
    let distortion: f64 = energies.iter().map(|energy| energy.min(high)).sum();
    (distortion / energies.iter().sum::<f64>()).sqrt()
}

#[test]
fn the_gaussian_bound_is_that_of_bisecting_the_water_level() {
    for energies in [vec![1.0; 5], vec![9.0, 4.0, 1.0, 0.25], (1..100).map(|i| 1.0 / f64::from(i * i)).collect()] {
        let squared_norm = energies.iter().sum();
        let columns = energies.len();
        let spectrum = Spectrum { energies: energies.clone(), rest: 0.0, squared_norm };
        for bits in [0.01, 0.3, 1.0, 2.5, 8.0] {
            let (found, expected) = (spectrum.gaussian_bound(columns, bits), bound_of(&energies, columns, bits));
            assert!((found / expected - 1.0).abs() < 1e-9, "{columns} at {bits}: {found} instead of {expected}");
        }
        assert_eq!(spectrum.gaussian_bound(columns, 0.0), 1.0);
    }
    let flat = Spectrum { energies: vec![2.0; 4], rest: 0.0, squared_norm: 8.0 };
    assert!((flat.gaussian_bound(4, 3.0) - 0.125).abs() < 1e-15, "2^-R for a white source");
    let zeros = Spectrum { energies: vec![0.0; 4], rest: 0.0, squared_norm: 0.0 };
    assert_eq!(zeros.gaussian_bound(4, 1.0), 0.0);
}

#[test]
fn real_gaussian_bound_of_minilm_is_the_known_one() {
    let checkpoint = Checkpoint::open(&minilm()).unwrap();
    let rows = checkpoint.rows(checkpoint.find("embeddings.word_embeddings.weight").unwrap()).unwrap();
    let spectrum = linalg::spectrum(rows.as_ref(), &Silent).unwrap();
    for (bits, expected) in [(4.0, 0.0523), (3.2, 0.0911), (2.0, 0.209), (1.6, 0.276), (1.0, 0.422)] {
        let found = spectrum.gaussian_bound(384, bits);
        assert!((found - expected).abs() < 0.0005, "{found} at {bits} bits, {expected} expected");
    }
}

#[test]
fn errors_and_cosines_are_those_of_plain_loops() {
    for (rows, columns) in [(1, 1), (99, 3), (250, 17), (6000, 60)] {
        let source = Dense::new(rows, columns, |i, j| if i % 7 == 3 { 0.0 } else { noise(i, j, 1) });
        let decoded =
            Dense::new(rows, columns, |i, j| if i % 14 == 3 { 0.0 } else { noise(i, j, 1) + 0.1 * noise(i, j, 2) });
        let weights: Vec<f64> = (0..rows).map(|i| 1.0 / (i + 1) as f64).collect();
        let found = quality(&source, &decoded, Some(&weights), &Silent).unwrap();
        let (mut sums, mut largest, mut cosines) = ([0.0; 4], 0.0f64, Vec::new());
        for (i, weight) in weights.iter().enumerate() {
            let (x, y) = (source.row(i), decoded.row(i));
            let error: f64 = x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
            sums = [sums[0] + dot(x, x), sums[1] + error, sums[2] + weight * dot(x, x), sums[3] + weight * error];
            largest = x.iter().zip(y).fold(largest, |largest, (x, y)| largest.max((x - y).abs()));
            cosines.push(if dot(x, x) == 0.0 && dot(y, y) == 0.0 { 1.0 } else { cosine(x, y) });
        }
        cosines.sort_by(f64::total_cmp);
        let close = |found: f64, expected: f64| (found - expected).abs() <= 1e-12 * expected.abs().max(1e-3);
        assert!(close(found.relative_frobenius, (sums[1] / sums[0]).sqrt()));
        assert!(close(found.weighted_relative_frobenius.unwrap(), (sums[3] / sums[2]).sqrt()));
        assert_eq!(found.max_absolute, largest);
        assert!(close(found.cosine.mean, cosines.iter().sum::<f64>() / rows as f64));
        assert!(close(found.cosine.least, cosines[0]));
        assert!(close(found.cosine.first_percentile, cosines[rows.div_ceil(100) - 1]));
        assert_eq!(found.row_errors.iter().sum::<u64>(), rows as u64);
        assert_eq!(found.row_errors.len(), row_error_bins().len());
        assert_eq!(found.row_errors[0], (0..rows).filter(|i| i % 14 == 3).count() as u64, "rows without error");
    }
}

/// A table of singles with a falling spectrum, as bytes of a checkpoint would give it.
fn falling(rows: usize, columns: usize) -> Dense {
    random(rows, columns, 11).rounded()
}

#[test]
fn every_codec_is_measured_on_what_it_would_write() {
    let rows = falling(300, 32);
    let table = Table { name: "emb.weight", dtype: Dtype::F32, rows: &rows };
    for codec in CODECS {
        let analysis = codec.analyze(&table, &Options::default(), Demand::Ladder, &Silent).unwrap();
        for index in [0, analysis.points().len() - 1] {
            let encoded = Encoded::new(analysis.as_ref(), &rows, index, &Silent).unwrap();
            let decoded = encoded.decode(*codec).unwrap();
            let found = quality(&rows, decoded.as_ref(), None, &Silent).unwrap();
            let stated = encoded.measured().relative_frobenius_error();
            assert!((found.relative_frobenius - stated).abs() <= 1e-5 * stated + 1e-7, "{} at {index}", codec.name());
        }
        assert!(Encoded::new(analysis.as_ref(), &rows, analysis.points().len(), &Silent).is_err());
    }
}

fn request(budgets: &[Budget]) -> Request {
    Request {
        table: None,
        methods: CODECS.to_vec(),
        options: Options { seed: 1, ..Options::default() },
        budgets: budgets.to_vec(),
        sampled_rows: 50,
    }
}

#[test]
fn every_method_is_at_its_last_point_within_each_size() {
    let rows = falling(300, 32);
    let table = Table { name: "emb.weight", dtype: Dtype::F32, rows: &rows };
    let budgets = [Budget::BitsPerParameter(16.0), Budget::Reduction(0.75), Budget::Size("10%".parse().unwrap())];
    let found = compare_table(&table, &request(&budgets), &Silent).unwrap();
    assert_eq!(found.sizes.iter().map(|size| size.bytes).collect::<Vec<_>>(), [19_200, 9600, 3840]);
    for size in &found.sizes {
        assert_eq!(size.entries.len(), CODECS.len());
        let mut least = f64::INFINITY;
        for (entry, codec) in size.entries.iter().zip(CODECS) {
            let analysis = codec.analyze(&table, &Options::default(), Demand::Ladder, &Silent).unwrap();
            let within = analysis.points().iter().rev().find(|point| point.bytes() <= size.bytes);
            match (&entry.measurement, within) {
                (Some(found), Some(point)) => {
                    assert_eq!((found.bytes, &found.setting), (point.bytes(), &point.setting));
                    assert!(found.bits_per_parameter <= size.bits_per_parameter);
                    assert!((0.0..=1.0).contains(&found.neighbours_kept));
                    least = least.min(found.relative_frobenius_error);
                }
                (None, None) => assert!(entry.absent.is_some()),
                other => panic!("{}: {other:?}", codec.name()),
            }
        }
        let best = size.entries.iter().find(|entry| Some(&entry.method) == size.best.as_ref());
        assert_eq!(best.and_then(|entry| entry.measurement.as_ref()).unwrap().relative_frobenius_error, least);
    }
}

#[test]
fn with_weights_of_rows_both_errors_are_measured_and_the_weighted_one_decides() {
    let rows = falling(300, 24);
    let table = Table { name: "emb.weight", dtype: Dtype::F32, rows: &rows };
    let budgets = [Budget::BitsPerParameter(16.0), Budget::BitsPerParameter(6.0)];
    let mut request = request(&budgets);
    let plain = compare_table(&table, &request, &Silent).unwrap();
    request.options.row_weights = Some(Arc::new(RowWeights::Zipf));
    let weighted = compare_table(&table, &request, &Silent).unwrap();
    assert_eq!((plain.row_weights, weighted.row_weights.as_deref()), (None, Some("zipf")));
    let weights = RowWeights::Zipf.of_rows(300).unwrap();
    for size in &weighted.sizes {
        let found: Vec<_> =
            size.entries.iter().filter_map(|entry| Some((entry, entry.measurement.as_ref()?))).collect();
        let errors = found.iter().map(|(_, one)| one.weighted_relative_frobenius_error.unwrap());
        let least = errors.fold(f64::INFINITY, f64::min);
        for (entry, one) in found {
            if Some(&entry.method) == size.best.as_ref() {
                assert_eq!(one.minimized_error(), least);
            }
            let codec = codec::find(&entry.method).unwrap();
            let demand = Demand::Only(&one.setting);
            let analysis = codec.analyze(&table, &request.options, demand, &Silent).unwrap();
            let encoded = Encoded::new(analysis.as_ref(), &rows, 0, &Silent).unwrap();
            let decoded = encoded.decode(codec).unwrap();
            let expected = quality(&rows, decoded.as_ref(), Some(&weights), &Silent).unwrap();
            assert_eq!(one.weighted_relative_frobenius_error, expected.weighted_relative_frobenius, "{}", codec.name());
        }
    }
}

#[test]
fn weights_stand_in_every_form_of_the_report() {
    let flags = ["--bits-per-parameter", "8", "--methods", "low-rank", "--sample", "40", "--row-weights", "zipf"];
    let run = |form: &[&str]| compare("bert-tied", &[&flags[..], form].concat());
    let document: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let found = &document["sizes"][0]["entries"][0]["measurement"];
    let error = found["weighted_relative_frobenius_error"].as_f64().unwrap();
    assert!(error < found["relative_frobenius_error"].as_f64().unwrap(), "{found}");
    let rounded = format!("{error:.4}");
    assert!(run(&[]).contains(&rounded) && run(&[]).contains("rows have weights (zipf)"));
    assert!(run(&["--markdown"]).contains(&rounded));
    assert!(run(&["--csv"]).contains(&error.to_string()));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page.html");
    run(&["--html", path.to_str().unwrap()]);
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page.matches("<svg ").count(), 4, "one more chart");
    assert!(page.contains(&rounded));
    let plain = compare("bert-tied", &flags[..6]);
    assert!(!plain.lines().any(|line| line.contains("bits/param") && line.contains("weighted")), "{plain}");
}

#[test]
fn options_of_codecs_reach_them() {
    let flags = ["--bits-per-parameter", "8", "--sample", "10", "--methods"];
    let run = |options: &[&str]| {
        let text = compare("bert-tied", &[&flags[..], options, &["--json"]].concat());
        let document: Value = serde_json::from_str(&text).unwrap();
        document["sizes"][0]["entries"][0]["measurement"]["setting"].clone()
    };
    let fixed = run(&["fixed-point", "--affine", "--granularity", "group:16", "--scale-dtype", "f32"]);
    assert_eq!((&fixed["scheme"], &fixed["granularity"]), (&"affine".into(), &"group:16".into()));
    assert_eq!(fixed["scale_dtype"], "F32");
    assert_eq!(run(&["low-rank-fixed", "--variant", "svd"])["variant"], "svd");
}

#[test]
fn a_method_without_a_point_within_the_size_is_absent() {
    let rows = falling(300, 32);
    let table = Table { name: "emb.weight", dtype: Dtype::F32, rows: &rows };
    let found = compare_table(&table, &request(&[Budget::Size("1B".parse().unwrap())]), &Silent).unwrap();
    assert_eq!(found.sizes[0].best, None);
    for entry in &found.sizes[0].entries {
        assert!(entry.measurement.is_none());
        assert!(entry.absent.as_ref().unwrap().starts_with("its smallest point takes"), "{entry:?}");
    }
}

#[test]
fn sizes_out_of_range_are_refused() {
    for budget in [0.0, -1.0, f64::NAN, f64::INFINITY, 65.0].map(Budget::BitsPerParameter) {
        assert!(budget.check().is_err(), "{budget}");
    }
    for budget in [0.0, 1.0, f64::NAN].map(Budget::Reduction) {
        assert!(budget.check().is_err(), "{budget}");
    }
}

#[test]
fn a_table_that_is_not_finite_is_named_with_its_row() {
    let rows = Dense::new(30, 4, |i, j| if (i, j) == (20, 2) { f64::NAN } else { noise(i, j, 1) });
    let table = Table { name: "emb.weight", dtype: Dtype::F64, rows: &rows };
    let error = compare_table(&table, &request(&[Budget::Reduction(0.5)]), &Silent).unwrap_err();
    assert!(error.to_string().contains("row 20"), "{error}");
}

/// `rankfold compare` on a fixture; gives standard output.
fn compare(fixture_name: &str, flags: &[&str]) -> String {
    let mut command = rankfold([Path::new("compare"), &fixture(fixture_name)]);
    let output = command.args(flags).assert().code(0).get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

#[test]
fn the_json_document_has_every_measure_of_every_method() {
    let text = compare("bert-tied", &["--json", "--reductions", ".5,.9", "--sample", "40"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["table"]["shape"], serde_json::json!([600, 48]));
    assert_eq!(document["table"]["singular_values"].as_array().unwrap().len(), 48);
    assert_eq!(document["methods"].as_array().unwrap().len(), CODECS.len());
    let sizes = document["sizes"].as_array().unwrap();
    assert_eq!(sizes.len(), 2);
    for size in sizes {
        assert!(size["gaussian_bound"].as_f64().unwrap() > 0.0);
        for entry in size["entries"].as_array().unwrap() {
            let Some(found) = entry.get("measurement") else {
                assert!(entry["absent"].is_string());
                continue;
            };
            for key in [
                "bytes",
                "bits_per_parameter",
                "relative_frobenius_error",
                "max_absolute_error",
                "neighbours_kept",
                "eigenspace_overlap",
                "flops_per_token",
            ] {
                assert!(found[key].is_number(), "{key} of {entry}");
            }
            for key in ["mean", "first_percentile", "least"] {
                assert!(found["cosine"][key].is_number(), "{key} of {entry}");
            }
            for key in ["one_row", "batch"] {
                assert!(found["seconds"][key].as_f64().unwrap() > 0.0, "{key} of {entry}");
            }
            let rows: u64 = found["row_errors"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum();
            assert_eq!(rows, 600);
        }
    }
}

#[test]
fn text_markdown_and_csv_have_a_line_for_each_method_at_each_size() {
    let flags = ["--bits-per-parameter", "8,2", "--sample", "40"];
    let lines = 2 * CODECS.len();
    let text = compare("bert-tied", &flags);
    let is_line =
        |line: &&str| CODECS.iter().any(|codec| line.contains(&format!("bits per parameter  {}", codec.name())));
    assert_eq!(text.lines().filter(is_line).count(), lines, "{text}");
    assert!(text.contains("\nbest\n"));

    let markdown = compare("bert-tied", &[&flags[..], &["--markdown"]].concat());
    let table: Vec<_> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(table.len(), lines + 2);
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(table.iter().all(|line| columns(line) == columns(table[0])), "{markdown}");

    let csv = compare("bert-tied", &[&flags[..], &["--csv"]].concat());
    let rows: Vec<usize> = csv.lines().map(cells).collect();
    assert_eq!(rows.len(), lines + 1);
    assert!(rows.iter().all(|&count| count == rows[0]), "{csv}");
}

/// Cells of a line of comma-separated values, commas in quotes not counted.
fn cells(line: &str) -> usize {
    let outside = line.split('"').step_by(2);
    1 + outside.map(|part| part.matches(',').count()).sum::<usize>()
}

#[test]
fn the_page_is_whole_and_asks_for_nothing_from_the_network() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page.html");
    compare("bert-tied", &["--bits-per-parameter", "8,2", "--sample", "40", "--html", path.to_str().unwrap()]);
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert_eq!(page.matches("<svg ").count(), 3);
    for loads in ["src=", "href=", "@import", "url(", "fetch("] {
        assert!(!page.contains(loads), "{loads}");
    }
    let namespace = "http://www.w3.org/2000/svg";
    assert_eq!(page.matches("http").count(), page.matches(namespace).count() + page.matches("http-equiv").count());
    assert!(page.contains("prefers-color-scheme: dark"));
    for codec in CODECS {
        assert!(page.contains(&format!("<dt>{}</dt>", codec.name())));
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
}

#[test]
fn names_of_tensors_cannot_become_markup() {
    let directory = tempfile::tempdir().unwrap();
    let (model, path) = (directory.path().join("x.safetensors"), directory.path().join("page.html"));
    let bytes: Vec<u8> = (0..64 * 4).flat_map(|i| (noise(i, 0, 1) as f32).to_le_bytes()).collect();
    let name = "<script>alert('&\\\"')</script>.weight";
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[64,4],"data_offsets":[0,{}]}}}}"#, bytes.len());
    std::fs::write(&model, crate::support::files::file_of(&header, &bytes)).unwrap();
    let mut command =
        rankfold([Path::new("compare"), &model, Path::new("--table"), Path::new("*"), Path::new("--html"), &path]);
    command.args(["--bits-per-parameter", "8"]).assert().code(0);
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(page.contains("&lt;script&gt;alert"));
}

#[test]
fn wrong_usage_ends_with_code_2_and_wrong_requests_with_code_1() {
    let source = fixture("bert-tied");
    let run = |flags: &[&str]| {
        let output = rankfold([Path::new("compare"), &source]).args(flags).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for flags in [
        &["--reductions", ".5", "--sizes", "1MB"][..],
        &["--json", "--csv"],
        &["--methods", "no-such"],
        &["--sizes", "many"],
        &["--sample", "-1"],
        &["--sample", "1000000000"],
    ] {
        assert_eq!(run(flags).0, 2, "{flags:?}");
    }
    for flags in [
        &["--reductions", "1.5"][..],
        &["--bits-per-parameter", "0"],
        &["--bits-per-parameter", "NaN"],
        &["--table", "no-such*"],
        &["--html", "."],
        &["--html", "no/such/directory/page.html"],
    ] {
        let (code, message) = run(flags);
        assert_eq!(code, 1, "{flags:?}: {message}");
        assert!(message.starts_with("error: "), "{flags:?}: {message}");
    }
    let (code, message) = run(&["--table", "*embeddings*"]);
    assert_eq!(code, 1);
    assert!(
        message.contains("position_embeddings") && message.contains("hint: pick one with `--table GLOB`"),
        "{message}"
    );
}
