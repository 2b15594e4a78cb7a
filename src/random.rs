//! Numbers that look random and follow from a seed, the same on every machine.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Numbers of a standard normal distribution.
#[derive(Debug, Clone)]
pub(crate) struct Normal(Random);

impl Normal {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Normal(Random::new(seed))
    }

    /// The next number: a sum of twelve uniform ones, which needs no function whose last bit differs from one machine
    /// to the next. Its tails end at six deviations, which a sketch does not see.
    pub(crate) fn next(&mut self) -> f64 {
        (0..12).map(|_| self.0.uniform()).sum::<f64>() - 6.0
    }
}
