//! The factorization against an independent singular value decomposition, and its properties.

use std::sync::Mutex;

use crate::support::encoded::noise;
use nalgebra::DMatrix;
use proptest::prelude::*;
use rankfold::ErrorKind;
use rankfold::codec::{Measured, Split};
use rankfold::linalg::{self, Factor, Pair, Products, Values};
use rankfold::observe::{Observer, Silent};
use rankfold::tensor::{Dtype, MappedRows, Precision, Rows};

/// A table in memory, as a checkpoint would map it.
struct Table {
    bytes: Vec<u8>,
    dtype: Dtype,
    rows: usize,
    columns: usize,
}

impl Table {
    fn singles(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Table {
        let bytes = entries(rows, columns).flat_map(|(i, j)| (value(i, j) as f32).to_le_bytes()).collect();
        Table { bytes, dtype: Dtype::F32, rows, columns }
    }

    fn doubles(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Table {
        let bytes = entries(rows, columns).flat_map(|(i, j)| value(i, j).to_le_bytes()).collect();
        Table { bytes, dtype: Dtype::F64, rows, columns }
    }

    fn rows(&self) -> MappedRows<'_> {
        MappedRows::new(&self.bytes, self.dtype, self.rows, self.columns).unwrap()
    }

    fn dense(&self) -> DMatrix<f64> {
        let mut values = vec![0.0; self.rows * self.columns];
        self.rows().read_f64(0..self.rows, &mut values).unwrap();
        DMatrix::from_row_slice(self.rows, self.columns, &values)
    }
}

fn entries(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
}

/// Columns that decay, and a common mean.
fn realistic(i: usize, j: usize) -> f64 {
    noise(i, j) / (1.0 + j as f64).sqrt() + 0.3 * noise(usize::MAX, j)
}

/// Factors as stored, in doubles, and what was measured.
struct Stored {
    left: DMatrix<f64>,
    right: DMatrix<f64>,
    measured: Measured,
}

/// Encodes without rounding beyond the arithmetic's.
fn encode(table: &Table, rank: usize, split: Split, stored: Precision) -> Stored {
    encode_by(Products::default(), table, rank, split, stored)
}

fn encode_by(products: Products, table: &Table, rank: usize, split: Split, stored: Precision) -> Stored {
    let rows = table.rows();
    let factorization = linalg::factorize(&rows, Some(rank), products, &Silent).unwrap();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let round = |values: Values<'_>, bytes: &mut Vec<u8>| {
        match values {
            Values::Single(values) => values.iter().for_each(|&x| bytes.extend(f64::from(x).to_le_bytes())),
            Values::Double(values) => values.iter_mut().for_each(|x| {
                if stored == Precision::Single {
                    *x = f64::from(*x as f32);
                }
                bytes.extend(x.to_le_bytes());
            }),
        }
        Ok(())
    };
    let mut sink = |factor, bytes: &[u8]| {
        let values = bytes.as_chunks().0.iter().map(|&value| f64::from_le_bytes(value));
        match factor {
            Factor::Left => left.extend(values),
            Factor::Right => right.extend(values),
        }
        Ok(())
    };
    let measured = factorization.encode(&rows, &Pair { rank, split, stored }, &round, &mut sink, &Silent).unwrap();
    Stored {
        left: DMatrix::from_row_slice(table.rows, rank, &left),
        right: DMatrix::from_row_slice(table.columns, rank, &right).transpose(),
        measured,
    }
}

/// Squared singular values by nalgebra, descending.
fn energies(table: &Table) -> Vec<f64> {
    let mut values: Vec<f64> = table.dense().singular_values().iter().map(|value| value * value).collect();
    values.sort_by(|x, y| y.total_cmp(x));
    values
}

const SHAPES: [(usize, usize); 18] = [
    (1, 1),
    (1, 7),
    (7, 1),
    (2, 2),
    (2, 50),
    (50, 2),
    (8, 48),
    (48, 8),
    (49, 47),
    (97, 96),
    (256, 48),
    (257, 49),
    (300, 140),
    (140, 300),
    (1025, 33),
    (2100, 100),
    (3001, 49),
    (61, 2500),
];

