//! What was found or done, for people to read.

mod columns;
mod inspection;
pub mod rates;
pub mod text;

pub use columns::columns;
pub use inspection::inspection;
