//! k-means on short vectors (Lloyd, "Least squares quantization in PCM", 1982), the same for any number of threads.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder: centroids and points are numbered by itself; measured"
)]

use crate::linalg::{InstructionSet, Work};
use crate::random::Random;

/// Centroids that a point is compared with at a time, one to a lane of the vector instructions.
const LANES: usize = 16;

/// A number of each of them.
type Lanes = [f32; LANES];

/// Centroids of one sub-quantizer.
///
/// The nearest centroid c to a point x is that of the least `|c|^2 / 2 - x c`, a chain of one multiply-add for each
/// entry. Beside a large |c| small distances would drown, so that both are taken from the median of the centroids first,
/// which neither a common mean nor one outlier moves.
#[derive(Debug, Clone)]
pub(super) struct Centroids {
    /// `[count, s]`.
    rows: Vec<f32>,
    size: usize,
    /// What is subtracted from points.
    shift: Vec<f32>,
    /// The shifted centroids, negated, `[count / LANES, s]`.
    negated: Vec<Lanes>,
    /// Half of their squared norms, `[count / LANES]`; infinite in lanes that have no centroid.
    halves: Vec<Lanes>,
}

impl Centroids {
    /// From their entries, `[count, size]`; there is at least one.
    pub(super) fn new(rows: Vec<f32>, size: usize) -> Self {
        let count = rows.len() / size.max(1);
        let mut column: Vec<f32> = Vec::with_capacity(count);
        let shift = (0..size).map(|at| {
            column.clear();
            column.extend(rows.iter().skip(at).step_by(size));
            *column.select_nth_unstable_by(count / 2, f32::total_cmp).1
        });
        let shift: Vec<f32> = shift.collect();
        let mut negated = vec![[0.0; LANES]; count.div_ceil(LANES) * size];
        let mut halves = vec![[f32::INFINITY; LANES]; count.div_ceil(LANES)];
        for (index, row) in rows.chunks_exact(size.max(1)).enumerate() {
            let (chunk, lane) = (index / LANES, index % LANES);
            halves[chunk][lane] = 0.0;
            for (out, (x, shift)) in negated[chunk * size..].iter_mut().zip(row.iter().zip(&shift)) {
                out[lane] = shift - x;
                halves[chunk][lane] += out[lane] * out[lane] / 2.0;
            }
        }
        Centroids { rows, size, shift, negated, halves }
    }

    /// The entries, `[count, s]`.
    pub(super) fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Centroid `index`.
    pub(super) fn get(&self, index: usize) -> &[f32] {
        &self.rows[index * self.size..][..self.size]
    }

    fn count(&self) -> usize {
        self.rows.len() / self.size.max(1)
    }

    /// Writes the index of the nearest centroid of every point, of equals the first, and gives their squared distances
    /// to `each`, in order.
    pub(super) fn assign(&self, points: &[f32], codes: &mut [u8], mut each: impl FnMut(usize, f32)) {
        nearest(InstructionSet::best(), self, points, codes);
        for (at, (point, &code)) in points.chunks_exact(self.size.max(1)).zip(codes.iter()).enumerate() {
            let centroid = self.get(usize::from(code));
            each(at, point.iter().zip(centroid).map(|(x, c)| (x - c) * (x - c)).sum());
        }
    }
}

/// Writes the index of the nearest centroid of every point.
fn nearest(set: InstructionSet, centroids: &Centroids, points: &[f32], codes: &mut [u8]) {
    if set.fuses() {
        set.run(Assign::<true> { centroids, points, codes });
    } else {
        set.run(Assign::<false> { centroids, points, codes });
    }
}

/// Finds nearest centroids, with fused multiply-adds or without.
struct Assign<'a, const FUSED: bool> {
    centroids: &'a Centroids,
    points: &'a [f32],
    codes: &'a mut [u8],
}

impl<const FUSED: bool> Work for Assign<'_, FUSED> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Centroids { shift, negated, halves, size, .. } = self.centroids;
        let mut shifted = vec![0.0; *size];
        for (point, code) in self.points.chunks_exact(*size).zip(self.codes) {
            shifted.iter_mut().zip(point).zip(shift).for_each(|((out, x), shift)| *out = x - shift);
            let (mut least, mut places, mut start) = ([f32::INFINITY; LANES], [0u32; LANES], 0u32);
            for (half, negated) in halves.iter().zip(negated.chunks_exact(*size)) {
                let mut scores = *half;
                for (x, entries) in shifted.iter().zip(negated) {
                    for lane in 0..LANES {
                        scores[lane] = if FUSED {
                            x.mul_add(entries[lane], scores[lane])
                        } else {
                            scores[lane] + x * entries[lane]
                        };
                    }
                }
                for lane in 0..LANES {
                    let less = scores[lane] < least[lane];
                    least[lane] = if less { scores[lane] } else { least[lane] };
                    places[lane] = if less { start } else { places[lane] };
                }
                // It cannot overflow: a check for that would keep the compiler from making vectors of the lanes.
                start = start.wrapping_add(LANES as u32);
            }
            *code = first(least, places) as u8;
        }
    }
}

