use crate::compare::Comparison;
use crate::error::Result;
/// page
pub fn html(_c: &Comparison) -> Result<String> { Ok(String::new()) }
