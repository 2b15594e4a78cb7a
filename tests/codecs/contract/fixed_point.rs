//! Fixed-point codes against arithmetic that is slow and obvious.

use proptest::prelude::*;
use rankfold::codec::{BITS, Codec, Demand, DirectTarget, FixedPoint, Granularity, Options, Symmetry, Table};
use rankfold::observe::Silent;
use rankfold::tensor::Dtype;
use rankfold::{ErrorKind, Result};

use super::tables::{Dense, Encoded, NAME, decode, encode, noise};

/// The scale, the zero point and the decoded values of one group, number by number.
struct Reference {
    scale: f64,
    zero_point: i64,
    codes: Vec<i64>,
    decoded: Vec<f32>,
}

/// Every half above zero, upwards.
fn halves() -> Vec<f64> {
    (1..0x7c00).map(|bits| half::f16::from_bits(bits).to_f64()).collect()
}

/// The least number of the dtype that is at least `value`.
fn ceiling(value: f64, dtype: Dtype, halves: &[f64]) -> f64 {
    if dtype == Dtype::F16 {
        return halves[halves.partition_point(|&half| half < value)];
    }
    let mut bits = (value as f32).to_bits().saturating_sub(2);
    while f64::from(f32::from_bits(bits)) < value {
        bits += 1;
    }
    f64::from(f32::from_bits(bits))
}

/// To the nearest whole number, ties to even, without the standard library's rounding.
fn nearest_even(value: f64) -> f64 {
    let below = value.floor();
    let above = below + 1.0;
    let even = |whole: f64| whole % 2.0 == 0.0;
    match (value - below).partial_cmp(&(above - value)) {
        Some(std::cmp::Ordering::Less) => below,
        Some(std::cmp::Ordering::Greater) => above,
        _ => {
            if even(below) {
                below
            } else {
                above
            }
        }
    }
}

fn reference(values: &[f64], extent: &[f64], bits: u32, options: &Options, halves: &[f64]) -> Reference {
    let least = -(1i64 << (bits - 1));
    let largest = (1i64 << (bits - 1)) - 1;
    let low = extent.iter().fold(0.0f64, |a, &b| a.min(b));
    let high = extent.iter().fold(0.0f64, |a, &b| a.max(b));
    let affine = options.symmetry == Symmetry::Affine;
    let steps = (largest - least) as f64;
    let exact = if affine { (high - low) / steps } else { 2.0 * high.max(-low) / steps };
    let zeros = low == 0.0 && high == 0.0;
    let scale = if zeros { 1.0 } else { ceiling(exact, options.scale_dtype.unwrap_or(Dtype::F16), halves) };
    let clamp = |value: f64| (value as i64).clamp(least, largest);
    let zero_point = if affine && !zeros { clamp(nearest_even(least as f64 - low / scale)) } else { 0 };
    let codes: Vec<i64> = values.iter().map(|&value| clamp(nearest_even(value / scale) + zero_point as f64)).collect();
    let decoded = codes.iter().map(|&code| ((code - zero_point) as f64 * scale) as f32).collect();
    Reference { scale, zero_point, codes, decoded }
}

fn encoded(dense: &Dense, bits: u32, options: &Options) -> Result<Encoded> {
    let rows = dense.rows();
    let table = Table { name: NAME, dtype: dense.dtype, rows: &rows };
    let setting = FixedPoint.resolve(&table, options, DirectTarget::Bits(bits))?;
    let analysis = FixedPoint.analyze(&table, options, Demand::Only(&setting), &Silent)?;
    encode(analysis.as_ref(), dense, 0)
}

/// The bit at `position` of a little-endian stream.
fn bit(bytes: &[u8], position: usize) -> i64 {
    i64::from(bytes[position / 8] >> (position % 8) & 1)
}

fn field(bytes: &[u8], start: usize, bits: u32) -> i64 {
    (0..bits as usize).map(|at| bit(bytes, start + at) << at).sum()
}

