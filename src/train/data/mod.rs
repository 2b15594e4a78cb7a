//! Labelled sentences: files of them, the vocabulary and the labels they have, and what a classifier takes in.
//!
//! ```text
//! file -> examples -> vocabulary, labels -> dataset
//! vectors, vocabulary -> initial table
//! ```

// What is read here comes from strangers. Tests may panic, which is how they fail.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod casing;
mod dataset;
mod encoding;
mod file_format;
mod labels;
mod read;
mod split;
pub mod vectors;
mod vocabulary;

pub use casing::Casing;
pub use dataset::Dataset;
pub use encoding::Encoding;
pub use file_format::FileFormat;
pub use labels::Labels;
pub use read::{Columns, ReadOptions, read};
pub use split::split_dev;
pub use vocabulary::{PADDING, UNKNOWN, Vocabulary};

/// A sentence and its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What is to be told.
    pub label: String,
    /// Words with white space between them.
    pub text: String,
}

/// The words of a sentence: what stands between white space, as written. [`Casing`] says how they are looked up.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}