/// All that this machine has.
fn products() -> impl Iterator<Item = Products> {
    let unit = Some(Products::Bf16x2).filter(|&products| products == Products::default());
    [Products::Single, Products::Int16].into_iter().chain(unit)
}

#[test]
fn products_of_singles_find_factors_within_a_millionth_of_the_optimum() {
    for (rows, columns, rank) in [(2100, 100, 10), (2049, 33, 5), (5000, 97, 40), (61, 2500, 7), (130, 2100, 60)] {
        // What rank leaves, as a share of the norm, from much to less than singles can tell.
        for rest in [0.5, 0.05, 0.02, 0.01, 0.001] {
            let table = Table::singles(rows, columns, |i, j| {
                let leading: f64 = (0..rank).map(|r| noise(i, 3 * r + 1000) * noise(5 * r + 7, j)).sum();
                leading / (rank as f64).sqrt() * 1.7 + rest * noise(i, j)
            });
            let optimum = energies(&table)[rank..].iter().sum::<f64>().sqrt();
            for products in products() {
                let stored = encode_by(products, &table, rank, Split::Balanced, Precision::Single);
                let error = (table.dense() - &stored.left * &stored.right).norm();
                let excess = error / optimum - 1.0;
                assert!(excess <= 1e-6, "{products:?}, {rows} x {columns}, rest {rest}: {excess:e}");
                let measured = stored.measured.squared_error.sqrt();
                assert!((measured / error - 1.0).abs() <= 1e-6, "{products:?}, {rows} x {columns}, rest {rest}");
            }
        }
    }
}

#[test]
fn products_find_the_optimum_of_tables_of_few_values_of_unlike_scales_and_with_large_rows() {
    type Entry = fn(usize, usize) -> f64;
    let falling: Entry = |i, j| noise(i, j) * (1.0 + j as f64).powf(-0.35);
    let tables: [(&str, Entry); 8] = [
        ("three values a column", |i, j| {
            [0.0, 1.0, 0.37][(noise(i, j).abs() * 1e6) as usize % 3] * (1.0 + (j % 7) as f64)
        }),
        ("equal rows", |i, j| noise(i % 90, j)),
        ("a large row", |i, j| noise(i, j) * if i == 777 { 1e4 } else { 1.0 }),
        ("a row that is larger", |i, j| noise(i, j) * if i == 777 { 100.0 } else { 1.0 }),
        ("rows that are larger", |i, j| noise(i, j) * if i < 128 { 40.0 } else { 1.0 }),
        ("columns of unlike scales", |i, j| noise(i, j) * 10f64.powi(-(j as i32 % 12))),
        ("a mean", |i, j| noise(i, j) + 300.0),
        ("columns without numbers", |i, j| if j % 3 == 0 { 0.0 } else { noise(i, j) }),
    ];
    for (name, entry) in tables.into_iter().chain([("falling", falling)]) {
        let table = Table::singles(2500, 96, entry);
        let energies = energies(&table);
        for rank in [1, 9, 40] {
            let optimum = energies[rank..].iter().sum::<f64>().sqrt();
            for products in products() {
                let stored = encode_by(products, &table, rank, Split::Balanced, Precision::Single);
                let excess = (table.dense() - &stored.left * &stored.right).norm() / optimum - 1.0;
                // What storing singles costs, of the norm.
                let floor = 2e-7 * energies.iter().sum::<f64>().sqrt() / optimum;
                assert!(excess <= 1e-6 + floor * floor, "{name}, {products:?}, rank {rank}: {excess:e}");
            }
        }
    }
}

#[test]
fn whole_numbers_are_multiplied_again_as_singles_or_doubles_where_too_little_is_dropped() {
    let table = Table::singles(2500, 96, |i, j| noise(i, 1) * noise(2, j) + 0.006 * noise(i, j));
    let used = |rank: usize| {
        let pair = Pair { rank, split: Split::Balanced, stored: Precision::Single };
        linalg::factorize(&table.rows(), Some(rank), Products::Int16, &Silent).unwrap().products(&pair)
    };
    assert_eq!((used(1), used(80)), (Some(Products::Single), None));
    let table = Table::singles(2500, 96, noise);
    let pair = Pair { rank: 9, split: Split::Balanced, stored: Precision::Single };
    let found = linalg::factorize(&table.rows(), Some(9), Products::Int16, &Silent).unwrap();
    assert_eq!(found.products(&pair), Some(Products::Int16));
}

