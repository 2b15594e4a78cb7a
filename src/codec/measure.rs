//! The error of a decoded table against its source.

#![expect(clippy::arithmetic_side_effects, reason = "blocks of a range of rows that stands in memory")]

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{Measured, check_entries, check_finite};
use crate::observe::Observer;
use crate::tensor::{Precision, Rows};

/// Values of a block of rows: small enough for the second-level cache, large enough to decode at full speed.
const BLOCK_VALUES: usize = 1 << 17;
/// Root of the mean square below which singles computed on the way to a decoded number may be subnormal, with few digits.
const SMALL: f64 = 1e-30;
/// Blocks between two looks at the observer; their sums are added in order.
const BLOCKS_AT_ONCE: usize = 64;

/// Compares `decoded` with `source`, row block by row block. The result does not depend on the number of threads.
///
/// # Errors
/// [`ErrorKind::Malformed`] where the shapes differ; whatever reading the rows reports.
pub fn measure(source: &dyn Rows, decoded: &dyn Rows, observer: &dyn Observer) -> Result<Measured> {
    measure_weighted(source, decoded, None, observer)
}

/// [`measure`], with the weighted sums beside where there are weights.
///
/// # Errors
/// Those of [`measure`].
pub fn measure_weighted(
    source: &dyn Rows,
    decoded: &dyn Rows,
    weights: Option<&[f64]>,
    observer: &dyn Observer,
) -> Result<Measured> {
    let (rows, columns) = source.shape();
    if decoded.shape() != (rows, columns) {
        let (found_rows, found_columns) = decoded.shape();
        return Err(Error::new(ErrorKind::Malformed, "the decoded table has another shape")
            .expected(format!("[{rows}, {columns}]"))
            .found(format!("[{found_rows}, {found_columns}]")));
    }
    if [source, decoded].iter().all(|rows| rows.precision() == Precision::Single) {
        let read = |rows: &dyn Rows, range, out: &mut [f32]| rows.read_f32(range, out);
        let measured = measure_in(source, decoded, weights, observer, read)?;
        if measured.squared_norm >= SMALL * SMALL * rows as f64 * columns as f64 {
            return Ok(measured);
        }
    }
    measure_in::<f64>(source, decoded, weights, observer, |rows, range, out| rows.read_f64(range, out))
}

/// [`measure_weighted`] of tables of one shape, as numbers that hold the entries of both.
fn measure_in<T: Copy + Default + Into<f64> + Send>(
    source: &dyn Rows,
    decoded: &dyn Rows,
    weights: Option<&[f64]>,
    observer: &dyn Observer,
    read: impl Fn(&dyn Rows, Range<usize>, &mut [T]) -> Result<()> + Sync,
) -> Result<Measured> {
    let (rows, columns) = source.shape();
    let block = (BLOCK_VALUES / columns.max(1)).max(1);
    let starts: Vec<usize> = (0..rows).step_by(block).collect();
    let mut total = Measured::default();
    for starts in starts.chunks(BLOCKS_AT_ONCE) {
        observer.check()?;
        let sums: Vec<Result<Measured>> = starts
            .par_iter()
            // Fresh memory for every block would cost as much as the decoding.
            .map_init(<(Vec<T>, Vec<T>)>::default, |(expected, found), &start| {
                let range = start..rows.min(start + block);
                expected.resize(range.len() * columns, T::default());
                found.resize(range.len() * columns, T::default());
                read(source, range.clone(), expected)?;
                read(decoded, range, found)?;
                let weight = |row: usize| weights.and_then(|weights| weights.get(start + row)).copied();
                Ok(Measured::of_rows(expected, found, columns, weight))
            })
            .collect();
        for sum in sums {
            total.add(&sum?);
        }
        observer.advance((starts.len() * block) as u64);
    }
    Ok(total)
}

/// The norms of a table, with weights of its rows if there are any; nothing is decoded, so that there is no error.
///
/// # Errors
/// [`ErrorKind::NonFinite`] with the first row and column that holds no finite number, or where the squared norm leaves
/// the range of a double; [`ErrorKind::Request`] for a table without entries.
pub(super) fn norms(rows: &dyn Rows, weights: Option<&[f64]>, observer: &dyn Observer) -> Result<Measured> {
    let (height, columns) = rows.shape();
    check_entries(rows)?;
    let block = (BLOCK_VALUES / columns.max(1)).max(1);
    let starts: Vec<usize> = (0..height).step_by(block).collect();
    let mut total = Measured::default();
    for starts in starts.chunks(BLOCKS_AT_ONCE) {
        observer.check()?;
        let sums: Vec<Result<Measured>> = starts
            .par_iter()
            .map(|&start| {
                let range = start..height.min(start + block);
                let mut values = vec![0.0f64; range.len() * columns];
                rows.read_f64(range, &mut values)?;
                check_finite(start, columns, &values)?;
                let weight = |row: usize| weights.and_then(|weights| weights.get(start + row)).copied();
                Ok(Measured::of_rows(&values, &values, columns, weight))
            })
            .collect();
        for sum in sums {
            total.add(&sum?);
        }
    }
    if !total.squared_norm.is_finite() {
        return Err(Error::new(ErrorKind::NonFinite, "the squared norm of the table leaves the range of a double"));
    }
    Ok(total)
}
