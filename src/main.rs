//! The command line of rankfold.
fn main() {}
