//! A codec at one operating point, as something to look through while training.

use crate::codec::{Codec, Demand, Options, Point, Setting, Table};
use crate::compare::Encoded;
use crate::error::Result;
use crate::observe::Silent;
use crate::tensor::Dtype;

use super::Matrix;

/// A codec with its setting.
#[derive(Clone)]
pub struct Quantizer {
    codec: &'static dyn Codec,
    setting: Setting,
    options: Options,
    /// Updates after which a matrix is encoded again, where its codes are not found row by row.
    every: u64,
}

impl std::fmt::Debug for Quantizer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Quantizer")
            .field("codec", &self.codec.name())
            .field("setting", &self.setting)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

impl Quantizer {
    /// `codec` at `setting`. Codes of one row that do not depend on other rows are found at each step for the rows of
    /// the batch; others are found for the whole matrix once in `every` updates, and in between what the codec changed
    /// stays added to the numbers, which move.
    pub fn new(codec: &'static dyn Codec, setting: Setting, options: Options, every: u64) -> Self {
        Quantizer { codec, setting, options, every: every.max(1) }
    }

    /// The codec.
    pub fn codec(&self) -> &'static dyn Codec {
        self.codec
    }

    /// Its setting.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    pub(super) fn is_by_row(&self) -> bool {
        self.codec.encodes_rows_apart(&self.setting)
    }

    pub(super) fn is_due(&self, updates: u64) -> bool {
        !self.is_by_row() && updates.is_multiple_of(self.every)
    }

    /// Rounds rows `[_, columns]` in place, where they are encoded apart.
    pub(super) fn round_rows(&self, columns: usize, values: &mut [f32]) -> Result<()> {
        self.codec.round_rows(&self.setting, columns, values)
    }

    /// `matrix` encoded: the parts, in memory, with what they would take in a checkpoint.
    ///
    /// # Errors
    /// What the codec reports.
    pub fn encode(&self, name: &str, matrix: &Matrix) -> Result<Encoded> {
        let table = Table { name, dtype: Dtype::F32, rows: matrix };
        let analysis = self.codec.analyze(&table, &self.options, Demand::Only(&self.setting), &Silent)?;
        Encoded::new(analysis.as_ref(), matrix, 0, &Silent)
    }

    /// `matrix` encoded and decoded, and the operating point: bytes and operations.
    ///
    /// # Errors
    /// What the codec reports.
    pub fn decoded(&self, matrix: &Matrix) -> Result<(Matrix, Point)> {
        let encoded = self.encode("", matrix)?;
        Ok((Matrix::read(encoded.decode(self.codec)?.as_ref())?, encoded.point().clone()))
    }
}
