//! Output directories that are complete or absent, and the digests of what is in them.

mod copy;
mod flush;
mod staged;
mod sums;

pub use copy::{copy_with_digest, digest_file, write_file, write_pieces};
pub(crate) use flush::begin_flush;
pub use staged::{Replace, StagedDirectory, check_destination};
pub use sums::sha256sums;
