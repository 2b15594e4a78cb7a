//! Where a table's numbers are moved before they are multiplied: near zero mean, near magnitude one.

use rayon::prelude::*;

use super::element::{Element, stored_or_read};
use super::kernel::InstructionSet;
use super::loops::Survey;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::Rows;

/// Rows that the mean and the scale are taken from.
const SAMPLE: usize = 1024;

/// Rows that are summed up at a time.
const BLOCK: usize = 64;

/// The table is seen as `W * 2^exponent - 1 shift^T`.
///
/// The shift is close to the mean row; any shift gives the same Gram matrix once it is added back, but the mean's
/// leaves the smallest numbers to multiply.
pub(super) struct Frame<T> {
    pub(super) exponent: i32,
    pub(super) shift: Vec<T>,
}

impl<T: Element> Frame<T> {
    /// From some rows spread evenly over the table.
    pub(super) fn sample(rows: &dyn Rows) -> Result<Self> {
        let (count, columns) = rows.shape();
        let sampled = count.min(SAMPLE);
        // On all cores: of a table that is not in memory yet, these rows touch a good part.
        let groups: Vec<usize> = (0..sampled).step_by(BLOCK).collect();
        let groups = groups.into_par_iter().map(|first| {
            let mut survey = (T::ZERO, vec![0.0; columns]);
            let mut room = Vec::new();
            for i in first..sampled.min(first + BLOCK) {
                // In wide integers, where the product cannot overflow.
                let at = (i as u128 * count as u128 / sampled as u128) as usize;
                let rows = stored_or_read(rows, at..at + 1, &mut room)?;
                survey.0 = InstructionSet::best().run(Survey { rows, sums: &mut survey.1, largest: survey.0 });
            }
            Ok(survey)
        });
        let groups: Vec<Result<(T, Vec<f64>)>> = groups.collect();
        let (mut largest, mut sums) = (T::ZERO, vec![0.0; columns]);
        for group in groups {
            let (one, terms) = group?;
            largest = largest.larger(one);
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        }
        sums.iter_mut().for_each(|sum| *sum /= sampled as f64);
        Ok(Frame::new(largest.double(), &sums))
    }

    /// From the whole table, for a table that its sample does not resemble.
    pub(super) fn scan(rows: &dyn Rows, observer: &dyn Observer) -> Result<Self> {
        let (count, columns) = rows.shape();
        let mut block = vec![T::ZERO; BLOCK * columns];
        let mut sums = vec![0.0; columns];
        let mut largest = T::ZERO;
        for start in (0..count).step_by(BLOCK) {
            observer.check()?;
            let end = count.min(start + BLOCK);
            let block = &mut block[..(end - start) * columns];
            T::read(rows, start..end, block)?;
            check_finite(start, columns, block)?;
            largest = InstructionSet::best().run(Survey { rows: block, sums: &mut sums, largest });
        }
        sums.iter_mut().for_each(|sum| *sum /= count as f64);
        Ok(Frame::new(largest.double(), &sums))
    }

    fn new(largest: f64, mean: &[f64]) -> Self {
        // The scale itself must be a normal number of the arithmetic; subnormal tables come near enough to one.
        let exponent = if largest > 0.0 && largest.is_finite() { -(largest.log2().floor() as i32) } else { 0 };
        let exponent = exponent.clamp(-T::EXPONENT, T::EXPONENT);
        let scale = power_of_two(exponent);
        let shift = mean.iter().map(|mean| if mean.is_finite() { T::nearest(mean * scale) } else { T::ZERO });
        Frame { exponent, shift: shift.collect() }
    }
}

/// `2^exponent`, for exponents of normal doubles.
pub(super) fn power_of_two(exponent: i32) -> f64 {
    2f64.powi(exponent)
}

/// Refuses a weight that is no finite number, in rows that begin with row `start`. The caller adds the tensor and the
/// path.
pub(crate) fn check_finite<T: Element>(start: usize, columns: usize, block: &[T]) -> Result<()> {
    // Without a way out of the loop first, so that it takes several numbers at a time.
    if !block.iter().fold(false, |bad, value| bad | !value.double().is_finite()) {
        return Ok(());
    }
    match block.iter().map(|value| value.double()).enumerate().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((at, value)) => {
            let (row, column) = (start + at / columns, at % columns);
            Err(Error::new(ErrorKind::NonFinite, format!("weight at row {row}, column {column} is not finite"))
                .expected("a finite number")
                .found(format!("{value}")))
        }
    }
}
