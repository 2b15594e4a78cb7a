//! The transform codec: its error, its bytes, its rows alone, and parts that lie.

use std::path::PathBuf;

use crate::support::encoded::noise;
use proptest::prelude::*;
use rankfold::ErrorKind;
use rankfold::checkpoint::Checkpoint;
use rankfold::codec::{
    Analysis, Codec, Demand, DirectTarget, Measured, Options, Part, PartSink, Point, Setting, Table, Transform, measure,
};
use rankfold::linalg;
use rankfold::observe::Silent;
use rankfold::tensor::{Dtype, MappedRows, Rows, TensorMeta};

/// A table in memory.
struct Dense {
    bytes: Vec<u8>,
    dtype: Dtype,
    shape: (usize, usize),
}

impl Dense {
    fn new(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Dense {
        let entries = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
        let bytes = entries.flat_map(|(i, j)| (value(i, j) as f32).to_le_bytes()).collect();
        Dense { bytes, dtype: Dtype::F32, shape: (rows, columns) }
    }

    fn doubles(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Dense {
        let entries = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
        let bytes = entries.flat_map(|(i, j)| value(i, j).to_le_bytes()).collect();
        Dense { bytes, dtype: Dtype::F64, shape: (rows, columns) }
    }

    fn rows(&self) -> MappedRows<'_> {
        MappedRows::new(&self.bytes, self.dtype, self.shape.0, self.shape.1).unwrap()
    }
}

/// A table as it was stored.
#[derive(Clone)]
struct Stored {
    setting: Setting,
    parts: Vec<(TensorMeta, Vec<u8>)>,
}

impl PartSink for Stored {
    fn write(&mut self, part: usize, bytes: &[u8]) -> rankfold::Result<()> {
        self.parts[part].1.extend_from_slice(bytes);
        Ok(())
    }
}

impl Stored {
    fn decode(&self) -> rankfold::Result<Box<dyn Rows + '_>> {
        let parts: Vec<_> = self.parts.iter().map(|(meta, bytes)| Part { meta, bytes }).collect();
        Transform.decode(&self.setting, &parts)
    }
}

fn analyze(rows: &dyn Rows, dtype: Dtype, demand: Demand<'_>) -> rankfold::Result<Box<dyn Analysis>> {
    let table = Table { name: "emb.weight", dtype, rows };
    Transform.analyze(&table, &Options::default(), demand, &Silent)
}

fn encode(analysis: &dyn Analysis, rows: &dyn Rows, at: usize) -> (Stored, Measured) {
    let point = &analysis.points()[at];
    let parts = point.parts.iter().map(|meta| (meta.clone(), Vec::new())).collect();
    let mut stored = Stored { setting: point.setting.clone(), parts };
    let measured = analysis.encode(rows, at, &mut stored, &Silent).unwrap();
    for (meta, bytes) in &stored.parts {
        assert_eq!(meta.bytes(), Some(bytes.len() as u64), "{}", meta.name);
    }
    (stored, measured)
}

fn relative(point: &Point, analysis: &dyn Analysis) -> f64 {
    (point.squared_error / analysis.squared_norm()).sqrt()
}

/// The last point within so many bits per parameter.
fn point_within(analysis: &dyn Analysis, bits: f64, (rows, columns): (usize, usize)) -> usize {
    let limit = bits * rows as f64 * columns as f64 / 8.0;
    analysis.points().partition_point(|point| point.bytes() as f64 <= limit) - 1
}

/// Nearly normal.
fn normal(i: usize, j: usize) -> f64 {
    (0..12).map(|k| noise(i * 12 + k, j)).sum::<f64>() / 2.0
}

/// The real model's word table.
fn real_table() -> Checkpoint {
    let directory = std::env::var_os("RANKFOLD_MINILM").map(PathBuf::from);
    let directory = directory.expect("RANKFOLD_MINILM is the directory of all-MiniLM-L6-v2; tests/run sets it");
    Checkpoint::open(&directory).expect("the model opens")
}

const WORDS: &str = "embeddings.word_embeddings.weight";

