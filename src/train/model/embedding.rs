//! The table of a classifier: dense, or a factor pair, each seen as it is or through a codec.

use candle_core::Tensor;

use super::parameter::leaf;
use super::{Matrix, Trained};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Rows;

/// An embedding table W `[V, d]`, or a factor pair A `[V, k]`, B `[k, d]` in place of it.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// W, or A.
    pub(in crate::train) left: Trained,
    /// B.
    pub(in crate::train) right: Option<Trained>,
}

impl Embedding {
    /// A dense table.
    pub fn dense(table: Matrix) -> Self {
        Embedding { left: Trained::plain(table), right: None }
    }

    /// A factor pair A `[V, k]`, B `[k, d]`.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where the ranks differ.
    pub fn factors(left: Matrix, right: Matrix) -> Result<Self> {
        Embedding::new(Trained::plain(left), Some(Trained::plain(right)))
    }

    /// A table, or with `right` a factor pair.
    ///
    /// # Errors
    /// [`ErrorKind::Request`] where the ranks differ.
    pub fn new(left: Trained, right: Option<Trained>) -> Result<Self> {
        if let Some(right) = &right {
            let (rank, found) = (left.master().shape().1, right.master().shape().0);
            if rank != found {
                return Err(Error::new(ErrorKind::Request, "the factors are not of one rank")
                    .expected(format!("[{rank}, _]"))
                    .found(format!("[{found}, _]")));
            }
        }
        Ok(Embedding { left, right })
    }

    /// `(V, d)`.
    pub fn shape(&self) -> (usize, usize) {
        let (rows, columns) = self.left.master().shape();
        (rows, self.right.as_ref().map_or(columns, |right| right.master().shape().1))
    }

    /// k, where it is a factor pair.
    pub fn rank(&self) -> Option<usize> {
        self.right.as_ref().map(|_| self.left.master().shape().1)
    }

    /// Numbers that are trained.
    pub fn parameters(&self) -> usize {
        let right = self.right.as_ref().map_or(0, |right| right.master().values().len());
        self.left.master().values().len() + right
    }

    /// W, or A, as trained; and B. Before any codec.
    pub fn masters(&self) -> (&Matrix, Option<&Matrix>) {
        (self.left.master(), self.right.as_ref().map(Trained::master))
    }

    /// What the matrices are seen through.
    pub fn trained(&self) -> (&Trained, Option<&Trained>) {
        (&self.left, self.right.as_ref())
    }

    /// The same with plain matrices, each encoded and decoded where it is seen through a codec: what a checkpoint of it
    /// would hold.
    ///
    /// # Errors
    /// What the codecs report.
    pub fn decoded(&self) -> Result<Self> {
        let right = self.right.as_ref().map(Trained::seen).transpose()?;
        Ok(Embedding { left: Trained::plain(self.left.seen()?), right: right.map(Trained::plain) })
    }

    /// The dense table that it stands for, `[V, d]`.
    ///
    /// # Errors
    /// What the codecs report.
    pub fn table(&self) -> Result<Matrix> {
        let left = self.left.seen()?;
        match &self.right {
            None => Ok(left),
            Some(right) => Matrix::read(&crate::linalg::Product::new(left, &right.seen()?.transposed())?),
        }
    }

    /// Whether codes of a whole matrix are due after `updates` updates.
    pub(in crate::train) fn is_due(&self, updates: u64) -> bool {
        [Some(&self.left), self.right.as_ref()].into_iter().flatten().any(|matrix| matrix.is_due(updates))
    }

    /// Whether what a checkpoint of it would hold is known without encoding a whole matrix.
    pub(in crate::train) fn is_current(&self) -> bool {
        self.left.is_current() && self.right.as_ref().is_none_or(Trained::is_current)
    }

    /// Whether it is seen as it is, without a codec.
    pub(in crate::train) fn is_plain(&self) -> bool {
        [Some(&self.left), self.right.as_ref()].into_iter().flatten().all(|matrix| matrix.quantizer().is_none())
    }

    /// Encodes matrices again whose codes are due after `updates` updates.
    pub(in crate::train) fn refresh(&mut self, updates: u64) -> Result<()> {
        self.left.refresh(updates)?;
        self.right.as_mut().map_or(Ok(()), |right| right.refresh(updates))
    }

    /// What a step sees of it: the rows of `words`, `[words, d]` or `[words, k]`, and B.
    pub(super) fn look_up(&self, words: &[u32], trained: bool) -> Result<LookUp> {
        let graph = |values, shape: &[usize]| leaf(values, shape, trained).map_err(super::failed);
        let rows = graph(self.left.look_up(words)?, &[words.len(), self.left.master().shape().1])?;
        let right = self.right.as_ref().map(|right| {
            let (rank, columns) = right.master().shape();
            let all: Vec<u32> = (0..).take(rank).collect();
            graph(right.look_up(&all)?, &[rank, columns])
        });
        Ok(LookUp { rows, right: right.transpose()? })
    }
}

/// What a step sees of an embedding.
pub(super) struct LookUp {
    /// The rows of the distinct words of a batch.
    pub(super) rows: Tensor,
    /// B of a factor pair.
    pub(super) right: Option<Tensor>,
}
