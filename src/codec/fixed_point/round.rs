//! Rows as they are once encoded and decoded, without encoding them.

use super::analysis::{Quantize, out_of_range};
use super::decode::Dequantize;
use super::scheme::Scheme;
use crate::error::Result;
use crate::linalg::{InstructionSet, check_finite};

/// Rounds rows `[_, columns]` in place, each by grids of its own.
///
/// # Errors
/// [`NonFinite`](crate::ErrorKind::NonFinite) for a number that is not finite, or a scale or level that is out of range.
pub(super) fn round_rows(scheme: &Scheme, columns: usize, values: &mut [f32]) -> Result<()> {
    let set = InstructionSet::best();
    let width = scheme.group_columns(columns).max(1);
    let (mut exact, mut codes) = (vec![0.0f64; columns], vec![0u16; columns]);
    for (row, values) in values.chunks_exact_mut(columns.max(1)).enumerate() {
        exact.iter_mut().zip(&*values).for_each(|(exact, &value)| *exact = f64::from(value));
        check_finite(row, columns, &exact)?;
        for ((out, values), codes) in values.chunks_mut(width).zip(exact.chunks(width)).zip(codes.chunks_mut(width)) {
            let work = Quantize { values, codes: &mut *codes, scheme, shared: None };
            let (grid, _) = set.run(work).map_err(|error| out_of_range(error, Some(row)))?;
            set.run(Dequantize { grid, codes, flip: 0, out });
        }
    }
    Ok(())
}