#[test]
fn real_word_table_is_within_the_stated_errors_at_every_size() {
    let checkpoint = real_table();
    let rows = checkpoint.rows(checkpoint.find(WORDS).expect("the word table")).unwrap();
    let analysis = analyze(rows.as_ref(), Dtype::F32, Demand::Ladder).unwrap();
    // The first trial had 0.152 at 3.2 bits and 0.387 at 1.6; half of the way to the bound is 0.1216 and 0.3315.
    for (bits, most) in [(4.0, 0.0725), (3.2, 0.1216), (2.0, 0.258), (1.6, 0.3315), (1.0, 0.489)] {
        let at = point_within(analysis.as_ref(), bits, rows.shape());
        let (stored, measured) = encode(analysis.as_ref(), rows.as_ref(), at);
        let bytes: usize = stored.parts.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes as f64 <= bits * rows.shape().0 as f64 * rows.shape().1 as f64 / 8.0);
        let (found, predicted) =
            (measured.relative_frobenius_error(), relative(&analysis.points()[at], analysis.as_ref()));
        println!("{bits} bits: {found}, predicted {predicted}");
        assert!(found <= most, "{bits} bits: {found}");
        assert!((found / predicted - 1.0).abs() < 0.02, "{bits} bits: {found}, predicted {predicted}");
    }
}

/// Tables whose rows and columns are of many kinds.
fn tables() -> Vec<(&'static str, Dense)> {
    vec![
        ("decaying", Dense::new(700, 24, |i, j| normal(i, j) / (1.0 + j as f64))),
        ("flat", Dense::new(600, 16, normal)),
        ("two kinds of rows", Dense::new(500, 12, |i, j| noise(i, j) * if i % 3 == 0 { 40.0 } else { 0.1 })),
        ("rows of zeros", Dense::new(400, 8, |i, j| if i % 7 == 0 { 0.0 } else { normal(i, j) })),
        ("rank one", Dense::new(300, 9, |i, j| noise(i, 99) * noise(99, j))),
        ("constant", Dense::new(200, 6, |_, _| 0.25)),
        ("one column", Dense::new(900, 1, normal)),
        ("one huge row", Dense::new(800, 8, |i, j| normal(i, j) * if i == 17 { 1e6 } else { 1.0 })),
        ("axes", Dense::new(800, 8, |i, j| if i % 8 == j { 1.0 + noise(i, j) } else { 0.0 })),
        ("tiny numbers", Dense::new(300, 8, |i, j| normal(i, j) * 1e-40)),
        ("huge numbers", Dense::doubles(300, 8, |i, j| normal(i, j) * 1e140)),
        ("doubles", Dense::doubles(300, 8, normal)),
        ("wider than tall", Dense::new(40, 64, normal)),
        ("zeros", Dense::new(64, 8, |_, _| 0.0)),
    ]
}

#[test]
fn every_point_has_the_bytes_and_about_the_error_that_were_predicted() {
    for (name, table) in tables() {
        let rows = table.rows();
        let analysis = analyze(&rows, table.dtype, Demand::Ladder).unwrap();
        let last = analysis.points().len() - 1;
        for at in [0, last / 3, 2 * last / 3, last] {
            let (stored, measured) = encode(analysis.as_ref(), &rows, at);
            let decoded = stored.decode().unwrap();
            assert_eq!(
                measure(&rows, decoded.as_ref(), &Silent).unwrap().squared_error,
                measured.squared_error,
                "{name}"
            );
            let predicted = analysis.points()[at].squared_error;
            // Rounding of singles is all that remains where a table is met exactly.
            let exact = 1e-10 * analysis.squared_norm();
            assert!(measured.squared_error <= 1.2 * predicted + exact, "{name}, point {at}: {predicted}, {measured:?}");
            assert!(measured.squared_error >= 0.8 * predicted - exact, "{name}, point {at}: {predicted}, {measured:?}");
        }
    }
}