/// The place of the least of the lanes' scores, of equals the first. A lane has the first of its own, in the lanes that
/// start at its place.
#[inline(always)]
fn first(least: Lanes, mut places: [u32; LANES]) -> u32 {
    let overall = fold(least, |one, other| if other < one { other } else { one });
    for lane in 0..LANES {
        places[lane] = if least[lane] == overall { places[lane] | LANE[lane] } else { u32::MAX };
    }
    fold(places, |one, other| one.min(other))
}

/// The number of each lane.
const LANE: [u32; LANES] = {
    let mut numbers = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        numbers[lane] = lane as u32;
        lane += 1;
    }
    numbers
};

/// One of all lanes, in as many steps as halving them takes.
#[inline(always)]
fn fold<T: Copy>(mut lanes: [T; LANES], choose: impl Fn(T, T) -> T + Copy) -> T {
    halve::<T, 8>(&mut lanes, choose);
    halve::<T, 4>(&mut lanes, choose);
    halve::<T, 2>(&mut lanes, choose);
    halve::<T, 1>(&mut lanes, choose);
    lanes[0]
}

/// Chooses between each of the first `WIDTH` lanes and the one as far behind it.
#[inline(always)]
fn halve<T: Copy, const WIDTH: usize>(lanes: &mut [T; LANES], choose: impl Fn(T, T) -> T) {
    for lane in 0..WIDTH {
        lanes[lane] = choose(lanes[lane], lanes[lane + WIDTH]);
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

/// Centroids to begin with: distinct points drawn at random; zeros where there are fewer points.
pub(super) fn start(points: Points<'_>, count: usize, random: &mut Random) -> Centroids {
    let mut rows = vec![0.0; count * points.size];
    let mut order: Vec<usize> = (0..points.count()).collect();
    for (index, row) in rows.chunks_exact_mut(points.size).enumerate().take(order.len()) {
        let other = index + (random.uniform() * (order.len() - index) as f64) as usize;
        order.swap(index, other);
        row.copy_from_slice(&points.values[order[index] * points.size..][..points.size]);
    }
    Centroids::new(rows, points.size)
}

/// Moves `centroids` to the means of what is nearest to them, at most `rounds` times; gives the weighted squared error
/// of the last assignment.
pub(super) fn improve(centroids: &mut Centroids, points: Points<'_>, rounds: usize) -> f64 {
    let (count, size) = (centroids.count(), points.size);
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
        let mut rows = centroids.rows.clone();
        let moved = rows.chunks_exact_mut(size).zip(sums.chunks_exact(size)).zip(&masses);
        for ((row, sums), mass) in moved.filter(|(_, mass)| **mass > 0.0) {
            row.iter_mut().zip(sums).for_each(|(out, sum)| *out = (sum / mass) as f32);
        }
        if points.count() > count {
            split_for_empty(&mut rows, size, &mut masses);
        }
        *centroids = Centroids::new(rows, size);
    }
    error
}

/// Gives every centroid without points half of the heaviest cluster: both move a little to either side.
fn split_for_empty(rows: &mut [f32], size: usize, masses: &mut [f64]) {
    const APART: f32 = 1.0 / 1024.0;
    for empty in 0..masses.len() {
        if masses[empty] > 0.0 {
            continue;
        }
        let heaviest = (0..masses.len()).fold(0, |best, index| if masses[index] > masses[best] { index } else { best });
        for at in 0..size {
            let middle = rows[heaviest * size + at];
            rows[heaviest * size + at] = middle * (1.0 + APART);
            rows[empty * size + at] = middle * (1.0 - APART);
        }
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
            let centroids = Centroids::new(values.clone(), size);
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
    fn small_distances_do_not_drown_beside_a_large_mean_or_an_outlier() {
        let mut random = Random::new(3);
        let mut near = || 5e3 + (random.uniform() * 64.0) as f32 / 64.0;
        let mut values: Vec<f32> = (0..2 * 40).map(|_| near()).collect();
        values[6] = 1e9;
        let centroids = Centroids::new(values.clone(), 2);
        let points: Vec<f32> = (0..2 * 30).map(|_| near()).collect();
        let mut codes = vec![0; 30];
        centroids.assign(&points, &mut codes, |_, _| {});
        for (point, code) in points.chunks(2).zip(codes) {
            let to = |c: &[f32]| c.iter().zip(point).map(|(c, x)| f64::from(c - x).powi(2)).sum::<f64>();
            let least = values.chunks(2).map(to).fold(f64::INFINITY, f64::min);
            assert!(to(centroids.get(usize::from(code))) <= least + 1e-6);
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_codes() {
        let mut random = Random::new(5);
        let mut numbers = |n: usize| (0..n).map(|_| random.uniform() as f32).collect::<Vec<_>>();
        let (centroids, points) = (Centroids::new(numbers(3 * 100), 3), numbers(3 * 50));
        let mut all = InstructionSet::available().map(|set| {
            let mut codes = vec![0; 50];
            nearest(set, &centroids, &points, &mut codes);
            codes
        });
        let first = all.next();
        assert!(all.all(|codes| Some(codes) == first));
    }

    #[test]
    fn as_many_centroids_as_points_leave_no_error() {
        let values: Vec<f32> = (0..16).map(|i| (i * i) as f32).collect();
        let points = Points { values: &values, size: 1, weights: None };
        let mut centroids = start(points, 16, &mut Random::new(1));
        assert_eq!(improve(&mut centroids, points, 3), 0.0);
    }
}
