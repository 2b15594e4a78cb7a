//! Random rows from a seed.

use std::collections::BTreeSet;

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0. The bias is below `bound / 2^64`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// `count` distinct numbers below `bound`, or all of them, sorted: Floyd's algorithm.
pub(super) fn distinct(count: usize, bound: usize, seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed);
    let mut chosen = BTreeSet::new();
    for last in bound.saturating_sub(count)..bound {
        let candidate = random.below(last + 1);
        if !chosen.insert(candidate) {
            chosen.insert(last);
        }
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_distinct_sorted_in_range_and_repeatable() {
        for (count, bound) in [(0, 10), (3, 10), (10, 10), (20, 10), (1000, 30_522), (5, 0)] {
            let sample = distinct(count, bound, 7);
            assert_eq!(sample.len(), count.min(bound));
            assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(sample.iter().all(|&row| row < bound));
            assert_eq!(sample, distinct(count, bound, 7));
        }
        assert_ne!(distinct(10, 1000, 1), distinct(10, 1000, 2));
    }

    #[test]
    fn every_number_is_drawn_about_as_often_as_any_other() {
        let mut counts = [0; 20];
        for seed in 0..4000 {
            distinct(5, 20, seed).into_iter().for_each(|row| counts[row] += 1);
        }
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
    }
}
