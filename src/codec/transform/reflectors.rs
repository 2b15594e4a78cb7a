//! The stored basis: orthonormal vectors as Householder reflections, quantized one after the other.
//!
//! k orthonormal vectors of d entries are not d k free numbers: each has to be orthogonal to those before it. Vector j
//! is `H_1 ... H_j e_j` with `H = I - 2 v v^T / v^T v`, where v is zero before entry j and one there, so that d - 1 - j
//! entries are left to store (Householder, "Unitary triangularization of a nonsymmetric matrix", Journal of the ACM 5,
//! 1958; it is the form in which LAPACK keeps the factor Q). Whatever the entries are rounded to, the vectors are
//! orthonormal to the last digits of a double. A vector is found for the basis as it is stored so far: what rounding
//! turned away from the earlier vectors is left to the later ones, and the components are taken along the stored basis, so
//! that rounding moves energy between components but loses none of it.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "there are at most as many vectors as columns, which `Stored::open` checks, and their bytes are as many as their bits need; measured"
)]

use rayon::prelude::*;

use super::basis::{Grid, entry_bits, vector_bytes};
use super::bits::{BitReader, BitWriter};
use crate::linalg::{InstructionSet, Work};

/// Vectors that one task reflects.
const TASK_VECTORS: usize = 8;
/// Partial sums, in a fixed order whatever the instructions.
const LANES: usize = 8;

/// A basis on its way into a part.
pub(super) struct StoredBasis {
    /// The vectors that the part stands for, `[k, d]`.
    pub(super) vectors: Vec<f64>,
    /// Whether a vector points away from the one that was asked for.
    pub(super) turned: Vec<bool>,
    /// The distance of neighbouring values of each reflection.
    pub(super) steps: Vec<f32>,
    /// The packed reflections, each from a whole byte on.
    pub(super) bytes: Vec<u8>,
}

/// The basis nearest to the orthonormal `vectors`, `[k, d]`, whose components have `bits`.
pub(super) fn store(bits: &[u8], mut vectors: Vec<f64>, width: usize) -> StoredBasis {
    let (mut turned, mut steps, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for (index, &bits) in bits.iter().enumerate() {
        let (known, later) = vectors.split_at_mut((index + 1) * width);
        // From here on the place of the vector holds its reflection.
        let (before, own) = known[index * width..].split_at_mut(index);
        before.fill(0.0);
        turned.push(reflection(own));
        let tail = &mut own[1..];
        let grid = Grid::fit(bits, tail).0;
        steps.push(grid.step());
        let mut packed = vec![0; vector_bytes(bits, index, width as u64) as usize];
        let mut writer = BitWriter::new(&mut packed);
        for entry in tail {
            let code = grid.code(*entry);
            writer.put(code, entry_bits(bits));
            *entry = grid.value(code);
        }
        writer.finish();
        bytes.extend(packed);
        let reflect = Reflection::new(own);
        later.par_chunks_mut(TASK_VECTORS * width).for_each(|vectors| {
            vectors.chunks_exact_mut(width).for_each(|vector| reflect.apply(&mut vector[index..]));
        });
    }
    StoredBasis { vectors: accumulate(&vectors, width), turned, steps, bytes }
}

/// The vectors of a stored basis, `[k, d]`; `bytes` are as many as the bits need.
pub(super) fn load(bits: &[u8], steps: &[f32], bytes: &[u8], width: usize) -> Vec<f64> {
    let mut reflections = vec![0.0; bits.len() * width];
    let mut rest = bytes;
    for (index, (&bits, &step)) in bits.iter().zip(steps).enumerate() {
        let grid = Grid::new(bits, step);
        let (packed, after) = rest.split_at(vector_bytes(bits, index, width as u64) as usize);
        rest = after;
        let mut reader = BitReader::new(packed);
        let own = &mut reflections[index * width + index..(index + 1) * width];
        own[0] = 1.0;
        own[1..].iter_mut().for_each(|entry| *entry = grid.value(reader.take(entry_bits(bits))));
    }
    accumulate(&reflections, width)
}

/// Turns a vector into the reflection, one at its first entry, that takes the first axis to the vector's direction or to
/// the opposite one; which of both keeps the entries within one, and is told.
fn reflection(vector: &mut [f64]) -> bool {
    let norm = vector.iter().map(|entry| entry * entry).sum::<f64>().sqrt();
    // Nothing is left of a vector that the ones before it span: then any direction will do.
    let unit = if norm > 0.0 { 1.0 / norm } else { 0.0 };
    let turned = vector[0] > 0.0;
    let sign = if turned { -unit } else { unit };
    let factor = sign / (sign * vector[0] - 1.0);
    vector.iter_mut().for_each(|entry| *entry *= factor);
    vector[0] = 1.0;
    turned
}

/// `H_1 ... H_j e_j` for every reflection j.
fn accumulate(reflections: &[f64], width: usize) -> Vec<f64> {
    let prepared: Vec<Reflection<'_>> = reflections
        .chunks_exact(width.max(1))
        .enumerate()
        .map(|(index, reflection)| Reflection::new(&reflection[index..]))
        .collect();
    let mut vectors = vec![0.0; reflections.len()];
    vectors.par_chunks_mut(TASK_VECTORS * width.max(1)).enumerate().for_each(|(task, vectors)| {
        let first = task * TASK_VECTORS;
        let count = vectors.len() / width;
        for (at, vector) in vectors.chunks_exact_mut(width).enumerate() {
            vector[first + at] = 1.0;
        }
        for (index, reflection) in prepared[..first + count].iter().enumerate().rev() {
            // Later reflections leave an axis before them as it is.
            for vector in vectors.chunks_exact_mut(width).skip(index.saturating_sub(first)) {
                reflection.apply(&mut vector[index..]);
            }
        }
    });
    vectors
}

/// `I - 2 v v^T / v^T v`.
#[derive(Clone, Copy)]
struct Reflection<'a> {
    vector: &'a [f64],
    factor: f64,
}

