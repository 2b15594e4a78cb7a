//! The error of a decoded table against its source.

#![expect(clippy::arithmetic_side_effects, reason = "blocks of a range of rows that stands in memory")]

use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{Measured, check_entries, check_finite};
use crate::observe::Observer;
use crate::tensor::Rows;

/// Values of a block of rows: small enough for the second-level cache, large enough to decode at full speed.
const BLOCK_VALUES: usize = 1 << 17;
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
    let block = (BLOCK_VALUES / columns.max(1)).max(1);
    let starts: Vec<usize> = (0..rows).step_by(block).collect();
    let mut total = Measured::default();
    for starts in starts.chunks(BLOCKS_AT_ONCE) {
        observer.check()?;
        let sums: Vec<Result<Measured>> = starts
            .par_iter()
            .map(|&start| measure_block(source, decoded, weights, start..rows.min(start + block), columns))
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

fn measure_block(
    source: &dyn Rows,
    decoded: &dyn Rows,
    weights: Option<&[f64]>,
    rows: std::ops::Range<usize>,
    columns: usize,
) -> Result<Measured> {
    let mut expected = vec![0.0f64; rows.len() * columns];
    source.read_f64(rows.clone(), &mut expected)?;
    let mut found = vec![0.0f64; expected.len()];
    let first = rows.start;
    decoded.read_f64(rows, &mut found)?;
    let weight = |row: usize| weights.and_then(|weights| weights.get(first + row)).copied();
    Ok(Measured::of_rows(&expected, &found, columns, weight))
}
