//! Classifiers of sentences, whose embedding tables are compressed and trained again.

pub mod data;
