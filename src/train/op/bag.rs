//! Means of rows: sentences as the mean of their words.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::leaves::Leaves;
use super::{numbers, singles};
use crate::train::model::Batch;

/// From rows `[n, w]` of distinct words the mean row of each sentence of the batch, `[b, w]`.
///
/// Words count as often as they occur; padding is no word of a batch and does not count.
pub(in crate::train) struct BagMean {
    pub(in crate::train) batch: Arc<Batch>,
    pub(in crate::train) leaves: Leaves,
}

impl CustomOp1 for BagMean {
    fn name(&self) -> &'static str {
        "bag-mean"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rows = singles(storage, layout)?;
        let (_, width) = layout.shape().dims2()?;
        let batch = &self.batch;
        let mut means = vec![0.0f32; batch.len() * width];
        for (mean, sentence) in means.chunks_exact_mut(width.max(1)).zip(batch.sentences()) {
            for &row in sentence {
                let row = &rows[row as usize * width..][..width];
                mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
            }
            let share = 1.0 / sentence.len().max(1) as f32;
            mean.iter_mut().for_each(|sum| *sum *= share);
        }
        Ok((CpuStorage::F32(means), (batch.len(), width).into()))
    }

    fn bwd(&self, rows: &Tensor, _means: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (count, width) = rows.dims2()?;
        let share_out = |gradient: &[f32]| {
            let mut out = vec![0.0f32; count * width];
            for (gradient, sentence) in gradient.chunks_exact(width.max(1)).zip(self.batch.sentences()) {
                let share = 1.0 / sentence.len().max(1) as f32;
                for &row in sentence {
                    let out = &mut out[row as usize * width..][..width];
                    out.iter_mut().zip(gradient).for_each(|(sum, &value)| *sum += value * share);
                }
            }
            Ok(out)
        };
        self.leaves.give(rows, || numbers(gradient, share_out))
    }
}
