//! The operating points of one table, and how a target picks one of them.

use crate::error::{Error, ErrorKind, Result};

/// One operating point: what it costs and what it loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Bytes of data stored.
    pub bytes: u64,
    /// Predicted `||W - decode||_F^2`.
    pub squared_error: f64,
}

/// The operating points of one table, from the smallest up.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    squared_norm: f64,
    dense_bytes: u64,
    steps: Vec<Step>,
}

impl Ladder {
    /// A ladder of a table with `||W||_F^2 = squared_norm` that takes `dense_bytes` in the source.
    ///
    /// `steps` go up in bytes. An error above that of a smaller step (rounding noise) counts as that of the smaller,
    /// since nobody need pay more for less.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where there is no step or bytes decrease; [`ErrorKind::NonFinite`] where the norm or an
    /// error is negative, infinite or NaN.
    pub fn new(squared_norm: f64, dense_bytes: u64, mut steps: Vec<Step>) -> Result<Self> {
        if steps.is_empty() {
            return Err(Error::new(ErrorKind::Request, "table has no operating point that saves bytes"));
        }
        let bad = |value: f64| !(value.is_finite() && value >= 0.0);
        if let Some(value) = steps.iter().map(|step| step.squared_error).chain([squared_norm]).find(|&value| bad(value))
        {
            return Err(Error::new(
                ErrorKind::NonFinite,
                "squared error of a table is not a number that can be compared",
            )
            .found(value.to_string()));
        }
        if !steps.is_sorted_by_key(|step| step.bytes) {
            return Err(Error::new(ErrorKind::Request, "operating points are not in the order of their bytes"));
        }
        let mut least = f64::INFINITY;
        for step in &mut steps {
            least = least.min(step.squared_error);
            step.squared_error = least;
        }
        Ok(Ladder { squared_norm, dense_bytes, steps })
    }

    /// `||W||_F^2`.
    pub fn squared_norm(&self) -> f64 {
        self.squared_norm
    }

    /// Bytes of the table in the source.
    pub fn dense_bytes(&self) -> u64 {
        self.dense_bytes
    }

    /// The steps; bytes do not decrease and errors do not increase.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Predicted relative Frobenius error at `squared_error`; 0 for a table of zeros.
    pub fn relative_error(&self, squared_error: f64) -> f64 {
        if self.squared_norm == 0.0 { 0.0 } else { (squared_error / self.squared_norm).sqrt() }
    }

    /// The smallest step that retains the fraction `energy` of `||W||_F^2`.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where no step does; the message names the best.
    pub fn at_energy(&self, energy: f64) -> Result<usize> {
        self.first(|error| self.squared_norm - error >= energy * self.squared_norm).ok_or_else(|| {
            let best = 1.0 - self.relative_error(self.best()).powi(2);
            Error::new(ErrorKind::Request, "energy cannot be retained in fewer bytes than the table takes")
                .expected(format!("at least {energy} of the energy"))
                .found(format!("at most {best:.9}"))
                .hint("ask for less energy, or leave the table out with `--exclude`")
        })
    }

    /// The smallest step with a predicted relative Frobenius error of at most `error`.
    ///
    /// # Errors
    /// [`ErrorKind::Gate`] where no step has; the message names the best.
    pub fn at_max_error(&self, error: f64) -> Result<usize> {
        self.first(|squared| self.relative_error(squared) <= error).ok_or_else(|| {
            Error::new(ErrorKind::Gate, "error cannot be reached in fewer bytes than the table takes")
                .expected(format!("a relative Frobenius error of at most {error}"))
                .found(format!("{:.6e} at best", self.relative_error(self.best())))
                .hint("allow a larger error, or leave the table out with `--exclude`")
        })
    }

    /// The first step whose squared error passes `enough`, which must hold for every smaller error too.
    fn first(&self, enough: impl Fn(f64) -> bool) -> Option<usize> {
        let index = self.steps.partition_point(|step| !enough(step.squared_error));
        (index < self.steps.len()).then_some(index)
    }

    fn best(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.squared_error)
    }
}
