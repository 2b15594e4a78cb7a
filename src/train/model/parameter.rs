//! Numbers that are trained.

use candle_core::{Device, Tensor, Var};

use crate::random::Random;

/// A tensor that is trained, by its name in the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The name in the checkpoint.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

impl Parameter {
    /// Numbers uniform in `[-bound, bound)`.
    pub(super) fn uniform(name: &str, shape: &[usize], bound: f64, random: &mut Random) -> Self {
        let values = (0..shape.iter().product()).map(|_| ((random.uniform() * 2.0 - 1.0) * bound) as f32);
        Parameter { name: name.to_owned(), shape: shape.to_vec(), values: values.collect() }
    }

    /// A leaf of the graph of one step, whose gradient is wanted where `trained`.
    pub(super) fn leaf(&self, trained: bool) -> candle_core::Result<Tensor> {
        leaf(self.values.clone(), &self.shape, trained)
    }
}

/// A leaf of the graph of one step, whose gradient is wanted where `trained`.
pub(super) fn leaf(values: Vec<f32>, shape: &[usize], trained: bool) -> candle_core::Result<Tensor> {
    if trained {
        Ok(Var::from_vec(values, shape, &Device::Cpu)?.as_tensor().clone())
    } else {
        Tensor::from_vec(values, shape, &Device::Cpu)
    }
}