#[test]
fn products_that_the_machine_does_not_have_are_refused() {
    let table = Table::singles(2100, 10, noise);
    let found = linalg::factorize(&table.rows(), None, Products::Bf16x2, &Silent);
    match Products::default() {
        Products::Bf16x2 => assert!(found.is_ok()),
        _ => assert_eq!(found.err().unwrap().kind(), ErrorKind::Request),
    }
}

#[test]
fn singular_values_agree_with_an_independent_decomposition() {
    for (rows, columns) in SHAPES {
        for table in [Table::singles(rows, columns, realistic), Table::doubles(rows, columns, realistic)] {
            let spectrum = linalg::spectrum(&table.rows(), &Silent).unwrap();
            let expected = energies(&table);
            let tolerance = if table.dtype == Dtype::F64 { 1e-14 * columns.max(rows) as f64 } else { 1e-7 };
            assert_eq!(spectrum.energies.len(), rows.min(columns));
            for (found, expected_energy) in spectrum.energies.iter().zip(&expected) {
                let gap = (found - expected_energy).abs();
                assert!(gap <= tolerance * expected[0], "{rows} x {columns}: {found} for {expected_energy}");
            }
        }
    }
}

#[test]
fn the_pair_reaches_the_best_possible_error_at_every_shape_rank_and_split() {
    for (rows, columns) in SHAPES {
        for table in [Table::singles(rows, columns, realistic), Table::doubles(rows, columns, realistic)] {
            let energies = energies(&table);
            let total: f64 = energies.iter().sum();
            let exact = table.dtype == Dtype::F64;
            for rank in [1, energies.len().div_ceil(2), energies.len()] {
                let best: f64 = energies[rank..].iter().rev().sum();
                for split in [Split::Balanced, Split::Left, Split::Right] {
                    let stored = if exact { Precision::Double } else { Precision::Single };
                    let stored = encode(&table, rank, split, stored);
                    let error = (table.dense() - &stored.left * &stored.right).norm_squared();
                    // What storing the factors costs, relative to the table.
                    let floor = if exact { 1e-14 } else { 1e-6 };
                    let bound = best.sqrt() * (1.0 + 1e-6) + floor * total.sqrt();
                    assert!(error.sqrt() <= bound, "{rows} x {columns}, rank {rank}: {error} for {best}");
                }
            }
        }
    }
}

#[test]
fn the_error_measured_is_the_error_of_the_factors_as_stored() {
    for (rows, columns) in SHAPES {
        let table = Table::singles(rows, columns, realistic);
        for rank in [1, rows.min(columns)] {
            let stored = encode(&table, rank, Split::Balanced, Precision::Single);
            let residual = table.dense() - &stored.left * &stored.right;
            let norm = table.dense().norm();
            assert!((stored.measured.squared_norm.sqrt() - norm).abs() <= 1e-12 * norm);
            assert!(
                (stored.measured.squared_error.sqrt() - residual.norm()).abs() <= 1e-7 * norm,
                "{rows} x {columns}"
            );
            assert!((stored.measured.max_absolute_error - residual.amax()).abs() <= 1e-6 * table.dense().amax());
        }
    }
}

#[test]
fn measuring_stored_factors_again_gives_the_error_that_encoding_measured() {
    let table = Table::singles(700, 60, realistic);
    let stored = encode(&table, 20, Split::Balanced, Precision::Single);
    let left = Table::singles(700, 20, |i, j| stored.left[(i, j)]);
    let right = Table::singles(60, 20, |i, j| stored.right[(j, i)]);
    let again = linalg::measure(&table.rows(), &left.rows(), &right.rows(), &Silent).unwrap();
    let close = |x: f64, y: f64| (x - y).abs() <= 1e-6 * x.abs();
    assert!(close(again.squared_error, stored.measured.squared_error), "{again:?} {:?}", stored.measured);
    assert!(close(again.squared_norm, stored.measured.squared_norm));
    assert!(close(again.max_absolute_error, stored.measured.max_absolute_error));
}

