//! One budget of bytes for several tables. The argument stands in the module documentation of [`crate::plan`].

use super::curve::{Curve, Relaxation, segments};
use super::exact;
use super::ladder::Ladder;
use crate::error::{Error, ErrorKind, Result};

/// The step chosen for each table.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// Index into [`Ladder::steps`], per table.
    pub steps: Vec<usize>,
    /// Bytes of data over all tables.
    pub bytes: u64,
    /// Summed squared error.
    pub squared_error: f64,
    /// No choice within the budget has a smaller summed squared error than this.
    pub lower_bound: f64,
    /// Whether it is known that no choice of at most as many bytes of data has a smaller summed squared error.
    pub proven: bool,
}

/// A choice under construction: a position on each curve.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) at: Vec<usize>,
    pub(super) bytes: u64,
    pub(super) error: f64,
}

impl Choice {
    pub(super) fn new(curves: &[Curve], at: Vec<usize>) -> Self {
        let (bytes, error) = curves
            .iter()
            .zip(&at)
            .map(|(curve, &at)| curve.at(at))
            .fold((0u64, 0.0), |sum, one| (sum.0.saturating_add(one.0), sum.1 + one.1));
        Choice { at, bytes, error }
    }

    fn steps(&self, curves: &[Curve]) -> Vec<usize> {
        curves.iter().zip(&self.at).map(|(curve, &at)| curve.step[at]).collect()
    }
}

/// The steps of least summed squared error that take at most `budget` bytes of data together.
///
/// # Errors
/// [`ErrorKind::Request`] where the smallest steps exceed the budget; the message names what they take.
pub fn allocate(ladders: &[Ladder], budget: u64) -> Result<Allocation> {
    let curves = curves(ladders, &[]);
    let relaxation = Relaxation::new(&curves);
    if relaxation.least_bytes > budget {
        return Err(unreachable_size(relaxation.least_bytes, budget));
    }
    let (choice, proven) = best(&curves, budget);
    Ok(Allocation {
        steps: choice.steps(&curves),
        bytes: choice.bytes,
        squared_error: choice.error,
        lower_bound: relaxation.error_within(budget),
        proven,
    })
}

/// The steps of least summed squared error with `total(steps) <= limit`, where `total` counts everything that is
/// written (data, headers, tensors that are only copied) for a step per table and does not decrease in any step.
///
/// `fixed[t]` holds a table to one step, whose bytes come out of the limit; missing entries are free. No step up of
/// one table that lowers its error fits afterwards. The header's length depends on the shapes, so the choice is the
/// best for the bytes of data that the header of its own size leaves.
///
/// # Errors
/// [`ErrorKind::Request`] where the smallest steps exceed the limit (the message names the total they take), or
/// where a fixed step is not on its ladder.
pub fn fit_size(
    ladders: &[Ladder],
    fixed: &[Option<usize>],
    limit: u64,
    total: &dyn Fn(&[usize]) -> u64,
) -> Result<Allocation> {
    let beyond = |(ladder, step): (&Ladder, &Option<usize>)| step.is_some_and(|step| step >= ladder.steps().len());
    if ladders.iter().zip(fixed).any(beyond) {
        return Err(Error::new(ErrorKind::Request, "fixed step is not on the ladder of its table"));
    }
    let curves = curves(ladders, fixed);
    let smallest = Choice::new(&curves, vec![0; curves.len()]);
    let least = total(&smallest.steps(&curves));
    if least > limit {
        return Err(unreachable_size(least, limit));
    }
    // What is not data is least with the smallest steps, so this budget is not too small; where it proves too large
    // by what the header grew, it shrinks by at least that, doubling so that the loop ends whatever `total` does.
    let ceiling = smallest.bytes.saturating_add(limit - least);
    let (mut budget, mut cut) = (ceiling, 0u64);
    let (mut choice, proven) = loop {
        let (choice, proven) = best(&curves, budget);
        let excess = total(&choice.steps(&curves)).saturating_sub(limit);
        if excess == 0 || choice.bytes <= smallest.bytes {
            break (choice, proven);
        }
        cut = cut.saturating_mul(2).max(excess);
        budget = budget.saturating_sub(cut).max(smallest.bytes);
    };
    let mut refilled = false;
    while let Some(better) = step_up(&curves, &choice, |at| total(&Choice::new(&curves, at).steps(&curves)) <= limit) {
        choice = better;
        refilled = true;
    }
    Ok(Allocation {
        steps: choice.steps(&curves),
        bytes: choice.bytes,
        squared_error: choice.error,
        lower_bound: Relaxation::new(&curves).error_within(ceiling),
        proven: proven && !refilled,
    })
}

fn curves(ladders: &[Ladder], fixed: &[Option<usize>]) -> Vec<Curve> {
    let ranges = ladders.iter().enumerate().map(|(table, ladder)| match fixed.get(table).copied().flatten() {
        Some(step) => Curve::new(ladder, step..step + 1),
        None => Curve::new(ladder, 0..ladder.steps().len()),
    });
    ranges.collect()
}

fn unreachable_size(least: u64, limit: u64) -> Error {
    Error::new(ErrorKind::Request, "size cannot be reached")
        .expected(format!("at most {limit} bytes"))
        .found(format!("{least} bytes with every table at its smallest"))
        .hint(format!("ask for at least {least} bytes, or take more tables with `--include`"))
}

/// Greedy, fill, then branch and bound. The smallest steps must fit `budget`.
fn best(curves: &[Curve], budget: u64) -> (Choice, bool) {
    let mut choice = greedy(curves, budget);
    let bytes_of = |at: Vec<usize>| Choice::new(curves, at).bytes;
    while let Some(better) = step_up(curves, &choice, |at| bytes_of(at) <= budget) {
        choice = better;
    }
    exact::improve(curves, budget, choice)
}

/// Takes hull segments by gain per byte while they fit; a table whose next segment does not fit is done.
fn greedy(curves: &[Curve], budget: u64) -> Choice {
    let mut at = vec![0; curves.len()];
    let mut spare = budget.saturating_sub(Choice::new(curves, at.clone()).bytes);
    let mut open = vec![true; curves.len()];
    for segment in segments(curves) {
        if !open[segment.curve] {
            continue;
        }
        if segment.bytes <= spare {
            spare -= segment.bytes;
            at[segment.curve] = segment.to;
        } else {
            open[segment.curve] = false;
        }
    }
    Choice::new(curves, at)
}

/// The one table moved up to the last step that `fits`, where that lowers the summed error most.
fn step_up(curves: &[Curve], choice: &Choice, fits: impl Fn(Vec<usize>) -> bool) -> Option<Choice> {
    let moved = |table: usize, to: usize| {
        let mut at = choice.at.clone();
        at[table] = to;
        at
    };
    let candidates = (0..curves.len()).filter_map(|table| {
        let (mut low, mut high) = (choice.at[table], curves[table].len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(moved(table, middle)) { low = middle } else { high = middle }
        }
        (low > choice.at[table]).then(|| Choice::new(curves, moved(table, low)))
    });
    candidates.min_by(|a, b| a.error.total_cmp(&b.error))
}
