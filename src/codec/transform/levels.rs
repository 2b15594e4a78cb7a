//! The levels of the components of a point, fitted to the trellis on a sample of rows.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: components are numbered by itself"
)]

use rayon::prelude::*;

use super::codebook::{Codebooks, level_count};
use super::lloyd::Distribution;
use super::sample::Sample;
use super::trellis::{LANES, Search};
use crate::error::Result;
use crate::observe::Observer;

/// Rounds of fitting; a fifth one lowers the error by two thousandths.
const ROUNDS: usize = 4;

/// Levels of one component.
struct Levels {
    bits: u8,
    values: Vec<f32>,
    /// Levels 2c and 2c + 1 are equal, so that the code alone tells the level: a scalar quantizer.
    scalar: bool,
}

/// A kept component: its bits, what is known of its numbers, and whether they have the opposite sign.
pub(super) struct Component<'a> {
    pub(super) bits: u8,
    pub(super) distribution: &'a Distribution,
    pub(super) turned: bool,
}

/// The levels of each kept component, from `values`, the components of `sample`, `[n, k]`.
///
/// The start is a component's optimal quantizer of twice as many levels as it has codes; then the codes of the sample
/// are searched and each level moves to the mean of what was coded with it, in turns (a generalized Lloyd iteration). A
/// component that an optimal scalar quantizer serves better, such as one that is zero in most rows, where the trellis
/// cannot stay at one level, gets that one.
pub(super) fn fit(
    components: &[Component<'_>],
    sample: &Sample,
    values: &[f32],
    observer: &dyn Observer,
) -> Result<Vec<(u8, Vec<f32>)>> {
    let mut levels: Vec<Levels> = components
        .par_iter()
        .map(|component| Levels {
            bits: component.bits,
            values: component.quantizer(level_count(component.bits)),
            scalar: false,
        })
        .collect();
    let table = Components { masses: sample.masses(), values, count: components.len() };
    let mut chosen = Vec::new();
    for _ in 0..ROUNDS {
        observer.check()?;
        chosen = table.search(&levels);
        levels.par_iter_mut().enumerate().for_each(|(component, levels)| table.refit(component, &chosen, levels));
    }
    levels.par_iter_mut().zip(components).enumerate().for_each(|(at, (levels, component))| {
        let scalar = component.quantizer(1 << levels.bits);
        if table.scalar_error(at, &scalar) < table.error(at, &chosen, &levels.values) {
            levels.values = scalar.into_iter().flat_map(|level| [level, level]).collect();
            levels.scalar = true;
        }
    });
    if levels.iter().any(|levels| levels.scalar) {
        let chosen = table.search(&levels);
        levels.par_iter_mut().enumerate().for_each(|(component, levels)| table.refit(component, &chosen, levels));
    }
    Ok(levels.into_iter().map(|levels| (levels.bits, levels.values)).collect())
}

/// The levels of least error for every row of `values`, `[n, k]`.
pub(super) fn search(books: &Codebooks, values: &[f32]) -> Vec<u16> {
    let mut chosen = vec![0u16; values.len()];
    let group = (LANES * books.len()).max(1);
    values
        .par_chunks(group)
        .zip(chosen.par_chunks_mut(group))
        .for_each_init(|| Search::new(books.len()), |search, (values, chosen)| search.run(books, values, chosen));
    chosen
}

impl Component<'_> {
    /// The optimal scalar quantizer of `count` levels.
    fn quantizer(&self, count: usize) -> Vec<f32> {
        let levels = self.distribution.summed().quantizer(count).0.into_iter().map(|level| level as f32);
        if self.turned { levels.rev().map(|level| -level).collect() } else { levels.collect() }
    }
}

/// Components of some rows, `[n, count]`.
struct Components<'a> {
    masses: &'a [f64],
    values: &'a [f32],
    count: usize,
}

impl Components<'_> {
    /// The levels of least error of every row.
    fn search(&self, levels: &[Levels]) -> Vec<u16> {
        let books: Vec<(u8, Vec<f32>)> = levels.iter().map(|levels| (levels.bits, levels.values.clone())).collect();
        search(&Codebooks::new(&books), self.values)
    }

    /// One component of every row, with what it counts and the level chosen.
    fn column<'c>(&'c self, at: usize, chosen: &'c [u16]) -> impl Iterator<Item = (f64, f64, usize)> + 'c {
        let column = self.values.iter().skip(at).step_by(self.count);
        let chosen = chosen.iter().skip(at).step_by(self.count);
        let column = column.zip(chosen).zip(self.masses);
        column.map(|((&value, &level), &mass)| (f64::from(value), mass, usize::from(level)))
    }

    /// Moves the levels of a component to the means of what was coded with them; those of nothing stay.
    fn refit(&self, at: usize, chosen: &[u16], levels: &mut Levels) {
        let mut sums = vec![(0.0f64, 0.0f64); levels.values.len()];
        for (value, mass, level) in self.column(at, chosen) {
            let (total, moment) = &mut sums[level];
            *total += mass;
            *moment += mass * value;
        }
        if levels.scalar {
            for pair in sums.chunks_exact_mut(2) {
                pair.fill((pair[0].0 + pair[1].0, pair[0].1 + pair[1].1));
            }
        }
        for (level, (mass, moment)) in levels.values.iter_mut().zip(sums) {
            if mass > 0.0 {
                *level = (moment / mass) as f32;
            }
        }
        levels.values.sort_by(f32::total_cmp);
    }

    /// What the chosen levels of a component lose.
    fn error(&self, at: usize, chosen: &[u16], levels: &[f32]) -> f64 {
        let error = |(value, mass, level): (f64, f64, usize)| mass * (value - f64::from(levels[level])).powi(2);
        self.column(at, chosen).map(error).sum()
    }

    /// What the nearest of `levels`, ascending, lose.
    fn scalar_error(&self, at: usize, levels: &[f32]) -> f64 {
        let nearest = |value: f32| {
            let above = levels.partition_point(|&level| level < value);
            let around = [above.checked_sub(1), Some(above)].into_iter().flatten().filter_map(|at| levels.get(at));
            around.map(|&level| f64::from(value - level).powi(2)).fold(f64::INFINITY, f64::min)
        };
        let column = self.values.iter().skip(at).step_by(self.count).zip(self.masses);
        column.map(|(&value, mass)| mass * nearest(value)).sum()
    }
}
