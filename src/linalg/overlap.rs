//! The eigenspace overlap score of two tables, by way of Gram matrices.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use super::eigen::{self, Eigen};
use super::factorize::check_entries;
use super::gram::gram;
use super::products::Products;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Precision, Rows};

/// The eigenspace overlap score of May, Zhang, Dao and Ré, "On the Downstream Performance of Compressed Word
/// Embeddings", NeurIPS 2019: `||U^T U~||_F^2 / max(d, k)`, with the left singular vectors of both tables, in `[0, 1]`.
///
/// The paper takes tables of full rank; here `d` and `k` are the numerical ranks and U, U~ have as many columns, so
/// that a table has the score 1 with itself. With `W = U S Q^T`, `U^T U~ = S^-1 Q^T (W^T W~) Q~ S~^-1`, so only the
/// Gram matrix of both tables side by side is needed. Singular values that are indistinguishable from the rounding of
/// the numbers read, or from that of the Gram matrix, count as zero.
///
/// Two tables of rank 0 have the score 1, a table of rank 0 with any other 0.
///
/// # Errors
/// [`ErrorKind::Malformed`] where the numbers of rows differ; [`ErrorKind::Request`] for a table without entries;
/// [`ErrorKind::NonFinite`] where a number is not finite; [`ErrorKind::Interrupted`].
pub fn eigenspace_overlap(one: &dyn Rows, other: &dyn Rows, observer: &dyn Observer) -> Result<f64> {
    check_entries(one)?;
    check_entries(other)?;
    let ((height, width), (found, columns)) = (one.shape(), other.shape());
    if found != height {
        return Err(Error::new(ErrorKind::Malformed, "the tables have different numbers of rows")
            .expected(format!("{height} rows"))
            .found(found.to_string()));
    }
    let gram = gram::<f64>(&Beside { one, other }, Products::Single, observer)?.matrix;
    let left = Side::new(gram.as_ref().submatrix(0, 0, width, width), one.precision())?;
    let right = Side::new(gram.as_ref().submatrix(width, width, columns, columns), other.precision())?;
    if left.rank.max(right.rank) == 0 {
        return Ok(1.0);
    }
    // `Q~^T W~^T W Q`, scaled by both singular values.
    let cross = gram.as_ref().submatrix(width, 0, columns, width);
    let half = product(right.vectors(columns), cross);
    let overlap = product(half.as_ref(), left.vectors(width).transpose());
    let mut sum = 0.0;
    for (column, own) in overlap.col_iter().zip(&left.eigen.values) {
        sum += column.iter().zip(&right.eigen.values).map(|(entry, other)| entry * entry / (own * other)).sum::<f64>();
    }
    Ok((sum / left.rank.max(right.rank) as f64).clamp(0.0, 1.0))
}

/// Eigenvectors of one table's Gram matrix.
struct Side {
    eigen: Eigen,
    rank: usize,
}

impl Side {
    fn new(gram: MatRef<'_, f64>, precision: Precision) -> Result<Self> {
        let order = gram.nrows();
        let trace = (0..order).map(|i| gram[(i, i)]).sum();
        let eigen = eigen::leading(gram.to_owned(), trace, order)?;
        let unit = match precision {
            Precision::Single => f64::from(f32::EPSILON),
            Precision::Double => f64::EPSILON,
        };
        // Rounding n numbers to within u moves no singular value by more than u times the norm; a few roundings
        // follow one another in a decoded row.
        let floor = (16.0 * unit * unit).max(order as f64 * f64::EPSILON) * trace;
        let rank = eigen.values.iter().take_while(|&&value| value > floor).count();
        Ok(Side { eigen, rank })
    }

    /// `Q^T`, `[rank, order]`.
    fn vectors(&self, order: usize) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.eigen.vectors[..self.rank * order], self.rank, order)
    }
}

fn product(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(left.nrows(), right.ncols());
    // The degree is fixed, since results depend on it.
    matmul(product.as_mut(), Accum::Replace, left, right, 1.0, Par::rayon(4));
    product
}

/// Two tables of as many rows, side by side.
struct Beside<'a> {
    one: &'a dyn Rows,
    other: &'a dyn Rows,
}

impl Rows for Beside<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.one.shape().0, self.one.shape().1 + self.other.shape().1)
    }

    fn precision(&self) -> Precision {
        Precision::Double
    }

    fn read_f32(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let mut exact = vec![0.0; out.len()];
        self.read_f64(rows, &mut exact)?;
        out.iter_mut().zip(exact).for_each(|(out, value)| *out = value as f32);
        Ok(())
    }

    fn read_f64(&self, rows: Range<usize>, out: &mut [f64]) -> Result<()> {
        let columns = self.shape().1;
        let mut start = 0;
        for side in [self.one, self.other] {
            let width = side.shape().1;
            let mut block = vec![0.0; rows.len() * width];
            side.read_f64(rows.clone(), &mut block)?;
            for (out, row) in out.chunks_exact_mut(columns).zip(block.chunks_exact(width)) {
                out[start..start + width].copy_from_slice(row);
            }
            start += width;
        }
        Ok(())
    }
}
