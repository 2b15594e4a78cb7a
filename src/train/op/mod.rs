//! What the two architectures do that would take many small steps of the autodiff framework: one step each, with a
//! backward pass of its own.

mod activation;
mod bag;
mod product;
mod recurrence;

pub(super) use bag::BagMean;
pub(super) use recurrence::Recurrence;

use candle_core::{CpuStorage, Error, Layout, Result};

/// The numbers of a contiguous argument.
fn singles<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(Error::RequiresContiguous { op: "fused" }),
    }
}
