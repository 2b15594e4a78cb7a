//! The mathematics: streaming Gram matrix, symmetric eigendecomposition, truncated SVD, error measures.

mod block;
mod bound;
mod buffer;
mod eigen;
mod element;
mod encode;
mod factorize;
mod frame;
mod gram;
mod kernel;
mod loops;
mod nearest;
mod overlap;
mod panels;
mod product;
mod residual;
mod spectrum;
mod transposed;

pub use encode::{Factor, Pair, Round, Sink, Values};
pub use factorize::{Factorization, factorize, spectrum};
pub use nearest::nearest;
pub use overlap::eigenspace_overlap;
pub use product::Product;
pub use residual::measure;
pub use spectrum::Spectrum;
