//! Trained classifiers as checkpoint directories: `model.safetensors`, `config.json`, `vocab.txt`.
//!
//! Tensors have the names of PyTorch's modules: `embedding.weight`, `lstm.weight_ih_l0`. Labels stand in the configuration
//! under `id2label`, as those of Hugging Face models do.

// What is read here comes from strangers. Tests may panic, which is how they fail.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod configuration;
mod open;
mod parent;
mod write;

pub use open::open;
pub use parent::Parent;
pub use write::write;

use super::data::{Labels, Vocabulary};
use super::model::Classifier;

/// Names of the files.
const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const VOCABULARY: &str = "vocab.txt";

/// The tensor of the embedding.
const EMBEDDING: &str = "embedding.weight";

/// A classifier with what it needs to read sentences and to name what it tells.
pub struct TrainedModel {
    /// The network.
    pub classifier: Classifier,
    /// Words and their rows.
    pub vocabulary: Vocabulary,
    /// The classes.
    pub labels: Labels,
    /// Words of a sentence that count.
    pub max_tokens: usize,
}
