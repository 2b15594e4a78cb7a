//! Nearest neighbours of some rows among all rows of a table, by brute force.

use std::cmp::Ordering;
use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{Kernel, TILE_ROWS};
use super::panels::{Panels, padded};
use crate::error::Result;
use crate::observe::Observer;
use crate::tensor::Rows;

/// Rows whose similarities are computed at a time: they and the products stay in the second level of the cache.
const BLOCK: usize = 16 * TILE_ROWS;

/// Rows that share one set of lists.
const SPAN: usize = 8 * BLOCK;

/// Spans between two looks at the observer.
const SPANS_AT_ONCE: usize = 64;

/// For each row of `queries` the `count` other rows of `rows` with the largest cosine to it, the nearest first; of
/// equals the first. A row of zeros has cosine 0 with every row.
///
/// Cosines are of rows normalized in doubles and multiplied in singles. The result does not depend on the number of
/// threads.
///
/// # Errors
/// Whatever reading the rows reports; [`crate::ErrorKind::Interrupted`] where the observer says so.
pub fn nearest(rows: &dyn Rows, queries: &[usize], count: usize, observer: &dyn Observer) -> Result<Vec<Vec<usize>>> {
    let (height, width) = rows.shape();
    let mut panels = Panels::<f32>::zeros(width, queries.len());
    let mut row = vec![0.0; width];
    for (column, &query) in queries.iter().enumerate() {
        rows.read_f64(query..query + 1, &mut row)?;
        let inverse = inverse_norm(&row);
        panels.set_column(column, row.iter().map(|value| (value * inverse) as f32));
    }
    let spans: Vec<_> = (0..height).step_by(SPAN).map(|start| start..height.min(start + SPAN)).collect();
    let mut lists = vec![List::new(count); queries.len()];
    for spans in spans.chunks(SPANS_AT_ONCE) {
        observer.check()?;
        let found: Vec<_> =
            spans.par_iter().map(|span| search(rows, &panels, queries, count, span.clone())).collect::<Result<_>>()?;
        for one in found {
            lists.iter_mut().zip(one).for_each(|(list, other)| other.entries.into_iter().for_each(|e| list.offer(e)));
        }
    }
    Ok(lists.into_iter().map(|list| list.entries.iter().map(|entry| entry.row).collect()).collect())
}

/// The reciprocal of the norm of a row, 0 for a row of zeros.
fn inverse_norm(row: &[f64]) -> f64 {
    let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
    if norm > 0.0 { 1.0 / norm } else { 0.0 }
}

/// The lists of all queries over the rows of `span`.
fn search(
    rows: &dyn Rows,
    panels: &Panels<f32>,
    queries: &[usize],
    count: usize,
    span: Range<usize>,
) -> Result<Vec<List>> {
    let width = rows.shape().1;
    let out = panels.padded_columns();
    let mut lists = vec![List::new(count); queries.len()];
    let mut exact = vec![0.0; BLOCK * width];
    let mut unit = vec![0.0f32; BLOCK * width];
    let mut cosines = vec![0.0f32; BLOCK * out];
    for start in span.clone().step_by(BLOCK) {
        let end = span.end.min(start + BLOCK);
        let present = end - start;
        rows.read_f64(start..end, &mut exact[..present * width])?;
        for (unit, exact) in unit.chunks_exact_mut(width).zip(exact.chunks_exact(width)).take(present) {
            let inverse = inverse_norm(exact);
            unit.iter_mut().zip(exact).for_each(|(unit, value)| *unit = (value * inverse) as f32);
        }
        cosines.fill(0.0);
        panels.multiply(Kernel::best(), padded(present, TILE_ROWS), &unit, width, &mut cosines);
        for (index, cosines) in cosines.chunks_exact(out).take(present).enumerate() {
            let row = start + index;
            for ((list, &cosine), &query) in lists.iter_mut().zip(cosines).zip(queries) {
                if cosine > list.least && row != query {
                    list.offer(Entry { cosine, row });
                }
            }
        }
    }
    Ok(lists)
}

/// A row and its cosine to a query.
#[derive(Debug, Clone, Copy)]
struct Entry {
    cosine: f32,
    row: usize,
}

impl Entry {
    /// The nearer first; of equals the first row.
    fn compare(&self, other: &Entry) -> Ordering {
        other.cosine.total_cmp(&self.cosine).then(self.row.cmp(&other.row))
    }
}

/// The nearest entries so far, in order.
#[derive(Debug, Clone)]
struct List {
    entries: Vec<Entry>,
    capacity: usize,
    /// What an entry of a later row has to exceed.
    least: f32,
}

impl List {
    fn new(capacity: usize) -> Self {
        let least = if capacity == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        List { entries: Vec::with_capacity(capacity.min(64)), capacity, least }
    }

    fn offer(&mut self, entry: Entry) {
        let at = self.entries.partition_point(|other| other.compare(&entry).is_lt());
        if at >= self.capacity {
            return;
        }
        self.entries.truncate(self.capacity - 1);
        self.entries.insert(at, entry);
        if let (true, Some(last)) = (self.entries.len() == self.capacity, self.entries.last()) {
            self.least = last.cosine;
        }
    }
}
