//! What the two architectures do that would take many small steps of the autodiff framework: one step each, with a
//! backward pass of its own.

mod activation;
mod affine;
mod bag;
mod gates;
mod leaves;
mod product;
mod recurrence;

pub(super) use affine::{Affine, Multiply};
pub(super) use bag::BagMean;
pub(super) use leaves::Leaves;
pub(super) use recurrence::Recurrence;

use candle_core::{CpuStorage, Error, Layout, Result, Storage, Tensor};

/// The numbers of a contiguous argument.
fn singles<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(Error::RequiresContiguous { op: "fused" }),
    }
}

/// What `act` makes of the numbers of `tensor`, row-major.
fn numbers<T>(tensor: &Tensor, act: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => act(singles(storage, layout)?),
        _ => Err(Error::Msg("the operations are for the processor's memory".into())),
    }
}
