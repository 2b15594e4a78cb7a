//! The first look at a table: its basis, its gains, the distribution of each component, and the ladder.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: every size and place is that of a table in memory"
)]

use rayon::prelude::*;

use super::allocate::{Errors, Milestone, Path};
use super::basis::Grid;
use super::gains::{Directions, Gains};
use super::lloyd::Distribution;
use super::sample::Sample;
use super::{BITS, MOST_BITS};
use crate::codec::Table;
use crate::codec::weights::WeightedRows;
use crate::error::Result;
use crate::linalg::{self, Product, Products};
use crate::observe::Observer;
use crate::tensor::{Dtype, MappedRows, Rows};

/// Values that are projected at a time.
const WAVE_VALUES: usize = 1 << 22;
/// Rows of a task.
pub(super) const TASK_ROWS: usize = 64;

/// Components with less than this share of the first one's energy are the rounding of the factorization.
const NOISE: f64 = 1e-13;

/// What the trellis leaves of the error of an optimal quantizer of as many bits, by bits, in long rows: measured on
/// normal components, and rounded up.
const TRELLIS_GAIN: Errors = [1.0, 0.77, 0.69, 0.66, 0.64, 0.61, 0.58, 0.56, 0.55];
/// Components at the begin of a row until the trellis has all its states.
const TRELLIS_START: f64 = 8.0;
/// Rows for each code below which levels follow the single rows, which the trellis cannot do as well.
const FEW_ROWS: f64 = 8.0;

/// Numbers of all points' samples together up to which every point is tried out.
const TRIED_OUT: f64 = 4e5;
/// Points that are tried out of more.
const ANCHORS: usize = 7;

/// What was learned of a table.
pub(super) struct Learned {
    /// With weights of rows, where there are any.
    pub(super) squared_norm: f64,
    /// What each row counts, where they do not count the same.
    pub(super) weights: Option<Vec<f64>>,
    pub(super) width: usize,
    pub(super) gains: Gains,
    pub(super) sample: Sample,
    /// Right singular vectors, `[components, d]`.
    pub(super) vectors: Vec<f64>,
    pub(super) distributions: Vec<Distribution>,
    pub(super) path: Path,
}

/// Rows that are handled before the observer is asked again.
pub(super) fn wave_rows(width: usize) -> usize {
    (WAVE_VALUES / width.max(1)).next_multiple_of(TASK_ROWS)
}

/// The components of the directions of `rows` along `vectors`, `[k, d]`.
pub(super) fn project<'a>(rows: &'a dyn Rows, gains: &'a Gains, vectors: &[f64]) -> Result<Product<Directions<'a>>> {
    let width = rows.shape().1;
    let bytes: Vec<u8> = vectors.iter().flat_map(|&entry| (entry as f32).to_le_bytes()).collect();
    let vectors = MappedRows::new(&bytes, Dtype::F32, vectors.len() / width.max(1), width)?;
    Product::new(Directions { rows, gains }, &vectors)
}

impl Learned {
    /// Reads the table three times: its Gram matrix, its norms, and its components.
    pub(super) fn read(table: &Table<'_>, weights: Option<Vec<f64>>, observer: &dyn Observer) -> Result<Learned> {
        let (height, width) = table.rows.shape();
        let weighted = WeightedRows::new(table.rows, weights.as_deref());
        let factorization = linalg::factorize(&weighted, None, Products::Single, observer)?;
        let spectrum = factorization.spectrum();
        let floor = NOISE * spectrum.energies.first().copied().unwrap_or(0.0);
        let components = spectrum.energies.iter().take_while(|&&energy| energy > floor).count();
        let mut vectors = factorization.right_singular_vectors();
        vectors.truncate(components * width);
        let gains = Gains::read(table.rows, observer)?;
        let masses = gains.masses(weights.as_deref());
        let total = masses.iter().sum::<f64>();
        let scales = spectrum.energies.iter().take(components).map(|energy| (energy / total).sqrt());
        let mut distributions: Vec<_> = scales.map(Distribution::new).collect();
        observe_components(table.rows, &gains, &masses, &vectors, &mut distributions, observer)?;
        let sample = Sample::draw(table.rows, &gains, &masses)?;
        let errors: Vec<Errors> = distributions
            .par_iter()
            .zip(vectors.par_chunks_exact(width))
            .map(|(distribution, vector)| errors(distribution, vector, (height, components)))
            .collect();
        let squared_norm = spectrum.squared_norm;
        let path = Path::new(&errors, (height, width), table.bytes());
        Ok(Learned { squared_norm, weights, width, gains, sample, vectors, distributions, path })
    }

    /// How many of some points to try out, so that it takes a second or less where the points are many.
    pub(super) fn tries(&self, milestones: &[Milestone]) -> usize {
        let numbers = self.sample.len() as f64 * self.distributions.len() as f64;
        if numbers * milestones.len() as f64 <= TRIED_OUT { milestones.len() } else { ANCHORS }
    }

    /// What no component holds: the energy that is dropped with the noise.
    pub(super) fn outside(&self) -> f64 {
        let inside: f64 = self.distributions.iter().rev().map(Distribution::energy).sum();
        // Rounding leaves a difference that is none.
        let outside = self.squared_norm - inside;
        if outside > 1e-9 * self.squared_norm { outside } else { 0.0 }
    }
}

/// The errors of a component at each number of bits, those of its stored vector included.
fn errors(distribution: &Distribution, vector: &[f64], (height, components): (usize, usize)) -> Errors {
    let energy = distribution.energy();
    let summed = distribution.summed();
    let started = (1.0 - TRELLIS_START / components as f64).max(0.0);
    let mut errors = [energy; MOST_BITS as usize + 1];
    for bits in BITS {
        let at = usize::from(bits);
        let settled = (1.0 - FEW_ROWS * f64::from(1u32 << bits) / height as f64).max(0.0);
        let trellis = 1.0 - (1.0 - TRELLIS_GAIN[at]) * started * settled;
        let quantized = summed.quantizer(1 << bits).1 * trellis + Grid::fit(bits, vector).1 * energy;
        errors[at] = quantized.min(errors[at - 1]);
    }
    errors
}

/// Counts the components of every row, each with the row's mass.
fn observe_components(
    rows: &dyn Rows,
    gains: &Gains,
    masses: &[f64],
    vectors: &[f64],
    distributions: &mut [Distribution],
    observer: &dyn Observer,
) -> Result<()> {
    let (height, width) = rows.shape();
    let components = distributions.len();
    if components == 0 {
        return Ok(());
    }
    let projection = project(rows, gains, vectors)?;
    let wave = wave_rows(width).min(height);
    let mut values = vec![0.0f32; wave * components];
    for start in (0..height).step_by(wave) {
        observer.check()?;
        let count = wave.min(height - start);
        let values = &mut values[..count * components];
        values.par_chunks_mut(TASK_ROWS * components).enumerate().try_for_each(|(task, values)| {
            let first = start + task * TASK_ROWS;
            projection.read_f32(first..first + values.len() / components, values)
        })?;
        let masses = &masses[start..start + count];
        distributions.par_iter_mut().enumerate().for_each(|(component, distribution)| {
            for (row, mass) in values.chunks_exact(components).zip(masses) {
                distribution.add(row[component].into(), *mass);
            }
        });
        observer.advance((count * width) as u64);
    }
    Ok(())
}
