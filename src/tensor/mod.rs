//! Tensors as a checkpoint stores them: dtype, name, shape, and the numbers row by row.

// What is read here comes from strangers. Tests may panic, which is how they fail.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod cast;
mod dtype;
mod meta;
mod store;
mod view;

pub use cast::Cast;
pub use dtype::Dtype;
pub use meta::TensorMeta;
pub use store::{Overflow, Store};
pub use view::{MappedRows, Precision, Rows, read_as_stored};
