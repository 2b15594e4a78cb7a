//! One point of a table: everything that is stored beside the codes.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "components and columns are those of a basis that stands in memory"
)]

use half::f16;

use super::codebook::Codebooks;
use super::learn::Learned;
use super::levels::{self, Component};
use super::reflectors;
use crate::error::Result;
use crate::observe::Observer;

/// What the codes of a table at one point stand for.
pub(super) struct Fitted {
    /// The stored basis, `[k, d]`.
    pub(super) vectors: Vec<f64>,
    /// The levels as they are stored.
    pub(super) books: Codebooks,
    /// The parts beside the codes, in order: bits, levels, basis, scales, gains.
    pub(super) companions: [Vec<u8>; 5],
    /// The share of the energy that is expected to be lost: what the sample loses.
    pub(super) lost: f64,
}

impl Fitted {
    /// Fits basis and levels of the components and bits `kept`, most energy first.
    pub(super) fn new(learned: &Learned, kept: &[(usize, u8)], observer: &dyn Observer) -> Result<Fitted> {
        let width = learned.width;
        let bits: Vec<u8> = kept.iter().map(|&(_, bits)| bits).collect();
        let vector = |component: usize| &learned.vectors[component * width..(component + 1) * width];
        let wanted: Vec<f64> = kept.iter().flat_map(|&(component, _)| vector(component)).copied().collect();
        let basis = reflectors::store(&bits, wanted, width);
        let components: Vec<Component<'_>> = kept
            .iter()
            .zip(&basis.turned)
            .map(|(&(component, bits), &turned)| Component {
                bits,
                distribution: &learned.distributions[component],
                turned,
            })
            .collect();
        let values = learned.sample.project(&basis.vectors)?;
        let fitted = levels::fit(&components, &learned.sample, &values, observer)?;
        let (stored, level_scales, levels) = stored_levels(&fitted);
        let books = Codebooks::new(&stored);
        let chosen = levels::search(&books, &values);
        let met = chosen.iter().enumerate().map(|(at, &level)| stored[at % stored.len()].1[usize::from(level)]);
        let lost = learned.sample.lost(&met.collect::<Vec<f32>>(), &columns(&basis.vectors, width))?;
        let scales = level_scales.iter().chain(&basis.steps).flat_map(|scale| scale.to_le_bytes()).collect();
        let gains = learned.gains.values.iter().flat_map(|gain| gain.to_le_bytes()).collect();
        Ok(Fitted { vectors: basis.vectors, books, companions: [bits, levels, basis.bytes, scales, gains], lost })
    }
}

/// Vectors `[k, d]` as the columns of `[d, k]`, in singles.
pub(super) fn columns(vectors: &[f64], width: usize) -> Vec<u8> {
    let components = vectors.len() / width.max(1);
    let mut bytes = vec![0; vectors.len() * size_of::<f32>()];
    let entries = bytes.as_chunks_mut().0;
    for (component, vector) in vectors.chunks_exact(width.max(1)).enumerate() {
        for (out, entry) in entries.iter_mut().skip(component).step_by(components).zip(vector) {
            *out = (*entry as f32).to_le_bytes();
        }
    }
    bytes
}

/// Of a component: the bits of its codes, and its levels.
type Book = (u8, Vec<f32>);

/// The levels as they are stored, which are those that rows are encoded with; their scales; their bytes.
fn stored_levels(fitted: &[Book]) -> (Vec<Book>, Vec<f32>, Vec<u8>) {
    let (mut books, mut scales, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for (bits, levels) in fitted {
        let scale = levels.iter().fold(0.0f32, |largest, level| largest.max(level.abs()));
        let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
        let stored: Vec<f16> = levels.iter().map(|&level| f16::from_f64(f64::from(level) * inverse)).collect();
        bytes.extend(stored.iter().flat_map(|level| level.to_le_bytes()));
        books.push((*bits, stored.iter().map(|level| level.to_f32() * scale).collect()));
        scales.push(scale);
    }
    (books, scales, bytes)
}
