//! From singular vectors to stored factors, and what storing them costs in accuracy, in one pass over the table.

use super::block::{Job, Workspace, stream};
use super::element::Element;
use super::factorize::Factorization;
use super::kernel::InstructionSet;
use super::loops::Gather;
use super::measured::Measured;
use super::operand::Operand;
use super::panels::Panels;
use super::residual::Subtrahend;
use super::split::Split;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::Observer;
use crate::tensor::{Precision, Rows};

/// Which of a pair of factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// A, `[V, k]`.
    Left,
    /// B transposed, `[d, k]`.
    Right,
}

/// Some rows of a factor, in the arithmetic that computed them.
#[derive(Debug)]
pub enum Values<'a> {
    /// Singles.
    Single(&'a mut [f32]),
    /// Doubles.
    Double(&'a mut [f64]),
}

/// Rounds numbers in place to the dtype that is stored, and appends their bytes; refuses what leaves its range.
/// It is called from several threads.
pub type Round<'a> = &'a (dyn Fn(Values<'_>, &mut Vec<u8>) -> Result<()> + Sync);

/// Receives the bytes of a factor, in the order of its rows: all of B first, then A.
pub type Sink<'a> = &'a mut dyn FnMut(Factor, &[u8]) -> Result<()>;

/// The pair that is asked of [`Factorization::encode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Rank k.
    pub rank: usize,
    /// Where the singular values go.
    pub split: Split,
    /// What the stored dtype needs to be held exactly.
    pub stored: Precision,
}

/// Rows of B transposed that are handed over at a time.
const RIGHT_ROWS: usize = 64;

impl Factorization {
    /// Computes the factors of `rows`, the table that was factorized, and measures `||W - A B||_F` with the
    /// factors as `round` left them.
    ///
    /// Products are of singles with sums in doubles, unless the table or the stored dtype needs doubles, or unless
    /// the pair drops less than 1e-2 of the norm (2e-2 for [`Products::Bf16x2`](super::Products)), where the rounding of singles would show in the error.
    ///
    /// The observer's unit is an entry of the table.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] for a rank of zero or above [`Factorization::max_rank`], or for another table;
    /// what `round` and `sink` report; [`ErrorKind::Interrupted`] where the observer says so.
    pub fn encode(
        &self,
        rows: &dyn Rows,
        pair: &Pair,
        round: Round<'_>,
        sink: Sink<'_>,
        observer: &dyn Observer,
    ) -> Result<Measured> {
        if pair.rank == 0 || pair.rank > self.max_rank() {
            return Err(Error::new(ErrorKind::Request, "rank is out of range")
                .expected(format!("1 to {}", self.max_rank()))
                .found(pair.rank.to_string()));
        }
        if rows.shape() != self.shape() {
            return Err(Error::new(ErrorKind::Request, "the table is not the one that was factorized"));
        }
        if self.in_singles(pair) {
            self.encode_in::<f32>(rows, pair, round, sink, observer)
        } else {
            self.encode_in::<f64>(rows, pair, round, sink, observer)
        }
    }

    fn encode_in<T: Element>(
        &self,
        rows: &dyn Rows,
        pair: &Pair,
        round: Round<'_>,
        sink: Sink<'_>,
        observer: &dyn Observer,
    ) -> Result<Measured> {
        let exponent = self.exponent().clamp(-T::EXPONENT, T::EXPONENT);
        let (left_powers, right_powers) = self.powers(pair.rank, pair.split, exponent);
        let subtrahend = self.right::<T>(&right_powers, exponent, round, sink)?;
        let columns = self.shape().1;
        let vectors = self.right_vectors().map(|vectors| {
            let mut panels = Panels::<T>::zeros(columns, pair.rank);
            panels.fill_columns(|column, row| T::nearest(vectors[column * columns + row]));
            Operand::new(panels, self.asked_products())
        });
        let job = Encode { factorization: self, left_powers, vectors, subtrahend, round };
        stream(rows, &job, &mut |bytes| sink(Factor::Left, bytes), observer)
    }

    /// Hands over B transposed, and keeps it as it was rounded.
    fn right<T: Element>(
        &self,
        powers: &[f64],
        exponent: i32,
        round: Round<'_>,
        sink: Sink<'_>,
    ) -> Result<Subtrahend<T>> {
        let (columns, rank) = (self.shape().1, powers.len());
        let mut panels = Panels::zeros(rank, columns);
        let mut block = vec![T::ZERO; RIGHT_ROWS.min(columns) * rank];
        let mut bytes = Vec::new();
        for start in (0..columns).step_by(RIGHT_ROWS) {
            let end = columns.min(start + RIGHT_ROWS);
            let block = &mut block[..(end - start) * rank];
            for (j, (row, power)) in self.right_rows().chunks_exact(columns).zip(powers).enumerate() {
                for (out, value) in block.iter_mut().skip(j).step_by(rank).zip(&row[start..end]) {
                    *out = T::nearest(value * power);
                }
            }
            bytes.clear();
            round(T::values(block), &mut bytes)?;
            sink(Factor::Right, &bytes)?;
            for (column, row) in block.chunks_exact(rank).enumerate() {
                panels.set_column(start + column, row.iter().copied());
            }
        }
        Ok(Subtrahend::new(panels, exponent, self.asked_products()))
    }
}

/// Computes A and its bytes, and subtracts A B.
struct Encode<'a, T> {
    factorization: &'a Factorization,
    left_powers: Vec<f64>,
    vectors: Option<Operand<T>>,
    subtrahend: Subtrahend<T>,
    round: Round<'a>,
}

impl<T: Element> Job<T> for Encode<'_, T> {
    fn weights(&self) -> Option<&[f64]> {
        self.factorization.weights()
    }

    fn subtrahend(&self) -> &Subtrahend<T> {
        &self.subtrahend
    }

    fn left(&self, work: &mut Workspace<T>, bytes: &mut Vec<u8>) -> Result<()> {
        let rank = self.left_powers.len();
        let Workspace { range, table, stride, left, scratch, operand, .. } = work;
        let count = range.len();
        match &self.vectors {
            Some(vectors) => {
                let padded = vectors.padded_columns();
                let rows = table.len() / *stride;
                let scratch = &mut scratch[..rows * padded];
                scratch.fill(T::ZERO);
                vectors.multiply(rows, table, *stride, scratch, operand);
                InstructionSet::best().run(Gather {
                    rows: scratch,
                    stride: padded,
                    factors: &self.left_powers,
                    out: &mut left[..count * rank],
                });
            }
            None => {
                for (row, out) in range.clone().zip(left.chunks_exact_mut(rank)) {
                    for (j, (out, power)) in out.iter_mut().zip(&self.left_powers).enumerate() {
                        *out = T::nearest(self.factorization.wide_left(row, j, *power));
                    }
                }
            }
        }
        (self.round)(T::values(&mut left[..count * rank]), bytes)
    }
}
