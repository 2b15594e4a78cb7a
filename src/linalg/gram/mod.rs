//! The Gram matrix `W^T W`, accumulated over the rows of a table in one pass.
//!
//! With `C = W - 1 mu^T` and `s` the sum of C's rows, `W^T W = C^T C + s mu^T + mu s^T + m mu mu^T` for any `mu`.
//! Products of singles are summed within a chunk of rows, and chunks in doubles, always in the order of the rows: the
//! result does not depend on the number of threads.

mod pairs;
mod panels;
mod steps;

use std::ops::Range;

use faer::{Mat, MatMut};
use rayon::prelude::*;

use super::buffer::Buffer;
use super::element::Element;
use super::frame::{Frame, power_of_two};
use super::kernel::InstructionSet;
use super::loops::{AddTo, Place};
use super::products::Products;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Precision, Rows};
use pairs::PackedPairs;
use panels::PackedPanels;
use steps::PackedSteps;

/// Rows that are read at a time while packing.
const READ: usize = 32;

/// The Gram matrix of a table times `2^exponent`.
pub(super) struct Gram {
    /// `[d, d]`; only the lower triangle has meaning.
    pub(super) matrix: Mat<f64>,
    /// Of the scaling.
    pub(super) exponent: i32,
    /// Trace of the matrix: the squared Frobenius norm of the scaled table.
    pub(super) trace: f64,
    /// Trace before the mean is added back: the size of what the products' rounding is relative to.
    pub(super) centered_trace: f64,
    /// The energy of what was rounded off the numbers before they were multiplied, if anything was; that of rows with more
    /// energy than others counts as much more.
    pub(super) rounded_off: f64,
}

/// Computes the Gram matrix in the arithmetic `T`, in `products` where that is of singles.
///
/// # Errors
/// [`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite) with the first row and column.
pub(super) fn gram<T: Element>(rows: &dyn Rows, products: Products, observer: &dyn Observer) -> Result<Gram> {
    if let Some(gram) = accumulate(rows, &Frame::<T>::sample(rows)?, products, observer)? {
        return Ok(gram);
    }
    // A scan leaves no magnitude above two, so only a table that changes while it is read fails again.
    accumulate(rows, &Frame::<T>::scan(rows, observer)?, products, observer)?
        .ok_or_else(|| Error::new(ErrorKind::NonFinite, "the weights changed while they were read"))
}

/// The numbers of a chunk of rows, cut into slabs of rows, and these into panels of columns, as some instructions want
/// them.
trait Packed<T>: Sync {
    /// What a slab consists of.
    type Unit: Send;

    /// What is needed for every slab beside its rows.
    type Aid: Sync;

    /// Columns of a panel.
    const WIDTH: usize;

    /// Rows of a slab.
    const SLAB: usize;

    /// Rows that are put at a time: [`READ`], or a whole slab.
    const AT_ONCE: usize;

    /// Rows that are packed at a time and whose products are summed before they are added to the doubles; whole slabs.
    const CHUNK: usize;

    /// Panels on each side of the block of the matrix that one task computes.
    const GROUP: usize;

    /// Whether what products leave out has the same sign wherever a number is multiplied by itself, so that the diagonal has
    /// to be summed up beside them.
    const DIAGONAL: bool;

    /// All slabs, the units of each, and what is needed beside.
    fn slabs(&mut self) -> (&mut [Self::Unit], usize, &Self::Aid);

    /// Writes rows, `AT_ONCE` or less, to a slab; `first` is the index in the table of the first of them. Returns the energy of
    /// what is rounded off, as expected; zero where no more is than the rounding of singles that [`Products::enough`] allows for.
    fn put(rows: &[T], columns: usize, first: usize, aid: &Self::Aid, slab: &mut [Self::Unit]) -> f64;

    /// Adds the products of the columns of panels with those of other panels, over the first `depth` rows of the chunk, to a
    /// square for each pair: `[left panels, GROUP, WIDTH, WIDTH]`. Where the right panel comes before the left one,
    /// nothing is wanted.
    fn add_products(&self, depth: usize, left: Range<usize>, right: Range<usize>, squares: &mut [T]);
}

