//! The error of a decoded table against its source.

use rayon::prelude::*;

use super::Measured;
use crate::error::{Error, ErrorKind, Result};
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
    let (rows, columns) = source.shape();
    if decoded.shape() != (rows, columns) {
        let (found_rows, found_columns) = decoded.shape();
        return Err(Error::new(ErrorKind::Malformed, "the decoded table has another shape")
            .expected(format!("[{rows}, {columns}]"))
            .found(format!("[{found_rows}, {found_columns}]")));
    }
    let block = (BLOCK_VALUES / columns.max(1)).max(1);
    let starts: Vec<usize> = (0..rows).step_by(block).collect();
    let mut total = Measured { squared_norm: 0.0, squared_error: 0.0, max_absolute_error: 0.0 };
    for starts in starts.chunks(BLOCKS_AT_ONCE) {
        observer.check()?;
        let sums: Vec<Result<Measured>> = starts
            .par_iter()
            .map(|&start| measure_block(source, decoded, start..rows.min(start + block), columns))
            .collect();
        for sum in sums {
            let sum = sum?;
            total.squared_norm += sum.squared_norm;
            total.squared_error += sum.squared_error;
            total.max_absolute_error = total.max_absolute_error.max(sum.max_absolute_error);
        }
        observer.advance((starts.len() * block) as u64);
    }
    Ok(total)
}

fn measure_block(
    source: &dyn Rows,
    decoded: &dyn Rows,
    rows: std::ops::Range<usize>,
    columns: usize,
) -> Result<Measured> {
    let mut expected = vec![0.0f64; rows.len() * columns];
    source.read_f64(rows.clone(), &mut expected)?;
    let mut found = vec![0.0f64; expected.len()];
    decoded.read_f64(rows, &mut found)?;
    let mut sum = Measured { squared_norm: 0.0, squared_error: 0.0, max_absolute_error: 0.0 };
    for (expected, found) in expected.iter().zip(&found) {
        let difference = expected - found;
        sum.squared_norm += expected * expected;
        sum.squared_error += difference * difference;
        sum.max_absolute_error = sum.max_absolute_error.max(difference.abs());
    }
    Ok(sum)
}
