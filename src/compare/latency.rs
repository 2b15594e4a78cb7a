//! How long it takes to read rows of a table, dense or encoded.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::sample::Random;
use crate::error::Result;
use crate::tensor::Rows;

/// Rows of the larger batch.
pub const BATCH: usize = 4096;
/// Single rows that are timed.
const SINGLES: usize = 257;
/// Batches that are timed, where they are fast.
const BATCHES: usize = 7;
/// No further repetition begins after this long.
const PATIENCE: Duration = Duration::from_millis(700);

/// Seconds to read random rows, one call for each row on one thread, as singles: medians of several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// One row.
    pub one_row: f64,
    /// [`BATCH`] rows.
    pub batch: f64,
}

/// Measures `rows`, which must not be empty.
///
/// # Errors
/// Whatever reading the rows reports.
pub fn latency(rows: &dyn Rows, seed: u64) -> Result<Latency> {
    let mut random = Random::new(seed);
    let one_row = median(SINGLES, || read(rows, 1, &mut random))?;
    let batch = median(BATCHES, || read(rows, BATCH, &mut random))?;
    Ok(Latency { one_row, batch })
}

/// Reads `count` random rows and gives the seconds it took; the rows are drawn beforehand.
fn read(rows: &dyn Rows, count: usize, random: &mut Random) -> Result<f64> {
    let (height, width) = rows.shape();
    let chosen: Vec<usize> = (0..count).map(|_| random.below(height)).collect();
    let mut row = vec![0.0f32; width];
    let start = Instant::now();
    for &index in &chosen {
        rows.read_f32(index..index + 1, &mut row)?;
        std::hint::black_box(&mut row);
    }
    Ok(start.elapsed().as_secs_f64())
}

/// The median of up to `count` measurements after a first one that warms up.
fn median(count: usize, mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    let start = Instant::now();
    let first = measure()?;
    let mut seconds = Vec::with_capacity(count);
    while seconds.len() < count && (seconds.is_empty() || start.elapsed() < PATIENCE) {
        seconds.push(measure()?);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds.get(seconds.len() / 2).copied().unwrap_or(first))
}
