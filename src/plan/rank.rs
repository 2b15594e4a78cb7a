//! Ranks of a factor pair A [V, k], B [k, d]: from a reduction, and the largest that saves bytes.

use super::number::decimal;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Dtype;

/// The paper's rank of reduction `p`: `k = floor((1 - p) V d / (V + d))`.
///
/// `p` is taken as the decimal that was written, so that 0.9 leaves exactly one tenth and an integer quotient is not
/// rounded down to the integer below it.
///
/// # Errors
/// [`ErrorKind::Request`] unless `0 < p < 1`, or where the rank would be 0.
pub fn rank_for_reduction(reduction: f64, rows: usize, columns: usize) -> Result<usize> {
    if !(reduction > 0.0 && reduction < 1.0) {
        return Err(Error::new(ErrorKind::Request, "reduction is out of range")
            .expected("a fraction above 0 and below 1")
            .found(reduction.to_string()));
    }
    let parameters = rows as u128 * columns as u128;
    let sum = rows as u128 + columns as u128;
    let exact = decimal(reduction).and_then(|(numerator, denominator)| {
        (denominator - numerator).checked_mul(parameters).map(|left| left / (denominator * sum.max(1)))
    });
    let rank = match exact {
        Some(rank) => rank as usize,
        None => ((1.0 - reduction) * parameters as f64 / sum.max(1) as f64).floor() as usize,
    };
    if rank == 0 {
        let largest = (parameters > sum).then(|| 1.0 - sum as f64 / parameters as f64);
        let error = Error::new(ErrorKind::Request, "reduction leaves no rank")
            .expected(format!("a table [{rows}, {columns}] that keeps at least {sum} parameters (rank 1)"))
            .found(format!("reduction {reduction} of {parameters} parameters"));
        return Err(match largest {
            Some(largest) => error.hint(format!("the largest reduction of this table is {:.6}", floor6(largest))),
            None => error.hint("no factor pair of this table is smaller than the table; leave it out with `--exclude`"),
        });
    }
    Ok(rank)
}

/// The bytes that reduction `p` leaves of `dense` bytes: `floor((1 - p) dense)`, with `p` as the decimal written.
///
/// # Errors
/// [`ErrorKind::Request`] unless `0 < p < 1`.
pub fn bytes_for_reduction(reduction: f64, dense: u64) -> Result<u64> {
    if !(reduction > 0.0 && reduction < 1.0) {
        return Err(Error::new(ErrorKind::Request, "reduction is out of range")
            .expected("a fraction above 0 and below 1")
            .found(reduction.to_string()));
    }
    Ok(match decimal(reduction) {
        // At most 10^18 * 2^64 < 2^128, and the quotient is at most `dense`.
        Some((numerator, denominator)) => ((denominator - numerator) * u128::from(dense) / denominator) as u64,
        None => ((1.0 - reduction) * dense as f64).floor() as u64,
    })
}

/// Rounded down to six decimals, so that the value named is itself reachable.
fn floor6(value: f64) -> f64 {
    (value * 1e6).floor() / 1e6
}

/// The largest rank whose factor pair in `factor` takes fewer bytes than the table in `source`, at most
/// `min(V, d)`; 0 where not even rank 1 saves.
pub fn largest_saving_rank(rows: usize, columns: usize, source: Dtype, factor: Dtype) -> usize {
    let dense = (rows as u128 * columns as u128).saturating_mul(source.bytes() as u128);
    let per_rank = (rows as u128 + columns as u128) * factor.bytes() as u128;
    if dense == 0 || per_rank == 0 {
        return 0;
    }
    ((dense - 1) / per_rank).min(rows.min(columns) as u128) as usize
}

/// Refuses a rank that is 0, above `min(V, d)`, or whose factor pair saves no bytes.
///
/// # Errors
/// [`ErrorKind::Request`]; the message names the largest rank that would do.
pub fn check_rank(rank: usize, rows: usize, columns: usize, source: Dtype, factor: Dtype) -> Result<()> {
    let largest = largest_saving_rank(rows, columns, source, factor);
    if (1..=largest).contains(&rank) {
        return Ok(());
    }
    if largest == 0 {
        return Err(Error::new(ErrorKind::Request, "no rank saves bytes")
            .expected(format!("a table larger than its factor pair of rank 1 in {factor}"))
            .found(format!("[{rows}, {columns}] in {source}"))
            .hint("leave the table out with `--exclude`"));
    }
    let summary = if rank == 0 { "rank 0 stores nothing" } else { "rank would not save bytes" };
    Err(Error::new(ErrorKind::Request, summary)
        .expected(format!("a rank from 1 to {largest} for [{rows}, {columns}] {source} stored in {factor}"))
        .found(rank.to_string())
        .hint(format!("the largest rank that saves bytes is {largest}")))
}