#[test]
fn a_sparse_table_is_no_worse_than_scalar_quantizers_of_its_components() {
    // Zeros in most rows of each column, of which a trellis would have to leave its level in every other row.
    let table = Dense::new(4000, 8, |i, j| if i % 8 == j { 1.0 + noise(i, j) } else { 0.0 });
    let rows = table.rows();
    let analysis = analyze(&rows, table.dtype, Demand::Ladder).unwrap();
    let at = analysis.points().partition_point(|point| point.bytes() <= 4000 * 4 + 4000) - 1;
    let (stored, measured) = encode(analysis.as_ref(), &rows, at);
    // Three bits a number: zero and seven levels for numbers that are uniform over two.
    assert!(stored.parts[1].1.iter().all(|&bits| bits <= 4), "{:?}", stored.parts[1].1);
    let uniform = (2.0f64 / 7.0).powi(2) / 12.0 * 500.0 * 8.0;
    assert!(measured.squared_error <= 1.5 * uniform, "{measured:?}, {uniform}");
}

#[test]
fn the_ladder_goes_up_in_bytes_and_down_in_error_and_saves() {
    for (name, table) in tables() {
        let analysis = analyze(&table.rows(), table.dtype, Demand::Ladder).unwrap();
        let points = analysis.points();
        assert!(points.windows(2).all(|pair| pair[0].bytes() < pair[1].bytes()), "{name}");
        assert!(points.windows(2).all(|pair| pair[0].squared_error >= pair[1].squared_error), "{name}");
        assert!(points.iter().all(|point| point.bytes() < table.bytes.len() as u64), "{name}");
    }
}

#[test]
fn one_point_is_found_again_by_its_setting() {
    let (_, table) = tables().swap_remove(0);
    let rows = table.rows();
    let ladder = analyze(&rows, table.dtype, Demand::Ladder).unwrap();
    for at in [0, ladder.points().len() / 2, ladder.points().len() - 1] {
        let only = analyze(&rows, table.dtype, Demand::Only(&ladder.points()[at].setting)).unwrap();
        let (only_point, point) = (&only.points()[0], &ladder.points()[at]);
        assert_eq!((&only_point.setting, &only_point.parts), (&point.setting, &point.parts));
        // Both were tried out; of points between, the ladder only knows what lies around them.
        assert!((only_point.squared_error / point.squared_error - 1.0).abs() < 0.1, "{only_point:?} {point:?}");
        assert_eq!(encode(only.as_ref(), &rows, 0).0.parts, encode(ladder.as_ref(), &rows, at).0.parts);
    }
}

#[test]
fn a_reduction_is_of_bytes_and_met_within_a_byte_a_row() {
    let (_, dense) = tables().swap_remove(0);
    let rows = dense.rows();
    let table = Table { name: "emb.weight", dtype: dense.dtype, rows: &rows };
    for reduction in [0.8, 0.9, 0.95] {
        let setting = Transform.resolve(&table, &Options::default(), DirectTarget::Reduction(reduction)).unwrap();
        let analysis = analyze(&rows, dense.dtype, Demand::Only(&setting)).unwrap();
        let bytes = analysis.points()[0].bytes();
        let limit = ((1.0 - reduction) * dense.bytes.len() as f64).round() as u64;
        // A step is a byte for each row, and the levels and vectors of eight bits.
        assert!(bytes <= limit && bytes + 2 * 700 > limit, "{reduction}: {bytes} of {limit}");
    }
    let rank = Transform.resolve(&table, &Options::default(), DirectTarget::Rank(3));
    assert_eq!(rank.unwrap_err().kind(), ErrorKind::Request);
    let setting = Transform.resolve(&table, &Options::default(), DirectTarget::Reduction(0.9999)).unwrap();
    assert_eq!(analyze(&rows, dense.dtype, Demand::Only(&setting)).err().unwrap().kind(), ErrorKind::Request);
}

#[test]
fn a_table_that_the_basis_alone_exceeds_is_refused() {
    let table = Dense::new(1, 1, |_, _| 3.0);
    assert_eq!(analyze(&table.rows(), table.dtype, Demand::Ladder).err().unwrap().kind(), ErrorKind::Request);
}

#[test]
fn a_weight_that_is_no_number_is_refused() {
    let table = Dense::new(64, 8, |i, j| if (i, j) == (5, 3) { f64::NAN } else { 1.0 });
    assert_eq!(analyze(&table.rows(), table.dtype, Demand::Ladder).err().unwrap().kind(), ErrorKind::NonFinite);
}

