//! What the singular values say about every rank.

/// The squared singular values of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// Squared singular values, descending: all `min(V, d)`, or the largest, where no others were asked for.
    pub energies: Vec<f64>,
    /// The sum of those that are not among them.
    pub rest: f64,
    /// `||W||_F^2`.
    pub squared_norm: f64,
}

impl Spectrum {
    /// `||W - W_k||_F^2` of the best approximation of rank `rank`: the sum of the squared singular values that are
    /// dropped (Eckart and Young 1936). Never negative; zero from full rank on. For ranks up to as many as are known.
    pub fn squared_error(&self, rank: usize) -> f64 {
        // Smallest first, so that nothing is lost beside larger ones.
        self.energies.iter().skip(rank).rev().fold(self.rest, |sum, energy| sum + energy)
    }

    /// [`Spectrum::squared_error`] of every rank from 0 to as many as are known, in one pass.
    pub fn squared_errors(&self) -> Vec<f64> {
        let mut errors = vec![self.rest; self.energies.len() + 1];
        for (rank, energy) in self.energies.iter().enumerate().rev() {
            errors[rank] = errors[rank + 1] + energy;
        }
        errors
    }

    /// Kept squared singular values over all of them, in `[0, 1]`; 1 for a table of zeros.
    pub fn retained_energy(&self, rank: usize) -> f64 {
        let total = self.squared_error(0);
        if total == 0.0 { 1.0 } else { 1.0 - self.squared_error(rank) / total }
    }

    /// `||W - W_k||_F / ||W||_F` of the best approximation of rank `rank`; 0 for a table of zeros.
    pub fn relative_frobenius_error(&self, rank: usize) -> f64 {
        let total = self.squared_error(0);
        if total == 0.0 { 0.0 } else { (self.squared_error(rank) / total).sqrt() }
    }
}
