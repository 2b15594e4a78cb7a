//! Classifiers of sentences: an embedding, and a network behind it.

mod architecture;
mod batch;
mod classifier;
mod dan;
mod embedding;
mod lstm;
mod matrix;
mod parameter;
mod quantizer;

pub use architecture::{ARCHITECTURES, Architecture, Dropout, Network, Sizes, find};
pub use batch::Batch;
pub use classifier::{Classifier, Gradients, largest};
pub use embedding::Embedding;
pub use matrix::{Matrix, Trained};
pub use parameter::Parameter;
pub use quantizer::Quantizer;

use crate::error::{Error, ErrorKind};

/// An error of the framework as one of ours. It has none for shapes that [`Classifier`] has checked.
fn failed(error: candle_core::Error) -> Error {
    Error::new(ErrorKind::Unsupported, "the network cannot be computed").found(error.to_string())
}