#[test]
fn measuring_refuses_factors_that_do_not_fit() {
    let table = Table::singles(5, 4, realistic);
    let (left, right) = (Table::singles(5, 2, realistic), Table::singles(3, 2, realistic));
    let error = linalg::measure(&table.rows(), &left.rows(), &right.rows(), &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn the_split_puts_the_singular_values_where_it_says() {
    for (rows, columns) in [(200, 30), (30, 200)] {
        let table = Table::doubles(rows, columns, noise);
        let sigmas: Vec<f64> = energies(&table).iter().map(|energy| energy.sqrt()).collect();
        for (split, power) in [(Split::Balanced, 0.5), (Split::Left, 1.0), (Split::Right, 0.0)] {
            let stored = encode(&table, 10, split, Precision::Double);
            for (j, sigma) in sigmas.iter().enumerate().take(10) {
                let (left, right) = (stored.left.column(j).norm(), stored.right.row(j).norm());
                assert!((left / sigma.powf(power) - 1.0).abs() < 1e-9, "{split:?}: {left}");
                assert!((right / sigma.powf(1.0 - power) - 1.0).abs() < 1e-9, "{split:?}: {right}");
            }
        }
    }
}

#[test]
fn the_largest_entry_of_every_right_singular_vector_is_positive() {
    for (rows, columns) in [(90, 40), (40, 90)] {
        let stored = encode(&Table::singles(rows, columns, realistic), 20, Split::Balanced, Precision::Single);
        for row in stored.right.row_iter() {
            assert!(row.max() >= -row.min());
        }
    }
}

#[test]
fn a_table_of_zeros_has_no_energy_and_no_error() {
    for (rows, columns) in [(1, 1), (30, 5), (5, 30)] {
        let table = Table::singles(rows, columns, |_, _| 0.0);
        let spectrum = linalg::spectrum(&table.rows(), &Silent).unwrap();
        assert_eq!(spectrum.squared_norm, 0.0);
        assert_eq!((spectrum.retained_energy(1), spectrum.relative_frobenius_error(0)), (1.0, 0.0));
        for split in [Split::Balanced, Split::Left, Split::Right] {
            let stored = encode(&table, 1, split, Precision::Single);
            assert_eq!(stored.measured.squared_error, 0.0);
            assert!(stored.left.iter().chain(stored.right.iter()).all(|x| x.is_finite()));
        }
    }
}

#[test]
fn a_rank_deficient_table_is_recovered_at_its_rank() {
    for (rows, columns) in [(400, 60), (60, 400)] {
        let table = Table::singles(rows, columns, |i, j| (0..3).map(|t| noise(i, t) * noise(t + 9, j)).sum());
        for split in [Split::Balanced, Split::Left, Split::Right] {
            for rank in [3, 20, 60] {
                let stored = encode(&table, rank, split, Precision::Single);
                assert!(stored.measured.relative_frobenius_error() < 5e-7, "{:?}", stored.measured);
            }
        }
    }
}

#[test]
fn a_mean_a_thousand_times_the_rest_costs_no_accuracy() {
    let table = Table::singles(3000, 64, |i, j| noise(i, j) / (1.0 + j as f64) + 1000.0 * noise(usize::MAX, j));
    let energies = energies(&table);
    let best: f64 = energies[20..].iter().rev().sum();
    let stored = encode(&table, 20, Split::Left, Precision::Double);
    assert!((stored.measured.squared_error / best).sqrt() - 1.0 < 1e-6);
}

#[test]
fn tables_of_fast_decay_reach_the_optimum_on_both_sides_of_the_switch_to_doubles() {
    let table =
        Table::singles(2500, 48, |i, j| (0..48).map(|t| noise(i, t) * noise(t + 99, j) * 0.8f64.powi(t as i32)).sum());
    let energies = energies(&table);
    let total: f64 = energies.iter().sum();
    for rank in [5, 10, 15, 20, 25, 30, 40] {
        let best: f64 = energies[rank..].iter().rev().sum();
        let stored = encode(&table, rank, Split::Balanced, Precision::Single);
        let error = (table.dense() - &stored.left * &stored.right).norm_squared();
        let excess = (error / best).sqrt() - 1.0;
        // Factors of singles cannot do better than their own rounding.
        let floor = 4e-14 / (best / total);
        assert!(excess < 1e-6 + floor, "rank {rank}: {excess:e} at {:e}", (best / total).sqrt());
        assert!((stored.measured.squared_error / error - 1.0).abs() < 1e-6, "rank {rank}");
    }
}

#[test]
fn the_scale_of_the_table_changes_nothing_but_the_scale() {
    let relative = |scale: f64| {
        let stored =
            encode(&Table::singles(300, 40, |i, j| scale * realistic(i, j)), 15, Split::Balanced, Precision::Single);
        assert!(stored.measured.squared_norm > 0.0);
        stored.measured.relative_frobenius_error()
    };
    let expected = relative(1.0);
    for scale in [1e-30, 1e-20, 1e18, 1e30, 1e38] {
        assert!((relative(scale) / expected - 1.0).abs() < 1e-6, "{scale}");
    }
    // Subnormal numbers have fewer digits to begin with.
    assert!((relative(1e-42) / expected - 1.0).abs() < 1e-2);
    let doubles = |scale: f64| {
        let table = Table::doubles(300, 40, |i, j| scale * realistic(i, j));
        encode(&table, 15, Split::Balanced, Precision::Double).measured.relative_frobenius_error()
    };
    for scale in [1e-140, 1e140] {
        assert!((doubles(scale) / doubles(1.0) - 1.0).abs() < 1e-9, "{scale}");
    }
}

#[test]
fn a_norm_beyond_the_range_of_doubles_is_refused() {
    for scale in [1e-200, 1e200] {
        let table = Table::doubles(20, 4, |i, j| scale * (1.0 + noise(i, j)));
        assert_eq!(linalg::spectrum(&table.rows(), &Silent).unwrap_err().kind(), ErrorKind::NonFinite);
    }
}

#[test]
fn rows_far_larger_than_the_sampled_ones_are_not_lost() {
    // One row in many, which the sample of the scale does not see.
    let table = Table::singles(9000, 12, |i, j| noise(i, j) * if i == 4321 { 1e25 } else { 1e-5 });
    let spectrum = linalg::spectrum(&table.rows(), &Silent).unwrap();
    let expected = table.dense().row(4321).norm_squared();
    assert!((spectrum.squared_norm / expected - 1.0).abs() < 1e-6);
}

#[test]
fn a_weight_that_is_not_finite_is_refused_with_its_place() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (rows, columns) in [(3000, 5), (5, 3000), (1, 5), (4, 4)] {
            let (row, column) = (rows - 1, columns - 2);
            for make in [Table::singles, Table::doubles] as [fn(usize, usize, fn(usize, usize) -> f64) -> Table; 2] {
                let mut table = make(rows, columns, realistic);
                let width = table.dtype.bytes();
                for at in [row * columns + column, row * columns + column + 1] {
                    let place = &mut table.bytes[at * width..(at + 1) * width];
                    match width {
                        4 => place.copy_from_slice(&(bad as f32).to_le_bytes()),
                        _ => place.copy_from_slice(&bad.to_le_bytes()),
                    }
                }
                let error = linalg::spectrum(&table.rows(), &Silent).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NonFinite);
                assert!(error.to_string().contains(&format!("row {row}, column {column} ")), "{error}");
            }
        }
    }
}