#[test]
fn rows_decode_alone_as_they_do_together() {
    for (name, table) in tables() {
        let rows = table.rows();
        let analysis = analyze(&rows, table.dtype, Demand::Ladder).unwrap();
        let (stored, _) = encode(analysis.as_ref(), &rows, analysis.points().len() / 2);
        let decoded = stored.decode().unwrap();
        let (height, width) = decoded.shape();
        let mut whole = vec![0.0f32; height * width];
        decoded.read_f32(0..height, &mut whole).unwrap();
        for row in [0, 7, height / 2, height - 1] {
            let mut alone = vec![0.0f32; width];
            decoded.read_f32(row..row + 1, &mut alone).unwrap();
            assert_eq!(alone, whole[row * width..(row + 1) * width], "{name}, row {row}");
        }
    }
}

#[test]
fn rows_of_zeros_come_back_as_zeros() {
    let (_, table) = tables().swap_remove(3);
    let rows = table.rows();
    let analysis = analyze(&rows, table.dtype, Demand::Ladder).unwrap();
    let (stored, _) = encode(analysis.as_ref(), &rows, analysis.points().len() / 2);
    let mut row = vec![1.0f32; 8];
    stored.decode().unwrap().read_f32(14..15, &mut row).unwrap();
    assert_eq!(row, [0.0; 8]);
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let table = Dense::new(5000, 32, |i, j| normal(i, j) / (1.0 + j as f64).sqrt());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let rows = table.rows();
            let analysis = analyze(&rows, table.dtype, Demand::Ladder).unwrap();
            let at = analysis.points().len() / 2;
            let (stored, measured) = encode(analysis.as_ref(), &rows, at);
            (analysis.points().to_vec(), stored.parts, measured)
        })
    };
    let one = run(1);
    for threads in [2, 5] {
        assert!(one == run(threads), "{threads} threads");
    }
}

#[test]
fn few_components_at_many_bits_approach_truncation() {
    // Four strong components, and the rest too weak for a bit where the bits end.
    let table = Dense::new(3000, 40, |i, j| if j < 4 { normal(i, j) } else { 1e-4 * normal(i, j) });
    let rows = table.rows();
    let analysis = analyze(&rows, table.dtype, Demand::Ladder).unwrap();
    let truncated = linalg::spectrum(&rows, &Silent).unwrap().squared_error(4);
    let at = analysis.points().iter().position(|point| point.bytes() > 3000 * 5).unwrap() - 1;
    let (stored, measured) = encode(analysis.as_ref(), &rows, at);
    assert_eq!(stored.parts[1].1.len(), 4, "four components are kept");
    let over = measured.squared_error - truncated;
    assert!(over > 0.0 && over < 2e-4 * measured.squared_norm, "{measured:?}, truncation {truncated}");
}

/// A good table to spoil.
fn good() -> Stored {
    let (_, table) = tables().swap_remove(1);
    let rows = table.rows();
    let analysis = analyze(&rows, table.dtype, Demand::Ladder).unwrap();
    encode(analysis.as_ref(), &rows, analysis.points().len() / 2).0
}

/// Parts that fit each other, of a table of two columns with three components of a bit each.
fn more_components_than_columns() -> Stored {
    let part = |dtype, shape: &[usize]| {
        let meta = TensorMeta { name: "part".into(), dtype, shape: shape.to_vec() };
        let bytes = vec![0; meta.bytes().unwrap() as usize];
        (meta, bytes)
    };
    let mut bits = part(Dtype::U8, &[3]);
    bits.1.fill(1);
    let codes = part(Dtype::U8, &[5, 1]);
    let levels = part(Dtype::F16, &[3 * 4]);
    let basis = part(Dtype::U8, &[1]);
    let scales = part(Dtype::F32, &[2, 3]);
    let gains = part(Dtype::F64, &[16]);
    let setting = Setting::from_iter([("columns".to_owned(), 2.into())]);
    Stored { setting, parts: vec![codes, bits, levels, basis, scales, gains] }
}

#[test]
fn parts_of_more_components_than_columns_are_refused() {
    let error = more_components_than_columns().decode().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("more components than columns"), "{error}");
}

