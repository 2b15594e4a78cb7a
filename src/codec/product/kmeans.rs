//! k-means on short vectors (Lloyd, "Least squares quantization in PCM", 1982), the same for any number of threads.

use crate::codec::random::Random;
use crate::linalg::{InstructionSet, Work};

/// Centroids that are compared at a time.
const LANES: usize = 16;

/// Centroids of one sub-quantizer, entry by entry: `[s, count]` with the count padded to whole lanes.
#[derive(Debug, Clone)]
pub(super) struct Centroids {
    entries: Vec<f32>,
    size: usize,
    count: usize,
    stride: usize,
}

impl Centroids {
    /// `count` centroids of `size` entries, all zero.
    pub(super) fn zeros(size: usize, count: usize) -> Self {
        let stride = count.div_ceil(LANES) * LANES;
        Centroids { entries: vec![0.0; size * stride], size, count, stride }
    }

    /// Centroid `index`.
    pub(super) fn get(&self, index: usize) -> impl Iterator<Item = f32> {
        self.entries.iter().skip(index).step_by(self.stride).copied()
    }

    /// Sets centroid `index`.
    pub(super) fn set(&mut self, index: usize, values: impl Iterator<Item = f32>) {
        self.entries.iter_mut().skip(index).step_by(self.stride).zip(values).for_each(|(out, value)| *out = value);
        if index == 0 {
            // The padding repeats the first centroid, which wins against it.
            for row in self.entries.chunks_exact_mut(self.stride) {
                let first = row[0];
                row[self.count..].fill(first);
            }
        }
    }

    /// Writes the index of the nearest centroid of every point, of equals the first, and gives their distances to
    /// `each`.
    pub(super) fn assign(&self, points: &[f32], codes: &mut [u8], each: impl FnMut(usize, f32)) {
        InstructionSet::best().run(Assign { centroids: self, points, codes, each });
    }
}

/// Finds nearest centroids.
struct Assign<'a, F> {
    centroids: &'a Centroids,
    points: &'a [f32],
    codes: &'a mut [u8],
    each: F,
}

impl<F: FnMut(usize, f32)> Work for Assign<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let Centroids { entries, size, count, stride } = self.centroids;
        let mut distances = [0.0f32; 256];
        let Some(distances) = distances.get_mut(..*stride) else { return };
        for (at, (point, code)) in self.points.chunks_exact((*size).max(1)).zip(self.codes.iter_mut()).enumerate() {
            distances.fill(0.0);
            for (&x, row) in point.iter().zip(entries.chunks_exact(*stride)) {
                for (distance, &c) in distances.iter_mut().zip(row) {
                    let difference = x - c;
                    *distance += difference * difference;
                }
            }
            let mut least = [f32::INFINITY; LANES];
            let mut chunk_of = [0u32; LANES];
            for (index, distances) in distances.as_chunks::<LANES>().0.iter().enumerate() {
                for ((least, chunk_of), &distance) in least.iter_mut().zip(&mut chunk_of).zip(distances) {
                    let nearer = distance < *least;
                    *least = if nearer { distance } else { *least };
                    *chunk_of = if nearer { index as u32 } else { *chunk_of };
                }
            }
            let mut best = (f32::INFINITY, 0);
            for (lane, (&distance, &chunk)) in least.iter().zip(&chunk_of).enumerate() {
                let index = chunk as usize * LANES + lane;
                if index < *count && (distance < best.0 || (distance == best.0 && index < best.1)) {
                    best = (distance, index);
                }
            }
            *code = best.1 as u8;
            (self.each)(at, best.0);
        }
    }
}

/// Points with what each counts.
#[derive(Clone, Copy)]
pub(super) struct Points<'a> {
    /// `[n, s]`.
    pub(super) values: &'a [f32],
    pub(super) size: usize,
    /// One each; all the same where there are none.
    pub(super) weights: Option<&'a [f32]>,
}

impl Points<'_> {
    fn count(&self) -> usize {
        self.values.len() / self.size.max(1)
    }

    fn weight(&self, index: usize) -> f64 {
        self.weights.map_or(1.0, |weights| f64::from(weights[index]))
    }
}

/// Centroids to begin with: distinct points drawn at random.
pub(super) fn start(points: Points<'_>, count: usize, random: &mut Random) -> Centroids {
    let mut centroids = Centroids::zeros(points.size, count);
    let mut order: Vec<usize> = (0..points.count()).collect();
    for index in 0..count.min(order.len()) {
        let other = index + (random.uniform() * (order.len() - index) as f64) as usize;
        order.swap(index, other);
        let point = &points.values[order[index] * points.size..][..points.size];
        centroids.set(index, point.iter().copied());
    }
    centroids
}

