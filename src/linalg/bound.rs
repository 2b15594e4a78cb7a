//! The least error that any code can reach at a rate, for a Gaussian source with the table's spectrum.

use super::Spectrum;

impl Spectrum {
    /// The relative Frobenius error below which no code of `bits` bits per parameter gets, on average, for rows that
    /// are independent draws of a Gaussian with this spectrum in `columns` dimensions: reverse water-filling (Cover
    /// and Thomas, "Elements of Information Theory", 2nd ed., theorem 10.3.3). A table whose rows are not Gaussian
    /// may be coded better. 0 for a table of zeros.
    ///
    /// Component i has the variance `sigma_i^2 / V`; with a water level t it costs `max(0, log2(sigma_i^2 / t) / 2)`
    /// bits and keeps the error `min(t, sigma_i^2)`. The basis, which every real code also stores, is free here.
    pub fn gaussian_bound(&self, columns: usize, bits: f64) -> f64 {
        let energies: Vec<f64> = self.energies.iter().copied().filter(|&energy| energy > 0.0).collect();
        let total: f64 = energies.iter().rev().sum();
        if energies.is_empty() || total <= 0.0 {
            return 0.0;
        }
        if bits <= 0.0 {
            return 1.0;
        }
        // With the n largest components above the level: log2 t = mean of log2 sigma_i^2 - 2 bits d / n.
        let rate = 2.0 * bits * columns as f64;
        let mut logarithms = 0.0;
        let mut level = 0.0f64;
        let mut above = 0;
        for (index, energy) in energies.iter().enumerate() {
            logarithms += energy.log2();
            let count = (index + 1) as f64;
            let candidate = ((logarithms - rate) / count).exp2();
            if candidate > *energy {
                break;
            }
            (level, above) = (candidate, index + 1);
        }
        let below: f64 = energies.iter().skip(above).rev().sum();
        ((level * above as f64 + below) / total).sqrt().min(1.0)
    }
}