#[test]
fn parts_that_lie_are_refused() {
    type Spoil = fn(&mut Stored);
    let spoils: &[(&str, Spoil)] = &[
        ("a part is missing", |stored| drop(stored.parts.pop())),
        ("a part too many", |stored| stored.parts.push(stored.parts[0].clone())),
        ("no columns", |stored| drop(stored.setting.remove("columns"))),
        ("more columns", |stored| drop(stored.setting.insert("columns".into(), 17.into()))),
        ("endless columns", |stored| drop(stored.setting.insert("columns".into(), u64::MAX.into()))),
        ("zero columns", |stored| drop(stored.setting.insert("columns".into(), 0.into()))),
        ("codes cut short", |stored| stored.parts[0].1.truncate(100)),
        ("a row fewer in the bytes", |stored| stored.parts[0].0.shape[0] += 1),
        ("wider rows", |stored| stored.parts[0].0.shape[1] += 1),
        ("codes of three dimensions", |stored| stored.parts[0].0.shape.push(1)),
        ("codes of no dimension", |stored| stored.parts[0].0.shape.clear()),
        ("codes of another type", |stored| stored.parts[0].0.dtype = Dtype::I8),
        ("endless rows", |stored| stored.parts[0].0.shape[0] = usize::MAX),
        ("zero bits", |stored| stored.parts[1].1[0] = 0),
        ("nine bits", |stored| stored.parts[1].1[0] = 9),
        ("255 bits", |stored| stored.parts[1].1.fill(255)),
        ("a bit more than the codes have", |stored| stored.parts[1].1[0] += 1),
        ("fewer bits", |stored| stored.parts[1].1.truncate(1)),
        ("levels cut short", |stored| stored.parts[2].1.truncate(6)),
        ("a level that is no number", |stored| stored.parts[2].1[..2].copy_from_slice(&[0xff, 0x7f])),
        ("an infinite level", |stored| stored.parts[2].1[..2].copy_from_slice(&[0x00, 0x7c])),
        ("basis cut short", |stored| stored.parts[3].1.truncate(1)),
        ("a scale that is no number", |stored| stored.parts[4].1[..4].copy_from_slice(&f32::NAN.to_le_bytes())),
        ("scales of another shape", |stored| stored.parts[4].0.shape.reverse()),
        ("an infinite gain", |stored| stored.parts[5].1[..8].copy_from_slice(&f64::INFINITY.to_le_bytes())),
        ("fifteen gains", |stored| stored.parts[5].1.truncate(120)),
    ];
    assert!(good().decode().is_ok());
    for (what, spoil) in spoils {
        let mut stored = good();
        spoil(&mut stored);
        let kind = stored.decode().err().map(|error| error.kind());
        assert!(matches!(kind, Some(ErrorKind::Malformed | ErrorKind::NonFinite)), "{what}: {kind:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_codes_of_the_right_size_decode(seed in any::<u64>()) {
        let mut stored = good();
        for (at, byte) in stored.parts[0].1.iter_mut().enumerate() {
            *byte = (noise(at, seed as usize).to_bits() >> 20) as u8;
        }
        let decoded = stored.decode().unwrap();
        let (height, width) = decoded.shape();
        let mut values = vec![0.0f32; height * width];
        decoded.read_f32(0..height, &mut values).unwrap();
        prop_assert!(values.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn any_small_table_is_met_within_twice_the_predicted_squared_error(
        rows in 300usize..900, columns in 1usize..20, decay in 0.0f64..1.5, skew in 0.0f64..3.0, seed in any::<u32>(),
    ) {
        let seed = seed as usize;
        let table = Dense::new(rows, columns, |i, j| {
            normal(i + seed, j) * (-decay * j as f64).exp() * (skew * noise(i, seed)).exp()
        });
        let source = table.rows();
        let analysis = analyze(&source, table.dtype, Demand::Ladder).unwrap();
        let at = seed % analysis.points().len();
        let (_, measured) = encode(analysis.as_ref(), &source, at);
        prop_assert!(measured.squared_error <= 2.0 * analysis.points()[at].squared_error + 1e-10 * measured.squared_norm);
    }
}
