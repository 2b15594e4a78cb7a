//! The mathematics: streaming Gram matrix, symmetric eigendecomposition, truncated SVD, error measures.
//!
//! The truncated singular value decomposition of a table W `[V, d]` is found by way of its smaller Gram matrix:
//! `W^T W` (`W W^T` where V < d) is accumulated over blocks of rows, decomposed, and A is W times the leading
//! eigenvectors, in a second pass that also measures `||W - A B||_F` with the factors as they are stored. By the theorem
//! of Eckart and Young (1936) no factors of that rank are closer.
//!
//! # Where digits are lost
//! Squaring halves the digits that small singular values keep. Let `rho` be the relative error of the approximation, and
//! `e` the rounding of the Gram matrix relative to the squared norm of the table without its mean row, which is
//! subtracted first and added back exactly. The excess over the best error is about `(e / rho^2)^2`. With products of
//! singles, summed in chains of 128, these in singles over 1,024 rows, and those in doubles over at least 2,048 rows, `e`
//! is about 4e-9: below 1e-6 down to `rho = 2e-3`. The rule is stricter: where `rho` is below 1e-2, the Gram matrix is
//! computed again with products of doubles, and A and the error as well. Doubles go down to about `rho = 1e-7`; below
//! that, stored factors of singles have a larger error of their own, `2e-7`.
//!
//! Where a rank is given, [`Products::Int16`] make the Gram matrix of whole numbers: how little may then be dropped follows from
//! what was rounded off, and products of singles take over below that.
//!
//! On a processor with a matrix unit, products of singles are three of numbers of 8 bits each ([`Products::Bf16x2`]).
//! There `e` is about 2.3e-8, the bound for `rho` is 2e-2, and what the products leave out of the diagonal, where it is
//! never negative, is put right by sums of squares in doubles. Tables of fewer than 2,048 rows and columns do without.
//!
//! A table of doubles is computed in doubles throughout. Numbers are moved near magnitude one by a power of two, so that
//! neither squares nor the eigendecomposition feel the scale of the table.
//!
//! # What is promised of the bits
//! The result does not depend on the number of threads: all sums have a fixed order. Products of [`Products::Single`] have the
//! same bits on all processors with fused multiply-adds, and other ones on those without; so have those of
//! [`Products::Int16`], and those of [`Products::Bf16x2`] are others again. The eigendecomposition is `faer`'s in part, whose bits
//! may differ between processors. What every processor promises is the error: at most 1e-6 of it above the best.
//!
//! # Memory
//! Beyond the table, at most three matrices of `d` x `d` doubles and 64 MiB.

mod amx;
mod block;
mod bound;
mod buffer;
mod eigen;
mod element;
mod encode;
mod factorize;
mod frame;
mod gram;
mod int16;
mod kernel;
mod loops;
mod measured;
mod nearest;
mod operand;
mod overlap;
mod panels;
mod product;
mod products;
mod residual;
mod spectrum;
mod split;
mod sweep;
mod transposed;

pub use encode::{Factor, Pair, Round, Sink, Values};
pub(crate) use factorize::check_entries;
pub use factorize::{Factorization, factorize, spectrum};
pub(crate) use frame::check_finite;
pub use kernel::limit_isa;
pub(crate) use kernel::{InstructionSet, Work};
#[cfg(feature = "train")]
pub(crate) use kernel::{Kernel, TILE_ROWS};
pub(crate) use loops::largest_row_norm;
pub use measured::{Measured, Weighted};
pub use nearest::nearest;
pub use overlap::eigenspace_overlap;
#[cfg(feature = "train")]
pub(crate) use panels::Panels;
pub use product::Product;
pub use products::Products;
pub use residual::measure;
pub use spectrum::Spectrum;
pub use split::Split;
pub(crate) use sweep::{Chunk, Map, Moments, read_scaled, solve_positive, sweep};
