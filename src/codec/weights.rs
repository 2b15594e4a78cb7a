//! What each row counts in an error: token counts from a file, or Zipf's law by row order.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a weight for each row was checked when they were read"
)]

use std::fmt;
use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::digest;
use crate::tensor::{Precision, Rows};

/// Added to a row's place in Zipf's law: `1 / (place + 2.7)`, places from 1 (Mandelbrot, "An informational theory of
/// the statistical structure of language", 1953; the constant is Piantadosi's, "Zipf's word frequency law in natural
/// language", 2014).
const ZIPF_OFFSET: f64 = 2.7;

/// Bytes of the longest weights file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// Weights of the rows of a table, before the table is known.
#[derive(Debug, Clone, PartialEq)]
pub enum RowWeights {
    /// The earlier a row, the more it counts.
    Zipf,
    /// One number for each row.
    Listed {
        /// All positive and finite.
        weights: Vec<f64>,
        /// SHA-256 of the bytes they were read from.
        sha256: String,
    },
}

impl RowWeights {
    /// `zipf`, or the file of that name with one number a line.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where it cannot be read; those of [`RowWeights::parse`].
    pub fn open(source: &str) -> Result<Self> {
        if source == "zipf" {
            return Ok(RowWeights::Zipf);
        }
        let bytes = crate::format::limits::read(source.as_ref(), MAX_BYTES)?;
        RowWeights::parse(&bytes).map_err(|error| error.at(source))
    }

    /// One number a line.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where a line is not a positive finite number; the line is named.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let weight = |(index, line): (usize, &str)| {
            let value = line.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value > 0.0);
            value.ok_or_else(|| {
                let found: String = line.chars().take(40).collect();
                Error::new(ErrorKind::Request, format!("weight on line {} cannot be used", index + 1))
                    .expected("a finite number above 0")
                    .found(format!("`{}`", found.escape_debug()))
                    .hint("add a small number to counts that may be 0: a row of no weight would be left to chance")
            })
        };
        let weights = text.lines().enumerate().map(weight).collect::<Result<_>>()?;
        Ok(RowWeights::Listed { weights, sha256: digest(bytes) })
    }

    /// The weights of a table of `rows` rows, with a mean of one.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where there is another number of them.
    pub fn of_rows(&self, rows: usize) -> Result<Vec<f64>> {
        let mut weights = match self {
            RowWeights::Zipf => (1..=rows).map(|place| (place as f64 + ZIPF_OFFSET).recip()).collect(),
            RowWeights::Listed { weights, .. } if weights.len() == rows => weights.clone(),
            RowWeights::Listed { weights, .. } => {
                return Err(Error::new(ErrorKind::Request, "row weights are not as many as rows")
                    .expected(format!("{rows} lines, one for each row"))
                    .found(format!("{} lines", weights.len()))
                    .hint("choose one table with `--include`"));
            }
        };
        // Divided by the largest first, so that the sum is finite.
        let largest = weights.iter().copied().fold(0.0f64, f64::max);
        weights.iter_mut().for_each(|weight| *weight = (*weight / largest).max(f64::MIN_POSITIVE));
        let mean = weights.iter().sum::<f64>() / rows as f64;
        weights.iter_mut().for_each(|weight| *weight /= mean);
        Ok(weights)
    }
}

impl fmt::Display for RowWeights {
    /// What the manifest records: `zipf`, or `sha256:` and the digest of the file.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowWeights::Zipf => out.write_str("zipf"),
            RowWeights::Listed { sha256, .. } => write!(out, "sha256:{sha256}"),
        }
    }
}

/// A table whose rows are multiplied by the roots of their weights: its squared errors are the weighted ones.
pub(super) struct WeightedRows<'a> {
    rows: &'a dyn Rows,
    roots: Option<Vec<f64>>,
}

impl<'a> WeightedRows<'a> {
    /// `rows` as they are where there are no weights.
    pub(super) fn new(rows: &'a dyn Rows, weights: Option<&[f64]>) -> Self {
        let roots = weights.map(|weights| weights.iter().map(|weight| weight.sqrt()).collect());
        WeightedRows { rows, roots }
    }
}

impl Rows for WeightedRows<'_> {
    fn shape(&self) -> (usize, usize) {
        self.rows.shape()
    }

    fn precision(&self) -> Precision {
        self.rows.precision()
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.rows.read_f32(rows.clone(), out)?;
        let Some(roots) = &self.roots else { return Ok(()) };
        for (row, root) in out.chunks_exact_mut(self.shape().1.max(1)).zip(&roots[rows]) {
            row.iter_mut().for_each(|value| *value = (f64::from(*value) * root) as f32);
        }
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        self.rows.read_f64(rows.clone(), out)?;
        let Some(roots) = &self.roots else { return Ok(()) };
        for (row, root) in out.chunks_exact_mut(self.shape().1.max(1)).zip(&roots[rows]) {
            row.iter_mut().for_each(|value| *value *= root);
        }
        Ok(())
    }
}
