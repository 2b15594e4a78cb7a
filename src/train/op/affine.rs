//! Fully connected layers.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::leaves::Leaves;
use super::product::{Left, Product, Right};
use super::{numbers, singles};
use crate::linalg::{InstructionSet, Work};

/// From inputs `[n, k]`, a weight `[m, k]` and a bias `[m]`: inputs times the transpose of the weight, plus the bias on each
/// row, `[n, m]`.
pub(in crate::train) struct Affine(pub(in crate::train) Leaves);

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (inputs, weight, bias) = (singles(s1, l1)?, singles(s2, l2)?, singles(s3, l3)?);
        let ((n, k), (m, _)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let mut product = Product::default();
        product.compute(Some(bias), Left::new(inputs, k), n, &Right::transposed(weight, m, k));
        Ok((CpuStorage::F32(product.into_values()), (n, m).into()))
    }

    fn bwd(
        &self,
        inputs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let leaves = &self.0;
        numbers(gradient, |gradient| {
            Ok((
                leaves.give(inputs, || of_inputs(weight, gradient))?,
                leaves.give(weight, || of_weight(inputs, gradient))?,
                leaves.give(bias, || Ok(sums(gradient, bias.elem_count())))?,
            ))
        })
    }
}

/// From inputs `[n, k]` and a matrix `[k, m]` their product, `[n, m]`.
pub(in crate::train) struct Multiply(pub(in crate::train) Leaves);

impl CustomOp2 for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (inputs, matrix) = (singles(s1, l1)?, singles(s2, l2)?);
        let ((n, k), (_, m)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let product = Product::of(Left::new(inputs, k), n, &Right::new(matrix, k, m));
        Ok((CpuStorage::F32(product.into_values()), (n, m).into()))
    }

    fn bwd(
        &self,
        inputs: &Tensor,
        matrix: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((n, k), (_, m)) = (inputs.dims2()?, matrix.dims2()?);
        let of_inputs = |matrix: &[f32], gradient: &[f32]| {
            Ok(Product::of(Left::new(gradient, m), n, &Right::transposed(matrix, k, m)).into_values())
        };
        let of_matrix = |inputs: &[f32], gradient: &[f32]| {
            Ok(Product::of(Left::transposed(inputs, k), k, &Right::new(gradient, n, m)).into_values())
        };
        numbers(gradient, |gradient| {
            Ok((
                self.0.give(inputs, || numbers(matrix, |matrix| of_inputs(matrix, gradient)))?,
                self.0.give(matrix, || numbers(inputs, |inputs| of_matrix(inputs, gradient)))?,
            ))
        })
    }
}

/// The gradient of the inputs of a layer with this weight, from that of its outputs `[n, m]`.
pub(super) fn of_inputs(weight: &Tensor, gradient: &[f32]) -> Result<Vec<f32>> {
    let (m, k) = weight.dims2()?;
    let n = gradient.len() / m.max(1);
    numbers(weight, |weight| Ok(Product::of(Left::new(gradient, m), n, &Right::new(weight, m, k)).into_values()))
}

/// The gradient of the weight of a layer with these inputs, from that of its outputs `[n, m]`.
pub(super) fn of_weight(inputs: &Tensor, gradient: &[f32]) -> Result<Vec<f32>> {
    let (n, k) = inputs.dims2()?;
    let m = gradient.len() / n.max(1);
    numbers(inputs, |inputs| Ok(Product::of(Left::transposed(gradient, m), m, &Right::new(inputs, n, k)).into_values()))
}

/// Sums of the `columns` columns of a row-major matrix.
pub(super) fn sums(rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    InstructionSet::best().run(SumRows { rows, sums: &mut sums });
    sums
}

struct SumRows<'a> {
    rows: &'a [f32],
    sums: &'a mut [f32],
}

impl Work for SumRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for row in self.rows.chunks_exact(self.sums.len().max(1)) {
            self.sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
        }
    }
}
