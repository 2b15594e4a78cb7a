//! The grid that the entries of the basis are rounded to.
//!
//! An error e in a vector of energy lambda moves lambda e^2 to other components, where it takes bits.

#![expect(clippy::arithmetic_side_effects, reason = "bits of a component are from 1 to 8, which `Stored::open` checks")]

/// Bits of an entry beyond those of the component's codes.
pub(super) const MORE_BITS: u32 = 2;

/// Largest magnitudes, as shares of the vector's largest entry, that the steps tried reach to.
const REACHES: [f64; 6] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5];

/// Bits of an entry of the vector of a component of `bits` bits.
pub(super) const fn entry_bits(bits: u8) -> u32 {
    bits as u32 + MORE_BITS
}

/// Bytes of the reflection of the kept component `index`, from 0, of `bits` bits; rows have `width` entries.
pub(super) const fn vector_bytes(bits: u8, index: usize, width: u64) -> u64 {
    (width.saturating_sub(1 + index as u64) * entry_bits(bits) as u64).div_ceil(8)
}

/// A vector on a uniform grid: code `c` means `(c - half + 1/2) * step`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    step: f32,
    half: f64,
}

impl Grid {
    /// The grid of a component of `bits` bits with a stored step.
    pub(super) fn new(bits: u8, step: f32) -> Grid {
        Grid { step, half: f64::from(1u32 << (entry_bits(bits) - 1)) }
    }

    /// The grid of least squared error on `vector`, of those that are tried; and that error.
    pub(super) fn fit(bits: u8, vector: &[f64]) -> (Grid, f64) {
        let largest = vector.iter().fold(0.0f64, |largest, entry| largest.max(entry.abs()));
        let grids = REACHES.map(|reach| {
            let unit = Grid::new(bits, 0.0);
            let grid = Grid { step: (largest * reach / (unit.half - 0.5)) as f32, ..unit };
            (grid, vector.iter().map(|&entry| (grid.value(grid.code(entry)) - entry).powi(2)).sum::<f64>())
        });
        grids.into_iter().min_by(|x, y| x.1.total_cmp(&y.1)).unwrap_or((Grid::new(bits, 0.0), 0.0))
    }

    /// The distance between neighbouring values.
    pub(super) fn step(self) -> f32 {
        self.step
    }

    /// The code of an entry.
    pub(super) fn code(self, entry: f64) -> u32 {
        let place = (entry / f64::from(self.step)).floor() + self.half;
        // A step of zero gives NaN, which becomes code 0 and value 0.
        place.clamp(0.0, 2.0 * self.half - 1.0) as u32
    }

    /// What a code means.
    pub(super) fn value(self, code: u32) -> f64 {
        (f64::from(code) - self.half + 0.5) * f64::from(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bits_bring_a_vector_closer() {
        let vector: Vec<f64> = (0..100).map(|i| (f64::from(i) * 1.7).sin() / 7.0).collect();
        let errors: Vec<f64> = (1..=8).map(|bits| Grid::fit(bits, &vector).1).collect();
        assert!(errors.windows(2).all(|pair| pair[1] < pair[0] / 2.0), "{errors:?}");
    }

    #[test]
    fn a_single_entry_is_met_almost_exactly() {
        for bits in 1..=8 {
            assert!(Grid::fit(bits, &[1.0, 0.0, 0.0]).1 < 2.0 / f64::from(1u32 << (2 * entry_bits(bits))) * 4.0);
        }
        assert_eq!(Grid::fit(3, &[0.0; 5]).1, 0.0);
    }
}
