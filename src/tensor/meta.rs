//! What is known of a tensor before its numbers are looked at.

use super::Dtype;

/// Name, dtype and shape of a tensor in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMeta {
    /// Full name, as the checkpoint has it (`embeddings.word_embeddings.weight`).
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Extent of each dimension, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorMeta {
    /// Number of elements, or `None` where the product overflows.
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent as u64))
    }

    /// Number of bytes that the elements take packed; `None` where the product overflows or where
    /// sub-byte elements do not end on a byte or a row on a block.
    pub fn bytes(&self) -> Option<u64> {
        let block = self.dtype.block();
        if !self.shape.last().copied().unwrap_or(1).is_multiple_of(block) {
            return None;
        }
        let bits = self.elements()?.checked_div(block as u64)?.checked_mul(u64::from(self.dtype.bits()))?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// `(V, d)` of a matrix; `None` for any other number of dimensions.
    pub fn matrix(&self) -> Option<(usize, usize)> {
        match self.shape[..] {
            [rows, columns] => Some((rows, columns)),
            _ => None,
        }
    }
}