impl<'a> Reflection<'a> {
    fn new(vector: &'a [f64]) -> Self {
        Reflection { vector, factor: -2.0 / InstructionSet::best().run(Dot(vector, vector)) }
    }

    fn apply(&self, vector: &mut [f64]) {
        let set = InstructionSet::best();
        let factor = self.factor * set.run(Dot(self.vector, vector));
        set.run(AddMultiple { to: vector, factor, of: self.vector });
    }
}

struct Dot<'a>(&'a [f64], &'a [f64]);

impl Work for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let ((left, left_rest), (right, right_rest)) = (self.0.as_chunks::<LANES>(), self.1.as_chunks::<LANES>());
        let mut sums = [0.0; LANES];
        for (left, right) in left.iter().zip(right) {
            for ((sum, x), y) in sums.iter_mut().zip(left).zip(right) {
                *sum += x * y;
            }
        }
        sums.iter().sum::<f64>() + left_rest.iter().zip(right_rest).map(|(x, y)| x * y).sum::<f64>()
    }
}

struct AddMultiple<'a> {
    to: &'a mut [f64],
    factor: f64,
    of: &'a [f64],
}

impl Work for AddMultiple<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.of).for_each(|(to, of)| *to += self.factor * of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orthonormal vectors by Gram and Schmidt from numbers without a pattern.
    fn orthonormal(count: usize, width: usize) -> Vec<f64> {
        let mut vectors: Vec<Vec<f64>> = Vec::new();
        for index in 0..count {
            let mut vector: Vec<f64> =
                (0..width).map(|at| ((at * 31 + index * 57 + at * at * index) as f64 * 0.7 + 0.3).sin()).collect();
            for _ in 0..2 {
                for other in &vectors {
                    let along: f64 = vector.iter().zip(other).map(|(x, y)| x * y).sum();
                    vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
                }
            }
            let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            vectors.push(vector.into_iter().map(|x| x / norm).collect());
        }
        vectors.concat()
    }

    fn product(left: &[f64], right: &[f64]) -> f64 {
        left.iter().zip(right).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn a_stored_basis_is_orthonormal_and_near_the_one_asked_for() {
        for (count, width) in [(1, 1), (1, 9), (5, 9), (9, 9), (40, 57)] {
            let wanted = orthonormal(count, width);
            let stored = store(&vec![8; count], wanted.clone(), width);
            for (index, vector) in stored.vectors.chunks(width).enumerate() {
                for (other, second) in stored.vectors.chunks(width).enumerate() {
                    let expected = if index == other { 1.0 } else { 0.0 };
                    assert!((product(vector, second) - expected).abs() < 1e-13);
                }
                let along = product(vector, &wanted[index * width..(index + 1) * width]);
                let sign = if stored.turned[index] { -1.0 } else { 1.0 };
                assert!(sign * along > 0.999, "vector {index} of {count}: {along}");
            }
        }
    }

    #[test]
    fn a_stored_basis_loads_as_it_was_stored() {
        let bits = [8, 5, 2, 1, 1, 3, 1];
        let stored = store(&bits, orthonormal(7, 20), 20);
        assert_eq!(load(&bits, &stored.steps, &stored.bytes, 20), stored.vectors);
    }

    #[test]
    fn a_vector_that_others_span_becomes_some_other_one() {
        let mut vectors = orthonormal(3, 6);
        let first = vectors[..6].to_vec();
        vectors[12..].copy_from_slice(&first);
        let stored = store(&[8; 3], vectors, 6);
        let last = &stored.vectors[12..];
        assert!((product(last, last) - 1.0).abs() < 1e-13);
        assert!(product(last, &stored.vectors[..6]).abs() < 1e-13);
    }
}