fn accumulate<T: Element>(
    rows: &dyn Rows,
    frame: &Frame<T>,
    products: Products,
    observer: &dyn Observer,
) -> Result<Option<Gram>> {
    let shape = rows.shape();
    match (products, products.unit()) {
        _ if T::PRECISION == Precision::Double => accumulate_packed(PackedPanels::new(shape), rows, frame, observer),
        (_, Some(unit)) => accumulate_packed(PackedSteps::new(unit, shape), rows, frame, observer),
        (Products::Int16, _) => accumulate_packed(PackedPairs::new(shape), rows, frame, observer),
        _ => accumulate_packed(PackedPanels::new(shape), rows, frame, observer),
    }
}

/// `None` where a number is not finite or far larger than the frame's sample was.
fn accumulate_packed<T: Element, P: Packed<T>>(
    mut packed: P,
    rows: &dyn Rows,
    frame: &Frame<T>,
    observer: &dyn Observer,
) -> Result<Option<Gram>> {
    let (count, columns) = rows.shape();
    let mut matrix = Mat::<f64>::zeros(columns, columns);
    let mut sums = Sums::new(columns, P::DIAGONAL);
    for start in (0..count).step_by(P::CHUNK) {
        observer.check()?;
        let chunk = start..count.min(start + P::CHUNK);
        observer.advance((chunk.len() * columns) as u64);
        let (slabs, units, aid) = packed.slabs();
        let slabs = slabs
            .par_chunks_mut(units)
            .take(chunk.len().div_ceil(P::SLAB))
            .enumerate()
            .map(|(index, slab)| {
                let first = chunk.start + index * P::SLAB;
                pack::<T, P>(rows, first..chunk.end.min(first + P::SLAB), frame, aid, slab)
            })
            .collect::<Vec<_>>();
        for slab in slabs {
            match slab? {
                Some(partial) => sums.add(&partial),
                None => return Ok(None),
            }
        }
        blocks(matrix.as_mut(), P::GROUP * P::WIDTH)
            .into_par_iter()
            .for_each(|block| block.add_products(&packed, chunk.len()));
    }
    for (j, &square) in sums.squares.iter().enumerate() {
        matrix[(j, j)] = square;
    }
    let centered_trace = trace(&matrix);
    restore_mean(&mut matrix, frame, &sums.columns, count as f64);
    let trace = trace(&matrix);
    let rounded_off = if sums.rounded_off > 0.0 { sums.rounded_off * count as f64 / centered_trace } else { 0.0 };
    Ok(Some(Gram { matrix, exponent: frame.exponent, trace, centered_trace, rounded_off }))
}

/// Sums over the columns of framed numbers.
struct Sums {
    columns: Vec<f64>,
    /// Of the squares, if they are wanted.
    squares: Vec<f64>,
    /// Of the squares of what is rounded off, as expected, times the energy of a row it was rounded off, on average over a slab.
    rounded_off: f64,
}

impl Sums {
    fn new(columns: usize, squares: bool) -> Self {
        let squares = vec![0.0; if squares { columns } else { 0 }];
        Sums { columns: vec![0.0; columns], squares, rounded_off: 0.0 }
    }

    fn add(&mut self, other: &Sums) {
        let add = |sums: &mut Vec<f64>, terms: &[f64]| sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        add(&mut self.columns, &other.columns);
        add(&mut self.squares, &other.squares);
        self.rounded_off += other.rounded_off;
    }
}

