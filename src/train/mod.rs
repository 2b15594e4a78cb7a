//! Classifiers of sentences, whose embedding tables are compressed and trained again.
//!
//! Data flows one way: [`data`] reads sentences and numbers their words, [`model`] is an embedding with a network behind
//! it, [`fit()`] trains it with an [`optimizer`] and a learning rate from [`crate::schedule`], [`evaluate`] measures it,
//! and [`checkpoint`] keeps it as a directory that every other command takes.

pub mod checkpoint;
pub mod data;
mod evaluation;
mod fit;
pub mod model;
mod op;
pub mod optimizer;
pub mod reproduce;

pub use evaluation::{Scores, evaluate};
pub use fit::{Epoch, FitObserver, FitSettings, History, Keep, Scope, Training, fit};
pub use model::Classifier;
