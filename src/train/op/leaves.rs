//! Gradients of leaves, gathered beside the graph.
//!
//! The framework adds each gradient to zeros, and where there are many numbers, on a pool of spinning threads that all
//! trainings of a process share. The large gradients are those of leaves, which nothing in the graph asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Result, Tensor, TensorId};

/// The gradients that the operations of one graph found for its leaves.
#[derive(Clone, Default)]
pub(in crate::train) struct Leaves(Arc<Mutex<HashMap<TensorId, Vec<f32>>>>);

impl Leaves {
    fn found(&self) -> MutexGuard<'_, HashMap<TensorId, Vec<f32>>> {
        // A panic of another thread would have left a gradient that nobody takes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the graph is to be told of the gradient of `tensor`: nothing where it wants none or it is kept here.
    pub(super) fn give(&self, tensor: &Tensor, gradient: impl FnOnce() -> Result<Vec<f32>>) -> Result<Option<Tensor>> {
        if !tensor.track_op() {
            return Ok(None);
        }
        let gradient = gradient()?;
        if !tensor.is_variable() {
            return Tensor::from_vec(gradient, tensor.shape(), &Device::Cpu).map(Some);
        }
        let mut found = self.found();
        match found.get_mut(&tensor.id()) {
            Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more),
            None => drop(found.insert(tensor.id(), gradient)),
        }
        Ok(None)
    }

    /// The gradient of a leaf, if one was found.
    pub(in crate::train) fn take(&self, leaf: &Tensor) -> Option<Vec<f32>> {
        self.found().remove(&leaf.id())
    }
}
