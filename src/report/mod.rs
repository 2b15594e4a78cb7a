//! What was found or done, for people to read.

pub(crate) mod chart;
mod columns;
pub mod comparison;
mod diff;
mod inspection;
pub(crate) mod page;
pub mod rates;
pub mod text;

pub use columns::columns;
pub use diff::diff;
pub use inspection::inspection;