/// Compares scales, zero points, codes and decoded values with the reference, to the last bit.
fn assert_follows_reference(dense: &Dense, bits: u32, options: &Options) {
    let found = match encoded(dense, bits, options) {
        Ok(found) => found,
        // Nothing is saved on a table that small.
        Err(error) if error.kind() == ErrorKind::Request => return,
        Err(error) => panic!("{bits} bits, {options:?}: {error}"),
    };
    let halves = halves();
    let values = dense.values();
    let columns = dense.columns;
    let width = match options.granularity {
        Granularity::Group(width) => width.min(columns),
        _ => columns,
    };
    let groups = columns.div_ceil(width);
    let decoded = decode(&FixedPoint, &found).expect("what was encoded can be decoded");
    let part = |suffix: &str| {
        let at = found.metas.iter().position(|meta| meta.name.ends_with(suffix));
        at.map(|at| (&found.metas[at], found.bytes[at].as_slice()))
    };
    let (code_meta, codes) = part("weight").or_else(|| part("weight_packed")).expect("codes are stored");
    let (_, scales) = part("weight_scale").expect("scales are stored");
    let row_bytes = codes.len() / dense.rows;
    let least = -(1i64 << (bits - 1));
    for row in 0..dense.rows {
        let row_values = &values[row * columns..(row + 1) * columns];
        for (group, own) in row_values.chunks(width).enumerate() {
            let extent = if options.granularity == Granularity::Tensor { &values[..] } else { own };
            let expected = reference(own, extent, bits, options, &halves);
            let slot = if options.granularity == Granularity::Tensor { 0 } else { row * groups + group };
            let scale = match options.scale_dtype {
                Some(Dtype::F32) => f64::from(f32::from_le_bytes(scales[4 * slot..][..4].try_into().unwrap())),
                _ => half::f16::from_le_bytes(scales[2 * slot..][..2].try_into().unwrap()).to_f64(),
            };
            assert_eq!(scale, expected.scale, "scale of row {row}, group {group}");
            if let Some((meta, bytes)) = part("weight_zero_point") {
                let zero_point = match meta.dtype {
                    Dtype::I32 => field(bytes, 32 * (row / 8 * groups + group) + 4 * (row % 8), 4) - 8,
                    Dtype::I16 => i64::from(i16::from_le_bytes(bytes[2 * slot..][..2].try_into().unwrap())),
                    _ => i64::from(bytes[slot] as i8),
                };
                assert_eq!(zero_point, expected.zero_point, "zero point of row {row}, group {group}");
            }
            for (at, &code) in expected.codes.iter().enumerate() {
                let column = group * width + at;
                let stored = field(&codes[row * row_bytes..], column * bits as usize, bits);
                let stored = match code_meta.dtype {
                    Dtype::I8 => i64::from(stored as u8 as i8),
                    _ => stored + least,
                };
                assert_eq!(stored, code, "code in row {row}, column {column}, {bits} bits");
                let decoded = decoded[row * columns + column];
                assert_eq!(decoded.to_bits() & 0x7fff_ffff, expected.decoded[at].to_bits() & 0x7fff_ffff);
                assert!(decoded == expected.decoded[at]);
            }
        }
    }
}

/// Ordinary numbers, ties, zeros, outliers and denormals.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-1.0f32..1.0).prop_map(f64::from),
        2 => (-40i32..40).prop_map(|halves| f64::from(halves) / 2.0),
        2 => Just(0.0),
        1 => (-30000.0f32..30000.0).prop_map(f64::from),
        1 => (-1e-40f32..1e-40).prop_map(f64::from),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let granularity =
        prop_oneof![Just(Granularity::Tensor), Just(Granularity::Row), (1usize..20).prop_map(Granularity::Group)];
    let symmetry = prop_oneof![Just(Symmetry::Symmetric), Just(Symmetry::Affine)];
    let scale = prop_oneof![Just(None), Just(Some(Dtype::F16)), Just(Some(Dtype::F32))];
    (granularity, symmetry, scale).prop_map(|(granularity, symmetry, scale_dtype)| Options {
        granularity,
        symmetry,
        scale_dtype,
        ..Options::default()
    })
}

