//! Blocks of rows of a table through the cores, and what they yield in the order of the rows.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::buffer::Buffer;
use super::element::{Element, stored_or_read};
use super::kernel::InstructionSet;
use super::loops::{Norms, Spread, largest_row_norm};
use super::measured::{Measured, Weighted};
use super::operand;
use super::panels::padded;
use super::residual::Subtrahend;
use crate::error::Result;
use crate::observe::Observer;
use crate::tensor::Rows;

/// Rows of a block: up to some 800 columns, they stay in the second level of the cache while A and the residual are
/// computed; fewer are not faster with more columns.
const ROWS: usize = 128;

/// Rows that are read at a time.
const READ: usize = 8;

/// Bytes of workspaces and of rows of A in flight, whatever the table.
const BYTES: usize = 24 << 20;

/// Blocks of a wave for each thread: the more, the less the last one of a wave is waited for.
const WAVE: usize = 8;

/// What is done with a block.
pub(super) trait Job<T>: Sync {
    /// What A is multiplied by and taken from the table.
    fn subtrahend(&self) -> &Subtrahend<T>;

    /// What each row of the table counts, where they do not count the same.
    fn weights(&self) -> Option<&[f64]> {
        None
    }

    /// Writes the rows of A, `[rows, k]`, as they are stored, and their bytes if those are wanted.
    fn left(&self, work: &mut Workspace<T>, bytes: &mut Vec<u8>) -> Result<()>;
}

/// Room for the numbers of a block. A thread mostly gets the one that it had, and finds it in its cache.
pub(super) struct Workspace<T> {
    /// Which rows are in it.
    pub(super) range: Range<usize>,
    /// Rows of the table at distance `stride`, scaled; then the residual.
    pub(super) table: Buffer<T>,
    pub(super) stride: usize,
    /// Rows of A, without padding between them.
    pub(super) left: Buffer<T>,
    /// Room for A with padding.
    pub(super) scratch: Buffer<T>,
    /// Room for what products make of their left operand.
    pub(super) operand: operand::Scratch,
    rows: Vec<T>,
}

/// Some rows, and what came of them.
struct Block {
    range: Range<usize>,
    bytes: Vec<u8>,
    outcome: Result<Sums>,
}

impl Block {
    fn new() -> Self {
        Block { range: 0..0, bytes: Vec::new(), outcome: Ok(Sums::default()) }
    }
}

/// Sums over entries.
#[derive(Default, Clone, Copy)]
struct Sums {
    squared_norm: f64,
    squared_error: f64,
    largest_error: f64,
    /// No magnitude of what is subtracted is above it, nor any of the sums on the way there.
    decoded_bound: f64,
    weighted: Weighted,
}

impl<T: Element> Workspace<T> {
    fn new(rows: usize, stride: usize, rank: usize) -> Self {
        let rows = padded(rows.min(ROWS), operand::ROWS);
        Workspace {
            range: 0..0,
            table: Buffer::zeros(rows * stride),
            stride,
            left: Buffer::zeros(rows * rank),
            scratch: Buffer::zeros(rows * (rank + T::TILE_COLUMNS)),
            operand: operand::Scratch::new(),
            rows: Vec::new(),
        }
    }

    /// Rows with the padding that makes whole tiles.
    pub(super) fn padded_rows(&self) -> usize {
        self.table.len() / self.stride
    }

    fn run(&mut self, block: &mut Block, table: &dyn Rows, job: &dyn Job<T>) {
        self.range = block.range.clone();
        block.bytes.clear();
        block.outcome = self.compute(&mut block.bytes, table, job);
    }

    fn compute(&mut self, bytes: &mut Vec<u8>, table: &dyn Rows, job: &dyn Job<T>) -> Result<Sums> {
        let columns = table.shape().1;
        let scale = T::nearest(job.subtrahend().table_scale());
        let set = InstructionSet::best();
        if self.range.len() < self.padded_rows() {
            // The rows of an earlier block must not be multiplied again.
            self.table.fill(T::ZERO);
            self.left.fill(T::ZERO);
        }
        for start in self.range.clone().step_by(READ) {
            let present = start..self.range.end.min(start + READ);
            let rows = stored_or_read(table, present, &mut self.rows)?;
            let at = (start - self.range.start) * self.stride;
            let out = &mut self.table[at..];
            set.run(Spread { rows, columns, scale, out, stride: self.stride });
        }
        let (squared_norm, _) = set.run(Norms(&self.table));
        let weighted_norm = self.weighted_square(job);
        job.left(self, bytes)?;
        job.subtrahend().subtract(self);
        let (squared_error, largest_error) = set.run(Norms(&self.table));
        let weighted = Weighted { squared_norm: weighted_norm, squared_error: self.weighted_square(job) };
        // No sum on the way to an entry of A B is above the product of the norms (Cauchy, Schwarz).
        let rank = job.subtrahend().rank();
        let left = &self.left[..self.range.len() * rank];
        let decoded_bound = largest_row_norm(left, rank) * job.subtrahend().largest_column();
        Ok(Sums { squared_norm, squared_error, largest_error, decoded_bound, weighted })
    }

