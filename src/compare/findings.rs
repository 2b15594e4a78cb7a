//! What a comparison found, as its JSON document says it.

use serde::Serialize;

use super::{Cosines, Latency};
use crate::codec::{Codec, Setting};
use crate::tensor::Dtype;

/// The outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The table.
    pub table: TableFacts,
    /// Where weights of rows came from: `zipf`, or the digest of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_weights: Option<String>,
    /// How rows were sampled for the neighbours.
    pub sample: Sample,
    /// The methods, in order.
    pub methods: Vec<MethodFacts>,
    /// What was found at each size.
    pub sizes: Vec<AtSize>,
    /// The least error of any code for Gaussian rows of the table's spectrum, from few bits to many.
    pub gaussian_bound: Vec<Bound>,
    /// Lower bounds of the bins of every `row_errors`.
    pub row_error_bins: Vec<f64>,
}

/// The table as it is in the source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableFacts {
    /// Full name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// `[V, d]`.
    pub shape: [usize; 2],
    /// Bytes of its elements.
    pub bytes: u64,
    /// All singular values, descending.
    pub singular_values: Vec<f64>,
    /// Seconds to look rows up.
    pub seconds: Latency,
}

/// The sample of rows whose neighbours were compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// How many rows.
    pub rows: usize,
    /// How many neighbours of each.
    pub neighbours: usize,
    /// What they were drawn with.
    pub seed: u64,
}

/// A method that took part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodFacts {
    /// Name of the codec.
    pub name: String,
    /// One line.
    pub summary: String,
    /// Paper or specification.
    pub reference: String,
}

/// All methods at one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtSize {
    /// The size as it was asked for.
    pub budget: String,
    /// The most bytes that it allows.
    pub bytes: u64,
    /// The same in bits per parameter.
    pub bits_per_parameter: f64,
    /// [`Spectrum::gaussian_bound`](crate::linalg::Spectrum::gaussian_bound) at that rate.
    pub gaussian_bound: f64,
    /// The method with the least [`Measurement::minimized_error`]; of equals the one of fewer bytes.
    pub best: Option<String>,
    /// One for each method.
    pub entries: Vec<Entry>,
}

/// One method at one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Name of the codec.
    pub method: String,
    /// Why there is no measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// What was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurement: Option<Measurement>,
}

/// One operating point, measured on the bytes that it would write.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The codec's parameters.
    pub setting: Setting,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Bits of all parts for each of the `V d` numbers of the table.
    pub bits_per_parameter: f64,
    /// `||W - W~||_F / ||W||_F`.
    pub relative_frobenius_error: f64,
    /// The same with row weights, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighted_relative_frobenius_error: Option<f64>,
    /// `max |W - W~|`.
    pub max_absolute_error: f64,
    /// Cosines of rows to their originals.
    pub cosine: Cosines,
    /// Share of the nearest neighbours of the sampled rows that are still among the nearest.
    pub neighbours_kept: f64,
    /// [`eigenspace_overlap`](crate::linalg::eigenspace_overlap) with the original.
    pub eigenspace_overlap: f64,
    /// Floating-point operations to decode one row.
    pub flops_per_token: u64,
    /// Seconds to decode rows.
    pub seconds: Latency,
    /// How many rows have a relative error in each of the bins.
    pub row_errors: Vec<u64>,
}

/// A point of the rate-distortion bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bound {
    /// Bits per parameter.
    pub bits_per_parameter: f64,
    /// Relative Frobenius error.
    pub relative_frobenius_error: f64,
}

impl Measurement {
    /// The relative Frobenius error by which methods are ranked: the weighted one where rows have weights.
    pub fn minimized_error(&self) -> f64 {
        self.weighted_relative_frobenius_error.unwrap_or(self.relative_frobenius_error)
    }
}

impl MethodFacts {
    pub(super) fn of(codec: &dyn Codec) -> Self {
        MethodFacts {
            name: codec.name().to_owned(),
            summary: codec.summary().to_owned(),
            reference: codec.reference().to_owned(),
        }
    }
}
