//! A matrix of singles in memory, and matrices that are seen through a codec.

use std::ops::Range;

use super::Quantizer;
use crate::codec::Point;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{Precision, Rows};

/// A matrix `[rows, columns]` of singles, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    values: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// `values`, row-major.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where they are not `rows * columns`, or there is none.
    pub fn new(values: Vec<f32>, rows: usize, columns: usize) -> Result<Self> {
        if values.is_empty() || rows.checked_mul(columns) != Some(values.len()) {
            return Err(Error::new(ErrorKind::Request, "the numbers do not fill the matrix")
                .expected(format!("{rows} x {columns}"))
                .found(values.len().to_string()));
        }
        Ok(Matrix { values, rows, columns })
    }

    /// Reads `rows` whole.
    ///
    /// # Errors
    /// What reading reports; [`ErrorKind::Request`] where there is nothing to read.
    pub fn read(rows: &dyn Rows) -> Result<Self> {
        let (count, columns) = rows.shape();
        let mut values = vec![0.0; count.saturating_mul(columns)];
        rows.read_f32(0..count, &mut values)?;
        Matrix::new(values, count, columns)
    }

    /// Rows in the order of `indices`.
    pub(super) fn gather(&self, indices: &[u32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(indices.len() * self.columns);
        indices.iter().for_each(|&row| out.extend_from_slice(self.row(row as usize)));
        out
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// All numbers, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same to change.
    pub(in crate::train) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Rows and columns are exchanged.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for column in 0..self.columns {
            values.extend(self.values.iter().skip(column).step_by(self.columns));
        }
        Matrix { values, rows: self.columns, columns: self.rows }
    }
}

impl Rows for Matrix {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn precision(&self) -> Precision {
        Precision::Single
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.values[rows.start * self.columns..rows.end * self.columns]);
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let values = &self.values[rows.start * self.columns..rows.end * self.columns];
        out.iter_mut().zip(values).for_each(|(out, &value)| *out = f64::from(value));
        Ok(())
    }
}

/// A trained matrix that the network may see through a codec: gradients with respect to what it sees move the matrix
/// itself, as if the codec were not there (the straight-through estimator of Bengio, Léonard, Courville, arXiv
/// 1308.3432).
#[derive(Debug, Clone)]
pub struct Trained {
    /// What is trained.
    master: Matrix,
    /// What it is seen through.
    quantizer: Option<Quantizer>,
    /// What the codec adds to each number of the master, since the last refresh; empty where codes are found row by row
    /// at each step.
    residual: Vec<f32>,
    /// The whole matrix as it is seen, and after how many updates it was found; none once the master has changed.
    found: Option<(u64, Matrix)>,
}

impl Trained {
    /// A matrix that is seen as it is.
    pub fn plain(master: Matrix) -> Self {
        Trained { master, quantizer: None, residual: Vec::new(), found: None }
    }

    /// A matrix that is seen through `quantizer`, and what its codes take.
    ///
    /// # Errors
    /// What encoding reports.
    pub fn quantized(master: Matrix, quantizer: Quantizer) -> Result<(Self, Point)> {
        let (seen, point) = quantizer.decoded(&master)?;
        let mut trained = Trained { master, quantizer: Some(quantizer), residual: Vec::new(), found: None };
        trained.see(0, seen);
        Ok((trained, point))
    }

    /// What is trained.
    pub(in crate::train) fn master(&self) -> &Matrix {
        &self.master
    }

    /// The same to change, after which its codes are to be found again.
    pub(in crate::train) fn master_mut(&mut self) -> &mut Matrix {
        self.found = None;
        &mut self.master
    }

    /// What it is seen through, if anything.
    pub fn quantizer(&self) -> Option<&Quantizer> {
        self.quantizer.as_ref()
    }

    /// Whether the codes are those of the whole matrix, and it is time to find them again after `updates` updates.
    pub(super) fn is_due(&self, updates: u64) -> bool {
        let found = self.found.as_ref().is_some_and(|(found, _)| *found == updates);
        !found && self.quantizer.as_ref().is_some_and(|quantizer| quantizer.is_due(updates))
    }

    /// Whether what it will be once encoded is known or found row by row.
    pub(super) fn is_current(&self) -> bool {
        self.found.is_some() || self.quantizer.as_ref().is_none_or(Quantizer::is_by_row)
    }

    /// Encodes again, where the codes are those of the whole matrix and it is time after `updates` updates.
    pub(in crate::train) fn refresh(&mut self, updates: u64) -> Result<()> {
        if let Some(quantizer) = self.quantizer.as_ref().filter(|_| self.is_due(updates)) {
            let (seen, _) = quantizer.decoded(&self.master)?;
            self.see(updates, seen);
        }
        Ok(())
    }

    /// Takes `seen` for what the matrix is seen as.
    fn see(&mut self, updates: u64, seen: Matrix) {
        if self.quantizer.as_ref().is_some_and(|quantizer| !quantizer.is_by_row()) {
            self.residual = seen.values.iter().zip(&self.master.values).map(|(seen, own)| seen - own).collect();
        }
        self.found = Some((updates, seen));
    }

    /// The numbers that a step sees in the rows at `indices`, `[indices, columns]`.
    pub(super) fn look_up(&self, indices: &[u32]) -> Result<Vec<f32>> {
        let mut rows = self.master.gather(indices);
        match &self.quantizer {
            Some(quantizer) if quantizer.is_by_row() => {
                quantizer.round_rows(self.master.columns, &mut rows)?;
                Ok(rows)
            }
            Some(_) if !self.residual.is_empty() => {
                let columns = self.master.columns;
                for (row, &index) in rows.chunks_exact_mut(columns).zip(indices) {
                    let residual = &self.residual[index as usize * columns..][..columns];
                    row.iter_mut().zip(residual).for_each(|(value, residual)| *value += residual);
                }
                Ok(rows)
            }
            _ => Ok(rows),
        }
    }

    /// The whole matrix as it is seen once training is over: encoded as it is now, and decoded.
    pub(super) fn seen(&self) -> Result<Matrix> {
        match (&self.found, &self.quantizer) {
            (Some((_, seen)), _) => Ok(seen.clone()),
            (None, Some(quantizer)) => Ok(quantizer.decoded(&self.master)?.0),
            (None, None) => Ok(self.master.clone()),
        }
    }
}