/// Moves `centroids` to the means of what is nearest to them, at most `rounds` times; gives the weighted squared error
/// of the last assignment.
pub(super) fn improve(centroids: &mut Centroids, points: Points<'_>, rounds: usize) -> f64 {
    let (count, size) = (centroids.count, points.size);
    let mut codes = vec![0u8; points.count()];
    let mut before = Vec::new();
    let mut error = 0.0;
    for _ in 0..rounds {
        error = 0.0;
        centroids.assign(points.values, &mut codes, |at, distance| error += points.weight(at) * f64::from(distance));
        if codes == before {
            break;
        }
        before.clone_from(&codes);
        let mut sums = vec![0.0f64; count * size];
        let mut masses = vec![0.0f64; count];
        for (at, (point, &code)) in points.values.chunks_exact(size).zip(&codes).enumerate() {
            let (code, weight) = (usize::from(code), points.weight(at));
            masses[code] += weight;
            for (sum, &x) in sums[code * size..(code + 1) * size].iter_mut().zip(point) {
                *sum += weight * f64::from(x);
            }
        }
        for (index, mass) in masses.iter().enumerate().filter(|(_, mass)| **mass > 0.0) {
            let sum = &sums[index * size..(index + 1) * size];
            centroids.set(index, sum.iter().map(|sum| (sum / mass) as f32));
        }
        if points.count() > count {
            split_for_empty(centroids, &mut masses);
        }
    }
    error
}

/// Gives every centroid without points half of the heaviest cluster: both move a little to either side.
fn split_for_empty(centroids: &mut Centroids, masses: &mut [f64]) {
    const APART: f32 = 1.0 / 1024.0;
    for empty in 0..masses.len() {
        if masses[empty] > 0.0 {
            continue;
        }
        let heaviest = (0..masses.len()).fold(0, |best, index| if masses[index] > masses[best] { index } else { best });
        let middle: Vec<f32> = centroids.get(heaviest).collect();
        let aside = |sign: f32| middle.iter().map(move |x| x * (1.0 + sign * APART)).collect::<Vec<_>>();
        centroids.set(heaviest, aside(1.0).into_iter());
        centroids.set(empty, aside(-1.0).into_iter());
        masses[heaviest] /= 2.0;
        masses[empty] = masses[heaviest];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_point_goes_to_the_centroid_that_a_look_at_each_finds(
            size in 1usize..6, count in 1usize..40, seed in 0u64..1000
        ) {
            let mut random = Random::new(seed);
            let mut numbers = |n: usize| (0..n).map(|_| (random.uniform() * 8.0) as i32 as f32).collect::<Vec<_>>();
            let (values, points) = (numbers(count * size), numbers(20 * size));
            let mut centroids = Centroids::zeros(size, count);
            for (index, value) in values.chunks(size).enumerate() {
                centroids.set(index, value.iter().copied());
            }
            let mut codes = vec![0; 20];
            let mut distances = vec![0.0; 20];
            centroids.assign(&points, &mut codes, |at, distance| distances[at] = distance);
            for (point, (&code, &distance)) in points.chunks(size).zip(codes.iter().zip(&distances)) {
                let to = |c: &[f32]| c.iter().zip(point).map(|(c, x)| (c - x) * (c - x)).sum::<f32>();
                let all: Vec<f32> = values.chunks(size).map(to).collect();
                let least = all.iter().copied().fold(f32::INFINITY, f32::min);
                prop_assert_eq!(distance, least);
                prop_assert_eq!(usize::from(code), all.iter().position(|&d| d == least).unwrap());
            }
        }

        #[test]
        fn the_error_does_not_grow_with_the_rounds(seed in 0u64..100, weighted: bool) {
            let mut random = Random::new(seed);
            let values: Vec<f32> = (0..600).map(|_| random.uniform() as f32).collect();
            let weights: Vec<f32> = (0..300).map(|_| random.uniform() as f32 + 0.1).collect();
            let points = Points { values: &values, size: 2, weights: weighted.then_some(&weights) };
            let begun = start(points, 16, &mut random);
            let error = |rounds| improve(&mut begun.clone(), points, rounds);
            prop_assert!(error(4) <= error(1) * (1.0 + 1e-6) && error(20) <= error(4) * (1.0 + 1e-6));
        }
    }

    #[test]
    fn as_many_centroids_as_points_leave_no_error() {
        let values: Vec<f32> = (0..16).map(|i| (i * i) as f32).collect();
        let points = Points { values: &values, size: 1, weights: None };
        let mut centroids = start(points, 16, &mut Random::new(1));
        assert_eq!(improve(&mut centroids, points, 3), 0.0);
    }
}
