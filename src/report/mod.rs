//! What was found or done, for people to read.

mod columns;
pub mod text;

pub use columns::columns;
