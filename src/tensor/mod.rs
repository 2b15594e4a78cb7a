//! Tensors as a checkpoint stores them: dtype, name, shape, and the numbers row by row.

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
