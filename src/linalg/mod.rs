//! The mathematics: streaming Gram matrix, symmetric eigendecomposition, truncated SVD, error measures.

mod block;
mod buffer;
mod eigen;
mod element;
mod encode;
mod factorize;
mod frame;
mod gram;
mod kernel;
mod loops;
mod panels;
mod product;
mod residual;
mod spectrum;
mod sweep;
mod transposed;

pub use encode::{Factor, Pair, Round, Sink, Values};
pub(crate) use factorize::check_entries;
pub use factorize::{Factorization, factorize, spectrum};
pub(crate) use frame::check_finite;
pub(crate) use kernel::{InstructionSet, Work};
pub use product::Product;
pub use residual::measure;
pub use spectrum::Spectrum;
pub(crate) use sweep::{Chunk, Map, Moments, read_scaled, solve_positive, sweep};
