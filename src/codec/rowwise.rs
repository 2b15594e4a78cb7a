//! Encoding of rows each for itself, and decoding: blocks of them on all cores, their errors measured on the way.

#![expect(clippy::arithmetic_side_effects, reason = "an encoder: blocks of a range of rows that stands in memory")]

use std::ops::Range;

use rayon::prelude::*;

use super::Measured;
use crate::error::Result;
use crate::linalg::check_finite;
use crate::observe::Observer;
use crate::tensor::Rows;

/// Numbers of a block, unless a row has more.
const BLOCK_VALUES: usize = 1 << 15;
/// Blocks in flight, whatever the number of threads; fewer of long rows.
const BLOCKS_AT_ONCE: usize = 64;

/// Calls `encode` for blocks of `rows`, gives `sink` the bytes in order, and adds the errors up in that order.
///
/// # Errors
/// What `encode` and `sink` report; [`Interrupted`](crate::ErrorKind::Interrupted) where the observer says so.
pub(crate) fn encode_rows(
    rows: &dyn Rows,
    encode: &(dyn Fn(Range<usize>) -> Result<(Vec<u8>, Measured)> + Sync),
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    observer: &dyn Observer,
) -> Result<Measured> {
    let (count, columns) = rows.shape();
    let height = (BLOCK_VALUES / columns.max(1)).max(1);
    let starts: Vec<usize> = (0..count).step_by(height).collect();
    let at_once = (BLOCKS_AT_ONCE * BLOCK_VALUES / (height * columns).max(1)).clamp(1, BLOCKS_AT_ONCE);
    let mut total = Measured::default();
    let mut bytes = Vec::new();
    for starts in starts.chunks(at_once) {
        observer.check()?;
        let made: Vec<_> = starts.par_iter().map(|&start| encode(start..count.min(start + height))).collect();
        // Together, so that digests can be taken on several cores.
        bytes.clear();
        for made in made {
            let (own, measured) = made?;
            total.add(&measured);
            bytes.extend_from_slice(&own);
        }
        sink(&bytes)?;
        observer.advance(bytes.len() as u64);
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
