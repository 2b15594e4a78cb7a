//! The least error that any code of a given rate can have on a normal source with a table's spectrum.

/// Halvings of the interval of water levels: more than a double has bits.
const HALVINGS: usize = 200;

/// The relative Frobenius error below which no code of `bits_per_parameter` gets on a table of `rows` independent
/// normal rows with the squared singular values `energies` (their number is the number of columns, zeros included):
/// reverse water-filling (Cover and Thomas, "Elements of Information Theory", chapter 10; Kolmogorov 1956).
///
/// Component j of variance v gets `max(0, log2(v / t) / 2)` bits and keeps the error `min(v, t)`; the water level t is
/// the one at which the bits add up. The number of rows scales every variance alike, so it does not matter here.
///
/// A real table is not normal: rows of unequal norm can be coded with less than this. Zero for a table of zeros; one
/// for no bits.
pub fn rate_distortion_bound(energies: &[f64], bits_per_parameter: f64) -> f64 {
    let total: f64 = energies.iter().rev().filter(|energy| **energy > 0.0).sum();
    let largest = energies.iter().copied().fold(0.0, f64::max);
    if total <= 0.0 || !total.is_finite() {
        return 0.0;
    }
    let budget = bits_per_parameter.max(0.0) * energies.len() as f64;
    let positive = || energies.iter().copied().filter(|&energy| energy > 0.0);
    let bits = |level: f64| -> f64 { positive().map(|energy| (0.5 * (energy / level).log2()).max(0.0)).sum() };
    // In the logarithm: `low` spends too many bits, `high` none.
    let least = positive().fold(largest, f64::min);
    let (mut low, mut high) = (least.log2() - 2.0 * budget - 1.0, largest.log2());
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if bits(middle.exp2()) > budget {
            low = middle;
        } else {
            high = middle;
        }
    }
    let level = high.exp2();
    (positive().map(|energy| energy.min(level)).sum::<f64>() / total).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_components_lose_six_decibels_to_a_bit() {
        for bits in [0.0, 0.5, 1.0, 4.0, 9.5] {
            let bound = rate_distortion_bound(&[3.0; 17], bits);
            assert!((bound - (-bits).exp2()).abs() < 1e-12, "{bits} bits: {bound}");
        }
    }

    #[test]
    fn a_component_below_the_water_gets_nothing() {
        // Two bits on the first leave it 16 / 16 = 1, which is above the second.
        let bound = rate_distortion_bound(&[16.0, 0.5], 1.0);
        assert!((bound - (1.5f64 / 16.5).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn components_without_energy_need_no_bits() {
        assert!((rate_distortion_bound(&[4.0, 0.0], 1.0) - 0.25).abs() < 1e-12);
        assert_eq!(rate_distortion_bound(&[0.0, 0.0], 1.0), 0.0);
        assert_eq!(rate_distortion_bound(&[], 1.0), 0.0);
    }
}