fn table() -> impl Strategy<Value = Dense> {
    let dtype =
        prop_oneof![5 => Just(Dtype::F32), 1 => Just(Dtype::F16), 1 => Just(Dtype::BF16), 1 => Just(Dtype::F64)];
    (dtype, 1usize..20, 1usize..40).prop_flat_map(|(dtype, rows, columns)| {
        let row = prop_oneof![
            6 => prop::collection::vec(number(), columns),
            1 => Just(vec![0.0; columns]),
            1 => number().prop_map(move |value| vec![value; columns]),
        ];
        prop::collection::vec(row, rows)
            .prop_map(move |values| Dense::new("drawn", dtype, rows, columns, &values.concat()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn codes_are_those_of_the_reference_to_the_last_bit(dense in table(), options in options(), bits in 0usize..8) {
        assert_follows_reference(&dense, BITS[bits], &options);
    }
}

#[test]
fn one_huge_outlier_takes_the_codes_of_those_it_shares_a_scale_with_and_of_no_others() {
    let (rows, columns) = (9, 22);
    let mut values = noise(rows * columns, 4);
    values[4 * columns + 3] = -1e30;
    let dense = Dense::new("outlier", Dtype::F32, rows, columns, &values);
    for symmetry in [Symmetry::Symmetric, Symmetry::Affine] {
        for granularity in [Granularity::Tensor, Granularity::Row, Granularity::Group(8)] {
            let options = Options { granularity, symmetry, scale_dtype: Some(Dtype::F32), ..Options::default() };
            for bits in BITS {
                assert_follows_reference(&dense, bits, &options);
            }
            let found = encoded(&dense, 8, &options).expect("8 bits save bytes");
            let decoded = decode(&FixedPoint, &found).expect("it can be decoded");
            let lost = |at: usize| values[at] != 0.0 && decoded[at] == 0.0;
            let row = 4 * columns..5 * columns;
            let others: Vec<usize> = (0..rows * columns).filter(|at| lost(*at) && *at != row.start + 3).collect();
            match granularity {
                Granularity::Tensor => assert_eq!(others.len(), rows * columns - 1),
                Granularity::Row => assert!(row.clone().all(|at| at == row.start + 3 || others.contains(&at))),
                // The last group of a row is shorter: 22 = 8 + 8 + 6.
                Granularity::Group(_) => assert!(others.iter().filter(|at| row.contains(*at)).count() < 12),
            }
        }
    }
}

#[test]
fn ties_go_to_the_even_multiple_of_the_scale() {
    // The scale is 1: 2 * 127.5 / 255.
    let values = [127.5, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.5];
    let dense = Dense::new("ties", Dtype::F32, 1, 8, &values);
    let found = encoded(&dense, 8, &Options::default()).expect("8 bits save bytes");
    assert_eq!(found.bytes[0].iter().map(|&byte| byte as i8).collect::<Vec<_>>(), [127, 0, 2, 2, 0, -2, -2, 4]);
}

#[test]
fn no_number_of_a_symmetric_table_is_further_than_half_a_step() {
    let dense = Dense::new("noise", Dtype::F32, 50, 40, &noise(2000, 3));
    for bits in BITS {
        let found = encoded(&dense, bits, &Options::default()).expect("the width saves bytes");
        let decoded = decode(&FixedPoint, &found).expect("it can be decoded");
        let scales = found.bytes[1].as_chunks::<2>().0;
        for (row, (exact, decoded)) in dense.values().chunks(40).zip(decoded.chunks(40)).enumerate() {
            let scale = half::f16::from_le_bytes(scales[row]).to_f64();
            for (exact, decoded) in exact.iter().zip(decoded) {
                assert!((exact - f64::from(*decoded)).abs() <= 0.5 * scale * (1.0 + 1e-6), "{bits} bits, row {row}");
            }
        }
    }
}

#[test]
fn the_predicted_error_is_the_measured_one() {
    let dense = Dense::new("noise", Dtype::F32, 3000, 40, &noise(120_000, 3));
    let rows = dense.rows();
    let table = Table { name: NAME, dtype: dense.dtype, rows: &rows };
    let analysis = FixedPoint.analyze(&table, &Options::default(), Demand::Ladder, &Silent).expect("widths save bytes");
    for (at, point) in analysis.points().iter().enumerate() {
        let found = encode(analysis.as_ref(), &dense, at).expect("the point can be encoded").measured.squared_error;
        assert!((point.squared_error - found).abs() <= 1e-12 * found, "{:?}", point.setting);
    }
}

#[test]
fn no_bit_is_wasted_but_the_tail_of_a_row() {
    let dense = Dense::new("noise", Dtype::F32, 16, 21, &noise(16 * 21, 3));
    for bits in BITS {
        let found = encoded(&dense, bits, &Options::default()).expect("the width saves bytes");
        let row = found.bytes[0].len() / 16;
        let whole = if bits == 4 { 4 } else { 1 };
        assert_eq!(row, (21 * bits as usize).div_ceil(8 * whole) * whole, "{bits} bits");
    }
}

#[test]
fn a_scale_beyond_halves_is_refused_by_row_and_fits_singles() {
    let mut values = noise(20 * 64, 3);
    values[7 * 64] = 3e7;
    let dense = Dense::new("large", Dtype::F32, 20, 64, &values);
    let error = encoded(&dense, 8, &Options::default()).expect_err("3e7 / 127.5 is beyond 65504");
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert!(error.to_string().contains("row 7"), "{error}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--scale-dtype f32")));
    let wide = Options { scale_dtype: Some(Dtype::F32), ..Options::default() };
    assert_follows_reference(&dense, 8, &wide);
}

#[test]
fn a_scale_below_halves_becomes_the_least_half() {
    let mut values = vec![0.0; 32];
    values[5] = 1e-30;
    values[6] = -3e-8;
    let dense = Dense::new("small", Dtype::F32, 2, 16, &values);
    assert_follows_reference(&dense, 8, &Options::default());
    let found = encoded(&dense, 8, &Options::default()).expect("8 bits save bytes");
    assert_eq!(found.bytes[1][..2], 1u16.to_le_bytes());
}

#[test]
fn a_level_beyond_singles_is_refused() {
    let mut values = vec![1.0; 4 * 32];
    values[40] = f64::from(f32::MAX);
    let dense = Dense::new("largest", Dtype::F32, 4, 32, &values);
    let options = Options { scale_dtype: Some(Dtype::F32), ..Options::default() };
    let error = encoded(&dense, 8, &options).expect_err("the lowest level is 128 / 127.5 of the largest number");
    assert_eq!(error.kind(), ErrorKind::NonFinite);
}

#[test]
fn a_rank_is_refused_and_a_width_that_is_none_too() {
    let dense = Dense::new("noise", Dtype::F32, 16, 21, &noise(16 * 21, 3));
    let rows = dense.rows();
    let table = Table { name: NAME, dtype: dense.dtype, rows: &rows };
    for target in [DirectTarget::Rank(3), DirectTarget::Bits(9), DirectTarget::Bits(1), DirectTarget::Reduction(0.99)] {
        let error = FixedPoint.resolve(&table, &Options::default(), target).expect_err("it cannot be met");
        assert_eq!(error.kind(), ErrorKind::Request, "{target:?}");
    }
}

#[test]
fn a_reduction_counts_every_part() {
    let dense = Dense::new("noise", Dtype::F32, 100, 40, &noise(4000, 3));
    let rows = dense.rows();
    let table = Table { name: NAME, dtype: dense.dtype, rows: &rows };
    for (reduction, bits) in [(0.45, 16), (0.5, 8), (0.73, 8), (0.74, 7), (0.9, 2)] {
        let setting = FixedPoint.resolve(&table, &Options::default(), DirectTarget::Reduction(reduction));
        let setting = setting.expect("the reduction can be met");
        assert_eq!(setting["bits"], bits, "{reduction}");
    }
}

#[test]
fn conventions_of_compressed_tensors_name_the_parts() {
    let dense = Dense::new("noise", Dtype::F32, 20, 32, &noise(640, 3));
    let names = |bits, symmetry| {
        let options = Options { symmetry, ..Options::default() };
        let found = encoded(&dense, bits, &options).expect("the width saves bytes");
        let describe = |meta: &rankfold::tensor::TensorMeta| {
            format!("{} {} {:?}", meta.name.trim_start_matches("encoder.table."), meta.dtype, meta.shape)
        };
        found.metas.iter().map(describe).collect::<Vec<_>>()
    };
    assert_eq!(names(8, Symmetry::Symmetric), ["weight I8 [20, 32]", "weight_scale F16 [20, 1]"]);
    assert_eq!(
        names(4, Symmetry::Affine),
        [
            "weight_packed I32 [20, 4]",
            "weight_scale F16 [20, 1]",
            "weight_zero_point I32 [3, 1]",
            "weight_shape I64 [2]"
        ]
    );
    // A loader that expects [V, d] fails on one dimension.
    assert_eq!(names(3, Symmetry::Symmetric)[0], "weight U8 [240]");
}