    /// Sum of squares of the block's rows, each times its weight; zero where there are none.
    fn weighted_square(&self, job: &dyn Job<T>) -> f64 {
        let Some(weights) = job.weights() else { return 0.0 };
        let set = InstructionSet::best();
        let rows = self.table.chunks_exact(self.stride).zip(&weights[self.range.clone()]);
        rows.map(|(row, weight)| weight * set.run(Norms(row)).0).sum()
    }
}

/// Runs `job` on every block of `rows`, gives `sink` their bytes in order, and sums up the errors.
///
/// A wave of blocks is computed while the bytes of the wave before are handed over.
pub(super) fn stream<T: Element>(
    rows: &dyn Rows,
    job: &dyn Job<T>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    observer: &dyn Observer,
) -> Result<Measured> {
    let (count, columns) = rows.shape();
    let (stride, rank) = (job.subtrahend().stride(), job.subtrahend().rank());
    let blocks = count.div_ceil(ROWS);
    let wave = wave_len::<T>(columns, stride, rank).min(blocks);
    let free = Mutex::new(Vec::new());
    let stack = || free.lock().unwrap_or_else(PoisonError::into_inner);
    // The last one given back is taken first, mostly by the thread that gave it.
    let run = |block: &mut Block| {
        let mut work = stack().pop().unwrap_or_else(|| Workspace::<T>::new(count, stride, rank));
        work.run(block, rows, job);
        stack().push(work);
    };
    let mut computing: Vec<_> = (0..wave).map(|_| Block::new()).collect();
    let mut finished: Vec<_> = (0..wave.min(blocks - wave)).map(|_| Block::new()).collect();
    let mut sums = Sums::default();
    let mut pending = 0;
    for first in (0..blocks).step_by(wave) {
        observer.check()?;
        let present = wave.min(blocks - first);
        for (index, block) in computing.iter_mut().take(present).enumerate() {
            let start = (first + index) * ROWS;
            block.range = start..count.min(start + ROWS);
        }
        let now = &mut computing[..present];
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| now.par_iter_mut().with_max_len(1).for_each(run));
            collect(&mut finished[..pending], columns, &mut sums, sink, observer)
        })?;
        std::mem::swap(&mut computing, &mut finished);
        pending = present;
    }
    collect(&mut finished[..pending], columns, &mut sums, sink, observer)?;
    // In two steps, since the square of the scale may have no double.
    let back = 1.0 / job.subtrahend().table_scale();
    Ok(Measured {
        squared_norm: sums.squared_norm * back * back,
        squared_error: sums.squared_error * back * back,
        max_absolute_error: sums.largest_error * back,
        decoded_bound: sums.decoded_bound * back,
        weighted: job.weights().map(|_| Weighted {
            squared_norm: sums.weighted.squared_norm * back * back,
            squared_error: sums.weighted.squared_error * back * back,
        }),
    })
}

/// Blocks of a wave: enough to keep the cores busy, within the memory that is allowed.
fn wave_len<T: Element>(columns: usize, stride: usize, rank: usize) -> usize {
    let threads = rayon::current_num_threads();
    let allowed = BYTES + columns * columns * size_of::<f32>();
    let workspace = ROWS * (stride + 2 * rank + T::TILE_COLUMNS) * size_of::<T>();
    let finished = 2 * ROWS * rank * size_of::<f64>();
    match allowed / 2 / workspace {
        // Each block of a wave may be in a workspace of its own.
        few if few < threads => few.max(1),
        _ => (allowed / 2 / finished.max(1)).clamp(threads, WAVE * threads),
    }
}

fn collect(
    blocks: &mut [Block],
    columns: usize,
    sums: &mut Sums,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    observer: &dyn Observer,
) -> Result<()> {
    for block in blocks {
        let partial = std::mem::replace(&mut block.outcome, Ok(Sums::default()))?;
        sink(&block.bytes)?;
        sums.squared_norm += partial.squared_norm;
        sums.squared_error += partial.squared_error;
        sums.weighted.squared_norm += partial.weighted.squared_norm;
        sums.weighted.squared_error += partial.weighted.squared_error;
        sums.largest_error = sums.largest_error.max(partial.largest_error);
        sums.decoded_bound = sums.decoded_bound.max(partial.decoded_bound);
        observer.advance((block.range.len() * columns) as u64);
    }
    Ok(())
}