/// Writes the framed numbers of some rows to one slab; returns the sums of its columns, or `None` where a number is
/// out of bounds.
fn pack<T: Element, P: Packed<T>>(
    rows: &dyn Rows,
    range: Range<usize>,
    frame: &Frame<T>,
    aid: &P::Aid,
    slab: &mut [P::Unit],
) -> Result<Option<Sums>> {
    let columns = frame.shift.len();
    let scale = T::nearest(power_of_two(frame.exponent));
    let set = InstructionSet::best();
    let (mut sums, mut rounded_off) = (Sums::new(columns, P::DIAGONAL), 0.0);
    let mut scratch = vec![T::ZERO; P::AT_ONCE.min(range.len()) * columns];
    for first in range.clone().step_by(P::AT_ONCE) {
        let scratch = &mut scratch[..P::AT_ONCE.min(range.end - first) * columns];
        for (start, scratch) in (first..).step_by(READ).zip(scratch.chunks_mut(READ * columns)) {
            // Also where they stand in memory: strips of their columns are then found in the cache, where rows of a mapping
            // are far apart.
            T::read(rows, start..start + scratch.len() / columns, scratch)?;
            let Sums { columns: sums, squares, .. } = &mut sums;
            if !set.run(Place { rows: scratch, shift: &frame.shift, scale, sums, squares }) {
                return Ok(None);
            }
        }
        rounded_off += P::put(scratch, columns, first, aid, slab);
    }
    let energy = sums.squares.iter().sum::<f64>() + rounded_off;
    sums.rounded_off = rounded_off * energy / range.len() as f64;
    Ok(Some(sums))
}

/// A block of the lower triangle: its place, and its entries.
struct Block<'a> {
    first_row: usize,
    first_column: usize,
    entries: MatMut<'a, f64>,
}

/// Cuts the lower triangle into blocks of `size`, the longest columns first.
fn blocks(matrix: MatMut<'_, f64>, size: usize) -> Vec<Block<'_>> {
    let order = matrix.nrows();
    let mut blocks = Vec::new();
    let mut right = matrix;
    for first_column in (0..order).step_by(size) {
        let (stripe, rest) = right.split_at_col_mut(size.min(order - first_column));
        right = rest;
        let mut below = stripe.split_at_row_mut(first_column).1;
        for first_row in (first_column..order).step_by(size) {
            let (entries, rest) = below.split_at_row_mut(size.min(order - first_row));
            below = rest;
            blocks.push(Block { first_row, first_column, entries });
        }
    }
    blocks
}

impl Block<'_> {
    /// Adds the products of the packed columns of this block over `depth` rows.
    fn add_products<T: Element, P: Packed<T>>(mut self, packed: &P, depth: usize) {
        let set = InstructionSet::best();
        let square = P::WIDTH * P::WIDTH;
        let panels = |first: usize, count: usize| first / P::WIDTH..(first + count).div_ceil(P::WIDTH);
        let left = panels(self.first_column, self.entries.ncols());
        let right = panels(self.first_row, self.entries.nrows());
        let mut squares = Buffer::<T>::zeros(left.len() * P::GROUP * square);
        packed.add_products(depth, left.clone(), right.clone(), &mut squares);
        for (i, squares) in squares.chunks_exact(P::GROUP * square).enumerate() {
            for (j, square) in squares.chunks_exact(square).enumerate().take(right.len()) {
                if right.start + j < left.start + i {
                    continue;
                }
                let entries = self.entries.as_mut().split_at_mut(j * P::WIDTH, i * P::WIDTH).3;
                let entries = entries.col_iter_mut().filter_map(|column| column.try_as_col_major_mut());
                for (sums, terms) in entries.zip(square.chunks_exact(P::WIDTH)) {
                    set.run(AddTo { sums: sums.as_slice_mut(), terms });
                }
            }
        }
    }
}

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum()
}

/// Adds `s mu^T + mu s^T + m mu mu^T` to the lower triangle.
fn restore_mean<T: Element>(matrix: &mut Mat<f64>, frame: &Frame<T>, sums: &[f64], count: f64) {
    let shift: Vec<f64> = frame.shift.iter().map(|shift| shift.double()).collect();
    let columns = matrix.col_iter_mut().filter_map(|column| column.try_as_col_major_mut());
    for (j, column) in columns.enumerate() {
        let (sum, mean) = (sums[j], shift[j]);
        let below = column.as_slice_mut()[j..].iter_mut().zip(&sums[j..]).zip(&shift[j..]);
        for ((entry, s), mu) in below {
            *entry += s * mean + mu * sum + count * mu * mean;
        }
    }
}