#[test]
fn a_table_without_entries_is_refused() {
    for (rows, columns) in [(0, 0), (0, 3), (3, 0)] {
        let table = Table::singles(rows, columns, noise);
        assert_eq!(linalg::spectrum(&table.rows(), &Silent).unwrap_err().kind(), ErrorKind::Request);
        assert_eq!(
            linalg::factorize(&table.rows(), None, Products::default(), &Silent).err().unwrap().kind(),
            ErrorKind::Request
        );
    }
}

#[test]
fn a_rank_that_was_not_prepared_is_refused() {
    let table = Table::singles(20, 10, noise);
    let factorization = linalg::factorize(&table.rows(), Some(4), Products::default(), &Silent).unwrap();
    for rank in [0, 5] {
        let pair = Pair { rank, split: Split::Balanced, stored: Precision::Single };
        let error =
            factorization.encode(&table.rows(), &pair, &|_, _| Ok(()), &mut |_, _| Ok(()), &Silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
    }
}

/// Counts, and asks to stop once told so.
#[derive(Default)]
struct Watch {
    units: Mutex<u64>,
    stop: bool,
}

impl Observer for Watch {
    fn advance(&self, units: u64) {
        *self.units.lock().unwrap() += units;
    }

    fn is_cancelled(&self) -> bool {
        self.stop
    }
}

#[test]
fn a_wish_to_stop_is_heard() {
    let table = Table::singles(20, 10, noise);
    let watch = Watch { stop: true, ..Watch::default() };
    assert_eq!(linalg::spectrum(&table.rows(), &watch).unwrap_err().kind(), ErrorKind::Interrupted);
}

#[test]
fn every_entry_is_reported_once_a_pass() {
    let table = Table::singles(2500, 10, noise);
    let watch = Watch::default();
    let factorization = linalg::factorize(&table.rows(), Some(4), Products::default(), &watch).unwrap();
    assert_eq!(*watch.units.lock().unwrap(), 25_000);
    let pair = Pair { rank: 4, split: Split::Balanced, stored: Precision::Single };
    factorization.encode(&table.rows(), &pair, &|_, _| Ok(()), &mut |_, _| Ok(()), &watch).unwrap();
    assert_eq!(*watch.units.lock().unwrap(), 50_000);
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for (rows, columns, rank) in [(3000, 200, 70), (150, 400, 40), (1500, 1100, 300)] {
        let table = Table::singles(rows, columns, realistic);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let stored = pool.install(|| encode(&table, rank, Split::Balanced, Precision::Single));
            (stored.left, stored.right, stored.measured)
        };
        let one = run(1);
        assert!(run(2) == one && run(3) == one, "{rows} x {columns}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn energies_descend_sum_to_the_norm_and_tails_shrink(rows in 1usize..80, columns in 1usize..80, seed in 0usize..1000) {
        let table = Table::singles(rows, columns, |i, j| realistic(i + seed, j));
        let spectrum = linalg::spectrum(&table.rows(), &Silent).unwrap();
        prop_assert!(spectrum.energies.is_sorted_by(|x, y| x >= y));
        prop_assert!(spectrum.energies.iter().all(|energy| *energy >= 0.0));
        let total: f64 = spectrum.energies.iter().sum();
        prop_assert!((total - spectrum.squared_norm).abs() <= 1e-6 * spectrum.squared_norm);
        let errors = spectrum.squared_errors();
        prop_assert!(errors.is_sorted_by(|x, y| x >= y));
        for (rank, error) in errors.iter().enumerate() {
            prop_assert_eq!(*error, spectrum.squared_error(rank));
            prop_assert!((0.0..=1.0).contains(&spectrum.retained_energy(rank)));
        }
        prop_assert_eq!(errors.last(), Some(&0.0));
    }

    #[test]
    fn values_and_vectors_come_with_the_same_spectrum(rows in 1usize..60, columns in 1usize..60, seed in 0usize..1000) {
        let table = Table::singles(rows, columns, |i, j| noise(i + seed, j));
        let alone = linalg::spectrum(&table.rows(), &Silent).unwrap();
        let factorization = linalg::factorize(&table.rows(), None, Products::default(), &Silent).unwrap();
        let with_vectors = factorization.spectrum();
        for (x, y) in alone.energies.iter().zip(&with_vectors.energies) {
            prop_assert!((x - y).abs() <= 1e-12 * alone.energies[0]);
        }
    }
}
