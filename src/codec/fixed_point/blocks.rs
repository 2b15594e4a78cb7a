//! Blocks of rows over the threads, and what they give in the order of the rows.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "an encoder: every size and place is that of a table in memory or of its own parts"
)]

use std::ops::Range;

use rayon::prelude::*;

use crate::error::Result;
use crate::linalg::check_finite;
use crate::observe::Observer;
use crate::tensor::Rows;

/// Numbers of a block: with its codes it stays in the second level of the cache.
const BLOCK_VALUES: usize = 1 << 15;
/// Blocks in flight, whatever the number of threads.
const BLOCKS_AT_ONCE: usize = 64;
/// The rows of a block are a multiple of this, since zero points may be packed so many rows to a word.
pub(super) const ROW_MULTIPLE: usize = 8;

/// Gives `work` every block of `rows`, as doubles, and `take` what it makes of them, in order. `units` of the
/// observer go to a row.
///
/// # Errors
/// [`NonFinite`](crate::ErrorKind::NonFinite) with the first row and column that is NaN or infinite; what `work` and `take`
/// report.
pub(super) fn stream<T: Send>(
    rows: &dyn Rows,
    units: u64,
    observer: &dyn Observer,
    work: impl Fn(Range<usize>, &[f64]) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let (count, columns) = rows.shape();
    let height = (BLOCK_VALUES / columns.max(1)).next_multiple_of(ROW_MULTIPLE).max(ROW_MULTIPLE);
    let starts: Vec<usize> = (0..count).step_by(height).collect();
    for starts in starts.chunks(BLOCKS_AT_ONCE) {
        observer.check()?;
        let made: Vec<Result<T>> = starts
            .par_iter()
            .map_init(Vec::new, |values: &mut Vec<f64>, &start| {
                let range = start..count.min(start + height);
                values.resize(range.len() * columns, 0.0);
                rows.read_f64(range.clone(), values)?;
                check_finite(range.start, columns, values)?;
                work(range, values)
            })
            .collect();
        for made in made {
            take(made?)?;
        }
        observer.advance((starts.len() * height) as u64 * units);
    }
    Ok(())
}
