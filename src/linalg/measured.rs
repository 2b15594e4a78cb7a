//! Errors of a table that stands for another, as sums over rows.

/// Errors of an encoded table against its source, measured on the bytes written.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// `||W||_F^2`.
    pub squared_norm: f64,
    /// `||W - decode||_F^2`.
    pub squared_error: f64,
    /// `max |W - decode|`.
    pub max_absolute_error: f64,
    /// `max |decode|`, or what neither it nor a sum on the way to it is above; 0 where the codec itself sees to it that every
    /// level is a number.
    pub decoded_bound: f64,
    /// The same sums with weights of rows, where there are any.
    pub weighted: Option<Weighted>,
}

/// Sums over rows, each times the row's weight.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weighted {
    /// `||D^(1/2) W||_F^2`, where D holds the weights.
    pub squared_norm: f64,
    /// `||D^(1/2) (W - decode)||_F^2`.
    pub squared_error: f64,
}

impl Weighted {
    /// `||D^(1/2) (W - decode)||_F / ||D^(1/2) W||_F`; 0 for a table of zeros.
    pub fn relative_frobenius_error(&self) -> f64 {
        relative(self.squared_error, self.squared_norm)
    }
}

impl Measured {
    /// `||W - decode||_F / ||W||_F`; 0 for a table of zeros.
    pub fn relative_frobenius_error(&self) -> f64 {
        relative(self.squared_error, self.squared_norm)
    }

    /// The squared error that is minimized: the weighted one where rows have weights.
    pub fn objective(&self) -> f64 {
        self.weighted.map_or(self.squared_error, |weighted| weighted.squared_error)
    }

    /// Compares rows of `columns` numbers; `weight(i)` is that of row `i` of the slices.
    pub(crate) fn of_rows<T: Copy + Into<f64>>(
        source: &[T],
        decoded: &[T],
        columns: usize,
        weight: impl Fn(usize) -> Option<f64>,
    ) -> Self {
        let mut total = Measured::default();
        let rows = source.chunks_exact(columns.max(1)).zip(decoded.chunks_exact(columns.max(1)));
        for (index, (source, decoded)) in rows.enumerate() {
            let mut row = Measured::default();
            for (&source, &decoded) in source.iter().zip(decoded) {
                let (source, decoded) = (source.into(), decoded.into());
                let difference = source - decoded;
                row.squared_norm += source * source;
                row.squared_error += difference * difference;
                row.max_absolute_error = row.max_absolute_error.max(difference.abs());
                row.decoded_bound = row.decoded_bound.max(decoded.abs());
            }
            row.weighted = weight(index).map(|weight| Weighted {
                squared_norm: weight * row.squared_norm,
                squared_error: weight * row.squared_error,
            });
            total.add(&row);
        }
        total
    }

    /// The squared norm that the minimized error is relative to.
    pub fn objective_norm(&self) -> f64 {
        self.weighted.map_or(self.squared_norm, |weighted| weighted.squared_norm)
    }

    /// Adds what was measured on other rows.
    pub(crate) fn add(&mut self, other: &Measured) {
        self.squared_norm += other.squared_norm;
        self.squared_error += other.squared_error;
        self.max_absolute_error = self.max_absolute_error.max(other.max_absolute_error);
        self.decoded_bound = self.decoded_bound.max(other.decoded_bound);
        if let Some(other) = other.weighted {
            let own = self.weighted.get_or_insert_default();
            own.squared_norm += other.squared_norm;
            own.squared_error += other.squared_error;
        }
    }

    /// What was measured on a table whose numbers are `factor` times as large.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        // In two steps, since the square of the factor may have no double.
        let square = |value: f64| value * factor * factor;
        Measured {
            squared_norm: square(self.squared_norm),
            squared_error: square(self.squared_error),
            max_absolute_error: self.max_absolute_error * factor,
            decoded_bound: self.decoded_bound * factor,
            weighted: self.weighted.map(|weighted| Weighted {
                squared_norm: square(weighted.squared_norm),
                squared_error: square(weighted.squared_error),
            }),
        }
    }
}

fn relative(squared_error: f64, squared_norm: f64) -> f64 {
    if squared_norm == 0.0 { 0.0 } else { (squared_error / squared_norm).sqrt() }
}
