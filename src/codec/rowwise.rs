//! Encoding of rows each for itself: blocks of them on all cores, their errors measured on the way.

#![expect(clippy::arithmetic_side_effects, reason = "an encoder: blocks of a range of rows that stands in memory")]

use std::ops::Range;

use rayon::prelude::*;

use super::Measured;
use crate::error::Result;
use crate::linalg::check_finite;
use crate::observe::Observer;
use crate::tensor::Rows;

/// Numbers of a block.
const BLOCK_VALUES: usize = 1 << 15;
/// Blocks in flight, whatever the number of threads.
const BLOCKS_AT_ONCE: usize = 64;

/// Calls `encode` for blocks of `rows`, gives `sink` the bytes in order, and adds the errors up in that order.
pub(super) fn encode_rows(
    rows: &dyn Rows,
    encode: &(dyn Fn(Range<usize>) -> Result<(Vec<u8>, Measured)> + Sync),
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    observer: &dyn Observer,
) -> Result<Measured> {
    let (count, columns) = rows.shape();
    let height = (BLOCK_VALUES / columns.max(1)).max(1);
    let starts: Vec<usize> = (0..count).step_by(height).collect();
    let mut total = Measured::default();
    for starts in starts.chunks(BLOCKS_AT_ONCE) {
        observer.check()?;
        let made: Vec<_> = starts.par_iter().map(|&start| encode(start..count.min(start + height))).collect();
        for made in made {
            let (bytes, own) = made?;
            total.add(&own);
            sink(&bytes)?;
            observer.advance(bytes.len() as u64);
        }
    }
    Ok(total)
}

/// The numbers of rows `range`, all of which are finite.
///
/// # Errors
/// [`NonFinite`](crate::ErrorKind::NonFinite) with the first that is not.
pub(super) fn finite(rows: &dyn Rows, range: &Range<usize>) -> Result<Vec<f64>> {
    let columns = rows.shape().1;
    let mut exact = vec![0.0f64; range.len() * columns];
    rows.read_f64(range.clone(), &mut exact)?;
    check_finite(range.start, columns, &exact)?;
    Ok(exact)
}
